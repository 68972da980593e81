-- One row: a run-book: what is to be brought together, and who depends on it. One for each cluster, and one for each contact that a record could draw
-- away though no cluster has its e-mail: the records have other e-mails of it, or the bound one has another (docs/prediction.md).
--
-- book: names it
-- email: the cluster; without one, the contact's e-mail
-- hubspot_contact_id: the live contact with that e-mail
-- bound_id: the live record that this contact is bound to
-- own_id: that record; where there is none, the one that it is predicted to be bound to
-- is_of_cluster: it covers the cluster
-- is_shared_mailbox: the records of the cluster look like different people
-- is_of_strangers: without a cluster: its own record has an e-mail that is none of the contact's, or looks like somebody else than its rivals
-- slice: coalesce(email, hubspot_contact_id)
create or replace table core.run_book as
with loose as (
    select
        rival.hubspot_contact_id,
        any_value(binding.email) as email,
        any_value(binding.bound_id) filter (where binding.bound_state = 'live') as bound_id,
        any_value(case when binding.bound_state = 'live' then binding.bound_id else binding.predicted_id end) as own_id,
        bool_or(rival.looks_different) as looks_different
    from core.rival as rival
    inner join core.binding as binding on binding.hubspot_contact_id = rival.hubspot_contact_id
    anti join core.shared_email as cluster on cluster.email = binding.email
    group by rival.hubspot_contact_id
)
select
    email as book, email, hubspot_contact_id, bound_id, bound_id as own_id, true as is_of_cluster, is_shared_mailbox, false as is_of_strangers
from core.shared_email
union all
select
    '#' || loose.hubspot_contact_id, loose.email, loose.hubspot_contact_id, loose.bound_id, loose.own_id, false, false,
    loose.looks_different
        or (not main.is_blank(own.email_raw)
            and not coalesce(own.email = contact.email or list_contains(contact.additional_emails, own.email), false))
from loose
inner join core.hubspot_contact as contact on contact.contact_id = loose.hubspot_contact_id
left join core.salesforce_person as own on own.record_id = loose.own_id;
