"""What pulling costs, against servers on loopback that answer as fast as they can: `python -m benchmarks.pull 10000 100000 1000000`.

The puller runs in a process of its own, so that its memory is its own; the servers run in another. Writes its part of docs/benchmarks.md.

`python -m benchmarks.pull --load 100000` prints what loading so many contacts costs the processor, without servers: on a busy machine seconds of a clock
say nothing.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from assets.ingest.bring import Ingest
from assets.ingest.hubspot_pulls import ingest_contacts, ingest_histories
from assets.ingest.salesforce_pulls import ingest_object
from assets.policy import Policy
from assets.pull.described import Described
from assets.pull.hubspot import read_property_list
from assets.pull.hubspot_portal import HISTORY_PAGE, HubSpotAccess, Portal
from assets.pull.landing import LandedPull
from assets.pull.salesforce import FieldList
from assets.pull.salesforce_org import Org, SalesforceAccess
from assets.record_ids import ID_PROPERTIES
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import begin_run
from assets.warehouse.load_hubspot import load_hubspot_contacts
from benchmarks.api import LEAD, PROPERTIES, TYPES, contact_object
from benchmarks.report import replace_measured
from sandbox.certificate import make_certificates

LIMIT, LATENCIES = 190, (20, 200)  # calls in ten seconds; milliseconds an answer
KINDS = ("bulk", "contacts", "full at a limit", "changes at a limit")


@contextmanager
def served(records: int, folder: Path, limit: int = 0, latency: float = 0) -> Iterator[tuple[str, str]]:
    """Addresses of both servers."""
    (folder / "addresses").unlink(missing_ok=True)
    make_certificates(folder)
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.api", str(records), str(folder), str(limit), str(latency)])
    try:
        deadline = time.monotonic() + 30
        while not (folder / "addresses").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the benchmark's servers did not start")
            time.sleep(0.05)
        salesforce, hubspot = (folder / "addresses").read_text().split()
        yield salesforce, hubspot
    finally:
        process.kill()
        process.wait()


def measure(kind: str, records: int, latency: float) -> dict[str, Any]:
    """One of KINDS, in this process: seconds until everything has landed, seconds to load it, and the peak memory of both in bytes."""
    limited = kind.endswith("at a limit")
    settings = {} if limited else {"hubspot_requests_per_10_seconds": 10**9, "hubspot_searches_per_second": 10**9}
    policy = Policy.model_validate({"pull": {"keep_landing_days": 0, **settings}})
    with tempfile.TemporaryDirectory() as name, served(records, Path(name), LIMIT if limited else 0, latency) as (salesforce, hubspot):
        warehouse = Warehouse(Path(name))
        with warehouse.connect() as connection:
            begin_run(connection, "bench", datetime.now(UTC))
            context = Ingest(connection, warehouse.landing(policy), policy, full=False)
            landed_at = _note_landing()
            started = time.perf_counter()
            if kind == "bulk":
                access = SalesforceAccess(salesforce, salesforce, client_id="x", client_secret="x", ca_file=str(Path(name) / "ca.pem"))
                org = Org(access)
                mapped = {field: Described(TYPES.get(field, "string")) for field in LEAD[12:]}
                pulls = ingest_object(org, context, "Lead", FieldList(LEAD, mapped, []))
            else:
                portal = Portal(HubSpotAccess("token", hubspot), policy.pull)
                wanted = read_property_list(portal, policy)
                if kind == "changes at a limit":
                    _pretend_a_full_pull(connection, wanted.asked)
                pulls = ingest_contacts(portal, context, wanted) + ingest_histories(portal, context, wanted)
            seconds = time.perf_counter() - started
            landing = landed_at[0]["at"] - started
            peak_landing = landed_at[0]["memory"]
        assert all(pull.manifest.complete for pull in pulls), [pull.manifest.problem for pull in pulls]
        assert pulls[0].rows == records
        with urlopen(f"{hubspot}/measured", timeout=10) as answer:
            calls = json.loads(answer.read())
    return {
        "kind": kind, "records": records, "latency": latency, "landing_seconds": landing, "load_seconds": seconds - landing, "landing_memory": peak_landing,
        "memory": _peak(), "share": _share(calls["answered"]) if limited else None, "refused": calls["refused"],
    }  # fmt: skip


def measure_load(records: int, folder: Path) -> dict[str, float]:
    """Loading so many contacts that have landed: seconds of the processor, and the peak of memory in bytes."""
    warehouse, policy = Warehouse(folder), Policy()
    with warehouse.landing(policy) as landing, warehouse.connect() as connection:
        pull = landing.open("hubspot", "contact", "full", {"asked": "bench"}, set())
        contact = contact_object(PROPERTIES, [*ID_PROPERTIES.values(), "email"])
        for first in range(1, records, HISTORY_PAGE):
            numbers = range(first, min(first + HISTORY_PAGE, records + 1))
            page = f'{{"results":[{",".join(contact.replace("#", str(number)) for number in numbers)}]}}'
            pull.write_page(page.encode(), ".json", len(numbers), {})
        pull.finish(records)
        begin_run(connection, "bench", datetime.now(UTC))
        before = time.process_time()
        assert load_hubspot_contacts(connection, pull, PROPERTIES).new_versions == records
        return {"cpu": time.process_time() - before, "memory": _peak()}


def _note_landing() -> list[dict[str, float]]:
    """Notes when the first pull had landed, and the peak of memory until then."""
    notes: list[dict[str, float]] = []
    finish = LandedPull.finish

    def noting(pull: LandedPull, expected_rows: int | None, problem: str | None = None) -> None:
        finish(pull, expected_rows, problem)
        notes.append({"at": time.perf_counter(), "memory": _peak()})

    LandedPull.finish = noting  # type: ignore[method-assign, assignment]
    return notes


def _pretend_a_full_pull(connection: Any, asked: str) -> None:
    before = datetime(2026, 2, 1)
    connection.execute(
        """insert into raw.pull by name select 1 as pull_no, 'before' as pull_id, 'before' as run_id, 'hubspot' as source, 'contact' as object,
           'full' as mode, $asked as request_hash, $at as started_at, $at as finished_at, $at as watermark_to, 0 as landed_rows, 0 as new_versions,
           true as complete""",
        {"asked": asked, "at": before},
    )


def _share(answered: list[float]) -> float:
    """Of the calls that the limit allows, those that were made, from the first call to the last, in whole windows of ten seconds."""
    windows = int((answered[-1] - answered[0]) // 10)
    within = sum(call < answered[0] + windows * 10 for call in answered)
    return within / (windows * LIMIT) if windows else float("nan")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _in_a_process(kind: str, records: int, latency: float = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.pull", "--one", kind, str(records), str(latency)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    print(_line(result), flush=True)
    return result


def _line(r: dict[str, Any]) -> str:
    rate = f"{r['records'] / r['landing_seconds']:,.0f} records/s to landing, load {r['load_seconds']:.1f} s"
    share = f", {r['share']:.0%} of the allowed calls at {r['latency']:g} ms, {r['refused']} refused" if r["share"] is not None else ""
    return f"{r['kind']} {r['records']:,}: {rate}, peak {r['landing_memory'] / 2**20:.0f} MiB to landing, {r['memory'] / 2**20:.0f} MiB in all{share}"


def render(results: list[dict[str, Any]]) -> str:
    """The measurements as Markdown."""
    lines = [
        "| pull | records | to landing | target | then loaded in | peak memory to landing | peak with the load |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    names = {"bulk": ("Leads by Bulk API 2.0", "≥ 50,000/s"), "contacts": ("HubSpot contacts by the list, with history", "≥ 3,000/s")}
    for r in results:
        if r["share"] is None:
            name, target = names[r["kind"]]
            lines.append(
                f"| {name} | {r['records']:,} | **{r['records'] / r['landing_seconds']:,.0f}/s** | {target} | {r['load_seconds']:.1f} s | "
                f"{r['landing_memory'] / 2**20:.0f} MiB | {r['memory'] / 2**20:.0f} MiB |"
            )
    lines += [
        "",
        f"At a limit of {LIMIT} calls in ten seconds:",
        "",
        "| pull | an answer takes | share of the allowed calls | refused with 429 |",
        "|---|---:|---:|---:|",
    ]
    for r in results:
        if r["share"] is not None:
            name = "full, by the list" if r["kind"].startswith("full") else "changes, by search and batches"
            lines.append(f"| {name} | {r['latency']:g} ms | **{r['share']:.0%}** | {r['refused']} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    if arguments[0] == "--one":
        print(json.dumps(measure(arguments[1], int(arguments[2]), float(arguments[3]))))
        return
    if arguments[0] == "--load":
        for records in map(int, arguments[1:]):
            with tempfile.TemporaryDirectory(prefix="bindwatch-bench-") as folder:
                load = measure_load(records, Path(folder))
            print(f"{records:,} contacts: {load['cpu']:.1f} s of the processor, peak {load['memory'] / 2**20:.0f} MiB", flush=True)
        return
    results = []
    for records in map(int, arguments):
        results += [_in_a_process("bulk", records), _in_a_process("contacts", records)]
    for latency in LATENCIES:
        results += [_in_a_process("full at a limit", 30_000, latency), _in_a_process("changes at a limit", 24_000, latency)]
    replace_measured("pull", render(results), datetime.now(UTC))


if __name__ == "__main__":
    main(sys.argv[1:])
