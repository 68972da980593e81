"""A case is a person: everything that is open about one, with one list of steps, one owner, one status and one clock."""

from datetime import datetime
from typing import Any

import pytest

from assets.models.build import build_models
from expectations.gate import checks
from tests.agreement import policies
from tests.crm import ANN, BOUND, Crm, day, jumped, lead_id
from tests.test_findings_follow import pulled
from tests.test_urgency import HARMS

BOB = "bob@example.com"
URGENCIES = ["now", "soon", "later"]
SEVERITIES = ["unproven", "block", "warn"]


def cases(crm: Crm) -> list[dict[str, Any]]:
    return sorted(crm.build().rows("review.person_case"), key=lambda case: int(case["rank"]))


def case(crm: Crm) -> dict[str, Any]:
    (only,) = cases(crm)
    return only


def losing(**properties: str) -> Crm:
    """A contact that is about to lose its title to a rival."""
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"}, modified=day(5))
    crm.lead(2, fields={"Title": "Buyer"}, modified=day(26))
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", **properties}, synced=day(25))
    return crm


def decide(crm: Crm, fingerprint: str, status: str, until: datetime | None = None) -> None:
    crm.connection.execute(
        "insert into main.decision by name select $fingerprint as fingerprint, $status as status, $until as waived_until",
        {"fingerprint": fingerprint, "status": status, "until": until},
    )


def test_all_that_is_open_about_a_contact_is_one_case() -> None:
    crm = losing()
    found = case(crm)
    assert {finding["fingerprint"] for finding in crm.findings()} == set(found["fingerprints"])
    assert len(found["fingerprints"]) > 1
    assert (found["hubspot_contact_ids"], found["email"], found["display_name"]) == (["101"], ANN, "Ann Lee")


def test_a_finding_about_a_record_belongs_to_the_contact_that_is_bound_to_it() -> None:
    crm = losing()
    crm.lead(3, email="no address")  # email_unusable names the record alone
    crm.contact("102", bound=lead_id(3), email=BOB)
    assert [found["hubspot_contact_ids"] for found in cases(crm)] == [["101"], ["102"]]


def test_of_several_contacts_that_are_bound_to_the_record_the_least_has_it_and_all_are_named() -> None:
    crm = Crm()
    crm.lead(1)
    for contact_id in ("1002", "101", "99"):
        crm.contact(contact_id, bound=BOUND, email=f"{contact_id}@example.com")
    named = {tuple(found["hubspot_contact_ids"]) for found in cases(crm) if "same_record_bound_twice" in names(crm, found)}
    assert named == {("99", "101", "1002")}


def test_duplicates_that_no_contact_has_are_a_case_by_their_e_mail() -> None:
    crm = Crm()
    crm.lead(1, account=None)
    crm.lead(2)
    found = case(crm)
    assert names(crm, found) == {"latent_duplicate"}
    assert (found["hubspot_contact_ids"], found["email"], found["display_name"]) == ([], ANN, "Ann Lee")
    assert [step["action"] for step in found["steps"]] == ["merge"]


def test_a_matter_of_the_whole_portal_is_a_case_of_its_own() -> None:
    crm = Crm(on_contact_deleted="delete")
    found = case(crm)
    assert names(crm, found) == {"deletion_setting_dangerous"}
    assert (found["hubspot_contact_ids"], found["email"], found["salesforce_owner_id"], found["steps"]) == ([], None, None, [])


def test_it_names_account_and_owner_of_the_record_that_is_bound() -> None:
    crm = Crm()
    crm.salesforce_contact(1, account="0015e000000Acc1", owner="0055e000000Own1", fields={"Account.Name": "Acme", "Title": "CEO"}, modified=day(5))
    crm.salesforce_contact(2, owner="0055e000000Own2", fields={"Title": "Buyer"}, modified=day(4))
    crm.contact(bound="0035e0000000001", properties={"jobtitle": "CEO"})
    crm.connection.execute("insert into raw.salesforce_user (user_id, name, pull) values (main.salesforce_id18('0055e000000Own1'), 'Olga Own', 'x')")
    found = case(crm)
    assert found["account_id"].startswith("0015e000000Acc1")
    assert (found["account_name"], found["salesforce_owner_id"][:15], found["salesforce_owner_name"]) == ("Acme", "0055e000000Own1", "Olga Own")


def test_a_value_to_enter_is_a_step_of_its_own_beside_the_conversion_that_would_lose_it() -> None:
    crm = Crm(opt_out="as_mapped")
    crm.lead(1, fields={"Title": "CEO", "HasOptedOutOfEmail": "true"})
    kept = crm.salesforce_contact(1, fields={"Title": "Buyer", "HasOptedOutOfEmail": "false"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", "hs_email_optout": "true"}, synced=day(12))
    ordinary = {"master_id": kept, "loser_id": None}
    assert case(crm)["steps"] == [
        {"step": 1, "action": "enter", **ordinary, "property": "hs_email_optout", "value": "true"},
        {"step": 2, "action": "convert", "master_id": kept, "loser_id": BOUND, "property": None, "value": None},
        {"step": 3, "action": "enter", **ordinary, "property": "jobtitle", "value": "CEO"},
    ]


def test_a_jump_says_what_it_took() -> None:
    crm = Crm()
    jumped(crm)
    (lost,) = case(crm)["lost_values"]
    assert (lost["property"], lost["value_before"], lost["value_after"]) == ("jobtitle", "CEO", "Buyer")


def test_what_is_waived_does_not_count_while_something_else_is_open() -> None:
    crm = losing(salesforcedeleted="true")
    before = case(crm)
    assert (before["urgency"], before["severity"], before["status"]) == ("now", "block", "open")
    for finding in crm.findings():
        if finding["severity"] == "block":
            decide(crm, finding["fingerprint"], "waived", day(90))
    after = case(crm)
    assert (after["urgency"], after["severity"], after["harm"], after["status"]) == ("later", "warn", "cut_off", "open")
    assert set(after["fingerprints"]) == set(before["fingerprints"])


def test_a_case_whose_findings_are_all_waived_comes_last_with_what_they_say() -> None:
    crm = losing()
    for finding in crm.findings():
        decide(crm, finding["fingerprint"], "waived", day(90))
    crm.lead(3, email=BOB)
    crm.lead(4, email=BOB)
    assert [(found["status"], found["email"], found["rank"]) for found in cases(crm)] == [("open", BOB, 1), ("waived", ANN, 2)]
    assert cases(crm)[1]["urgency"] == "now"


def test_the_first_owner_in_the_order_of_the_worklist_has_the_case() -> None:
    crm = losing()
    first, second = case(crm)["fingerprints"][:2]
    subjects = {finding["fingerprint"]: finding["subject"] for finding in crm.findings()}
    for fingerprint, owner in ((second, "bob"), (first, "ann")):
        crm.connection.execute("insert into main.assignment (subject, owner) values (?, ?)", [subjects[fingerprint], owner])
        assert case(crm)["owner"] == owner


def test_what_is_resolved_is_in_no_case() -> None:
    crm = losing()
    crm.end_run()
    crm.later()
    crm.lead(2, deleted=True, modified=day(30.2))
    assert cases(crm) == []


def names(crm: Crm, found: dict[str, Any]) -> set[str]:
    return {finding["check_name"] for finding in crm.rows("review.finding") if finding["fingerprint"] in found["fingerprints"]}


# ── generated worlds, held against the page ──────────────────────────────────────────────────────────────────────────────────────


def place(row: dict[str, Any], opened: datetime, last: str) -> tuple[Any, ...]:
    return (
        row["severity"] != "unproven", URGENCIES.index(row["urgency"]), SEVERITIES.index(row["severity"]), HARMS.index(row["harm"]),
        row["deadline_at"] or datetime.max, -row["blast_radius"], opened, last,
    )  # fmt: skip


def check_that_cases_are_as_the_page_says(policy: int) -> None:
    snapshot = pulled(policy, 25)
    open_before = [row for row in snapshot.rows("review.finding") if row["status"] != "resolved"]
    for number, row in enumerate(open_before):  # people decided about some, and about all of a few
        if number % 3 == 0 or int(row["hubspot_contact_id"] or 0) % 4 == 0:
            snapshot.connection.execute(
                "insert into main.decision by name select $print as fingerprint, $status as status, timestamp '2099-01-01' as waived_until",
                {"print": row["fingerprint"], "status": "waived" if number % 2 == 0 else "acknowledged"},
            )
    build_models(snapshot.connection, checks())
    findings = [row for row in snapshot.rows("review.finding") if row["status"] != "resolved"]
    contacts = [row for row in snapshot.rows("core.hubspot_contact") if row["state"] == "live"]

    def least(ids: list[str]) -> str | None:
        return min(ids, key=lambda contact_id: (len(contact_id), contact_id), default=None)

    held: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in findings:
        contact = row["hubspot_contact_id"] or least(
            [one["contact_id"] for one in contacts if row["salesforce_id"] and one["bound_id"] == row["salesforce_id"]]
        )
        contact = contact or least([one["contact_id"] for one in contacts if row["email"] and one["email"] == row["email"]])
        key = ("contact", contact) if contact else ("email", row["email"]) if row["email"] else ("record", row["salesforce_id"] or row["check_name"])
        held.setdefault(key, []).append(row)
    expected = []
    for rows in held.values():
        rows.sort(key=lambda row: place(row, row["first_seen_at"], row["fingerprint"]))
        counting = [row for row in rows if row["status"] != "waived"] or rows
        whole = {
            "urgency": min((row["urgency"] for row in counting), key=URGENCIES.index), "harm": min((row["harm"] for row in counting), key=HARMS.index),
            "severity": min((row["severity"] for row in counting), key=SEVERITIES.index),
            "deadline_at": min((row["deadline_at"] for row in counting if row["deadline_at"]), default=None),
            "status": next(status for status in ("open", "acknowledged", "waived") if any(row["status"] == status for row in rows)),
            "fingerprints": [row["fingerprint"] for row in rows], "opened_at": min(row["first_seen_at"] for row in rows),
            "blast_radius": max(row["blast_radius"] for row in rows),
        }  # fmt: skip
        expected.append(whole)
    found = sorted(snapshot.rows("review.person_case"), key=lambda row: int(row["rank"]))
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    ids = {tuple(row["fingerprints"]): row["case_id"] for row in found}
    assert ids.keys() == {tuple(whole["fingerprints"]) for whole in expected}, "each finding in exactly one case"
    expected.sort(key=lambda whole: (whole["status"] == "waived", *place(whole, whole["opened_at"], ids[tuple(whole["fingerprints"])])))
    for row, whole in zip(found, expected, strict=True):
        assert {name: row[name] for name in whole if name != "blast_radius"} == {name: value for name, value in whole.items() if name != "blast_radius"}
    assert any(row["status"] == "waived" for row in found)


@pytest.mark.parametrize("policy", [0, 37])
def test_cases_of_generated_worlds_are_as_the_page_says(policy: int) -> None:
    check_that_cases_are_as_the_page_says(policy)


@pytest.mark.slow
@pytest.mark.parametrize("policy", range(0, len(policies()), 5))
def test_cases_are_as_the_page_says_under_many_policies(policy: int) -> None:
    check_that_cases_are_as_the_page_says(policy)
