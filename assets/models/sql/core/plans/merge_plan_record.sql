-- One row: a record that a merge plan names, as a master or as a loser.
--
-- plan: the file of the plan
-- group_id: the records that the plan wants to be one, named by the least of their ids; null where the row is malformed or taken away
-- record_id: the record; as handed in where it is malformed
create or replace table core.merge_plan_record as
select plan, group_id, master_id as record_id from core.merge_plan_row
union
select plan, group_id, loser_id from core.merge_plan_row;
