"""A warehouse file that is damaged, told from one that another program holds or that the machine keeps from us.

DuckDB checks a block when a query reads it, so a damaged one may be met months later, and an index is checked by no query at all. Here the
file is read block by block, as DuckDB 2 lays it out: three heads of 4 kB, then blocks, each beginning with a checksum of the rest of it.
"""

import json
import logging
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import xor
from pathlib import Path

import duckdb
import xxhash

from assets.files import set_aside, write_whole
from assets.problems import DamagedWarehouse, WarehouseProblem, said

log = logging.getLogger("bindwatch")

LAST_BACKUP = "last-backup.json"  # in the home: when and where the last backup was made
MARK = "home.json"  # in the home, from the moment a run has ended in it

_HEAD = 4096
_FIRST_BLOCK = 3 * _HEAD
_SUM = 8
_NOWHERE = 2**64 - 1
_WORD = 2**64 - 1
_FACTOR = 0xBF58476D1CE4E5B9
_LARGEST_BLOCK = 1 << 20
_PARTS = 64  # of a block that holds metadata
_READ = 1 << 24

# What keeps us from a file that may well be whole: DuckDB's words for it, and the operating system's.
_NOT_THE_FILE = (
    "No space left",
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Disk quota",
    "Cannot allocate memory",
    "Stale file handle",
)


# ── the file, block by block ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Head:
    """What the current of the two heads says. free: where the list of blocks without contents begins; blocks: how many there are."""

    free: int
    blocks: int
    size: int


def damage_of(path: Path) -> str | None:
    """What is damaged in a DuckDB file, in words; None when every block is as it was written.

    Blocks that hold nothing, and those that were written after the last checkpoint, do not count. Raises OSError when it cannot be read.
    """
    head = _read_head(path)
    if isinstance(head, str):
        return head
    free = _free_blocks(path, head)
    bad = [number for number in _bad_blocks(path, head) if number not in free]
    if not bad:
        return None
    return f"{len(bad)} of its {head.blocks:,} blocks cannot be read, the first at byte {_FIRST_BLOCK + bad[0] * head.size:,}{_ending(path, head, bad)}"


def cut_of(path: Path) -> str | None:
    """The same, for a file that lacks its end or its beginning only: that is seen at once. DuckDB would open it, and write on."""
    head = _read_head(path)
    if isinstance(head, str):
        return head
    first = max(0, path.stat().st_size - _FIRST_BLOCK) // head.size  # that is not there as a whole
    lost = sorted(set(range(first, head.blocks)) - _free_blocks(path, head))
    return f"{len(lost)} of its {head.blocks:,} blocks cannot be read{_ending(path, head, lost)}" if lost else None


def _ending(path: Path, head: _Head, bad: list[int]) -> str:
    cut = sum(_FIRST_BLOCK + (number + 1) * head.size > path.stat().st_size for number in bad)
    return f", {cut} of them behind the end of the file" if cut else ""


def _read_head(path: Path) -> _Head | str:
    """The current head, or why there is none."""
    length = path.stat().st_size
    if length == 0:
        return "it is empty (0 bytes)"
    with path.open("rb") as file:
        heads = [file.read(_HEAD) for _ in range(3)]
    if len(heads[2]) < _HEAD:
        return f"it ends after {length:,} bytes"
    if any(not _is_whole(head) for head in heads) or heads[0][_SUM : _SUM + 4] != b"DUCK":
        return "its head is not that of a DuckDB file"
    _, _, free, blocks, size = max(struct.unpack_from("<5Q", one, _SUM) for one in heads[1:])  # that of the later checkpoint counts
    if not (_HEAD < size <= _LARGEST_BLOCK and size % _HEAD == 0):
        return "its head makes no sense"
    return _Head(free, blocks, size)


def _is_whole(block: bytes) -> bool:
    """DuckDB's checksum: each word of eight bytes times a constant, all of them xored."""
    if len(block) == _HEAD:  # to load numpy would take every run longer than all else that is done here
        first, *rest = struct.unpack(f"<{len(block) // 8}Q", block)
        return bool(first == reduce(xor, (word * _FACTOR & _WORD for word in rest), 5381))
    import numpy as np

    words = np.frombuffer(block, dtype="<u8")
    return bool(words[0] == np.bitwise_xor.reduce(words[1:] * np.uint64(_FACTOR)) ^ np.uint64(5381))


def _bad_blocks(path: Path, head: _Head) -> Iterator[int]:
    at_once = max(1, _READ // head.size)
    with path.open("rb") as file:
        file.seek(_FIRST_BLOCK)
        for first in range(0, head.blocks, at_once):
            content = file.read(min(at_once, head.blocks - first) * head.size)
            for number in range(first, min(first + at_once, head.blocks)):
                block = content[(number - first) * head.size : (number - first + 1) * head.size]
                if len(block) < head.size or not _is_whole(block):
                    yield number


def _free_blocks(path: Path, head: _Head) -> frozenset[int]:
    """Blocks without contents: a power cut while one was written again harms nobody. Empty when their list cannot be followed."""
    part = (head.size - _SUM) // _PARTS // 8 * 8
    content, place, seen = b"", head.free, set()
    with path.open("rb") as file:
        while place != _NOWHERE:
            number, index = place & ((1 << 56) - 1), place >> 56
            if place in seen or number >= head.blocks or index >= _PARTS:
                return frozenset()
            seen.add(place)
            file.seek(_FIRST_BLOCK + number * head.size + _SUM + index * part)
            read = file.read(part)
            if len(read) < part:
                return frozenset()
            place, content = int.from_bytes(read[:8], "little"), content + read[8:]
    if len(content) < 8:
        return frozenset()
    count = int.from_bytes(content[:8], "little")
    return frozenset(struct.unpack_from(f"<{count}Q", content, 8)) if 8 + 8 * count <= len(content) else frozenset()


# ── the file as it was left ──────────────────────────────────────────────────────────────────────────────────────────────────────
#
# DuckDB's checksum cannot tell two equal words from two others that are equal (it xors them). So who held the lock notes the checksum of the
# whole file when it is done, as `xxhsum -c` reads it, and who opens the file for writing takes the note away.

CHECKSUM = "warehouse.xxh128"
FORMER_CHECKSUM = "warehouse.sha256"  # what former versions note, and know alone


def note_checksum(path: Path) -> None:
    """Notes what the file is now, unless it was noted since it was last opened, or a log beside it says that it is not all."""
    note = path.with_name(CHECKSUM)
    try:
        if path.is_file() and not note.exists() and not log_of(path).exists():
            write_whole(note, checksum_line(checksum_of(path)), 0o600)
    except OSError as error:
        log.warning("the checksum of %s could not be noted (%s): damage to it may be seen later", path, error.strerror)


def forget_checksum(home: Path) -> None:
    """Before the warehouse is written to."""
    for note in (CHECKSUM, FORMER_CHECKSUM):
        (home / note).unlink(missing_ok=True)


def checksum_line(digest: str) -> str:
    return f"{digest}  warehouse.duckdb\n"


def checksum_of(path: Path) -> str:
    """XXH128: it is there to notice failing disks and other programs, not forgers, and reads a file as fast as memory does."""
    digest, piece = xxhash.xxh3_128(), memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(piece):
            digest.update(piece[:size])
    return digest.hexdigest()


def noted_checksum(home: Path) -> str | None:
    """The checksum that the warehouse had when the last run left it; None when nothing is known of it, or a former version wrote to it since. What a damaged
    note holds is no file's checksum.
    """
    note = home / CHECKSUM
    if not note.exists() or (home / FORMER_CHECKSUM).exists():
        return None
    line = note.read_text("utf-8", "replace")
    digest = line.partition(" ")[0]
    return digest if line == checksum_line(digest) else line


# ── opening, and errors in words ─────────────────────────────────────────────────────────────────────────────────────────────────


def log_of(path: Path) -> Path:
    """The write-ahead log of a DuckDB file: what was committed since the last checkpoint."""
    return path.with_name(f"{path.name}.wal")


def open_file(path: Path) -> duckdb.DuckDBPyConnection:
    """Opens a warehouse file that is there, for reading and writing.

    A log that cannot be replayed is set aside, and the file is opened as it was at its last checkpoint: that is a whole state of its own, and
    what the interrupted run had added since is still in landing, or is pulled again, because the watermarks stand in the same file.
    Raises DamagedWarehouse, or WarehouseProblem when another program holds the file or the machine keeps it from us.
    """
    if os.access(path, os.R_OK) and path.is_file() and (what := cut_of(path)) is not None:
        raise damaged(path, what)
    try:
        return duckdb.connect(str(path))
    except duckdb.Error as error:
        if not _is_of_the_log(error, path):
            raise _in_words(error, path) from error
    set_aside(
        log_of(path),
        "is damaged or belongs to another file and cannot be replayed. Lost is only what an interrupted run had not yet checkpointed; it is pulled again",
    )
    try:
        return duckdb.connect(str(path))
    except duckdb.Error as error:
        raise _in_words(error, path) from error


def _is_of_the_log(error: duckdb.Error, path: Path) -> bool:
    """Is it the log that cannot be used, while the file itself is whole? An error that more room or another permission would mend is none of its."""
    text = str(error)
    of_log = "WAL" in text and not isinstance(error, duckdb.OutOfMemoryException) and not any(words in text for words in _NOT_THE_FILE)
    return of_log and log_of(path).exists() and damage_of(path) is None


def _in_words(error: duckdb.Error, path: Path) -> WarehouseProblem:
    text = str(error)
    if "lock on file" in text:
        return WarehouseProblem(f"{path} is open in another program. If it is a DuckDB shell, close it and run again. DuckDB says: {said(text)}")
    if is_damage(error, path):
        return damaged(path, damage_of(path) or said(text))
    return WarehouseProblem(f"{path} cannot be opened. Nothing was changed. DuckDB says: {said(text)}")


def is_damage(error: BaseException | None, path: Path) -> bool:
    """Does this error, or what caused it, mean that the warehouse at `path` is damaged?

    An error inside DuckDB may be a mistake of DuckDB's, too: then the file itself decides.
    """
    while error is not None:
        if isinstance(error, duckdb.Error):
            text = str(error)
            if "Corrupt database file" in text or "not a valid DuckDB database file" in text:
                return True
            if "read enough bytes" in text and str(path) in text:
                return True
            if "WAL" in text and not any(words in text for words in _NOT_THE_FILE):  # the log cannot be replayed, and that may be the file's fault
                return path.exists() and damage_of(path) is not None
            if isinstance(error, (duckdb.InternalException, duckdb.FatalException, duckdb.SerializationException)):
                return path.exists() and damage_of(path) is not None
        error = error.__cause__
    return False


def damaged(path: Path, what: str) -> DamagedWarehouse:
    """what: is wrong with the file. Says also what the way back is."""
    return DamagedWarehouse(f"The warehouse {path} is damaged: {what}. Nothing in it was repaired or thrown away. {way_back(path.parent)}")


def missing(path: Path, sign: str) -> DamagedWarehouse:
    return DamagedWarehouse(
        f"The warehouse {path} is missing, although runs took place in {path.parent} ({sign} is there). Nothing was changed. {way_back(path.parent)}"
    )


def way_back(home: Path) -> str:
    """What to do when a home has lost its warehouse."""
    last = read_last_backup(home)
    backup = f"{last['folder']}, the newest backup known (of {last['made_at']})" if last else "FOLDER, where FOLDER is a backup"
    command = f"bindwatch restore-home {last['folder']}" if last else "bindwatch restore-home FOLDER"
    return (
        f"Way back: `{command}` puts back {backup}. Without a backup: move {home} away and run again. Everything is pulled anew then; lost are former values "
        "of records and since when each finding is known. Decisions stay when decisions.sqlite is copied into the new folder."
    )


def read_last_backup(home: Path) -> dict[str, str] | None:
    """When and where the last backup of this home was made; None when nobody made one, or the note of it cannot be read."""
    try:
        note = json.loads((home / LAST_BACKUP).read_text("utf-8"))
        return {"made_at": str(note["made_at"]), "folder": str(note["folder"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sign_of_runs(home: Path) -> str | None:
    """What shows that a run has ended in this home, so that its warehouse holds what no CRM can give back; None before that."""
    if (home / MARK).exists():
        return MARK
    return next((name for name in ("published", "certified") if (home / name).is_dir() and any((home / name).iterdir())), None)


def note_end_of_run(home: Path) -> None:
    """A run has ended: from now on a warehouse that is damaged or gone is not begun anew in silence."""
    if not (home / MARK).exists():
        write_whole(home / MARK, json.dumps({"first_run_ended_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}), 0o600)
