"""Salesforce as simple-salesforce and other clients see it: token, describe, query, queryAll, Bulk API 2.0 query jobs, limits."""

import base64
import csv
import io
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import jwt
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.answer import JsonAnswer
from sandbox.fields import HISTORIES, PICKLISTS
from sandbox.salesforce_soap import SoapApi
from sandbox.soql import Query, Row, SoqlError, Value, parse
from sandbox.users import User
from sandbox.world import FieldChange, SalesforceRecord, World, field_value, id18

CLIENT_ID, CLIENT_SECRET, USERNAME = "sandbox-client", "sandbox-secret", "integration@sandbox.example"
_USER = "0055e0000000SndAAG"
_DATA = "/services/data/v{version}"
WHY_JOBS_FAIL = "the sandbox was asked for a failed job"

_REFERENCES = {
    "Contact.AccountId": ["Account"], "Lead.OwnerId": ["Group", "User"], "Lead.ConvertedContactId": ["Contact"], "Lead.MasterRecordId": ["Lead"],
    "Contact.MasterRecordId": ["Contact"],
}  # fmt: skip
_WRITTEN_BY_SALESFORCE = {"Id", "Name", "CreatedDate", "CreatedById", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "IsDeleted", "MasterRecordId",
                          "IsConverted", "ConvertedContactId", "ConvertedDate"}  # fmt: skip


def _compound_of(field: str, fields: dict[str, str]) -> str | None:
    """The field that shows this one and others as one."""
    if field in ("FirstName", "LastName"):
        return "Name"
    wholes = [name for name, kind in fields.items() if kind in ("address", "location") and field != name]
    parts = {f"{name.removesuffix('Address')}{part}": name for name in wholes for part in ("Street", "City", "State", "PostalCode", "Country")}
    parts |= {f"{name.removesuffix('__c')}__{part}__s": name for name in wholes for part in ("Latitude", "Longitude")}
    return parts.get(field)


@dataclass
class _Job:
    id: str
    operation: str
    soql: str
    object_type: str
    rows: list[dict[str, Value]]
    looks: int = 0
    state: str = "UploadComplete"
    why_failed: str = ""


class SalesforceApi:
    """The routes of one org. hidden_fields: "Lead.Fax", and whole objects, "Lead", "User", that the integration user may not see."""

    def __init__(self, world: World, public_key: str | None = None, hidden_fields: frozenset[str] = frozenset()) -> None:
        self.newest_version = 68
        self.calls_allowed = 1_000_000  # in 24 hours
        self.world, self.public_key, self.hidden = world, public_key, hidden_fields
        self.tokens: set[str] = set()
        self.jobs: dict[str, _Job] = {}
        self.cursors: dict[str, list[dict[str, Value]]] = {}
        self.calls = 0
        self.soap = SoapApi(world, lambda session: session in self.tokens)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/services/oauth2/token", self.token, methods=["POST"]),
            Route("/services/oauth2/userinfo", self._guarded(self.userinfo)),
            Route("/services/data", self._guarded(self.versions)),
            Route(f"{_DATA}/sobjects", self._guarded(self.global_describe)),
            Route(f"{_DATA}/sobjects/{{name}}/describe", self._guarded(self.describe)),
            Route(f"{_DATA}/sobjects/{{name}}/{{kind:str}}/", self._guarded(self.replication)),
            Route(f"{_DATA}/sobjects/{{name}}/{{kind:str}}", self._guarded(self.replication)),
            Route(f"{_DATA}/sobjects/{{name}}/{{record_id:str}}", self._guarded(self.update), methods=["PATCH"]),
            Route("/services/Soap/u/{version}", self.soap.call, methods=["POST"]),
            Route(f"{_DATA}/limits", self._guarded(self.limits)),
            Route(f"{_DATA}/limits/", self._guarded(self.limits)),
            Route(f"{_DATA}/query", self._guarded(self.query)),
            Route(f"{_DATA}/query/", self._guarded(self.query)),
            Route(f"{_DATA}/queryAll", self._guarded(self.query)),
            Route(f"{_DATA}/queryAll/", self._guarded(self.query)),
            Route(f"{_DATA}/query/{{cursor}}", self._guarded(self.more)),
            Route(f"{_DATA}/queryAll/{{cursor}}", self._guarded(self.more)),
            Route(f"{_DATA}/jobs/query", self._guarded(self.create_job), methods=["POST"]),
            Route(f"{_DATA}/jobs/query/{{job_id}}", self._guarded(self.job), methods=["GET", "PATCH", "DELETE"]),
            Route(f"{_DATA}/jobs/query/{{job_id}}/results", self._guarded(self.results)),
        ]

    async def token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        header = request.headers.get("authorization", "")
        if header.startswith("Basic "):
            client_id, _, secret = base64.b64decode(header[6:]).decode().partition(":")
        grant = form.get("grant_type")
        if grant == "client_credentials":
            good = (client_id, secret) == (CLIENT_ID, CLIENT_SECRET)
        elif grant == "urn:ietf:params:oauth:grant-type:jwt-bearer" and self.public_key:
            try:
                claims = jwt.decode(form.get("assertion", ""), self.public_key, algorithms=["RS256"], options={"verify_aud": False})
                good = claims.get("iss") == CLIENT_ID and claims.get("sub") == USERNAME
            except jwt.PyJWTError:
                good = False
        else:
            return JsonAnswer({"error": "unsupported_grant_type", "error_description": "grant type not supported"}, 400)
        if not good:
            return JsonAnswer({"error": "invalid_grant", "error_description": "authentication failure"}, 400)
        return JsonAnswer(
            {
                "access_token": self.issue_token(),
                "instance_url": f"https://{request.url.netloc}",
                "id": f"https://sandbox/id/{self.world.org_id}/{_USER}",
                "token_type": "Bearer",
            }
        )

    def issue_token(self) -> str:
        token = f"00D5e000000sandbox!{secrets.token_urlsafe(24)}"
        self.tokens.add(token)
        return token

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
                return _error(401, "INVALID_SESSION_ID", "Session expired or invalid")
            self.calls += 1
            if float(request.path_params.get("version", 0)) > self.newest_version:
                return _error(404, "NOT_FOUND", "The requested resource does not exist")
            if "edited" in request.scope.get("faults", ()):
                first = next((record for record in self.world.records.values() if not record.is_deleted), None)
                if first is not None:
                    self.world.edit_record(first, {"Title": f"{first.fields.get('Title') or ''} edited"})
            response = await handler(request)
            used = self.calls_allowed - 1000 if "limit_reached" in request.scope.get("faults", ()) else self.calls
            response.headers["Sforce-Limit-Info"] = f"api-usage={used}/{self.calls_allowed}"
            return response

        return guarded

    async def userinfo(self, request: Request) -> Response:
        return JsonAnswer({"sub": f"https://sandbox/id/{self.world.org_id}/{_USER}", "user_id": _USER, "organization_id": self.world.org_id})

    async def versions(self, request: Request) -> Response:
        versions = [f"{number}.0" for number in range(self.newest_version - 5, self.newest_version + 1)]
        return JsonAnswer([{"label": "Sandbox", "url": f"/services/data/v{version}", "version": version} for version in versions])

    async def global_describe(self, request: Request) -> Response:
        return JsonAnswer({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": [{"name": name, "queryable": True} for name in self._objects()]})

    async def describe(self, request: Request) -> Response:
        name = request.path_params["name"]
        described = self._objects()
        if name not in described:
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        fields = [
            {"name": field, "type": kind, "label": field, "nillable": field != "Id", "filterable": True, "custom": field.endswith("__c"), "calculated": False,
             "updateable": field not in _WRITTEN_BY_SALESFORCE,
             "picklistValues": [{"value": value, "label": value, "active": True, "defaultValue": False} for value in PICKLISTS.get(field, ())],
             "length": 80 if kind == "email" else 18 if kind in ("id", "reference") else 255, "caseSensitive": False,
             "compoundFieldName": _compound_of(field, described[name]),
             "relationshipName": field.removesuffix("Id").replace("__c", "__r") if kind == "reference" else None,
             "referenceTo": _REFERENCES.get(f"{name}.{field}", ["User"]) if kind == "reference" else [],
             **self.world.fields.described.get(f"{name}.{field}", {})}
            for field, kind in described[name].items() if f"{name}.{field}" not in self.hidden and "." not in field
        ]  # fmt: skip
        return JsonAnswer({"name": name, "label": name, "queryable": True, "fields": fields})

    async def replication(self, request: Request) -> Response:
        """What was deleted, or updated, between start and end: 15 days back at most."""
        name, kind = request.path_params["name"], request.path_params["kind"]
        if name not in ("Lead", "Contact") or kind not in ("deleted", "updated"):
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        try:
            start, end = (datetime.fromisoformat(request.query_params[side].replace(" ", "+")) for side in ("start", "end"))
        except (KeyError, ValueError):
            return _error(400, "INVALID_REPLICATION_DATE", "start and end must be dates with a time zone")
        earliest = self.world.now - timedelta(days=15)
        if start < earliest or end <= start:
            return _error(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date, or after endDate")
        records = [r for r in self.world.records.values() if r.type == name and r.is_visible and start <= r.modified_at <= end]
        covered = _rest(min(end, self.world.now))
        if kind == "updated":
            return JsonAnswer({"ids": [r.id for r in records if not r.is_deleted], "latestDateCovered": covered})
        deleted = [{"id": r.id, "deletedDate": _rest(r.modified_at)} for r in records if r.is_deleted]
        return JsonAnswer({"deletedRecords": deleted, "earliestDateAvailable": _rest(earliest), "latestDateCovered": covered})

    async def update(self, request: Request) -> Response:
        """A person or a data loader edits a record."""
        record = self.world.records.get(request.path_params["record_id"])
        if record is None or record.type != request.path_params["name"] or not record.is_live:
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        self.world.edit_record(record, {name: None if value is None else _bulk(value) for name, value in json.loads(await request.body()).items()})
        return Response(status_code=204)

    async def limits(self, request: Request) -> Response:
        return JsonAnswer({
            "DailyApiRequests": {"Max": self.calls_allowed, "Remaining": self.calls_allowed - self.calls},
            "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000 - len(self.jobs)},
        })  # fmt: skip

    # ── REST queries ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def query(self, request: Request) -> Response:
        try:
            query = self._parse(request.query_params.get("q", ""))
        except SoqlError as error:
            return _error(400, "MALFORMED_QUERY", str(error))
        except LookupError as error:
            return _error(400, *error.args)
        rows = _visible(request, self._select(query, with_deleted="queryAll" in request.url.path))
        if not query.fields:
            return JsonAnswer({"totalSize": len(rows), "done": True, "records": []})
        cursor = f"01g{secrets.token_hex(6)}"
        self.cursors[cursor] = [{"attributes": {"type": query.object_type, "url": ""}, **row} for row in rows]  # type: ignore[dict-item]
        return self._page(request, cursor, 0)

    async def more(self, request: Request) -> Response:
        cursor, _, offset = request.path_params["cursor"].rpartition("-")
        if cursor not in self.cursors or not offset.isdigit():
            return _error(404, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(request, cursor, int(offset))

    def _page(self, request: Request, cursor: str, offset: int) -> Response:
        rows = self.cursors[cursor]
        options = request.headers.get("sforce-query-options", "")
        size = min(2000, max(200, int(options.split("batchSize=")[1].split(",")[0]))) if "batchSize=" in options else 2000
        page = [{name: _rest(value) for name, value in row.items()} for row in rows[offset : offset + size]]
        answer: dict[str, Any] = {"totalSize": len(rows), "done": offset + size >= len(rows), "records": [_nested(row) for row in page]}
        if not answer["done"]:
            answer["nextRecordsUrl"] = f"/services/data/v{request.path_params['version']}/query/{cursor}-{offset + size}"
        return JsonAnswer(answer)

    # ── Bulk API 2.0 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_job(self, request: Request) -> Response:
        body = json.loads(await request.body())
        try:
            query = self._parse(body.get("query", ""))
        except SoqlError as error:
            return _error(400, "MALFORMED_QUERY", str(error))
        except LookupError as error:
            return _error(400, *error.args)
        if body.get("operation") not in ("query", "queryAll"):
            return _error(400, "INVALIDJOB", "unknown operation")
        rows = _visible(request, self._select(query, with_deleted=body["operation"] == "queryAll"))
        job = _Job(f"750{secrets.token_hex(6)}AAA", body["operation"], body["query"], query.object_type, rows)
        self.jobs[job.id] = job
        return JsonAnswer(_job_info(job))

    async def job(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job_id"])
        if job is None:
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        if request.method == "DELETE":
            del self.jobs[job.id]
            return Response(status_code=204)
        if request.method == "PATCH":
            job.state = json.loads(await request.body()).get("state", job.state)
        elif faults := {"job_failed", "job_aborted"} & request.scope.get("faults", set()):
            job.state, job.why_failed = "Failed" if "job_failed" in faults else "Aborted", WHY_JOBS_FAIL
        elif job.state not in ("Aborted", "Failed"):
            job.looks += 1
            has_compounds = any(self.world.fields.types.get(job.object_type, {}).get(field) in ("address", "location") for field in parse(job.soql).fields)
            job.state = "InProgress" if job.looks <= 1 else "Failed" if has_compounds else "JobComplete"
            job.why_failed = "FUNCTIONALITY_NOT_ENABLED: Selecting compound data not supported in Bulk Query"
        return JsonAnswer(_job_info(job))

    async def results(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job_id"])
        if job is None:
            return _error(404, "NOT_FOUND", "The requested resource does not exist")
        if job.state != "JobComplete":
            return _error(400, "JOB_NOT_COMPLETE", "the job is not complete")
        offset = int(base64.b64decode(request.query_params.get("locator") or "MA==").decode())
        size = int(request.query_params.get("maxRecords") or 50_000)
        page = job.rows[offset : offset + size]
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(parse(job.soql).fields)
        writer.writerows([_bulk(value) for value in row.values()] for row in page)
        following = base64.b64encode(str(offset + size).encode()).decode() if offset + size < len(job.rows) else "null"
        return Response(
            text.getvalue().encode("utf-8", "surrogatepass"),
            media_type="text/csv",
            headers={"Sforce-NumberOfRecords": str(len(page)), "Sforce-Locator": following},
        )

    # ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _objects(self) -> dict[str, dict[str, str]]:
        """The objects that the user may see, with their fields. Of an object without any tracked field there is no history."""
        seen = {name: fields for name, fields in self.world.fields.types.items() if name not in self.hidden}
        return {name: fields for name, fields in seen.items() if name not in HISTORIES or self.world.tracked[HISTORIES[name]]}

    def _parse(self, soql: str) -> Query:
        query = parse(soql)
        if query.object_type == "Organization":
            return query
        fields = self._objects().get(query.object_type)
        if fields is None:
            raise LookupError("INVALID_TYPE", f"sObject type '{query.object_type}' is not supported.")
        for field in [*query.fields, *query.filtered]:
            parent, _, child = field.rpartition(".")
            visible = parent == "Account" and query.object_type == "Contact" and child in self._objects().get("Account", {})
            if not visible and (field not in fields or f"{query.object_type}.{field}" in self.hidden):
                raise LookupError("INVALID_FIELD", f"No such column '{field}' on entity '{query.object_type}'.")
        for field in query.filtered:
            if fields.get(field) == "anyType":
                raise LookupError("INVALID_FIELD", f"field '{field}' can not be filtered in a query call")
        return query

    def _select(self, query: Query, with_deleted: bool) -> list[dict[str, Value]]:
        if query.object_type == "Organization":
            return [{"Id": self.world.org_id}]
        rows = [row for row in self._rows(query, with_deleted) if query.matches(row)]
        rows.sort(key=lambda row: str(row("Id")))
        for field, descending in reversed(query.order_by):  # empty values come first, as in Salesforce; the field need not be selected
            rows.sort(key=lambda row: ((value := row(field)) is not None, value), reverse=descending)
        return [{field: row(field) for field in query.fields} for row in rows[: query.limit]]

    def _rows(self, query: Query, with_deleted: bool) -> list[Row]:
        """What an object holds that the user may see."""
        if query.object_type == "User":
            return [partial(_user_value, replace(user, id=self.world.shown_ids.get(user.id, user.id))) for user in self.world.users.values()]
        if query.object_type in self.world.tables:
            return [row.get for row in self.world.tables[query.object_type]]
        object_type = HISTORIES.get(query.object_type, query.object_type)
        records = [r for r in self.world.records.values() if r.type == object_type and r.is_visible and (with_deleted or not r.is_deleted)]
        if query.object_type in HISTORIES:
            return [partial(_change_value, change, record) for record in records for change in record.history]
        return [partial(self._value, record) for record in records]

    def _user_id(self, user_id: str) -> str:
        """As the org calls the user; with as many characters."""
        shown = self.world.shown_ids.get(user_id[:15])
        return user_id if shown is None else id18(shown)

    def _value(self, record: SalesforceRecord, field: str) -> Value:
        match field:
            case "Id":
                return record.id
            case "IsDeleted":
                return record.is_deleted
            case "MasterRecordId":
                return record.master_id
            case "OwnerId":
                return id18(record.owner_id) if len(record.owner_id) == 15 else record.owner_id
            case "AccountId":
                return record.account_id
            case "CreatedDate":
                return record.created_at
            case "LastModifiedDate":
                return record.last_modified_at
            case "SystemModstamp":
                return record.modified_at
            case "LastModifiedById":
                return self._user_id(record.modified_by)
            case "CreatedById":
                return self._user_id(record.created_by)
            case "IsConverted":
                return record.converted_contact_id is not None
            case "ConvertedContactId":
                return record.converted_contact_id
            case "Name":
                return " ".join(part for part in (record.fields.get("FirstName"), record.fields.get("LastName")) if part)
            case "Email":
                return (record.fields.get("Email") or "").lower() or None  # Salesforce stores e-mails in lower case
            case "HasOptedOutOfEmail":
                return (record.fields.get(field) or "false") == "true"
        text = record.fields.get(field) if field.startswith("Account.") and field != "Account.Name" else field_value(self.world, record, field)
        fields = self.world.fields.types["Account" if field.startswith("Account.") else record.type]
        return _typed(text, fields.get(field.removeprefix("Account."), "string"))


def _typed(text: str | None, kind: str) -> Value:
    """A value of a field of this type, as each way of asking writes it in its own notation."""
    if kind == "boolean":
        return text == "true"
    if text and kind in ("double", "currency", "percent"):
        return float(text)
    if text and kind == "int":
        return int(text)
    return datetime.fromisoformat(text) if text and kind == "datetime" else text


def _java_double(value: float) -> str:
    """As Salesforce's bulk jobs write a number: 9.9213206E7 from ten million on."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    digits, _, exponent = f"{Decimal(repr(value)):E}".partition("E")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{digits if '.' in digits else digits + '.0'}E{int(exponent)}"


def _user_value(user: User, field: str) -> Value:
    known: dict[str, Value] = {
        "Id": id18(user.id), "Name": user.name, "FirstName": user.first_name, "LastName": user.last_name, "Email": user.email, "IsActive": user.is_active,
        "UserType": user.type, "SystemModstamp": user.modified_at,
    }  # fmt: skip
    return known[field]


def _change_value(change: FieldChange, record: SalesforceRecord, field: str) -> Value:
    known: dict[str, Value] = {
        "Id": change.id, "IsDeleted": record.is_deleted, f"{record.type}Id": record.id, "Field": change.field, "OldValue": change.old, "NewValue": change.new,
        "CreatedById": change.by, "CreatedDate": change.at,
    }  # fmt: skip
    return known[field]


def _visible(request: Request, rows: list[dict[str, Value]]) -> list[dict[str, Value]]:
    """Without the record that was modified last, when its transaction is not over yet."""
    if "late" not in request.scope.get("faults", ()) or not rows or "SystemModstamp" not in rows[0]:
        return rows
    latest = max(range(len(rows)), key=lambda place: str(rows[place].get("SystemModstamp")))
    return rows[:latest] + rows[latest + 1 :]


def _job_info(job: _Job) -> dict[str, Any]:
    return {
        "id": job.id, "operation": job.operation, "object": job.object_type, "state": job.state, "apiVersion": 68.0, "contentType": "CSV",
        "concurrencyMode": "Parallel", "lineEnding": "LF", "columnDelimiter": "COMMA", "jobType": "V2Query", "retries": 0,
        "numberRecordsProcessed": len(job.rows) if job.state == "JobComplete" else 0,
        **({"errorMessage": job.why_failed} if job.state == "Failed" else {}),
    }  # fmt: skip


def _error(status: int, code: str, message: str) -> Response:
    return JsonAnswer([{"message": message, "errorCode": code}], status)


def _rest(value: Any) -> Any:
    return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}+0000" if isinstance(value, datetime) else value


def _bulk(value: Value) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
    if isinstance(value, float):
        return _java_double(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """Account.Name comes as {"Account": {"Name": …}} from REST, with all fields that were asked of the account; without an account there is null."""
    answer: dict[str, Any] = {}
    related: dict[str, dict[str, Any]] = {}
    for name, value in row.items():
        parent, _, child = name.partition(".")
        if child:
            related.setdefault(parent, {})[child] = value
        else:
            answer[name] = value
    for parent, values in related.items():
        answer[parent] = {"attributes": {"type": parent}, **values} if any(value is not None for value in values.values()) else None
    return answer
