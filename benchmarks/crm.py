"""Two made-up CRMs of any size, written straight into the raw tables of a warehouse by DuckDB itself.

Of n Salesforce records, half as many HubSpot contacts: 60 % Leads, 40 % Contacts; about 8 % of the records share an e-mail with another one,
some with two others; 2 % are converted, 1 % deleted, 0.5 % merged; 1 % of the contacts have switched before, 5 % are not bound.
A dense portal has four times as many duplicates, and half of its contacts have switched.
Everything follows from the number of a record by a hash, so two benchmarks of one size see the same data.
"""

from datetime import datetime

import duckdb

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
