"""Which pulls Leads and Contacts need.

Incremental when everything was pulled before with the same fields. A full run on top compares all ids and stamps with what is known, and reads what
differs: so it finds what vanished, and what increments did not bring. Records that could not be read are asked for again, each time.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from assets.ingest.bring import Ingest, report_pull
from assets.pull.landing import LandedPull, Mode, digest
from assets.pull.salesforce import FieldList, columns_of, land_by_id, land_ids, land_values, query_for
from assets.pull.salesforce_authors import USER_FIELDS, land_field_history, land_users
from assets.pull.salesforce_org import Org
from assets.sql import count_rows
from assets.warehouse.authors import load_field_history, load_users, records_without_history, untracked
from assets.warehouse.history import SALESFORCE_READ, all_read_until, note_all_read
from assets.warehouse.load_salesforce import compare_salesforce_ids, load_salesforce
from assets.warehouse.set_aside import ids_set_aside
from assets.warehouse.shrinkage import note_count
from assets.warehouse.watermark import increment_from, note_not_seen

log = logging.getLogger("bindwatch.pull")


def ingest_object(org: Org, ingest: Ingest, name: str, wanted: FieldList) -> list[LandedPull]:
    """Pulls "Lead" or "Contact" and loads it."""
    since = increment_from(ingest.connection, "salesforce", name, wanted.asked, ingest.policy.pull.salesforce_overlap_minutes)
    pulls = [_bring_values(org, ingest, name, wanted, since)]
    if ingest.full and since is not None:
        pulls += _compare_ids(org, ingest, name, wanted)
    if ids := ids_set_aside(ingest.connection, name):
        pulls.append(_bring_by_id(org, ingest, f"{name}_set_aside", name, wanted, ids, may_be_gone=True))
    note_count(ingest.connection, f"salesforce.{name}", "counted", None, org.count(name))
    ingest.note_clock(org, "salesforce")
    return pulls


def ingest_users(org: Org, ingest: Ingest) -> LandedPull:
    """Pulls the org's users, those who changed once they are known, and loads them; where they may not be seen, the coverage says so."""
    asked = digest(USER_FIELDS)
    since = None if ingest.full else increment_from(ingest.connection, "salesforce", "User", asked, ingest.policy.pull.salesforce_overlap_minutes)

    def load(pull: LandedPull) -> None:
        if "refused" in pull.cursor:
            pull.manifest.not_seen = [f"the names and e-mails of users: the integration user may not read User ({pull.cursor['refused']})"]
        report_pull(pull, load_users(ingest.connection, pull))

    mode: Mode = "incremental" if since else "full"
    return ingest.bring(org, "salesforce", "User", mode, {"asked": asked}, [], lambda pull: land_users(org, pull, since), load, since)[0]


def ingest_field_history(org: Org, ingest: Ingest, wanted: Mapping[str, FieldList]) -> list[LandedPull]:
    """Pulls the field history of Leads and Contacts where it is needed and was not read since. Where it is not kept, or may not be seen, the coverage says so.
    After both CRMs: which records need it follows from the bindings. wanted: by object; one that the policy leaves out is not asked for, whatever was
    pulled of it before.
    """
    connection, matches = ingest.connection, ingest.policy.policy.secondary_email_matches
    needed = records_without_history(connection, matches, all_read_until(connection, SALESFORCE_READ, matches))
    before = count_rows(connection, SALESFORCE_READ)
    pulls = [_bring_field_history(org, ingest, name, wanted[name], ids) for name, ids in needed.items() if ids and name in wanted]
    if count_rows(connection, SALESFORCE_READ) == before + sum(map(len, needed.values())):
        note_all_read(connection, SALESFORCE_READ, matches)
    return pulls


def _bring_field_history(org: Org, ingest: Ingest, name: str, wanted: FieldList, ids: list[str]) -> LandedPull:
    def load(pull: LandedPull) -> None:
        if "refused" in pull.cursor:
            pull.manifest.not_seen = [f"the field history of {name}s: not kept, or not shown to the integration user ({pull.cursor['refused']})"]
        report_pull(pull, load_field_history(ingest.connection, pull, name, ids))
        if "refused" not in pull.cursor and (untold := untracked(ingest.connection, name, wanted.mapped)):
            note_not_seen(ingest.connection, pull, [untold])

    request = {"asked": digest([name]), "ids": digest(ids)}
    return ingest.bring(org, "salesforce", f"{name}History", "incremental", request, [], lambda pull: land_field_history(org, pull, name, ids), load)[0]


def _bring_values(org: Org, ingest: Ingest, name: str, wanted: FieldList, since: datetime | None) -> LandedPull:
    def land(pull: LandedPull) -> None:
        land_values(org, pull, name, wanted, since, ingest.policy.pull)

    mode: Mode = "incremental" if since else "full"
    return _bring(org, ingest, name, mode, {"asked": wanted.asked, "soql": query_for(name, wanted.fields)}, land, name, wanted, since)


def _bring_by_id(org: Org, ingest: Ingest, pulled: str, name: str, wanted: FieldList, ids: Sequence[str], may_be_gone: bool = False) -> LandedPull:
    def land(pull: LandedPull) -> None:
        land_by_id(org, pull, name, wanted, ids, may_be_gone, ingest.policy.pull)

    return _bring(org, ingest, pulled, "incremental", {"asked": wanted.asked, "ids": digest(ids)}, land, name, wanted)


def _bring(
    org: Org, ingest: Ingest, pulled: str, mode: Mode, request: dict[str, str], land: Callable[[LandedPull], None], name: str, wanted: FieldList,
    since: datetime | None = None,
) -> LandedPull:  # fmt: skip
    """Brings values of the object `name` as the pull `pulled`."""

    def load(pull: LandedPull) -> None:
        report_pull(pull, load_salesforce(ingest.connection, pull, name, columns_of(pull, wanted), wanted.mapped, ingest.floor))

    return ingest.bring(org, "salesforce", pulled, mode, request, wanted.not_seen, land, load, since)[0]


def _compare_ids(org: Org, ingest: Ingest, name: str, wanted: FieldList) -> list[LandedPull]:
    """Holds every id with its stamp, and what changes without one, against what is known; pulls the records that differ."""
    fields = ["Id", "SystemModstamp", *wanted.stampless]

    def land(pull: LandedPull) -> None:
        land_ids(org, pull, name, fields, ingest.policy.pull)

    def load(pull: LandedPull) -> list[str]:
        result, differing = compare_salesforce_ids(ingest.connection, pull, name, fields, wanted.mapped, ingest.floor)
        report_pull(pull, result)
        return differing

    request = {"asked": wanted.asked, "soql": query_for(name, fields)}
    listed, differing = ingest.bring(org, "salesforce", f"{name}_ids", "ids", request, wanted.not_seen, land, load)
    if not differing:
        return [listed]
    log.info("%s: %s records differ from what increments had brought; pulling them", listed.label, f"{len(differing):,}")
    if len(differing) > ingest.policy.pull.rest_rows:
        return [listed, _bring_values(org, ingest, name, wanted, None)]
    return [listed, _bring_by_id(org, ingest, f"{name}_missed", name, wanted, differing)]
