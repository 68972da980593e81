-- One row: a person, or a matter of the whole portal, about whom something is not resolved: what a steward works on.
-- A finding belongs to exactly one case, found in one step: the contact that it names; else the live contact that is bound to its record (the least id of
-- several); else the live contact whose primary e-mail it names; else its e-mail; else its record; else its check. Nothing is joined further.
--
-- case_id: hash of that key
-- hubspot_contact_ids: the contacts that it is about, sorted: that of the key, and those that its findings name
-- email: the contact's, else the one that its findings name
-- display_name: the contact's, else the record's
-- account_id: the account of the record that it is about: the live bound one, else the predicted one, else the least id that a finding names
-- account_name: its name
-- salesforce_owner_id: the owner of that record
-- salesforce_owner_name: the name
-- urgency: the worst of its findings that are not waived (all are waived: of all); so are harm and severity
-- harm: what it does to people
-- deadline_at: the earliest of them
-- severity: block, warn or unproven
-- fingerprints: its findings, in the order of the worklist
-- lost_values: what past jumps took and is missing still: property, value_before, value_after, source
-- steps: what to do in order: what a jump took is put back (action `enter`, master_id null: in the HubSpot contact), then the run-book; a value to enter
--   in Salesforce is a step of its own, with action `enter` and the record as master_id
-- owner: who takes care of it: of its findings' owners the first in the order of the worklist, else whom the case as a whole was assigned to,
--   else the Salesforce owner, where the policy says so
-- status: open, acknowledged or waived: the first of these that one of its findings has; open is acknowledged where the case as a whole was
-- opened_at: the first run that saw one of its findings
-- rank: 1, 2, 3 …: its place in the order in which cases should be dealt with
create or replace table review.person_case as
with without_contact as (
    select salesforce_id, email from review.finding where status <> 'resolved' and hubspot_contact_id is null
),
bound as (
    select bound_id as record_id, arg_min(contact_id, (length(contact_id), contact_id)) as contact_id
    from core.hubspot_contact
    where state = 'live' and bound_id in (select salesforce_id from without_contact)
    group by bound_id
),
named as (
    select email, arg_min(contact_id, (length(contact_id), contact_id)) as contact_id
    from core.hubspot_contact
    where state = 'live' and email in (select email from without_contact)
    group by email
),
keyed as (
    select
        finding.*,
        coalesce(finding.hubspot_contact_id, bound.contact_id, named.contact_id) as key_contact_id,
        case
            when key_contact_id is not null then 'contact ' || key_contact_id
            when finding.email is not null then 'email ' || finding.email
            when finding.salesforce_id is not null then 'record ' || finding.salesforce_id
            else 'check ' || finding.check_name
        end as key
    from review.finding as finding
    left join bound on bound.record_id = finding.salesforce_id
    left join named on named.email = finding.email
    where finding.status <> 'resolved'
),
placed as (
    select
        *,
        status <> 'waived' or not bool_or(status <> 'waived') over (partition by key) as counts,
        row_number() over (order by main.worklist_place(severity, urgency, harm, deadline_at, blast_radius), first_seen_at, fingerprint) as place
    from keyed
),
held as (
    select
        key,
        md5(key) as case_id,
        any_value(key_contact_id) as key_contact_id,
        arg_min(email, place) filter (where email is not null) as email,
        arg_min(urgency, main.urgency_rank(urgency)) filter (where counts) as urgency,
        arg_min(harm, main.harm_rank(harm)) filter (where counts) as harm,
        min(deadline_at) filter (where counts) as deadline_at,
        arg_max(severity, main.severity_rank(severity)) filter (where counts) as severity,
        list(fingerprint order by place) as fingerprints,
        arg_min(owner, place) filter (where owner is not null) as owner,
        case when bool_or(status = 'open') then 'open' when bool_or(status = 'acknowledged') then 'acknowledged' else 'waived' end as status,
        min(first_seen_at) as opened_at,
        max(blast_radius) as blast_radius
    from placed
    group by key
),
contact_of as (
    select key, key_contact_id as contact_id from placed where key_contact_id is not null
    union
    -- rival_ids are contacts where several are bound to one record
    select placed.key, contact.contact_id
    from (select key, unnest(rival_ids) as id from placed) as placed
    inner join core.hubspot_contact as contact on contact.contact_id = placed.id
),
contacts as (
    select key, list(contact_id order by length(contact_id), contact_id) as hubspot_contact_ids from contact_of group by key
),
record_of as (
    select named_record.key, min(person.record_id) as record_id
    from (
        select key, salesforce_id as id from placed where salesforce_id is not null
        union
        select key, unnest(rival_ids) from placed
    ) as named_record
    inner join core.salesforce_person as person on person.record_id = named_record.id
    group by named_record.key
),
subject as (
    select
        held.key,
        contact.email,
        contact.display_name,
        coalesce(case when binding.bound_state = 'live' then binding.bound_id end, binding.predicted_id, record_of.record_id) as record_id
    from held
    left join core.hubspot_contact as contact on contact.contact_id = held.key_contact_id
    left join core.binding as binding on binding.hubspot_contact_id = held.key_contact_id
    left join record_of on record_of.key = held.key
),
account as (
    select version.record_id, version.pull_no, version.fields['Account.Name'] as account_name
    from staging.salesforce_version as version
    where version.record_id in (select record_id from subject)
),
lost as (
    select
        placed.key,
        list({'property': value.property, 'value_before': value.value_before, 'value_after': value.value_after, 'source': value.source}
            order by value.property, value.switched_at) as lost_values
    from placed
    inner join core.switch_event as event
        on event.hubspot_contact_id = placed.hubspot_contact_id
        and placed.fingerprint = main.event_fingerprint('switch_happened', event.hubspot_contact_id, main.event_of_jump(event.switched_at, event.to_id))
    inner join core.value_source as value on value.hubspot_contact_id = event.hubspot_contact_id and value.switched_at = event.switched_at
    where placed.check_name = 'switch_happened' and list_contains(placed.fields_at_risk, value.property)
    group by placed.key
),
book_of as (
    select held.key, run_book.book
    from held
    left join core.hubspot_contact as contact on contact.contact_id = held.key_contact_id and contact.state = 'live'
    inner join core.run_book as run_book
        on run_book.email = coalesce(contact.email, held.email) and (run_book.is_of_cluster or run_book.hubspot_contact_id = held.key_contact_id)
),
step as (
    select book_of.key, advice.step as advice_step, 1 as part, 0 as place, advice.action, advice.master_id, advice.loser_id,
        cast(null as varchar) as property, cast(null as varchar) as value
    from book_of inner join core.merge_advice as advice on advice.book = book_of.book
    union all
    select key, step, case when list_contains(enter_before, entered.property) then 0 else 2 end, place, 'enter', master_id, null, entered.property,
        entered.value
    from (
        select book_of.key, advice.step, advice.enter_before, advice.master_id,
            unnest(advice.enter_values) as entered, generate_subscripts(advice.enter_values, 1) as place
        from book_of inner join core.merge_advice as advice on advice.book = book_of.book
    )
),
back as (
    -- another record's value: what stood there before is entered in HubSpot, unless the run-book enters it; of others a person decides
    select placed.key, placed.value.property as property, placed.value.value_before as value
    from (select key, unnest(lost_values) as value from lost) as placed
    where placed.value.source = 'foreign'
      and not exists (select 1 from step where step.key = placed.key and step.property = placed.value.property and step.value = placed.value.value_before)
),
steps as (
    select
        key,
        list({'step': number, 'action': action, 'master_id': master_id, 'loser_id': loser_id, 'property': property, 'value': value} order by number) as steps
    from (
        select *, row_number() over (partition by key order by advice_step, part, place, property) as number
        from (
            from step
            union all
            select key, 0, 0, 0, 'enter', null, null, property, value from back
        )
    )
    group by key
)
select
    held.case_id,
    coalesce(contacts.hubspot_contact_ids, cast([] as varchar[])) as hubspot_contact_ids,
    coalesce(subject.email, held.email, person.email) as email,
    coalesce(nullif(subject.display_name, ''), person.display_name) as display_name,
    person.account_id,
    account.account_name,
    person.owner_id as salesforce_owner_id,
    users.name as salesforce_owner_name,
    held.urgency,
    held.harm,
    held.deadline_at,
    held.severity,
    held.fingerprints,
    coalesce(lost.lost_values, cast([] as struct(property varchar, value_before varchar, value_after varchar, source varchar)[])) as lost_values,
    coalesce(steps.steps, cast([] as struct(step bigint, action varchar, master_id varchar, loser_id varchar, property varchar, "value" varchar)[])) as steps,
    -- what was decided about the case as a whole holds for what comes later, too; a waiver never does
    coalesce(held.owner, assignment.owner, case when policy.assign_by_owner and users.is_active and not users.is_integration then users.name end) as owner,
    case when held.status = 'open' and decision.status = 'acknowledged' and held.severity <> 'unproven' then 'acknowledged' else held.status end as status,
    held.opened_at,
    row_number() over (
        order by held.status = 'waived', main.worklist_place(held.severity, held.urgency, held.harm, held.deadline_at, held.blast_radius),
            held.opened_at, held.case_id) as rank
from held
inner join subject on subject.key = held.key
left join contacts on contacts.key = held.key
left join lost on lost.key = held.key
left join steps on steps.key = held.key
left join core.salesforce_person as person on person.record_id = subject.record_id
left join account on account.record_id = person.record_id and account.pull_no = person.pull_no
left join core.salesforce_user as users on users.user_id = person.owner_id
cross join main.policy as policy
left join main.assignment as assignment on assignment.subject = held.case_id
left join main.decision as decision on decision.fingerprint = held.case_id;
