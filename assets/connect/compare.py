"""What was found out, as it is told, and beside it what the policy says: setting by setting."""

import re
from dataclasses import dataclass, field
from typing import Any

from assets.connect.discover import Discovery
from assets.connect.exported import Exported
from assets.policy import NEVER_COMPARED, Mapping, Policy
from assets.record_ids import long_id

KNOBS = (
    "first_sync", "follow_up", "recency", "integration_user_id", "create_object", "on_lead_deleted", "on_contact_deleted", "secondary_email_matches",
    "blank_on_switch", "opt_out", "inclusion_list_id",
)  # fmt: skip
_ENOUGH = 5  # pairs in which a property is filled, before it is said that the integration never wrote it
_SIDE = re.compile(r"^(mapping\.[^.]+)\.(?:lead|contact)$")
Contradiction = dict[str, Any]


@dataclass
class Told:
    """What a discovery says, as the contract has it. A value that cannot be told is null, and its setting stands in unknown. disagreements: where HubSpot's
    own export says otherwise than the data.
    """

    found: Discovery
    mapping: list[dict[str, Any]] = field(default_factory=list)
    knobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    disagreements: list[dict[str, Any]] = field(default_factory=list)


def tell(found: Discovery, exports: dict[str, Exported] | None = None) -> Told:
    """exports: HubSpot's export of the mappings, by property; it outweighs what was inferred."""
    told = Told(found)
    if found.kind in ("middleware", "none"):
        told.knobs = {name: {"value": None, "certain": False, "cases_for": 0, "cases_against": 0} for name in KNOBS}
        told.knobs["inclusion_list_id"]["candidates"] = []
        told.unknown = list(told.knobs)
        return told
    told.mapping, told.disagreements = _mapping(found, exports or {})
    told.knobs = {name: _knob(found, name) for name in KNOBS}
    told.knobs["inclusion_list_id"]["candidates"] = found.lists
    told.unknown = [name for name, knob in told.knobs.items() if not knob["certain"]]
    told.unknown += [f"mapping.{entry['hubspot']}" for entry in told.mapping if not entry["certain"]]
    told.unknown += [f"mapping.{entry['hubspot']}.rule" for entry in told.mapping if entry["rule"] is None]
    told.unknown += [f"mapping.{name}" for name in found.unmatched if name not in {entry["hubspot"] for entry in told.mapping}]
    return told


def _knob(found: Discovery, name: str) -> dict[str, Any]:
    row = found.knobs.get(name, {"value": None, "certain": False, "cases_for": 0, "cases_against": 0})
    value = row["value"] if row["certain"] else None
    if name == "secondary_email_matches" and value is not None:
        value = value == "true"
    return {"value": value, "certain": bool(row["certain"]), "cases_for": int(row["cases_for"]), "cases_against": int(row["cases_against"])}


def _mapping(found: Discovery, exports: dict[str, Exported]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The mapped fields, and where HubSpot's export says otherwise than the data: it outweighs them, and only its rows are mapped then."""
    inferred = {
        row["property"]: {
            "hubspot": row["property"], "lead": row["lead"], "contact": row["contact"], "rule": row["rule"],
            "consent": _consent(row), "certain": bool(row["certain"]), "from": row["from"],
            "pairs": int(row["pairs"]), "equal": int(row["equal"]), "cases_for": int(row["cases_for"]), "cases_against": int(row["cases_against"]),
        }
        for row in found.mapping
    }  # fmt: skip
    if not exports:
        return list(inferred.values()), []
    mapping, disagreements = [], []
    for name, row in sorted(exports.items()):
        known = inferred.get(name)
        entry = {
            "hubspot": name, "lead": _meant(row, row.lead, known, "lead"), "contact": _meant(row, row.contact, known, "contact"),
            "rule": row.rule if row.rule is not None else known and known["rule"],
            "consent": known["consent"] if known else False, "certain": True, "from": "file",
            **{key: known[key] if known else 0 for key in ("pairs", "equal", "cases_for", "cases_against")},
        }  # fmt: skip
        mapping.append(entry)
        if known is not None and known["certain"]:
            for key in ("lead", "contact", "rule"):
                if known[key] is not None and entry[key] is not None and known[key] != entry[key]:
                    disagreements.append({"hubspot": name, "file": entry[key], "found": known[key]})
        elif known is None and found.written.get(name, (1, 0))[0] == 0 and found.written[name][1] >= _ENOUGH and row.rule != "none":
            disagreements.append({"hubspot": name, "file": row.lead or row.contact, "found": None})
    for name, known in inferred.items():
        if name not in exports and known["certain"]:
            disagreements.append({"hubspot": name, "file": None, "found": known["lead"] or known["contact"]})
    return mapping, disagreements


def _meant(row: Exported, field: str | None, known: dict[str, Any] | None, side: str) -> str | None:
    """The field that a row names; of several with its label, the one that the data say."""
    found = known[side] if known is not None and known["certain"] else None
    return found if field is not None and found in row.may_mean else field


def _consent(row: dict[str, Any]) -> Any:
    """Whether a field says that the person may be written to, as the policy has it; true is opted_out."""
    if row["consent"] == "listed":
        return {"granted": row["granted"], "denied": row["denied"]}
    return row["consent"] == "opted_out" or row["consent"] or False


def contradictions(told: Told, policy: Policy, list_exists: bool = True) -> list[Contradiction]:
    """Where the policy has something certain otherwise. list_exists: is there the inclusion list that it names?"""
    result: list[Contradiction] = []
    for name, knob in told.knobs.items():
        configured = getattr(policy.policy, name)
        if name == "integration_user_id" and configured:
            configured = long_id(configured)
        if knob["certain"] and configured != knob["value"]:
            result.append({"setting": name, "file": configured, "found": knob["value"]})
    if (list_id := policy.policy.inclusion_list_id) is not None and not list_exists:
        result.append({"setting": "inclusion_list_id", "file": list_id, "found": None})
    configured_mapping = {one.hubspot: one for one in policy.mapped}
    sides = sure_sides(told)
    for entry in told.mapping:
        name = entry["hubspot"]
        if not entry["certain"] or name in NEVER_COMPARED:
            continue
        known = configured_mapping.get(name)
        if known is None:
            if any(entry[one.lower()] for one in policy.policy.objects):
                result.append({"setting": f"mapping.{name}", "file": None, "found": fields_text(entry)})
            continue
        for object_type in policy.policy.objects:
            side = object_type.lower()
            if entry[side] is not None and side in sides[name] and known.field_of(object_type) != entry[side]:
                result.append({"setting": f"mapping.{name}.{side}", "file": known.field_of(object_type), "found": entry[side]})
        if entry["rule"] is not None and known.rule != entry["rule"]:
            result.append({"setting": f"mapping.{name}.rule", "file": known.rule, "found": entry["rule"]})
        elif entry["rule"] is None and known.rule == "none":
            result.append({"setting": f"mapping.{name}", "file": "none", "found": fields_text(entry)})
    for name, known in configured_mapping.items():
        if known.rule != "none" and name not in NEVER_COMPARED and is_refuted(told, name):
            result.append({"setting": f"mapping.{name}", "file": fields_of(known), "found": None})
    return result


def sure_sides(told: Told) -> dict[str, set[str]]:
    """Of each mapped property, the objects whose field is certain."""
    by_data = {row["property"]: {side for side in ("lead", "contact") if row[f"{side}_certain"]} for row in told.found.mapping}
    return {
        entry["hubspot"]: {"lead", "contact"} if entry["from"] == "file" else by_data.get(entry["hubspot"], set()) for entry in told.mapping
    }  # fmt: skip


def is_refuted(told: Told, name: str) -> bool:
    """Has the property values, and never one of the integration's? With an export, what it does not name is not mapped."""
    if any(entry["hubspot"] == name for entry in told.mapping):
        return False
    if any(entry["from"] == "file" for entry in told.mapping):
        return True
    if told.found.is_refused or told.found.pairs < _ENOUGH:
        return False  # whether a value went to Salesforce can only be told where its records were seen
    contacts, filled = told.found.written.get(name, (0, 0))
    return contacts == 0 and filled >= _ENOUGH and name not in told.found.carried


def fields_of(mapping: Mapping) -> Any:
    return fields_text({"lead": mapping.field_of("Lead"), "contact": mapping.field_of("Contact")})


def fields_text(entry: dict[str, Any]) -> Any:
    lead, contact = entry["lead"], entry["contact"]
    return lead if lead == contact else "; ".join(f"{name}: {value}" for name, value in (("Lead", lead), ("Contact", contact)) if value)


@dataclass(frozen=True)
class Setting:
    """A row of `portal_setting`, all values as text. is_contradiction: what the data say is certain, and the policy says otherwise."""

    setting: str
    configured: str | None
    found: str | None
    certain: bool
    cases_for: int
    cases_against: int
    is_contradiction: bool


def setting_rows(told: Told, policy: Policy, list_exists: bool = True) -> list[Setting]:
    """What the policy says beside what the data say, a row a setting: the knobs, then every property that the policy maps or the data name, each with a row
    for its fields and one for its rule.
    """
    contradicted = {_SIDE.sub(r"\1", one["setting"]) for one in contradictions(told, policy, list_exists)}
    configured = {one.hubspot: one for one in policy.mapped}
    found = {entry["hubspot"]: entry for entry in told.mapping}

    def row(setting: str, configured: Any, value: Any, certain: bool, cases: tuple[int, int]) -> Setting:
        return Setting(setting, _as_text(configured), _as_text(value), certain, *cases, setting in contradicted)

    rows = [
        row(name, getattr(policy.policy, name), knob["value"], knob["certain"], (knob["cases_for"], knob["cases_against"]))
        for name, knob in told.knobs.items()
    ]  # fmt: skip
    for name in dict.fromkeys([*configured, *found]):
        if name in NEVER_COMPARED:
            continue
        known, entry = configured.get(name), found.get(name)
        fields = None if known is None else "none" if known.rule == "none" else fields_of(known)
        if entry is None:
            refuted = is_refuted(told, name)
            filled = told.found.written.get(name, (0, 0))[1] if refuted else 0
            rows += [row(f"mapping.{name}", fields, None, refuted, (0, filled)), row(f"mapping.{name}.rule", known and known.rule, None, False, (0, 0))]
            continue
        rows += [
            row(f"mapping.{name}", fields, fields_text(entry), entry["certain"], (entry["equal"], entry["pairs"] - entry["equal"])),
            row(f"mapping.{name}.rule", known and known.rule, entry["rule"], entry["rule"] is not None, (entry["cases_for"], entry["cases_against"])),
        ]
    return rows


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
