"""The page of merge plans: what became of those that were handed in, and a plan judged on the spot."""

import asyncio
import csv
import tempfile
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from assets.problems import ConfigurationProblem
from assets.published.merge_check import Judgement, judge
from review import words
from review.plans import SHOWN, read_plans
from review.site import Site, flash, language_of, text_of


class Plans:
    """Nothing of a plan that is judged here is kept."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._turn = asyncio.Semaphore(1)  # a large plan takes a core and 1.6 GB; two at once would take them from everybody else

    def show_plans(self, request: Request) -> Response:
        """The plans that lie in the home, as the last run judged them; and a form to have one judged now."""
        return self._plans_page(request, None, None)

    async def judge_plan(self, request: Request) -> Response:
        """A plan that somebody sends is judged on the snapshot; nothing of it is kept."""
        form = await self.site.read_form(request, max_files=1)
        plan = form.get("plan")
        if not isinstance(plan, UploadFile) or not plan.filename:
            flash(request, language_of(request).text(words.NO_PLAN), is_problem=True)
            return RedirectResponse("/plans", 303)
        async with self._turn:
            return await run_in_threadpool(self._judge_plan, request, plan, text_of(form, "answer"))

    def _judge_plan(self, request: Request, plan: UploadFile, wanted: str) -> Response:
        with tempfile.TemporaryDirectory() as folder:
            path, answer, fixed = (Path(folder) / name for name in ("plan", "answer.csv", "fixed.csv"))
            path.write_bytes(plan.file.read())
            try:
                judgement = judge(self.site.settings.home, path, answer, self.site.settings.oldest_snapshot_hours, fixed, language=language_of(request).code)
            except ConfigurationProblem as problem:
                flash(request, f"{language_of(request).text(words.UNREADABLE_PLAN)} {str(problem).rpartition('merge plan: ')[2]}", is_problem=True)
                return RedirectResponse("/plans", 303)
            if wanted in ("csv", "fixed"):
                content, name = ((answer, "judged"), (fixed, "safe"))[wanted == "fixed"]
                headers = {"Content-Disposition": f'attachment; filename="bindwatch-{name}-plan.csv"'}
                return Response(content.read_bytes(), media_type="text/csv; charset=utf-8", headers=headers)
            with answer.open(encoding="utf-8", newline="") as file:
                rows = [{**row, "row_no": str(number)} for number, row in enumerate(csv.DictReader(file), 1) if row["verdict"] != "safe"]
        return self._plans_page(request, judgement, rows)

    def _plans_page(self, request: Request, judgement: Judgement | None, rows: list[dict[str, str]] | None) -> Response:
        snapshot = self.site.desk.snapshot()
        return self.site.page(request, "plans.html", snapshot=snapshot, judgement=judgement, rows=rows, page_size=SHOWN, **read_plans(snapshot))
