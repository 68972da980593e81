"""The page What if: somebody is about to edit Salesforce records, from a list that they hand in or those of people in a list of cases. Who would jump?"""

import asyncio
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from assets.brought import FileProblem
from assets.published.forecast import Forecast, NoIds, ask, read_list
from assets.sentences import column_in
from assets.sql import literal
from review import words
from review.access import tidy_line
from review.exports import masked_in, may_be_whole, send_table, shape_of
from review.filters import read_case_filter
from review.held import Answer, Held
from review.plans import SHOWN
from review.site import Site, flash, language_of, number_of, parameters, text_of

ROWS = "rows.parquet"
OUTCOMES = tuple(words.OUTCOME)
_OF = {"all": "true", "unbound": "not is_bound", "Lead": "object_type = 'Lead'", "Contact": "object_type = 'Contact'"}

# Of some contacts, the live records that they are bound to, or could be.
_RECORDS = """
create or replace temp table touched as
select row_number() over (order by record_id) as line, record_id as salesforce_id
from (
    select distinct candidate.record_id
    from (
        select record_id, coalesce(record_id = bound_id, false) as is_bound
        from (select bound_id, unnest(list_distinct(list_append(candidate_ids, bound_id))) as record_id from published.binding
              where list_contains($contacts, hubspot_contact_id))
    ) as candidate
    inner join published.salesforce_person as person on person.record_id = candidate.record_id and person.state = 'live'
    where {of}
)
"""
_NAMED = """
select what_if.*, contact.display_name as contact_name, person.display_name as record_name, bound.display_name as bound_name
from what_if
left join published.hubspot_contact as contact on contact.contact_id = what_if.hubspot_contact_id
left join published.salesforce_person as person on person.record_id = what_if.record_id
left join published.salesforce_person as bound on bound.record_id = what_if.bound_id
order by what_if.line, what_if.hubspot_contact_id, what_if.property
"""


class WhatIf:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.held: Held[tuple[Forecast, dict[str, int]]] = Held()
        self._turn = asyncio.Semaphore(1)

    def show(self, request: Request) -> Response:
        return self._page(request, None)

    async def judge(self, request: Request) -> Response:
        form = await self.site.read_form(request, max_files=1)
        async with self._turn:
            return await run_in_threadpool(self._judge, request, form)

    def _judge(self, request: Request, form: FormData) -> Response:
        """On the last run's snapshot."""
        language, snapshot, listed = language_of(request), self.site.desk.snapshot(), form.get("list")
        connection = snapshot.worklist.connection.cursor()
        is_view = form.get("of") is not None
        name = language.text(words.CONTACTS_OF_A_LIST)
        if not is_view:
            if not isinstance(listed, UploadFile) or not listed.filename:
                return self._say(request, language.text(words.NO_PLAN))
            name = tidy_line(listed.filename.replace("\\", "/").rsplit("/", 1)[-1])[:120]

        def fill(folder: Path) -> tuple[Forecast, dict[str, int]]:
            if isinstance(listed, UploadFile):
                (folder / "list").write_bytes(listed.file.read())
                read_list(connection, folder / "list")
            else:
                wanted = read_case_filter(parameters(text_of(form, "cases")))
                self.site.check_cases(wanted)
                of = _OF.get(text_of(form, "of"), "true")
                connection.execute(_RECORDS.format(of=of), {"contacts": snapshot.cases.contact_ids(wanted)})
            found = ask(connection)
            connection.execute(f"copy ({_NAMED}) to {literal(str(folder / ROWS))} (format parquet)")
            return found, dict(connection.execute("select outcome, count(distinct line) from what_if group by outcome").fetchall())

        try:
            answer = self.held.put(name, str(snapshot.manifest["run_id"]), fill)
        except FileProblem as problem:
            return self._say(request, f"{language.text(words.UNREADABLE_LIST)} {problem.said_in(language.code)}")
        except NoIds as problem:
            of_hubspot = [language.text(words.IDS_OF_HUBSPOT, id=problem.of_hubspot[:20])] if problem.of_hubspot else []
            return self._say(request, " ".join([language.text(words.LIST_WITHOUT_IDS), *of_hubspot]))
        return RedirectResponse(f"/what-if/{answer.id}", 303)

    def show_answer(self, request: Request) -> Response:
        answer = self.held.get(request.path_params["answer"])
        return self._say(request, language_of(request).text(words.ANSWER_GONE)) if answer is None else self._page(request, answer)

    def _page(self, request: Request, answer: Answer[tuple[Forecast, dict[str, int]]] | None) -> Response:
        snapshot, shown = self.site.desk.snapshot(), dict[str, Any](forecast=None)
        if answer is not None:
            found, counts = answer.what
            asked = request.query_params.get("outcome", "")
            # what would change something comes first: whoever opens the page has that question
            wanted = [asked] if asked in OUTCOMES else list(OUTCOMES) if asked == "all" else [one for one in OUTCOMES if one not in ("stays", "nobody")]
            lines = f"from {literal(str(answer.folder / ROWS))} as told where list_contains($wanted, outcome)"
            (total,) = snapshot.query(f"select count(distinct (line, hubspot_contact_id)) as rows {lines}", {"wanted": wanted})
            pages = max(1, -(-total["rows"] // SHOWN))
            page = min(number_of(request.query_params.get("page"), 1), pages)
            rows = snapshot.query(
                f"""select line, salesforce_id, record_id, outcome, hubspot_contact_id, bound_id, contact_name, record_name, bound_name,
                           any_value({column_in(language_of(request).code, "told", "reason")}) as reason,
                           list({{'property': property, 'effect': effect, 'before': hubspot_value, 'after': salesforce_value, 'consent': consent}}
                                order by consent desc, property) filter (where property is not null) as changes
                    {lines} group by all order by line, hubspot_contact_id limit {SHOWN} offset {(page - 1) * SHOWN}""",
                {"wanted": wanted},
            )
            shown = {
                "forecast": found, "counts": {name: counts[name] for name in OUTCOMES if counts.get(name)}, "answer": answer, "rows": rows,
                "outcome_asked": asked if asked in (*OUTCOMES, "all") else "", "total": total["rows"], "page": page, "pages": pages,
                "is_old": answer.run_id != str(snapshot.manifest["run_id"]),
            }  # fmt: skip
        return self.site.page(request, "what_if.html", snapshot=snapshot, **shown)

    def send(self, request: Request) -> Response:
        """Every line, for people."""
        answer = self.held.get(request.path_params["answer"])
        if answer is None:
            return self._say(request, language_of(request).text(words.ANSWER_GONE))
        language = language_of(request)
        is_whole = may_be_whole(request, self.site)
        of_hubspot, of_salesforce = (name if is_whole else f"{masked_in(name)} as {name}" for name in ("hubspot_value", "salesforce_value"))
        query = f"""select line, salesforce_id, record_id, record_name, object_type, outcome, hubspot_contact_id, contact_name, bound_id, bound_name, property,
                        effect, {of_hubspot}, {of_salesforce}, consent, {column_in(language.code, "told", "reason")} as reason
                    from {literal(str(answer.folder / ROWS))} as told order by line, hubspot_contact_id, property"""
        return send_table(request, self.site.desk.snapshot(), query, [{}], "what-if", shape_of(request), is_whole)

    def _say(self, request: Request, text: str) -> Response:
        flash(request, text, is_problem=True)
        return RedirectResponse("/what-if", 303)
