-- One row: an e-mail with two or more live, unconverted Salesforce records, Leads and Contacts together, and what depends on it.
--
-- email: the e-mail as compared
-- lead_count: live Leads that have it
-- contact_count: live Contacts that have it
-- size: both together
-- oldest_id: the record created first (the least id on a tie)
-- newest_id: the record updated last (the least id on a tie)
-- hubspot_contact_id: the live HubSpot contact with that primary e-mail
-- bound_id: the record that contact is bound to
-- risk: of that contact, else of contacts that could jump to a record of it: unsafe (a switch would change or spread a value), switchable (it would
--   jump, no value is lost or spread), latent (nothing can jump)
-- is_shared_mailbox: its records look like different people: no two share a word of their names, though some are written in one script; or it is
--   a role mailbox under several names
-- slice: email
create or replace table core.duplicate_cluster as
with at_risk as (
    select distinct hubspot_contact_id from core.overwrite where effect <> 'fill'
),
threatened as (
    -- contacts that a record could draw away, by the e-mail of such a record
    select
        rival.hubspot_contact_id,
        person.email,
        any_value(at_risk.hubspot_contact_id) is not null as is_at_risk
    from core.rival as rival
    inner join core.salesforce_person as person on person.record_id = rival.rival_id
    left join at_risk on at_risk.hubspot_contact_id = rival.hubspot_contact_id
    group by rival.hubspot_contact_id, person.email
),
own as (
    select binding.email, bool_or(threatened.is_at_risk) as is_at_risk
    from core.binding as binding
    inner join threatened on threatened.hubspot_contact_id = binding.hubspot_contact_id
    where binding.email in (select email from core.shared_email)
    group by binding.email
),
beside as (
    select email, bool_or(is_at_risk) as is_at_risk from threatened group by email
)
select
    cluster.email,
    cluster.lead_count,
    cluster.contact_count,
    cluster.size,
    cluster.oldest_id,
    cluster.newest_id,
    cluster.hubspot_contact_id,
    cluster.bound_id,
    case
        when cluster.hubspot_contact_id is not null
        then case when own.is_at_risk then 'unsafe' when own.email is not null then 'switchable' else 'latent' end
        when beside.is_at_risk then 'unsafe'
        when beside.email is not null then 'switchable'
        else 'latent'
    end as risk,
    cluster.is_shared_mailbox
from core.shared_email as cluster
left join own on own.email = cluster.email
left join beside on beside.email = cluster.email;
