-- One row: a mapped value that a person typed last, and that stands there still: into a HubSpot contact, or into a Salesforce record of a run-book,
-- where Salesforce keeps the history of the field.
--
-- hubspot_contact_id: the contact; null for a record
-- record_id: the record; null for a contact
-- property: the HubSpot property, or the one that the field is mapped to
-- value: the value
-- typed_at: when
-- by_user_id: the Salesforce user who typed it; null for a contact
-- slice: coalesce(hubspot_contact_id, record_id)
create or replace table core.typed_value as
with changed as (
    select
        record_id, object_type, case field when 'Owner' then 'OwnerId' else field end as field,
        max(changed_at) as typed_at,
        max_by(new_value, (changed_at, history_id)) as value,
        max_by(changed_by_id, (changed_at, history_id)) as by_user_id
    from raw.salesforce_field_history
    where record_id in (select record_id from core.run_book_record where is_compared)
      and (field <> 'Owner' or coalesce(new_value, old_value) like '005%')   -- an owner is told twice: by id, and by name
    group by record_id, object_type, field
),
written as (
    select
        hubspot_contact_id, property,
        max(changed_at) as typed_at,
        -- two contacts that became one may both have been written at that moment
        max_by(value, (changed_at, pull_no, source_type, value)) as value, max_by(source_type, (changed_at, pull_no, source_type, value)) as source_type
    from staging.hubspot_property_version
    where hubspot_contact_id in (select contact_id from core.contact_value) and property in (select property from core.mapped_property)
    group by hubspot_contact_id, property
)
select
    cast(null as varchar) as hubspot_contact_id, changed.record_id, mapped.property, changed.value, changed.typed_at, changed.by_user_id
from changed
inner join core.mapped_field as mapped on mapped.object_type = changed.object_type and mapped.salesforce_field = changed.field
where not main.is_blank(changed.value) and changed.by_user_id is distinct from (select integration_user_id from main.policy)
union all
select hubspot_contact_id, null, property, value, typed_at, null
from written
where not main.is_blank(value)
  and source_type in ('CRM_UI', 'CRM_UI_BULK_ACTION', 'CONTACTS', 'FORM', 'CONVERSATIONS', 'IMPORT', 'MEETINGS', 'MOBILE_ANDROID', 'MOBILE_IOS', 'SIDEKICK');
