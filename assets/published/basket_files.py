"""The basket: what a steward chose for cases, as ordered files for the tools that change the two CRMs. Bindwatch itself writes to neither.

Everything comes from the last published snapshot and the choices: which value a contact is to have, and whether the steps of a case's run-book are taken.
What cannot be in a file is counted with its reason; nothing is dropped in silence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from assets.problems import ConfigurationProblem
from assets.published.spreadsheets import write_table
from assets.sql import literal, quoted

# In the order in which they are carried out. Whatever is entered in a record that the contact is not bound to makes that record the newest, so the bound
# one is saved again right after it (rule 11); what Salesforce holds overwrites HubSpot's value with the next sync, so it comes first (rules 24, 25); a
# conversion takes the binding along, and what the Contact is to hold is entered after it (rule 29); merges come last, because they want one type.
STAGES = {
    "enter": "1-salesforce-{object}s.csv",
    "save": "2-salesforce-save-again-{object}s.csv",
    "hubspot": "3-hubspot-contacts.csv",
    "convert": "4-salesforce-conversions.csv",
    "enter_after": "5-salesforce-contacts-after-conversion.csv",
    "merge": "6-salesforce-merges.csv",
}
LEFT_OUT, EVIDENCE, BEFORE = "left-out.csv", "basket.csv", "before"
# What a person agreed to stands in files of its own, so that nobody enters it with a hundred job titles.
CONSENT = "(property = 'hs_email_optout' or property in (select property from published.mapped_field where consent))"


def consent_file(name: str) -> str:
    """The file beside `name` that has the consent of the same step."""
    return name.replace(".csv", "-consent.csv")


@dataclass(frozen=True)
class Choice:
    """What is to be done for a case. property: of hubspot_contact_id, which is to have this value; without one, the steps of the case's run-book.

    seen: the value that the contact had when this was chosen. Where it has another one by now, that is said, and nothing is written over it.
    """

    case_id: str
    hubspot_contact_id: str | None = None
    property: str | None = None
    value: str | None = None
    seen: str | None = None


def fill(snapshot: duckdb.DuckDBPyConnection, choices: Sequence[Choice]) -> None:
    """Works out what the files would hold: the temporary tables of basket.sql, where their columns stand."""
    snapshot.execute(
        "create or replace temp table basket_choice as select unnest($cases::varchar[]) as case_id, unnest($contacts::varchar[]) as hubspot_contact_id, "
        'unnest($properties::varchar[]) as property, unnest($values::varchar[]) as "value", unnest($seen::varchar[]) as seen',
        {
            "cases": [choice.case_id for choice in choices], "contacts": [choice.hubspot_contact_id for choice in choices],
            "properties": [choice.property for choice in choices], "values": [choice.value for choice in choices],
            "seen": [choice.seen for choice in choices],
        },
    )  # fmt: skip
    snapshot.execute((Path(__file__).parent / "basket.sql").read_text("utf-8"))


def count(snapshot: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Of the basket that was filled: values, conversions and merges in the files, left_out (how many, by reason), done (choices that are true already),
    accepted (findings that are accepted with the steps) and remaining (findings of its cases that stay open all the same)."""
    (row,) = rows(
        snapshot,
        """select (select count(distinct (hubspot_contact_id, property)) from basket_value) as values,
                  (select count(*) from basket_step where action = 'convert') as conversions,
                  (select count(distinct (book, merge_no)) from basket_step where action = 'merge') as merges,
                  (select count(*) from basket_done) as done, (select count(*) from basket_accepted) as accepted,
                  (select count(*) from basket_remaining) as remaining""",
    )
    row["left_out"] = {found["reason"]: found["times"] for found in rows(
        snapshot, "select reason, count(*) as times from basket_left_out group by reason order by times desc, reason")}  # fmt: skip
    return row


def write(snapshot: duckdb.DuckDBPyConnection, folder: Path, sentences: Mapping[str, str] | None = None, shape: str = "comma") -> dict[str, Any]:
    """Writes the files of the basket that was filled into `folder`, which is made, and what stands there now into `before/`, in the same shape, to roll back.
    Returns its figures (count). Raises ConfigurationProblem when it cannot.

    Files for imports hold values exactly as they are; the two for people are safe to open in a spreadsheet. sentences: what a reader is told for each reason;
    shape: of these two (assets/published/spreadsheets.py).
    """
    try:
        (folder / BEFORE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationProblem(f"{folder} cannot be made: {error.strerror}") from error
    for stage in ("enter", "enter_after"):
        for object_type in ("Lead", "Contact"):
            rows = f"from basket_value where stage = '{stage}' and main.type_of_record(record_id) = '{object_type}'"
            name = STAGES[stage].format(object=object_type.lower())
            _write_values(snapshot, f'select record_id, property, salesforce_field as name, "value", value_before {rows}', "Id", folder, name)
    for object_type in ("Lead", "Contact"):
        # the same name once more: Salesforce takes a record as edited although nothing in it changes
        query = (
            f'select record_id as "Id", last_name as "LastName" from basket_saved where main.type_of_record(record_id) = \'{object_type}\' order by record_id'
        )
        _write_filled(snapshot, query, folder / STAGES["save"].format(object=object_type.lower()))
    _write_values(
        snapshot, "select hubspot_contact_id as record_id, property, property as name, \"value\", value_before from basket_value where stage = 'hubspot'",
        "Record ID", folder, STAGES["hubspot"],
    )  # fmt: skip
    _write_filled(
        snapshot,
        """select loser_id as "Lead Id", master_id as "Contact Id", account_id as "Account Id", true as "Do Not Create Opportunity"
           from basket_step where action = 'convert' order by case_rank, book, step""",
        folder / STAGES["convert"],
    )
    _write_filled(
        snapshot,
        """select main.type_of_record(master_id) as object_type, master_id,
                  list(loser_id order by step)[1] as loser_id_1, list(loser_id order by step)[2] as loser_id_2
           from basket_step where action = 'merge' group by book, merge_no, master_id order by min(case_rank), book, merge_no""",
        folder / STAGES["merge"],
    )
    said = sentences or {}
    why = f"map({literal(list(said))}, {literal(list(said.values()))})[reason]" if said else "cast(null as varchar)"
    left_out = f"""select *, {why} as why from (from basket_left_out union all by name from basket_remaining)
                   order by case_rank, case_id, step, what, name"""
    write_table(snapshot, left_out, folder / LEFT_OUT, shape)
    write_table(snapshot, _EVIDENCE, folder / EVIDENCE, shape)
    return count(snapshot)


_EVIDENCE = """
select case_id, hubspot_contact_id, display_name, account_name, stage as action, record_id, property, salesforce_field, value_before, "value", source
from basket_value
union all
select case_id, hubspot_contact_id, display_name, account_name, action, master_id, null, null, loser_id, null, null
from basket_step
order by case_id, hubspot_contact_id, action, property, record_id
"""


def _write_values(snapshot: duckdb.DuckDBPyConnection, rows: str, id_name: str, folder: Path, name: str) -> None:
    """One row a record, one column a field, in two files: the new values and those of now; and the same for consent. rows: record_id, property, name (of the
    column), value, value_before.
    """
    for some, file in ((f"from ({rows}) where not {CONSENT}", name), (f"from ({rows}) where {CONSENT}", consent_file(name))):
        fields = [row[0] for row in snapshot.execute(f"select distinct name {some} order by name").fetchall()]
        for column, path in (("value", folder / file), ("value_before", folder / BEFORE / file)):
            cells = "".join(f', any_value("{column}") filter (where name = {literal(field)}) as {quoted(field)}' for field in fields)
            _write_filled(snapshot, f"select record_id as {quoted(id_name)}{cells} {some} group by record_id order by record_id", path)


def _write_filled(snapshot: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """No file where there is nothing to do: whoever opens one has something to do."""
    (found,) = snapshot.execute(f"select count(*) from ({query})").fetchone() or (0,)
    if found:
        _copy(snapshot, query, path)


def rows(snapshot: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """The rows of a query, by column: of the tables that fill() makes, too."""
    found = snapshot.execute(query)
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _copy(snapshot: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    try:
        snapshot.execute(f"copy ({query}) to ? (format csv, header)", [str(path)])
    except duckdb.IOException as error:
        raise ConfigurationProblem(f"{path} cannot be written.") from error
