"""Homes for tests of backups: one that runs have written, copied for each test, and ways to look at and to damage it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.published.decisions import Decision, DecisionStore
from assets.published.worklist import Filter, Worklist
from assets.warehouse.file import Warehouse
from pipelines.guarded_run import RunResult
from sandbox.integration import poll
from sandbox.story import Story
from sandbox.world import id18
from tests.live import ROOT, runner, served, some_days_ago

POLICY = ROOT / "sandbox" / "bindwatch.toml"


@dataclass(frozen=True)
class Portal:
    """A home after a green run and a decision, and the CRMs behind it."""

    home: Path
    policy: Path
    environment: dict[str, str]
    story: Story

    def run(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> RunResult:
        """A run on a copy of the home, against the same CRMs."""
        return runner(monkeypatch, home, self.policy)(self)  # of a server it needs the environment


@contextmanager
def lived_in(folder: Path) -> Iterator[Portal]:
    """A portal with one finding, which warns: a run, a waiver, a certificate, a merge plan. Its CRMs have the time of this machine."""
    story = Story([], 1, some_days_ago(0))
    for number in range(30):
        story.world.create_record("Contact", {"FirstName": "Ann", "LastName": f"Lee {number}", "Email": f"ann{number}@example.com"})
    poll(story.world, story.settings)
    story.world.create_contact({"email": "bob@example.com", "salesforceleadid": id18("00Q9z00000Gone1")}, "IMPORT")
    policy = folder / "bindwatch.toml"
    policy.write_text('[checks.bound_record_unknown]\nseverity = "warn"\n')
    with served(story, folder / "sandbox") as server:
        portal = Portal(folder / "home", policy, server.environment, story)
        with pytest.MonkeyPatch.context() as patch:
            assert portal.run(patch, portal.home).exit_code == 0
        store = DecisionStore(portal.home)
        (finding,) = Worklist(portal.home, store).find(Filter(checks=("bound_record_unknown",)))
        store.record([Decision("waive", "Ann", finding, reason="a former org", waived_until=datetime(2099, 1, 1))])
        (portal.home / "merge-plans").mkdir()
        (portal.home / "merge-plans" / "plan.csv").write_text("master_id,loser_id\n")
        portal.home.chmod(0o700)
        yield portal


def tables(home: Path) -> dict[str, Any]:
    """Every table of the warehouse and of the decisions: how many rows, and a checksum of all values."""
    with closing(duckdb.connect(str(home / "warehouse.duckdb"), read_only=True)) as connection:
        names = connection.execute("select schema_name || '.' || table_name from duckdb_tables() order by 1").fetchall()
        found: dict[str, Any] = {name: connection.execute(f"select count(*), bit_xor(hash(t)) from {name} as t").fetchone() for (name,) in names}
    return found | {"decisions": DecisionStore(home).read()}


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with a checksum, every link with its target; the lock, which is empty, left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "run.lock":
            continue
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else "folder" if path.is_dir() else sha256(path.read_bytes()).hexdigest()
    return found


def damage(path: Path, at: float, length: int = 64) -> None:
    """Changes every byte of a range of a file; at: 0 its beginning, 1 its end."""
    content = bytearray(path.read_bytes())
    start = min(int(at * len(content)), max(0, len(content) - length))
    for place in range(start, min(start + length, len(content))):
        content[place] ^= 1 + place * 7 % 255
    path.write_bytes(content)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of its own with so many bytes. Skips where this process may not mount one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this process may not mount a small disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def in_child(work: Callable[[], int]) -> int:
    """Does something in a forked process, and returns its exit code; 99 when it raised."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def interrupted_run(home: Path, table: str = "left_over") -> Path:
    """A process that is killed after a commit leaves its log beside the warehouse. Returns the log."""

    def work() -> int:
        with Warehouse(home).connect() as connection:
            connection.execute(f"create table main.{table} as select range as x, repeat('abc', 20) as s from range(2000)")
            os._exit(0)

    assert in_child(work) == 0
    log = home / "warehouse.duckdb.wal"
    assert log.stat().st_size > 10_000
    return log


def copy_of(home: Path, to: Path) -> Path:
    shutil.copytree(home, to, symlinks=True)
    return to


def days(number: float) -> timedelta:
    return timedelta(days=number)
