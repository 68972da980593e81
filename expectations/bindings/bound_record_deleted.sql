-- A contact is bound to a Salesforce record that was deleted.
--
-- severity: block
-- basis: documented
-- on: core/binding
--
-- Fails when a live HubSpot contact is bound to a record that is deleted, or that vanished, and was not merged.
-- Why: the contact no longer syncs. On its next trigger the integration matches it again by e-mail, creates the record anew, or fails
-- with an error; which one is not documented (rule 33).
-- Rests on: rule 33; section 3 of docs/integration.md.
-- Not: a record that was merged into another one (bound_record_merged_away).
-- Steward: undelete the record within 15 days, or decide which record the contact belongs to and resync it.
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    binding.email,
    list_filter(binding.candidate_ids, lambda id: id <> binding.bound_id) as rival_ids,
    case binding.bound_state
        when 'deleted' then format('It is bound to {}, a {} deleted in Salesforce.', binding.bound_id, person.object_type)
        else format('It is bound to {}, a {} that is in neither the live nor the deleted records any more.', binding.bound_id, person.object_type)
    end as reason,
    'Undelete the record in Salesforce (15 days), or resync the contact after checking which record it should be bound to.' as action
from core.binding as binding
inner join core.salesforce_person as person on person.record_id = binding.bound_id
where binding.bound_state in ('deleted', 'vanished');
