"""Builds every SQL table in one transaction over one connection. What the checks find goes into review.violation."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import duckdb

from assets.models.slice import Slice, found_by
from assets.models.sqlfile import CheckFile, SqlFile, model_files
from assets.models.stale import VIOLATION, Standing
from assets.problems import UnexpectedProblem, said
from assets.progress import counted, told_to_end
from assets.sentences import write_sentences
from assets.sql import SQL_FOLDER, literal, transaction

log = logging.getLogger("bindwatch.models")


@dataclass(frozen=True)
class BuiltTable:
    """A table after its build: how many rows (None for a view, which nobody has read yet), which columns (name to type), how long it took in
    seconds (None where it stayed as it was).
    """

    table: str
    rows: int | None
    columns: dict[str, str]
    seconds: float | None


def build_models(
    connection: duckdb.DuckDBPyConnection,
    checks: Sequence[CheckFile],
    sql_folder: Path = SQL_FOLDER,
    until: Iterable[str] | None = None,
    without: Collection[str] = (),
    standing: Standing | None = None,
    part: Slice | None = None,
) -> dict[str, float]:
    """Rebuilds staging, core and review from raw, and runs every check into review.violation.

    until: build these tables and what they read, and nothing else; without: those that are there already; standing: build what is stale, and remember it; part:
    of that, what can be, for those alone whom pulls touched.
    Returns the tables in build order, and how many seconds each took. An error in a file rolls everything back and is raised with the file's name.
    """
    with transaction(connection):
        connection.execute("update main.current_run set last_pull_no = (select coalesce(max(pull_no), 0) from raw.pull)")
        models = model_files(sql_folder, checks, until)
        _drop_former_views(connection, models)
        write_sentences(connection, [*((check.name, check.text) for check in checks), *((file.path.stem, file.text) for file in models)])
        fresh = {*without, *(standing.fresh if standing else ())}
        files = [file for file in models if file.table not in fresh]
        whole = partial(_build, connection, checks)
        if part is None or not part.begin(connection):
            seconds = _one_by_one(files, whole)
        elif not part.is_held_against_whole:
            seconds = _one_by_one(files, partial(_build_part, part, checks, whole))
            part.end()
        else:
            stale = [file for file in files if file.table in part.standing.stale and not file.is_said]
            _one_by_one(stale, partial(_build_part, part, checks, whole))
            part.end()
            of_slices = part.contents()
            seconds = _one_by_one(files, whole)
            part.differing = [table for table, held in part.contents().items() if held != of_slices[table]]
        if part:
            part.note(connection)
        if standing:
            standing.note(connection, seconds.keys())
    log.info("%s tables built in %.1f s", f"{len(files):,}", sum(seconds.values()))
    return seconds


def _drop_former_views(connection: duckdb.DuckDBPyConnection, models: Iterable[SqlFile]) -> None:
    """What was a view to an older Bindwatch may be a table now, which cannot take a view's place."""
    tables = {file.table for file in models if not file.is_view}
    for (view,) in connection.execute("select schema_name || '.' || view_name from duckdb_views() where not internal").fetchall():
        if view in tables:
            connection.execute(f"drop view {view}")


def _one_by_one(files: Sequence[SqlFile], build: Callable[[SqlFile], bool]) -> dict[str, float]:
    """build: returns whether it built the table. Returns how many seconds each took that was."""
    seconds: dict[str, float] = {}
    for number, file in enumerate(files, 1):
        counted("table", number, len(files))
        started = time.perf_counter()
        if build(file):
            seconds[file.table] = time.perf_counter() - started
    return seconds


def _build(connection: duckdb.DuckDBPyConnection, checks: Sequence[CheckFile], file: SqlFile) -> bool:
    _execute(connection, file, file.text)
    if file.table == VIOLATION:
        for check in checks:
            _execute(connection, check, f"insert into review.violation by name {found_by(check)}")
    return True


def _build_part(part: Slice, checks: Sequence[CheckFile], whole: Callable[[SqlFile], bool], file: SqlFile) -> bool:
    with _blamed(file):
        return part.build(file, checks, lambda: whole(file))


def _execute(connection: duckdb.DuckDBPyConnection, file: SqlFile, statement: str) -> None:
    with _blamed(file):
        connection.execute(_parsed(statement))


@contextmanager
def _blamed(file: SqlFile) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        if told_to_end() or isinstance(error, (duckdb.OutOfMemoryException, duckdb.IOException)):
            raise  # nothing that the file could be blamed for
        raise UnexpectedProblem(f"{file.path.parent.name}/{file.path.name} failed: {said(error)}") from error


@lru_cache(maxsize=256)
def _parsed(statement: str) -> duckdb.Statement:
    """A process that builds again need not parse again: an eighth of the time, where there are few rows."""
    (parsed,) = duckdb.extract_statements(statement)
    return parsed


def describe_tables(connection: duckdb.DuckDBPyConnection, seconds: Mapping[str, float | None]) -> list[BuiltTable]:
    """What build_models built or left as it was, in that order. Asked in one query each: to describe and to count each table alone takes as long as to build
    an empty one.
    """
    columns: dict[str, dict[str, str]] = {}
    for table, name, kind in connection.execute(
        "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns() where not internal order by column_index"
    ).fetchall():
        columns.setdefault(table, {})[name] = kind
    there = {row[0] for row in connection.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall()} & seconds.keys()
    # what DuckDB holds for the size of a table counts rows that a slice replaced
    counts = " union all ".join(f"select {literal(table)}, count(*) from {table}" for table in sorted(there))
    sizes = dict(connection.execute(counts).fetchall()) if counts else {}
    return [BuiltTable(table, sizes.get(table), columns[table], taken) for table, taken in seconds.items()]
