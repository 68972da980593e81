"""The rules of the integration, one after the other: a state, an event, and the state that follows.

The numbers are those of docs/integration.md. Where a rule leaves the outcome open, the test asks for every outcome.
"""

import copy
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.events import Event, bindings, is_order_sensitive, play_log
from sandbox.integration import catch_up, poll, possible_outcomes
from sandbox.portal import OWNER, PortalSettings
from sandbox.rulebook import RULEBOOK, rule
from sandbox.rules import InvalidState, due_at, orphans
from sandbox.users import INTEGRATION_USER
from sandbox.world import HubSpotContact, World
from tests.portal import ANN, START, Portal

BOB = "bob@example.com"


def outcomes(portal: Portal, contact: HubSpotContact) -> set[str | None]:
    """What the contact may be bound to after the next poll; "archived" where it may be gone."""
    portal.pass_time(minutes=15)
    found = [world.contacts[contact.id] for world in possible_outcomes(portal.world, portal.settings)]
    return {"archived" if after.archived_at else after.bound_id for after in found}


# ── who may sync, and what matches ───────────────────────────────────────────────────────────────────────────────────────────────


def test_rule_01_a_contact_without_an_email_stays_unbound_and_nothing_is_created() -> None:
    portal = Portal()
    contact = portal.contact(email="")
    portal.poll()
    assert (contact.bound_id, portal.world.records) == (None, {})


def test_rule_02_a_record_without_an_email_changes_nothing_in_hubspot() -> None:
    portal = Portal()
    record = portal.lead(email=None)
    portal.poll()
    portal.edit(record, Title="CEO")
    portal.poll()
    assert portal.world.contacts == {}


def test_rule_03_case_and_space_do_not_matter() -> None:
    portal = Portal()
    lead = portal.lead("Ann@Example.com ")
    contact = portal.contact(ANN)
    portal.poll()
    assert contact.bound_id == lead.id


def test_rule_04_equal_names_with_different_emails_are_two_contacts() -> None:
    portal = Portal()
    portal.lead(ANN, FirstName="Ann")
    portal.lead(BOB, FirstName="Ann")
    portal.poll()
    assert portal.of(ANN).bound_id != portal.of(BOB).bound_id


def test_rule_05_the_only_match_is_bound_and_nothing_is_created() -> None:
    portal = Portal(salesforce_creates="none")
    lead = portal.lead()
    portal.poll()
    contact = portal.contact()
    portal.poll()
    assert contact.bound_id == lead.id
    assert len(portal.world.records) == 1


@pytest.mark.parametrize(("setting", "prefix"), [("lead", "00Q"), ("contact", "003"), ("none", None)])
def test_rule_06_without_a_match_a_record_with_the_contacts_values_is_created_by_setting(setting: str, prefix: str | None) -> None:
    portal = Portal(create_object=setting)
    contact = portal.contact(jobtitle="CEO")
    portal.poll()
    assert (contact.bound_id or "")[:3] == (prefix or "")
    assert [record.fields["Title"] for record in portal.world.records.values()] == (["CEO"] if prefix else [])


@pytest.mark.parametrize(("setting", "expected"), [("oldest_created", {0}), ("contact_first", {1}), ("unknown", {0, 1, 2})])
def test_rule_07_of_several_matches_the_oldest_or_the_oldest_contact_or_nobody_knows(setting: str, expected: set[int]) -> None:
    portal = Portal(first_sync=setting, salesforce_creates="none")
    found = [portal.lead(), portal.salesforce_contact(), portal.salesforce_contact()]
    portal.poll()
    assert outcomes(portal, portal.contact()) == {found[number].id for number in expected}


def test_rule_07_records_of_one_moment_are_taken_by_their_ids() -> None:
    portal = Portal(salesforce_creates="none")
    ids = [portal.world.create_record("Lead", {"Email": ANN}).id for _ in range(3)]
    contact = portal.contact()
    portal.poll()
    assert contact.bound_id == min(ids)


# ── new records ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rule_08_a_new_record_binds_the_unbound_contact_also_outside_the_list() -> None:
    portal = Portal(inclusion_list_id="7")
    contact = portal.contact()
    portal.poll()
    assert contact.bound_id is None
    lead = portal.lead()
    portal.poll()
    assert contact.bound_id == lead.id


def test_rule_09_a_new_record_makes_a_contact_also_outside_the_list_and_later_updates_wait() -> None:
    portal = Portal(inclusion_list_id="7")
    contact, lead = portal.bound_contact(Title="CEO")
    portal.edit(lead, Title="CTO")
    portal.poll()
    assert contact.value("jobtitle") == "CEO"


@pytest.mark.parametrize(("setting", "made"), [("all", 2), ("leads_only", 1), ("none", 0)])
def test_rule_10_the_setting_says_which_objects_make_contacts(setting: str, made: int) -> None:
    portal = Portal(salesforce_creates=setting)
    portal.lead(ANN)
    portal.salesforce_contact(BOB)
    portal.poll()
    assert len(portal.world.contacts) == made


# ── the duplicate switch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_rival(**settings: Any) -> tuple[Portal, HubSpotContact, Any, Any]:
    """A contact, its Lead, and a Contact with the same e-mail that HubSpot has seen; the binding is back on the Lead."""
    portal = Portal(**settings)
    contact, lead = portal.bound_contact(Title="CEO", Phone="1")
    rival = portal.salesforce_contact(Title="Buyer")
    portal.poll()
    if settings.get("follow_up") != "sticky":
        portal.edit(lead, Fax="9")
        portal.poll()
    assert contact.bound_id == lead.id
    return portal, contact, lead, rival


def test_rule_11_the_duplicate_that_was_updated_last_takes_over_and_back_again() -> None:
    portal, contact, lead, rival = with_rival()
    portal.edit(rival, Title="Head of Buying")
    portal.poll()
    assert (contact.bound_id, contact.value("jobtitle")) == (rival.id, "Head of Buying")
    portal.edit(lead, Fax="1")
    portal.poll()
    assert (contact.bound_id, contact.value("jobtitle")) == (lead.id, "CEO")


def test_rule_11_a_sticky_integration_stays() -> None:
    portal, contact, lead, rival = with_rival(follow_up="sticky")
    portal.edit(rival, Title="Head of Buying")
    portal.poll()
    assert (contact.bound_id, contact.value("jobtitle")) == (lead.id, "CEO")


@pytest.mark.parametrize(("recency", "jumps"), [("system_modstamp", True), ("last_modified_date", False)])
def test_rule_11_automation_moves_one_of_the_two_stamps(recency: str, jumps: bool) -> None:
    portal, contact, lead, rival = with_rival(recency=recency)
    portal.pass_time()
    portal.world.touch_record(rival)
    portal.poll()
    assert contact.bound_id == (rival.id if jumps else lead.id)


@pytest.mark.parametrize(("trigger", "jumps"), [("any_change", True), ("mapped_change", False)])
def test_rule_12_an_edit_of_a_field_that_is_not_mapped(trigger: str, jumps: bool) -> None:
    portal, contact, lead, rival = with_rival(switch_trigger=trigger)
    portal.edit(rival, Internal_Note__c="calls on Mondays")
    portal.poll()
    assert contact.bound_id == (rival.id if jumps else lead.id)


def test_rule_13_a_mapped_field_that_feeds_a_formula_triggers_by_being_mapped() -> None:
    portal, contact, _, rival = with_rival(switch_trigger="mapped_change")
    portal.edit(rival, Title="Chief", Salutation_Formula__c="Chief Lee")
    portal.poll()
    assert contact.bound_id == rival.id


def test_rule_13_a_formula_that_changes_through_another_record_does_not() -> None:
    portal, contact, lead, rival = with_rival(switch_trigger="mapped_change")
    portal.edit(rival, Account_Tier_Formula__c="Gold")
    portal.poll()
    assert contact.bound_id == lead.id


@pytest.mark.parametrize(("touch", "jumps"), [("ignore", False), ("count", True)])
def test_rule_14_the_integrations_own_write_is_no_reason_to_switch(touch: str, jumps: bool) -> None:
    portal, contact, lead, rival = with_rival(integration_user_touch=touch)
    portal.pass_time()
    portal.world.edit_record(rival, {"Fax": "5"}, by=INTEGRATION_USER)
    portal.world.touch_contact(contact)
    portal.poll()
    assert contact.bound_id == (rival.id if jumps else lead.id)


def test_rule_15_an_update_of_the_bound_record_keeps_it_and_moves_the_sync_time() -> None:
    portal, contact, lead, _ = with_rival()
    before = contact.value("salesforcelastsynctime")
    portal.edit(lead, Title="CTO")
    portal.poll()
    assert (contact.bound_id, contact.value("jobtitle")) == (lead.id, "CTO")
    assert contact.value("salesforcelastsynctime") > before


def test_rule_16_an_edit_takes_effect_within_15_minutes_and_a_form_within_one() -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    portal.edit(lead, Title="CTO")
    (edit,) = portal.world.happenings
    assert due_at(edit) - edit.at == timedelta(minutes=15)
    catch_up(portal.world, portal.settings, edit.at + timedelta(minutes=14))
    assert contact.value("jobtitle") == ""
    catch_up(portal.world, portal.settings, edit.at + timedelta(minutes=15))
    assert contact.value("jobtitle") == "CTO"
    visitor = portal.contact(BOB)
    (form,) = portal.world.happenings
    assert due_at(form) - form.at == timedelta(minutes=1)
    catch_up(portal.world, portal.settings, form.at + timedelta(minutes=1))
    assert visitor.bound_id is not None


def test_rule_16_one_sync_writes_with_one_stamp_and_the_sync_time_follows_within_two_seconds() -> None:
    portal = Portal()
    contact, _ = portal.bound_contact(Title="CEO", Phone="1")
    stamps = {contact.history[name][-1].at for name in ("salesforceleadid", "jobtitle", "phone")}
    (stamp,) = stamps
    assert timedelta(0) <= contact.history["salesforcelastsynctime"][-1].at - stamp <= timedelta(seconds=2)


def test_rule_17_two_records_updated_at_once_are_a_tie() -> None:
    portal, contact, lead, rival = with_rival()
    portal.pass_time()
    for record in (lead, rival):
        portal.world.edit_record(record, {"Phone": "7"})
    assert outcomes(portal, contact) == {lead.id, rival.id}


def test_rule_18_a_record_that_the_integration_user_cannot_see_is_never_matched() -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    portal.pass_time()
    hidden = portal.world.create_record("Lead", {"Email": ANN}, is_visible=False)
    portal.edit(hidden, Title="Newest")
    portal.poll()
    assert contact.bound_id == lead.id


def test_rule_18_a_bound_record_that_becomes_invisible_stays_bound_with_an_error() -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    lead.is_visible = False
    portal.edit_contact(contact, jobtitle="CEO")
    portal.poll()
    assert contact.bound_id == lead.id
    assert portal.errors == ["Insufficient access or missing Salesforce record"]


# ── e-mails that move ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rule_19_a_new_email_on_the_bound_record_becomes_the_contacts() -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    portal.edit(lead, Email="ann.lee@example.com")
    portal.poll()
    assert (contact.value("email"), contact.bound_id) == ("ann.lee@example.com", lead.id)


@pytest.mark.parametrize(("setting", "moves"), [("rebind", {True}), ("error", {False}), ("unknown", {True, False})])
def test_rule_20_an_email_that_another_contact_has(setting: str, moves: set[bool]) -> None:
    portal = Portal(email_collision=setting)
    ann, lead = portal.bound_contact(ANN)
    bob, other = portal.bound_contact(BOB)
    portal.edit(lead, Email=BOB)
    assert outcomes(copy.deepcopy(portal), bob) == {lead.id if moved else other.id for moved in moves}
    portal.poll()
    assert (ann.bound_id, ann.email) == (lead.id, ANN)
    assert "Email already in use" in portal.errors


def test_rule_21_outside_the_list_nothing_flows_and_deletions_neither_until_it_enters() -> None:
    portal = Portal(inclusion_list_id="7", on_lead_deleted="delete")
    contact, lead = portal.bound_contact(Title="CEO")
    portal.edit(lead, Title="CTO")
    portal.edit_contact(contact, phone="1")
    portal.poll()
    assert (contact.value("jobtitle"), lead.fields.get("Phone")) == ("CEO", None)
    portal.world.enter_list("7", contact)
    portal.poll()
    assert (contact.value("jobtitle"), lead.fields.get("Phone")) == ("CTO", "1")
    portal.world.leave_list("7", contact)
    portal.world.delete_record(lead)
    portal.poll()
    assert contact.archived_at is None


def test_rule_22_an_update_and_the_exit_in_one_poll_may_go_either_way() -> None:
    portal, contact, lead, rival = with_rival(inclusion_list_id=None)
    portal.settings = PortalSettings(inclusion_list_id="7")
    portal.world.enter_list("7", contact)
    portal.poll()
    portal.edit(rival, Title="x")
    portal.world.leave_list("7", contact)
    assert outcomes(portal, contact) == {lead.id, rival.id}


def test_rule_23_an_email_blanked_on_the_bound_record_is_written_back() -> None:
    portal = Portal()
    _, lead = portal.bound_contact()
    portal.edit(lead, Email=None)
    portal.poll()
    assert lead.fields["Email"] == ANN


def test_rule_23_but_not_outside_the_list() -> None:
    portal = Portal(inclusion_list_id="7")
    _, lead = portal.bound_contact()
    portal.edit(lead, Email=None)
    portal.poll()
    assert lead.fields["Email"] is None


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def mapped(rule_name: str, **settings: Any) -> tuple[Portal, HubSpotContact, Any]:
    portal = Portal(field_rules={"jobtitle": rule_name}, **settings)
    return portal, *portal.bound_contact(Title="CEO")


def titles(contact: HubSpotContact, record: Any) -> tuple[str, str | None]:
    return contact.value("jobtitle"), record.fields.get("Title")


def test_rule_24_always_salesforce_wins_deletes_and_never_hears_of_hubspot() -> None:
    portal, contact, lead = mapped("always_salesforce")
    portal.edit_contact(contact, jobtitle="Boss")
    portal.poll()
    assert titles(contact, lead) == ("CEO", "CEO")
    portal.edit(lead, Title=None)
    portal.poll()
    assert titles(contact, lead) == ("", None)
    portal.edit_contact(contact, jobtitle="Boss")
    portal.poll()
    assert titles(contact, lead) == ("Boss", None)


def test_rule_25_prefer_salesforce_reverts_hubspots_edit_fills_blanks_and_deletes() -> None:
    portal, contact, lead = mapped("prefer_salesforce")
    portal.edit_contact(contact, jobtitle="Boss", phone="1")
    portal.poll()
    assert titles(contact, lead) == ("CEO", "CEO")
    assert lead.fields["Phone"] == "1"
    portal.edit(lead, Title=None)
    portal.poll()
    assert titles(contact, lead) == ("", None)


def test_rule_25_a_value_entered_in_hubspot_after_the_deletion_fills_the_blank() -> None:
    portal, contact, lead = mapped("prefer_salesforce")
    portal.edit(lead, Title=None)
    portal.edit_contact(contact, jobtitle="Boss")
    portal.poll()
    assert titles(contact, lead) == ("Boss", "Boss")


def test_rule_26_two_way_the_newest_change_wins_and_deletions_travel_both_ways() -> None:
    portal, contact, lead = mapped("two_way")
    portal.edit(lead, Title="CTO")
    portal.edit_contact(contact, jobtitle="Boss")
    portal.poll()
    assert titles(contact, lead) == ("Boss", "Boss")
    portal.edit_contact(contact, jobtitle="Chief")
    portal.edit(lead, Title=None)
    portal.poll()
    assert titles(contact, lead) == ("", None)
    portal.edit(lead, Title="CTO")
    portal.poll()
    portal.edit_contact(contact, jobtitle="")
    portal.poll()
    assert titles(contact, lead) == ("", None)


def test_rule_26_owners_are_two_way_and_salesforces_wins_the_first_sync() -> None:
    portal = Portal(salesforce_creates="none", field_rules={OWNER: "none"})
    lead = portal.lead()
    contact = portal.contact(**{OWNER: "0055e000000Own9"})
    portal.poll()
    assert contact.value(OWNER) == lead.owner_id == "0055e000000Own1"
    portal.edit_contact(contact, **{OWNER: "0055e000000Own9"})
    portal.poll()
    assert lead.owner_id == "0055e000000Own9"


@pytest.mark.parametrize("moment", ["update", "switch"])
def test_rule_26a_an_opt_out_comes_for_good_and_is_never_taken_back(moment: str) -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    portal.edit(portal.lead(HasOptedOutOfEmail="true") if moment == "switch" else lead, HasOptedOutOfEmail="true", Title="edited")
    portal.poll()
    assert contact.value("hs_email_optout") == "true"
    bound = portal.world.records[contact.bound_id or ""]
    portal.edit(bound, HasOptedOutOfEmail="false")
    portal.poll()
    assert contact.value("hs_email_optout") == "true"
    assert bound.fields["HasOptedOutOfEmail"] == "false", "and HubSpot's is not written into Salesforce"


def test_rule_26a_where_the_portal_maps_it_both_ways_it_is_a_field_like_any_other() -> None:
    portal = Portal(opt_out="as_mapped")
    contact, lead = portal.bound_contact(HasOptedOutOfEmail="true")
    portal.edit(lead, HasOptedOutOfEmail="false")
    portal.poll()
    assert contact.value("hs_email_optout") == "false"


def test_rule_26b_a_switch_moves_the_owner() -> None:
    portal = Portal()
    contact, _ = portal.bound_contact()
    rival = portal.lead()
    portal.edit(rival, OwnerId="0055e000000Own7", Title="edited")
    portal.poll()
    assert (contact.bound_id, contact.value(OWNER)) == (rival.id, "0055e000000Own7")


def test_rule_27_what_is_not_synced_never_changes_and_a_new_mapping_waits_for_the_next_trigger() -> None:
    portal, contact, lead = mapped("none")
    assert contact.value("jobtitle") == ""
    portal.settings = PortalSettings()
    portal.poll()
    assert contact.value("jobtitle") == ""
    portal.world.touch_contact(contact)
    portal.poll()
    assert contact.value("jobtitle") == "CEO"
    assert lead.fields["Title"] == "CEO"


def test_rule_28_on_a_switch_the_old_records_value_spreads_into_the_new_ones_blank_field() -> None:
    portal = Portal()
    _, _ = portal.bound_contact(Phone="1")
    rival = portal.salesforce_contact()
    portal.poll()
    assert rival.fields["Phone"] == "1"


@pytest.mark.parametrize(("rule_name", "knob", "expected"), [
    ("always_salesforce", "keep", "CEO"), ("always_salesforce", "clear", ""), ("two_way", "keep", "CEO"), ("two_way", "clear", ""), ("none", "clear", ""),
])  # fmt: skip
def test_rule_28_a_field_that_was_never_filled_counts_as_deleted_only_where_the_knob_says_so(rule_name: str, knob: str, expected: str) -> None:
    portal, contact, _ = mapped(rule_name, blank_on_switch=knob)
    portal.salesforce_contact()
    portal.poll()
    assert contact.value("jobtitle") == expected


# ── conversion ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rule_29_the_binding_follows_a_conversion() -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    portal.pass_time()
    into = portal.world.convert_lead(lead)
    portal.poll()
    assert contact.bound_id == into.id
    assert contact.value("salesforceleadid") == ""


def test_rule_29_and_what_the_contact_was_merged_into_since() -> None:
    portal = Portal(inclusion_list_id="7")
    contact, lead = portal.bound_contact()
    first = portal.world.convert_lead(lead)
    second = portal.salesforce_contact("else@example.com")
    portal.world.merge_records(second, [first])
    portal.poll()
    assert contact.bound_id == lead.id  # outside the list
    portal.world.enter_list("7", contact)
    portal.poll()
    assert contact.bound_id == second.id


@pytest.mark.parametrize(("setting", "follows"), [("id", {True}), ("email", {False}), ("unknown", {True, False})])
def test_rule_30_into_a_contact_with_another_email_the_binding_follows_or_is_lost(setting: str, follows: set[bool]) -> None:
    portal = Portal(conversion_follows=setting, salesforce_creates="all")
    contact, lead = portal.bound_contact()
    portal.settings = PortalSettings(conversion_follows=setting)  # type: ignore[arg-type]
    into = portal.world.create_record("Contact", {"Email": "private@example.com"}, by=INTEGRATION_USER)
    portal.world.convert_lead(lead, into)
    assert outcomes(portal, contact) == {into.id if by_id else None for by_id in follows}
    assert into.email == "private@example.com"


def test_rule_31_where_contacts_make_no_contacts_the_binding_stays_on_the_frozen_lead() -> None:
    portal = Portal(salesforce_creates="leads_only")
    contact, lead = portal.bound_contact()
    into = portal.world.convert_lead(lead)
    portal.poll()
    assert contact.bound_id == lead.id
    assert portal.errors == ["Converted Lead"]
    portal.settings = PortalSettings()
    portal.edit(into, Title="CEO")
    portal.poll()
    assert contact.bound_id == into.id


def test_a_converted_lead_is_a_candidate_only_where_the_knob_says_so() -> None:
    for included in (False, True):
        portal = Portal(salesforce_creates="none", converted_lead_candidate=included)
        lead = portal.lead()
        portal.edit(portal.world.convert_lead(lead), Email="moved@example.com")
        contact = portal.contact()
        portal.poll()
        assert (contact.bound_id == lead.id) == included


# ── deletes and merges ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rule_32_deleting_a_duplicate_that_nobody_is_bound_to_changes_nothing() -> None:
    portal, contact, lead, rival = with_rival(on_contact_deleted="delete")
    portal.pass_time()
    portal.world.delete_record(rival)
    portal.poll()
    assert (contact.bound_id, contact.archived_at) == (lead.id, None)


def test_rule_33_a_lost_record_leaves_a_dead_id_until_the_next_trigger_matches_by_email_again() -> None:
    portal, contact, lead, rival = with_rival()
    portal.pass_time()
    portal.world.delete_record(lead)
    portal.poll()
    assert (contact.bound_id, contact.value("salesforcedeleted")) == (lead.id, "true")
    portal.edit_contact(contact, phone="2")
    portal.poll()
    assert (contact.bound_id, contact.value("salesforcedeleted")) == (rival.id, "false")


def test_rule_33_without_a_match_the_record_is_created_anew() -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    portal.world.delete_record(lead)
    portal.edit_contact(contact, phone="2")
    portal.poll()
    again = portal.world.records[contact.bound_id or ""]
    assert again is not lead
    assert again.is_live


def test_rule_33_or_the_sync_stays_broken() -> None:
    portal, contact, lead, _ = with_rival(rematch_after_loss="none")
    portal.world.delete_record(lead)
    portal.edit_contact(contact, phone="2")
    portal.poll()
    assert contact.bound_id == lead.id
    assert portal.errors == ["Insufficient access or missing Salesforce record"]


@pytest.mark.parametrize(("settings", "expected"), [
    ({"on_lead_deleted": "delete"}, {"archived"}),
    ({"on_contact_deleted": "delete", "on_lead_deleted": "keep"}, {"bound"}),
    ({"on_lead_deleted": "delete", "delete_permission": "missing"}, {"bound"}),
    ({"on_lead_deleted": "delete", "delete_permission": "unknown"}, {"archived", "bound"}),
])  # fmt: skip
def test_rule_34_the_setting_of_the_records_own_object_says_whether_the_contact_goes(settings: dict[str, Any], expected: set[str]) -> None:
    portal = Portal(**settings)
    contact, lead = portal.bound_contact()
    portal.world.delete_record(lead)
    assert {"archived" if found == "archived" else "bound" for found in outcomes(portal, contact)} == expected


def test_rule_34_deletions_outside_the_list_are_processed_only_where_the_knob_says_so() -> None:
    for needs_segment in (True, False):
        portal = Portal(on_lead_deleted="delete", inclusion_list_id="7", delete_needs_segment=needs_segment)
        contact, lead = portal.bound_contact()
        portal.world.delete_record(lead)
        portal.poll()
        assert (contact.archived_at is None) == needs_segment


def two_leads(**settings: Any) -> tuple[Portal, HubSpotContact, Any, Any]:
    """A contact, the Lead it is bound to, and a duplicate Lead."""
    portal = Portal(**settings)
    contact, bound = portal.bound_contact()
    rival = portal.lead()
    portal.poll()
    if contact.bound_id != bound.id:
        portal.edit(bound, Fax="9")
        portal.poll()
    return portal, contact, bound, rival


@pytest.mark.parametrize("setting", ["keep", "delete"])
def test_rule_35_with_the_bound_record_as_master_the_binding_stays(setting: str) -> None:
    portal, contact, bound, rival = two_leads(on_lead_deleted=setting)
    portal.pass_time()
    portal.world.merge_records(bound, [rival])
    assert (rival.is_deleted, rival.master_id, bound.modified_at) == (True, bound.id, portal.world.now)
    portal.poll()
    assert (contact.bound_id, contact.archived_at) == (bound.id, None)


def test_rule_35_a_contact_that_was_bound_to_a_loser_is_lost_all_the_same() -> None:
    portal = Portal(on_lead_deleted="delete")
    ann, master = portal.bound_contact(ANN)
    bob, loser = portal.bound_contact(BOB)
    portal.world.merge_records(master, [loser])
    portal.poll()
    assert (ann.archived_at is None, bob.archived_at is None) == (True, False)


@pytest.mark.parametrize(("deleted", "order", "expected"), [
    ("delete", "delete_first", {"archived"}), ("delete", "update_first", {"winner"}), ("delete", "unknown", {"archived", "winner"}),
    ("keep", "delete_first", {"winner"}),
])  # fmt: skip
def test_rule_36_the_wrong_way_round_it_depends_on_the_setting_and_on_which_event_comes_first(deleted: str, order: str, expected: set[str]) -> None:
    portal, contact, bound, rival = two_leads(on_lead_deleted=deleted, merge_event_order=order)
    portal.pass_time()
    portal.world.merge_records(rival, [bound])
    assert {"winner" if found == rival.id else found for found in outcomes(portal, contact)} == expected


def test_rule_36_with_do_nothing_and_no_matching_again_the_contact_keeps_a_dead_id() -> None:
    portal, contact, bound, rival = two_leads(rematch_after_loss="none")
    portal.pass_time()
    portal.world.merge_records(rival, [bound])
    portal.poll()
    assert contact.bound_id == bound.id
    assert portal.errors == ["Merged in Salesforce"]


def test_rule_37_a_merge_of_more_is_several_and_a_lead_is_never_merged_with_a_contact() -> None:
    portal = Portal()
    leads = [portal.lead() for _ in range(4)]
    portal.poll()
    portal.world.merge_records(leads[0], leads[1:])
    assert [happening.kind for happening in portal.world.happenings] == ["merged"] * 3
    assert {lead.master_id for lead in leads[1:]} == {leads[0].id}
    with pytest.raises(ValueError, match="one object"):
        portal.world.merge_records(leads[0], [portal.salesforce_contact()])


def test_rule_38_an_undeleted_loser_is_a_duplicate_again_and_may_take_over() -> None:
    portal, contact, bound, rival = two_leads()
    portal.world.merge_records(bound, [rival])
    portal.poll()
    assert contact.bound_id == bound.id
    portal.pass_time()
    portal.world.undelete_record(rival)
    assert (rival.is_deleted, rival.master_id) == (False, None)
    portal.poll()
    assert contact.bound_id == rival.id


@pytest.mark.parametrize(("knob", "keeps"), [("previous", True), ("none", False)])
def test_rule_39_archiving_leaves_salesforce_alone_and_a_restored_contact_is_bound_by_knob(knob: str, keeps: bool) -> None:
    portal = Portal(restored_contact_binding=knob)
    contact, lead = portal.bound_contact()
    portal.world.archive_contact(contact)
    portal.poll()
    assert lead.is_live
    portal.world.restore_contact(contact, knob == "previous")
    portal.poll()
    assert contact.bound_id == (lead.id if keeps else None)


@pytest.mark.parametrize(("knob", "comes_back"), [("blocked", {False}), ("recreated", {True}), ("unknown", {True, False})])
def test_rule_40_after_a_gdpr_deletion_nobody_knows_whether_the_person_comes_back(knob: str, comes_back: set[bool]) -> None:
    portal = Portal(gdpr_deleted_return=knob)
    contact, lead = portal.bound_contact()
    portal.world.write(contact, {"hs_additional_emails": BOB}, "CRM_UI")
    portal.world.delete_contact_for_good(contact)
    assert lead.is_live
    assert portal.world.blocked_emails == {ANN, BOB}
    portal.lead()
    found = {world.contact_with_email(ANN) is not None for world in possible_outcomes(portal.world, portal.settings)}
    assert found == comes_back


# ── merges in HubSpot, forms ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rule_41_a_merge_makes_a_new_id_that_both_old_ones_lead_to_and_chains_are_kept() -> None:
    portal = Portal()
    first, second, third = portal.contact(ANN), portal.contact(BOB), portal.contact("cem@example.com")
    one = portal.world.merge_contacts(first, second)
    two = portal.world.merge_contacts(one, third)
    assert {portal.world.merged_contacts[contact.id] for contact in (first, second, third, one)} == {two.id}
    assert set(two.merged_ids) == {first.id, second.id, third.id, one.id}
    assert (two.email, two.additional_emails) == (ANN, [BOB, "cem@example.com"])


@pytest.mark.parametrize(("values", "title"), [("primary_wins", "CEO"), ("most_recent", "Boss")])
def test_rule_41_the_primarys_values_win_or_the_most_recent(values: Any, title: str) -> None:
    portal = Portal()
    first, second = portal.contact(ANN, jobtitle="CEO"), portal.contact(BOB, jobtitle="Boss", phone="1")
    merged = portal.world.merge_contacts(first, second, values, new_id=False)
    assert (merged.id, merged.value("jobtitle"), merged.value("phone"), merged.email) == (first.id, title, "1", ANN)


def test_rule_42_the_primarys_record_stays_bound_and_the_others_is_an_orphan() -> None:
    portal = Portal()
    ann, lead = portal.bound_contact(ANN)
    bob, other = portal.bound_contact(BOB)
    merged = portal.world.merge_contacts(ann, bob)
    assert merged.bound_id == lead.id
    assert orphans(portal.world) == [other]


def test_rule_42_an_unbound_primary_inherits_the_others_record() -> None:
    portal = Portal(create_object="none")
    ann = portal.contact(ANN)
    portal.poll()
    bob, other = portal.bound_contact(BOB)
    assert portal.world.merge_contacts(ann, bob).bound_id == other.id


@pytest.mark.parametrize("matches", [False, True])
def test_rule_43_an_update_of_the_orphan_is_an_error_or_is_applied(matches: bool) -> None:
    portal = Portal(secondary_email_matches=matches)
    ann, lead = portal.bound_contact(ANN)
    bob, other = portal.bound_contact(BOB)
    merged = portal.world.merge_contacts(ann, bob)
    portal.edit(other, Title="Boss")
    portal.world.edit_record(other, {"Email": BOB.upper()})
    portal.poll()
    assert merged.bound_id == (other.id if matches else lead.id)
    assert ("Email already in use" in portal.errors) != matches


def test_rule_44_a_form_with_an_additional_email_swaps_the_two_and_the_next_trigger_may_switch() -> None:
    portal = Portal(email_rule="two_way")
    ann, lead = portal.bound_contact(ANN)
    bob, other = portal.bound_contact(BOB)
    merged = portal.world.merge_contacts(ann, bob)
    portal.pass_time()
    portal.world.submit_form_with_additional_email(merged, BOB)
    assert (merged.email, merged.additional_emails) == (BOB, [ANN])
    portal.edit(other, Title="Boss")
    portal.poll()
    assert merged.bound_id == other.id
    assert lead.is_live


@pytest.mark.parametrize(("email_rule", "expected"), [("prefer_salesforce", ANN), ("two_way", BOB)])
def test_rule_45_a_form_from_the_same_browser_overwrites_the_email_until_the_next_sync(email_rule: str, expected: str) -> None:
    portal = Portal(email_rule=email_rule)
    contact, lead = portal.bound_contact(ANN)
    portal.pass_time()
    portal.world.submit_form_in_same_browser(contact, BOB)
    assert contact.email == BOB
    portal.poll()
    assert (contact.email, lead.email) == (expected, expected)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("settings", "created"), [
    ({"duplicate_rule": "off"}, True), ({"duplicate_rule": "block"}, False), ({"duplicate_rule": "alert"}, False),
    ({"duplicate_rule": "alert", "sends_allow_save": True}, True), ({"duplicate_rule": "block", "sends_allow_save": True}, False),
])  # fmt: skip
def test_rule_46_a_duplicate_rule_stops_the_creation(settings: dict[str, Any], created: bool) -> None:
    portal = Portal(**settings)
    portal.pass_time()
    portal.world.create_record("Lead", {"Email": ANN}, is_visible=False)  # seen by the rule, not by the integration user
    contact = portal.contact()
    portal.poll()
    assert (contact.bound_id is not None) == created
    assert portal.errors == ([] if created else ["Salesforce duplicate rule"])


def test_rule_46_and_an_update_that_makes_the_bound_record_match_another() -> None:
    portal = Portal(duplicate_rule="block")
    contact, lead = portal.bound_contact()
    portal.lead(BOB, FirstName="Ann", LastName="Lee")
    portal.poll()
    portal.edit_contact(contact, firstname="Ann", phone="1")
    portal.poll()
    assert (lead.fields.get("FirstName"), lead.fields.get("Phone")) == (None, None)
    assert portal.errors == ["Salesforce duplicate rule"]


@pytest.mark.parametrize(("stops", "phone", "title"), [("whole_record", None, ""), ("field", "1", "CTO")])
def test_rule_47_a_value_that_salesforce_refuses_fails_the_whole_sync_or_the_field(stops: str, phone: str | None, title: str) -> None:
    portal = Portal(refused_fields=frozenset({"Fax"}), refusal_stops=stops)
    contact, lead = portal.bound_contact()
    portal.edit_contact(contact, fax="not a number", phone="1")
    portal.edit(lead, Title="CTO")
    portal.poll()
    assert (lead.fields.get("Phone"), lead.fields.get("Fax"), contact.value("jobtitle")) == (phone, None, title)
    assert portal.errors == ["Property values"]


def test_rule_48_two_contacts_bound_to_one_record_are_an_invalid_state_and_others_sync_on() -> None:
    portal = Portal()
    ann, lead = portal.bound_contact(ANN)
    bob, other = portal.bound_contact(BOB)
    cem, third = portal.bound_contact("cem@example.com")
    portal.world.write(bob, {"salesforceleadid": lead.id}, "IMPORT")
    portal.edit(third, Title="CEO")
    with pytest.raises(InvalidState, match=f"{ann.id} and {bob.id}"):
        portal.poll()
    assert (ann.bound_id, bob.bound_id, cem.value("jobtitle")) == (lead.id, lead.id, "CEO")
    assert other.is_live


def test_rule_49_without_api_calls_triggers_wait_and_take_effect_when_calls_return() -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    portal.edit(lead, Title="CTO")
    back = portal.world.now + timedelta(hours=3)
    portal.world.calls_return_at = back
    portal.poll()
    assert contact.value("jobtitle") == ""
    catch_up(portal.world, portal.settings, back + timedelta(minutes=1))
    assert contact.value("jobtitle") == "CTO"
    assert contact.history["jobtitle"][-1].at == back


def log(*acts: tuple[int, str, str, str, str, str]) -> list[Event]:
    return [Event(START + timedelta(minutes=minute), act, who, other, name, value) for minute, act, who, other, name, value in acts]


CALM = log(
    (0, "create_record", "r1", "Lead", "CEO", ANN), (30, "find_contact", "c1", "", "", ANN), (31, "create_record", "r2", "Lead", "Buyer", ANN),
    (90, "edit_record", "r1", "", "Phone", "1"), (120, "edit_record", "r2", "", "Phone", "2"), (200, "merge_records", "r1", "r2", "", ""),
    (201, "edit_contact", "c1", "", "jobtitle", "Boss"),
)  # fmt: skip


def state(world: World) -> Any:
    return (
        {contact.id: (contact.archived_at, {name: [(v.value, v.at) for v in versions] for name, versions in contact.history.items()})
         for contact in world.contacts.values()},
        {record.id: (record.fields, record.is_deleted, record.modified_at) for record in world.records.values()},
    )  # fmt: skip


def test_rule_50_replaying_a_log_gives_the_same_state_and_polling_again_changes_nothing() -> None:
    first, second = play_log(CALM, PortalSettings()), play_log(list(reversed(CALM)), PortalSettings())
    assert state(first.world) == state(second.world)
    assert first.diary == second.diary
    before = copy.deepcopy(state(first.world))
    poll(first.world, first.settings)
    assert state(first.world) == before


def test_rule_50_a_log_whose_events_at_one_moment_matter_is_recognised() -> None:
    assert not is_order_sensitive(CALM, PortalSettings())
    assert bindings(play_log(CALM, PortalSettings())) == {"c1": "r1"}
    two_edits = [*CALM[:5], *log((150, "edit_record", "r1", "", "Fax", "1"), (150, "edit_contact", "c1", "", "phone", "2"))]
    delete_and_undelete = [
        *CALM[:5],
        *log((150, "delete_record", "r2", "", "", ""), (150, "undelete_record", "r2", "", "", ""), (151, "edit_contact", "c1", "", "phone", "3")),
    ]
    assert not is_order_sensitive(two_edits, PortalSettings())
    assert is_order_sensitive(delete_and_undelete, PortalSettings())


# ── the rule book is complete ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_rule_has_one_function_and_a_test() -> None:
    assert set(RULEBOOK) == {*range(1, 51), "26a", "26b"}
    tested = {number.lstrip("0") for number in re.findall(r"def test_rule_(\d\d[ab]?)_", Path(__file__).read_text("utf-8"))}
    assert tested == {str(number) for number in RULEBOOK}
    with pytest.raises(ValueError, match="two places"):
        rule(11)(len)


def test_every_rule_is_explained_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs" / "integration.md").read_text("utf-8")
    assert set(re.findall(r"^(\d+[ab]?)\. ", text, re.MULTILINE)) == {str(number) for number in RULEBOOK}


@pytest.mark.parametrize(("precedence", "expected"), [("newest_history", "lead"), ("contact_id", "contact"), ("lead_id", "lead")])
def test_of_two_ids_the_knob_says_which_one_is_meant(precedence: Any, expected: str) -> None:
    portal = Portal()
    contact, lead = portal.bound_contact()
    other = portal.salesforce_contact("else@example.com")
    portal.world.write(contact, {"salesforcecontactid": other.id}, "IMPORT")
    portal.pass_time()
    portal.world.write(contact, {"salesforceleadid": ""}, "IMPORT")
    portal.world.write(contact, {"salesforceleadid": lead.id}, "IMPORT")
    contact.id_precedence = precedence
    assert contact.bound_id == {"lead": lead.id, "contact": other.id}[expected]
