-- One row: a change of the record that a HubSpot contact is bound to.
--
-- hubspot_contact_id: the contact
-- switched_at: when the new id was written
-- from_id: the record bound until then; null at a first binding
-- to_id: the record bound from then on; null when cleared
-- cause: lead_conversion, salesforce_merge, first_binding, cleared, duplicate_switch (both records have or had the contact's
--   e-mail), unexplained
-- overwritten_count: values of mapped properties that the switch replaced
-- is_new: not known to the last proven run; false on the first run
-- edited_by_id: the Salesforce user whose edit of the new record came last before the switch, at most a day before; null when no pull has it
create or replace table core.switch_event as
with email_of_contact as (
    select contact_id as hubspot_contact_id, email from core.hubspot_contact where email is not null
    union
    select hubspot_contact_id, main.matching_email(value) as email
    from staging.hubspot_property_version
    where property = 'email'
),
switch as (
    select * from core.binding_history where from_id is not null and to_id is not null
),
record_version as (
    -- of the records of a switch
    select record_id, email, modified_at, last_modified_by_id, pull_no
    from staging.salesforce_version
    where record_id in (select from_id from switch union select to_id from switch)
),
email_of_record as (
    -- every e-mail that a record of a switch ever had
    select distinct record_id, email from record_version
),
edit as (
    select
        switch.hubspot_contact_id, switch.changed_at,
        max_by(version.last_modified_by_id, (version.modified_at, version.pull_no)) as edited_by_id
    from switch
    inner join record_version as version on version.record_id = switch.to_id
    where version.modified_at between switch.changed_at - interval 1 day and switch.changed_at
    group by switch.hubspot_contact_id, switch.changed_at
),
shares_email as (
    select distinct email_of_contact.hubspot_contact_id, email_of_record.record_id
    from email_of_contact
    inner join email_of_record on email_of_record.email = email_of_contact.email
),
overwritten as (
    select hubspot_contact_id, switched_at, count(*) as overwritten_count
    from core.overwritten_value
    group by hubspot_contact_id, switched_at
)
select
    history.hubspot_contact_id,
    history.changed_at as switched_at,
    history.from_id,
    history.to_id,
    case
        when from_record.converted_contact_id = history.to_id or conversion_chain.record_id is not null then 'lead_conversion'
        when merge_chain.record_id is not null then 'salesforce_merge'
        when history.from_id is null then 'first_binding'
        when history.to_id is null then 'cleared'
        when shares_from.record_id is not null and shares_to.record_id is not null then 'duplicate_switch'
        else 'unexplained'
    end as cause,
    coalesce(overwritten.overwritten_count, 0) as overwritten_count,
    coalesce(history.pull_no > clock.last_run_pull_no, false) as is_new,
    edit.edited_by_id
from core.binding_history as history
left join core.salesforce_person as from_record on from_record.record_id = history.from_id and from_record.object_type = 'Lead'
left join core.merge_chain as conversion_chain
    on conversion_chain.record_id = from_record.converted_contact_id and conversion_chain.ancestor_id = history.to_id
left join core.merge_chain as merge_chain on merge_chain.record_id = history.from_id and merge_chain.ancestor_id = history.to_id
left join shares_email as shares_from
    on shares_from.hubspot_contact_id = history.hubspot_contact_id and shares_from.record_id = history.from_id
left join shares_email as shares_to
    on shares_to.hubspot_contact_id = history.hubspot_contact_id and shares_to.record_id = history.to_id
left join edit on edit.hubspot_contact_id = history.hubspot_contact_id and edit.changed_at = history.changed_at
left join overwritten
    on overwritten.hubspot_contact_id = history.hubspot_contact_id and overwritten.switched_at = history.changed_at
cross join staging.clock as clock;
