"""What a switch took can be put back; what somebody wrote later, or nobody can put back, is left alone and listed."""

import csv
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from hubspot import HubSpot
from hubspot.crm.contacts import BatchInputSimplePublicObjectBatchInput
from simple_salesforce.api import Salesforce

from assets.policy import Policy
from assets.published.restore_plan import (
    BACKFILLED,
    CONTACTS,
    EVIDENCE,
    HUBSPOT,
    LEADS,
    LEFT_ALONE,
    RESTORABLE,
    SALESFORCE_CONTACTS,
    RestorePlan,
    write_plan,
    write_values,
)
from assets.published.snapshot import open_snapshot
from sandbox.integration import catch_up
from sandbox.portal import PortalSettings
from sandbox.server import SandboxServer
from sandbox.story import Story
from sandbox.users import INTEGRATION_USER
from sandbox.world import HubSpotContact, SalesforceRecord
from tests import live
from tests.crm import BOUND, RIVAL, Crm, contact_id, day, lead_id
from tests.desk.portal import publish
from tests.test_backtest import run_command

# ── which values, one thing at a time ────────────────────────────────────────────────────────────────────────────────────────────


def jumped(now: str = "Buyer", **rival: Any) -> Crm:
    """The binding jumped from the first Lead to the second on day 20, and the title CEO became Buyer, which that Lead had held before."""
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, fields={"Title": "Buyer"})
    crm.later()
    crm.lead(2, modified=day(20), fields={"Title": "Buyer"}, **rival)
    crm.contact(bound=RIVAL, since=day(20), synced=day(20), properties={"jobtitle": now})
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"), (day(20), "Buyer"))
    return crm


def value(crm: Crm, since: datetime = day(0)) -> dict[str, Any]:  # noqa: B008
    """What a restore to the time before `since` takes for the title."""
    query = RESTORABLE.replace("published.", "core.").replace("$since", f"timestamp '{since}'")
    (row,) = (row for row in crm.build().rows(f"select * from ({query})") if row["property"] == "jobtitle")
    return row


def test_a_value_that_a_switch_replaced_is_put_back_with_its_evidence() -> None:
    row = value(jumped())
    assert {name: row[name] for name in ("status", "value_before", "value_now", "cause", "from_id", "to_id", "source_before", "evidence")} == {
        "status": "restore", "value_before": "CEO", "value_now": "Buyer", "cause": "duplicate_switch", "from_id": BOUND, "to_id": RIVAL,
        "source_before": "FORM", "evidence": "history",
    }  # fmt: skip
    assert (row["bound_id"], row["salesforce_field"], row["salesforce_value"], row["must_be_in_salesforce"]) == (RIVAL, "Title", "Buyer", True)


@pytest.mark.parametrize("source", ["CRM_UI", "FORM", "SALESFORCE"])
def test_what_somebody_wrote_later_in_either_crm_is_left_alone(source: str) -> None:
    crm = jumped(now="Chair")
    crm.history("101", "jobtitle", (day(25), "Chair", source))
    row = value(crm)
    assert (row["status"], row["edited_at"], row["edited_by"]) == ("edited_later", day(25), source)


def test_a_value_that_came_back_by_itself_needs_nothing() -> None:
    crm = jumped(now="CEO")
    crm.history("101", "salesforceleadid", (day(22), BOUND))
    crm.history("101", "jobtitle", (day(22), "CEO"))
    assert value(crm)["status"] == "back"


def test_of_several_switches_the_value_from_before_the_first_counts() -> None:
    crm = jumped(now="Clerk")
    crm.lead(3, fields={"Title": "Clerk"})
    crm.history("101", "salesforceleadid", (day(22), lead_id(3)))
    crm.history("101", "jobtitle", (day(22), "Clerk"))
    row = value(crm)
    assert (row["status"], row["value_before"], row["switched_at"], row["to_id"]) == ("restore", "CEO", day(20), RIVAL)


def test_a_restore_of_a_later_day_takes_the_contacts_own_value_too() -> None:
    crm = jumped(now="Clerk")
    crm.lead(3, fields={"Title": "Clerk"})
    crm.history("101", "salesforceleadid", (day(22), lead_id(3)))
    crm.history("101", "jobtitle", (day(22), "Clerk"))
    row = value(crm, since=day(21))
    assert (row["status"], row["value_before"], row["last_switched_at"]) == ("restore", "CEO", day(22))


def test_a_switch_after_somebodys_edit_counts_from_that_edit() -> None:
    crm = jumped(now="Buyer")
    crm.history("101", "jobtitle", (day(21), "Chair", "CRM_UI"))
    crm.history("101", "salesforceleadid", (day(22), BOUND), (day(23), RIVAL))
    crm.history("101", "jobtitle", (day(22), "CEO"), (day(23), "Buyer"))
    assert value(crm)["value_before"] == "Chair"


def test_a_conversion_is_meant_to_bring_the_values_of_the_contact() -> None:
    crm = Crm()
    crm.salesforce_contact(1, fields={"Title": "Buyer"})
    crm.lead(1, converted_to=contact_id(1))
    crm.contact(bound=contact_id(1), since=day(20), properties={"jobtitle": "Buyer"})
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"), (day(20), "Buyer"))
    assert crm.build().rows("core.restorable_value") == []


def test_a_merge_the_wrong_way_is_a_switch_too() -> None:
    crm = jumped()
    crm.connection.execute("delete from raw.salesforce_lead where record_id = ?", [BOUND])
    crm.lead(1, merged_into=RIVAL, modified=day(20))
    assert (value(crm)["cause"], value(crm)["status"]) == ("salesforce_merge", "restore")


def test_under_two_way_the_restored_value_is_the_newest_and_wins_by_itself() -> None:
    crm = jumped()
    crm.policy = Policy.model_validate({"mapping": [{"hubspot": "jobtitle", "salesforce": "Title", "rule": "two_way"}]})
    assert (value(crm)["status"], value(crm)["must_be_in_salesforce"]) == ("restore", False)


def test_the_name_of_an_account_cannot_be_put_back_on_a_contact() -> None:
    crm = Crm()
    crm.lead(1, fields={"Company": "Acme"})
    crm.salesforce_contact(1, modified=day(20), fields={"Account.Name": "Globex"})
    crm.contact(bound=contact_id(1), since=day(20), properties={"company": "Globex"})
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    crm.history("101", "company", (day(2), "Acme", "FORM"), (day(20), "Globex"))
    (row,) = crm.build().rows("core.restorable_value")
    assert row["status"] == "of_account"


def test_values_of_a_contact_that_is_gone_wait_until_it_is_restored() -> None:
    crm = jumped()
    crm.connection.execute("delete from raw.hubspot_contact")
    crm.contact(bound=RIVAL, since=None, properties={"jobtitle": "Buyer"}, archived_at=day(25))
    assert value(crm)["status"] == "contact_gone"


def test_without_history_the_versions_that_were_pulled_show_what_was_lost() -> None:
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, modified=day(10))
    crm.later()
    crm.contact(bound=RIVAL, since=day(20), synced=day(20), modified=day(20), properties={"jobtitle": "Buyer"})
    row = value(crm)
    assert (row["status"], row["evidence"], row["value_before"], row["source_before"]) == ("restore", "versions", "CEO", None)
    crm.later()
    crm.contact(bound=RIVAL, since=None, synced=day(20), modified=day(25), properties={"jobtitle": "Chair"})
    assert value(crm)["status"] == "edited_later"


# ── the files ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_action_is_one_file_in_the_layout_of_an_import(tmp_path: Path) -> None:
    crm = jumped()
    crm.lead(8, deleted=True, modified=day(20))
    crm.contact("102", bound=lead_id(8), email="bea@example.com", archived_at=day(21))
    publish(crm, tmp_path / "home")
    found = write_plan(open_snapshot(tmp_path / "home"), tmp_path / "plan")
    assert found == RestorePlan(values=1, contacts=1, corrections=1, backfilled=0, deleted=1, unclear=0, back=0, edited=0, typed=0, impossible=0)
    assert read(tmp_path / "plan" / HUBSPOT) == [{"Record ID": "101", "jobtitle": "CEO"}]
    assert read(tmp_path / "plan" / LEADS) == [{"Id": RIVAL, "Title": "CEO"}]
    assert read(tmp_path / "plan" / SALESFORCE_CONTACTS) == read(tmp_path / "plan" / BACKFILLED) == read(tmp_path / "plan" / LEFT_ALONE) == []
    (gone,) = read(tmp_path / "plan" / CONTACTS)
    assert (gone["hubspot_contact_id"], gone["bound_id"], gone["days_left"]) == ("102", lead_id(8), "81")
    assert (gone["name"], gone["email"]) == ("Ann Lee", "b***@example.com"), "what finds it in the recycle bin"
    (row,) = read(tmp_path / "plan" / EVIDENCE)
    assert (row["status"], row["from_id"], row["to_id"], row["value_before"]) == ("restore", BOUND, RIVAL, "CEO")


@pytest.mark.parametrize(("gone_on", "until"), [(20, datetime(2026, 4, 4)), (14, None)])
def test_a_deleted_contact_says_how_long_its_record_can_be_undeleted(gone_on: int, until: datetime | None) -> None:
    crm = Crm()
    crm.lead(8, deleted=True, modified=day(gone_on))
    crm.contact(bound=lead_id(8), archived_at=day(21))
    (row,) = crm.build().rows("core.restorable_contact")
    assert (row["record_restorable_until"], row["live_contact_id"]) == (until, None)


def test_a_deleted_contact_whose_e_mail_another_one_has_by_now_says_so() -> None:
    crm = Crm()
    crm.lead(8, deleted=True, modified=day(20))
    crm.contact(bound=lead_id(8), archived_at=day(21))
    crm.contact("105", bound=crm.lead(9))
    (row,) = crm.build().rows("core.restorable_contact")
    assert (row["hubspot_contact_id"], row["live_contact_id"]) == ("101", "105")


def test_a_binding_that_was_cleared_and_given_to_another_record_is_put_back_like_a_switch() -> None:
    crm = Crm()
    crm.lead(1, merged_into=RIVAL, modified=day(15))
    crm.lead(2, fields={"Title": "Buyer"})
    crm.contact(bound=RIVAL, since=day(20), synced=day(20), properties={"jobtitle": "Buyer"})
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(16), ""))
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"), (day(20), "Buyer"))
    row = value(crm)
    assert (row["status"], row["cause"], row["from_id"], row["to_id"], row["value_before"]) == ("restore", "bound_again", BOUND, RIVAL, "CEO")
    assert row["source_before"] == "FORM"


def test_a_first_binding_and_the_same_record_again_take_nothing_that_a_restore_could_know() -> None:
    crm = Crm()
    crm.lead(1, modified=day(20), fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, since=day(20), synced=day(20), properties={"jobtitle": "Buyer"})
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"), (day(20), "Buyer"))
    assert crm.build().rows("core.restorable_value") == []
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(16), ""))
    assert crm.build().rows("core.restorable_value") == []


def test_values_are_written_as_they_were_for_an_import_and_safe_for_a_person(tmp_path: Path) -> None:
    crm = jumped()
    crm.connection.execute("update raw.hubspot_property_version set value = '=1+1' where value = 'CEO'")
    publish(crm, tmp_path / "home")
    write_plan(open_snapshot(tmp_path / "home"), tmp_path / "plan")
    assert read(tmp_path / "plan" / HUBSPOT)[0]["jobtitle"] == "=1+1"
    assert read(tmp_path / "plan" / EVIDENCE)[0]["value_before"] == "'=1+1"


def test_what_is_printed_are_the_values_to_put_back_and_nothing_else(tmp_path: Path) -> None:
    crm = jumped()
    crm.lead(3, created=day(3), modified=day(20), email="bea@example.com", fields={"Title": "Chair"})
    crm.contact("102", bound=lead_id(3), email="bea@example.com", since=day(20), synced=day(20), properties={"jobtitle": "Chair"})
    crm.history("102", "salesforceleadid", (day(2), crm.lead(4, email="bea@example.com")))
    crm.history("102", "jobtitle", (day(2), "CEO", "FORM"), (day(20), "Buyer"), (day(25), "Chair", "CRM_UI"))
    publish(crm, tmp_path / "home")
    answer = run_command(tmp_path / "home", "restore-plan", "--out", str(tmp_path / "values.csv"))
    assert answer.returncode == 0, answer.stderr
    assert [(row["hubspot_contact_id"], row["status"]) for row in read(tmp_path / "values.csv")] == [("101", "restore")]
    assert "Values left alone: 1 that somebody wrote later" in answer.stderr


def test_what_was_replaced_before_a_day_can_be_left_out(tmp_path: Path) -> None:
    publish(jumped(), tmp_path / "home")
    assert write_values(open_snapshot(tmp_path / "home"), tmp_path / "a.csv", day(20)).values == 1
    assert write_values(open_snapshot(tmp_path / "home"), tmp_path / "a.csv", day(20.1)).values == 0


def test_the_command_prints_the_evidence_or_writes_a_folder_and_says_3_without_a_snapshot(tmp_path: Path) -> None:
    assert run_command(tmp_path / "empty", "restore-plan").returncode == 3
    publish(jumped(), tmp_path / "home")
    answer = run_command(tmp_path / "home", "restore-plan")
    assert answer.returncode == 0, answer.stderr
    assert [row["value_before"] for row in csv.DictReader(answer.stdout.splitlines())] == ["CEO"]
    assert "1 value of 1 contact can be put back" in answer.stderr
    assert " 0 " not in answer.stderr, "what there is none of is not counted out"
    answer = run_command(tmp_path / "home", "restore-plan", "--out", str(tmp_path / "plan"))
    assert (answer.returncode, answer.stdout) == (0, "")
    assert len(list((tmp_path / "plan").glob("*.csv"))) == 7


# ── a damaged portal, and the plan applied through the CRMs' own interfaces ──────────────────────────────────────────────────────


class Damage:
    """So many contacts, each bound to a Lead, with a duplicate that somebody mass-updates; and as many pairs that somebody merges the wrong way."""

    def __init__(self, contacts: int, settings: PortalSettings | None = None) -> None:
        self.story = Story([], 1, live.some_days_ago(3), settings)
        self.world = self.story.world
        self.contacts: list[HubSpotContact] = []
        self.rivals: list[SalesforceRecord] = []
        for number in range(contacts):
            email = f"p{number}@example.com"
            fields = {"FirstName": "Ann", "LastName": f"Lee {number}", "Email": email}
            bound = self.world.create_record("Lead", {**fields, "Title": f"Title {number}", "Phone": f"+49 {number}", "Company": "Acme"})
            self.wait()
            contact = self.world.contact_with_email(email)
            assert contact is not None and contact.bound_id == bound.id
            self.contacts.append(contact)
        for number in range(contacts):
            fields = {"FirstName": "Ann", "LastName": f"Lee {number}", "Email": f"p{number}@example.com"}
            self.rivals.append(
                self.world.create_record("Lead", {**fields, "Title": f"Rival {number}", "Phone": f"+1 {number}", "Company": "Globex"}, by=INTEGRATION_USER)
            )
        self.wait()
        self.before = self.values()

    def wait(self, minutes: int = 30) -> None:
        catch_up(self.world, self.story.settings, self.world.now + timedelta(minutes=minutes))

    def merge_the_wrong_way(self) -> None:
        for contact, rival in zip(self.contacts, self.rivals, strict=True):
            self.world.merge_records(rival, [self.world.records[contact.bound_id or ""]])
        self.wait()

    def values(self) -> dict[str, dict[str, str]]:
        return {contact.id: {name: contact.value(name) for name in ("jobtitle", "phone", "company")} for contact in self.contacts}


def apply(plan: Path, server: SandboxServer) -> None:
    """Salesforce first, then HubSpot, through the clients that people use."""
    salesforce = Salesforce(instance_url=server.environment["SALESFORCE_INSTANCE_URL"], session_id=server.salesforce.issue_token(), version="64.0")
    salesforce.session.verify = server.environment["SSL_CERT_FILE"]
    leads: Any = salesforce.Lead  # the library's own type allows the Lead of another API, too
    for row in read(plan / LEADS):
        leads.update(row["Id"], {name: value for name, value in row.items() if name != "Id" and value})
    hubspot = HubSpot(access_token=server.environment["HUBSPOT_ACCESS_TOKEN"], host=server.environment["HUBSPOT_BASE_URL"])
    inputs = [
        {"id": row["Record ID"], "properties": {name: value for name, value in row.items() if name != "Record ID" and value}} for row in read(plan / HUBSPOT)
    ]
    for start in range(0, len(inputs), 100):
        hubspot.crm.contacts.batch_api.update(BatchInputSimplePublicObjectBatchInput(inputs=inputs[start : start + 100]))


def check_restore(contacts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage = Damage(contacts)
    home = tmp_path / "home"
    run = live.runner(monkeypatch, home)
    with live.served(damage.story, tmp_path / "sandbox") as server:
        run(server)
        assert damage.values() == damage.before
        # two thirds of the rivals are mass-updated, the others win a merge the wrong way round
        updated = contacts * 2 // 3
        for rival in damage.rivals[:updated]:
            damage.world.edit_record(rival, {"Fax": "1"})
        for contact, rival in zip(damage.contacts[updated:], damage.rivals[updated:], strict=True):
            damage.world.merge_records(rival, [damage.world.records[contact.bound_id or ""]])
        damage.wait()
        assert all(contact.bound_id == rival.id for contact, rival in zip(damage.contacts, damage.rivals, strict=True)), "everybody jumped"
        # of every tenth, somebody corrects the title in Salesforce afterwards
        corrected = damage.contacts[::10]
        for rival in damage.rivals[::10]:
            damage.world.edit_record(rival, {"Title": "Chair"})
        damage.wait()
        damaged = damage.values()
        assert all(damaged[contact.id][name] != value for contact in damage.contacts for name, value in damage.before[contact.id].items())
        run(server)
        found = write_plan(open_snapshot(home), tmp_path / "plan")
        assert (found.contacts, found.values, found.edited, found.impossible) == (contacts, contacts * 3 - len(corrected), len(corrected), 0)
        assert found.corrections == found.values, "what Salesforce holds would overwrite each of them again"
        apply(tmp_path / "plan", server)
        damage.wait()
        after = damage.values()
        for contact in damage.contacts:
            expected = damage.before[contact.id] | ({"jobtitle": "Chair"} if contact in corrected else {})
            assert after[contact.id] == expected
        run(server)
        again = write_plan(open_snapshot(home), tmp_path / "again")
        assert (again.values, again.back, again.edited) == (0, found.values, len(corrected))


@pytest.mark.filterwarnings("ignore")
def test_after_a_mass_update_and_a_mass_merge_every_value_that_can_come_back_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_restore(30, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_thousand_contacts_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_restore(1000, tmp_path, monkeypatch)


def check_restore_of_deleted_contacts(contacts: int, binding: Literal["previous", "none"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mass merge the wrong way round, in a portal that deletes the contact of a Lead that goes. binding: what a restored contact is bound to, which
    HubSpot does not document: the id from before, or nothing.
    """
    damage = Damage(contacts, PortalSettings(on_lead_deleted="delete", restored_contact_binding=binding))
    home = tmp_path / "home"
    run = live.runner(monkeypatch, home)
    with live.served(damage.story, tmp_path / "sandbox") as server:
        run(server)
        damage.merge_the_wrong_way()
        assert all(contact.archived_at for contact in damage.contacts)
        run(server)
        found = write_plan(open_snapshot(home), tmp_path / "plan")
        assert (found.deleted, found.values) == (contacts, 0)
        listed = read(tmp_path / "plan" / CONTACTS)
        assert {row["hubspot_contact_id"] for row in listed} == {contact.id for contact in damage.contacts}
        # somebody changes the portal's setting, restores them, and has them synced: the surviving Lead is found by e-mail, and brings its values
        damage.story.settings = replace(damage.story.settings, on_lead_deleted="keep")
        for row in listed:
            contact = damage.world.contacts[row["hubspot_contact_id"]]
            damage.world.restore_contact(contact, binding == "previous")
            damage.world.touch_contact(contact)
        damage.wait()
        assert all(contact.bound_id == rival.id for contact, rival in zip(damage.contacts, damage.rivals, strict=True))
        run(server)
        found = write_plan(open_snapshot(home), tmp_path / "again")
        assert (found.deleted, found.contacts, found.values) == (0, contacts, contacts * 3)
        apply(tmp_path / "again", server)
        damage.wait()
        assert damage.values() == damage.before


@pytest.mark.parametrize("binding", ["none", pytest.param("previous", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")
def test_contacts_that_a_wrong_merge_deleted_are_restored_with_their_values(
    binding: Literal["previous", "none"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_restore_of_deleted_contacts(12, binding, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("binding", ["previous", "none"])
@pytest.mark.filterwarnings("ignore")
def test_a_thousand_deleted_contacts_are_restored(binding: Literal["previous", "none"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_restore_of_deleted_contacts(1000, binding, tmp_path, monkeypatch)


def test_who_also_undeletes_the_records_loses_no_value_at_all() -> None:
    """Within 15 days: the contacts come out of HubSpot's recycle bin, and their Leads out of Salesforce's."""
    damage = Damage(5, PortalSettings(on_lead_deleted="delete"))
    bound = [damage.world.records[contact.bound_id or ""] for contact in damage.contacts]
    damage.merge_the_wrong_way()
    damage.story.settings = replace(damage.story.settings, on_lead_deleted="keep")
    for contact in damage.contacts:
        damage.world.restore_contact(contact)
    for record in bound:
        damage.world.undelete_record(record)
    damage.wait()
    assert [contact.bound_id for contact in damage.contacts] == [record.id for record in bound]
    assert damage.values() == damage.before


def test_who_undeletes_the_records_first_gets_a_second_contact() -> None:
    damage = Damage(1, PortalSettings(on_lead_deleted="delete"))
    bound = damage.world.records[damage.contacts[0].bound_id or ""]
    damage.merge_the_wrong_way()
    damage.world.undelete_record(bound)
    damage.wait()
    second = damage.world.contact_with_email("p0@example.com")
    assert second is not None and second is not damage.contacts[0]


def test_who_restores_them_while_the_portal_still_deletes_may_lose_them_again() -> None:
    damage = Damage(5, PortalSettings(on_lead_deleted="delete", restored_contact_binding="previous"))
    damage.merge_the_wrong_way()
    for contact in damage.contacts:
        damage.world.restore_contact(contact)
        damage.world.touch_contact(contact)
    damage.wait()
    assert all(contact.archived_at for contact in damage.contacts)
