"""Every ending of every command is 0, 1, 2 or 3, and 0 is never reached by accident: signals in each phase, closed outputs, missing settings."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.warehouse.file import Warehouse
from sandbox.server import SandboxServer
from tests.command import SIGNALS, Ended, Signalled, call, environment_of, fork, hear_signals, manifest, start
from tests.homes import Portal
from tests.live import ROOT, served, snapshot, story_of

INT, TERM, HUP = SIGNALS

# Where a signal hits, and what is said then. Between the phases lie fractions of a second.
PHASES = {
    "prepared": ("the run was being prepared", "while the run was being prepared. Nothing had begun"),
    "Salesforce": ("assets.dagster.pulled:ingest_object", "while Salesforce was being pulled. "),
    "HubSpot": ("assets.dagster.pulled:ingest_contacts", "while HubSpot was being pulled. "),
    "load": ("assets.warehouse.load_salesforce:load_versions", "kept; the next run goes on from there"),
    "models": ("assets.models.build:_execute", "while the tables were being built. What was pulled is kept"),
    "publish": ("assets.published.publish:describe_file", "while the snapshot was being published. What was pulled is kept"),
    "gate": ("the gate was judging", "while the gate was judging. What was pulled is kept"),
    "verdict": ("the verdict was being published", "while the verdict was being published"),
}


@dataclass
class World:
    """Both CRMs some days after a first run, and the home of that run."""

    server: SandboxServer
    before: Path

    @cached_property
    def expected(self) -> dict[str, list[str]]:
        """The tables that a second, uninterrupted run makes of it."""
        reference = self.before.with_name("reference")
        shutil.copytree(self.before, reference, symlinks=True)
        assert fork(["run"], environment_of(reference, self.server.environment), self.before.with_name("second")).code in (0, 1)
        return snapshot(reference)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("endings")
    story = story_of(200)
    with served(story, folder / "sandbox") as server:
        before = folder / "before"
        assert fork(["run"], environment_of(before, server.environment), folder / "first").code in (0, 1)
        story.advance(3)
        yield World(server, before)


def interrupt(world: World, folder: Path, phase: str, number: int, after: float = 0.0, times: int = 1) -> Ended:
    home = folder / "home"
    if not home.exists():
        shutil.copytree(world.before, home, symlinks=True)
    former = manifest(home)
    at, words = PHASES[phase]
    note = folder / "ended" / "signalled"
    note.parent.mkdir(exist_ok=True)
    ended = fork(["run"], environment_of(home, world.server.environment), folder / "ended", Signalled(number, at, after, times, note))
    assert ended.code == 3, ended.text
    assert ended.seconds < 7, "it took too long to end"
    sentence = ended.err.splitlines()[-1]
    assert sentence.startswith(f"Interrupted by {signal.Signals(number).name} while "), ended.err
    assert after or words in sentence, sentence
    assert ended.text.count("Interrupted by") == 1 + ended.out.count("Interrupted by")
    assert "Traceback" not in ended.text
    assert "bug" not in ended.text
    now = manifest(home)
    assert now is not None
    assert former is not None
    assert now["run_id"] == former["run_id"] or now["verdict"] == "unproven", "an interrupted run left a verdict"
    return ended


def make_good(world: World, folder: Path) -> None:
    """The next run ends with the tables of a run that was never interrupted."""
    ended = fork(["run"], environment_of(folder / "home", world.server.environment), folder / "next")
    assert ended.code in (0, 1), ended.text
    found = snapshot(folder / "home")
    for table, rows in world.expected.items():
        assert found[table] == rows, f"{table} differs"


@pytest.mark.parametrize(
    ("number", "phase"),
    [(INT, "Salesforce"), (TERM, "HubSpot"), (HUP, "load"), (INT, "models"), (TERM, "publish"), (HUP, "gate"), (TERM, "verdict")],
)
def test_a_signal_ends_a_run_with_3_and_the_next_run_goes_on(world: World, tmp_path: Path, number: int, phase: str) -> None:
    interrupt(world, tmp_path, phase, number)
    if phase == "load":
        make_good(world, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("phase", PHASES)
def test_every_signal_in_every_phase_ends_a_run_with_3_and_the_next_run_goes_on(world: World, tmp_path: Path, number: int, phase: str) -> None:
    interrupt(world, tmp_path, phase, number)
    make_good(world, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
@pytest.mark.parametrize("phase", ["Salesforce", "models", "gate"])
def test_a_signal_in_the_middle_of_a_phase_ends_a_run_with_3(world: World, tmp_path: Path, phase: str, after: float) -> None:
    interrupt(world, tmp_path, phase, TERM, after)


def test_a_signal_that_is_sent_twice_at_once_still_lets_the_run_end_in_order(world: World, tmp_path: Path) -> None:
    """`timeout` sends its signal to the command and then to the group that the command is in."""
    interrupt(world, tmp_path, "HubSpot", INT, times=2)
    now = manifest(tmp_path / "home")
    assert now is not None
    assert (now["verdict"], now["problem"][:26]) == ("unproven", "Interrupted by SIGINT whil")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_while_the_command_starts_ends_it_with_3(tmp_path: Path, number: int) -> None:
    for arguments in (["run"], ["findings"]):
        interrupt_start(arguments, tmp_path, number)


@pytest.mark.slow
@pytest.mark.parametrize("after", [step / 1000 for step in range(60)])
def test_no_signal_is_lost_in_the_first_moments_of_a_command(tmp_path: Path, after: float) -> None:
    """One was, when it came between the moment at which signals are heard and the one at which the waiting process begins to wait."""
    for number in SIGNALS:
        interrupt_start(["findings"], tmp_path, number, after)


def interrupt_start(arguments: list[str], home: Path, number: int, after: float = 0.0) -> None:
    process = start(arguments, environment_of(home, {}))
    _wait_until_it_listens(process.pid)
    time.sleep(after)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3, err
    assert f"Interrupted by {signal.Signals(number).name} while Bindwatch was starting. Nothing had begun" in err


def _wait_until_it_listens(pid: int) -> None:
    """Until the process holds SIGHUP back, which nobody but Bindwatch does."""
    status = Path(f"/proc/{pid}/status")
    while True:
        blocked = next(line for line in status.read_text().splitlines() if line.startswith("SigBlk"))
        if int(blocked.split()[1], 16) & 1 << signal.SIGHUP - 1:
            return


# ── commands without a run ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_help_is_0_and_a_wrong_word_is_2(tmp_path: Path) -> None:
    environment = environment_of(tmp_path, {})
    assert call(["--help"], environment).code == 0
    for arguments in ([], ["no-such-command"], ["run", "--no-such-option"], ["findings", "--limit", "many"]):
        ended = call(arguments, environment)
        assert ended.code == 2, ended.text
        assert "Traceback" not in ended.text


def test_an_answer_that_does_not_arrive_is_3_and_said(world: World, tmp_path: Path) -> None:
    environment = environment_of(world.before, {})
    assert call(["findings", "--export", "csv"], environment).code == 0
    for arguments in (["findings", "--export", "csv"], ["findings"], ["backtest"], ["--help"]):
        with Path("/dev/full").open("w") as full:
            ended = call(arguments, environment, stdout=full)
        assert ended.code == 3, arguments
        assert "The answer did not arrive: standard output cannot be written (No space left on device)" in ended.err
        assert "Traceback" not in ended.err


@pytest.mark.parametrize(("arguments", "code"), [(["findings", "--export", "csv"], 0), (["findings"], 0), (["findings", "--check", "none"], 2)])
def test_whoever_stops_reading_has_what_they_wanted(world: World, arguments: list[str], code: int) -> None:
    """As `| head` does. What the command would have ended with without it stands."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        ended = call(arguments, environment_of(world.before, {}), stdout=pipe)
    assert ended.code == code, ended.err
    assert "did not arrive" not in ended.err and "Traceback" not in ended.err


def test_a_closed_output_is_not_the_next_file_that_is_opened(world: World, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(world.before, home, symlinks=True)
    before = {path: path.read_bytes() for path in home.glob("*") if path.is_file()}
    ended = _with_closed_output(["findings"], environment_of(home, {}))
    assert ended.code == 3
    assert "standard output cannot be written" in ended.err
    assert {path: path.read_bytes() for path in home.glob("*") if path.is_file()} == before


def _with_closed_output(arguments: list[str], environment: dict[str, str]) -> Ended:
    code = "import sys; from pipelines.main import main; sys.exit(main())"
    answer = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return Ended(answer.returncode, answer.stdout, answer.stderr)


# ── commands that serve, and the one that starts a server ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_server_that_is_told_to_end_has_done_its_work(tmp_path: Path, number: int) -> None:
    options = ["--people", "0", "--salesforce-port", "0", "--hubspot-port", "0", "--folder", str(tmp_path / "sandbox")]
    for arguments, begins in ((["review", "--port", "0"], "The steward's desk"), (["sandbox", *options], "Point Bindwatch")):
        process = start(arguments, environment_of(tmp_path / "home", {}))
        assert process.stdout is not None
        while not process.stdout.readline().startswith(begins):
            assert process.poll() is None
        if arguments[0] == "sandbox":
            _wait_for((tmp_path / "sandbox" / "environment").exists)
        time.sleep(0.3)  # sockets listen already; now they are served
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, ""), arguments
        shutil.rmtree(tmp_path / "sandbox", ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_demo_that_is_ended_leaves_no_sandbox_behind(tmp_path: Path, number: int) -> None:
    home = tmp_path / "home"
    process = start(["demo", "--people", "50"], environment_of(home, {}))
    _wait_for((home / "sandbox" / "environment").exists)
    assert _processes_that_name(home / "sandbox")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (3 if number == signal.SIGTERM else -signal.SIGKILL), err
    assert number == signal.SIGKILL or err.splitlines()[-1].startswith("Interrupted by SIGTERM while ")
    _wait_for(lambda: not _processes_that_name(home / "sandbox"))


def _processes_that_name(path: Path) -> list[str]:
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(path).encode() in command.read_bytes():
                found.append(command.parent.name)
        except OSError:  # it has ended meanwhile
            continue
    return found


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


# ── the one place ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ending", "code", "words"),
    [
        ("return 0", 0, ""),
        ("return 1", 1, ""),
        ("return None", 3, "without saying how it went (None)"),
        ("return True", 3, "without saying how it went (True)"),
        ("return 130", 3, "without saying how it went (130)"),
        ("return '0'", 3, "without saying how it went ('0')"),
        ("raise SystemExit(0)", 3, "A library ended the command"),
        ("raise SystemExit", 3, "A library ended the command"),
        ("raise ConfigurationProblem('set X')", 2, "Nothing was done:\n\nset X"),
        ("raise WarehouseProblem('no snapshot')", 3, "no snapshot"),
        ("raise MachineProblem('no room')", 3, "no room"),
        ("raise KeyError('jane.doe@corp.example')", 3, "Unexpected KeyError"),
        ("raise GeneratorExit", 3, "Unexpected GeneratorExit"),
        ("raise KeyboardInterrupt", 3, "Interrupted by a signal"),
        ("decide(0); raise KeyError", 0, ""),
        ("decide(1); os.kill(os.getpid(), 15); time.sleep(9)", 1, ""),
        ("os.kill(os.getpid(), 15); return 0", 3, "Interrupted by SIGTERM"),
        ("swallow(); return 0", 3, "Interrupted by SIGINT"),
        ("serve(); os.kill(os.getpid(), 1); time.sleep(9)", 0, ""),
        ("os._exit(1)", 3, "ended by a library (exit code 1) before it had an answer"),
        ("os._exit(0)", 3, "ended by a library (exit code 0) before it had an answer"),
        ("os.kill(os.getpid(), 9); time.sleep(9)", 3, "killed by SIGKILL before it had an answer. The usual reason is that memory ran out"),
        ("import ctypes; ctypes.string_at(0)", 3, "killed by SIGSEGV"),
        ("os.abort()", 3, "killed by SIGABRT"),
        ("os.close(2); print('x', file=sys.stderr); return 0", 0, ""),
        ("signal.signal(15, signal.SIG_DFL); signal.signal(15, lambda *_: None); os.kill(os.getpid(), 15); ending.PATIENCE = 0.5; time.sleep(9)", 3, "SIGTERM"),
    ],
)  # fmt: skip
def test_each_way_to_end_has_its_code_and_its_words(tmp_path: Path, ending: str, code: int, words: str) -> None:
    script = f"""
import os, signal, sys, time
from assets.problems import *
from pipelines import ending
from pipelines.ending import decide, run_command, serve
def swallow():
    try:
        os.kill(os.getpid(), 2)
        time.sleep(1)
    except BaseException:
        pass
ending.PATIENCE = 0.5
def command():
    {ending}
run_command(command)
"""
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30, preexec_fn=hear_signals)
    assert (answer.returncode, words in answer.stderr) == (code, True), answer.stderr
    assert words or not answer.stderr
    assert "Traceback" not in answer.stderr
    assert "corp.example" not in answer.stderr


def test_a_signal_that_was_ignored_from_the_start_stays_ignored(tmp_path: Path) -> None:
    for name, number in (("INT", 2), ("HUP", 1)):
        script = f"""
import os, signal, sys, time
signal.signal({number}, signal.SIG_IGN)
from pipelines.ending import run_command
from dagster._utils.interrupts import raise_interrupts_as
def command():
    with raise_interrupts_as(KeyboardInterrupt):
        os.kill(os.getpid(), {number})
        time.sleep(0.2)
    os.kill(os.getpid(), {number})
    time.sleep(0.2)
    print("went on", flush=True)
    os.kill(os.getpid(), 15)
    time.sleep(9)
run_command(command)
"""
        answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60, preexec_fn=hear_signals)
        assert (answer.returncode, answer.stdout) == (3, "went on\n"), (name, answer.stderr)
        assert "Interrupted by SIGTERM" in answer.stderr


@pytest.mark.parametrize("opens_again", [True, False], ids=["opens again", "stays closed"])
def test_when_duckdb_gives_up_what_was_proven_before_is_not_shown_as_proven(
    portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens_again: bool
) -> None:
    home = shutil.copytree(portal.home, tmp_path / "home", symlinks=True)
    open_warehouse = Warehouse.connect

    def give_up(connection: duckdb.DuckDBPyConnection, *_: Any, **__: Any) -> None:
        if not opens_again:
            monkeypatch.setattr(Warehouse, "connect", lambda _: duckdb.connect(str(tmp_path)))
        connection.close()  # as after an error of DuckDB's own: nothing can be done with it any more
        raise duckdb.InternalException("INTERNAL Error: narrowed column 0 received a non-dictionary chunk")

    monkeypatch.setattr("assets.dagster.modelled.stand", give_up)
    result = portal.run(monkeypatch, home)
    told = manifest(home) or {}
    assert (result.exit_code, told["run_id"], told["verdict"]) == (3, result.run_id, "unproven")
    assert "INTERNAL Error" in told["problem"]
    monkeypatch.setattr(Warehouse, "connect", open_warehouse)
    with Warehouse(home).connect() as connection:
        runs = connection.execute("select verdict from main.run where run_id = ?", [result.run_id]).fetchall()
    assert runs == ([("unproven",)] if opens_again else [])
