-- One row: a Salesforce record that was deleted or merged away.
--
-- record_id: the record
-- departed_at: its SystemModstamp when it was first seen gone
-- is_new: first seen gone after the last proven run; false on the first run
-- pull_no: the pull that first saw it gone
-- slice: record_id
-- due: select as_of from staging.clock where exists (select 1 from core.departure where is_new)
create or replace table core.departure as
select
    version.record_id,
    min_by(version.modified_at, version.pull_no) as departed_at,
    coalesce(min(version.pull_no) > any_value(clock.last_run_pull_no), false) as is_new,
    min(version.pull_no) as pull_no
from staging.salesforce_version as version
inner join core.salesforce_person as person on person.record_id = version.record_id and person.state in ('deleted', 'merged')
cross join staging.clock as clock
where version.is_deleted
group by version.record_id;
