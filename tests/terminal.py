"""A terminal of a given width: what a command prints there, and what is left to read in the end."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from tests.live import ROOT

_PIECES = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def call_on_terminal(arguments: list[str], environment: dict[str, str], columns: int = 80, cwd: Path = ROOT) -> tuple[int, str]:
    """Runs `bindwatch` with a terminal of that width as its input and outputs. Returns its exit code and all that it wrote there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    command = [sys.executable, "-c", "import sys; from pipelines.main import main; sys.exit(main())", *arguments]
    settings = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(command, cwd=cwd, env=settings, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    written = b""
    while piece := _read(master):
        written += piece
    os.close(master)
    return process.wait(), written.decode("utf-8")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # nobody writes there any more
        return b""


def screen_of(written: str) -> tuple[list[str], set[str]]:
    """What is left to read, one row a line, and the rows that were there for a while and are gone."""
    rows, row, gone = [""], 0, set[str]()
    column = 0
    for found in _PIECES.finditer(written):
        numbers, command, control, text = found.groups()
        if control == "\n":
            row += 1
            column = 0
            rows += [""] * (row + 1 - len(rows))
        elif control == "\r":
            column = 0
        elif command == "A":
            row = max(0, row - int(numbers or 1))
        elif command == "K":
            gone.add(rows[row].rstrip())
            rows[row] = ""
        elif text:
            before = rows[row]
            rows[row] = before[:column].ljust(column) + text + before[column + len(text) :]
            column += len(text)
            if before[column - len(text) : column].strip() not in ("", text.strip()):
                gone.add(before.rstrip())
    left = [line.rstrip() for line in rows]
    while left and not left[-1]:
        left.pop()
    return left, gone - {""}
