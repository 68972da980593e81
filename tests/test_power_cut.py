"""After a power cut the next run gives the truth, or says that it cannot and how to go on. tests/power_cut.py does it by the thousand."""

import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from assets.files import UNUSABLE
from pipelines.dagster_home import damage_of, prepare_folder
from tests.command import environment_of, fork, kill_after
from tests.live import published, served, snapshot, story_of
from tests.power_cut import KINDS, MEMORY, Tally, damage, damage_some, some_faults, written_since


def test_after_some_power_cuts_the_next_run_gives_the_truth(tmp_path: Path) -> None:
    tally = some_faults(range(10), tmp_path)
    assert tally.failures == []
    assert tally.faults.total() >= 10


@pytest.mark.slow  # the whole ten thousand take an hour: python -m tests.power_cut 10000
def test_after_hundreds_of_power_cuts_the_next_run_gives_the_truth_and_few_need_the_backup(tmp_path: Path) -> None:
    tally = some_faults(range(1_000, 1_400), tmp_path)
    assert tally.failures == []
    assert tally.unproven.total() <= 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_fifty_power_cuts_into_the_real_command(tmp_path: Path) -> None:
    story = story_of(60)
    tally = Tally()
    with served(story, tmp_path / "sandbox") as server:
        before, reference = tmp_path / "before", tmp_path / "reference"
        assert fork(["run"], environment_of(before, server.environment), tmp_path / "o", dagster_on_disk=True).code in (0, 1)
        story.advance(3)
        shutil.copytree(before, reference, symlinks=True)
        started = time.monotonic()
        assert fork(["run"], environment_of(reference, server.environment), tmp_path / "o", dagster_on_disk=True).code in (0, 1)
        took, expected = time.monotonic() - started, {len(published(reference, "run")): snapshot(reference)}
        # one that was killed when it had recorded its end was a run: the next one is the third
        assert fork(["run"], environment_of(reference, server.environment), tmp_path / "o", dagster_on_disk=True).code in (0, 1)
        expected[len(published(reference, "run"))] = snapshot(reference)
        assert sorted(expected) == [2, 3]
        unproven = 0
        for seed in range(50):
            dice = random.Random(seed)
            home = tmp_path / "home"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(before, home, symlinks=True)
            environment = environment_of(home, server.environment)
            kill_after(dice.uniform(0.1, 0.95) * took, ["run"], environment, tmp_path / "o")
            written = written_since(home, time.time() - 1)
            hit, done = damage_some(home, written, dice, tally) if written else ([], "nothing")
            ended = fork(["run"], environment, tmp_path / "o", dagster_on_disk=True)
            assert "Unexpected" not in ended.text, f"seed {seed}, {done}: {ended.text}"
            if ended.code == 3:
                unproven += 1
                assert set(hit) & set(MEMORY), f"seed {seed}, {done}: {ended.text}"
                assert "damaged" in ended.text or "missing" in ended.text
                shutil.rmtree(home)
                shutil.copytree(before, home, symlinks=True)
                ended = fork(["run"], environment, tmp_path / "o", dagster_on_disk=True)
            assert ended.code in (0, 1), f"seed {seed}, {done}: {ended.text}"
            found = snapshot(home)
            differing = [table for table, rows in expected[len(published(home, "run"))].items() if found[table] != rows]
            assert differing == [], f"seed {seed}, {done}"
        assert unproven <= 5


# ── Dagster's own files ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def history(folder: Path) -> Path:
    database = folder / "history" / "runs.db"
    database.parent.mkdir(parents=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("create table runs (body text)")
        connection.executemany("insert into runs values (?)", [("x" * 3000,)] * 200)
        connection.commit()
    return database


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gone"])
@pytest.mark.parametrize("seed", range(4))
def test_a_history_of_dagster_that_is_damaged_is_set_aside(tmp_path: Path, kind: str, seed: int) -> None:
    database = history(tmp_path)
    assert damage_of(database) is None
    damage(database, kind, random.Random(seed))
    is_empty = database.stat().st_size == 0  # SQLite begins anew in an empty file
    prepare_folder(tmp_path, is_ours=True)
    assert database.exists() is is_empty
    assert bool(list(database.parent.glob(f"runs.db{UNUSABLE}*"))) is not is_empty


def test_a_dagster_that_serves_others_too_is_left_alone(tmp_path: Path) -> None:
    database = history(tmp_path)
    (tmp_path / "dagster.yaml").write_text("\0\0")
    damage(database, "half", random.Random(1))
    before = database.read_bytes()
    prepare_folder(tmp_path, is_ours=False)
    assert (database.read_bytes(), (tmp_path / "dagster.yaml").read_text()) == (before, "\0\0")


@pytest.mark.parametrize("content", ["", "\0\0\0", "telemetry: [", "a: b: c"])
def test_a_dagster_yaml_that_cannot_be_read_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "dagster.yaml").write_text(content)
    prepare_folder(tmp_path, is_ours=True)
    assert "max_concurrent_runs" in (tmp_path / "dagster.yaml").read_text()
    assert len(list(tmp_path.glob(f"dagster.yaml{UNUSABLE}*"))) == 1


def test_a_dagster_yaml_that_somebody_edited_stays(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    prepare_folder(tmp_path, is_ours=True)
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry:\n  enabled: true\n"
