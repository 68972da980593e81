"""The pages of the desk. Each reads the snapshot that is current when it is asked for; only a decision writes, and that into the decisions store."""

import csv
import io
import logging
import re
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assets.policy import masked_email
from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.decisions import Action, Decision, DecisionStore, end_of, has_decision, objection
from assets.published.merge_check import Judgement, judge
from assets.published.restore_plan import write_plan
from assets.published.worklist import OBJECTS, STATUSES, Filter, check_values
from review import words
from review.access import Entrance, Gatekeeper, check_form_token, form_token, read_session_key, tidy_line, tidy_name
from review.chart import draw_runs
from review.damage import CONTACTS_AT_ONCE, report
from review.desk import Desk, Snapshot, overview, scores, with_names
from review.filters import chosen, read_filter, write_filter
from review.finding import compare, contacts_beside, read_contact, same_person, sentences, timeline
from review.language import LANGUAGES, Language, choose_language
from review.plans import SHOWN, read_plans, write_carried_out
from review.rules import group_rules, named_rules, read_rules
from review.run_book import read_steps, write_merges, write_run_book

log = logging.getLogger("bindwatch.desk")

PAGE_SIZE = 50
MOST_AT_ONCE = 10_000  # decisions by one click; more is a matter for `bindwatch decide`
STALE_AFTER_HOURS = 26  # a nightly run that did not come
_FOLDER = Path(__file__).parent
_EMAIL = re.compile(r"[^\s@<>,;:\"'()]+@[^\s@<>,;:\"'()]+")
_RECORD_ID = re.compile(r"\b(?:00Q|003|005)(?:[A-Za-z0-9]{15}|[A-Za-z0-9]{12})\b")


@dataclass(frozen=True)
class Settings:
    """What the desk is told when it starts. mask_emails: as the policy says; pages show a***@example.com then. oldest_snapshot_hours: from which
    age on a judged plan says that the snapshot is old.
    """

    home: Path
    open_store: Callable[[], DecisionStore]
    entrance: Entrance
    mask_emails: bool = True
    oldest_snapshot_hours: float = 24


def create_app(settings: Settings) -> Starlette:
    """The desk as an ASGI application. Raises ConfigurationProblem when it would be open to a network."""
    pages = _Pages(settings)
    routes = [
        Route("/", pages.show_overview),
        Route("/findings", pages.show_worklist, methods=["GET"]),
        Route("/findings", pages.search, methods=["POST"]),
        Route("/findings/{fingerprint:str}", pages.show_finding),
        Route("/decisions", pages.decide, methods=["POST"]),
        Route("/export/worklist.csv", pages.export_worklist),
        Route("/export/run-book.csv", pages.export_run_book),
        Route("/export/merges.csv", pages.export_merges),
        Route("/plans", pages.show_plans, methods=["GET"]),
        Route("/plans", pages.judge_plan, methods=["POST"]),
        Route("/damage", pages.show_damage),
        Route("/damage.html", pages.print_damage),
        Route("/export/planned-merges.csv", pages.export_planned_merges),
        Route("/export/restore.zip", pages.export_restore_plan),
        Route("/rules", pages.show_rules),
        Route("/name", pages.show_name, methods=["GET"]),
        Route("/name", pages.take_name, methods=["POST"]),
        Route("/language", pages.take_language, methods=["POST"]),
        Route("/login", pages.show_login, methods=["GET"]),
        Route("/login", pages.log_in, methods=["POST"]),
        Route("/logout", pages.log_out, methods=["POST"]),
        Route("/health", pages.show_health),
        Mount("/static", StaticFiles(directory=_FOLDER / "static")),
    ]
    is_https = (settings.entrance.desk_url or "").startswith("https://")
    middleware = [
        Middleware(_RequestLog),
        Middleware(SessionMiddleware, secret_key=read_session_key(settings.home), session_cookie="bindwatch_desk", max_age=365 * 86400, https_only=is_https),
        Middleware(Gatekeeper, entrance=settings.entrance, refuse=pages.refuse),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: pages.handle_http_error,
        WarehouseProblem: pages.handle_no_snapshot,
        Exception: pages.handle_bug,
    }
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


class _RequestLog:
    """One line a request: method, path, status, milliseconds. Never a query, a form or a name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        finally:
            if not scope["path"].startswith("/static/"):
                shown = _EMAIL.sub("…", scope["path"].encode("ascii", "replace").decode()) if len(scope["path"]) < 200 else "…"
                log.info("%s %r %d %.0f ms", scope["method"], shown, status, (time.perf_counter() - started) * 1000)


class _Pages:
    """The handlers, and what they share: the desk, the templates, who is asking."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.desk = Desk(settings.home, settings.open_store)
        self.templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
        )
        self.templates.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
        self.templates.filters |= {"linked": self._linked, "value": self._shown_value}
        self.templates.globals |= {"words": words, "write_filter": write_filter, "languages": LANGUAGES, "safe_url": _safe_url, "as_moment": _as_moment}

    # ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def show_overview(self, request: Request) -> Response:
        snapshot = self.desk.snapshot()
        language = _language(request)
        facts = overview(snapshot)
        if facts["oldest"]:
            (facts["oldest"],) = with_names(snapshot, [facts["oldest"]])
        facts["chart"] = draw_runs(facts["runs"], language)
        return self._page(request, "overview.html", snapshot=snapshot, **facts)

    def show_worklist(self, request: Request) -> Response:
        wanted = read_filter(request.query_params)
        if wanted.text and "@" in wanted.text:
            return self._find_person(request, wanted.text)
        snapshot = self.desk.snapshot()
        self._check(wanted, snapshot)
        total = snapshot.worklist.count(wanted)
        pages = max(1, -(-total // PAGE_SIZE))
        page = min(_number(request.query_params.get("page"), 1), pages)
        findings = with_names(snapshot, snapshot.worklist.find(wanted, PAGE_SIZE, (page - 1) * PAGE_SIZE))
        owners = [row["owner"] for row in snapshot.query("select distinct owner from worklist where owner is not null order by owner")]
        return self._page(
            request, "worklist.html", snapshot=snapshot, wanted=wanted, chosen=chosen(wanted), findings=findings, total=total, page=page, pages=pages,
            owners=owners, checks=snapshot.checks, statuses=STATUSES, objects=OBJECTS, most_at_once=MOST_AT_ONCE, page_size=PAGE_SIZE,
        )  # fmt: skip

    def show_finding(self, request: Request) -> Response:
        snapshot = self.desk.snapshot()
        try:
            finding = snapshot.worklist.find_one(request.path_params["fingerprint"])
        except ConfigurationProblem as problem:
            raise HTTPException(404) from problem
        (finding,) = with_names(snapshot, [finding])
        wanted = read_filter(request.query_params)
        contact, binding = read_contact(snapshot, finding)
        comparison = compare(snapshot, finding, contact, binding)
        events, event_count = timeline(snapshot, finding, comparison)
        language = _language(request)
        check = snapshot.checks.get(finding["check_name"], {})
        advice = read_steps(snapshot.worklist, finding["email"]) if finding["status"] != "resolved" else []
        before, after = snapshot.worklist.neighbours(wanted, finding["fingerprint"])
        rests_on = str(check.get("rests_on") or "")
        rules = read_rules(language.code)
        return self._page(
            request, "finding.html", snapshot=snapshot, finding=finding, check=check, contact=contact, binding=binding, comparison=comparison,
            events=events, event_count=event_count, advice=advice, wanted=wanted, before=before, after=after,
            rules=[rules[name] for name in named_rules(rests_on) if name in rules],
            steps=[] if advice and finding["suite"] == "duplicates" else sentences(language.of_finding(finding, "action")),
            others=with_names(snapshot, same_person(snapshot, finding)), beside=contacts_beside(snapshot, finding, contact),
            can_undo=has_decision(snapshot.worklist.store.read(finding["fingerprint"])), score=scores(snapshot).get("history"),
        )  # fmt: skip

    def show_plans(self, request: Request) -> Response:
        """The plans that lie in the home, as the last run judged them; and a form to have one judged now."""
        return self._plans_page(request, None, None)

    async def judge_plan(self, request: Request) -> Response:
        """A plan that somebody sends is judged on the snapshot; nothing of it is kept."""
        form = await self._read_form(request, max_files=1)
        plan = form.get("plan")
        if not isinstance(plan, UploadFile) or not plan.filename:
            _flash(request, _language(request).text(words.NO_PLAN), is_problem=True)
            return RedirectResponse("/plans", 303)
        return await run_in_threadpool(self._judge_plan, request, plan, _text(form, "answer"))

    def _judge_plan(self, request: Request, plan: UploadFile, wanted: str) -> Response:
        with tempfile.TemporaryDirectory() as folder:
            path, answer, fixed = (Path(folder) / name for name in ("plan.csv", "answer.csv", "fixed.csv"))
            path.write_bytes(plan.file.read())
            try:
                judgement = judge(self.settings.home, path, answer, self.settings.oldest_snapshot_hours, fixed, language=_language(request).code)
            except ConfigurationProblem as problem:
                _flash(request, f"{_language(request).text(words.UNREADABLE_PLAN)} {str(problem).rpartition('merge plan: ')[2]}", is_problem=True)
                return RedirectResponse("/plans", 303)
            if wanted in ("csv", "fixed"):
                content, name = ((answer, "judged"), (fixed, "safe"))[wanted == "fixed"]
                headers = {"Content-Disposition": f'attachment; filename="bindwatch-{name}-plan.csv"'}
                return Response(content.read_bytes(), media_type="text/csv; charset=utf-8", headers=headers)
            with answer.open(encoding="utf-8", newline="") as file:
                rows = [{**row, "row_no": str(number)} for number, row in enumerate(csv.DictReader(file), 1) if row["verdict"] != "safe"]
        return self._plans_page(request, judgement, rows)

    def _plans_page(self, request: Request, judgement: Judgement | None, rows: list[dict[str, str]] | None) -> Response:
        snapshot = self.desk.snapshot()
        return self._page(request, "plans.html", snapshot=snapshot, judgement=judgement, rows=rows, page_size=SHOWN, **read_plans(snapshot))

    def show_damage(self, request: Request) -> Response:
        return self._damage_page(request, printed=False)

    def print_damage(self, request: Request) -> Response:
        """The same as a file of its own, to be printed or sent: nothing in it is fetched from anywhere."""
        answer = self._damage_page(request, printed=True, style=Markup((_FOLDER / "static" / "desk.css").read_text("utf-8")))
        answer.headers["Content-Disposition"] = 'attachment; filename="bindwatch-damage-report.html"'
        return answer

    def _damage_page(self, request: Request, **values: Any) -> Response:
        snapshot = self.desk.snapshot()
        found = report(snapshot, read_filter(request.query_params).since)
        return self._page(request, "damage.html", snapshot=snapshot, most=CONTACTS_AT_ONCE, **found, **values)

    def show_rules(self, request: Request) -> Response:
        return self._page(request, "rules.html", groups=group_rules(_language(request).code))

    def show_health(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def search(self, request: Request) -> Response:
        """The worklist's form: sends the browser to the URL that says the same, without what must not stand in one."""
        form = await self._read_form(request)
        wanted = read_filter(form)
        if wanted.text and "@" in wanted.text:
            return await run_in_threadpool(self._find_person, request, wanted.text)
        return RedirectResponse(f"/findings{write_filter(wanted)}", 303)

    def _find_person(self, request: Request, email: str) -> Response:
        found = self.desk.snapshot().worklist.find(Filter(statuses=(), email=email), limit=1)
        if found:
            return RedirectResponse(f"/findings{write_filter(Filter(statuses=(), person=found[0]['fingerprint']))}", 303)
        _flash(request, _language(request).text(words.NO_FINDING_WITH_EMAIL), is_problem=True)
        return RedirectResponse("/findings", 303)

    async def decide(self, request: Request) -> Response:
        """Records a decision about one finding, about those that were ticked, or about all that match a filter."""
        form = await self._read_form(request)
        back = _local_path(form.get("next"))
        problem = await run_in_threadpool(self._decide, request, form)
        if problem:
            _flash(request, problem, is_problem=True)
        return RedirectResponse(back, 303)

    def _decide(self, request: Request, form: FormData) -> str | None:
        """Returns why nothing was decided, or None."""
        language = _language(request)
        user = request.state.user or tidy_name(_text(form, "user"))
        if user is None:
            return language.text(words.SAY_WHO_YOU_ARE)
        action = _text(form, "action")
        if action not in words.DONE:
            return language.text(words.NOTHING_TO_DO)
        owner, reason, until = tidy_name(_text(form, "owner")), tidy_line(_text(form, "reason"))[:1000] or None, None
        if action == "assign" and owner is None and not form.get("nobody"):
            return language.text(words.SAY_TO_WHOM)
        if action == "waive":
            with suppress(ValueError):
                until = end_of(date.fromisoformat(_text(form, "until")))
            if reason is None:
                return language.text(words.SAY_WHY)
            if until is None or until <= _now():
                return language.text(words.SAY_UNTIL_WHEN)
        if request.state.user is None:
            request.session["user"] = user
        snapshot = self.desk.snapshot()
        worklist = snapshot.worklist
        if form.get("all"):
            wanted = read_filter(_parameters(_text(form, "filter")))
            self._check(wanted, snapshot)
            findings = worklist.find(wanted, limit=MOST_AT_ONCE + 1)
            if len(findings) > MOST_AT_ONCE:
                return language.text(words.TOO_MANY_AT_ONCE, number=language.number(MOST_AT_ONCE))
        else:
            ticked = [value for value in form.getlist("finding") if isinstance(value, str)]
            findings = worklist.find(Filter(statuses=(), fingerprints=tuple(ticked))) if ticked else []
        if not findings:
            return language.text(words.NOTHING_TICKED)
        standing = {row["fingerprint"] for row in worklist.store.read() if row["action"] != "undo" and not row["is_undone"]} if action == "undo" else set()
        kind = cast(Action, action)
        objections = [objection(kind, finding, finding["fingerprint"] in standing) for finding in findings]
        refused = [found for found in objections if found]
        decided = [finding for finding, found in zip(findings, objections, strict=True) if not found]
        if decided:
            worklist.store.record([Decision(kind, user, finding, owner if action == "assign" else None, reason, until) for finding in decided])
            singular, plural = words.DONE[action] if action != "assign" or owner else words.UNASSIGNED
            _flash(request, language.plural(singular, plural, len(decided), owner=owner or "", until=language.day(until) if until else ""))
        if refused:
            return language.plural(*words.REFUSED[refused[0]], len(refused))
        return None

    def show_name(self, request: Request) -> Response:
        return self._page(request, "name.html", next=_local_path(request.query_params.get("next")))

    async def take_name(self, request: Request) -> Response:
        form = await self._read_form(request)
        name = tidy_name(_text(form, "user"))
        if name is None:
            request.session.pop("user", None)
        else:
            request.session["user"] = name
        return RedirectResponse(_local_path(form.get("next")), 303)

    async def take_language(self, request: Request) -> Response:
        form = await self._read_form(request)
        if _text(form, "language") in LANGUAGES:
            request.session["language"] = _text(form, "language")
        return RedirectResponse(_local_path(form.get("next")), 303)

    def show_login(self, request: Request) -> Response:
        if self.settings.entrance.token is None:
            raise HTTPException(404)
        return self._page(request, "login.html", next=_local_path(request.query_params.get("next")))

    async def log_in(self, request: Request) -> Response:
        form = await self._read_form(request)
        if not self.settings.entrance.fits(_text(form, "token").strip()):
            log.warning("somebody gave a wrong token")
            _flash(request, _language(request).text(words.WRONG_TOKEN), is_problem=True)
            return RedirectResponse("/login", 303)
        request.session["ticket"] = self.settings.entrance.ticket
        return RedirectResponse(_local_path(form.get("next")), 303)

    async def log_out(self, request: Request) -> Response:
        await self._read_form(request)
        request.session.clear()
        return RedirectResponse("/", 303)

    # ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def export_worklist(self, request: Request) -> Response:
        def write(snapshot: Snapshot, wanted: Filter, path: Path) -> None:
            snapshot.worklist.export(wanted, "csv", path, self.settings.mask_emails)

        return self._export(request, "worklist.csv", write)

    def export_run_book(self, request: Request) -> Response:
        language = _language(request)

        def write(snapshot: Snapshot, wanted: Filter, path: Path) -> None:
            write_run_book(snapshot.worklist, wanted, path, language.code, self.settings.mask_emails)

        return self._export(request, "run-book.csv", write)

    def export_merges(self, request: Request) -> Response:
        return self._export(request, "merges.csv", lambda snapshot, wanted, path: write_merges(snapshot.worklist, wanted, path))

    def export_planned_merges(self, request: Request) -> Response:
        """What became of the merges that were planned."""
        return self._export(request, "planned-merges.csv", lambda snapshot, wanted, path: write_carried_out(snapshot, path))

    def export_restore_plan(self, request: Request) -> Response:
        """The files of `bindwatch restore-plan --out`, in one."""
        snapshot = self.desk.snapshot()
        packed = io.BytesIO()
        with tempfile.TemporaryDirectory() as folder:
            write_plan(snapshot.worklist.connection.cursor(), Path(folder), read_filter(request.query_params).since)
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(Path(folder).glob("*.csv")):
                    archive.write(path, path.name)
        headers = {"Content-Disposition": 'attachment; filename="bindwatch-restore-plan.zip"'}
        return Response(packed.getvalue(), media_type="application/zip", headers=headers)

    def _export(self, request: Request, name: str, write: Callable[[Snapshot, Filter, Path], None]) -> Response:
        wanted = read_filter(request.query_params)
        snapshot = self.desk.snapshot()
        self._check(wanted, snapshot)
        with tempfile.NamedTemporaryFile(suffix=".csv", delete=False) as file:
            path = Path(file.name)
        try:
            write(snapshot, wanted, path)
        except BaseException:
            path.unlink()
            raise
        return FileResponse(path, media_type="text/csv; charset=utf-8", filename=f"bindwatch-{name}", background=BackgroundTask(path.unlink))

    # ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, request: Request, status: int) -> Response:
        if status == 401 and self.settings.entrance.token is not None and request.method in ("GET", "HEAD"):
            back = request.url.path if request.url.path != "/" else None
            return RedirectResponse("/login" + (f"?next={back}" if back and _local_path(back) == back else ""), 303)
        return self._error_page(request, status)

    def handle_http_error(self, request: Request, error: Exception) -> Response:
        return self._error_page(request, error.status_code if isinstance(error, HTTPException) else 500, getattr(error, "headers", None))

    def handle_no_snapshot(self, request: Request, error: Exception) -> Response:
        log.warning("%s", error)
        return self._error_page(request, 503, detail=str(error))

    def handle_bug(self, request: Request, error: Exception) -> Response:
        return self._error_page(request, 500)

    def _error_page(self, request: Request, status: int, headers: Mapping[str, str] | None = None, detail: str | None = None) -> Response:
        title, text = words.ERRORS.get(status, words.ERRORS[400] if status < 500 else words.ERRORS[500])
        answer = self._page(request, "error.html", title=title, text=text, detail=detail, error_status=status)
        answer.status_code = status
        answer.headers.update(headers or {})
        return answer

    # ── shared ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        language = _language(request)
        session = request.scope.get("session", {})
        context = {
            "language": language,
            "snapshot": None,
            "user": getattr(request.state, "user", None),
            "named_by": getattr(request.state, "named_by", None),
            "form_token": form_token(request),
            "flashes": session.pop("flashes", []),
            "here": _local_path(request.url.path + (f"?{request.url.query}" if request.url.query and request.method == "GET" else "")),
            "path": request.url.path,
            "now": _now(),
            "stale_after_hours": STALE_AFTER_HOURS,
            "mask_emails": self.settings.mask_emails,
            "can_log_out": session.get("ticket") is not None,
        }
        html = self.templates.get_template(template).render({**context, **values})
        return HTMLResponse(html.encode("utf-8", "replace"), headers={"Content-Language": language.code})

    async def _read_form(self, request: Request, max_files: int = 0) -> FormData:
        form = await request.form(max_files=max_files, max_fields=PAGE_SIZE + 50)
        check_form_token(request, form.get("form_token"))
        return form

    def _check(self, wanted: Filter, snapshot: Snapshot) -> None:
        try:
            check_values(wanted, list(snapshot.checks))
        except ConfigurationProblem as problem:
            raise HTTPException(400) from problem

    @pass_context
    def _linked(self, context: Context, text: object) -> Markup:
        """A text with the Salesforce ids in it as links to the records and users, and e-mails masked where the policy says so."""
        plain = str(escape(self._masked(str(text))))
        snapshot: Snapshot | None = context.get("snapshot")
        base = _safe_url(snapshot.policy["salesforce_record_url"]) if snapshot else None
        if base is None:
            return Markup(plain)
        link = str(escape(base))
        return Markup(_RECORD_ID.sub(lambda found: f'<a class="id" rel="noreferrer" target="_blank" href="{link}{found[0]}">{found[0]}</a>', plain))

    def _shown_value(self, text: object) -> str:
        """A value from the CRMs for a person to read: not endless, and masked where the policy says so."""
        shown = self._masked(str(text))
        return shown if len(shown) <= 300 else shown[:299] + "…"

    def _masked(self, text: str) -> str:
        return _EMAIL.sub(lambda found: masked_email(found[0]), text) if self.settings.mask_emails else text


@pass_context
def _gettext(context: Context, message: str) -> str:
    language: Language = context["language"]
    return language.translations.gettext(message)


@pass_context
def _ngettext(context: Context, singular: str, plural: str, number: int) -> str:
    language: Language = context["language"]
    return language.translations.ngettext(singular, plural, number)


def _language(request: Request) -> Language:
    return choose_language(request.scope.get("session", {}).get("language"), request.headers.get("accept-language"))


def _flash(request: Request, text: str, is_problem: bool = False) -> None:
    """A sentence for the next page."""
    request.session["flashes"] = [*request.session.get("flashes", []), {"text": text[:500], "is_problem": is_problem}][-3:]


def _local_path(text: object) -> str:
    """Where a form leads back to: a path of the desk, never another host."""
    if isinstance(text, str) and len(text) < 4000 and re.fullmatch(r"/(?![/\\])[!-~]*", text) and "\\" not in text and not text.startswith("/login"):
        return text
    return "/"


def _safe_url(url: str | None) -> str | None:
    """A link out of the CRMs or the settings that is one: http or https. Anything else, javascript: above all, is no link."""
    return url if url and re.match(r"https?://[^\s\"'<>\\]+\Z", url) else None


def _parameters(query: str) -> QueryParams:
    """The parameters of a query as the worklist's form carries it."""
    return QueryParams(query.removeprefix("?")[:4000])


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and int(text[:9]) > 0 else default


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _as_moment(text: str) -> datetime:
    """A moment of the manifest."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
