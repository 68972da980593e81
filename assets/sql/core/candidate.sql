-- One row: a live HubSpot contact and a live Salesforce record that it could be bound to after the next sync.
-- These are the records under its e-mail (C(e) in docs/prediction.md) and the record it is bound to, whatever e-mail that has.
--
-- hubspot_contact_id: the contact
-- record_id: the record
-- object_type: Lead or Contact
-- created_at: when the record was created
-- matches_email: it is in C(e), which secondary_email_matches widens
-- matches_primary_email: it has the primary e-mail
-- is_bound: the contact is bound to it
create or replace table core.candidate as
with address as (
    select contact_id, email, true as is_primary from core.hubspot_contact where state = 'live' and email is not null
    union all
    select contact_id, unnest(additional_emails) as email, false as is_primary
    from core.hubspot_contact
    cross join main.policy as policy
    where state = 'live' and policy.secondary_email_matches and email is not null
),
link as (
    select address.contact_id as hubspot_contact_id, person.record_id, address.is_primary, true as matches_email
    from address
    inner join core.salesforce_person as person on person.email = address.email and person.state = 'live'
    union all
    select contact.contact_id, person.record_id, false as is_primary, false as matches_email
    from core.hubspot_contact as contact
    inner join core.salesforce_person as person on person.record_id = contact.bound_id and person.state = 'live'
    where contact.state = 'live'
),
pair as (
    select hubspot_contact_id, record_id, bool_or(is_primary) as matches_primary_email, bool_or(matches_email) as matches_email
    from link
    group by hubspot_contact_id, record_id
)
select
    pair.hubspot_contact_id,
    pair.record_id,
    person.object_type,
    person.created_at,
    pair.matches_email,
    pair.matches_primary_email,
    coalesce(person.record_id = contact.bound_id, false) as is_bound
from pair
inner join core.salesforce_person as person on person.record_id = pair.record_id
inner join core.hubspot_contact as contact on contact.contact_id = pair.hubspot_contact_id;
