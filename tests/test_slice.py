"""A run that builds for those alone whom the last pulls touched publishes what a run that builds everything would."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
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
from tests.crm import Crm, day, lead_id
from tests.test_agreement import worlds
from tests.test_stale import SAID, set_aside

VERSIONS = {"raw.salesforce_lead": "record_id", "raw.salesforce_contact": "record_id", "raw.hubspot_contact": "id"}
# what models make, beside what is published of it
ALL = sorted({*TABLES.values(), *(file.table for file in model_files(SQL_FOLDER, checks()) if not file.is_view)})
GAPS = [ROUND, ROUND, timedelta(minutes=30), timedelta(days=12)]


class Home:
    """A warehouse that is pulled in increments: a version that equals the last one is not stored, as a real load has it."""

    def __init__(self, knobs: dict[str, Any], in_slices: bool = True, is_tracked: bool = True) -> None:
        self.pulled = Pulled(knobs, FIELD_RULES, checks(), is_tracked)
        self.connection, self.in_slices = self.pulled.connection, in_slices

    def run(self, played: Sequence[World], at: datetime, everything: bool = False, is_proven: bool = True) -> Slice | None:
        """None where nothing was to be built. is_proven: all that came could be read."""
        self.bring(played, at)
        set_aside(self.connection, not is_proven)
        write_policy(self.connection, self.pulled.policy, "https://org.example", [check.as_row for check in checks()])
        set_baseline(self.connection, "all")
        standing = stand(self.connection, checks(), everything=everything)
        part = Slice(standing)
        if standing.because is None:
            note_unchanged(self.connection)
        else:
            build_models(self.connection, checks(), standing=standing, part=part if self.in_slices else None)
        close_run(self.connection, summarise_run(self.connection, "fail" if is_proven else "unproven", [], []), SAID, is_unchanged=standing.because is None)
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
        is_proven = not built or played.random.random() < 0.8
        told = part.run(there, played.now, is_proven=is_proven)
        whole.run(there, played.now, everything=True, is_proven=is_proven)
        if told is None:
            continue  # tests/test_stale.py
        built[told.because or ""] += 1
        for name in ALL:
            assert part.rows(name) == whole.rows(name), f"{name} on day {built.total()}, whole: {told.whole}"
    return built


def check_that_slices_see_what_full_builds_see(runs: int, tell: Callable[[Crm, int], object], unproven: int | None = None) -> None:
    """tell: what comes with a run (from 1), the same in two homes; in one of them slices are built, in the other one everything. unproven: a run that proves
    nothing.
    """
    part, whole = Crm(), Crm()
    for run in range(1, runs + 1):
        for crm in (part, whole):
            if run > 1:
                crm.next_run(day(29 + run))
            tell(crm, run)
            connection = crm.connection
            set_aside(connection, run == unproven)
            write_policy(connection, crm.policy, "https://org.example", [check.as_row for check in checks()])
            set_baseline(connection, "all")
            standing = stand(connection, checks(), everything=crm is whole)
            if standing.because is None:
                note_unchanged(connection)
            else:
                build_models(connection, checks(), standing=standing, part=Slice(standing) if crm is part else None)
            close_run(connection, summarise_run(connection, "unproven" if run == unproven else "fail", [], []), SAID, is_unchanged=standing.because is None)
        for name in ALL:
            rows = [sorted(map(repr, crm.connection.execute(f"from {name}").fetchall())) for crm in (part, whole)]
            assert rows[0] == rows[1], f"{name} after run {run}"


@pytest.fixture
def always_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST", 2)


@pytest.mark.usefixtures("always_in_slices")
def test_what_follows_from_a_stamp_that_lies_ahead_moves_with_the_clock() -> None:
    """Whatever lies ahead counts as now: tables of staging are another in every run, although nothing came."""

    def ahead(crm: Crm, run: int) -> None:
        if run == 1:
            crm.lead(1, modified=day(400))
            crm.contact(bound=lead_id(1), modified=day(500), synced=day(500), since=day(600))

    check_that_slices_see_what_full_builds_see(2, ahead)


# Tales of people who have nothing to do with one another, side by side: what one is told must not hide what slices miss of another.


def of_several_contacts_that_name_one_that_was_merged_all_decide_whose_it_is(crm: Crm, run: int) -> None:
    if run == 1:
        for number, merged_ids in enumerate(["", "105", "105", "", ""], 101):
            crm.contact(str(number), bound=lead_id(number), email=f"{number}@example.com", merged_ids=merged_ids)
    if run == 2:  # the one that it became is merged itself, and so it is the other one's
        crm.contact("104", email="104@example.com", merged_ids="102", modified=day(30.9))


def what_was_new_to_the_run_before_is_known_to_the_next(crm: Crm, run: int) -> None:
    if run == 1:
        crm.contact("201", email="a@example.com", additional="b@example.com")
        crm.lead(201, email="b@example.com")
    if run == 3:
        crm.contact("201", email="b@example.com", additional="a@example.com", modified=day(31.9))
        crm.history("201", "email", (day(31.9), "b@example.com", "FORM"))


def a_sync_that_no_pull_had_reached_is_judged_when_one_does(crm: Crm, run: int) -> None:
    if run == 1:
        crm.lead(301)
        crm.lead(302, modified=day(20))
        crm.contact("301", bound=lead_id(301), synced=day(29.5) + timedelta(minutes=10), modified=day(29.5))
    crm.connection.execute("update raw.pull set watermark_to = ? where run_id = ?", [day(28.5 + run), f"run {crm.run_no}"])


def a_plan_that_was_taken_away_is_looked_at_until_it_is_carried_out(crm: Crm, run: int) -> None:
    if run == 1:
        crm.lead(401, email="plan@example.com")
        crm.lead(402, email="plan@example.com")
        crm.contact("401", bound=lead_id(401), email="plan@example.com")
        crm.plan((lead_id(401), lead_id(402)))
    if run == 2:
        crm.connection.execute("delete from main.merge_plan")
    if run == 3:
        crm.lead(402, email="plan@example.com", merged_into=lead_id(401), modified=day(31.9))


def others_are_touched(crm: Crm, run: int) -> None:
    crm.lead(501, email="bob@example.com", modified=day(28.5 + run))


TALES = [
    of_several_contacts_that_name_one_that_was_merged_all_decide_whose_it_is,
    what_was_new_to_the_run_before_is_known_to_the_next,
    a_sync_that_no_pull_had_reached_is_judged_when_one_does,
    a_plan_that_was_taken_away_is_looked_at_until_it_is_carried_out,
    others_are_touched,
]


@pytest.mark.usefixtures("always_in_slices")
@pytest.mark.parametrize("unproven", [None, 2, 3])
def test_whoever_is_touched_slices_see_what_full_builds_see(unproven: int | None) -> None:
    check_that_slices_see_what_full_builds_see(4, lambda crm, run: [tell(crm, run) for tell in TALES], unproven)


def test_it_does_not_matter_in_which_order_rows_stand() -> None:
    """A slice stands in another order than the whole. So what bears one moment is told apart: imports, bulk edits, the same in two histories."""

    def tell(crm: Crm, step: int) -> None:
        told: list[Callable[[], object]] = [
            *(partial(crm.lead, number, fields={"Title": title}) for number, title in ((1, "CEO"), (2, "Buyer"))),
            *(partial(crm.contact, *contact, since=None) for contact in (("101", lead_id(1)), ("102", lead_id(2)), ("103", lead_id(3)))),
            partial(crm.contact, "104", merged_ids="101;102;103"),
            *(
                partial(crm.history, contact, name, (day(3), value, source))
                for contact, value, source in (("101", "CEO", "IMPORT"), ("102", "Buyer", "CRM_UI"), ("103", "VP", "CRM_UI"))
                for name in ("jobtitle", "email")
            ),
            *(partial(crm.history, "104", "salesforceleadid", (day(4), lead_id(number))) for number in (1, 2)),
            *(
                partial(crm.history, f"{number}", "salesforceleadid", (day(3), lead_id(number), "IMPORT" if number % 2 else "CRM_UI"))
                for number in range(200, 224)
            ),
            *(partial(crm.contact, f"{number}", lead_id(number), since=None) for number in range(200, 224)),
            *(
                partial(crm.tracked, lead_id(number), (day(8), "Title", user, None, title))
                for number, user, title in ((1, "0055e000000Usr1", "CEO"), (2, "0055e000000Usr2", "Buyer"))
            ),
        ]
        for one in told[::step]:
            one()

    forwards, backwards = Crm(), Crm()
    for crm, step in ((forwards, 1), (backwards, -1)):
        tell(crm, step)
        crm.build()
    for name in ALL:
        rows = [sorted(map(repr, crm.connection.execute(f"from {name}").fetchall())) for crm in (forwards, backwards)]
        assert rows[0] == rows[1], name


def test_a_run_that_builds_for_the_touched_alone_publishes_what_a_full_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST", 2)
    assert check_that_slices_are_as_good_as_the_whole(77, number=3, seed=1, days=3)[""] == 2


def test_a_full_build_says_which_tables_slices_had_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Worlds(0, number=2, seed=1)
    home = Home(played.knobs)
    first = home.run(played.live_a_day(), played.now)
    assert first
    assert first.because == "no run that came to its end has built before"
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
    home.connection.execute("update core.mapped_field set rule = 'none'")
    full = home.run([], played.now, everything=True)
    assert full
    assert (sorted(full.differing), full.unchanged) == (["core.binding", "core.mapped_field"], frozenset())
    told = Slice.told(sliced, home.connection)
    assert told["builds"] == 5
    assert told["whole_builds"] == {"everything was asked for": 2, "many were touched": 1, "no run that came to its end has built before": 1}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some have many days to play: five minutes and more of a processor
@pytest.mark.parametrize("policy", [0, 20, 41, 77, 100, 140])
@pytest.mark.parametrize("seed", range(3))
def test_slices_publish_what_full_builds_would(policy: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MOST", 2)
    assert check_that_slices_are_as_good_as_the_whole(policy, number=8, seed=seed)[""] > 2
