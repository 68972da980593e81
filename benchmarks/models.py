"""Times every model, publishing, and the floor under them: `python -m benchmarks.models 100000 1000000`. With `100000 --fields 14 31 142` the models of one
size with so many mapped fields each.

Each size runs in a process of its own, so that the peak of its memory is its own. Models, publishing and floor take turns in it, three times; the
median counts.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import duckdb

from assets.models.build import build_models, describe_tables
from assets.models.sqlfile import CheckFile
from assets.policy import DEFAULT_MAPPING, Policy
from assets.published.publish import publish_tables, publish_verdict
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import begin_run, close_run, memory_with, summarise_run
from assets.warehouse.policy_tables import write_policy
from benchmarks.crm import NOW, describe, fill, further_fields
from expectations.gate import checks, evaluate, import_great_expectations

MEMORY_LIMIT = "5GB"
REPETITIONS = 3
NOT_FILLED = {"salutation", "industry", "annualrevenue", "numemployees", "leadsource", "rating", "leadstatus", "salesforceownerid"}  # by benchmarks.crm
DENSE = 200_000  # records of the dense portal


def policy_of(fields: int) -> Policy:
    """A policy that maps so many fields: those that the made-up CRMs fill, and others."""
    ordinary = [mapping for mapping in DEFAULT_MAPPING if mapping.hubspot not in NOT_FILLED]
    more = further_fields(fields - len(ordinary))
    written = [{"hubspot": name, "salesforce": field} for name, field, _ in more]
    return Policy.model_validate({"policy": {"mapping_defaults": False}, "mapping": [*(mapping.model_dump() for mapping in ordinary), *written]})


def measure(records: int, folder: Path, is_dense: bool = False, memory_limit: str = MEMORY_LIMIT, fields: int | None = None) -> dict[str, Any]:
    """Fills a warehouse with `records` Salesforce records and half as many contacts; builds all models and checks on it, publishes, and does the floor.

    Times are seconds, memory is bytes. is_dense: half of the contacts have switched. fields: how many are mapped; None: the default list.
    """
    policy = Policy() if fields is None else policy_of(fields)
    with Warehouse(folder).connect() as connection:
        connection.execute(f"set memory_limit = '{memory_limit}'; set temp_directory = '{folder}/spill'")
        fill(connection, records, is_dense, 0 if fields is None else fields - len(DEFAULT_MAPPING) + len(NOT_FILLED))
        if is_dense or fields is not None:
            describe(connection, policy)
        connection.execute("checkpoint")
        begin_run(connection, "bench", NOW)
        files = checks()
        write_policy(connection, policy, "https://org.example", [file.as_row for file in files])
        turns = [_turn(connection, files, folder) for _ in range(REPETITIONS)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        gate = measure_gate(connection, folder)
    built = turns[-1]["built"]
    return {
        "records": records, "contacts": records // 2, "is_dense": is_dense, "peak_memory": peak, **gate, "rows": sum(table["rows"] for table in built),
        **{name: median(turn[name] for turn in turns) for name in ("seconds", "cpu_seconds", "publish_seconds", "floor_seconds")},
        "slowest_seconds": max(turn["seconds"] for turn in turns),
        "tables": built,
    }  # fmt: skip


def _turn(connection: duckdb.DuckDBPyConnection, files: list[CheckFile], folder: Path) -> dict[str, Any]:
    started, worked = time.perf_counter(), time.process_time()
    seconds = build_models(connection, files)
    modelled, worked = time.perf_counter(), time.process_time() - worked
    publish_tables(connection, folder, memory_with(summarise_run(connection, "unproven", [], [])), {"run_id": "bench"})
    published = time.perf_counter()
    built: list[dict[str, Any]] = [{"table": table.table, "rows": table.rows or 0, "seconds": table.seconds} for table in describe_tables(connection, seconds)]
    floor = measure_floor(connection, sum(table["rows"] for table in built))
    return {"built": built, "seconds": modelled - started, "cpu_seconds": worked, "publish_seconds": published - modelled, "floor_seconds": floor}


def measure_gate(connection: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, Any]:
    """What the step `gate` does, after the models: judging, publishing the verdict, writing the memory. Importing Great Expectations is apart."""
    started = time.perf_counter()
    import_great_expectations()
    imported = time.perf_counter()
    outcomes = evaluate(connection, Policy())
    judged = time.perf_counter()
    record = summarise_run(connection, "fail", [], [])
    publish_verdict(connection, folder, memory_with(record), {})
    close_run(connection, record)
    return {
        "import_seconds": imported - started, "judge_seconds": judged - imported, "close_seconds": time.perf_counter() - judged,
        "findings": sum(outcome.findings for outcome in outcomes), "checks": len(outcomes),
    }  # fmt: skip


def measure_floor(connection: duckdb.DuckDBPyConnection, rows: int) -> float:
    """The least that any program would do: read the raw tables, group by e-mail once, join once, and write as many rows as the models do."""
    started = time.perf_counter()
    connection.execute("create schema if not exists floor")
    connection.execute(
        """create or replace table floor.person as
           with person as (
               select record_id, lower(trim(email)) as email, created_date, system_modstamp, is_deleted, master_record_id, owner_id, name
               from raw.salesforce_lead
               union all
               select record_id, lower(trim(email)), created_date, system_modstamp, is_deleted, master_record_id, owner_id, name from raw.salesforce_contact
           ),
           grouped as (
               select email, count(*) as size, min(created_date) as oldest, max(system_modstamp) as newest from person group by email
           ),
           contact as (
               select id, lower(trim(properties['email'])) as email, properties['salesforceleadid'] as lead_id,
                      properties['salesforcecontactid'] as contact_id, properties['salesforcelastsynctime'] as synced
               from raw.hubspot_contact
           )
           select person.*, grouped.size, grouped.oldest, grouped.newest, contact.id, contact.lead_id, contact.contact_id, contact.synced
           from person
           left join grouped on grouped.email = person.email
           left join contact on contact.email = person.email"""
    )
    connection.execute(
        "create or replace table floor.history as select contact_id, property, max(changed_at) as at from raw.hubspot_property_version group by all"
    )
    while (written := _count(connection, "floor.person") + _count(connection, "floor.history")) < rows:
        connection.execute(f"insert into floor.person select * from floor.person limit {rows - written}")
    return time.perf_counter() - started


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0


def measure_apart(records: int, is_dense: bool = False, fields: int | None = None) -> dict[str, Any]:
    """measure() in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bindwatch-bench-") as folder:
        command = [
            sys.executable,
            "-m",
            "benchmarks.models",
            "--one",
            str(records),
            folder,
            *(["dense"] if is_dense else []),
            *([f"fields={fields}"] if fields else []),
        ]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


def _compare_fields(records: int, numbers: list[int]) -> None:
    """Prints what the models cost with so many mapped fields each, and which of them cost more than with the first number."""
    first: dict[str, Any] | None = None
    for fields in numbers:
        result = measure_apart(records, fields=fields)
        first = first or result
        before = {table["table"]: table["seconds"] for table in first["tables"]}
        more = sorted(result["tables"], key=lambda table: before[table["table"]] - table["seconds"])[:5]
        print(
            f"{records:,} records, {fields} mapped fields: models {result['seconds']:.2f} s ({result['seconds'] / first['seconds']:.2f} ×), "
            f"{result['cpu_seconds']:.2f} s of CPU ({result['cpu_seconds'] / first['cpu_seconds']:.2f} ×), "
            f"publishing {result['publish_seconds']:.2f} s, peak {result['peak_memory'] / 2**30:.1f} GiB; most more: "
            + ", ".join(f"{table['table']} {before[table['table']]:.2f} → {table['seconds']:.2f} s" for table in more),
            flush=True,
        )


def main(arguments: list[str]) -> None:
    if arguments[0] == "--one":
        fields = next((int(text.removeprefix("fields=")) for text in arguments if text.startswith("fields=")), None)
        print(json.dumps(measure(int(arguments[1]), Path(arguments[2]), "dense" in arguments, fields=fields)), flush=True)
        return
    if "--fields" in arguments:
        place = arguments.index("--fields")
        _compare_fields(int(arguments[0]), [int(text) for text in arguments[place + 1 :]])
        return
    from benchmarks.report import write_report

    results = []
    for records, is_dense in [*((int(size), False) for size in arguments), (DENSE, True)]:
        result = measure_apart(records, is_dense)
        results.append(result)
        ratio = result["seconds"] / result["floor_seconds"]
        print(
            f"{records:>11,} records + {records // 2:,} contacts{', dense' if is_dense else ''}: {result['seconds']:.1f} s, "
            f"{ratio:.1f} × the floor of {result['floor_seconds']:.1f} s, publishing {result['publish_seconds']:.1f} s, "
            f"peak {result['peak_memory'] / 2**30:.1f} GiB; "
            f"gate {result['judge_seconds']:.1f} + {result['close_seconds']:.1f} s for {result['findings']:,} findings",
            flush=True,
        )
    write_report(results, datetime.now(UTC))


if __name__ == "__main__":
    main(sys.argv[1:])
