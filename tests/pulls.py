"""The steps `salesforce`, `hubspot` and `models` of a run, without Dagster and Great Expectations around them: a second instead of four."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from assets.ingest.bring import Ingest
from assets.ingest.hubspot_pulls import ingest_contacts, ingest_histories, ingest_owners
from assets.ingest.salesforce_pulls import ingest_field_history, ingest_object, ingest_users
from assets.models.build import build_models
from assets.models.sqlfile import CheckFile
from assets.policy import Policy
from assets.problems import ConfigurationProblem, PullProblem
from assets.published.contract import TABLES
from assets.published.publish import publish_tables, publish_verdict
from assets.pull import hubspot, salesforce
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.salesforce_org import Org, SalesforceAccess
from assets.sql import quoted
from assets.verdict import Verdict
from assets.warehouse.coverage import read_coverage
from assets.warehouse.damage import note_end_of_run
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import begin_run, close_run, memory_with, summarise_run
from assets.warehouse.policy_tables import write_policy
from expectations.gate import checks
from sandbox.server import SandboxServer

# Small pages, so that there are many; short patience, so that a fault that never ends does.
PULL = {"bulk_page_rows": 100, "patience_seconds": 5, "hubspot_searches_per_second": 1000, "hubspot_requests_per_10_seconds": 100_000,
        "hubspot_slow_answer_ms": 60_000}  # fmt: skip
NO_CHANGE_OF_THE_CRM = {"pull_no", "first_seen_at", "last_seen_at", "resolved_at", "open_since", "open_run_no", "happened_at", "run_id"}


@dataclass
class Outcome:
    """What a run would publish, table by table, or why it ends with exit code 3."""

    tables: dict[str, list[str]]
    problem: str | None

    def differences(self, other: "Outcome") -> list[str]:
        """The tables that are not the same in both."""
        return [name for name, rows in other.tables.items() if self.tables.get(name) != rows]

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [json.loads(row) for row in self.tables[table]]


def access_to(server: SandboxServer, **changes: Any) -> SalesforceAccess:
    e = server.environment
    ordinary: dict[str, Any] = {"client_id": e["SALESFORCE_CLIENT_ID"], "client_secret": e["SALESFORCE_CLIENT_SECRET"], "patience_seconds": 5}
    url = e["SALESFORCE_INSTANCE_URL"]
    return SalesforceAccess(url, url, ca_file=e["SSL_CERT_FILE"], **{**ordinary, **changes})


@contextmanager
def _pulled(
    home: Path, server: SandboxServer, full: bool = False, access: SalesforceAccess | None = None, knobs: dict[str, Any] | None = None,
    mapping: list[dict[str, Any]] | None = None, **settings: Any,
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Policy]]:  # fmt: skip
    """The warehouse after both CRMs were pulled. knobs: of the policy; mapping: its entries; settings: of the section [pull]. Raises PullProblem.

    Without the optimizer: planning takes DuckDB longer than all else on a world of a few hundred records. The runs of the real command have it.
    """
    policy = Policy.model_validate({"pull": {**PULL, **settings}, "policy": knobs or {}, **({} if mapping is None else {"mapping": mapping})})
    warehouse = Warehouse(home)
    with warehouse.connect() as connection:
        connection.execute("pragma disable_optimizer")
        begin_run(connection, datetime.now(UTC).isoformat(), datetime.now(UTC))
        # somebody has said that there is nothing yet: most tests need no more than one of the two CRMs
        connection.execute(
            """insert into main.accepted_shrink
               select name, 'nothing', 0, 0, now()::timestamp, 'ann', 0 from (select unnest(['salesforce.Contact', 'hubspot.contact']) as name)
               where not exists (from main.accepted_shrink)"""
        )
        with warehouse.landing(policy) as landing:
            ingest = Ingest(connection, landing, policy, full)
            org = Org(access or access_to(server, patience_seconds=policy.pull.patience_seconds))
            wanted = salesforce.describe_fields(org, policy)
            for name, fields in wanted.items():
                ingest_object(org, ingest, name, fields)
            ingest_users(org, ingest)
            e = server.environment
            portal = Portal(HubSpotAccess(e["HUBSPOT_ACCESS_TOKEN"], e["HUBSPOT_BASE_URL"], patience_seconds=policy.pull.patience_seconds), policy.pull)
            properties = hubspot.read_property_list(portal, policy)
            ingest_contacts(portal, ingest, properties)
            ingest_owners(portal, ingest)
            ingest_histories(portal, ingest, properties)
            ingest_field_history(org, ingest, wanted)
        yield connection, policy


def _judge(connection: duckdb.DuckDBPyConnection, policy: Policy, server: SandboxServer, files: list[CheckFile], until: list[str] | None) -> str | None:
    """Builds what is asked for. Returns why the run is unproven, or None."""
    write_policy(connection, policy, server.environment["SALESFORCE_INSTANCE_URL"], [file.as_row for file in files])
    build_models(connection, files, until=until)
    unproven = connection.execute("select reason from review.finding where severity = 'unproven'").fetchall()
    return "; ".join(row[0] for row in unproven) or None


def _can_be_unproven() -> list[CheckFile]:
    return [file for file in checks() if any("unproven" in entry for entry in file.entries["severity"])]


def pull(home: Path, server: SandboxServer, **options: Any) -> str | None:
    """Pulls both CRMs. Returns why the run is unproven, or None. options: as in _pulled."""
    try:
        with _pulled(home, server, **options) as (connection, policy):
            return _judge(connection, policy, server, _can_be_unproven(), ["review.finding"])
    except (PullProblem, ConfigurationProblem) as problem:
        return str(problem)


def pull_only(home: Path, server: SandboxServer, **options: Any) -> str | None:
    """Pulls both CRMs, and builds nothing. Returns which pulls are incomplete, or None. options: as in _pulled."""
    try:
        with _pulled(home, server, **options) as (connection, _):
            incomplete = connection.execute("select object, problem from raw.pull where not complete").fetchall()
            return "; ".join(f"{name}: {problem}" for name, problem in incomplete) or None
    except (PullProblem, ConfigurationProblem) as problem:
        return str(problem)


def pull_and_build(
    home: Path, server: SandboxServer, full: bool = False, publishes: bool = False, only: tuple[str, ...] = (), **options: Any
) -> Outcome:  # fmt: skip
    """Pulls both CRMs and builds all tables. publishes: them, and remembers the run. only: these published tables, and the findings that make a run unproven.
    options: as in _pulled.
    """
    try:
        with _pulled(home, server, full, **options) as (connection, policy):
            if only:
                assert "finding" not in only and not publishes, "that takes all tables"
                problem = _judge(connection, policy, server, _can_be_unproven(), ["review.finding", *(TABLES[name] for name in only)])
                return Outcome({} if problem else _tables(connection, only), problem)
            problem = _judge(connection, policy, server, checks(), None)
            if publishes:
                _publish(connection, home, "unproven" if problem else "fail")
            return Outcome({} if problem else _tables(connection), problem)
    except (PullProblem, ConfigurationProblem) as error:
        return Outcome({}, str(error))


def _publish(connection: duckdb.DuckDBPyConnection, home: Path, verdict: Verdict) -> None:
    """What the steps `models` and `gate` leave behind, in their order."""
    record = summarise_run(connection, "unproven", [], [])
    manifest = {"run_id": record.run_id, "verdict": "unproven", "coverage": read_coverage(connection)}
    publish_tables(connection, home, memory_with(record), manifest)
    record = summarise_run(connection, verdict, [], [])
    publish_verdict(connection, home, memory_with(record), {"verdict": verdict})
    close_run(connection, record)
    note_end_of_run(home)


def pull_and_publish(home: Path, server: SandboxServer) -> Outcome:
    return pull_and_build(home, server, publishes=True)


def raw_versions(home: Path) -> list[tuple[object, ...]]:
    """What tells whether the same is in raw, but for the numbers of the pulls."""
    query = " union all ".join(
        f"select '{table}', count(*), bit_xor(hash(t)), sum(hash(t)::hugeint) from (select * exclude (pull_no) from raw.{table}) as t"
        for table in ("salesforce_lead", "salesforce_contact", "hubspot_contact", "hubspot_property_version")
    )
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        return sorted(connection.execute(query).fetchall())


def _tables(connection: Any, names: Iterable[str] = TABLES) -> dict[str, list[str]]:
    tables = {}
    for name in names:
        table = TABLES[name]
        columns = [row[0] for row in connection.execute(f"describe {table}").fetchall() if row[0] not in NO_CHANGE_OF_THE_CRM]
        rows = connection.execute(f"select cast(to_json(t) as varchar) from (select {', '.join(map(quoted, columns))} from {table}) as t").fetchall()
        tables[name] = sorted(row[0] for row in rows)
    return tables
