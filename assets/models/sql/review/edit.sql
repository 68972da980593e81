-- One row: a value that changed on a contact or record that an open finding is about: what a timeline shows beside bindings and merges.
-- HubSpot's changes come from property history, Salesforce's from its field history, where that is kept: both are dated exactly. Other changes in Salesforce
-- are the differences between versions that were pulled: when between the two it was changed, and by whom, nobody can say.
--
-- contact_id: the HubSpot contact; null for a change in Salesforce
-- record_id: the Salesforce record; null for a change in HubSpot
-- changed_at: when; of a difference between two pulls, at the latest when
-- changed_after: of such a difference, since when at the earliest; null where it is dated exactly
-- name: the property or field
-- value_before: the value until then; null when blank
-- value_after: the value from then on; null when cleared
-- source: who wrote it: HubSpot's source type, or the id of a Salesforce user; null where nobody can say
-- slice: coalesce(contact_id, record_id)
-- due: never, of the pulls it reads only those that brought a version
create or replace table review.edit as
with property_version as (
    select
        version.hubspot_contact_id, version.property, version.changed_at, version.value, version.source_type,
        lag(version.value) over (
            partition by version.hubspot_contact_id, version.read_from_id, version.property order by version.changed_at, version.pull_no,
            version.source_type, version.value) as value_before
    from staging.hubspot_property_version as version
    inner join review.contact_detail as detail on detail.contact_id = version.hubspot_contact_id
    where version.changed_at is not null and version.property <> 'salesforcelastsynctime'
),
renewed as (
    -- most records have one version, which tells of no change
    select version.record_id
    from staging.salesforce_version as version
    where version.record_id in (select record_id from review.record_detail)
    group by version.record_id
    having count(*) > 1
),
record_version as (
    -- a version held at least until it was pulled
    select
        version.record_id, version.modified_at, version.fields, version.email_raw, version.owner_id,
        lag(version.fields) over by_pull as fields_before,
        lag(version.email_raw) over by_pull as email_before,
        lag(version.owner_id) over by_pull as owner_id_before,
        lag(greatest(version.modified_at, coalesce(pull.crm_time, version.modified_at))) over by_pull as held_at
    from staging.salesforce_version as version
    left join raw.pull as pull on pull.pull_no = version.pull_no
    where version.record_id in (select record_id from renewed)
    window by_pull as (partition by version.record_id order by version.pull_no)
),
field_version as (
    select record_id, modified_at, held_at, name, fields[name] as value, fields_before[name] as value_before
    from (select *, unnest(map_keys(fields)) as name from record_version where fields_before is not null) as one_field
    where not map_contains(map {'Email': '', 'OwnerId': ''}, name)
    union all
    select record_id, modified_at, held_at, 'Email', email_raw, email_before from record_version where fields_before is not null
    union all
    select record_id, modified_at, held_at, 'OwnerId', owner_id, owner_id_before from record_version where fields_before is not null
),
field_change as (
    select record_id, changed_at, case field when 'Owner' then 'OwnerId' else field end as name, old_value, new_value, changed_by_id
    from raw.salesforce_field_history
    -- an owner is told twice: by id, and by name
    where record_id in (select record_id from review.record_detail) and field <> 'created'
      and (field <> 'Owner' or coalesce(new_value, old_value) like '005%')
)
select
    hubspot_contact_id as contact_id,
    cast(null as varchar) as record_id,
    changed_at,
    cast(null as timestamp) as changed_after,
    property as name,
    nullif(value_before, '') as value_before,
    nullif(value, '') as value_after,
    source_type as source
from property_version
where nullif(value_before, '') is distinct from nullif(value, '')
union all
select null, record_id, changed_at, null, name, nullif(old_value, ''), nullif(new_value, ''), changed_by_id
from field_change
union all
select null, record_id, modified_at, case when held_at < modified_at then held_at end, name, nullif(value_before, ''), nullif(value, ''), null
from field_version
where nullif(value_before, '') is distinct from nullif(value, '')
  and not exists (
      select 1
      from field_change
      where field_change.record_id = field_version.record_id and field_change.name = field_version.name
        and field_change.changed_at >= field_version.held_at and field_change.changed_at <= field_version.modified_at + interval 1 second);
