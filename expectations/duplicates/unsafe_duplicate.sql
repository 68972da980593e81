-- A duplicate could take over a contact's binding and change or spread its values.
--
-- severity: block
-- basis: documented
-- on: core/overwrite
--
-- Fails when two or more live Salesforce records share the primary e-mail of a live HubSpot contact, and a switch to another one of
-- them would overwrite or clear a HubSpot value, or write HubSpot's value into the rival.
-- Why: any edit of a rival makes the binding jump to it (rule 11). The mapped fields follow (rules 24 to 28): HubSpot's values are
-- replaced, or the old record's values spread into another person's record. Nobody sees it happen.
-- Otherwise: the first edit of a rival, by whomever, moves the binding and overwrites these fields in HubSpot.
-- Rests on: rules 11, 24 to 28; F3.
-- Not: a duplicate that would only fill gaps, or change nothing (switchable_duplicate); a portal in which nothing can switch.
-- Steward: make the rivals go, the bound record stays: convert Leads into the Contact, merge the others INTO the bound record.
--
-- Auf Deutsch: Ein Duplikat könnte die Verknüpfung eines Kontakts übernehmen und seine Werte ändern oder weitertragen.
-- Warum: Jede Bearbeitung eines Rivalen lässt die Verknüpfung zu ihm springen (Regel 11). Die zugeordneten Felder folgen (Regeln 24 bis 28):
-- HubSpots Werte werden ersetzt, oder die Werte des alten Datensatzes gelangen in den einer anderen Person. Niemand sieht es geschehen.
-- Sonst: Die erste Bearbeitung eines Rivalen, durch wen auch immer, verschiebt die Verknüpfung und überschreibt diese Felder in HubSpot.
with at_risk as (
    select
        hubspot_contact_id,
        list(distinct property order by property) as fields_at_risk,
        count(distinct rival_id) as rivals_at_risk
    from core.overwrite
    where is_at_risk
    group by hubspot_contact_id
),
rivals as (
    select hubspot_contact_id, list(rival_id order by rival_id) as rival_ids from core.rival group by hubspot_contact_id
)
select
    binding.hubspot_contact_id,
    case when binding.bound_state = 'live' then binding.bound_id else binding.predicted_id end as salesforce_id,
    rivals.rival_ids,
    binding.email,
    at_risk.fields_at_risk,
    format('{} Salesforce records share this contact''s e-mail. An edit of {} would change {}: {}.',
        cluster.size,
        case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] else format('any of {} rivals', len(rivals.rival_ids)) end,
        case when len(at_risk.fields_at_risk) = 1 then 'one field' else format('{} fields', len(at_risk.fields_at_risk)) end,
        array_to_string(at_risk.fields_at_risk, ', ')) as reason,
    case
        when cluster.is_shared_mailbox then 'Do not merge: the records look like different people (shared_mailbox). Give each its own e-mail before the contact syncs.'
        when binding.bound_state = 'live' then format('Keep {} as the master. Convert Leads into the Contact, merge the other records into it.', binding.bound_id)
        else 'Decide which record is the right one, and merge the others into it before the contact syncs.'
    end as action,
    format('{} Salesforce-Datensätze teilen sich die E-Mail dieses Kontakts. Eine Bearbeitung von {} würde {} ändern: {}.',
        cluster.size,
        case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] else format('einem von {} Rivalen', len(rivals.rival_ids)) end,
        case when len(at_risk.fields_at_risk) = 1 then 'ein Feld' else format('{} Felder', len(at_risk.fields_at_risk)) end,
        array_to_string(at_risk.fields_at_risk, ', ')) as reason_de,
    case
        when cluster.is_shared_mailbox then 'Nicht zusammenführen: es scheinen verschiedene Personen zu sein (shared_mailbox). Jedem Datensatz eine eigene E-Mail geben, bevor der Kontakt synchronisiert wird.'
        when binding.bound_state = 'live' then format('{} als Master behalten. Leads in den Contact konvertieren, die anderen Datensätze darin zusammenführen.', binding.bound_id)
        else 'Entscheiden, welcher Datensatz der richtige ist, und die anderen darin zusammenführen, bevor der Kontakt synchronisiert wird.'
    end as action_de
from core.binding as binding
inner join core.duplicate_cluster as cluster on cluster.email = binding.email
inner join at_risk on at_risk.hubspot_contact_id = binding.hubspot_contact_id
inner join rivals on rivals.hubspot_contact_id = binding.hubspot_contact_id;
