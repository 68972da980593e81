"""What the Dagster steps of one run share: the home folder, the policy, and the way into both CRMs."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
import duckdb

from assets.coverage import read_coverage
from assets.damage import is_damage
from assets.decisions import DecisionStore
from assets.hubspot_portal import HubSpotAccess
from assets.ledger import close_run, memory_with, summarise_run
from assets.policy import Policy
from assets.problems import ConfigurationProblem, DamagedWarehouse, PullProblem, WarehouseProblem
from assets.retries import Again
from assets.salesforce_org import SalesforceAccess
from assets.snapshot import publish_verdict
from assets.warehouse import Warehouse, begin_run, utc_text

log = logging.getLogger("bindwatch.pull")

RETRY_SECONDS = 120


@dataclass(frozen=True)
class Connections:
    """How to reach both CRMs, and the policy that goes with them."""

    salesforce: SalesforceAccess
    hubspot: HubSpotAccess
    policy: Policy


@dataclass
class Session:
    """One run's view of the world. Connections are read from the environment when the first step needs them, not at import."""

    warehouse: Warehouse
    decisions: DecisionStore
    read_connections: Callable[[], Connections]
    _connections: Connections | None = field(default=None, init=False)

    @property
    def connections(self) -> Connections:
        if self._connections is None:
            self._connections = self.read_connections()
        return self._connections

    @contextmanager
    def step(self, run_id: str, retries_left: int = 0) -> Iterator[duckdb.DuckDBPyConnection]:
        """Opens the warehouse for one step. What goes wrong inside ends the run as unproven: it is recorded, published and raised.

        Failed checks are no errors and pass through untouched. retries_left: how often Dagster may begin the step again when a CRM does not
        answer for the moment; nothing else gets better by waiting.
        """
        with self._told_when_damaged(run_id), self.warehouse.connect() as connection:
            begin_run(connection, run_id, datetime.now(UTC))
            try:
                yield connection
            except dg.Failure:
                raise
            except Exception as error:
                if is_damage(error, self.warehouse.path):
                    raise  # nothing can be recorded in it
                if retries_left > 0 and isinstance(error, PullProblem) and isinstance(error.__cause__, Again):
                    log.warning("%s Trying again in %d seconds.", error, RETRY_SECONDS)
                    raise dg.RetryRequested(max_retries=retries_left, seconds_to_wait=RETRY_SECONDS) from error
                known = isinstance(error, (ConfigurationProblem, PullProblem, WarehouseProblem))
                problem = str(error) if known else f"Unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                self.record_failure(connection, problem)
                if known:
                    raise dg.Failure(description=problem, allow_retries=False) from error
                raise

    @contextmanager
    def _told_when_damaged(self, run_id: str) -> Iterator[None]:
        """A run on a damaged warehouse cannot record how it ended. It still takes back the verdict that is published, and says why."""
        try:
            yield
        except DamagedWarehouse as damage:
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            changes: dict[str, object] = {
                "run_id": run_id, "verdict": "unproven", "started_at": now, "finished_at": now, "problem": str(damage), "checks": [],
                "coverage": {"salesforce": [], "hubspot": []}, "waivers_lapsed": None, "baseline": None,
            }  # fmt: skip
            try:
                publish_verdict(duckdb.connect(), self.warehouse.home, {}, changes)
            except (OSError, ValueError) as error:
                log.warning("the verdict could not be published: %s", error)
            raise dg.Failure(description=str(damage), allow_retries=False) from damage

    def record_failure(self, connection: duckdb.DuckDBPyConnection, problem: str) -> None:
        """Ends the run as unproven, in the warehouse and in the published manifest. The tables published before stay as they are."""
        record = summarise_run(connection, "unproven", [], [])
        publish_verdict(
            connection, self.warehouse.home, memory_with(record),
            {
                "run_id": record.run_id, "verdict": "unproven", "started_at": utc_text(record.started_at),
                "finished_at": utc_text(record.finished_at), "problem": problem, "coverage": read_coverage(connection), "checks": [],
                "waivers_lapsed": None, "baseline": None,
            },
        )  # fmt: skip
        close_run(connection, record)
