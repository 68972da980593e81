-- One row: a policy that predictions are scored under: every combination of the three knobs that decide which record is next.
--
-- policy: its name, the three knobs in words
-- first_sync: which of several records a first sync takes
-- follow_up: whether the binding follows edits of duplicates
-- recency: which stamp says when a record was updated last
-- is_configured: it is the one in bindwatch.toml
create or replace table core.policy_variant as
select
    concat_ws(', ', first_sync.value, follow_up.value, recency.value) as policy,
    first_sync.value as first_sync,
    follow_up.value as follow_up,
    recency.value as recency,
    first_sync.value = policy.first_sync and follow_up.value = policy.follow_up and recency.value = policy.recency as is_configured
from staging.knob_value as first_sync
cross join staging.knob_value as follow_up
cross join staging.knob_value as recency
cross join main.policy as policy
where first_sync.knob = 'policy.first_sync' and follow_up.knob = 'policy.follow_up' and recency.knob = 'policy.recency';
