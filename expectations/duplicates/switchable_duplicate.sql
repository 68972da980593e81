-- A duplicate could take over a contact's binding; no value differs today.
--
-- severity: warn
-- basis: documented
-- on: core/duplicate_cluster
--
-- Fails when two or more live Salesforce records share the primary e-mail of a live HubSpot contact, a switch is possible, and no mapped
-- field is at risk.
-- Why: the binding would jump (rule 11). Ownership, campaigns and later edits go to another record; the first edit makes it unsafe.
-- Otherwise: an edit of another record moves the binding; the values are the same today, and need not be tomorrow.
-- Rests on: rule 11; F3.
-- Not: a duplicate whose values differ (unsafe_duplicate).
-- Steward: merge the duplicates into the bound record when there is time.
--
-- Auf Deutsch: Ein Duplikat könnte die Verknüpfung eines Kontakts übernehmen; heute unterscheidet sich kein Wert.
-- Warum: Die Verknüpfung würde springen (Regel 11). Inhaber, Kampagnen und spätere Änderungen gehen zu einem anderen Datensatz; die erste Änderung
-- macht es unsicher.
-- Sonst: Eine Bearbeitung eines anderen Datensatzes verschiebt die Verknüpfung; die Werte sind heute gleich und müssen es morgen nicht sein.
with rivals as (
    select hubspot_contact_id, list(rival_id order by rival_id) as rival_ids from core.rival group by hubspot_contact_id
),
at_risk as (
    select distinct hubspot_contact_id from core.overwrite where is_at_risk
)
select
    binding.hubspot_contact_id,
    case when binding.bound_state = 'live' then binding.bound_id else binding.predicted_id end as salesforce_id,
    rivals.rival_ids,
    binding.email,
    format('{} Salesforce records share this contact''s e-mail. An edit of another one would move the binding; no mapped value differs today.', cluster.size) as reason,
    case
        when cluster.is_shared_mailbox then 'Do not merge: the records look like different people (shared_mailbox). Give each its own e-mail before the contact syncs.'
        when binding.bound_state = 'live' then format('Merge the other records into {}, the bound one.', binding.bound_id)
        else 'Merge the duplicates before the contact syncs.'
    end as action,
    format('{} Salesforce-Datensätze teilen sich die E-Mail dieses Kontakts. Eine Bearbeitung eines anderen würde die Verknüpfung verschieben; heute unterscheidet sich kein zugeordneter Wert.', cluster.size) as reason_de,
    case
        when cluster.is_shared_mailbox then 'Nicht zusammenführen: es scheinen verschiedene Personen zu sein (shared_mailbox). Jedem Datensatz eine eigene E-Mail geben, bevor der Kontakt synchronisiert wird.'
        when binding.bound_state = 'live' then format('Die anderen Datensätze in {} zusammenführen, den verknüpften.', binding.bound_id)
        else 'Die Duplikate zusammenführen, bevor der Kontakt synchronisiert wird.'
    end as action_de
from core.binding as binding
inner join core.duplicate_cluster as cluster on cluster.email = binding.email
inner join rivals on rivals.hubspot_contact_id = binding.hubspot_contact_id
left join at_risk on at_risk.hubspot_contact_id = binding.hubspot_contact_id
where at_risk.hubspot_contact_id is null;
