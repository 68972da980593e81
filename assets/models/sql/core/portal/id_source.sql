-- One row: a source that wrote ids of Salesforce records which live contacts carry now, each contact by the version that holds. Where the native integration
-- keeps the portal, nearly all are its own.
--
-- source_type: who wrote them, as HubSpot names it
-- contacts: how many contacts
-- is_native: written by the integration, by a merge of contacts, or brought along when the portal was moved
create or replace table core.id_source as
with holding as (
    -- the version that holds, of each of the two ids
    select
        hubspot_contact_id, property, max(changed_at) as changed_at,
        max_by(coalesce(value, ''), (changed_at, pull_no, source_type, value)) as value,
        max_by(source_type, (changed_at, pull_no, source_type, value)) as source_type
    from staging.hubspot_property_version
    where main.is_id_property(property) and changed_at is not null
    group by hubspot_contact_id, property
),
by_contact as (
    select hubspot_contact_id, max_by(source_type, (changed_at, property)) as source_type
    from holding
    where value <> '' and hubspot_contact_id in (select contact_id from core.hubspot_contact where state = 'live')
    group by hubspot_contact_id
)
select source_type, count(*) as contacts, coalesce(source_type, '') in ('SALESFORCE', 'MERGE_CONTACTS', 'MIGRATION') as is_native
from by_contact
group by source_type;
