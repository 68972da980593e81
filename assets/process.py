"""What every process of Bindwatch settles before it does anything else, whoever started it: a command, or Dagster for our code location."""

import gc
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("BINDWATCH_", "SALESFORCE_", "HUBSPOT_")
_SHARED = {"DAGSTER_HOME", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
# what comes along from an editor, a web page, a dialog of Windows, or a file with Windows line ends and encoding (\udc85, \udca0); many are seen by nobody
_BLANKS = " \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\u00a0\u00ad\u1680\u180e\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\udc85\udca0" + "".join(
    map(chr, (*range(0x2000, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)


def settle() -> None:
    """Files are its user's alone, settings are as they were meant, and there is a home directory for libraries that look for settings there."""
    os.umask(0o077)
    tidy_environment()
    # libraries would put the password of a .netrc in the place of a token
    os.environ["NETRC"] = os.devnull
    # what a run is going to do is told to Dagster's storage at once, not event by event
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    if "HOME" not in os.environ:
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:  # an arbitrary user id in a container; not a folder that others can write, because settings are read from there
            os.environ["HOME"] = os.path.abspath(os.environ.get("BINDWATCH_HOME") or "data")  # noqa: PTH100  (pathlib costs as much as all of this)


def tidy_environment() -> None:
    """Takes white space and line ends off both ends of every setting. One that holds nothing else is not set.

    NO_PROXY is written as all libraries read it: some programs also take blanks between its hosts, *.example.com, and a * among others.
    """
    for name, value in list(os.environ.items()):
        if name.startswith(_OURS) or name.upper() in _SHARED:
            tidy = value.strip(_BLANKS)
            if name.upper() == "NO_PROXY":
                hosts = tidy.replace(",", " ").replace(";", " ").split()
                tidy = "*" if "*" in hosts else ",".join(host.removeprefix("*") for host in hosts)
            if tidy != value:
                os.environ[name] = tidy
                if not tidy and not name.upper().endswith("_PROXY"):  # an empty NO_PROXY says something
                    del os.environ[name]


@contextmanager
def imported_for_good() -> Iterator[None]:
    """For the import of large libraries: the garbage collector looks neither at what comes of it meanwhile nor ever again. It stays to the end, and to go
    through all of it each time takes a fifth of a small run.
    """
    before, was_enabled = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        if len(sys.modules) > before:  # whoever has imported all of it keeps things of another kind by now
            gc.freeze()
