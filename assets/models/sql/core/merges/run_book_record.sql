-- One row: a record that a run-book covers.
--
-- book: the run-book
-- record_id: the record
-- object_type: Lead or Contact
-- oldest_rank: 1 for the record created first (ties by id)
-- recency_rank: 1 for the record updated last under the policy; records updated at once share a rank
-- is_bound: a live HubSpot contact is bound to it
-- is_predicted: the contact of the run-book is predicted to be bound to it
-- is_compared: what somebody would lose or bring depends on its values: a live contact is bound to a record of the run-book
-- slice: record_id
create or replace table core.run_book_record as
with record as (
    select email as book, record_id, object_type, oldest_rank, recency_rank, is_bound, is_predicted from core.cluster_member
    union all
    select
        own.book,
        person.record_id,
        person.object_type,
        rank() over (partition by own.book order by person.created_at nulls last, person.record_id),
        rank() over (partition by own.book order by person.recency_at desc nulls last),
        person.record_id in (select bound_id from core.binding where bound_id is not null),
        coalesce(person.record_id = own.predicted_id, false)
    from (
        -- a Contact that a Lead was converted into may have another e-mail, and is no candidate
        select book.book, binding.predicted_id, unnest(list_distinct(list_concat(binding.candidate_ids,
            list_filter([book.own_id], lambda id: id is not null)))) as record_id
        from core.run_book as book
        inner join core.binding as binding on binding.hubspot_contact_id = book.hubspot_contact_id
        where not book.is_of_cluster
    ) as own
    inner join core.salesforce_person as person on person.record_id = own.record_id
)
select *, bool_or(is_bound) over (partition by book) as is_compared
from record;
