"""A run that builds for those alone whom the last pulls touched publishes what a run that builds everything would."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from assets.models import slice as slices
from assets.models.build import build_models
from assets.models.slice import Slice
from assets.models.sqlfile import model_files
from assets.models.stale import stand
from assets.published.contract import TABLES
from assets.sql import SQL_FOLDER
from assets.warehouse.ledger import close_run, note_unchanged, set_baseline, summarise_run
from assets.warehouse.policy_tables import write_policy
from expectations.gate import checks
from sandbox.events import Event, Play
from sandbox.world import World
from tests.agreement import FIELD_RULES, ROUND, START, Pulled, policies, settings_for
from tests.test_agreement import worlds

VERSIONS = {"raw.salesforce_lead": "record_id", "raw.salesforce_contact": "record_id", "raw.hubspot_contact": "id"}
# what models make, beside what is published of it
ALL = sorted({*TABLES.values(), *(file.table for file in model_files(SQL_FOLDER, checks()) if not file.is_view)})
GAPS = [ROUND, ROUND, timedelta(minutes=30), timedelta(days=12)]


class Home:
    """A warehouse that is pulled in increments: a version that equals the last one is not stored, as a real load has it."""

    def __init__(self, knobs: dict[str, Any], in_slices: bool = True, is_tracked: bool = True) -> None:
        self.pulled = Pulled(knobs, FIELD_RULES, checks(), is_tracked)
        self.connection, self.in_slices = self.pulled.connection, in_slices

    def run(self, played: Sequence[World], at: datetime, everything: bool = False) -> Slice | None:
        """None where nothing was to be built."""
        self.bring(played, at)
        write_policy(self.connection, self.pulled.policy, "https://org.example", [check.as_row for check in checks()])
        set_baseline(self.connection, "all")
        standing = stand(self.connection, checks(), everything=everything)
        part = Slice(standing)
        if standing.because is None:
            note_unchanged(self.connection)
        else:
            build_models(self.connection, checks(), standing=standing, part=part if self.in_slices else None)
        close_run(self.connection, summarise_run(self.connection, "fail", [], []), is_unchanged=standing.because is None)
        return part if standing.because else None

    def bring(self, played: Sequence[World], at: datetime) -> None:
        since = self.pulled.pull_no
        known = [row[0] for row in self.connection.execute("select history_id from raw.salesforce_field_history").fetchall()]
        self.pulled.load(played, at)
        self._forget_what_is_as_it_was(since)
        self.connection.execute(
            "update raw.salesforce_field_history set pull = 'pull ' || case when list_contains($1, history_id) then 0 else $2 end", [known, self.pulled.pull_no]
        )

    def rows(self, table: str) -> str:
        return "\n".join(sorted(map(repr, self.connection.execute(f"from {table}").fetchall())))

    def _forget_what_is_as_it_was(self, since: int) -> None:
        for table, key in VERSIONS.items():
            self.connection.execute(
                f"""delete from {table} as new where pull_no > {since} and exists (
                    select 1 from (
                        select {key} as key, max_by(version, pull_no) as version from {table} as version where pull_no <= {since} group by {key}
                    ) as old
                    where old.key = new.{key} and struct_update(old.version, pull_no := 0) = struct_update(new, pull_no := 0))"""
            )
        self.connection.execute(
            f"""delete from raw.hubspot_property_version as new where pull_no > {since} and exists (
                select 1 from raw.hubspot_property_version as old where old.pull_no <= {since} and old.contact_id = new.contact_id
                and old.property = new.property and old.changed_at = new.changed_at and old.value is not distinct from new.value)"""
        )
        self.connection.execute(
            f"""delete from raw.salesforce_history_read as new where pull_no > {since}
                and record_id in (select record_id from raw.salesforce_history_read where pull_no <= {since})
                and record_id not in (
                    select record_id from raw.salesforce_lead where pull_no > {since}
                    union all select record_id from raw.salesforce_contact where pull_no > {since})"""
        )


class Worlds:
    """Worlds of which most rest each day."""

    def __init__(self, policy: int, number: int, seed: int) -> None:
        self.knobs, self.random, self.now = policies()[policy], Random(seed), START
        self.tales = worlds(policy, number)
        self.plays = [Play(World(START, place * 10_000, "all"), settings_for(self.knobs)) for place in range(number)]
        self._told = [0] * number  # how many days of its tale a world has played

    @property
    def go_on(self) -> bool:
        return any(told < len(tale) for told, tale in zip(self._told, self.tales, strict=True))

    def live_a_day(self) -> list[World]:
        self.now += self.random.choice(GAPS)
        for place, (play, tale) in enumerate(zip(self.plays, self.tales, strict=True)):
            told = self._told[place]
            if told < len(tale) and (told == 0 or self.random.random() < 0.4):
                at = self.now
                for step in tale[told]:
                    at += timedelta(minutes=step.minutes)
                    play.act(Event(at, step.act, step.who, step.other, step.name, step.value.replace("@", f"@w{place}.example")))
                self._told[place] += 1
        self.now = max([self.now, *(play.world.now for play in self.plays)])
        return [play.world for play in self.plays]


def check_that_slices_are_as_good_as_the_whole(policy: int, number: int, seed: int, days: int | None = None) -> Counter[str]:
    """In one home slices are built, in the other one everything. Returns how many builds were slices (by nothing), and why others were not."""
    played = Worlds(policy, number, seed)
    part, whole = Home(played.knobs), Home(played.knobs, in_slices=False)
    built: Counter[str] = Counter()
    while played.go_on and (days is None or built.total() < days):
        there = played.live_a_day()
        told = part.run(there, played.now)
        whole.run(there, played.now, everything=True)
        if told is None:
            continue  # tests/test_stale.py
        built[told.because or ""] += 1
        for name in ALL:
            assert part.rows(name) == whole.rows(name), f"{name} on day {built.total()}, whole: {told.whole}"
    return built


def test_a_run_that_builds_for_the_touched_alone_publishes_what_a_full_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST", 2)
    assert check_that_slices_are_as_good_as_the_whole(77, number=3, seed=1, days=3)[""] == 2


def test_a_full_build_says_which_tables_slices_had_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Worlds(0, number=2, seed=1)
    home = Home(played.knobs)
    first = home.run(played.live_a_day(), played.now)
    assert first
    assert first.because == "no proven run has built before"
    # most of two small worlds is touched: that is no slice
    second = home.run(played.live_a_day(), played.now)
    assert second
    assert second.because == "many were touched"
    monkeypatch.setattr(slices, "MOST", 2)
    sliced = home.run(played.live_a_day(), played.now)
    assert sliced
    assert sliced.because is None
    assert 0 < sliced.touched < sliced.reached
    assert {"core.mapped_field", "core.hubspot_owner"} <= sliced.unchanged
    again = home.run([], played.now, everything=True)
    assert again
    assert again.differing == []
    home.connection.execute("update core.binding set rule = 99 where hubspot_contact_id = (select min(hubspot_contact_id) from core.binding)")
    full = home.run([], played.now, everything=True)
    assert full
    assert (full.differing, full.unchanged) == (["core.binding"], frozenset())
    told = Slice.told(sliced, home.connection)
    assert (told["builds"], told["whole_builds"]) == (5, {"everything was asked for": 2, "many were touched": 1, "no proven run has built before": 1})


@pytest.mark.slow
@pytest.mark.parametrize("policy", [0, 20, 41, 77, 100, 140])
@pytest.mark.parametrize("seed", range(3))
def test_slices_publish_what_full_builds_would(policy: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST", 2)
    assert check_that_slices_are_as_good_as_the_whole(policy, number=8, seed=seed)[""] > 2
