"""The token is not to be guessed, and a log-out ends a session for good."""

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from review.ended import LONGEST, EndedSessions
from review.guesses import ADDRESS_SECONDS, MOST_WAITING, OVERALL_FREE, OVERALL_SECONDS, Guesses
from tests.desk.portal import Visitor, served

TOKEN = "a-secret-of-some-length"


def log_in(visitor: Visitor, token: str = TOKEN) -> Any:
    form = visitor.open("/login").values("//input[@name='form_token']/@value")[0]
    return visitor.send("/login", {"token": token, "next": "/findings"}, token=form)


def guess(guesses: Guesses, addresses: list[str], seconds: float) -> int:
    """All addresses guess as fast as they are answered; returns how many guesses were looked at."""
    looked_at = 0

    async def one(address: str, until: float) -> None:
        nonlocal looked_at
        while time.monotonic() < until:
            looked_at += await guesses.judge(address, "wrong") is False

    async def everybody() -> None:
        until = time.monotonic() + seconds
        await asyncio.wait([asyncio.create_task(one(address, until)) for address in addresses], timeout=seconds)

    asyncio.run(everybody())
    return looked_at


def test_one_address_is_slowed() -> None:
    assert guess(Guesses(lambda _: False), ["a"] * 30, 3) <= 5 + 3 / ADDRESS_SECONDS + 1


def test_many_addresses_do_not_help() -> None:
    assert guess(Guesses(lambda _: False), [f"198.51.100.{number}" for number in range(60)], 3) <= OVERALL_FREE + 3 / OVERALL_SECONDS + 1


def test_what_is_remembered_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("review.guesses.OVERALL_SECONDS", 1e-6)
    monkeypatch.setattr("review.guesses.REMEMBERED_SECONDS", 0.05)
    guesses = Guesses(lambda _: False)

    async def many() -> None:
        for number in range(3000):
            await guesses.judge(str(number), "wrong")

    asyncio.run(many())
    assert len(guesses._addresses) < 2900 and not guesses._waiting
    assert MOST_WAITING < 100


@pytest.mark.parametrize("address_of", [lambda _: "198.51.100.1", lambda number: f"198.51.100.{number}"], ids=["one attacker", "many"])
def test_whoever_knows_the_token_gets_in_while_others_guess(home: Path, address_of: Any) -> None:
    """Through a proxy, which tells the addresses; also without one, where the attacker sits at the same machine."""
    with served(home, token=TOKEN) as address:
        stop = threading.Event()

        def attack(number: int) -> None:
            while not stop.is_set():
                headers = {"Authorization": f"Bearer wrong{number}", "X-Forwarded-For": address_of(number)}
                requests.get(f"{address}/findings", headers=headers, timeout=60, allow_redirects=False)

        attackers = [threading.Thread(target=attack, args=[number], daemon=True) for number in range(12)]
        for attacker in attackers:
            attacker.start()
        time.sleep(3)
        try:
            for headers in ({}, {"X-Forwarded-For": address_of(1)}):
                started = time.monotonic()
                assert log_in(Visitor(address, **headers)).texts("//h1") == ["Findings"]
                assert time.monotonic() - started < 15
            started = time.monotonic()
            assert requests.get(f"{address}/findings", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60).status_code == 200
            assert time.monotonic() - started < 5
        finally:
            stop.set()


def test_a_wrong_guess_is_logged_with_its_address_and_without_itself(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(home, token=TOKEN) as address, caplog.at_level(logging.INFO):
        assert "That is not the token." in log_in(Visitor(address, **{"X-Forwarded-For": "198.51.100.9"}), "nearly-the-secret").text
        Visitor(address).open("/findings", Authorization="Bearer nearly-the-secret")
    lines = [record.getMessage() for record in caplog.records]
    assert "a wrong token from 198.51.100.9 (1 of late)" in lines and "a wrong token from 127.0.0.1 (1 of late)" in lines
    assert not [line for line in lines if "nearly" in line]


def test_who_must_come_again_is_told_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("review.guesses.MOST_WAITING", 0)
    with served(home, token=TOKEN) as address:
        page = log_in(Visitor(address))
        assert page.status == 429 and page.answer.headers["Retry-After"] == "2"
        assert "Try again in a few seconds." in page.text
        assert Visitor(address).open("/findings", Authorization=f"Bearer {TOKEN}").status == 429


# ── log-out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_out_ends_every_copy_of_the_session_also_after_a_restart_and_no_other_one(home: Path) -> None:
    with served(home, token=TOKEN) as address:
        ann, bob, thief = Visitor(address), Visitor(address), Visitor(address)
        log_in(ann)
        log_in(bob)
        thief.session.cookies.update(ann.session.cookies)
        assert thief.open("/").texts("//h1") == ["Unsafe"]
        ann.send("/logout", {})
        assert thief.open("/").texts("//h1") == ["Log in"]
        assert bob.open("/").texts("//h1") == ["Unsafe"]
        log_in(ann)
        assert ann.open("/").texts("//h1") == ["Unsafe"]
        early = Visitor(address)
        early.session.cookies.update(thief.session.cookies)
    assert (home / "desk-ended-sessions").stat().st_mode & 0o077 == 0
    with served(home, token=TOKEN) as address:
        for visitor in (ann, bob, thief, early):
            visitor.address = address
        assert thief.open("/").texts("//h1") == early.open("/").texts("//h1") == ["Log in"]
        assert ann.open("/").texts("//h1") == bob.open("/").texts("//h1") == ["Unsafe"]


def test_another_desk_on_the_home_knows_of_a_log_out(home: Path) -> None:
    one, other = EndedSessions(home), EndedSessions(home)
    one.add("a" * 32)
    assert "a" * 32 in other and "b" * 32 not in other and None not in other


def test_ended_sessions_are_forgotten_when_their_cookies_have_run_out_and_half_a_line_is_none(home: Path) -> None:
    path = home / "desk-ended-sessions"
    path.write_text(f"{int(time.time()) - LONGEST - 5} old\n{int(time.time())} new\n12 half line\n{int(time.time())}")
    ended = EndedSessions(home)
    assert "new" in ended and "old" not in ended
    path.write_text(f"{int(time.time())}")
    ended.add("later")
    assert "later" in EndedSessions(home)


def test_strangers_leave_nothing_behind_when_they_log_out(home: Path) -> None:
    with served(home, token=TOKEN) as address:
        visitor = Visitor(address)
        form = visitor.open("/login").values("//input[@name='form_token']/@value")[0]
        visitor.send("/logout", {}, token=form)
    assert not (home / "desk-ended-sessions").exists()
