-- A contact is bound to a Salesforce record that was deleted.
--
-- severity: block
-- basis: documented
-- harm: cut_off
-- on: core/binding
-- due: never, bound_record_merged_away has the 15 days of every record that went
-- slice: hubspot_contact_id
--
-- Fails when a live HubSpot contact is bound to a record that is deleted, or that vanished, and was not merged.
-- Why: the contact no longer syncs. On its next trigger the integration matches it again by e-mail, creates the record anew, or fails
-- with an error; which one is not documented (rule 33).
-- Otherwise: the contact does not sync. Its next trigger binds it to another record, creates the deleted one anew, or fails.
-- Rests on: rule 33; section 3 of docs/integration.md.
-- Not: a record that was merged into another one (bound_record_merged_away).
-- Steward: undelete the record within 15 days, or decide which record the contact belongs to and resync it.
--
-- Auf Deutsch: Ein Kontakt ist mit einem gelöschten Salesforce-Datensatz verknüpft.
-- Warum: Der Kontakt wird nicht mehr synchronisiert. Beim nächsten Auslöser sucht die Integration erneut nach der E-Mail, legt den Datensatz neu an
-- oder scheitert mit einem Fehler; was davon, ist nicht dokumentiert (Regel 33).
-- Sonst: Der Kontakt wird nicht synchronisiert. Der nächste Auslöser verknüpft ihn mit einem anderen Datensatz, legt den gelöschten neu an oder
-- scheitert.
--
-- says deleted: It is bound to {record}, a {object} deleted in Salesforce.
-- says.de deleted: Er ist mit {record} verknüpft, einem in Salesforce gelöschten {object|Contact: Salesforce-Kontakt|{object}}.
-- do deleted: Undelete the record in Salesforce (15 days), or resync the contact after checking which record it should be bound to.
-- do.de deleted: Den Datensatz in Salesforce wiederherstellen (15 Tage), oder klären, zu welchem Datensatz der Kontakt gehört. Danach den Kontakt neu
--   synchronisieren.
-- says vanished: It is bound to {record}, a {object} that is in neither the live nor the deleted records any more.
-- says.de vanished: Er ist mit {record} verknüpft, einem {object|Contact: Salesforce-Kontakt|{object}}, der weder unter den vorhandenen noch unter den
--   gelöschten Datensätzen ist.
-- do vanished: <deleted>
-- do.de vanished: <deleted>
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    binding.email,
    list_filter(binding.candidate_ids, lambda id: id <> binding.bound_id) as rival_ids,
    binding.bound_state as says,
    map {'record': binding.bound_id, 'object': person.object_type} as facts,
    case binding.bound_state when 'deleted' then main.still_ahead(departure.departed_at + main.salesforce_keeps(), clock.as_of) end as deadline_at
from core.binding as binding
inner join core.salesforce_person as person on person.record_id = binding.bound_id
left join core.departure as departure on departure.record_id = binding.bound_id
cross join staging.clock as clock
where binding.bound_state in ('deleted', 'vanished');
