-- The pages of the sample as tables. Variable folder: where they lie; clock: what the CRMs' own clocks say.

create schema if not exists sample;

create or replace macro sample.pages(kind) as table
    select json as page from read_json_objects(getvariable('folder') || '/' || kind || '-*.json', format = 'unstructured', maximum_object_size = 536870912);

-- One row: a contact, as a read said. is_whole: all its properties and histories were read.
create or replace table sample.contact as
with told as (
    select unnest(json_extract(page, '$.results[*]')) as entry, true as is_whole from sample.pages('contact')
    union all
    select unnest(json_extract(page, '$.results[*]')), false from sample.pages('dead')
    union all
    select unnest(json_extract(page, '$.results[*]')), false from sample.pages('archived')
)
select
    entry ->> 'id' as contact_id, entry, is_whole,
    main.utc(entry ->> 'createdAt') as created_at,
    case when entry ->> 'archived' = 'true' then main.utc(entry ->> 'archivedAt') end as archived_at
from told
where entry ->> 'id' is not null
qualify row_number() over (partition by entry ->> 'id' order by is_whole desc) = 1;

-- One row: a property of a contact and what it holds now.
create or replace table sample.value as
select contact_id, entry.key as property, entry.value ->> '$' as value
from (select contact_id, unnest(map_entries(try_cast(entry -> 'properties' as map(varchar, json)))) as entry from sample.contact);

-- One row: an entry of a property's history. number: from 1, the oldest first; the integration writes as SALESFORCE.
create or replace table sample.version as
with listed as (
    select contact_id, one.key as property, try_cast(one.value as json[]) as versions
    from (select contact_id, unnest(map_entries(try_cast(entry -> 'propertiesWithHistory' as map(varchar, json)))) as one from sample.contact)
),
entry as (
    select contact_id, property, unnest(versions) as version, generate_subscripts(versions, 1) as place from listed
)
select
    contact_id, property,
    row_number() over (partition by contact_id, property order by main.utc(version ->> 'timestamp'), place desc) as number,
    coalesce(version ->> 'value', '') as value,
    main.utc(version ->> 'timestamp') as moment,
    coalesce(version ->> 'sourceType', '') as source,
    version ->> 'sourceId' as source_id
from entry
where main.utc(version ->> 'timestamp') is not null;

-- One row: a Salesforce record, with what its queries brought of it.
create or replace table sample.record as
with entry as (
    select unnest(json_extract(page, '$.records[*]')) as record from sample.pages('record')
)
select
    main.salesforce_id18(record ->> 'Id') as record_id,
    any_value(coalesce(main.type_of_record(record ->> 'Id'), 'Contact')) as object_type,
    any_value(lower(record ->> 'Email')) as email,
    any_value(main.utc(record ->> 'CreatedDate')) as created_at,
    any_value(main.long_id(record ->> 'CreatedById')) as created_by,
    any_value(main.utc(record ->> 'SystemModstamp')) as modified_at,
    any_value(main.utc(record ->> 'LastModifiedDate')) as last_modified_at,
    any_value(main.long_id(record ->> 'LastModifiedById')) as last_modified_by,
    coalesce(bool_or(record ->> 'IsDeleted' = 'true'), false) as is_deleted,
    any_value(main.long_id(record ->> 'MasterRecordId')) as master_id,
    coalesce(bool_or(record ->> 'IsConverted' = 'true'), false) as is_converted,
    any_value(main.long_id(record ->> 'ConvertedContactId')) as converted_contact_id,
    any_value(record ->> 'OwnerId') as owner_id,
    any_value(record ->> 'AccountId') as account_id
from entry
where main.salesforce_id18(record ->> 'Id') is not null
group by 1;

-- One row: a filled field of a record, of related records under names such as Account.Name.
create or replace table sample.field_value as
with entry as (
    select unnest(json_extract(page, '$.records[*]')) as record from sample.pages('record')
),
own as (
    select main.salesforce_id18(record ->> 'Id') as record_id, unnest(map_entries(try_cast(record as map(varchar, json)))) as entry from entry
),
related as (
    select record_id, entry.key as relation, unnest(map_entries(try_cast(entry.value as map(varchar, json)))) as entry
    from own
    where json_type(entry.value) = 'OBJECT' and entry.key <> 'attributes'
),
flat as (
    select record_id, entry.key as field, entry.value ->> '$' as value from own where json_type(entry.value) not in ('OBJECT', 'ARRAY', 'NULL')
    union all
    select record_id, relation || '.' || entry.key, entry.value ->> '$' from related where json_type(entry.value) not in ('OBJECT', 'ARRAY', 'NULL')
)
select record_id, field, any_value(value) as value
from flat
where not main.is_blank(value)
group by record_id, field;

-- One row: a contact that never synced although it could have: it is older than a day and has an e-mail. in_salesforce: some record, also one that was
-- deleted, has its e-mail.
create or replace table sample.unbound as
with told as (
    select unnest(json_extract(page, '$.results[*]')) as entry from sample.pages('unbound')
)
select
    entry ->> 'id' as contact_id, main.utc(entry ->> 'createdAt') as created_at,
    exists (from sample.record as record where record.email = lower(trim(entry ->> '$.properties.email'))) as in_salesforce
from told
where contains(entry ->> '$.properties.email', '@');

-- One row: a use of the org by HubSpot, as the org tells: as which user, and how often.
create or replace table sample.login as
with told as (
    select unnest(json_extract(page, '$.records[*]')) as entry from sample.pages('app')
)
select main.long_id(entry ->> 'UserId') as user_id, sum(coalesce(try_cast(entry ->> 'UseCount' as bigint), 0)) as uses
from told
where contains(lower(entry ->> 'AppName'), 'hubspot') and main.long_id(entry ->> 'UserId') is not null
group by 1;

-- One row: a contact of which it is known in which lists it is.
create or replace table sample.asked as
select distinct unnest(json_extract(page, '$.results[*]')) ->> 'recordId' as contact_id from sample.pages('asked');

-- One row: a contact that is in a list.
create or replace table sample.member as
select distinct page ->> 'list' as list_id, unnest(json_extract(page, '$.results[*]')) ->> 'recordId' as contact_id
from sample.pages('member') where page ->> 'list' is not null;

-- One row: a change of the record that a live contact is bound to. record_id: with 18 characters, null where the id was emptied.
create or replace table sample.binding_change as
select
    contact_id, property, main.salesforce_id18(value) as record_id, moment, source,
    row_number() over (partition by contact_id order by moment, number) as place
from sample.version
where main.is_id_property(property) and not main.is_blank(value) and main.salesforce_id18(value) is not null;

-- One row: a live contact and the live record that it is bound to. bound_since: when the id was written; is_first: it never had another one;
-- last_sync_at: its last sync.
create or replace table sample.pair as
with bound as (
    select
        contact.contact_id,
        max_by(main.salesforce_id18(value.value), (coalesce(change.moment, timestamp '1970-01-01'), value.property = 'salesforcecontactid')) as record_id
    from sample.contact as contact
    inner join sample.value as value on value.contact_id = contact.contact_id and main.is_id_property(value.property)
    left join sample.binding_change as change
        on change.contact_id = contact.contact_id and change.property = value.property and change.record_id = main.salesforce_id18(value.value)
    where contact.archived_at is null and contact.is_whole and main.salesforce_id18(value.value) is not null
    group by contact.contact_id
)
select
    bound.contact_id, bound.record_id, record.object_type, record.created_at, record.created_by, record.last_modified_at, record.last_modified_by,
    (select max(moment) from sample.binding_change as change where change.contact_id = bound.contact_id and change.record_id = bound.record_id) as bound_since,
    (select count(distinct change.record_id) from sample.binding_change as change where change.contact_id = bound.contact_id) <= 1 as is_first,
    main.utc((select value from sample.value as value where value.contact_id = bound.contact_id and value.property = 'salesforcelastsynctime')) as last_sync_at
from bound
inner join sample.record as record on record.record_id = bound.record_id and not record.is_deleted and not record.is_converted
where exists (from sample.field_value as filled where filled.record_id = bound.record_id);

-- One row: a moment at which a contact synced, as far as HubSpot remembers.
create or replace table sample.sync as
select distinct contact_id, coalesce(main.utc(value), moment) as moment
from sample.version where property = 'salesforcelastsynctime' and not main.is_blank(value)
union
select contact_id, last_sync_at from sample.pair where last_sync_at is not null
union
select contact_id, moment from sample.binding_change where source = 'SALESFORCE';
