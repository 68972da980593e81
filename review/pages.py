"""The pages that show what the last run found."""

from typing import Any

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.decisions import ACCEPTABLE, has_decision
from assets.published.worklist import OBJECTS, STATUSES, Filter
from review import words
from review.access import tidy_line, tidy_name
from review.basket import basket_of, choices_of, in_baskets, undecided_safe
from review.cases import SORTS, CaseFilter
from review.casework import IN_AN_HOUR, changed_since, place_of, read_case, subject_of
from review.chart import draw_runs
from review.choosing import MISSING, fields_of
from review.damage_report import CONTACTS_AT_ONCE, figures, report
from review.deciding import MOST_AT_ONCE
from review.desk_data import known_owners, overview, scores, with_names
from review.filters import chosen, read_case_filter, read_filter, write_case_filter, write_filter
from review.finding import compare, contacts_beside, read_contact, read_jump, same_person, sentences, timeline
from review.health import Health
from review.language import Language
from review.numbered_rules import group_rules, named_rules, read_rules
from review.portal_settings import summary
from review.run_book import read_steps
from review.site import FOLDER, PAGE_SIZE, Site, flash, language_of, number_of, parameters, text_of
from review.visitors import last_visit


def _before_run_book(language: Language, finding: dict[str, Any], advice: list[dict[str, Any]]) -> str:
    """What a finding asks for, without the first step of the run-book that is shown after it."""
    action = str(language.of_finding(finding, "action"))
    return action.removesuffix(str(language.of_finding(advice[0], "reason"))) if advice else action


class Pages:
    """Each reads the snapshot that is current when it is asked for."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.health = Health(site)

    def show_overview(self, request: Request) -> Response:
        snapshot = self.site.desk.snapshot()
        language = language_of(request)
        facts = overview(snapshot)
        facts["chart"] = draw_runs(facts["runs"], language)
        today = snapshot.cases.find(CaseFilter({"status": ("open", "acknowledged")}), IN_AN_HOUR)
        before = last_visit(request)
        since = changed_since(snapshot, before, request.state.user) if before else None
        return self.site.page(
            request, "overview.html", snapshot=snapshot, today=today, since=since, place_of=place_of, figures=figures(snapshot), settings=summary(snapshot),
            safe=len(undecided_safe(snapshot)), **facts,
        )  # fmt: skip

    def show_cases(self, request: Request) -> Response:
        """People, the most urgent first: to look for one, to pick some, to decide about several at once."""
        wanted = read_case_filter(request.query_params)
        if wanted.text and "@" in wanted.text:
            return self._find_cases(request, wanted.text)
        snapshot = self.site.desk.snapshot()
        seen = snapshot.worklist.latest_no
        self.site.check_cases(wanted)
        total = snapshot.cases.count(wanted)
        pages = max(1, -(-total // PAGE_SIZE))
        page = min(number_of(request.query_params.get("page"), 1), pages)
        cases = snapshot.cases.find(wanted, PAGE_SIZE, (page - 1) * PAGE_SIZE)
        return self.site.page(
            request, "cases.html", snapshot=snapshot, wanted=wanted, cases=cases, total=total, safe=len(undecided_safe(snapshot)),
            baskets=in_baskets(snapshot),
            page=page, pages=pages, facets=snapshot.cases.facets(wanted), place_of=place_of, figures=figures(snapshot), sorts=SORTS, seen=seen,
            most_at_once=MOST_AT_ONCE, owners=known_owners(snapshot), views=self._views(snapshot),
        )  # fmt: skip

    def show_case(self, request: Request) -> Response:
        snapshot = self.site.desk.snapshot()
        seen = snapshot.worklist.latest_no
        language = language_of(request)
        case = snapshot.cases.one(request.path_params["case_id"])
        if case is None:
            return self._settled(request, snapshot)
        held = read_case(snapshot, case, language)
        subject = subject_of(held["findings"], case)
        contact, binding = read_contact(snapshot, subject)
        comparison = compare(snapshot, subject, contact, binding)
        events, event_count = timeline(snapshot, held["findings"], comparison)
        beside = contacts_beside(snapshot, subject, contact)
        user = request.state.user
        mine = basket_of(snapshot.worklist.store, user)
        fields = fields_of(snapshot, case, contact["contact_id"] if contact else None, comparison, choices_of(mine))
        wanted = read_case_filter(request.query_params)
        self.site.check_cases(wanted)
        baskets = [person for person in in_baskets(snapshot).get(case["case_id"], []) if person != user]
        number, total, before, after = snapshot.cases.place(wanted, case["case_no"])
        then = f"/cases/{after or ''}".rstrip("/") + write_case_filter(wanted) if number else None
        decisions = [row for name in (case["case_id"], *case["fingerprints"]) for row in snapshot.worklist.decided_about(name)]
        return self.site.page(
            request, "case.html", snapshot=snapshot, case=case, **held, missing=MISSING, contact=contact, binding=binding, comparison=comparison, events=events,
            event_count=event_count, beside=beside, cases_of=snapshot.cases.of_contacts([other["contact_id"] for other in beside]), jump={}, subject=subject,
            place_of=place_of, seen=seen, owners=known_owners(snapshot), can_undo=has_decision(decisions), score=scores(snapshot).get("history"),
            can_accept=any(finding["check_name"] in ACCEPTABLE for finding in held["findings"]), fields=fields,
            wanted=wanted, number=number, total=total, before=before, after=after, then=then,
            mine=[item for item in mine if item["case_id"] == case["case_id"]], baskets=baskets,
        )  # fmt: skip

    def _settled(self, request: Request, snapshot: Any) -> Response:
        """A case that held something when the run ended, and whose findings were all accepted since: there is a page that says so."""
        held = snapshot.query("select fingerprint from main.found where case_id = ? limit 1", [request.path_params["case_id"]])
        if not held:
            raise HTTPException(404)
        flash(request, language_of(request).text(words.CASE_SETTLED))
        return RedirectResponse("/cases", 303)

    async def search_cases(self, request: Request) -> Response:
        """The form of the list: sends the browser to the URL that says the same, without what must not stand in one."""
        form = await self.site.read_form(request)
        wanted = read_case_filter(form)
        if wanted.text and "@" in wanted.text:
            return await run_in_threadpool(self._find_cases, request, wanted.text)
        return RedirectResponse(f"/cases{write_case_filter(wanted)}", 303)

    async def save_view(self, request: Request) -> Response:
        """Gives a list of cases a name that everybody sees, or takes it away."""
        form = await self.site.read_form(request)
        return await run_in_threadpool(self._save_view, request, form)

    def _save_view(self, request: Request, form: FormData) -> Response:
        language = language_of(request)
        name, wanted = tidy_line(text_of(form, "name"))[:60].strip(), read_case_filter(parameters(text_of(form, "cases")))
        self.site.check_cases(wanted)
        query = None if form.get("remove") else write_case_filter(wanted)
        if not name:
            flash(request, language.text(words.NAME_THE_VIEW), is_problem=True)
        else:
            self.site.desk.snapshot().worklist.store.save_view(name, query, request.state.user or tidy_name(text_of(form, "user")) or "")
            flash(request, language.text(words.VIEW_GONE if query is None else words.VIEW_KEPT, name=name))
        return RedirectResponse(f"/cases{write_case_filter(wanted)}", 303)

    def _views(self, snapshot: Any) -> list[dict[str, Any]]:
        """None, where the store does not answer: the page says so already."""
        try:
            return [] if snapshot.worklist.problem else list(snapshot.worklist.store.views())
        except WarehouseProblem:
            return []

    def _find_cases(self, request: Request, email: str) -> Response:
        found = self.site.desk.snapshot().cases.with_email(email)
        if not found:
            flash(request, language_of(request).text(words.NO_CASE_WITH_EMAIL), is_problem=True)
            return RedirectResponse("/cases", 303)
        if len(found) == 1:
            return RedirectResponse(f"/cases/{found[0]}", 303)
        return RedirectResponse(f"/cases{write_case_filter(CaseFilter(ids=tuple(found)))}", 303)

    def show_worklist(self, request: Request) -> Response:
        wanted = read_filter(request.query_params)
        if wanted.text and "@" in wanted.text:
            return self._find_person(request, wanted.text)
        snapshot = self.site.desk.snapshot()
        seen = snapshot.worklist.latest_no  # before the rows: what is decided meanwhile counts as not seen
        self.site.check(wanted, snapshot)
        total = snapshot.cases.remember(("findings", wanted), lambda: snapshot.worklist.count(wanted))
        pages = max(1, -(-total // PAGE_SIZE))
        page = min(number_of(request.query_params.get("page"), 1), pages)
        findings = snapshot.cases.remember(
            ("rows", wanted, page), lambda: with_names(snapshot, snapshot.worklist.find(wanted, PAGE_SIZE, (page - 1) * PAGE_SIZE))
        )
        owners = [row["owner"] for row in snapshot.query("select distinct owner from worklist where owner is not null order by owner")]
        return self.site.page(
            request, "worklist.html", snapshot=snapshot, wanted=wanted, chosen=chosen(wanted), findings=findings, total=total, page=page, pages=pages,
            owners=owners, checks=snapshot.checks, statuses=STATUSES, objects=OBJECTS, most_at_once=MOST_AT_ONCE, page_size=PAGE_SIZE, seen=seen,
            figures=figures(snapshot),
        )  # fmt: skip

    def show_finding(self, request: Request) -> Response:
        snapshot = self.site.desk.snapshot()
        seen = snapshot.worklist.latest_no
        try:
            finding = snapshot.worklist.find_one(request.path_params["fingerprint"])
        except ConfigurationProblem as problem:
            raise HTTPException(404) from problem
        (finding,) = with_names(snapshot, [finding])
        wanted = read_filter(request.query_params)
        contact, binding = read_contact(snapshot, finding)
        comparison = compare(snapshot, finding, contact, binding)
        events, event_count = timeline(snapshot, [finding], comparison)
        language = language_of(request)
        check = snapshot.checks.get(finding["check_name"], {})
        advice = read_steps(snapshot.worklist, finding["email"]) if finding["status"] != "resolved" else []
        before, after = snapshot.worklist.neighbours(wanted, finding["fingerprint"])
        rests_on = str(check.get("rests_on") or "")
        rules = read_rules(language.code)
        return self.site.page(
            request, "finding.html", snapshot=snapshot, finding=finding, check=check, contact=contact, binding=binding, comparison=comparison,
            events=events, event_count=event_count, advice=advice, wanted=wanted, before=before, after=after,
            rules=[rules[name] for name in named_rules(rests_on) if name in rules],
            steps=[] if advice and finding["suite"] == "duplicates" else sentences(_before_run_book(language, finding, advice)),
            others=with_names(snapshot, same_person(snapshot, finding)), beside=contacts_beside(snapshot, finding, contact),
            can_undo=has_decision(snapshot.worklist.decided_about(finding["fingerprint"])), score=scores(snapshot).get("history"), seen=seen,
            case_id=snapshot.cases.of_findings([finding["fingerprint"]]).get(finding["fingerprint"]), jump=read_jump(snapshot, finding),
            cases_of={}, can_accept=finding["check_name"] in ACCEPTABLE, owners=known_owners(snapshot),
        )  # fmt: skip

    def show_damage(self, request: Request) -> Response:
        return self._damage_page(request, printed=False)

    def print_damage(self, request: Request) -> Response:
        """The same as a file of its own, to be printed or sent: nothing in it is fetched from anywhere."""
        answer = self._damage_page(request, printed=True, style=Markup((FOLDER / "static" / "desk.css").read_text("utf-8")))
        answer.headers["Content-Disposition"] = 'attachment; filename="bindwatch-damage-report.html"'
        return answer

    def _damage_page(self, request: Request, **values: Any) -> Response:
        snapshot = self.site.desk.snapshot()
        since = read_filter(request.query_params).since
        found = report(snapshot, since) if since else snapshot.cases.remember("damage", lambda: report(snapshot, None), for_good=True)
        return self.site.page(request, "damage.html", snapshot=snapshot, most=CONTACTS_AT_ONCE, figures=figures(snapshot), **found, **values)

    def show_rules(self, request: Request) -> Response:
        return self.site.page(request, "rules.html", groups=group_rules(language_of(request).code))

    def show_health(self, request: Request) -> Response:
        """For whoever watches the desk from outside. It needs no log-in, so it says nothing of what was found."""
        found = self.health.look()
        return JSONResponse(found, 200 if found["state"] == "ok" else 503)

    async def search(self, request: Request) -> Response:
        """The worklist's form: sends the browser to the URL that says the same, without what must not stand in one."""
        form = await self.site.read_form(request)
        wanted = read_filter(form)
        if wanted.text and "@" in wanted.text:
            return await run_in_threadpool(self._find_person, request, wanted.text)
        return RedirectResponse(f"/findings{write_filter(wanted)}", 303)

    def _find_person(self, request: Request, email: str) -> Response:
        found = self.site.desk.snapshot().worklist.find(Filter(statuses=(), email=email), limit=1)
        if found:
            return RedirectResponse(f"/findings{write_filter(Filter(statuses=(), person=found[0]['fingerprint']))}", 303)
        flash(request, language_of(request).text(words.NO_FINDING_WITH_EMAIL), is_problem=True)
        return RedirectResponse("/findings", 303)
