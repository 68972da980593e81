"""The published snapshot, as it is read: one Parquet file per table and a manifest, switched as a whole.

    published/<snapshot id>/*.parquet, manifest.json
    published/current  →  the snapshot id

A reader that resolves the link once reads one run's tables, also while the next run writes.
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from assets.problems import WarehouseProblem
from assets.published.contract import TABLES
from assets.sql import SQL_FOLDER, literal


def current_folder(home: Path) -> Path | None:
    """The snapshot that is current now, or None."""
    link = home / "published" / "current"
    return link.resolve() if (link / "manifest.json").exists() else None


def published_folder(home: Path) -> Path:
    """The snapshot that is current now. Raises WarehouseProblem when there is none."""
    folder = current_folder(home)
    if folder is None:
        raise WarehouseProblem(f"{home} has no published snapshot yet. Run `bindwatch run` first.")
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises WarehouseProblem when it cannot be read."""
    manifest = parse_manifest(folder)
    if manifest is None:
        raise WarehouseProblem(f"The snapshot in {folder} is damaged: its manifest.json cannot be read. `bindwatch run` publishes a new one.")
    return manifest


def parse_manifest(folder: Path) -> dict[str, Any] | None:
    """None when it cannot be read."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and {"run_id", "verdict", "files"} <= manifest.keys() else None


def open_snapshot(home: Path) -> duckdb.DuckDBPyConnection:
    """The current snapshot for queries, as open_folder gives it. Raises WarehouseProblem when there is none."""
    return open_folder(published_folder(home))


def open_folder(folder: Path, tables: Iterable[str] | None = None) -> duckdb.DuckDBPyConnection:
    """A snapshot for queries: its tables as published.<name>, and the shared expressions of the models.

    folder: what current_folder returned. The link is resolved there, so all tables are of one run, also while another run publishes. tables: which
    alone, for who needs no more of them. Raises WarehouseProblem when an older version published it.
    """
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    for statement in _macros():
        connection.execute(statement)
    connection.execute("create schema published")
    columns = {"finding": finding_columns(seen_until(folder))}
    for path in folder.glob("*.parquet") if tables is None else (folder / f"{name}.parquet" for name in tables):
        try:
            connection.execute(f"create view published.{path.stem} as select {columns.get(path.stem, '*')} from read_parquet({literal(str(path))})")
        except duckdb.InvalidInputException as error:
            raise WarehouseProblem(f"The snapshot in {folder} is damaged: {path.name} cannot be read. `bindwatch run` publishes a new one.") from error
    missing = [name for name in TABLES if not (folder / f"{name}.parquet").exists()]
    if not missing and tables is None and (folder / "run.parquet").exists() and "run_no" not in connection.table("published.run").columns:
        missing = ["run_no in run"]
    if missing:
        raise WarehouseProblem(f"The snapshot in {folder} was published by an older version: {', '.join(missing)} is missing. Run `bindwatch run` once.")
    return connection


@cache
def _macros() -> list[duckdb.Statement]:
    """Parsed once in a process: a third of what they take."""
    return duckdb.extract_statements((SQL_FOLDER / "raw" / "macros.sql").read_text("utf-8"))


def seen_until(folder: Path) -> str | None:
    """When a run found the findings' file of an earlier one to be as it is, the latest that did; None where the run of the snapshot wrote it."""
    built = (parse_manifest(folder) or {}).get("built") or {}
    return built.get("seen_until") or None


def finding_columns(until: str | None) -> str:
    """SQL: the columns of the findings in that file: who found it to be as it is saw them, too, and nothing of them was new to it. until: as seen_until."""
    if until is None:
        return "*"
    last_seen = f"case when resolved_at is null then cast({literal(until)} as timestamp) else last_seen_at end"
    return f"* replace ({last_seen} as last_seen_at, cast(null as varchar) as change)"
