-- One row: a row of a merge plan that somebody handed in, judged before it is carried out, and looked at again afterwards.
-- A loser that a contact is bound to makes a merge unsafe, whoever is the master: either nobody is bound to the master and the contact loses its
-- record (F6, rule 36), or another contact is, and two contacts end on one record (rule 48). That holds for the other losers of the same master,
-- as well; the merge makes the master the record updated last, and the binding jumps to it (rule 11). The same happens to a contact that is
-- bound to a duplicate which the plan leaves out: unsafe, too, where a mapped value differs.
-- Runs in the warehouse, and on a published snapshot for `bindwatch merge-check`.
--
-- plan: the file it came in
-- row_no: its row there, from 1; 0 stands for a file that cannot be read
-- master_id: the record that is to stay, 18 characters; as handed in where it is malformed
-- loser_id: the record that is to go, likewise
-- verdict: safe, unsafe, invalid (Salesforce would refuse it, or the plan contradicts itself), unknown (an id that no pull has seen), done
--   (it was carried out since)
-- says: why: the case, of which the sentences stand below
-- facts: what they are filled with
-- quoted: of a file that cannot be read: why, by language
-- hubspot_contact_id: the live contact that is bound to the loser, else the one bound to the master, else the one bound to another loser of it,
--   else the one whose binding would jump from a duplicate that the plan leaves out
-- bound_id: the record it is bound to
-- recommended_master_id: the record that should be the master of all that the plan wants to be one; null when no merge of theirs is safe.
--   One that is not among them is advice: people must say whether it is the same person
-- consequence: what the merge would do to the contact: contact_deleted, sync_broken (by the setting of the portal), switch; null: nothing
-- result: of a merge that was carried out: as_planned, values_lost (the contact is whole, but the merge brought values into the master that replaced
--   HubSpot's), pending, moved, sync_broken or contact_deleted; null before
-- lost_fields: the properties whose value was replaced within two hours of the merge and that nobody wrote since; empty where nothing was, or
--   nobody knows
-- fields_at_risk: the properties that the jump would change; empty without one
-- enter_before: the properties whose value in HubSpot must be entered in the master first, because the loser would fill its blank with another
-- is_taken_away: its plan is in the folder no more; such rows are here while they have not turned out as planned
-- could_be_plan: false for a file in the folder that was not judged and that nobody would take for a plan: a picture, a note
--
-- says file: The file cannot be read: {quoted}. It was not judged.
-- says.de file: Die Datei ist nicht lesbar: {quoted}. Sie wurde nicht geprüft.
-- says bad_id: The {role|master: master|loser}[ {id}]{fault|empty:  is missing.|hubspot:  is a record id of HubSpot's; the ids of Leads or Contacts in
--   Salesforce are needed.|shape:  is no Salesforce id: it has {length|1: one character|{length:number} characters}, and needs 15 or 18 letters and
--   digits.|capitals:  has lost which of its letters are capitals, and names no record like that: take it from Salesforce again.| is mistyped: its last
--   three characters do not fit the others.}
-- says.de bad_id: Der {role|master: Masterdatensatz|sekundäre Datensatz}[ {id}]{fault|empty:  fehlt.|hubspot:  ist eine Datensatz-ID von HubSpot; nötig
--   sind die IDs von Leads oder Salesforce-Kontakten.|shape:  ist keine Salesforce-ID: {length|1: ein|{length:number}} Zeichen, nötig sind 15 oder 18
--   Buchstaben und Ziffern.|capitals: : Groß- und Kleinschreibung ist verloren gegangen, so benennt die ID keinen Datensatz. Neu aus Salesforce
--   übernehmen.| ist falsch geschrieben: Die letzten drei Zeichen passen nicht zu den anderen.}
-- says same: Master and loser are the same record.
-- says.de same: Masterdatensatz und sekundärer Datensatz sind derselbe Datensatz.
-- says unknown_master: No pull has seen the master {master}.
-- says.de unknown_master: Kein Abruf hat den Masterdatensatz {master} gesehen.
-- says unknown_loser: No pull has seen the loser {loser}.
-- says.de unknown_loser: Kein Abruf hat den sekundären Datensatz {loser} gesehen.
-- says done: The merge was carried out.{outcome|sync_broken:  The contact that was bound to the loser lost its sync.|contact_deleted:  The contact that
--   was bound to the loser was deleted.|moved:  The contact that was bound to the loser is bound to a third record now.|}[ It replaced values of the
--   contact: {lost}.]
-- says.de done: Die Zusammenführung wurde ausgeführt.{outcome|sync_broken:  Der Kontakt, der mit dem sekundären Datensatz verknüpft war, hat seine
--   Synchronisierung verloren.|contact_deleted:  Der Kontakt, der mit dem sekundären Datensatz verknüpft war, wurde gelöscht.|moved:  Der Kontakt, der mit
--   dem sekundären Datensatz verknüpft war, ist jetzt mit einem dritten Datensatz verknüpft.|}[ Sie hat Werte des Kontakts ersetzt: {lost}.]
-- says two_kinds: The master is a {master_type}, the loser a {loser_type}: Salesforce cannot merge them (rule 37). Convert the Lead into the Contact
--   instead.
-- says.de two_kinds: Der Masterdatensatz ist ein {master_type|Contact: Salesforce-Kontakt|{master_type}}, der sekundäre Datensatz ein {loser_type|Contact:
--   Salesforce-Kontakt|{loser_type}}: Salesforce kann sie nicht zusammenführen (Regel 37). Stattdessen den Lead in den Salesforce-Kontakt konvertieren.
-- says circle: The rows of the plan form a circle.
-- says.de circle: Die Zeilen des Plans laufen im Kreis.
-- says two_masters: The plan merges {loser} into more than one master.
-- says.de two_masters: Der Plan führt {loser} mit mehr als einem Masterdatensatz zusammen.
-- says gone_before: Row {row} merges one of the two away before.
-- says.de gone_before: Zeile {row} führt einen der beiden schon vorher mit einem anderen Masterdatensatz zusammen.
-- says master_gone: The master {master} is {master_state}.
-- says.de master_gone: Der Masterdatensatz {master} ist nicht mehr da.
-- says loser_gone: The loser {loser} is {loser_state}.
-- says.de loser_gone: Der sekundäre Datensatz {loser} ist nicht mehr da.
-- says beside: HubSpot contact {contact} is bound to {bound}, another loser of this master. The merge makes {master} the record updated last: the binding
--   jumps to it (rule 11).<also>
-- says.de beside: HubSpot-Kontakt {contact} ist mit {bound} verknüpft, einem anderen sekundären Datensatz dieses Masterdatensatzes. Die Zusammenführung macht
--   {master} zum zuletzt geänderten Datensatz: Die Verknüpfung springt dorthin (Regel 11).<also>
-- says drawn: HubSpot contact {contact} is bound to {bound}, which is not part of this merge, and has the master's e-mail. The merge makes {master} the
--   record updated last: the binding jumps to it (rule 11){values|same: ; no mapped value differs.|unknown: . Not all of them have one e-mail: clear up
--   whose is right before anything is merged.|; at risk: {at_risk}.{convert|yes:  First convert the Lead into the Contact.|}}<also>
-- says.de drawn: HubSpot-Kontakt {contact} ist mit {bound} verknüpft, einem Datensatz, der nicht Teil dieser Zusammenführung ist, und hat die E-Mail des
--   Masterdatensatzes. Sie macht {master} zum zuletzt geänderten Datensatz: Die Verknüpfung springt dorthin (Regel 11){values|same: ; kein zugeordneter
--   Wert ist verschieden.|unknown: . Sie haben nicht alle dieselbe E-Mail: Klären, welche richtig ist, bevor etwas zusammengeführt wird.|; gefährdet:
--   {at_risk}.{convert|yes:  Zuerst den Lead in den Salesforce-Kontakt konvertieren.|}}<also>
-- says held: HubSpot contact {contact} is bound to {loser}, which would go: {consequence|contact_deleted: the contact is deleted with it, restorable for
--   90 days (rules 34, 36).|its sync breaks (rules 33, 36).{after|outside:  It is outside the inclusion list: nothing matches it again (rule
--   21).|matched:  The next sync may match it with the master by e-mail, and bring the master's values.|lost:  The master does not have its e-mail, so the
--   next sync does not find it there.|}}[ HubSpot contact {master_contact} is bound to the master: both may end on one record (rule 48).]<also>
-- says.de held: HubSpot-Kontakt {contact} ist mit {loser} verknüpft, einem Datensatz, der verschwinden würde: {consequence|contact_deleted: Der Kontakt
--   wird mit ihm gelöscht, 90 Tage wiederherstellbar (Regeln 34, 36).|Seine Synchronisierung bricht ab (Regeln 33, 36).{after|outside:  Er ist außerhalb
--   des Aufnahmesegments: Nichts ordnet ihn neu zu (Regel 21).|matched:  Die nächste Synchronisierung kann ihn über die E-Mail dem Masterdatensatz zuordnen
--   und dessen Werte bringen.|lost:  Der Masterdatensatz hat seine E-Mail nicht, also findet ihn die nächste Synchronisierung dort nicht.|}}[ Mit dem
--   Masterdatensatz ist HubSpot-Kontakt {master_contact} verknüpft: Beide können mit demselben Datensatz verknüpft werden (Regel 48).]<also>
-- says stays: HubSpot contact {master_contact} is bound to the master and stays (rule 35).<also>
-- says.de stays: HubSpot-Kontakt {master_contact} ist mit dem Masterdatensatz verknüpft und bleibt es (Regel 35).<also>
-- says nobody: No HubSpot contact is bound to either.<also>
-- says.de nobody: Mit keinem der beiden ist ein HubSpot-Kontakt verknüpft.<also>
-- says also: {first|enter:  First enter HubSpot's {enter} in {master}: it is blank there, and {loser} would fill it.|unknown:  What {loser} would fill in
--   the master was not compared.|fill:  Where {master} is blank, first enter HubSpot's {fill}: {loser} would fill it.|}[ Somebody typed {newer} into
--   {loser} last: compare before the merge, the master's values win.][ {losers:number} losers are several merges in Salesforce: two at a time (rule 37).]
-- says.de also: {first|enter:  Zuerst {enter} aus HubSpot in {master} eintragen: Dort ist es leer, und {loser} würde es füllen.|unknown:  Was {loser} im
--   Masterdatensatz füllen würde, wurde nicht verglichen.|fill:  Wo {master} leer ist, zuerst {fill} aus HubSpot eintragen: {loser} würde es füllen.|}[
--   {newer} wurde zuletzt in {loser} eingegeben: Vor dem Zusammenführen vergleichen, die Werte des Masterdatensatzes gewinnen.][ {losers:number} sekundäre
--   Datensätze sind mehrere Zusammenführungen in Salesforce: je zwei (Regel 37).]
create or replace table core.merge_verdict as
with twice as (
    select plan, loser_id, count(distinct master_id) as masters from core.merge_plan_row where not is_taken_away group by plan, loser_id
),
person as (
    select record_id, object_type, state, email, merged_into_id, survivor_id
    from core.salesforce_person
    where record_id in (select record_id from core.merge_plan_record)
),
holder as (
    -- two contacts on one record are a finding of their own; the one with the least id stands for both
    select
        bound_id,
        min_by(contact_id, (length(contact_id), contact_id)) as contact_id,
        min_by(email, (length(contact_id), contact_id)) as email,
        bool_and(is_in_scope) as is_in_scope
    from core.hubspot_contact
    where state = 'live' and bound_id in (select record_id from core.merge_plan_record)
    group by bound_id
),
beside as (
    -- of each master of a plan: how many losers it has, and one that a contact is bound to
    select listed.plan, listed.master_id, count(distinct listed.loser_id) as losers, min(holder.bound_id) as bound_id
    from core.merge_plan_row as listed
    left join holder on holder.bound_id = listed.loser_id and listed.loser_id <> listed.master_id
    where not listed.is_taken_away
    group by listed.plan, listed.master_id
),
held_in_group as (
    select in_group.plan, in_group.group_id, min(holder.bound_id) as bound_id, count(distinct holder.bound_id) as bound_records
    from core.merge_plan_record as in_group
    inner join holder on holder.bound_id = in_group.record_id
    group by in_group.plan, in_group.group_id
),
fill as (
    -- under these rules a master may be blank where HubSpot is not, and the loser would fill it with another value
    select planned.plan, planned.row_no, planned.loser_id, list(overwrite.property order by overwrite.property) as properties
    from core.merge_plan_row as planned
    inner join holder on holder.bound_id = planned.master_id
    inner join core.overwrite as overwrite on overwrite.hubspot_contact_id = holder.contact_id and overwrite.rival_id = planned.loser_id
    where overwrite.effect = 'overwrite' and not struct_extract(main.mapping_rule(overwrite.rule), 'fills_blank')
    group by planned.plan, planned.row_no, planned.loser_id
),
newer as (
    -- of the loser somebody typed a value later than the master's, or than the contact's that is bound to the master: the merge would drop it
    select planned.plan, planned.row_no, planned.loser_id, list(distinct of_loser.property order by of_loser.property) as properties
    from core.merge_plan_row as planned
    left join holder on holder.bound_id = planned.master_id
    inner join core.typed_value as of_loser on of_loser.record_id = planned.loser_id
    left join core.typed_value as of_master on of_master.record_id = planned.master_id and of_master.property = of_loser.property
    left join core.typed_value as of_contact on of_contact.hubspot_contact_id = holder.contact_id and of_contact.property = of_loser.property
    where of_loser.typed_at > coalesce(greatest(of_master.typed_at, of_contact.typed_at), timestamp '-infinity')
      and of_loser.value is distinct from coalesce(of_master.value, of_contact.value)
    group by planned.plan, planned.row_no, planned.loser_id
),
input as (
    select
        planned.*,
        newer.properties as newer_properties,
        lost.properties as lost_fields,
        master.object_type as master_type,
        master.state as master_state,
        loser.object_type as loser_type,
        loser.state as loser_state,
        loser.merged_into_id as loser_merged_into_id,
        loser.survivor_id as loser_survivor_id,
        of_master.contact_id as master_contact_id,
        of_loser.contact_id as loser_contact_id,
        beside.losers,
        case when of_master.contact_id is null and of_loser.contact_id is null then beside.bound_id end as bound_beside_id,
        of_other.contact_id as other_contact_id,
        watched.hubspot_contact_id as watching_contact_id,
        watched.bound_id as watched_id,
        watched.bound_type as watched_type,
        watched.is_shared_mailbox,
        watched.is_compared,
        coalesce(watched.properties, cast([] as varchar[])) as watched_properties,
        coalesce(of_loser.is_in_scope, true) as is_in_scope,
        coalesce(of_loser.email = master.email, false) as master_has_email,
        case when of_master.contact_id = advice.hubspot_contact_id then advice.enter_before else cast([] as varchar[]) end as enter_before,
        -- where the run-book has no such step: what the loser would fill if it is blank in the master
        coalesce(advice.hubspot_contact_id = of_master.contact_id, false) as is_in_run_book,
        fill.properties as fill_properties,
        -- values are compared with duplicates by the contact's primary e-mail, and where bindings jump
        of_master.contact_id is not null and (of_master.email is distinct from loser.email or not main.follows_edits(policy.follow_up))
            and (select count(*) from core.mapped_field where not struct_extract(main.mapping_rule(rule), 'fills_blank')
                and property <> 'salesforceownerid') > 0 as fill_is_unknown,
        coalesce(twice.masters > 1, false) as has_two_masters,
        held_in_group.bound_id as group_bound_id,
        coalesce(held_in_group.bound_records, 0) as group_bound_records,
        main.contact_goes_along(loser.object_type, policy.on_lead_deleted, policy.on_contact_deleted) as goes_along,
        event.outcome
    from core.merge_plan_row as planned
    cross join main.policy as policy
    left join person as master on master.record_id = planned.master_id
    left join person as loser on loser.record_id = planned.loser_id
    left join holder as of_master on of_master.bound_id = planned.master_id
    left join holder as of_loser on of_loser.bound_id = planned.loser_id
    left join beside on beside.plan = planned.plan and beside.master_id = planned.master_id
    left join holder as of_other on of_other.bound_id = beside.bound_id
    left join twice on twice.plan = planned.plan and twice.loser_id = planned.loser_id
    left join held_in_group on held_in_group.plan = planned.plan and held_in_group.group_id = planned.group_id
    left join newer on newer.plan = planned.plan and newer.row_no = planned.row_no and newer.loser_id = planned.loser_id
    left join fill on fill.plan = planned.plan and fill.row_no = planned.row_no and fill.loser_id = planned.loser_id
    left join core.merge_plan_jump as watched on watched.plan = planned.plan and watched.row_no = planned.row_no and watched.loser_id = planned.loser_id
    left join core.merge_advice as advice
        on advice.master_id = planned.master_id and advice.loser_id = planned.loser_id and advice.action = 'merge'
    left join core.merge_plan_loss as lost on lost.plan = planned.plan and lost.row_no = planned.row_no and lost.loser_id = planned.loser_id
    left join (select loser_id, min(outcome) filter (where outcome <> 'safe') as outcome from core.merge_event group by loser_id) as event
        on event.loser_id = planned.loser_id
),
judged as (
    select
        *,
        case
            when row_no = 0 or master_fault is not null or loser_fault is not null or master_id = loser_id then 'invalid'
            when master_type is null or loser_type is null then 'unknown'
            when loser_state = 'merged' and (loser_merged_into_id = master_id or loser_survivor_id = master_id) then 'done'
            when master_type <> loser_type or is_circular or has_two_masters or gone_in_row is not null then 'invalid'
            when master_state <> 'live' or loser_state <> 'live' then 'invalid'
            when loser_contact_id is not null or bound_beside_id is not null then 'unsafe'
            when watching_contact_id is not null and (len(watched_properties) > 0 or not is_compared) then 'unsafe'
            else 'safe'
        end as verdict
    from input
),
worded as (
    select
        *,
        case
            when verdict <> 'unsafe' then null
            when loser_contact_id is null then 'switch'
            when goes_along and is_in_scope then 'contact_deleted'
            else 'sync_broken'
        end as consequence,
        -- the reason speaks of the contact whose binding would jump from a record beside the plan
        watching_contact_id is not null and loser_contact_id is null and bound_beside_id is null
            and (verdict = 'unsafe' or (verdict = 'safe' and master_contact_id is null)) as is_drawn
    from judged
)
select
    plan,
    row_no,
    master_id,
    loser_id,
    verdict,
    case
        when row_no = 0 then 'file'
        when master_fault is not null or loser_fault is not null then 'bad_id'
        when master_id = loser_id then 'same'
        when master_type is null then 'unknown_master'
        when loser_type is null then 'unknown_loser'
        when verdict = 'done' then 'done'
        when master_type <> loser_type then 'two_kinds'
        when is_circular then 'circle'
        when has_two_masters then 'two_masters'
        when gone_in_row is not null then 'gone_before'
        when master_state <> 'live' then 'master_gone'
        when loser_state <> 'live' then 'loser_gone'
        when consequence = 'switch' and bound_beside_id is not null then 'beside'
        when is_drawn then 'drawn'
        when consequence is not null then 'held'
        when master_contact_id is not null then 'stays'
        else 'nobody'
    end as says,
    map {
        'master': case when master_fault is null then master_id end, 'loser': case when loser_fault is null then loser_id end, 'master_type': master_type,
        'loser_type': loser_type, 'master_state': master_state, 'loser_state': loser_state,
        -- of an id that cannot be one only what can be a spoilt one is repeated: the rest may be a name or an e-mail
        'role': case when master_fault is not null then 'master' else 'loser' end, 'fault': coalesce(master_fault, loser_fault),
        'id': main.named_id(case when master_fault is not null then master_id else loser_id end),
        'length': cast(length(case when master_fault is not null then master_id else loser_id end) as varchar),
        'outcome': outcome, 'lost': array_to_string(lost_fields, ', '), 'row': cast(gone_in_row as varchar), 'consequence': consequence,
        'contact': case when is_drawn then watching_contact_id else coalesce(loser_contact_id, other_contact_id) end,
        'bound': case when is_drawn then watched_id else bound_beside_id end, 'master_contact': master_contact_id,
        'values': case when consequence is null then 'same' when not is_compared then 'unknown' else 'differ' end,
        'at_risk': array_to_string(watched_properties, ', '), 'convert': case when watched_type <> master_type then 'yes' end,
        'after': case when not is_in_scope then 'outside' when master_contact_id is not null then null when master_has_email then 'matched' else 'lost' end,
        'first': case
            when verdict <> 'safe' then null
            when len(enter_before) > 0 then 'enter'
            when is_in_run_book then null
            when fill_is_unknown then 'unknown'
            when fill_properties is not null then 'fill'
        end,
        'enter': array_to_string(enter_before, ', '), 'fill': array_to_string(fill_properties, ', '),
        'newer': case when verdict in ('safe', 'unsafe') then array_to_string(newer_properties, ', ') end,
        'losers': case when verdict = 'safe' and losers > 2 then cast(losers as varchar) end} as facts,
    case when row_no = 0 then map {'en': problem, 'de': problem_de} end as quoted,
    case
        when is_drawn then watching_contact_id
        else coalesce(loser_contact_id, master_contact_id, case when bound_beside_id is not null then other_contact_id end)
    end as hubspot_contact_id,
    case
        when is_drawn then watched_id
        when loser_contact_id is not null then loser_id
        when master_contact_id is not null then master_id
        else bound_beside_id
    end as bound_id,
    case
        when master_type is null or loser_type is null or master_type <> loser_type or is_circular or has_two_masters then null
        when group_bound_records > 1 then null
        when is_drawn and verdict = 'unsafe'
        then case when group_bound_id is null and watched_type = master_type and is_compared and not is_shared_mailbox then watched_id end
        else coalesce(group_bound_id, master_id)
    end as recommended_master_id,
    consequence,
    case
        when verdict <> 'done' then null
        when outcome in ('sync_broken', 'contact_deleted', 'moved', 'pending') then outcome
        when lost_fields is not null then 'values_lost'
        else 'as_planned'
    end as result,
    coalesce(lost_fields, cast([] as varchar[])) as lost_fields,
    case when is_drawn then watched_properties else cast([] as varchar[]) end as fields_at_risk,
    enter_before,
    is_taken_away,
    row_no > 0 or could_be_plan as could_be_plan
from worded
-- what is not in the folder and was not carried out is no longer planned
where not is_taken_away or verdict = 'done';
