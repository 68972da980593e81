-- One row: a value that changed on a contact or record that an open finding is about: what a timeline shows beside bindings and merges.
-- HubSpot's changes come from property history, so they are dated exactly. Salesforce's are the differences between the versions that
-- were pulled: several edits between two pulls are one, dated by the last.
-- A view: only the snapshot reads it, and writing it twice costs a large portal seconds.
--
-- contact_id: the HubSpot contact; null for a change in Salesforce
-- record_id: the Salesforce record; null for a change in HubSpot
-- changed_at: when
-- name: the property or field
-- value_before: the value until then; null when blank
-- value_after: the value from then on; null when cleared
-- source: who wrote it: HubSpot's source type, or the id of the Salesforce user who modified the record last
create or replace view review.edit as
with property_version as (
    select
        version.hubspot_contact_id, version.property, version.changed_at, version.value, version.source_type,
        lag(version.value) over (
            partition by version.hubspot_contact_id, version.read_from_id, version.property order by version.changed_at, version.pull_no) as value_before
    from staging.hubspot_property_version as version
    inner join review.contact_detail as detail on detail.contact_id = version.hubspot_contact_id
    where version.changed_at is not null and version.property <> 'salesforcelastsynctime'
),
record_version as (
    select
        record_id, modified_at, last_modified_by_id, fields, email_raw, owner_id,
        lag(fields) over by_pull as fields_before,
        lag(email_raw) over by_pull as email_before,
        lag(owner_id) over by_pull as owner_id_before
    from staging.salesforce_version
    where record_id in (select record_id from review.record_detail)
    window by_pull as (partition by record_id order by pull_no)
),
field_version as (
    select record_id, modified_at, last_modified_by_id, name, fields[name] as value, fields_before[name] as value_before
    from (select *, unnest(map_keys(fields)) as name from record_version where fields_before is not null) as one_field
    where not map_contains(map {'Email': '', 'OwnerId': ''}, name)
    union all
    select record_id, modified_at, last_modified_by_id, 'Email', email_raw, email_before from record_version where fields_before is not null
    union all
    select record_id, modified_at, last_modified_by_id, 'OwnerId', owner_id, owner_id_before from record_version where fields_before is not null
)
select
    hubspot_contact_id as contact_id,
    cast(null as varchar) as record_id,
    changed_at,
    property as name,
    nullif(value_before, '') as value_before,
    nullif(value, '') as value_after,
    source_type as source
from property_version
where nullif(value_before, '') is distinct from nullif(value, '')
union all
select null, record_id, modified_at, name, nullif(value_before, ''), nullif(value, ''), last_modified_by_id
from field_version
where nullif(value_before, '') is distinct from nullif(value, '');
