"""Full runs look at how the portal is set up, over real HTTP: what they may ask for, what they find, and what they must never change."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from assets.connect.compare import Told, is_refuted
from assets.connect.discover import Discovery
from assets.connect.look import CALLS, Look, take_look
from assets.connect.sample import Sample, Sampler
from assets.policy import Policy
from assets.pull.hubspot import SYNC_TIME
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.salesforce_org import Org
from assets.record_ids import object_type_of
from sandbox.faults import Fault
from sandbox.grown import GrownStory, open_portal
from sandbox.server import SandboxServer
from tests.live import published, runner, served, some_days_ago
from tests.pulls import access_to

pytestmark = pytest.mark.filterwarnings("ignore")


def small(kind: str, seed: int) -> GrownStory:
    return open_portal(kind, seed, some_days_ago(1), contacts=150, mappings=34, properties=60, decoys=6, edits=60, cases=7)


@dataclass
class Served:
    """A portal whose settings are known, and both CRMs that play it."""

    story: GrownStory
    server: SandboxServer

    @property
    def policy(self) -> Policy:
        return Policy.model_validate(tomllib.loads(self.story.truth().as_policy()))

    def look(self, policy: Policy | None = None) -> tuple[Look, tuple[int, int]]:
        """What a full run would see, and how many calls to Salesforce and to HubSpot that took."""
        e = self.server.environment
        org = Org(access_to(self.server))
        portal = Portal(HubSpotAccess(e["HUBSPOT_ACCESS_TOKEN"], e["HUBSPOT_BASE_URL"], patience_seconds=2), Policy().pull)
        portal.properties()  # a run has asked for it before
        before = (org.calls, portal.calls)
        seen = take_look(org, portal, policy or self.policy)
        return seen, (org.calls - before[0], portal.calls - before[1])


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    story = small("lying", 5)
    with served(story, tmp_path_factory.mktemp("lying")) as server:
        yield Served(story, server)


def test_a_policy_that_says_the_truth_never_drifts_and_the_sample_keeps_to_its_calls(lying: Served) -> None:
    seen, calls = lying.look()
    assert seen.problem is None and seen.kind == "native"
    assert [row for row in seen.settings if row.is_contradiction] == []
    assert sum(row.certain for row in seen.settings) >= 10
    assert max(calls) <= CALLS and seen.contacts <= 100


def test_a_setting_that_is_otherwise_is_seen_with_what_both_say(lying: Served) -> None:
    mapped = next(row.setting for row in lying.look()[0].settings if row.certain and row.setting.count(".") == 1)
    parts = lying.story.truth().as_policy().split("\n\n")
    without = [part for part in parts if f'hubspot = "{mapped.removeprefix("mapping.")}"' not in part]
    seen, _ = lying.look(Policy.model_validate(tomllib.loads("\n\n".join(without))))
    (row,) = [row for row in seen.settings if row.is_contradiction]
    assert (row.setting, row.configured, row.certain) == (mapped, None, True) and row.cases_for >= 5


@pytest.mark.parametrize(
    ("fault", "source"),
    [
        (Fault("no_scope", "batch/read", times=99), "hubspot"),
        (Fault("daily", "/search", times=99), "hubspot"),
        (Fault("calls_of_the_day", "sobjects/", times=99), "salesforce"),
        (Fault("calls_of_the_day", "queryAll", times=99), "salesforce"),
        (Fault("no_such_field", "queryAll", times=99), "salesforce"),
    ],
)
def test_a_crm_that_refuses_the_sample_is_told_in_words_and_proves_nothing(lying: Served, fault: Fault, source: str) -> None:
    lying.server.faults.ask([fault])
    try:
        seen, _ = lying.look()
    finally:
        lying.server.faults.clear()
    assert fault.hits
    assert (seen.source, seen.settings) == (source, [])
    assert seen.problem and "Traceback" not in seen.problem


def test_where_the_org_shows_no_records_nothing_is_held_against_a_mapping() -> None:
    """Whether a value went from HubSpot to Salesforce shows in Salesforce alone."""

    def seen(**changes: Any) -> Told:
        return Told(Discovery("native", 60, **{"pairs": 50, "written": {"fax": (0, 31)}, **changes}))

    assert is_refuted(seen(), "fax")
    for changes in ({"is_refused": True}, {"pairs": 4}, {"carried": {"fax"}}, {"written": {"fax": (1, 31)}}, {"written": {"fax": (0, 4)}}):
        assert not is_refuted(seen(**changes), "fax"), changes


@pytest.fixture
def chosen(lying: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], set[str]]:
    """The forty contacts that a look of a day takes."""
    e = lying.server.environment
    org, portal = Org(access_to(lying.server)), Portal(HubSpotAccess(e["HUBSPOT_ACCESS_TOKEN"], e["HUBSPOT_BASE_URL"]), Policy().pull)

    def choose(day: int) -> set[str]:
        monkeypatch.setattr(Sampler, "_now", lambda sampler: datetime(2026, 11, day, tzinfo=UTC))
        return set(Sampler(org, portal, Sample(tmp_path, {}, portal.properties()), 40, CALLS, (org.calls, portal.calls))._choose())

    return choose


def test_two_looks_of_different_days_do_not_see_the_same_contacts(chosen: Callable[[int], set[str]]) -> None:
    looks = [chosen(day) for day in range(1, 8)]
    assert chosen(1) == looks[0] and {len(look) for look in looks} == {40}
    for look, following in pairwise(looks):
        assert 5 <= len(look - following) <= 20
    assert len(set().union(*looks)) >= 60


def test_half_of_a_look_are_bound_to_leads_and_half_to_contacts(lying: Served, chosen: Callable[[int], set[str]]) -> None:
    bound = Counter(object_type_of(lying.story.world.contacts[contact_id].bound_id or "") for contact_id in chosen(1))
    assert bound["Lead"] >= 18 and bound["Contact"] >= 18, bound


@dataclass
class Searched:
    """A portal of which nothing is known but its bound contacts. Each of them synced at another moment than it was made."""

    bound: dict[str, int]  # how many, by the property that holds their record's id
    calls: int = 0
    clock: None = None

    def search_in_order(self, filters: list[dict[str, Any]], by: str, descending: bool, after: int, most: int) -> tuple[bytes, dict[str, Any]]:
        self.calls += 1
        key = filters[0]["propertyName"]
        there = range(self.bound[key])
        order = sorted(there, key=lambda number: number * 7 % len(there) if by == SYNC_TIME else number, reverse=descending)
        results = [{"id": f"{key} {number}", "properties": {}} for number in order[after : after + most]]
        return b"", {"total": len(order), "results": results}


@pytest.mark.parametrize("few", [0, 4])
@pytest.mark.parametrize("key", ["salesforceleadid", "salesforcecontactid"])
def test_where_nearly_all_are_bound_to_one_object_half_of_a_look_are_those_that_synced_last(key: str, few: int, tmp_path: Path) -> None:
    portal = Searched({"salesforceleadid": few, "salesforcecontactid": few} | {key: 1_000})
    sample = Sample(tmp_path, {}, {name: {} for name in (*portal.bound, SYNC_TIME)})
    chosen = Sampler(cast(Org, None), cast(Portal, portal), sample, 100, CALLS)._choose()
    numbers = [int(contact.split()[1]) for contact in chosen if contact.startswith(key)]
    assert len(chosen) == 100 and len(numbers) == 100 - few
    assert sum(number * 7 % 1_000 >= 950 for number in numbers) >= 45
    assert portal.calls <= 10


@pytest.mark.slow
def test_two_full_runs_in_a_row_say_drift_and_a_refusal_leaves_the_verdict_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = small("large", 6)
    policy = tmp_path / "bindwatch.toml"
    policy.write_text("[policy]\n", "utf-8")  # names no integration user, and no field of the portal's own
    run = runner(monkeypatch, tmp_path / "home", policy)

    def drifts() -> set[str]:
        return {row["fingerprint"] for row in published(tmp_path / "home", "finding") if row["check_name"] == "policy_drift" and row["status"] == "open"}

    with served(story, tmp_path / "crm") as server:
        first = run(server)
        assert any(row["is_contradiction"] for row in published(tmp_path / "home", "portal_setting")) and not drifts()
        server.faults.ask([Fault("calls_of_the_day", "Contact+WHERE+Id+IN", times=99)])
        refused = run(server, full=True)
        server.faults.clear()
        assert (refused.exit_code, refused.verdict) == (first.exit_code, first.verdict) and not drifts()
        assert refused.manifest is not None
        not_seen = [text for pull in refused.manifest["coverage"]["salesforce"] for text in pull["not_seen"]]
        assert any(text.startswith("whether the settings are still those of bindwatch.toml") for text in not_seen)
        assert run(server, full=True).exit_code == first.exit_code
        told = drifts()
        assert told
        rows = published(tmp_path / "home", "portal_setting")
        run(server)
        assert published(tmp_path / "home", "portal_setting") == rows and drifts() == told
