"""Who wrote what, over real HTTP: users, owners, field history and the history of the sync time are pulled, where they are needed and as far as they are
shown; where one is not, the coverage says so, and the run is as proven as it was.
"""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.warehouse.authors import records_without_history
from assets.warehouse.coverage import read_coverage
from assets.warehouse.file import Warehouse
from assets.warehouse.history import HUBSPOT_READ, SALESFORCE_READ, all_read_until, contacts_without_history, note_all_read
from sandbox.events import Event, Play
from sandbox.faults import parse_fault
from sandbox.integration import catch_up
from sandbox.server import SandboxServer
from sandbox.story import Story
from sandbox.users import IMPORTER, INTEGRATION_USER, PERSON
from sandbox.world import HubSpotContact, SalesforceRecord, Tracking, World, id18
from tests.crm import Crm
from tests.live import served, some_days_ago
from tests.pulls import pull, pull_only

ANN, BOB, CEM, DAN = "ann@example.com", "bob@example.com", "cem@example.com", "dan@example.com"


class Portal:
    """Four people. Ann's binding has jumped from her Lead to a Contact that an import made, when somebody edited it; Bob's Lead lost a merge; Cem has one
    record, which nothing threatens; Dan is bound to a record with another e-mail, and one with his own is there.
    """

    def __init__(self, folder: Path, tracking: Tracking) -> None:
        self.folder = folder
        self.story = Story([], 1, some_days_ago(5), tracking=tracking)
        self.ann = self.create("Lead", ANN)
        self.bob = self.create("Lead", BOB)
        self.cem = self.create("Lead", CEM)
        self.dan = self.create("Contact", DAN)
        self.pass_hours(1)
        self.import_of_ann = self.create("Contact", ANN, by=IMPORTER, Title="Buyer")
        self.pass_hours(1)
        self.edit(self.import_of_ann, Title="Consultant", Phone="+49 30 1")
        self.other_bob = self.create("Lead", BOB)
        self.edit(self.dan, Email="daniel@example.com")
        self.world.happenings = [happening for happening in self.world.happenings if happening.id != self.dan.id]  # the contact keeps its e-mail
        self.other_dan = self.create("Lead", DAN)
        self.world.happenings = [happening for happening in self.world.happenings if happening.id != self.other_dan.id]
        self.pass_hours(1)
        self.world.merge_records(self.other_bob, [self.bob])
        self.pass_hours(1)

    @property
    def world(self) -> World:
        return self.story.world

    def create(self, object_type: Any, email: str, by: str = PERSON, **fields: str) -> SalesforceRecord:
        account_id = self.world.create_account("Acme") if object_type == "Contact" else None
        return self.world.create_record(object_type, {"LastName": "Lee", "Email": email, **fields}, by=by, account_id=account_id)

    def edit(self, record: SalesforceRecord, **fields: str) -> None:
        self.world.edit_record(record, dict(fields))

    def pass_hours(self, hours: float) -> None:
        catch_up(self.world, self.story.settings, self.world.now + timedelta(hours=hours))

    def contact(self, email: str) -> HubSpotContact:
        found = self.world.contact_with_email(email)
        assert found is not None
        return found


class Home:
    """A home that pulls, and what it knows then."""

    def __init__(self, folder: Path, server: SandboxServer) -> None:
        self.folder, self.server = folder, server
        self.calls: list[str] = []

    def pull(self, faults: str = "", judges: bool = False) -> str | None:
        """Returns why the run is unproven, or None. judges: builds what says that it is; else it is so when a pull is incomplete."""
        self.server.faults.clear()
        self.server.faults.ask([parse_fault(fault) for fault in faults.split(";") if fault])
        before = len(self.server.faults.requests)
        problem = pull(self.folder, self.server) if judges else pull_only(self.folder, self.server)
        assert all(fault.hits for fault in self.server.faults.asked), "the fault never happened"
        self.server.faults.clear()
        self.calls = self.server.faults.requests[before:]
        return problem

    def copy(self, folder: Path) -> "Home":
        shutil.copytree(self.folder, folder)
        return Home(folder, self.server)

    def asked_for(self, what: str) -> int:
        return sum(what in call for call in self.calls)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def not_seen(self, name: str) -> list[str]:
        """What the coverage says of an object that it could not see."""
        with Warehouse(self.folder).connect() as connection:
            return [text for source in read_coverage(connection).values() for one in source if one["object"] == name for text in one["not_seen"]]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Portal, SandboxServer]]:
    """All mapped fields are tracked. Tests that share it change nothing in it."""
    folder = tmp_path_factory.mktemp("tracked")
    portal = Portal(folder, "all")
    with served(portal.story, folder / "sandbox") as server:
        yield portal, server


@pytest.fixture(scope="module")
def known(tracked: tuple[Portal, SandboxServer]) -> tuple[Portal, Home]:
    portal, server = tracked
    home = Home(portal.folder / "home", server)
    assert home.pull(judges=True) is None
    return portal, home


def test_every_user_is_known_by_name_and_mail_and_whether_he_is_still_there(known: tuple[Portal, Home]) -> None:
    _, home = known
    users = {row[0]: row[1:] for row in home.rows("select user_id, name, email, is_active, user_type from raw.salesforce_user")}
    assert users[id18(PERSON)] == ("Paula Person", "paula.person@users.example", True, "Standard")
    assert users[id18(IMPORTER)] == ("Ida Import", "ida.import@users.example", False, "Standard")
    assert users[id18("0055e000000Bot1")][3] == "AutomatedProcess"
    acted = home.rows("select created_by_id, last_modified_by_id, owner_id from core.salesforce_person")
    assert {user_id for row in acted for user_id in row} <= users.keys()


def test_a_person_is_known_with_who_created_it(known: tuple[Portal, Home]) -> None:
    portal, home = known
    created = dict(home.rows("select record_id, created_by_id from core.salesforce_person"))
    assert (created[portal.ann.id], created[portal.import_of_ann.id]) == (id18(PERSON), id18(IMPORTER))


def test_the_account_of_a_contact_comes_along_although_nothing_maps_it(known: tuple[Portal, Home]) -> None:
    _, home = known
    assert set(home.rows("select fields['Account.Name'] from raw.salesforce_contact")) == {("Acme",)}


def test_owners_are_known_those_too_who_have_left(known: tuple[Portal, Home]) -> None:
    _, home = known
    owners = home.rows("select owner_id, email, first_name, last_name, user_id, archived from raw.hubspot_owner order by owner_id")
    assert owners[0] == ("1", "olga.owner@users.example", "Olga", "Owner", "11", False)
    assert owners[2] == ("3", "ida.import@users.example", "Ida", "Import", None, True)


def test_the_field_history_of_both_sides_of_a_switch_of_rivals_and_of_merge_losers_is_read_and_of_nobody_else(known: tuple[Portal, Home]) -> None:
    portal, home = known
    read = {row[0] for row in home.rows("select record_id from raw.salesforce_history_read")}
    assert read == {portal.ann.id, portal.import_of_ann.id, portal.bob.id, portal.other_bob.id, portal.other_dan.id}
    changes = home.rows(
        f"""select object_type, field, old_value, new_value, changed_by_id, changed_at from raw.salesforce_field_history
            where record_id = '{portal.import_of_ann.id}' and field in ('Title', 'Phone') order by field"""
    )
    edited_at = portal.import_of_ann.changed_at["Title"].replace(tzinfo=None)
    assert changes == [
        ("Contact", "Phone", None, "+49 30 1", id18(PERSON), edited_at), ("Contact", "Title", "Buyer", "Consultant", id18(PERSON), edited_at)
    ]  # fmt: skip


def test_the_sync_times_of_a_contact_that_switched_are_known_and_of_no_other(known: tuple[Portal, Home]) -> None:
    portal, home = known
    rows = home.rows("select contact_id, count(*) from raw.hubspot_property_version where property = 'salesforcelastsynctime' group by all")
    contact = portal.contact(ANN)
    assert (contact.id, len(contact.history["salesforcelastsynctime"])) in rows
    assert {contact_id for contact_id, _ in rows} == {contact.id, portal.contact(BOB).id}


def test_mapped_properties_are_read_of_a_contact_with_a_rival_but_no_cluster(known: tuple[Portal, Home]) -> None:
    portal, home = known
    read = {row[0] for row in home.rows("select contact_id from raw.hubspot_history_read")}
    assert read == {portal.contact(ANN).id, portal.contact(BOB).id, portal.contact(DAN).id}
    assert home.rows(f"select * from raw.hubspot_property_version where contact_id = '{portal.contact(DAN).id}' and property = 'lastname'")


def test_it_takes_few_calls_and_a_second_run_asks_only_for_what_is_new(known: tuple[Portal, Home], tmp_path: Path) -> None:
    _, first = known
    assert [first.asked_for(what) for what in ("FROM+User", "/owners", "FROM+LeadHistory", "FROM+ContactHistory")] == [1, 2, 1, 1]
    second = first.copy(tmp_path / "home")
    assert second.pull() is None
    assert [second.asked_for(what) for what in ("FROM+User", "/owners", "FROM+LeadHistory", "FROM+ContactHistory")] == [1, 2, 0, 0]
    assert second.asked_for("FROM+User+WHERE+SystemModstamp") == 1
    changes = "select count(*) from raw.salesforce_field_history"
    assert second.rows(changes) == first.rows(changes)


def test_an_edit_of_a_rival_is_read_and_one_of_a_record_that_nothing_threatens_is_not(tmp_path: Path) -> None:
    portal = Portal(tmp_path, "all")
    with served(portal.story, tmp_path / "sandbox") as server:
        home = Home(tmp_path / "home", server)
        assert home.pull() is None
        before = home.rows("select history_id from raw.salesforce_field_history")
        portal.edit(portal.other_dan, City="Leeds")
        portal.edit(portal.cem, City="Leeds")
        portal.world.users[PERSON] = portal.world.users[PERSON].__class__(PERSON, "Paula", "Married", modified_at=portal.world.now)
        assert home.pull() is None
        new = home.rows(f"select record_id, field, new_value from raw.salesforce_field_history where history_id not in {tuple(row[0] for row in before)}")
        assert new == [(portal.other_dan.id, "City", "Leeds")]
        assert [home.asked_for("FROM+LeadHistory"), home.asked_for("FROM+ContactHistory")] == [1, 0]
        assert home.rows(f"select name from raw.salesforce_user where user_id = '{id18(PERSON)}'") == [("Paula Married",)]


# What says that something is refused, and what the coverage of which object says then.
REFUSED = {
    "path=FROM+User times=9": ("User", "the names and e-mails of users: the integration user may not read User"),
    "path=FROM+LeadHistory times=9": ("LeadHistory", "the field history of Leads: not kept, or not shown to the integration user"),
    "path=FROM+ContactHistory times=9": ("ContactHistory", "the field history of Contacts: not kept, or not shown to the integration user"),
    "path=/owners times=9": ("owner", "the owners of HubSpot's records: the key lacks the scope crm.objects.owners.read"),
    "path=Account/describe times=9": ("Contact", "the field Contact.Account.Name"),
}


@pytest.mark.parametrize("kinds", [["denied"] * 5, ["unknown_type"] * 3 + ["denied"] * 2])
def test_what_is_refused_is_in_the_coverage_and_the_run_is_as_proven_as_it_was(tracked: tuple[Portal, SandboxServer], tmp_path: Path, kinds: list[str]) -> None:
    _, server = tracked
    home = Home(tmp_path / "home", server)

    def unsaid() -> set[str]:
        return {words for name, words in REFUSED.values() if not any(words in text for text in home.not_seen(name))}

    assert home.pull(";".join(f"{kind} {fault}" for kind, fault in zip(kinds, REFUSED, strict=True)), judges=kinds[0] == "denied") is None
    assert unsaid() == set()
    code = {"denied": "INSUFFICIENT_ACCESS", "unknown_type": "INVALID_TYPE"}[kinds[0]]
    assert all(any(code in text for text in home.not_seen(name)) for name in ("User", "LeadHistory", "ContactHistory"))
    # once it is shown, the next run makes good
    assert home.pull() is None
    assert unsaid() == {words for _, words in REFUSED.values()}
    for table in (
        "salesforce_user",
        "hubspot_owner",
        "salesforce_field_history where object_type = 'Lead'",
        "salesforce_contact where fields['Account.Name'] = 'Acme'",
    ):
        assert home.rows(f"from raw.{table}"), table


def test_where_fields_of_users_are_hidden_their_names_come_all_the_same(tmp_path: Path) -> None:
    story = Story([], 1, some_days_ago(3))
    with served(story, tmp_path / "sandbox", hidden=frozenset({"User.Email"})) as server:
        home = Home(tmp_path / "home", server)
        assert home.pull() is None
        assert home.rows(f"select name, email from raw.salesforce_user where user_id = '{id18(PERSON)}'") == [("Paula Person", None)]


def test_when_the_calls_of_the_day_are_used_up_that_is_no_missing_permission(tracked: tuple[Portal, SandboxServer], tmp_path: Path) -> None:
    _, server = tracked
    home = Home(tmp_path / "home", server)
    problem = home.pull("limit_reached path=FROM+User times=9")
    assert problem is not None and "API calls" in problem


def test_what_is_not_tracked_is_in_the_coverage_of_every_run(tmp_path: Path) -> None:
    portal = Portal(tmp_path, "some")
    with served(portal.story, tmp_path / "sandbox") as server:
        home = Home(tmp_path / "home", server)
        for _ in range(2):
            assert home.pull() is None
            said = home.not_seen("Contact") + home.not_seen("ContactHistory")
            assert [text for text in said if text.startswith("the field history of 13 of 15 mapped fields of Contacts (FirstName, LastName, ")], said


def test_more_changes_than_fit_on_a_page_come_all_or_the_run_is_unproven(tmp_path: Path) -> None:
    portal = Portal(tmp_path, "all")
    for number in range(2100):
        portal.world._track(portal.import_of_ann, PERSON, {"Title": str(number)})
    with served(portal.story, tmp_path / "sandbox") as server:
        home = Home(tmp_path / "home", server)

        def shorten(line: str, body: bytes) -> bytes:
            page = json.loads(body) if "/query/01g" in line else {}
            return json.dumps({**page, "records": page["records"][1:]}).encode() if page else body

        server.faults.on_answer = shorten
        problem = home.pull()
        assert problem is not None and "announced" in problem
        server.faults.on_answer = None
        assert home.pull() is None
        assert home.rows("select count(*) from raw.salesforce_field_history where field = 'Title' and object_type = 'Contact'")[0][0] >= 2100


def test_a_home_of_schema_5_keeps_all_it_has_and_pulls_what_was_missing(known: tuple[Portal, Home], tmp_path: Path) -> None:
    portal, now = known
    home = now.copy(tmp_path / "home")
    kept = "select record_id, email, system_modstamp, fields['Title'] from raw.salesforce_lead order by all"
    before = home.rows(kept)
    with duckdb.connect(str(home.folder / "warehouse.duckdb")) as connection:  # as version 5 left it
        for table in ("raw.salesforce_user", "raw.salesforce_field_history", "raw.salesforce_history_read", "raw.hubspot_owner", "main.prepared"):
            connection.execute(f"drop table {table}")
        for table in ("raw.salesforce_lead", "raw.salesforce_contact"):
            connection.execute("drop view if exists staging.salesforce_version")
            connection.execute(f"alter table {table} drop column created_by_id")
        connection.execute("alter table main.ledger drop column resolved_by")
        connection.execute("delete from raw.hubspot_property_version where property = 'salesforcelastsynctime'")
        connection.execute("delete from raw.pull where object in ('User', 'owner', 'owner_archived', 'LeadHistory', 'ContactHistory')")
        connection.execute("update raw.pull set request_hash = 'of other fields' where object in ('Lead', 'Contact')")
        connection.execute("update main.schema_version set version = 5")
    assert home.pull(judges=True) is None
    assert set(before) <= set(home.rows(kept))
    assert dict(home.rows("select record_id, created_by_id from core.salesforce_person"))[portal.import_of_ann.id] == id18(IMPORTER)
    for table in ("salesforce_user", "salesforce_field_history", "hubspot_owner"):
        assert home.rows(f"from raw.{table}"), table
    assert home.rows("from raw.hubspot_property_version where property = 'salesforcelastsynctime'")


def test_records_found_through_an_additional_address_are_rivals_where_the_policy_says_so() -> None:
    crm = Crm()
    bound = crm.lead(1, email="ann@old.example")
    rival = crm.lead(2, email="ann@new.example")
    crm.contact("101", bound=bound, email="ann@old.example", additional="x@x.example;ann@new.example")
    assert records_without_history(crm.connection, secondary_email_matches=False)["Lead"] == []
    assert records_without_history(crm.connection, secondary_email_matches=True)["Lead"] == [rival]
    assert contacts_without_history(crm.connection, secondary_email_matches=True).others == ["101"]


# ── what people and apps do in the sandbox ───────────────────────────────────────────────────────────────────────────────────────


def test_a_merge_of_two_contacts_keeps_both_histories_and_each_id_and_they_may_name_two_records() -> None:
    portal = Portal(Path(), "none")
    primary, secondary = portal.contact(CEM), portal.contact(ANN)
    merged = portal.world.merge_contacts(primary, secondary)
    assert (merged.value("salesforceleadid"), merged.value("salesforcecontactid")) == (portal.cem.id, portal.import_of_ann.id)
    leads = {version.value for version in merged.history["salesforceleadid"]}
    assert leads >= {portal.cem.id, portal.ann.id}
    assert merged.history["salesforcecontactid"][-1].source == merged.history["salesforceleadid"][-1].source == "MERGE_CONTACTS"


@pytest.mark.parametrize("source", ["IMPORT", "CRM_UI", "INTEGRATION"])
def test_an_id_written_by_an_import_a_person_or_an_app_says_so(source: str) -> None:
    portal = Portal(Path(), "none")
    play = Play(portal.world, portal.story.settings, {"c1": portal.contact(CEM).id, "r1": portal.dan.id})
    play.act(Event(portal.world.now, "write_id", "c1", "r1", source, "salesforcecontactid"))
    version = portal.contact(CEM).history["salesforcecontactid"][-1]
    assert (version.value, version.source) == (portal.dan.id, source)


def test_one_user_edits_very_many_bound_records_within_an_hour() -> None:
    portal = Portal(Path(), "all")
    play = Play(portal.world, portal.story.settings)
    at = portal.world.now + timedelta(hours=2)
    play.act(Event(at, "mass_edit", IMPORTER, "", "Title", "Client"))
    edited = [record for record in portal.world.records.values() if record.fields.get("Title") == "Client"]
    assert {record.id for record in edited} == {contact.bound_id for contact in portal.world.contacts.values()}
    assert {record.modified_by for record in edited} == {IMPORTER}
    assert all(at - timedelta(hours=1) < record.modified_at <= at for record in edited)


def test_what_the_integration_writes_into_a_record_is_in_its_history_under_its_name() -> None:
    portal = Portal(Path(), "all")
    portal.world.write(portal.contact(CEM), {"city": "Lyon"}, "CRM_UI")
    portal.pass_hours(1)
    change = portal.cem.history[-1]
    assert (change.field, change.new, change.by) == ("City", "Lyon", INTEGRATION_USER)


@pytest.mark.parametrize("read", [HUBSPOT_READ, SALESFORCE_READ])
def test_that_every_history_was_read_is_known_until_the_policy_changes(read: str) -> None:
    crm = Crm()
    crm.contact("101", bound=crm.lead(1, email=ANN), email=ANN)
    note_all_read(crm.connection, read, secondary_email_matches=True)
    until = all_read_until(crm.connection, read, secondary_email_matches=True)
    assert until is not None
    assert all_read_until(crm.connection, read, secondary_email_matches=False) is None
    crm.later()
    crm.lead(2, email=ANN)
    assert all_read_until(crm.connection, read, secondary_email_matches=True) == until
