-- One row: a HubSpot contact that an open finding is about, with its values, for people who compare.
-- These are the contacts that findings name, and those that are bound to a record that one names.
--
-- contact_id: the contact
-- properties: its values by HubSpot's property names
-- slice: contact_id
create or replace table review.contact_detail as
with contact as (
    select contact_id, pull_no
    from core.hubspot_contact
    where contact_id in (select id from review.named_id) or (state = 'live' and bound_id in (select id from review.named_id))
),
version as (
    select id, pull_no, properties from raw.hubspot_contact where id in (select contact_id from contact)
)
select contact.contact_id, version.properties
from contact
inner join version on version.id = contact.contact_id and version.pull_no = contact.pull_no;
