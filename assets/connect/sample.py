"""A sample of bound contacts with all their properties, histories and records, within a number of calls to each CRM.

It lies in a folder of pages as received, and goes with it. Nothing here writes to a CRM: HubSpot is asked by GET, search and batch read, Salesforce by GET.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from assets.policy import OBJECTS, ObjectType
from assets.problems import PullProblem
from assets.pull.hubspot import SYNC_TIME
from assets.pull.hubspot_portal import PAGE, SEARCH_PAGE, Portal
from assets.pull.refusals import Refusal
from assets.pull.salesforce_org import Org
from assets.pull.urls import LONGEST_URL
from assets.record_ids import ID_PROPERTIES, object_type_of

log = logging.getLogger("bindwatch.pull")

CONTACTS, CALLS = 1_000, 150  # of a whole look
_HISTORIES = 10_000  # of one batch
_BATCH = 50  # contacts
_IDS = 200  # of one query
_NEWEST = 6_000  # records of each object among which duplicates are looked for: three calls
_ROOM = LONGEST_URL - 300
_DEAD = ("address", "location", "base64", "complexvalue", "anyType")  # types that no property can be mapped to
_RELATED = 4  # objects besides Lead and Contact whose fields are looked at
_FOUND = 10_000  # of what a search finds, HubSpot shows so many
_GOLDEN = (5**0.5 - 1) / 2  # steps of this share of a whole go everywhere in it, each far from the one before
_UNBOUND = 200  # contacts that never synced: one page of a search
_ASKED = 20, 20  # contacts that synced, and that never did, which are asked for the lists that they are in: a call each
_META = ["Id", "Email", "CreatedDate", "CreatedById", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "IsDeleted", "MasterRecordId", "OwnerId"]
_OWN_META: dict[ObjectType, list[str]] = {"Lead": ["IsConverted", "ConvertedContactId"], "Contact": ["AccountId"]}


@dataclass
class Sample:
    """What was read. folder: the pages; described: of Salesforce, the fields by object and API name, of related records as Account.Name; properties: as HubSpot
    describes them; not_seen: in words; is_refused: the org said no to fields of the records themselves; is_short: it has so many fields that the calls did
    not suffice for the records of an object.
    """

    folder: Path
    described: dict[str, dict[str, dict[str, Any]]]
    properties: dict[str, dict[str, Any]]
    contacts: int = 0
    bound: dict[str, int] = field(default_factory=dict)  # live contacts that carry an id, by object
    not_seen: list[str] = field(default_factory=list)
    is_refused: bool = False
    is_short: bool = False
    _pages: int = 0

    def keep(self, kind: str, page: bytes) -> None:
        self._pages += 1
        (self.folder / f"{kind}-{self._pages:05}.json").write_bytes(page)


class Sampler:
    """Takes one sample. contacts: how many; calls: to each CRM, those that were made before it began not counted."""

    def __init__(self, org: Org, portal: Portal, sample: Sample, contacts: int = CONTACTS, calls: int = CALLS, before: tuple[int, int] = (0, 0)) -> None:
        self.org, self.portal, self.sample, self.wanted = org, portal, sample, contacts
        self._most = calls
        self._before = before  # calls to Salesforce and to HubSpot that do not count
        self._records: dict[ObjectType, dict[str, None]] = {"Lead": {}, "Contact": {}}  # ids that were read with all their fields
        self._deleted: dict[ObjectType, list[str]] = {}

    def _left(self, crm: Org | Portal) -> int:
        return self._most - (crm.calls - self._before[0 if isinstance(crm, Org) else 1])

    def take(self) -> None:
        for kind in ("contact", "archived", "dead", "member", "asked", "unbound", "app", "record", "history"):
            self.sample.keep(kind, b'{"results": [], "records": []}')
        ids = self._choose()
        self.sample.contacts = len(ids)
        if not ids:
            return
        pages = list(self._read_contacts(ids))
        is_small = self._most < CALLS
        archived = self._read_archived(1 if is_small else 8)
        unbound = {} if is_small else self._read_unbound()
        bound, past, emails = _ids_in(pages)
        gone = _ids_of_archived(archived)
        for name in self._objects():
            self._read_records(name, [one for one in bound if object_type_of(one) == name], share=0.5)
        for name in self._objects():
            self._read_known(name, "Id", [one for one in (*past, *gone) if object_type_of(one) == name])
            self._read_known(name, "Email", [*emails, *unbound.values()])
            self._read_deleted(name)
        if not is_small:
            self._read_apps()
            self._read_dead()
            self._read_lists(_last_synced(pages), list(unbound))

    def _objects(self) -> list[ObjectType]:
        return [name for name in OBJECTS if self.sample.described.get(name)]

    # ── HubSpot ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _choose(self) -> list[str]:
        """Ids of bound contacts: half of them those that synced last, the rest old and new ones; of each object a half, as far as there are so many."""
        chosen: dict[str, None] = {}
        keys = [ID_PROPERTIES[name] for name in ("Contact", "Lead") if ID_PROPERTIES[name] in self.sample.properties]
        if self._most >= CALLS:  # few contacts show what happens to these: two in five at most
            for name, condition in (
                ("hs_email_optout", {"operator": "EQ", "value": "true"}), ("hs_email_optout", {"operator": "EQ", "value": "false"}),  # may have been taken back
                ("hs_additional_emails", {"operator": "HAS_PROPERTY"}),
            ):  # fmt: skip
                if name in self.sample.properties:
                    for key in keys:
                        goal = len(chosen) + self.wanted // 30
                        self._search(key, "hs_object_id", True, goal, chosen, {"propertyName": name, **condition})
            goal = len(chosen) + self.wanted // 5  # duplicates are what bindings jump between
            for lot in _lots(self._shared_emails(self.wanted // 2), PAGE):
                for key in keys:
                    self._search(key, "hs_object_id", True, goal, chosen, {"propertyName": "email", "operator": "IN", "values": lot})
        room = self.wanted - len(chosen)
        last_synced = SYNC_TIME if SYNC_TIME in self.sample.properties else "hs_object_id"
        for share, by, descending in ((0.5, last_synced, True), (0.25, "createdate", False), (0.25, "createdate", True)):
            goal = min(len(chosen) + round(room * share), self.wanted)
            # an object may have fewer than its half, which the other one fills up: the smaller first, as soon as it is known
            for done, key in enumerate(sorted(keys, key=lambda key: self.sample.bound.get(key, 0))):
                number = (goal - len(chosen)) // (len(keys) - done)
                start = 0 if by != "createdate" or descending or self._most >= CALLS else self._start(key, number)
                self._search(key, by, descending, len(chosen) + number, chosen, start=start)
        for key in keys:  # what is missing still
            self._search(key, last_synced, True, self.wanted, chosen)
        return list(chosen)[: self.wanted]

    def _start(self, key: str, number: int) -> int:
        """Where a small sample begins among the old contacts: every day at others, so that two looks do not see the same. The newest are taken besides."""
        possible = max(1, min(self.sample.bound.get(key, 0), _FOUND) - 2 * number + 1)
        return int(self._now().toordinal() * _GOLDEN % 1 * possible)

    def _now(self) -> datetime:
        return self.portal.clock.theirs if self.portal.clock is not None else datetime.now(UTC)

    def _search(
        self, key: str, by: str, descending: bool, goal: int, chosen: dict[str, None], besides: dict[str, Any] | None = None, start: int = 0
    ) -> None:  # fmt: skip
        """Adds bound contacts to those chosen until there are as many as the goal. besides: what they must have besides an id; start: how many to pass over."""
        after, total = start, start + 1
        filters = [{"propertyName": key, "operator": "HAS_PROPERTY"}, *([besides] if besides else [])]
        while len(chosen) < goal and after < total and self._left(self.portal) > 5:
            missing = goal - len(chosen)
            page = self.portal.search_in_order(filters, by, descending, after, min(SEARCH_PAGE, max(missing, 20)))[1]
            total = int(page["total"])
            if besides is None:
                self.sample.bound[key] = total
            if not page["results"]:
                return
            found = (contact_id for contact_id, _ in _contacts_of(page) if contact_id not in chosen)
            chosen.update(dict.fromkeys(islice(found, missing)))
            after += len(page["results"])

    def _shared_emails(self, most: int) -> list[str]:
        """E-mails of which Salesforce has several live records, the ones that were touched last first."""
        counted: Counter[str] = Counter()
        for name in self._objects():
            with suppress(Refusal):
                for body in self.org.select(f"SELECT Id, Email FROM {name} WHERE IsDeleted = false ORDER BY SystemModstamp DESC LIMIT {_NEWEST}"):
                    counted.update(str(one["Email"]).strip().lower() for one in json.loads(body)["records"] if isinstance(one, dict) and one.get("Email"))
        return [email for email, records in counted.items() if records > 1][:most]

    def _read_contacts(self, ids: list[str]) -> Iterator[dict[str, Any]]:
        names = [name for name, entry in self.sample.properties.items() if not _is_reckoned(entry)]
        lot = max(1, min(_BATCH, _HISTORIES // max(1, len(names))))
        spare = 60 if self._most >= CALLS else 6
        most = max(1, self._left(self.portal) - spare) * lot
        if len(ids) > most:
            self.sample.not_seen.append(f"{len(ids) - most:,} of the {len(ids):,} contacts that were asked for: {len(names)} properties take too many calls")
            self.sample.contacts = most
        for _, (body, page) in self.portal.read_batches(ids[:most], names, names):
            self.sample.keep("contact", body)
            yield page

    def _read_archived(self, pages: int) -> list[dict[str, Any]]:
        """Archived contacts with the ids that they carried."""
        found: list[dict[str, Any]] = []
        after = None
        names = [name for name in ("email", *ID_PROPERTIES.values()) if name in self.sample.properties]
        for _ in range(pages):
            body, page = self.portal.list_page(names, [], True, after)
            self.sample.keep("archived", body)
            found += page["results"]
            after = ((page.get("paging") or {}).get("next") or {}).get("after")
            if after is None:
                break
        return found

    def _read_dead(self) -> None:
        """Live contacts that carry the id of a record that was deleted."""
        for name in self._objects():
            ids = sorted(self._deleted.get(name, ()))[:400]
            for lot in _lots(ids, PAGE):
                if self._left(self.portal) < 30:
                    return
                with suppress(PullProblem):  # a portal that cannot search by many values tells less, and nothing wrong
                    found = self.portal.search_in_order(
                        [{"propertyName": ID_PROPERTIES[name], "operator": "IN", "values": lot}], "hs_object_id", False, 0, SEARCH_PAGE
                    )[1]
                    if dead := [contact_id for contact_id, _ in _contacts_of(found)]:
                        properties = [one for one in (*ID_PROPERTIES.values(), SYNC_TIME, "salesforcedeleted") if one in self.sample.properties]
                        for _, (body, _page) in self.portal.read_batches(dead, properties, properties):
                            self.sample.keep("dead", body)

    def _read_unbound(self) -> dict[str, str]:
        """E-mails of the newest contacts that never synced although they could have, by id: they were made more than a day ago."""
        filters = [{"propertyName": name, "operator": "NOT_HAS_PROPERTY"} for name in (*ID_PROPERTIES.values(), SYNC_TIME) if name in self.sample.properties]
        filters += [
            {"propertyName": "email", "operator": "HAS_PROPERTY"},
            {"propertyName": "createdate", "operator": "LT", "value": str(round((self._now() - timedelta(days=1)).timestamp() * 1000))},
        ]
        with suppress(PullProblem):  # less can be told, and nothing wrong
            body, page = self.portal.search_in_order(filters, "createdate", True, 0, _UNBOUND, ["email"])
            self.sample.keep("unbound", body)
            return {contact_id: email for contact_id, one in _contacts_of(page) if "@" in (email := str(one.get("email") or "").strip())}
        return {}

    def _read_lists(self, synced: Sequence[str], unbound: Sequence[str]) -> None:
        """Which lists contacts are in that synced last, and that never did. Where HubSpot does not tell that of a contact: who is in each of the lists.

        Kept as `asked` is of whom all lists are known.
        """
        for number, contact_id in enumerate([*synced[: _ASKED[0]], *unbound[: _ASKED[1]]]):
            if self._left(self.portal) < 5:
                return
            listed = self.portal.lists_of(contact_id)
            if listed is None:
                if number == 0:
                    self._read_members(synced, unbound)
                return
            self.sample.keep("asked", json.dumps({"results": [{"recordId": contact_id}]}).encode())
            for list_id in listed:
                self.sample.keep("member", json.dumps({"list": list_id, "results": [{"recordId": contact_id}]}).encode())

    def _read_members(self, synced: Sequence[str], unbound: Sequence[str]) -> None:
        found = self.portal.lists()
        if found is None:
            self.sample.not_seen.append("which lists there are: give the key the scope crm.lists.read")
            return
        read = 0
        for entry in found[:20]:
            list_id, members, after = str(entry.get("listId") or entry.get("id") or ""), 0, None
            while list_id and self._left(self.portal) > 3 and members < 2_000:
                page = self.portal.list_members_page(list_id, after)[1]
                self.sample.keep("member", json.dumps({"list": list_id, "results": page["results"]}).encode())
                members += len(page["results"])
                after = ((page.get("paging") or {}).get("next") or {}).get("after")
                if after is None:
                    read += 1
                    break
        asked = [*synced, *(unbound if read == len(found) else ())]
        self.sample.keep("asked", json.dumps({"results": [{"recordId": contact_id} for contact_id in asked]}).encode())

    # ── Salesforce ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_records(self, name: ObjectType, ids: list[str], share: float) -> None:
        """Records with all fields that a property can be mapped to, those of related records in queries of their own."""
        fields = self.sample.described[name]
        own = [one for one, entry in fields.items() if "." not in one and entry.get("type") not in _DEAD]
        meta = [one for one in (*_META, *_OWN_META[name]) if one in fields]
        related = [one for one, entry in fields.items() if "." in one and entry.get("type") not in _DEAD]
        groups = [*_groups([*meta, *(one for one in own if one not in meta)]), *_groups(self._answered(name, related, ids[:1]))]
        per_query = [min(_IDS, max(1, (_ROOM - _length(group)) // 27)) for group in groups]
        budget = int(self._left(self.org) * share)
        while ids and sum(-(-len(ids) // size) for size in per_query) > budget:
            ids = ids[: int(len(ids) * 0.9)]
        if not ids and self.sample.bound.get(ID_PROPERTIES[name]):
            self.sample.is_short = True
            self.sample.not_seen.append(f"the records of {name}: their {len(own) + len(related)} fields take too many calls")
        self._records[name] = dict.fromkeys(ids)
        for group, size in zip(groups, per_query, strict=True):
            for lot in _lots(ids, size):
                if not self._keep(name, group, f"Id IN ({_literals(lot)})"):
                    self.sample.is_refused = True
                    self.sample.not_seen.append(f"the fields {', '.join(group[:5])} … of {name}")
                    break

    def _answered(self, name: ObjectType, related: list[str], ids: list[str]) -> list[str]:
        """Of fields of related records, those that a query may name: not every relation that is described can be followed."""
        found: list[str] = []
        relations = dict.fromkeys(one.split(".")[0] for one in related)
        for relation in relations if ids else ():
            waiting = [[one for one in related if one.startswith(f"{relation}.")]]
            is_first = True
            while waiting and self._left(self.org) > self._most * 0.7:
                fields = waiting.pop()
                if self._keep(name, fields, f"Id IN ({_literals(ids)})"):
                    found += fields
                elif is_first and not self._keep(name, [next((one for one in fields if one.endswith(".Name")), fields[0])], f"Id IN ({_literals(ids)})"):
                    break  # the relation itself is refused
                elif len(fields) > 1:
                    waiting += [fields[: len(fields) // 2], fields[len(fields) // 2 :]]
                is_first = False
        return found

    def _read_known(self, name: ObjectType, by: str, values: Iterable[str]) -> None:
        """Records of which only the stamps count."""
        values = [one for one in dict.fromkeys(values) if one not in self._records[name]]
        fields = [one for one in (*_META, *_OWN_META[name]) if one in self.sample.described[name]]
        longest = max((len(quote(one)) for one in values), default=0) + 9
        for lot in _lots(values, min(_IDS, max(1, (_ROOM - _length(fields)) // longest))):
            if self._left(self.org) < 8 or not self._keep(name, fields, f"{by} IN ({_literals(lot)})"):
                return

    def _read_apps(self) -> None:
        """As whom HubSpot logs in, where the org shows that."""
        with suppress(Refusal):
            for body in self.org.select("SELECT AppName, UserId, LastUsedDate, UseCount FROM OauthToken ORDER BY LastUsedDate DESC LIMIT 200"):
                self.sample.keep("app", body)

    def _read_deleted(self, name: ObjectType) -> None:
        """Records that were deleted last, and not by a merge."""
        fields = [one for one in (*_META, *_OWN_META[name]) if one in self.sample.described[name]]
        if self._left(self.org) < 3:
            return
        kept: list[str] = []
        self._keep(name, fields, "IsDeleted = true AND MasterRecordId = null ORDER BY SystemModstamp DESC LIMIT 400", kept)
        self._deleted[name] = kept

    def _keep(self, name: str, fields: Sequence[str], condition: str, ids: list[str] | None = None) -> bool:
        """Keeps what a query brings; False where the org refuses it."""
        try:
            for body in self.org.select(f"SELECT {', '.join(dict.fromkeys(['Id', *fields]))} FROM {name} WHERE {condition}"):
                self.sample.keep("record", body)
                if ids is not None:
                    ids += _record_ids(one.get("Id") for one in json.loads(body)["records"] if isinstance(one, dict))
        except Refusal as refusal:
            log.debug("Salesforce refused a query of %s: %s", name, refusal.words)
            return False
        return True


def describe_all(org: Org) -> dict[str, dict[str, dict[str, Any]]]:
    """The fields of Lead and Contact that the user can see, and those of records that they refer to, under names such as Account.Name. What cannot be seen
    is missing.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    related: dict[str, dict[str, dict[str, Any]] | None] = {}
    for name in OBJECTS:
        fields = org.describe(name)
        if fields is None:
            continue
        found[name] = dict(fields)
        for entry in fields.values():
            targets, relation = entry.get("referenceTo") or [], entry.get("relationshipName")
            if len(targets) != 1 or not relation or not (relation == "Account" or str(relation).endswith("__r")) or targets[0] == "User":
                continue
            target = str(targets[0])
            if target not in related and len(related) < _RELATED:
                related[target] = org.describe(target)
            for child, described in (related.get(target) or {}).items():
                if child not in ("Id", "SystemModstamp", "IsDeleted", "MasterRecordId", "LastModifiedById", "CreatedById", "LastModifiedDate"):
                    found[name][f"{relation}.{child}"] = described
    return found


def _is_reckoned(entry: dict[str, Any]) -> bool:
    """Does HubSpot work the property out by itself? Nothing can be mapped to it."""
    return bool(entry.get("calculated")) or str(entry.get("fieldType")) in (
        "calculation_equation",
        "calculation_rollup",
        "calculation_score",
        "calculation_read_time",
    )


def _ids_in(pages: list[dict[str, Any]]) -> tuple[list[str], list[str], list[str]]:
    """Of contacts: ids of records that they carry, those that they carried, and their e-mails, the additional ones too."""
    now: dict[str, None] = {}
    past: dict[str, None] = {}
    emails: dict[str, None] = {}
    for values, histories in ((values, _part(one, "propertiesWithHistory")) for page in pages for one, values in _entries_of(page)):
        now.update(dict.fromkeys(_record_ids(values.get(name) for name in ID_PROPERTIES.values())))
        versions = (one for name in ID_PROPERTIES.values() if isinstance(histories.get(name), list) for one in histories[name] if isinstance(one, dict))
        past.update(dict.fromkeys(_record_ids(one.get("value") for one in versions)))
        emails.update(dict.fromkeys(one.strip() for name in ("email", "hs_additional_emails") for one in str(values.get(name) or "").split(";") if "@" in one))
    return list(now), [one for one in past if one not in now], list(emails)


def _last_synced(pages: list[dict[str, Any]]) -> list[str]:
    """Ids of contacts, the one that synced last first; behind them those that only synced on the day they were made, which needs no list."""
    synced = []
    for one, values in (entry for page in pages for entry in _entries_of(page)):
        if moment := str(values.get(SYNC_TIME) or ""):
            synced.append((moment[:10] > str(one.get("createdAt") or "")[:10], moment, str(one["id"])))
    return [contact_id for _, _, contact_id in sorted(synced, reverse=True)]


def _ids_of_archived(contacts: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(_record_ids(values.get(name) for _, values in _entries_of({"results": contacts}) for name in ID_PROPERTIES.values())))


def _entries_of(page: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The contacts of a page, each with its properties; what is no contact is passed over."""
    return ((one, _part(one, "properties")) for one in page["results"] if isinstance(one, dict) and one.get("id"))


def _contacts_of(page: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ids of the contacts of a page, each with its properties."""
    return ((str(one["id"]), values) for one, values in _entries_of(page))


def _part(contact: dict[str, Any], name: str) -> dict[str, Any]:
    found = contact.get(name)
    return found if isinstance(found, dict) else {}


def _record_ids(values: Iterable[object]) -> Iterator[str]:
    """Those that can be asked for; in a query, 15 characters do as well as 18."""
    return (str(one) for one in values if one and object_type_of(str(one)) and len(str(one)) in (15, 18) and str(one).isalnum())


def _length(fields: Sequence[str]) -> int:
    return sum(len(one) + 4 for one in fields)


def _groups(fields: Sequence[str]) -> list[list[str]]:
    """Fields in as many queries as it takes for a URL to hold them and some ids."""
    groups: list[list[str]] = []
    for one in fields:
        if not groups or _length([*groups[-1], one]) > _ROOM // 2:
            groups.append([])
        groups[-1].append(one)
    return groups


def _lots(values: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(values[start : start + size]) for start in range(0, len(values), size))


def _literals(values: Iterable[str]) -> str:
    return ", ".join("'" + one.replace("\\", "\\\\").replace("'", "\\'") + "'" for one in values)
