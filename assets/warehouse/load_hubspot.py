"""Loads pulls of HubSpot contacts, their property history, and the members of the inclusion list."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from assets.moments import naive
from assets.pull.described import Described
from assets.pull.landing import LandedPull
from assets.pull.reading import CONTACT_STAMP, LIST_MEMBER, WITHOUT_ID, Reader, contact_values, from_pages, stage, stage_ids
from assets.sql import count, count_rows, transaction
from assets.warehouse.file import in_little_memory
from assets.warehouse.labels import note_labels
from assets.warehouse.presence import compare_ids
from assets.warehouse.set_aside import note_asides
from assets.warehouse.shrinkage import Floor, note_count
from assets.warehouse.versions import load_versions
from assets.warehouse.watermark import LoadResult, asked_before, can_be_loaded, next_pull_no, note_pull

_EARLIER = 5  # days: an archived contact that is gone a little before HubSpot's bin drops it is no wonder


def note_properties(connection: duckdb.DuckDBPyConnection, described: Mapping[str, Described]) -> None:
    """What the portal says of the properties that are pulled, in place of what it said before."""
    rows = [[name, one.type, one.field_type, dict(one.labels) or None] for name, one in described.items()]
    with transaction(connection):
        connection.execute("delete from raw.hubspot_property")
        if rows:
            connection.executemany("insert into raw.hubspot_property values (?, ?, ?, ?)", rows)
        note_labels(connection, "contact", described)


def load_hubspot_contacts(
    connection: duckdb.DuckDBPyConnection,
    pull: LandedPull,
    properties: Sequence[str],
    floor: Floor = Floor(),  # noqa: B008
) -> LoadResult:
    """Loads a pull of contacts, live or archived: their versions and the history entries that came with them.

    properties: that were asked for; what HubSpot sends unasked is left out. A contact that cannot be read is set aside, and its last good version stays in
    force. Raises LoadProblem when the pages are not what was noted.
    """

    def incoming(paths: list[Path]) -> str:
        return f"""
            select
                contact.id as id, contact."createdAt" as created_at, contact."updatedAt" as updated_at, coalesce(contact.archived, false) as archived,
                contact."archivedAt" as archived_at, cast(contact.properties as map(varchar, varchar)) as properties,
                contact."propertiesWithHistory" as history
            from ({from_pages(paths, contact_values(properties))}) as page(contact)"""

    unusable = """case
        when coalesce(id, '') = '' then 'without_id'
        when properties is null then 'without_properties'
        when main.utc(coalesce(properties['lastmodifieddate'], updated_at)) is null then 'modified_stamp' end"""

    def load() -> LoadResult:
        return load_versions(
            connection, pull, "raw.hubspot_contact", "id", "updated_at", Reader("id", "results", [], incoming, unusable), "contact", floor, with_history=True
        )

    return in_little_memory(connection, pull.rows + count_rows(connection, "raw.hubspot_contact"), load)


def load_list_members(connection: duckdb.DuckDBPyConnection, pull: LandedPull, floor: Floor = Floor()) -> LoadResult:  # noqa: B008
    """Replaces the members of the inclusion list. Raises Shrunken when so many left it that the list is not believed."""
    if not can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0)

    def listed(paths: list[Path]) -> str:
        return f'select member."recordId" as id from ({from_pages(paths, LIST_MEMBER)}) as page(member)'

    stage(connection, pull, "create or replace temp table incoming (id varchar)", Reader("recordId", "results", [], listed, WITHOUT_ID))
    if asked_before(connection, "hubspot", "inclusion_list") == pull.manifest.request["asked"]:  # another list has other members
        known = count_rows(connection, "raw.hubspot_list_member")
        floor.hold(connection, "inclusion_list", known, max(0, known - count(connection, "select count(distinct id) from incoming")))
    with transaction(connection):
        result = LoadResult(pull.rows, 0)
        note_pull(connection, pull, result, None)
        connection.execute("delete from raw.hubspot_list_member")
        connection.execute("insert into raw.hubspot_list_member select distinct id, (select max(pull_no) from raw.pull) from incoming")
        return result


def no_longer_archived(connection: duckdb.DuckDBPyConnection, archived: LandedPull) -> list[str]:
    """Contacts last seen archived that a complete pull of the archived ones does not have: restored (or purged, after 90 days)."""
    if not archived.manifest.complete:
        return []
    stage_ids(connection, archived)
    now = naive(archived.manifest.crm_time or archived.manifest.started_at)
    query = """
        select id from raw.hubspot_contact
        where id in (select id from raw.hubspot_contact where archived)
        group by id
        having max_by(archived, pull_no) and max_by(main.utc(archived_at), pull_no) > $now::timestamp - main.hubspot_keeps() + to_days($earlier)
           and id not in (select id from incoming) and id not in (select id from aside)
        order by length(id), id"""
    return [row[0] for row in connection.execute(query, {"now": now, "earlier": _EARLIER}).fetchall()]


def compare_archived(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> list[str]:
    """Holds ids and stamps of archived contacts against what is known. Returns the ids of those that are new, were live, or differ, in order."""
    if not can_be_loaded(connection, pull):
        return []

    def listed(paths: list[Path]) -> str:
        return f"""
            select contact.id as id, contact."updatedAt" as stamp, contact."archivedAt" as archived_at
            from ({from_pages(paths, CONTACT_STAMP)}) as page(contact)"""

    reader = Reader("id", "results", [], listed, WITHOUT_ID)
    stage(connection, pull, "create or replace temp table incoming (id varchar, stamp varchar, archived_at varchar)", reader)
    with transaction(connection):
        note_asides(connection, "contact", next_pull_no(connection))
        note_pull(connection, pull, LoadResult(pull.rows, 0), None)
        differing = connection.execute(
            """with known as (
                   select id, max_by(archived, pull_no) as archived, max_by(updated_at, pull_no) as stamp, max_by(archived_at, pull_no) as archived_at
                   from raw.hubspot_contact where id in (select id from incoming) group by id
               )
               select distinct listed.id, length(listed.id) from incoming as listed left join known on known.id = listed.id
               where known.id is null or not known.archived or main.utc(listed.stamp) is distinct from main.utc(known.stamp)
                  or main.utc(listed.archived_at) is distinct from main.utc(known.archived_at)
               order by length(listed.id), listed.id"""
        ).fetchall()
    return [row[0] for row in differing]


def not_archived(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[str]:
    """Those of these contacts that were not read as archived, and not set aside either."""
    query = """
        select id from (select unnest(cast($ids as varchar[])) as id)
        where id not in (select id from raw.hubspot_contact group by id having max_by(archived, pull_no))
          and id not in (select id from raw.set_aside where object = 'contact')
        order by length(id), id"""
    return [row[0] for row in connection.execute(query, {"ids": list(ids)}).fetchall()]


def note_emptied_archive(connection: duckdb.DuckDBPyConnection, archived: LandedPull) -> None:
    """A list of archived contacts that is empty although some were known, and none of them came back, is not believed (core.shrink)."""
    still = no_longer_archived(connection, archived) if archived.manifest.complete and not archived.rows else []
    note_count(connection, "hubspot.contact", "archived", len(still), 0)


def compare_hubspot_ids(connection: duckdb.DuckDBPyConnection, pull: LandedPull, floor: Floor = Floor()) -> tuple[LoadResult, list[str]]:  # noqa: B008
    """Holds all ids and stamps of live contacts against what is known, and notes which ids are missing or back.

    Returns also the ids of contacts that are new or differ, in order.
    """

    def listed(paths: list[Path]) -> str:
        return f'select contact.id as id, contact."updatedAt" as stamp from ({from_pages(paths, CONTACT_STAMP)}) as page(contact)'

    query = """
        with known as (
            select id, max_by(updated_at, pull_no) as stamp, max_by(archived, pull_no) as archived from raw.hubspot_contact group by id
        )
        select distinct listed.id, length(listed.id) from incoming as listed left join known on known.id = listed.id
        where known.id is null or known.archived or main.utc(listed.stamp) is distinct from main.utc(known.stamp)
        order by length(listed.id), listed.id"""
    reader = Reader("id", "results", [], listed, WITHOUT_ID)
    return compare_ids(connection, pull, "id varchar, stamp varchar", reader, "raw.hubspot_contact", "id", "contact", query, floor)
