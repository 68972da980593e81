"""Brings a pull to disk and into the warehouse."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

import duckdb

from assets.moments import naive
from assets.policy import Policy
from assets.pull.landing import LandedPull, Landing, Mode
from assets.pull.reading import CANNOT_BE_LOADED, LoadProblem
from assets.pull.retries import Clock
from assets.sql import transaction
from assets.warehouse.shrinkage import Floor, Shrunken, note_count
from assets.warehouse.watermark import LoadResult, current_run_id, loaded_pulls

log = logging.getLogger("bindwatch.pull")

T = TypeVar("T")


class Crm(Protocol):
    """A client of a CRM. clock: what its own clock said last."""

    @property
    def clock(self) -> Clock | None: ...


@dataclass(frozen=True)
class Ingest:
    """What every pull of a run needs: where it lands, where it is loaded, the policy, and whether all ids are to be compared."""

    connection: duckdb.DuckDBPyConnection
    landing: Landing
    policy: Policy
    full: bool

    @property
    def floor(self) -> Floor:
        return Floor.of(self.policy)

    def note_clock(self, crm: Crm, source: str) -> None:
        """Keeps what the CRM's clock said last in this run, and this machine's at that moment."""
        if crm.clock is None:
            return
        run_id = current_run_id(self.connection)
        with transaction(self.connection):
            self.connection.execute("delete from main.crm_clock where run_id <> ? or source = ?", [run_id, source])
            self.connection.execute("insert into main.crm_clock values (?, ?, ?, ?)", [run_id, source, naive(crm.clock.theirs), naive(crm.clock.ours)])

    def bring(
        self, crm: Crm, source: str, name: str, mode: Mode, request: dict[str, Any], not_seen: list[str],
        land: Callable[[LandedPull], None], load: Callable[[LandedPull], T], watermark_from: datetime | None = None,
    ) -> tuple[LandedPull, T]:  # fmt: skip
        """Goes on with a pull or begins one, lands it and loads it. What was landed and cannot be loaded is set aside and pulled again, once: a CRM
        that is well makes good what a disk has lost.

        source, name: what is pulled, as raw.pull calls it; request: what is asked for, a pull that asked for something else is not gone on with;
        not_seen: what the API holds back.
        """

        def loaded() -> T:
            try:
                return load(pull)
            except Shrunken as problem:
                note_count(self.connection, problem.name, problem.kind, problem.known, problem.counted)
                pull.finish(pull.manifest.expected_rows, str(problem))
                return load(pull)

        def begin() -> LandedPull:
            pull = self.landing.open(source, name, mode, request, loaded_pulls(self.connection), watermark_from)
            pull.manifest.not_seen = not_seen
            pull.begin(crm.clock.theirs if crm.clock else None)
            return pull

        pull = begin()
        try:
            if not pull.is_finished:
                land(pull)
            return pull, loaded()
        except CANNOT_BE_LOADED as problem:
            self.landing.discard(pull, f"cannot be loaded ({_how(problem)}); it is pulled again")
        pull = begin()
        try:
            land(pull)
            return pull, loaded()
        except CANNOT_BE_LOADED as problem:
            pull.finish(pull.manifest.expected_rows, f"what arrived cannot be loaded ({_how(problem)})")
            return pull, load(pull)


def _how(problem: Exception) -> str:
    """DuckDB's own words quote the row."""
    return str(problem) if isinstance(problem, LoadProblem) else type(problem).__name__


def report_pull(pull: LandedPull, result: LoadResult) -> None:
    """Tells in the log what a pull brought, or why it is incomplete."""
    manifest = pull.manifest
    if manifest.complete:
        log.info("%s: %s rows pulled (%s), %s new or changed", pull.label, f"{manifest.rows:,}", manifest.mode, f"{result.new_versions:,}")
    else:
        log.error("%s: incomplete, %s", pull.label, manifest.problem)
