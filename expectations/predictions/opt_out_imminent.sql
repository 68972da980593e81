-- A likely switch would opt a contact out of e-mail, which nobody can undo.
--
-- severity: block
-- basis: documented
-- harm: consent
-- about: switch
-- on: core/overwrite
-- due: select min(recency_at) + main.lately() from core.salesforce_person
--   where recency_at > (select as_of from staging.clock) - main.lately()
--   and record_id in (select unnest(rival_ids) from review.violation where check_name = 'opt_out_imminent')
-- slice: hubspot_contact_id
--
-- Fails when the switch of a contact bound to a live record to a rival is likely (it is predicted, or the rival was updated in the last 30 days), the rival
-- is opted out of e-mail, and the contact is not.
-- Why: HubSpot takes the opt-out over for the address and never takes it back, whatever Salesforce says later; no interface can undo it.
-- Otherwise: with the switch the person gets no e-mail any more, and only their own new consent changes that.
-- Rests on: rules 11, 26a; HubSpot's pages of 2016, 2017 and 2026 (docs/integration.md).
-- Not: a portal in which the field goes both ways (opt_out = "as_mapped"; there it is a value like any other); a rival nobody has touched for a month.
-- Steward: find out whether the person opted out. If so, unsubscribe the contact in HubSpot. If not, correct the rival, and save a harmless edit of the
-- bound record right after it, so that the binding stays.
--
-- Auf Deutsch: Ein wahrscheinlicher Sprung würde einen Kontakt von E-Mails abmelden, und niemand kann das rückgängig machen.
-- Warum: HubSpot übernimmt die Abmeldung für die Adresse und nimmt sie nie zurück, was auch immer Salesforce später sagt; keine Schnittstelle macht sie
-- rückgängig.
-- Sonst: Mit dem Sprung bekommt die Person keine E-Mails mehr, und nur ihre eigene neue Zustimmung ändert das.
--
-- says opts_out: {rivals} {count|1: is|are} opted out of e-mail, the contact is not. {likely|predicted: The next sync moves the binding there|An edit in
--   the last 30 days makes a switch likely}, and with it the opt-out comes to HubSpot for good.
-- says.de opts_out: {rivals} {count|1: ist|sind} von E-Mails abgemeldet, der Kontakt nicht. {likely|predicted: Mit der nächsten Synchronisierung springt
--   die Verknüpfung dorthin|Eine Bearbeitung in den letzten 30 Tagen macht einen Sprung der Verknüpfung wahrscheinlich}, und damit kommt die Abmeldung
--   endgültig nach HubSpot.
-- do opts_out: Find out whether the person opted out. If so, unsubscribe the contact in HubSpot. If not, correct HasOptedOutOfEmail in {rivals}, and save
--   a harmless edit of {record} right after it, so that the binding stays.[ {quoted}]
-- do.de opts_out: Klären, ob sich die Person abgemeldet hat. Wenn ja, den Kontakt in HubSpot abmelden. Wenn nein, HasOptedOutOfEmail in {rivals}
--   berichtigen und gleich danach {record} mit einer harmlosen Bearbeitung speichern, damit die Verknüpfung bleibt.[ {quoted}]
select
    overwrite.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    list(distinct overwrite.rival_id order by overwrite.rival_id) as rival_ids,
    binding.email,
    ['hs_email_optout'] as fields_at_risk,
    'opts_out' as says,
    map {
        'record': binding.bound_id, 'rivals': array_to_string(list(distinct overwrite.rival_id order by overwrite.rival_id), ', '),
        'count': cast(count(distinct overwrite.rival_id) as varchar),
        'likely': case when bool_or(coalesce(binding.prediction = 'switch' and binding.predicted_id = overwrite.rival_id, false)) then 'predicted'
        else 'edited' end} as facts,
    any_value(first_step.quoted) as quoted
from core.overwrite as overwrite
inner join core.binding as binding on binding.hubspot_contact_id = overwrite.hubspot_contact_id
inner join core.salesforce_person as rival on rival.record_id = overwrite.rival_id
left join core.first_step as first_step on first_step.hubspot_contact_id = overwrite.hubspot_contact_id
cross join staging.clock as clock
cross join main.policy as policy
where overwrite.property = 'hs_email_optout'
  and main.only_opts_out(policy.opt_out)
  and overwrite.effect = 'overwrite'
  and binding.bound_state = 'live'
  and coalesce((binding.prediction = 'switch' and binding.predicted_id = overwrite.rival_id) or rival.recency_at > clock.as_of - main.lately(), false)
group by overwrite.hubspot_contact_id, binding.bound_id, binding.email;
