"""What people do, as data: a log of events that can be told in words, played, and played again.

An event names whom it is about: "r1" a Salesforce record, "c1" a HubSpot contact, both by the name that the log gave them when they were
created; "bound c1" the record that c1 is bound to at that moment, "rival c1" the oldest other live record with its e-mail, "any 3" the third
of all records with a name, counted round and round. An event that cannot happen (editing a record that is deleted) does not happen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

from sandbox.integration import catch_up, poll
from sandbox.portal import PortalSettings
from sandbox.rules import InvalidState
from sandbox.users import PERSON
from sandbox.world import HubSpotContact, SalesforceRecord, Tracking, World

LIST = "7"  # the inclusion list, where a portal has one


@dataclass(frozen=True)
class Event:
    """Something that somebody does at a moment. other, name, value: what the act needs (see ACTS)."""

    at: datetime
    act: str
    who: str
    other: str = ""
    name: str = ""
    value: str = ""


@dataclass
class Play:
    """A world in which a log is played: names given so far, the diary of what really happened, in words, and the Salesforce user who acts."""

    world: World
    settings: PortalSettings
    names: dict[str, str] = field(default_factory=dict)
    diary: list[str] = field(default_factory=list)
    by: str = PERSON

    def act(self, event: Event) -> None:
        """Lets the clock run to the event, with the polls that are due before, and plays it."""
        try:
            catch_up(self.world, self.settings, event.at)
        except InvalidState as error:
            self.diary.append(f"{self.world.now:%d %H:%M} the integration stops at two contacts bound to one record: {error}")
        words = ACTS[event.act](self, event)
        if words is not None:
            self.diary.append(f"{event.at:%d %H:%M} {words}")

    def record(self, reference: str) -> SalesforceRecord | None:
        kind, _, name = reference.rpartition(" ")
        if not kind:
            return self.world.records.get(self.names.get(name, ""))
        if kind == "any":
            named = [record_id for other, record_id in self.names.items() if other.startswith("r")]
            return self.world.records[named[int(name) % len(named)]] if named else None
        contact = self.contact(name)
        if contact is None:
            return None
        if kind == "bound":
            return self.world.records.get(contact.bound_id or "")
        rivals = [record for record in self.world.live_records(contact.email) if record.id != contact.bound_id and record.is_visible]
        return min(rivals, key=lambda record: (record.created_at, record.id), default=None)

    def told(self, record: SalesforceRecord) -> str:
        """A record as the diary tells of it."""
        name = next((name for name, record_id in self.names.items() if record_id == record.id), f"the {record.type} that the integration made")
        return f"{name} ({record.id})"

    def live_record(self, reference: str) -> SalesforceRecord | None:
        record = self.record(reference)
        return record if record is not None and record.is_live else None

    def contact(self, name: str) -> HubSpotContact | None:
        contact_id = self.names.get(name, "")
        return self.world.contacts.get(self.world.merged_contacts.get(contact_id, contact_id))

    def live_contact(self, name: str) -> HubSpotContact | None:
        contact = self.contact(name)
        return contact if contact is not None and contact.archived_at is None else None

    def email_is_free(self, email: str, contact: HubSpotContact | None = None) -> bool:
        """HubSpot lets no two contacts have one e-mail, primary or additional."""
        holders = (self.world.contact_with_email(email), self.world.contact_with_additional_email(email))
        return all(holder is None or holder is contact for holder in holders)


# ── the acts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _create_record(play: Play, event: Event) -> str | None:
    """who: its name, "r" for the next free one; other: Lead or Contact, "hidden" behind it where the integration user cannot see it;
    value: e-mail; name: its title."""
    who = f"r{len(play.names) + 1}" if event.who == "r" else event.who
    if who in play.names:
        return None
    object_type: Literal["Lead", "Contact"] = "Contact" if event.other.startswith("Contact") else "Lead"
    hidden = event.other.endswith("hidden")
    account_id = play.world.create_account("Acme") if object_type == "Contact" else None
    company = {"Company": "Acme"} if object_type == "Lead" else {}
    record = play.world.create_record(
        object_type,
        {"FirstName": "Ann", "LastName": who, "Email": event.value or None, "Title": event.name or None, **company},
        account_id=account_id, by=play.by, is_visible=not hidden,
    )  # fmt: skip
    play.names[who] = record.id
    where = ", which the integration user cannot see" if hidden else ""
    return f"{object_type} {who} ({record.id}) is created with e-mail {event.value!r} and title {event.name!r}{where}"


def _edit_record(play: Play, event: Event) -> str | None:
    """name: a field; value: what it becomes, "" empties it."""
    record = play.live_record(event.who)
    if record is None:
        return None
    play.world.edit_record(record, {event.name: event.value or None}, play.by)
    return f"{play.told(record)} is edited: {event.name} = {event.value!r}"


MASS_EDIT_MINUTES = 40


def _mass_edit(play: Play, event: Event) -> str | None:
    """One user edits very many records that contacts are bound to, within an hour. who: the user's id, "" a person; other: how many at most, "" all;
    name: a field; value: what it becomes. The edits end at the event.
    """
    world = play.world
    bound = sorted({contact.bound_id for contact in world.contacts.values() if contact.archived_at is None and contact.bound_id})
    records = [record for record_id in bound if (record := world.records.get(record_id)) is not None and record.is_live][: int(event.other or len(bound))]
    if not records:
        return None
    now, by = world.now, event.who or PERSON
    for place, record in enumerate(records):
        world.now = max(record.modified_at, now - timedelta(minutes=MASS_EDIT_MINUTES * (len(records) - 1 - place) / len(records)))
        world.edit_record(record, {event.name: event.value or None}, by)
    world.now = now
    return f"{by} edits {len(records)} bound records: {event.name} = {event.value!r}"


def _touch_record(play: Play, event: Event) -> str | None:
    record = play.live_record(event.who)
    if record is None:
        return None
    play.world.touch_record(record)
    return f"automation touches {play.told(record)}"


def _delete_record(play: Play, event: Event) -> str | None:
    record = play.live_record(event.who)
    if record is None:
        return None
    play.world.delete_record(record, play.by)
    return f"{play.told(record)} is deleted"


def _undelete_record(play: Play, event: Event) -> str | None:
    record = play.record(event.who)
    if record is None or not record.is_deleted:
        return None
    play.world.undelete_record(record, play.by)
    return f"{play.told(record)} is undeleted"


def _merge_records(play: Play, event: Event) -> str | None:
    """who: the master; other: the loser."""
    master, loser = play.live_record(event.who), play.live_record(event.other)
    if master is None or loser is None or master is loser or master.type != loser.type:
        return None
    play.world.merge_records(master, [loser], play.by)
    return f"{play.told(loser)} is merged into {play.told(master)}"


def _convert_lead(play: Play, event: Event) -> str | None:
    """other: an existing Contact, or nothing."""
    lead, into = play.live_record(event.who), play.live_record(event.other) if event.other else None
    if lead is None or lead.type != "Lead" or (event.other and (into is None or into.type != "Contact")):
        return None
    contact = play.world.convert_lead(lead, into, play.by)
    return f"{play.told(lead)} is converted into {play.told(into) if into else f'a new Contact ({contact.id})'}"


def _create_contact(play: Play, event: Event) -> str | None:
    """value: e-mail; name: its title."""
    if event.who in play.names or not play.email_is_free(event.value):
        return None
    contact = play.world.create_contact({"email": event.value, "jobtitle": event.name, "firstname": "Ann"}, "FORM")
    play.names[event.who] = contact.id
    return f"HubSpot contact {event.who} ({contact.id}) is created with e-mail {event.value!r} and title {event.name!r}"


def _find_contact(play: Play, event: Event) -> str | None:
    """Gives a name to the contact that the integration made for an e-mail."""
    contact = play.world.contact_with_email(event.value)
    if contact is None or event.who in play.names or contact.id in play.names.values():
        return None
    play.names[event.who] = contact.id
    return None


def _edit_contact(play: Play, event: Event) -> str | None:
    contact = play.live_contact(event.who)
    if contact is None or contact.value(event.name) == event.value:
        return None
    play.world.write(contact, {event.name: event.value}, "CRM_UI")
    return f"{event.who} ({contact.id}) is edited: {event.name} = {event.value!r}"


WRITERS = {"IMPORT": "an import", "CRM_UI": "somebody", "INTEGRATION": "an app"}  # who writes an id by hand, by HubSpot's name of the source


def _write_id(play: Play, event: Event) -> str | None:
    """other: the record whose id is written into the contact, by no integration; value: into which property; name: by whom, see WRITERS; "" an import."""
    contact, record = play.live_contact(event.who), play.record(event.other)
    if contact is None or record is None or record.converted_contact_id is not None:
        return None
    source = event.name or "IMPORT"
    play.world.write(contact, {event.value: record.id}, source)
    return f"{WRITERS[source]} writes {play.told(record)} into {event.value} of {event.who} ({contact.id})"


def _archive_contact(play: Play, event: Event) -> str | None:
    contact = play.live_contact(event.who)
    if contact is None:
        return None
    play.world.archive_contact(contact)
    return f"{event.who} ({contact.id}) is archived"


def _restore_contact(play: Play, event: Event) -> str | None:
    contact = play.contact(event.who)
    if contact is None or contact.archived_at is None or not all(play.email_is_free(e) for e in (contact.email, *contact.additional_emails) if e):
        return None
    play.world.restore_contact(contact, play.settings.restored_contact_binding == "previous")
    return f"{event.who} ({contact.id}) is restored"


def _merge_contacts(play: Play, event: Event) -> str | None:
    """who: the primary; other: the one merged into it."""
    primary, secondary = play.live_contact(event.who), play.live_contact(event.other)
    if primary is None or secondary is None or primary is secondary:
        return None
    merged = play.world.merge_contacts(primary, secondary)
    return f"{event.other} ({secondary.id}) is merged into {event.who} ({primary.id}), which becomes {merged.id}"


def _submit_form(play: Play, event: Event) -> str | None:
    """value: "" for the contact's first additional e-mail, else an e-mail that nobody has, sent from the same browser."""
    contact = play.live_contact(event.who)
    if contact is None:
        return None
    if not event.value:
        if not contact.additional_emails:
            return None
        email = contact.additional_emails[0]
        play.world.submit_form_with_additional_email(contact, email)
        return f"a form with the additional e-mail {email!r} makes it the primary one of {event.who} ({contact.id})"
    if not play.email_is_free(event.value):
        return None
    play.world.submit_form_in_same_browser(contact, event.value)
    return f"a form from the same browser overwrites the e-mail of {event.who} ({contact.id}) with {event.value!r}"


def _enter_list(play: Play, event: Event) -> str | None:
    contact = play.live_contact(event.who)
    if contact is None or contact.id in play.world.lists.get(LIST, []):
        return None
    play.world.enter_list(LIST, contact)
    return f"{event.who} ({contact.id}) enters the inclusion list"


def _leave_list(play: Play, event: Event) -> str | None:
    contact = play.live_contact(event.who)
    if contact is None or contact.id not in play.world.lists.get(LIST, []):
        return None
    play.world.leave_list(LIST, contact)
    return f"{event.who} ({contact.id}) leaves the inclusion list"


ACTS: dict[str, Callable[[Play, Event], str | None]] = {
    "create_record": _create_record, "edit_record": _edit_record, "mass_edit": _mass_edit, "touch_record": _touch_record, "delete_record": _delete_record,
    "undelete_record": _undelete_record, "merge_records": _merge_records, "convert_lead": _convert_lead, "create_contact": _create_contact,
    "find_contact": _find_contact, "edit_contact": _edit_contact, "write_id": _write_id, "archive_contact": _archive_contact,
    "restore_contact": _restore_contact, "merge_contacts": _merge_contacts, "submit_form": _submit_form, "enter_list": _enter_list,
    "leave_list": _leave_list,
}  # fmt: skip


# ── playing a whole log ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def play_log(events: Iterable[Event], settings: PortalSettings, first_number: int = 0, tracking: Tracking = "none") -> Play:
    """Plays a log from an empty world, in the order of its times, and ends with a poll."""
    log = sorted(events, key=lambda event: event.at)
    play = Play(World(log[0].at, first_number, tracking), settings)
    for event in log:
        play.act(event)
    try:
        poll(play.world, settings)
    except InvalidState as error:
        play.diary.append(f"two contacts are bound to one record: {error}")
    return play


def bindings(play: Play) -> dict[str, str | None]:
    """Which record each named contact is bound to: by the name that the log gave it, else by what it is (a record that the integration made)."""
    names = {record_id: name for name, record_id in play.names.items()}
    found = {}
    for name in play.names:
        contact = play.live_contact(name)
        if contact is not None:
            record = play.world.records.get(contact.bound_id or "")
            found[name] = None if record is None else names.get(record.id, f"a {record.type} made at {record.created_at:%d %H:%M}")
    return found


def is_order_sensitive(events: Sequence[Event], settings: PortalSettings) -> bool:
    """Would swapping two events of one time change who is bound to what? (rule 50)"""
    log = sorted(events, key=lambda event: event.at)
    expected = bindings(play_log(log, settings))
    for place, (first, second) in enumerate(pairwise(log)):
        if first.at == second.at:
            swapped = [*log[:place], second, first, *log[place + 2 :]]
            if bindings(play_log(swapped, settings)) != expected:
                return True
    return False
