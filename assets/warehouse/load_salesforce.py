"""Loads pulls of Leads and Contacts."""

from pathlib import Path

import duckdb

from assets.pull.described import Described
from assets.pull.landing import LandedPull
from assets.pull.reading import WITHOUT_ID, Reader, csv_source, from_pages
from assets.sql import count_rows, literal, quoted, transaction
from assets.warehouse.file import in_little_memory
from assets.warehouse.labels import note_labels
from assets.warehouse.presence import compare_ids
from assets.warehouse.shrinkage import Floor
from assets.warehouse.versions import load_versions
from assets.warehouse.watermark import LoadResult

# What Salesforce columns become in raw; everything else that was asked for goes into the map `fields`.
SALESFORCE_COLUMNS = {
    "Id": "id", "SystemModstamp": "system_modstamp", "CreatedDate": "created_date", "LastModifiedDate": "last_modified_date",
    "LastModifiedById": "last_modified_by_id", "CreatedById": "created_by_id", "OwnerId": "owner_id", "AccountId": "account_id", "Name": "name",
    "Email": "email", "IsDeleted": "is_deleted", "MasterRecordId": "master_record_id", "IsConverted": "is_converted",
    "ConvertedContactId": "converted_contact_id",
}  # fmt: skip
_NUMBERS = {"double", "currency", "percent", "int", "long"}  # in the words of describe
_MOMENTS = {"SystemModstamp", "CreatedDate", "LastModifiedDate"}
RAW_TABLES = {"Lead": "raw.salesforce_lead", "Contact": "raw.salesforce_contact"}


def load_salesforce(
    connection: duckdb.DuckDBPyConnection,
    pull: LandedPull,
    name: str,
    columns: list[str],
    mapped: dict[str, Described],
    floor: Floor = Floor(),  # noqa: B008
) -> LoadResult:
    """Loads a pull of values of "Lead" or "Contact": one transaction, each version once.

    columns: the header of bulk pages, or the fields that were asked for by REST; mapped: the mapped fields, and what describe says of them.

    An incomplete pull is only noted. Loading the same pull twice changes nothing. A record that cannot be read is set aside, and its last good version
    stays in force. Raises LoadProblem when the pages are not what was noted of them.
    """
    source = {field: quoted(field) for field in columns}
    if "Name" not in source:  # where the user cannot see it, the parts of it do
        parts = [quoted(field) for field in ("FirstName", "LastName") if field in columns]
        source["Name"] = f"nullif(trim(concat_ws(' ', {', '.join(parts)})), '')" if parts else "cast(null as varchar)"
    source |= {field: f"main.plain_moment({quoted(field)})" for field in columns if field in _MOMENTS}
    known = ", ".join(f"{source.get(field, 'cast(null as varchar)')} as {column}" for field, column in SALESFORCE_COLUMNS.items())
    plain = ", ".join(f"{literal(field)}: {_plain(quoted(field), one)}" for field, one in mapped.items())
    # a map that is made of two lists takes longer than all else of a row
    fields = f"cast({{{plain}}} as map(varchar, varchar))" if mapped else "map()"

    def incoming(paths: list[Path]) -> str:
        return f"""
            select coalesce(main.salesforce_id18(id), trim(id)) as record_id, *, main.salesforce_id18(id) is null as id_is_malformed from (
                select {known}, {fields} as fields from {_salesforce_source(paths, columns)}
            )"""

    stamps = {"SystemModstamp": "modified_stamp", "CreatedDate": "created_stamp"}
    without_stamp = [f"when main.utc({SALESFORCE_COLUMNS[field]}) is null then '{why}'" for field, why in stamps.items() if field in columns]
    unusable = f"case when coalesce(record_id, '') = '' then 'without_id' {' '.join(without_stamp)} end"

    def load() -> LoadResult:
        return load_versions(
            connection, pull, RAW_TABLES[name], "record_id", "system_modstamp", Reader("Id", "records", columns, incoming, unusable), name, floor
        )

    with transaction(connection):
        connection.execute("delete from raw.salesforce_field where object_type = ?", [name])
        connection.executemany(
            "insert into raw.salesforce_field values (?, ?, ?, ?, ?)",
            [[name, field, one.type, one.is_writable, dict(one.labels) or None] for field, one in mapped.items()],
        )
        note_labels(connection, name, mapped)
    return in_little_memory(connection, pull.rows + count_rows(connection, RAW_TABLES[name]), load)


def _plain(text: str, described: Described) -> str:
    """An expression for the one text of a value: bulk pages and REST pages write numbers and moments differently, and that is no new version."""
    if described.type in _NUMBERS:
        return f"main.plain_number({text})"
    if described.type == "datetime":
        return f"main.plain_moment({text})"
    return f"lower({text})" if described.type == "boolean" else text


def _salesforce_source(pages: list[Path], columns: list[str]) -> str:
    if pages[0].suffix == ".csv":
        return csv_source(pages, columns)
    # all at once: each `->>` would parse the record again
    paths = [literal("$." + ".".join(quoted(part) for part in field.split("."))) for field in columns]
    selected = ", ".join(f"nullif(told[{place}], '') as {quoted(field)}" for place, field in enumerate(columns, 1))
    told = f"select json_extract_string(record, [{', '.join(paths)}]) as told from ({from_pages(pages, 'JSON', 'records')}) as page(record)"
    return f"(select {selected} from ({told}))"


def compare_salesforce_ids(
    connection: duckdb.DuckDBPyConnection,
    pull: LandedPull,
    name: str,
    columns: list[str],
    mapped: dict[str, Described],
    floor: Floor = Floor(),  # noqa: B008
) -> tuple[LoadResult, list[str]]:
    """Holds all ids and stamps of "Lead" or "Contact" against what is known, and notes which ids are missing or back.

    columns: Id, SystemModstamp, and fields that change without a stamp; mapped: what describe says of those. Returns also the ids of records that are new
    or differ, in order.
    """
    others = {quoted(field): mapped.get(field, Described("string")) for field in columns if field not in ("Id", "SystemModstamp")}

    def listed(paths: list[Path]) -> str:
        return f"""
            select coalesce(main.salesforce_id18("Id"), trim("Id")) as id, "SystemModstamp" as stamp{"".join(f", {field}" for field in others)}
            from {csv_source(paths, columns)}"""

    shape = f"id varchar, stamp varchar{''.join(f', {field} varchar' for field in others)}"
    listed_and_known = [(f"nullif(listed.{field}, '')", f"known.fields[{literal(field[1:-1])}]", one) for field, one in others.items()]
    differs = "".join(f" or {_plain(now, one)} is distinct from {_plain(before, one)}" for now, before, one in listed_and_known)
    query = f"""
        with known as (
            select record_id, max_by(system_modstamp, pull_no) as stamp, max_by(fields, pull_no) as fields from {RAW_TABLES[name]} group by record_id
        )
        select distinct listed.id from incoming as listed left join known on known.record_id = listed.id
        where known.record_id is null or main.utc(listed.stamp) is distinct from main.utc(known.stamp){differs}
        order by listed.id"""
    return compare_ids(connection, pull, shape, Reader("Id", "", columns, listed, WITHOUT_ID), RAW_TABLES[name], "record_id", name, query, floor)
