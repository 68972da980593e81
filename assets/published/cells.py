"""Cells of a CSV file that somebody opens in a spreadsheet: nothing in them is taken for a formula.

The rule stands in main.safe_cell (assets/models/sql/raw/macros.sql), which says what is guarded. Here it is for cells that are in no table, and a test
holds the two against each other. Files that are imported into a CRM again are not guarded: there an apostrophe would become part of the value.
"""

import re

import duckdb

from assets.sql import quoted

_IN_LINE = r"\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0\xad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
_FIRST = re.compile(rf"[\t\r\n]|[{_IN_LINE}\t\r\n;,]*(?:[=@＝＠＋－]|[+-](?![0-9 ()./-]*\Z))")
_NEXT = re.compile(rf"([;\t\r\n][{_IN_LINE}]*)([=@+＝＠＋－-])")


def safe_cell(text: str) -> str:
    """As main.safe_cell."""
    if text.isalnum():  # most cells are ids
        return text
    inside = _NEXT.sub(r"\1'\2", text)
    return f"'{inside}" if _FIRST.match(text) else inside


def safe_cells(connection: duckdb.DuckDBPyConnection, query: str, values: object = None) -> str:
    """The same rows with every text made safe, lists as texts with semicolons between them. values: of the query."""
    columns = connection.execute(f"describe {query}", values).fetchall()
    cells = {}
    for name, kind, *_ in columns:
        column = quoted(name)
        if kind.endswith("[]"):
            cells[column] = f"main.safe_cell(array_to_string({column}, ';'))"
        elif kind == "VARCHAR" or kind.startswith(("MAP", "STRUCT", "ENUM")):
            cells[column] = f"main.safe_cell(cast({column} as varchar))"
    replaced = ", ".join(f"{expression} as {column}" for column, expression in cells.items())
    return f"select * replace ({replaced}) from ({query})" if cells else query
