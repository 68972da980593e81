"""The decisions store: what people decided about findings, who, when and why. No decision is ever changed or removed.

It is a database of its own, because people decide while a run holds the warehouse: SQLite in the home, or any PostgreSQL by URL. What is in
force follows from the decisions in their order; taking one back is a decision, too.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal

import duckdb
import sqlalchemy as sa

from assets.postgres import detail_of, limit_waiting, shown_url
from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.snapshot import current_folder, parse_manifest
from assets.sqlite import copy_sqlite

log = logging.getLogger("bindwatch")

Action = Literal["acknowledge", "waive", "assign", "accept", "undo"]
Objection = Literal["nothing_decided", "resolved", "unproven", "not_acceptable", "no_such_property"]

# What happened once, and may stay as it is. Every other finding is about what is so now: waived, it may stay for a while.
ACCEPTABLE = (
    "switch_happened", "backfill_contamination", "merged_into_unbound", "contact_deleted_by_sync", "mass_change", "mass_update", "binding_changed_by_hand",
)  # fmt: skip

_metadata = sa.MetaData()
_decision = sa.Table(
    "bindwatch_decision",
    _metadata,
    sa.Column("decision_no", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("decided_at", sa.DateTime, nullable=False),  # UTC
    sa.Column("decided_by", sa.Text, nullable=False),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("fingerprint", sa.String(32), nullable=False, index=True),
    sa.Column("subject", sa.String(32), nullable=False, index=True),
    # what it was about, readable when the finding is long gone
    sa.Column("check_name", sa.String(60), nullable=False),
    sa.Column("hubspot_contact_id", sa.Text),
    sa.Column("salesforce_id", sa.Text),
    sa.Column("owner", sa.Text),  # of an assignment; null takes it from everybody
    sa.Column("reason", sa.Text),
    sa.Column("waived_until", sa.DateTime),  # UTC
    sa.Column("properties", sa.Text),  # of an acceptance: those that it is about, a semicolon between them; null for all
    sa.Column("home", sa.Text),  # whose it is, on a server that several homes may use; null in the file of a home, and from before there were names
)
_view = sa.Table(
    "bindwatch_view",
    _metadata,
    sa.Column("view_no", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("query", sa.Text),  # of the list of cases, as its URL says it; null: the view was removed
    sa.Column("saved_by", sa.Text, nullable=False),
    sa.Column("saved_at", sa.DateTime, nullable=False),  # UTC
    sa.Column("home", sa.Text),  # as of a decision
)
_basket = sa.Table(
    "bindwatch_basket",
    _metadata,
    sa.Column("item_no", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("person", sa.Text, nullable=False),  # whose basket it is in
    sa.Column("case_id", sa.String(32), nullable=False, index=True),
    sa.Column("hubspot_contact_id", sa.Text),  # the contact that is to have the value, or whom the case is about
    sa.Column("property", sa.Text),  # null: the steps of the case's run-book
    sa.Column("value", sa.Text),
    sa.Column("seen", sa.Text),  # the value that the contact had when this was chosen
    sa.Column("put_at", sa.DateTime, nullable=False),  # UTC
    sa.Column("taken_at", sa.DateTime),  # UTC; when the files were taken
    sa.Column("home", sa.Text),  # as of a decision
)
_WHAT = [column for column in _decision.columns if column.name not in ("decision_no", "home")]  # two that agree in all of it are the same decision
_ADDED = ("home", "properties")  # since older versions made the table
_AT_ONCE = 1000  # values in a statement

# Neither needs a right that writing a decision does not need. Readers do not wait.
_ONE_WRITER = {"sqlite": "begin immediate", "postgresql": "select pg_advisory_xact_lock(hashtext('bindwatch_decision'))"}


@dataclass(frozen=True)
class Decision:
    """A row of the store. finding: its fingerprint, subject, check_name, hubspot_contact_id and salesforce_id.

    properties: of an acceptance, those whose value is right; without any it is about all.
    """

    action: Action
    decided_by: str
    finding: dict[str, Any]
    owner: str | None = None
    reason: str | None = None
    waived_until: datetime | None = None
    properties: tuple[str, ...] = ()


class DecisionStore:
    """url: an SQLAlchemy URL; without one, decisions.sqlite in the home. Raises ConfigurationProblem when the URL cannot be used.

    create: makes the home when it is not there.

    On a server it holds the decisions of this home alone, whoever else keeps theirs in the same table. The run says which home that is, and publishes it in
    the manifest of the snapshot; everybody else reads it there.
    """

    def __init__(self, home: Path, url: str | None = None, create: bool = True) -> None:
        if url is None:
            if create:
                home.mkdir(parents=True, exist_ok=True)
            url = f"sqlite:///{home / 'decisions.sqlite'}"
        try:
            # waits for another process that is writing; a connection that the server closed meanwhile is opened anew
            self._engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
            if self.is_elsewhere:
                limit_waiting()
        except (sa.exc.ArgumentError, ImportError) as error:
            raise ConfigurationProblem(f"BINDWATCH_DECISIONS_URL cannot be used ({type(error).__name__}): write postgresql://user@host/database") from error
        self._is_prepared = False
        self._home = home
        self._name: str | None = None
        self._read_in: tuple[Path | None, str | None] = None, None

    def belongs_to(self, name: str | None) -> None:
        """Whose decisions these are, for a caller that knows it better than the published snapshot. None: it does not."""
        self._name = name

    @property
    def whose(self) -> str | None:
        """The name of the home; None before a run has published it."""
        if self._name is not None:
            return self._name
        folder = current_folder(self._home)
        if folder != self._read_in[0]:
            self._read_in = folder, (parse_manifest(folder) or {}).get("home_id") if folder else None
        return self._read_in[1]

    def unnamed(self) -> list[str]:
        """The fingerprints of decisions on a server that do not say whose they are."""
        if not self.is_elsewhere:
            return []
        with self._connection() as connection:
            return list(connection.execute(sa.select(_decision.c.fingerprint).where(_decision.c.home.is_(None)).distinct()).scalars())

    def adopt(self, fingerprints: Sequence[str]) -> None:
        """Makes the decisions about these findings that do not say whose they are this home's."""
        with self._connection() as connection:
            for start in range(0, len(fingerprints), _AT_ONCE):
                some = fingerprints[start : start + _AT_ONCE]
                connection.execute(sa.update(_decision).where(_decision.c.home.is_(None), _decision.c.fingerprint.in_(some)).values(home=self.whose))

    def _ours(self, table: sa.Table = _decision) -> sa.ColumnElement[bool]:
        """Which rows of a table are this home's."""
        if not self.is_elsewhere:
            return sa.true()
        return table.c.home.is_(None) if self.whose is None else table.c.home == self.whose

    def check(self) -> None:
        """Raises WarehouseProblem when the store cannot be used."""
        with self._connection() as connection:
            connection.execute(sa.select(_decision.c.decision_no).limit(1))

    def record(self, decisions: Sequence[Decision], at: datetime | None = None, seen: int | None = None) -> dict[str, list[dict[str, Any]]]:
        """Adds decisions in one transaction. at: UTC; now, when not given.

        seen: the number of the last decision that whoever decides knew of. Returns what others decided since about the same findings (of an
        assignment: about the same subject), by fingerprint; nothing is added about these.
        """
        moment = (at or datetime.now(UTC)).replace(tzinfo=None)
        with self._connection() as connection:
            self._wait_for_turn(connection)
            others: dict[str, list[dict[str, Any]]] = {}
            if seen is not None:
                since = connection.execute(
                    sa.select(_decision).where(_decision.c.decision_no > seen, self._ours()).order_by(_decision.c.decision_no)
                ).mappings()
                others = decided_by_others([dict(row) for row in since], decisions)
            self._add(connection, [one for one in decisions if one.finding["fingerprint"] not in others], moment)
        return others

    def _add(self, connection: sa.Connection, decisions: Sequence[Decision], moment: datetime) -> None:
        rows = [
            {
                "decided_at": moment, "decided_by": one.decided_by, "action": one.action, "owner": one.owner, "reason": one.reason,
                "waived_until": one.waived_until, "properties": ";".join(one.properties) or None, "home": self.whose if self.is_elsewhere else None,
                **{name: one.finding[name] for name in ("fingerprint", "subject", "check_name", "hubspot_contact_id", "salesforce_id")},
            }
            for one in decisions
        ]  # fmt: skip
        if rows:
            connection.execute(sa.insert(_decision), rows)

    def _wait_for_turn(self, connection: sa.Connection) -> None:
        """One after the other: who comes second sees what the first decided."""
        if (alone := _ONE_WRITER.get(self._engine.dialect.name)) is not None:
            connection.exec_driver_sql(alone)

    def read(self, fingerprint: str | None = None) -> list[dict[str, Any]]:
        """Every decision, or those about one finding, in their order; with is_undone, true where a later one took it back."""
        query = sa.select(_decision).where(self._ours()).order_by(_decision.c.decision_no)
        if fingerprint is not None:
            query = query.where(_decision.c.fingerprint == fingerprint)
        return mark_undone(self._rows(query))

    def read_after(self, decision_no: int) -> list[dict[str, Any]]:
        """The decisions that came after that one, in their order. Whether one was taken back is known with those before: mark_undone."""
        return self._rows(sa.select(_decision).where(self._ours(), _decision.c.decision_no > decision_no).order_by(_decision.c.decision_no))

    def views(self) -> list[dict[str, Any]]:
        """The lists of cases that somebody gave a name, by name: what was saved last under one counts."""
        latest = {row["name"]: row for row in self._rows(sa.select(_view).where(self._ours(_view)).order_by(_view.c.view_no))}
        return [latest[name] for name in sorted(latest, key=str.casefold) if latest[name]["query"] is not None]

    def save_view(self, name: str, query: str | None, saved_by: str) -> None:
        """query: None removes it. Nothing is overwritten, so that one sees who changed a view."""
        row = {"name": name, "query": query, "saved_by": saved_by, "saved_at": datetime.now(UTC).replace(tzinfo=None)}
        with self._connection() as connection:
            connection.execute(sa.insert(_view), [{**row, "home": self.whose if self.is_elsewhere else None}])

    def basket(self, person: str) -> list[dict[str, Any]]:
        """What is in somebody's basket, in the order in which it was put in."""
        return self._rows(sa.select(_basket).where(self._ours(_basket), _basket.c.person == person).order_by(_basket.c.item_no))

    def in_baskets(self) -> dict[str, list[str]]:
        """Each case that is in a basket, and whose."""
        query = sa.select(_basket.c.case_id, _basket.c.person).distinct().where(self._ours(_basket)).order_by(_basket.c.person)
        found: dict[str, list[str]] = {}
        for row in self._rows(query):
            found.setdefault(row["case_id"], []).append(row["person"])
        return found

    def put_into_basket(self, person: str, items: Sequence[dict[str, Any]], out: Sequence[int] = (), decisions: Sequence[Decision] = ()) -> datetime:
        """items: case_id, hubspot_contact_id, property, value and seen. What was chosen before for the same value goes, and so do the items of the
        numbers in `out`. decisions: recorded with it, all or nothing, with the moment that is returned.
        """
        moment = datetime.now(UTC).replace(tzinfo=None)
        home = self.whose if self.is_elsewhere else None
        rows = [{**item, "person": person, "put_at": moment, "home": home} for item in items]
        again = {_about(item) for item in items}
        with self._connection() as connection:
            self._wait_for_turn(connection)
            held = connection.execute(sa.select(_basket).where(self._ours(_basket), _basket.c.person == person)).mappings()
            self._remove_items(connection, [row["item_no"] for row in held if row["item_no"] in out or _about(dict(row)) in again])
            if rows:
                connection.execute(sa.insert(_basket), rows)
            self._add(connection, decisions, moment)
        return moment

    def take_out_of_basket(self, person: str, item_nos: Sequence[int]) -> None:
        """A basket is a draft: what is taken out of it is gone."""
        self.put_into_basket(person, [], item_nos)

    def note_taken(self, person: str, at: datetime, decisions: Sequence[Decision] = ()) -> None:
        """The files of somebody's basket were taken. at: UTC; decisions: recorded with it, all or nothing."""
        with self._connection() as connection:
            self._wait_for_turn(connection)
            connection.execute(sa.update(_basket).where(self._ours(_basket), _basket.c.person == person).values(taken_at=at))
            self._add(connection, decisions, at)

    def _remove_items(self, connection: sa.Connection, item_nos: Sequence[int]) -> None:
        for start in range(0, len(item_nos), _AT_ONCE):
            connection.execute(sa.delete(_basket).where(_basket.c.item_no.in_(item_nos[start : start + _AT_ONCE])))

    @property
    def is_elsewhere(self) -> bool:
        """Are the decisions kept on a server, not in the home?"""
        return self._engine.dialect.name != "sqlite"

    @property
    def where(self) -> str:
        return shown_url(self._engine.url) if self.is_elsewhere else str(self._engine.url.database)

    def save(self, target: Path) -> int | None:
        """Writes all decisions of one moment to a new SQLite file. Returns how many; None when there is no store yet. Never makes one.

        Raises sqlite3.DatabaseError when the file in the home is damaged.
        """
        if self.is_elsewhere:
            rows = self._rows(sa.select(_decision).where(self._ours()).order_by(_decision.c.decision_no))
            copy = sa.create_engine(f"sqlite:///{target}")
            _metadata.create_all(copy)
            with copy.begin() as connection:
                if rows:
                    connection.execute(sa.insert(_decision), rows)
            copy.dispose()
            return len(rows)
        if not Path(self.where).exists():
            return None
        copy_sqlite(Path(self.where), target)
        with closing(sqlite3.connect(target)) as copied:
            has_table = copied.execute("select 1 from sqlite_master where name = ?", [_decision.name]).fetchone()
            return int(copied.execute(f"select count(*) from {_decision.name}").fetchone()[0]) if has_table else 0

    def missing_from(self, saved: Path, add_to_empty: bool = False) -> int:
        """How many decisions of a saved file this store does not hold as they were saved. Those that do not say whose they are may be of this home.

        add_to_empty: a store without any decision of this home takes them all, in their order and one transaction. Nothing is ever added to others.
        """
        source = sa.create_engine(f"sqlite:///{saved}")
        with source.connect() as connection:
            known = {column["name"] for column in sa.inspect(source).get_columns(_decision.name)}
            what = [column if column.name in known else sa.null().label(column.name) for column in _WHAT]  # an older Bindwatch may have saved it
            rows = [dict(row) for row in connection.execute(sa.select(*what).select_from(_decision).order_by(_decision.c.decision_no)).mappings()]
        source.dispose()
        with self._connection() as connection:
            if add_to_empty and self._engine.dialect.name == "postgresql":
                connection.execute(sa.text(f"lock table {_decision.name} in share row exclusive mode"))
            held = Counter(tuple(row) for row in connection.execute(sa.select(*_WHAT).where(self._ours() | _decision.c.home.is_(None))))
            if held or not add_to_empty or not rows:
                return (Counter(tuple(row.values()) for row in rows) - held).total()
            whose = self.whose if self.is_elsewhere else None
            connection.execute(sa.insert(_decision), [{**row, "home": whose} for row in rows])
        return 0

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._connection() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _prepare(self) -> None:
        try:
            _metadata.create_all(self._engine)
        except sa.exc.DBAPIError:
            # two processes may create the table at once; the one that comes second is refused
            if not sa.inspect(self._engine).has_table(_decision.name):
                raise
        for name in self._lacks():
            try:
                with self._engine.begin() as connection:
                    connection.execute(sa.text(f"alter table {_decision.name} add column {name} text"))
            except sa.exc.DBAPIError:
                if name in self._lacks():  # as above
                    raise
        self._is_prepared = True

    def _lacks(self) -> list[str]:
        """The columns that a table lacks which an older Bindwatch made."""
        known = {column["name"] for column in sa.inspect(self._engine).get_columns(_decision.name)}
        return [name for name in _ADDED if name not in known]

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        try:
            if not self._is_prepared:
                self._prepare()
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            way_back = "" if self.is_elsewhere else f" Is {self.where} damaged, put the one of the last backup in its place: `bindwatch doctor` tells."
            raise WarehouseProblem(f"The decisions store at {shown_url(self._engine.url)} cannot be used: {detail_of(error)}.{way_back}") from error


def _about(item: dict[str, Any]) -> tuple[Any, ...]:
    """What an item of a basket is about: a value of a contact, or the steps of a case."""
    return (item["hubspot_contact_id"], item["property"]) if item["property"] is not None else (item["case_id"], None)


def mark_undone(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same decisions, each with is_undone: a later one took it back. rows: every decision in their order, or all about one finding."""
    standing: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        row["is_undone"] = False
        of_finding = standing.setdefault(row["fingerprint"], [])
        if row["action"] != "undo":
            of_finding.append(row)
        elif of_finding:
            of_finding.pop()["is_undone"] = True
    return rows


def decided_by_others(rows: list[dict[str, Any]], decisions: Sequence[Decision]) -> dict[str, list[dict[str, Any]]]:
    """By the fingerprint of each decision that somebody else came before: what they decided. rows: of the store, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    by_finding: dict[str, list[dict[str, Any]]] = {}
    by_subject: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_finding.setdefault(row["fingerprint"], []).append(row)
        if row["action"] == "assign":
            by_subject.setdefault(row["subject"], []).append(row)
    for one in decisions:
        about = by_finding.get(one.finding["fingerprint"], [])
        about = about + [row for row in by_subject.get(one.finding["subject"], []) if one.action == "assign" and row not in about]
        if of_others := [row for row in about if row["decided_by"] != one.decided_by]:
            found[one.finding["fingerprint"]] = of_others
    return found


def objection(action: Action, finding: dict[str, Any], is_decided: bool, properties: Sequence[str] = ()) -> Objection | None:
    """Why this cannot be decided about the finding, or None.

    nothing_decided: there is nothing to take back; resolved: it is gone already; unproven: it makes a run prove nothing, and without it the run
    would look green; not_acceptable: it is about what is so now, not about something that happened; no_such_property: none of its values is of that
    property. is_decided: a decision about it stands; properties: of an acceptance.
    """
    if action == "undo":
        return None if is_decided else "nothing_decided"
    if finding["status"] == "resolved":
        return "resolved"
    if action == "accept" and finding["check_name"] not in ACCEPTABLE:
        return "not_acceptable"
    if action == "accept" and not set(properties) <= set(finding["fields_at_risk"]):
        return "no_such_property"
    return "unproven" if action == "waive" and finding["severity"] == "unproven" else None


def has_decision(decisions: list[dict[str, Any]]) -> bool:
    """Does one of the decisions about a finding stand? decisions: as DecisionStore.read returns them."""
    return any(row["action"] != "undo" and not row["is_undone"] for row in decisions)


def end_of(day: date) -> datetime:
    """The last second of a day, UTC: how long a waiver until that day holds."""
    return datetime.combine(day, time(23, 59, 59))


def note_decisions(connection: duckdb.DuckDBPyConnection, held: int) -> None:
    """Remembers how many decisions the store holds. Nothing in it is ever removed: that it holds fewer than the last run read is told, because
    waivers end then.
    """
    seen = connection.execute("select max(decisions) from main.decisions_seen").fetchone()
    if seen is not None and seen[0] is not None and held < seen[0]:
        log.warning(
            "The last run knew %d decisions, the store holds %d: some were lost, and what they waived counts again. Put decisions.sqlite of the last backup "
            "in its place, or decide again.", seen[0], held,
        )  # fmt: skip
    connection.execute("delete from main.decisions_seen")
    connection.execute("insert into main.decisions_seen values (?)", [held])


def write_decisions(connection: duckdb.DuckDBPyConnection, decisions: list[dict[str, Any]]) -> None:
    """Replaces main.decision and main.assignment by what is in force. decisions: as DecisionStore.read returns them."""
    status: dict[str, tuple[str, datetime | None]] = {}
    accepted: dict[str, list[str]] = {}
    owner: dict[str, str | None] = {}
    for row in decisions:
        if row["is_undone"]:
            continue
        fingerprint = row["fingerprint"]
        if row["action"] == "assign":
            owner[row["subject"]] = row["owner"]
        elif row["action"] == "accept" and row["properties"]:
            accepted.setdefault(fingerprint, []).extend(row["properties"].split(";"))
        elif row["action"] != "undo":
            status[fingerprint] = (_STATUS[row["action"]], row["waived_until"])
    connection.execute("delete from main.decision")
    connection.execute("delete from main.assignment")
    # as lists: a row at a time takes DuckDB a minute for a hundred thousand
    about = [*dict.fromkeys((*status, *accepted))]
    connection.execute(
        "insert into main.decision select unnest(?::varchar[]), unnest(?::varchar[]), unnest(?::timestamp[]), unnest(?::varchar[][])",
        [about, [status.get(one, (None, None))[0] for one in about], [status.get(one, (None, None))[1] for one in about], [accepted.get(one) for one in about]],
    )
    owned = {subject: name for subject, name in owner.items() if name}
    connection.execute("insert into main.assignment select unnest(?::varchar[]), unnest(?::varchar[])", [list(owned), list(owned.values())])


_STATUS = {"acknowledge": "acknowledged", "waive": "waived", "accept": "accepted"}
