"""What pages look up, copied once out of a snapshot into a database of the desk's own: the rows about people with findings, in the order of the worklist,
with indexes.

A snapshot is files that are read as a whole; a page wants a dozen rows of a dozen tables. The database lies on the disk, so that a large portal does not
lie in the desk's memory. It is made anew when one of its tables was published anew, and goes with the desk. A run that built nothing published the same files:
what it says of them stands in views.
"""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from assets.problems import WarehouseProblem
from assets.published.snapshot import finding_columns, seen_until
from assets.published.worklist import FOUND, NAMED, PEOPLE
from assets.sql import literal, with_memory
from review.cases import ABOUT, BASE, TEXTS

# tables that are copied as they are
_WHOLE = ("merge_advice", "finding_event", "mapped_field", "overwrite", "policy", "restorable_value", "rival", "salesforce_user", "typed_value")
_SOURCES = (
    *_WHOLE, "edit", "merge_event",
    "finding", "person_case", "hubspot_contact", "binding", "salesforce_person", "switch_event", "departure", "restorable_contact", "contact_detail",
    "record_detail", "hubspot_owner",
)  # fmt: skip
# Of DuckDB, while tables are copied, and later for all that look at once: with a hundred thousand findings the desk keeps to 300 MB. What needs more gets it.
_MEMORY_TO_COPY, _MEMORY = "148MB", "96MB"


class Near:
    """folder: goes with this object; made_of: what tells its tables from others."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="bindwatch-desk-")
        self.made_of = made_of(manifest)
        self._is_made = False

    def attach(self, connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        """Makes near.<table>, main.found, main.named and main.case_base known to a snapshot that is open. The first time it copies. folder: the snapshot's."""
        path = Path(self.folder.name) / "near.duckdb"
        # files of a snapshot never change
        connection.execute(
            f"""set memory_limit = '{_MEMORY_TO_COPY}'; set temp_directory = {literal(self.folder.name)}; set parquet_metadata_cache = true;
                set validate_external_file_cache = 'NO_VALIDATION'; set enable_progress_bar = false; set preserve_insertion_order = false;
                -- each thread holds memory of its own; and who reads small things waits for no second one
                set threads = 1"""
        )
        if not (self._is_made and path.exists()):
            path.parent.mkdir(0o700, exist_ok=True)  # many a system clears away what has lain in its temporary folder for days
            try:
                with_memory(connection, lambda: _copy(connection, path, folder))
            except (duckdb.BinderException, duckdb.CatalogException) as error:
                raise WarehouseProblem("The last snapshot was published by an older version: a column is missing. Run `bindwatch run` once.") from error
            self._is_made = True
        until = seen_until(folder)
        connection.execute(
            f"""set memory_limit = '{_MEMORY}'; attach {literal(str(path))} as near (read_only);
                create view main.found as select {finding_columns(until)} from near.found; create view main.named as from near.named;
                create view main.case_base as select * replace (is_new and {until is None} as is_new) from near.case_base"""
        )


# A page looks into a dozen tables: with DuckDB's usual blocks of 256 kB it read 16 MB from them.
_BLOCK = 65536
ROWS_OF_A_GROUP = 16_384  # who reads the findings in their order reads one group after the other


def _copy(connection: duckdb.DuckDBPyConnection, path: Path, folder: Path) -> None:
    if path.exists():  # it was begun with too little memory
        connection.execute("detach database if exists near")
        path.unlink()
    connection.execute(f"attach {literal(str(path))} as near (row_group_size {ROWS_OF_A_GROUP}, block_size {_BLOCK})")
    as_written = f"read_parquet({literal(str(folder / 'finding.parquet'))})"
    connection.execute(f"create table near.found as {FOUND.replace('published.finding', as_written)} order by place")
    for statement in f"{_NEAR} {ABOUT} {BASE} {TEXTS} {_LISTED} detach near".split(";"):
        connection.execute(statement)


# For lists of all findings: joined to each part of one, the tables of people would be read as often.
_LISTED = f"""
create view near.person_case as from near.case_about;
create table near.people as {PEOPLE.replace("main.found", "near.found").replace("published.", "near.")} order by place;
"""


def let_go(connection: duckdb.DuckDBPyConnection) -> None:
    """Gives back the memory of what was read of a snapshot. Whoever still reads it reads it from the disk again."""
    connection = connection.cursor()  # others read with it
    for limit in ("48MB", _MEMORY):
        with suppress(duckdb.Error):  # somebody needs more at this moment
            connection.execute(f"set memory_limit = '{limit}'")


def made_of(manifest: dict[str, Any]) -> tuple[object, ...]:
    return tuple(manifest["files"].get(f"{name}.parquet", {}).get("sha256") for name in _SOURCES)


_NEAR = f"""
create table near.named as from ({NAMED.replace("main.found", "near.found")}) order by about;
create or replace temp table about as
select distinct id
from (
    select hubspot_contact_id as id from near.found union all select salesforce_id from near.found union all select unnest(rival_ids) from near.found
    union all select unnest(hubspot_contact_ids) from published.person_case
    union all select unnest([hubspot_contact_id, master_id, loser_id]) from published.merge_advice
)
where id is not null;
create table near.hubspot_contact as
from published.hubspot_contact where contact_id in (from about) or (state = 'live' and bound_id in (from about)) order by contact_id;
create table near.binding as
from published.binding where hubspot_contact_id in (select contact_id from near.hubspot_contact) order by hubspot_contact_id;
create table near.salesforce_person as
from published.salesforce_person
where record_id in (
    from about union all select bound_id from near.hubspot_contact where bound_id is not null union all select unnest(candidate_ids) from near.binding
)
order by record_id;
create table near.switch_event as
from published.switch_event where hubspot_contact_id in (select contact_id from near.hubspot_contact) order by hubspot_contact_id;
create table near.departure as from published.departure where record_id in (select record_id from near.salesforce_person);
{"".join(f"create table near.{name} as from published.{name};" for name in _WHOLE)}
create table near.happened as
from (select unnest(abouts) as about, * exclude (abouts) from (
    select [hubspot_contact_id] as abouts, switched_at as happened_at, 'binding_' || cause as event, by_user_id as who, hubspot_contact_id as contact_id,
        from_id as record_id, to_id as other_id, cast(null as varchar) as name, cast(null as varchar) as value_before, cast(null as varchar) as value_after,
        cast(overwritten_count as varchar) as detail, cast(null as timestamp) as after
    from near.switch_event
    union all
    select [coalesce(contact_id, record_id)], changed_at, 'edit', source, contact_id, record_id, null, name, value_before, value_after, null, changed_after
    from published.edit where contact_id is null or not main.is_id_property(name)
    union all
    select [loser_id, winner_id, hubspot_contact_id], merged_at, 'salesforce_merge',
        null, hubspot_contact_id, loser_id, winner_id, null, null, null, outcome, null
    from published.merge_event
    union all
    select [record_id], created_at, 'created', null, null, record_id, null, null, null, null, object_type, null
    from near.salesforce_person where created_at is not null
    union all
    select [departure.record_id], departed_at, 'deleted', null, null, departure.record_id, null, null, null, null, person.object_type, null
    from near.departure as departure
    inner join near.salesforce_person as person on person.record_id = departure.record_id and person.state = 'deleted'
    where departed_at is not null
    union all
    select [contact_id], created_at, 'created', null, contact_id, null, null, null, null, null, 'contact', null
    from near.hubspot_contact where created_at is not null
    union all
    select [contact_id], archived_at, 'archived', null, contact_id, null, null, null, null, null, null, null
    from near.hubspot_contact where archived_at is not null
)) where about is not null
order by about;
create table near.contact_detail as
from published.contact_detail where contact_id in (select contact_id from near.hubspot_contact) order by contact_id;
create table near.record_detail as
from published.record_detail where record_id in (select record_id from near.salesforce_person) order by record_id;
create table near.case_detail as select case_id, lost_values from published.person_case;
drop table about;
create index found_by_fingerprint on near.found (fingerprint);
create index found_by_place on near.found (place);
create index contact_by_id on near.hubspot_contact (contact_id);
create index contact_by_record on near.hubspot_contact (bound_id);
create index person_by_id on near.salesforce_person (record_id);
create index binding_by_contact on near.binding (hubspot_contact_id);
create index switch_by_contact on near.switch_event (hubspot_contact_id);
create index restorable_by_contact on near.restorable_value (hubspot_contact_id);
create index rival_by_contact on near.rival (hubspot_contact_id);
create index overwrite_by_contact on near.overwrite (hubspot_contact_id);
create index advice_by_email on near.merge_advice (email);
create index detail_by_case on near.case_detail (case_id);
create index contact_detail_by_id on near.contact_detail (contact_id);
create index record_detail_by_id on near.record_detail (record_id);
create index happened_by_about on near.happened (about);
create index event_by_finding on near.finding_event (fingerprint);
"""
