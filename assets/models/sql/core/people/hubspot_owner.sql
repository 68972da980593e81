-- One row: an owner of HubSpot's records, one who has left, too.
--
-- owner_id: the id
-- name: the name; null where HubSpot has none
-- email: the e-mail
-- archived: has left
create or replace table core.hubspot_owner as
select
    owner_id,
    nullif(trim(concat_ws(' ', first_name, last_name)), '') as name,
    email,
    archived
from raw.hubspot_owner;
