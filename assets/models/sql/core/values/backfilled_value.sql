-- One row: a field of a Salesforce record that was blank before a contact switched to it, and holds the value of the record that the contact came
-- from (rules 25, 28).
--
-- hubspot_contact_id: the contact that switched
-- from_id: the record it came from
-- to_id: the record whose field was filled
-- switched_at: when it switched last
-- property: the HubSpot property that carried the value
-- salesforce_field: the field that was filled
-- value: what it holds
-- slice: hubspot_contact_id
create or replace table core.backfilled_value as
with switch as (
    select hubspot_contact_id, from_id, to_id, max(switched_at) as switched_at
    from core.switch_event
    where cause in ('duplicate_switch', 'unexplained') and from_id <> to_id
    group by hubspot_contact_id, from_id, to_id
),
version as (
    select record_id, object_type, modified_at, fields, pull_no
    from staging.salesforce_version
    where record_id in (select from_id from switch union select to_id from switch)
),
pair as (
    select
        switch.hubspot_contact_id,
        switch.from_id,
        switch.to_id,
        switch.switched_at,
        any_value(origin.object_type) as from_type,
        any_value(target.object_type) as to_type,
        -- what the old record said at the switch, what the new one said just before it, and what it says today
        max_by(origin.fields, origin.pull_no) filter (where origin.modified_at <= switch.switched_at + main.one_write()) as from_fields,
        max_by(target.fields, target.pull_no) filter (where target.modified_at < switch.switched_at - main.one_write()) as fields_before,
        max_by(target.fields, target.pull_no) as fields_now
    from switch
    inner join version as origin on origin.record_id = switch.from_id
    inner join version as target on target.record_id = switch.to_id
    group by switch.hubspot_contact_id, switch.from_id, switch.to_id, switch.switched_at
),
field as (
    -- of each pair of objects, what carries a value from one to the other; beside each value, because as a condition of a join DuckDB would compare the
    -- values one at a time
    select
        origin.object_type as from_type, target.object_type as to_type,
        list({
            'property': target.property, 'from_field': origin.salesforce_field, 'to_field': target.salesforce_field, 'kind': target.kind,
            'from_labels': origin.salesforce_labels, 'to_labels': target.salesforce_labels}) as fields
    from core.mapped_field as target
    inner join core.mapped_field as origin on origin.property = target.property
    where struct_extract(main.mapping_rule(target.rule), 'reaches_salesforce') and target.is_writable
    group by origin.object_type, target.object_type
)
select hubspot_contact_id, from_id, to_id, switched_at, field.property, field.to_field as salesforce_field, fields_now[field.to_field] as value
from (
    select pair.*, unnest(field.fields) as field
    from pair
    inner join field on field.from_type = pair.from_type and field.to_type = pair.to_type
    where pair.fields_before is not null
)
where case
    when main.is_blank(fields_before[field.to_field]) and not main.is_blank(fields_now[field.to_field])
    then main.same_value(fields_now[field.to_field], from_fields[field.from_field], field.kind, field.to_labels, field.from_labels)
end;
