"""What people see for fields, as both CRMs told it last."""

from collections.abc import Mapping

import duckdb

from assets.pull.described import Described


def note_labels(connection: duckdb.DuckDBPyConnection, object_type: str, described: Mapping[str, Described]) -> None:
    """What people see for fields, in place of what they saw before. object_type: Lead, Contact, or contact for HubSpot's."""
    rows = [[object_type, name, one.label] for name, one in described.items() if one.label]
    connection.execute("delete from raw.field_label where object_type = ?", [object_type])
    if rows:
        connection.executemany("insert into raw.field_label values (?, ?, ?)", rows)
