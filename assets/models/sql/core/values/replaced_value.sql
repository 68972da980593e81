-- One row: a value of a HubSpot contact that was replaced as the contact was bound to another record than the one before.
-- These are versions written by the integration within 5 s of the new id, on mapped properties, whose value differs from the one
-- before, which was not blank. Conversions and merges count, first bindings do not, nor merges of contacts, where the values of two contacts stand side by
-- side. Where HubSpot's history was not read, what Bindwatch pulled before and after tells.
--
-- hubspot_contact_id: the contact
-- switched_at: when the new id was written
-- to_id: the record that it names
-- was_cleared: the contact was bound to nothing in between
-- property: the property
-- value_before: the value that was replaced
-- value_after: what the new record brought
-- source_before: who had written the value before, in HubSpot's words; null where only the pulled versions show it
-- before_came_with_switch: that value had come with a change of the record itself
-- evidence: history (HubSpot's property history) or versions (what Bindwatch pulled before and after)
-- slice: hubspot_contact_id
create or replace table core.replaced_value as
with change as (
    select distinct hubspot_contact_id, changed_at, from_id is null as was_cleared, to_id
    from core.binding_history
    where last_id <> to_id and not is_of_hubspot_merge
),
version as (
    select
        hubspot_contact_id, property, changed_at, value, source_type,
        lag(value) over one_property as value_before,
        lag(source_type) over one_property as source_before,
        lag(changed_at) over one_property as before_at
    from staging.hubspot_property_version
    where property in (select property from core.mapped_property) and hubspot_contact_id in (select hubspot_contact_id from change)
    window one_property as (partition by hubspot_contact_id, read_from_id, property order by changed_at, pull_no, source_type, value)
),
unread as (
    -- contacts whose history of mapped properties was never read
    select change.*
    from change
    anti join raw.hubspot_history_read as history on history.contact_id = change.hubspot_contact_id
    anti join version on version.hubspot_contact_id = change.hubspot_contact_id
),
pulled as (
    select
        unread.hubspot_contact_id, unread.changed_at, unread.was_cleared, unread.to_id,
        max_by(version.properties, version.pull_no) filter (where main.utc(version.updated_at) < unread.changed_at - main.one_write()) as before,
        min_by(version.properties, version.pull_no) filter (where main.utc(version.updated_at) >= unread.changed_at - main.one_write()) as after
    from unread
    inner join raw.hubspot_contact as version on version.id = unread.hubspot_contact_id
    group by all
),
found as (
    select
        change.hubspot_contact_id, change.changed_at, change.was_cleared, change.to_id, version.property, version.value_before, version.value as value_after,
        version.source_before, version.before_at, cast(null as boolean) as before_came_with_switch, 'history' as evidence
    from change
    inner join version
        on version.hubspot_contact_id = change.hubspot_contact_id
        and main.is_one_write(version.changed_at, change.changed_at)
    where version.source_type = 'SALESFORCE' and version.value_before is distinct from version.value
    union all
    select
        pulled.hubspot_contact_id, pulled.changed_at, pulled.was_cleared, pulled.to_id, mapped.property, pulled.before[mapped.property],
        nullif(pulled.after[mapped.property], ''), null, null, coalesce(pulled.before[mapped.property] = pulled.earlier[mapped.property], false), 'versions'
    from (select *, lag(after) over (partition by hubspot_contact_id order by changed_at) as earlier from pulled) as pulled
    cross join core.mapped_property as mapped
    where pulled.after is not null and pulled.before[mapped.property] is distinct from pulled.after[mapped.property]
),
told as (
    -- what the property is, beside each value; as conditions of the join, DuckDB would compare the values one at a time
    select
        found.hubspot_contact_id, found.changed_at, found.was_cleared, found.to_id, found.property, found.value_before, found.value_after, found.source_before,
        found.evidence,
        coalesce(found.before_came_with_switch, bool_or(found.source_before = 'SALESFORCE'
            and main.is_one_write(earlier.changed_at, found.before_at)), false) as before_came_with_switch,
        any_value(mapped.kind) as kind,
        any_value(mapped.hubspot_labels) as labels
    from found
    inner join core.mapped_property as mapped on mapped.property = found.property
    left join change as earlier on earlier.hubspot_contact_id = found.hubspot_contact_id and earlier.changed_at < found.changed_at
    where not main.is_blank(found.value_before)
    group by
        found.hubspot_contact_id, found.changed_at, found.was_cleared, found.to_id, found.property, found.value_before, found.value_after, found.source_before,
        found.before_came_with_switch, found.evidence
)
select
    hubspot_contact_id, changed_at as switched_at, to_id, was_cleared, property, value_before, value_after, source_before, before_came_with_switch, evidence
from told
where not main.same_value(value_before, value_after, kind, labels, labels)
-- two histories that became one may tell the same change twice
qualify row_number() over (partition by hubspot_contact_id, changed_at, was_cleared, property order by to_id, value_before) = 1;
