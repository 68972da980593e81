-- One row: a Salesforce record that was deleted or merged away.
--
-- record_id: the record
-- departed_at: its SystemModstamp when it was first seen gone
-- is_new: first seen gone after the last proven run; false on the first run
create or replace table core.departure as
with version as (
    select record_id, system_modstamp, pull_no from raw.salesforce_lead where main.is_true(is_deleted)
    union all
    select record_id, system_modstamp, pull_no from raw.salesforce_contact where main.is_true(is_deleted)
)
select
    version.record_id,
    main.utc(min_by(version.system_modstamp, version.pull_no)) as departed_at,
    coalesce(min(version.pull_no) > any_value(clock.last_run_pull_no), false) as is_new
from version
inner join core.salesforce_person as person on person.record_id = version.record_id and person.state in ('deleted', 'merged')
cross join staging.clock as clock
group by version.record_id;
