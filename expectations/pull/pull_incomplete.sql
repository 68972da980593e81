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
-- Not: a CRM that is emptied by deletions, merges or archiving that it tells of: that is mass_change. A record that cannot be read and that a person accepted
-- (record_set_aside).
-- Steward: nothing. The person who runs Bindwatch reads the reason, mends it, and runs again. A record that cannot be read is corrected in its CRM, or
-- accepted with `bindwatch run --accept-record ID`; a smaller CRM with `bindwatch run --accept-shrink NAME`; that clocks were wrong in the last proven run,
-- and are right now, with `bindwatch run --accept-clock`.
--
-- Auf Deutsch: Ein Abruf dieses Laufs fehlt oder hat nicht alles gebracht.
-- Warum: Jede andere Prüfung spricht über das, was abgerufen wurde. Fehlt ein Teil, kann keine von ihnen „in Ordnung“ sagen.
-- Sonst: Die Läufe gelten als unvollständig geprüft; was inzwischen kaputtgeht, bleibt unbemerkt.
--
-- says incomplete: {source} {object} is incomplete: [{problem}|it was not pulled in this run]
-- says.de incomplete: {source} {object} ist unvollständig: [{problem}|in diesem Lauf nicht abgerufen]
-- do incomplete: Find out why, then run again. Until then this run proves nothing.
-- do.de incomplete: Die Ursache finden. Danach erneut laufen lassen. Bis dahin gilt dieser Lauf als unvollständig geprüft.
-- says nothing: No run was proven yet, and this one sees {name|hubspot.contact: no bound contact|no record in Salesforce}: there is nothing to guard, or
--   it may not be seen.
-- says.de nothing: Noch kein Lauf wurde vollständig geprüft, und dieser sieht {name|hubspot.contact: keinen verknüpften Kontakt|keinen Datensatz in
--   Salesforce}: Es gibt nichts zu bewachen, oder es ist nicht sichtbar.
-- do nothing: Look whether the integration user still sees everything (View All, scopes, filters). If it is right: bindwatch run --accept-shrink {name}
-- do.de nothing: Nachsehen, ob der Integrationsbenutzer noch alles sieht (Alle anzeigen, Scopes, Filter). Stimmt die Zahl: bindwatch run --accept-shrink
--   {name}
-- says archived: HubSpot lists no archived contact any more; {known|1: 1 is known, and it did not come back|{known:number} are
--   known, and none of them came back}.
-- says.de archived: HubSpot nennt keinen archivierten Kontakt mehr; {known|1: 1 ist bekannt, und er kam nicht zurück|{known:number} sind
--   bekannt, und keiner davon kam zurück}.
-- do archived: <nothing>
-- do.de archived: <nothing>
-- says too_few: {name}: {counted|1: 1 is|{counted:number} are} there, and {known|1: 1|{known:number}} should be. Nothing explains why the others are not
--   seen.
-- says.de too_few: {name}: {counted|1: 1 ist|{counted:number} sind} da, {known|1: 1 müsste|{known:number} müssten} es sein. Nichts erklärt, warum die
--   übrigen nicht zu sehen sind.
-- do too_few: <nothing>
-- do.de too_few: <nothing>
-- says clocks_apart: The clocks of Salesforce and HubSpot are {minutes:number} minutes apart.
-- says.de clocks_apart: Die Uhren von Salesforce und HubSpot gehen {minutes:number} Minuten auseinander.
-- do clocks_apart: One of the two CRMs, or what stands between, tells a wrong time: find out which, then run again.
-- do.de clocks_apart: Einer der beiden, oder etwas dazwischen, nennt eine falsche Zeit: Herausfinden, was, und danach erneut laufen lassen.
-- says clock_back: The clock of {source|hubspot: HubSpot|Salesforce} says {theirs:moment}, and the last proven run was as of {as_of:moment}.
-- says.de clock_back: Die Uhr von {source|hubspot: HubSpot|Salesforce} sagt {theirs:moment}; der letzte vollständig geprüfte Lauf hatte den Stand
--   {as_of:moment}.
-- do clock_back: Find out why its time went back. If it is right now, and was wrong at the last proven run: bindwatch run --accept-clock
-- do.de clock_back: Herausfinden, warum ihre Zeit zurückging. Stimmt sie jetzt, und war sie beim letzten vollständig geprüften Lauf falsch: bindwatch run
--   --accept-clock
-- says unreadable: {object|contact: HubSpot contact|{object}} {record} arrived and cannot be read: {why:code}. What was known of it before, if anything,
--   stays in force.
-- says.de unreadable: {object|contact: HubSpot-Kontakt|Contact: Salesforce-Kontakt|{object}} {record} kam an und ist nicht lesbar: {why:code}. Was vorher
--   über ihn bekannt war, gilt weiter.
-- do unreadable: Correct it in its CRM, then run again. If runs shall go on without it: bindwatch run --accept-record {record}
-- do.de unreadable: Im CRM korrigieren, danach erneut laufen lassen. Sollen die Läufe ohne ihn weitergehen: bindwatch run --accept-record {record}
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
    'incomplete' as says,
    map {'source': expected.source, 'object': expected.object, 'problem': pulled.problem} as facts,
    expected.source || ' ' || expected.object as identity
from expected
left join pulled on pulled.source = expected.source and pulled.object = expected.object
where not coalesce(pulled.complete, false)
union all by name
select
    'incomplete' as says,
    map {'source': source, 'object': object, 'problem': problem} as facts,
    source || ' ' || object as identity
from pulled
where not complete and object not in (select object from expected)
union all by name
select
    case when kind in ('nothing', 'archived') then kind else 'too_few' end as says,
    map {'name': name, 'known': cast(max(known) as varchar), 'counted': cast(min(counted) as varchar)} as facts,
    name || ' ' || kind as identity
from core.shrink
where not is_accepted
group by name, kind
union all by name
select
    'clocks_apart' as says,
    map {
        'minutes': cast(cast(abs(epoch(salesforce.theirs - salesforce.ours) - epoch(hubspot.theirs - hubspot.ours)) / 60 as bigint) as varchar)} as facts,
    'clocks apart' as identity
from clock as salesforce
inner join clock as hubspot on salesforce.source = 'salesforce' and hubspot.source = 'hubspot'
where abs(epoch(salesforce.theirs - salesforce.ours) - epoch(hubspot.theirs - hubspot.ours)) > 300
union all by name
select
    'clock_back' as says,
    map {'source': source, 'theirs': cast(theirs as varchar), 'as_of': cast(as_of as varchar)} as facts,
    source || ' clock went back' as identity
from main.clock_went_back
union all by name
select
    case object_type when 'contact' then record_id end as hubspot_contact_id,
    case when object_type <> 'contact' then record_id end as salesforce_id,
    'unreadable' as says,
    map {'object': object_type, 'record': record_id, 'why': reason} as facts,
    reason as identity
from core.record_set_aside
where not is_accepted;
