"""Portals that have grown over years, with hidden settings: what happened in them, and the truth about them, which no client can read.

A portal is set up by a file (sandbox/portals/): how large it is, what kind of integration keeps it, the knobs. Everything else follows from the seed.
"""

import random
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from sandbox.fields import trim_text
from sandbox.grown_fields import COMPUTED, Catalogue, Decoy, Mapped, make_catalogue
from sandbox.people import Person, make_people
from sandbox.portal import OPT_OUT, OWNER, PortalSettings
from sandbox.story import Story
from sandbox.users import INTEGRATION_USER, OWNERS, PERSON
from sandbox.world import HubSpotContact, ObjectType, SalesforceRecord, Tracking, Version, field_value, id18, iso_text, normalise

PORTALS = Path(__file__).parent / "portals"
Kind = Literal["native", "middleware", "none"]
_NOBODY = "0"  # an inclusion list without members: nothing syncs
_APP = "2817743"
_DAYS = 700
# What HubSpot tells of a version besides its source.
_SOURCES: dict[str, dict[str, object]] = {
    "SALESFORCE": {"sourceLabel": None}, "CRM_UI": {"sourceId": "userId:11", "sourceLabel": "Olga Owner", "updatedByUserId": 11},
    "FORM": {"sourceId": "5b0d7a52-8f0e-4a3a-9d3e-6a1f0c2b7d11", "sourceLabel": "Contact us"}, "IMPORT": {"sourceId": "61723", "sourceLabel": "old crm.csv"},
    "WORKFLOWS": {"sourceId": "enrollmentId:880021;actionExecutionIndex:0"}, "CALCULATED": {"sourceId": "CalculatedPropertyComputer"},
    "INTEGRATION": {"sourceId": "1120442", "sourceLabel": "An app that enriches contacts"},
}  # fmt: skip


# Objects that tell which app logs in as whom, in an org that shows them.
_APP_OBJECTS = {
    "OauthToken": {"Id": "id", "AppName": "string", "UserId": "reference", "LastUsedDate": "datetime", "UseCount": "int"},
    "PermissionSetAssignment": {"Id": "id", "AssigneeId": "reference", "PermissionSet.Name": "string", "PermissionSet.Label": "string"},
}


@dataclass(frozen=True)
class Setup:
    """The section [portal] of a portal's file; sandbox/portals/large.toml says what each line means."""

    kind: Kind = "native"
    contacts: int = 2000
    mappings: int = 142
    properties: int = 260
    filled: float = 0.6
    decoys: int = 24
    edits: int = 24
    cases: int = 16
    formerly_mapped: int = 0
    shared_login: bool = False
    shows_apps: bool = False
    rules: Mapping[str, int] = field(default_factory=lambda: {"prefer_salesforce": 62, "two_way": 20, "always_salesforce": 14, "none": 4})


@dataclass(frozen=True)
class Truth:
    """How a portal is set up. mappings: without those whose rule is none, nobody can tell them from properties that are not mapped: those are `asleep`.
    knobs: every key of [policy] that data can show, integration_user_id with 18 characters; None where there is no native integration.
    """

    kind: Kind
    mappings: list[Mapped]
    asleep: list[Mapped]
    decoys: list[Decoy]
    knobs: dict[str, Any]
    candidate_lists: list[str]

    def as_policy(self) -> str:
        """The bindwatch.toml that fits the portal."""
        lines = ["[policy]", "mapping_defaults = false"]
        lines += [f"{name} = {_toml(value)}" for name, value in self.knobs.items() if value is not None]
        for mapped in (*self.mappings, *self.asleep):
            same = mapped.lead == mapped.contact
            names = {name: value for name, value in (("lead", mapped.lead), ("contact", mapped.contact)) if value}
            lines += ["", "[[mapping]]", f"hubspot = {_toml(mapped.hubspot)}", f"salesforce = {_toml(mapped.lead if same else names)}"]
            lines += [f"rule = {_toml(mapped.rule)}"] if mapped.rule else []
            lines += [f"consent = {_toml(mapped.consent)}"] if mapped.consent else []
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(part)}' for name, part in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"'


def names_of_portals() -> list[str]:
    return sorted(path.stem for path in PORTALS.glob("*.toml"))


def open_portal(name_or_file: str, seed: int, until: datetime, tracking: Tracking = "none", **changes: Any) -> "GrownStory":
    """A portal by its name, or by a file like those in sandbox/portals/. changes: of its settings and knobs, as contacts=300 or follow_up="sticky".

    Raises ValueError for an unknown name, setting or knob.
    """
    path = Path(name_or_file)
    if not path.is_file():
        path = PORTALS / f"{name_or_file}.toml"
    if not path.is_file():
        raise ValueError(f"there is no portal {name_or_file!r}; there are {', '.join(names_of_portals())}, or a file like those in sandbox/portals")
    read = tomllib.loads(path.read_text("utf-8-sig"))
    known, knobs = {entry.name for entry in fields(Setup)}, {entry.name for entry in fields(PortalSettings)}
    setup = {**read.get("portal", {}), **{name: value for name, value in changes.items() if name in known}}
    policy = {**read.get("policy", {}), **{name: value for name, value in changes.items() if name not in known}}
    if unknown := sorted({*setup} - known) or sorted({*policy} - knobs):
        raise ValueError(f"a portal has no setting {unknown[0]!r}; [portal] has {', '.join(sorted(known))}; [policy] has the knobs of sandbox/portal.py")
    return GrownStory(Setup(**setup), seed, until, policy, read.get("mapping", []), tracking)


class GrownStory(Story):
    """The past of such a portal, and days that pass."""

    def __init__(
        self, setup: Setup, seed: int, until: datetime, policy: Mapping[str, Any], written: list[Mapping[str, Any]],
        tracking: Tracking = "none",
    ) -> None:  # fmt: skip
        self.setup = setup
        self.catalogue: Catalogue = make_catalogue(seed, setup.mappings, setup.properties, setup.decoys, setup.rules, written, former=setup.formerly_mapped)
        rules = {mapped.hubspot: mapped.rule for mapped in self.catalogue.mapped if mapped.rule is not None}
        knobs = PortalSettings(**policy, field_rules=rules)
        if setup.kind == "none":
            knobs = replace(knobs, inclusion_list_id=_NOBODY, salesforce_creates="none", create_object="none")
        self.values = random.Random(f"{seed} values")
        self.writable = {
            name: [(mapped.hubspot, at) for mapped in self.catalogue.mapped if (at := mapped.lead if name == "Lead" else mapped.contact) and mapped.rule]
            for name in ("Lead", "Contact")
        }  # fmt: skip
        self.due: dict[tuple[str, bool], int] = {
            (mapped.hubspot, is_blank): setup.edits for mapped in self.catalogue.mapped for is_blank in (False, True)
            if mapped.rule is not None and mapped.hubspot not in (OWNER, OPT_OUT, "firstname", "lastname")
        }  # fmt: skip
        self.edited = {name for name, _ in self.due}
        self.met, self.members = 0, set[str]()  # contacts that were looked at whether they belong into the inclusion list, and those that are in it
        self.returning: list[Person] = []
        self.opted_out: list[SalesforceRecord] = []
        self.quiet: set[str] = set()  # e-mails of people whom nobody edits any more: what was done to them can still be seen
        people = make_people(setup.contacts, seed, until)
        fields = self.catalogue.fields
        if setup.shows_apps:
            fields = replace(fields, types={**fields.types, **_APP_OBJECTS})
        super().__init__(people, seed, until, knobs, tracking, fields)

    # ── the past ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _tell_past(self, people: list[Person], until: datetime) -> None:
        world, setup, dice = self.world, self.setup, self.dice
        world.sources = dict(_SOURCES)
        if setup.kind == "middleware":
            world.sources["SALESFORCE"] = {"sourceType": "INTEGRATION", "sourceId": _APP, "sourceLabel": "A middleware"}
        if self.settings.inclusion_list_id and setup.kind != "none":
            world.lists[self.settings.inclusion_list_id] = []
        middle = until - timedelta(days=330)  # people are met in the first half, worked with in the second
        plan: list[tuple[datetime, int, Callable[[], object]]] = []

        def note(start: datetime, days: float, act: Callable[[], object]) -> None:
            plan.append(((start + timedelta(days=dice.uniform(0, days))).replace(microsecond=0), len(plan), act))

        for person in people:
            plan.append((person.first_seen - timedelta(days=30) if person.first_seen > middle else person.first_seen, len(plan), self._meeting(person)))
        if setup.kind != "none":
            for _ in range(setup.contacts // 6):
                note(middle, 120, self._somebody_edits_salesforce)
            for _ in range(max(1, setup.edits * setup.mappings // 4) if setup.edits else 0):
                note(until - timedelta(days=200), 190, self._somebody_edits_hubspot)
            for number in range(setup.cases):
                acts: list[Callable[[int], None]] = [
                    self._knows_two_records, self._jumps, self._automation_touches, self._opts_out, self._other_address,
                ]  # fmt: skip
                for told_by in acts:
                    note(until - timedelta(days=180), 20, partial(told_by, number))
                for object_type in ("Lead", "Contact"):
                    note(until - timedelta(days=60), 50, partial(self._record_is_deleted, object_type))
            for number in range(setup.cases):
                note(until - timedelta(days=120), 20, partial(self._opts_in_again, number))
                note(until - timedelta(days=120), 40, partial(self._returns, number))
        for moment, _, act in sorted(plan, key=lambda entry: entry[:2]):
            if moment < until:
                self._let_time_pass_until(moment)
                act()
        self._let_time_pass_until(until)
        self._leave_noise(until)
        world.happenings.clear()
        self._show_who_works_here()

    def _meeting(self, person: Person) -> Callable[[], object]:
        chance = self.dice.random()
        if self.setup.kind == "none":
            return lambda: self._enter_both(person, "IMPORT")
        if chance < 0.12:
            return lambda: self._enter_hubspot(person, "FORM")
        if chance < 0.3:  # both know the person before the integration does
            return lambda: self._enter_both(person, "FORM")
        return lambda: self._enter_salesforce(person, self._some_object())

    def _enter_both(self, person: Person, source: str) -> None:
        self._enter_salesforce(person, self._some_object())
        self._enter_hubspot(person, source)

    def _some_object(self) -> ObjectType:
        return "Lead" if self.values.random() < 0.55 else "Contact"

    def _enter_salesforce(self, person: Person, object_type: ObjectType, **changes: str | None) -> SalesforceRecord:
        values, share = self.values, self.setup.filled
        held: dict[str, str | None] = {"FirstName": person.first_name, "LastName": person.last_name, "Email": person.email}
        if object_type == "Lead":
            held["Company"] = person.company
        for name, make in self.catalogue.values.items():
            at, _, at_field = name.partition(".")
            if at == object_type and at_field not in held and (values.random() < share or self.world.fields.types[at].get(at_field) == "boolean"):
                held[at_field] = make(values)
        self._fill_twins(object_type, held)
        account = self.world.create_account(person.company) if object_type == "Contact" else None
        return self.world.create_record(object_type, held | changes, owner_id=id18(values.choice(OWNERS)), account_id=account)

    def _fill_twins(self, object_type: str, held: dict[str, str | None]) -> None:
        """Fields of Salesforce that nobody maps and that equal another one in most rows."""
        for decoy in self.catalogue.decoys:
            of = decoy.name.removesuffix("_Legacy__c") + "__c"
            if decoy.kind == "twin" and held.get(of):
                is_equal = self.values.random() < 0.94
                held[decoy.name] = held[of] if is_equal else self.catalogue.values[f"{object_type}.{of}"](self.values)

    def _enter_hubspot(self, person: Person, source: str) -> None:
        """A contact whose values were typed in HubSpot."""
        if self.world.contact_with_email(normalise(person.email)) is not None:
            return
        properties = {"firstname": person.first_name, "lastname": person.last_name, "email": person.email}
        for name, at in self.writable["Lead"]:
            if name in self.edited and self.values.random() < self.setup.filled * 0.5:
                properties[name] = self._value_of(name, "Lead", at)
        self.world.create_contact(properties, source)

    def _value_of(self, name: str, object_type: str, at: str) -> str:
        """A value as people type it in HubSpot."""
        make = self.catalogue.values.get(f"{object_type}.{at}")
        return self.world.fields.as_hubspot(name, make(self.values)) if make else f"typed {self.values.randrange(10**6)}"

    def _let_time_pass_until(self, moment: datetime) -> None:
        super()._let_time_pass_until(moment)
        if (list_id := self.settings.inclusion_list_id) and list_id != _NOBODY:
            met = len(self.world.contacts)
            for contact in list(islice(self.world.contacts.values(), self.met, None)):
                if contact.email and self.values.random() < 0.85:
                    self._enter_list(contact)
            self.met = met

    def _enter_list(self, contact: HubSpotContact) -> None:
        self.world.enter_list(self.settings.inclusion_list_id or "", contact)
        self.members.add(contact.id)

    # ── people at work ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _free_pair(self, object_type: str | None = None, is_alone: bool = True) -> tuple[HubSpotContact, SalesforceRecord] | None:
        """A contact that syncs, and the live record that it is bound to; nobody of whom something else is shown."""
        ids = list(self.world.contacts)
        list_id = self.settings.inclusion_list_id
        for _ in range(60):
            contact = self.world.contacts[self.dice.choice(ids)] if ids else None
            record = self.world.records.get(contact.bound_id or "") if contact else None
            if contact is None or record is None or not record.is_live or contact.archived_at is not None or contact.email in self.quiet:
                continue
            is_alone_here = len(self.world.live_records(contact.email)) == 1 and record.email == contact.email
            inside = list_id is None or contact.id in self.members
            if inside and (not is_alone or is_alone_here) and (object_type is None or record.type == object_type):
                return contact, record
        return None

    def _somebody_edits_salesforce(self) -> None:
        """A record is edited: some fields change, now and then one is emptied."""
        if found := self._free_pair():
            _, record = found
            edited: dict[str, str | None] = {}
            for _, at in self.dice.sample(self.writable[record.type], 4):
                if make := self.catalogue.values.get(f"{record.type}.{at}"):
                    is_box = self.world.fields.types[record.type].get(at) == "boolean"
                    edited[at] = None if self.dice.random() < 0.2 and not is_box and "." not in at else make(self.values)
            self.world.edit_record(record, edited)

    def _somebody_edits_hubspot(self) -> None:
        """Somebody types into a contact, whatever the rule of the field: the next sync takes it over, or sets it back."""
        found = self._free_pair()
        if found is None:
            return
        contact, record = found
        typed: dict[str, str] = {}
        places = list(self.writable[record.type])
        self.dice.shuffle(places)
        for name, at in places:
            theirs = field_value(self.world, record, at)
            is_blank = not trim_text(theirs)
            if self.due.get((name, is_blank), 0) > 0 and len(typed) < 8:
                value = self._value_of(name, record.type, at)
                if self.world.fields.types[record.type].get(at) == "boolean":
                    value = "false" if theirs == "true" else "true"
                if value != contact.value(name):
                    typed[name] = value
                    self.due[name, is_blank] -= 1
        if typed:
            self.world.write(contact, typed, self.dice.choice(("CRM_UI", "CRM_UI", "FORM", "WORKFLOWS")))

    # ── what the knobs are told by ───────────────────────────────────────────────────────────────────────────────────────────────

    def _keep_quiet(self, contact: HubSpotContact) -> None:
        if contact.email:
            self.quiet.add(contact.email)

    def _person_of(self, record: SalesforceRecord, email: str | None = None) -> Person:
        first, last = record.fields.get("FirstName") or "", record.fields.get("LastName") or ""
        return Person(first, last, email or record.fields["Email"] or "", self.world.now, self.world.now, "Entered again")

    def _knows_two_records(self, _number: int) -> None:
        """Somebody who will be forgotten by HubSpot and come back: an older Lead, a newer Contact."""
        if found := self._free_pair("Lead"):
            contact, record = found
            self._keep_quiet(contact)
            self.world.archive_contact(contact)
            self._enter_salesforce(self._person_of(record), "Contact")
            self._let_nobody_hear_of(record.email)
            self.returning.append(self._person_of(record))

    def _let_nobody_hear_of(self, email: str | None) -> None:
        """The integration does not make a contact of a record that was entered just now."""
        gone = {record.id for record in self.world.records_with_email(email)}
        self.world.happenings = [happening for happening in self.world.happenings if happening.id not in gone]

    def _returns(self, number: int) -> None:
        """A form brings the person back: a first sync, with two records to choose from."""
        if number < len(self.returning) and self.world.contact_with_email(normalise(self.returning[number].email)) is None:
            person = self.returning[number]
            contact = self.world.create_contact({"firstname": person.first_name, "lastname": person.last_name, "email": person.email}, "FORM")
            if self.settings.inclusion_list_id:
                self._enter_list(contact)

    def _jumps(self, number: int) -> None:
        """The person is entered again, and the new record is worked with: the binding jumps to it, or stays."""
        if found := self._free_pair("Lead" if number % 2 else "Contact"):
            contact, record = found
            self._keep_quiet(contact)
            kept, types = {"FirstName", "LastName", "Email", "Company", "OwnerId"}, self.world.fields.types[record.type]
            blank = {at: None for _, at in self.writable[record.type][number % 3 :: 3] if at not in kept and types.get(at) != "boolean"}
            self._enter_salesforce(self._person_of(record), record.type, **blank)

    def _automation_touches(self, number: int) -> None:
        """A person is entered twice with the same values, and the record that nobody is bound to is rewritten by automation: only SystemModstamp moves.
        Nothing is carried over, so that nothing moves the stamps afterwards."""
        if found := self._free_pair("Lead" if number % 2 else "Contact"):
            contact, record = found
            self._keep_quiet(contact)
            self.world.create_record(record.type, dict(record.fields), owner_id=record.owner_id, account_id=record.account_id)
            self._let_time_pass_until(self.world.now + timedelta(hours=1))
            rivals = [other for other in self.world.live_records(contact.email) if other.id != contact.bound_id]
            if rivals:
                self.world.touch_record(rivals[0])
                self._let_time_pass_until(self.world.now + timedelta(hours=1))

    def _opts_out(self, _number: int) -> None:
        if found := self._free_pair():
            contact, record = found
            self._keep_quiet(contact)
            self.world.edit_record(record, {"HasOptedOutOfEmail": "true"})
            self.opted_out.append(record)

    def _opts_in_again(self, number: int) -> None:
        """The tick in Salesforce is taken back; HubSpot follows, or does not."""
        if number < len(self.opted_out) and number % 4 != 3 and self.opted_out[number].is_live:
            self.world.edit_record(self.opted_out[number], {"HasOptedOutOfEmail": "false"})

    def _other_address(self, number: int) -> None:
        """A contact has two addresses, and a record is entered for the other one."""
        if found := self._free_pair():
            contact, record = found
            self._keep_quiet(contact)
            other = f"private.{number}.{contact.email}"
            self.world.write(contact, {"hs_additional_emails": other}, "MERGE_CONTACTS")
            self._let_time_pass_until(self.world.now + timedelta(hours=1))
            self._enter_salesforce(self._person_of(record, other), record.type)
            self._let_time_pass_until(self.world.now + timedelta(hours=1))

    def _record_is_deleted(self, object_type: str) -> None:
        if found := self._free_pair(object_type):
            contact, record = found
            self._keep_quiet(contact)
            self.world.delete_record(record)

    # ── noise ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _leave_noise(self, until: datetime) -> None:
        """Values of properties that nobody maps, copies of those that somebody does, and lists."""
        values, world = random.Random(f"{self.seed} noise"), self.world
        imported, computed = until - timedelta(days=40), until - timedelta(days=2)
        asleep = [mapped for mapped in self.catalogue.mapped if mapped.rule == "none"]
        own = [(name, values.uniform(0, 0.6), values.choice(("CRM_UI", "IMPORT", "FORM", "WORKFLOWS", "INTEGRATION"))) for name in self.catalogue.unmapped]
        for contact in list(world.contacts.values()):
            written: list[tuple[str, str, str, datetime]] = []
            for decoy in self.catalogue.decoys:
                if decoy.kind == "import" and contact.created_at < imported:
                    written.append((decoy.name, contact.value(decoy.of), "IMPORT", imported))
                elif decoy.kind == "calculated":
                    written.append((decoy.name, contact.value(decoy.of), "CALCULATED", computed))
                elif decoy.kind == "former" and contact.bound_id and contact.created_at < until - timedelta(days=400) and values.random() < 0.8:
                    record = world.records.get(contact.bound_id)
                    written.append((decoy.name, f"old {values.randrange(300)}", "SALESFORCE", contact.created_at + timedelta(seconds=1)))
                    if record is not None:
                        record.fields[decoy.of] = contact.value(decoy.name) if values.random() < 0.3 else f"new {values.randrange(300)}"
            for mapped in asleep:
                at = mapped.lead or mapped.contact or ""
                if values.random() < self.setup.filled:
                    made = self.catalogue.values[f"{'Lead' if mapped.lead else 'Contact'}.{at}"](values)
                    written.append((mapped.hubspot, world.fields.as_hubspot(mapped.hubspot, made), "IMPORT", imported))
            for name, share, source in own:
                if values.random() < share * self.setup.filled:
                    written.append((name, self._own_value(name, values), source, until - timedelta(days=values.uniform(1, 300))))
            written += [(name, str(values.randrange(40)), "ANALYTICS", computed) for name in COMPUTED]
            if contact.bound_id and self.setup.kind == "native" and (owner := contact.value(OWNER)):
                written.append(("salesforceownername", world.users[owner[:15]].name, "SALESFORCE", contact.bound_since or imported))
            if self.setup.kind == "middleware":  # HubSpot's own integration alone writes these
                contact.history.pop("salesforcelastsynctime", None)
                contact.history.pop("salesforcedeleted", None)
            for name, value, source, earliest in written:
                if value:
                    moment = max(earliest, contact.created_at)
                    contact.history.setdefault(name, []).append(Version(value, moment, source))
                    contact.modified_at = max(contact.modified_at, moment)
        live = [contact.id for contact in world.contacts.values() if contact.archived_at is None]
        world.lists["12"] = values.sample(live, len(live) // 3)
        world.lists["18"] = [contact_id for contact_id in live if values.random() < 0.9]
        world.list_names = {"12": "Newsletter", "18": "All with a phone"} | dict.fromkeys([self.settings.inclusion_list_id or "12"], "Qualified people")

    def _own_value(self, name: str, values: random.Random) -> str:
        described = self.world.fields.properties[name]
        options: Any = described.get("options") or []
        if options:
            return str(values.choice(options)["value"])
        match described["type"]:
            case "bool":
                return values.choice(("true", "false"))
            case "number":
                return str(values.randrange(1, 500))
            case "date":
                return f"{self.world.now - timedelta(days=values.randrange(900)):%Y-%m-%d}"
            case "datetime":
                return iso_text(self.world.now - timedelta(days=values.randrange(900)))
        return f"{values.choice(('alpha', 'beta', 'gamma', 'delta'))} {values.randrange(150)}"

    def _show_who_works_here(self) -> None:
        """The integration's user has another id and name in each portal; where the login is shared, a person is shown as the same user."""
        self.integration_user = f"0055e000000{random.Random(f'{self.seed} user').randrange(1000, 9999)}"
        self.world.shown_ids = {INTEGRATION_USER: self.integration_user}
        if self.setup.shared_login:
            self.world.shown_ids[PERSON] = self.integration_user
        user, used = id18(self.integration_user), iso_text(self.world.now)
        self.world.tables = {
            "OauthToken": [{"Id": id18("0CQ5e0000000Tk1"), "AppName": "HubSpot", "UserId": user, "LastUsedDate": used, "UseCount": "81234"}],
            "PermissionSetAssignment": [
                {"Id": id18("0Pa5e0000000Ps1"), "AssigneeId": user, "PermissionSet.Name": "HubSpot_Integration", "PermissionSet.Label": "HubSpot Integration"}
            ],
        }  # fmt: skip

    # ── the truth ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def truth(self) -> Truth:
        """How this portal is set up. Mappings carry the number of bound pairs that tell of them now."""
        pairs = [
            (contact, record) for contact in self.world.contacts.values()
            if contact.archived_at is None and (record := self.world.records.get(contact.bound_id or "")) is not None and not record.is_deleted
        ]  # fmt: skip

        def counted(mapped: Mapped) -> Mapped:
            places = {"Lead": mapped.lead, "Contact": mapped.contact}
            both = (bool(contact.value(mapped.hubspot) and (at := places[record.type]) and field_value(self.world, record, at)) for contact, record in pairs)
            return replace(mapped, pairs=sum(both))

        is_native = self.setup.kind == "native"
        mappings = [counted(mapped) for mapped in self.catalogue.mapped] if is_native else []
        s = self.settings
        knobs: dict[str, Any] = {
            "first_sync": s.first_sync, "follow_up": s.follow_up, "recency": s.recency, "integration_user_id": id18(self.integration_user),
            "create_object": s.create_object, "on_lead_deleted": s.on_lead_deleted, "on_contact_deleted": s.on_contact_deleted,
            "secondary_email_matches": s.secondary_email_matches, "blank_on_switch": s.blank_on_switch, "opt_out": s.opt_out,
            "inclusion_list_id": s.inclusion_list_id,
        }  # fmt: skip
        return Truth(
            self.setup.kind, [mapped for mapped in mappings if mapped.rule != "none"], [mapped for mapped in mappings if mapped.rule == "none"],
            self.catalogue.decoys, knobs if is_native else dict.fromkeys(knobs), sorted(self.world.lists, key=int),
        )  # fmt: skip
