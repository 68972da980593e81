"""The desk as a web application: which path is answered by what, and what goes wrong."""

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assets.problems import Problem, WarehouseProblem, frames_of
from review import words
from review.access import SECURITY_HEADERS, Gatekeeper, Refusal, read_session_key
from review.basket import Baskets
from review.deciding import Deciding
from review.ended import LONGEST
from review.exports import Exports
from review.guesses import COME_AGAIN_SECONDS
from review.pages import Pages
from review.planned import Plans
from review.portal_settings import PortalSettings
from review.prefix import Prefix, prefix_of
from review.site import EMAIL, FOLDER, Settings, Site, local_path
from review.turns import Turns
from review.visitors import Visitors
from review.what_if import WhatIf

log = logging.getLogger("bindwatch.desk")


def create_app(settings: Settings) -> Starlette:
    """The desk as an ASGI application; its Desk is state.desk. Raises ConfigurationProblem when it would be open to a network, or cannot be reached where it
    is said to be.
    """
    site = Site(settings)
    pages, plans, deciding, exports, visitors, faults = Pages(site), Plans(site), Deciding(site), Exports(site), Visitors(site), _Faults(site)
    baskets, what_if = Baskets(site), WhatIf(site)
    routes: list[Route | Mount] = [
        Route("/", pages.show_overview),
        Route("/findings", pages.show_worklist, methods=["GET"]),
        Route("/findings", pages.search, methods=["POST"]),
        Route("/findings/{fingerprint:str}", pages.show_finding),
        Route("/cases", pages.show_cases, methods=["GET"]),
        Route("/cases", pages.search_cases, methods=["POST"]),
        Route("/cases/{case_id:str}", pages.show_case),
        Route("/views", pages.save_view, methods=["POST"]),
        Route("/decisions", deciding.decide, methods=["POST"]),
        Route("/decisions/undo", deciding.undo, methods=["POST"]),
        Route("/basket", baskets.show),
        Route("/basket/put", baskets.put, methods=["POST"]),
        Route("/basket/remove", baskets.remove, methods=["POST"]),
        Route("/basket/files", baskets.take, methods=["POST"]),
        Route("/basket/safe", baskets.show_safe, methods=["GET"]),
        Route("/basket/safe", baskets.take_safe, methods=["POST"]),
        Route("/export/merges.csv", exports.merges),
        Route("/export/restore.zip", exports.restore_plan),
        Route("/export/{name:str}.{ending:str}", exports.table),
        Route("/plans", plans.show_plans, methods=["GET"]),
        Route("/plans", plans.judge_plan, methods=["POST"]),
        Route("/plans/{plan:str}", plans.show_judged, methods=["GET"]),
        Route("/plans/{plan:str}/again", plans.judge_again, methods=["POST"]),
        Route("/plans/{plan:str}/keep", plans.keep, methods=["POST"]),
        Route("/plans/{plan:str}/{what:str}", plans.send, methods=["GET"]),
        Route("/what-if", what_if.show, methods=["GET"]),
        Route("/what-if", what_if.judge, methods=["POST"]),
        Route("/what-if/{answer:str}", what_if.show_answer),
        Route("/what-if/{answer:str}/{what:str}", what_if.send),
        Route("/damage", pages.show_damage),
        Route("/damage.html", pages.print_damage),
        Route("/rules", pages.show_rules),
        Route("/settings", PortalSettings(site).show),
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
    taken = {route.path.split("/")[1] for route in routes} - {""}
    prefix_of(settings.entrance.desk_url, taken)  # said at the start, not to the first who comes
    middleware = [
        Middleware(Prefix, entrance=settings.entrance, taken=taken),
        Middleware(_RequestLog),
        Middleware(_Bugs, answer=faults.answer_bug),
        Middleware(SessionMiddleware, secret_key=read_session_key(settings.home), session_cookie="bindwatch_desk", max_age=LONGEST, https_only=is_https),
        Middleware(Gatekeeper, entrance=settings.entrance, guesses=site.guesses, ended=site.ended, refuse=faults.refuse),
        Middleware(Turns),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: faults.handle_http_error,
        WarehouseProblem: faults.handle_no_snapshot,
    }
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    app.state.desk = site.desk
    return app


class _RequestLog:
    """One line a request: method, path, status, milliseconds. Never a query, a form or a name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499  # unless somebody is answered: whoever asked is gone

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


class _Bugs:
    """The end of every exception that nobody expected: a page, and where it happened in the log. A traceback is printed nowhere: what a library says may
    quote a record.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Request], Response]) -> None:
        self.app = app
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        except ClientDisconnect:
            pass  # in the middle of a form: nobody is there to be answered
        except Exception as error:
            _tell_of_bug(error)
            if not has_begun and scope["type"] == "http":
                await self._answered(scope)(scope, receive, send)

    def _answered(self, scope: Scope) -> Response:
        try:
            return self.answer(Request(scope))
        except Exception as error:  # the page itself may be what is broken
            _tell_of_bug(error)
            return PlainTextResponse(words.ERRORS[500][1], 500, SECURITY_HEADERS)


def _tell_of_bug(error: Exception) -> None:
    said = f"{type(error).__name__}{f': {error}' if isinstance(error, Problem) else ''}"
    log.error("%s", "\n".join(["a bug in Bindwatch; it came through (innermost last):", *frames_of(error), said]))


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

    def answer_bug(self, request: Request) -> Response:
        """Stands outside of what else gives an answer its headers and a request its session."""
        request.scope.setdefault("session", {})
        return self.site.error_page(request, 500, {**SECURITY_HEADERS, "Cache-Control": "no-store"})
