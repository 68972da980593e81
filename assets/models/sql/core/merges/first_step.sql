-- One row: a live HubSpot contact for whom there is a run-book, and what to do first. It is the advice of every finding about its duplicates.
--
-- hubspot_contact_id: the contact
-- email: its primary e-mail as compared
-- quoted: the first step, in words, by language
-- slice: hubspot_contact_id
create or replace table core.first_step as
select binding.hubspot_contact_id, binding.email, main.quotable(advice.reason, advice.reason_de, advice.words) as quoted
from core.binding as binding
inner join core.run_book as run_book
    on run_book.email = binding.email and (run_book.is_of_cluster or run_book.hubspot_contact_id = binding.hubspot_contact_id)
inner join core.merge_advice as advice on advice.book = run_book.book and advice.step = 1;
