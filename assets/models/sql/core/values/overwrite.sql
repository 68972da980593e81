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
-- is_at_risk: HubSpot loses its value: it is replaced or emptied
-- spreads_to_stranger: its value would be written into the record of somebody who looks like another person
create or replace table core.overwrite as
with pair as (
    select rival.hubspot_contact_id, rival.rival_id, rival.object_type, rival.looks_different, contact.property_values, record.field_values
    from core.rival as rival
    inner join core.contact_value as contact on contact.contact_id = rival.hubspot_contact_id and contact.object_type = rival.object_type
    inner join core.record_value as record on record.record_id = rival.rival_id
),
differing as (
    -- most fields are equal as they stand
    select *, unnest(list_filter(range(1, len(field_values) + 1), lambda place: property_values[place] is distinct from field_values[place])) as place
    from pair
),
judged as (
    select
        differing.hubspot_contact_id, differing.rival_id, differing.looks_different, field.property, field.rule, field.consent,
        differing.property_values[differing.place] as hubspot_value,
        differing.field_values[differing.place] as salesforce_value,
        main.switch_effect(differing.property_values[differing.place], differing.field_values[differing.place], field, knobs) as effect
    from differing
    inner join core.mapped_field as field on field.object_type = differing.object_type and field.place = differing.place
    cross join main.policy as knobs
)
select
    hubspot_contact_id, rival_id, property, hubspot_value, salesforce_value, rule, effect, consent,
    effect in ('overwrite', 'clear') as is_at_risk,
    effect = 'backfill' and looks_different as spreads_to_stranger
from judged
where effect is not null;
