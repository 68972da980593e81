"""Reads a page record by record that cannot be read as a whole, so that one bad record costs no other one.

Set-based reading is what every ordinary page gets; these functions are for the one page that fails it.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.pull.landing import Aside, as_loadable
from assets.record_ids import RECORD_ID

# Where a row begins in a page whose quotes do not match: at an id of a Lead or Contact in the first column.
_ROW = re.compile(rf'^"?{RECORD_ID}"?(?:,|$)', re.MULTILINE)
_LARGEST_CELL = 1 << 26
_HOPELESS = 5  # records, when none can be read: then it is not the records that are to blame


@dataclass(frozen=True)
class SortedPage:
    """A page that came, and what of it can be read. body: as it is kept; page: what that parses to; name: of its list of records; asides: who was in
    it and is set aside.
    """

    body: bytes
    page: dict[str, Any]
    name: str
    asides: Sequence[Aside] = ()

    @property
    def records(self) -> list[dict[str, Any]]:
        return list(self.page[self.name])

    def with_records(self, records: list[Any], asides: Sequence[Aside]) -> "SortedPage":
        """The same page with these records instead, and with these set aside."""
        page = {**self.page, self.name: records}
        return SortedPage(as_loadable(json.dumps(page).encode()), page, self.name, asides)


def sort_out(body: bytes, page: dict[str, Any], name: str, objection: Callable[[Any], Aside | None]) -> SortedPage:
    """Sets aside the records of a page to which there is an objection. name: of their list."""
    came = SortedPage(body, page, name)
    objections = [(record, objection(record)) for record in page[name]]
    asides = [aside for _, aside in objections if aside is not None]
    return came.with_records([record for record, aside in objections if aside is None], asides) if asides else came


# Where the next record begins, as both CRMs write them, behind one that cannot be parsed.
_NEXT_RECORD = re.compile(r',\s*(?=\{\s*"(?:id|attributes)"\s*:)')


def split_page(body: bytes, name: str) -> dict[str, Any] | None:
    """A JSON answer of which some records are no JSON: the page, with the text of such a record in its place in the list `name`.

    None when it is more than that: the list has no end, what stands around it is no JSON, or none of several records can be read.
    """
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    begin = re.search(rf'"{name}"\s*:\s*\[', text)
    if begin is None:
        return None
    decoder = json.JSONDecoder()
    records: list[Any] = []
    place = begin.end()
    while True:
        place = _behind(text, place, " \t\r\n,")
        if text[place : place + 1] == "]":
            break
        try:
            record, place = decoder.raw_decode(text, place)
            records.append(record)
        except (ValueError, RecursionError):
            following = _NEXT_RECORD.search(text, place + 1)
            end = following.start() if following else text.rfind("}", place, max(place, text.rfind("]"))) + 1
            if end <= place:
                return None
            records.append(text[place:end])
            place = end
    try:
        page = json.loads(text[: begin.end()] + text[place:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(page, dict) or (len(records) > _HOPELESS and not any(isinstance(record, dict) for record in records)):
        return None
    return {**page, name: records}


def id_in(text: str, name: str) -> str | None:
    """The id in the text of a record that cannot be parsed; None when none can be seen. name: of the field."""
    found = re.search(rf'"{name}"\s*:\s*"?([A-Za-z0-9]+)', text)
    return found[1] if found else None


def _behind(text: str, place: int, characters: str) -> int:
    while text[place : place + 1] and text[place] in characters:
        place += 1
    return place


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
    if not starts:
        return rows
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
    path.write_text(json.dumps({name: records}), "utf-8")
