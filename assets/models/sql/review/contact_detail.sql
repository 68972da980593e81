-- One row: a HubSpot contact that an open finding is about, with its values, for people who compare.
-- These are the contacts that findings name, and those that are bound to a record that one names.
-- A view: only the snapshot reads it, and writing it twice costs a large portal seconds.
--
-- contact_id: the contact
-- properties: its values by HubSpot's property names
create or replace view review.contact_detail as
with named as (
    select hubspot_contact_id, salesforce_id, rival_ids from review.finding where resolved_at is null
),
named_id as (
    -- among rival_ids are contacts, too (same_record_bound_twice); an id of one CRM is never one of the other
    select hubspot_contact_id as id from named where hubspot_contact_id is not null
    union
    select salesforce_id from named where salesforce_id is not null
    union
    select unnest(rival_ids) from named
),
contact as (
    select contact_id, pull_no
    from core.hubspot_contact
    where contact_id in (select id from named_id) or (state = 'live' and bound_id in (select id from named_id))
),
version as (
    select id, pull_no, properties from raw.hubspot_contact where id in (select contact_id from contact)
)
select contact.contact_id, version.properties
from contact
inner join version on version.id = contact.contact_id and version.pull_no = contact.pull_no;
