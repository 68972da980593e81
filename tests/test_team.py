"""What a team sees and does around the runs: Dagster's pages, decisions between two runs, retries of scheduled runs, PostgreSQL."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from assets.dagster import session
from assets.dagster.keys import JOB, key
from assets.dagster.pulled import RETRIES_TAG
from assets.published.decisions import Decision, DecisionStore
from assets.published.worklist import Filter, Worklist
from assets.sql import count_rows
from assets.warehouse.file import Warehouse
from pipelines import guarded_run
from pipelines.guarded_run import prepare_instance
from pipelines.sensors import alerts
from pipelines.settings import DEMO_MARK, open_decisions
from sandbox.faults import parse_fault
from sandbox.integration import poll
from sandbox.server import TEAM_SETTINGS, SandboxServer
from sandbox.story import Story
from sandbox.world import id18
from tests.live import ROOT, Run, check_manifest, published, runner, served, snapshot, some_days_ago
from tests.postgres import Server

pytestmark = pytest.mark.filterwarnings("ignore")

POLICY = """
[links]
hubspot_portal_id = "77"
desk_url = "https://desk.example"
[pull]
patience_seconds = 0.01
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SandboxServer]:
    """A portal with one contact, bound to a record that nobody knows; Salesforce has another one."""
    story = Story([], 1, some_days_ago(3))
    story.world.create_record("Contact", {"LastName": "Lee", "Email": "bob@example.com"})
    story.world.create_contact({"email": "ann@example.com", "salesforceleadid": id18("00Q9z00000Gone1")}, "IMPORT")
    with served(story, tmp_path / "sandbox") as server:
        yield server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Run:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text(POLICY)
    return runner(monkeypatch, home, policy)


def evaluation(check: str, table: str) -> dg.AssetCheckEvaluation:
    """What Dagster kept of the last evaluation of a check."""
    with guarded_run.prepare_instance() as instance:
        wanted = dg.AssetCheckKey(key(table), check)
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([wanted])[wanted]
        assert record.event is not None and record.event.dagster_event is not None
        return record.event.dagster_event.asset_check_evaluation_data


def test_dagster_shows_of_a_check_how_many_how_many_new_the_trend_examples_and_links(run: Run, server: SandboxServer) -> None:
    run(server)
    server.story.world.create_contact({"email": "bob@example.com", "salesforceleadid": id18("00Q9z00000Gone2")}, "IMPORT")
    run(server)
    shown = evaluation("bound_record_unknown", "core.binding")
    metadata: dict[str, Any] = {name: value.value for name, value in shown.metadata.items()}
    assert (shown.passed, shown.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert (metadata["findings"], metadata["new since the last run"], metadata["trend"]) == (2, 1, "1 → 2")
    table = shown.metadata["examples"]
    assert isinstance(table, dg.TableMetadataValue)
    examples = [record.data for record in table.records]
    assert {example["email"] for example in examples} == {"a***@example.com", "b***@example.com"}
    assert {example["change"] for example in examples} == {None, "new"}
    assert "https://app.hubspot.com/contacts/77/record/0-1/" in metadata["examples in words"]
    assert f"{server.environment['SALESFORCE_INSTANCE_URL']}/00Q9z00000Gone1" in metadata["examples in words"]
    assert "https://desk.example/findings?check=bound_record_unknown" in metadata["examples in words"]
    assert evaluation("latent_duplicate", "core.duplicate_cluster").passed


def told_by_dagster(run_id: str) -> Sequence[dg.EventLogEntry]:
    with guarded_run.prepare_instance() as instance:
        return instance.all_logs(run_id)


def test_the_rows_of_a_table_are_told_by_the_step_that_has_added_the_last_of_them(run: Run, server: SandboxServer, home: Path) -> None:
    for title in ("CEO", "CFO"):  # two records of one person: the history of mapped properties is read, after both pulls
        server.story.world.create_record("Contact", {"LastName": "Lee", "Email": "ann@example.com", "Title": title})
    events = told_by_dagster(run(server).run_id)
    told = {}
    for event in (one.dagster_event for one in events if one.dagster_event is not None and one.dagster_event.is_step_materialization):
        table = event.step_materialization_data.materialization.asset_key.path[-2:]
        told[".".join(table)] = (event.step_key, event.step_materialization_data.materialization.metadata.get("dagster/row_count"))
    with Warehouse(home).connect() as connection:
        raw = {table: (step, count.value) for table, (step, count) in told.items() if count is not None and table.startswith("raw.")}
        assert raw == {table: (step, count_rows(connection, table)) for table, (step, _) in raw.items()}
    assert raw["raw.hubspot_property_version"][0] == "histories"
    assert raw["raw.hubspot_history_read"] == ("histories", 1)


def test_a_red_gate_says_once_that_nothing_is_certified(run: Run, server: SandboxServer) -> None:
    result = run(server)
    assert result.verdict == "fail"
    (said,) = [event.user_message for event in told_by_dagster(result.run_id) if "Not executing" in event.user_message]
    assert said == "Dependencies for step bindwatch__published__certified_binding failed: ['gate']. Not executing."


def execute_alone(**selection: Any) -> dg.ExecuteInProcessResult:
    """What the buttons "Execute" and "Materialize" of one check or asset do."""
    from pipelines.definitions import defs

    job = defs.get_repository_def().get_implicit_global_asset_job_def().get_subset(**selection)
    with guarded_run.prepare_instance() as instance:
        return job.execute_in_process(instance=instance, raise_on_error=False)


def test_a_check_executed_alone_is_judged_and_leaves_the_memory_and_the_verdict_alone(run: Run, server: SandboxServer, home: Path) -> None:
    run(server)
    before = (check_manifest(home), published(home, "run"))
    check = dg.AssetCheckKey(key("core.binding"), "bound_record_unknown")
    result = execute_alone(asset_selection=set(), asset_check_selection={check})
    (shown,) = result.get_asset_check_evaluations()
    assert (shown.check_name, shown.passed) == ("bound_record_unknown", False)
    assert (check_manifest(home), published(home, "run")) == before
    with Warehouse(home).connect() as connection:
        assert connection.execute("select count(*) from main.run").fetchone() == (1,)


def of_layers(*layers: str) -> set[dg.AssetKey]:
    """Assets as somebody chooses them in the UI: by group."""
    from pipelines.definitions import defs

    graph = defs.resolve_asset_graph()
    return {asset for asset in graph.materializable_asset_keys if asset.path[1] in layers}


MODELS = ("staging", "core", "review")  # groups 3 to 5: they cannot be had without each other, nor without raw/pull and the snapshot


@pytest.mark.parametrize("verdict", ["fail", "pass"])
def test_models_rebuilt_alone_say_so_and_the_last_proof_stays(run: Run, server: SandboxServer, home: Path, verdict: str) -> None:
    story = server.story
    story.world.create_record("Contact", {"FirstName": "Cleo", "LastName": "Lee", "Email": "cleo@example.com"})
    if verdict == "pass":
        story.world.contacts.clear()
        poll(story.world, story.settings)
    assert run(server).verdict == verdict
    before, tables, runs = check_manifest(home), snapshot(home), published(home, "run")
    assert before["rebuilt_since"] is None
    server.story.world.create_contact({"email": "bob@example.com", "salesforceleadid": id18("00Q9z00000Gone2")}, "IMPORT")
    assert execute_alone(asset_selection={key("raw.hubspot_contact"), key("raw.hubspot_owner")}, asset_check_selection=set()).success
    assert check_manifest(home) == before, "a pull alone"
    models = of_layers(*MODELS) | {key("raw.pull"), key("published.snapshot")}
    for checks in (set(), {dg.AssetCheckKey(key("core.binding"), "bound_record_unknown")}):
        result = execute_alone(asset_selection=models, asset_check_selection=checks)
        materialized = {event.asset_key: event.materialization.metadata for event in result.get_asset_materialization_events()}
        assert f"Published stay the tables and the verdict ({verdict}) of the run {before['run_id']}" in str(materialized[key("core.binding")]["rebuilt since"])
        assert key("published.snapshot") not in materialized
        after = check_manifest(home)
        rebuilt = after.pop("rebuilt_since")
        assert rebuilt["run_id"] == result.run_id
        assert datetime.fromisoformat(rebuilt["at"]) > datetime.fromisoformat(after["finished_at"])
        assert {**after, "rebuilt_since": None, "checksum": before["checksum"]} == before
        assert (snapshot(home), published(home, "run")) == (tables, runs)
    with Warehouse(home).connect() as connection:
        assert connection.execute("select count(*) from main.run").fetchone() == (1,)
    # the next guarded run finds what is new as if nobody had rebuilt anything
    second = run(server)
    assert (second.verdict, check_manifest(home)["rebuilt_since"]) == ("fail", None)
    assert {row["change"] for row in published(home, "finding") if row["hubspot_contact_id"] == max(server.story.world.contacts)} == {"new"}


def test_a_step_that_fails_alone_takes_no_verdict_back(run: Run, server: SandboxServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(server)
    before = check_manifest(home)
    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", "wrong")
    assert not execute_alone(asset_selection={key("raw.hubspot_contact"), key("raw.hubspot_owner")}, asset_check_selection=set()).success
    monkeypatch.setenv("BINDWATCH_CONFIG", str(home / "none.toml"))
    assert not execute_alone(asset_selection=of_layers(*MODELS) | {key("raw.pull"), key("published.snapshot")}, asset_check_selection=set()).success
    assert (check_manifest(home), len(published(home, "run"))) == (before, 1)


def test_bindings_are_not_certified_apart_from_a_green_gate(run: Run, server: SandboxServer, home: Path) -> None:
    run(server)
    before = check_manifest(home)
    result = execute_alone(asset_selection={key("published.certified_binding")}, asset_check_selection=set())
    assert not result.success
    assert not (home / "certified" / "binding.parquet").exists()
    assert check_manifest(home) == before


def test_a_waiver_turns_the_gate_green_until_the_facts_change(run: Run, server: SandboxServer, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(server).exit_code == 1
    store = DecisionStore(home)
    (finding,) = Worklist(home, store).find(Filter(checks=("bound_record_unknown",)))
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=9)
    store.record([Decision("waive", "Ann", finding, reason="a former org", waived_until=until)])
    assert run(server).exit_code == 0
    assert check_manifest(home)["waivers_lapsed"] == {"date": 0, "facts": 0}
    # a record with the contact's e-mail appears: another fact of the same problem
    server.story.world.create_record("Lead", {"LastName": "Lee", "Email": "ann@example.com"})
    assert run(server).exit_code == 1
    assert check_manifest(home)["waivers_lapsed"] == {"date": 0, "facts": 1}
    (finding,) = Worklist(home, store).find(Filter(checks=("bound_record_unknown",)))
    assert (finding["waiver_lapsed"], finding["change"]) == ("facts", "worsened")


# ── schedules and retries ────────────────────────────────────────────────────────────────────────────────────────────────────────


def tagged(monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]) -> None:
    """Runs carry the tags of a schedule."""
    from pipelines.definitions import defs

    job = defs.resolve_job_def(JOB)
    original = type(job).execute_in_process
    monkeypatch.setattr(type(job), "execute_in_process", lambda self, **options: original(self, **options, tags=tags))


def test_a_scheduled_run_begins_a_pull_again_when_a_crm_does_not_answer(run: Run, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RETRY_SECONDS", 0)
    tagged(monkeypatch, {RETRIES_TAG: "2"})
    server.faults.ask([parse_fault("503 path=/crm times=2")])
    assert run(server).verdict == "fail"


def test_a_run_that_somebody_waits_for_says_at_once_that_a_crm_does_not_answer(run: Run, server: SandboxServer) -> None:
    server.faults.ask([parse_fault("503 path=/crm times=4")])
    result = run(server)
    assert result.exit_code == 3
    assert "HubSpot" in (result.problem or "")


def test_a_refused_token_is_not_tried_again(run: Run, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RETRY_SECONDS", 3600)
    tagged(monkeypatch, {RETRIES_TAG: "2"})
    assert run(server, HUBSPOT_ACCESS_TOKEN="wrong").exit_code == 3


def test_schedules_are_off_until_switched_on_and_the_alerts_are_on() -> None:
    from pipelines.definitions import defs

    hourly, nightly = (defs.resolve_schedule_def(f"bindwatch_{name}") for name in ("hourly", "nightly_reconciliation"))
    assert {hourly.default_status, nightly.default_status} == {dg.DefaultScheduleStatus.STOPPED}
    assert defs.resolve_sensor_def("bindwatch_alerts").default_status is dg.DefaultSensorStatus.RUNNING
    context = dg.build_schedule_context()
    (request,) = nightly.evaluate_tick(context).run_requests or ()
    assert request.run_config["ops"]["hubspot"]["config"] == {"full": True}
    assert request.tags[RETRIES_TAG] == "2"


def test_pulled_and_certified_assets_have_a_freshness_policy() -> None:
    from pipelines.definitions import defs

    graph = defs.resolve_asset_graph()
    fresh = {"/".join(key.path) for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy is not None}
    assert fresh == {
        f"bindwatch/{table}" for table in (
            "raw/salesforce_lead", "raw/salesforce_contact", "raw/hubspot_contact", "raw/hubspot_property_version", "published/certified_binding",
        )
    }  # fmt: skip


# ── Dagster on PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_and_events_of_a_team_are_kept_in_postgresql(home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.asset
    def something() -> None:
        """An asset."""

    for name, value in (("DAGSTER_HOME", str(home / "dagster")), ("BINDWATCH_HOME", str(home)), ("BINDWATCH_DAGSTER_POSTGRES_URL", postgres.url())):
        monkeypatch.setenv(name, value)
    with prepare_instance() as instance:
        storages = (instance.event_log_storage, instance.run_storage, instance.schedule_storage)
        assert all("postgres" in type(storage).__module__ for storage in storages)
        run_id = dg.materialize([something], instance=instance).run_id
    with prepare_instance() as instance:
        record = instance.get_run_by_id(run_id)
        assert record is not None and record.status is dg.DagsterRunStatus.SUCCESS
        assert instance.get_latest_materialization_event(dg.AssetKey("something")) is not None
    # its settings are a file that belongs to the team; no password is in it
    text = (home / "dagster" / "dagster.yaml").read_text()
    assert "BINDWATCH_DAGSTER_POSTGRES_URL" in text and postgres.url() not in text
    assert "max_concurrent_runs: 1" in text


def test_the_demo_in_a_shell_with_a_teams_variables_touches_nothing_of_the_team(home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = home.parent / "dagster-of-the-team"
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_text((ROOT / "pipelines" / "dagster-postgres.yaml").read_text())  # of a demo with an older version
    (home / DEMO_MARK).touch()
    for name, value in (
        ("DAGSTER_HOME", str(theirs)), ("BINDWATCH_HOME", str(home)), ("BINDWATCH_DAGSTER_POSTGRES_URL", postgres.url()),
        ("BINDWATCH_DECISIONS_URL", postgres.url()), ("BINDWATCH_ALERT_URLS", "json://127.0.0.1:9/x"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    with prepare_instance() as instance:
        assert "postgres" not in type(instance.run_storage).__module__
        with dg.build_sensor_context(instance=instance) as context:
            assert "made up" in str(alerts(context))
    assert (home / "dagster" / "history").exists()
    assert not theirs.exists()
    assert not open_decisions().is_elsewhere


def test_what_the_sandbox_tells_a_shell_to_set_takes_a_teams_stores_out_of_it(server: SandboxServer, tmp_path: Path, postgres: Server) -> None:
    assert set(TEAM_SETTINGS) >= {"BINDWATCH_DECISIONS_URL", "BINDWATCH_DAGSTER_POSTGRES_URL", "DAGSTER_HOME"}
    shell = f"set -a; . {tmp_path}/sandbox/environment; set +a; env"
    exported = dict.fromkeys(TEAM_SETTINGS, postgres.url())
    told = subprocess.run(["sh", "-c", shell], env={**os.environ, **exported}, capture_output=True, text=True, check=True).stdout
    assert postgres.url() not in told
    assert f"HUBSPOT_BASE_URL={server.environment['HUBSPOT_BASE_URL']}" in told


def test_two_homes_on_one_server_keep_their_decisions_apart(run: Run, server: SandboxServer, home: Path, postgres: Server) -> None:
    with sa.create_engine(postgres.url()).begin() as connection:
        connection.execute(sa.text("drop table if exists bindwatch_decision"))
    homes = home, home.parent / "second"

    def run_both() -> list[int]:
        return [run(server, BINDWATCH_HOME=str(one), BINDWATCH_DECISIONS_URL=postgres.url()).exit_code for one in homes]

    assert run_both() == [1, 1]
    names = [check_manifest(one)["home_id"] for one in homes]
    assert len(set(names)) == 2
    store = DecisionStore(homes[0], postgres.url())
    (finding,) = Worklist(homes[0], store).find(Filter(checks=("bound_record_unknown",)))
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=9)
    store.record([Decision("waive", "Ann", finding, reason="a former org", waived_until=until)])
    assert DecisionStore(homes[1], postgres.url()).read() == []
    assert run_both() == [0, 1]
    assert [check_manifest(one)["home_id"] for one in homes] == names
