"""A record that cannot be read costs no other record, and, once a person has accepted it, not the run either. A record that is merely odd is not bad."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tenacity.wait import wait_fixed

from assets.problems import ConfigurationProblem
from assets.published.snapshot import read_manifest
from assets.pull import retries
from assets.pull.landing import as_loadable
from assets.pull.salvage import id_in, split_page
from assets.warehouse.file import Warehouse
from assets.warehouse.set_aside import accept_records
from sandbox.integration import poll
from sandbox.server import SandboxServer
from sandbox.story import Story
from tests.command import Ended, environment_of, fork
from tests.live import served, some_days_ago
from tests.pulls import Outcome, pull, pull_and_build

PEOPLE = 6


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", wait_fixed(0.01))
    monkeypatch.setattr("assets.pull.hubspot.time.sleep", lambda seconds: None)


@dataclass
class Portal:
    """A few people, each a Lead and a contact bound to it; `lead` and `contact` belong to one person, whose record is spoiled."""

    story: Story
    server: SandboxServer
    home: Path
    lead: str
    contact: str

    def run(self, home: Path | None = None, **settings: Any) -> Outcome:
        return pull_and_build(home or self.home, self.server, **settings)

    def pull(self, **settings: Any) -> str | None:
        """Returns why the run is unproven, or None."""
        return pull(self.home, self.server, **settings)

    def touch(self) -> None:
        """Everything is edited, so that the next increment brings it all."""
        self.story.world.now = some_days_ago(0)
        for record in self.story.world.records.values():
            self.story.world.edit_record(record, {"Title": "Chief"})
        for contact in self.story.world.contacts.values():
            self.story.world.write(contact, {"jobtitle": "Chief"}, "CRM_UI")

    def spoil(self, spoil: Callable[["Portal", str, bytes], bytes]) -> None:
        self.server.faults.on_answer = lambda line, body: spoil(self, line, body)

    def accept(self, *ids: str) -> None:
        with Warehouse(self.home).connect() as connection:
            accept_records(connection, ids, "ann")

    def query(self, query: str) -> list[tuple[Any, ...]]:
        with Warehouse(self.home).connect() as connection:
            return connection.execute(query).fetchall()


@contextmanager
def living(folder: Path) -> Iterator[Portal]:
    story = Story([], 1, some_days_ago(3))
    for number in range(PEOPLE):
        story.world.create_record("Lead", {"LastName": f"Lee{number}", "Email": f"p{number}@example.com", "Company": "Example", "Title": "Clerk"})
    poll(story.world, story.settings)
    (lead, contact) = next((c.bound_id, c.id) for c in story.world.contacts.values() if c.value("email").startswith("p3@"))
    assert lead is not None
    with served(story, folder / "sandbox") as server:
        yield Portal(story, server, folder / "home", lead, contact)


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    with living(tmp_path) as portal:
        yield portal


@dataclass
class Shared:
    """A portal of several tests, none of which changes a record. good: what a run on an empty home brings when nothing is spoiled."""

    portal: Portal
    good: Outcome


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with living(tmp_path_factory.mktemp("untouched")) as portal:
        yield Shared(portal, portal.run())


@pytest.fixture(scope="module")
def touched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with living(tmp_path_factory.mktemp("touched")) as portal:
        assert portal.pull() is None
        portal.touch()
        yield Shared(portal, portal.run(portal.home.parent / "other"))


@pytest.fixture
def new(untouched: Shared, tmp_path: Path) -> Iterator[Portal]:
    """Nothing has been pulled yet."""
    yield replace(untouched.portal, home=tmp_path / "home")
    untouched.portal.server.faults.on_answer = None


@pytest.fixture
def edited(touched: Shared, tmp_path: Path) -> Iterator[Portal]:
    """Everything was pulled, and edited since."""
    yield replace(touched.portal, home=shutil.copytree(touched.portal.home, tmp_path / "home", symlinks=True))
    touched.portal.server.faults.on_answer = None


# ── ways to be bad ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def contact_with(change: Callable[[dict[str, Any]], None]) -> Callable[[Portal, str, bytes], bytes]:
    def spoil(portal: Portal, line: str, body: bytes) -> bytes:
        if b"jobtitle" not in body or "/crm/objects/" not in line:
            return body
        answer = json.loads(body)
        for result in answer["results"]:
            if result["id"] == portal.contact:
                change(result)
        return json.dumps(answer).encode()

    return spoil


def contact_no_json(portal: Portal, line: str, body: bytes) -> bytes:
    return re.sub(rb'("id":"%s","properties":\{[^}]*"jobtitle":)' % portal.contact.encode(), rb"\1oops", body)


def contact_no_json_anywhere(portal: Portal, line: str, body: bytes) -> bytes:
    return re.sub(rb'("id":"%s","properties":\{)' % portal.contact.encode(), rb'\1"broken":"\\x",', body)


def contact_left_out(portal: Portal, line: str, body: bytes) -> bytes:
    if "/batch/read" not in line:
        return body
    answer = json.loads(body)
    answer["results"] = [result for result in answer["results"] if result["id"] != portal.contact]
    return json.dumps(answer).encode()


def record_with(change: Callable[[dict[str, Any]], None]) -> Callable[[Portal, str, bytes], bytes]:
    def spoil(portal: Portal, line: str, body: bytes) -> bytes:
        if b'"records"' not in body or b"Company" not in body:
            return body
        answer = json.loads(body)
        for record in answer["records"]:
            if record["Id"] == portal.lead:
                change(record)
        return json.dumps(answer).encode()

    return spoil


def record_no_json(portal: Portal, line: str, body: bytes) -> bytes:
    return re.sub(rb'("Id":"%s",[^}]*"Title":)' % portal.lead.encode(), rb"\1oops", body)


def record_no_json_anywhere(portal: Portal, line: str, body: bytes) -> bytes:
    return re.sub(rb'("Id":"%s")' % portal.lead.encode(), rb'\1,"Broken":"\\x"', body)


def row_with(change: Callable[[str], str]) -> Callable[[Portal, str, bytes], bytes]:
    def spoil(portal: Portal, line: str, body: bytes) -> bytes:
        if "/results" not in line:
            return body
        return "".join(change(row) if row.startswith(f'"{portal.lead}"') else row for row in body.decode().splitlines(keepends=True)).encode()

    return spoil


BAD_CONTACTS = {
    "no JSON": contact_no_json,
    "no JSON in any answer": contact_no_json_anywhere,
    "one property is missing": contact_with(lambda contact: contact["properties"].pop("phone", None)),
    "no property at all": contact_with(lambda contact: contact.update(properties={})),
    "properties are no object": contact_with(lambda contact: contact.update(properties="none")),
    "properties are null": contact_with(lambda contact: contact.update(properties=None)),
    "a stamp that is no time": contact_with(lambda contact: (contact["properties"].update(lastmodifieddate="soon"), contact.update(updatedAt="soon"))[0]),
}
BAD_RECORDS = {
    "no JSON": record_no_json,
    "no JSON in any answer": record_no_json_anywhere,
    "a stamp that is no time": record_with(lambda record: record.update(SystemModstamp="soon")),
    "a creation stamp that is no time": record_with(lambda record: record.update(CreatedDate="once")),
    "no creation stamp": record_with(lambda record: record.update(CreatedDate=None)),
}
BAD_ROWS = {
    "too few columns": row_with(lambda row: ",".join(row.split(",")[:4]) + "\n"),
    "too many columns": row_with(lambda row: row.rstrip("\n") + ',"more"\n'),
    "a quote that does not end": row_with(lambda row: row.replace('"Clerk"', '"Clerk')),
    "a stamp that is no time": row_with(lambda row: re.sub(r'"20[0-9-]+T[0-9:.]+Z"', '"soon"', row)),
}


def spoils(portal: Portal, *ways: Callable[[Portal, str, bytes], bytes]) -> None:
    def spoil(_: Portal, line: str, body: bytes) -> bytes:
        for way in ways:
            body = way(portal, line, body)
        return body

    portal.spoil(spoil)


def raw_ids(portal: Portal) -> set[str]:
    return {row[0] for row in portal.query("select record_id from raw.salesforce_lead union all select id from raw.hubspot_contact")}


# ── contacts of HubSpot ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", BAD_CONTACTS)
def test_a_contact_that_cannot_be_read_is_named_and_all_others_arrive(new: Portal, way: str) -> None:
    new.spoil(BAD_CONTACTS[way])
    problem = new.pull()
    assert problem is not None
    assert f"HubSpot contact {new.contact} arrived and cannot be read" in problem
    assert "Lee" not in problem
    everybody = {*new.story.world.records, *new.story.world.contacts}
    assert raw_ids(new) == everybody - {new.contact}


@pytest.mark.parametrize("way", [*BAD_CONTACTS, "left out"])
def test_a_contact_that_goes_bad_keeps_its_last_good_version_until_a_good_one_comes(edited: Portal, touched: Shared, way: str) -> None:
    edited.spoil({**BAD_CONTACTS, "left out": contact_left_out}[way])
    problem = edited.pull()
    assert problem is not None
    assert problem.count("arrived and cannot be read") == 1
    titles = dict(edited.query("select id, max_by(properties['jobtitle'], pull_no) from raw.hubspot_contact group by id"))
    assert titles.pop(edited.contact) == "Clerk"
    assert set(titles.values()) == {"Chief"}
    edited.server.faults.on_answer = None
    mended = edited.run()
    assert mended.problem is None
    assert mended.tables == touched.good.tables


def test_a_search_result_without_an_id_costs_no_other_contact(edited: Portal) -> None:

    def spoil(_: Portal, line: str, body: bytes) -> bytes:
        if "/search" not in line:
            return body
        answer = json.loads(body)
        for result in answer["results"]:
            if result["id"] == edited.contact:
                result["id"] = None
        return json.dumps(answer).encode()

    edited.spoil(spoil)
    assert "unnamed-" in (edited.pull() or "")
    titles = dict(edited.query("select id, max_by(properties['jobtitle'], pull_no) from raw.hubspot_contact group by id"))
    assert titles.pop(edited.contact) == "Clerk"
    assert set(titles.values()) == {"Chief"}
    edited.server.faults.on_answer = None
    assert edited.pull(full=True) is None


# ── records of Salesforce ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", BAD_ROWS)
def test_a_bulk_row_that_cannot_be_read_is_read_by_rest_instead(new: Portal, untouched: Shared, way: str) -> None:
    new.spoil(BAD_ROWS[way])
    outcome = new.run()
    assert outcome.problem is None
    assert outcome.tables == untouched.good.tables


@pytest.mark.parametrize("way", BAD_RECORDS)
def test_a_record_that_cannot_be_read_either_way_is_named_and_all_others_arrive(new: Portal, way: str) -> None:
    spoils(new, BAD_ROWS["too few columns"], BAD_RECORDS[way])
    problem = new.pull()
    assert problem is not None
    assert f"Lead {new.lead} arrived and cannot be read" in problem
    everybody = {*new.story.world.records, *new.story.world.contacts}
    assert raw_ids(new) == everybody - {new.lead}
    assert f"bound to {new.lead}, which is in no complete pull" not in problem


@pytest.mark.parametrize("way", BAD_RECORDS)
def test_a_record_that_goes_bad_keeps_its_last_good_version_until_a_good_one_comes(edited: Portal, touched: Shared, way: str) -> None:
    edited.spoil(BAD_RECORDS[way])
    problem = edited.pull()
    assert problem is not None
    assert problem.count("arrived and cannot be read") == 1
    titles = dict(edited.query("select record_id, max_by(fields['Title'], pull_no) from raw.salesforce_lead group by record_id"))
    assert titles.pop(edited.lead) == "Clerk"
    assert set(titles.values()) == {"Chief"}
    edited.server.faults.on_answer = None
    mended = edited.run()
    assert mended.problem is None
    assert mended.tables == touched.good.tables


def test_a_full_comparison_does_not_take_a_record_for_vanished_that_cannot_be_read(edited: Portal) -> None:
    spoils(edited, BAD_RECORDS["no JSON"], BAD_CONTACTS["no JSON"])
    assert edited.pull(full=True) is not None
    assert edited.query("select * from raw.presence") == []


# ── accepted ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_go_on_without_a_record_that_a_person_accepted_and_predict_nothing_about_it(edited: Portal) -> None:
    edited.spoil(BAD_RECORDS["no JSON"])
    assert edited.pull() is not None
    edited.accept(edited.lead[:15])
    for _ in range(2):
        outcome = edited.run()
        assert outcome.problem is None
        (finding,) = (row for row in outcome.rows("finding") if row["check_name"] == "record_set_aside")
        assert (finding["salesforce_id"], finding["severity"]) == (edited.lead, "warn")
        assert "ann accepted that" in finding["reason"]
        bindings = {row["hubspot_contact_id"]: row for row in outcome.rows("binding")}
        about = bindings.pop(edited.contact)
        assert (about["prediction"], about["rule"], about["basis"], about["confidence"], about["predicted_id"]) == ("ambiguous", 17, "inferred", "low", None)
        assert about["candidate_ids"] == [edited.lead]
        assert {row["prediction"] for row in bindings.values()} == {"keep"}


def test_what_was_accepted_ends_when_the_record_changes(portal: Portal) -> None:
    portal.pull()
    portal.touch()
    spoils(portal, BAD_RECORDS["no JSON"], BAD_CONTACTS["properties are null"])
    assert portal.pull() is not None
    portal.accept(portal.lead, portal.contact)
    assert portal.pull() is None
    portal.story.world.edit_record(portal.story.world.records[portal.lead], {"Company": "Another"})
    assert f"Lead {portal.lead} arrived and cannot be read" in (portal.pull() or "")


def test_an_id_that_is_not_in_question_cannot_be_accepted(edited: Portal) -> None:
    with pytest.raises(ConfigurationProblem, match=f"--accept-record {edited.lead}: no record of that id is set aside"):
        edited.accept(edited.lead)
    assert edited.query("from main.accepted_record") == []


def test_a_contact_without_an_id_gets_a_name_that_can_be_accepted_and_its_id_once_that_is_known(new: Portal) -> None:
    new.spoil(contact_with(lambda contact: contact.update(id=None)))
    (name,) = set(re.findall("unnamed-[0-9a-f]{16}", new.pull() or ""))
    new.accept(name)
    problem = new.pull() or ""  # the search of an increment names it
    assert problem.count("arrived and cannot be read") == 1
    assert f"HubSpot contact {new.contact} arrived" in problem
    new.accept(new.contact)
    assert new.pull() is None


# ── merely odd ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

ODD = [
    r"Buyer \u0000 EMEA", r"C:\new\udata", "\\", r"\ud83d", "a\u2028b", "tab\there", 'quote "inside"', "\u0001", "NaN", "null", "[1,2]", '{"a":1}',
    "😀", "\ufeffmark",
]  # fmt: skip


@pytest.mark.parametrize("value", ODD)
def test_a_title_arrives_as_it_is(value: str) -> None:
    body = json.dumps({"results": [{"id": "1", "properties": {"jobtitle": value}}]}).encode()
    assert json.loads(as_loadable(body))["results"][0]["properties"]["jobtitle"] == value
    assert duckdb.execute("select cast(? as json) ->> '$.results[0].properties.jobtitle'", [as_loadable(body).decode()]).fetchone() == (value,)


@pytest.mark.parametrize("value", ["half \ud800 a pair", "nul \x00 byte"])
def test_what_no_database_holds_becomes_a_replacement_character_and_nothing_else_changes(value: str) -> None:
    body = json.dumps({"results": [{"a": value, "b": r"stays \u0000 and \ud800"}]}).encode()
    (record,) = json.loads(as_loadable(body))["results"]
    assert record == {"a": re.sub("[\ud800\x00]", "\ufffd", value), "b": r"stays \u0000 and \ud800"}


@pytest.mark.parametrize("is_beside_a_bad_record", [False, True])
def test_half_a_surrogate_pair_from_salesforce_costs_no_record(edited: Portal, is_beside_a_bad_record: bool) -> None:
    """A title that was cut within an emoji."""
    other = next(record for record in edited.story.world.records if record != edited.lead)

    def spoil(portal: Portal, line: str, body: bytes) -> bytes:
        body = re.sub(rb'("Id":"%s",[^}]*"Title":)"Chief"' % other.encode(), rb'\1"Chief \\ud83d"', body)
        return record_no_json(portal, line, body) if is_beside_a_bad_record else body

    edited.spoil(spoil)
    problem = edited.pull()
    assert (problem or "").count("arrived and cannot be read") == is_beside_a_bad_record
    titles = dict(edited.query("select record_id, max_by(fields['Title'], pull_no) from raw.salesforce_lead group by record_id"))
    assert titles[other] == "Chief \ufffd"
    assert titles[edited.lead] == ("Clerk" if is_beside_a_bad_record else "Chief")


def test_odd_titles_arrive_through_every_interface(portal: Portal) -> None:
    world = portal.story.world
    portal.pull()
    portal.touch()
    records, contacts = list(world.records.values()), list(world.contacts.values())
    for number, value in enumerate(ODD[:PEOPLE]):
        world.edit_record(records[number], {"Title": value})
        world.write(contacts[number], {"jobtitle": value}, "CRM_UI")
    for home in (portal.home, portal.home.parent / "by-job"):
        portal.home = home
        assert portal.pull() is None
        titles = dict(portal.query("select record_id, max_by(fields['Title'], pull_no) from raw.salesforce_lead group by record_id"))
        assert [titles[record.id] for record in records] == ODD[:PEOPLE]
        titles = dict(portal.query("select id, max_by(properties['jobtitle'], pull_no) from raw.hubspot_contact group by id"))
        assert [titles[contact.id] for contact in contacts] == ODD[:PEOPLE]


# ── the real command ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command_names_the_record_takes_the_acceptance_and_certifies_everybody_else(portal: Portal, tmp_path: Path) -> None:
    environment = {**environment_of(portal.home, portal.server.environment), "BINDWATCH_USER": "ann"}

    def run(*arguments: str) -> Ended:
        return fork(["run", *arguments], environment, tmp_path / "output")

    assert run("--accept-record", portal.lead).code == 2
    assert run().code == 0
    assert run("--accept-record", portal.lead).code == 2
    portal.touch()
    for contact in portal.story.world.contacts.values():
        portal.story.world.touch_contact(contact)
    poll(portal.story.world, portal.story.settings)
    portal.spoil(BAD_RECORDS["no JSON"])
    unproven = run()
    assert unproven.code == 3
    assert f"--accept-record {portal.lead}" in unproven.out
    accepted = run("--accept-record", portal.lead)
    assert (accepted.code, "record_set_aside" in accepted.out) == (0, True)
    assert read_manifest(portal.home / "published" / "current")["built"]["because"].endswith("the run before was not proven")
    with duckdb.connect() as connection:
        certified = connection.execute("select hubspot_contact_id from read_parquet(?)", [f"{portal.home}/certified/binding.parquet"]).fetchall()
    assert {row[0] for row in certified} == portal.story.world.contacts.keys() - {portal.contact}
    assert run().code == 0


# ── pages that are no JSON ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "broken", [r'{"id": "2", "a": "\x"}', '{"id": "2", "a": oops}', '{"id": "2", "a": {"b": }}', '{"id": "2" "a": 1}', '{"id": "2", "a": 01}']
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_page_that_is_no_json_gives_all_records_but_one(broken: str, place: int) -> None:
    records = ['{"id": "1", "a": "[{,}]"}', '{"id": "3", "list": [{"id": "9"}, {"id": "8"}]}']
    records.insert(place, broken)
    page = split_page(f'{{"results": [{", ".join(records)}], "paging": {{"next": {{"after": "7"}}}}}}'.encode(), "results")
    assert page is not None
    assert page["paging"] == {"next": {"after": "7"}}
    assert [record["id"] if isinstance(record, dict) else (record, id_in(record, "id")) for record in page["results"]] == [
        (broken, "2") if record == broken else json.loads(record)["id"] for record in records
    ]


@pytest.mark.parametrize(
    "body", ["", "{", '{"results": [{"id": "1"}, {"id": "2"', '{"results": [{"id": "1"}', '{"results": [oops]}', "<html>", '{"results": 5}']
)
def test_half_an_answer_is_no_page(body: str) -> None:
    assert split_page(body.encode(), "results") is None
