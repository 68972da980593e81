-- One row: a mapped field that would change if a contact were bound to that record (rules 24 to 28; the table is in docs/prediction.md): for its rivals, and
-- for the record that an unbound contact will be bound to.
--
-- hubspot_contact_id: the contact
-- record_id: the record
-- is_rival: a switch would bring it there; otherwise the first binding
-- property: the HubSpot property
-- hubspot_value: its value now
-- salesforce_value: the record's value
-- rule: the mapping rule of the field
-- effect: overwrite (HubSpot's value is replaced), clear (it is emptied), backfill (it is written into the record), fill (a gap is filled)
-- consent: the field says whether the person may be written to
-- looks_different: by its name the rival is somebody else than the bound record
-- slice: hubspot_contact_id
create or replace table core.carried_value as
with pair as (
    select hubspot_contact_id, rival_id as record_id, object_type, true as is_rival, looks_different from core.rival
    union all
    select binding.hubspot_contact_id, person.record_id, person.object_type, false, false
    from core.binding as binding
    inner join core.salesforce_person as person on person.record_id = binding.predicted_id
    where binding.bound_state = 'none' and binding.prediction = 'bind'
),
differing as (
    -- most fields are equal as they stand; the lists are let go of at once
    select
        pair.*,
        unnest(list_transform(
            list_filter(
                range(1, len(record.field_values) + 1), lambda place: contact.property_values[place] is distinct from record.field_values[place]),
            lambda place: {'place': place, 'hubspot': contact.property_values[place], 'salesforce': record.field_values[place]})) as value
    from pair
    inner join core.contact_value as contact on contact.contact_id = pair.hubspot_contact_id and contact.object_type = pair.object_type
    inner join core.record_value as record on record.record_id = pair.record_id
),
judged as materialized (
    -- or what a switch does would be worked out twice
    select
        differing.* exclude (value), field.property, field.rule, field.consent,
        differing.value.hubspot as hubspot_value,
        differing.value.salesforce as salesforce_value,
        main.switch_effect(differing.value.hubspot, differing.value.salesforce, field, knobs) as effect
    from differing
    inner join core.mapped_field as field on field.object_type = differing.object_type and field.place = differing.value.place
    cross join main.policy as knobs
)
select hubspot_contact_id, record_id, is_rival, property, hubspot_value, salesforce_value, rule, effect, consent, looks_different
from judged
where effect is not null;
