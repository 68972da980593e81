-- One row: a mapped value of a HubSpot contact that switches or wrong Salesforce merges replaced, and what can be done about it.
-- Put back is the last value that did not itself come with a switch from another record and was not typed since. A person's word ends what
-- switches did before: an edit in either CRM, the edit that made the contact jump (core.value_origin), and that somebody accepted what is there.
-- Conversions are meant to bring the Contact's values, so they are not among the switches. What somebody put back in HubSpot alone, and a sync overwrote again
-- with what the switch had brought (rules 24, 25), was taken a second time.
--
-- hubspot_contact_id: the contact
-- property: the property
-- value_before: what a restore puts back; where there is nothing to put back, what the last switch replaced
-- value_now: its value now
-- switched_at: when that value was replaced
-- last_switched_at: when a switch replaced the property last
-- cause: duplicate_switch, unexplained, salesforce_merge, or bound_again (the binding was cleared, and later another record took its place)
-- from_id: the record that the contact was bound to before
-- to_id: the record that replaced the value
-- source: where the value comes from that the last switch brought: typed, foreign, unclear (core.value_origin)
-- by_user_id: who typed it; null where that is not certain
-- typed_at: when
-- source_before: who had written the value before, in HubSpot's words; null where only the pulled versions show it
-- evidence: history (HubSpot's property history) or versions (what Bindwatch pulled before and after; HubSpot gave no history)
-- status: restore; unclear (to be put back, unless it was typed: people must say); back (it has that value again); edited_later (left alone); awaits_sync
--   (somebody wrote it into the bound record since, and the next sync brings that: left alone); typed (the edit
--   that made the contact jump: left alone); accepted (somebody said that what is there is right); typed_over (what was replaced had been typed, and came
--   with a switch itself: nothing says what is right); brought (what was replaced had come with a switch, and nothing was there before); of_account (nobody
--   can write it in the bound record, which takes it from its account or works it out, and would overwrite it again); read_only (an opt-out: HubSpot
--   lets nobody take it back); contact_gone (archived, merged or vanished: restore the contact first)
-- edited_at: when it was written otherwise last, after the switch or before
-- edited_by: by whom, in HubSpot's words
-- bound_id: the live record that the contact is bound to now; null where it is gone
-- salesforce_field: the field of that record that holds the property
-- salesforce_value: its value
-- must_be_in_salesforce: that value would overwrite HubSpot's with the next sync, so it has to be corrected first (rules 24, 25)
-- can_be_in_hubspot: somebody may write the property there; the Salesforce owner comes from Salesforce alone
-- slice: hubspot_contact_id
create or replace table core.restorable_value as
with switch as (
    select hubspot_contact_id, switched_at, from_id, to_id, cause
    from core.switch_event
    where cause in ('duplicate_switch', 'unexplained', 'salesforce_merge') and from_id is not null and to_id is not null
    union all
    -- a binding that was cleared, as it may be when a contact comes back from the recycle bin, and given to another record afterwards
    select hubspot_contact_id, changed_at, last_id, to_id, 'bound_again'
    from core.binding_history
    where from_id is null and last_id <> to_id and not is_of_hubspot_merge
),
accepted as (
    select fingerprint, case when status = 'accepted' then null else accepted_properties end as properties
    from main.decision
    where status = 'accepted' or accepted_properties is not null
),
of_switch as (
    select
        value.hubspot_contact_id, value.property, value.value_before, value.value_after, value.switched_at, switch.cause, switch.from_id, switch.to_id,
        value.source_before, value.before_came_with_switch, value.evidence,
        coalesce(origin.source, 'unclear') as source, origin.by_user_id, origin.typed_at,
        accepted.fingerprint is not null as is_accepted
    from core.replaced_value as value
    inner join switch
        on switch.hubspot_contact_id = value.hubspot_contact_id and switch.switched_at = value.switched_at
        and value.was_cleared = (switch.cause = 'bound_again')
    left join core.value_origin as origin
        on origin.hubspot_contact_id = value.hubspot_contact_id and origin.switched_at = value.switched_at and origin.property = value.property
        and origin.was_cleared = value.was_cleared
    left join accepted
        on accepted.fingerprint
            = main.event_fingerprint('switch_happened', value.hubspot_contact_id, main.event_of_jump(value.switched_at, switch.to_id))
        and (accepted.properties is null or list_contains(accepted.properties, value.property))
),
version as (
    select
        version.hubspot_contact_id, version.property, version.changed_at, version.value, version.source_type, switch.switched_at,
        lag(version.value) over one_property as value_before,
        lag(version.source_type) over one_property as source_before,
        last_value(case when switch.switched_at is not null then version.value end ignore nulls) over one_property as brought,
        last_value(switch.switched_at ignore nulls) over one_property as brought_at
    from staging.hubspot_property_version as version
    semi join of_switch
        on of_switch.hubspot_contact_id = version.hubspot_contact_id and of_switch.property = version.property and of_switch.evidence = 'history'
    left join switch
        on switch.hubspot_contact_id = version.hubspot_contact_id
        and version.source_type = 'SALESFORCE'
        and main.is_one_write(version.changed_at, switch.switched_at)
    window one_property as (
        partition by version.hubspot_contact_id, version.read_from_id, version.property
        order by version.changed_at, version.pull_no, version.source_type, version.value
        rows between unbounded preceding and current row)
),
written as (
    -- a sync or a merge of contacts that writes once more what the switch brought is nobody's word; nor is a sync that does so after a repair in HubSpot,
    -- but under two_way, where such an edit goes to the record
    select
        *,
        coalesce(
            value = brought
            and ((source_type in ('SALESFORCE', 'MERGE_CONTACTS') and value_before = value)
                or (source_type = 'SALESFORCE' and source_before <> 'SALESFORCE'
                    and (hubspot_contact_id, property, main.canonical_text(value_before)) in (
                        select (hubspot_contact_id, property, main.canonical_text(value_before)) from of_switch where not before_came_with_switch)
                    and property not in (select property from core.mapped_field where not struct_extract(main.mapping_rule(rule), 'salesforce_wins')))),
            false) as is_again
    from version
    where switched_at is null
),
written_otherwise as (
    select hubspot_contact_id, property, max(changed_at) as edited_at, arg_max(source_type, (changed_at, source_type)) as edited_by
    from written
    where not is_again
    group by hubspot_contact_id, property
),
replaced as (
    select * from of_switch
    union all
    -- what such a sync took
    select
        of_switch.* replace (
            written.value_before as value_before, written.value as value_after, written.changed_at as switched_at, written.source_before as source_before,
            false as before_came_with_switch)
    from written
    inner join of_switch
        on of_switch.hubspot_contact_id = written.hubspot_contact_id and of_switch.property = written.property
        and main.is_one_write(of_switch.switched_at, written.brought_at)
    where written.is_again and written.value_before <> written.value and not main.is_blank(written.value_before)
),
ordered as (
    select
        replaced.*,
        written_otherwise.edited_at,
        written_otherwise.edited_by,
        coalesce(written_otherwise.edited_at > replaced.switched_at, false) as is_overtaken,
        -- the last word of a person that stands in a switch
        max(case when replaced.source = 'typed' or replaced.is_accepted then replaced.switched_at end) over one_property as settled_at,
        max(replaced.switched_at) over one_property as last_switched_at
    from replaced
    left join written_otherwise on written_otherwise.hubspot_contact_id = replaced.hubspot_contact_id and written_otherwise.property = replaced.property
    window one_property as (partition by replaced.hubspot_contact_id, replaced.property)
),
tailed as (
    -- the switches that no person's word came after
    select *, not is_overtaken and coalesce(switched_at > settled_at, true) as is_in_tail from ordered
),
judged as (
    select
        hubspot_contact_id,
        property,
        any_value(last_switched_at) as last_switched_at,
        -- what the first of them replaced; where there is none, what the last switch did
        coalesce(arg_min(shown, switched_at) filter (where is_in_tail), arg_max(shown, switched_at)) as shown,
        bool_or(is_in_tail) as has_tail,
        coalesce(bool_or(source = 'unclear') filter (where is_in_tail), false) as is_unclear,
        arg_min(before_came_with_switch, switched_at) filter (where is_in_tail) as came_with_switch,
        coalesce(any_value(settled_at) > coalesce(any_value(edited_at), timestamp '-infinity'), false) as is_after_word,
        arg_max({'source': source, 'by_user_id': by_user_id, 'typed_at': typed_at, 'is_accepted': is_accepted, 'is_overtaken': is_overtaken}, switched_at)
            as last,
        any_value(edited_at) as edited_at,
        any_value(edited_by) as edited_by,
        arg_max({'value': value_after, 'at': switched_at, 'record_id': to_id}, switched_at) as last_written
    from (
        select *, {'value_before': value_before, 'switched_at': switched_at, 'cause': cause, 'from_id': from_id, 'to_id': to_id, 'source_before': source_before,
                   'evidence': evidence} as shown
        from tailed
    )
    group by hubspot_contact_id, property
),
contact as (
    select latest.contact_id, latest.state, latest.bound_id, version.properties
    from core.hubspot_contact as latest
    inner join raw.hubspot_contact as version on version.id = latest.contact_id and version.pull_no = latest.pull_no
    where latest.contact_id in (select hubspot_contact_id from judged)
),
record as (
    select person.record_id, person.object_type, person.modified_at, version.fields
    from (
        select record_id, pull_no, fields from staging.salesforce_version where record_id in (select bound_id from contact)
    ) as version
    inner join core.salesforce_person as person on person.record_id = version.record_id and person.pull_no = version.pull_no
    where person.state = 'live'
),
held as (
    -- what stands there now, and what the bound record holds; are they the value that was replaced?
    select
        value.* exclude (shown, last),
        unnest(value.shown),
        unnest(value.last),
        contact.state,
        nullif(contact.properties[value.property], '') as value_now,
        record.record_id,
        mapping.salesforce_field,
        mapping.rule,
        mapping.is_writable,
        nullif(record.fields[mapping.salesforce_field], '') as salesforce_value,
        list_transform(
            [{'held': contact.properties[value.property], 'labels': property.hubspot_labels},
             {'held': record.fields[mapping.salesforce_field], 'labels': mapping.salesforce_labels}],
            lambda other: main.same_value(
                value.shown.value_before, other.held, coalesce(mapping.kind, property.kind),
                property.hubspot_labels, other.labels)) as is_same,
        -- the record that brought the value holds neither that nor what was there before: somebody wrote it since, and HubSpot has not heard of it
        record.record_id = value.last_written.record_id
            and record.modified_at > value.last_written.at + main.one_write()
            and mapping.is_writable and mapping.rule <> 'none'
            and not main.is_blank(record.fields[mapping.salesforce_field])
            and not main.same_value(
                value.last_written.value, record.fields[mapping.salesforce_field], mapping.kind, property.hubspot_labels, mapping.salesforce_labels)
            as is_written_in_record
    from judged as value
    left join contact on contact.contact_id = value.hubspot_contact_id
    left join record on record.record_id = contact.bound_id
    left join core.mapped_property as property on property.property = value.property
    left join core.mapped_field as mapping on mapping.property = value.property and mapping.object_type = record.object_type
),
judged_again as (
    select
        *,
        -- the owner goes both ways, but only Salesforce can be told who it is
        (struct_extract(main.mapping_rule(rule), 'salesforce_wins') or property = 'salesforceownerid') and not main.is_blank(salesforce_value)
            and not is_same[2]
            as salesforce_differs
    from held
)
select
    hubspot_contact_id,
    property,
    value_before,
    value_now,
    switched_at,
    last_switched_at,
    cause,
    from_id,
    to_id,
    source,
    by_user_id,
    typed_at,
    source_before,
    evidence,
    case
        when state is distinct from 'live' then 'contact_gone'
        when is_same[1] then 'back'
        when is_overtaken then 'edited_later'
        when evidence = 'versions' and main.canonical_text(value_now) is distinct from main.canonical_text(last_written.value) then 'edited_later'
        when is_accepted then 'accepted'
        when not has_tail then 'typed'
        when is_after_word then 'typed_over'
        when is_written_in_record and not is_same[2] then 'awaits_sync'
        when came_with_switch then 'brought'
        when property = 'hs_email_optout' then 'read_only'
        when not is_writable and salesforce_differs then 'of_account'
        when is_unclear then 'unclear'
        else 'restore'
    end as status,
    edited_at,
    edited_by,
    record_id as bound_id,
    salesforce_field,
    salesforce_value,
    coalesce(salesforce_differs, false) as must_be_in_salesforce,
    property <> 'salesforceownerid' as can_be_in_hubspot
from judged_again;
