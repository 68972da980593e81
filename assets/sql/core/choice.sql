-- One row: a live HubSpot contact with more than one candidate, and what each policy would need to know to name the next one.
-- Where there is only one candidate, all policies say the same.
--
-- hubspot_contact_id: the contact
-- bound_id: the live record it is bound to; null when unbound, or bound to a record that is gone
-- oldest_id: the record created first (rule 7, oldest_created)
-- oldest_contact_first_id: the Contact created first, else the Lead (rule 7, contact_first)
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
    inner join core.hubspot_contact as contact on contact.contact_id = candidate.hubspot_contact_id and contact.is_in_scope
    cross join main.policy as policy
),
pending as (
    select
        *,
        case when modified_at > since and not is_own_write then modified_at end as pending_modstamp,
        case when last_modified_at > since and not is_own_write then last_modified_at end as pending_modified
    from candidate
),
newest as (
    select
        *,
        max(pending_modstamp) over (partition by hubspot_contact_id) as newest_modstamp,
        max(pending_modified) over (partition by hubspot_contact_id) as newest_modified
    from pending
)
select
    hubspot_contact_id,
    max(record_id) filter (where is_bound) as bound_id,
    arg_min(record_id, (created_at, record_id)) filter (where matches_email) as oldest_id,
    arg_min(record_id, (object_type, created_at, record_id)) filter (where matches_email) as oldest_contact_first_id,
    coalesce(list(record_id order by record_id) filter (where pending_modstamp = newest_modstamp), []) as newest_by_modstamp,
    coalesce(list(record_id order by record_id) filter (where pending_modified = newest_modified), []) as newest_by_modified
from newest
group by hubspot_contact_id;
