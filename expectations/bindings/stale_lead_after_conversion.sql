-- A contact is still bound to a Lead that was converted.
--
-- severity: warn
-- severity: block when the Lead was converted more than 24 hours ago
-- basis: documented
-- harm: cut_off
-- on: core/binding
-- due: select min(modified_at) + interval 24 hour from staging.salesforce_version
--   where record_id in (select salesforce_id from review.violation where check_name = 'stale_lead_after_conversion' and severity = 'warn')
--   and is_converted and modified_at + interval 24 hour >= (select as_of from staging.clock)
-- slice: hubspot_contact_id
--
-- Fails when a live HubSpot contact is bound to a converted Lead and does not carry the id of the Contact that it became, or of the one that
-- Contact was merged into.
-- Why: a converted Lead is frozen: nothing syncs with it. Salesforce works on with the Contact, HubSpot with values from before.
-- Otherwise: sales works on with the Contact, marketing with values from before the conversion.
-- Rests on: rules 29 to 31. The binding should follow the conversion; where only Leads create HubSpot contacts it does not.
-- Not: a contact that carries both ids (the binding has followed).
-- Steward: allow Contacts in HubSpot's Salesforce settings, then resync the contact. It binds to the Contact with the next change on either side.
--
-- Auf Deutsch: Ein Kontakt ist noch mit einem Lead verknüpft, der konvertiert wurde.
-- Warum: Ein konvertierter Lead ist eingefroren: Nichts wird mehr mit ihm synchronisiert. Salesforce arbeitet mit dem Salesforce-Kontakt weiter, HubSpot mit
-- Werten von vorher.
-- Sonst: Der Vertrieb arbeitet mit dem Salesforce-Kontakt weiter, das Marketing mit Werten aus der Zeit vor der Konvertierung.
--
-- says converted: It is bound to {record}, a Lead that was converted[ into Contact {heir}].
-- says.de converted: Er ist mit {record} verknüpft, einem [?heir Lead, der in den Salesforce-Kontakt {heir} konvertiert wurde|konvertierten Lead].
-- do converted: Check that HubSpot may sync Contacts (Salesforce settings, Contacts tab), then resync this contact.
-- do.de converted: Prüfen, ob HubSpot Salesforce-Kontakte synchronisieren darf (Salesforce-Einstellungen, Reiter Kontakte). Danach diesen Kontakt
--   neu synchronisieren.
with converted as (
    -- Salesforce gives the day of a conversion, no time; the stamp of the first version seen converted has one
    select record_id, min_by(modified_at, pull_no) as converted_at
    from staging.salesforce_version
    where is_converted and object_type = 'Lead'
    group by record_id
)
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    case when lead_record.converted_contact_id is not null then [coalesce(heir.survivor_id, lead_record.converted_contact_id)] end as rival_ids,
    binding.email,
    'converted' as says,
    map {'record': binding.bound_id, 'heir': coalesce(heir.survivor_id, lead_record.converted_contact_id)} as facts,
    case when clock.as_of - converted.converted_at > interval 24 hour then 'block' else 'warn' end as severity
from core.binding as binding
inner join core.hubspot_contact as contact on contact.contact_id = binding.hubspot_contact_id
inner join core.salesforce_person as lead_record on lead_record.record_id = binding.bound_id
left join converted on converted.record_id = binding.bound_id
left join core.salesforce_person as heir on heir.record_id = lead_record.converted_contact_id
left join core.merge_chain as chain
    on chain.record_id = lead_record.converted_contact_id and chain.ancestor_id = contact.salesforce_contact_id
cross join staging.clock as clock
where binding.bound_state = 'converted'
  and chain.record_id is null
  and coalesce(contact.salesforce_contact_id <> lead_record.converted_contact_id, true);
