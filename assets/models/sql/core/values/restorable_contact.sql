-- One row: a HubSpot contact that was deleted after the Salesforce record it was bound to went, and can still be restored from HubSpot's recycle
-- bin (90 days; rules 34, 36).
--
-- hubspot_contact_id: the contact
-- bound_id: the record it was bound to
-- record_state: deleted or merged
-- survivor_id: the record that this one was merged into; null when it was deleted
-- departed_at: when the record went
-- archived_at: when the contact was deleted
-- restorable_until: when HubSpot purges it
-- days_left: days until then
-- record_restorable_until: when Salesforce purges the record (15 days after it went); null when it has
-- live_contact_id: a live contact that has its e-mail now; HubSpot cannot hold both, so somebody decides which one stays
-- slice: hubspot_contact_id
-- due: select least(min(restorable_until), min(record_restorable_until), any_value(cast(as_of as date)) + interval 1 day)
--   from core.restorable_contact cross join staging.clock
create or replace table core.restorable_contact as
with holder as (
    select email, min_by(contact_id, (length(contact_id), contact_id)) as contact_id
    from core.hubspot_contact
    where state = 'live' and email in (select email from core.hubspot_contact where state = 'archived')
    group by email
)
select
    contact.contact_id as hubspot_contact_id,
    contact.bound_id,
    person.state as record_state,
    person.survivor_id,
    departure.departed_at,
    contact.archived_at,
    contact.archived_at + main.hubspot_keeps() as restorable_until,
    date_diff('day', clock.as_of, contact.archived_at + main.hubspot_keeps()) as days_left,
    case when departure.departed_at + main.salesforce_keeps() > clock.as_of then departure.departed_at + main.salesforce_keeps() end as record_restorable_until,
    holder.contact_id as live_contact_id
from core.hubspot_contact as contact
inner join core.salesforce_person as person on person.record_id = contact.bound_id and person.state in ('deleted', 'merged')
inner join core.departure as departure on departure.record_id = person.record_id
cross join staging.clock as clock
left join holder on holder.email = contact.email
where contact.state = 'archived'
  and contact.archived_at >= departure.departed_at
  and contact.archived_at + main.hubspot_keeps() > clock.as_of;
