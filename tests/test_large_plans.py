"""A plan or a list that is too large is refused by name, before it costs memory or time."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.problems import ConfigurationProblem
from assets.published import merge_plan
from assets.published.forecast import forecast
from assets.published.merge_check import judge, judge_dropped_plans
from assets.published.merge_plan import PlanProblem, load_merge_plans, read_merge_plan
from assets.published.snapshot import open_snapshot
from tests.crm import BOUND, RIVAL, Crm, duplicates, lead_id
from tests.desk.portal import publish
from tests.live import ROOT
from tests.test_backtest import run_command

MB = 1024 * 1024
HEADER = "master_id,loser_id\n"
WIDE = "master_id,loser_id," + ",".join(f"c{number}" for number in range(9_998)) + "\n"
# Made when they are asked for: every process of the tests would hold half a gigabyte of them.
BOMBS: dict[str, tuple[Callable[[], str], str]] = {
    "wide": (lambda: WIDE + "a,b\n" * 780_000, "10,000 columns, and may have 500"),
    "wide rows": (lambda: HEADER + "," * 3_000_000, "3,000,001 columns, and may have 500"),
    "cells": (lambda: "master_id,loser_id" + ",c" * 400 + "\n" + "a,b\n" * 800_000, "more than 5,000,000 cells (rows times the 402 columns of the header)"),
    "lines": (lambda: HEADER + "\n" * 30_000_000, "more than 1,000,000 lines"),
    "returns": (lambda: HEADER + "\r" * 30_000_000, "more than 1,000,000 lines"),
    "blanks": (lambda: " " * 30_000_000, "line 1: a cell has more than 131,072 characters"),
    "blank lines": (lambda: "\n" * 30_000_000, "more than 1,000,000 lines"),
    "blank lines with blanks": (lambda: " \n" * 15_000_000, "more than 1,000,000 lines"),
    "one line": (lambda: HEADER + "a" * 30_000_000, "line 2: a cell has more than 131,072 characters"),
    "one header": (lambda: "a" * 30_000_000, "line 1: a cell has more than 131,072 characters"),
    "a quotation mark": (lambda: HEADER + '"' + "a,b\n" * 7_000_000, "line 2: a cell has more than 131,072 characters, or a quotation mark is opened"),
    "quotation marks": (lambda: HEADER + '"' * 30_000_000, "line 2: a cell has more than 131,072 characters, or a quotation mark is opened"),
    "losers": (lambda: HEADER + ("a," + "b;c;" * 30_000 + "\n") * 250, ""),
    "losers between blanks": (lambda: HEADER + ("a," + "b ;c= " * 20_000 + "\n") * 250, ""),
    "links": (lambda: HEADER + ("a," + "b.c" * 43_000 + "\n" + "a," + "=HYPERLINK(/" * 10_000 + "\n" + "a," + "/" + "b" * 130_000 + "\n") * 80, ""),
    "e-mails": (lambda: HEADER + ("a," + "b@;" * 43_000 + "\n" + "a," + "@b " * 43_000 + "\n") * 100, ""),
    "different losers": (
        lambda: HEADER + "".join(f"m,{';'.join(f'{row}x{number}' for number in range(9000))}\n" for row in range(70)),
        "more than 500,000 merges",
    ),
    "bytes": (lambda: HEADER + "a,b\n" * 8_400_000, "more than 32 MB"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_name_in_little_memory_and_time(tmp_path: Path, name: str) -> None:
    make_text, named = BOMBS[name]
    plan = tmp_path / "plan.csv"
    plan.write_text(make_text())
    # in a process of its own that may have 1.5 GB: what is asked for beyond is an error there
    code = (
        "import resource, sys, time; resource.setrlimit(resource.RLIMIT_AS, (3 * 2**29,) * 2); from pathlib import Path\n"
        "from assets.published.merge_plan import PlanProblem, read_merge_plan\n"
        "started = time.process_time()\n"
        "try: print(len(read_merge_plan(Path(sys.argv[1])).pairs), 'merges')\n"
        "except PlanProblem as problem: print(problem)\n"
        "print(time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(plan)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    said, spent = answer.stdout.splitlines()
    assert named in said if named else "merges" in said
    assert float(spent.split()[0]) < 12
    assert len(said) < 400


@pytest.mark.slow
def test_a_plan_as_large_as_it_may_be_is_judged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(duplicates(), home)
    plan, out = tmp_path / "plan.csv", tmp_path / "out.csv"
    plan.write_text(HEADER + "".join(f"{lead_id(number)},{lead_id(number + 1)}\n" for number in range(10, 1_000_000, 2)))
    started = time.perf_counter()
    found = judge(home, plan, out, 24)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 * 2**20, "kB"
    assert sum(found.counts.values()) == 499_995
    assert time.perf_counter() - started < 240


@pytest.mark.parametrize(("row", "times"), [(f"{BOUND},{RIVAL}\n", 50_000), (f"{BOUND},{';'.join([RIVAL] * 6000)}\n", 4)], ids=["in lines", "in cells"])
def test_the_same_merge_many_times_costs_no_square(tmp_path: Path, row: str, times: int) -> None:
    home = tmp_path / "home"
    publish(duplicates(), home)
    (tmp_path / "plan.csv").write_text(HEADER + row * times)
    started = time.perf_counter()
    found = judge(home, tmp_path / "plan.csv", tmp_path / "out.csv", 24, tmp_path / "fixed.csv")
    assert sum(found.counts.values()) == times
    assert time.perf_counter() - started < 20


def test_the_command_and_the_folder_say_what_is_too_much(tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(duplicates(), home)
    (home / "merge-plans").mkdir()
    (home / "merge-plans" / "wide.csv").write_text(BOMBS["wide"][0]())
    answer = run_command(home, "merge-check", str(home / "merge-plans" / "wide.csv"))
    assert answer.returncode == 2 and answer.stdout == ""
    assert "line 1: it has 10,000 columns, and may have 500; leave out those that are not needed" in answer.stderr
    (judged,), _ = judge_dropped_plans(home, 24, None)
    assert judged.problem is not None and "10,000 columns" in judged.problem
    crm = Crm()
    load_merge_plans(crm.connection, home)
    assert crm.connection.execute("select row_no, problem like '%10,000 columns%' from main.merge_plan").fetchall() == [(0, True)]


def test_a_file_without_end_is_read_no_further_than_a_plan_may_go(tmp_path: Path) -> None:
    with pytest.raises(PlanProblem, match="more than 32 MB"):
        read_merge_plan(Path("/dev/zero"))


@pytest.mark.parametrize("layout", ["group,record id,master\n1,{},yes\n1,{},no\n", "master_id,loser_id,note\n{},{},\n"])
def test_what_is_as_large_as_it_may_be_is_read(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = layout.format(BOUND, RIVAL)
    rows = text.count("\n") - 1
    (tmp_path / "plan.csv").write_text(text)
    for name, exact in (("MOST_BYTES", len(text)), ("MOST_LINES", rows + 1), ("MOST_COLUMNS", 3), ("MOST_CELLS", 3 * (rows + 1)), ("MOST_MERGES", 1)):
        monkeypatch.setattr(merge_plan, name, exact)
        assert len(read_merge_plan(tmp_path / "plan.csv").pairs) == 1
        if name != "MOST_MERGES":
            monkeypatch.setattr(merge_plan, name, exact - 1)
            with pytest.raises(PlanProblem):
                read_merge_plan(tmp_path / "plan.csv")
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("header", "line", "lines", "named"),
    [
        (WIDE.replace("loser_id", "id"), "a,b\n", 700_000, "10,000 columns, and may have 500"),
        (f"id{',c' * 450}\n", f"{RIVAL}\n", 300_000, None),
    ],
    ids=["wide", "short lines"],
)
def test_a_list_of_ids_is_limited_as_well(tmp_path: Path, header: str, line: str, lines: int, named: str | None) -> None:
    publish(duplicates(), tmp_path / "home")
    (tmp_path / "touched.csv").write_text(header + line * lines)
    started = time.perf_counter()
    if named:
        with pytest.raises(ConfigurationProblem, match=named):
            forecast(open_snapshot(tmp_path / "home"), tmp_path / "touched.csv", tmp_path / "out.csv")
    else:
        assert forecast(open_snapshot(tmp_path / "home"), tmp_path / "touched.csv", tmp_path / "out.csv").listed == lines
    assert time.perf_counter() - started < 20
