-- A pull of this run is missing or did not bring everything.
--
-- severity: unproven
-- basis: observed
-- on: raw/pull
--
-- Fails when an object was not pulled in this run, or when rows or ids do not reconcile: a bulk job delivered fewer rows than it
-- processed, HubSpot's paging ended before the last contact. Also when a record arrived that cannot be read: the rest of the pull goes on, and its
-- last good version stays in force.
-- Why: every other check speaks about what was pulled. With a part missing, none of them can say "holds".
-- Otherwise: runs prove nothing; what breaks meanwhile goes unnoticed.
-- Rests on: docs/decisions/0003-three-outcomes.md.
-- Not: an empty CRM. Zero rows that reconcile are complete. A record that cannot be read and that a person accepted (record_set_aside).
-- Steward: nothing. The person who runs Bindwatch reads the reason, mends it, and runs again. A record that cannot be read is corrected in its CRM, or
-- accepted with `bindwatch run --accept-record ID`.
--
-- Auf Deutsch: Ein Abruf dieses Laufs fehlt oder hat nicht alles gebracht.
-- Warum: Jede andere Prüfung spricht über das, was abgerufen wurde. Fehlt ein Teil, kann keine von ihnen „in Ordnung“ sagen.
-- Sonst: Die Läufe beweisen nichts; was inzwischen kaputtgeht, bleibt unbemerkt.
with expected(source, object) as (
    values ('salesforce', 'Lead'), ('salesforce', 'Contact'), ('hubspot', 'contact'), ('hubspot', 'contact_archived')
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
