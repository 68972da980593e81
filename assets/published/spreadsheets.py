"""Tables that people open in a spreadsheet: a workbook, or CSV as their program reads it when they double-click it. No cell of them is taken for a formula.

Files that a CRM or a merge tool imports are not made here: they are CSV with commas, and hold values exactly as they are.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from assets.problems import ConfigurationProblem
from assets.published.cells import safe_cells
from assets.sql import quoted

# A spreadsheet takes the separator from the settings of its country, where a decimal comma stands against commas between cells, and knows UTF-8 by a byte
# order mark alone. Programs do without one.
CSV = {"comma": (",", False), "comma_bom": (",", True), "semicolon": (";", True)}
WORKBOOK = "xlsx"
SHAPES = (WORKBOOK, *CSV)

MOST_ROWS = 1_048_575  # of a sheet, below its header
MOST_CHARACTERS = 32_767  # of a cell
_AT_ONCE = 2000  # rows
_WIDE = {"reason": 70, "reason_de": 70, "action": 60, "action_de": 60, "what_to_do": 60, "values_lost": 60}
_MARK = "\ufeff"
_CUT = "cut"
_CUT_MEANS = (
    "{cells:,} cut: a cell holds 32,767 characters. The CSV file has them whole. / {cells:,} gekürzt: Eine Zelle fasst 32.767 Zeichen. Die CSV-Datei hat alles."
)


def write_table(connection: duckdb.DuckDBPyConnection, query: str, path: Path, shape: str = "comma", parts: Sequence[Mapping[str, Any]] = ({},)) -> None:
    """Writes the rows of a query, in their order. shape: one of SHAPES; parts: the values of the query, for each part of the rows in turn: of a long list no
    more than a part is in memory. Raises ConfigurationProblem when the file cannot be written.
    """
    if shape == WORKBOOK:
        return _write_workbook(connection, query, path, parts)
    separator, has_mark = CSV[shape]
    cells = safe_cells(connection, query, parts[0])
    first = connection.execute(f"describe {query}", parts[0]).fetchall()
    decimals = [name for name, kind, *_ in first if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL")] if separator == ";" else []
    columns = [f"replace(cast({quoted(name)} as varchar), '.', ',') as {quoted(name)}" if name in decimals else quoted(name) for name, *_ in first]
    if has_mark:
        columns[0] = f"{columns[0].rpartition(' as ')[0] or columns[0]} as {quoted(_MARK + first[0][0])}"

    def copy(part: Mapping[str, Any], to: Path, header: str) -> None:
        connection.execute(
            f"copy (select {', '.join(columns)} from ({cells})) to $path (format csv, header {header}, delimiter '{separator}')", {**part, "path": str(to)}
        )

    try:
        copy(parts[0], path, "true")
        if len(parts) > 1:  # a short list needs no folder for pieces
            with path.open("ab") as whole, TemporaryDirectory(prefix="bindwatch-table-") as folder:
                for part in parts[1:]:
                    copy(part, piece := Path(folder) / "piece", "false")
                    with piece.open("rb") as more:
                        shutil.copyfileobj(more, whole)
    except (duckdb.IOException, OSError) as error:
        raise ConfigurationProblem(f"{path} cannot be written.") from error
    return None


def _write_workbook(connection: duckdb.DuckDBPyConnection, query: str, path: Path, parts: Sequence[Mapping[str, Any]]) -> None:
    """Row by row, whatever their number: what does not fit on a sheet goes on the next one. Texts are texts, so ids keep their digits, and nothing that
    looks like a formula is one, not even after somebody edits the cell. Moments are UTC. What no cell can hold is cut, and a last sheet says which.
    """
    import xlsxwriter  # commands that write none do not wait for it

    names = [name for name, *_ in connection.execute(f"describe {query}", parts[0]).fetchall()]
    workbook = xlsxwriter.Workbook(str(path), {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False})
    formats = {
        "head": workbook.add_format({"bold": True, "bottom": 1}),
        "text": workbook.add_format({"num_format": "@", "quote_prefix": True}),
        "moment": workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
        "day": workbook.add_format({"num_format": "yyyy-mm-dd"}),
    }
    cut: list[tuple[str, int, str, int]] = []
    for rows in _sheets(_rows(connection, query, parts)):
        sheet = workbook.add_worksheet()
        sheet.freeze_panes(1, 0)
        for place, name in enumerate(names):
            sheet.set_column(place, place, _WIDE.get(name, 20))
            sheet.write_string(0, place, name, formats["head"])
        number = 0
        for number, row in enumerate(rows, 1):
            for place, value in enumerate(row):
                if length := _write_cell(sheet, number, place, value, formats):
                    cut.append((sheet.get_name(), number + 1, names[place], length))
        sheet.autofilter(0, 0, number, len(names) - 1)
    if cut:
        sheet = workbook.add_worksheet(_CUT)
        sheet.write_string(0, 0, _CUT_MEANS.format(cells=len(cut)))
        for number, row in enumerate((("sheet", "row", "column", "characters"), *cut[: MOST_ROWS - 1]), 1):
            sheet.write_row(number, 0, row)
    try:
        workbook.close()
    except xlsxwriter.exceptions.FileCreateError as error:
        raise ConfigurationProblem(f"{path} cannot be written.") from error


def _rows(connection: duckdb.DuckDBPyConnection, query: str, parts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for part in parts:
        found = connection.execute(query, part)
        while some := found.fetchmany(_AT_ONCE):
            yield from some


def _sheets(rows: Iterator[tuple[Any, ...]]) -> Iterator[Iterator[tuple[Any, ...]]]:
    """The rows of each sheet; one without rows where there are none. Each must be read to its end before the next."""
    yield islice(rows, MOST_ROWS)
    for row in rows:
        yield chain([row], islice(rows, MOST_ROWS - 1))


def _write_cell(sheet: Any, row: int, place: int, value: Any, formats: dict[str, Any]) -> int:
    """Returns how many characters the value has, where the cell holds fewer; else 0."""
    if value is None:
        return 0
    if isinstance(value, bool):
        sheet.write_boolean(row, place, value)
    elif isinstance(value, (int, float)) and abs(value) < 1e11:  # larger ones would be shown as powers of ten
        sheet.write_number(row, place, value)
    elif isinstance(value, datetime):
        sheet.write_datetime(row, place, value.replace(tzinfo=None), formats["moment"])
    elif isinstance(value, date):
        sheet.write_datetime(row, place, datetime(value.year, value.month, value.day), formats["day"])
    else:
        text = ";".join(map(str, value)) if isinstance(value, list) else str(value)
        cut = len(text) if len(text) > MOST_CHARACTERS else 0
        if cut:
            text = f"{text[: MOST_CHARACTERS - 1]}…"
        if text:
            sheet.write_string(row, place, text, formats["text"])
        return cut
    return 0
