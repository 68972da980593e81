-- HubSpot deletes contacts together with their Salesforce records.
--
-- severity: warn
-- basis: documented
-- on: core/merge_event
--
-- Fails when the policy says that a HubSpot contact is deleted when its Lead (or its Contact) is deleted in Salesforce.
-- Why: a merge deletes the losing record. With this setting a merge the wrong way round deletes the HubSpot contact, with its history,
-- consent and activities (F6).
-- Rests on: rules 34, 36; F6.
-- Not: the setting "do nothing", with which only the sync breaks.
-- Steward: set it to "do nothing" in HubSpot's Salesforce settings, and in bindwatch.toml; delete contacts by hand or by a list.
select
    format('The policy says that HubSpot contacts are deleted with their Salesforce {}.', setting.object_type) as reason,
    format('Set "When a Salesforce {} is deleted" to "Do nothing" in HubSpot, and {} = "keep" in bindwatch.toml.',
        lower(setting.object_type), setting.knob) as action,
    setting.knob as facts
from (
    select 'Lead' as object_type, 'on_lead_deleted' as knob, on_lead_deleted as chosen from main.policy
    union all
    select 'Contact', 'on_contact_deleted', on_contact_deleted from main.policy
) as setting
where setting.chosen = 'delete';
