-- One row: a row of a merge plan that somebody handed in, judged before it is carried out, and looked at again afterwards, in words (core.merge_verdict).
-- Runs in the warehouse, and on a published snapshot for `bindwatch merge-check`.
--
-- plan: the file it came in
-- row_no: its row there, from 1; 0 stands for a file that cannot be read
-- master_id: the record that is to stay, 18 characters; as handed in where it is malformed
-- loser_id: the record that is to go, likewise
-- verdict: safe, unsafe, invalid (Salesforce would refuse it, or the plan contradicts itself), unknown (an id that no pull has seen), done
--   (it was carried out since)
-- reason: why
-- hubspot_contact_id: the live contact that is bound to the loser, else the one bound to the master, else the one bound to another loser of it,
--   else the one whose binding would jump from a duplicate that the plan leaves out
-- bound_id: the record it is bound to
-- recommended_master_id: the record that should be the master of all that the plan wants to be one; null when no merge of theirs is safe.
--   One that is not among them is advice: people must say whether it is the same person
-- consequence: what the merge would do to the contact: contact_deleted, sync_broken (by the setting of the portal), switch; null: nothing
-- result: of a merge that was carried out: as_planned, values_lost (the contact is whole, but the merge brought values into the master that replaced
--   HubSpot's), pending, moved, sync_broken or contact_deleted; null before
-- lost_fields: the properties whose value was replaced within two hours of the merge and that nobody wrote since; empty where nothing was, or
--   nobody knows
-- fields_at_risk: the properties that the jump would change; empty without one
-- enter_before: the properties whose value in HubSpot must be entered in the master first, because the loser would fill its blank with another
-- is_taken_away: its plan is in the folder no more; such rows are here while they have not turned out as planned
-- could_be_plan: false for a file in the folder that was not judged and that nobody would take for a plan: a picture, a note
-- reason_de: the reason in German
-- facts: what the reason is filled with, by name
-- words: the reason in languages beside English and German (language, reason)
create or replace table core.planned_merge as
select
    plan, row_no, master_id, loser_id, verdict, says_en as reason, hubspot_contact_id, bound_id, recommended_master_id, consequence, result, lost_fields,
    fields_at_risk, enter_before, is_taken_away, could_be_plan, says_de as reason_de, facts,
    list_transform(says_further, lambda one: {'language': one.language, 'reason': one.reason}) as words
from main.said('core.merge_verdict', 'merge_verdict');
