-- One row: the moments that a run measures everything against.
-- The clock of the models is the later of our own and the latest stamp pulled, so that a CRM whose clock is ahead of ours
-- (or a sandbox whose clock was advanced) does not make every settle time look unexpired.
--
-- as_of: now, for this run
-- latest_stamp: the latest modified stamp pulled, by the clocks of the CRMs
-- first_run_pull_no: last pull of the first proven run; null on the first run
-- last_run_pull_no: last pull of the last proven run; what came with a later pull is new. Null on the first run
create or replace table staging.clock as
with stamp as (
    select greatest(
        (select max(modified_at) from staging.salesforce_version),
        (select max(main.utc(updated_at)) from raw.hubspot_contact)) as latest
)
select
    greatest((select max(started_at) from main.current_run), stamp.latest) as as_of,
    stamp.latest as latest_stamp,
    (select min(last_pull_no) from main.run where verdict in ('pass', 'fail')) as first_run_pull_no,
    (select max(last_pull_no) from main.run where verdict in ('pass', 'fail')) as last_run_pull_no
from stamp;
