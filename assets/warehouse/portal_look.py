"""What full runs saw of how the portal is set up: raw.portal_look and raw.portal_setting."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb

from assets.moments import naive
from assets.sql import count, transaction
from assets.warehouse.watermark import current_run_id

_WHOLE = "source = 'hubspot' and ((object = 'contact' and mode = 'full') or object = 'contact_ids')"
_MAIN_PULL = {"salesforce": "Contact", "hubspot": "contact"}


def is_look_due(connection: duckdb.DuckDBPyConnection) -> bool:
    """Does the run that is going on see everything? It pulled all contacts, or compared all their ids; or no run before it was proven, so that the one which
    pulled everything was cut short.
    """
    whole = f"select count(*) from raw.pull where run_id = (select run_id from main.current_run) and {_WHOLE}"
    return count(connection, whole) > 0 or count(connection, "select count(*) from main.run where verdict in ('pass', 'fail')") == 0


def note_look(connection: duckdb.DuckDBPyConnection, taken_at: datetime, kind: str, contacts: int, settings: Sequence[dict[str, Any]]) -> None:
    """Keeps what this run saw, and what the last two proven runs that saw something did: a setting drifts when two in a row say so.

    settings: rows of raw.portal_setting, in their order, without run_id and position.
    """
    run_id = current_run_id(connection)
    with transaction(connection):
        kept = """select look.run_id from raw.portal_look as look
                  inner join main.run as run on run.run_id = look.run_id and run.verdict in ('pass', 'fail')
                  where look.run_id <> $run_id order by run.run_no desc limit 2"""
        for table in ("raw.portal_setting", "raw.portal_look"):
            connection.execute(f"delete from {table} where run_id not in ({kept})", {"run_id": run_id})
        connection.execute("insert into raw.portal_look values (?, ?, ?, ?)", [run_id, naive(taken_at), kind, contacts])
        rows = [{"run_id": run_id, "position": position, **row} for position, row in enumerate(settings, 1)]
        if rows:
            names = list(rows[0])
            connection.executemany(
                f"insert into raw.portal_setting ({', '.join(names)}) values ({', '.join('?' for _ in names)})", [[row[name] for name in names] for row in rows]
            )


def note_no_look(connection: duckdb.DuckDBPyConnection, source: str, problem: str) -> None:
    """Says in the coverage that nothing was seen. source: the CRM that is to blame (salesforce, hubspot). What former runs saw stays."""
    text = f"whether the settings are still those of bindwatch.toml: {problem}"
    with transaction(connection):
        connection.execute(
            """update raw.pull set not_seen = list_append(coalesce(not_seen, []), $text)
               where run_id = (select run_id from main.current_run) and source = $source and object = $object
                 and not list_contains(coalesce(not_seen, []), $text)""",
            {"text": text, "source": source, "object": _MAIN_PULL[source]},
        )
