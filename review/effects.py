"""What becomes of HubSpot's value of a field when a record decides: the models' own expression, planned once, for the first who asks.

Planning it takes ten times as long as a page has for it, and a sixth of the time in which a small snapshot is opened. DuckDB plans a prepared statement anew
whenever that reads a table, so this one reads none: the mapped fields and the policy stand in it as constants.
"""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import duckdb

from assets.sql import literal

# What main.switch_effect looks at.
_FIELD = ("property", "rule", "kind", "consent_kind", "granted", "is_writable", "hubspot_labels", "salesforce_labels")
_POLICY = ("opt_out", "blank_on_switch")


class Effects:
    """Of one policy and its mapped fields. Several threads may use it at once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, fields: Sequence[Mapping[str, Any]], policy: Mapping[str, Any]) -> None:
        """fields: rows of `mapped_field`; policy: the row of `policy`."""
        self._connection = connection.cursor()
        self._lock = Lock()
        self._number = {(field["property"], field["object_type"]): number for number, field in enumerate(fields)}
        self._query = f"""prepare effects as
            select main.switch_effect(asked.hubspot_value, asked.salesforce_value, mapped.field, {_struct(policy, _POLICY)})
            from (select unnest($1::integer[]) as place, unnest($2::integer[]) as number,
                         unnest($3::varchar[]) as hubspot_value, unnest($4::varchar[]) as salesforce_value) as asked
            inner join (values {", ".join(f"({number}, {_struct(field, _FIELD)})" for number, field in enumerate(fields))}) as mapped(number, field)
                on mapped.number = asked.number
            order by asked.place"""
        self._is_planned = False

    def of(self, values: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """overwrite, clear, backfill, fill or None, by value. values: property, object_type, hubspot_value and salesforce_value of mapped fields."""
        if not values:
            return []
        numbers = [self._number[value["property"], value["object_type"]] for value in values]
        # the types are those of the plan: for others it would be made anew
        given = [f"{literal(column)}::integer[]" for column in (list(range(len(values))), numbers)]
        given += [f"{literal([value[name] for value in values])}::varchar[]" for name in ("hubspot_value", "salesforce_value")]
        with self._lock:
            if not self._is_planned:
                self._connection.execute(self._query)
                self._is_planned = True
            return [effect for (effect,) in self._connection.execute(f"execute effects({', '.join(given)})").fetchall()]


def _struct(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return "{" + ", ".join(f"'{name}': {_constant(row[name], name)}" for name in names) + "}"


def _constant(value: object, name: str) -> str:
    if name.endswith("_labels"):
        keys, labels = (list(value), list(value.values())) if isinstance(value, dict) else ([], [])
        return f"map({literal(keys)}::varchar[], {literal(labels)}::varchar[])"
    return f"{literal(value)}::{'varchar[]' if name == 'granted' else 'boolean' if name == 'is_writable' else 'varchar'}"
