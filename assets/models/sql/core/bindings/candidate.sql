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
-- slice: hubspot_contact_id
create or replace table core.candidate as
with address as (
    select contact_id, bound_id, email, true as is_primary from core.hubspot_contact where state = 'live' and email is not null
    union all
    select distinct contact_id, bound_id, additional.email, false as is_primary
    from (
        select contact_id, bound_id, email as primary_email, unnest(additional_emails) as email
        from core.hubspot_contact
        cross join main.policy as policy
        where state = 'live' and policy.secondary_email_matches and email is not null
    ) as additional
    where additional.email <> primary_email
)
select
    address.contact_id as hubspot_contact_id,
    person.record_id,
    person.object_type,
    person.created_at,
    true as matches_email,
    address.is_primary as matches_primary_email,
    coalesce(person.record_id = address.bound_id, false) as is_bound
from address
inner join core.salesforce_person as person on person.email = address.email and person.state = 'live'
union all
-- the bound record, where its e-mail is none of those above
select contact.contact_id, person.record_id, person.object_type, person.created_at, false, false, true
from core.hubspot_contact as contact
cross join main.policy as policy
inner join core.salesforce_person as person on person.record_id = contact.bound_id and person.state = 'live'
where contact.state = 'live'
  and (contact.email is null
       or (person.email is distinct from contact.email
           and not (policy.secondary_email_matches and coalesce(list_contains(contact.additional_emails, person.email), false))));
