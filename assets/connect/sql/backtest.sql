-- The sample as raw tables, as a pull would have loaded it: the models of the back-test run on it (core.policy_prediction).

insert into raw.pull by name
select
    row_number() over () as pull_no, 'sample ' || object as pull_id, (select run_id from main.current_run) as run_id,
    case when object = 'contact' then 'hubspot' else 'salesforce' end as source, object, 'full' as mode, '' as request_hash,
    getvariable('clock') as started_at, getvariable('clock') as finished_at, getvariable('clock') as watermark_to, 1 as landed_rows, 1 as new_versions,
    true as complete
from (values ('Lead'), ('Contact'), ('contact')) as object(object);

insert into raw.salesforce_lead by name
select
    record_id, record_id as id, strftime(modified_at, '%Y-%m-%dT%H:%M:%S.%gZ') as system_modstamp,
    strftime(created_at, '%Y-%m-%dT%H:%M:%S.%gZ') as created_date,
    strftime(last_modified_at, '%Y-%m-%dT%H:%M:%S.%gZ') as last_modified_date, last_modified_by as last_modified_by_id, created_by as created_by_id, owner_id,
    email,
    cast(is_deleted as varchar) as is_deleted, master_id as master_record_id, cast(is_converted as varchar) as is_converted, converted_contact_id,
    cast(map {} as map(varchar, varchar)) as fields, false as id_is_malformed, hash(record_id) as content_hash, 1 as pull_no
from sample.record
where object_type = 'Lead';

insert into raw.salesforce_contact by name
select
    record_id, record_id as id, strftime(modified_at, '%Y-%m-%dT%H:%M:%S.%gZ') as system_modstamp,
    strftime(created_at, '%Y-%m-%dT%H:%M:%S.%gZ') as created_date,
    strftime(last_modified_at, '%Y-%m-%dT%H:%M:%S.%gZ') as last_modified_date, last_modified_by as last_modified_by_id, created_by as created_by_id, owner_id,
    account_id, email, cast(is_deleted as varchar) as is_deleted, master_id as master_record_id, cast(map {} as map(varchar, varchar)) as fields,
    false as id_is_malformed, hash(record_id) as content_hash, 1 as pull_no
from sample.record
where object_type = 'Contact';

insert into raw.hubspot_contact by name
select
    contact.contact_id as id, contact.entry ->> 'createdAt' as created_at, contact.entry ->> 'updatedAt' as updated_at,
    contact.archived_at is not null as archived, contact.entry ->> 'archivedAt' as archived_at,
    map_from_entries(list((value.property, value.value))) as properties, hash(contact.contact_id) as content_hash, 1 as pull_no
from sample.contact as contact
inner join sample.value as value on value.contact_id = contact.contact_id
where contact.is_whole
  and value.property in ('email', 'hs_additional_emails', 'hs_merged_object_ids', 'salesforceleadid', 'salesforcecontactid', 'salesforcelastsynctime',
                         'salesforcedeleted', 'firstname', 'lastname', 'lastmodifieddate')
group by all;

insert into raw.hubspot_property_version by name
select
    contact_id, property, value, strftime(moment, '%Y-%m-%dT%H:%M:%S.%gZ') as changed_at, source as source_type, source_id, 1 as pull_no
from sample.version
where property in ('salesforceleadid', 'salesforcecontactid', 'email');
