"""Tables in pages: what Salesforce and other web tools call .xls is often HTML, and what old spreadsheets call XML is a table, too."""

import csv
from html.parser import HTMLParser
from pathlib import Path
from typing import TextIO

BEGINNING = "<"  # of its text, behind marks and blanks
_ROWS, _CELLS = {"tr", "row"}, {"td", "th", "cell"}
_PIECE = 1 << 20


def write_tables(text: TextIO, folder: Path) -> list[Path]:
    """Writes each table of a page as CSV into the folder."""
    parser = _Tables(folder)
    while piece := text.read(_PIECE):
        parser.feed(piece)
    parser.close()
    parser.end_table()
    return parser.paths


class _Tables(HTMLParser):
    """A table in a cell of another one is text of that cell. End tags may be missing."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.paths: list[Path] = []
        self._folder, self._depth = folder, 0
        self._file: TextIO | None = None
        self._row: list[str] | None = None
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._depth += 1
            if self._depth == 1:
                self.paths.append(self._folder / f"table{len(self.paths)}.csv")
                self._file = self.paths[-1].open("w", encoding="utf-8", newline="")
        elif self._depth == 1 and tag in _ROWS:
            self._end_row()
            self._row = []
        elif self._depth == 1 and tag in _CELLS:
            self._end_cell()
            self._cell = []
        elif tag == "br" and self._cell is not None:
            self._cell.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self._depth:
            self._depth -= 1
            if not self._depth:
                self.end_table()
        elif self._depth == 1 and tag in _ROWS:
            self._end_row()
        elif self._depth == 1 and tag in _CELLS:
            self._end_cell()

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def end_table(self) -> None:
        self._end_row()
        if self._file is not None:
            self._file.close()
        self._file = None

    def _end_row(self) -> None:
        self._end_cell()
        if self._row is not None and self._file is not None:
            csv.writer(self._file).writerow(self._row)
        self._row = None

    def _end_cell(self) -> None:
        if self._cell is not None and self._row is not None:
            self._row.append("".join(self._cell).strip())
        self._cell = None
