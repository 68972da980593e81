-- One row: a line of a list of Salesforce ids that somebody is about to edit, and a mapped field that a switch or a first binding caused by the
-- edit would change. A line that changes nothing has one row without a property. Runs on a published snapshot; the list is the table `touched`.
--
-- line: line of the list, from 1, the header not counted
-- salesforce_id: the id as given
-- record_id: with 18 characters
-- object_type: Lead or Contact
-- outcome: switch, may_switch (several records of one contact are in the list: the one written last wins), stays, binds (the contact is
--   not bound to a live record; the edit makes it sync), nobody (no live contact could be bound to it), gone (deleted, merged, converted
--   or vanished), unknown (not in the snapshot), invalid (no Salesforce id)
-- hubspot_contact_id: the contact it is about
-- bound_id: the record that contact is bound to now
-- property: the HubSpot property that would change (for a backfill: whose value would be written into the record)
-- effect: overwrite, clear, backfill or fill
-- hubspot_value: HubSpot's value now
-- salesforce_value: the record's value now
-- consent: the field says whether the person may be written to
-- says: why: the case, of which the sentences stand below
-- facts: what they are filled with
--
-- says bad_id: The id[ {id}]{fault|empty:  is missing.|hubspot:  is a record id of HubSpot's; the ids of Leads or Contacts in Salesforce are needed.|shape:  is
--   no Salesforce id: it has {length|1: one character|{length:number} characters}, and needs 15 or 18 letters and digits.|capitals:  has lost which of its
--   letters are capitals, and names no record like that: take it from Salesforce again.| is mistyped: its last three characters do not fit the others.}
-- says.de bad_id: Die ID[ {id}]{fault|empty:  fehlt.|hubspot:  ist eine Datensatz-ID von HubSpot; nötig sind die IDs von Leads oder
--   Salesforce-Kontakten.|shape:  ist keine Salesforce-ID: {length|1: ein|{length:number}} Zeichen, nötig sind 15 oder 18 Buchstaben und Ziffern.|capitals: :
--   Groß- und Kleinschreibung ist verloren gegangen, so benennt die ID keinen Datensatz. Neu aus Salesforce übernehmen.| ist falsch geschrieben: Die letzten
--   drei Zeichen passen nicht zu den anderen.}
-- says unknown: No complete pull has seen this record.
-- says.de unknown: Kein vollständiger Abruf hat diesen Datensatz gesehen.
-- says gone: The record is {state}.
-- says.de gone: Der Datensatz ist {state|deleted: gelöscht|merged: mit einem anderen zusammengeführt|converted: konvertiert|verschwunden}.
-- says nobody: No live HubSpot contact could be bound to it.
-- says.de nobody: Kein vorhandener HubSpot-Kontakt könnte mit ihm verknüpft werden.
-- says converted: The contact follows its converted Lead (rule 29).
-- says.de converted: Der Kontakt folgt seinem konvertierten Lead (Regel 29).
-- says binds: The contact is bound to no live record. The edit makes it sync, and it is matched by e-mail (rules 5 to 7, 33).
-- says.de binds: Der Kontakt ist mit keinem vorhandenen Datensatz verknüpft. Die Änderung löst eine Synchronisierung aus, und er wird über die E-Mail
--   zugeordnet (Regeln 5 bis 7, 33).
-- says cannot: The policy is sticky, or the contact is outside the inclusion list (rules 11, 21).
-- says.de cannot: Nach den Einstellungen springen Verknüpfungen nicht, oder der Kontakt ist außerhalb des Aufnahmesegments (Regeln 11, 21).
-- says stays: The contact is bound to it; an edit keeps it (rule 15).
-- says.de stays: Der Kontakt ist mit ihm verknüpft; eine Änderung lässt es dabei (Regel 15).
-- says beside: The contact is bound to it, but duplicates of it are in the list: the one written last wins (rule 17).
-- says.de beside: Der Kontakt ist mit ihm verknüpft, aber Duplikate davon stehen in der Liste: Der zuletzt geschriebene Datensatz gewinnt (Regel 17).
-- says jumps: It would be the duplicate updated last: the binding jumps to it (rule 11).
-- says.de jumps: Er wäre das zuletzt geänderte Duplikat: Die Verknüpfung springt zu ihm (Regel 11).
-- says several: Several records of this contact are in the list: the one written last wins (rules 11, 17).
-- says.de several: Mehrere Datensätze dieses Kontakts stehen in der Liste: Der zuletzt geschriebene gewinnt (Regeln 11, 17).
with listed as (
    select line, salesforce_id, case when fault is null then main.salesforce_id18(salesforce_id) end as record_id, fault
    from (select line, salesforce_id, main.id_fault(salesforce_id) as fault from touched)
),
link as (
    select
        binding.hubspot_contact_id,
        binding.bound_id,
        binding.bound_state,
        binding.switch_is_possible,
        binding.email,
        unnest(binding.candidate_ids) as record_id
    from published.binding as binding
),
concerned as (
    select link.*, coalesce(link.record_id = link.bound_id, false) as is_bound
    from link
    where link.record_id in (select record_id from listed)
),
contact as (
    select hubspot_contact_id, count(*) as records, bool_or(is_bound) as bound_is_listed from concerned group by hubspot_contact_id
),
judged as (
    select
        listed.line,
        listed.salesforce_id,
        listed.record_id,
        person.object_type,
        concerned.hubspot_contact_id,
        concerned.bound_id,
        case
            when listed.record_id is null then 'invalid'
            when person.record_id is null then 'unknown'
            when person.state <> 'live' then 'gone'
            when concerned.hubspot_contact_id is null or concerned.email is null then 'nobody'
            when concerned.bound_state <> 'live' then case when concerned.bound_state = 'converted' then 'stays' else 'binds' end
            when concerned.is_bound or not concerned.switch_is_possible then 'stays'
            when contact.records = 1 then 'switch'
            else 'may_switch'
        end as outcome,
        case
            when listed.record_id is null then 'bad_id'
            when person.record_id is null then 'unknown'
            when person.state <> 'live' then 'gone'
            when concerned.hubspot_contact_id is null or concerned.email is null then 'nobody'
            when concerned.bound_state = 'converted' then 'converted'
            when concerned.bound_state <> 'live' then 'binds'
            when not concerned.switch_is_possible then 'cannot'
            when concerned.is_bound and contact.records = 1 then 'stays'
            when concerned.is_bound then 'beside'
            when contact.records = 1 then 'jumps'
            else 'several'
        end as says,
        listed.fault,
        person.state
    from listed
    left join published.salesforce_person as person on person.record_id = listed.record_id
    left join concerned on concerned.record_id = listed.record_id and person.state = 'live'
    left join contact on contact.hubspot_contact_id = concerned.hubspot_contact_id
)
select
    judged.line,
    judged.salesforce_id,
    judged.record_id,
    judged.object_type,
    judged.outcome,
    judged.hubspot_contact_id,
    judged.bound_id,
    overwrite.property,
    overwrite.effect,
    overwrite.hubspot_value,
    overwrite.salesforce_value,
    overwrite.consent,
    judged.says,
    case judged.says
        when 'bad_id' then map {
            'fault': judged.fault, 'id': main.named_id(judged.salesforce_id), 'length': cast(length(judged.salesforce_id) as varchar)}
        when 'gone' then map {'state': judged.state}
        else cast(map {} as map(varchar, varchar))
    end as facts
from judged
left join (
    select hubspot_contact_id, rival_id as record_id, true as is_switch, * exclude (hubspot_contact_id, rival_id) from published.overwrite
    union all by name
    select false as is_switch, * from published.first_binding_value
) as overwrite
    on overwrite.hubspot_contact_id = judged.hubspot_contact_id
    and overwrite.record_id = judged.record_id
    and case when overwrite.is_switch then judged.outcome in ('switch', 'may_switch') else judged.outcome = 'binds' end;
