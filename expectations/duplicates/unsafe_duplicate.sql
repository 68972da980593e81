-- A duplicate could take over a contact's binding and change or spread its values.
--
-- severity: block
-- severity: warn when HubSpot would lose nothing, and only blanks of the same person's record would be filled
-- basis: documented
-- harm: overwritten
-- about: switch
-- on: core/overwrite
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
-- Warum: Jede Bearbeitung einer Dublette lässt die Verknüpfung zu ihr springen (Regel 11). Die zugeordneten Felder folgen (Regeln 24 bis 28):
-- HubSpots Werte werden ersetzt, oder die Werte des alten Datensatzes gelangen in den einer anderen Person. Niemand sieht es geschehen.
-- Sonst: Die erste Bearbeitung einer Dublette, durch wen auch immer, verschiebt die Verknüpfung und überschreibt diese Felder in HubSpot.
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
        list_transform(said, lambda one: format('{}: {} → {}', one.property, main.value_or(one.old, 'blank'),
            array_to_string(list_distinct(list_transform(one.new, lambda new: main.value_or(new, 'blank')))[:3], ' or '))) as changes,
        list_transform(said, lambda one: format('{}: {} → {}', one.property, main.value_or(one.old, 'leer'),
            array_to_string(list_distinct(list_transform(one.new, lambda new: main.value_or(new, 'leer')))[:3], ' oder '))) as changes_de
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
    format('An edit of {} moves the binding there.',
        case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] else format('any of {} records', len(rivals.rival_ids)) end)
    || case
        when lost.properties is null then ' HubSpot loses nothing.'
        else format(' HubSpot loses {}{}.', array_to_string(lost.changes, '; '),
            case when len(lost.properties) > 10 then format('; and {} more', len(lost.properties) - 10) else '' end)
    end
    || case
        when spread.properties is null then ''
        else format(' {} of {} {} filled from HubSpot{}.',
            case when spread.properties = 1 then 'One blank' else format('{} blanks', spread.properties) end,
            coalesce(spread.rival_id, 'these records'),
            case when spread.properties = 1 then 'is' else 'are' end,
            case when spread.to_stranger then ', though it looks like another person' else '' end)
    end as reason,
    first_step.action,
    format('Eine Bearbeitung von {} verschiebt die Verknüpfung dorthin.',
        case when len(rivals.rival_ids) = 1 then rivals.rival_ids[1] else format('einem von {} Datensätzen', len(rivals.rival_ids)) end)
    || case
        when lost.properties is null then ' HubSpot verliert nichts.'
        else format(' HubSpot verliert {}{}.', array_to_string(lost.changes_de, '; '),
            case when len(lost.properties) > 10 then format('; und {} weitere', len(lost.properties) - 10) else '' end)
    end
    || case
        when spread.properties is null then ''
        else format(' {} von {} {} aus HubSpot gefüllt{}.',
            case when spread.properties = 1 then 'Ein leeres Feld' else format('{} leere Felder', spread.properties) end,
            coalesce(spread.rival_id, 'diesen Datensätzen'),
            case when spread.properties = 1 then 'wird' else 'werden' end,
            case when spread.to_stranger then ', obwohl das nach einer anderen Person aussieht' else '' end)
    end as reason_de,
    first_step.action_de,
    case when lost.properties is null and not spread.to_stranger then 'warn' else 'block' end as severity
from core.binding as binding
inner join rivals on rivals.hubspot_contact_id = binding.hubspot_contact_id
left join lost on lost.hubspot_contact_id = binding.hubspot_contact_id
left join spread on spread.hubspot_contact_id = binding.hubspot_contact_id
left join core.first_step as first_step on first_step.hubspot_contact_id = binding.hubspot_contact_id
where lost.properties is not null or spread.properties is not null;
