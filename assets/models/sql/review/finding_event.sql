-- One row: something that happened to a finding in a proven run, or in the run that is going on.
--
-- run_id: the run
-- happened_at: as of when that run was, by the clocks of the CRMs
-- fingerprint: the finding
-- check_name: its check
-- event: new, reopened, worsened, changed, resolved, replaced (see review.finding), waiver_lapsed
-- detail: for a waiver that lapsed why: date or facts; otherwise the severity at that moment
-- due: never, a run that builds anything builds review.finding
create or replace table review.finding_event as
select run_id, happened_at, fingerprint, check_name, event, detail
from main.finding_event
where run_id not in (select run_id from main.current_run)
union all
select run.run_id, run.as_of, finding.fingerprint, finding.check_name, finding.change, finding.severity
from review.finding as finding
cross join main.run_clock as run
where finding.change is not null
union all
select run.run_id, run.as_of, finding.fingerprint, finding.check_name, 'waiver_lapsed', finding.waiver_lapsed
from review.finding as finding
cross join main.run_clock as run
left join main.ledger as ledger on ledger.fingerprint = finding.fingerprint
where finding.waiver_lapsed is not null and ledger.waiver_lapsed is null;
