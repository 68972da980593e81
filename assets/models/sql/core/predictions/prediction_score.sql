-- One row: a policy and how often it was right, by source. See core.judged_prediction for what counts.
--
-- policy: the policy's three knobs: first_sync, follow_up, recency
-- source: history (the id history that is in HubSpot now), runs (predictions that runs stored, judged by the next one)
-- predictions: moments judged for which the policy names one record
-- hits: it was that one
-- ambiguous: moments judged for which the policy names several
-- hit_rate: hits of predictions; null without any
-- low: lower end of the 95 % Wilson interval of the hit rate
-- high: its upper end
-- due: never, what a run adds to the tally was in its own score
create or replace table core.prediction_score as
with judged as (
    select policy, source, count(is_hit) as predictions, count(*) filter (where is_hit) as hits, count(*) filter (where is_hit is null) as ambiguous
    from core.policy_prediction
    group by policy, source
    union all
    -- runs before this one
    select policy, 'runs' as source, predictions, hits, ambiguous
    from main.prediction_tally
    where run_id not in (select run_id from main.current_run)
),
every as (
    select policy.policy, source.source
    from core.policy_variant as policy
    cross join (select unnest(['history', 'runs']) as source) as source
),
total as (
    select
        every.policy,
        every.source,
        coalesce(sum(judged.predictions), 0)::bigint as predictions,
        coalesce(sum(judged.hits), 0)::bigint as hits,
        coalesce(sum(judged.ambiguous), 0)::bigint as ambiguous
    from every
    left join judged on judged.policy = every.policy and judged.source = every.source
    group by every.policy, every.source
),
rated as (
    select *, case when predictions > 0 then hits / predictions end as hit_rate, 1.959964 as z from total
),
wilson as (
    select
        *,
        (hit_rate + z * z / (2 * predictions)) / (1 + z * z / predictions) as centre,
        z * sqrt(hit_rate * (1 - hit_rate) / predictions + z * z / (4 * predictions * predictions)) / (1 + z * z / predictions) as reach
    from rated
)
select
    policy,
    source,
    predictions,
    hits,
    ambiguous,
    hit_rate,
    -- none and all are the ends themselves, which a sum of rounded numbers misses
    case when predictions = 0 then null when hits = 0 then 0 else greatest(0, centre - reach) end as low,
    case when predictions = 0 then null when hits = predictions then 1 else least(1, centre + reach) end as high
from wilson;
