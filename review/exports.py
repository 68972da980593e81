"""What the desk shows, as files: tables for people, in a shape that their spreadsheet opens, and files for the tools that change the two CRMs."""

import io
import logging
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from assets.policy import masked_email
from assets.published.restore_plan import find_contact, write_plan
from assets.published.spreadsheets import CSV, WORKBOOK, write_table
from assets.sentences import languages
from assets.sql import literal, transaction, with_memory
from review.desk_data import Snapshot
from review.filters import read_case_filter, read_filter
from review.near import ROWS_OF_A_GROUP
from review.plans import CARRIED_OUT
from review.run_book import run_book_rows, write_merges
from review.site import EMAIL, Site, language_of

log = logging.getLogger("bindwatch.desk")

TABLES = ("cases", "worklist", "run-book", "planned-merges")
_WITH_EMAILS = ("cases", "worklist", "run-book")
BY_LANGUAGE = {code: str(manner["cells"]) for code, manner in languages().items()}


class Exports:
    """Each takes the filter of the page it is asked from, and keeps its order."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def table(self, request: Request) -> Response:
        """A table for people. as: one of CSV, else what the reader's language says; emails: whole addresses, for whom the policy allows them."""
        name, shape = request.path_params["name"], shape_of(request)
        snapshot = self.site.desk.snapshot()
        has_whole = name in _WITH_EMAILS and may_be_whole(request, self.site)
        if name != "planned-merges":
            snapshot.worklist.insist()
        query, parts = self._rows(request, snapshot, name, not has_whole)
        return send_table(request, snapshot, query, parts, name, shape, has_whole)

    def _rows(self, request: Request, snapshot: Snapshot, name: str, mask_emails: bool) -> tuple[str, list[dict[str, Any]]]:
        """A query, and its values for each part of its rows."""
        if name == "planned-merges":
            return CARRIED_OUT, [{}]
        if name == "cases":
            wanted_cases = read_case_filter(request.query_params)
            self.site.check_cases(wanted_cases)
            query, values = snapshot.cases.listed(wanted_cases, mask_emails)
            return query, [values]
        wanted = read_filter(request.query_params)
        self.site.check(wanted, snapshot)
        if name == "worklist":
            return snapshot.worklist.listed(wanted, mask_emails, ROWS_OF_A_GROUP)
        if name == "run-book":
            return run_book_rows(snapshot.worklist, wanted, language_of(request).code, mask_emails, ROWS_OF_A_GROUP)
        raise HTTPException(404)

    def merges(self, request: Request) -> Response:
        """For a merge tool."""
        wanted = read_filter(request.query_params)
        snapshot = self.site.desk.snapshot()
        self.site.check(wanted, snapshot)
        with tempfile.TemporaryDirectory() as folder:
            write_merges(snapshot.worklist, wanted, path := Path(folder) / "merges.csv")
            return as_file(path, "bindwatch-merges.csv")

    def restore_plan(self, request: Request) -> Response:
        """The files of `bindwatch restore-plan --out`, in one; with the same options."""
        snapshot = self.site.desk.snapshot()
        connection = snapshot.worklist.connection.cursor()
        asked = request.query_params
        contact = find_contact(connection, asked["contact"]) if asked.get("contact") else None
        with tempfile.TemporaryDirectory() as folder:
            write_plan(connection, Path(folder), read_filter(asked).since, contact, bool(asked.get("with_unclear")))
            return as_archive(Path(folder), "bindwatch-restore-plan.zip")


def shape_of(request: Request) -> str:
    """In which shape somebody wants a table: as the ending of the address says, or `as`, or their language. Raises HTTPException 404, 400."""
    ending = request.url.path.rpartition(".")[2]
    if ending not in ("csv", WORKBOOK):
        raise HTTPException(404)
    asked = request.query_params.get("as") or BY_LANGUAGE[language_of(request).code]
    if asked not in (*CSV, WORKBOOK):
        raise HTTPException(400)
    return WORKBOOK if ending == WORKBOOK else asked


def may_be_whole(request: Request, site: Site) -> bool:
    """Are addresses whole in what is asked for? Raises HTTPException 403 when they are asked for, and not for this reader."""
    if not site.settings.mask_emails:
        return True
    if "emails" not in request.query_params:
        return False
    if not request.state.is_reader:
        raise HTTPException(403)
    return True


def masked_in(column: str) -> str:
    """SQL: a text with the addresses in it masked, as pages show it."""
    return rf"""regexp_replace({column}, '([^\s@<>,;:"''()])[^\s@<>,;:"''()]*@([^\s@<>,;:"''()]+)', '\1***@\2', 'g')"""


def said_of(column: str, sentences: Mapping[str, str]) -> str:
    """SQL: what a reader is told for a value."""
    return f"map({literal(list(sentences))}, {literal(list(sentences.values()))})[{column}]"


def send_table(request: Request, snapshot: Snapshot, query: str, parts: Sequence[dict[str, Any]], name: str, shape: str, has_emails: bool = False) -> Response:
    """A table for people, written to a file that goes when it was sent. has_emails: whole addresses are in it, and that is logged; they are not."""
    ending, kind = ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet") if shape == WORKBOOK else ("csv", "text/csv; charset=utf-8")
    with tempfile.NamedTemporaryFile(suffix=f".{ending}", delete=False) as file:
        path = Path(file.name)
    try:

        def write() -> None:
            cursor = snapshot.worklist.connection.cursor()
            with transaction(cursor):  # all parts with what was decided up to now
                write_table(cursor, query, path, shape, parts)

        with_memory(snapshot.worklist.connection, write)
    except BaseException:
        path.unlink()
        raise
    if has_emails:
        who = EMAIL.sub(lambda found: masked_email(found[0]), request.state.user or "somebody without a name")
        log.info("whole e-mail addresses were taken: %s, by %s", name, who)
    return FileResponse(path, media_type=kind, filename=f"bindwatch-{name}.{ending}", background=BackgroundTask(path.unlink))


def as_file(path: Path, name: str) -> Response:
    """One CSV file, which may be gone when the answer is read."""
    return Response(path.read_bytes(), media_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'})


def as_archive(folder: Path, name: str) -> Response:
    """The CSV files of a folder, and of those in it, in one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.csv")):
            archive.write(path, path.relative_to(folder))
    return Response(packed.getvalue(), media_type="application/zip", headers={"Content-Disposition": f'attachment; filename="{name}"'})
