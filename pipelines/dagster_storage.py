"""Dagster's history of runs and events in SQLite, with connections that are kept. Named in dagster.yaml; nothing of Dagster is patched.

Dagster's own storage opens an engine and a connection for each event, and has each commit on the disk before it goes on: a run has 400 events. Here a
file keeps its connections, and SQLite has the disk follow at its checkpoints (`synchronous = NORMAL` with a write-ahead log: a power cut costs the
last events, and never the file). What a run is going to do, 140 events, is written in one go. Can go when Dagster does so itself.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import sqlalchemy as sa
from dagster import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

_BUSY_SECONDS = 60.0  # to wait for another process that writes
_KEPT = 8  # files of events: the UI looks at many runs


def keeping_engine(url: str) -> sa.Engine:
    """An engine that keeps its connections."""
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _settle(connection: Any, _record: Any) -> None:
        connection.execute("pragma synchronous = normal")

    return engine


class KeptRunStorage(SqliteRunStorage):
    """Runs, by one engine."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = keeping_engine(conn_string)
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        self._engine.dispose()
        super().dispose()


class KeptEventLogStorage(SqliteEventLogStorage):
    """Events, by an engine for each of the files that were used last: a run has one, and one is about all of them."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, sa.Engine] = OrderedDict()
        self._tables: set[str] = set()  # that are known to be there
        self._held: dict[str, sa.Connection] | None = None  # while several events are written in one go: a connection to each file
        super().__init__(base_dir, inst_data)
        self._db_lock = threading.RLock()  # type: ignore[assignment]  # who holds a connection to each file asks for one again

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        with self._db_lock:
            if self._held is None:
                with self._engine_of(shard).begin() as connection:
                    yield connection
            else:
                if shard not in self._held:
                    self._held[shard] = self._stack.enter_context(self._engine_of(shard).begin())
                yield self._held[shard]

    def has_table(self, table_name: str) -> bool:
        """Asked for each event of a check. A table that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """In one commit for each file."""
        with self._db_lock, ExitStack() as self._stack:
            self._held = {}
            try:
                super().store_event_batch(events)
            finally:
                self._held = None

    def _engine_of(self, shard: str) -> sa.Engine:
        if shard in self._engines:
            self._engines.move_to_end(shard)
            if os.path.exists(self.path_for_shard(shard)):  # noqa: PTH110  (Dagster has it as a text)
                return self._engines[shard]
            self._close(shard)  # the file was taken away
        if len(self._engines) >= _KEPT:
            self._close(next(name for name in self._engines if name != INDEX_SHARD_NAME))
        engine = keeping_engine(self.conn_string_for_shard(shard))
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = engine
        return engine

    def _close(self, shard: str) -> None:
        self._engines.pop(shard).dispose()
        self._initialized_dbs.discard(shard)

    def delete_events(self, run_id: str) -> None:
        super().delete_events(run_id)
        with self._db_lock:
            if run_id in self._engines:
                self._close(run_id)  # whoever removes the file then has its room back

    def wipe(self) -> None:
        self._tables.clear()
        self._close_all()
        super().wipe()

    def dispose(self) -> None:
        self._close_all()
        super().dispose()

    def _close_all(self) -> None:
        for shard in list(self._engines):
            self._close(shard)


class KeptStorage(DagsterSqliteStorage):
    """Runs, events and schedules below `base_dir`, in the files where Dagster's own storage has them: either can follow the other."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        history = os.path.join(base_dir, "history", "")  # noqa: PTH118
        self.base_dir = base_dir
        self._run_storage = KeptRunStorage.from_local(history)
        self._event_log_storage = KeptEventLogStorage(os.path.join(history, "runs", ""))  # noqa: PTH118
        self._schedule_storage = SqliteScheduleStorage.from_local(os.path.join(base_dir, "schedules"))  # noqa: PTH118
        self._inst_data = inst_data
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "KeptStorage":
        return cls.from_local(inst_data=inst_data, **config_value)
