-- From schema 1 (version 0.1.0) to schema 2: findings have a subject and an age, decisions come from a store of their own.

-- Some warehouses of schema 1 were made before these columns.
alter table raw.salesforce_lead add column if not exists id_is_malformed boolean;
alter table raw.salesforce_contact add column if not exists id_is_malformed boolean;
alter table raw.pull add column if not exists crm_time timestamp;
alter table raw.pull add column if not exists not_seen varchar[];

alter table main.ledger add column subject varchar;
alter table main.ledger add column status varchar;
alter table main.ledger add column open_since timestamp;
alter table main.ledger add column waiver_lapsed varchar;
update main.ledger set
    open_since = first_seen_at,
    status = case when resolved_at is null then 'open' else 'resolved' end,
    subject = md5(concat_ws('|', check_name, coalesce(hubspot_contact_id, ''), coalesce(salesforce_id, ''),
        case when hubspot_contact_id is null and salesforce_id is null then coalesce(email, '') else '' end));

-- It was always empty: nothing wrote decisions yet.
drop table main.decision;
