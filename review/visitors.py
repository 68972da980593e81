"""Who is asking: a name, a language, a token."""

import logging
from datetime import datetime, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from review import words
from review.access import tidy_name
from review.guesses import COME_AGAIN_SECONDS
from review.language import LANGUAGES
from review.site import Site, flash, language_of, local_path, now, text_of

log = logging.getLogger("bindwatch.desk")


PAUSE_MINUTES = 30  # who comes again after it comes anew


def last_visit(request: Request) -> datetime | None:
    """When the visit before this one ended; None for somebody who is here for the first time. A visit ends when nobody looks for PAUSE_MINUTES."""
    moment, session = now(), request.session
    last = datetime.fromisoformat(session["looked_at"]) if "looked_at" in session else None
    if last is not None and moment - last > timedelta(minutes=PAUSE_MINUTES):
        session["visit_before"] = last.isoformat(timespec="seconds")
    if last is None or moment - last > timedelta(minutes=1):
        session["looked_at"] = moment.isoformat(timespec="seconds")
    return datetime.fromisoformat(session["visit_before"]) if "visit_before" in session else None


class Visitors:
    """What is remembered of a visitor is in the signed cookie of the browser."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def show_name(self, request: Request) -> Response:
        return self.site.page(request, "name.html", next=local_path(request.query_params.get("next")))

    async def take_name(self, request: Request) -> Response:
        form = await self.site.read_form(request)
        name = tidy_name(text_of(form, "user"))
        if name is None:
            request.session.pop("user", None)
        else:
            request.session["user"] = name
        return RedirectResponse(local_path(form.get("next")), 303)

    async def take_language(self, request: Request) -> Response:
        form = await self.site.read_form(request)
        if text_of(form, "language") in LANGUAGES:
            request.session["language"] = text_of(form, "language")
        return RedirectResponse(local_path(form.get("next")), 303)

    def show_login(self, request: Request) -> Response:
        if self.site.settings.entrance.token is None:
            raise HTTPException(404)
        return self.site.page(request, "login.html", next=local_path(request.query_params.get("next")))

    async def log_in(self, request: Request) -> Response:
        form = await self.site.read_form(request)
        entrance = self.site.settings.entrance
        if entrance.token is None:
            raise HTTPException(404)
        fits = await self.site.guesses.judge(entrance.client_of(request), text_of(form, "token").strip())
        if fits is None:
            raise HTTPException(429, headers={"Retry-After": str(COME_AGAIN_SECONDS)})
        if not fits:
            flash(request, language_of(request).text(words.WRONG_TOKEN), is_problem=True)
            return RedirectResponse("/login", 303)
        entrance.admit(request.session)
        return RedirectResponse(local_path(form.get("next")), 303)

    async def log_out(self, request: Request) -> Response:
        """Ends the session for every copy of its cookie."""
        await self.site.read_form(request)
        if self.site.settings.entrance.has_ticket(request.session):
            try:
                self.site.ended.add(request.session["id"])
            except OSError as error:
                log.warning("a log-out could not be noted (%s): it holds until the desk is closed", error.strerror)
        request.session.clear()
        return RedirectResponse("/", 303)
