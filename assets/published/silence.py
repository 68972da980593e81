"""How long a home may go without a run that proves something, until somebody is told: what does not happen leaves no event behind."""

from datetime import datetime, timedelta

import duckdb

_RUNS = 20  # whose distances say what is usual
_UNKNOWN = timedelta(hours=26)  # as long as there were fewer than three: a nightly run that did not come
_LEAST = timedelta(hours=1)  # somebody who tries things out runs every minute


def last_proven(snapshot: duckdb.DuckDBPyConnection) -> tuple[str, datetime] | None:
    """The last run that proved something: its id, and when it ended (UTC). snapshot: assets.published.snapshot.open_folder."""
    row = snapshot.execute("select run_id, finished_at from published.run where verdict in ('pass', 'fail') order by run_no desc limit 1").fetchone()
    return (row[0], row[1]) if row else None


def silence_limit(snapshot: duckdb.DuckDBPyConnection | None, hours: float | None) -> timedelta:
    """hours: as the policy says; without it, twice the usual distance between two proven runs."""
    if hours is not None:
        return timedelta(hours=hours)
    if snapshot is None:
        return _UNKNOWN
    row = snapshot.execute(
        """with proven as (
               select run_no, finished_at from published.run where verdict in ('pass', 'fail') order by run_no desc limit ?
           ),
           distance as (select finished_at - lag(finished_at) over (order by run_no) as length from proven)
           select median(epoch(length)) from distance having count(length) >= 2""",
        [_RUNS + 1],
    ).fetchone()
    return _UNKNOWN if row is None else max(2 * timedelta(seconds=row[0]), _LEAST)
