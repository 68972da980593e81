"""Dagster's sensors: one tells alerts, one judges merge plans that somebody drops into the home. Neither starts a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.machine import in_words
from assets.problems import UnexpectedProblem, WarehouseProblem, presentable
from assets.published.merge_check import ANSWERS, JudgedPlan, judge_dropped_plans
from assets.published.merge_plan import FOLDER
from pipelines.alerts import DeadRun, tell
from pipelines.settings import alert_urls, home, policy_for_reading

_ENDED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_LOOK_BACK = timedelta(days=2)


@dg.sensor(
    name="alerts", minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the addresses in BINDWATCH_ALERT_URLS, once each: a gate that turned red, new blocking findings, a run that could not be "
    "completed, recovery to green.",
)  # fmt: skip
def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    with _in_our_words():
        policy = policy_for_reading()
        urls = alert_urls(policy)
        if not urls:
            return dg.SkipReason("BINDWATCH_ALERT_URLS is not set: nobody is told.")
        messages = tell(home(), policy, urls, read_dead_runs(context.instance))
    return dg.SkipReason(f"Told: {'; '.join(message.title for message in messages)}." if messages else "Nothing new.")


@dg.sensor(
    name="merge_plans", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Judges each merge plan in the home's folder merge-plans on the last snapshot as soon as it lies there, reports the check "
    "planned_merge_unsafe, and writes the answer to merge-plans/answers. The next run makes its findings of it.",
)  # fmt: skip
def merge_plans(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    try:
        with _in_our_words():
            judged, seen = judge_dropped_plans(home(), policy_for_reading().merges.oldest_snapshot_hours, context.cursor)
    except WarehouseProblem as problem:
        return dg.SkipReason(str(problem))
    if not judged:
        context.update_cursor(seen)
        return dg.SkipReason("No new merge plan.")
    return dg.SensorResult(asset_events=[_evaluation(judged)], cursor=seen)


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Dagster keeps what a sensor raises, and the text of a library may quote a record."""
    try:
        yield
    except Exception as error:
        raise in_words(error, home()) or UnexpectedProblem(f"Unexpected {presentable(error)}") from None


def _evaluation(judged: list[JudgedPlan]) -> dg.AssetCheckEvaluation:
    """The check of the plans that were judged now. Their rows are in the answers, not here."""
    said = {}
    for plan in judged:
        counts = plan.judgement.counts if plan.judgement else {}
        said[plan.name] = plan.problem or ", ".join(f"{rows} {verdict}" for verdict, rows in counts.items() if rows) or "no rows"
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(["core", "planned_merge"]),
        check_name="planned_merge_unsafe",
        passed=all(plan.judgement is not None and plan.judgement.is_safe for plan in judged),
        severity=dg.AssetCheckSeverity.ERROR,
        description="Merge plans that were handed in: " + "; ".join(f"{name}: {what}" for name, what in said.items()),
        metadata={**said, "answers": dg.MetadataValue.path(str(home() / FOLDER / ANSWERS))},
        blocking=True,
    )


def read_dead_runs(instance: dg.DagsterInstance) -> list[DeadRun]:
    """Guarded runs that ended badly in the last two days, whether they left a verdict or not."""
    since = datetime.now(UTC) - _LOOK_BACK
    records = instance.get_run_records(dg.RunsFilter(job_name="guarded_run", statuses=_ENDED, updated_after=since), limit=200)
    return [DeadRun(record.dagster_run.run_id, record.update_timestamp.replace(tzinfo=None)) for record in records]
