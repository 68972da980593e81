"""A Dagster instance that serves others, too: nothing of theirs is touched, nothing of ours is called like theirs, and old runs of ours leave it."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.tags import GRPC_INFO_TAG

from assets.dagster.keys import HOME_TAG, JOB, PREFIX_TAG, VERDICT_TAG
from assets.warehouse.file import Warehouse
from pipelines import dagster_runs
from pipelines.dagster_home import prepare_folder
from pipelines.dagster_runs import HOME_ID, clear_up, end_dead_runs, home_id, tags_of
from pipelines.sensors import read_dead_runs
from sandbox.integration import poll
from sandbox.story import Story
from sandbox.world import id18
from tests.command import Ended, call, environment_of
from tests.homes import damage
from tests.live import ROOT, check_manifest, served, some_days_ago
from tests.memory_instance import memory_instance
from tests.postgres import Server
from tests.test_dagster_storage import instance_on

pytestmark = pytest.mark.filterwarnings("ignore")

STATUS = dg.DagsterRunStatus
SECOND = "second"  # the prefix of the other Bindwatch


@dg.asset(key=["salesforce", "Lead"])
def lead() -> None:
    """What a company calls its own."""


@dg.asset_check(asset=lead)
def bound_record_unknown() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.op
def nothing() -> None:
    pass


@dg.job
def guarded_run() -> None:
    """A job that a company calls as ours was called once."""
    nothing()


@dg.job(name=JOB)
def like_ours() -> None:
    """A second Bindwatch in which nobody set another prefix."""
    nothing()


@contextmanager
def company(folder: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def going_on(instance: dg.DagsterInstance, job: dg.JobDefinition, status: STATUS, **tags: str) -> str:
    run: dg.DagsterRun = instance.create_run_for_job(job, status=status, tags=tags)
    return run.run_id


def statuses(instance: dg.DagsterInstance) -> dict[str, STATUS]:
    return {run.run_id: run.status for run in instance.get_runs()}


# ── a foreign code location and two homes ────────────────────────────────────────────────────────────────────────────────────────

# Ends as a power cut does, in the middle of a run.
_KILLED = """
import pipelines.cli, pipelines.definitions, pipelines.guarded_run
from tests.command import Signalled
Signalled({number}, "the tables were being built")()
"""


def run(environment: dict[str, str], killed: bool = False) -> Ended:
    if not killed:
        return call(["run"], environment)
    code = _KILLED.format(number=int(signal.SIGKILL)) + "pipelines.guarded_run.execute()"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    return Ended(answer.returncode, answer.stdout, answer.stderr)


def names(environment: dict[str, str]) -> dict[str, list[str]]:
    """What a code location brings into an instance, as its own process says it."""
    code = """
        import json
        from assets.dagster.keys import JOB
        from pipelines.definitions import defs
        graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
        print(json.dumps({
            "assets": sorted("/".join(key.path) for key in graph.get_all_asset_keys()),
            "checks": sorted(f"{'/'.join(key.asset_key.path)}:{key.name}" for key in graph.asset_check_keys),
            "groups": sorted({graph.get(key).group_name for key in graph.get_all_asset_keys()}),
            "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
            "schedules": sorted(schedule.name for schedule in repository.schedule_defs),
            "tags": [f"{name}={value}" for name, value in defs.resolve_job_def(JOB).run_tags.items()],
            "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        }))"""
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, env={"PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, list[str]] = json.loads(answer.stdout)
    return found


def test_a_foreign_location_and_two_homes_in_one_instance_leave_each_other_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "dagster"
    shared.mkdir()
    settings = "telemetry: {enabled: false}\n"
    (shared / "dagster.yaml").write_text(settings)
    policies = {"first": "", "second": f'[dagster]\nprefix = "{SECOND}"\n'}
    story = Story([], 1, some_days_ago(3))
    story.world.create_record("Contact", {"FirstName": "Ann", "LastName": "Lee", "Email": "ann@example.com"})
    poll(story.world, story.settings)
    story.world.create_contact({"email": "bob@example.com", "salesforceleadid": id18("00Q9z00000Gone1")}, "IMPORT")
    with served(story, tmp_path / "sandbox") as server:
        homes: dict[str, dict[str, str]] = {}
        for name, policy in policies.items():
            (tmp_path / f"{name}.toml").write_text(policy)
            homes[name] = environment_of(tmp_path / name, server.environment, tmp_path / f"{name}.toml") | {"DAGSTER_HOME": str(shared)}
        with company(shared) as instance:
            assert dg.materialize([lead, bound_record_unknown], instance=instance).success
            foreign = {
                going_on(instance, job, status, **tags)
                for job, tags in ((guarded_run, {}), (like_ours, {}), (like_ours, {PREFIX_TAG: "bindwatch", HOME_TAG: "another"}))
                for status in (STATUS.STARTED, STATUS.STARTING, STATUS.NOT_STARTED, STATUS.CANCELING, STATUS.CANCELED, STATUS.FAILURE)
            }
            before = statuses(instance)
        dead: dict[str, str] = {}
        for name, environment in homes.items():
            assert run(environment, killed=True).code == -signal.SIGKILL
            with company(shared) as instance:
                (dead[name],) = statuses(instance).keys() - before.keys() - set(dead.values())
                assert statuses(instance)[dead[name]] is STATUS.STARTED
        ended = run(homes["first"])
        assert ended.code == 1, ended.text
        with company(shared) as instance:
            after = statuses(instance)
            assert (after[dead["first"]], after[dead["second"]]) == (STATUS.FAILURE, STATUS.STARTED)
        ended = run(homes["second"])
        assert ended.code == 1, ended.text
    with company(shared) as instance:
        after = statuses(instance)
        assert after[dead["second"]] is STATUS.FAILURE
        assert {run_id: after[run_id] for run_id in before} == before
        for name in homes:
            monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path / name))
            own = {one.run_id for one in read_dead_runs(instance)}
            assert own == {dead[name], check_manifest(tmp_path / name)["run_id"]}
            assert not own & foreign
        shown = instance.get_latest_materialization_event(dg.AssetKey(["salesforce", "Lead"]))
        assert shown is not None and shown.run_id in before
        for prefix in ("bindwatch", SECOND):
            assert instance.get_latest_materialization_event(dg.AssetKey([prefix, "core", "binding"])) is not None
            assert instance.get_latest_materialization_event(dg.AssetKey(["core", "binding"])) is None
    assert (shared / "dagster.yaml").read_text() == settings
    assert not list(tmp_path.rglob("*.unusable-*"))
    # what they are called
    first, second = names(homes["first"]), names(homes["second"])
    # what is started from the UI or by a schedule says so of its home, too
    for name, tags in (("first", first.pop("tags")), ("second", second.pop("tags"))):
        assert f"{HOME_TAG}={home_id(tmp_path / name)}" in tags
    for kind, found in first.items():
        assert len(found) == len(second[kind]) > 0
        assert not set(found) & set(second[kind])
        assert all(name.startswith("bindwatch") for name in found) and all(name.startswith(SECOND) for name in second[kind]), kind
    assert "bindwatch_guarded_run" in first["jobs"] and f"{SECOND}_guarded_run" in second["jobs"]
    assert names(homes["first"] | {"BINDWATCH_CONFIG": str(tmp_path / "none.toml")}).items() >= first.items()


def test_an_instance_of_others_is_given_no_settings_and_is_not_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.guarded_run import prepare_instance

    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path / "home"))
    for name, content in (("used", {"history/runs.db": b"not a database"}), ("broken", {"dagster.yaml": b"a: ["})):
        folder = tmp_path / name
        for file, text in content.items():
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_bytes(text)
        monkeypatch.setenv("DAGSTER_HOME", str(folder))
        with pytest.raises(Exception, match=r"."), prepare_instance() as instance:
            instance.get_runs()
        assert {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file() and str(path.relative_to(folder)) in content
        } == content
        assert not list(folder.rglob("*.unusable-*")) and ("dagster.yaml" in content) == (folder / "dagster.yaml").exists()
    # a new folder is made ready, and so is the one of the home, by whatever name
    (tmp_path / "home" / "dagster").mkdir(parents=True)
    (tmp_path / "home" / "dagster" / "dagster.yaml").write_text("a: [")
    (tmp_path / "link").symlink_to(tmp_path / "home" / "dagster")
    for folder in (tmp_path / "new", tmp_path / "link"):
        monkeypatch.setenv("DAGSTER_HOME", str(folder))
        with prepare_instance() as instance:
            assert instance.get_runs() == []
    assert len(list((tmp_path / "home" / "dagster").glob("dagster.yaml.unusable-*"))) == 1


# ── whose a run is ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_is_another_home_and_a_moved_one_is_the_same(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert home_id(home) is None
    name = home_id(home, make=True)
    assert name is not None and home_id(home) == home_id(home, make=True) == name
    for copy, how in ((tmp_path / "copy", "-a"), (tmp_path / "linked", "-al")):
        subprocess.run(["cp", how, str(home), str(copy)], check=True)
        assert home_id(copy) is None
        assert home_id(copy, make=True) not in (None, name)
    assert home_id(home) == name
    home.rename(tmp_path / "moved")
    assert home_id(tmp_path / "moved") == name
    for content in ("", "[]", "{}", "null", '{"inode": 1, "id": 2}', "\0" * 40):
        (tmp_path / "moved" / HOME_ID).write_text(content)
        assert home_id(tmp_path / "moved") is None
    assert home_id(tmp_path / "moved", make=True) not in (None, name)


def test_a_run_that_takes_the_lock_ends_those_of_its_home_that_cannot_be_going_on(tmp_path: Path) -> None:
    instance = memory_instance()
    home_id(tmp_path, make=True)
    ours = tags_of(tmp_path)
    former = {**ours, PREFIX_TAG: "former"}

    @dg.job(name="former_guarded_run")
    def of_a_former_prefix() -> None:
        nothing()

    me = going_on(instance, like_ours, STATUS.STARTED)
    expected = {
        me: STATUS.STARTED,
        going_on(instance, like_ours, STATUS.STARTED, **ours): STATUS.FAILURE,
        going_on(instance, like_ours, STATUS.CANCELING, **ours): STATUS.CANCELED,
        going_on(instance, of_a_former_prefix, STATUS.STARTED, **former): STATUS.FAILURE,
        going_on(instance, like_ours, STATUS.STARTING, **ours): STATUS.STARTING,  # its process may be on the way to the lock
        going_on(instance, like_ours, STATUS.NOT_STARTED, **ours): STATUS.NOT_STARTED,
        going_on(instance, like_ours, STATUS.STARTED): STATUS.STARTED,  # of an older Bindwatch: of which home cannot be known
        going_on(instance, like_ours, STATUS.STARTED, **{**ours, HOME_TAG: "another"}): STATUS.STARTED,
        going_on(instance, guarded_run, STATUS.STARTED, **ours): STATUS.STARTED,  # not our job, whatever it says
    }
    clear_up(instance, me, tmp_path, 30)
    assert statuses(instance) == expected
    record = instance.get_run_by_id(me)
    assert record is not None and record.tags.items() >= ours.items()


def test_nobody_at_the_lock_at_two_looks_means_that_a_run_is_dead_and_the_queue_goes_on(tmp_path: Path) -> None:
    instance = memory_instance()
    home_id(tmp_path, make=True)
    ours = tags_of(tmp_path)
    expected = {
        going_on(instance, like_ours, STATUS.STARTED, **ours): STATUS.FAILURE,
        going_on(instance, like_ours, STATUS.CANCELING, **ours): STATUS.CANCELED,
        going_on(instance, like_ours, STATUS.STARTING, **ours): STATUS.STARTING,  # its process may be on the way to the lock
        going_on(instance, like_ours, STATUS.STARTED, **{**ours, HOME_TAG: "another"}): STATUS.STARTED,
        going_on(instance, guarded_run, STATUS.STARTED, **ours): STATUS.STARTED,
    }
    before = statuses(instance)
    ended, suspected = end_dead_runs(instance, tmp_path, ())
    assert (ended, len(suspected), statuses(instance)) == ([], 3, before)
    with Warehouse(tmp_path).guard():  # somebody is at work: the next look begins anew
        assert end_dead_runs(instance, tmp_path, suspected) == ([], [])
    assert end_dead_runs(instance, tmp_path, ()) == ([], suspected)
    new = going_on(instance, like_ours, STATUS.STARTED, **ours)  # between its start and the lock
    ended, _ = end_dead_runs(instance, tmp_path, suspected)
    assert len(ended) == 2
    assert statuses(instance) == {**expected, new: STATUS.STARTED}


@pytest.mark.parametrize(("age", "is_dead"), [(0, False), (1, True)])
def test_a_run_whose_code_server_is_gone_while_it_was_being_started_is_dead(tmp_path: Path, age: float, is_dead: bool) -> None:
    instance = memory_instance()
    home_id(tmp_path, make=True)
    server = json.dumps({"host": "localhost", "socket": str(tmp_path / "gone")})
    run_id = going_on(instance, like_ours, STATUS.STARTING, **tags_of(tmp_path), **{GRPC_INFO_TAG: server})
    aged(instance, run_id, days=age / 24 / 60)  # minutes
    assert end_dead_runs(instance, tmp_path, [run_id])[0] == ([run_id] if is_dead else [])


def test_a_run_that_was_being_started_for_long_is_dead(tmp_path: Path) -> None:
    instance = memory_instance()
    home_id(tmp_path, make=True)
    stuck = going_on(instance, like_ours, STATUS.STARTING, **tags_of(tmp_path))
    aged(instance, stuck, days=0.1)
    clear_up(instance, going_on(instance, like_ours, STATUS.STARTED), tmp_path, 30)
    assert statuses(instance)[stuck] is STATUS.FAILURE


# ── what piles up ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def aged(instance: dg.DagsterInstance, run_id: str, days: float) -> None:
    """As if it had been so many days ago."""
    assert isinstance(instance.run_storage, SqlRunStorage)
    then = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    with instance.run_storage.connect() as connection:
        connection.execute(RunsTable.update().where(RunsTable.c.run_id == run_id).values(create_timestamp=then, update_timestamp=then))


def events_of(instance: dg.DagsterInstance, run_id: str) -> int:
    """How many rows an instance keeps of a run, besides the run."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    with storage.index_connection() as connection:
        found = [
            len(connection.execute(table.select().where(table.c.run_id == run_id)).fetchall()) for table in (SqlEventLogStorageTable, AssetCheckExecutionsTable)
        ]
    if isinstance(storage, SqliteEventLogStorage) and not Path(storage.path_for_shard(run_id)).exists():
        return sum(found)
    return sum(found) + len(instance.all_logs(run_id))


Open = Callable[[Path], Any]


def in_memory(_folder: Path) -> Any:
    return memory_instance()


def in_kept_files(folder: Path) -> Any:
    return instance_on(folder, "pipelines.dagster_storage.KeptStorage")


def in_files_of_dagster(folder: Path) -> Any:
    return instance_on(folder, "dagster._core.storage.sqlite_storage.DagsterSqliteStorage")


def check_that_old_runs_leave(instance: dg.DagsterInstance, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "home"
    home.mkdir()
    home_id(home, make=True)
    ours, others = tags_of(home), {**tags_of(home), HOME_TAG: "another"}
    job = dg.Definitions(assets=[lead], asset_checks=[bound_record_unknown], jobs=[dg.define_asset_job(JOB)]).resolve_job_def(JOB)

    def ended(days: float, tags: dict[str, str], verdict: str = "pass") -> str:
        run_id: str = job.execute_in_process(instance=instance, tags={**tags, VERDICT_TAG: verdict}).run_id
        aged(instance, run_id, days)
        return run_id

    old = [ended(50, ours), ended(45, ours, "fail"), ended(40, ours, "unproven"), ended(35, ours)]
    red, young = ended(38, ours, "fail"), ended(20, ours)
    foreign = [ended(50, others), ended(50, {})]
    waiting = [going_on(instance, like_ours, status, **ours) for status in (STATUS.NOT_STARTED, STATUS.STARTING)]
    for run_id in waiting:
        aged(instance, run_id, 0.001 if run_id == waiting[1] else 60)
    me = going_on(instance, like_ours, STATUS.STARTED)
    kept = {red, young, *foreign, *waiting, me}
    assert all(events_of(instance, run_id) > 5 for run_id in (*old, red, young, *foreign))
    monkeypatch.setattr(dagster_runs, "_MOST", 3)
    clear_up(instance, me, home, 30)
    assert len(statuses(instance).keys() - kept) == 1, "no more at a time than allowed, the oldest first"
    clear_up(instance, me, home, 30)
    assert statuses(instance).keys() == kept
    if (folder / "dagster").exists():
        files = {path.name.partition(".")[0] for path in (folder / "dagster" / "history" / "runs").iterdir()}
        assert not files & set(old)
        assert files >= {red, young, *foreign, "index"}
    assert [events_of(instance, run_id) for run_id in old] == [0] * len(old)
    assert all(events_of(instance, run_id) > 5 for run_id in (red, young, *foreign))


@pytest.mark.parametrize("opened", [in_memory, in_kept_files, in_files_of_dagster])
def test_old_runs_leave_with_their_events_and_the_last_red_one_stays(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "dagster") as instance:
        check_that_old_runs_leave(instance, tmp_path, monkeypatch)


def test_old_runs_leave_postgresql(tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDWATCH_DAGSTER_POSTGRES_URL", postgres.url())
    prepare_folder(tmp_path / "postgres", is_ours=True)
    with dg.DagsterInstance.from_config(str(tmp_path / "postgres")) as instance:
        instance.wipe()
        check_that_old_runs_leave(instance, tmp_path, monkeypatch)
        instance.wipe()


def test_what_cannot_be_cleared_up_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with in_kept_files(tmp_path / "dagster") as instance:
        home_id(tmp_path, make=True)
        run_id = like_ours.execute_in_process(instance=instance, tags=tags_of(tmp_path)).run_id
        aged(instance, run_id, 40)
        me = going_on(instance, like_ours, STATUS.STARTED)
        instance.dispose()
        damage(tmp_path / "dagster" / "history" / "runs" / f"{run_id}.db", at=0, length=4096)
        clear_up(instance, me, tmp_path, 30)
    assert "could not be cleared up" in caplog.text


# ── the UI ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_ui_on_one_instance_is_refused_whatever_its_port_and_home(tmp_path: Path) -> None:
    """Another one is open: it holds the folder of the instance."""
    instance = tmp_path / "dagster"
    instance.mkdir()
    (instance / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    held = os.open(instance, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        ended = call(["dev", "--port", str(port)], environment_of(tmp_path / "home", {}) | {"DAGSTER_HOME": str(instance)})
    finally:
        os.close(held)
    assert ended.code == 2, ended.text
    assert f"open already on the Dagster instance in {instance}" in ended.err
    assert "Dagster UI:" not in ended.out


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.create_server((address, 0)) as taken:
            port = taken.getsockname()[1]
            ended = call(["dev", "--port", str(port)], environment_of(tmp_path / "home", {}))
        assert ended.code == 2, ended.text
        assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in ended.err
        assert "Dagster UI:" not in ended.out
    assert not (tmp_path / "home").exists()
