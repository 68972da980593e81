"""The memory of the warehouse: how each run ended, and since when each finding is known.

Both are written in one transaction at the very end of a run. A run that is killed before leaves no trace here, so the next one finds
exactly what the killed one would have found.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from assets.snapshot import Verdict
from assets.warehouse import transaction

RUN_COLUMNS = (
    "run_id, started_at, finished_at, verdict, coverage_from, coverage_to, findings_open, findings_new, findings_resolved, "
    "checks_violated, checks_not_evaluated"
)


@dataclass(frozen=True)
class RunRecord:
    """A row of `run`."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    verdict: Verdict
    coverage_from: datetime | None
    coverage_to: datetime | None
    findings_open: int
    findings_new: int
    findings_resolved: int
    checks_violated: list[str]
    checks_not_evaluated: list[str]
    last_pull_no: int


def summarise_run(connection: duckdb.DuckDBPyConnection, verdict: Verdict, violated: list[str], not_evaluated: list[str]) -> RunRecord:
    """The row of `run` for the run that is going on."""
    run_id, started_at, last_pull_no = _one(connection, "select run_id, started_at, last_pull_no from main.current_run")
    covered_from, covered_to = _one(
        connection, "select min(started_at), max(finished_at) from raw.pull where complete and run_id = (select run_id from main.current_run)"
    )
    counts = (0, 0, 0)
    if last_pull_no is not None:  # set when the models were built in this run
        counts = _one(
            connection,
            """select count(*) filter (where status in ('open', 'acknowledged')),
                      count(*) filter (where status in ('open', 'acknowledged')
                                       and fingerprint not in (select fingerprint from main.ledger where resolved_at is null)),
                      count(*) filter (where status = 'resolved' and fingerprint in (select fingerprint from main.ledger where resolved_at is null))
               from review.finding""",
        )
    return RunRecord(
        run_id, started_at, datetime.now(UTC).replace(tzinfo=None), verdict, covered_from, covered_to, *counts, violated, not_evaluated, last_pull_no or 0
    )


def runs_with(record: RunRecord) -> str:
    """A query for the contract's `run` table: the runs before, and this one, whether it is in the warehouse yet or not."""
    values = {name: value for name, value in asdict(record).items() if name != "last_pull_no"}
    types = {"verdict": "varchar", "run_id": "varchar", "checks_violated": "varchar[]", "checks_not_evaluated": "varchar[]"}
    literals = ", ".join(
        f"cast({_literal(value)} as {types.get(name, 'bigint' if name.startswith('findings') else 'timestamp')}) as {name}" for name, value in values.items()
    )
    return f"select {RUN_COLUMNS} from main.run where run_id <> {_literal(record.run_id)} union all select {literals} order by started_at"


def close_run(connection: duckdb.DuckDBPyConnection, record: RunRecord) -> None:
    """Ends the run: its row in `run`, and, when it proved something, what it saw in the ledger."""
    with transaction(connection):
        row = asdict(record)
        connection.execute(f"insert or replace into main.run ({', '.join(row)}) values ({', '.join('?' for _ in row)})", list(row.values()))
        if record.verdict != "unproven":
            _remember_findings(connection)
            _remember_predictions(connection)


def _remember_findings(connection: duckdb.DuckDBPyConnection) -> None:
    """The ledger is written anew: replacing a hundred thousand rows under a key takes DuckDB twenty seconds, writing them one."""
    columns = ", ".join(row[0] for row in connection.execute("describe main.ledger").fetchall())
    connection.execute(
        f"""create or replace table main.ledger as
            select distinct on (fingerprint) {columns} from review.finding
            union all
            select {columns} from main.ledger where fingerprint not in (select fingerprint from review.finding)"""
    )


def _remember_predictions(connection: duckdb.DuckDBPyConnection) -> None:
    """How the predictions of the run before turned out, and this run's in their place."""
    connection.execute(
        """insert into main.prediction_tally
           select run.run_id, policy, count(is_hit), count(*) filter (where is_hit), count(*) filter (where is_hit is null)
           from core.policy_prediction cross join main.current_run as run
           where source = 'runs'
           group by all"""
    )
    connection.execute("delete from main.prediction")
    connection.execute(
        """insert into main.prediction by name
           select run.run_id, clock.latest_stamp as predicted_at, b.hubspot_contact_id, choice.bound_id, b.prediction, b.predicted_id, b.rule, b.basis,
                  b.confidence, b.candidate_ids, choice.oldest_id, choice.oldest_contact_first_id, choice.newest_by_modstamp, choice.newest_by_modified
           from core.binding as b
           left join core.choice as choice on choice.hubspot_contact_id = b.hubspot_contact_id
           cross join main.current_run as run
           cross join staging.clock as clock
           where (b.prediction <> 'keep' or len(b.candidate_ids) > 1) and clock.latest_stamp is not null"""
    )


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    if row is None:
        raise LookupError("the warehouse has no run that is going on")
    return row


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
