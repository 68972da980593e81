-- One row: a mapped field that a switch to that rival would change (rules 24 to 28; the table is in docs/prediction.md).
--
-- hubspot_contact_id: the contact
-- rival_id: the record that would take over
-- property: the HubSpot property
-- hubspot_value: its value now
-- salesforce_value: the rival's value
-- rule: the mapping rule of the field
-- effect: overwrite (HubSpot's value is replaced), clear (it is emptied), backfill (it is written into the rival), fill (a gap is filled)
-- consent: the field says whether the person may be written to
-- is_at_risk: the effect destroys a value or spreads it; a fill does not
create or replace table core.overwrite as
with contact as (
    -- the properties of those who have a rival, before anything is joined to them
    select version.id, version.properties
    from raw.hubspot_contact as version
    inner join core.hubspot_contact as latest on latest.contact_id = version.id and latest.pull_no = version.pull_no
    where version.id in (select hubspot_contact_id from core.rival)
),
person as (
    select version.record_id, version.fields
    from (
        select record_id, pull_no, fields from staging.salesforce_version where record_id in (select rival_id from core.rival)
    ) as version
    inner join core.salesforce_person as latest on latest.record_id = version.record_id and latest.pull_no = version.pull_no
),
pair as materialized (
    select rival.hubspot_contact_id, rival.rival_id, rival.object_type, contact.properties, person.fields
    from core.rival as rival
    inner join contact on contact.id = rival.hubspot_contact_id
    inner join person on person.record_id = rival.rival_id
),
value as (
    select
        rival.hubspot_contact_id,
        rival.rival_id,
        mapping.property,
        rival.properties[mapping.property] as hubspot_value,
        rival.fields[mapping.salesforce_field] as salesforce_value,
        mapping.rule,
        mapping.consent,
        field.type as field_type
    from pair as rival
    inner join main.field_mapping as mapping on mapping.object_type = rival.object_type and mapping.rule <> 'none'
    left join raw.salesforce_field as field on field.object_type = rival.object_type and field.field = mapping.salesforce_field
),
judged as (
    select value.*, main.switch_effect(hubspot_value, salesforce_value, field_type, rule, policy.blank_on_switch) as effect
    from value
    cross join main.policy as policy
    where hubspot_value is distinct from salesforce_value   -- most fields are equal as they stand
)
select hubspot_contact_id, rival_id, property, hubspot_value, salesforce_value, rule, effect, consent, effect <> 'fill' as is_at_risk
from judged
where effect is not null;
