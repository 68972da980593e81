"""What the desk shows, as files."""

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from assets.published.restore_plan import find_contact, write_plan
from assets.published.worklist import Filter
from review.desk import Snapshot
from review.filters import read_filter
from review.plans import write_carried_out
from review.run_book import write_merges, write_run_book
from review.site import Site, language_of


class Exports:
    """Each takes the filter of the page it is asked from."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def worklist(self, request: Request) -> Response:
        def write(snapshot: Snapshot, wanted: Filter, path: Path) -> None:
            snapshot.worklist.export(wanted, "csv", path, self.site.settings.mask_emails)

        return self._export(request, "worklist.csv", write)

    def run_book(self, request: Request) -> Response:
        language = language_of(request)

        def write(snapshot: Snapshot, wanted: Filter, path: Path) -> None:
            write_run_book(snapshot.worklist, wanted, path, language.code, self.site.settings.mask_emails)

        return self._export(request, "run-book.csv", write)

    def merges(self, request: Request) -> Response:
        return self._export(request, "merges.csv", lambda snapshot, wanted, path: write_merges(snapshot.worklist, wanted, path))

    def planned_merges(self, request: Request) -> Response:
        """What became of the merges that were planned."""
        return self._export(request, "planned-merges.csv", lambda snapshot, wanted, path: write_carried_out(snapshot, path))

    def restore_plan(self, request: Request) -> Response:
        """The files of `bindwatch restore-plan --out`, in one; with the same options."""
        snapshot = self.site.desk.snapshot()
        connection = snapshot.worklist.connection.cursor()
        asked = request.query_params
        contact = find_contact(connection, asked["contact"]) if asked.get("contact") else None
        with tempfile.TemporaryDirectory() as folder:
            write_plan(connection, Path(folder), read_filter(asked).since, contact, bool(asked.get("with_unclear")))
            return as_archive(Path(folder), "bindwatch-restore-plan.zip")

    def _export(self, request: Request, name: str, write: Callable[[Snapshot, Filter, Path], None]) -> Response:
        wanted = read_filter(request.query_params)
        snapshot = self.site.desk.snapshot()
        self.site.check(wanted, snapshot)
        with tempfile.NamedTemporaryFile(suffix=".csv", delete=False) as file:
            path = Path(file.name)
        try:
            write(snapshot, wanted, path)
        except BaseException:
            path.unlink()
            raise
        return FileResponse(path, media_type="text/csv; charset=utf-8", filename=f"bindwatch-{name}", background=BackgroundTask(path.unlink))


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
