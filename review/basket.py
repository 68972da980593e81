"""The basket: what somebody chose for cases, kept until the files are taken and the next run has looked."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from assets.problems import WarehouseProblem
from assets.published import basket_files
from assets.published.basket_files import BEFORE, CONSENT, STAGES, Choice, consent_file
from assets.published.decisions import Decision, DecisionStore
from assets.published.worklist import Filter
from review import words
from review.access import tidy_name
from review.cases import CaseFilter
from review.casework import read_case, subject_of
from review.choosing import Field, choose, fields_of, proposals, safe_cases, with_owner_ids
from review.desk_data import Snapshot
from review.exports import BY_LANGUAGE, as_archive, as_file
from review.finding import compare, label_of, read_contact
from review.site import Site, as_moment, flash, language_of, local_path, mark_of, now, text_of

SHOWN = 100  # rows of a file on the page
_FILES = [stage.format(object=kind) for stage in STAGES.values() for kind in (("lead", "contact") if "{object}" in stage else ("",))]
ORDER = [name for file in _FILES for name in ((consent_file(file), file) if file[0] in "135" else (file,))]


def choices_of(items: Sequence[dict[str, Any]]) -> list[Choice]:
    return [Choice(item["case_id"], item["hubspot_contact_id"], item["property"], item["value"], item["seen"]) for item in items]


def basket_of(store: DecisionStore, user: str | None) -> list[dict[str, Any]]:
    """What is in somebody's basket; nothing, where the store does not answer: the page says so already."""
    try:
        return store.basket(user) if user else []
    except WarehouseProblem:
        return []


def in_baskets(snapshot: Snapshot) -> dict[str, list[str]]:
    """Each case that is in a basket, and whose; nothing, where the store does not answer."""
    try:
        return {} if snapshot.worklist.problem else snapshot.worklist.store.in_baskets()
    except WarehouseProblem:
        return {}


def undecided_safe(snapshot: Snapshot) -> list[str]:
    """The cases whose proposal can be taken unseen, and that are in nobody's basket."""
    taken = in_baskets(snapshot)
    return [case_id for case_id in safe_cases(snapshot) if case_id not in taken]


class Baskets:
    """Everybody who works has one, under their name."""

    def __init__(self, site: Site) -> None:
        self.site = site

    # ── putting in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def put(self, request: Request) -> Response:
        """What was chosen on the page of a case: values into the basket, its steps into the basket, values that are right as they are."""
        form = await self.site.read_form(request)
        return await run_in_threadpool(self._put, request, form)

    def _put(self, request: Request, form: FormData) -> Response:
        language, back = language_of(request), local_path(form.get("next"))
        snapshot = self.site.desk.snapshot()
        case = snapshot.cases.one(text_of(form, "case"))
        user = self._user(request, form)
        if case is None:
            raise HTTPException(404)
        if user is None or is_of_another_run(form, snapshot):
            return self._say(request, words.SAY_WHO_YOU_ARE if user is None else words.BASKET_NEW_RUN, back)
        mine = basket_of(snapshot.worklist.store, user)
        fields = case_fields(snapshot, case, language, choices_of(mine))
        picked = {key.removeprefix("pick:"): str(value) for key, value in form.items() if key.startswith("pick:")}
        typed = {key.removeprefix("other:"): str(value) for key, value in form.items() if key.startswith("other:")}
        try:
            typed = with_owner_ids(snapshot, typed)
        except LookupError:
            return self._say(request, words.BASKET_NO_OWNER, back)
        choices, kept, dropped = choose(fields, picked, typed)
        choices = [replace(choice, case_id=case["case_id"]) for choice in choices]
        if form.get("steps"):
            choices.append(Choice(case["case_id"], next(iter(case["hubspot_contact_ids"]), None)))
        if kept and not request.state.may_waive:
            return self._say(request, words.NOT_YOURS_TO_WAIVE, back)
        decisions = self._kept(snapshot, case, kept, user, language.text(words.KEPT_ON_THE_CASE))
        gone = {one.key for one in [*kept, *dropped]}
        out = [item["item_no"] for item in mine if f"{item['hubspot_contact_id']}:{item['property']}" in gone
               or (item["property"] is None and item["case_id"] == case["case_id"] and not form.get("steps"))]  # fmt: skip
        try:
            moment = snapshot.worklist.store.put_into_basket(user, [_item(choice) for choice in choices], out, decisions)
        except WarehouseProblem:
            return self._say(request, words.STORE_AWAY, back)
        if not choices and not kept and not out:
            return self._say(request, words.BASKET_NOTHING, back)
        values = sum(choice.property is not None for choice in choices)
        said = [language.plural(*words.BASKET_PUT, values)] if values else []
        said += [language.text(words.BASKET_STEPS)] if form.get("steps") else []
        said += [language.plural(*words.BASKET_KEPT, len(kept))] if kept else []
        said += [language.text(words.BASKET_OUT)] if out and not choices else []
        flash(request, " ".join(said), link="/basket", undo=moment.isoformat() if decisions else None)
        return RedirectResponse(local_path(form.get("then") or form.get("next")), 303)

    def _kept(self, snapshot: Snapshot, case: dict[str, Any], kept: Sequence[Field], user: str, reason: str) -> list[Decision]:
        """What a jump brought is right: of each finding about it, the properties that are."""
        findings = snapshot.worklist.find(Filter(statuses=(), fingerprints=tuple(case["fingerprints"]))) if kept else []
        found = []
        for finding in findings:
            names = tuple(one.name for one in kept if one.contact_id == finding["hubspot_contact_id"] and one.name in finding["fields_at_risk"])
            if finding["check_name"] == "switch_happened" and names:
                found.append(Decision("accept", user, finding, reason=reason, properties=names))
        return found

    # ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def show_safe(self, request: Request) -> Response:
        """What the proposal would do for every safe case, before it is taken."""
        snapshot = self.site.desk.snapshot()
        case_ids = undecided_safe(snapshot)
        with_steps = "without_steps" not in request.query_params
        cases = snapshot.cases.find(CaseFilter(ids=tuple(case_ids))) if case_ids else []
        connection = filled(snapshot, proposals(snapshot, case_ids, with_steps))
        return self.site.page(
            request, "safe.html", snapshot=snapshot, cases=cases, figures=basket_files.count(connection),
            values=basket_files.rows(connection, f"{_VALUES} where source = 'chosen' and stage = 'hubspot' order by display_name, property"), shown=SHOWN,
            with_steps=with_steps, seen=mark_of(case_ids),
        )  # fmt: skip

    async def take_safe(self, request: Request) -> Response:
        form = await self.site.read_form(request)
        return await run_in_threadpool(self._take_safe, request, form)

    def _take_safe(self, request: Request, form: FormData) -> Response:
        language = language_of(request)
        snapshot = self.site.desk.snapshot()
        user = self._user(request, form)
        if user is None or is_of_another_run(form, snapshot):
            return self._say(request, words.SAY_WHO_YOU_ARE if user is None else words.BASKET_NEW_RUN, "/basket/safe")
        case_ids = undecided_safe(snapshot)
        if text_of(form, "seen") != mark_of(case_ids):
            return self._say(request, words.BASKET_OTHER_CASES, "/basket/safe")
        choices = proposals(snapshot, case_ids, bool(form.get("steps")))
        if not choices:
            return self._say(request, words.BASKET_NOTHING, "/basket/safe")
        try:
            snapshot.worklist.store.put_into_basket(user, [_item(choice) for choice in choices])
        except WarehouseProblem:
            return self._say(request, words.STORE_AWAY, "/basket/safe")
        flash(request, language.plural(*words.BASKET_CASES_PUT, len(case_ids)))
        return RedirectResponse("/basket", 303)

    # ── what is in it ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def show(self, request: Request) -> Response:
        snapshot = self.site.desk.snapshot()
        user = request.state.user
        items = basket_of(snapshot.worklist.store, user)
        connection = filled(snapshot, choices_of(items))
        return self.site.page(
            request, "basket.html", snapshot=snapshot, figures=basket_files.count(connection), shown=SHOWN, **contents(connection),
            items=told(snapshot, connection, items), label=lambda name: label_of(snapshot, name), is_taken=any(item["taken_at"] for item in items),
        )  # fmt: skip

    async def remove(self, request: Request) -> Response:
        form = await self.site.read_form(request)
        return await run_in_threadpool(self._remove, request, form)

    def _remove(self, request: Request, form: FormData) -> Response:
        snapshot = self.site.desk.snapshot()
        user, store = request.state.user, snapshot.worklist.store
        items = basket_of(store, user)
        wanted = {value for value in form.getlist("item") if isinstance(value, str)}
        cases = {value for value in form.getlist("case") if isinstance(value, str)}
        out = [item["item_no"] for item in items if str(item["item_no"]) in wanted or item["case_id"] in cases]
        if form.get("done"):
            out = [item["item_no"] for item in told(snapshot, filled(snapshot, choices_of(items)), items) if item["is_done"]]
        if form.get("everything"):
            out = [item["item_no"] for item in items]
        try:
            store.take_out_of_basket(user or "", out)
        except WarehouseProblem:
            return self._say(request, words.STORE_AWAY, "/basket")
        flash(request, language_of(request).text(words.BASKET_OUT if out else words.BASKET_NOTHING))
        return RedirectResponse(local_path(form.get("next")) if form.get("next") else "/basket", 303)

    # ── taking away ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def take(self, request: Request) -> Response:
        form = await self.site.read_form(request)
        return await run_in_threadpool(self._take, request, form)

    def _take(self, request: Request, form: FormData) -> Response:
        """The files, all in one or one of them. What spread between records that the merges make one is accepted with them."""
        language = language_of(request)
        snapshot = self.site.desk.snapshot()
        user, store = request.state.user, snapshot.worklist.store
        items = basket_of(store, user)
        if user is None or not items:
            return self._say(request, words.BASKET_EMPTY, "/basket")
        connection = filled(snapshot, choices_of(items))
        wanted = text_of(form, "file")
        accepted = [row["fingerprint"] for row in basket_files.rows(connection, "select fingerprint from basket_accepted")]
        with tempfile.TemporaryDirectory() as name:
            sentences = {reason: language.text(text) for reason, text in words.BASKET_REASON.items()}
            basket_files.write(connection, folder := Path(name), sentences, BY_LANGUAGE[language.code])
            if wanted and wanted not in (str(path.relative_to(folder)) for path in folder.rglob("*.csv")):
                raise HTTPException(404)
            answer = as_file(folder / wanted, f"bindwatch-{wanted.replace('/', '-')}") if wanted else as_archive(folder, "bindwatch-basket.zip")
        try:
            snapshot.worklist.insist()
            decisions = []
            if accepted and request.state.may_waive and not wanted.startswith(BEFORE):
                findings = [row for row in snapshot.worklist.find(Filter(statuses=(), fingerprints=tuple(accepted))) if row["status"] != "resolved"]
                decisions = [Decision("accept", user, finding, reason=language.text(words.BASKET_ONE_PERSON)) for finding in findings]
            store.note_taken(user, now(), decisions)
        except WarehouseProblem:
            return self._say(request, words.STORE_AWAY, "/basket")
        return answer

    def _user(self, request: Request, form: FormData) -> str | None:
        """Whoever gives a name here keeps it for the session."""
        user: str | None = request.state.user or tidy_name(text_of(form, "user"))
        if request.state.user is None and user is not None:
            request.session["user"] = user
        return user

    def _say(self, request: Request, text: str, back: str) -> Response:
        flash(request, language_of(request).text(text), is_problem=True)
        return RedirectResponse(back, 303)


def is_of_another_run(form: FormData, snapshot: Snapshot) -> bool:
    """Was the form filled in on values that are no longer shown?"""
    return text_of(form, "run") != str(snapshot.manifest["run_id"])


def case_fields(snapshot: Snapshot, case: dict[str, Any], language: Any, chosen: Sequence[Choice]) -> list[Field]:
    """As the page of the case shows them."""
    subject = subject_of(read_case(snapshot, case, language)["findings"], case)
    contact, binding = read_contact(snapshot, subject)
    comparison = compare(snapshot, subject, contact, binding)
    return fields_of(snapshot, case, contact["contact_id"] if contact else None, comparison, chosen)


def filled(snapshot: Snapshot, choices: Sequence[Choice]) -> duckdb.DuckDBPyConnection:
    """A connection that knows what the files would hold."""
    connection = snapshot.worklist.connection.cursor()
    basket_files.fill(connection, choices)
    return connection


_VALUES = f"""
select *, {CONSENT} as is_consent, case when stage = 'hubspot' then hubspot_contact_id else record_id end as into_id,
    lower(main.type_of_record(record_id)) as object
from basket_value"""


def contents(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """consents: the values that are consent; files: by name and in order, what each holds (rows, one a value, a merge or a record) and of how many records;
    left_out and remaining, by reason, with whom they are about.
    """
    files: dict[str, list[dict[str, Any]]] = {name: [] for name in ORDER}
    for row in basket_files.rows(connection, f"{_VALUES} order by display_name, into_id, property"):
        name = STAGES[row["stage"]].format(object=row["object"])
        files[consent_file(name) if row["is_consent"] else name].append(row)
    for row in basket_files.rows(connection, "select *, lower(main.type_of_record(record_id)) as object from basket_saved order by record_id"):
        files[STAGES["save"].format(object=row["object"])].append({**row, "into_id": row["record_id"]})
    for row in basket_files.rows(
        connection,
        "select *, case when action = 'merge' then concat(book, merge_no) else loser_id end as into_id from basket_step order by case_rank, book, step",
    ):
        files[STAGES[row["action"]]].append(row)
    reasons: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in basket_files.rows(connection, "from basket_left_out order by case_rank, case_id, step, what, name"):
        reasons.setdefault(("left_out", row["reason"], row["what"]), []).append(row)
    for row in basket_files.rows(connection, "from basket_remaining order by case_rank, case_id, name"):
        reasons.setdefault(("remaining", row["reason"], row["name"]), []).append(row)
    consents = basket_files.rows(
        connection,
        f"select distinct on (case_id, property) * from basket_value where {CONSENT} order by case_rank, case_id, property",
    )
    return {
        "consents": consents,
        "files": [{"name": name, "rows": rows, "records": len({row["into_id"] for row in rows})} for name, rows in files.items() if rows],
        "left_out": [(reason, what, rows) for (kind, reason, what), rows in reasons.items() if kind == "left_out"],
        "remaining": [(reason, what, rows) for (kind, reason, what), rows in reasons.items() if kind == "remaining"],
    }


def told(snapshot: Snapshot, connection: duckdb.DuckDBPyConnection, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items, first those that somebody must look at, what is done last. Each with whom it is about (display_name), what became of it (is_done: it is so in
    the last run; is_late: its files were taken before that run, and it is not), and why no file holds it (reason).
    """
    done = {(row["hubspot_contact_id"], row["property"]) for row in basket_files.rows(connection, "from basket_done")}
    left = {(row["hubspot_contact_id"], row["name"]): row["reason"] for row in basket_files.rows(connection, "from basket_left_out where what = 'value'")}
    named = {row["case_id"]: row for row in basket_files.rows(connection, "from basket_case")}
    busy = {row["case_id"] for row in basket_files.rows(connection, "from basket_case_book")}
    contacts = [item["hubspot_contact_id"] for item in items if item["hubspot_contact_id"]]
    query = "select contact_id, display_name from published.hubspot_contact where list_contains($ids, contact_id)"
    names = {row["contact_id"]: row["display_name"] for row in snapshot.query(query, {"ids": contacts})} if contacts else {}
    looked_at: datetime = as_moment(snapshot.manifest["started_at"])
    found = []
    for item in items:
        case, about = named.get(item["case_id"]), (item["hubspot_contact_id"], item["property"])
        is_over = case is None or not case["is_open"]
        is_done = about in done if item["property"] is not None and not is_over else is_over or (item["property"] is None and item["case_id"] not in busy)
        is_late = item["taken_at"] is not None and item["taken_at"] < looked_at and not is_done
        found.append({
            **item, "display_name": (case or {}).get("display_name") or names.get(item["hubspot_contact_id"]), "is_open": not is_over, "is_done": is_done,
            "is_late": is_late, "reason": left.get(about) if item["property"] is not None else None,
        })  # fmt: skip
    return sorted(found, key=lambda item: (item["is_done"], not (item["is_late"] or item["reason"])))


def _item(choice: Choice) -> dict[str, Any]:
    return {name: getattr(choice, name) for name in ("case_id", "hubspot_contact_id", "property", "value", "seen")}
