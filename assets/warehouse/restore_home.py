"""Puts a backup in the place of a home. The home is the old one or the new one, whenever the process is killed.

    restoring-<time>/     the files of the backup, copied and checked; without restoring.json beside it, it is a leftover
    restoring.json        from here on the new home counts: whoever takes the lock next finishes what is left to do
    replaced-<time>/      what was in their place before; nobody but a person removes it

Everything that can go wrong is tried before restoring.json is written. After it come renames within one disk, and SQLite's own transaction.
"""

import difflib
import json
import logging
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from assets.files import sync_folder, write_whole
from assets.problems import MachineProblem, WarehouseProblem
from assets.sqlite import copy_sqlite, is_damaged_sqlite
from assets.warehouse.backup import (
    DECISIONS,
    OF_PEOPLE,
    POLICY,
    WAREHOUSE,
    BackupProblem,
    Decisions,
    Home,
    as_owner_of,
    check_room,
    copy_file,
    machine_problem,
    make_folders,
    note_backup,
    read_backup,
)
from assets.warehouse.damage import CHECKSUM, FORMER_CHECKSUM, LAST_BACKUP, MARK, damage_of, note_checksum

log = logging.getLogger("bindwatch")

RESTORING = "restoring.json"
RESTORED_POLICY = f"{POLICY}.restored"
STAGED, REPLACED = "restoring-", "replaced-"
# What a home is made of. Of these, what the backup has takes the place of what is there; what it has not is set aside, too: pulls in landing
# and the published snapshot are of the replaced warehouse. Dagster's history, the key of the desk and the lock stay.
_SIDECARS = tuple(f"{DECISIONS}{ending}" for ending in ("-journal", "-wal", "-shm"))
_PARTS = ("published", "landing", f"{WAREHOUSE}.wal", f"{WAREHOUSE}.tmp", WAREHOUSE, "certified", *OF_PEOPLE, RESTORED_POLICY, CHECKSUM, FORMER_CHECKSUM, MARK)


@dataclass(frozen=True)
class Restored:
    """What came of it. replaced: where the former contents are, None when there were none; notes: what a person should know or do."""

    replaced: Path | None
    notes: list[str]


def check_backup(folder: Path, schema: int) -> dict[str, Any]:
    """The manifest of a backup of which every byte was read: the files are what was saved, the warehouse can be opened and is whole.

    schema: the one that this Bindwatch knows. Raises BackupProblem, and changes nothing.
    """
    manifest = read_backup(folder)
    path = folder / WAREHOUSE
    try:
        if (manifest["schema"] or 0) > schema:
            raise BackupProblem(
                f"{folder} holds a warehouse of a newer Bindwatch (schema {manifest['schema']}, this one knows {schema}). Nothing was changed. Update it."
            )
        what = damage_of(path)
        if what is None:
            with closing(duckdb.connect(str(path), read_only=True)) as connection:
                read_tables(connection)
    except OSError as error:
        raise BackupProblem(f"{path} cannot be read ({error.strerror}). Nothing was changed.") from error
    except duckdb.Error as error:
        what = str(error).splitlines()[0]
    if what is not None:
        raise BackupProblem(f"{path} was damaged already when it was saved: {what}. Nothing was changed. Take another backup.")
    return manifest


def read_tables(connection: duckdb.DuckDBPyConnection) -> int:
    """Reads every value of every table, and returns how many tables there are. An error of DuckDB names what cannot be read."""
    tables = connection.execute("select schema_name, table_name from duckdb_tables() where not temporary order by all").fetchall()
    for schema, table in tables:
        connection.execute(f'select bit_xor(hash(t)) from "{schema}"."{table}" as t').fetchone()
    return len(tables)


def restore_home(warehouse: Home, folder: Path, manifest: dict[str, Any], policy: Path, store: Decisions) -> Restored:
    """Puts the backup in the place of the home. manifest: as check_backup returned it; policy: the one in force here, which stays.

    Raises BackupProblem, HomeInUse or MachineProblem: then the home is as it was.
    """
    home = warehouse.home
    made = [path for path in (home, *home.parents) if not path.exists()]
    try:
        for path in reversed(made):
            path.mkdir(0o700)
        with warehouse.guard("restore"):
            store.belongs_to(manifest.get("home_id"))
            missing = store.missing_from(folder / DECISIONS) if store.is_elsewhere and DECISIONS in manifest["files"] else 0
            stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
            _remove_leftovers(home)
            staged, replaced = home / f"{STAGED}{stamp}", home / f"{REPLACED}{stamp}"
            differs = _how_policy_differs(folder, manifest, policy)
            try:
                _stage(home, folder, manifest, staged, with_policy=bool(differs))
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
            new = sorted(path.name for path in staged.iterdir())
            write_whole(home / RESTORING, json.dumps({"staged": staged.name, "replaced": replaced.name, "new": new}), 0o600)
            as_owner_of(home, home / RESTORING)
            finish_restore(home)
            notes = _tell_of_decisions(store, folder, manifest, missing)
            if not (home / LAST_BACKUP).exists():
                note_backup(home, manifest["made_at"], folder)
    except BaseException as error:
        if made and not (home / RESTORING).exists() and not (home / WAREHOUSE).exists():
            shutil.rmtree(made[-1], ignore_errors=True)
        if isinstance(error, OSError):
            raise machine_problem(error, home) from error
        raise
    if differs:
        notes.append(differs + f"\nThe policy of the backup is {home / RESTORED_POLICY}. {policy} was not changed: take over what you want of it.")
    return Restored(replaced if replaced.exists() else None, notes)


def _stage(home: Path, folder: Path, manifest: dict[str, Any], staged: Path, with_policy: bool) -> None:
    """Copies the backup into the home, beside what is there, and holds each copy against its checksum."""
    size = sum(file["bytes"] for file in manifest["files"].values())
    of_decisions = (home / DECISIONS).stat().st_size if (home / DECISIONS).exists() else 0
    check_room(home, size + 2 * of_decisions + (1 << 20))
    staged.mkdir(0o700)
    for name, said in manifest["files"].items():
        if name == POLICY and not with_policy:
            continue
        target = staged / (RESTORED_POLICY if name == POLICY else name)
        make_folders(target.parent)
        found = dict(zip(("bytes", "sha256"), copy_file(folder / name, target), strict=True))
        if found != said:
            raise BackupProblem(f"{folder / name} could not be copied as it was saved: the disk of one of them may be failing. Nothing was changed.")
    write_whole(staged / MARK, json.dumps({"restored_from": str(folder), "made_at": manifest["made_at"]}), 0o600)
    note_checksum(staged / WAREHOUSE)
    for path in [*staged.rglob("*"), staged]:
        as_owner_of(home, path)
        if path.is_dir():
            sync_folder(path)


def _remove_leftovers(home: Path) -> None:
    """Copies of a restore that was killed before it counted."""
    for path in home.glob(f"{STAGED}*"):
        if path.is_dir():
            shutil.rmtree(path)


def finish_restore(home: Path) -> None:
    """Goes on with a restore that counts, from wherever it is. The caller holds the lock of the home."""
    try:
        note = json.loads((home / RESTORING).read_text("utf-8"))
        staged, replaced = home / note["staged"], home / note["replaced"]
    except (ValueError, KeyError, TypeError) as error:
        raise MachineProblem(
            f"{home / RESTORING} is damaged, so a restore that was interrupted cannot go on. What is to be put in place is in {home}/{STAGED}…, what was there "
            f"before in {home}/{REPLACED}…. Move both and {RESTORING} away, and run `bindwatch restore-home` again."
        ) from error
    try:
        replaced.mkdir(0o700, exist_ok=True)
        as_owner_of(home, replaced)
        try:
            _replace_decisions(home, staged, replaced, DECISIONS in note["new"])
        except BaseException:
            if not any(_moved(replaced)):  # nothing has been touched yet, and SQLite has taken its own back
                (home / RESTORING).unlink()
                shutil.rmtree(staged, ignore_errors=True)
                shutil.rmtree(replaced, ignore_errors=True)
            raise
        for name in _PARTS:
            is_in_place = name in note["new"] and not (staged / name).exists()
            if not is_in_place and os.path.lexists(home / name):
                (home / name).rename(replaced / name)
        sync_folder(replaced)
        sync_folder(home)
        for name in note["new"]:
            if (staged / name).exists():
                (staged / name).rename(home / name)
        sync_folder(home)
        (home / RESTORING).unlink()
        sync_folder(home)
        shutil.rmtree(staged, ignore_errors=True)
        if not any(replaced.iterdir()):
            replaced.rmdir()
    except sqlite3.Error as error:
        raise MachineProblem(f"{home / DECISIONS} could not be replaced ({error}). Run `bindwatch restore-home` again when nothing else uses it.") from error
    except OSError as error:
        if not (home / RESTORING).exists():
            raise
        what = f"{error.filename or home}: {error.strerror}"
        raise MachineProblem(f"The restore of {home} is not finished ({what}). Mend that; the next `bindwatch run` or `restore-home` finishes it.") from error
    log.info("%s was restored", home)


def _moved(replaced: Path) -> list[Path]:
    return [path for path in replaced.iterdir() if not path.name.startswith(DECISIONS)]


def _replace_decisions(home: Path, staged: Path, replaced: Path, is_new: bool) -> None:
    """The desk may have the file open: so its content is replaced, in a transaction of SQLite, and not the file. A damaged file is set aside."""
    path, kept = home / DECISIONS, replaced / DECISIONS
    if is_new and not (staged / DECISIONS).exists():
        return
    if path.exists() and not kept.exists():
        copy = replaced / f"{DECISIONS}.copying"
        copy.unlink(missing_ok=True)
        try:
            copy_sqlite(path, copy)
        except sqlite3.DatabaseError as error:
            if not is_damaged_sqlite(error):
                raise
            copy.unlink(missing_ok=True)
            is_new_file = True
        else:
            copy.chmod(0o600)
            as_owner_of(home, copy)
            copy.rename(kept)
            is_new_file = not is_new
        if is_new_file:
            for name in (DECISIONS, *_SIDECARS):
                if (home / name).exists():
                    (home / name).replace(replaced / name)
    if is_new and path.exists():
        copy_sqlite(staged / DECISIONS, path)
        (staged / DECISIONS).unlink()
    elif is_new:
        (staged / DECISIONS).rename(path)
    sync_folder(home)


def _tell_of_decisions(store: Decisions, folder: Path, manifest: dict[str, Any], missing: int) -> list[str]:
    if not store.is_elsewhere or not missing:
        return []
    try:
        missing = store.missing_from(folder / DECISIONS, add_to_empty=True)
    except WarehouseProblem as error:
        return [f"The home was restored, its decisions were not put into PostgreSQL. {error} Run `bindwatch restore-home` again."]
    if not missing:
        return [f"{store.where} held no decision: those of the backup were put in."]
    return [
        f"{store.where} holds decisions, so nothing was written there; {missing:,} decisions of the backup are not in it as they were saved. "
        f"They are in {folder / DECISIONS}, table bindwatch_decision."
    ]


def _how_policy_differs(folder: Path, manifest: dict[str, Any], policy: Path) -> str:
    """A diff from the policy in force to the one of the backup; empty when they are the same, or the backup holds none."""
    if POLICY not in manifest["files"]:
        return ""
    saved = (folder / POLICY).read_bytes()
    here = policy.read_bytes() if policy.is_file() else b""
    if saved == here:
        return ""
    if not policy.is_file():
        return f"There is no policy at {policy}: `bindwatch run` needs one."
    old, new = (text.decode("utf-8", "replace").splitlines() for text in (here, saved))
    return "\n".join(["The policy in force differs from that of the backup:", *difflib.unified_diff(old, new, str(policy), "of the backup", lineterm="", n=0)])
