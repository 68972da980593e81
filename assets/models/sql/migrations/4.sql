-- From schema 3 to schema 4: whether an id is malformed is worked out at every load; rows of schema 1 had it worked out whenever they were read.

update raw.salesforce_lead set id_is_malformed = main.salesforce_id18(id) is null where id_is_malformed is null;
update raw.salesforce_contact set id_is_malformed = main.salesforce_id18(id) is null where id_is_malformed is null;

-- Runs are ordered by a number of their own, and know when they were by the clocks of the CRMs.
alter table main.run add column run_no bigint;
alter table main.run add column as_of timestamp;
update main.run set run_no = numbered.run_no
from (select run_id, row_number() over (order by last_pull_no, started_at, run_id) as run_no from main.run) as numbered
where numbered.run_id = main.run.run_id;
alter table main.run alter column run_no set not null;

alter table main.ledger add column open_run_no bigint;
update main.ledger set open_run_no = coalesce((select max(run_no) from main.run where started_at <= open_since), 0);
create table if not exists main.baseline (set_at timestamp not null, run_id varchar not null);
alter table main.baseline add column run_no bigint;
update main.baseline set run_no = coalesce((select max(run_no) from main.run where started_at <= set_at), 0);
alter table main.baseline alter column run_no set not null;
