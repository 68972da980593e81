"""Publishes: a new snapshot is written beside the current one, reaches the disk, and then takes its place in one step."""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb

from assets.files import read_json, sealed, set_aside, share_like_parent, sync_file, sync_folder, write_whole
from assets.published.contract import COLUMNS, ORDER, ROWS_OF_A_GROUP, TABLES
from assets.published.snapshot import current_folder, parse_manifest

log = logging.getLogger("bindwatch")

_KEPT_SECONDS = 120
_SNAPSHOTS = "????????T??????-??????"  # whatever else lies beside them, or was set aside, is nobody's to remove


def publish_tables(
    connection: duckdb.DuckDBPyConnection, home: Path, memory: dict[str, str], manifest: dict[str, Any], unchanged: Collection[str] = ()
) -> Path:
    """Writes every table to a new snapshot and makes it the current one. Returns its folder.

    memory: queries for `run` and `check_run`; manifest: what else the manifest says (run id, times, verdict, coverage); unchanged: tables of the warehouse
    that are in the current snapshot as they are now: their files stay, as hard links.
    """
    current = current_folder(home) if unchanged else None
    former = parse_manifest(current) if current else None
    known: dict[str, dict[str, Any]] = {}
    with _new_folder(home) as folder:
        for name, table in TABLES.items():
            file = f"{name}.parquet"
            if current and former and table in unchanged and file in former["files"] and (current / file).exists():
                os.link(current / file, folder / file)
                known[file] = former["files"][file]
                continue
            order = f"order by {ORDER[name]}" if name in ORDER else ""
            _write(connection, f"select {COLUMNS} from {table} {order}", folder / f"{name}.parquet", ROWS_OF_A_GROUP.get(name))
        _write_all(connection, memory, folder)
        return _switch(connection, home, folder, manifest, known)


def publish_verdict(connection: duckdb.DuckDBPyConnection, home: Path, memory: dict[str, str], changes: dict[str, Any]) -> Path | None:
    """Publishes the current snapshot again with a new manifest and memory; the other files are the same. None without a snapshot, or when its
    manifest cannot be read: then it is set aside.

    memory: as in publish_tables; changes: what to replace in the manifest.
    """
    current = current_folder(home)
    if current is None:
        return None
    if (manifest := parse_manifest(current)) is None:
        set_aside(current, "has a manifest that cannot be read")
        return None
    with _new_folder(home) as folder:
        for path in current.glob("*.parquet"):
            if path.stem not in memory:
                os.link(path, folder / path.name)
        _write_all(connection, memory, folder)
        known = {name: file for name, file in manifest["files"].items() if Path(name).stem not in memory}
        return _switch(connection, home, folder, {**manifest, **changes}, known)


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


@contextmanager
def _new_folder(home: Path) -> Iterator[Path]:
    """What does not become current is not left lying: half a snapshot of a large portal is gigabytes."""
    folder = home / "published" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        if current_folder(home) != folder.resolve():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_all(connection: duckdb.DuckDBPyConnection, queries: dict[str, str], folder: Path) -> None:
    for name, query in queries.items():
        _write(connection, query, folder / f"{name}.parquet")


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path, rows_of_a_group: int | None = None) -> None:
    groups = f", row_group_size {rows_of_a_group}" if rows_of_a_group else ""
    connection.execute(f"copy ({query}) to ? (format parquet, compression zstd, compression_level 1{groups})", [str(path)])


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
    if replaced := current_folder(home):
        with suppress(OSError):  # another user's, who alone can remove it, too
            os.utime(replaced)  # its time from now on is when another took its place
    link = published / f".current-{uuid.uuid4().hex[:6]}"
    link.symlink_to(folder.name)
    link.replace(published / "current")
    sync_folder(published)
    _remove_old(published, keep=folder.name)
    return folder


def describe_file(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Any]:
    """Rows and sha256 of a Parquet file."""
    row = connection.execute("select sum(num_rows) from parquet_file_metadata(?)", [str(path)]).fetchone()
    return {"rows": int(row[0]) if row else 0, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _remove_old(published: Path, keep: str) -> None:
    """Leaves what was current a moment ago: a run publishes several times, and whoever resolved the link before still reads its files."""
    now = published.stat().st_mtime  # the link was replaced in it just now
    for folder in published.glob(_SNAPSHOTS):
        if folder.name == keep:
            continue
        replaced_at = folder.stat().st_mtime
        try:
            if replaced_at > now:  # the clock went back
                os.utime(folder)
            elif now - replaced_at > _KEPT_SECONDS:
                shutil.rmtree(folder)
        except OSError as error:  # what is published is whole; the next run tries again
            log.warning("%s cannot be removed (%s)", folder, error.strerror)
    for left_over in published.glob(".current-*"):
        left_over.unlink()
