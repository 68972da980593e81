"""HubSpot: contacts and property history, brought to landing as they come, archived contacts included.

A full pull walks the list endpoint; an increment searches for what changed and reads it in batches, because search returns no history.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from assets.policy import Policy
from assets.problems import PullProblem
from assets.pull.described import Described, of_hubspot
from assets.pull.hubspot_portal import HISTORY_PAGE, PAGE, SEARCH_PAGE, Page, Portal
from assets.pull.landing import Aside, LandedPull, aside_of, digest
from assets.pull.pace import say_if_short
from assets.pull.reading import count_landed_contacts
from assets.pull.salvage import SortedPage, id_in, sort_out
from assets.record_ids import ID_PROPERTIES

log = logging.getLogger("bindwatch.pull")

SYNC_TIME = "salesforcelastsynctime"
_HISTORY = [*ID_PROPERTIES.values(), "email"]
_REQUIRED = ["email", *ID_PROPERTIES.values()]
_MERGED = "hs_merged_object_ids"
_WELCOME = [
    "hs_additional_emails", _MERGED, SYNC_TIME, "salesforcedeleted", "firstname", "lastname", "lastmodifieddate",
]  # fmt: skip
_OWNER_OF_CONTACT = "hubspot_owner_id"  # a list can be picked by it; nothing is lost without it
_GROWTH = 1000  # contacts that may change while a walk over changes goes on, beside twice as many as it announced
_EMPTY_PAGES = 5  # one after the other, in a walk that says it is not over
_ARCHIVED = 1_000_000  # archived contacts beside ten times as many as live ones: nothing announces how many there are
_OWNERS = 1_000_000  # nothing announces how many there are; no portal has so many users
_SINGLES = 20  # contacts that a batch did not speak of, and that are asked for one by one before the pull is called incomplete


@dataclass(frozen=True)
class PropertyList:
    """What to ask for of a contact: all properties, the required ones among them (mapped ones included), what the portal does not have,
    and what it says of those that it has. mapped: those whose values are compared; lacking: what somebody wrote into the policy and is not there, in words.
    """

    properties: list[str]
    required: list[str]
    not_seen: list[str]
    described: Mapping[str, Described] = field(default_factory=dict)
    mapped: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)

    @property
    def asked(self) -> str:
        return digest(sorted(self.properties))


def read_property_list(portal: Portal, policy: Policy) -> PropertyList:
    """Holds the policy's properties against the portal's. Raises PullProblem that names each that is not there and without which nothing can be read."""
    known = portal.properties()
    needed = [name for name in _REQUIRED if name in known or name != ID_PROPERTIES["Lead"] or "Lead" in policy.policy.objects]
    if missing := [name for name in needed if name not in known]:
        raise PullProblem(
            "HubSpot", f"The portal has no contact property {', '.join(missing)}, or the Service Key may not see it.",
            "The salesforce… properties come with the Salesforce integration: is it installed in this portal?",
        )  # fmt: skip
    mapped, not_seen, lacking = [], [f"the property {name}" for name in _WELCOME if name not in known], []
    for mapping in policy.compared:
        if mapping.hubspot in known:
            mapped.append(mapping.hubspot)
        elif (entry := policy.written(mapping)) is None:
            not_seen.append(f"the property {mapping.hubspot}, which is mapped by default")
        else:
            meant = _meant_by(mapping.hubspot, known)
            lacking.append(f"{entry}: the HubSpot portal has no contact property {mapping.hubspot}, or the Service Key may not see it{meant}")
    required = list(dict.fromkeys([*needed, *mapped]))
    properties = list(dict.fromkeys([*required, *(name for name in (*_WELCOME, _OWNER_OF_CONTACT) if name in known)]))
    if portal.fallback:
        not_seen.append(portal.fallback)
    if end := portal.end_of_version():
        log.warning("%s", end)
        not_seen.append(f"anything once {end}")
    return PropertyList(properties, required, not_seen, {name: of_hubspot(known[name]) for name in properties}, mapped, lacking)


def _meant_by(name: str, known: Mapping[str, dict[str, Any]]) -> str:
    """The property that a name may mean which is written in capitals, between blanks, or as its label; in words."""
    plain = name.strip().lower()
    found = next((one for one, entry in known.items() if plain and plain in (one.lower(), str(entry.get("label") or "").strip().lower())), None)
    return f"; its name is {found}" if found else ""


def land_live(portal: Portal, pull: LandedPull, wanted: PropertyList, since: datetime | None, slow_ms: float) -> None:
    """Lands all live contacts, or those changed since a moment. slow_ms: from which answer time on a list is read in batches beside it."""
    if since is None:
        _say_if_short(portal, pull, HISTORY_PAGE)
        _land_list(portal, pull, wanted, slow_ms)
    else:
        _land_changes(portal, pull, wanted, since)


def land_ids(portal: Portal, pull: LandedPull) -> None:
    """Lands the id and stamp of every live contact."""
    _say_if_short(portal, pull, PAGE)
    if problem := _land_pages(portal, pull, lambda after: _sorted_out(*portal.list_ids_page(after)), _twice(portal)):
        pull.finish(None, problem)
    else:
        _finish_list(portal, pull)


def land_archived(portal: Portal, pull: LandedPull, wanted: PropertyList) -> None:
    """Lands all archived contacts."""
    most = _most_archived(portal)
    if portal.can_list(wanted.properties, _HISTORY):
        pull.finish(None, _land_pages(portal, pull, lambda after: _list_page(portal, wanted, True, after), most, wanted.required))
    else:
        pull.finish(None, _land_listed(portal, pull, wanted, most, archived=True))


def land_archived_ids(portal: Portal, pull: LandedPull) -> None:
    """Lands the id and stamps of every archived contact: HubSpot offers no way to ask what was archived since (docs/decisions/0069)."""
    pull.finish(None, _land_pages(portal, pull, lambda after: _sorted_out(*portal.list_ids_page(after, archived=True)), _most_archived(portal)))


def land_archived_by_id(portal: Portal, pull: LandedPull, ids: list[str], wanted: PropertyList) -> None:
    """Lands contacts that were listed as archived a moment ago."""
    _land_batches(portal, pull, ids, wanted, _HISTORY, may_be_gone=False, archived=True)


def land_by_id(portal: Portal, pull: LandedPull, ids: list[str], wanted: PropertyList, may_be_gone: bool, archived_too: bool = False) -> None:
    """Lands these contacts. may_be_gone: nobody has said a moment ago that they are there. archived_too: they may be archived."""
    _land_batches(portal, pull, ids, wanted, _HISTORY, may_be_gone, archived_too)


def land_history(portal: Portal, pull: LandedPull, ids: list[str], properties: list[str]) -> None:
    """Lands the history of these properties of these contacts."""
    _land_batches(portal, pull, ids, PropertyList(["hs_object_id"], [], []), properties, may_be_gone=True)
    if pull.asides:
        named = ", ".join(aside.id for aside in pull.asides[:5])
        pull.manifest.not_seen = [f"the history of mapped properties of {len(pull.asides):,} contacts ({named})"]
        pull.save()


def land_list_members(portal: Portal, pull: LandedPull, list_id: str) -> None:
    """Lands the members of the inclusion list."""
    problem = _land_pages(portal, pull, lambda after: _as_members(*portal.list_members_page(list_id, after)), _twice(portal))
    pull.finish(None, problem or (f"{len(pull.asides):,} of its members came without an id" if pull.asides else None))


def land_owners(portal: Portal, pull: LandedPull, archived: bool) -> None:
    """Lands the owners of records, who are here or have left. Where the key may not see them, the cursor says `refused`, and the pull is complete."""

    def read(after: str | None) -> SortedPage:
        page = portal.owners_page(archived, after)
        if page is None:
            raise _NotShown
        return sort_out(*page, "results", lambda owner: None if _id_of(owner) else aside_of(None, owner, "without_id"))

    try:
        pull.finish(None, _land_pages(portal, pull, read, lambda: _OWNERS))
    except _NotShown:
        pull.start_over()
        pull.move({"refused": True})
        pull.finish(None)


class _NotShown(Exception):
    pass


# ── what came, and what of it can be read ────────────────────────────────────────────────────────────────────────────────────────


def _sorted_out(body: bytes, page: dict[str, Any]) -> SortedPage:
    return sort_out(body, page, "results", _objection)


def _objection(result: Any) -> Aside | None:
    """What keeps a contact from being read: it is none, has no id, or no properties."""
    contact_id = _id_of(result)
    if isinstance(result, str):
        return aside_of(contact_id if contact_id.isdigit() else None, result, "no_json")
    if not contact_id.isdigit():
        return aside_of(None, result, "without_id")
    return None if isinstance(result.get("properties"), dict) else aside_of(contact_id, result, "without_properties")


def _id_of(result: Any) -> str:
    """The id of a contact as it came, or as it can be seen in the text of one that is no JSON; empty when there is none."""
    if isinstance(result, str):
        return id_in(result, "id") or ""
    return str(result.get("id") or "") if isinstance(result, dict) else ""


def _as_members(body: bytes, page: dict[str, Any]) -> SortedPage:
    """Members of the inclusion list. Those without an id stay in the page, and the load leaves them out."""
    nameless = [member for member in page["results"] if not isinstance(member, dict) or not str(member.get("recordId") or "").strip()]
    return SortedPage(body, page, "results", [aside_of(None, member, "without_id") for member in nameless])


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _say_if_short(portal: Portal, pull: LandedPull, page: int) -> None:
    """Before all live contacts are listed, `page` a call."""
    if portal.calls_left is not None:
        say_if_short("HubSpot", pull.label, portal.count() - pull.rows, page, portal.calls_left)


def _list_page(portal: Portal, wanted: PropertyList, archived: bool, after: str | None) -> SortedPage:
    return _sorted_out(*portal.list_page(wanted.properties, _HISTORY, archived, after))


def _ids_of(page: dict[str, Any]) -> list[str]:
    return [str(result["id"]) for result in page["results"]]


def _twice(portal: Portal) -> Callable[[], int]:
    """How many contacts a walk may bring: the search counts the live ones, and some come while we walk."""
    return lambda: 2 * portal.count() + _GROWTH


def _most_archived(portal: Portal) -> Callable[[], int]:
    return lambda: 10 * portal.count() + _ARCHIVED


def _land_pages(
    portal: Portal, pull: LandedPull, read: Callable[[str | None], SortedPage], most: Callable[[], int], required: Sequence[str] = (),
    until: Callable[[], bool] = lambda: False,
) -> str | None:  # fmt: skip
    """Follows paging.next.after to the end, or until that is true. The last, short page counts like any other. most: rows that may come.

    Returns what is wrong, or None.
    """
    walk = _Walk(pull, most)
    while not pull.cursor.get("at_end") and not (pull.pages and until()):
        found = read(pull.cursor.get("after"))
        cursor = _cursor_behind(found.page)
        if problem := walk.objection(found, cursor["after"]):
            return problem
        found, problem = _with_all(portal, found, required)
        if problem:
            return problem
        pull.write_page(found.body, ".json", len(found.records), cursor, found.asides)
    return None


def _land_listed(portal: Portal, pull: LandedPull, wanted: PropertyList, most: Callable[[], int], archived: bool = False) -> str | None:
    """Goes on with a list whose pages come slowly, or cannot bring all properties: lists ids, a hundred a page, and reads them in batches while the next
    page is under way.

    That takes three calls for a hundred contacts instead of two, but several at a time. Returns what is wrong, or None.
    """

    def list_ids(after: str | None) -> SortedPage:
        return _sorted_out(*portal.list_ids_page(after, archived))

    if pull.cursor.get("at_end"):
        return None
    walk = _Walk(pull, most)
    with ThreadPoolExecutor(1) as ahead:
        listing = ahead.submit(list_ids, pull.cursor.get("after"))
        while not pull.cursor.get("at_end"):
            listed = listing.result()
            cursor = _cursor_behind(listed.page)
            if problem := walk.objection(listed, cursor["after"]):
                return problem
            if cursor["after"] is not None:
                listing = ahead.submit(list_ids, cursor["after"])
            if problem := _read_batches(portal, pull, _ids_of(listed.page), wanted, _HISTORY, lambda _chunk: pull.cursor, archived=archived):
                return problem
            pull.move(cursor, listed.asides)
    return None


class _Walk:
    """Sees to it that a walk over pages ends: each page leads on to one that was not there before, and has something new in it, but for a few; and
    together they bring no more than was announced. most: rows, asked for again before it is held against a walk.
    """

    def __init__(self, pull: LandedPull, most: Callable[[], int]) -> None:
        self._pull, self._ask, self._most = pull, most, _GROWTH
        self._behind = {pull.cursor.get("after")}
        self._pages: set[str] = set()
        self._empty = 0

    def objection(self, found: SortedPage, after: str | None) -> str | None:
        """What is wrong with the next page, in words. after: where it leads to; None at the end."""
        named = [_id_of(result) or str(result) for result in found.page["results"]]
        contents = digest(named)
        if len(named) > 1 and contents in self._pages:
            return f"a page came twice in its paging, {_id_of(found.page['results'][0]) or 'nameless records'} first"
        if after is not None and after in self._behind:
            return f"its paging does not move on from {after}"
        self._empty = 0 if named and contents not in self._pages else self._empty + 1
        if after is not None and self._empty >= _EMPTY_PAGES:
            return f"its paging goes on after {self._empty} pages with nothing new"
        if self._pull.rows > self._most:
            self._most = self._ask()
            if after is not None and self._pull.rows > self._most:
                return f"its paging goes on after {self._pull.rows} rows, more than there can be"
        self._pages.add(contents)
        self._behind.add(after)
        return None


def _cursor_behind(page: dict[str, Any]) -> dict[str, Any]:
    after = ((page.get("paging") or {}).get("next") or {}).get("after")
    return {"after": None if after is None else str(after), "at_end": after is None}


def _with_all(portal: Portal, found: SortedPage, required: Sequence[str]) -> tuple[SortedPage, str | None]:
    """HubSpot answers a property without a value as null. One that all contacts of a page lack was removed or hidden since the pull began: then this is
    what is wrong, in words. A contact that alone lacks one is set aside, and so is one that has none at all.
    """
    if not required:
        return found, None
    results = found.records
    portal.sends_nulls = portal.sends_nulls or any(value is None for result in results for value in result["properties"].values())
    lacking = [[name for name in required if name not in result["properties"]] for result in results]
    if not portal.sends_nulls:  # a server may leave out what is empty
        lacking = [names if len(names) == len(required) else [] for names in lacking]
    gone = sorted(set(lacking[0]).intersection(*lacking[1:])) if len(results) > 1 else []
    if gone:
        return found, f"an answer lacks {', '.join(gone)}, which was asked for: were properties changed during the pull?"
    if not any(lacking):
        return found, None
    good = [result for result, names in zip(results, lacking, strict=True) if not names]
    bad = [aside_of(str(result["id"]), result, "without_properties") for result, names in zip(results, lacking, strict=True) if names]
    return found.with_records(good, [*found.asides, *bad]), None


def _land_list(portal: Portal, pull: LandedPull, wanted: PropertyList, slow_ms: float) -> None:
    """Walks the live contacts. The list names the next page only in its answer, so slow answers leave the rate limit unused; then batches help. And its
    URL holds only so many properties.
    """
    problem = None
    if portal.can_list(wanted.properties, _HISTORY):
        problem = _land_pages(
            portal, pull, lambda after: _list_page(portal, wanted, False, after), _twice(portal), wanted.required,
            until=lambda: portal.answer_seconds * 1000 > slow_ms,
        )  # fmt: skip
    if problem is None:
        problem = _land_listed(portal, pull, wanted, _twice(portal))
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
    counted = portal.count()
    if counted <= landed:
        return 0
    return counted - portal.count("createdate", "GTE", began) - landed


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
        at_end, announced, before = False, None, pull.rows
        while not at_end:
            found = searching.result()[1]
            if announced is None:
                announced = int(found["total"])
                say_if_short("HubSpot", pull.label, announced, HISTORY_PAGE, portal.calls_left)
            if pull.rows - before > 2 * announced + _GROWTH:
                pull.finish(None, f"the search announced {announced} changed contacts, and goes on after {pull.rows - before}")
                return
            ids, nameless, problem = _changed_ids(found, last)
            if problem:
                pull.finish(None, problem)
                return
            at_end = len(found["results"]) >= int(found["total"])
            if nameless:
                pull.move(pull.cursor, nameless)
            if not at_end:
                searching = ahead.submit(search, ids[-1])
            names = [str(contact_id) for contact_id in ids]
            if problem := _read_batches(portal, pull, names, wanted, _HISTORY, lambda chunk: {"last_id": int(chunk[-1]), "at_end": False}):
                pull.finish(None, problem)
                return
            last = ids[-1] if ids else last
    pull.move({"last_id": last, "at_end": True})
    pull.finish(None)


def _changed_ids(found: dict[str, Any], last: int) -> tuple[list[int], list[Aside], str | None]:
    """Ids of a search page, what came without one, and what is wrong with the page: an answer that is not what was asked for may hide changes."""
    named = [_id_of(result) for result in found["results"]]
    ids = [int(name) for name in named if name.isdigit()]
    nameless = [aside_of(None, result, "without_id") for name, result in zip(named, found["results"], strict=True) if not name.isdigit()]
    at_end = len(named) >= int(found["total"])
    problem = None
    if any(contact_id <= last for contact_id in ids):
        problem = "the search returned contacts that it was told to leave out"
    elif ids != sorted(ids) and not at_end:  # when all are here, their order does not matter
        problem = "the search did not sort by id, so some changes may be missing"
    elif not ids and not at_end:
        problem = f"the search counts {found['total']} changed contacts above id {last} and returned none"
    return sorted(ids), nameless, problem


def _land_batches(
    portal: Portal, pull: LandedPull, ids: list[str], wanted: PropertyList, history: list[str], may_be_gone: bool, archived_too: bool = False,
    archived: bool = False,
) -> None:  # fmt: skip
    """Reads contacts by id. may_be_gone: nobody has said a moment ago that they are there. archived_too: they may be archived; archived: they are."""
    done = int(pull.cursor.get("done", 0))
    say_if_short("HubSpot", pull.label, len(ids) - done, HISTORY_PAGE, portal.calls_left)

    def cursor_behind(chunk: list[str]) -> dict[str, Any]:
        return {"done": pull.cursor.get("done", 0) + len(chunk)}

    problem = _read_batches(portal, pull, ids[done:], wanted, history, cursor_behind, may_be_gone, archived)
    if archived_too and problem is None:
        problem = _read_batches(portal, pull, ids, wanted, history, lambda _chunk: pull.cursor, may_be_gone=True, archived=True)
    pull.finish(None, problem)


def _read_batches(
    portal: Portal, pull: LandedPull, ids: Sequence[str], wanted: PropertyList, history: Sequence[str], cursor_behind: Callable[[list[str]], dict[str, Any]],
    may_be_gone: bool = False, archived: bool = False,
) -> str | None:  # fmt: skip
    """Adds a page for each batch of contacts. cursor_behind: of a batch's ids. Returns what is wrong, or None."""
    for chunk, page in portal.read_batches(ids, wanted.properties, history, archived):
        found, problem = _with_all(portal, _asked_for(chunk, _sorted_out(*page), wanted), wanted.required)
        if problem:
            return problem
        if not may_be_gone and (missing := _unanswered(chunk, found)):
            if len(missing) > _SINGLES:
                return f"{len(missing)} contacts that changed were asked for and not answered, {missing[0]} first"
            found = _ask_again(portal, missing, found, wanted, history, archived)
        pull.write_page(found.body, ".json", len(found.records), cursor_behind(chunk), found.asides)
    return None


def _asked_for(ids: Sequence[str], found: SortedPage, wanted: PropertyList) -> SortedPage:
    """The answer to a batch without strangers: contacts that nobody asked for, and that no contact was merged into that was."""
    if _MERGED not in wanted.properties:
        return found  # nothing tells a stranger from what a contact became
    asked = set(ids)
    known = [result for result in found.records if asked.intersection(_names_of(result))]
    return found if len(known) == len(found.records) else found.with_records(known, found.asides)


def _names_of(result: dict[str, Any]) -> list[str]:
    """The ids that a contact answers to: its own, and those that were merged into it."""
    merged = (result.get("properties") or {}).get(_MERGED)
    return [str(result["id"]), *str(merged or "").split(";")]


def _unanswered(ids: list[str], found: SortedPage) -> list[str]:
    """The contacts that a batch was asked for and did not speak of. Those that are gone by now are named in its errors; a contact that was
    merged is answered under the id it became.
    """
    spoken_of = {*(name for result in found.records for name in _names_of(result)), *(aside.id for aside in found.asides)}
    gone: set[str] = set()
    for error in found.page.get("errors") or []:
        if error.get("category") == "OBJECT_NOT_FOUND":
            gone.update(str(contact_id) for contact_id in (error.get("context") or {}).get("ids") or [])
    return [contact_id for contact_id in ids if contact_id not in spoken_of and contact_id not in gone]


def _ask_again(portal: Portal, missing: list[str], found: SortedPage, wanted: PropertyList, history: Sequence[str], archived: bool) -> SortedPage:
    """Asks for contacts one by one that a batch did not speak of. Who is not answered then either is set aside."""
    results = list(found.records)
    # what came without an id belongs to one of them
    asides = [aside for aside in found.asides if not aside.is_unnamed]
    for contact_id in missing:
        alone = _asked_for([contact_id], _sorted_out(*portal.read_batch([contact_id], wanted.properties, history, archived)), wanted)
        results += alone.records
        if _MERGED not in wanted.properties and len(alone.records) == 1:
            continue  # where the portal does not tell of merges, the one that answers is what it became
        asides += [aside for aside in alone.asides if not aside.is_unnamed]
        if _unanswered([contact_id], alone):
            version = next((aside.version for aside in alone.asides), "unanswered")
            asides.append(Aside(contact_id, version, "unanswered"))
    return found.with_records(results, asides)
