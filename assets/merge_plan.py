"""Merge plans that somebody hands in: CSV files with the columns master_id and loser_id, one row a loser."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import duckdb

log = logging.getLogger("bindwatch.models")

FOLDER = "merge-plans"  # below the home; each run judges what lies there
COLUMNS = ("master_id", "loser_id")


def read_merge_plan(path: Path) -> Iterator[tuple[str, str]]:
    """The (master, loser) pairs of a plan, in the order of the file. Commas or semicolons; header case and further columns do not matter.

    Raises ValueError when the file is no text in UTF-8, or lacks one of the two columns.
    """
    text = path.read_text("utf-8-sig")
    header, _, _ = text.partition("\n")
    rows = csv.reader(text.splitlines(), delimiter=";" if header.count(";") > header.count(",") else ",")
    names = [name.strip().lower() for name in next(rows, [])]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise ValueError(f"it has no column {' and no column '.join(missing)}")
    places = [names.index(name) for name in COLUMNS]
    for row in rows:
        if any(cell.strip() for cell in row):
            master, loser = (row[place].strip() if place < len(row) else "" for place in places)
            yield master, loser


def load_merge_plans(connection: duckdb.DuckDBPyConnection, home: Path) -> None:
    """Replaces main.merge_plan by the rows of every plan in the home. A plan that cannot be read is one row without ids, with row_no 0."""
    rows: list[tuple[str, int, str | None, str | None]] = []
    for path in sorted((home / FOLDER).glob("*.csv")):
        try:
            rows += [(path.name, number, master, loser) for number, (master, loser) in enumerate(read_merge_plan(path), 1)]
        except (ValueError, OSError, csv.Error) as error:
            log.warning("the merge plan %s cannot be read: %s", path.name, error)
            rows.append((path.name, 0, None, None))
    connection.execute("delete from main.merge_plan")
    if rows:
        connection.executemany("insert into main.merge_plan values (?, ?, ?, ?)", rows)
