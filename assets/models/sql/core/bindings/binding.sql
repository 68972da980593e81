-- One row: a live HubSpot contact, the record it is bound to, and the record it will be bound to once the integration has processed
-- all that is in Salesforce now. The procedure is docs/prediction.md; the branch numbers below are its numbers.
--
-- hubspot_contact_id: the contact
-- email: its primary e-mail as compared
-- bound_id: the record it is bound to
-- bound_state: live, converted, merged, deleted, vanished, unknown (in no pull, or the id is malformed), none
-- prediction: keep, bind, switch, create_lead, create_contact, none, ambiguous
-- predicted_id: the record of a keep, bind or switch; null otherwise
-- rule: the rule it rests on, by its number in docs/integration.md
-- basis: documented, observed or inferred
-- confidence: high, medium or low
-- candidate_ids: all records it could be bound to, oldest first
-- switch_is_possible: the policy lets a duplicate take over, the contact is in the inclusion list, and it is not about to go itself
-- rests_on_set_aside: it, its bound record or one of its candidates cannot be read, and a person accepted that
-- slice: hubspot_contact_id
create or replace table core.binding as
with accepted as (
    select record_id from core.record_set_aside where is_accepted
),
set_aside as (
    select candidate.hubspot_contact_id from core.candidate as candidate inner join accepted on accepted.record_id = candidate.record_id
    union
    select contact_id from core.hubspot_contact where contact_id in (select record_id from accepted)
    union
    select contact_id from core.hubspot_contact where bound_id in (select record_id from accepted)
),
sole as (
    -- most contacts have one candidate
    select hubspot_contact_id, min(record_id) as record_id, bool_or(matches_email) as matches_email, bool_or(is_bound) as is_bound
    from core.candidate
    group by hubspot_contact_id
    having count(*) = 1
),
input as (
    select
        contact.contact_id,
        contact.email,
        contact.bound_id,
        contact.is_in_scope,
        case
            when contact.bound_id is not null then coalesce(bound.state, 'unknown')
            when contact.lead_id_raw is not null or contact.contact_id_raw is not null then 'unknown'
            else 'none'
        end as bound_state,
        heir.record_id as heir_id,   -- the live Contact that a converted Lead stands for today
        coalesce(choice.candidate_ids, case when sole.record_id is not null then [sole.record_id] end, cast([] as varchar[])) as candidate_ids,
        coalesce(choice.matching, case when sole.matches_email then 1 else 0 end) as matching,
        choice.hubspot_contact_id is not null or not coalesce(sole.is_bound, true) as has_others,
        coalesce(choice.first_by[policy.first_sync], case when sole.matches_email then sole.record_id end) as first_id,
        choice.newest_by[policy.recency] as newest,
        set_aside.hubspot_contact_id is not null as rests_on_set_aside,
        main.follows_edits(policy.follow_up) as follows_edits,
        main.created_object(policy.create_object) as created_object,
        main.contact_goes_along(bound.object_type, policy.on_lead_deleted, policy.on_contact_deleted) as goes_along
    from core.hubspot_contact as contact
    left join core.salesforce_person as bound on bound.record_id = contact.bound_id
    left join core.salesforce_person as converted on converted.record_id = bound.converted_contact_id and bound.state = 'converted'
    left join core.salesforce_person as heir
        on heir.record_id = coalesce(converted.survivor_id, converted.record_id) and heir.state = 'live'
    left join sole on sole.hubspot_contact_id = contact.contact_id
    left join core.choice as choice on choice.hubspot_contact_id = contact.contact_id
    left join set_aside on set_aside.hubspot_contact_id = contact.contact_id
    cross join main.policy as policy
    where contact.state = 'live'
),
branch as (
    select
        *,
        case
            when rests_on_set_aside then '0'
            when email is null then '1'
            when not is_in_scope then '2'
            when bound_state = 'live' then
                case
                    when not has_others then '3 alone'
                    when not follows_edits then '3 sticky'
                    when len(newest) = 0 or (len(newest) = 1 and newest[1] = bound_id) then '3 settled'
                    when len(newest) = 1 then '3 switch'
                    else '3 tie'
                end
            when heir_id is not null then '4'
            else '5'
        end as branch,
        -- a malformed id names no record, but somebody was bound: that is not "never bound"
        bound_state not in ('live', 'none') as is_lost
    from input
),
decided as (
    select
        *,
        case
            when branch = '0' then 'ambiguous'
            when branch = '1' then case when bound_state = 'live' then 'keep' else 'none' end
            when branch = '2' then case when bound_id is not null then 'keep' else 'none' end
            when branch in ('3 alone', '3 sticky', '3 settled') then 'keep'
            when branch in ('3 switch', '4') then 'switch'
            when branch = '3 tie' then 'ambiguous'
            when bound_state in ('deleted', 'merged') and goes_along then 'none'
            when matching = 0 then created_object
            when first_id is not null then 'bind'
            else 'ambiguous'
        end as prediction
    from branch
)
select
    contact_id as hubspot_contact_id,
    email,
    bound_id,
    bound_state,
    prediction,
    case
        when prediction = 'keep' then bound_id
        when prediction = 'switch' then case branch when '4' then heir_id else newest[1] end
        when prediction = 'bind' then first_id
    end as predicted_id,
    case
        when branch = '1' then 1
        when branch = '2' then 21
        when branch in ('3 alone', '3 settled') then 15
        when branch in ('3 sticky', '3 switch') then 11
        when branch in ('0', '3 tie') then 17
        when branch = '4' then 29
        when is_lost then 33
        when matching = 0 then 6
        when matching = 1 then 5
        else 7
    end as rule,
    case
        when branch in ('0', '3 tie') or (branch = '5' and is_lost) then 'inferred'
        when branch = '5' and matching > 1 then 'observed'
        else 'documented'
    end as basis,
    case
        when branch = '0' then 'low'
        when branch in ('1', '3 alone') then 'high'
        when branch in ('2', '3 settled', '3 switch', '4') then 'medium'
        when branch in ('3 sticky', '3 tie') or is_lost then 'low'
        when matching = 0 then 'medium'
        when matching = 1 then 'high'
        else 'low'
    end as confidence,
    candidate_ids,
    follows_edits and is_in_scope and prediction <> 'none' as switch_is_possible,
    rests_on_set_aside
from decided;
