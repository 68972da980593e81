-- From schema 5 to schema 6: who created a record is known. The next pull asks for another field than before, so it brings it for all of them.

alter table raw.salesforce_lead add column created_by_id varchar;
alter table raw.salesforce_contact add column created_by_id varchar;

-- The history of the sync time belongs to it now: it is read again of everybody whose history was read.
delete from raw.hubspot_history_read;
