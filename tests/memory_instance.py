"""A Dagster instance in memory that keeps its connections: Dagster's own opens one for each of a run's 400 events, which takes half of the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import sqlalchemy as sa
from dagster._core.instance import InstanceType
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
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
    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
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
