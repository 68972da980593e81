"""Merges that were judged, carried out in the simulator: a safe one costs nothing, an unsafe one does what was said."""

import csv
import random
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from assets.published.merge_check import judge
from assets.published.merge_plan import load_merge_plan
from sandbox.fields import MAPPING
from sandbox.portal import OPT_OUT
from sandbox.world import SalesforceRecord
from tests import live
from tests.agreement import FIELD_RULES, Pulled, policies, settings_for
from tests.test_agreement import worlds
from tests.test_restore import Damage
from tests.test_run_book import Portal


def pick(portal: Portal, number: int) -> tuple[SalesforceRecord, SalesforceRecord] | None:
    """Two records of one object that somebody might merge: mostly of one e-mail."""
    live = [record for record in portal.world.records.values() if record.is_live and record.is_visible]
    pairs = [pair for pair in combinations(live, 2) if pair[0].type == pair[1].type]
    same = [(one, other) for one, other in pairs if one.email is not None and one.email == other.email]
    chance = random.Random(number)
    chosen = chance.choice(same if same and chance.random() < 0.9 else pairs) if pairs else None
    return None if chosen is None else (chosen if chance.random() < 0.5 else chosen[::-1])


def check_merges(policy: int, number: int) -> Counter[str]:
    knobs = policies()[policy]
    portals = [Portal(world_no, tale, settings_for(knobs)) for world_no, tale in enumerate(worlds(policy, number))]
    plans = {world_no: pair for world_no, portal in enumerate(portals) if not portal.is_invalid and (pair := pick(portal, policy * 1000 + world_no))}
    pulled = Pulled(knobs, FIELD_RULES)
    for world_no, (master, loser) in plans.items():
        load_merge_plan(pulled.connection, f"w{world_no}", [(1, master.id, loser.id)])
    pulled.pull([portal.world for portal in portals], max(portal.world.now for portal in portals))
    judged = {int(row["plan"][1:]): row for row in pulled.rows("core.planned_merge")}
    seen: Counter[str] = Counter()
    for world_no, (master, loser) in plans.items():
        portal, row = portals[world_no], judged[world_no]
        bound, values = portal.bound(), portal.values()
        if row["consequence"] and row["hubspot_contact_id"] not in bound:
            continue  # nothing can be said of a contact that was not well before
        first = re.search(r"Where \w+ is blank, first enter HubSpot's ([\w, ]+):", row["reason"])
        enter = [name for name in first[1].split(", ") if not field(master, name)] if first else row["enter_before"]
        before = values.get(row["hubspot_contact_id"] or "", {})
        # a tick box that is blank says no, and no is what is entered
        portal._enter(enter, {**before, OPT_OUT: before.get(OPT_OUT) or "false"}, master)
        portal.world.merge_records(master, [loser])
        portal.wait()
        happened = damage(portal, bound, values)
        said = row["consequence"] or row["verdict"]
        seen[said] += 1
        told = "\n".join(
            [f"Under {knobs}, world {world_no}, {loser.id} into {master.id}:", *portal.play.diary, f"{said}: {row['reason']}", f"happened: {happened}"]
        )
        if "was not compared" in row["reason"]:
            happened = {what for what in happened if not what.startswith("lost")} or {"safe"}
        if "Not all of them have one e-mail" in row["reason"]:
            happened.add("switch")  # values that were not compared may be the same
        assert said in happened, told
    return seen


def field(record: SalesforceRecord, name: str) -> str:
    return (record.fields.get(MAPPING[name][0 if record.type == "Lead" else 1] or "") or "").strip()


def damage(portal: Portal, bound: dict[str, str], values: dict[str, dict[str, str]]) -> set[str]:
    """What became of contacts that were well before."""
    found = set()
    for contact_id, record_id in bound.items():
        contact = portal.world.contacts[contact_id]
        lost = {name for name, value in values[contact_id].items() if value and value != contact.value(name).strip()}
        if contact.archived_at is not None:
            found.add("contact_deleted")
        elif not portal.world.records[record_id].is_live:
            found.add("sync_broken")
        elif contact.bound_id != record_id and lost:
            found.add("switch")
        elif lost:
            found.add(f"lost {lost}")
    return found or {"safe"}


@pytest.mark.parametrize("policy", range(0, len(policies()), 18))
def test_a_merge_does_what_was_said_of_it(policy: int) -> None:
    seen = check_merges(policy, 80)
    assert seen["safe"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("policy", range(len(policies())))
def test_a_merge_does_what_was_said_of_it_under_any_policy(policy: int) -> None:
    check_merges(policy, 100)


@pytest.mark.filterwarnings("ignore")
def test_a_plan_goes_all_the_way_from_the_folder_to_what_became_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody plans to keep the newer one of each pair. Bindwatch turns the plan round; half of it is carried out so, half as it was first."""
    pairs = Damage(4)
    home = tmp_path / "home"
    plan, safe_plan = home / "merge-plans" / "june.csv", tmp_path / "safe.csv"
    plan.parent.mkdir(parents=True)
    plan.write_text("".join(["Winner;Loser\n", *(f"{rival.id};{contact.bound_id}\n" for contact, rival in zip(pairs.contacts, pairs.rivals, strict=True))]))
    run = live.runner(monkeypatch, home)
    with live.served(pairs.story, tmp_path / "sandbox") as server:
        assert run(server).verdict == "fail"
        assert judge(home, plan, tmp_path / "answer.csv", 1e6, safe_plan).counts["unsafe"] == 4
        with safe_plan.open(newline="") as file:
            turned = [(row["master_id"], row["loser_id"]) for row in csv.DictReader(file)]
        assert sorted(turned) == sorted((contact.bound_id, rival.id) for contact, rival in zip(pairs.contacts, pairs.rivals, strict=True))
        (plan.parent / "safe.csv").write_text(safe_plan.read_text())
        run(server)
        for master_id, loser_id in turned[:2]:
            pairs.world.merge_records(pairs.world.records[master_id], [pairs.world.records[loser_id]])
        for loser_id, master_id in turned[2:]:
            pairs.world.merge_records(pairs.world.records[master_id], [pairs.world.records[loser_id]])
        for path in plan.parent.glob("*.csv"):
            path.unlink()
        pairs.wait()
        run(server)
    became = {(row["plan"], row["master_id"]): row["result"] for row in live.published(home, "planned_merge_event") if row["result"]}
    safe = {("safe.csv", master_id): "as_planned" for master_id, _ in turned[:2]}
    against_advice = {("june.csv", loser_id): "values_lost" for _, loser_id in turned[2:]}
    assert became == safe | against_advice
