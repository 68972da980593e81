-- The knobs of [policy]: cases for each of their values.

-- One row: an additional e-mail of a contact that was never merged, and how long it was one: a binding by it makes it the primary one.
create or replace table found.additional as
with listed as (
    select contact_id, value, moment as since, coalesce(lead(moment) over (partition by contact_id order by number), timestamp '9999-01-01') as until
    from sample.version
    where property = 'hs_additional_emails'
    union all
    select value.contact_id, value.value, contact.created_at, timestamp '9999-01-01'
    from sample.value as value
    inner join sample.contact as contact on contact.contact_id = value.contact_id
    where value.property = 'hs_additional_emails'
      and not exists (from sample.version as version where version.contact_id = value.contact_id and version.property = 'hs_additional_emails')
)
select listed.contact_id, lower(trim(told.email)) as email, listed.since, listed.until
from listed
inner join sample.contact as contact on contact.contact_id = listed.contact_id and contact.archived_at is null
cross join lateral (select unnest(string_split(listed.value, ';')) as email) as told
where contains(told.email, '@')
  and not exists (
      from sample.value as merged
      where merged.contact_id = listed.contact_id and merged.property = 'hs_merged_object_ids' and not main.is_blank(merged.value));

-- One row: a list that may be the inclusion list: most contacts that synced lately are in it, and those that never did are not. place: the likeliest first.
create or replace table found.inclusion_list as
with synced as (
    select pair.contact_id
    from sample.pair as pair
    semi join sample.asked as asked on asked.contact_id = pair.contact_id
    inner join sample.contact as contact on contact.contact_id = pair.contact_id
    where pair.last_sync_at is not null
    order by date_trunc('day', pair.last_sync_at) > contact.created_at desc, pair.last_sync_at desc  -- one that Salesforce made needs no list on that day
    limit 200
),
unbound as (
    select contact_id from sample.unbound semi join sample.asked using (contact_id)
),
counted as (
    select
        member.list_id,
        count(synced.contact_id) / greatest((select count(*) from synced), 1) as share,
        count(unbound.contact_id) / greatest((select count(*) from unbound), 1) as share_unbound,
        count(*) as members
    from sample.member as member
    left join synced on synced.contact_id = member.contact_id
    left join unbound on unbound.contact_id = member.contact_id
    group by member.list_id
)
select *, row_number() over (order by share desc, share_unbound, members, list_id) as place
from counted
where share >= 0.7;

-- One row: a knob, one of its values, and how many cases speak for it.
create or replace table found.knob_case as
-- what the integration makes of a contact without a match
select 'create_object' as knob, lower(object_type) as value, count(distinct record_id) as cases
from found.own_write
where how = 'created' and user_id in (select user_id from found.integration_user)
group by 2
union all
-- it made nothing, of a user who is known to be its own alone; and contacts stayed unbound for a day and longer while others synced, although no record has
-- their e-mail and every list is theirs that may be the inclusion list
select 'create_object', 'none', count(*)
from sample.unbound as unbound
semi join sample.asked as asked on asked.contact_id = unbound.contact_id
where not unbound.in_salesforce
  and unbound.created_at > (select min(moment) from sample.binding_change where source = 'SALESFORCE')
  and unbound.created_at < (select max(moment) from sample.sync) - interval 1 day
  and not exists (
      from found.inclusion_list as list
      where not exists (from sample.member as member where member.list_id = list.list_id and member.contact_id = unbound.contact_id))
  and (select count(*) from sample.pair as pair semi join sample.asked as asked on asked.contact_id = pair.contact_id) >= 5
  and exists (from found.integration_user where cases_for >= 5 and not is_shared and not is_disputed)
  and not exists (from found.own_write where how = 'created')
  and not exists (from sample.record as record where record.created_by in (select user_id from found.integration_user))
union all
-- a bound record was deleted, not merged: the contact went with it within minutes, or was synced since (or marked), so it was kept
select
    case record.object_type when 'Lead' then 'on_lead_deleted' else 'on_contact_deleted' end,
    case when told.gone then 'delete' else 'keep' end,
    count(distinct told.contact_id)
from (
    select contact.contact_id, main.salesforce_id18(value.value) as record_id, contact.archived_at is not null as gone, contact.archived_at as moment
    from sample.contact as contact
    inner join sample.value as value on value.contact_id = contact.contact_id and main.is_id_property(value.property)
    where contact.archived_at is not null
    union all
    select distinct change.contact_id, change.record_id, false, version.moment
    from sample.binding_change as change
    inner join sample.version as version on version.contact_id = change.contact_id and version.source = 'SALESFORCE' and version.moment > change.moment
    inner join sample.contact as contact on contact.contact_id = change.contact_id and contact.archived_at is null
    inner join sample.record as record on record.record_id = change.record_id and record.is_deleted and version.moment >= record.modified_at
    -- it was bound to it when it was deleted
    where not exists (
        from sample.binding_change as later
        where later.contact_id = change.contact_id and later.moment > change.moment and later.moment < record.modified_at)
) as told
inner join sample.record as record on record.record_id = told.record_id and record.is_deleted and record.master_id is null and not record.is_converted
where case when told.gone then told.moment between record.modified_at - interval 1 minute and record.modified_at + interval 45 minute else true end
group by 1, 2
union all
-- HubSpot says opted out, Salesforce does not, and they synced since: nothing came back. Or the integration took an opt-out back
select 'opt_out', 'sticky', count(*)
from sample.pair as pair
inner join found.held as held on held.contact_id = pair.contact_id and held.property = 'hs_email_optout' and main.is_true(held.value)
-- where it is mapped: one that nobody maps stays as it is, too
inner join found.side as side on side.property = held.property and side.object_type = pair.object_type and side.field = 'HasOptedOutOfEmail' and side.certain
left join sample.field_value as value on value.record_id = pair.record_id and value.field = 'HasOptedOutOfEmail'
where not coalesce(main.is_true(value.value), false) and pair.last_sync_at > held.moment and pair.last_sync_at > pair.last_modified_at - interval 10 second
  and pair.last_sync_at > pair.bound_since
union all
select 'opt_out', 'as_mapped', count(*)
from (
    select source, value, lag(value) over (partition by contact_id order by number) as was from sample.version where property = 'hs_email_optout'
)
where source = 'SALESFORCE' and not main.is_true(value) and main.is_true(was)
union all
-- on a jump the new record's field was blank: HubSpot's value stayed, or was emptied in the same sync. Where Salesforce is preferred the value is written to
-- the new record under either setting, or cannot be, and tells nothing
select 'blank_on_switch', case when emptied.contact_id is not null then 'clear' else 'keep' end, count(*)
from (
    select contact_id, record_id, moment, lag(record_id) over (partition by contact_id order by place) as from_id
    from sample.binding_change where source = 'SALESFORCE'
) as jump
inner join sample.record as record
    on record.record_id = jump.record_id and not record.is_deleted
   and (record.last_modified_at <= jump.moment + interval 10 second)
inner join sample.pair as pair on pair.contact_id = jump.contact_id and pair.record_id = jump.record_id
inner join found.side as side on side.object_type = record.object_type and side.certain and side.kind <> 'boolean'
inner join found.mapping as mapping
    on mapping.property = side.property and (mapping.rule in ('always_salesforce', 'two_way') or (mapping.rule is null and side.is_writable))
inner join (
    select contact_id, property, moment, value, coalesce(lead(moment) over (partition by contact_id, property order by number), timestamp '9999-01-01') as until
    from sample.version
) as before
    on before.contact_id = jump.contact_id and before.property = side.property and not main.is_blank(before.value)
   and before.moment < jump.moment - main.one_write() and before.until >= jump.moment - main.one_write()
left join sample.version as emptied
    on emptied.contact_id = jump.contact_id and emptied.property = side.property and emptied.source = 'SALESFORCE' and main.is_blank(emptied.value)
   and main.is_one_write(emptied.moment, jump.moment)
where jump.from_id is not null and jump.from_id <> jump.record_id
  and jump.record_id[1:3] = jump.from_id[1:3]  -- a conversion is no jump
  and not exists (from sample.field_value as value where value.record_id = jump.record_id and value.field = side.field)
  and (emptied.contact_id is not null or before.until > jump.moment + main.one_write())
group by 2
union all
-- bound by the integration to a record whose e-mail is only an additional one; or such a record was edited, and the contact synced elsewhere
select 'secondary_email_matches', 'true', count(distinct change.contact_id)
from sample.binding_change as change
inner join found.additional as additional on additional.contact_id = change.contact_id and change.moment between additional.since and additional.until
inner join sample.record as record
    on record.record_id = change.record_id and record.email = additional.email
   -- its e-mail then is its e-mail now: nobody edited it since, or the contact took that e-mail over from it
   and (record.last_modified_at <= change.moment + interval 10 second
        or exists (
            from sample.version as taken
            where taken.contact_id = change.contact_id and taken.property = 'email' and taken.source = 'SALESFORCE' and lower(trim(taken.value)) = record.email
              and main.is_one_write(taken.moment, change.moment)))
where change.source = 'SALESFORCE'
union all
select 'secondary_email_matches', 'false', count(distinct pair.contact_id)
from sample.pair as pair
inner join found.additional as additional on additional.contact_id = pair.contact_id
inner join sample.record as record
    on record.email = additional.email and not record.is_deleted and not record.is_converted and record.record_id <> pair.record_id
   and record.last_modified_at between greatest(additional.since, pair.bound_since) + interval 1 minute and additional.until
   and record.last_modified_at < getvariable('clock') - interval 1 hour
where record.last_modified_by not in (select user_id from found.integration_user)
  and not exists (from sample.binding_change as other where other.record_id = record.record_id)
  and not exists (from sample.pair as other where other.record_id = record.record_id)
  -- the integration was at work on this contact, in the day before or since, and did nothing when it must have heard of the record
  and exists (
      from sample.sync as sync
      where sync.contact_id = pair.contact_id
        and (sync.moment between record.last_modified_at - interval 1 day and record.last_modified_at
            or sync.moment > record.last_modified_at + interval 20 minute))
  and exists (from sample.sync as sync where sync.contact_id = pair.contact_id and sync.moment <= record.last_modified_at)
  and not exists (
      from sample.sync as sync
      where sync.contact_id = pair.contact_id and sync.moment between record.last_modified_at and record.last_modified_at + interval 20 minute)
union all
-- the back-test: moments at which two values of a knob foretell different records, and one of them was right
select knob, value, count(*)
from (
    select 'first_sync' as knob, first_sync as value, hubspot_contact_id, moment_at
    from core.policy_prediction
    where occasion = 'first_binding'
    group by all
    having bool_and(coalesce(is_hit, false))
       and (hubspot_contact_id, moment_at) in (
           select (hubspot_contact_id, moment_at) from core.policy_prediction
           where occasion = 'first_binding' group by all having count(distinct predicted_id) > 1)
    union all
    -- by whichever stamp: a binding that stayed although a rival was touched says nothing where one of the stamps explains it
    select 'follow_up', any_value(follow_up), hubspot_contact_id, moment_at
    from core.policy_prediction
    where occasion in ('switch', 'stay') and is_hit
    group by hubspot_contact_id, moment_at
    having count(distinct follow_up) = 1
    union all
    select 'recency', recency, hubspot_contact_id, moment_at
    from core.policy_prediction
    where occasion in ('switch', 'stay') and main.follows_edits(follow_up)
    group by all
    having bool_and(coalesce(is_hit, false))
       and (hubspot_contact_id, moment_at) in (
           select (hubspot_contact_id, moment_at) from core.policy_prediction
           where occasion in ('switch', 'stay') and main.follows_edits(follow_up)
           group by all having count(distinct coalesce(predicted_id, '')) > 1)
)
group by knob, value;

-- One row: a knob. certain: at least five cases for its value, and at most a twentieth of all against.
create or replace table found.knob as
with summed as (
    select knob, value, sum(cases) as cases from found.knob_case where cases > 0 group by knob, value
),
told as (
    select
        knob, max_by(value, cases) as value, max(cases) as cases_for, sum(cases) - max(cases) as cases_against
    from summed
    group by knob
)
select
    knob.knob,
    case when told.cases_against <= 0.05 * (told.cases_for + told.cases_against) then told.value end as value,
    coalesce(told.cases_for >= 5 and told.cases_against <= 0.05 * (told.cases_for + told.cases_against), false) as certain,
    coalesce(told.cases_for, 0) as cases_for, coalesce(told.cases_against, 0) as cases_against
from (values ('first_sync'), ('follow_up'), ('recency'), ('create_object'), ('on_lead_deleted'), ('on_contact_deleted'), ('secondary_email_matches'),
             ('blank_on_switch'), ('opt_out')) as knob(knob)
left join told on told.knob = knob.knob
union all
select
    'integration_user_id', user_id,
    coalesce(cases_for >= 5 and cases_against <= 0.05 * (cases_for + cases_against) and not is_shared and not is_disputed, false), coalesce(cases_for, 0),
    coalesce(cases_against, 0)
from (select 1) as one
left join found.integration_user on true;
