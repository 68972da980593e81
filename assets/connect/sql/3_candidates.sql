-- What could be mapped to what: main.field_mapping is filled with every property that may be mapped and every field, so that core.mapped_field says as what
-- kind the values of each two compare.

-- One row: a property that may be mapped. filled: in so many pairs; versions: entries of histories that the integration wrote; contacts: on so many contacts.
create or replace table found.candidate as
select
    value.property,
    count(distinct pair.contact_id) filter (where not main.is_blank(value.value)) as filled,
    coalesce(any_value(written.versions), 0) as versions,
    coalesce(any_value(written.contacts), 0) as contacts
from sample.value as value
inner join raw.hubspot_property as property on property.property = value.property
left join sample.pair as pair on pair.contact_id = value.contact_id
left join (
    select property, count(*) as versions, count(distinct contact_id) as contacts from sample.version where source = 'SALESFORCE' group by property
) as written on written.property = value.property
where (not main.is_blank(value.value) or written.versions > 0)
  -- what the integration writes besides mapped values, and what is HubSpot's own
  and value.property not in (
      'salesforceleadid', 'salesforcecontactid', 'salesforcelastsynctime', 'salesforcedeleted', 'salesforcecampaignids', 'salesforceopportunitystage',
      'salesforceownername', 'salesforceowneremail', 'hubspot_owner_id', 'createdate', 'lastmodifieddate', 'closedate')
  and not (value.property like 'hs\_%' escape '\' and value.property <> 'hs_email_optout' and coalesce(written.versions, 0) = 0)
  and value.property not in ('hs_object_id', 'hs_lastmodifieddate', 'hs_createdate', 'hs_additional_emails', 'hs_merged_object_ids')
group by value.property;

-- One row: a candidate and what most of its values look like. A field of Salesforce whose values never look so cannot be its.
create or replace table found.look as
select
    value.property,
    any_value(property.type) as type,
    avg(cast(regexp_full_match(trim(value.value), '[+-]?[0-9.]+([eE][+-]?[0-9]+)?|[0-9]+-[0-9]+|[0-9]+[+]') as integer)) >= 0.8 as is_number,
    avg(cast(regexp_full_match(trim(value.value), '-?[0-9]{8,14}|[0-9]{4}-[0-9]{2}-[0-9]{2}.*') as integer)) >= 0.8 as is_moment,
    avg(cast(lower(trim(value.value)) in ('true', 'false', 'yes', 'no', '0', '1') as integer)) >= 0.8 as is_boolean,
    avg(cast(regexp_full_match(trim(value.value), '[A-Za-z0-9]{15}([A-Za-z0-9]{3})?') as integer)) >= 0.8 as is_id
from sample.value as value
inner join found.candidate as candidate on candidate.property = value.property
inner join raw.hubspot_property as property on property.property = value.property
where not main.is_blank(value.value)
group by value.property;

insert into main.field_mapping by name
select
    look.property, field.object_type, field.field as salesforce_field, 'two_way' as rule,
    row_number() over (order by look.property, field.object_type, field.field) as position, false as consent
from found.look as look
inner join raw.salesforce_field as field
    on case
        when field.type in ('int', 'integer', 'long', 'double', 'currency', 'percent') then look.is_number
        when field.type in ('date', 'datetime') then look.is_moment
        when field.type = 'boolean' then look.is_boolean
        when field.type in ('id', 'reference') then look.is_id
        when look.type in ('bool', 'date', 'datetime') then false
        else not look.is_id or look.type = 'string'
    end
where field.field not in ('Id', 'IsDeleted', 'MasterRecordId', 'SystemModstamp', 'LastModifiedDate', 'LastModifiedById', 'IsConverted', 'ConvertedContactId',
                          'ConvertedAccountId', 'ConvertedOpportunityId', 'PhotoUrl', 'Name');
