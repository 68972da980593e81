"""Dagster's sensor for alerts. It looks at the published snapshot and at Dagster's own runs once a minute, and starts nothing."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.policy import read_policy
from pipelines.alerts import DeadRun, tell
from pipelines.settings import alert_urls, home, read_environment

_ENDED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_LOOK_BACK = timedelta(days=2)


@dg.sensor(
    name="alerts", minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the addresses in BINDWATCH_ALERT_URLS, once each: a gate that turned red, new blocking findings, a run that could not be "
    "completed, recovery to green.",
)  # fmt: skip
def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    policy = read_policy(read_environment().bindwatch_config)
    urls = alert_urls(policy)
    if not urls:
        return dg.SkipReason("BINDWATCH_ALERT_URLS is not set: nobody is told.")
    messages = tell(home(), policy, urls, read_dead_runs(context.instance))
    return dg.SkipReason(f"Told: {'; '.join(message.title for message in messages)}." if messages else "Nothing new.")


def read_dead_runs(instance: dg.DagsterInstance) -> list[DeadRun]:
    """Guarded runs that ended badly in the last two days, whether they left a verdict or not."""
    since = datetime.now(UTC) - _LOOK_BACK
    records = instance.get_run_records(dg.RunsFilter(job_name="guarded_run", statuses=_ENDED, updated_after=since), limit=200)
    return [DeadRun(record.dagster_run.run_id, record.update_timestamp.replace(tzinfo=None)) for record in records]
