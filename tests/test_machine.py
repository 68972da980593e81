"""What the machine lacks is a sentence that names the folder and what to do: small disks, few descriptors, foreign users, folders that cannot be written."""

import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from assets.machine import check_home, fault_in_texts, machine_fault
from assets.problems import ConfigurationProblem, MachineProblem
from pipelines.dev import serve_dagster
from review.access import read_session_key
from sandbox.server import SandboxServer
from tests.command import Ended, call, environment_of, fork, manifest
from tests.live import ROOT, served, snapshot, story_of

HOME = Path("/somewhere/home")


def told(error: BaseException) -> MachineProblem:
    fault = machine_fault(error, HOME)
    assert fault is not None
    return fault


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "No room is left on the disk of /tmp", 3),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/tmp/x"), "No room is left", 3),
        (PermissionError(errno.EACCES, "Permission denied", "/somewhere/home/landing"), "/somewhere/home/landing cannot be read or written by the user", 2),
        (OSError(errno.EROFS, "Read-only file system", "/somewhere/home/x"), "BINDWATCH_HOME", 2),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n", 3),
        (MemoryError(), "memory", 3),
        (ImportError("_rust.so: failed to map segment from shared object"), "memory", 3),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate"), "memory", 3),
        (duckdb.OutOfMemoryException("failed to offload data block (max_temp_directory_size exceeded)"), "No room is left", 3),
        (duckdb.IOException('IO Error: Could not write file "/tmp/a.duckdb": No space left on device'), "disk of /tmp", 3),
        (OSError(errno.EIO, "Input/output error", "/tmp/x"), "reports an error", 3),
        (sqlite3.OperationalError("database or disk is full"), "No room is left", 3),
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be read or written", 2),
    ],
)  # fmt: skip
def test_a_fault_of_the_machine_says_what_is_missing_and_what_to_do(error: BaseException, words: str, code: int) -> None:
    assert words in str(told(error))
    assert told(error).exit_code == code
    wrapped = RuntimeError("something else")
    wrapped.__cause__ = LookupError("and on")
    wrapped.__cause__.__context__ = error
    assert words in str(told(wrapped))


def test_what_is_no_fault_of_the_machine_is_none() -> None:
    assert machine_fault(ValueError("permission denied to the record of no space left on device"), HOME) is None
    assert machine_fault(duckdb.ConversionException("Could not convert string 'disk is full'"), HOME) is None
    assert machine_fault(ConnectionRefusedError(errno.ECONNREFUSED, "refused"), HOME) is None
    own = ConfigurationProblem("plan.csv cannot be written")
    own.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert machine_fault(own, HOME) is None


def test_a_fault_of_which_dagster_kept_only_the_words_is_told_too() -> None:
    assert "No room" in str(fault_in_texts(["a wrapper", "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database or disk is full\n"], HOME))
    assert fault_in_texts(["a wrapper"], HOME) is None


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Live:
    server: SandboxServer
    before: Path


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("machine")
    story = story_of(60)
    with served(story, folder / "sandbox") as server:
        assert fork(["run"], environment_of(folder / "before", server.environment), folder / "first").code in (0, 1)
        yield Live(server, folder / "before")


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=700", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("this user cannot mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def check_full_disk(ended: Ended, home: Path) -> None:
    assert ended.code == 3, ended.text
    words = " ".join(ended.text.replace("│", " ").split())
    assert "No room is left on the disk of" in words, ended.text
    assert str(home) in words
    assert "MB are free" in words
    assert "larger disk" in words
    assert "Traceback" not in words
    assert "bug" not in words
    now = manifest(home)
    assert now is None or now["verdict"] != "pass"


def check_tables(live: Live, home: Path) -> None:
    """The tables are those of a run that met no limit. A second run reads more histories than a first one, which had no Salesforce records yet: `edit`."""
    found = snapshot(home)
    for table, rows in snapshot(live.before).items():
        assert found[table] == rows or table == "edit", f"{table} differs"


@pytest.mark.parametrize("kilobytes", [8, 600, 4000])
def test_a_full_disk_is_told_and_the_next_run_goes_on(live: Live, tmp_path: Path, kilobytes: int) -> None:
    with small_disk(tmp_path / "disk", kilobytes) as home:
        check_full_disk(fork(["run"], environment_of(home, live.server.environment), tmp_path / "ended"), home)
        subprocess.run(["mount", "-o", "remount,size=200m", str(home)], check=True)
        following = fork(["run"], environment_of(home, live.server.environment), tmp_path / "next")
        assert following.code in (0, 1), following.text
        check_tables(live, home)


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [16, 64, 128, 256, 400, 1000, 1500, 2000, 3000, 5000, 6000, 8000, 10000, 12000, 14000, 16000, 18000])
def test_a_disk_of_any_size_is_large_enough_or_told(live: Live, tmp_path: Path, kilobytes: int) -> None:
    """With Dagster's own storage on it, which is full before the home is, or after."""
    with small_disk(tmp_path / "disk", kilobytes) as home:
        ended = fork(["run"], environment_of(home, live.server.environment), tmp_path / "ended", dagster_on_disk=True)
        if ended.code not in (0, 1):
            check_full_disk(ended, home)
        subprocess.run(["mount", "-o", "remount,size=200m", str(home)], check=True)
        assert fork(["run"], environment_of(home, live.server.environment), tmp_path / "next", dagster_on_disk=True).code in (0, 1)
        check_tables(live, home)


def limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (22, 22))


def test_too_few_descriptors_are_told(live: Live, tmp_path: Path) -> None:
    ended = fork(["run"], environment_of(tmp_path / "home", live.server.environment), tmp_path / "ended", limit_descriptors)
    assert ended.code == 3, ended.text
    words = " ".join(ended.text.replace("│", " ").split())
    assert "this process may open 22" in words, ended.text
    assert "ulimit -n" in words
    assert "Traceback" not in words


def test_a_home_that_cannot_be_made_is_told_before_anything_is_pulled(live: Live, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for home in (tmp_path / "file" / "home", Path("/proc/home")):
        live.server.faults.requests.clear()
        ended = fork(["run"], environment_of(home, live.server.environment), tmp_path / "ended")
        assert ended.code == 2, ended.text
        assert f"BINDWATCH_HOME, {home}, cannot be used as the home" in ended.err
        assert live.server.faults.requests == []


def test_the_default_home_in_a_folder_that_cannot_be_written_is_named_as_the_default(tmp_path: Path) -> None:
    with pytest.raises(MachineProblem, match="the default in this folder") as raised:
        check_home(Path("/proc/data"), is_default=True)
    assert raised.value.exit_code == 2
    assert "Set BINDWATCH_HOME" in str(raised.value)
    check_home(tmp_path / "home", is_default=False)
    assert list((tmp_path / "home").iterdir()) == []


def test_dev_and_the_desk_say_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDWATCH_HOME", "/proc/home")
    for serve in (lambda: serve_dagster(0), lambda: read_session_key(Path("/proc/home"))):
        with pytest.raises(MachineProblem, match="BINDWATCH_HOME, /proc/home, cannot be used as the home"):
            serve()


# ── a user without a name ────────────────────────────────────────────────────────────────────────────────────────────────────────

STRANGER = 47110


def as_stranger(arguments: list[str], environment: dict[str, str], cwd: Path) -> Ended:
    """Runs the command as a user id that has no name, no home directory and no group. It may read everything (the interpreter may lie anywhere) and
    write nothing of others.
    """
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can become another user, and needs setpriv")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pipelines.main import main; sys.exit(main())"
    reading = ["--ambient-caps", "+dac_read_search", "--inh-caps", "+dac_read_search"]
    answer = subprocess.run(
        [setpriv, f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *reading, sys.executable, "-c", code, str(ROOT), *arguments],
        env={name: value for name, value in environment.items() if name != "HOME"}, cwd=cwd, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    return Ended(answer.returncode, answer.stdout, answer.stderr)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach, and the stranger owns."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(folder, STRANGER, STRANGER)
    yield folder
    shutil.rmtree(folder)


def test_a_user_without_a_name_and_without_a_home_directory_runs_and_decides(live: Live, open_folder: Path) -> None:
    home = open_folder / "home"
    environment = environment_of(home, live.server.environment)
    ended = as_stranger(["run"], environment, open_folder)
    assert ended.code in (0, 1), ended.text
    assert home.stat().st_uid == STRANGER
    exported = as_stranger(["findings", "--export", "csv"], environment, open_folder)
    fingerprint = exported.out.splitlines()[1].split(",")[0]
    decided = as_stranger(["decide", "acknowledge", fingerprint], environment, open_folder)
    assert decided.code == 0, decided.text
    assert f"acknowledged by uid {STRANGER}" in decided.out


def test_a_user_who_may_not_write_the_checkout_is_told_to_name_a_home(live: Live, tmp_path: Path) -> None:
    readonly = Path(tempfile.mkdtemp(dir="/tmp"))
    readonly.chmod(0o755)
    try:
        environment = {name: value for name, value in environment_of(tmp_path, live.server.environment).items() if name != "BINDWATCH_HOME"}
        ended = as_stranger(["run"], environment, readonly)
    finally:
        shutil.rmtree(readonly)
    assert ended.code == 2, ended.text
    assert f"{readonly}/data, the default in this folder, cannot be used as the home: Permission denied. Set BINDWATCH_HOME" in ended.err
    assert f"the user with the id {STRANGER}" in ended.err


def test_a_home_of_somebody_else_is_told(live: Live, open_folder: Path) -> None:
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        ended = as_stranger(["run"], environment_of(home, live.server.environment), open_folder)
        assert ended.code == 2, ended.text
        assert f"BINDWATCH_HOME, {home}, cannot be used as the home" in ended.err
        ended = as_stranger(["decide", "acknowledge", "0123"], environment_of(home, live.server.environment), open_folder)
        assert ended.code in (2, 3), ended.text
        assert str(home) in ended.err
        assert "Traceback" not in ended.err
    finally:
        shutil.rmtree(home)


# ── a policy that is not there ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_without_its_policy_file_is_2_and_says_what_to_do(live: Live, tmp_path: Path) -> None:
    named = environment_of(tmp_path / "home", live.server.environment, tmp_path / "none.toml")
    unnamed = environment_of(tmp_path / "home", live.server.environment, None)
    for environment, path in ((named, tmp_path / "none.toml"), (unnamed, tmp_path / "bindwatch.toml")):
        ended = call(["run"], environment, cwd=tmp_path)
        assert ended.code == 2, ended.text
        assert f"There is no policy file {path}" in ended.err
        assert "BINDWATCH_CONFIG" in ended.err
    assert not (tmp_path / "home").exists()


def test_a_command_that_needs_no_policy_works_without_and_says_so(live: Live, tmp_path: Path) -> None:
    ended = call(["findings", "--status", "all", "--export", "csv"], environment_of(live.before, {}, None), cwd=tmp_path)
    assert ended.code == 0
    assert "***@" in ended.out
    assert ended.err == "There is no bindwatch.toml in this folder, so every setting is the default (e-mails are masked).\n"
    ended = call(["findings"], environment_of(live.before, {}, tmp_path / "none.toml"), cwd=tmp_path)
    assert ended.code == 0
    assert len(ended.err.splitlines()) == 1
    assert "none.toml: there is no such file" in ended.err


def test_in_dagster_the_pull_fails_with_the_same_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    from pipelines.definitions import defs

    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BINDWATCH_CONFIG", str(tmp_path / "none.toml"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("bindwatch_guarded_run").execute_in_process(instance=instance, raise_on_error=False)
    failures = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    assert len(failures) == 2
    assert all(failure and failure.description and f"There is no policy file {tmp_path / 'none.toml'}" in failure.description for failure in failures)
