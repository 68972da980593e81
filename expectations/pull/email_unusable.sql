-- An e-mail binds nobody, or binds everybody.
--
-- severity: warn
-- basis: documented
-- harm: none
-- on: core/salesforce_person
-- slice: coalesce(hubspot_contact_id, salesforce_id)
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
-- Auf Deutsch: Über eine E-Mail lässt sich niemand zuordnen, oder alle.
-- Warum: Die Integration ordnet nach der E-Mail zu. Mit einer unbrauchbaren wird die Person nie verknüpft oder bekommt einen zweiten Datensatz; ein
-- Platzhalter, den viele teilen, macht Duplikate aus ihnen.
-- Sonst: Die Person bleibt ohne Verknüpfung, oder teilt eine mit Fremden.
--
-- says unusable: {object|contact: HubSpot contact|{object}} {record} has an e-mail that can never match: it is no single address.
-- says.de unusable: {object|contact: HubSpot-Kontakt|Contact: Salesforce-Kontakt|{object}} {record} hat eine E-Mail, die sich nie zuordnen lässt: Sie ist
--   keine einzelne Adresse.
-- do unusable: Correct the e-mail; until then the integration cannot bind this person.
-- do.de unusable: Die E-Mail berichtigen; bis dahin kann die Integration diese Person nicht verknüpfen.
-- says placeholder: {object|contact: HubSpot contact|{object}} {record} has a placeholder instead of an e-mail; all who share it look like one person.
-- says.de placeholder: {object|contact: HubSpot-Kontakt|Contact: Salesforce-Kontakt|{object}} {record} hat einen Platzhalter statt einer E-Mail; alle, die
--   ihn teilen, sehen wie eine Person aus.
-- do placeholder: Clear the e-mail, or enter the real one.
-- do.de placeholder: Die E-Mail leeren oder die wirkliche eintragen.
with placeholder as (
    select distinct main.matching_email(address) as email
    from (select unnest(placeholder_emails) as address from main.policy) as listed
),
person as (
    select null as hubspot_contact_id, record_id as salesforce_id, object_type, email_raw, email
    from core.salesforce_person
    where state = 'live' and not main.is_blank(email_raw)
    union all
    select contact_id, null, 'contact', email_raw, email
    from core.hubspot_contact
    where state = 'live' and not main.is_blank(email_raw)
)
select
    person.hubspot_contact_id,
    person.salesforce_id,
    person.email,
    case when person.email is null then 'unusable' else 'placeholder' end as says,
    map {'object': person.object_type, 'record': coalesce(person.hubspot_contact_id, person.salesforce_id)} as facts,
    person.email_raw as identity
from person
left join placeholder on placeholder.email = person.email
where person.email is null or placeholder.email is not null;
