-- A duplicate could take over a contact's binding; HubSpot would lose no value today.
--
-- severity: warn
-- basis: documented
-- harm: none
-- about: switch
-- on: core/rival
-- slice: hubspot_contact_id
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
-- Sonst: Wird ein anderer Datensatz bearbeitet, springt die Verknüpfung; die Werte sind heute gleich und müssen es morgen nicht sein.
--
-- says switchable: An edit of [{rival}|any of {rivals:number} records] would move the binding there; HubSpot would lose no value.[ Blanks in HubSpot would
--   be filled: {filled}.]
-- says.de switchable: Würde [{rival}|einer von {rivals:number} Datensätzen] bearbeitet, spränge die Verknüpfung dorthin; HubSpot verlöre keinen Wert.[
--   Lücken in HubSpot würden gefüllt: {filled}.]
-- do switchable: [{quoted}|Find out which of the records is this person's, and merge the others into the one that the contact is bound to.]
-- do.de switchable: [{quoted}|Klären, welcher der Datensätze zu dieser Person gehört, und die anderen mit ihm zusammenführen; Masterdatensatz ist der, mit
--   dem der Kontakt verknüpft ist.]
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
    'switchable' as says,
    map {
        'rival': case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] end, 'rivals': cast(len(rivals.rival_ids) as varchar),
        'filled': array_to_string(effect.filled, ', ')} as facts,
    first_step.quoted
from core.binding as binding
inner join rivals on rivals.hubspot_contact_id = binding.hubspot_contact_id
left join core.first_step as first_step on first_step.hubspot_contact_id = binding.hubspot_contact_id
left join effect on effect.hubspot_contact_id = binding.hubspot_contact_id
where not coalesce(effect.is_unsafe, false);
