"""The warehouse: one DuckDB file that holds raw versions, the models built from them, and the memory of former runs.

A DuckDB file has one writer. `Warehouse.guard` keeps a second run out for as long as the first one lasts; the lock goes with the
process, so a killed run leaves none behind.
"""

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, Literal, TypeVar

import duckdb

from assets.files import set_aside, sync_file, sync_folder
from assets.policy import Policy
from assets.problems import DamagedWarehouse, HomeInUse, WarehouseProblem, said
from assets.pull.landing import Landing
from assets.sql import SQL_FOLDER, after_each_commit, memory_limit, transaction
from assets.warehouse.backup import LOCK, REQUESTS, answer_requests
from assets.warehouse.damage import damage_of, damaged, forget_checksum, is_damage, log_of, missing, note_checksum, open_file, sign_of_runs
from assets.warehouse.restore_home import RESTORING, finish_restore

log = logging.getLogger("bindwatch.pull")

T = TypeVar("T")

Why = Literal["run", "backup", "restore"]
_HELD: dict[str, str] = {
    "run": "Another run is going on in {home}.",
    "backup": "A backup of {home} is being made.",
    "restore": "A backup is being put back in {home}.",
}
_LOOK_SECONDS = 0.2  # is_free takes the lock for a moment

SCHEMA_VERSION = 9  # one more with each file under sql/migrations/
# For DuckDB, which takes what it may and spills the rest beside the file: so much does for ten million records, and no faster with more.
MEMORY = 5 * 10**9  # bytes
MOST_MEMORY = "60%"  # of the machine's: one of 8 GB has room left for Dagster and Great Expectations
LOAD_MEMORY, LOAD_ROWS = "240MB", 3_000_000  # a load of up to so many rows, those it is compared with included, is as fast with little memory


class Warehouse:
    """The folder that holds everything: warehouse file, landing, published snapshots."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "warehouse.duckdb"
        self._was_opened = False  # for writing, since the lock was taken

    def landing(self, policy: Policy) -> Landing:
        return Landing(self.home / "landing", timedelta(hours=policy.pull.resume_hours))

    @contextmanager
    def guard(self, why: Why = "run") -> Iterator[None]:
        """Keeps others off this home. why: what for, which those are told. Raises HomeInUse at once when it is not free."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / LOCK).open("a+") as lock:
            if not _take(lock, attempts=1 if why == "backup" else 2):  # a backup comes again by itself
                lock.seek(0)
                raise HomeInUse(f"{_HELD.get(lock.read(), _HELD['run']).format(home=self.home)} Wait for it to end, then run again.")
            lock.truncate(0)
            lock.write(why)
            lock.flush()
            if (self.home / RESTORING).exists():
                finish_restore(self.home)
            try:
                yield
            finally:
                if self._was_opened:
                    note_checksum(self.path)
                lock.truncate(0)

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
        forget_checksum(self.home)
        self._was_opened = True
        try:
            connection.execute("set timezone = 'UTC'; set preserve_insertion_order = false")
            limit_memory(connection)
            prepare(connection)
            with after_each_commit(connection, lambda: self._answer_requests(connection)):
                yield connection
        except Exception as error:
            if not isinstance(error, WarehouseProblem) and is_damage(error, self.path):
                what = damage_of(self.path) or said(error)
                if self._set_aside_when_new():
                    raise WarehouseProblem(f"The warehouse was damaged ({what}). No run has ended in it yet, so nothing is lost: run again.") from error
                raise damaged(self.path, what) from error
            raise
        finally:
            with suppress(duckdb.Error):  # a database that DuckDB has given up on cannot be closed in order; what was wrong is being raised
                connection.close()

    def _answer_requests(self, connection: duckdb.DuckDBPyConnection) -> None:
        if (self.home / REQUESTS).exists():
            answer_requests(self.home, connection)

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
        make_empty(temporary)
        sync_file(temporary)
        temporary.replace(self.path)
        sync_folder(self.home)


def _take(lock: IO[str], attempts: int) -> bool:
    """Takes the lock, unless somebody holds it for longer than it takes to look whether anybody does."""
    for left in reversed(range(attempts)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS if left else 0)
        else:
            return True
    return False


def make_empty(path: Path) -> None:
    """Makes the file of a warehouse in which nothing has been pulled yet."""
    with duckdb.connect(str(path)) as connection:
        prepare(connection)


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Brings the raw tables, the memory and the shared macros into a database. Raises WarehouseProblem when a newer Bindwatch wrote it."""
    connection.execute("create table if not exists main.schema_version (version integer not null)")
    row = connection.execute("select max(version) from main.schema_version").fetchone()
    version = row[0] if row else None
    if version is not None and version > SCHEMA_VERSION:
        raise WarehouseProblem(f"The warehouse was written by a newer Bindwatch (schema {version}, this one knows {SCHEMA_VERSION}). Update Bindwatch.")
    macros = (SQL_FOLDER / "raw" / "macros.sql").read_text("utf-8")
    for next_version in range((version or SCHEMA_VERSION) + 1, SCHEMA_VERSION + 1):
        connection.execute(macros)
        with transaction(connection):
            connection.execute((SQL_FOLDER / "migrations" / f"{next_version}.sql").read_text("utf-8"))
            connection.execute("insert into main.schema_version values (?)", [next_version])
        log.info("the warehouse was brought to schema %d", next_version)
    if version is None:
        connection.execute("insert into main.schema_version values (?)", [SCHEMA_VERSION])
    # they stay in the file, and making them again takes longer than all else of an opening: only when they are others
    statements = (SQL_FOLDER / "raw" / "tables.sql").read_text("utf-8") + macros
    digest = sha256(statements.encode()).hexdigest()
    connection.execute("create table if not exists main.prepared (digest varchar not null)")
    if connection.execute("select 1 from main.prepared where digest = ?", [digest]).fetchone() is None:
        connection.execute(statements)
        connection.execute("delete from main.prepared")
        connection.execute("insert into main.prepared values (?)", [digest])


def in_little_memory(connection: duckdb.DuckDBPyConnection, rows: int, load: Callable[[], T]) -> T:
    """Loads with little memory. What does not fit is spilled; what cannot be spilled is done again with all there is.

    rows: that are looked at. load: leaves nothing behind when it fails.
    """
    if rows <= LOAD_ROWS:
        connection.execute(f"set memory_limit = '{LOAD_MEMORY}'")
    try:
        return with_all_memory(connection, load)
    finally:
        limit_memory(connection)


def with_all_memory(connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
    """What `work` returns. Where that takes more memory than it may have, it begins again with all there is, unless it had that.

    work: leaves nothing behind when it fails.
    """
    given = memory_limit(connection)
    try:
        return work()
    except duckdb.OutOfMemoryException:
        connection.execute(f"set memory_limit = '{MOST_MEMORY}'")
        if memory_limit(connection) <= given:
            raise
        log.info("This takes more memory than it was given, and begins again with more")
        try:
            return work()
        finally:
            limit_memory(connection)


def limit_memory(connection: duckdb.DuckDBPyConnection) -> None:
    """Gives a connection MEMORY, or less on a small machine (docs/decisions/0083)."""
    connection.execute(f"set memory_limit = '{MOST_MEMORY}'")
    if memory_limit(connection) > MEMORY:
        with suppress(duckdb.OutOfMemoryException):  # so much is in use at this moment
            connection.execute(f"set memory_limit = '{MEMORY} bytes'")
