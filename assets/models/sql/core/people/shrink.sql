-- One row: a kind of record of which so many are missing, without an explanation, that the run is not believed (pull_incomplete).
-- What a CRM explains (deleted, merged, archived) is not missing, however much. What a person accepted stands here too.
--
-- name: salesforce.Lead, salesforce.Contact, hubspot.contact, hubspot.inclusion_list
-- kind: records (counted, or listed), archived (HubSpot lists none any more), members (of the inclusion list), nothing (no run was proven yet, and there
--   is nothing to guard)
-- known: so many there should be
-- counted: so many there are
-- is_accepted: a person said with --accept-shrink that it is so
-- due: always
create or replace table core.shrink as
with live as (
    select 'salesforce.' || object_type as name, count(*) as known from core.salesforce_person where state in ('live', 'converted') group by object_type
    union all
    select 'hubspot.contact', count(*) from core.hubspot_contact where state = 'live'
),
asked as (
    select
        asked.name,
        case when asked.kind in ('counted', 'listed') then 'records' else asked.kind end as kind,
        coalesce(asked.known, live.known, 0) as known,
        asked.counted
    from main.object_count as asked
    inner join main.current_run as run on run.run_id = asked.run_id
    left join live on live.name = asked.name
),
incomplete as (
    select pull.source from raw.pull as pull inner join main.current_run as run on run.run_id = pull.run_id where not pull.complete
),
proven as (
    select count(*) as runs from main.run where verdict in ('pass', 'fail')
)
select
    asked.name, asked.kind, asked.known, asked.counted,
    not main.is_implausible(asked.known - coalesce(accepted.missing, 0), asked.counted, policy.shrink_records, policy.shrink_percent) as is_accepted
from asked
left join main.shrink_in_force as accepted on accepted.name = asked.name and accepted.kind = asked.kind
cross join main.policy as policy
where main.is_implausible(asked.known, asked.counted, policy.shrink_records, policy.shrink_percent)
union all
select
    nothing.name, 'nothing', 0, 0,
    exists (select 1 from main.shrink_in_force as accepted where accepted.name = nothing.name and accepted.kind = 'nothing')
from (
    select 'salesforce.Contact' as name
    where not exists (select 1 from core.salesforce_person where state in ('live', 'converted'))
      and not exists (select 1 from incomplete where source = 'salesforce')
    union all
    select 'hubspot.contact'
    where not exists (select 1 from core.hubspot_contact where state = 'live' and bound_id is not null)
      and not exists (select 1 from incomplete where source = 'hubspot')
) as nothing
cross join proven
where proven.runs = 0;
