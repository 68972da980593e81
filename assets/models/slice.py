"""Builds stale tables for those people alone whom the last pulls touched, and for everybody whom ids and e-mails lead to from them: a slice.

The files are those of a full build. They run over tables of the same names in schemas beside (slice_raw, slice_staging, …), which hold the rows of the
slice; what comes out takes the place of these rows in the real table. Whose a row is, its header says (`slice:`). A table that speaks of the whole, that
is due, or that reads something of which rows outside the slice are others, is built whole. What came out as it was counts as unchanged, for whoever reads
it and for whoever publishes it.

The full build stays the truth: it is held against what slices made of the tables, and the run is not proven where they differ.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import duckdb

from assets.models.sqlfile import CheckFile, SqlFile
from assets.models.stale import VIOLATION, Standing, all_reads
from assets.sql import count

MOST = 0.2  # of all contacts and records: where pulls touched more, the whole is built, which costs no more
_LAYERS = ("raw", "staging", "core", "review")
_POLICY = {"main.policy", "main.field_mapping"}
_NAME = re.compile(rf"\b({'|'.join(_LAYERS)})\.([a-z_0-9]+)\b")
# Whose a row is that pulls brought, and which rows are new.
_NUMBERED = "pull_no > {since}"
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
# Who leads to whom: all that models join people by.
_EDGES = """
    select record_id as one, email as other from staging.salesforce_record
    union all select contact_id, unnest([email, salesforce_lead_id, salesforce_contact_id]) from staging.hubspot_contact
    union all select contact_id, unnest(additional_emails) from staging.hubspot_contact where len(additional_emails) > 0
    union all
    -- several may name one, and whom it became is told by all of them
    select id, trim(unnest(string_split(properties['hs_merged_object_ids'], ';'))) from raw.hubspot_contact where properties['hs_merged_object_ids'] <> ''
    union all select hubspot_contact_id, read_from_id from staging.hubspot_property_version where hubspot_contact_id <> read_from_id
    union all
    select hubspot_contact_id, case when regexp_full_match(value, '[A-Za-z0-9]{18}') then value else main.salesforce_id18(value) end
    from staging.hubspot_property_version where main.is_id_property(property)
    union all
    select record_id, unnest([main.long_id(master_record_id), main.long_id(converted_contact_id)])
    from raw.salesforce_lead where master_record_id <> '' or converted_contact_id <> ''
    union all select record_id, main.long_id(master_record_id) from raw.salesforce_contact where master_record_id <> ''
"""


class Slice:
    """How a build goes that may do with a slice.

    because: why the whole is built; None where a slice is. touched: contacts and records that pulls brought something of; reached: these and everybody whom
    they lead to, e-mails counted, too; known: contacts and records there are. whole: tables that were built whole in a slice's build, and why. differing:
    tables of which slices had made something else than the full build that was held against them.
    """

    def __init__(self, standing: Standing) -> None:
        self._asked = standing
        self.standing = standing.former or standing  # a full build is held against the slice that would have done
        self.because: str | None = "everything was asked for" if standing.former else standing.because if standing.since is None else None
        self.touched = self.reached = self.known = 0
        self.whole: dict[str, str] = {}
        self.differing: list[str] = []
        self._files = {file.table: file for file in standing.files}
        self._changed = set(self.standing.told)  # what is read or built and is another than before
        self._moved = self._changed - _TOLD.keys()  # of these what may be so outside the slice, too
        self._here: set[str] = set()  # tables that stand in the schemas beside

    @property
    def unchanged(self) -> frozenset[str]:
        """Tables that are as they were."""
        return self._asked.fresh if self.because else frozenset(self._files) - self._changed

    @property
    def is_held_against_whole(self) -> bool:
        """Everything was asked for: the whole is built after the slice, and shows whether that is right."""
        return self._asked is not self.standing

    # ── who belongs to it ──

    def begin(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Finds out who belongs to the slice, in the transaction of the build. False where the whole is to be built."""
        if self.standing.since is None or self._changed & _POLICY:
            self.because = self.because or "the policy changed"
            return False
        self._connection = connection
        seeds = [
            f"select {_node(key)} as node from {table} where {new.format(since=self.standing.since)}"
            for table, (key, new) in _TOLD.items() if table in self._changed
        ]  # fmt: skip
        for layer in _LAYERS:
            connection.execute(f"create schema slice_{layer}")
        connection.execute(f"create temp table slice_reached as {' union '.join(seeds) or 'select cast(null as ubigint) as node limit 0'}")
        connection.execute("create temp table slice_frontier as from slice_reached")
        connection.execute("create temp table slice_edge (one ubigint, other ubigint)")
        self.touched = self.reached = self._count_reached()
        self.known = count(connection, "select (select count(*) from staging.salesforce_record) + (select count(*) from staging.hubspot_contact)")
        if self.touched > MOST * self.known or (self.touched and not self._reach()):
            self.end()
            self.because = "many were touched"
            return False
        return True

    def _reach(self) -> bool:
        """Adds everybody whom ids and e-mails lead to. False where they are too many.

        Who led to whom is told of all; who leads to whom now, of those who were touched, because it is as it was for the others.
        """
        staging = [file for file in self._files.values() if file.table.startswith("staging.") and file.is_local]
        self._bring(table for file in staging for table in file.reads if table in _TOLD)
        for file in staging:
            self._run(file)
        self._connection.execute(
            f"""create or replace temp table slice_edge as
                select {_node("one")} as one, {_node("other")} as other
                from ({_EDGES} union all {self._of_slice(_EDGES)}) where one <> '' and other <> ''"""
        )
        self._drop()
        while count(self._connection, "select count(*) from slice_frontier"):
            self._connection.execute(
                """create or replace temp table slice_frontier as
                   select distinct other as node
                   from (select one, other from slice_edge union all select other, one from slice_edge) as edge
                   semi join slice_frontier as frontier on frontier.node = edge.one
                   where other not in (select node from slice_reached)"""
            )
            self._connection.execute("insert into slice_reached from slice_frontier")
            self.reached = self._count_reached()
            if self.reached > 2 * MOST * self.known:
                return False
        return True

    def _count_reached(self) -> int:
        return count(self._connection, "select count(*) from slice_reached")

    # ── what is built ──

    def build(self, file: SqlFile, checks: Sequence[CheckFile], build_whole: Callable[[], object]) -> bool:
        """Builds a stale table. Returns False where nothing that it is made of is another: then it stays as it is."""
        table, reads, is_due = file.table, all_reads(file, checks), file.table in self.standing.due
        is_local = file.is_local and not is_due and not reads & self._moved
        if not is_due and not reads & self._changed:
            return False
        if file.is_view:
            self._note(table, is_another=True, outside=not is_local)
        elif is_local:
            self._build_part(file)
        elif table == VIOLATION:
            self._find(checks)
            self._note(table, is_another=True, outside=True)
        else:
            self.whole[table] = "it is due" if is_due else f"{', '.join(sorted(reads & self._moved))}" if file.is_local else "it speaks of the whole"
            # what is made in every run tells nobody by that alone that it is another; what is said of findings always is
            is_said_anew = file.is_said and file.whose is None
            is_compared = "always" not in file.due and not is_said_anew
            before = self._sums(file) if is_compared else ("", "")
            build_whole()
            after = self._sums(file) if is_compared else ("", "")
            self._note(table, is_another=is_said_anew or before != after, outside=is_said_anew or before[0] != after[0])
        return True

    def _note(self, table: str, is_another: bool, outside: bool) -> None:
        if is_another:
            self._changed.add(table)
        if outside:
            self._moved.add(table)

    def _build_part(self, file: SqlFile) -> None:
        self._bring(file.reads)
        self._run(file)
        new = f"slice_{file.table}"
        # all rows of whoever has another one are replaced, and no others: what is written costs more than what is looked at
        held, made = (
            f"""select {_node(file.whose)} as node, count(*) as rows, sum(cast(hash(held) as hugeint)) as told
                from {table} as held where {_rows(table, file.whose)} group by node"""
            for table in (file.table, new)
        )
        self._connection.execute(
            f"""create or replace temp table slice_another as
                select node from ({held}) as held full join ({made}) as made using (node)
                where held.rows is distinct from made.rows or held.told is distinct from made.told"""
        )
        if count(self._connection, "select count(*) from slice_another"):
            self._connection.execute(f"delete from {file.table} where {_rows(file.table, file.whose, 'another')}")
            self._connection.execute(f"insert into {file.table} by name from {new} where {_rows(new, file.whose, 'another')}")
            self._changed.add(file.table)

    def _find(self, checks: Sequence[CheckFile]) -> None:
        """Runs the checks. What time or former runs may change is asked of the whole when any of it is due: one check may rest on the moments of another."""
        for check in checks:
            is_due = bool(check.due) and (VIOLATION in self.standing.due or "always" in check.due)
            if not is_due and not check.reads & self._changed:
                continue
            where, found = f"check_name = '{check.name}'", found_by(check)
            if check.is_local and not is_due and not check.reads & self._moved:
                self._bring(check.reads)
                where, found = f"{where} and {_inside(check.whose)}", f"from ({self._of_slice(found)}) where {_inside(check.whose)}"
            self._connection.execute(f"delete from {VIOLATION} where {where}")
            self._connection.execute(f"insert into {VIOLATION} by name {found}")

    def _bring(self, tables: Iterable[str]) -> None:
        """Has the rows of the slice in the schemas beside."""
        for table in sorted(set(tables) - self._here):
            file = self._files.get(table)
            whose = _TOLD[table][0] if table in _TOLD else file.whose if file else None
            if file and file.is_view:
                self._bring(file.reads)
                self._run(file)
            elif whose:
                self._connection.execute(f"create table slice_{table} as from {table} where {_rows(table, whose)}")
                self._here.add(table)

    def _run(self, file: SqlFile) -> None:
        self._here.add(file.table)
        self._connection.execute(self._of_slice(file.text))

    def _of_slice(self, text: str) -> str:
        """The same statement over the tables in the schemas beside, as far as they are there."""
        return _NAME.sub(lambda name: f"slice_{name[0]}" if name[0] in self._here else name[0], text)

    def _sums(self, file: SqlFile) -> tuple[object, object]:
        """What a table holds outside and inside the slice. All is outside where no header says whose its rows are."""
        if file.whose is None:
            return self._sum(file.table, "true"), None
        inside = _rows(file.table, file.whose)
        return self._sum(file.table, f"not {inside}"), self._sum(file.table, inside)

    def _sum(self, table: str, where: str) -> object:
        return self._connection.execute(f"select count(*), sum(cast(hash(held) as hugeint)) from {table} as held where {where}").fetchone()

    def end(self) -> None:
        self._drop()
        for table in ("reached", "frontier", "edge", "another"):
            self._connection.execute(f"drop table if exists temp.slice_{table}")
        for layer in _LAYERS:
            self._connection.execute(f"drop schema slice_{layer}")

    def _drop(self) -> None:
        # one by one: DuckDB cannot commit what was written into tables that go with their schema
        for table in sorted(self._here, key=lambda table: not self._is_view(table)):
            self._connection.execute(f"drop {'view' if self._is_view(table) else 'table'} slice_{table}")
        self._here.clear()

    def _is_view(self, table: str) -> bool:
        return table in self._files and self._files[table].is_view

    # ── what became of it ──

    def note(self, connection: duckdb.DuckDBPyConnection) -> None:
        """In the transaction of the build."""
        connection.execute("insert into main.build select run_id, ?, ?, ?, ? from main.current_run", [self.because, self.touched, self.reached, self.known])

    def told(self, connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        """What the manifest says of it: how far it went, and how many of the last builds were whole, and why."""
        last = "from (from main.build order by rowid desc limit 100)"
        return {
            "slice": {"touched": self.touched, "reached": self.reached, "known": self.known, "whole": self.whole} if self.because is None else None,
            "builds": count(connection, f"select count(*) {last}"),
            "whole_builds": dict(connection.execute(f"select because, count(*) {last} where because is not null group by because order by because").fetchall()),
        }

    def contents(self) -> dict[str, object]:
        """What each table holds of which only what is another is built: neither one that is made in every run, nor one that is about findings."""
        return {table: self._sum(table, "true") for table, file in self._files.items() if not (file.is_view or "always" in file.due or file.is_said)}


def found_by(check: CheckFile) -> str:
    """The query for what a check finds, as review.violation has it."""
    query = check.text.rstrip().removesuffix(";")
    return f"select '{check.suite}' as suite, '{check.name}' as check_name, * from (\n{query}\n)"


def _node(key: str | None) -> str:
    return f"hash({key})"


def _inside(key: str | None, whom: str = "reached") -> str:
    return f"{_node(key)} in (select node from slice_{whom})"


def _rows(table: str, key: str | None, whom: str = "reached") -> str:
    """The rows of a table that are inside. Those are found first, because the other columns are then read where they stand alone."""
    return f"rowid in (select rowid from {table} where {_inside(key, whom)})"
