"""The shape of the house: who imports whom, what Dagster loads, and that every SQL file stands on its own."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from sqlglot import exp

from assets.dagster.modelled import read_schema
from assets.models.lineage import column_lineage, parse
from assets.models.sqlfile import CheckFile, SqlFile, check_files, model_files
from assets.published.contract import TABLES
from assets.published.publish import publish_tables
from assets.sql import SQL_FOLDER
from assets.warehouse.ledger import memory_with, summarise_run
from expectations.catalogue import render_catalogue
from pipelines import dictionary
from tests.crm import Crm
from tests.house import KNOWN, describe_house

ROOT = Path(__file__).parent.parent
CHECKS = check_files(ROOT / "expectations")
MODELS = model_files(SQL_FOLDER, CHECKS)

# What a package may have loaded once all of it was imported in a fresh interpreter: itself and these. "assets" are the modules directly below.
MAY_LOAD = {
    "assets": "",
    "assets.pull": "assets",
    "assets.warehouse": "assets assets.pull",
    "assets.ingest": "assets assets.pull assets.warehouse",
    "assets.models": "assets",
    "assets.published": "assets",
    "assets.connect": "assets assets.pull assets.warehouse assets.models",
    "assets.dagster": "assets assets.pull assets.warehouse assets.ingest assets.models assets.published assets.connect",
    "expectations": "assets assets.pull assets.warehouse assets.ingest assets.models assets.published assets.connect assets.dagster",
    "pipelines": "assets assets.pull assets.warehouse assets.ingest assets.models assets.published assets.connect assets.dagster expectations review",
    "review": "assets assets.published",
    "sandbox": "",
}
# Libraries that cost time or reach out, and the packages that may load them. Of pull, the warehouse takes the file formats alone: no client of a CRM.
LIBRARIES = {
    "dagster": "assets.dagster expectations pipelines",
    "sqlglot": "assets.models",  # alone where column lineage is worked out
    "simple_salesforce": "assets.pull assets.connect assets.ingest assets.dagster expectations pipelines",
    "hubspot": "assets.pull assets.connect assets.ingest assets.dagster expectations pipelines",
    "great_expectations": "",
}
# Imported by one module alone, where it is used: these take long, or are no part of a run.
ALONE = {"sandbox": "pipelines/cli.py", "review": "pipelines/review.py", "great_expectations": "expectations/gate.py"}
OUTSIDE = ("benchmarks", "tests")  # imported by nothing that is delivered

# The names and columns of the contract, which other tools rely on.
CONTRACT = {
    "salesforce_person": "record_id object_type display_name email_raw email created_at modified_at last_modified_at last_modified_by_id owner_id account_id "
    "state merged_into_id survivor_id converted_contact_id",
    "hubspot_contact": "contact_id email_raw email additional_emails salesforce_lead_id salesforce_contact_id bound_id bound_since last_sync_at modified_at "
    "state merged_into_id",
    "duplicate_cluster": "email lead_count contact_count size oldest_id newest_id hubspot_contact_id bound_id risk",
    "cluster_member": "email record_id object_type created_at modified_at oldest_rank recency_rank is_bound is_predicted",
    "binding": "hubspot_contact_id email bound_id bound_state prediction predicted_id rule basis confidence candidate_ids",
    "switch_event": "hubspot_contact_id switched_at from_id to_id cause overwritten_count by_user_id by_user_name by source_type",
    "value_source": "hubspot_contact_id switched_at property value_before value_after source by_user_id by_user_name typed_at",
    "salesforce_user": "user_id name email is_active is_integration",
    "overwrite": "hubspot_contact_id rival_id property hubspot_value salesforce_value rule effect consent",
    "overwritten_value": "hubspot_contact_id switched_at property value_before value_after source_before",
    "merge_event": "loser_id winner_id survivor_id object_type merged_at hubspot_contact_id loser_was_bound outcome",
    "merge_advice": "email hubspot_contact_id step action master_id loser_id reason",
    "prediction_score": "policy source predictions hits ambiguous hit_rate low high",
    "portal_setting": "setting configured found certain cases_for cases_against",
    "finding": "fingerprint suite check_name severity basis hubspot_contact_id salesforce_id rival_ids email reason fields_at_risk action blast_radius status "
    "owner waived_until first_seen_at last_seen_at resolved_at hubspot_url salesforce_url",
}
# Columns that came later stand anywhere behind these.
CONTRACT_GROWN = {"finding": "facts harm deadline_at urgency reason_de action_de resolved_by", "merge_advice": "reason_de enter_values"}


def imports_of(path: Path) -> set[str]:
    """The names that a module imports, wherever that stands: at its top, in a function, under an if."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            names |= {".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names}
    return names


def files_of(package: str) -> list[Path]:
    """All modules of a package; of one with packages below, those directly in it."""
    folder = ROOT / Path(*package.split("."))
    return sorted(folder.glob("*.py") if package == "assets" else folder.rglob("*.py"))


def modules_of(package: str) -> list[str]:
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files_of(package)]


def package_of(module: str) -> str | None:
    """The package of ours, or the watched library, that a loaded module belongs to."""
    parts = module.split(".")
    if parts[0] == "assets":
        return ".".join(parts[:2]) if ".".join(parts[:2]) in MAY_LOAD else "assets"
    return parts[0] if parts[0] in {*MAY_LOAD, *LIBRARIES, *OUTSIDE} else None


def allowed(package: str) -> set[str]:
    libraries = {name for name, users in LIBRARIES.items() if package in users.split()}
    return {package, *MAY_LOAD[package].split(), *libraries} | ({"assets"} if package.startswith("assets") else set())


@pytest.mark.parametrize("package", MAY_LOAD)
def test_imports_go_one_way(package: str) -> None:
    code = f"import importlib, sys; [importlib.import_module(name) for name in {modules_of(package)}]; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert {package_of(module) for module in answer.stdout.split()} - {None} <= allowed(package)


@pytest.mark.parametrize("package", MAY_LOAD)
def test_an_import_in_a_function_goes_the_same_way(package: str) -> None:
    for path in files_of(package):
        found = {package_of(name) for name in imports_of(path)} - {None, package}
        late = {name for name, module in ALONE.items() if path == ROOT / module}
        assert found <= allowed(package) - ALONE.keys() | late, path


def test_no_test_holds_a_large_value_as_long_as_the_tests_last(request: pytest.FixtureRequest) -> None:
    """What a test is given is made when its module is imported, in each process of the tests, whether it runs or not: what is large is made by a function."""
    marks = {id(mark): mark for item in request.session.items for mark in item.iter_markers("parametrize")}
    given = (value for mark in marks.values() for row in mark.args[1] for value in (row if isinstance(row, (tuple, list)) else [row]))
    assert [repr(value[:80]) for value in given if isinstance(value, (str, bytes)) and len(value) > 1_000_000] == []


def test_no_two_modules_share_a_name() -> None:
    """A name says what a module is, so it is that of one thing."""
    names = Counter(path.stem for package in (*MAY_LOAD, "benchmarks") for path in files_of(package) if path.stem != "__init__")
    assert [name for name, times in names.items() if times > 1] == []


def test_the_desk_never_names_the_warehouse() -> None:
    for path in (ROOT / "review").rglob("*.py"):
        assert "warehouse.duckdb" not in path.read_text("utf-8"), path


def test_the_definitions_load_in_a_fresh_interpreter_without_any_setting_and_without_great_expectations() -> None:
    code = "import sys; from pipelines.definitions import defs; defs.resolve_job_def('bindwatch_guarded_run'); sys.exit('great_expectations' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_the_assets_and_the_columns_that_come_from_none_are_known() -> None:
    assert json.loads(KNOWN.read_text("utf-8")) == describe_house(), "if this was meant: make docs"


def test_every_asset_has_a_description_a_layer_and_somebody_who_owns_it_and_every_check_is_on_an_asset() -> None:
    from pipelines.definitions import defs

    graph = defs.resolve_asset_graph()
    assets = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert not [asset.key for asset in assets if not asset.description]
    assert {asset.tags.get("layer") for asset in assets} == {"crm", "raw", "staging", "core", "review", "published"}
    assert {asset.tags["layer"] for asset in assets if not asset.owners} == {"crm"}, "who owns a CRM is not for Bindwatch to say"
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
    assert {"says", "facts"} <= columns <= {column[0] for column in connection.execute("from review.violation").description or []}
    for word in ("Fails when", "Why:", "Otherwise:", "Rests on:", "Not:", "Steward:"):
        assert word in file.description, word
    assert file.entries["severity"][0].split()[0] in ("block", "warn", "unproven")
    assert file.entries["basis"][0] in ("documented", "observed", "inferred")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_speaks_german_too(check: CheckFile) -> None:
    """Its sentences: tests/test_sentences.py."""
    assert all(check.part(word) for word in ("Auf Deutsch", "Warum", "Sonst"))
    assert "Warum:" not in check.description, "docs/checks.md is in English"


@pytest.mark.parametrize("file", [*MODELS, *CHECKS], ids=lambda file: file.path.stem)
def test_the_tables_that_a_file_names_are_those_that_it_reads(file: SqlFile) -> None:
    """Read by pattern and by a parser."""
    statement = parse(file.text)
    target = statement.this if isinstance(statement, exp.Create) else None
    read = {f"{table.db}.{table.name}" for table in statement.find_all(exp.Table) if table is not target and table.db}
    assert file.reads == read - {file.table}
    assert file.is_view == (isinstance(statement, exp.Create) and statement.kind == "VIEW")


def test_column_lineage_is_read_from_the_sql(built: duckdb.DuckDBPyConnection) -> None:
    (binding,) = (file for file in MODELS if file.table == "core.binding")
    assert column_lineage(binding, read_schema(built))["email"] == [("core.hubspot_contact", "email")]


def test_what_is_published_has_the_columns_of_the_contract(built: duckdb.DuckDBPyConnection) -> None:
    connection = built.cursor()
    for name, columns in CONTRACT.items():
        found = [row[0] for row in connection.execute(f"describe {TABLES[name]}").fetchall()]
        assert found[: len(columns.split())] == columns.split(), name
        assert set(CONTRACT_GROWN.get(name, "").split()) <= set(found), name


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_pins_with_hashes_and_names_no_index(name: str) -> None:
    lock = (ROOT / name).read_text("utf-8")
    assert "--index" not in lock
    assert "://" not in lock
    requirements = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line for line in requirements)
    assert lock.count("--hash=sha256:") >= len(requirements)


def test_the_catalogue_of_checks_is_what_the_headers_say() -> None:
    assert (ROOT / "docs" / "checks.md").read_text("utf-8") == render_catalogue(), "run: make docs"


def test_the_page_of_the_published_tables_is_what_the_headers_say() -> None:
    assert (ROOT / "docs" / "tables.md").read_text("utf-8") == dictionary.render(), "run: make docs"


def test_the_page_tells_of_the_columns_that_are_published_and_of_no_other(built: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    connection = built.cursor()
    folder = publish_tables(connection, tmp_path, memory_with(summarise_run(connection, "pass", [], [])), {"run_id": "run", "verdict": "pass"})
    for table in dictionary.published_tables(dictionary.open_empty()):
        published = connection.execute(f"describe from '{folder / table.name}.parquet'").fetchall()
        assert [name for name, _, _ in table.columns] == [row[0] for row in published], table.name


def test_every_published_table_has_a_question_whose_query_runs() -> None:
    connection = dictionary.open_empty()
    for table in dictionary.published_tables(connection):
        assert table.question.endswith("?"), table.name
        connection.execute(table.query)


def test_sql_is_no_wider_than_python() -> None:
    most = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["line-length"]
    files = [path for folder in ("assets", "expectations") for path in (ROOT / folder).rglob("*.sql")]
    lines = ((path, number, line) for path in files for number, line in enumerate(path.read_text("utf-8").splitlines(), 1))
    assert [f"{path.relative_to(ROOT)}:{number}" for path, number, line in lines if len(line) > most] == []


def test_models_keep_to_sql_that_a_plain_shell_accepts() -> None:
    """No templating: each file parses, and names no parameter."""
    for file in [*MODELS, *CHECKS]:
        assert not list(parse(file.text).find_all(exp.Parameter, exp.Placeholder)), file.path
    assert duckdb.__version__.startswith("2.")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(check: CheckFile) -> None:
    tree = ast.parse((ROOT / "tests" / "checks" / f"test_{check.suite}.py").read_text("utf-8"))
    tests = [ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    nothing = f"findings('{check.name}') == []"
    assert any(nothing in test for test in tests), "no world in which it must not fire"
    assert any(f"'{check.name}'" in test.replace(nothing, "") for test in tests), "no world in which it fires"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TO_COME = {"review/locale/fr.po", "docs/integration.fr.md"}  # that a page tells people to make
_PATH = re.compile(r"`((?:assets|benchmarks|docs|expectations|pipelines|review|sandbox|tests)/[\w./-]+)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def test_every_link_of_a_page_leads_somewhere_and_every_path_in_it_is_there() -> None:
    astray = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for target, anchor in _LINK.findall(text):
            led = page.parent / target if target else page
            if not led.exists() or (anchor and anchor not in anchors_of(led)):
                astray.append((page.name, f"{target}#{anchor}"))
        if page.name != "CHANGELOG.md" and page.parent.name != "decisions":  # these may speak of what is gone
            astray += [(page.name, path) for path in _PATH.findall(text) if not (ROOT / path).exists() and path not in TO_COME]
    assert astray == []


def test_no_page_holds_what_git_leaves_where_two_branches_differ() -> None:
    assert [page.name for page in PAGES if re.search(r"^(<{7} |={7}$|>{7} )", page.read_text("utf-8"), re.MULTILINE)] == []


def anchors_of(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
