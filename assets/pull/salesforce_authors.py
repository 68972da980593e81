"""Who wrote what in Salesforce: the org's users, and the history of fields where it is kept.

Both are extras. Where the org does not show them a run knows less, says so, and is as complete as it was: the cursor of such a pull says `refused`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from assets.problems import PullProblem
from assets.pull.landing import Aside, LandedPull, aside_of
from assets.pull.pace import say_if_short
from assets.pull.refusals import Refusal
from assets.pull.salesforce import IDS_OF_A_QUERY, moment_literal
from assets.pull.salesforce_org import Org, problems_in_words
from assets.pull.salvage import SortedPage, sort_out

USER_FIELDS = ["Id", "Name", "Email", "IsActive", "UserType", "SystemModstamp"]
_LEAST_OF_USERS = ["Id", "Name"]  # where the user may not see all of the others
_HISTORY_FIELDS = ["Id", "Field", "OldValue", "NewValue", "CreatedById", "CreatedDate"]
_DENIED = {400, 403, 404}  # what an org answers that does not have an object, or does not show it
_LIMIT = "REQUEST_LIMIT_EXCEEDED"  # comes as 403, too
_PLACE_LOST = 2  # times that a query is asked anew whose next page the org has forgotten


def land_users(org: Org, pull: LandedPull, since: datetime | None) -> None:
    """Lands all users, or those changed since a moment; where the integration user may not see all fields of them, everybody's name."""
    changed = f" WHERE SystemModstamp >= {moment_literal(since)}" if since else ""
    with problems_in_words(org.access, "the users"):
        pull.start_over()
        refusal = _land(org, pull, f"SELECT {', '.join(USER_FIELDS)} FROM User{changed}", {})
        if refusal is not None:
            refusal = _land(org, pull, f"SELECT {', '.join(_LEAST_OF_USERS)} FROM User", {})
        _finish(pull, refusal)


def land_field_history(org: Org, pull: LandedPull, name: str, ids: Sequence[str]) -> None:
    """Lands every change that is kept of these records of "Lead" or "Contact", some records a query."""
    soql = f"SELECT {', '.join([*_HISTORY_FIELDS, f'{name}Id'])} FROM {name}History WHERE {name}Id IN "
    with problems_in_words(org.access, f"the field history of {name}"):
        done = int(pull.cursor.get("done", 0))
        say_if_short("Salesforce", pull.label, len(ids) - done, IDS_OF_A_QUERY, org.calls_left)
        for start in range(done, len(ids), IDS_OF_A_QUERY):
            some = ", ".join(f"'{record_id}'" for record_id in ids[start : start + IDS_OF_A_QUERY])
            if refusal := _land(org, pull, f"{soql}({some})", {"done": start + IDS_OF_A_QUERY}):
                break
        else:
            refusal = None
        _finish(pull, refusal)


def _finish(pull: LandedPull, refusal: Refusal | None) -> None:
    if refusal is not None:
        pull.move({"refused": refusal.code or str(refusal.status)})
    pull.finish(None)


def _land(org: Org, pull: LandedPull, soql: str, cursor: dict[str, Any]) -> Refusal | None:
    """Adds all that a query finds as one page; returns the org's refusal to answer it, if it does. cursor: behind that page.

    Whoever is asked for the changes of some records must bring all of them or none: a change that is not there would count as one that never was.
    """
    for attempt in range(_PLACE_LOST + 1):
        try:
            body, page = org.query_all(soql)
        except Refusal as refusal:
            if refusal.status in _DENIED and refusal.code != _LIMIT:
                return refusal
            raise
        try:
            found = _all_pages(org, body, page)
        except Refusal as refusal:
            if refusal.status not in (400, 404) or attempt == _PLACE_LOST:
                raise
            continue
        pull.write_page(found.body, ".json", len(found.records), cursor, found.asides)
        return None
    return None


def _all_pages(org: Org, body: bytes, page: dict[str, Any]) -> SortedPage:
    """The pages of an answer as one. Raises PullProblem when they are not what the first one announced."""
    announced, records, urls = int(page["totalSize"]), list(page["records"]), set[str]()
    while not page["done"] and page["nextRecordsUrl"] not in urls and len(records) <= announced:
        urls.add(page["nextRecordsUrl"])
        page = org.next_page(page["nextRecordsUrl"])[1]
        records += page["records"]
    if len(records) != announced:
        raise PullProblem("Salesforce", f"{org.access.host} announced {announced:,} rows and sent {len(records):,}.", "Run again; if it stays so, report it.")
    if urls:
        body = b""  # the pages are kept as one
    found = sort_out(body, {**page, "records": records}, "records", _objection)
    return found.with_records(found.records, found.asides) if urls else found


def _objection(record: Any) -> Aside | None:
    """What keeps a user or a change from being read: it is no object, or has no id."""
    is_named = isinstance(record, dict) and isinstance(record.get("Id"), str) and bool(record["Id"].strip())
    return None if is_named else aside_of(None, record, "without_id")
