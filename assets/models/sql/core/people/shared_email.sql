-- One row: an e-mail with two or more live, unconverted Salesforce records, Leads and Contacts together.
--
-- email: the e-mail as compared
-- lead_count: live Leads that have it
-- contact_count: live Contacts that have it
-- size: both together
-- oldest_id: the record created first (the least id on a tie)
-- newest_id: the record updated last (the least id on a tie)
-- hubspot_contact_id: the live HubSpot contact with that primary e-mail
-- bound_id: the record that contact is bound to
-- is_shared_mailbox: its records look like different people: no two share a word of their names, though some are written in one script; or it is
--   a role mailbox under several names
-- slice: email
create or replace table core.shared_email as
with shared_email as (
    select email from core.salesforce_person where state = 'live' and email is not null group by email having count(*) > 1
),
cluster as (
    select
        email,
        count(*) filter (where object_type = 'Lead') as lead_count,
        count(*) filter (where object_type = 'Contact') as contact_count,
        count(*) as size,
        list(record_id order by created_at nulls last, record_id)[1] as oldest_id,
        list(record_id order by recency_at desc nulls last, record_id)[1] as newest_id
    from core.salesforce_person
    where state = 'live' and email in (select email from shared_email)
    group by email
),
named as (
    select email, main.name_words(display_name) as words, main.name_scripts(display_name) as scripts
    from core.salesforce_person
    where state = 'live' and email in (select email from shared_email)
),
word_of as (
    select email, unnest(words) as word from named
),
script_of as (
    select email, unnest(scripts) as script from named where len(words) > 0
),
mailbox as (
    -- a record without a name is no evidence either way
    select
        named.email,
        bool_or(shares_script.email is not null) and not bool_or(shares_word.email is not null) as has_strangers,
        count(distinct array_to_string(named.words, ' ')) > 1 as has_several_names
    from named
    left join (
        select distinct email from (select email, word from word_of group by email, word having count(*) > 1) as twice
    ) as shares_word on shares_word.email = named.email
    left join (
        select distinct email from (select email, script from script_of group by email, script having count(*) > 1) as in_one_script
    ) as shares_script on shares_script.email = named.email
    where len(named.words) > 0
    group by named.email
),
contact as (
    select
        binding.email,
        -- two contacts with one primary e-mail should not exist; if they do, the older id stands for both
        min_by(binding.hubspot_contact_id, (length(binding.hubspot_contact_id), binding.hubspot_contact_id)) as hubspot_contact_id,
        min_by(binding.bound_id, (length(binding.hubspot_contact_id), binding.hubspot_contact_id)) as bound_id
    from core.binding as binding
    where binding.email in (select email from shared_email)
    group by binding.email
)
select
    cluster.email,
    cluster.lead_count,
    cluster.contact_count,
    cluster.size,
    cluster.oldest_id,
    cluster.newest_id,
    contact.hubspot_contact_id,
    contact.bound_id,
    coalesce(
        mailbox.has_strangers or (mailbox.has_several_names and main.is_role_mailbox(cluster.email, policy.role_mailboxes)),
        false) as is_shared_mailbox
from cluster
left join contact on contact.email = cluster.email
left join mailbox on mailbox.email = cluster.email
cross join main.policy as policy;
