"""One guarded run from the command line: the Dagster job in this process, and its verdict as an exit code."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from assets import problems
from assets.dagster.keys import JOB
from assets.dagster.session import EXIT_CODE
from assets.machine import check_home, fault_in_texts
from assets.problems import ConfigurationProblem, said
from assets.process import imported_for_good
from assets.progress import doing, end_if_told
from assets.published.snapshot import current_folder, open_folder, read_manifest
from assets.published.worklist import ORDER, order_of
from assets.sql import transaction
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import accept_clock
from assets.warehouse.set_aside import accept_records
from assets.warehouse.shrinkage import accept_shrink
from pipelines.dagster_home import check_postgres, histories_of, prepare_folder
from pipelines.settings import dagster_home, home, is_default_home, is_demo_home, is_own_dagster_home, read_connections, who_acts

log = logging.getLogger("bindwatch")

EXIT_CODES = {"pass": 0, "fail": 1, "unproven": 3}
_OWN_PROBLEMS = {name for name, value in vars(problems).items() if isinstance(value, type) and issubclass(value, problems.Problem)}


@dataclass(frozen=True)
class RunResult:
    """How a run ended. manifest: of the snapshot it published; None when it did not come that far. problem: why it is unproven. is_misconfigured: that is
    because of a setting.
    """

    run_id: str
    verdict: str
    manifest: dict[str, Any] | None
    problem: str | None
    is_misconfigured: bool = False

    @property
    def exit_code(self) -> int:
        return ConfigurationProblem.exit_code if self.is_misconfigured else EXIT_CODES[self.verdict]


def prepare_instance() -> dg.DagsterInstance:
    """The Dagster instance that the command line, the demo and the UI share: $DAGSTER_HOME, or $BINDWATCH_HOME/dagster.

    Raises WarehouseProblem when its history is in a PostgreSQL that cannot be used.
    """
    os.environ["DAGSTER_HOME"] = str(dagster_home())
    prepare_folder(dagster_home(), is_own_dagster_home(), is_demo_home())
    check_postgres(dagster_home())
    return dg.DagsterInstance.get()


def execute(full: bool = False, accepted: Sequence[str] = (), accepted_shrink: Sequence[str] = (), accepted_clock: bool = False) -> RunResult:
    """Runs the job.

    accepted: ids of records that cannot be read and that a person accepts; accepted_shrink: names of what a person says is rightly smaller;
    accepted_clock: a person says that the CRMs' clocks are right now, and were not in the last proven run. Raises ConfigurationProblem or
    MachineProblem before anything starts when settings are missing or wrong, what is accepted is not in question, or the home cannot be written;
    Interrupted when a signal ended it.
    """
    doing("the run was being prepared", "Nothing had begun: run it again.")
    connections = read_connections()
    check_home(home(), is_default_home())
    if is_demo_home() and urlsplit(connections.salesforce.instance_url).hostname not in ("127.0.0.1", "localhost"):
        raise ConfigurationProblem(f"{home()} holds the data of the demo, which would mix with yours. Remove the folder, or set BINDWATCH_HOME to another one.")
    if accepted or accepted_shrink or accepted_clock:
        _accept(accepted, accepted_shrink, accepted_clock)
    with imported_for_good():
        from pipelines.definitions import defs

    # of a run to which nothing is new Dagster warns check by check that it was not judged again: the verdict says so once
    logging.getLogger("dagster._core.execution.plan.active").setLevel(logging.ERROR)
    options = {name: {"config": {"full": full}} for name in ("salesforce", "hubspot")}
    with histories_of(dagster_home(), is_own_dagster_home()), prepare_instance() as instance:
        result = defs.resolve_job_def(JOB).execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": options, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    end_if_told()
    return _read_result(result)


def _accept(ids: Sequence[str], names: Sequence[str], clock: bool) -> None:
    warehouse = Warehouse(home())
    if not warehouse.path.exists():
        given = f"--accept-record {ids[0]}" if ids else f"--accept-shrink {names[0]}" if names else "--accept-clock"
        raise ConfigurationProblem(f"{given}: no run has taken place in {home()}, so nothing is in question.")
    with warehouse.guard(), warehouse.connect() as connection, transaction(connection):
        if ids:
            accept_records(connection, ids, who_acts())
        if names:
            accept_shrink(connection, names, who_acts())
        if clock:
            accept_clock(connection, who_acts())


def _read_result(result: dg.ExecuteInProcessResult) -> RunResult:
    folder = current_folder(home())
    manifest = read_manifest(folder) if folder else None
    if manifest is None or manifest["run_id"] != result.run_id:
        return RunResult(result.run_id, "unproven", None, _failure(result), _is_misconfigured(result))
    verdict = manifest["verdict"]
    if verdict == "pass" and not result.success:
        return RunResult(result.run_id, "unproven", manifest, _failure(result))
    return RunResult(
        result.run_id, verdict, manifest, manifest.get("problem") or (_failure(result) if verdict == "unproven" else None), _is_misconfigured(result)
    )


def _is_misconfigured(result: dg.ExecuteInProcessResult) -> bool:
    """Did a step fail because a setting is wrong?"""
    failures = (event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure)
    return any(failure is not None and EXIT_CODE in failure.metadata for failure in failures)


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """Why the run failed: one sentence for each step, or the reason why none began."""
    reasons = []
    for event in result.all_events:
        error = getattr(event.event_specific_data, "error", None)
        if event.is_step_failure and event.step_failure_data.user_failure_data and event.step_failure_data.user_failure_data.description:
            reasons.append(event.step_failure_data.user_failure_data.description)
        elif isinstance(error, SerializableErrorInfo):
            reasons.append(_reason(error))
    lines = " ".join(dict.fromkeys(reasons)).splitlines()  # what is missing stands in a line each
    return "\n".join(" ".join(line.split()) for line in lines) or "The run did not start, and Dagster does not say why: its log in `bindwatch dev` may."


def _reason(error: SerializableErrorInfo) -> str:
    """Why something failed of which Dagster kept only the words: one of our problems, a fault of the machine, or as much as can be shown."""
    told = [error]
    while (cause := told[-1].cause or told[-1].context) is not None:
        told.append(cause)
    for one in told:
        if one.cls_name is None:  # Failed: the sentence alone
            return one.message.strip()
        if one.cls_name in _OWN_PROBLEMS:
            return one.message.partition(": ")[2].strip()
    fault = fault_in_texts([one.message for one in told], home())
    return str(fault) if fault else f"Unexpected {told[-1].cls_name}: {said(told[-1].message.partition(': ')[2])}."


def read_worst_findings(folder: Path) -> list[dict[str, Any]]:
    """The worst open finding of each check in a published snapshot, the worst check first, in the order of the worklist. Without the baseline."""
    relation = open_folder(folder, ("finding", "hubspot_contact")).execute(
        f"""with worst as (  -- by its name alone: a sort of all their texts takes longer than all else that is printed
               select arg_min(fingerprint, row({ORDER})) as fingerprint, count(*) as findings
               from published.finding
               where status in ('open', 'acknowledged') and not in_baseline
               group by check_name
           )
           select finding.*, contact.display_name, worst.findings
           from published.finding as finding
           inner join worst on worst.fingerprint = finding.fingerprint
           left join published.hubspot_contact as contact on contact.contact_id = finding.hubspot_contact_id
           order by {order_of("finding")}"""
    )
    names = [column[0] for column in relation.description or []]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
