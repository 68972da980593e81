"""Portals that have grown over years: everything that could tell how they are set up is told over HTTP, and nothing else; the truth stays with the tests."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hubspot import HubSpot
from simple_salesforce.api import Salesforce

from assets.policy import read_policy
from pipelines.demo import running_sandbox
from sandbox.grown import GrownStory, Truth, names_of_portals, open_portal
from sandbox.integration import poll
from sandbox.server import SandboxServer
from tests.live import ROOT, served, some_days_ago

UNTIL = some_days_ago(3)


@dataclass
class Seen:
    """A portal as its clients see it, and its truth."""

    server: SandboxServer
    truth: Truth

    @property
    def story(self) -> GrownStory:
        assert isinstance(self.server.story, GrownStory)
        return self.server.story

    @property
    def portal(self) -> Any:
        return HubSpot(access_token="pat-sandbox", host=self.server.environment["HUBSPOT_BASE_URL"]).crm

    @property
    def org(self) -> Salesforce:
        url = self.server.environment["SALESFORCE_INSTANCE_URL"]
        org = Salesforce(instance_url=url, session_id=self.server.salesforce.issue_token(), version="64.0")
        org.session.trust_env, org.session.verify = False, self.server.environment["SSL_CERT_FILE"]
        return org

    def asked(self, path: str, **body: Any) -> Any:
        """HubSpot's answer, by any path."""
        headers, url = {"Authorization": "Bearer pat-sandbox"}, self.server.environment["HUBSPOT_BASE_URL"] + path
        answer = httpx.post(url, json=body, headers=headers) if body else httpx.get(url, headers=headers)
        return answer.raise_for_status().json()

    def live(self, archived: bool = False) -> list[Any]:
        """Contacts with their ids."""
        return list(self.portal.contacts.get_all(properties=["salesforceleadid", "salesforcecontactid"], archived=archived))

    def read(self, ids: list[str], names: list[str]) -> list[dict[str, Any]]:
        """Contacts with values and histories of properties."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(ids), 50):
            inputs = [{"id": contact_id} for contact_id in ids[start : start + 50]]
            path = "/crm/objects/2026-09/contacts/batch/read"
            found += self.asked(path, inputs=inputs, properties=names, propertiesWithHistory=names)["results"]
        return found

    def contacts(self) -> list[dict[str, Any]]:
        """Live contacts that are bound, with the histories of all properties."""
        names = [entry["name"] for entry in self.asked("/crm/v3/properties/contacts")["results"]]
        return self.read([contact.id for contact in self.live() if _id_of(contact.properties)], names)

    def records(self, object_type: str, fields: list[str]) -> dict[str, dict[str, Any]]:
        query = f"SELECT {', '.join(dict.fromkeys(['Id', 'LastModifiedById', *fields]))} FROM {object_type}"
        return {row["Id"]: row for row in self.org.query_all_iter(query)}

    def wait(self) -> None:
        """A poll of the integration goes by."""
        self.story.world.now += timedelta(minutes=16)
        poll(self.story.world, self.story.settings)


def _id_of(properties: dict[str, Any]) -> str | None:
    found: str | None = properties["salesforcecontactid"] or properties["salesforceleadid"]
    return found


def _sources(contact: dict[str, Any], name: str) -> list[str]:
    """Where the versions of a property come from, newest first."""
    return [version["sourceType"] for version in contact["propertiesWithHistory"].get(name, [])]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """The large portal with fewer people."""
    story = open_portal("large", 3, UNTIL, contacts=240, edits=5, cases=6)
    with served(story, tmp_path_factory.mktemp("large")) as server:
        yield Seen(server, story.truth())


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    story = open_portal("lying", 3, UNTIL, contacts=160, edits=3, cases=6)
    with served(story, tmp_path_factory.mktemp("lying")) as server:
        yield Seen(server, story.truth())


# ── what both CRMs say of their fields ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/crm/v3/properties/contacts", "/crm/properties/2026-09/contacts", "/crm/properties/2026-03/contacts"])
def test_hubspot_lists_260_properties_with_group_label_type_options_and_who_may_write_them(large: Seen, path: str) -> None:
    listed = {entry["name"]: entry for entry in large.asked(path)["results"]}
    assert len(listed) == 260
    groups = {entry["name"] for entry in large.asked(f"{path}/groups")["results"]}
    assert {entry["groupName"] for entry in listed.values()} <= groups
    assert {entry["type"] for entry in listed.values()} == {"string", "number", "bool", "enumeration", "date", "datetime", "phone_number"}
    assert all(entry["options"] for name, entry in listed.items() if entry["fieldType"] == "select" and name != "hubspot_owner_id")
    calculated = next(decoy.name for decoy in large.truth.decoys if decoy.kind == "calculated")
    assert listed[calculated]["calculated"]
    assert listed[calculated]["modificationMetadata"]["readOnlyValue"]
    assert listed["hs_email_optout"]["modificationMetadata"]["readOnlyValue"]
    assert {mapped.hubspot for mapped in large.truth.mappings} <= listed.keys()


def test_describe_tells_types_labels_pick_lists_and_which_fields_can_be_written(large: Seen) -> None:
    for object_type in ("Lead", "Contact"):
        described = {field["name"]: field for field in getattr(large.org, object_type).describe()["fields"]}
        own = [field for name, field in described.items() if name.endswith("__c")]
        assert len(own) > 100
        assert {field["type"] for field in own} >= {"string", "picklist", "multipicklist", "boolean", "date", "datetime", "int", "double", "currency", "phone"}
        assert all(field["picklistValues"] for field in own if field["type"] in ("picklist", "multipicklist"))
        formulas = {name.partition(".")[2] for name in large.story.catalogue.fields.copies if name.startswith(object_type)}
        assert formulas
        assert {name for name, field in described.items() if field["calculated"]} == formulas
        assert not any(described[name]["updateable"] for name in formulas)
    account = {field["name"] for field in large.org.Account.describe()["fields"]}  # type: ignore[operator]
    related = {mapped.contact.partition(".")[2] for mapped in large.truth.mappings if mapped.contact and "." in mapped.contact}
    assert len(related) > 2
    assert related <= account


def test_lists_can_be_found_and_read(large: Seen) -> None:
    found = large.asked("/crm/v3/lists/search", query="", count=50)["lists"]
    assert {entry["listId"] for entry in found} == set(large.truth.candidate_lists)
    assert large.truth.knobs["inclusion_list_id"] in large.truth.candidate_lists
    assert large.asked("/crm/lists/2026-09/31")["list"]["objectTypeId"] == "0-1"
    assert large.asked("/crm/v3/lists/31/memberships")["results"]


# ── what the values say ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mapped_properties_have_versions_of_the_integration_and_equal_their_field(large: Seen) -> None:
    contacts = large.contacts()
    told = {name for contact in contacts for name in contact["propertiesWithHistory"] if "SALESFORCE" in _sources(contact, name)}
    mapped = {entry.hubspot for entry in large.truth.mappings}
    system = {decoy.name for decoy in large.truth.decoys if decoy.kind == "system"}
    assert told - {"salesforceleadid", "salesforcecontactid"} == mapped | system
    assert not told & {entry.hubspot for entry in large.truth.asleep}
    assert not told & {decoy.name for decoy in large.truth.decoys if decoy.kind in ("import", "calculated")}
    plain = [entry for entry in large.truth.mappings if entry.lead and large.story.world.fields.types["Lead"][entry.lead] in ("string", "email", "url")]
    leads = large.records("Lead", [entry.lead or "" for entry in plain])
    for entry in plain:
        bound = [(contact["properties"], leads.get(_id_of(contact["properties"]) or "")) for contact in contacts]
        pairs = [(properties[entry.hubspot], lead[entry.lead or ""]) for properties, lead in bound if lead]
        filled = [(ours.lower(), theirs.lower()) for ours, theirs in pairs if ours and theirs]
        equal = sum(ours == theirs for ours, theirs in filled)
        assert len(filled) >= 5, entry
        assert equal >= 0.8 * len(filled), entry  # outside the inclusion list nothing is kept equal


def test_copies_lie_in_most_rows(lying: Seen) -> None:
    decoys = Counter(decoy.kind for decoy in lying.truth.decoys)
    assert min(decoys[kind] for kind in ("twin", "formula", "import", "calculated")) >= 15
    copies = [(decoy.name, decoy.name.rsplit("_", 3)[0] + "__c", decoy.kind) for decoy in lying.truth.decoys if decoy.kind in ("twin", "formula")]
    types = lying.story.world.fields.types["Lead"]
    copies = [(copy, of, kind) for copy, of, kind in copies if copy in types]
    leads = lying.records("Lead", [name for copy, of, _ in copies for name in (copy, of)]).values()
    equal = Counter[str]()
    for copy, of, kind in copies:
        rows = [(row[copy], row[of]) for row in leads if row[copy] and row[of]]
        equal[f"{kind} rows"] += len(rows)
        equal[f"{kind} equal"] += sum(ours == theirs for ours, theirs in rows)
    assert equal["formula equal"] == equal["formula rows"] > 0
    assert 0.8 < equal["twin equal"] / equal["twin rows"] < 1


def test_a_former_mapping_has_old_versions_of_the_integration_and_differs_now(lying: Seen) -> None:
    former = [decoy for decoy in lying.truth.decoys if decoy.kind == "former"]
    contacts = lying.contacts()
    assert len(former) == 4
    for decoy in former:
        versions = [version for contact in contacts for version in contact["propertiesWithHistory"][decoy.name]]
        assert versions
        assert all(version["sourceType"] == "SALESFORCE" for version in versions)
        assert max(datetime.fromisoformat(version["timestamp"]) for version in versions) < UNTIL - timedelta(days=365)


def test_the_integration_writes_as_one_user_who_is_named_in_no_setting(large: Seen) -> None:
    user = large.truth.knobs["integration_user_id"]
    leads = large.records("Lead", ["CreatedById"])
    assert sum(row["CreatedById"] == user for row in leads.values()) >= 5  # it creates Leads
    assert sum(row["LastModifiedById"] == user for row in leads.values()) >= 5
    assert user in {row["Id"] for row in large.org.query_all_iter("SELECT Id FROM User")}
    assert [row["UserId"] for row in large.org.query_all_iter("SELECT UserId FROM OauthToken WHERE AppName = 'HubSpot'")] == [user]
    (assigned,) = large.org.query_all_iter("SELECT AssigneeId, PermissionSet.Label FROM PermissionSetAssignment")
    assert (assigned["AssigneeId"], assigned["PermissionSet"]["Label"]) == (user, "HubSpot Integration")
    assert not any(row["CreatedById"] == user for row in large.records("Contact", ["CreatedById"]).values())


def test_what_a_deletion_does_shows_in_five_cases(large: Seen, lying: Seen) -> None:
    for seen in (large, lying):
        for object_type, prefix in (("Lead", "00Q"), ("Contact", "003")):
            rows = seen.org.query_all_iter(f"SELECT Id, MasterRecordId FROM {object_type} WHERE IsDeleted = true", include_deleted=True)
            deleted = {row["Id"] for row in rows if row["MasterRecordId"] is None}
            archived, live = ({_id_of(contact.properties) for contact in seen.live(archived)} for archived in (True, False))
            assert len(deleted) >= 5
            assert all(record_id.startswith(prefix) for record_id in deleted)
            does = seen.truth.knobs[f"on_{object_type.lower()}_deleted"]
            assert len(deleted & archived) == (len(deleted) if does == "delete" else 0)
            assert len(deleted & live) == (len(deleted) if does == "keep" else 0)


def test_an_opt_out_that_is_taken_back_is_followed_or_not(large: Seen, lying: Seen) -> None:
    for seen in (large, lying):
        read = seen.read([contact.id for contact in seen.live()], ["hs_email_optout"])
        histories = [contact["propertiesWithHistory"]["hs_email_optout"] for contact in read]
        undone = [h for h in histories if any(new["value"] == "false" and old["value"] == "true" for new, old in pairwise(h))]
        assert bool(undone) == (seen.truth.knobs["opt_out"] == "as_mapped")
        assert any(version["value"] == "true" and version["sourceType"] == "SALESFORCE" for history in histories for version in history)


def test_whoever_comes_back_is_bound_as_the_first_sync_says(large: Seen, lying: Seen) -> None:
    for seen in (large, lying):
        records = {**seen.records("Lead", ["Email", "CreatedDate"]), **seen.records("Contact", ["Email", "CreatedDate"])}
        bound_first = Counter[str]()
        for person in seen.story.returning:
            candidates = sorted((row["CreatedDate"], row_id) for row_id, row in records.items() if row["Email"] == person.email)
            contact = seen.asked(f"/crm/v3/objects/contacts/{person.email}?idProperty=email&properties=salesforceleadid&properties=salesforcecontactid")
            assert [row_id[:3] for _, row_id in candidates] == ["00Q", "003"]
            bound_first["oldest_created" if _id_of(contact["properties"]) == candidates[0][1] else "contact_first"] += 1
        assert bound_first[seen.truth.knobs["first_sync"]] >= 5, bound_first
        assert len(bound_first) == 1


def test_a_touch_of_automation_is_followed_where_the_system_stamp_counts(large: Seen, lying: Seen) -> None:
    for seen in (large, lying):
        touched = {row["Id"] for row in seen.org.query_all_iter("SELECT Id, LastModifiedDate, SystemModstamp FROM Lead") if _is_touched(row)}
        touched |= {row["Id"] for row in seen.org.query_all_iter("SELECT Id, LastModifiedDate, SystemModstamp FROM Contact") if _is_touched(row)}
        bound = {_id_of(contact.properties) for contact in seen.live()}
        assert len(touched) >= 5
        assert touched & bound == (touched if seen.truth.knobs["recency"] == "system_modstamp" else set())


def _is_touched(row: dict[str, Any]) -> bool:
    """By automation alone."""
    return bool(row["LastModifiedDate"] < row["SystemModstamp"])


# ── the rules are obeyed ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pair(seen: Seen, object_type: str) -> tuple[Any, Any]:
    """A contact that syncs, and its record; nobody else has its e-mail."""
    found = seen.story._free_pair(object_type)
    assert found is not None
    seen.story._keep_quiet(found[0])
    return found


@pytest.mark.parametrize("object_type", ["Lead", "Contact"])
def test_every_edit_in_hubspot_ends_as_the_rule_of_its_field_says(large: Seen, object_type: str) -> None:
    contact, record = _pair(large, object_type)
    fields = large.story.world.fields
    places = {
        entry.hubspot: (at, entry.rule) for entry in [*large.truth.mappings, *large.truth.asleep]
        if (at := entry.lead if object_type == "Lead" else entry.contact) and "." not in at and entry.hubspot in large.story.edited
    }  # fmt: skip
    before = large.records(object_type, [at for at, _ in places.values()])[record.id]
    typed = {name: large.story._value_of(name, object_type, at) for name, (at, _) in places.items() if fields.types[object_type][at] != "boolean"}
    typed = {
        name: value for name, value in typed.items()
        if value != contact.value(name) and not fields.is_same(name, fields.types[object_type][places[name][0]], value, _text(before[places[name][0]]))
    }  # fmt: skip
    large.asked("/crm/v3/objects/contacts/batch/update", inputs=[{"id": contact.id, "properties": typed}])
    large.wait()
    after = large.records(object_type, [at for at, _ in places.values()])[record.id]
    (read,) = large.read([contact.id], [*typed])
    seen = Counter[str]()
    for name, value in typed.items():
        at, rule = places[name]
        was_filled = before[at] is not None
        reached = fields.is_same(name, fields.types[object_type][at], read["properties"][name] or "", _text(after[at])) and read["properties"][name] == value
        set_back = _sources(read, name)[0] == "SALESFORCE"
        expected = {
            "two_way": (True, False), "prefer_salesforce": (not was_filled, was_filled), "always_salesforce": (False, was_filled), "none": (False, False),
        }[rule or ""]  # fmt: skip
        assert (reached, set_back) == expected, (name, at, rule, value, before[at], after[at])
        seen[f"{rule} {'filled' if was_filled else 'blank'}"] += 1
    for rule in ("two_way", "prefer_salesforce", "always_salesforce"):
        assert seen[f"{rule} filled"], seen
        assert seen[f"{rule} blank"], seen


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", ["large", "lying"])
def test_a_switch_leaves_each_property_as_its_rule_says(name: str, request: pytest.FixtureRequest) -> None:
    seen: Seen = request.getfixturevalue(name)
    contact, record = _pair(seen, "Lead")
    story, fields, clears = seen.story, seen.story.world.fields, seen.truth.knobs["blank_on_switch"] == "clear"
    before = {entry.hubspot: contact.value(entry.hubspot) for entry in seen.truth.mappings}
    rival = story._enter_salesforce(story._person_of(record), "Lead")
    held = dict(rival.fields)
    seen.wait()
    assert contact.bound_id == rival.id
    (read,) = seen.read([contact.id], [*before])
    ended = Counter[str]()
    for entry in seen.truth.mappings:
        if entry.lead is None or entry.rule is None or entry.hubspot in ("salesforceownerid", "hs_email_optout"):
            continue
        theirs, ours = held.get(entry.lead) or "", read["properties"][entry.hubspot] or ""
        if theirs:
            assert fields.is_same(entry.hubspot, fields.types["Lead"][entry.lead], ours, theirs), entry
        elif entry.rule == "prefer_salesforce" and f"Lead.{entry.lead}" not in fields.copies:
            assert ours == before[entry.hubspot]
            assert fields.is_same(entry.hubspot, fields.types["Lead"][entry.lead], ours, rival.fields.get(entry.lead) or ""), entry
        else:
            assert ours == ("" if clears else before[entry.hubspot]), entry
        ended[f"{entry.rule} {bool(theirs)}"] += 1
    assert len(ended) == 6, ended


# ── other kinds of portals ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_middleware_writes_ids_and_values_as_an_app(tmp_path: Path) -> None:
    story = open_portal("middleware", 1, UNTIL, contacts=60, mappings=40, properties=120)
    with served(story, tmp_path) as server:
        contacts = Seen(server, story.truth()).contacts()
    versions = [v for c in contacts for name in ("salesforceleadid", "salesforcecontactid") for v in c["propertiesWithHistory"][name]]
    assert len(contacts) > 40
    assert {(version["sourceType"], version["sourceId"]) for version in versions} == {("INTEGRATION", "2817743")}
    assert not any("SALESFORCE" in _sources(contact, name) for contact in contacts for name in contact["propertiesWithHistory"])
    assert (story.truth().mappings, set(story.truth().knobs.values())) == ([], {None})


def test_where_nothing_is_bound_there_are_people_and_no_id(tmp_path: Path) -> None:
    story = open_portal("unbound", 1, UNTIL, contacts=30)
    with served(story, tmp_path) as server:
        seen = Seen(server, story.truth())
        story.advance(0.2)
        assert seen.contacts() == []
        assert len(seen.live()) >= 30
        assert len(seen.records("Lead", [])) + len(seen.records("Contact", [])) >= 30


def test_a_sparse_portal_holds_few_values() -> None:
    story = open_portal("sparse", 1, UNTIL, contacts=100)
    own = [mapped for mapped in story.truth().mappings if mapped.hubspot.endswith("__c")]
    assert any(mapped.pairs < 5 for mapped in own)
    assert max(mapped.pairs for mapped in own if story.world.fields.types["Lead"].get(mapped.lead or "") == "string") < 30


def test_a_shared_login_shows_a_person_as_the_integration(tmp_path: Path) -> None:
    story = open_portal("sparse", 1, UNTIL, contacts=30, shared_login=True)
    with served(story, tmp_path) as server:
        seen = Seen(server, story.truth())
        leads = seen.records("Lead", ["CreatedById"]).values()
    typed_in_salesforce = {row["CreatedById"] for row in leads}
    assert typed_in_salesforce == {seen.truth.knobs["integration_user_id"]}


# ── set-up ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_seed_makes_the_same_portal_and_another_one_another() -> None:
    def told(seed: int) -> tuple[Any, ...]:
        story = open_portal("sparse", seed, UNTIL, contacts=40)
        return story.truth(), {contact.id: contact.history for contact in story.world.contacts.values()}, {r.id: r.fields for r in story.world.records.values()}

    assert told(1) == told(1)
    assert told(1)[0] != told(2)[0]


def test_the_same_seed_makes_the_same_portal_in_every_process() -> None:
    """Python orders a set of texts anew in each process: nothing that is drawn may depend on it."""
    code = f"""
from datetime import datetime
from sandbox.grown import open_portal
world = open_portal("sparse", 1, datetime.fromisoformat({UNTIL.isoformat()!r}), contacts=20).world
print([(contact.id, contact.history) for contact in world.contacts.values()], [(record.id, record.fields) for record in world.records.values()])
"""
    told = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1] and len(told[0]) > 1_000


def test_every_portal_has_a_name_and_what_it_does_not_know_is_refused() -> None:
    assert names_of_portals() == ["large", "lying", "middleware", "sparse", "unbound"]
    with pytest.raises(ValueError, match="there are large, lying"):
        open_portal("huge", 1, UNTIL)
    with pytest.raises(ValueError, match="no setting 'folow_up'"):
        open_portal("sparse", 1, UNTIL, folow_up="sticky")


def test_the_command_serves_a_portal_of_ones_own_and_writes_the_truth_as_a_policy(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        """[portal]
contacts = 20
mappings = 40
properties = 90
[policy]
follow_up = "sticky"
[[mapping]]
hubspot = "shoe_size"
salesforce = { lead = "Shoes__c", contact = "Account.Shoes__c" }
type = "int"
rule = "two_way"
""",
        "utf-8",
    )
    with running_sandbox(tmp_path / "out", 0, 4, 2, "--portal", str(tmp_path / "mine.toml")) as environment:
        headers = {"Authorization": f"Bearer {environment['HUBSPOT_ACCESS_TOKEN']}"}
        listed = httpx.get(f"{environment['HUBSPOT_BASE_URL']}/crm/v3/properties/contacts", headers=headers).json()["results"]
        hidden = httpx.get(f"{environment['HUBSPOT_BASE_URL']}/truth.toml", headers=headers)
    policy = read_policy(tmp_path / "out" / "truth.toml")
    assert hidden.status_code == 404
    assert (len(listed), len(policy.mapped), policy.policy.follow_up) == (90, 40, "sticky")
    (mine,) = (mapping for mapping in policy.mapped if mapping.hubspot == "shoe_size")
    assert (mine.field_of("Lead"), mine.field_of("Contact"), mine.rule) == ("Shoes__c", "Account.Shoes__c", "two_way")
