-- A contact is bound to a Salesforce record that nobody has ever seen.
--
-- severity: block
-- basis: observed
-- harm: cut_off
-- on: core/binding
-- slice: hubspot_contact_id
--
-- Fails when the id on a live HubSpot contact is well-formed but in no complete pull of the org.
-- Why: the record was purged, belongs to another org (a sandbox, a former one), or is invisible to the integration user (rule 18).
-- The contact syncs to nothing.
-- Otherwise: the contact syncs to nothing, and nobody notices.
-- Rests on: rule 18.
-- Not: a damaged id (id_malformed); a record that arrived and cannot be read (pull_incomplete, record_set_aside).
-- Steward: open the id in Salesforce as an administrator; share the record with the integration user, or clear the id and resync.
--
-- Auf Deutsch: Ein Kontakt ist mit einem Salesforce-Datensatz verknüpft, den niemand je gesehen hat.
-- Warum: Der Datensatz wurde endgültig gelöscht, gehört zu einer anderen Org (einer Sandbox, einer früheren) oder ist für den Integrationsbenutzer
-- unsichtbar (Regel 18). Der Kontakt wird mit nichts synchronisiert.
-- Sonst: Der Kontakt wird mit nichts synchronisiert, und niemand bemerkt es.
--
-- says unknown: It is bound to {record}, which is in no complete pull of this Salesforce org.
-- says.de unknown: Er ist mit {record} verknüpft; diese ID kommt in keinem vollständigen Abruf dieser Salesforce-Org vor.
-- do unknown: Open the id in Salesforce as an administrator. If it exists, share it with the integration user; if not, resync the contact.
-- do.de unknown: Die ID in Salesforce als Administrator öffnen. Gibt es sie, den Datensatz für den Integrationsbenutzer freigeben; gibt es sie nicht, den
--   Kontakt neu synchronisieren.
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    binding.candidate_ids as rival_ids,
    binding.email,
    'unknown' as says,
    map {'record': binding.bound_id} as facts
from core.binding as binding
where binding.bound_state = 'unknown' and binding.bound_id is not null
  and binding.bound_id not in (select record_id from core.record_set_aside);
