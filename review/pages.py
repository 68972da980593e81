"""The pages that show what the last run found."""

from typing import Any

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from assets.problems import ConfigurationProblem
from assets.published.decisions import ACCEPTABLE, has_decision
from assets.published.worklist import OBJECTS, STATUSES, Filter
from review import words
from review.chart import draw_runs
from review.damage import CONTACTS_AT_ONCE, report
from review.deciding import MOST_AT_ONCE
from review.desk import overview, scores, with_names
from review.filters import chosen, read_filter, write_filter
from review.finding import compare, contacts_beside, read_contact, read_jump, same_person, sentences, timeline
from review.health import Health
from review.language import Language
from review.rules import group_rules, named_rules, read_rules
from review.run_book import read_steps
from review.site import FOLDER, PAGE_SIZE, Site, flash, language_of, number_of


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
        if facts["oldest"]:
            (facts["oldest"],) = with_names(snapshot, [facts["oldest"]])
        facts["chart"] = draw_runs(facts["runs"], language)
        return self.site.page(request, "overview.html", snapshot=snapshot, **facts)

    def show_worklist(self, request: Request) -> Response:
        wanted = read_filter(request.query_params)
        if wanted.text and "@" in wanted.text:
            return self._find_person(request, wanted.text)
        snapshot = self.site.desk.snapshot()
        seen = snapshot.worklist.latest_no  # before the rows: what is decided meanwhile counts as not seen
        self.site.check(wanted, snapshot)
        total = snapshot.worklist.count(wanted)
        pages = max(1, -(-total // PAGE_SIZE))
        page = min(number_of(request.query_params.get("page"), 1), pages)
        findings = with_names(snapshot, snapshot.worklist.find(wanted, PAGE_SIZE, (page - 1) * PAGE_SIZE))
        owners = [row["owner"] for row in snapshot.query("select distinct owner from worklist where owner is not null order by owner")]
        return self.site.page(
            request, "worklist.html", snapshot=snapshot, wanted=wanted, chosen=chosen(wanted), findings=findings, total=total, page=page, pages=pages,
            owners=owners, checks=snapshot.checks, statuses=STATUSES, objects=OBJECTS, most_at_once=MOST_AT_ONCE, page_size=PAGE_SIZE, seen=seen,
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
        events, event_count = timeline(snapshot, finding, comparison)
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
            jump=read_jump(snapshot, finding), can_accept=finding["check_name"] in ACCEPTABLE,
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
        found = report(snapshot, read_filter(request.query_params).since)
        return self.site.page(request, "damage.html", snapshot=snapshot, most=CONTACTS_AT_ONCE, **found, **values)

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
