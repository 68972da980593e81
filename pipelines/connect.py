"""`bindwatch connect`: how is this portal set up? Asks both CRMs, says it setting by setting, and writes the policy."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from assets.connect.compare import Contradiction, Told, contradictions, fields_of, is_refuted, sure_sides, tell
from assets.connect.discover import discover, sampled
from assets.connect.exported import Exported, read_exports
from assets.connect.policy_file import GROUPS, Entry, as_in, difference, rewritten
from assets.files import replaced, write_whole
from assets.policy import DEFAULT_MAPPING, NEVER_COMPARED, OBJECTS, Mapping, MappingRule, Policy, policy_text, read_policy
from assets.problems import ConfigurationProblem, PullProblem
from assets.record_ids import ID_PROPERTIES, long_id
from pipelines.reach import OrgView, PortalView, age_of_version, first_pull, look_at_org, look_at_portal, or_problem
from pipelines.settings import read_connections, read_environment
from pipelines.terminal import print_whole, stdout

TEMPLATE = Path(__file__).parent.parent / "bindwatch.toml"


@dataclass
class Answer:
    """All that is to be said. told: None where a CRM could not be read."""

    org: OrgView | None
    portal: PortalView | None
    problems: list[PullProblem]
    told: Told | None = None
    contradictions: list[Contradiction] = field(default_factory=list)

    @property
    def cannot_read(self) -> bool:
        return self.told is None

    @property
    def kind(self) -> str:
        return self.told.found.kind if self.told else "unknown"

    def as_json(self) -> dict[str, Any]:
        org, portal, told = self.org, self.portal, self.told
        return {
            "integration": {"kind": self.kind, "cases": told.found.cases if told else 0},
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
            "mapping": told.mapping if told else [], "knobs": told.knobs if told else {}, "unknown": told.unknown if told else [],
            "contradictions": self.contradictions, "disagreements": told.disagreements if told else [],
        }  # fmt: skip


def connect(mappings: list[Path], contacts: int, as_json: Path | None, write: bool) -> int:
    """Asks, prints, and writes what was asked for. Returns the exit code. Raises ConfigurationProblem for settings or arguments that are wrong."""
    config = read_environment().bindwatch_config
    policy = read_policy(config) if config.exists() else None
    connections = read_connections(policy or Policy())
    if as_json is not None and not as_json.absolute().parent.is_dir():
        raise ConfigurationProblem(f"--json {as_json}: there is no folder {as_json.absolute().parent}")
    if absent := [path for path in mappings if not path.exists()]:
        raise ConfigurationProblem("\n".join(f"--mappings {path}: there is no such file" for path in absent))
    if write and not config.absolute().parent.is_dir():
        raise ConfigurationProblem(f"{config} cannot be written: there is no folder {config.absolute().parent}. BINDWATCH_CONFIG names it.")
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
            answer.told = None
    if answer.told is not None and answer.kind not in ("middleware", "none"):
        after = _proposed(answer, before, policy)
    if as_json is not None:
        with replaced(as_json) as path:
            path.write_text(json.dumps(answer.as_json(), indent=1, ensure_ascii=False) + "\n", "utf-8")
    _print(answer, policy, config)
    if answer.cannot_read:
        return 3
    if answer.kind == "middleware":
        return 1
    changes = difference(before, after, config.name)
    if write and changes:
        try:
            if policy is not None:
                original, mode = config.read_bytes(), config.stat().st_mode & 0o777
                write_whole(config.with_name(f"{config.name}.before"), original, mode)
                write_whole(config.resolve(), as_in(original, after), mode)  # a link stays one
            else:
                write_whole(config, after)
        except OSError as error:
            raise ConfigurationProblem(f"{config.absolute()} cannot be written: {error.strerror}. It is as it was.") from error
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
    if has_leads and "Lead" not in org.described and sample.bound.get(ID_PROPERTIES["Lead"]):
        org.needed.append("Lead")  # contacts are bound to Leads that nobody can see
        return
    answer.told = tell(found, exports)
    if policy is not None and found.kind not in ("middleware", "none"):
        list_id = policy.policy.inclusion_list_id
        answer.contradictions = contradictions(answer.told, policy, list_id is None or _exists(portal, list_id))


def _exists(portal: PortalView, list_id: str) -> bool:
    """Is there such a list? What cannot be told is not held against the policy."""
    try:
        portal.portal.list_members_page(list_id, None, limit=1)
    except PullProblem as problem:
        return getattr(problem.__cause__, "status", None) != 404
    return True


# ── the policy file ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _proposed(answer: Answer, before: str, policy: Policy | None) -> str:
    """The policy file as it should be: what is certain, and all that was not refuted."""
    assert answer.told is not None and answer.org is not None and answer.portal is not None
    known = policy or Policy()
    text = before if policy is not None else TEMPLATE.read_text("utf-8")
    knobs: dict[str, tuple[Any, str]] = {}
    for name, knob in answer.told.knobs.items():
        configured = getattr(known.policy, name)
        if knob["certain"] and (long_id(configured) if name == "integration_user_id" and configured else configured) != knob["value"]:
            knobs[name] = (knob["value"], f"{knob['cases_for']:,} cases for, {knob['cases_against']:,} against")
    if policy is None and "Lead" not in answer.org.described and "create_object" not in knobs:
        knobs["objects"] = (["Contact"], "the org shows no Leads")
    if knobs.get("create_object", ("",))[0] == "lead" and "Lead" not in known.policy.objects:
        knobs["objects"] = (list(OBJECTS), "the integration creates Leads")
        known = known.model_copy(update={"policy": known.policy.model_copy(update={"objects": OBJECTS})})
    removed = [one["setting"] for one in answer.contradictions if one["setting"] == "inclusion_list_id"]
    entries = None
    if policy is None or any(one["setting"].startswith("mapping.") for one in answer.contradictions):
        entries = _entries(answer.told, known, answer.org, answer.portal)
        if known.policy.mapping_defaults:
            knobs["mapping_defaults"] = (False, "the list stands above, in full")
    return rewritten(text, knobs, removed, entries)


def _entries(told: Told, policy: Policy, org: OrgView, portal: PortalView) -> list[Entry]:
    """Every mapped field: as it was found, where that is certain; else as it is, where it was not refuted."""
    entries: list[Entry] = []
    said = {entry["hubspot"]: entry for entry in told.mapping if entry["certain"] and entry["hubspot"] not in NEVER_COMPARED}
    sides = sure_sides(told)
    configured = {one.hubspot: one for one in policy.mapped}
    for name in dict.fromkeys([*configured, *said]):
        entry, kept = said.get(name), configured.get(name)
        if entry is None or (kept is None and not any(entry[one.lower()] for one in policy.policy.objects)):
            if kept is None:
                continue  # of an object that the policy leaves out
            if not is_refuted(told, name) and (existing := _existing(kept, policy, org, portal)) is not None:
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
    org, portal, told = answer.org, answer.portal, answer.told
    found = told.found if told else None
    if found is not None and found.kind != "native":
        stdout.print(_KINDS[found.kind].format(cases=found.cases), soft_wrap=True)
    _print_access(answer)
    if told is None or found is None or org is None or portal is None or found.kind in ("middleware", "none"):
        return
    if found.kind == "native":
        stdout.print(_KINDS["native"].format(cases=found.cases), soft_wrap=True)
    stdout.print(f"\nLooked at {found.contacts:,} bound contacts: {portal.portal.calls} calls to HubSpot, {org.org.calls} to Salesforce.", soft_wrap=True)
    for text in found.not_seen:
        stdout.print(f"[yellow]Not seen: {escape(text)}.[/]", soft_wrap=True)
    if found.is_shared:
        stdout.print("[yellow]The integration shares its Salesforce user with a person: who changed a record last proves nothing here.[/]", soft_wrap=True)
    _print_knobs(told, policy)
    _print_mapping(told, policy)
    for one in told.disagreements:
        said = f"HubSpot's export says {one['file']} for {one['hubspot']}, the data say {one['found']}: the export counts."
        stdout.print(f"[yellow]{escape(said)}[/]", soft_wrap=True)
    if answer.contradictions:
        stdout.print(f"\n{config.name} says otherwise than the data:")
        for one in answer.contradictions:
            stdout.print(f"  {escape(one['setting'])}: {escape(_in_file(one['file']))}, found {escape(_in_file(one['found']))}", soft_wrap=True)
    rules = [name.removeprefix("mapping.").removesuffix(".rule") for name in told.unknown if name.endswith(".rule")]
    if others := [name for name in told.unknown if not name.endswith(".rule")]:
        stdout.print(f"\nCannot be told from this sample: {escape(', '.join(others))}.", soft_wrap=True)
    if rules:
        stdout.print(f"\nThe rule of {len(rules)} mapped properties cannot be told: {escape(', '.join(rules))}.", soft_wrap=True)
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
            colour = "red" if needed == "needed" else "yellow"
            stdout.print(f"[{colour}]Missing: {escape(what)} ({needed}).[/] For the administrator:\n    {escape(letter)}", soft_wrap=True)


def _in_file(value: Any) -> str:
    """As bindwatch.toml has it; a dash for what does not stand there."""
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _print_knobs(told: Told, policy: Policy | None) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("setting", "found", "for", "against", "bindwatch.toml"):
        table.add_column(name, justify="right" if name in ("for", "against") else "left", no_wrap=True)
    for name, knob in told.knobs.items():
        candidates = knob.get("candidates")
        found = _in_file(knob["value"]) if knob["certain"] else f"candidates {', '.join(candidates)}" if candidates else "?"
        configured = "" if policy is None else _in_file(getattr(policy.policy, name))
        table.add_row(name, escape(found), f"{knob['cases_for']:,}", f"{knob['cases_against']:,}", escape(configured))
    stdout.print()
    print_whole(table)


def _print_mapping(told: Told, policy: Policy | None) -> None:
    known = {one.hubspot: one for one in policy.mapped} if policy else {}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("property", "Lead", "Contact", "rule", "equal", "of", "for", "against", "bindwatch.toml"):
        table.add_column(name, justify="right" if name in ("equal", "of", "for", "against") else "left", no_wrap=True)
    for entry in told.mapping:
        configured = known.get(entry["hubspot"])
        table.add_row(
            escape(("" if entry["certain"] else "? ") + entry["hubspot"] + (" (consent)" if entry["consent"] else "")),
            escape(entry["lead"] or "–"), escape(entry["contact"] or "–"), entry["rule"] or "?", f"{entry['equal']:,}",
            f"{entry['pairs']:,}", f"{entry['cases_for']:,}", f"{entry['cases_against']:,}",
            "" if policy is None else "–" if configured is None else escape(f"{fields_of(configured)}, {configured.rule}"),
        )  # fmt: skip
    stdout.print()
    print_whole(table)
