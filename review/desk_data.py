"""What the desk reads: the last published snapshot, opened once for many requests, and the decisions store."""

import gc
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from time import monotonic
from typing import Any

import duckdb

from assets.published.decisions import DecisionStore
from assets.published.snapshot import current_folder, open_folder, published_folder, read_manifest
from assets.published.worklist import Worklist
from assets.sql import among
from review.cases import Cases
from review.effects import Effects
from review.near import Near, let_go, made_of

SHOWN_RUNS = 30
# Pages wait for a run that was published meanwhile. With so many findings that takes ten seconds: then they wait so long, once, and people see the run before.
LARGE = 20_000
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Snapshot:
    """One run's tables, as long as somebody reads them. folder: where they lie; checks: rows of `check_policy` by name; policy: its one row;
    cases: its findings by whom they are about; near: where pages look things up; effects: what a switch does to a value."""

    folder: Path
    manifest: dict[str, Any]
    worklist: Worklist
    checks: dict[str, dict[str, Any]]
    policy: dict[str, Any]
    cases: Cases
    near: Near
    effects: Effects

    @property
    def is_alive(self) -> bool:
        """Does DuckDB still answer? After an error that it had not foreseen it gives up on all that is open."""
        try:
            self.worklist.connection.cursor().execute("select 1")
        except duckdb.Error:
            return False
        return True

    def query(self, query: str, values: object = None) -> list[dict[str, Any]]:
        return self.worklist.query(query, values)


class Desk:
    """Gives each request the snapshot that is current, with what was decided up to now. Never touches the warehouse file."""

    def __init__(self, home: Path, open_store: Callable[[], DecisionStore]) -> None:
        self.home = home
        self._open_store = open_store
        self._store: DecisionStore | None = None
        self._snapshot: Snapshot | None = None
        self._near: Near | None = None  # of the last one that was opened
        self._opening: Future[Snapshot] | None = None
        self._opened_at = 0.0  # when that began
        self._lock = Lock()

    def open_ahead(self) -> None:
        """Opens what is published, for the first who comes: of a large portal that takes seconds. What goes wrong, they are told, when they ask for it."""

        def ask() -> None:
            with suppress(Exception):
                self.snapshot()

        Thread(target=ask, daemon=True).start()

    def snapshot(self) -> Snapshot:
        """Raises WarehouseProblem when nothing was published yet. When the decisions store does not answer, its worklist says so."""
        with self._lock:
            snapshot, opening = self._snapshot, self._opening
            if snapshot is not None and not snapshot.is_alive:
                self._snapshot = snapshot = None
            if opening is None and (snapshot is None or snapshot.folder != current_folder(self.home)):
                opening = Future()
                Thread(target=self._open, args=(opening,), daemon=True).start()
                self._opening, self._opened_at = opening, monotonic()
            patience = self._opened_at + PATIENCE_SECONDS - monotonic()
        if opening is not None:
            # what was removed can be shown to nobody
            can_be_shown = snapshot is not None and snapshot.manifest["files"]["finding.parquet"]["rows"] >= LARGE and snapshot.folder.exists()
            wait([opening], max(patience, 0) if can_be_shown else None)
            if opening.done():
                with self._lock:
                    self._opening = None if self._opening is opening else self._opening
                snapshot = opening.result()
        assert snapshot is not None
        snapshot.worklist.refresh()
        snapshot.cases.refresh()
        return snapshot

    @property
    def is_behind(self) -> bool:
        """Is a newer run being opened, while pages show the one before?"""
        opening = self._opening
        return self._snapshot is not None and opening is not None and not opening.done()

    def _open(self, opening: "Future[Snapshot]") -> None:
        """Opens the current snapshot, for all who wait for it and whoever comes. What went wrong, the next one who asks is told."""
        try:
            snapshot = self._read()
        except BaseException as error:
            opening.set_exception(error)
            return
        with self._lock:
            self._snapshot, self._opening = snapshot, None
        opening.set_result(snapshot)
        # A page that was made leaves a circle of references (a template's macros and its context), which holds the snapshot that it showed. Python looks for
        # old ones when there are many, and a snapshot is one: a desk that stayed open held all of a day's.
        gc.collect()

    def _read(self) -> Snapshot:
        if self._snapshot is not None:
            let_go(self._snapshot.worklist.connection)  # two snapshots are in memory, but one has little
        folder = published_folder(self.home)
        self._store = self._store or self._open_store()
        manifest = read_manifest(folder)
        connection = open_folder(folder)
        near = self._near = self._near if self._near and self._near.made_of == made_of(manifest) else Near(manifest)
        near.attach(connection, folder)
        worklist = Worklist(self.home, self._store, connection=connection)
        worklist.events, worklist.people, worklist.left_out = "near.finding_event", "near.people", ("facts",)
        checks = {row["check_name"]: row for row in worklist.query("from published.check_policy order by suite, check_name")}
        (policy,) = worklist.query("from published.policy")
        effects = Effects(connection, worklist.query("from near.mapped_field"), policy)
        return Snapshot(folder, manifest, worklist, checks, policy, Cases(worklist), near, effects)


def overview(snapshot: Snapshot) -> dict[str, Any]:
    """What the first page says: counts, runs, the oldest open finding, how good the predictions are. Worked out once after each decision."""
    found: dict[str, Any] = snapshot.cases.remember("overview", lambda: _overview(snapshot))
    return dict(found)


def _overview(snapshot: Snapshot) -> dict[str, Any]:
    counts = snapshot.query(
        """select check_name, severity, count(*) as findings, count(*) filter (where change in ('new', 'reopened', 'worsened')) as new,
                  count(*) filter (where status = 'acknowledged') as acknowledged, count(*) filter (where owner is null) as unassigned
           from worklist where status in ('open', 'acknowledged')
           group by check_name, severity
           order by main.severity_rank(severity) desc, findings desc, check_name"""
    )
    (changes,) = snapshot.query(
        """select count(*) filter (where change = 'new') as new, count(*) filter (where change = 'reopened') as reopened,
                  count(*) filter (where change = 'worsened') as worsened, count(*) filter (where change in ('resolved', 'replaced')) as resolved,
                  count(*) filter (where status = 'waived') as waived
           from worklist"""
    )
    oldest = snapshot.query(
        """select fingerprint from worklist where status in ('open', 'acknowledged')
           order by main.severity_rank(severity) >= 2 desc, open_since, fingerprint limit 1"""
    )
    return {
        "counts": counts,
        "changes": changes,
        "oldest": with_names(snapshot, [snapshot.worklist.find_one(oldest[0]["fingerprint"])])[0] if oldest else None,
        "runs": snapshot.query(f"from (from published.run order by run_no desc limit {SHOWN_RUNS}) order by run_no"),
        "scores": scores(snapshot),
        "certified": snapshot.manifest.get("certified"),
    }


def scores(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """The record of the policy in force, by source (history, runs), where anything was judged."""
    rows = snapshot.cases.remember(
        "scores",
        lambda: snapshot.query(
            """select score.* from published.prediction_score as score
           inner join published.policy_variant as variant on variant.policy = score.policy and variant.is_configured
           where score.predictions > 0"""
        ),
    )
    return {row["source"]: row for row in rows}


def with_names(snapshot: Snapshot, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The findings, each with the display_name of whom it is about."""
    ids = [row["hubspot_contact_id"] or row["salesforce_id"] for row in findings]
    rows = snapshot.query(
        f"""select contact_id as id, display_name from near.hubspot_contact where contact_id in {among(ids)}
            union all select record_id, display_name from near.salesforce_person where record_id in {among(ids)}"""
    )
    names = {row["id"]: row["display_name"] for row in rows}
    return [{**row, "display_name": names.get(about)} for row, about in zip(findings, ids, strict=True)]


def known_owners(snapshot: Snapshot) -> list[str]:
    """The people who take care of something already, and the users that were pulled: one spelling for each."""
    rows = snapshot.cases.remember(
        "owners",
        lambda: snapshot.query(
            """select any_value(name order by is_typed desc, name) as name
               from (
                   select owner as name, true as is_typed from worklist where owner is not null
                   union all
                   select name, false from near.salesforce_user where is_active and not is_integration and not contains(name, ',')
               )
               where name is not null group by lower(name) order by name limit 300"""
        ),
    )
    return [row["name"] for row in rows]
