-- One row: a live HubSpot contact with more than one candidate, and what each policy needs to know to name the next one.
-- Where there is only one candidate, all policies say the same.
-- A candidate awaits the next sync when it was updated since the contact's last one (since it was bound, for a contact that never
-- synced) by someone else than the integration user. Where a time is unknown it does not: what was observed is the truth.
--
-- hubspot_contact_id: the contact
-- bound_id: the live record it is bound to; null when unbound, or bound to a record that is gone
-- candidate_ids: all candidates, oldest first
-- matching: how many of them have an e-mail that matches
-- first_by: the matching record that a first sync takes (rule 7), by the values of first_sync; null for a value that leaves it open. Null without a match
-- newest_by: the records that await the next sync with the latest stamp, by the values of recency; more than one is a tie; empty when none waits
-- slice: hubspot_contact_id
create or replace table core.choice as
with candidate as (
    select
        candidate.*,
        person.modified_at,
        person.last_modified_at,
        coalesce(contact.last_sync_at, contact.bound_since) as since,
        policy.integration_user_id is not null and person.last_modified_by_id is not distinct from policy.integration_user_id as is_own_write
    from core.candidate as candidate
    inner join (
        select hubspot_contact_id from core.candidate group by hubspot_contact_id having count(*) > 1
    ) as several on several.hubspot_contact_id = candidate.hubspot_contact_id
    inner join core.salesforce_person as person on person.record_id = candidate.record_id
    inner join core.hubspot_contact as contact on contact.contact_id = candidate.hubspot_contact_id
    cross join main.policy as policy
),
first_of as (
    select
        candidate.hubspot_contact_id, knob.value as first_sync,
        case
            when count(*) = 1 then min(candidate.record_id)
            else main.first_in_order(candidate.record_id, main.first_sync_order(knob.value, candidate.object_type, candidate.created_at))
        end as record_id
    from candidate
    cross join staging.knob_value as knob
    where candidate.matches_email and knob.knob = 'policy.first_sync'
    group by candidate.hubspot_contact_id, knob.value
),
waiting as (
    select hubspot_contact_id, record_id, recency, case when stamp > since and not is_own_write then stamp end as waiting_since
    from (
        select candidate.*, knob.value as recency, main.recency_stamp(knob.value, candidate.modified_at, candidate.last_modified_at) as stamp
        from candidate
        cross join staging.knob_value as knob
        where knob.knob = 'policy.recency'
    ) as stamped
),
newest as (
    select hubspot_contact_id, recency, main.latest(record_id, waiting_since) as record_ids
    from waiting
    group by hubspot_contact_id, recency
),
contact as (
    select
        hubspot_contact_id,
        max(record_id) filter (where is_bound) as bound_id,
        list(record_id order by created_at nulls last, record_id) as candidate_ids,
        count(*) filter (where matches_email) as matching
    from candidate
    group by hubspot_contact_id
)
select contact.*, first_by.first_by, newest_by.newest_by
from contact
left join (
    select hubspot_contact_id, main.by_value(first_sync, record_id) as first_by from first_of group by hubspot_contact_id
) as first_by on first_by.hubspot_contact_id = contact.hubspot_contact_id
inner join (
    select hubspot_contact_id, main.by_value(recency, record_ids) as newest_by from newest group by hubspot_contact_id
) as newest_by on newest_by.hubspot_contact_id = contact.hubspot_contact_id;
