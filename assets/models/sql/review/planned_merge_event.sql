-- One row: what a proven run, or the run that is going on, said of a row of a merge plan, when that was new or another than before.
-- So it stays known which merges were carried out as planned, which against the advice, and what became of them, after their plan is taken away.
--
-- run_id: the run
-- happened_at: as of when that run was, by the clocks of the CRMs
-- plan: the file that the row came in
-- row_no: its row there, from 1
-- master_id: the record that was to stay
-- loser_id: the record that was to go
-- verdict: safe, unsafe, invalid, unknown or done, as in core.planned_merge
-- result: of a merge that was carried out: as_planned, values_lost, pending, moved, sync_broken or contact_deleted; null before
-- hubspot_contact_id: the contact at stake then
-- bound_id: the record it was bound to then
-- lost_fields: the properties whose value the merge replaced
-- due: never, what a run remembers of it is what it said itself
create or replace table review.planned_merge_event as
with remembered as (
    select event.*, run.run_no
    from main.planned_merge_event as event
    inner join main.run as run on run.run_id = event.run_id
    where event.run_id not in (select run_id from main.current_run)
),
latest as (
    select plan, master_id, loser_id, arg_max(verdict, run_no) as verdict, arg_max(struct_pack(result := result), run_no).result as result
    from remembered
    group by plan, master_id, loser_id
),
said as (
    -- a merge that a plan lists twice is one merge
    select * from core.planned_merge
    where row_no > 0
    qualify row_number() over (partition by plan, master_id, loser_id order by row_no) = 1
)
select run_id, happened_at, plan, row_no, master_id, loser_id, verdict, result, hubspot_contact_id, bound_id, lost_fields
from remembered
union all
select
    run.run_id, run.as_of, said.plan, said.row_no, said.master_id, said.loser_id, said.verdict, said.result, said.hubspot_contact_id, said.bound_id,
    said.lost_fields
from said
cross join main.run_clock as run
left join latest
    on latest.plan = said.plan and latest.master_id is not distinct from said.master_id and latest.loser_id is not distinct from said.loser_id
where latest.plan is null or latest.verdict <> said.verdict or latest.result is distinct from said.result;
