-- One row: a merge that is to be judged, or looked at again: a row of a plan in the home's folder, or one that a run judged and whose plan was taken
-- away since.
--
-- plan: the file it came in
-- row_no: its row there, from 1; 0 stands for a file that cannot be read
-- master_id: the record that is to stay, 18 characters; as handed in where it is malformed
-- loser_id: the record that is to go, likewise
-- group_id: the records that the plan wants to be one, named by the least of their ids; null where it is malformed or taken away
-- is_circular: the plan leads from the loser back to it
-- gone_in_row: the row before that merges one of the two away
-- problem: why the file cannot be read
-- problem_de: the same in German
-- could_be_plan: of such a file: somebody may take it for a plan; false: a picture, a note
-- master_fault: what is wrong with the id of the master (main.id_fault); null: nothing
-- loser_fault: likewise
-- is_taken_away: its plan is in the folder no more
-- due: select min(happened_at) + main.hubspot_keeps() from main.planned_merge_event
--   where happened_at + main.hubspot_keeps() >= (select as_of from staging.clock)
-- due: select as_of from staging.clock where exists (
--   select 1 from review.planned_merge_event where run_id in (select run_id from main.current_run))
create or replace table core.merge_plan_row as
with listed as (
    select *, main.id_fault(master_id) as master_fault, main.id_fault(loser_id) as loser_fault from main.merge_plan
),
taken_away as (
    -- rows that a run judged, and that are in the folder no more: they are looked at until they turned out as planned, or nothing new was to be said
    -- of them for 90 days. Then HubSpot's recycle bin is empty (rule 34)
    select remembered.plan, remembered.master_id, remembered.loser_id, arg_max(remembered.row_no, run.run_no) as row_no
    from main.planned_merge_event as remembered
    inner join main.run as run on run.run_id = remembered.run_id
    anti join listed
        on listed.plan = remembered.plan and listed.master_id is not distinct from remembered.master_id
        and listed.loser_id is not distinct from remembered.loser_id
    group by remembered.plan, remembered.master_id, remembered.loser_id
    having arg_max(coalesce(remembered.result, ''), run.run_no) <> 'as_planned'
       and max(remembered.happened_at) > (select as_of - main.hubspot_keeps() from staging.clock)
)
select
    plan, row_no, master_id, loser_id, group_id, is_circular, gone_in_row, problem, problem_de, could_be_plan, master_fault, loser_fault,
    false as is_taken_away
from listed
union all
select plan, row_no, master_id, loser_id, null, false, null, null, null, null, null, null, true from taken_away;
