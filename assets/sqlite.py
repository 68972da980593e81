"""SQLite files as wholes: copied, and known to be damaged."""

import sqlite3
from contextlib import closing
from pathlib import Path


def copy_sqlite(source: Path, target: Path) -> None:
    """Copies a SQLite database as it is at one moment, what stands in its journal included, over what the other file holds.

    A process that has the other file open sees the new content from its next statement on. Raises sqlite3.DatabaseError when the source is
    damaged; the other file is then as it was.
    """
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=30)) as reader:
        (answer,) = reader.execute("pragma integrity_check(1)").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(answer)
        with closing(sqlite3.connect(target, timeout=30)) as writer:
            reader.backup(writer)
            if writer.execute("pragma journal_mode").fetchone()[0] == "wal":
                writer.execute("pragma journal_mode = delete")  # one file, that needs no other beside it


def is_damaged_sqlite(error: sqlite3.DatabaseError) -> bool:
    """Is the file damaged? Else something keeps us from it: no room, no permission, another process."""
    return str(getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
