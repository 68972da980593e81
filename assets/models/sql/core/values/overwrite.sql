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
-- slice: hubspot_contact_id
create or replace table core.overwrite as
select
    hubspot_contact_id, record_id as rival_id, property, hubspot_value, salesforce_value, rule, effect, consent,
    effect in ('overwrite', 'clear') as is_at_risk,
    effect = 'backfill' and looks_different as spreads_to_stranger
from core.carried_value
where is_rival;
