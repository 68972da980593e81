-- One row: a mapped value of a HubSpot contact that one switch or Salesforce merge replaced, and what can be done about it.
-- A property that several switches replaced has several rows. A restore takes the value from before the first of them, or from before the first
-- since the damage it is asked to undo; only switches after the last time that somebody wrote the property otherwise count, for a value that a
-- person edited later is left alone. Conversions are meant to bring the Contact's values, so they are not among the switches.
--
-- hubspot_contact_id: the contact
-- property: the property
-- value_before: what a restore to the time before this switch puts back
-- value_now: its value now
-- switched_at: when it was replaced
-- cause: duplicate_switch, unexplained, salesforce_merge, or bound_again (the binding was cleared, and later another record took its place)
-- from_id: the record that the contact was bound to before
-- to_id: the record that replaced the value
-- source_before: who had written the value, in HubSpot's words; null where only the pulled versions show it
-- evidence: history (HubSpot's property history) or versions (what Bindwatch pulled before and after; HubSpot gave no history)
-- status: restore; back (it has that value again); edited_later (left alone); of_account (nobody can write it in the bound record, which takes it from
--   its account or works it out, and would overwrite it again); read_only (an opt-out: HubSpot lets nobody take it back); contact_gone (archived, merged or vanished: restore the contact first)
-- is_overtaken: HubSpot's history shows that somebody wrote it otherwise after this switch
-- edited_at: when it was written otherwise last, after the switch or before
-- edited_by: by whom, in HubSpot's words
-- bound_id: the live record that the contact is bound to now; null where it is gone
-- salesforce_field: the field of that record that holds the property
-- salesforce_value: its value
-- must_be_in_salesforce: that value would overwrite HubSpot's with the next sync, so it has to be corrected first (rules 24, 25)
-- can_be_in_hubspot: somebody may write the property there; the Salesforce owner comes from Salesforce alone
create or replace table core.restorable_value as
with switch as (
    select hubspot_contact_id, switched_at, from_id, to_id, cause
    from core.switch_event
    where cause in ('duplicate_switch', 'unexplained', 'salesforce_merge') and from_id is not null and to_id is not null
    union all
    -- a binding that was cleared, as it may be when a contact comes back from the recycle bin, and given to another record afterwards
    select hubspot_contact_id, changed_at, last_id, to_id, 'bound_again'
    from core.binding_history
    where from_id is null and last_id <> to_id
),
overwritten as (
    select
        value.hubspot_contact_id, value.property, value.value_before, value.value_after, value.switched_at, switch.cause, switch.from_id, switch.to_id,
        value.source_before
    from core.replaced_value as value
    inner join switch
        on switch.hubspot_contact_id = value.hubspot_contact_id and switch.switched_at = value.switched_at
        and value.was_cleared = (switch.cause = 'bound_again')
),
with_history as (
    select distinct hubspot_contact_id, property from overwritten
),
written_otherwise as (
    select
        version.hubspot_contact_id,
        version.property,
        max(version.changed_at) as edited_at,
        arg_max(version.source_type, version.changed_at) as edited_by
    from staging.hubspot_property_version as version
    semi join with_history on with_history.hubspot_contact_id = version.hubspot_contact_id and with_history.property = version.property
    left join switch
        on switch.hubspot_contact_id = version.hubspot_contact_id
        and version.source_type = 'SALESFORCE'
        and version.changed_at between switch.switched_at - interval 5 second and switch.switched_at + interval 5 second
    where switch.hubspot_contact_id is null
    group by version.hubspot_contact_id, version.property
),
unread as (
    -- contacts that switched, and of which HubSpot's history of mapped properties was never read
    select switch.*
    from switch
    anti join raw.hubspot_history_read as history on history.contact_id = switch.hubspot_contact_id
    anti join with_history on with_history.hubspot_contact_id = switch.hubspot_contact_id
),
contact_version as (
    select
        unread.hubspot_contact_id, unread.switched_at, unread.from_id, unread.to_id, unread.cause,
        max_by(version.properties, version.pull_no) filter (where main.utc(version.updated_at) < unread.switched_at - interval 5 second) as properties_before,
        min_by(version.properties, version.pull_no) filter (where main.utc(version.updated_at) >= unread.switched_at - interval 5 second) as properties_after
    from unread
    inner join raw.hubspot_contact as version on version.id = unread.hubspot_contact_id
    group by unread.hubspot_contact_id, unread.switched_at, unread.from_id, unread.to_id, unread.cause
),
replaced as (
    select *, 'history' as evidence from overwritten
    union all
    select
        version.hubspot_contact_id, mapping.property, version.properties_before[mapping.property], version.properties_after[mapping.property],
        version.switched_at, version.cause, version.from_id, version.to_id, null, 'versions'
    from contact_version as version
    cross join core.mapped_property as mapping
    where not main.is_blank(version.properties_before[mapping.property])
      and version.properties_after is not null
      and not main.same_value(
          version.properties_before[mapping.property], version.properties_after[mapping.property], mapping.kind, mapping.hubspot_labels, mapping.hubspot_labels)
),
judged as (
    select
        replaced.*,
        written_otherwise.edited_at,
        written_otherwise.edited_by,
        replaced.evidence = 'history' and coalesce(written_otherwise.edited_at > replaced.switched_at, false) as is_overtaken
    from replaced
    left join written_otherwise on written_otherwise.hubspot_contact_id = replaced.hubspot_contact_id and written_otherwise.property = replaced.property
),
last_written as (
    select hubspot_contact_id, property, arg_max(value_after, switched_at) as value_after from replaced where evidence = 'versions' group by all
),
contact as (
    select latest.contact_id, latest.state, latest.bound_id, version.properties
    from core.hubspot_contact as latest
    inner join raw.hubspot_contact as version on version.id = latest.contact_id and version.pull_no = latest.pull_no
    where latest.contact_id in (select hubspot_contact_id from judged)
),
record as (
    select person.record_id, person.object_type, version.fields
    from (
        select record_id, pull_no, fields from staging.salesforce_version where record_id in (select bound_id from contact)
    ) as version
    inner join core.salesforce_person as person on person.record_id = version.record_id and person.pull_no = version.pull_no
    where person.state = 'live'
),
held as (
    -- what stands there now, and what the bound record holds; are they the value that was replaced?
    select
        value.*,
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
                value.value_before, other.held, coalesce(mapping.kind, property.kind),
                property.hubspot_labels, other.labels)) as is_same,
        last_written.value_after as last_written
    from judged as value
    left join contact on contact.contact_id = value.hubspot_contact_id
    left join record on record.record_id = contact.bound_id
    left join core.mapped_property as property on property.property = value.property
    left join core.mapped_field as mapping on mapping.property = value.property and mapping.object_type = record.object_type
    left join last_written on last_written.hubspot_contact_id = value.hubspot_contact_id and last_written.property = value.property
),
judged_again as (
    select
        *,
        -- the owner goes both ways, but only Salesforce can be told who it is
        (rule in ('prefer_salesforce', 'always_salesforce') or property = 'salesforceownerid') and not main.is_blank(salesforce_value) and not is_same[2]
            as salesforce_differs
    from held
)
select
    hubspot_contact_id,
    property,
    value_before,
    value_now,
    switched_at,
    cause,
    from_id,
    to_id,
    source_before,
    evidence,
    case
        when state is distinct from 'live' then 'contact_gone'
        when is_same[1] then 'back'
        when is_overtaken then 'edited_later'
        when evidence = 'versions' and main.canonical_text(value_now) is distinct from main.canonical_text(last_written) then 'edited_later'
        when property = 'hs_email_optout' then 'read_only'
        when not is_writable and salesforce_differs then 'of_account'
        else 'restore'
    end as status,
    is_overtaken,
    edited_at,
    edited_by,
    record_id as bound_id,
    salesforce_field,
    salesforce_value,
    coalesce(salesforce_differs, false) as must_be_in_salesforce,
    property <> 'salesforceownerid' as can_be_in_hubspot
from judged_again;
