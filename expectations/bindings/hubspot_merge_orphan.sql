-- A Salesforce record lost its contact in a HubSpot merge.
--
-- severity: warn
-- basis: observed
-- harm: drift
-- on: core/salesforce_person
-- slice: hubspot_contact_id
--
-- Fails when a live Salesforce record's e-mail is only an additional e-mail of a HubSpot contact, and no contact is bound to the record.
-- Why: after a merge in HubSpot only the primary contact syncs (rule 42). This record gets no more updates, and an edit on it ends in the
-- error "Email already in use" (rule 43).
-- Otherwise: the record gets older by the day, and whoever edits it in Salesforce meets an error.
-- Rests on: rules 42, 43.
-- Not: a record whose e-mail is also some contact's primary one; a record that a contact is bound to.
-- Steward: merge the record into the one that the contact is bound to. That one is the master.
--
-- Auf Deutsch: Ein Salesforce-Datensatz hat bei einer Zusammenführung in HubSpot seinen Kontakt verloren.
-- Warum: Nach einer Zusammenführung in HubSpot wird nur der primäre Kontakt synchronisiert (Regel 42). Dieser Datensatz bekommt keine
-- Aktualisierung mehr, und eine Bearbeitung endet mit dem Fehler „E-Mail wird bereits verwendet“ (Regel 43).
-- Sonst: Der Datensatz veraltet, und wer ihn in Salesforce bearbeitet, stößt auf einen Fehler.
--
-- says orphan: Nobody is bound to {record}. Its e-mail is a secondary one of contact {contact}, which is bound to [{bound}|nothing].
-- says.de orphan: Niemand ist mit {record} verknüpft. Die E-Mail ist eine Zweitadresse von Kontakt {contact}, der mit [{bound}|keinem Datensatz] verknüpft
--   ist.
-- do orphan: [Merge it into {bound}, the record that the contact is bound to; a Lead is converted into it.|Decide whether it is the same person; then make
--   its e-mail the contact's primary one, or split the contact.]
-- do.de orphan: [Mit dem Masterdatensatz {bound} zusammenführen, mit dem der Kontakt verknüpft ist; ein Lead wird dorthin konvertiert.|Klären, ob es
--   dieselbe Person ist. Dann die E-Mail zur Hauptadresse des Kontakts machen oder den Kontakt teilen.]
with secondary as (
    select
        address.email,
        min_by(address.contact_id, (length(address.contact_id), address.contact_id)) as hubspot_contact_id,
        min_by(address.bound_id, (length(address.contact_id), address.contact_id)) as bound_id
    from (
        select contact_id, bound_id, unnest(additional_emails) as email from core.hubspot_contact where state = 'live' and len(additional_emails) > 0
    ) as address
    group by address.email
)
select
    secondary.hubspot_contact_id,
    person.record_id as salesforce_id,
    case when secondary.bound_id is not null then [secondary.bound_id] end as rival_ids,
    person.email,
    'orphan' as says,
    map {'record': person.record_id, 'contact': secondary.hubspot_contact_id, 'bound': secondary.bound_id} as facts
from secondary
inner join core.salesforce_person as person on person.email = secondary.email and person.state = 'live'
where not exists (select 1 from core.hubspot_contact as holder where holder.email = person.email and holder.state = 'live')
  and not exists (select 1 from core.hubspot_contact as bound where bound.bound_id = person.record_id and bound.state = 'live');
