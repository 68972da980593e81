-- Deletions may have come and gone unseen: the pulls of Salesforce lie further apart than it keeps what was deleted.
--
-- severity: unproven
-- basis: documented
-- harm: none
-- on: raw/pull
-- due: always
--
-- Fails when two complete pulls of an object lie more than 15 days apart, by the clock of the org, and all ids have not been compared since.
-- Why: deleted and merged records leave the recycle bin after 15 days, and increments never hear of them again. A record that is gone still
-- counts as live here, so "holds" would be a guess.
-- Otherwise: runs prove nothing until all ids were compared once.
-- Rests on: Salesforce keeps deleted records for 15 days (docs/integration.md, section 4).
-- Not: a long pause before a full run; that one compares all ids.
-- Steward: nothing. The person who runs Bindwatch starts `bindwatch run --full` once.
--
-- Auf Deutsch: Löschungen können unbemerkt geblieben sein: Die Abrufe von Salesforce liegen weiter auseinander, als es Gelöschtes aufhebt.
-- Warum: Gelöschte und zusammengeführte Datensätze verlassen den Papierkorb nach 15 Tagen, und spätere Abrufe hören nie mehr von ihnen. Ein
-- Datensatz, den es nicht mehr gibt, zählt hier noch als vorhanden; „in Ordnung“ wäre geraten.
-- Sonst: Die Läufe gelten als unvollständig geprüft, bis alle IDs einmal verglichen wurden.
--
-- says gap: Between {from:day} and {to:day} no {object} was pulled; what was deleted meanwhile may be out of the recycle bin by now.
-- says.de gap: Zwischen {from:day} und {to:day} wurde kein {object|Contact: Salesforce-Kontakt|{object}} abgerufen; was inzwischen gelöscht wurde, kann
--   schon aus dem Papierkorb verschwunden sein.
-- do gap: Run once with --full: it compares all ids. Until then this run proves nothing.
-- do.de gap: Einmal mit --full laufen lassen: Das vergleicht alle IDs. Bis dahin gilt dieser Lauf als unvollständig geprüft.
with pulled as (
    select object, pull_no, coalesce(crm_time, started_at) as pulled_at from raw.pull where complete and object in ('Lead', 'Contact')
),
latest as (
    select object, max_by(pulled_at, pull_no) as pulled_at from pulled group by object
),
delete_aware as (
    -- a pull of which the clock said that it was later than the last one bridges nothing, and opens nothing
    select pulled.*, lag(pulled.pulled_at) over (partition by pulled.object order by pulled.pulled_at, pulled.pull_no) as pulled_before_at
    from pulled
    inner join latest on latest.object = pulled.object and pulled.pulled_at <= latest.pulled_at
),
compared as (
    select replace(object, '_ids', '') as object, max(pull_no) as pull_no
    from raw.pull
    where complete and mode in ('full', 'ids') and object in ('Lead', 'Contact', 'Lead_ids', 'Contact_ids')
    group by all
)
select
    'gap' as says,
    map {
        'object': gap.object, 'from': cast(max(gap.pulled_before_at) as varchar), 'to': cast(max(gap.pulled_at) as varchar)} as facts,
    gap.object || ' ' || cast(max(gap.pull_no) as varchar) as identity
from delete_aware as gap
left join compared on compared.object = gap.object
where gap.pulled_at > gap.pulled_before_at + main.salesforce_keeps() and coalesce(compared.pull_no < gap.pull_no, true)
group by gap.object;
