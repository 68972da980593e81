"""SIGKILL at any moment: the next run ends with the tables of a run that was never killed."""

import multiprocessing
import os
import random
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import pytest

from sandbox.server import SandboxServer
from tests.live import ROOT, served, snapshot, story_of

# Processes are forked from one that has imported everything, so that a moment falls into the run and not into its imports.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pipelines.definitions", "pipelines.guarded_run", "great_expectations", "duckdb_engine"])


def _run(home: str, environment: dict[str, str], dagster_on_disk: bool) -> None:
    os.environ.update(environment, BINDWATCH_HOME=home, DAGSTER_HOME=f"{home}/dagster", BINDWATCH_CONFIG=str(ROOT / "sandbox" / "bindwatch.toml"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    from pipelines import guarded_run

    if not dagster_on_disk:
        instance = dg.DagsterInstance.ephemeral()
        guarded_run.prepare_instance = lambda: nullcontext(instance)  # type: ignore[assignment, return-value]
    os._exit(guarded_run.execute().exit_code)


def _finish(home: Path, server: SandboxServer, dagster_on_disk: bool) -> float:
    """Runs to the end. Returns the seconds it took."""
    started = time.monotonic()
    process = _CONTEXT.Process(target=_run, args=(str(home), server.environment, dagster_on_disk))
    process.start()
    process.join(240)
    assert process.exitcode in (0, 1)
    return time.monotonic() - started


def _kill_after(seconds: float, home: Path, server: SandboxServer, dagster_on_disk: bool) -> bool:
    process = _CONTEXT.Process(target=_run, args=(str(home), server.environment, dagster_on_disk))
    process.start()
    process.join(seconds)
    was_alive = process.is_alive()
    process.kill()
    process.join()
    return was_alive


def kill_at_random_moments(tmp_path: Path, times: int, seed: int, dagster_on_disk: bool) -> None:
    """Half of the kills hit a first run, half a second one, after some days of events."""
    dice = random.Random(seed)
    story = story_of(800)
    killed = 0
    with served(story, tmp_path / "sandbox") as server:
        start, reference = tmp_path / "start", tmp_path / "reference"
        start.mkdir()
        for stage in ("first run", "second run"):
            shutil.copytree(start, reference, symlinks=True)
            took = _finish(reference, server, dagster_on_disk)
            expected = snapshot(reference)
            for attempt in range(times // 2):
                home = tmp_path / f"{stage} {attempt}".replace(" ", "-")
                shutil.copytree(start, home, symlinks=True)
                moment = dice.uniform(0.02, 0.95) * took
                killed += _kill_after(moment, home, server, dagster_on_disk)
                _finish(home, server, dagster_on_disk)
                found = snapshot(home)
                for table, rows in expected.items():
                    assert found[table] == rows, f"{table} differs after a kill {moment:.2f} s into the {stage} of {took:.2f} s"
                shutil.rmtree(home)
            shutil.rmtree(start)
            reference.rename(start)
            story.advance(3)
    assert killed >= times // 2  # the moments did fall into runs


@pytest.mark.filterwarnings("ignore")
def test_a_run_killed_at_a_few_moments_is_made_good_by_the_next(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, times=2, seed=int(time.time()), dagster_on_disk=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_killed_at_twenty_random_moments_is_made_good_by_the_next(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, times=20, seed=7, dagster_on_disk=True)
