"""Records that arrived and cannot be read: who they are, until a good version comes, and whom a person has accepted."""

from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb

from assets.moments import naive
from assets.problems import ConfigurationProblem
from assets.pull.landing import UNNAMED, LandedPull
from assets.sql import count

MOST_ASKED_AGAIN = 1000  # records that could not be read are asked for by id in every run: so many at most


def ids_set_aside(connection: duckdb.DuckDBPyConnection, object_name: str) -> list[str]:
    """Records of "Lead", "Contact" or "contact" that could not be read and can be asked for again, by their ids."""
    rows = connection.execute(
        f"select id from raw.set_aside where object = ? and not starts_with(id, '{UNNAMED}') order by length(id), id limit {MOST_ASKED_AGAIN}", [object_name]
    ).fetchall()
    return [row[0] for row in rows]


def accept_records(connection: duckdb.DuckDBPyConnection, given: Sequence[str], who: str) -> None:
    """Notes that a person accepts that these records cannot be read. Holds until what arrives of them is another.

    given: ids as people write them. Raises ConfigurationProblem, and notes nothing, when one of them is not in question. The caller's
    transaction holds all that a command accepts together.
    """
    found: dict[str, str | None] = {}
    for name in given:
        row = connection.execute("select id from raw.set_aside where id = coalesce(main.salesforce_id18($name), trim($name))", {"name": name}).fetchone()
        found[name] = row[0] if row else None
    if missing := [name for name, record_id in found.items() if record_id is None]:
        where = "`bindwatch findings --check pull_incomplete` names those that are."
        raise ConfigurationProblem("\n".join(f"--accept-record {name}: no record of that id is set aside. {where}" for name in missing))
    ids = list(found.values())
    connection.execute("delete from main.accepted_record where id in (select unnest(?::varchar[]))", [ids])
    connection.execute(
        "insert into main.accepted_record select object, id, version, ?, ? from raw.set_aside where id in (select unnest(?::varchar[]))",
        [naive(datetime.now(UTC)), who, ids],
    )


def load_asides(connection: duckdb.DuckDBPyConnection, pull: LandedPull, key: str, pull_no: int, tracked: str, names_all: bool) -> None:
    """Notes who was set aside, and who no longer is: a good version came, or it was asked for again and is gone."""
    if not count(connection, "select (select count(*) from raw.set_aside) + (select count(*) from aside)"):
        return
    asked_again = ids_set_aside(connection, tracked) if pull.manifest.object == f"{tracked}_set_aside" else []
    connection.execute(
        f"""delete from raw.set_aside
            where object = $object and ($names_all or list_contains($asked_again, id) or id in (select {key} from incoming))""",
        {"object": tracked, "names_all": names_all, "asked_again": asked_again},
    )
    note_asides(connection, tracked, pull_no)


def note_asides(connection: duckdb.DuckDBPyConnection, tracked: str, pull_no: int) -> None:
    """Notes who is set aside now."""
    connection.execute("delete from raw.set_aside where object = ? and id in (select id from aside)", [tracked])
    connection.execute(f"insert into raw.set_aside by name select ? as object, *, {pull_no} as pull_no from aside", [tracked])
