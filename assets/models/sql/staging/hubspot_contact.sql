-- One row: the latest version of a HubSpot contact, typed.
--
-- contact_id: its id
-- display_name: first and last name
-- email_raw: the primary e-mail as stored
-- email: the primary e-mail as compared; null when it can never match
-- additional_emails: the secondary e-mails as compared
-- lead_id_raw: salesforceleadid as stored; null when blank
-- contact_id_raw: salesforcecontactid as stored; null when blank
-- salesforce_lead_id: salesforceleadid as 18 characters; null when malformed
-- salesforce_contact_id: salesforcecontactid as 18 characters; null when malformed
-- last_sync_at: salesforcelastsynctime
-- says_deleted: salesforcedeleted is true
-- created_at: when the contact was created
-- modified_at: when it was modified last
-- is_archived: deleted, restorable for 90 days
-- archived_at: when
-- is_present: not missed by the last full pull
-- pull_no: the pull of this version; with contact_id the key of its properties in raw
-- slice: contact_id
-- due: select as_of from (
--   with ahead as materialized (
--   select contact_id, pull_no, as_of from staging.hubspot_contact cross join staging.clock
--   where as_of in (created_at, modified_at, archived_at, last_sync_at))
--   select ahead.as_of from ahead
--   inner join raw.hubspot_contact as version on version.id = ahead.contact_id and version.pull_no = ahead.pull_no
--   where greatest(main.utc(version.created_at), main.utc(version.archived_at), main.utc(version.updated_at), main.utc(version.properties['lastmodifieddate']),
--   main.utc(version.properties['salesforcelastsynctime'])) > ahead.as_of + main.clock_slack())
create or replace table staging.hubspot_contact as
with renewed as (
    -- most contacts have one version: only the others need looking for their latest, and so little is joined
    select id, max(pull_no) as pull_no from raw.hubspot_contact group by id having count(*) > 1
),
presence as (
    select id, max_by(present, pull_no) as is_present from raw.presence where object = 'contact' group by id
),
version as (
    select v.*, main.trim_text(v.properties['salesforceleadid']) as lead_id, main.trim_text(v.properties['salesforcecontactid']) as crm_contact_id
    from raw.hubspot_contact as v
    left join renewed on renewed.id = v.id
    where renewed.pull_no is null or renewed.pull_no = v.pull_no
)
select
    v.id as contact_id,
    nullif(trim(concat_ws(' ', v.properties['firstname'], v.properties['lastname'])), '') as display_name,
    v.properties['email'] as email_raw,
    main.matching_email(v.properties['email']) as email,
    case
        when main.is_blank(v.properties['hs_additional_emails']) then cast([] as varchar[])
        else list_filter(
            list_transform(string_split(v.properties['hs_additional_emails'], ';'), lambda address: main.matching_email(address)),
            lambda address: address is not null)
    end as additional_emails,
    nullif(v.lead_id, '') as lead_id_raw,
    nullif(v.crm_contact_id, '') as contact_id_raw,
    main.salesforce_id18(v.lead_id) as salesforce_lead_id,
    main.salesforce_id18(v.crm_contact_id) as salesforce_contact_id,
    main.not_after(main.utc(v.properties['salesforcelastsynctime']), clock.as_of) as last_sync_at,
    coalesce(main.is_true(v.properties['salesforcedeleted']), false) as says_deleted,
    main.not_after(main.utc(v.created_at), clock.as_of) as created_at,
    main.not_after(main.utc(coalesce(v.properties['lastmodifieddate'], v.updated_at)), clock.as_of) as modified_at,
    v.archived as is_archived,
    main.not_after(main.utc(v.archived_at), clock.as_of) as archived_at,
    coalesce(presence.is_present, true) as is_present,
    v.pull_no
from version as v
left join presence on presence.id = v.id
cross join staging.clock as clock;
