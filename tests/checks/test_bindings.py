"""Suite bindings: for each check a world in which it fires once, near misses in which it must not, and missing data."""

from typing import Any

from tests.crm import ANN, BOUND, RIVAL, Crm, contact_id, day, duplicates, jumped, lead_id, one


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


def test_switch_happened_fires_for_a_jump_since_the_last_run_and_lists_what_it_overwrote() -> None:
    crm = duplicates()
    jumped(crm)
    finding = one(crm, "switch_happened")
    assert (finding["salesforce_id"], finding["rival_ids"], finding["fields_at_risk"]) == (RIVAL, [BOUND], ["jobtitle"])
    assert crm.rows("core.overwritten_value")[0]["value_before"] == "CEO"


def test_after_a_jump_what_was_lost_is_put_back_and_the_duplicates_go_as_their_run_book_says() -> None:
    crm = duplicates()
    jumped(crm)
    (first_step,) = crm.build().rows("core.first_step")
    finding = one(crm, "switch_happened")
    assert finding["action"].startswith("Put back what was lost: `bindwatch restore-plan --contact 101 --with-unclear`, or accept")
    assert finding["action"].endswith(first_step["quoted"]["en"]) and finding["action_de"].endswith(first_step["quoted"]["de"])


def test_switch_happened_is_silent_on_the_first_run_and_stays_until_the_values_are_right() -> None:
    crm = duplicates()
    crm.contact(bound=RIVAL, since=day(20))
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    assert crm.findings("switch_happened") == []
    crm = duplicates()
    jumped(crm)
    first = one(crm, "switch_happened")
    crm.end_run(day(31))
    assert one(crm, "switch_happened")["fingerprint"] == first["fingerprint"]
    crm.later()
    crm.contact(bound=RIVAL, since=None, properties={"jobtitle": "CEO"})
    crm.history("101", "jobtitle", (day(30.9), "CEO", "IMPORT"))
    assert crm.findings("switch_happened") == []
    (row,) = crm.rows("select * from review.finding where check_name = 'switch_happened'")
    assert (row["status"], row["resolved_by"]) == ("resolved", "repaired")


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


def converted(at: float, **contact: Any) -> Crm:
    """A contact still bound to a Lead that was converted into Contact 3."""
    crm = Crm()
    crm.salesforce_contact(3)
    crm.contact(bound=crm.lead(1, converted_to=contact_id(3), modified=day(at)), **contact)
    return crm


def test_stale_lead_after_conversion_warns_for_a_day_and_then_blocks() -> None:
    for converted_at, severity in ((29.5, "warn"), (28.9, "block")):
        finding = one(converted(converted_at), "stale_lead_after_conversion")
        assert (finding["severity"], finding["salesforce_id"], finding["rival_ids"]) == (severity, BOUND, [contact_id(3)])


def test_stale_lead_after_conversion_counts_from_when_the_lead_was_first_seen_converted() -> None:
    crm = converted(20)
    crm.later()
    crm.lead(1, converted_to=contact_id(3), modified=day(29.9))
    assert one(crm, "stale_lead_after_conversion")["severity"] == "block"


def test_stale_lead_after_conversion_does_not_fire_when_the_contact_id_is_there_or_the_binding_followed() -> None:
    # the Lead id was written last, so the contact counts as bound to the Lead, yet it carries the Contact
    crm = converted(20, crm_contact_id=contact_id(3), since=day(21))
    crm.history("101", "salesforcecontactid", (day(20), contact_id(3)))
    assert crm.binding()["bound_state"] == "converted"
    assert crm.findings("stale_lead_after_conversion") == []
    crm = Crm()
    crm.lead(1, converted_to=contact_id(3))
    crm.contact(bound=crm.salesforce_contact(3))
    assert crm.findings("stale_lead_after_conversion") == []


def test_stale_lead_after_conversion_follows_merges_of_the_contact_and_survives_missing_data() -> None:
    crm = Crm()
    crm.salesforce_contact(3, merged_into=contact_id(4))
    crm.salesforce_contact(4)
    crm.contact(bound=crm.lead(1, converted_to=contact_id(3)))
    assert one(crm, "stale_lead_after_conversion")["rival_ids"] == [contact_id(4)]
    crm = Crm()
    crm.contact(bound=crm.lead(1, converted_to=contact_id(99), modified=None))
    finding = one(crm, "stale_lead_after_conversion")
    assert (finding["severity"], finding["rival_ids"]) == ("warn", [contact_id(99)])


def bound_in_turn(*turns: tuple[float, str]) -> Crm:
    crm = duplicates()
    crm.lead(5, created=day(1))
    crm.contact(bound=turns[-1][1], since=None)
    crm.history("101", "salesforceleadid", *((day(when), record) for when, record in turns))
    return crm


def test_binding_flaps_fires_for_there_and_back_and_for_three_jumps() -> None:
    crm = bound_in_turn((2, BOUND), (20, RIVAL), (25, BOUND))
    finding = one(crm, "binding_flaps")
    assert (finding["salesforce_id"], finding["rival_ids"]) == (BOUND, [RIVAL])
    fourth = crm.lead(6)
    assert len(bound_in_turn((2, BOUND), (10, RIVAL), (15, lead_id(5)), (20, fourth)).findings("binding_flaps")) == 1


def test_binding_flaps_does_not_fire_for_two_jumps_onwards_or_for_old_ones() -> None:
    assert bound_in_turn((2, BOUND), (20, RIVAL), (25, lead_id(5))).findings("binding_flaps") == []
    assert bound_in_turn((-20, BOUND), (-10, RIVAL), (25, BOUND)).findings("binding_flaps") == []


def test_binding_flaps_does_not_count_merges() -> None:
    crm = Crm()
    crm.lead(2)
    crm.lead(1, merged_into=RIVAL, modified=day(20))
    crm.lead(5)
    crm.contact(bound=crm.lead(6), since=None)
    crm.history("101", "salesforceleadid", (day(2), lead_id(5)), (day(10), BOUND), (day(20), RIVAL), (day(25), lead_id(6)))
    assert [event["cause"] for event in sorted(crm.build().rows("core.switch_event"), key=lambda event: event["switched_at"])] == [
        "first_binding", "duplicate_switch", "salesforce_merge", "duplicate_switch",
    ]  # fmt: skip
    assert crm.findings("binding_flaps") == []


def test_binding_flaps_stays_the_same_finding_while_old_jumps_leave_the_window() -> None:
    crm = bound_in_turn((2, BOUND), (3, RIVAL), (20, BOUND), (25, RIVAL))
    before = one(crm, "binding_flaps")
    crm.end_run(day(34))
    assert one(crm, "binding_flaps")["fingerprint"] == before["fingerprint"]


def test_missing_email_bound_fires_for_a_blank_and_for_an_unusable_email() -> None:
    for email in (None, "", "n/a"):
        crm = Crm()
        crm.contact(bound=crm.lead(1, email=email))
        assert one(crm, "missing_email_bound")["salesforce_id"] == BOUND, email


def test_missing_email_bound_waits_for_the_settle_time_and_leaves_records_alone_that_are_gone() -> None:
    just_now = day(30 - 10 / 1440)
    for modified, since in ((just_now, day(2)), (day(5), just_now)):
        crm = Crm()
        crm.contact(bound=crm.lead(1, email=None, modified=modified), since=since)
        assert crm.findings("missing_email_bound") == []
    crm = Crm()
    crm.contact(bound=crm.lead(1, email=None, deleted=True))
    assert crm.findings("missing_email_bound") == []
    crm = Crm()
    crm.contact(bound=crm.lead(1, email=None, modified=None), since=None)
    assert len(crm.findings("missing_email_bound")) == 1


def test_salesforce_deleted_flag_fires_for_a_live_contact_and_says_what_the_record_is() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1), properties={"salesforcedeleted": "true"})
    assert f"{BOUND} is live" in one(crm, "salesforce_deleted_flag")["reason"]
    crm = Crm()
    crm.contact(properties={"salesforcedeleted": "true"})
    assert "carries no Salesforce id" in one(crm, "salesforce_deleted_flag")["reason"]


def test_salesforce_deleted_flag_does_not_fire_for_an_archived_contact_or_another_value() -> None:
    for changes in ({"properties": {"salesforcedeleted": "false"}}, {"properties": {"salesforcedeleted": ""}},
                    {"properties": {"salesforcedeleted": "true"}, "archived_at": day(20)}):  # fmt: skip
        crm = Crm()
        crm.contact(bound=crm.lead(1), **changes)
        assert crm.findings("salesforce_deleted_flag") == []


def flipped(source: str = "FORM", before: str = "old@example.com;ann@example.com", at: float = 30.2) -> Crm:
    """Between two runs the primary e-mail becomes the one that was a secondary one."""
    crm = Crm()
    crm.contact(bound=crm.lead(1, email="first@example.com"), email="first@example.com", additional=before)
    crm.end_run()
    crm.later()
    crm.contact(bound=BOUND, since=None, email=ANN, additional="old@example.com;first@example.com")
    crm.history("101", "email", (day(at), ANN, source))
    return crm


def test_primary_email_flipped_fires_when_a_form_made_a_secondary_email_primary() -> None:
    for source in ("FORM", "CONVERSATIONS"):
        crm = flipped(source)
        rival = crm.lead(2)
        finding = one(crm, "primary_email_flipped")
        assert (finding["email"], finding["rival_ids"]) == (ANN, [rival])
    crm.end_run(day(31))
    assert len(crm.findings("primary_email_flipped")) == 1, "it is still so"
    crm.end_run(day(62))
    assert crm.findings("primary_email_flipped") == [], "after 30 days it is no news"


def test_primary_email_flipped_leaves_edits_new_addresses_and_the_first_run_alone() -> None:
    assert flipped("CRM_UI").findings("primary_email_flipped") == []
    assert flipped(before="old@example.com").findings("primary_email_flipped") == []
    crm = Crm()
    crm.contact(additional="first@example.com")
    crm.history("101", "email", (day(20), ANN, "FORM"))
    assert crm.findings("primary_email_flipped") == []


def test_hubspot_merge_orphan_fires_for_a_record_that_only_a_secondary_email_leads_to() -> None:
    crm = Crm()
    orphan = crm.lead(2, email="second@example.com")
    crm.contact(bound=crm.lead(1), additional="second@example.com")
    finding = one(crm, "hubspot_merge_orphan")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], finding["rival_ids"]) == ("101", orphan, [BOUND])


def test_hubspot_merge_orphan_does_not_fire_when_somebody_is_bound_or_has_the_email_as_primary() -> None:
    crm = Crm()
    orphan = crm.lead(2, email="second@example.com")
    crm.contact(bound=crm.lead(1), additional="second@example.com")
    crm.contact("102", email="second@example.com")
    assert crm.findings("hubspot_merge_orphan") == []
    crm = Crm()
    crm.lead(2, email="second@example.com")
    crm.contact(bound=orphan, additional="second@example.com")
    assert crm.findings("hubspot_merge_orphan") == []


def test_hubspot_merge_orphan_survives_an_unbound_and_an_archived_contact() -> None:
    crm = Crm()
    crm.lead(2, email="second@example.com")
    crm.contact(additional="second@example.com")
    finding = one(crm, "hubspot_merge_orphan")
    assert (finding["rival_ids"], "bound to nothing" in finding["reason"]) == ([], True)
    crm = Crm()
    crm.lead(2, email="second@example.com")
    crm.contact(additional="second@example.com", archived_at=day(20))
    assert crm.findings("hubspot_merge_orphan") == []


def test_bound_record_merged_away_does_not_fire_for_the_winner_for_a_deleted_record_or_for_an_archived_contact() -> None:
    crm = Crm()
    crm.lead(2, merged_into=BOUND)
    crm.contact(bound=crm.lead(1))
    assert crm.findings("bound_record_merged_away") == []
    crm = Crm()
    crm.contact(bound=crm.lead(1, deleted=True))
    assert crm.findings("bound_record_merged_away") == []
    crm = Crm()
    crm.lead(2)
    crm.contact(bound=crm.lead(1, merged_into=RIVAL), archived_at=day(20))
    assert crm.findings("bound_record_merged_away") == []


def written_by(source: str, contacts: int = 1) -> Crm:
    """A first run; after it somebody writes the rival's id into the contact."""
    crm = duplicates()
    crm.contact(bound=BOUND)
    crm.end_run()
    crm.later()
    crm.contact(bound=RIVAL, since=None)
    crm.history("101", "salesforceleadid", (day(30.2), RIVAL, source))
    for number in range(contacts - 1):
        email = f"p{number}@example.com"
        crm.contact(str(200 + number), bound=crm.lead(50 + number, email=email), since=None, email=email)
        crm.history(str(200 + number), "salesforceleadid", (day(2), lead_id(50 + number), source))
    return crm


def test_binding_changed_by_hand_fires_for_whoever_is_not_the_integration() -> None:
    for source in ("IMPORT", "CRM_UI", "API"):
        crm = written_by(source)
        finding = one(crm, "binding_changed_by_hand")
        assert (finding["severity"], finding["salesforce_id"], finding["rival_ids"]) == ("warn", RIVAL, [BOUND])
        assert source in finding["reason"]
        assert crm.findings("switch_happened") == []
    crm.end_run(day(31))
    assert one(crm, "binding_changed_by_hand")["fingerprint"] == finding["fingerprint"], "it stays"
    crm.end_run(day(62))
    assert crm.findings("binding_changed_by_hand") == [], "for 30 days"


def test_binding_changed_by_hand_leaves_the_integration_merges_and_moves_of_a_portal_alone() -> None:
    for source in ("SALESFORCE", "MERGE_CONTACTS", "MIGRATION"):
        crm = written_by(source)
        assert crm.findings("binding_changed_by_hand") == []


def test_binding_changed_by_hand_is_over_when_the_integration_wrote_the_id_again() -> None:
    crm = written_by("IMPORT")
    crm.end_run(day(31))
    crm.later()
    crm.history("101", "salesforceleadid", (day(30.6), BOUND))
    assert crm.findings("binding_changed_by_hand") == []
    (row,) = crm.rows("select * from review.finding where check_name = 'binding_changed_by_hand'")
    assert row["resolved_by"] == "repaired"


def test_binding_changed_by_hand_is_over_when_somebody_sets_the_old_id_back() -> None:
    """As the steward is told to."""
    crm = written_by("IMPORT")
    crm.end_run(day(31))
    crm.later()
    crm.history("101", "salesforceleadid", (day(30.6), BOUND[:15], "CRM_UI"))
    assert crm.findings("binding_changed_by_hand") == []
    crm.history("101", "salesforceleadid", (day(30.7), RIVAL, "CRM_UI"))
    assert len(crm.findings("binding_changed_by_hand")) == 1
    crm = written_by("SALESFORCE")
    crm.history("101", "salesforceleadid", (day(30.6), RIVAL, "IMPORT"))
    assert len(crm.findings("binding_changed_by_hand")) == 1, "an import wrote the same id: nothing was set back"


def test_binding_changed_by_hand_says_nothing_in_a_portal_that_others_keep() -> None:
    crm = written_by("INTEGRATION", contacts=19)
    assert len(crm.findings("binding_changed_by_hand")) == 19
    crm = written_by("INTEGRATION", contacts=20)
    assert crm.findings("binding_changed_by_hand") == []


def test_mislinked_email_names_the_record_that_has_the_contacts_own_e_mail() -> None:
    crm = Crm(follow_up="sticky")
    crm.lead(1, email="else@example.com")
    crm.lead(2)
    crm.contact(bound=BOUND)
    finding = one(crm, "mislinked_email")
    assert RIVAL in finding["action"]
    assert RIVAL in finding["action_de"]
