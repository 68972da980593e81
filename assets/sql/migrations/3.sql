-- From schema 2 to schema 3: a finding says in German, too, what is wrong and what to do.

alter table main.ledger add column reason_de varchar;
alter table main.ledger add column action_de varchar;
