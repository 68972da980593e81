"""Merge plans as people hand them in."""

from pathlib import Path

import pytest

from assets.merge_plan import load_merge_plans, read_merge_plan
from tests.crm import BOUND, RIVAL, duplicates, one


@pytest.mark.parametrize(
    "text",
    [
        f"master_id,loser_id\n{BOUND},{RIVAL}\n",
        f"\ufeffNote;LOSER_ID ;Master_Id\r\nwhy;{RIVAL}; {BOUND}\r\n;;\r\n",
        f'loser_id,comment,master_id\n{RIVAL},"a, b",{BOUND}',
    ],
)
def test_a_plan_is_read_whatever_the_case_order_and_separator(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.csv").write_bytes(text.encode())
    assert list(read_merge_plan(tmp_path / "plan.csv")) == [(BOUND, RIVAL)]


@pytest.mark.parametrize("content", [b"", b"master_id\n", b"id,loser\n1,2\n", "master_id,loser_id\nä,b".encode("latin-1")])
def test_a_plan_that_cannot_be_read_is_a_finding_and_does_not_stop_the_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "merge-plans").mkdir()
    (tmp_path / "merge-plans" / "plan.csv").write_bytes(content)
    crm = duplicates()
    load_merge_plans(crm.connection, tmp_path)
    assert "plan.csv: The file cannot be read" in one(crm, "planned_merge_unsafe")["reason"]


def test_a_plan_is_judged_while_it_lies_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "merge-plans").mkdir()
    plan = tmp_path / "merge-plans" / "plan.csv"
    plan.write_text(f"master_id,loser_id\n{RIVAL},{BOUND}\n,{BOUND}\n")
    crm = duplicates()
    crm.contact(bound=BOUND)
    load_merge_plans(crm.connection, tmp_path)
    assert sorted(finding["reason"][:17] for finding in crm.findings("planned_merge_unsafe")) == ["Row 1 of plan.csv", "Row 2 of plan.csv"]
    plan.unlink()
    load_merge_plans(crm.connection, tmp_path)
    assert crm.findings("planned_merge_unsafe") == []
