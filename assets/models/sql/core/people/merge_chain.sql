-- One row: a merged Salesforce record and a record further up its merge chain.
-- The recursion stops at a cycle, because a pair that is there already is not added again.
--
-- record_id: a record that was merged away
-- ancestor_id: a record it was merged into, directly or through others
-- is_survivor: the ancestor was not merged itself, so the chain ends there. In a cycle no ancestor is
-- slice: record_id
create or replace table core.merge_chain as
with recursive merged as (
    select record_id, merged_into_id from staging.salesforce_record where is_deleted and merged_into_id is not null
),
chain(record_id, ancestor_id) as (
    select record_id, merged_into_id from merged
    union
    select chain.record_id, merged.merged_into_id
    from chain
    inner join merged on merged.record_id = chain.ancestor_id
)
select
    chain.record_id,
    chain.ancestor_id,
    merged.record_id is null as is_survivor
from chain
left join merged on merged.record_id = chain.ancestor_id;
