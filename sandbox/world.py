"""The state of both CRMs, and what people can do to it. The integration reacts in integration.py; nothing here knows its rules.

Times are UTC and come from the clock of the world, never from this machine.
"""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

ObjectType = Literal["Lead", "Contact"]

# HubSpot property → Salesforce field of (Lead, Contact). The integration of the sandbox maps these, all "prefer Salesforce unless blank".
MAPPING: dict[str, tuple[str | None, str | None]] = {
    "firstname": ("FirstName", "FirstName"),
    "lastname": ("LastName", "LastName"),
    "phone": ("Phone", "Phone"),
    "mobilephone": ("MobilePhone", "MobilePhone"),
    "fax": ("Fax", "Fax"),
    "jobtitle": ("Title", "Title"),
    "company": ("Company", "Account.Name"),
    "address": ("Street", "MailingStreet"),
    "city": ("City", "MailingCity"),
    "state": ("State", "MailingState"),
    "zip": ("PostalCode", "MailingPostalCode"),
    "country": ("Country", "MailingCountry"),
    "website": ("Website", None),
    "hs_email_optout": ("HasOptedOutOfEmail", "HasOptedOutOfEmail"),
}

INTEGRATION_USER = "0055e000000Int1"
_WHITE = "\u200b\u200c\u200d\u2060\ufeff"


def normalise(email: str | None) -> str | None:
    """Rule 3: e-mails compare without case and surrounding white space."""
    text = unicodedata.normalize("NFC", email or "")
    while text and (text[0].isspace() or text[0] in _WHITE or text[-1].isspace() or text[-1] in _WHITE):
        text = text.strip().strip(_WHITE)
    text = text.lower()
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


@dataclass(slots=True)
class SalesforceRecord:
    id: str
    type: ObjectType
    fields: dict[str, str | None]
    created_at: datetime
    modified_at: datetime
    modified_by: str
    owner_id: str
    account_id: str | None = None
    is_deleted: bool = False
    master_id: str | None = None
    converted_contact_id: str | None = None

    @property
    def email(self) -> str | None:
        return normalise(self.fields.get("Email"))

    @property
    def is_live(self) -> bool:
        return not self.is_deleted and self.converted_contact_id is None


@dataclass(slots=True)
class HubSpotContact:
    id: str
    created_at: datetime
    modified_at: datetime
    history: dict[str, list[Version]] = field(default_factory=dict)  # oldest first
    archived_at: datetime | None = None
    merged_ids: list[str] = field(default_factory=list)

    def value(self, name: str) -> str:
        versions = self.history.get(name)
        return versions[-1].value if versions else ""

    @property
    def email(self) -> str | None:
        return normalise(self.value("email"))

    @property
    def bound_id(self) -> str | None:
        """The Contact id wins, as HubSpot has always written only one of the two here."""
        return self.value("salesforcecontactid") or self.value("salesforceleadid") or None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something in Salesforce that the integration will hear of at its next poll."""

    at: datetime
    kind: Literal["created", "updated", "deleted", "merged", "converted", "undeleted"]
    record_id: str
    other_id: str | None = None  # the winner of a merge, the Contact of a conversion


class World:
    """Both CRMs at one moment of the world's clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.records: dict[str, SalesforceRecord] = {}
        self.contacts: dict[str, HubSpotContact] = {}
        self.accounts: dict[str, str] = {}
        self.happenings: list[Happening] = []
        self.hubspot_touched: set[str] = set()
        self.merged_contacts: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}  # HubSpot lists: contact ids by list id
        self._records_by_email: defaultdict[str, set[str]] = defaultdict(set)
        self._contacts_by_email: defaultdict[str, set[str]] = defaultdict(set)
        self._contacts_by_bound: defaultdict[str, set[str]] = defaultdict(set)
        self._counter = 0

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def candidates(self, email: str | None) -> list[SalesforceRecord]:
        """C(e): live records with that e-mail."""
        if email is None:
            return []
        return [record for record_id in sorted(self._records_by_email[email]) if (record := self.records[record_id]).is_live]

    def contact_with_email(self, email: str | None) -> HubSpotContact | None:
        found = sorted(self._contacts_by_email[email], key=int) if email else []
        return self.contacts[found[0]] if found else None

    def contacts_bound_to(self, record_id: str) -> list[HubSpotContact]:
        return [self.contacts[contact_id] for contact_id in sorted(self._contacts_by_bound[record_id], key=int)]

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
        by: str = "0055e000000Usr1",
    ) -> SalesforceRecord:
        record = SalesforceRecord(
            self._salesforce_id("00Q" if object_type == "Lead" else "003"), object_type, dict(fields), self.now, self.now, by, owner_id, account_id
        )
        self.records[record.id] = record
        self._index_record(record)
        self._tell("created", record, by)
        return record

    def edit_record(self, record: SalesforceRecord, fields: dict[str, str | None], by: str = "0055e000000Usr1") -> None:
        self._unindex_record(record)
        record.fields.update(fields)
        self._index_record(record)
        self._stamp(record, by)
        self._tell("updated", record, by)

    def delete_record(self, record: SalesforceRecord, by: str = "0055e000000Usr1") -> None:
        record.is_deleted = True
        self._stamp(record, by)
        self._tell("deleted", record, by)

    def undelete_record(self, record: SalesforceRecord, by: str = "0055e000000Usr1") -> None:
        record.is_deleted, record.master_id = False, None
        self._stamp(record, by)
        self._tell("undeleted", record, by)

    def merge_records(self, master: SalesforceRecord, loser: SalesforceRecord, by: str = "0055e000000Usr1") -> None:
        """One merge fires a delete of the loser and an update of the winner."""
        if master.type != loser.type or master is loser:
            raise ValueError("Salesforce merges two different records of one object only")
        loser.is_deleted, loser.master_id = True, master.id
        self._stamp(loser, by)
        for name, value in loser.fields.items():
            if not master.fields.get(name):
                master.fields[name] = value
        self._stamp(master, by)
        self._tell("merged", loser, by, master.id)

    def convert_lead(self, lead: SalesforceRecord, into: SalesforceRecord | None = None, by: str = "0055e000000Usr1") -> SalesforceRecord:
        """Converts a Lead into a new Contact, or into an existing one, of which only blank fields are filled."""
        fields = {
            contact_field: lead.fields.get(lead_field)
            for lead_field, contact_field in MAPPING.values()
            if lead_field and contact_field and "." not in contact_field
        }
        fields["Email"] = lead.fields.get("Email")
        if into is None:
            account_id = self.create_account(lead.fields.get("Company") or "Unknown")
            into = self.create_record("Contact", fields, owner_id=lead.owner_id, account_id=account_id, by=by)
            self.happenings = [happening for happening in self.happenings if happening.record_id != into.id]
        else:
            for name, value in fields.items():
                if not into.fields.get(name):
                    into.fields[name] = value
            self._stamp(into, by)
        lead.converted_contact_id = into.id
        self._stamp(lead, by)
        self._tell("converted", lead, by, into.id)
        return into

    # ── HubSpot ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_contact(self, properties: dict[str, str], source: str) -> HubSpotContact:
        contact = HubSpotContact(str(100 + self._next() * 7), self.now, self.now)
        self.contacts[contact.id] = contact
        self.write(contact, {**properties, "createdate": _iso(self.now)}, source)
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
            self.hubspot_touched.add(contact.id)

    def archive_contact(self, contact: HubSpotContact) -> None:
        self._unindex_contact(contact)
        contact.archived_at = contact.modified_at = self.now

    def restore_contact(self, contact: HubSpotContact) -> None:
        contact.archived_at = None
        contact.modified_at = self.now
        self._index_contact(contact)

    def merge_contacts(self, primary: HubSpotContact, secondary: HubSpotContact) -> HubSpotContact:
        """Rules 41 and 42: a new id; the primary's values win, the secondary's fill blanks; its e-mail becomes an additional one."""
        merged = HubSpotContact(str(100 + self._next() * 7), self.now, self.now)
        for contact in (primary, secondary):
            self._unindex_contact(contact)
        names = {**primary.history, **secondary.history}
        for name in names:
            value = primary.value(name) or secondary.value(name)
            if value:
                merged.history[name] = [*primary.history.get(name, [])] or []
                if not merged.history[name] or merged.history[name][-1].value != value:
                    merged.history[name].append(Version(value, self.now, "MERGE_CONTACTS"))
        additional = [part for part in (*primary.value("hs_additional_emails").split(";"), secondary.value("email")) if part]
        merged.history["hs_additional_emails"] = [Version(";".join(dict.fromkeys(additional)), self.now, "MERGE_CONTACTS")]
        merged.merged_ids = [*primary.merged_ids, *secondary.merged_ids, primary.id, secondary.id]
        for contact in (primary, secondary):
            del self.contacts[contact.id]
            self.hubspot_touched.discard(contact.id)
        for old in merged.merged_ids:
            self.merged_contacts[old] = merged.id
        self.contacts[merged.id] = merged
        self._index_contact(merged)
        return merged

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> int:
        self._counter += 1
        return self._counter

    def _salesforce_id(self, prefix: str) -> str:
        # spread over the alphabet, so that ids hold capitals and are not in order of creation
        return id18(prefix + "5e0000" + _base62(self._next() * 7_368_787 % 62**6, 6))

    def _stamp(self, record: SalesforceRecord, by: str) -> None:
        record.modified_at, record.modified_by = self.now, by

    def _tell(self, kind: str, record: SalesforceRecord, by: str, other_id: str | None = None) -> None:
        if by != INTEGRATION_USER:  # rule 14: its own writes are no triggers
            self.happenings.append(Happening(self.now, kind, record.id, other_id))  # type: ignore[arg-type]

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
            if contact.bound_id:
                self._contacts_by_bound[contact.bound_id].add(contact.id)

    def _unindex_contact(self, contact: HubSpotContact) -> None:
        if contact.email:
            self._contacts_by_email[contact.email].discard(contact.id)
        if contact.bound_id:
            self._contacts_by_bound[contact.bound_id].discard(contact.id)


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def field_value(world: World, record: SalesforceRecord, name: str) -> str | None:
    """A field of a record by its API name, Account.Name included."""
    if name == "Account.Name":
        return world.accounts.get(record.account_id or "")
    return record.fields.get(name)
