-- A contact is bound to a Salesforce record that was merged into another one.
--
-- severity: block
-- basis: documented
-- on: core/binding
--
-- Fails when a live HubSpot contact is bound to a record that lost a merge. Names the survivor at the end of the merge chain.
-- Why: the merge went the wrong way round. The sync of the contact is broken, its edits no longer reach Salesforce (F6, rule 36).
-- Rests on: rules 36, 37; F5, F6.
-- Not: a bound record that won a merge.
-- Steward: resync the contact so that it binds to the survivor; check that its values survived.
select
    binding.hubspot_contact_id,
    binding.bound_id as salesforce_id,
    case when person.survivor_id is not null then [person.survivor_id] else cast([] as varchar[]) end as rival_ids,
    binding.email,
    case
        when person.survivor_id is not null then format('It is bound to {}, which was merged into {}.', binding.bound_id, person.survivor_id)
        else format('It is bound to {}, which was merged; the merge chain runs in a circle and has no survivor.', binding.bound_id)
    end as reason,
    'Resync the contact so that it binds to the surviving record, then compare its values.' as action
from core.binding as binding
inner join core.salesforce_person as person on person.record_id = binding.bound_id
where binding.bound_state = 'merged';
