"""The tables through which the policy reaches SQL."""

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

import duckdb

from assets.policy import KNOB_VALUES, OBJECTS, CheckSetting, ConsentKind, ConsentValues, MappingRule, Policy
from assets.sql import transaction


def write_policy(connection: duckdb.DuckDBPyConnection, policy: Policy, salesforce_url: str, checks: Sequence[dict[str, str | None]]) -> None:
    """Writes `policy`, `knob_value`, `field_mapping` and `check_policy`, the tables through which the policy reaches SQL.

    checks: what each says of itself, by the columns of check_policy.
    """
    portal = policy.links.hubspot_portal_id
    row = {
        **policy.policy.model_dump(mode="json"),
        "shrink_records": policy.pull.shrink_records,
        "shrink_percent": policy.pull.shrink_percent,
        "assign_by_owner": policy.desk.assign_by_owner,
        "salesforce_record_url": f"{salesforce_url.rstrip('/')}/",
        "hubspot_record_url": f"https://app.hubspot.com/contacts/{portal}/record/0-1/" if portal else "https://app.hubspot.com/l/contacts/record/0-1/",
    }
    text = ("integration_user_id", "inclusion_list_id")  # JSON null has no type of its own
    mapping = [
        {
            "property": m.hubspot,
            "object_type": object_type,
            "salesforce_field": field,
            "rule": m.rule,
            "position": position,
            "consent": m.consent_kind is not None,
            "consent_kind": m.consent_kind,
            "granted": _values(m.consent, "granted"),
            "denied": _values(m.consent, "denied"),
        }
        for position, m in enumerate(policy.mapped, 1)
        for object_type in policy.policy.objects
        if (field := m.field_of(object_type)) is not None
    ]
    settings = [{**check, **policy.checks.get(str(check["check_name"]), CheckSetting()).model_dump()} for check in checks]
    with transaction(connection):
        columns = ", ".join(
            f"cast($row {'->' if isinstance(value, list) else '->>'} '{name}' as {'varchar' if name in text else _sql_type(value)}) as {name}"
            for name, value in row.items()
        )
        connection.execute(f"create or replace table main.policy as select {columns}", {"row": json.dumps(row)})
        connection.execute("update main.policy set integration_user_id = coalesce(main.salesforce_id18(integration_user_id), integration_user_id)")
        _replace_table(connection, "main.knob_value", "knob varchar, value varchar", _knob_values(policy))
        _replace_table(
            connection,
            "main.field_mapping",
            "property varchar, object_type varchar, salesforce_field varchar, rule varchar, position bigint, consent boolean, consent_kind varchar, "
            "granted varchar[], denied varchar[]",
            mapping,
        )
        _replace_table(
            connection, "main.check_policy",
            "check_name varchar, suite varchar, default_severity varchar, basis varchar, default_harm varchar, about varchar, severity varchar, "
            "max_findings bigint, title varchar, why varchar, "
            "otherwise varchar, rests_on varchar, title_de varchar, why_de varchar, otherwise_de varchar", settings,
        )  # fmt: skip


def _knob_values(policy: Policy) -> list[dict[str, Any]]:
    """Every value that a knob may have, in the order of assets/policy.py, and the one in force."""
    values = {
        **{f"policy.{name}": [*known, getattr(policy.policy, name)] for name, known in KNOB_VALUES.items()},
        "policy.objects": [*OBJECTS, *policy.policy.objects],
        "mapping.rule": [*get_args(MappingRule), *(entry.rule for entry in policy.mapped)],
        "mapping.consent": [*get_args(ConsentKind), *(entry.consent_kind for entry in policy.mapped if entry.consent_kind)],
    }
    return [{"knob": name, "value": value} for name, known in values.items() for value in dict.fromkeys(known)]


def _values(consent: object, side: Literal["granted", "denied"]) -> list[str] | None:
    return list(getattr(consent, side)) if isinstance(consent, ConsentValues) else None


def _sql_type(value: object) -> str:
    kinds: dict[type, str] = {bool: "boolean", int: "bigint", float: "double", list: "varchar[]"}
    return kinds.get(type(value), "varchar")


def _replace_table(connection: duckdb.DuckDBPyConnection, name: str, columns: str, rows: list[dict[str, Any]]) -> None:
    connection.execute(
        f"create or replace table {name} as select unnest(from_json(?, '[{_shape(columns)}]'), max_depth := 2)",
        [json.dumps([{column.split()[0]: row[column.split()[0]] for column in columns.split(", ")} for row in rows])],
    )


def _shape(columns: str) -> str:
    """`name type, name type[]` as from_json wants it."""
    kinds = dict(column.split() for column in columns.split(", "))
    return json.dumps({name: [kind.removesuffix("[]")] if kind.endswith("[]") else kind for name, kind in kinds.items()})
