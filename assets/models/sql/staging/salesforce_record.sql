-- One row: the latest version of a Lead or Contact.
-- Deleted, merged and converted records are here too; core.salesforce_person says which is which.
--
-- record_id: its id, 18 characters; as received where it cannot be brought to that
-- id_received: the id as the API returned it
-- object_type: Lead or Contact
-- display_name: Salesforce's Name; first and last name where the user cannot see that
-- email_raw: the e-mail as stored
-- email: the e-mail as compared; null when it can never match
-- created_at: CreatedDate
-- modified_at: SystemModstamp, moved by people and by automation
-- last_modified_at: LastModifiedDate, moved by people
-- recency_at: the one of the two that the policy takes for "updated last"
-- last_modified_by_id: the user who modified it last
-- created_by_id: the user who created it
-- owner_id: its owner
-- account_id: the Account of a Contact
-- is_deleted: in the recycle bin
-- is_converted: a converted Lead
-- merged_into_id: the record it was merged into, from MasterRecordId
-- converted_contact_id: the Contact that a converted Lead became
-- id_is_malformed: the id cannot be brought to 18 characters, or its checksum is wrong
-- is_present: not missed by the last full pull
-- pull_no: the pull of this version; with record_id the key of its fields in raw
-- slice: record_id
create or replace table staging.salesforce_record as
with renewed as (
    -- most records have one version: only the others need looking for their latest, and so little is joined
    select object_type, record_id, max(pull_no) as pull_no from staging.salesforce_version group by object_type, record_id having count(*) > 1
),
presence as (
    select id, max_by(present, pull_no) as is_present from raw.presence where object in ('Lead', 'Contact') group by id
)
select
    version.* exclude (fields, pull_no),
    main.recency_stamp(policy.recency, version.modified_at, version.last_modified_at) as recency_at,
    coalesce(presence.is_present, true) as is_present,
    version.pull_no
from staging.salesforce_version as version
left join renewed on renewed.object_type = version.object_type and renewed.record_id = version.record_id
left join presence on presence.id = version.record_id
cross join main.policy as policy
where renewed.pull_no is null or renewed.pull_no = version.pull_no;
