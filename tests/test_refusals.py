"""What both APIs refuse: each row of the catalogue over real HTTP, as the sandbox plays it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tenacity.wait import wait_fixed

from assets.policy import Pull
from assets.problems import PullProblem
from assets.pull import retries
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.refusals import CATALOGUE, Refusal
from assets.pull.salesforce_org import Org
from sandbox.faults import REFUSALS, Fault, parse_fault
from sandbox.server import SandboxServer
from tests.live import runner, served, story_of
from tests.pulls import access_to, pull_only

LIST, JOB, REST = "/contacts?limit", "/jobs/query", "/queryAll"


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", wait_fixed(0.01))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with served(story_of(5), tmp_path_factory.mktemp("sandbox")) as server:
        yield server


@pytest.fixture(scope="module")
def org(server: SandboxServer) -> Org:
    org = Org(access_to(server, patience_seconds=0.2))
    org.describe("Lead")
    return org


@pytest.fixture
def portal(server: SandboxServer) -> Portal:
    portal = Portal(HubSpotAccess("pat-sandbox", server.environment["HUBSPOT_BASE_URL"], patience_seconds=0.2), Pull(hubspot_requests_per_10_seconds=100_000))
    assert portal.version
    return portal


def as_told(name: str) -> Refusal:
    crm, status, code, message = REFUSALS[name]
    return Refusal("Salesforce" if crm == "salesforce" else "HubSpot", status, code, message)


def ask(name: str, org: Org, portal: Portal) -> None:
    if REFUSALS[name][0] == "salesforce":
        org.count("Lead")
    else:
        portal.list_ids_page(None)


def test_every_row_of_the_catalogue_is_played_by_the_sandbox() -> None:
    assert [row for row in CATALOGUE if row not in [as_told(name).known for name in REFUSALS]] == []


PASSING = [name for name in REFUSALS if as_told(name).is_passing]


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_asked_for_again(name: str, server: SandboxServer, org: Org, portal: Portal) -> None:
    server.faults.ask([fault := Fault(name, times=2, seconds=0)])
    ask(name, org, portal)
    assert fault.hits == 2
    server.faults.clear()


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_pass_is_told_with_status_code_and_the_sentence_of_the_catalogue(name: str, server: SandboxServer, org: Org, portal: Portal) -> None:
    crm, status, code, message = REFUSALS[name]
    server.faults.ask([fault := Fault(name, "/contacts" if crm == "hubspot" else "/query", times=9_999, seconds=0)])
    try:
        with pytest.raises(PullProblem) as raised:
            ask(name, org, portal)
    finally:
        server.faults.clear()
    said, refusal = str(raised.value), as_told(name)
    assert str(status) in said
    assert code in said
    assert refusal.remedy.replace("{scope}", "crm.objects.contacts.read") in said
    assert refusal.is_passing or fault.hits <= 5  # a token is renewed some times; a count has a second way
    is_known = refusal.known is not None and not refusal.known.is_general
    assert not (is_known and message in said)
    assert not any(secret in said for secret in ("@", "Ann", "Brien", "Bob"))


def test_the_words_of_an_api_are_shown_where_the_catalogue_does_not_know_them() -> None:
    assert as_told("unknown_400").words == "400 NEW_CODE value … for … is wrong"
    assert as_told("hubspot_400").words == "400 VALIDATION_ERROR property …, … is wrong"
    assert as_told("no_such_field").words == "400 INVALID_FIELD"


# ── the same, in a whole pull ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["concurrent_calls", "security_metering"])
def test_a_bulk_job_goes_on_when_too_much_was_going_on_at_once(tmp_path: Path, name: str) -> None:
    with served(story_of(5), tmp_path / "sandbox") as server:
        server.faults.ask([parse_fault(f"{name} path={JOB}/ times=2")])
        assert pull_only(tmp_path / "home", server) is None
        assert all(fault.hits == 2 for fault in server.faults.asked)


def test_a_query_that_always_takes_too_long_by_rest_comes_by_a_job(tmp_path: Path) -> None:
    with served(story_of(5), tmp_path / "sandbox") as server:
        assert pull_only(tmp_path / "home", server) is None
        server.story.advance(1)
        server.faults.ask([parse_fault(f"query_timeout path=FROM+{name}+ times=9999") for name in ("Lead", "Contact")])
        assert pull_only(tmp_path / "home", server, patience_seconds=0.2) is None


@pytest.mark.parametrize(
    ("message", "words", "jobs"),
    [
        ("InvalidBatch : Failed to process query: FUNCTIONALITY_NOT_ENABLED: 'Ann' not supported", ["FUNCTIONALITY_NOT_ENABLED", "View All Records"], 1),
        ("UNABLE_TO_LOCK_ROW: unable to obtain exclusive access", ["failed (UNABLE_TO_LOCK_ROW), 2 times"], 2),
        ("nobody knows why: 'Ann'", ["failed (nobody knows why: …), 2 times"], 2),
    ],
)  # fmt: skip
def test_what_a_failed_job_says_is_looked_up_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, words: list[str], jobs: int) -> None:
    monkeypatch.setattr("sandbox.salesforce_api.WHY_JOBS_FAIL", message)
    with served(story_of(5), tmp_path / "sandbox") as server:
        server.faults.ask([parse_fault(f"job_failed path={JOB}/ times=9999")])
        said = pull_only(tmp_path / "home", server) or ""
        assert sum("POST" in line and JOB in line for line in server.faults.requests) == jobs
    assert all(word in said for word in words)
    assert "Ann" not in said


@pytest.mark.parametrize(("name", "words"), [("calls_of_the_day", "24 hours are used up"), ("daily", "run again tomorrow"), ("no_access", "View All Records")])
def test_what_lasts_ends_the_command_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(story_of(5), tmp_path / "sandbox") as server:
        server.faults.ask([parse_fault(f"{name} times=9999")])
        result = run(server)
    assert result.exit_code == 3
    assert words in (result.problem or "")
    assert "@" not in (result.problem or "")


def test_an_answer_that_lacks_what_was_asked_for_is_told_as_that(org: Org, server: SandboxServer) -> None:
    server.faults.on_answer = lambda line, body: b'{"records": [], "done": true}' if "COUNT" in line else body
    try:
        with pytest.raises(PullProblem, match="cannot be read: it lacks totalSize"):
            org.count("Lead")
    finally:
        server.faults.on_answer = None


def test_a_mistake_of_our_own_is_not_told_as_one_of_the_org(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object) -> None:
        raise ValueError("a mistake of our own")

    monkeypatch.setattr(org, "_page", mistaken)
    with pytest.raises(ValueError, match="a mistake of our own"):
        org.count("Lead")
