"""Calls that fail for the moment are made again: the one place that says how often, how long, and when to give up.

Neither client library does this well: one retries nothing, the other hides its retries from the rate limit.
"""

import email.utils
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from assets.machine import machine_fault
from assets.pull import patience

log = logging.getLogger("bindwatch.pull")

T = TypeVar("T")

LONGEST_WAIT = 120  # seconds; who is told to come back later than that gives up and says so
_CONNECT_ATTEMPTS = 3
_UNREADABLE_ATTEMPTS = 3  # that bring the same answer
_GIVEN_AT = re.compile(rb'"(startedAt|completedAt|requestedAt)"\s*:\s*"[^"]*"')
_backoff = wait_random_exponential(multiplier=0.5, max=20, min=0.2)


_PORTS = {"http": 80, "https": 443}


class Redirected(Exception):
    """An answer leads elsewhere, and is not followed. The message says where to, in words."""


class Again(Exception):
    """A call failed in a way that may pass: too many requests, a server error, a connection that broke off, half an answer.

    reason: in words, without the contents of a record; wait: seconds that the server asked for; no_connection: nothing answered at all; remedy: what to do
    when it does not pass, where that is known; code: the server's own word for it.
    """

    def __init__(self, reason: str, wait: float | None = None, no_connection: bool = False, remedy: str | None = None, code: str = "") -> None:
        if wait is not None and wait > LONGEST_WAIT:
            reason += f" and asks to wait for {wait:,.0f} seconds"
        self.reason, self.wait, self.no_connection, self.remedy, self.code = reason, wait, no_connection, remedy, code
        super().__init__(reason)


class Unreadable(Again):
    """An answer that cannot be read. body: what arrived; when the same arrives several times, it is not the connection that broke."""

    def __init__(self, reason: str, body: bytes) -> None:
        self.body = body
        super().__init__(reason)

    @property
    def digest(self) -> str:
        """Of the answer, without the times at which it was given."""
        return sha256(_GIVEN_AT.sub(b"", self.body)).hexdigest()[:16]


def with_patience(call: Callable[[], T], seconds: float, crm: str) -> T:
    """Makes a call until it no longer raises Again. Raises the last Again when `seconds` have passed in vain, or the same unreadable answer came
    again and again; PullProblem when the run may not go on any longer.
    """
    unreadable: Counter[str] = Counter()

    def give_up(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, Again)
        if isinstance(error, Unreadable):
            unreadable[error.digest] += 1
            if unreadable[error.digest] >= _UNREADABLE_ATTEMPTS:
                return True
        if machine_fault(error, Path()) is not None:
            return True  # no CRM mends that this machine has no room, or no descriptors left
        if error.no_connection:
            return state.attempt_number >= _CONNECT_ATTEMPTS
        return (error.wait or 0) > LONGEST_WAIT or (state.seconds_since_start or 0) >= seconds

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, Again)
        # who says "at once", or names a moment that has passed, is not asked faster than one who says nothing
        return max(error.wait or 0, _backoff(state))

    def tell(state: RetryCallState) -> None:
        if state.attempt_number > 1:  # a single hiccup is not worth a line
            log.warning("%s; trying again (%d)", state.outcome.exception() if state.outcome else "", state.attempt_number)

    retrying = Retrying(retry=retry_if_exception_type(Again), stop=give_up, wait=wait, before_sleep=tell, reraise=True)

    def attempt() -> T:
        patience.check(crm)
        return call()

    return retrying(attempt)


def elsewhere(asked: str, target: str) -> str | None:
    """Why a redirect is not followed: a token and what is asked for belong to the host that was named, and to it over TLS. None when it may be.

    target: as the answer names it, whole or relative.
    """
    try:
        before, after = urlsplit(asked), urlsplit(urljoin(asked, target))
        _ = after.port
    except ValueError:
        return "it redirects to an address that is none"
    if after.hostname != before.hostname or (after.port or _PORTS.get(after.scheme)) not in (before.port or _PORTS.get(before.scheme), 443):
        return f"it redirects to {after.hostname}{f':{after.port}' if after.port else ''}, another host"
    if before.scheme == "https" and after.scheme != "https":
        return "it redirects from https to http"
    return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for: it holds seconds, or a date. None without one, or when it cannot be read."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        moment = read_http_date(text)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment else None


@dataclass(frozen=True)
class Clock:
    """What a CRM's own clock said in an answer, and this machine's at that moment. Both UTC."""

    theirs: datetime
    ours: datetime


def clock_of(headers: Mapping[str, str]) -> Clock | None:
    """The clock in the Date header of an answer; None when it tells none."""
    theirs = read_http_date(headers.get("Date"))
    return Clock(theirs, datetime.now(UTC)) if theirs else None


def read_http_date(text: str | None) -> datetime | None:
    """A Date header as UTC; None when it is absent or no date."""
    try:
        moment = email.utils.parsedate_to_datetime(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
