"""A Salesforce org, spoken to as the integration user: tokens, refusals, broken answers, and how many calls the org has left today.

Everything that knows simple-salesforce is in this file. The library sets no timeout, retries nothing, and loses its session in the middle
of a bulk job, so all of its calls go through a session of our own that does these things in one place.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from urllib3.exceptions import NewConnectionError

from assets.problems import PullProblem
from assets.pull.landing import as_loadable
from assets.pull.proxies import ProxyRefusal, fault_of_proxy, proxy_for
from assets.pull.refusals import Refusal, without_quotes
from assets.pull.retries import Again, Clock, Redirected, Unreadable, clock_of, elsewhere, retry_after, with_patience
from assets.pull.salvage import split_page

API_VERSION = "68.0"  # of the current release; an org that is behind is spoken to in the newest that it has
_CHUNK = 1 << 20
_RENEWALS = 3  # of the token, for one call


@dataclass(frozen=True)
class SalesforceAccess:
    """Where the org is and one of three ways in: a token, client credentials, or a JWT signed for a user.

    reserve_percent: the share of the org's daily API calls that is left to others; patience_seconds: how long a failing call is repeated.
    """

    instance_url: str
    login_url: str
    access_token: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    username: str | None = None
    private_key: str | None = None
    ca_file: str | None = None
    timeout_seconds: float = 60
    patience_seconds: float = 60
    reserve_percent: float = 5

    @property
    def can_ask_for_token(self) -> bool:
        return self.client_secret is not None or self.private_key is not None

    @property
    def host(self) -> str:
        return urlsplit(self.instance_url).netloc


class NoAnswer(Exception):
    """The org answered, and not what it was asked for. The message says what is missing."""


class Org:
    """The calls that Bindwatch makes. Each raises PullProblem with a remedy when it fails for good; `job` and `download` may raise Refusal.

    clock: the org's own time, from its last answer; None when it never told. calls: that were made, without those for a token or made again.
    """

    def __init__(self, access: SalesforceAccess) -> None:
        self.access = access
        self._session = _Session(access)
        with problems_in_words(access, "the token"):
            token = self._session.open()
        self._client = Salesforce(instance_url=access.instance_url, session_id=token, session=self._session, version=self._read_version(token))

    def _read_version(self, token: str) -> str:
        """The newest version of the API that both sides know. It is the first call with a token: one that is refused is told here."""
        url = f"{self.access.instance_url.rstrip('/')}/services/data"
        with problems_in_words(self.access, "the versions of its API"):
            try:
                answer = self._session.get(url, headers={"Authorization": f"Bearer {token}"}).json()
            except Refusal as refusal:
                if refusal.status != 404:
                    raise
                answer = []
        known = [str(entry.get("version")) for entry in answer if isinstance(entry, dict)] if isinstance(answer, list) else []
        spoken = [version for version in known if re.fullmatch(r"\d+\.\d", version) and float(version) <= float(API_VERSION)]
        return max(spoken, key=float, default=API_VERSION)

    @property
    def version(self) -> str:
        """The version of the API that is spoken."""
        return str(self._client.sf_version)

    @property
    def calls_left(self) -> int | None:
        """API calls of these 24 hours, without those that are left to others; None when the org never told."""
        if self._session.usage is None:
            return None
        used, allowed = self._session.usage
        return int(allowed * (1 - self.access.reserve_percent / 100)) - used

    @property
    def clock(self) -> Clock | None:
        return self._session.clock

    @property
    def calls(self) -> int:
        return self._session.calls

    def read_id(self) -> str | None:
        """The id of the org: by a query; where the user may not see that, from the answer about the token, or about the user; None when nobody tells."""
        with problems_in_words(self.access, "the id of the org"):
            for ask in (self._id_by_query, lambda: self._session.org_id, self._id_by_userinfo):
                try:
                    if (found := ask()) and re.fullmatch(r"00D\w{12}(\w{3})?", found):
                        return found
                except (Refusal, NoAnswer):
                    continue  # this way is not open here
        return None

    def _id_by_query(self) -> str | None:
        records = self._page(f"{self._client.base_url}query/", {"q": "SELECT Id FROM Organization"})[1]["records"]
        return str(_part(records[0] if records else None, "Id", str))

    def _id_by_userinfo(self) -> str | None:
        return str(_part(self._userinfo(), "organization_id", str))

    def _userinfo(self) -> Any:
        return self._session.get(f"https://{self._client.sf_instance}/services/oauth2/userinfo", headers=self._client.headers).json()

    def read_user(self) -> str | None:
        """The id of the user that we are; None when the org does not tell."""
        try:
            with problems_in_words(self.access, "the user"):
                return str(_part(self._userinfo(), "user_id", str))
        except PullProblem:
            return None

    def count(self, name: str) -> int:
        """How many live records of an object the user can see. Raises Refusal when the org does not tell."""
        with problems_in_words(self.access, f"the number of {name}"):
            try:
                page = self._page(f"{self._client.base_url}query/", {"q": f"SELECT COUNT() FROM {name}"})[1]
            except Refusal as refusal:
                if refusal.status not in (400, 404):
                    raise
                page = self._page(f"{self._client.base_url}query/", {"q": f"SELECT Id FROM {name}"})[1]
            return int(page["totalSize"])  # a number, as _page has seen

    def describe(self, name: str) -> dict[str, dict[str, Any]] | None:
        """Fields of an object by their names; None when the user cannot see the object."""
        with problems_in_words(self.access, f"describe of {name}"):
            try:
                answer: Any = getattr(self._client, name).describe()
            except Refusal as refusal:
                if refusal.status == 404 or refusal.code == "INVALID_TYPE" or refusal.code.startswith("INSUFFICIENT_ACCESS"):
                    return None
                raise
            fields = _part(answer, "fields", list)
            return None if answer.get("queryable") is False else {_part(field, "name", str): field for field in fields}

    def query_all(self, soql: str) -> tuple[bytes, dict[str, Any]]:
        """First page of a query that also finds deleted and merged records: as received, and parsed. A record that is no JSON comes as its text."""
        return self._page(f"{self._client.base_url}queryAll/", {"q": soql})

    def select(self, soql: str) -> Iterator[bytes]:
        """The pages of a query that also finds deleted and merged records, as received. Raises Refusal where the org says no."""
        with problems_of_a_query(self.access):
            body, page = self.query_all(soql)
            yield body
            while not page["done"]:
                body, page = self.next_page(page["nextRecordsUrl"])
                yield body

    def next_page(self, url: str) -> tuple[bytes, dict[str, Any]]:
        """The page behind nextRecordsUrl. Raises Refusal when the org has forgotten the query, Redirected when that is no path of its own."""
        if not url.startswith("/"):  # the rest of an address would make another host of it
            raise Redirected("the next page of its answer is not on it")
        return self._page(f"{urlsplit(self._client.base_url).scheme}://{self._client.sf_instance}{url}", {})

    def _page(self, url: str, parameters: dict[str, str]) -> tuple[bytes, dict[str, Any]]:
        """Raises NoAnswer when it is no page of records."""
        try:
            answer = self._session.get(url, params=parameters, headers=self._client.headers)
            body = _with_long_numbers_as_text(as_loadable(answer.content))
            page = json.loads(body)
        except Unreadable as error:
            split = split_page(error.body, "records")
            if split is None:
                raise
            body, page = error.body, split
        _part(page, "records", list)
        if not isinstance(page.get("totalSize"), int):
            raise NoAnswer("it lacks totalSize")
        if not _part(page, "done", bool):
            _part(page, "nextRecordsUrl", str)
        return body, page

    def start_job(self, soql: str) -> str:
        """Starts a Bulk API 2.0 query that also finds deleted and merged records. Returns the job's id."""
        body = {"operation": "queryAll", "query": soql, "columnDelimiter": "COMMA", "lineEnding": "LF"}
        return str(_part(self._client.restful("jobs/query", method="POST", json=body), "id", str))

    def job(self, job_id: str) -> dict[str, Any]:
        answer: Any = self._client.restful(f"jobs/query/{job_id}")
        _part(answer, "state", str)
        return dict(answer)

    def delete_job(self, job_id: str) -> None:
        """Tries it once: nothing depends on it."""
        self._session.request("DELETE", f"{self._client.base_url}jobs/query/{job_id}", headers=self._client.headers, patience=0)

    def download(self, job_id: str, locator: str, rows: int, target: Path) -> tuple[int, str]:
        """Streams one result page to a file. Returns the rows that its header announces, and the locator of the next page ("" at the end).

        Raises Again when the page breaks off.
        """
        parameters = {"maxRecords": str(rows), **({"locator": locator} if locator else {})}
        url = f"{self._client.base_url}jobs/query/{job_id}/results"
        headers = {**self._client.headers, "Accept": "text/csv"}
        with broken_answers_again(f"{self.access.host}, a result page", url), self._session.get(url, params=parameters, headers=headers, stream=True) as answer:
            with target.open("wb") as file:
                for chunk in answer.iter_content(_CHUNK):
                    file.write(chunk)
            following, rows_of_page = answer.headers.get("Sforce-Locator") or "", answer.headers.get("Sforce-NumberOfRecords", "")
            if not rows_of_page.isdecimal():
                raise NoAnswer("it lacks Sforce-NumberOfRecords")
            return int(rows_of_page), "" if following == "null" else following


class _Session(requests.Session):
    """What simple-salesforce sends through: timeouts, patience, a new token when the old one expires, the org's clock and call limit."""

    def __init__(self, access: SalesforceAccess) -> None:
        super().__init__()
        # what the environment says is taken from where both CRMs have it; a .netrc is not asked: its password would go there in the place of the token
        self.trust_env = False
        self._access = access
        self._token = ""
        self._has_worked = False
        self.usage: tuple[int, int] | None = None
        self.calls = 0
        self.clock: Clock | None = None
        self.org_id: str | None = None  # as the answer about the token names it
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(max_retries=0))

    def open(self) -> str:
        self._token = self._access.access_token or self._ask_for_token()
        return self._token

    def request(self, method: str | bytes, url: str | bytes, *args: Any, patience: float | None = None, **kwargs: Any) -> requests.Response:
        """Raises Again when patience is over, Refusal when the org says no, PullProblem when too few of its daily calls are left."""
        self.calls += "Authorization" in (kwargs.get("headers") or {})
        seconds = self._access.timeout_seconds
        kwargs.setdefault("timeout", (min(10.0, seconds), seconds))
        if proxy := proxy_for(str(url)):
            kwargs.setdefault("proxies", {"http": proxy.url, "https": proxy.url})
        kwargs.setdefault("verify", self._access.ca_file or True)
        seconds = self._access.patience_seconds if patience is None else patience
        return with_patience(lambda: self._send(method, url, *args, **kwargs), seconds, "Salesforce")

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None and (reason := elsewhere(resp.url, target)):
            raise Redirected(reason)
        return target

    def _send(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        headers = dict(kwargs.pop("headers", None) or {})
        with_token = str(headers.get("Authorization", "")).startswith("Bearer ")
        if with_token:
            self._hold_back()
            headers["Authorization"] = f"Bearer {self._token}"  # the library copies a token that may be old by now
        with broken_answers_again(self._access.host, str(url)):
            answer = super().request(method, url, *args, **{**kwargs, "headers": headers})
            # a token that never worked is a wrong setting; one that did has expired
            can_renew = with_token and self._has_worked and self._access.can_ask_for_token
            for _ in range(_RENEWALS if can_renew else 0):
                if answer.status_code != 401 or _refusal(answer).is_passing:
                    break
                answer.close()
                self._token = self._ask_for_token()
                headers["Authorization"] = f"Bearer {self._token}"
                answer = super().request(method, url, *args, **{**kwargs, "headers": headers})
            refusal = _refusal(answer) if answer.status_code >= 400 else None
        self.clock = clock_of(answer.headers) or self.clock
        if usage := re.search(r"(?<!app-)api-usage=(\d+)/(\d+)", answer.headers.get("Sforce-Limit-Info", "")):
            self.usage = int(usage[1]), int(usage[2])
        if refusal is not None and refusal.is_passing:
            raise refusal.again(self._access.host, retry_after(answer.headers))
        if refusal is not None and with_token:
            raise refusal
        self._has_worked = self._has_worked or with_token
        if with_token and not kwargs.get("stream") and answer.content:
            _parsed(answer)
        return answer

    def _hold_back(self) -> None:
        """Stops before the calls are used up that the org keeps for others."""
        if self.usage is None:
            return
        used, allowed = self.usage
        if allowed - used < allowed * self._access.reserve_percent / 100:
            raise PullProblem(
                "Salesforce",
                f"The org has used {used:,} of its {allowed:,} API calls of these 24 hours, and {self._access.reserve_percent:g} % are kept for others. "
                "The pull has stopped; what has arrived stays.",
                "Run again later, or lower pull.salesforce_reserve_percent in bindwatch.toml.",
            )

    def _ask_for_token(self) -> str:
        access = self._access
        url = f"{access.login_url.rstrip('/')}/services/oauth2/token"
        auth = None
        if access.private_key is not None:
            claims = {"iss": access.client_id, "sub": access.username, "aud": _audience(access.login_url), "exp": datetime.now(UTC) + timedelta(minutes=3)}
            assertion = _signed(claims, access.private_key)
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        else:
            form, auth = {"grant_type": "client_credentials"}, (access.client_id or "", access.client_secret or "")
        answer = self.post(url, data=form, auth=auth)
        body = _body(answer)
        token = body.get("access_token")
        if answer.status_code != 200 or not token:
            refusal = _refusal(answer)
            if refusal.known and not refusal.known.is_general:
                raise refusal
            reason = ": ".join(without_quotes(body[key]) for key in ("error", "error_description") if body.get(key)) or "no reason given"
            raise PullProblem(
                "Salesforce",
                f"The token was refused at {url} ({answer.status_code} {reason}).",
                "Check SALESFORCE_CLIENT_ID, the secret or the key, the user's policy in the External Client App, and SALESFORCE_LOGIN_URL.",
            )
        # https://login.salesforce.com/id/<org>/<user>
        self.org_id = next(iter(re.findall(r"/id/(00D\w{12,15})/", str(body.get("id") or ""))), None)
        return str(token)


def _audience(login_url: str) -> str:
    """Salesforce wants its general login host as the audience, also when the token is asked for at a My Domain host."""
    host = urlsplit(login_url).hostname or ""
    if host.endswith(".sandbox.my.salesforce.com") or host == "test.salesforce.com":
        return "https://test.salesforce.com"
    return "https://login.salesforce.com" if host.endswith(".salesforce.com") else login_url.rstrip("/")


def _parsed(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        if answer.content.lstrip().startswith(b"<"):
            raise Refusal("Salesforce", answer.status_code, "", "it answers with a web page, not with data") from error
        raise Unreadable(f"{urlsplit(answer.url).netloc} sent half an answer, or one that is no JSON", answer.content) from error


def _body(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer, or the first of a list of them; empty when there is none."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    if isinstance(body, list):
        body = body[0] if body else {}
    return body if isinstance(body, dict) else {}


def _refusal(answer: requests.Response) -> Refusal:
    """What the org says of a refusal, as far as it says it in JSON: what stands before it answers with web pages."""
    body = _body(answer)
    code, message = body.get("errorCode") or body.get("error"), body.get("message") or body.get("error_description")
    return Refusal("Salesforce", answer.status_code, str(code or ""), str(message or ""))


# Databases and programs read a number of JSON as a double, which holds 15 digits; Salesforce's numbers have up to 18.
_LONG_NUMBER = re.compile(rb"[:,\[]\s*-?[\d.]{17}")


def _with_long_numbers_as_text(body: bytes) -> bytes:
    def whole(number: str) -> str | int:
        return number if len(number) > 15 else int(number)

    def fraction(number: str) -> str | float:
        return number if len(number) > 15 else float(number)

    if not _LONG_NUMBER.search(body):
        return body
    return json.dumps(json.loads(body, parse_int=whole, parse_float=fraction), ensure_ascii=False).encode("utf-8")


def _part(answer: Any, name: str, kind: type) -> Any:
    """A part of an answer. Raises NoAnswer when it is not there, or is something else."""
    if not isinstance(answer, dict) or not isinstance(answer.get(name), kind):
        raise NoAnswer(f"it lacks {name}")
    return answer[name]


def _signed(claims: dict[str, Any], key: str) -> str:
    try:
        return jwt.encode(claims, key, algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError) as error:  # whatever the libraries below say of a key that is none, or one of another kind
        raise PullProblem(
            "Salesforce", f"The token cannot be signed ({type(error).__name__}).", "Check SALESFORCE_PRIVATE_KEY_FILE: it must be an RSA key as a PEM file."
        ) from error


@contextmanager
def broken_answers_again(whose: str, url: str) -> Iterator[None]:
    """An answer that did not arrive whole is asked for again; a certificate that is not trusted is not, and a proxy that refuses is not."""
    try:
        yield
    except requests.exceptions.ProxyError as error:
        raise fault_of_proxy(error, url) or Again(f"{whose} broke off") from error
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE" in str(error).upper():
            raise
        raise Again(f"{whose}: the encrypted connection broke off") from error
    except (requests.exceptions.ConnectTimeout, requests.exceptions.ConnectionError) as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        nobody = isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(reason, NewConnectionError)
        raise Again(f"{whose} {'does not answer' if nobody else 'broke off'}", no_connection=nobody) from error
    except (requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise Again(f"{whose} {'took too long' if isinstance(error, requests.exceptions.Timeout) else 'broke off'}") from error


@contextmanager
def problems_of_a_query(access: SalesforceAccess) -> Iterator[None]:
    """What went wrong for good, in words; a refusal as it is, for whoever knows another way."""
    try:
        with problems_in_words(access, "a query"):
            yield
    except PullProblem as problem:
        if isinstance(problem.__cause__, Refusal) and problem.__cause__.status not in (401, None):
            raise problem.__cause__ from None
        raise


@contextmanager
def problems_in_words(access: SalesforceAccess, doing: str) -> Iterator[None]:
    """Turns what went wrong for good into a PullProblem with a remedy."""
    host = access.host
    try:
        yield
    except Again as error:
        raise PullProblem(
            "Salesforce", f"{host} cannot be reached or keeps failing during {doing}: {error.reason}.",
            error.remedy or "Check SALESFORCE_INSTANCE_URL and the network, then run again: what has arrived stays.",
        ) from error  # fmt: skip
    except Refusal as error:
        raise PullProblem("Salesforce", f"{host} refused {doing} ({error.words}).", error.remedy) from error
    except NoAnswer as error:
        raise PullProblem(
            "Salesforce", f"{host} sent an answer for {doing} that cannot be read: {error}.", "Run again; check SALESFORCE_INSTANCE_URL."
        ) from error
    except Redirected as error:
        raise PullProblem(
            "Salesforce", f"{host} cannot be asked for {doing}: {error}.", "Name the org's own address in SALESFORCE_INSTANCE_URL: Setup → My Domain."
        ) from error
    except ProxyRefusal as error:
        raise PullProblem("Salesforce", f"{host} cannot be asked for {doing}: {error}.", error.remedy) from error
    except requests.exceptions.SSLError as error:
        raise PullProblem(
            "Salesforce", f"The certificate of {host} is not trusted.", "If the host has a CA of its own, name its file in SSL_CERT_FILE or REQUESTS_CA_BUNDLE."
        ) from error
    except requests.RequestException as error:
        raise PullProblem(
            "Salesforce", f"{host} could not be asked for {doing} ({type(error).__name__}).", "Check SALESFORCE_INSTANCE_URL, then run again."
        ) from error
