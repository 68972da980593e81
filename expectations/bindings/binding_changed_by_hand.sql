-- Somebody else than the integration wrote the id of a contact's Salesforce record.
--
-- severity: warn
-- basis: observed
-- harm: drift
-- on: core/binding_history
-- due: select min(changed_at) + main.lately() from staging.hubspot_property_version
--   where main.is_id_property(property) and changed_at > (select as_of from staging.clock) - main.lately()
--   and hubspot_contact_id in (select hubspot_contact_id from review.violation where check_name = 'binding_changed_by_hand')
-- slice: hubspot_contact_id
--
-- Fails when one of the two ids of a contact was written by an import, a user, a workflow or the API, for 30 days, or until the integration
-- wrote it again, or the id from before is back.
-- Why: the integration keeps its own link beside these properties. It may follow the new id, or overwrite it with the next sync; until then
-- the contact says something else than what is synced.
-- Otherwise: the contact may be synced with another record than the one that it names.
-- Rests on: rule 11; F4: the history of the two ids says who wrote them.
-- Not: merges of contacts; what the first run finds; a portal in which others write most of these ids: there the integration does not keep them.
-- Steward: ask who did it, and why. If the id is right, accept it; if not, set the old one back, or sync the contact by hand.
--
-- Auf Deutsch: Nicht die Integration, sondern jemand anderes hat die ID des Salesforce-Datensatzes in einen Kontakt geschrieben.
-- Warum: Die Integration führt ihre Verknüpfung neben diesen Eigenschaften. Sie kann der neuen ID folgen oder sie mit der nächsten
-- Synchronisierung überschreiben; bis dahin sagt der Kontakt etwas anderes, als synchronisiert wird.
-- Sonst: Der Kontakt wird womöglich mit einem anderen Datensatz synchronisiert als dem, den er nennt.
--
-- says written: On {at:moment} UTC {source} wrote [{record}|an empty id] into it, not the integration[, in place of {before}].
-- says.de written: Am {at:moment} UTC hat {source} [{record}|eine leere ID] in den Kontakt geschrieben, nicht die Integration[, anstelle von {before}].
-- do written: Ask who did it, and why. If the id is right, accept it; if not, set the old one back, or sync the contact by hand.
-- do.de written: Klären, wer es war und warum. Ist die ID richtig, sie hinnehmen; sonst die alte zurücksetzen oder den Kontakt von Hand synchronisieren.
with holding as (
    -- the version that holds, of each of the two ids
    select
        hubspot_contact_id, property, max(changed_at) as changed_at,
        max_by(coalesce(value, ''), (changed_at, pull_no, source_type, value)) as value,
        max_by(source_type, (changed_at, pull_no, source_type, value)) as source_type,
        max_by(pull_no, (changed_at, pull_no)) as pull_no
    from staging.hubspot_property_version
    where main.is_id_property(property) and changed_at is not null
    group by hubspot_contact_id, property
),
kept_by_others as (
    -- as not_native has it
    select coalesce(sum(contacts) >= 20 and sum(contacts) filter (where not is_native) > sum(contacts) / 2, false) as is_so from core.id_source
),
replayed as (
    -- of ids that others wrote: what stood there before, by the integration or since the first run
    select
        *,
        lag(id) over one_property as id_before,
        last_value(case when source_type in ('SALESFORCE', 'MERGE_CONTACTS', 'MIGRATION') or pull_no <= first_run_pull_no then id end ignore nulls)
            over one_property
            as settled_id
    from (
        select version.hubspot_contact_id, version.property, version.changed_at, version.source_type, version.pull_no, clock.first_run_pull_no,
            coalesce(main.salesforce_id18(version.value), version.value, '') as id
        from staging.hubspot_property_version as version
        semi join holding
            on holding.hubspot_contact_id = version.hubspot_contact_id and holding.property = version.property
            and holding.source_type not in ('SALESFORCE', 'MERGE_CONTACTS', 'MIGRATION')
        cross join staging.clock as clock
        where version.changed_at is not null
    )
    window one_property as (
        partition by hubspot_contact_id, property order by changed_at, pull_no, source_type, id
        rows between unbounded preceding and current row)
),
set_back as (
    -- somebody wrote another id, and the one from before is back
    select distinct hubspot_contact_id, property, changed_at
    from replayed
    where id = coalesce(settled_id, '') and id_before <> id
),
written as (
    select
        holding.hubspot_contact_id, holding.changed_at, min(holding.source_type) as source_type, max(main.salesforce_id18(holding.value)) as record_id,
        bool_and(holding.pull_no <= clock.last_run_pull_no) as is_known
    from holding
    anti join set_back
        on set_back.hubspot_contact_id = holding.hubspot_contact_id and set_back.property = holding.property and set_back.changed_at = holding.changed_at
    cross join staging.clock as clock
    cross join kept_by_others
    where holding.source_type not in ('SALESFORCE', 'MERGE_CONTACTS', 'MIGRATION')
      and holding.pull_no > clock.first_run_pull_no
      and holding.changed_at > clock.as_of - main.lately()
      and not kept_by_others.is_so
    group by holding.hubspot_contact_id, holding.changed_at
)
select
    written.hubspot_contact_id,
    written.record_id as salesforce_id,
    case when history.last_id <> written.record_id then [history.last_id] end as rival_ids,
    contact.email,
    'written' as says,
    map {
        'at': cast(written.changed_at as varchar), 'source': written.source_type, 'record': written.record_id,
        'before': case when history.last_id <> written.record_id then history.last_id end} as facts,
    main.event_moment(written.changed_at) as event,
    written.is_known
from written
inner join core.hubspot_contact as contact on contact.contact_id = written.hubspot_contact_id and contact.state = 'live'
left join core.binding_history as history
    on history.hubspot_contact_id = written.hubspot_contact_id and history.changed_at = written.changed_at
    and history.to_id is not distinct from written.record_id;
