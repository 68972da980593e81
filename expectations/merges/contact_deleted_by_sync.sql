-- A HubSpot contact was deleted together with its Salesforce record.
--
-- severity: block
-- basis: inferred
-- on: core/hubspot_contact
--
-- Fails when a contact was archived after the record it was bound to was deleted or merged away, and can still be restored (90 days).
-- Why: with the contact go its history, consent, lists and activities. After 90 days it is gone for good.
-- Otherwise: when the 90 days are over, the contact and all that hung on it are gone for good.
-- Rests on: rules 34, 36; F6.
-- Not: a contact archived before its record went (somebody deleted it by hand).
-- Steward: restore it from HubSpot's recycle bin while there is time, then decide which record it belongs to.
--
-- Auf Deutsch: Ein HubSpot-Kontakt wurde zusammen mit seinem Salesforce-Datensatz gelöscht.
-- Warum: Mit dem Kontakt gehen Verlauf, Einwilligung, Listen und Aktivitäten. Nach 90 Tagen ist er endgültig weg.
-- Sonst: Sind die 90 Tage vorüber, sind der Kontakt und alles, was an ihm hing, endgültig weg.
select
    contact.contact_id as hubspot_contact_id,
    contact.bound_id as salesforce_id,
    case when person.survivor_id is not null then [person.survivor_id] else cast([] as varchar[]) end as rival_ids,
    contact.email,
    format('The contact was deleted after its record {} was {}. It can be restored for another {} days, until {}.',
        contact.bound_id, case person.state when 'merged' then 'merged away' else 'deleted' end,
        date_diff('day', clock.as_of, contact.archived_at + interval 90 day),
        strftime(contact.archived_at + interval 90 day, '%Y-%m-%d')) as reason,
    'Restore it from HubSpot''s recycle bin, then decide which record it belongs to.' as action,
    format('Der Kontakt wurde gelöscht, nachdem sein Datensatz {} {} wurde. Er lässt sich noch {} Tage wiederherstellen, bis {}.',
        contact.bound_id, case person.state when 'merged' then 'in einen anderen zusammengeführt' else 'gelöscht' end,
        date_diff('day', clock.as_of, contact.archived_at + interval 90 day),
        strftime(contact.archived_at + interval 90 day, '%d.%m.%Y')) as reason_de,
    'Aus dem Papierkorb von HubSpot wiederherstellen. Danach entscheiden, zu welchem Datensatz er gehört.' as action_de
from core.hubspot_contact as contact
inner join core.salesforce_person as person on person.record_id = contact.bound_id and person.state in ('deleted', 'merged')
inner join core.departure as departure on departure.record_id = person.record_id
cross join staging.clock as clock
where contact.state = 'archived'
  and contact.archived_at >= departure.departed_at
  and contact.archived_at + interval 90 day > clock.as_of;
