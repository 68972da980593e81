"""Two made-up CRMs of any size, written straight into the raw tables of a warehouse by DuckDB itself.

Of n Salesforce records, half as many HubSpot contacts: 60 % Leads, 40 % Contacts; about 8 % of the records share an e-mail with another one,
some with two others; 2 % are converted, 1 % deleted, 0.5 % merged; 1 % of the contacts have switched before, 5 % are not bound.
A dense portal has four times as many duplicates, half of its contacts have switched, and people work in it: they type values, edit, convert, merge and delete
records, fill in merge plans and merge contacts, so that no model stands empty (`_fill_work`).
Everything follows from the number of a record by a hash, so two benchmarks of one size see the same data.
"""

from datetime import datetime

import duckdb

from assets.policy import Policy

NOW = datetime(2026, 6, 1)
_ID = "main.salesforce_id18('{prefix}5e0' || lpad(({number})::varchar, 9, '0'))"
_VALUE = {
    "string": "'Value ' || (({}) % 900)", "double": "(({}) % 5000) || '.0'", "picklist": "'Option ' || (({}) % 20)", "phone": "'+49 30 ' || (({}) % 99999)",
    "date": "strftime(date '2026-01-01' + ((({}) % 300)::integer), '%Y-%m-%d')",
}  # fmt: skip
_IN_HUBSPOT = {"double": "(({}) % 5000)::varchar", "phone": "'004930' || (({}) % 99999)"}
_DICE = "(hash({number} * 31 + {salt}) % 1000)"


KINDS = ("string", "double", "picklist", "phone", "date")  # of further fields, in turn


def further_fields(number: int) -> list[tuple[str, str, str]]:
    """Mapped fields beside the ordinary ones: HubSpot property, Salesforce field, its type."""
    return [(f"extra_{place}__c", f"Extra_{place}__c", KINDS[place % len(KINDS)]) for place in range(number)]


def describe(connection: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """Tells the kinds of the mapped fields, as Salesforce would."""
    kinds = {"HasOptedOutOfEmail": "boolean", **{field: kind for _, field, kind in further_fields(len(policy.mapped))}}
    rows = [[name, field, kinds.get(field, "string"), None] for name in ("Lead", "Contact") for m in policy.mapped if (field := m.field_of(name))]
    connection.executemany("insert into raw.salesforce_field values (?, ?, ?, ?, null)", rows)


def fill(connection: duckdb.DuckDBPyConnection, records: int, is_dense: bool = False, further: int = 0) -> None:
    """Fills the raw tables with `records` Salesforce records and half as many contacts. further: so many mapped fields more, of several kinds."""
    leads = records * 6 // 10
    # person p has record p; every twelfth record is one of another person instead, who has several then
    duplicate = 3 if is_dense else 12
    _fill_salesforce(connection, "lead", "00Q", 0, leads, duplicate, further)
    _fill_salesforce(connection, "contact", "003", leads, records, duplicate, further)
    _fill_hubspot(connection, records // 2, leads, switched=2 if is_dense else 100, beside=2 * duplicate, further=further)
    for number, (source, name, rows) in enumerate(
        (("salesforce", "Lead", leads), ("salesforce", "Contact", records - leads), ("hubspot", "contact", records // 2))
    ):
        connection.execute(
            "insert into raw.pull values ($no, $id, 'bench', $source, $name, 'full', 'x', $at, $at, null, $at, $rows, $rows, $rows, true, null, null, [])",
            {"no": number + 1, "id": f"pull {number + 1}", "source": source, "name": name, "at": NOW, "rows": rows},
        )
    if is_dense:
        _fill_work(connection, leads)


def _fill_salesforce(connection: duckdb.DuckDBPyConnection, table: str, prefix: str, first: int, last: int, duplicate: int, further: int) -> None:
    """duplicate: of so many records one is another person's."""
    # most are what HubSpot has, in Salesforce's notation; one of eleven is another value, one of seven blank
    more = "".join(
        f", '{field}': case when (i + {place}) % 7 = 0 then null when (i + {place}) % 11 = 0 then {_VALUE[kind].format('i + 1')} "
        f"else {_VALUE[kind].format('person')} end" for place, (_, field, kind) in enumerate(further_fields(further))
    )  # fmt: skip
    own_id = _ID.format(prefix=prefix, number="i")
    stamp = "strftime(timestamp '2025-01-01' + to_minutes((hash({0}) % 700000)::integer), '%Y-%m-%dT%H:%M:%S.000Z')"
    company = "'Company', 'Company ' || (person % 5000)" if table == "lead" else "'Account.Name', 'Company ' || (person % 5000)"
    place = "" if table == "lead" else "Mailing"
    connection.execute(
        f"""insert into raw.salesforce_{table} by name
            with numbered as (
                select i, case when i % {duplicate} = 0 then i // {2 * duplicate} when i % 131 = 0 then i // 3 else i end as person
                from range({first}, {last}) as t(i)
            )
            select
                {own_id} as record_id, {own_id} as id, {stamp.format("i + 7")} as system_modstamp, {stamp.format("i")} as created_date,
                {stamp.format("i + 7")} as last_modified_date, '0055e000000Usr' || (i % 9) || 'AAA' as last_modified_by_id,
                '0055e000000Own' || (i % 7) || 'AAA' as owner_id, case when '{table}' = 'contact' then '0015e000000Acc' || (i % 9) || 'AAA' end as account_id,
                'Ann' || (person % 300) || ' Lee' || (person % 9000) as name, 'person' || person || '@company' || (person % 5000) || '.example' as email,
                case when i % 100 = 1 or i % 200 = 3 then 'true' else 'false' end as is_deleted,
                case when i % 200 = 3 then {_ID.format(prefix=prefix, number="i + 1")} end as master_record_id,
                case when '{table}' = 'lead' and i % 50 = 9 then 'true' else 'false' end as is_converted,
                case when '{table}' = 'lead' and i % 50 = 9 then {_ID.format(prefix="003", number=f"{last} + i % ({last} - {first} + 1)")} end
                    as converted_contact_id,
                map {{
                    'FirstName': 'Ann' || (person % 300), 'LastName': 'Lee' || (person % 9000), 'Phone': '+49 30 ' || person,
                    'MobilePhone': null, 'Fax': null, 'Title': case when {_DICE.format(number="i", salt=1)} < 600 then 'Title ' || (i % 40) end,
                    {company.replace("',", "':", 1)},
                    '{place}Street': 'Street ' || (person % 900), '{place}City': 'City ' || (person % 200), '{place}State': null,
                    '{place}PostalCode': lpad((person % 99999)::varchar, 5, '0'), '{place}Country': 'Germany', 'HasOptedOutOfEmail': 'false'{more}
                }} as fields,
                false as id_is_malformed, hash(i) as content_hash, {1 if table == "lead" else 2} as pull_no
            from numbered"""
    )


def _fill_hubspot(connection: duckdb.DuckDBPyConnection, contacts: int, leads: int, switched: int, beside: int, further: int) -> None:
    """Contact i is person 2 i, bound to that person's own record. switched: of so many one was bound to another Lead before, which is `beside` its own."""
    bound = f"case when 2 * i < {leads} then {_ID.format(prefix='00Q', number='2 * i')} end"
    bound_contact = f"case when 2 * i >= {leads} then {_ID.format(prefix='003', number='2 * i')} end"
    more = "".join(f", '{name}': {_IN_HUBSPOT.get(kind, _VALUE[kind]).format('2 * i')}" for name, _, kind in further_fields(further))
    moment = "strftime(timestamp '2025-06-01' + to_minutes((hash(i) % 400000)::integer), '%Y-%m-%dT%H:%M:%S.000Z')"
    connection.execute(
        f"""insert into raw.hubspot_contact by name
            select
                i::varchar as id, '2025-01-01T00:00:00.000Z' as created_at, '2026-05-01T00:00:00.000Z' as updated_at, false as archived,
                null as archived_at,
                map {{
                    'email': 'person' || (2 * i) || '@company' || (2 * i % 5000) || '.example', 'hs_additional_emails': '',
                    'hs_merged_object_ids': '', 'salesforceleadid': case when i % 20 > 0 then coalesce({bound}, '') else '' end,
                    'salesforcecontactid': case when i % 20 > 0 then coalesce({bound_contact}, '') else '' end,
                    'salesforcelastsynctime': case when i % 20 > 0 then '2026-04-01T00:00:00.000Z' else '' end,
                    'lastmodifieddate': '2026-05-01T00:00:00.000Z', 'firstname': 'Ann' || (2 * i % 300), 'lastname': 'Lee' || (2 * i % 9000),
                    'phone': '+49 30 ' || (2 * i), 'mobilephone': '', 'fax': '', 'jobtitle': 'Title ' || (i % 40), 'company': 'Company ' || (2 * i % 5000),
                    'address': 'Street ' || (2 * i % 900), 'city': 'City ' || (2 * i % 200), 'state': '', 'zip': lpad((2 * i % 99999)::varchar, 5, '0'),
                    'country': 'Germany', 'website': '', 'hs_email_optout': 'false'{more}
                }} as properties,
                hash(i) as content_hash, 3 as pull_no
            from range({contacts}) as t(i)"""
    )
    own = f"case when 2 * i < {leads} then 'salesforceleadid' else 'salesforcecontactid' end"
    connection.execute(
        f"""insert into raw.hubspot_property_version by name
            select i::varchar as contact_id, 'email' as property, 'person' || (2 * i) || '@company' || (2 * i % 5000) || '.example' as value,
                   '2025-01-01T00:00:00.000Z' as changed_at, 'FORM' as source_type, null as source_id, 3 as pull_no
            from range({contacts}) as t(i)
            union all
            select i::varchar, {own}, coalesce({bound}, {bound_contact}), {moment}, 'SALESFORCE', null, 3 from range({contacts}) as t(i) where i % 20 > 0
            union all
            select i::varchar, 'salesforceleadid', {_ID.format(prefix="00Q", number=f"2 * i + {beside}")}, '2025-03-01T00:00:00.000Z', 'SALESFORCE', null, 3
            from range({contacts}) as t(i) where i % {switched} = 1
            union all
            select i::varchar, 'jobtitle', 'Old title', '2025-03-01T00:00:00.000Z', 'SALESFORCE', null, 3
            from range({contacts}) as t(i) where i % {switched} = 1
            union all
            select i::varchar, 'jobtitle', 'Title ' || (i % 40), {moment}, 'SALESFORCE', null, 3
            from range({contacts}) as t(i) where i % {switched} = 1"""
    )


# What people did in a dense portal, as its next pulls brought it. Contact i is bound to record 2 i; number is that of a record or of a contact, among all.
_WORK = """
insert into raw.pull
select pull_no + 3, 'pull ' || (pull_no + 3), 'bench', source, object, 'incremental', 'x', finished_at, finished_at, watermark_to, finished_at,
       null, landed_rows, landed_rows, true, null, null, []
from raw.pull;

insert into raw.salesforce_user
select distinct on (user_id) unnest([last_modified_by_id, owner_id]) as user_id, 'User ' || right(user_id, 5), right(user_id, 5) || '@company.example', true,
       'Standard', 'pull 1'
from raw.salesforce_lead;
insert into raw.hubspot_owner
select 'owner ' || i, 'owner' || i || '@company.example', 'Ann', 'Owner ' || i, 'user ' || i, false, 'pull 3' from range(7) as t(i);
update raw.salesforce_lead set created_by_id = last_modified_by_id;
update raw.salesforce_contact set created_by_id = last_modified_by_id;

-- records: edited after their contact jumped to them (every fourth; a blank title is filled by the one that it came from), merged, deleted, converted
create temp table work as
select *, substr(record_id, 7, 9)::bigint as number, 'Lead' as object_type from raw.salesforce_lead
union all select *, substr(record_id, 7, 9)::bigint, 'Contact' from raw.salesforce_contact;
create temp table worked as
select
    * replace (
        strftime(timestamp '2026-05-01' + to_minutes((number * 7 % 40000)::integer), '%Y-%m-%dT%H:%M:%S.000Z') as system_modstamp,
        strftime(timestamp '2026-05-01' + to_minutes((number * 7 % 40000)::integer), '%Y-%m-%dT%H:%M:%S.000Z') as last_modified_date,
        case when number % 150 in (8, 10, 40) then 'true' else is_deleted end as is_deleted,
        case when number % 150 in (8, 40) then (select any_value(record_id) from work as other where other.number = work.number + 3) end as master_record_id,
        case when object_type = 'Lead' and number % 90 = 20 then 'true' else is_converted end as is_converted,
        case when object_type = 'Lead' and number % 90 = 20
            then (select any_value(record_id) from work as other where other.object_type = 'Contact' and other.number = {leads} + work.number % 500)
        end as converted_contact_id,
        map_concat(fields, map {{
            'Title': coalesce(fields['Title'], 'Title ' || ((number + 6) % 40)), 'HasOptedOutOfEmail': (number % 30 = 6)::varchar,
            'Phone': '+49 30 ' || number}}) as fields,
        content_hash + 1 as content_hash,
        pull_no + 3 as pull_no)
from work
where number % 4 = 2 or number % 150 in (8, 10, 40) or number % 90 = 20 or number % 30 = 6;
insert into raw.salesforce_lead by name select * exclude (number, object_type) from worked where object_type = 'Lead';
insert into raw.salesforce_contact by name select * exclude (number, object_type) from worked where object_type = 'Contact';
insert into raw.salesforce_field_history
select 'history ' || number || ' ' || field, record_id, object_type, field, timestamp '2026-05-01' + to_minutes((number * 7 % 40000)::integer),
       last_modified_by_id, 'Old', fields[field], 'pull 4'
from (select *, unnest(['Title', 'Phone']) as field from worked) where number % 3 > 0;
insert into raw.salesforce_history_read select record_id, object_type, pull_no from worked;

-- contacts: values typed and still there, others merged into them, archived with their record, opted out, with further addresses
create temp table contact_work as
select *, id::bigint as number from raw.hubspot_contact;
insert into raw.hubspot_contact by name
select
    * exclude (number) replace (
        '2026-05-20T00:00:00.000Z' as updated_at,
        number % 150 = 5 as archived,
        case when number % 150 = 5 then '2026-05-30T00:00:00.000Z' end as archived_at,
        map_concat(properties, map {{
            'lastmodifieddate': '2026-05-20T00:00:00.000Z', 'hs_email_optout': (number % 8 = 3)::varchar, 'jobtitle': 'Title ' || (number % 40),
            'salesforceleadid': case when number % 10 = 7 then left(properties['salesforceleadid'], 14) else properties['salesforceleadid'] end,
            'salesforcelastsynctime': case when properties['salesforcelastsynctime'] = '' then '' else '2026-05-20T00:00:00.000Z' end,
            'hs_additional_emails': case
                when number % 10 = 3 then 'person' || (2 * number + 1) || '@company' || ((2 * number + 1) % 5000) || '.example' else '' end,
            'hs_merged_object_ids': case when number % 60 = 11 then (number + 1000000000)::varchar else '' end}}) as properties,
        content_hash + 1 as content_hash,
        pull_no + 3 as pull_no)
from contact_work
where number % 150 = 5 or number % 8 = 3 or number % 10 = 3 or number % 60 = 11 or number % 10 = 7;
-- of every tenth only the versions tell what a jump replaced
delete from raw.hubspot_property_version where contact_id::bigint % 10 = 7 and property = 'jobtitle';
insert into raw.hubspot_property_version
select id, property, properties[property], '2026-03-01T00:00:00.000Z', case when property = 'city' then 'SALESFORCE' else 'CRM_UI' end, null, 6
from (select *, unnest(['phone', 'company', 'city']) as property from contact_work) where number % 5 in (0, 1);
insert into raw.hubspot_history_read select distinct contact_id, 6 from raw.hubspot_property_version where property = 'jobtitle';

-- what cannot be read, and what somebody accepted of that; ids that an import cut
insert into raw.set_aside
select object_type, record_id, 'version', 'values', pull_no from worked where number % 7 = 0
union all select 'contact', id, 'version', 'values', 6 from contact_work where number % 50 = 1;
insert into main.accepted_record select object, id, version, timestamp '2026-05-31', 'ann' from raw.set_aside;
insert into raw.portal_look values ('bench', timestamp '2026-06-01', 'native', {contacts});
insert into raw.portal_setting values ('bench', 1, 'policy.recency', 'last_modified_date', 'system_modstamp', true, 90, 10, true);

-- a plan for every other person with several records, and one that was carried out
insert into main.merge_plan by name
select
    'plan.csv' as plan, row_number() over (order by loser.record_id) as row_no, master.record_id as master_id, loser.record_id as loser_id,
    master.record_id as group_id, false as is_circular
from (select email, min(record_id) as record_id from work where email is not null group by email, object_type) as master
inner join work as loser on loser.email = master.email and left(loser.record_id, 3) = left(master.record_id, 3) and loser.record_id <> master.record_id
where loser.number % 2 = 1;
insert into main.merge_plan by name
select 'done.csv' as plan, row_number() over (order by record_id) as row_no, master_record_id as master_id, record_id as loser_id,
       master_record_id as group_id, false as is_circular
from worked where master_record_id is not null;
drop table work;
drop table worked;
drop table contact_work;
"""


def _fill_work(connection: duckdb.DuckDBPyConnection, leads: int) -> None:
    (contacts,) = connection.execute("select count(*) from raw.hubspot_contact").fetchone() or (0,)
    connection.execute(_WORK.format(leads=leads, contacts=contacts))


def edit(connection: duckdb.DuckDBPyConnection, of: int) -> None:
    """One more pull of each object: of so many Leads and contacts one was edited since, a day before NOW."""
    (last,) = connection.execute("select max(pull_no) from raw.pull").fetchone() or (0,)
    connection.execute(
        f"""insert into raw.pull by name
            select * replace (pull_no + 3 as pull_no, 'pull ' || (pull_no + 3) as pull_id) from raw.pull where pull_no > {last - 3};
            insert into raw.salesforce_lead by name
            select * replace (
                '2026-05-31T00:00:00.000Z' as system_modstamp, map_concat(fields, map {{'Title': 'New title'}}) as fields,
                content_hash + 2 as content_hash, {last + 1} as pull_no)
            from raw.salesforce_lead where pull_no = 1 and hash(record_id) % {of} = 0;
            insert into raw.hubspot_contact by name
            select * replace ('2026-05-31T00:00:00.000Z' as updated_at, content_hash + 2 as content_hash, {last + 3} as pull_no)
            from raw.hubspot_contact where pull_no = 3 and hash(id) % {of} = 0"""
    )
