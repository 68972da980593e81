"""What all checks have in common."""

from tests.crm import BOUND, Crm, day, duplicates, jumped, lead_id, one


def test_two_ordinary_people_raise_nothing() -> None:
    crm = Crm()
    crm.contact("101", bound=crm.lead(1))
    crm.contact("102", bound=crm.salesforce_contact(2, email="bob@example.com"), email="bob@example.com")
    assert crm.checks_that_fire() == set()


def test_empty_crms_raise_nothing() -> None:
    assert Crm().checks_that_fire() == set()


def test_reasons_and_actions_never_contain_an_email() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    jumped(crm)
    crm.contact("102", bound=crm.lead(7, email="else@example.com"), email="b@example.com")
    crm.contact("103", lead_id=lead_id(99), email="c@example.com")
    findings = crm.findings()
    assert len(findings) >= 4
    assert not [finding for finding in findings if "@" in finding["reason"] + finding["action"]]


def test_a_fingerprint_stays_while_the_facts_stay_and_changes_with_them() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    before = one(crm, "unsafe_duplicate")
    crm.end_run()
    after = one(crm, "unsafe_duplicate")
    assert after["fingerprint"] == before["fingerprint"]
    assert (after["first_seen_at"], after["last_seen_at"]) == (day(30), day(30.5))
    crm.lead(5, created=day(2), modified=day(3))
    assert one(crm, "unsafe_duplicate")["fingerprint"] != before["fingerprint"]


def test_the_policy_can_change_the_severity_of_a_check_or_turn_it_off() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    for severity, expected in (("warn", ["warn"]), ("off", [])):
        crm.policy = crm.policy.model_validate({"checks": {"unsafe_duplicate": {"severity": severity}}})
        assert [finding["severity"] for finding in crm.findings("unsafe_duplicate")] == expected
