"""A run that builds for those alone whom the last pulls touched publishes what a run that builds everything would."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import duckdb
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


class Home:
    """A warehouse that is pulled in increments: a version that equals the last one is not stored, as a real load has it."""

    def __init__(self, knobs: dict[str, Any], in_slices: bool) -> None:
        self.pulled = Pulled(knobs, FIELD_RULES, checks(), is_tracked=True)
        self.connection = self.pulled.connection
        self.in_slices = in_slices

    def run(self, played: Sequence[World], at: datetime) -> Slice:
        since, history = self.pulled.pull_no, {row[0] for row in self.connection.execute("select history_id from raw.salesforce_field_history").fetchall()}
        members = self.connection.execute("select list(contact_id order by contact_id) from raw.hubspot_list_member").fetchall()
        self.pulled.load(played, at)
        self._forget_what_is_as_it_was(since)
        self.connection.execute("update raw.salesforce_field_history set pull = 'pull ' || case when list_contains($1, history_id) then 0 else $2 end",
                                [list(history), self.pulled.pull_no])
        write_policy(self.connection, self.pulled.policy, "https://org.example", [check.as_row for check in checks()])
        set_baseline(self.connection, "all")
        standing = stand(self.connection, checks(), everything=not self.in_slices)
        part = Slice(standing)
        if standing.because is None:
            note_unchanged(self.connection)
        else:
            build_models(self.connection, checks(), standing=standing, part=part)
        close_run(self.connection, summarise_run(self.connection, "fail", [], []), is_unchanged=standing.because is None)
        return part

    def _forget_what_is_as_it_was(self, since: int) -> None:
        for table, key in VERSIONS.items():
            self.connection.execute(
                f"""delete from {table} as new where pull_no > {since} and exists (
                    select 1 from (select {key} as key, max_by(version, pull_no) as version from {table} as version where pull_no <= {since} group by {key}) as old
                    where old.key = new.{key} and struct_update(old.version, pull_no := 0) = struct_update(new, pull_no := 0))"""
            )
        self.connection.execute(
            f"""delete from raw.hubspot_property_version as new where pull_no > {since} and exists (
                select 1 from raw.hubspot_property_version as old where old.pull_no <= {since} and old.contact_id = new.contact_id
                and old.property = new.property and old.changed_at = new.changed_at and old.value is not distinct from new.value)"""
        )
        self.connection.execute(
            f"""delete from raw.salesforce_history_read as new where pull_no > {since}
                and exists (select 1 from raw.salesforce_history_read as old where old.pull_no <= {since} and old.record_id = new.record_id)
                and not exists (
                    select 1 from raw.salesforce_lead as version where version.record_id = new.record_id and version.pull_no > {since} union all
                    select 1 from raw.salesforce_contact as version where version.record_id = new.record_id and version.pull_no > {since})"""
        )

    def rows(self, table: str) -> str:
        return "\n".join(sorted(map(repr, self.connection.execute(f"from {table}").fetchall())))


ALL = sorted({*TABLES.values(), *(file.table for file in model_files(SQL_FOLDER, checks()) if not file.is_view)})


def check_that_slices_are_as_good_as_the_whole(policy: int, number: int, seed: int, days: int | None = None) -> tuple[int, int]:
    """Plays worlds, of which some rest each day, in two homes. Returns how many runs built slices, and how many the whole."""
    knobs, random = policies()[policy], Random(seed)
    homes = [Home(knobs, in_slices=True), Home(knobs, in_slices=False)]
    tales = worlds(policy, number)
    plays = [Play(World(START, place * 10_000, "all"), settings_for(knobs)) for place in range(number)]
    told = [0] * number  # how many days of its tale a world has played
    in_slices = whole = 0
    now = START
    while any(place < len(tale) for place, tale in zip(told, tales, strict=True)) and (days is None or in_slices + whole < days):
        now += random.choice([ROUND, ROUND, timedelta(minutes=30), timedelta(days=12)])
        for place, (play, tale) in enumerate(zip(plays, tales, strict=True)):
            if told[place] >= len(tale) or (told[place] and random.random() < 0.6):
                continue
            at = now
            for step in tale[told[place]]:
                at += timedelta(minutes=step.minutes)
                play.act(Event(at, step.act, step.who, step.other, step.name, step.value.replace("@", f"@w{place}.example")))
            told[place] += 1
        now = max([now, *(play.world.now for play in plays)])
        parts = [home.run([play.world for play in plays], now) for home in homes]
        in_slices += parts[0].because is None
        whole += parts[0].because is not None
        assert not parts[1].differing
        for name in ALL:
            assert homes[0].rows(name) == homes[1].rows(name), f"{name} on day {in_slices + whole}, {parts[0].whole}"
    return in_slices, whole
