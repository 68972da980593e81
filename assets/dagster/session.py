"""What the Dagster steps of one run share: the home folder, the policy, and the way into both CRMs."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import dagster as dg
import duckdb

from assets.dagster.failure import Failed
from assets.files import prepare_home
from assets.machine import in_words
from assets.moments import utc_text
from assets.policy import Policy
from assets.problems import ConfigurationProblem, DamagedWarehouse, PullProblem, UnexpectedProblem, presentable
from assets.progress import Interrupted, interruption, told_to_end, undisturbed
from assets.published.decisions import DecisionStore
from assets.published.publish import publish_verdict
from assets.pull import patience
from assets.pull.hubspot import PropertyList, read_property_list
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.retries import Again
from assets.pull.salesforce import FieldList, describe_fields
from assets.pull.salesforce_org import Org, SalesforceAccess
from assets.warehouse.coverage import read_coverage
from assets.warehouse.damage import is_damage, note_end_of_run
from assets.warehouse.file import Warehouse
from assets.warehouse.identity import hold_to_home
from assets.warehouse.ledger import begin_run, close_run, memory_with, summarise_run

log = logging.getLogger("bindwatch.pull")

A = TypeVar("A")
B = TypeVar("B")

RETRY_SECONDS = 120
EXIT_CODE = "exit code"  # of a command whose run failed because a setting is wrong

Step = dg.AssetExecutionContext | dg.AssetCheckExecutionContext

_GUARDED = {"salesforce", "hubspot", "histories", "models", "gate"}


def is_guarded(context: Step) -> bool:
    """Does this run pull, build and judge? Only such a run changes the verdict that is published. In the Dagster UI anything can be run alone."""
    return set(context.run.step_keys_to_execute or context.job_def.graph.node_dict) >= _GUARDED


@dataclass(frozen=True)
class Connections:
    """How to reach both CRMs, and the policy that goes with them."""

    salesforce: SalesforceAccess
    hubspot: HubSpotAccess
    policy: Policy


@dataclass(frozen=True)
class Crms:
    """The way into both CRMs, and what each of them has of the fields and properties that the policy names."""

    org: Org
    portal: Portal
    fields: dict[str, FieldList]
    properties: PropertyList


@dataclass
class Session:
    """One run's view of the world. Connections are read from the environment when the first step needs them, not at import."""

    warehouse: Warehouse
    decisions: DecisionStore
    read_connections: Callable[[], Connections]
    _connections: Connections | None = field(default=None, init=False)
    _crms: Crms | None = field(default=None, init=False)

    @property
    def connections(self) -> Connections:
        if self._connections is None:
            self._connections = self.read_connections()
            prepare_home(self.warehouse.home, self._connections.policy.privacy.readers_group)
        return self._connections

    def crms(self, connection: duckdb.DuckDBPyConnection, run_id: str) -> Crms:
        """The way into both CRMs, before the first step of a run pulls anything: once each has answered what the run will need of it, and it is known
        that they are those of this home. The run's time begins.

        Raises ConfigurationProblem when one of them is another org or portal, or lacks a field that somebody wrote into the policy; PullProblem when one
        does not let us in, or lacks what nothing can do without.
        """
        policy = self.connections.policy
        patience.begin(run_id, policy.pull.run_deadline_hours, policy.pull.idle_minutes)
        if self._crms is None:
            (org, org_id), (portal, portal_id) = _both(self._org_and_id, self._portal_and_id)
            hold_to_home(connection, {"salesforce": org_id, "hubspot": portal_id})
            fields, properties = _both(lambda: describe_fields(org, policy), lambda: _properties(portal, policy))
            if lacking := [*properties.lacking, *(text for one in fields.values() for text in one.lacking)]:
                raise ConfigurationProblem(
                    "\n".join(lacking) + "\nCorrect these entries of bindwatch.toml, take them out, or give the user and the key read access to the fields."
                )
            self._crms = Crms(org, portal, fields, properties)
        return self._crms

    def _org_and_id(self) -> tuple[Org, str | None]:
        org = Org(self.connections.salesforce)
        return org, org.read_id()

    def _portal_and_id(self) -> tuple[Portal, str | None]:
        portal = Portal(self.connections.hubspot, self.connections.policy.pull)
        return portal, portal.read_id()

    @contextmanager
    def step(self, context: Step, retries_left: int = 0) -> Iterator[duckdb.DuckDBPyConnection]:
        """Opens the warehouse for one step. What goes wrong inside ends a guarded run as unproven: it is recorded, published and raised. Of any other
        run it is raised: the last proof stays.

        It is raised in our words alone: Dagster keeps an exception with all that led to it, and the text of a library may quote a record. Failed
        checks are no errors and pass through untouched. retries_left: how often Dagster may begin the step again when a CRM does not answer for
        the moment; nothing else gets better by waiting. A signal is told as it is, and nothing begins again.
        """
        run_id, guarded, is_recorded = context.run.run_id, is_guarded(context), True
        try:
            with self.warehouse.connect() as connection:
                begin_run(connection, run_id, datetime.now(UTC))
                try:
                    yield connection
                except (dg.Failure, GeneratorExit):
                    raise
                except BaseException as error:
                    if guarded and not _may_be_tried_again(error, retries_left) and not is_damage(error, self.warehouse.path):
                        with undisturbed():
                            is_recorded = self._record(connection, str(in_our_words(error, self.warehouse.home)))
                    raise
        except (dg.Failure, GeneratorExit):
            raise
        except BaseException as error:
            problem = in_our_words(error, self.warehouse.home)
            if not is_recorded:
                with undisturbed():
                    self._record_anew(run_id, str(problem))
            if isinstance(problem, Interrupted):
                raise problem from None
            if guarded and isinstance(problem, DamagedWarehouse):
                self._take_back_verdict(run_id, str(problem))
            metadata = {EXIT_CODE: problem.exit_code} if isinstance(problem, ConfigurationProblem) else None
            failure = Failed(str(problem), metadata)
            if not _may_be_tried_again(error, retries_left):
                raise failure from None
            log.warning("%s Trying again in %d seconds.", problem, RETRY_SECONDS)
            failure.__suppress_context__ = True
            raise dg.RetryRequested(max_retries=retries_left, seconds_to_wait=RETRY_SECONDS) from failure

    def _record(self, connection: duckdb.DuckDBPyConnection, problem: str) -> bool:
        """Records why a step failed. False where what keeps the step from its work keeps this from its, too."""
        try:
            self.record_failure(connection, problem)
        except Exception as error:
            log.debug("The failure could not be recorded: %s", presentable(error))
            return False
        return True

    def _record_anew(self, run_id: str, problem: str) -> None:
        """Records it over a connection of its own: DuckDB gives up on one after an error that it had not foreseen."""
        try:
            with self.warehouse.connect() as connection:
                begin_run(connection, run_id, datetime.now(UTC))
                self.record_failure(connection, problem)
        except Exception as error:
            log.error("That this run failed could not be recorded: %s", in_words(error, self.warehouse.home) or presentable(error))
            self._take_back_verdict(run_id, problem)

    def _take_back_verdict(self, run_id: str, problem: str) -> None:
        """A run that cannot record how it ended in the warehouse: the verdict that is published is taken back all the same."""
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        changes: dict[str, object] = {
            "run_id": run_id, "verdict": "unproven", "started_at": now, "finished_at": now, "problem": problem, "checks": [],
            "coverage": {"salesforce": [], "hubspot": []}, "waivers_lapsed": None, "old_jumps": None, "baseline": None,
        }  # fmt: skip
        try:
            with duckdb.connect() as connection:
                publish_verdict(connection, self.warehouse.home, {}, changes)
        except (OSError, ValueError) as error:
            log.error("The verdict that was published before could not be taken back: %s", in_words(error, self.warehouse.home) or presentable(error))

    def record_failure(self, connection: duckdb.DuckDBPyConnection, problem: str) -> None:
        """Ends the run as unproven, in the warehouse and in the published manifest. The tables published before stay as they are."""
        record = summarise_run(connection, "unproven", [], [])
        publish_verdict(
            connection, self.warehouse.home, memory_with(record),
            {
                "run_id": record.run_id, "verdict": "unproven", "started_at": utc_text(record.started_at),
                "finished_at": utc_text(record.finished_at), "problem": problem, "coverage": read_coverage(connection), "checks": [],
                "waivers_lapsed": None, "old_jumps": None, "baseline": None,
            },
        )  # fmt: skip
        close_run(connection, record)
        note_end_of_run(self.warehouse.home)


def _both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Asks both CRMs, also when the first one refuses: whoever has to mend one of them hears of the other, too. A setting that is wrong outweighs."""
    try:
        one = first()
    except (PullProblem, ConfigurationProblem) as problem:
        try:
            second()
        except (PullProblem, ConfigurationProblem) as other:
            if isinstance(problem, PullProblem) and isinstance(other, PullProblem):
                raise PullProblem(problem.source, problem.what, f"{problem.remedy} {other}") from problem.__cause__
            raise ConfigurationProblem(f"{problem}\n{other}") from problem.__cause__
        raise
    return one, second()


def _properties(portal: Portal, policy: Policy) -> PropertyList:
    portal.try_the_way_in(policy.policy.inclusion_list_id)
    return read_property_list(portal, policy)


def _may_be_tried_again(error: BaseException, retries_left: int) -> bool:
    return retries_left > 0 and isinstance(error, PullProblem) and isinstance(error.__cause__, Again) and told_to_end() is None


def in_our_words(error: BaseException, home: Path) -> BaseException:
    """What went wrong, in words that may be kept: an Interrupted, or a Problem."""
    if told_to_end() or isinstance(error, (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
        return Interrupted(interruption())
    return in_words(error, home) or UnexpectedProblem(f"Unexpected {presentable(error)}")
