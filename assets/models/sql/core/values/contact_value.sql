-- One row: a HubSpot contact whose values are compared with those of Salesforce records, once for Leads and once for Contacts.
-- These are the contacts with rivals, those of a run-book, and unbound ones that will be bound. A value is found by its place (core.record_value).
--
-- contact_id: the contact
-- object_type: Lead or Contact: what it is compared with
-- property_values: its mapped values as HubSpot has them, in the order of core.mapped_field.place of that object
-- slice: contact_id
create or replace table core.contact_value as
with needed as (
    select hubspot_contact_id as contact_id from core.rival
    union
    select hubspot_contact_id from core.binding where bound_state = 'none' and prediction = 'bind'
    union
    select contact.contact_id
    from core.run_book_record as record
    inner join core.hubspot_contact as contact on contact.bound_id = record.record_id and contact.state = 'live'
    where record.is_compared
),
version as (
    select version.id, version.properties, hash(map_keys(version.properties)) as shape
    from raw.hubspot_contact as version
    inner join core.hubspot_contact as latest on latest.contact_id = version.id and latest.pull_no = version.pull_no
    where version.id in (select contact_id from needed)
),
shape as (
    select shape.shape, field.object_type, list(coalesce(list_position(shape.names, field.property), 0) order by field.place) as places
    from (select shape, map_keys(any_value(properties)) as names from version group by shape) as shape
    cross join core.mapped_field as field
    group by shape.shape, field.object_type
)
select version.id as contact_id, shape.object_type, list_select(map_values(version.properties), shape.places) as property_values
from version
inner join shape on shape.shape = version.shape;
