-- One row: a mapped HubSpot property, and what its values are, whatever object it is mapped to.
--
-- property: the property
-- kind: as in core.mapped_field; of a property whose fields differ, the kind of the Contact's
-- hubspot_labels: of a pick list what people see in HubSpot, by value
-- consent: it says whether the person may be written to
create or replace table core.mapped_property as
select property, arg_min(kind, object_type) as kind, any_value(hubspot_labels) as hubspot_labels, bool_or(consent) as consent
from core.mapped_field
group by property;
