-- One row: a step of the run-book for a cluster, or for a contact that a record could draw away though no cluster has its e-mail
-- (docs/prediction.md, "The run-book of a cluster"): the order of least damage.
-- What is bound stays: the master is the bound record, else the predicted one, else what a first sync would take. No step removes a
-- record that a live contact is bound to, except that a bound Lead is converted into the Contact that is kept: there the binding moves
-- along (rule 29), so this comes before anything else is brought into that Contact.
--
-- email: the cluster; without one, the contact's e-mail
-- hubspot_contact_id: the contact at stake: the one that is bound to the master, else the live one with that primary e-mail
-- step: 1, 2, … in the order in which the steps are to be done
-- action: change_email (the loser gets an e-mail of its own), convert (the loser, a Lead, into the master, a Contact), merge, manual
-- master_id: the record that stays; null when people must decide first
-- loser_id: the record that goes, or whose e-mail changes; null for manual
-- says: what is to be done and why: the case, of which the sentences stand below
-- facts: what they are filled with
-- quoted: nothing: it needs the words of no other table
-- merge_no: merge steps with one number are one merge in Salesforce, which takes two losers at most; null for other actions
-- enter_before: HubSpot properties whose value must be entered in the master before this step; consent is always among these
-- enter_after: HubSpot properties whose value must be entered in the master after it; never consent
-- enter_values: these properties, what is to be entered, and where it comes from: typed (a person typed it last, in either CRM), else hubspot. Of consent it
--   is always HubSpot's
-- book: the run-book that it belongs to (core.run_book)
-- slice: coalesce(email, hubspot_contact_id)
--
-- says enter: [?before {is_blank|yes: First enter {whose|typed: what was typed last, |HubSpot's }{before} in {kept}: it is blank there, and {loser} would
--   fill it.|First settle what the person agreed to: HubSpot has {before}, {kept} has something else. If HubSpot is right, enter it in {kept}, and save
--   {master} right after it, so that the binding stays.} ]
-- says.de enter: [?before {is_blank|yes: Zuerst {before} ({whose|typed: was zuletzt eingegeben wurde|aus HubSpot}) in {kept} eintragen: Dort ist es leer,
--   und {loser} würde es füllen.|Zuerst klären, wozu die Person zugestimmt hat: HubSpot hat {before}, {kept} etwas anderes. Hat HubSpot recht, es in {kept}
--   eintragen und gleich danach {master} speichern, damit die Verknüpfung bleibt.} ]
-- says part_of_another: Contact {contact}, which is bound to {asked}, has this e-mail as an additional one: what is to be done with {beside} is part of
--   its own run-book.
-- says.de part_of_another: Kontakt {contact}, der mit {asked} verknüpft ist, hat diese E-Mail als Zweitadresse: Was mit {beside} zu tun ist, steht bei ihm.
-- says strangers: Contact {contact} could be bound to any of {beside}, and they look like different people. Check whose record each is. Give the ones of
--   other people an e-mail of their own.
-- says.de strangers: Kontakt {contact} könnte mit jedem von {beside} verknüpft werden, und sie sehen nach verschiedenen Personen aus. Klären, wessen
--   Datensatz jeder ist. Denen anderer Personen eine eigene E-Mail geben.
-- says another_person: Contact {contact} {is_bound|yes: is|will be} bound to {asked}, which has another e-mail or looks like another person; its own
--   e-mail is that of {beside}. Check whose record {asked} is. If it is the wrong one, enter HubSpot's values in the right one: the binding moves there,
--   on purpose, and {asked} stays.
-- says.de another_person: Kontakt {contact} {is_bound|yes: ist|wird} mit {asked} verknüpft, einem Datensatz, der eine andere E-Mail hat oder nach einer
--   anderen Person aussieht; die eigene E-Mail hat {beside}. Klären, wessen Datensatz {asked} ist. Ist es der falsche, die Werte aus HubSpot im richtigen
--   eintragen: Die Verknüpfung springt dann dorthin, mit Absicht, und {asked} bleibt.
-- says outside_list: Contact {contact} is outside the inclusion list: its binding to Lead {master} would not follow a conversion (rule 21). Put it into
--   the list first; then convert the Lead into a Contact.
-- says.de outside_list: Kontakt {contact} ist außerhalb des Aufnahmesegments: Seine Verknüpfung mit Lead {master} würde einer Konvertierung nicht folgen
--   (Regel 21). Ihn zuerst in das Segment aufnehmen; dann den Lead in einen Salesforce-Kontakt konvertieren.
-- says several_contacts: Other HubSpot contacts are bound to records here ({others}). If they are one person, merge them in HubSpot; if not, give each
--   record its own e-mail. Only then bring the rest together.
-- says.de several_contacts: Andere HubSpot-Kontakte sind mit Datensätzen hier verknüpft ({others}). Sind sie eine Person, sie in HubSpot zusammenführen;
--   sonst jedem Datensatz eine eigene E-Mail geben. Erst dann den Rest zusammenbringen.
-- says other_address: Contact {contact} is bound to {kept}, which has another e-mail. A conversion of {leads} into {kept} would let HubSpot make a second
--   contact, with this e-mail, and bind it there, too (rule 9). Check whose record {kept} is. If it is this person's, give both one e-mail first; if not,
--   give the contact its own record first. Only then convert.
-- says.de other_address: Kontakt {contact} ist mit {kept} verknüpft, einem Datensatz, der eine andere E-Mail hat. Eine Konvertierung von {leads} in {kept}
--   ließe HubSpot zu dieser E-Mail einen zweiten Kontakt anlegen und ebenfalls damit verknüpfen (Regel 9). Klären, wessen Datensatz {kept} ist. Ist es der
--   dieser Person, zuerst beiden dieselbe E-Mail geben; sonst dem Kontakt zuerst einen eigenen Datensatz. Erst dann konvertieren.
-- says change_email: The records look like different people. Give {loser} an e-mail of its own; {master} keeps this one.
-- says.de change_email: Die Datensätze sehen nach verschiedenen Personen aus. {loser} bekommt eine eigene E-Mail; {master} behält diese.
-- says convert_bound: <enter>Convert Lead {loser} into the existing Contact {kept} and its account, without an Opportunity: the binding moves along (rule
--   29).[?after  Then enter the right values in {kept}, because its own win: {after}.][ HubSpot's {of_account} becomes what {kept} has: nobody can enter
--   that there.]
-- says.de convert_bound: <enter>Lead {loser} in den vorhandenen Salesforce-Kontakt {kept} und dessen Account konvertieren, ohne Opportunity: Die
--   Verknüpfung folgt ihm (Regel 29).[?after  Danach in {kept} die richtigen Werte eintragen, denn seine gewinnen: {after}.][ {of_account} in HubSpot wird
--   zu dem, was {kept} hat: Eintragen kann es dort niemand.]
-- says convert: <enter>Convert Lead {loser} into the existing Contact {kept} and its account, without an Opportunity: Salesforce cannot merge a Lead with
--   a Contact (rule 37).
-- says.de convert: <enter>Lead {loser} in den vorhandenen Salesforce-Kontakt {kept} und dessen Account konvertieren, ohne Opportunity: Salesforce kann
--   einen Lead nicht mit einem Salesforce-Kontakt zusammenführen (Regel 37).
-- says merge_bound: <enter>Merge {loser} into {kept}, the record that stays bound (rule 35).
-- says.de merge_bound: <enter>{loser} mit {kept} zusammenführen, dem Masterdatensatz, der verknüpft bleibt (Regel 35).
-- says merge: <enter>Merge {loser} into {kept}. No contact is bound to either.
-- says.de merge: <enter>{loser} mit dem Masterdatensatz {kept} zusammenführen. Mit keinem ist ein Kontakt verknüpft.
create or replace table core.run_book_step as
with held as (
    -- records that a live contact is bound to
    select
        record.book,
        record.record_id,
        list(contact.contact_id order by length(contact.contact_id), contact.contact_id) as contact_ids,
        bool_and(contact.is_in_scope) as is_in_scope
    from core.run_book_record as record
    inner join core.hubspot_contact as contact on contact.bound_id = record.record_id and contact.state = 'live'
    group by record.book, record.record_id
),
holding as (
    select book, list_sort(list_distinct(flatten(list(contact_ids)))) as contact_ids from held group by book
),
ranked as (
    select
        record.book,
        record.record_id,
        record.object_type,
        row_number() over (
            partition by record.book
            order by
                -- what is bound, what is predicted, what somebody else is bound to (when nobody has the e-mail), what a first sync takes
                coalesce(record.record_id = run_book.bound_id, false) desc,
                record.is_predicted desc,
                run_book.hubspot_contact_id is null and record.is_bound desc,
                main.first_sync_order(policy.first_sync, record.object_type, person.created_at),
                record.oldest_rank
        ) as place
    from core.run_book_record as record
    inner join core.run_book as run_book on run_book.book = record.book
    inner join core.salesforce_person as person on person.record_id = record.record_id
    cross join main.policy as policy
),
beside_another as (
    -- the master is a Contact that a contact with another e-mail is bound to. HubSpot meets a Contact anew when a Lead is converted into it: the contact with
    -- its e-mail is bound to it beside the other one, or made (rules 8, 9)
    select distinct master.book
    from ranked as master
    inner join core.salesforce_person as record on record.record_id = master.record_id
    inner join core.hubspot_contact as holder on holder.bound_id = master.record_id and holder.state = 'live' and holder.email is distinct from record.email
    left join core.hubspot_contact as of_address on of_address.email = record.email and of_address.state = 'live'
    where master.place = 1 and master.object_type = 'Contact' and record.email is not null
      and (of_address.contact_id is not null or not coalesce(list_contains(holder.additional_emails, record.email), false))
),
leads as (
    select book, array_to_string(list(record_id order by record_id), ', ') as record_ids
    from core.run_book_record where object_type = 'Lead' group by book
),
free_contact as (
    -- for a master that is a Lead: the Contacts it could be converted into. The binding of a contact outside the inclusion list does not move along
    select record.book, record.record_id, record.oldest_rank, master_held.contact_ids[1] as hubspot_contact_id
    from core.run_book_record as record
    inner join ranked as master on master.book = record.book and master.place = 1 and master.object_type = 'Lead'
    left join held on held.book = record.book and held.record_id = record.record_id
    left join held as master_held on master_held.book = master.book and master_held.record_id = master.record_id
    where record.object_type = 'Contact' and held.record_id is null and coalesce(master_held.is_in_scope, true)
),
lost_value as (
    -- what the contact would lose to such a Contact
    select book, record_id, property, hubspot_value, consent, is_writable
    from (
        select
            differing.book, differing.record_id, field.property, field.consent, field.is_writable,
            -- a tick box that is blank says no, and no is what is entered
            case when field.kind = 'boolean' and main.is_blank(differing.value.hubspot)
                then 'false' else coalesce(differing.value.hubspot, '') end as hubspot_value,
            main.switch_effect(differing.value.hubspot, differing.value.salesforce, field, knobs) as effect
        from (
            -- most fields are equal as they stand
            select
                free_contact.book, free_contact.record_id,
                unnest(list_transform(
                    list_filter(
                        range(1, len(record.field_values) + 1), lambda place: contact.property_values[place] is distinct from record.field_values[place]),
                    lambda place: {'place': place, 'hubspot': contact.property_values[place], 'salesforce': record.field_values[place]})) as value
            from free_contact
            inner join core.contact_value as contact on contact.contact_id = free_contact.hubspot_contact_id and contact.object_type = 'Contact'
            inner join core.record_value as record on record.record_id = free_contact.record_id
        ) as differing
        inner join core.mapped_field as field on field.object_type = 'Contact' and field.place = differing.value.place
        cross join main.policy as knobs
    )
    where effect in ('overwrite', 'clear')
),
at_risk as (
    -- what nobody can write, as the name of the account, cannot be entered
    select
        book,
        record_id,
        list({'property': property, 'value': hubspot_value, 'consent': consent} order by property) filter (where is_writable) as to_enter,
        list(property order by property) filter (where not is_writable) as of_account
    from lost_value
    group by book, record_id
),
kept_contact as (
    -- the one to which the least is lost
    select book, record_id
    from (
        select
            free_contact.book,
            free_contact.record_id,
            row_number() over (
                partition by free_contact.book
                order by coalesce(len(at_risk.of_account), 0), coalesce(len(at_risk.to_enter), 0), free_contact.oldest_rank) as place
        from free_contact
        left join at_risk on at_risk.book = free_contact.book and at_risk.record_id = free_contact.record_id
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
        member.email as book,
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
        run_book.book,
        run_book.email,
        coalesce(
            watching.contact_id,
            case when list_contains(master_held.contact_ids, run_book.hubspot_contact_id) then run_book.hubspot_contact_id else master_held.contact_ids[1] end,
            run_book.hubspot_contact_id) as hubspot_contact_id,
        master.record_id as master_id,
        master_held.record_id is not null as master_is_bound,
        case when master.object_type = 'Lead' then coalesce(kept_contact.record_id, master.record_id) else master.record_id end as kept_id,
        case when master.object_type = 'Lead' and kept_contact.record_id is null then 'Lead' else 'Contact' end as kept_type,
        run_book.is_shared_mailbox,
        master.object_type = 'Lead' and has_contacts.book is not null and not coalesce(master_held.is_in_scope, true) as must_enter_list,
        watching.contact_id is not null or run_book.is_of_strangers as must_ask,
        beside_another.book is not null as is_beside_another,
        case when beside_another.book is not null then leads.record_ids end as leads_that_wait,
        coalesce(watching.bound_id, run_book.own_id) as asked_id,
        watching.bound_id is not null or run_book.bound_id is not null as asked_is_bound,
        other_book.book is not null as is_part_of_another,
        list_sort(list_distinct(list_filter(
            list_append(coalesce(holding.contact_ids, cast([] as varchar[])), run_book.hubspot_contact_id), lambda id: id is not null))) as other_contact_ids,
        coalesce(len(holding.contact_ids), 0) > 1
            or (len(holding.contact_ids) = 1 and run_book.hubspot_contact_id is not null and holding.contact_ids[1] <> run_book.hubspot_contact_id)
            as has_several_contacts
    from core.run_book as run_book
    inner join ranked as master on master.book = run_book.book and master.place = 1
    left join held as master_held on master_held.book = run_book.book and master_held.record_id = master.record_id
    left join kept_contact on kept_contact.book = run_book.book
    left join beside_another on beside_another.book = run_book.book
    left join leads on leads.book = run_book.book
    left join holding on holding.book = run_book.book
    left join watching on watching.book = run_book.book
    left join core.run_book as other_book on other_book.book = '#' || watching.contact_id and not other_book.is_of_strangers
    left join (select distinct book from core.run_book_record where object_type = 'Contact') as has_contacts on has_contacts.book = run_book.book
),
beside as (
    -- the records that a contact is asked about: those that could draw it away
    select plan.book, array_to_string(list(record.record_id order by record.record_id), ', ') as record_ids
    from plan
    inner join core.run_book_record as record on record.book = plan.book and record.record_id is distinct from plan.asked_id
    where plan.must_ask
    group by plan.book
),
step as (
    select 0 as phase, 0 as place, 'manual' as action, cast(null as varchar) as loser_id, plan.*
    from plan
    where must_ask
    union all
    select 1, record.recency_rank, 'change_email', record.record_id, plan.*
    from plan
    inner join core.run_book_record as record on record.book = plan.book and record.record_id <> plan.master_id
    where plan.is_shared_mailbox and not plan.must_ask
    union all
    select
        case when record.object_type = plan.kept_type then 3 else 2 end,
        -- the bound Lead first, then the least recently updated
        case when record.record_id = plan.master_id then 0
        else 1 + row_number() over (partition by plan.book order by record.recency_rank desc, record.record_id) end,
        case when record.object_type = plan.kept_type then 'merge' else 'convert' end,
        record.record_id,
        plan.*
    from plan
    inner join core.run_book_record as record on record.book = plan.book and record.record_id <> plan.kept_id
    left join held on held.book = record.book and held.record_id = record.record_id
    where not plan.is_shared_mailbox
      and not plan.must_ask
      and (record.object_type = plan.kept_type or (record.object_type = 'Lead' and not plan.is_beside_another))
      -- nothing that another contact is bound to; the bound Lead only where one contact alone is bound to it
      and (held.record_id is null or (record.record_id = plan.master_id and len(held.contact_ids) = 1))
    union all
    select 4, case when has_several_contacts then 0 else 1 end, 'manual', cast(null as varchar), plan.*
    from plan
    where (has_several_contacts or must_enter_list or (leads_that_wait is not null and not is_shared_mailbox)) and not must_ask
),
numbered as (
    select
        *,
        row_number() over (partition by book order by phase, place, loser_id) as step,
        case when action = 'merge' then (row_number() over (partition by book, action order by phase, place, loser_id) + 1) // 2 end as merge_no
    from step
),
fillable as (
    -- of each pair of objects, what a loser could fill in a master; beside the values, because as a condition of a join DuckDB would compare them one at a time
    select
        field.object_type as kept_type, of_loser.object_type as loser_type,
        list({
            'property': field.property, 'consent': field.consent, 'kind': field.kind, 'labels': field.hubspot_labels, 'place': field.place,
            'loser_kind': of_loser.kind, 'loser_labels': of_loser.salesforce_labels, 'loser_place': of_loser.place}) as fields
    from core.mapped_field as field
    inner join core.mapped_field as of_loser on of_loser.property = field.property
    where field.is_writable and (not struct_extract(main.mapping_rule(field.rule), 'fills_blank') or field.consent)
    group by field.object_type, of_loser.object_type
),
filled as (
    -- the master is blank where HubSpot's contact is not, and the loser would fill it with something else. Of consent a blank is a value: it says no
    select book, step, list({'property': field.property, 'value': value, 'consent': field.consent} order by field.property) as to_enter
    from (
        select
            *,
            case when main.is_blank(property_values[field.place]) then 'false' else property_values[field.place] end as value
        from (
            select
                numbered.book, numbered.step, contact.property_values, kept.field_values as kept_values, loser.field_values as loser_values,
                unnest(fillable.fields) as field
            from numbered
            inner join core.contact_value as contact on contact.contact_id = numbered.hubspot_contact_id and contact.object_type = numbered.kept_type
            inner join core.record_value as kept on kept.record_id = numbered.kept_id
            inner join core.record_value as loser on loser.record_id = numbered.loser_id
            inner join fillable on fillable.kept_type = numbered.kept_type and fillable.loser_type = loser.object_type
            where numbered.action in ('merge', 'convert') and numbered.master_is_bound and numbered.loser_id <> numbered.master_id
        )
    )
    where main.is_blank(kept_values[field.place])
      and (not main.is_blank(property_values[field.place]) or (field.consent and field.kind = 'boolean'))
      and not main.is_blank(loser_values[field.loser_place])
      and not main.same_value(value, loser_values[field.loser_place], field.loser_kind, field.labels, field.loser_labels)
    group by book, step
),
moved as (
    -- the step in which the bound Lead becomes the Contact that is kept. That Contact's values win, so the right ones follow; consent is never left for later
    select
        numbered.book, numbered.step, at_risk.of_account,
        list_filter(at_risk.to_enter, lambda entry: entry.consent) as consents,
        list_filter(at_risk.to_enter, lambda entry: not entry.consent) as others
    from numbered
    inner join at_risk on at_risk.book = numbered.book and at_risk.record_id = numbered.kept_id
    where numbered.action = 'convert' and numbered.loser_id = numbered.master_id and numbered.master_is_bound
),
typed as (
    -- of each property what somebody typed last, into the contact or into a record of the run-book
    select book, map(list(property), list(value)) as newest
    from (
        select book, property, arg_max(value, (typed_at, value)) as value
        from (
            -- one after the other: with or between the two, a join compares each with each
            select record.book, typed.property, typed.value, typed.typed_at
            from core.run_book_record as record
            inner join core.typed_value as typed on typed.record_id = record.record_id
            union all
            select plan.book, typed.property, typed.value, typed.typed_at
            from plan
            inner join core.typed_value as typed on typed.hubspot_contact_id = plan.hubspot_contact_id
        )
        group by book, property
    )
    group by book
),
entered as (
    select
        numbered.*,
        list_transform(coalesce(filled.to_enter, moved.consents, []), lambda entry: {
            'property': entry.property, 'value': coalesce(case when not entry.consent then typed.newest[entry.property] end, entry.value),
            'source': case when not entry.consent and typed.newest[entry.property] is not null then 'typed' else 'hubspot' end}) as before,
        list_transform(coalesce(moved.others, []), lambda entry: {
            'property': entry.property, 'value': coalesce(typed.newest[entry.property], entry.value),
            'source': case when typed.newest[entry.property] is not null then 'typed' else 'hubspot' end}) as after,
        filled.to_enter is not null as master_is_blank,
        moved.of_account
    from numbered
    left join filled on filled.book = numbered.book and filled.step = numbered.step
    left join moved on moved.book = numbered.book and moved.step = numbered.step
    left join typed on typed.book = numbered.book
),
worded as (
    select
        *,
        case when len(list_filter(before, lambda entry: entry.source <> 'hubspot')) > 0 then 'typed' else 'hubspot' end as whose,
        nullif(array_to_string(list_transform(before, lambda entry: entry.property || ' ' || main.quoted_value(entry.value)), ', '), '') as before_text,
        nullif(array_to_string(list_transform(after, lambda entry: entry.property || ' ' || main.quoted_value(entry.value)), ', '), '') as after_text
    from entered
)
select
    step.email,
    step.hubspot_contact_id,
    step.step,
    step.action,
    case
        when step.must_ask then null
        when step.action = 'change_email' then step.master_id
        else step.kept_id
    end as master_id,
    step.loser_id,
    case
        when step.action = 'manual' and step.is_part_of_another then 'part_of_another'
        when step.action = 'manual' and step.must_ask and step.asked_id is null then 'strangers'
        when step.action = 'manual' and step.must_ask then 'another_person'
        when step.action = 'manual' and step.has_several_contacts then 'several_contacts'
        when step.action = 'manual' and step.must_enter_list then 'outside_list'
        when step.action = 'manual' then 'other_address'
        when step.action = 'convert' and step.loser_id = step.master_id and step.master_is_bound then 'convert_bound'
        when step.action = 'merge' and step.master_is_bound then 'merge_bound'
        else step.action
    end as says,
    map {
        'contact': step.hubspot_contact_id, 'master': step.master_id, 'kept': step.kept_id, 'loser': step.loser_id, 'asked': step.asked_id,
        'is_bound': case when step.asked_is_bound then 'yes' end, 'beside': beside.record_ids, 'leads': step.leads_that_wait,
        'others': array_to_string(list_filter(step.other_contact_ids, lambda id: id <> step.hubspot_contact_id), ', '),
        'before': step.before_text, 'whose': step.whose, 'is_blank': case when step.master_is_blank then 'yes' end, 'after': step.after_text,
        'of_account': array_to_string(step.of_account, ', ')} as facts,
    cast(null as map(varchar, varchar)) as quoted,
    step.merge_no,
    list_transform(step.before, lambda entry: entry.property) as enter_before,
    list_transform(step.after, lambda entry: entry.property) as enter_after,
    list_transform(step.before || step.after, lambda entry: {'property': entry.property, 'value': entry.value, 'source': entry.source}) as enter_values,
    step.book
from worded as step
left join beside on beside.book = step.book;
