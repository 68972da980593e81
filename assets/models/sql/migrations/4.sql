-- From schema 3 to schema 4: whether an id is malformed is worked out at every load; rows of schema 1 had it worked out whenever they were read.

update raw.salesforce_lead set id_is_malformed = main.salesforce_id18(id) is null where id_is_malformed is null;
update raw.salesforce_contact set id_is_malformed = main.salesforce_id18(id) is null where id_is_malformed is null;
