"""The shape of the house: who imports whom, what Dagster loads, and that every SQL file stands on its own."""

import ast
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from sqlglot import exp

from assets.snapshot import TABLES
from assets.sqlfile import CheckFile, SqlFile, check_files, model_files
from assets.warehouse import SQL_FOLDER
from expectations.catalogue import render_catalogue
from tests.crm import Crm

ROOT = Path(__file__).parent.parent
CHECKS = check_files(ROOT / "expectations")
MODELS = model_files(SQL_FOLDER, CHECKS)

# Who may import whom; everything else is forbidden.
ALLOWED = {"assets": {"assets"}, "expectations": {"expectations", "assets"}, "pipelines": {"pipelines", "expectations", "assets"}, "sandbox": {"sandbox"},
           "benchmarks": {"benchmarks", "expectations", "assets", "sandbox"}, "review": {"review", "assets"}}  # fmt: skip
# The sandbox command (the demo starts it as a process), and the one that serves the desk.
USERS = {"cli.py": "sandbox", "review.py": "review"}
# What the desk may know of the rest: published files, decisions, and what a problem is called. Not the warehouse.
READ_BY_THE_DESK = {"decisions", "merge_check", "policy", "problems", "restore_plan", "snapshot", "worklist"}

# The names and columns of the contract, which other tools rely on.
CONTRACT = {
    "salesforce_person": "record_id object_type display_name email_raw email created_at modified_at last_modified_at last_modified_by_id owner_id account_id "
    "state merged_into_id survivor_id converted_contact_id",
    "hubspot_contact": "contact_id email_raw email additional_emails salesforce_lead_id salesforce_contact_id bound_id bound_since last_sync_at modified_at "
    "state merged_into_id",
    "duplicate_cluster": "email lead_count contact_count size oldest_id newest_id hubspot_contact_id bound_id risk",
    "cluster_member": "email record_id object_type created_at modified_at oldest_rank recency_rank is_bound is_predicted",
    "binding": "hubspot_contact_id email bound_id bound_state prediction predicted_id rule basis confidence candidate_ids",
    "switch_event": "hubspot_contact_id switched_at from_id to_id cause overwritten_count",
    "overwrite": "hubspot_contact_id rival_id property hubspot_value salesforce_value rule effect consent",
    "overwritten_value": "hubspot_contact_id switched_at property value_before value_after source_before",
    "merge_event": "loser_id winner_id survivor_id object_type merged_at hubspot_contact_id loser_was_bound outcome",
    "merge_advice": "email hubspot_contact_id step action master_id loser_id reason",
    "prediction_score": "policy source predictions hits ambiguous hit_rate low high",
    "finding": "fingerprint suite check_name severity basis hubspot_contact_id salesforce_id rival_ids email reason fields_at_risk action blast_radius status "
    "owner waived_until first_seen_at last_seen_at resolved_at hubspot_url salesforce_url",
}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        allowed = ALLOWED[package] | ({USERS[path.name]} if package == "pipelines" and path.name in USERS else set())
        assert imports_of(path) & set(ALLOWED) <= allowed, path


def test_the_desk_reads_published_files_only() -> None:
    for path in (ROOT / "review").rglob("*.py"):
        modules = [node.module for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        used = {module.split(".")[1] for module in modules if module and module.startswith("assets.")}
        assert used <= READ_BY_THE_DESK, path
        assert "warehouse.duckdb" not in path.read_text("utf-8")


def test_great_expectations_is_imported_by_the_gate_alone_and_never_at_the_top_of_a_module() -> None:
    for path in (path for package in ALLOWED for path in (ROOT / package).rglob("*.py")):
        users = "great_expectations" in imports_of(path)
        assert not users or path == ROOT / "expectations" / "gate.py", path
        top_level = {alias.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.Import) for alias in node.names}
        assert "great_expectations" not in top_level


def test_the_definitions_load_in_a_fresh_interpreter_without_any_setting_and_without_great_expectations() -> None:
    code = "import sys; from pipelines.definitions import defs; defs.resolve_job_def('guarded_run'); sys.exit('great_expectations' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_the_asset_keys_are_known() -> None:
    from pipelines.definitions import defs

    keys = sorted("/".join(key.path) for key in defs.resolve_asset_graph().get_all_asset_keys())
    assert keys == [
        "core/backfilled_value", "core/binding", "core/binding_history", "core/candidate", "core/choice", "core/cluster_member", "core/departure",
        "core/duplicate_cluster",
        "core/hubspot_contact",
        "core/judged_prediction", "core/merge_advice", "core/merge_chain", "core/merge_event", "core/merge_plan_jump",
        "core/merge_plan_loss", "core/merge_plan_record", "core/merge_plan_row", "core/overwrite", "core/overwritten_value", "core/planned_merge",
        "core/policy_prediction",
        "core/policy_variant", "core/prediction_score", "core/record_set_aside", "core/replaced_value", "core/restorable_contact",
        "core/restorable_value", "core/rival", "core/salesforce_person",
        "core/switch_event", "hubspot/contact",
        "published/certified_binding", "published/snapshot", "raw/hubspot_contact", "raw/hubspot_property_version", "raw/pull", "raw/salesforce_contact",
        "raw/salesforce_lead", "review/contact_detail", "review/edit", "review/finding", "review/finding_event", "review/planned_merge_event",
        "review/record_detail",
        "review/violation", "salesforce/Contact", "salesforce/Lead", "staging/clock", "staging/hubspot_contact",
        "staging/hubspot_merge", "staging/hubspot_property_version", "staging/salesforce_record",
    ]  # fmt: skip


def test_every_asset_has_a_description_and_every_check_is_on_an_asset() -> None:
    from pipelines.definitions import defs

    graph = defs.resolve_asset_graph()
    assert not [key for key in graph.get_all_asset_keys() if not graph.get(key).description]
    assert {check.asset_key for check in graph.asset_check_keys} <= graph.get_all_asset_keys()
    assert {check.name for check in CHECKS} <= {check.name for check in graph.asset_check_keys}


@pytest.fixture(scope="module")
def built() -> duckdb.DuckDBPyConnection:
    """An empty warehouse with all tables; a test leaves it as it finds it."""
    return Crm().build().connection


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.table)
def test_a_model_runs_as_it_stands_in_plain_duckdb_and_describes_each_column(file: SqlFile, built: duckdb.DuckDBPyConnection) -> None:
    connection = built.cursor()
    connection.execute(f"drop {'view' if file.is_view else 'table'} {file.table}")
    connection.execute(file.text)
    columns = [row[0] for row in connection.execute(f"describe {file.table}").fetchall()]
    assert sorted(file.entries) == sorted(columns)
    assert file.header[0].startswith("One row: ")


@pytest.mark.parametrize("file", CHECKS, ids=lambda file: file.name)
def test_a_check_runs_as_it_stands_and_says_what_why_and_what_to_do(file: SqlFile, built: duckdb.DuckDBPyConnection) -> None:
    connection = built.cursor()
    result = connection.execute(file.text)
    columns = {column[0] for column in result.description or []}
    assert {"reason", "action"} <= columns <= {column[0] for column in connection.execute("from review.violation").description or []}
    for word in ("Fails when", "Why:", "Otherwise:", "Rests on:", "Not:", "Steward:"):
        assert word in file.description, word
    assert file.entries["severity"][0].split()[0] in ("block", "warn", "unproven")
    assert file.entries["basis"][0] in ("documented", "observed", "inferred")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_speaks_german_too(check: CheckFile, built: duckdb.DuckDBPyConnection) -> None:
    assert all(check.part(word) for word in ("Auf Deutsch", "Warum", "Sonst"))
    assert "Warum:" not in check.description, "docs/checks.md is in English"
    assert {"reason_de", "action_de"} <= {column[0] for column in built.cursor().execute(check.text).description or []}


def test_column_lineage_is_read_from_the_sql() -> None:
    connection = Crm().build().connection
    schema: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(
        "select table_schema || '.' || table_name, column_name, data_type from information_schema.columns"
    ).fetchall():
        schema.setdefault(table, {})[column] = kind
    files = {file.table: file for file in MODELS}
    lineage = files["core.binding"].column_lineage(schema)
    assert lineage["email"] == [("core.hubspot_contact", "email")]
    without = {
        f"{file.table}.{column}"
        for file in MODELS
        if isinstance(file.statement, exp.Create) and isinstance(file.statement.expression, exp.Query)
        for column, sources in file.column_lineage(schema).items()
        if not sources
    }
    # constants and counts come from no column
    assert without == {
        "core.candidate.matches_email", "core.candidate.matches_primary_email", "core.duplicate_cluster.size", "core.merge_plan_row.is_taken_away",
            "core.switch_event.overwritten_count",
        "core.judged_prediction.source", "core.restorable_value.evidence",
        "core.policy_variant.policy", "core.policy_variant.first_sync", "core.policy_variant.follow_up",
        "core.policy_variant.recency", "core.prediction_score.source", "staging.salesforce_record.object_type",
    }  # fmt: skip


def test_what_is_published_has_the_columns_of_the_contract() -> None:
    connection = Crm().build().connection
    for name, columns in CONTRACT.items():
        found = [row[0] for row in connection.execute(f"describe {TABLES[name]}").fetchall()]
        assert found[: len(columns.split())] == columns.split(), name


def test_the_lock_file_pins_with_hashes_and_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "--index" not in lock
    assert "://" not in lock
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)


def test_the_catalogue_of_checks_is_what_the_headers_say() -> None:
    assert (ROOT / "docs" / "checks.md").read_text("utf-8") == render_catalogue(), "run: make docs"


def test_models_keep_to_sql_that_a_plain_shell_accepts() -> None:
    """No templating: each file parses, and names no parameter."""
    for file in [*MODELS, *CHECKS]:
        assert not list(file.statement.find_all(exp.Parameter, exp.Placeholder)), file.path
    assert duckdb.__version__.startswith("2.")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(check: CheckFile) -> None:
    tree = ast.parse((ROOT / "tests" / "checks" / f"test_{check.suite}.py").read_text("utf-8"))
    tests = [ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    nothing = f"findings('{check.name}') == []"
    assert any(nothing in test for test in tests), "no world in which it must not fire"
    assert any(f"'{check.name}'" in test.replace(nothing, "") for test in tests), "no world in which it fires"
