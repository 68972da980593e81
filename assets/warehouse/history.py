"""The property history of HubSpot contacts: every entry once, and of which contacts it was read."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb

from assets.pull.landing import Aside, LandedPull
from assets.pull.reading import CONTACT_HISTORY, HISTORY, Reader, from_pages, stage
from assets.sql import count, count_rows, transaction
from assets.warehouse.file import in_little_memory
from assets.warehouse.watermark import LoadResult, can_be_loaded, note_pull


def load_hubspot_history(connection: duckdb.DuckDBPyConnection, pull: LandedPull, contact_ids: list[str]) -> LoadResult:
    """Loads the history of mapped properties, and notes of which contacts it was read, with or without entries. contact_ids: that were asked for."""
    if not can_be_loaded(connection, pull):
        return LoadResult(pull.rows, 0)
    unread = {aside.id for aside in [*pull.asides, *stage_history(connection, pull)]}
    with transaction(connection):
        note_pull(connection, pull, LoadResult(pull.rows, 0), None)
        result = LoadResult(pull.rows, load_history(connection))
        connection.execute("update raw.pull set new_versions = ? where pull_id = ?", [result.new_versions, pull.manifest.pull_id])
        read = [contact_id for contact_id in contact_ids if contact_id not in unread]
        connection.execute("insert into raw.hubspot_history_read select unnest(cast(? as varchar[])), (select max(pull_no) from raw.pull)", [read])
    return result


# Who there is, as pulled: contacts under the e-mails that may lead to a record, live records, and who could take a contact's binding over. More than the
# models make of it (core.rival) may be in here, and nothing less. secondary_email_matches: of the policy.
PEOPLE = """with renewed as (
        -- most have one version: only the others need looking for their latest
        select id, max(pull_no) as pull_no
        from (
            select id, pull_no from raw.hubspot_contact
            union all select record_id, pull_no from raw.salesforce_lead
            union all select record_id, pull_no from raw.salesforce_contact
        ) group by id having count(*) > 1
    ),
    contact as (
        select version.id, version.pull_no, main.matching_email(properties['email']) as email, properties['hs_additional_emails'] as additional_emails,
            left(main.trim_text(properties[main.id_property('Lead')]), 15) as lead_id,
            left(main.trim_text(properties[main.id_property('Contact')]), 15) as contact_id
        from raw.hubspot_contact as version
        left join renewed on renewed.id = version.id
        where (renewed.pull_no is null or renewed.pull_no = version.pull_no) and not archived
    ),
    record as (
        select version.record_id, object_type, version.pull_no, main.matching_email(email) as email,
            coalesce(main.is_true(is_deleted), false) or coalesce(main.is_true(is_converted), false) as is_gone,
            coalesce(master_record_id, '') as merged_into
        from (select 'Lead' as object_type, * from raw.salesforce_lead union all select 'Contact', * from raw.salesforce_contact) as version
        left join renewed on renewed.id = version.record_id
        where renewed.pull_no is null or renewed.pull_no = version.pull_no
    ),
    cluster as (
        select email from record where email is not null and not is_gone group by email having count(*) > 1
    ),
    address as (
        select id, lead_id, contact_id, email from contact where email is not null
        union
        select id, lead_id, contact_id, main.matching_email(address)
        from (
            select *, unnest(string_split(additional_emails, ';')) as address from contact where $secondary_email_matches and additional_emails <> '')
    ),
    rival as (
        select address.id, record.record_id, record.pull_no
        from address
        inner join record on record.email = address.email and not record.is_gone
        where left(record.record_id, 15) is distinct from address.lead_id and left(record.record_id, 15) is distinct from address.contact_id
          and (coalesce(address.lead_id, '') <> '' or coalesce(address.contact_id, '') <> '' or address.email in (select email from cluster))
    )"""


@dataclass(frozen=True)
class WithoutHistory:
    """Live contacts whose history of mapped properties is needed and was not read since they changed. switched: their binding changed, so that the history
    of the sync time is needed, too; others: a record that they are not bound to could take the binding over.
    """

    switched: list[str]
    others: list[str]


HUBSPOT_READ, SALESFORCE_READ = "raw.hubspot_history_read", "raw.salesforce_history_read"
# What decides who needs a history, and whose its rows are: tables that only grow.
_VERSIONS = {"hubspot_contact": "id", "salesforce_lead": "record_id", "salesforce_contact": "record_id", "hubspot_property_version": "contact_id"}
_READ = {"hubspot_history_read": "contact_id", "salesforce_history_read": "record_id"}
_ASSETS = Path(__file__).parent.parent
_SQL = ("raw/macros", "staging/hubspot_contact", "staging/salesforce_version", "staging/salesforce_record")
_CODE = [*(f"warehouse/{name}.py" for name in ("history", "authors")), *(f"models/sql/{name}.sql" for name in _SQL)]


def all_read_until(connection: duckdb.DuckDBPyConnection, read: str, secondary_email_matches: bool) -> int | None:
    """Up to which pull every history that is needed was read. None: nobody knows of any. read: the table that says whose was read."""
    told = connection.execute("select state from main.history_all_read where read_table = ?", [read]).fetchone()
    until = int(told[0].partition(" ")[0]) if told and told[0].partition(" ")[0].isdigit() else None
    return until if told and until is not None and told[0] == _state(connection, read, secondary_email_matches, until) else None


def note_all_read(connection: duckdb.DuckDBPyConnection, read: str, secondary_email_matches: bool) -> None:
    until = count(connection, "select coalesce(max(pull_no), 0) from raw.pull")
    connection.execute("insert or replace into main.history_all_read values (?, ?)", [read, _state(connection, read, secondary_email_matches, until)])


def _state(connection: duckdb.DuckDBPyConnection, read: str, secondary_email_matches: bool, until: int) -> str:
    """All that decided by that pull whose history is needed: how large the tables were, the policy, and the code that works it out."""
    sizes = [count(connection, f"select count(*) from {table} where pull_no <= {until}") for table in (*(f"raw.{name}" for name in _VERSIONS), read)]
    code = sha256(b"".join((_ASSETS / name).read_bytes() for name in _CODE)).hexdigest()
    return f"{until} {sizes} {secondary_email_matches} {code[:16]}"


def who_needs_a_history(connection: duckdb.DuckDBPyConnection, query: str, secondary_email_matches: bool, since: int | None) -> list[tuple[Any, ...]]:
    """What a query over raw answers to whose history is needed and was not read. since: all that were needed by that pull were read, so it is asked about
    those alone whom later ones touched, and about whoever shares an e-mail or an id with them; None: about everybody.
    """
    rows = sum(count_rows(connection, f"raw.{table}") for table in ("hubspot_contact", "salesforce_lead", "salesforce_contact"))

    if since is not None and not count(connection, f"select count(*) from ({_touched(since)})"):
        return []

    def ask() -> list[tuple[Any, ...]]:
        of_some = since is not None and _bring_who_is_in_question(connection, since)
        return connection.execute(query.replace("raw.", "temp.") if of_some else query, {"secondary_email_matches": secondary_email_matches}).fetchall()

    return in_little_memory(connection, rows, ask)


def _touched(since: int) -> str:
    return " union ".join(f"select {key} as id from raw.{table} where pull_no > {since}" for table, key in _VERSIONS.items())


def _bring_who_is_in_question(connection: duckdb.DuckDBPyConnection, since: int) -> bool:
    """Has the rows of whom pulls touched, and of those who share an e-mail or an id with them, in temporary tables named as those in raw.

    The e-mails of the others are those that the models hold, which is a tenth of the work. Returns False where they hold none, or not of all.
    """
    built = "select count(*) from duckdb_tables() where schema_name = 'staging' and table_name in ('hubspot_contact', 'salesforce_record')"
    if count(connection, built) < 2:
        return False
    # a policy may leave Leads out
    if count_rows(connection, "raw.salesforce_lead") and not count(connection, "select count(*) from staging.salesforce_record where object_type = 'Lead'"):
        return False
    held = "select pull_no from staging.hubspot_contact union all select pull_no from staging.salesforce_record"
    since = min(since, count(connection, f"select coalesce(max(pull_no), 0) from ({held})"))
    new = f"where pull_no > {since}"
    connection.execute(f"create or replace temp table touched as {_touched(since)}")
    connection.execute(
        f"""create or replace temp table shared as
            select main.matching_email(email) as email from raw.salesforce_lead {new}
            union select main.matching_email(email) from raw.salesforce_contact {new}
            union select main.matching_email(properties['email']) from raw.hubspot_contact {new}
            union select main.matching_email(unnest(string_split(properties['hs_additional_emails'], ';'))) from raw.hubspot_contact {new}"""
    )
    connection.execute(
        """create or replace temp table in_question as
           with carried as (
               select contact_id, left(main.trim_text(value), 15) as short_id
               from raw.hubspot_property_version where main.is_id_property(property) and value <> ''
           ),
           address as (
               select contact_id, unnest(additional_emails) as email from staging.hubspot_contact where len(additional_emails) > 0
           )
           from touched
           union select record_id from staging.salesforce_record where email in (from shared)
           union select contact_id from staging.hubspot_contact where email in (from shared)
           union select contact_id from address where email in (from shared)
           union select contact_id from carried where short_id in (select left(id, 15) from touched)
           union
           select record_id from staging.salesforce_record where left(record_id, 15) in (select short_id from carried where contact_id in (from touched))"""
    )
    for table, key in {**_VERSIONS, **_READ}.items():
        told = "* exclude (fields)" if table.startswith("salesforce_") and table in _VERSIONS else "*"
        # rows are found first, because their columns are then read where they stand alone
        rows = f"select rowid from raw.{table} where {key} in (from in_question)"
        connection.execute(f"create or replace temp table {table} as select {told} from raw.{table} where rowid in ({rows})")
    return True


def contacts_without_history(connection: duckdb.DuckDBPyConnection, secondary_email_matches: bool, since: int | None = None) -> WithoutHistory:
    """since: of who_needs_a_history."""
    query = f"""
        {PEOPLE},
        read as (
            select contact_id, max(pull_no) as pull_no from raw.hubspot_history_read group by contact_id
        ),
        switched as (
            select contact_id
            from raw.hubspot_property_version
            where main.is_id_property(property)
            group by contact_id
            having count(distinct nullif(value, '')) > 1
        )
        select contact.id, switched.contact_id is not null
        from contact
        left join read on read.contact_id = contact.id
        left join switched on switched.contact_id = contact.id
        where (switched.contact_id is not null or contact.email in (select email from cluster) or contact.id in (select id from rival))
          and contact.pull_no > coalesce(read.pull_no, 0)
        order by length(contact.id), contact.id"""
    found = who_needs_a_history(connection, query, secondary_email_matches, since)
    return WithoutHistory([contact_id for contact_id, switched in found if switched], [contact_id for contact_id, switched in found if not switched])


def stage_history(connection: duckdb.DuckDBPyConnection, pull: LandedPull) -> list[Aside]:
    """Reads the history entries of a pull into the temporary table `entry`. Returns the contacts whose history cannot be read."""

    def histories(paths: list[Path]) -> str:
        return f'select contact.id as id, contact."propertiesWithHistory" as history from ({from_pages(paths, CONTACT_HISTORY)}) as page(contact)'

    shape = f"create or replace temp table incoming (id varchar, history {HISTORY})"
    asides = stage(connection, pull, shape, Reader("id", "results", [], histories, "cast(null as varchar)"))
    stage_entries(connection)
    return asides


def stage_entries(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the temporary table `entry` of the histories in `incoming`, which has none after that."""
    connection.execute(
        """create or replace temp table entry as
           select contact_id, property, version."value" as value, version."timestamp" as changed_at, version."sourceType" as source_type,
               version."sourceId" as source_id
           from (
               select contact_id, history.key as property, unnest(history.value) as version
               from (select id as contact_id, unnest(map_entries(history)) as history from incoming)
           )
           where contact_id is not null and version."timestamp" is not null"""
    )
    connection.execute("alter table incoming drop column history")


def load_history(connection: duckdb.DuckDBPyConnection) -> int:
    """Adds the entries that are new. Returns how many."""
    row = connection.execute(
        """insert into raw.hubspot_property_version
           select distinct entry.*, (select max(pull_no) from raw.pull)
           from entry
           left join raw.hubspot_property_version as known
               on known.contact_id = entry.contact_id and known.property = entry.property and known.changed_at = entry.changed_at
               and known.value is not distinct from entry.value and known.source_type is not distinct from entry.source_type
           where known.contact_id is null"""
    ).fetchone()
    connection.execute("drop table entry")
    return int(row[0]) if row else 0
