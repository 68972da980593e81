-- One row: a change of the record that a HubSpot contact is bound to.
-- The first cause that fits, in the order of docs/prediction.md, is given. Only what the integration itself did can be a duplicate_switch or unexplained.
--
-- hubspot_contact_id: the contact
-- switched_at: when the new id was written
-- from_id: the record bound until then; null at a first binding
-- to_id: the record bound from then on; null when cleared
-- cause: lead_conversion, salesforce_merge (both as of then), first_binding, hubspot_merge (it came with a merge of contacts), cleared, by_hand (the id was
--   written by somebody else than the integration), duplicate_switch (both records have or had one of the contact's e-mails), unexplained
-- overwritten_count: values of mapped properties that the switch replaced
-- by_user_id: the Salesforce user who brought it about (core.jump); null where that is not certain, and never the integration
-- by_user_name: the name
-- by: edit, creation or unknown: what that user did
-- source_type: who wrote the id, in HubSpot's words (SALESFORCE is the integration)
-- is_new: not known to the last proven run; false on the first run
-- is_since_first_run: not known to the first proven run; false on that
-- slice: hubspot_contact_id
-- due: select as_of from staging.clock where exists (select 1 from core.switch_event where is_new)
create or replace table core.switch_event as
with switch as (
    select * from core.binding_history where from_id is not null and to_id is not null
),
email_of_contact as (
    -- primary or additional, now or earlier
    select contact_id as hubspot_contact_id, email
    from core.hubspot_contact
    where contact_id in (select hubspot_contact_id from switch) and email is not null
    union
    select contact_id, unnest(additional_emails) from core.hubspot_contact where contact_id in (select hubspot_contact_id from switch)
    union
    select hubspot_contact_id, main.matching_email(value)
    from staging.hubspot_property_version
    where property = 'email' and hubspot_contact_id in (select hubspot_contact_id from switch)
    union
    select hubspot_contact_id, main.matching_email(address)
    from (
        select coalesce(merged.merged_into_id, version.id) as hubspot_contact_id,
            unnest(string_split(version.properties['hs_additional_emails'], ';')) as address
        from raw.hubspot_contact as version
        left join staging.hubspot_merge as merged on merged.contact_id = version.id
        where coalesce(merged.merged_into_id, version.id) in (select hubspot_contact_id from switch)
    ) as version
),
email_of_record as (
    -- every e-mail that a record of a switch ever had
    select distinct record_id, email
    from staging.salesforce_version
    where record_id in (select from_id from switch union select to_id from switch)
),
shares_email as (
    select distinct email_of_contact.hubspot_contact_id, email_of_record.record_id
    from email_of_contact
    inner join email_of_record on email_of_record.email = email_of_contact.email
),
merged as (
    -- from when until when a record was merged away: an undeletion ends it. The later of two honest clocks may be the CRM's that merged
    select record_id, merged_into_id, modified_at - main.one_write() as since, coalesce(next_at, timestamp 'infinity') as until
    from (
        select
            record_id, merged_into_id, is_deleted, modified_at,
            lead(modified_at) over (partition by record_id order by pull_no) as next_at
        from staging.salesforce_version
        where record_id in (select record_id from staging.salesforce_version where is_deleted and merged_into_id is not null)
    )
    where is_deleted and merged_into_id is not null
),
walk as (
    with recursive walk(record_id, ancestor_id, since, until) as (
        select record_id, merged_into_id, since, until from merged
        union
        select walk.record_id, merged.merged_into_id, greatest(walk.since, merged.since), least(walk.until, merged.until)
        from walk
        inner join merged on merged.record_id = walk.ancestor_id
    )
    select * from walk
),
followed as (
    -- what became of the record, as of the change
    select distinct
        switch.hubspot_contact_id, switch.changed_at, switch.from_id, switch.to_id,
        walk.record_id = switch.from_id as is_of_record
    from switch
    left join core.salesforce_person as lead on lead.record_id = switch.from_id and lead.object_type = 'Lead'
    inner join walk
        on walk.ancestor_id = switch.to_id and walk.record_id in (switch.from_id, lead.converted_contact_id)
        and switch.changed_at between walk.since and walk.until
),
overwritten as (
    select hubspot_contact_id, switched_at, count(*) as overwritten_count
    from core.overwritten_value
    group by hubspot_contact_id, switched_at
),
caused as (
    select
        history.hubspot_contact_id,
        history.changed_at,
        history.from_id,
        history.to_id,
        case
            when from_record.converted_contact_id = history.to_id or conversion.from_id is not null then 'lead_conversion'
            when merge.from_id is not null then 'salesforce_merge'
            when history.from_id is null then 'first_binding'
            when history.is_of_hubspot_merge then 'hubspot_merge'
            when history.to_id is null then 'cleared'
            when history.source_type <> 'SALESFORCE' then 'by_hand'
            when shares_from.record_id is not null and shares_to.record_id is not null then 'duplicate_switch'
            else 'unexplained'
        end as cause,
        history.source_type,
        history.pull_no
    from core.binding_history as history
    left join core.salesforce_person as from_record on from_record.record_id = history.from_id and from_record.object_type = 'Lead'
    left join followed as conversion
        on conversion.hubspot_contact_id = history.hubspot_contact_id and conversion.changed_at = history.changed_at
        and conversion.from_id = history.from_id and conversion.to_id = history.to_id and not conversion.is_of_record
    left join followed as merge
        on merge.hubspot_contact_id = history.hubspot_contact_id and merge.changed_at = history.changed_at
        and merge.from_id = history.from_id and merge.to_id = history.to_id and merge.is_of_record
    left join shares_email as shares_from
        on shares_from.hubspot_contact_id = history.hubspot_contact_id and shares_from.record_id = history.from_id
    left join shares_email as shares_to
        on shares_to.hubspot_contact_id = history.hubspot_contact_id and shares_to.record_id = history.to_id
)
select
    caused.hubspot_contact_id,
    caused.changed_at as switched_at,
    caused.from_id,
    caused.to_id,
    caused.cause,
    coalesce(overwritten.overwritten_count, 0) as overwritten_count,
    jump.by_user_id,
    users.name as by_user_name,
    coalesce(jump.made_by, 'unknown') as by,
    caused.source_type,
    coalesce(caused.pull_no > clock.last_run_pull_no, false) as is_new,
    coalesce(caused.pull_no > clock.first_run_pull_no, false) as is_since_first_run
from caused
left join core.jump as jump
    on jump.hubspot_contact_id = caused.hubspot_contact_id and jump.changed_at = caused.changed_at and jump.to_id = caused.to_id
    and caused.cause in ('lead_conversion', 'salesforce_merge', 'duplicate_switch', 'unexplained')
left join core.salesforce_user as users on users.user_id = jump.by_user_id
left join overwritten
    on overwritten.hubspot_contact_id = caused.hubspot_contact_id and overwritten.switched_at = caused.changed_at
cross join staging.clock as clock;
