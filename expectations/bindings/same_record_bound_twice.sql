-- Two HubSpot contacts are bound to one Salesforce record.
--
-- severity: block
-- basis: inferred
-- harm: mixed_people
-- on: core/binding
-- slice: salesforce_id
--
-- Fails when two or more live HubSpot contacts are bound to the same record. One finding per record: hubspot_contact_id is the contact
-- bound last, rival_ids are the other contacts.
-- Why: both write into the record, and it writes into both: two people become one (rule 48 calls it an invalid state).
-- Otherwise: both contacts go on overwriting each other through the record.
-- Rests on: rule 48.
-- Not: two contacts with one e-mail in which only one is bound.
-- Steward: if the contacts are one person, merge them in HubSpot; if not, find the second person's own record and rebind.
--
-- Auf Deutsch: Zwei HubSpot-Kontakte sind mit demselben Salesforce-Datensatz verknüpft.
-- Warum: Beide schreiben in den Datensatz, und er schreibt in beide: Aus zwei Personen wird eine (Regel 48 nennt das einen ungültigen Zustand).
-- Sonst: Die Kontakte überschreiben einander weiter über den Datensatz.
--
-- says twice: {contacts:number} HubSpot contacts are bound to {record}.
-- says.de twice: {contacts:number} HubSpot-Kontakte sind mit {record} verknüpft.
-- do twice: Merge the contacts in HubSpot if they are one person; otherwise bind each to its own record.
-- do.de twice: Sind die Kontakte eine Person, sie in HubSpot zusammenführen. Sonst jeden mit seinem eigenen Datensatz verknüpfen.
select
    list(contact.contact_id order by contact.bound_since desc nulls last, length(contact.contact_id) desc, contact.contact_id desc)[1] as hubspot_contact_id,
    contact.bound_id as salesforce_id,
    list(contact.contact_id order by contact.bound_since desc nulls last, length(contact.contact_id) desc, contact.contact_id desc)[2:] as rival_ids,
    list(contact.email order by contact.bound_since desc nulls last, length(contact.contact_id) desc, contact.contact_id desc)[1] as email,
    'twice' as says,
    map {'contacts': cast(count(*) as varchar), 'record': contact.bound_id} as facts
from core.hubspot_contact as contact
where contact.state = 'live'
  and contact.bound_id in (select bound_id from core.hubspot_contact where state = 'live' group by bound_id having count(*) > 1)
group by contact.bound_id;
