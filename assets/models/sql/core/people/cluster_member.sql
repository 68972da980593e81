-- One row: a record in a duplicate cluster.
--
-- email: the cluster
-- record_id: the record
-- object_type: Lead or Contact
-- created_at: when it was created
-- modified_at: SystemModstamp
-- oldest_rank: 1 for the record created first (ties by id)
-- recency_rank: 1 for the record updated last under the policy; records updated at once share a rank
-- is_bound: a live HubSpot contact is bound to it
-- is_predicted: the contact of the cluster is predicted to be bound to it
-- slice: record_id
create or replace table core.cluster_member as
select
    person.email,
    person.record_id,
    person.object_type,
    person.created_at,
    person.modified_at,
    rank() over (partition by person.email order by person.created_at nulls last, person.record_id) as oldest_rank,
    rank() over (partition by person.email order by person.recency_at desc nulls last) as recency_rank,
    person.record_id in (select bound_id from core.binding where bound_id is not null) as is_bound,
    coalesce(binding.predicted_id = person.record_id, false) as is_predicted
from core.salesforce_person as person
inner join core.shared_email as cluster on cluster.email = person.email
left join core.binding as binding on binding.hubspot_contact_id = cluster.hubspot_contact_id
where person.state = 'live';
