-- A contact carries a Lead id and a Contact id that are not the same person.
--
-- severity: block
-- basis: inferred
-- harm: cut_off
-- on: core/hubspot_contact
-- slice: hubspot_contact_id
--
-- Fails when both id properties are set, and the Lead was not converted into that Contact or into one merged into it.
-- Why: the contact has two anchors. Which one the integration follows is not documented; values come from either.
-- Otherwise: the integration follows one of the two records, and which one may change with any sync.
-- Rests on: rules 29 to 31 (what happens to the Lead id on conversion is not documented).
-- Not: the two ids that a conversion leaves behind.
-- Steward: keep the id of the right record, clear the other one.
--
-- Auf Deutsch: Ein Kontakt trägt eine Lead-ID und eine Kontakt-ID aus Salesforce, die nicht dieselbe Person sind.
-- Warum: Der Kontakt hat zwei Anker. Welchem die Integration folgt, ist nicht dokumentiert; Werte kommen von beiden.
-- Sonst: Die Integration folgt einem der beiden Datensätze, und welchem, kann sich mit jeder Synchronisierung ändern.
--
-- says two_people: It carries Lead id {lead} and Contact id {contact}, and that Lead was not converted into that Contact.
-- says.de two_people: Er trägt die Lead-ID {lead} und die Salesforce-Kontakt-ID {contact}, und dieser Lead wurde nicht in diesen Salesforce-Kontakt
--   konvertiert.
-- do two_people: Keep the id of the right record and clear the other property.
-- do.de two_people: Die ID des richtigen Datensatzes behalten. Die andere Eigenschaft leeren.
select
    contact.contact_id as hubspot_contact_id,
    contact.bound_id as salesforce_id,
    [case when contact.bound_id = contact.salesforce_lead_id then contact.salesforce_contact_id else contact.salesforce_lead_id end] as rival_ids,
    contact.email,
    'two_people' as says,
    map {'lead': contact.salesforce_lead_id, 'contact': contact.salesforce_contact_id} as facts
from core.hubspot_contact as contact
left join core.salesforce_person as lead_record on lead_record.record_id = contact.salesforce_lead_id
left join core.merge_chain as chain
    on chain.record_id = lead_record.converted_contact_id and chain.ancestor_id = contact.salesforce_contact_id
where contact.state = 'live'
  and contact.salesforce_lead_id <> contact.salesforce_contact_id
  and lead_record.converted_contact_id is distinct from contact.salesforce_contact_id
  and chain.record_id is null;
