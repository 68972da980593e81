-- One user edited very many bound records within an hour.
--
-- severity: warn
-- basis: observed
-- harm: drift
-- on: core/binding
-- due: select min(last_modified_at) + main.lately() from staging.salesforce_version cross join staging.clock
--   where exists (select 1 from review.violation where check_name = 'mass_update')
--   and pull_no > first_run_pull_no and last_modified_at > as_of - main.lately()
--
-- Fails when, between two proven runs, one user other than the integration edited more than max(50, 1 % of the live records) within an hour, of those
-- that HubSpot contacts are bound to. The two numbers are settings of the policy (mass_change_…). It stays for 30 days, or until somebody accepts it.
-- Why: a mass update writes its values into every HubSpot contact that is bound, and makes every duplicate that it touches the newest (F7).
-- Otherwise: what was updated wrongly is in HubSpot, too, and the next mass update comes unseen.
-- Rests on: F7; rules 15, 24, 25.
-- Not: what the first run finds; records that were created; the integration itself.
-- Steward: ask the user what it was: an import, a flow, a tool. Before the next one, let `bindwatch what-if` say which contacts would jump.
--
-- Auf Deutsch: Ein Benutzer hat binnen einer Stunde sehr viele verknüpfte Datensätze bearbeitet.
-- Warum: Eine Massenänderung schreibt ihre Werte in jeden verknüpften HubSpot-Kontakt und macht jedes Duplikat, das sie berührt, zum neuesten (F7).
-- Sonst: Was falsch geändert wurde, steht auch in HubSpot, und die nächste Massenänderung kommt wieder ungesehen.
--
-- says mass: {user} edited {edits|1: 1 bound record|{edits:number} bound records} within the hour before {at:moment} UTC.
-- says.de mass: {user} hat in der Stunde vor dem {at:moment} UTC {edits|1: 1 verknüpften Datensatz|{edits:number} verknüpfte Datensätze} bearbeitet.
-- do mass: Ask what it was: an import, a flow, a tool. Before the next one, let `bindwatch what-if` say which contacts would jump.
-- do.de mass: Klären, was es war: ein Import, ein Flow, ein Werkzeug. Vor dem nächsten Mal `bindwatch what-if` fragen, welche Kontakte springen würden.
with proven as (
    select last_pull_no from main.run where verdict in ('pass', 'fail')
),
edit as (
    -- versions that a pull after the first run brought, and whose stamp is another than before
    select record_id, last_modified_by_id as user_id, last_modified_at as edited_at, min(pull_no) as pull_no
    from staging.salesforce_version
    where pull_no > (select first_run_pull_no from staging.clock)
      and last_modified_at > (select as_of - main.lately() from staging.clock)
      and last_modified_at > created_at + main.at_creation()
      and last_modified_by_id is distinct from (select integration_user_id from main.policy)
      and last_modified_by_id is not null
      and not is_deleted
      and record_id in (select bound_id from core.binding where bound_id is not null)
    group by record_id, last_modified_by_id, last_modified_at
),
new_edit as (
    select edit.*
    from edit
    anti join staging.salesforce_version as before
        on before.record_id = edit.record_id and before.last_modified_at = edit.edited_at and before.pull_no < edit.pull_no
),
crowded as (
    -- runs close together see one record edited twice: it counts once
    select *, count(distinct record_id) over (partition by user_id order by edited_at range between interval 1 hour preceding and current row) as edits
    from new_edit
),
busy as (
    -- each edit beside which there are so many within an hour
    select
        crowded.user_id, proven.last_pull_no as since_no, max(crowded.edits) as edits, max(crowded.edited_at) as last_at,
        max_by(crowded.edited_at, crowded.edits) as worst_at, bool_and(crowded.pull_no <= clock.last_run_pull_no) as is_known
    from crowded
    asof inner join proven on proven.last_pull_no < crowded.pull_no
    cross join staging.clock as clock
    cross join main.policy as policy
    where crowded.edits > greatest(
        policy.mass_change_records, (select count(*) from core.salesforce_person where state = 'live') * policy.mass_change_percent / 100)
    group by crowded.user_id, proven.last_pull_no
)
select
    'mass' as says,
    map {'user': coalesce(users.name, busy.user_id), 'edits': cast(busy.edits as varchar), 'at': cast(busy.worst_at as varchar)} as facts,
    busy.user_id || ' since pull ' || busy.since_no as event,
    busy.is_known
from busy
left join core.salesforce_user as users on users.user_id = busy.user_id;
