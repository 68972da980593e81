"""The published snapshot: one Parquet file per table and a manifest, switched as a whole.

    published/<snapshot id>/*.parquet, manifest.json
    published/current  →  the snapshot id

`current` is a link that is replaced in one step. A reader that resolves it once reads one run's tables, also while the next run writes.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import duckdb

from assets.files import read_json, sealed, set_aside, share_like_parent, sync_file, sync_folder, write_whole
from assets.problems import WarehouseProblem
from assets.warehouse import SQL_FOLDER

Verdict = Literal["pass", "fail", "unproven"]

# What is published, and the columns that others rely on, in the order of the contract. More columns may follow.
TABLES = {
    "salesforce_person": "core.salesforce_person",
    "hubspot_contact": "core.hubspot_contact",
    "duplicate_cluster": "core.duplicate_cluster",
    "cluster_member": "core.cluster_member",
    "binding": "core.binding",
    "switch_event": "core.switch_event",
    "overwrite": "core.overwrite",
    "overwritten_value": "core.overwritten_value",
    "merge_event": "core.merge_event",
    "merge_advice": "core.merge_advice",
    "restorable_value": "core.restorable_value",
    "backfilled_value": "core.backfilled_value",
    "restorable_contact": "core.restorable_contact",
    "departure": "core.departure",
    "planned_merge": "core.planned_merge",
    "policy_variant": "core.policy_variant",
    "policy_prediction": "core.policy_prediction",
    "prediction_score": "core.prediction_score",
    "finding": "review.finding",
    "finding_event": "review.finding_event",
    "planned_merge_event": "review.planned_merge_event",
    "contact_detail": "review.contact_detail",
    "record_detail": "review.record_detail",
    "edit": "review.edit",
    # what the run was told, for whoever explains its findings
    "policy": "main.policy",
    "field_mapping": "main.field_mapping",
    "salesforce_field": "raw.salesforce_field",
    "check_policy": "main.check_policy",
}
_INTERNAL_COLUMNS = {"pull_no"}
_KEEP = 3


def publish_tables(connection: duckdb.DuckDBPyConnection, home: Path, memory: dict[str, str], manifest: dict[str, Any]) -> Path:
    """Writes every table to a new snapshot and makes it the current one. Returns its folder.

    memory: queries for `run` and `check_run`; manifest: what else the manifest says (run id, times, verdict, coverage).
    """
    folder = _new_folder(home)
    for name, table in TABLES.items():
        columns = [row[0] for row in connection.execute(f"describe {table}").fetchall() if row[0] not in _INTERNAL_COLUMNS]
        _write(connection, f"select {', '.join(columns)} from {table}", folder / f"{name}.parquet")
    _write_all(connection, memory, folder)
    return _switch(connection, home, folder, manifest)


def publish_verdict(connection: duckdb.DuckDBPyConnection, home: Path, memory: dict[str, str], changes: dict[str, Any]) -> Path | None:
    """Publishes the current snapshot again with a new manifest and memory; the other files are the same. None without a snapshot, or when its
    manifest cannot be read: then it is set aside.

    memory: as in publish_tables; changes: what to replace in the manifest.
    """
    current = current_folder(home)
    if current is None:
        return None
    if (manifest := _parse_manifest(current)) is None:
        set_aside(current, "has a manifest that cannot be read")
        return None
    folder = _new_folder(home)
    for path in current.glob("*.parquet"):
        if path.stem not in memory:
            os.link(path, folder / path.name)
    _write_all(connection, memory, folder)
    known = {name: file for name, file in manifest["files"].items() if Path(name).stem not in memory}
    return _switch(connection, home, folder, {**manifest, **changes}, known)


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
    manifest = _parse_manifest(folder)
    if manifest is None:
        raise WarehouseProblem(f"The snapshot in {folder} is damaged: its manifest.json cannot be read. `bindwatch run` publishes a new one.")
    return manifest


def _parse_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and {"run_id", "verdict", "files"} <= manifest.keys() else None


def read_certificate(home: Path) -> dict[str, Any] | None:
    """Of certified/binding.parquet: run_id, certified_at (UTC), rows, sha256. None when nothing was ever certified."""
    path = home / "certified" / "certificate.json"
    certificate = read_json(path)
    if certificate is None:
        return None
    binding = home / "certified" / "binding.parquet"
    if isinstance(certificate, dict) and binding.exists() and certificate.get("sha256") == _digest(binding):
        return certificate
    set_aside(path, "does not fit the certified bindings beside it, so nothing is certified until the next green run")
    return None


def open_snapshot(home: Path) -> duckdb.DuckDBPyConnection:
    """The current snapshot for queries, as open_folder gives it. Raises WarehouseProblem when there is none."""
    return open_folder(published_folder(home))


def open_folder(folder: Path) -> duckdb.DuckDBPyConnection:
    """A snapshot for queries: its tables as published.<name>, and the shared expressions of the models.

    folder: what current_folder returned. The link is resolved there, so all tables are of one run, also while another run publishes. Raises
    WarehouseProblem when an older version published it.
    """
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.execute((SQL_FOLDER / "raw" / "macros.sql").read_text("utf-8"))
    connection.execute("create schema published")
    for path in folder.glob("*.parquet"):
        try:
            connection.execute(f"create view published.{path.stem} as from read_parquet('{str(path).replace(chr(39), chr(39) * 2)}')")
        except duckdb.InvalidInputException as error:
            raise WarehouseProblem(f"The snapshot in {folder} is damaged: {path.name} cannot be read. `bindwatch run` publishes a new one.") from error
    missing = [name for name in TABLES if not (folder / f"{name}.parquet").exists()]
    if missing:
        raise WarehouseProblem(f"The snapshot in {folder} was published by an older version: {', '.join(missing)} is missing. Run `bindwatch run` once.")
    return connection


def _new_folder(home: Path) -> Path:
    folder = home / "published" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder.mkdir(parents=True)
    return folder


def _write_all(connection: duckdb.DuckDBPyConnection, queries: dict[str, str], folder: Path) -> None:
    for name, query in queries.items():
        _write(connection, query, folder / f"{name}.parquet")


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    connection.execute(f"copy ({query}) to ? (format parquet, compression zstd)", [str(path)])


def _switch(
    connection: duckdb.DuckDBPyConnection, home: Path, folder: Path, manifest: dict[str, Any], known: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> Path:
    """known: what the manifest says of files that are the same as before."""
    manifest["files"] = {path.name: known.get(path.name) or describe_file(connection, path) for path in sorted(folder.glob("*.parquet"))}
    manifest["certified"] = read_certificate(home)
    for path in folder.glob("*.parquet"):
        sync_file(path)
    write_whole(folder / "manifest.json", json.dumps(sealed(manifest), indent=1, ensure_ascii=False))
    for path in (folder, *folder.iterdir()):
        share_like_parent(path)
    published = home / "published"
    sync_folder(published)
    link = published / f".current-{uuid.uuid4().hex[:6]}"
    link.symlink_to(folder.name)
    link.replace(published / "current")
    sync_folder(published)
    _remove_old(published, keep=[folder.name])
    return folder


def describe_file(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Any]:
    """Rows and sha256 of a Parquet file."""
    row = connection.execute("select sum(num_rows) from parquet_file_metadata(?)", [str(path)]).fetchone()
    return {"rows": int(row[0]) if row else 0, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _remove_old(published: Path, keep: Sequence[str]) -> None:
    """Leaves the latest few, so that a reader that resolved the link a moment ago still finds its files."""
    folders = sorted((path for path in published.iterdir() if path.is_dir() and not path.is_symlink()), reverse=True)
    for folder in folders[_KEEP:]:
        if folder.name not in keep:
            shutil.rmtree(folder)
    for left_over in published.glob(".current-*"):
        left_over.unlink()
