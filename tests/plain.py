"""Runs on a few dozen people, without what is worth it on more only.

DuckDB plans each statement as it is written: what a statement says does not depend on the optimizer, which takes a third of the time of a small run. The file
of a new warehouse is a copy. Searches are not held back, because the sandbox counts none. All that is as shipped in runs whose Dagster is on the disk and in
commands that are started for themselves (tests/command.py: start, call); the optimizer also in runs on hundreds of people, and where a test asks for it.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from assets.pull.pace import Pace
from assets.warehouse.file import make_empty

connect = duckdb.connect


def connect_plainly(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
    """`duckdb.connect`, for the process or the test that has it in its place."""
    connection = connect(*arguments, **options)
    connection.execute("set enable_optimizer = false")
    return connection


@cache
def empty_warehouse() -> bytes:
    """The file of an empty warehouse: preparing one takes four times as long as opening a copy."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse.duckdb"
        make_empty(path)
        return path.read_bytes()


def copy_empty(path: Path) -> None:
    """`make_empty`, for whom has it in its place. To DuckDB all that are copied so are one file: it replays the log of one into another."""
    path.write_bytes(empty_warehouse())


def pace_of_the_sandbox(calls: int, seconds: float) -> Pace:
    """`Pace`, for whom has it in its place. Searches are what is counted by the second."""
    return Pace(1000 if seconds == 1 else calls, seconds)
