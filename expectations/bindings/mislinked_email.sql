-- A contact is bound to a live record that has somebody else's e-mail.
--
-- severity: block
-- basis: documented
-- harm: mixed_people
-- on: core/binding
-- due: never, review.violation has the settle time
-- slice: hubspot_contact_id
--
-- Fails when a contact and the live record it is bound to both have an e-mail, the record's is neither the contact's primary nor one of
-- its additional e-mails, and this has been so for longer than the settle time (counted from the last of: record modified, contact bound,
-- contact's e-mail changed).
-- Why: the integration matches by e-mail alone. A binding across e-mails sends one person's data to another (rules 4, 20, 30).
-- Otherwise: one person's values go on flowing into the other's record with every sync.
-- Rests on: rules 4, 19, 20, 30.
-- Not: a difference in case or surrounding spaces; a match through an additional e-mail.
-- Steward: find out which of the two is right, and correct the e-mail or the id.
--
-- Auf Deutsch: Ein Kontakt ist mit einem Datensatz verknüpft, der die E-Mail von jemand anderem hat.
-- Warum: Die Integration ordnet allein nach der E-Mail zu. Eine Verknüpfung über verschiedene E-Mails hinweg schickt die Daten einer Person zu
-- einer anderen (Regeln 4, 20, 30).
-- Sonst: Die Werte der einen Person fließen bei jeder Synchronisierung weiter in den Datensatz der anderen.
--
-- says mislinked: It is bound to {record}, whose e-mail is none of this contact's.
-- says.de mislinked: Er ist mit {record} verknüpft, dessen E-Mail keine dieses Kontakts ist.
-- do mislinked: [{quoted}|[?own Check whose record {record} is. {own} has this contact's own e-mail: if that is the right one, entering the contact's
--   values there moves the binding, on purpose; {record} stays.|Find out whose record it is. Correct the e-mail, or clear the id and resync the contact.]]
-- do.de mislinked: [{quoted}|[?own Klären, wessen Datensatz {record} ist. {own} hat die eigene E-Mail dieses Kontakts: Ist das der richtige, die Werte des
--   Kontakts dort eintragen; die Verknüpfung springt dann dorthin, mit Absicht, und {record} bleibt.|Klären, wessen Datensatz es ist. Die E-Mail
--   berichtigen, oder die ID leeren und den Kontakt neu synchronisieren.]]
with mislinked as (
    select
        binding.hubspot_contact_id, binding.bound_id, binding.candidate_ids, binding.email, contact.email as own_email, md5(person.email) as identity
    from core.candidate as candidate
    inner join core.binding as binding on binding.hubspot_contact_id = candidate.hubspot_contact_id and binding.bound_id = candidate.record_id
    inner join core.hubspot_contact as contact on contact.contact_id = binding.hubspot_contact_id
    inner join core.salesforce_person as person on person.record_id = binding.bound_id
    cross join staging.clock as clock
    cross join main.policy as policy
    where candidate.is_bound and not candidate.matches_primary_email
      and binding.bound_state = 'live'
      and person.email <> contact.email
      and not list_contains(contact.additional_emails, person.email)
      and coalesce(
          clock.as_of - greatest(person.modified_at, contact.bound_since, contact.email_changed_at) > to_minutes(policy.settle_minutes),
          true)
),
own as (
    -- live records with the contact's own e-mail
    select email, list(record_id order by record_id) as record_ids
    from core.salesforce_person
    where state = 'live' and email in (select own_email from mislinked)
    group by email
)
select
    mislinked.hubspot_contact_id,
    mislinked.bound_id as salesforce_id,
    list_filter(mislinked.candidate_ids, lambda id: id <> mislinked.bound_id) as rival_ids,
    mislinked.email,
    'mislinked' as says,
    map {'record': mislinked.bound_id, 'own': array_to_string(own.record_ids[:3], ', ')} as facts,
    first_step.quoted,
    mislinked.identity
from mislinked
left join core.first_step as first_step on first_step.hubspot_contact_id = mislinked.hubspot_contact_id
left join own on own.email = mislinked.own_email;
