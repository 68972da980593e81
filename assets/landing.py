"""Landing: pages as the APIs sent them, kept on disk before anything else happens to them.

    landing/<source>/<object>/<pull id>/manifest.json  pages.jsonl  page-000001.json …

A page is written under a temporary name, renamed, and then noted as a line of pages.jsonl together with the cursor it reached. A process
that is killed at any moment therefore leaves whole pages and the place to go on from; a line that was cut off counts as not written.
The manifest says what was asked, and at the end how it went.
"""

import json
import logging
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

log = logging.getLogger("bindwatch.pull")

Mode = Literal["full", "incremental", "ids"]
_CRM = {"salesforce": "Salesforce", "hubspot": "HubSpot"}


class Manifest(BaseModel):
    """What a pull asked for and how it ended. Times are UTC.

    crm_time: the CRM's own clock when the pull began; changes after that moment may be missing from it. not_seen: what the API holds back.
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
    expected_rows: int | None = None
    complete: bool = False
    problem: str | None = None

    @property
    def request_hash(self) -> str:
        return sha256(json.dumps(self.request, sort_keys=True).encode()).hexdigest()[:16]


class LandedPull:
    """One pull of one object: its folder, its manifest, its pages, and the cursor behind the last of them."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.cursor: dict[str, Any] = {}
        self._files: list[str] = []  # pages with rows
        self._pages = 0
        self._notes = folder / "pages.jsonl"
        self._read_notes()

    @property
    def label(self) -> str:
        return f"{_CRM[self.manifest.source]} {self.manifest.object}"

    @property
    def is_finished(self) -> bool:
        return self.manifest.finished_at is not None

    @property
    def rows(self) -> int:
        return self.manifest.rows

    @property
    def pages(self) -> int:
        return self._pages

    def page_paths(self) -> list[Path]:
        """The pages that hold rows, in the order they came."""
        return [self.folder / name for name in self._files]

    def begin(self, crm_time: datetime | None) -> None:
        """Notes the CRM's clock before the first page; a pull that is gone on with keeps the clock of its beginning."""
        if self.manifest.crm_time is None and crm_time is not None:
            self.manifest.crm_time = crm_time
            self.save()

    def write_page(self, content: bytes, suffix: str, rows: int, cursor: dict[str, Any]) -> None:
        """Adds a page that is in memory."""
        temporary = self.folder / f"tmp{suffix}"
        temporary.write_bytes(content)
        self.keep(temporary, rows, cursor)

    def keep(self, temporary: Path, rows: int, cursor: dict[str, Any]) -> None:
        """Makes the page part of the pull: `rows` records, and `cursor` says where the next page begins."""
        name = f"page-{self._pages + 1:06d}{temporary.suffix}"
        temporary.replace(self.folder / name)
        self._note({"file": name, "rows": rows, "cursor": cursor})

    def move(self, cursor: dict[str, Any]) -> None:
        """Moves the cursor without a page."""
        self._note({"file": None, "rows": 0, "cursor": cursor})

    def start_over(self) -> None:
        """Drops every page: what they hold does not fit what comes next."""
        self._notes.unlink(missing_ok=True)
        for page in self.folder.glob("page-*"):
            page.unlink()
        self.cursor, self._files, self._pages, self.manifest.rows = {}, [], 0, 0

    def finish(self, expected_rows: int | None, problem: str | None = None) -> None:
        """Ends the pull. It is complete when nothing speaks against it and the rows are as many as the API said."""
        manifest = self.manifest
        manifest.expected_rows = expected_rows
        if problem is None and expected_rows is not None and expected_rows != manifest.rows:
            problem = f"the API announced {expected_rows} rows, {manifest.rows} arrived"
        manifest.problem, manifest.complete, manifest.finished_at = problem, problem is None, _now()
        self.save()

    def save(self) -> None:
        temporary = self.folder / "manifest.json.tmp"
        temporary.write_text(self.manifest.model_dump_json(indent=1))
        temporary.replace(self.folder / "manifest.json")

    def _note(self, note: dict[str, Any]) -> None:
        with self._notes.open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
        self._count(note)

    def _count(self, note: dict[str, Any]) -> None:
        self.cursor = note["cursor"]
        if note["file"] is not None:
            self._pages += 1
            self.manifest.rows += note["rows"]
            if note["rows"]:
                self._files.append(note["file"])

    def _read_notes(self) -> None:
        if not self._notes.exists():
            return
        self.manifest.rows = 0
        text = self._notes.read_text("utf-8")
        whole, _, cut_off = text.rpartition("\n")
        for line in whole.splitlines():
            self._count(json.loads(line))
        if cut_off:
            self._notes.write_text(whole + "\n" if whole else "", "utf-8")


class Landing:
    """The landing folder of one Bindwatch home."""

    def __init__(self, folder: Path, resume_within: timedelta) -> None:
        self.folder, self.resume_within = folder, resume_within

    def open(self, source: str, object_name: str, mode: Mode, request: dict[str, Any], loaded: set[str], watermark_from: datetime | None = None) -> LandedPull:
        """Goes on with a pull that asked the same a short while ago and was not loaded (it may even be complete), or begins a new one."""
        request = {**request, "mode": mode, "watermark_from": watermark_from.isoformat() if watermark_from else None}
        fresh = Manifest(
            pull_id=f"{_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}", source=source, object=object_name, mode=mode, request=request,
            watermark_from=watermark_from, started_at=_now(),
        )  # fmt: skip
        for path in sorted((self.folder / source / object_name).glob("*/manifest.json"), reverse=True):
            manifest = Manifest.model_validate_json(path.read_text())
            can_go_on = manifest.pull_id not in loaded and (manifest.finished_at is None or manifest.complete)
            if can_go_on and manifest.request_hash == fresh.request_hash and _now() - manifest.started_at <= self.resume_within:
                pull = LandedPull(path.parent, manifest)
                log.info("%s: going on with the pull of %s, %s rows are here already", pull.label, f"{manifest.started_at:%H:%M:%S}", f"{pull.rows:,}")
                return pull
        folder = self.folder / source / object_name / fresh.pull_id
        folder.mkdir(parents=True)
        pull = LandedPull(folder, fresh)
        pull.save()
        return pull

    def prune(self, loaded: set[str], keep: timedelta) -> None:
        """Removes pulls that are older than `keep` and were loaded, or can never be gone on with."""
        for path in self.folder.glob("*/*/*/manifest.json"):
            manifest = Manifest.model_validate_json(path.read_text())
            age = _now() - manifest.started_at
            abandoned = manifest.finished_at is None and age > self.resume_within
            if age > keep and (manifest.pull_id in loaded or abandoned or not manifest.complete):
                shutil.rmtree(path.parent)


def as_loadable(body: bytes) -> bytes:
    """A JSON page that a database can hold: half of a surrogate pair and NUL are valid in JSON and in no database, so they become U+FFFD."""
    if b"\\u0000" not in body and b"\\ud" not in body and b"\\uD" not in body:
        return body
    text = json.dumps(json.loads(body.decode("utf-8", "replace")), ensure_ascii=False)
    return text.encode("utf-8", "replace").replace(b"\\u0000", "\ufffd".encode())


def _now() -> datetime:
    return datetime.now(UTC)
