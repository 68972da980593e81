-- One row: a Salesforce record and a live HubSpot contact that is bound to it, or has it among its candidates. It answers from a record's side, at once,
-- who depends on it; published in the order of record_id.
--
-- record_id: the record
-- hubspot_contact_id: the contact
-- email: the contact's primary e-mail as compared
-- slice: record_id
create or replace table core.link as
select unnest(candidate_ids) as record_id, hubspot_contact_id, email from core.binding
union all
select bound_id, hubspot_contact_id, email from core.binding where bound_id is not null and not list_contains(candidate_ids, bound_id);
