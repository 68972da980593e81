-- From schema 7 to schema 8: a finding has its facts beside its sentences. What is known already has none.

alter table main.ledger add column if not exists facts map(varchar, varchar);
