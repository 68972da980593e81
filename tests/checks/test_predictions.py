"""Suite predictions: for each check a world in which it fires once, near misses in which it must not, and missing data."""

from typing import Any

import pytest

from tests.crm import BOUND, RIVAL, Crm, day, duplicates, lead_id, one

OUT, IN = {"HasOptedOutOfEmail": "true"}, {"HasOptedOutOfEmail": "false"}


def opted_out(rival: dict[str, Any], contact: str = "true", **knobs: Any) -> Crm:
    """A contact that has opted out, bound to a Lead that says so too, and a rival; in a portal where the opt-out goes both ways."""
    crm = Crm(**{"opt_out": "as_mapped", **knobs})
    crm.lead(1, fields=OUT, modified=day(5))
    crm.lead(2, **rival)
    crm.contact(bound=BOUND, properties={"hs_email_optout": contact}, synced=day(25))
    return crm


def test_consent_at_risk_fires_for_a_rival_that_would_opt_the_person_in_again() -> None:
    finding = one(opted_out({"fields": IN, "modified": day(20)}), "consent_at_risk")
    assert (finding["severity"], finding["salesforce_id"], finding["rival_ids"], finding["fields_at_risk"]) == ("block", BOUND, [RIVAL], ["hs_email_optout"])
    assert finding["blast_radius"] == 11
    assert "next sync" in one(opted_out({"fields": IN, "modified": day(26)}), "consent_at_risk")["reason"]


def test_consent_at_risk_leaves_an_old_rival_the_other_direction_and_missing_values_alone() -> None:
    for rival, contact in (
        ({"fields": IN, "modified": day(-1)}, "true"),
        ({"fields": OUT, "modified": day(20)}, "false"),
        ({"fields": OUT, "modified": day(20)}, "true"),
        ({"fields": {}, "modified": day(20)}, "true"),
        ({"fields": IN, "modified": day(20)}, ""),
        ({"fields": IN, "modified": None}, "true"),
    ):
        assert opted_out(rival, contact).findings("consent_at_risk") == [], (rival, contact)


def test_consent_at_risk_counts_an_opt_out_that_would_be_emptied() -> None:
    crm = opted_out({"fields": {}, "modified": day(20)}, blank_on_switch="clear")
    crm.policy = crm.policy.model_validate(
        {
            "policy": {"blank_on_switch": "clear", "opt_out": "as_mapped"},
            "mapping": [{"hubspot": "hs_email_optout", "salesforce": "HasOptedOutOfEmail", "rule": "always_salesforce", "consent": True}],
        }
    )
    assert len(crm.findings("consent_at_risk")) == 1


def test_consent_at_risk_is_silent_where_nothing_can_switch_or_the_bound_record_is_gone() -> None:
    assert opted_out({"fields": IN, "modified": day(20)}, follow_up="sticky").findings("consent_at_risk") == []
    crm = Crm()
    crm.lead(1, fields=OUT, deleted=True)
    crm.lead(2, fields=IN, modified=day(20))
    crm.contact(bound=BOUND, properties={"hs_email_optout": "true"})
    assert crm.findings("consent_at_risk") == []


def test_consent_at_risk_is_silent_about_an_opt_out_that_hubspot_never_takes_back() -> None:
    assert opted_out({"fields": IN, "modified": day(20)}, opt_out="sticky").findings("consent_at_risk") == []


CONSENT = {"granted": ["Consent given"], "denied": ["Consent withdrawn"]}


@pytest.mark.parametrize(
    ("consent", "hubspot", "salesforce", "fires"),
    [
        ("opted_in", "false", "true", True), ("opted_in", "", "true", True), ("opted_in", "true", "false", False), ("opted_in", "true", "maybe", True),
        ("opted_out", "true", "false", True), ("opted_out", "", "false", False), ("opted_out", "false", "true", False), (True, "true", "false", True),
        ("opted_out", "maybe", "false", True), ("opted_out", "maybe", "true", False),
        (CONSENT, "Consent withdrawn", "Consent given", True), (CONSENT, "", "Consent given", True), (CONSENT, "Legitimate interest", "Consent given", True),
        (CONSENT, "Consent given", "Legitimate interest", True), (CONSENT, "Consent given", "Consent withdrawn", False),
        (CONSENT, "Consent withdrawn", "", False),
    ],
)  # fmt: skip
def test_consent_at_risk_knows_opt_outs_opt_ins_and_lists(consent: Any, hubspot: str, salesforce: str, fires: bool) -> None:
    crm = Crm()
    crm.policy = crm.policy.model_validate({"mapping": [{"hubspot": "newsletter", "salesforce": "Newsletter__c", "consent": consent}]})
    crm.lead(1, modified=day(5))
    crm.lead(2, fields={"Newsletter__c": salesforce}, modified=day(20))
    crm.contact(bound=BOUND, properties={"newsletter": hubspot}, synced=day(25))
    assert bool(crm.findings("consent_at_risk")) == fires


def opted_in(rival: dict[str, Any], contact: str = "false", **knobs: Any) -> Crm:
    """A contact that gets e-mails, and a rival that has opted out of them."""
    crm = Crm(**knobs)
    crm.lead(1, fields=IN, modified=day(5))
    crm.lead(2, **{"fields": OUT, "modified": day(20), **rival})
    crm.contact(bound=BOUND, properties={"hs_email_optout": contact}, synced=day(25))
    return crm


@pytest.mark.parametrize("contact", ["false", ""])
def test_opt_out_imminent_fires_for_a_rival_whose_opt_out_would_come_for_good(contact: str) -> None:
    finding = one(opted_in({}, contact), "opt_out_imminent")
    assert (finding["severity"], finding["salesforce_id"], finding["rival_ids"], finding["fields_at_risk"]) == ("block", BOUND, [RIVAL], ["hs_email_optout"])
    assert [row["effect"] for row in opted_in({}, contact).build().rows("core.overwrite")] == ["overwrite"], "never a fill: it cannot be undone"


def test_opt_out_imminent_is_silent_for_an_old_rival_another_portal_and_one_who_is_out_already() -> None:
    assert opted_in({"modified": day(-1)}).findings("opt_out_imminent") == []
    assert opted_in({}, opt_out="as_mapped").findings("opt_out_imminent") == []
    assert opted_in({}, "true").findings("opt_out_imminent") == []
    assert opted_in({"fields": IN}).findings("opt_out_imminent") == []


def test_consent_conflict_fires_for_an_opt_out_on_any_live_record_with_the_address() -> None:
    finding = one(opted_in({}), "consent_conflict")
    assert (finding["severity"], finding["salesforce_id"], finding["rival_ids"]) == ("block", RIVAL, [])


def test_consent_conflict_waits_for_the_settle_time_and_ignores_records_that_are_gone_and_contacts_that_are_out() -> None:
    assert opted_in({"modified": day(30 - 1 / 24 / 60)}).findings("consent_conflict") == []
    assert opted_in({"deleted": True}).findings("consent_conflict") == []
    assert opted_in({"email": "other@example.com"}).findings("consent_conflict") == []
    assert opted_in({}, "true").findings("consent_conflict") == []
    crm = opted_in({})
    crm.policy = crm.policy.model_validate({"policy": {"mapping_defaults": False}, "mapping": [{"hubspot": "jobtitle", "salesforce": "Title"}]})
    assert crm.findings("consent_conflict") == [], "the pair is not mapped"


def predicted_to_switch(bound_now: str, synced: float = 30.3, **rival_now: Any) -> Crm:
    """The last run predicted a jump to the rival; since then the contact has synced and is bound to bound_now."""
    crm = Crm()
    crm.lead(1)
    crm.lead(2, modified=day(29))
    crm.lead(3, email="c@example.com")
    crm.contact(bound=BOUND)
    crm.end_run()
    crm.later()
    if rival_now:
        crm.lead(2, **rival_now)
    crm.contact(bound=bound_now, since=day(30.1) if bound_now != BOUND else None, synced=day(synced))
    return crm


def test_prediction_missed_fires_when_the_contact_synced_and_did_not_jump() -> None:
    finding = one(predicted_to_switch(BOUND), "prediction_missed")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], finding["rival_ids"]) == ("101", BOUND, [RIVAL])
    assert len(predicted_to_switch(lead_id(3)).findings("prediction_missed")) == 1


def test_prediction_missed_is_silent_for_a_hit_and_before_the_contact_has_synced() -> None:
    assert predicted_to_switch(RIVAL).findings("prediction_missed") == []
    assert predicted_to_switch(BOUND, synced=29.005).findings("prediction_missed") == []


def test_prediction_missed_counts_the_survivor_of_the_predicted_record_as_a_hit() -> None:
    assert predicted_to_switch(lead_id(3), merged_into=lead_id(3), modified=day(30.05)).findings("prediction_missed") == []


def test_prediction_missed_fires_for_a_first_binding_to_another_record() -> None:
    for bound_now, findings in ((BOUND, 0), (RIVAL, 1)):
        crm = duplicates()
        crm.contact(synced=None)
        crm.end_run()
        crm.later()
        crm.contact(bound=bound_now, since=day(30.1), synced=day(30.2))
        assert len(crm.findings("prediction_missed")) == findings


def predicted_to_stay(rival_modified: float | None) -> Crm:
    """The last run predicted that the contact stays; it jumped."""
    crm = duplicates()
    crm.lead(9, email="c@example.com", modified=day(29))
    crm.contact(bound=BOUND, synced=day(20))
    crm.end_run()
    crm.later()
    if rival_modified is not None:
        crm.lead(2, created=day(3), modified=day(rival_modified))
    crm.contact(bound=RIVAL, since=day(30.1), synced=day(30.2))
    return crm


def test_prediction_missed_fires_for_a_jump_without_an_edit_and_not_for_one_after_an_edit() -> None:
    assert "predicted to stay" in one(predicted_to_stay(None), "prediction_missed")["reason"]
    assert predicted_to_stay(30.05).findings("prediction_missed") == []


def test_prediction_missed_is_silent_on_the_first_run() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    assert crm.findings("prediction_missed") == []


def contaminated(before: dict[str, str], now: dict[str, str], pulled_before: bool = True, rival: str = "lead") -> Crm:
    """The contact jumps from Lead 1 (phone 111) to a rival, whose fields were `before` and are `now`."""
    crm = Crm()
    crm.lead(1, fields={"Phone": "111"})
    add = crm.lead if rival == "lead" else crm.salesforce_contact
    if pulled_before:
        add(2, fields=before, modified=day(29))
    crm.contact(bound=BOUND, properties={"phone": "111"})
    crm.end_run()
    crm.later()
    new = add(2, fields=now, modified=day(30.1))
    crm.contact(bound=new, since=day(30.1), synced=day(30.1), lead_id="")
    return crm


def test_backfill_contamination_fires_when_a_blank_field_took_the_old_records_value() -> None:
    finding = one(contaminated({}, {"Phone": "111"}), "backfill_contamination")
    assert (finding["salesforce_id"], finding["rival_ids"], finding["fields_at_risk"]) == (RIVAL, [BOUND], ["phone"])
    assert len(contaminated({}, {"Phone": "111"}, rival="contact").findings("backfill_contamination")) == 1


@pytest.mark.parametrize(
    ("before", "now", "pulled_before"),
    [
        ({"Phone": "222"}, {"Phone": "111"}, True),
        ({}, {"Phone": "222"}, True),
        ({}, {}, True),
        ({"Phone": "111"}, {"Phone": "111"}, True),
        ({}, {"Phone": "111"}, False),
    ],
)
def test_backfill_contamination_needs_a_field_known_to_have_been_blank(before: dict[str, str], now: dict[str, str], pulled_before: bool) -> None:
    assert contaminated(before, now, pulled_before).findings("backfill_contamination") == []


def test_backfill_contamination_is_reported_until_the_value_changes() -> None:
    crm = contaminated({}, {"Phone": "111"})
    crm.end_run(day(31))
    before = one(crm, "backfill_contamination")
    crm.end_run(day(32))
    assert one(crm, "backfill_contamination")["fingerprint"] == before["fingerprint"]
    crm.later()
    crm.lead(2, fields={"Phone": "333"}, modified=day(31.5))
    assert crm.findings("backfill_contamination") == []


def test_backfill_contamination_of_which_one_field_was_corrected_is_the_same_finding() -> None:
    """Half a repair ends no decision about the rest."""
    crm = contaminated({}, {"Phone": "111", "Title": "CEO"})
    crm.lead(1, fields={"Phone": "111", "Title": "CEO"}, modified=day(2))
    before = one(crm, "backfill_contamination")
    crm.end_run(day(31))
    crm.later()
    crm.lead(2, fields={"Phone": "333", "Title": "CEO"}, modified=day(31.5))
    after = one(crm, "backfill_contamination")
    assert (before["fields_at_risk"], after["fields_at_risk"]) == (["jobtitle", "phone"], ["jobtitle"])
    assert (after["fingerprint"], after["change"]) == (before["fingerprint"], None)


def test_backfill_contamination_that_an_older_version_had_found_is_not_new() -> None:
    """It told a finding by its fields."""
    crm = contaminated({}, {"Phone": "111"})
    crm.end_run(day(31))
    crm.connection.execute("update main.ledger set fingerprint = 'of before' where check_name = 'backfill_contamination'")
    assert one(crm, "backfill_contamination")["change"] == "changed"
    (before,) = crm.rows("select * from review.finding where fingerprint = 'of before'")
    assert (before["change"], before["resolved_by"]) == ("replaced", "gone")
