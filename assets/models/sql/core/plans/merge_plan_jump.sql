-- One row: a planned merge that would draw a contact away from a record that the plan leaves out. The contact could be bound to the master; the merge
-- makes that the record updated last, and the binding jumps there (rule 11).
--
-- plan: the file of the plan
-- row_no: the row of the merge
-- loser_id: its loser
-- hubspot_contact_id: the contact; of several the one that would lose most
-- bound_id: the record it is bound to
-- bound_type: Lead or Contact
-- is_shared_mailbox: their e-mail is one that different people seem to use
-- is_compared: master and loser are both rivals of the contact's record, so that their values were compared (core.rival)
-- properties: what the jump would change; empty where nothing, or where they were not compared
create or replace table core.merge_plan_jump as
with candidate as (
    select contact_id, bound_id, record_id
    from (
        select hubspot_contact_id as contact_id, bound_id, unnest(candidate_ids) as record_id
        from core.binding
        where bound_state = 'live' and len(candidate_ids) > 1
    )
    where record_id in (select record_id from core.merge_plan_record)
),
watching as (
    select
        planned.plan, planned.row_no, planned.master_id, planned.loser_id, candidate.contact_id, candidate.bound_id, bound.object_type as bound_type,
        coalesce(cluster.is_shared_mailbox, false) as is_shared_mailbox,
        exists (select 1 from core.rival as rival where rival.hubspot_contact_id = candidate.contact_id and rival.rival_id = planned.master_id)
            and exists (select 1 from core.rival as rival where rival.hubspot_contact_id = candidate.contact_id and rival.rival_id = planned.loser_id)
            as is_compared
    from core.merge_plan_row as planned
    inner join core.salesforce_person as master on master.record_id = planned.master_id
    inner join core.salesforce_person as loser on loser.record_id = planned.loser_id
    -- a master without an e-mail takes the loser's
    inner join candidate on candidate.record_id = case when main.is_blank(master.email_raw) then planned.loser_id else planned.master_id end
    inner join core.hubspot_contact as contact on contact.contact_id = candidate.contact_id and contact.is_in_scope
    inner join core.salesforce_person as bound on bound.record_id = candidate.bound_id
    left join core.duplicate_cluster as cluster on cluster.email = coalesce(master.email, loser.email)
    left join core.merge_plan_record as in_group
        on in_group.plan = planned.plan and in_group.group_id = planned.group_id and in_group.record_id = candidate.bound_id
    cross join main.policy as policy
    where main.follows_edits(policy.follow_up) and in_group.record_id is null and planned.group_id is not null
),
jump as (
    -- what a switch to either of the two would change
    select
        watching.plan, watching.row_no, watching.loser_id, watching.contact_id, overwrite.property, any_value(overwrite.rule) as rule,
        any_value(overwrite.effect) filter (where overwrite.rival_id = watching.master_id) as of_master,
        any_value(overwrite.effect) filter (where overwrite.rival_id = watching.loser_id) as of_loser
    from watching
    inner join core.overwrite as overwrite
        on overwrite.hubspot_contact_id = watching.contact_id and list_contains([watching.master_id, watching.loser_id], overwrite.rival_id)
    where overwrite.effect <> 'fill'
    group by watching.plan, watching.row_no, watching.loser_id, watching.contact_id, overwrite.property
),
at_risk as (
    -- a merge fills the master's blanks from the loser. Where a rule lets a blank stand, a blank master and one with HubSpot's value look the same
    -- here; the worse of the two is taken
    select plan, row_no, loser_id, contact_id, list(property order by property) as properties
    from jump
    where of_master = 'overwrite' or (of_loser is not null and (of_master is not null or not struct_extract(main.mapping_rule(rule), 'fills_blank')))
    group by plan, row_no, loser_id, contact_id
)
-- of several such contacts the one that loses most
select
    watching.plan, watching.row_no, watching.loser_id, watching.contact_id as hubspot_contact_id, watching.bound_id, watching.bound_type,
    watching.is_shared_mailbox, watching.is_compared, coalesce(at_risk.properties, cast([] as varchar[])) as properties
from watching
left join at_risk
    on at_risk.plan = watching.plan and at_risk.row_no = watching.row_no and at_risk.loser_id = watching.loser_id
    and at_risk.contact_id = watching.contact_id
qualify row_number() over (
    partition by watching.plan, watching.row_no, watching.loser_id
    order by len(at_risk.properties) desc nulls last, watching.is_compared, length(watching.contact_id), watching.contact_id) = 1;
