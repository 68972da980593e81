-- From schema 4 to schema 5: fields are known with what they can hold. Every pull describes them anew.

alter table raw.salesforce_field add column is_writable boolean;
alter table raw.salesforce_field add column labels map(varchar, varchar);

-- Findings know what they do to people, and how soon something must be done.
alter table main.ledger add column harm varchar;
alter table main.ledger add column deadline_at timestamp;
alter table main.ledger add column urgency varchar;
