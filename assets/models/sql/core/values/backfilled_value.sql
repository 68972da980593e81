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
)
select
    pair.hubspot_contact_id,
    pair.from_id,
    pair.to_id,
    pair.switched_at,
    target.property,
    target.salesforce_field,
    pair.fields_now[target.salesforce_field] as value
from pair
inner join core.mapped_field as target
    on target.object_type = pair.to_type and struct_extract(main.mapping_rule(target.rule), 'reaches_salesforce') and target.is_writable
inner join core.mapped_field as origin on origin.object_type = pair.from_type and origin.property = target.property
where pair.fields_before is not null
  and main.is_blank(pair.fields_before[target.salesforce_field])
  and not main.is_blank(pair.fields_now[target.salesforce_field])
  and main.same_value(
      pair.fields_now[target.salesforce_field], pair.from_fields[origin.salesforce_field], target.kind, target.salesforce_labels, origin.salesforce_labels);
