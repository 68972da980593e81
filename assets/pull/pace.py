"""A rate limit, kept to from our side: as many calls as allowed, and not one more."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger("bindwatch.pull")


def say_if_short(crm: str, pull: str, rows: int, page: int, left: int | None) -> None:
    """Says before a pull of so many rows, `page` a call, that it needs more calls than are left today. left: None where the CRM does not tell."""
    needed = math.ceil(rows / page)
    if left is not None and needed > left:
        log.warning(
            "%s will need about %s calls, and %s has %s left today: it will stop when they are used up. What has arrived by then stays for pull.resume_hours",
            pull, f"{needed:,}", crm, f"{max(left, 0):,}",
        )  # fmt: skip


class Pace:
    """At most `calls` in any `seconds`. Threads may share one.

    The window is a little longer than the limit's, because calls do not arrive as evenly as they are sent.
    """

    def __init__(self, calls: int, seconds: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self.calls, self.seconds = calls, seconds
        self._recent: deque[float] = deque()
        self._not_before = 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Returns when the next call may be made, and counts it."""
        with self._lock:
            now = self._clock()
            window = self.seconds * 1.01
            while self._recent and self._recent[0] <= now - window:
                self._recent.popleft()
            start = max(now, self._not_before)
            if len(self._recent) >= self.calls:
                start = max(start, self._recent[-self.calls] + window)
            if start > now:
                self._sleep(start - now)
            self._recent.append(self._clock())

    def hold(self, seconds: float) -> None:
        """No call for so long: the other side says that the limit is used up."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def tighten(self, calls: int) -> None:
        """The other side allows fewer calls than we were told."""
        self.calls = max(1, min(self.calls, calls))
