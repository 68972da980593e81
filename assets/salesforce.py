"""Salesforce: Leads and Contacts as pulled, deleted, merged and converted ones included.

The pull is a Bulk API 2.0 `queryAll` job per object, whose result pages stream to landing. Everything that knows simple-salesforce is
in this file.
"""

import csv
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import duckdb
import jwt
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.bulk2 import Operation
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession, SalesforceOperationError, SalesforceRefusedRequest
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential
from urllib3.util import Retry

from assets.landing import LandedPull, Mode
from assets.policy import Policy
from assets.problems import PullProblem
from assets.warehouse import PullContext, csv_source, increment_from, load_salesforce, loaded_pulls, report_pull

log = logging.getLogger("bindwatch.pull")

OBJECTS = ("Lead", "Contact")
API_VERSION = "64.0"

# Without these a record cannot be placed. Name only makes it readable.
_REQUIRED = {
    "Lead": ["Id", "Email", "CreatedDate", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "OwnerId", "IsDeleted", "MasterRecordId",
             "IsConverted", "ConvertedContactId"],
    "Contact": ["Id", "Email", "CreatedDate", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "OwnerId", "IsDeleted",
                "MasterRecordId", "AccountId"],
}  # fmt: skip


@dataclass(frozen=True)
class SalesforceAccess:
    """Where the org is and one of three ways in: a token, client credentials, or a JWT signed for a user."""

    instance_url: str
    login_url: str
    access_token: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    username: str | None = None
    private_key: str | None = None
    ca_file: str | None = None
    timeout_seconds: float = 60


class _Session(requests.Session):
    """simple-salesforce sets no timeout anywhere and retries nothing; this session does both for every call."""

    def __init__(self, access: SalesforceAccess) -> None:
        super().__init__()
        self._trusted = access.ca_file or True
        self._timeout = (min(10.0, access.timeout_seconds), access.timeout_seconds)
        retries = Retry(
            total=5, connect=2, other=0, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None,
            respect_retry_after_header=True, raise_on_status=False,
        )  # fmt: skip
        self.mount("https://", HTTPAdapter(max_retries=retries))
        self.mount("http://", HTTPAdapter(max_retries=retries))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", self._timeout)
        # said with each call, because requests lets REQUESTS_CA_BUNDLE win over the session's own setting
        kwargs.setdefault("verify", self._trusted)
        return super().request(*args, **kwargs)


def connect(access: SalesforceAccess) -> Salesforce:
    """Opens a session on the org. Raises PullProblem when the org refuses or cannot be reached."""
    session = _Session(access)
    with _problems_in_words(access):
        token = access.access_token or _ask_for_token(access, session)
        return Salesforce(instance_url=access.instance_url, session_id=token, session=session, version=API_VERSION)


def _ask_for_token(access: SalesforceAccess, session: requests.Session) -> str:
    url = f"{access.login_url.rstrip('/')}/services/oauth2/token"
    if access.private_key is not None:
        claims = {"iss": access.client_id, "sub": access.username, "aud": _audience(access.login_url), "exp": datetime.now(UTC) + timedelta(minutes=3)}
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": jwt.encode(claims, access.private_key, algorithm="RS256"),
        }
        answer = session.post(url, data=form)
    else:
        answer = session.post(url, data={"grant_type": "client_credentials"}, auth=(access.client_id or "", access.client_secret or ""))
    body = _json(answer)
    token = body.get("access_token")
    if answer.status_code != 200 or not token:
        reason = ": ".join(str(body[key]) for key in ("error", "error_description") if body.get(key)) or "no reason given"
        raise PullProblem(
            "Salesforce",
            f"The token was refused at {url} ({answer.status_code} {_short(reason)}).",
            "Check SALESFORCE_CLIENT_ID, the secret or the key, the user's policy in the External Client App, and SALESFORCE_LOGIN_URL.",
        )
    return str(token)


def _audience(login_url: str) -> str:
    """Salesforce wants its general login host as the audience, also when the token is asked for at a My Domain host."""
    host = urlsplit(login_url).hostname or ""
    if host.endswith(".sandbox.my.salesforce.com") or host == "test.salesforce.com":
        return "https://test.salesforce.com"
    return "https://login.salesforce.com" if host.endswith(".salesforce.com") else login_url.rstrip("/")


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    if isinstance(body, list):
        body = body[0] if body else {}
    return body if isinstance(body, dict) else {}


@dataclass(frozen=True)
class FieldList:
    """What to ask for of one object: all fields, and the mapped ones among them with their types."""

    fields: list[str]
    mapped: dict[str, str]

    @property
    def asked(self) -> str:
        return sha256(",".join(sorted(self.fields)).encode()).hexdigest()[:16]


def describe_fields(org: Salesforce, access: SalesforceAccess, policy: Policy) -> dict[str, FieldList]:
    """Reads describe of Lead and Contact, and holds the fields of the policy against it.

    Raises PullProblem that names every object and field the integration user cannot see.
    """
    result, unseen = {}, []
    for name in OBJECTS:
        with _problems_in_words(access, f"describe of {name}"):
            described = {field["name"]: field for field in getattr(org, name).describe()["fields"]}
        relations = {
            field.get("relationshipName") or key.removesuffix("Id") for key, field in described.items() if key.endswith("Id") or field.get("relationshipName")
        }
        mapped = {}
        for field in policy.fields(name):
            relation, _, _ = field.rpartition(".")
            if field in described:
                mapped[field] = str(described[field].get("type", "string"))
            elif relation and relation.split(".")[0] in relations:
                mapped[field] = "string"  # a field of a related record, as Account.Name
            else:
                unseen.append(f"{name}.{field}")
        unseen += [f"{name}.{field}" for field in _REQUIRED[name] if field not in described]
        fields = [*_REQUIRED[name], *(["Name"] if "Name" in described else [])]
        result[name] = FieldList(list(dict.fromkeys([*fields, *mapped])), mapped)
    if unseen:
        raise PullProblem(
            "Salesforce", f"The integration user cannot see {', '.join(dict.fromkeys(unseen))}.",
            "Grant read access to these fields in its permission set, or take a mapped field out of [[mapping]] in bindwatch.toml.",
        )  # fmt: skip
    return result


def pull_object(org: Salesforce, access: SalesforceAccess, context: PullContext, name: str, wanted: FieldList) -> LandedPull:
    """Pulls "Lead" or "Contact" to landing and loads it. Incremental when everything was pulled before with the same fields."""
    connection, policy = context.connection, context.policy
    since = increment_from(context, "salesforce", name, wanted.asked, policy.pull.salesforce_overlap_minutes)
    soql = f"SELECT {', '.join(wanted.fields)} FROM {name}"
    if since is not None:
        soql += f" WHERE SystemModstamp >= {since:%Y-%m-%dT%H:%M:%SZ}"
    mode: Mode = "incremental" if since else "full"
    pull = context.landing.open("salesforce", name, mode, {"asked": wanted.asked, "soql": soql}, loaded_pulls(connection), since)
    if pull.manifest.finished_at is None:
        with _problems_in_words(access, f"the pull of {name}"):
            _land_bulk_job(org, pull, name, soql, policy.pull.bulk_page_rows)
    report_pull(pull, load_salesforce(connection, pull, _header(pull) or wanted.fields, wanted.mapped))
    return pull


def _land_bulk_job(org: Salesforce, pull: LandedPull, name: str, soql: str, page_rows: int) -> None:
    # The public query_all of simple-salesforce hides the locator, and its download() leaves deleted rows out: hence the client below it.
    client = getattr(org.bulk2, name)._client
    manifest = pull.manifest
    job_id = manifest.cursor.get("job")
    if job_id is not None and not _job_is_there(client, job_id):
        job_id = None
    if job_id is None:
        manifest.pages.clear()  # their job is gone: what they hold may not fit the new one
        job_id = client.create_job(Operation.query_all, soql)["id"]
        pull.move({"job": job_id, "locator": ""})
    client.wait_for_job(job_id, True, wait=0.1)
    info = client.get_job(job_id, True)
    expected = info.get("numberRecordsProcessed")
    while not manifest.cursor.get("at_end"):
        try:
            page, rows, locator = _download_page(client, pull, job_id, manifest.cursor["locator"], page_rows)
        except _BrokenPage as error:
            pull.finish(expected, str(error))
            return
        pull.keep(page, rows, {"job": job_id, "locator": locator, "at_end": not locator})
        log.info("%s: %s rows so far", pull.label, f"{manifest.rows:,}")
    headers = {tuple(_page_header(path)) for path in pull.page_paths()}
    problem = "its result pages have different columns" if len(headers) > 1 else None
    pull.finish(expected, problem)


class _BrokenPage(Exception):
    """A result page came with fewer or more rows than its header announced."""


@retry(
    retry=retry_if_exception_type((_BrokenPage, requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)),
    stop=stop_after_attempt(4), wait=wait_exponential(multiplier=0.3), reraise=True,
)  # fmt: skip
def _download_page(client: Any, pull: LandedPull, job_id: str, locator: str, page_rows: int) -> tuple[Path, int, str]:
    """Streams one result page to disk. Returns its temporary path, its rows, and the locator of the next page ("" at the end)."""
    for left_over in pull.folder.glob("tmp*"):
        left_over.unlink()
    result = client.download_job_data(str(pull.folder), job_id, locator, page_rows, chunk_size=1 << 20)
    page = Path(result["file"])
    _make_valid_utf8(page)
    rows = _count_rows(page)
    if rows != result["number_of_records"]:
        raise _BrokenPage(f"a result page of job {job_id} announced {result['number_of_records']} rows, {rows} arrived")
    return page, rows, result["locator"]


def _job_is_there(client: Any, job_id: str) -> bool:
    try:
        return client.get_job(job_id, True)["state"] not in ("Failed", "Aborted")
    except SalesforceExpiredSession:
        raise
    except SalesforceError:
        return False


def _make_valid_utf8(path: Path) -> None:
    """Replaces bytes that are no UTF-8, so that one broken value does not cost the page. Rewrites the file only if there are any."""
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        mended = path.with_suffix(".mended")
        with path.open(encoding="utf-8", errors="replace", newline="") as source, mended.open("w", encoding="utf-8", newline="") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        mended.replace(path)


def _count_rows(path: Path) -> int:
    columns = _page_header(path)
    if not columns:
        return 0
    row = duckdb.execute(f"select count(*) from {csv_source([path], columns)}").fetchone()
    return int(row[0]) if row else 0


def _page_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _header(pull: LandedPull) -> list[str]:
    paths = pull.page_paths()
    return _page_header(paths[0]) if paths else []


@contextmanager
def _problems_in_words(access: SalesforceAccess, doing: str = "the token") -> Iterator[None]:
    """Turns what the client library raises into a PullProblem with a remedy."""
    host = urlsplit(access.instance_url).netloc
    try:
        yield
    except SalesforceOperationError as error:
        raise PullProblem("Salesforce", f"The bulk job for {doing} failed: {_short(error)}.", "Look at Setup → Bulk Data Load Jobs, then run again.") from error
    except SalesforceExpiredSession as error:
        raise PullProblem(
            "Salesforce", f"The session was refused at {host} (401).",
            "The access token has expired or belongs to another org: give a new SALESFORCE_ACCESS_TOKEN, or use client credentials or a JWT.",
        ) from error  # fmt: skip
    except SalesforceRefusedRequest as error:
        raise PullProblem(
            "Salesforce", f"{host} refused {doing} (403: {_reason(error)}).",
            "Give the integration user API Enabled and read access to the object, and check the org's API limits.",
        ) from error  # fmt: skip
    except SalesforceError as error:
        _raise_for_answer(error, host, doing)
    except KeyError as error:
        # simple-salesforce trips over a refusal whose body is an object instead of a list
        raise PullProblem(
            "Salesforce",
            f"{host} refused {doing}, or sent an answer that lacks {error}.",
            "The access token may have expired or belong to another org: check the credentials and SALESFORCE_INSTANCE_URL.",
        ) from error
    except requests.exceptions.SSLError as error:
        raise PullProblem(
            "Salesforce", f"The certificate of {host} is not trusted.", "If the host has a CA of its own, name its file in SSL_CERT_FILE or REQUESTS_CA_BUNDLE."
        ) from error
    except requests.RequestException as error:
        raise PullProblem(
            "Salesforce",
            f"{host} cannot be reached or broke off ({type(error).__name__}) during {doing}.",
            "Check SALESFORCE_INSTANCE_URL and the network, then run again.",
        ) from error
    except (jwt.PyJWTError, ValueError) as error:
        raise PullProblem(
            "Salesforce", f"{doing} failed ({type(error).__name__}).", "Check SALESFORCE_PRIVATE_KEY_FILE (a PEM file) and the answers of the instance."
        ) from error


def _raise_for_answer(error: SalesforceError, host: str, doing: str) -> NoReturn:
    what = f"{host} answered {error.status} to {doing} ({_reason(error)})."
    if error.status == 401:
        remedy = "The access token has expired or belongs to another org: give a new one."
    elif error.status == 404:
        remedy = "The object or the API is not there for this user: check SALESFORCE_INSTANCE_URL and the user's permissions."
    elif error.status == 400:
        remedy = "The integration user may lack access to a field of the query; see the reason."
    else:
        remedy = "Run again later."
    raise PullProblem("Salesforce", what, remedy) from error


def _reason(error: SalesforceError) -> str:
    """Salesforce's error code and message; the message of a malformed query quotes the query, which holds field names only."""
    content = error.content
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, dict):
        return _short(f"{first.get('errorCode', '')} {first.get('message', '')}".strip())
    return "no reason given"


def _short(text: object) -> str:
    return " ".join(str(text).split())[:300]
