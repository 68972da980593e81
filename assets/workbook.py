"""Reads a workbook (.xlsx, .xlsm, .xlsb, .xls, .ods) in a process of its own, so that one that is made to burst takes nobody with it.

A small file may hold a sheet with billions of cells, or unpack to many times its size, and the library that reads it takes the memory it is told to take.
So the process has a limit of memory, time and size of what it writes: `python -m assets.workbook FILE FOLDER BYTES` writes each visible sheet as CSV into
the folder, and says on standard output what they are, or why there is none.
"""

import csv
import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGINNINGS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # of a workbook's bytes: zipped, and as they were before 2007
MOST_MEMORY = 3 * 2**29
MOST_SECONDS = 60  # of one core; a sheet of 500,000 merges takes ten
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Sheet:
    """A sheet that was written as CSV, from its first row and its first column with something in it. first_column: the number of that one."""

    name: str
    path: Path
    first_column: int


def read_workbook(path: Path, folder: Path, most_bytes: int) -> list[Sheet] | str:
    """The visible sheets that hold something, as CSV of at most most_bytes each in `folder`; or what is wrong: password, unreadable, empty, burst."""
    command = [sys.executable, "-m", "assets.workbook", str(path.absolute()), str(folder), str(most_bytes)]
    answer = subprocess.run(command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    try:
        said = json.loads(answer.stdout)
    except ValueError:  # it was ended at one of its limits
        return "burst"
    return said if isinstance(said, str) else [Sheet(name, folder / file, first_column) for name, file, first_column in said]


def _limit(most_bytes: int) -> None:
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, MOST_SECONDS),
        (resource.RLIMIT_FSIZE, most_bytes + 1),
        (resource.RLIMIT_AS, MOST_MEMORY),
    ):
        resource.setrlimit(what, (most, most))


def _write_sheets(path: Path, folder: Path) -> list[tuple[str, str, int]] | str:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

    try:
        with path.open("rb") as file:
            workbook = CalamineWorkbook.from_filelike(file)
        written = []
        for number, about in enumerate(workbook.sheets_metadata):
            if about.typ != SheetTypeEnum.WorkSheet or about.visible != SheetVisibleEnum.Visible:
                continue
            sheet = workbook.get_sheet_by_index(number)
            if sheet.start is None:
                continue
            with (folder / f"{number}.csv").open("w", encoding="utf-8", newline="") as target:
                writer = csv.writer(target)
                writer.writerows([cell if type(cell) is str else _as_text(cell) for cell in row] for row in sheet.iter_rows())
            written.append((about.name, f"{number}.csv", sheet.start[1] + 1))
    except PasswordError:
        return "password"
    except CalamineError:
        return "unreadable"
    return written or "empty"


def _as_text(value: Any) -> str:
    """As a person reads it in the sheet: whole numbers without a point."""
    if isinstance(value, bool):
        return str(value).upper()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


if __name__ == "__main__":
    _limit(int(sys.argv[3]))
    print(json.dumps(_write_sheets(Path(sys.argv[1]), Path(sys.argv[2]))))
