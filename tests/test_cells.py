"""What a spreadsheet would take for a formula is text in every file that people open, and untouched in every file that is imported."""

import csv
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.published.cells import safe_cell, safe_cells
from assets.published.decisions import DecisionStore
from assets.published.merge_check import judge
from assets.published.restore_plan import EVIDENCE, HUBSPOT, write_plan
from assets.published.snapshot import open_snapshot
from assets.published.worklist import Filter, Worklist
from assets.sql import SQL_FOLDER
from tests.crm import BOUND, RIVAL, duplicates, lead_id
from tests.desk.portal import publish
from tests.test_restore import jumped

GUARDED = {
    "=1+1": "'=1+1", "@SUM(1)": "'@SUM(1)", "+A|'x'!A0": "'+A|'x'!A0", "-2+3+cmd|x": "'-2+3+cmd|x", "\t=1": "'\t'=1", "\rx": "'\rx",
    "\n=1": "'\n'=1", ";=1": "';'=1", "a;=1": "a;'=1", "a; =1;@x": "a; '=1;'@x", "a\n=1": "a\n'=1", "a\r\n=1": "a\r\n'=1", "a\t-x": "a\t'-x", " =1": "' =1",
    "\xa0=1": "'\xa0=1", "\ufeff=1": "'\ufeff=1", "\u200b@x": "'\u200b@x", "\x00=1": "'\x00=1", ",=1": "',=1", "＝1": "'＝1", "＋1": "'＋1", "－1": "'－1",
    "＠x": "'＠x", ";;=1": "';;'=1", " -x": "' -x", "- item": "'- item",
}  # fmt: skip
UNTOUCHED = [
    "",
    "a",
    "+49 (30) 1-2",
    "-5",
    "-1.5",
    "a=b",
    "a@b.c",
    "x, =y",
    "00Q000000000001AAA",
    "'=1",
    "a;b",
    "a; b",
    "a - b",
    "a\nb",
    "Müller",
    "＝"[:0],
    "1=1",
]


@pytest.fixture(scope="module")
def macros() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute((SQL_FOLDER / "raw" / "macros.sql").read_text("utf-8"))
    return connection


def in_sql(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> list[str]:
    return [row[0] for row in connection.execute("select main.safe_cell(text) from (select unnest(?::varchar[]) as text)", [texts]).fetchall()]


@pytest.mark.parametrize("text", GUARDED)
def test_a_formula_is_made_text(macros: duckdb.DuckDBPyConnection, text: str) -> None:
    assert safe_cell(text) == GUARDED[text] == in_sql(macros, [text])[0]
    assert safe_cell(GUARDED[text]) == GUARDED[text], "once is enough"


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_none_stays_as_it_is(macros: duckdb.DuckDBPyConnection, text: str) -> None:
    assert safe_cell(text) == text == in_sql(macros, [text])[0]


def test_both_rules_are_one(macros: duckdb.DuckDBPyConnection) -> None:
    characters = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    texts = [f"{character}{rest}" for character in characters for rest in ("=1", "-x")] + [f"a;{character}=1" for character in characters]
    assert [safe_cell(text) for text in texts] == in_sql(macros, texts)


@given(st.text(st.sampled_from("=@+-＝＠＋－;,\t\r\n '\"a1.()/\xa0\ufeff|"), max_size=12))
def test_both_rules_are_one_for_any_text_and_no_part_is_a_formula(macros: duckdb.DuckDBPyConnection, text: str) -> None:
    safe = safe_cell(text)
    assert [safe] == in_sql(macros, [text])
    for part in safe.replace("\t", ";").replace("\r", ";").replace("\n", ";").split(";")[1:]:
        assert not part.strip("\xa0 \ufeff").startswith(tuple("=@+-＝＠＋－"))


@pytest.mark.parametrize("text", ["\n" * 131_072, ";" * 131_072, "\n " * 65_536, " " * 131_072, "-" + "1" * 131_072 + "x", ";=" * 65_536])
def test_a_long_cell_takes_no_time(text: str) -> None:
    started = time.perf_counter()
    safe_cell(text)
    assert time.perf_counter() - started < 0.5


def test_every_text_of_any_query_is_guarded(macros: duckdb.DuckDBPyConnection) -> None:
    query = "select '=a' as a, ['=b', '@c'] as b, map {'=d': '=e'} as c, 1 as d, null::varchar as e, '=f' as \"f g\""
    assert macros.execute(safe_cells(macros, query)).fetchall() == [("'=a", "'=b;'@c", "{'=d'='=e'}", 1, None, "'=f")]


def test_the_answer_to_a_plan_guards_what_it_echoes_and_can_be_judged_again(tmp_path: Path) -> None:
    publish(duplicates(), tmp_path / "home")
    plan, out = tmp_path / "plan.csv", tmp_path / "out.csv"
    plan.write_text(f'=note,master_id,loser_id\n"\n=1+1",{BOUND},{RIVAL}\n;=x,"=HYPERLINK(""https://o.my.salesforce.com/{RIVAL}"")",@z\n＝1,+A1,{lead_id(3)}\n')
    judge(tmp_path / "home", plan, out, 24, tmp_path / "fixed.csv")
    with out.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header[0] == "'=note"
    assert [row[:3] for row in rows] == [
        ["'\n'=1+1", BOUND, RIVAL], ["';'=x", f"'=HYPERLINK(\"https://o.my.salesforce.com/{RIVAL}\")", "'@z"], ["'＝1", "'+A1", lead_id(3)],
    ]  # fmt: skip
    verdicts = [row[3] for row in rows]
    judge(tmp_path / "home", out, tmp_path / "again.csv", 24)
    with (tmp_path / "again.csv").open(encoding="utf-8", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == verdicts


def test_the_worklist_guards_every_text_and_a_file_for_an_import_none(tmp_path: Path) -> None:
    crm = jumped()
    crm.lead(3, name="=Eve")
    crm.connection.execute("update raw.hubspot_property_version set value = ';=CEO' where value = 'CEO'")
    publish(crm, tmp_path / "home")
    Worklist(tmp_path / "home", DecisionStore(tmp_path / "home")).export(Filter(), "csv", tmp_path / "worklist.csv", False)
    with (tmp_path / "worklist.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert all(safe_cell(value) == value for value in row.values())
    write_plan(open_snapshot(tmp_path / "home"), tmp_path / "plan")
    assert "';'=CEO" in (tmp_path / "plan" / EVIDENCE).read_text("utf-8")
    imported = (tmp_path / "plan" / HUBSPOT).read_text("utf-8")
    assert ";=CEO" in imported and "'" not in imported
