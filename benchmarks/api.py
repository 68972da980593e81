"""Both APIs as fast as Python can: pages made from templates, any number of records, no world behind them.

`python -m benchmarks.api RECORDS FOLDER LIMIT LATENCY` serves until it is killed, and writes its addresses to FOLDER/addresses.
LIMIT: HubSpot calls in ten seconds, 0 for any number; LATENCY: milliseconds that HubSpot takes to answer.
"""

import json
import ssl
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

STAMP = "2026-03-01T10:00:00.000Z"
TYPES = {"Email": "email", "SystemModstamp": "datetime", "CreatedDate": "datetime", "LastModifiedDate": "datetime", "IsDeleted": "boolean",
         "IsConverted": "boolean", "HasOptedOutOfEmail": "boolean"}  # fmt: skip
LEAD = ["Id", "Email", "CreatedDate", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "OwnerId", "IsDeleted", "MasterRecordId", "IsConverted",
        "ConvertedContactId", "Name", "FirstName", "LastName", "Phone", "MobilePhone", "Fax", "Title", "Company", "Street", "City", "State", "PostalCode",
        "Country", "Website", "HasOptedOutOfEmail"]  # fmt: skip
PROPERTIES = ["email", "salesforceleadid", "salesforcecontactid", "hs_additional_emails", "hs_merged_object_ids", "salesforcelastsynctime", "salesforcedeleted",
              "firstname", "lastname", "lastmodifieddate", "phone", "mobilephone", "fax", "jobtitle", "company", "address", "city", "state", "zip", "country",
              "website", "hs_email_optout"]  # fmt: skip


def lead_row(columns: list[str]) -> str:
    """A row of a bulk page, with # where its number goes."""
    values = {"Id": "00Q5e00000#", "Email": "person#@example.com", "IsDeleted": "false", "IsConverted": "false", "HasOptedOutOfEmail": "false",
              "MasterRecordId": "", "ConvertedContactId": "", "OwnerId": "0055e000000Own1AAA", "LastModifiedById": "0055e000000Usr1AAA"}  # fmt: skip
    return ",".join(f'"{values.get(name, STAMP if TYPES.get(name) == "datetime" else f"{name} of a person")}"' for name in columns) + "\n"


def contact_object(properties: list[str], history: list[str]) -> str:
    """A contact of a page, with # where its number goes."""
    values: dict[str, str | None] = {name: f"{name} of a person" for name in properties}
    values |= {"email": "person#@example.com", "salesforceleadid": "00Q5e00000#", "salesforcecontactid": None, "hs_merged_object_ids": None, "fax": None}
    values |= {"lastmodifieddate": STAMP, "salesforcelastsynctime": STAMP}
    entries = [{"value": "00Q5e00000#", "timestamp": STAMP, "sourceType": "SALESFORCE", "sourceId": None}]
    contact: dict[str, Any] = {
        "id": "#",
        "properties": {name: values.get(name) for name in properties},
        "createdAt": STAMP,
        "updatedAt": STAMP,
        "archived": False,
    }
    if history:
        contact["propertiesWithHistory"] = dict.fromkeys(history, entries)
    return json.dumps(contact)


class Limit:
    """At most so many calls in ten seconds; counts those answered and those refused."""

    def __init__(self, calls: int) -> None:
        self.calls, self.recent = calls, deque[float]()
        self.answered: list[float] = []
        self.refused = 0
        self._lock = threading.Lock()

    def allows(self) -> bool:
        now = time.monotonic()
        with self._lock:
            while self.recent and self.recent[0] <= now - 10:
                self.recent.popleft()
            if self.calls and len(self.recent) >= self.calls:
                self.refused += 1
                return False
            self.recent.append(now)
            self.answered.append(now)
            return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    records = 0
    latency = 0.0
    limit = Limit(0)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line a request would be measured, too."""

    def _send(self, body: bytes, kind: str = "application/json", status: int = 200, **headers: Any) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _json(self, answer: object) -> None:
        self._send(json.dumps(answer).encode())

    def do_DELETE(self) -> None:
        self._send(b"", status=204)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path == "/services/oauth2/token":
            self._json({"access_token": "token"})
        elif path.endswith("/jobs/query"):
            soql = json.loads(body)["query"]
            type(self).columns = soql.removeprefix("SELECT ").split(" FROM ")[0].split(", ")
            self._json({"id": "750000000000001AAA", "state": "UploadComplete"})
        elif self._may_answer():
            asked = json.loads(body)
            if path.endswith("/search"):
                self._json(self._search(asked))
            else:
                contact = contact_object(asked["properties"], asked["propertiesWithHistory"])
                objects = ",".join(contact.replace("#", entry["id"]) for entry in asked["inputs"])
                self._send(f'{{"status":"COMPLETE","results":[{objects}]}}'.encode())

    def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        filters = {entry["propertyName"]: int(entry["value"]) for entry in asked["filterGroups"][0]["filters"] if entry.get("value", "").isdecimal()}
        if "createdate" in filters or not filters:  # merges, and the sample of a look at the settings
            return {"total": 0, "results": []}
        first = filters.get("hs_object_id", 0) + 1
        return {"total": self.records - first + 1, "results": [{"id": str(n)} for n in range(first, min(first + asked["limit"], self.records + 1))]}

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = parse_qs(url.query)
        if url.path.startswith("/services/"):
            self._salesforce(url.path, asked)
        elif url.path == "/measured":
            self._json({"answered": self.limit.answered, "refused": self.limit.refused})
        elif self._may_answer():
            if "/properties/" in url.path:
                self._json({"results": [{"name": name} for name in PROPERTIES]})
            elif "/account-info/" in url.path:
                self._json({"portalId": 1})
            elif "/owners" in url.path:
                self._json({"results": []})
            else:
                self._list(asked)

    def _may_answer(self) -> bool:
        if not self.limit.allows():
            self._send(json.dumps({"policyName": "TEN_SECONDLY_ROLLING", "category": "RATE_LIMITS"}).encode(), status=429)
            return False
        time.sleep(self.latency)
        return True

    def _list(self, asked: dict[str, list[str]]) -> None:
        if asked.get("archived") == ["True"]:
            self._json({"results": []})
            return
        first = int(asked.get("after", ["0"])[0]) + 1
        last = min(first + int(asked["limit"][0]) - 1, self.records)
        contact = contact_object(asked["properties"], asked.get("propertiesWithHistory", []))
        objects = ",".join([contact.replace("#", str(n)) for n in range(first, last + 1)])
        paging = f',"paging":{{"next":{{"after":"{last}"}}}}' if last < self.records else ""
        self._send(f'{{"results":[{objects}]{paging}}}'.encode())

    def _salesforce(self, path: str, asked: dict[str, list[str]]) -> None:
        if path.endswith("/describe"):
            fields = [{"name": name, "type": TYPES.get(name, "string")} for name in LEAD]
            self._json({"fields": fields})
        elif path.endswith("/results"):
            first = int(asked.get("locator", ["0"])[0])
            last = min(first + int(asked["maxRecords"][0]), self.records)
            row = lead_row(self.columns)
            rows = [row.replace("#", f"{n:08d}") for n in range(first, last)]
            page = ",".join(f'"{name}"' for name in self.columns) + "\n" + "".join(rows)
            following = str(last) if last < self.records else "null"
            self._send(page.encode(), "text/csv", Sforce_NumberOfRecords=str(last - first), Sforce_Locator=following)
        else:
            self._json({"state": "JobComplete", "numberRecordsProcessed": self.records})

    columns: ClassVar[list[str]] = []  # of the job asked for last


class Server(ThreadingHTTPServer):
    daemon_threads = True


def main() -> None:
    records, folder, limit, latency = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    Handler.records, Handler.limit, Handler.latency = records, Limit(limit), latency / 1000
    hubspot, salesforce = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(folder / "server.pem", folder / "server.key")
    salesforce.socket = secure.wrap_socket(salesforce.socket, server_side=True)
    threading.Thread(target=hubspot.serve_forever, daemon=True).start()
    temporary = folder / "addresses.tmp"
    temporary.write_text(f"https://127.0.0.1:{salesforce.server_address[1]}\nhttp://127.0.0.1:{hubspot.server_address[1]}\n")
    temporary.replace(folder / "addresses")
    salesforce.serve_forever()


if __name__ == "__main__":
    main()
