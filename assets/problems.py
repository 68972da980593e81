"""What can go wrong, in words for the person who has to mend it. Messages carry no secret and no e-mail address.

Each class says with which exit code a command ends that meets it; pipelines/ending.py is the one place that looks. What a library says may quote
a record, so none of its words leave this file but through `said`.
"""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PACKAGES = ("assets", "expectations", "pipelines", "review", "sandbox", "benchmarks", "tests")


class Problem(Exception):
    """Something that a person can understand and mend. exit_code: of the command that ends with it."""

    exit_code = 3


class ConfigurationProblem(Problem):
    """Settings or policy are missing or wrong. Each line of the message names one setting and what to do about it."""

    exit_code = 2


class PullProblem(Problem):
    """A CRM could not be pulled.

    source: "Salesforce" or "HubSpot"; what: what happened; remedy: what the person who runs Bindwatch does about it.
    """

    def __init__(self, source: str, what: str, remedy: str) -> None:
        self.source, self.what, self.remedy = source, what, remedy
        super().__init__(f"{source}: {what} {remedy}")


class WarehouseProblem(Problem):
    """The warehouse file cannot be opened: another process holds it, it is damaged, or a newer version of Bindwatch wrote it."""


class DamagedWarehouse(WarehouseProblem):
    """The warehouse file is damaged or gone. The message names the way back."""


class HomeInUse(WarehouseProblem):
    """Another run, or a backup or check, is going on in the home."""


class MachineProblem(Problem):
    """The machine cannot do what is asked of it: no room on a disk, no permission, no memory, no descriptors.

    exit_code: 2 where a setting mends it (another folder), else 3.
    """

    def __init__(self, text: str, exit_code: int = 3) -> None:
        self.exit_code = exit_code
        super().__init__(text)


class UnexpectedProblem(Problem):
    """Nobody expected it: most likely a bug in Bindwatch. The message was made with `said`."""


# ── what libraries say ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# It begins where a word begins and gives nothing back: elsewhere it would be tried at every character of a long text.
_EMAIL = re.compile(r"(?<![^\s@<>,;:\"'()\[\]{}=/])[^\s@<>,;:\"'()\[\]{}=/]++@[^\s@<>,;:\"'()\[\]{}=/]+")
_QUOTED = re.compile(r"""["'`“”‘’«»].*["'`“”‘’«»]|["'`“”‘’«»].*$""")  # from the first quote to the last: what is quoted may hold quotes
_DATA = re.compile(r"\b(?:input|original line|key|data|rows?|values?|detail|parameters|hint)\b\s*[:(=\[{].*", re.IGNORECASE)
_ABOUT_SQL = re.compile(r"^(?:\([\w.]+\) )?(?:Binder|Catalog|Parser) Error: ")


def without_emails(text: str) -> str:
    """The same text with *** for every e-mail address."""
    return _EMAIL.sub("***", text)


def said(text: object) -> str:
    """What a library said, as far as it cannot quote a record: its first line, without what is quoted and what looks like data.

    What DuckDB says about a statement it does not understand stays, because our statements hold no data.
    """
    line = next((line.strip() for line in str(text).splitlines() if line.strip()), "")
    if not _ABOUT_SQL.match(line):
        line = _DATA.sub("…", _QUOTED.sub("…", line))
    return without_emails(line)[:300]


def presentable(error: BaseException) -> str:
    """An exception that nobody expected, in one line without data: its class, where in our code it arose, and what its library said."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    where = f" at {Path(frames[-1].filename).relative_to(_ROOT)}:{frames[-1].lineno}" if frames else ""
    words = str(error) if isinstance(error, Problem) else said(error)
    return f"{type(error).__name__}{where}" + (f": {words}" if words else "")


def frames_of(error: BaseException) -> list[str]:
    """Where an exception came through, a line a frame, without a word of any library."""
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what led to it, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]


def _is_ours(filename: str) -> bool:
    path = Path(filename)
    return path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in _PACKAGES
