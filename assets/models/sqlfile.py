"""SQL files as the one source of what a table is: its header describes it, its statement says what it reads.

    -- One row: …            first line, what one row is
    -- more text             why the table exists
    --
    -- column: meaning       one line a column, indented lines continue it
    create or replace table core.binding as …

A check is a bare query under expectations/<suite>/; its header carries `severity:`, `basis:`, `harm:` (what it does to people, in the words of
main.harm_rank) and `on:` (the table it speaks about); `about: switch` marks a check of what an edit of a rival would do.

What compares with now, or with what former runs left, says from when on it may be another although nothing came (assets/models/stale.py):
`due:` and a query for that moment (too early costs a build, too late is a fault); `always`; or `never` and why.

What can be built for some people alone says whose a row is, `slice:` and the id or e-mail (assets/models/slice.py); `, whole:` and why, where it is told by
others' rows, too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

from assets.sentences import is_sentence

# The parts of a check's header: each begins a paragraph. The last three are for people who read German; without them they read English.
_PARTS = "Fails when|Why:|Otherwise:|Rests on:|Not:|Steward:|Auf Deutsch:|Warum:|Sonst:"
_GERMAN = ("Auf Deutsch:", "Warum:", "Sonst:")
LAYERS = ("staging", "core", "review")  # folders below assets/models/sql, and schemas of the warehouse
_ENTRY = re.compile(r"^([a-z_]+): (.+)$")


# A file names its tables with their schema. Reading them by pattern takes a fortieth of what parsing takes, and every process does it; a test holds both
# against one another.
_NO_SQL = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
_READ = re.compile(rf"\b(?:from|join)\s+((?:main|raw|{'|'.join(LAYERS)})\.[a-z_0-9]+)\b(?!\s*\()")
_SAID = re.compile(r"\bmain\.said\('([a-z_.]+)'")  # main.said('core.x', …) reads core.x


def tables_in(statement: str) -> frozenset[str]:
    """The tables that a statement reads."""
    return frozenset(_READ.findall(_NO_SQL.sub("", statement)))


@dataclass(frozen=True)
class SqlFile:
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def header(self) -> list[str]:
        lines = []
        for line in self.text.splitlines():
            if not line.startswith("--"):
                break
            lines.append(line[2:].removeprefix(" "))
        return lines

    @cached_property
    def entries(self) -> dict[str, list[str]]:
        """`name: text` lines of the header but `due:` and `slice:`, continuation lines joined."""
        return {name: texts for name, texts in self._entries.items() if name not in ("due", "slice")}

    @property
    def due(self) -> list[str]:
        """`always`, `never, …`, or queries for the moment from which on it may be another."""
        return self._entries.get("due", [])

    @property
    def whose(self) -> str | None:
        """Whose a row is: an expression for the id of a contact or record, or for an e-mail. None: nobody's."""
        return self._entries["slice"][0].partition(", whole:")[0] if "slice" in self._entries else None

    @property
    def is_local(self) -> bool:
        """A row is told by rows of people whom ids and e-mails lead to from it, and by nobody else's."""
        return "slice" in self._entries and ", whole:" not in self._entries["slice"][0]

    @cached_property
    def _entries(self) -> dict[str, list[str]]:
        entries: dict[str, list[str]] = {}
        name = None
        for line in self.header:
            if match := _ENTRY.match(line):
                name = match[1]
                entries.setdefault(name, []).append(match[2])
            elif name is not None and line.startswith("  "):
                entries[name][-1] += " " + line.strip()
            else:
                name = None
        return entries

    @cached_property
    def description(self) -> str:
        return "\n".join(line for line in self.header if not _ENTRY.match(line) and not is_sentence(line) and not line.startswith("  ")).strip()

    @cached_property
    def reads(self) -> frozenset[str]:
        """Tables it reads, as schema.name; not its own CTEs."""
        return frozenset([*_SAID.findall(self.text), *tables_in(self.text)]) - {self.table}

    @property
    def is_view(self) -> bool:
        return f"view {self.table} as" in self.text

    @property
    def table(self) -> str:
        """The table that the file builds: its layer, which is a folder, and its own name. A layer may have a folder for each subject."""
        layer = next((parent.name for parent in self.path.parents if parent.name in LAYERS), self.path.parent.name)
        return f"{layer}.{self.path.stem}"

    @property
    def is_said(self) -> bool:
        """Is it what is said of people and findings (`review`)? A slice says that anew each time."""
        return self.table.startswith("review.")

    @property
    def subject(self) -> str | None:
        """The folder below the layer: what the table is about."""
        return self.path.parent.name if self.path.parent.name not in LAYERS else None


@dataclass(frozen=True)
class CheckFile(SqlFile):
    """A check: a query that returns its violations in the shape of review.violation."""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def suite(self) -> str:
        return self.path.parent.name

    @cached_property
    def paragraphs(self) -> list[str]:
        """What it finds in one line; then: fails when, why, otherwise, rests on, not, steward."""
        return [paragraph for paragraph in self._all_paragraphs if not paragraph.startswith(_GERMAN)]

    @cached_property
    def _all_paragraphs(self) -> list[str]:
        text = "\n".join(line for line in self.header if line and not _ENTRY.match(line) and not is_sentence(line) and not line.startswith("  "))
        title, _, rest = text.partition("\n")
        return [title, *(part.replace("\n", " ") for part in re.split(rf"\n(?={_PARTS})", rest))]

    @property
    def title(self) -> str:
        return self.paragraphs[0]

    def part(self, word: str) -> str | None:
        """The paragraph that begins with this word, without it, as a sentence. None when the header has none."""
        found = next((paragraph.removeprefix(f"{word}:").strip() for paragraph in self._all_paragraphs if paragraph.startswith(f"{word}:")), None)
        return found and found[0].upper() + found[1:]

    @cached_property
    def description(self) -> str:
        return "\n\n".join(self.paragraphs)

    @property
    def default_severity(self) -> str:
        return self.entries["severity"][0].split()[0]

    @property
    def as_row(self) -> dict[str, str | None]:
        """What it says of itself, by the columns of main.check_policy."""
        return {
            "check_name": self.name, "suite": self.suite, "default_severity": self.default_severity, "basis": self.basis,
            "default_harm": self.entries["harm"][0], "about": self.entries.get("about", [None])[0],
            "title": self.title, "why": self.part("Why"), "otherwise": self.part("Otherwise"), "rests_on": self.part("Rests on"),
            "title_de": self.part("Auf Deutsch"), "why_de": self.part("Warum"), "otherwise_de": self.part("Sonst"),
        }  # fmt: skip

    @property
    def can_block(self) -> bool:
        return any(entry.split()[0] in ("block", "unproven") for entry in self.entries["severity"])

    @property
    def basis(self) -> str:
        return self.entries["basis"][0]

    @property
    def on(self) -> list[str]:
        """Path of the asset that the check speaks about."""
        return self.entries["on"][0].split("/")


def model_files(folder: Path, checks: Iterable[CheckFile] = (), until: Iterable[str] | None = None) -> list[SqlFile]:
    """The models below `folder` (staging, core, review), in an order in which each finds what it reads.

    review.violation is what the checks fill, so it comes after everything that they read. until: only these tables and what they read.
    """
    files = {file.table: file for layer in LAYERS for file in map(SqlFile, sorted((folder / layer).rglob("*.sql")))}
    reads = {table: set(file.reads) for table, file in sorted(files.items())}
    for check in checks:
        reads["review.violation"] |= check.reads
    graph = {table: sorted(read & files.keys()) for table, read in reads.items()}
    if until is not None:
        wanted, waiting = set(), list(until)
        while waiting:
            wanted.add(table := waiting.pop())
            waiting += [read for read in graph[table] if read not in wanted]
        graph = {table: graph[table] for table in graph if table in wanted}
    return [files[table] for table in TopologicalSorter(graph).static_order()]


def check_files(folder: Path) -> list[CheckFile]:
    """Every check below `folder`, by suite and name."""
    return [CheckFile(path) for path in sorted(folder.glob("*/*.sql"))]
