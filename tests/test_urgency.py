"""What a finding does to people, until when something can be done, and what comes first (docs/checks.md)."""

from datetime import timedelta
from typing import Any

import pytest

from assets.models.sqlfile import CheckFile
from expectations.gate import checks
from tests.crm import BOUND, RIVAL, Crm, day, duplicates, jumped, one

HARMS = ["deleted", "mixed_people", "cut_off", "consent", "overwritten", "spread", "drift", "none"]
QUARTER = timedelta(minutes=15)


def rated(crm: Crm, check: str) -> tuple[Any, ...]:
    finding = one(crm, check)
    return finding["harm"], finding["deadline_at"], finding["urgency"]


def unsafe(edited: float = 4, name: str = "Ann Lee", rival: dict[str, str] | None = None, **properties: str) -> Crm:
    """A contact that would lose its title to a rival, unless a test says otherwise."""
    crm = Crm()
    crm.lead(1, modified=day(5))
    crm.lead(2, modified=day(edited), name=name, fields=rival or {"Title": "Buyer"})
    crm.contact(bound=BOUND, synced=day(25), properties=properties or {"jobtitle": "CEO"})
    return crm


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.name)
def test_every_check_says_what_it_does_to_people(check: CheckFile) -> None:
    assert check.as_row["default_harm"] in HARMS


def test_a_switch_that_is_predicted_is_due_fifteen_minutes_after_the_edit_and_stays_due() -> None:
    edit = day(26)
    assert rated(unsafe(26), "switch_imminent") == ("overwritten", edit + QUARTER, "now")
    assert rated(unsafe(26), "unsafe_duplicate") == ("overwritten", edit + QUARTER, "now")


def test_a_duplicate_is_worth_a_look_soon_when_somebody_edits_it_and_later_when_nobody_did_for_a_month() -> None:
    assert rated(unsafe(4), "unsafe_duplicate") == ("overwritten", None, "soon")
    assert rated(unsafe(-1), "unsafe_duplicate") == ("overwritten", None, "later")


def test_what_the_integration_wrote_makes_nothing_urgent() -> None:
    crm = Crm(integration_user_id="0055e000000Int1")
    crm.lead(1, modified=day(5))
    crm.lead(2, modified=day(20), by="0055e000000Int1", fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, synced=day(25), properties={"jobtitle": "CEO"})
    assert rated(crm, "unsafe_duplicate") == ("overwritten", None, "later")


def test_blanks_that_are_filled_are_spread_and_have_no_deadline() -> None:
    assert rated(unsafe(26, rival={"Title": ""}), "unsafe_duplicate") == ("spread", None, "now")


def test_two_people_who_become_one_are_worse_and_as_soon_as_what_happens_to_the_values() -> None:
    assert rated(unsafe(-1, "Bob Hall"), "unsafe_duplicate") == ("mixed_people", None, "soon")
    assert rated(unsafe(26, "Bob Hall"), "unsafe_duplicate") == ("mixed_people", day(26) + QUARTER, "now")
    assert rated(unsafe(26, "Bob Hall", rival={"Title": "CEO"}), "switchable_duplicate") == ("mixed_people", None, "now")


def test_consent_comes_before_other_values() -> None:
    out = unsafe(26, rival={"HasOptedOutOfEmail": "true"}, hs_email_optout="false")
    assert rated(out, "unsafe_duplicate") == ("consent", day(26) + QUARTER, "now")
    assert rated(out, "opt_out_imminent") == ("consent", day(26) + QUARTER, "now")
    assert rated(out, "consent_conflict") == ("consent", day(26) + QUARTER, "later"), "the switch that will settle it is due, and no check of switches"
    assert rated(unsafe(4, rival={"HasOptedOutOfEmail": "true"}, hs_email_optout="false"), "consent_conflict") == ("consent", None, "later")
    assert rated(unsafe(29.995, rival={"HasOptedOutOfEmail": "true"}, hs_email_optout="false"), "unsafe_duplicate")[2] == "now"


def test_what_a_person_agreed_to_is_about_consent_also_where_the_rival_looks_like_somebody_else() -> None:
    stranger = unsafe(26, "Bob Hall", rival={"HasOptedOutOfEmail": "true"}, hs_email_optout="false")
    assert rated(stranger, "opt_out_imminent") == ("consent", day(26) + QUARTER, "now")
    assert rated(stranger, "switch_imminent")[0] == "mixed_people"


def test_a_deleted_record_can_be_undeleted_for_fifteen_days() -> None:
    def deleted(when: float) -> Crm:
        crm = Crm()
        crm.contact(bound=crm.lead(1, deleted=True, modified=day(when)))
        return crm

    assert rated(deleted(29), "bound_record_deleted") == ("cut_off", day(44), "soon")
    assert rated(deleted(15.5), "bound_record_deleted") == ("cut_off", day(30.5), "now")
    assert rated(deleted(14), "bound_record_deleted") == ("cut_off", None, "later"), "it is too late"


def test_a_contact_that_was_deleted_comes_first_and_makes_the_setting_urgent() -> None:
    crm = Crm(on_lead_deleted="delete")
    crm.lead(1, deleted=True, modified=day(20))
    assert rated(crm, "deletion_setting_dangerous") == ("deleted", None, "later")
    crm.contact(bound=BOUND, archived_at=day(20.1))
    assert rated(crm, "contact_deleted_by_sync") == ("deleted", day(110.1), "later")
    (setting,) = (row for row in crm.findings() if row["check_name"] == "deletion_setting_dangerous")
    assert (setting["harm"], setting["deadline_at"], setting["urgency"]) == ("deleted", None, "now")


def test_a_jump_that_happened_is_soon_while_somebody_edits_the_rival() -> None:
    crm = duplicates()
    jumped(crm)
    assert rated(crm, "switch_happened")[0] == "overwritten"
    assert rated(crm, "switch_happened")[1] is None


def test_what_is_gone_is_urgent_no_more() -> None:
    crm = unsafe(26)
    crm.end_run()
    crm.later()
    crm.connection.execute("delete from raw.salesforce_lead where record_id = ?", [RIVAL])
    resolved = [row for row in crm.build().rows("review.finding") if row["status"] == "resolved"]
    assert {row["urgency"] for row in resolved} == {"later"}
    assert all(row["harm"] in HARMS for row in resolved)
