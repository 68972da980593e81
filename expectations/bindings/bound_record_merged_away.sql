-- A contact is bound to a Salesforce record that was merged into another one.
--
-- severity: block
-- basis: documented
-- harm: cut_off
-- on: core/binding
-- due: select min(departed_at) + main.salesforce_keeps() from core.departure
--   where departed_at + main.salesforce_keeps() >= (select as_of from staging.clock)
-- slice: hubspot_contact_id
--
-- Fails when a live HubSpot contact is bound to a record that lost a merge longer ago than the settle time. Names the survivor at the end of the merge
-- chain.
-- Why: the merge went the wrong way round. The sync of the contact is broken, its edits no longer reach Salesforce (F6, rule 36).
-- Otherwise: edits of the contact do not reach Salesforce, and edits in Salesforce do not reach the contact; both drift apart.
-- Rests on: rules 36, 37; F5, F6.
-- Not: a bound record that won a merge.
-- Steward: resync the contact so that it binds to the survivor; check that its values survived.
--
-- Auf Deutsch: Ein Kontakt ist mit einem Datensatz verknüpft, der bei einer Zusammenführung weggefallen ist.
-- Warum: Die Zusammenführung ging in die falsche Richtung. Die Synchronisierung des Kontakts ist unterbrochen, seine Änderungen erreichen
-- Salesforce nicht mehr (F6, Regel 36).
-- Sonst: Änderungen am Kontakt erreichen Salesforce nicht, Änderungen in Salesforce erreichen den Kontakt nicht; beide laufen auseinander.
--
-- says merged: It is bound to {record}, which was merged[ into {survivor}|; the merge chain runs in a circle and has no survivor].
-- says.de merged: Er ist mit {record} verknüpft, einem Datensatz, der [mit dem Masterdatensatz {survivor} zusammengeführt wurde|zusammengeführt wurde; die
--   Kette läuft im Kreis und hat keinen verbleibenden Datensatz].
-- do merged: Resync the contact so that it binds to the surviving record, then compare its values.
-- do.de merged: Den Kontakt neu synchronisieren, damit er mit dem verbleibenden Datensatz verknüpft wird. Danach die Werte vergleichen.
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    case when person.survivor_id is not null then [person.survivor_id] else cast([] as varchar[]) end as rival_ids,
    binding.email,
    'merged' as says,
    map {'record': binding.bound_id, 'survivor': person.survivor_id} as facts,
    main.still_ahead(departure.departed_at + main.salesforce_keeps(), clock.as_of) as deadline_at
from core.binding as binding
inner join core.salesforce_person as person on person.record_id = binding.bound_id
left join core.departure as departure on departure.record_id = binding.bound_id
cross join staging.clock as clock
cross join main.policy as policy
where binding.bound_state = 'merged'
  and coalesce(clock.as_of - departure.departed_at > to_minutes(policy.settle_minutes), true);
