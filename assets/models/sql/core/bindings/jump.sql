-- One row: a change of the bound record to another record, and who brought it about ("Who wrote a value, and by whom did it jump?" in
-- docs/prediction.md). What counts is the time between the contact's last sync before it and the change, and at least the settle time.
-- Nobody is named in doubt, and never the integration. Where the policy does not name its user, that may be whoever wrote within 5 s of a change.
--
-- hubspot_contact_id: the contact
-- changed_at: when the new id was written
-- to_id: the record that it went to
-- settled_at: what stood in that record then, the contact's last sync knew; null where no earlier sync is known
-- created_at: when the record was created
-- created_by_id: by whom; null where that is not known
-- creation: of a record that was created between settled_at and the change: import (by the integration, or as one of five or more within 10 minutes by one
--   user), or person; null for older records
-- history_is_read: Salesforce's field history of the record was read after the change
-- by_user_id: who changed the record last between settled_at and the change; else who created it there; null where that is not certain
-- made_by: edit, creation or unknown
-- slice: hubspot_contact_id, whole: an import is told by records of anybody's, and the integration's user by all changes
-- due: select as_of from staging.clock where exists (select 1 from core.jump where changed_at > (select min(pulled_at) from (
--   select max(coalesce(crm_time, started_at)) as pulled_at from raw.pull where complete and object in ('Lead', 'Contact') group by object)))
create or replace table core.jump as
with change as (
    select distinct hubspot_contact_id, read_from_id, changed_at, to_id
    from core.binding_history
    where last_id <> to_id and not is_of_hubspot_merge
),
sync as (
    -- after a merge of contacts the sync time has a version as of the merge, whose value is older
    select
        change.hubspot_contact_id, change.changed_at, change.to_id,
        max(least(version.changed_at, coalesce(main.utc(version.value), version.changed_at))) filter (where version.property = 'salesforcelastsynctime')
            as told_at,
        max(version.changed_at) filter (where version.property <> 'salesforcelastsynctime' and version.source_type = 'SALESFORCE') as written_at
    from change
    inner join staging.hubspot_property_version as version
        on version.hubspot_contact_id = change.hubspot_contact_id and version.read_from_id = change.read_from_id
        and version.changed_at < change.changed_at - main.one_write()
    group by change.hubspot_contact_id, change.changed_at, change.to_id
),
settled as (
    select
        change.hubspot_contact_id, change.changed_at, change.to_id, person.object_type, person.created_at, person.created_by_id,
        case
            when coalesce(sync.told_at, sync.written_at) is not null
            then least(coalesce(sync.told_at, sync.written_at), change.changed_at - to_minutes(policy.settle_minutes))
        end as settled_at
    from change
    left join sync
        on sync.hubspot_contact_id = change.hubspot_contact_id and sync.changed_at = change.changed_at and sync.to_id = change.to_id
    left join core.salesforce_person as person on person.record_id = change.to_id
    cross join main.policy as policy
),
pulled as (
    select object, pull_no, max(coalesce(crm_time, started_at)) over (partition by object order by pull_no) as pulled_at
    from raw.pull
    where complete and object in ('Lead', 'Contact')
),
version as (
    -- a version holds until the last pull before the next one, which would have brought that
    select version.* exclude (next_pull_no), pulled.pulled_at as held_at
    from (
        select
            record_id, object_type, modified_at, last_modified_at, last_modified_by_id, pull_no,
            lead(pull_no, 1, 9223372036854775807) over (partition by record_id order by pull_no) as next_pull_no
        from staging.salesforce_version
        where record_id in (select to_id from change)
    ) as version
    asof left join pulled on pulled.object = version.object_type and pulled.pull_no < version.next_pull_no
),
history_read as (
    select history.record_id, max(coalesce(pull.crm_time, pull.started_at)) as read_at
    from raw.salesforce_history_read as history
    inner join raw.pull as pull on pull.pull_no = history.pull_no
    group by history.record_id
),
own_user as (
    -- the integration, as far as it is known
    select integration_user_id as user_id from main.policy where integration_user_id is not null
    union
    select version.last_modified_by_id
    from settled
    inner join version
        on version.record_id = settled.to_id
        and main.is_one_write(version.modified_at, settled.changed_at)
    where (select integration_user_id from main.policy) is null and version.last_modified_by_id is not null
),
latest as (
    -- the record at the change
    select
        settled.hubspot_contact_id, settled.changed_at, settled.to_id,
        max_by(version.modified_at, (version.modified_at, version.pull_no)) as modified_at,
        max_by(version.last_modified_at, (version.modified_at, version.pull_no)) as last_modified_at,
        max_by(version.last_modified_by_id, (version.modified_at, version.pull_no)) as user_id,
        max_by(version.last_modified_by_id, (version.modified_at, version.pull_no)) filter (where version.modified_at <= settled.settled_at) as user_id_before,
        coalesce(max_by(version.held_at, (version.modified_at, version.pull_no)) >= settled.changed_at, false) as is_certain
    from settled
    inner join version on version.record_id = settled.to_id and version.modified_at <= settled.changed_at
    group by settled.hubspot_contact_id, settled.changed_at, settled.to_id
),
untracked as (
    select field.object_type, field.salesforce_field as name
    from core.mapped_field as field
    anti join main.tracked_field as tracked
        on tracked.object_type = field.object_type and tracked.field in (field.salesforce_field, regexp_replace(field.salesforce_field, 'Id$', ''))
    where field.is_writable
),
is_partly_tracked as (
    -- a mapped field that changed, and of which nobody's history tells: somebody may have changed it after what the history shows last
    select distinct object_type
    from (
        select version.object_type, version.record_id, field.name, coalesce(version.fields[field.name], '') as held
        from staging.salesforce_version as version
        inner join untracked as field on field.object_type = version.object_type
        where version.record_id in (select record_id from history_read) and version.record_id in (select to_id from change)
    )
    group by object_type, record_id, name
    having min(held) <> max(held)
),
traced as (
    select
        settled.hubspot_contact_id, settled.changed_at, settled.to_id,
        max(history.changed_at) as edited_at,
        max_by(history.changed_by_id, (history.changed_at, history.history_id)) as user_id
    from settled
    inner join raw.salesforce_field_history as history
        on history.record_id = settled.to_id and history.changed_at > settled.settled_at and history.changed_at <= settled.changed_at
        and history.field <> 'created'
    where history.changed_by_id not in (select user_id from own_user)
    group by settled.hubspot_contact_id, settled.changed_at, settled.to_id
),
near as (
    -- who created records when, by tens of minutes, and the ten before and after: others need not be counted
    select distinct
        created_by_id, time_bucket(interval 10 minute, created_at) + unnest([interval '-10 minutes', interval 0 minute, interval 10 minute]) as tenth
    from settled
    where created_at > settled_at
),
batch as (
    -- by one user, within 10 minutes of each other: an import, a job
    select record_id as to_id, neighbours >= 5 as is_import
    from (
        select record_id, count(*) over (
            partition by created_by_id order by created_at range between interval 10 minute preceding and interval 10 minute following) as neighbours
        from (select *, time_bucket(interval 10 minute, created_at) as tenth from core.salesforce_person) as person
        semi join near on near.created_by_id = person.created_by_id and near.tenth = person.tenth
    )
    where record_id in (select to_id from settled where created_at > settled_at)
),
judged as (
    select
        settled.*,
        settled.created_at > settled.settled_at and settled.created_at <= settled.changed_at as is_created_here,
        coalesce(settled.created_by_id in (select user_id from own_user), false) as is_created_by_own,
        coalesce(batch.is_import, false) as is_import,
        coalesce(history_read.read_at >= settled.changed_at, false) as history_is_read,
        is_partly_tracked.object_type is not null as is_partly_tracked,
        latest.modified_at,
        latest.user_id as latest_user_id,
        latest.is_certain,
        latest.user_id in (select user_id from own_user) as is_latest_own,
        -- automation may move SystemModstamp alone: then whoever was not named before has come since
        latest.modified_at > settled.settled_at and coalesce(
            latest.last_modified_at > settled.settled_at
            and (latest.last_modified_at > settled.created_at + main.at_creation() or latest.user_id <> settled.created_by_id),
            false)
            or coalesce(latest.modified_at > settled.settled_at and latest.user_id <> latest.user_id_before, false) as is_latest_edit,
        traced.user_id as traced_user_id
    from settled
    left join latest
        on latest.hubspot_contact_id = settled.hubspot_contact_id and latest.changed_at = settled.changed_at and latest.to_id = settled.to_id
    left join traced
        on traced.hubspot_contact_id = settled.hubspot_contact_id and traced.changed_at = settled.changed_at and traced.to_id = settled.to_id
    left join history_read on history_read.record_id = settled.to_id
    left join is_partly_tracked on is_partly_tracked.object_type = settled.object_type
    left join batch on batch.to_id = settled.to_id
),
attributed as (
    select
        *,
        case
            -- the record as it was at the change: its last editor is known
            when is_certain and not is_latest_own and is_latest_edit then 'edit'
            when is_certain and is_created_here and modified_at <= created_at + main.at_creation() then 'creation'
            when (is_certain and not is_latest_own) or not history_is_read or is_partly_tracked then 'unknown'
            when traced_user_id is not null then 'edit'
            when is_created_here then 'creation'
            else 'unknown'
        end as way
    from judged
)
select
    hubspot_contact_id,
    changed_at,
    to_id,
    settled_at,
    created_at,
    created_by_id,
    case when is_created_here then
        case when created_by_id = (select integration_user_id from main.policy) or is_import then 'import' else 'person' end end as creation,
    history_is_read,
    case
        when way = 'edit' then case when is_certain and not is_latest_own and is_latest_edit then latest_user_id else traced_user_id end
        when way = 'creation' and not is_created_by_own then created_by_id
    end as by_user_id,
    case when way = 'creation' and (is_created_by_own or created_by_id is null) then 'unknown' else way end as made_by
from attributed;
