-- What can be made of a merge plan that was judged (merge_check.py): the merges that are safe, the conversions that go before them, and of each row that is in
-- neither why. From main.merge_plan, core.planned_merge and the published snapshot. As tables:
--
-- fixed, one row: a merge into the safe master of its group. group_id, master_id, loser_id
-- converted, one row: a Lead that the plan wants to be one with a Contact, which Salesforce cannot merge (rule 37). group_id, lead_id, contact_id, account_id,
--   enter_before, enter_after, enter_values (as of a step of the run-book), is_bound (a contact is bound to the Lead),
--   reason (null: the conversion costs nobody anything; else as in left_out)
-- left_out, one row: a pair of a row that is in no file. row_no, master_id, loser_id, reason: done (it is one record already), invalid, unknown (as the
--   verdict), beside_invalid (another row of its group is such a one), two_contacts (contacts are bound to several of the records, or would be by the next
--   sync), several_masters (no single record is safe as the master), outside (the plan does not name the safe master), several_contacts (nothing says
--   which Contact is to stay), bound_lead (a contact is bound to the Lead, and the run-book does not say what the conversion would change), drawn (the
--   conversion makes the Contact the record updated last, and a binding jumps to it, rule 11), fill (what the Lead would fill in the Contact was not
--   compared, or differs), after_conversion (the binding must have moved along with the Lead first: judge it again then)
create or replace table main.member as
select distinct listed.group_id, listed.record_id, person.object_type, person.state, person.email, person.account_id, contact.contact_id as holder_id
from core.merge_plan_record as listed
inner join published.salesforce_person as person on person.record_id = listed.record_id
left join (
    select bound_id, min_by(contact_id, (length(contact_id), contact_id)) as contact_id
    from published.hubspot_contact where state = 'live' and bound_id is not null group by bound_id
) as contact on contact.bound_id = listed.record_id
where listed.group_id is not null;

create or replace table main.pair as
select
    plan.group_id, plan.row_no, plan.master_id, plan.loser_id, judged.verdict, judged.recommended_master_id, master.object_type as master_type,
    coalesce(
        master.object_type <> loser.object_type and master.state = 'live' and loser.state = 'live' and judged.verdict = 'invalid', false
    ) as is_of_two_kinds
from main.merge_plan as plan
inner join core.planned_merge as judged on judged.plan = plan.plan and judged.row_no = plan.row_no and judged.loser_id = plan.loser_id
left join published.salesforce_person as master on master.record_id = plan.master_id
left join published.salesforce_person as loser on loser.record_id = plan.loser_id;

create or replace table main.plan_group as
with of_members as (
    select
        group_id,
        count(*) filter (where object_type = 'Contact') as contacts,
        count(*) filter (where object_type = 'Lead') as leads,
        any_value(record_id) filter (where object_type = 'Contact') as a_contact,
        count(*) filter (where holder_id is not null) as bound,
        any_value(record_id) filter (where holder_id is not null and object_type = 'Lead') as bound_lead
    from main.member group by group_id
),
of_pairs as (
    -- no row that Salesforce would refuse for another reason than its order, or its objects
    select
        group_id,
        bool_and(verdict in ('safe', 'unsafe') or is_of_two_kinds) as is_sound,
        count(distinct recommended_master_id) filter (where not is_of_two_kinds) as masters,
        bool_or(recommended_master_id is null) filter (where not is_of_two_kinds) as has_none,
        min(recommended_master_id) filter (where not is_of_two_kinds) as safe_master,
        list_distinct(flatten(list([master_id, loser_id]) filter (where not is_of_two_kinds and master_type = 'Contact'))) as merged_contacts
    from main.pair where group_id is not null group by group_id
)
select
    of_members.*, of_pairs.is_sound, of_pairs.safe_master, of_pairs.masters, coalesce(of_pairs.has_none, false) as has_none,
    of_members.contacts > 0 and of_members.leads > 0 as is_mixed,
    of_pairs.safe_master in (select record_id from main.member as member where member.group_id = of_members.group_id) as names_it,
    -- into which Contact its Leads are to be converted
    case
        when of_members.contacts = 0 or of_members.leads = 0 then null
        when of_members.contacts = 1 then of_members.a_contact
        when of_pairs.masters = 1 and starts_with(of_pairs.safe_master, '003') and len(of_pairs.merged_contacts) = of_members.contacts then of_pairs.safe_master
    end as target_id
from of_members
inner join of_pairs on of_pairs.group_id = of_members.group_id;

create or replace table main.converted as
with advised as (
    -- what people must do ends what a file can do
    select loser_id, master_id, enter_before, enter_after, enter_values
    from (
        select *, bool_or(action in ('manual', 'change_email')) over (partition by book order by step) as is_by_people from published.merge_advice
    )
    where action = 'convert' and not is_by_people
    qualify row_number() over (partition by loser_id, master_id order by step) = 1
),
wanted as (
    select
        lead.group_id, lead.record_id as lead_id, lead.holder_id, lead.state as lead_state, target.record_id as contact_id, target.account_id,
        target.holder_id as target_holder_id, target.email as target_email, plan_group.bound, advised.loser_id is not null as is_advised,
        coalesce(advised.enter_before, []) as enter_before, coalesce(advised.enter_after, []) as enter_after, coalesce(advised.enter_values, []) as enter_values
    from main.plan_group as plan_group
    inner join main.member as lead on lead.group_id = plan_group.group_id and lead.object_type = 'Lead'
    inner join main.member as target on target.group_id = plan_group.group_id and target.record_id = plan_group.target_id
    left join advised on advised.loser_id = lead.record_id and advised.master_id = target.record_id
    where plan_group.is_sound
),
follows as (
    -- bound Leads whose binding moves along with them (rule 29)
    select lead_id, contact_id from wanted where is_advised and holder_id is not null and bound = 1
),
watching as (
    -- contacts that could be bound to the Contact once the conversion has made it the record updated last; bound_id: the live record they are bound to now
    select wanted.lead_id, wanted.contact_id, coalesce(wanted.target_holder_id, wanted.holder_id) as holder_id, binding.hubspot_contact_id,
        case when binding.bound_state = 'live' then binding.bound_id end as bound_id
    from wanted
    inner join (
        select hubspot_contact_id, bound_state, bound_id, unnest(candidate_ids) as record_id from published.binding
        where bound_state <> 'live' or switch_is_possible
    ) as binding on binding.record_id = case when main.is_blank(wanted.target_email) then wanted.lead_id else wanted.contact_id end
),
beside as (
    select lead_id from watching where bound_id is null and holder_id is not null and holder_id <> hubspot_contact_id
    union
    -- a contact with another e-mail hangs on the Contact: its next sync may look for one with this e-mail, and make it
    select wanted.lead_id
    from wanted
    inner join published.hubspot_contact as holder on holder.contact_id = wanted.target_holder_id
    where wanted.target_email is not null and holder.email is distinct from wanted.target_email
      and not list_contains(holder.additional_emails, wanted.target_email)
),
drawn as (
    select distinct watching.lead_id
    from watching
    where watching.bound_id <> watching.contact_id
      and not exists (select 1 from follows where follows.lead_id = watching.bound_id and follows.contact_id = watching.contact_id)
),
filled as (
    select wanted.lead_id
    from wanted
    left join published.overwrite as overwrite
        on overwrite.hubspot_contact_id = wanted.target_holder_id and overwrite.rival_id = wanted.lead_id and overwrite.effect = 'overwrite'
        and overwrite.rule in ('always_salesforce', 'two_way')
    left join published.rival as rival on rival.hubspot_contact_id = wanted.target_holder_id and rival.rival_id = wanted.lead_id
    where wanted.target_holder_id is not null
      and exists (select 1 from published.mapped_field where rule in ('always_salesforce', 'two_way') and property <> 'salesforceownerid')
      and (overwrite.property is not null or rival.rival_id is null)
    group by wanted.lead_id
)
select
    group_id, lead_id, contact_id, account_id, enter_before, enter_after, enter_values,
    case
        when bound > 1 or lead_id in (select lead_id from beside) then 'two_contacts'
        when is_advised then null
        when holder_id is not null then 'bound_lead'
        when lead_id in (select lead_id from drawn) then 'drawn'
        when lead_id in (select lead_id from filled) then 'fill'
    end as reason,
    holder_id is not null as is_bound
from wanted;

create or replace table main.fixed as
select member.group_id, plan_group.safe_master as master_id, member.record_id as loser_id
from main.plan_group as plan_group
inner join main.member as member on member.group_id = plan_group.group_id and member.record_id <> plan_group.safe_master
where plan_group.is_sound and plan_group.masters = 1 and not plan_group.has_none and plan_group.names_it
  -- a master that the plan does not name would be a merge that nobody asked for; beside a bound Lead the binding would jump before it is converted
  and (
      not plan_group.is_mixed
      or (plan_group.safe_master = plan_group.target_id and plan_group.bound_lead is null and member.object_type = 'Contact')
  );

create or replace table main.left_out as
with covered as (
    select group_id, master_id as target_id, loser_id as record_id from main.fixed
    union all
    select group_id, contact_id, lead_id from main.converted where reason is null
    union
    select group_id, master_id, master_id from main.fixed
    union
    select group_id, contact_id, contact_id from main.converted where reason is null
),
of_lead as (
    select group_id, lead_id, reason from main.converted where reason is not null
)
select
    pair.row_no, pair.master_id, pair.loser_id,
    case
        when pair.verdict = 'done' then 'done'
        when pair.verdict in ('invalid', 'unknown') and not pair.is_of_two_kinds then pair.verdict
        when not coalesce(plan_group.is_sound, false) then 'beside_invalid'
        when of_loser.reason is not null then of_loser.reason
        when of_master.reason is not null then of_master.reason
        when plan_group.bound > 1 then 'two_contacts'
        when plan_group.is_mixed and plan_group.target_id is null then 'several_contacts'
        when plan_group.is_mixed and plan_group.bound_lead is not null then 'after_conversion'
        when plan_group.masters > 1 then 'several_masters'
        when not coalesce(plan_group.names_it, false) then 'outside'
        else 'several_masters'
    end as reason
from main.pair as pair
left join main.plan_group as plan_group on plan_group.group_id = pair.group_id
left join of_lead as of_loser on of_loser.group_id = pair.group_id and of_loser.lead_id = pair.loser_id
left join of_lead as of_master on of_master.group_id = pair.group_id and of_master.lead_id = pair.master_id
where not (pair.master_id in (select record_id from covered where covered.group_id = pair.group_id)
           and pair.loser_id in (select record_id from covered where covered.group_id = pair.group_id));

-- The values that the run-book has entered in a Contact: before a conversion (is_before), or after it. Those of the bound Lead come first.
create or replace table main.entered as
select converted.contact_id, list_contains(converted.enter_before, entry.property) as is_before, field.salesforce_field,
    first(entry."value" order by converted.is_bound desc, converted.lead_id) as "value"
from (select *, unnest(enter_values) as entry from main.converted where reason is null) as converted
inner join published.mapped_field as field on field.property = entry.property and field.object_type = 'Contact' and field.is_writable
group by all;
