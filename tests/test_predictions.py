"""Which record will a contact be bound to after the next sync? The branches of docs/prediction.md, one difference at a time."""

from typing import Any

import pytest

from tests.crm import ANN, Crm, contact_id, day, lead_id

OLD, NEW, OTHER = lead_id(1), lead_id(2), contact_id(3)


def told(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["prediction"], row["predicted_id"], row["rule"], row["basis"], row["confidence"]


def two_leads(**knobs: Any) -> Crm:
    """The bound Lead is older; both were last edited before the contact's last sync."""
    crm = Crm(**knobs)
    crm.lead(1, created=day(1), modified=day(5))
    crm.lead(2, created=day(3), modified=day(4))
    return crm


def test_a_contact_without_an_email_that_is_bound_to_a_live_record_keeps_it() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1), email="")
    assert told(crm.binding()) == ("keep", OLD, 1, "documented", "high")


def test_a_contact_without_an_email_is_never_bound() -> None:
    crm = Crm()
    crm.contact(email="")
    assert told(crm.binding()) == ("none", None, 1, "documented", "high")


def test_outside_the_inclusion_list_a_bound_contact_keeps_its_record_even_if_that_is_deleted() -> None:
    crm = Crm(inclusion_list_id="7")
    crm.contact(bound=crm.lead(1, deleted=True))
    assert told(crm.binding()) == ("keep", OLD, 21, "documented", "medium")


def test_outside_the_inclusion_list_an_unbound_contact_stays_unbound() -> None:
    crm = Crm(inclusion_list_id="7")
    crm.lead(1)
    crm.contact()
    assert told(crm.binding()) == ("none", None, 21, "documented", "medium")


def test_inside_the_inclusion_list_the_other_rules_apply() -> None:
    crm = Crm(inclusion_list_id="7")
    crm.lead(1)
    crm.connection.execute("insert into raw.hubspot_list_member values (?, 1)", [crm.contact()])
    assert told(crm.binding()) == ("bind", OLD, 5, "documented", "high")


def test_the_only_candidate_is_kept_with_high_confidence() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1, modified=day(20)))
    assert told(crm.binding()) == ("keep", OLD, 15, "documented", "high")


def test_the_bound_record_is_kept_while_nothing_was_edited_since_the_last_sync() -> None:
    crm = two_leads()
    crm.contact(bound=OLD)
    assert told(crm.binding()) == ("keep", OLD, 15, "documented", "medium")


def test_a_newer_record_that_was_there_at_the_last_sync_is_no_reason_to_jump() -> None:
    crm = two_leads()
    crm.lead(3, modified=day(9))
    crm.contact(bound=OLD)
    assert told(crm.binding())[0] == "keep"


def test_the_duplicate_edited_after_the_last_sync_takes_over() -> None:
    crm = two_leads()
    crm.salesforce_contact(3, modified=day(11))
    crm.contact(bound=OLD)
    assert told(crm.binding()) == ("switch", OTHER, 11, "documented", "medium")


def test_the_newest_of_several_pending_edits_wins() -> None:
    crm = Crm()
    crm.lead(1, modified=day(11))
    crm.lead(2, modified=day(13))
    crm.salesforce_contact(3, modified=day(12))
    crm.contact(bound=OLD)
    assert told(crm.binding())[:2] == ("switch", NEW)


def test_an_edit_of_the_bound_record_after_the_rival_keeps_it() -> None:
    crm = Crm()
    crm.lead(1, modified=day(12))
    crm.lead(2, modified=day(11))
    crm.contact(bound=OLD)
    assert told(crm.binding()) == ("keep", OLD, 15, "documented", "medium")


def test_two_rivals_edited_at_once_are_ambiguous() -> None:
    crm = Crm()
    crm.lead(1, created=day(1))
    crm.lead(2, created=day(2), modified=day(11))
    crm.salesforce_contact(3, created=day(3), modified=day(11))
    crm.contact(bound=OLD)
    row = crm.binding()
    assert told(row) == ("ambiguous", None, 17, "inferred", "low")
    assert row["candidate_ids"] == [OLD, NEW, OTHER]


def test_under_a_sticky_policy_the_binding_stays() -> None:
    crm = two_leads(follow_up="sticky")
    crm.salesforce_contact(3, modified=day(11))
    crm.contact(bound=OLD)
    assert told(crm.binding()) == ("keep", OLD, 11, "documented", "low")


def test_an_edit_by_the_integration_itself_does_not_count() -> None:
    crm = two_leads(integration_user_id="0055e000000Int1")
    crm.salesforce_contact(3, modified=day(11), by="0055e000000Int1")
    crm.contact(bound=OLD)
    assert told(crm.binding())[0] == "keep"


def test_a_contact_that_never_synced_counts_from_when_it_was_bound() -> None:
    crm = two_leads()
    crm.salesforce_contact(3, modified=day(8))
    crm.contact(bound=OLD, synced=None, since=day(7))
    assert told(crm.binding())[:2] == ("switch", OTHER)


def test_without_any_time_of_sync_or_binding_what_was_observed_is_kept() -> None:
    crm = two_leads()
    crm.contact(bound=OLD, synced=None, since=None)
    assert told(crm.binding())[0] == "keep"


def test_a_converted_lead_leads_to_its_contact() -> None:
    crm = Crm()
    crm.salesforce_contact(3)
    crm.contact(bound=crm.lead(1, converted_to=OTHER))
    assert told(crm.binding()) == ("switch", OTHER, 29, "documented", "medium")


def test_a_converted_lead_leads_to_the_end_of_its_contacts_merge_chain() -> None:
    crm = Crm()
    crm.salesforce_contact(3, merged_into=contact_id(4))
    crm.salesforce_contact(4)
    crm.contact(bound=crm.lead(1, converted_to=OTHER))
    assert told(crm.binding())[:3] == ("switch", contact_id(4), 29)


def test_a_converted_lead_whose_contact_is_gone_is_a_lost_record() -> None:
    crm = Crm()
    crm.salesforce_contact(3, deleted=True)
    crm.contact(bound=crm.lead(1, converted_to=OTHER))
    assert told(crm.binding()) == ("create_lead", None, 33, "inferred", "low")


@pytest.mark.parametrize(("setting", "prediction"), [("lead", "create_lead"), ("contact", "create_contact"), ("none", "none")])
def test_without_a_match_the_setting_says_what_is_created(setting: str, prediction: str) -> None:
    crm = Crm(create_object=setting)
    crm.contact()
    assert told(crm.binding()) == (prediction, None, 6, "documented", "medium")


def test_a_single_match_is_bound() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact()
    assert told(crm.binding()) == ("bind", OLD, 5, "documented", "high")


@pytest.mark.parametrize(
    ("first_sync", "expected"),
    [
        ("oldest_created", ("bind", NEW, 7, "observed", "low")),
        ("contact_first", ("bind", OTHER, 7, "observed", "low")),
        ("unknown", ("ambiguous", None, 7, "observed", "low")),
    ],
)
def test_of_several_matches_the_policy_decides_the_first_binding(first_sync: str, expected: tuple[Any, ...]) -> None:
    crm = Crm(first_sync=first_sync)
    crm.lead(1, created=day(3))
    crm.lead(2, created=day(2))
    crm.salesforce_contact(3, created=day(4))
    crm.contact()
    assert told(crm.binding()) == expected


def test_records_created_at_once_are_ordered_by_id() -> None:
    crm = Crm()
    crm.lead(2, created=day(2))
    crm.lead(1, created=day(2))
    crm.contact()
    assert told(crm.binding())[1] == OLD


@pytest.mark.parametrize("state", [{"deleted": True}, {"merged_into": NEW}])
def test_after_a_lost_record_the_contact_is_matched_again_by_email(state: dict[str, Any]) -> None:
    crm = Crm()
    crm.lead(2)
    crm.contact(bound=crm.lead(1, **state))
    assert told(crm.binding()) == ("bind", NEW, 33, "inferred", "low")


def test_where_deletion_is_allowed_the_contact_goes_with_its_record() -> None:
    crm = Crm(on_lead_deleted="delete")
    crm.lead(2)
    crm.contact(bound=crm.lead(1, deleted=True))
    assert told(crm.binding()) == ("none", None, 33, "inferred", "low")


def test_the_deletion_setting_of_the_other_object_does_not_matter() -> None:
    crm = Crm(on_contact_deleted="delete")
    crm.lead(2)
    crm.contact(bound=crm.lead(1, deleted=True))
    assert told(crm.binding())[0] == "bind"


def test_a_malformed_id_is_no_id_and_predicted_as_unbound_but_not_as_never_bound() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact(lead_id=OLD[:17])
    row = crm.binding()
    assert (row["bound_id"], row["bound_state"]) == (None, "unknown")
    assert told(row) == ("bind", OLD, 33, "inferred", "low")


def test_an_id_that_nobody_has_seen_is_a_lost_record() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact(lead_id=lead_id(99))
    row = crm.binding()
    assert (row["bound_id"], row["bound_state"]) == (lead_id(99), "unknown")
    assert told(row) == ("bind", OLD, 33, "inferred", "low")


def test_additional_emails_match_only_where_the_policy_says_so() -> None:
    for matches, expected in ((False, "create_lead"), (True, "bind")):
        crm = Crm(secondary_email_matches=matches)
        crm.lead(1, email="second@example.com")
        crm.contact(email=ANN, additional="second@example.com;third@example.com")
        assert told(crm.binding())[0] == expected


def test_converted_deleted_and_merged_records_are_no_candidates() -> None:
    crm = Crm()
    crm.lead(1, converted_to=OTHER)
    crm.lead(2, deleted=True)
    crm.lead(4, merged_into=lead_id(5))
    crm.contact()
    assert told(crm.binding())[0] == "create_lead"


def test_emails_match_without_case_and_surrounding_space() -> None:
    crm = Crm()
    crm.lead(1, email="\u00a0ANN@Example.com \u200b")
    crm.contact()
    assert told(crm.binding())[0] == "bind"


def test_the_recency_stamp_is_the_one_that_the_policy_names() -> None:
    crm = two_leads(recency="last_modified_date")
    crm.salesforce_contact(3, modified=day(11))
    crm.connection.execute("update raw.salesforce_contact set last_modified_date = '2026-03-02T00:00:00Z'")
    crm.contact(bound=OLD)
    assert told(crm.binding())[0] == "keep"


def test_of_two_ids_the_one_written_last_counts_and_the_contact_id_when_that_is_unknown() -> None:
    for lead_since, contact_since, expected in ((day(5), day(6), OTHER), (day(6), day(5), OLD), (day(5), day(5), OTHER), (None, None, OTHER)):
        crm = Crm()
        crm.contact(lead_id=crm.lead(1), crm_contact_id=crm.salesforce_contact(3))
        if lead_since and contact_since:
            crm.history("101", "salesforceleadid", (lead_since, OLD))
            crm.history("101", "salesforcecontactid", (contact_since, OTHER))
        assert crm.binding()["bound_id"] == expected


# ── branch 0: a record that cannot be read, accepted by a person ─────────────────────────────────────────────────────────────────

NOTHING_CERTAIN = ("ambiguous", None, 17, "inferred", "low")


def test_nothing_is_certain_about_a_contact_whose_bound_record_cannot_be_read() -> None:
    crm = two_leads()
    crm.contact(bound=OLD)
    crm.set_aside(OLD, accepted_by="ann")
    row = crm.binding()
    assert told(row) == NOTHING_CERTAIN
    assert (row["bound_id"], row["candidate_ids"], row["rests_on_set_aside"]) == (OLD, [OLD, NEW], True)


def test_nothing_is_certain_about_a_contact_with_a_candidate_that_cannot_be_read_and_all_about_its_neighbour() -> None:
    crm = two_leads()
    crm.contact(bound=OLD)
    crm.contact("102", bound=crm.lead(5, email="bob@example.com"), email="bob@example.com")
    crm.set_aside(NEW, accepted_by="ann")
    assert told(crm.binding()) == NOTHING_CERTAIN
    assert told(crm.binding("102"))[0] == "keep"


@pytest.mark.parametrize(("knobs", "email"), [({"follow_up": "sticky"}, ANN), ({"inclusion_list_id": "7"}, ANN), ({}, "")])
def test_a_record_that_cannot_be_read_comes_before_every_other_reason(knobs: dict[str, Any], email: str) -> None:
    crm = two_leads(**knobs)
    crm.contact(bound=OLD, email=email)
    crm.set_aside(OLD, accepted_by="ann")
    assert told(crm.binding()) == NOTHING_CERTAIN


def test_a_record_of_which_no_version_could_ever_be_read_is_not_unknown_to_the_org() -> None:
    crm = Crm()
    crm.contact(bound=OLD)
    crm.set_aside(OLD, accepted_by="ann")
    row = crm.binding()
    assert (told(row), row["bound_state"], row["candidate_ids"]) == (NOTHING_CERTAIN, "unknown", [])
    assert crm.findings("bound_record_unknown") == []


def test_nothing_is_certain_about_a_contact_that_cannot_be_read_itself() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    crm.set_aside("101", accepted_by="ann")
    assert told(crm.binding()) == NOTHING_CERTAIN


@pytest.mark.parametrize("accepted_version", [None, "another"])
def test_a_record_that_nobody_accepted_changes_no_prediction(accepted_version: str | None) -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    crm.set_aside(OLD, accepted_by="ann" if accepted_version else None, version=accepted_version or "v1")
    assert told(crm.binding())[0] == "keep"
