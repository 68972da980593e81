"""HubSpot: contacts and property history as pulled, archived contacts included.

A full pull walks the list endpoint; an increment searches for what changed and reads it in batches, because search returns no history.
The client library speaks /crm/v3, which HubSpot supports until September 2027; everything that knows it is in this file.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import urllib3
from hubspot import HubSpot
from hubspot.crm.contacts import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from assets.landing import LandedPull, Mode
from assets.policy import Policy
from assets.problems import PullProblem
from assets.warehouse import (
    LoadResult,
    PullContext,
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

_HISTORY_PAGE = 50  # HubSpot answers 400 to more, once history is asked for
_SEARCH_PAGE = 200


@dataclass(frozen=True)
class HubSpotAccess:
    """A private app's token, and where the API is."""

    access_token: str
    base_url: str = "https://api.hubapi.com"
    ca_file: str | None = None
    timeout_seconds: float = 60


class _Pace:
    """Keeps to a rate limit: at most `calls` in any `seconds`."""

    def __init__(self, calls: int, seconds: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._recent: deque[float] = deque(maxlen=calls)
        self._seconds, self._clock, self._sleep = seconds, clock, sleep

    def wait(self) -> None:
        if len(self._recent) == self._recent.maxlen:
            self._sleep(max(0.0, self._recent[0] + self._seconds - self._clock()))
        self._recent.append(self._clock())


class Portal:
    """The calls that Bindwatch makes, each returning the body as it came."""

    def __init__(self, access: HubSpotAccess, policy: Policy) -> None:
        self.access = access
        retries = urllib3.Retry(
            total=6, connect=2, other=0, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None,
            respect_retry_after_header=True, raise_on_status=False,
        )  # fmt: skip
        options: dict[str, Any] = {"access_token": access.access_token, "host": access.base_url.rstrip("/"), "retry": retries}
        if access.ca_file:
            options["ssl_ca_cert"] = access.ca_file
        client = HubSpot(**options)
        # each access to these makes a new connection pool: keep them
        self._list, self._search, self._batch = client.crm.contacts.basic_api, client.crm.contacts.search_api, client.crm.contacts.batch_api
        self._properties, self._members = client.crm.properties.core_api, client.crm.lists.memberships_api
        self._pace = _Pace(policy.pull.hubspot_requests_per_10_seconds, 10)
        self._search_pace = _Pace(policy.pull.hubspot_searches_per_second, 1)

    def property_names(self) -> set[str]:
        return {entry["name"] for entry in self._call("the property list", self._properties.get_all, "contacts")[1]["results"]}

    def list_page(self, properties: list[str], history: list[str], archived: bool, after: str | None) -> tuple[bytes, dict[str, Any]]:
        limit = _HISTORY_PAGE if history else 100
        after_option = {"after": after} if after else {}
        return self._call(
            "the contact list", self._list.get_page, limit=limit, properties=properties, properties_with_history=history, archived=archived, **after_option
        )

    def search_page(self, filters: list[dict[str, str]], limit: int) -> tuple[bytes, dict[str, Any]]:
        self._search_pace.wait()
        request = PublicObjectSearchRequest(filter_groups=[{"filters": filters}], sorts=["hs_object_id"], properties=["hs_object_id"], limit=limit)
        return self._call("the contact search", self._search.do_search, request)

    def read_batch(self, ids: list[str], properties: list[str], history: list[str]) -> tuple[bytes, dict[str, Any]]:
        request = BatchReadInputSimplePublicObjectId(inputs=[{"id": contact_id} for contact_id in ids], properties=properties, properties_with_history=history)
        return self._call("the batch read", self._batch.read, request, archived=False)

    def list_members_page(self, list_id: str, after: str | None) -> tuple[bytes, dict[str, Any]]:
        after_option = {"after": after} if after else {}
        return self._call("the inclusion list", self._members.get_page, list_id, limit=100, **after_option)

    def _call(self, doing: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[bytes, dict[str, Any]]:
        with _problems_in_words(self.access, doing):
            return self._answer(method, *args, **kwargs)

    @retry(
        retry=retry_if_exception_type((urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError, json.JSONDecodeError)),
        stop=stop_after_attempt(4), wait=wait_exponential(multiplier=0.3), reraise=True,
    )  # fmt: skip
    def _answer(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[bytes, dict[str, Any]]:
        """The body and what it parses to. A cut connection and half a JSON page are asked for again; the client does not do that."""
        self._pace.wait()
        timeout = (min(10.0, self.access.timeout_seconds), self.access.timeout_seconds)
        response = method(*args, **kwargs, _preload_content=False, _request_timeout=timeout)
        body = _loadable(response.data)
        return body, json.loads(body)


def _loadable(body: bytes) -> bytes:
    """Half of a surrogate pair and NUL are valid in JSON and in no database: they become the replacement character."""
    if b"\\u0000" not in body and b"\\ud" not in body and b"\\uD" not in body:
        return body
    text = json.dumps(json.loads(body.decode("utf-8", "replace")), ensure_ascii=False)
    return text.encode("utf-8", "replace").replace(b"\\u0000", "\ufffd".encode())


@dataclass(frozen=True)
class PropertyList:
    """What to ask for of a contact."""

    properties: list[str]
    mapped: list[str]

    @property
    def asked(self) -> str:
        return _digest(sorted(self.properties))


def read_property_list(portal: Portal, policy: Policy) -> PropertyList:
    """Holds the policy's properties against the portal's. Raises PullProblem that names each that is not there."""
    known = portal.property_names()
    wanted = [*_REQUIRED, *policy.properties()]
    missing = [name for name in dict.fromkeys(wanted) if name not in known]
    if missing:
        raise PullProblem(
            "HubSpot", f"The portal has no contact property {', '.join(missing)}, or the private app may not see it.",
            "The salesforce… properties come with the Salesforce integration: is it installed in this portal? "
            "Take a mapped property that does not exist out of [[mapping]] in bindwatch.toml.",
        )  # fmt: skip
    return PropertyList(list(dict.fromkeys([*wanted, *(name for name in _WELCOME if name in known)])), policy.properties())


def pull_contacts(portal: Portal, context: PullContext, wanted: PropertyList) -> list[LandedPull]:
    """Pulls live contacts, archived contacts, and the history of mapped properties where a binding changed; loads each.

    Live contacts are pulled incrementally when everything was pulled before with the same properties. Archived ones always come whole:
    HubSpot offers no way to ask what was archived since.
    """
    connection, policy = context.connection, context.policy
    since = increment_from(context, "hubspot", "contact", wanted.asked, policy.pull.hubspot_overlap_minutes)

    def open_pull(name: str, mode: Mode, asked: str, watermark_from: datetime | None = None, ids: Sequence[str] = ()) -> LandedPull:
        request = {"asked": asked, "ids": _digest(ids)}
        return context.landing.open("hubspot", name, mode, request, loaded_pulls(connection), watermark_from)

    live = open_pull("contact", "incremental" if since else "full", wanted.asked, since)
    if live.manifest.finished_at is None:
        if since is None:
            _land_list(portal, live, wanted, archived=False)
        else:
            _land_changes(portal, live, wanted, since)
    pulls = [_loaded(live, load_hubspot_contacts(connection, live))]

    archived = open_pull("contact_archived", "full", wanted.asked)
    if archived.manifest.finished_at is None:
        _land_list(portal, archived, wanted, archived=True)
    pulls.append(_loaded(archived, load_hubspot_contacts(connection, archived)))

    if ids := no_longer_archived(connection, archived):
        # restoring a contact need not move its modified stamp, so no search finds it
        restored = open_pull("contact_restored", "incremental", wanted.asked, ids=ids)
        if restored.manifest.finished_at is None:
            _land_batches(portal, restored, ids, wanted.properties, _HISTORY)
        pulls.append(_loaded(restored, load_hubspot_contacts(connection, restored)))

    ids = [row[0] for row in connection.execute(_SWITCHED).fetchall()]
    if ids and wanted.mapped:
        history = open_pull("contact_history", "incremental", _digest(wanted.mapped), ids=ids)
        if history.manifest.finished_at is None:
            _land_batches(portal, history, ids, ["hs_object_id"], wanted.mapped)
        pulls.append(_loaded(history, load_hubspot_history(connection, history)))

    list_id = policy.policy.inclusion_list_id
    if list_id is not None:
        members = open_pull("inclusion_list", "full", list_id)
        if members.manifest.finished_at is None:
            _land_pages(members, lambda after: portal.list_members_page(list_id, after))
            members.finish(None)
        pulls.append(_loaded(members, load_list_members(connection, members)))
    return pulls


# Live contacts whose id history has two different ids, and got a version that the mapped history was not read for yet.
_SWITCHED = """
    select contact_id
    from raw.hubspot_property_version
    where contact_id in (select id from raw.hubspot_contact group by id having not max_by(archived, pull_no))
    group by contact_id
    having count(distinct nullif(value, '')) filter (where property in ('salesforceleadid', 'salesforcecontactid')) > 1
       and max(pull_no) filter (where property in ('salesforceleadid', 'salesforcecontactid'))
           > coalesce(max(pull_no) filter (where property not in ('salesforceleadid', 'salesforcecontactid', 'email')), 0)
    order by length(contact_id), contact_id
"""


def _digest(names: Sequence[str]) -> str:
    return sha256(",".join(names).encode()).hexdigest()[:16]


def _loaded(pull: LandedPull, result: LoadResult) -> LandedPull:
    report_pull(pull, result)
    return pull


def _land_pages(pull: LandedPull, read: Callable[[str | None], tuple[bytes, dict[str, Any]]]) -> None:
    """Follows paging.next.after to the end. The last, short page counts like any other."""
    cursor = pull.manifest.cursor
    while not cursor.get("at_end"):
        body, page = read(cursor.get("after"))
        after = ((page.get("paging") or {}).get("next") or {}).get("after")
        if after is not None and str(after) == cursor.get("after"):
            raise PullProblem("HubSpot", f"The paging of {pull.manifest.object} does not move on from {after}.", "Run again; if it stays so, report it.")
        cursor = {"after": None if after is None else str(after), "at_end": after is None}
        pull.write_page(body, ".json", len(page["results"]), cursor)
        if len(pull.manifest.pages) % 20 == 0:
            log.info("%s: %s rows so far", pull.label, f"{pull.manifest.rows:,}")


def _land_list(portal: Portal, pull: LandedPull, wanted: PropertyList, archived: bool) -> None:
    _land_pages(pull, lambda after: portal.list_page(wanted.properties, _HISTORY, archived, after))
    problem = None
    if not archived:
        for wait in (2, 8, 0):
            missing = _count_missing(portal, pull)
            if missing <= 0 or wait == 0:
                break
            time.sleep(wait)  # the index lags: it may still count contacts that were archived or merged a moment ago
        if missing > 0:
            problem = f"its paging ended after {pull.manifest.rows} contacts, the search counts {missing} more"
    pull.finish(None, problem)


def _count_missing(portal: Portal, pull: LandedPull) -> int:
    """How many contacts the search counts beyond those listed, without those created since the pull began (5 minutes of clock skew allowed)."""
    began = str(int((pull.manifest.started_at - timedelta(minutes=5)).timestamp() * 1000))
    counted = _count_by_search(portal, "hs_object_id", "GT", "0")
    if counted <= pull.manifest.rows:
        return 0
    return counted - _count_by_search(portal, "createdate", "GTE", began) - pull.manifest.rows


def _count_by_search(portal: Portal, name: str, operator: str, value: str) -> int:
    return int(portal.search_page([{"propertyName": name, "operator": operator, "value": value}], 1)[1]["total"])


def _land_changes(portal: Portal, pull: LandedPull, wanted: PropertyList, since: datetime) -> None:
    """Walks the changed contacts by id, not by page: each search asks for ids above the last one.

    So the cap of 10,000 results is never met, any number of contacts may share one stamp, and a contact that is edited while we page
    does not move past us.
    """
    stamp = str(int(since.timestamp() * 1000))
    last = int(pull.manifest.cursor.get("last_id", 0))
    while not pull.manifest.cursor.get("at_end"):
        filters = [
            {"propertyName": "lastmodifieddate", "operator": "GTE", "value": stamp},
            {"propertyName": "hs_object_id", "operator": "GT", "value": str(last)},
        ]
        found = portal.search_page(filters, _SEARCH_PAGE)[1]
        ids = [int(result["id"]) for result in found["results"]]
        if ids != sorted(ids):
            pull.finish(None, "the search did not sort by id, so some changes may be missing")
            return
        if any(contact_id <= last for contact_id in ids):
            pull.finish(None, "the search returned contacts that it was told to leave out")
            return
        at_end = len(ids) >= int(found["total"])
        if not ids and not at_end:
            pull.finish(None, f"the search counts {found['total']} changed contacts above id {last} and returned none")
            return
        for start in range(0, len(ids), _HISTORY_PAGE):
            chunk = ids[start : start + _HISTORY_PAGE]
            body, page = portal.read_batch([str(contact_id) for contact_id in chunk], wanted.properties, _HISTORY)
            pull.write_page(body, ".json", len(page["results"]), {"last_id": chunk[-1], "at_end": False})
        last = ids[-1] if ids else last
        pull.move({"last_id": last, "at_end": at_end})
        log.info("%s: %s changed so far", pull.label, f"{pull.manifest.rows:,}")
    pull.finish(None)


def _land_batches(portal: Portal, pull: LandedPull, ids: list[str], properties: list[str], history: list[str]) -> None:
    """Reads contacts by id. Ids that are gone are left out by HubSpot, which answers 207 then."""
    for start in range(int(pull.manifest.cursor.get("done", 0)), len(ids), _HISTORY_PAGE):
        body, page = portal.read_batch(ids[start : start + _HISTORY_PAGE], properties, history)
        pull.write_page(body, ".json", len(page["results"]), {"done": start + _HISTORY_PAGE})
    pull.finish(None)


@contextmanager
def _problems_in_words(access: HubSpotAccess, doing: str) -> Iterator[None]:
    """Turns what the client library raises into a PullProblem with a remedy. Each API package has exception classes of its own."""
    host = urlsplit(access.base_url).netloc
    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise PullProblem(
            "HubSpot",
            f"{host} cannot be reached or broke off ({type(reason).__name__}) during {doing}.",
            "Check HUBSPOT_BASE_URL and the network, then run again.",
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise PullProblem(
            "HubSpot", f"{host} sent an answer for {doing} that cannot be read ({type(error).__name__}).", "Run again; check HUBSPOT_BASE_URL."
        ) from error
    except Exception as error:
        status = getattr(error, "status", None)
        if type(error).__module__.split(".")[0] != "hubspot" or status is None:
            raise
        remedies = {
            0: "The certificate is not trusted: name the CA file in SSL_CERT_FILE or REQUESTS_CA_BUNDLE.",
            401: "HUBSPOT_ACCESS_TOKEN is wrong or was revoked: copy the token of the private app again.",
            403: "The private app lacks a scope: crm.objects.contacts.read, crm.schemas.contacts.read, and crm.lists.read for an inclusion list.",
            404: "It is not there: check HUBSPOT_BASE_URL and policy.inclusion_list_id.",
            429: "The rate limit is used up by other apps of the portal: run again later, or lower pull.hubspot_requests_per_10_seconds.",
        }
        raise PullProblem("HubSpot", f"{host} answered {status} to {doing}{_category(error)}.", remedies.get(status, "Run again later.")) from error


def _category(error: Exception) -> str:
    """HubSpot's category of an error. Its message may quote a record, so it is left out."""
    try:
        return f" ({json.loads(getattr(error, 'body', '') or '{}')['category']})"
    except (ValueError, KeyError, TypeError):
        return ""
