-- One row: a mapped field that the first binding of a contact would change.
--
-- hubspot_contact_id: the contact, which is bound to nothing
-- record_id: the record that it will be bound to
-- property: the HubSpot property
-- hubspot_value: its value now
-- salesforce_value: the record's value
-- rule: the mapping rule of the field
-- effect: overwrite (HubSpot's value is replaced), backfill (it is written into the record), fill (a gap is filled)
-- consent: the field says whether the person may be written to
-- slice: hubspot_contact_id
create or replace table core.first_binding_value as
select hubspot_contact_id, record_id, property, hubspot_value, salesforce_value, rule, effect, consent
from core.carried_value
where not is_rival and effect <> 'clear';
