-- A duplicate could take over a contact's binding and change or spread its values.
--
-- severity: block
-- severity: warn when HubSpot would lose nothing, and only blanks of the same person's record would be filled
-- basis: documented
-- harm: overwritten
-- about: switch
-- on: core/overwrite
-- slice: hubspot_contact_id
--
-- Fails when a live Salesforce record other than the bound one matches the e-mail of a live HubSpot contact, and a switch to it would overwrite or
-- clear a HubSpot value, or write HubSpot's value into it.
-- Why: any edit of a rival makes the binding jump to it (rule 11). The mapped fields follow (rules 24 to 28): HubSpot's values are
-- replaced, or the old record's values spread into another person's record. Nobody sees it happen.
-- Otherwise: the first edit of a rival, by whomever, moves the binding and overwrites these fields in HubSpot.
-- Rests on: rules 11, 24 to 28; F3.
-- Not: a duplicate that would only fill gaps, or change nothing (switchable_duplicate); a portal in which nothing can switch.
-- Steward: make the rivals go, the bound record stays: convert Leads into the Contact, merge the others INTO the bound record.
--
-- Auf Deutsch: Ein Duplikat könnte die Verknüpfung eines Kontakts übernehmen und seine Werte ändern oder weitertragen.
-- Warum: Jede Bearbeitung eines Duplikats lässt die Verknüpfung zu ihm springen (Regel 11). Die zugeordneten Felder folgen (Regeln 24 bis 28): Werte in
-- HubSpot werden ersetzt, oder die Werte des alten Datensatzes gelangen in den einer anderen Person. Niemand bemerkt es.
-- Sonst: Mit der ersten Bearbeitung eines Duplikats, durch wen auch immer, springt die Verknüpfung, und diese Felder in HubSpot werden überschrieben.
--
-- says unsafe: An edit of [{rival}|any of {rivals:number} records] moves the binding there. HubSpot loses [{changes:words}[; and {more:number}
--   more]|nothing].[ {fills|1: One blank|{fills:number} blanks} of [{filled}|these records] {fills|1: is|are} filled from HubSpot{stranger|yes: , though
--   it looks like another person|}.]
-- says.de unsafe: Wird [{rival}|einer von {rivals:number} Datensätzen] bearbeitet, springt die Verknüpfung dorthin. HubSpot verliert [{changes:words}[; und
--   {more:number} weitere]|nichts].[ {fills|1: Ein leeres Feld|{fills:number} leere Felder} von [{filled}|diesen Datensätzen] {fills|1: wird|werden} aus
--   HubSpot gefüllt{stranger|yes: , obwohl das nach einer anderen Person aussieht|}.]
-- do unsafe: [{quoted}|Find out which of the records is this person's, and merge the others into the one that the contact is bound to.]
-- do.de unsafe: [{quoted}|Klären, welcher der Datensätze zu dieser Person gehört, und die anderen mit ihm zusammenführen; Masterdatensatz ist der, mit dem
--   der Kontakt verknüpft ist.]
with at_risk as (
    -- a property, with what each rival would bring; what the person agreed to is named first, then the owner
    select
        hubspot_contact_id, property,
        case when bool_or(consent) then 2 when property = 'salesforceownerid' then 1 else 0 end as weight,
        any_value(hubspot_value) as hubspot_value,
        list(salesforce_value order by rival_id) as salesforce_values
    from core.overwrite
    where is_at_risk
    group by hubspot_contact_id, property
),
listed as (
    -- only what is said is put into words
    select
        hubspot_contact_id,
        list(property order by property) as properties,
        (list({'property': property, 'old': hubspot_value, 'new': salesforce_values} order by weight desc, property))[:10] as said
    from at_risk
    group by hubspot_contact_id
),
lost as (
    select
        hubspot_contact_id,
        properties,
        list_transform(said, lambda one: format('{}: {} → {}', one.property, main.value_or(one.old),
            array_to_string(list_distinct(list_transform(one.new, lambda new: main.value_or(new)))[:3], ' ⟨or⟩ '))) as changes
    from listed
),
spread as (
    select
        hubspot_contact_id,
        count(distinct property) as properties,
        bool_or(spreads_to_stranger) as to_stranger,
        case when count(distinct rival_id) = 1 then any_value(rival_id) end as rival_id
    from core.overwrite
    where effect = 'backfill'
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
    coalesce(lost.properties, cast([] as varchar[])) as fields_at_risk,
    'unsafe' as says,
    map {
        'rival': case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] end, 'rivals': cast(len(rivals.rival_ids) as varchar),
        'changes': array_to_string(lost.changes, '; '),
        'more': case when len(lost.properties) > 10 then cast(len(lost.properties) - 10 as varchar) end,
        'fills': cast(spread.properties as varchar), 'filled': spread.rival_id, 'stranger': case when spread.to_stranger then 'yes' end} as facts,
    first_step.quoted,
    case when lost.properties is null and not spread.to_stranger then 'warn' else 'block' end as severity
from core.binding as binding
inner join rivals on rivals.hubspot_contact_id = binding.hubspot_contact_id
left join lost on lost.hubspot_contact_id = binding.hubspot_contact_id
left join spread on spread.hubspot_contact_id = binding.hubspot_contact_id
left join core.first_step as first_step on first_step.hubspot_contact_id = binding.hubspot_contact_id
where lost.properties is not null or spread.properties is not null;
