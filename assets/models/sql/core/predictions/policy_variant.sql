-- One row: a policy that predictions are scored under: every combination of the three knobs that decide which record is next.
--
-- policy: its name, the three knobs in words
-- first_sync: oldest_created, contact_first or unknown
-- follow_up: most_recent or sticky
-- recency: system_modstamp or last_modified_date
-- is_configured: it is the one in bindwatch.toml
create or replace table core.policy_variant as
with variant as (
    select first_sync, follow_up, recency
    from (select unnest(['oldest_created', 'contact_first', 'unknown']) as first_sync) as a
    cross join (select unnest(['most_recent', 'sticky']) as follow_up) as b
    cross join (select unnest(['system_modstamp', 'last_modified_date']) as recency) as c
)
select
    concat_ws(', ', variant.first_sync, variant.follow_up, variant.recency) as policy,
    variant.first_sync,
    variant.follow_up,
    variant.recency,
    variant.first_sync = policy.first_sync and variant.follow_up = policy.follow_up and variant.recency = policy.recency as is_configured
from variant
cross join main.policy as policy;
