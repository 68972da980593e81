-- One row: a HubSpot contact that was merged away, and the contact that holds its history today.
-- From hs_merged_object_ids, which names chained merges too (hs_calculated_merged_vids does not).
--
-- contact_id: the contact merged away
-- merged_into_id: the contact it became; where several name it, the one that was not merged away itself
-- pull_no: the first pull in which that one named any
-- slice: contact_id
create or replace table staging.hubspot_merge as
with latest as (
    select id, max_by(properties, pull_no) as properties, min(pull_no) as pull_no
    from raw.hubspot_contact
    where coalesce(properties['hs_merged_object_ids'], '') <> ''
    group by id
),
named as (
    select distinct trim(unnest(string_split(properties['hs_merged_object_ids'], ';'))) as contact_id, id as merged_into_id, pull_no from latest
)
select
    contact_id,
    min_by(merged_into_id, (merged_into_id in (select contact_id from named where merged_into_id <> contact_id), merged_into_id)) as merged_into_id,
    min_by(pull_no, (merged_into_id in (select contact_id from named where merged_into_id <> contact_id), merged_into_id)) as pull_no
from named
where contact_id <> '' and contact_id <> merged_into_id
group by contact_id;
