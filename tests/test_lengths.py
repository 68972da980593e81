"""Which tests are long is noted of those that ran, and of no other; what cannot be read is said, and written anew."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.lengths import Lengths, known_long

HERE = "tests/test_lengths.py"
MINE = f"{HERE}::test_a_run_of_a_few_tests_forgets_nothing_of_the_others"


def noted(file: Path, before: list[str], **seconds: float) -> list[str]:
    """What the file holds after a run in which cases of tests in this file took so long."""
    file.write_text(json.dumps(before), "utf-8")
    lengths = Lengths(file)
    for case, took in seconds.items():
        lengths.pytest_runtest_logreport(cast(Any, SimpleNamespace(nodeid=f"{HERE}::{case}", duration=took)))
    lengths.pytest_sessionfinish()
    return sorted(known_long(file))


def test_a_run_of_a_few_tests_forgets_nothing_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    assert noted(file, [MINE]) == [MINE], "nothing ran: --collect-only"
    assert noted(file, [MINE], test_new=1.5) == [MINE, f"{HERE}::test_new"]
    assert noted(file, [MINE], **{MINE.partition("::")[2]: 0.5}) == [], "it became short"
    assert noted(file, [], **{"test_new[a]": 1.5, "test_new[b]": 0.1}) == [], "the cases of a test are long or short together"


def test_a_test_that_was_renamed_or_whose_file_went_is_forgotten(tmp_path: Path) -> None:
    assert noted(tmp_path / "long.json", [MINE, f"{MINE}_no_more", "tests/test_gone.py::test_a"]) == [MINE]


@pytest.mark.parametrize("broken", [None, "", "[\n<<<<<<< ours\n", '{"a": 1}'], ids=["gone", "empty", "conflict", "no list"])
def test_a_list_that_cannot_be_read_is_said_and_written_anew(broken: str | None, tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    if broken is not None:
        file.write_text(broken, "utf-8")
    with pytest.raises(pytest.UsageError, match=r"long\.json cannot be read .*--note-long"):
        known_long(file)
    lengths = Lengths(file)
    lengths.pytest_runtest_logreport(cast(Any, SimpleNamespace(nodeid=MINE, duration=2.0)))
    lengths.pytest_sessionfinish()
    assert known_long(file) == {MINE}
