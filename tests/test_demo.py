"""What somebody sees who meets Bindwatch for the first time: `bindwatch demo`, on a terminal and without one, and any run while it goes on."""

import io
import logging
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assets.models.sqlfile import check_files, model_files
from assets.problems import HomeInUse
from assets.published.worklist import Worklist
from assets.sql import SQL_FOLDER
from assets.warehouse.file import Warehouse
from pipelines import demo, demo_summary, install, terminal
from pipelines.demo_summary import print_summary
from pipelines.terminal import stdout
from tests.command import call, environment_of
from tests.crm import Crm, day, duplicates, jumped, lead_id
from tests.desk.portal import publish
from tests.live import ROOT
from tests.terminal import call_on_terminal, screen_of

STORIES = ("1  Jumped: ", "2  About to be lost: ", "3  Merged the wrong way: ")
NEXT = ("make review", ".venv/bin/bindwatch findings --id ", "make dev", "README.md")


def as_it_stays(lines: list[str]) -> None:
    """What every end of a demo has, whatever happened in it."""
    assert len(lines) <= 40, "\n".join(lines)
    text = "\n".join(lines)
    assert re.search(r"^FAIL  \d+ findings? blocks?, \d+ warn; \d+ of \d+ checks hold\. Red is right here\.$", text, re.MULTILINE), text
    assert re.search(r"^      Compared: \d+ fields, .* Settings: \d+ confirmed\.$", text, re.MULTILINE), text
    assert re.search(r'overwritten: \w+: ("[^"]+"|blank) → ("[^"]+"|blank)', " ".join(text.split())), text
    assert re.search(r"^before +now  findings of which kind", text, re.MULTILINE), text
    for beginning in (*STORIES, *NEXT):
        assert sum(line.startswith(beginning) for line in lines) == 1, beginning
    assert text.count("\n   → ") == len(STORIES), "each with what to do"
    for noise in ("None", "['", "built ", "rows so far", "rows pulled", "Cancel "):
        assert noise not in text, text


@pytest.mark.slow
def test_the_demo_on_a_terminal_moves_one_line_a_step_and_leaves_forty(tmp_path: Path) -> None:
    code, written = call_on_terminal(["demo", "--people", "300"], environment_of(tmp_path, {}))
    lines, gone = screen_of(written)
    assert code == 0, "\n".join(lines)
    as_it_stays(lines)
    assert [line for line in lines if len(line) > 80] == [], "a row more each"
    assert [line[0] for line in lines[1:5]] == ["✓"] * 4
    tables = len(model_files(SQL_FOLDER, check_files(ROOT / "expectations")))
    for step in ("First run", "Second run"):
        moved = [line for line in gone if f" {step}: " in line]
        assert any("is being pulled, " in line and "rows of " in line for line in moved), moved
        assert any(f" of {tables} " in line and "the tables are being built, table " in line and "━" in line for line in moved), moved
        assert any("the gate is judging, check " in line for line in moved), moved
    assert any(" Both CRMs: the CRMs are being filled and started" in line for line in gone)
    assert "\x1b[?25h" in written and not written.rstrip().endswith("\x1b[?25l"), "the cursor is there"


@pytest.mark.slow
def test_the_demo_without_a_terminal_says_a_plain_line_a_step(tmp_path: Path) -> None:
    answer = call(["demo", "--people", "300"], environment_of(tmp_path, {}))
    assert (answer.code, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    lines = answer.out.splitlines()
    as_it_stays(lines)
    assert len({*lines} - {""}) == len([line for line in lines if line]), "no line comes twice"
    assert [re.sub(r"\d[\d,]*", "7", line) for line in lines[1:5]] == [
        "✓ Salesforce, HubSpot and the integration between them are up. 7 s",
        "✓ First run: 7 Leads, 7 Contacts, 7 HubSpot contacts. 7 s",
        "✓ 7 days passed: edits, forms, conversions, merges, deletions. 7 s",
        "✓ Second run: 7 Leads, 7 Contacts and 7 HubSpot contacts had changed. 7 s",
    ]


def test_the_setup_moves_one_line_that_fits_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "install.log"
    log.write_text("Collecting six==1.17.0\nProcessing ./cffi-2.1.1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl (from -r a lock)\n")
    assert install._how_far(log, 126) == "fetching cffi, 2 of 126"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    with subprocess.Popen(["sleep", "0.2"]) as pip:
        install._wait(pip, log, 126)
    assert capsys.readouterr().out == "\r\x1b[K  fetching cffi, 2 \r\x1b[K"


def test_a_second_demo_takes_nothing_from_under_a_first_one_or_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    (tmp_path / "demo-world").touch()
    (tmp_path / "warehouse.duckdb").write_text("of the first one")
    for at_work, words in ((demo._alone(tmp_path), "Another demo is going on in"), (Warehouse(tmp_path).guard(), "Another run is going on in")):
        with at_work, pytest.raises(HomeInUse, match=words):
            demo.run_demo(50, 1)
    assert (tmp_path / "warehouse.duckdb").read_text() == "of the first one"


def test_crms_that_are_ended_before_they_serve_say_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        time.sleep(0.3)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_wait_for_environment", interrupted)
    with pytest.raises(KeyboardInterrupt), demo.running_sandbox(tmp_path, 50, 1, 1):
        pass
    assert capfd.readouterr().err == ""


def test_numbers_stay_whole_beside_a_title_that_is_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo_summary, "stdout", Console(width=80))
    demo_summary._print_counts([{"check_name": "unsafe_duplicate", "severity": "block", "holds": False, "before": 1187, "now": 2201}], 3)
    _, head, row = capsys.readouterr().out.splitlines()
    assert (head.split()[:2], row.split()[:2]) == (["before", "now"], ["1,187", "2,201"]) and "…" in row


def test_in_a_file_a_report_of_a_run_is_one_line_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    log_of_cron = io.StringIO()
    monkeypatch.setattr(terminal, "stderr", Console(file=log_of_cron, width=80))
    message = "HubSpot contact_archived_changed: 3 rows pulled (incremental), 3 new or changed, and more"
    terminal._Progress().emit(logging.makeLogRecord({"msg": message, "levelno": logging.INFO}))
    assert log_of_cron.getvalue() == f"  {message}\n"


def what_can_happen() -> Crm:
    """Between two runs a contact jumps and loses two values, a record is deleted with its contact, and a merge takes another contact."""
    crm = duplicates()
    jumped(crm)
    for number, email in ((11, "cy@example.com"), (12, "cy@example.com"), (21, "di@example.com")):
        crm.lead(number, email=email)
    crm.later()  # a pull brings one version of a record
    crm.lead(11, email="cy@example.com", merged_into=lead_id(12), modified=day(30.1))
    crm.lead(21, email="di@example.com", deleted=True, modified=day(30.1))
    crm.contact("201", bound=lead_id(11), email="cy@example.com", archived_at=day(30.2), properties={"firstname": "Cy"})
    crm.contact("301", bound=lead_id(21), email="di@example.com", archived_at=day(30.2), properties={"firstname": "Di"})
    return crm


def test_the_end_of_the_demo_tells_three_stories_out_of_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    publish(what_can_happen(), tmp_path)
    monkeypatch.setattr(stdout, "width", 80)
    print_summary(tmp_path, days=4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 35  # and five of the steps before it
    assert [line for line in lines if len(line.rstrip()) > 80] == []
    text = " ".join(" ".join(lines).split())
    assert "1 jumped, which took 1 value; 1 of 1 merge went the wrong way; 2 contacts were deleted." in text
    assert "1 finding blocks, 0 warn" in text
    assert ", HubSpot 101 (switch_happened)" in text
    assert 'overwritten: jobtitle: "CEO" → "Buyer"' in text
    assert "2 About to be lost: Di Lee, HubSpot 301 (contact_deleted_by_sync)" in text, "not the one whose story is the merge"
    assert text.endswith("make dev the runs in Dagster README.md your own CRMs")
    monkeypatch.chdir(tmp_path)  # as who has no checkout, or is not in it
    print_summary(tmp_path, days=4)
    steps = capsys.readouterr().out.splitlines()[-4:]
    assert [step.split("  ")[0].split(" --")[0] for step in steps] == [f"bindwatch {name}" for name in ("review", "findings", "dev", "connect")]
    assert "3 Merged the wrong way: Cy Lee, HubSpot 201 (merged_into_unbound)" in text


def test_however_much_there_is_to_say_forty_lines_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    publish(what_can_happen(), tmp_path)
    query = Worklist.query

    def at_length(self: Worklist, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        rows = query(self, sql, parameters)
        return [row | {name: f"{row[name]} " * 6 for name in ("reason", "action") if name in row} for row in rows]

    monkeypatch.setattr(Worklist, "query", at_length)
    monkeypatch.setattr(stdout, "width", 80)
    print_summary(tmp_path, days=4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 35
    assert [line for line in lines if len(line.rstrip()) > 80] == []
    assert len([line for line in lines if line.endswith(" …")]) == 2 * len(STORIES), "who reads sees where something is missing"
    for beginning in (*STORIES, *NEXT):
        assert sum(line.startswith(beginning) for line in lines) == 1, beginning
