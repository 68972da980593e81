-- The history of a binding cannot be read.
--
-- severity: warn
-- basis: observed
-- harm: none
-- on: core/hubspot_contact
-- slice: hubspot_contact_id
--
-- Fails when a live HubSpot contact carries a Salesforce id, and the property that holds it has no history.
-- Why: switches are read from that history. For this contact nobody can say whether the binding jumped, so switch_happened and
-- binding_flaps are blind for it, and predictions cannot be checked against it.
-- Otherwise: a jump of this contact goes unnoticed, and its values cannot be restored from the history.
-- Rests on: HubSpot's property history, which names each value with its time and source.
-- Not: a history that begins late. One entry is enough to see the next switch.
-- Steward: nothing in the CRMs. Ask the administrator whether the Service Key may read property history; one sync writes a new entry.
--
-- Auf Deutsch: Der Verlauf einer Verknüpfung ist nicht lesbar.
-- Warum: Sprünge werden aus diesem Verlauf gelesen. Für diesen Kontakt kann niemand sagen, ob die Verknüpfung gesprungen ist; switch_happened und
-- binding_flaps sind für ihn blind, und Vorhersagen lassen sich nicht an ihm prüfen.
-- Sonst: Ein Sprung dieses Kontakts bleibt unbemerkt, und seine Werte lassen sich nicht aus dem Verlauf wiederherstellen.
--
-- says no_history: It is bound to {record}, and HubSpot gives no history of {property}: whether the binding ever jumped cannot be told.
-- says.de no_history: Er ist mit {record} verknüpft, und HubSpot liefert keinen Verlauf von {property}: Ob die Verknüpfung je gesprungen ist, lässt sich
--   nicht sagen.
-- do no_history: Check that the Service Key may read property history, or wait for the next sync of the contact.
-- do.de no_history: Prüfen, ob der Service Key den Verlauf von Eigenschaften lesen darf, oder die nächste Synchronisierung des Kontakts abwarten.
select
    contact.contact_id as hubspot_contact_id,
    contact.bound_id as salesforce_id,
    contact.email,
    'no_history' as says,
    map {
        'record': contact.bound_id,
        'property': case contact.bound_id when contact.salesforce_contact_id then 'salesforcecontactid' else 'salesforceleadid' end} as facts
from core.hubspot_contact as contact
left join (
    select distinct hubspot_contact_id, property
    from staging.hubspot_property_version
    where main.is_id_property(property)
) as history
    on history.hubspot_contact_id = contact.contact_id
    and history.property = case contact.bound_id when contact.salesforce_contact_id then 'salesforcecontactid' else 'salesforceleadid' end
where contact.state = 'live' and contact.bound_id is not null and history.hubspot_contact_id is null;
