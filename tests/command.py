"""The real command in a process of its own: started from the shell's side, or forked from a process that has imported everything already."""

import contextlib
import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from tests.live import ROOT
from tests.plain import connect_plainly, empty_warehouse, pace_of_the_sandbox

# Imports take longer than a small run, and most of what is asked here happens after them.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.command", "tests.preloaded"])
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Ended:
    """How a command ended. seconds: that it lived on after its signal; 0 without one."""

    code: int | None
    out: str
    err: str
    seconds: float = 0

    @property
    def text(self) -> str:
        return self.out + self.err


def environment_of(home: Path, environment: dict[str, str], policy: Path | None = ROOT / "sandbox" / "bindwatch.toml") -> dict[str, str]:
    """What a command sees: nothing of the machine it is tested on but where programs are."""
    named = {"BINDWATCH_CONFIG": str(policy)} if policy else {}
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/nonexistent"), "BINDWATCH_HOME": str(home), **named, **environment}


def start(arguments: Iterable[str], environment: dict[str, str], cwd: Path = ROOT, **options: Any) -> "subprocess.Popen[str]":
    """Starts `bindwatch` as the console script does. Signals that this process ignores are not ignored there."""
    code = "import sys; from pipelines.main import main; sys.exit(main())"
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), **environment},
        text=True,
        preexec_fn=hear_signals,  # noqa: PLW1509  (nothing else can take an ignored signal back)
        **settings,
    )


def call(arguments: Iterable[str], environment: dict[str, str], cwd: Path = ROOT, **options: Any) -> Ended:
    process = start(arguments, environment, cwd, **options)
    out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out or "", err or "")


def hear_signals() -> None:
    """Signals are as at the start of a process, whatever was done to them in this one before."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


# ── forked ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

Hook = Callable[[], None]


def fork(arguments: list[str], environment: dict[str, str], folder: Path, hook: Hook | None = None, cwd: Path = ROOT, dagster_on_disk: bool = False) -> Ended:
    """Runs a command to its end in a forked process. hook: called there first; it can be pickled. folder: where its output is kept.
    dagster_on_disk: with Dagster's storage as it is shipped, and with DuckDB's optimizer (tests/plain.py).
    """
    folder.mkdir(parents=True, exist_ok=True)
    process = FORKED.Process(target=_forked, args=(arguments, environment, folder, hook, cwd, None if dagster_on_disk else empty_warehouse()))
    process.start()
    process.join(240)
    assert not process.is_alive(), "the command did not end"
    out, err = (folder / "out").read_text(errors="replace"), (folder / "err").read_text(errors="replace")
    signalled = folder / "signalled"
    seconds = time.time() - float(signalled.read_text()) if signalled.exists() else 0
    return Ended(process.exitcode, out, err, seconds)


def kill_after(seconds: float, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    """Starts a command in a forked process and kills it, as a power cut does."""
    process = FORKED.Process(target=_forked, args=(arguments, environment, folder, None, ROOT, None))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()


def _forked(arguments: list[str], environment: dict[str, str], folder: Path, hook: Hook | None, cwd: Path, new_warehouse: bytes | None) -> None:
    """new_warehouse: the file that a new home begins with, in a command that goes plainly (tests/plain.py); None for one as it is shipped."""
    for number, name in ((1, "out"), (2, "err")):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, io.TextIOWrapper(io.FileIO(number, "wb", closefd=False), "utf-8", write_through=True))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    hear_signals()
    from assets.pull import hubspot_portal
    from assets.warehouse import file
    from pipelines import guarded_run
    from pipelines.main import main
    from tests.memory_instance import memory_instance

    if new_warehouse is not None:
        duckdb.connect = connect_plainly
        file.make_empty = partial(Path.write_bytes, data=new_warehouse)  # type: ignore[assignment]
        hubspot_portal.Pace = pace_of_the_sandbox  # type: ignore[assignment, attr-defined]
        instance = memory_instance()
        guarded_run.prepare_instance = lambda: nullcontext(instance)  # type: ignore[assignment, return-value]
    if hook is not None:
        hook()
    sys.argv = ["bindwatch", *arguments]
    main()


@dataclass(frozen=True)
class Signalled:
    """Sends a signal to the process so many seconds after something begins there: a phase, as `doing` says it, or a function, as module:name."""

    number: int
    at: str
    after: float = 0.0
    times: int = 1
    note: Path | None = None

    def __call__(self) -> None:
        module_name, _, name = self.at.partition(":")
        if name:
            module = __import__(module_name, fromlist=[name])
            owner, attribute = module, name
            while "." in attribute:
                first, _, attribute = attribute.partition(".")
                owner = getattr(owner, first)
            former = getattr(owner, attribute)

            def begun(*arguments: Any, **options: Any) -> Any:
                self._send()
                return former(*arguments, **options)

            setattr(owner, attribute, begun)
            return
        from assets import progress

        former_doing = progress.doing

        def doing(what: str, *arguments: Any, **options: Any) -> None:
            former_doing(what, *arguments, **options)
            if self.at in what:
                self._send()

        for loaded in list(sys.modules.values()):
            if getattr(loaded, "doing", None) is former_doing:
                loaded.doing = doing  # type: ignore[attr-defined]

    def _send(self) -> None:
        if self.note is not None:
            self.note.write_text(str(time.time() + self.after))

        def send() -> None:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
                time.sleep(0.02)

        if self.after:
            threading.Timer(self.after, send).start()
        else:
            send()


# ── what is left ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def manifest(home: Path) -> dict[str, Any] | None:
    path = home / "published" / "current" / "manifest.json"
    with contextlib.suppress(FileNotFoundError):
        return dict(json.loads(path.read_text("utf-8")))
    return None


def everything_kept(folder: Path, besides: Iterable[str] = ("landing", "published", "certified", "warehouse.duckdb")) -> str:
    """All bytes in a home as text, but for what is meant to hold personal data. Manifests of snapshots are looked at."""
    parts = []
    for path in folder.rglob("*"):
        place = path.relative_to(folder)
        if path.is_file() and (place.parts[0].removesuffix(".wal") not in besides or (path.name == "manifest.json" and place.parts[0] == "published")):
            parts.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(parts)


def personal(text: str, names: Iterable[str], emails: Iterable[str]) -> list[str]:
    """The names and e-mail addresses that occur in a text."""
    lowered = text.lower()
    return [word for word in (*names, *emails) if len(word) > 3 and re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)", lowered)]
