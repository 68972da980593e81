-- Several addresses reach one mailbox, and HubSpot takes them for different people.
--
-- severity: warn
-- basis: inferred
-- harm: drift
-- on: core/salesforce_person
--
-- Fails when live Salesforce records have different e-mails that the mail provider delivers to one mailbox: dots and plus tags at gmail.com
-- and googlemail.com; plus tags at outlook.com, hotmail.com, live.com, icloud.com, proton.me, protonmail.com and fastmail.com. One finding a mailbox.
-- Why: one person has two contacts, two consents and two owners; what one of them opted out of still reaches the other.
-- Otherwise: the person keeps two contacts; nothing breaks, but an opt-out on one does not reach the other.
-- Rests on: the address rules that these providers publish. For the integration different e-mails are different people (rule 4).
-- Not: records with one and the same e-mail (the other checks of this suite); other providers, whose rules nobody knows.
-- Steward: nothing is urgent; a switch cannot happen between different e-mails. Decide which address the person uses, then merge.
--
-- Auf Deutsch: Mehrere Adressen führen zu einem Postfach, und HubSpot hält sie für verschiedene Personen.
-- Warum: Eine Person hat zwei Kontakte, zwei Einwilligungen und zwei Inhaber; was einer davon abbestellt hat, erreicht den anderen weiter.
-- Sonst: Die Person behält zwei Kontakte; nichts geht kaputt, aber eine Abmeldung beim einen erreicht den anderen nicht.
--
-- says one_mailbox: {records:number} records have {addresses:number} different e-mails that reach one mailbox; HubSpot takes them for different people.
-- says.de one_mailbox: {records:number} Datensätze haben {addresses:number} verschiedene E-Mails, die zu einem Postfach führen; HubSpot hält sie für
--   verschiedene Personen.
-- do one_mailbox: Find out which address the person uses. If it is one person, give the records that e-mail and merge them.
-- do.de one_mailbox: Klären, welche Adresse die Person benutzt. Ist es eine Person, den Datensätzen diese E-Mail geben und sie zusammenführen.
with address as (
    select
        record_id, email, created_at,
        split_part(split_part(email, '@', 1), '+', 1) as local_part,
        substr(email, strpos(email, '@') + 1) as domain  -- of all records, and so without a list for each
    from core.salesforce_person
    where state = 'live' and email is not null
),
mailbox as (
    select
        record_id, email, created_at,
        case
            when domain in ('gmail.com', 'googlemail.com') then replace(local_part, '.', '') || '@gmail.com'
            else local_part || '@' || domain
        end as mailbox
    from address
    where domain in ('gmail.com', 'googlemail.com', 'outlook.com', 'hotmail.com', 'live.com', 'icloud.com', 'proton.me', 'protonmail.com', 'fastmail.com')
      and not starts_with(email, '+')
)
select
    arg_min(record_id, (created_at, record_id)) as salesforce_id,
    list_filter(list(record_id order by record_id), lambda id: id <> arg_min(record_id, (created_at, record_id))) as rival_ids,
    mailbox as email,
    'one_mailbox' as says,
    map {'records': cast(count(*) as varchar), 'addresses': cast(count(distinct email) as varchar)} as facts
from mailbox
group by mailbox
having count(distinct email) > 1;
