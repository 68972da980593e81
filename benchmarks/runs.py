"""Times whole runs, as somebody waits for them: `python -m benchmarks.runs 4000 1000000`.

A home of that size that has had its first run (filled by DuckDB, `benchmarks/crm.py`), and then `bindwatch run` in a process of its own against two
servers that answer at once: nothing has changed, then 10,000 Leads and 5,000 contacts have, then 133,000 and 67,000; then nothing has, and all tables are
built anew, as after an upgrade. The processor time of the servers is not counted.
"""

import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import duckdb

from assets.models.stale import forget
from assets.policy import Policy
from assets.pull.hubspot import read_property_list
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.salesforce import describe_fields
from assets.pull.salesforce_org import Org, SalesforceAccess
from assets.sql import count, count_rows, quoted
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import begin_run
from assets.warehouse.load_salesforce import SALESFORCE_COLUMNS
from benchmarks.api import LEAD, TYPES, Handler, Server
from benchmarks.crm import NOW, fill
from benchmarks.report import replace_measured
from sandbox.certificate import make_certificates

CHANGED = datetime(2026, 6, 2)  # a day after everything else
CHANGES = ((10_000, 5_000), (133_000, 67_000))  # Leads and contacts, for one run each
HOUR = timedelta(hours=1)
ROOT = Path(__file__).parent.parent


class Changes(Handler):
    """What changed since the run before: the first so many Leads and contacts of `benchmarks/crm.py`, as they were but for another title and another moment."""

    leads = contacts = 0
    title = stamp = ""
    counted: ClassVar[dict[str, int]] = {}  # live ones in all, by object
    known_leads: ClassVar[list[dict[str, str]]] = []  # values by field
    known_contacts: ClassVar[dict[str, dict[str, Any]]] = {}  # by id: as a page has them, with the whole history

    def _salesforce(self, path: str, asked: dict[str, list[str]]) -> None:
        if path.endswith("/describe"):
            is_lead = "/Lead/" in path
            names = LEAD if is_lead else [*(name for name in LEAD if name not in ("IsConverted", "ConvertedContactId")), "AccountId"]
            fields = [{"name": name, "type": TYPES.get(name, "string")} for name in names]
            fields += [{"name": f"Mailing{name}", "type": "string"} for name in ("Street", "City", "State", "PostalCode", "Country")]
            self._json({"fields": [*fields, {"name": "AccountId", "type": "reference", "relationshipName": "Account"}]})
        elif path.rstrip("/").endswith("/query") and asked["q"][0].startswith("SELECT COUNT() FROM "):
            self._json({"totalSize": self.counted[asked["q"][0].split()[-1]], "done": True, "records": []})
        elif path.rstrip("/").endswith("/queryAll"):
            selected, _, rest = asked["q"][0].removeprefix("SELECT ").partition(" FROM ")
            names = selected.split(", ")
            count = self.leads if rest.startswith("Lead ") else 0
            records = [dict(zip(names, self._values(lead, names), strict=True)) for lead in self.known_leads[:count]]
            self._json({"totalSize": count, "done": True, "records": records})  # where they are too many, as a job is asked for next
        elif path.endswith("/results"):
            rows = "".join(",".join(f'"{value}"' for value in self._values(lead, self.columns)) + "\n" for lead in self.known_leads[: self.leads])
            self._send((",".join(f'"{name}"' for name in self.columns) + "\n" + rows).encode(), "text/csv", Sforce_NumberOfRecords=str(self.leads))
        else:
            self._json({"state": "JobComplete", "numberRecordsProcessed": self.leads})

    def _values(self, lead: dict[str, str], fields: list[str]) -> list[str]:
        told = {"Title": self.title, "SystemModstamp": self.stamp, "LastModifiedDate": self.stamp}
        return [told.get(name) or lead.get(name, "") for name in fields]

    def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["limit"] == 1:  # how many there are
            return {"total": self.counted["contact"], "results": []}
        type(self).records = self.contacts
        return super()._search(asked)

    def do_POST(self) -> None:
        if not urlsplit(self.path).path.endswith("/batch/read"):
            super().do_POST()
            return
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        # of the others only histories are asked for, and nothing of theirs is new
        found = [self.known_contacts.get(one["id"]) or {"id": one["id"], "properties": {}, "propertiesWithHistory": {}} for one in asked["inputs"]]
        self._json({"status": "COMPLETE", "results": [self._as_asked(one, asked["properties"], asked["propertiesWithHistory"]) for one in found]})

    def _as_asked(self, contact: dict[str, Any], properties: list[str], histories: list[str]) -> dict[str, Any]:
        told = {**contact["properties"], "jobtitle": self.title, "lastmodifieddate": self.stamp}
        answer = {**contact, "updatedAt": self.stamp, "properties": {name: told.get(name) for name in properties}}
        if histories:
            answer["propertiesWithHistory"] = {name: contact["propertiesWithHistory"].get(name, []) for name in histories}
        return answer


def prepare_changes(connection: duckdb.DuckDBPyConnection) -> None:
    """Has the first Leads and contacts ready, for the CRMs to tell them. Counts who is live."""
    leads_told, contacts_told = CHANGES[-1]
    for name in ("Lead", "Contact"):
        Changes.counted[name] = count(connection, f"select count(*) from raw.salesforce_{name} where is_deleted = 'false'")
    Changes.counted["contact"] = count_rows(connection, "raw.hubspot_contact")
    columns = ", ".join(f"{column} as {quoted(field)}" for field, column in SALESFORCE_COLUMNS.items())
    leads = connection.execute(f"select {columns}, fields from raw.salesforce_lead order by record_id limit {leads_told}")
    fields = [column[0] for column in leads.description or []]
    for row in leads.fetchall():
        told = dict(zip(fields, row, strict=True))
        lead = {**told, **told.pop("fields")}
        Changes.known_leads.append({field: value for field, value in lead.items() if value is not None})
    contacts = connection.execute(
        f"""select id, created_at, properties, history from (from raw.hubspot_contact where id::integer between 1 and {contacts_told})
            left join (
                select contact_id as id,
                       list({{'property': property, 'value': value, 'timestamp': changed_at, 'source': source_type}} order by changed_at desc) as history
                from raw.hubspot_property_version where contact_id::integer between 1 and {contacts_told} group by contact_id
            ) using (id)"""
    ).fetchall()
    for contact_id, created_at, properties, history in contacts:
        entries: dict[str, list[dict[str, Any]]] = {}
        for entry in history or []:
            entries.setdefault(entry["property"], []).append(
                {"value": entry["value"], "timestamp": entry["timestamp"], "sourceType": entry["source"], "sourceId": None}
            )
        Changes.known_contacts[contact_id] = {
            "id": contact_id, "properties": properties, "propertiesWithHistory": entries, "createdAt": created_at, "archived": False,
        }  # fmt: skip


def serve(folder: Path) -> dict[str, str]:
    """Serves until this process ends. Returns the environment of a run against it."""
    make_certificates(folder)
    hubspot, salesforce = Server(("127.0.0.1", 0), Changes), Server(("127.0.0.1", 0), Changes)
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(folder / "server.pem", folder / "server.key")
    salesforce.socket = secure.wrap_socket(salesforce.socket, server_side=True)
    for server in (hubspot, salesforce):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return {
        "SALESFORCE_INSTANCE_URL": f"https://127.0.0.1:{salesforce.server_address[1]}", "SALESFORCE_LOGIN_URL": f"https://127.0.0.1:{salesforce.server_address[1]}",
        "SALESFORCE_CLIENT_ID": "x", "SALESFORCE_CLIENT_SECRET": "x", "SSL_CERT_FILE": str(folder / "ca.pem"),
        "HUBSPOT_ACCESS_TOKEN": "token", "HUBSPOT_BASE_URL": f"http://127.0.0.1:{hubspot.server_address[1]}",
    }  # fmt: skip


def make_home(home: Path, records: int, environment: dict[str, str], policy: Policy) -> None:
    """A home that knows so many records, as if a run had pulled them: what is asked for next is what changed."""
    url = environment["SALESFORCE_INSTANCE_URL"]
    org = Org(SalesforceAccess(url, url, client_id="x", client_secret="x", ca_file=environment["SSL_CERT_FILE"]))
    asked = {name: fields.asked for name, fields in describe_fields(org, policy).items()}
    asked["contact"] = read_property_list(Portal(HubSpotAccess("token", environment["HUBSPOT_BASE_URL"]), policy.pull), policy).asked
    with Warehouse(home).connect() as connection:
        fill(connection, records)
        prepare_changes(connection)
        for name, digest in asked.items():
            connection.execute("update raw.pull set request_hash = ? where object = ?", [digest, name])
        # an hour ago: after a longer gap a run proves nothing
        connection.execute("update raw.pull set started_at = $at, finished_at = $at, watermark_to = $at", {"at": datetime.now(UTC).replace(tzinfo=None) - HOUR})
        begin_run(connection, "first", NOW)


def time_run(home: Path, environment: dict[str, str]) -> dict[str, float]:
    """Seconds until it ended, of a clock and of the processor, the peak of its memory, and what the warehouse takes of the disk after it, in bytes."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pipelines.main import main; sys.exit(main())", "run"],
        cwd=ROOT, env={**environment, "PATH": os.environ["PATH"], "HOME": str(home), "BINDWATCH_HOME": str(home), "PYTHONPATH": str(ROOT),
                       "BINDWATCH_CONFIG": str(ROOT / "bindwatch.toml")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    output = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # proven
        raise RuntimeError(output[:4000])
    return {
        "seconds": time.perf_counter() - started, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * 1024.0,
        "disk": float(Warehouse(home).path.stat().st_size),
    }  # fmt: skip


def measure(records: int) -> dict[str, Any]:
    """Runs of a home that large after its first: without a change, and with as many as CHANGES says."""
    policy = Policy()
    with tempfile.TemporaryDirectory(prefix="bindwatch-bench-") as name:
        home = Path(name) / "home"
        home.mkdir(0o700)
        environment = serve(Path(name))
        make_home(home, records, environment, policy)
        time_run(home, environment)  # nothing is published or remembered before it
        runs = [("nothing", time_run(home, environment))]
        for number, (leads, contacts) in enumerate(CHANGES):
            Changes.leads, Changes.contacts = min(leads, len(Changes.known_leads)), min(contacts, len(Changes.known_contacts))
            Changes.title, Changes.stamp = f"Changed {number}", f"{CHANGED + number * HOUR:%Y-%m-%dT%H:%M:%S.000Z}"
            if not number or (leads, contacts) == (Changes.leads, Changes.contacts):  # of a small home all change at once
                runs.append((f"{Changes.leads:,} + {Changes.contacts:,}", time_run(home, environment)))
        Changes.leads = Changes.contacts = 0
        with Warehouse(home).connect() as connection:
            forget(connection)
        runs.append(("nothing; all tables anew", time_run(home, environment)))
    return {"records": records, "runs": runs}


def render(results: list[dict[str, Any]]) -> str:
    """The measurements as Markdown."""
    lines = [
        "| Salesforce records | HubSpot contacts | changed since the last run | a run takes | of the processor | peak memory | disk per record and contact |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        for changes, run in r["runs"]:
            lines.append(
                f"| {r['records']:,} | {r['records'] // 2:,} | {changes} | **{run['seconds']:.1f} s** | {run['cpu']:.1f} s | {run['memory'] / 2**30:.1f} GiB | "
                f"{run['disk'] / 1.5 / r['records'] / 1000:.1f} kB |"
            )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    if arguments[0] == "--one":
        print(json.dumps(measure(int(arguments[1]))), flush=True)
        os._exit(0)  # the servers' threads are still there
    results = []
    for size in arguments:
        answer = subprocess.run([sys.executable, "-m", "benchmarks.runs", "--one", size], check=True, capture_output=True, text=True)
        results.append(json.loads(answer.stdout.splitlines()[-1]))
        print(*render(results[-1:]).splitlines()[2:], sep="\n", flush=True)
    replace_measured("runs", render(results), datetime.now(UTC))


if __name__ == "__main__":
    main(sys.argv[1:])
