"""What the desk knows of itself, for a program that watches it: is there a snapshot, do runs still prove something, does the decisions store answer?"""

import time
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from assets.moments import utc_text
from assets.problems import Problem
from assets.published.decisions import DecisionStore
from assets.published.silence import last_proven, silence_limit
from assets.published.snapshot import current_folder, open_folder
from review.site import Site

_KEPT_SECONDS = 5.0  # anybody may ask, so an answer serves for all who do


class Health:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = Lock()
        self._store: DecisionStore | None = None
        self._found: dict[str, Any] = {"state": "unknown"}
        self._looked_at = float("-inf")

    def look(self) -> dict[str, Any]:
        """state: ok, or mend when one of the parts is not ok. One request looks; those that come meanwhile get what the last one found."""
        if time.monotonic() - self._looked_at > _KEPT_SECONDS and self._lock.acquire(blocking=False):
            try:
                parts = {"snapshot": self._snapshot(), "decisions": self._decisions()}
                self._found = {"state": "ok" if all(part["state"] == "ok" for part in parts.values()) else "mend", **parts}
                self._looked_at = time.monotonic()
            finally:
                self._lock.release()
        return self._found

    def _snapshot(self) -> dict[str, Any]:
        """state: missing, damaged, silent (no run proved anything for too long), ok."""
        try:
            folder = current_folder(self._site.settings.home)
            if folder is None:
                return {"state": "missing", "last_proven_run_at": None}
            with open_folder(folder) as snapshot:
                proven = last_proven(snapshot)
                limit = silence_limit(snapshot, self._site.settings.silent_after_hours)
        except (Problem, OSError):
            return {"state": "damaged", "last_proven_run_at": None}
        if proven is None:
            return {"state": "silent", "last_proven_run_at": None}
        is_silent = datetime.now(UTC).replace(tzinfo=None) - proven[1] > limit
        return {"state": "silent" if is_silent else "ok", "last_proven_run_at": utc_text(proven[1])}

    def _decisions(self) -> dict[str, Any]:
        """state: away, ok."""
        try:
            self._store = self._store or self._site.settings.open_store()
            self._store.check()
        except Problem:
            return {"state": "away"}
        return {"state": "ok"}
