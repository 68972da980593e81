"""What practitioners tell of the integration, as scenarios: each is played in the sandbox, pulled, predicted from, and played on."""

from typing import Any

import pytest

from assets.policy import Knobs
from sandbox.users import INTEGRATION_USER
from sandbox.world import HubSpotContact, SalesforceRecord
from tests.agreement import Pulled
from tests.portal import ANN, Portal

BOB = "bob@example.com"


class Scenario(Portal):
    """A portal whose two CRMs are pulled and modelled whenever somebody looks."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**({"on_contact_deleted": "keep"} | settings))
        knobs = {name: value for name in Knobs.model_fields if (value := getattr(self.settings, name, None)) is not None}
        self._pulled = Pulled(knobs | {"integration_user_id": INTEGRATION_USER}, self.settings.field_rules)

    def look(self) -> "Scenario":
        """Pulls and builds the models."""
        self._pulled.pull([self.world], self.world.now)
        return self

    def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        return [row for row in self._pulled.rows(table) if all(row[name] == value for name, value in where.items())]

    def predicted(self, contact: HubSpotContact) -> tuple[str, str | None, int]:
        """prediction, predicted id and rule, as the models say now."""
        (row,) = self.look().rows("core.binding", hubspot_contact_id=contact.id)
        return row["prediction"], row["predicted_id"], row["rule"]

    def history(self, contact: HubSpotContact) -> list[tuple[str, str | None, str | None]]:
        """cause, from and to of every change of the binding, in order."""
        rows = sorted(self.look().rows("core.switch_event", hubspot_contact_id=contact.id), key=lambda row: row["switched_at"])
        return [(row["cause"], row["from_id"], row["to_id"]) for row in rows]

    def effects(self, contact: HubSpotContact, rival: SalesforceRecord) -> dict[str, str]:
        """What a switch to the rival would do, by property."""
        return {row["property"]: row["effect"] for row in self.look().rows("core.overwrite", hubspot_contact_id=contact.id, rival_id=rival.id)}

    def outcome_of_merge(self, loser: SalesforceRecord) -> str:
        (row,) = self.look().rows("core.merge_event", loser_id=loser.id)
        return str(row["outcome"])


# ── first sync ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_sync_goes_to_the_oldest_over_leads_and_contacts() -> None:
    scenario = Scenario(salesforce_creates="none")
    oldest = scenario.salesforce_contact()
    scenario.lead()
    scenario.salesforce_contact()
    contact = scenario.contact()
    assert scenario.predicted(contact) == ("bind", oldest.id, 7)
    scenario.poll()
    assert contact.bound_id == oldest.id
    assert scenario.history(contact) == [("first_binding", None, oldest.id)]


@pytest.mark.parametrize(("setting", "prediction", "prefix"), [("lead", "create_lead", "00Q"), ("contact", "create_contact", "003"), ("none", "none", None)])
def test_nobody_is_found_and_a_lead_or_a_contact_or_nothing_is_created(setting: str, prediction: str, prefix: str | None) -> None:
    scenario = Scenario(create_object=setting)
    contact = scenario.contact()
    assert scenario.predicted(contact) == (prediction, None, 6)
    scenario.poll()
    assert (contact.bound_id or "")[:3] == (prefix or "")
    assert scenario.predicted(contact)[0] == ("keep" if prefix else "none")


# ── the duplicate switch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_duplicate_switch_and_back_again() -> None:
    scenario = Scenario()
    contact, lead = scenario.bound_contact(Title="CEO")
    rival = scenario.salesforce_contact(Title="Buyer")
    assert scenario.predicted(contact) == ("switch", rival.id, 11)
    assert scenario.effects(contact, rival) == {"jobtitle": "overwrite", "company": "fill"}
    scenario.poll()
    assert (contact.bound_id, contact.value("jobtitle")) == (rival.id, "Buyer")
    scenario.edit(lead, Phone="1")
    assert scenario.predicted(contact) == ("switch", lead.id, 11)
    scenario.poll()
    assert contact.value("jobtitle") == "CEO"
    assert [entry[0] for entry in scenario.history(contact)] == ["first_binding", "duplicate_switch", "duplicate_switch"]
    values = {(row["property"], row["value_before"], row["value_after"]) for row in scenario.rows("core.overwritten_value", hubspot_contact_id=contact.id)}
    assert values == {("jobtitle", "CEO", "Buyer"), ("jobtitle", "Buyer", "CEO")}


@pytest.mark.parametrize(("rule", "filled", "blank"), [
    ("prefer_salesforce", "overwrite", "backfill"), ("always_salesforce", "overwrite", None), ("two_way", "overwrite", None), ("none", None, None),
])  # fmt: skip
def test_fields_are_overwritten_back_filled_or_left_alone_by_their_mapping_rule(rule: str, filled: str | None, blank: str | None) -> None:
    scenario = Scenario(field_rules={"jobtitle": rule, "phone": rule, "fax": rule})
    lead = scenario.lead(Title="CEO", Phone="1", Fax="5")
    scenario.poll()
    contact = scenario.of(ANN)
    scenario.world.write(contact, {"jobtitle": "CEO", "phone": "1", "fax": "5"}, "IMPORT")
    scenario.poll()
    rival = scenario.salesforce_contact(Title="Buyer", Phone=None, Fax=" 5 ")
    told = scenario.effects(contact, rival)
    assert (told.get("jobtitle"), told.get("phone"), told.get("fax")) == (filled, blank, None)
    scenario.poll()
    assert contact.bound_id == rival.id
    assert contact.value("jobtitle") == ("Buyer" if filled else "CEO")
    assert (contact.value("phone"), rival.fields["Phone"]) == ("1", "1" if blank == "backfill" else None)
    assert contact.value("fax") == "5"
    assert lead.fields["Title"] == "CEO"


def test_an_opt_out_that_the_duplicate_does_not_know_of_stays() -> None:
    scenario = Scenario()
    contact, _ = scenario.bound_contact(HasOptedOutOfEmail="true")
    scenario.salesforce_contact(HasOptedOutOfEmail="false")
    assert scenario.look().rows("core.overwrite", property="hs_email_optout") == []
    scenario.poll()
    assert contact.value("hs_email_optout") == "true"


def test_where_the_opt_out_goes_both_ways_one_that_the_duplicate_does_not_know_of_is_lost_in_the_switch() -> None:
    scenario = Scenario(opt_out="as_mapped")
    contact, _ = scenario.bound_contact(HasOptedOutOfEmail="true")
    rival = scenario.salesforce_contact(HasOptedOutOfEmail="false")
    (row,) = scenario.look().rows("core.overwrite", property="hs_email_optout")
    assert (row["rival_id"], row["effect"], row["consent"], row["hubspot_value"], row["salesforce_value"]) == (rival.id, "overwrite", True, "true", "false")
    scenario.poll()
    assert contact.value("hs_email_optout") == "false"


# ── conversion ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversion_into_a_new_contact_takes_the_binding_along() -> None:
    scenario = Scenario()
    contact, lead = scenario.bound_contact()
    scenario.pass_time()
    into = scenario.world.convert_lead(lead)
    assert scenario.predicted(contact) == ("switch", into.id, 29)
    scenario.poll()
    assert scenario.history(contact)[-1] == ("lead_conversion", lead.id, into.id)
    assert scenario.predicted(contact) == ("keep", into.id, 15)


def test_a_conversion_into_an_existing_contact_ends_the_duplicate() -> None:
    scenario = Scenario()
    contact, lead = scenario.bound_contact(Title="CEO")
    existing = scenario.salesforce_contact(Title="Buyer")
    scenario.poll()
    scenario.edit(lead, Phone="1")
    scenario.poll()
    assert len(scenario.look().rows("core.duplicate_cluster")) == 1
    scenario.pass_time()
    scenario.world.convert_lead(lead, existing)
    assert scenario.predicted(contact) == ("switch", existing.id, 29)
    assert scenario.rows("core.duplicate_cluster") == []
    scenario.poll()
    assert (contact.bound_id, contact.value("jobtitle"), existing.fields["Phone"]) == (existing.id, "Buyer", "1")


# ── merges ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_two_leads(**settings: Any) -> tuple[Scenario, HubSpotContact, SalesforceRecord, SalesforceRecord]:
    """A contact, its Lead, and a duplicate Lead; the binding is on the first."""
    scenario = Scenario(**settings)
    contact, bound = scenario.bound_contact()
    rival = scenario.lead()
    scenario.poll()
    scenario.edit(bound, Phone="1")
    scenario.poll()
    assert contact.bound_id == bound.id
    scenario.pass_time()
    return scenario, contact, bound, rival


def test_a_merge_into_the_bound_record_is_the_safe_way_round() -> None:
    scenario, contact, bound, rival = with_two_leads()
    scenario.world.merge_records(bound, [rival])
    assert scenario.predicted(contact) == ("keep", bound.id, 15)
    scenario.poll()
    assert contact.bound_id == bound.id
    assert scenario.outcome_of_merge(rival) == "safe"


def test_a_merge_away_from_the_bound_record_breaks_the_sync_where_salesforce_may_not_delete() -> None:
    scenario, contact, bound, rival = with_two_leads(rematch_after_loss="none")
    scenario.world.merge_records(rival, [bound])
    assert scenario.outcome_of_merge(bound) == "pending"
    scenario.poll()
    scenario.pass_time()
    scenario.edit(rival, Title="x")
    assert contact.bound_id == bound.id
    assert scenario.outcome_of_merge(bound) == "sync_broken"
    assert scenario.errors == ["Merged in Salesforce"]


def test_a_merge_away_from_the_bound_record_deletes_the_contact_where_salesforce_may() -> None:
    scenario, contact, bound, rival = with_two_leads(on_lead_deleted="delete")
    scenario.world.merge_records(rival, [bound])
    assert scenario.predicted(contact) == ("none", None, 33)
    scenario.poll()
    assert contact.archived_at is not None
    assert scenario.outcome_of_merge(bound) == "contact_deleted"


def test_a_merge_away_is_healed_where_the_next_trigger_matches_by_email_again() -> None:
    scenario, contact, bound, rival = with_two_leads()
    scenario.world.merge_records(rival, [bound])
    assert scenario.predicted(contact) == ("bind", rival.id, 33)
    scenario.poll()
    assert contact.bound_id == rival.id
    assert scenario.outcome_of_merge(bound) == "rebound"
    assert scenario.history(contact)[-1] == ("salesforce_merge", bound.id, rival.id)


def test_a_chain_of_merges_ends_at_the_last_survivor() -> None:
    scenario, contact, bound, second = with_two_leads()
    third = scenario.lead("third@example.com")
    scenario.poll()
    scenario.world.merge_records(second, [bound])
    scenario.pass_time(minutes=1)
    scenario.world.merge_records(third, [second])
    scenario.look()
    people = {row["record_id"]: row["survivor_id"] for row in scenario.rows("core.salesforce_person")}
    assert people == {bound.id: third.id, second.id: third.id, third.id: None}
    assert scenario.predicted(contact)[0] == "create_lead"  # nobody with that e-mail is left
    scenario.edit_contact(contact, phone="2")
    scenario.poll()
    assert contact.bound_id not in (bound.id, second.id, third.id)
    assert scenario.outcome_of_merge(bound) == "moved"


def test_an_undelete_brings_the_duplicate_back_and_it_takes_over() -> None:
    scenario, contact, bound, rival = with_two_leads()
    scenario.world.merge_records(bound, [rival])
    scenario.poll()
    scenario.look()
    assert scenario.rows("core.duplicate_cluster") == []
    scenario.pass_time()
    scenario.world.undelete_record(rival)
    assert scenario.predicted(contact) == ("switch", rival.id, 11)
    assert len(scenario.rows("core.duplicate_cluster")) == 1
    scenario.poll()
    assert contact.bound_id == rival.id


# ── HubSpot's side ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hubspot_merge_of_two_bound_contacts_orphans_one_record() -> None:
    scenario = Scenario()
    ann, lead = scenario.bound_contact(ANN)
    bob, other = scenario.bound_contact(BOB)
    scenario.pass_time()
    merged = scenario.world.merge_contacts(ann, bob)
    assert scenario.predicted(merged) == ("keep", lead.id, 15)
    states = {row["contact_id"]: (row["state"], row["merged_into_id"]) for row in scenario.rows("core.hubspot_contact")}
    assert states == {merged.id: ("live", None)}  # the two were never pulled under their old ids
    (row,) = scenario.rows("core.hubspot_contact")
    assert row["additional_emails"] == [BOB]
    scenario.edit(other, Title="x")
    scenario.poll()
    assert merged.bound_id == lead.id


def test_an_email_that_another_contact_has_draws_the_record_away() -> None:
    scenario = Scenario()
    ann, lead = scenario.bound_contact(ANN)
    bob, _ = scenario.bound_contact(BOB)
    scenario.edit(lead, Email=BOB)
    assert scenario.predicted(bob) == ("switch", lead.id, 11)
    assert scenario.predicted(ann) == ("keep", lead.id, 15)
    scenario.poll()
    assert (ann.bound_id, bob.bound_id) == (lead.id, lead.id)


def test_a_form_that_flips_the_primary_email_changes_what_matches() -> None:
    scenario = Scenario(email_rule="two_way")
    ann, lead = scenario.bound_contact(ANN)
    bob, other = scenario.bound_contact(BOB)
    merged = scenario.world.merge_contacts(ann, bob)
    scenario.pass_time()
    scenario.world.submit_form_with_additional_email(merged, BOB)
    scenario.edit(other, Title="x")
    assert scenario.predicted(merged) == ("switch", other.id, 11)
    scenario.poll()
    assert merged.bound_id == other.id
    assert scenario.history(merged)[-1] == ("duplicate_switch", lead.id, other.id)


# ── who is left out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_outside_the_inclusion_list_nothing_moves_until_the_contact_enters() -> None:
    scenario = Scenario(inclusion_list_id="7")
    contact, lead = scenario.bound_contact(Title="CEO")
    rival = scenario.salesforce_contact(Title="Buyer")
    assert scenario.predicted(contact) == ("keep", lead.id, 21)
    assert scenario.effects(contact, rival) == {}
    scenario.poll()
    assert contact.bound_id == lead.id
    scenario.world.enter_list("7", contact)
    assert scenario.predicted(contact) == ("switch", rival.id, 11)
    scenario.poll()
    assert contact.bound_id == rival.id


def test_a_record_that_the_integration_user_cannot_see_is_no_rival() -> None:
    scenario = Scenario()
    contact, lead = scenario.bound_contact()
    scenario.pass_time()
    scenario.world.create_record("Lead", {"Email": ANN, "Title": "Newest"}, is_visible=False)
    assert scenario.predicted(contact) == ("keep", lead.id, 15)
    assert scenario.rows("core.duplicate_cluster") == []
    scenario.poll()
    assert contact.bound_id == lead.id
