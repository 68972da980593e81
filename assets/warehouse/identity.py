"""To whom a home belongs: one org and one portal. Records of two would be blended under one watermark, and nobody would see it."""

import uuid
from datetime import UTC, datetime

import duckdb

from assets.moments import naive
from assets.problems import ConfigurationProblem
from assets.sql import transaction

_CALLED = {"salesforce": ("Salesforce org", "SALESFORCE_INSTANCE_URL"), "hubspot": ("HubSpot portal", "HUBSPOT_ACCESS_TOKEN")}


def hold_to_home(connection: duckdb.DuckDBPyConnection, found: dict[str, str | None]) -> None:
    """Notes which org and portal this home belongs to, and refuses another one.

    found: by source ("salesforce", "hubspot") the id that the CRM tells; None where it tells none. Raises ConfigurationProblem that names each id that
    is another one; nothing is noted then.
    """
    told = {source: _long(connection, found_id) for source, found_id in found.items() if found_id is not None}
    known = dict(connection.execute("select source, id from main.crm_identity").fetchall())
    others = [source for source, found_id in told.items() if known.get(source, found_id) != found_id]
    if others:
        raise ConfigurationProblem("\n".join(_refusal(source, known[source], told[source]) for source in others))
    new = {source: found_id for source, found_id in told.items() if source not in known}
    if new:
        with transaction(connection):
            moment = naive(datetime.now(UTC))
            connection.executemany("insert into main.crm_identity values (?, ?, ?)", [[source, found_id, moment] for source, found_id in new.items()])


def name_home(connection: duckdb.DuckDBPyConnection) -> str:
    """The name of this home in stores that others use, too. It is given one when it has none."""
    connection.execute("insert into main.home select ? where not exists (from main.home)", [uuid.uuid4().hex])
    row = connection.execute("select id from main.home").fetchone()
    assert row is not None  # it was put there
    return str(row[0])


def read_identity(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The id of the org and of the portal that this home belongs to, by source, as far as they are known."""
    return dict(connection.execute("select source, id from main.crm_identity").fetchall())


def _long(connection: duckdb.DuckDBPyConnection, found_id: str) -> str:
    row = connection.execute("select coalesce(main.salesforce_id18($id), $id)", {"id": found_id}).fetchone()
    return str(row[0]) if row else found_id


def _refusal(source: str, known: str, found: str) -> str:
    what, setting = _CALLED[source]
    refreshed = " A sandbox that was refreshed is another org." if source == "salesforce" else ""
    return (
        f"This home belongs to the {what} {known}, and {setting} leads to {found}. Nothing was pulled.{refreshed} "
        f"Correct {setting}, or set BINDWATCH_HOME to another folder for {found}."
    )
