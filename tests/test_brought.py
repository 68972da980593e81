"""Files that people bring, in the shapes that spreadsheets, CRMs and merge tools write: a person who sees the rows in them sees them judged."""

import csv
import os
import socket
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from assets.brought import Limits, open_tables
from assets.problems import ConfigurationProblem
from assets.published.forecast import forecast
from assets.published.merge_check import judge, judge_dropped_plans
from assets.published.merge_plan import PlanProblem, load_merge_plans, read_merge_plan
from assets.published.snapshot import open_snapshot
from assets.record_ids import ids_in, tidy_id
from tests.crm import BOUND, RIVAL, contact_id, duplicates, lead_id
from tests.desk.portal import publish
from tests.shapes import FOOTER, write_workbook, written

# Ids with capitals in each part, so that a lost one shows.
MASTER, LOSER, THIRD = "00Q5e00005I1fbOEAR", "00Q5e00006aJZrJEAW", "00Q5e0000FKOBKcEQP"
PLAN = [["Master ID", "Loser ID", "Company"], [MASTER, LOSER, "Müller & Søn"], [MASTER, THIRD, "Acme, Inc."]]
PAIRS = [(MASTER, LOSER), (MASTER, THIRD)]


def pairs(content: bytes, folder: Path, name: str = "plan.csv") -> list[tuple[str, str]]:
    (folder / name).write_bytes(content)
    return [(master, loser) for _, master, loser in read_merge_plan(folder / name).pairs]


SHAPES: dict[str, bytes] = {
    "Excel for Windows, CSV": written(PLAN, "cp1252", end="\r\n"),
    "Excel in Germany, CSV": written(PLAN, "cp1252", ";", "\r\n"),
    "Excel, CSV UTF-8": written(PLAN, "utf-8-sig", ";", "\r\n"),
    "Excel, Unicode text": written(PLAN, "utf-16", "\t", "\r\n"),
    "UTF-16, the big end first": b"\xfe\xff" + written(PLAN, "utf-16-be", "\t"),
    "UTF-16 without a mark": written(PLAN, "utf-16-le"),
    "UTF-16 without a mark, the big end first": written(PLAN, "utf-16-be", ";"),
    "Excel for Mac, CSV": written(PLAN, "mac_roman", ";", "\r"),
    "returns alone": written(PLAN, end="\r"),
    "pipes": written(PLAN, separator="|"),
    "tabs": written(PLAN, separator="\t", quoted=True),
    "carets": written(PLAN, separator="^"),
    "tildes": written(PLAN, "utf-16", separator="~", hint=True),
    "opened with another separator, and saved": written([[line] for line in written(PLAN).decode().splitlines()], "cp1252", ";", "\r\n"),
    "opened with another separator, and saved with quotation marks": written([[line] for line in written(PLAN).decode().splitlines()], quoted=True),
    "a report, opened with another separator": written([[line] for line in written(PLAN, footer=[*FOOTER, "Acme"]).decode().splitlines()], quoted=True),
    "a line for Excel": written(PLAN, separator=";", end="\r\n", hint=True),
    "a line for Excel, behind a mark": written(PLAN, "utf-8-sig", "|", hint=True),
    "a Salesforce report": written(PLAN, quoted=True, footer=[*FOOTER, "Example Company"]),
    "a report of a company with one word": written(PLAN, quoted=True, footer=[*FOOTER, "Acme"]),
    "a report with a name of one word": written(PLAN, quoted=True, footer=["Duplicates", *FOOTER[1:], "Acme"]),
    "a report in German": written(PLAN, "cp1252", ";", quoted=True, footer=["Dubletten", "Vertrauliche Informationen", "Erstellt von: Ann", "Bär"]),
    "a report of an insurance company": written(PLAN, quoted=True, footer=[*FOOTER, "Rechtsschutzversicherung"]),
    "a report without its blank lines": written(PLAN, quoted=True) + "".join(f'"{line}"\n' for line in FOOTER).encode() + b'"Acme"\n',
    "a report with its sum": written(PLAN, footer=["Grand Totals (2 records)", *FOOTER, "Acme"]),
    "a title above": written(PLAN, above=["Duplicates of November, for Ann", "", "as of 26.11.2026"]),
    "a line end in a cell": written([PLAN[0], [MASTER, LOSER, "1 Main St\r\nSuite 5"], [MASTER, THIRD, "a;b\nc;d\ne;f"]]),
    "a line end in a name of a column": written([["Master\nID", "Loser\r\nID", "Company"], *PLAN[1:]], quoted=True),
    "blank lines between": written([PLAN[0], [], PLAN[1], ["", "", ""], PLAN[2], [" ", "", ""]]),
    "the end of a DOS file": written(PLAN) + b"\x1a",
    "losers with commas": written([["master_id", "loser_ids"], [MASTER, f"{LOSER},{THIRD}"]]),
    "losers with commas and blanks": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}, {THIRD}"]]),
    "losers with semicolons": written([["master_id", "loser_ids"], [MASTER, f"{LOSER};{THIRD}"]]),
    "losers with semicolons, among semicolons": written([["master_id", "loser_ids"], [MASTER, f"{LOSER};{THIRD}"]], separator=";"),
    "losers with pipes": written([["master_id", "loser_ids"], [MASTER, f"{LOSER} | {THIRD}"]]),
    "losers with line ends": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}\r\n{THIRD}"]]),
    "losers with slashes": written([["master_id", "loser_ids"], [MASTER, f"{LOSER} / {THIRD}"]]),
    "losers with tabs": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}\t{THIRD}"]]),
    "losers in brackets": written([["master_id", "loser_ids"], [MASTER, f"['{LOSER}', '{THIRD}']"]]),
    "losers with and": written([["master_id", "loser_ids"], [MASTER, f"{LOSER} and {THIRD}"]]),
    "losers with their names": written([["master_id", "loser_ids"], [MASTER, f"Ann Lee ({LOSER}), Anne Lee ({THIRD})"]]),
    "losers with line ends of a web page": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}<br/>{THIRD}"]]),
    "losers with dashes": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}–{THIRD}"]]),
    "losers with colons": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}:{THIRD}"]]),
    "losers with commas of Asia": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}，{THIRD}"]]),
    "losers with points": written([["master_id", "loser_ids"], [MASTER, f"• {LOSER}\n• {THIRD}"]]),
    "losers in angle brackets": written([["master_id", "loser_ids"], [MASTER, f"Ann <{LOSER}> <ann.lee@example.com>, Anne <{THIRD}>"]]),
    "losers as links": written([["master", "losers"], [MASTER, f"https://o.my.salesforce.com/{LOSER}, https://o.lightning.force.com/lightning/r/Lead/{THIRD}/view"]]),
    "ids between blanks that do not break": written([PLAN[0], *([f"\u00a0{m}\u2009", f"{x}\u00a0", c] for m, x, c in PLAN[1:])]),
    "ids between marks that nobody sees": written([PLAN[0], *([f"{m}\u200b", f"\ufeff{x}\u200e", c] for m, x, c in PLAN[1:])]),
    "ids with soft hyphens": written([PLAN[0], *([m[:9] + "\u00ad" + m[9:], x, c] for m, x, c in PLAN[1:])]),
    "ids in lower case": written([PLAN[0], *([m.lower(), x.lower(), c] for m, x, c in PLAN[1:])]),
    "ids whose last three alone are in lower case": written([PLAN[0], *([m[:15] + m[15:].lower(), x, c] for m, x, c in PLAN[1:])]),
    "losers with commas that nobody quoted": f"master_id,loser_ids\n{MASTER},{LOSER},{THIRD}\n".encode(),
    "losers with nothing between": written([["master_id", "loser_ids"], [MASTER, f"{LOSER}{THIRD}"]]),
    "quotation marks behind blanks": f'"master_id", "loser_ids"\n"{MASTER}", "{LOSER}, {THIRD}"\n'.encode(),
    "apostrophes for quotation marks": f"'master_id','loser_id'\n'{MASTER}','{LOSER}'\n'{MASTER}','{THIRD}'\n".encode(),
    "a table of a wiki": f"| master_id | loser_id |\n|---|:-:|\n| {MASTER} | {LOSER} |\n| {MASTER} | {THIRD} |\n".encode(),
    "a table of a terminal": f" master_id | loser_id\n-----------+---------\n {MASTER} | {LOSER}\n {MASTER} | {THIRD}\n(2 rows)\n".encode(),
    "a table in a box": f"+---+---+\n| master_id | loser_id |\n+---+---+\n| {MASTER} | {LOSER} |\n| {MASTER} | {THIRD} |\n+---+---+\n".encode(),
    "a page that calls itself a workbook": (
        "<html><head><meta charset=utf-8><style>td { color: red }</style></head><table border=1><tr><th>Master ID<th>Loser&nbsp;ID<th>Company</tr>"
        f"<tr><td>{MASTER}</td><td><a href='/x'>{LOSER}</a></td><td>Müller &amp; Söhne<br>Köln</td></tr><tr><td>{MASTER}<td>{THIRD}<td></table></html>"
    ).encode(),
    "a workbook in XML": (
        '<?xml version="1.0"?>\n<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"><Worksheet><Table>'
        + "".join(f"<Row>{''.join(f'<Cell><Data>{x}</Data></Cell>' for x in r)}</Row>" for r in (PLAN[0][:2], [MASTER, LOSER], [MASTER, THIRD]))
        + "</Table></Worksheet></Workbook>"
    ).encode(),
    "a report of a company with a number": written(PLAN, quoted=True, footer=[*FOOTER, "Acme1234567890123"]),
    "ids as wide as the letters of Asia": written([PLAN[0], *(["".join(chr(ord(one) + 0xFEE0) for one in m), x, c] for m, x, c in PLAN[1:])]),
    "a row a record, the master among them": written([["Id", "Master Id"], [MASTER, MASTER], [LOSER, MASTER], [THIRD, MASTER]]),
    "a row a record, the master's own without one": written([["Lead ID", "Master Lead ID", "N"], [LOSER, MASTER, ""], [MASTER, "", ""], [THIRD, MASTER, ""]]),
    "a row a record, without the master's": written([["Record ID", "Surviving Record ID"], [LOSER, MASTER], [THIRD, MASTER]]),
    "a row a record, in groups": written([["Group", "Record ID", "Master"], ["1", MASTER, "x"], ["1", LOSER, ""], ["1", THIRD, ""]], footer=[*FOOTER, "Acme"]),
    "a row a record, in groups, with a master's id": written([["Group", "Record ID", "Master ID"], *(["1", each, MASTER] for each in (MASTER, LOSER, THIRD))]),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_plan_is_read_in_any_shape_that_a_person_can_read(shape: str, tmp_path: Path) -> None:
    assert pairs(SHAPES[shape], tmp_path) == PAIRS


@pytest.mark.parametrize(
    ("master", "loser"),
    [
        ("Master ID", "Loser 1 ID"), ("Salesforce Master Id", "Salesforce Duplicate Ids"), ("SF Winner ID", "SF Loser ID"), ("Retained ID", "Removed ID"),
        ("Golden Record", "Duplicate Records"), ("Merge Into", "Merge From"), ("Keep Contact ID", "Delete Contact IDs"), ("Duplicate Of", "Lead ID"),
        ("Hauptdatensatz", "Dubletten"), ("Zieldatensatz-ID", "Quelldatensatz-ID"), ("Behalten", "Löschen"), ("Gewinner-ID", "Verlierer"),
    ],
)  # fmt: skip
def test_columns_are_found_by_the_names_that_tools_and_people_give_them(master: str, loser: str, tmp_path: Path) -> None:
    assert pairs(written([[loser, "Lead Source", master], [LOSER, "Web", MASTER], [THIRD, "Fair", MASTER]]), tmp_path) == PAIRS


def test_beside_the_ids_of_hubspot_those_of_salesforce_count(tmp_path: Path) -> None:
    rows = [["Record ID", "Salesforce Lead ID", "Master ID"], ["30935", LOSER, MASTER], ["30936", THIRD, MASTER]]
    assert pairs(written(rows), tmp_path) == PAIRS


def test_a_sheet_with_a_row_in_each_cell_is_read_as_the_rows_that_it_holds(tmp_path: Path) -> None:
    write_workbook(tmp_path / "plan.xlsx", Plan=[[line] for line in written(PLAN, separator=";").decode().splitlines()])
    plan = read_merge_plan(tmp_path / "plan.xlsx")
    assert [(master, loser) for _, master, loser in plan.pairs] == PAIRS and plan.header == PLAN[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "mac_roman"])
@pytest.mark.parametrize("name", ["Jürgen Größe", "Zoë Peña", "François Noël", "O’Brien", "Ängström", "João Gonçalves"])
def test_names_come_through_whatever_they_are_written_in(encoding: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_bytes(written([PLAN[0], [MASTER, LOSER, name]], encoding))
    assert read_merge_plan(tmp_path / "plan.csv").rows[0][2] == name


def test_the_last_row_of_a_plan_is_no_end_of_a_report(tmp_path: Path) -> None:
    assert pairs(written([["Name", "Master ID", "Loser ID"], ["Ann Lee", MASTER, LOSER], ["Bo Lee", "", ""]]), tmp_path) == [(MASTER, LOSER), ("", "")]
    assert pairs(written([["Master ID", "Loser ID"], [MASTER, LOSER], [], [MASTER[:14]]]), tmp_path) == [(MASTER, LOSER), (MASTER[:14], "")]


# ── workbooks ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_workbook_is_read_like_a_text(tmp_path: Path) -> None:
    plan = write_workbook(
        tmp_path / "plan.xlsx", hidden=["Old"], at=(3, 1), Notes=[["Dear Ann,"], ["please merge these"]], Plan=[["As of", 2026], *PLAN], Old=PLAN
    )
    assert [(master, loser) for _, master, loser in read_merge_plan(plan).pairs] == PAIRS
    broken = write_workbook(tmp_path / "broken.xlsx", at=(3, 1), Plan=[["Group", "Record ID", "Master"], [], ["7", MASTER, "no"], ["7", LOSER, "no"]])
    with pytest.raises(PlanProblem, match=r"^sheet Plan, row 6, column 4: group '7' has 0 masters, and needs one$"):
        read_merge_plan(broken)


def test_a_workbook_with_two_plans_is_refused_by_their_names(tmp_path: Path) -> None:
    with pytest.raises(PlanProblem, match=r"more than one sheet holds a plan \(Leads, Contacts\)"):
        read_merge_plan(write_workbook(tmp_path / "plan.xlsx", Leads=PLAN, Contacts=PLAN))


def test_numbers_in_a_workbook_are_what_a_person_sees(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "hubspot.xlsx", Plan=[["Primary Record ID", "Merged Record ID"], [30935, 41351]])
    with pytest.raises(PlanProblem, match="30935 is a record id of HubSpot's"):
        read_merge_plan(path)


def zipped(path: Path, **parts: bytes) -> Path:
    """A workbook whose one sheet is these bytes of XML, whatever they do to its reader."""
    write_workbook(path.with_suffix(".whole"), Plan=PLAN)
    with zipfile.ZipFile(path.with_suffix(".whole")) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in whole.namelist():
            target.writestr(name, parts.get(Path(name).stem, whole.read(name)))
    return path


SHEET = b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'


@pytest.mark.parametrize(
    "make_cells",
    [
        lambda: b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        lambda: b'<row r="1">' + b"<c><v>1</v></c>" * 200_000 + b"</row>" + b"<row>" + b"<c><v>1</v></c>" * 200_000 + b"</row>",
        pytest.param(lambda: b"<row>" + b" " * (1 << 30) + b"</row>" + b"<row><c><v>1</v></c></row>" * 10, marks=pytest.mark.slow),
    ],
    ids=["a cell far away", "a wide sheet", "much of nothing"],
)
def test_a_workbook_made_to_burst_takes_nobody_with_it(make_cells: Callable[[], bytes], tmp_path: Path) -> None:
    path = zipped(tmp_path / "plan.xlsx", sheet1=SHEET % make_cells())
    started = time.perf_counter()
    with pytest.raises(PlanProblem):
        read_merge_plan(path)
    assert time.perf_counter() - started < 60


@pytest.mark.parametrize("content", [b"PK\x03\x04 and no more", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)])
def test_what_only_begins_like_a_workbook_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(PlanProblem, match=r"it is no workbook that can be read; save it as \.xlsx or as CSV"):
        pairs(content, tmp_path, "plan.xlsx")


# ── any plan in any shape ────────────────────────────────────────────────────────────────────────────────────────────────────────

records = st.builds(lambda object_id, number: object_id(number), st.sampled_from([lead_id, contact_id]), st.integers(1, 10**10 - 1))
notes = st.text(st.sampled_from("ab Zäé,;|\t\"'\n.=()1"), max_size=12)
merges = st.lists(st.tuples(records, st.lists(records, min_size=1, max_size=3, unique=True), notes), min_size=1, max_size=8)


@st.composite
def laid_out(draw: st.DrawFn) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """The rows of a plan in one of the layouts, and what it says."""
    plan = draw(merges)
    wanted = [(master, loser) for master, losers, _ in plan for loser in losers]
    match draw(st.sampled_from(["loser", "merge", "cell", "group"])):
        case "loser":
            rows = [["Master ID", "Note", "Loser ID"], *([master, note, loser] for master, losers, note in plan for loser in losers)]
        case "merge":
            rows = [["Winner", "Loser 1", "Loser 2", "Loser 3", "Note"], *([master, *losers, *[""] * (3 - len(losers)), note] for master, losers, note in plan)]
        case "cell":
            between = draw(st.sampled_from([";", ",", ", ", " ", "|", "\n", " / "]))
            rows = [["Note", "loser_ids", "master_id"], *([note, between.join(losers), master] for master, losers, note in plan)]
        case _:
            rows = [["Group", "Record ID", "Is master", "Note"]]
            for number, (master, losers, note) in enumerate(plan):
                rows += [[str(number), loser, "no", note] for loser in losers] + [[str(number), master, "yes", note]]
    return rows, wanted


@settings(
    max_examples=60, derandomize=True, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    laid_out(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "mac_roman"]), st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_a_plan_drawn_at_random_reads_back_the_same(
    tmp_path: Path, plan: tuple[list[list[str]], list[tuple[str, str]]], encoding: str, separator: str, end: str, quoted: bool, hint: bool, is_report: bool
) -> None:
    rows, wanted = plan
    quoted = quoted or (end == "\r" and any("\n" in cell for row in rows for cell in row))  # Python's writer takes a bare \n for no line end there
    content = written(rows, encoding, separator, end, quoted=quoted, hint=hint, footer=[*FOOTER, "Acme"] if is_report else ())
    assert sorted(pairs(content, tmp_path)) == sorted(wanted)
    read = read_merge_plan(tmp_path / "plan.csv")
    assert read.header == rows[0] and len(read.rows) == len(rows) - 1
    if encoding.startswith("utf"):
        assert read.rows == rows[1:]


@settings(max_examples=6, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(laid_out(), st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_a_plan_drawn_at_random_reads_back_the_same_from_a_workbook(
    tmp_path: Path, plan: tuple[list[list[str]], list[tuple[str, str]]], at: tuple[int, int]
) -> None:
    rows, wanted = plan
    assert sorted((master, loser) for _, master, loser in read_merge_plan(write_workbook(tmp_path / "plan.xlsx", at=at, Plan=rows)).pairs) == sorted(wanted)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(records)
def test_an_id_in_lower_case_gets_its_capitals_back_and_nothing_else_is_guessed(record: str) -> None:
    assert tidy_id(record.lower()) == record
    assert tidy_id(record[:15].lower()) == record[:15].lower(), "fifteen characters prove nothing"
    assert tidy_id(record.upper()) == record.upper(), "its check characters are whole and do not fit: either may be wrong"


def test_check_characters_that_name_a_digit_prove_nothing() -> None:
    spoilt = MASTER.lower()[:2] + "7" + MASTER.lower()[3:]
    assert tidy_id(spoilt) == spoilt


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("", []), ("\u200b", []), ("Ann Lee", ["Ann Lee"]), ("ann@example.com", ["ann@example.com"]), ("30935;41351", ["30935", "41351"]),
        (f"{LOSER}; {LOSER[:15]}", [LOSER]), (f"{LOSER[:17]}, {THIRD}", [LOSER[:17], THIRD]), (f"{LOSER}{THIRD}", [LOSER, THIRD]),
        (f"{LOSER[:17]}X{THIRD}", [f"{LOSER[:17]}X{THIRD}"]),
    ],
)  # fmt: skip
def test_what_may_be_a_spoilt_id_is_kept_and_told(cell: str, found: list[str]) -> None:
    assert ids_in(cell) == found


@pytest.mark.parametrize(
    ("master", "said", "auf_deutsch"),
    [
        (
            MASTER.upper(),
            f"The master {MASTER.upper()} has lost which of its letters are capitals",
            f"Der Masterdatensatz {MASTER.upper()}: Groß- und Klein",
        ),
        (MASTER.lower()[:15], f"The master {MASTER.lower()[:15]} has lost which of its letters are capitals", "Groß- und Kleinschreibung"),
        (MASTER[:17], f"The master {MASTER[:17]} is no Salesforce id: it has 17 characters", "17 Zeichen"),
        (MASTER[:-1] + "A", "is mistyped: its last three characters do not fit", "falsch geschrieben"),
        ("30935", "The master 30935 is a record id of HubSpot's", "Der Masterdatensatz 30935 ist eine Datensatz-ID von HubSpot"),
        ("", "The master is missing.", "Der Masterdatensatz fehlt."),
        ("ann@example.com", "The master is no Salesforce id: it has 15 characters", "ist keine Salesforce-ID"),
    ],
)
def test_a_row_says_which_id_is_wrong_and_why(master: str, said: str, auf_deutsch: str, tmp_path: Path) -> None:
    crm = duplicates()
    (tmp_path / "merge-plans").mkdir()
    (tmp_path / "merge-plans" / "plan.csv").write_bytes(written([["master_id", "loser_id"], [master, RIVAL], [BOUND, lead_id(7)]]))
    load_merge_plans(crm.connection, tmp_path)
    (finding,) = (finding for finding in crm.findings("planned_merge_unsafe") if finding["reason"].startswith("Row 1 "))
    assert said in finding["reason"] and auf_deutsch in finding["reason_de"]
    assert "@" not in finding["reason"] + finding["reason_de"]


# ── whatever lies in merge-plans ─────────────────────────────────────────────────────────────────────────────────────────────────

UNSAFE = f"master_id,loser_id\n{RIVAL},{BOUND}\n"


def in_the_folder(home: Path) -> dict[str, tuple[str, str]]:
    """For each file the severity and reason of what a run finds: a contact is bound to BOUND."""
    crm = duplicates()
    crm.contact(bound=BOUND)
    load_merge_plans(crm.connection, home)
    found = crm.findings("planned_merge_unsafe")
    return {finding["reason"].removeprefix("Row 1 of ").partition(": ")[0]: (finding["severity"], finding["reason"]) for finding in found}


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    (tmp_path / "merge-plans").mkdir()
    return tmp_path / "merge-plans"


def test_a_plan_is_judged_whatever_its_name_ends_with(plans: Path) -> None:
    names = ["a.csv", "PLAN.CSV", "plan.Csv", "plan.txt", "plan.tsv", "plan.tab", "plan", "plan (2).csv.bak", "notes.md"]
    for name in names:
        (plans / name).write_text(UNSAFE)
    for name in ("plan.xlsx", "PLAN.XLSX"):
        write_workbook(plans / name, Plan=[line.split(",") for line in UNSAFE.splitlines()])
    found = in_the_folder(plans.parent)
    assert sorted(found) == sorted([*names, "plan.xlsx", "PLAN.XLSX"])
    for name, (severity, reason) in found.items():
        assert severity == "block" and reason.startswith(f"Row 1 of {name}: HubSpot contact 101 is bound to {BOUND}")


def test_what_is_not_judged_is_a_finding_that_says_so(plans: Path) -> None:
    """FIFOs, sockets, folders, links that lead nowhere and what may not be read are answered, too; nobody waits for them."""
    picture = b"\x89PNG\r\n\x1a\n" + bytes(64)
    blocks: dict[str, bytes] = {
        "plan.csv": b"", "binary.csv": picture, "old.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "plan.xlsx": picture, "plan.numbers": picture,
        "touched.txt": written([["Id", "Name"], [LOSER, "Ann"]]), "mapping.md": written([["HubSpot", "Salesforce"], ["jobtitle", "Title"]]), "empty": b"",
        "hubspot.csv": written([["Record ID 1", "Record ID 2"], ["30935", "41351"]]),
    }  # fmt: skip
    warns: dict[str, bytes] = {
        "photo.png": picture, "note.txt": "Dear Ann,\nplease look at these, I am away until Monday.\nThanks, Bo\n".encode("utf-16"), ".DS_Store": picture,
        "note.md": b"Two plans follow on Monday.\n", "~$plan.xlsx": bytes(165), "._plan.csv": picture, "deck.pdf": b"%PDF-1.7\n\x00\x01",
    }  # fmt: skip
    for name, content in {**blocks, **warns}.items():
        (plans / name).write_bytes(content)
    os.mkfifo(plans / "pipe.csv")
    os.mkfifo(plans / "pipe")
    (plans / "nowhere.csv").symlink_to(plans / "gone.csv")
    (plans / "loop.csv").symlink_to(plans / "loop.csv")
    (plans / "link to a pipe").symlink_to(plans / "pipe")
    (plans / "june").mkdir()
    (plans / "july.csv").mkdir()
    (plans / "answers").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(plans / "socket"))
    (plans / "zero.csv").symlink_to("/dev/zero")
    found = in_the_folder(plans.parent)
    assert {name for name, (severity, _) in found.items() if severity == "block"} == {*blocks, "pipe.csv", "nowhere.csv", "loop.csv", "july.csv", "zero.csv"}
    assert {name for name, (severity, _) in found.items() if severity == "warn"} == {*warns, "pipe", "link to a pipe", "june", "socket"}
    for name, (_, reason) in found.items():
        assert reason.startswith(f"{name}: The file cannot be read: ") and reason.endswith(". It was not judged.")


def test_a_link_to_a_plan_is_judged(plans: Path) -> None:
    (plans.parent / "elsewhere.csv").write_text(UNSAFE)
    (plans / "june.csv").symlink_to(plans.parent / "elsewhere.csv")
    assert in_the_folder(plans.parent)["june.csv"][1].startswith("Row 1 of june.csv: ")


def test_a_name_that_is_no_text_stops_nobody(plans: Path) -> None:
    Path(os.fsdecode(os.fsencode(plans) + b"/plan-\xff.csv")).write_text(UNSAFE)
    assert list(in_the_folder(plans.parent)) == ["plan-?.csv"]


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "merge-plans").write_text(UNSAFE)
    assert in_the_folder(tmp_path)["merge-plans"][1] == "merge-plans: The file cannot be read: it is no folder that can be looked into. It was not judged."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(plans: Path) -> None:
    (plans / "plan.csv").write_text(UNSAFE)
    (plans / "plan.csv").chmod(0)
    assert "Permission denied" in in_the_folder(plans.parent)["plan.csv"][1]


def test_the_sensor_answers_each_of_them_once(plans: Path) -> None:
    home = plans.parent
    publish(duplicates(), home)
    (plans / "june.CSV").write_text(UNSAFE)
    write_workbook(plans / "june.xlsx", Plan=[line.split(",") for line in UNSAFE.splitlines()])
    (plans / "broken.csv").write_text("nonsense")
    (plans / "photo.png").write_bytes(b"\x89PNG\x00")
    os.mkfifo(plans / "pipe")
    judged, seen = judge_dropped_plans(home, 24, None)
    assert {(plan.name, plan.judgement is not None, plan.could_be_plan) for plan in judged} == {
        ("june.CSV", True, True), ("june.xlsx", True, True), ("broken.csv", False, True), ("photo.png", False, False), ("pipe", False, False),
    }  # fmt: skip
    assert sorted(path.name for path in (plans / "answers").iterdir()) == ["broken.csv", "june.CSV", "june.xlsx.answer.csv"]
    assert judge_dropped_plans(home, 24, seen)[0] == []


# ── the other readers ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_losers_with_commas_are_judged_and_mended(tmp_path: Path) -> None:
    crm = duplicates()
    crm.lead(3)
    crm.contact(bound=BOUND)
    publish(crm, tmp_path / "home")
    (tmp_path / "plan.csv").write_bytes(written([["master_id", "loser_ids"], [RIVAL, f"{BOUND}, {lead_id(3)}"]]))
    found = judge(tmp_path / "home", tmp_path / "plan.csv", tmp_path / "out.csv", 24, tmp_path / "fixed.csv")
    assert found.counts["unsafe"] == 1 and found.fixed == 2
    assert f"HubSpot contact 101 is bound to {BOUND}" in (tmp_path / "out.csv").read_text()
    assert (tmp_path / "fixed.csv").read_text().splitlines()[1:] == [f"{BOUND},{RIVAL}", f"{BOUND},{lead_id(3)}"]


LISTS: dict[str, bytes] = {
    "no header": written([[BOUND], [RIVAL]]),
    "a list of Excel's": written([["Id", "Name"], [BOUND, "Ann"], [RIVAL, "Müller"]], "utf-16", "\t"),
    "a report in German": written([["Lead ID", "Name"], [BOUND, "Müller"], [RIVAL, "Groß"]], "cp1252", ";", "\r\n"),
    "a report with its footer": written([["Lead ID", "Name"], [BOUND, "Ann"], [RIVAL, "Bo"]], footer=[*FOOTER, "Acme"]),
    "a report of one column": written([["Lead ID"], [BOUND], [RIVAL]], quoted=True, footer=[*FOOTER, "Acme"]),
    "a line end in a cell": written([["Street", "Lead ID"], ["1 Main St\r\nSuite 5", BOUND], ["x", RIVAL]]),
    "what a bulk job did": written([["sf__Id", "sf__Created", "LastName"], [BOUND, "false", "Lee"], [RIVAL, "false", "Lee"]]),
    "what Data Loader did": written([["ID", "FIRSTNAME", "STATUS"], [BOUND, "Ann", "Item Updated"], [RIVAL, "Ann", "Item Updated"]], quoted=True),
    "ids of both CRMs": written([["Record ID", "Name", "Salesforce Lead ID"], ["30935", "Ann", BOUND], ["30936", "Ann", RIVAL]]),
    "a column of another name": written([["Name", "Which"], ["Ann", BOUND], ["Ann", RIVAL]], "mac_roman", "|", "\r"),
    "links": written([["Id"], [f"https://o.my.salesforce.com/{BOUND}"], [f"{RIVAL}\u00a0"]]),
    "lower case": written([["Id"], [BOUND.lower()], [RIVAL.lower()]]),
}


@pytest.mark.parametrize("shape", LISTS)
def test_a_list_is_read_like_a_plan_is(shape: str, asked: Path, tmp_path: Path) -> None:
    (tmp_path / "touched.csv").write_bytes(LISTS[shape])
    forecast(open_snapshot(asked), tmp_path / "touched.csv", tmp_path / "answer.csv")
    with (tmp_path / "answer.csv").open(encoding="utf-8", newline="") as file:
        assert [(row["line"], row["record_id"]) for row in csv.DictReader(file)] == [("1", BOUND), ("2", RIVAL)]


def test_a_list_may_be_a_workbook_and_says_what_is_no_id(asked: Path, tmp_path: Path) -> None:
    write_workbook(tmp_path / "touched.xlsx", Notes=[["hello"]], List=[["Record ID", "Contact ID"], [7, RIVAL], [8, 30935], [9, ""]])
    forecast(open_snapshot(asked), tmp_path / "touched.xlsx", tmp_path / "answer.csv")
    with (tmp_path / "answer.csv").open(encoding="utf-8", newline="") as file:
        reasons = [row["reason"] for row in csv.DictReader(file)]
    assert reasons[1].startswith("The id 30935 is a record id of HubSpot's") and reasons[2] == "The id is missing."
    (tmp_path / "hubspot.csv").write_text("Record ID\n30935\n")
    with pytest.raises(ConfigurationProblem, match=r"holds no Salesforce id\. 30935 is a record id of HubSpot's"):
        forecast(open_snapshot(asked), tmp_path / "hubspot.csv", tmp_path / "answer.csv")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    crm = duplicates()
    crm.contact(bound=BOUND)
    home = tmp_path_factory.mktemp("home")
    publish(crm, home)
    return home


@pytest.mark.parametrize(("encoding", "separator"), [("utf-8-sig", ","), ("cp1252", ";"), ("utf-16", "\t")])
def test_an_export_of_field_mappings_is_a_table_like_any_other(encoding: str, separator: str, tmp_path: Path) -> None:
    rows = [
        ["HubSpot Field Name", "Salesforce Field Name", "Sync Rule"],
        ["Job Title", "Title", "Prefer Salesforce unless blank"],
        ["Straße", "Street", "Two way"],
    ]
    (tmp_path / "mappings.csv").write_bytes(written(rows, encoding, separator, "\r\n"))
    with open_tables(tmp_path / "mappings.csv", Limits(2**20, 1000, 50)) as (table,):
        assert table.rows() == rows


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[SHAPES["Excel, Unicode text"]])
    writer.start()
    assert [(master, loser) for _, master, loser in read_merge_plan(tmp_path / "pipe").pairs] == PAIRS
    writer.join()
