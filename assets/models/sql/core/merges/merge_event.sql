-- One row: a Salesforce merge (one loser), and a HubSpot contact that was bound to the loser; one row without a contact when nobody was.
--
-- loser_id: the record that was merged away
-- winner_id: the record it was merged into
-- survivor_id: the end of the merge chain; null in a cycle
-- object_type: Lead or Contact
-- merged_at: the loser's SystemModstamp when it was first seen merged
-- hubspot_contact_id: the contact that was bound to the loser
-- loser_was_bound: somebody was
-- outcome: safe (nobody was bound), rebound (to the survivor), moved (to a third record), sync_broken (the contact still names the
--   loser, or nothing), contact_deleted (the contact was archived after the merge), pending (still inside the settle time)
-- is_new: first seen merged after the first run
-- archived_at: when the contact was archived
-- slice: loser_id
-- due: select min(merged_at) + to_minutes(any_value(settle_minutes)) from core.merge_event cross join main.policy where outcome = 'pending'
create or replace table core.merge_event as
with merged_version as (
    select record_id, modified_at, pull_no from staging.salesforce_version where is_deleted and merged_into_id is not null
),
first_seen as (
    select record_id, min_by(modified_at, pull_no) as merged_at, min(pull_no) as pull_no
    from merged_version
    group by record_id
),
id_version as (
    select
        hubspot_contact_id, main.salesforce_id18(value) as id, changed_at,
        lead(changed_at) over (partition by hubspot_contact_id, read_from_id, property order by changed_at, pull_no, source_type, value) as until
    from staging.hubspot_property_version
    -- every version of the contacts that ever named a loser; a loser may stand there with 15 characters
    where main.is_id_property(property)
      and hubspot_contact_id in (
          select hubspot_contact_id
          from staging.hubspot_property_version
          where main.is_id_property(property) and left(trim(value), 15) in (select left(record_id, 15) from first_seen)
      )
),
was_bound as (
    select merge.record_id, id_version.hubspot_contact_id
    from first_seen as merge
    inner join id_version
        on id_version.id = merge.record_id
        and id_version.changed_at <= merge.merged_at
        and coalesce(id_version.until >= merge.merged_at, true)
    union
    select merge.record_id, contact.contact_id
    from first_seen as merge
    inner join core.hubspot_contact as contact on contact.salesforce_lead_id = merge.record_id
    union
    select merge.record_id, contact.contact_id
    from first_seen as merge
    inner join core.hubspot_contact as contact on contact.salesforce_contact_id = merge.record_id
),
bound_contact as (
    select was_bound.record_id, contact.*
    from was_bound
    inner join core.hubspot_contact as contact on contact.contact_id = was_bound.hubspot_contact_id
    inner join first_seen as merge on merge.record_id = was_bound.record_id
    where contact.state in ('live', 'vanished') or (contact.state = 'archived' and contact.archived_at >= merge.merged_at)
)
select
    loser.record_id as loser_id,
    loser.merged_into_id as winner_id,
    loser.survivor_id,
    loser.object_type,
    merge.merged_at,
    contact.contact_id as hubspot_contact_id,
    contact.contact_id is not null as loser_was_bound,
    case
        when contact.contact_id is null then 'safe'
        when contact.state <> 'live' then 'contact_deleted'
        when contact.bound_id = loser.survivor_id then 'rebound'
        when contact.bound_id is null or contact.bound_id = loser.record_id then
            case when clock.as_of - merge.merged_at <= to_minutes(policy.settle_minutes) then 'pending' else 'sync_broken' end
        else 'moved'
    end as outcome,
    coalesce(merge.pull_no > clock.first_run_pull_no, false) as is_new,
    contact.archived_at
from core.salesforce_person as loser
inner join first_seen as merge on merge.record_id = loser.record_id
left join bound_contact as contact on contact.record_id = loser.record_id
cross join staging.clock as clock
cross join main.policy as policy
where loser.state = 'merged';
