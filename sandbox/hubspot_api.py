"""HubSpot as hubspot-api-client and other clients see it: contacts (list, search, batch read, merge, archive), properties, owners.

The same handlers answer under /crm/v3 and under the date-versioned paths, as far as the portal knows each version.
"""

import json
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.answer import JsonAnswer
from sandbox.world import HubSpotContact, World, iso_text

TOKEN = "pat-sandbox"
VERSIONS = ("v3", "2026-03", "2026-09")
_CONTACTS, _SCHEMAS, _LISTS, _OWNERS = "crm.objects.contacts.read", "crm.schemas.contacts.read", "crm.lists.read", "crm.objects.owners.read"
SCOPES = frozenset({_CONTACTS, _SCHEMAS, _LISTS, _OWNERS})
_SEARCH_CAP = 10_000
_OWNERS_PAGE = 500
_SEARCHES = 5  # a second


class HubSpotApi:
    """The routes of one portal. hidden: properties that the portal does not have, and scopes that the key lacks."""

    def __init__(self, world: World, hidden: frozenset[str] = frozenset(), limit: int | None = None, refused_versions: frozenset[str] = frozenset()) -> None:
        """limit: calls in ten seconds that are answered; the next is told to wait. None: any number. refused_versions: of the API, that are unknown here."""
        self.world = world
        self.limit = limit
        self.daily_limit: int | None = None  # calls that are answered in all
        self._calls_in_all = 0
        self.scopes = SCOPES - hidden
        self.versions = [version for version in VERSIONS if version not in refused_versions]
        self._calls: deque[float] = deque()
        self._searches: deque[float] = deque()
        self.properties = [name for name in world.fields.properties if name not in hidden]

    def routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = []
        for version in self.versions:
            base = _path("objects", version, "contacts")
            routes += [
                Route(base, self._guarded(self.list_contacts)),
                Route(f"{base}/search", self._guarded(self.search), methods=["POST"]),
                Route(f"{base}/batch/read", self._guarded(self.batch_read), methods=["POST"]),
                Route(f"{base}/batch/update", self._guarded(self.batch_update), methods=["POST"]),
                Route(f"{base}/merge", self._guarded(self.merge), methods=["POST"]),
                Route(f"{base}/{{contact_id}}", self._guarded(self.one), methods=["GET", "DELETE"]),
                Route(f"/account-info/{version}/details", self._guarded(self.account, None)),
                Route(_path("properties", version, "contacts"), self._guarded(self.property_list, _SCHEMAS)),
                Route(_path("properties", version, "contacts/groups"), self._guarded(self.group_list, _SCHEMAS)),
                Route(_path("lists", version, "search"), self._guarded(self.search_lists, _LISTS), methods=["POST"]),
                Route(_path("lists", version, "{list_id:int}"), self._guarded(self.one_list, _LISTS)),
                Route(_path("lists", version, "records/0-1/{contact_id}/memberships"), self._guarded(self.lists_of_contact, _LISTS)),
                Route(_path("lists", version, "{list_id}/memberships"), self._guarded(self.list_members, _LISTS)),
                Route(_path("owners", version), self._guarded(self.owners, _OWNERS)),
                Route(f"{_path('owners', version)}/", self._guarded(self.owners, _OWNERS)),
            ]
        return routes

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]], scope: str | None = _CONTACTS) -> Callable[[Request], Awaitable[Response]]:
        """scope: that the key needs."""

        async def guarded(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return _error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
            if scope is not None and scope not in self.scopes:
                return _error(403, "MISSING_SCOPES", f"This app hasn't been granted all required scopes to make this call: {scope}.")
            self._calls_in_all += 1
            if self.daily_limit is not None and self._calls_in_all > self.daily_limit:
                return _rate_limited("DAILY")
            if self.limit is not None and (policy := self._exceeded(request.url.path)):
                return _rate_limited(policy)
            if "edited" in request.scope.get("faults", ()) and self.world.contacts:
                first = self._sorted()[0]
                self.world.write(first, {"jobtitle": f"{first.value('jobtitle')} edited"}, "CRM_UI")
            response = await handler(request)
            response.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000"
            response.headers["X-HubSpot-RateLimit-Max"] = str(self.limit or 190)
            response.headers["X-HubSpot-RateLimit-Remaining"] = str((self.limit or 190) - len(self._calls))
            if self.daily_limit is not None:
                response.headers["X-HubSpot-RateLimit-Daily"] = str(self.daily_limit)
                response.headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(self.daily_limit - self._calls_in_all)
            return response

        return guarded

    def _exceeded(self, path: str) -> str | None:
        """The policy that one more call would break: so many in ten seconds, five searches a second. Refused calls count too."""
        now = time.monotonic()
        for calls, seconds, most, policy in ((self._calls, 10, self.limit, "TEN_SECONDLY_ROLLING"), (self._searches, 1, _SEARCHES, "SECONDLY")):
            while calls and calls[0] <= now - seconds:
                calls.popleft()
            if policy == "TEN_SECONDLY_ROLLING" or path.endswith("/search"):
                if len(calls) >= (most or 0):
                    return policy
                calls.append(now)
        return None

    async def list_contacts(self, request: Request) -> Response:
        query = request.query_params
        history = query.getlist("propertiesWithHistory")
        limit = int(query.get("limit", "10"))
        if limit > (50 if history else 100):
            return _error(400, "VALIDATION_ERROR", "limit is too high")
        archived = query.get("archived", "false").lower() == "true"
        after = int(query.get("after") or 0)
        matching = [c for c in self._sorted() if (c.archived_at is not None) == archived and int(c.id) > after]
        page = matching[:limit]
        answer: dict[str, Any] = {"results": [self._object(contact, query.getlist("properties"), history) for contact in page]}
        if len(matching) > limit:
            answer["paging"] = {"next": {"after": page[-1].id, "link": "https://api.hubapi.com/"}}
        return JsonAnswer(answer)

    async def search(self, request: Request) -> Response:
        body = json.loads(await request.body())
        groups = body.get("filterGroups") or []
        if len(groups) > 5 or any(len(group["filters"]) > 6 for group in groups):
            return _error(400, "VALIDATION_ERROR", "too many filters")
        limit, after = min(int(body.get("limit", 10)), 200), int(body.get("after") or 0)
        if after + limit > _SEARCH_CAP:
            return _error(400, "VALIDATION_ERROR", "search is limited to 10,000 results")
        visible = self._sorted()
        if "late" in request.scope.get("faults", ()) and visible:  # the index lags behind what was written
            visible.remove(max(visible, key=lambda contact: contact.modified_at))
        matching = [
            c for c in visible
            if c.archived_at is None and (not groups or any(all(self._matches(c, f) for f in group["filters"]) for group in groups))
        ]  # fmt: skip
        for sort in reversed(body.get("sorts") or []):
            name = sort if isinstance(sort, str) else sort["propertyName"]
            matching.sort(key=lambda c, name=name: _number(self._value(c, name)), reverse=isinstance(sort, dict) and sort.get("direction") == "DESCENDING")  # type: ignore[misc]
        page = matching[after : after + limit]
        answer: dict[str, Any] = {"total": len(matching), "results": [self._object(contact, body.get("properties") or [], []) for contact in page]}
        if after + limit < len(matching):
            answer["paging"] = {"next": {"after": str(after + limit)}}
        return JsonAnswer(answer)

    async def batch_read(self, request: Request) -> Response:
        body = json.loads(await request.body())
        history = body.get("propertiesWithHistory") or []
        inputs = body.get("inputs") or []
        if len(inputs) > (50 if history else 100):
            return _error(400, "VALIDATION_ERROR", "too many inputs")
        archived = request.query_params.get("archived", "false").lower() == "true"
        found, missing = [], []
        for entry in inputs:
            contact = self._find(entry["id"])
            if contact is None or (contact.archived_at is not None) != archived:
                missing.append(entry["id"])
            elif contact not in found:
                found.append(contact)
        now = iso_text(self.world.now)
        answer: dict[str, Any] = {
            "status": "COMPLETE", "startedAt": now, "completedAt": now,
            "results": [self._object(contact, body.get("properties") or [], history) for contact in found],
        }  # fmt: skip
        if missing:
            error = {
                "status": "error",
                "category": "OBJECT_NOT_FOUND",
                "message": "Could not get some contacts",
                "context": {"ids": missing},
                "links": {},
                "errors": [],
            }
            answer |= {"numErrors": 1, "errors": [error]}
        return JsonAnswer(answer, 207 if missing else 200)

    async def batch_update(self, request: Request) -> Response:
        """What an import or an app writes: the contacts sync at the next poll."""
        inputs = json.loads(await request.body()).get("inputs") or []
        if len(inputs) > 100:
            return _error(400, "VALIDATION_ERROR", "too many inputs")
        updated = [(contact, entry["properties"]) for entry in inputs if (contact := self._find(entry["id"])) is not None and contact.archived_at is None]
        if len(updated) < len(inputs):
            return _error(404, "OBJECT_NOT_FOUND", "resource not found")
        for contact, properties in updated:
            self.world.write(contact, {name: value or "" for name, value in properties.items()}, "API")
        now = iso_text(self.world.now)
        results = [self._object(contact, list(properties), []) for contact, properties in updated]
        return JsonAnswer({"status": "COMPLETE", "startedAt": now, "completedAt": now, "results": results})

    async def one(self, request: Request) -> Response:
        query = request.query_params
        key = request.path_params["contact_id"]
        contact = self.world.contact_with_email(key.lower()) if query.get("idProperty") == "email" else self._find(key)
        if contact is None or (contact.archived_at is not None) != (query.get("archived", "false").lower() == "true"):
            return _error(404, "OBJECT_NOT_FOUND", "resource not found")
        if request.method == "DELETE":
            self.world.archive_contact(contact)
            return Response(status_code=204)
        return JsonAnswer(self._object(contact, query.getlist("properties"), query.getlist("propertiesWithHistory")))

    async def merge(self, request: Request) -> Response:
        body = json.loads(await request.body())
        primary, secondary = self._find(body["primaryObjectId"]), self._find(body["objectIdToMerge"])
        if primary is None or secondary is None or primary is secondary:
            return _error(404, "OBJECT_NOT_FOUND", "resource not found")
        return JsonAnswer(self._object(self.world.merge_contacts(primary, secondary), [], []))

    async def account(self, request: Request) -> Response:
        return JsonAnswer({"portalId": int(self.world.portal_id), "accountType": "STANDARD", "timeZone": "Europe/Berlin", "companyCurrency": "EUR"})

    async def property_list(self, request: Request) -> Response:
        moment = iso_text(self.world.now)
        return JsonAnswer({"results": [
            {"name": name, "label": name, "type": "string", "fieldType": "text", "options": [], "groupName": "contactinformation", "description": "",
             "createdAt": moment, "updatedAt": moment, "hidden": False, "hubspotDefined": True, **self.world.fields.properties.get(name, {})}
            for name in self.properties
        ]})  # fmt: skip

    async def group_list(self, request: Request) -> Response:
        groups = enumerate(self.world.fields.groups.items())
        return JsonAnswer({"results": [{"name": name, "label": label, "displayOrder": place, "archived": False} for place, (name, label) in groups]})

    async def search_lists(self, request: Request) -> Response:
        """Lists of contacts, by a part of their name, or all."""
        body = json.loads(await request.body() or b"{}")
        query, offset, count = str(body.get("query") or "").lower(), int(body.get("offset") or 0), min(int(body.get("count") or 20), 500)
        found = [list_id for list_id in sorted(self.world.lists, key=int) if query in self.world.list_names.get(list_id, list_id).lower()]
        page = [self._list(list_id) for list_id in found[offset : offset + count]]
        return JsonAnswer({"total": len(found), "offset": offset + len(page), "hasMore": offset + count < len(found), "lists": page})

    async def one_list(self, request: Request) -> Response:
        list_id = str(request.path_params["list_id"])
        if list_id not in self.world.lists:
            return _error(404, "OBJECT_NOT_FOUND", f"List does not exist with ID {list_id}.")
        return JsonAnswer({"list": self._list(list_id)})

    def _list(self, list_id: str) -> dict[str, Any]:
        moment = iso_text(datetime(2024, 1, 1, tzinfo=UTC))
        return {
            "listId": list_id, "listVersion": 1, "name": self.world.list_names.get(list_id, f"List {list_id}"), "objectTypeId": "0-1",
            "processingType": "DYNAMIC", "processingStatus": "COMPLETE", "createdAt": moment, "updatedAt": moment,
            "additionalProperties": {"hs_list_size": str(len(self.world.lists[list_id]))},
        }  # fmt: skip

    async def owners(self, request: Request) -> Response:
        query, moment = request.query_params, iso_text(datetime(2024, 1, 1, tzinfo=UTC))
        limit, after = int(query.get("limit", "100")), int(query.get("after") or 0)
        if limit > _OWNERS_PAGE:
            return _error(400, "VALIDATION_ERROR", "limit is too high")
        matching = [owner for owner in self.world.owners if owner.is_archived == (query.get("archived", "false").lower() == "true")]
        answer: dict[str, Any] = {"results": [
            {"id": owner.id, "email": owner.email, "type": "PERSON", "firstName": owner.first_name, "lastName": owner.last_name, "userId": owner.user_id,
             "createdAt": moment, "updatedAt": moment, "archived": owner.is_archived, "teams": []}
            for owner in matching[after : after + limit]
        ]}  # fmt: skip
        if after + limit < len(matching):
            answer["paging"] = {"next": {"after": str(after + limit)}}
        return JsonAnswer(answer)

    async def list_members(self, request: Request) -> Response:
        members = self.world.lists.get(request.path_params["list_id"])
        if members is None:
            return _error(404, "OBJECT_NOT_FOUND", "List does not exist")
        limit, after = int(request.query_params.get("limit", "100")), int(request.query_params.get("after") or 0)
        moment = iso_text(self.world.now)
        answer: dict[str, Any] = {"results": [{"recordId": member, "membershipTimestamp": moment} for member in members[after : after + limit]]}
        if after + limit < len(members):
            answer["paging"] = {"next": {"after": str(after + limit)}}
        return JsonAnswer(answer)

    async def lists_of_contact(self, request: Request) -> Response:
        contact_id, moment = request.path_params["contact_id"], iso_text(self.world.now)
        listed = [list_id for list_id in sorted(self.world.lists, key=int) if contact_id in self.world.lists[list_id]]
        return JsonAnswer({"results": [{"listId": one, "listVersion": 1, "firstAddedTimestamp": moment, "lastAddedTimestamp": moment} for one in listed]})

    # ── contacts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sorted(self) -> list[HubSpotContact]:
        return sorted(self.world.contacts.values(), key=lambda contact: int(contact.id))

    def _find(self, contact_id: str) -> HubSpotContact | None:
        """Ids of contacts that were merged away still lead to the one they became."""
        return self.world.contacts.get(self.world.merged_contacts.get(str(contact_id), str(contact_id)))

    def _value(self, contact: HubSpotContact, name: str) -> str | None:
        match name:
            case "hs_object_id":
                return contact.id
            case "lastmodifieddate" | "hs_lastmodifieddate":
                return iso_text(contact.modified_at)
            case "createdate":
                return iso_text(contact.created_at)
            case "hs_merged_object_ids":
                return ";".join(contact.merged_ids) or None
        return contact.value(name) or None

    def _object(self, contact: HubSpotContact, properties: list[str], history: list[str]) -> dict[str, Any]:
        names = dict.fromkeys(["createdate", "hs_object_id", "lastmodifieddate", *(properties or ["email", "firstname", "lastname"]), *history])
        answer: dict[str, Any] = {
            "id": contact.id,
            "properties": {name: self._value(contact, name) for name in names if name in self.properties},
            "createdAt": iso_text(contact.created_at),
            "updatedAt": iso_text(contact.modified_at),
            "archived": contact.archived_at is not None,
        }
        if contact.archived_at is not None:
            answer["archivedAt"] = iso_text(contact.archived_at)
        if history:
            answer["propertiesWithHistory"] = {
                name: [
                    {"value": v.value, "timestamp": iso_text(v.at), "sourceType": v.source, "sourceId": None, **self.world.sources.get(v.source, {})}
                    for v in reversed(contact.history.get(name, []))
                ]
                for name in history if name in self.properties
            }  # fmt: skip
        return answer

    def _matches(self, contact: HubSpotContact, condition: dict[str, Any]) -> bool:
        value, operator = self._value(contact, condition["propertyName"]), condition["operator"]
        if operator == "HAS_PROPERTY":
            return value is not None
        if operator == "NOT_HAS_PROPERTY":
            return value is None
        if operator == "IN":
            return value is not None and value.lower() in [str(wanted).lower() for wanted in condition["values"]]
        wanted = condition.get("value")
        if value is None or wanted is None:
            return False
        if operator in ("EQ", "NEQ"):
            values = [value.lower()]
            if condition["propertyName"] == "email":  # search by e-mail finds secondary addresses too
                values += contact.value("hs_additional_emails").lower().split(";")
            return (str(wanted).lower() in values) is bool(operator == "EQ")
        a, b = _number(value), _number(str(wanted))
        return bool({"GT": a > b, "GTE": a >= b, "LT": a < b, "LTE": a <= b}[str(operator)])


def _path(api: str, version: str, rest: str = "") -> str:
    return "/".join(part for part in ("/crm", *((version, api) if version == "v3" else (api, version)), rest) if part)


def _rate_limited(policy: str) -> Response:
    return JsonAnswer({"status": "error", "message": f"You have reached your {policy.lower()} limit.", "errorType": "RATE_LIMIT", "policyName": policy,
                       "category": "RATE_LIMITS", "correlationId": secrets.token_hex(16)}, 429)  # fmt: skip


def _number(value: str | None) -> float:
    """A number, or a time as milliseconds since 1970."""
    if value is None:
        return float("-inf")
    try:
        return float(value)
    except ValueError:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp() * 1000


def _error(status: int, category: str, message: str) -> Response:
    return JsonAnswer({"status": "error", "message": message, "correlationId": secrets.token_hex(16), "category": category}, status)
