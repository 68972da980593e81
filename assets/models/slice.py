"""Builds stale tables for those people alone whom the last pulls touched, and for everybody whom ids and e-mails lead to from them: a slice.

The files are those of a full build. They run over tables of the same names in schemas beside (slice_raw, slice_staging, slice_core), which hold the rows of
the slice; what comes out takes the place of these rows in the real table. Whose a row is, its header says (`slice:`). A table that speaks of the whole, that
is due, or that reads something of which rows outside the slice are others, is built whole. What came out as it was counts as unchanged, for whoever reads
it and for whoever publishes it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import duckdb

from assets.models.sqlfile import SqlFile
from assets.models.stale import Standing
from assets.sql import count

MOST = 0.2  # of all contacts and records: beyond that the whole is built, which costs no more
_LAYERS = ("raw", "staging", "core")
_NAME = re.compile(rf"\b({'|'.join(_LAYERS)})\.([a-z_0-9]+)\b")
_NUMBERED = "pull_no > {since}"
# What tells whom a pull touched: whose a row is, and which rows are new.
_TOLD = {
    "raw.salesforce_lead": ("record_id", _NUMBERED),
    "raw.salesforce_contact": ("record_id", _NUMBERED),
    "raw.hubspot_contact": ("id", _NUMBERED),
    "raw.hubspot_property_version": ("contact_id", _NUMBERED),
    "raw.presence": ("id", _NUMBERED),
    "raw.hubspot_history_read": ("contact_id", _NUMBERED),
    "raw.salesforce_history_read": ("record_id", _NUMBERED),
    "raw.salesforce_field_history": ("record_id", "pull in (select pull_id from raw.pull where pull_no > {since})"),
}
# Who leads to whom. What is empty leads nowhere. Everything that the models join people by is here, as it was and as it is.
_EDGES = """
    select record_id as one, email as other from staging.salesforce_record
    union all select contact_id, email from staging.hubspot_contact
    union all select contact_id, unnest(additional_emails) from staging.hubspot_contact where len(additional_emails) > 0
    union all select contact_id, salesforce_lead_id from staging.hubspot_contact
    union all select contact_id, salesforce_contact_id from staging.hubspot_contact
    union all select contact_id, merged_into_id from staging.hubspot_merge
    union all select hubspot_contact_id, read_from_id from staging.hubspot_property_version where hubspot_contact_id <> read_from_id
    union all
    select hubspot_contact_id, case when length(value) = 18 then value else main.salesforce_id18(value) end
    from staging.hubspot_property_version where main.is_id_property(property)
    union all
    select record_id, unnest([main.long_id(master_record_id), main.long_id(converted_contact_id)])
    from raw.salesforce_lead where master_record_id <> '' or converted_contact_id <> ''
    union all select record_id, main.long_id(master_record_id) from raw.salesforce_contact where master_record_id <> ''
"""


@dataclass
class Slice:
    """The slice of a build that is going on. touched: contacts and records that pulls brought something of; reached: people and e-mails in the slice; known:
    contacts and records there are. changed: what is read or built and is another than before; moved: of these, what is so outside the slice, too.
    """

    connection: duckdb.DuckDBPyConnection
    standing: Standing
    touched: int
    reached: int
    known: int
    changed: set[str]
    moved: set[str]
    whole: dict[str, str] = field(default_factory=dict)
    _here: set[str] = field(default_factory=set)

    @property
    def files(self) -> dict[str, SqlFile]:
        return {file.table: file for file in self.standing.files}

    def build(self, file: SqlFile, reads: frozenset[str], build_whole: Callable[[], None]) -> bool:
        """Builds a stale table. reads: what it is made of. Returns False where nothing of that is another: then it stays as it is."""
        table, due = file.table, file.table in self.standing.due
        if not due and not reads & self.changed:
            return False
        if file.is_view:
            self.changed.add(table)
            if not file.is_local or reads & self.moved:
                self.moved.add(table)
            return False
        if file.is_local and not due and not reads & self.moved:
            self._build_part(file)
            return True
        self.whole[table] = "due" if due else f"reads {', '.join(sorted(reads & self.moved))}" if file.is_local else "speaks of the whole"
        if "always" in file.due:
            build_whole()  # that it is another tells nobody anything
            return True
        if table.startswith("review."):
            build_whole()
            self._note(table, True, True)
            return True
        before = self._sums(file)
        build_whole()
        after = self._sums(file)
        self._note(table, before != after, before[0] != after[0])
        return True

    def reach(self) -> bool:
        """Adds everybody whom ids and e-mails lead to. False where they are too many.

        As it was, that is told of all; as it is, of those who were touched, because the others lead to whom they led to.
        """
        connection = self.connection
        touched = [file for file in self.standing.files if file.table.startswith("staging.") and file.is_local]
        self._bring(table for file in touched for table in file.reads if table in _TOLD)
        for file in touched:
            self._here.add(file.table)
            connection.execute(self._of_slice(file.text))
        edges = f"{_EDGES} union all {self._of_slice(_EDGES)}"
        connection.execute(
            f"""create or replace table slice_core.edge as
                select unnest([{_node("one")}, {_node("other")}]) as one, unnest([{_node("other")}, {_node("one")}]) as other
                from ({edges}) where one <> '' and other <> ''"""
        )
        while count(connection, "select count(*) from slice_core.frontier"):
            connection.execute(
                """create or replace table slice_core.frontier as
                   select distinct other as node from slice_core.edge semi join slice_core.frontier on frontier.node = edge.one
                   where other not in (select node from slice_core.reached)"""
            )
            connection.execute("insert into slice_core.reached from slice_core.frontier")
            self.reached = count(connection, "select count(*) from slice_core.reached")
            if self.reached > 2 * MOST * self.known:  # e-mails are counted, too
                return False
        self._drop()
        return True

    def end(self) -> None:
        self._drop()
        self.connection.execute("drop table slice_core.reached; drop table slice_core.edge; drop table slice_core.frontier")
        for layer in _LAYERS:
            self.connection.execute(f"drop schema slice_{layer}")

    def _drop(self) -> None:
        # one by one: where a schema is dropped as a whole, DuckDB cannot commit what was written into its tables
        for table in sorted(self._here, key=lambda table: not self._is_view(table)):
            self.connection.execute(f"drop {'view' if self._is_view(table) else 'table'} slice_{table}")
        self._here.clear()

    def _is_view(self, table: str) -> bool:
        return table in self.files and self.files[table].is_view

    def _note(self, table: str, is_another: bool, outside: bool) -> None:
        if is_another:
            self.changed.add(table)
        if outside:
            self.moved.add(table)

    def _build_part(self, file: SqlFile) -> None:
        self._bring(file.reads)
        self._here.add(file.table)
        self.connection.execute(self._of_slice(file.text))
        new, inside = f"slice_{file.table}", f"{_node(file.whose)} in (select node from slice_core.reached)"
        # outside of it stand rows that only a table that is read whole has more of
        if self._sum(file.table, inside) == self._sum(new, inside):
            return
        self.connection.execute(f"delete from {file.table} where {inside}")
        self.connection.execute(f"insert into {file.table} by name from {new} where {inside}")
        self.changed.add(file.table)

    def _bring(self, tables: Iterable[str]) -> None:
        """Has the rows of the slice of each table in the schemas beside."""
        for table in sorted(set(tables) - self._here):
            file = self.files.get(table)
            whose = _TOLD[table][0] if table in _TOLD else file.whose if file else None
            if whose is None:
                continue
            if file and file.is_view:
                self._bring(file.reads)
                self._here.add(table)
                self.connection.execute(self._of_slice(file.text))
                continue
            self._here.add(table)
            self.connection.execute(
                f"create or replace table slice_{table} as from {table} where {_node(whose)} in (select node from slice_core.reached)"
            )

    def _of_slice(self, text: str) -> str:
        """The same statement over the tables of the slice, as far as they are there."""
        return _NAME.sub(lambda name: f"slice_{name[0]}" if name[0] in self._here else name[0], text)

    def _sums(self, file: SqlFile) -> tuple[object, object]:
        """What a table holds outside and inside the slice. Without a word of whose its rows are, all is outside."""
        if file.whose is None:
            return self._sum(file.table, "true"), None
        inside = f"coalesce({_node(file.whose)} in (select node from slice_core.reached), false)"
        return self._sum(file.table, f"not {inside}"), self._sum(file.table, inside)

    def _sum(self, table: str, where: str) -> object:
        return self.connection.execute(f"select count(*), sum(cast(hash(held) as hugeint)) from {table} as held where {where}").fetchone()


def begin_slice(connection: duckdb.DuckDBPyConnection, standing: Standing) -> Slice | None:
    """Finds who belongs to the slice. In the transaction of the build. None where the whole has to be built, or so many are reached that it may as well be."""
    if standing.since is None:
        return None
    for layer in _LAYERS:
        connection.execute(f"create schema slice_{layer}")
    told = [name for name in _TOLD if name in standing.told]
    seeds = [f"select {_node(_TOLD[name][0])} as node from {name} where {_TOLD[name][1].format(since=standing.since)}" for name in told]
    connection.execute(f"create table slice_core.reached as {' union '.join(seeds) or 'select null::ubigint as node limit 0'}")
    touched = count(connection, "select count(*) from slice_core.reached")
    connection.execute("create table slice_core.frontier as from slice_core.reached; create table slice_core.edge as select node as one, node as other from slice_core.reached limit 0")
    known = count(connection, "select (select count(*) from staging.salesforce_record) + (select count(*) from staging.hubspot_contact)")
    others = set(standing.told) - set(_TOLD)
    made = Slice(connection, standing, touched, touched, known, set(standing.told), others)
    if touched > MOST * known:
        made.end()
        return None
    if not made.reach():
        made.end()
        return None
    return made


def _node(key: str | None) -> str:
    return f"hash({key})"
