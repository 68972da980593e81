"""Why a binding changed, and by whom: what the integration did is told from what people and merges did, and nobody is named in doubt."""

from typing import Any

import pytest

from sandbox.world import id18
from tests.crm import BOUND, RIVAL, Crm, contact_id, day, duplicates, lead_id

INTEGRATION, EVA, TOM = "0055e000000Int1", "0055e000000Eva1", "0055e000000Tom1"
MINUTE = 1 / 24 / 60


def change(crm: Crm, to_id: str | None = RIVAL) -> dict[str, Any]:
    (row,) = (row for row in crm.build().rows("core.switch_event") if row["to_id"] == to_id and row["from_id"] is not None)
    return row


# ── why ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def moved(source: str = "SALESFORCE", **knobs: Any) -> Crm:
    """Bound on day 2, to the other Lead on day 20."""
    crm = duplicates(**knobs)
    crm.contact(bound=RIVAL, since=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(20), RIVAL, source))
    return crm


def test_a_jump_that_the_integration_made_is_a_duplicate_switch() -> None:
    row = change(moved())
    assert (row["cause"], row["source_type"]) == ("duplicate_switch", "SALESFORCE")


@pytest.mark.parametrize("source", ["IMPORT", "CRM_UI", "API", "WORKFLOWS"])
def test_an_id_that_somebody_wrote_is_no_jump_of_the_integration(source: str) -> None:
    row = change(moved(source))
    assert (row["cause"], row["source_type"]) == ("by_hand", source)


def test_an_id_that_somebody_emptied_is_cleared() -> None:
    crm = duplicates()
    crm.contact(bound=None)
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(20), "", "CRM_UI"))
    assert change(crm, None)["cause"] == "cleared"


def test_an_id_that_a_merge_of_contacts_wrote_is_no_jump() -> None:
    row = change(moved("MERGE_CONTACTS"))
    assert row["cause"] == "hubspot_merge"


def merged_contacts(known_before: bool) -> Crm:
    """201 (bound to the first Lead since day 2) and 202 (to the second since day 5) became 301 on day 29. known_before: their histories were read before."""
    crm = duplicates()
    if known_before:
        crm.contact("201", bound=BOUND)
        crm.contact("202", bound=RIVAL, since=day(5), email="b@example.com")
        crm.end_run()
        crm.later()
    crm.contact("301", bound=BOUND, since=None, merged_ids="201;202", additional="b@example.com")
    crm.history("301", "salesforceleadid", (day(2), BOUND), (day(5), RIVAL), (day(30.2), BOUND, "MERGE_CONTACTS"))
    return crm


def test_a_run_cut_short_before_it_read_all_histories_makes_no_jump_of_a_merge() -> None:
    crm = duplicates()
    crm.contact("301", bound=RIVAL, since=None, merged_ids="201;202", additional="b@example.com")
    crm.history("301", "salesforceleadid", (day(2), BOUND), (day(5), RIVAL))
    crm.next_run()
    crm.history("301", "jobtitle", (day(29), "CEO", "MERGE_CONTACTS"))
    assert change(crm)["cause"] == "hubspot_merge"


@pytest.mark.parametrize("known_before", [True, False])
def test_two_histories_that_became_one_hold_no_jump(known_before: bool) -> None:
    rows = [row for row in merged_contacts(known_before).build().rows("core.switch_event") if row["hubspot_contact_id"] == "301"]
    causes = {(row["from_id"], row["to_id"], row["cause"]) for row in rows}
    assert {cause for from_id, _, cause in causes if from_id is not None} == {"hubspot_merge"}
    assert (None, BOUND, "first_binding") in causes
    assert merged_contacts(known_before).findings("switch_happened") == []


def test_the_first_of_two_ids_that_stays_after_a_merge_is_no_jump_either() -> None:
    """The merge wrote no id: that of 202 is the later one. Another property, whose history comes with a later pull, says that it was one."""
    crm = duplicates()
    crm.contact("201", bound=BOUND)
    crm.contact("202", bound=RIVAL, since=day(5), email="b@example.com")
    crm.end_run()
    crm.later()
    crm.contact("301", bound=RIVAL, since=None, merged_ids="202;201", additional="b@example.com")
    crm.history("301", "salesforceleadid", (day(2), BOUND), (day(5), RIVAL))
    crm.later()
    crm.history("301", "jobtitle", (day(30.2), "CEO", "MERGE_CONTACTS"))
    causes = {row["cause"] for row in crm.build().rows("core.switch_event") if row["hubspot_contact_id"] == "301" and row["from_id"]}
    assert causes == {"hubspot_merge"}


def test_what_a_contact_did_before_it_was_merged_stays_what_it_was() -> None:
    crm = merged_contacts(known_before=False)
    crm.contact("202", bound=RIVAL, since=None, email="b@example.com")
    crm.lead(3, email="b@example.com")
    crm.later()
    crm.lead(2, email="b@example.com", modified=day(20))
    crm.history("202", "salesforceleadid", (day(4), lead_id(3)), (day(5), RIVAL))
    assert [row["cause"] for row in crm.build().rows("core.switch_event") if row["from_id"] == lead_id(3)] == ["duplicate_switch"]


def test_after_the_merge_of_contacts_a_jump_is_one_again() -> None:
    crm = merged_contacts(known_before=True)
    crm.history("301", "salesforceleadid", (day(30.3), RIVAL))
    rows = [row for row in crm.build().rows("core.switch_event") if row["switched_at"] == day(30.3)]
    assert [row["cause"] for row in rows] == ["duplicate_switch"]


def test_a_jump_to_a_record_into_which_the_old_one_was_merged_later_is_a_duplicate_switch() -> None:
    crm = moved()
    crm.later()
    crm.lead(1, merged_into=RIVAL, modified=day(25))
    assert change(crm)["cause"] == "duplicate_switch"


def test_a_merge_before_the_change_is_its_cause_also_when_it_was_undone_later() -> None:
    crm = moved()
    crm.later()
    crm.lead(1, merged_into=RIVAL, modified=day(19.99))
    assert change(crm)["cause"] == "salesforce_merge"
    crm.later()
    crm.lead(1, modified=day(26))
    assert change(crm)["cause"] == "salesforce_merge"


def test_a_conversion_is_followed_to_what_the_contact_was_merged_into_by_then() -> None:
    crm = Crm()
    crm.lead(1, converted_to=contact_id(3), modified=day(18))
    crm.salesforce_contact(3, merged_into=contact_id(4), modified=day(19))
    crm.salesforce_contact(4)
    crm.contact(bound=contact_id(4), since=day(20))
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(20), ""))
    assert change(crm, contact_id(4))["cause"] == "lead_conversion"


def test_an_additional_e_mail_counts_for_a_duplicate_switch_also_one_that_is_gone() -> None:
    crm = Crm()
    crm.lead(1, email="old@example.com")
    crm.lead(2)
    crm.contact(bound=RIVAL, since=None, additional="old@example.com")
    crm.history("101", "salesforceleadid", (day(2), BOUND), (day(20), RIVAL))
    assert change(crm)["cause"] == "duplicate_switch"
    crm.later()
    crm.contact(bound=RIVAL, since=None)
    assert change(crm)["cause"] == "duplicate_switch"


# ── by whom ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def watched(*rival_versions: dict[str, Any], jumped_at: float = 30.2, created: float = 3, title: str = "Buyer", phone: str = "", **knobs: Any) -> Crm:
    """A first run; after it the rival is changed (`rival_versions`), and the contact, which had synced on day 29, jumps to it."""
    crm = Crm(**({"integration_user_id": INTEGRATION} | knobs))
    crm.user(EVA, "Eva Lang")
    crm.user(TOM, "Tom Roth")
    crm.user(INTEGRATION, "HubSpot Integration")
    crm.lead(1, fields={"Title": "CEO"})
    if created <= 29:
        crm.lead(2, created=day(created), modified=day(created), by=TOM, created_by=TOM, fields={"Title": title, "Phone": phone})
    crm.contact(bound=BOUND, synced=day(29))
    crm.history("101", "salesforcelastsynctime", (day(29), "2026-03-29T00:00:00.000Z"))
    crm.history("101", "jobtitle", (day(2), "CEO"))
    crm.end_run(day(30.1))
    crm.pull("salesforce", "Lead", at=day(30.5))
    for version in rival_versions:
        crm.lead(2, **({"created": day(created), "fields": {"Title": "Buyer", "Phone": phone}} | version))
    crm.pull("hubspot", "contact", at=day(30.5))
    crm.contact(bound=RIVAL, since=day(jumped_at), synced=day(jumped_at), properties={"jobtitle": "Buyer"})
    crm.history("101", "jobtitle", (day(jumped_at), "Buyer"))
    return crm


def by(crm: Crm) -> tuple[str, str | None]:
    row = change(crm)
    assert row["by_user_id"] is None or row["by"] != "unknown"
    return row["by"], row["by_user_name"]


def test_who_edited_the_record_before_the_jump_is_named() -> None:
    assert by(watched({"modified": day(30.2 - 10 * MINUTE), "by": EVA})) == ("edit", "Eva Lang")


def test_who_edited_it_before_the_last_sync_is_not() -> None:
    assert by(watched()) == ("unknown", None)


def test_the_integration_is_never_named_for_its_own_back_fill_at_the_second_of_the_switch() -> None:
    assert by(watched({"modified": day(30.2), "by": INTEGRATION})) == ("unknown", None)
    assert by(watched({"modified": day(30.2), "by": INTEGRATION}, integration_user_id=None)) == ("unknown", None)


def test_the_field_history_tells_who_was_there_before_the_back_fill() -> None:
    crm = watched({"modified": day(30.2), "by": INTEGRATION})
    crm.tracked(RIVAL, (day(30.2 - 10 * MINUTE), "Title", EVA, "Clerk", "Buyer"), (day(30.2), "Phone", INTEGRATION, None, "1"))
    assert by(crm) == ("edit", "Eva Lang")


def test_who_edited_the_record_after_the_jump_did_not_bring_it_about() -> None:
    crm = watched({"modified": day(30.3), "by": EVA})
    assert by(crm) == ("unknown", None), "the edit before it is hidden"
    crm.tracked(RIVAL, (day(30.2 - 10 * MINUTE), "Title", TOM, "Clerk", "Buyer"), (day(30.3), "Phone", EVA, None, "1"))
    assert by(crm) == ("edit", "Tom Roth")


def test_nobody_is_named_from_a_history_that_lacks_a_field_which_changed() -> None:
    crm = watched({"modified": day(30.2), "by": INTEGRATION, "fields": {"Title": "Buyer", "Phone": "+49 1"}})
    crm.tracked(RIVAL, (day(30.2 - 10 * MINUTE), "Title", EVA, "Clerk", "Buyer"))
    assert by(crm) == ("unknown", None)


def test_who_created_the_record_since_the_last_sync_is_named() -> None:
    at = day(30.2 - 10 * MINUTE)
    assert by(watched({"created": at, "modified": at, "by": EVA, "created_by": EVA}, created=30)) == ("creation", "Eva Lang")


def test_an_edit_of_a_new_record_comes_before_its_creation() -> None:
    version = {"created": day(30.2 - 12 * MINUTE), "modified": day(30.2 - 2 * MINUTE), "by": TOM, "created_by": EVA}
    assert by(watched(version, created=30)) == ("edit", "Tom Roth")


def test_a_record_that_the_integration_created_names_nobody() -> None:
    at = day(30.2 - 10 * MINUTE)
    assert by(watched({"created": at, "modified": at, "by": INTEGRATION, "created_by": INTEGRATION}, created=30)) == ("unknown", None)


def test_without_an_earlier_sync_nobody_is_named() -> None:
    crm = Crm(integration_user_id=INTEGRATION)
    crm.lead(1)
    crm.lead(2, modified=day(19.99), by=EVA)
    crm.contact(bound=RIVAL, since=None)
    crm.history("101", "salesforceleadid", (day(20) - (day(2) - day(1)) / 86400, BOUND), (day(20), RIVAL))
    assert by(crm) == ("unknown", None)


def test_who_is_what_is_published_with_the_integration_among_them() -> None:
    crm = watched()
    users = {row["user_id"]: (row["name"], row["is_integration"]) for row in crm.build().rows("core.salesforce_user")}
    assert users[id18(EVA)] == ("Eva Lang", False)
    assert users[id18(INTEGRATION)] == ("HubSpot Integration", True)
