"""The warehouse: one DuckDB file that holds raw versions, the models built from them, and the memory of former runs.

A DuckDB file has one writer. `Warehouse.guard` keeps a second run out for as long as the first one lasts; the lock goes with the
process, so a killed run leaves none behind.
"""

import fcntl
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import duckdb

from assets.backup import REQUESTS, answer_requests
from assets.damage import CHECKSUM, damage_of, damaged, is_damage, log_of, missing, note_checksum, open_file, sign_of_runs
from assets.files import set_aside, sync_file, sync_folder
from assets.landing import UNNAMED, Aside, LandedPull, Landing, Page, aside_of
from assets.policy import CheckSetting, Policy
from assets.problems import ConfigurationProblem, DamagedWarehouse, HomeInUse, WarehouseProblem, said
from assets.restore_home import RESTORING, finish_restore
from assets.salvage import csv_rows, json_records, write_csv, write_json
from assets.sqlfile import CheckFile

log = logging.getLogger("bindwatch.pull")

T = TypeVar("T")

SQL_FOLDER = Path(__file__).parent / "sql"
SCHEMA_VERSION = 3  # one more with each file under sql/migrations/

# What Salesforce columns become in raw; everything else that was asked for goes into the map `fields`.
SALESFORCE_COLUMNS = {
    "Id": "id", "SystemModstamp": "system_modstamp", "CreatedDate": "created_date", "LastModifiedDate": "last_modified_date",
    "LastModifiedById": "last_modified_by_id", "OwnerId": "owner_id", "AccountId": "account_id", "Name": "name", "Email": "email",
    "IsDeleted": "is_deleted", "MasterRecordId": "master_record_id", "IsConverted": "is_converted",
    "ConvertedContactId": "converted_contact_id",
}  # fmt: skip
MEMORY = "60%"  # for DuckDB: a machine of 8 GB has room left for Dagster and Great Expectations; the rest is spilled beside the file
LOAD_MEMORY, LOAD_ROWS = "240MB", 3_000_000  # a load of up to so many rows, those it is compared with included, is as fast with little memory
RAW_TABLES = {"Lead": "raw.salesforce_lead", "Contact": "raw.salesforce_contact"}

# What is read from a JSON page. Everything is text, because both APIs change types between answers; what a page holds beside it is ignored.
CONTACT_VALUES = """STRUCT(id VARCHAR, properties MAP(VARCHAR, VARCHAR), "createdAt" VARCHAR, "updatedAt" VARCHAR, archived BOOLEAN, "archivedAt" VARCHAR)"""
CONTACT_HISTORY = """STRUCT(id VARCHAR,
    "propertiesWithHistory" MAP(VARCHAR, STRUCT("value" VARCHAR, "timestamp" VARCHAR, "sourceType" VARCHAR, "sourceId" VARCHAR)[]))"""
CONTACT_STAMP = """STRUCT(id VARCHAR, "updatedAt" VARCHAR)"""
LIST_MEMBER = """STRUCT("recordId" VARCHAR)"""
MOST_ASKED_AGAIN = 1000  # records that could not be read are asked for by id in every run: so many at most
PAGES_AT_ONCE = 200  # a page is up to 200 kB of JSON, and DuckDB would hold two thousand of them at a time


@dataclass(frozen=True)
class PullContext:
    """What every pull of a run needs: where it lands, where it is loaded, the policy, and whether all ids are to be compared."""

    connection: duckdb.DuckDBPyConnection
    landing: Landing
    policy: Policy
    full: bool

    def bring(self, begin: Callable[[], LandedPull], land: Callable[[LandedPull], None], load: Callable[[LandedPull], T]) -> tuple[LandedPull, T]:
        """Brings a pull to disk and into the warehouse. What was landed and cannot be loaded is set aside and pulled again, once: a CRM that is well
        makes good what a disk has lost. begin: goes on with a pull, or begins one.
        """
        pull = begin()
        try:
            if not pull.is_finished:
                land(pull)
            return pull, load(pull)
        except _CANNOT_BE_LOADED as problem:
            self.landing.discard(pull, f"cannot be loaded ({_in_words(problem)}); it is pulled again")
        pull = begin()
        try:
            land(pull)
            return pull, load(pull)
        except _CANNOT_BE_LOADED as problem:
            pull.finish(pull.manifest.expected_rows, f"what arrived cannot be loaded ({_in_words(problem)})")
            return pull, load(pull)


class LoadProblem(Exception):
    """What was landed is not what it should be. Says how, without the contents of a record."""


# An error of these kinds is about what was read, and about nothing else.
_CANNOT_BE_READ = (duckdb.DataError, duckdb.InvalidInputException)
_CANNOT_BE_LOADED = (LoadProblem, duckdb.IntegrityError, *_CANNOT_BE_READ)


def _in_words(problem: Exception) -> str:
    """DuckDB's own words quote the row."""
    return str(problem) if isinstance(problem, LoadProblem) else type(problem).__name__


@dataclass(frozen=True)
class LoadResult:
    landed_rows: int
    new_versions: int


class Warehouse:
    """The folder that holds everything: warehouse file, landing, published snapshots."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "warehouse.duckdb"
        self._was_opened = False  # for writing, since the lock was taken

    def landing(self, policy: Policy) -> Landing:
        return Landing(self.home / "landing", timedelta(hours=policy.pull.resume_hours))

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Keeps other runs off this home. Raises WarehouseProblem at once when one is going on."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "run.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HomeInUse(f"Another run is going on in {self.home}. Wait for it to end, then run again.") from error
            if (self.home / RESTORING).exists():
                finish_restore(self.home)
            try:
                yield
            finally:
                if self._was_opened:
                    note_checksum(self.path)

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Opens the file for reading and writing, with the raw tables and the shared macros in place.

        Raises WarehouseProblem when another process holds the file or a newer Bindwatch wrote it, and DamagedWarehouse when it is damaged or
        gone, also when that shows only later, in what is done with the connection.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        if not self.path.exists() or (self.path.stat().st_size == 0 and sign_of_runs(self.home) is None):
            self._create()
        try:
            connection = open_file(self.path)
        except DamagedWarehouse:
            if not self._set_aside_when_new():
                raise
            self._create()
            connection = open_file(self.path)
        (self.home / CHECKSUM).unlink(missing_ok=True)
        self._was_opened = True
        _homes[id(connection)] = self.home
        try:
            connection.execute(f"set timezone = 'UTC'; set preserve_insertion_order = false; set memory_limit = '{MEMORY}'")
            _prepare(connection)
            yield connection
        except Exception as error:
            if not isinstance(error, WarehouseProblem) and is_damage(error, self.path):
                what = damage_of(self.path) or said(error)
                if self._set_aside_when_new():
                    raise WarehouseProblem(f"The warehouse was damaged ({what}). No run has ended in it yet, so nothing is lost: run again.") from error
                raise damaged(self.path, what) from error
            raise
        finally:
            del _homes[id(connection)]
            with suppress(duckdb.Error):  # a database that DuckDB has given up on cannot be closed in order; what was wrong is being raised
                connection.close()

    def _set_aside_when_new(self) -> bool:
        """Sets a damaged file aside in which no run has ended yet: all that it holds can be pulled again. Returns whether it did."""
        if sign_of_runs(self.home) is not None:
            return False
        for path in (self.path, log_of(self.path)):
            if path.exists():
                set_aside(path, "is damaged, or belongs to one that is. No run has ended in it yet, so everything is pulled again")
        return True

    def _create(self) -> None:
        """Makes the file under another name first: one that is there is whole, so an empty one is never taken for a new one."""
        sign = sign_of_runs(self.home)
        if sign is not None:
            raise missing(self.path, sign)
        if log_of(self.path).exists():  # DuckDB would take it for one of the new file, or throw it away
            set_aside(log_of(self.path), "belongs to a warehouse that is gone, in which no run had ended")
        temporary = self.path.with_name(f"{self.path.name}.new")
        for left_over in (temporary, log_of(temporary)):
            left_over.unlink(missing_ok=True)
        with duckdb.connect(str(temporary)) as connection:
            _prepare(connection)
        sync_file(temporary)
        temporary.replace(self.path)
        sync_folder(self.home)


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create table if not exists main.schema_version (version integer not null)")
    row = connection.execute("select max(version) from main.schema_version").fetchone()
    version = row[0] if row else None
    if version is not None and version > SCHEMA_VERSION:
        raise WarehouseProblem(f"The warehouse was written by a newer Bindwatch (schema {version}, this one knows {SCHEMA_VERSION}). Update Bindwatch.")
    for next_version in range((version or SCHEMA_VERSION) + 1, SCHEMA_VERSION + 1):
        with transaction(connection):
            connection.execute((SQL_FOLDER / "migrations" / f"{next_version}.sql").read_text("utf-8"))
            connection.execute("insert into main.schema_version values (?)", [next_version])
        log.info("the warehouse was brought to schema %d", next_version)
    if version is None:
        connection.execute("insert into main.schema_version values (?)", [SCHEMA_VERSION])
    # they stay in the file, and making them again takes longer than all else of an opening: only when they are others
    statements = "".join((SQL_FOLDER / "raw" / f"{name}.sql").read_text("utf-8") for name in ("tables", "macros"))
    digest = sha256(statements.encode()).hexdigest()
    connection.execute("create table if not exists main.prepared (digest varchar not null)")
    if connection.execute("select 1 from main.prepared where digest = ?", [digest]).fetchone() is None:
        connection.execute(statements)
        connection.execute("delete from main.prepared")
        connection.execute("insert into main.prepared values (?)", [digest])


_homes: dict[int, Path] = {}  # whose warehouse an open connection is


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute("begin")
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # of a database that DuckDB has given up on; the error that is raised says why
            connection.execute("rollback")
        raise
    connection.execute("commit")
    home = _homes.get(id(connection))
    if home is not None and (home / REQUESTS).exists():
        answer_requests(home, connection)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin_run(connection: duckdb.DuckDBPyConnection, run_id: str, started_at: datetime) -> None:
    """Notes which run is going on. The steps of one run call it again without effect."""
    if connection.execute("select 1 from main.current_run where run_id = ?", [run_id]).fetchone() is None:
        with transaction(connection):
            connection.execute("delete from main.current_run")
            connection.execute("insert into main.current_run values (?, ?, null)", [run_id, _naive(started_at)])


def write_policy(connection: duckdb.DuckDBPyConnection, policy: Policy, salesforce_url: str, checks: Sequence[CheckFile]) -> None:
    """Writes `policy`, `field_mapping` and `check_policy`, the tables through which the policy reaches SQL.

    checks: the files of all checks, for what they say of themselves.
    """
    portal = policy.links.hubspot_portal_id
    row = {
        **policy.policy.model_dump(mode="json"),
        "salesforce_record_url": f"{salesforce_url.rstrip('/')}/",
        "hubspot_record_url": f"https://app.hubspot.com/contacts/{portal}/record/0-1/" if portal else "https://app.hubspot.com/l/contacts/record/0-1/",
    }
    text = ("integration_user_id", "inclusion_list_id")  # JSON null has no type of its own
    mapping = [
        {"property": m.hubspot, "object_type": object_type, "salesforce_field": field, "rule": m.rule, "consent": m.consent, "position": position}
        for position, m in enumerate(policy.mapping, 1)
        for object_type in ("Lead", "Contact")
        if (field := m.field_of(object_type)) is not None
    ]
    settings = [
        {
            "check_name": check.name, "suite": check.suite, "default_severity": check.default_severity, "basis": check.basis,
            "title": check.title, "why": check.part("Why"), "otherwise": check.part("Otherwise"), "rests_on": check.part("Rests on"),
            "title_de": check.part("Auf Deutsch"), "why_de": check.part("Warum"), "otherwise_de": check.part("Sonst"),
            **policy.checks.get(check.name, CheckSetting()).model_dump(),
        }
        for check in checks
    ]  # fmt: skip
    with transaction(connection):
        columns = ", ".join(
            f"cast($row {'->' if isinstance(value, list) else '->>'} '{name}' as {'varchar' if name in text else _sql_type(value)}) as {name}"
            for name, value in row.items()
        )
        connection.execute(f"create or replace table main.policy as select {columns}", {"row": json.dumps(row)})
        connection.execute("update main.policy set integration_user_id = coalesce(main.salesforce_id18(integration_user_id), integration_user_id)")
        _replace_table(
            connection,
            "main.field_mapping",
            "property varchar, object_type varchar, salesforce_field varchar, rule varchar, consent boolean, position bigint",
            mapping,
        )
        _replace_table(
            connection, "main.check_policy",
            "check_name varchar, suite varchar, default_severity varchar, basis varchar, severity varchar, max_findings bigint, title varchar, why varchar, "
            "otherwise varchar, rests_on varchar, title_de varchar, why_de varchar, otherwise_de varchar", settings,
        )  # fmt: skip


def _sql_type(value: object) -> str:
    kinds: dict[type, str] = {bool: "boolean", int: "bigint", float: "double", list: "varchar[]"}
    return kinds.get(type(value), "varchar")


def _replace_table(connection: duckdb.DuckDBPyConnection, name: str, columns: str, rows: list[dict[str, Any]]) -> None:
    connection.execute(f"create or replace table {name} ({columns})")
    if rows:
        names = [column.split()[0] for column in columns.split(", ")]
        connection.executemany(f"insert into {name} values ({', '.join('?' for _ in names)})", [[row[column] for column in names] for row in rows])


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def watermark(connection: duckdb.DuckDBPyConnection, source: str, object_name: str) -> tuple[datetime, str] | None:
    """Latest modified stamp of the complete pulls of an object, and the hash of what the last one asked for. None before the first."""
    row = connection.execute(
        "select max(watermark_to), max_by(request_hash, pull_no) from raw.pull where source = ? and object = ? and complete",
        [source, object_name],
    ).fetchone()
    return (row[0], row[1]) if row and row[0] is not None else None


def increment_from(context: "PullContext", source: str, object_name: str, asked: str, overlap_minutes: int) -> datetime | None:
    """The stamp from which on to pull an object again; None: everything, because it is new, or asks for other fields."""
    before = watermark(context.connection, source, object_name)
    if before is None or before[1] != asked:
        return None
    return before[0].replace(tzinfo=UTC) - timedelta(minutes=overlap_minutes)


def loaded_pulls(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {row[0] for row in connection.execute("select pull_id from raw.pull").fetchall()}


def ids_set_aside(connection: duckdb.DuckDBPyConnection, object_name: str) -> list[str]:
    """Records of "Lead", "Contact" or "contact" that could not be read and can be asked for again, by their ids."""
    rows = connection.execute(
        f"select id from raw.set_aside where object = ? and not starts_with(id, '{UNNAMED}') order by length(id), id limit {MOST_ASKED_AGAIN}", [object_name]
    ).fetchall()
    return [row[0] for row in rows]


def accept_records(connection: duckdb.DuckDBPyConnection, given: Sequence[str], who: str) -> None:
    """Notes that a person accepts that these records cannot be read. Holds until what arrives of them is another.

    given: ids as people write them. Raises ConfigurationProblem, and notes nothing, when one of them is not in question.
    """
    found: dict[str, str | None] = {}
    for name in given:
        row = connection.execute("select id from raw.set_aside where id = coalesce(main.salesforce_id18($name), trim($name))", {"name": name}).fetchone()
        found[name] = row[0] if row else None
    if missing := [name for name, record_id in found.items() if record_id is None]:
        where = "`bindwatch findings --check pull_incomplete` names those that are."
        raise ConfigurationProblem("\n".join(f"--accept-record {name}: no record of that id is set aside. {where}" for name in missing))
    ids = list(found.values())
    with transaction(connection):
        connection.execute("delete from main.accepted_record where id in (select unnest(?::varchar[]))", [ids])
        connection.execute(
            "insert into main.accepted_record select object, id, version, ?, ? from raw.set_aside where id in (select unnest(?::varchar[]))",
            [_naive(datetime.now(UTC)), who, ids],
        )


def load_salesforce(connection: duckdb.DuckDBPyConnection, pull: LandedPull, name: str, columns: list[str], mapped: dict[str, str]) -> LoadResult:
    """Loads a pull of values of "Lead" or "Contact": one transaction, each version once.

    columns: the header of bulk pages, or the fields that were asked for by REST; mapped: the mapped fields and their types in Salesforce.

    An incomplete pull is only noted. Loading the same pull twice changes nothing. A record that cannot be read is set aside, and its last good version
    stays in force. Raises LoadProblem when the pages are not what was noted of them.
    """
    source = {field: _quote(field) for field in columns}
    if "Name" not in source:  # where the user cannot see it, the parts of it do
        parts = [_quote(field) for field in ("FirstName", "LastName") if field in columns]
        source["Name"] = f"nullif(trim(concat_ws(' ', {', '.join(parts)})), '')" if parts else "cast(null as varchar)"
    known = ", ".join(f"{source.get(field, 'cast(null as varchar)')} as {column}" for field, column in SALESFORCE_COLUMNS.items())
    fields = f"map([{', '.join(_literal(field) for field in mapped)}], [{', '.join(_quote(field) for field in mapped)}])"

    def incoming(paths: list[Path]) -> str:
        return f"""
            select coalesce(main.salesforce_id18(id), trim(id)) as record_id, *, main.salesforce_id18(id) is null as id_is_malformed from (
                select {known}, {fields} as fields from {_salesforce_source(paths, columns, mapped)}
            )"""

    stamps = {"SystemModstamp": "modified_stamp", "CreatedDate": "created_stamp"}
    without_stamp = [f"when main.utc({SALESFORCE_COLUMNS[field]}) is null then '{why}'" for field, why in stamps.items() if field in columns]
    unusable = f"case when coalesce(record_id, '') = '' then 'without_id' {' '.join(without_stamp)} end"

    def load() -> LoadResult:
        return _load_versions(connection, pull, RAW_TABLES[name], "record_id", "system_modstamp", _Reader("Id", "records", columns, incoming, unusable), name)

    with transaction(connection):
        connection.execute("delete from raw.salesforce_field where object_type = ?", [name])
        connection.executemany("insert into raw.salesforce_field values (?, ?, ?)", [[name, field, kind] for field, kind in mapped.items()])
    return _in_little_memory(connection, pull.rows + count_rows(connection, RAW_TABLES[name]), load)


def _salesforce_source(paths: list[Path], columns: list[str], mapped: dict[str, str]) -> str:
    """Bulk pages and REST pages of the same record give the same text, so that a record that comes both ways is one version."""
    if paths[0].suffix == ".csv":
        return csv_source(paths, columns)
    moments = {"SystemModstamp", "CreatedDate", "LastModifiedDate", *(field for field, kind in mapped.items() if kind == "datetime")}
    values = {field: f"record ->> {_literal('$.' + '.'.join(_quote(part) for part in field.split('.')))}" for field in columns}
    values |= {field: f"regexp_replace({values[field]}, '[+]00:?00$', 'Z')" for field in columns if field in moments}
    selected = ", ".join(f"nullif({value}, '') as {_quote(field)}" for field, value in values.items())
    return f"(select {selected} from ({_from_pages(paths, 'JSON', 'records')}) as page(record))"


def compare_salesforce_ids(connection: duckdb.DuckDBPyConnection, pull: LandedPull, name: str, columns: list[str]) -> tuple[LoadResult, list[str]]:
    """Holds all ids and stamps of "Lead" or "Contact" against what is known, and notes which ids are missing or back.

    columns: Id, SystemModstamp, and fields that change without a stamp. Returns also the ids of records that are new or differ, in order.
    """
    others = [_quote(field) for field in columns if field not in ("Id", "SystemModstamp")]

    def listed(paths: list[Path]) -> str:
        return f"""
            select coalesce(main.salesforce_id18("Id"), trim("Id")) as id, "SystemModstamp" as stamp{"".join(f", {field}" for field in others)}
            from {csv_source(paths, columns)}"""

    shape = f"id varchar, stamp varchar{''.join(f', {field} varchar' for field in others)}"
    differs = "".join(f" or nullif(listed.{field}, '') is distinct from known.fields[{_literal(field[1:-1])}]" for field in others)
    query = f"""
        with known as (
            select record_id, max_by(system_modstamp, pull_no) as stamp, max_by(fields, pull_no) as fields from {RAW_TABLES[name]} group by record_id
        )
        select distinct listed.id from incoming as listed left join known on known.record_id = listed.id
        where known.record_id is null or main.utc(listed.stamp) is distinct from main.utc(known.stamp){differs}
        order by listed.id"""
    return _compare_ids(connection, pull, shape, _Reader("Id", "", columns, listed, _WITHOUT_ID), RAW_TABLES[name], "record_id", name, query)


def compare_hubspot_ids(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> tuple[LoadResult, list[str]]:
    """Holds all ids and stamps of live contacts against what is known, and notes which ids are missing or back.

    Returns also the ids of contacts that are new or differ, in order.
    """

    def listed(paths: list[Path]) -> str:
        return f'select contact.id as id, contact."updatedAt" as stamp from ({_from_pages(paths, CONTACT_STAMP)}) as page(contact)'

    query = """
        with known as (
            select id, max_by(updated_at, pull_no) as stamp, max_by(archived, pull_no) as archived from raw.hubspot_contact group by id
        )
        select distinct listed.id, length(listed.id) from incoming as listed left join known on known.id = listed.id
        where known.id is null or known.archived or main.utc(listed.stamp) is distinct from main.utc(known.stamp)
        order by length(listed.id), listed.id"""
    reader = _Reader("id", "results", [], listed, _WITHOUT_ID)
    return _compare_ids(connection, pull, "id varchar, stamp varchar", reader, "raw.hubspot_contact", "id", "contact", query)


def _compare_ids(
    connection: duckdb.DuckDBPyConnection, pull: LandedPull, shape: str, reader: "_Reader", table: str, key: str, tracked: str, query: str
) -> tuple[LoadResult, list[str]]:
    """query: for the ids in `incoming` (columns `shape`) that are new or differ."""
    if not _can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0), []
    _stage(connection, pull, f"create or replace temp table incoming ({shape})", reader)
    with transaction(connection):
        pull_no = _next_pull_no(connection)
        _load_presence(connection, "id", table, key, pull_no, tracked, names_all=True)
        # whoever has an id was asked for above, or is now; what had none came again, or is gone
        unnamed = f"starts_with(id, '{UNNAMED}')"
        connection.execute(f"delete from raw.set_aside where object = ? and {unnamed}", [tracked])
        connection.execute(f"insert into raw.set_aside by name select ? as object, *, {pull_no} as pull_no from aside where {unnamed}", [tracked])
        differing = connection.execute(query).fetchall()
        result = LoadResult(pull.rows, 0)
        _note_pull(connection, pull, result, None)
        return result, [row[0] for row in differing]


def load_hubspot_contacts(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> LoadResult:
    """Loads a pull of contacts, live or archived: their versions and the history entries that came with them.

    A contact that cannot be read is set aside, and its last good version stays in force. Raises LoadProblem when the pages are not what was noted.
    """

    def incoming(paths: list[Path]) -> str:
        return f"""
            select
                contact.id as id, contact."createdAt" as created_at, contact."updatedAt" as updated_at, coalesce(contact.archived, false) as archived,
                contact."archivedAt" as archived_at, map_from_entries(list_sort(map_entries(contact.properties))) as properties
            from ({_from_pages(paths, CONTACT_VALUES)}) as page(contact)"""

    unusable = """case
        when coalesce(id, '') = '' then 'without_id'
        when properties is null then 'without_properties'
        when main.utc(coalesce(properties['lastmodifieddate'], updated_at)) is null then 'modified_stamp' end"""

    def load() -> LoadResult:
        return _load_versions(
            connection, pull, "raw.hubspot_contact", "id", "updated_at", _Reader("id", "results", [], incoming, unusable), "contact", with_history=True
        )

    return _in_little_memory(connection, pull.rows + count_rows(connection, "raw.hubspot_contact"), load)


def load_hubspot_history(connection: duckdb.DuckDBPyConnection, pull: LandedPull, contact_ids: list[str]) -> LoadResult:
    """Loads the history of mapped properties, and notes of which contacts it was read, with or without entries. contact_ids: that were asked for."""
    if not _can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0)
    unread = {aside.id for aside in [*pull.asides, *_stage_history(connection, pull)]}
    with transaction(connection):
        _note_pull(connection, pull, LoadResult(pull.rows, 0), None)
        result = LoadResult(pull.rows, _load_history(connection))
        connection.execute("update raw.pull set new_versions = ? where pull_id = ?", [result.new_versions, pull.manifest.pull_id])
        read = [contact_id for contact_id in contact_ids if contact_id not in unread]
        connection.execute("insert into raw.hubspot_history_read select unnest(cast(? as varchar[])), (select max(pull_no) from raw.pull)", [read])
    return result


def contacts_without_history(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Live contacts whose mapped properties need a history, and changed since it was read last: their binding changed, or their e-mail has
    more than one Salesforce record.
    """
    query = """
        with read as (
            select contact_id, max(pull_no) as pull_no from raw.hubspot_history_read group by contact_id
        ),
        contact as (
            select id, max(pull_no) as pull_no, main.matching_email(max_by(properties['email'], pull_no)) as email
            from raw.hubspot_contact group by id having not max_by(archived, pull_no)
        ),
        switched as (
            select contact_id
            from raw.hubspot_property_version
            where property in ('salesforceleadid', 'salesforcecontactid')
            group by contact_id
            having count(distinct nullif(value, '')) > 1
        ),
        record as (
            select main.matching_email(max_by(email, pull_no)) as email,
                coalesce(main.is_true(max_by(is_deleted, pull_no)), false) or coalesce(main.is_true(max_by(is_converted, pull_no)), false) as is_gone
            from (from raw.salesforce_lead union all from raw.salesforce_contact) group by record_id
        ),
        cluster as (
            select email from record where email is not null and not is_gone group by email having count(*) > 1
        )
        select contact.id
        from contact
        left join read on read.contact_id = contact.id
        where (contact.id in (select contact_id from switched) or contact.email in (select email from cluster))
          and contact.pull_no > coalesce(read.pull_no, 0)
        order by length(contact.id), contact.id"""
    rows = count_rows(connection, "raw.hubspot_contact")
    return _in_little_memory(connection, rows, lambda: [row[0] for row in connection.execute(query).fetchall()])


def load_list_members(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> LoadResult:
    """Replaces the members of the inclusion list."""
    if not _can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0)

    def listed(paths: list[Path]) -> str:
        return f'select member."recordId" as id from ({_from_pages(paths, LIST_MEMBER)}) as page(member)'

    _stage(connection, pull, "create or replace temp table incoming (id varchar)", _Reader("recordId", "results", [], listed, _WITHOUT_ID))
    with transaction(connection):
        result = LoadResult(pull.rows, 0)
        _note_pull(connection, pull, result, None)
        connection.execute("delete from raw.hubspot_list_member")
        connection.execute("insert into raw.hubspot_list_member select distinct id, (select max(pull_no) from raw.pull) from incoming")
        return result


def count_landed_contacts(pull: LandedPull) -> int:
    """How many different contacts came, those set aside included."""
    with duckdb.connect() as connection:
        _stage_ids(connection, pull)
        return _count(connection, "select count(distinct id) from (select id from incoming union all select id from aside)")


def no_longer_archived(connection: duckdb.DuckDBPyConnection, archived: LandedPull) -> list[str]:
    """Contacts last seen archived that a complete pull of the archived ones does not have: restored (or purged, after 90 days)."""
    if not archived.manifest.complete:
        return []
    _stage_ids(connection, archived)
    query = """
        select id from raw.hubspot_contact
        group by id
        having max_by(archived, pull_no) and max_by(main.utc(archived_at), pull_no) > now()::timestamp - interval 95 day
           and id not in (select id from incoming) and id not in (select id from aside)
        order by length(id), id"""
    return [row[0] for row in connection.execute(query).fetchall()]


def _in_little_memory(connection: duckdb.DuckDBPyConnection, rows: int, work: Callable[[], T]) -> T:
    """Works with little memory. What does not fit is spilled; what cannot be spilled is done again with all there is.

    rows: that are looked at. work: leaves nothing behind when it fails.
    """
    if rows <= LOAD_ROWS:
        connection.execute(f"set memory_limit = '{LOAD_MEMORY}'")
        try:
            return work()
        except duckdb.OutOfMemoryException:
            log.info("%s rows take more memory than %s", f"{rows:,}", LOAD_MEMORY)
        finally:
            connection.execute(f"set memory_limit = '{MEMORY}'")
    return work()


# ── reading pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Reader:
    """How the records of a pull are read.

    id_name: of the field that holds a record's id; list_name: of the list that holds the records of a JSON page; columns: the header of a CSV page;
    query: for the columns of `incoming` over some pages; unusable: an expression over these columns that says why a row cannot be used (see Aside), or null.
    """

    id_name: str
    list_name: str
    columns: list[str]
    query: Callable[[list[Path]], str]
    unusable: str


_WITHOUT_ID = "case when coalesce(id, '') = '' then 'without_id' end"


def _stage(connection: duckdb.DuckDBPyConnection, pull: LandedPull, create: str, reader: _Reader, counts: bool = True) -> list[Aside]:
    """Reads the pages of a pull into the temporary table `incoming`, and who was set aside into `aside` (id, version, reason). Returns those whom the
    load set aside.

    counts: one row is one record, so that what was read is held against what was noted. Raises LoadProblem when it is not as much.
    """
    connection.execute(create)
    asides: list[Aside] = []
    pages = pull.pages_with_rows()
    for start in range(0, len(pages), PAGES_AT_ONCE):
        asides += _read_pages(connection, pages[start : start + PAGES_AT_ONCE], reader, counts)
    if counts:
        read = count_rows(connection, "incoming")
        if read + len(asides) + len(pull.asides) != pull.rows:
            raise LoadProblem(f"{pull.rows:,} rows were noted, {read:,} can be read")
    named = [*pull.asides, *asides]
    connection.execute(
        """create or replace temp table aside as
           select id, max(version) as version, max(reason) as reason
           from (select unnest(?::varchar[]) as id, unnest(?::varchar[]) as version, unnest(?::varchar[]) as reason)
           group by id""",
        [[aside.id for aside in named], [aside.version for aside in named], [aside.reason for aside in named]],
    )
    if named and pull.manifest.source == "salesforce":
        connection.execute("update aside set id = coalesce(main.salesforce_id18(id), id)")
    return asides


def _stage_ids(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> None:
    def ids(paths: list[Path]) -> str:
        return f"select contact.id as id from ({_from_pages(paths, 'STRUCT(id VARCHAR)')}) as page(contact)"

    _stage(connection, pull, "create or replace temp table incoming (id varchar)", _Reader("id", "results", [], ids, _WITHOUT_ID))


def _read_pages(connection: duckdb.DuckDBPyConnection, pages: list[Page], reader: _Reader, counts: bool) -> list[Aside]:
    """Adds the records of some pages to `incoming`. Where that fails, page by page; where a page fails, record by record."""
    if _add(connection, reader, [page.path for page in pages], sum(page.rows for page in pages) if counts else None):
        return []
    if len(pages) > 1:
        middle = len(pages) // 2
        return _read_pages(connection, pages[:middle], reader, counts) + _read_pages(connection, pages[middle:], reader, counts)
    return _read_records(connection, pages[0], reader, counts)


def _read_records(connection: duckdb.DuckDBPyConnection, page: Page, reader: _Reader, counts: bool) -> list[Aside]:
    """Adds the records of a page that cannot be read as a whole, and returns those that cannot be read alone.

    Raises LoadProblem when the page does not hold the records that were noted.
    """
    is_csv = page.path.suffix == ".csv"
    try:
        records: list[Any] = csv_rows(page.path, len(reader.columns), page.rows) if is_csv else json_records(page.path, reader.list_name)
    except ValueError as error:
        raise LoadProblem(f"{page.path.name} cannot be read") from error
    if len(records) != page.rows:
        raise LoadProblem(f"{page.path.name} holds {len(records):,} rows instead of {page.rows:,}")
    asides = []
    waiting = [records]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"part{page.path.suffix}"
        while waiting:
            part = waiting.pop()
            if is_csv:
                is_whole = all(len(row) == len(reader.columns) for row in part)
                write_csv(path, reader.columns, [row for row in part if len(row) == len(reader.columns)])
            else:
                is_whole = True
                write_json(path, reader.list_name, part)
            if is_whole and _add(connection, reader, [path], len(part) if counts else None):
                continue
            if len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
                continue
            asides.append(_aside_of(part[0], reader, _why_unusable(connection, reader, path) if is_whole else "columns"))
    return asides


def _aside_of(record: Any, reader: _Reader, why: str) -> Aside:
    if isinstance(record, list):
        place = reader.columns.index(reader.id_name)
        record_id = record[place] if place < len(record) else ""
    else:
        record_id = str(record.get(reader.id_name) or "") if isinstance(record, dict) else ""
    # it becomes part of a query
    return aside_of(record_id if record_id.isalnum() and record_id.isascii() else None, record, why)


def _add(connection: duckdb.DuckDBPyConnection, reader: _Reader, paths: list[Path], expected: int | None) -> bool:
    """Adds all records of some pages to `incoming`, or none: False when one cannot be read or used, or they are not as many as expected."""
    last = _count(connection, "select coalesce(max(rowid), -1) from incoming")
    try:
        added = _count(connection, f"insert into incoming by name {reader.query(paths)}")
    except _CANNOT_BE_READ:
        return False
    if expected in (None, added) and not _count(connection, f"select count(*) from incoming where rowid > {last} and ({reader.unusable}) is not null"):
        return True
    connection.execute(f"delete from incoming where rowid > {last}")
    return False


def _why_unusable(connection: duckdb.DuckDBPyConnection, reader: _Reader, path: Path) -> str:
    """Why the only record of a page cannot be used."""
    try:
        row = connection.execute(f"select {reader.unusable} from ((from incoming limit 0) union all by name {reader.query([path])})").fetchone()
    except _CANNOT_BE_READ:
        return "values"
    return str(row[0]) if row and row[0] else "values"


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _load_versions(
    connection: duckdb.DuckDBPyConnection, pull: LandedPull, table: str, key: str, stamp: str, reader: _Reader, tracked: str, with_history: bool = False
) -> LoadResult:
    """Adds what is new to a raw table.

    reader: its query has the table's columns but the last two; tracked: the object whose presence the pull speaks about.
    """
    manifest = pull.manifest
    if not _can_be_loaded(connection, pull):
        return LoadResult(manifest.rows, 0)
    if with_history:
        _stage_history(connection, pull)
    _stage(connection, pull, f"create or replace temp table incoming as select * exclude (content_hash, pull_no) from {table} limit 0", reader)
    # a record that moved while we paged comes twice: the later state counts
    connection.execute(
        f"""delete from incoming where rowid in (
                select rowid from (
                    select rowid, row_number() over (partition by {key} order by {stamp} desc nulls last) as place
                    from incoming where {key} in (select {key} from incoming group by {key} having count(*) > 1)
                ) where place > 1)"""
    )
    with transaction(connection):
        pull_no = _next_pull_no(connection)
        connection.execute(
            f"""insert into {table} by name
                select incoming.*, {pull_no} as pull_no from (select *, hash(v) as content_hash from incoming as v) as incoming
                left join (select {key}, max_by(content_hash, pull_no) as content_hash from {table} group by {key}) as latest
                    on latest.{key} = incoming.{key} and latest.content_hash = incoming.content_hash
                where latest.{key} is null"""
        )
        new_versions = _count(connection, f"select count(*) from {table} where pull_no = {pull_no}")
        # the list of archived contacts names them all, and says nothing about the others
        names_all = manifest.mode == "full" and manifest.object == tracked
        _load_presence(connection, key, table, key, pull_no, tracked, names_all)
        _load_asides(connection, pull, key, pull_no, tracked, names_all)
        highest = connection.execute(f"select max(main.utc({stamp})) from incoming").fetchone()
        result = LoadResult(pull.rows, new_versions)
        _note_pull(connection, pull, result, highest[0] if highest else None)
        if with_history:
            _load_history(connection)
        connection.execute("drop table incoming")
    return result


def _load_asides(connection: duckdb.DuckDBPyConnection, pull: LandedPull, key: str, pull_no: int, tracked: str, names_all: bool) -> None:
    """Notes who was set aside, and who no longer is: a good version came, or it was asked for again and is gone."""
    asked_again = ids_set_aside(connection, tracked) if pull.manifest.object == f"{tracked}_set_aside" else []
    connection.execute(
        f"""delete from raw.set_aside
            where object = $object and ($names_all or list_contains($asked_again, id) or id in (select {key} from incoming))""",
        {"object": tracked, "names_all": names_all, "asked_again": asked_again},
    )
    connection.execute("delete from raw.set_aside where object = ? and id in (select id from aside)", [tracked])
    connection.execute(f"insert into raw.set_aside by name select ? as object, *, {pull_no} as pull_no from aside", [tracked])


def _can_be_loaded(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> bool:
    """False for a pull that was loaded before, and for an incomplete one, which is only noted."""
    if pull.manifest.pull_id in loaded_pulls(connection):
        return False
    if not pull.manifest.complete:
        _note_pull(connection, pull, LoadResult(pull.rows, 0), None)
    return pull.manifest.complete


def _load_presence(connection: duckdb.DuckDBPyConnection, incoming_key: str, table: str, key: str, pull_no: int, tracked: str, names_all: bool) -> None:
    """Notes ids that are back, and, where the pull names all ids there are, those known before that it misses. Who was set aside is there."""
    here = f"(select {incoming_key} as id from incoming union all select id from aside)"
    connection.execute(
        f"""insert into raw.presence
            select object, id, {pull_no}, true
            from (select object, id, max_by(present, pull_no) as present from raw.presence where object = ? group by object, id) as seen
            where not present and exists (select 1 from {here} as here where here.id = seen.id)""",
        [tracked],
    )
    if names_all:
        connection.execute(
            f"""insert into raw.presence
                select ?, known.{key}, {pull_no}, false
                from (select distinct {key} from {table} where pull_no < {pull_no}) as known
                left join (select id, max_by(present, pull_no) as present from raw.presence where object = ? group by id) as seen on seen.id = known.{key}
                where not exists (select 1 from {here} as here where here.id = known.{key}) and coalesce(seen.present, true)""",
            [tracked, tracked],
        )


def _stage_history(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> list[Aside]:
    """Reads the history entries of a pull into the temporary table `entry`. Returns the contacts whose history cannot be read."""

    def entries(paths: list[Path]) -> str:
        return f"""
            select contact_id, property, version."value" as value, version."timestamp" as changed_at, version."sourceType" as source_type,
                version."sourceId" as source_id
            from (
                select contact_id, history.key as property, unnest(history.value) as version
                from (
                    select contact.id as contact_id, unnest(map_entries(contact."propertiesWithHistory")) as history
                    from ({_from_pages(paths, CONTACT_HISTORY)}) as page(contact)
                )
            )
            where contact_id is not null and version."timestamp" is not null"""

    shape = "create or replace temp table incoming as select * exclude (pull_no) from raw.hubspot_property_version limit 0"
    asides = _stage(connection, pull, shape, _Reader("id", "results", [], entries, "cast(null as varchar)"), counts=False)
    connection.execute("drop table if exists entry")
    connection.execute("alter table incoming rename to entry")
    return asides


def _load_history(connection: duckdb.DuckDBPyConnection) -> int:
    """Adds the entries that are new. Returns how many."""
    row = connection.execute(
        """insert into raw.hubspot_property_version
           select distinct entry.*, (select max(pull_no) from raw.pull)
           from entry
           left join raw.hubspot_property_version as known
               on known.contact_id = entry.contact_id and known.property = entry.property and known.changed_at = entry.changed_at
               and known.value is not distinct from entry.value and known.source_type is not distinct from entry.source_type
           where known.contact_id is null"""
    ).fetchone()
    connection.execute("drop table entry")
    return int(row[0]) if row else 0


def _from_pages(paths: list[Path], kind: str, name: str = "results") -> str:
    """A query for the entries of the list `name` of each JSON page, as `kind`. DuckDB's reader of JSON files takes 2 ms a file; this takes 0.1."""
    files = ", ".join(_literal(str(path)) for path in paths)
    structure = _literal(json.dumps(f"STRUCT({name} {kind}[])"))
    return f"select unnest(from_json(content, {structure}).{name}) from read_text([{files}])"


def csv_source(paths: list[Path], columns: list[str]) -> str:
    """The one way to read bulk pages: nothing is guessed, so a quote, a newline or an emoji in a value changes nothing."""
    files = ", ".join(_literal(str(path)) for path in paths)
    types = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in columns)
    return (
        f"read_csv([{files}], auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', new_line = '\\n', "
        f"columns = {{{types}}}, max_line_size = 33554432, parallel = false)"
    )


def _note_pull(connection: duckdb.DuckDBPyConnection, pull: LandedPull, result: LoadResult, highest: datetime | None) -> bool:
    """Adds the pull to raw.pull; False when it was there already.

    highest: the latest stamp that came. The watermark stays behind the moment at which the pull began: what changed after that, while
    other records were read, may not be in it.
    """
    manifest = pull.manifest
    if manifest.pull_id in loaded_pulls(connection):
        return False
    before = watermark(connection, manifest.source, manifest.object)
    began = _naive(manifest.crm_time)
    covered = min(highest, began) if highest and began else highest
    row = {
        "pull_no": _next_pull_no(connection), "pull_id": manifest.pull_id, "run_id": _current_run_id(connection), "source": manifest.source,
        "object": manifest.object, "mode": manifest.mode, "request_hash": manifest.request["asked"], "started_at": _naive(manifest.started_at),
        "finished_at": _naive(manifest.finished_at or manifest.started_at), "watermark_from": _naive(manifest.watermark_from),
        "watermark_to": max((stamp for stamp in (covered, before[0] if before else None) if stamp is not None), default=None),
        "expected_rows": manifest.expected_rows, "landed_rows": result.landed_rows, "new_versions": result.new_versions,
        "complete": manifest.complete, "problem": manifest.problem, "crm_time": began, "not_seen": manifest.not_seen,
    }  # fmt: skip
    connection.execute(f"insert into raw.pull ({', '.join(row)}) values ({', '.join('?' for _ in row)})", list(row.values()))
    return True


def report_pull(pull: LandedPull, result: LoadResult) -> None:
    """Tells in the log what a pull brought, or why it is incomplete."""
    manifest = pull.manifest
    if manifest.complete:
        log.info("%s: %s rows pulled (%s), %s new or changed", pull.label, f"{manifest.rows:,}", manifest.mode, f"{result.new_versions:,}")
    else:
        log.error("%s: incomplete, %s", pull.label, manifest.problem)


def count_rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return _count(connection, f"select count(*) from {table}")


def _next_pull_no(connection: duckdb.DuckDBPyConnection) -> int:
    return _count(connection, "select coalesce(max(pull_no), 0) + 1 from raw.pull")


def _current_run_id(connection: duckdb.DuckDBPyConnection) -> str:
    row = connection.execute("select run_id from main.current_run").fetchone()
    if row is None:
        raise LookupError("no run is going on: call begin_run first")
    return str(row[0])


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def utc_text(moment: datetime) -> str:
    """A moment of the warehouse as JSON files have it: 2026-03-01T09:00:00Z."""
    return f"{moment.isoformat()}Z"


def _naive(moment: datetime | None) -> datetime | None:
    """UTC without a zone, as the warehouse keeps times."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
