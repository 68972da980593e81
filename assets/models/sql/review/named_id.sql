-- One row: an id that an open finding names, of a contact or of a record.
-- A finding is said anew in every run; whom it names is not, so whoever reads this is not built anew with it.
--
-- id: the contact or the record
-- slice: id, whole: findings are said of the whole
create or replace table review.named_id as
with named as (
    select hubspot_contact_id, salesforce_id, rival_ids from review.finding where resolved_at is null
)
-- among rival_ids are contacts, too (same_record_bound_twice); an id of one CRM is never one of the other
select hubspot_contact_id as id from named where hubspot_contact_id is not null
union
select salesforce_id from named where salesforce_id is not null
union
select unnest(rival_ids) from named;
