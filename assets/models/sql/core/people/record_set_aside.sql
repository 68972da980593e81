-- One row: a record that arrived and cannot be read.
-- Its last good version, if there is one, stays in force; for what is bound to it, or could be, nothing is certain.
--
-- object_type: Lead, Contact, or contact (of HubSpot)
-- record_id: its id; unnamed-… where it came without one
-- reason: why it cannot be read; assets/languages.toml says it in words
-- is_accepted: a person said that runs may go on without it, and it is still as it was then
-- accepted_by: who
-- accepted_at: when
create or replace table core.record_set_aside as
select
    aside.object as object_type,
    aside.id as record_id,
    aside.reason,
    accepted.version is not null as is_accepted,
    accepted.accepted_by,
    accepted.accepted_at
from raw.set_aside as aside
left join main.accepted_record as accepted on accepted.object = aside.object and accepted.id = aside.id and accepted.version = aside.version
-- an object that the policy leaves out is not asked for any more, and so heals in no run
where aside.object = 'contact' or list_contains((select objects from main.policy), aside.object);
