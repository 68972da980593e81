"""Suite merges: for each check a world in which it fires once, near misses in which it must not, and missing data."""

from typing import Any

import pytest

from tests.crm import ANN, BOUND, RIVAL, Crm, contact_id, day, duplicates, lead_id, merged_away, one


def test_merged_into_unbound_fires_for_a_broken_sync() -> None:
    crm = merged_away()
    finding = one(crm, "merged_into_unbound")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], finding["rival_ids"]) == ("101", BOUND, [RIVAL])
    assert crm.rows("core.merge_event")[0]["outcome"] == "sync_broken"


def test_merged_into_unbound_and_contact_deleted_by_sync_fire_for_a_deleted_contact() -> None:
    crm = merged_away(archived_after=0.1)
    assert "Restorable until 2026-06-28" in one(crm, "merged_into_unbound")["reason"]
    finding = one(crm, "contact_deleted_by_sync")
    assert finding["severity"] == "block"
    assert finding["hubspot_contact_id"] == "101"


def test_merged_into_unbound_waits_for_the_settle_time_and_ignores_merges_of_before_the_first_run() -> None:
    crm = merged_away(settle_minutes=100_000)
    assert crm.findings("merged_into_unbound") == []
    assert crm.rows("core.merge_event")[0]["outcome"] == "pending"
    crm = Crm()
    crm.lead(2)
    crm.contact(bound=crm.lead(1, merged_into=RIVAL))
    crm.end_run()
    assert crm.findings("merged_into_unbound") == []
    assert len(crm.findings("bound_record_merged_away")) == 1


def test_merged_into_unbound_stays_silent_when_the_bound_record_won() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    crm.lead(2)
    crm.end_run()
    crm.later()
    crm.lead(2, merged_into=BOUND, modified=day(30.1))
    assert crm.findings("merged_into_unbound") == []
    assert (crm.rows("core.merge_event")[0]["outcome"], crm.rows("core.merge_event")[0]["loser_was_bound"]) == ("safe", False)


def test_contact_deleted_by_sync_needs_the_record_to_go_first_and_ends_after_90_days() -> None:
    assert merged_away(archived_after=-0.5).findings("contact_deleted_by_sync") == []
    crm = Crm()
    crm.contact(bound=crm.lead(1, deleted=True, modified=day(1)), archived_at=day(30) - (day(91) - day(1)))
    assert crm.findings("contact_deleted_by_sync") == []


def test_contact_deleted_by_sync_fires_for_a_deleted_record_too() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1, deleted=True, modified=day(20)), archived_at=day(20.1))
    assert "deleted" in one(crm, "contact_deleted_by_sync")["reason"]


def gone_between_runs(leads: int, others: int = 0, archived: int = 0, **knobs: Any) -> Crm:
    """Between two runs `leads` bound Leads are deleted, and `archived` of their contacts are archived; `others` stay."""
    crm = Crm(**knobs)
    for number in range(1, leads + others + 1):
        crm.contact(str(number), bound=crm.lead(number, email=f"p{number}@example.com"), email=f"p{number}@example.com")
    crm.end_run()
    crm.later()
    for number in range(1, leads + 1):
        crm.lead(number, email=f"p{number}@example.com", deleted=True, modified=day(30.1))
        if number <= archived:
            crm.contact(str(number), bound=lead_id(number), since=None, email=f"p{number}@example.com", archived_at=day(30.2))
    return crm


def test_mass_change_fires_when_more_records_went_than_the_policy_allows() -> None:
    assert gone_between_runs(3, mass_change_records=3).findings("mass_change") == []
    crm = gone_between_runs(4, mass_change_records=3)
    finding = one(crm, "mass_change")
    assert (finding["severity"], finding["reason"][:32]) == ("block", "4 Salesforce records were delete")
    crm.end_run(day(31))
    assert one(crm, "mass_change")["fingerprint"] == finding["fingerprint"], "it stays until somebody accepts it"
    crm.end_run(day(46))
    assert crm.findings("mass_change") == [], "or until nothing can be undeleted any more"


def test_mass_change_takes_the_larger_of_number_and_share() -> None:
    assert gone_between_runs(4, others=6, mass_change_records=3, mass_change_percent=60).findings("mass_change") != []
    assert gone_between_runs(4, others=6, mass_change_records=3, mass_change_percent=70).findings("mass_change") == []


def test_mass_change_counts_contacts_that_the_integration_archived_not_those_that_people_did() -> None:
    assert "3 HubSpot contacts" in one(gone_between_runs(3, archived=3, mass_archived_contacts=2), "mass_change")["reason"]
    assert gone_between_runs(3, archived=2, mass_archived_contacts=2).findings("mass_change") == []
    crm = Crm(mass_archived_contacts=0)
    crm.contact(bound=crm.lead(1))
    crm.end_run()
    crm.later()
    crm.contact(bound=BOUND, since=None, archived_at=day(30.2))
    assert crm.findings("mass_change") == []


def test_mass_change_is_silent_on_the_first_run() -> None:
    crm = Crm(mass_change_records=0, mass_archived_contacts=0)
    crm.contact(bound=crm.lead(1, deleted=True, modified=day(20)), archived_at=day(21))
    assert crm.findings("mass_change") == []


def test_deletion_setting_dangerous_fires_for_each_object_whose_deletion_deletes_the_contact() -> None:
    assert Crm().findings("deletion_setting_dangerous") == []
    assert "on_contact_deleted" in one(Crm(on_contact_deleted="delete"), "deletion_setting_dangerous")["action"]
    assert len(Crm(on_lead_deleted="delete", on_contact_deleted="delete").findings("deletion_setting_dangerous")) == 2


def planned(*rows: tuple[str, str], **contact: Any) -> dict[str, Any]:
    """What a plan's first row is judged as. Lead 1 is bound, Leads 2 and 3 and Contact 4 are there, Lead 5 is deleted."""
    crm = Crm()
    for number in (1, 2, 3):
        crm.lead(number)
    crm.salesforce_contact(4)
    crm.lead(5, deleted=True)
    crm.contact(bound=BOUND)
    crm.plan(*rows)
    crm.build("planned_merge_unsafe")
    return next(row for row in crm.rows("core.planned_merge") if row["row_no"] == 1)


def test_planned_merge_unsafe_fires_for_a_plan_that_merges_the_bound_record_away() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    crm.plan((RIVAL, BOUND))
    finding = one(crm, "planned_merge_unsafe")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], finding["rival_ids"]) == ("101", BOUND, [RIVAL])
    assert finding["action"] == f"Make {BOUND} the master."


def test_planned_merge_unsafe_accepts_the_right_way_round_and_what_was_carried_out() -> None:
    row = planned((BOUND, RIVAL))
    assert (row["verdict"], row["hubspot_contact_id"], row["bound_id"], row["recommended_master_id"]) == ("safe", "101", BOUND, BOUND)
    assert planned((BOUND[:15], RIVAL[:15]))["verdict"] == "safe"
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    crm.lead(2, merged_into=BOUND)
    crm.plan((BOUND, RIVAL))
    assert crm.findings("planned_merge_unsafe") == []


@pytest.mark.parametrize(
    ("rows", "verdict", "reason"),
    [
        ([(RIVAL, BOUND)], "unsafe", "would go"),
        ([(contact_id(4), RIVAL)], "invalid", "Convert the Lead"),
        ([(RIVAL, RIVAL)], "invalid", "same record"),
        ([(lead_id(99), RIVAL)], "unknown", "No pull has seen the master"),
        ([(RIVAL, lead_id(99))], "unknown", "No pull has seen the loser"),
        ([(lead_id(5), RIVAL)], "invalid", "is deleted"),
        ([(RIVAL, lead_id(5))], "invalid", "is deleted"),
        ([(RIVAL, "junk")], "invalid", "no Salesforce id"),
        ([(RIVAL, "")], "invalid", "The loser is missing"),
        ([(RIVAL, lead_id(3)), (lead_id(3), RIVAL)], "invalid", "circle"),
        ([(RIVAL, lead_id(3)), (BOUND, lead_id(3))], "invalid", "more than one master"),
        ([(RIVAL, lead_id(3)), (BOUND, RIVAL)], "safe", ""),
    ],
)
def test_a_planned_merge_is_judged_row_by_row(rows: list[tuple[str, str]], verdict: str, reason: str) -> None:
    row = planned(*rows)
    assert row["verdict"] == verdict
    assert reason in row["reason"]


def test_planned_merge_unsafe_fires_when_two_contacts_would_end_on_one_record() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    crm.contact("102", bound=RIVAL, email="b@example.com", additional=ANN)
    crm.plan((BOUND, RIVAL))
    finding = one(crm, "planned_merge_unsafe")
    assert "101" in finding["reason"] and "102" in finding["reason"]
    assert crm.rows("core.planned_merge")[0]["recommended_master_id"] is None


def edited_between_runs(records: int, by: str = "0055e000000Eva1", minutes: int = 1, **knobs: Any) -> Crm:
    """Between two runs so many bound Leads are edited by one user, some minutes apart."""
    crm = Crm(**({"mass_change_records": 3, "integration_user_id": "0055e000000Int1"} | knobs))
    for number in range(1, records + 1):
        crm.contact(str(number), bound=crm.lead(number, email=f"p{number}@example.com"), email=f"p{number}@example.com")
    crm.end_run()
    crm.later()
    for number in range(1, records + 1):
        crm.lead(number, email=f"p{number}@example.com", modified=day(30.1 + number * minutes / 1440), by=by, fields={"Title": "x"})
    return crm


def test_mass_update_fires_when_one_user_edits_very_many_bound_records_within_an_hour() -> None:
    crm = edited_between_runs(4)
    finding = one(crm, "mass_update")
    assert (finding["severity"], finding["reason"][:35]) == ("warn", "0055e000000Eva1AAC edited 4 bound r")
    crm.end_run(day(31))
    assert one(crm, "mass_update")["fingerprint"] == finding["fingerprint"], "it stays until somebody accepts it"
    crm.end_run(day(62))
    assert crm.findings("mass_update") == [], "or for 30 days"


def test_mass_update_counts_a_record_once_that_two_runs_saw_edited_within_the_hour() -> None:
    crm = edited_between_runs(2)
    crm.later()
    for number in (1, 2):
        crm.lead(number, email=f"p{number}@example.com", modified=day(30.1 + (number + 10) / 1440), by="0055e000000Eva1", fields={"Title": "y"})
    assert crm.findings("mass_update") == [], "two records, four edits"


def test_mass_update_leaves_few_slow_and_the_integrations_edits_alone() -> None:
    for crm in (edited_between_runs(3), edited_between_runs(4, minutes=25), edited_between_runs(4, by="0055e000000Int1")):
        assert crm.findings("mass_update") == []


def test_mass_update_does_not_count_a_version_that_only_says_more_of_the_same_edit() -> None:
    crm = edited_between_runs(4)
    crm.end_run(day(31))
    crm.end_run(day(62))
    crm.later()
    for number in range(1, 5):
        crm.lead(number, email=f"p{number}@example.com", modified=day(30.1 + number / 1440), fields={"Title": "x", "Fax": "1"})
    assert crm.findings("mass_update") == []


def test_mass_change_counts_what_vanished_too() -> None:
    crm = Crm(mass_change_records=3)
    for number in range(1, 6):
        crm.lead(number, email=f"p{number}@example.com")
    crm.end_run()
    crm.later()
    for number in range(1, 5):
        crm.connection.execute("insert into raw.presence values ('Lead', ?, ?, false)", [lead_id(number), crm.pull_no])
    assert "4 Salesforce records" in one(crm, "mass_change")["reason"]
