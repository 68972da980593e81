"""docs/tables.md: every published table, one line a column, a question and its query. Made by `make docs` from the headers of the SQL files."""

import re
from dataclasses import dataclass
from pathlib import Path

import duckdb

from assets.models.build import build_models
from assets.models.sqlfile import model_files
from assets.policy import DeskSection, Knobs, Policy, Pull
from assets.published.contract import COLUMNS, TABLES
from assets.sql import SQL_FOLDER
from assets.warehouse.file import SCHEMA_VERSION, prepare
from assets.warehouse.ledger import CHECK_COLUMNS, RUN_COLUMNS
from assets.warehouse.policy_tables import write_policy
from expectations.gate import checks

EXAMPLES = Path(__file__).parent.parent / "assets" / "published" / "examples.sql"
_EXAMPLE = re.compile(r"^-- ([a-z_]+): (.+)$")

_INTRODUCTION = """# The published tables

*Made from the headers of the SQL files by `make docs`. Change the files, not this page.*

A snapshot is a folder, `$BINDWATCH_HOME/published/current/`: one Parquet file a table, and `manifest.json`. This is schema {version} of the warehouse.
Columns are only added; what a release changed stands in the [changelog](../CHANGELOG.md).
Ids of Salesforce have 18 characters, times are UTC, e-mails are as they are compared unless the column says raw.
The tables need nothing but a reader of Parquet:

    cd data/published/current
    duckdb -c "from 'binding.parquet' where prediction = 'switch'"

"""

# Not made by a query of their own: what one row is, and the columns.
_TOLD: dict[str, tuple[str, dict[str, str]]] = {
    "policy": (
        "how the run believed that the integration is set up: the knobs of `bindwatch.toml`",
        {
            **{name: str(field.description) for name, field in Knobs.model_fields.items()},
            **{name: str(Pull.model_fields[name].description) for name in ("shrink_records", "shrink_percent")},
            "assign_by_owner": str(DeskSection.model_fields["assign_by_owner"].description),
            "salesforce_record_url": "what stands before a record's id in its address", "hubspot_record_url": "the same of a contact",
        },
    ),
    "field_mapping": (
        "a mapped property on one of the two objects, as the policy has it",
        {
            "property": "the HubSpot property", "object_type": "Lead or Contact", "salesforce_field": "the field there, also of a related record",
            "rule": "always_salesforce, prefer_salesforce, two_way, none", "position": "its place in the list, from 1",
            "consent": "it says whether somebody may be written to",
            "consent_kind": "opted_out, opted_in, listed; null for other fields", "granted": "values that say yes, where they are listed",
            "denied": "values that say no, where they are listed",
        },
    ),
    "salesforce_field": (
        "a mapped Salesforce field, as describe told it last",
        {
            "object_type": "Lead or Contact", "field": "its API name", "type": "in Salesforce's words; of a field of a related record its type there",
            "is_writable": "somebody may write it: not calculated, not of a related record; null where describe does not say",
            "labels": "of a pick list: what people see, by value",
        },
    ),
    "check_policy": (
        "a check, how strict it is here, and what its header says",
        {
            "check_name": "its name", "suite": "the suite it belongs to", "default_severity": "its own severity", "basis": "documented, observed or inferred",
            "default_harm": "what it does to people, unless a finding says otherwise", "about": "switch: it speaks of what an edit of a rival would do",
            "severity": "what the policy says instead of its own severity", "max_findings": "so many open findings are allowed", "title": "what it finds",
            "why": "why that is unsafe", "otherwise": "what happens if nothing is done", "rests_on": "rules and statements", "title_de": "title in German",
            "why_de": "why in German", "otherwise_de": "otherwise in German",
        },
    ),
    "run": (
        "a guarded run, this one and those before",
        {
            "run_no": "grows with every run: the order of runs, whatever clocks say", "run_id": "Dagster's id of it", "started_at": "when it began",
            "finished_at": "when it ended",
            "verdict": "pass, fail, unproven", "coverage_from": "since when changes are known", "coverage_to": "until when",
            "findings_open": "findings that were open at its end",
            "findings_new": "of them, new in it", "findings_resolved": "findings that ended with it", "checks_violated": "checks that fail the run",
            "checks_not_evaluated": "checks that could not be evaluated", "as_of": "the moment it speaks of, by the clocks of the CRMs",
        },
    ),
    "check_run": (
        "a check in a run",
        {
            "run_id": "the run", "suite": "the suite of the check", "check_name": "the check", "state": "holds, violated, not_evaluated",
            "severity": "the worst severity of its findings", "findings": "how many were open", "findings_new": "of them, new in that run",
        },
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A published table. row: what one row is; columns: name, type and meaning; question, query: an example."""

    name: str
    row: str
    columns: list[tuple[str, str, str]]
    question: str
    query: str


def read_examples() -> dict[str, tuple[str, str]]:
    """The question and the query for each table."""
    examples: dict[str, tuple[str, str]] = {}
    name = None
    for line in EXAMPLES.read_text("utf-8").partition("\n\n")[2].splitlines():
        if match := _EXAMPLE.match(line):
            name = match[1]
            examples[name] = (match[2], "")
        elif name and line.strip():
            examples[name] = (examples[name][0], f"{examples[name][1]}\n{line}".strip())
    return examples


def open_empty() -> duckdb.DuckDBPyConnection:
    """A warehouse in which every table is there, and empty; the published ones have their names in the schema `published`, as they are sought in."""
    connection = duckdb.connect()
    prepare(connection)
    files = checks()
    connection.execute("insert into main.current_run values ('none', timestamp '2026-01-01', 0)")
    write_policy(connection, Policy(), "https://example.my.salesforce.com", [file.as_row for file in files])
    build_models(connection, files)
    connection.execute("create schema published")
    for name, table in TABLES.items():
        connection.execute(f"create view published.{name} as select {COLUMNS} from {table}")
    connection.execute(f"create view published.run as select {RUN_COLUMNS} from main.run")
    connection.execute(f"create view published.check_run as select {CHECK_COLUMNS} from main.check_run")
    connection.execute("set search_path = 'published'")
    return connection


def published_tables(connection: duckdb.DuckDBPyConnection) -> list[Published]:
    """All of them, in the order of the contract. Raises KeyError for a column or a table that nobody described."""
    files = {file.table: file for file in model_files(SQL_FOLDER)}
    examples = read_examples()
    tables = []
    for name in [*TABLES, "run", "check_run"]:
        kinds = [(row[0], row[1]) for row in connection.execute(f"describe published.{name}").fetchall()]
        if name in _TOLD:
            row, meanings = _TOLD[name]
        else:
            file = files[TABLES[name]]
            row = " ".join(file.description.split("\n\n")[0].split()).removeprefix("One row: ")
            meanings = {column: " ".join(texts) for column, texts in file.entries.items()}
        tables.append(Published(name, row, [(column, kind.lower(), meanings[column]) for column, kind in kinds], *examples[name]))
    return tables


def render() -> str:
    """The page as Markdown."""
    lines = [_INTRODUCTION.format(version=SCHEMA_VERSION)]
    tables = published_tables(open_empty())
    lines.append(" · ".join(f"[{table.name}](#{table.name})" for table in tables) + "\n")
    for table in tables:
        lines += [f"## {table.name}\n", f"One row: {table.row.rstrip('.')}.\n", "| column | type | |", "|---|---|---|"]
        lines += [f"| {column} | {_cell(kind)} | {_cell(meaning)} |" for column, kind, meaning in table.columns]
        lines += ["", f"*{table.question}*\n", *(f"    {line}" for line in table.query.splitlines()), ""]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
