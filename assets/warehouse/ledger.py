"""The memory of the warehouse: how each run ended, since when each finding is known, and what became of planned merges.

All of it is written in one transaction at the very end of a run. A run that is killed before leaves no trace here, so the next one finds
exactly what the killed one would have found.
"""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from assets.moments import naive, utc_text
from assets.policy import NEVER_COMPARED
from assets.problems import ConfigurationProblem
from assets.sql import literal, transaction
from assets.verdict import Verdict

RUN_COLUMNS = (
    "run_id, started_at, finished_at, verdict, coverage_from, coverage_to, findings_open, findings_new, findings_resolved, "
    "checks_violated, checks_not_evaluated, run_no, as_of"
)
CHECK_COLUMNS = "run_id, suite, check_name, state, severity, findings, findings_new"


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
    run_no: int
    as_of: datetime


def begin_run(connection: duckdb.DuckDBPyConnection, run_id: str, started_at: datetime) -> None:
    """Notes which run is going on. The steps of one run call it again without effect."""
    if connection.execute("select 1 from main.current_run where run_id = ?", [run_id]).fetchone() is None:
        with transaction(connection):
            connection.execute("delete from main.current_run")
            connection.execute("insert into main.current_run values (?, ?, null)", [run_id, naive(started_at)])


def accept_clock(connection: duckdb.DuckDBPyConnection, who: str) -> None:
    """Notes that a person accepts what the CRMs' clocks say now, although it is before the last proven run. Runs up to that one no longer date anything.

    Raises ConfigurationProblem, and notes nothing, when that is not in question.
    """
    (run_no,) = _one(connection, "select max(run_no) from main.clock_went_back")
    if run_no is None:
        raise ConfigurationProblem("--accept-clock: it is not in question. In the last run no clock was before the last proven run.")
    connection.execute("insert into main.accepted_clock values (?, ?, ?)", [run_no, naive(datetime.now(UTC)), who])


def summarise_run(connection: duckdb.DuckDBPyConnection, verdict: Verdict, violated: list[str], not_evaluated: list[str]) -> RunRecord:
    """The row of `run` for the run that is going on."""
    run_id, started_at, last_pull_no = _one(connection, "select run_id, started_at, last_pull_no from main.current_run")
    covered_from, covered_to = _one(
        connection, "select min(started_at), max(finished_at) from raw.pull where complete and run_id = (select run_id from main.current_run)"
    )
    run_no, as_of = _one(connection, "select run_no, as_of from main.run_clock")
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
        run_id,
        started_at,
        datetime.now(UTC).replace(tzinfo=None),
        verdict,
        covered_from,
        covered_to,
        *counts,
        violated,
        not_evaluated,
        last_pull_no or 0,
        run_no,
        as_of,
    )


def machine_ahead(connection: duckdb.DuckDBPyConnection) -> int | None:
    """How many seconds this machine's clock is ahead of the CRMs'; None when they told no time."""
    (seconds,) = _one(
        connection,
        """select cast(arg_min(epoch(ours - theirs), abs(epoch(ours - theirs))) as bigint)
           from main.crm_clock where run_id = (select run_id from main.current_run)""",
    )
    return None if seconds is None else int(seconds)


def count_allowed_switches(connection: duckdb.DuckDBPyConnection) -> int:
    """How many contacts bound to a live record are predicted to jump, and fail no run for it: somebody waived the finding, or the policy lowers the check
    (switch_imminent), switches it off, allows so many, or counts from a baseline.
    """
    (allowed,) = _one(
        connection,
        """with blocking as (
               select finding.hubspot_contact_id
               from review.finding as finding
               where finding.check_name = 'switch_imminent' and finding.status in ('open', 'acknowledged') and finding.severity = 'block'
                 and not finding.in_baseline
               qualify count(*) over () > coalesce((select max_findings from main.check_policy where check_name = 'switch_imminent'), 0)
           )
           select count(*)
           from core.binding as binding
           anti join blocking on blocking.hubspot_contact_id = binding.hubspot_contact_id
           where binding.bound_state = 'live' and binding.prediction = 'switch' and binding.rule = 11""",
    )
    return int(allowed)


def list_text_fallbacks(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Mapped fields of a type for which there is no kind: their values compare as text, so that another notation counts as another value."""
    rows = connection.execute(
        "select object_type || '.' || salesforce_field || ' (' || unknown_type || ')' from core.mapped_field where unknown_type is not null order by 1"
    ).fetchall()
    return [text for (text,) in rows]


def describe_comparison(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What the manifest says of the mapping: fields_compared, how many HubSpot properties; consent_fields, those of them that say whether a person may be
    written to; never_compared, what the policy names and no run compares; notes, what a person should know of that, in sentences.
    """
    compared, consent = _one(
        connection, "select count(distinct property), coalesce(list(distinct property order by property) filter (consent), []) from core.mapped_field"
    )
    named = connection.execute("select distinct property from main.field_mapping where rule <> 'none' order by property").fetchall()
    never = [name for (name,) in named if name in NEVER_COMPARED]
    notes = [f"{name} is named in [[mapping]] and is not compared: it is {NEVER_COMPARED[name]}." for name in never]
    if not consent:
        notes.insert(0, "No consent field is compared: nobody is warned before a person who opted out is written to. Map one with consent in bindwatch.toml.")
    return {"fields_compared": int(compared), "consent_fields": list(consent), "never_compared": never, "notes": notes}


@dataclass(frozen=True)
class CheckRecord:
    """A row of `check_run`: what the gate said of a check in this run."""

    suite: str
    check_name: str
    state: str
    severity: str
    findings: int
    findings_new: int


def built_models_in(connection: duckdb.DuckDBPyConnection) -> bool:
    """Were the models built in the run that is going on? Otherwise its steps look at another run's tables."""
    (last_pull_no,) = _one(connection, "select last_pull_no from main.current_run")
    return last_pull_no is not None


def last_judgement(connection: duckdb.DuckDBPyConnection) -> tuple[Verdict, list[CheckRecord]]:
    """What the last proven run said, as one says it that finds nothing else: none of it is new."""
    (run_id, verdict) = _one(connection, "select run_id, verdict from main.run where verdict in ('pass', 'fail') order by run_no desc limit 1")
    rows = connection.execute("select suite, check_name, state, severity, findings, 0 from main.check_run where run_id = ? order by rowid", [run_id]).fetchall()
    return verdict, [CheckRecord(*row) for row in rows]


def note_unchanged(connection: duckdb.DuckDBPyConnection) -> None:
    """The run that is going on knows all that was pulled, and what the tables say of it stands."""
    connection.execute("update main.current_run set last_pull_no = (select coalesce(max(pull_no), 0) from raw.pull)")


def set_baseline(connection: duckdb.DuckDBPyConnection, fail_on: str) -> None:
    """With fail_on = "new", remembers what may stay open: all that the last proven run before knew, or, without one, all that this run finds.

    Call it before the findings are built. A baseline that a run set which was never proven does not count.
    """
    with transaction(connection):
        keep = "run_id in (select run_id from main.run where verdict in ('pass', 'fail'))" if fail_on == "new" else "false"
        connection.execute(f"delete from main.baseline where not coalesce({keep}, false)")
        if fail_on == "new":
            connection.execute(
                """insert into main.baseline
                   select coalesce(proven.as_of, clock.as_of), clock.run_id, coalesce(proven.run_no, clock.run_no)
                   from main.run_clock as clock
                   left join (
                       select max(run_no) as run_no, max_by(coalesce(as_of, started_at), run_no) as as_of from main.run where verdict in ('pass', 'fail')
                   ) as proven on true
                   where not exists (from main.baseline)"""
            )


def memory_with(record: RunRecord, checks: Sequence[CheckRecord] = ()) -> dict[str, str]:
    """Queries for the published tables `run` and `check_run`: the runs before, and this one, whether it is in the warehouse yet or not."""
    return {"run": _runs_with(record), "check_run": _checks_with(record, checks)}


def _runs_with(record: RunRecord) -> str:
    values = {name: value for name, value in asdict(record).items() if name != "last_pull_no"}
    types = {"verdict": "varchar", "run_id": "varchar", "checks_violated": "varchar[]", "checks_not_evaluated": "varchar[]"}
    literals = ", ".join(
        f"cast({literal(value)} as {types.get(name, 'bigint' if name.startswith(('findings', 'run_no')) else 'timestamp')}) as {name}"
        for name, value in values.items()
    )
    return f"select {RUN_COLUMNS} from main.run where run_id <> {literal(record.run_id)} union all select {literals} order by run_no"


def _checks_with(record: RunRecord, checks: Sequence[CheckRecord]) -> str:
    here = "".join(f" union all select {', '.join(map(literal, (record.run_id, *astuple(check))))}" for check in checks)
    return f"select {CHECK_COLUMNS} from main.check_run where run_id <> {literal(record.run_id)}{here}"


def close_run(connection: duckdb.DuckDBPyConnection, record: RunRecord, checks: Sequence[CheckRecord] = (), is_unchanged: bool = False) -> None:
    """Ends the run: its row in `run`, and, when it proved something, what it saw in the ledger. is_unchanged: the ledger says so already.

    checks: what the gate said of each. Nobody builds upon the tables of an unproven run where it said nothing, or not of all, or where a pull did not bring
    everything: when a table falls due, headers say of runs that saw both CRMs.
    """
    with transaction(connection):
        row = asdict(record)
        connection.execute(f"insert or replace into main.run ({', '.join(row)}) values ({', '.join('?' for _ in row)})", list(row.values()))
        connection.execute("delete from main.check_run where run_id = ?", [record.run_id])
        if checks:
            marks = ", ".join("?" for _ in CHECK_COLUMNS.split())
            connection.executemany(f"insert into main.check_run ({CHECK_COLUMNS}) values ({marks})", [[record.run_id, *astuple(check)] for check in checks])
        if record.verdict == "unproven":
            (missed,) = _one(connection, f"select count(*) from raw.pull where run_id = {literal(record.run_id)} and not complete")
            if missed or not checks or record.checks_not_evaluated:
                connection.execute("delete from main.built where run_id = ?", [record.run_id])
        elif not is_unchanged:
            # the events first: they are what differs from the ledger as it is
            connection.execute("insert into main.finding_event by name from review.finding_event where run_id = ?", [record.run_id])
            connection.execute("insert into main.planned_merge_event by name from review.planned_merge_event where run_id = ?", [record.run_id])
            _remember_findings(connection)
            _remember_predictions(connection)


def read_trends(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], list[int]]:
    """How many findings each check had in the proven runs before, oldest first, at most nine. By suite and check."""
    rows = connection.execute(
        """select suite, check_name, list(findings order by run_no)[-9:]
           from main.check_run inner join main.run using (run_id)
           where run_id not in (select run_id from main.current_run) and verdict in ('pass', 'fail')
           group by suite, check_name"""
    ).fetchall()
    return {(suite, check): counts for suite, check, counts in rows}


def read_baseline(connection: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    """Since when only new findings fail the run (set_at, UTC), and how many older ones would block (findings). None with fail_on = "all"."""
    (set_at,) = _one(connection, "select max(set_at) from main.baseline")
    if set_at is None:
        return None
    (findings,) = _one(connection, "select count(*) from review.finding where in_baseline and severity = 'block' and status in ('open', 'acknowledged')")
    return {"set_at": utc_text(set_at), "findings": findings}


def count_lapsed_waivers(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many waivers no longer hold since the last proven run: past their date, or because the facts changed."""
    rows = connection.execute(
        "select detail, count(*) from review.finding_event where event = 'waiver_lapsed' and run_id = (select run_id from main.current_run) group by detail"
    ).fetchall()
    return {"date": 0, "facts": 0, **dict(rows)}


def count_old_jumps(connection: duckdb.DuckDBPyConnection) -> int:
    """How many jumps that a former run knew are findings now, and were none in the ledger: since a newer version, a jump stays one until it is made good."""
    (jumps,) = _one(
        connection,
        """select count(*) from review.finding
           where check_name = 'switch_happened' and status <> 'resolved' and change is null
             and fingerprint not in (select fingerprint from main.ledger)""",
    )
    return int(jumps)


def _remember_findings(connection: duckdb.DuckDBPyConnection) -> None:
    """The ledger is written anew: replacing a hundred thousand rows under a key takes DuckDB twenty seconds, writing them one."""
    columns = ", ".join(row[0] for row in connection.execute("describe main.ledger").fetchall())
    # two equal findings are a bug of a check, and the gate says so; looking for them in vain takes DuckDB longer than all the rest
    (is_doubled,) = _one(connection, "select count(*) > count(distinct fingerprint) from review.finding")
    connection.execute(
        f"""create or replace table main.ledger as
            select {"distinct on (fingerprint)" if is_doubled else ""} {columns} from review.finding
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
                  b.confidence, b.candidate_ids, choice.first_by, choice.newest_by
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
