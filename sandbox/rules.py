"""The native integration, rule by rule. Each function carries out the rule that is marked on it; docs/integration.md says what is known of it.

A function gets the world and the portal's settings, decides, and changes the world where its rule says so. Where the sources leave the
outcome open, it asks the world to choose, so that every outcome can be played.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sandbox.fields import said, trim_text
from sandbox.portal import OPT_OUT, OWNER, PortalSettings
from sandbox.rulebook import rule
from sandbox.users import INTEGRATION_USER
from sandbox.world import Happening, HubSpotContact, ObjectType, SalesforceRecord, Stamps, Switch, World, field_value, iso_text, normalise

POLL = timedelta(minutes=15)
PROMPT = timedelta(minutes=1)


class InvalidState(Exception):
    """Two live HubSpot contacts are bound to one Salesforce record. The integration has no rule for that, so none is made up."""


# ── who may sync ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(1)
def may_sync(contact: HubSpotContact) -> bool:
    """A contact without an e-mail does not sync: it is never bound, nothing is created for it."""
    return contact.email is not None


@rule(2)
def reaches_hubspot(world: World, record: SalesforceRecord) -> bool:
    """A record without an e-mail that nobody is bound to changes nothing in HubSpot."""
    return record.email is not None or bool(world.contacts_bound_to(record.id))


@rule(21)
def is_in_segment(world: World, settings: PortalSettings, contact: HubSpotContact) -> bool:
    """Outside the inclusion list nothing flows, in neither direction. Entering the list is a trigger."""
    return settings.inclusion_list_id is None or contact.id in world.lists.get(settings.inclusion_list_id, [])


@rule(22)
def wins_race(world: World, contact: HubSpotContact) -> bool:
    """An update and the exit from the list within one poll: it may sync once more, or not."""
    return world.choose(22, contact.id, [("not synced", False), ("synced once more", True)])


# ── which records match ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(4)
def matching_emails(settings: PortalSettings, contact: HubSpotContact) -> list[str]:
    """Only e-mails decide, never names: the primary one, and the additional ones where the portal matches them."""
    additional = contact.additional_emails if settings.secondary_email_matches else []
    return [email for email in dict.fromkeys((contact.email, *additional)) if email is not None]


@rule(18)
def is_eligible(settings: PortalSettings, record: SalesforceRecord) -> bool:
    """A record that the integration user cannot see is never matched, however recent; nor is a dead or (by default) a converted one."""
    frozen = record.converted_contact_id is not None and not settings.converted_lead_candidate
    return record.is_visible and not record.is_deleted and not frozen


def candidates(world: World, settings: PortalSettings, contact: HubSpotContact) -> list[SalesforceRecord]:
    """C(e) of docs/prediction.md: what the contact could be bound to, by id."""
    if contact.email is None:
        return []
    found = {record.id: record for email in matching_emails(settings, contact) for record in world.records_with_email(email)}
    return [record for _, record in sorted(found.items()) if is_eligible(settings, record) and may_be_taken(world, settings, contact, record)]


@rule(20)
def may_be_taken(world: World, settings: PortalSettings, contact: HubSpotContact, record: SalesforceRecord) -> bool:
    """The record of another contact got this contact's e-mail. Either it moves here and the other contact keeps the old id, or nothing
    changes and Sync Health says "Email already in use"."""
    others = [other for other in world.contacts_bound_to(record.id) if other is not contact]
    if not others or contact.bound_id == record.id or settings.email_collision == "rebind":
        return True
    refused = ("error", False)
    taken = refused[1] if settings.email_collision == "error" else world.choose(20, contact.id, [refused, ("rebind", True)])
    if not taken:
        world.report(others[0], record, "Email already in use")
    return taken


# ── first sync ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def first_sync(world: World, settings: PortalSettings, contact: HubSpotContact) -> SalesforceRecord | None:
    """The record that an unbound contact belongs to: found, or created, or none."""
    found = candidates(world, settings, contact)
    if not found:
        return create_match(world, settings, contact)
    return bind_only_match(found) if len(found) == 1 else choose_first(world, settings, contact, found)


@rule(5)
def bind_only_match(found: list[SalesforceRecord]) -> SalesforceRecord:
    """One match: it is bound, nothing is created."""
    (record,) = found
    return record


@rule(6)
def create_match(world: World, settings: PortalSettings, contact: HubSpotContact) -> SalesforceRecord | None:
    """No match: a Lead or a Contact with the contact's values, or nothing, by setting."""
    if settings.create_object == "none":
        return None
    object_type: ObjectType = "Lead" if settings.create_object == "lead" else "Contact"
    fields: dict[str, str | None] = {"Email": contact.value("email")}
    for name, names in world.fields.mapping.items():
        field = names[0 if object_type == "Lead" else 1]
        is_written = field is not None and name != OWNER and settings.field_rule(name) != "none"
        if field and is_written and world.fields.is_written_by_integration(object_type, field):
            fields[field] = world.fields.as_salesforce(name, contact.value(name)) or None
    if is_blocked_as_duplicate(world, settings, fields):
        world.report(contact, None, "Salesforce duplicate rule")
        return None
    if accepted_fields(world, settings, contact, None, {name: value for name, value in fields.items() if value}) is None:
        return None
    account_id = world.create_account(contact.value("company") or "Unknown") if object_type == "Contact" else None
    return world.create_record(object_type, fields, account_id=account_id, by=INTEGRATION_USER)


@rule(7)
def choose_first(world: World, settings: PortalSettings, contact: HubSpotContact, found: list[SalesforceRecord]) -> SalesforceRecord:
    """Several matches: the oldest over Leads and Contacts; or the oldest Contact, else the oldest Lead; or nobody knows."""
    found = sorted(found, key=lambda record: (record.created_at, record.id))
    match settings.first_sync:
        case "oldest_created":
            return found[0]
        case "contact_first":
            return next((record for record in found if record.type == "Contact"), found[0])
        case "unknown":
            return world.choose(7, contact.id, [(record.id, record) for record in found])


# ── a record that HubSpot has not met ────────────────────────────────────────────────────────────────────────────────────────────


def meet_record(world: World, settings: PortalSettings, record: SalesforceRecord) -> dict[str, bool]:
    """What a new record sets off. Returns the contacts that must sync, each with: also outside the inclusion list?"""
    if not reaches_hubspot(world, record) or not is_eligible(settings, record):
        return {}
    contact = world.contact_with_email(record.email)
    if contact is not None:
        return {contact.id: takes_up_unbound_contact(settings, record, contact)}
    if (holder := world.contact_with_additional_email(record.email)) is not None:
        return {holder.id: False} if applies_to_holder_of_additional_email(world, settings, record, holder) else {}
    if not may_create_contact(settings, record.type) or not may_return(world, settings, record):
        return {}
    create_contact_for(world, settings, record)
    return {}


@rule(8)
def takes_up_unbound_contact(settings: PortalSettings, record: SalesforceRecord, contact: HubSpotContact) -> bool:
    """A new record with the e-mail of an unbound contact is bound to it, also outside the inclusion list, where its object may create contacts."""
    return contact.bound_id is None and may_create_contact(settings, record.type)


@rule(9)
def create_contact_for(world: World, settings: PortalSettings, record: SalesforceRecord) -> HubSpotContact:
    """A new record whose e-mail no contact has makes one, bound to it, also outside the inclusion list."""
    contact = world.create_contact({"email": record.fields["Email"] or ""}, "SALESFORCE")
    apply(world, settings, contact, record, 9, carry_fields(world, settings, contact, record, "first"))
    return contact


@rule(10)
def may_create_contact(settings: PortalSettings, object_type: ObjectType) -> bool:
    """Where the setting does not allow an object to create contacts, its new records do nothing."""
    return settings.salesforce_creates == "all" or (settings.salesforce_creates == "leads_only" and object_type == "Lead")


def may_return(world: World, settings: PortalSettings, record: SalesforceRecord) -> bool:
    """The other half of rule 40: whether the integration may create a person again who was deleted for good is not documented."""
    if record.email not in world.blocked_emails:
        return True
    options = {"blocked": False, "recreated": True}
    if settings.gdpr_deleted_return == "unknown":
        return world.choose(40, record.id, list(options.items()))
    return options[settings.gdpr_deleted_return]


@rule(43)
def applies_to_holder_of_additional_email(world: World, settings: PortalSettings, record: SalesforceRecord, holder: HubSpotContact) -> bool:
    """The record's e-mail is only an additional one of a contact: an error, or, where additional e-mails match, it is that contact's."""
    if not settings.secondary_email_matches:
        world.report(holder, record, "Email already in use")
    return settings.secondary_email_matches


# ── the duplicate switch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(11)
def newest_pending(world: World, settings: PortalSettings, contact: HubSpotContact, bound: SalesforceRecord) -> SalesforceRecord:
    """The record under the contact's e-mail that was updated last since its last sync takes over; without one, the bound record stays."""
    since = last_sync(contact)
    if settings.follow_up == "sticky" or since is None:
        return bound
    pool = {record.id: record for record in (*candidates(world, settings, contact), bound)}
    pending = {record.id: at for record in pool.values() if (at := recency(world, settings, record)) > since and not is_own_write(world, settings, record)}
    latest = [pool[record_id] for record_id, at in pending.items() if at == max(pending.values())]
    return break_tie(world, contact, latest, bound) if latest else bound


@rule(12)
def is_trigger(world: World, settings: PortalSettings, record: SalesforceRecord, happening: Happening) -> bool:
    """Where only mapped fields trigger, an edit of other fields or of a formula does not."""
    if settings.switch_trigger == "any_change" or happening.kind != "updated":
        return True
    return bool(happening.fields & mapped_fields(world, record.type))


@rule(13)
def mapped_fields(world: World, object_type: ObjectType) -> set[str]:
    """A mapped field that feeds a formula triggers by being mapped; a formula that changes through another record is no field of this one."""
    return {"Email", *(field for field in world.mapped(object_type) if world.fields.is_written_by_integration(object_type, field))}


@rule(14)
def is_own_write(world: World, settings: PortalSettings, record: SalesforceRecord) -> bool:
    """The integration's own writes move the stamps, but are no reason to switch."""
    return settings.integration_user_touch == "ignore" and heard(world, record).modified_by == INTEGRATION_USER


@rule(17)
def break_tie(world: World, contact: HubSpotContact, latest: list[SalesforceRecord], bound: SalesforceRecord) -> SalesforceRecord:
    """Equal stamps: nobody knows which wins."""
    in_order = sorted(latest, key=lambda record: (record is not bound, record.created_at, record.id))
    return world.choose(17, contact.id, [(record.id, record) for record in in_order])


def heard(world: World, record: SalesforceRecord) -> Stamps:
    """The stamps that the poll heard of: what it wrote itself since, for another contact, does not count."""
    return world.heard.get(record.id, record.stamps)


def recency(world: World, settings: PortalSettings, record: SalesforceRecord) -> datetime:
    """The stamp that "updated last" means."""
    if settings.recency == "last_mapped_change" or settings.switch_trigger == "mapped_change":
        mapped = mapped_fields(world, record.type)
        return max((at for name, at in record.changed_at.items() if name in mapped), default=record.created_at)
    stamps = heard(world, record)
    return stamps.last_modified_at if settings.recency == "last_modified_date" else stamps.modified_at


def last_sync(contact: HubSpotContact) -> datetime | None:
    """When it synced last; for one that never did, when it was bound."""
    value = contact.value("salesforcelastsynctime")
    return datetime.fromisoformat(value).astimezone(UTC) if value else contact.bound_since


@rule(48)
def check_is_not_shared(world: World, record: SalesforceRecord) -> None:
    """Raises InvalidState where two live contacts are bound to the record."""
    bound = world.contacts_bound_to(record.id)
    if len(bound) > 1:
        raise InvalidState(f"{record.id} is bound to {' and '.join(contact.id for contact in bound)}")


# ── one contact syncs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sync_contact(world: World, settings: PortalSettings, contact: HubSpotContact, also_outside: bool = False) -> None:
    """Decides which record the contact belongs to now, and carries the values over. also_outside: rule 8 lets it sync outside the list.

    Raises InvalidState (rule 48).
    """
    if not may_sync(contact) or not (also_outside or is_in_segment(world, settings, contact)):
        return
    bound = world.records.get(contact.bound_id or "")
    if bound is None:
        sync_unbound(world, settings, contact)
    elif bound.is_deleted:
        lose_record(world, settings, contact, bound)
    elif bound.converted_contact_id is not None:
        sync_converted(world, settings, contact, bound)
    elif not bound.is_visible:
        world.report(contact, bound, "Insufficient access or missing Salesforce record")  # rule 18
    else:
        sync_bound(world, settings, contact, bound)


def sync_unbound(world: World, settings: PortalSettings, contact: HubSpotContact) -> None:
    """Rules 5 to 7; an id that the org does not know counts as a lost record (rule 33)."""
    if contact.bound_id and len(contact.bound_id) == 18 and settings.rematch_after_loss == "none":
        world.report(contact, None, "Insufficient access or missing Salesforce record")
        return
    record = first_sync(world, settings, contact)
    if record is not None:
        apply(world, settings, contact, record, 5, carry_fields(world, settings, contact, record, "first"))


@rule(15)
def sync_bound(world: World, settings: PortalSettings, contact: HubSpotContact, bound: SalesforceRecord) -> None:
    """An update of the bound record keeps the binding; only a newer duplicate takes it away."""
    check_is_not_shared(world, bound)
    record = newest_pending(world, settings, contact, bound)
    if record is bound:
        apply(world, settings, contact, bound, 15, carry_fields(world, settings, contact, bound, "update"))
    else:
        apply(world, settings, contact, record, 11, carry_fields(world, settings, contact, record, "switch"))


# ── conversion ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sync_converted(world: World, settings: PortalSettings, contact: HubSpotContact, lead: SalesforceRecord) -> None:
    into = world.survivor(lead.converted_contact_id)
    if into is None or into.is_deleted or not into.is_visible:
        sync_unbound(world, settings, contact)
    elif stays_on_converted_lead(settings):
        world.report(contact, lead, "Converted Lead")
    elif not follows_conversion_by_id(world, settings, contact, into):
        world.write(contact, {"salesforceleadid": "", "salesforcecontactid": ""}, "SALESFORCE")
    else:
        follow_conversion(world, settings, contact, into)


@rule(29)
def follow_conversion(world: World, settings: PortalSettings, contact: HubSpotContact, into: SalesforceRecord) -> None:
    """The binding follows the person from the Lead to the Contact, and to what that Contact was merged into."""
    apply(world, settings, contact, into, 29, carry_fields(world, settings, contact, into, "first"))


@rule(30)
def follows_conversion_by_id(world: World, settings: PortalSettings, contact: HubSpotContact, into: SalesforceRecord) -> bool:
    """Into an existing Contact with another e-mail: by id the binding follows and the contact takes its e-mail; by e-mail it is lost."""
    if into.email == contact.email or settings.conversion_follows == "id":
        return True
    return settings.conversion_follows == "unknown" and world.choose(30, contact.id, [("follows by id", True), ("unbound", False)])


@rule(31)
def stays_on_converted_lead(settings: PortalSettings) -> bool:
    """Where Contacts do not create HubSpot contacts, the contact stays on the frozen Lead, with the error "Converted Lead"."""
    return not may_create_contact(settings, "Contact")


# ── deletes and merges ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(32)
def contacts_that_lose(world: World, settings: PortalSettings, record: SalesforceRecord) -> list[HubSpotContact]:
    """Deleting a record that nobody is bound to changes nothing. Outside the inclusion list deletions are not processed."""
    bound = world.contacts_bound_to(record.id)
    return [contact for contact in bound if not settings.delete_needs_segment or is_in_segment(world, settings, contact)]


@rule(33)
def lose_record(world: World, settings: PortalSettings, contact: HubSpotContact, record: SalesforceRecord) -> None:
    """The bound record is gone and a trigger comes: the contact goes with it, is matched by e-mail again (or a record is created), or stays broken."""
    if deletes_contact(world, settings, record):
        world.archive_contact(contact)
    elif settings.rematch_after_loss == "none":
        world.report(contact, record, "Merged in Salesforce" if record.master_id else "Insufficient access or missing Salesforce record")
    elif (found := first_sync(world, settings, contact)) is not None:
        apply(world, settings, contact, found, 33, carry_fields(world, settings, contact, found, "first"))


@rule(34)
def deletes_contact(world: World, settings: PortalSettings, record: SalesforceRecord) -> bool:
    """The setting of the record's own object decides; whether the integration user needs a permission as well was never confirmed."""
    setting = settings.on_lead_deleted if record.type == "Lead" else settings.on_contact_deleted
    if setting == "keep" or settings.delete_permission == "missing":
        return False
    return settings.delete_permission == "granted" or world.choose(34, record.id, [("contact deleted", True), ("contact kept", False)])


def take_up_delete(world: World, settings: PortalSettings, record: SalesforceRecord) -> None:
    """A deletion arrives: the contacts bound to the record go with it, or keep a dead id until their next trigger."""
    for contact in contacts_that_lose(world, settings, record):
        if deletes_contact(world, settings, record):
            world.archive_contact(contact)
        elif settings.marks_deleted:
            world.write(contact, {"salesforcedeleted": "true"}, "SALESFORCE")


@rule(35)
def winner_of_merge(world: World, happening: Happening) -> SalesforceRecord | None:
    """The master of a merge was updated in the same moment. Where it is the bound record, the binding stays: that is the safe way round."""
    return world.records.get(happening.other_id or "")


@rule(36)
def delete_comes_first(world: World, settings: PortalSettings, happening: Happening) -> bool:
    """The wrong way round, the bound record loses: one merge is a delete and an update, and which comes first is not documented.
    Delete first: the contact goes with its record (rule 34) or keeps a dead id. Update first: it has switched before."""
    if settings.merge_event_order == "unknown":
        return world.choose(36, happening.id, [("delete first", True), ("update first", False)])
    return settings.merge_event_order == "delete_first"


def switch_to_winner(world: World, settings: PortalSettings, loser: SalesforceRecord, winner: SalesforceRecord) -> None:
    """The update of the winner arrives while the loser still seems alive: an ordinary switch."""
    for contact in world.contacts_bound_to(loser.id):
        if settings.follow_up == "most_recent" and is_in_segment(world, settings, contact) and winner in candidates(world, settings, contact):
            apply(world, settings, contact, winner, 11, carry_fields(world, settings, contact, winner, "switch"))


@rule(42)
def orphans(world: World) -> list[SalesforceRecord]:
    """After a HubSpot merge only the primary's record goes on syncing; the other's is bound to nobody, its e-mail is an additional one.
    An unbound primary inherits the other's record, though the e-mails differ (World.merge_contacts)."""
    return [
        record for record in world.records.values()
        if record.is_live and not world.contacts_bound_to(record.id) and world.contact_with_email(record.email) is None
        and world.contact_with_additional_email(record.email) is not None
    ]  # fmt: skip


# ── field rules ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

Moment = Literal["first", "update", "switch"]
Way = Literal["to_hubspot", "to_salesforce", "nothing"]


@dataclass(frozen=True)
class Pair:
    """A mapped field on both sides, and when somebody else than the integration changed it since the last sync (ever, at a first one)."""

    hubspot: str
    salesforce: str
    hubspot_at: datetime | None
    salesforce_at: datetime | None
    moment: Moment

    @property
    def was_emptied(self) -> bool:
        """Somebody deleted the value in Salesforce, later than HubSpot's was changed. A field that was never filled is not emptied."""
        if self.salesforce or self.salesforce_at is None or self.moment != "update":
            return False
        return self.hubspot_at is None or self.salesforce_at >= self.hubspot_at


@rule(24)
def always_salesforce(pair: Pair) -> Way:
    """A filled Salesforce field wins; a deleted one empties HubSpot's. HubSpot's changes never travel."""
    return "to_hubspot" if pair.salesforce or pair.was_emptied else "nothing"


@rule(25)
def prefer_salesforce(pair: Pair) -> Way:
    """A filled Salesforce field wins, a blank one is filled from HubSpot, a deleted one empties HubSpot's: the deletion is the newer event."""
    if pair.salesforce or pair.was_emptied:
        return "to_hubspot"
    return contaminate(pair) if pair.moment == "switch" else "to_salesforce"


@rule(26)
def two_way(pair: Pair) -> Way:
    """The newest change wins, a deletion too. On a switch that is the record that caused it."""
    if pair.moment == "switch":
        return "to_hubspot" if pair.salesforce else "nothing"
    if pair.salesforce_at is not None and (pair.hubspot_at is None or pair.salesforce_at >= pair.hubspot_at):
        return "to_hubspot" if pair.salesforce or pair.moment == "update" else "to_salesforce"
    if pair.hubspot_at is not None:
        return "to_salesforce" if pair.hubspot or pair.moment == "update" else "to_hubspot"
    return "to_hubspot" if pair.salesforce else "to_salesforce"


@rule(27)
def not_synced(_pair: Pair) -> Way:
    """No change ever. A new mapping takes effect with the next trigger of a contact, not before."""
    return "nothing"


@rule(28)
def contaminate(_pair: Pair) -> Way:
    """On a switch HubSpot's value came from the old record; written into the new one's blank field, it spreads to another record."""
    return "to_salesforce"


@rule("26a")
def comes_for_good(pair: Pair) -> bool:
    """An opt-out in Salesforce opts the address out in HubSpot, whatever the mapping rule; that HubSpot takes nothing back, and writes nothing, is the same
    rule."""
    return said(pair.salesforce) is True and said(pair.hubspot) is not True


@rule("26b")
def move_owner(pair: Pair) -> Way:
    """With another record, on a first sync or a switch, the owner becomes that record's."""
    return "to_hubspot" if pair.salesforce else "nothing"


FIELD_RULES: dict[str, Callable[[Pair], Way]] = {
    "always_salesforce": always_salesforce, "prefer_salesforce": prefer_salesforce, "two_way": two_way, "none": not_synced,
}  # fmt: skip


@dataclass
class Carried:
    """The values that one sync writes, by HubSpot property and by Salesforce field."""

    to_hubspot: dict[str, str]
    to_salesforce: dict[str, str | None]


def carry_fields(world: World, settings: PortalSettings, contact: HubSpotContact, record: SalesforceRecord, moment: Moment) -> Carried:
    """What the rules of all mapped fields, and of the e-mail, make of one contact and its record."""
    carried = Carried({}, {})
    since = last_sync(contact) if moment == "update" else None
    for name, names in world.fields.mapping.items():
        field = names[0 if record.type == "Lead" else 1]
        if field is None:
            continue
        ours, theirs = contact.value(name), field_value(world, record, field) or ""
        if ours == theirs:
            continue
        pair = Pair(
            trim_text(ours), trim_text(theirs), _later(_changed_in_hubspot(contact, name), since),
            _later(record.changed_at.get(field), since), moment,
        )  # fmt: skip
        if world.fields.is_same(name, world.fields.types[record.type].get(field, "string"), pair.hubspot, pair.salesforce):
            continue
        if name == OPT_OUT and settings.opt_out == "sticky" and settings.field_rule(name) != "none":
            if comes_for_good(pair):
                carried.to_hubspot[name] = "true"
            continue
        way = move_owner(pair) if name == OWNER and moment != "update" else FIELD_RULES[settings.field_rule(name)](pair)
        if way == "nothing" and moment == "switch" and not pair.salesforce and settings.blank_on_switch == "clear" and settings.field_rule(name) != "none":
            way = "to_hubspot"
        if way == "to_hubspot":
            carried.to_hubspot[name] = world.fields.as_hubspot(name, theirs)
        elif way == "to_salesforce" and world.fields.is_written_by_integration(record.type, field):
            carried.to_salesforce[field] = world.fields.as_salesforce(name, ours) or None
    carry_email(world, settings, contact, record, since, carried)
    return carried


def carry_email(world: World, settings: PortalSettings, contact: HubSpotContact, record: SalesforceRecord, since: datetime | None, carried: Carried) -> None:
    if not trim_text(record.fields.get("Email")):
        write_email_back(contact, carried)
    elif record.email is not None and record.email != contact.email:
        in_hubspot, in_salesforce = _later(_changed_in_hubspot(contact, "email"), since), record.changed_at.get("Email")
        if settings.email_rule == "two_way" and in_hubspot is not None and (in_salesforce is None or in_hubspot > in_salesforce):
            carried.to_salesforce["Email"] = contact.value("email")  # rule 45
        else:
            take_over_email(world, contact, record, carried)


@rule(19)
def take_over_email(world: World, contact: HubSpotContact, record: SalesforceRecord, carried: Carried) -> None:
    """A new e-mail on the bound record becomes the contact's, unless another contact has it (rules 20 and 43)."""
    holder = world.contact_with_email(record.email) or world.contact_with_additional_email(record.email)
    if holder is None or holder is contact:
        carried.to_hubspot["email"] = record.fields["Email"] or ""
    else:
        world.report(contact, record, "Email already in use")


@rule(23)
def write_email_back(contact: HubSpotContact, carried: Carried) -> None:
    """A bound record cannot be without an e-mail: the contact's is written back, because the id is the key."""
    carried.to_salesforce["Email"] = contact.value("email")


# ── what Salesforce refuses ──────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(46)
def is_blocked_as_duplicate(world: World, settings: PortalSettings, fields: dict[str, str | None], record: SalesforceRecord | None = None) -> bool:
    """A duplicate rule (same e-mail, or same first and last name) stops a create, and an update that makes the record match another.
    An alert blocks as well, unless the integration sends allowSave. The rule sees records that the integration user does not."""
    if settings.duplicate_rule == "off" or (settings.duplicate_rule == "alert" and settings.sends_allow_save):
        return False

    def keys(values: dict[str, str | None]) -> set[object]:
        names = (values.get("FirstName"), values.get("LastName"))
        return {key for key in (normalise(values.get("Email")), names if all(names) else None) if key}

    new_keys = keys({**record.fields, **fields}) - keys(record.fields) if record else keys(fields)
    return any(new_keys & keys(other.fields) for other in world.records.values() if other.is_live and other is not record)


@rule(47)
def accepted_fields(
    world: World, settings: PortalSettings, contact: HubSpotContact, record: SalesforceRecord | None, fields: dict[str, str | None]
) -> dict[str, str | None] | None:
    """A value that a validation rule refuses fails the whole sync of the contact (None), or only that field."""
    refused = fields.keys() & settings.refused_fields
    if not refused:
        return fields
    world.report(contact, record, "Property values")
    return None if settings.refusal_stops == "whole_record" else {name: value for name, value in fields.items() if name not in refused}


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def apply(world: World, settings: PortalSettings, contact: HubSpotContact, record: SalesforceRecord, rule_number: int, carried: Carried) -> None:
    """Binds and writes, all with one timestamp; the sync time follows a second later (rule 16). Refused by Salesforce: nothing changes."""
    to_salesforce = accepted_fields(world, settings, contact, record, carried.to_salesforce)
    if to_salesforce is None:
        return
    if to_salesforce and is_blocked_as_duplicate(world, settings, to_salesforce, record):
        world.report(contact, record, "Salesforce duplicate rule")
        return
    before = {name: contact.value(name) for name in carried.to_hubspot}
    from_id = contact.bound_id
    own, other = ("salesforceleadid", "salesforcecontactid") if record.type == "Lead" else ("salesforcecontactid", "salesforceleadid")
    binding = {} if from_id == record.id else {own: record.id, other: ""}
    if contact.value("salesforcedeleted") == "true":
        binding["salesforcedeleted"] = "false"
    if email := carried.to_hubspot.pop("email", None):
        world.write_email(contact, email, "SALESFORCE")
    world.write(contact, {**binding, **carried.to_hubspot}, "SALESFORCE")
    if from_id != record.id:
        overwritten = {name: (value, contact.value(name)) for name, value in before.items() if name != "email" and trim_text(value)}
        world.switches.append(Switch(world.now, contact.id, from_id, record.id, rule_number, overwritten))
    if to_salesforce:
        world.heard.setdefault(record.id, record.stamps)
        world.edit_record(record, to_salesforce, by=INTEGRATION_USER)
    synced_at = world.now + timedelta(seconds=1)
    world.write(contact, {"salesforcelastsynctime": iso_text(synced_at)}, "SALESFORCE", synced_at)


@rule(16)
def due_at(happening: Happening) -> datetime:
    """When a trigger takes effect at the latest: a form or a manual sync within a minute, everything else at the next poll."""
    return happening.at + (PROMPT if happening.is_prompt else POLL)


def _changed_in_hubspot(contact: HubSpotContact, name: str) -> datetime | None:
    """When a person last changed it; None where the value came from the integration."""
    versions = contact.history.get(name)
    return versions[-1].at if versions and versions[-1].source != "SALESFORCE" else None


def _later(moment: datetime | None, since: datetime | None) -> datetime | None:
    return moment if moment is not None and (since is None or moment > since) else None
