"""Who wrote what: the users of the org, the owners that HubSpot knows, and the history of fields in Salesforce; and of which records that history is needed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from assets.pull.landing import LandedPull
from assets.pull.reading import Reader, from_pages, stage
from assets.sql import count, count_rows, literal, transaction
from assets.warehouse.history import PEOPLE, who_needs_a_history
from assets.warehouse.watermark import LoadResult, can_be_loaded, note_pull

_OWNER = """STRUCT(id VARCHAR, email VARCHAR, "firstName" VARCHAR, "lastName" VARCHAR, "userId" VARCHAR, archived BOOLEAN)"""
_NAMED = 5  # fields that are told by name


def load_users(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> LoadResult:
    """Loads the users that came, each in place of what was known of him. Those that did not come stay as they were."""

    def users(paths: list[Path]) -> str:
        values = {name: f"record ->> '$.{name}'" for name in ("Id", "Name", "Email", "IsActive", "UserType", "SystemModstamp")}
        return f"""
            select main.long_id({values["Id"]}) as user_id, {values["Name"]} as name, {values["Email"]} as email,
                main.is_true({values["IsActive"]}) as is_active, {values["UserType"]} as user_type, {values["SystemModstamp"]} as stamp
            from ({from_pages(paths, "JSON", "records")}) as page(record)"""

    return _load_people(connection, pull, "raw.salesforce_user", "user_id", Reader("Id", "records", [], users, _WITHOUT_ID.format("user_id")))


def load_owners(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> LoadResult:
    """Loads the owners that came, each in place of what was known of them."""

    def owners(paths: list[Path]) -> str:
        return f"""
            select owner.id as owner_id, owner.email as email, owner."firstName" as first_name, owner."lastName" as last_name, owner."userId" as user_id,
                coalesce(owner.archived, false) as archived, cast(null as varchar) as stamp
            from ({from_pages(paths, _OWNER)}) as page(owner)"""

    return _load_people(connection, pull, "raw.hubspot_owner", "owner_id", Reader("id", "results", [], owners, _WITHOUT_ID.format("owner_id")))


_WITHOUT_ID = "case when coalesce({}, '') = '' then 'without_id' end"


def _load_people(connection: duckdb.DuckDBPyConnection, pull: LandedPull, table: str, key: str, reader: Reader) -> LoadResult:
    if not can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0)
    stage(connection, pull, f"create or replace temp table incoming as select * exclude (pull), cast(null as varchar) as stamp from {table} limit 0", reader)
    with transaction(connection):
        connection.execute(f"delete from incoming where rowid not in (select max(rowid) from incoming group by {key})")
        known = f"select * exclude (pull) from {table}"
        new = count(connection, f"select count(*) from (select * exclude (stamp) from incoming except {known})")
        connection.execute(f"delete from {table} where {key} in (select {key} from incoming)")
        connection.execute(f"insert into {table} by name select * exclude (stamp), ? as pull from incoming", [pull.manifest.pull_id])
        latest = connection.execute("select max(main.utc(stamp)) from incoming").fetchone()
        result = LoadResult(pull.rows, new)
        note_pull(connection, pull, result, latest[0] if latest else None)
        connection.execute("drop table incoming")
    return result


def load_field_history(connection: duckdb.DuckDBPyConnection, pull: LandedPull, name: str, ids: Sequence[str]) -> LoadResult:
    """Loads the changes of fields of "Lead" or "Contact", each once, and notes of which records they were read. ids: that were asked for."""
    if not can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0)

    def changes(paths: list[Path]) -> str:
        values = {field: f"record ->> '$.{field}'" for field in ("Id", f"{name}Id", "Field", "CreatedDate", "CreatedById", "OldValue", "NewValue")}
        return f"""
            select main.long_id({values["Id"]}) as history_id, main.long_id({values[f"{name}Id"]}) as record_id, {literal(name)} as object_type,
                {values["Field"]} as field, main.utc({values["CreatedDate"]}) as changed_at, main.long_id({values["CreatedById"]}) as changed_by_id,
                {values["OldValue"]} as old_value, {values["NewValue"]} as new_value
            from ({from_pages(paths, "JSON", "records")}) as page(record)"""

    unusable = "case when record_id is null or field is null or changed_at is null then 'values' end"
    stage(
        connection, pull, "create or replace temp table incoming as select * exclude (pull) from raw.salesforce_field_history limit 0",
        Reader("Id", "records", [], changes, unusable),
    )  # fmt: skip
    with transaction(connection):
        # whose changes could not all be read is asked for again
        unread = count(connection, "select count(*) from aside")
        before = count_rows(connection, "raw.salesforce_field_history")
        connection.execute(
            "insert or ignore into raw.salesforce_field_history by name select *, ? as pull from incoming", [pull.manifest.pull_id]
        )  # the same change may come twice, also in one pull
        result = LoadResult(pull.rows, count_rows(connection, "raw.salesforce_field_history") - before)
        note_pull(connection, pull, result, None)
        if not unread and "refused" not in pull.cursor:
            connection.execute(
                "insert into raw.salesforce_history_read select unnest(cast(? as varchar[])), ?, (select max(pull_no) from raw.pull)", [ids, name]
            )
        connection.execute("drop table incoming")
    return result


def untracked(connection: duckdb.DuckDBPyConnection, name: str, fields: Iterable[str]) -> str | None:
    """Of which mapped fields of "Lead" or "Contact" no change is known, in words; None when one is known of each."""
    known = {row[0] for row in connection.execute("select distinct field from raw.salesforce_field_history where object_type = ?", [name]).fetchall()}
    own = [field for field in fields if "." not in field]
    missing = [field for field in own if field.removesuffix("Id") not in known and field not in known]  # a reference is told without its Id
    if not missing:
        return None
    named = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
    return f"the field history of {len(missing)} of {len(own)} mapped fields of {name}s ({named}): not tracked, or never changed on a record that was read"


_NEEDED = f"""
    {PEOPLE},
    read as (
        select record_id, max(pull_no) as pull_no from raw.salesforce_history_read group by record_id
    ),
    carried as (
        select contact_id, left(main.trim_text(value), 15) as short_id, pull_no
        from raw.hubspot_property_version
        where main.is_id_property(property) and value <> ''
    ),
    switch as (
        select contact_id, max(pull_no) as since from carried group by contact_id having count(distinct short_id) > 1
    ),
    needed as (
        select carried.short_id, switch.since from carried inner join switch on switch.contact_id = carried.contact_id
        union all
        select left(rival.record_id, 15), rival.pull_no from rival
        union all
        select left(record_id, 15), pull_no from record where merged_into <> ''
    )
    select record.object_type, record.record_id
    from record
    inner join (select short_id, max(since) as since from needed group by short_id) as needed on needed.short_id = left(record.record_id, 15)
    left join read on read.record_id = record.record_id
    where needed.since > coalesce(read.pull_no, 0)
    order by record.record_id"""


def records_without_history(connection: duckdb.DuckDBPyConnection, secondary_email_matches: bool, since: int | None = None) -> dict[str, list[str]]:
    """Records by their object, "Lead" or "Contact", whose field history is needed and was not read since: both sides of a binding that changed, since it
    did; rivals of a contact, and losers of a merge, since they changed. since: of who_needs_a_history.
    """
    found = who_needs_a_history(connection, _NEEDED, secondary_email_matches, since)
    return {name: [record_id for object_type, record_id in found if object_type == name] for name in ("Lead", "Contact")}
