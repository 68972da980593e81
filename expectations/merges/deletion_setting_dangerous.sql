-- HubSpot deletes contacts together with their Salesforce records.
--
-- severity: warn
-- basis: documented
-- harm: deleted
-- on: core/merge_event
--
-- Fails when the policy says that a HubSpot contact is deleted when its Lead (or its Contact) is deleted in Salesforce.
-- Why: a merge deletes the losing record. With this setting a merge the wrong way round deletes the HubSpot contact, with its history,
-- consent and activities (F6).
-- Otherwise: the next merge the wrong way round deletes a contact instead of only breaking its sync.
-- Rests on: rules 34, 36; F6.
-- Not: the setting "do nothing", with which only the sync breaks.
-- Steward: set it to "do nothing" in HubSpot's Salesforce settings, and in bindwatch.toml; delete contacts by hand or by a list.
--
-- Auf Deutsch: HubSpot löscht Kontakte zusammen mit ihren Salesforce-Datensätzen.
-- Warum: Eine Zusammenführung löscht jeden Datensatz, der nicht der Masterdatensatz ist. Mit dieser Einstellung löscht eine in falscher Richtung den
-- HubSpot-Kontakt samt Verlauf, Einwilligung und Aktivitäten (F6).
-- Sonst: Die nächste Zusammenführung in falscher Richtung löscht einen Kontakt, statt nur seine Synchronisierung zu unterbrechen.
--
-- says deletes: The policy says that HubSpot contacts are deleted with their Salesforce {object}.
-- says.de deletes: Die Policy sagt, dass HubSpot-Kontakte mit ihrem {object|Contact: Salesforce-Kontakt|Salesforce-{object}} gelöscht werden.
-- do deletes: Set "When a Salesforce {object|Lead: lead|contact} is deleted" to "Do nothing" in HubSpot, and {knob} = "keep" in bindwatch.toml.
-- do.de deletes: In HubSpot bei „Wenn ein Salesforce-{object|Contact: Kontakt|{object}} gelöscht wird“ die Option „Nichts tun“ wählen. In bindwatch.toml
--   {knob} = "keep" setzen.
select
    'deletes' as says,
    map {'object': setting.object_type, 'knob': setting.knob} as facts,
    setting.knob as identity
from (
    select 'Lead' as object_type, 'on_lead_deleted' as knob, main.goes_along(on_lead_deleted) as goes_along from main.policy
    union all
    select 'Contact', 'on_contact_deleted', main.goes_along(on_contact_deleted) from main.policy
) as setting
where setting.goes_along;
