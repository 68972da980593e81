-- From schema 2 to schema 3: a finding says in German, too, what is wrong and what to do; plans know more about themselves.

alter table main.ledger add column reason_de varchar;
alter table main.ledger add column action_de varchar;

-- It is filled anew at every run.
drop table if exists main.merge_plan;
