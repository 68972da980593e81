"""What `bindwatch connect` says of portals with hidden settings, over real HTTP, held against their truth."""

from pathlib import Path

import pytest

from assets.connect.discover import Discovery, discover, sampled
from assets.connect.sample import describe_all
from assets.policy import Policy
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.salesforce_org import Org
from sandbox.faults import Fault
from sandbox.grown import open_portal
from sandbox.world import id18
from tests.discovered import Held, look
from tests.live import served, some_days_ago
from tests.pulls import access_to

pytestmark = pytest.mark.filterwarnings("ignore")
KNOBS = (
    "first_sync", "follow_up", "recency", "integration_user_id", "create_object", "on_lead_deleted", "on_contact_deleted", "secondary_email_matches",
    "blank_on_switch", "opt_out",
)  # fmt: skip


def check_nothing_is_wrong(held: Held) -> None:
    assert (held.wrong, held.consent) == ([], [])
    assert held.calls["hubspot"] <= 150 and held.calls["salesforce"] <= 150


def check_knobs_are_told(held: Held) -> None:
    knobs = held.answer["knobs"]
    assert [name for name in KNOBS if not knobs[name]["certain"]] == []
    assert not knobs["inclusion_list_id"]["certain"]
    if (list_id := held.truth.knobs["inclusion_list_id"]) is not None:
        assert list_id in knobs["inclusion_list_id"]["candidates"]


def test_every_knob_is_told_by_a_few_cases_of_each() -> None:
    held = look("lying", 3, contacts=150, mappings=34, properties=60, decoys=6, edits=0, cases=7, formerly_mapped=0)
    check_nothing_is_wrong(held)
    check_knobs_are_told(held)


def test_what_is_told_by_contacts_that_never_sync_by_their_lists_and_by_who_logs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portal that creates nothing in Salesforce, with an inclusion list."""
    story = open_portal(
        "large", 5, some_days_ago(1), contacts=200, mappings=30, properties=44, decoys=0, edits=0, cases=2, create_object="none", inclusion_list_id="31"
    )  # fmt: skip
    user = story.truth().knobs["integration_user_id"]
    with served(story, tmp_path / "crm") as server:

        def found(contacts: int = 1_000) -> Discovery:
            org, e = Org(access_to(server)), server.environment
            portal = Portal(HubSpotAccess(e["HUBSPOT_ACCESS_TOKEN"], e["HUBSPOT_BASE_URL"], patience_seconds=2), Policy().pull)
            with sampled(org, portal, describe_all(org), contacts) as sample:
                return discover(sample)

        told = found()
        assert (told.knobs["create_object"]["value"], told.knobs["create_object"]["certain"], "31" in told.lists) == ("none", True, True)
        # few pairs say as whom the integration writes; the org does
        few = found(contacts=4).knobs["integration_user_id"]
        assert (few["value"], few["certain"]) == (user, True)
        story.world.tables["OauthToken"][0]["UserId"] = id18("0055e000000Oth1")
        told = found()  # HubSpot logs in as somebody else by now: what the integration made cannot be told either
        assert not told.knobs["integration_user_id"]["certain"] and not told.knobs["create_object"]["certain"]
        story.world.tables.clear()
        # a portal that does not tell the lists of a contact tells the members of each; one that tells neither leaves it open
        server.faults.ask([Fault("hubspot_404", "records/0-1", times=99)])
        told = found()
        assert told.knobs["integration_user_id"]["certain"]
        assert (told.knobs["create_object"]["value"], "31" in told.lists) == ("none", True)
        monkeypatch.setattr(Portal, "lists", lambda portal: None)
        assert found().knobs["create_object"]["value"] is None


@pytest.mark.slow
def test_opt_outs_that_stay_are_told_although_every_record_says_otherwise_by_now() -> None:
    held = look("large", 3, contacts=120, mappings=30, properties=50, decoys=4, edits=0, cases=10)
    check_nothing_is_wrong(held)
    assert (held.answer["knobs"]["opt_out"]["value"], held.not_mapped, held.missed) == ("sticky", [], [])
    (entry,) = [one for one in held.answer["mapping"] if one["hubspot"] == "hs_email_optout"]
    assert (entry["lead"], entry["contact"]) == ("HasOptedOutOfEmail", "HasOptedOutOfEmail")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed"), [("large", 1), ("large", 2), ("lying", 1), ("lying", 5)])
def test_a_portal_of_many_mappings_tells_them_all(kind: str, seed: int) -> None:
    held = look(kind, seed)
    check_nothing_is_wrong(held)
    check_knobs_are_told(held)
    assert held.precision >= 0.99 and held.recall >= 0.98
    assert held.rules["wrong"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_sparse_portal_makes_nothing_certain_that_is_not(seed: int) -> None:
    held = look("sparse", seed)
    check_nothing_is_wrong(held)
    assert held.precision >= 0.99 and held.recall >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "code"), [("middleware", "middleware", 1), ("unbound", "none", 0)])
def test_where_the_native_integration_is_not_at_work_nothing_else_is_said(name: str, kind: str, code: int) -> None:
    held = look(name, 2)
    assert (held.answer["integration"]["kind"], held.code, held.answer["mapping"]) == (kind, code, [])
    assert all(knob["value"] is None for knob in held.answer["knobs"].values())
