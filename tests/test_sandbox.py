"""The sandbox: real client libraries talk to it, and its integration follows the rules."""

import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hubspot import HubSpot
from hubspot.crm.contacts import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceExpiredSession, SalesforceMalformedRequest

from sandbox.integration import poll
from sandbox.people import make_people, read_people
from sandbox.portal import PortalSettings
from sandbox.server import SandboxServer
from sandbox.soql import SoqlError, parse
from sandbox.story import Story
from sandbox.world import HubSpotContact, SalesforceRecord, World
from tests.command import call, environment_of, start
from tests.live import ROOT, served, some_days_ago, story_of

START = datetime(2026, 3, 1, tzinfo=UTC)


# ── started by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_it_says_to_enter_works_in_a_folder_with_a_blank(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    sandbox = start(["sandbox", "--people", "1", "--salesforce-port", "0", "--hubspot-port", "0", "--folder", str(folder)], environment_of(tmp_path, {}))
    assert sandbox.stdout is not None
    line = next(line for line in sandbox.stdout if line.startswith("Point Bindwatch at them:"))
    entered = f"{line.partition(':')[2]}printenv SSL_CERT_FILE BINDWATCH_CONFIG"
    said = subprocess.run(["sh", "-ec", entered], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    sandbox.terminate()
    sandbox.communicate(timeout=60)
    assert said.stdout.splitlines() == [str(folder / "ca.pem"), str(ROOT / "sandbox" / "bindwatch.toml")], said.stderr


def test_a_port_in_use_is_named_and_nobody_is_pointed_at_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = call(
            ["sandbox", "--people", "1", "--salesforce-port", "0", "--hubspot-port", port, "--folder", str(tmp_path / "s")], environment_of(tmp_path, {})
        )
    assert ended.code == 2, ended.text
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use. Is one open already? --salesforce-port 0 --hubspot-port 0" in ended.err
    assert "Point Bindwatch" not in ended.out


# ── spoken to by the real clients ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    story = story_of(3200, days_ago=3)
    story.advance(1)
    with served(story, tmp_path_factory.mktemp("sandbox")) as server:
        yield server


@pytest.fixture
def org(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Salesforce:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", server.environment["SSL_CERT_FILE"])
    return Salesforce(instance_url=server.environment["SALESFORCE_INSTANCE_URL"], session_id=server.salesforce.issue_token(), version="64.0")


@pytest.fixture
def portal(server: SandboxServer) -> Any:
    return HubSpot(access_token="pat-sandbox", host=server.environment["HUBSPOT_BASE_URL"]).crm


def test_query_pages_through_live_records_and_query_all_finds_deleted_ones_too(server: SandboxServer, org: Salesforce) -> None:
    leads = [record for record in server.story.world.records.values() if record.type == "Lead"]
    live = list(org.query_all_iter("SELECT Id, Name FROM Lead"))
    everything = list(org.query_all_iter("SELECT Id, IsDeleted FROM Lead", include_deleted=True))
    assert {row["Id"] for row in everything} == {record.id for record in leads}
    assert {row["Id"] for row in live} == {record.id for record in leads if not record.is_deleted}
    assert len(everything) > 2000  # more than one page
    assert org.api_usage["api-usage"].used > 0


def test_bulk_pages_follow_the_locator_to_the_end(server: SandboxServer, org: Salesforce) -> None:
    bulk: Any = org.bulk2  # the library's own type allows the contact of another API, too
    pages = list(bulk.Contact.query_all("SELECT Id, Account.Name FROM Contact", max_records=200, wait=0.1))
    rows = [line for page in pages for line in page.splitlines()[1:]]
    assert len(pages) > 2
    assert len(rows) == sum(record.type == "Contact" for record in server.story.world.records.values())
    assert all(page.splitlines()[0] == '"Id","Account.Name"' for page in pages)


def test_a_record_that_the_integration_user_cannot_see_is_in_no_answer(server: SandboxServer, org: Salesforce) -> None:
    record = next(record for record in server.story.world.records.values() if record.type == "Lead" and not record.is_deleted)
    record.is_visible = False
    try:
        assert org.query_all(f"SELECT Id FROM Lead WHERE Id = '{record.id}'", include_deleted=True)["records"] == []
    finally:
        record.is_visible = True


def test_errors_are_those_of_salesforce(server: SandboxServer, org: Salesforce) -> None:
    for query in ("SELECT Nope FROM Lead", "SELECT Id FROM Nope", "SELECT Id FROM Lead WHERE"):
        with pytest.raises(SalesforceMalformedRequest):
            org.query(query)
    stranger: Any = Salesforce(instance_url=server.environment["SALESFORCE_INSTANCE_URL"], session_id="wrong", version="64.0")
    with pytest.raises(SalesforceExpiredSession):
        stranger.Lead.describe()


def test_the_contact_list_pages_to_the_last_contact(server: SandboxServer, portal: Any) -> None:
    found = portal.contacts.get_all(properties=["email"])
    live = {contact.id for contact in server.story.world.contacts.values() if contact.archived_at is None}
    assert {contact.id for contact in found} == live
    archived = portal.contacts.get_all(archived=True)
    assert {contact.id for contact in archived} == server.story.world.contacts.keys() - live


def test_history_comes_newest_first_and_limits_the_page(server: SandboxServer, portal: Any) -> None:
    page = portal.contacts.basic_api.get_page(limit=50, properties_with_history=["salesforceleadid", "jobtitle"])
    histories = [versions for contact in page.results for versions in contact.properties_with_history.values() if len(versions) > 1]
    assert histories
    assert all(versions == sorted(versions, key=lambda version: version.timestamp, reverse=True) for versions in histories)
    with pytest.raises(Exception, match="400"):
        portal.contacts.basic_api.get_page(limit=100, properties_with_history=["email"])


def test_search_filters_sorts_and_counts(server: SandboxServer, portal: Any) -> None:
    some = sorted((c for c in server.story.world.contacts.values() if c.archived_at is None), key=lambda c: int(c.id))
    request = PublicObjectSearchRequest(
        filter_groups=[{"filters": [{"propertyName": "hs_object_id", "operator": "GT", "value": some[9].id}]}],
        sorts=["hs_object_id"],
        properties=["email"],
        limit=5,
    )
    answer = portal.contacts.search_api.do_search(request)
    assert [result.id for result in answer.results] == [contact.id for contact in some[10:15]]
    assert answer.total == len(some) - 10


def test_a_merged_contact_is_found_under_its_old_ids(server: SandboxServer, portal: Any) -> None:
    old, new = next(iter(server.story.world.merged_contacts.items()))
    assert portal.contacts.basic_api.get_by_id(old).id == new
    request = BatchReadInputSimplePublicObjectId(inputs=[{"id": old}, {"id": "1"}], properties=["hs_merged_object_ids"], properties_with_history=[])
    answer = portal.contacts.batch_api.read(request)
    assert [result.id for result in answer.results] == [new]
    assert old in answer.results[0].properties["hs_merged_object_ids"].split(";")
    assert answer.num_errors == 1


def test_properties_and_owners_are_listed(portal: Any) -> None:
    assert "salesforceleadid" in {entry.name for entry in portal.properties.core_api.get_all("contacts").results}
    assert portal.owners.owners_api.get_page().results


@pytest.mark.parametrize("query", ["", "SELECT", "SELECT Id Lead", "SELECT Id FROM Lead WHERE Id", "SELECT Id FROM Lead LIMIT x", "SELECT Id FROM Lead;"])
def test_soql_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(SoqlError):
        parse(query)


def test_soql_conditions() -> None:
    row: dict[str, str | bool | datetime | int | None] = {"Email": "Ann@Example.com", "IsDeleted": False, "SystemModstamp": START, "Title": None}
    for condition, expected in (
        ("Email = 'ann@example.COM'", True), ("Email != 'x'", True), ("IsDeleted = true", False), ("Title = null", True),
        ("SystemModstamp >= 2026-03-01T00:00:00Z AND SystemModstamp < 2026-03-01T00:00:00.001+00:00", True),
        ("(Email = 'x' OR IsDeleted = false) AND Title = null", True), ("Email IN ('x', 'ann@example.com')", True), ("Email NOT IN ('x')", True),
    ):  # fmt: skip
        assert parse(f"SELECT Id FROM Lead WHERE {condition}").matches(row.get) == expected, condition


# ── the integration ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Portal:
    """A world with one person: a Lead and the contact bound to it."""

    def __init__(self, **settings: Any) -> None:
        self.world, self.settings = World(START), PortalSettings(**settings)
        self.lead = self.enter("Lead", Title="CEO", Phone="1")
        self.poll()

    def enter(self, object_type: Any, email: str = "ann@example.com", **fields: str) -> SalesforceRecord:
        self.world.now += timedelta(hours=1)
        return self.world.create_record(object_type, {"LastName": "Lee", "Email": email, **fields})

    def poll(self) -> None:
        self.world.now += timedelta(minutes=15)
        poll(self.world, self.settings)

    @property
    def contact(self) -> HubSpotContact:
        (contact,) = self.world.contacts.values()
        return contact


def test_a_new_record_makes_a_contact_that_is_bound_to_it() -> None:
    portal = Portal()
    assert (portal.contact.bound_id, portal.contact.value("jobtitle")) == (portal.lead.id, "CEO")


def test_a_duplicate_takes_over_overwrites_and_is_filled_from_hubspot() -> None:
    portal = Portal()
    rival = portal.enter("Contact", Title="Buyer")
    portal.poll()
    assert (portal.contact.bound_id, portal.contact.value("jobtitle"), rival.fields["Phone"]) == (rival.id, "Buyer", "1")
    assert portal.contact.value("salesforceleadid") == ""
    portal.world.now += timedelta(hours=1)
    portal.world.edit_record(portal.lead, {"Fax": "2"})
    portal.poll()
    assert (portal.contact.bound_id, portal.contact.value("jobtitle")) == (portal.lead.id, "CEO")


def test_a_sticky_integration_stays() -> None:
    portal = Portal(follow_up="sticky")
    portal.enter("Contact", Title="Buyer")
    portal.poll()
    assert portal.contact.bound_id == portal.lead.id


def test_a_conversion_is_followed() -> None:
    portal = Portal()
    converted = portal.world.convert_lead(portal.lead)
    portal.poll()
    assert portal.contact.bound_id == converted.id


@pytest.mark.parametrize(("setting", "archived"), [("keep", False), ("delete", True)])
def test_a_merge_away_from_the_bound_record_breaks_or_deletes(setting: str, archived: bool) -> None:
    portal = Portal(on_lead_deleted=setting, follow_up="sticky")
    rival = portal.enter("Lead")
    portal.poll()
    portal.world.merge_records(rival, [portal.lead])
    poll(portal.world, portal.settings)
    assert (portal.contact.archived_at is not None) == archived


@pytest.mark.parametrize(("setting", "prefix"), [("lead", "00Q"), ("contact", "003"), ("none", None)])
def test_a_form_without_a_match_creates_by_setting(setting: str, prefix: str | None) -> None:
    world = World(START)
    contact = world.create_contact({"email": "new@example.com"}, "FORM")
    poll(world, PortalSettings(create_object=setting))  # type: ignore[arg-type]
    assert (contact.bound_id or "")[:3] == (prefix or "")


def test_the_same_seed_tells_the_same_story() -> None:
    def told() -> list[tuple[str, str | None]]:
        until = datetime(2026, 11, 1, tzinfo=UTC)
        story = Story(make_people(200, 3, until), 3, until)
        story.advance(2)
        return [(contact.id, contact.bound_id) for contact in story.world.contacts.values()]

    assert told() == told()


def test_people_come_from_a_csv_and_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("name,email,first_seen,last_seen\nAnn Lee,ann@example.com,2025-01-01T00:00:00Z,2025-02-01T00:00:00Z\nBob,,,\n", "utf-8")
    first, second = read_people(path, some_days_ago(1))
    assert (first.first_name, first.last_name, first.first_seen.year) == ("Ann", "Lee", 2025)
    assert (second.last_name, second.email) == ("Bob", "")
    path.write_text("name\nAnn\n", "utf-8")
    with pytest.raises(ValueError, match="no column email"):
        list(read_people(path, some_days_ago(1)))
