-- One row: a live HubSpot contact with rivals, and how near a switch is.
--
-- hubspot_contact_id: the contact
-- is_predicted: the next sync moves the binding (rule 11)
-- switch_by: the edit that causes it, plus the 15 minutes between two polls (rule 16); null where none is predicted
-- was_edited_lately: somebody else than the integration edited a rival in the last 30 days
-- stranger_ids: the rivals that look like somebody else
-- slice: hubspot_contact_id
-- due: select min(recency_at) + main.lately() from (
--   select max(person.recency_at) as recency_at
--   from core.threat as threat inner join core.rival as rival on rival.hubspot_contact_id = threat.hubspot_contact_id
--   inner join core.salesforce_person as person on person.record_id = rival.rival_id
--   cross join main.policy as policy
--   where threat.was_edited_lately
--   and (policy.integration_user_id is null or person.last_modified_by_id is distinct from policy.integration_user_id)
--   group by threat.hubspot_contact_id)
create or replace table core.threat as
select
    rival.hubspot_contact_id,
    any_value(binding.prediction) = 'switch' and any_value(binding.rule) = 11 as is_predicted,
    case when any_value(binding.prediction) = 'switch' and any_value(binding.rule) = 11
    then max(person.recency_at) filter (where rival.rival_id = binding.predicted_id) + main.poll_interval() end as switch_by,
    coalesce(bool_or(
        person.recency_at > clock.as_of - main.lately()
        and (policy.integration_user_id is null or person.last_modified_by_id is distinct from policy.integration_user_id)), false) as was_edited_lately,
    coalesce(list(rival.rival_id order by rival.rival_id) filter (where rival.looks_different), cast([] as varchar[])) as stranger_ids
from core.rival as rival
inner join core.binding as binding on binding.hubspot_contact_id = rival.hubspot_contact_id
inner join core.salesforce_person as person on person.record_id = rival.rival_id
cross join staging.clock as clock
cross join main.policy as policy
group by rival.hubspot_contact_id;
