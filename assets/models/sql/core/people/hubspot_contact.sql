-- One row: a HubSpot contact ever seen.
--
-- contact_id: its id
-- email_raw: the primary e-mail as stored
-- email: the primary e-mail as compared; null when it can never match
-- additional_emails: the secondary e-mails as compared
-- salesforce_lead_id: salesforceleadid as 18 characters; null when blank or malformed
-- salesforce_contact_id: salesforcecontactid as 18 characters; null when blank or malformed
-- bound_id: the record it is bound to. If both ids are set, the one written last; the Contact id when that cannot be told
-- bound_since: when it was bound to that record; null without history
-- last_sync_at: when it synced last
-- modified_at: when it was modified last
-- state: live, archived, merged or vanished
-- merged_into_id: the contact it was merged into
-- display_name: first and last name
-- lead_id_raw: salesforceleadid as stored
-- contact_id_raw: salesforcecontactid as stored
-- is_in_scope: no inclusion list is configured, or the contact is in it
-- email_changed_at: when the primary e-mail changed last; null without history
-- says_deleted: HubSpot marks its record as deleted in Salesforce (salesforcedeleted)
-- created_at: when the contact was created
-- archived_at: when it was archived
-- pull_no: with contact_id the key of its properties in raw
-- slice: contact_id
create or replace table core.hubspot_contact as
with written as (
    select
        hubspot_contact_id,
        max(changed_at) filter (where property = 'salesforceleadid') as lead_id_at,
        max(changed_at) filter (where property = 'salesforcecontactid') as contact_id_at,
        max(changed_at) filter (where property = 'email') as email_changed_at
    from staging.hubspot_property_version
    where property in ('salesforceleadid', 'salesforcecontactid', 'email')
    group by hubspot_contact_id
),
since as (
    select hubspot_contact_id, to_id, max(changed_at) as changed_at
    from core.binding_history
    where to_id is not null
    group by hubspot_contact_id, to_id
),
bound as (
    select
        c.*,
        written.email_changed_at,
        case
            when c.salesforce_contact_id is null or (c.salesforce_lead_id is not null and written.lead_id_at > written.contact_id_at)
            then c.salesforce_lead_id
            else c.salesforce_contact_id
        end as bound_id
    from staging.hubspot_contact as c
    left join written on written.hubspot_contact_id = c.contact_id
)
select
    b.contact_id,
    b.email_raw,
    b.email,
    b.additional_emails,
    b.salesforce_lead_id,
    b.salesforce_contact_id,
    b.bound_id,
    since.changed_at as bound_since,
    b.last_sync_at,
    b.modified_at,
    case
        when merged.merged_into_id is not null then 'merged'
        when b.is_archived then 'archived'
        when not b.is_present then 'vanished'
        else 'live'
    end as state,
    merged.merged_into_id,
    b.display_name,
    b.lead_id_raw,
    b.contact_id_raw,
    policy.inclusion_list_id is null or member.contact_id is not null as is_in_scope,
    b.email_changed_at,
    b.says_deleted,
    b.created_at,
    b.archived_at,
    b.pull_no
from bound as b
left join staging.hubspot_merge as merged on merged.contact_id = b.contact_id
left join since on since.hubspot_contact_id = b.contact_id and since.to_id = b.bound_id
left join raw.hubspot_list_member as member on member.contact_id = b.contact_id
cross join main.policy as policy;
