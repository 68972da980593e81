"""Faults on request: what goes wrong between a client and the two CRMs.

A fault hits requests whose line ("GET /crm/v3/objects/contacts?limit=50…") contains its `path`: it lets `after` of them through, and then hits
`times` of them. Asked for by option (`--fault "429 path=search times=3 seconds=1"`) or by request (POST /sandbox/faults).
"""

import asyncio
import csv
import io
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Literal

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.answer import JsonAnswer

Crm = Literal["salesforce", "hubspot"]

KINDS = {
    "429": "too many requests; seconds: Retry-After, none without",
    "500": "an error of the server", "502": "a bad gateway", "503": "unavailable; seconds: Retry-After, none without",
    "denied": "the integration user, or the key, may not see that", "unknown_type": "Salesforce says that it has no such object",
    "cut": "the connection is closed in the middle of the body",
    "half": "half of the body, as if that were all",
    "slow": "the first byte comes after `seconds`",
    "expire": "every Salesforce token expires before the request",
    "job_failed": "the bulk job fails", "job_aborted": "the bulk job is aborted",
    "short_page": "a bulk page lacks its last row and does not say so",
    "last_page_lost": "the list of contacts ends here, although there are more",
    "shuffled": "records come in another order",
    "late": "the record that was modified last is not visible yet",
    "edited": "a record that is being read is edited before the answer",
    "repeated": "the first record of the page before comes again",
    "other_columns": "a bulk page has its columns in another order",
    "numbers": "values that look like numbers come as numbers",
    "property_gone": "a property that was asked for is not in the answer",
    "limit_reached": "Salesforce says that the calls of the day are nearly used up",
}  # fmt: skip
# What the two APIs, and the servers before them, say no with: by its name as a fault, the CRM, the status, its code or policy, and its message.
REFUSALS: dict[str, tuple[Crm, int, str, str]] = {
    "calls_of_the_day": ("salesforce", 403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    "concurrent_calls": ("salesforce", 403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
    "long_transactions": ("salesforce", 403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded."),
    "bulk_jobs_of_the_day": ("salesforce", 403, "REQUEST_LIMIT_EXCEEDED", "Bulk API query jobs limit exceeded."),
    "some_limit": ("salesforce", 403, "REQUEST_LIMIT_EXCEEDED", "Limit exceeded."),
    "bulk_quota": ("salesforce", 400, "EXCEEDED_QUOTA", "DailyBulkV2QueryFileStorageMB Limit exceeded."),
    "locked_row": ("salesforce", 400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
    "query_timeout": ("salesforce", 400, "QUERY_TIMEOUT", "Your query request was running for too long."),
    "server_unavailable": ("salesforce", 503, "SERVER_UNAVAILABLE", "We're sorry, but the server is temporarily unavailable."),
    "unknown_exception": ("salesforce", 400, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId: 1-2 (3)"),
    "security_metering": ("salesforce", 401, "TXN_SECURITY_METERING_ERROR", "Enabled transaction security policies took too long to complete."),
    "job_not_complete": ("salesforce", 400, "JOB_NOT_COMPLETE", "The job is not complete."),
    "session_expired": ("salesforce", 401, "INVALID_SESSION_ID", "Session expired or invalid"),
    "api_disabled": ("salesforce", 403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization."),
    "no_access": ("salesforce", 403, "INSUFFICIENT_ACCESS", "insufficient access rights for ann@example.com on 'Ann O'Brien'"),
    "malformed_query": ("salesforce", 400, "MALFORMED_QUERY", "unexpected token: 'ann@example.com'"),
    "no_such_field": ("salesforce", 400, "INVALID_FIELD", "No such column 'Title' on entity 'Lead'."),
    "no_such_type": ("salesforce", 400, "INVALID_TYPE", "sObject type 'Lead' is not supported."),
    "password_expired": ("salesforce", 403, "INVALID_OPERATION_WITH_EXPIRED_PASSWORD", "The user's password has expired."),
    "not_from_here": ("salesforce", 403, "LOGIN_DURING_RESTRICTED_DOMAIN", "The user may not log in from this address."),
    "too_large": ("salesforce", 403, "OPERATION_TOO_LARGE", "exceeded 100000 distinct who/what's"),
    "unknown_400": ("salesforce", 400, "NEW_CODE", "value 'Ann O'Brien' of \"Bob\" for ann@example.com is wrong"),
    "unknown_401": ("salesforce", 401, "NEW_CODE", "no"), "unknown_403": ("salesforce", 403, "NEW_CODE", "no"),
    "unknown_404": ("salesforce", 404, "NEW_CODE", "no"), "unknown_418": ("salesforce", 418, "NEW_CODE", "for “Ann” no"),
    **{f"salesforce_{status}": ("salesforce", status, "", "") for status in (414, 423, 429, 431, 500, 502, 503, 504, 521, 522, 523, 524)},
    "no_scope": ("hubspot", 403, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call."),
    "no_key": ("hubspot", 401, "INVALID_AUTHENTICATION", "Authentication credentials not found."),
    "daily": ("hubspot", 429, "RATE_LIMIT", "You have reached your daily limit."),
    "ten_secondly": ("hubspot", 429, "RATE_LIMIT", "You have reached your ten_secondly_rolling limit."),
    "migration": ("hubspot", 477, "MIGRATION", "This account is being migrated."),
    "locked": ("hubspot", 423, "LOCKED", "The resource is locked."),
    "not_there": ("hubspot", 404, "OBJECT_NOT_FOUND", "List does not exist with ID 7."),
    "hubspot_400": ("hubspot", 400, "VALIDATION_ERROR", "property \"jobtitle\" of 'Ann O'Brien', ann@example.com, is wrong"),
    "hubspot_401": ("hubspot", 401, "NEW", "no"), "hubspot_403": ("hubspot", 403, "NEW", "no"), "hubspot_404": ("hubspot", 404, "NEW", "no"),
    **{f"hubspot_{status}": ("hubspot", status, "", "") for status in (414, 429, 431, 500, 502, 503, 504, 521, 522, 523, 524)},
}  # fmt: skip
KINDS |= {name: f"{crm} answers {status} {code} {message}".strip() for name, (crm, status, code, message) in REFUSALS.items()}
_STATUSES = {"429": 429, "500": 500, "502": 502, "503": 503, "denied": 403, "unknown_type": 400}
_SPOILING = {"short_page", "last_page_lost", "shuffled", "repeated", "other_columns", "numbers", "property_gone"}


@dataclass
class Fault:
    kind: str
    path: str = ""
    after: int = 0
    times: int = 1
    seconds: float | None = None
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no fault {self.kind!r}; there are: {', '.join(KINDS)}")

    def hit(self, line: str, crm: Crm) -> bool:
        if self.path not in line or (self.kind in REFUSALS and REFUSALS[self.kind][0] != crm):
            return False
        self.seen += 1
        is_hit = self.after < self.seen <= self.after + self.times
        self.hits += is_hit
        return is_hit


def parse_fault(text: str) -> Fault:
    """A fault from an option: its kind, then path=, after=, times=, seconds=, separated by spaces. Raises ValueError in words."""
    kind, *settings = text.split()
    fault = Fault(kind)
    for setting in settings:
        name, _, value = setting.partition("=")
        if name == "path":
            fault.path = value
        elif name in ("after", "times"):
            setattr(fault, name, int(value))
        elif name == "seconds":
            fault.seconds = float(value)
        else:
            raise ValueError(f"a fault has path, after, times and seconds, not {name!r}")
    return fault


@dataclass
class Faults:
    """The faults that are asked for, and a log of all requests (the last 10,000 lines)."""

    asked: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    on_request: Callable[[str], None] | None = None  # called before each request is answered
    on_answer: Callable[[str, bytes], bytes] | None = None  # called with the line of a request and the answer; returns what is sent instead
    page_before: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by path, while a repeated record is asked for
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, faults: Iterable[Fault]) -> None:
        with self._lock:
            self.asked += faults

    def clear(self) -> None:
        with self._lock:
            self.asked.clear()
            self.page_before.clear()

    def take(self, line: str, crm: Crm) -> dict[str, Fault]:
        """The faults that hit this request, by kind."""
        with self._lock:
            self.requests = [*self.requests[-9_999:], line]
            return {fault.kind: fault for fault in self.asked if fault.hit(line, crm)}

    def described(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.asked]


class FaultyApp:
    """An app between whose answers and whose clients things go wrong. Handlers find the faults of their request in its scope."""

    def __init__(self, app: ASGIApp, faults: Faults, crm: Crm, clock: Callable[[], datetime], expire: Callable[[], None]) -> None:
        self.app, self.faults, self.crm, self.clock, self.expire = app, faults, crm, clock, expire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self.app(scope, receive, send)
            return
        if (refusal := _too_long(self.crm, scope)) is not None:
            await refusal(scope, receive, send)
            return
        query = scope["query_string"].decode()
        line = f"{scope['method']} {scope['path']}{'?' + query if query else ''}"
        hits = self.faults.take(line, self.crm)
        if self.faults.on_request:
            self.faults.on_request(line)
        scope["faults"] = set(hits)
        if "slow" in hits:
            await asyncio.sleep(hits["slow"].seconds or 1)
        if "expire" in hits:
            self.expire()
        answer = _Recorded(clock=self.clock())
        if statuses := _STATUSES.keys() & hits.keys():
            kind = min(statuses)
            await _error(self.crm, kind, hits[kind].seconds)(scope, receive, answer.record)
        elif refusals := REFUSALS.keys() & hits.keys():
            name = min(refusals)
            await _refused(name, hits[name].seconds)(scope, receive, answer.record)
        else:
            await self.app(scope, receive, answer.record)
        answer.body = self._spoil(scope["path"], answer.body, set(hits))
        if self.faults.on_answer:
            answer.body = self.faults.on_answer(line, answer.body)
        await answer.send(send, cut="cut" in hits, half="half" in hits)

    def _spoil(self, path: str, body: bytes, kinds: set[str]) -> bytes:
        """What arrives in place of what was sent."""
        may_be_repeated = any(fault.kind == "repeated" for fault in self.faults.asked)
        if not kinds & _SPOILING and not may_be_repeated:
            return body
        if not body.startswith((b"{", b"[")):
            return _spoil_csv(body, kinds)
        answer = json.loads(body)
        name = "results" if "results" in answer else "records"
        if not isinstance(answer, dict) or name not in answer:
            return body
        rows = answer[name]
        if "last_page_lost" in kinds:
            answer.pop("paging", None)
        before, self.faults.page_before[path] = self.faults.page_before.get(path), list(rows)
        if "repeated" in kinds and before:
            rows.insert(0, before[0])
        if "shuffled" in kinds:
            rows.reverse()
        for row in rows:
            values = row.get("properties", {})
            if "numbers" in kinds:
                values.update({key: int(value) for key, value in values.items() if str(value).isdigit() and str(int(value)) == value})
            if "property_gone" in kinds:
                values.pop("phone", None)
        return JsonAnswer(answer).body  # type: ignore[return-value]


def _refused(name: str, retry_after: float | None) -> Response:
    """As JSON where the API itself says no; what stands before it has a web page for that."""
    crm, status, code, message = REFUSALS[name]
    answer: Response = PlainTextResponse("<html><body>Error</body></html>", status, media_type="text/html")
    if code and crm == "salesforce":
        answer = JsonAnswer([{"message": message, "errorCode": code}], status)
    elif code:
        answer = JsonAnswer({"status": "error", "message": message, "errorType" if status == 429 else "category": code, "correlationId": "sandbox"}, status)
    if retry_after is not None:
        answer.headers["Retry-After"] = f"{retry_after:g}"
    return answer


def _too_long(crm: Crm, scope: Scope) -> Response | None:
    """How servers refuse a request whose URL or headers are too long: HubSpot's own and those before it, and Salesforce. They read no further."""
    url = len(scope["raw_path"]) + len(scope["query_string"]) + 1
    headers = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if url > {"hubspot": 8_000, "salesforce": 16_384}[crm]:
        return PlainTextResponse("URI Too Long", 414)
    return PlainTextResponse("Request Header Fields Too Large", 431) if url + headers > 16_384 else None


@dataclass
class _Recorded:
    """An answer that is held until it is whole."""

    clock: datetime
    start: Message = field(default_factory=dict)
    body: bytes = b""

    async def record(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = dict(message)
        else:
            self.body += message.get("body", b"")

    async def send(self, send: Send, cut: bool, half: bool) -> None:
        if half:
            self.body = self.body[: len(self.body) // 2]
        headers = [(name, value) for name, value in self.start["headers"] if name not in (b"content-length", b"date")]
        headers += [(b"content-length", str(len(self.body)).encode()), (b"date", format_datetime(self.clock, usegmt=True).encode())]
        await send({**self.start, "headers": headers})
        if cut:
            await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
            return  # the server closes the connection of an answer that was not ended
        await send({"type": "http.response.body", "body": self.body})


def _spoil_csv(body: bytes, kinds: set[str]) -> bytes:
    rows = list(csv.reader(io.StringIO(body.decode("utf-8"), newline="")))
    if "short_page" in kinds:
        rows = rows[:-1]
    if "other_columns" in kinds:
        rows = [list(reversed(row)) for row in rows]
    if "repeated" in kinds:
        rows.append(rows[-1])
    if "shuffled" in kinds:
        rows[1:] = reversed(rows[1:])
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


_WORDS = {
    "429": ("REQUEST_LIMIT_EXCEEDED", "Too many requests"), "500": ("SERVER_UNAVAILABLE", "Internal error"), "502": ("SERVER_UNAVAILABLE", "Bad gateway"),
    "503": ("SERVER_UNAVAILABLE", "Service unavailable"), "denied": ("INSUFFICIENT_ACCESS", "insufficient access rights on object"),
    "unknown_type": ("INVALID_TYPE", "sObject type is not supported"),
}  # fmt: skip


def _error(crm: Crm, kind: str, retry_after: float | None) -> JsonAnswer:
    code, words = _WORDS[kind]
    body: Any
    if crm == "salesforce":
        body = [{"message": words, "errorCode": code}]
    elif kind == "429":
        body = {"status": "error", "message": "You have reached your ten_secondly_rolling limit.", "errorType": "RATE_LIMIT",
                "policyName": "TEN_SECONDLY_ROLLING", "category": "RATE_LIMITS", "correlationId": "sandbox"}  # fmt: skip
    else:
        category = "MISSING_SCOPES" if kind == "denied" else "SERVER_ERROR"
        body = {"status": "error", "message": words, "category": category, "correlationId": "sandbox"}
    answer = JsonAnswer(body, _STATUSES[kind])
    if retry_after is not None:
        answer.headers["Retry-After"] = f"{retry_after:g}"
    return answer
