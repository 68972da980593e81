-- A merge plan that was handed in would break a contact.
--
-- severity: block
-- basis: documented
-- harm: overwritten
-- on: core/planned_merge
--
-- Fails when a row of a plan in the home's folder merge-plans merges away a record that a contact is bound to, makes a binding jump to other values,
-- merges a Lead with a Contact, or names ids that are unknown, deleted, equal, or that the plan treats in two ways. A row that was carried out fails
-- while the contact that was bound to its loser is without a sync, or deleted, or while values of the contact that the merge replaced were not
-- written again; for 90 days also after its file was taken away.
-- What else lies in the folder and could not be judged fails, too: block where it could be a plan (a table, or a name that ends like one), warn for
-- anything else.
-- Why: the bound record must be the master (F5). Otherwise the contact's sync breaks, or the contact is deleted (F6); where two contacts
-- are bound, they end on one record (rule 48). A merge of duplicates beside the bound record makes its master the one updated last (rule 11).
-- Otherwise: whoever carries the plan out as it is breaks the sync of this contact, or has it deleted.
-- Rests on: rules 11, 35 to 37, 48; F3, F5, F6.
-- Not: a row that was carried out and left every contact whole.
-- Steward: change the plan before it is carried out: make the bound record the master. Take the file away when it is no longer planned.
--
-- Auf Deutsch: Ein eingereichter Plan zum Zusammenführen würde einen Kontakt beschädigen.
-- Warum: Masterdatensatz muss der verknüpfte sein (F5). Sonst bricht die Synchronisierung des Kontakts ab, oder er wird gelöscht (F6); sind zwei Kontakte
-- verknüpft, landen beide bei demselben Datensatz (Regel 48). Werden Duplikate neben dem verknüpften Datensatz zusammengeführt, ist ihr Masterdatensatz
-- danach der zuletzt geänderte (Regel 11).
-- Sonst: Wer den Plan so ausführt, unterbricht die Synchronisierung dieses Kontakts oder lässt ihn löschen.
--
-- says planned: [Row {row} of ]{plan}: {quoted}
-- says.de planned: [Zeile {row} von ]{plan}: {quoted}
-- do planned: {advice|master: Make {loser} the master.|values: Compare these values of the contact, and put back what should have stayed, in Salesforce
--   first.|restore: Restore the contact if it was deleted, resync it, and compare its values with the surviving record.|run_book: Follow the run-book of
--   the cluster instead.|master_of_all: Make {bound} the master of all of them.|contacts: Merge the two contacts in HubSpot first, or leave the records
--   apart.|file: Mend the file, or take it out of merge-plans.|Correct the row or take it out.}
-- do.de planned: {advice|master: {loser} zum Masterdatensatz machen.|values: Diese Werte des Kontakts vergleichen. Was bleiben sollte, zurückschreiben, zuerst
--   in Salesforce.|restore: Den Kontakt wiederherstellen, wenn er gelöscht wurde. Danach neu synchronisieren und die Werte mit dem verbleibenden Datensatz
--   vergleichen.|run_book: Stattdessen den Schritten für die Gruppe folgen.|master_of_all: {bound} zum Masterdatensatz von allen machen.|contacts: Zuerst die
--   beiden Kontakte in HubSpot zusammenführen, oder die Datensätze getrennt lassen.|file: Die Datei berichtigen oder aus merge-plans herausnehmen.|Die
--   Zeile berichtigen oder herausnehmen.}
select
    planned.hubspot_contact_id,
    case when planned.could_be_plan then 'block' else 'warn' end as severity,
    planned.loser_id as salesforce_id,
    case when planned.master_id is not null then [planned.master_id] end as rival_ids,
    contact.email,
    planned.lost_fields || planned.fields_at_risk as fields_at_risk,
    'planned' as says,
    map {
        'row': case when planned.row_no > 0 then cast(planned.row_no as varchar) end, 'plan': planned.plan,
        'loser': case when regexp_full_match(planned.loser_id, '[A-Za-z0-9]{15,18}') then planned.loser_id end,
        'bound': planned.bound_id,
        'advice': case
            when planned.recommended_master_id = planned.loser_id then 'master'
            when planned.result = 'values_lost' then 'values'
            when planned.verdict = 'done' then 'restore'
            when planned.consequence = 'switch' and planned.recommended_master_id is null then 'run_book'
            when planned.consequence = 'switch' then 'master_of_all'
            when planned.verdict = 'unsafe' then 'contacts'
            when planned.row_no = 0 then 'file'
            else 'row'
        end} as facts,
    main.quotable(planned.reason, planned.reason_de, planned.words) as quoted,
    planned.plan || ' ' || planned.verdict as identity
from core.planned_merge as planned
left join core.hubspot_contact as contact on contact.contact_id = planned.hubspot_contact_id
where planned.verdict in ('unsafe', 'invalid', 'unknown') or planned.result in ('sync_broken', 'contact_deleted', 'values_lost')
-- a merge that a plan lists twice is one finding: equal ones are told apart by nothing
qualify row_number() over (
    partition by planned.plan, planned.verdict, planned.hubspot_contact_id, planned.master_id, planned.loser_id order by planned.row_no) = 1;
