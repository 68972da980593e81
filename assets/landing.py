"""Landing: pages as the APIs sent them, kept on disk before anything else happens to them.

    landing/<source>/<object>/<pull id>/page-00001.json …  manifest.json

A page is written under a temporary name and then renamed; the manifest is replaced as a whole after each page. A process that is
killed at any moment therefore leaves whole pages and a manifest that names them, and the next run goes on from the last one.
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

Mode = Literal["full", "incremental"]
_CRM = {"salesforce": "Salesforce", "hubspot": "HubSpot"}


class Page(BaseModel):
    file: str
    rows: int


class Manifest(BaseModel):
    """What a pull asked for and how far it came. Times are UTC."""

    pull_id: str
    source: str
    object: str
    mode: Mode
    request: dict[str, Any]  # fields and filters; a pull is only gone on with by a run that asks the same
    watermark_from: datetime | None
    started_at: datetime
    finished_at: datetime | None = None
    cursor: dict[str, Any] = {}
    pages: list[Page] = []
    expected_rows: int | None = None
    complete: bool = False
    problem: str | None = None

    @property
    def rows(self) -> int:
        return sum(page.rows for page in self.pages)

    @property
    def request_hash(self) -> str:
        return sha256(json.dumps(self.request, sort_keys=True).encode()).hexdigest()[:16]


class LandedPull:
    """One pull of one object: its folder, its manifest, and how pages are added."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def label(self) -> str:
        return f"{_CRM[self.manifest.source]} {self.manifest.object}"

    def page_paths(self) -> list[Path]:
        return [self.folder / page.file for page in self.manifest.pages if page.rows]

    def write_page(self, content: bytes, suffix: str, rows: int, cursor: dict[str, Any]) -> None:
        """Adds a page that is in memory."""
        temporary = self.folder / f"tmp{suffix}"
        temporary.write_bytes(content)
        self.keep(temporary, rows, cursor)

    def keep(self, temporary: Path, rows: int, cursor: dict[str, Any]) -> None:
        """Makes the page part of the pull: `rows` records, and `cursor` says where the next page begins."""
        name = f"page-{len(self.manifest.pages) + 1:06d}{temporary.suffix}"
        temporary.replace(self.folder / name)
        self.manifest.pages.append(Page(file=name, rows=rows))
        self.move(cursor)

    def move(self, cursor: dict[str, Any]) -> None:
        self.manifest.cursor = cursor
        self.save()

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
        for pull in self.pulls(source, object_name):
            manifest = pull.manifest
            can_go_on = manifest.pull_id not in loaded and (manifest.finished_at is None or manifest.complete)
            if can_go_on and manifest.request_hash == fresh.request_hash and _now() - manifest.started_at <= self.resume_within:
                log.info("%s: going on with the pull of %s, %s rows are here already", pull.label, f"{manifest.started_at:%H:%M:%S}", f"{manifest.rows:,}")
                return pull
        folder = self.folder / source / object_name / fresh.pull_id
        folder.mkdir(parents=True)
        pull = LandedPull(folder, fresh)
        pull.save()
        return pull

    def pulls(self, source: str, object_name: str) -> list[LandedPull]:
        """All pulls of an object that are on disk, the newest first."""
        folders = sorted((self.folder / source / object_name).glob("*/manifest.json"), reverse=True)
        return [LandedPull(path.parent, Manifest.model_validate_json(path.read_text())) for path in folders]

    def prune(self, loaded: set[str], keep: timedelta) -> None:
        """Removes pulls that are older than `keep` and were loaded, or can never be gone on with."""
        for path in self.folder.glob("*/*/*/manifest.json"):
            manifest = Manifest.model_validate_json(path.read_text())
            age = _now() - manifest.started_at
            abandoned = manifest.finished_at is None and age > self.resume_within
            if age > keep and (manifest.pull_id in loaded or abandoned or not manifest.complete):
                shutil.rmtree(path.parent)


def _now() -> datetime:
    return datetime.now(UTC)
