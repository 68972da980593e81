"""Merge plans that somebody hands in: which records are to be merged into which. CSV files as people and merge tools write them.

Three layouts are understood, by the names in the header:

    a row a loser      master_id, loser_id
    a row a merge      master_id, loser_id_1, loser_id_2, …
    a row a record     group, record id, master (yes or no), as tools for duplicates list them
"""

import csv
import io
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import duckdb

from assets.policy import masked_email

log = logging.getLogger("bindwatch.models")

FOLDER = "merge-plans"  # below the home; each run judges what lies there

# What a plan may have. The largest takes some 40 seconds of one core and 1.6 GB to judge; one with more is handed in in parts.
MOST_BYTES = 32 * 1024 * 1024
MOST_LINES = 1_000_000  # empty ones as well
MOST_COLUMNS = 500
MOST_CELLS = 5_000_000  # rows times columns of the header: a short row is filled up
MOST_CHARACTERS = csv.field_size_limit()  # of a cell: 131,072
MOST_MERGES = 500_000

# Names of columns: without case, with blanks for punctuation, without the name of the tool in front. An object may stand before "id": master lead id.
_TOOL = re.compile(r"^(?:insycle|demand ?tools|dt|cloudingo|plauti|dupe ?blocker|ringlead) (?=.)")
_OBJECT = "(?:(?:salesforce )?(?:lead|contact|record|person|datensatz))?"
_ID = "(?:case ?safe )?(?:ids?)?(?: 1[58])?"
_MASTER = re.compile(
    rf"(?:master|winner|winning|survivor|surviving|primary|target|keep|kept|gewinner|haupt) ?{_OBJECT} ?{_ID}",
)
_LOSER = re.compile(
    r"(?:loser|losing|duplicate|dup|dupe|victim|secondary|merged|merge|source|non ?master|delete|deleted|verlierer|dublette|duplikat)"
    rf" ?{_OBJECT} ?{_ID}(?: ?[0-9]+)?",
)
_GROUP = re.compile(r"(?:(?:match|duplicate|dupe|merge) )?(?:record )?(?:group|set|cluster|gruppe)(?: duplicate record set)?(?: ?(?:id|number|no|key|name))?")
_RECORD = re.compile(rf"(?:1[58] (?:digit|character) )?{_OBJECT} ?(?:case ?safe )?id(?: 1[58])?")
_FLAG = re.compile(r"(?:is )?(?:master|survivor|winner|primary|keep|merge role|record role|role)(?: record)?(?: flag)?")
_NO = {"", "false", "no", "n", "0", "nein", "falsch", "duplicate", "loser", "non-master", "secondary", "merge"}
_YES = {"true", "yes", "y", "x", "1", "ja", "wahr", "master", "winner", "survivor", "primary", "keep"}
_ID_IN_URL = re.compile(r"(?<![A-Za-z0-9])((?:00Q|003)[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?)(?![A-Za-z0-9])")


class PlanProblem(ValueError):
    """A plan that cannot be read. Its words say where and why."""


@dataclass(frozen=True)
class MergePlan:
    """A plan as it was read. header, rows: all cells, as they stand in the file; pairs: (number of the row from 1, master, loser), the ids as
    written but for what surrounds them in a link; masters: rows of a master in the layout of a row a record, with the numbers of its losers' rows.
    """

    header: list[str]
    rows: list[list[str]]
    pairs: list[tuple[int, str, str]]
    masters: dict[int, list[int]]


def read_merge_plan(path: Path) -> MergePlan:
    """Reads a plan: commas, semicolons or tabs; UTF-8, UTF-16 with a mark, or Windows-1252; header case and further columns do not matter.

    Raises PlanProblem, with line and column, when the file is no such table, or has more of something than a plan may have.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PlanProblem(f"it cannot be opened: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise PlanProblem(f"it has more than {MOST_BYTES // 2**20} MB; hand it in in parts")
    lines = _without_footer(_parse(_decode(content)))
    if not lines:
        raise PlanProblem("line 1: the file is empty")
    header = lines[0][1]
    if any(_ID_IN_URL.search(name) for name in header):
        raise PlanProblem("line 1: it has no header; name the columns master_id and loser_id")
    rows = []
    for line, cells in lines[1:]:
        if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            raise PlanProblem(f"line {line}, column {len(header) + 1}: the row has {len(cells)} cells, the header {len(header)}")
        rows.append([*cells[: len(header)], *[""] * (len(header) - len(cells))])
    names = [_plain(name) for name in header]
    place_of_loser = _find(_LOSER, names)
    masters = _find(_MASTER, names)
    if masters and not place_of_loser and names[masters[0]].replace(" ", "") == "masterrecordid" and "id" in names:
        place_of_loser = [names.index("id")]  # as Salesforce exports its own merged records
    if masters and place_of_loser and not _is_flag(rows, masters[0]):
        if len(masters) > 1:
            raise PlanProblem(f"line 1, column {masters[1] + 1}: it has a second column for the master")
        return MergePlan(header, rows, _pairs(rows, masters[0], place_of_loser), {})
    return _read_groups(header, rows, names)


def _find(pattern: re.Pattern[str], names: list[str]) -> list[int]:
    """Where the columns are. Beside "master id" a column "master" holds the name of the record."""
    places = [place for place, name in enumerate(names) if pattern.fullmatch(name)]
    return [place for place in places if re.search(r"ids?\b", names[place])] or places


def _is_flag(rows: list[list[str]], place: int) -> bool:
    """Says the column yes or no, instead of which record?"""
    said = {row[place].strip().lower() for row in rows}
    return bool(said & _YES) and said <= _YES | _NO


def _pairs(rows: list[list[str]], master: int, losers: list[int]) -> list[tuple[int, str, str]]:
    pairs = []
    for number, row in enumerate(rows, 1):
        # one cell may hold several losers, as merge tools list them
        found = [loser for place in losers for loser in re.split(r"[;|\s]+(?=\S)", row[place].strip()) if loser]
        pairs += [(number, _tidy(row[master]), _tidy(loser)) for loser in dict.fromkeys(found or [""])]
        if len(pairs) > MOST_MERGES:
            raise PlanProblem(f"row {number}: it has more than {MOST_MERGES:,} merges; hand it in in parts")
    return pairs


def _read_groups(header: list[str], rows: list[list[str]], names: list[str]) -> MergePlan:
    group = next((place for place, name in enumerate(names) if _GROUP.fullmatch(name)), None)
    flag = next((place for place, name in enumerate(names) if _FLAG.fullmatch(name)), None)
    record = next((place for pattern in (_RECORD, _LOSER) for place, name in enumerate(names) if pattern.fullmatch(name)), None)
    if group is None or flag is None or record is None:
        missing = [name for name, pattern in (("master_id", _MASTER), ("loser_id", _LOSER)) if not any(pattern.fullmatch(each) for each in names)]
        raise PlanProblem(f"line 1: it has no column {' and no column '.join(missing or ['loser_id'])}")
    members: dict[str, list[tuple[int, str, bool]]] = {}
    for number, row in enumerate(rows, 1):
        members.setdefault(row[group].strip(), []).append((number, _tidy(row[record]), row[flag].strip().lower() in _YES))
    pairs, masters = [], {}
    for name, of_group in members.items():
        chosen = [(number, record_id) for number, record_id, is_master in of_group if is_master]
        if len(chosen) != 1:
            line = of_group[0][0] + 1
            shown = masked_email(name) if "@" in name else name  # tools name groups by their e-mail, and this is logged
            raise PlanProblem(f"line {line}, column {flag + 1}: group {shown!r} has {len(chosen)} masters, and needs one")
        losers = [(number, record_id) for number, record_id, is_master in of_group if not is_master]
        pairs += [(number, chosen[0][1], record_id) for number, record_id in losers]
        masters[chosen[0][0]] = [number for number, _ in losers]
    return MergePlan(header, rows, sorted(pairs), masters)


def _decode(content: bytes) -> str:
    encodings = ["utf-16"] if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            if encoding == encodings[-1]:
                before = content[: error.start]
                line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
                raise PlanProblem(f"line {line}, column {column}: it is no text in UTF-8, UTF-16 or Windows-1252") from error
        else:
            break
    if (place := text.find("\x00")) >= 0:
        line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
        raise PlanProblem(f"line {line}, column {column}: it is no text, but something binary")
    return text


def _parse(text: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of every row that is not empty."""
    first = _first_line(text)
    hint = re.fullmatch(r'"?sep=([,;\t])"?', first.strip(" \r"))  # a line for Excel, in front of the header
    delimiter = hint[1] if hint else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            _limit(line, cells, rows)
            if any(cell.strip() for cell in cells) and not (hint and not rows and cells[0].startswith("sep=")):
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            raise PlanProblem(f"line {line}: a cell has more than {MOST_CHARACTERS:,} characters, or a quotation mark is opened and not closed") from error
        column = _column_of_quote(text, line)
        raise PlanProblem(f"line {line}, column {column}: a quotation mark is opened and not closed, or stands inside of a cell ({error})") from error
    return rows


def _limit(line: int, cells: list[str], rows: list[tuple[int, list[str]]]) -> None:
    """Raises PlanProblem when a row is one too many for those before it."""
    if line > MOST_LINES:
        raise PlanProblem(f"line {line}: it has more than {MOST_LINES:,} lines; hand it in in parts")
    if len(cells) > MOST_COLUMNS:
        raise PlanProblem(f"line {line}: it has {len(cells):,} columns, and may have {MOST_COLUMNS}; leave out those that are not needed")
    if rows and (len(rows) + 1) * len(rows[0][1]) > MOST_CELLS:
        raise PlanProblem(
            f"line {line}: it has more than {MOST_CELLS:,} cells (rows times the {len(rows[0][1])} columns of the header); leave out columns that are not "
            "needed, or hand it in in parts"
        )


def _first_line(text: str) -> str:
    """The first line that is not blank, without the others being looked at."""
    found = re.search(r"\S", text)
    if found is None:
        return ""
    begin = max(text.rfind(end, 0, found.start()) for end in "\r\n") + 1
    return re.compile(r"[^\r\n]*").match(text, begin)[0]  # type: ignore[index]  # it matches everywhere


def _without_footer(lines: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Salesforce ends an exported report with its name, who made it and a copyright: sentences, each alone in a row."""
    end = len(lines)
    while end > 1 and len(lines[0][1]) > 1 and _is_sentence(*lines[end - 1][1]):
        end -= 1
    return lines[:end]


def _is_sentence(first: str = "", *others: str) -> bool:
    return bool(re.search(r"\S\s+\S", first)) and not re.search(r"\b[A-Za-z0-9]{15}", first) and not any(cell.strip() for cell in others)


def _column_of_quote(text: str, line: int) -> int:
    return next(islice(io.StringIO(text, newline=None), line - 1, line), "").find('"') + 1 or 1


def _plain(name: str) -> str:
    return _TOOL.sub("", " ".join(re.sub(r"[_\-/:.#()?]+", " ", name.strip("\ufeff ").lower()).split()))


def _tidy(cell: str) -> str:
    """The id in a cell: as written, or out of a link to the record; without the apostrophe that keeps spreadsheets from calculating."""
    text = cell.strip().removeprefix("'").strip()
    if "/" in text or "=" in text:
        found = _ID_IN_URL.findall(text)
        return found[-1] if found else text
    return text


# ── into the warehouse, or into a snapshot that is asked ─────────────────────────────────────────────────────────────────────────


def plans_in(home: Path) -> list[Path]:
    """The plans that lie in the home's folder. What is called like one and is no file is none: reading a pipe would wait for whoever writes into it."""
    return sorted(path for path in (home / FOLDER).glob("*.csv") if path.is_file())


def load_merge_plans(connection: duckdb.DuckDBPyConnection, home: Path) -> None:
    """Replaces main.merge_plan by the rows of every plan in the home. A plan that cannot be read is one row without ids, with row_no 0."""
    connection.execute("delete from main.merge_plan")
    for path in plans_in(home):
        try:
            load_merge_plan(connection, path.name, read_merge_plan(path).pairs)
        except PlanProblem as problem:
            log.warning("the merge plan %s cannot be read: %s", path.name, problem)
            connection.execute(
                "insert into main.merge_plan by name select ? as plan, 0 as row_no, ? as problem, false as is_circular", [path.name, str(problem)]
            )


def load_merge_plan(connection: duckdb.DuckDBPyConnection, name: str, pairs: Iterable[tuple[int, str, str]]) -> None:
    """Adds the pairs of a plan to main.merge_plan, with what follows from the plan alone: its groups, circles, and what is gone too early.

    A plan is a graph that somebody wrote, of records that are to end in one; following it is a matter of a loop, not of sets.
    """
    listed = list(pairs)
    if not listed:
        return
    written = list({text for _, master, loser in listed for text in (master, loser)})
    long = dict(connection.execute("select id, main.salesforce_id18(id) from (select unnest(?::varchar[]) as id)", [written]).fetchall())
    edges = [(number, long[master] or master, long[loser] or loser) for number, master, loser in listed]
    valid = [edge for edge, (_, master, loser) in zip(edges, listed, strict=True) if long[master] and long[loser] and edge[1] != edge[2]]
    group_of = _groups(valid)
    circular = _circles(valid)
    gone: dict[str, int] = {}
    gone_in_row: list[int | None] = []
    for number, master, loser in edges:
        gone_in_row.append(gone.get(master) or gone.get(loser))
        gone.setdefault(loser, number)
    columns = [
        [number for number, _, _ in edges],
        [master for _, master, _ in edges],
        [loser for _, _, loser in edges],
        [group_of.get(master) for _, master, _ in edges],
        [loser in circular for _, _, loser in edges],
        gone_in_row,
    ]
    connection.execute(
        """insert into main.merge_plan by name
           select $name as plan, unnest($numbers::bigint[]) as row_no, unnest($masters::varchar[]) as master_id, unnest($losers::varchar[]) as loser_id,
                  unnest($groups::varchar[]) as group_id, unnest($circular::boolean[]) as is_circular, unnest($gone::bigint[]) as gone_in_row""",
        {"name": name, **dict(zip(("numbers", "masters", "losers", "groups", "circular", "gone"), columns, strict=True))},
    )


def _groups(edges: list[tuple[int, str, str]]) -> dict[str, str]:
    """For each record the name of the group of records that the plan wants to be one: the least of their ids."""
    parent: dict[str, str] = {}

    def find(record: str) -> str:
        root = record
        while parent.setdefault(root, root) != root:
            root = parent[root]
        while parent[record] != root:
            parent[record], record = root, parent[record]
        return root

    for _, master, loser in edges:
        one, other = sorted((find(master), find(loser)))
        parent[other] = one
    return {record: find(record) for record in list(parent)}


def _circles(edges: list[tuple[int, str, str]]) -> set[str]:
    """The losers from which the plan leads back to themselves."""
    next_of: dict[str, str] = {}
    for _, master, loser in edges:
        next_of.setdefault(loser, master)
    circular: set[str] = set()
    done: set[str] = set()
    for start in next_of:
        path: list[str] = []
        on_path: dict[str, int] = {}
        record = start
        while record in next_of and record not in done and record not in on_path:
            on_path[record] = len(path)
            path.append(record)
            record = next_of[record]
        if record in on_path:
            circular.update(path[on_path[record] :])
        done.update(path)
    return circular
