"""Generated worlds that are damaged and put right again by the restore plan: what a jump took is back, and nothing else has moved."""

import random
from collections import Counter
from datetime import UTC
from typing import Any

import pytest

from assets.published.restore_plan import RESTORABLE
from sandbox.world import HubSpotContact
from tests.agreement import FIELD_RULES, Pulled, policies, settings_for
from tests.test_agreement import worlds
from tests.test_run_book import Portal

Value = tuple[str, str]  # contact, property


class DamagedPortal(Portal):
    """A portal in which somebody edits rivals or merges the wrong way round, and somebody else edits a few contacts after that."""

    def prepare(self, chance: random.Random) -> None:
        """Every record gets values, and then every contact its own: those of the record that it is bound to, which no switch brings."""
        for number, record in enumerate([record for record in self.world.records.values() if record.is_live and record.is_visible]):
            values = {"Phone": f"+49 {number}", "Fax": f"+1 {number}", "Title": f"Title {number}", "City": f"City {number}"}
            self.world.edit_record(record, {name: value for name, value in values.items() if chance.random() < 0.6})
            self.wait()
        self.own: set[Value] = set()
        for number, (contact_id, record_id) in enumerate(self.bound().items()):
            values = {name: f"{name} of contact {number}" for name in ("Phone", "Fax", "Title") if chance.random() < 0.8}
            self.world.edit_record(self.world.records[record_id], {**values})
            self.wait()
            names = {"Phone": "phone", "Fax": "fax", "Title": "jobtitle"}
            contact = self.world.contacts[contact_id]
            self.own |= {(contact_id, names[name]) for name, value in values.items() if contact.value(names[name]) == value}
        self.since = self.world.now

    def damage(self, chance: random.Random) -> None:
        self.bound_before, self.before = self.bound(), self.values()
        for contact in self.live():
            bound = self.world.records.get(self.bound_before.get(contact.id, ""))
            rivals = [record for record in self.world.live_records(contact.email) if record is not bound and record.is_visible]
            if bound is None or not rivals or not bound.is_live:
                continue
            rival = chance.choice(rivals)
            if rival.type == bound.type and not self.world.contacts_bound_to(rival.id) and chance.random() < 0.4:
                self.world.merge_records(rival, [bound])
            else:
                self.world.edit_record(rival, {"Website": "https://new.example"})
            self.wait()
        for contact in self.live():
            self.world.touch_contact(contact)
        self.wait()
        self.bound_after, self.after = self.bound(), self.values()
        self.edited: set[Value] = set()
        for contact in self.live():
            name = chance.choice(["jobtitle", "phone", "fax", "city"])
            if contact.id in self.bound_after and chance.random() < 0.3:
                self.world.write(contact, {name: "written later"}, "CRM_UI")
                self.edited.add((contact.id, name))
        self.wait()

    def lost(self) -> dict[Value, str]:
        """What contacts had of their own, and have no more because they are bound to another record."""
        return {
            (contact_id, name): value
            for contact_id, record_id in self.bound_before.items()
            if self.bound_after.get(contact_id, record_id) != record_id
            for name, value in self.before[contact_id].items()
            if value and value != self.after[contact_id][name] and (contact_id, name) in self.own
        }

    def put_back(self, rows: list[dict[str, Any]]) -> None:
        """Salesforce first, then HubSpot, as docs/restoring.md says."""
        for row in rows:
            if row["must_be_in_salesforce"]:
                self.world.edit_record(self.world.records[row["bound_id"]], {row["salesforce_field"]: row["value_before"]})
        for row in rows:
            contact: HubSpotContact = self.world.contacts[row["hubspot_contact_id"]]
            self.world.write(contact, {row["property"]: row["value_before"]}, "IMPORT")
        self.wait()
        self.wait()


def check_restores(policy: int, number: int) -> Counter[str]:
    knobs = policies()[policy]
    portals = [DamagedPortal(world_no, tale, settings_for(knobs)) for world_no, tale in enumerate(worlds(policy, number))]
    chances = [random.Random(policy * 1000 + world_no) for world_no in range(len(portals))]
    for portal, chance in zip(portals, chances, strict=True):
        portal.prepare(chance)
    pulled = Pulled(knobs, FIELD_RULES).pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    for portal, chance in zip(portals, chances, strict=True):
        portal.damage(chance)
    pulled.pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    pulled.connection.execute("create schema published; create view published.restorable_value as from core.restorable_value")
    deleted = {row["hubspot_contact_id"] for row in pulled.rows("core.restorable_contact")}
    seen: Counter[str] = Counter()
    for world_no, portal in enumerate(portals):
        if portal.is_invalid:
            continue
        relation = pulled.connection.execute(f"select * {RESTORABLE}", {"since": portal.since.astimezone(UTC).replace(tzinfo=None)})
        names = [column[0] for column in relation.description or []]
        rows = [row for values in relation.fetchall() if (row := dict(zip(names, values, strict=True)))["hubspot_contact_id"] in portal.before]
        found = {(row["hubspot_contact_id"], row["property"]): row for row in rows}
        told = "\n".join([f"Under {knobs}, world {world_no}, damaged since {portal.since}:", *portal.play.diary, *map(str, rows)])
        for value, before in portal.lost().items():
            assert value in found, f"{value} was {before!r} and is not in the plan\n{told}"
            assert found[value]["value_before"].strip() == before, f"{value} was {before!r}\n{told}"
            expected_status = {"edited_later"} if value in portal.edited else {"restore", "of_account", "contact_gone"}
            assert found[value]["status"] in expected_status, f"{value} is {found[value]['status']}\n{told}"
        for contact_id in portal.bound_before:
            if portal.world.contacts[contact_id].archived_at is not None:
                assert contact_id in deleted, f"contact {contact_id} is not in the list of deleted ones\n{told}"
                seen["deleted"] += 1
        restored = [row for row in rows if row["status"] == "restore"]
        expected = portal.values()
        for row in restored:
            expected[row["hubspot_contact_id"]][row["property"]] = row["value_before"].strip()
        portal.put_back(restored)
        assert portal.values() == expected, told
        seen.update(row["status"] for row in rows)
    return seen


@pytest.mark.parametrize("policy", range(0, len(policies()), 18))
def test_what_a_jump_took_comes_back_and_nothing_else_moves(policy: int) -> None:
    seen = check_restores(policy, 140)  # opt-outs are edited, too, and are never restored
    assert seen["restore"] > 10


def test_a_contact_that_was_deleted_with_its_record_is_in_the_list_of_deleted_ones() -> None:
    """Under a policy by which a contact goes along with a Lead or Contact."""
    (policy, *_) = (number for number, knobs in enumerate(policies()) if (knobs["on_lead_deleted"], knobs["on_contact_deleted"]) == ("delete", "delete"))
    assert check_restores(policy, 30)["deleted"]


@pytest.mark.slow
@pytest.mark.parametrize("policy", range(len(policies())))
def test_what_a_jump_took_comes_back_under_any_policy(policy: int) -> None:
    check_restores(policy, 100)
