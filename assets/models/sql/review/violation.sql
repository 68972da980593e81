-- One row: something that a check holds against, before memory and decisions. Filled by the SQL files under expectations/.
--
-- suite: the folder of the check
-- check_name: the file of the check
-- severity: block, warn or unproven, where the check decides it itself; null: the check's default
-- basis: documented, observed or inferred, where the check decides it itself; null: the check's default
-- hubspot_contact_id: the contact it speaks about
-- salesforce_id: the Salesforce record it speaks about
-- rival_ids: the other records (or contacts) involved
-- email: the e-mail as compared
-- says: the case: which of the sentences in the header of the check is true of it
-- facts: what the sentences are filled with, and what other tools may read; never an e-mail
-- quoted: what another table says of it, by language: the first step of a run-book, a merge verdict
-- fields_at_risk: HubSpot properties that may be lost
-- identity: what else makes it this finding and not another one
-- harm: what it does to people, where the check decides it itself; null: the check's default
-- deadline_at: until when something can be done about it; null: no such moment, or it is past
-- event: of something that happened once: what tells it, with check and contact, from others. Then it stays this finding whatever fields, other
--   records or facts it names; null: these make it what it is
-- is_known: the last proven run knew that it had happened
-- due: select min(moment) + to_minutes(any_value(settle_minutes)) from (
--   select modified_at as moment from core.salesforce_person union all
--   select unnest([bound_since, email_changed_at]) from core.hubspot_contact union all
--   select departed_at from core.departure)
--   cross join main.policy cross join staging.clock where moment >= as_of - to_minutes(settle_minutes)
-- due: select as_of from staging.clock where exists (select 1 from review.violation where not is_known)
create or replace table review.violation (
    suite varchar not null,
    check_name varchar not null,
    severity varchar,
    basis varchar,
    hubspot_contact_id varchar,
    salesforce_id varchar,
    rival_ids varchar[],
    email varchar,
    says varchar not null,
    facts map(varchar, varchar),
    quoted map(varchar, varchar),
    fields_at_risk varchar[],
    identity varchar,
    harm varchar,
    deadline_at timestamp,
    event varchar,
    is_known boolean
);
