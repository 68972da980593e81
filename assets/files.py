"""Files that survive a power cut: written whole or not at all, and set aside instead of trusted when they cannot be read. And who may read them."""

import grp
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from assets.problems import ConfigurationProblem

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


def read_json(path: Path) -> Any:
    """What a JSON file of our own holds; None when there is none. One that cannot be read is set aside, and counts as none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError):  # no JSON, no UTF-8, no file
        set_aside(path, "cannot be read")
        return None


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


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write what is to become `path`, in one step and when nothing went wrong. What is no ordinary file (a FIFO, a device) is written into.

    Raises ConfigurationProblem when it cannot be written.
    """
    target = path.resolve()
    is_special = os.path.lexists(target) and not target.is_file() and not target.is_dir()
    temporary = target if is_special else target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if not is_special:
            temporary.touch(0o600)
        yield temporary
        if not is_special:
            temporary.replace(target)
    except OSError as error:
        if error.filename in (None, str(temporary), str(target), os.fspath(temporary)):
            raise ConfigurationProblem(f"{path} cannot be written: {error.strerror}.") from error
        raise
    finally:
        if not is_special:
            temporary.unlink(missing_ok=True)


# ── who may read ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

READABLE = ("published", "certified")  # what a group of readers may have of a home


def home_mode(readers_group: str | None) -> int:
    """What a home may allow to whom: a group of readers may enter it, and nobody else."""
    return 0o710 if readers_group else 0o700


def prepare_home(home: Path, readers_group: str | None) -> None:
    """Sees to it that nobody reads a home but its user and, of published/ and certified/, the group of readers; tells who else can.

    readers_group: a Unix group that this user can give files to, or None.
    """
    group = grp.getgrnam(readers_group).gr_gid if readers_group else None
    for name in READABLE:
        folder = home / name
        if group is None:
            if folder.exists():
                folder.chmod(folder.stat().st_mode & 0o700)
        else:
            folder.mkdir(exist_ok=True)
            for path in (folder, *(path for path in folder.rglob("*") if not path.is_symlink())):
                _share(path, group)
    if group is not None:
        for path in home.iterdir():
            if path.name not in READABLE and not path.is_symlink() and path.stat().st_mode & 0o077:
                path.chmod(path.stat().st_mode & 0o700)
        os.chown(home, -1, group)
        home.chmod(home.stat().st_mode & 0o7777 | 0o010)
    wanted = home_mode(readers_group)
    if home.stat().st_mode & 0o777 & ~wanted:
        log.warning("%s can be read by other users of this machine, and holds personal data: chmod %o %s", home, wanted, home)


def share_like_parent(path: Path) -> None:
    """Lets those read a new file or folder in published/ or certified/ who may read the folder it is in."""
    above = path.parent.stat()
    if above.st_mode & 0o040:
        _share(path, above.st_gid)


def _share(path: Path, group: int) -> None:
    os.chown(path, -1, group)
    path.chmod(0o750 if path.is_dir() else 0o640)
