-- One row: a Salesforce record that an open finding is about, with its values, for people who compare.
-- These are the records that findings name, and those that the contacts of review.contact_detail are or could be bound to.
--
-- record_id: the record
-- fields: its values by Salesforce's field names
-- slice: record_id
create or replace table review.record_detail as
with shown as (
    select id from review.named_id
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
    select record_id, pull_no, fields from staging.salesforce_version where record_id in (select id from shown)
)
select person.record_id, version.fields
from version
inner join core.salesforce_person as person on person.record_id = version.record_id and person.pull_no = version.pull_no;
