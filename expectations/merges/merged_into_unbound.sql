-- A Salesforce merge went the wrong way round: the bound record lost.
--
-- severity: block
-- basis: documented
-- harm: deleted
-- on: core/merge_event
-- due: select min(moment) from (select unnest([merged_at + main.salesforce_keeps(), archived_at + main.hubspot_keeps()]) as moment from core.merge_event where
--   is_new)
--   where moment >= (select as_of from staging.clock)
-- slice: hubspot_contact_id
--
-- Fails when a merge, first seen after the first run, broke the sync of a contact (until it is repaired) or had the contact deleted (until
-- it is restored, or HubSpot's 90 days are over).
-- Why: the master must be the record that is bound (F5). Otherwise the sync breaks, or the contact is deleted with its record (F6).
-- Otherwise: the contact drifts away from Salesforce; if it was deleted, it is gone for good after 90 days.
-- Rests on: rules 35, 36; F5, F6.
-- Not: merges from before the first run; a contact that was bound again by itself.
-- Steward: restore the contact if it was deleted, resync it, and check its values against the survivor.
--
-- Auf Deutsch: Eine Zusammenführung in Salesforce ging in die falsche Richtung: Der verknüpfte Datensatz war nicht der Masterdatensatz.
-- Warum: Masterdatensatz muss der verknüpfte sein (F5). Sonst bricht die Synchronisierung ab, oder der Kontakt wird mit seinem Datensatz gelöscht
-- (F6).
-- Sonst: Der Kontakt entfernt sich von Salesforce; wurde er gelöscht, ist er nach 90 Tagen endgültig weg.
--
-- says sync_broken: {record} was merged into {winner} although this contact was bound to it. Its sync is broken.
-- says.de sync_broken: {record} wurde mit dem Masterdatensatz {winner} zusammengeführt, obwohl dieser Kontakt mit {record} verknüpft war. Seine
--   Synchronisierung ist unterbrochen.
-- do sync_broken: Resync the contact so that it binds to the survivor, then compare its values.
-- do.de sync_broken: Den Kontakt neu synchronisieren, damit er mit dem verbleibenden Datensatz verknüpft wird. Danach die Werte vergleichen.
-- says contact_deleted: {record} was merged into {winner} although this contact was bound to it, and the contact was deleted.[ Restorable until
--   {until:day}.]
-- says.de contact_deleted: {record} wurde mit dem Masterdatensatz {winner} zusammengeführt, obwohl dieser Kontakt mit {record} verknüpft war, und der
--   Kontakt wurde gelöscht.[ Wiederherstellbar bis {until:day}.]
-- do contact_deleted: Set HubSpot to keep contacts whose record is deleted, or the next sync may delete it again. Then restore it from HubSpot's recycle
--   bin, and decide which record it belongs to. Resync it.
-- do.de contact_deleted: HubSpot so einstellen, dass es Kontakte gelöschter Datensätze behält, sonst löscht es die nächste Synchronisierung vielleicht
--   wieder. Danach den Kontakt aus dem Papierkorb wiederherstellen, entscheiden, zu welchem Datensatz er gehört, und ihn neu synchronisieren.
select
    event.hubspot_contact_id,
    event.loser_id as salesforce_id,
    [coalesce(event.survivor_id, event.winner_id)] as rival_ids,
    contact.email,
    event.outcome as says,
    map {'record': event.loser_id, 'winner': event.winner_id, 'until': cast(event.archived_at + main.hubspot_keeps() as varchar)} as facts,
    event.outcome as identity,
    case event.outcome when 'sync_broken' then 'cut_off' end as harm,
    case event.outcome when 'sync_broken' then main.still_ahead(event.merged_at + main.salesforce_keeps(), clock.as_of)
    else main.still_ahead(event.archived_at + main.hubspot_keeps(), clock.as_of) end as deadline_at
from core.merge_event as event
inner join core.hubspot_contact as contact on contact.contact_id = event.hubspot_contact_id
cross join staging.clock as clock
where event.is_new
  and (event.outcome = 'sync_broken'
       or (event.outcome = 'contact_deleted' and coalesce(event.archived_at + main.hubspot_keeps() > clock.as_of, true)));
