"""When the machine cannot do what is asked of it: no room, no permission, no memory, no descriptors. One place that knows and says what to do."""

import errno
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from assets.problems import ConfigurationProblem, MachineProblem, Problem, PullProblem, chain

Kind = Literal["room", "permission", "descriptors", "memory", "disk", "temporary", "place"]

_ERRNOS: dict[int, Kind] = {
    errno.ENOSPC: "room", errno.EDQUOT: "room", errno.EFBIG: "room", errno.EACCES: "permission", errno.EPERM: "permission", errno.EROFS: "permission",
    errno.EMFILE: "descriptors", errno.ENFILE: "descriptors", errno.ENOMEM: "memory", errno.EIO: "disk",
    errno.ENOTDIR: "place", errno.EISDIR: "place", errno.EEXIST: "place", errno.ENAMETOOLONG: "place", errno.ELOOP: "place",
}  # fmt: skip
# As DuckDB, SQLite and Dagster (which keeps only texts of what it caught) say it.
_TEXTS: tuple[tuple[str, Kind], ...] = (
    ("max_temp_directory_size", "room"), ("no space left on device", "room"), ("database or disk is full", "room"), ("disk quota exceeded", "room"),
    ("file too large", "room"),
    ("permission denied", "permission"), ("operation not permitted", "permission"), ("read-only file system", "permission"),
    ("readonly database", "permission"), ("unable to open database file", "permission"),
    ("too many open files", "descriptors"), ("out of memory", "memory"), ("failed to allocate", "memory"), ("cannot allocate memory", "memory"),
    ("bad_alloc", "memory"), ("failed to map segment", "memory"), ("can't start new thread", "memory"), ("resource temporarily unavailable", "memory"),
    ("input/output error", "disk"), ("disk i/o error", "disk"), ("no usable temporary directory", "temporary"),
)  # fmt: skip
# Errors whose texts are about the machine and not about data: those of a query that quotes a record could hold any of the words above.
_ABOUT_MACHINE = set("IOException FatalException InternalException TransactionException ConnectionException PermissionException OperationalError".split())
_PATH = re.compile(r"""["'](/[^"']+)["']|(?<!\S)(/[^\s"':]+)""")


_FULL = 1 << 20  # bytes: with less, a disk has no room


def machine_fault(error: BaseException, home: Path) -> MachineProblem | None:
    """What the machine lacks that led to this exception, in words; None when it is no fault of the machine.

    home: the folder it is about when the exception names none. A problem that already is in our own words stays as it is.
    """
    for one in chain(error):
        if isinstance(one, MachineProblem):
            return one
        if isinstance(one, (ConfigurationProblem, PullProblem)):
            return None
        kind = _kind(one)
        if kind is not None:
            return MachineProblem(*_words(kind, _path(one), home))
    return None


def fault_in_texts(texts: Iterable[str], home: Path) -> MachineProblem | None:
    """The same for errors of which Dagster kept only the words."""
    for text in texts:
        if kind := _kind_of_text(text):
            return MachineProblem(*_words(kind, _path_in(text), home))
    return None


def check_home(home: Path, is_default: bool) -> None:
    """Raises MachineProblem when the home cannot be made, or nothing can be written into it. Nothing stays behind.

    is_default: nobody said where it is to be.
    """
    probe = home / f".writable-{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
    except OSError as error:
        fault = machine_fault(error, home)
        where = f"{home}, the default in this folder," if is_default else f"BINDWATCH_HOME, {home},"
        if fault is None or fault.exit_code == 2:
            raise MachineProblem(
                f"{where} cannot be used as the home: {error.strerror}. Set BINDWATCH_HOME to a folder that {_user()} can write.", 2
            ) from error
        raise fault from error
    finally:
        if os.path.lexists(probe):
            probe.unlink()


def in_words(error: BaseException, home: Path) -> Problem | None:
    """Any exception as a problem that a person can understand: its own words, or the machine's fault. None when it is neither."""
    fault = machine_fault(error, home)
    return fault or (error if isinstance(error, Problem) else None)


def _kind(error: BaseException) -> Kind | None:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryException":
        return "room" if "max_temp_directory_size" in str(error) else "memory"
    if isinstance(error, OSError) and error.errno is not None:
        return _ERRNOS.get(error.errno) or ("temporary" if "usable temporary directory" in str(error) else None)
    if type(error).__name__ in _ABOUT_MACHINE or isinstance(error, ImportError) or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
        return _kind_of_text(str(error))
    return None


def _kind_of_text(text: str) -> Kind | None:
    lowered = text.lower()
    if "unable to open database file" in lowered and not _can_open():
        return "descriptors"  # SQLite says the same of a folder that may not be read
    return next((kind for words, kind in _TEXTS if words in lowered), None)


def _can_open() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def _path(error: BaseException) -> Path | None:
    if isinstance(error, OSError):
        return Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else None
    return _path_in(str(error))


def _path_in(text: str) -> Path | None:
    """The first path of the text that is there, or whose folder is. Only such a one is named: anything else could be data."""
    for match in _PATH.finditer(text):
        path = Path(match[1] or match[2])
        if os.path.exists(path) or os.path.exists(path.parent):  # noqa: PTH110  (pathlib raises where a folder may not be entered)
            return path
    return None


def _words(kind: Kind, path: Path | None, home: Path) -> tuple[str, int]:
    """What happened, where, and what to do; and the exit code."""
    if kind == "disk" and _free(path or home) < _FULL:
        kind = "room"  # SQLite calls it an error of the disk when there is none left for its own index
    if kind == "room":
        folder = _existing(path) if path else min((_existing(one) for one in (home, _dagster(home), _temporary())), key=_free)
        return (
            f"No room is left on the disk of {folder} ({_free(folder) / 1e6:,.1f} MB are free). Make room there, or set {_setting(folder, home)} to a folder "
            "on a larger disk, then run again: what has arrived stays."
        ), 3
    if kind == "permission":
        place = path or home
        return (f"{place} cannot be read or written by {_user()}. Give that user the right to it, or set {_setting(place, home)} to a folder of its own."), 2
    if kind == "descriptors":
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"Too many files are open at once: this process may open {limit:,}. Raise the limit (ulimit -n 4096), then run again: what has arrived stays.", 3
    if kind == "memory":
        return (
            "The memory of this machine, or what this process may use of it, is used up. Give it more, or end what else runs here, then run again: what has "
            "arrived stays."
        ), 3
    if kind == "place":
        place = path or home
        return (
            f"{place} is in the way: Bindwatch needs a file or a folder there, and it is the other of the two, or its name does not do. Move it away, or set "
            f"{_setting(place, home)} to another folder."
        ), 2
    if kind == "temporary":
        return "There is no folder for temporary files that can be written. Set TMPDIR to one, then run again.", 2
    return (
        f"The disk of {path or home} reports an error when it is read or written. Check the disk, and restore the home from its backup if a file there is "
        "damaged."
    ), 3


def _setting(place: Path, home: Path) -> str:
    """The variable that names a place, or moves it elsewhere."""
    for name in ("BINDWATCH_CONFIG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SALESFORCE_PRIVATE_KEY_FILE"):
        if os.environ.get(name) and Path(os.environ[name]).absolute() == place.absolute():
            return name
    if place.is_relative_to(home):
        return "BINDWATCH_HOME"
    if place.is_relative_to(_dagster(home)):
        return "DAGSTER_HOME"
    return "TMPDIR" if place.is_relative_to(_temporary()) and not home.is_relative_to(_temporary()) else "BINDWATCH_HOME"


def _dagster(home: Path) -> Path:
    return Path(os.environ.get("DAGSTER_HOME") or home / "dagster")


def _temporary() -> Path:
    return Path(tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp")


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if os.path.isdir(one))  # noqa: PTH112


def _free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _user() -> str:
    """Who this process is, also where the id has no name."""
    import pwd

    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user with the id {os.geteuid()}"
