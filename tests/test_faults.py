"""Whatever the APIs do: a run publishes what a run without faults would, or says that it could not. Never anything in between."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from tenacity.wait import wait_random_exponential

from assets.pull import retries
from assets.pull.salesforce_org import SalesforceAccess
from assets.warehouse.file import Warehouse
from sandbox import hubspot_api, salesforce_api
from sandbox.faults import parse_fault
from sandbox.server import SandboxServer
from sandbox.story import Story
from tests.live import runner, served, snapshot, some_days_ago, story_of
from tests.pulls import Outcome, access_to, pull, pull_and_build, pull_only


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts as in life, a tenth as long."""
    monkeypatch.setattr(retries, "_backoff", wait_random_exponential(multiplier=0.05, max=0.5, min=0.02))
    monkeypatch.setattr("assets.pull.hubspot.time.sleep", lambda seconds: None)  # for the search index to catch up with a list


@dataclass
class Scene:
    """A server, a home after a first run and some days, and what a run of each kind brings when nothing goes wrong."""

    server: SandboxServer
    folder: Path
    home_before: Path
    first: dict[str, list[str]]
    second: dict[str, list[str]]
    reconciled: dict[str, list[str]]

    def home(self, name: str, is_first: bool) -> Path:
        home = self.folder / name
        shutil.rmtree(home, ignore_errors=True)
        if not is_first:
            shutil.copytree(self.home_before, home)
        return home


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("faults")
    story = story_of(200)
    with served(story, folder / "sandbox") as server:
        assert pull(folder / "before", server) is None
        story.advance(3)
        # from here on the world stands still: every run sees the same
        shutil.copytree(folder / "before", folder / "incremental")
        shutil.copytree(folder / "before", folder / "full")
        first = pull_and_build(folder / "first", server)
        second = pull_and_build(folder / "incremental", server)
        reconciled = pull_and_build(folder / "full", server, full=True)
        assert first.problem is second.problem is reconciled.problem is None
        assert len(first.tables["hubspot_contact"]) > 150  # several pages of everything
        yield Scene(server, folder, folder / "before", first.tables, second.tables, reconciled.tables)


SOMEBODY = ("salesforce_person", "hubspot_contact")  # where it is about who arrived


def run_with(scene: Scene, faults: str, kind: str, **settings: Any) -> tuple[Outcome, dict[str, list[str]]]:
    """The outcome of a run with faults, and the tables of one without. settings: as in pull_and_build."""
    home = scene.home("home", kind == "first")
    scene.server.faults.clear()
    scene.server.faults.ask([parse_fault(fault) for fault in faults.split(";")])
    try:
        outcome = pull_and_build(home, scene.server, kind == "full", **settings)
        assert all(fault.hits for fault in scene.server.faults.asked), "the fault never happened"
    finally:
        scene.server.faults.clear()
    return outcome, {"first": scene.first, "second": scene.second, "full": scene.reconciled}[kind]


LIST, SEARCH, BATCH, HISTORY = "/contacts?limit", "/search", "/batch/read", "/contacts?limit"
JOB, RESULTS, REST, MORE = "/jobs/query", "/results", "/queryAll", "/query/01g"


# Several faults in one run, in the fast lane; each alone, in the slow one.
TOGETHER_FIRST = [
    f"429 path={LIST} times=2;cut path={RESULTS} after=1;half path=describe;expire path={JOB}/ after=1",
    f"429 path={LIST} after=2 seconds=1;502 path={JOB} times=2;half path={RESULTS} after=1;cut path={LIST} after=4",
    f"500 path={LIST} after=1 times=2;503 path={RESULTS} after=1 seconds=1;cut path=describe;half path={LIST} after=4",
    f"slow path={LIST} after=1 seconds=1;expire path={RESULTS};job_failed path={JOB}/ after=3;repeated path={LIST} after=2",
    f"job_aborted path={JOB}/;short_page path={RESULTS} after=1;shuffled path={LIST} times=99;numbers path={LIST} after=1 times=2",
    f"other_columns path={RESULTS} times=99;429 path=oauth2/token;repeated path={LIST} after=1 times=3",
    f"shuffled path={RESULTS} times=99;repeated path={RESULTS} after=1;503 path=describe times=2;cut path=/properties",
]  # fmt: skip
ALONE_FIRST = [
    f"429 path={LIST} times=3", f"429 path={LIST} after=2 times=2 seconds=1", f"500 path={LIST} after=1 times=3", f"502 path={JOB} times=3",
    f"503 path={RESULTS} after=1 times=3 seconds=1", "429 path=oauth2/token times=2", "503 path=describe times=3",
    f"cut path={LIST} after=3", f"cut path={RESULTS} after=1 times=2", "cut path=describe", f"half path={LIST} after=1", f"half path={RESULTS} after=1",
    "half path=describe", f"slow path={LIST} after=1 seconds=1.5", f"slow path={RESULTS} seconds=1.5",
    f"expire path={RESULTS}", f"expire path={JOB}/ after=1", f"expire path={RESULTS} after=1 times=3", f"job_failed path={JOB}/", f"job_aborted path={JOB}/",
    f"short_page path={RESULTS} after=1", f"shuffled path={LIST} times=99", f"shuffled path={RESULTS} times=99", f"repeated path={LIST} after=1 times=3",
    f"repeated path={RESULTS} after=1", f"numbers path={LIST} after=1 times=2", f"other_columns path={RESULTS} times=99",
]  # fmt: skip
TOGETHER_SECOND = [
    f"429 path={SEARCH} times=2;cut path={BATCH};half path={REST}",
    f"429 path={BATCH} times=2;500 path={SEARCH};cut path={REST};expire path={REST} after=1",
    f"429 path={SEARCH} seconds=1;half path={BATCH} times=2;502 path={REST} times=2;shuffled path={REST} after=2 times=9",
    f"cut path={SEARCH};500 path={BATCH};slow path={BATCH} after=1 seconds=1;numbers path={BATCH} times=99;shuffled path={BATCH} times=99",
    f"half path={SEARCH};503 path={BATCH};repeated path={BATCH} after=1",
]  # fmt: skip
ALONE_SECOND = [
    f"429 path={SEARCH} times=3", f"429 path={SEARCH} seconds=1", f"429 path={BATCH} times=3", f"500 path={BATCH} times=2;503 path={SEARCH} times=2",
    f"502 path={REST} times=3", f"cut path={BATCH}", f"cut path={REST}", f"cut path={SEARCH}", f"half path={BATCH} times=2", f"half path={REST}",
    f"half path={SEARCH} times=2", f"slow path={BATCH} seconds=1.5", f"expire path={REST}", f"numbers path={BATCH} times=99", f"repeated path={BATCH} after=1",
    f"shuffled path={BATCH} times=99", f"shuffled path={REST} times=9",
]  # fmt: skip


def with_slow(fast: list[str], slow: list[str]) -> list[Any]:
    return [*fast, *(pytest.param(fault, marks=pytest.mark.slow) for fault in slow)]


@pytest.mark.parametrize("fault", with_slow(TOGETHER_FIRST, ALONE_FIRST))
def test_a_first_run_makes_good(scene: Scene, fault: str) -> None:
    outcome, expected = run_with(scene, fault, "first")
    assert outcome.problem is None
    assert outcome.tables == expected


@pytest.mark.parametrize("fault", with_slow(TOGETHER_SECOND, ALONE_SECOND))
def test_an_incremental_run_makes_good(scene: Scene, fault: str) -> None:
    outcome, expected = run_with(scene, fault, "second")
    assert outcome.problem is None
    assert outcome.tables == expected


@pytest.mark.parametrize(
    "fault", [f"expire path={RESULTS}", f"cut path={LIST} after=1", f"job_aborted path={JOB}/;429 path={LIST} times=2", f"half path={RESULTS}"]
)
def test_a_full_comparison_makes_good(scene: Scene, fault: str) -> None:
    outcome, expected = run_with(scene, fault, "full")
    assert outcome.problem is None
    assert outcome.tables == expected


# Of two that end at the same place of the code, one is in the fast lane.
@pytest.mark.parametrize(("fault", "kind", "words"), [
    (f"429 path={LIST} times=9999", "first", "429"),
    (f"429 path={SEARCH} times=9999", "second", "429"),
    pytest.param(f"503 path={JOB} times=9999", "first", "503", marks=pytest.mark.slow),
    pytest.param(f"503 path={LIST} times=9999 seconds=600", "first", "503", marks=pytest.mark.slow),
    (f"cut path={RESULTS} after=1 times=9999", "first", "broke off"),
    pytest.param(f"half path={LIST} after=1 times=9999", "first", "half an answer", marks=pytest.mark.slow),
    (f"expire path={JOB} times=9999", "first", "401"),
    (f"job_failed path={JOB}/ times=9999", "first", "bulk job of Lead failed"),
    pytest.param(f"job_aborted path={JOB}/ times=9999", "first", "was aborted", marks=pytest.mark.slow),
    (f"short_page path={RESULTS} after=1 times=9999", "first", "announced"),
    (f"last_page_lost path={LIST} times=9999", "first", "the search counts"),
    pytest.param(f"last_page_lost path={LIST} times=9999", "full", "the search counts", marks=pytest.mark.slow),
    (f"property_gone path={LIST} after=1 times=2", "first", "lacks phone"),
    pytest.param(f"property_gone path={BATCH} times=9", "second", "lacks phone", marks=pytest.mark.slow),
    (f"other_columns path={RESULTS} after=1 times=9999", "first", "other columns"),
    (f"limit_reached path={RESULTS}", "first", "kept for others"),
])  # fmt: skip
def test_what_cannot_be_made_good_ends_with_exit_code_3_and_says_why(scene: Scene, fault: str, kind: str, words: str) -> None:
    outcome, expected = run_with(scene, fault, kind, patience_seconds=0.5, only=SOMEBODY)
    assert outcome.problem is not None
    assert words in outcome.problem
    assert "@" not in outcome.problem
    # and the next run makes it good, on the same home
    outcome = pull_and_build(scene.folder / "home", scene.server, kind == "full")
    assert outcome.problem is None
    assert outcome.tables == expected


def test_a_run_with_a_fault_that_does_not_end_exits_with_3_and_publishes_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text("[pull]\npatience_seconds = 1\n")
    run = runner(monkeypatch, tmp_path / "home", policy)
    with served(story_of(40), tmp_path / "sandbox") as server:
        before = run(server)
        tables = snapshot(tmp_path / "home")
        server.faults.ask([parse_fault(f"429 path={BATCH} times=9999")])
        result = run(server)
        assert (result.verdict, result.exit_code) == ("unproven", 3)
        assert snapshot(tmp_path / "home") == tables
        assert before.exit_code in (0, 1)


def test_records_that_become_visible_late_are_brought_by_the_next_run(scene: Scene) -> None:
    home = scene.home("late", is_first=False)
    scene.server.faults.ask([parse_fault(f"late path={path} times=9") for path in (REST, SEARCH)])
    late = pull_and_build(home, scene.server, only=SOMEBODY)
    assert all(fault.hits for fault in scene.server.faults.asked)
    scene.server.faults.clear()
    assert late.problem is None
    assert any(late.tables[name] != scene.second[name] for name in SOMEBODY)
    found = pull_and_build(home, scene.server)
    # how policies are judged by the past depends on what earlier runs had seen, and one of these had seen less
    for table in scene.second.keys() - {"policy_prediction", "prediction_score"}:
        assert found.tables[table] == scene.second[table], table


@pytest.mark.parametrize("minutes", [-1, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crm_whose_clock_is_a_minute_off_is_pulled_without_loss(tmp_path: Path, minutes: int) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)
    story = Story([], 1, until)
    with served(story, tmp_path / "sandbox") as server:
        for number in range(5):
            story.world.create_record("Lead", {"LastName": f"p{number}", "Email": f"p{number}@example.com"})
            story.world.create_contact({"email": f"c{number}@example.com"}, "FORM")
            outcome = pull_and_build(tmp_path / "home", server, only=SOMEBODY)
            assert outcome.problem is None
            assert (len(outcome.tables["salesforce_person"]), len(outcome.tables["hubspot_contact"])) == (number + 1, number + 1)
            story.world.now += timedelta(seconds=20)


def test_a_record_edited_while_others_are_read_is_not_lost(tmp_path: Path) -> None:
    """The page with its old values was landed, records with later stamps come after it: only the clock at the beginning of the pull tells."""
    story = story_of(400)
    with served(story, tmp_path / "sandbox") as server:

        def edit_behind_the_reader(line: str) -> None:
            story.world.now += timedelta(minutes=30)
            live = [record for record in story.world.records.values() if not record.is_deleted]
            contacts = [contact for contact in story.world.contacts.values() if contact.archived_at is None]
            for record in (live[0], live[-1]):
                story.world.edit_record(record, {"Title": line[-40:]})
            for contact in (contacts[0], contacts[-1]):
                story.world.write(contact, {"jobtitle": line[-40:]}, "CRM_UI")

        server.faults.on_request = edit_behind_the_reader
        assert pull_only(tmp_path / "home", server) is None  # a clock that jumps at each request is not what this is about
        server.faults.on_request = None
        found = pull_and_build(tmp_path / "home", server, only=("salesforce_person", "overwrite"))
        fresh = pull_and_build(tmp_path / "other", server, only=("salesforce_person", "overwrite"))
        assert found.tables["salesforce_person"] == fresh.tables["salesforce_person"]
        assert found.tables["overwrite"] == fresh.tables["overwrite"]


@pytest.mark.parametrize(("contacts", "cap"), [(1_200, 1_000), pytest.param(12_000, 10_000, marks=pytest.mark.slow)])
def test_more_contacts_with_one_stamp_than_a_search_returns_come_in_one_increment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contacts: int, cap: int
) -> None:
    monkeypatch.setattr(hubspot_api, "_SEARCH_CAP", cap)
    story = Story([], 1, some_days_ago(3))
    with served(story, tmp_path / "sandbox") as server:
        pull(tmp_path / "home", server)
        for number in range(contacts):
            story.world.create_contact({"email": f"p{number}@example.com"}, "IMPORT")
        assert len({contact.modified_at for contact in story.world.contacts.values()}) == 1
        outcome = pull_and_build(tmp_path / "home", server, only=SOMEBODY)
        assert outcome.problem is None
        assert len(outcome.tables["hubspot_contact"]) == contacts


def test_a_record_that_comes_by_rest_and_by_bulk_is_one_version(tmp_path: Path) -> None:
    story = story_of(200)
    with served(story, tmp_path / "sandbox") as server:
        pull(tmp_path / "home", server)
        story.advance(1)
        pull(tmp_path / "home", server, salesforce_overlap_minutes=60 * 24 * 365)
        assert any("/queryAll" in line for line in server.faults.requests)
        with Warehouse(tmp_path / "home").connect() as connection:
            versions = "select count(*) from (from raw.salesforce_lead union all from raw.salesforce_contact)"
            before = connection.execute(versions).fetchone()
        pull(tmp_path / "home", server, salesforce_overlap_minutes=60 * 24 * 365, rest_rows=0)
        with Warehouse(tmp_path / "home").connect() as connection:
            assert connection.execute(versions).fetchone() == before


def test_a_small_increment_comes_by_rest_and_a_large_one_by_a_job(tmp_path: Path) -> None:
    story = story_of(200)
    with served(story, tmp_path / "sandbox") as server:
        pull(tmp_path / "home", server)
        for most, way in ((10_000, False), (0, True)):
            story.advance(1)
            server.faults.requests.clear()
            pull(tmp_path / "home", server, rest_rows=most)
            assert any("POST" in line and JOB in line for line in server.faults.requests) is way


@pytest.mark.parametrize("fault", ["", f"cut path={BATCH} after=1;429 path={LIST} after=1", f"500 path={BATCH} times=2;half path={LIST} after=2"])
def test_a_slow_list_is_gone_on_with_in_batches(scene: Scene, fault: str) -> None:
    faults = ";".join(part for part in (f"slow path={LIST} seconds=0.1", fault) if part)
    scene.server.faults.requests.clear()
    outcome, expected = run_with(scene, faults, "first", hubspot_slow_answer_ms=50)
    assert outcome.problem is None
    assert outcome.tables == expected
    assert sum("propertiesWithHistory" in line and "archived=False" in line for line in scene.server.faults.requests) < 3
    assert sum(BATCH in line for line in scene.server.faults.requests) > 3


def test_a_query_that_rest_refuses_is_asked_for_as_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = story_of(100)
    with served(story, tmp_path / "sandbox") as server:
        pull(tmp_path / "home", server)
        story.advance(1)
        monkeypatch.setattr(server.salesforce, "_page", lambda *_: salesforce_api._error(400, "QUERY_TOO_COMPLICATED", "too many fields"))
        outcome = pull_and_build(tmp_path / "home", server, only=SOMEBODY)
        assert outcome.problem is None
        assert len(outcome.tables["salesforce_person"]) == len(story.world.records)


def test_the_org_forgets_the_query_between_two_pages(tmp_path: Path) -> None:
    story = story_of(200)
    with served(story, tmp_path / "sandbox") as server:
        pull(tmp_path / "home", server)
        stamp = story.world.now
        for number in range(4500):  # three pages, all with one stamp
            story.world.create_record("Lead", {"LastName": f"n{number}", "Email": f"n{number}@example.com"})
        assert story.world.now == stamp

        def forget(line: str) -> None:
            if MORE in line and line.endswith("-2000"):
                server.salesforce.cursors.clear()

        server.faults.on_request = forget
        outcome = pull_and_build(tmp_path / "home", server, only=SOMEBODY)
        assert outcome.problem is None
        assert len(outcome.tables["salesforce_person"]) == len(story.world.records)
        assert sum(REST in line for line in server.faults.requests) >= 4


def test_a_token_of_its_own_that_expires_is_named_and_a_renewable_one_is_renewed(tmp_path: Path) -> None:
    with served(story_of(120), tmp_path / "sandbox") as server:
        url = server.environment["SALESFORCE_INSTANCE_URL"]
        ca = server.environment["SSL_CERT_FILE"]
        token = SalesforceAccess(url, url, access_token=server.salesforce.issue_token(), ca_file=ca)
        key = (tmp_path / "sandbox" / "jwt.key").read_text()
        signed = SalesforceAccess(url, url, client_id="sandbox-client", username="integration@sandbox.example", private_key=key, ca_file=ca)
        server.faults.ask([parse_fault(f"expire path={RESULTS}")])
        assert pull(tmp_path / "signed", server, access=signed) is None
        server.faults.ask([parse_fault(f"expire path={RESULTS}")])
        assert "SALESFORCE_ACCESS_TOKEN" in (pull(tmp_path / "token", server, access=token) or "")
        server.faults.clear()
        both = access_to(server, access_token=server.salesforce.issue_token())
        assert pull(tmp_path / "token", server, access=both) is None


def test_a_full_run_finds_a_change_that_no_increment_could_see(tmp_path: Path) -> None:
    story = story_of(200)
    world = story.world
    with served(story, tmp_path / "sandbox") as server:
        pull(tmp_path / "home", server)
        account = next(record.account_id for record in world.records.values() if record.type == "Contact" and record.account_id and not record.is_deleted)
        world.accounts[account] = "Renamed Inc."  # moves no stamp of its contacts
        lost = world.create_record("Lead", {"LastName": "Lost", "Email": "lost@example.com"})
        lost.created_at = lost.modified_at = world.now - timedelta(days=900)  # became visible long after its stamp
        contact = next(contact for contact in world.contacts.values() if contact.archived_at is None)
        contact.modified_at = world.now - timedelta(days=800)
        pull(tmp_path / "home", server)
        server.faults.requests.clear()
        compared = ("salesforce_person", "hubspot_contact", "overwrite")
        full = pull_and_build(tmp_path / "home", server, full=True, only=compared)
        lists = [line for line in server.faults.requests if LIST in line and "archived=False" in line]
        assert lists
        assert not any("propertiesWithHistory" in line for line in lists)  # ids and stamps only
        fresh = pull_and_build(tmp_path / "other", server, only=compared)
        for table in compared:
            assert full.tables[table] == fresh.tables[table], table


def test_faults_are_asked_for_by_request(tmp_path: Path) -> None:
    with served(story_of(60), tmp_path / "sandbox") as server:
        url = f"{server.environment['HUBSPOT_BASE_URL']}/sandbox/faults"

        def ask(method: str, body: Any = None) -> Any:
            with urlopen(Request(url, json.dumps(body).encode() if body else None, method=method), timeout=10) as answer:
                return json.loads(answer.read())

        assert ask("POST", [{"kind": "500", "path": "/contacts", "times": 2}])[0]["hits"] == 0
        assert pull(tmp_path / "home", server) is None
        assert ask("GET")[0]["hits"] == 2
        assert ask("DELETE") == []


@pytest.mark.slow
def test_a_limit_lower_than_the_policy_says_is_learnt_from_the_headers(tmp_path: Path) -> None:
    """The sandbox answers 25 calls in ten seconds, the policy believes in 190."""
    story = Story([], 1, some_days_ago(3))
    for number in range(1400):
        story.world.create_contact({"email": f"p{number}@example.com"}, "IMPORT")
    with served(story, tmp_path / "sandbox", hubspot_limit=25) as server:
        outcome = pull_and_build(tmp_path / "home", server, hubspot_requests_per_10_seconds=190)
    assert outcome.problem is None
    assert len(outcome.tables["hubspot_contact"]) == 1400
