"""The Dagster assets built from SQL: one file = one table = one asset, all in one step, and the snapshot published from them.

Descriptions, dependencies, columns and column lineage are read from the SQL files; nothing is declared twice.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from assets.dagster.keys import key, named
from assets.dagster.session import Session, is_guarded
from assets.files import is_sealed, read_json, sealed, set_aside, write_whole
from assets.models.build import BuiltTable, build_models, describe_tables
from assets.models.sqlfile import CheckFile, SqlFile, model_files
from assets.moments import utc_text
from assets.progress import doing
from assets.published.decisions import DecisionStore, note_decisions, write_decisions
from assets.published.merge_plan import load_merge_plans
from assets.published.publish import publish_tables, publish_verdict
from assets.published.snapshot import read_manifest
from assets.sql import SQL_FOLDER, count_rows
from assets.warehouse.coverage import read_coverage, unseen_histories
from assets.warehouse.file import Warehouse
from assets.warehouse.identity import name_home, read_identity
from assets.warehouse.ledger import (
    RunRecord,
    count_allowed_switches,
    describe_comparison,
    list_text_fallbacks,
    machine_ahead,
    memory_with,
    set_baseline,
    summarise_run,
)
from assets.warehouse.policy_tables import write_policy
from assets.warehouse.watermark import loaded_pulls

_GROUPS = {"staging": "3_staging", "core": "4_core", "review": "5_review"}  # core has one for each subject: 4_core_people
PULLED = [
    "raw.salesforce_lead", "raw.salesforce_contact", "raw.salesforce_user", "raw.salesforce_field_history", "raw.hubspot_contact", "raw.hubspot_owner",
    "raw.hubspot_property_version", "raw.hubspot_history_read", "raw.portal_setting",
]  # fmt: skip
OWNERS = ["team:data-quality"]
SNAPSHOT = key("published.snapshot")


def model_assets(checks: list[CheckFile]) -> dg.AssetsDefinition:
    """The step `models`. checks: the files whose violations become findings."""
    files = model_files(SQL_FOLDER, checks)
    known = {file.table for file in files} | set(PULLED)
    specs = [
        dg.AssetSpec(key("raw.pull"), deps=[key(table) for table in PULLED], group_name=named("2_raw"), kinds={"duckdb"},
                     description="One row: a pull. From which stamp to which, how many rows, complete or not."),
        *(_spec(file, _reads(file, checks) & known) for file in files),
        dg.AssetSpec(
            SNAPSHOT,
            deps=[key(file.table) for file in files if file.table.startswith(("core.", "review."))],
            group_name=named("6_published"),
            kinds={"parquet"},
            skippable=True,  # only a guarded run publishes
            description="The tables that stewards and other tools read: $BINDWATCH_HOME/published/current, switched as a whole. "
            "Published before the gate has spoken, because a red run is when it is needed.",
        ),
    ]  # fmt: skip

    @dg.multi_asset(name="models", specs=specs)
    def models(context: dg.AssetExecutionContext, session: dg.ResourceParam[Session]) -> Iterator[dg.MaterializeResult[None]]:
        """Builds every SQL table from raw, runs every check, and publishes the snapshot.

        Alone, without the pull before and the gate after, it proves nothing: then the last proof stays published, verdict and tables.
        """
        guarded, rebuilt = is_guarded(context), dict[str, str]()
        with session.step(context) as connection:
            connections = session.connections
            doing("the tables were being built")
            write_policy(connection, connections.policy, connections.salesforce.instance_url, [check.as_row for check in checks])
            set_baseline(connection, connections.policy.gate.fail_on)
            _name_decisions(connection, session.decisions)
            decisions = session.decisions.read()
            if guarded:
                note_decisions(connection, len(decisions))
            write_decisions(connection, decisions)
            load_merge_plans(connection, session.warehouse.home)
            seconds = build_models(connection, checks)
            home = session.warehouse.home
            doing("the snapshot was being published")
            if guarded:
                record = summarise_run(connection, "unproven", [], [])
                publish_tables(connection, home, memory_with(record), _manifest(connection, record))
            else:
                rebuilt = _note_rebuild(connection, home, context.run_id)
            doing("what was built was being told to Dagster")
            session.warehouse.landing(connections.policy).prune(loaded_pulls(connection), timedelta(days=connections.policy.pull.keep_landing_days))
            yield dg.MaterializeResult(asset_key=key("raw.pull"), metadata={"dagster/row_count": count_rows(connection, "raw.pull"), **rebuilt})
            lineage = _cached_lineage(session.warehouse, files, lambda: read_schema(connection))
            for table in describe_tables(connection, seconds):
                yield _result(table, next(file for file in files if file.table == table.table), lineage.get(table.table, {}), rebuilt)
            if guarded:
                yield dg.MaterializeResult(asset_key=SNAPSHOT, metadata={"path": dg.MetadataValue.path(str(home / "published" / "current"))})

    return models


def _name_decisions(connection: duckdb.DuckDBPyConnection, store: DecisionStore) -> None:
    """Says in a store that others may use, too, which decisions are of this home. Those of an older Bindwatch say nothing of their home: of this one are
    those about findings that it knows.
    """
    store.belongs_to(name_home(connection))
    if unnamed := store.unnamed():
        known = connection.execute("select fingerprint from main.ledger where list_contains(?, fingerprint)", [unnamed]).fetchall()
        store.adopt([row[0] for row in known])


def _reads(file: SqlFile, checks: list[CheckFile]) -> set[str]:
    return set(file.reads).union(*(check.reads for check in checks)) if file.table == "review.violation" else set(file.reads)


def _spec(file: SqlFile, reads: set[str]) -> dg.AssetSpec:
    layer = file.table.split(".")[0]
    return dg.AssetSpec(
        key(file.table), deps=[key(table) for table in sorted(reads)], group_name=named("_".join(filter(None, (_GROUPS[layer], file.subject)))),
        kinds={"duckdb", "sql"}, description=file.description, code_version=sha256(file.text.encode()).hexdigest()[:12], owners=OWNERS,
        tags={"layer": layer, **({"subject": file.subject} if file.subject else {})},
    )  # fmt: skip


def _manifest(connection: duckdb.DuckDBPyConnection, record: RunRecord) -> dict[str, Any]:
    """What the snapshot says of itself, before the gate has spoken."""
    coverage = read_coverage(connection)
    if histories := unseen_histories(connection):
        for pull in coverage["hubspot"]:
            if pull["object"] == "contact":
                pull["not_seen"].append(histories)
    identity = read_identity(connection)
    return {
        "run_id": record.run_id, "verdict": "unproven", "started_at": utc_text(record.started_at), "finished_at": None, "as_of": utc_text(record.as_of),
        "salesforce_org_id": identity.get("salesforce"), "hubspot_portal_id": identity.get("hubspot"), "home_id": name_home(connection),
        "machine_ahead_seconds": machine_ahead(connection),
        "problem": None, "coverage": coverage, "rebuilt_since": None,
        "predicted_switches_allowed": count_allowed_switches(connection), "compared_as_text": list_text_fallbacks(connection),
        **describe_comparison(connection),
    }  # fmt: skip


def _note_rebuild(connection: duckdb.DuckDBPyConnection, home: Path, run_id: str) -> dict[str, str]:
    """Says of the last proof that the tables in the warehouse were rebuilt since. Returns what each of them says of it in Dagster."""
    now = utc_text(datetime.now(UTC))
    folder = publish_verdict(connection, home, {}, {"rebuilt_since": {"at": now, "run_id": run_id}})
    if folder is None:
        return {"rebuilt since": "Nothing was published yet: a guarded run pulls, builds and judges."}
    last = read_manifest(folder)
    return {"rebuilt since": f"Published stay the tables and the verdict ({last['verdict']}) of the run {last['run_id']}, until the next guarded run."}


def _result(table: BuiltTable, file: SqlFile, lineage: dict[str, list[list[str]]], rebuilt: dict[str, str]) -> dg.MaterializeResult[None]:
    columns = [dg.TableColumn(name, kind, description="; ".join(file.entries.get(name, [])) or None) for name, kind in table.columns.items()]
    deps = {column: [dg.TableColumnDep(asset_key=key(source), column_name=name) for source, name in sources] for column, sources in lineage.items()}
    return dg.MaterializeResult(
        asset_key=key(table.table),
        metadata={
            **({"dagster/row_count": table.rows} if table.rows is not None else {}),
            "dagster/table_name": table.table,
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "dagster/column_lineage": dg.TableColumnLineage(deps_by_column=deps),
            "seconds": round(table.seconds, 3),
            **rebuilt,
        },
    )


_lineage_of: dict[str, dict[str, dict[str, list[list[str]]]]] = {}  # by version of the SQL files, for several homes in one process


def _cached_lineage(warehouse: Warehouse, files: list[SqlFile], read_schema: Callable[[], dict[str, dict[str, str]]]) -> dict[str, dict[str, list[list[str]]]]:
    """Column lineage of every table. It takes seconds to work out and changes only with the SQL files, so it is kept beside the warehouse."""
    version = sha256("".join(file.text for file in files).encode()).hexdigest()
    path = warehouse.home / "column_lineage.json"
    kept = read_json(path)
    if kept is not None and not is_sealed(kept):
        set_aside(path, "is not what was written")
    elif kept is not None and kept["version"] == version:
        return dict(kept["tables"])
    if version not in _lineage_of:
        schema = read_schema()
        _lineage_of[version] = {
            file.table: {column: [list(source) for source in sources] for column, sources in file.column_lineage(schema).items()} for file in files
        }
    tables = _lineage_of[version]
    write_whole(path, json.dumps(sealed({"version": version, "tables": tables})))
    return tables


def read_schema(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Types by table (schema.name) and column."""
    rows = connection.execute(
        "select table_schema || '.' || table_name, column_name, data_type from information_schema.columns order by ordinal_position"
    ).fetchall()
    schema: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        schema.setdefault(table, {})[column] = kind
    return schema
