"""Dagster's own files in a home: its settings, and the history of runs and events. Nobody's memory depends on them, so damage to them ends no run."""

import logging
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from assets.files import set_aside, write_whole
from assets.postgres import detail_of, limit_waiting, shown_url
from assets.problems import ConfigurationProblem, Problem, WarehouseProblem, chain

_SMALL = 32 << 20  # bytes: a database of up to so many is read as a whole at every start, a larger one only at its ends


def prepare_folder(folder: Path, is_ours: bool, is_demo: bool = False) -> None:
    """Makes the folder and its dagster.yaml, once: then it belongs to whoever runs it. Where BINDWATCH_DAGSTER_POSTGRES_URL is set at that moment,
    runs and events are kept there.

    is_ours: it lies in the home. What cannot be read any more is set aside there and made anew. Of a Dagster that serves others, too, nothing is; and one
    that they use without a dagster.yaml is not given ours. is_demo: runs and events stay in the folder, whatever the environment says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if is_ours and settings.exists() and not _is_yaml(settings):
        set_aside(settings, "cannot be read, so it is made anew as it was at first")
    if is_demo and is_ours and settings.exists() and "postgres" in settings.read_text("utf-8"):
        set_aside(settings, "would bring the demo into a team's PostgreSQL")
    in_postgres = not is_demo and bool(os.environ.get("BINDWATCH_DAGSTER_POSTGRES_URL"))
    if not settings.exists() and (is_ours or not any(folder.iterdir())):
        names = ["dagster.yaml", "dagster-postgres.yaml" if in_postgres else "dagster-sqlite.yaml"]
        write_whole(settings, "".join((Path(__file__).parent / name).read_text("utf-8") for name in names))
    for database in _databases(folder) if is_ours else ():
        if (damage := damage_of(database)) is not None:
            set_aside_database(database, f"is damaged ({damage}): earlier runs are no longer shown in Dagster")


def check_postgres(folder: Path) -> None:
    """Raises WarehouseProblem when Dagster's history is in a PostgreSQL that cannot be used: Dagster would try for long, and answer with pages. Raises
    ConfigurationProblem when a variable that dagster.yaml names is not set.
    """
    url = _postgres_of(folder)
    if url is None:
        return
    limit_waiting()
    logging.getLogger().addFilter(_is_worth_telling)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        engine.connect().close()
    except sa.exc.DBAPIError as error:
        raise _postgres_problem(folder, error) from error


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Dagster prints what the driver says, several lines each time it tries again; what came of it is told by us."""
    return not str(record.msg).startswith("Retrying failed database")


def _postgres_of(folder: Path) -> str | None:
    """The address of the PostgreSQL that keeps Dagster's history, from its dagster.yaml."""
    settings = folder / "dagster.yaml"
    content = yaml.safe_load(settings.read_text("utf-8")) if settings.exists() and _is_yaml(settings) else None
    storage = content.get("storage") if isinstance(content, dict) else None
    if not isinstance(storage, dict) or not isinstance(storage.get("postgres"), dict):
        return None
    from dagster_postgres.utils import pg_url_from_config

    return pg_url_from_config(_with_variables(storage["postgres"], settings))


def _with_variables(value: Any, settings: Path) -> Any:
    """A part of dagster.yaml, with what it takes from the environment."""
    if not isinstance(value, dict):
        return value
    if value.keys() != {"env"}:
        return {name: _with_variables(one, settings) for name, one in value.items()}
    if not os.environ.get(value["env"]):
        raise ConfigurationProblem(f"{settings} refers to {value['env']}, which is not set. Set it, or write another storage there.")
    return os.environ[value["env"]]


def _postgres_problem(folder: Path, error: sa.exc.DBAPIError) -> WarehouseProblem:
    return WarehouseProblem(f"Dagster's storage at {shown_url(_postgres_of(folder) or '')} cannot be used: {detail_of(error)}.")


@contextmanager
def histories_of(folder: Path, is_ours: bool) -> Iterator[None]:
    """Damage deep inside a history shows when Dagster comes upon it, and so does a server that went away. Raises WarehouseProblem then; where what is
    damaged is ours, the next run begins with a new one.
    """
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        lost = next((one for one in chain(error) if isinstance(one, (sa.exc.OperationalError, sa.exc.InterfaceError))), None)
        if lost is not None and _postgres_of(folder) is not None:
            raise _postgres_problem(folder, lost) from error
        if not isinstance(error, sa.exc.DatabaseError):
            raise
        text = str(error.orig)
        if not isinstance(error.orig, sqlite3.DatabaseError) or not any(words in text for words in ("malformed", "not a database")):
            raise
        if not is_ours:
            raise WarehouseProblem(f"The history of the Dagster instance in {folder} is damaged. It may hold others' runs, so nothing was done.") from error
        for database in _databases(folder):
            set_aside_database(database, "is damaged, or belongs to one that is")
        raise WarehouseProblem(f"Dagster's history in {folder} is damaged. It was set aside: run again, what has arrived stays.") from error


def set_aside_database(database: Path, why: str) -> None:
    """A SQLite file and what belongs to it: a log that is left behind would be replayed into the next one."""
    set_aside(database, why)
    for suffix in ("-wal", "-shm", "-journal"):
        if (beside := database.with_name(f"{database.name}{suffix}")).exists():
            set_aside(beside, "belongs to it")


def damage_of(database: Path) -> str | None:
    """What is wrong with a SQLite file, in words; None when nothing is, or nothing that shows at its ends."""
    size = database.stat().st_size
    if size == 0:
        return None  # SQLite takes it for a new one
    with database.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        return "it does not begin as a SQLite file"
    page = struct.unpack(">H", head[16:18])[0]
    pages, changed, counted_at = struct.unpack(">I", head[28:32])[0], head[24:28], head[92:96]
    if changed == counted_at and pages * (65536 if page == 1 else page) > size:
        return "its end is missing"
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            connection.execute("select count(*) from sqlite_master").fetchone()
            if size <= _SMALL:
                (said,) = connection.execute("pragma quick_check(1)").fetchone()
                return None if said == "ok" else "not all of it can be read"
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            return None  # it is locked, or a log beside it has to be replayed first
        return "not all of it can be read"
    return None


def _databases(folder: Path) -> Iterator[Path]:
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        if (folder / name).exists():
            yield folder / name


def _is_yaml(path: Path) -> bool:
    try:
        return bool(yaml.safe_load(path.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
