-- A likely switch would write to somebody who has not agreed to it.
--
-- severity: block
-- basis: documented
-- harm: consent
-- about: switch
-- on: core/overwrite
-- due: select min(recency_at) + main.lately() from core.salesforce_person
--   where recency_at > (select as_of from staging.clock) - main.lately()
--   and record_id in (select unnest(rival_ids) from review.violation where check_name = 'consent_at_risk')
-- slice: hubspot_contact_id
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
-- Auf Deutsch: Nach einem wahrscheinlichen Sprung würde jemand angeschrieben, der nicht zugestimmt hat.
-- Warum: Nach dem Sprung kann der Person gegen ihren Willen geschrieben werden. Das verstößt in vielen Ländern gegen das Gesetz, und niemand hat es
-- gewollt.
-- Sonst: Mit dem Sprung gilt der Kontakt als einer, dem geschrieben werden darf, und die nächste Mail geht an jemanden, der keine wollte.
--
-- says at_risk: A switch to [{rival}|any of {count:number} records] would change what the person agreed to: {changes:words}. {likely|predicted: The next
--   sync moves the binding there|It was updated in the last 30 days}.
-- says.de at_risk: Ein Sprung zu [{rival}|einem von {count:number} Datensätzen] würde ändern, wozu die Person zugestimmt hat: {changes:words}.
--   {likely|predicted: Mit der nächsten Synchronisierung springt die Verknüpfung dorthin|Der Datensatz wurde in den letzten 30 Tagen bearbeitet}.
-- do at_risk: Enter HubSpot's value in {rivals} now, and save a harmless edit of {record} right after it, so that the binding stays.[ {quoted}]
-- do.de at_risk: Jetzt den Wert aus HubSpot in {rivals} eintragen und gleich danach {record} mit einer harmlosen Bearbeitung speichern, damit die
--   Verknüpfung bleibt.[ {quoted}]
with change as (
    select
        overwrite.hubspot_contact_id, overwrite.rival_id, overwrite.property,
        format('{}: {} → {}', overwrite.property, main.value_or(overwrite.hubspot_value), main.value_or(overwrite.salesforce_value)) as change
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
    'at_risk' as says,
    map {
        'record': binding.bound_id, 'rival': case when count(distinct change.rival_id) = 1 then min(change.rival_id) end,
        'count': cast(count(distinct change.rival_id) as varchar),
        'rivals': array_to_string(list(distinct change.rival_id order by change.rival_id), ', '),
        'changes': array_to_string((list(distinct change.change order by change.change))[:3], '; '),
        'likely': case when bool_or(coalesce(binding.prediction = 'switch' and binding.predicted_id = change.rival_id, false)) then 'predicted'
        else 'edited' end} as facts,
    any_value(first_step.quoted) as quoted
from change
inner join core.binding as binding on binding.hubspot_contact_id = change.hubspot_contact_id
inner join core.salesforce_person as rival on rival.record_id = change.rival_id
left join core.first_step as first_step on first_step.hubspot_contact_id = change.hubspot_contact_id
cross join staging.clock as clock
where binding.bound_state = 'live'
  and coalesce((binding.prediction = 'switch' and binding.predicted_id = change.rival_id) or rival.recency_at > clock.as_of - main.lately(), false)
group by change.hubspot_contact_id, binding.bound_id, binding.email;
