"""A run that builds less publishes what a run that builds everything would: nothing that time or memory changes is left as it was."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import duckdb
import pytest

from assets.models.build import build_models
from assets.models.sqlfile import SqlFile, model_files
from assets.models.stale import OF_RUNS, queries, stand
from assets.published.contract import TABLES
from assets.sql import SQL_FOLDER
from assets.verdict import Verdict
from assets.warehouse.ledger import CheckRecord, close_run, note_unchanged, set_baseline, summarise_run
from assets.warehouse.policy_tables import write_policy
from expectations.gate import checks
from sandbox.events import Event, Play
from sandbox.world import World
from tests.agreement import FIELD_RULES, ROUND, START, Pulled, policies, settings_for
from tests.crm import Crm
from tests.test_agreement import worlds

FILES: list[SqlFile] = [*model_files(SQL_FOLDER, checks()), *checks()]
CLOCK = "staging.clock"
_NOW = re.compile(r"\b(as_of|run_clock)", re.IGNORECASE)


def _code(file: SqlFile) -> str:
    return "\n".join(line.partition("--")[0] for line in file.text.splitlines())


# ── what says so ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path.stem)
def test_what_compares_with_now_or_with_former_runs_says_when_it_may_be_another(file: SqlFile) -> None:
    speaks_of_runs = bool(file.reads & (OF_RUNS | {CLOCK}) or _NOW.search(_code(file)))
    assert bool(file.due) == speaks_of_runs or file.table == "review.violation"
    for entry in file.due:
        assert entry == "always" or entry.startswith(("never, ", "select ")), entry


def test_nothing_asks_the_database_what_time_it_is() -> None:
    """Now is staging.clock alone, the same for every table of a build; nor does a table hold what chance, the session or the process says."""
    # in every form: many that read a moment depend on the session's zone where it bears one, and staging bears none
    functions = duckdb.execute("select function_name from duckdb_functions() group by all having bool_and(stability <> 'CONSISTENT')").fetchall()
    named = {name for (name,) in functions} - {"error"} | {"age", "ago"}
    assert {"now", "today", "random", "transaction_timestamp"} <= named
    asks = re.compile(rf"\b(({'|'.join(sorted(named))})\s*\(|(current_(date|time|timestamp)|localtime|localtimestamp)\b)", re.IGNORECASE)
    for file in [*FILES, SqlFile(SQL_FOLDER / "raw" / "macros.sql"), SqlFile(SQL_FOLDER / "raw" / "tables.sql")]:
        assert not asks.search(re.sub(r"'[^']*'", "''", _code(file))), file.path.stem


def test_no_macro_reads_the_clock_or_the_runs() -> None:
    macros = _code(SqlFile(SQL_FOLDER / "raw" / "macros.sql"))
    assert not [table for table in (*OF_RUNS, CLOCK) if re.search(rf"\b{re.escape(table)}\b", macros)]


def test_each_moment_can_be_asked_for() -> None:
    connection = Crm().build().connection
    asked = [query for file in FILES for query in queries(file)]
    assert len(asked) > 20
    for query in asked:
        assert connection.execute(f"select min(moment) from ({query}) as due(moment)").fetchone() == (None,), query


def test_a_run_that_every_check_was_asked_of_is_built_upon_though_it_proved_nothing() -> None:
    """A record that nobody can read stays for days, and these runs cost what changed, too. None of them proves anything by looking at nothing."""

    def run(verdict: Verdict, not_evaluated: Sequence[str] = (), said: Sequence[CheckRecord] = SAID, brought: bool = True) -> str | None:
        connection = home.pulled.connection
        home.pulled.load([], START)
        connection.execute("update raw.pull set complete = ? where pull_no = (select max(pull_no) from raw.pull)", [brought])
        write_policy(connection, home.pulled.policy, "https://org.example", [check.as_row for check in checks()])
        standing = stand(connection, checks())
        if standing.because:
            build_models(connection, checks(), standing=standing)
        close_run(connection, summarise_run(connection, verdict, [], list(not_evaluated)), said, is_unchanged=standing.because is None)
        return "all of it" if standing.stale and not standing.fresh else standing.because

    home = Home(policies()[0], "what is stale")
    assert run("unproven") == "all of it"
    assert str(run("unproven")).endswith("the run before was not proven")
    assert str(run("unproven", not_evaluated=["findings"])).endswith("the run before was not proven")
    assert run("unproven", said=[]) == "all of it"  # of the one before not every check was asked, and of this one none
    assert run("unproven", brought=False) == "all of it"
    assert run("pass") == "all of it"  # one pull of the one before did not bring everything
    assert run("pass") is None


# ── and is it true? ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Home:
    """A warehouse, and what its readers see. builds: everything in every run, or what is stale."""

    def __init__(self, knobs: dict[str, Any], builds: str) -> None:
        self.pulled = Pulled(knobs, FIELD_RULES, checks(), is_tracked=True)
        self.connection = self.pulled.connection
        self.builds = builds
        self.seen_until: datetime | None = None
        self.built: set[str] = set()

    def run(self, played: list[World], at: datetime, waived: list[tuple[str, datetime]], settle_minutes: int, is_proven: bool = True) -> None:
        """is_proven: all that came could be read."""
        self.pulled.load(played, at)
        set_aside(self.connection, not is_proven)
        policy = self.pulled.policy
        policy = policy.model_copy(update={"policy": policy.policy.model_copy(update={"settle_minutes": settle_minutes})})
        write_policy(self.connection, policy, "https://org.example", [check.as_row for check in checks()])
        set_baseline(self.connection, "all")
        self.connection.execute("delete from main.decision")
        if waived:
            self.connection.executemany("insert into main.decision values (?, 'waived', ?, null)", [[name, until] for name, until in waived])
        standing = stand(self.connection, checks(), everything=self.builds == "everything")
        self.seen_until = None
        if standing.because is None:
            note_unchanged(self.connection)
            self.seen_until, self.built = at.replace(tzinfo=None), set()
        else:
            self.built = set(build_models(self.connection, checks(), standing=standing))
        close_run(self.connection, summarise_run(self.connection, "fail" if is_proven else "unproven", [], []), SAID, is_unchanged=standing.because is None)

    def published(self, name: str) -> str:
        table = TABLES[name]
        if name == "finding" and self.seen_until is not None:  # as assets/published/snapshot.py reads it
            query = (
                """select * replace (case when resolved_at is null then ? else last_seen_at end as last_seen_at, null::varchar as change) from review.finding"""
            )
            return _sorted(self.connection, query, [self.seen_until])
        return _sorted(self.connection, f"from {table}")

    def due(self) -> Iterator[datetime]:
        for (moment,) in self.connection.execute("select distinct due_at from main.built where due_at is not null").fetchall():
            yield moment


def set_aside(connection: duckdb.DuckDBPyConnection, is_set: bool = True) -> None:
    """A record of the run that is going on cannot be read, so it proves nothing; or it can again."""
    connection.execute("delete from raw.set_aside")
    if is_set:
        connection.execute("insert into raw.set_aside select 'Lead', '00Q5e00000Unread', 'v1', 'no_json', max(pull_no) from raw.pull")


def _sorted(connection: duckdb.DuckDBPyConnection, query: str, values: list[Any] | None = None) -> str:
    rows = connection.execute(query, values or []).fetchall()
    return "\n".join(sorted(map(repr, rows)))


SAID = [CheckRecord("pull", "pull_incomplete", "violated", "unproven", 1, 0)]  # what the gate said of it says nobody who reads tables
STEPS = [timedelta(seconds=1), timedelta(minutes=5), timedelta(minutes=21), timedelta(hours=5), timedelta(hours=25), timedelta(days=9), timedelta(days=31)]


def check_that_a_quiet_run_is_as_good_as_a_full_one(
    policy: int, number: int, quiet: int, seed: int, days: int | None = None
) -> tuple[int, int]:  # fmt: skip
    """Plays worlds for so many days, or to their end, with quiet runs between their days, in two homes.

    Returns how many runs built nothing, and how many a part.
    """
    knobs, random = policies()[policy], Random(seed)
    homes = [Home(knobs, "what is stale"), Home(knobs, "everything")]
    tales = worlds(policy, number)
    plays = [Play(World(START, place * 10_000, "all"), settings_for(knobs)) for place in range(number)]
    nothing = part = 0
    waived: list[tuple[str, datetime]] = []
    settle = 20
    now = START
    for day in range(days or max(map(len, tales))):
        began = max(START + day * ROUND, now)
        for place, (play, tale) in enumerate(zip(plays, tales, strict=True)):
            at = began
            for step in tale[day] if day < len(tale) else ():
                at += timedelta(minutes=step.minutes)
                play.act(Event(at, step.act, step.who, step.other, step.name, step.value.replace("@", f"@w{place}.example")))
        now = max([began, *(play.world.now for play in plays)])
        for quiet_no in range(quiet + 1):
            if quiet_no == 2 and random.random() < 0.5:
                names = [row[0] for row in homes[1].connection.execute("select fingerprint from review.finding where status = 'open' order by 1").fetchall()]
                waived = [(name, now.replace(tzinfo=None) + random.choice(STEPS)) for name in random.sample(names, min(3, len(names)))]
            if quiet_no == 3 and random.random() < 0.2:
                settle = random.choice([5, 20, 60])
            is_proven = quiet_no > 2 or random.random() < 0.8  # after it are some that may be quiet
            for home in homes:
                home.run([play.world for play in plays] if quiet_no == 0 else [], now, waived, settle, is_proven)
            for name in TABLES:
                assert homes[0].published(name) == homes[1].published(name), f"{name} after {quiet_no} quiet runs on day {day}, built {sorted(homes[0].built)}"
            nothing += not homes[0].built
            part += bool(homes[0].built) and len(homes[0].built) < len(FILES) - len(checks())
            near = [moment + timedelta(seconds=random.choice([-1, 0, 1])) for moment in homes[0].due()]
            later = [moment.replace(tzinfo=now.tzinfo) for moment in near if moment > now.replace(tzinfo=None)]
            now = random.choice(later) if later and random.random() < 0.6 else now + random.choice(STEPS)
    return nothing, part


def test_in_two_small_worlds_a_quiet_run_publishes_what_a_full_one_would() -> None:
    nothing, part = check_that_a_quiet_run_is_as_good_as_a_full_one(77, number=2, quiet=2, seed=1, days=2)
    assert nothing + part > 0


@pytest.mark.slow
@pytest.mark.parametrize("policy", [0, 41, 77, 140])
def test_a_quiet_run_publishes_what_a_full_one_would(policy: int) -> None:
    nothing, part = check_that_a_quiet_run_is_as_good_as_a_full_one(policy, number=10, quiet=4, seed=policy)
    assert nothing > 0
    assert part > 0
