"""Decisions: the store, what is in force, and what the next run makes of it."""

import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.decisions import Decision, DecisionStore, note_decisions, write_decisions
from tests.crm import BOUND, Crm, day, duplicates, lead_id
from tests.postgres import Server


def finding(number: int = 1, subject: int | None = None) -> dict[str, Any]:
    return {
        "fingerprint": f"{number:032x}", "subject": f"{subject or number:032x}", "check_name": "unsafe_duplicate", "hubspot_contact_id": "101",
        "salesforce_id": None,
    }  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DecisionStore:
    if request.param == "sqlite":
        return DecisionStore(tmp_path / "home")
    server: Server = request.getfixturevalue("postgres")
    with sa.create_engine(server.url()).begin() as connection:
        connection.execute(sa.text("drop table if exists bindwatch_decision"))
    return DecisionStore(tmp_path, server.url())


def in_force(store: DecisionStore) -> tuple[dict[str, str], dict[str, str]]:
    """Status by fingerprint, owner by subject, as the next run gets them."""
    crm = Crm()
    write_decisions(crm.connection, store.read())
    return (
        {row["fingerprint"]: row["status"] for row in crm.rows("main.decision")},
        {row["subject"]: row["owner"] for row in crm.rows("main.assignment")},
    )


def test_every_decision_is_kept_with_who_and_when_and_why(store: DecisionStore) -> None:
    store.record([Decision("acknowledge", "Ann", finding(), reason="seen")], datetime(2026, 3, 1, 9))
    store.record([Decision("waive", "Bob", finding(), reason="twins", waived_until=datetime(2026, 4, 1))], datetime(2026, 3, 2, 9))
    rows = store.read(finding()["fingerprint"])
    assert [(row["action"], row["decided_by"], row["decided_at"], row["reason"], row["waived_until"]) for row in rows] == [
        ("acknowledge", "Ann", datetime(2026, 3, 1, 9), "seen", None), ("waive", "Bob", datetime(2026, 3, 2, 9), "twins", datetime(2026, 4, 1)),
    ]  # fmt: skip


def test_the_last_decision_holds_and_taking_it_back_brings_the_one_before(store: DecisionStore) -> None:
    store.record([Decision("acknowledge", "Ann", finding())])
    store.record([Decision("waive", "Ann", finding(), reason="x", waived_until=datetime(2030, 1, 1))])
    assert in_force(store)[0] == {finding()["fingerprint"]: "waived"}
    store.record([Decision("undo", "Ann", finding())])
    assert in_force(store)[0] == {finding()["fingerprint"]: "acknowledged"}
    store.record([Decision("undo", "Ann", finding()), Decision("undo", "Ann", finding())])
    assert in_force(store)[0] == {}
    assert [row["is_undone"] for row in store.read()] == [True, True, False, False, False]


def test_an_assignment_is_to_the_problem_whatever_its_facts(store: DecisionStore) -> None:
    store.record([Decision("assign", "Ann", finding(1, subject=9), owner="bob")])
    assert in_force(store)[1] == {finding(9)["fingerprint"]: "bob"}
    store.record([Decision("assign", "Ann", finding(2, subject=9), owner=None)])
    assert in_force(store)[1] == {}


def test_decisions_of_one_call_are_recorded_all_or_none(store: DecisionStore) -> None:
    bad = Decision("acknowledge", None, finding(2))  # type: ignore[arg-type]  # who decided may not be missing
    with pytest.raises(WarehouseProblem):
        store.record([Decision("acknowledge", "Ann", finding(1)), bad])
    assert store.read() == []


def test_people_may_decide_at_the_same_time(store: DecisionStore) -> None:
    threads = [threading.Thread(target=lambda who=who: store.record([Decision("acknowledge", who, finding(int(who)))])) for who in "123456"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row["decided_by"] for row in store.read()) == list("123456")


def test_a_store_that_cannot_be_used_says_so_without_the_password(postgres: Server, tmp_path: Path) -> None:
    with pytest.raises(WarehouseProblem, match="decisions store") as problem:
        DecisionStore(tmp_path, postgres.url(password="wrong-9Zz")).read()
    assert "wrong-9Zz" not in str(problem.value)
    for url in ("nonsense", "mongodb://x"):
        with pytest.raises(ConfigurationProblem, match="BINDWATCH_DECISIONS_URL"):
            DecisionStore(tmp_path, url)


_ACTS = st.lists(st.tuples(st.sampled_from(["acknowledge", "waive", "assign", "undo"]), st.integers(1, 2)), max_size=12)


@settings(max_examples=25, deadline=None)
@given(_ACTS)
def test_what_is_in_force_is_what_was_decided_last_and_not_taken_back(tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[Any, int]]) -> None:
    store = DecisionStore(tmp_path_factory.mktemp("home"))
    standing: dict[int, list[str]] = {1: [], 2: []}
    for action, number in acts:
        store.record([Decision(action, "Ann", finding(number), owner="bob", waived_until=datetime(2030, 1, 1))])
        if action != "undo":
            standing[number].append(action)
        elif standing[number]:
            standing[number].pop()
    status, owner = in_force(store)
    words = {"acknowledge": "acknowledged", "waive": "waived"}
    expected = {finding(n)["fingerprint"]: words[[a for a in s if a != "assign"][-1]] for n, s in standing.items() if set(s) - {"assign"}}
    assert status == expected
    assert owner.keys() == {finding(n)["subject"] for n, s in standing.items() if "assign" in s}


# ── several homes on one server ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(postgres: Server) -> sa.Engine:
    """A server without decisions."""
    engine = sa.create_engine(postgres.url())
    with engine.begin() as connection:
        connection.execute(sa.text("drop table if exists bindwatch_decision"))
    return engine


def store_of(name: str | None, server: sa.Engine, home: Path) -> DecisionStore:
    store = DecisionStore(home, server.url.render_as_string(hide_password=False))
    store.belongs_to(name)
    return store


def whose(store: DecisionStore) -> list[str]:
    return [row["decided_by"] for row in store.read()]


def test_homes_that_share_a_server_see_and_take_back_their_own_decisions_alone(server: sa.Engine, tmp_path: Path) -> None:
    ours, theirs = store_of("ours", server, tmp_path), store_of("theirs", server, tmp_path)
    ours.record([Decision("acknowledge", "Ann", finding())])
    theirs.record([Decision("waive", "Bob", finding(), reason="x", waived_until=datetime(2030, 1, 1))])
    theirs.record([Decision("undo", "Bob", finding())])
    assert (whose(ours), whose(theirs)) == (["Ann"], ["Bob", "Bob"])
    assert in_force(ours)[0] == {finding()["fingerprint"]: "acknowledged"}
    assert [row["decided_by"] for row in theirs.read_after(0)] == ["Bob", "Bob"]
    assert (ours.save(tmp_path / "ours.sqlite"), theirs.save(tmp_path / "theirs.sqlite")) == (1, 2)
    # a third one, restored from the backup of the first, takes nothing from the others
    third = store_of("third", server, tmp_path)
    assert third.missing_from(tmp_path / "ours.sqlite") == 1
    assert third.missing_from(tmp_path / "ours.sqlite", add_to_empty=True) == 0
    assert (whose(ours), whose(theirs), whose(third)) == (["Ann"], ["Bob", "Bob"], ["Ann"])
    assert (third.missing_from(tmp_path / "ours.sqlite"), third.missing_from(tmp_path / "theirs.sqlite", add_to_empty=True)) == (0, 2)


def test_decisions_from_before_homes_had_names_go_to_the_home_that_knows_the_finding(server: sa.Engine, tmp_path: Path) -> None:
    with server.begin() as connection:  # as 0.1 made it
        connection.execute(
            sa.text(
                """create table bindwatch_decision (decision_no serial primary key, decided_at timestamp not null, decided_by text not null,
                       action varchar(20) not null, fingerprint varchar(32) not null, subject varchar(32) not null, check_name varchar(60) not null,
                       hubspot_contact_id text, salesforce_id text, owner text, reason text, waived_until timestamp)"""
            )
        )
        connection.execute(
            sa.text(
                """insert into bindwatch_decision (decided_at, decided_by, action, fingerprint, subject, check_name)
                   values (now(), :who, 'waive', :fingerprint, :fingerprint, 'x')"""
            ),
            [{"who": who, "fingerprint": finding(number)["fingerprint"]} for number, who in ((1, "Ann"), (1, "Cy"), (2, "Bob"))],
        )
    unnamed, ours, theirs = (store_of(name, server, tmp_path) for name in (None, "ours", "theirs"))
    assert whose(unnamed) == ["Ann", "Cy", "Bob"]  # until a run of the newer version
    for store, number in ((ours, 1), (theirs, 2)):
        assert finding(number)["fingerprint"] in store.unnamed()
        store.adopt([finding(number)["fingerprint"], finding(9)["fingerprint"]])
    assert (whose(unnamed), whose(ours), whose(theirs)) == ([], ["Ann", "Cy"], ["Bob"])


def test_a_file_of_a_home_needs_no_names_and_one_of_an_older_version_is_read_and_written(tmp_path: Path) -> None:
    DecisionStore(tmp_path).record([Decision("acknowledge", "Ann", finding())])
    with sqlite3.connect(tmp_path / "decisions.sqlite") as connection:
        connection.execute("alter table bindwatch_decision drop column home")
    store = DecisionStore(tmp_path)
    store.belongs_to("ours")
    store.record([Decision("acknowledge", "Bob", finding())])
    assert (whose(store), store.unnamed()) == (["Ann", "Bob"], [])


# ── what the next run makes of it ────────────────────────────────────────────────────────────────────────────────────────────────


def decided(tmp_path: Path, **changes: Any) -> tuple[Crm, dict[str, Any]]:
    """A finding known to a first run, about which something was decided; waived until day 40 unless a test says otherwise."""
    crm = duplicates(rival_fields={"Title": "Buyer", "City": "Berlin"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", "city": "Berlin"})
    found = crm.finding("unsafe_duplicate")
    crm.end_run()
    store = DecisionStore(tmp_path)
    ordinary: dict[str, Any] = {"action": "waive", "decided_by": "Ann", "finding": found, "reason": "twins", "waived_until": day(40)}
    store.record([Decision(**ordinary | changes)])
    write_decisions(crm.connection, store.read())
    return crm, found


def test_a_waived_finding_is_waived_in_the_next_run(tmp_path: Path) -> None:
    crm, _ = decided(tmp_path)
    finding = crm.finding("unsafe_duplicate")
    assert (finding["status"], finding["waived_until"], finding["waiver_lapsed"]) == ("waived", day(40), None)


def test_a_waiver_lapses_on_its_date_and_the_run_says_so_once(tmp_path: Path) -> None:
    crm, _ = decided(tmp_path)
    crm.end_run(day(40) + timedelta(minutes=1))
    finding = crm.finding("unsafe_duplicate")
    assert (finding["status"], finding["waiver_lapsed"]) == ("open", "date")
    crm.end_run(day(41))
    assert crm.finding("unsafe_duplicate")["waiver_lapsed"] == "date"
    crm.end_run(day(42))
    assert [(row["run_id"], row["detail"]) for row in crm.rows("main.finding_event") if row["event"] == "waiver_lapsed"] == [("run 3", "date")]


def test_a_waiver_lapses_when_the_facts_change(tmp_path: Path) -> None:
    crm, _ = decided(tmp_path)
    crm.end_run(day(31))
    crm.later()
    crm.lead(2, created=day(3), modified=day(4), fields={"Title": "Buyer", "City": "Paris"})
    finding = crm.finding("unsafe_duplicate")
    assert (finding["status"], finding["change"], finding["waiver_lapsed"]) == ("open", "worsened", "facts")
    crm.end_run(day(32))
    assert [(row["run_id"], row["detail"]) for row in crm.rows("main.finding_event") if row["event"] == "waiver_lapsed"] == [("run 3", "facts")]
    assert crm.finding("unsafe_duplicate")["waiver_lapsed"] == "facts"


def test_a_waiver_of_a_finding_that_went_and_came_back_the_same_still_holds(tmp_path: Path) -> None:
    crm, _ = decided(tmp_path)
    for fields, moment in (({"Title": "CEO", "City": "Berlin"}, day(31)), ({"Title": "Buyer", "City": "Berlin"}, day(32))):
        crm.later()
        crm.lead(2, created=day(3), modified=day(4), fields=fields)
        crm.end_run(moment)
    assert crm.finding("unsafe_duplicate")["status"] == "waived"


def test_the_owner_stays_when_the_facts_change(tmp_path: Path) -> None:
    crm, _ = decided(tmp_path, action="assign", owner="bob", waived_until=None)
    assert crm.finding("unsafe_duplicate")["owner"] == "bob"
    crm.end_run(day(31))
    crm.later()
    crm.lead(2, created=day(3), modified=day(4), fields={"Title": "Buyer", "City": "Paris"})
    assert crm.finding("unsafe_duplicate")["owner"] == "bob"


def test_what_makes_a_run_unproven_cannot_be_waived(tmp_path: Path) -> None:
    crm = Crm()
    crm.pull("hubspot", "contact_history", complete=False, problem="cut off")
    store = DecisionStore(tmp_path)
    store.record([Decision("waive", "Ann", crm.finding("pull_incomplete"), reason="x", waived_until=day(99))])
    write_decisions(crm.connection, store.read())
    assert crm.finding("pull_incomplete")["status"] == "open"


def test_decisions_about_findings_that_nobody_knows_any_more_do_no_harm(tmp_path: Path) -> None:
    store = DecisionStore(tmp_path)
    store.record([Decision("acknowledge", "Ann", finding(7))])
    crm = Crm()
    crm.contact(lead_id=lead_id(99))
    write_decisions(crm.connection, store.read())
    assert crm.finding("bound_record_unknown")["status"] == "open"


@pytest.mark.parametrize(("before", "now", "is_told"), [(0, 0, False), (2, 2, False), (2, 5, False), (2, 1, True), (1, 0, True)])
def test_decisions_that_were_lost_are_told(before: int, now: int, is_told: bool, caplog: pytest.LogCaptureFixture) -> None:
    crm = Crm()
    note_decisions(crm.connection, before)
    caplog.clear()
    note_decisions(crm.connection, now)
    assert ("some were lost" in caplog.text) is is_told
