-- One row: a mapped field that a switch to that rival would change (rules 24 to 28; the table is in docs/prediction.md).
--
-- hubspot_contact_id: the contact
-- rival_id: the record that would take over
-- property: the HubSpot property
-- hubspot_value: its value now
-- salesforce_value: the rival's value
-- rule: the mapping rule of the field
-- effect: overwrite (HubSpot's value is replaced), clear (it is emptied), backfill (it is written into the rival), fill (a gap is filled)
-- consent: the field says whether the person may be written to
-- is_at_risk: the effect destroys a value or spreads it; a fill does not
create or replace table core.overwrite as
with value as (
    select
        rival.hubspot_contact_id,
        rival.rival_id,
        mapping.property,
        contact_version.properties[mapping.property] as hubspot_value,
        coalesce(lead_version.fields[mapping.salesforce_field], contact_record.fields[mapping.salesforce_field]) as salesforce_value,
        mapping.rule,
        mapping.consent,
        field.type as field_type
    from core.rival as rival
    inner join main.field_mapping as mapping on mapping.object_type = rival.object_type and mapping.rule <> 'none'
    inner join core.hubspot_contact as contact on contact.contact_id = rival.hubspot_contact_id
    inner join raw.hubspot_contact as contact_version on contact_version.id = contact.contact_id and contact_version.pull_no = contact.pull_no
    inner join core.salesforce_person as person on person.record_id = rival.rival_id
    left join raw.salesforce_lead as lead_version on lead_version.record_id = person.record_id and lead_version.pull_no = person.pull_no
    left join raw.salesforce_contact as contact_record on contact_record.record_id = person.record_id and contact_record.pull_no = person.pull_no
    left join raw.salesforce_field as field on field.object_type = rival.object_type and field.field = mapping.salesforce_field
),
judged as (
    select
        value.*,
        case
            when not main.is_blank(salesforce_value) and main.is_blank(hubspot_value) then 'fill'
            when not main.is_blank(salesforce_value) and not main.same_value(hubspot_value, salesforce_value, field_type) then 'overwrite'
            when main.is_blank(salesforce_value) and not main.is_blank(hubspot_value) then
                case
                    when rule = 'prefer_salesforce' then 'backfill'
                    when policy.blank_on_switch = 'clear' then 'clear'
                end
        end as effect
    from value
    cross join main.policy as policy
)
select hubspot_contact_id, rival_id, property, hubspot_value, salesforce_value, rule, effect, consent, effect <> 'fill' as is_at_risk
from judged
where effect is not null;
