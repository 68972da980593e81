"""Decisions: the only thing that the desk writes, and it goes into the decisions store.

When something stands in the way, what was typed is shown again with the reason: an entry is missing, the store does not answer, or somebody else
decided meanwhile.
"""

from collections import Counter
from collections.abc import Sequence
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
from review.cases import CaseFilter
from review.desk_data import Snapshot, known_owners, with_names
from review.filters import read_case_filter, read_filter
from review.language import Language
from review.site import PAGE_SIZE, Site, flash, language_of, local_path, mark_of, now, number_of, parameters, shown_part, text_of

CASE = "person_case"  # instead of a check's name, in what is decided about a case as a whole
CARRIED = ("assign", "acknowledge")  # what holds for findings of a case that come later
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
        cases: list[dict[str, Any]] = []
        waived = 0
        try:
            cases = self._chosen_cases(form, snapshot)
            findings = self._chosen(form, snapshot, language, cases)
            wish = _read_wish(request, form, language, known_owners(snapshot))
            if wish.action == "acknowledge" and not form.get("waived_too"):
                of_all, findings = findings, [finding for finding in findings if finding["status"] != "waived"]
                waived = len(of_all) - len(findings)
                if not findings:
                    raise _Objection(language.plural(*words.ONLY_WAIVED, waived))
        except _Objection as problem:
            return self._again(request, form, snapshot, findings, str(problem), 422, cases=[case["case_id"] for case in cases])
        if request.state.user is None:
            request.session["user"] = wish.user
        if form.get("all") and text_of(form, "sure") != mark_of(finding["fingerprint"] for finding in findings):
            return self._ask(request, form, snapshot, findings, cases, wish, waived)
        if worklist.problem is not None:
            worklist.refresh(at_once=True)
        standing = {row["fingerprint"]: row for row in worklist.decisions if row["action"] != "undo" and not row["is_undone"]}
        if cases:
            findings = [*findings, *(_as_subject(case) for case in cases if wish.action in CARRIED)]
        if cases and wish.action == "undo":
            findings = _of_last_click(cases, findings, standing)
        objections = [objection(wish.action, finding, finding["fingerprint"] in standing, wish.properties) for finding in findings]
        refused = [found for found in objections if found]
        decided = [finding for finding, found in zip(findings, objections, strict=True) if not found]
        try:
            worklist.insist()
            decisions = [Decision(wish.action, wish.user, finding, wish.owner, wish.reason, wish.until, wish.properties) for finding in decided]
            moment = now()
            others = worklist.store.record(decisions, moment, wish.seen) if decisions else {}
        except WarehouseProblem as problem:
            return self._again(
                request, form, snapshot, findings, language.text(words.STORE_AWAY), 503, cases=[case["case_id"] for case in cases], detail=str(problem)
            )
        recorded = sum(finding["check_name"] != CASE and finding["fingerprint"] not in others for finding in decided)
        if recorded:
            singular, plural = words.DONE[wish.action] if wish.action != "assign" or wish.owner else words.UNASSIGNED
            until = language.day(wish.until) if wish.until else ""
            said = language.plural(singular, plural, recorded, owner=wish.owner or "", until=until)
            said = f"{_named(cases[0])}: {said}" if len(cases) == 1 and _named(cases[0]) else said
            flash(request, said, undo=moment.isoformat() if wish.action != "undo" else None)
        if waived:
            flash(request, language.plural(*words.WAIVED_LEFT, waived))
        if refused and not (cases and decided):  # of a person's findings those are meant that it can be decided about
            flash(request, language.plural(*words.REFUSED[refused[0]], len(refused)), is_problem=True)
        if others:
            worklist.refresh()
            concerned = worklist.find(Filter(statuses=(), fingerprints=tuple(others)))
            seen = max(row["decision_no"] for rows in others.values() for row in rows)
            text = language.plural(*words.OTHERS_DECIDED, len(concerned))
            again = [case["case_id"] for case in cases if not others.keys().isdisjoint([case["case_id"], *case["fingerprints"]])]
            return self._again(request, form, snapshot, concerned, text, 409, cases=again, others=others, seen=seen)
        return RedirectResponse(local_path((wish.action != "undo" and form.get("then")) or form.get("next")), 303)

    async def undo(self, request: Request) -> Response:
        """Takes a click back that was just made: every decision of it that is still the last one about its finding."""
        form = await self.site.read_form(request)
        return await run_in_threadpool(self._undo, request, form)

    def _undo(self, request: Request, form: FormData) -> Response:
        language = language_of(request)
        worklist = self.site.desk.snapshot().worklist
        user, click = request.state.user, text_of(form, "click")
        last = {row["fingerprint"]: row for row in worklist.decisions if row["action"] != "undo" and not row["is_undone"]}
        made = [row for row in last.values() if row["decided_by"] == user and row["decided_at"].isoformat() == click]
        try:
            worklist.insist()
            if made:
                worklist.store.record([Decision("undo", str(user), row) for row in made])
        except WarehouseProblem:
            flash(request, language.text(words.STORE_AWAY), is_problem=True)
            return RedirectResponse(local_path(form.get("next")), 303)
        number = sum(row["check_name"] != CASE for row in made) or 1
        singular, plural = words.DONE["undo"] if made else words.REFUSED["nothing_decided"]
        flash(request, language.plural(singular, plural, number), is_problem=not made)
        return RedirectResponse(local_path(form.get("next")), 303)

    def _ask(
        self, request: Request, form: FormData, snapshot: Snapshot, findings: list[dict[str, Any]], cases: list[dict[str, Any]], wish: _Wish, waived: int,
    ) -> Response:  # fmt: skip
        """Before something is decided about everything that matches: what that is, in numbers."""
        checks = Counter(finding["check_name"] for finding in findings)
        sent = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and name not in ("form_token", "sure", "finding", "case")]
        return self.site.page(
            request, "confirm.html", snapshot=snapshot, wish=wish, total=len(findings), cases=len(cases),
            sure=mark_of(finding["fingerprint"] for finding in findings), checks=checks.most_common(), sent=sent, waived=waived,
            taken=sum(finding["owner"] not in (None, wish.owner) for finding in findings) if wish.action == "assign" else 0, back=local_path(form.get("next")),
            here=local_path(form.get("next")),
        )  # fmt: skip

    def _chosen_cases(self, form: FormData, snapshot: Snapshot) -> list[dict[str, Any]]:
        """The cases that a form is about; none, where it is about findings."""
        if form.get("all") and form.get("cases") is not None:
            wanted = read_case_filter(parameters(text_of(form, "cases")))
            self.site.check_cases(wanted)
            return snapshot.cases.find(wanted, limit=MOST_AT_ONCE + 1)
        ticked = tuple(value for value in form.getlist("case") if isinstance(value, str))
        return snapshot.cases.find(CaseFilter(ids=ticked)) if ticked else []

    def _chosen(self, form: FormData, snapshot: Snapshot, language: Language, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The findings that a form is about: those that its cases hold now, or those that it names. Raises _Objection when there is none, or there are too
        many.
        """
        worklist = snapshot.worklist
        if cases:
            held = tuple(fingerprint for case in cases for fingerprint in case["fingerprints"])
            if len(held) > MOST_AT_ONCE:
                raise _Objection(language.text(words.TOO_MANY_AT_ONCE, number=language.number(MOST_AT_ONCE)))
            ticked = {value for value in form.getlist("finding") if isinstance(value, str)}  # of a form that is shown again
            findings = worklist.find(Filter(statuses=(), fingerprints=tuple(name for name in held if not ticked or name in ticked)))
        elif form.get("all") and form.get("cases") is None:
            wanted = read_filter(parameters(text_of(form, "filter")))
            self.site.check(wanted, snapshot)
            findings = worklist.find(wanted, limit=MOST_AT_ONCE + 1)
            if len(findings) > MOST_AT_ONCE:
                raise _Objection(language.text(words.TOO_MANY_AT_ONCE, number=language.number(MOST_AT_ONCE)))
        else:
            named = tuple(value for value in form.getlist("finding") if isinstance(value, str))
            findings = worklist.find(Filter(statuses=(), fingerprints=named)) if named else []
        if not findings:
            raise _Objection(language.text(words.NOTHING_TICKED))
        return findings

    def _again(
        self, request: Request, form: FormData, snapshot: Snapshot, findings: list[dict[str, Any]], problem: str, status: int, *,
        cases: Sequence[str] = (), detail: str | None = None, others: dict[str, list[dict[str, Any]]] | None = None, seen: int | None = None,
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
            cases=cases, cases_filter=form.get("cases"), others=others or {}, seen=text_of(form, "seen") if seen is None else seen, typed=typed,
            here=back, back=back,
        )  # fmt: skip
        answer.status_code = status
        return answer


def _named(case: dict[str, Any]) -> str:
    """Whom a case is about, for a sentence; nothing that must not stand in a cookie, such as an e-mail."""
    return shown_part(str(case["display_name"] or ""), len(case["display_name"] or ""), 80)[0] if "@" not in (case["display_name"] or "") else ""


def _as_subject(case: dict[str, Any]) -> dict[str, Any]:
    """A case as a decision names it, so that what holds for what comes later is remembered with it."""
    contact_id = next(iter(case["hubspot_contact_ids"]), None)
    return {
        "fingerprint": case["case_id"], "subject": case["case_id"], "check_name": CASE, "hubspot_contact_id": contact_id, "salesforce_id": None,
        "status": case["status"], "severity": case["severity"], "fields_at_risk": [],
    }  # fmt: skip


def _of_last_click(cases: list[dict[str, Any]], findings: list[dict[str, Any]], standing: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Of what cases hold, what was decided with the last click about them, so that undoing takes back that click and no earlier one."""
    by_fingerprint = {finding["fingerprint"]: finding for finding in findings}
    found: list[dict[str, Any]] = []
    for case in cases:
        about = {**{name: by_fingerprint[name] for name in case["fingerprints"] if name in by_fingerprint}, case["case_id"]: _as_subject(case)}
        decided = {name: standing[name] for name in about if name in standing}
        last = max((row["decision_no"] for row in decided.values()), default=None)
        if last is None:
            found += [finding for name, finding in about.items() if name != case["case_id"]]
            continue
        click = next((row["decided_at"], row["decided_by"], row["action"]) for row in decided.values() if row["decision_no"] == last)
        found += [about[name] for name, row in decided.items() if (row["decided_at"], row["decided_by"], row["action"]) == click]
    return found


def _known_name(typed: str | None, owners: Sequence[str]) -> str | None:
    """A person has one spelling: that of who takes care of something already, or of the users that were pulled."""
    return next((name for name in owners if typed is not None and name.casefold() == typed.casefold()), typed)


def _read_wish(request: Request, form: FormData, language: Language, owners: Sequence[str]) -> _Wish:
    """owners: the people who are known. Raises _Objection when something is missing."""
    user = request.state.user or tidy_name(text_of(form, "user"))
    if user is None:
        raise _Objection(language.text(words.SAY_WHO_YOU_ARE))
    action = text_of(form, "action")
    if action not in words.DONE:
        raise _Objection(language.text(words.NOTHING_TO_DO))
    if action in ("waive", "accept") and not request.state.may_waive:
        raise _Objection(language.text(words.NOT_YOURS_TO_WAIVE))
    owner, reason, until = _known_name(tidy_name(text_of(form, "owner")), owners), tidy_line(text_of(form, "reason"))[:1000] or None, None
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
