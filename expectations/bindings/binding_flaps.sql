-- A contact's binding jumps back and forth.
--
-- severity: warn
-- basis: observed
-- harm: drift
-- on: core/switch_event
-- due: select min(switched_at) + main.lately() from core.switch_event
--   where switched_at > (select as_of from staging.clock) - main.lately()
--   and hubspot_contact_id in (select hubspot_contact_id from review.violation where check_name = 'binding_flaps')
-- slice: hubspot_contact_id
--
-- Fails when a contact changed from one record to another three times or more within the last 30 days, or went back to the record it came from.
-- Why: each jump writes the other record's values over HubSpot's (F3). What the contact says depends on who edited last; workflows,
-- lists and e-mails follow whichever values happen to be there.
-- Otherwise: the contact goes on jumping with every edit of one of these records, and its values with it.
-- Rests on: rule 11; F3, F4: the id history in HubSpot.
-- Not: conversions, merges, first bindings, ids that were cleared.
-- Steward: deal with these first. Merge the records that take turns into the one that should stay, then check the values.
--
-- Auf Deutsch: Die Verknüpfung eines Kontakts springt hin und her.
-- Warum: Bei jedem Sprung überschreiben die Werte des anderen Datensatzes die von HubSpot (F3). Was im Kontakt steht, hängt davon ab, wer zuletzt
-- etwas bearbeitet hat; Workflows, Listen und E-Mails folgen dem Zufall.
-- Sonst: Der Kontakt springt mit jeder Bearbeitung eines dieser Datensätze weiter, und seine Werte mit ihm.
--
-- says jumped: Its binding jumped {jumps:number} times in 30 days between {records:number} records, last on {last_at:moment} UTC.
-- says.de jumped: Die Verknüpfung ist in 30 Tagen {jumps:number} Mal zwischen {records:number} Datensätzen gesprungen, zuletzt am {last_at:moment} UTC.
-- do jumped: Merge the records that take turns into the one that should stay, then compare the contact's values.
-- do.de jumped: Die Datensätze, die sich abwechseln, zusammenführen; Masterdatensatz ist der, der bleiben soll. Danach die Werte des Kontakts vergleichen.
with jump as (
    select
        event.hubspot_contact_id,
        count(*) as jumps,
        list(event.from_id order by event.switched_at) as from_ids,
        list(event.to_id order by event.switched_at) as to_ids,
        max(event.switched_at) as last_at
    from core.switch_event as event
    cross join staging.clock as clock
    where event.cause in ('duplicate_switch', 'unexplained') and event.switched_at > clock.as_of - main.lately()
    group by event.hubspot_contact_id
)
select
    jump.hubspot_contact_id,
    contact.bound_id as salesforce_id,
    list_filter(list_sort(list_distinct(list_concat(jump.from_ids, jump.to_ids))), lambda id: id is distinct from contact.bound_id) as rival_ids,
    contact.email,
    'jumped' as says,
    map {
        'jumps': cast(jump.jumps as varchar), 'records': cast(len(list_distinct(list_concat(jump.from_ids, jump.to_ids))) as varchar),
        'last_at': cast(jump.last_at as varchar)} as facts,
    strftime(jump.last_at, '%Y-%m-%dT%H:%M:%S.%f') as identity
from jump
inner join core.hubspot_contact as contact on contact.contact_id = jump.hubspot_contact_id and contact.state = 'live'
where jump.jumps >= 3 or (jump.jumps = 2 and jump.to_ids[2] = jump.from_ids[1]);
