-- A pull of this run is missing or did not bring everything.
--
-- severity: unproven
-- basis: observed
-- harm: none
-- on: raw/pull
-- due: always
--
-- Fails when an object was not pulled in this run, or when rows or ids do not reconcile: a bulk job delivered fewer rows than it
-- processed, HubSpot's paging ended before the last contact. Also when a record arrived that cannot be read: the rest of the pull goes on, and its
-- last good version stays in force. And when the answers cannot be believed: so many records are missing that nothing explains it, or the clocks of the CRMs
-- contradict each other, or the last proven run.
-- Why: every other check speaks about what was pulled. With a part missing, none of them can say "holds".
-- Otherwise: runs prove nothing; what breaks meanwhile goes unnoticed.
-- Rests on: docs/decisions/0003-three-outcomes.md.
-- Not: a CRM that is emptied by deletions, merges or archiving that it tells of: that is mass_change. A record that cannot be read and that a person accepted (record_set_aside).
-- Steward: nothing. The person who runs Bindwatch reads the reason, mends it, and runs again. A record that cannot be read is corrected in its CRM, or
-- accepted with `bindwatch run --accept-record ID`; a smaller CRM with `bindwatch run --accept-shrink NAME`; that clocks were wrong in the last proven run,
-- and are right now, with `bindwatch run --accept-clock`.
--
-- Auf Deutsch: Ein Abruf dieses Laufs fehlt oder hat nicht alles gebracht.
-- Warum: Jede andere Prüfung spricht über das, was abgerufen wurde. Fehlt ein Teil, kann keine von ihnen „in Ordnung“ sagen.
-- Sonst: Die Läufe beweisen nichts; was inzwischen kaputtgeht, bleibt unbemerkt.
with expected(source, object) as (
    select 'salesforce', unnest(objects) from main.policy
    union all
    values ('hubspot', 'contact'), ('hubspot', 'contact_archived')
),
clock as (
    select clock.* from main.crm_clock as clock inner join main.current_run as run on run.run_id = clock.run_id
),
pulled as (
    select pull.source, pull.object, bool_or(pull.complete) as complete, max_by(pull.problem, pull.pull_no) as problem
    from raw.pull as pull
    inner join main.current_run as current_run on current_run.run_id = pull.run_id
    group by pull.source, pull.object
)
select
    format('{} {} is incomplete: {}', expected.source, expected.object, coalesce(pulled.problem, 'it was not pulled in this run')) as reason,
    'Find out why, then run again. Until then this run proves nothing.' as action,
    format('{} {} ist unvollständig: {}', expected.source, expected.object, coalesce(pulled.problem, 'in diesem Lauf nicht abgerufen')) as reason_de,
    'Die Ursache finden. Danach erneut laufen lassen. Bis dahin beweist dieser Lauf nichts.' as action_de,
    expected.source || ' ' || expected.object as facts
from expected
left join pulled on pulled.source = expected.source and pulled.object = expected.object
where not coalesce(pulled.complete, false)
union all by name
select
    format('{} {} is incomplete: {}', source, object, problem) as reason,
    'Find out why, then run again. Until then this run proves nothing.' as action,
    format('{} {} ist unvollständig: {}', source, object, problem) as reason_de,
    'Die Ursache finden. Danach erneut laufen lassen. Bis dahin beweist dieser Lauf nichts.' as action_de,
    source || ' ' || object as facts
from pulled
where not complete and object not in (select object from expected)
union all by name
select
    case kind
        when 'nothing' then format('No run was proven yet, and this one sees {}: there is nothing to guard, or it may not be seen.',
            case name when 'hubspot.contact' then 'no bound contact' else 'no record in Salesforce' end)
        when 'archived' then format('HubSpot lists no archived contact any more; {} are known, and none of them came back.', max(known))
        else format('{}: {} are there, and {} should be. Nothing explains why the others are not seen.', name, min(counted), max(known))
    end as reason,
    format('Look whether the integration user still sees everything (View All, scopes, filters). If it is right: bindwatch run --accept-shrink {}', name) as action,
    case kind
        when 'nothing' then format('Noch kein Lauf hat etwas bewiesen, und dieser sieht {}: es gibt nichts zu bewachen, oder es ist nicht sichtbar.',
            case name when 'hubspot.contact' then 'keinen verknüpften Kontakt' else 'keinen Datensatz in Salesforce' end)
        when 'archived' then format('HubSpot nennt keinen archivierten Kontakt mehr; {} sind bekannt, und keiner davon kam zurück.', max(known))
        else format('{}: {} sind da, {} müssten es sein. Nichts erklärt, warum die übrigen nicht zu sehen sind.', name, min(counted), max(known))
    end as reason_de,
    format('Nachsehen, ob der Integrationsbenutzer noch alles sieht (Alle anzeigen, Scopes, Filter). Stimmt die Zahl: bindwatch run --accept-shrink {}', name)
        as action_de,
    name || ' ' || kind as facts
from core.shrink
where not is_accepted
group by name, kind
union all by name
select
    format('The clocks of Salesforce and HubSpot are {} minutes apart.',
        cast(abs(epoch(salesforce.theirs - salesforce.ours) - epoch(hubspot.theirs - hubspot.ours)) / 60 as bigint)) as reason,
    'One of the two CRMs, or what stands between, tells a wrong time: find out which, then run again.' as action,
    'Die Uhren von Salesforce und HubSpot gehen auseinander.' as reason_de,
    'Einer der beiden, oder etwas dazwischen, nennt eine falsche Zeit: Herausfinden, was, und danach erneut laufen lassen.' as action_de,
    'clocks apart' as facts
from clock as salesforce
inner join clock as hubspot on salesforce.source = 'salesforce' and hubspot.source = 'hubspot'
where abs(epoch(salesforce.theirs - salesforce.ours) - epoch(hubspot.theirs - hubspot.ours)) > 300
union all by name
select
    format('The clock of {} says {}, and the last proven run was as of {}.', case source when 'hubspot' then 'HubSpot' else 'Salesforce' end,
        strftime(theirs, '%Y-%m-%d %H:%M'), strftime(as_of, '%Y-%m-%d %H:%M')) as reason,
    'Find out why its time went back. If it is right now, and was wrong at the last proven run: bindwatch run --accept-clock' as action,
    format('Die Uhr von {} sagt {}; der letzte bewiesene Lauf hatte den Stand {}.', case source when 'hubspot' then 'HubSpot' else 'Salesforce' end,
        strftime(theirs, '%d.%m.%Y %H:%M'), strftime(as_of, '%d.%m.%Y %H:%M')) as reason_de,
    'Herausfinden, warum ihre Zeit zurückging. Stimmt sie jetzt, und war sie beim letzten bewiesenen Lauf falsch: bindwatch run --accept-clock' as action_de,
    source || ' clock went back' as facts
from main.clock_went_back
union all by name
select
    case object_type when 'contact' then record_id end as hubspot_contact_id,
    case when object_type <> 'contact' then record_id end as salesforce_id,
    format('{} arrived and cannot be read: {}. What was known of it before, if anything, stays in force.',
        main.name_of_record(object_type, record_id), main.why_unreadable(reason)) as reason,
    format('Correct it in its CRM, then run again. If runs shall go on without it: bindwatch run --accept-record {}', record_id) as action,
    format('{} kam an und ist nicht lesbar: {}. Was vorher über ihn bekannt war, falls etwas, gilt weiter.',
        main.name_of_record_de(object_type, record_id), main.why_unreadable_de(reason)) as reason_de,
    format('Im CRM korrigieren, danach erneut laufen lassen. Sollen die Läufe ohne ihn weitergehen: bindwatch run --accept-record {}', record_id) as action_de,
    reason as facts
from core.record_set_aside
where not is_accepted;
