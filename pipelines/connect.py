"""`bindwatch connect`: how is this portal set up? Asks both CRMs, says it setting by setting, and writes the policy."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from assets.connect.discover import Discovery, discover, sampled
from assets.connect.exported import Exported, read_exports
from assets.connect.policy_file import GROUPS, Entry, as_in, difference, rewritten
from assets.files import replaced, write_whole
from assets.policy import DEFAULT_MAPPING, NEVER_COMPARED, OBJECTS, Mapping, MappingRule, Policy, policy_text, read_policy
from assets.problems import ConfigurationProblem, PullProblem
from assets.record_ids import long_id
from pipelines.access import OrgView, PortalView, age_of_version, first_pull, look_at_org, look_at_portal, or_problem
from pipelines.report import print_whole, stdout
from pipelines.settings import read_connections, read_environment

TEMPLATE = Path(__file__).parent.parent / "bindwatch.toml"
_ENOUGH = 5  # contacts on which a property is filled, before it is said that the integration never wrote it
Contradiction = dict[str, Any]


@dataclass
class Answer:
    """All that is to be said. found: None where a CRM could not be read."""

    org: OrgView | None
    portal: PortalView | None
    problems: list[PullProblem]
    found: Discovery | None = None
    mapping: list[dict[str, Any]] = field(default_factory=list)
    knobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)
    disagreements: list[dict[str, Any]] = field(default_factory=list)

    @property
    def cannot_read(self) -> bool:
        return self.found is None

    def as_json(self) -> dict[str, Any]:
        org, portal, found = self.org, self.portal, self.found
        return {
            "integration": {"kind": found.kind if found else "unknown", "cases": found.cases if found else 0},
            "salesforce": {
                "user": long_id(org.user) if org and org.user else None, "api_version": org.org.version if org else None,
                "objects": {name: {"readable": bool(org and name in org.described), "rows": org.rows.get(name) if org else None} for name in OBJECTS},
                "missing": org.missing if org else [problem.what for problem in self.problems if problem.source == "Salesforce"],
            },
            "hubspot": {
                "portal_id": portal.id if portal else None, "api_version": portal.portal.version if portal else None,
                "contacts": portal.contacts if portal else None,
                "missing": portal.missing if portal else [problem.what for problem in self.problems if problem.source == "HubSpot"],
            },
            "mapping": self.mapping, "knobs": self.knobs, "unknown": self.unknown, "contradictions": self.contradictions,
            "disagreements": self.disagreements,
        }  # fmt: skip


def connect(mappings: list[Path], contacts: int, as_json: Path | None, write: bool) -> int:
    """Asks, prints, and writes what was asked for. Returns the exit code. Raises ConfigurationProblem for settings or arguments that are wrong."""
    config = read_environment().bindwatch_config
    policy = read_policy(config) if config.exists() else None
    connections = read_connections(policy or Policy())
    if as_json is not None and not as_json.absolute().parent.is_dir():
        raise ConfigurationProblem(f"--json {as_json}: there is no folder {as_json.absolute().parent}")
    org, of_salesforce = or_problem(lambda: look_at_org(connections))
    portal, of_hubspot = or_problem(lambda: look_at_portal(connections))
    answer = Answer(org, portal, [problem for problem in (of_salesforce, of_hubspot) if problem is not None])
    before = after = policy_text(config) if policy is not None else ""
    if org is not None and portal is not None and not org.needed and not portal.needed:
        exports = read_exports(mappings, portal.properties, org.described)
        try:
            _find_out(answer, org, portal, policy, exports, contacts)
        except PullProblem as problem:
            answer.problems.append(problem)
            answer.found = None
    if answer.found is not None and answer.found.kind not in ("middleware", "none"):
        after = _proposed(answer, before, policy)
    if as_json is not None:
        with replaced(as_json) as path:
            path.write_text(json.dumps(answer.as_json(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    _print(answer, policy, config)
    if answer.cannot_read:
        return 3
    assert answer.found is not None
    if answer.found.kind == "middleware":
        return 1
    changes = difference(before, after, config.name)
    if write and changes:
        if policy is not None:
            original = config.read_bytes()
            write_whole(config.with_name(f"{config.name}.before"), original)
            write_whole(config, as_in(original, after))
        else:
            write_whole(config, after)
        stdout.print(f"\n{config} is written" + (f"; what it was is {config.name}.before." if policy is not None else "."), soft_wrap=True)
        return 0
    if changes:
        stdout.print(
            f"\nWhat `--write` would change in {config}:" if policy is not None else f"\nThere is no {config} yet: `--write` makes it.", soft_wrap=True
        )
        if policy is not None:
            stdout.print(escape(changes), soft_wrap=True)
    else:
        stdout.print(f"\n{config} says the same.", soft_wrap=True)
    return 1 if answer.contradictions and not write else 0


# ── finding out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _find_out(answer: Answer, org: OrgView, portal: PortalView, policy: Policy | None, exports: dict[str, Exported], contacts: int) -> None:
    with sampled(org.org, portal.portal, org.described, contacts) as sample:
        clocks = [one.theirs for one in (org.org.clock, portal.portal.clock) if one is not None]
        found = discover(sample, max(clocks, default=None))
    portal.missing = list(portal.portal.scopes_missing)
    has_leads = policy is None or "Lead" in policy.policy.objects
    if has_leads and "Lead" not in org.described and sample.bound.get("salesforceleadid"):
        org.needed.append("Lead")  # contacts are bound to Leads that nobody can see
        return
    answer.found = found
    if found.kind in ("middleware", "none"):
        answer.knobs = {name: {"value": None, "certain": False, "cases_for": 0, "cases_against": 0} for name in KNOBS}
        answer.knobs["inclusion_list_id"]["candidates"] = []
        answer.unknown = list(answer.knobs)
        return
    answer.mapping, answer.disagreements = _mapping(found, exports)
    answer.knobs = {name: _knob(found, name) for name in KNOBS}
    answer.knobs["inclusion_list_id"]["candidates"] = found.lists
    answer.unknown = [name for name, knob in answer.knobs.items() if not knob["certain"]]
    answer.unknown += [f"mapping.{entry['hubspot']}" for entry in answer.mapping if not entry["certain"]]
    answer.unknown += [f"mapping.{entry['hubspot']}.rule" for entry in answer.mapping if entry["rule"] is None]
    answer.unknown += [f"mapping.{name}" for name in found.unmatched if name not in {entry["hubspot"] for entry in answer.mapping}]
    if policy is not None:
        answer.contradictions = _contradictions(answer, found, policy, portal)


KNOBS = (
    "first_sync", "follow_up", "recency", "integration_user_id", "create_object", "on_lead_deleted", "on_contact_deleted", "secondary_email_matches",
    "blank_on_switch", "opt_out", "inclusion_list_id",
)  # fmt: skip


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
            "consent": True if row["consent"] == "opted_out" else row["consent"] or False, "certain": bool(row["certain"]), "from": row["from"],
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
            "hubspot": name, "lead": row.lead, "contact": row.contact, "rule": row.rule if row.rule is not None else known and known["rule"],
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


def _contradictions(answer: Answer, found: Discovery, policy: Policy, portal: PortalView) -> list[Contradiction]:
    result: list[Contradiction] = []
    for name, knob in answer.knobs.items():
        configured = getattr(policy.policy, name)
        if name == "integration_user_id" and configured:
            configured = long_id(configured)
        if knob["certain"] and configured != knob["value"]:
            result.append({"setting": name, "file": configured, "found": knob["value"]})
    if (list_id := policy.policy.inclusion_list_id) is not None and not _exists(portal, list_id):
        result.append({"setting": "inclusion_list_id", "file": list_id, "found": None})
    configured_mapping = {one.hubspot: one for one in policy.mapped}
    sides = _sure_sides(found, answer)
    for entry in answer.mapping:
        name = entry["hubspot"]
        if not entry["certain"] or name in NEVER_COMPARED:
            continue
        known = configured_mapping.get(name)
        if known is None:
            result.append({"setting": f"mapping.{name}", "file": None, "found": _fields(entry)})
            continue
        for object_type in policy.policy.objects:
            side = object_type.lower()
            if entry[side] is not None and side in sides[name] and known.field_of(object_type) != entry[side]:
                result.append({"setting": f"mapping.{name}.{side}", "file": known.field_of(object_type), "found": entry[side]})
        if entry["rule"] is not None and known.rule != entry["rule"]:
            result.append({"setting": f"mapping.{name}.rule", "file": known.rule, "found": entry["rule"]})
        elif entry["rule"] is None and known.rule == "none":
            result.append({"setting": f"mapping.{name}", "file": "none", "found": _fields(entry)})
    for name, known in configured_mapping.items():
        if known.rule != "none" and name not in NEVER_COMPARED and _is_refuted(answer, found, name):
            result.append({"setting": f"mapping.{name}", "file": _fields_of(known), "found": None})
    return result


def _sure_sides(found: Discovery, answer: Answer) -> dict[str, set[str]]:
    """Of each mapped property, the objects whose field is certain."""
    by_data = {row["property"]: {side for side in ("lead", "contact") if row[f"{side}_certain"]} for row in found.mapping}
    return {
        entry["hubspot"]: {"lead", "contact"} if entry["from"] == "file" else by_data.get(entry["hubspot"], set()) for entry in answer.mapping
    }  # fmt: skip


def _is_refuted(answer: Answer, found: Discovery, name: str) -> bool:
    """Has the property values, and never one of the integration's? With an export, what it does not name is not mapped."""
    if any(entry["hubspot"] == name for entry in answer.mapping):
        return False
    if any(entry["from"] == "file" for entry in answer.mapping):
        return True
    contacts, filled = found.written.get(name, (0, 0))
    return contacts == 0 and filled >= _ENOUGH and name not in found.carried


def _exists(portal: PortalView, list_id: str) -> bool:
    """Is there such a list? What cannot be told is not held against the policy."""
    try:
        portal.portal.list_members_page(list_id, None, limit=1)
    except PullProblem as problem:
        return getattr(problem.__cause__, "status", None) != 404
    return True


def _fields_of(mapping: Mapping) -> Any:
    return _fields({"lead": mapping.field_of("Lead"), "contact": mapping.field_of("Contact")})


def _fields(entry: dict[str, Any]) -> Any:
    lead, contact = entry["lead"], entry["contact"]
    return lead if lead == contact else "; ".join(f"{name}: {value}" for name, value in (("Lead", lead), ("Contact", contact)) if value)


def setting_rows(answer: Answer, policy: Policy) -> list[dict[str, Any]]:
    """What the policy says beside what the data say, a row a setting: the columns of `portal_setting`, all values as text."""
    known = {one.hubspot: one for one in policy.mapped}
    rows = [
        {"setting": name, "configured": getattr(policy.policy, name), "found": knob["value"], "certain": knob["certain"], "cases": knob}
        for name, knob in answer.knobs.items()
    ]
    for entry in answer.mapping:
        mapping = known.get(entry["hubspot"])
        fields = {"configured": mapping and _fields_of(mapping), "found": _fields(entry), "certain": entry["certain"]}
        rule = {"configured": mapping and mapping.rule, "found": entry["rule"], "certain": entry["rule"] is not None}
        pairs = {"cases_for": entry["equal"], "cases_against": entry["pairs"] - entry["equal"]}
        rows += [{"setting": f"mapping.{entry['hubspot']}", **fields, "cases": pairs}, {"setting": f"mapping.{entry['hubspot']}.rule", **rule, "cases": entry}]
    return [
        {
            "setting": row["setting"], "configured": None if row["configured"] is None else str(row["configured"]),
            "found": None if row["found"] is None else str(row["found"]), "certain": bool(row["certain"]), "cases_for": row["cases"]["cases_for"],
            "cases_against": row["cases"]["cases_against"],
        }
        for row in rows
    ]  # fmt: skip


# ── the policy file ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _proposed(answer: Answer, before: str, policy: Policy | None) -> str:
    """The policy file as it should be: what is certain, and all that was not refuted."""
    assert answer.found is not None and answer.org is not None and answer.portal is not None
    known = policy or Policy()
    text = before if policy is not None else TEMPLATE.read_text("utf-8")
    knobs: dict[str, tuple[Any, str]] = {}
    for name, knob in answer.knobs.items():
        configured = getattr(known.policy, name)
        if knob["certain"] and (long_id(configured) if name == "integration_user_id" and configured else configured) != knob["value"]:
            knobs[name] = (knob["value"], f"{knob['cases_for']:,} cases for, {knob['cases_against']:,} against")
    if policy is None and "Lead" not in answer.org.described and "create_object" not in knobs:
        knobs["objects"] = (["Contact"], "the org shows no Leads")
    removed = [one["setting"] for one in answer.contradictions if one["setting"] == "inclusion_list_id"]
    entries = None
    if policy is None or any(one["setting"].startswith("mapping.") for one in answer.contradictions):
        entries = _entries(answer, known, answer.found, answer.org, answer.portal)
        if known.policy.mapping_defaults:
            knobs["mapping_defaults"] = (False, "the list stands above, in full")
    after = rewritten(text, knobs, removed, entries)
    Policy.model_validate(tomllib.loads(after))  # what is written can be read
    return after


def _entries(answer: Answer, policy: Policy, found: Discovery, org: OrgView, portal: PortalView) -> list[Entry]:
    """Every mapped field: as it was found, where that is certain; else as it is, where it was not refuted."""
    entries: list[Entry] = []
    said = {entry["hubspot"]: entry for entry in answer.mapping if entry["certain"] and entry["hubspot"] not in NEVER_COMPARED}
    sides = _sure_sides(found, answer)
    configured = {one.hubspot: one for one in policy.mapped}
    for name in dict.fromkeys([*configured, *said]):
        entry, kept = said.get(name), configured.get(name)
        if entry is None:
            assert kept is not None
            if not _is_refuted(answer, found, name) and (existing := _existing(kept, policy, org, portal)) is not None:
                entries.append(_entry(existing, "", kept))
            continue
        fields = {
            object_type: entry[object_type.lower()] if object_type.lower() in sides[name] or kept is None else kept.field_of(object_type)
            for object_type in OBJECTS
        }
        fields = {object_type: field or (kept.field_of(object_type) if kept and entry["from"] != "file" else None) for object_type, field in fields.items()}
        rule: MappingRule = entry["rule"] or (kept.rule if kept and kept.rule != "none" else "prefer_salesforce")
        consent = kept.consent if kept and kept.consent else entry["consent"]
        new = Mapping(hubspot=name, salesforce=Mapping.ByObject(lead=fields["Lead"], contact=fields["Contact"]), rule=rule, consent=consent)
        existing = _existing(new, Policy(mapping=(new,)) if kept is None or kept in policy.mapping else policy, org, portal) or new
        entries.append(_entry(existing, _why(entry), kept))
    return sorted(entries, key=lambda one: GROUPS.index(one.group.split()[0]))


def _existing(mapping: Mapping, policy: Policy, org: OrgView, portal: PortalView) -> Mapping | None:
    """An entry as far as both CRMs have it. What somebody wrote stays as it is; of the default list goes what one of them does not have."""
    if mapping in policy.mapping:
        return mapping
    if mapping.hubspot not in portal.properties:
        return None
    fields = {name: mapping.field_of(name) if mapping.field_of(name) in org.described.get(name, {}) else None for name in OBJECTS}
    if not any(fields.values()):
        return None
    return mapping.model_copy(update={"salesforce": Mapping.ByObject(lead=fields["Lead"], contact=fields["Contact"])})


_STANDARD = {one.hubspot for one in DEFAULT_MAPPING}


def _entry(mapping: Mapping, why: str, kept: Mapping | None) -> Entry:
    group = GROUPS[2] if mapping.consent else GROUPS[0] if mapping.hubspot in _STANDARD else GROUPS[1]
    consent: Any = mapping.consent
    if consent is True:
        consent = "opted_out"
    elif not isinstance(consent, str | bool):
        consent = {name: list(values) for name, values in consent.model_dump().items() if values}
    return Entry(mapping.hubspot, mapping.field_of("Lead"), mapping.field_of("Contact"), mapping.rule, consent, why, f"{group} fields")


def _why(entry: dict[str, Any]) -> str:
    """On what an entry rests, in the words that stand behind it."""
    if entry["from"] == "file":
        return "HubSpot's export"
    told = f"{entry['equal']:,} of {entry['pairs']:,} pairs"
    return told + ("; rule not told" if entry["rule"] is None else f"; {entry['rule']}: {entry['cases_for']:,} cases, {entry['cases_against']:,} against")


# ── printing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


_KINDS = {
    "native": "The native integration keeps this portal ({cases:,} ids were written by it).",
    "middleware": "[red]A middleware keeps this portal, not the native integration[/] ({cases:,} ids were written by an app): the rules that Bindwatch "
    "knows do not hold here, and nothing is written.",
    "none": "[yellow]Nothing is bound in this portal:[/] no contact carries the id of a Salesforce record.",
    "unknown": "[yellow]Who keeps this portal cannot be told[/]: fewer than 20 ids, or some by the integration and some by others.",
}


def _print(answer: Answer, policy: Policy | None, config: Path) -> None:
    org, portal, found = answer.org, answer.portal, answer.found
    if found is not None and found.kind != "native":
        stdout.print(_KINDS[found.kind].format(cases=found.cases), soft_wrap=True)
    _print_access(answer)
    if found is None or org is None or portal is None or found.kind in ("middleware", "none"):
        return
    if found.kind == "native":
        stdout.print(_KINDS["native"].format(cases=found.cases), soft_wrap=True)
    stdout.print(f"\nLooked at {found.contacts:,} bound contacts: {portal.portal.calls} calls to HubSpot, {org.org.calls} to Salesforce.", soft_wrap=True)
    for text in found.not_seen:
        stdout.print(f"[yellow]Not seen: {escape(text)}.[/]", soft_wrap=True)
    if found.is_shared:
        stdout.print("[yellow]The integration shares its Salesforce user with a person: who changed a record last proves nothing here.[/]", soft_wrap=True)
    _print_knobs(answer, policy)
    _print_mapping(answer, policy)
    for one in answer.disagreements:
        stdout.print(f"[yellow]HubSpot's export says {one['file']} for {one['hubspot']}, the data say {one['found']}: the export counts.[/]", soft_wrap=True)
    if answer.contradictions:
        stdout.print(f"\n{config.name} says otherwise than the data:")
        for one in answer.contradictions:
            stdout.print(f"  {escape(one['setting'])}: {escape(str(one['file']))}, found {escape(str(one['found']))}", soft_wrap=True)
    if answer.unknown:
        stdout.print(f"\nCannot be told from this sample: {escape(', '.join(answer.unknown))}.", soft_wrap=True)
        stdout.print("Where a rule is not told, Bindwatch assumes prefer_salesforce, HubSpot's default.", soft_wrap=True)


def _print_access(answer: Answer) -> None:
    org, portal = answer.org, answer.portal
    for problem in answer.problems:
        stdout.print(f"[red]{escape(str(problem))}[/]", soft_wrap=True)
    if org is not None:
        fields = ", ".join(f"{name} {org.rows[name]:,} rows, {sum('.' not in one for one in org.described[name])} fields" for name in org.rows)
        left = f"; {org.org.calls_left:,} calls left today" if org.org.calls_left is not None else ""
        stdout.print(f"Salesforce: user {org.user or 'unknown'}, {age_of_version(org.org.version)}; {fields}{left}.", soft_wrap=True)
    if portal is not None:
        left = f"; {portal.portal.calls_left:,} calls left today" if portal.portal.calls_left is not None else ""
        counted = f"{portal.contacts:,} contacts, " if portal.contacts is not None else ""
        end = f" {portal.portal.end_of_version()}." if portal.portal.end_of_version() else ""
        stdout.print(
            f"HubSpot: portal {portal.id or 'unknown'}, version {portal.portal.version} of its API; {counted}{len(portal.properties)} properties{left}.{end}",
            soft_wrap=True,
        )
    if org is not None and portal is not None and portal.contacts is not None:
        to_hubspot, to_salesforce, minutes = first_pull(org, portal)
        stdout.print(
            f"A first pull takes about {max(1, round(minutes))} min, {to_hubspot:,} calls to HubSpot and {to_salesforce:,} to Salesforce.", soft_wrap=True
        )
    for view in (org, portal):
        for what, letter in zip(view.missing, view.letters, strict=False) if view else ():
            needed = "needed" if view and what in view.needed else "without it less can be told"
            stdout.print(f"[{'red' if needed == 'needed' else 'yellow'}]Missing: {what} ({needed}).[/] For the administrator:\n    {letter}", soft_wrap=True)


def _print_knobs(answer: Answer, policy: Policy | None) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("setting", "found", "for", "against", "bindwatch.toml"):
        table.add_column(name, justify="right" if name in ("for", "against") else "left", no_wrap=True)
    for name, knob in answer.knobs.items():
        candidates = knob.get("candidates")
        found = str(knob["value"]) if knob["certain"] else f"candidates {', '.join(candidates)}" if candidates else "?"
        configured = "" if policy is None else str(getattr(policy.policy, name))
        table.add_row(name, found, f"{knob['cases_for']:,}", f"{knob['cases_against']:,}", configured)
    stdout.print()
    print_whole(table)


def _print_mapping(answer: Answer, policy: Policy | None) -> None:
    known = {one.hubspot: one for one in policy.mapped} if policy else {}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("property", "Lead", "Contact", "rule", "equal", "of", "for", "against", "bindwatch.toml"):
        table.add_column(name, justify="right" if name in ("equal", "of", "for", "against") else "left", no_wrap=True)
    for entry in answer.mapping:
        configured = known.get(entry["hubspot"])
        table.add_row(
            ("" if entry["certain"] else "? ") + entry["hubspot"], entry["lead"] or "–", entry["contact"] or "–", entry["rule"] or "?", f"{entry['equal']:,}",
            f"{entry['pairs']:,}", f"{entry['cases_for']:,}", f"{entry['cases_against']:,}",
            "" if policy is None else "–" if configured is None else f"{_fields_of(configured)}, {configured.rule}",
        )  # fmt: skip
    stdout.print()
    print_whole(table)
