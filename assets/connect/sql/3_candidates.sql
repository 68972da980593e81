-- What could be mapped to what: main.field_mapping is filled with every property that may be mapped and every field, so that core.mapped_field says as what
-- kind the values of each two compare.

-- One row: a property that may be mapped. versions: entries of histories that the integration wrote; contacts: on so many contacts.
create or replace table found.candidate as
select
    value.property,
    count(distinct value.contact_id) as filled,
    coalesce(any_value(written.versions), 0) as versions,
    coalesce(any_value(written.contacts), 0) as contacts
from sample.value as value
inner join raw.hubspot_property as property on property.property = value.property
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

insert into main.field_mapping by name
select
    candidate.property, field.object_type, field.field as salesforce_field, 'two_way' as rule,
    row_number() over (order by candidate.property, field.object_type, field.field) as position, false as consent
from found.candidate as candidate
cross join raw.salesforce_field as field
where field.field not in ('Id', 'IsDeleted', 'MasterRecordId', 'SystemModstamp', 'LastModifiedDate', 'LastModifiedById', 'IsConverted', 'ConvertedContactId',
                          'ConvertedAccountId', 'ConvertedOpportunityId', 'PhotoUrl', 'Name');
