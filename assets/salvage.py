"""Reads a page record by record that cannot be read as a whole, so that one bad record costs no other one.

Set-based reading is what every ordinary page gets; these functions are for the one page that fails it.
"""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

# Where a row begins in a page whose quotes do not match: at an id of a Lead or Contact in the first column.
_ROW = re.compile(r'^"?(?:00Q|003)[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?"?(?:,|$)', re.MULTILINE)
_LARGEST_CELL = 1 << 26


def json_records(path: Path, name: str) -> list[Any]:
    """The entries of the list `name` of a JSON page. Raises ValueError when it is no such page."""
    page = json.loads(path.read_bytes())
    records = page.get(name) if isinstance(page, dict) else None
    if not isinstance(records, list):
        raise ValueError(f"{path.name} holds no list {name}")
    return records


def csv_rows(path: Path, width: int, expected: int) -> list[list[str]]:
    """The rows of a CSV page behind its header. Where quotes do not match, rows are told apart by the id that each begins with.

    width: columns of the header; expected: how many rows there should be. A row of another width cannot be read.
    """
    csv.field_size_limit(_LARGEST_CELL)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        text = file.read()
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))[1:]
    except csv.Error:
        rows = []
    if len(rows) == expected and all(len(row) == width for row in rows):
        return rows
    starts = [match.start() for match in _ROW.finditer(text)]
    parts = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    told_apart = [_one_row(part) for part in parts]
    return told_apart if len(told_apart) == expected else rows


def _one_row(text: str) -> list[str]:
    try:
        (row,) = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError):
        return [text.split(",", 1)[0].strip('"\r\n')]
    return row


def write_csv(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """A page of these rows, as a bulk job sends it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def write_json(path: Path, name: str, records: list[Any]) -> None:
    """A page of these records, as an API sends it."""
    path.write_text(json.dumps({name: records}, ensure_ascii=False), "utf-8")
