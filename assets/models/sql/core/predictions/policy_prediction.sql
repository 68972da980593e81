-- One row: a judged moment and what one policy would have predicted for it.
--
-- source: runs or history
-- hubspot_contact_id: the contact
-- moment_at: the moment
-- occasion: first_binding, switch or stay
-- policy: the policy's three knobs: first_sync, follow_up, recency
-- first_sync: which of several records a first sync takes
-- follow_up: whether the binding follows edits of duplicates
-- recency: which stamp says when a record was updated last
-- predicted_id: the record that the policy names; null when it names several
-- actual_id: the record it was
-- is_hit: they are the same; null when the policy names several
-- slice: hubspot_contact_id
create or replace table core.policy_prediction as
with told as (
    select
        judged.source, judged.hubspot_contact_id, judged.moment_at, judged.occasion,
        policy.policy, policy.first_sync, policy.follow_up, policy.recency,
        judged.actual_id, judged.bound_id, judged.first_by[policy.first_sync] as first_id, judged.newest_by[policy.recency] as newest,
        main.follows_edits(policy.follow_up) as follows_edits
    from core.judged_prediction as judged
    cross join core.policy_variant as policy
),
predicted as (
    select
        *,
        case
            when bound_id is null then first_id
            when not follows_edits or len(newest) = 0 then bound_id
            when len(newest) = 1 then newest[1]
        end as predicted_id
    from told
)
select
    source, hubspot_contact_id, moment_at, occasion, policy, first_sync, follow_up, recency, predicted_id, actual_id,
    predicted_id = actual_id as is_hit
from predicted;
