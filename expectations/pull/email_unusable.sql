-- An e-mail binds nobody, or binds everybody.
--
-- severity: warn
-- basis: documented
-- harm: none
-- on: core/salesforce_person
--
-- Fails when a live record or contact has an e-mail that can never match (not exactly one @ with something on both sides, white space, a comma,
-- a semicolon, angle brackets or "mailto:" in it), or one from the policy's list of placeholders.
-- Why: the integration matches by e-mail. With an unusable one the person is never bound, or gets a second record; a placeholder that many
-- people share makes duplicates of them.
-- Otherwise: the person stays without a binding, or shares one with strangers.
-- Rests on: rule 1: a contact without an e-mail is never bound.
-- Not: a record without an e-mail, a converted Lead, anything deleted.
-- Steward: correct the e-mail at its source. Clear a placeholder; a record without an e-mail is better than one with somebody else's.
--
-- Auf Deutsch: Eine E-Mail verknüpft niemanden, oder alle.
-- Warum: Die Integration ordnet nach der E-Mail zu. Mit einer unbrauchbaren wird die Person nie verknüpft oder bekommt einen zweiten Datensatz; ein
-- Platzhalter, den viele teilen, macht Duplikate aus ihnen.
-- Sonst: Die Person bleibt ohne Verknüpfung, oder teilt eine mit Fremden.
with placeholder as (
    select distinct main.matching_email(address) as email
    from (select unnest(placeholder_emails) as address from main.policy) as listed
),
person as (
    select null as hubspot_contact_id, record_id as salesforce_id, object_type || ' ' || record_id as who, email_raw, email
    from core.salesforce_person
    where state = 'live' and not main.is_blank(email_raw)
    union all
    select contact_id, null, 'HubSpot contact ' || contact_id, email_raw, email
    from core.hubspot_contact
    where state = 'live' and not main.is_blank(email_raw)
)
select
    person.hubspot_contact_id,
    person.salesforce_id,
    person.email,
    case
        when person.email is null then person.who || ' has an e-mail that can never match: it is no single address.'
        else person.who || ' has a placeholder instead of an e-mail; all who share it look like one person.'
    end as reason,
    case
        when person.email is null then 'Correct the e-mail; until then the integration cannot bind this person.'
        else 'Clear the e-mail, or enter the real one.'
    end as action,
    replace(person.who, 'HubSpot contact', 'HubSpot-Kontakt') || case
        when person.email is null then ' hat eine E-Mail, die nie passen kann: sie ist keine einzelne Adresse.'
        else ' hat einen Platzhalter statt einer E-Mail; alle, die ihn teilen, sehen wie eine Person aus.'
    end as reason_de,
    case
        when person.email is null then 'Die E-Mail berichtigen; bis dahin kann die Integration diese Person nicht verknüpfen.'
        else 'Die E-Mail leeren oder die wirkliche eintragen.'
    end as action_de,
    person.email_raw as facts
from person
left join placeholder on placeholder.email = person.email
where person.email is null or placeholder.email is not null;
