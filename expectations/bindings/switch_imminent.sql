-- A contact is about to jump to another Salesforce record.
--
-- severity: block
-- basis: documented
-- harm: overwritten
-- about: switch
-- on: core/binding
-- slice: hubspot_contact_id
--
-- Fails when the prediction for a contact is a switch by rule 11: another record that matches its e-mail was updated after the contact's last sync.
-- Why: with the next sync the binding moves, and the mapped fields with it.
-- Otherwise: the next sync, within some 15 minutes, moves the binding and writes the other record's values into HubSpot.
-- Rests on: rule 11; F3.
-- Not: a switch that follows a conversion (rule 29).
-- Steward: quickly make a harmless edit on the bound record, so that it is the one updated last; then merge.
--
-- Auf Deutsch: Ein Kontakt wird gleich zu einem anderen Salesforce-Datensatz springen.
-- Warum: Mit der nächsten Synchronisierung springt die Verknüpfung, und mit ihr die zugeordneten Felder.
-- Sonst: Mit der nächsten Synchronisierung, in etwa 15 Minuten, springt die Verknüpfung, und die Werte des anderen Datensatzes gelangen nach HubSpot.
--
-- says imminent: {rival} was updated after the contact's last sync. The next sync moves the binding there from {record}; HubSpot loses [{changes:words}|no
--   value].
-- says.de imminent: {rival} wurde nach der letzten Synchronisierung des Kontakts bearbeitet. Mit der nächsten springt die Verknüpfung von {record} dorthin;
--   HubSpot verliert [{changes:words}|keinen Wert].
-- do imminent: Save a harmless edit of {record} now, so that it is the record updated last.[ {quoted}]
-- do.de imminent: {record} jetzt mit einer harmlosen Bearbeitung speichern, damit es der zuletzt geänderte Datensatz ist.[ {quoted}]
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    [binding.predicted_id] as rival_ids,
    binding.email,
    coalesce(at_risk.properties, cast([] as varchar[])) as fields_at_risk,
    'imminent' as says,
    map {'record': binding.bound_id, 'rival': binding.predicted_id, 'changes': at_risk.changes} as facts,
    first_step.quoted
from core.binding as binding
left join core.first_step as first_step on first_step.hubspot_contact_id = binding.hubspot_contact_id
left join (
    select
        hubspot_contact_id,
        rival_id,
        list(property order by property) as properties,
        array_to_string(list(format('{}: {} → {}', property, main.value_or(hubspot_value), main.value_or(salesforce_value))
            order by consent desc, property), '; ') as changes
    from core.overwrite
    where is_at_risk
    group by hubspot_contact_id, rival_id
) as at_risk on at_risk.hubspot_contact_id = binding.hubspot_contact_id and at_risk.rival_id = binding.predicted_id
where binding.prediction = 'switch' and binding.rule = 11;
