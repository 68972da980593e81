"""Which pulls HubSpot's contacts need.

Live contacts are pulled incrementally when everything was pulled before with the same properties; a full run on top compares all ids and stamps with
what is known. Of archived ones all ids and stamps are listed in every run, and those read that are new or differ; all of them with a full run. Where
all live ones were listed, the archived are read after that and loaded before it: they explain what it does not have, also who was archived in between.
Contacts that could not be read are asked for again, each time.

The history of mapped properties is read last, when Salesforce was pulled, too: which contacts need it follows from the duplicates there.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from assets.ingest.bring import Ingest, report_pull
from assets.pull.hubspot import (
    SYNC_TIME,
    PropertyList,
    land_archived,
    land_archived_by_id,
    land_archived_ids,
    land_by_id,
    land_history,
    land_ids,
    land_list_members,
    land_live,
    land_owners,
)
from assets.pull.hubspot_portal import Portal
from assets.pull.landing import LandedPull, Mode, digest
from assets.sql import count_rows
from assets.warehouse.authors import load_owners
from assets.warehouse.history import HUBSPOT_READ, all_read_until, contacts_without_history, load_hubspot_history, note_all_read
from assets.warehouse.load_hubspot import (
    compare_archived,
    compare_hubspot_ids,
    load_hubspot_contacts,
    load_list_members,
    no_longer_archived,
    not_archived,
    note_emptied_archive,
    note_properties,
)
from assets.warehouse.set_aside import ids_set_aside
from assets.warehouse.shrinkage import note_count
from assets.warehouse.watermark import LoadResult, asked_before, increment_from

log = logging.getLogger("bindwatch.pull")

T = TypeVar("T")


def ingest_contacts(portal: Portal, ingest: Ingest, wanted: PropertyList) -> list[LandedPull]:
    """Pulls live and archived contacts, and the members of the inclusion list; loads each."""
    connection, policy = ingest.connection, ingest.policy
    note_properties(connection, wanted.described)
    since = increment_from(connection, "hubspot", "contact", wanted.asked, policy.pull.hubspot_overlap_minutes)
    pulls: list[LandedPull] = []

    def bring(
        name: str, mode: Mode, asked: str, land: Callable[[LandedPull], None], load: Callable[[LandedPull], T],
        watermark_from: datetime | None = None, ids: Sequence[str] = (),
    ) -> T:  # fmt: skip
        request = {"asked": asked, "ids": digest(ids)}
        pull, loaded = ingest.bring(portal, "hubspot", name, mode, request, wanted.not_seen, land, load, watermark_from)
        pulls.append(pull)
        return loaded

    def load_contacts(pull: LandedPull) -> None:
        report_pull(pull, load_hubspot_contacts(connection, pull, wanted.properties, ingest.floor))

    def contacts_by_id(name: str, ids: list[str], may_be_gone: bool, archived_too: bool = False) -> None:
        bring(name, "incremental", wanted.asked, lambda pull: land_by_id(portal, pull, ids, wanted, may_be_gone, archived_too), load_contacts, ids=ids)

    def load_archived(pull: LandedPull) -> list[str]:
        load_contacts(pull)
        return no_longer_archived(connection, pull)

    def all_archived() -> list[str]:
        return bring("contact_archived", "full", wanted.asked, lambda pull: land_archived(portal, pull, wanted), load_archived)

    def compare_with_archived(pull: LandedPull) -> tuple[list[str], list[str]]:
        differing = compare_archived(connection, pull)
        report_pull(pull, LoadResult(pull.rows, len(differing)))
        return differing, no_longer_archived(connection, pull)

    def changed_archived() -> list[str]:
        differing, back = bring("contact_archived", "incremental", wanted.asked, lambda pull: land_archived_ids(portal, pull), compare_with_archived)
        if not differing:
            return back
        bring(
            "contact_archived_changed", "incremental", wanted.asked, lambda pull: land_archived_by_id(portal, pull, differing, wanted), load_contacts,
            ids=differing,
        )  # fmt: skip
        return [*back, *not_archived(connection, differing)]  # restored since they were listed

    def archived_contacts() -> None:
        is_known = asked_before(connection, "hubspot", "contact_archived") == wanted.asked
        # restoring a contact need not move its modified stamp, so no search finds it
        if ids := changed_archived() if is_known and since is not None and not ingest.full else all_archived():
            contacts_by_id("contact_restored", ids, may_be_gone=True)
        note_emptied_archive(connection, next(pull for pull in pulls if pull.manifest.object == "contact_archived"))

    def compare(pull: LandedPull) -> list[str]:
        archived_contacts()
        result, differing = compare_hubspot_ids(connection, pull, ingest.floor)
        report_pull(pull, result)
        return differing

    def load_all(pull: LandedPull) -> None:
        archived_contacts()  # read when all live ones were listed: who is archived in between is in one of the two lists
        load_contacts(pull)

    slow_ms = policy.pull.hubspot_slow_answer_ms
    load = load_all if since is None and count_rows(connection, "raw.hubspot_contact") else load_contacts
    bring("contact", "incremental" if since else "full", wanted.asked, lambda pull: land_live(portal, pull, wanted, since, slow_ms), load, since)
    if ingest.full and since is not None and (differing := bring("contact_ids", "ids", wanted.asked, lambda pull: land_ids(portal, pull), compare)):
        log.info("HubSpot contact_ids: %s contacts differ from what increments had brought; pulling them", f"{len(differing):,}")
        contacts_by_id("contact_missed", differing, may_be_gone=False)
    if not any(pull.manifest.object == "contact_archived" for pull in pulls):
        archived_contacts()

    if ids := ids_set_aside(connection, "contact"):
        contacts_by_id("contact_set_aside", ids, may_be_gone=False, archived_too=True)

    list_id = policy.policy.inclusion_list_id
    if list_id is not None:

        def load_members(pull: LandedPull) -> None:
            report_pull(pull, load_list_members(connection, pull, ingest.floor))

        bring("inclusion_list", "full", list_id, lambda pull: land_list_members(portal, pull, list_id), load_members)
    note_count(connection, "hubspot.contact", "counted", None, portal.count())
    ingest.note_clock(portal, "hubspot")
    return pulls


def ingest_owners(portal: Portal, ingest: Ingest) -> list[LandedPull]:
    """Pulls the owners of records, those too who have left, and loads them; where the key may not see them, the coverage says so."""

    def load(pull: LandedPull) -> None:
        if "refused" in pull.cursor:
            pull.manifest.not_seen = ["the owners of HubSpot's records: the key lacks the scope crm.objects.owners.read, or the portal does not tell them"]
        report_pull(pull, load_owners(ingest.connection, pull))

    here, _ = ingest.bring(portal, "hubspot", "owner", "full", {"asked": "here"}, [], lambda pull: land_owners(portal, pull, archived=False), load)
    if "refused" in here.cursor:
        return [here]
    left, _ = ingest.bring(portal, "hubspot", "owner_archived", "full", {"asked": "left"}, [], lambda pull: land_owners(portal, pull, archived=True), load)
    return [here, left]


def ingest_histories(portal: Portal, ingest: Ingest, wanted: PropertyList) -> list[LandedPull]:
    """Pulls the history of mapped properties of the contacts whose binding changed or may change, and of the sync time of those whose binding changed; loads
    it. Asks HubSpot nothing when none needs it.
    """
    mapped, matches = wanted.mapped, ingest.policy.policy.secondary_email_matches
    needed = contacts_without_history(ingest.connection, matches, all_read_until(ingest.connection, HUBSPOT_READ, matches))
    before = count_rows(ingest.connection, HUBSPOT_READ)
    pulls: list[LandedPull] = []
    sync_time = [SYNC_TIME] if SYNC_TIME in wanted.properties else []
    for name, ids, properties in (
        ("switch_history", needed.switched, list(dict.fromkeys([*mapped, *sync_time]))),
        ("contact_history", needed.others, mapped),
    ):
        if not ids or not properties:
            continue

        def land(pull: LandedPull, ids: list[str] = ids, properties: list[str] = properties) -> None:
            land_history(portal, pull, ids, properties)

        def load(pull: LandedPull, ids: list[str] = ids) -> None:
            report_pull(pull, load_hubspot_history(ingest.connection, pull, ids))

        request = {"asked": digest(properties), "ids": digest(ids)}
        pulls.append(ingest.bring(portal, "hubspot", name, "incremental", request, [], land, load)[0])
    if pulls:
        ingest.note_clock(portal, "hubspot")
    if count_rows(ingest.connection, HUBSPOT_READ) == before + len(needed.switched) + len(needed.others):
        note_all_read(ingest.connection, HUBSPOT_READ, matches)
    return pulls
