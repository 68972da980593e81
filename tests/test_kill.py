"""SIGKILL at any moment and at any request: the next run ends with the tables of a run that was never killed."""

import multiprocessing
import os
import random
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from sandbox.server import SandboxServer
from tests.live import ROOT, served, snapshot, story_of
from tests.memory_instance import memory_instance
from tests.pulls import pull_and_build, raw_versions

# Processes are forked from one that has imported everything, so that a moment falls into the run and not into its imports.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.pulls", "tests.preloaded"])


def _run(home: str, environment: dict[str, str], dagster_on_disk: bool) -> None:
    os.environ.update(environment, BINDWATCH_HOME=home, DAGSTER_HOME=f"{home}/dagster", BINDWATCH_CONFIG=str(ROOT / "sandbox" / "bindwatch.toml"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    from pipelines import guarded_run

    if not dagster_on_disk:
        instance = memory_instance()
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


def kill_at_random_moments(tmp_path: Path, in_first: int, in_second: int, seed: int, dagster_on_disk: bool) -> None:
    """So many kills hit a first run, so many a second one, after some days of events."""
    dice = random.Random(seed)
    story = story_of(800)
    with served(story, tmp_path / "sandbox") as server:
        start, reference = tmp_path / "start", tmp_path / "reference"
        start.mkdir()
        for stage, times in (("first run", in_first), ("second run", in_second)):
            shutil.copytree(start, reference, symlinks=True)
            took = _finish(reference, server, dagster_on_disk)
            expected = snapshot(reference)
            for attempt in range(times):
                home = tmp_path / f"{stage} {attempt}".replace(" ", "-")
                shutil.copytree(start, home, symlinks=True)
                moment = dice.uniform(0.02, 0.95) * took
                while not _kill_after(moment, home, server, dagster_on_disk):  # it was over before
                    shutil.rmtree(home)
                    shutil.copytree(start, home, symlinks=True)
                    moment *= 0.8
                _finish(home, server, dagster_on_disk)
                found = snapshot(home)
                for table, rows in expected.items():
                    assert found[table] == rows, f"{table} differs after a kill {moment:.2f} s into the {stage} of {took:.2f} s"
                shutil.rmtree(home)
            shutil.rmtree(start)
            reference.rename(start)
            story.advance(3)


@pytest.mark.slow  # half a minute; the pulls are killed in the fast lane
@pytest.mark.filterwarnings("ignore")
def test_a_run_killed_at_some_moment_is_made_good_by_the_next(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, in_first=0, in_second=1, seed=int(time.time()), dagster_on_disk=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_killed_at_twenty_random_moments_is_made_good_by_the_next(tmp_path: Path) -> None:
    kill_at_random_moments(tmp_path, in_first=10, in_second=10, seed=7, dagster_on_disk=True)


# ── at a request ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Pointed:
    """What a forked process needs of a server: where it is."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment


def _pull(home: str, environment: dict[str, str]) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    pull_and_build(Path(home), Pointed(environment))  # type: ignore[arg-type]
    os._exit(0)


def pages_in(home: Path) -> int:
    """Pages that are noted. One that was not on the disk yet is asked for again."""
    return sum(path.read_text().count('"file": "page-') for path in home.glob("landing/*/*/*/pages.jsonl"))


def kill_at_requests(tmp_path: Path, share: float) -> None:
    """share: of all requests of a first run and of an incremental one; the others are left out by chance."""
    dice = random.Random(int(time.time()))
    story = story_of(400)
    with served(story, tmp_path / "sandbox") as server:
        start = tmp_path / "start"
        start.mkdir()
        for stage in ("first", "second"):
            reference = tmp_path / "reference"
            shutil.copytree(start, reference)
            server.faults.requests.clear()
            expected = pull_and_build(reference, server)
            requests = len(server.faults.requests)
            assert requests >= 10
            for number in range(1, requests + 1):
                if dice.random() > share:
                    continue
                home = tmp_path / f"{stage}-{number}"
                shutil.copytree(start, home)
                process = _CONTEXT.Process(target=_pull, args=(str(home), server.environment))
                server.faults.requests.clear()

                def kill(_line: str, number: int = number, process: multiprocessing.process.BaseProcess = process) -> None:
                    if len(server.faults.requests) == number:
                        process.kill()

                server.faults.on_request = kill
                process.start()
                process.join(120)
                server.faults.on_request = None
                assert process.exitcode == -9, f"request {number} of the {stage} run was never made"
                landed = pages_in(home) - pages_in(start)
                server.faults.requests.clear()
                found = pull_and_build(home, server)
                assert found == expected, f"after a kill at request {number} of the {stage} run"
                assert raw_versions(home) == raw_versions(reference), f"after a kill at request {number} of the {stage} run"
                # what had landed is not asked for again; the login, two descriptions, the property list and the state of a job are, and, once they are
                # loaded, which users have changed, and the two lists of owners, which come whole (docs/connecting.md, "Who wrote a value")
                assert len(server.faults.requests) <= requests - landed + 9
                shutil.rmtree(home)
            shutil.rmtree(start)
            reference.rename(start)
            story.advance(3)


def test_a_pull_killed_at_some_requests_goes_on_from_the_last_whole_page(tmp_path: Path) -> None:
    kill_at_requests(tmp_path, share=0.06)


@pytest.mark.slow
def test_a_pull_killed_at_every_request_goes_on_from_the_last_whole_page(tmp_path: Path) -> None:
    kill_at_requests(tmp_path, share=1)
