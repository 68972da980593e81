"""Landing: pages as the APIs sent them, kept on disk before anything else happens to them.

    landing/<source>/<object>/<pull id>/manifest.json  pages.jsonl  page-000001.json …

A page is written under a temporary name and renamed. Pages reach the disk in lots, and only then they are noted: a line of pages.jsonl for each, with
its size, rows and SHA-256, and the cursor behind it. Whatever happens to the process or the machine, the notes name pages that are whole, and the
place to go on from; what was not noted is pulled again. Who goes on with a pull holds its pages against the notes first.

The manifest says what was asked, and at the end how it went.
"""

import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ValidationError

from assets import progress
from assets.files import UNUSABLE, set_aside, sync_file, sync_folder, write_whole
from assets.pull import patience

log = logging.getLogger("bindwatch.pull")

Mode = Literal["full", "incremental", "ids"]
_CRM = {"salesforce": "Salesforce", "hubspot": "HubSpot"}

UNNAMED = "unnamed-"  # a record without an id is called so, and by its contents

# A lot of pages that goes to the disk together: what a power cut costs, at most.
_LOT_SECONDS, _LOT_PAGES, _LOT_BYTES = 1.0, 64, 16 << 20
_TOLD_EVERY = 10.0  # seconds between two lines about a pull that goes on: in Dagster a line is an event, and an event a transaction
_SYNCS = 8  # files at a time: file systems write their journal once for all of them


class Manifest(BaseModel):
    """What a pull asked for and how it ended. Times are UTC.

    crm_time: the CRM's own clock when the pull began; changes after that moment may be missing from it. not_seen: what the API holds back.
    rows, notes: how many records, and lines of pages.jsonl, there were when it ended.
    """

    pull_id: str
    source: str
    object: str
    mode: Mode
    request: dict[str, Any]  # fields and filters; a pull is only gone on with by a run that asks the same
    watermark_from: datetime | None
    started_at: datetime
    crm_time: datetime | None = None
    not_seen: list[str] = []
    finished_at: datetime | None = None
    rows: int = 0
    notes: int = 0
    expected_rows: int | None = None
    complete: bool = False
    problem: str | None = None

    @property
    def request_hash(self) -> str:
        return sha256(json.dumps(self.request, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Aside:
    """A record that arrived and cannot be read. It costs no other record.

    id: of the record; "unnamed-…" where it has none. version: changes when the record does. reason: a word that assets/languages.toml explains.
    """

    id: str
    version: str
    reason: str

    @property
    def is_unnamed(self) -> bool:
        return self.id.startswith(UNNAMED)


def aside_of(record_id: str | None, record: Any, reason: str) -> Aside:
    """record: what came, in whatever shape. Without an id it is named after its contents."""
    digest = sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return Aside(record_id or f"{UNNAMED}{digest}", digest, reason)


def digest(names: Sequence[str]) -> str:
    """Short for a list of names or ids: what a pull asked for, and whether the next one asks for the same."""
    return sha256(",".join(names).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Page:
    """A page on disk, and how many records it holds."""

    path: Path
    rows: int


class LandedPull:
    """One pull of one object: its folder, its manifest, its pages, the records set aside, and the cursor behind the last page."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.cursor: dict[str, Any] = {}
        self.asides: list[Aside] = []
        self.last_page_at = manifest.started_at
        self._pages: list[Page] = []
        self._count_of_pages = 0
        self._notes = folder / "pages.jsonl"
        self._lot: list[dict[str, Any]] = []
        self._lot_bytes = 0
        self._synced_at = self._told_at = time.monotonic()

    @property
    def label(self) -> str:
        return f"{_CRM[self.manifest.source]} {self.manifest.object}"

    @property
    def is_finished(self) -> bool:
        return self.manifest.finished_at is not None

    @property
    def rows(self) -> int:
        """Records that arrived, those set aside included."""
        return self.manifest.rows

    @property
    def pages(self) -> int:
        return self._count_of_pages

    def pages_with_rows(self) -> list[Page]:
        """The pages that hold rows, in the order they came."""
        return [page for page in self._pages if page.rows]

    def begin(self, crm_time: datetime | None) -> None:
        """Notes the CRM's clock before the first page; a pull that is gone on with keeps the clock of its beginning."""
        if self.manifest.crm_time is None and crm_time is not None:
            self.manifest.crm_time = crm_time
            self.save()

    def write_page(self, content: bytes, suffix: str, rows: int, cursor: dict[str, Any], asides: Sequence[Aside] = ()) -> None:
        """Adds a page that is in memory."""
        temporary = self.folder / f"tmp{suffix}"
        temporary.write_bytes(content)
        self.keep(temporary, rows, cursor, asides)

    def keep(self, temporary: Path, rows: int, cursor: dict[str, Any], asides: Sequence[Aside] = ()) -> None:
        """Makes the page part of the pull: `rows` records, and `cursor` says where the next page begins. asides: what came with it and is not in it."""
        name = f"page-{self._count_of_pages + 1:06d}{temporary.suffix}"
        with temporary.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        size = temporary.stat().st_size
        temporary.replace(self.folder / name)
        if rows or asides:
            patience.arrived()
        self._note({"file": name, "rows": rows, "bytes": size, "sha256": digest, "cursor": cursor, "asides": [asdict(aside) for aside in asides]})

    def move(self, cursor: dict[str, Any], asides: Sequence[Aside] = ()) -> None:
        """Moves the cursor without a page."""
        self._note({"file": None, "rows": 0, "bytes": 0, "cursor": cursor, "asides": [asdict(aside) for aside in asides]})

    def start_over(self) -> None:
        """Drops every page: what they hold does not fit what comes next."""
        self._notes.unlink(missing_ok=True)
        for page in self._page_files():
            page.unlink()
        self._forget()

    def finish(self, expected_rows: int | None, problem: str | None = None) -> None:
        """Ends the pull. It is complete when nothing speaks against it and the rows are as many as the API said."""
        self.sync()
        manifest = self.manifest
        manifest.expected_rows = expected_rows
        if problem is None and expected_rows is not None and expected_rows != manifest.rows:
            problem = f"the API announced {expected_rows} rows, {manifest.rows} arrived"
        manifest.problem, manifest.complete, manifest.finished_at = problem, problem is None, _now()
        self.save()

    def save(self) -> None:
        write_whole(self.folder / "manifest.json", self.manifest.model_dump_json(indent=1))

    def sync(self) -> None:
        """Has every page so far on the disk, and notes it."""
        if not self._lot:
            return
        files = [self.folder / note["file"] for note in self._lot if note["file"] is not None]
        with ThreadPoolExecutor(_SYNCS) as pool:
            list(pool.map(sync_file, files))
        sync_folder(self.folder)
        is_new = not self._notes.exists()
        with self._notes.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(note) + "\n" for note in self._lot)
        sync_file(self._notes)
        if is_new:
            sync_folder(self.folder)
        self._lot, self._lot_bytes, self._synced_at = [], 0, time.monotonic()

    def go_on(self) -> None:
        """Reads the notes of a pull that was begun before, and goes back behind the last page that is as it was noted.

        What differs is set aside. A finished pull that lost something is no longer finished.
        """
        ended_with = self.manifest.notes, self.manifest.rows
        self._forget()
        text, is_readable = self._read_notes()
        notes = []
        for line in text.splitlines():
            note = _parse_note(line)
            if note is None:
                is_readable = False
                break
            if problem := self._difference(note):
                page = self.folder / str(note["file"])
                if page.exists():
                    set_aside(page, f"{problem}; it is pulled again")
                else:
                    log.warning("%s %s; it is pulled again", page, problem)
                break
            notes.append(note)
        if not is_readable:
            set_aside(self._notes, "cannot be read to its end; what it does not name is pulled again")
        for note in notes:
            self._count(note)
        kept = {note["file"] for note in notes}
        for page in self._page_files():
            if page.name not in kept:
                page.unlink()
        # what is on the disk is what was read, whatever stood behind it
        write_whole(self._notes, "".join(json.dumps(note) + "\n" for note in notes))
        if self.is_finished and (self.manifest.notes, self.manifest.rows) != ended_with:
            self.manifest.finished_at, self.manifest.complete = None, False
            self.save()

    def _read_notes(self) -> tuple[str, bool]:
        """The whole lines of the notes, and whether the rest, if any, is only a line that was cut off. No notes at all: nothing was noted."""
        try:
            content = self._notes.read_bytes()
        except FileNotFoundError:
            return "", True
        whole, _, cut_off = content.rpartition(b"\n")
        try:
            return whole.decode("utf-8"), b"\0" not in cut_off
        except UnicodeDecodeError:
            return "", False

    def _difference(self, note: dict[str, Any]) -> str | None:
        """How a page differs from what was noted of it, in words; None when it does not."""
        if note["file"] is None:
            return None
        path = self.folder / note["file"]
        if not path.exists():
            return "is missing"
        if (size := path.stat().st_size) != note["bytes"]:
            return f"has {size:,} bytes instead of {note['bytes']:,}"
        with path.open("rb") as file:
            return None if file_digest(file, "sha256").hexdigest() == note["sha256"] else "has another content than was noted"

    def _page_files(self) -> list[Path]:
        return [path for path in self.folder.glob("page-*") if UNUSABLE not in path.name]

    def _forget(self) -> None:
        self.cursor, self.asides, self._pages, self._count_of_pages, self._lot, self._lot_bytes = {}, [], [], 0, [], 0
        self.manifest.rows = self.manifest.notes = 0

    def _note(self, note: dict[str, Any]) -> None:
        note["at"] = _now().isoformat()
        progress.now.rows += note["rows"]
        self._lot.append(note)
        self._lot_bytes += note["bytes"]
        self._count(note)
        progress.counted(f"rows of {self.manifest.object.replace('_', ' ')}", self.rows)
        if time.monotonic() - self._told_at >= _TOLD_EVERY:
            log.info("%s: %s rows so far", self.label, f"{self.rows:,}", extra=progress.PASSING)
            self._told_at = time.monotonic()
        if len(self._lot) >= _LOT_PAGES or self._lot_bytes >= _LOT_BYTES or time.monotonic() - self._synced_at >= _LOT_SECONDS:
            self.sync()

    def _count(self, note: dict[str, Any]) -> None:
        self.cursor = note["cursor"]
        self.last_page_at = datetime.fromisoformat(note["at"])
        self.asides += [Aside(**aside) for aside in note["asides"]]
        self.manifest.notes += 1
        self.manifest.rows += note["rows"] + len(note["asides"])
        if note["file"] is not None:
            self._count_of_pages += 1
            self._pages.append(Page(self.folder / note["file"], note["rows"]))


class Landing:
    """The landing folder of one Bindwatch home. As a context, it has every page on the disk, and noted, when it is left, however that happens."""

    def __init__(self, folder: Path, resume_within: timedelta) -> None:
        self.folder, self.resume_within = folder, resume_within
        self._opened: list[LandedPull] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pull in self._opened:
            pull.sync()

    def open(self, source: str, object_name: str, mode: Mode, request: dict[str, Any], loaded: set[str], watermark_from: datetime | None = None) -> LandedPull:
        """Goes on with a pull that asked the same and whose last page came a short while ago, and that was not loaded (it may even be complete), or
        begins a new one.
        """
        request = {**request, "mode": mode, "watermark_from": watermark_from.isoformat() if watermark_from else None}
        fresh = Manifest(
            pull_id=f"{_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}", source=source, object=object_name, mode=mode, request=request,
            watermark_from=watermark_from, started_at=_now(),
        )  # fmt: skip
        for folder in sorted((self.folder / source / object_name).glob("*/"), reverse=True):
            manifest = None if UNUSABLE in folder.name else _read_manifest(folder)
            if manifest is None or manifest.pull_id in loaded or manifest.request_hash != fresh.request_hash:
                continue
            if manifest.finished_at is not None and not manifest.complete:
                continue
            pull = LandedPull(folder, manifest)
            pull.go_on()
            if _now() - pull.last_page_at <= self.resume_within:
                log.info("%s: going on with the pull of %s, %s rows are here already", pull.label, f"{manifest.started_at:%H:%M:%S}", f"{pull.rows:,}")
                self._opened.append(pull)
                return pull
        folder = self.folder / source / object_name / fresh.pull_id
        folder.mkdir(parents=True)
        for parent in (folder, *folder.parents[:3]):  # a folder whose name is lost in a power cut takes its pages along
            sync_folder(parent)
        pull = LandedPull(folder, fresh)
        pull.save()
        self._opened.append(pull)
        return pull

    def discard(self, pull: LandedPull, why: str) -> None:
        """Sets a pull aside that cannot be loaded, so that the next try pulls it anew."""
        self._opened.remove(pull)
        set_aside(pull.folder, why)

    def prune(self, loaded: set[str], keep: timedelta) -> None:
        """Removes pulls that are older than `keep` and were loaded, or can never be gone on with."""
        for folder in list(self.folder.glob("*/*/*/")):
            manifest = None if UNUSABLE in folder.name else _read_manifest(folder)
            if manifest is None:
                # one that cannot be read has another name by now, and is met under that one
                if folder.exists() and time.time() - folder.stat().st_mtime > keep.total_seconds():
                    shutil.rmtree(folder)
                continue
            age = _now() - manifest.started_at
            abandoned = manifest.finished_at is None and age > self.resume_within
            if age > keep and (manifest.pull_id in loaded or abandoned or not manifest.complete):
                shutil.rmtree(folder)


def _read_manifest(folder: Path) -> Manifest | None:
    """None for a folder whose manifest cannot be read; it is set aside."""
    path = folder / "manifest.json"
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        why = "has no manifest"
    except ValidationError:
        why = "has a manifest that cannot be read"
    set_aside(folder, f"{why}; it is pulled again")
    return None


def _parse_note(line: str) -> dict[str, Any] | None:
    """A line of the notes; None when it is none, or was written before pages were noted with their contents."""
    try:
        note = json.loads(line)
        if note["file"] is not None and not {"bytes", "sha256"} <= note.keys():
            return None
        datetime.fromisoformat(note["at"])
        return dict(note) if {"rows", "cursor", "asides", "bytes"} <= note.keys() else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


# Half of a surrogate pair and NUL are valid in JSON and in no database.
_UNLOADABLE = re.compile("[\0\ud800-\udfff]")


def as_loadable(body: bytes) -> bytes:
    """A JSON answer that a database can hold: what no database holds becomes U+FFFD, in the values and nowhere else. Raises ValueError when it is no JSON."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
    else:
        if b"\\u0000" not in body and b"\\ud" not in body and b"\\uD" not in body and not text.startswith("\ufeff"):
            return body
    return json.dumps(_mended(json.loads(text.removeprefix("\ufeff"))), ensure_ascii=False).encode("utf-8")


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return _UNLOADABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return value


def _now() -> datetime:
    return datetime.now(UTC)
