"""Dagster's own processes, killed in the middle of a run: the queue goes on, the run is begun again from its start, and people are told."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.dagster.keys import JOB
from pipelines.guarded_run import prepare_instance
from sandbox.faults import parse_fault
from sandbox.server import SandboxServer
from tests.command import call, environment_of, manifest
from tests.live import ROOT, served, story_of
from tests.postgres import Server

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STATUS = dg.DagsterRunStatus
TICK = 15.0  # seconds, of the sensor that ends dead runs
STARTS = 60.0  # until the first look of a daemon that has just been started
NOTICED = 60.0  # until Dagster's daemon looks whether its code server is still there
BIN = Path(sys.executable).parent


class Dagster:
    """The daemon of a team, with what it starts: a code server, and a worker for each run."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.environment, self.log = environment, log
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.daemon = subprocess.Popen(
                [BIN / "dagster-daemon", "run", "-w", "workspace.yaml"], cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def processes(self, *words: str) -> list[int]:
        """The processes below the daemon whose command holds one of the words; all of them, and the daemon, without one."""
        lines = subprocess.run(["ps", "-e", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
        rows = [(int(pid), int(parent), command) for pid, parent, command in (line.split(None, 2) for line in lines)]
        found, below = [] if words else [self.daemon.pid], {self.daemon.pid}
        for _ in rows:
            below |= {pid for pid, parent, _ in rows if parent in below}
        return found + [pid for pid, _, command in rows if pid in below - {self.daemon.pid} and (not words or any(word in command for word in words))]

    def launch(self) -> None:
        subprocess.run([BIN / "dagster", "job", "launch", "-w", "workspace.yaml", "-j", JOB], cwd=ROOT, env=self.environment, capture_output=True, check=True)


def kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def dagster(environment: dict[str, str], folder: Path) -> Iterator[Dagster]:
    one = Dagster(environment, folder / "daemon.log")
    seen: list[int] = []
    try:
        yield one
    finally:
        seen += one.processes()
        kill(seen)
        one.daemon.wait()


@pytest.fixture(params=["in files", "in PostgreSQL"])
def team(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[SandboxServer, dict[str, str]]]:
    with served(story_of(60), tmp_path / "sandbox") as server:
        environment = environment_of(tmp_path / "home", server.environment) | {
            "DAGSTER_HOME": str(tmp_path / "home" / "dagster"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        if request.param == "in PostgreSQL":
            postgres: Server = request.getfixturevalue("postgres")
            environment["BINDWATCH_DAGSTER_POSTGRES_URL"] = postgres.url()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with prepare_instance() as instance:
            instance.wipe()
        yield server, environment


def runs() -> list[dg.DagsterRun]:
    """The latest first."""
    with prepare_instance() as instance:
        return list(instance.get_runs())


def wait_until(what: Callable[[], Any], seconds: float) -> float:
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, [(run.run_id, run.status, run.tags) for run in runs()]
        time.sleep(1)
    return time.monotonic() - started


def lock_of(home: Path) -> str:
    with suppress(FileNotFoundError):
        return (home / "run.lock").read_text("utf-8")
    return ""


@pytest.mark.parametrize("killed", ["everything", "worker", "worker and code server"])
@pytest.mark.parametrize("phase", ["pulled", "built"])
def test_a_killed_run_blocks_the_queue_for_two_ticks_at_most_and_is_begun_again_from_its_start(
    team: tuple[SandboxServer, dict[str, str]], tmp_path: Path, killed: str, phase: str
) -> None:
    server, environment = team
    home = tmp_path / "home"
    if phase == "pulled":  # in the middle of a pull
        server.faults.ask([parse_fault("slow path=/crm times=1000 seconds=2")])
    with dagster(environment, tmp_path) as team_of:
        team_of.launch()
        wait_until(lambda: lock_of(home) == "run" and (phase == "pulled" or (home / "published").exists()), 180)
        (first,) = runs()
        assert first.status is STATUS.STARTED
        words = {"everything": (), "worker": ("spawn_main",), "worker and code server": ("spawn_main", "api grpc")}[killed]
        kill(team_of.processes(*words))
        if killed == "everything":
            team_of.daemon.wait()
            team_of.start()
        server.faults.clear()
        until_a_look = {"everything": STARTS, "worker": NOTICED, "worker and code server": NOTICED + STARTS}[killed]
        waited = wait_until(lambda: runs()[-1].status is STATUS.FAILURE, until_a_look + 2 * TICK)
        print(f"{killed}, {phase}: ended after {waited:.0f} s")
        wait_until(lambda: len(runs()) == 2 and runs()[0].status in (STATUS.SUCCESS, STATUS.FAILURE), 240)
    assert runs()[0].tags["dagster/retry_number"] == "1"
    published = manifest(home)
    assert published is not None
    assert (published["run_id"], published["problem"]) == (runs()[0].run_id, None)
    assert published["verdict"] in ("pass", "fail")


def test_a_command_that_was_killed_blocks_no_queue(team: tuple[SandboxServer, dict[str, str]], tmp_path: Path) -> None:
    server, environment = team
    server.faults.ask([parse_fault("slow path=/crm times=1000 seconds=2")])
    code, nowhere = "from pipelines.main import main; main()", subprocess.DEVNULL
    command = subprocess.Popen([sys.executable, "-c", code, "run"], cwd=ROOT, env=environment, stdout=nowhere, stderr=nowhere)
    wait_until(lambda: lock_of(tmp_path / "home") == "run", 120)
    command.kill()
    command.wait()
    (killed,) = runs()
    assert killed.status is STATUS.STARTED
    with dagster(environment, tmp_path):
        wait_until(lambda: runs()[0].status is STATUS.FAILURE, STARTS + 2 * TICK)


def test_a_scheduled_run_that_meets_another_one_is_canceled_with_the_reason_and_not_begun_again(
    team: tuple[SandboxServer, dict[str, str]], tmp_path: Path
) -> None:
    server, environment = team
    server.faults.ask([parse_fault("slow path=/crm times=1000 seconds=2")])
    with dagster(environment, tmp_path) as team_of:
        team_of.launch()
        wait_until(lambda: lock_of(tmp_path / "home") == "run", 180)
        ended = call(["run"], environment)
        assert (ended.code, "Another run is going on" in ended.text) == (3, True)
        refused = runs()[0]
        assert refused.status is STATUS.CANCELED
        assert "Another run is going on" in refused.tags["bindwatch/refused"]
        server.faults.clear()
        wait_until(lambda: runs()[1].status is STATUS.SUCCESS, 240)
        assert len(runs()) == 2
    assert json.loads((tmp_path / "home" / "published" / "current" / "manifest.json").read_text())["run_id"] == runs()[1].run_id
