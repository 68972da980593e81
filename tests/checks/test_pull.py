"""Suite pull: for each check a world in which it fires once, near misses in which it must not, and missing data."""

from datetime import timedelta
from typing import Any

import pytest

from assets.problems import ConfigurationProblem
from assets.warehouse.ledger import accept_clock
from assets.warehouse.shrinkage import accept_shrink
from tests.crm import BOUND, Crm, contact_id, day, lead_id, one


def test_pull_incomplete_fires_for_a_pull_that_did_not_reconcile() -> None:
    crm = Crm()
    crm.connection.execute("delete from raw.pull where object = 'Lead'")
    crm.pull("salesforce", "Lead", complete=False, problem="the API announced 5 rows, 4 arrived")
    finding = one(crm, "pull_incomplete")
    assert finding["severity"] == "unproven"
    assert "announced 5 rows" in finding["reason"]


def test_pull_incomplete_fires_for_an_object_that_was_not_pulled() -> None:
    crm = Crm()
    crm.connection.execute("delete from raw.pull where object = 'contact_archived'")
    assert "was not pulled" in one(crm, "pull_incomplete")["reason"]


def test_pull_incomplete_fires_for_a_further_pull_that_failed() -> None:
    crm = Crm()
    crm.pull("hubspot", "contact_history", complete=False, problem="half of it is missing")
    assert "half of it" in one(crm, "pull_incomplete")["reason"]


def test_pull_incomplete_accepts_an_empty_but_complete_pull() -> None:
    assert Crm().findings("pull_incomplete") == []


def of_crm(leads: int) -> Crm:
    """A home that has proven a run, with so many Leads; a contact is bound to the first."""
    crm = Crm()
    for number in range(1, leads + 1):
        crm.lead(number, email=f"p{number}@example.com")
    crm.contact(bound=lead_id(1), email="p1@example.com")
    crm.end_run()
    return crm


@pytest.mark.parametrize(("leads", "counted", "is_believed"), [(60, 10, True), (60, 9, False), (3, 1, True), (3, 0, False), (60, 99, True)])
def test_pull_incomplete_fires_when_so_many_are_missing_that_nothing_explains_it(leads: int, counted: int, is_believed: bool) -> None:
    crm = of_crm(leads)
    crm.count("salesforce.Lead", counted)
    findings = crm.findings("pull_incomplete")
    assert (findings == []) == is_believed
    if findings:
        assert f"salesforce.Lead: {counted} are there, and {leads} should be" in findings[0]["reason"]
        assert "--accept-shrink salesforce.Lead" in findings[0]["action"]


def test_pull_incomplete_takes_the_share_where_that_is_more() -> None:
    crm = of_crm(300)
    crm.count("salesforce.Lead", 240)
    assert crm.findings("pull_incomplete") == []
    crm.count("salesforce.Lead", 239)
    assert len(crm.findings("pull_incomplete")) == 1


def test_pull_incomplete_believes_what_the_crm_explains_however_much() -> None:
    crm = of_crm(60)
    crm.later()
    for number in range(1, 61):
        crm.lead(number, deleted=True, modified=day(30.2))
    crm.count("salesforce.Lead", 0)
    assert crm.findings("pull_incomplete") == []


def test_pull_incomplete_is_over_when_a_person_accepts_the_number_and_that_is_the_next_floor() -> None:
    crm = of_crm(60)
    crm.count("salesforce.Lead", 5)
    accept_shrink(crm.build().connection, ["salesforce.Lead"], "ann")
    assert crm.findings("pull_incomplete") == []
    crm.end_run(day(31))
    crm.count("salesforce.Lead", 0)
    assert one(crm, "pull_incomplete")["severity"] == "unproven"


def test_what_came_back_after_a_person_accepted_less_may_not_go_again() -> None:
    crm = of_crm(120)
    crm.count("salesforce.Lead", 0)
    accept_shrink(crm.build().connection, ["salesforce.Lead"], "ann")
    assert crm.findings("pull_incomplete") == []
    crm.end_run(day(31))
    crm.count("salesforce.Lead", 120)
    assert crm.findings("pull_incomplete") == []
    crm.end_run(day(32))
    crm.count("salesforce.Lead", 0)
    assert "0 are there, and 120 should be" in one(crm, "pull_incomplete")["reason"]
    accept_shrink(crm.build().connection, ["salesforce.Lead"], "bob")
    assert crm.findings("pull_incomplete") == []


def test_only_what_is_in_question_can_be_accepted() -> None:
    crm = of_crm(60)
    crm.count("salesforce.Lead", 5)
    with pytest.raises(ConfigurationProblem, match=r"salesforce.Contact: it is not in question. In question after the last run: salesforce.Lead"):
        accept_shrink(crm.build().connection, ["salesforce.Lead", "salesforce.Contact"], "ann")
    assert crm.connection.execute("select count(*) from main.accepted_shrink where accepted_by = 'ann' and kind = 'records'").fetchone() == (0,)


@pytest.mark.parametrize(("name", "seen"), [("salesforce.Contact", "no record in Salesforce"), ("hubspot.contact", "no bound contact")])
def test_pull_incomplete_fires_when_a_first_run_sees_nothing_to_guard(name: str, seen: str) -> None:
    crm = Crm()
    crm.connection.execute("delete from main.accepted_shrink where name = $name", {"name": name})
    assert seen in one(crm, "pull_incomplete")["reason"]
    accept_shrink(crm.connection, [name], "ann")
    assert crm.findings("pull_incomplete") == []
    crm.end_run()
    crm.connection.execute("delete from main.accepted_shrink")
    assert crm.findings("pull_incomplete") == []  # a run was proven


@pytest.mark.parametrize(("minutes", "is_believed"), [(4, True), (6, False)])
def test_pull_incomplete_fires_when_the_clocks_of_the_crms_contradict_each_other(minutes: int, is_believed: bool) -> None:
    crm = Crm()
    # a pull takes hours: what counts is how each of them stands to this machine
    crm.clock("salesforce", day(30), day(30))
    crm.clock("hubspot", day(30.2) + timedelta(minutes=minutes), day(30.2))
    assert ([finding["reason"] for finding in crm.findings("pull_incomplete")] == []) == is_believed


def test_pull_incomplete_fires_when_a_clock_goes_back_behind_the_last_proven_run() -> None:
    crm = Crm()
    crm.clock("salesforce", day(30))
    crm.end_run()
    crm.clock("salesforce", day(30) - timedelta(minutes=6))
    assert "The clock of Salesforce says 2026-03-29 23:54" in one(crm, "pull_incomplete")["reason"]


def test_a_person_accepts_that_the_clocks_were_wrong_in_the_last_proven_run() -> None:
    crm = Crm()
    crm.contact("109", bound=lead_id(99), email="p9@example.com")
    crm.clock("salesforce", day(760))
    crm.clock("hubspot", day(760))
    crm.end_run()
    with pytest.raises(ConfigurationProblem, match="it is not in question"):
        accept_clock(crm.connection, "ann")
    for now in (day(31), day(32)):
        crm.clock("salesforce", now)
        crm.clock("hubspot", now)
        if now == day(31):
            findings = crm.findings("pull_incomplete")
            assert {"--accept-clock" in finding["action"] for finding in findings} == {True}
            crm.end_run(verdict="unproven")
            continue
        accept_clock(crm.build().connection, "ann")
        assert crm.findings("pull_incomplete") == []
        assert {row["first_seen_at"] for row in crm.build().rows("from review.finding where status = 'open'")} == {now}
        crm.end_run()
    crm.clock("salesforce", day(31))
    assert len(crm.findings("pull_incomplete")) == 1  # behind what was proven since


def test_a_wrong_clock_of_this_machine_changes_nothing() -> None:
    crm = Crm()
    for source in ("salesforce", "hubspot"):
        crm.clock(source, day(30), day(760))
    assert crm.checks_that_fire() == set()
    assert crm.rows("staging.clock")[0]["as_of"] == day(30)


def test_stamp_in_future_fires_for_a_record_and_a_contact_and_they_count_as_changed_now() -> None:
    crm = Crm()
    crm.clock("salesforce", day(30))
    crm.contact("101", bound=crm.lead(1, modified=day(400)))
    crm.contact("102", email="b@example.com", modified=day(400))
    crm.lead(2, modified=day(29))
    findings = crm.findings("stamp_in_future")
    assert [(finding["severity"], finding["salesforce_id"], finding["hubspot_contact_id"]) for finding in sorted(findings, key=str)] == [
        ("warn", BOUND, None), ("warn", None, "102")
    ]  # fmt: skip
    assert "2027-04-04" in findings[0]["reason"]
    assert crm.rows(f"from core.salesforce_person where record_id = '{BOUND}'")[0]["modified_at"] == day(30)


def test_stamp_in_future_is_silent_up_to_a_day_ahead() -> None:
    crm = Crm()
    crm.clock("salesforce", day(30))
    crm.lead(1, modified=day(31), created=day(31))
    assert crm.findings("stamp_in_future") == []


@pytest.mark.parametrize(("record_id", "field"), [(BOUND, "salesforce_id"), (contact_id(1), "salesforce_id"), ("101", "hubspot_contact_id")])
def test_pull_incomplete_names_a_record_that_cannot_be_read_until_somebody_accepts_it(record_id: str, field: str) -> None:
    crm = Crm()
    crm.set_aside(record_id)
    finding = one(crm, "pull_incomplete")
    assert (finding["severity"], finding[field]) == ("unproven", record_id)
    assert f"{record_id} arrived and cannot be read: its modified stamp is no time" in finding["reason"]
    assert f"--accept-record {record_id}" in finding["action"]
    assert crm.findings("record_set_aside") == []


def test_record_set_aside_fires_for_a_record_that_a_person_accepted() -> None:
    crm = Crm()
    crm.set_aside(BOUND, accepted_by="ann")
    finding = one(crm, "record_set_aside")
    assert (finding["severity"], finding["salesforce_id"]) == ("warn", BOUND)
    assert "ann accepted that on 2026-03-29" in finding["reason"]
    assert crm.findings("pull_incomplete") == []


def test_record_set_aside_ends_when_the_record_changes() -> None:
    crm = Crm()
    crm.set_aside(BOUND, accepted_by="ann", version="v2")
    assert crm.findings("record_set_aside") == []
    assert one(crm, "pull_incomplete")["salesforce_id"] == BOUND


@pytest.mark.parametrize("name", ["Lead", "Contact"])
def test_pull_gap_fires_when_salesforce_was_not_pulled_for_longer_than_it_keeps_deletions(name: str) -> None:
    crm = Crm()
    crm.pull("salesforce", name, mode="incremental", at=day(46))
    finding = one(crm, "pull_gap")
    assert (finding["severity"], name in finding["reason"], "--full" in finding["action"]) == ("unproven", True, True)
    # an increment afterwards does not close it
    crm.pull("salesforce", name, mode="incremental", at=day(47))
    assert len(crm.findings("pull_gap")) == 1


def test_pull_gap_is_over_when_a_clock_that_was_years_ahead_is_right_again() -> None:
    crm = Crm()
    crm.pull("salesforce", "Lead", mode="incremental", at=day(760))
    assert len(crm.findings("pull_gap")) == 1
    crm.pull("salesforce", "Lead", mode="incremental", at=day(31))
    assert crm.findings("pull_gap") == []
    crm.pull("salesforce", "Lead", mode="incremental", at=day(60))
    assert len(crm.findings("pull_gap")) == 1


def test_pull_gap_is_over_after_a_full_comparison() -> None:
    crm = Crm()
    crm.pull("salesforce", "Lead", mode="incremental", at=day(46))
    crm.pull("salesforce", "Lead_ids", complete=False, mode="ids", at=day(46), problem="it broke off")
    assert len(crm.findings("pull_gap")) == 1
    crm.pull("salesforce", "Lead_ids", mode="ids", at=day(47))
    assert crm.findings("pull_gap") == []


def test_pull_gap_accepts_fifteen_days_a_late_full_run_and_a_first_run() -> None:
    crm = Crm()
    crm.pull("salesforce", "Lead", mode="incremental", at=day(45))
    crm.pull("salesforce", "Contact", mode="full", at=day(200))
    crm.pull("hubspot", "contact", mode="incremental", at=day(200))
    assert crm.findings("pull_gap") == []


def vanish(crm: Crm, object_name: str, record_id: str) -> None:
    crm.connection.execute("insert into raw.presence values (?, ?, ?, false)", [object_name, record_id, crm.pull_no])


def test_record_vanished_fires_for_a_record_and_for_a_contact_that_are_nowhere_any_more() -> None:
    crm = Crm()
    vanish(crm, "Lead", crm.lead(1, email="gone@example.com"))
    crm.contact("101", bound=crm.lead(2))
    crm.contact("102", email="bob@example.com")
    vanish(crm, "contact", "102")
    assert {(row["salesforce_id"], row["hubspot_contact_id"], row["severity"]) for row in crm.findings("record_vanished")} == {
        (lead_id(1), None, "warn"), (None, "102", "warn"),
    }  # fmt: skip


def test_record_vanished_is_silent_for_what_was_known_to_be_gone_and_for_what_came_back() -> None:
    crm = Crm()
    vanish(crm, "Lead", crm.lead(1, deleted=True))
    vanish(crm, "Lead", crm.lead(2, merged_into=lead_id(3)))
    vanish(crm, "contact", crm.contact("101", email="x@example.com", archived_at=day(3)))
    vanish(crm, "Lead", crm.lead(3, email="back@example.com"))
    crm.pull("salesforce", "Lead")
    crm.connection.execute("insert into raw.presence values ('Lead', ?, ?, true)", [lead_id(3), crm.pull_no])
    assert crm.findings("record_vanished") == []


def test_history_missing_fires_for_a_bound_contact_whose_binding_has_no_history() -> None:
    crm = Crm()
    crm.contact("101", bound=crm.lead(1), since=None)
    finding = one(crm, "history_missing")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], "salesforceleadid" in finding["reason"]) == ("101", lead_id(1), True)


def test_history_missing_asks_for_the_history_of_the_property_that_binds() -> None:
    crm = Crm()
    crm.contact("101", bound=crm.salesforce_contact(1), since=None)
    crm.history("101", "salesforceleadid", (day(2), lead_id(5)), (day(3), ""))
    assert "salesforcecontactid" in one(crm, "history_missing")["reason"]


def test_history_missing_is_silent_for_one_entry_an_unbound_contact_and_an_archived_one() -> None:
    crm = Crm()
    crm.contact("101", bound=crm.lead(1))
    crm.contact("102", email="b@example.com")
    crm.contact("103", bound=crm.lead(3, email="c@example.com"), email="c@example.com", since=None, archived_at=day(5))
    assert crm.findings("history_missing") == []


@pytest.mark.parametrize("email", ["no address", "a@b@c", "@example.com", "a@", "a b@example.com", "a@example.com;b@example.com", "<a@example.com>",
                                   "mailto:a@example.com", "Ann, Lee@example.com"])  # fmt: skip
def test_email_unusable_fires_for_an_address_that_can_never_match(email: str) -> None:
    crm = Crm()
    crm.lead(1, email=email)
    crm.contact("101", email=email)
    found = crm.findings("email_unusable")
    assert {(row["salesforce_id"], row["hubspot_contact_id"], row["email"]) for row in found} == {(lead_id(1), None, None), (None, "101", None)}
    assert not any(email in row["reason"] + row["action"] for row in found)


def test_email_unusable_fires_for_a_placeholder_however_it_is_written() -> None:
    crm = Crm(placeholder_emails=["None@none.com"])
    crm.lead(1, email=" NONE@NONE.COM")
    crm.lead(2, email="test@test.com")  # the policy does not list it
    assert one(crm, "email_unusable")["email"] == "none@none.com"


def test_email_unusable_is_silent_without_an_email_and_for_who_is_gone() -> None:
    crm = Crm()
    leads: list[dict[str, Any]] = [{"email": None}, {"email": " \u200b"}, {"email": "x", "deleted": True}, {"email": "x", "converted_to": contact_id(9)}]
    for number, lead in enumerate(leads, 1):
        crm.lead(number, **lead)
    crm.contact("101", email="")
    crm.contact("102", email="x", archived_at=day(3))
    assert crm.findings("email_unusable") == []


def test_id_malformed_fires_for_17_characters_a_wrong_checksum_and_a_wrong_prefix() -> None:
    for property_name, value in (
        ("lead_id", BOUND[:17]),
        ("lead_id", BOUND[:16]),
        ("lead_id", BOUND[:15] + "AAA" if BOUND[15:] != "AAA" else BOUND[:15] + "AAB"),
        ("lead_id", contact_id(7)),
        ("crm_contact_id", BOUND),
        ("lead_id", "not an id"),
    ):
        crm = Crm()
        crm.lead(1, email=None)
        crm.salesforce_contact(7, email=None)
        crm.contact(**{property_name: value}, email="")
        finding = one(crm, "id_malformed")
        assert (finding["hubspot_contact_id"], finding["severity"]) == ("101", "block"), value
        assert all(finding[reason].endswith(".") for reason in ("reason", "reason_de"))


def test_id_malformed_accepts_15_characters_and_both_lengths_bind_to_the_same_record() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact(lead_id=BOUND[:15])
    crm.history("101", "salesforceleadid", (day(2), BOUND[:15]))
    assert crm.checks_that_fire() == set()
    assert crm.binding()["bound_id"] == BOUND


def test_id_malformed_does_not_look_at_blank_ids_or_archived_contacts() -> None:
    crm = Crm()
    crm.contact("101", lead_id="  ")
    crm.contact("102", lead_id="junk", email="x@example.com", archived_at=day(1))
    assert crm.findings("id_malformed") == []


def test_an_id_in_the_wrong_property_still_binds() -> None:
    crm = Crm()
    crm.salesforce_contact(7)
    crm.contact(lead_id=contact_id(7))
    assert crm.binding()["bound_state"] == "live"
