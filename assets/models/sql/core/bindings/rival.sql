-- One row: a live HubSpot contact and a record that could take over its binding.
-- Rivals are the live records whose e-mail matches (core.candidate) other than the bound one (other than the predicted one, when the bound one is
-- not live). One is enough, also where the bound record has another e-mail. There are none where no switch is possible (core.binding).
--
-- hubspot_contact_id: the contact
-- rival_id: the record that could take over
-- object_type: Lead or Contact
-- looks_different: by its name it is somebody else than the bound record (than the contact, where no live record is bound)
-- slice: hubspot_contact_id
create or replace table core.rival as
with named as (
    select
        candidate.hubspot_contact_id,
        candidate.record_id as rival_id,
        candidate.object_type,
        main.is_role_mailbox(rival.email, policy.role_mailboxes) as is_role,
        rival.display_name as rival_name,
        case when binding.bound_state = 'live' then bound.display_name else contact.display_name end as own_name
    from core.candidate as candidate
    inner join core.binding as binding on binding.hubspot_contact_id = candidate.hubspot_contact_id
    inner join core.salesforce_person as rival on rival.record_id = candidate.record_id
    left join core.salesforce_person as bound on bound.record_id = binding.bound_id
    left join core.hubspot_contact as contact on contact.contact_id = candidate.hubspot_contact_id
    cross join main.policy as policy
    where candidate.matches_email
      and binding.switch_is_possible
      and candidate.record_id is distinct from case when binding.bound_state = 'live' then binding.bound_id else binding.predicted_id end
),
worded as (
    select
        hubspot_contact_id, rival_id, object_type, is_role,
        main.name_words(rival_name) as rival_words, main.name_scripts(rival_name) as rival_scripts,
        main.name_words(own_name) as own_words, main.name_scripts(own_name) as own_scripts
    from named
)
select
    hubspot_contact_id,
    rival_id,
    object_type,
    coalesce(main.look_different(rival_words, rival_scripts, own_words, own_scripts, is_role), false) as looks_different
from worded;
