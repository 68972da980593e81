-- One row: a live HubSpot contact with more than one candidate, and what each policy needs to know to name the next one.
-- Where there is only one candidate, all policies say the same.
-- A candidate awaits the next sync when it was updated since the contact's last one (since it was bound, for a contact that never
-- synced) by someone else than the integration user. Where a time is unknown it does not: what was observed is the truth.
--
-- hubspot_contact_id: the contact
-- bound_id: the live record it is bound to; null when unbound, or bound to a record that is gone
-- candidate_ids: all candidates, oldest first
-- matching: how many of them have an e-mail that matches
-- oldest_id: the matching record created first (rule 7, oldest_created)
-- oldest_contact_first_id: the matching Contact created first, else the Lead (rule 7, contact_first)
-- newest_by_modstamp: the records that await the next sync with the latest SystemModstamp; more than one is a tie; empty when none waits
-- newest_by_modified: the same by LastModifiedDate
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
waiting as (
    select
        *,
        case when modified_at > since and not is_own_write then modified_at end as waiting_modstamp,
        case when last_modified_at > since and not is_own_write then last_modified_at end as waiting_modified
    from candidate
),
newest as (
    select
        *,
        max(waiting_modstamp) over (partition by hubspot_contact_id) as newest_modstamp,
        max(waiting_modified) over (partition by hubspot_contact_id) as newest_modified
    from waiting
)
select
    hubspot_contact_id,
    max(record_id) filter (where is_bound) as bound_id,
    list(record_id order by created_at nulls last, record_id) as candidate_ids,
    count(*) filter (where matches_email) as matching,
    (list(record_id order by created_at nulls last, record_id) filter (where matches_email))[1] as oldest_id,
    (list(record_id order by object_type, created_at nulls last, record_id) filter (where matches_email))[1] as oldest_contact_first_id,
    coalesce(list(record_id order by record_id) filter (where waiting_modstamp = newest_modstamp), []) as newest_by_modstamp,
    coalesce(list(record_id order by record_id) filter (where waiting_modified = newest_modified), []) as newest_by_modified
from newest
group by hubspot_contact_id;
