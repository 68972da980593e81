-- One row: a Salesforce record that an open finding is about, with its values, for people who compare.
-- These are the records that findings name, and those that the contacts of review.contact_detail are or could be bound to.
-- A view: only the snapshot reads it, and writing it twice costs a large portal seconds.
--
-- record_id: the record
-- fields: its values by Salesforce's field names
create or replace view review.record_detail as
with named as (
    select hubspot_contact_id, salesforce_id, rival_ids from review.finding where resolved_at is null
),
named_id as (
    select salesforce_id as id from named where salesforce_id is not null
    union
    select unnest(rival_ids) from named
    union
    select unnest(binding.candidate_ids)
    from core.binding as binding
    inner join review.contact_detail as detail on detail.contact_id = binding.hubspot_contact_id
    union
    select contact.bound_id
    from core.hubspot_contact as contact
    inner join review.contact_detail as detail on detail.contact_id = contact.contact_id
    where contact.bound_id is not null
),
version as (
    select record_id, pull_no, fields from staging.salesforce_version where record_id in (select id from named_id)
)
select person.record_id, version.fields
from version
inner join core.salesforce_person as person on person.record_id = version.record_id and person.pull_no = version.pull_no;
