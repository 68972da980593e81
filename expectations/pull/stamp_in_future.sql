-- A record's stamp lies in the future.
--
-- severity: warn
-- basis: observed
-- harm: none
-- on: core/salesforce_person
-- due: select as_of from staging.clock where exists (select 1 from review.violation where check_name = 'stamp_in_future')
-- slice: coalesce(hubspot_contact_id, salesforce_id)
--
-- Fails when a stamp of a Salesforce record or a HubSpot contact is more than a day after now, by the CRMs' own clocks.
-- Why: a stamp decides which duplicate is the oldest, and which was updated last. One that was written by an import or a faulty clock would win for as
-- long as it lies ahead.
-- Otherwise: it counts as now in every comparison, so what Bindwatch predicts for its contact may be wrong until then.
-- Rests on: docs/decisions/0004-the-clock-of-a-run.md.
-- Not: a stamp of the next day, as a CRM in another time zone may show it.
-- Steward: find out which import or app writes such stamps (Set Audit Fields in Salesforce), and correct the record.
--
-- Auf Deutsch: Der Zeitstempel eines Datensatzes liegt in der Zukunft.
-- Warum: Zeitstempel entscheiden, welches Duplikat das älteste ist und welches zuletzt geändert wurde. Einer, den ein Import oder eine falsch gehende Uhr
-- geschrieben hat, würde gewinnen, solange er vorausliegt.
-- Sonst: Er zählt in jedem Vergleich als jetzt; was Bindwatch für den Kontakt vorhersagt, kann bis dahin falsch sein.
--
-- says ahead: {object|contact: HubSpot contact|{object}} {record} has a stamp of {stamp:moment}, which is still to come.
-- says.de ahead: {object|contact: HubSpot-Kontakt|Contact: Salesforce-Kontakt|{object}} {record} hat einen Zeitstempel vom {stamp:moment}; der liegt in der
--   Zukunft.
-- do ahead: Find out what wrote it, and correct the record. Until then it counts as changed just now.
-- do.de ahead: Herausfinden, was ihn geschrieben hat, und den Datensatz berichtigen. Bis dahin zählt er als gerade eben geändert.
with late as (
    select strftime(as_of + interval 1 day, '%Y-%m-%dT%H:%M:%S') as stamp from staging.clock
),
latest as (
    select
        person.record_id, person.object_type, person.email,
        greatest(main.utc(version.created_date), main.utc(version.system_modstamp), main.utc(version.last_modified_date)) as stamp
    from (
        select record_id, pull_no, created_date, system_modstamp, last_modified_date from raw.salesforce_lead
        union all
        select record_id, pull_no, created_date, system_modstamp, last_modified_date from raw.salesforce_contact
    ) as version
    inner join late
        on main.may_be_after(version.created_date, late.stamp) or main.may_be_after(version.system_modstamp, late.stamp)
        or main.may_be_after(version.last_modified_date, late.stamp)
    inner join core.salesforce_person as person on person.record_id = version.record_id and person.pull_no = version.pull_no
),
stamped as (
    select cast(null as varchar) as hubspot_contact_id, record_id as salesforce_id, email, object_type, stamp from latest
    union all
    select
        contact.contact_id, null, contact.email, 'contact',
        greatest(main.utc(version.created_at), main.utc(version.updated_at), main.utc(version.properties['lastmodifieddate']))
    from raw.hubspot_contact as version
    inner join late
        on main.may_be_after(version.created_at, late.stamp) or main.may_be_after(version.updated_at, late.stamp)
        or main.may_be_after(version.properties['lastmodifieddate'], late.stamp)
    inner join core.hubspot_contact as contact on contact.contact_id = version.id and contact.pull_no = version.pull_no
)
select
    stamped.hubspot_contact_id,
    stamped.salesforce_id,
    stamped.email,
    'ahead' as says,
    map {
        'object': stamped.object_type, 'record': coalesce(stamped.hubspot_contact_id, stamped.salesforce_id),
        'stamp': cast(stamped.stamp as varchar)} as facts,
    strftime(stamped.stamp, '%Y-%m-%d %H:%M:%S') as identity
from stamped
cross join staging.clock as clock
where stamped.stamp > clock.as_of + main.clock_slack();
