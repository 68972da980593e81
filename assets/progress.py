"""What this process is doing now, and whether it was told to end. Steps say the first; a signal says the second.

Libraries replace signal handlers and swallow exceptions (Dagster does the one, Great Expectations the other), and DuckDB turns an interrupt into
an error of its own. So what counts is not which exception arrived, but that a signal did: `told_to_end` knows, and `doing` ends what went on.
"""

import os
import re
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME = 1.0  # seconds in which a second signal is the same one: `timeout` and a terminal that closes send theirs twice
PASSING = {"is_passing": True}  # a record of the log that says how far something is: whoever watches that move needs no line of it
_PULLED = "What was pulled is kept; the next run goes on from there."


class Interrupted(KeyboardInterrupt):
    """A signal told this process to end. A KeyboardInterrupt, because libraries that tidy up know that one."""


@dataclass
class Progress:
    """doing: what is going on, as it follows the word "while"; kept: what of it stays, None for the rows that arrived; rows: so many, in this process;
    far: how far it is in words, "" when nobody knows; share: the same between 0 and 1, None when nobody knows.
    """

    doing: str
    kept: str | None
    rows: int = 0
    far: str = ""
    share: float | None = None

    @property
    def told(self) -> str:
        """What is going on, as somebody is told who waits: "the tables are being built, table 12 of 44"."""
        going_on = re.sub(r"\b(was|were)\b", lambda word: {"was": "is", "were": "are"}[word[0]], self.doing)
        return f"{going_on}, {self.far}" if self.far else going_on


now = Progress("Bindwatch was starting", "Nothing had begun: call it again.")


def doing(what: str, kept: str | None = _PULLED) -> None:
    """A new phase begins. Raises Interrupted when somebody said during the last one that the process is to end, and it went unheard."""
    end_if_told()
    now.doing, now.kept, now.far, now.share = what, kept, "", None


def counted(what: str, done: int, of: int | None = None) -> None:
    """How far it is: `of` parts, "table 12 of 44"; or, when nobody knows how many will come, "1,200 rows of Lead"."""
    now.far = f"{what} {done:,} of {of:,}" if of else f"{done:,} {what}"
    now.share = done / of if of else None


def end_if_told() -> None:
    """Raises Interrupted when a signal has arrived."""
    if name := told_to_end():
        raise Interrupted(name)


def interruption() -> str:
    """What a person is told who interrupted: by what, during what, and what is kept."""
    kept = now.kept
    if kept is None:
        arrived = f"{now.rows:,} row{'' if now.rows == 1 else 's'} that had arrived" if now.rows else "What had arrived"
        kept = f"{arrived} {'are' if now.rows > 1 else 'is'} kept; the next run goes on from there."
    return f"Interrupted by {told_to_end() or 'a signal'} while {now.doing}. {kept}"


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Bell:
    """Where signals arrive, whoever handles them: Python writes each into a pipe before it calls a handler."""

    def __init__(self) -> None:
        self.reader = -1
        self.first: str | None = None
        self.first_at = 0.0
        self.is_urgent = False  # it came again, so whoever sent it does not want to wait
        self.has_raised = False
        self._lock = threading.Lock()

    def look(self) -> None:
        """Takes what has arrived out of the pipe."""
        with self._lock:
            while self.reader >= 0 and select.select([self.reader], [], [], 0)[0]:
                for number in os.read(self.reader, 100):
                    self._note(number)

    def _note(self, number: int) -> None:
        if number not in SIGNALS:
            return
        if self.first is None:
            self.first, self.first_at = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - self.first_at > SAME:
            self.is_urgent = True


_bell = _Bell()


def listen() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP end what goes on. One that was ignored when the process began (nohup, a job in the background) stays so."""
    _bell.reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        # Dagster puts a handler of its own in place and back, and takes SIGINT's for SIGTERM, too: so what was ignored is not ignored, but kept out
        keep = signal.SIG_BLOCK if signal.getsignal(number) is signal.SIG_IGN else signal.SIG_UNBLOCK
        signal.signal(number, _interrupt)
        signal.pthread_sigmask(keep, [number])


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if not _bell.has_raised:  # a second one would only break into the tidying up
        _bell.has_raised = True
        raise Interrupted


def told_to_end() -> str | None:
    """The name of the signal that told this process to end; None when none did."""
    _bell.look()
    return _bell.first


def wait_for_signal(seconds: float | None = None) -> bool:
    """Waits for the next signal, at most so long (None: for ever). Returns whether somebody is in a hurry: the signal came again."""
    select.select([_bell.reader], [], [], seconds)
    _bell.look()
    return _bell.is_urgent


@contextmanager
def undisturbed() -> Iterator[None]:
    """No handler breaks into what is tidied up here, not even Dagster's. The process still ends in time: that does not depend on handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
