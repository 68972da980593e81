"""What both CRMs say of a field: which type it has, who may write it, and what people see for the values of a pick list."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Described:
    """A Salesforce field or a HubSpot property. type: in the CRM's own words; field_type: HubSpot's form field; is_writable: somebody may write it, None where
    nobody says; labels: of a pick list what people see, by value; label: what they see for the field itself.
    """

    type: str
    field_type: str | None = None
    is_writable: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None


def of_salesforce(entry: Mapping[str, Any], is_related: bool = False) -> Described:
    """An entry of describe. is_related: of another object, where nobody can write it through this one."""
    is_writable = bool(entry["updateable"]) and not entry.get("calculated") if "updateable" in entry else None
    return Described(str(entry.get("type", "string")), None, False if is_related else is_writable, _labels(entry.get("picklistValues")), entry.get("label"))


def of_hubspot(entry: Mapping[str, Any]) -> Described:
    """An entry of HubSpot's property list."""
    return Described(str(entry.get("type") or "string"), entry.get("fieldType"), None, _labels(entry.get("options")), entry.get("label"))


def _labels(options: Any) -> dict[str, str]:
    found = options if isinstance(options, list) else []
    return {str(one["value"]): str(one["label"]) for one in found if isinstance(one, dict) and one.get("value") not in (None, "") and one.get("label")}
