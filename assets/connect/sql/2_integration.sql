-- Who keeps this portal, and as which user the integration writes.

create schema if not exists found;

-- One row: the answer. kind: native, middleware, none or unknown; cases: ids that speak for it; the sources of all of them.
-- An id that people brought in by an import says nothing; fewer than 20 ids, or mixed sources, leave it open.
create or replace table found.integration as
with ids as (
    select
        count(*) filter (where source = 'SALESFORCE') as native,
        count(*) filter (where source in ('INTEGRATION', 'API', 'INTEGRATIONS_PLATFORM') ) as middleware,
        count(*) filter (where source not in ('SALESFORCE', 'INTEGRATION', 'API', 'INTEGRATIONS_PLATFORM', 'MERGE_CONTACTS', 'MERGE_OBJECTS')) as other,
        count(*) as total
    from sample.binding_change
)
select
    case
        when total = 0 and not exists (from sample.pair) then 'none'
        when native + middleware + other < 20 then 'unknown'
        when native >= 0.9 * (native + middleware) and native >= 20 then 'native'
        when middleware >= 0.9 * (native + middleware) and middleware >= 20 then 'middleware'
        else 'unknown'
    end as kind,
    native, middleware, other,
    case when native >= middleware then native else middleware end as cases
from ids;

-- One row: a write to a bound record within seconds of a sync of its contact: the integration's own, whoever else uses its user. how: modified or created.
create or replace table found.own_write as
select distinct pair.contact_id, pair.record_id, pair.object_type, 'modified' as how, pair.last_modified_by as user_id, pair.last_modified_at as moment
from sample.pair as pair
inner join sample.sync as sync
    on sync.contact_id = pair.contact_id and pair.last_modified_at between sync.moment - interval 10 second and sync.moment + interval 10 second
where pair.last_modified_at > pair.created_at + interval 2 second
union all
select distinct change.contact_id, record.record_id, record.object_type, 'created', record.created_by, record.created_at
from sample.binding_change as change
inner join sample.record as record
    on record.record_id = change.record_id and record.created_at between change.moment - interval 60 second and change.moment + interval 10 second
where change.source = 'SALESFORCE'
  -- a contact that came with the record was made by the integration from a record that somebody else entered
  and exists (from sample.contact as contact where contact.contact_id = change.contact_id and contact.created_at < record.created_at - interval 1 second);

-- One row: a user who wrote within seconds of syncs, and how often. elsewhere: bound records that he changed last at a moment without any sync.
create or replace table found.writer as
select
    own.user_id,
    count(*) as cases,
    count(distinct own.record_id) as records,
    (select count(*)
     from sample.pair as pair
     where pair.last_modified_by = own.user_id and pair.last_modified_at > pair.bound_since + interval 1 minute
       and pair.last_modified_at > (select min(moment) from sample.sync as first where first.contact_id = pair.contact_id)
       and not exists (
           from sample.sync as sync
           where sync.contact_id = pair.contact_id and sync.moment between pair.last_modified_at - interval 5 minute
               and pair.last_modified_at + interval 5 minute)
    ) as elsewhere
from found.own_write as own
where own.user_id is not null
group by own.user_id;

-- One row, or none: the integration user. cases_for: writes of his beside syncs; cases_against: such writes by others; is_shared: somebody works as this user.
-- Where writes are few, the org may tell as which one user HubSpot logs in, and how often it did: that is as good, unless the writes are another's.
-- is_disputed: HubSpot logs in as others, and never as him: it may have been given another user lately.
create or replace table found.integration_user as
with login as (
    select any_value(user_id) as user_id, any_value(uses) as uses, count(*) as users, list(user_id) as user_ids from sample.login
),
written as (
    select
        user_id, cases as cases_for,
        (select coalesce(sum(other.cases), 0) from found.writer as other where other.user_id <> writer.user_id) as cases_against,
        elsewhere >= 5 and elsewhere > 0.2 * (cases + elsewhere) as is_shared
    from found.writer as writer
    order by cases desc, user_id
    limit 1
)
select
    coalesce(written.user_id, login.user_id) as user_id,
    coalesce(written.cases_for, 0) + case when coalesce(written.cases_for, 0) < 5 and login.users = 1
        and coalesce(written.user_id, login.user_id) = login.user_id
        then login.uses else 0 end as cases_for,
    coalesce(written.cases_against, 0) as cases_against,
    coalesce(written.is_shared, false) as is_shared,
    coalesce(not list_contains(login.user_ids, written.user_id), false) as is_disputed
from login
left join written on true
where written.user_id is not null or login.users = 1;
