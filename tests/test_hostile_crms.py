"""CRMs that answer well and are wrong: they hide what they have, answer what nobody asked, never end, or are others. A run on them proves nothing, or
changes nothing; the next one, on CRMs that are well again, gives the tables of a home that was never disturbed.
"""

import json
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tenacity.wait import wait_fixed

from assets.policy import Pull
from assets.problems import PullProblem
from assets.pull import hubspot, patience, retries
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.retries import Redirected
from assets.pull.salesforce_org import Org, SalesforceAccess
from assets.warehouse.file import Warehouse
from assets.warehouse.shrinkage import accept_shrink
from sandbox.certificate import make_certificates
from sandbox.integration import poll
from sandbox.server import SandboxServer
from sandbox.story import Story
from sandbox.world import id18
from tests.live import runner, served, some_days_ago
from tests.pulls import Outcome, access_to, pull, pull_and_build

PEOPLE = 8
LISTED = "/contacts?"
Spoil = Callable[[str, bytes], bytes]


@dataclass
class Crms:
    """Both CRMs of a few people, and a home that was pulled before something was edited in each of them."""

    story: Story
    server: SandboxServer
    home: Path
    list_id: str

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.home, self.home.with_name(name), symlinks=True))

    def run(self, home: Path, full: bool = False, spoil: Spoil | None = None, **options: Any) -> str | None:
        """Why the run is unproven, or None."""
        self.server.faults.on_answer = spoil
        try:
            return pull(home, self.server, full=full, knobs={"inclusion_list_id": self.list_id}, **options)
        finally:
            self.server.faults.on_answer = None

    def build(self, home: Path) -> Outcome:
        return pull_and_build(home, self.server, full=True, knobs={"inclusion_list_id": self.list_id})


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", wait_fixed(0.01))
    monkeypatch.setattr("assets.pull.hubspot.time.sleep", lambda seconds: None)


@pytest.fixture(scope="module")
def crms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crms]:
    folder = tmp_path_factory.mktemp("crms")
    story = Story([], 1, some_days_ago(3))
    world = story.world
    for number in range(PEOPLE):
        world.create_record("Lead" if number % 2 else "Contact", {"LastName": f"Lee{number}", "Email": f"p{number}@example.com", "Company": "Example"})
    poll(world, story.settings)
    contacts = sorted(world.contacts, key=int)
    world.lists["7"] = contacts[:6]
    world.archive_contact(world.contacts[contacts[-1]])
    with served(story, folder / "sandbox") as server:
        crms = Crms(story, server, folder / "home", "7")
        world.now = some_days_ago(2)
        assert pull_and_build(crms.home, server, publishes=True, knobs={"inclusion_list_id": "7"}).problem is None
        world.now = some_days_ago(1)
        for contact in list(world.contacts.values())[:3]:
            world.write(contact, {"jobtitle": "Chief"}, "CRM_UI")
        for record in list(world.records.values())[:3]:
            world.edit_record(record, {"Title": "Chief"})
        yield crms


# ── what is hidden ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _without_results(line: str, body: bytes, part: str, keep: int = 0) -> bytes:
    answer = json.loads(body) if part in line and b'"results"' in body else None
    if answer is None:
        return body
    answer["results"] = answer["results"][:keep]
    answer.pop("paging", None)
    if "total" in answer:
        answer["total"] = keep
    return json.dumps(answer).encode()


def hubspot_is_empty(line: str, body: bytes) -> bytes:
    return _without_results(line, body, "/crm/objects/")


def archive_is_empty(line: str, body: bytes) -> bytes:
    return _without_results(line, body, "archived=True")


def list_is_empty(line: str, body: bytes) -> bytes:
    return _without_results(line, body, "/memberships")


HIDDEN = {
    "hubspot empty": (hubspot_is_empty, "hubspot.contact"), "archive empty": (archive_is_empty, "hubspot.contact"),
    "list empty": (list_is_empty, "hubspot.inclusion_list"), "salesforce hidden": (None, "salesforce.Lead"),
}  # fmt: skip


@pytest.mark.parametrize("full", [False, True], ids=["increment", "full"])
@pytest.mark.parametrize("case", HIDDEN)
def test_a_crm_that_hides_its_records_is_not_believed_and_costs_nothing(crms: Crms, case: str, full: bool) -> None:
    spoil, name = HIDDEN[case]
    home = crms.copy(f"home-{case}-{full}")
    seen = dict(crms.story.world.records)
    if spoil is None:  # an integration user that has lost View All
        crms.story.world.records.clear()
    problem = crms.run(home, full, spoil)
    crms.story.world.records.update(seen)
    assert problem is not None
    assert name.split(".")[1] in problem
    assert "accept-shrink" in problem or "Nothing explains" in problem or "archived" in problem
    found, expected = crms.build(home), crms.build(crms.copy(f"undisturbed-{case}-{full}"))
    assert found.problem is expected.problem is None
    assert found.differences(expected) == []


def test_a_smaller_crm_is_believed_once_a_person_said_so(crms: Crms) -> None:
    home = crms.copy("home-accepted")
    assert crms.run(home, True, hubspot_is_empty) is not None
    with Warehouse(home).connect() as connection:
        accept_shrink(connection, ["hubspot.contact"], "ann")
    assert crms.run(home, True, hubspot_is_empty) is None
    assert crms.run(home, True, hubspot_is_empty) is None  # it is the next floor


def test_half_of_the_contacts_may_be_archived_on_purpose(crms: Crms) -> None:
    home = crms.copy("home-archived")
    world = crms.story.world
    live = [contact for contact in world.contacts.values() if contact.archived_at is None]
    for contact in live[:5]:
        world.archive_contact(contact)
    try:
        assert crms.run(home, full=True) is None
    finally:
        for contact in live[:5]:
            world.restore_contact(contact)


# ── what does not fit, and what never ends ───────────────────────────────────────────────────────────────────────────────────────


def strangers(line: str, body: bytes) -> bytes:
    if "/batch/read" not in line or b'"jobtitle"' not in body:
        return body
    answer = json.loads(body)
    for number, result in enumerate(answer["results"]):
        result["id"] = str(990000 + number)
    return json.dumps(answer).encode()


def paging(behind: Callable[[int], str], empty: bool) -> Spoil:
    calls: list[int] = []

    def spoil(line: str, body: bytes) -> bytes:
        if LISTED not in line or b'"results"' not in body:
            return body
        answer = json.loads(body)
        calls.append(1)
        answer["paging"] = {"next": {"after": behind(len(calls)), "link": ""}}
        if empty:
            answer["results"] = []
        return json.dumps(answer).encode()

    return spoil


def records_that_lead_to_themselves(line: str, body: bytes) -> bytes:
    if b'"records"' not in body or "SystemModstamp" not in line:
        return body
    answer = json.loads(body)
    answer |= {"done": False, "nextRecordsUrl": "/services/data/v64.0/query/01g-0"}
    return json.dumps(answer).encode()


def only_by_id(change: Callable[[dict[str, Any]], None]) -> Spoil:
    """Salesforce hides what changed from an increment; the comparison of all ids tells of it, and then the answer to the ids is another."""

    def spoil(line: str, body: bytes) -> bytes:
        if "queryAll" not in line or b'"records"' not in body:
            return body
        answer = json.loads(body)
        if "%27" in line:
            change(answer)
        else:
            answer |= {"records": [], "totalSize": 0, "done": True}
        return json.dumps(answer).encode()

    return spoil


def others(answer: dict[str, Any]) -> None:
    for number, record in enumerate(answer["records"]):
        record["Id"] = id18(f"{record['Id'][:3]}9z00000Oth{number:02d}")


def nobody(answer: dict[str, Any]) -> None:
    answer["records"] = []


def records_of_another_object(line: str, body: bytes) -> bytes:
    if "queryAll" not in line or b'"records"' not in body:
        return body
    return body.replace(b'"Id":"00Q', b'"Id":"003').replace(b'"Id": "00Q', b'"Id": "003')


def ever_new_and_empty_records(line: str, body: bytes) -> bytes:
    if ("SystemModstamp" not in line and "/query/01g" not in line) or b'"job' in body or "/jobs" in line:
        return body
    ever_new_and_empty_records.calls += 1  # type: ignore[attr-defined]
    answer = {"totalSize": 3, "done": False, "records": [], "nextRecordsUrl": f"/services/data/v64.0/query/01g-{ever_new_and_empty_records.calls}"}  # type: ignore[attr-defined]
    return json.dumps(answer).encode()


ever_new_and_empty_records.calls = 0  # type: ignore[attr-defined]


def a_total_that_is_none(line: str, body: bytes) -> bytes:
    return body.replace(b'"total":', b'"totals":') if "/search" in line else body


@pytest.mark.parametrize(
    ("spoil", "full"),
    [
        (only_by_id(others), True), (only_by_id(nobody), True), (records_of_another_object, False), (ever_new_and_empty_records, False),
        (a_total_that_is_none, False),
        (strangers, False), (paging(lambda call: str(1 + call % 2), empty=True), True), (paging(str, empty=True), True),
        (paging(str, empty=False), True), (records_that_lead_to_themselves, False),
    ],
    ids=[
        "other records than asked for", "records that are listed and not answered", "records of another object", "ever new and empty records",
        "a search without a total", "strangers in a batch", "an after that goes round", "ever new and empty pages", "a page that comes again",
        "records that lead to themselves",
    ],
)  # fmt: skip
def test_answers_that_do_not_fit_or_never_end_are_named(crms: Crms, spoil: Spoil, full: bool, request: pytest.FixtureRequest) -> None:
    home = crms.copy(f"home-{request.node.name}")
    began = time.monotonic()
    before = len(crms.server.faults.requests)
    problem = crms.run(home, full, spoil)
    assert problem is not None
    lines = crms.server.faults.requests[before:]
    walked = [line for line in lines if LISTED in line or "queryAll" in line or "/query/01g" in line]
    assert len(walked) < 60, walked[20:30]
    assert time.monotonic() - began < 60
    assert crms.run(home, full=True) is None


def test_who_asks_to_be_called_again_at_once_is_not_called_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # here it is about waiting
    monkeypatch.setattr(retries, "_backoff", wait_fixed(0.2))
    calls: list[float] = []

    def call() -> None:
        calls.append(time.monotonic())
        raise retries.Again("too many requests", wait=0)

    with pytest.raises(retries.Again):
        retries.with_patience(call, 0.7, "HubSpot")
    assert len(calls) <= 6


def test_who_asks_to_be_called_again_tomorrow_holds_nobody_up() -> None:
    """Batches are under way at the same time, and share the rate limit."""
    with answering(429, {"Retry-After": "86400"}) as address:
        portal = Portal(HubSpotAccess("token", address, patience_seconds=1), Pull())
        began = time.monotonic()
        with pytest.raises(PullProblem, match="86,400 seconds"):
            list(portal.read_batches([str(number) for number in range(500)], ["email"], ["email"]))
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(("hours", "idle_minutes", "words"), [(0.0, 30, "may not take longer"), (24, 0.0, "Nothing new has arrived")])
def test_a_run_ends_by_its_deadline_or_when_nothing_new_arrives(
    crms: Crms, monkeypatch: pytest.MonkeyPatch, hours: float, idle_minutes: float, words: str
) -> None:
    monkeypatch.setattr(patience, "_now", None)
    patience.begin("a run", hours, idle_minutes)
    time.sleep(0.01)
    with pytest.raises(PullProblem, match=words):
        retries.with_patience(lambda: None, 5, "HubSpot")


def test_a_list_of_ever_new_contacts_ends_where_the_search_said(crms: Crms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubspot, "_GROWTH", 5)
    calls: list[str] = []

    def made_up(line: str, body: bytes) -> bytes:
        if LISTED not in line or "archived=False" not in line or b'"results"' not in body:
            return body
        calls.append(line)
        answer = json.loads(body)
        template = answer["results"][0]
        answer["results"] = [{**template, "id": str(10**6 + 3 * len(calls) + number)} for number in range(3)]
        answer["paging"] = {"next": {"after": str(len(calls)), "link": ""}}
        return json.dumps(answer).encode() if len(calls) < 100 else body

    problem = crms.run(crms.copy("home-made-up"), True, made_up)
    assert problem is not None
    assert "more than there can be" in problem
    assert len(calls) < 20


def test_who_is_archived_while_everything_is_listed_anew_is_not_taken_for_vanished(crms: Crms) -> None:
    home = crms.copy("home-race")
    with Warehouse(home).connect() as connection:  # another field was mapped since, so everything is pulled anew
        connection.execute("update raw.pull set request_hash = 'others' where object = 'contact'")
    contact = next(contact for contact in crms.story.world.contacts.values() if contact.archived_at is None)

    def spoil(line: str, body: bytes) -> bytes:
        if LISTED in line and contact.archived_at is None:  # behind the first of the two lists, whichever that is
            crms.story.world.archive_contact(contact)
        return body

    states = []
    try:
        for answers in (spoil, None):
            assert crms.run(home, False, answers) is None
            with Warehouse(home).connect() as connection:
                states += connection.execute("select state from core.hubspot_contact where contact_id = ?", [contact.id]).fetchall()
        assert states[0] != ("vanished",)
        assert states[1] == ("archived",)
    finally:
        crms.story.world.restore_contact(contact)


# ── others ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def answering(status: int, headers: dict[str, str], secure_in: Path | None = None) -> Iterator[str]:
    """A server that answers everybody the same. Yields its address. secure_in: where its certificates go; None: no TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if secure_in is not None:
        make_certificates(secure_in)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(secure_in / "server.pem", secure_in / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http{'s' if secure_in else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def redirecting(folder: Path, to: str, secure: bool) -> AbstractContextManager[str]:
    """A server that sends everybody elsewhere."""
    return answering(302, {"Location": to}, folder if secure else None)


@pytest.mark.parametrize("to", ["http://127.0.0.2:9/x", "https://elsewhere.example/x"])
def test_no_redirect_leads_to_another_host(tmp_path: Path, to: str) -> None:
    with redirecting(tmp_path, to, secure=False) as address, pytest.raises(PullProblem, match="another host"):
        Portal(HubSpotAccess("token", address, patience_seconds=1), Pull()).properties()
    with redirecting(tmp_path, to, secure=True) as address, pytest.raises(PullProblem, match=r"another host"):
        Org(SalesforceAccess(address, address, access_token="token", ca_file=str(tmp_path / "ca.pem"), patience_seconds=1)).count("Lead")


@pytest.mark.parametrize("to", ["http://[bad", "https://127.0.0.1:99999/", "//elsewhere.example/x"])
def test_a_redirect_to_an_address_that_is_none_is_said_in_words(tmp_path: Path, to: str) -> None:
    with redirecting(tmp_path, to, secure=False) as address, pytest.raises(PullProblem, match=r"redirects|cannot be read"):
        Portal(HubSpotAccess("token", address, patience_seconds=1), Pull()).properties()
    with redirecting(tmp_path, to, secure=True) as address, pytest.raises(PullProblem, match=r"redirects|cannot be read"):
        Org(SalesforceAccess(address, address, access_token="token", ca_file=str(tmp_path / "ca.pem"), patience_seconds=1)).count("Lead")


def test_no_next_page_leads_to_another_host(crms: Crms) -> None:
    org = Org(access_to(crms.server))
    for url in ("@elsewhere.example/x", ".elsewhere.example/x"):
        with pytest.raises(Redirected):
            org.next_page(url)


def test_no_redirect_leads_from_https_to_http(tmp_path: Path) -> None:
    with redirecting(tmp_path, "http://127.0.0.1:443/x", secure=True) as address, pytest.raises(PullProblem, match="redirects"):
        Org(SalesforceAccess(address, address, access_token="token", ca_file=str(tmp_path / "ca.pem"), patience_seconds=1)).count("Lead")


@pytest.mark.parametrize("which", ["org_id", "portal_id"])
def test_a_home_belongs_to_one_org_and_one_portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    story = Story([], 1, some_days_ago(3))
    for number in range(3):
        story.world.create_record("Contact", {"LastName": "Lee", "Email": f"p{number}@example.com"})
    poll(story.world, story.settings)
    with served(story, tmp_path / "sandbox") as server:
        run = runner(monkeypatch, tmp_path / "home")
        first = run(server)
        assert first.manifest is not None
        assert (first.exit_code, first.manifest["salesforce_org_id"], first.manifest["hubspot_portal_id"]) == (0, story.world.org_id, story.world.portal_id)
        other = {"org_id": "00D5e0000000OthEAC", "portal_id": "4712"}[which]
        known = getattr(story.world, which)
        setattr(story.world, which, other)
        asked = len(server.faults.requests)
        second = run(server)
        assert second.exit_code == 2
        assert second.problem is not None
        assert [words in second.problem for words in (known, other, "BINDWATCH_HOME")] == [True, True, True]
        assert not any("/jobs" in line or "/search" in line or "queryAll" in line for line in server.faults.requests[asked:])  # nothing was pulled
        setattr(story.world, which, known)
        assert run(server).exit_code == 0
