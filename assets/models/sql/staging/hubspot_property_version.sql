-- One row: an entry of a property's history, typed, under the contact that owns it today.
-- After a HubSpot merge the history belongs to the surviving contact; read_from_id keeps apart what came from which.
--
-- hubspot_contact_id: the contact that the history belongs to today
-- read_from_id: the contact id it was read from
-- property: internal name of the property
-- value: the value from that moment on; null when it was cleared
-- changed_at: when
-- source_type: who wrote it, in HubSpot's words (SALESFORCE is the integration)
-- pull_no: the first pull that had it
-- slice: hubspot_contact_id
-- due: select as_of from staging.clock where exists (
--   select 1 from raw.hubspot_property_version
--   where (changed_at > strftime(as_of, '%Y-%m-%d') or changed_at not like '____-%') and main.utc(changed_at) > as_of + main.clock_slack())
create or replace table staging.hubspot_property_version as
select
    coalesce(merged.merged_into_id, v.contact_id) as hubspot_contact_id,
    v.contact_id as read_from_id,
    v.property,
    nullif(v.value, '') as value,
    main.not_after(main.utc(v.changed_at), clock.as_of) as changed_at,
    v.source_type,
    min(v.pull_no) as pull_no
from raw.hubspot_property_version as v
left join staging.hubspot_merge as merged on merged.contact_id = v.contact_id
cross join staging.clock as clock
group by all;
