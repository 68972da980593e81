"""What stands in no page, on generated worlds: findings follow predictions, nothing that cannot be undone is called a fill, and a finding asks for what its
run-book does first."""

from datetime import timedelta

import pytest

from expectations.gate import checks
from sandbox.events import Event, Play
from sandbox.world import World
from tests.agreement import FIELD_RULES, ROUND, START, Pulled, policies, settings_for
from tests.test_agreement import worlds

ABOUT_DUPLICATES = {"unsafe_duplicate", "switchable_duplicate", "ambiguous_first_binding", "shared_mailbox", "latent_duplicate"}


def pulled(policy: int, number: int) -> Pulled:
    """So many worlds, each played to its end, with edits that no sync has seen yet; all checks have run on them."""
    knobs = policies()[policy]
    played = []
    for world_no, tale in enumerate(worlds(policy, number)):
        play = Play(World(START, world_no * 10_000), settings_for(knobs))
        for round_no, steps in enumerate(tale):
            at = START + round_no * ROUND
            for step in steps:
                at += timedelta(minutes=step.minutes)
                play.act(Event(at, step.act, step.who, step.other, step.name, step.value.replace("@", f"@w{world_no}.example")))
        played.append(play.world)
    return Pulled(knobs, FIELD_RULES, checks()).pull(played, max(world.now for world in played))


def check_that_findings_follow(policy: int, number: int) -> None:
    snapshot = pulled(policy, number)
    findings = [row for row in snapshot.rows("review.finding") if row["status"] != "resolved"]
    bindings = snapshot.rows("core.binding")
    advice = snapshot.rows("core.merge_advice")

    # green = nothing bound is predicted to move
    named: dict[str, set[str]] = {}
    for finding in findings:
        if finding["suite"] in ("duplicates", "bindings"):
            for record_or_contact in (finding["hubspot_contact_id"], finding["salesforce_id"]):
                named.setdefault(record_or_contact, set()).add(finding["check_name"])
    moving = [row for row in bindings if row["bound_state"] == "live" and (row["prediction"], row["rule"]) in (("switch", 11), ("ambiguous", 17))]
    for row in moving:
        told = named.get(row["hubspot_contact_id"], set()) | named.get(row["bound_id"], set())
        assert told, f"nobody is told of {row}"
        if row["prediction"] == "switch":
            assert "switch_imminent" in named.get(row["hubspot_contact_id"], set()), row
            assert told & {"unsafe_duplicate", "switchable_duplicate"}, row

    # what cannot be undone is no gap that is filled, and what is lost is typed somewhere
    overwrites = snapshot.rows("core.overwrite")
    assert not [row for row in overwrites if row["effect"] == "fill" and (row["property"] == "hs_email_optout" or (row["hubspot_value"] or "").strip())]
    at_risk = {row["hubspot_contact_id"] for row in overwrites if row["is_at_risk"]}
    for finding in findings:
        if finding["check_name"] == "unsafe_duplicate":
            lost = {row["property"] for row in overwrites if row["hubspot_contact_id"] == finding["hubspot_contact_id"] and row["is_at_risk"]}
            assert set(finding["fields_at_risk"]) == lost
            assert finding["severity"] == "block" or finding["hubspot_contact_id"] not in at_risk

    # a finding asks for the first step of a run-book
    first_steps = {(row["book"], row["reason"], row["reason_de"]) for row in advice if row["step"] == 1}
    for finding in findings:
        if finding["check_name"] in ABOUT_DUPLICATES:
            books = (finding["email"], f"#{finding['hubspot_contact_id']}")
            assert any((book, finding["action"], finding["action_de"]) in first_steps for book in books), finding

    # no run-book merges a stranger's record
    people = {row["record_id"]: row for row in snapshot.rows("core.salesforce_person")}
    contacts = {row["contact_id"]: row for row in snapshot.rows("core.hubspot_contact")}
    for step in advice:
        if step["book"].startswith("#") and step["action"] in ("merge", "convert"):
            contact = contacts[step["book"][1:]]
            addresses = {contact["email"], *contact["additional_emails"], None}
            assert {people[step[side]]["email"] for side in ("master_id", "loser_id")} <= addresses, step

    # the risk of a cluster is what its contact is told
    by_contact: dict[str, set[str]] = {}
    for finding in findings:
        by_contact.setdefault(finding["hubspot_contact_id"], set()).add(finding["check_name"])
    for cluster in snapshot.rows("core.duplicate_cluster"):
        if cluster["hubspot_contact_id"]:
            told = by_contact.get(cluster["hubspot_contact_id"], set())
            risk = "unsafe" if "unsafe_duplicate" in told else "switchable" if "switchable_duplicate" in told else "latent"
            assert cluster["risk"] == risk, (cluster, told)
    assert moving
    assert {finding["urgency"] for finding in findings if finding["check_name"] == "switch_imminent"} <= {"now"}


@pytest.mark.parametrize("policy", [0, 41, 77, 140])
def test_findings_follow_predictions_in_generated_worlds(policy: int) -> None:
    check_that_findings_follow(policy, 40)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [number for number, knobs in enumerate(policies()) if knobs["follow_up"] == "most_recent"])
def test_findings_follow_predictions_under_every_policy(policy: int) -> None:
    check_that_findings_follow(policy, 60)
