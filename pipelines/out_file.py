"""A file as the answer of a command: where --out says, or on standard output."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from assets.files import replaced


def write_answer(out: Path | None, write: Callable[[Path], None]) -> None:
    """Has `write` fill a file, and brings it to `out`, whole or not at all, or to standard output. Raises ConfigurationProblem when `out` cannot be written."""
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        write(answer)
        with answer.open("rb") as file:
            if out is None:
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.flush()
                return
            with replaced(out) as path, path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
