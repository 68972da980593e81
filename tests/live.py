"""Runs over real HTTP against a sandbox in a thread, whose world a test can reach into."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.published.contract import TABLES
from assets.pull import hubspot_portal
from pipelines import guarded_run
from pipelines.guarded_run import RunResult, execute
from sandbox.people import make_people
from sandbox.server import SandboxServer
from sandbox.story import Story
from tests.memory_instance import memory_instance
from tests.plain import connect_plainly, pace_of_the_sandbox

ROOT = Path(__file__).parent.parent


def some_days_ago(days: float) -> datetime:
    return (datetime.now(UTC) - timedelta(days=days)).replace(microsecond=0)


def story_of(people: int, seed: int = 1, days_ago: float = 5) -> Story:
    until = some_days_ago(days_ago)
    return Story(make_people(people, seed, until), seed, until)


@contextmanager
def served(
    story: Story, folder: Path, hidden: frozenset[str] = frozenset(), hubspot_limit: int | None = None, refused_versions: frozenset[str] = frozenset()
) -> Iterator[SandboxServer]:
    folder.mkdir(parents=True, exist_ok=True)
    server = SandboxServer(story, folder, hidden=hidden, hubspot_limit=hubspot_limit, refused_versions=refused_versions)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


Run = Callable[..., RunResult]


def runner(monkeypatch: pytest.MonkeyPatch, home: Path, policy: Path = ROOT / "sandbox" / "bindwatch.toml", optimized: bool = False) -> Run:
    """A function that executes one guarded run in this process: run(server, full=False, **environment).

    The Dagster instance is in memory: the one on disk spends five seconds a run on its event log. The demo in .ci/run has a real one.
    optimized: by DuckDB, which is worth it from some hundred people on.
    """
    instance = memory_instance()
    monkeypatch.setattr(hubspot_portal, "Pace", pace_of_the_sandbox)
    if not optimized:
        monkeypatch.setattr(duckdb, "connect", connect_plainly)
    monkeypatch.setattr(guarded_run, "prepare_instance", lambda: nullcontext(instance))

    def run(server: SandboxServer, full: bool = False, **environment: str) -> RunResult:
        values = {**server.environment, "BINDWATCH_HOME": str(home), "BINDWATCH_CONFIG": str(policy), **environment}
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return execute(full)

    return run


def published(home: Path, table: str) -> list[dict[str, Any]]:
    relation = duckdb.execute("from read_parquet(?)", [str(home / "published" / "current" / f"{table}.parquet")])
    names = [column[0] for column in relation.description or []]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


# Which run saw a finding, and when, is not a fact about the CRMs. A run killed after it had written its memory was one.
_VOLATILE = {"finding": "first_seen_at, last_seen_at, resolved_at, open_since, open_run_no, change", "finding_event": "run_id, happened_at"}


def snapshot(home: Path) -> dict[str, list[str]]:
    """Every published table as sorted lines, without the times of the runs themselves."""
    tables = {}
    for table in TABLES:
        path = str(home / "published" / "current" / f"{table}.parquet")
        excluded = f"exclude ({_VOLATILE[table]})" if table in _VOLATILE else ""
        rows = duckdb.execute(
            f"select cast(row_text as varchar) from (select to_json(t) as row_text from (select * {excluded} from read_parquet(?)) as t)", [path]
        )
        tables[table] = sorted(row[0] for row in rows.fetchall())
    return tables


def check_manifest(home: Path) -> dict[str, Any]:
    """The manifest of the current snapshot, after making sure that it tells the truth about its files."""
    folder = home / "published" / "current"
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert set(manifest["files"]) == {path.name for path in folder.glob("*.parquet")}
    for name, file in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file["sha256"]
        assert duckdb.execute("select count(*) from read_parquet(?)", [str(folder / name)]).fetchone() == (file["rows"],)
    return manifest
