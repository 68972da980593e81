-- One row: a value of a HubSpot contact that a past switch replaced, by HubSpot's history (core.replaced_value). Where the binding was cleared in between
-- nothing switched: core.switch_event calls that a first binding.
--
-- hubspot_contact_id: the contact
-- switched_at: the switch, as in core.switch_event
-- property: the property
-- value_before: the value that was replaced
-- value_after: what the switch wrote
-- source_before: who had written the value before, in HubSpot's words
-- slice: hubspot_contact_id
create or replace table core.overwritten_value as
select hubspot_contact_id, switched_at, property, value_before, value_after, source_before
from core.replaced_value
where not was_cleared and evidence = 'history';
