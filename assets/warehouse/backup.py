"""A backup: everything of a home that cannot be had again, in a folder of its own, with checksums.

    backup.json          what the rest is, written last: a folder without it is no backup
    warehouse.duckdb     checkpointed, so no write-ahead log belongs to it
    decisions.sqlite     also where the decisions are kept in PostgreSQL
    certified/  merge-plans/  alerts.json  demo-world   as far as the home has them
    bindwatch.toml       the policy, as far as there is one

Who holds the lock of the home copies the warehouse and what only a run writes; everything else can be copied at any time. So while a run goes
on, `bindwatch backup` leaves a request in the home, and the run answers it after its next commit (`answer_requests`).
"""

import errno
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import duckdb

from assets.files import is_sealed, sealed, sync_file, sync_folder, write_whole
from assets.problems import DamagedWarehouse, HomeInUse, MachineProblem, Problem, said
from assets.sqlite import is_damaged_sqlite
from assets.warehouse.damage import (
    LAST_BACKUP,
    checksum_of,
    damage_of,
    damaged,
    forget_checksum,
    log_of,
    missing,
    note_checksum,
    noted_checksum,
    open_file,
    sign_of_runs,
)

log = logging.getLogger("bindwatch")

FORMAT = 1
MANIFEST = "backup.json"
WAREHOUSE = "warehouse.duckdb"
DECISIONS = "decisions.sqlite"
POLICY = "bindwatch.toml"
LOCK = "run.lock"  # in the home; whoever writes there holds it
REQUESTS = "backup-requests"  # in the home, while somebody waits
OF_THE_RUN = (WAREHOUSE, "certified")  # written by runs alone: copied by who holds the lock
OF_PEOPLE = ("merge-plans", "alerts.json", "demo-world")
LONGEST_WAIT = 6 * 3600.0  # for a commit of a run: a first pull of a large portal takes hours between two
_POLL = 0.5
_CHUNK = 1 << 22
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Tell = Callable[[str], None]


class BackupProblem(Problem):
    """A folder that cannot take a backup, or is none: nothing was changed."""

    exit_code = 2


class Home(Protocol):
    """What a backup needs of the warehouse: its folder, and the lock that keeps runs off it."""

    home: Path

    def guard(self, why: Literal["run", "backup", "restore"] = "run") -> AbstractContextManager[None]: ...


class Decisions(Protocol):
    """What a backup needs of the decisions store (assets/published/decisions.py says what each does)."""

    @property
    def is_elsewhere(self) -> bool: ...
    @property
    def whose(self) -> str | None: ...
    def belongs_to(self, name: str | None) -> None: ...
    @property
    def where(self) -> str: ...
    def save(self, target: Path) -> int | None: ...
    def missing_from(self, saved: Path, add_to_empty: bool = False) -> int: ...


class _Withdrawn(Exception):
    """Who asked for the backup no longer waits for it."""


@dataclass(frozen=True)
class Backup:
    """A backup that was made. notes: what a person should know of it."""

    folder: Path
    manifest: dict[str, Any]
    notes: list[str]

    @property
    def bytes(self) -> int:
        return sum(file["bytes"] for file in self.manifest["files"].values())


def back_up(warehouse: Home, folder: Path, policy: Path, store: Decisions, tell: Tell, longest_wait: float = LONGEST_WAIT) -> Backup:
    """Makes a backup of the home in `folder`, which must not be there or be empty.

    While a run goes on, that run makes it at its next commit; tell: says so. Raises BackupProblem (folder, or home without anything in it),
    DamagedWarehouse, MachineProblem. A half backup is removed, and never has a manifest.
    """
    home = warehouse.home
    _check_home(home)
    with _new_folder(folder, home):
        files = _have_state_saved(warehouse, folder, tell, longest_wait)
        files |= {name: file for part in OF_PEOPLE for name, file in copy_part(home, folder, part).items()}
        if policy.is_file():
            files |= _copy_one(policy, folder / POLICY, POLICY)
        state = _state_of(folder / WAREHOUSE)
        store.belongs_to(state["home_id"])
        decisions, notes = _save_decisions(store, folder)
        files |= decisions
        if POLICY not in files:
            notes.append(f"There is no policy at {policy}, so the backup holds none: `bindwatch run` needs one.")
        manifest = sealed(
            {
                "format": FORMAT, "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "bindwatch": version("bindwatch"), "home": str(home),
                **state, "decisions_from": "PostgreSQL" if decisions and store.is_elsewhere else "the home" if decisions else None, "files": files,
            }
        )  # fmt: skip
        for path in [*folder.rglob("*"), folder]:
            if path.is_dir():
                sync_folder(path)
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=1), 0o600)
    try:
        note_backup(home, manifest["made_at"], folder)
    except OSError as error:
        notes.append(f"{home / LAST_BACKUP} cannot be written ({error.strerror}): `bindwatch doctor` does not know of this backup.")
    return Backup(folder, manifest, notes)


def note_backup(home: Path, made_at: str, folder: Path) -> None:
    """Remembers in the home when and where its last backup was made."""
    write_whole(home / LAST_BACKUP, json.dumps({"made_at": made_at, "folder": str(folder)}), 0o600)
    as_owner_of(home, home / LAST_BACKUP)


def as_owner_of(home: Path, path: Path) -> None:
    """What root writes into somebody's home belongs to that person: the next run could not use it else."""
    owner = home.stat()
    if os.geteuid() == 0 and (owner.st_uid, owner.st_gid) != (0, 0):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _check_home(home: Path) -> None:
    if not home.is_dir():
        raise BackupProblem(f"There is no home at {home}: nothing to back up. Set BINDWATCH_HOME to the folder that your runs write.")
    try:
        is_there = (home / WAREHOUSE).exists()
        sign = sign_of_runs(home)
    except OSError as error:
        raise machine_problem(error, home) from error
    if is_there:
        return
    if sign is not None:
        raise missing(home / WAREHOUSE, sign)
    if is_free(home):
        raise BackupProblem(f"No run has taken place in {home}: nothing to back up. Is BINDWATCH_HOME the folder that your runs write?")


def is_free(home: Path) -> bool:
    """Does nobody hold the lock of this home: no run, backup or restore?"""
    return not (home / LOCK).exists() or _is_unlocked(home / LOCK)


def _is_unlocked(lock: Path) -> bool:
    """Takes and leaves it."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _new_folder(folder: Path, home: Path) -> Iterator[None]:
    """An empty folder that nobody else may read. When what is done with it fails, it is as it was before."""
    if folder.resolve().is_relative_to(home.resolve()):
        raise BackupProblem(
            f"{folder} is inside the home {home}: what takes the home would take the backup. Name a folder elsewhere, on another disk if you can."
        )
    made: list[Path] = []
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        if folder.is_dir() and any(folder.iterdir()):
            half = "" if (folder / MANIFEST).exists() or not (folder / WAREHOUSE).exists() else " It holds a backup that was not finished: remove it."
            raise BackupProblem(f"{folder} is not empty.{half} Nothing was written. Name a new folder.")
        for path in reversed(made):
            path.mkdir(0o700)
        if not made and folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
        probe = folder / ".write"
        probe.touch(0o600)
        probe.unlink()
    except OSError as error:
        _remove_empty(made)
        if error.errno in _NO_ROOM:
            raise machine_problem(error, folder) from error
        raise BackupProblem(f"{folder} cannot be written ({error.strerror}). Nothing was written. Name another folder.") from error
    try:
        yield
    except BaseException as error:
        for path in folder.iterdir() if folder.is_dir() else []:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        _remove_empty(made)
        if isinstance(error, OSError):
            raise machine_problem(error, folder) from error
        raise


def _remove_empty(folders: list[Path]) -> None:
    for path in folders:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def machine_problem(error: OSError, place: Path) -> MachineProblem:
    """An error of the operating system in words: which file, what it is, what to do."""
    what = f"{error.filename or place}: {error.strerror or type(error).__name__}"
    if error.errno in _NO_ROOM:
        return MachineProblem(f"There is no room left for {place}. What was half written was removed. Make room, or name a folder on a larger disk. ({what})")
    who = f" This process runs as user {os.geteuid()}." if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else ""
    return MachineProblem(f"{what}.{who} Nothing was changed. Give access to it, and try again.")


def check_room(place: Path, needed: int) -> None:
    """Raises MachineProblem when the disk of `place` has less free than that."""
    free = shutil.disk_usage(place).free
    if free < needed:
        raise MachineProblem(
            f"There is no room for it in {place}: {in_words(needed)} are needed, {in_words(free)} are free, "
            f"{in_words(needed - free)} are missing. Nothing was changed."
        )


def in_words(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


# ── copying ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def copy_part(home: Path, folder: Path, part: str, go_on: Callable[[], None] = lambda: None) -> dict[str, dict[str, Any]]:
    """Copies a file, or all files of a folder, of the home; nothing when the home has none. Returns bytes and sha256 of each."""
    start = home / part
    if start.is_file():
        return _copy_one(start, folder / part, part, go_on)
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(start.rglob("*")) if start.is_dir() else []:
        if path.is_file() and not path.name.startswith("."):
            name = str(path.relative_to(home))
            files |= _copy_one(path, folder / name, name, go_on)
    return files


def _copy_one(source: Path, target: Path, name: str, go_on: Callable[[], None] = lambda: None) -> dict[str, dict[str, Any]]:
    make_folders(target.parent)
    size, digest = copy_file(source, target, go_on)
    return {name: {"bytes": size, "sha256": digest}}


def make_folders(folder: Path) -> None:
    if not folder.exists():
        make_folders(folder.parent)
        folder.mkdir(0o700)


def copy_file(source: Path, target: Path, go_on: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Copies a file, readable by its owner alone, and has it on the disk when this returns. Returns its size and sha256.

    go_on: called before each piece; what it raises ends the copying.
    """
    digest, size = sha256(), 0
    with source.open("rb") as reader, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writer:
        while True:
            go_on()
            piece = reader.read(_CHUNK)
            if not piece:
                break
            digest.update(piece)
            writer.write(piece)
            size += len(piece)
        writer.flush()
        os.fsync(writer.fileno())
    return size, digest.hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """Bytes and sha256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}


def _save_state(home: Path, folder: Path, connection: duckdb.DuckDBPyConnection | None, go_on: Callable[[], None] = lambda: None) -> dict[str, dict[str, Any]]:
    """Copies what only runs write, and makes sure that no block of the warehouse is damaged. The caller holds the lock of the home.

    connection: to the warehouse, when this process has it open. The file is never brought to a newer schema here.
    """
    path = home / WAREHOUSE
    if connection is not None:
        connection.execute("checkpoint")
    elif not path.exists():
        raise BackupProblem(f"No run has taken place in {home}: nothing to back up. Is BINDWATCH_HOME the folder that your runs write?")
    elif log_of(path).exists():
        forget_checksum(home)
        with closing(open_file(path)) as opened:
            opened.execute("checkpoint")
        note_checksum(path)
    _remove_state(folder)  # of a run that was killed while it copied
    check_room(folder, path.stat().st_size + (1 << 20))
    files = {name: file for part in OF_THE_RUN for name, file in copy_part(home, folder, part, go_on).items()}
    what = damage_of(folder / WAREHOUSE)
    if what is not None:
        raise damaged(path, what)
    if connection is None and noted_checksum(home) not in (None, checksum_of(folder / WAREHOUSE)):
        log.warning("%s was changed since the last run left it, by another program or by a failing disk. It was saved as it is.", path)
    return files


def _remove_state(folder: Path) -> None:
    for name in OF_THE_RUN:
        shutil.rmtree(folder / name, ignore_errors=True) if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)


def _state_of(path: Path) -> dict[str, Any]:
    """What the manifest says of the warehouse: its schema, and the last run that ended. Opening the copy shows that it can be opened."""
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        schema = connection.execute("select max(version) from main.schema_version").fetchone()
        run = connection.execute("select run_id, verdict, finished_at from main.run order by finished_at desc limit 1").fetchone()
        named = connection.execute("select 1 from duckdb_tables() where schema_name = 'main' and table_name = 'home'").fetchone()
        name = connection.execute("select id from main.home").fetchone() if named else None
    return {
        "schema": schema[0] if schema else None,
        "home_id": name[0] if name else None,
        "run": {"run_id": run[0], "verdict": run[1], "ended_at": f"{run[2]:%Y-%m-%dT%H:%M:%SZ}"} if run else None,
    }


def _save_decisions(store: Decisions, folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Copies the decisions, whole at one moment, also while people decide. Nothing when there are none."""
    target = folder / DECISIONS
    try:
        count = store.save(target)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        if is_damaged_sqlite(error):
            raise DamagedWarehouse(f"{store.where} is damaged ({error}): no backup was made. Put {DECISIONS} of the last backup in its place.") from error
        raise MachineProblem(f"{store.where} cannot be read ({error}): no backup was made. Give access to it, and try again.") from error
    if count is None:
        return {}, ["No decisions: nobody has decided anything in this home."]
    target.chmod(0o600)
    sync_file(target)
    notes = []
    if store.is_elsewhere:
        notes.append(
            f"The {count:,} decisions were read from {store.where}, and are a file in the backup. restore-home puts them into an empty PostgreSQL table; "
            "into one that holds decisions it writes nothing, and says what is missing there."
        )
    return {DECISIONS: describe(target)}, notes


# ── while a run goes on ──────────────────────────────────────────────────────────────────────────────────────────────────────────
#
#   backup-requests/<id>.json     the folder; whoever waits holds a lock on it, so a request of a dead process is known as such
#   backup-requests/<id>.answer   what came of it


def _have_state_saved(warehouse: Home, folder: Path, tell: Tell, longest_wait: float) -> dict[str, dict[str, Any]]:
    """Saves what only runs write: itself when the lock is free, else through the run that holds it."""
    home = warehouse.home
    try:
        with warehouse.guard("backup"):
            return _save_state(home, folder, None)
    except HomeInUse:
        tell(f"A run is going on in {home}: it makes the backup at its next commit. Waiting; Ctrl-C withdraws the request.")
    as_owner_of(home, folder)  # the run writes there
    with _request(home, folder) as answer:
        until = time.monotonic() + longest_wait
        while time.monotonic() < until:
            if answer.exists():
                return _read_answer(answer)
            try:
                with warehouse.guard("backup"):
                    return _read_answer(answer) if answer.exists() else _save_state(home, folder, None)
            except HomeInUse:
                time.sleep(_POLL)
    raise HomeInUse(f"The run in {home} has come to no commit within {longest_wait / 3600:g} hours. No backup was made. Ask again, or when it has ended.")


@contextmanager
def _request(home: Path, folder: Path) -> Iterator[Path]:
    """A request that stands as long as this process waits. Yields the file in which the answer will be."""
    requests = home / REQUESTS
    requests.mkdir(mode=0o700, exist_ok=True)
    as_owner_of(home, requests)
    name = uuid.uuid4().hex[:12]
    request, answer = requests / f"{name}.json", requests / f"{name}.answer"
    hidden = requests / f".{name}"
    with hidden.open("w", encoding="utf-8") as file:
        json.dump({"folder": str(folder)}, file)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        as_owner_of(home, hidden)
        hidden.rename(request)  # seen by the run only when it is whole and locked
        try:
            yield answer
        finally:
            request.unlink(missing_ok=True)
            answer.unlink(missing_ok=True)
            _remove_if_empty(requests)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # another request is in it


def _read_answer(path: Path) -> dict[str, dict[str, Any]]:
    answer = json.loads(path.read_text("utf-8"))
    if answer["problem"] is None:
        return dict(answer["files"])
    raise MachineProblem(answer["problem"], answer["exit_code"])


def answer_requests(home: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """In the process of a run, after a commit: makes the backups that were asked for. Whatever goes wrong is told to who asked, and no harm to the run."""
    for request in sorted((home / REQUESTS).glob("*.json")):
        if request.with_suffix(".answer").exists():
            continue  # whoever asked has not read it yet
        try:
            _answer(home, connection, request)
        except Exception as error:  # a run does not end because of a backup
            log.warning("a backup that was asked for in %s could not be answered (%s: %s)", request, type(error).__name__, said(error))


def _answer(home: Path, connection: duckdb.DuckDBPyConnection, request: Path) -> None:
    if _is_unlocked(request):
        request.unlink(missing_ok=True)
        log.info("a backup was asked for by a process that is gone: nothing was made")
        return
    folder = Path(json.loads(request.read_text("utf-8"))["folder"])

    def go_on() -> None:
        if not request.exists():
            raise _Withdrawn

    files: dict[str, dict[str, Any]] = {}
    problem, exit_code = None, 3
    try:
        files = _save_state(home, folder, connection, go_on)
    except _Withdrawn:
        log.info("the backup in %s is no longer wanted: stopped", folder)
        _remove_state(folder)
        return
    except Problem as error:
        problem, exit_code = str(error), error.exit_code
    except OSError as error:
        problem = str(machine_problem(error, folder))
    except duckdb.TransactionException:
        return  # another cursor of this run reads: after the next commit, then
    except duckdb.Error as error:
        problem = f"The run could not save its warehouse: {type(error).__name__} {said(error)}"
    log.info("a backup was asked for: %s", f"the warehouse was copied to {folder}" if problem is None else problem)
    if request.exists():
        write_whole(request.with_suffix(".answer"), json.dumps({"files": files, "problem": problem, "exit_code": exit_code}), 0o600)


# ── reading one ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_backup(folder: Path) -> dict[str, Any]:
    """The manifest of a backup, after every file of it was held against its size and checksum. Raises BackupProblem when one does not fit."""
    manifest = _read_manifest(folder)
    for name, noted in manifest["files"].items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BackupProblem(f"{folder} is not whole: {name} is missing. Nothing was changed. Take another backup.")
        try:
            found = describe(path)
        except OSError as error:
            raise BackupProblem(f"{path} cannot be read ({error.strerror}). Nothing was changed.") from error
        if found != noted:
            how = (
                f"has {found['bytes']:,} bytes instead of {noted['bytes']:,}"
                if found["bytes"] != noted["bytes"]
                else "has another checksum than when it was saved"
            )
            raise BackupProblem(f"{folder} is damaged: {name} {how}. Nothing was changed. Take another backup.")
    return manifest


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BackupProblem(f"{folder} is not a folder. Nothing was changed. Name the folder that `bindwatch backup` made.")
    if not path.is_file():
        raise BackupProblem(f"{folder} is not a backup, or one that was not finished: it has no {MANIFEST}. Nothing was changed.")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        is_good = is_sealed(manifest)
    except OSError as error:
        raise BackupProblem(f"{path} cannot be read ({error.strerror}). Nothing was changed.") from error
    except ValueError:
        is_good = False
    if not is_good:
        raise BackupProblem(f"{path} is damaged: its own checksum does not hold. Nothing was changed. Take another backup.")
    if manifest["format"] != FORMAT:
        raise BackupProblem(f"{folder} was made by a newer Bindwatch ({manifest['bindwatch']}). Nothing was changed. Update Bindwatch.")
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in manifest["files"]) or WAREHOUSE not in manifest["files"]:
        raise BackupProblem(f"{path} names files that no backup holds. Nothing was changed.")
    return dict(manifest)
