"""Suite duplicates: for each check a world in which it fires once, near misses in which it must not, and missing data."""

from typing import Any

import pytest

from sandbox.world import id18
from tests.crm import ANN, BOUND, RIVAL, Crm, contact_id, day, duplicates, lead_id, one


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
    finding = one(crm, "unsafe_duplicate")
    assert (finding["severity"], finding["fields_at_risk"], finding["blast_radius"]) == ("warn", [], 1), "HubSpot loses nothing; both are one person"
    assert finding["reason"].endswith(f"HubSpot loses nothing. One blank of {RIVAL} is filled from HubSpot.")


def test_unsafe_duplicate_blocks_where_hubspots_value_would_be_written_into_a_strangers_record() -> None:
    crm = Crm()
    crm.lead(1, modified=day(5))
    crm.lead(2, modified=day(4), name="Bob Hall")
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    finding = one(crm, "unsafe_duplicate")
    assert (finding["severity"], finding["fields_at_risk"]) == ("block", [])
    assert finding["reason"].endswith("though it looks like another person.")


def test_unsafe_duplicate_says_what_is_lost_in_values_and_apart_from_it_how_many_blanks_are_filled() -> None:
    crm = duplicates(rival_fields={"Title": "Sales Manager"})
    crm.contact(bound=BOUND, properties={"jobtitle": "Owner", "phone": "1", "fax": "2"})
    finding = one(crm, "unsafe_duplicate")
    assert finding["fields_at_risk"] == ["jobtitle"]
    assert finding["reason"] == (
        f'An edit of {RIVAL} moves the binding there. HubSpot loses jobtitle: "Owner" → "Sales Manager". 2 blanks of {RIVAL} are filled from HubSpot.'
    )


def test_unsafe_duplicate_says_every_value_that_is_lost_and_first_what_the_person_agreed_to() -> None:
    rival = {"Title": "Buyer", "Phone": "+49 1111", "Fax": "+49 2222", "City": "Bonn", "HasOptedOutOfEmail": "true", "OwnerId": "0055e000000Own2"}
    mine = {"jobtitle": "CEO", "phone": "+49 3333", "fax": "+49 4444", "city": "Berlin", "hs_email_optout": "", "salesforceownerid": "0055e000000Own1"}
    crm = duplicates(rival_fields=rival)
    crm.contact(bound=BOUND, properties=mine)
    finding = one(crm, "unsafe_duplicate")
    assert all(f"{name}: " in finding["reason"] and f"{name}: " in finding["reason_de"] for name in mine)
    assert 'HubSpot loses hs_email_optout: blank → "true"; salesforceownerid: ' in finding["reason"]


def test_a_lost_value_is_said_short_on_one_line_and_without_an_email() -> None:
    crm = duplicates(rival_fields={"Title": "bob@example.com\nis out " + "x" * 60_000})
    crm.contact(bound=BOUND, properties={"jobtitle": "Owner"})
    reason = one(crm, "unsafe_duplicate")["reason"]
    assert '"Owner" → "b***@example.com is out xxx' in reason
    assert len(reason) < 250


@pytest.mark.parametrize(("email", "additional"), [("old@example.com", "old@example.com"), (None, ""), ("stranger@example.com", "")])
def test_one_other_record_is_enough_where_the_bound_one_has_another_email_or_none(email: str | None, additional: str) -> None:
    """Green in front of a jump: no cluster has the e-mail, and an edit of the only record that has it moves the binding."""
    crm = Crm()
    crm.lead(1, email=email, modified=day(5), fields={"Title": "CEO"})
    crm.lead(2, modified=day(26), fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, additional=additional, synced=day(12), properties={"jobtitle": "CEO"})
    assert {"unsafe_duplicate", "switch_imminent"} <= crm.checks_that_fire()
    assert crm.rows("core.duplicate_cluster") == []
    assert crm.binding()["predicted_id"] == RIVAL


def test_a_record_under_an_additional_email_is_a_rival_where_those_match() -> None:
    def world(**knobs: Any) -> Crm:
        crm = Crm(**knobs)
        crm.lead(1, modified=day(5), fields={"Title": "CEO"})
        crm.lead(2, email="old@example.com", modified=day(26), fields={"Title": "Buyer"})
        crm.contact(bound=BOUND, additional="old@example.com", synced=day(12), properties={"jobtitle": "CEO"})
        return crm

    assert {"unsafe_duplicate", "switch_imminent"} <= world(secondary_email_matches=True).checks_that_fire()
    assert world().checks_that_fire() == {"hubspot_merge_orphan"}


def test_where_no_switch_is_possible_there_are_no_rivals_also_of_a_contact_that_is_about_to_go() -> None:
    crm = Crm(on_lead_deleted="delete")
    crm.lead(1, deleted=True)
    crm.lead(2, fields={"Title": "Buyer"})
    crm.lead(3, fields={"Title": "Owner"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    assert crm.build().rows("core.rival") == []
    assert crm.rows("core.duplicate_cluster")[0]["risk"] == "latent"


def test_a_cluster_is_not_latent_while_a_record_of_it_could_draw_a_contact_away() -> None:
    crm = Crm(secondary_email_matches=True)
    crm.lead(1, modified=day(5))
    for number in (2, 3):
        crm.lead(number, email="old@example.com", modified=day(4), fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, additional="old@example.com", properties={"jobtitle": "CEO"})
    assert "latent_duplicate" not in crm.checks_that_fire()
    assert [row["risk"] for row in crm.rows("core.duplicate_cluster")] == ["unsafe"]


def test_what_a_finding_about_duplicates_asks_for_is_the_first_step_of_the_run_book() -> None:
    """The bound record is a Lead, a Contact is free: Salesforce cannot merge the two, so the Lead is converted."""
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.salesforce_contact(1, fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, synced=day(12))
    finding = one(crm, "unsafe_duplicate")
    (first, *_) = crm.rows("select * from core.merge_advice order by step")
    assert (finding["action"], finding["action_de"]) == (first["reason"], first["reason_de"])
    assert finding["action"].startswith(f"Convert Lead {BOUND} into the existing Contact")


def test_a_consent_field_at_risk_weighs_ten() -> None:
    crm = duplicates(rival_fields={"HasOptedOutOfEmail": "true"})
    crm.contact(bound=BOUND, properties={"hs_email_optout": "false"})
    assert one(crm, "unsafe_duplicate")["blast_radius"] == 11


def test_filling_a_gap_does_not_make_a_duplicate_unsafe() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND)
    assert crm.checks_that_fire() == {"switchable_duplicate"}
    assert crm.rows("core.overwrite")[0]["effect"] == "fill"
    assert "Blanks in HubSpot would be filled: jobtitle." in one(crm, "switchable_duplicate")["reason"]


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


def named(*names: str | None, email: str = ANN) -> Crm:
    crm = Crm()
    for number, name in enumerate(names, 1):
        crm.lead(number, name=name, email=email)
    return crm


def test_shared_mailbox_fires_when_no_two_records_share_a_word_of_their_names() -> None:
    crm = named("Ann Lee", "Bob Hall")
    finding = one(crm, "shared_mailbox")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], finding["rival_ids"], finding["severity"]) == (None, BOUND, [RIVAL], "warn")
    crm.contact(bound=RIVAL)
    finding = one(crm, "shared_mailbox")
    assert (finding["hubspot_contact_id"], finding["salesforce_id"], finding["rival_ids"]) == ("101", RIVAL, [BOUND])


def test_shared_mailbox_accepts_the_same_words_in_another_case_order_or_accent() -> None:
    for other in ("ANN LEE", "Lee, Ann", "Ánn Meyer", "Dr. ann-marie Lee"):
        assert named("Ann Lee", other).findings("shared_mailbox") == [], other


def test_shared_mailbox_needs_two_names_and_looks_at_all_pairs() -> None:
    for missing in (None, "", " - "):
        assert named("Ann Lee", missing).findings("shared_mailbox") == [], missing
    assert named("Ann Lee", "Bob Hall", "Ann Hall").findings("shared_mailbox") == []
    assert len(named("Ann Lee", "Bob Hall", None).findings("shared_mailbox")) == 1


def test_shared_mailbox_fires_for_a_role_under_several_names_even_of_one_family() -> None:
    assert len(named("Ann Lee", "Bob Lee", email="info@example.com").findings("shared_mailbox")) == 1
    assert named("Ann Lee", "lee ann", email="info@example.com").findings("shared_mailbox") == []
    assert named("Ann Lee", "Bob Lee", email="information@example.com").findings("shared_mailbox") == []
    crm = named("Ann Lee", "Bob Lee", email="front.desk@example.com")
    crm.policy = crm.policy.model_validate({"policy": {"role_mailboxes": ["Front.Desk"]}})
    assert len(crm.findings("shared_mailbox")) == 1


def test_nobody_is_told_to_merge_a_shared_mailbox() -> None:
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, name="Bob Hall", modified=day(20), fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    crm.lead(3, email="b@example.com")
    crm.lead(4, email="b@example.com", name="Bob Hall")
    crm.lead(5, email="c@example.com")
    crm.lead(6, email="c@example.com", name="Bob Hall")
    crm.contact("102", email="c@example.com")
    actions = {finding["check_name"]: finding["action"] for finding in crm.findings()}
    assert {"unsafe_duplicate", "switch_imminent", "latent_duplicate", "ambiguous_first_binding", "shared_mailbox"} <= actions.keys()
    assert not [action for action in actions.values() if "an e-mail of its own" not in action]


def test_hidden_duplicate_fires_once_for_a_mailbox_with_several_addresses() -> None:
    crm = Crm()
    crm.lead(1, email="ann.lee@gmail.com")
    crm.salesforce_contact(2, email="AnnLee+news@googlemail.com")
    crm.lead(3, email="a.n.n.lee@gmail.com")
    finding = one(crm, "hidden_duplicate")
    assert (finding["salesforce_id"], finding["email"]) == (contact_id(2), "annlee@gmail.com")
    assert finding["rival_ids"] == [BOUND, lead_id(3)]


@pytest.mark.parametrize(
    ("one_email", "other_email"),
    [
        ("ann.lee@outlook.com", "annlee@outlook.com"),
        ("ann@example.com", "ann+news@example.com"),
        ("ann@proton.me", "ann+x@protonmail.com"),
        ("ann@gmail.com", "ANN@gmail.com"),
        ("+a@gmail.com", "+b@gmail.com"),
        ("ann@gmail.com", None),
    ],
)
def test_hidden_duplicate_knows_no_rule_beyond_the_providers_own(one_email: str, other_email: str | None) -> None:
    crm = Crm()
    crm.lead(1, email=one_email)
    crm.lead(2, email=other_email)
    assert crm.findings("hidden_duplicate") == []


@pytest.mark.parametrize("domain", ["outlook.com", "hotmail.com", "live.com", "icloud.com", "proton.me", "protonmail.com", "fastmail.com"])
def test_hidden_duplicate_takes_plus_tags_off_where_the_provider_does_and_ignores_who_is_gone(domain: str) -> None:
    crm = Crm()
    crm.lead(1, email=f"ann@{domain}")
    crm.lead(2, email=f"ann+x@{domain}", deleted=True)
    assert crm.findings("hidden_duplicate") == []
    crm.lead(3, email=f"ann+y@{domain}")
    assert len(crm.findings("hidden_duplicate")) == 1


def test_unsafe_and_switchable_duplicate_exclude_each_other_and_need_a_rival_with_the_primary_email() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND)  # the rival would only fill a gap
    assert crm.findings("unsafe_duplicate") == []
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    assert crm.findings("switchable_duplicate") == []
    crm = Crm()
    crm.lead(2, email="second@example.com", fields={"Title": "Buyer"})
    crm.contact(bound=crm.lead(1), additional="second@example.com", properties={"jobtitle": "CEO"})
    assert crm.findings("unsafe_duplicate") == []
    assert crm.findings("switchable_duplicate") == []
