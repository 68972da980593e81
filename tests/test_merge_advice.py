"""The run-book of a cluster: the steps with the least damage, in their order (docs/prediction.md)."""

from typing import Any

import pytest

from assets.policy import Policy
from tests.crm import BOUND, RIVAL, Crm, contact_id, day, duplicates, lead_id

K1, K2 = contact_id(1), contact_id(2)


def steps(crm: Crm) -> list[tuple[str, str | None, str | None]]:
    """(action, master, loser) of each step, in order."""
    rows = crm.build().rows("select * from core.merge_advice order by email, step")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [(row["action"], row["master_id"], row["loser_id"]) for row in rows]


def row_of(crm: Crm) -> dict[str, Any]:
    (row,) = crm.build().rows("core.merge_advice")
    return row


def test_the_bound_record_is_the_master_although_it_is_neither_oldest_nor_newest() -> None:
    crm = duplicates()
    crm.lead(3, created=day(2), modified=day(6))
    crm.contact(bound=RIVAL, synced=day(12))
    assert steps(crm) == [("merge", RIVAL, BOUND), ("merge", RIVAL, lead_id(3))]
    assert {row["hubspot_contact_id"] for row in crm.rows("core.merge_advice")} == {"101"}


def test_the_least_recently_updated_goes_first_and_a_merge_takes_two_losers() -> None:
    crm = duplicates()
    for number, modified in ((3, 2), (4, 9), (5, 8)):
        crm.lead(number, modified=day(modified))
    crm.contact(bound=BOUND, synced=day(12))
    assert steps(crm) == [("merge", BOUND, lead_id(number)) for number in (3, 2, 5, 4)]
    assert [row["merge_no"] for row in crm.rows("select * from core.merge_advice order by step")] == [1, 1, 2, 2]


def test_a_lead_is_converted_into_the_bound_contact_before_contacts_are_merged() -> None:
    crm = Crm()
    crm.salesforce_contact(1)
    crm.salesforce_contact(2, modified=day(0))
    crm.lead(1)
    crm.contact(bound=K1)
    assert steps(crm) == [("convert", K1, lead_id(1)), ("merge", K1, K2)]


def test_a_bound_lead_is_converted_first_so_that_the_binding_moves_along() -> None:
    crm = Crm()
    crm.lead(1, modified=day(5))
    crm.lead(2, modified=day(1))
    crm.salesforce_contact(1, created=day(4), fields={"Title": "Buyer"})
    crm.salesforce_contact(2, created=day(5))
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, synced=day(12))
    # the Contact whose values differ least is the one that is kept
    assert steps(crm) == [("convert", K2, BOUND), ("convert", K2, RIVAL), ("merge", K2, K1)]
    assert crm.rows("select * from core.merge_advice where step = 1")[0]["reason"].endswith("the binding moves along (rule 29).")


def test_values_that_a_conversion_replaces_are_named() -> None:
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.salesforce_contact(1, fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, synced=day(12))
    row = row_of(crm)
    assert row["reason"].endswith(f'Then enter the right values in {K1}, because its own win: jobtitle "CEO".')
    assert (row["enter_after"], row["enter_values"]) == (["jobtitle"], [{"property": "jobtitle", "value": "CEO", "source": "hubspot"}])


def test_what_somebody_typed_last_is_what_is_entered_wherever_it_was_typed() -> None:
    def entered(typed_in_hubspot: float, typed_in_salesforce: float) -> list[dict[str, Any]]:
        crm = Crm()
        crm.lead(1, fields={"Title": "Partner"})
        crm.salesforce_contact(1, fields={"Title": "Buyer"})
        crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, synced=day(12))
        crm.history("101", "jobtitle", (day(typed_in_hubspot), "CEO", "CRM_UI"))
        crm.connection.execute(
            """insert into raw.salesforce_field_history by name select 'h1' as history_id, $id as record_id, 'Lead' as object_type, 'Title' as field,
               $at as changed_at, '0055e000000Usr1AAA' as changed_by_id, 'Owner' as old_value, 'Partner' as new_value, 'x' as pull""",
            {"id": BOUND, "at": day(typed_in_salesforce)},
        )
        values: list[dict[str, Any]] = row_of(crm)["enter_values"]
        return values

    assert entered(9, 8) == [{"property": "jobtitle", "value": "CEO", "source": "typed"}]
    assert entered(8, 9) == [{"property": "jobtitle", "value": "Partner", "source": "typed"}]


def test_consent_is_entered_before_a_conversion_never_after_it() -> None:
    crm = Crm(opt_out="as_mapped")
    crm.lead(1, fields={"Title": "CEO", "HasOptedOutOfEmail": "true"})
    crm.salesforce_contact(1, fields={"Title": "Buyer", "HasOptedOutOfEmail": "false"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", "hs_email_optout": "true"}, synced=day(12))
    row = row_of(crm)
    assert (row["enter_before"], row["enter_after"]) == (["hs_email_optout"], ["jobtitle"])
    assert f"save {BOUND} right after it, so that the binding stays" in row["reason"]


def test_without_a_contact_in_hubspot_the_oldest_stays_or_the_oldest_contact_by_policy() -> None:
    def latent(**knobs: Any) -> Crm:
        crm = Crm(**knobs)
        crm.salesforce_contact(1, created=day(3))
        crm.salesforce_contact(2, created=day(2))
        return crm

    assert steps(latent()) == [("merge", K2, K1)]
    crm = latent(first_sync="contact_first")
    crm.lead(1)
    assert steps(crm) == [("convert", K2, lead_id(1)), ("merge", K2, K1)]
    assert row_of(latent())["reason"].endswith("No contact is bound to either.")


def test_an_unbound_contact_keeps_what_it_will_be_bound_to() -> None:
    crm = duplicates()
    crm.contact()
    assert steps(crm) == [("merge", BOUND, RIVAL)]


def test_people_who_share_a_mailbox_are_not_merged_but_get_an_e_mail_each() -> None:
    crm = Crm()
    crm.lead(1, name="Ann Lee")
    crm.lead(2, name="Raj Haas")
    crm.contact(bound=BOUND)
    assert steps(crm) == [("change_email", BOUND, RIVAL)]


def test_what_another_contact_is_bound_to_is_not_removed() -> None:
    crm = duplicates()
    crm.lead(3, modified=day(3))
    crm.contact(bound=BOUND, synced=day(12))
    crm.contact("102", bound=RIVAL, email="other@example.com", additional="ann@example.com")
    assert steps(crm) == [("merge", BOUND, lead_id(3)), ("manual", BOUND, None)]
    assert "102" in crm.rows("select * from core.merge_advice where action = 'manual'")[0]["reason"]


def test_a_bound_lead_that_two_contacts_share_is_not_converted() -> None:
    crm = Crm()
    crm.lead(1)
    crm.salesforce_contact(1)
    crm.contact(bound=BOUND)
    crm.contact("102", bound=BOUND, email="other@example.com")
    assert steps(crm) == [("manual", K1, None)]


@pytest.mark.parametrize(("additional", "action"), [("", "manual"), ("ann@example.com", "convert")])
def test_a_lead_is_not_converted_into_a_contact_that_hangs_on_somebody_with_another_e_mail(additional: str, action: str) -> None:
    """HubSpot meets the Contact anew, finds nobody with its e-mail, and makes a second contact that is bound to it (rule 9)."""
    crm = Crm()
    crm.salesforce_contact(1)
    crm.lead(1)
    crm.contact(bound=K1, email="other@example.com", additional=additional)
    assert [step[:2] for step in steps(crm)] == [(action, K1)]
    words = crm.rows("core.merge_advice")[0]["reason"]
    assert ("second contact" in words) == (action == "manual")


def test_a_lead_is_not_converted_into_what_another_contact_is_bound_to_while_the_one_with_its_e_mail_has_none() -> None:
    crm = Crm()
    crm.salesforce_contact(1)
    crm.lead(1, created=day(5))
    crm.contact()
    crm.contact("102", bound=K1, email="other@example.com", additional="ann@example.com")
    assert steps(crm) == [("manual", K1, None)]


def test_a_contact_bound_to_a_record_with_another_e_mail_comes_before_any_merge() -> None:
    crm = duplicates()
    crm.lead(9, email="other@example.com")
    crm.contact(bound=lead_id(9))
    assert steps(crm) == [("manual", None, None)]


def test_where_the_bound_record_is_gone_the_predicted_one_is_the_master() -> None:
    crm = duplicates()
    crm.lead(9, deleted=True)
    crm.contact(bound=lead_id(9))
    assert steps(crm) == [("merge", BOUND, RIVAL)]


def test_a_single_record_needs_no_run_book() -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    assert steps(crm) == []


def test_what_the_master_lacks_is_entered_before_a_loser_fills_it_with_something_else() -> None:
    """Under "always use Salesforce" HubSpot's value never reaches the bound record; a merge fills the blank, and the next sync takes it over."""
    crm = duplicates(rival_fields={"Fax": "2"})
    crm.policy = Policy.model_validate({"mapping": [{"hubspot": "fax", "salesforce": "Fax", "rule": "always_salesforce"}]})
    crm.contact(bound=BOUND, properties={"fax": "1"}, synced=day(12))
    row = row_of(crm)
    assert (row["action"], row["enter_before"], row["enter_after"]) == ("merge", ["fax"], [])
    assert row["reason"].startswith(f'First enter HubSpot\'s fax "1" in {BOUND}: it is blank there, and {RIVAL} would fill it. Merge {RIVAL}')


def test_the_binding_of_a_contact_outside_the_inclusion_list_does_not_follow_a_conversion() -> None:
    crm = Crm(inclusion_list_id="7")
    crm.lead(1)
    crm.lead(2)
    crm.salesforce_contact(1)
    crm.contact(bound=BOUND)
    assert steps(crm) == [("merge", BOUND, RIVAL), ("manual", BOUND, None)]
    assert "Put it into the list first" in crm.rows("select reason from core.merge_advice where action = 'manual'")[0]["reason"]


def test_an_additional_e_mail_that_matches_draws_a_contact_away_from_its_record() -> None:
    crm = Crm(secondary_email_matches=True)
    crm.lead(9, email="main@example.com")
    crm.lead(1)
    crm.lead(2)
    crm.contact(email="main@example.com", additional="ann@example.com", bound=lead_id(9), synced=day(12))
    own = "select action, master_id, loser_id from core.merge_advice where email = 'main@example.com' order by step"
    merges = [{"action": "merge", "master_id": lead_id(9), "loser_id": loser} for loser in (BOUND, RIVAL)]
    assert crm.build().rows(own) == merges, "all three have its addresses: one person, and what is bound stays"
    (row,) = crm.rows("select * from core.merge_advice where email = 'ann@example.com'")
    assert (row["action"], row["master_id"], row["loser_id"]) == ("manual", None, None)
    assert "part of its own run-book" in row["reason"]
    crm = Crm()
    crm.lead(9, email="main@example.com")
    crm.lead(1)
    crm.lead(2)
    crm.contact(email="main@example.com", additional="ann@example.com", bound=lead_id(9), synced=day(12))
    assert steps(crm) == [("merge", BOUND, RIVAL)], "where only the primary e-mail matches, nothing can be drawn away"


# ── rivals without a cluster ─────────────────────────────────────────────────────────────────────────────────────────────────────


def bound_elsewhere(email: str | None, additional: str = "", name: str = "Ann Lee", **rival: Any) -> Crm:
    """A contact bound to a Lead that has another e-mail, or none; one Lead has the contact's own."""
    crm = Crm()
    crm.lead(1, email=email, modified=day(5))
    crm.lead(2, name=name, modified=day(4), **rival)
    crm.contact(bound=BOUND, additional=additional, synced=day(12))
    return crm


@pytest.mark.parametrize(("email", "additional"), [("old@example.com", "old@example.com"), (None, "")])
def test_a_rival_of_a_record_with_another_address_of_the_contact_or_none_is_merged_into_it(email: str | None, additional: str) -> None:
    crm = bound_elsewhere(email, additional)
    assert steps(crm) == [("merge", BOUND, RIVAL)]
    assert crm.rows("select email, book from core.merge_advice") == [{"email": "ann@example.com", "book": "#101"}]


@pytest.mark.parametrize(
    ("email", "additional", "name"),
    [("stranger@example.com", "", "Ann Lee"), ("old@example.com", "old@example.com", "Bob Hall"), (None, "", "Bob Hall")],
)
def test_a_strangers_record_is_never_merged(email: str | None, additional: str, name: str) -> None:
    crm = bound_elsewhere(email, additional, name)
    assert steps(crm) == [("manual", None, None)]
    (row,) = crm.rows("core.merge_advice")
    assert f"Check whose record {BOUND} is" in row["reason"]
    assert RIVAL in row["reason"]


@pytest.mark.parametrize("name", ["Ann Lee", "Bob Hall"])
def test_a_lead_that_became_a_contact_with_another_e_mail_is_asked_about_before_its_rival_is_touched(name: str) -> None:
    crm = Crm()
    kept = crm.salesforce_contact(9, email="new@example.com")
    crm.lead(1, converted_to=kept)
    crm.lead(2, name=name)
    crm.contact(bound=BOUND)
    assert steps(crm) == [("manual", None, None)]
    (row,) = crm.rows("core.merge_advice")
    assert f"Contact 101 will be bound to {kept}, " in row["reason"]
    assert row["reason_de"].startswith(f"Kontakt 101 wird mit {kept} verknüpft, ")
    assert RIVAL in row["reason"]
    assert {row["action"] for row in crm.findings() if row["check_name"] in ("unsafe_duplicate", "switchable_duplicate")} == {row["reason"]}


def test_a_lead_that_became_a_contact_with_another_address_of_the_person_takes_its_rival_in() -> None:
    crm = Crm()
    kept = crm.salesforce_contact(9, email="new@example.com")
    crm.lead(1, converted_to=kept)
    crm.lead(2)
    crm.contact(bound=BOUND, additional="new@example.com")
    assert steps(crm) == [("convert", kept, RIVAL)]


@pytest.mark.parametrize(("first_sync", "words"), [("oldest_created", f"will be bound to {BOUND}"), ("unknown", f"could be bound to any of {BOUND}, {RIVAL}")])
def test_records_of_two_people_at_the_addresses_of_an_unbound_contact_are_asked_about(first_sync: str, words: str) -> None:
    crm = Crm(secondary_email_matches=True, first_sync=first_sync)
    crm.lead(1)
    crm.lead(2, email="old@example.com", name="Bob Hall", created=day(3))
    crm.contact(additional="old@example.com", properties={"firstname": "Carla", "lastname": "Ruiz"})
    assert steps(crm) == [("manual", None, None)]
    assert words in crm.rows("core.merge_advice")[0]["reason"]


def test_a_rival_that_another_contact_is_bound_to_stays() -> None:
    crm = bound_elsewhere("old@example.com", "old@example.com")
    crm.contact("102", email="other@example.com", bound=RIVAL, synced=day(12))
    assert steps(crm) == [("manual", BOUND, None)]
