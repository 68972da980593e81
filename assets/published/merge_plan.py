"""Merge plans that somebody hands in: which records are to be merged into which. Files as people and merge tools write them (assets/brought.py).

Four layouts are understood, by the names in the header:

    a row a loser      master_id, loser_id
    a row a merge      master_id, loser_id_1, loser_id_2, …; or several losers in one cell
    a row a record     id, master id; the master has a row of its own, or none
    a row a record     group, record id, master (yes or no), as tools for duplicates list them
"""

import logging
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from assets.brought import FileProblem, Limits, Table, open_tables
from assets.files import sync_folder, write_whole
from assets.policy import masked_email
from assets.record_ids import has_id, ids_in, tidy_id

log = logging.getLogger("bindwatch.models")

FOLDER = "merge-plans"  # below the home; each run judges what lies there
ANSWERS = "answers"  # below the folder of plans: what was said of each

# What a plan may have. The largest takes some 40 seconds of one core and 1.6 GB to judge; one with more is handed in in parts.
MOST_BYTES = 32 * 1024 * 1024
MOST_LINES = 1_000_000  # empty ones as well
MOST_COLUMNS = 500
MOST_CELLS = 5_000_000  # rows times columns of the header: a short row is filled up
MOST_MERGES = 500_000
_ROWS_ABOVE = 20  # that may stand above the header: a title, a date, a filter

# Endings of tables, whatever they hold; and those that say nothing, where what is in the file decides whether it could be a plan.
_TABLES = {".csv", ".tsv", ".tab", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers"}
_ANYTHING = {"", ".txt", ".text", ".dat", ".out"}
_OF_PROGRAMS = ("._", "~$", ".~lock.")  # what a program leaves beside a file that is open, or was copied from a Mac

# Names of columns: without case, with blanks for punctuation, without the name of the tool in front. An object may stand before "id": master lead id.
_TOOL = re.compile(r"^(?:salesforce|sfdc|sf|crm|insycle|demand ?tools|dt|cloudingo|plauti|dupe ?blocker|ringlead) (?=.)")
_OBJECT = "(?:(?:salesforce )?(?:leads?|contacts?|kontakte?|records?|person|datens(?:a|ä|ae)tze?))?"
_ID = "(?:case ?safe )?(?:ids?)?(?: 1[58])?"
_MASTER = re.compile(
    r"(?:master|winner|winning|survivors?|surviving|primary|target|keep|kept|keeper|retain(?:ed)?|golden|(?:merged? )?into|duplicate of"
    rf"|gewinner|haupt|ziel|behalten|bleibt|dublette von|duplikat von) ?{_OBJECT} ?{_ID}",
)
_LOSER = re.compile(
    r"(?:losers?|losing|duplicates?|dups?|dupes?|victims?|secondary|merged|merging|merge|(?:merged? )?from|source|non ?master|deleted?|removed?|discard(?:ed)?"
    r"|verlierer|dubletten?|duplikate?|quelle|quell|(?:zu )?(?:löschen|loeschen)|(?:zu )?(?:entfernen))"
    rf" ?{_OBJECT}(?: ?[0-9]+)? ?{_ID}(?: ?[0-9]+)?",
)
_GROUP = re.compile(r"(?:(?:match|duplicate|dupe|merge) )?(?:record )?(?:group|set|cluster|gruppe)(?: duplicate record set)?(?: ?(?:id|number|no|key|name))?")
_RECORD = re.compile(rf"(?:1[58] (?:digit|character) )?{_OBJECT} ?(?:case ?safe )?id(?: 1[58])?")
_FLAG = re.compile(r"(?:is )?(?:master|survivor|winner|primary|keep|merge role|record role|role|action|aktion)(?: record)?(?: flag)?")
_NO = {"", "false", "no", "n", "0", "nein", "falsch", "duplicate", "loser", "non-master", "secondary", "merge"}
_NUMBERS = re.compile(r"\s*[0-9]{1,14}(?:[;,|/\s]+[0-9]{1,14})*\s*")
_YES = {"true", "yes", "y", "x", "1", "ja", "wahr", "master", "winner", "survivor", "primary", "keep"}


PlanProblem = FileProblem  # a plan that cannot be read


@dataclass(frozen=True)
class MergePlan:
    """A plan as it was read. header, rows: all cells, as they stand in the file; pairs: (number of the row from 1, master, loser), the ids without
    what surrounds them; masters: rows of a master in the layouts of a row a record, with the numbers of its losers' rows.
    """

    header: list[str]
    rows: list[list[str]]
    pairs: list[tuple[int, str, str]]
    masters: dict[int, list[int]]


def read_merge_plan(path: Path) -> MergePlan:
    """Reads a plan. Header case, further columns and what stands above the header do not matter; of a workbook, the one sheet that holds a plan counts.

    Raises PlanProblem, with line and column, when the file is no such table, or has more of something than a plan may have.
    """
    plans: list[tuple[str | None, MergePlan]] = []
    problems: list[PlanProblem] = []
    with open_tables(path, Limits(MOST_BYTES, MOST_LINES, MOST_COLUMNS, MOST_CELLS)) as tables:
        for table in tables:
            try:
                plans.append((table.sheet, _read_table(table)))
            except PlanProblem as problem:
                problems.append(problem)
    if len(plans) > 1:
        sheets = ", ".join(str(sheet) for sheet, _ in plans)
        raise PlanProblem(
            f"more than one sheet holds a plan ({sheets}); save each as a file", f"mehr als ein Blatt enthält einen Plan ({sheets}); je als Datei speichern"
        )
    if not plans:
        raise problems[0]
    return plans[0][1]


def _read_table(table: Table) -> MergePlan:
    lines = table.rows()
    if not lines:
        raise table.problem(0, None, "the file is empty", "die Datei ist leer", None)
    above = _header_of(lines)
    if above is None:
        raise _no_header(table, lines)
    header, rows = lines[above], lines[above + 1 :]
    width = len(header)
    names = [_plain(name) for name in header]
    losers, masters = _find(_LOSER, names), _find(_MASTER, names)
    if losers == [width - 1]:
        rows = [_with_its_losers(row, width) for row in rows]
    if len(max(rows, key=len, default=[])) > width:
        for number, cells in enumerate(rows, above + 1):
            if any(cell.strip() for cell in cells[width:]):
                text, german = f"the row has {len(cells)} cells, the header {width}", f"die Zeile hat {len(cells)} Zellen, die Kopfzeile {width}"
                raise table.problem(number, width, text, german)
    rows = [row if len(row) == width else [*row[:width], *[""] * (width - len(row))] for row in rows]
    own = _find_record(rows, names, masters)
    is_grouped = not losers and any(_GROUP.fullmatch(name) for name in names)
    if masters and (losers or own is not None) and not _is_flag(rows, masters[0], or_blank=is_grouped):
        if len(masters) > 1:
            raise table.problem(above, masters[1], "it has a second column for the master", "sie hat eine zweite Spalte für den Master")
        _refuse_hubspot(table, rows, [*masters, *(losers or [own or 0])])
        if losers:
            return MergePlan(header, rows, _pairs(table, rows, masters[0], losers), {})
        return _read_records(header, rows, own or 0, masters[0])
    return _read_groups(table, above, header, rows, names)


def _with_its_losers(row: list[str], width: int) -> list[str]:
    """A row of which the last cell was to hold several losers, and nobody quoted it."""
    if len(row) <= width or not all(has_id(cell) or not cell.strip() for cell in row[width - 1 :]):
        return row
    return [*row[: width - 1], ", ".join(cell.strip() for cell in row[width - 1 :] if cell.strip())]


def _header_of(lines: list[list[str]]) -> int | None:
    """The first row whose names of columns make a plan."""
    for number, cells in enumerate(lines[: _ROWS_ABOVE + 1]):
        if any(has_id(cell) for cell in cells):
            return None
        names = [_plain(name) for name in cells]
        has = {pattern: any(pattern.fullmatch(name) for name in names) for pattern in (_MASTER, _LOSER, _RECORD, _GROUP, _FLAG)}
        if (has[_MASTER] and (has[_LOSER] or has[_RECORD])) or (has[_GROUP] and has[_FLAG] and (has[_RECORD] or has[_LOSER])):
            return number
    return None


def _no_header(table: Table, lines: list[list[str]]) -> FileProblem:
    """Why nothing in the file is the header of a plan."""
    names = [_plain(name) for name in lines[0]]
    is_hubspots = sum(bool(re.fullmatch("record id(?: [0-9]+)?", name)) for name in names) > 1
    if is_hubspots and (ids := [cell for row in lines[1:] for cell in row if cell.strip().isdigit()]) and not any(has_id(c) for row in lines for c in row):
        return _hubspots(table, 1, ids[0])
    if any(has_id(name) for name in lines[0]):
        return table.problem(
            0, None, "it has no header; name the columns master_id and loser_id", "sie hat keine Kopfzeile; die Spalten master_id und loser_id nennen"
        )
    missing = [name for name, pattern in (("master_id", _MASTER), ("loser_id", _LOSER)) if not any(pattern.fullmatch(each) for each in names)] or ["loser_id"]
    text, german = f"it has no column {' and no column '.join(missing)}", f"sie hat keine Spalte {' und keine Spalte '.join(missing)}"
    return table.problem(0, None, text, german, _is_table(table, lines))


def _is_table(table: Table, lines: list[list[str]]) -> bool:
    """Not a note: some rows, all with as many cells, under names; or a sheet; or something that looks like ids."""
    widths = {len(row) for row in lines}
    is_even = len(lines) > 1 and len(widths) == 1 and widths != {1} and all(name.strip() for name in lines[0])
    return table.sheet is not None or is_even or any(has_id(cell) for row in lines for cell in row)


def _refuse_hubspot(table: Table, rows: list[list[str]], places: list[int]) -> None:
    """Raises FileProblem where all ids are numbers, as HubSpot's are."""
    cells = [(number, row[place]) for number, row in enumerate(rows, 1) for place in places if row[place].strip()][:1000]
    if cells and all(_NUMBERS.fullmatch(cell) for _, cell in cells):
        raise _hubspots(table, cells[0][0], cells[0][1].strip())


def _hubspots(table: Table, row: int, example: str) -> FileProblem:
    return table.problem(
        row, None, f"{example[:20]} is a record id of HubSpot's; a merge plan for Salesforce is needed, with the ids of Leads or Contacts",
        f"{example[:20]} ist eine Datensatz-ID von HubSpot; nötig ist ein Plan für Salesforce, mit den IDs von Leads oder Contacts",
    )  # fmt: skip


def _find(pattern: re.Pattern[str], names: list[str]) -> list[int]:
    """Where the columns are. Beside "master id" a column "master" holds the name of the record."""
    places = [place for place, name in enumerate(names) if pattern.fullmatch(name)]
    return [place for place in places if re.search(r"ids?\b", names[place])] or places


def _find_record(rows: list[list[str]], names: list[str], others: list[int], pattern: re.Pattern[str] = _RECORD) -> int | None:
    """The column of the record itself. Where HubSpot's ids stand in one and Salesforce's in another, it is the other."""
    places = [place for place, name in enumerate(names) if pattern.fullmatch(name) and place not in others]
    return next((place for place in places if any(has_id(row[place]) for row in rows)), places[0] if places else None)


def _is_flag(rows: list[list[str]], place: int, or_blank: bool) -> bool:
    """Says the column yes or no, instead of which record?"""
    said = {row[place].strip().lower() for row in rows}
    return (bool(said & _YES) or or_blank) and said <= _YES | _NO


def _pairs(table: Table, rows: list[list[str]], master: int, losers: list[int]) -> list[tuple[int, str, str]]:
    ids = {cell: tidy_id(cell) for cell in {row[master] for row in rows}}
    pairs: list[tuple[int, str, str]] = []
    for number, row in enumerate(rows, 1):
        found = ids_in(row[losers[0]]) if len(losers) == 1 else [loser for place in losers for loser in ids_in(row[place])]
        pairs += [(number, ids[row[master]], loser) for loser in dict.fromkeys(found or [""])]
        if len(pairs) > MOST_MERGES:
            raise table.problem(
                None, None, f"row {number}: it has more than {MOST_MERGES:,} merges; hand it in in parts",
                f"Zeile {number}: sie hat mehr als {MOST_MERGES:,} Zusammenführungen; in Teilen einreichen",
            )  # fmt: skip
    return pairs


def _read_records(header: list[str], rows: list[list[str]], record: int, master: int) -> MergePlan:
    """Each record names its master. A row that names itself or nothing is the master's own, or merges nothing."""
    pairs: list[tuple[int, str, str]] = []
    own: dict[str, int] = {}
    losers_of: dict[str, list[int]] = {}
    for number, row in enumerate(rows, 1):
        record_id, master_id = tidy_id(row[record]), tidy_id(row[master])
        if not master_id or record_id[:15] == master_id[:15]:
            own.setdefault(record_id[:15], number)
        else:
            pairs.append((number, master_id, record_id))
            losers_of.setdefault(master_id[:15], []).append(number)
    return MergePlan(header, rows, pairs, {number: losers_of.get(record_id, []) for record_id, number in own.items()})


def _read_groups(table: Table, above: int, header: list[str], rows: list[list[str]], names: list[str]) -> MergePlan:
    group = next((place for place, name in enumerate(names) if _GROUP.fullmatch(name)), None)
    flag = next((place for place, name in enumerate(names) if _FLAG.fullmatch(name)), None)
    record = next((place for pattern in (_RECORD, _LOSER) if (place := _find_record(rows, names, [], pattern)) is not None), None)
    if group is None or flag is None or record is None:
        missing = "group" if group is None else "record id" if record is None else "master"
        raise table.problem(above, None, f"it has no column {missing}", f"sie hat keine Spalte {missing}")
    _refuse_hubspot(table, rows, [record])
    members: dict[str, list[tuple[int, str, bool]]] = {}
    for number, row in enumerate(rows, 1):
        members.setdefault(row[group].strip(), []).append((number, tidy_id(row[record]), row[flag].strip().lower() in _YES))
    pairs, masters = [], {}
    for name, of_group in members.items():
        chosen = [(number, record_id) for number, record_id, is_master in of_group if is_master]
        if len(chosen) != 1:
            shown = masked_email(name) if "@" in name else name  # tools name groups by their e-mail, and this is logged
            raise table.problem(
                above + of_group[0][0],
                flag,
                f"group {shown!r} has {len(chosen)} masters, and needs one",
                f"die Gruppe {shown!r} hat {len(chosen)} Master und braucht einen",
            )
        losers = [(number, record_id) for number, record_id, is_master in of_group if not is_master]
        pairs += [(number, chosen[0][1], record_id) for number, record_id in losers]
        masters[chosen[0][0]] = [number for number, _ in losers]
    return MergePlan(header, rows, sorted(pairs), masters)


def _plain(name: str) -> str:
    return _TOOL.sub("", " ".join(re.sub(r"[_\-/:.#()?]+", " ", name.strip("\ufeff '\"").lower()).split()))


# ── into the warehouse, or into a snapshot that is asked ─────────────────────────────────────────────────────────────────────────


def dropped_files(home: Path) -> Iterator[Path]:
    """Whatever lies in the folder of plans, but the answers: files of any name, folders, links, pipes."""
    folder = home / FOLDER
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError:  # it may not be looked into, or is no folder
        yield folder
        return
    yield from (path for path in found if not (path.name == ANSWERS and path.is_dir()))


def keep_plan(home: Path, name: str, plan: Path) -> str:
    """Puts a copy of a plan among those of the home, whole or not at all: a run may look there at any moment. Returns the name that it got; one that is
    taken by another plan gets a number. Raises OSError when it cannot be written.
    """
    folder = home / FOLDER
    folder.mkdir(exist_ok=True)
    content = plan.read_bytes()
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, f".{ending}") if dot and f".{ending.lower()}" in _TABLES | _ANYTHING else (name, "")
    if stem.lower() == ANSWERS:
        stem = f"{stem}-plan"
    temporary = home / f".plan-{secrets.token_hex(6)}"  # not in the folder, where a run would take it for a plan
    try:
        write_whole(temporary, content, 0o600)
        for number in range(1, 1000):
            target = folder / (f"{stem}{ending}" if number == 1 else f"{stem} ({number}){ending}")
            try:
                os.link(temporary, target)
            except FileExistsError:
                if target.is_file() and target.read_bytes() == content:
                    return target.name
                continue
            sync_folder(folder)
            return target.name
        raise FileExistsError(f"{folder} has too many plans of one name")
    finally:
        temporary.unlink(missing_ok=True)


def shown_name(path: Path) -> str:
    """The name of a file, also of one whose bytes are no text."""
    return path.name.encode("utf-8", "replace").decode()


def read_dropped_file(path: Path) -> MergePlan:
    """The plan in what lies in the folder. Nothing is waited for: a pipe is refused.

    Raises PlanProblem; its could_be_table says whether somebody may take the file for a plan, by its name or by what is in it.
    """
    is_by_name = not path.name.startswith(_OF_PROGRAMS) and any(ending.lower() in _TABLES for ending in path.suffixes)
    says_nothing = path.suffix.lower() in _ANYTHING and not path.name.startswith((".", *_OF_PROGRAMS))
    if path.name == FOLDER:
        raise PlanProblem("it is no folder that can be looked into", "das ist kein Ordner, in den hineingesehen werden kann")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise PlanProblem("it is a folder; what lies in it is not judged", "das ist ein Ordner; was darin liegt, wird nicht geprüft", False)
        if not stat.S_ISREG(mode):
            raise PlanProblem("it is no file, but a pipe, a socket or a device", "das ist keine Datei, sondern eine Pipe, ein Socket oder ein Gerät", False)
        return read_merge_plan(path)
    except OSError as error:
        text, german = f"it cannot be opened: {error.strerror}", f"sie lässt sich nicht öffnen: {error.strerror}"
        raise PlanProblem(text, german, is_by_name or says_nothing) from error
    except PlanProblem as problem:
        problem.could_be_table = is_by_name or (says_nothing if problem.could_be_table is None else problem.could_be_table)
        raise


def load_merge_plans(connection: duckdb.DuckDBPyConnection, home: Path) -> None:
    """Replaces main.merge_plan by the rows of every plan in the home. What cannot be read is one row without ids, with row_no 0."""
    connection.execute("delete from main.merge_plan")
    for path in dropped_files(home):
        name = shown_name(path)
        try:
            load_merge_plan(connection, name, read_dropped_file(path).pairs)
        except PlanProblem as problem:
            log.warning("the merge plan %s cannot be read: %s", name, problem)
            connection.execute(
                """insert into main.merge_plan by name
                   select ? as plan, 0 as row_no, ? as problem, ? as problem_de, ? as could_be_plan, false as is_circular""",
                [name, str(problem), problem.in_german, problem.could_be_table],
            )


def load_merge_plan(connection: duckdb.DuckDBPyConnection, name: str, pairs: Iterable[tuple[int, str, str]]) -> None:
    """Adds the pairs of a plan to main.merge_plan, with what follows from the plan alone: its groups, circles, and what is gone too early.

    A plan is a graph that somebody wrote, of records that are to end in one; following it is a matter of a loop, not of sets.
    """
    listed = list(pairs)
    if not listed:
        return
    written = list({text for _, master, loser in listed for text in (master, loser)})
    long = dict(
        connection.execute(
            "select id, case when main.id_fault(id) is null then main.salesforce_id18(id) end from (select unnest(?::varchar[]) as id)", [written]
        ).fetchall()
    )
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
