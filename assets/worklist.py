"""The worklist: the findings of the last published snapshot, with what people decided since. Readable at any time, also while a run writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assets.decisions import DecisionStore, write_decisions
from assets.problems import ConfigurationProblem
from assets.snapshot import open_snapshot

FORMATS = ("csv", "json", "parquet")
STATUSES = ("open", "acknowledged", "waived", "resolved")
LEAST_PREFIX = 6  # of a fingerprint that somebody types

# What is open is in the order in which it should be dealt with: by severity, blast radius, age.
_ORDER = "main.severity_rank(severity) desc, blast_radius desc, open_since, fingerprint"


@dataclass(frozen=True)
class Filter:
    """Which findings. Each that is given must hold; several values of one are alternatives.

    new: only what is new, reopened or worse in the last run; since: open since that moment or later (UTC); email: as anybody would write it;
    id: a fingerprint or its first characters, a HubSpot contact id, a Salesforce id with 15 or 18 characters; text: in reason, action or name
    of the check.
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


class Worklist:
    """Raises WarehouseProblem when there is no snapshot, or the decisions store cannot be read."""

    def __init__(self, home: Path, store: DecisionStore, now: datetime | None = None) -> None:
        """now: when waivers are held against their end, UTC; the present moment when not given."""
        self.store = store
        self.connection = open_snapshot(home)
        self.connection.execute(
            """create table main.decision (fingerprint varchar, status varchar, waived_until timestamp);
               create table main.assignment (subject varchar, owner varchar);"""
        )
        write_decisions(self.connection, store.read())
        moment = (now or datetime.now(UTC)).replace(tzinfo=None)
        # A sandbox's clock may be ahead of ours; the run measured waivers against it.
        self.connection.execute(
            """create table worklist as
               select finding.* replace (
                   case when finding.status = 'resolved' then 'resolved' else main.decided_status(decision.status, decision.waived_until,
                        greatest($now, (select max(last_seen_at) from published.finding)), finding.severity) end as status,
                   assignment.owner as owner,
                   decision.waived_until as waived_until)
               from published.finding as finding
               left join main.decision as decision on decision.fingerprint = finding.fingerprint
               left join main.assignment as assignment on assignment.subject = finding.subject""",
            {"now": moment},
        )

    def find(self, wanted: Filter, limit: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """The findings that match, the most urgent first, as rows of `finding`."""
        query, values = self._query(wanted)
        bounded = f"{query} limit {int(limit)} offset {int(offset)}" if limit is not None else query
        relation = self.connection.execute(bounded, values)
        names = [column[0] for column in relation.description or []]
        return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]

    def count(self, wanted: Filter) -> int:
        query, values = self._query(wanted)
        row = self.connection.execute(f"select count(*) from ({query})", values).fetchone()
        return int(row[0]) if row else 0

    def find_one(self, text: str) -> dict[str, Any]:
        """The finding with that fingerprint, or whose fingerprint alone begins so. Raises ConfigurationProblem when there is none, or several."""
        found = []
        if len(text) >= LEAST_PREFIX and text.isalnum():
            found = self.find(Filter(statuses=STATUSES, id=text.lower()), limit=None)
            found = [row for row in found if row["fingerprint"].startswith(text.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigurationProblem(f"{len(found)} findings begin with {text}: give more characters of the fingerprint.")
        raise ConfigurationProblem(f"There is no finding {text} in the last snapshot. `bindwatch findings` lists them; {LEAST_PREFIX} characters are enough.")

    def history(self, finding: dict[str, Any]) -> list[dict[str, Any]]:
        """What happened to a finding in runs, and what people decided about it: happened_at, who, event, detail; oldest first."""
        events = self.connection.execute(
            "select happened_at, 'run' as who, event, detail from published.finding_event where fingerprint = ?", [finding["fingerprint"]]
        ).fetchall()
        rows = [dict(zip(("happened_at", "who", "event", "detail"), row, strict=True)) for row in events]
        for decision in self.store.read(finding["fingerprint"]):
            rows.append({"happened_at": decision["decided_at"], "who": decision["decided_by"], "event": decision["action"], "detail": _describe(decision)})
        return sorted(rows, key=lambda row: row["happened_at"])

    def export(self, wanted: Filter, kind: str, path: Path, mask_emails: bool) -> None:
        """Writes the findings that match to a file. kind: csv (safe to open in a spreadsheet), json (a list) or parquet."""
        query, values = self._query(wanted)
        cells = {"email": "main.masked_email(email)" if mask_emails else "email"}
        if kind == "csv":
            cells |= {name: f"array_to_string({name}, ';')" for name in ("rival_ids", "fields_at_risk")}
            cells |= {name: name for name in ("reason", "action", "owner")}
            cells = {name: f"main.safe_cell({expression})" for name, expression in cells.items()}
        replaced = ", ".join(f"{expression} as {name}" for name, expression in cells.items())
        options = {"csv": "format csv, header", "json": "format json, array true", "parquet": "format parquet, compression zstd"}[kind]
        target = str(path).replace("'", "''")
        self.connection.execute(f"copy (select * replace ({replaced}) from ({query})) to '{target}' ({options})", values)

    def _query(self, wanted: Filter) -> tuple[str, dict[str, Any]]:
        conditions: list[str] = []
        values: dict[str, Any] = {}
        for column, alternatives in (("check_name", wanted.checks), ("suite", wanted.suites), ("severity", wanted.severities), ("status", wanted.statuses),
                                     ("owner", wanted.owners)):  # fmt: skip
            if alternatives:
                conditions.append(f"list_contains(${column}, {column})")
                values[column] = list(alternatives)
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
        if wanted.text is not None:
            conditions.append("contains(lower(concat_ws(' ', check_name, reason, action, hubspot_contact_id, salesforce_id)), lower($text))")
            values["text"] = wanted.text
        where = f"where {' and '.join(conditions)}" if conditions else ""
        return f"select * from worklist {where} order by {_ORDER}", values


def _describe(decision: dict[str, Any]) -> str:
    parts = []
    if decision["action"] == "assign":
        parts.append(f"to {decision['owner']}" if decision["owner"] else "to nobody")
    if decision["action"] == "waive":
        parts.append(f"until {decision['waived_until']:%Y-%m-%d}")
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
    ):
        for value in given:
            if value not in possible:
                raise ConfigurationProblem(f"There is no {noun} {value!r}: {', '.join(possible)}.")
