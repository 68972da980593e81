"""One guarded run from the command line: the Dagster job in this process, and its verdict as an exit code."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from assets.problems import ConfigurationProblem, PullProblem, WarehouseProblem
from assets.snapshot import current_folder, open_folder, read_manifest
from assets.warehouse import Warehouse
from pipelines.settings import home, read_connections

log = logging.getLogger("bindwatch")

DEMO_MARK = "demo-world"  # a file in a home whose data are made up
EXIT_CODES = {"pass": 0, "fail": 1, "unproven": 3}
_OWN_PROBLEMS = {problem.__name__ for problem in (ConfigurationProblem, PullProblem, WarehouseProblem)}


@dataclass(frozen=True)
class RunResult:
    """How a run ended. manifest: of the snapshot it published; None when it did not come that far. problem: why it is unproven."""

    run_id: str
    verdict: str
    manifest: dict[str, Any] | None
    problem: str | None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def prepare_instance() -> dg.DagsterInstance:
    """The Dagster instance that the command line, the demo and the UI share: $DAGSTER_HOME, or $BINDWATCH_HOME/dagster.

    Its dagster.yaml is made once, and then belongs to whoever runs it. Where BINDWATCH_DAGSTER_POSTGRES_URL is set at that moment, runs and
    events are kept there.
    """
    folder = Path(os.environ.setdefault("DAGSTER_HOME", str(home() / "dagster")))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        names = ["dagster.yaml", *(["dagster-postgres.yaml"] if os.environ.get("BINDWATCH_DAGSTER_POSTGRES_URL") else [])]
        text = "".join((Path(__file__).parent / name).read_text("utf-8") for name in names)
        (folder / "dagster.yaml").write_text(text, "utf-8")
    return dg.DagsterInstance.get()


def execute(full: bool = False) -> RunResult:
    """Runs the job. Raises ConfigurationProblem before anything starts when settings are missing or wrong."""
    connections = read_connections()
    if (home() / DEMO_MARK).exists() and urlsplit(connections.salesforce.instance_url).hostname not in ("127.0.0.1", "localhost"):
        raise ConfigurationProblem(f"{home()} holds the data of the demo, which would mix with yours. Remove the folder, or set BINDWATCH_HOME to another one.")
    from pipelines.definitions import defs

    options = {name: {"config": {"full": full}} for name in ("salesforce", "hubspot")}
    with prepare_instance() as instance:
        _end_dead_runs(instance)
        result = defs.resolve_job_def("guarded_run").execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": options, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    return _read_result(result)


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """A killed process cannot tell Dagster. Whatever still claims to run while nobody holds the lock is dead."""
    try:
        with Warehouse(home()).guard():
            for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])):
                instance.report_run_failed(run, "The process was killed. The next run went on where this one stopped.")
    except WarehouseProblem:
        return  # a live run holds the lock; executing will say so


def _read_result(result: dg.ExecuteInProcessResult) -> RunResult:
    folder = current_folder(home())
    manifest = read_manifest(folder) if folder else None
    if manifest is None or manifest["run_id"] != result.run_id:
        return RunResult(result.run_id, "unproven", None, _failure(result))
    verdict = manifest["verdict"]
    if verdict == "pass" and not result.success:
        return RunResult(result.run_id, "unproven", manifest, _failure(result))
    return RunResult(result.run_id, verdict, manifest, manifest.get("problem") or (_failure(result) if verdict == "unproven" else None))


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """Why the run failed: one sentence for each step, or the reason why none began."""
    reasons = []
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.user_failure_data and event.step_failure_data.user_failure_data.description:
            reasons.append(event.step_failure_data.user_failure_data.description)
        elif event.is_step_failure or event.event_type is dg.DagsterEventType.RESOURCE_INIT_FAILURE:
            error = getattr(event.event_specific_data, "error", None)
            while error is not None and error.cls_name not in _OWN_PROBLEMS and error.cause is not None:
                error = error.cause
            reasons.append(error.message.partition(": ")[2] if error else "")
    return " ".join(" ".join(dict.fromkeys(reasons)).split()) or "The run did not start."


def read_worst_findings(folder: Path) -> list[dict[str, Any]]:
    """The worst open finding of each check in a published snapshot, the worst check first: by severity, blast radius, age. Without the baseline."""
    relation = open_folder(folder).execute(
        """select finding.*, contact.display_name, count(*) over (partition by finding.check_name) as findings
           from published.finding as finding
           left join published.hubspot_contact as contact on contact.contact_id = finding.hubspot_contact_id
           where status in ('open', 'acknowledged') and not in_baseline
           qualify row_number() over (
               partition by finding.check_name
               order by main.severity_rank(severity) desc, blast_radius desc, first_seen_at, fingerprint) = 1
           order by main.severity_rank(severity) desc, blast_radius desc, findings desc, check_name"""
    )
    names = [column[0] for column in relation.description or []]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
