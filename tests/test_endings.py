"""Every ending of every command is 0, 1, 2 or 3, and 0 is never reached by accident: signals in each phase, closed outputs, missing settings."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from sandbox.server import SandboxServer
from tests.command import SIGNALS, Ended, Signalled, call, environment_of, fork, manifest, start
from tests.live import ROOT, served, snapshot, story_of

INT, TERM, HUP = SIGNALS

# Where a signal hits, and what is said then. Between the phases lie fractions of a second.
PHASES = {
    "prepared": ("the run was being prepared", "while the run was being prepared. Nothing had begun"),
    "Salesforce": ("assets.salesforce:pull_object", "while Salesforce was being pulled. "),
    "HubSpot": ("assets.hubspot:pull_contacts", "while HubSpot was being pulled. "),
    "load": ("assets.warehouse:_load_versions", "kept; the next run goes on from there"),
    "models": ("assets.models:_measure", "while the tables were being built. What was pulled is kept"),
    "publish": ("assets.snapshot:describe_file", "while the snapshot was being published. What was pulled is kept"),
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
        process = start(arguments, environment_of(tmp_path, {}))
        _wait_until_it_listens(process.pid)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 3, err
        assert f"Interrupted by {number.name} while Bindwatch was starting. Nothing had begun" in err


def _wait_until_it_listens(pid: int) -> None:
    """Until the process has a handler for SIGHUP, which nobody but Bindwatch sets."""
    status = Path(f"/proc/{pid}/status")
    while True:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) & 1 << signal.SIGHUP - 1:
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
