-- One row: a step of the run-book for a cluster, or for a contact that a record could draw away though no cluster has its e-mail, in words
-- (core.run_book_step; docs/prediction.md, "The run-book of a cluster").
--
-- email: the cluster; without one, the contact's e-mail
-- hubspot_contact_id: the contact at stake: the one that is bound to the master, else the live one with that primary e-mail
-- step: 1, 2, … in the order in which the steps are to be done
-- action: change_email (the loser gets an e-mail of its own), convert (the loser, a Lead, into the master, a Contact), merge, manual
-- master_id: the record that stays; null when people must decide first
-- loser_id: the record that goes, or whose e-mail changes; null for manual
-- reason: what to do and why, in words
-- merge_no: merge steps with one number are one merge in Salesforce, which takes two losers at most; null for other actions
-- enter_before: HubSpot properties whose value must be entered in the master before this step; consent is always among these
-- enter_after: HubSpot properties whose value must be entered in the master after it; never consent
-- enter_values: these properties, what is to be entered, and where it comes from: typed (a person typed it last, in either CRM), else hubspot. Of consent it
--   is always HubSpot's
-- reason_de: the reason in German
-- book: the run-book that it belongs to (core.run_book)
-- facts: what the reason is filled with, by name
-- words: the reason in languages beside English and German (language, reason)
-- slice: coalesce(email, hubspot_contact_id)
create or replace table core.merge_advice as
select
    step.email, step.hubspot_contact_id, step.step, step.action, step.master_id, step.loser_id, step.says_en as reason, step.merge_no, step.enter_before,
    step.enter_after, step.enter_values, step.says_de as reason_de, step.book, step.facts,
    list_transform(step.says_further, lambda one: {'language': one.language, 'reason': one.reason}) as words
from main.said('core.run_book_step', 'run_book_step') as step;
