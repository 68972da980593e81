"""Reads landed pages into DuckDB: the whole pull at once, and where that fails page by page, then record by record.

It needs a connection to some database, and never to the warehouse in particular: a pull counts what it landed in memory.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from assets.pull.landing import Aside, LandedPull, Page, aside_of
from assets.pull.salvage import csv_rows, json_records, write_csv, write_json
from assets.sql import count, literal, quoted

# What is read from a JSON page. Everything is text, because both APIs change types between answers; what a page holds beside it is ignored.
HISTORY = """MAP(VARCHAR, STRUCT("value" VARCHAR, "timestamp" VARCHAR, "sourceType" VARCHAR, "sourceId" VARCHAR)[])"""
CONTACT_HISTORY = f"""STRUCT(id VARCHAR, "propertiesWithHistory" {HISTORY})"""
CONTACT_STAMP = """STRUCT(id VARCHAR, "updatedAt" VARCHAR, "archivedAt" VARCHAR)"""
LIST_MEMBER = """STRUCT("recordId" VARCHAR)"""
# DuckDB would hold two thousand pages at a time. One is up to 200 kB of JSON; where many properties are mapped, or histories are long, it is megabytes.
PAGES_AT_ONCE = 200
_BYTES_AT_ONCE = 64 << 20


class LoadProblem(Exception):
    """What was landed is not what it should be. Says how, without the contents of a record."""


# An error of these kinds is about what was read, and about nothing else.
CANNOT_BE_READ = (duckdb.DataError, duckdb.InvalidInputException)
CANNOT_BE_LOADED = (LoadProblem, duckdb.IntegrityError, *CANNOT_BE_READ)


def contact_values(properties: Sequence[str]) -> str:
    """What is read of a contact: these properties, and the history that came along. Into a struct, because a map takes six times as long to read and sort."""
    known = ", ".join(f"{quoted(name)} VARCHAR" for name in sorted(properties))
    return f"""STRUCT(id VARCHAR, properties STRUCT({known}), "createdAt" VARCHAR, "updatedAt" VARCHAR, archived BOOLEAN, "archivedAt" VARCHAR,
        "propertiesWithHistory" {HISTORY})"""


@dataclass(frozen=True)
class Reader:
    """How the records of a pull are read.

    id_name: of the field that holds a record's id; list_name: of the list that holds the records of a JSON page; columns: the header of a CSV page;
    query: for the columns of `incoming` over some pages; unusable: an expression over these columns that says why a row cannot be used (see Aside), or null.
    """

    id_name: str
    list_name: str
    columns: list[str]
    query: Callable[[list[Path]], str]
    unusable: str


WITHOUT_ID = "case when coalesce(id, '') = '' then 'without_id' end"


def stage(connection: duckdb.DuckDBPyConnection, pull: LandedPull, create: str, reader: Reader) -> list[Aside]:
    """Reads the pages of a pull into the temporary table `incoming`, and who was set aside into `aside` (id, version, reason). Returns those whom the
    load set aside.

    One row is one record, and each page is held against the rows that were noted of it: raises LoadProblem when they are not as many.
    """
    connection.execute(create)
    asides: list[Aside] = []
    for pages in _in_lots(pull.pages_with_rows()):
        asides += _read_pages(connection, pages, reader)
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


def _in_lots(pages: list[Page]) -> Iterator[list[Page]]:
    """The pages in their order, as many at a time as fit memory. CSV is read as a stream."""
    lot: list[Page] = []
    size = 0
    for page in pages:
        of_page = page.path.stat().st_size if page.path.suffix != ".csv" else 0
        if lot and (len(lot) >= PAGES_AT_ONCE or size + of_page > _BYTES_AT_ONCE):
            yield lot
            lot, size = [], 0
        lot.append(page)
        size += of_page
    if lot:
        yield lot


def stage_ids(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> None:
    def ids(paths: list[Path]) -> str:
        return f"select contact.id as id from ({from_pages(paths, 'STRUCT(id VARCHAR)')}) as page(contact)"

    stage(connection, pull, "create or replace temp table incoming (id varchar)", Reader("id", "results", [], ids, WITHOUT_ID))


def _read_pages(connection: duckdb.DuckDBPyConnection, pages: list[Page], reader: Reader) -> list[Aside]:
    """Adds the records of some pages to `incoming`. Where that fails, page by page; where a page fails, record by record."""
    if _add(connection, reader, [page.path for page in pages], sum(page.rows for page in pages)):
        return []
    if len(pages) > 1:
        middle = len(pages) // 2
        return _read_pages(connection, pages[:middle], reader) + _read_pages(connection, pages[middle:], reader)
    return _read_records(connection, pages[0], reader)


def _read_records(connection: duckdb.DuckDBPyConnection, page: Page, reader: Reader) -> list[Aside]:
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
    asides: list[Aside] = []
    if is_csv:
        asides = [_aside_of(row, reader, "columns") for row in records if len(row) != len(reader.columns)]
        records = [row for row in records if len(row) == len(reader.columns)]
    waiting = [records] if records else []
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"part{page.path.suffix}"
        while waiting:
            part = waiting.pop()
            if is_csv:
                write_csv(path, reader.columns, part)
            else:
                write_json(path, reader.list_name, part)
            if _add(connection, reader, [path], len(part)):
                continue
            reasons = _why_unusable(connection, reader, path)
            unusable = [place for place in range(len(part)) if place in reasons]
            if len(unusable) == len(part):
                asides += [_aside_of(record, reader, reasons[place]) for place, record in enumerate(part)]
            elif unusable:  # all at once: where thousands are, to look for each in halves takes minutes
                waiting += [[part[place] for place in unusable], [record for place, record in enumerate(part) if place not in reasons]]
            elif len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            else:
                asides.append(_aside_of(part[0], reader, "values"))
    return asides


def _aside_of(record: Any, reader: Reader, why: str) -> Aside:
    if isinstance(record, list) and reader.columns:  # else a list stands where an object should
        place = reader.columns.index(reader.id_name)
        record_id = record[place] if place < len(record) else ""
    else:
        record_id = str(record.get(reader.id_name) or "") if isinstance(record, dict) else ""
    # it becomes part of a query
    return aside_of(record_id if record_id.isalnum() and record_id.isascii() else None, record, why)


def _add(connection: duckdb.DuckDBPyConnection, reader: Reader, paths: list[Path], expected: int) -> bool:
    """Adds all records of some pages to `incoming`, or none: False when one cannot be read or used, or they are not as many as expected."""
    last = count(connection, "select coalesce(max(rowid), -1) from incoming")
    try:
        added = count(connection, f"insert into incoming by name {reader.query(paths)}")
    except CANNOT_BE_READ:
        return False
    if added == expected and not count(connection, f"select count(*) from incoming where rowid > {last} and ({reader.unusable}) is not null"):
        return True
    connection.execute(f"delete from incoming where rowid > {last}")
    return False


def _why_unusable(connection: duckdb.DuckDBPyConnection, reader: Reader, path: Path) -> dict[int, str]:
    """Why records of a page cannot be used, by their places in it; empty where the page cannot be read at all."""
    rows = f"select row_number() over () - 1 as place, {reader.unusable} as reason from ((from incoming limit 0) union all by name {reader.query([path])})"
    try:
        return dict(connection.execute(f"select place, reason from ({rows}) where reason is not null").fetchall())
    except CANNOT_BE_READ:
        return {}


def from_pages(paths: list[Path], kind: str, name: str = "results") -> str:
    """A query for the entries of the list `name` of each JSON page, as `kind`. DuckDB's reader of JSON files takes 2 ms a file; this takes 0.1."""
    files = ", ".join(literal(str(path)) for path in paths)
    structure = literal(json.dumps(f"STRUCT({name} {kind}[])"))
    return f"select unnest(from_json(content, {structure}).{name}) from read_text([{files}])"


def csv_source(paths: list[Path], columns: list[str]) -> str:
    """The one way to read bulk pages: nothing is guessed, so a quote, a newline or an emoji in a value changes nothing."""
    files = ", ".join(literal(str(path)) for path in paths)
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    return (
        f"read_csv([{files}], auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', new_line = '\\n', "
        f"columns = {{{types}}}, max_line_size = 33554432, parallel = false)"
    )


def count_landed_contacts(pull: LandedPull) -> int:
    """How many different contacts came, those set aside included."""
    with duckdb.connect() as connection:
        stage_ids(connection, pull)
        return count(connection, "select count(distinct id) from (select id from incoming union all select id from aside)")
