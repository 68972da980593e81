-- One row: a violation of a check, as a steward meets it: with its memory (ledger), the decisions about it, and where to click.
-- What a former run saw and this one does not is here too, as resolved.
-- A fingerprint stands for the facts, a subject for the problem that they describe. When the facts change, the finding gets a new
-- fingerprint, and the one before under the same subject is its predecessor.
--
-- fingerprint: stays the same while the check, the records and the facts stay the same
-- suite: the suite of the check
-- check_name: the check
-- severity: block, warn or unproven
-- basis: documented, observed or inferred
-- hubspot_contact_id: the contact it speaks about
-- salesforce_id: the Salesforce record it speaks about
-- rival_ids: the other records (or contacts) involved
-- email: the e-mail as compared
-- reason: what is wrong, in words
-- fields_at_risk: HubSpot properties that may be lost
-- action: what the steward does next
-- blast_radius: fields at risk by weight (consent 10, owner 5, others 1) plus one for each rival
-- harm: what it does to people: deleted, mixed_people, cut_off, consent, overwritten, spread, drift, none
-- deadline_at: until when something can be done about it; null where there is no such moment, or it is past
-- urgency: now, soon or later, as of this run
-- resolved_by: how it ended: repaired; accepted (a person said that what is there is right); gone (nothing is left of it: its contact or record went, its
--   time is over, nothing was lost, or other facts took its place); null while it is not resolved
-- status: open, acknowledged, waived or resolved
-- owner: who takes care of it
-- waived_until: end of its waiver
-- first_seen_at: the first run that saw it
-- last_seen_at: the last run that saw it and built anything; later runs to which nothing was new saw it, too (built.seen_until in the manifest)
-- resolved_at: the first run that saw it no more
-- hubspot_url: the contact in HubSpot
-- salesforce_url: the record in Salesforce
-- subject: stays the same while the check and the records stay the same, whatever the facts
-- open_since: the run in which it was new, reopened, or became worse for the last time; not moved by facts that change without that, nor by an acceptance that
--   was taken back
-- change: what this run found against the last proven one: new, reopened, worsened, changed (other facts, no worse), resolved, replaced (by
--   a finding with other facts); null when nothing changed
-- open_run_no: the number of that run
-- in_baseline: it was open when fail_on = "new" came into force, and has not become worse since
-- waiver_lapsed: why a waiver no longer covers it: date or facts; null otherwise
-- facts: what the reason and the action are filled with, by name: ids, counts, moments; never an e-mail
-- words: what it says in languages beside English and German (language, reason, action)
-- reason_de: the reason in German; null where nobody wrote one
-- action_de: the action in German
-- due: select min(moment) from (
--   select unnest([deadline_at - main.soon(), deadline_at - interval 24 hour, deadline_at, waived_until]) as moment
--   from review.finding where resolved_at is null and coalesce(deadline_at, waived_until) is not null)
--   where moment >= (select as_of from staging.clock)
create or replace table review.finding as
with weight as (
    select property, max(case when consent then 10 when property = 'salesforceownerid' then 5 else 1 end) as weight
    from main.field_mapping
    group by property
),
found as (
    select
        case
            when v.event is not null then main.event_fingerprint(v.check_name, v.hubspot_contact_id, v.event)
            else md5(concat_ws('|', v.check_name, coalesce(v.hubspot_contact_id, ''), coalesce(v.salesforce_id, ''),
                array_to_string(list_sort(coalesce(v.rival_ids, [])), ','), array_to_string(list_sort(coalesce(v.fields_at_risk, [])), ','),
                coalesce(v.identity, ''), case when v.hubspot_contact_id is null and v.salesforce_id is null then coalesce(v.email, '') else '' end))
        end as fingerprint,
        md5(concat_ws('|', v.check_name, coalesce(v.hubspot_contact_id, ''), coalesce(v.salesforce_id, ''),
            case when v.hubspot_contact_id is null and v.salesforce_id is null then coalesce(v.email, v.identity, '') else '' end)) as subject,
        v.event is not null as is_event,
        coalesce(v.is_known, false) as is_known,
        v.suite,
        v.check_name,
        -- the policy may set one severity for all findings of a check
        coalesce(check_policy.severity, v.severity, check_policy.default_severity) as severity,
        coalesce(v.basis, check_policy.basis) as basis,
        v.hubspot_contact_id,
        v.salesforce_id,
        coalesce(v.rival_ids, cast([] as varchar[])) as rival_ids,
        v.email,
        v.says_en as reason,
        coalesce(v.facts, cast(map {} as map(varchar, varchar))) as facts,
        coalesce(v.fields_at_risk, cast([] as varchar[])) as fields_at_risk,
        v.does_en as action,
        v.says_de as reason_de,
        v.does_de as action_de,
        v.says_further as words,
        check_policy.about,
        coalesce(v.harm, case when v.check_name = 'unsafe_duplicate' and v.severity = 'warn' then 'spread' else check_policy.default_harm end) as own_harm,
        v.deadline_at as own_deadline
    from main.said('review.violation', check_name) as v
    inner join main.check_policy as check_policy on check_policy.check_name = v.check_name
    where coalesce(check_policy.severity, '') <> 'off'
),
current_finding as (
    -- what happened again is another event, whatever it is about; what people accepted is no finding any more
    select
        found.* exclude (is_event) replace (
            -- what a switch filled back is about a record as it is now, too: it keeps its owner and its age
            case when found.is_event and found.check_name <> 'backfill_contamination' then found.fingerprint else found.subject end as subject,
            case
                when decision.accepted_properties is null then found.fields_at_risk
                else list_filter(found.fields_at_risk, lambda property: not list_contains(decision.accepted_properties, property))
            end as fields_at_risk)
    from found
    left join main.decision as decision on decision.fingerprint = found.fingerprint
    where coalesce(
        decision.status <> 'accepted',
        not (len(found.fields_at_risk) > 0 and list_has_all(decision.accepted_properties, found.fields_at_risk)),
        true)
),
consent_property as (
    select list(property) as properties from core.mapped_property where consent
),
harmful as (
    -- what a switch would do is the worst of what the check says and whom it concerns; a check about consent is about consent
    select
        f.* exclude (about, own_harm, own_deadline),
        case
            when f.about = 'switch' and f.own_harm <> 'consent' and list_has_any(f.rival_ids, threat.stranger_ids) then 'mixed_people'
            when f.about = 'switch' and list_has_any(f.fields_at_risk, consent_property.properties) then 'consent'
            else f.own_harm
        end as harm,
        f.own_deadline,
        -- two people who become one is the worst of it, but how soon follows from what would happen to the values
        f.own_harm = 'consent' or (f.about = 'switch' and f.own_harm = 'overwritten') or list_has_any(f.fields_at_risk, consent_property.properties) as is_soon,
        f.about = 'switch' as is_of_switch,
        threat.is_predicted,
        threat.switch_by,
        threat.was_edited_lately and (f.about = 'switch' or f.check_name = 'switch_happened') as was_edited_lately
    from current_finding as f
    left join core.threat as threat
        on threat.hubspot_contact_id = f.hubspot_contact_id and (f.about = 'switch' or f.check_name = 'switch_happened' or f.own_harm = 'consent')
    cross join consent_property
),
timed as (
    select
        * exclude (own_deadline, is_soon, is_of_switch, is_predicted, switch_by, was_edited_lately, is_deleting, as_of),
        case
            when is_of_switch and is_predicted then 'now'
            when deadline_at between run_clock.as_of and run_clock.as_of + interval 24 hour then 'now'
            when check_name = 'not_native' or (check_name = 'deletion_setting_dangerous' and is_deleting) then 'now'
            when deadline_at between run_clock.as_of and run_clock.as_of + main.soon() or harm = 'mixed_people' or was_edited_lately then 'soon'
            else 'later'
        end as urgency
    from (
        select
            *,
            coalesce(own_deadline, case when is_predicted and is_soon then switch_by end) as deadline_at,
            bool_or(check_name in ('contact_deleted_by_sync', 'merged_into_unbound') and harm = 'deleted') over () as is_deleting
        from harmful
    )
    cross join (select as_of from main.run_clock) as run_clock
),
radius as (
    select fingerprint, sum(coalesce(weight.weight, 1)) as fields
    from (select fingerprint, unnest(fields_at_risk) as property from current_finding) as at_risk
    left join weight on weight.property = at_risk.property
    group by fingerprint
),
weighed as (
    select f.*, cast(coalesce(radius.fields, 0) + len(f.rival_ids) as bigint) as blast_radius
    from timed as f
    left join radius on radius.fingerprint = f.fingerprint
),
gone as (
    select * from main.ledger where fingerprint not in (select fingerprint from current_finding)
),
predecessor as (
    -- of several, the worst one
    select fingerprint, subject, severity, blast_radius, status, open_since, open_run_no
    from gone
    where resolved_at is null and subject in (select subject from current_finding)
    qualify row_number() over (partition by subject order by main.severity_rank(severity) desc, blast_radius desc, fingerprint) = 1
),
run as (
    select run_no, as_of from main.run_clock
),
compared as (
    select
        f.*,
        ledger.first_seen_at,
        ledger.waiver_lapsed as lapsed_before,
        case when ledger.fingerprint is null then predecessor.fingerprint end as predecessor_fingerprint,
        case when ledger.fingerprint is null then predecessor.status end as predecessor_status,
        case
            when ledger.fingerprint is null and predecessor.subject is null then case when not f.is_known then 'new' end
            when ledger.resolved_at is not null then 'reopened'
            when main.severity_rank(f.severity) > main.severity_rank(coalesce(ledger.severity, predecessor.severity)) then 'worsened'
            when ledger.fingerprint is null then
                case when f.blast_radius > predecessor.blast_radius then 'worsened' else 'changed' end
        end as change,
        coalesce(ledger.open_since, predecessor.open_since) as open_before,
        coalesce(ledger.open_run_no, predecessor.open_run_no) as open_run_before,
        -- it was accepted, and somebody took that back: as old as it was before
        coalesce(ledger.resolved_by = 'accepted' and decision.status is distinct from 'accepted' and decision.accepted_properties is null, false)
            as is_taken_back
    from weighed as f
    left join main.ledger as ledger on ledger.fingerprint = f.fingerprint
    left join main.decision as decision on decision.fingerprint = f.fingerprint
    left join predecessor on predecessor.subject = f.subject
),
dated as (
    select
        compared.*,
        case
            when change in ('new', 'reopened', 'worsened') and not is_taken_back then run.as_of
            -- known before, and found only now: by a newer version, or since the check is on
            else least(coalesce(open_before, (select max(as_of) from main.run where verdict in ('pass', 'fail'))), run.as_of)
        end as open_since,
        case when change in ('new', 'reopened', 'worsened') and not is_taken_back then run.run_no else coalesce(open_run_before, 0) end as open_run_no
    from compared
    cross join run
)
select
    f.fingerprint,
    f.suite,
    f.check_name,
    f.severity,
    f.basis,
    f.hubspot_contact_id,
    f.salesforce_id,
    f.rival_ids,
    f.email,
    f.reason,
    f.fields_at_risk,
    f.action,
    f.blast_radius,
    main.decided_status(decision.status, decision.waived_until, clock.as_of, f.severity) as status,
    assignment.owner,
    decision.waived_until,
    least(f.first_seen_at, run.as_of) as first_seen_at,
    run.as_of as last_seen_at,
    cast(null as timestamp) as resolved_at,
    case when f.hubspot_contact_id is not null then policy.hubspot_record_url || f.hubspot_contact_id end as hubspot_url,
    case when f.salesforce_id is not null then policy.salesforce_record_url || f.salesforce_id end as salesforce_url,
    f.subject,
    f.open_since,
    f.change,
    f.open_run_no,
    coalesce(f.open_run_no <= baseline.run_no, false) as in_baseline,
    case
        when decision.status = 'waived' then case when decision.waived_until <= clock.as_of then 'date' end
        when decision.status is null then case when f.predecessor_status = 'waived' then 'facts' else f.lapsed_before end
    end as waiver_lapsed,
    f.reason_de,
    f.action_de,
    f.harm,
    f.deadline_at,
    f.urgency,
    cast(null as varchar) as resolved_by,
    f.facts,
    f.words
from dated as f
left join main.decision as decision on decision.fingerprint = f.fingerprint
left join main.assignment as assignment on assignment.subject = f.subject
cross join main.policy as policy
cross join staging.clock as clock
cross join run
left join (select max(run_no) as run_no from main.baseline) as baseline on true
union all
select
    l.fingerprint, l.suite, l.check_name, l.severity, l.basis, l.hubspot_contact_id, l.salesforce_id, l.rival_ids, l.email, l.reason,
    l.fields_at_risk, l.action, l.blast_radius, 'resolved' as status, assignment.owner, decision.waived_until,
    l.first_seen_at,
    -- a run in which nothing changed saw what stood open, and did not write so to the ledger
    case when l.resolved_at is null then coalesce((select max_by(as_of, run_no) from main.run where verdict in ('pass', 'fail')), l.last_seen_at)
    else l.last_seen_at end as last_seen_at,
    coalesce(l.resolved_at, run.as_of) as resolved_at, l.hubspot_url, l.salesforce_url, l.subject, l.open_since,
    case
        when l.resolved_at is not null then null
        when l.fingerprint in (select predecessor_fingerprint from compared where predecessor_fingerprint is not null) then 'replaced'
        else 'resolved'
    end as change,
    l.open_run_no,
    false as in_baseline,
    null as waiver_lapsed,
    l.reason_de,
    l.action_de,
    coalesce(l.harm, 'none') as harm,
    cast(null as timestamp) as deadline_at,
    'later' as urgency,
    case
        when l.resolved_at is not null then l.resolved_by
        when decision.status = 'accepted' or decision.accepted_properties is not null then 'accepted'
        when check_policy.check_name is null or l.fingerprint in (select predecessor_fingerprint from compared where predecessor_fingerprint is not null)
            then 'gone'
        when l.check_name in ('contact_deleted_by_sync', 'merged_into_unbound') then case when contact.state = 'live' then 'repaired' else 'gone' end
        when contact.state <> 'live' or (contact.contact_id is null and record.state <> 'live') then 'gone'
        when l.check_name in ('mass_change', 'mass_update') then 'gone'
        when l.check_name = 'switch_happened' and len(l.fields_at_risk) = 0 then 'gone'
        when l.check_name in ('binding_changed_by_hand', 'primary_email_flipped') and l.first_seen_at <= run.as_of - (main.lately() - interval 1 day)
            then 'gone'
        else 'repaired'
    end as resolved_by,
    coalesce(l.facts, map {}) as facts,
    [] as words
from gone as l
left join core.hubspot_contact as contact on contact.contact_id = l.hubspot_contact_id
left join core.salesforce_person as record on record.record_id = l.salesforce_id
left join main.check_policy as check_policy on check_policy.check_name = l.check_name and coalesce(check_policy.severity, '') <> 'off'
left join main.decision as decision on decision.fingerprint = l.fingerprint
left join main.assignment as assignment on assignment.subject = l.subject
cross join run;
