-- Many records went at once.
--
-- severity: block
-- basis: observed
-- harm: deleted
-- on: core/departure
-- due: select as_of from staging.clock where exists (select 1 from review.violation where check_name = 'mass_change')
--
-- Fails when, between two proven runs, more Salesforce records were deleted, merged or vanished than max(50, 1 % of the live ones), or when the
-- integration archived more than 10 HubSpot contacts. The three numbers are settings of the policy (mass_…). It stays until 15 days after the last of
-- these deletions, or until somebody accepts it.
-- Why: mass merges and mass deletions multiply every damage that one merge can do (F7). Most of it can be undone only for 15 days in
-- Salesforce and 90 days in HubSpot.
-- Otherwise: the job that did it may go on, and after 15 days (Salesforce) or 90 days (HubSpot) nothing can be brought back.
-- Rests on: F7.
-- Not: what the first run finds; contacts that people archived themselves.
-- Steward: stop the job that does it before the next run. Then look at the merges and the deleted contacts, most recent first.
--
-- Auf Deutsch: Viele Datensätze sind auf einmal verschwunden.
-- Warum: Massenhaftes Zusammenführen und Löschen vervielfacht jeden Schaden, den eine einzelne Zusammenführung anrichten kann (F7). Das meiste
-- lässt sich nur 15 Tage in Salesforce und 90 Tage in HubSpot rückgängig machen.
-- Sonst: Der Vorgang läuft vielleicht weiter, und nach 15 Tagen (Salesforce) oder 90 Tagen (HubSpot) lässt sich nichts zurückholen.
--
-- says contacts: {departed|1: 1 HubSpot contact was|{departed:number} HubSpot contacts were} archived{recent|yes:  since the last run|} after
--   {departed|1: its Salesforce record|their Salesforce records} went, from {first_at:moment} to {last_at:moment} UTC.
-- says.de contacts: {departed|1: 1 HubSpot-Kontakt wurde|{departed:number} HubSpot-Kontakte wurden}{recent|yes:  seit dem letzten Lauf|} archiviert, nachdem
--   {departed|1: sein Salesforce-Datensatz|ihre Salesforce-Datensätze} verschwunden {departed|1: war|waren}, vom {first_at:moment} bis zum
--   {last_at:moment} UTC.
-- do contacts: Stop what deletes or merges the records. Set HubSpot to keep contacts, then restore them from its recycle bin (90 days).
-- do.de contacts: Anhalten, was die Datensätze löscht oder zusammenführt. HubSpot so einstellen, dass es Kontakte behält. Sie danach aus dem Papierkorb
--   wiederherstellen (90 Tage).
-- says records: {departed|1: 1 Salesforce record was|{departed:number} Salesforce records were} deleted or merged, or vanished{recent|yes:  since the last
--   run|}, from {first_at:moment} to {last_at:moment} UTC; {live|1: 1 is|{live:number} are} live.
-- says.de records: {departed|1: 1 Salesforce-Datensatz wurde|{departed:number} Salesforce-Datensätze wurden}{recent|yes:  seit dem letzten Lauf|} gelöscht
--   oder zusammengeführt oder {departed|1: ist|sind} verschwunden, vom {first_at:moment} bis zum {last_at:moment} UTC; {live|1: 1 ist|{live:number} sind}
--   noch vorhanden.
-- do records: Find out which import, flow or merge tool did it, and stop it. Deleted records can be undeleted for 15 days.
-- do.de records: Herausfinden, welcher Import, Flow oder welches Werkzeug es war, und es anhalten. Gelöschte Datensätze lassen sich 15 Tage
--   wiederherstellen.
with proven as (
    select last_pull_no from main.run where verdict in ('pass', 'fail')
),
gone as (
    -- since which proven run
    select departed.*, proven.last_pull_no as since_no
    from (
        select record_id, departed_at, pull_no, false as is_contact from core.departure
        union all
        select person.record_id, max(coalesce(pull.crm_time, pull.started_at)), max(presence.pull_no), false
        from core.salesforce_person as person
        inner join raw.presence as presence on presence.id = person.record_id and presence.object = person.object_type and not presence.present
        inner join raw.pull as pull on pull.pull_no = presence.pull_no
        where person.state = 'vanished'
        group by person.record_id
        union all
        select contact.contact_id, contact.archived_at, contact.pull_no, true
        from core.hubspot_contact as contact
        inner join core.departure as departure on departure.record_id = contact.bound_id
        where contact.state = 'archived' and contact.archived_at >= departure.departed_at
    ) as departed
    asof inner join proven on proven.last_pull_no < departed.pull_no
),
total as (
    select
        gone.since_no,
        gone.is_contact,
        count(*) as departed,
        min(gone.departed_at) as first_at,
        max(gone.departed_at) as last_at,
        coalesce(max(gone.pull_no) <= any_value(clock.last_run_pull_no), false) as is_known,
        coalesce(gone.since_no = any_value(clock.last_run_pull_no), false) as is_recent
    from gone
    cross join staging.clock as clock
    group by gone.since_no, gone.is_contact
),
live as (
    select count(*) as records from core.salesforce_person where state = 'live'
)
select
    case when total.is_contact then 'contacts' else 'records' end as says,
    map {
        'departed': cast(total.departed as varchar), 'recent': case when total.is_recent then 'yes' end, 'first_at': cast(total.first_at as varchar),
        'last_at': cast(total.last_at as varchar), 'live': cast(live.records as varchar)} as facts,
    main.still_ahead(total.first_at + main.salesforce_keeps(), clock.as_of) as deadline_at,
    case when total.is_contact then 'contacts' else 'records' end || ' since pull ' || total.since_no as event,
    total.is_known
from total
cross join live
cross join main.policy as policy
cross join staging.clock as clock
where total.last_at + main.salesforce_keeps() > clock.as_of
  and case
      when total.is_contact then total.departed > policy.mass_archived_contacts
      else total.departed > greatest(policy.mass_change_records, live.records * policy.mass_change_percent / 100)
  end;
