-- A HubSpot contact was deleted together with its Salesforce record.
--
-- severity: block
-- basis: inferred
-- harm: deleted
-- on: core/hubspot_contact
-- slice: hubspot_contact_id
--
-- Fails when a contact was archived after the record it was bound to was deleted or merged away, and can still be restored (90 days).
-- Why: with the contact go its history, consent, lists and activities. After 90 days it is gone for good.
-- Otherwise: when the 90 days are over, the contact and all that hung on it are gone for good.
-- Rests on: rules 34, 36; F6.
-- Not: a contact archived before its record went (somebody deleted it by hand).
-- Steward: set HubSpot to keep contacts whose record is deleted, then restore it from HubSpot's recycle bin while there is time, and decide which
-- record it belongs to. Its values come back with a restore plan.
--
-- Auf Deutsch: Ein HubSpot-Kontakt wurde zusammen mit seinem Salesforce-Datensatz gelöscht.
-- Warum: Mit dem Kontakt gehen Verlauf, Einwilligung, Listen und Aktivitäten. Nach 90 Tagen ist er endgültig weg.
-- Sonst: Sind die 90 Tage vorüber, sind der Kontakt und alles, was an ihm hing, endgültig weg.
--
-- says deleted: The contact was deleted after its record {record} was {state|merged: merged away|deleted}. It can be restored for another {days|1:
--   day|{days:number} days}, until {until:day}.
-- says.de deleted: Der Kontakt wurde gelöscht, nachdem sein Datensatz {record} {state|merged: mit einem anderen zusammengeführt|gelöscht} wurde. Er lässt
--   sich noch {days|1: einen Tag|{days:number} Tage} wiederherstellen, bis {until:day}.
-- do deleted: Set HubSpot to keep contacts whose record is deleted, or the next sync may delete it again. Then restore it from HubSpot's recycle bin, and
--   decide which record it belongs to.
-- do.de deleted: HubSpot so einstellen, dass es Kontakte gelöschter Datensätze behält, sonst löscht es die nächste Synchronisierung vielleicht wieder.
--   Danach den Kontakt aus dem Papierkorb wiederherstellen und entscheiden, zu welchem Datensatz er gehört.
select
    gone.hubspot_contact_id,
    gone.bound_id as salesforce_id,
    case when gone.survivor_id is not null then [gone.survivor_id] else cast([] as varchar[]) end as rival_ids,
    contact.email,
    'deleted' as says,
    map {
        'record': gone.bound_id, 'state': gone.record_state, 'days': cast(gone.days_left as varchar),
        'until': cast(gone.restorable_until as varchar)} as facts,
    gone.restorable_until as deadline_at
from core.restorable_contact as gone
inner join core.hubspot_contact as contact on contact.contact_id = gone.hubspot_contact_id;
