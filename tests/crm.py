"""A pair of CRMs in a few lines: a test names the one thing that differs, everything else is ordinary.

Records go straight into the raw tables, as a pull would have loaded them; the models and checks that run on them are the real ones.
"""

import re
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, cast
from weakref import finalize

import duckdb

from assets.models.build import build_models
from assets.models.sqlfile import CheckFile
from assets.policy import Policy
from assets.published.merge_plan import load_merge_plan
from assets.verdict import Verdict
from assets.warehouse.ledger import begin_run, close_run, set_baseline, summarise_run
from assets.warehouse.policy_tables import write_policy
from assets.warehouse.shrinkage import note_count
from expectations.gate import checks
from sandbox.world import id18
from tests.plain import empty_warehouse

ANN = "ann@example.com"
INSTANCE = "https://org.example"


def day(number: float) -> datetime:
    """The moments of the tests: day 1 is 1 March 2026, runs take place on day 30."""
    return datetime(2026, 3, 1) + timedelta(days=number - 1)


def text(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def lead_id(number: int) -> str:
    return id18(f"00Q5e{number:010d}")


def contact_id(number: int) -> str:
    return id18(f"0035e{number:010d}")


_QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a folder in memory, where there is one
_TABLE = re.compile(r"\b(?:staging|core|review)\.[a-z_]+")
# What a run leaves behind is worked out from these.
_REMEMBERED = ("review.finding", "review.finding_event", "review.planned_merge_event", "core.policy_prediction", "core.choice", "core.binding", "staging.clock")


# The warehouse after a run, by all that led to it: many tests begin with the same one, which takes a second of planning.
# With the tables that are in it. Code that a test has in the place of the real one is no part of the name: such a test reads `connection` first.
_after_runs: dict[str, tuple[bytes, set[str]]] = {}


class _Journal:
    """A connection that notes what is done with it. is_whole: nothing was done that it cannot tell."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.is_whole = True
        self._entries = sha256()

    def note(self, *what: object) -> None:
        self._entries.update(repr(what).encode())

    def name(self) -> str:
        return self._entries.hexdigest()

    def execute(self, statement: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        self.note(statement, parameters)
        return self.connection.execute(statement, parameters)

    def __getattr__(self, name: str) -> Any:
        self.is_whole = False
        return getattr(self.connection, name)


def _open(content: bytes) -> tuple[duckdb.DuckDBPyConnection, IO[bytes]]:
    """A warehouse in memory, and its file, which has no name any more.

    What the models say does not depend on the optimizer, which takes a third of the time on tables of three rows; all real runs have it."""
    with NamedTemporaryFile(suffix=".duckdb", dir=_QUICK) as file:
        file.write(content)
        file.flush()
        connection = duckdb.connect(file.name, config={"threads": 1})
        itself = Path(file.name).open("rb")  # noqa: SIM115  (as long as the connection)
    finalize(connection, Path(f"{file.name}.wal").unlink, missing_ok=True)  # else it stays in memory until the machine is started anew
    connection.execute("set timezone = 'UTC'; pragma disable_optimizer; pragma disable_checkpoint_on_shutdown; set checkpoint_threshold = '1TB'")
    return connection, itself


class Crm:
    """Salesforce and HubSpot as pulled, on an in-memory warehouse."""

    def __init__(self, **knobs: Any) -> None:
        self._connection, self._file = _open(empty_warehouse())
        self._journal = _Journal(self._connection)
        self._checks: list[CheckFile] | None = None  # of the build that was asked for; None when what is here may have changed since
        self._built: set[str] = set()
        self.policy = Policy.model_validate({"policy": knobs})
        self.numbers = count(1)
        self.pull_no = 1
        self.run_no = 1
        # somebody has said that there is nothing yet: most tests need no more than one of the two CRMs
        self._changing().execute("insert into main.accepted_shrink select unnest($names), 'nothing', 0, 0, $moment, 'ann', 0", {
            "names": ["salesforce.Contact", "hubspot.contact"], "moment": day(1)})  # fmt: skip
        self._begin_run(day(30))

    # ── Salesforce ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def lead(self, number: int | None = None, **changes: Any) -> str:
        return self._record("raw.salesforce_lead", lead_id(number or next(self.numbers)), changes)

    def salesforce_contact(self, number: int | None = None, **changes: Any) -> str:
        return self._record("raw.salesforce_contact", contact_id(number or next(self.numbers)), changes)

    def _record(self, table: str, record_id: str, changes: dict[str, Any]) -> str:
        """created, modified: moments; name, email, owner, account, by, created_by, deleted, merged_into, converted_to; fields by API name."""
        ordinary: dict[str, Any] = {
            "created": day(1), "modified": day(1), "email": ANN, "owner": "0055e000000Own1", "account": None, "by": "0055e000000Usr1",
            "created_by": "0055e000000Usr1", "deleted": False, "merged_into": None, "converted_to": None, "fields": {}, "name": "Ann Lee",
        }  # fmt: skip
        unknown = changes.keys() - ordinary.keys()
        assert not unknown, unknown
        value = ordinary | changes
        deleted = value["deleted"] or value["merged_into"] is not None
        fields = {"FirstName": "Ann", "LastName": "Lee"} | value["fields"]
        self._changing().execute(
            f"""insert into {table} by name select
                $id as record_id, $id as id, $modified as system_modstamp, $created as created_date, $modified as last_modified_date,
                $by as last_modified_by_id, $created_by as created_by_id,
                $owner as owner_id, $account as account_id, $name as name, $email as email, $deleted as is_deleted, $merged_into as master_record_id,
                $converted as is_converted, $converted_to as converted_contact_id, map($names, $values) as fields,
                main.salesforce_id18($id) is null as id_is_malformed, 0 as content_hash, $pull_no as pull_no""",
            {
                "id": record_id, "modified": text(value["modified"]), "created": text(value["created"]), "by": value["by"], "created_by": value["created_by"],
                "owner": value["owner"], "account": value["account"], "email": value["email"], "name": value["name"], "deleted": str(deleted).lower(),
                "merged_into": value["merged_into"],
                "converted": str(value["converted_to"] is not None).lower(), "converted_to": value["converted_to"],
                "names": list(fields), "values": list(fields.values()), "pull_no": self.pull_no,
            },
        )  # fmt: skip
        return record_id

    # ── HubSpot ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def contact(self, contact_id: str = "101", bound: str | None = None, **changes: Any) -> str:
        """bound: the record, whose id goes into the property of its object, with one history entry on `since`."""
        ordinary: dict[str, Any] = {
            "email": ANN, "additional": "", "since": day(2), "synced": day(10), "archived_at": None, "merged_ids": "", "lead_id": "", "crm_contact_id": "",
            "properties": {}, "modified": day(10),
        }  # fmt: skip
        unknown = changes.keys() - ordinary.keys()
        assert not unknown, unknown
        value = ordinary | changes
        own = "salesforcecontactid" if (bound or "").startswith("003") else "salesforceleadid"
        properties = {
            "email": value["email"], "hs_additional_emails": value["additional"], "hs_merged_object_ids": value["merged_ids"],
            "salesforceleadid": value["lead_id"], "salesforcecontactid": value["crm_contact_id"],
            "salesforcelastsynctime": text(value["synced"]) or "", "lastmodifieddate": text(value["modified"]),
            "firstname": "Ann", "lastname": "Lee", **({own: bound} if bound else {}), **value["properties"],
        }  # fmt: skip
        self._changing().execute(
            """insert into raw.hubspot_contact by name select
                $id as id, $created as created_at, $modified as updated_at, $archived as archived, $archived_at as archived_at,
                map($names, $values) as properties, 0 as content_hash, $pull_no as pull_no""",
            {
                "id": contact_id, "created": text(day(1)), "modified": text(value["modified"]), "archived": value["archived_at"] is not None,
                "archived_at": text(value["archived_at"]), "names": list(properties), "values": list(properties.values()), "pull_no": self.pull_no,
            },
        )  # fmt: skip
        if bound and value["since"] is not None:
            self.history(contact_id, own, (value["since"], bound))
        return contact_id

    def history(self, contact_id: str, property_name: str, *versions: tuple[datetime, str] | tuple[datetime, str, str]) -> None:
        """Entries of a property's history: (when, value) written by the integration, or (when, value, source)."""
        for when, value, *source in versions:
            self._changing().execute(
                "insert into raw.hubspot_property_version values (?, ?, ?, ?, ?, null, ?)",
                [contact_id, property_name, value, text(when), source[0] if source else "SALESFORCE", self.pull_no],
            )

    def user(self, user_id: str, name: str, is_active: bool = True, user_type: str = "Standard") -> None:
        """A Salesforce user. user_id: 15 characters."""
        email = f"{name.split(maxsplit=1)[0].lower()}@acme.example"
        self._changing().execute("insert into raw.salesforce_user values (?, ?, ?, ?, ?, 'pull 1')", [id18(user_id), name, email, is_active, user_type])

    def tracked(self, record_id: str, *changes: tuple[datetime, str, str, str | None, str | None]) -> None:
        """Salesforce's field history of a record was read in this run: (when, field, user with 15 characters, old value, new value)."""
        object_type = "Lead" if record_id.startswith("00Q") else "Contact"
        self._changing().execute("insert into raw.salesforce_history_read values (?, ?, ?)", [record_id, object_type, self.pull_no])
        for when, field, user_id, old, new in changes:
            self._changing().execute(
                "insert into raw.salesforce_field_history values (?, ?, ?, ?, ?, ?, ?, ?, 'pull 1')",
                [f"h{next(self.numbers)}", record_id, object_type, field, when, id18(user_id), old, new],
            )

    def plan(self, *rows: tuple[str, str], name: str = "plan.csv") -> None:
        """A merge plan that was handed in: (master, loser)."""
        load_merge_plan(self._changing(), name, [(number, master, loser) for number, (master, loser) in enumerate(rows, 1)])

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_run(self, moment: datetime) -> None:
        begin_run(self._changing(), f"run {self.run_no}", moment)
        self.run_at = moment
        for source, name in (("salesforce", "Lead"), ("salesforce", "Contact"), ("hubspot", "contact"), ("hubspot", "contact_archived")):
            self.pull(source, name)

    def pull(self, source: str, name: str, complete: bool = True, problem: str | None = None, mode: str = "full", at: datetime | None = None) -> None:
        """A pull of this run. at: when, by the clock of the CRM."""
        self.pull_no += 1
        self._changing().execute(
            """insert into raw.pull by name select
                $no as pull_no, 'pull ' || $no as pull_id, $run as run_id, $source as source, $object as object, $mode as mode, 'x' as request_hash,
                $at as started_at, $at as finished_at, $at as watermark_to, 1 as landed_rows, 1 as new_versions, $complete as complete, $problem as problem""",
            {
                "no": self.pull_no, "run": f"run {self.run_no}", "source": source, "object": name, "at": at or self.run_at, "mode": mode,
                "complete": complete, "problem": problem,
            },
        )  # fmt: skip

    def set_aside(self, record_id: str, accepted_by: str | None = None, reason: str = "modified_stamp", version: str = "v1") -> None:
        """A record arrived and cannot be read. accepted_by: who said, of the version v1, that runs may go on without it."""
        object_type = {"00Q": "Lead", "003": "Contact"}.get(record_id[:3], "contact")
        self._changing().execute("insert into raw.set_aside values (?, ?, ?, ?, ?)", [object_type, record_id, version, reason, self.pull_no])
        if accepted_by:
            self._changing().execute("insert into main.accepted_record values (?, ?, 'v1', ?, ?)", [object_type, record_id, day(29), accepted_by])

    def clock(self, source: str, theirs: datetime, ours: datetime | None = None) -> None:
        """What a CRM's own clock said last in this run, and this machine's at that moment."""
        self._changing().execute("insert into main.crm_clock values (?, ?, ?, ?)", [f"run {self.run_no}", source, theirs, ours or theirs])

    def count(self, name: str, counted: int, kind: str = "counted", known: int | None = None) -> None:
        """How many there are, as a CRM told this run."""
        note_count(self._changing(), name, kind, known, counted)

    def later(self) -> None:
        """What follows comes with a later pull of the same run."""
        self.pull("hubspot", "contact")

    def end_run(self, next_run: datetime = day(30.5), verdict: Verdict = "fail") -> None:  # noqa: B008
        """This run is over, and proven unless a test says otherwise; what is added from now on is new to the next one."""
        self._journal.note("end_run", verdict, self.policy, [file.text for file in checks()])
        name = self._journal.name() if self._journal.is_whole else None
        if name is not None and name in _after_runs:
            self._connection.close()
            content, built = _after_runs[name]
            self._connection, self._file = _open(zlib.decompress(content))
            self._built = set(built)
            self._journal.connection = self._connection
        else:
            self.build()
            self._make(_REMEMBERED)
            close_run(self._connection, summarise_run(self._connection, verdict, [], []))
            if name:
                self._connection.execute("checkpoint")
                self._file.seek(0)
                _after_runs[name] = zlib.compress(self._file.read(), 1), set(self._built)
        self.next_run(next_run)

    def next_run(self, moment: datetime = day(30.5)) -> None:  # noqa: B008
        """Another run begins; the one before may have been cut short."""
        self.run_no += 1
        self._begin_run(moment)

    def build(self, check: str | None = None) -> "Crm":
        """All tables follow from what is here now; with a check, its findings and what they rest on. Made are those that a test looks at: planning all
        of them takes most of a second.
        """
        files = [file for file in checks() if check in (None, file.name)]
        self._journal.note("build", check, self.policy)
        write_policy(self._connection, self.policy, INSTANCE, [file.as_row for file in files])
        set_baseline(self._connection, self.policy.gate.fail_on)
        self._checks, self._built = files, set()
        return self

    def _make(self, tables: Iterable[str] | None) -> None:
        """Makes these tables of the build that was asked for, and what they read; None: all of them."""
        if self._checks is None:
            assert tables is None or set(tables) <= self._built, "what is here changed since: build() first"
            return
        self._journal.note("make", tables and sorted(tables))
        self._built |= build_models(self._connection, self._checks, until=tables, without=self._built).keys()

    def _changing(self) -> duckdb.DuckDBPyConnection:
        """For a change of what was pulled: from now on nothing can be made of the state before."""
        self._checks = None
        return cast(duckdb.DuckDBPyConnection, self._journal)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The warehouse, with all tables of the last build."""
        self._make(None)
        self._checks, self._journal.is_whole = None, False
        return self._connection

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of a table, or of a query."""
        self._make(set(_TABLE.findall(query)))
        self._journal.note(query)
        relation = self._connection.execute(query if " " in query else f"from {query}")
        names = [column[0] for column in relation.description or []]
        return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]

    def binding(self, contact_id: str = "101") -> dict[str, Any]:
        (row,) = (row for row in self.build().rows("core.binding") if row["hubspot_contact_id"] == contact_id)
        return row

    def findings(self, check: str | None = None) -> list[dict[str, Any]]:
        """Open findings, of one check or of all."""
        return [row for row in self.build(check).rows("review.finding") if row["status"] != "resolved" and check in (None, row["check_name"])]

    def finding(self, check: str) -> dict[str, Any]:
        """The only finding of a check that is not resolved."""
        (finding,) = self.findings(check)
        return finding

    def checks_that_fire(self) -> set[str]:
        return {row["check_name"] for row in self.findings()}


# ── common scenes ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

BOUND, RIVAL = lead_id(1), lead_id(2)


def duplicates(bound_fields: dict[str, str] | None = None, rival_fields: dict[str, str] | None = None, **knobs: Any) -> Crm:
    """A bound Lead and a rival with the same e-mail; both carry the same values unless a test says otherwise."""
    crm = Crm(**knobs)
    crm.lead(1, fields=bound_fields or {}, modified=day(5))
    crm.lead(2, created=day(3), modified=day(4), fields=rival_fields or {})
    return crm


def one(crm: Crm, check: str) -> dict[str, Any]:
    (finding,) = crm.findings(check)
    return finding


def jumped(crm: Crm) -> None:
    """Between two runs the binding jumps from the bound Lead to the rival, and a title is overwritten."""
    crm.contact(bound=BOUND)
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"))
    crm.end_run()
    crm.later()
    crm.connection.execute("delete from raw.hubspot_contact")
    crm.contact(bound=RIVAL, since=day(30.2), synced=day(30.2))
    crm.history("101", "jobtitle", (day(30.2), "Buyer"))


def merged_away(archived_after: float | None = None, **knobs: Any) -> Crm:
    """Between two runs the bound Lead is merged into the rival; the contact keeps naming the loser, or is archived."""
    crm = Crm(**knobs)
    crm.lead(2)
    crm.contact(bound=crm.lead(1))
    crm.end_run()
    crm.later()
    crm.lead(1, merged_into=RIVAL, modified=day(30.1))
    if archived_after is not None:
        crm.connection.execute("delete from raw.hubspot_contact")
        crm.contact(bound=BOUND, since=None, archived_at=day(30.1 + archived_after))
    return crm
