"""From where on an object is pulled again, up to where it was pulled, and what each pull brought: raw.pull."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from assets.moments import naive
from assets.pull.landing import LandedPull
from assets.sql import count


@dataclass(frozen=True)
class LoadResult:
    landed_rows: int
    new_versions: int


def watermark(connection: duckdb.DuckDBPyConnection, source: str, object_name: str) -> tuple[datetime, str] | None:
    """Latest modified stamp of the complete pulls of an object, and the hash of what the last one asked for. None before the first."""
    row = connection.execute(
        "select max(watermark_to), max_by(request_hash, pull_no) from raw.pull where source = ? and object = ? and complete",
        [source, object_name],
    ).fetchone()
    return (row[0], row[1]) if row and row[0] is not None else None


def asked_before(connection: duckdb.DuckDBPyConnection, source: str, object_name: str) -> str | None:
    """The hash of what the last complete pull of an object asked for; None before the first."""
    row = connection.execute(
        "select max_by(request_hash, pull_no) from raw.pull where source = ? and object = ? and complete", [source, object_name]
    ).fetchone()
    return row[0] if row else None


def increment_from(connection: duckdb.DuckDBPyConnection, source: str, object_name: str, asked: str, overlap_minutes: int) -> datetime | None:
    """The stamp from which on to pull an object again; None: everything, because it is new, or asks for other fields."""
    before = watermark(connection, source, object_name)
    if before is None or before[1] != asked:
        return None
    return before[0].replace(tzinfo=UTC) - timedelta(minutes=overlap_minutes)


def has_compared_ids(connection: duckdb.DuckDBPyConnection) -> bool:
    """Is this the run of a full comparison?"""
    return bool(count(connection, "select count(*) from raw.pull where mode = 'ids' and run_id = (select run_id from main.current_run)"))


def loaded_pulls(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {row[0] for row in connection.execute("select pull_id from raw.pull").fetchall()}


def can_be_loaded(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> bool:
    """False for a pull that was loaded before, and for an incomplete one, which is only noted."""
    if pull.manifest.pull_id in loaded_pulls(connection):
        return False
    if not pull.manifest.complete:
        note_pull(connection, pull, LoadResult(pull.rows, 0), None)
    return pull.manifest.complete


def note_pull(connection: duckdb.DuckDBPyConnection, pull: LandedPull, result: LoadResult, highest: datetime | None) -> None:
    """Adds the pull to raw.pull. Whoever calls it has seen that it is not there (can_be_loaded).

    highest: the latest stamp that came. The watermark stays behind the moment at which the pull began: what changed after that, while
    other records were read, may not be in it.
    """
    manifest = pull.manifest
    before = watermark(connection, manifest.source, manifest.object)
    began = naive(manifest.crm_time)
    # a stamp in the future would hide all changes until then
    latest = began or naive(manifest.started_at + timedelta(days=1))
    covered = min(highest, latest) if highest and latest else highest
    row = {
        "pull_no": next_pull_no(connection), "pull_id": manifest.pull_id, "run_id": current_run_id(connection), "source": manifest.source,
        "object": manifest.object, "mode": manifest.mode, "request_hash": manifest.request["asked"], "started_at": naive(manifest.started_at),
        "finished_at": naive(manifest.finished_at or manifest.started_at), "watermark_from": naive(manifest.watermark_from),
        "watermark_to": max((stamp for stamp in (covered, before[0] if before else None) if stamp is not None), default=None),
        "expected_rows": manifest.expected_rows, "landed_rows": result.landed_rows, "new_versions": result.new_versions,
        "complete": manifest.complete, "problem": manifest.problem, "crm_time": began, "not_seen": manifest.not_seen,
    }  # fmt: skip
    connection.execute(f"insert into raw.pull ({', '.join(row)}) values ({', '.join('?' for _ in row)})", list(row.values()))


def note_not_seen(connection: duckdb.DuckDBPyConnection, pull: LandedPull, not_seen: list[str]) -> None:
    """Adds what showed only when a pull had been loaded."""
    connection.execute("update raw.pull set not_seen = list_concat(not_seen, ?) where pull_id = ?", [not_seen, pull.manifest.pull_id])


def next_pull_no(connection: duckdb.DuckDBPyConnection) -> int:
    return count(connection, "select coalesce(max(pull_no), 0) + 1 from raw.pull")


def current_run_id(connection: duckdb.DuckDBPyConnection) -> str:
    row = connection.execute("select run_id from main.current_run").fetchone()
    if row is None:
        raise LookupError("no run is going on: call begin_run first")
    return str(row[0])
