-- One row: a moment at which the record that a HubSpot contact is bound to changed, read from the history of its two id properties.
-- Both properties are replayed together: if both ids are set, the one written last counts, the Contact id when they were written
-- at once. An id that is cleared and set again within 5 s (one sync writes the two properties one after the other) is one change.
--
-- hubspot_contact_id: the contact that the history belongs to today
-- read_from_id: the contact id that the history was read from; another one after a HubSpot merge
-- changed_at: when
-- from_id: the record bound until then; null when none
-- to_id: the record bound from then on; null when cleared
-- last_id: the record bound last before, also where the binding was cleared in between; null at a first binding
-- source_type: who wrote the id, in HubSpot's words (SALESFORCE is the integration)
-- is_of_hubspot_merge: it came with a merge of contacts: written by it, or read from the two histories that are one since then. What each of the two
--   contacts went through before is known where its own history was read while it had one
-- pull_no: the pull that first had it
-- slice: hubspot_contact_id
-- due: never, of the pulls it reads only those that brought a version
create or replace table core.binding_history as
with id_version as (
    select
        hubspot_contact_id, read_from_id, property, changed_at, source_type, pull_no,
        coalesce(source_type = 'MERGE_CONTACTS', false) as is_of_merge,
        coalesce(main.salesforce_id18(value), '') as id   -- '' is "cleared or malformed", null would be "not written"
    from staging.hubspot_property_version
    where main.is_id_property(property) and changed_at is not null
),
short_history as (
    -- most histories hold one id: a first binding
    select hubspot_contact_id, read_from_id
    from id_version
    group by hubspot_contact_id, read_from_id
    having count(*) = 1
),
long_version as (
    select id_version.*
    from id_version
    anti join short_history
        on short_history.hubspot_contact_id = id_version.hubspot_contact_id and short_history.read_from_id = id_version.read_from_id
),
moment as (
    select
        hubspot_contact_id, read_from_id, changed_at,
        -- what a merge of contacts writes stands last
        max_by(id, (pull_no, is_of_merge, id, source_type)) filter (where property = 'salesforceleadid') as lead_id,
        max_by(id, (pull_no, is_of_merge, id, source_type)) filter (where property = 'salesforcecontactid') as contact_id,
        max_by(source_type, (pull_no, is_of_merge, id, source_type)) filter (where property = 'salesforceleadid') as lead_source,
        max_by(source_type, (pull_no, is_of_merge, id, source_type)) filter (where property = 'salesforcecontactid') as contact_source,
        max(pull_no) as pull_no
    from long_version
    group by hubspot_contact_id, read_from_id, changed_at
),
replayed as (
    select
        hubspot_contact_id, read_from_id, changed_at, pull_no, lead_source, contact_source,
        nullif(last_value(lead_id ignore nulls) over so_far, '') as lead_id,
        nullif(last_value(contact_id ignore nulls) over so_far, '') as contact_id,
        max(case when lead_id is not null then changed_at end) over so_far as lead_id_at,
        max(case when contact_id is not null then changed_at end) over so_far as contact_id_at
    from moment
    window so_far as (partition by hubspot_contact_id, read_from_id order by changed_at rows between unbounded preceding and current row)
),
bound as (
    select
        hubspot_contact_id, read_from_id, changed_at, pull_no,
        case when is_of_lead then lead_id else contact_id end as to_id,
        case when is_of_lead then coalesce(lead_source, contact_source) else coalesce(contact_source, lead_source) end as source_type
    from (select *, contact_id is null or (lead_id is not null and lead_id_at > contact_id_at) as is_of_lead from replayed)
),
change as (
    select *, lag(to_id) over (partition by hubspot_contact_id, read_from_id order by changed_at) as from_id from bound
),
neighbour as (
    select
        *,
        lead(changed_at) over one_history as next_at,
        lag(changed_at) over one_history as previous_at,
        lag(from_id) over one_history as previous_from_id,
        last_value(to_id ignore nulls) over (one_history rows between unbounded preceding and 1 preceding) as last_id
    from change
    where from_id is distinct from to_id
    window one_history as (partition by hubspot_contact_id, read_from_id order by changed_at)
),
joined as (
    -- "cleared" followed by "set" within 5 s: the second row takes over where the first came from, the first goes
    select
        hubspot_contact_id, read_from_id, changed_at, to_id, pull_no, last_id, source_type,
        case when from_id is null and previous_at >= changed_at - main.one_write() then previous_from_id else from_id end as from_id
    from neighbour
    where to_id is not null or next_at is null or next_at > changed_at + main.one_write()
),
every as (
    select hubspot_contact_id, read_from_id, changed_at, from_id, to_id, last_id, pull_no, source_type from joined where from_id is distinct from to_id
    union all
    select id_version.hubspot_contact_id, id_version.read_from_id, id_version.changed_at, null as from_id, id_version.id as to_id, null as last_id,
        id_version.pull_no, id_version.source_type
    from id_version
    inner join short_history
        on short_history.hubspot_contact_id = id_version.hubspot_contact_id and short_history.read_from_id = id_version.read_from_id
    where id_version.id <> ''
),
merge as (
    -- of a contact into which others were merged: until when, and since which pull, its history is that of several
    select
        hubspot_contact_id,
        max(changed_at) filter (where source_type = 'MERGE_CONTACTS' or read_from_id <> hubspot_contact_id) as merged_at,
        -- histories of other properties come with later pulls of the same run, or of the next one, where that was cut short
        coalesce(
            least(min(run.pull_no) filter (where source_type = 'MERGE_CONTACTS'), any_value(told.pull_no)),
            min(version.pull_no) filter (where read_from_id = hubspot_contact_id)) as pull_no
    from staging.hubspot_property_version as version
    left join (
        select merged_into_id, min(pull_no) as pull_no from staging.hubspot_merge group by merged_into_id
    ) as told on told.merged_into_id = version.hubspot_contact_id
    left join (select pull_no as of_no, min(pull_no) over (partition by run_id) as pull_no from raw.pull) as run on run.of_no = version.pull_no
    where hubspot_contact_id in (
        select merged_into_id from staging.hubspot_merge
        union
        select hubspot_contact_id from staging.hubspot_property_version where source_type = 'MERGE_CONTACTS'
    )
    group by hubspot_contact_id
)
-- after a HubSpot merge the same change can be read from two histories
select
    every.hubspot_contact_id, min(every.read_from_id) as read_from_id, every.changed_at, every.from_id, every.to_id, min(every.last_id) as last_id,
    min_by(every.source_type, (every.pull_no, every.source_type)) as source_type,
    coalesce(
        bool_or(every.source_type = 'MERGE_CONTACTS')
        or (bool_and(every.read_from_id = every.hubspot_contact_id and every.pull_no >= merge.pull_no) and every.changed_at <= any_value(merge.merged_at)),
        false) as is_of_hubspot_merge,
    min(every.pull_no) as pull_no
from every
left join merge on merge.hubspot_contact_id = every.hubspot_contact_id
group by every.hubspot_contact_id, every.changed_at, every.from_id, every.to_id;
