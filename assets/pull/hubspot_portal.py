"""A HubSpot portal, spoken to as a private app: the rate limit, broken answers, refusals.

The client library speaks /crm/v3, which HubSpot supports until September 2027; everything that knows it is in this file. Each call returns
the body as it came, because the library's models lose what they do not know.
"""

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import urllib3
from hubspot import HubSpot
from hubspot.crm.contacts import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationValueError, MaxRetryError, NewConnectionError, SSLError

from assets.policy import Pull
from assets.problems import PullProblem
from assets.pull.landing import as_loadable
from assets.pull.pace import Pace
from assets.pull.retries import LONGEST_WAIT, Again, Clock, Redirected, Unreadable, clock_of, elsewhere, retry_after, with_patience
from assets.pull.salvage import split_page

PAGE = 100
HISTORY_PAGE = 50  # HubSpot answers 400 to more, once history is asked for
SEARCH_PAGE = 200
_PASSING = {408, 423, 429, 477, *range(500, 600)}
_WORKERS = 4  # batches in flight: enough to keep the rate limit busy at 200 ms an answer

Page = tuple[bytes, dict[str, Any]]


@dataclass(frozen=True)
class HubSpotAccess:
    """A private app's token, and where the API is."""

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
    told of a property that it is empty, so one that is left out is not.
    """

    def __init__(self, access: HubSpotAccess, settings: Pull) -> None:
        self.access = access
        # the library's own retries would not count against the rate limit
        options: dict[str, Any] = {"access_token": access.access_token, "host": access.base_url.rstrip("/"), "retry": _HereOnly(0, redirect=3)}
        if access.ca_file:
            options["ssl_ca_cert"] = access.ca_file
        client = HubSpot(**options)
        # each access to these makes a new connection pool: keep them
        self._list, self._search, self._batch = client.crm.contacts.basic_api, client.crm.contacts.search_api, client.crm.contacts.batch_api
        self._properties, self._members = client.crm.properties.core_api, client.crm.lists.memberships_api
        self._pace = Pace(settings.hubspot_requests_per_10_seconds, 10)
        self._search_pace = Pace(settings.hubspot_searches_per_second, 1)
        self.clock: Clock | None = None
        self.answer_seconds = 0.0
        self.sends_nulls = False

    def read_id(self) -> str | None:
        """The id of the portal: from its account information, else from what HubSpot knows of the token; None when nobody tells."""
        asked = (
            ("/account-info/v3/details", "GET", None, "portalId"),
            ("/oauth/v2/private-apps/get/access-token-info", "POST", {"tokenKey": self.access.access_token}, "hubId"),
        )
        for path, method, body, name in asked:
            try:
                number = self._call("the id of the portal", partial(self._plain, path, method, body), shape=dict)[1].get(name)
            except PullProblem as problem:
                if not isinstance(problem.__cause__, Exception) or _status(problem.__cause__) not in (400, 401, 403, 404, 405):
                    raise
                continue  # this way is not open here
            if str(number or "").isdigit():
                return str(number)
        return None

    def _plain(self, path: str, method: str, body: dict[str, str] | None, **options: Any) -> Any:
        """A call for which the library has no method."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return self._list.api_client.call_api(path, method, header_params=headers, body=body, auth_settings=["oauth2"], _return_http_data_only=True, **options)

    def count(self, name: str = "hs_object_id", operator: str = "GT", value: str = "0") -> int:
        """How many live contacts the search counts: all, or those of which a property compares so."""
        return int(self.search_page([{"propertyName": name, "operator": operator, "value": value}], 1)[1]["total"])

    def property_names(self) -> set[str]:
        return {entry["name"] for entry in self._call("the property list", partial(self._properties.get_all, "contacts"))[1]["results"]}

    def list_page(self, properties: Sequence[str], history: Sequence[str], archived: bool, after: str | None) -> Page:
        options = {"properties": list(properties), "properties_with_history": list(history), "archived": archived, **_behind(after)}
        return self._call("the contact list", partial(self._list.get_page, limit=HISTORY_PAGE, **options))

    def list_ids_page(self, after: str | None) -> Page:
        """Live contacts with their stamps and nothing else."""
        options = {"properties": ["lastmodifieddate"], "archived": False, **_behind(after)}
        return self._call("the list of contact ids", partial(self._list.get_page, limit=PAGE, **options))

    def search_page(self, filters: list[dict[str, str]], limit: int) -> Page:
        """Contacts that pass all filters, sorted by id. The answer's `total` counts all of them."""
        request = PublicObjectSearchRequest(filter_groups=[{"filters": filters}], sorts=["hs_object_id"], properties=["hs_object_id"], limit=limit)
        body, page = self._call("the contact search", partial(self._search.do_search, request), is_search=True)
        if not str(page.get("total", "")).isdecimal():
            raise PullProblem("HubSpot", f"{self.access.host} does not say how many contacts its search found.", "Run again; check HUBSPOT_BASE_URL.")
        return body, page

    def read_batches(self, ids: Sequence[str], properties: Sequence[str], history: Sequence[str], archived: bool = False) -> Iterator[tuple[list[str], Page]]:
        """Reads contacts by id, several batches at a time. Yields each batch's ids and page, in the order of the ids."""
        chunks = [list(ids[start : start + HISTORY_PAGE]) for start in range(0, len(ids), HISTORY_PAGE)]
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
        request = BatchReadInputSimplePublicObjectId(
            inputs=[{"id": contact_id} for contact_id in ids], properties=list(properties), properties_with_history=list(history)
        )
        return self._call("the batch read", partial(self._batch.read, request, archived=archived))

    def list_members_page(self, list_id: str, after: str | None) -> Page:
        return self._call("the inclusion list", partial(self._members.get_page, list_id, limit=PAGE, **_behind(after)))

    def _call(self, doing: str, method: Callable[..., Any], is_search: bool = False, shape: type = list) -> Page:
        """shape: a list where the answer has results, a dict where it is an object of its own."""
        with _problems_in_words(self.access, doing):
            try:
                return with_patience(lambda: self._once(method, is_search, shape), self.access.patience_seconds, "HubSpot")
            except Unreadable as error:
                page = split_page(error.body, "results")
                if page is None:
                    raise
                return error.body, page

    def _once(self, method: Callable[..., Any], is_search: bool, shape: type) -> Page:
        if is_search:
            self._search_pace.wait()
        self._pace.wait()
        seconds = self.access.timeout_seconds
        host = self.access.host
        try:
            asked_at = time.monotonic()
            response = method(_preload_content=False, _request_timeout=(min(10.0, seconds), seconds))
            data = response.data
            self.answer_seconds = time.monotonic() - asked_at
        except (HTTPError, OSError) as error:
            raise _again(error, host) from error
        except Exception as error:
            if (status := _status(error)) is None:
                raise
            self._learn(getattr(error, "headers", None) or {})
            if status not in _PASSING or _is_daily(error):
                raise
            wait = retry_after(getattr(error, "headers", None) or {})
            if status == 429 and (wait or 0) <= LONGEST_WAIT:  # else the call gives up, and those beside it may not wait for what nobody waits for
                (self._search_pace if is_search else self._pace).hold(wait if wait is not None else 1.0)
            raise Again(f"{host} answered {status}", wait) from error
        self._learn(response.headers)
        try:
            body = as_loadable(data)
            page = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{host} sent half an answer, or one that is no JSON", data) from error
        if not isinstance(page, dict) or (shape is list and not isinstance(page.get("results"), list)):
            raise Again(f"{host} sent an answer without results")
        return body, page

    def _learn(self, headers: Mapping[str, str]) -> None:
        """The limit that the portal names in its answers; how much of it is left, since other apps may share it; and its clock."""
        self.clock = clock_of(headers) or self.clock
        most, interval, left = (_number(headers.get(f"X-HubSpot-RateLimit-{name}")) for name in ("Max", "Interval-Milliseconds", "Remaining"))
        if most is not None and interval is not None and most > 0 and interval > 0:
            self._pace.tighten(int(most * 10_000 / interval))
        if left == 0:
            self._pace.hold(1.0)


def _behind(after: str | None) -> dict[str, Any]:
    return {"after": after} if after else {}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _status(error: Exception) -> int | None:
    """HTTP status of an exception of the library, which has a class of its own in each API package; None for any other exception."""
    return getattr(error, "status", None) if type(error).__module__.split(".")[0] == "hubspot" else None


def _is_daily(error: Exception) -> bool:
    """Is it the limit of a day? Waiting does not help then."""
    return _status(error) == 429 and re.search(r'"policyName"\s*:\s*"DAILY', _text_of(error)) is not None


def _text_of(error: Exception) -> str:
    body = getattr(error, "body", None) or ""
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)


def _again(error: Exception, host: str) -> Exception:
    """A connection that broke is tried again; a certificate that is not trusted is not."""
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, SSLError) and "CERTIFICATE" in str(reason).upper():
        return _Untrusted()
    if isinstance(reason, LocationValueError):
        return Redirected("it redirects to an address that is none")
    if isinstance(reason, (NewConnectionError, ConnectTimeoutError)):
        return Again(f"{host} does not answer", no_connection=True)
    return Again(f"{host} broke off ({type(reason).__name__})")


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
            "Check HUBSPOT_BASE_URL and the network, and whether other apps use up the rate limit; then run again: what has arrived stays.",
        ) from error
    except Redirected as error:
        raise PullProblem("HubSpot", f"{host} cannot be asked for {doing}: {error}.", "Check HUBSPOT_BASE_URL and what stands between.") from error
    except _Untrusted as error:
        raise PullProblem("HubSpot", f"{host} cannot be asked for {doing}.", certificate) from error
    except (KeyError, TypeError, ValueError) as error:
        raise PullProblem(
            "HubSpot", f"{host} sent an answer for {doing} that cannot be read ({type(error).__name__}).", "Run again; check HUBSPOT_BASE_URL."
        ) from error
    except Exception as error:
        if (status := _status(error)) is None:
            raise
        remedies = {
            0: certificate,
            401: "HUBSPOT_ACCESS_TOKEN is wrong or was revoked: copy the token of the private app again.",
            403: "The private app lacks a scope: crm.objects.contacts.read, crm.schemas.contacts.read, and crm.lists.read for an inclusion list.",
            404: "It is not there: check HUBSPOT_BASE_URL and policy.inclusion_list_id.",
            429: "The portal's calls of this day are used up: run again tomorrow. What has arrived stays.",
        }
        raise PullProblem("HubSpot", f"{host} answered {status} to {doing}{_category(error)}.", remedies.get(status, "Run again later.")) from error


def _category(error: Exception) -> str:
    """HubSpot's category of an error. Its message may quote a record, so it is left out."""
    try:
        return f" ({json.loads(_text_of(error) or '{}')['category']})"
    except (ValueError, KeyError, TypeError):
        return ""
