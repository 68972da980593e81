-- One row: a Salesforce record whose values are compared with those of a contact.
-- These are the rivals, the records that unbound contacts will be bound to, and the records of a run-book that somebody is bound to, or could be.
-- A list has no names: all records of one pull name their fields in the same order, so that a value is found by its place and not searched for.
--
-- record_id: the record
-- object_type: Lead or Contact
-- field_values: its mapped values as Salesforce has them, in the order of core.mapped_field.place
-- slice: record_id
create or replace table core.record_value as
with needed as (
    select rival_id as record_id from core.rival
    union
    select predicted_id from core.binding where bound_state = 'none' and prediction = 'bind'
    union
    select record_id from core.run_book_record where is_compared
),
version as (
    select latest.record_id, latest.object_type, version.fields, hash(map_keys(version.fields)) as shape
    from (
        select record_id, pull_no, fields from staging.salesforce_version where record_id in (select record_id from needed)
    ) as version
    inner join core.salesforce_person as latest on latest.record_id = version.record_id and latest.pull_no = version.pull_no
),
shape as (
    select shape.shape, field.object_type, list(coalesce(list_position(shape.names, field.salesforce_field), 0) order by field.place) as places
    from (select shape, map_keys(any_value(fields)) as names from version group by shape) as shape
    cross join core.mapped_field as field
    group by shape.shape, field.object_type
)
select version.record_id, version.object_type, list_select(map_values(version.fields), shape.places) as field_values
from version
inner join shape on shape.shape = version.shape and shape.object_type = version.object_type;
