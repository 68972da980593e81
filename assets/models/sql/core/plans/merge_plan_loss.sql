-- One row: a planned merge that was carried out and cost a contact values. The merge brought others into its master, and within two hours the next
-- sync carried them into HubSpot. Whoever writes a property after that has seen what is there, so it counts as lost no more.
--
-- plan: the file of the plan
-- row_no: the row of the merge
-- loser_id: its loser
-- properties: the properties whose value was replaced
create or replace table core.merge_plan_loss as
with carried_out as (
    -- the contacts that are bound to the master of a merge that was carried out
    select planned.plan, planned.row_no, planned.loser_id, contact.contact_id, departure.merged_at
    from core.merge_plan_row as planned
    inner join core.salesforce_person as loser on loser.record_id = planned.loser_id and loser.state = 'merged'
    inner join core.hubspot_contact as contact on contact.bound_id = planned.master_id and contact.state = 'live'
    inner join (select loser_id, min(merged_at) as merged_at from core.merge_event group by loser_id) as departure on departure.loser_id = planned.loser_id
),
property_version as (
    select
        hubspot_contact_id, property, changed_at, value, source_type,
        lag(value) over (partition by hubspot_contact_id, read_from_id, property order by changed_at, pull_no, source_type, value) as value_before,
        row_number() over (partition by hubspot_contact_id, property order by changed_at desc, pull_no desc, source_type desc, value desc) = 1 as is_latest
    from staging.hubspot_property_version
    where hubspot_contact_id in (select contact_id from carried_out) and property in (select property from core.mapped_property)
),
brought as (
    -- what the integration wrote after the merge
    select
        carried_out.plan, carried_out.row_no, carried_out.loser_id, version.property,
        first(version.value_before order by version.changed_at, version.value_before) as value_before,
        last(version.value order by version.changed_at, version.value) as value,
        bool_or(version.is_latest) as is_latest,
        -- what the property is: as conditions of a join, DuckDB would compare the values one at a time
        any_value(mapped.kind) as kind,
        any_value(mapped.hubspot_labels) as labels
    from carried_out
    inner join property_version as version
        on version.hubspot_contact_id = carried_out.contact_id
        and version.source_type = 'SALESFORCE'
        and version.changed_at between carried_out.merged_at and carried_out.merged_at + interval 2 hour
    inner join core.mapped_property as mapped on mapped.property = version.property
    group by carried_out.plan, carried_out.row_no, carried_out.loser_id, version.property
)
select plan, row_no, loser_id, list(property order by property) as properties
from brought
where is_latest and not main.is_blank(value_before) and not main.same_value(value_before, value, kind, labels, labels)
group by plan, row_no, loser_id;
