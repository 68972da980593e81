-- A likely switch would write to somebody who has not agreed to it.
--
-- severity: block
-- basis: documented
-- harm: consent
-- about: switch
-- on: core/overwrite
-- due: select min(recency_at) + interval 30 day from core.salesforce_person
--   where recency_at > (select as_of from staging.clock) - interval 30 day
--   and record_id in (select unnest(rival_ids) from review.violation where check_name = 'consent_at_risk')
--
-- Fails when the switch of a contact bound to a live record to a rival is likely (it is predicted, or the rival was updated in the last 30 days), and would
-- change a consent field so that the person may be written to: opted out becomes not opted out, not agreed (or blank) becomes agreed, or the value is
-- one that the policy does not know.
-- Why: after the switch the person may be written to against their will. That is a breach of the law in many countries, and nobody did anything for
-- it.
-- Otherwise: with the switch the contact counts as one that may be written to, and the next mailing goes to somebody who did not want it.
-- Rests on: rules 11, 24, 25; the fields that the mapping marks with consent.
-- Not: hs_email_optout, as long as the policy says that HubSpot never opts in again (opt_out = "sticky"); an opt-out that a switch would add
-- (opt_out_imminent); a rival nobody has touched for a month (unsafe_duplicate names the field).
-- Steward: enter HubSpot's value in the rival, save a harmless edit of the bound record right after it so that the binding stays, then follow the
-- run-book.
--
-- Auf Deutsch: Ein wahrscheinlicher Wechsel würde jemanden anschreiben lassen, der nicht zugestimmt hat.
-- Warum: Nach dem Wechsel kann der Person gegen ihren Willen geschrieben werden. Das verstößt in vielen Ländern gegen das Gesetz, und niemand hat
-- etwas dafür getan.
-- Sonst: Mit dem Wechsel gilt der Kontakt als einer, dem geschrieben werden darf, und die nächste Mail geht an jemanden, der keine wollte.
with change as (
    select
        overwrite.hubspot_contact_id, overwrite.rival_id, overwrite.property,
        format('{}: {} → {}', overwrite.property, main.value_or(overwrite.hubspot_value, 'blank'),
            main.value_or(overwrite.salesforce_value, 'blank')) as change,
        format('{}: {} → {}', overwrite.property, main.value_or(overwrite.hubspot_value, 'leer'),
            main.value_or(overwrite.salesforce_value, 'leer')) as change_de
    from core.overwrite as overwrite
    inner join core.salesforce_person as rival on rival.record_id = overwrite.rival_id
    inner join core.mapped_field as field on field.property = overwrite.property and field.object_type = rival.object_type
    where overwrite.consent
      and overwrite.effect <> 'backfill'
      and main.loses_consent(overwrite.hubspot_value, overwrite.salesforce_value, field.consent_kind, field.granted, field.denied)
)
select
    change.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    list(distinct change.rival_id order by change.rival_id) as rival_ids,
    binding.email,
    list(distinct change.property order by change.property) as fields_at_risk,
    format('A switch to {} would change what the person agreed to: {}. {}.',
        case when count(distinct change.rival_id) = 1 then min(change.rival_id) else format('any of {} records', count(distinct change.rival_id)) end,
        array_to_string((list(distinct change.change order by change.change))[:3], '; '),
        case when bool_or(coalesce(binding.prediction = 'switch' and binding.predicted_id = change.rival_id, false)) then 'The next sync moves the binding there'
        else 'It was updated in the last 30 days' end) as reason,
    format('Enter HubSpot''s value in {} now, and save a harmless edit of {} right after it, so that the binding stays. ',
        array_to_string(list(distinct change.rival_id order by change.rival_id), ', '), binding.bound_id) || coalesce(any_value(first_step.action), '') as action,
    format('Ein Wechsel zu {} würde ändern, wozu die Person zugestimmt hat: {}. {}.',
        case when count(distinct change.rival_id) = 1 then min(change.rival_id) else format('einem von {} Datensätzen', count(distinct change.rival_id)) end,
        array_to_string((list(distinct change.change_de order by change.change_de))[:3], '; '),
        case when bool_or(coalesce(binding.prediction = 'switch' and binding.predicted_id = change.rival_id, false)) then 'Die nächste Synchronisierung verschiebt die Verknüpfung dorthin'
        else 'Der Datensatz wurde in den letzten 30 Tagen bearbeitet' end) as reason_de,
    format('Jetzt den Wert aus HubSpot in {} eintragen und gleich danach {} mit einer harmlosen Bearbeitung speichern, damit die Verknüpfung bleibt. ',
        array_to_string(list(distinct change.rival_id order by change.rival_id), ', '), binding.bound_id) || coalesce(any_value(first_step.action_de), '') as action_de
from change
inner join core.binding as binding on binding.hubspot_contact_id = change.hubspot_contact_id
inner join core.salesforce_person as rival on rival.record_id = change.rival_id
left join core.first_step as first_step on first_step.hubspot_contact_id = change.hubspot_contact_id
cross join staging.clock as clock
where binding.bound_state = 'live'
  and coalesce((binding.prediction = 'switch' and binding.predicted_id = change.rival_id) or rival.recency_at > clock.as_of - interval 30 day, false)
group by change.hubspot_contact_id, binding.bound_id, binding.email;
