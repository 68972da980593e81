"""The ways into both CRMs: which version of HubSpot's API is spoken, and what is told before anything is pulled."""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets.dagster.session import Session
from assets.policy import Policy, Pull
from assets.problems import PullProblem
from assets.pull.hubspot import read_property_list
from assets.pull.hubspot_portal import VERSIONS, HubSpotAccess, Portal
from assets.pull.salesforce_org import API_VERSION, Org
from assets.warehouse.file import Warehouse
from pipelines.settings import open_decisions, read_connections
from sandbox.faults import parse_fault
from sandbox.hubspot_api import TOKEN
from sandbox.server import SandboxServer
from sandbox.story import Story
from tests.live import ROOT, runner, served, story_of
from tests.pulls import access_to, pull

JOB, LIST = "/jobs/query", "/objects/"


def portal_of(server: SandboxServer, token: str = TOKEN, **settings: object) -> Portal:
    return Portal(HubSpotAccess(token, server.environment["HUBSPOT_BASE_URL"], patience_seconds=1), Pull.model_validate(settings))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with served(story_of(20), tmp_path_factory.mktemp("sandbox")) as server:
        yield server


# ── the version of HubSpot's API ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("refused", "setting", "spoken"),
    [
        ([], "auto", "2026-09"), (["v3"], "auto", "2026-09"), (["2026-09"], "auto", "2026-03"), (["2026-09", "2026-03"], "auto", "v3"),
        ([], "2026-03", "2026-03"), ([], "v3", "v3"),
    ],
)  # fmt: skip
def test_the_newest_version_is_spoken_that_portal_and_policy_allow_and_no_other(tmp_path: Path, refused: list[str], setting: str, spoken: str) -> None:
    with served(story_of(5), tmp_path / "sandbox", refused_versions=frozenset(refused)) as server:
        server.story.world.lists["7"] = []
        portal = portal_of(server, hubspot_api=setting)
        assert portal.version == spoken
        server.faults.requests.clear()
        ids = [entry["id"] for entry in portal.list_page(["email"], ["email"], False, None)[1]["results"]]
        assert len(ids) == portal.count() == len(portal.list_ids_page(None)[1]["results"]) > 0
        assert len(portal.read_batch(ids, ["email"], [])[1]["results"]) == len(ids)
        assert portal.list_members_page("7", None)[1]["results"] == []
        assert portal.read_id() == server.story.world.portal_id
        assert len(server.faults.requests) == 6
        assert "email" in portal.properties()
        assert len(server.faults.requests) == 6, "the probe has brought them"
        assert all(f"/{spoken}/" in line for line in server.faults.requests)


@pytest.mark.slow
def test_a_whole_run_on_a_portal_that_has_ended_v3_asks_for_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(story_of(40), tmp_path / "sandbox", refused_versions=frozenset({"v3"})) as server:
        assert run(server).exit_code in (0, 1)
        assert not any("/v3/" in line or "/v4/" in line or "/oauth/" in line for line in server.faults.requests if "/services/" not in line)


def test_a_fallback_is_said_and_stands_in_the_coverage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(story_of(5), tmp_path / "sandbox", refused_versions=frozenset({"2026-09", "2026-03"})) as server, caplog.at_level(logging.WARNING):
        not_seen = read_property_list(portal_of(server), Policy()).not_seen
    assert "2026-09 or 2026-03 of the API is not known here; v3 is spoken" in caplog.text
    assert any("v3 is spoken" in text for text in not_seen)


def test_a_version_that_is_named_and_not_known_is_told_with_the_setting(tmp_path: Path) -> None:
    with served(story_of(5), tmp_path / "sandbox", refused_versions=frozenset({"v3"})) as server, pytest.raises(PullProblem, match="hubspot_api"):
        portal_of(server, hubspot_api="v3").count()


def test_a_portal_that_knows_no_version_is_told_with_its_address(tmp_path: Path) -> None:
    with served(story_of(5), tmp_path / "sandbox", refused_versions=frozenset(VERSIONS)) as server, pytest.raises(PullProblem, match="HUBSPOT_BASE_URL"):
        portal_of(server).count()


def test_a_server_that_is_down_for_a_moment_does_not_change_the_version(server: SandboxServer) -> None:
    server.faults.ask([parse_fault("503 path=/properties times=2"), parse_fault("429 path=/properties after=2")])
    assert Portal(HubSpotAccess(TOKEN, server.environment["HUBSPOT_BASE_URL"]), Pull()).version == "2026-09"


@pytest.mark.parametrize(
    ("version", "today", "warns"),
    [
        ("v3", datetime(2027, 3, 4, tzinfo=UTC), False), ("v3", datetime(2027, 3, 5, tzinfo=UTC), True), ("v3", datetime(2027, 10, 1, tzinfo=UTC), True),
        ("2026-03", datetime(2027, 3, 5, tzinfo=UTC), True), ("2026-09", datetime(2027, 3, 5, tzinfo=UTC), False),
        ("2026-09", datetime(2027, 9, 3, tzinfo=UTC), True),
    ],
)  # fmt: skip
def test_the_end_of_the_version_in_use_is_told_half_a_year_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str, today: datetime, warns: bool
) -> None:
    with served(Story([], 1, today), tmp_path / "sandbox") as server, caplog.at_level(logging.WARNING):
        not_seen = read_property_list(portal_of(server, hubspot_api=version), Policy()).not_seen
    assert (f"HubSpot ends version {version} of its API" in caplog.text) is warns
    assert any(f"ends version {version}" in text for text in not_seen) is warns


# ── before anything is pulled ────────────────────────────────────────────────────────────────────────────────────────────────────

CLOSED = {
    "wrong key": ((), {"HUBSPOT_ACCESS_TOKEN": "pat-wrong"}, ["answered 401", "Service Key", "Development → Keys", "Settings → Integrations → Service Keys"]),
    "no scope for contacts": (("crm.objects.contacts.read",), {}, ["MISSING_SCOPES", "lacks the scope crm.objects.contacts.read"]),
    "no scope for properties": (("crm.schemas.contacts.read",), {}, ["lacks the scope crm.schemas.contacts.read"]),
    "no scope for lists": (("crm.lists.read",), {}, ["lacks the scope crm.lists.read"]),
    "no scope at all": (
        ("crm.lists.read", "crm.objects.contacts.read", "crm.schemas.contacts.read"), {},
        ["lacks the scope crm.lists.read", "lacks the scope crm.objects.contacts.read", "lacks the scope crm.schemas.contacts.read"],
    ),
    "no integration in the portal": (("salesforceleadid",), {}, ["salesforceleadid", "is it installed in this portal?"]),
    "wrong secret": ((), {"SALESFORCE_CLIENT_SECRET": "wrong"}, ["The token was refused", "SALESFORCE_CLIENT_ID"]),
    "wrong token": ((), {"SALESFORCE_ACCESS_TOKEN": "00Dwrong"}, ["SALESFORCE_ACCESS_TOKEN"]),
    "a field that cannot be seen": (("Contact.LastModifiedById",), {}, ["Contact.LastModifiedById"]),
    "both wrong": ((), {"SALESFORCE_CLIENT_SECRET": "wrong", "HUBSPOT_ACCESS_TOKEN": "pat-wrong"}, ["SALESFORCE_CLIENT_ID", "HUBSPOT_ACCESS_TOKEN"]),
    "a field and a property": (("Lead.IsConverted", "salesforceleadid"), {}, ["Lead.IsConverted", "salesforceleadid"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CLOSED)
def test_what_either_crm_refuses_is_told_before_the_other_one_has_been_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    hidden, environment, words = CLOSED[case]
    policy = tmp_path / "bindwatch.toml"
    policy.write_text('[policy]\ninclusion_list_id = "7"\n[pull]\npatience_seconds = 1\n')
    story = story_of(10)
    story.world.lists["7"] = []
    with served(story, tmp_path / "sandbox", frozenset(hidden)) as server:
        for name, value in {**server.environment, "BINDWATCH_HOME": str(tmp_path / "home"), "BINDWATCH_CONFIG": str(policy), **environment}.items():
            monkeypatch.setenv(name, value)
        warehouse = Warehouse(tmp_path / "home")
        session = Session(warehouse, open_decisions(), read_connections)
        with warehouse.connect() as connection, pytest.raises(PullProblem) as raised:
            session.crms(connection, case)
        pulled = [line for line in server.faults.requests if JOB in line or ("/contacts?" in line and LIST in line)]
    for text in words:
        assert text in str(raised.value)
    assert pulled == []
    assert not any(secret in str(raised.value) for secret in ("pat-wrong", "00Dwrong"))


def test_a_run_with_a_wrong_key_ends_with_3_and_has_pulled_nothing_of_salesforce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(story_of(10), tmp_path / "sandbox") as server:
        result = run(server, HUBSPOT_ACCESS_TOKEN="pat-wrong")
        assert not any(JOB in line for line in server.faults.requests)
    assert (result.exit_code, result.problem and "Service Key" in result.problem) == (3, True)


def test_an_org_that_is_a_release_behind_is_spoken_to_in_the_newest_version_it_has(server: SandboxServer) -> None:
    assert Org(access_to(server)).version == API_VERSION == "68.0"
    server.salesforce.newest_version = 67
    try:
        org = Org(access_to(server))
        assert org.version == "67.0"
        assert org.describe("Lead")
    finally:
        server.salesforce.newest_version = 68


# ── the calls of a day ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pull_that_needs_more_calls_than_hubspot_has_left_is_told_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(Story([], 1, datetime.now(UTC)), tmp_path / "sandbox") as server:
        for number in range(400):
            server.story.world.create_contact({"email": f"p{number}@example.com"}, "IMPORT")
        server.hubspot.daily_limit = 8
        with caplog.at_level(logging.WARNING):
            problem = pull(tmp_path / "home", server)
    said = [record.message for record in caplog.records if "left today" in record.message]
    assert said == [
        "HubSpot contact will need about 8 calls, and HubSpot has 5 left today: it will stop when they are used up. "
        "What has arrived by then stays for pull.resume_hours"
    ]
    assert "run again tomorrow" in (problem or "")


def test_a_pull_that_needs_more_calls_than_salesforce_has_left_is_told_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(story_of(150), tmp_path / "sandbox") as server, caplog.at_level(logging.WARNING):
        server.salesforce.calls_allowed = 30
        problem = pull(tmp_path / "home", server, bulk_page_rows=5)
    assert "and Salesforce has" in caplog.text
    assert "kept for others" in (problem or "")


def test_who_has_calls_enough_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(story_of(60), tmp_path / "sandbox") as server, caplog.at_level(logging.WARNING):
        server.hubspot.daily_limit = 1000
        assert pull(tmp_path / "home", server) is None
    assert "left today" not in caplog.text


# ── the page about it ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_page_says_that_one_sees_is_what_is_said() -> None:
    rows = [line.split("|")[1] for line in (ROOT / "docs" / "connecting.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    shown = [text for cell in rows for text in re.findall(r"`([^`]+)`", cell) if " " in text and "invalid_" not in text and "answered" not in text]
    code = " ".join(path.read_text("utf-8") for folder in ("assets", "pipelines") for path in (ROOT / folder).rglob("*.py"))
    code = re.sub(r'"\s+f?"', "", code)  # a sentence that goes on in the next line
    assert len(shown) > 10
    assert [text for text in shown if text.replace("SALESFORCE_INSTANCE_URL is", "is") not in code] == []
