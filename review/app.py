"""The desk as a web application: which path is answered by what, and what goes wrong."""

import logging
import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assets.problems import WarehouseProblem
from review.access import Gatekeeper, Refusal, read_session_key
from review.deciding import Deciding
from review.ended import LONGEST
from review.exports import Exports
from review.guesses import COME_AGAIN_SECONDS
from review.pages import Pages
from review.planned import Plans
from review.site import EMAIL, FOLDER, Settings, Site, local_path
from review.visitors import Visitors

log = logging.getLogger("bindwatch.desk")


def create_app(settings: Settings) -> Starlette:
    """The desk as an ASGI application. Raises ConfigurationProblem when it would be open to a network."""
    site = Site(settings)
    pages, plans, deciding, exports, visitors, faults = Pages(site), Plans(site), Deciding(site), Exports(site), Visitors(site), _Faults(site)
    routes = [
        Route("/", pages.show_overview),
        Route("/findings", pages.show_worklist, methods=["GET"]),
        Route("/findings", pages.search, methods=["POST"]),
        Route("/findings/{fingerprint:str}", pages.show_finding),
        Route("/decisions", deciding.decide, methods=["POST"]),
        Route("/export/worklist.csv", exports.worklist),
        Route("/export/run-book.csv", exports.run_book),
        Route("/export/merges.csv", exports.merges),
        Route("/plans", plans.show_plans, methods=["GET"]),
        Route("/plans", plans.judge_plan, methods=["POST"]),
        Route("/damage", pages.show_damage),
        Route("/damage.html", pages.print_damage),
        Route("/export/planned-merges.csv", exports.planned_merges),
        Route("/export/restore.zip", exports.restore_plan),
        Route("/rules", pages.show_rules),
        Route("/name", visitors.show_name, methods=["GET"]),
        Route("/name", visitors.take_name, methods=["POST"]),
        Route("/language", visitors.take_language, methods=["POST"]),
        Route("/login", visitors.show_login, methods=["GET"]),
        Route("/login", visitors.log_in, methods=["POST"]),
        Route("/logout", visitors.log_out, methods=["POST"]),
        Route("/health", pages.show_health),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]
    is_https = (settings.entrance.desk_url or "").startswith("https://")
    middleware = [
        Middleware(_RequestLog),
        Middleware(SessionMiddleware, secret_key=read_session_key(settings.home), session_cookie="bindwatch_desk", max_age=LONGEST, https_only=is_https),
        Middleware(Gatekeeper, entrance=settings.entrance, guesses=site.guesses, ended=site.ended, refuse=faults.refuse),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: faults.handle_http_error,
        WarehouseProblem: faults.handle_no_snapshot,
        Exception: faults.handle_bug,
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
                shown = EMAIL.sub("…", scope["path"].encode("ascii", "replace").decode()) if len(scope["path"]) < 200 else "…"
                log.info("%s %r %d %.0f ms", scope["method"], shown, status, (time.perf_counter() - started) * 1000)


class _Faults:
    """Pages for what cannot be answered."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def refuse(self, request: Request, refusal: Refusal) -> Response:
        if refusal.status == 401 and self.site.settings.entrance.token is not None and request.method in ("GET", "HEAD"):
            back = request.url.path if request.url.path != "/" else None
            return RedirectResponse("/login" + (f"?next={back}" if back and local_path(back) == back else ""), 303)
        headers = {"Retry-After": str(COME_AGAIN_SECONDS)} if refusal.status == 429 else None
        return self.site.error_page(request, refusal.status, headers, text=refusal.text)

    def handle_http_error(self, request: Request, error: Exception) -> Response:
        return self.site.error_page(request, error.status_code if isinstance(error, HTTPException) else 500, getattr(error, "headers", None))

    def handle_no_snapshot(self, request: Request, error: Exception) -> Response:
        log.warning("%s", error)
        return self.site.error_page(request, 503, detail=str(error))

    def handle_bug(self, request: Request, error: Exception) -> Response:
        return self.site.error_page(request, 500)
