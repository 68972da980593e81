"""A merge plan, judged before it is carried out: by `bindwatch merge-check`, by Dagster's sensor, at the desk.

The rules are the models under core/plans, asked on the last published snapshot, so a run may go on meanwhile.
"""

import csv
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb

from assets.files import replaced
from assets.problems import ConfigurationProblem
from assets.published.cells import safe_cell
from assets.published.contract import TABLES
from assets.published.merge_plan import ANSWERS, FOLDER, MergePlan, PlanProblem, dropped_files, load_merge_plan, read_dropped_file, read_merge_plan, shown_name
from assets.published.restore_plan import wide
from assets.published.snapshot import current_folder, open_folder, published_folder, read_manifest
from assets.sentences import write_sentences
from assets.sql import SQL_FOLDER, literal

log = logging.getLogger("bindwatch")

ANSWER = ("verdict", "reason", "hubspot_contact_id", "bound_id", "recommended_master_id")
_WORDS = {
    "en": {
        "reason": "reason", "master": "The master of its group.", "alone": "The row is the only one of its group: there is nothing to merge.",
        "unproven": "The last run proves nothing: this may be wrong.", "old": "The snapshot is {:.0f} hours old: run again before you merge.",
    },
    "de": {
        "reason": "reason_de", "master": "Der Masterdatensatz seiner Gruppe.",
        "alone": "Die Zeile ist die einzige ihrer Gruppe: Es gibt nichts zusammenzuführen.",
        "unproven": "Der letzte Lauf beweist nichts: Das kann falsch sein.",
        "old": "Der letzte Lauf ist {:.0f} Stunden her: Vor dem Zusammenführen neu abrufen.",
    },
}  # fmt: skip
_WORST_FIRST = ("unsafe", "invalid", "unknown", "safe")

ANSWERS_SQL = Path(__file__).parent / "merge_answers.sql"
_MODELS = SQL_FOLDER / "core" / "plans"
_TABLE = re.compile(r"\b(?:core|main|raw)\.[a-z_]+")
# What became of a merge is the run's business; here nothing was carried out yet.
_NOTHING_YET = """
create table staging.hubspot_property_version (
    hubspot_contact_id varchar, read_from_id varchar, property varchar, value varchar, changed_at timestamp, source_type varchar, pull_no bigint);
create table staging.clock (as_of timestamp)"""


@dataclass(frozen=True)
class Judgement:
    """What was said of a plan. counts: rows by verdict; warning: why the snapshot is not to be trusted without a second look, or None; fixed:
    merges of the plan with safe masters, and left_out: how many records of the plan are in none of them; conversions: the Leads that can be converted into
    a Contact instead; entered: the values to be entered in these Contacts before and after; reasons: what is in neither of the two, by the reasons of
    merge_answers.sql.
    """

    counts: dict[str, int]
    warning: str | None
    fixed: int
    left_out: int
    conversions: int = 0
    entered: tuple[int, int] = (0, 0)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def is_safe(self) -> bool:
        return all(verdict == "safe" for verdict, rows in self.counts.items() if rows)


def judge(
    home: Path, plan: Path, out: Path, oldest_hours: float, fix: Path | None = None, now: datetime | None = None, language: str = "en",
    details: Path | None = None,
) -> Judgement:  # fmt: skip
    """Writes the answer to `out`: every row of the plan with the columns of ANSWER. fix: where the same merges go, with safe masters.

    oldest_hours: from which age on a snapshot is said to be old; language: of the reasons, en or de; details: a folder that gets everything that a person
    looks at (BEFORE, CONVERSIONS, AFTER, ROWS, LEFT_OUT). Raises ConfigurationProblem when the plan cannot be read, WarehouseProblem when there is no snapshot.
    """
    try:
        read = read_merge_plan(plan)
    except PlanProblem as problem:
        words = problem.in_german if language == "de" else problem
        raise ConfigurationProblem(f"{plan} cannot be read as a merge plan: {words}.") from problem
    return _judge(home, plan.name, read, out, oldest_hours, fix, now, language, details)


def _judge(
    home: Path, name: str, read: MergePlan, out: Path, oldest_hours: float, fix: Path | None, now: datetime | None, language: str, details: Path | None
) -> Judgement:
    folder = published_folder(home)
    connection = open_folder(folder)
    connection.execute((SQL_FOLDER / "raw" / "tables.sql").read_text("utf-8"))
    connection.execute(_NOTHING_YET)
    load_merge_plan(connection, name, read.pairs)
    _build(connection)
    words = _WORDS[language]
    now = (now or datetime.now(UTC)).astimezone(UTC)
    warning = _warn(read_manifest(folder), oldest_hours, now, words)
    answers = _answers(connection, read, warning, words)
    _write(out, read, answers)
    counts = {verdict: sum(answer[0] == verdict for answer in answers) for verdict in _WORST_FIRST}
    if fix is None:
        return Judgement(counts, warning, 0, 0)
    found = _fix(connection, fix)
    if details is not None:
        said = {code: _answers(connection, read, _warn(read_manifest(folder), oldest_hours, now, _WORDS[code]), _WORDS[code]) for code in _WORDS}
        _write_details(connection, said["en"], [answer[1] for answer in said["de"]], details)
    return Judgement(counts, warning, **found)


@dataclass(frozen=True)
class JudgedPlan:
    """What lay in the home's folder. judgement: None when it cannot be read; problem says why then, and could_be_plan whether anybody takes it for one."""

    name: str
    judgement: Judgement | None
    problem: str | None
    could_be_plan: bool = True


def judge_dropped_plans(home: Path, oldest_hours: float, known: str | None) -> tuple[list[JudgedPlan], str]:
    """Judges what is new or changed in the home's folder, or was last judged on another snapshot, and writes its answer below it.

    known: what this function returned as its second value the last time. Raises WarehouseProblem when there is no snapshot.
    """
    before: dict[str, list[Any]] = json.loads(known) if known else {}
    snapshot = current_folder(home)
    now: dict[str, list[Any]] = {}
    judged = []
    for path in dropped_files(home):
        name = shown_name(path)
        now[name] = [*_stamp(path), snapshot.name if snapshot else None]
        if before.get(name) == now[name]:
            continue
        answers = home / FOLDER / ANSWERS
        try:
            read = read_dropped_file(path)
        except PlanProblem as problem:
            log.warning("the merge plan %s cannot be read: %s", name, problem)
            judged.append(JudgedPlan(name, None, str(problem), bool(problem.could_be_table)))
            if problem.could_be_table and path.name != FOLDER:
                with _answer_to(answers, name) as target, target.open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerows([ANSWER, ("invalid", safe_cell(f"{name} cannot be read as a merge plan: {problem}."), "", "", "")])
            continue
        with _answer_to(answers, name) as target:
            judged.append(JudgedPlan(name, _judge(home, name, read, target, oldest_hours, None, None, "en", None), None))
    return judged, json.dumps(now)


def _stamp(path: Path) -> tuple[int, int]:
    """By what a file is known to have changed; of a link, by what it leads to."""
    try:
        seen = path.stat()
    except OSError:
        return 0, 0
    return seen.st_mtime_ns, seen.st_size


@contextmanager
def _answer_to(answers: Path, name: str) -> Iterator[Path]:
    """Where the answer to a file goes: under its name, which for what is no .csv gets an ending more."""
    answers.mkdir(exist_ok=True)
    with replaced(answers / (name if name.lower().endswith(".csv") else f"{name}.answer.csv")) as target:
        yield target


def _build(connection: duckdb.DuckDBPyConnection) -> None:
    """Builds what is said of plans, on what the snapshot has of the other tables. A model comes after those that it reads."""
    files = {f"core.{path.stem}": path.read_text("utf-8") for path in _MODELS.glob("*.sql")}
    write_sentences(connection, [(table.removeprefix("core."), text) for table, text in files.items()])
    reads = {table: set(_TABLE.findall(text)) - {table} for table, text in files.items()}
    for name, table in TABLES.items():
        if table not in files and any(table in read for read in reads.values()):
            connection.execute(f"create view {table} as from published.{name}")
    for table in TopologicalSorter({table: read & files.keys() for table, read in reads.items()}).static_order():
        connection.execute(files[table])


def _warn(manifest: dict[str, Any], oldest_hours: float, now: datetime, words: dict[str, str]) -> str | None:
    """What a reader must know about the snapshot."""
    parts = []
    if manifest["verdict"] == "unproven":
        parts.append(words["unproven"])
    age = (now - datetime.fromisoformat(manifest["started_at"])).total_seconds() / 3600
    if age > oldest_hours:
        parts.append(words["old"].format(age))
    return " ".join(parts) or None


def _answers(connection: duckdb.DuckDBPyConnection, plan: MergePlan, warning: str | None, words: dict[str, str]) -> list[tuple[str, ...]]:
    """For each row of the plan the values of ANSWER, and master and loser of the merge that they are about."""
    judged = connection.execute(
        f"""select row_no, case verdict when 'done' then 'invalid' else verdict end, {words["reason"]}, coalesce(hubspot_contact_id, ''),
                  coalesce(bound_id, ''), coalesce(recommended_master_id, ''), master_id, loser_id
           from core.planned_merge order by row_no, loser_id"""
    ).fetchall()
    of_row: dict[int, list[tuple[str, ...]]] = {}
    for number, *answer in judged:
        of_row.setdefault(number, []).append(tuple(answer))
    for number, losers in plan.masters.items():
        found = [answer for loser in losers for answer in of_row.get(loser, [])]
        of_row[number] = [(*_worst(found)[:1], f"{words['master']} {_worst(found)[1]}", *_worst(found)[2:])] if found else []
    alone = ("invalid", words["alone"], "", "", "", "", "")
    answers = [_worst(of_row.get(number) or [alone]) for number in range(1, len(plan.rows) + 1)]
    return [(answer[0], f"{answer[1]} {warning}" if warning else answer[1], *answer[2:]) for answer in answers]


def _worst(answers: list[tuple[str, ...]]) -> tuple[str, ...]:
    return min(answers, key=lambda answer: _WORST_FIRST.index(answer[0]))


def _write(out: Path, plan: MergePlan, answers: list[tuple[str, ...]]) -> None:
    """Also what is echoed of the plan is safe to open in a spreadsheet; read as a plan again, it means the same."""
    kept = [place for place, name in enumerate(plan.header) if name.strip().lower() not in ANSWER]  # an answer that is judged again
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(safe_cell(plan.header[place]) for place in kept), *ANSWER])
        for row, answer in zip(plan.rows, answers, strict=True):
            writer.writerow([*(safe_cell(row[place]) for place in kept), *map(safe_cell, answer[: len(ANSWER)])])


def _fix(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Any]:
    """Writes each group of records that the plan wants to be one as merges into its safe master. Returns the figures of a Judgement."""
    connection.execute(ANSWERS_SQL.read_text("utf-8"))
    rows = connection.execute("select master_id, loser_id from main.fixed order by master_id, loser_id").fetchall()
    with replaced(path) as target, target.open("w", encoding="utf-8", newline="") as file:  # not by DuckDB, which does not say which file is full
        csv.writer(file, lineterminator="\n").writerows([("master_id", "loser_id"), *rows])
    row = connection.execute(
        """select (select count(distinct loser_id) from main.merge_plan
                   where loser_id not in (select loser_id from main.fixed union select master_id from main.fixed)),
                  (select count(*) from main.converted where reason is null),
                  (select count(*) from main.entered where is_before), (select count(*) from main.entered where not is_before)"""
    ).fetchone() or (0, 0, 0, 0)
    reasons = connection.execute("select reason, count(*) from main.left_out group by reason order by count(*) desc, reason").fetchall()
    return {"fixed": len(rows), "left_out": row[0], "conversions": row[1], "entered": row[2:], "reasons": dict(reasons)}


# What a person looks at, below the folder of details.
BEFORE, CONVERSIONS, AFTER, ROWS, LEFT_OUT = "enter-first.csv", "conversions.csv", "enter-after.csv", "rows.parquet", "left-out.parquet"

_ROWS = """
select answer.*, planned.consequence, coalesce(contact.display_name, '') as contact_name, coalesce(account.account_name, '') as account_name,
    coalesce(master.display_name, '') as master_name, coalesce(loser.display_name, '') as loser_name, coalesce(lost.properties, []) as lost
from (
    select unnest($row_nos::bigint[]) as row_no, unnest($verdicts::varchar[]) as verdict, unnest($reasons::varchar[]) as reason,
           unnest($in_german::varchar[]) as reason_de,
           unnest($contacts::varchar[]) as hubspot_contact_id, unnest($bound::varchar[]) as bound_id, unnest($recommended::varchar[]) as recommended_master_id,
           unnest($masters::varchar[]) as master_id, unnest($losers::varchar[]) as loser_id
) as answer
left join core.planned_merge as planned on planned.row_no = answer.row_no and planned.loser_id = answer.loser_id
left join published.hubspot_contact as contact on contact.contact_id = answer.hubspot_contact_id
left join published.salesforce_person as master on master.record_id = answer.master_id
left join published.salesforce_person as loser on loser.record_id = answer.loser_id
left join (
    select record_id, fields['Account.Name'] as account_name from published.record_detail where record_id in (select record_id from main.member)
) as account on account.record_id = coalesce(nullif(answer.bound_id, ''), answer.master_id)
left join (
    -- what of the contact's would be another value, once it hangs on the master
    select hubspot_contact_id, rival_id,
        list({'property': property, 'before': hubspot_value, 'after': salesforce_value, 'consent': consent} order by consent desc, property) as properties
    from published.overwrite where effect in ('overwrite', 'clear') group by hubspot_contact_id, rival_id
) as lost on lost.hubspot_contact_id = answer.hubspot_contact_id and lost.rival_id = answer.master_id and answer.verdict = 'unsafe'
order by answer.row_no
"""
_CONVERSIONS = """
select lead_id as "Lead Id", contact_id as "Contact Id", account_id as "Account Id", true as "Do Not Create Opportunity"
from main.converted where reason is null order by not is_bound, contact_id, lead_id
"""
_LEFT_OUT = """
select left_out.*, coalesce(master.display_name, '') as master_name, coalesce(loser.display_name, '') as loser_name
from main.left_out as left_out
left join published.salesforce_person as master on master.record_id = left_out.master_id
left join published.salesforce_person as loser on loser.record_id = left_out.loser_id
order by left_out.row_no, left_out.loser_id
"""


def _write_details(connection: duckdb.DuckDBPyConnection, answers: list[tuple[str, ...]], in_german: list[str], folder: Path) -> None:
    names = ("verdicts", "reasons", "contacts", "bound", "recommended", "masters", "losers")
    columns: dict[str, list[Any]] = {name: [answer[place] for answer in answers] for place, name in enumerate(names)}
    columns |= {"row_nos": list(range(1, len(answers) + 1)), "in_german": in_german}
    connection.execute(f"create table main.shown as {_ROWS}", columns)
    entered = {
        name: wide(connection, f"""select contact_id, salesforce_field, "value" from main.entered where is_before = {is_before}""", "Id")
        for name, is_before in ((BEFORE, True), (AFTER, False))
    }
    for query, name, options in (
        ("from main.shown order by row_no", ROWS, "parquet"),
        (_LEFT_OUT, LEFT_OUT, "parquet"),
        (_CONVERSIONS, CONVERSIONS, "csv, header"),
        *((query, name, "csv, header") for name, query in entered.items()),
    ):
        connection.execute(f"copy ({query}) to {literal(str(folder / name))} (format {options})")
