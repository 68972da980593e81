"""`make setup`: installs the locked packages into the virtual environment whose Python runs this, and says how far it is.

It runs before anything is installed, so it knows the standard library alone. pip's own words are kept in a file: they are long, and on some machines
full of warnings; where it fails, its last ones are shown.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_SHOWN = 15  # lines of pip's, when it failed
_EVERY = 10  # packages between two lines, where no line can be written over


def main() -> int:
    lock = (_ROOT / "requirements.lock").read_text("utf-8")
    packages = len(re.findall(r"^\S+==", lock, re.MULTILINE))
    log = Path(sys.prefix) / "install.log"
    started = time.monotonic()
    print(f"Installing {packages} packages into {sys.prefix}. That takes one to three minutes, once.", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
    with log.open("w", encoding="utf-8") as kept:
        for step in (
            [*pip, "--require-hashes", "--progress-bar", "off", "-r", str(_ROOT / "requirements.lock")],
            [*pip, "--no-build-isolation", "--editable", str(_ROOT)],
        ):
            with subprocess.Popen(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
                assert process.stdout is not None
                fetched = 0
                for line in process.stdout:
                    kept.write(line)
                    if line.startswith("Collecting ") and fetched < packages:
                        fetched += 1
                        _tell(f"fetched {fetched} of {packages}: {line.split()[1].partition('==')[0]}", started, fetched % _EVERY == 0)
                    elif line.startswith("Installing collected packages"):
                        _tell("all fetched; putting them in place", started, True)
            if process.returncode:
                kept.flush()
                words = log.read_text("utf-8").splitlines()[-_SHOWN:]
                print("\n".join(["", *words, f"pip could not install them (exit code {process.returncode}). All that it said: {log}"]), file=sys.stderr)
                return process.returncode
    _tell("all in place", started, True, is_last=True)
    return 0


def _tell(text: str, started: float, is_due: bool, is_last: bool = False) -> None:
    """On a terminal one line that is written over; elsewhere a line now and then."""
    line = f"  {text} ({time.monotonic() - started:.0f} s)"
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line}", end="\n" if is_last else "", flush=True)
    elif is_due:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
