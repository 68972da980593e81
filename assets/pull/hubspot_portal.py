"""A HubSpot portal, spoken to with a Service Key: the version of the API, the rate limit, broken answers, refusals.

The client library's own methods speak /crm/v3 alone, which HubSpot supports until September 2027. So only what carries its requests is used, which takes
any path. Everything that knows the library, or a path, is in this file. Each call returns the body as it came.
"""

import json
import logging
import time
import traceback
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from hubspot import HubSpot
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    MaxRetryError,
    NewConnectionError,
    SSLError,
    URLSchemeUnknown,
)

from assets.policy import Pull
from assets.problems import PullProblem
from assets.pull.landing import as_loadable
from assets.pull.pace import Pace
from assets.pull.proxies import UNKNOWN_USER, ProxyRefusal, fault_of_proxy, proxy_for, refusal_of_proxy
from assets.pull.refusals import Refusal
from assets.pull.retries import LONGEST_WAIT, Again, Clock, Redirected, Unreadable, clock_of, elsewhere, retry_after, with_patience
from assets.pull.salvage import split_page
from assets.pull.urls import fits_a_url

PAGE = 100
HISTORY_PAGE = 50  # HubSpot answers 400 to more, once history is asked for
_HISTORIES = 10_000  # of one batch: a history may have many entries, and an answer has to fit memory on both sides
SEARCH_PAGE = 200
OWNERS_PAGE = 500
# The versions of the API, the best first, and when HubSpot ends each one. It names months (18 after a release); the first day is the safe one.
VERSIONS = {"2026-09": date(2028, 3, 1), "2026-03": date(2027, 9, 1), "v3": date(2027, 9, 1)}
_NOT_THERE = {400, 404, 405, 406, 410, 426, 501}  # what a server may answer that does not know a version
_WARN_DAYS = 180
_NO_SCOPE = 403
_SCOPES = {
    "the property list": "crm.schemas.contacts.read", "the inclusion list": "crm.lists.read", "the lists": "crm.lists.read",
    "the owners": "crm.objects.owners.read",
}  # fmt: skip  # all else: crm.objects.contacts.read
_WORKERS = 4  # batches in flight: enough to keep the rate limit busy at 200 ms an answer

Page = tuple[bytes, dict[str, Any]]
Query = Sequence[tuple[str, Any]]

log = logging.getLogger("bindwatch.pull")


@dataclass(frozen=True)
class HubSpotAccess:
    """A Service Key, or the token of a private app, and where the API is."""

    access_token: str
    base_url: str = "https://api.hubapi.com"
    ca_file: str | None = None
    timeout_seconds: float = 60
    patience_seconds: float = 60

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).netloc


class _HereOnly(urllib3.Retry):
    """Follows a redirect to the same host only."""

    def increment(self, method: Any = None, url: Any = None, response: Any = None, *args: Any, **options: Any) -> Any:
        target = response.get_redirect_location() if response is not None else None
        if target and (reason := elsewhere(str(url), target)):
            raise Redirected(reason)
        return super().increment(method, url, response, *args, **options)


class Portal:
    """The calls that Bindwatch makes. Each returns the body as it came and what it parses to, and raises PullProblem when it fails for good.
    Where the same answer cannot be read again and again, a contact may be to blame: the page then holds the text of what is no JSON in its place.

    clock: the portal's own time, from its last answer; None when it never told. answer_seconds: how long the last answer took. sends_nulls: it has
    told of a property that it is empty, so one that is left out is not. calls_left: of this day; None when it does not tell. fallback: that another
    version is spoken than the best, in words; None when it is that one. calls: that were made, without those that were made again. scopes_missing: those that
    the key was found to lack.
    """

    def __init__(self, access: HubSpotAccess, settings: Pull) -> None:
        self.access = access
        # the library's own retries would not count against the rate limit
        options: dict[str, Any] = {"access_token": access.access_token, "retry": _HereOnly(0, redirect=3)}
        if access.ca_file:
            options["ssl_ca_cert"] = access.ca_file
        if proxy := proxy_for(access.base_url):
            options |= {"proxy": proxy.url, "proxy_headers": proxy.headers()}
        # each access makes a new connection pool: keep this one
        self._client = HubSpot(**options).crm.contacts.basic_api.api_client
        self._pace = Pace(settings.hubspot_requests_per_10_seconds, 10)
        self._search_pace = Pace(settings.hubspot_searches_per_second, 1)
        self._wanted = settings.hubspot_api
        self._version: str | None = None
        self._properties: dict[str, dict[str, Any]] | None = None
        self.clock: Clock | None = None
        self.answer_seconds = 0.0
        self.sends_nulls = False
        self.fallback: str | None = None
        self.calls_left: int | None = None
        self.calls = 0
        self.scopes_missing: dict[str, None] = {}

    @property
    def version(self) -> str:
        """The version of the API that is spoken: the one that the policy names, or the best that the portal knows."""
        if self._version is None:
            self._choose_version()
        assert self._version is not None
        return self._version

    def _choose_version(self) -> None:
        """Asks for the list of properties, which is needed anyway, in one version after the other. A refusal of the token is none of the version."""
        candidates: list[str] = list(VERSIONS) if self._wanted == "auto" else [self._wanted]
        missed: BaseException | None = None
        for version in candidates:
            self._version = version
            try:
                self.properties()
            except PullProblem as problem:
                status = _status_behind(problem)
                if status == _NO_SCOPE:
                    return  # who asks for the properties is told
                self._version = None
                if status not in _NOT_THERE:
                    raise
                missed = problem.__cause__
                continue
            if tried := candidates[: candidates.index(version)]:
                self.fallback = f"HubSpot's API in version {' or '.join(tried)}, which the portal does not know: {version} is spoken"
                log.warning("HubSpot: version %s of the API is not known here; %s is spoken", " or ".join(tried), version)
            return
        raise PullProblem(
            "HubSpot", f"{self.access.host} does not know the API in version {' or '.join(candidates)}.",
            'Check HUBSPOT_BASE_URL, and pull.hubspot_api in bindwatch.toml ("auto" takes what the portal knows).',
        ) from missed  # fmt: skip

    def end_of_version(self) -> str | None:
        """That HubSpot ends the version which is spoken, in words; None while that is far off."""
        today = (self.clock.theirs if self.clock else datetime.now(UTC)).date()
        days = (VERSIONS[self.version] - today).days
        if days > _WARN_DAYS:
            return None
        when = f"in {days} days" if days > 0 else "by now"
        newer = "update Bindwatch" if self.version == next(iter(VERSIONS)) else 'pull.hubspot_api = "auto" takes a newer one where the portal knows it'
        return f"HubSpot ends version {self.version} of its API in {VERSIONS[self.version]:%B %Y} ({when}): {newer}"

    def try_the_way_in(self, list_id: str | None) -> None:
        """Makes one call for each scope that a run needs, so that those which are missing are told before anything is pulled. list_id: the inclusion list."""
        if closed := self.closed_ways(list_id):
            raise PullProblem("HubSpot", " ".join(one.what for one in closed), " ".join(one.remedy for one in closed)) from closed[0].__cause__

    def closed_ways(self, list_id: str | None) -> list[PullProblem]:
        """What the key may not see of all that a run needs. Raises PullProblem for anything else."""
        ways: list[Callable[[], Any]] = [self.properties, self.count]
        if list_id is not None:
            ways.append(partial(self.list_members_page, list_id, None, limit=1))
        closed: list[PullProblem] = []
        for ask in ways:
            try:
                ask()
            except PullProblem as problem:
                if _status_behind(problem) != _NO_SCOPE:
                    raise
                closed.append(problem)
        return closed

    def read_id(self) -> str | None:
        """The id of the portal: from its account information, else from what HubSpot knows of the token; None when nobody tells."""
        asked: tuple[tuple[str, str, dict[str, str] | None, str], ...] = (
            ("GET", f"/account-info/{self.version}/details", None, "portalId"),
            ("POST", "/oauth/v2/private-apps/get/access-token-info", {"tokenKey": self.access.access_token}, "hubId"),
        )
        for method, path, body, name in asked:
            try:
                number = self._call("the id of the portal", method, path, body=body, shape=dict)[1].get(name)
            except PullProblem as problem:
                if _status_behind(problem) not in (401, 403, *_NOT_THERE):
                    raise
                continue  # this way is not open here
            if str(number or "").isdigit():
                return str(number)
        return None

    def _path(self, api: str, rest: str) -> str:
        return f"/crm/v3/{api}/{rest}" if self.version == "v3" else f"/crm/{api}/{self.version}/{rest}"

    def count(self, name: str = "hs_object_id", operator: str = "GT", value: str = "0") -> int:
        """How many live contacts the search counts: all, or those of which a property compares so."""
        return int(self.search_page([{"propertyName": name, "operator": operator, "value": value}], 1)[1]["total"])

    def properties(self) -> dict[str, dict[str, Any]]:
        """The contact properties that the portal has, and that the token may see, by name. Asked for once."""
        if self._properties is None:
            entries = self._call("the property list", "GET", self._path("properties", "contacts"))[1]["results"]
            self._properties = {entry["name"]: entry for entry in entries if isinstance(entry, dict) and "name" in entry}
        return self._properties

    def can_list(self, properties: Sequence[str], history: Sequence[str]) -> bool:
        """Can a page of the list bring these? They stand in its URL."""
        return fits_a_url(_listed(properties, history, archived=True, after="9" * 20))

    def list_page(self, properties: Sequence[str], history: Sequence[str], archived: bool, after: str | None) -> Page:
        return self._call("the contact list", "GET", self._path("objects", "contacts"), _listed(properties, history, archived, after))

    def list_ids_page(self, after: str | None, archived: bool = False) -> Page:
        """Contacts with their stamps and nothing else."""
        query = [("limit", PAGE), *_behind(after), ("properties", "lastmodifieddate"), ("archived", archived)]
        return self._call("the list of contact ids", "GET", self._path("objects", "contacts"), query)

    def search_page(self, filters: list[dict[str, str]], limit: int) -> Page:
        """Contacts that pass all filters, sorted by id. The answer's `total` counts all of them."""
        return self._search({"filterGroups": [{"filters": filters}], "sorts": ["hs_object_id"], "properties": ["hs_object_id"], "limit": limit})

    def search_in_order(
        self, filters: list[dict[str, Any]], by: str, descending: bool, after: int, limit: int, properties: Sequence[str] = ("hs_object_id",)
    ) -> Page:
        """Contacts that pass all filters, in the order of a property, from the one with the number `after` on."""
        order = {"propertyName": by, "direction": "DESCENDING" if descending else "ASCENDING"}
        groups = [{"filters": filters}]
        return self._search({"filterGroups": groups, "sorts": [order], "properties": list(properties), "limit": limit, "after": str(after)})

    def _search(self, body: dict[str, Any]) -> Page:
        answer, page = self._call("the contact search", "POST", self._path("objects", "contacts/search"), body=body, is_search=True)
        if not str(page.get("total", "")).isdecimal():
            raise PullProblem("HubSpot", f"{self.access.host} does not say how many contacts its search found.", "Run again; check HUBSPOT_BASE_URL.")
        return answer, page

    def read_batches(self, ids: Sequence[str], properties: Sequence[str], history: Sequence[str], archived: bool = False) -> Iterator[tuple[list[str], Page]]:
        """Reads contacts by id, several batches at a time. Yields each batch's ids and page, in the order of the ids."""
        lot = max(1, min(HISTORY_PAGE, _HISTORIES // max(1, len(history))))
        chunks = [list(ids[start : start + lot]) for start in range(0, len(ids), lot)]
        waiting: deque[tuple[list[str], Future[Page]]] = deque()
        with ThreadPoolExecutor(_WORKERS) as pool:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(self.read_batch, chunk, properties, history, archived)))
                if len(waiting) > _WORKERS:
                    done, page = waiting.popleft()
                    yield done, page.result()
            while waiting:
                done, page = waiting.popleft()
                yield done, page.result()

    def read_batch(self, ids: Sequence[str], properties: Sequence[str], history: Sequence[str], archived: bool = False) -> Page:
        body = {"inputs": [{"id": contact_id} for contact_id in ids], "properties": list(properties), "propertiesWithHistory": list(history)}
        return self._call("the batch read", "POST", self._path("objects", "contacts/batch/read"), [("archived", archived)], body)

    def list_members_page(self, list_id: str, after: str | None, limit: int = PAGE) -> Page:
        return self._call("the inclusion list", "GET", self._path("lists", f"{quote(list_id, safe='')}/memberships"), [("limit", limit), *_behind(after)])

    def lists(self) -> list[dict[str, Any]] | None:
        """The lists of contacts that follow a filter, as HubSpot describes them; None where the key may not see them, or the portal does not tell."""
        asked: tuple[tuple[str, str, Query, dict[str, Any] | None], ...] = (
            ("POST", self._path("lists", "search"), (), {"query": "", "count": 250, "offset": 0, "processingTypes": ["DYNAMIC"]}),
            ("GET", self._path("lists", "").rstrip("/"), [("limit", 250)], None),
        )
        for method, path, query, body in asked:
            try:
                answer = self._call("the lists", method, path, query, body, shape=dict)[1]
            except PullProblem as problem:
                if _status_behind(problem) not in (_NO_SCOPE, *_NOT_THERE):
                    raise
                continue
            found = next((answer[name] for name in ("lists", "results") if isinstance(answer.get(name), list)), None)
            if found is not None:
                return [one for one in found if isinstance(one, dict)]
        return None

    def lists_of(self, contact_id: str) -> list[str] | None:
        """Ids of the lists that a contact is in; None where the key may not see them, or the portal does not tell."""
        try:
            answer = self._call("the lists", "GET", self._path("lists", f"records/0-1/{quote(contact_id, safe='')}/memberships"))[1]
        except PullProblem as problem:
            if _status_behind(problem) not in (_NO_SCOPE, *_NOT_THERE):
                raise
            return None
        return [str(one["listId"]) for one in answer["results"] if isinstance(one, dict) and one.get("listId")]

    def owners_page(self, archived: bool, after: str | None) -> Page | None:
        """Owners of records, who are here or have left; None where the key may not see them, or the portal does not tell."""
        query = [("limit", OWNERS_PAGE), *_behind(after), ("archived", archived)]
        try:
            return self._call("the owners", "GET", self._path("owners", "").rstrip("/"), query)
        except PullProblem as problem:
            if _status_behind(problem) not in (_NO_SCOPE, *_NOT_THERE):
                raise
            return None

    def _call(
        self, doing: str, method: str, path: str, query: Query = (), body: dict[str, Any] | None = None, is_search: bool = False, shape: type = list
    ) -> Page:
        """shape: a list where the answer has results, a dict where it is an object of its own."""
        self.calls += 1
        with _problems_in_words(self.access, doing):
            try:
                return with_patience(lambda: self._once(method, path, query, body, is_search, shape), self.access.patience_seconds, "HubSpot")
            except Refusal as error:
                if error.status == _NO_SCOPE:
                    self.scopes_missing[scope_of(doing)] = None
                raise
            except Unreadable as error:
                page = split_page(error.body, "results")
                if page is None:
                    raise
                return error.body, page

    def _once(self, method: str, path: str, query: Query, body: dict[str, Any] | None, is_search: bool, shape: type) -> Page:
        if is_search:
            self._search_pace.wait()
        self._pace.wait()
        seconds = self.access.timeout_seconds
        host, url = self.access.host, self.access.base_url.rstrip("/") + path
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self.access.access_token}", "User-Agent": self._client.user_agent}
        try:
            asked_at = time.monotonic()
            # below its `call_api`, which cannot read a refusal that is no UTF-8, as those of proxies
            response = self._client.rest_client.request(
                method, url, query_params=list(query), headers=headers, body=body, _preload_content=False, _request_timeout=(min(10.0, seconds), seconds)
            )
            data = response.data
            self.answer_seconds = time.monotonic() - asked_at
        except (HTTPError, OSError) as error:
            raise fault_of_proxy(error, url) or _again(error, host) from error
        except ValueError as error:
            if not _is_of_an_address(error):
                raise
            raise Redirected("it redirects to an address that is none") from error
        except Exception as error:
            if (status := _status(error)) is None:
                raise
            if status == 0:  # the library's own: the encrypted connection did not come about
                raise _Untrusted from error
            if status == UNKNOWN_USER and (of_proxy := refusal_of_proxy(status, url)):
                raise of_proxy from error
            headers = getattr(error, "headers", None) or {}
            self._learn(headers)
            refusal = _refusal(status, error)
            if not refusal.is_passing:
                raise refusal from error
            wait = retry_after(headers)
            if status == 429 and (wait or 0) <= LONGEST_WAIT:  # else the call gives up, and those beside it may not wait for what nobody waits for
                (self._search_pace if is_search else self._pace).hold(wait if wait is not None else 1.0)
            raise refusal.again(host, wait) from error
        self._learn(response.headers)
        try:
            answer = as_loadable(data)
            page = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{host} sent half an answer, or one that is no JSON", data) from error
        if not isinstance(page, dict) or (shape is list and not isinstance(page.get("results"), list)):
            raise Again(f"{host} sent an answer without results")
        return answer, page

    def _learn(self, headers: Mapping[str, str]) -> None:
        """The limit that the portal names in its answers; how much of it is left, since other apps may share it; and its clock."""
        self.clock = clock_of(headers) or self.clock
        left_today = _number(headers.get("X-HubSpot-RateLimit-Daily-Remaining"))
        self.calls_left = self.calls_left if left_today is None else left_today
        most, interval, left = (_number(headers.get(f"X-HubSpot-RateLimit-{name}")) for name in ("Max", "Interval-Milliseconds", "Remaining"))
        if most is not None and interval is not None and most > 0 and interval > 0:
            self._pace.tighten(int(most * 10_000 / interval))
        if left == 0:
            self._pace.hold(1.0)


def scope_of(doing: str) -> str:
    """The scope that a call needs, by what it is called in messages."""
    return _SCOPES.get(doing, "crm.objects.contacts.read")


def _listed(properties: Sequence[str], history: Sequence[str], archived: bool, after: str | None) -> list[tuple[str, Any]]:
    """The parameters of a page of the list."""
    names = [*(("properties", name) for name in properties), *(("propertiesWithHistory", name) for name in history)]
    return [("limit", HISTORY_PAGE), *_behind(after), *names, ("archived", archived)]


def _behind(after: str | None) -> list[tuple[str, Any]]:
    return [("after", after)] if after else []


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _status(error: Exception) -> int | None:
    """HTTP status of an exception of the library, which has a class of its own in each API package; None for any other exception."""
    return getattr(error, "status", None) if type(error).__module__.split(".")[0] == "hubspot" else None


def _status_behind(problem: PullProblem) -> int | None:
    """HTTP status of the refusal that a problem tells of; None when it tells of something else."""
    return problem.__cause__.status if isinstance(problem.__cause__, Refusal) else None


def _refusal(status: int, error: Exception) -> Refusal:
    """What the portal says of a refusal, as far as it says it in JSON: what stands before it answers with web pages."""
    body = getattr(error, "body", None) or ""
    try:
        told = json.loads(body.decode("utf-8", "replace") if isinstance(body, bytes) else body)
    except (ValueError, RecursionError):
        told = None
    told = told if isinstance(told, dict) else {}
    code, kind, message, policy = (str(told.get(name) or "") for name in ("category", "errorType", "message", "policyName"))
    return Refusal("HubSpot", status, code or kind, f"{policy} {message}".strip())


def _again(error: Exception, host: str) -> Exception:
    """A connection that broke is tried again; a certificate that is not trusted is not."""
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, SSLError) and "CERTIFICATE" in str(reason).upper():
        return _Untrusted()
    if isinstance(reason, URLSchemeUnknown):
        return reason  # an address that is none: nothing gets better by waiting
    if isinstance(reason, LocationValueError):
        return Redirected("it redirects to an address that is none")
    if isinstance(reason, (NewConnectionError, ConnectTimeoutError)):
        return Again(f"{host} does not answer", no_connection=True)
    return Again(f"{host} broke off ({type(reason).__name__})")


def _is_of_an_address(error: ValueError) -> bool:
    """Was it an address that Python could not take apart? Ours was looked at before; urllib3 joins it with where a redirect leads before anybody is asked."""
    *_, innermost = traceback.extract_tb(error.__traceback__)
    return innermost.filename == urllib.parse.__file__


class _Untrusted(Exception):
    pass


@contextmanager
def _problems_in_words(access: HubSpotAccess, doing: str) -> Iterator[None]:
    """Turns what went wrong for good into a PullProblem with a remedy."""
    host = access.host
    certificate = "The certificate is not trusted: name the CA file in SSL_CERT_FILE or REQUESTS_CA_BUNDLE."
    try:
        yield
    except Again as error:
        raise PullProblem(
            "HubSpot",
            f"{host} cannot be reached or keeps failing during {doing}: {error.reason}.",
            error.remedy or "Check HUBSPOT_BASE_URL and the network, then run again: what has arrived stays.",
        ) from error
    except Refusal as error:
        remedy = error.remedy.replace("{scope}", scope_of(doing))
        raise PullProblem("HubSpot", f"{host} answered {error.words} to {doing}.", remedy) from error
    except Redirected as error:
        raise PullProblem("HubSpot", f"{host} cannot be asked for {doing}: {error}.", "Check HUBSPOT_BASE_URL and what stands between.") from error
    except ProxyRefusal as error:
        raise PullProblem("HubSpot", f"{host} cannot be asked for {doing}: {error}.", error.remedy) from error
    except (LocationValueError, URLSchemeUnknown) as error:
        raise PullProblem("HubSpot", f"{host} is no address that can be asked ({type(error).__name__}).", "Check HUBSPOT_BASE_URL.") from error
    except _Untrusted as error:
        raise PullProblem("HubSpot", f"{host} cannot be asked for {doing}.", certificate) from error
