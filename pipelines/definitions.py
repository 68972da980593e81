"""Wiring, nothing else: what Dagster loads."""

from collections.abc import Iterator
from contextlib import ExitStack

import dagster as dg

from assets import process
from assets.dagster.certified_binding import certified_binding
from assets.dagster.failure import Failed
from assets.dagster.keys import JOB, dagster_section, named
from assets.dagster.modelled import model_assets
from assets.dagster.pulled import RETRIES_TAG, SOURCES, hubspot_contacts, mapped_histories, salesforce_records
from assets.dagster.session import Session, in_our_words
from assets.problems import HomeInUse
from assets.warehouse.file import Warehouse
from expectations.asset_checks import gate
from expectations.gate import checks
from pipelines.dagster_runs import clear_up, refuse, tags_of
from pipelines.sensors import alerts, dead_runs, merge_plans
from pipelines.settings import home, open_decisions, read_connections

process.settle()  # in the processes that Dagster starts for this code location


@dg.resource(description="One run on one home folder: the lock, the warehouse, the connections.")
def session(context: dg.InitResourceContext) -> Iterator[Session]:
    warehouse = Warehouse(home())
    with ExitStack() as held:
        try:
            held.enter_context(warehouse.guard())
        except Exception as error:
            problem = in_our_words(error, warehouse.home)
            if isinstance(problem, HomeInUse) and context.instance is not None and context.run is not None:
                refuse(context.instance, context.run, str(problem))
            raise Failed(str(problem)) from None
        if context.instance is not None and context.run is not None:
            clear_up(context.instance, context.run.run_id, warehouse.home, dagster_section().keep_runs_days)
        yield Session(warehouse, open_decisions(), read_connections)


guarded_run = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.all(),
    description="Pulls both CRMs, builds every table, publishes, and lets the gate judge.",
    tags=tags_of(home()),
)

_UNATTENDED = {RETRIES_TAG: "2"}

hourly = dg.ScheduleDefinition(
    job=guarded_run, cron_schedule="0 * * * *", name=named("hourly"), tags=_UNATTENDED, description="An incremental run every hour. Off until switched on."
)

nightly_reconciliation = dg.ScheduleDefinition(
    job=guarded_run,
    cron_schedule="30 2 * * *",
    name=named("nightly_reconciliation"),
    description="A full run every night, which also finds records that vanished. Off until switched on.",
    tags=_UNATTENDED,
    run_config={"ops": {name: {"config": {"full": True}} for name in ("salesforce", "hubspot")}},
)

defs = dg.Definitions(
    assets=[*SOURCES, salesforce_records, hubspot_contacts, mapped_histories, model_assets(checks()), certified_binding],
    asset_checks=[gate],
    jobs=[guarded_run],
    schedules=[hourly, nightly_reconciliation],
    sensors=[alerts, dead_runs, merge_plans],
    resources={"session": session},
    # A DuckDB file has one writer, and a child process costs seconds.
    executor=dg.in_process_executor,
)
