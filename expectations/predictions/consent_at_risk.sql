-- A likely switch would undo somebody's opt-out.
--
-- severity: block
-- basis: documented
-- on: core/overwrite
--
-- Fails when a contact bound to a live record has opted out, a rival says it has not, and the switch to that rival is likely: it is predicted,
-- or the rival was updated in the last 30 days.
-- Why: after the switch the person may be written to again, against their will. That is a breach of the law in many countries, and nobody
-- did anything for it.
-- Otherwise: with the switch the opt-out is gone, and the next mailing goes to somebody who asked not to get it.
-- Rests on: rules 11, 24, 25; the fields that the mapping marks with consent = true.
-- Not: an opt-out that a switch would add; a rival nobody has touched for a month (unsafe_duplicate names the field).
-- Steward: opt the rival out first. Then merge it into the bound record.
--
-- Auf Deutsch: Ein wahrscheinlicher Wechsel würde die Abmeldung einer Person aufheben.
-- Warum: Nach dem Wechsel kann der Person gegen ihren Willen wieder geschrieben werden. Das verstößt in vielen Ländern gegen das Gesetz, und
-- niemand hat etwas dafür getan.
-- Sonst: Mit dem Wechsel ist die Abmeldung weg, und die nächste Mail geht an jemanden, der keine mehr wollte.
select
    overwrite.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    list(distinct overwrite.rival_id order by overwrite.rival_id) as rival_ids,
    binding.email,
    list(distinct overwrite.property order by overwrite.property) as fields_at_risk,
    format('The contact has opted out. {} has not, and {}: the switch would opt the contact in again.',
        case when count(distinct overwrite.rival_id) = 1 then min(overwrite.rival_id) else format('Each of {} rivals', count(distinct overwrite.rival_id)) end,
        case when bool_or(coalesce(binding.prediction = 'switch' and binding.predicted_id = overwrite.rival_id, false)) then 'the next sync moves the binding there'
        else 'it was updated in the last 30 days' end) as reason,
    'Set the opt-out on the rival in Salesforce now, then merge it into the bound record.' as action,
    format('Der Kontakt hat sich abgemeldet. {} nicht, und {}: der Wechsel würde ihn wieder anmelden.',
        case when count(distinct overwrite.rival_id) = 1 then min(overwrite.rival_id) else format('Jeder von {} Rivalen', count(distinct overwrite.rival_id)) end,
        case when bool_or(coalesce(binding.prediction = 'switch' and binding.predicted_id = overwrite.rival_id, false)) then 'die nächste Synchronisierung verschiebt die Verknüpfung dorthin'
        else 'der Datensatz wurde in den letzten 30 Tagen bearbeitet' end) as reason_de,
    'Die Abmeldung jetzt in Salesforce beim Rivalen setzen. Danach ihn in den verknüpften Datensatz zusammenführen.' as action_de
from core.overwrite as overwrite
inner join core.binding as binding on binding.hubspot_contact_id = overwrite.hubspot_contact_id
inner join core.salesforce_person as rival on rival.record_id = overwrite.rival_id
cross join staging.clock as clock
where overwrite.consent
  and binding.bound_state = 'live'
  and main.as_boolean(overwrite.hubspot_value)
  and (main.as_boolean(overwrite.salesforce_value) = false or overwrite.effect = 'clear')
  and coalesce((binding.prediction = 'switch' and binding.predicted_id = overwrite.rival_id) or rival.recency_at > clock.as_of - interval 30 day, false)
group by overwrite.hubspot_contact_id, binding.bound_id, binding.email;
