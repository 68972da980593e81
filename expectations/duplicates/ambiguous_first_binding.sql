-- A contact that is not bound yet has several records to choose from.
--
-- severity: warn
-- severity: block when the candidates belong to two different accounts or owners
-- basis: observed
-- harm: drift
-- on: core/binding
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
select
    binding.hubspot_contact_id,
    binding.predicted_id as salesforce_id,
    list(person.record_id order by person.record_id) as rival_ids,
    binding.email,
    format('The contact is not bound yet and {} Salesforce records have its e-mail (accounts: {}, owners: {}). Which one the first sync takes is not documented.',
        count(*), count(distinct person.account_id), count(distinct person.owner_id)) as reason,
    any_value(first_step.action) as action,
    format('Der Kontakt ist noch nicht verknüpft, und {} Salesforce-Datensätze haben seine E-Mail (Accounts: {}, Inhaber: {}). Welchen die erste Synchronisierung nimmt, ist nicht dokumentiert.',
        count(*), count(distinct person.account_id), count(distinct person.owner_id)) as reason_de,
    any_value(first_step.action_de) as action_de,
    case when count(distinct person.account_id) > 1 or count(distinct person.owner_id) > 1 then 'block' else 'warn' end as severity
from core.binding as binding
inner join core.hubspot_contact as contact on contact.contact_id = binding.hubspot_contact_id
inner join core.first_step as first_step on first_step.hubspot_contact_id = binding.hubspot_contact_id
inner join core.salesforce_person as person on person.email = binding.email and person.state = 'live'
where binding.bound_state = 'none' and contact.is_in_scope
group by binding.hubspot_contact_id, binding.predicted_id, binding.email
having count(*) > 1;
