"""`make setup`: installs the packages of a lock file into the virtual environment whose Python runs this, and says how far it is.

It runs before anything is installed, so it knows the standard library alone. pip's own words are kept in a file: they are long, and on some machines
full of warnings; where it fails, its last ones are shown.
"""

import re
import shutil
import site
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_SHOWN = 15  # lines of pip's, when it failed
_EVERY = 15.0  # seconds between two lines, where no line can be written over
_FETCHING = re.compile(r"(?:Collecting|Processing) (\S+)")


def main() -> int:
    lock = _ROOT / sys.argv[1]
    packages = len(re.findall(r"^\S+==", lock.read_text("utf-8"), re.MULTILINE))
    log = Path(sys.prefix) / "install.log"
    print(f"Installing the {packages} packages of {lock.name} into {sys.prefix}.\nThat takes one to three minutes, once.", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
    hashed = [*pip, "--require-hashes", "--progress-bar", "off", "-r", str(lock)]
    for command, kept in ((hashed, log), ([*pip, "--no-build-isolation", "--editable", str(_ROOT)], log.with_suffix(".editable.log"))):
        with kept.open("w", encoding="utf-8") as out:
            code = _wait(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT), kept, packages)
        if code:
            words = kept.read_text("utf-8", "replace").splitlines()[-_SHOWN:]
            print("\n".join(["", *words, f"pip could not install them (exit code {code}). All that it said: {kept}"]), file=sys.stderr)
            return code
    print("Done.")
    return 0


def _wait(process: "subprocess.Popen[bytes]", log: Path, packages: int) -> int:
    """Tells how far pip is until it ends. Returns its exit code. On a terminal one line is written over; elsewhere there is a line now and then."""
    started = told = time.monotonic()
    while process.poll() is None:
        time.sleep(0.5)
        since = time.monotonic() - started
        if sys.stdout.isatty():
            room = shutil.get_terminal_size().columns - 1  # what wraps cannot be written over
            print("\r\x1b[K" + f"  {_how_far(log, packages)}, {since:.0f} s"[:room], end="", flush=True)
        elif time.monotonic() - told >= _EVERY:
            told = time.monotonic()
            print(f"  {_how_far(log, packages)}, {since:.0f} s", flush=True)
    if sys.stdout.isatty():
        print("\r\x1b[K", end="", flush=True)
    return process.returncode


def _how_far(log: Path, packages: int) -> str:
    """What pip has said so far is what it fetches; what it then puts in place can only be seen there."""
    text = log.read_text("utf-8", "replace")
    if "\nInstalling collected packages" in text:
        placed = len({path.name for place in site.getsitepackages() for path in Path(place).glob("*.dist-info")})
        return f"{min(placed, packages)} of {packages} are in place"
    fetched = _FETCHING.findall(text)
    return f"fetching {_package(fetched[-1])}, {min(len(fetched), packages)} of {packages}" if fetched else "starting"


def _package(fetched: str) -> str:
    """Its name, of a requirement or of a file."""
    name = Path(fetched).name
    return name.partition("-")[0] if name.endswith(".whl") else name.partition("==")[0]


if __name__ == "__main__":
    sys.exit(main())
