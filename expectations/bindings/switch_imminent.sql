-- A contact is about to jump to another Salesforce record.
--
-- severity: block
-- basis: documented
-- on: core/binding
--
-- Fails when two or more live records share a contact's primary e-mail and the prediction is a switch by rule 11: another record was
-- updated after the contact's last sync.
-- Why: with the next sync the binding moves, and the mapped fields with it.
-- Otherwise: the next sync, within some 15 minutes, moves the binding and writes the other record's values into HubSpot.
-- Rests on: rule 11; F3.
-- Not: a switch that follows a conversion (rule 29).
-- Steward: quickly make a harmless edit on the bound record, so that it is the one updated last; then merge.
--
-- Auf Deutsch: Ein Kontakt wird gleich zu einem anderen Salesforce-Datensatz springen.
-- Warum: Mit der nächsten Synchronisierung wandert die Verknüpfung, und mit ihr die zugeordneten Felder.
-- Sonst: Die nächste Synchronisierung, in etwa 15 Minuten, verschiebt die Verknüpfung und schreibt die Werte des anderen Datensatzes nach HubSpot.
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    [binding.predicted_id] as rival_ids,
    binding.email,
    coalesce(at_risk.properties, cast([] as varchar[])) as fields_at_risk,
    format('{} was updated after the contact''s last sync. The next sync moves the binding there from {}; {}.',
        binding.predicted_id, binding.bound_id,
        case when at_risk.properties is null then 'no mapped value is at risk' else 'at risk: ' || array_to_string(at_risk.properties, ', ') end) as reason,
    format('Edit {} now, so that it is the record updated last, then {}.', binding.bound_id,
        case
            when cluster.is_shared_mailbox then 'give each record its own e-mail: they look like different people (shared_mailbox)'
            else format('bring {} into it (merge; a Lead is converted into the Contact)', binding.predicted_id)
        end) as action,
    format('{} wurde nach der letzten Synchronisierung des Kontakts bearbeitet. Die nächste verschiebt die Verknüpfung von {} dorthin; {}.',
        binding.predicted_id, binding.bound_id,
        case when at_risk.properties is null then 'kein zugeordneter Wert ist gefährdet' else 'gefährdet: ' || array_to_string(at_risk.properties, ', ') end) as reason_de,
    format('{} jetzt bearbeiten, damit es der zuletzt geänderte Datensatz ist. Danach {}.', binding.bound_id,
        case
            when cluster.is_shared_mailbox then 'jedem Datensatz eine eigene E-Mail geben: es scheinen verschiedene Personen zu sein (shared_mailbox)'
            else format('{} damit zusammenführen (ein Lead wird in den Contact konvertiert)', binding.predicted_id)
        end) as action_de
from core.binding as binding
inner join core.duplicate_cluster as cluster on cluster.email = binding.email
left join (
    select hubspot_contact_id, rival_id, list(distinct property order by property) as properties
    from core.overwrite
    where is_at_risk
    group by hubspot_contact_id, rival_id
) as at_risk on at_risk.hubspot_contact_id = binding.hubspot_contact_id and at_risk.rival_id = binding.predicted_id
where binding.prediction = 'switch' and binding.rule = 11;
