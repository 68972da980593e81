-- HubSpot says that a contact's Salesforce record was deleted.
--
-- severity: warn
-- basis: observed
-- harm: cut_off
-- on: core/hubspot_contact
-- slice: hubspot_contact_id
--
-- Fails when the property "Salesforce Deleted" is true on a live HubSpot contact.
-- Why: the integration has lost the record and stopped syncing. It may also be out of date, and then it hides that all is well.
-- Otherwise: the contact stays without a sync, or a stale mark hides that all is well.
-- Rests on: rule 33. When HubSpot sets the property, and when it takes it back, is not documented.
-- Not: an archived contact.
-- Steward: look at the record. If it is gone, see bound_record_deleted; if it is there, resync the contact.
--
-- Auf Deutsch: HubSpot sagt, der Salesforce-Datensatz eines Kontakts sei gelöscht.
-- Warum: Die Integration hat den Datensatz verloren und synchronisiert nicht mehr. Die Angabe kann auch veraltet sein; dann verdeckt sie, dass
-- alles in Ordnung ist.
-- Sonst: Der Kontakt bleibt ohne Synchronisierung, oder eine veraltete Angabe verdeckt, dass alles in Ordnung ist.
--
-- says marked: HubSpot marks its Salesforce record as deleted; [in the pull {record} is {state}|it carries no Salesforce id].
-- says.de marked: HubSpot hält seinen Salesforce-Datensatz für gelöscht; [im Abruf ist {record} {state|live: vorhanden|converted: konvertiert|merged:
--   zusammengeführt|deleted: gelöscht|vanished: verschwunden|unbekannt}|er trägt keine Salesforce-ID].
-- do marked: Check whether the record still exists in Salesforce, then resync the contact.
-- do.de marked: Prüfen, ob es den Datensatz in Salesforce noch gibt. Danach den Kontakt neu synchronisieren.
select
    contact.contact_id as hubspot_contact_id,
    contact.bound_id as salesforce_id,
    contact.email,
    'marked' as says,
    map {'record': contact.bound_id, 'state': coalesce(person.state, 'unknown')} as facts,
    coalesce(person.state, 'unknown') as identity
from core.hubspot_contact as contact
left join core.salesforce_person as person on person.record_id = contact.bound_id
where contact.state = 'live' and contact.says_deleted;
