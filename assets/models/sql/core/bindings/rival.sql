-- One row: a live HubSpot contact and a duplicate that could take over its binding.
-- Rivals are the live records under its primary e-mail other than the bound one (other than the predicted one, when the bound one is
-- not live). There are none where no switch is possible: follow_up is sticky, or the contact is outside the inclusion list.
--
-- hubspot_contact_id: the contact
-- rival_id: the record that could take over
-- object_type: Lead or Contact
create or replace table core.rival as
select candidate.hubspot_contact_id, candidate.record_id as rival_id, candidate.object_type
from core.candidate as candidate
inner join core.binding as binding on binding.hubspot_contact_id = candidate.hubspot_contact_id
where candidate.matches_primary_email
  and binding.switch_is_possible
  and candidate.record_id is distinct from case when binding.bound_state = 'live' then binding.bound_id else binding.predicted_id end;
