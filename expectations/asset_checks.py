"""The gate as Dagster sees it: one step, one asset check per expectation, on the asset that the check speaks about."""

from collections.abc import Iterator

import dagster as dg
import duckdb

from assets.dagster.certified_binding import red
from assets.dagster.failure import Failed
from assets.dagster.keys import VERDICT_TAG, key
from assets.dagster.modelled import PULLED
from assets.dagster.session import Session, is_guarded
from assets.moments import utc_text
from assets.policy import Policy, masked_email
from assets.progress import doing
from assets.published.publish import publish_verdict
from assets.verdict import Verdict
from assets.warehouse.damage import note_end_of_run
from assets.warehouse.file import with_all_memory
from assets.warehouse.ledger import (
    CheckRecord,
    built_models_in,
    close_run,
    count_lapsed_waivers,
    count_old_jumps,
    memory_with,
    read_baseline,
    read_trends,
    summarise_run,
)
from expectations.gate import Outcome, check_specs, evaluate

# The models are built from these tables before the gate opens, so Dagster cannot hold the models back for a check on them.
# A violation on one of them still fails the run: the gate raises.
_BEFORE_THE_MODELS = {tuple(table.split(".")) for table in PULLED}

_SPECS = [
    dg.AssetCheckSpec(
        spec.name, asset=key(".".join(spec.asset)), description=spec.description, metadata={"suite": spec.suite},
        blocking=spec.can_block and spec.asset not in _BEFORE_THE_MODELS,
    )
    for spec in check_specs()
]  # fmt: skip


_NAMED = 5  # problems that a message spells out


@dg.multi_asset_check(name="gate", specs=_SPECS, can_subset=True)
def gate(context: dg.AssetCheckExecutionContext, session: dg.ResourceParam[Session]) -> Iterator[dg.AssetCheckResult]:
    """Runs every suite, gives the run its verdict, publishes it, and fails the run when a blocking check is violated.

    A check that could not be evaluated gets no result at all, so Dagster shows neither a pass nor a failure, and the run fails with the
    reason. When somebody executes checks without a pull, they are judged on the tables as they are, and nothing is published or remembered.
    """
    with session.step(context) as connection:
        policy = session.connections.policy
        doing("the gate was judging")
        outcomes = with_all_memory(connection, lambda: _evaluate(connection, policy))
        doing("the verdict was being published")
        verdict = judge(outcomes)
        violated = [outcome.name for outcome in outcomes if outcome.blocks]
        not_evaluated = [outcome.name for outcome in outcomes if outcome.state == "not_evaluated"]
        record = summarise_run(connection, verdict, violated, not_evaluated)
        trends = read_trends(connection)
        for outcome in outcomes:
            check = dg.AssetCheckKey(key(".".join(outcome.asset)), outcome.name)
            if outcome.state != "not_evaluated" and check in context.selected_asset_check_keys:
                yield _result(outcome, trends.get((outcome.suite, outcome.name), []), policy)
        if not is_guarded(context) or not built_models_in(connection):
            return
        judged = [CheckRecord(o.suite, o.name, o.state, o.severity, o.findings, o.findings_new) for o in outcomes]
        # First the snapshot, then the memory, and that as late as can be: killed before, the run leaves no trace in what the next one
        # compares itself with.
        publish_verdict(
            connection,
            session.warehouse.home,
            memory_with(record, judged),
            {
                "verdict": verdict,
                "finished_at": utc_text(record.finished_at),
                "problem": _problem(outcomes),
                "checks": [
                    {
                        "suite": o.suite, "check": o.name, "state": o.state, "severity": o.severity, "findings": o.findings,
                        "findings_new": o.findings_new, "problem": o.problem,
                    }
                    for o in outcomes
                ],
                "waivers_lapsed": count_lapsed_waivers(connection),
                "old_jumps": count_old_jumps(connection),
                "baseline": read_baseline(connection),
            },
        )  # fmt: skip
        with_all_memory(connection, lambda: close_run(connection, record, judged))
        note_end_of_run(session.warehouse.home)
    context.instance.add_run_tags(context.run.run_id, {VERDICT_TAG: verdict})
    if not_evaluated:
        raise Failed(f"{len(not_evaluated)} checks could not be evaluated, so this run proves nothing: {_problem(outcomes)}")
    if verdict != "pass":
        raise red(verdict, violated, session.warehouse.home)


def _evaluate(connection: duckdb.DuckDBPyConnection, policy: Policy) -> list[Outcome]:
    """Raises duckdb.OutOfMemoryException where that kept a check from being evaluated: Great Expectations tells it as it tells any other error."""
    outcomes = evaluate(connection, policy)
    for outcome in outcomes:
        if "Out of Memory" in (outcome.problem or ""):
            raise duckdb.OutOfMemoryException(outcome.problem)
    return outcomes


def judge(outcomes: list[Outcome]) -> Verdict:
    """One verdict of all outcomes. What could not be proven outweighs what failed: a red run on partial data would be a guess."""
    if any(outcome.state == "not_evaluated" or (outcome.state == "violated" and outcome.severity == "unproven") for outcome in outcomes):
        return "unproven"
    return "fail" if any(outcome.blocks for outcome in outcomes) else "pass"


def _problem(outcomes: list[Outcome]) -> str | None:
    not_evaluated = [f"{outcome.name} could not be evaluated ({outcome.problem})" for outcome in outcomes if outcome.state == "not_evaluated"]
    unproven = [str(row["reason"]) for o in outcomes if o.state == "violated" and o.severity == "unproven" for row in o.examples]
    problems = not_evaluated + unproven
    more = [f"and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
    return "; ".join(problems[:_NAMED] + more) or None


def _result(outcome: Outcome, trend: list[int], policy: Policy) -> dg.AssetCheckResult:
    metadata: dict[str, dg.MetadataValue] = {
        "findings": dg.MetadataValue.int(outcome.findings),
        "new since the last run": dg.MetadataValue.int(outcome.findings_new),
        "trend": dg.MetadataValue.text(" → ".join(f"{count:,}" for count in [*trend, outcome.findings])),
        "suite": dg.MetadataValue.text(outcome.suite),
    }
    if outcome.examples:
        rows = [_readable(row, policy) for row in outcome.examples]
        metadata["examples"] = dg.MetadataValue.table([dg.TableRecord(_flat(row)) for row in rows])
    if words := _in_words(outcome, policy):
        metadata["examples in words"] = dg.MetadataValue.md(words)
    return dg.AssetCheckResult(
        passed=outcome.state == "holds", check_name=outcome.name, asset_key=key(".".join(outcome.asset)), description=_words(outcome), metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR if outcome.blocks else dg.AssetCheckSeverity.WARN,
    )  # fmt: skip


def _words(outcome: Outcome) -> str:
    counted = f"{outcome.findings:,} open, {outcome.findings_new:,} new"
    if outcome.state == "holds":
        return f"holds: {counted}, and so many are allowed" if outcome.findings else "holds"
    return f"{counted}. Worst: {next((row.get('reason') for row in outcome.examples), '')}"


_IN_WORDS = ("reason", "action", "fingerprint", "hubspot_url", "salesforce_url")  # told below the table, where there is room
_LINKS = (("HubSpot contact", "hubspot_contact_id", "hubspot_url"), ("Salesforce", "salesforce_id", "salesforce_url"))


def _readable(row: dict[str, object], policy: Policy) -> dict[str, object]:
    """An example's columns for the table, its e-mail as the policy wants it."""
    shown = {name: value for name, value in row.items() if name not in _IN_WORDS}
    if policy.privacy.mask_emails and isinstance(shown.get("email"), str):
        shown["email"] = masked_email(str(shown["email"]))
    return shown


def _in_words(outcome: Outcome, policy: Policy) -> str:
    """The examples as Markdown: where to click, what is wrong, what to do; and all findings on the desk."""
    lines = []
    if policy.links.desk_url:
        lines.append(f"[All findings of this check on the desk]({policy.links.desk_url.rstrip('/')}/findings?check={outcome.name})\n")
    for row in outcome.examples:
        links = [f"[{what} {row[what_id]}]({row[url]})" for what, what_id, url in _LINKS if row.get(url)]
        if "reason" in row:
            lines.append(f"1. {', '.join(links)}: {row['reason']} **→ {row['action']}**")
    return "\n".join(lines)


def _flat(row: dict[str, object]) -> dict[str, str | int | float | bool | None]:
    """Dagster's table cells hold plain values only."""
    return {
        key: ", ".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
        for key, value in row.items()
    }
