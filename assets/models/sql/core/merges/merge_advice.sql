-- One row: a step of the run-book for a cluster, the order of least damage (docs/prediction.md, "The run-book of a cluster").
-- What is bound stays: the master is the bound record, else the predicted one, else what a first sync would take. No step removes a
-- record that a live contact is bound to, except that a bound Lead is converted into the Contact that is kept: there the binding moves
-- along (rule 29), so this comes before anything else is brought into that Contact.
--
-- email: the cluster
-- hubspot_contact_id: the contact at stake: the one that is bound to the master, else the live one with that primary e-mail
-- step: 1, 2, … in the order in which the steps are to be done
-- action: change_email (the loser gets an e-mail of its own), convert (the loser, a Lead, into the master, a Contact), merge, manual
-- master_id: the record that stays; null when people must decide first
-- loser_id: the record that goes, or whose e-mail changes; null for manual
-- reason: what to do and why, in words
-- merge_no: merge steps with one number are one merge in Salesforce, which takes two losers at most; null for other actions
-- enter_before: HubSpot properties whose value must be entered in the master before this step
-- enter_after: HubSpot properties whose value must be entered in the master after it
-- reason_de: the reason in German
create or replace table core.merge_advice as
with held as (
    -- members that a live contact is bound to
    select
        member.email,
        member.record_id,
        list(contact.contact_id order by length(contact.contact_id), contact.contact_id) as contact_ids,
        bool_and(contact.is_in_scope) as is_in_scope
    from core.cluster_member as member
    inner join core.hubspot_contact as contact on contact.bound_id = member.record_id and contact.state = 'live'
    group by member.email, member.record_id
),
holding as (
    select email, list_sort(list_distinct(flatten(list(contact_ids)))) as contact_ids from held group by email
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
free_contact as (
    -- for a master that is a Lead: the Contacts it could be converted into. The binding of a contact outside the inclusion list does not move along
    select member.email, member.record_id, member.oldest_rank, master_held.contact_ids[1] as hubspot_contact_id
    from core.cluster_member as member
    inner join ranked as master on master.email = member.email and master.place = 1 and master.object_type = 'Lead'
    left join held on held.email = member.email and held.record_id = member.record_id
    left join held as master_held on master_held.email = master.email and master_held.record_id = master.record_id
    where member.object_type = 'Contact' and held.record_id is null and coalesce(master_held.is_in_scope, true)
),
-- Values are read where they decide something: Contacts that a Lead may be converted into; all, where a mapping rule lets Salesforce be blank
-- while HubSpot is not
needed_record as (
    select record_id from free_contact
    union
    select record_id from core.cluster_member
    where (select count(*) from main.field_mapping where rule in ('always_salesforce', 'two_way')) > 0
),
needed_contact as (
    select hubspot_contact_id as contact_id from free_contact where hubspot_contact_id is not null
    union
    select unnest(contact_ids) from held
    where (select count(*) from main.field_mapping where rule in ('always_salesforce', 'two_way')) > 0
),
contact_value as (
    select version.id as contact_id, version.properties
    from raw.hubspot_contact as version
    inner join core.hubspot_contact as latest on latest.contact_id = version.id and latest.pull_no = version.pull_no
    where version.id in (select contact_id from needed_contact)
),
record_value as (
    select person.record_id, person.object_type, version.fields
    from (
        select record_id, pull_no, fields from staging.salesforce_version where record_id in (select record_id from needed_record)
    ) as version
    inner join core.salesforce_person as person on person.record_id = version.record_id and person.pull_no = version.pull_no
),
at_risk as (
    -- what the contact would lose to such a Contact. The name of its account cannot be entered in it
    select
        free_contact.email,
        free_contact.record_id,
        list(mapping.property order by mapping.property) filter (where not contains(mapping.salesforce_field, '.')) as properties,
        list(mapping.property order by mapping.property) filter (where contains(mapping.salesforce_field, '.')) as of_account
    from free_contact
    inner join contact_value on contact_value.contact_id = free_contact.hubspot_contact_id
    inner join record_value on record_value.record_id = free_contact.record_id
    inner join main.field_mapping as mapping on mapping.object_type = 'Contact'
    left join raw.salesforce_field as field on field.object_type = 'Contact' and field.field = mapping.salesforce_field
    cross join main.policy as policy
    where main.switch_effect(contact_value.properties[mapping.property], record_value.fields[mapping.salesforce_field], field.type, mapping.rule,
                             policy.blank_on_switch) in ('overwrite', 'clear')
    group by free_contact.email, free_contact.record_id
),
kept_contact as (
    -- the one to which the least is lost
    select email, record_id
    from (
        select
            free_contact.email,
            free_contact.record_id,
            row_number() over (
                partition by free_contact.email
                order by coalesce(len(at_risk.of_account), 0), coalesce(len(at_risk.properties), 0), free_contact.oldest_rank) as place
        from free_contact
        left join at_risk on at_risk.email = free_contact.email and at_risk.record_id = free_contact.record_id
    ) as by_loss
    where place = 1
),
drawn as (
    -- candidates beside which a contact could be bound to a record with another e-mail; for most contacts all candidates share one
    select candidate.hubspot_contact_id, candidate.record_id
    from core.candidate as candidate
    where candidate.matches_email
      and (not candidate.matches_primary_email
           or candidate.hubspot_contact_id in (select hubspot_contact_id from core.candidate where is_bound and not matches_primary_email))
),
watching as (
    -- a contact that a record of the cluster could draw away from the live record that it is bound to, which has another e-mail: whatever is
    -- merged here would be newer, and the binding would jump
    select
        member.email,
        min_by(contact.contact_id, (length(contact.contact_id), contact.contact_id)) as contact_id,
        min_by(contact.bound_id, (length(contact.contact_id), contact.contact_id)) as bound_id
    from drawn
    inner join core.cluster_member as member on member.record_id = drawn.record_id
    inner join core.hubspot_contact as contact on contact.contact_id = drawn.hubspot_contact_id
    inner join core.salesforce_person as bound on bound.record_id = contact.bound_id and bound.state = 'live'
    where bound.email is distinct from member.email
    group by member.email
),
plan as (
    select
        cluster.email,
        coalesce(
            watching.contact_id,
            case when list_contains(master_held.contact_ids, cluster.hubspot_contact_id) then cluster.hubspot_contact_id else master_held.contact_ids[1] end,
            cluster.hubspot_contact_id) as hubspot_contact_id,
        master.record_id as master_id,
        master_held.record_id is not null as master_is_bound,
        case when master.object_type = 'Lead' then coalesce(kept_contact.record_id, master.record_id) else master.record_id end as kept_id,
        case when master.object_type = 'Lead' and kept_contact.record_id is null then 'Lead' else 'Contact' end as kept_type,
        cluster.is_shared_mailbox,
        master.object_type = 'Lead' and cluster.contact_count > 0 and not coalesce(master_held.is_in_scope, true) as must_enter_list,
        watching.contact_id is not null as is_bound_elsewhere,
        watching.bound_id,
        list_sort(list_distinct(list_filter(
            list_append(coalesce(holding.contact_ids, cast([] as varchar[])), cluster.hubspot_contact_id), lambda id: id is not null))) as other_contact_ids,
        coalesce(len(holding.contact_ids), 0) > 1
            or (len(holding.contact_ids) = 1 and cluster.hubspot_contact_id is not null and holding.contact_ids[1] <> cluster.hubspot_contact_id)
            as has_several_contacts
    from core.duplicate_cluster as cluster
    inner join ranked as master on master.email = cluster.email and master.place = 1
    left join held as master_held on master_held.email = cluster.email and master_held.record_id = master.record_id
    left join kept_contact on kept_contact.email = cluster.email
    left join holding on holding.email = cluster.email
    left join watching on watching.email = cluster.email
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
      and member.object_type in ('Lead', plan.kept_type)
      -- nothing that another contact is bound to; the bound Lead only where one contact alone is bound to it
      and (held.record_id is null or (member.record_id = plan.master_id and len(held.contact_ids) = 1))
    union all
    select email, 4, case when has_several_contacts then 0 else 1 end, 'manual', cast(null as varchar), plan.* exclude (email)
    from plan
    where (has_several_contacts or must_enter_list) and not is_bound_elsewhere
),
numbered as (
    select
        *,
        row_number() over (partition by email order by phase, place, loser_id) as step,
        case when action = 'merge' then (row_number() over (partition by email, action order by phase, place, loser_id) + 1) // 2 end as merge_no
    from step
),
filled as (
    -- the master is blank where HubSpot's contact is not, and the loser would fill it with something else
    select numbered.email, numbered.step, list(distinct mapping.property order by mapping.property) as properties
    from numbered
    inner join contact_value on contact_value.contact_id = numbered.hubspot_contact_id
    inner join record_value as kept on kept.record_id = numbered.kept_id
    inner join record_value as loser on loser.record_id = numbered.loser_id
    inner join main.field_mapping as mapping on mapping.object_type = numbered.kept_type and mapping.rule in ('always_salesforce', 'two_way')
    inner join main.field_mapping as of_loser on of_loser.object_type = loser.object_type and of_loser.property = mapping.property
    where numbered.action in ('merge', 'convert')
      and numbered.master_is_bound
      and numbered.loser_id <> numbered.master_id
      and not contains(mapping.salesforce_field, '.')
      and main.is_blank(kept.fields[mapping.salesforce_field])
      and not main.is_blank(contact_value.properties[mapping.property])
      and not main.is_blank(loser.fields[of_loser.salesforce_field])
      and not main.same_value(contact_value.properties[mapping.property], loser.fields[of_loser.salesforce_field], null)
    group by numbered.email, numbered.step
),
moved as (
    -- the step in which the bound Lead becomes the Contact that is kept
    select numbered.email, numbered.step, at_risk.properties, at_risk.of_account
    from numbered
    inner join at_risk on at_risk.email = numbered.email and at_risk.record_id = numbered.kept_id
    where numbered.action = 'convert' and numbered.loser_id = numbered.master_id and numbered.master_is_bound
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
    case when filled.properties is null then ''
    else format('First enter HubSpot''s {} in {}: it is blank there, and {} would fill it. ',
        array_to_string(filled.properties, ', '), numbered.kept_id, numbered.loser_id) end
    || case
        when numbered.action = 'manual' and numbered.is_bound_elsewhere
        then format('Contact {} is bound to {}, which has another e-mail. Clear up which of them is right before anything is merged (mislinked_email).',
            numbered.hubspot_contact_id, numbered.bound_id)
        when numbered.action = 'manual' and not numbered.has_several_contacts
        then format('Contact {} is outside the inclusion list: its binding to Lead {} would not follow a conversion (rule 21). Put it into the list first; then convert the Lead into a Contact.',
            numbered.hubspot_contact_id, numbered.master_id)
        when numbered.action = 'manual'
        then format('Other HubSpot contacts are bound to records here ({}). If they are one person, merge them in HubSpot; if not, give each record its own e-mail. Only then bring the rest together.',
            array_to_string(list_filter(numbered.other_contact_ids, lambda id: id <> numbered.hubspot_contact_id), ', '))
        when numbered.action = 'change_email'
        then format('The records look like different people. Give {} an e-mail of its own; {} keeps this one.', numbered.loser_id, numbered.master_id)
        when numbered.action = 'convert' and numbered.loser_id = numbered.master_id and numbered.master_is_bound
        then format('Convert Lead {} into Contact {}: the binding moves along (rule 29).', numbered.loser_id, numbered.kept_id)
            || case when moved.properties is null then ''
               else format(' Then enter the right {} in {}: its values win.', array_to_string(moved.properties, ', '), numbered.kept_id) end
            || case when moved.of_account is null then ''
               else format(' HubSpot''s {} becomes that of its account.', array_to_string(moved.of_account, ', ')) end
        when numbered.action = 'convert'
        then format('Convert Lead {} into Contact {}: Salesforce cannot merge a Lead with a Contact (rule 37).', numbered.loser_id, numbered.kept_id)
        when numbered.master_is_bound
        then format('Merge {} into {}, the record that stays bound (rule 35).', numbered.loser_id, numbered.kept_id)
        else format('Merge {} into {}. No contact is bound to either.', numbered.loser_id, numbered.kept_id)
    end as reason,
    numbered.merge_no,
    coalesce(filled.properties, cast([] as varchar[])) as enter_before,
    coalesce(moved.properties, cast([] as varchar[])) as enter_after,
    case when filled.properties is null then ''
    else format('Zuerst {} aus HubSpot in {} eintragen: dort ist es leer, und {} würde es füllen. ',
        array_to_string(filled.properties, ', '), numbered.kept_id, numbered.loser_id) end
    || case
        when numbered.action = 'manual' and numbered.is_bound_elsewhere
        then format('Kontakt {} ist mit {} verknüpft, das eine andere E-Mail hat. Klären, was davon richtig ist, bevor etwas zusammengeführt wird (mislinked_email).',
            numbered.hubspot_contact_id, numbered.bound_id)
        when numbered.action = 'manual' and not numbered.has_several_contacts
        then format('Kontakt {} ist außerhalb der Einschlussliste: seine Verknüpfung mit Lead {} würde einer Konvertierung nicht folgen (Regel 21). Ihn zuerst in die Liste aufnehmen; dann den Lead in einen Contact konvertieren.',
            numbered.hubspot_contact_id, numbered.master_id)
        when numbered.action = 'manual'
        then format('Andere HubSpot-Kontakte sind mit Datensätzen hier verknüpft ({}). Sind sie eine Person, sie in HubSpot zusammenführen; sonst jedem Datensatz eine eigene E-Mail geben. Erst dann den Rest zusammenbringen.',
            array_to_string(list_filter(numbered.other_contact_ids, lambda id: id <> numbered.hubspot_contact_id), ', '))
        when numbered.action = 'change_email'
        then format('Die Datensätze sehen nach verschiedenen Personen aus. {} bekommt eine eigene E-Mail; {} behält diese.', numbered.loser_id, numbered.master_id)
        when numbered.action = 'convert' and numbered.loser_id = numbered.master_id and numbered.master_is_bound
        then format('Lead {} in den Contact {} konvertieren: die Verknüpfung wandert mit (Regel 29).', numbered.loser_id, numbered.kept_id)
            || case when moved.properties is null then ''
               else format(' Danach in {} die richtigen Werte eintragen ({}): seine gewinnen.', numbered.kept_id, array_to_string(moved.properties, ', ')) end
            || case when moved.of_account is null then ''
               else format(' {} in HubSpot wird zu dem seines Accounts.', array_to_string(moved.of_account, ', ')) end
        when numbered.action = 'convert'
        then format('Lead {} in den Contact {} konvertieren: Salesforce kann einen Lead nicht mit einem Contact zusammenführen (Regel 37).', numbered.loser_id, numbered.kept_id)
        when numbered.master_is_bound
        then format('{} in {} zusammenführen, den Datensatz, der verknüpft bleibt (Regel 35).', numbered.loser_id, numbered.kept_id)
        else format('{} in {} zusammenführen. Mit keinem ist ein Kontakt verknüpft.', numbered.loser_id, numbered.kept_id)
    end as reason_de
from numbered
left join filled on filled.email = numbered.email and filled.step = numbered.step
left join moved on moved.email = numbered.email and moved.step = numbered.step;
