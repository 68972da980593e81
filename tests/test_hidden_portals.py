"""What `bindwatch connect` says of portals with hidden settings, over real HTTP, held against their truth."""

import pytest

from tests.discovered import Held, look

pytestmark = pytest.mark.filterwarnings("ignore")
KNOBS = (
    "first_sync", "follow_up", "recency", "integration_user_id", "create_object", "on_lead_deleted", "on_contact_deleted", "secondary_email_matches",
    "blank_on_switch", "opt_out",
)  # fmt: skip


def check_nothing_is_wrong(held: Held) -> None:
    assert held.wrong == []
    assert all(entry["consent"] is False or entry["hubspot"] in _consent(held) for entry in held.answer["mapping"])
    assert held.calls["hubspot"] <= 150 and held.calls["salesforce"] <= 150


def _consent(held: Held) -> set[str]:
    return {one.hubspot for one in held.truth.mappings if one.consent}


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


@pytest.mark.slow
def test_opt_outs_that_stay_are_told_although_every_record_says_otherwise_by_now() -> None:
    held = look("large", 3, contacts=120, mappings=30, properties=50, decoys=4, edits=0, cases=10)
    check_nothing_is_wrong(held)
    assert (held.answer["knobs"]["opt_out"]["value"], held.not_mapped, held.missed) == ("sticky", [], [])
    (entry,) = [one for one in held.answer["mapping"] if one["hubspot"] == "hs_email_optout"]
    assert (entry["lead"], entry["contact"]) == ("HasOptedOutOfEmail", "HasOptedOutOfEmail")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["large", "lying"])
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
