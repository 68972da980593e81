-- One row: a step of the run-book for a cluster, the order of least damage (docs/prediction.md, "The run-book of a cluster").
-- What is bound stays: the master is the bound record, else the predicted one, else what a first sync would take. No step removes a
-- record that a live contact is bound to, except that a bound Lead is converted into the Contact that is kept: there the binding moves
-- along (rule 29), so this comes before anything else is brought into that Contact.
--
-- email: the cluster
-- hubspot_contact_id: the live contact with that primary e-mail, else one that is bound to the master
-- step: 1, 2, … in the order in which the steps are to be done
-- action: change_email (the loser gets an e-mail of its own), convert (the loser, a Lead, into the master, a Contact), merge, manual
-- master_id: the record that stays; null when people must decide first
-- loser_id: the record that goes, or whose e-mail changes; null for manual
-- reason: what to do and why, in words
-- merge_no: merge steps with one number are one merge in Salesforce, which takes two losers at most; null for other actions
-- reason_de: the reason in German
create or replace table core.merge_advice as
with held as (
    -- members that a live contact is bound to
    select member.email, member.record_id, list(contact.contact_id order by length(contact.contact_id), contact.contact_id) as contact_ids
    from core.cluster_member as member
    inner join core.hubspot_contact as contact on contact.bound_id = member.record_id and contact.state = 'live'
    group by member.email, member.record_id
),
holding as (
    select email, list_sort(list_distinct(flatten(list(contact_ids)))) as contact_ids from held group by email
),
at_risk as (
    -- what a contact loses to a record; a value that is written into the record is no loss when both are one person
    select hubspot_contact_id, rival_id, list(distinct property order by property) as properties
    from core.overwrite
    where effect in ('overwrite', 'clear')
    group by hubspot_contact_id, rival_id
),
ranked as (
    select
        member.email,
        member.record_id,
        member.object_type,
        row_number() over (
            partition by member.email
            order by
                -- what is bound, what is predicted, what somebody else is bound to (when nobody has the e-mail), what a first sync takes
                coalesce(member.record_id = cluster.bound_id, false) desc,
                member.is_predicted desc,
                cluster.hubspot_contact_id is null and member.is_bound desc,
                policy.first_sync = 'contact_first' and member.object_type = 'Contact' desc,
                member.oldest_rank
        ) as place
    from core.cluster_member as member
    inner join core.duplicate_cluster as cluster on cluster.email = member.email
    cross join main.policy as policy
),
kept_contact as (
    -- for a master that is a Lead: the Contact to convert it into, free of other bindings, with the fewest values that differ
    select email, record_id
    from (
        select
            member.email,
            member.record_id,
            row_number() over (partition by member.email order by coalesce(len(at_risk.properties), 0), member.oldest_rank) as place
        from core.cluster_member as member
        inner join core.duplicate_cluster as cluster on cluster.email = member.email
        left join held on held.email = member.email and held.record_id = member.record_id
        left join at_risk on at_risk.hubspot_contact_id = cluster.hubspot_contact_id and at_risk.rival_id = member.record_id
        where member.object_type = 'Contact' and held.record_id is null
    ) as free_contact
    where place = 1
),
plan as (
    select
        cluster.email,
        coalesce(cluster.hubspot_contact_id, master_held.contact_ids[1]) as hubspot_contact_id,
        master.record_id as master_id,
        master_held.record_id is not null as master_is_bound,
        case when master.object_type = 'Lead' then coalesce(kept_contact.record_id, master.record_id) else master.record_id end as kept_id,
        case when master.object_type = 'Lead' and kept_contact.record_id is null then 'Lead' else 'Contact' end as kept_type,
        cluster.is_shared_mailbox,
        -- the contact is bound to a live record with another e-mail: whatever is merged here would be newer, and the binding would jump
        coalesce(binding.bound_state = 'live' and outside.record_id is null, false) as is_bound_elsewhere,
        cluster.bound_id,
        list_filter(coalesce(holding.contact_ids, cast([] as varchar[])), lambda id: id is distinct from cluster.hubspot_contact_id) as other_contact_ids,
        coalesce(len(holding.contact_ids), 0) > 1
            or (len(holding.contact_ids) = 1 and cluster.hubspot_contact_id is not null and holding.contact_ids[1] <> cluster.hubspot_contact_id)
            as has_several_contacts
    from core.duplicate_cluster as cluster
    inner join ranked as master on master.email = cluster.email and master.place = 1
    left join held as master_held on master_held.email = cluster.email and master_held.record_id = master.record_id
    left join kept_contact on kept_contact.email = cluster.email
    left join holding on holding.email = cluster.email
    left join core.binding as binding on binding.hubspot_contact_id = cluster.hubspot_contact_id
    left join core.cluster_member as outside on outside.email = cluster.email and outside.record_id = cluster.bound_id
),
step as (
    select email, 0 as phase, 0 as place, 'manual' as action, cast(null as varchar) as loser_id, plan.* exclude (email)
    from plan
    where is_bound_elsewhere
    union all
    select plan.email, 1, member.recency_rank, 'change_email', member.record_id, plan.* exclude (email)
    from plan
    inner join core.cluster_member as member on member.email = plan.email and member.record_id <> plan.master_id
    where plan.is_shared_mailbox and not plan.is_bound_elsewhere
    union all
    select
        plan.email,
        case when member.object_type = plan.kept_type then 3 else 2 end,
        -- the bound Lead first, then the least recently updated
        case when member.record_id = plan.master_id then 0 else 1 + row_number() over (partition by plan.email order by member.recency_rank desc, member.record_id) end,
        case when member.object_type = plan.kept_type then 'merge' else 'convert' end,
        member.record_id,
        plan.* exclude (email)
    from plan
    inner join core.cluster_member as member on member.email = plan.email and member.record_id <> plan.kept_id
    left join held on held.email = member.email and held.record_id = member.record_id
    where not plan.is_shared_mailbox
      and not plan.is_bound_elsewhere
      -- nothing that another contact is bound to; the bound Lead only where one contact alone is bound to it
      and (held.record_id is null or (member.record_id = plan.master_id and len(held.contact_ids) = 1))
    union all
    select email, 4, 0, 'manual', cast(null as varchar), plan.* exclude (email)
    from plan
    where has_several_contacts and not is_bound_elsewhere
),
numbered as (
    select
        *,
        row_number() over (partition by email order by phase, place, loser_id) as step,
        case when action = 'merge' then (row_number() over (partition by email, action order by phase, place, loser_id) + 1) // 2 end as merge_no
    from step
)
select
    numbered.email,
    numbered.hubspot_contact_id,
    numbered.step,
    numbered.action,
    case
        when numbered.is_bound_elsewhere then null
        when numbered.action = 'change_email' then numbered.master_id
        else numbered.kept_id
    end as master_id,
    numbered.loser_id,
    case
        when numbered.action = 'manual' and numbered.is_bound_elsewhere
        then format('Contact {} is bound to {}, which has another e-mail. Clear up which of them is right before anything is merged (mislinked_email).',
            numbered.hubspot_contact_id, numbered.bound_id)
        when numbered.action = 'manual'
        then format('Other HubSpot contacts are bound to records here ({}). If they are one person, merge them in HubSpot; if not, give each record its own e-mail. Only then bring the rest together.',
            array_to_string(numbered.other_contact_ids, ', '))
        when numbered.action = 'change_email'
        then format('The records look like different people. Give {} an e-mail of its own; {} keeps this one.', numbered.loser_id, numbered.master_id)
        when numbered.action = 'convert' and numbered.loser_id = numbered.master_id and numbered.master_is_bound
        then format('Convert Lead {} into Contact {}: the binding moves along (rule 29).', numbered.loser_id, numbered.kept_id)
            || case when at_risk.properties is null then ''
               else format(' Then enter the right {} in {}: its values win.', array_to_string(at_risk.properties, ', '), numbered.kept_id) end
        when numbered.action = 'convert'
        then format('Convert Lead {} into Contact {}: Salesforce cannot merge a Lead with a Contact (rule 37).', numbered.loser_id, numbered.kept_id)
        when numbered.master_is_bound
        then format('Merge {} into {}, the record that stays bound (rule 35).', numbered.loser_id, numbered.kept_id)
        else format('Merge {} into {}. No contact is bound to either.', numbered.loser_id, numbered.kept_id)
    end as reason,
    numbered.merge_no,
    case
        when numbered.action = 'manual' and numbered.is_bound_elsewhere
        then format('Kontakt {} ist mit {} verknüpft, das eine andere E-Mail hat. Klären, was davon richtig ist, bevor etwas zusammengeführt wird (mislinked_email).',
            numbered.hubspot_contact_id, numbered.bound_id)
        when numbered.action = 'manual'
        then format('Andere HubSpot-Kontakte sind mit Datensätzen hier verknüpft ({}). Sind sie eine Person, sie in HubSpot zusammenführen; sonst jedem Datensatz eine eigene E-Mail geben. Erst dann den Rest zusammenbringen.',
            array_to_string(numbered.other_contact_ids, ', '))
        when numbered.action = 'change_email'
        then format('Die Datensätze sehen nach verschiedenen Personen aus. {} bekommt eine eigene E-Mail; {} behält diese.', numbered.loser_id, numbered.master_id)
        when numbered.action = 'convert' and numbered.loser_id = numbered.master_id and numbered.master_is_bound
        then format('Lead {} in den Contact {} konvertieren: die Verknüpfung wandert mit (Regel 29).', numbered.loser_id, numbered.kept_id)
            || case when at_risk.properties is null then ''
               else format(' Danach in {} die richtigen Werte eintragen ({}): seine gewinnen.', numbered.kept_id, array_to_string(at_risk.properties, ', ')) end
        when numbered.action = 'convert'
        then format('Lead {} in den Contact {} konvertieren: Salesforce kann einen Lead nicht mit einem Contact zusammenführen (Regel 37).', numbered.loser_id, numbered.kept_id)
        when numbered.master_is_bound
        then format('{} in {} zusammenführen, den Datensatz, der verknüpft bleibt (Regel 35).', numbered.loser_id, numbered.kept_id)
        else format('{} in {} zusammenführen. Mit keinem ist ein Kontakt verknüpft.', numbered.loser_id, numbered.kept_id)
    end as reason_de
from numbered
left join at_risk on at_risk.hubspot_contact_id = numbered.hubspot_contact_id and at_risk.rival_id = numbered.kept_id;
