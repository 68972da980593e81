-- One row: a moment at which it is known what the integration did with a contact that had a choice, and what each policy needs to say
-- what it would have done. Two sources:
--   runs     what the last proven run stored, for contacts that have synced since and none of whose records was edited in between
--   history  first bindings and duplicate switches in the id history, and, as of its last sync, a contact that stayed although a
--            duplicate had been edited
-- A moment counts only where the stamps of all its candidates are known as they were then: a record edited afterwards hides them.
-- Where the integration wrote into the new record in the same sync, that write hides the edit before it; such a switch counts as one to
-- the record updated last. It speaks against "sticky", and for neither stamp. In runs it counts only where something was due.
--
-- source: runs or history
-- hubspot_contact_id: the contact
-- moment_at: when the binding was changed, or the sync that left it as it was
-- occasion: first_binding, switch or stay
-- actual_id: the record it was bound to afterwards
-- bound_id: the live record it was bound to before; null at a first binding
-- first_by: the candidate that a first sync takes, by the values of first_sync
-- newest_by: the candidates with the latest stamp since the binding before, by the values of recency; more than one is a tie
-- slice: hubspot_contact_id
-- due: select as_of from staging.clock where exists (select 1 from core.judged_prediction where source = 'runs')
-- due: select any_value(as_of) from staging.clock cross join main.policy cross join core.hubspot_contact as contact
--   inner join core.binding as binding on binding.hubspot_contact_id = contact.contact_id
--   where contact.last_sync_at > latest_stamp + to_minutes(settle_minutes) and (binding.prediction <> 'keep' or len(binding.candidate_ids) > 1)
-- due: select as_of from staging.clock cross join (select max(watermark_to) as seen_until from raw.pull where complete and object <> 'User')
--   where greatest((select max(last_sync_at) from core.hubspot_contact), (select max(changed_at) from core.binding_history)) - main.one_write() > seen_until
create or replace table core.judged_prediction as
with synced as (
    -- stored predictions of contacts that have synced since
    select
        prediction.*,
        contact.last_sync_at,
        contact.bound_id as bound_now,
        change.changed_at,
        change.to_id,
        prediction.bound_id is null or len(flatten(map_values(prediction.newest_by))) > 0 as is_due
    from main.prediction as prediction
    inner join core.hubspot_contact as contact
        on contact.contact_id = prediction.hubspot_contact_id and contact.state = 'live' and contact.bound_id is not null
    cross join main.policy as policy
    left join (
        select
            history.hubspot_contact_id, min(history.changed_at) as changed_at, arg_min(history.to_id, (history.changed_at, history.to_id)) as to_id,
            bool_or(history.source_type <> 'SALESFORCE' or history.is_of_hubspot_merge) as is_by_others
        from core.binding_history as history
        inner join main.prediction as prediction
            on prediction.hubspot_contact_id = history.hubspot_contact_id and history.changed_at > prediction.predicted_at
        group by history.hubspot_contact_id
    ) as change on change.hubspot_contact_id = prediction.hubspot_contact_id
    where prediction.first_by is not null
      and not coalesce(change.is_by_others, false)   -- only what the integration wrote says what it does
      and contact.last_sync_at > prediction.predicted_at + to_minutes(policy.settle_minutes)
),
disturbed as (
    -- a candidate, of then or of now, was edited, created or gone after the prediction: nobody could know
    select distinct synced.hubspot_contact_id
    from synced
    inner join (
        select hubspot_contact_id, unnest(candidate_ids) as record_id from synced
        union
        select hubspot_contact_id, record_id from core.candidate
    ) as candidate on candidate.hubspot_contact_id = synced.hubspot_contact_id
    inner join core.salesforce_person as person on person.record_id = candidate.record_id and person.modified_at > synced.predicted_at
    cross join main.policy as policy
    where not coalesce(
        case
            -- the sync that carried out what was due writes into the record itself
            when synced.is_due then
                synced.changed_at <= synced.predicted_at + to_minutes(policy.settle_minutes)
                and main.is_one_write(person.modified_at, synced.changed_at)
            -- the bound record's own edit keeps it, where none waited
            else person.record_id = synced.bound_id and person.state = 'live'
        end,
        false)
),
run_prediction as (
    select
        'runs' as source,
        hubspot_contact_id,
        coalesce(changed_at, last_sync_at) as moment_at,
        case when bound_id is null then 'first_binding' when changed_at is null then 'stay' else 'switch' end as occasion,
        coalesce(to_id, bound_now) as actual_id,
        bound_id,
        first_by,
        newest_by
    from synced
    where hubspot_contact_id not in (select hubspot_contact_id from disturbed)
),
shared_email as (
    select email from core.salesforce_person where email is not null group by email having count(*) > 1
),
change as (
    select
        history.hubspot_contact_id,
        history.changed_at,
        history.from_id,
        history.to_id,
        coalesce(history.source_type <> 'SALESFORCE', false) or history.is_of_hubspot_merge as is_by_others,
        contact.email,
        contact.email_changed_at,
        lag(history.changed_at) over (partition by history.hubspot_contact_id order by history.changed_at) as bound_before_at,
        row_number() over (partition by history.hubspot_contact_id order by history.changed_at) as number
    from core.binding_history as history
    inner join core.hubspot_contact as contact on contact.contact_id = history.hubspot_contact_id
    where contact.state = 'live' and contact.is_in_scope and history.read_from_id = history.hubspot_contact_id
      and contact.email in (select email from shared_email)
),
-- the e-mail goes along, so that records are found by it: joined later, the optimizer may hold every moment against the times of all records first
moment as (
    select
        hubspot_contact_id, changed_at as moment_at, 'first_binding' as occasion, to_id as actual_id, null as bound_id, null as since, email, email_changed_at
    from change
    where number = 1 and from_id is null and to_id is not null and not is_by_others
    union all
    select
        change.hubspot_contact_id, change.changed_at, 'switch', change.to_id, change.from_id, change.bound_before_at, change.email, change.email_changed_at
    from change
    inner join core.switch_event as event
        on event.hubspot_contact_id = change.hubspot_contact_id and event.switched_at = change.changed_at and event.to_id = change.to_id
    where event.cause = 'duplicate_switch'
    union all
    select
        contact.contact_id, contact.last_sync_at, 'stay', contact.bound_id, contact.bound_id, contact.bound_since, contact.email, contact.email_changed_at
    from core.hubspot_contact as contact
    inner join core.choice as choice on choice.hubspot_contact_id = contact.contact_id and choice.bound_id = contact.bound_id
    where contact.last_sync_at > contact.bound_since + main.one_write() and contact.is_in_scope
),
seen as (
    -- how far each run had seen, by the clocks of the CRMs; one that did not get all objects may have missed candidates
    select max(pull_no) as pull_no, max(max(watermark_to)) over (order by max(pull_no)) as seen_until
    from raw.pull
    where complete and object <> 'User'  -- whose stamps say nothing of records
    group by run_id
    having list_contains(list(object), 'contact') and list_has_all(list(object), (select objects from main.policy))
),
pull_after as (
    -- the first run that saw the moment: what it had pulled of a record is what the record was then, unless its stamp is later
    select moment.hubspot_contact_id, moment.moment_at, seen.pull_no
    from moment
    asof inner join (select seen_until, min(pull_no) as pull_no from seen group by seen_until) as seen
        on moment.moment_at - main.one_write() <= seen.seen_until
),
pool as (
    select
        moment.* exclude (email, email_changed_at), person.record_id, person.object_type, person.created_at, pull_after.pull_no as seen_in_pull,
        person.record_id = moment.bound_id as is_bound
    from moment
    inner join pull_after on pull_after.hubspot_contact_id = moment.hubspot_contact_id and pull_after.moment_at = moment.moment_at
    inner join core.salesforce_person as person on person.email = moment.email
    where person.created_at <= moment.moment_at
      and (person.state = 'live' or (person.state <> 'vanished' and person.modified_at > moment.moment_at))
      and coalesce(moment.email_changed_at <= moment.moment_at, true)
),
version as (
    select record_id, pull_no, modified_at, last_modified_at, last_modified_by_id
    from staging.salesforce_version
    where record_id in (select record_id from pool)
),
stamped as (
    select
        pool.*,
        latest.version.modified_at as modstamp,
        latest.version.last_modified_at as modified,
        policy.integration_user_id is not null and latest.version.last_modified_by_id = policy.integration_user_id as is_own_write
    from pool
    cross join main.policy as policy
    inner join (
        select pool.hubspot_contact_id, pool.moment_at, pool.record_id, max_by(version, version.pull_no) as version
        from pool
        inner join version on version.record_id = pool.record_id and version.pull_no <= pool.seen_in_pull
        group by pool.hubspot_contact_id, pool.moment_at, pool.record_id
    ) as latest
        on latest.hubspot_contact_id = pool.hubspot_contact_id and latest.moment_at = pool.moment_at and latest.record_id = pool.record_id
),
edited as (
    select
        *,
        modstamp <= moment_at + main.one_write() as is_known,
        modstamp > since + main.one_write() as is_newer,
        not is_own_write or modstamp >= moment_at - main.one_write() as is_by_others
    from stamped
),
first_of as (
    select
        edited.hubspot_contact_id, edited.moment_at, knob.value as first_sync,
        main.first_in_order(edited.record_id, main.first_sync_order(knob.value, edited.object_type, edited.created_at)) as record_id
    from edited
    cross join staging.knob_value as knob
    where knob.knob = 'policy.first_sync'
    group by edited.hubspot_contact_id, edited.moment_at, knob.value
),
newest as (
    select hubspot_contact_id, moment_at, recency, main.latest(record_id, case when is_by_others and stamp > since + main.one_write() then stamp end)
        as record_ids
    from (
        select edited.*, knob.value as recency, main.recency_stamp(knob.value, edited.modstamp, edited.modified) as stamp
        from edited
        cross join staging.knob_value as knob
        where knob.knob = 'policy.recency'
    ) as dated
    group by hubspot_contact_id, moment_at, recency
),
counted as (
    select
        'history' as source,
        hubspot_contact_id,
        moment_at,
        any_value(occasion) as occasion,
        any_value(actual_id) as actual_id,
        any_value(bound_id) as bound_id
    from edited
    group by hubspot_contact_id, moment_at
    having count(*) > 1
       and bool_or(record_id = actual_id)
       and case any_value(occasion)
           -- a first binding depends on who was there, not on stamps
           when 'first_binding' then true
           when 'switch' then bool_and(is_known) and bool_or(is_bound)
           -- somebody edited a duplicate well before the sync, and it stayed
           else bool_and(is_known) and bool_or(not is_bound and is_newer and is_by_others and modstamp <= moment_at - interval 1 minute)
                and not bool_or(modstamp > moment_at - interval 1 minute and not is_bound)
       end
),
history_prediction as (
    select counted.*, first_by.first_by, newest_by.newest_by
    from counted
    inner join (
        select hubspot_contact_id, moment_at, main.by_value(first_sync, record_id) as first_by from first_of group by hubspot_contact_id, moment_at
    ) as first_by on first_by.hubspot_contact_id = counted.hubspot_contact_id and first_by.moment_at = counted.moment_at
    inner join (
        select hubspot_contact_id, moment_at, main.by_value(recency, record_ids) as newest_by from newest group by hubspot_contact_id, moment_at
    ) as newest_by on newest_by.hubspot_contact_id = counted.hubspot_contact_id and newest_by.moment_at = counted.moment_at
)
from run_prediction
union all
from history_prediction;
