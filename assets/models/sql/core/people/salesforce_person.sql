-- One row: a Lead or Contact ever seen.
--
-- record_id: its id, 18 characters; as received where it cannot be brought to that
-- object_type: Lead or Contact
-- display_name: its name
-- email_raw: the e-mail as stored
-- email: the e-mail as compared; null when it can never match
-- created_at: when it was created
-- modified_at: SystemModstamp
-- last_modified_at: LastModifiedDate
-- last_modified_by_id: the user who modified it last
-- owner_id: its owner
-- account_id: the Account of a Contact
-- state: live, converted, merged, deleted or vanished; the last known one stays when a purged record leaves the pull
-- merged_into_id: the record it was merged into
-- survivor_id: the end of its merge chain; null when not merged, null in a cycle
-- converted_contact_id: the Contact that a converted Lead became
-- recency_at: when it was "updated last" under the policy
-- id_received: the id as the API returned it
-- id_is_malformed: it cannot be brought to 18 characters, or its checksum is wrong
-- created_by_id: the user who created it
-- pull_no: with record_id the key of its fields in raw
-- slice: record_id
create or replace table core.salesforce_person as
select
    r.record_id,
    r.object_type,
    r.display_name,
    r.email_raw,
    r.email,
    r.created_at,
    r.modified_at,
    r.last_modified_at,
    r.last_modified_by_id,
    r.owner_id,
    r.account_id,
    case
        when r.is_deleted and r.merged_into_id is not null then 'merged'
        when r.is_deleted then 'deleted'
        when not r.is_present then 'vanished'
        when r.is_converted then 'converted'
        else 'live'
    end as state,
    case when r.is_deleted then r.merged_into_id end as merged_into_id,
    chain.ancestor_id as survivor_id,
    r.converted_contact_id,
    r.recency_at,
    r.id_received,
    r.id_is_malformed,
    r.created_by_id,
    r.pull_no
from staging.salesforce_record as r
left join core.merge_chain as chain on chain.record_id = r.record_id and chain.is_survivor;
