-- One row: a version of a Lead or Contact, typed.
-- A view: what a model does not ask for is not read, and not turned from text into a type. A stamp that lies more than a day after now counts as now, here
-- and so in every comparison (stamp_in_future).
--
-- object_type: Lead or Contact
-- record_id: its id, 18 characters; as received where it cannot be brought to that
-- id_received: the id as the API returned it
-- display_name: Salesforce's Name; first and last name where the user cannot see that
-- email_raw: the e-mail as stored
-- email: the e-mail as compared; null when it can never match
-- created_at: CreatedDate
-- modified_at: SystemModstamp, moved by people and by automation
-- last_modified_at: LastModifiedDate, moved by people
-- last_modified_by_id: the user who modified it last
-- created_by_id: the user who created it
-- owner_id: its owner
-- account_id: the Account of a Contact
-- is_deleted: in the recycle bin
-- is_converted: a converted Lead
-- merged_into_id: the record it was merged into, from MasterRecordId
-- converted_contact_id: the Contact that a converted Lead became
-- id_is_malformed: the id cannot be brought to 18 characters, or its checksum is wrong
-- fields: the mapped fields by their API names, as text
-- pull_no: the pull of this version
-- slice: record_id
-- due: select as_of from staging.clock where exists (
--   select 1 from (
--   select created_date, system_modstamp, last_modified_date from raw.salesforce_lead union all
--   select created_date, system_modstamp, last_modified_date from raw.salesforce_contact)
--   cross join (select strftime(as_of + main.clock_slack(), '%Y-%m-%dT%H:%M:%S') as ahead from staging.clock)
--   where (main.may_be_after(created_date, ahead) and main.utc(created_date) > as_of + main.clock_slack())
--   or (main.may_be_after(system_modstamp, ahead) and main.utc(system_modstamp) > as_of + main.clock_slack())
--   or (main.may_be_after(last_modified_date, ahead) and main.utc(last_modified_date) > as_of + main.clock_slack()))
create or replace view staging.salesforce_version as
select
    object_type,
    record_id,
    id as id_received,
    name as display_name,
    email as email_raw,
    main.matching_email(email) as email,
    main.not_after(main.utc(created_date), as_of) as created_at,
    main.not_after(main.utc(system_modstamp), as_of) as modified_at,
    main.not_after(main.utc(last_modified_date), as_of) as last_modified_at,
    coalesce(long_ids[1], nullif(last_modified_by_id, '')) as last_modified_by_id,
    coalesce(long_ids[6], nullif(created_by_id, '')) as created_by_id,
    coalesce(long_ids[2], nullif(owner_id, '')) as owner_id,
    coalesce(long_ids[3], nullif(account_id, '')) as account_id,
    coalesce(main.is_true(is_deleted), false) as is_deleted,
    coalesce(main.is_true(is_converted), false) as is_converted,
    coalesce(long_ids[4], nullif(master_record_id, '')) as merged_into_id,
    coalesce(long_ids[5], nullif(converted_contact_id, '')) as converted_contact_id,
    id_is_malformed,
    fields,
    pull_no
from (
    select
        *,
        (select as_of from staging.clock) as as_of,
        -- hardly any reference has 15 characters; in a list the checksum is planned once instead of for each of them
        case
            when 15 in (
                length(last_modified_by_id), length(owner_id), length(account_id), length(master_record_id), length(converted_contact_id),
                length(created_by_id))
            then list_transform(
                [last_modified_by_id, owner_id, account_id, master_record_id, converted_contact_id, created_by_id], lambda id: main.long_id(id))
        end as long_ids
    from (
        -- where the policy leaves Leads out, those that were pulled before it did are of no time that anybody knows
        select 'Lead' as object_type, * from raw.salesforce_lead where (select list_contains(objects, 'Lead') from main.policy)
        union all
        select 'Contact' as object_type, * from raw.salesforce_contact
    )
);
