-- HubSpot says that a contact's Salesforce record was deleted.
--
-- severity: warn
-- basis: observed
-- harm: cut_off
-- on: core/hubspot_contact
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
select
    contact.contact_id as hubspot_contact_id,
    contact.bound_id as salesforce_id,
    contact.email,
    case
        when contact.bound_id is null then 'HubSpot marks its Salesforce record as deleted; it carries no Salesforce id.'
        else format('HubSpot marks its Salesforce record as deleted; in the pull {} is {}.', contact.bound_id, coalesce(person.state, 'unknown'))
    end as reason,
    'Check whether the record still exists in Salesforce, then resync the contact.' as action,
    case
        when contact.bound_id is null then 'HubSpot hält seinen Salesforce-Datensatz für gelöscht; er trägt keine Salesforce-ID.'
        else format('HubSpot hält seinen Salesforce-Datensatz für gelöscht; im Abruf ist {} {}.', contact.bound_id,
            case person.state when 'live' then 'vorhanden' when 'converted' then 'konvertiert' when 'merged' then 'zusammengeführt' when 'deleted' then 'gelöscht'
                when 'vanished' then 'verschwunden' else 'unbekannt' end)
    end as reason_de,
    'Prüfen, ob es den Datensatz in Salesforce noch gibt. Danach den Kontakt neu synchronisieren.' as action_de,
    coalesce(person.state, 'unknown') as facts
from core.hubspot_contact as contact
left join core.salesforce_person as person on person.record_id = contact.bound_id
where contact.state = 'live' and contact.says_deleted;
