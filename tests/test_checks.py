"""Each check: a world in which it fires once, near misses in which it must not, and what it does with missing data."""

from typing import Any

import pytest

from sandbox.world import id18
from tests.crm import ANN, Crm, contact_id, day, lead_id

BOUND, RIVAL = lead_id(1), lead_id(2)


def duplicates(bound_fields: dict[str, str] | None = None, rival_fields: dict[str, str] | None = None, **knobs: Any) -> Crm:
    """A bound Lead and a rival with the same e-mail; both carry the same values unless a test says otherwise."""
    crm = Crm(**knobs)
    crm.lead(1, fields=bound_fields or {}, modified=day(5))
    crm.lead(2, created=day(3), modified=day(4), fields=rival_fields or {})
    return crm


def one(crm: Crm, check: str) -> dict[str, Any]:
    (finding,) = crm.findings(check)
    return finding


def test_two_ordinary_people_raise_nothing() -> None:
    crm = Crm()
    crm.contact("101", bound=crm.lead(1))
    crm.contact("102", bound=crm.salesforce_contact(2, email="bob@example.com"), email="bob@example.com")
    assert crm.checks_that_fire() == set()


def test_empty_crms_raise_nothing() -> None:
    assert Crm().checks_that_fire() == set()


# ── pull ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


@pytest.mark.parametrize("name", ["Lead", "Contact"])
def test_pull_gap_fires_when_salesforce_was_not_pulled_for_longer_than_it_keeps_deletions(name: str) -> None:
    crm = Crm()
    crm.pull("salesforce", name, mode="incremental", at=day(46))
    finding = one(crm, "pull_gap")
    assert (finding["severity"], name in finding["reason"], "--full" in finding["action"]) == ("unproven", True, True)
    # an increment afterwards does not close it
    crm.pull("salesforce", name, mode="incremental", at=day(47))
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
    for number, gone in enumerate([{"email": None}, {"email": " \u200b"}, {"email": "x", "deleted": True}, {"email": "x", "converted_to": contact_id(9)}], 1):
        crm.lead(number, **gone)
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


# ── duplicates ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unsafe_duplicate_fires_when_a_switch_would_overwrite_a_value() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer", "Phone": "1"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    finding = one(crm, "unsafe_duplicate")
    assert finding["severity"] == "block"
    assert finding["hubspot_contact_id"] == "101"
    assert (finding["salesforce_id"], finding["rival_ids"], finding["fields_at_risk"]) == (BOUND, [RIVAL], ["jobtitle"])
    assert finding["blast_radius"] == 2  # one field, one rival
    assert finding["salesforce_url"].endswith(BOUND)


def test_unsafe_duplicate_fires_when_a_switch_would_write_hubspots_value_into_the_rival() -> None:
    crm = duplicates(rival_fields={"Title": " "})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    assert one(crm, "unsafe_duplicate")["fields_at_risk"] == ["jobtitle"]


def test_a_consent_field_at_risk_weighs_ten() -> None:
    crm = duplicates(rival_fields={"HasOptedOutOfEmail": "false"})
    crm.contact(bound=BOUND, properties={"hs_email_optout": "true"})
    assert one(crm, "unsafe_duplicate")["blast_radius"] == 11


def test_filling_a_gap_does_not_make_a_duplicate_unsafe() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND)
    assert crm.checks_that_fire() == {"switchable_duplicate"}
    assert crm.rows("core.overwrite")[0]["effect"] == "fill"


def test_switchable_duplicate_fires_when_no_value_differs() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    finding = one(crm, "switchable_duplicate")
    assert (finding["severity"], finding["rival_ids"], crm.rows("core.duplicate_cluster")[0]["risk"]) == ("warn", [RIVAL], "switchable")


def test_where_nothing_can_switch_no_duplicate_check_fires_and_the_risk_is_latent() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"}, follow_up="sticky")
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    assert crm.checks_that_fire() == set()
    assert crm.rows("core.duplicate_cluster")[0]["risk"] == "latent"


def test_a_record_and_its_converted_lead_are_no_duplicates() -> None:
    crm = Crm()
    crm.lead(1, converted_to=contact_id(3))
    crm.contact(bound=crm.salesforce_contact(3))
    assert crm.rows("core.duplicate_cluster") == [] if crm.build() else None
    assert crm.checks_that_fire() == set()


def test_latent_duplicate_fires_for_a_cluster_without_a_contact() -> None:
    finding = one(duplicates(), "latent_duplicate")
    assert (finding["severity"], finding["salesforce_id"], finding["rival_ids"], finding["email"]) == ("warn", BOUND, [RIVAL], ANN)


def test_latent_duplicate_does_not_fire_when_a_contact_has_the_email_and_fires_when_that_is_archived() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    assert crm.findings("latent_duplicate") == []
    crm = duplicates()
    crm.contact(bound=BOUND, archived_at=day(20))
    assert len(crm.findings("latent_duplicate")) == 1


def test_ambiguous_first_binding_warns_and_blocks_when_owners_or_accounts_differ() -> None:
    crm = Crm()
    crm.lead(1)
    crm.lead(2)
    crm.contact()
    finding = one(crm, "ambiguous_first_binding")
    assert (finding["severity"], finding["rival_ids"]) == ("warn", [BOUND, RIVAL])
    crm.salesforce_contact(3, owner="0055e000000Own2")
    assert one(crm, "ambiguous_first_binding")["severity"] == "block"
    crm = Crm()
    crm.salesforce_contact(1, account=id18("0015e00000Acc01"))
    crm.salesforce_contact(2, account=id18("0015e00000Acc02"))
    crm.contact()
    assert one(crm, "ambiguous_first_binding")["severity"] == "block"


def test_ambiguous_first_binding_needs_two_candidates_and_a_contact_without_any_id() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact()
    assert crm.findings("ambiguous_first_binding") == []
    crm.lead(2)
    crm.contact("102", lead_id="junk", email="x@example.com")
    crm.lead(3, email="x@example.com")
    crm.lead(4, email="x@example.com")
    assert [f["hubspot_contact_id"] for f in crm.findings("ambiguous_first_binding")] == ["101"]


# ── bindings ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_bound_record_deleted_fires_for_deleted_and_vanished_records() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1, deleted=True))
    assert one(crm, "bound_record_deleted")["salesforce_id"] == BOUND
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    crm.connection.execute("insert into raw.presence values ('Lead', ?, 9, false)", [BOUND])
    assert crm.binding()["bound_state"] == "vanished"
    assert len(crm.findings("bound_record_deleted")) == 1


def test_bound_record_deleted_does_not_fire_for_merged_records_or_archived_contacts() -> None:
    crm = Crm()
    crm.lead(2)
    crm.contact(bound=crm.lead(1, merged_into=RIVAL))
    assert crm.findings("bound_record_deleted") == []
    crm = Crm()
    crm.contact(bound=crm.lead(1, deleted=True), archived_at=day(1))
    assert crm.findings("bound_record_deleted") == []


def test_a_deleted_record_that_is_purged_stays_deleted() -> None:
    crm = Crm()
    crm.lead(1, deleted=True)
    crm.connection.execute("insert into raw.presence values ('Lead', ?, 9, false)", [BOUND])
    assert crm.build().rows("core.salesforce_person")[0]["state"] == "deleted"


def test_bound_record_merged_away_names_the_survivor_at_the_end_of_the_chain() -> None:
    crm = Crm()
    crm.lead(2, merged_into=lead_id(3))
    crm.lead(3)
    crm.contact(bound=crm.lead(1, merged_into=RIVAL))
    assert one(crm, "bound_record_merged_away")["rival_ids"] == [lead_id(3)]


def test_a_merge_cycle_has_no_survivor_and_does_not_hang() -> None:
    crm = Crm()
    crm.lead(2, merged_into=BOUND)
    crm.contact(bound=crm.lead(1, merged_into=RIVAL))
    assert one(crm, "bound_record_merged_away")["rival_ids"] == []
    assert {row["survivor_id"] for row in crm.rows("core.salesforce_person")} == {None}
    crm = Crm()
    crm.lead(1, merged_into=BOUND)
    assert crm.build().rows("core.salesforce_person")[0]["survivor_id"] is None


def test_bound_record_unknown_fires_for_a_well_formed_id_that_no_pull_has() -> None:
    crm = Crm()
    crm.contact(lead_id=lead_id(99))
    assert one(crm, "bound_record_unknown")["salesforce_id"] == lead_id(99)


def test_bound_record_unknown_leaves_damaged_and_known_ids_alone() -> None:
    crm = Crm()
    crm.contact("101", lead_id="junk")
    crm.contact("102", bound=crm.lead(1, email="b@example.com"), email="b@example.com")
    assert crm.findings("bound_record_unknown") == []


def test_mislinked_email_fires_when_the_bound_record_has_somebody_elses_email() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1, email="else@example.com"))
    assert one(crm, "mislinked_email")["salesforce_id"] == BOUND


def test_mislinked_email_accepts_case_space_additional_and_missing_emails() -> None:
    for record_email, contact in (
        (" ANN@example.com", {}),
        ("b@example.com", {"additional": "x@example.com;B@example.com"}),
        (None, {}),
        ("x@example.com", {"email": ""}),
    ):
        crm = Crm()
        crm.contact(bound=crm.lead(1, email=record_email), **contact)
        assert crm.findings("mislinked_email") == [], (record_email, contact)


def test_mislinked_email_waits_for_the_settle_time_after_each_kind_of_change() -> None:
    just_now = day(30 - 10 / 1440)  # ten minutes before the run
    for modified, since, email_changed in ((just_now, day(2), None), (day(5), just_now, None), (day(5), day(2), just_now)):
        crm = Crm()
        crm.contact(bound=crm.lead(1, email="else@example.com", modified=modified), since=since)
        if email_changed:
            crm.history("101", "email", (day(1), "old@example.com"), (email_changed, ANN, "FORM"))
        assert crm.findings("mislinked_email") == []
    crm = Crm(settle_minutes=5)
    crm.contact(bound=crm.lead(1, email="else@example.com", modified=just_now))
    assert len(crm.findings("mislinked_email")) == 1


def test_both_ids_conflict_fires_unless_the_lead_became_that_contact() -> None:
    crm = Crm()
    crm.salesforce_contact(3)
    crm.contact(lead_id=crm.lead(1, converted_to=contact_id(3)), crm_contact_id=contact_id(3))
    assert crm.findings("both_ids_conflict") == []
    crm = Crm()
    crm.salesforce_contact(3, merged_into=contact_id(4))
    crm.salesforce_contact(4)
    crm.contact(lead_id=crm.lead(1, converted_to=contact_id(3)), crm_contact_id=contact_id(4))
    assert crm.findings("both_ids_conflict") == []
    crm = Crm()
    crm.contact(lead_id=crm.lead(1), crm_contact_id=crm.salesforce_contact(3))
    assert one(crm, "both_ids_conflict")["rival_ids"] == [BOUND]


def test_both_ids_conflict_fires_when_the_lead_is_unknown_and_not_when_an_id_is_damaged() -> None:
    crm = Crm()
    crm.contact(lead_id=lead_id(99), crm_contact_id=crm.salesforce_contact(3))
    assert len(crm.findings("both_ids_conflict")) == 1
    crm = Crm()
    crm.contact(lead_id="junk", crm_contact_id=crm.salesforce_contact(3))
    assert crm.findings("both_ids_conflict") == []


def test_same_record_bound_twice_names_the_contact_bound_last_and_the_others() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact("101", bound=BOUND, since=day(3))
    crm.contact("102", bound=BOUND, since=day(5), email="b@example.com", additional=ANN)
    crm.contact("99", bound=BOUND, since=day(4), email="c@example.com", additional=ANN)
    finding = one(crm, "same_record_bound_twice")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], finding["rival_ids"]) == ("102", BOUND, ["99", "101"])


def test_same_record_bound_twice_does_not_count_archived_contacts_and_survives_missing_history() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact("101", bound=BOUND)
    crm.contact("102", bound=BOUND, archived_at=day(20))
    assert crm.findings("same_record_bound_twice") == []
    crm.contact("103", bound=BOUND, since=None, email="c@example.com", additional=ANN)
    assert one(crm, "same_record_bound_twice")["hubspot_contact_id"] == "101"


def jumped(crm: Crm) -> None:
    """Between two runs the binding jumps from the bound Lead to the rival, and a title is overwritten."""
    crm.contact(bound=BOUND)
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"))
    crm.end_run()
    crm.later()
    crm.connection.execute("delete from raw.hubspot_contact")
    crm.contact(bound=RIVAL, since=day(30.2), synced=day(30.2))
    crm.history("101", "jobtitle", (day(30.2), "Buyer"))


def test_switch_happened_fires_for_a_jump_since_the_last_run_and_lists_what_it_overwrote() -> None:
    crm = duplicates()
    jumped(crm)
    finding = one(crm, "switch_happened")
    assert (finding["salesforce_id"], finding["rival_ids"], finding["fields_at_risk"]) == (RIVAL, [BOUND], ["jobtitle"])
    assert crm.rows("core.overwritten_value")[0]["value_before"] == "CEO"


def test_switch_happened_is_silent_on_the_first_run_and_on_the_run_after() -> None:
    crm = duplicates()
    crm.contact(bound=RIVAL, since=day(20))
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    assert crm.findings("switch_happened") == []
    crm = duplicates()
    jumped(crm)
    assert len(crm.findings("switch_happened")) == 1
    crm.end_run(day(31))
    assert crm.findings("switch_happened") == []
    assert {row["status"] for row in crm.rows("select * from review.finding where check_name = 'switch_happened'")} == {"resolved"}


def test_switch_happened_after_a_killed_run_still_fires() -> None:
    crm = duplicates()
    jumped(crm)
    crm.build()  # the run is killed here: no end_run
    crm.run_no += 1
    crm._begin_run(day(30.8))
    assert len(crm.findings("switch_happened")) == 1


def test_switch_happened_leaves_conversions_and_merges_alone() -> None:
    for change in ({"converted_to": contact_id(3)}, {"merged_into": RIVAL}):
        crm = Crm()
        crm.lead(2, modified=day(3))
        crm.contact(bound=crm.lead(1))
        crm.end_run()
        crm.later()
        crm.salesforce_contact(3)
        crm.lead(1, modified=day(30.1), **change)
        new = contact_id(3) if "converted_to" in change else RIVAL
        crm.connection.execute("delete from raw.hubspot_contact")
        crm.contact(bound=new, since=day(30.2), synced=day(30.2))
        if new.startswith("003"):
            crm.history("101", "salesforceleadid", (day(30.2), ""))
        assert crm.findings("switch_happened") == []


def test_switch_imminent_fires_when_a_rival_was_edited_after_the_last_sync() -> None:
    crm = Crm()
    crm.lead(1)
    crm.lead(2, modified=day(20), fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    finding = one(crm, "switch_imminent")
    assert (finding["salesforce_id"], finding["rival_ids"], finding["fields_at_risk"]) == (BOUND, [RIVAL], ["jobtitle"])
    assert "unsafe_duplicate" in crm.checks_that_fire()


def test_switch_imminent_does_not_fire_for_a_conversion_or_a_settled_cluster() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    assert crm.findings("switch_imminent") == []
    crm = Crm()
    crm.salesforce_contact(3, modified=day(20))
    crm.contact(bound=crm.lead(1, converted_to=contact_id(3)))
    assert crm.findings("switch_imminent") == []


# ── merges ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def merged_away(archived_after: float | None = None, **knobs: Any) -> Crm:
    """Between two runs the bound Lead is merged into the rival; the contact keeps naming the loser, or is archived."""
    crm = Crm(**knobs)
    crm.lead(2)
    crm.contact(bound=crm.lead(1))
    crm.end_run()
    crm.later()
    crm.lead(1, merged_into=RIVAL, modified=day(30.1))
    if archived_after is not None:
        crm.connection.execute("delete from raw.hubspot_contact")
        crm.contact(bound=BOUND, since=None, archived_at=day(30.1 + archived_after))
    return crm


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


# ── what all have in common ──────────────────────────────────────────────────────────────────────────────────────────────────────


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
