-- From schema 8 to schema 9: what was stored for judging the policies is kept by the values of their knobs, not in a column for each.

alter table main.prediction add column if not exists first_by map(varchar, varchar);
alter table main.prediction add column if not exists newest_by map(varchar, varchar[]);
alter table main.prediction add column if not exists oldest_id varchar;
alter table main.prediction add column if not exists oldest_contact_first_id varchar;
alter table main.prediction add column if not exists newest_by_modstamp varchar[];
alter table main.prediction add column if not exists newest_by_modified varchar[];

update main.prediction
set first_by = map {'oldest_created': oldest_id, 'contact_first': oldest_contact_first_id, 'unknown': null}
where oldest_id is not null;

update main.prediction
set newest_by = map {'system_modstamp': newest_by_modstamp, 'last_modified_date': newest_by_modified}
where newest_by_modstamp is not null;

alter table main.prediction drop column oldest_id;
alter table main.prediction drop column oldest_contact_first_id;
alter table main.prediction drop column newest_by_modstamp;
alter table main.prediction drop column newest_by_modified;
