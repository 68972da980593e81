"""Guesses of the token: looked at one after the other, the slower the more of them were wrong.

A wrong guess costs its address half a second and everybody together a fifth of one, once a few are used up. So nobody tries more than five in a second,
from however many addresses; a secret of 16 characters is safe from that. A right token costs nothing, and of those who wait the address with the
fewest wrong guesses comes first: whoever knows the token gets in while others guess. The guess itself is kept nowhere.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("bindwatch.desk")

OVERALL_SECONDS, OVERALL_FREE = 0.2, 20  # what a wrong guess costs, and how many are free after a quiet time
ADDRESS_SECONDS, ADDRESS_FREE = 0.5, 5
MOST_WAITING, MOST_WAITING_OF_ONE = 64, 16  # who comes when so many wait is told to come again
REMEMBERED_SECONDS = 600  # that an address guessed wrongly; at five a second there are never more than some 3,000
COME_AGAIN_SECONDS = 2


@dataclass
class _Pace:
    """What was used up. used: the moment at which everything will be paid for."""

    seconds: float
    free: int
    used: float = 0

    def is_free(self, now: float) -> bool:
        return self.used - now <= self.seconds * (self.free - 1)

    def pay(self, now: float) -> None:
        self.used = max(self.used, now) + self.seconds


@dataclass
class _Address:
    """What is known of an address that guessed wrongly."""

    pace: _Pace
    wrong: int = 0
    last: float = 0


class Guesses:
    """All guesses of the token at one desk. Lives in one event loop."""

    def __init__(self, fits: Callable[[str], bool]) -> None:
        """fits: is that the token?"""
        self._fits = fits
        self._overall = _Pace(OVERALL_SECONDS, OVERALL_FREE)
        self._addresses: dict[str, _Address] = {}
        self._waiting: list[tuple[int, str]] = []
        self._number = 0
        self._held = 0
        self._turned_away = 0
        self._told = 0.0

    async def judge(self, address: str, given: str) -> bool | None:
        """Is that the token? None when it was not looked at, because too many wait. Waits for its turn."""
        if not await self._take_turn(address):
            return None
        if self._fits(given):
            return True
        now = time.monotonic()
        self._addresses = {name: known for name, known in self._addresses.items() if now - known.last < REMEMBERED_SECONDS}
        known = self._addresses.setdefault(address, _Address(_Pace(ADDRESS_SECONDS, ADDRESS_FREE)))
        known.wrong, known.last = known.wrong + 1, now
        known.pace.pay(now)
        self._overall.pay(now)
        log.warning("a wrong token from %s (%d of late)", address, known.wrong)
        return False

    async def _take_turn(self, address: str) -> bool:
        if len(self._waiting) >= MOST_WAITING or sum(one == address for _, one in self._waiting) >= MOST_WAITING_OF_ONE:
            self._tell_of_turned_away()
            if self._held < MOST_WAITING:  # whoever asks again at once would crowd out those who do not
                self._held += 1
                try:
                    await asyncio.sleep(COME_AGAIN_SECONDS / 2)
                finally:
                    self._held -= 1
            return False
        self._number += 1
        me = (self._number, address)
        self._waiting.append(me)
        try:
            while self._next() != me:
                await asyncio.sleep(0.02)
        finally:
            self._waiting.remove(me)
        return True

    def _next(self) -> tuple[int, str] | None:
        """Whose turn it is, if it is anybody's."""
        now = time.monotonic()
        if not self._overall.is_free(now):
            return None
        known = self._addresses
        ready = [one for one in self._waiting if one[1] not in known or known[one[1]].pace.is_free(now)]
        return min(ready, key=lambda one: (known[one[1]].wrong if one[1] in known else 0, one[0]), default=None)

    def _tell_of_turned_away(self) -> None:
        self._turned_away += 1
        if (now := time.monotonic()) - self._told > 10:
            log.warning("%d guesses of the token were turned away unread: too many came at once", self._turned_away)
            self._turned_away, self._told = 0, now
