-- Many records went at once.
--
-- severity: block
-- basis: observed
-- harm: deleted
-- on: core/departure
--
-- Fails when more Salesforce records were deleted or merged since the last proven run than max(50, 1 % of the live ones), or when the
-- integration archived more than 10 HubSpot contacts since then. The three numbers are settings of the policy (mass_…).
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
with total as (
    select
        (select count(*) from core.departure where is_new) as departed,
        (select min(departed_at) from core.departure where is_new) as first_departed_at,
        (select count(*) from core.salesforce_person where state = 'live') as live,
        (
            select count(*)
            from core.hubspot_contact as contact
            inner join core.departure as departure on departure.record_id = contact.bound_id
            cross join staging.clock as clock
            where contact.state = 'archived' and contact.archived_at >= departure.departed_at and contact.pull_no > clock.last_run_pull_no
        ) as archived
)
select
    format('{} Salesforce records were deleted or merged since the last run; {} are live.', total.departed, total.live) as reason,
    'Find out which import, flow or merge tool did it, and stop it. Deleted records can be undeleted for 15 days.' as action,
    format('{} Salesforce-Datensätze wurden seit dem letzten Lauf gelöscht oder zusammengeführt; {} sind noch da.', total.departed, total.live) as reason_de,
    'Herausfinden, welcher Import, Flow oder welches Werkzeug es war, und es anhalten. Gelöschte Datensätze lassen sich 15 Tage wiederherstellen.' as action_de,
    'records since pull ' || clock.last_run_pull_no as facts,
    main.still_ahead(total.first_departed_at + interval 15 day, clock.as_of) as deadline_at
from total
cross join main.policy as policy
cross join staging.clock as clock
where total.departed > greatest(policy.mass_change_records, total.live * policy.mass_change_percent / 100)
union all
select
    format('{} HubSpot contacts were archived since the last run after their Salesforce records went.', total.archived),
    'Stop what deletes or merges the records. Set HubSpot to keep contacts, then restore them from its recycle bin (90 days).',
    format('{} HubSpot-Kontakte wurden seit dem letzten Lauf archiviert, nachdem ihre Salesforce-Datensätze verschwunden waren.', total.archived),
    'Anhalten, was die Datensätze löscht oder zusammenführt. HubSpot so einstellen, dass es Kontakte behält. Danach sie aus dem Papierkorb wiederherstellen (90 Tage).',
    'contacts since pull ' || clock.last_run_pull_no,
    main.still_ahead(total.first_departed_at + interval 15 day, clock.as_of)
from total
cross join main.policy as policy
cross join staging.clock as clock
where total.archived > policy.mass_archived_contacts;
