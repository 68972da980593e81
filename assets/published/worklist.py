"""The worklist: the findings of the last published snapshot, with what people decided since. Readable at any time, also while a run writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import duckdb

from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.decisions import DecisionStore, mark_undone, write_decisions
from assets.published.snapshot import open_snapshot
from assets.published.spreadsheets import write_table
from assets.sql import among, quoted, transaction, with_memory

FORMATS = ("csv", "json", "parquet")
STATUSES = ("open", "acknowledged", "waived", "resolved")
OBJECTS = ("contact", "Lead", "Contact", "none")  # a HubSpot contact, else a Salesforce record, else the run as a whole
_OVERLAP = 50  # decisions
_NEARBY = 2000  # places in the list
_TICK = timedelta(seconds=1)  # of the clock that waivers are held against
_ASK_AGAIN_SECONDS = 10  # after a decisions store did not answer: it may take seconds to say so, and readers wait for each other
LEAST_PREFIX = 6  # of a fingerprint that somebody types


def order_of(table: str = "") -> str:
    """SQL: the order in which findings should be dealt with. table: whose columns these are, where that must be said."""
    prefix = f"{table}." if table else ""
    place = ", ".join(f"{prefix}{column}" for column in ("severity", "urgency", "harm", "deadline_at", "blast_radius"))
    return f"main.worklist_place({place}), {prefix}first_seen_at, {prefix}fingerprint"


ORDER = order_of()

# The findings as if nothing had been decided, each with its place in that order, and with its case. Where nobody was assigned, the record's owner takes care.
FOUND = f"""
select found.* replace (
        case when found.status = 'resolved' then 'resolved' else 'open' end as status, listed.record_owner as owner, cast(null as timestamp) as waived_until),
    numbered.place, listed.case_id
from published.finding as found
inner join (select fingerprint, row_number() over (order by {ORDER}) as place from published.finding) as numbered on numbered.fingerprint = found.fingerprint
left join (
    select case_id, unnest(fingerprints) as fingerprint,
        case when policy.assign_by_owner and users.is_active and not users.is_integration then users.name end as record_owner
    from published.person_case as person_case
    cross join published.policy as policy
    left join published.salesforce_user as users on users.user_id = person_case.salesforce_owner_id
) as listed on listed.fingerprint = found.fingerprint"""

# Whom findings name: an e-mail, a contact or a record (about), and the place of a finding that does.
NAMED = """
select email as about, place from main.found where email is not null
union all select hubspot_contact_id, place from main.found where hubspot_contact_id is not null
union all select salesforce_id, place from main.found where salesforce_id is not null
union all select unnest(rival_ids), place from main.found"""

# Whom findings are about, beside their ids: the names that stand in a list.
PEOPLE = """
select found.place, coalesce(contact.display_name, person.display_name) as display_name, listed.account_name
from main.found as found
left join published.hubspot_contact as contact on contact.contact_id = found.hubspot_contact_id
left join published.salesforce_person as person on person.record_id = found.salesforce_id
left join published.person_case as listed on listed.case_id = found.case_id"""

# What decisions change, for the findings that any is about; the others are as they were found, and most are others.
# What was decided about a case as a whole holds for what came later, too: who takes care, and that it was seen.
_DECIDE = """
delete from main.decided;
insert into main.decided
select
    found.place,
    case when found.status = 'resolved' then 'resolved'
         when of_case.status = 'acknowledged' and found.severity <> 'unproven'
              and main.decided_status(decision.status, decision.waived_until, clock.at, found.severity) = 'open' then 'acknowledged'
         else main.decided_status(decision.status, decision.waived_until, clock.at, found.severity) end,
    case when found.status <> 'resolved' and decision.status = 'accepted' then 'accepted' end,
    coalesce(assignment.owner, owner_of_case.owner),
    decision.waived_until
from main.found as found
cross join main.clock as clock
left join main.decision as decision on decision.fingerprint = found.fingerprint
left join main.assignment as assignment on assignment.subject = found.subject
left join main.decision as of_case on of_case.fingerprint = found.case_id
left join main.assignment as owner_of_case on owner_of_case.subject = found.case_id
where decision.fingerprint is not null or assignment.subject is not null or of_case.fingerprint is not null or owner_of_case.subject is not null"""


@dataclass(frozen=True)
class Filter:
    """Which findings. Each that is given must hold; several values of one are alternatives.

    owners: "" stands for nobody; new: only what is new, reopened or worse in the last run; since: open since that moment or later (UTC);
    email: as anybody would write it; id: a fingerprint or its first characters, a HubSpot contact id, a Salesforce id with 15 or 18
    characters; text: in reason, action or name of the check; objects: what a finding is about (OBJECTS); person: a fingerprint, and all
    findings with the same e-mail, contact or record; fingerprints: exactly these.
    """

    checks: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ("open", "acknowledged")
    owners: tuple[str, ...] = ()
    new: bool = False
    since: datetime | None = None
    email: str | None = None
    id: str | None = None
    text: str | None = None
    objects: tuple[str, ...] = ()
    person: str | None = None
    fingerprints: tuple[str, ...] = ()


class Worklist:
    """Raises WarehouseProblem when there is no snapshot.

    It stays with the snapshot that it opened; refresh() takes in what people decided since. Several threads may use it at once.

    problem: why the decisions store could not be read at the last refresh, or None. Then the decisions are those known at known_at (UTC); when that
    is None, too, those that the run of the snapshot knew. decisions: all of them, as DecisionStore.read returns them.
    """

    def __init__(self, home: Path, store: DecisionStore, now: datetime | None = None, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        """now: when waivers are held against their end, UTC; the present moment, at the latest refresh, when not given. connection: as open_folder gives it,
        with main.found and main.named, for a snapshot that somebody else opened; the current one, when not given.
        """
        self.store = store
        self.connection = connection or open_snapshot(home)
        self.events = "published.finding_event"  # or a table that is faster to look up in
        self.people = f"({PEOPLE})"  # or a table of it
        self.left_out: tuple[str, ...] = ()  # columns that nobody reads who finds: of a hundred rows the maps cost more than all else
        if connection is None:
            self.connection.execute(f"create table main.found as {FOUND}; create view main.named as {NAMED}")
        self._now = now
        self._lock = Lock()
        self.decisions: list[dict[str, Any]] = []
        self._about: dict[str, list[dict[str, Any]]] = {}  # decisions by fingerprint
        self.problem: str | None = None
        self.known_at: datetime | None = None
        self._ask_again = 0.0
        self._ended: int | None = None  # so many waivers at the last refresh
        self._moment: datetime | None = None  # that main.clock goes by
        self.connection.execute(
            """create table main.decision (fingerprint varchar, status varchar, waived_until timestamp, accepted_properties varchar[]);
               create table main.assignment (subject varchar, owner varchar);
               create table main.decided (place bigint, status varchar, resolved_by varchar, owner varchar, waived_until timestamp);
               create table main.moment (now timestamp);
               create table main.latest_run as select max(last_seen_at) as seen_at from main.found;
               -- What the run knew holds until the store is read.
               insert into main.decision
               select fingerprint, status, waived_until, null from published.finding where status in ('acknowledged', 'waived');
               insert into main.assignment select distinct subject, owner from published.finding where owner is not null;
               -- A sandbox's clock may be ahead of ours; the run measured waivers against it.
               create view main.clock as
               select greatest(moment.now, latest_run.seen_at) as at from main.moment as moment cross join main.latest_run as latest_run;
               create view worklist as
               select found.* replace (
                   coalesce(decided.status, found.status) as status, coalesce(decided.resolved_by, found.resolved_by) as resolved_by,
                   coalesce(decided.owner, found.owner) as owner, decided.waived_until as waived_until)
               from main.found as found
               left join main.decided as decided on decided.place = found.place"""
        )
        self._ends = _ends(self.connection)
        (self._seen_at,) = self.connection.execute("from main.latest_run").fetchone() or (None,)
        self.refresh()

    def refresh(self, at_once: bool = False) -> None:
        """Takes in what was decided since the last time. A store that did not answer is not asked again for some seconds, unless at_once."""
        with self._lock:
            moment = (self._now or datetime.now(UTC)).replace(tzinfo=None)
            new = self._read(moment, at_once)
            if not new and self._moment is not None and moment - self._moment < _TICK:
                return
            known = None if new is None else sorted([*(dict(row) for row in self.decisions), *new], key=lambda row: row["decision_no"])
            ends, ended = with_memory(self.connection, lambda: self._note(moment, known))
            # only what was noted is known: where memory ran out, it was noted in a second attempt
            self._moment, self._ends, self._ended = moment, ends, ended
            if known is not None:
                about: dict[str, list[dict[str, Any]]] = {}
                for row in known:
                    about.setdefault(row["fingerprint"], []).append(row)
                self.decisions, self._about = known, about

    def _note(self, moment: datetime, known: list[dict[str, Any]] | None) -> tuple[list[datetime], int]:
        """known: all decisions, where there are new ones. Returns until when waivers hold, and how many have ended."""
        connection = self.connection.cursor()
        with transaction(connection):
            connection.execute("delete from main.moment")
            connection.execute("insert into main.moment values (?)", [moment])
            if known is not None:
                write_decisions(connection, mark_undone(known))
            ends = self._ends if known is None else _ends(connection)
            at = max(moment, self._seen_at or moment)
            ended = sum(end <= at for end in ends)
            if known is not None or ended != self._ended:
                connection.execute(_DECIDE)
        return ends, ended

    def _read(self, moment: datetime, at_once: bool) -> list[dict[str, Any]] | None:
        """What was decided since the last time; None, where nothing was, or the store does not answer."""
        if self.problem is not None and not at_once and monotonic() < self._ask_again:
            return None
        try:
            new = self._new_decisions()
        except WarehouseProblem as problem:
            self.problem, self._ask_again = str(problem), monotonic() + _ASK_AGAIN_SECONDS
            return None
        is_first = self.known_at is None
        self.problem, self.known_at = None, moment
        return new if new or is_first else None

    def insist(self) -> None:
        """Raises WarehouseProblem when the decisions could not be read. For files: they carry no warning."""
        if self.problem is not None:
            raise WarehouseProblem(self.problem)

    @property
    def state(self) -> tuple[object, ...]:
        """What all that was decided adds up to follows from this: the last decision, how many there are (one with a lower number may become visible later),
        and how many waivers ended.
        """
        return self.latest_no, len(self.decisions), self.known_at is None, self._ended

    @property
    def now(self) -> datetime:
        """What main.clock says."""
        moment = self._moment or datetime.now(UTC).replace(tzinfo=None)
        return max(moment, self._seen_at or moment)

    @property
    def latest_no(self) -> int:
        """The number of the last decision that is known, 0 for none."""
        decisions = self.decisions
        return int(decisions[-1]["decision_no"]) if decisions else 0

    def decided_about(self, fingerprint: str) -> list[dict[str, Any]]:
        """The known decisions about one finding, in their order."""
        return list(self._about.get(fingerprint, ()))

    def _new_decisions(self) -> list[dict[str, Any]]:
        """What is not known yet: reading a hundred thousand decisions again takes a second. Of two people who decide at once in PostgreSQL the one
        with the lower number may become visible last, so the latest few are asked for again.
        """
        if not self.decisions:
            return self.store.read_after(0)
        known = {row["decision_no"] for row in self.decisions[-_OVERLAP:]}
        return [row for row in self.store.read_after(self.decisions[-1]["decision_no"] - _OVERLAP) if row["decision_no"] not in known]

    def query(self, query: str, values: object = None) -> list[dict[str, Any]]:
        """Rows of any query on the snapshot: its tables are published.<name>, the findings with what was decided are the view worklist."""
        return with_memory(self.connection, lambda: self._rows(query, values))

    def column(self, query: str, values: object = None) -> list[Any]:
        """The first column of any query: a row as a dict costs more than its one number."""
        return with_memory(self.connection, lambda: [value for (value,) in self.connection.cursor().execute(query, values).fetchall()])

    def _rows(self, query: str, values: object) -> list[dict[str, Any]]:
        relation = self.connection.cursor().execute(query, values)
        names = [column[0] for column in relation.description or []]
        return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]

    def find(self, wanted: Filter, limit: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """The findings that match, the most urgent first, as rows of `finding`, without what is left out."""
        where, values = self.where(wanted)
        if limit is not None:
            # which ones is known from a few columns; the wide ones are read of these alone
            bounded = f"order by place limit {int(limit)} offset {int(offset)}"
            where, values = f"where place in {among(row['place'] for row in self.query(f'select place from worklist {where} {bounded}', values))}", {}
        return self.query(f"select * exclude ({', '.join(('place', 'case_id', *self.left_out))}) from worklist {where} order by place", values)

    def count(self, wanted: Filter) -> int:
        where, values = self.where(wanted)
        return int(self.query(f"select count(*) as findings from worklist {where}", values)[0]["findings"])

    def neighbours(self, wanted: Filter, fingerprint: str) -> tuple[str | None, str | None]:
        """The findings before and after one in the list of those that match; None at either end, and where it is not in the list."""
        where, values = self.where(wanted)
        (this,) = self.query("select place from main.found where fingerprint = $fingerprint", {"fingerprint": fingerprint})
        # nearly always both stand close by
        for reach in (_NEARBY, None):
            bound = f"place between {this['place'] - reach} and {this['place'] + reach}" if reach else "true"
            (row,) = self.query(
                f"""select bool_or(place = $place) as is_listed, arg_max(fingerprint, place) filter (where place < $place) as before,
                           arg_min(fingerprint, place) filter (where place > $place) as after
                    from worklist {f"{where} and" if where else "where"} {bound}""",
                {**values, "place": this["place"]},
            )
            if not row["is_listed"] or (row["before"] and row["after"]):
                break
        return (row["before"], row["after"]) if row["is_listed"] else (None, None)

    def find_one(self, text: str) -> dict[str, Any]:
        """The finding with that fingerprint, or whose fingerprint alone begins so. Raises ConfigurationProblem when there is none, or several."""
        found = self.find(Filter(statuses=(), fingerprints=(text,)))
        if not found and len(text) >= LEAST_PREFIX and text.isalnum():
            found = self.find(Filter(statuses=(), id=text.lower()), limit=None)
            found = [row for row in found if row["fingerprint"].startswith(text.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigurationProblem(f"{len(found)} findings begin with {text}: give more characters of the fingerprint.")
        raise ConfigurationProblem(f"There is no finding {text} in the last snapshot. `bindwatch findings` lists them; {LEAST_PREFIX} characters are enough.")

    def history(self, *findings: dict[str, Any]) -> list[dict[str, Any]]:
        """What happened to findings in runs, and what people decided about them: happened_at, who, event, detail; oldest first."""
        self.refresh()
        prints = [finding["fingerprint"] for finding in findings]
        rows = self.query(f"select happened_at, 'run' as who, event, detail from {self.events} where fingerprint in {among(prints)}")
        for decision in (row for fingerprint in prints for row in self.decided_about(fingerprint)):
            rows.append({"happened_at": decision["decided_at"], "who": decision["decided_by"], "event": decision["action"], "detail": _describe(decision)})
        return sorted(rows, key=lambda row: row["happened_at"])

    def export(self, wanted: Filter, kind: str, path: Path, mask_emails: bool) -> None:
        """Writes the findings that match to a file. kind: csv (safe to open in a spreadsheet), json (a list) or parquet.

        Raises WarehouseProblem when the decisions could not be read.
        """
        self.insist()
        query, (values,) = self.listed(wanted, mask_emails)
        if kind == "csv":
            return write_table(self.connection.cursor(), query, path, parts=[values])
        options = {"json": "format json, array true", "parquet": "format parquet, compression zstd"}[kind]
        self.query(f"copy ({query}) to $path ({options})", {**values, "path": str(path)})
        return None

    def listed(self, wanted: Filter, mask_emails: bool, at_once: int | None = None) -> tuple[str, list[dict[str, Any]]]:
        """A query for the findings that match, in their order, and its values: the columns of `finding`, and beside the ids whom they are about
        (display_name, account_name). at_once: how many places of the list; then there are values for each part of it in turn.
        """
        where, values = self.where(wanted)
        email = "main.masked_email(found.email)" if mask_emails else "found.email"
        names = [row["column_name"] for row in self.query("describe worklist") if row["column_name"] not in ("place", "case_id", "record_owner")]
        columns = [f"{email} as email" if name == "email" else f"found.{quoted(name)}" for name in names]
        beside = names.index("salesforce_id") + 1
        columns[beside:beside] = ["people.display_name", "people.account_name"]
        return (
            f"""select {", ".join(columns)}
            from (from worklist {where}) as found
            inner join {self.people} as people on people.place = found.place
            where found.place between $first and $last
            order by found.place""",
            self.parts(values, at_once),
        )

    def parts(self, values: dict[str, Any], at_once: int | None = None) -> list[dict[str, Any]]:
        """The values of a query for what stands between the places `first` and `last` of the list: for each part of it in turn, or for all of it."""
        (most,) = self.column("select coalesce(max(place), 1) from main.found")
        at_once = at_once or most
        return [{**values, "first": first, "last": first + at_once - 1} for first in range(1, most + 1, at_once)]

    def where(self, wanted: Filter) -> tuple[str, dict[str, Any]]:
        """The condition on the view worklist that says this filter, and its values."""
        conditions: list[str] = []
        values: dict[str, Any] = {}
        for column, alternatives in (("check_name", wanted.checks), ("suite", wanted.suites), ("severity", wanted.severities), ("status", wanted.statuses),
                                     ("owner", wanted.owners)):  # fmt: skip
            if alternatives:
                conditions.append(f"list_contains(${column}, coalesce({column}, ''))")
                values[column] = list(alternatives)
        if wanted.fingerprints:
            conditions.append(f"fingerprint in {among(wanted.fingerprints)}")
        if wanted.new:
            conditions.append("change in ('new', 'reopened', 'worsened')")
        if wanted.since is not None:
            conditions.append("open_since >= $since")
            values["since"] = wanted.since
        if wanted.email is not None:
            conditions.append("email = coalesce(main.matching_email($email), $email)")
            values["email"] = wanted.email
        if wanted.id is not None:
            conditions.append(
                f"""(hubspot_contact_id = $id or salesforce_id = main.long_id($id) or list_contains(rival_ids, main.long_id($id))
                     or (length($id) >= {LEAST_PREFIX} and starts_with(fingerprint, lower($id))))"""
            )
            values["id"] = wanted.id.strip()
        if wanted.objects:
            conditions.append("list_contains($objects, main.object_of(hubspot_contact_id, salesforce_id))")
            values["objects"] = list(wanted.objects)
        if wanted.person is not None:
            this = self.query("select email, hubspot_contact_id, salesforce_id, rival_ids, place from main.found where fingerprint = ?", [wanted.person])
            about = [one for row in this for one in (row["email"], row["hubspot_contact_id"])]
            about += [one for row in this for one in (row["salesforce_id"], *row["rival_ids"])]
            named = self.query(f"select place from main.named where about in {among(about)}")
            conditions.append(f"place in {among([*(row['place'] for row in this), *(row['place'] for row in named)])}")
        if wanted.text is not None:
            conditions.append("contains(lower(concat_ws(' ', check_name, reason, action, reason_de, hubspot_contact_id, salesforce_id)), lower($text))")
            values["text"] = wanted.text
        return f"where {' and '.join(conditions)}" if conditions else "", values


def _ends(connection: duckdb.DuckDBPyConnection) -> list[datetime]:
    """Until when waivers hold."""
    return [end for (end,) in connection.execute("select waived_until from main.decision where waived_until is not null").fetchall()]


def _describe(decision: dict[str, Any]) -> str:
    parts = []
    if decision["action"] == "assign":
        parts.append(f"to {decision['owner']}" if decision["owner"] else "to nobody")
    if decision["action"] == "waive":
        parts.append(f"until {decision['waived_until']:%Y-%m-%d}")
    if decision["properties"]:
        parts.append(decision["properties"].replace(";", ", "))
    if decision["reason"]:
        parts.append(decision["reason"])
    if decision["is_undone"]:
        parts.append("(taken back)")
    return ", ".join(parts)


def check_values(wanted: Filter, known_checks: Sequence[str]) -> None:
    """Raises ConfigurationProblem when a filter names a check, status or severity that does not exist: an empty list would look like good news."""
    for noun, given, possible in (
        ("check", wanted.checks, known_checks),
        ("status", wanted.statuses, STATUSES),
        ("severity", wanted.severities, ("block", "warn", "unproven")),
        ("object", wanted.objects, OBJECTS),
    ):
        for value in given:
            if value not in possible:
                raise ConfigurationProblem(f"There is no {noun} {value!r}: {', '.join(possible)}.")
