"""The gate: Great Expectations judges the tables in the warehouse file, and says of each check that it holds, is violated, or could not be evaluated.

A check suite is a folder of SQL files; for each there is one expectation: no more open findings than the policy allows. A table suite is
a JSON file in the format of Great Expectations. This is the only file that imports Great Expectations, and only inside functions:
the import costs several seconds, which no other process should pay.
"""

import atexit
import json
import logging
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import duckdb

from assets.models.sqlfile import CheckFile, check_files
from assets.policy import Policy
from assets.problems import said
from assets.process import imported_for_good
from assets.progress import counted

log = logging.getLogger("bindwatch.gate")

FOLDER = Path(__file__).parent
TABLE_SUITES = FOLDER / "tables"

State = Literal["holds", "violated", "not_evaluated"]
EXAMPLES = 20
_HARDLY_USED = ("scipy.stats", "altair")  # by expectations that no suite has: a sixth of what importing Great Expectations takes
_EXAMPLE_COLUMNS = ("severity", "change", "hubspot_contact_id", "salesforce_id", "rival_ids", "email", "fields_at_risk", "reason", "action", "owner",
                    "fingerprint", "hubspot_url", "salesforce_url")  # fmt: skip


@dataclass(frozen=True)
class CheckSpec:
    """A check as the gate knows it before it ran."""

    suite: str
    name: str
    asset: tuple[str, ...]
    description: str
    can_block: bool


@dataclass(frozen=True)
class Outcome:
    """What the gate says of one check.

    severity: of the worst violation (block, warn, unproven); findings: open ones; findings_new: those of them that are new, reopened or worse
    since the last proven run; examples: at most 20, the worst first; problem: why it could not be evaluated.
    """

    suite: str
    name: str
    asset: tuple[str, ...]
    state: State
    severity: str
    findings: int = 0
    findings_new: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None

    @property
    def blocks(self) -> bool:
        return self.state == "violated" and self.severity in ("block", "unproven")


def checks() -> list[CheckFile]:
    return check_files(FOLDER)


def check_specs() -> list[CheckSpec]:
    """Every check, those of the SQL files and those of the table suites."""
    specs = [CheckSpec(check.suite, check.name, tuple(check.on), check.description, check.can_block) for check in checks()]
    for suite in _table_suites():
        for expectation in suite["expectations"]:
            meta = expectation["meta"]
            specs.append(
                CheckSpec(
                    f"tables/{suite['name']}", meta["check"], _asset(meta["table"]), expectation["description"], meta["severity"] in ("block", "unproven")
                )
            )
    return specs


def evaluate(connection: duckdb.DuckDBPyConnection, policy: Policy) -> list[Outcome]:
    """Runs every suite against the open warehouse. An expectation that raises is not evaluated, which is neither holds nor violated."""
    batches = _Batches(connection)
    counts = _count_findings(connection)
    outcomes: list[Outcome] = []
    by_suite: dict[str, list[CheckFile]] = {}
    for check in checks():
        if _setting(policy, check)["severity"] != "off":
            by_suite.setdefault(check.suite, []).append(check)
    number = sum(map(len, by_suite.values())) + sum(len(suite["expectations"]) for suite in _table_suites())
    for suite_name, suite_checks in by_suite.items():
        counted("check", len(outcomes) + 1, number)
        definition = {"name": suite_name, "expectations": [_check_expectation(check, policy) for check in suite_checks]}
        results = batches.validate("review.finding", definition)
        outcomes += [_check_outcome(check, result, counts.get(check.name, (0, 0))) for check, result in zip(suite_checks, results, strict=True)]
    for suite in _table_suites():
        for table in dict.fromkeys(expectation["meta"]["table"] for expectation in suite["expectations"]):
            counted("check", len(outcomes) + 1, number)
            expectations = [expectation for expectation in suite["expectations"] if expectation["meta"]["table"] == table]
            results = batches.validate(table, {"name": f"{suite['name']} {table}", "expectations": expectations})
            outcomes += [_table_outcome(suite["name"], expectation, result) for expectation, result in zip(expectations, results, strict=True)]
    return outcomes


def _setting(policy: Policy, check: CheckFile) -> dict[str, Any]:
    setting = policy.checks.get(check.name)
    return {"severity": setting.severity if setting else None, "max_findings": setting.max_findings if setting else 0}


def _check_expectation(check: CheckFile, policy: Policy) -> dict[str, Any]:
    """No more open findings than allowed. What is in the baseline counts as a warning."""
    most = int(_setting(policy, check)["max_findings"])
    severity = "case when severity = 'block' and in_baseline then 'warn' else severity end"
    # Great Expectations fetches no more than 200 rows: the worst severity of all of them travels with each.
    query = f"""
        select {severity} as severity, {", ".join(_EXAMPLE_COLUMNS[1:])}, bool_or({severity} <> 'warn') over () as blocks
        from {{batch}} where check_name = '{check.name}' and status in ('open', 'acknowledged')
        qualify count(*) over () > {most}
        order by {severity} = 'warn', blast_radius desc, first_seen_at, fingerprint
        limit {EXAMPLES}"""
    return {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": query}, "meta": {"check": check.name}, "description": check.header[0]}


def _check_outcome(check: CheckFile, result: dict[str, Any], counts: tuple[int, int]) -> Outcome:
    asset = tuple(check.on)
    if problem := _problem(result):
        return Outcome(check.suite, check.name, asset, "not_evaluated", "unproven", problem=problem)
    if result["success"]:
        return Outcome(check.suite, check.name, asset, "holds", check.default_severity, *counts)
    rows = _unexpected_rows(result)
    severity = "warn" if not rows[0]["blocks"] else "unproven" if check.default_severity == "unproven" else "block"
    examples = [{name: row[name] for name in _EXAMPLE_COLUMNS} for row in rows]
    return Outcome(check.suite, check.name, asset, "violated", severity, *counts, examples)


def _count_findings(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, int]]:
    """For each check that has open findings: how many, and how many of them are new, reopened or worse since the last proven run."""
    rows = connection.execute(
        """select check_name, count(*), count(*) filter (where change in ('new', 'reopened', 'worsened'))
           from review.finding where status in ('open', 'acknowledged') group by check_name"""
    ).fetchall()
    return {name: (findings, findings_new) for name, findings, findings_new in rows}


def _table_outcome(suite: str, expectation: dict[str, Any], result: dict[str, Any]) -> Outcome:
    meta = expectation["meta"]
    name, asset = meta["check"], _asset(meta["table"])
    if problem := _problem(result):
        return Outcome(f"tables/{suite}", name, asset, "not_evaluated", "unproven", problem=problem)
    if result["success"]:
        return Outcome(f"tables/{suite}", name, asset, "holds", meta["severity"])
    detail = result["result"]
    rows = _unexpected_rows(result)
    if meta["severity"] == "unproven":  # a fault of Bindwatch, not of the portal
        told = f"{len(rows)} rows contradict it: {expectation['description']}"
        return Outcome(f"tables/{suite}", name, asset, "not_evaluated", "unproven", len(rows), examples=rows[:EXAMPLES], problem=told)
    if not rows:
        rows = [{"value": str(value)} for value in detail.get("partial_unexpected_list", [])]
    count = detail.get("unexpected_count", detail.get("observed_value", len(rows)))
    examples = [{key: value for key, value in row.items() if key != "email"} for row in rows[:EXAMPLES]]
    return Outcome(f"tables/{suite}", name, asset, "violated", meta["severity"], int(count), examples=examples)


def _unexpected_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    details = result["result"].get("details") or {}
    return list(details.get("unexpected_rows") or [])


def _problem(result: dict[str, Any]) -> str | None:
    """Why an expectation raised. A crashed one says success = false; only exception_info tells it from a violated one, in two shapes."""
    info = result.get("exception_info") or {}
    for shape in (info, *(value for value in info.values() if isinstance(value, dict))):
        if shape.get("raised_exception") or shape.get("exception_message"):
            return said(shape.get("exception_message"))
    if not result["success"] and not result.get("result"):
        return "Great Expectations returned no result"
    return None


def _table_suites() -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(TABLE_SUITES.glob("*.json"))]


def _asset(table: str) -> tuple[str, ...]:
    return tuple(table.split("."))


class _Batches:
    """Great Expectations over our own DuckDB connection: no copy of the data, no second lock on the file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        gx = import_great_expectations()
        import duckdb_engine

        from expectations.dialect import URL

        _buffer_rows()
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        self._gx = gx
        self._of_table: dict[str, Any] = {}
        self._source = context.data_sources.add_sql(
            "warehouse",
            connection_string=URL,
            # SQLAlchemy's pool closes what it is given: hand out cursors, keep the connection
            kwargs={"creator": lambda: duckdb_engine.ConnectionWrapper(connection.cursor())},
        )

    def _batch(self, table: str) -> Any:
        """One for all suites on a table: making it takes longer than most expectations."""
        if table not in self._of_table:
            schema, name = table.split(".")
            # a table asset, not a query asset: for that one Great Expectations copies the whole result into a table of its own
            asset = self._source.add_table_asset(table, table_name=name, schema_name=schema)
            self._of_table[table] = asset.add_batch_definition_whole_table("all").get_batch()
        return self._of_table[table]

    def validate(self, table: str, definition: dict[str, Any]) -> Sequence[dict[str, Any]]:
        suite = self._gx.ExpectationSuite(**definition)
        if len(suite.expectations) != len(definition["expectations"]):
            # Great Expectations drops an unknown expectation type without raising
            raise ValueError(f"Great Expectations does not know every expectation type of the suite {definition['name']}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = self._batch(table).validate(suite, result_format="COMPLETE").to_json_dict()["results"]
        # results come in an order of Great Expectations' own
        by_check = {result["expectation_config"]["meta"]["check"]: result for result in results}
        return [by_check[expectation["meta"]["check"]] for expectation in definition["expectations"]]


def import_great_expectations() -> Any:
    """Imports it, quietly. Takes several seconds the first time."""
    for name in ("great_expectations", "great_expectations.data_context.types.base"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), imported_for_good(), _loaded_when_used(_HARDLY_USED):
        warnings.simplefilter("ignore")
        import great_expectations
    atexit.unregister(_leave_quietly)
    atexit.register(_leave_quietly)
    return great_expectations


class _WhenUsed:
    """Finds these modules as others are found, and has them read when something of theirs is first used."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name in self._names else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def _loaded_when_used(names: Collection[str]) -> Iterator[None]:
    finder = _WhenUsed(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _leave_quietly() -> None:
    """At the end of a process DuckDB's binding lists on standard error, in a hundred lines, which of its parts Great Expectations still held."""
    if sys.stderr is not None:
        sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _buffer_rows() -> None:
    """Great Expectations reads a result after its connection went back to the pool; DuckDB has dropped the rows by then. So read them at once."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

    if event.contains(Engine, "after_cursor_execute", _read_at_once):
        return
    _read_at_once.strategy = FullyBufferedCursorFetchStrategy  # type: ignore[attr-defined]
    event.listen(Engine, "after_cursor_execute", _read_at_once)


def _read_at_once(conn: Any, cursor: Any, statement: Any, parameters: Any, context: Any, executemany: Any) -> None:
    if conn.dialect.name == "duckdb" and cursor.description:
        context.cursor_fetch_strategy = _read_at_once.strategy(  # type: ignore[attr-defined]
            cursor, initial_buffer=cursor.fetchall(), alternate_description=cursor.description
        )
