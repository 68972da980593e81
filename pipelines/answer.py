"""A file as the answer of a command: where --out says, or on standard output."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from assets.problems import ConfigurationProblem


def write_answer(out: Path | None, write: Callable[[Path], None]) -> None:
    """Has `write` fill a file, and brings it to `out`, or to standard output. Raises ConfigurationProblem when `out` cannot be written."""
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        write(answer)
        if out is not None:
            try:
                shutil.copyfile(answer, out)
            except OSError as error:
                raise ConfigurationProblem(f"{out} cannot be written: {error.strerror}") from error
            return
        with answer.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()
