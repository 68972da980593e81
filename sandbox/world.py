"""The state of both CRMs, and what people and the two CRMs themselves do to it. The integration reacts in rules.py.

Times are UTC and come from the clock of the world, never from this machine.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal, TypeVar

from sandbox.fields import DEMO_FIELDS, Fields, trim_text
from sandbox.rulebook import rule
from sandbox.users import AUTOMATION, HUBSPOT_OWNERS, INTEGRATION_USER, PERSON, USERS, HubSpotOwner, User, somebody

ObjectType = Literal["Lead", "Contact"]

Tracking = Literal["none", "some", "all"]
_OBJECTS: tuple[ObjectType, ...] = ("Lead", "Contact")
_SOME_FIELDS = frozenset({"Title", "Phone", "OwnerId", "Email"})
_Option = TypeVar("_Option")


@rule(3)
@lru_cache(100_000)  # asked for each contact at each write
def normalise(email: str | None) -> str | None:
    """Rule 3: e-mails compare without case and surrounding white space."""
    text = trim_text(unicodedata.normalize("NFC", email or "")).lower()
    bad = any(character.isspace() or character in ",;<>" for character in text) or "mailto:" in text
    local, at, domain = text.partition("@")
    return None if bad or not local or not at or not domain or "@" in domain else text


def id18(id15: str) -> str:
    """Salesforce's three check characters: which letters of each five are capitals."""
    bits = [sum(1 << place for place, character in enumerate(id15[start : start + 5]) if "A" <= character <= "Z") for start in (0, 5, 10)]
    return id15 + "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[value] for value in bits)


def _base62(number: int, width: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = ""
    for _ in range(width):
        number, rest = divmod(number, 62)
        text = digits[rest] + text
    return text


@dataclass(slots=True)
class Version:
    """An entry of a HubSpot property's history."""

    value: str
    at: datetime
    source: str


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A row of a record's field history. field: its API name, Owner for OwnerId; or what happened, as created."""

    id: str
    at: datetime
    by: str
    field: str
    old: str | None
    new: str | None


@dataclass(slots=True)
class SalesforceRecord:
    id: str
    type: ObjectType
    fields: dict[str, str | None]
    created_at: datetime
    modified_at: datetime  # SystemModstamp: moved by people and by automation
    last_modified_at: datetime  # LastModifiedDate: moved by people
    modified_by: str
    owner_id: str
    account_id: str | None = None
    is_deleted: bool = False
    master_id: str | None = None
    converted_contact_id: str | None = None
    is_visible: bool = True  # to the integration user
    changed_at: dict[str, datetime] = field(default_factory=dict)  # when somebody else than the integration last changed a field
    created_by: str = PERSON
    history: list[FieldChange] = field(default_factory=list)  # of tracked fields, oldest first

    @property
    def email(self) -> str | None:
        return normalise(self.fields.get("Email"))

    @property
    def is_live(self) -> bool:
        return not self.is_deleted and self.converted_contact_id is None

    @property
    def stamps(self) -> "Stamps":
        return Stamps(self.modified_at, self.last_modified_at, self.modified_by)


@dataclass(slots=True)
class HubSpotContact:
    id: str
    created_at: datetime
    modified_at: datetime
    history: dict[str, list[Version]] = field(default_factory=dict)  # oldest first
    archived_at: datetime | None = None
    merged_ids: list[str] = field(default_factory=list)
    id_precedence: Literal["newest_history", "contact_id", "lead_id"] = "newest_history"

    def value(self, name: str) -> str:
        versions = self.history.get(name)
        return versions[-1].value if versions else ""

    @property
    def email(self) -> str | None:
        return normalise(self.value("email"))

    @property
    def additional_emails(self) -> list[str]:
        return [email for part in self.value("hs_additional_emails").split(";") if (email := normalise(part))]

    @property
    def bound_id(self) -> str | None:
        """The id of the bound record, with 18 characters. Where both are set: the one written last, the Contact id when that cannot be told."""
        lead_id, contact_id = self.value("salesforceleadid"), self.value("salesforcecontactid")
        if lead_id and contact_id:
            match self.id_precedence:
                case "newest_history":
                    newer = self.history["salesforceleadid"][-1].at > self.history["salesforcecontactid"][-1].at
                    chosen = lead_id if newer else contact_id
                case "contact_id":
                    chosen = contact_id
                case "lead_id":
                    chosen = lead_id
        else:
            chosen = contact_id or lead_id
        return (id18(chosen) if len(chosen) == 15 else chosen) or None

    @property
    def bound_since(self) -> datetime | None:
        versions = [v for name in ("salesforceleadid", "salesforcecontactid") for v in self.history.get(name, []) if v.value]
        return max((version.at for version in versions if version.value[:15] == (self.bound_id or "")[:15]), default=None)


@dataclass(frozen=True, slots=True)
class Stamps:
    """When a record was modified last, and by whom."""

    modified_at: datetime
    last_modified_at: datetime
    modified_by: str


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that the integration will hear of at its next poll."""

    at: datetime
    kind: Literal["created", "updated", "deleted", "merged", "converted", "undeleted", "contact", "entered_list", "left_list"]
    id: str  # of the Salesforce record, or of the HubSpot contact
    other_id: str | None = None  # the winner of a merge, the Contact of a conversion
    fields: frozenset[str] = frozenset()  # Salesforce fields that an update changed
    is_prompt: bool = False  # a form or a manual sync, which takes less than a minute


@dataclass(frozen=True, slots=True)
class SyncError:
    """What Sync Health would show."""

    at: datetime
    contact_id: str
    record_id: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of the bound record, as the integration made it. overwritten: property → (value before, value after)."""

    at: datetime
    contact_id: str
    from_id: str | None
    to_id: str
    rule: int
    overwritten: dict[str, tuple[str, str]]


@dataclass(slots=True)
class Choices:
    """Where the rules leave several outcomes open, the script says which to take; beyond it, the first. What was asked is kept."""

    script: Sequence[int] = ()
    asked: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)  # rule, whom it is about, the options
    taken: list[int] = field(default_factory=list)


class World:
    """Both CRMs at one moment of the world's clock. first_number keeps the ids of several worlds apart; tracking: of which fields Salesforce keeps a
    history, of none, of some, or of all that are mapped. sources: what HubSpot tells of a source of values besides, or instead.
    tables: rows of objects that are neither people nor users, by object.
    """

    def __init__(self, now: datetime, first_number: int = 0, tracking: Tracking = "none", fields: Fields = DEMO_FIELDS) -> None:
        self.now, self.fields = now, fields
        self.sources: dict[str, dict[str, object]] = {}
        self.tables: dict[str, list[dict[str, str]]] = {}
        self.shown_ids: dict[str, str] = {}  # of users, where the org calls somebody otherwise: 15 characters
        self.list_names: dict[str, str] = {}
        self.org_id, self.portal_id = "00D5e0000000SndEAC", "4711"  # another one is another org, or portal
        self.records: dict[str, SalesforceRecord] = {}
        self.contacts: dict[str, HubSpotContact] = {}
        self.accounts: dict[str, str] = {}
        self.happenings: list[Happening] = []
        self.merged_contacts: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}  # HubSpot lists: contact ids by list id
        self.blocked_emails: set[str] = set()  # of contacts deleted for good (GDPR)
        self.calls_return_at: datetime | None = None  # the allocation of API calls is used up until then (rule 49)
        self.errors: list[SyncError] = []
        self.switches: list[Switch] = []
        self.choices = Choices()
        self.heard: dict[str, Stamps] = {}  # stamps of records as a poll heard of them, where it has written to them since
        self._records_by_email: defaultdict[str, set[str]] = defaultdict(set)
        self._contacts_by_email: defaultdict[str, set[str]] = defaultdict(set)
        self._contacts_by_additional_email: defaultdict[str, set[str]] = defaultdict(set)
        self._contacts_by_bound: defaultdict[str, set[str]] = defaultdict(set)
        self._counter = first_number
        self.users: dict[str, User] = {user.id: user for user in USERS}
        self.owners: list[HubSpotOwner] = list(HUBSPOT_OWNERS)
        self.tracked: dict[ObjectType, frozenset[str]] = {
            name: {"none": frozenset(), "some": mapped & _SOME_FIELDS, "all": mapped | {"Email"}}[tracking]
            for name in _OBJECTS
            for mapped in [self.mapped(name)]
        }  # of an object without any, Salesforce has no history object
        self._changes = first_number * 100

    def mapped(self, object_type: ObjectType) -> frozenset[str]:
        """The fields of an object that the integration maps."""
        place = 0 if object_type == "Lead" else 1
        return frozenset(name for names in self.fields.mapping.values() if (name := names[place]))

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def records_with_email(self, email: str | None) -> list[SalesforceRecord]:
        """Every record with that e-mail, dead ones too."""
        return [self.records[record_id] for record_id in sorted(self._records_by_email[email])] if email else []

    def live_records(self, email: str | None) -> list[SalesforceRecord]:
        return [record for record in self.records_with_email(email) if record.is_live]

    def contact_with_email(self, email: str | None) -> HubSpotContact | None:
        """The live contact with that primary e-mail."""
        return self._least(self._contacts_by_email[email]) if email else None

    def contact_with_additional_email(self, email: str | None) -> HubSpotContact | None:
        return self._least(self._contacts_by_additional_email[email]) if email else None

    def contacts_bound_to(self, record_id: str) -> list[HubSpotContact]:
        """The live contacts that carry its id."""
        return [self.contacts[contact_id] for contact_id in sorted(self._contacts_by_bound[record_id], key=int)]

    def survivor(self, record_id: str | None) -> SalesforceRecord | None:
        """The end of a merge chain; the record itself where it was not merged; None for a cycle or an unknown id."""
        seen = set()
        while record_id is not None and record_id not in seen:
            seen.add(record_id)
            record = self.records.get(record_id)
            if record is None or record.master_id is None:
                return record
            record_id = record.master_id
        return None

    # ── Salesforce ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_account(self, name: str) -> str:
        account_id = self._salesforce_id("001")
        self.accounts[account_id] = name
        return account_id

    def create_record(
        self,
        object_type: ObjectType,
        fields: dict[str, str | None],
        *,
        owner_id: str = "0055e000000Own1",
        account_id: str | None = None,
        by: str = PERSON,
        is_visible: bool = True,
    ) -> SalesforceRecord:
        values = {**self.fields.at_creation.get(object_type, {}), **fields}
        record = SalesforceRecord(
            self._salesforce_id("00Q" if object_type == "Lead" else "003"), object_type, values, self.now, self.now, self.now, by, owner_id, account_id,
            is_visible=is_visible, changed_at={} if by == INTEGRATION_USER else dict.fromkeys((*fields, "OwnerId"), self.now), created_by=by,
        )  # fmt: skip
        self.records[record.id] = record
        for user_id in (by, owner_id):
            self._user(user_id)
        if self.tracked[object_type]:
            self._note_change(record, by, "created", None, None)
        self._index_record(record)
        self._tell("created", record, by)
        return record

    def edit_record(self, record: SalesforceRecord, fields: dict[str, str | None], by: str = PERSON) -> None:
        """Fields that Salesforce has but the sandbox does not map (and formula fields) may be named too: they move the stamps only."""
        self._unindex_record(record)
        changed = {name for name, value in fields.items() if (field_value(self, record, name) or None) != (value or None)}
        before = {name: field_value(self, record, name) for name in changed}
        if (owner_id := fields.get("OwnerId")) is not None:
            record.owner_id = owner_id
        record.fields.update({name: value for name, value in fields.items() if name != "OwnerId"})
        self._index_record(record)
        self._stamp(record, by, changed)
        self._track(record, by, before)
        self._tell("updated", record, by, fields=changed)

    def touch_record(self, record: SalesforceRecord) -> None:
        """Automation rewrites the record: SystemModstamp moves, LastModifiedDate does not."""
        record.modified_at, record.modified_by = self.now, AUTOMATION
        self._tell("updated", record, AUTOMATION)

    def delete_record(self, record: SalesforceRecord, by: str = PERSON) -> None:
        record.is_deleted = True
        self._stamp(record, by)
        self._tell("deleted", record, by)

    @rule(38)
    def undelete_record(self, record: SalesforceRecord, by: str = PERSON) -> None:
        """A merge loser comes back without its master; its children stay with the winner. It was just modified, so it may win rule 11."""
        record.is_deleted, record.master_id = False, None
        self._stamp(record, by)
        self._tell("undeleted", record, by)

    @rule(37)
    def merge_records(self, master: SalesforceRecord, losers: Iterable[SalesforceRecord], by: str = PERSON) -> None:
        """One object only. Salesforce takes two losers at a time: more are several merges, one after the other, each of them
        a delete of its losers and an update of the master."""
        losers = list(losers)
        if any(loser.type != master.type or loser is master for loser in losers):
            raise ValueError("Salesforce merges different records of one object only")
        for loser in losers:
            loser.is_deleted, loser.master_id = True, master.id
            self._stamp(loser, by)
            filled = {name for name, value in loser.fields.items() if value and not master.fields.get(name)}
            before = {name: master.fields.get(name) for name in sorted(filled)}
            self._unindex_record(master)
            master.fields.update({name: loser.fields[name] for name in filled})
            self._index_record(master)
            self._stamp(master, by, filled)
            self._track(master, by, before)
            self._tell("merged", loser, by, master.id)

    def convert_lead(self, lead: SalesforceRecord, into: SalesforceRecord | None = None, by: str = PERSON) -> SalesforceRecord:
        """Converts a Lead into a new Contact, or into an existing one, of which only blank fields are filled."""
        fields = {
            contact_field: lead.fields.get(lead_field)
            for lead_field, contact_field in self.fields.mapping.values()
            if lead_field and contact_field and self.fields.is_written_by_integration("Contact", contact_field) and contact_field != "OwnerId"
        }
        fields["Email"] = lead.fields.get("Email")
        if into is None:
            account_id = self.create_account(lead.fields.get("Company") or "Unknown")
            into = self.create_record("Contact", fields, owner_id=lead.owner_id, account_id=account_id, by=by, is_visible=lead.is_visible)
            self.happenings = [happening for happening in self.happenings if happening.id != into.id]
        else:
            filled = {name: value for name, value in fields.items() if value and not into.fields.get(name)}
            before = {name: into.fields.get(name) for name in filled}
            self._unindex_record(into)
            into.fields.update(filled)
            self._index_record(into)
            self._stamp(into, by, filled)
            self._track(into, by, before)
        lead.converted_contact_id = into.id
        self._stamp(lead, by)
        self._tell("converted", lead, by, into.id)
        return into

    # ── HubSpot ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_contact(self, properties: dict[str, str], source: str) -> HubSpotContact:
        contact = HubSpotContact(str(100 + self._next() * 7), self.now, self.now)
        self.contacts[contact.id] = contact
        self.write(contact, {**properties, "createdate": iso_text(self.now)}, source)
        return contact

    def write(self, contact: HubSpotContact, properties: dict[str, str], source: str, at: datetime | None = None) -> None:
        """Writes properties; each that changes gets a history entry. A person's change makes the contact sync at the next poll."""
        moment = at or self.now
        self._unindex_contact(contact)
        for name, value in properties.items():
            if contact.value(name) != value:
                contact.history.setdefault(name, []).append(Version(value, moment, source))
                contact.modified_at = max(contact.modified_at, moment)
        self._index_contact(contact)
        if source != "SALESFORCE":
            self.touch_contact(contact, is_prompt=source == "FORM")

    def write_email(self, contact: HubSpotContact, email: str, source: str) -> None:
        """A new primary e-mail. One that was an additional one changes places with the old primary."""
        properties = {"email": email}
        additional = contact.value("hs_additional_emails").split(";")
        if normalise(email) in (normalise(part) for part in additional):
            kept = [contact.value("email") if normalise(part) == normalise(email) else part for part in additional]
            properties["hs_additional_emails"] = ";".join(part for part in kept if part)
        self.write(contact, properties, source)

    @rule(44)
    def submit_form_with_additional_email(self, contact: HubSpotContact, email: str) -> None:
        """The additional e-mail becomes the primary one: the key of the matching moves without an edit."""
        self.write_email(contact, email, "FORM")

    @rule(45)
    def submit_form_in_same_browser(self, contact: HubSpotContact, email: str) -> None:
        """HubSpot knows the browser: an unknown e-mail overwrites the contact's. What follows is up to the rule of the e-mail mapping."""
        self.write(contact, {"email": email}, "FORM")

    def touch_contact(self, contact: HubSpotContact, is_prompt: bool = False) -> None:
        """The contact syncs at the next poll; at once (a form, a manual sync) where is_prompt."""
        self.happenings.append(Happening(self.now, "contact", contact.id, is_prompt=is_prompt))

    def enter_list(self, list_id: str, contact: HubSpotContact) -> None:
        if contact.id not in self.lists.setdefault(list_id, []):
            self.lists[list_id].append(contact.id)
            self.happenings.append(Happening(self.now, "entered_list", contact.id))

    def leave_list(self, list_id: str, contact: HubSpotContact) -> None:
        if contact.id in self.lists.get(list_id, []):
            self.lists[list_id].remove(contact.id)
            self.happenings.append(Happening(self.now, "left_list", contact.id))

    @rule(39)
    def archive_contact(self, contact: HubSpotContact) -> None:
        """Salesforce is left alone. (Where the portal deletes the record too, and what a restored contact is bound to: rules.restored.)"""
        self._unindex_contact(contact)
        contact.archived_at = contact.modified_at = self.now

    def restore_contact(self, contact: HubSpotContact, keeps_binding: bool = True) -> None:
        """keeps_binding: the knob restored_contact_binding; without it the contact is unbound until its next trigger."""
        contact.archived_at = None
        contact.modified_at = self.now
        self._index_contact(contact)
        if not keeps_binding:
            self.write(contact, {"salesforceleadid": "", "salesforcecontactid": ""}, "SALESFORCE")

    @rule(40)
    def delete_contact_for_good(self, contact: HubSpotContact) -> None:
        """GDPR: the contact is gone, its e-mails, additional ones too, are blocked. Salesforce is left alone."""
        self._unindex_contact(contact)
        self.blocked_emails.update(email for email in (contact.email, *contact.additional_emails) if email)
        del self.contacts[contact.id]

    @rule(41)
    def merge_contacts(
        self,
        primary: HubSpotContact,
        secondary: HubSpotContact,
        values: Literal["primary_wins", "most_recent"] = "primary_wins",
        new_id: bool = True,
    ) -> HubSpotContact:
        """A new id, to which both old ones lead. The primary's values win, the secondary's fill blanks (or the most recent value wins); so does each of the
        two Salesforce ids, which may then name two records. Both histories are kept. The secondary's e-mail becomes an additional one."""
        contact_id = str(100 + self._next() * 7) if new_id else primary.id
        merged = HubSpotContact(contact_id, self.now, self.now, id_precedence=primary.id_precedence)
        for contact in (primary, secondary):
            self._unindex_contact(contact)
        ids = {"salesforceleadid", "salesforcecontactid"}
        for name in {**primary.history, **secondary.history}:
            first, second = primary.history.get(name, []), secondary.history.get(name, [])
            value = primary.value(name) or secondary.value(name)
            if values == "most_recent" and name not in {"email", *ids} and first and second:
                value = max((*first, *second), key=lambda version: version.at).value
            merged.history[name] = sorted((*first, *second), key=lambda version: version.at)
            if value != primary.value(name) or value != merged.value(name):
                merged.history[name].append(Version(value, self.now, "MERGE_CONTACTS"))
        additional = [part for contact in (primary, secondary) for part in contact.value("hs_additional_emails").split(";") if part]
        additional.append(secondary.value("email"))
        merged.history["hs_additional_emails"] = [Version(";".join(dict.fromkeys(part for part in additional if part)), self.now, "MERGE_CONTACTS")]
        merged.merged_ids = [*primary.merged_ids, *secondary.merged_ids, *([primary.id] if new_id else []), secondary.id]
        for contact in (primary, secondary):
            del self.contacts[contact.id]
            self.happenings = [happening for happening in self.happenings if happening.id != contact.id]
        for members in self.lists.values():
            if primary.id in members:
                members.append(merged.id)
        for old in merged.merged_ids:
            self.merged_contacts[old] = merged.id
        self.contacts[merged.id] = merged
        self._index_contact(merged)
        return merged

    # ── what the integration leaves behind ───────────────────────────────────────────────────────────────────────────────────────

    def choose(self, rule_number: int, about: str, options: Sequence[tuple[str, _Option]]) -> _Option:
        """One of several outcomes that the rules leave open; each option has a name. See integration.possible_outcomes."""
        if len(options) == 1:
            return options[0][1]
        place = len(self.choices.taken)
        number = self.choices.script[place] if place < len(self.choices.script) else 0
        self.choices.asked.append((rule_number, about, tuple(name for name, _ in options)))
        self.choices.taken.append(number)
        return options[number][1]

    def report(self, contact: HubSpotContact, record: SalesforceRecord | None, name: str) -> None:
        self.errors.append(SyncError(self.now, contact.id, record.id if record else None, name))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _least(self, contact_ids: Iterable[str]) -> HubSpotContact | None:
        found = min(contact_ids, key=int, default=None)
        return self.contacts[found] if found else None

    def _next(self) -> int:
        self._counter += 1
        return self._counter

    def _salesforce_id(self, prefix: str) -> str:
        # spread over the alphabet, so that ids hold capitals and are not in order of creation
        return id18(prefix + "5e0000" + _base62(self._next() * 7_368_787 % 62**6, 6))

    def _user(self, user_id: str) -> User:
        return self.users.setdefault(user_id[:15], somebody(user_id, self.now))

    def _track(self, record: SalesforceRecord, by: str, before: dict[str, str | None]) -> None:
        """Notes what became of fields in the record's history, those that are tracked. before: what they held."""
        for name in sorted(before.keys() & self.tracked[record.type]):
            old, new = before[name] or None, field_value(self, record, name) or None
            if name != "OwnerId":
                self._note_change(record, by, name, old, new)
                continue
            users = [self._user(user_id).name if user_id else None for user_id in (old, new)]
            self._note_change(record, by, "Owner", old, new)  # Salesforce keeps a change of a reference twice: by ids, and by names
            self._note_change(record, by, "Owner", *users)

    def _note_change(self, record: SalesforceRecord, by: str, name: str, old: str | None, new: str | None) -> None:
        self._changes += 1
        record.history.append(FieldChange(id18(f"0175e0{_base62(self._changes, 9)}"), self.now, by, name, old, new))

    def _stamp(self, record: SalesforceRecord, by: str, changed: Iterable[str] = ()) -> None:
        record.modified_at = record.last_modified_at = self.now
        record.modified_by = by
        self._user(by)
        if by != INTEGRATION_USER:
            record.changed_at.update(dict.fromkeys(changed, self.now))

    def _tell(self, kind: str, record: SalesforceRecord, by: str, other_id: str | None = None, fields: Iterable[str] = ()) -> None:
        if by != INTEGRATION_USER:  # its own writes are no triggers (rule 14)
            self.happenings.append(Happening(self.now, kind, record.id, other_id, frozenset(fields)))  # type: ignore[arg-type]

    def _index_record(self, record: SalesforceRecord) -> None:
        if record.email:
            self._records_by_email[record.email].add(record.id)

    def _unindex_record(self, record: SalesforceRecord) -> None:
        if record.email:
            self._records_by_email[record.email].discard(record.id)

    def _index_contact(self, contact: HubSpotContact) -> None:
        if contact.archived_at is None:
            if contact.email:
                self._contacts_by_email[contact.email].add(contact.id)
            for email in contact.additional_emails:
                self._contacts_by_additional_email[email].add(contact.id)
            if contact.bound_id:
                self._contacts_by_bound[contact.bound_id].add(contact.id)

    def _unindex_contact(self, contact: HubSpotContact) -> None:
        if contact.email:
            self._contacts_by_email[contact.email].discard(contact.id)
        for email in contact.additional_emails:
            self._contacts_by_additional_email[email].discard(contact.id)
        if contact.bound_id:
            self._contacts_by_bound[contact.bound_id].discard(contact.id)


def iso_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def field_value(world: World, record: SalesforceRecord, name: str) -> str | None:
    """A field of a record by its API name, Account.Name and OwnerId included."""
    if name == "Account.Name":
        return world.accounts.get(record.account_id or "")
    if name in ("OwnerId", "AccountId"):
        return record.owner_id if name == "OwnerId" else record.account_id
    return record.fields.get(world.fields.copies.get(f"{record.type}.{name}", name) if world.fields.copies else name)
