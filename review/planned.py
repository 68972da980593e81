"""The page of merge plans: what became of those that were handed in, and a plan judged on the spot, with everything that can be made of it."""

import asyncio
import csv
import logging
import re
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from assets.brought import FileProblem
from assets.problems import ConfigurationProblem
from assets.published.merge_check import AFTER, BEFORE, CONVERSIONS, LEFT_OUT, ROWS, Judgement, judge
from assets.published.merge_plan import keep_plan
from assets.sql import literal
from review import words
from review.access import tidy_line
from review.desk_data import Snapshot
from review.exports import as_file, masked_in, may_be_whole, said_of, send_table, shape_of
from review.held import Answer, Held
from review.plans import SHOWN, read_plans
from review.site import Site, flash, language_of, number_of, text_of

log = logging.getLogger("bindwatch.desk")

PLAN, JUDGED, SAFE = "plan", "judged.csv", "safe.csv"  # below the folder of an answer
VERDICTS = ("unsafe", "invalid", "unknown", "safe")


class Plans:
    """A plan that is judged here is kept for the hours in which somebody looks at the answers; for good only when they say so."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.held: Held[Judgement] = Held()
        self._turn = asyncio.Semaphore(1)  # a large plan takes a core and 1.6 GB; two at once would take them from everybody else

    def show_plans(self, request: Request) -> Response:
        """The plans that lie in the home, as the last run judged them; and a form to have one judged now."""
        return self._page(request, self.site.desk.snapshot(), None)

    async def judge_plan(self, request: Request) -> Response:
        """A plan that somebody sends is judged on the snapshot: one upload for all answers."""
        form = await self.site.read_form(request, max_files=1)
        plan = form.get("plan")
        if not isinstance(plan, UploadFile) or not plan.filename:
            flash(request, language_of(request).text(words.NO_PLAN), is_problem=True)
            return RedirectResponse("/plans", 303)
        name = tidy_line(plan.filename.replace("\\", "/").rsplit("/", 1)[-1])[:120] or "plan.csv"
        async with self._turn:
            return await run_in_threadpool(self._judge, request, name, lambda path: path.write_bytes(plan.file.read()))

    async def judge_again(self, request: Request) -> Response:
        """The same plan, on the run that came since."""
        await self.site.read_form(request)
        answer = self.held.get(request.path_params["plan"])
        if answer is None:
            return self._gone(request)
        async with self._turn:
            return await run_in_threadpool(self._judge, request, answer.name, lambda path: path.write_bytes((answer.folder / PLAN).read_bytes()))

    def _judge(self, request: Request, name: str, bring: Any) -> Response:
        settings, language = self.site.settings, language_of(request)

        def fill(folder: Path) -> Judgement:
            bring(folder / PLAN)
            return judge(settings.home, folder / PLAN, folder / JUDGED, settings.oldest_snapshot_hours, folder / SAFE, language=language.code, details=folder)

        try:
            answer = self.held.put(name, str(self.site.desk.snapshot().manifest["run_id"]), fill)
        except ConfigurationProblem as problem:
            why = problem.__cause__.said_in(language.code) if isinstance(problem.__cause__, FileProblem) else str(problem)
            flash(request, f"{language.text(words.UNREADABLE_PLAN)} {why}.", is_problem=True)
            return RedirectResponse("/plans", 303)
        return RedirectResponse(f"/plans/{answer.id}", 303)

    # ── what was said of it ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def show_judged(self, request: Request) -> Response:
        answer = self.held.get(request.path_params["plan"])
        return self._gone(request) if answer is None else self._page(request, self.site.desk.snapshot(), answer)

    def _page(self, request: Request, snapshot: Snapshot, answer: Answer[Judgement] | None) -> Response:
        shown: dict[str, Any] = {"judgement": None}
        if answer is not None:
            asked = request.query_params.get("verdict", "")
            wanted = [asked] if asked in VERDICTS else list(VERDICTS) if asked == "all" else list(VERDICTS[:3])
            total = sum(answer.what.counts[verdict] for verdict in wanted)
            pages = max(1, -(-total // SHOWN))
            page = min(number_of(request.query_params.get("page"), 1), pages)
            rows = f"from {literal(str(answer.folder / ROWS))} where list_contains($wanted, verdict) order by row_no limit {SHOWN} offset {(page - 1) * SHOWN}"
            left_out = f"""select reason, count(*) as pairs, list({{'row_no': row_no, 'loser': loser_name, 'master': master_name}} order by row_no)[:8] as some
                           from {literal(str(answer.folder / LEFT_OUT))} group by reason order by pairs desc, reason"""
            shown = {
                "judgement": answer.what, "answer": answer, "rows": snapshot.query(rows, {"wanted": wanted}), "left_out": snapshot.query(left_out),
                "verdict_asked": asked if asked in (*VERDICTS, "all") else "", "total": total, "page": page, "pages": pages,
                "is_old": answer.run_id != str(snapshot.manifest["run_id"]),
            }  # fmt: skip
        return self.site.page(request, "plans.html", snapshot=snapshot, page_size=SHOWN, **shown, **read_plans(snapshot))

    def send(self, request: Request) -> Response:
        """One of the answers as a file: judged and left-out for people, the others for the tools that carry them out, in their order."""
        answer, what = self.held.get(request.path_params["plan"]), request.path_params["what"]
        if answer is None:
            return self._gone(request)
        if what == "safe.csv":
            return as_file(answer.folder / SAFE, "bindwatch-safe-plan.csv")
        if what in (BEFORE, CONVERSIONS, AFTER):
            return as_file(answer.folder / what, f"bindwatch-{what}")
        snapshot, language = self.site.desk.snapshot(), language_of(request)
        if what.rpartition(".")[0] == "left-out":
            query = f"select *, {said_of('reason', language.left_out)} as why from {literal(str(answer.folder / LEFT_OUT))} order by row_no, loser_id"
            return send_table(request, snapshot, query, [{}], "left-out", shape_of(request))
        is_whole = may_be_whole(request, self.site)
        return send_table(request, snapshot, _judged(answer.folder, language.code, is_whole), [{}], "judged-plan", shape_of(request), is_whole)

    # ── keeping it ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def keep(self, request: Request) -> Response:
        """Puts the plan among those in the home: every run judges it, and looks again after the merges."""
        form = await self.site.read_form(request)
        answer = self.held.get(request.path_params["plan"])
        if answer is None:
            return self._gone(request)
        language = language_of(request)
        name = re.sub(r"[^\w .()+&-]", "-", tidy_line(text_of(form, "name")) or answer.name).strip(" .-")[:100] or "plan.csv"
        try:
            kept = await run_in_threadpool(keep_plan, self.site.settings.home, name, answer.folder / PLAN)
        except (ConfigurationProblem, OSError):
            flash(request, language.text(words.PLAN_NOT_KEPT), is_problem=True)
            return RedirectResponse(f"/plans/{answer.id}", 303)
        log.info("a merge plan was kept from the desk")
        flash(request, language.text(words.PLAN_KEPT, name=kept))
        return RedirectResponse(f"/plans/{answer.id}", 303)

    def _gone(self, request: Request) -> Response:
        flash(request, language_of(request).text(words.ANSWER_GONE), is_problem=True)
        return RedirectResponse("/plans", 303)


_NAMES = ("contact_name", "account_name", "master_name", "loser_name", "values_lost")


def _columns(path: Path) -> str:
    """The columns of a file as the query names them: a plan may have several of one name."""
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    taken: set[str] = {*_NAMES, "place"}
    names = []
    for number, name in enumerate(header, 1):
        names.append(name if name and name.lower() not in taken else f"{name} ({number})")
        taken.add(names[-1].lower())
    return "{" + ", ".join(f"{literal(name)}: 'varchar'" for name in names) + "}"


def _judged(folder: Path, language: str, is_whole: bool) -> str:
    """Every row of the plan as it was handed in, what was said of it, and whom it is about."""
    reason = "reason_de" if language == "de" else "reason"
    echoed = f"""select row_number() over () as place, * from read_csv({literal(str(folder / JUDGED))}, header = true, all_varchar = true, auto_detect = false,
                     delim = ',', quote = '"', escape = '"', columns = {_columns(folder / JUDGED)}, max_line_size = 20000000, parallel = false)"""
    lost = "array_to_string(list_transform(rows.lost, lambda one: one.property || ': ' || coalesce(one.before, '') || ' → ' || coalesce(one.after, '')), '; ')"
    return f"""select echoed.* exclude (place) replace (rows.{reason} as reason), rows.contact_name, rows.account_name, rows.master_name, rows.loser_name,
                      {lost if is_whole else masked_in(lost)} as values_lost
               from ({echoed}) as echoed inner join {literal(str(folder / ROWS))} as rows on rows.row_no = echoed.place order by echoed.place"""
