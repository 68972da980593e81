"""Files that survive a power cut: written whole or not at all, and set aside instead of trusted when they cannot be read."""

import json
import logging
import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

log = logging.getLogger("bindwatch")

_SEAL = "checksum"
UNUSABLE = ".unusable-"  # in the name of a file or folder that was set aside


def write_whole(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Replaces a file in one step, and has it on the disk when this returns: a reader, or a power cut, meets the old content or the new.

    mode: of the file, less the umask.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
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


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The same with a checksum of itself, so that who reads it later knows whether it is still what was written."""
    rest = {name: value for name, value in content.items() if name != _SEAL}
    return {**rest, _SEAL: _checksum(rest)}


def is_sealed(content: Any) -> bool:
    """Is this what `sealed` returned?"""
    return isinstance(content, dict) and content.get(_SEAL) == _checksum({name: value for name, value in content.items() if name != _SEAL})


def _checksum(content: dict[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def set_aside(path: Path, why: str) -> Path:
    """Gives a file or folder that cannot be used another name, so that nothing trips over it again and nothing is lost. Told in one line.

    Returns the new path. why: what is wrong with it, without its contents.
    """
    aside = path.with_name(f"{path.name}{UNUSABLE}{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    path.rename(aside)
    log.warning("%s %s; it was set aside as %s", path, why, aside.name)
    return aside
