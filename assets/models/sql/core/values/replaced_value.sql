-- One row: a value of a HubSpot contact that was replaced as the contact was bound to another record than the one before.
-- These are versions written by the integration within 5 s of the new id, on mapped properties, whose value differs from the one
-- before, which was not blank. Conversions and merges count, first bindings do not.
--
-- hubspot_contact_id: the contact
-- switched_at: when the new id was written
-- was_cleared: the contact was bound to nothing in between
-- property: the property
-- value_before: what a restore would put back
-- value_after: what the new record brought
-- source_before: who had written the value before, in HubSpot's words
create or replace table core.replaced_value as
with version as (
    select
        hubspot_contact_id, property, changed_at, value, source_type,
        lag(value) over one_property as value_before,
        lag(source_type) over one_property as source_before
    from staging.hubspot_property_version
    where property in (select property from core.mapped_property)
    window one_property as (partition by hubspot_contact_id, read_from_id, property order by changed_at)
)
select distinct
    history.hubspot_contact_id,
    history.changed_at as switched_at,
    history.from_id is null as was_cleared,
    version.property,
    version.value_before,
    version.value as value_after,
    version.source_before
from core.binding_history as history
inner join version
    on version.hubspot_contact_id = history.hubspot_contact_id
    and version.changed_at between history.changed_at - interval 5 second and history.changed_at + interval 5 second
inner join core.mapped_property as mapped on mapped.property = version.property
where history.last_id <> history.to_id
  and version.source_type = 'SALESFORCE'
  and not main.is_blank(version.value_before)
  and not main.same_value(version.value_before, version.value, mapped.kind, mapped.hubspot_labels, mapped.hubspot_labels);
