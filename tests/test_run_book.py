"""The run-book followed to the letter in the simulator: nobody ends on a record that is gone, nobody jumps, no value of a contact is lost."""

import re
from collections import Counter
from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest

from sandbox.events import Event, Play
from sandbox.fields import MAPPING
from sandbox.integration import catch_up
from sandbox.rules import InvalidState
from sandbox.world import HubSpotContact, World
from tests.agreement import FIELD_RULES, ROUND, START, Pulled, policies, settings_for
from tests.test_agreement import worlds

STEP = timedelta(hours=1)  # between two steps: every poll that they set off is over


class Portal:
    """One generated world, played to its end and settled."""

    def __init__(self, number: int, tale: Any, settings: Any) -> None:
        self.play = Play(World(START, number * 10_000), settings)
        self.settings = settings
        self.world = self.play.world
        self.is_invalid = False
        for round_no, steps in enumerate(tale):
            at = START + round_no * ROUND
            for step in steps:
                at += timedelta(minutes=step.minutes)
                self.play.act(Event(at, step.act, step.who, step.other, step.name, step.value.replace("@", f"@w{number}.example")))
        for contact in self.live():
            self.world.touch_contact(contact)
        self.wait()
        self.wait()

    def wait(self) -> None:
        try:
            catch_up(self.world, self.settings, self.world.now + STEP)
        except InvalidState:
            self.is_invalid = True  # two contacts on one record: the integration stops at them

    def live(self) -> list[HubSpotContact]:
        return [contact for contact in self.world.contacts.values() if contact.archived_at is None]

    def bound(self) -> dict[str, str]:
        """Contacts that are well: bound to a live record that nobody else is bound to."""
        found = {}
        for contact in self.live():
            record = self.world.records.get(contact.bound_id or "")
            if record is not None and record.is_live and len(self.world.contacts_bound_to(record.id)) == 1:
                found[contact.id] = record.id
        return found

    def values(self) -> dict[str, dict[str, str]]:
        return {contact.id: {name: contact.value(name).strip() for name in MAPPING if name != "salesforceownerid"} for contact in self.live()}

    def follow(self, steps: list[dict[str, Any]]) -> Counter[str]:
        """Does what the steps say, as a person who reads them."""
        done: Counter[str] = Counter()
        for number, (_, same) in enumerate(groupby(steps, key=lambda step: step["merge_no"] or f"step {step['step']}")):
            of_merge = list(same)
            first = of_merge[0]
            master = self.world.records.get(first["master_id"] or "")
            losers = [self.world.records[step["loser_id"]] for step in of_merge if step["loser_id"]]
            if first["action"] in ("merge", "convert"):
                assert master is not None
                for step in of_merge:
                    self._enter(step["enter_before"], _told(step), master)
                if first["action"] == "merge":
                    assert len(losers) <= 2
                    self.world.merge_records(master, losers)
                else:
                    self.world.convert_lead(losers[0], master)
                self.wait()
                for step in of_merge:
                    self._enter(step["enter_after"], _told(step), master)
            elif first["action"] == "change_email":
                self.world.edit_record(losers[0], {"Email": f"own{number}@{first['email'].partition('@')[2]}"})
                self.wait()
            done[first["action"]] += 1
        return done

    def _enter(self, properties: list[str], values: dict[str, str], record: Any) -> None:
        if not properties:
            return
        place = 0 if record.type == "Lead" else 1
        fields: dict[str, str | None] = {name: values[prop] for prop in properties if (name := MAPPING[prop][place]) and "." not in name}
        self.world.edit_record(record, fields)
        self.wait()


def _told(step: dict[str, Any]) -> dict[str, str]:
    """The values that a step names."""
    return {entry["property"]: entry["value"] for entry in step["enter_values"]}


def check_run_books(policy: int, number: int) -> Counter[str]:
    knobs = policies()[policy]
    settings = settings_for(knobs)
    portals = [Portal(world_no, tale, settings) for world_no, tale in enumerate(worlds(policy, number))]
    pulled = Pulled(knobs, FIELD_RULES).pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    advice = sorted(pulled.rows("core.merge_advice"), key=lambda row: (row["email"], row["step"]))
    done: Counter[str] = Counter()
    for world_no, portal in enumerate(portals):
        steps = [row for row in advice if row["email"].endswith(f"@w{world_no}.example")]
        if not steps or portal.is_invalid:
            continue
        bound, values = portal.bound(), portal.values()
        for _, of_cluster in groupby(steps, key=lambda row: row["email"]):
            done += portal.follow(list(of_cluster))
        told = "\n".join([f"Under {knobs}, world {world_no}:", *portal.play.diary, *(f"{s['step']}. {s['action']} {s['reason']}" for s in steps)])
        for contact_id, record_id in bound.items():
            contact = portal.world.contacts[contact_id]
            assert contact.archived_at is None, f"contact {contact_id} was deleted\n{told}"
            record = portal.world.records[record_id]
            expected = record.converted_contact_id or record_id
            assert contact.bound_id == expected, f"contact {contact_id} is bound to {contact.bound_id}, not to {expected}\n{told}"
            assert portal.world.records[expected].is_live, f"contact {contact_id} is bound to a record that is gone\n{told}"
            assert len(portal.world.contacts_bound_to(expected)) == 1, f"contact {contact_id} shares {expected} with another one\n{told}"
            of_account = {"company"} if record.converted_contact_id and portal.world.records[expected].type == "Contact" else set()
            lost = {
                name: (value, contact.value(name))
                for name, value in values[contact_id].items()
                if value and value != contact.value(name).strip() and name not in of_account
            }
            assert not lost, f"contact {contact_id} lost {lost}\n{told}"
    return done


@pytest.mark.parametrize("policy", range(0, len(policies()), 18))
def test_whoever_follows_the_run_book_loses_no_contact_and_no_value(policy: int) -> None:
    done = check_run_books(policy, 60)
    assert done["merge"] + done["convert"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("policy", range(len(policies())))
def test_whoever_follows_the_run_book_loses_nothing_under_any_policy(policy: int) -> None:
    check_run_books(policy, 100)


def test_the_steps_name_what_has_to_be_entered_in_words_too() -> None:
    pulled = Pulled(policies()[0], FIELD_RULES)
    portal = Portal(0, worlds(0, 60)[36], settings_for(policies()[0]))
    advice = pulled.pull([portal.world], portal.world.now).rows("core.merge_advice")
    named = [(name, row["reason"]) for row in advice for name in [*row["enter_before"], *row["enter_after"]]]
    assert named
    assert [(name, reason) for name, reason in named if not re.search(rf"\b{name}\b", reason)] == []
