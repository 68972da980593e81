"""`bindwatch restore-plan`: what switches and wrong merges took from contacts, as files that put it back.

Everything comes from the last published snapshot: restorable_value.sql, backfilled_value.sql and restorable_contact.sql under core/values say what it means.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from assets.problems import ConfigurationProblem
from assets.published.cells import safe_cells
from assets.sql import literal, quoted

# In the order in which they are carried out: a contact must be there before it is written to, and what Salesforce holds would overwrite
# HubSpot's value again with the next sync (rules 24, 25).
CONTACTS, LEADS, SALESFORCE_CONTACTS, HUBSPOT, BACKFILLED, UNCLEAR, LEFT_ALONE, EVIDENCE = (
    "1-restore-contacts.csv", "2-salesforce-leads.csv", "2-salesforce-contacts.csv", "3-hubspot-contacts.csv", "4-salesforce-back-filled.csv",
    "5-unclear.csv", "left-alone.csv", "evidence.csv",
)  # fmt: skip


@dataclass(frozen=True)
class RestorePlan:
    """How much there is. values: to put back in HubSpot, in contacts; corrections: of them those that Salesforce must hold first; backfilled: fields
    of records that hold another record's value; deleted: contacts to restore from the recycle bin; unclear: values that may have been typed; back, edited
    (written later), typed (into the record that the contact jumped to, or accepted), impossible: values left alone.
    """

    values: int
    contacts: int
    corrections: int
    backfilled: int
    deleted: int
    unclear: int
    back: int
    edited: int
    typed: int
    impossible: int


def find_contact(snapshot: duckdb.DuckDBPyConnection, contact_id: str) -> str:
    """The contact that has this id, or that the one with this id was merged into. Raises ConfigurationProblem when there is none."""
    row = snapshot.execute("select coalesce(merged_into_id, contact_id) from published.hubspot_contact where contact_id = ?", [contact_id.strip()]).fetchone()
    if row is None:
        raise ConfigurationProblem(f"There is no HubSpot contact {contact_id} in the last snapshot. Its id is the Record ID that HubSpot shows.")
    return str(row[0])


def write_values(
    snapshot: duckdb.DuckDBPyConnection, out: Path, since: datetime | None = None, contact: str | None = None, with_unclear: bool = False
) -> RestorePlan:
    """Writes the values to put back with their evidence to one file, safe for a spreadsheet.

    since: only what was replaced then or later (UTC); contact: of this contact alone; with_unclear: also values of which nobody can say whether they were
    typed.
    """
    _select(snapshot, since, contact)
    _copy_for_people(snapshot, f"from ({_EVIDENCE}) where status = 'restore' or ({str(with_unclear).lower()} and status = 'unclear')", out)
    return _count(snapshot)


def write_plan(
    snapshot: duckdb.DuckDBPyConnection, folder: Path, since: datetime | None = None, contact: str | None = None, with_unclear: bool = False
) -> RestorePlan:
    """Writes one file an action into `folder`, which is made; what is unclear, to a file of its own. Options as above. Raises ConfigurationProblem when it
    cannot.

    The files for imports hold the values as they were: an apostrophe that protects a spreadsheet would end up in the CRM.
    """
    _select(snapshot, since, contact)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationProblem(f"{folder} cannot be made: {error.strerror}") from error
    _copy_for_people(snapshot, _CONTACTS, folder / CONTACTS)
    for object_type, name in (("Lead", LEADS), ("Contact", SALESFORCE_CONTACTS)):
        rows = f"""select bound_id, salesforce_field, value_before from restorable
                   where status = 'restore' and must_be_in_salesforce and main.type_of_record(bound_id) = '{object_type}'"""
        _copy(snapshot, wide(snapshot, rows, "Id"), folder / name)
    _copy(
        snapshot,
        wide(snapshot, "select hubspot_contact_id, property, value_before from restorable where status = 'restore' and can_be_in_hubspot", "Record ID"),
        folder / HUBSPOT,
    )
    _copy_for_people(snapshot, _BACKFILLED, folder / BACKFILLED)
    asked = "'restore', 'unclear'" if with_unclear else "'restore'"
    if with_unclear:
        _copy_for_people(snapshot, f"from ({_EVIDENCE}) where status = 'unclear'", folder / UNCLEAR)
    else:
        (folder / UNCLEAR).unlink(missing_ok=True)  # of a plan that was written there before
    _copy_for_people(snapshot, f"from ({_EVIDENCE}) where status not in ({asked})", folder / LEFT_ALONE)
    _copy_for_people(snapshot, _EVIDENCE, folder / EVIDENCE)
    return _count(snapshot)


# The name and as much of the e-mail as finds it in a recycle bin.
_CONTACTS = """
select deleted.hubspot_contact_id, contact.display_name as name, main.masked_email(contact.email) as email,
       deleted.* exclude (hubspot_contact_id)
from deleted left join published.hubspot_contact as contact on contact.contact_id = deleted.hubspot_contact_id
order by days_left, deleted.hubspot_contact_id
"""

_EVIDENCE = """
select hubspot_contact_id, property, status, value_before, value_now, switched_at, cause,
       from_id, to_id, source, typed_at, source_before, evidence, edited_at, edited_by, bound_id, salesforce_field, salesforce_value,
       must_be_in_salesforce
from restorable
order by switched_at desc, hubspot_contact_id, property
"""

# Only people know whether both records are one person: then they are merged, and the value may stay.
_BACKFILLED = """
select to_id as "Id", salesforce_field as field, value, from_id as came_from, hubspot_contact_id, switched_at
from backfilled order by to_id, salesforce_field
"""


# The values that switches since a moment ($since, UTC) replaced; what is put back is the same, whatever moment that is.
RESTORABLE = """
from published.restorable_value
where last_switched_at >= $since
"""


def _select(snapshot: duckdb.DuckDBPyConnection, since: datetime | None, contact: str | None) -> None:
    for name, query in (
        ("restorable", RESTORABLE),
        ("backfilled", "from published.backfilled_value where switched_at >= $since"),
        ("deleted", "from published.restorable_contact where archived_at >= $since"),
    ):
        snapshot.execute(
            f"create or replace temp table {name} as from ({query}) where $contact is null or hubspot_contact_id = $contact",
            {"since": since or datetime(1970, 1, 1), "contact": contact},
        )


def wide(snapshot: duckdb.DuckDBPyConnection, rows: str, id_name: str) -> str:
    """A query with one row an id and one column a field: (id, field, value) rows turned round. A field without a value for an id is blank."""
    names = [row[0] for row in snapshot.execute(f"select distinct name from ({rows}) as value(id, name, value) order by name").fetchall()]
    columns = "".join(f", any_value(value) filter (where name = {literal(name)}) as {quoted(name)}" for name in names)
    return f"select id as {quoted(id_name)}{columns} from ({rows}) as value(id, name, value) group by id order by id"


def _count(snapshot: duckdb.DuckDBPyConnection) -> RestorePlan:
    row = snapshot.execute(
        """select count(*) filter (where status = 'restore'), count(distinct hubspot_contact_id) filter (where status = 'restore'),
                  count(*) filter (where status = 'restore' and must_be_in_salesforce), (select count(*) from backfilled), (select count(*) from deleted),
                  count(*) filter (where status = 'unclear'), count(*) filter (where status = 'back'),
                  count(*) filter (where status in ('edited_later', 'awaits_sync')),
                  count(*) filter (where status in ('typed', 'accepted')),
                  count(*) filter (where status in ('typed_over', 'brought', 'of_account', 'read_only', 'contact_gone'))
           from restorable"""
    ).fetchone()
    assert row is not None  # an aggregate has one row
    return RestorePlan(*row)


def _copy_for_people(snapshot: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    _copy(snapshot, safe_cells(snapshot, query), path)


def _copy(snapshot: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    try:
        snapshot.execute(f"copy ({query}) to ? (format csv, header)", [str(path)])
    except duckdb.IOException as error:
        raise ConfigurationProblem(f"{path} cannot be written.") from error
