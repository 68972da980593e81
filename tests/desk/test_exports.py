"""Tables that people open: read back as a spreadsheet of their country reads them."""

import csv
import io
import logging
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lxml import etree
from python_calamine import load_workbook

from assets.problems import ConfigurationProblem
from assets.published.spreadsheets import CSV, MOST_CHARACTERS, SHAPES, WORKBOOK, write_table
from tests.crm import BOUND, RIVAL
from tests.desk.portal import Visitor, served

LISTS = ("cases", "worklist", "run-book", "planned-merges")


def as_excel(content: bytes, separator: str) -> list[list[str]]:
    """The cells that a double click shows where the list separator of the country is that one. Without a mark, Windows takes bytes for Western letters."""
    text = content.decode("utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "cp1252")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))


def sheet(content: bytes) -> list[list[Any]]:
    return load_workbook(io.BytesIO(content)).get_sheet_by_index(0).to_python()


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Any]:
    """Writes a query in a shape, and returns the bytes."""
    with duckdb.connect() as connection:
        for text in (Path("assets/models/sql/raw/macros.sql").read_text("utf-8"),):
            connection.execute(text)

        def write(query: str, shape: str, parts: Sequence[dict[str, Any]] = ({},)) -> bytes:
            write_table(connection, query, tmp_path / "table", shape, parts)
            return (tmp_path / "table").read_bytes()

        yield write


ODD = """
select '003000000000E12AAA' as id, '123456789012' as hubspot_id, 123456789012 as number, timestamp '2026-03-30 02:05:00' as happened_at, true as consent,
    'Jörg; "Müller"' as name, '=1+1' as formula, '+49 30 1' as phone, 0.5::double as share, ['a', '=b'] as several, null as nothing"""


def test_german_excel_finds_columns_letters_and_decimals(table: Any) -> None:
    header, row = as_excel(table(ODD, "semicolon"), ";")
    assert header[0] == "id" and len(row) == len(header)
    of = dict(zip(header, row, strict=True))
    assert (of["name"], of["share"], of["formula"], of["several"]) == ('Jörg; "Müller"', "0,5", "'=1+1", "a;'=b")


def test_english_excel_finds_columns_and_letters_and_programs_read_no_mark(table: Any) -> None:
    header, row = as_excel(table(ODD, "comma_bom"), ",")
    assert dict(zip(header, row, strict=True))["name"] == 'Jörg; "Müller"'
    assert table(ODD, "comma").startswith(b"id,")


def test_a_workbook_keeps_ids_as_texts_and_moments_as_moments_and_calculates_nothing(table: Any) -> None:
    content = table(ODD, WORKBOOK)
    header, row = sheet(content)
    of = dict(zip(header, row, strict=True))
    assert (of["id"], of["hubspot_id"], of["number"]) == ("003000000000E12AAA", "123456789012", "123456789012"), "nothing as a power of ten"
    assert (of["happened_at"], of["consent"], of["share"], of["nothing"]) == (datetime(2026, 3, 30, 2, 5), True, 0.5, "")
    assert (of["formula"], of["phone"], of["name"]) == ("=1+1", "+49 30 1", 'Jörg; "Müller"')
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        cells = etree.fromstring(parts.read("xl/worksheets/sheet1.xml"))
        assert not cells.xpath("//*[local-name()='f' or local-name()='hyperlink']"), "a formula, or a link that somebody's data made"
        assert 'quotePrefix="1"' in parts.read("xl/styles.xml").decode(), "a text stays one when the cell is edited"


def test_what_no_sheet_holds_is_cut_or_goes_on_the_next_one(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.published.spreadsheets.MOST_ROWS", 2)
    content = table(f"select range as number, repeat('x', {MOST_CHARACTERS + 1}) as text from range(5)", WORKBOOK)
    book = load_workbook(io.BytesIO(content))
    *sheets, cut = [book.get_sheet_by_name(name).to_python() for name in book.sheet_names]
    assert [[row[0] for row in rows[1:]] for rows in sheets] == [[0, 1], [2, 3], [4]]
    assert len(sheet(content)[1][1]) == MOST_CHARACTERS and str(sheet(content)[1][1]).endswith("…")
    assert str(cut[0][0]).startswith("5 cut: ") and cut[2] == ["Sheet1", 2, "text", MOST_CHARACTERS + 1], "nothing is cut without a word"
    assert load_workbook(io.BytesIO(table("select 'x' as text", WORKBOOK))).sheet_names == ["Sheet1"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_long_list_that_is_written_in_parts_is_the_same_file(table: Any, shape: str) -> None:
    numbered = "select range as number, '=' || range as text, range / 2 as share from range(5)"
    parts = table(f"{numbered} where range between $first and $last", shape, [{"first": 0, "last": 1}, {"first": 2, "last": 3}, {"first": 4, "last": 9}])
    assert parts == table(numbered, shape) if shape in CSV else sheet(parts) == sheet(table(numbered, shape))


def test_a_disk_that_is_full_in_the_middle_of_a_list_is_told_like_one_that_was_full_before(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "select $first as number"
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert table(query, "comma", [{"first": 1}]) == b"number\n1\n", "a list of one part needs no room beside its file"
    with pytest.raises(ConfigurationProblem, match="cannot be written"):
        table(query, "comma", [{"first": 1}, {"first": 2}])


@pytest.mark.parametrize(("name", "rows"), [("worklist", 2), ("run-book", 1)])
def test_a_list_of_findings_is_read_in_parts_and_keeps_its_order(reader: Visitor, name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reader.open(f"/export/{name}.csv?status=all").answer.content
    monkeypatch.setattr("review.exports.ROWS_OF_A_GROUP", 1)
    assert reader.open(f"/export/{name}.csv?status=all").answer.content == whole
    assert len(list(csv.reader(io.StringIO(whole.decode(), newline="")))) == 1 + rows


@pytest.mark.parametrize("name", LISTS)
def test_each_list_opens_by_the_readers_language_and_as_a_workbook(reader: Visitor, name: str) -> None:
    def get(path: str, language: str) -> bytes:
        answer = reader.open(path, **{"Accept-Language": language}).answer
        assert answer.status_code == 200
        return answer.content

    english = list(csv.reader(io.StringIO(get(f"/export/{name}.csv?status=all", "en").decode(), newline="")))
    german = as_excel(get(f"/export/{name}.csv?status=all", "de"), ";")
    workbook = sheet(get(f"/export/{name}.xlsx?status=all", "de"))
    assert english[0] == german[0] == workbook[0]
    assert len(english) == len(german) == max(1, len(workbook))
    assert get(f"/export/{name}.csv?as=semicolon", "en").startswith(b"\xef\xbb\xbf")
    assert reader.open(f"/export/{name}.csv?as=tabs").status == 400
    assert reader.open(f"/export/{name}.exe").status == 404


def test_names_and_accounts_stand_beside_ids_in_the_order_of_the_screen(reader: Visitor) -> None:
    cases = list(csv.DictReader(io.StringIO(reader.open("/export/cases.csv?sort=-name").answer.content.decode())))
    shown = reader.open("/cases?sort=-name").values("//td[@class='main-cell']/a/@href")
    assert [row["case_id"] for row in cases] == [re.split(r"[/?]", link)[2] for link in shown]
    assert {"hubspot_contact_ids", "display_name", "account_name"} <= cases[0].keys()
    findings = list(csv.DictReader(io.StringIO(reader.open("/export/worklist.csv").answer.content.decode())))
    names = list(findings[0])
    assert names[names.index("salesforce_id") + 1 :][:2] == ["display_name", "account_name"]
    assert {row["hubspot_contact_id"]: row["display_name"] for row in findings}["101"] == "Ann Lee"
    (step,) = list(csv.DictReader(io.StringIO(reader.open("/export/run-book.csv").answer.content.decode())))
    assert (step["master_id"], step["master_name"], step["loser_id"], step["loser_name"]) == (BOUND, "Ann Lee", RIVAL, "Ann Lee")


def test_whole_addresses_are_for_readers_of_the_policy_and_that_they_were_taken_is_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    entrance: dict[str, Any] = {"user_header": "X-User", "groups_header": "X-Groups", "readers": "crm-readers"}
    with served(home, **entrance) as address, caplog.at_level(logging.INFO):
        other, reader = (
            Visitor(address, **{"X-User": "Bob", "X-Groups": "sales"}),
            Visitor(address, **{"X-User": "ann@corp.example", "X-Groups": "a, crm-readers"}),
        )
        assert other.open("/export/worklist.csv?emails=1").status == 403
        assert "ann@example.com" not in other.open("/export/worklist.csv").answer.text + reader.open("/export/worklist.csv").answer.text
        assert "whole e-mail addresses" not in other.open("/cases").text
        assert "with whole e-mail addresses" in reader.open("/cases").text
        assert not [line for line in caplog.messages if "addresses" in line]
        assert "ann@example.com" in reader.open("/export/cases.csv?emails=1").answer.text
    (line,) = [line for line in caplog.messages if "addresses" in line]
    assert line == "whole e-mail addresses were taken: cases, by a***@corp.example"
