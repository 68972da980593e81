"""A published home for the tests of the desk, the desk served on it over real HTTP, and a visitor who reads its pages."""

import logging
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import lxml.html
import requests

from assets.published.decisions import DecisionStore
from assets.published.publish import publish_tables, publish_verdict
from assets.published.snapshot import published_folder
from assets.verdict import Verdict
from assets.warehouse.ledger import CheckRecord, close_run, memory_with, summarise_run
from review.access import Entrance
from review.app import create_app
from review.near import Near, made_of
from review.patient_server import make_server
from review.site import Settings
from tests.crm import BOUND, RIVAL, Crm, day, duplicates, lead_id

EVIL = "<script>alert(1)</script>"


def publish(crm: Crm, home: Path, verdict: Verdict = "fail", **manifest: Any) -> None:
    """What a run publishes, verdict included. crm: as it is; the run is not ended."""
    connection = crm.build().connection
    record = summarise_run(connection, verdict, [], [])
    checks = [CheckRecord("duplicates", "unsafe_duplicate", "violated", "block", 1, 0)]
    said = {
        "run_id": record.run_id, "verdict": verdict, "started_at": "2026-03-30T00:00:00Z", "finished_at": "2026-03-30T00:01:00Z", "problem": None,
        "coverage": {
            "salesforce": [pull("Lead"), pull("Contact")], "hubspot": [pull("contact"), pull("contact_archived", not_seen=["histories of 3 contacts"])],
        },
    }  # fmt: skip
    publish_tables(connection, home, memory_with(record, checks), said | manifest)


def publish_again(home: Path, **manifest: Any) -> None:
    """Another run, which found the same; manifest: what else it says."""
    with duckdb.connect() as connection:
        publish_verdict(connection, home, {}, manifest)


def publish_copy(of: Path, home: Path) -> None:
    """Another run, which found what another home shows."""
    folder = Path(shutil.copytree(published_folder(of), home / "published" / f"copy-{uuid.uuid4().hex[:6]}"))
    link = folder.with_suffix(".link")
    link.symlink_to(folder.name)
    link.replace(home / "published" / "current")


def fingerprint(home: Path, check: str, contact_id: str | None = None) -> str:
    """Of the finding of a check, and of a contact where there are several. Read from the file: to open a snapshot takes as long as twenty pages."""
    condition = "check_name = $check and ($contact_id is null or hubspot_contact_id = $contact_id)"
    return str(_value(home, f"select fingerprint from read_parquet($path) where {condition}", "finding", check=check, contact_id=contact_id))


def case_id(home: Path, contact_id: str = "101") -> str:
    query = "select case_id from read_parquet($path) where list_contains(hubspot_contact_ids, $contact_id) order by rank limit 1"
    return str(_value(home, query, "person_case", contact_id=contact_id))


def _value(home: Path, query: str, table: str, **values: Any) -> object:
    with duckdb.connect() as connection:
        ((value,),) = connection.execute(query, {"path": str(published_folder(home) / f"{table}.parquet"), **values}).fetchall()
    return value


class SharedNear(Near):
    """What desks of this process look up in copies of the same files: made by the first of them."""

    _lock = threading.Lock()
    _made: ClassVar[dict[object, Near]] = {}

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> Near:
        with cls._lock:
            key = made_of(manifest)
            return cls._made.get(key) or cls._made.setdefault(key, cls(manifest))

    def attach(self, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        with self._lock:
            super().attach(connection, folder)


def pull(name: str, **changes: Any) -> dict[str, Any]:
    """How far a pull reached, as a manifest says it."""
    return {
        "object": name, "mode": "full", "from": None, "to": "2026-03-30T00:00:00Z", "latest_stamp": None, "rows": 2, "new_versions": 2, "lag_seconds": 1,
        "complete": True, "problem": None, "compared_at": None, "not_seen": [], **changes,
    }  # fmt: skip


def troubled() -> Crm:
    """An unsafe duplicate known to a first run; a second one finds a binding to nothing and a name that is a script."""
    crm = duplicates(bound_fields={"Title": "CEO"}, rival_fields={"Title": EVIL, "Phone": "+49 1"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", "phone": "+49 2"}, synced=day(12))
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"))
    crm.end_run()
    crm.contact("102", bound=lead_id(99), email="=bob@example.com", properties={"firstname": EVIL, "lastname": "Bo"})
    return crm


def calm() -> Crm:
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    return crm


def sixty_unknown() -> Crm:
    """More findings than a page holds."""
    crm = Crm()
    for number in range(60):
        crm.contact(str(200 + number), bound=lead_id(500 + number), email=f"p{number}@example.com")
    return crm


def planned(crm: Crm) -> Crm:
    """A plan as well: a merge that is not safe, one that is, one that was carried out and cut a contact off."""
    for number in (21, 22, 23, 24):
        crm.lead(number, email="cy@example.com")
    crm.lead(25, email="cy@example.com", merged_into=lead_id(21), modified=day(20))
    crm.contact("103", bound=lead_id(24), email="cy@example.com")
    crm.contact("104", bound=lead_id(25), email="di@example.com")
    crm.plan((lead_id(23), lead_id(24)), (BOUND, RIVAL), (lead_id(21), lead_id(25)), name="june-of-the-whole-sales-department.csv")
    return crm


def end_run(crm: Crm, verdict: Verdict = "fail") -> None:
    close_run(crm.connection, summarise_run(crm.connection, verdict, [], []))


@contextmanager
def served(home: Path, mask_emails: bool = True, listen: str = "127.0.0.1", **entrance: Any) -> Iterator[str]:
    """The desk on a free port of this machine. listen: the address of its socket. Yields its address."""
    logging.getLogger("bindwatch.desk").setLevel(logging.INFO)
    app = create_app(Settings(home, lambda: DecisionStore(home), Entrance(**entrance), mask_emails))
    server = make_server(app, log_level="error", timeout_graceful_shutdown=1)
    listener = socket.socket(socket.AF_INET6 if ":" in listen else socket.AF_INET)
    listener.bind((listen, 0))
    listener.listen(128)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the desk did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True  # it ends by itself within a tenth of a second; waiting for that would cost as much as a test


@dataclass
class Page:
    """An answer as a person sees it."""

    answer: requests.Response

    @property
    def document(self) -> Any:
        return lxml.html.fromstring(self.answer.text)

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def text(self) -> str:
        """What can be read, white space made single."""
        return " ".join(self.document.text_content().split())

    def texts(self, path: str) -> list[str]:
        """The texts of the elements at an XPath."""
        return [" ".join(element.text_content().split()) for element in self.document.xpath(path)]

    def values(self, path: str) -> list[str]:
        """The attributes at an XPath."""
        return [str(value) for value in self.document.xpath(path)]


class Visitor:
    """Somebody with a browser that keeps cookies."""

    def __init__(self, address: str, **headers: str) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.headers.update({"Accept-Language": "en", **headers})

    def open(self, path: str = "/", **headers: str) -> Page:
        return Page(self.session.get(self.address + path, headers=headers, timeout=20))

    def send(self, path: str, fields: dict[str, Any], token: str | None = None, follow: bool = True, **headers: str) -> Page:
        """A form. token: of the form, when it is not the one of this session."""
        if token is None:
            token = self.open("/rules").values("//input[@name='form_token']/@value")[0]
        data = {"form_token": token, **fields}
        return Page(self.session.post(self.address + path, data=data, headers=headers, timeout=20, allow_redirects=follow))

    def decide(self, fingerprint: str | list[str], action: str, follow: bool = True, **fields: Any) -> Page:
        return self.send("/decisions", {"action": action, "finding": fingerprint, "next": "/findings?status=all", "user": "Ann", **fields}, follow=follow)


class Worlds:
    """Portals that tests look at: each is made once, and for those who only read one desk stands on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._homes: dict[object, Path] = {}
        self._shown: dict[Path, tuple[Path, str]] = {}  # by home: its copy that is served, and where
        self._open = ExitStack()

    def home(self, world: Callable[[], Crm], verdict: Verdict = "fail") -> Path:
        """Where it is published. A test that changes anything works on a copy."""
        key = (world, verdict)
        if key not in self._homes:
            home = self._folder / f"{len(self._homes)}-{world.__name__}"
            publish(world(), home, verdict)
            self._homes[key] = home
        return self._homes[key]

    def shown(self, home: Path) -> Path:
        return self._served(home)[0]

    def reader(self, home: Path) -> Visitor:
        return Visitor(self._served(home)[1])

    def _served(self, home: Path) -> tuple[Path, str]:
        if home not in self._shown:
            copy = shutil.copytree(home, home.with_name(f"{home.name}-shown"), symlinks=True)
            self._shown[home] = copy, self._open.enter_context(served(copy))
        return self._shown[home]

    @contextmanager
    def kept(self) -> Iterator["Worlds"]:
        with self._open:
            yield self
        for shown, _ in self._shown.values():
            assert DecisionStore(shown).read() == [], f"somebody decided at the desk of readers: {shown.name}"


__all__ = [
    "BOUND", "EVIL", "RIVAL", "Page", "Visitor", "Worlds", "calm", "case_id", "end_run", "fingerprint", "planned", "publish", "publish_again", "publish_copy",
    "pull", "served", "sixty_unknown", "troubled",
]  # fmt: skip
