"""Runs on a few dozen people, without what is worth it on more only: DuckDB plans each statement as it is written.

What a statement says does not depend on the optimizer, which takes a third of the time of a small run. On it stays in runs whose Dagster is on the disk,
in commands that are started for themselves (tests/command.py: start, call), in runs on hundreds of people, and where a test asks for it.
"""

from typing import Any

import duckdb

connect = duckdb.connect


def connect_plainly(*arguments: Any, **options: Any) -> duckdb.DuckDBPyConnection:
    """`duckdb.connect`, for the process or the test that has it in its place."""
    connection = connect(*arguments, **options)
    connection.execute("set enable_optimizer = false")
    return connection
