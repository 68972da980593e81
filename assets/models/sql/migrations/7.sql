-- From schema 6 to schema 7: a finding knows how it ended, and people accept what is there.

alter table main.ledger add column resolved_by varchar;

-- It is filled anew at every run.
drop table if exists main.decision;
