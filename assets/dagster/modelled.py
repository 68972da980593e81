"""The Dagster assets built from SQL: one file = one table = one asset, all in one step, and the snapshot published from them.

Descriptions, dependencies, columns and column lineage are read from the SQL files; nothing is declared twice.
"""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from assets.dagster.certified_binding import certify, red
from assets.dagster.keys import OWNERS, VERDICT_TAG, key, named
from assets.dagster.session import Session, is_guarded
from assets.files import is_sealed, read_json, sealed, set_aside, write_whole
from assets.models.build import BuiltTable, build_models, describe_tables
from assets.models.slice import Slice
from assets.models.sqlfile import CheckFile, SqlFile, model_files
from assets.models.stale import Standing, forget, last_build, stand
from assets.moments import utc_text
from assets.problems import UnexpectedProblem
from assets.progress import doing
from assets.published.contract import TABLES
from assets.published.decisions import DecisionStore, note_decisions, write_decisions
from assets.published.merge_plan import load_merge_plans
from assets.published.publish import publish_tables, publish_verdict
from assets.published.snapshot import current_folder, parse_manifest, read_manifest
from assets.sql import SQL_FOLDER, count_rows
from assets.warehouse.coverage import read_coverage, unseen_histories
from assets.warehouse.damage import note_end_of_run
from assets.warehouse.file import Warehouse, with_all_memory
from assets.warehouse.identity import name_home, read_identity
from assets.warehouse.ledger import (
    RunRecord,
    close_run,
    count_allowed_switches,
    describe_comparison,
    last_judgement,
    list_text_fallbacks,
    machine_ahead,
    memory_with,
    note_unchanged,
    read_baseline,
    set_baseline,
    summarise_run,
)
from assets.warehouse.policy_tables import write_policy
from assets.warehouse.watermark import has_compared_ids, loaded_pulls

log = logging.getLogger("bindwatch.models")

_GROUPS = {"staging": "3_staging", "core": "4_core", "review": "5_review"}  # core has one for each subject: 4_core_people
PULLED = [
    "raw.salesforce_lead", "raw.salesforce_contact", "raw.salesforce_user", "raw.salesforce_field_history", "raw.hubspot_contact", "raw.hubspot_owner",
    "raw.hubspot_property_version", "raw.hubspot_history_read", "raw.portal_setting",
]  # fmt: skip
SNAPSHOT = key("published.snapshot")


def model_assets(checks: list[CheckFile]) -> dg.AssetsDefinition:
    """The step `models`. checks: the files whose violations become findings."""
    files = model_files(SQL_FOLDER, checks)
    known = {file.table for file in files} | set(PULLED)
    specs = [
        dg.AssetSpec(key("raw.pull"), deps=[key(table) for table in PULLED], group_name=named("2_raw"), kinds={"duckdb"}, owners=OWNERS, tags={"layer": "raw"},
                     description="One row: a pull. From which stamp to which, how many rows, complete or not.", skippable=True),
        *(_spec(file, _reads(file, checks) & known) for file in files),
        dg.AssetSpec(
            SNAPSHOT,
            deps=[key(file.table) for file in files if file.table.startswith(("core.", "review."))],
            group_name=named("6_published"),
            kinds={"parquet"},
            owners=OWNERS,
            tags={"layer": "published"},
            skippable=True,  # only a guarded run publishes
            description="The tables that stewards and other tools read: $BINDWATCH_HOME/published/current, switched as a whole. "
            "Published before the gate has spoken, because a red run is when it is needed.",
        ),
    ]  # fmt: skip

    @dg.multi_asset(name="models", specs=specs)
    def models(context: dg.AssetExecutionContext, session: dg.ResourceParam[Session]) -> Iterator[dg.MaterializeResult[None]]:
        """Builds every SQL table from raw that is not as it was, runs every check, and publishes the snapshot. Where nothing changed and nothing is due, it
        judges and ends the run: gate and certified_binding have nothing to do then.

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
            home = session.warehouse.home
            former = _built_by(home) if guarded else None
            is_current = former is not None and former["run_id"] == last_build(connection)  # what is published is what stands in the warehouse
            standing = stand(connection, checks, everything=not is_current or has_compared_ids(connection))
            if standing.because is None and former is not None:
                note_unchanged(connection)
                session.warehouse.landing(connections.policy).prune(loaded_pulls(connection), timedelta(days=connections.policy.pull.keep_landing_days))
                record = _judge_unchanged(connection, home, former)
                context.instance.add_run_tags(context.run.run_id, {VERDICT_TAG: record.verdict})
                if record.verdict == "fail":
                    raise red(record.verdict, record.checks_violated, home)
                certify(connection, home, context.run_id)
                return
            seconds, part = with_all_memory(connection, lambda: _build(connection, checks, standing))
            doing("the snapshot was being published")
            if guarded:
                record = summarise_run(connection, "unproven", [], [])
                built = {
                    "run_id": record.run_id, "as_of": utc_text(record.as_of), "tables": len(seconds), "because": standing.because, "seen_until": None,
                    **part.told(connection),
                }  # fmt: skip
                manifest, unchanged = {**_manifest(connection, record), "built": built}, part.unchanged if is_current else ()
                with_all_memory(connection, lambda: publish_tables(connection, home, memory_with(record), manifest, unchanged))
                if part.differing:
                    raise UnexpectedProblem(
                        f"Runs that built only what pulls had touched made something else of {', '.join(part.differing)} than this full build. That is "
                        "published now; run again to have it proven. What was said since the last full build may be wrong: please report the tables' names."
                    )
            else:
                forget(connection)
                rebuilt = _note_rebuild(connection, home, context.run_id)
            doing("what was built was being told to Dagster")
            session.warehouse.landing(connections.policy).prune(loaded_pulls(connection), timedelta(days=connections.policy.pull.keep_landing_days))
            yield dg.MaterializeResult(asset_key=key("raw.pull"), metadata={"dagster/row_count": count_rows(connection, "raw.pull"), **rebuilt})
            lineage = _cached_lineage(session.warehouse, files, lambda: read_schema(connection))
            for table in describe_tables(connection, {file.table: seconds.get(file.table) for file in files}):
                yield _result(table, next(file for file in files if file.table == table.table), lineage.get(table.table, {}), rebuilt)
            if guarded:
                yield dg.MaterializeResult(asset_key=SNAPSHOT, metadata={"path": dg.MetadataValue.path(str(home / "published" / "current"))})

    return models


def _build(connection: duckdb.DuckDBPyConnection, checks: list[CheckFile], standing: Standing) -> tuple[dict[str, float], Slice]:
    part = Slice(standing)
    return build_models(connection, checks, standing=standing, part=part), part


def _built_by(home: Path) -> dict[str, Any] | None:
    """Of the run that built what is published: run_id, as_of. None where nothing is published that could stay."""
    folder = current_folder(home)
    manifest = parse_manifest(folder) if folder else None
    is_whole = folder is not None and all((folder / f"{name}.parquet").exists() for name in TABLES)
    return manifest.get("built") if manifest and is_whole else None


def _judge_unchanged(connection: duckdb.DuckDBPyConnection, home: Path, built: dict[str, Any]) -> RunRecord:
    """Ends a run to which nothing is new: the tables are those that the last proven run judged, so its judgement holds (docs/decisions/0050). What speaks of
    this run itself, its pulls and its clocks, was asked anew.
    """
    doing("the verdict was being published")
    verdict, checks = last_judgement(connection)
    violated = [check.check_name for check in checks if check.state == "violated" and check.severity == "block"]
    record = summarise_run(connection, verdict, violated, [])
    said = {
        **_manifest(connection, record), "verdict": verdict, "finished_at": utc_text(record.finished_at),
        "built": {**built, "seen_until": utc_text(record.as_of)},
        "checks": [
            {"suite": check.suite, "check": check.check_name, "state": check.state, "severity": check.severity, "findings": check.findings, "findings_new": 0,
             "problem": None}
            for check in checks
        ],
        "waivers_lapsed": {"date": 0, "facts": 0}, "old_jumps": 0, "baseline": read_baseline(connection),
    }  # fmt: skip
    publish_verdict(connection, home, memory_with(record, checks), said)
    close_run(connection, record, checks, is_unchanged=True)
    note_end_of_run(home)
    log.info("Nothing changed since %s UTC, and nothing is due: the tables stay as they are", built["as_of"][:16].replace("T", " "))
    return record


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
        tags={"layer": layer, **({"subject": file.subject} if file.subject else {})}, skippable=True,  # where nothing changed, nothing is built
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
            **({"seconds": round(table.seconds, 3)} if table.seconds is not None else {"unchanged": True}),
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
        from assets.models.lineage import column_lineage  # and with it sqlglot, which most runs do without

        schema = read_schema()
        _lineage_of[version] = {
            file.table: {column: [list(source) for source in sources] for column, sources in column_lineage(file, schema).items()} for file in files
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
