"""What every process of Bindwatch settles before it does anything else, whoever started it: a command, or Dagster for our code location."""

import os
import pwd


def settle() -> None:
    """Files are its user's alone, and there is a home directory for libraries that look for settings there."""
    os.umask(0o077)
    if "HOME" not in os.environ:
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:  # an arbitrary user id in a container; not a folder that others can write, because settings are read from there
            os.environ["HOME"] = os.path.abspath(os.environ.get("BINDWATCH_HOME") or "data")  # noqa: PTH100  (pathlib costs as much as all of this)
