"""What if somebody edits these Salesforce records, as an import or a flow does? Which contacts would jump, which of their values would change?"""

import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import duckdb

from assets.brought import FileProblem, Limits, Table, open_tables
from assets.files import replaced
from assets.problems import ConfigurationProblem
from assets.published.spreadsheets import write_table
from assets.record_ids import has_id, tidy_ids
from assets.sentences import column_in, languages, write_sentences
from assets.sql import literal

# What a list may have: ten times the largest import that a day takes.
MOST_BYTES = 512 * 1024 * 1024
MOST_LINES = 5_000_000
MOST_COLUMNS = 500

QUERY = Path(__file__).parent / "what_if.sql"
# Most lines say one of ten things: each is put into words once.
_IN_WORDS = """
create or replace temp table what_if_case as select distinct says, facts, cast(null as map(varchar, varchar)) as quoted from what_if_line;
create or replace temp table what_if as
select line.* exclude (says, facts),
    told.says_en as reason, told.says_de as reason_de, list_transform(told.says_further, lambda one: {'language': one.language, 'reason': one.reason}) as words
from what_if_line as line
inner join main.said('what_if_case', 'what_if') as told on told.says = line.says and told.facts = line.facts
order by line.line, line.hubspot_contact_id, line.property
"""
_NAME = re.compile(
    r"(?:sf )?(?:1[58] (?:digit|character) )?(?:case ?safe )?(?:salesforce ?|sf )?(?:lead|contact|record|person|datensatz)? ?(?:case ?safe )?id(?: 1[58])?"
)
_ROWS_ABOVE = 20  # that may stand above the header: a title, a date, a filter


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
    def jumps(self) -> bool:
        """A contact would jump, or might."""
        return self.contacts_that_switch > 0 or self.contacts_that_may_switch > 0

    @property
    def is_safe(self) -> bool:
        """No contact would jump, by every line: one that nobody can judge proves nothing."""
        return not self.jumps and self.unusable == 0


def forecast(snapshot: duckdb.DuckDBPyConnection, path: Path, out: Path | None, language: str = "en") -> Forecast:
    """Judges the list in `path` on a snapshot (assets.snapshot.open_snapshot) and writes the answer as CSV to `out`, where that is given.

    language: of the reasons. Raises ConfigurationProblem when the list cannot be read, in that language, or `out` not be written.
    """
    try:
        read_list(snapshot, path)
    except FileProblem as problem:
        told = languages()[language]["plans"]["unreadable_list"]
        raise ConfigurationProblem(told.format(file=path, problem=problem.said_in(language))) from problem
    found = ask(snapshot)
    if out is not None:
        with replaced(out) as target:
            write_table(snapshot, f"select * exclude (reason_de, words) replace ({column_in(language, 'what_if', 'reason')} as reason) from what_if", target)
    return found


def ask(snapshot: duckdb.DuckDBPyConnection) -> Forecast:
    """What edits of the records in the temporary table `touched` (line, salesforce_id) would set off: the temporary table `what_if` (what_if.sql, with what
    it says as reason, reason_de and words), and its figures.
    """
    text = QUERY.read_text("utf-8")
    write_sentences(snapshot, [(QUERY.stem, text)])
    snapshot.execute(f"create or replace temp table what_if_line as {text.strip().removesuffix(';')}")
    snapshot.execute(_IN_WORDS)
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


def read_list(snapshot: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Fills the temporary table `touched`: the column that holds ids, by its name or by what is in it; a list without a header is fine.

    Of the file that column alone is kept: an export may be wide. Raises FileProblem when it cannot be read, ConfigurationProblem when it holds no id.
    """
    with open_tables(path, Limits(MOST_BYTES, MOST_LINES, MOST_COLUMNS)) as tables:
        listed = next((found for table in tables if (found := _read_table(snapshot, table))), 0)
    if not listed:
        row = snapshot.execute("select salesforce_id from touched where main.id_fault(salesforce_id) = 'hubspot' limit 1").fetchone()
        raise NoIds(path, row[0] if row else None)


class NoIds(ConfigurationProblem):
    """A list without a Salesforce id. of_hubspot: an id of HubSpot's that is in it instead, or None."""

    def __init__(self, path: Path, of_hubspot: str | None) -> None:
        why = f" {of_hubspot} is a record id of HubSpot's." if of_hubspot else ""
        super().__init__(f"{path} holds no Salesforce id.{why} It needs one id a line, with 15 or 18 characters, under a header or without one.")
        self.of_hubspot = of_hubspot


def _read_table(snapshot: duckdb.DuckDBPyConnection, table: Table) -> int:
    """Fills `touched` with the lines of a table, and says how many hold an id."""
    snapshot.execute("create or replace temp table touched (line bigint, salesforce_id varchar)")
    place = -1
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
        for chunk in table.chunks():
            begin = 0
            if place < 0:
                place, begin = _find_ids(chunk)
            ids = tidy_ids([row[place] if place < len(row) else "" for row in chunk[begin:]])
            file.writelines(f"{each}\n" for each in ids)
        file.flush()
        # a tidy id has no line end in it, and nothing divides or quotes it
        snapshot.execute(
            f"""insert into touched select row_number() over () as line, coalesce(id, '') from read_csv({literal(file.name)}, header = false,
                auto_detect = false, columns = {{'id': 'varchar'}}, delim = '\x01', quote = '', escape = '', new_line = '\\n', max_line_size = 1000000)"""
        )
    row = snapshot.execute("select count(main.salesforce_id18(salesforce_id)) from touched").fetchone()
    return row[0] if row else 0


def _find_ids(rows: list[list[str]]) -> tuple[int, int]:
    """The column that holds ids, and the first row below the header."""
    counts = Counter(place for row in rows[:1000] for place, cell in enumerate(row) if has_id(cell))
    for number, cells in enumerate(rows[: _ROWS_ABOVE + 1]):
        if any(has_id(cell) for cell in cells):
            break
        named = [place for place, name in enumerate(cells) if _NAME.fullmatch(" ".join(re.sub(r"[^a-z0-9]+", " ", name.lower()).split()))]
        if named:  # of several the one with most ids: an export of HubSpot's has its own ids, too
            return max(named, key=lambda place: (counts[place], -place)), number + 1
    if not counts:
        return 0, 1
    place = max(counts, key=lambda place: (counts[place], -place))
    return place, next(number for number, row in enumerate(rows) if place < len(row) and has_id(row[place]))
