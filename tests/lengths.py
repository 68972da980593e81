"""Which tests take long, as a file: `pytest --note-long` notes it of those that it runs, and `make quick` leaves them out."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import pytest

KNOWN = Path(__file__).parent / "long.json"
LONG = 1.0  # seconds of a case, on average over the cases of a test


def known_long(file: Path = KNOWN) -> set[str]:
    """Raises UsageError when the file is not there, or no list of names (a merge left its marks in it)."""
    try:
        tests = json.loads(file.read_text("utf-8"))
        if not isinstance(tests, list):
            raise ValueError("it is no list")
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"{file.name} cannot be read ({error}). Take a former one from git, or have it written anew: pytest --note-long") from error
    return set(tests)


def mark_long(items: Iterable[pytest.Item], known: set[str]) -> None:
    for item in items:
        if _test(item.nodeid) in known:
            item.add_marker("long")


class Lengths:
    """Notes how long the tests of a run took. Of others the file says what it said, as long as they are there."""

    def __init__(self, file: Path = KNOWN) -> None:
        self._file = file
        self._cases: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._cases[_test(report.nodeid)][report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        try:
            before = known_long(self._file)
        except pytest.UsageError:
            before = set()
        others = {test for test in before - set(self._cases) if _is_there(test)}
        long = {test for test, cases in self._cases.items() if fmean(cases.values()) > LONG}
        self._file.write_text(json.dumps(sorted(others | long), indent=0) + "\n", "utf-8")


def _test(case: str) -> str:
    return case.partition("[")[0]


def _is_there(test: str) -> bool:
    path, _, name = test.partition("::")
    file = KNOWN.parent.parent / path
    return file.is_file() and f"def {name}(" in file.read_text("utf-8")
