"""A Dagster instance in memory that keeps its connections: Dagster's own opens one for each of a run's 400 events, which takes half of the run.

Events wait as they are until somebody reads one: to write them takes a tenth of a run, and most tests never look.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import dagster as dg
import sqlalchemy as sa
from dagster._core.event_api import EventLogRecord
from dagster._core.events.log import EventLogEntry
from dagster._core.instance import InstanceType
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.event_log.base import AssetEntry, AssetRecord
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import TemporaryLocalArtifactStorage
from dagster._core.storage.runs import InMemoryRunStorage


@contextmanager
def _in_transaction(connection: sa.Connection) -> Iterator[sa.Connection]:
    if connection.in_transaction():
        yield connection
        return
    with connection.begin():
        yield connection


class _Events(InMemoryEventLogStorage):
    def __init__(self) -> None:
        self._waiting: list[EventLogEntry] = []
        self._made: dict[dg.AssetKey, EventLogRecord] = {}  # how each asset was last made
        self._one_at_a_time = RLock()
        super().__init__()

    def store_event(self, event: EventLogEntry) -> None:
        with self._one_at_a_time:
            self._waiting.append(event)
            told = event.dagster_event
            if told is not None and told.is_step_materialization and told.asset_key is not None:
                self._made[told.asset_key] = EventLogRecord(self._storage_id + len(self._waiting), event)
            if self._handlers[event.run_id]:
                self._write()

    def get_asset_records(self, asset_keys: Sequence[dg.AssetKey] | None = None) -> Sequence[AssetRecord]:
        """While a run goes on, each of its steps asks for the versions of what it reads, and of what it has just made itself."""
        told = self._waiting[-1].dagster_event if self._waiting else None
        if asset_keys is None or told is None or not told.is_step_event:
            return super().get_asset_records(asset_keys)
        made = [(key, self._made[key]) for key in asset_keys if key in self._made]
        return [AssetRecord(storage_id=0, asset_entry=AssetEntry(asset_key=key, last_materialization_record=record)) for key, record in made]

    @property
    def asset_records_have_last_observation(self) -> bool:
        return True  # nothing here is observed, so nothing is to be looked for

    def _write(self) -> None:
        with self._one_at_a_time:
            waiting, self._waiting = self._waiting, []
            for event in waiting:
                super().store_event(event)  # type: ignore[no-untyped-call]

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        if self._waiting:
            self._write()
        with self._db_lock, _in_transaction(self._held_conn) as connection:
            yield connection


class _Runs(InMemoryRunStorage):
    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with _in_transaction(self._held_conn) as connection:
            yield connection


def memory_instance() -> dg.DagsterInstance:
    artifacts = TemporaryLocalArtifactStorage()  # type: ignore[no-untyped-call]
    return dg.DagsterInstance(
        instance_type=InstanceType.EPHEMERAL, local_artifact_storage=artifacts, run_storage=_Runs(), event_storage=_Events(),
        compute_log_manager=NoOpComputeLogManager(), run_coordinator=DefaultRunCoordinator(), run_launcher=SyncInMemoryRunLauncher(),
    )  # fmt: skip
