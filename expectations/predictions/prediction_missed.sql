-- The last run's prediction was wrong.
--
-- severity: warn
-- basis: inferred
-- harm: drift
-- on: core/binding
-- due: select as_of from staging.clock where exists (select 1 from review.violation where check_name = 'prediction_missed')
-- due: select any_value(as_of) from staging.clock cross join main.policy cross join core.hubspot_contact as contact
--   inner join core.binding as binding on binding.hubspot_contact_id = contact.contact_id
--   where contact.last_sync_at > latest_stamp + to_minutes(settle_minutes) and (binding.prediction <> 'keep' or len(binding.candidate_ids) > 1)
-- slice: hubspot_contact_id
--
-- Fails when the last proven run predicted a switch or a first binding, the contact has synced since, and it is bound to something else; or
-- when it predicted that the contact stays, and it switched without an edit after the prediction.
-- Why: every other finding about what will happen rests on the same policy. Misses say that the policy does not describe this portal.
-- Otherwise: nothing breaks, but all that Bindwatch says about the future of other contacts may be wrong, too.
-- Rests on: docs/prediction.md; core.prediction_score counts hits and misses.
-- Not: a record that was meanwhile merged or converted into the one that is bound; a contact that has not synced yet; an id that somebody else than the
-- integration wrote, or a merge of contacts.
-- Steward: look at one or two by hand. The administrator compares policies with `bindwatch backtest` and corrects bindwatch.toml.
--
-- Auf Deutsch: Die Vorhersage des letzten Laufs war falsch.
-- Warum: Jeder andere Befund über das, was kommen wird, beruht auf derselben Policy. Fehltreffer sagen, dass die Policy dieses Portal nicht
-- beschreibt.
-- Sonst: Nichts geht kaputt, aber alles, was Bindwatch über die Zukunft anderer Kontakte sagt, kann ebenso falsch sein.
--
-- says jumped: It was predicted to stay with {record} (rule {rule}), and jumped to {jumped_to} although that record was not edited.
-- says.de jumped: Vorhergesagt war, dass er bei {record} bleibt (Regel {rule}), und er ist zu {jumped_to} gesprungen, obwohl dieser Datensatz nicht
--   bearbeitet wurde.
-- do jumped: Look at the edits of both records around the sync. Where misses repeat, compare the policies with `bindwatch backtest`.
-- do.de jumped: Die Bearbeitungen beider Datensätze rund um die Synchronisierung ansehen. Wo sich Fehltreffer häufen, die Policies mit `bindwatch
--   backtest` vergleichen.
-- says elsewhere: It was predicted to be bound to {predicted} (rule {rule}), has synced since, and is bound to [{bound_now}|nothing].
-- says.de elsewhere: Vorhergesagt war die Verknüpfung mit {predicted} (Regel {rule}); er wurde seither synchronisiert und ist mit [{bound_now}|keinem
--   Datensatz] verknüpft.
-- do elsewhere: <jumped>
-- do.de elsewhere: <jumped>
with synced as (
    select
        prediction.*,
        contact.email,
        contact.bound_id as bound_now,
        contact.last_sync_at,
        coalesce(heir.survivor_id, heir.record_id, predicted.survivor_id, prediction.predicted_id) as predicted_today
    from main.prediction as prediction
    inner join core.hubspot_contact as contact on contact.contact_id = prediction.hubspot_contact_id and contact.state = 'live'
    left join core.salesforce_person as predicted on predicted.record_id = prediction.predicted_id
    left join core.salesforce_person as heir on heir.record_id = predicted.converted_contact_id
    cross join main.policy as policy
    where contact.last_sync_at > prediction.predicted_at + to_minutes(policy.settle_minutes)
      and not exists (
          select 1
          from core.binding_history as history
          where history.hubspot_contact_id = prediction.hubspot_contact_id and history.changed_at > prediction.predicted_at
            and (history.source_type <> 'SALESFORCE' or history.is_of_hubspot_merge))
),
first_change as (
    select history.hubspot_contact_id, arg_min(history.to_id, (history.changed_at, history.to_id)) as to_id
    from core.switch_event as event
    inner join core.binding_history as history
        on history.hubspot_contact_id = event.hubspot_contact_id and history.changed_at = event.switched_at and history.to_id = event.to_id
    inner join main.prediction as prediction
        on prediction.hubspot_contact_id = history.hubspot_contact_id and history.changed_at > prediction.predicted_at
    where event.cause in ('duplicate_switch', 'unexplained')
    group by history.hubspot_contact_id
)
select
    synced.hubspot_contact_id,
    synced.bound_now as salesforce_id,
    case when synced.predicted_id is not null then [synced.predicted_id] end as rival_ids,
    synced.email,
    case synced.prediction when 'keep' then 'jumped' else 'elsewhere' end as says,
    map {
        'record': synced.bound_id, 'rule': cast(synced.rule as varchar), 'jumped_to': first_change.to_id, 'predicted': synced.predicted_id,
        'bound_now': synced.bound_now} as facts,
    strftime(synced.predicted_at, '%Y-%m-%dT%H:%M:%S') as identity
from synced
left join first_change on first_change.hubspot_contact_id = synced.hubspot_contact_id
left join core.salesforce_person as jumped_to on jumped_to.record_id = first_change.to_id
where (
        synced.prediction in ('switch', 'bind')
        and synced.bound_now is distinct from synced.predicted_id
        and synced.bound_now is distinct from synced.predicted_today
    )
   or (
        synced.prediction = 'keep'
        and first_change.to_id is not null
        -- a record that was edited, or came, after the prediction could not be foreseen
        and coalesce(jumped_to.modified_at <= synced.predicted_at, false)
    );
