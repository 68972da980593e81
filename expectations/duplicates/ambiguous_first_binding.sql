-- A contact that is not bound yet has several records to choose from.
--
-- severity: warn
-- severity: block when the candidates belong to two different accounts or owners
-- basis: observed
-- harm: drift
-- on: core/binding
-- slice: hubspot_contact_id
--
-- Fails when a live HubSpot contact carries no Salesforce id and two or more live Salesforce records have its primary e-mail.
-- Why: which one the first sync takes is not documented (rule 7: usually the oldest). With different accounts or owners the wrong
-- choice sends a person's data to another customer's record.
-- Otherwise: the first sync takes one of them, and nobody can say which.
-- Rests on: rule 7; F2.
-- Not: a contact outside the inclusion list (it is not bound at all, rule 21); a contact with a damaged id (id_malformed).
-- Steward: merge the candidates, or bind by hand, before the first sync.
--
-- Auf Deutsch: Ein noch nicht verknüpfter Kontakt hat mehrere Datensätze zur Auswahl.
-- Warum: Welchen die erste Synchronisierung nimmt, ist nicht dokumentiert (Regel 7: meist den ältesten). Bei verschiedenen Accounts oder Inhabern
-- schickt die falsche Wahl die Daten einer Person in den Datensatz eines anderen Kunden.
-- Sonst: Die erste Synchronisierung nimmt einen davon, und niemand kann sagen, welchen.
--
-- says ambiguous: The contact is not bound yet and {records:number} Salesforce records have its e-mail (accounts: {accounts:number}, owners:
--   {owners:number}). Which one the first sync takes is not documented.
-- says.de ambiguous: Der Kontakt ist noch nicht verknüpft, und {records:number} Salesforce-Datensätze haben seine E-Mail (Accounts: {accounts:number},
--   Inhaber: {owners:number}). Welchen die erste Synchronisierung nimmt, ist nicht dokumentiert.
-- do ambiguous: [{quoted}|Find out which of the records is this person's, and merge the others into it before the first sync.]
-- do.de ambiguous: [{quoted}|Klären, welcher der Datensätze zu dieser Person gehört, und die anderen vor der ersten Synchronisierung mit ihm als
--   Masterdatensatz zusammenführen.]
select
    binding.hubspot_contact_id,
    binding.predicted_id as salesforce_id,
    list(person.record_id order by person.record_id) as rival_ids,
    binding.email,
    'ambiguous' as says,
    map {
        'records': cast(count(*) as varchar), 'accounts': cast(count(distinct person.account_id) as varchar),
        'owners': cast(count(distinct person.owner_id) as varchar)} as facts,
    any_value(first_step.quoted) as quoted,
    case when count(distinct person.account_id) > 1 or count(distinct person.owner_id) > 1 then 'block' else 'warn' end as severity
from core.binding as binding
inner join core.hubspot_contact as contact on contact.contact_id = binding.hubspot_contact_id
left join core.first_step as first_step on first_step.hubspot_contact_id = binding.hubspot_contact_id
inner join core.salesforce_person as person on person.email = binding.email and person.state = 'live'
where binding.bound_state = 'none' and contact.is_in_scope
group by binding.hubspot_contact_id, binding.predicted_id, binding.email
having count(*) > 1;
