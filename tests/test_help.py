"""`bindwatch --help`, and the example in the help of each command: it is understood, and it works as it stands."""

import re
import shlex
import shutil
import signal
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import COMMANDS, app
from sandbox.faults import KINDS
from tests.command import call, environment_of, start
from tests.live import published, served, story_of

EXAMPLES = {name: example for commands in COMMANDS.values() for name, example in commands.items()}
SERVES = {"sandbox": "Point Bindwatch", "review": "The steward's desk", "dev": "Dagster UI: "}


def paths_of_commands() -> set[str]:
    group = typer.main.get_group(app)
    below = {f"{name} {one}" for name, command in group.commands.items() for one in getattr(command, "commands", {})}
    return {*group.commands, *below}


def test_every_command_has_its_place_and_an_example() -> None:
    assert set(EXAMPLES) == paths_of_commands()


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_example_of_a_command_is_in_its_help_and_is_understood(path: str) -> None:
    words = shlex.split(EXAMPLES[path])
    assert words[: len(path.split()) + 1] == ["bindwatch", *path.split()]
    command = typer.main.get_group(app)
    for name in path.split():
        command = command.commands[name]  # type: ignore[assignment]
    assert command.epilog == f"Example: {EXAMPLES[path]}"
    command.make_context(path, words[len(path.split()) + 1 :])  # raises where a word is wrong


def test_help_goes_in_the_order_of_use_and_the_version_is_told(tmp_path: Path) -> None:
    answer = call(["--help"], environment_of(tmp_path, {}))
    assert answer.code == 0
    shown = [found for line in answer.out.splitlines() if (found := re.match(r"╭─ ([^─]+) ─|│ ([a-z][a-z-]*) ", line)) and found[1] != "Options"]
    assert [found[1] or found[2] for found in shown] == [
        word for panel, commands in COMMANDS.items() for word in (panel, *commands) if not word.startswith("decide ")
    ]
    answer = call(["--version"], environment_of(tmp_path, {}))
    assert (answer.code, answer.out) == (0, f"bindwatch {version('bindwatch')}\n")


def test_the_faults_of_the_sandbox_are_told_each_with_what_it_does() -> None:
    answer = CliRunner().invoke(app, ["sandbox", "--fault", "list"])
    assert answer.exit_code == 0
    assert [line.split()[0] for line in answer.output.splitlines()] == [*KINDS]
    assert "half of the body, as if that were all" in answer.output


class _Listener(BaseHTTPRequestHandler):
    """Takes every alert."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow  # a process for each command, in the order of the help
def test_every_example_does_what_it_says(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "here"
    folder.mkdir()
    listener = HTTPServer(("127.0.0.1", 0), _Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()  # of the alert
    done = []
    with served(story_of(300), tmp_path / "crms") as server:
        server.story.advance(2)
        environment = environment_of(home, {**server.environment, "BINDWATCH_ALERT_URLS": f"json://127.0.0.1:{listener.server_port}"})
        for path, example in EXAMPLES.items():
            words = shlex.split(example)[1:]
            if path in SERVES:
                process = start(words, environment, cwd=folder)
                assert process.stdout is not None
                while not process.stdout.readline().startswith(SERVES[path]):
                    assert process.poll() is None, path
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)
                continue
            own = environment_of(tmp_path / "demo", {}) if path == "demo" else environment
            answer = call([_known(word, home) for word in words], own, cwd=folder)
            assert answer.code in (0, 1), (path, answer.text)
            done.append(path)
            if path == "run":
                records = [row["record_id"] for row in published(home, "salesforce_person")][:2]
                (folder / "plan.csv").write_text(f"master_id,loser_id\n{','.join(records)}\n")
                (folder / "touched.csv").write_text("Id\n" + "\n".join(records) + "\n")
    listener.shutdown()
    assert set(done) | set(SERVES) == set(EXAMPLES)
    left = {path.name for path in folder.iterdir()}
    assert {"findings.csv", "judged.csv", "forecast.csv", "restore", "backup"} <= left
    shutil.rmtree(folder)


def _known(word: str, home: Path) -> str:
    """The finding of the examples is one that is there."""
    if word != "3014f72f":
        return word
    return next(str(row["fingerprint"])[:8] for row in published(home, "finding") if row["status"] == "open")
