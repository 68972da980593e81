"""A run is published while people work at the desk."""

import csv
import errno
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from threading import Event, Timer
from typing import Any
from weakref import ReferenceType, ref

import duckdb
import pytest

from assets.files import set_aside
from assets.problems import WarehouseProblem
from assets.published.decisions import DecisionStore
from assets.published.publish import publish_verdict
from assets.published.snapshot import open_folder, published_folder, read_manifest
from review import desk_data, near
from review.desk_data import Desk, Snapshot
from tests.desk.portal import Visitor, served

NOTICE = "A newer run is being opened. Until then you see the one before."


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Event:
    """A large portal: opening another run takes until this is set; people wait for a moment only."""
    go_on, read = Event(), Desk._read

    def slow(self: Desk) -> Any:
        assert self._snapshot is None or go_on.wait(30)
        return read(self)

    monkeypatch.setattr(desk_data, "LARGE", 0)
    monkeypatch.setattr(desk_data, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(Desk, "_read", slow)
    return go_on


def run_shown_to(visitor: Visitor) -> str:
    return " ".join("".join(visitor.open().texts("//footer")).split())


def publish(home: Path, run_id: str) -> None:
    publish_verdict(duckdb.connect(), home, {}, {"run_id": run_id})


def until(holds: Callable[[], bool]) -> bool:
    for _ in range(500):
        if holds():
            return True
        time.sleep(0.01)
    return False


def test_a_desk_that_starts_opens_the_last_run_before_somebody_comes(home: Path, tmp_path: Path) -> None:
    def desk(of: Path) -> Desk:
        desk = Desk(of, lambda: DecisionStore(home))
        desk.open_ahead()
        return desk

    started = desk(home)
    assert until(lambda: started._snapshot is not None)
    with pytest.raises(WarehouseProblem, match="no published snapshot yet"):
        desk(tmp_path / "nothing-yet").snapshot()


def test_what_was_new_to_the_run_before_is_not_new_to_one_that_built_nothing(home: Path, ann: Visitor) -> None:
    assert ann.open().texts("//*[@class='figure']")[0] == "1 new"
    publish_verdict(duckdb.connect(), home, {}, {"run_id": "newer", "built": {"seen_until": "2026-03-31T00:00:00Z"}})
    assert ann.open().texts("//*[@class='figure']")[0] == "0 new"
    assert len(ann.open("/findings").texts("//tbody/tr")) == 2


def test_after_a_run_that_built_nothing_all_is_looked_up_where_it_was_and_says_what_is_so_now(
    home: Path, own_near: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    copy = near._copy

    def noting(connection: duckdb.DuckDBPyConnection, path: Path, folder: Path) -> None:
        made.append(path)
        copy(connection, path, folder)

    monkeypatch.setattr(near, "_copy", noting)
    with served(home) as address:
        ann = Visitor(address)
        assert len(ann.open("/cases?new=1").texts("//tbody/tr")) == 1
        for day in ("2026-03-31", "2026-04-01"):
            publish_verdict(duckdb.connect(), home, {}, {"run_id": day, "built": {"seen_until": f"{day}T00:00:00Z"}})
            assert ann.open("/cases?new=1").texts("//tbody/tr") == []
            assert {row["last_seen_at"][:10] for row in csv.DictReader(ann.open("/export/worklist.csv").answer.text.splitlines())} == {day}
    assert len(made) == 1


def test_until_it_is_open_people_see_the_run_before_and_are_told(home: Path, ann: Visitor, opening: Event) -> None:
    before = run_shown_to(ann)
    publish(home, "newer-run")

    assert run_shown_to(ann) == before
    assert NOTICE in ann.open("/cases").text

    opening.set()
    assert until(lambda: "newer-ru" in run_shown_to(ann))
    assert NOTICE not in ann.open("/cases").text


def test_a_snapshot_that_nobody_looks_at_any_more_is_not_kept(home: Path, ann: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[ReferenceType[Snapshot]] = []
    read = Desk._read

    def noting(self: Desk) -> Snapshot:
        snapshot = read(self)
        opened.append(ref(snapshot))
        return snapshot

    monkeypatch.setattr(Desk, "_read", noting)
    for number in range(5):
        publish(home, f"run-{number}")
        ann.open("/cases")
    assert len(opened) == 5
    assert until(lambda: sum(one() is not None for one in opened) <= 2)


def test_what_a_cleaner_of_temporary_folders_took_is_made_again(home: Path) -> None:
    folder = published_folder(home)
    looked_up = near.Near(read_manifest(folder))
    looked_up.attach(open_folder(folder), folder)
    shutil.rmtree(looked_up.folder.name)
    looked_up.attach(connection := open_folder(folder), folder)
    assert connection.execute("select count(*) from near.found").fetchone() == (2,)


def test_people_wait_for_a_run_once_and_not_on_every_page(home: Path, ann: Visitor, opening: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float | None] = []

    def noting(openings: Any, seconds: float | None) -> Any:
        waited.append(seconds)
        return wait(openings, seconds)

    run_shown_to(ann)
    publish(home, "newer-run")
    monkeypatch.setattr(desk_data, "wait", noting)
    monkeypatch.setattr(desk_data, "PATIENCE_SECONDS", 0.2)
    for path in ("/", "/cases", "/findings"):
        assert NOTICE in ann.open(path).text
    assert waited[0] and waited[1:] == [0, 0]
    opening.set()


def test_a_small_portal_is_waited_for_however_busy_the_machine_is(home: Path, ann: Visitor, opening: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    run_shown_to(ann)
    publish(home, "newer-run")
    monkeypatch.setattr(desk_data, "LARGE", 20_000)
    Timer(0.3, opening.set).start()
    assert "newer-ru" in run_shown_to(ann)


def test_memory_that_somebody_needs_is_no_reason_not_to_open_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_MEMORY", "1MB")
    connection = duckdb.connect()
    connection.execute("set temp_directory = ''; create table needed as from range(500_000)")
    near.let_go(connection)
    assert connection.execute("select count(*) from needed").fetchall() == [(500_000,)]


def test_a_run_that_cannot_be_opened_is_told_however_long_that_took(home: Path, ann: Visitor, opening: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    run_shown_to(ann)
    publish(home, "newer-run")

    def fail(folder: Path) -> Any:
        raise WarehouseProblem("The snapshot is damaged.")

    monkeypatch.setattr(desk_data, "read_manifest", fail)
    assert NOTICE in ann.open("/cases").text

    opening.set()
    assert until(lambda: "The snapshot is damaged." in ann.open().text)


def test_when_duckdb_gives_up_the_next_page_opens_the_run_anew(home: Path, ann: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[duckdb.DuckDBPyConnection] = []

    def open_noting(folder: Path) -> duckdb.DuckDBPyConnection:
        opened.append(open_folder(folder))
        return opened[-1]

    monkeypatch.setattr(desk_data, "open_folder", open_noting)
    before = run_shown_to(ann)
    opened[0].close()  # as after an error of DuckDB's own: nothing can be done with it any more
    assert run_shown_to(ann) == before
    assert len(ann.open("/findings").texts("//tbody/tr")) == 2
    assert len(opened) == 2


def test_nobody_is_shown_a_run_that_was_removed(home: Path, ann: Visitor, opening: Event) -> None:
    run_shown_to(ann)
    opening.set()
    before = published_folder(home)
    publish(home, "newer-run")
    shutil.rmtree(before)

    assert "newer-ru" in run_shown_to(ann)


def test_a_run_is_read_to_its_end_however_often_the_next_ones_publish(home: Path) -> None:
    before = published_folder(home)
    os.utime(before, (0, 0))  # it was current for long
    with open_folder(before) as reader:
        for number in range(5):
            publish(home, f"run-{number}")
        assert reader.execute("select count(*) from published.finding").fetchall() != [(0,)]

    for folder in before.parent.iterdir():
        os.utime(folder, (1, 1))
    publish(home, "next-day")
    publish(home, "the-day-after")
    assert len([path for path in before.parent.iterdir() if not path.is_symlink()]) == 3  # these, and what was current a moment ago


def test_a_run_is_read_to_its_end_also_when_the_clock_went_back(home: Path) -> None:
    ahead = published_folder(home)
    os.utime(ahead, (time.time() + 3600,) * 2)  # published before the clock went back by an hour
    publish(home, "newer-run")
    newer = published_folder(home)
    with open_folder(newer) as reader:
        publish(home, "newest-run")
        assert reader.execute("select count(*) from published.finding").fetchall() != [(0,)]
    assert ahead.stat().st_mtime <= time.time()  # it stays two minutes, and not an hour


@pytest.mark.parametrize("fails_at, is_published", [("write_whole", False), ("_remove_old", True)], ids=["before the switch", "after it"])
def test_a_snapshot_that_did_not_become_current_is_not_left_lying(home: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str, is_published: bool) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = published_folder(home)
    with monkeypatch.context() as patched:
        patched.setattr(f"assets.published.publish.{fails_at}", fail)
        with pytest.raises(OSError, match="No space"):
            publish(home, "newer-run")
    assert (published_folder(home) != before) == is_published
    assert {path for path in before.parent.iterdir() if not path.is_symlink()} == {before, published_folder(home)}


def test_a_snapshot_of_another_user_is_replaced_all_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    before = published_folder(home)
    monkeypatch.setattr(os, "utime", refuse)
    publish(home, "newer-run")
    assert published_folder(home) != before


def test_only_snapshots_are_removed_and_one_that_cannot_be_removed_ends_no_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = published_folder(home)
    former = shutil.copytree(before, before.with_name("20260101T000000-0a1b2c"))
    aside, foreign = set_aside(shutil.copytree(before, before.with_name("20260101T000000-4d5e6f")), "cannot be read"), before.with_name("lost+found")
    foreign.mkdir()
    for folder in (former, aside, foreign):
        os.utime(folder, (1, 1))

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path / "run.parquet"))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuse)
        publish(home, "newer-run")
    assert f"{former} cannot be removed (Permission denied)" in caplog.text

    publish(home, "newest-run")
    assert [folder.exists() for folder in (former, aside, foreign)] == [False, True, True]
