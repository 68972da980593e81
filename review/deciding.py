"""Decisions: the only thing that the desk writes, and it goes into the decisions store.

When something stands in the way, what was typed is shown again with the reason: an entry is missing, the store does not answer, or somebody else
decided meanwhile.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from assets.problems import WarehouseProblem
from assets.published.decisions import Action, Decision, end_of, objection
from assets.published.worklist import Filter
from review import words
from review.access import tidy_line, tidy_name
from review.desk import Snapshot, with_names
from review.filters import read_filter
from review.language import Language
from review.site import PAGE_SIZE, Site, flash, language_of, local_path, now, number_of, parameters, text_of

MOST_AT_ONCE = 10_000  # decisions by one click; more is a matter for `bindwatch decide`


class _Objection(Exception):
    """Nothing is decided; the text says why, to whoever sent the form."""


@dataclass(frozen=True)
class _Wish:
    """What a form asks for. seen: the number of the last decision that its page knew of; None when it does not say."""

    action: Action
    user: str
    owner: str | None
    reason: str | None
    until: datetime | None
    seen: int | None
    properties: tuple[str, ...] = ()


class Deciding:
    """Who decides has a name: from the proxy, or given on the spot."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def decide(self, request: Request) -> Response:
        """Records a decision about one finding, about those that were ticked, or about all that match a filter."""
        form = await self.site.read_form(request)
        return await run_in_threadpool(self._decide, request, form)

    def _decide(self, request: Request, form: FormData) -> Response:
        language = language_of(request)
        snapshot = self.site.desk.snapshot()
        worklist = snapshot.worklist
        findings: list[dict[str, Any]] = []
        try:
            findings = self._chosen(form, snapshot, language)
            wish = _read_wish(request, form, language)
        except _Objection as problem:
            return self._again(request, form, snapshot, findings, str(problem), 422)
        if request.state.user is None:
            request.session["user"] = wish.user
        if worklist.problem is not None:
            worklist.refresh(at_once=True)
        standing = {row["fingerprint"] for row in worklist.decisions if row["action"] != "undo" and not row["is_undone"]}
        objections = [objection(wish.action, finding, finding["fingerprint"] in standing, wish.properties) for finding in findings]
        refused = [found for found in objections if found]
        decided = [finding for finding, found in zip(findings, objections, strict=True) if not found]
        try:
            worklist.insist()
            decisions = [Decision(wish.action, wish.user, finding, wish.owner, wish.reason, wish.until, wish.properties) for finding in decided]
            others = worklist.store.record(decisions, seen=wish.seen) if decisions else {}
        except WarehouseProblem as problem:
            return self._again(request, form, snapshot, findings, language.text(words.STORE_AWAY), 503, detail=str(problem))
        recorded = len(decided) - len(others)
        if recorded:
            singular, plural = words.DONE[wish.action] if wish.action != "assign" or wish.owner else words.UNASSIGNED
            until = language.day(wish.until) if wish.until else ""
            flash(request, language.plural(singular, plural, recorded, owner=wish.owner or "", until=until))
        if refused:
            flash(request, language.plural(*words.REFUSED[refused[0]], len(refused)), is_problem=True)
        if others:
            worklist.refresh()
            concerned = worklist.find(Filter(statuses=(), fingerprints=tuple(others)))
            seen = max(row["decision_no"] for rows in others.values() for row in rows)
            text = language.plural(*words.OTHERS_DECIDED, len(others))
            return self._again(request, form, snapshot, concerned, text, 409, others=others, seen=seen)
        return RedirectResponse(local_path(form.get("next")), 303)

    def _chosen(self, form: FormData, snapshot: Snapshot, language: Language) -> list[dict[str, Any]]:
        """The findings that a form is about. Raises _Objection when there is none, or there are too many."""
        worklist = snapshot.worklist
        if form.get("all"):
            wanted = read_filter(parameters(text_of(form, "filter")))
            self.site.check(wanted, snapshot)
            findings = worklist.find(wanted, limit=MOST_AT_ONCE + 1)
            if len(findings) > MOST_AT_ONCE:
                raise _Objection(language.text(words.TOO_MANY_AT_ONCE, number=language.number(MOST_AT_ONCE)))
        else:
            ticked = [value for value in form.getlist("finding") if isinstance(value, str)]
            findings = worklist.find(Filter(statuses=(), fingerprints=tuple(ticked))) if ticked else []
        if not findings:
            raise _Objection(language.text(words.NOTHING_TICKED))
        return findings

    def _again(
        self, request: Request, form: FormData, snapshot: Snapshot, findings: list[dict[str, Any]], problem: str, status: int, *,
        detail: str | None = None, others: dict[str, list[dict[str, Any]]] | None = None, seen: int | None = None,
    ) -> Response:  # fmt: skip
        """The form once more, with what was typed. findings: those that it is about; without any, those of the list that it came from, to be ticked.

        others: what was decided meanwhile, by fingerprint; seen: the number of the last decision that this page shows, when not that of the form.
        """
        back = local_path(form.get("next"))
        is_all = bool(form.get("all")) and others is None
        shown = findings[:PAGE_SIZE]
        if not findings and back.startswith("/findings"):
            wanted = read_filter(parameters(back.partition("?")[2]))
            page = number_of(parameters(back.partition("?")[2]).get("page"), 1)
            self.site.check(wanted, snapshot)
            shown = snapshot.worklist.find(wanted, PAGE_SIZE, (page - 1) * PAGE_SIZE)
        typed = {name: text_of(form, name)[:1000] for name in ("user", "owner", "reason", "until", "nobody", "accept_reason")}
        answer = self.site.page(
            request, "again.html", snapshot=snapshot, problem=problem, detail=detail, findings=with_names(snapshot, shown), ticked=bool(findings),
            hidden=len(findings) - len(shown) if findings and not is_all else 0, total=len(findings), is_all=is_all, filter=text_of(form, "filter"),
            others=others or {}, seen=text_of(form, "seen") if seen is None else seen, typed=typed, here=back, back=back,
        )  # fmt: skip
        answer.status_code = status
        return answer


def _read_wish(request: Request, form: FormData, language: Language) -> _Wish:
    """Raises _Objection when something is missing."""
    user = request.state.user or tidy_name(text_of(form, "user"))
    if user is None:
        raise _Objection(language.text(words.SAY_WHO_YOU_ARE))
    action = text_of(form, "action")
    if action not in words.DONE:
        raise _Objection(language.text(words.NOTHING_TO_DO))
    owner, reason, until = tidy_name(text_of(form, "owner")), tidy_line(text_of(form, "reason"))[:1000] or None, None
    if action == "assign" and owner is None and not form.get("nobody"):
        raise _Objection(language.text(words.SAY_TO_WHOM))
    if action == "waive":
        with suppress(ValueError):
            until = end_of(date.fromisoformat(text_of(form, "until")))
        if reason is None:
            raise _Objection(language.text(words.SAY_WHY))
        if until is None or until <= now():
            raise _Objection(language.text(words.SAY_UNTIL_WHEN))
    properties: tuple[str, ...] = ()
    if action == "accept":
        reason = tidy_line(text_of(form, "accept_reason"))[:1000] or None
        if reason is None:
            raise _Objection(language.text(words.SAY_WHY_ACCEPTED))
        properties = tuple(value for value in form.getlist("property") if isinstance(value, str))
    seen = text_of(form, "seen")
    known = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 10 else None
    return _Wish(cast(Action, action), user, owner if action == "assign" else None, reason, until, known, properties)
