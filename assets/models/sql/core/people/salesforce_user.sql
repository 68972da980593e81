-- One row: a Salesforce user who created or changed what was pulled.
--
-- user_id: the id
-- name: the name
-- email: the e-mail
-- is_active: may log in
-- is_integration: the integration itself, as the policy says
create or replace table core.salesforce_user as
select
    users.user_id,
    users.name,
    users.email,
    users.is_active,
    coalesce(users.user_id = policy.integration_user_id, false) as is_integration
from raw.salesforce_user as users
cross join main.policy as policy;
