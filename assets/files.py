"""Files that survive a power cut: written whole or not at all, and set aside instead of trusted when they cannot be read."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger("bindwatch")

UNUSABLE = ".unusable-"  # in the name of a file or folder that was set aside


def write_whole(path: Path, content: str | bytes) -> None:
    """Replaces a file in one step, and has it on the disk when this returns: a reader, or a power cut, meets the old content or the new."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Has the content of a file on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder on the disk when this returns. A file that was synced can still lose its name in a power cut."""
    sync_file(folder)


def read_json(path: Path) -> Any:
    """What a JSON file of our own holds; None when there is none. One that cannot be read is set aside, and counts as none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:  # no JSON, or no UTF-8
        set_aside(path, "cannot be read")
        return None


def set_aside(path: Path, why: str) -> Path:
    """Gives a file or folder that cannot be used another name, so that nothing trips over it again and nothing is lost. Told in one line.

    Returns the new path. why: what is wrong with it, without its contents.
    """
    aside = path.with_name(f"{path.name}{UNUSABLE}{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    path.rename(aside)
    log.warning("%s %s; it was set aside as %s", path, why, aside.name)
    return aside
