-- A duplicate could take over a contact's binding; HubSpot would lose no value today.
--
-- severity: warn
-- basis: documented
-- harm: none
-- about: switch
-- on: core/rival
--
-- Fails when a live Salesforce record other than the bound one matches the e-mail of a live HubSpot contact, a switch is possible, and it would
-- take no value away and spread none. It may fill gaps; the reason says so.
-- Why: the binding would jump (rule 11). Ownership, campaigns and later edits go to another record; the first edit makes it unsafe.
-- Otherwise: an edit of another record moves the binding; the values are the same today, and need not be tomorrow.
-- Rests on: rule 11; F3.
-- Not: a duplicate that takes values away or spreads them (unsafe_duplicate).
-- Steward: merge the duplicates into the bound record when there is time.
--
-- Auf Deutsch: Ein Duplikat könnte die Verknüpfung eines Kontakts übernehmen; HubSpot verlöre heute keinen Wert.
-- Warum: Die Verknüpfung würde springen (Regel 11). Inhaber, Kampagnen und spätere Änderungen gehen zu einem anderen Datensatz; die erste Änderung
-- macht es unsicher.
-- Sonst: Eine Bearbeitung eines anderen Datensatzes verschiebt die Verknüpfung; die Werte sind heute gleich und müssen es morgen nicht sein.
with rivals as (
    select hubspot_contact_id, list(rival_id order by rival_id) as rival_ids from core.rival group by hubspot_contact_id
),
effect as (
    select
        hubspot_contact_id,
        list(distinct property order by property) filter (where effect = 'fill') as filled,
        bool_or(effect <> 'fill') as is_unsafe
    from core.overwrite
    group by hubspot_contact_id
)
select
    binding.hubspot_contact_id,
    case when binding.bound_state = 'live' then binding.bound_id else binding.predicted_id end as salesforce_id,
    rivals.rival_ids,
    binding.email,
    format('An edit of {} would move the binding there; HubSpot would lose no value.',
        case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] else format('any of {} records', len(rivals.rival_ids)) end)
    || case when effect.filled is null then ''
       else format(' Blanks in HubSpot would be filled: {}.', array_to_string(effect.filled, ', ')) end as reason,
    first_step.action,
    format('Eine Bearbeitung von {} würde die Verknüpfung dorthin verschieben; HubSpot verlöre keinen Wert.',
        case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] else format('einem von {} Datensätzen', len(rivals.rival_ids)) end)
    || case when effect.filled is null then ''
       else format(' Lücken in HubSpot würden gefüllt: {}.', array_to_string(effect.filled, ', ')) end as reason_de,
    first_step.action_de
from core.binding as binding
inner join rivals on rivals.hubspot_contact_id = binding.hubspot_contact_id
left join core.first_step as first_step on first_step.hubspot_contact_id = binding.hubspot_contact_id
left join effect on effect.hubspot_contact_id = binding.hubspot_contact_id
where not coalesce(effect.is_unsafe, false);
