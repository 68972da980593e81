"""The native integration between HubSpot and Salesforce, in miniature. Rule numbers are those of docs/integration.md.

`poll` is what happens every 15 minutes: it takes up all that happened in Salesforce and all contacts that people touched in HubSpot.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sandbox.world import INTEGRATION_USER, MAPPING, Happening, HubSpotContact, ObjectType, SalesforceRecord, World, _iso, field_value


@dataclass(frozen=True)
class PortalSettings:
    """How the portal is set up: the knobs of bindwatch.toml that the sandbox implements."""

    first_sync: Literal["oldest_created", "contact_first"] = "oldest_created"
    follow_up: Literal["most_recent", "sticky"] = "most_recent"
    create_object: Literal["lead", "contact", "none"] = "lead"
    on_lead_deleted: Literal["keep", "delete"] = "keep"
    on_contact_deleted: Literal["keep", "delete"] = "delete"


def poll(world: World, settings: PortalSettings) -> None:
    """One poll of the integration: every trigger since the last one takes effect."""
    happenings, world.happenings = sorted(world.happenings, key=lambda happening: (happening.at, happening.record_id)), []
    touched, world.hubspot_touched = sorted(world.hubspot_touched, key=int), set()
    affected: dict[str, None] = dict.fromkeys(touched)
    for happening in happenings:
        for contact_id in _take_up(world, settings, happening):
            affected[contact_id] = None
    for contact_id in affected:
        contact = world.contacts.get(contact_id)
        if contact is not None and contact.archived_at is None:
            sync_contact(world, settings, contact)


def _take_up(world: World, settings: PortalSettings, happening: Happening) -> list[str]:
    """Deletions and conversions take effect at once; for everything else, the ids of the contacts that must sync."""
    record = world.records[happening.record_id]
    if happening.kind in ("deleted", "merged"):
        if record.is_deleted:
            delete_follows(world, settings, record)
        return _concerned(world, world.records[happening.other_id]) if happening.other_id else []
    if happening.kind == "converted" and happening.other_id is not None:
        follow_conversion(world, record, world.records[happening.other_id])
        return _concerned(world, world.records[happening.other_id])
    if happening.kind in ("created", "undeleted") and record.is_live:
        return meet_new_record(world, record)
    return _concerned(world, record)


def _concerned(world: World, record: SalesforceRecord) -> list[str]:
    """The contacts bound to a record, and the one with its e-mail."""
    contacts = world.contacts_bound_to(record.id)
    if (by_email := world.contact_with_email(record.email)) is not None and record.is_live:
        contacts.append(by_email)
    return [contact.id for contact in contacts]


def meet_new_record(world: World, record: SalesforceRecord) -> list[str]:
    """Rules 2, 8 and 9: a record with an e-mail meets the contact that has it, or makes one."""
    if record.email is None:
        return []
    contact = world.contact_with_email(record.email)
    if contact is None:
        contact = world.create_contact({"email": record.fields["Email"] or ""}, "SALESFORCE")
        bind(world, contact, record)
        sync_fields(world, contact, record)
        _mark_synced(world, contact)
        return []
    return [contact.id]


def sync_contact(world: World, settings: PortalSettings, contact: HubSpotContact) -> None:
    """Rules 1, 5 to 7, 11, 15, 33: decides which record the contact belongs to now, and carries the values over."""
    if contact.email is None:  # rule 1
        return
    bound = world.records.get(contact.bound_id or "")
    if bound is not None and bound.is_live:
        target = newest_pending(world, settings, contact, bound)
        if target is not bound:
            bind(world, contact, target)  # rule 11: the duplicate switch
    else:
        found = first_match(world, settings, contact)
        if found is None:
            if settings.create_object == "none":  # rule 6
                return
            found = create_for(world, settings, contact)
        target = found
        bind(world, contact, target)
    sync_fields(world, contact, target)
    _mark_synced(world, contact)


def newest_pending(world: World, settings: PortalSettings, contact: HubSpotContact, bound: SalesforceRecord) -> SalesforceRecord:
    """Rules 11, 14, 15, 17: the record updated last since the last sync, if any; the bound one where two were updated at once."""
    if settings.follow_up == "sticky":
        return bound
    last_sync = contact.value("salesforcelastsynctime")
    candidates = {record.id: record for record in (*world.candidates(contact.email), bound)}
    pending = [r for r in candidates.values() if _iso(r.modified_at) > last_sync and r.modified_by != INTEGRATION_USER]
    if not pending:
        return bound
    newest = max(record.modified_at for record in pending)
    latest = [record for record in pending if record.modified_at == newest]
    return bound if bound in latest else latest[0]


def first_match(world: World, settings: PortalSettings, contact: HubSpotContact) -> SalesforceRecord | None:
    """Rules 5 and 7: the oldest record with the e-mail, over Leads and Contacts (or Contacts first)."""
    candidates = world.candidates(contact.email)
    if settings.first_sync == "contact_first":
        candidates = [record for record in candidates if record.type == "Contact"] or candidates
    return min(candidates, key=lambda record: (record.created_at, record.id), default=None)


def create_for(world: World, settings: PortalSettings, contact: HubSpotContact) -> SalesforceRecord:
    """Rule 6: a Lead or Contact with the contact's values."""
    object_type: ObjectType = "Lead" if settings.create_object == "lead" else "Contact"
    place = 0 if object_type == "Lead" else 1
    fields: dict[str, str | None] = {
        names[place] or "": contact.value(name) or None for name, names in MAPPING.items() if names[place] and "." not in (names[place] or "")
    }
    fields["Email"] = contact.value("email")
    account_id = world.create_account(contact.value("company") or "Unknown") if object_type == "Contact" else None
    return world.create_record(object_type, fields, account_id=account_id, by=INTEGRATION_USER)


def bind(world: World, contact: HubSpotContact, record: SalesforceRecord) -> None:
    """The id of the bound record goes into the property of its object, the other one is cleared, with one timestamp."""
    own, other = ("salesforceleadid", "salesforcecontactid") if record.type == "Lead" else ("salesforcecontactid", "salesforceleadid")
    changes = {own: record.id}
    if contact.value(other):
        changes[other] = ""
    world.write(contact, changes, "SALESFORCE")


def sync_fields(world: World, contact: HubSpotContact, record: SalesforceRecord) -> None:
    """Rules 19, 25 and 28 (all fields are "prefer Salesforce unless blank"): its values win, its blanks are filled from HubSpot."""
    place = 0 if record.type == "Lead" else 1
    to_hubspot, to_salesforce = {}, {}
    for name, names in MAPPING.items():
        field = names[place]
        if field is None:
            continue
        value = field_value(world, record, field)
        if value:
            to_hubspot[name] = value
        elif contact.value(name) and "." not in field:
            to_salesforce[field] = contact.value(name)
    if record.email and record.email != contact.email and world.contact_with_email(record.email) is None:
        to_hubspot["email"] = record.fields["Email"] or ""  # rule 19
    world.write(contact, to_hubspot, "SALESFORCE")
    if to_salesforce:
        world.edit_record(record, dict(to_salesforce), by=INTEGRATION_USER)


def delete_follows(world: World, settings: PortalSettings, record: SalesforceRecord) -> None:
    """Rules 32, 34 and 36: contacts bound to a deleted record are archived where the setting of its object says so; else they keep its id."""
    setting = settings.on_lead_deleted if record.type == "Lead" else settings.on_contact_deleted
    if setting == "delete":
        for contact in world.contacts_bound_to(record.id):
            world.archive_contact(contact)


def follow_conversion(world: World, lead: SalesforceRecord, into: SalesforceRecord) -> None:
    """Rules 29 and 30: the binding follows the person from the Lead to the Contact."""
    for contact in world.contacts_bound_to(lead.id):
        bind(world, contact, into)


def _mark_synced(world: World, contact: HubSpotContact) -> None:
    """The sync time comes a moment after the values it stands for (rule 16)."""
    at = world.now + timedelta(seconds=1)
    world.write(contact, {"salesforcelastsynctime": _iso(at)}, "SALESFORCE", at)
