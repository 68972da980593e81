"""HubSpot: contacts and property history as pulled, archived contacts included.

A full pull walks the list endpoint; an increment searches for what changed and reads it in batches, because search returns no history.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from assets.hubspot_portal import HISTORY_PAGE, SEARCH_PAGE, Page, Portal
from assets.landing import LandedPull, Mode
from assets.policy import Policy
from assets.problems import PullProblem
from assets.warehouse import (
    LoadResult,
    PullContext,
    compare_hubspot_ids,
    contacts_without_history,
    count_landed_contacts,
    increment_from,
    load_hubspot_contacts,
    load_hubspot_history,
    load_list_members,
    loaded_pulls,
    no_longer_archived,
    report_pull,
)

log = logging.getLogger("bindwatch.pull")

ID_PROPERTIES = ["salesforceleadid", "salesforcecontactid"]
_HISTORY = [*ID_PROPERTIES, "email"]
_REQUIRED = ["email", *ID_PROPERTIES]
_WELCOME = [
    "hs_additional_emails", "hs_merged_object_ids", "salesforcelastsynctime", "salesforcedeleted", "firstname", "lastname", "lastmodifieddate",
]  # fmt: skip
_STAMP = ["lastmodifieddate"]


@dataclass(frozen=True)
class PropertyList:
    """What to ask for of a contact: all properties, the required and the mapped ones among them, and what the portal does not have."""

    properties: list[str]
    required: list[str]
    mapped: list[str]
    not_seen: list[str]

    @property
    def asked(self) -> str:
        return _digest(sorted(self.properties))


def read_property_list(portal: Portal, policy: Policy) -> PropertyList:
    """Holds the policy's properties against the portal's. Raises PullProblem that names each that is not there."""
    known = portal.property_names()
    wanted = list(dict.fromkeys([*_REQUIRED, *policy.properties()]))
    missing = [name for name in wanted if name not in known]
    if missing:
        raise PullProblem(
            "HubSpot", f"The portal has no contact property {', '.join(missing)}, or the private app may not see it.",
            "The salesforce… properties come with the Salesforce integration: is it installed in this portal? "
            "Take a mapped property that does not exist out of [[mapping]] in bindwatch.toml.",
        )  # fmt: skip
    properties = list(dict.fromkeys([*wanted, *(name for name in _WELCOME if name in known)]))
    return PropertyList(properties, wanted, policy.properties(), [f"the property {name}" for name in _WELCOME if name not in known])


def pull_contacts(portal: Portal, context: PullContext, wanted: PropertyList) -> list[LandedPull]:
    """Pulls live contacts, archived contacts, and the history of mapped properties where a binding changed or may change; loads each.

    Live contacts are pulled incrementally when everything was pulled before with the same properties; a full run on top compares all ids
    and stamps with what is known. Archived ones always come whole: HubSpot offers no way to ask what was archived since.
    """
    connection, policy = context.connection, context.policy
    since = increment_from(context, "hubspot", "contact", wanted.asked, policy.pull.hubspot_overlap_minutes)

    def open_pull(name: str, mode: Mode, asked: str, watermark_from: datetime | None = None, ids: Sequence[str] = ()) -> LandedPull:
        pull = context.landing.open("hubspot", name, mode, {"asked": asked, "ids": _digest(ids)}, loaded_pulls(connection), watermark_from)
        pull.manifest.not_seen = wanted.not_seen
        pull.begin(portal.clock)
        return pull

    def contacts_by_id(name: str, ids: list[str], may_be_gone: bool) -> LandedPull:
        pull = open_pull(name, "incremental", wanted.asked, ids=ids)
        if not pull.is_finished:
            _land_batches(portal, pull, ids, wanted, _HISTORY, may_be_gone)
        return _loaded(pull, load_hubspot_contacts(connection, pull))

    live = open_pull("contact", "incremental" if since else "full", wanted.asked, since)
    if not live.is_finished:
        if since is None:
            _land_list(portal, live, wanted, policy.pull.hubspot_slow_answer_ms)
        else:
            _land_changes(portal, live, wanted, since)
    pulls = [_loaded(live, load_hubspot_contacts(connection, live))]

    if context.full and since is not None:
        listed = open_pull("contact_ids", "ids", wanted.asked)
        if not listed.is_finished:
            _land_pages(listed, lambda after: portal.list_page(_STAMP, [], False, after))
            _finish_list(portal, listed)
        result, differing = compare_hubspot_ids(connection, listed)
        pulls.append(_loaded(listed, result))
        if differing:
            log.info("%s: %s contacts differ from what increments had brought; pulling them", listed.label, f"{len(differing):,}")
            pulls.append(contacts_by_id("contact_missed", differing, may_be_gone=False))

    archived = open_pull("contact_archived", "full", wanted.asked)
    if not archived.is_finished:
        problem = _land_pages(archived, lambda after: portal.list_page(wanted.properties, _HISTORY, True, after), wanted.required)
        archived.finish(None, problem)
    pulls.append(_loaded(archived, load_hubspot_contacts(connection, archived)))

    # restoring a contact need not move its modified stamp, so no search finds it
    if ids := no_longer_archived(connection, archived):
        pulls.append(contacts_by_id("contact_restored", ids, may_be_gone=True))

    if wanted.mapped and (ids := contacts_without_history(connection)):
        history = open_pull("contact_history", "incremental", _digest(wanted.mapped), ids=ids)
        if not history.is_finished:
            _land_batches(portal, history, ids, PropertyList(["hs_object_id"], [], [], []), wanted.mapped, may_be_gone=True)
        pulls.append(_loaded(history, load_hubspot_history(connection, history, ids)))

    list_id = policy.policy.inclusion_list_id
    if list_id is not None:
        members = open_pull("inclusion_list", "full", list_id)
        if not members.is_finished:
            members.finish(None, _land_pages(members, lambda after: portal.list_members_page(list_id, after)))
        pulls.append(_loaded(members, load_list_members(connection, members)))
    return pulls


def _digest(names: Sequence[str]) -> str:
    return sha256(",".join(names).encode()).hexdigest()[:16]


def _loaded(pull: LandedPull, result: LoadResult) -> LandedPull:
    report_pull(pull, result)
    return pull


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _land_pages(pull: LandedPull, read: Callable[[str | None], Page], required: Sequence[str] = (), until: Callable[[], bool] = lambda: False) -> str | None:
    """Follows paging.next.after to the end, or until that is true. The last, short page counts like any other. Returns what is wrong, or None."""
    while not pull.cursor.get("at_end") and not (pull.pages and until()):
        body, page = read(pull.cursor.get("after"))
        cursor = _cursor_behind(page)
        if cursor["after"] is not None and cursor["after"] == pull.cursor.get("after"):
            return f"its paging does not move on from {cursor['after']}"
        if problem := _lacking(page, required):
            return problem
        pull.write_page(body, ".json", len(page["results"]), cursor)
        if pull.pages % 20 == 0:
            log.info("%s: %s rows so far", pull.label, f"{pull.rows:,}")
    return None


def _land_listed(portal: Portal, pull: LandedPull, wanted: PropertyList) -> str | None:
    """Goes on with a list whose pages come slowly: lists ids, a hundred a page, and reads them in batches while the next page is under way.

    That takes three calls for a hundred contacts instead of two, but several at a time. Returns what is wrong, or None.
    """

    def list_ids(after: str | None) -> dict[str, Any]:
        return portal.list_page(_STAMP, [], False, after)[1]

    with ThreadPoolExecutor(1) as ahead:
        listing = ahead.submit(list_ids, pull.cursor.get("after"))
        while not pull.cursor.get("at_end"):
            listed = listing.result()
            cursor = _cursor_behind(listed)
            if cursor["after"] is not None:
                if cursor["after"] == pull.cursor.get("after"):
                    return f"its paging does not move on from {cursor['after']}"
                listing = ahead.submit(list_ids, cursor["after"])
            if problem := _read_batches(portal, pull, [str(result["id"]) for result in listed["results"]], wanted, _HISTORY, lambda _chunk: pull.cursor):
                return problem
            pull.move(cursor)
            if pull.pages % 20 == 0:
                log.info("%s: %s rows so far", pull.label, f"{pull.rows:,}")
    return None


def _cursor_behind(page: dict[str, Any]) -> dict[str, Any]:
    after = ((page.get("paging") or {}).get("next") or {}).get("after")
    return {"after": None if after is None else str(after), "at_end": after is None}


def _lacking(page: dict[str, Any], required: Sequence[str]) -> str | None:
    """HubSpot answers a property without a value as null. One that is left out altogether was removed or hidden since the pull began."""
    if not required:
        return None
    values = [result.get("properties") for result in page["results"]]
    if not all(isinstance(properties, dict) for properties in values):
        return "an answer holds a contact without properties"
    if not any(value is None for properties in values for value in properties.values()):
        return None  # nothing says that this server tells what is empty
    lacking = sorted({name for properties in values for name in required if name not in properties})
    return f"an answer lacks {', '.join(lacking)}, which was asked for: were properties changed during the pull?" if lacking else None


def _land_list(portal: Portal, pull: LandedPull, wanted: PropertyList, slow_ms: float) -> None:
    """Walks the live contacts. The list names the next page only in its answer, so slow answers leave the rate limit unused; then batches help."""
    problem = _land_pages(
        pull, lambda after: portal.list_page(wanted.properties, _HISTORY, False, after), wanted.required, until=lambda: portal.answer_seconds * 1000 > slow_ms
    )
    if problem is None and not pull.cursor.get("at_end"):
        problem = _land_listed(portal, pull, wanted)
    if problem:
        pull.finish(None, problem)
    else:
        _finish_list(portal, pull)


def _finish_list(portal: Portal, pull: LandedPull) -> None:
    """Ends a walk of the live contacts: it is complete when as many different contacts came as the search counts."""
    landed = count_landed_contacts(pull)
    for wait in (2, 8, 0):
        missing = _count_missing(portal, pull, landed)
        if missing <= 0 or wait == 0:
            break
        time.sleep(wait)  # the index lags: it may still count contacts that were archived or merged a moment ago
    pull.finish(None, f"its paging ended after {landed} contacts, the search counts {missing} more" if missing > 0 else None)


def _count_missing(portal: Portal, pull: LandedPull, landed: int) -> int:
    """How many contacts the search counts beyond those listed, without those created since the pull began (5 minutes of clock skew allowed)."""
    began = str(int((pull.manifest.started_at - timedelta(minutes=5)).timestamp() * 1000))
    counted = _count_by_search(portal, "hs_object_id", "GT", "0")
    if counted <= landed:
        return 0
    return counted - _count_by_search(portal, "createdate", "GTE", began) - landed


def _count_by_search(portal: Portal, name: str, operator: str, value: str) -> int:
    return int(portal.search_page([{"propertyName": name, "operator": operator, "value": value}], 1)[1]["total"])


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _land_changes(portal: Portal, pull: LandedPull, wanted: PropertyList, since: datetime) -> None:
    """Walks the changed contacts by id, not by page: each search asks for ids above the last one.

    So the cap of 10,000 results is never met, any number of contacts may share one stamp, and a contact that is edited while we page
    does not move past us. The next search is under way while the contacts of the last one are read.
    """
    stamp = str(int(since.timestamp() * 1000))

    def search(last: int) -> Page:
        filters = [
            {"propertyName": "lastmodifieddate", "operator": "GTE", "value": stamp},
            {"propertyName": "hs_object_id", "operator": "GT", "value": str(last)},
        ]
        return portal.search_page(filters, SEARCH_PAGE)

    if pull.cursor.get("at_end"):
        pull.finish(None)
        return
    with ThreadPoolExecutor(1) as ahead:
        last = int(pull.cursor.get("last_id", 0))
        searching = ahead.submit(search, last)
        at_end = False
        while not at_end:
            found = searching.result()[1]
            ids, problem = _changed_ids(found, last)
            if problem:
                pull.finish(None, problem)
                return
            at_end = len(ids) >= int(found["total"])
            if not at_end:
                searching = ahead.submit(search, ids[-1])
            names = [str(contact_id) for contact_id in ids]
            if problem := _read_batches(portal, pull, names, wanted, _HISTORY, lambda chunk: {"last_id": int(chunk[-1]), "at_end": False}):
                pull.finish(None, problem)
                return
            last = ids[-1] if ids else last
            log.info("%s: %s changed so far", pull.label, f"{pull.rows:,}")
    pull.move({"last_id": last, "at_end": True})
    pull.finish(None)


def _changed_ids(found: dict[str, Any], last: int) -> tuple[list[int], str | None]:
    """Ids of a search page, and what is wrong with it: an answer that is not what was asked for may hide changes."""
    ids = [int(result["id"]) for result in found["results"]]
    at_end = len(ids) >= int(found["total"])
    if any(contact_id <= last for contact_id in ids):
        return ids, "the search returned contacts that it was told to leave out"
    if ids != sorted(ids) and not at_end:  # when all are here, their order does not matter
        return ids, "the search did not sort by id, so some changes may be missing"
    if not ids and not at_end:
        return ids, f"the search counts {found['total']} changed contacts above id {last} and returned none"
    return sorted(ids), None


def _land_batches(portal: Portal, pull: LandedPull, ids: list[str], wanted: PropertyList, history: list[str], may_be_gone: bool) -> None:
    """Reads contacts by id. may_be_gone: nobody has said a moment ago that they are there."""
    done = int(pull.cursor.get("done", 0))
    problem = _read_batches(portal, pull, ids[done:], wanted, history, lambda _chunk: {"done": pull.cursor.get("done", 0) + HISTORY_PAGE}, may_be_gone)
    pull.finish(None, problem)


def _read_batches(
    portal: Portal, pull: LandedPull, ids: Sequence[str], wanted: PropertyList, history: Sequence[str], cursor_behind: Callable[[list[str]], dict[str, Any]],
    may_be_gone: bool = False,
) -> str | None:  # fmt: skip
    """Adds a page for each batch of contacts. cursor_behind: of a batch's ids. Returns what is wrong, or None."""
    for chunk, (body, page) in portal.read_batches(ids, wanted.properties, history):
        if problem := _lacking(page, wanted.required) or (None if may_be_gone else _unanswered(chunk, page)):
            return problem
        pull.write_page(body, ".json", len(page["results"]), cursor_behind(chunk))
    return None


def _unanswered(ids: list[str], page: dict[str, Any]) -> str | None:
    """Says which contacts a batch was asked for and did not speak of. Those that are gone by now are named in its errors; a contact that was
    merged is answered under the id it became.
    """
    spoken_of = {str(result["id"]) for result in page["results"]}
    for result in page["results"]:
        spoken_of.update(str((result.get("properties") or {}).get("hs_merged_object_ids") or "").split(";"))
    gone: set[str] = set()
    for error in page.get("errors") or []:
        if error.get("category") == "OBJECT_NOT_FOUND":
            gone.update(str(contact_id) for contact_id in (error.get("context") or {}).get("ids") or [])
    missing = [contact_id for contact_id in ids if contact_id not in spoken_of and contact_id not in gone]
    others = spoken_of - set(ids) - {""}
    if not missing or len(missing) <= len(others):
        return None
    return f"{len(missing)} contacts that changed were asked for and not answered, {missing[0]} first"
