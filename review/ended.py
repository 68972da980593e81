"""Sessions that ended with a log-out. The browser's cookie goes, but a copy of it would be as good as before: so the desk remembers which are over."""

import os
import time
from pathlib import Path
from threading import Lock

from assets.files import write_whole

LONGEST = 365 * 86400  # seconds that a session may live; an ended one is forgotten after that, because its cookie has run out as well
_NAME = "desk-ended-sessions"


class EndedSessions:
    """In a small file of the home, one line each (when, which), so that it holds after a restart and for two desks on one home."""

    def __init__(self, home: Path) -> None:
        self._path = home / _NAME
        self._lock = Lock()
        self._ids: set[str] = set()
        self._read_at: tuple[int, int] | None = None
        self._forget_old()

    def __contains__(self, session_id: object) -> bool:
        if session_id is None:
            return False
        with self._lock:
            self._read()
            return session_id in self._ids

    def add(self, session_id: str) -> None:
        """Raises OSError when it cannot be kept; then it holds until the desk is closed."""
        with self._lock:
            self._ids.add(session_id)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"\n{int(time.time())} {session_id}\n")  # not behind half a line that a power cut left
                file.flush()
                os.fsync(file.fileno())

    def _read(self) -> None:
        """Takes in what another desk wrote."""
        try:
            seen = self._path.stat()
        except FileNotFoundError:
            return
        if self._read_at != (seen.st_mtime_ns, seen.st_size):
            self._read_at = (seen.st_mtime_ns, seen.st_size)
            self._ids |= {session_id for _, session_id in self._lines()}

    def _lines(self) -> list[tuple[int, str]]:
        """A line that a power cut left half is left out."""
        parts = [line.split() for line in self._path.read_text("ascii", "replace").splitlines()]
        return [(int(part[0]), part[1]) for part in parts if len(part) == 2 and part[0].isascii() and part[0].isdigit()]

    def _forget_old(self) -> None:
        if not self._path.exists():
            return
        lines = self._lines()
        kept = [(when, session_id) for when, session_id in lines if time.time() - when < LONGEST]
        if len(kept) < len(lines):
            write_whole(self._path, "".join(f"{when} {session_id}\n" for when, session_id in kept), 0o600)
