"""SQL as text: where its files are, names and values inside it, and one transaction."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import TypeVar

import duckdb

T = TypeVar("T")
_more_memory = RLock()
MOST_MEMORY = 4 * 2**30  # bytes, for one process that only reads
SQL_FOLDER = Path(__file__).parent / "models" / "sql"

# What is to be done when a connection has committed: a run answers then who waits for a backup.
_listeners: dict[int, Callable[[], None]] = {}


def quoted(name: str) -> str:
    """A name of a column or table."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A text, a number, a list of them, or null."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def among(ids: Iterable[str | int | None]) -> str:
    """What stands behind `in`, so that an index is used: values that are joined with a table cost a look at every row."""
    return "(" + (", ".join(literal(one) for one in ids if one is not None) or "null") + ")"


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
    if listener := _listeners.get(id(connection)):
        listener()


@contextmanager
def after_each_commit(connection: duckdb.DuckDBPyConnection, listener: Callable[[], None]) -> Iterator[None]:
    """Calls the listener after each `transaction` of this connection."""
    _listeners[id(connection)] = listener
    try:
        yield
    finally:
        del _listeners[id(connection)]


def with_memory(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """What `work` returns. Where DuckDB's memory limit is too small for it, it begins again with twice as much, up to MOST_MEMORY. Then the limit is what it
    was before. Of several at once one has more at a time.
    """
    try:
        return work()
    except duckdb.OutOfMemoryException:
        with _more_memory:
            usual = limit = memory_limit(connection)
            try:
                while True:
                    limit *= 2
                    connection.execute(f"set memory_limit = '{limit} bytes'")
                    try:
                        return work()
                    except duckdb.OutOfMemoryException:
                        if limit >= MOST_MEMORY:
                            raise
            finally:
                with suppress(duckdb.Error):  # somebody needs it at this moment
                    connection.execute(f"set memory_limit = '{usual} bytes'")


def memory_limit(connection: duckdb.DuckDBPyConnection) -> int:
    """DuckDB's, in bytes. Half a digit more than it says: what is shown was rounded down, and would shrink each time it is set again."""
    ((text,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    number, unit = str(text).split()
    return int((float(number) + 0.05) * 1024 ** ["bytes", "KiB", "MiB", "GiB", "TiB"].index(unit))


def count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """What a query for one number answers; also how many rows a statement changed."""
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def count_rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return count(connection, f"select count(*) from {table}")
