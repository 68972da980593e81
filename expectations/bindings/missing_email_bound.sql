-- A contact is bound to a live record that has no e-mail.
--
-- severity: warn
-- basis: observed
-- harm: cut_off
-- on: core/binding
-- due: never, review.violation has the settle time
-- slice: hubspot_contact_id
--
-- Fails when a live HubSpot contact is bound to a live record without an e-mail, or with one that can never match, for longer than the settle
-- time since the record was modified or the contact was bound.
-- Why: the integration writes HubSpot's e-mail back into the bound record (rule 23). A record that stays blank is one that it cannot write
-- to, or no longer syncs with; should the link be lost, nothing leads back to it.
-- Otherwise: should the link be lost, the contact and the record are strangers to each other.
-- Rests on: rule 23: observed by one user in one portal.
-- Not: a record whose e-mail is somebody else's (mislinked_email).
-- Steward: open the contact's Salesforce Sync card in HubSpot for an error; correct the e-mail in Salesforce.
--
-- Auf Deutsch: Ein Kontakt ist mit einem Datensatz ohne E-Mail verknüpft.
-- Warum: Die Integration schreibt die E-Mail aus HubSpot in den verknüpften Datensatz zurück (Regel 23). Bleibt er leer, kann sie dort nicht
-- schreiben oder synchronisiert nicht mehr; geht die Verknüpfung verloren, führt nichts mehr zu ihm.
-- Sonst: Geht die Verknüpfung verloren, sind Kontakt und Datensatz einander fremd.
--
-- says no_email: It is bound to {record}, which has no usable e-mail; the integration should have written it back.
-- says.de no_email: Er ist mit {record} verknüpft, einem Datensatz, der keine brauchbare E-Mail hat; die Integration hätte sie zurückschreiben müssen.
-- do no_email: Look for an error on the contact's Salesforce Sync card, then enter the e-mail in Salesforce.
-- do.de no_email: Auf der Karte „Salesforce-Synchronisierung“ des Kontakts nach einem Fehler sehen. Danach die E-Mail in Salesforce eintragen.
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    binding.email,
    'no_email' as says,
    map {'record': binding.bound_id} as facts
from core.binding as binding
inner join core.hubspot_contact as contact on contact.contact_id = binding.hubspot_contact_id
inner join core.salesforce_person as person on person.record_id = binding.bound_id
cross join staging.clock as clock
cross join main.policy as policy
where binding.bound_state = 'live'
  and person.email is null
  and coalesce(clock.as_of - greatest(person.modified_at, contact.bound_since) > to_minutes(policy.settle_minutes), true);
