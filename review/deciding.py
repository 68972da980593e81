"""Decisions: the only thing that the desk writes, and it goes into the decisions store."""

from contextlib import suppress
from datetime import date
from typing import cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from assets.published.decisions import Action, Decision, end_of, objection
from assets.published.worklist import Filter
from review import words
from review.access import tidy_line, tidy_name
from review.filters import read_filter
from review.site import Site, flash, language_of, local_path, now, parameters, text_of

MOST_AT_ONCE = 10_000  # decisions by one click; more is a matter for `bindwatch decide`


class Deciding:
    """Who decides has a name: from the proxy, or given on the spot."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def decide(self, request: Request) -> Response:
        """Records a decision about one finding, about those that were ticked, or about all that match a filter."""
        form = await self.site.read_form(request)
        back = local_path(form.get("next"))
        problem = await run_in_threadpool(self._decide, request, form)
        if problem:
            flash(request, problem, is_problem=True)
        return RedirectResponse(back, 303)

    def _decide(self, request: Request, form: FormData) -> str | None:
        """Returns why nothing was decided, or None."""
        language = language_of(request)
        user = request.state.user or tidy_name(text_of(form, "user"))
        if user is None:
            return language.text(words.SAY_WHO_YOU_ARE)
        action = text_of(form, "action")
        if action not in words.DONE:
            return language.text(words.NOTHING_TO_DO)
        owner, reason, until = tidy_name(text_of(form, "owner")), tidy_line(text_of(form, "reason"))[:1000] or None, None
        if action == "assign" and owner is None and not form.get("nobody"):
            return language.text(words.SAY_TO_WHOM)
        if action == "waive":
            with suppress(ValueError):
                until = end_of(date.fromisoformat(text_of(form, "until")))
            if reason is None:
                return language.text(words.SAY_WHY)
            if until is None or until <= now():
                return language.text(words.SAY_UNTIL_WHEN)
        if request.state.user is None:
            request.session["user"] = user
        snapshot = self.site.desk.snapshot()
        worklist = snapshot.worklist
        if form.get("all"):
            wanted = read_filter(parameters(text_of(form, "filter")))
            self.site.check(wanted, snapshot)
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
            flash(request, language.plural(singular, plural, len(decided), owner=owner or "", until=language.day(until) if until else ""))
        if refused:
            return language.plural(*words.REFUSED[refused[0]], len(refused))
        return None
