-- A record that was known is nowhere any more.
--
-- severity: warn
-- basis: observed
-- harm: cut_off
-- on: core/salesforce_person
-- slice: coalesce(hubspot_contact_id, salesforce_id)
--
-- Fails when a Salesforce record or a HubSpot contact was pulled before, and a comparison of all ids found it neither among the live nor
-- among the deleted ones.
-- Why: it was erased, purged from the recycle bin before anybody saw it there, or the integration user may no longer see it. In the last
-- case everything Bindwatch says about it is out of date.
-- Otherwise: what Bindwatch says about it stays as it was when it was last seen.
-- Rests on: the ids that both CRMs list in a full run (docs/architecture.md).
-- Not: a record that was known to be deleted, merged or archived before it left.
-- Steward: open the link. Is the record there, ask the administrator why the integration user cannot see it. Is it gone, find out who
-- erased it; contacts that were bound to it are listed by bound_record_deleted.
--
-- Auf Deutsch: Ein bekannter Datensatz ist nirgends mehr.
-- Warum: Er wurde endgültig gelöscht, aus dem Papierkorb entfernt, bevor jemand ihn dort sah, oder der Integrationsbenutzer darf ihn nicht mehr
-- sehen. Im letzten Fall ist alles veraltet, was Bindwatch über ihn sagt.
-- Sonst: Was Bindwatch über ihn sagt, bleibt, wie es war, als er zuletzt gesehen wurde.
--
-- says record: {object} {record} was there before, and a full run found it neither live nor deleted.
-- says.de record: {object|Contact: Salesforce-Kontakt|{object}} {record} war zuvor da, und ein voller Lauf fand ihn weder unter den vorhandenen noch unter
--   den gelöschten Datensätzen.
-- do record: Open it in Salesforce: gone for good, or hidden from the integration user?
-- do.de record: In Salesforce öffnen: endgültig gelöscht, oder vor dem Integrationsbenutzer verborgen?
-- says contact: HubSpot contact {record} was there before, and a full run found it neither live nor archived, nor merged into another.
-- says.de contact: HubSpot-Kontakt {record} war zuvor da, und ein voller Lauf fand ihn weder vorhanden noch archiviert noch mit einem anderen
--   zusammengeführt.
-- do contact: Open it in HubSpot: deleted for good, or hidden from the Service Key?
-- do.de contact: In HubSpot öffnen: endgültig gelöscht, oder vor dem Service Key verborgen?
select
    null as hubspot_contact_id, record_id as salesforce_id, email,
    'record' as says, map {'object': object_type, 'record': record_id} as facts
from core.salesforce_person
where state = 'vanished'
union all
select
    contact_id, null, email,
    'contact', map {'object': 'contact', 'record': contact_id}
from core.hubspot_contact
where state = 'vanished';
