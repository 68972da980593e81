"""The rate limit is kept to, and used; what fails for the moment is tried again, for as long as was said."""

import errno
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.policy import Pull
from assets.problems import PullProblem
from assets.pull import retries
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.pace import Pace
from assets.pull.retries import Again, retry_after, with_patience


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def walk(pace: Pace, clock: Clock, latencies: list[float]) -> list[float]:
    """The moments of one call after the other, each answered after its latency."""
    moments = []
    for latency in latencies:
        pace.wait()
        moments.append(clock.now)
        clock.now += latency
    return moments


@given(calls=st.integers(1, 40), seconds=st.sampled_from([1.0, 10.0]), latencies=st.lists(st.floats(0, 3), max_size=200))
def test_no_window_ever_holds_more_calls_than_allowed(calls: int, seconds: float, latencies: list[float]) -> None:
    clock = Clock()
    moments = walk(Pace(calls, seconds, clock.read, clock.sleep), clock, latencies)
    for first, later in zip(moments, moments[calls:], strict=False):
        assert later - first >= seconds


@given(calls=st.integers(5, 200), latency=st.floats(0, 0.04))
def test_at_least_nine_tenths_of_the_allowed_calls_are_made(calls: int, latency: float) -> None:
    clock = Clock()
    latency = min(latency, 8 / calls)  # the answers must come fast enough for that
    moments = walk(Pace(calls, 10, clock.read, clock.sleep), clock, [latency] * (calls * 5))
    windows = int(moments[-1] // 10)
    assert sum(moment < windows * 10 for moment in moments) >= 0.9 * windows * calls


def test_a_tighter_limit_counts_from_the_next_call_on() -> None:
    clock = Clock()
    pace = Pace(100, 10, clock.read, clock.sleep)
    walk(pace, clock, [0.0] * 50)
    pace.tighten(20)
    pace.tighten(90)  # never wider again than the narrowest that was named
    pace.wait()
    assert clock.now >= 10
    assert pace.calls == 20


def test_nothing_is_sent_while_the_other_side_wants_to_wait() -> None:
    clock = Clock()
    pace = Pace(100, 10, clock.read, clock.sleep)
    pace.hold(3)
    pace.wait()
    assert clock.now == 3


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), ("soon", None)])
def test_retry_after_in_seconds(header: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": header} if header else {}) == seconds


def test_retry_after_as_a_date() -> None:
    wait = retry_after({"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)})
    assert wait is not None
    assert 27 < wait <= 30


def failing(times: int, error: Again) -> Any:
    calls = iter(range(times + 1))

    def call() -> int:
        number = next(calls)
        if number < times:
            raise error
        return number

    return call


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", lambda state: 0.01)


def test_a_call_is_made_again_until_it_succeeds() -> None:
    assert with_patience(failing(4, Again("busy")), seconds=5, crm="HubSpot") == 4


def test_patience_ends() -> None:
    with pytest.raises(Again, match="busy"):
        with_patience(failing(10**6, Again("busy")), seconds=0.2, crm="HubSpot")


def test_who_asks_for_a_very_long_wait_is_not_waited_for() -> None:
    with pytest.raises(Again, match="asks to wait for 3,600 seconds"):
        with_patience(failing(1, Again("busy", wait=3600)), seconds=5, crm="HubSpot")


def test_nobody_at_the_other_end_is_tried_three_times_only() -> None:
    assert with_patience(failing(2, Again("nobody", no_connection=True)), seconds=60, crm="HubSpot") == 2
    with pytest.raises(Again):
        with_patience(failing(3, Again("nobody", no_connection=True)), seconds=60, crm="HubSpot")


def test_what_this_machine_lacks_is_not_waited_for() -> None:
    error = Again("cut off")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(Again, match="cut off"):
        with_patience(failing(1, error), seconds=60, crm="HubSpot")


class _Refusal(Exception):
    """As the HubSpot client raises them."""

    def __init__(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or {}


_Refusal.__module__ = "hubspot.crm.contacts.exceptions"


def portal_that_answers(*answers: Exception) -> tuple[Portal, Any]:
    portal = Portal(HubSpotAccess("token", "http://127.0.0.1:9", patience_seconds=5), Pull())
    left = list(answers)

    def request(*_arguments: Any, **_options: Any) -> Any:
        raise left.pop(0)

    portal._client.rest_client.request = request
    return portal, lambda: portal._call("the test", "GET", "/test")


def test_the_limit_of_a_day_is_not_waited_for() -> None:
    _, call = portal_that_answers(_Refusal(429, '{"policyName": "DAILY", "category": "RATE_LIMITS"}'))
    with pytest.raises(PullProblem, match="used up: run again tomorrow"):
        call()


def test_a_refusal_names_the_remedy_and_not_the_message_which_may_quote_a_record() -> None:
    _, call = portal_that_answers(_Refusal(403, '{"category": "MISSING_SCOPES", "message": "ann@example.com"}'))
    with pytest.raises(PullProblem) as raised:
        call()
    assert "MISSING_SCOPES" in str(raised.value)
    assert "@" not in str(raised.value)


def test_the_limit_that_the_portal_names_is_learnt_also_from_a_refusal() -> None:
    headers = {"X-HubSpot-RateLimit-Max": "100", "X-HubSpot-RateLimit-Interval-Milliseconds": "10000"}
    portal, call = portal_that_answers(_Refusal(429, "{}", headers), _Refusal(401, "{}"))
    with pytest.raises(PullProblem):
        call()
    assert portal._pace.calls == 100
