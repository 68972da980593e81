"""Dagster's sensors: one tells alerts, one ends dead runs, one judges merge plans that somebody drops into the home. None starts a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.dagster.keys import REFUSED_TAG, key, named
from assets.machine import in_words
from assets.policy import Policy
from assets.problems import UnexpectedProblem, WarehouseProblem, presentable
from assets.published.merge_check import JudgedPlan, judge_dropped_plans
from assets.published.merge_plan import ANSWERS, FOLDER
from pipelines.alerts import DeadRun, put_off, tell
from pipelines.dagster_runs import end_dead_runs, home_id, is_guarded_run, own_runs
from pipelines.settings import alert_urls, home, is_demo_home, policy_for_reading

_ENDED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_LOOK_BACK = timedelta(days=2)


@dg.sensor(
    name=named("alerts"), minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the addresses in BINDWATCH_ALERT_URLS, once each: a gate that turned red, new blocking findings, a run that could not be "
    "completed, no proven run for long, recovery to green.",
)  # fmt: skip
def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    with _in_our_words():
        problems: list[Exception] = []
        policy = Policy()
        with put_off(problems):
            policy = policy_for_reading()
        urls = alert_urls(policy)
        if is_demo_home():
            return dg.SkipReason("The data of this home are made up: nobody is told.")
        if not urls and not problems:
            return dg.SkipReason("BINDWATCH_ALERT_URLS is not set: nobody is told.")
        messages = tell(home(), policy, urls, read_dead_runs(context.instance))
        if problems:
            raise problems[0]
    return dg.SkipReason(f"Told: {'; '.join(message.title for message in messages)}." if messages else "Nothing new.")


@dg.sensor(
    name=named("dead_runs"), minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs of this home that claim to go on although their process was killed: two looks after it. The queue goes on then, and the daemon "
    "begins the run once more.",
)  # fmt: skip
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    seen_in, _, suspected = (context.cursor or "").partition(" ")  # as in merge_plans
    here = home_id(home()) or "-"
    with _in_our_words():
        ended, suspected_now = end_dead_runs(context.instance, home(), suspected.split() if seen_in == here else ())
    context.update_cursor(" ".join([here, *suspected_now]))
    if suspected_now:
        return dg.SkipReason(f"Nobody holds the lock of the home, and {_listed(suspected_now)} claims to go on: if it still does the next time, it is dead.")
    return dg.SkipReason(f"Ended, because its process was killed: {_listed(ended)}." if ended else "No run claims to go on that does not.")


def _listed(run_ids: list[str]) -> str:
    return ", ".join(run_id[:8] for run_id in run_ids)


@dg.sensor(
    name=named("merge_plans"), minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Judges each merge plan in the home's folder merge-plans on the last snapshot as soon as it lies there, reports the check "
    "planned_merge_unsafe, and writes the answer to merge-plans/answers. The next run makes its findings of it.",
)  # fmt: skip
def merge_plans(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    try:
        with _in_our_words():
            seen_in, _, known = (context.cursor or "").partition(" ")  # a cursor stays when the code location is pointed to another home
            here = home_id(home()) or "-"
            judged, seen = judge_dropped_plans(home(), policy_for_reading().merges.oldest_snapshot_hours, known if seen_in == here else None)
            seen = f"{here} {seen}"
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
    failed = [plan for plan in judged if plan.judgement is None or not plan.judgement.is_safe]
    for plan in judged:
        counts = plan.judgement.counts if plan.judgement else {}
        said[plan.name] = plan.problem or ", ".join(f"{rows} {verdict}" for verdict, rows in counts.items() if rows) or "no rows"
    return dg.AssetCheckEvaluation(
        asset_key=key("core.planned_merge"),
        check_name="planned_merge_unsafe",
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if not failed or any(plan.could_be_plan for plan in failed) else dg.AssetCheckSeverity.WARN,
        description="Merge plans that were handed in: " + "; ".join(f"{name}: {what}" for name, what in said.items()),
        metadata={**said, "answers": dg.MetadataValue.path(str(home() / FOLDER / ANSWERS))},
        blocking=True,
    )


def read_dead_runs(instance: dg.DagsterInstance) -> list[DeadRun]:
    """Guarded runs of this home that ended badly in the last two days, whether they left a verdict or not. The oldest first. One that was refused, because
    another was going on, did not end badly.
    """
    ours = own_runs(home(), updated_after=datetime.now(UTC) - _LOOK_BACK)
    dead: list[DeadRun] = []
    later: frozenset[str] = frozenset()
    for record in instance.get_run_records(ours, limit=500) if ours else ():  # the latest comes first
        run = record.dagster_run
        if is_guarded_run(run):
            if run.status in _ENDED and REFUSED_TAG not in run.tags:
                dead.append(DeadRun(run.run_id, record.update_timestamp.replace(tzinfo=None), later))
            later |= {run.run_id}
    return dead[::-1]
