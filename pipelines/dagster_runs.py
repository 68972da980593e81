"""Which runs of a Dagster instance are this home's. An instance may serve others: what cannot be proven to be ours is left alone.

A run says which home it is of by a tag. A run that holds the lock of the home knows that no other run of it goes on, so it ends those that still claim
to, and removes old ones. Whoever finds nobody at the lock, twice, knows the same: a queue waits for no dead run.
"""

import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RETRIES_TAG, RETRY_STRATEGY_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from assets.dagster.keys import GUARDED_RUN, HOME_TAG, PREFIX, PREFIX_TAG, REFUSED_TAG, VERDICT_TAG, named
from assets.files import sync_folder
from assets.problems import presentable
from assets.warehouse.backup import is_free

log = logging.getLogger("bindwatch")

HOME_ID = "home-id.json"
_ALONE = "__ASSET_JOB"  # Dagster's job for what somebody runs alone in the UI
_GOING_ON = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.STARTING]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_STARTS_WITHIN = timedelta(minutes=10)  # a process that Dagster has started, until it has the lock
_IS_HANDED_OVER_WITHIN = timedelta(seconds=30)  # until the code server knows of it
_LOOK_AGAIN_SECONDS = 5.0  # of a run between its lock and its end
_MOST, _SECONDS = 50, 10.0  # runs that are removed by one run, and how long that may take


def home_id(home: Path, make: bool = False) -> str | None:
    """Which home this is, for Dagster. None when it has no name yet; make: then it is given one.

    A copy of a home is another one, and must not end the runs of the first. So the file says which file on the disk it is: one that was copied or
    restored does not fit, one that was moved on its disk does. A hard link would fit both, and counts for neither.
    """
    path = home / HOME_ID
    try:
        kept, found = json.loads(path.read_bytes()), path.stat()
        if kept["inode"] == found.st_ino and found.st_nlink == 1:
            return str(kept["id"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nobody's memory depends on it
    if not make:
        return None
    name = uuid.uuid4().hex
    temporary = path.with_name(f"{HOME_ID}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"id": name, "inode": os.fstat(file.fileno()).st_ino}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(home)
    return name


def tags_of(home: Path) -> dict[str, str]:
    """What a run of this home says of itself. A home that is there is given its name: a run that is killed before it has the lock could not be ended else."""
    name = None
    with suppress(OSError):
        name = home_id(home, make=home.is_dir())
    # a run that is begun again after its process died pulls, too: one without a pull would prove nothing
    return {PREFIX_TAG: PREFIX, RETRY_STRATEGY_TAG: "ALL_STEPS", **({HOME_TAG: name} if name else {})}


def own_runs(
    home: Path,
    statuses: Sequence[dg.DagsterRunStatus] = (),
    updated_after: datetime | None = None,
    created_before: datetime | None = None,
    verdict: str | None = None,
) -> dg.RunsFilter | None:
    """What to ask an instance for the runs of this home; None when there can be none."""
    name = home_id(home)
    if name is None:
        return None
    tags = {HOME_TAG: name, **({VERDICT_TAG: verdict} if verdict else {})}
    return dg.RunsFilter(statuses=list(statuses), tags=tags, updated_after=updated_after, created_before=created_before)


def is_guarded_run(run: dg.DagsterRun) -> bool:
    """Is it of Bindwatch's job, under the prefix that it had?"""
    return run.job_name == named(GUARDED_RUN, run.tags.get(PREFIX_TAG, ""))


def _is_ours(run: dg.DagsterRun) -> bool:
    return is_guarded_run(run) or run.job_name.startswith(_ALONE)


def clear_up(instance: dg.DagsterInstance, run_id: str, home: Path, keep_days: float) -> None:
    """For the run that has just taken the lock of the home: says in Dagster which home it is of, ends the home's dead runs, and removes old ones.

    Whatever goes wrong here is logged, and ends no run.
    """
    try:
        home_id(home, make=True)
        instance.add_run_tags(run_id, tags_of(home))
        _end_dead_runs(instance, run_id, home)
        _remove_old_runs(instance, run_id, home, keep_days)
    except Exception as error:
        log.warning("Dagster's history could not be cleared up: %s", presentable(error))


def refuse(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Has a run end as canceled that finds somebody else at work in the home. That is no failure: nobody is alarmed, and it is not begun again."""
    instance.add_run_tags(run.run_id, {REFUSED_TAG: why})
    instance.report_run_canceling(run, why)


def end_dead_runs(instance: dg.DagsterInstance, home: Path, suspected: Iterable[str]) -> tuple[list[str], list[str]]:
    """Ends the runs of this home that claim to go on, as they did the last time, while nobody holds its lock. Returns those that it ended, and those to
    suspect the next time. Raises whatever Dagster's storage raises.

    suspected: what the last call returned, some seconds ago or more. It takes two looks, because a run goes on for a moment before it has the lock, and after.
    """
    claiming = _going_on(instance, home)  # before the lock is looked at: who takes it in between is not among them
    if not claiming or not is_free(home):
        return [], []
    known = set(suspected)
    dead = [record.dagster_run for record in claiming if record.dagster_run.run_id in known and not _is_being_started(record)]
    for run in dead:
        _end(instance, run, "The process was killed: nobody holds the lock of the home. The next run goes on where this one stopped.")
    ended = [run.run_id for run in dead]
    return ended, [record.dagster_run.run_id for record in claiming if record.dagster_run.run_id not in ended]


def end_dead_runs_now(instance: dg.DagsterInstance, home: Path) -> None:
    """The same for who looks once: it waits a little when there is something to suspect."""
    _, suspected = end_dead_runs(instance, home, ())
    if suspected:
        time.sleep(_LOOK_AGAIN_SECONDS)
        end_dead_runs(instance, home, suspected)


def _end_dead_runs(instance: dg.DagsterInstance, run_id: str, home: Path) -> None:
    """A killed process cannot tell Dagster. Whatever of this home still claims to run while another run has the lock is dead."""
    for record in _going_on(instance, home):
        run = record.dagster_run
        if run.run_id != run_id and not _is_being_started(record):
            instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})  # this run is what it would be begun again for
            _end(instance, run, "The process was killed. The next run went on where this one stopped.")


def _going_on(instance: dg.DagsterInstance, home: Path) -> list[dg.RunRecord]:
    """The runs of this home that claim to go on."""
    ours = own_runs(home, _GOING_ON)
    return [record for record in instance.get_run_records(ours) if _is_ours(record.dagster_run)] if ours else []


def _is_being_started(record: dg.RunRecord) -> bool:
    """May its process be on the way to the lock? The code server that started it knows; where that is gone, the run never comes."""
    run, age = record.dagster_run, datetime.now(UTC) - record.update_timestamp.replace(tzinfo=UTC)
    if run.status is not dg.DagsterRunStatus.STARTING or age > _STARTS_WITHIN:
        return False
    return age < _IS_HANDED_OVER_WITHIN or GRPC_INFO_TAG not in run.tags or _is_known_to_its_server(run)


def _is_known_to_its_server(run: dg.DagsterRun) -> bool:
    server = json.loads(run.tags[GRPC_INFO_TAG])
    client = DagsterGrpcClient(port=server.get("port"), socket=server.get("socket"), host=server.get("host"), use_ssl=bool(server.get("use_ssl")))
    try:
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=5)
    except DagsterUserCodeUnreachableError:
        return False
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun, said: str) -> None:
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, said)
    else:
        instance.report_run_failed(run, said)


def _remove_old_runs(instance: dg.DagsterInstance, run_id: str, home: Path, keep_days: float) -> None:
    """Removes the oldest runs that ended, but for the last one that was red: some megabytes each. The rest has its turn in the next run."""
    old = own_runs(home, _ENDED, created_before=datetime.now(UTC) - timedelta(days=keep_days))
    red = own_runs(home, verdict="fail")
    if old is None or red is None:
        return
    kept = {run_id, *(record.dagster_run.run_id for record in instance.get_run_records(red, limit=1))}
    until = time.monotonic() + _SECONDS
    found = [record.dagster_run for record in instance.get_run_records(old, limit=_MOST + len(kept), ascending=True)]
    for run in [run for run in found if run.run_id not in kept and _is_ours(run)][:_MOST]:
        if time.monotonic() > until:
            break
        _remove(instance, run.run_id)


def _remove(instance: dg.DagsterInstance, run_id: str) -> None:
    """The events before the run: if this is interrupted, the run is still there to be found again."""
    events = instance.event_log_storage
    events.delete_events(run_id)
    if isinstance(events, SqlEventLogStorage):  # Dagster forgets these, and each holds the examples that were shown
        with events.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id == run_id))
    if isinstance(events, SqliteEventLogStorage):  # it has a file of its own, which Dagster only empties
        for ending in ("", "-wal", "-shm"):
            Path(f"{events.path_for_shard(run_id)}{ending}").unlink(missing_ok=True)
    instance.run_storage.delete_run(run_id)
