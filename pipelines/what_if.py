"""`bindwatch what-if`: a list of Salesforce records that an import or a flow is about to edit. Which contacts would jump, which values change?"""

from dataclasses import dataclass
from pathlib import Path

import duckdb

from assets.problems import ConfigurationProblem, said
from assets.published.cells import safe_cells
from assets.sql import count_rows, literal, quoted
from pipelines.answer import write_answer

# What a list may have: ten times the largest import that a day takes.
MOST_BYTES = 512 * 1024 * 1024
MOST_LINES = 5_000_000
MOST_COLUMNS = 500

_QUERY = Path(__file__).parent / "what_if.sql"
_NAMES = ("id", "record_id", "recordid", "salesforce_id", "salesforceid", "salesforce id", "lead id", "leadid", "contact id", "contactid", "record id")


@dataclass(frozen=True)
class Forecast:
    """What the edits would set off. Numbers of contacts and of mapped values."""

    listed: int
    unusable: int  # lines that are no id, or name a record that the snapshot does not have
    contacts_that_switch: int
    contacts_that_may_switch: int
    values_lost: int  # overwritten or cleared in HubSpot
    values_spread: int  # written from HubSpot into the other record
    consents: int

    @property
    def is_safe(self) -> bool:
        return self.contacts_that_switch == 0 and self.contacts_that_may_switch == 0


def forecast(snapshot: duckdb.DuckDBPyConnection, path: Path, out: Path | None) -> Forecast:
    """Judges the list in `path` on a snapshot (assets.snapshot.open_snapshot) and writes the answer as CSV to `out`, or to standard output.

    Raises ConfigurationProblem when the list cannot be read, or `out` not be written.
    """
    _read_list(snapshot, path)
    query = _QUERY.read_text("utf-8").strip().removesuffix(";")
    snapshot.execute(f"create table what_if as {query}")
    write_answer(out, lambda path: _export(snapshot, path))
    row = snapshot.execute(
        """select count(distinct line), count(distinct line) filter (where outcome in ('invalid', 'unknown')),
                  count(distinct hubspot_contact_id) filter (where outcome = 'switch'),
                  count(distinct hubspot_contact_id) filter (where outcome = 'may_switch'),
                  count(*) filter (where effect in ('overwrite', 'clear')), count(*) filter (where effect = 'backfill'),
                  count(*) filter (where effect in ('overwrite', 'clear') and consent)
           from what_if"""
    ).fetchone()
    assert row is not None  # an aggregate has one row
    return Forecast(*row)


def _read_list(snapshot: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Fills `touched`: the column that holds ids, by its name or because it is the first; a list without a header is fine.

    Of the file that column alone is kept: an export may be wide, and a short line counts as one with all columns.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ConfigurationProblem(
                f"{path} has {size / 2**20:,.0f} MB, and a list may have {MOST_BYTES // 2**20}: leave out columns, or judge it in parts."
            )
        listed = f"read_csv({literal(str(path))}, header = false, all_varchar = true, strict_mode = false, null_padding = true)"
        columns = [row[0] for row in snapshot.execute(f"describe from {listed}").fetchall()]
        if len(columns) > MOST_COLUMNS:
            raise ConfigurationProblem(f"{path} has {len(columns):,} columns, and a list may have {MOST_COLUMNS}: leave out those that are not needed.")
        first = snapshot.execute(f"from {listed} limit 1").fetchone()
        names = [(value or "").strip("\ufeff ").lower() for value in first or ()]
        place = next((number for number, name in enumerate(names) if name in _NAMES), None)
        snapshot.execute(f"create temp table listed_file as select {quoted(columns[place or 0])} as id from {listed} limit {MOST_LINES + 1}")
    except (duckdb.Error, UnicodeDecodeError, OSError) as error:
        raise ConfigurationProblem(f"{path} cannot be read as a list of Salesforce ids: {said(error)}") from error
    if count_rows(snapshot, "listed_file") > MOST_LINES:
        raise ConfigurationProblem(f"{path} has more than {MOST_LINES:,} lines: judge it in parts.")
    snapshot.execute(
        """create table touched as
            with numbered as (
                select row_number() over () as line, trim(coalesce(id, ''), chr(65279) || ' ') as salesforce_id from listed_file
            ),
            header as (
                select $is_named or bool_or(line = 1 and main.salesforce_id18(salesforce_id) is null) as is_header from numbered
            )
            select line - header.is_header::integer as line, salesforce_id from numbered cross join header where line > header.is_header::integer""",
        {"is_named": place is not None},
    )
    if snapshot.execute("select count(main.salesforce_id18(salesforce_id)) from touched").fetchone() == (0,):
        raise ConfigurationProblem(f"{path} holds no Salesforce id. It needs one id a line, with 15 or 18 characters, under a header or without one.")


def _export(snapshot: duckdb.DuckDBPyConnection, path: Path) -> None:
    snapshot.execute(f"copy ({safe_cells(snapshot, 'from what_if')}) to '{path}' (format csv, header)")
