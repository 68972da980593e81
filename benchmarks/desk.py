"""Times the pages of the steward's desk on a portal with a great many findings: `python -m benchmarks.desk 800000 [--keep FOLDER]`.

The desk runs as `bindwatch review` runs it, in a process of its own, and is asked over HTTP. Each page is asked for several times; the median
and the slowest are reported. What each costs after a run has published, when the desk opens the new snapshot, is reported apart.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb

from assets.models.build import build_models
from assets.policy import Policy
from assets.published.publish import publish_tables, publish_verdict
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import begin_run, memory_with, summarise_run
from assets.warehouse.policy_tables import write_policy
from benchmarks.crm import NOW, fill
from expectations.gate import checks

TARGET_MS = 200
REPEATS = 15


def publish(records: int, folder: Path) -> int:
    """A published home with so many Salesforce records. Returns how many findings are open."""
    with Warehouse(folder).connect() as connection:
        fill(connection, records)
        begin_run(connection, "bench", NOW)
        write_policy(connection, Policy(), "https://org.example", [check.as_row for check in checks()])
        build_models(connection, checks())
        manifest: dict[str, Any] = {
            "run_id": "bench", "verdict": "fail", "started_at": f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "finished_at": None, "problem": None,
            "coverage": {"salesforce": [], "hubspot": []},
        }  # fmt: skip
        publish_tables(connection, folder, memory_with(summarise_run(connection, "fail", [], [])), manifest)
        row = connection.execute("select count(*) from review.finding where status = 'open'").fetchone()
        return int(row[0]) if row else 0


def publish_again(folder: Path) -> None:
    """What a run does after the gate: the same tables under a new manifest."""
    connection = duckdb.connect()
    publish_verdict(connection, folder, {}, {"verdict": "fail"})


def measure(folder: Path, findings: int) -> list[tuple[str, float, float]]:
    """(page, median, slowest) in milliseconds."""
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "review", "--port", "0"]
    environment = {**os.environ, "BINDWATCH_HOME": str(folder), "BINDWATCH_USER": "bench"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[3]
        opened = [_ask(f"{address}/findings")]
        for _ in range(4):
            publish_again(folder)
            opened.append(_ask(f"{address}/findings"))
        fingerprint = duckdb.execute(
            "select fingerprint from read_parquet(?) where check_name = 'unsafe_duplicate' order by fingerprint limit 1",
            [str(folder / "published" / "current" / "finding.parquet")],
        ).fetchone()
        assert fingerprint is not None
        case = duckdb.execute("select case_id from read_parquet(?) where rank = 1", [str(folder / "published" / "current" / "person_case.parquet")]).fetchone()
        assert case is not None
        pages = {
            "overview": "/",
            "cases, first page": "/cases",
            "cases, sliced and sorted": "/cases?urgency=later&check=unsafe_duplicate&sort=-name",
            "cases, text that occurs nowhere": "/cases?text=occurs+nowhere",
            "cases, one of them": f"/cases/{case[0]}",
            "worklist, first page": "/findings",
            "worklist, last page": f"/findings?page={findings // 50}",
            "worklist, one check": "/findings?check=unsafe_duplicate&severity=block",
            "worklist, text that occurs nowhere": "/findings?text=occurs+nowhere&status=all",
            "worklist, one person": f"/findings?status=all&person={fingerprint[0]}",
            "a finding": f"/findings/{fingerprint[0]}",
            "export of the list": "/export/worklist.csv",
            "export of the run-book": "/export/run-book.csv",
        }
        measured = [("the first page after a run has published", statistics.median(opened), max(opened))]
        for name, path in pages.items():
            times = [_ask(address + path) for _ in range(REPEATS)]
            measured.append((name, statistics.median(times), max(times)))
        return measured
    finally:
        process.terminate()
        process.wait(20)


def _ask(address: str) -> float:
    started = time.perf_counter()
    with urlopen(address, timeout=60) as answer:
        answer.read()
    return (time.perf_counter() - started) * 1000


def render(measured: list[tuple[str, float, float]], records: int, findings: int) -> str:
    lines = [
        f"{findings:,} open findings on {records:,} Salesforce records and {records // 2:,} HubSpot contacts; "
        f"milliseconds from request to last byte, of {REPEATS} requests.",
        "", "| page | median | slowest | target |", "|---|---:|---:|---:|",
    ]  # fmt: skip
    for name, median, slowest in measured:
        bound = f"≤ {TARGET_MS}" if name.startswith(("worklist", "cases")) else ""
        lines.append(f"| {name} | **{median:.0f}** | {slowest:.0f} | {bound} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    from benchmarks.report import replace_measured

    records = int(arguments[0])
    with tempfile.TemporaryDirectory(prefix="bindwatch-bench-") as folder:
        home = Path(folder)
        findings = publish(records, home)
        measured = measure(home, findings)
    text = render(measured, records, findings)
    print(text)
    replace_measured("desk", text, datetime.now(UTC))


if __name__ == "__main__":
    main(sys.argv[1:])
