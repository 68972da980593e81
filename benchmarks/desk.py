"""Times the pages of the steward's desk on a portal with a great many findings: `python -m benchmarks.desk 800000`.

The desk runs as `bindwatch review` runs it, in a process of its own, and is asked over HTTP. Each page is asked for several times by one
person, then all of them by many people at once. What is paid after a run has published, when the desk opens the new snapshot, is reported apart.
The portal is published once and kept in the folder for temporary files, or in the one that is given: `python -m benchmarks.desk 800000 FOLDER`.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

import duckdb
import requests

from assets.models.build import build_models
from assets.policy import Policy
from assets.published.publish import publish_tables, publish_verdict
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import begin_run, memory_with, summarise_run
from assets.warehouse.policy_tables import write_policy
from benchmarks.crm import NOW, fill
from expectations.gate import checks

TARGET_MS = 200
REPEATS = 10
PEOPLE = 20


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


def measure(folder: Path, findings: int) -> dict[str, Any]:
    """alone: by page, the median and the slowest in milliseconds and the CPU of the desk for one; together: by page, of PEOPLE at once, the median, the 95th
    percentile and the slowest; memory: the most that the desk held, in MB.
    """
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "review", "--port", "0"]
    environment = {**os.environ, "BINDWATCH_HOME": str(folder), "BINDWATCH_USER": "bench"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[3]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        desk = int(children[0]) if children else process.pid  # the command starts the desk in a process of its own
        pages = _pages(folder, findings)
        alone: list[tuple[str, float, float, float | None]] = [("the first page after the desk has started", *_alone(desk, address, ["/"], 1))]
        again = []
        for _ in range(4):
            publish_again(folder)
            again.append(_ask(f"{address}/cases"))
        alone.append(("the first page after a run's verdict was published", statistics.median(again), max(again), None))
        for name, paths in pages.items():
            alone.append((name, *_alone(desk, address, paths, 3 if name.startswith("export") else REPEATS)))
        decided = []
        for case in pages["a case"][:REPEATS]:
            _decide(address, case)
            decided.append(_ask(f"{address}/cases"))
        alone.append(("the list after a decision", statistics.median(decided), max(decided), None))
        together = _together(address, {name: paths for name, paths in pages.items() if not name.startswith("export")})
        with Path(f"/proc/{desk}/status").open() as status:
            held = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status if line.startswith("Vm")}
        return {"alone": alone, "together": together, "memory": held["VmHWM"]}
    finally:
        process.terminate()
        process.wait(20)


def _pages(folder: Path, findings: int) -> dict[str, list[str]]:
    """By name, the addresses of pages of one kind: of a finding and a case many, so that none is asked for twice."""
    current = folder / "published" / "current"
    cases = duckdb.execute("select case_id from read_parquet(?) order by hash(case_id) limit 100", [str(current / "person_case.parquet")]).fetchall()
    prints = duckdb.execute("select fingerprint from read_parquet(?) order by hash(fingerprint) limit 100", [str(current / "finding.parquet")]).fetchall()
    return {
        "overview": ["/"],
        "cases, first page": ["/cases"],
        "cases, page 100": ["/cases?page=100"],
        "cases, sliced and sorted": ["/cases?urgency=later&check=unsafe_duplicate&sort=-name", "/cases?harm=overwritten&sort=account"],
        "cases, a name": ["/cases?text=ann1+lee10", "/cases?text=lee77", "/cases?text=company+17"],
        "cases, text that occurs nowhere": ["/cases?text=occurs+nowhere"],
        "a case": [f"/cases/{case}" for (case,) in cases],
        "a finding": [f"/findings/{fingerprint}" for (fingerprint,) in prints],
        "worklist, first page": ["/findings"],
        "worklist, last page": [f"/findings?page={findings // 50}"],
        "worklist, one check": ["/findings?check=unsafe_duplicate&severity=block"],
        "worklist, text that occurs nowhere": ["/findings?text=occurs+nowhere&status=all"],
        "worklist, one person": [f"/findings?status=all&person={prints[0][0]}"],
        "damage": ["/damage"],
        "export of the list": ["/export/worklist.csv"],
        "export of the run-book": ["/export/run-book.csv"],
    }


def _alone(process: int, address: str, paths: list[str], repeats: int) -> tuple[float, float, float]:
    """(median, slowest, CPU of the desk for one) in milliseconds."""
    before = _cpu_of(process)
    times = [_ask(address + paths[number % len(paths)]) for number in range(repeats)]
    return statistics.median(times), max(times), (_cpu_of(process) - before) / repeats


def _together(address: str, pages: dict[str, list[str]]) -> list[tuple[str, float, float, float]]:
    """PEOPLE go through the pages at once, each in another order."""
    found: dict[str, list[float]] = {name: [] for name in pages}

    def walk(person: int) -> None:
        for turn in range(len(pages)):
            name = list(pages)[(turn * 7 + person) % len(pages)]
            paths = pages[name]
            found[name].append(_ask(address + paths[(person * 3 + turn) % len(paths)]))

    people = [Thread(target=walk, args=(person,)) for person in range(PEOPLE)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    every = [time for times in found.values() for time in times]
    return [(name, statistics.median(times), _p95(times), max(times)) for name, times in {**found, "all of them": every}.items()]


def _p95(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


def _cpu_of(process: int) -> float:
    """Milliseconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def _ask(address: str) -> float:
    started = time.perf_counter()
    with urlopen(address, timeout=120) as answer:
        answer.read()
    return (time.perf_counter() - started) * 1000


def _decide(address: str, case: str) -> None:
    """Acknowledges a case, as its page does."""
    session = requests.Session()
    (token,) = set(re.findall(r'name="form_token" value="([^"]+)"', session.get(address + case, timeout=60).text))
    form = {"form_token": token, "case": case.rsplit("/", 1)[1], "action": "acknowledge", "next": case}
    session.post(f"{address}/decisions", form, timeout=60, allow_redirects=False).raise_for_status()


def render(measured: dict[str, Any], records: int, findings: int) -> str:
    lines = [
        f"{findings:,} open findings on {records:,} Salesforce records and {records // 2:,} HubSpot contacts; "
        f"milliseconds from request to last byte, of {REPEATS} requests; CPU is that of the desk for one. "
        f"At most {measured['memory']:,.0f} MB of memory.",
        "", "| page | median | slowest | CPU | target |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, median, slowest, cpu in measured["alone"]:
        lines.append(f"| {name} | **{median:.0f}** | {slowest:.0f} | {'' if cpu is None else f'{cpu:.0f}'} | {_target(name)} |")
    lines += ["", f"{PEOPLE} people at once, each going through all of these pages:", "", "| page | median | 95 % | slowest |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {median:.0f} | **{p95:.0f}** | {slowest:.0f} |" for name, median, p95, slowest in measured["together"]]
    return "\n".join(lines)


def _target(name: str) -> str:
    if name in ("a case", "a finding"):
        return "≤ 100"
    return f"≤ {TARGET_MS}" if name.startswith(("worklist", "cases", "overview")) else ""


def main(arguments: list[str]) -> None:
    from benchmarks.report import replace_measured

    records = int(arguments[0])
    home = Path(arguments[1]) if len(arguments) > 1 else Path(tempfile.gettempdir()) / f"bindwatch-bench-desk-{records}"
    if not (home / "published" / "current").exists():
        home.mkdir(parents=True, exist_ok=True)
        publish(records, home)
        (home / "warehouse.duckdb").unlink()  # the desk reads what is published
    with duckdb.connect() as connection:
        row = connection.execute("select count(*) from read_parquet(?) where status = 'open'", [str(home / "published/current/finding.parquet")]).fetchone()
    findings = int(row[0]) if row else 0
    (home / "decisions.sqlite").unlink(missing_ok=True)
    measured = measure(home, findings)
    text = render(measured, records, findings)
    print(text)
    replace_measured("desk", text, datetime.now(UTC))


if __name__ == "__main__":
    main(sys.argv[1:])
