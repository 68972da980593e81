"""How long a PostgreSQL server is waited for, and what is said of it. It may be away, refuse us, or be frozen: a network that drops packets ends nothing.

psycopg2 waits without end for a server that is silent, and no setting of the server helps against that. So its waiting is done here, for every connection of
this process, Dagster's included.
"""

import select
import time
from typing import Any

import sqlalchemy as sa

CONNECT_SECONDS = 5.0  # from the first packet to the log-in
SILENT_SECONDS = 15.0  # without a byte of an answer: longer than any statement of ours takes, shorter than a person waits


def limit_waiting() -> None:
    """Lets psycopg2 raise OperationalError when a server is silent for too long; the connection is closed then."""
    import psycopg2.extensions

    psycopg2.extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    import psycopg2
    from psycopg2 import extensions

    is_connecting = connection.status in (extensions.STATUS_SETUP, _CONNECTING)
    limit = CONNECT_SECONDS if is_connecting else SILENT_SECONDS
    given_up = psycopg2.OperationalError(f"it did not {'let us in' if is_connecting else 'answer'} within {limit:g} seconds")
    if is_connecting and time.monotonic() < _silent_until.get(connection.dsn, 0):
        raise given_up
    until = time.monotonic() + limit
    wanted = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}
    while (state := connection.poll()) != extensions.POLL_OK:
        waiting = select.poll()
        waiting.register(connection.fileno(), wanted[state])
        if not waiting.poll(max(until - time.monotonic(), 0) * 1000):
            if is_connecting:
                _silent_until[connection.dsn] = time.monotonic() + 2 * limit
            raise given_up
        if not is_connecting:
            until = time.monotonic() + limit  # it has said something


_silent_until: dict[str, float] = {}  # by address: so long nobody else waits for a server that let nobody in; Dagster alone tries six times a call
_CONNECTING = 20  # psycopg2 names it in C alone


def shown_url(url: str | sa.URL) -> str:
    """An address for a person to read: no password, and nothing of what follows it, which may hold one."""
    return sa.make_url(url).set(query={}).render_as_string(hide_password=True)


def detail_of(error: sa.exc.DBAPIError) -> str:
    """What the driver said, in one line. It may name the server, never the password."""
    said = str(error.orig).strip()
    return said.splitlines()[0] if said else type(error.orig).__name__
