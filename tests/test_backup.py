"""A home saved and put back: whole, while runs go on, on full disks, after kills. And warehouse files that are damaged."""

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.files import sealed
from assets.problems import DamagedWarehouse, HomeInUse, MachineProblem, Problem, WarehouseProblem
from assets.published.decisions import Decision, DecisionStore
from assets.sql import transaction
from assets.warehouse import backup, restore_home
from assets.warehouse.backup import Backup, BackupProblem, back_up
from assets.warehouse.damage import damage_of, note_end_of_run
from assets.warehouse.file import SCHEMA_VERSION, Warehouse, make_empty
from assets.warehouse.restore_home import check_backup
from tests.homes import POLICY, Portal, contents, copy_of, damage, in_child, interrupted_run, small_disk, tables
from tests.live import ROOT, check_manifest, published, snapshot
from tests.postgres import Server

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def home(portal: Portal, tmp_path: Path) -> Path:
    return copy_of(portal.home, tmp_path / "home")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A home with a warehouse of a few blocks, for what needs no CRM data."""
    home = tmp_path / "small"
    with Warehouse(home).connect() as connection:
        connection.execute("create table main.thing as select range as x, hash(range)::varchar as s from range(100000)")
    DecisionStore(home).read()
    (home / "published" / "1").mkdir(parents=True)
    (home / "published" / "1" / "manifest.json").write_text("{}")
    (home / "published" / "current").symlink_to("1")
    return home


def save(home: Path, folder: Path, policy: Path = POLICY, told: list[str] | None = None, wait: float = 60) -> Backup:
    return back_up(Warehouse(home), folder, policy, DecisionStore(home, create=False), (told if told is not None else []).append, wait)


def restore(home: Path, folder: Path, policy: Path = POLICY) -> restore_home.Restored:
    return restore_home.restore_home(Warehouse(home), folder, check_backup(folder, SCHEMA_VERSION), policy, DecisionStore(home, create=False))


# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_restored_home_runs_on_as_the_one_that_was_saved_would_have(portal: Portal, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(home, tmp_path / "backup")
    other = copy_of(home, tmp_path / "other")  # restored over something else, whose waiver was taken back
    with Warehouse(other).connect() as connection:
        connection.execute("delete from main.ledger; delete from raw.hubspot_contact")
    sqlite3.connect(other / "decisions.sqlite", isolation_level=None).execute("delete from bindwatch_decision")
    restore(other, tmp_path / "backup")
    assert tables(other) == tables(home)
    portal.story.world.create_record("Lead", {"LastName": "Later", "Email": "later@example.com"})

    results = {}
    for place in (home, other):
        result = portal.run(monkeypatch, place)
        first_seen = sorted((row["fingerprint"], row["first_seen_at"]) for row in published(place, "finding") if row["check_name"] == "bound_record_unknown")
        results[place.name] = (result.exit_code, snapshot(place), first_seen, check_manifest(place)["certified"] is not None)
    assert results["other"] == results["home"]
    assert results["home"][0] == 0
    assert len(results["home"][2]) == 1
    assert [row["waived_until"] for row in published(other, "finding") if row["check_name"] == "bound_record_unknown"] == [datetime(2099, 1, 1)]


def test_a_backup_is_everything_that_cannot_be_had_again_and_nothing_else(home: Path, tmp_path: Path) -> None:
    (home / "alerts.json").write_text("{}")
    (home / "desk.key").write_text("a key")
    made = save(home, tmp_path / "a" / "b")
    folder = tmp_path / "a" / "b"
    assert set(made.manifest["files"]) == {
        "warehouse.duckdb", "decisions.sqlite", "certified/binding.parquet", "certified/certificate.json", "merge-plans/plan.csv", "alerts.json",
        "bindwatch.toml",
    }  # fmt: skip
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {*made.manifest["files"], "backup.json"}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")] if path.is_dir()} == {0o700}
    assert (made.manifest["run"]["verdict"], made.manifest["schema"], made.manifest["decisions_from"]) == ("pass", SCHEMA_VERSION, "the home")
    assert json.loads((home / "last-backup.json").read_text())["folder"] == str(folder)


def test_what_an_interrupted_run_had_committed_is_in_the_backup_without_a_log(small: Path, tmp_path: Path) -> None:
    interrupted_run(small)
    save(small, tmp_path / "backup")
    assert not (tmp_path / "backup" / "warehouse.duckdb.wal").exists()
    restore(tmp_path / "new", tmp_path / "backup")
    assert tables(tmp_path / "new")["main.left_over"][0] == 2000


def test_a_backup_of_an_older_schema_stays_of_that_schema(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with duckdb.connect(str(home / "warehouse.duckdb")) as old:
        old.execute((ROOT / "tests" / "data" / "warehouse_schema_1.sql").read_text())
        old.execute("create table main.schema_version (version integer not null); insert into main.schema_version values (1)")
    assert save(home, tmp_path / "backup").manifest["schema"] == 1
    restore(tmp_path / "new", tmp_path / "backup")
    with Warehouse(tmp_path / "new").connect() as connection:
        assert connection.execute("select max(version) from main.schema_version").fetchone() == (SCHEMA_VERSION,)


def test_restoring_beside_the_log_of_another_warehouse_does_not_brick_the_home(small: Path, tmp_path: Path) -> None:
    save(small, tmp_path / "backup")
    expected = tables(small)
    interrupted_run(small)
    done = restore(small, tmp_path / "backup")
    assert done.replaced is not None
    assert (done.replaced / "warehouse.duckdb.wal").exists()
    assert tables(small) == expected


def test_nothing_is_shown_after_a_restore_until_the_next_run_and_what_was_there_is_kept(home: Path, tmp_path: Path) -> None:
    save(home, tmp_path / "backup")
    before = contents(home)
    done = restore(home, tmp_path / "backup")
    assert not (home / "published").exists()
    assert not (home / "landing").exists()
    assert done.replaced is not None
    kept = contents(done.replaced)
    parts = ("warehouse", "published", "landing", "certified", "merge-plans", "decisions")
    assert {name: value for name, value in before.items() if name.startswith(parts)}.keys() <= kept.keys()
    assert all(kept[name] == before[name] for name in before if name.startswith(("warehouse", "published", "landing", "certified")))


def test_the_policy_in_force_stays_and_that_of_the_backup_lies_beside_the_home_with_what_differs(small: Path, tmp_path: Path) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text('[gate]\nfail_on = "all"\n')
    save(small, tmp_path / "backup", policy)
    assert restore(small, tmp_path / "backup", policy).notes == []
    policy.write_text('[gate]\nfail_on = "new"\n')
    (note,) = restore(small, tmp_path / "backup", policy).notes
    assert '-fail_on = "new"' in note and '+fail_on = "all"' in note
    assert policy.read_text() == '[gate]\nfail_on = "new"\n'
    assert (small / "bindwatch.toml.restored").read_text() == '[gate]\nfail_on = "all"\n'
    # a home without a policy can be saved, too
    made = save(small, tmp_path / "second", tmp_path / "absent.toml")
    assert "bindwatch.toml" not in made.manifest["files"]
    assert any("There is no policy at" in note for note in made.notes)


def test_a_desk_that_is_open_sees_the_restored_decisions_and_writes_to_them(home: Path, tmp_path: Path) -> None:
    desk = DecisionStore(home)
    (waived,) = desk.read()
    save(home, tmp_path / "backup")
    finding = {name: waived[name] for name in ("fingerprint", "subject", "check_name", "hubspot_contact_id", "salesforce_id")}
    desk.record([Decision("acknowledge", "Bob", finding)])
    restore(home, tmp_path / "backup")
    assert [row["decided_by"] for row in desk.read()] == ["Ann"]
    desk.record([Decision("acknowledge", "Cy", finding)])
    assert [row["decided_by"] for row in DecisionStore(home).read()] == ["Ann", "Cy"]


def test_decisions_in_postgresql_are_saved_and_put_back_only_where_there_are_none(home: Path, tmp_path: Path, postgres: Server) -> None:
    import psycopg2

    def database(name: str) -> DecisionStore:
        connection = psycopg2.connect(postgres.url())
        connection.autocommit = True
        connection.cursor().execute(f"create database {name}")
        connection.close()
        return DecisionStore(home, postgres.url(database=name))

    (waived,) = DecisionStore(home).read()
    finding = {name: waived[name] for name in ("fingerprint", "subject", "check_name", "hubspot_contact_id", "salesforce_id")}
    team = database("team")
    team.record([Decision("assign", "Ann", finding, owner="Bob"), Decision("acknowledge", "Bob", finding)])
    made = back_up(Warehouse(home), tmp_path / "backup", POLICY, team, lambda _: None)
    assert made.manifest["decisions_from"] == "PostgreSQL"
    assert "not-a-secret" not in (tmp_path / "backup" / "backup.json").read_text() + " ".join(made.notes)
    manifest = check_backup(tmp_path / "backup", SCHEMA_VERSION)

    def put_back(store: DecisionStore) -> list[str]:
        return restore_home.restore_home(Warehouse(home), tmp_path / "backup", manifest, POLICY, store).notes

    assert put_back(team) == []  # they are all there
    empty = database("empty")
    (note,) = put_back(empty)
    assert "were put in" in note
    assert empty.read() == team.read()
    empty.record([Decision("undo", "Cy", finding)])  # its numbers go on after those
    assert [row["decision_no"] for row in empty.read()] == [1, 2, 3]
    other = database("other")
    other.belongs_to(manifest["home_id"])
    other.record([Decision("acknowledge", "Dee", finding)])
    before = other.read()
    (note,) = put_back(other)
    assert "2 decisions of the backup are not in it" in note
    assert other.read() == before


# ── folders that cannot take one, and folders that hold none ─────────────────────────────────────────────────────────────────────


def test_a_folder_that_cannot_take_a_backup_is_named_and_left_as_it_is(small: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("hello")
    for folder, words in ((full, "is not empty"), (full / "letter.txt" / "x", "cannot be written"), (full / "letter.txt", "cannot be written"),
                          (small / "backup", "inside the home"), (small, "inside the home")):  # fmt: skip
        before = contents(tmp_path)
        with pytest.raises(BackupProblem, match=words) as raised:
            save(small, folder)
        assert raised.value.exit_code == 2
        assert str(folder) in str(raised.value)
        assert contents(tmp_path) == before


def test_a_folder_of_another_user_is_named(small: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(0o755)
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    answer = tmp_path / "answer"
    answer.touch()
    answer.chmod(0o666)
    # what is imported on the way may lie where another user cannot read: so it is imported now
    save(small, tmp_path / "warm")
    with pytest.raises(BackupProblem):
        save(small, tmp_path / "warm")

    def as_nobody(folder: Path) -> Callable[[], int]:
        def work() -> int:
            os.setuid(65534)
            try:
                save(small, folder)
            except Problem as problem:
                answer.write_text(str(problem))
                return problem.exit_code
            return 0

        return work

    for path in (small, *small.rglob("*")):
        os.chown(path, 65534, -1, follow_symlinks=False)
    assert in_child(as_nobody(closed / "backup")) == 2, answer.read_text()
    assert "cannot be written (Permission denied)" in answer.read_text()
    shutil.chown(small, 0)
    assert in_child(as_nobody(Path("/tmp") / f"of-nobody-{os.getpid()}")) == 3, answer.read_text()
    assert "runs as user 65534" in answer.read_text()
    assert not list(Path("/tmp").glob(f"of-nobody-{os.getpid()}"))


def test_a_home_without_a_run_has_nothing_to_back_up_and_one_without_its_warehouse_is_damaged(small: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupProblem, match="There is no home at"):
        save(tmp_path / "nowhere", tmp_path / "backup")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupProblem, match="No run has taken place"):
        save(tmp_path / "empty", tmp_path / "backup")
    (small / "warehouse.duckdb").unlink()
    with pytest.raises(DamagedWarehouse, match="is missing"):
        save(small, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_damaged_warehouse_is_not_saved(small: Path, tmp_path: Path) -> None:
    damage(small / "warehouse.duckdb", 0.5)
    with pytest.raises(DamagedWarehouse, match="is damaged: 1 of its"):
        save(small, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_damaged_decisions_are_not_saved(small: Path, tmp_path: Path) -> None:
    damage(small / "decisions.sqlite", 0, 4096)
    with pytest.raises(DamagedWarehouse, match=r"decisions\.sqlite is damaged"):
        save(small, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_on_a_small_disk_a_backup_says_what_is_missing_and_leaves_none(small: Path, tmp_path: Path) -> None:
    size = (small / "warehouse.duckdb").stat().st_size
    for room in (size // 2, size + 1_200_000):  # too little from the start, and only at the end
        with small_disk(tmp_path / f"disk{room}", room) as disk:
            (disk / "other").write_bytes(b"x" * (0 if room < size else 150_000))
            shutil.copy(small / "decisions.sqlite", tmp_path / "large.sqlite")
            if room > size:
                with sqlite3.connect(small / "decisions.sqlite") as grown:
                    grown.execute("create table filler as select randomblob(1500000) as x")
            with pytest.raises((MachineProblem, DamagedWarehouse)) as raised:
                save(small, disk / "backup")
            assert isinstance(raised.value, MachineProblem), raised.value
            assert raised.value.exit_code == 3
            assert str(disk / "backup") in str(raised.value)
            assert "There is no room" in str(raised.value)
            assert not (disk / "backup").exists()


def test_a_restore_on_a_small_disk_changes_nothing(small: Path, tmp_path: Path) -> None:
    save(small, tmp_path / "backup")
    size = (small / "warehouse.duckdb").stat().st_size
    with small_disk(tmp_path / "disk", size * 3 // 2) as disk:
        shutil.copytree(small, disk / "home", symlinks=True)
        before = contents(disk / "home")
        with pytest.raises(MachineProblem, match="are missing"):
            restore(disk / "home", tmp_path / "backup")
        assert contents(disk / "home") == before


def inside(name: str, change: Callable[..., Any], *arguments: Any) -> Callable[[Path], Any]:
    """Something done to a file of a copy."""
    return lambda copy: change(copy / name, *arguments)


def broken(folder: Path) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    """Ways in which a folder is no longer the backup that it was."""
    for name in ("warehouse.duckdb", "decisions.sqlite", "certified/binding.parquet", "bindwatch.toml", "backup.json", "merge-plans/plan.csv"):
        for at in (0.0, 0.37, 0.999):
            yield f"{name} damaged", inside(name, damage, at, 4)
        yield f"{name} missing", inside(name, Path.unlink)
        yield f"{name} emptied", inside(name, Path.write_bytes, b"")
        yield f"{name} torn", inside(name, lambda file: os.truncate(file, file.stat().st_size // 2))


def rewritten(**changes: Any) -> Callable[[Path], Any]:
    def change(copy: Path) -> None:
        manifest = json.loads((copy / "backup.json").read_text())
        (copy / "backup.json").write_text(json.dumps(sealed(manifest | changes)))

    return change


def test_a_folder_that_is_not_a_whole_backup_changes_nothing(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(home, folder)
    before = contents(home)
    others: list[tuple[str, Callable[[Path], Any]]] = [
        ("newer format", rewritten(format=2)), ("newer schema", rewritten(schema=SCHEMA_VERSION + 1)), ("way out", rewritten(files={"../x": {}})),
        ("not there", shutil.rmtree),
    ]  # fmt: skip
    for what, change in [*broken(folder), *others]:
        copy = copy_of(folder, tmp_path / "copy")
        change(copy)
        with pytest.raises(BackupProblem) as raised:
            restore(home, copy)
        assert raised.value.exit_code == 2, what
        assert str(copy) in str(raised.value), what
        assert "Nothing was changed" in str(raised.value), what
        assert contents(home) == before, what
        shutil.rmtree(copy, ignore_errors=True)


# ── while a run goes on ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Running:
    """A run that holds the home in a thread of its own, and commits when it is told to."""

    def __init__(self, home: Path) -> None:
        self.home, self.is_on, self._orders, self._done = home, threading.Event(), threading.Semaphore(0), threading.Semaphore(0)
        self._order: Callable[[duckdb.DuckDBPyConnection], None] | None = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self.is_on.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._order = None
        self._orders.release()
        self._thread.join()

    def _work(self) -> None:
        warehouse = Warehouse(self.home)
        with warehouse.guard(), warehouse.connect() as connection:
            self.is_on.set()
            while True:
                self._orders.acquire()
                if self._order is None:
                    return
                self._order(connection)
                self._done.release()

    def commits(self, statement: str = "select 1") -> None:
        def order(connection: duckdb.DuckDBPyConnection) -> None:
            with transaction(connection):
                connection.execute(statement)

        self._order = order
        self._orders.release()
        assert self._done.acquire(timeout=30)


class Asking:
    """`bindwatch backup` in a thread of its own."""

    def __init__(self, home: Path, folder: Path, wait: float = 60) -> None:
        self.told: list[str] = []
        self.made: Backup | None = None
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(home, folder, wait))
        self._thread.start()
        until = time.monotonic() + 20
        while not list(home.glob("backup-requests/*.json")) and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)

    def _work(self, home: Path, folder: Path, wait: float) -> None:
        try:
            self.made = save(home, folder, told=self.told, wait=wait)
        except Exception as error:
            self.problem = error

    def ends(self) -> "Asking":
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self


def test_a_run_makes_the_backup_that_is_asked_for_at_its_next_commit(small: Path, tmp_path: Path) -> None:
    with Running(small) as run:
        first, second = Asking(small, tmp_path / "first"), Asking(small, tmp_path / "second")
        run.commits("create table main.committed as select 1 as x")
        run.commits("insert into main.committed values (2)")
        for asking in (first.ends(), second.ends()):
            assert asking.problem is None
            assert len(asking.told) == 1 and "it makes the backup at its next commit" in asking.told[0]
        run.commits("insert into main.committed values (3)")  # the run goes on
    assert not (small / "backup-requests").exists()
    for name in ("first", "second"):
        restore(tmp_path / f"of-{name}", tmp_path / name)
        assert tables(tmp_path / f"of-{name}")["main.committed"][0] in (1, 2)
    assert tables(small)["main.committed"][0] == 3


def test_when_the_run_ends_without_a_commit_the_waiting_command_makes_the_backup_itself(small: Path, tmp_path: Path) -> None:
    with Running(small):
        asking = Asking(small, tmp_path / "backup")
    assert asking.ends().problem is None
    assert tables_of_backup(tmp_path / "backup", tmp_path) == tables(small)


def tables_of_backup(folder: Path, tmp_path: Path) -> dict[str, Any]:
    restore(tmp_path / "restored", folder)
    return tables(tmp_path / "restored")


def test_a_run_that_was_killed_while_it_copied_leaves_no_half_backup(small: Path, tmp_path: Path) -> None:
    with Running(small):
        asking = Asking(small, tmp_path / "backup")
        (tmp_path / "backup" / "warehouse.duckdb").write_bytes(b"half")
    assert asking.ends().problem is None
    assert tables_of_backup(tmp_path / "backup", tmp_path) == tables(small)


def test_a_run_that_comes_to_no_commit_in_time_is_told_and_the_request_is_gone(small: Path, tmp_path: Path) -> None:
    with Running(small) as run:
        asking = Asking(small, tmp_path / "backup", wait=0.3).ends()
        assert isinstance(asking.problem, HomeInUse)
        assert "no commit" in str(asking.problem)
        run.commits()
    assert not (tmp_path / "backup").exists()
    assert not (small / "backup-requests").exists()


def test_a_backup_that_fails_harms_no_run_and_who_asked_hears_why(small: Path, tmp_path: Path) -> None:
    with Running(small) as run:
        asking = Asking(small, tmp_path / "backup")
        (tmp_path / "backup").rmdir()
        (tmp_path / "backup").write_text("in the way")
        run.commits("create table main.went_on as select 1 as x")
        assert isinstance(asking.ends().problem, MachineProblem)
        assert str(tmp_path / "backup") in str(asking.problem)
    assert "main.went_on" in tables(small)


def test_the_request_of_a_process_that_died_is_not_answered(small: Path, tmp_path: Path) -> None:
    (small / "backup-requests").mkdir()
    (tmp_path / "stale").mkdir()
    (small / "backup-requests" / "dead.json").write_text(json.dumps({"folder": str(tmp_path / "stale")}))
    (small / "backup-requests" / "torn.json").write_text("{")
    with Running(small) as run:
        run.commits()
    assert list((tmp_path / "stale").iterdir()) == []
    assert list((small / "backup-requests").glob("*.json")) == []


def command(home: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    values = {"PATH": "/usr/bin:/bin", "BINDWATCH_HOME": str(home), "BINDWATCH_CONFIG": str(POLICY), **environment}
    # Ctrl-C is ignored by what a shell starts in the background, and by its children: the tests may be such children
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from pipelines.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=values, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_interrupting_the_waiting_command_withdraws_its_request(small: Path, tmp_path: Path) -> None:
    with Running(small) as run:
        waiting = command(small, "backup", str(tmp_path / "backup"))
        assert waiting.stderr is not None
        assert "Waiting" in waiting.stderr.readline()
        while not list(small.glob("backup-requests/*.json")):
            time.sleep(0.01)
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=20)
        run.commits()
    assert waiting.returncode == 3
    assert "Interrupted by SIGINT while the home was being saved in" in errors
    assert "the request for one was withdrawn" in errors
    assert not (tmp_path / "backup").exists()
    assert not (small / "backup-requests").exists()


def test_a_run_stops_copying_when_nobody_waits_any_more(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_CHUNK", 1 << 16)
    pieces = 0
    with Running(small) as run:
        asking = Asking(small, tmp_path / "backup", wait=60)
        original = os.fsync
        request = next(small.glob("backup-requests/*.json"))

        def withdrawn() -> None:
            nonlocal pieces
            pieces += 1
            if pieces == 3:
                request.unlink()

        hidden = Path.exists

        def exists(path: Path) -> bool:
            if path == request:
                withdrawn()
            return hidden(path)

        monkeypatch.setattr(Path, "exists", exists)
        run.commits()
        monkeypatch.setattr(Path, "exists", hidden)
        assert not (tmp_path / "backup" / "warehouse.duckdb").exists()
        assert pieces == 3
        assert original is os.fsync
    asking.ends()


# ── a restore that is killed ─────────────────────────────────────────────────────────────────────────────────────────────────────

_STEPS = ("rename", "replace", "unlink", "fsync", "mkdir", "rmdir")


def killed_at(step: int, home: Path, folder: Path) -> bool:
    """Restores in a process that dies before its n-th change to the disk. Was it killed?"""

    def work() -> int:
        count = 0
        for name in _STEPS:
            original = getattr(os, name)

            def stepped(*arguments: Any, original: Any = original, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == step:
                    os._exit(77)
                return original(*arguments, **options)

            setattr(os, name, stepped)
        restore(home, folder)
        return 0

    code = in_child(work)
    assert code in (0, 77)
    return code == 77


def kill_restores(small: Path, tmp_path: Path, every: int) -> None:
    (small / "merge-plans").mkdir()
    (small / "merge-plans" / "plan.csv").write_text("master_id,loser_id\n")
    save(small, tmp_path / "backup")
    new = tables(small)
    interrupted_run(small)
    with sqlite3.connect(small / "decisions.sqlite") as connection:
        connection.execute("create table later (x)")
        connection.execute(
            """insert into bindwatch_decision (decided_at, decided_by, action, fingerprint, subject, check_name)
               values ('2026-01-01 00:00:00.000000', 'B', 'waive', 'f', 's', 'c')"""
        )
    old_log = (small / "warehouse.duckdb.wal").read_bytes()
    outcomes, step = [], 1 + int(time.time()) % every
    while True:
        home = copy_of(small, tmp_path / "copy")
        if not killed_at(step, home, tmp_path / "backup"):
            break
        with Warehouse(home).guard():  # what every command that writes does first
            pass
        is_old = (home / "published").exists()
        if is_old:
            assert (home / "warehouse.duckdb.wal").read_bytes() == old_log, f"step {step}"
            assert len(DecisionStore(home).read()) == 1, f"step {step}"
            assert "main.left_over" in tables(home), f"step {step}"
        else:
            assert tables(home) == new, f"step {step}"
            assert not (home / "warehouse.duckdb.wal").exists(), f"step {step}"
            (replaced,) = home.glob("replaced-*")
            assert (replaced / "warehouse.duckdb.wal").read_bytes() == old_log, f"step {step}"
            assert (home / "merge-plans" / "plan.csv").exists()
            assert len(DecisionStore(replaced).read()) == 1
        assert not (home / "restoring.json").exists()
        restore(home, tmp_path / "backup")  # and it can be done again
        assert tables(home) == new, f"step {step}"
        assert not list(home.glob("restoring-*"))
        outcomes.append(is_old)
        shutil.rmtree(home)
        step += every
    assert sorted(outcomes, reverse=True) == outcomes, "old until it counts, new from then on"
    assert set(outcomes) == {True, False}


def test_a_restore_killed_at_some_steps_leaves_the_old_home_or_the_new_one(small: Path, tmp_path: Path) -> None:
    kill_restores(small, tmp_path, every=17)


@pytest.mark.slow
def test_a_restore_killed_at_any_step_leaves_the_old_home_or_the_new_one(small: Path, tmp_path: Path) -> None:
    kill_restores(small, tmp_path, every=1)


def test_a_restore_waits_for_no_run_and_changes_nothing_while_one_goes_on(small: Path, tmp_path: Path) -> None:
    save(small, tmp_path / "backup")
    with Running(small):
        before = contents(small)
        with pytest.raises(HomeInUse, match="Another run is going on"):
            restore(small, tmp_path / "backup")
        assert contents(small) == before


@pytest.mark.slow  # nine processes
def test_the_commands_end_with_the_codes_of_the_contract(small: Path, tmp_path: Path) -> None:
    def ends(*arguments: str, home: Path = small) -> tuple[int, str, str]:
        process = command(home, *arguments)
        out, errors = process.communicate(timeout=60)
        assert "Traceback" not in out + errors
        return process.returncode, out, errors

    folder = str(tmp_path / "backup")
    code, out, _ = ends("backup", folder)
    assert code == 0 and "was saved in" in out
    assert ends("backup", folder)[0] == 2
    before = contents(small)
    code, _, errors = ends("restore-home", folder)
    assert code == 2 and "Give --yes" in errors
    assert ends("restore-home", str(tmp_path), "--yes")[0] == 2
    assert contents(small) == before
    code, out, _ = ends("restore-home", folder, "--yes")
    assert code == 0 and "is restored" in out
    with Running(small):
        assert ends("restore-home", folder, "--yes")[0] == 3
    (small / "warehouse.duckdb").write_bytes(b"")
    code, _, errors = ends("backup", str(tmp_path / "second"))
    assert code == 3 and "it is empty (0 bytes)" in errors and f"bindwatch restore-home {folder}" in errors


# ── damaged warehouses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def opened(home: Path) -> None:
    with Warehouse(home).connect() as connection:
        for (name,) in connection.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall():
            connection.execute(f"select bit_xor(hash(t)) from {name} as t").fetchall()


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 12288, 0.5, -1])
def test_a_warehouse_that_was_cut_off_is_called_damaged_and_left_as_it_is(small: Path, size: float) -> None:
    path = small / "warehouse.duckdb"
    length = path.stat().st_size
    os.truncate(path, int(length * size) if 0 < size < 1 else int(size) % length)
    before = contents(small)
    with pytest.raises(DamagedWarehouse) as raised:
        opened(small)
    assert str(path) in str(raised.value)
    assert "is damaged" in str(raised.value)
    assert "bindwatch restore-home" in str(raised.value)
    assert "shell" not in str(raised.value)
    assert contents(small) == before


def test_each_damaged_block_is_seen_and_free_ones_do_not_matter(small: Path, tmp_path: Path) -> None:
    path = small / "warehouse.duckdb"
    with Warehouse(small).connect() as connection:
        connection.execute("create table main.gone as select range as x, hash(range)::varchar as s from range(300000)")
        connection.execute("checkpoint")
        connection.execute("create table main.kept as select range as x, hash(range)::varchar as s from range(300000)")
        connection.execute("checkpoint")
        connection.execute("drop table main.gone")
        connection.execute("checkpoint")
        free = connection.execute("select free_blocks from pragma_database_size()").fetchone()
    assert free is not None and free[0] > 3
    assert damage_of(path) is None
    whole = path.read_bytes()
    places = [0, 4096, 8192, *range(12288, len(whole), 262144)]
    harmless = 0
    for place in places:
        content = bytearray(whole)
        content[place + 100 : place + 104] = bytes(byte ^ 0xFF for byte in content[place + 100 : place + 104])
        path.write_bytes(content)
        if damage_of(path) is None:
            harmless += 1
            opened_copy = duckdb.connect(str(path), read_only=True)
            assert opened_copy.execute("select bit_xor(hash(t)) from main.thing as t").fetchone()
            opened_copy.close()
    assert 3 < harmless <= free[0] + 1
    assert len(places) - harmless > 5


def test_a_home_that_had_runs_is_not_begun_anew_in_silence(small: Path, tmp_path: Path) -> None:
    note_end_of_run(small)
    (small / "warehouse.duckdb").unlink()
    for sign in ("home.json", "published"):
        with pytest.raises(DamagedWarehouse, match="is missing, although runs took place"):
            opened(small)
        shutil.rmtree(small / sign) if (small / sign).is_dir() else (small / sign).unlink()
    opened(small)  # nothing tells of a run: it is the first one
    # of the log alone DuckDB would make a new and empty warehouse
    log = interrupted_run(small)
    (small / "warehouse.duckdb").unlink()
    opened(small)
    assert list(small.glob("warehouse.duckdb.wal.unusable-*"))
    assert not log.exists()


def test_a_warehouse_that_is_damaged_before_any_run_has_ended_in_it_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(tmp_path)
    os.truncate(tmp_path / "warehouse.duckdb", 5000)
    opened(tmp_path)
    assert "No run has ended in it yet, so everything is pulled again" in caplog.text
    note_end_of_run(tmp_path)
    os.truncate(tmp_path / "warehouse.duckdb", 5000)
    with pytest.raises(DamagedWarehouse, match="is damaged"):
        opened(tmp_path)


def test_a_first_run_that_was_killed_while_it_made_the_warehouse_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "warehouse.duckdb.new").write_bytes(b"half")
    (tmp_path / "warehouse.duckdb").touch()
    opened(tmp_path)
    assert not (tmp_path / "home.json").exists()  # it tells that a run has ended


@pytest.mark.parametrize("way", ["zeroed", "turned over", "of another file", "of an older state", "a folder"])
def test_a_log_that_cannot_be_replayed_is_set_aside_and_told(small: Path, tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture) -> None:
    log = interrupted_run(small)
    if way == "zeroed":
        content = bytearray(log.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        log.write_bytes(content)
    elif way == "turned over":
        damage(log, 0.01, 8)
    elif way == "of another file":
        make_empty(other := tmp_path / "other.duckdb")  # no copy (tests/plain.py): DuckDB would take it for the same file
        other.replace(small / "warehouse.duckdb")
        with pytest.raises(duckdb.IOException, match="WAL does not match database file"):
            duckdb.connect(str(small / "warehouse.duckdb"))
    elif way == "of an older state":
        kept = log.read_bytes()
        opened(small)
        log.write_bytes(kept)
    else:
        log.unlink()
        log.mkdir()
    with caplog.at_level(logging.WARNING, "bindwatch"):
        opened(small)
    (aside,) = small.glob("warehouse.duckdb.wal.unusable-*")
    assert aside.name in caplog.text
    assert "it is pulled again" in caplog.text
    opened(small)


def test_a_whole_log_beside_a_damaged_file_is_not_set_aside(small: Path) -> None:
    log = interrupted_run(small)
    damage(small / "warehouse.duckdb", 0.5)
    kept = log.read_bytes()
    with suppress(DamagedWarehouse):
        opened(small)
    assert not list(small.glob("*.unusable-*"))
    assert kept


@pytest.mark.parametrize("way", ["zeroed", "turned over"])
def test_a_damaged_file_beside_a_damaged_log_is_called_damaged(small: Path, way: str) -> None:
    """Neither the log nor the file can be used, so the way back is the backup's."""
    log = interrupted_run(small)
    note_end_of_run(small)
    path = small / "warehouse.duckdb"
    if way == "zeroed":
        for file in (path, log):
            content = bytearray(file.read_bytes())
            content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
            file.write_bytes(content)
    else:
        damage(path, 0.5)
        damage(log, 0.01, 8)
    with pytest.raises(DamagedWarehouse, match="is damaged"):
        opened(small)


def test_only_a_warehouse_that_is_open_elsewhere_asks_to_close_a_shell(small: Path) -> None:
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(small / "warehouse.duckdb")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with pytest.raises(WarehouseProblem, match="close it and run again") as raised:
            opened(small)
        assert not isinstance(raised.value, DamagedWarehouse)
    finally:
        holder.communicate("")


def test_a_block_that_turns_out_damaged_in_a_run_ends_it_unproven_with_the_way_back(portal: Portal, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute("select block_id from pragma_storage_info('raw.hubspot_contact') where block_id >= 0").fetchall()
    block = max(row[0] for row in rows)
    damage(home / "warehouse.duckdb", (12288 + block * 262144 + 4096) / (home / "warehouse.duckdb").stat().st_size)
    result = portal.run(monkeypatch, home)
    assert result.exit_code == 3
    assert "is damaged" in (result.problem or "") and "bindwatch restore-home" in (result.problem or "")
    manifest = check_manifest(home)
    assert (manifest["verdict"], manifest["run_id"]) == ("unproven", result.run_id)


def test_a_note_of_an_interrupted_restore_that_is_damaged_is_named(small: Path) -> None:
    (small / "restoring.json").write_text("{")
    with pytest.raises(MachineProblem, match=r"restoring\.json is damaged"), Warehouse(small).guard():
        pass
