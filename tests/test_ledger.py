"""The memory of findings: since when, what changed, and that nothing is ever dropped from it."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crm import BOUND, Crm, day, duplicates, lead_id


def unsafe(rival_fields: dict[str, str] | None = None) -> Crm:
    """A contact whose title a rival would overwrite; that finding is known to a first run."""
    crm = duplicates(rival_fields={"Title": "Buyer", "City": "Berlin"} | (rival_fields or {}))
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", "city": "Berlin"})
    crm.end_run()
    crm.later()
    return crm


def edit_rival(crm: Crm, **fields: str) -> None:
    """The rival now says what the contact says, except for these fields."""
    crm.lead(2, created=day(3), modified=day(4), fields={"Title": "CEO", "City": "Berlin"} | fields)


def events(crm: Crm, check: str = "unsafe_duplicate") -> list[str]:
    return [row["event"] for row in crm.rows(f"select event from main.finding_event where check_name = '{check}' order by happened_at, event")]


def test_a_finding_of_the_first_run_is_new_and_then_stays_as_it_is() -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    assert crm.finding("unsafe_duplicate")["change"] == "new"
    crm.end_run()
    finding = crm.finding("unsafe_duplicate")
    assert (finding["change"], finding["first_seen_at"], finding["open_since"], finding["last_seen_at"]) == (None, day(30), day(30), day(30.5))


def test_a_finding_that_gets_worse_is_worsened_and_replaces_the_one_before() -> None:
    crm = unsafe()
    before = crm.finding("unsafe_duplicate")
    edit_rival(crm, Title="Buyer", City="Paris")
    after = crm.finding("unsafe_duplicate")
    assert after["subject"] == before["subject"]
    assert after["fingerprint"] != before["fingerprint"]
    assert (after["change"], after["open_since"]) == ("worsened", day(30.5))
    (old,) = (row for row in crm.rows("review.finding") if row["fingerprint"] == before["fingerprint"])
    assert (old["status"], old["change"]) == ("resolved", "replaced")


def test_a_finding_whose_facts_change_without_getting_worse_keeps_its_age() -> None:
    crm = unsafe({"City": "Paris"})
    edit_rival(crm, City="Paris")
    finding = crm.finding("unsafe_duplicate")
    assert (finding["change"], finding["open_since"], finding["first_seen_at"]) == ("changed", day(30), day(30.5))


def test_a_higher_severity_of_the_same_facts_is_worse() -> None:
    crm = unsafe()
    crm.policy = crm.policy.model_validate({"checks": {"unsafe_duplicate": {"severity": "warn"}}})
    crm.end_run(day(31))
    crm.policy = crm.policy.model_validate({})
    assert crm.finding("unsafe_duplicate")["change"] == "worsened"


def test_a_finding_that_is_gone_is_resolved_and_one_that_comes_back_is_reopened() -> None:
    crm = unsafe()
    fingerprint = crm.finding("unsafe_duplicate")["fingerprint"]
    edit_rival(crm)
    crm.end_run(day(31))
    assert crm.findings("unsafe_duplicate") == []
    crm.later()
    edit_rival(crm, Title="Buyer")
    finding = crm.finding("unsafe_duplicate")
    assert (finding["fingerprint"], finding["change"], finding["first_seen_at"], finding["open_since"]) == (fingerprint, "reopened", day(30), day(31))
    crm.end_run(day(32))
    assert events(crm) == ["new", "resolved", "reopened"]


def test_a_run_that_proves_nothing_leaves_no_trace_in_the_memory() -> None:
    crm = unsafe()
    edit_rival(crm)
    crm.end_run(day(31), "unproven")
    assert events(crm) == ["new"]
    edit_rival(crm, Title="Buyer")
    assert crm.finding("unsafe_duplicate")["change"] is None


def test_events_of_the_run_that_goes_on_are_published_with_those_before() -> None:
    crm = unsafe()
    edit_rival(crm)
    crm.build()
    assert sorted((row["run_id"], row["event"]) for row in crm.rows("review.finding_event") if row["check_name"] == "unsafe_duplicate") == [
        ("run 1", "new"), ("run 2", "resolved"),
    ]  # fmt: skip


# ── baseline ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def only_new(crm: Crm) -> Crm:
    crm.policy = crm.policy.model_validate({"gate": {"fail_on": "new"}})
    return crm


def test_on_a_first_run_everything_is_in_the_baseline() -> None:
    crm = only_new(duplicates(rival_fields={"Title": "Buyer"}))
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    assert crm.finding("unsafe_duplicate")["in_baseline"]


def test_the_baseline_is_what_the_last_proven_run_knew_when_it_came_into_force() -> None:
    crm = unsafe()
    crm.contact("102", lead_id=lead_id(99), email="b@example.com")
    only_new(crm)
    assert crm.finding("unsafe_duplicate")["in_baseline"]
    assert not crm.finding("bound_record_unknown")["in_baseline"]
    crm.end_run(day(31))
    assert not crm.finding("bound_record_unknown")["in_baseline"], "a finding does not slip into the baseline by being looked at twice"


def test_what_gets_worse_or_comes_back_falls_out_of_the_baseline() -> None:
    crm = only_new(unsafe())
    edit_rival(crm, Title="Buyer", City="Paris")
    assert not crm.finding("unsafe_duplicate")["in_baseline"]
    crm = only_new(unsafe())
    edit_rival(crm)
    crm.end_run(day(31))
    crm.later()
    edit_rival(crm, Title="Buyer")
    assert not crm.finding("unsafe_duplicate")["in_baseline"]


def test_what_gets_better_stays_in_the_baseline() -> None:
    crm = only_new(unsafe({"City": "Paris"}))
    edit_rival(crm, City="Paris")
    assert crm.finding("unsafe_duplicate")["in_baseline"]


def test_a_baseline_set_by_a_run_that_proved_nothing_does_not_count() -> None:
    crm = only_new(duplicates())
    crm.end_run(day(31), "unproven")
    crm.contact(lead_id=lead_id(99))
    assert crm.finding("bound_record_unknown")["in_baseline"], "still the first proven run"


def test_without_fail_on_new_there_is_no_baseline_and_turning_it_on_again_sets_a_new_one() -> None:
    crm = only_new(unsafe())
    crm.end_run(day(31))
    crm.policy = crm.policy.model_validate({})
    assert not crm.finding("unsafe_duplicate")["in_baseline"]
    crm.contact("102", lead_id=lead_id(99), email="b@example.com")
    crm.end_run(day(32))
    assert only_new(crm).finding("bound_record_unknown")["in_baseline"]


# ── whatever happens ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


_STEP = st.tuples(st.sampled_from(["CEO", "Buyer"]), st.sampled_from(["Berlin", "Paris"]), st.sampled_from(["fail", "unproven"]))


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["CEO", "Buyer"]), st.sampled_from(["Berlin", "Paris"]), st.sampled_from(["fail", "unproven"])), min_size=1, max_size=4)
)
def test_nothing_is_ever_dropped_and_open_findings_have_a_past(steps: list[tuple[str, str, Any]]) -> None:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", "city": "Berlin"})
    known: set[str] = set()
    for number, (title, city, verdict) in enumerate(steps):
        crm.later()
        edit_rival(crm, Title=title, City=city)
        crm.end_run(day(31 + number), verdict)
        ledger = crm.rows("main.ledger")
        fingerprints = [row["fingerprint"] for row in ledger]
        assert len(fingerprints) == len(set(fingerprints))
        assert known <= set(fingerprints)
        known = set(fingerprints)
        for row in ledger:
            assert row["first_seen_at"] <= row["last_seen_at"]
            assert (row["status"] == "resolved") == (row["resolved_at"] is not None)
            told = [
                event["event"] for event in crm.rows(f"select event from main.finding_event where fingerprint = '{row['fingerprint']}' order by happened_at")
            ]
            opened = sum(event in ("new", "reopened", "worsened", "changed") for event in told)
            closed = sum(event in ("resolved", "replaced") for event in told)
            assert opened - closed == (0 if row["resolved_at"] else 1), told
