-- A record cannot be read, and a person accepted that.
--
-- severity: warn
-- basis: observed
-- harm: none
-- on: core/record_set_aside
--
-- Fails when a record arrived that cannot be read, and somebody said with `bindwatch run --accept-record` that runs may go on without it.
-- Why: what Bindwatch says about it is its last good version, or nothing. For contacts that are bound to it, or could be, nothing is certain: they are
-- predicted ambiguous, and are in no certified binding.
-- Otherwise: the contact may jump or break without a word. The acceptance ends when the record changes.
-- Rests on: docs/decisions/0016-one-bad-record.md.
-- Not: a record that nobody accepted (pull_incomplete), or that is merely odd: any text in a value is an ordinary value.
-- Steward: correct the record in its CRM; the next run reads it again by itself.
--
-- Auf Deutsch: Ein Datensatz ist nicht lesbar, und jemand hat das hingenommen.
-- Warum: Was Bindwatch über ihn sagt, ist seine letzte lesbare Fassung, oder nichts. Für Kontakte, die mit ihm verknüpft sind oder es sein könnten, ist
-- nichts sicher: ihre Vorhersage ist mehrdeutig, und in den bestätigten Verknüpfungen fehlen sie.
-- Sonst: Der Kontakt kann unbemerkt springen oder von Salesforce getrennt werden. Die Hinnahme endet, wenn sich der Datensatz ändert.
--
-- says accepted: {object|contact: HubSpot contact|{object}} {record} cannot be read: {why:code}. {who} accepted that on {at:day}.
-- says.de accepted: {object|contact: HubSpot-Kontakt|Contact: Salesforce-Kontakt|{object}} {record} ist nicht lesbar: {why:code}. {who} hat das am {at:day}
--   hingenommen.
-- do accepted: Correct the record in its CRM. The next run reads it again by itself.
-- do.de accepted: Den Datensatz in seinem CRM korrigieren. Der nächste Lauf liest ihn von selbst wieder.
select
    case object_type when 'contact' then record_id end as hubspot_contact_id,
    case when object_type <> 'contact' then record_id end as salesforce_id,
    'accepted' as says,
    map {'object': object_type, 'record': record_id, 'why': reason, 'who': accepted_by, 'at': cast(accepted_at as varchar)} as facts,
    reason as identity
from core.record_set_aside
where is_accepted;
