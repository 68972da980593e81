"""Which tables a run has to build: those that read what is another than when they were built last, those whose time has come, and what reads these.

`main.built` remembers, of every table that models and checks read and do not build, a digest of what it held; of every one that they build, a digest of
its SQL, and the moment from which on it may be another although nothing came (`due:` in its header). What runs themselves leave behind (_OF_RUNS)
has no digest: it grows with every run, so whoever reads it says when that matters. A test holds every file to that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb

from assets.models.sqlfile import CheckFile, SqlFile, model_files, tables_in
from assets.sql import SQL_FOLDER, count

VIOLATION, FINDING = "review.violation", "review.finding"
OF_RUNS = frozenset({
    "main.run", "main.current_run", "main.run_clock", "main.crm_clock", "main.clock_went_back", "main.object_count", "main.shrink_in_force", "main.ledger",
    "main.finding_event", "main.planned_merge_event", "main.prediction", "main.prediction_tally", "raw.pull",
})  # fmt: skip
_REMEMBERED = OF_RUNS - {"raw.pull"}  # by runs that were proven
_GROWING = {
    "raw.salesforce_lead", "raw.salesforce_contact", "raw.hubspot_contact", "raw.hubspot_property_version", "raw.presence", "raw.hubspot_history_read",
    "raw.salesforce_history_read",
}  # fmt: skip
# columns that say which pull told it last, not what it told
_NOT_TOLD = {"raw.salesforce_user": "pull", "raw.hubspot_owner": "pull", "raw.hubspot_list_member": "pull_no", "raw.set_aside": "pull_no"}
_ALL = ""
_NOT_PROVEN = "the run before was not proven"
_ASSETS = Path(__file__).parent.parent
_CODE = (_ASSETS / "models", _ASSETS / "published", _ASSETS.parent / "expectations")
_SPOKEN = (_ASSETS / "sentences.py", _ASSETS / "languages.toml")


@dataclass(frozen=True)
class Standing:
    """What has to be built, and why.

    digests: of everything that is read or built, as it is now; stale: the tables to be built; because: the reason, in words; None when nothing has to be
    built. Where a part is built: told, what is read and is another than when they were built; due, the tables whose time has come; since, the last pull that
    they know. former: how it would be, had not everything been asked for.
    """

    files: Sequence[SqlFile]
    checks: Sequence[CheckFile]
    digests: dict[str, str]
    stale: frozenset[str]
    because: str | None
    told: frozenset[str] = frozenset()
    due: frozenset[str] = frozenset()
    since: int | None = None
    former: Standing | None = None

    @property
    def fresh(self) -> frozenset[str]:
        return frozenset(file.table for file in self.files) - self.stale

    def note(self, connection: duckdb.DuckDBPyConnection, built: Collection[str]) -> None:
        """Remembers what was built. In the transaction of the build."""
        rows: list[list[Any]] = []
        # when a table falls due may follow from one that is built of it
        another = {file.table for file in self.files if file.table in built and "always" not in file.due}
        for file in self.files:
            asked = [query for one in ([file, *self.checks] if file.table == VIOLATION else [file]) for query in queries(one)]
            if file.table in built or any(tables_in(query) & another for query in asked):
                moments = [moment for query in asked if (moment := _moment(connection, query)) is not None]
                rows.append([file.table, self.digests[file.table], min(moments, default=None)])
        rows += [[name, digest, None] for name, digest in self.digests.items() if name not in {file.table for file in self.files}]
        connection.execute("delete from main.built where name in (select unnest(?::varchar[]))", [[row[0] for row in rows]])
        connection.executemany("insert into main.built select ?, ?, ?, run_id from main.current_run", rows)


def stand(connection: duckdb.DuckDBPyConnection, checks: Sequence[CheckFile], sql_folder: Path = SQL_FOLDER, everything: bool = False) -> Standing:
    """What the run that is going on has to build. everything: whatever stands there."""
    files = model_files(sql_folder, checks)
    digests = _digests(connection, files, checks)
    standing = _stale(connection, files, checks, digests)
    if everything:
        return replace(
            standing,
            stale=frozenset(file.table for file in files),
            because=standing.because or "everything was asked for",
            former=standing if standing.since is not None else None,
        )
    return standing


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """The next run builds everything."""
    connection.execute("delete from main.built")


def last_build(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The run that built last, when it came to its end: the next one may build upon its tables. Of one that is no ground to build upon, close_run has
    forgotten what it built.
    """
    row = connection.execute("select run_id from main.built inner join main.run using (run_id) where name = ?", [_ALL]).fetchone()
    return row[0] if row else None


def queries(file: SqlFile) -> list[str]:
    """The queries for the moment from which on it may be another."""
    return [text for text in file.due if text != "always" and not text.startswith("never")]


def _stale(connection: duckdb.DuckDBPyConnection, files: Sequence[SqlFile], checks: Sequence[CheckFile], digests: dict[str, str]) -> Standing:
    every = frozenset(file.table for file in files)

    def all_because(why: str) -> Standing:
        return Standing(files, checks, digests, every, why)

    known = {name: (digest, due_at) for name, digest, due_at in connection.execute("select name, digest, due_at from main.built").fetchall()}
    built_by = last_build(connection)
    if built_by is None:
        return all_because("no run that came to its end has built before")
    if known[_ALL][0] != digests[_ALL]:
        return all_because("another version of Bindwatch built before")
    row = connection.execute(
        "select clock.as_of, built.as_of, last_pull_no, verdict <> 'unproven' from main.run_clock as clock cross join main.run as built where built.run_id = ?",
        [built_by],
    ).fetchone()
    assert row is not None  # a run is going on, and that one came to its end
    as_of, built_as_of, since, is_proven = row
    if as_of < built_as_of:
        return all_because("the clocks went back")
    changed = {name for name, digest in digests.items() if known.get(name, ("", None))[0] != digest}
    due = {name for name, (_, due_at) in known.items() if due_at is not None and due_at <= as_of}
    reads = {file.table: all_reads(file, checks) for file in files}
    # what is made in every run tells nobody by that alone that it is another
    always = {file.table for file in files if "always" in file.due}
    asked = {check.name for check in checks if "always" in check.due and _finds(connection, check, [file for file in files if file.table in always])}
    anew = {VIOLATION} if asked or not is_proven else set()
    if not is_proven:  # what that run said of itself it did not remember, so the next one says it: there is always something to judge
        anew |= {file.table for file in files if file.due and file.reads & _REMEMBERED and not queries(file)}

    def with_readers(stale: set[str]) -> set[str]:
        while more := {table for table in every - stale if reads[table] & (stale - always)}:
            stale |= more
        return stale

    stale = with_readers({table for table in every if table in changed | due | anew or reads[table] & changed}) - always
    if not stale:
        return Standing(files, checks, digests, frozenset(), None, since=since)
    because = {"changed": changed, "due": due, "found": asked}
    why = "; ".join([*(f"{why}: {', '.join(sorted(names))}" for why, names in because.items() if names), *(() if is_proven else (_NOT_PROVEN,))])
    # what a finding says of the run before is said anew whenever anything is
    built = frozenset(with_readers(stale | always | {FINDING}))
    return Standing(files, checks, digests, built, why, frozenset(changed), frozenset(due | anew | always | {FINDING}), since)


def _finds(connection: duckdb.DuckDBPyConnection, check: CheckFile, always: Iterable[SqlFile]) -> bool:
    """Does a check that speaks of the run itself find anything? Nothing of it was found by the proven run before."""
    for file in always:
        if file.table in check.reads:
            connection.execute(file.text)
    return bool(count(connection, f"select count(*) from ({check.text.rstrip().removesuffix(';')})"))


def all_reads(file: SqlFile, checks: Sequence[CheckFile]) -> frozenset[str]:
    return file.reads.union(*(check.reads for check in checks)) if file.table == VIOLATION else file.reads


def _moment(connection: duckdb.DuckDBPyConnection, query: str) -> datetime | None:
    row = connection.execute(f"select min(moment) from ({query}) as due(moment)").fetchone()
    return row[0] if row else None


def _digests(connection: duckdb.DuckDBPyConnection, files: Sequence[SqlFile], checks: Sequence[CheckFile]) -> dict[str, str]:
    built = {file.table for file in files}
    digests = {file.table: _sha([file.text]) for file in files}
    if VIOLATION in digests:
        digests[VIOLATION] = _sha([digests[VIOLATION], *(check.text for check in checks)])
    sources = frozenset().union(*(all_reads(file, checks) for file in files)) - built - OF_RUNS
    return {_ALL: _code(), **digests, **{table: _contents(connection, table) for table in sorted(sources)}}


def _contents(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """What a table holds, in few words."""
    if table in _GROWING:
        row = connection.execute(f"select count(*), max(pull_no) from {table}").fetchone()
    elif table == "raw.salesforce_field_history":  # grows, too, and each row once
        row = connection.execute(f"select count(*) from {table}").fetchone()
    else:
        told = f"select * exclude ({_NOT_TOLD[table]}) from {table}" if table in _NOT_TOLD else f"from {table}"
        row = connection.execute(f"select count(*), sum(cast(hash(told) as hugeint)) from ({told}) as told").fetchone()
    return repr(row)


@cache
def _code() -> str:
    """Of all that makes and judges tables, DuckDB too, whose digests of rows are its own."""
    paths = [*sorted(path for folder in _CODE for pattern in ("*.py", "*.sql", "*.json") for path in folder.rglob(pattern)), *_SPOKEN]
    return _sha([duckdb.__version__, *(path.read_text("utf-8") for path in paths)])


def _sha(texts: Iterable[str]) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()[:24]
