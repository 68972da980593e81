-- One row: a HubSpot property and the field of Lead or Contact that it is mapped to, as far as the two are compared.
-- Not compared are fields that never sync (rule none), the e-mail, which is the key, the account, which follows the record, and what one of the CRMs does
-- not have (of the default list: what somebody wrote is there). Where a CRM was not asked, nothing is left out.
--
-- property: the HubSpot property
-- object_type: Lead or Contact
-- salesforce_field: the field there
-- place: its place among the fields of the object, from 1; core.record_value and core.contact_value hold the values in this order
-- rule: the mapping rule
-- consent: the field says whether the person may be written to
-- consent_kind: how it says so: opted_out, opted_in, or listed in the policy; null for other fields
-- granted: the values that mean "may be written to", where they are listed
-- denied: those that mean "may not"
-- kind: what its values are, so how two of them compare: text, phone, boolean, number, employees (a number that HubSpot writes as a range), date,
--   datetime, picklist, multipicklist, id
-- unknown_type: what Salesforce calls a type for which there is no kind, so that its values compare as text; null otherwise
-- is_writable: a person may enter it in Salesforce, and the integration may fill it
-- hubspot_labels: of a pick list what people see in HubSpot, by value
-- salesforce_labels: the same in Salesforce
-- hubspot_label: what people see for the property in HubSpot; null where nobody told it
-- salesforce_label: the same for the field in Salesforce
create or replace table core.mapped_field as
with kind_of_type as (
    from (values
        ('string', 'text'), ('textarea', 'text'), ('url', 'text'), ('email', 'text'), ('encryptedstring', 'text'), ('phone', 'phone'), ('boolean', 'boolean'),
        ('int', 'number'), ('integer', 'number'), ('long', 'number'), ('double', 'number'), ('currency', 'number'), ('percent', 'number'),
        ('date', 'date'), ('datetime', 'datetime'), ('picklist', 'picklist'), ('combobox', 'picklist'), ('multipicklist', 'multipicklist'),
        ('id', 'id'), ('reference', 'id')
    ) as kind_of_type(type, kind)
),
kind_of_property as (
    -- what a text of Salesforce is for HubSpot
    from (values ('bool', 'boolean'), ('number', 'number'), ('date', 'date'), ('datetime', 'datetime'), ('enumeration', 'picklist'), ('phone_number', 'phone'))
        as kind_of_property(type, kind)
)
select
    mapping.property,
    mapping.object_type,
    mapping.salesforce_field,
    row_number() over (partition by mapping.object_type order by mapping.position) as place,
    mapping.rule,
    mapping.consent_kind is not null as consent,
    mapping.consent_kind,
    mapping.granted,
    mapping.denied,
    case
        when mapping.property = 'numemployees' and kind_of_type.kind = 'number' then 'employees'
        when coalesce(kind_of_type.kind, 'text') <> 'text' then kind_of_type.kind
        when property.type = 'enumeration' and property.field_type = 'checkbox' then 'multipicklist'
        else coalesce(kind_of_property.kind, 'text')
    end as kind,
    case when kind_of_type.kind is null then field.type end as unknown_type,
    not contains(mapping.salesforce_field, '.') and coalesce(field.is_writable, true) as is_writable,
    coalesce(property.labels, cast(map {} as map(varchar, varchar))) as hubspot_labels,
    coalesce(field.labels, cast(map {} as map(varchar, varchar))) as salesforce_labels,
    hubspot_label.label as hubspot_label,
    salesforce_label.label as salesforce_label
from main.field_mapping as mapping
left join raw.salesforce_field as field on field.object_type = mapping.object_type and field.field = mapping.salesforce_field
left join raw.hubspot_property as property on property.property = mapping.property
left join raw.field_label as hubspot_label on hubspot_label.object_type = 'contact' and hubspot_label.field = mapping.property
left join raw.field_label as salesforce_label
    on salesforce_label.object_type = mapping.object_type and salesforce_label.field = mapping.salesforce_field
left join kind_of_type on kind_of_type.type = field.type
left join kind_of_property on kind_of_property.type = property.type
where mapping.rule <> 'none' and mapping.property not in ('email', 'salesforceaccountid')
  and (field.field is not null or mapping.object_type not in (select object_type from raw.salesforce_field))
  and (property.property is not null or not exists (from raw.hubspot_property));
