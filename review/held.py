"""Answers to a file that somebody handed in at the desk: kept while they look at them, so that one upload is enough. Gone when the desk ends."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Generic, TypeVar

from review.site import now

MOST = 12  # answers; the oldest one makes room
KEPT_FOR = timedelta(hours=8)  # a day's work

What = TypeVar("What")


@dataclass(frozen=True)
class Answer(Generic[What]):
    """name: of the file, as somebody's browser said it; folder: where the file and what was made of it lie; run_id: of the snapshot that was asked;
    what: the figures.
    """

    id: str
    name: str
    folder: Path
    run_id: str
    at: datetime
    what: What


class Held(Generic[What]):
    """Nobody finds an answer without its id, which cannot be guessed; whoever may enter the desk may be given it."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="bindwatch-desk-", ignore_cleanup_errors=True)
        self._answers: OrderedDict[str, Answer[What]] = OrderedDict()
        self._lock = Lock()

    def put(self, name: str, run_id: str, fill: Callable[[Path], What]) -> Answer[What]:
        """fill: writes into the folder that it is given, and returns the figures. What it raises is the caller's; nothing is kept then."""
        id = secrets.token_urlsafe(16)
        folder = Path(self._folder.name) / id
        folder.mkdir(mode=0o700)
        try:
            answer = Answer(id, name, folder, run_id, now(), fill(folder))
        except BaseException:
            rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            self._answers[id] = answer
            gone = [old for old in self._answers.values() if old.at < answer.at - KEPT_FOR]
            gone += [old for old in self._answers.values() if old not in gone][: max(0, len(self._answers) - len(gone) - MOST)]
            for old in gone:
                del self._answers[old.id]
        for old in gone:
            rmtree(old.folder, ignore_errors=True)
        return answer

    def get(self, id: str) -> Answer[What] | None:
        with self._lock:
            return self._answers.get(id)
