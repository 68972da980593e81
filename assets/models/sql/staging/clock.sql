-- One row: the moments that a run measures everything against.
-- Now is what the CRMs' own clocks said last in this run (their Date headers), the later of the two: not this machine's clock, which may be wrong, and
-- not a record's stamp, which anybody can write. Where neither tells it, it is the moment at which the run began, by this machine.
--
-- as_of: now, for this run
-- latest_stamp: the latest modified stamp pulled, by the clocks of the CRMs
-- first_run_pull_no: last pull of the first proven run; null on the first run
-- last_run_pull_no: last pull of the last proven run; what came with a later pull is new. Null on the first run
-- due: always
create or replace table staging.clock as
with stamp as (
    select greatest(
        (select max(main.utc(system_modstamp)) from raw.salesforce_lead),
        (select max(main.utc(system_modstamp)) from raw.salesforce_contact),
        (select max(main.utc(updated_at)) from raw.hubspot_contact)) as latest
)
select
    run.as_of,
    main.not_after(stamp.latest, run.as_of) as latest_stamp,
    (select min(last_pull_no) from main.run where verdict in ('pass', 'fail')) as first_run_pull_no,
    (select max(last_pull_no) from main.run where verdict in ('pass', 'fail')) as last_run_pull_no
from stamp
cross join main.run_clock as run;
