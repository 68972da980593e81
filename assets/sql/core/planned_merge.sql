-- One row: a row of a merge plan that somebody handed in, judged before it is carried out.
-- A loser that a contact is bound to makes a row unsafe, whoever is the master: either nobody is bound to the master and the contact loses its
-- record (F6, rule 36), or another contact is, and two contacts end on one record (rule 48).
--
-- plan: the file it came in
-- row_no: its row there, from 1; 0 stands for a file that cannot be read
-- master_id: the record that is to stay, 18 characters; as handed in where it is malformed
-- loser_id: the record that is to go, likewise
-- verdict: safe, unsafe, invalid (Salesforce would refuse it, or the plan contradicts itself), unknown (an id that no pull has seen), done
--   (it was carried out since)
-- reason: why
-- hubspot_contact_id: the live contact that is bound to the loser, else the one bound to the master
-- bound_id: the record it is bound to
-- recommended_master_id: the record that should be the master; null when the plan cannot say
-- reason_de: the reason in German
create or replace table core.planned_merge as
with planned as (
    select
        plan, row_no,
        coalesce(master_id18, trim(master_id)) as master_id,
        coalesce(loser_id18, trim(loser_id)) as loser_id,
        master_id18 is null or loser_id18 is null as is_malformed
    from (
        select plan, row_no, master_id, loser_id, main.salesforce_id18(master_id) as master_id18, main.salesforce_id18(loser_id) as loser_id18
        from main.merge_plan
    ) as handed_in
),
twice as (
    select plan, loser_id, count(distinct master_id) as masters from planned group by plan, loser_id
),
reach as (
    -- where a record ends when the plan is followed; a pair that is there already is not added again, so a cycle ends
    with recursive step(plan, loser_id, master_id) as (
        select plan, loser_id, master_id from planned where loser_id <> master_id
        union
        select step.plan, step.loser_id, planned.master_id
        from step
        inner join planned on planned.plan = step.plan and planned.loser_id = step.master_id and planned.loser_id <> planned.master_id
    )
    select plan, loser_id from step where loser_id = master_id
),
holder as (
    -- two contacts on one record are a finding of their own; the one with the least id stands for both
    select bound_id, min_by(contact_id, (length(contact_id), contact_id)) as contact_id
    from core.hubspot_contact
    where state = 'live' and bound_id is not null
    group by bound_id
),
input as (
    select
        planned.*,
        master.object_type as master_type,
        master.state as master_state,
        loser.object_type as loser_type,
        loser.state as loser_state,
        loser.survivor_id as loser_survivor_id,
        of_master.contact_id as master_contact_id,
        of_loser.contact_id as loser_contact_id,
        coalesce(twice.masters > 1, false) as has_two_masters,
        reach.loser_id is not null as is_circular
    from planned
    left join core.salesforce_person as master on master.record_id = planned.master_id
    left join core.salesforce_person as loser on loser.record_id = planned.loser_id
    left join holder as of_master on of_master.bound_id = planned.master_id
    left join holder as of_loser on of_loser.bound_id = planned.loser_id
    left join twice on twice.plan = planned.plan and twice.loser_id = planned.loser_id
    left join reach on reach.plan = planned.plan and reach.loser_id = planned.loser_id
)
select
    plan,
    row_no,
    master_id,
    loser_id,
    case
        when is_malformed or master_id = loser_id then 'invalid'
        when master_type is null or loser_type is null then 'unknown'
        when loser_state = 'merged' and loser_survivor_id = master_id then 'done'
        when master_type <> loser_type or is_circular or has_two_masters then 'invalid'
        when master_state <> 'live' or loser_state <> 'live' then 'invalid'
        when loser_contact_id is not null then 'unsafe'
        else 'safe'
    end as verdict,
    case
        when row_no = 0 then 'The file cannot be read: it needs the columns master_id and loser_id, in UTF-8.'
        when is_malformed then 'One of the two is no Salesforce id.'
        when master_id = loser_id then 'Master and loser are the same record.'
        when master_type is null then format('No pull has seen the master {}.', master_id)
        when loser_type is null then format('No pull has seen the loser {}.', loser_id)
        when loser_state = 'merged' and loser_survivor_id = master_id then 'The merge was carried out.'
        when master_type <> loser_type then format('The master is a {}, the loser a {}. Convert the Lead into the Contact instead.', master_type, loser_type)
        when is_circular then 'The rows of the plan form a circle.'
        when has_two_masters then format('The plan merges {} into more than one master.', loser_id)
        when master_state <> 'live' then format('The master {} is {}.', master_id, master_state)
        when loser_state <> 'live' then format('The loser {} is {}.', loser_id, loser_state)
        when loser_contact_id is not null and master_contact_id is null
        then format('HubSpot contact {} is bound to {}, which would go.', loser_contact_id, loser_id)
        when loser_contact_id is not null
        then format('HubSpot contacts {} and {} are bound to the two records.', loser_contact_id, master_contact_id)
        when master_contact_id is not null then format('HubSpot contact {} is bound to the master.', master_contact_id)
        else 'No HubSpot contact is bound to either.'
    end as reason,
    coalesce(loser_contact_id, master_contact_id) as hubspot_contact_id,
    case when loser_contact_id is not null then loser_id when master_contact_id is not null then master_id end as bound_id,
    case
        when master_type is null or loser_type is null or master_type <> loser_type then null
        when loser_contact_id is not null and master_contact_id is not null then null
        when loser_contact_id is not null then loser_id
        else master_id
    end as recommended_master_id,
    case
        when row_no = 0 then 'Die Datei ist nicht lesbar: sie braucht die Spalten master_id und loser_id, in UTF-8.'
        when is_malformed then 'Eine der beiden ist keine Salesforce-ID.'
        when master_id = loser_id then 'Master und Verlierer sind derselbe Datensatz.'
        when master_type is null then format('Kein Abruf hat den Master {} gesehen.', master_id)
        when loser_type is null then format('Kein Abruf hat den Verlierer {} gesehen.', loser_id)
        when loser_state = 'merged' and loser_survivor_id = master_id then 'Die Zusammenführung wurde ausgeführt.'
        when master_type <> loser_type
        then format('Der Master ist ein {}, der Verlierer ein {}. Stattdessen den Lead in den Contact konvertieren.', master_type, loser_type)
        when is_circular then 'Die Zeilen des Plans laufen im Kreis.'
        when has_two_masters then format('Der Plan führt {} in mehr als einen Master zusammen.', loser_id)
        when master_state <> 'live' then format('Der Master {} ist nicht mehr da.', master_id)
        when loser_state <> 'live' then format('Der Verlierer {} ist nicht mehr da.', loser_id)
        when loser_contact_id is not null and master_contact_id is null
        then format('HubSpot-Kontakt {} ist mit {} verknüpft, das verschwinden würde.', loser_contact_id, loser_id)
        when loser_contact_id is not null
        then format('Die HubSpot-Kontakte {} und {} sind mit den beiden Datensätzen verknüpft.', loser_contact_id, master_contact_id)
        when master_contact_id is not null then format('HubSpot-Kontakt {} ist mit dem Master verknüpft.', master_contact_id)
        else 'Mit keinem der beiden ist ein HubSpot-Kontakt verknüpft.'
    end as reason_de
from input;
