"""The demo: both CRMs as a sandbox on this machine, two runs, and some days of events in between."""

import fcntl
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from assets.machine import check_home
from assets.problems import HomeInUse, Problem
from assets.progress import doing, undisturbed
from assets.warehouse.damage import CHECKSUM
from assets.warehouse.file import Warehouse
from pipelines.demo_summary import print_summary, told_of_changes, told_of_crms
from pipelines.ending import decide
from pipelines.guarded_run import execute
from pipelines.settings import DEMO_MARK, home, is_default_home
from pipelines.terminal import moving_line, print_verdict, show_progress, stdout

_ROOT = Path(__file__).parent.parent
_DAYS = 4
_NOTHING_LOST = "Nothing of the demo is needed: start it again."


def run_demo(people: int, seed: int, verbose: bool = False) -> int:
    """Returns the exit code: 0 when the demo worked; the gate inside it is expected to fail. verbose: prints what both runs report."""
    folder = home()
    check_home(folder, is_default_home())
    if (folder / "warehouse.duckdb").exists() and not (folder / DEMO_MARK).exists():
        print(f"{folder} holds data of real CRMs. Set BINDWATCH_HOME to another folder for the demo.", file=sys.stderr)
        return 2
    with _alone(folder):
        _empty(folder)
        return _play(folder, people, seed, verbose)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One demo in a home at a time: the next one begins by removing what is there. Raises HomeInUse."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / DEMO_MARK).open("a") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HomeInUse(f"Another demo is going on in {folder}. Wait for it to end, or set BINDWATCH_HOME to another folder.") from error
        yield


def _empty(folder: Path) -> None:
    """Removes the demo before, but nothing from under a run. Raises HomeInUse."""
    with Warehouse(folder).guard():
        for name in ("landing", "published", "certified", "sandbox"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("warehouse.duckdb", "warehouse.duckdb.wal", "decisions.sqlite", "alerts.json", "home.json", CHECKSUM, "last-backup.json"):
            (folder / name).unlink(missing_ok=True)


def _play(folder: Path, people: int, seed: int, verbose: bool) -> int:
    show_progress(logging.INFO if verbose else logging.WARNING)
    stdout.print(f"[bold]Bindwatch demo[/]: {people:,} made-up people in two CRMs on this machine. No account.")
    with ExitStack() as stack:
        with _step("Both CRMs") as step:
            doing("the CRMs were being filled and started", _NOTHING_LOST)
            environment = stack.enter_context(running_sandbox(folder / "sandbox", people, seed, days_ago=_DAYS + 1))
            os.environ.update(environment)
            # a company's proxy does not lead back to this machine
            os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
            os.environ["BINDWATCH_CONFIG"] = str(_ROOT / "sandbox" / "bindwatch.toml")
            step.say("Salesforce, HubSpot and the integration between them are up.")
        with _step("First run") as step:
            first = execute()
            step.say(f"First run: {told_of_crms(first)}")
        with _step(f"{_DAYS} days") as step:
            doing(f"{_DAYS} days were passing in both CRMs", _NOTHING_LOST)
            advance(environment["HUBSPOT_BASE_URL"], _DAYS)
            step.say(f"{_DAYS} days passed: edits, forms, conversions, merges, deletions.")
        with _step("Second run") as step:
            second = execute()
            step.say(f"Second run: {told_of_changes(second)}")
    worked = first.manifest is not None and second.manifest is not None and "unproven" not in (first.verdict, second.verdict)
    code = 0 if worked else 3
    decide(code)
    if verbose or not worked:
        print_verdict(second if first.verdict != "unproven" else first)
    else:
        print_summary(folder, _DAYS)
    return code


class _Step:
    """A part of the demo. said: what came of it."""

    said = ""

    def say(self, text: str) -> None:
        self.said = text


@contextmanager
def _step(name: str) -> Iterator[_Step]:
    """One line that moves while this goes on, where lines can move, and one that stays when it is done."""
    step, started = _Step(), time.monotonic()
    with moving_line(name):
        yield step
    stdout.print(f"[green]✓[/] {step.said} [dim]{time.monotonic() - started:.0f} s[/]")


@contextmanager
def running_sandbox(folder: Path, people: int, seed: int, days_ago: float, *options: str) -> Iterator[dict[str, str]]:
    """Starts `bindwatch sandbox` as a process of its own on free ports. Yields the environment that points Bindwatch at it."""
    command = [
        sys.executable, "-c", "from pipelines.main import main; main()", "sandbox", "--people", str(people), "--seed", str(seed),
        "--days-ago", str(days_ago), "--folder", str(folder), "--salesforce-port", "0", "--hubspot-port", "0", "--while-stdin-is-open", *options,
    ]  # fmt: skip
    (folder / "environment").unlink(missing_ok=True)
    # Its standard input ends when this process does, in whatever way; then it ends, too. In a session of its own, so that Ctrl-C does not end it
    # while the run still asks.
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    end = process.kill  # until it serves: it would say that it was interrupted, which is said of the demo
    try:
        served = _wait_for_environment(folder / "environment", process)
        end = process.terminate
        yield served
    finally:
        with undisturbed():
            end()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def advance(hubspot_url: str, days: float) -> None:
    """Lets days pass in the sandbox."""
    request = Request(f"{hubspot_url}/sandbox/advance", json.dumps({"days": days}).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=120) as answer:
        answer.read()


def _wait_for_environment(path: Path, process: "subprocess.Popen[bytes]") -> dict[str, str]:
    deadline = time.monotonic() + 120
    while not path.exists():
        if process.poll() is not None:
            raise Problem(f"The sandbox ended before it served (exit code {process.returncode}); what it said stands above.")
        if time.monotonic() > deadline:
            raise Problem("The sandbox did not start within two minutes. Is the machine busy? Try again.")
        time.sleep(0.05)
    return dict(setting.split("=", 1) for setting in shlex.split(path.read_text("utf-8")))
