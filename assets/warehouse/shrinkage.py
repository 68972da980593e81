"""Is it plausible that so little is there? A CRM that answers well and hides half of its records (a filtered view, a lost permission, a broken gateway)
looks like one whose records are gone.

What a CRM explains (deleted, merged, archived) is believed, however much. What is missing without an explanation is not, from a share on: the run is
unproven until a person says `bindwatch run --accept-shrink NAME`, and what was known before stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from assets.moments import naive
from assets.policy import Policy, Pull
from assets.problems import ConfigurationProblem
from assets.sql import count, transaction
from assets.warehouse.watermark import current_run_id

NAMES = ("salesforce.Lead", "salesforce.Contact", "hubspot.contact", "hubspot.inclusion_list")
_OBJECTS = {"Lead": NAMES[0], "Contact": NAMES[1], "contact": NAMES[2]}


class Shrunken(Exception):
    """So much is missing without an explanation that the pull is not believed. The message is in words, for raw.pull; name, kind, known, counted: what
    a person can accept.
    """

    def __init__(self, name: str, kind: str, known: int, counted: int) -> None:
        self.name, self.kind, self.known, self.counted = name, kind, known, counted
        super().__init__(
            f"{known - counted:,} of {known:,} known ones are not in it, and nothing explains that; if it is right: bindwatch run --accept-shrink {name}"
        )


@dataclass(frozen=True)
class Floor:
    """How many known records may be missing without an explanation: the larger of a number and a share in percent."""

    records: int = Pull().shrink_records
    percent: float = Pull().shrink_percent

    @classmethod
    def of(cls, policy: Policy) -> "Floor":
        return cls(policy.pull.shrink_records, policy.pull.shrink_percent)

    def hold(self, connection: duckdb.DuckDBPyConnection, tracked: str, known: int, missing: int) -> None:
        """Holds a list that names everything against what is known. Raises Shrunken when it is not believed.

        tracked: Lead, Contact, contact, or inclusion_list. known: live ones before; missing: of them, which the list does not have and nothing explains.
        """
        name = _OBJECTS.get(tracked, NAMES[3])
        kind = "members" if name == NAMES[3] else "records"
        floor = known - accepted_missing(connection, name, kind)
        asked = [floor, known - missing, self.records, self.percent]
        (is_implausible,) = connection.execute("select main.is_implausible(?, ?, ?, ?)", asked).fetchone() or (True,)
        if not is_implausible:
            return
        raise Shrunken(name, "members" if kind == "members" else "listed", known, known - missing)


def accepted_missing(connection: duckdb.DuckDBPyConnection, name: str, kind: str) -> int:
    """How many are missing with a person's consent. It holds until all ids were compared: from then on those that are gone are known to be."""
    return count(connection, f"select coalesce(max(missing), 0) from main.shrink_in_force where name = '{name}' and kind = '{kind}'")


def _accepted_as(kind: str) -> str:
    """Records are counted, and where all ids are compared they are listed: a person accepts both at once."""
    return "records" if kind in ("counted", "listed") else kind


def note_count(connection: duckdb.DuckDBPyConnection, name: str, kind: str, known: int | None, counted: int) -> None:
    """Notes how many there are. known: how many there should be; None: as many as the models know."""
    run_id = current_run_id(connection)
    with transaction(connection):
        connection.execute("delete from main.object_count where run_id <> ? or (name = ? and kind = ?)", [run_id, name, kind])
        connection.execute("insert into main.object_count values (?, ?, ?, ?, ?)", [run_id, name, kind, known, counted])
        connection.execute("update main.shrink_regained set counted = greatest(counted, ?) where name = ? and kind = ?", [counted, name, _accepted_as(kind)])


def accept_shrink(connection: duckdb.DuckDBPyConnection, given: Sequence[str], who: str) -> None:
    """Notes that a person accepts that so few are there; the number of now is the next floor.

    given: of NAMES. Raises ConfigurationProblem, and notes nothing, when one of them is not in question. The caller's transaction holds all that a command
    accepts together.
    """
    is_built = count(connection, "select count(*) from duckdb_tables() where schema_name = 'core' and table_name = 'shrink'")
    in_question = {row[0] for row in connection.execute("select distinct name from core.shrink where not is_accepted").fetchall()} if is_built else set()
    if missing := [name for name in given if name not in in_question]:
        known = f"In question after the last run: {', '.join(sorted(in_question))}." if in_question else "After the last run none is in question."
        raise ConfigurationProblem("\n".join(f"--accept-shrink {name}: it is not in question. {known}" for name in missing))
    connection.execute(
        """insert into main.accepted_shrink
           select name, kind, max(known), min(counted), $moment, $who, (select coalesce(max(pull_no), 0) from raw.pull)
           from core.shrink where not is_accepted and list_contains($names, name) group by name, kind""",
        {"moment": naive(datetime.now(UTC)), "who": who, "names": list(given)},
    )
    connection.execute("delete from main.shrink_regained where list_contains(?, name)", [list(given)])
    connection.execute(
        """insert into main.shrink_regained
           select name, kind, max_by(counted, accepted_at) from main.accepted_shrink where list_contains(?, name) group by name, kind""",
        [list(given)],
    )
