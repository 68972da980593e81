-- What the files of a basket hold (basket_files.py), from basket_choice (case_id, hubspot_contact_id, property, value, seen) and the published snapshot.
-- As temporary tables of the reader's connection:
--
-- basket_case_book, one row: a case and a run-book that says what to do about it. case_id, case_rank, book
-- basket_step, one row: a merge or conversion. case_id, case_rank, book, step, action, master_id, loser_id, merge_no, account_id (of the Contact that a Lead
--   is converted into), hubspot_contact_id, display_name, account_name
-- basket_value, one row: a value to be entered. stage (enter, enter_after: in the Salesforce record record_id as salesforce_field; hubspot: in the contact),
--   property, value, value_before (what stands there now), source (chosen; typed or hubspot: of the run-book), and whose it is
-- basket_saved, one row: a bound record that is saved again (record_id, last_name), because something is entered in another one beside it
-- basket_done, one row: a choice that is true by now (case_id, hubspot_contact_id, property)
-- basket_left_out, one row: a value, a step or a case that no file holds. case_id, case_rank, hubspot_contact_id, display_name, account_name, step,
--   what (value,
--   merge, convert, manual, change_email, case), name (the property), reason: no_case (nothing about it is open any more), contact_gone, changed_since (the
--   contact has another value than when it was chosen), of_account (nobody can write it in the bound record, whose value would win), read_only (an opt-out
--   that is to be taken back), not_bound (an owner, and no record to tell), decision (a step that people must do: who is who, which e-mail), waits (for such a
--   step)
-- basket_remaining, one row: a finding of these cases that stays open when all files are carried out. case_id, case_rank, hubspot_contact_id, display_name,
--   account_name, what (finding), name (the check), reason: not_chosen (a jump took values of which nobody has chosen what is to be there), steps (the steps of
--   the case are not taken, or wait for people), people (neither steps nor values end it)
-- basket_accepted, one row: a finding about values that spread from one record to another, which the steps make one: whoever takes them says that both are
--   one person, so what spread may stay. case_id, fingerprint
create or replace temp table basket_case as
select
    chosen.case_id, any_value(person.rank) as case_rank, any_value(person.email) as email, any_value(person.hubspot_contact_ids) as hubspot_contact_ids,
    any_value(person.display_name) as display_name, any_value(person.account_name) as account_name, bool_or(person.case_id is not null) as is_open
from basket_choice as chosen
left join published.person_case as person on person.case_id = chosen.case_id
group by chosen.case_id;

create or replace temp table basket_case_book as
select distinct found.case_id, found.case_rank, advice.book
from basket_case as found
inner join published.merge_advice as advice
    on advice.email = found.email and (not starts_with(advice.book, '#') or list_contains(found.hubspot_contact_ids, advice.hubspot_contact_id));

-- A run-book that two cases share is taken once, with the more urgent one.
create or replace temp table basket_book as
select book, arg_min(case_id, (case_rank, case_id)) as case_id
from basket_case_book
where case_id in (select case_id from basket_choice where property is null)
group by book;

create or replace temp table basket_advice as
select
    found.*, advice.* exclude (email, reason, reason_de), person.account_id,
    -- what people must do ends what files can do
    bool_or(advice.action in ('manual', 'change_email')) over (partition by advice.book order by advice.step) as is_by_people
from basket_book as book
inner join basket_case as found on found.case_id = book.case_id
inner join published.merge_advice as advice on advice.book = book.book
left join published.salesforce_person as person on person.record_id = advice.master_id;

create or replace temp table basket_step as
select
    case_id, case_rank, book, step, action, master_id, loser_id, merge_no, account_id, hubspot_contact_id, display_name, account_name
from basket_advice
where action in ('merge', 'convert') and not is_by_people;

-- Where each contact is bound when the conversions are done.
create or replace temp table basket_target as
select
    binding.hubspot_contact_id, coalesce(step.master_id, binding.bound_id) as record_id, step.master_id is not null as is_after_conversion,
    main.type_of_record(coalesce(step.master_id, binding.bound_id)) as object_type
from published.binding as binding
left join basket_step as step on step.action = 'convert' and step.loser_id = binding.bound_id
where binding.bound_state = 'live'
  and binding.hubspot_contact_id in (select hubspot_contact_id from basket_choice union select hubspot_contact_id from basket_step);

create or replace temp table basket_wanted as
select
    found.case_id, found.case_rank, found.display_name, found.account_name, found.is_open,
    chosen.hubspot_contact_id, chosen.property, chosen."value", chosen.seen,
    contact.state, detail.contact_id is not null as has_detail, detail.properties[chosen.property] as hubspot_value, target.record_id,
    target.is_after_conversion,
    field.salesforce_field, field.is_writable, field.rule, record.fields[field.salesforce_field] as salesforce_value,
    property.kind, property.hubspot_labels, field.salesforce_labels,
    main.same_value(chosen."value", detail.properties[chosen.property], coalesce(field.kind, property.kind), property.hubspot_labels, property.hubspot_labels)
        as is_in_hubspot,
    main.same_value(chosen."value", record.fields[field.salesforce_field], field.kind, property.hubspot_labels, field.salesforce_labels) as is_in_salesforce,
    coalesce(struct_extract(main.mapping_rule(field.rule), 'salesforce_wins') or chosen.property = 'salesforceownerid', false) as salesforce_wins
from basket_choice as chosen
inner join basket_case as found on found.case_id = chosen.case_id
left join published.hubspot_contact as contact on contact.contact_id = chosen.hubspot_contact_id
left join published.contact_detail as detail on detail.contact_id = chosen.hubspot_contact_id
left join basket_target as target on target.hubspot_contact_id = chosen.hubspot_contact_id
left join published.mapped_property as property on property.property = chosen.property
left join published.mapped_field as field on field.property = chosen.property and field.object_type = target.object_type
left join published.record_detail as record on record.record_id = target.record_id
where chosen.property is not null;

create or replace temp table basket_judged as
select
    *,
    case
        -- its values are not published any more
        when not is_open and not has_detail then 'no_case'
        when state is distinct from 'live' then 'contact_gone'
        -- HubSpot is told the owner by Salesforce alone
        when (is_in_hubspot or property = 'salesforceownerid') and (not salesforce_wins or is_in_salesforce) then 'done'
        when coalesce(main.canonical_text(hubspot_value), '') <> coalesce(main.canonical_text(seen), '') then 'changed_since'
        when property = 'hs_email_optout' and lower("value") in ('false', '') then 'read_only'
        when salesforce_wins and not is_writable and not is_in_salesforce then 'of_account'
        when property = 'salesforceownerid' and record_id is null then 'not_bound'
    end as reason
from basket_wanted;

create or replace temp table basket_value as
with entered as (
    -- of the run-book
    select
        advice.case_id, advice.case_rank, advice.hubspot_contact_id, advice.display_name, advice.account_name, advice.book, advice.step,
        case when list_contains(advice.enter_before, entered.property) then 'enter' else 'enter_after' end as stage, advice.master_id as record_id,
        entered.property, entered."value", entered.source
    from (select *, unnest(enter_values) as entered from basket_advice) as advice
    inner join basket_step as step on step.book = advice.book and step.step = advice.step
),
of_record as (
    select
        case_id, case_rank, hubspot_contact_id, display_name, account_name, case when is_after_conversion then 'enter_after' else 'enter' end as stage,
        record_id,
        property, salesforce_field, "value", salesforce_value as value_before, 'chosen' as source
    from basket_judged
    -- after a conversion the Contact's own value wins, whatever the rule
    where reason is null and is_writable and record_id is not null and (salesforce_wins or is_after_conversion) and not coalesce(is_in_salesforce, false)
    union all by name
    select
        entered.* exclude (book, step), field.salesforce_field, record.fields[field.salesforce_field] as value_before
    from entered
    inner join published.mapped_field as field
        on field.property = entered.property and field.object_type = main.type_of_record(entered.record_id)
        and field.is_writable
    left join published.record_detail as record on record.record_id = entered.record_id
    -- what somebody chose goes before what the run-book proposes
    anti join basket_judged as chosen
        on chosen.property = entered.property and chosen.record_id = entered.record_id and chosen.reason is null
)
from of_record
union all by name
select
    case_id, case_rank, hubspot_contact_id, display_name, account_name, 'hubspot' as stage, cast(null as varchar) as record_id, property,
    cast(null as varchar) as salesforce_field, "value", hubspot_value as value_before, 'chosen' as source
from basket_judged
where reason is null and property <> 'salesforceownerid' and not coalesce(is_in_hubspot, false);

-- Right after something was entered beside it. The conversion follows; until then the binding must not move.
create or replace temp table basket_saved as
select distinct binding.bound_id as record_id, record.fields['LastName'] as last_name
from basket_value as entered
inner join published.binding as binding on binding.hubspot_contact_id = entered.hubspot_contact_id and binding.bound_state = 'live'
inner join published.record_detail as record on record.record_id = binding.bound_id
where entered.stage = 'enter' and entered.record_id <> binding.bound_id;

create or replace temp table basket_done as
select case_id, hubspot_contact_id, property from basket_judged where reason = 'done';

create or replace temp table basket_left_out as
select case_id, case_rank, hubspot_contact_id, display_name, account_name, cast(null as bigint) as step, 'value' as what, property as name, reason
from basket_judged
where reason <> 'done'
union all by name
select
    case_id, case_rank, hubspot_contact_id, display_name, account_name, step, action as what, cast(null as varchar) as name,
    case when action in ('manual', 'change_email') then 'decision' else 'waits' end as reason
from basket_advice
where is_by_people
union all by name
select case_id, case_rank, hubspot_contact_ids[1] as hubspot_contact_id, display_name, account_name, 'case' as what, 'no_case' as reason
from basket_case
where not is_open and case_id not in (select case_id from basket_judged where reason = 'no_case');

create or replace temp table basket_finding as
select
    found.*, finding.fingerprint, finding.check_name, finding.hubspot_contact_id as contact_id, finding.salesforce_id,
    finding.rival_ids, finding.fields_at_risk
from basket_case as found
inner join (select case_id, unnest(fingerprints) as fingerprint from published.person_case) as held on held.case_id = found.case_id
inner join published.finding as finding on finding.fingerprint = held.fingerprint
where finding.status <> 'waived';

create or replace temp table basket_accepted as
with made_one as (
    select record_ids, unnest(record_ids) as record_id
    from (select list_distinct(list(master_id) || list(loser_id)) as record_ids from basket_step group by book)
)
select distinct finding.case_id, finding.fingerprint
from basket_finding as finding
inner join made_one on made_one.record_id = finding.salesforce_id and list_has_all(made_one.record_ids, finding.rival_ids)
where finding.check_name = 'backfill_contamination';

create or replace temp table basket_remaining as
with answered as (
    -- checks whose advice is the run-book
    select unnest([
        'switch_imminent', 'ambiguous_first_binding', 'latent_duplicate', 'switchable_duplicate', 'unsafe_duplicate', 'consent_at_risk', 'opt_out_imminent'
    ]) as check_name
),
missing as (
    -- what a jump took, is not there again, and of which nobody chose
    select value.hubspot_contact_id, list(value.property) as properties
    from published.restorable_value as value
    anti join basket_choice as chosen on chosen.hubspot_contact_id = value.hubspot_contact_id and chosen.property = value.property
    where value.status in ('restore', 'unclear')
    group by value.hubspot_contact_id
)
select
    held.case_id, held.case_rank, held.contact_id as hubspot_contact_id, held.display_name, held.account_name, 'finding' as what, held.check_name as name,
    case when held.check_name = 'switch_happened' then 'not_chosen' when held.check_name in (from answered) then 'steps' else 'people' end as reason
from basket_finding as held
left join missing on missing.hubspot_contact_id = held.contact_id
left join (select case_id, bool_or(is_by_people) as is_by_people from basket_advice group by case_id) as steps on steps.case_id = held.case_id
where case
    when held.check_name = 'switch_happened' then list_has_any(coalesce(missing.properties, []), held.fields_at_risk)
    when held.check_name in (from answered) then coalesce(steps.is_by_people, true)
    else held.fingerprint not in (select fingerprint from basket_accepted)
end;
