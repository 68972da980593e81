-- One row: a value that came with a switch (core.overwritten_value), and where it comes from.
--
-- hubspot_contact_id: the contact
-- switched_at: the switch, as in core.switch_event
-- property: the property
-- value_before: the value that was replaced
-- value_after: what the switch wrote
-- source: typed (somebody wrote it into the record, and so made the contact jump), foreign (it was another record's before), unclear
-- by_user_id: the Salesforce user who typed it; null where that is not certain
-- by_user_name: the name
-- typed_at: when, or, where only the pulled versions tell, at the latest when
-- slice: hubspot_contact_id
create or replace table core.value_source as
select
    value.hubspot_contact_id,
    value.switched_at,
    value.property,
    value.value_before,
    value.value_after,
    coalesce(origin.source, 'unclear') as source,
    origin.by_user_id,
    users.name as by_user_name,
    origin.typed_at
from core.overwritten_value as value
left join core.value_origin as origin
    on origin.hubspot_contact_id = value.hubspot_contact_id and origin.switched_at = value.switched_at and origin.property = value.property
    and not origin.was_cleared
left join core.salesforce_user as users on users.user_id = origin.by_user_id;
