"""Which tests take long, as a file: `pytest --note-long` writes it, and `make quick` leaves them out."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import pytest

KNOWN = Path(__file__).parent / "long.json"
LONG = 1.0  # seconds of a case, on average over the cases of a test


def mark_long(items: Iterable[pytest.Item]) -> None:
    known = set(json.loads(KNOWN.read_text("utf-8")))
    for item in items:
        if _test(item.nodeid) in known:
            item.add_marker("long")


class Lengths:
    """Notes how long the tests of a whole run took."""

    def __init__(self) -> None:
        self._cases: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._cases[_test(report.nodeid)][report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        long = [test for test, cases in self._cases.items() if fmean(cases.values()) > LONG]
        KNOWN.write_text(json.dumps(sorted(long), indent=0) + "\n", "utf-8")


def _test(case: str) -> str:
    return case.partition("[")[0]
