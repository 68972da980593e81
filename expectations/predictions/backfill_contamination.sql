-- A past switch wrote one record's values into another one.
--
-- severity: warn
-- basis: inferred
-- harm: spread
-- on: core/switch_event
-- slice: hubspot_contact_id
--
-- Fails when fields of a record were blank before a contact switched to it, and now hold the values of the record that the contact came from.
-- Reported until the value changes.
-- Why: where a blank Salesforce field meets a value in HubSpot, the integration fills the field (rule 25). After a switch that value belongs to
-- the other record (rule 28): a second customer's record now carries the first one's phone number.
-- Otherwise: the wrong values stay in the record, and sync back into HubSpot for whoever is bound to it.
-- Rests on: rules 25, 28. Nobody documents it; the versions that Bindwatch keeps show it.
-- Not: a switch from before the first pull (what was blank then is not known); a value that was there before the switch.
-- Steward: if the two are one person, merge them. If not, correct the fields in the new record.
--
-- Auf Deutsch: Ein früherer Sprung hat Werte eines Datensatzes in einen anderen geschrieben.
-- Warum: Trifft ein leeres Salesforce-Feld auf einen Wert in HubSpot, füllt die Integration das Feld (Regel 25). Nach einem Sprung gehört dieser Wert zum
-- anderen Datensatz (Regel 28): Der Datensatz eines zweiten Kunden trägt nun die Telefonnummer des ersten.
-- Sonst: Die falschen Werte bleiben im Datensatz und gelangen zurück nach HubSpot, mit wem auch immer er verknüpft ist.
--
-- says filled: The switch from {from} filled blank fields of {to} with values of the old record: {properties}.
-- says.de filled: Der Sprung von {from} hat leere Felder von {to} mit Werten des alten Datensatzes gefüllt: {properties}.
-- do filled: If both are one person, merge them. If not, correct these fields in {to}.
-- do.de filled: Sind beide eine Person, sie zusammenführen. Sonst diese Felder in {to} berichtigen.
select
    filled.hubspot_contact_id,
    filled.to_id as salesforce_id,
    [filled.from_id] as rival_ids,
    contact.email,
    list(distinct filled.property order by filled.property) as fields_at_risk,
    'filled' as says,
    map {
        'from': filled.from_id, 'to': filled.to_id,
        'properties': array_to_string(list(distinct filled.property order by filled.property), ', ')} as facts,
    -- one field that is corrected ends no decision about the others
    concat_ws(' ', main.event_moment(filled.switched_at), filled.from_id, filled.to_id) as event,
    any_value(switch.is_known) as is_known
from core.backfilled_value as filled
inner join core.hubspot_contact as contact on contact.contact_id = filled.hubspot_contact_id
inner join core.salesforce_person as person on person.record_id = filled.to_id and person.state = 'live'
left join (
    select hubspot_contact_id, switched_at, to_id, bool_and(not is_new) as is_known from core.switch_event group by hubspot_contact_id, switched_at, to_id
) as switch on switch.hubspot_contact_id = filled.hubspot_contact_id and switch.switched_at = filled.switched_at and switch.to_id = filled.to_id
group by filled.hubspot_contact_id, filled.from_id, filled.to_id, filled.switched_at, contact.email;
