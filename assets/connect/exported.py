"""HubSpot's own export of its field mappings: the Salesforce integration's settings, field mappings, Export. A file for each object, or one for both.

Its header may be in the language of the portal: which column is which is told by what stands in it, not by its name. Cells hold labels or internal names.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.brought import FileProblem, Limits, open_tables
from assets.policy import ALSO_STANDARD, DEFAULT_MAPPING, MappingRule
from assets.problems import ConfigurationProblem

_LIMITS = Limits(bytes=20 * 2**20, lines=20_000, columns=100)
# What the sync rules are called, in the languages in which HubSpot shows its settings. A text holds all words of one entry.
_RULES: tuple[tuple[MappingRule, tuple[tuple[str, ...], ...]], ...] = (
    ("two_way", (("two", "way"), ("zwei", "weg"), ("bidirektional",), ("beide", "richtung"), ("bidirec",), ("bidirez",), ("dos", "sentido"), ("deux", "sens"),
                 ("twee", "richting"), ("双方向",))),
    ("always_salesforce", (("always", "salesforce"), ("immer", "salesforce"), ("toujours", "salesforce"), ("siempre", "salesforce"), ("sempre", "salesforce"),
                           ("altijd", "salesforce"), ("常に", "salesforce"))),
    ("prefer_salesforce", (("prefer", "salesforce"), ("bevorzug", "salesforce"), ("vorrang", "salesforce"), ("préfér", "salesforce"), ("prefier", "salesforce"),
                           ("prefer", "salesforce"), ("preferisc", "salesforce"), ("voorkeur", "salesforce"), ("優先", "salesforce"))),
    ("none", (("sync", "don"), ("nicht", "synchron"), ("ne", "pas", "synchron"), ("no", "sincroni"), ("não", "sincroni"), ("non", "sincronizz"),
              ("niet", "synchron"))),
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A row: a property and the Salesforce field of each object that has one of that label or name. rule: None where the row does not say; may_mean: all fields
    of that label, of which the data may know a better one.
    """

    hubspot: str
    lead: str | None
    contact: str | None
    rule: MappingRule | None
    may_mean: frozenset[str] = frozenset()


def read_exports(
    paths: Sequence[Path], properties: Mapping[str, Mapping[str, Any]], described: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, Exported]:
    """The rows of all files, by HubSpot property. Raises ConfigurationProblem for a file that is no such export, with every file at once."""
    found: dict[str, Exported] = {}
    problems = []
    of_hubspot = _names({name: str(entry.get("label") or "") for name, entry in properties.items()})
    of_integration = {name for name, entry in properties.items() if entry.get("groupName") == "salesforceinformation"}
    of_salesforce = {name: _names({field: str(entry.get("label") or "") for field, entry in fields.items()}) for name, fields in described.items()}
    for path in paths:
        try:
            with open_tables(path, _LIMITS) as tables:
                rows = [row for table in tables for row in _read(table.rows(), of_hubspot, of_salesforce, of_integration)]
        except FileProblem as problem:
            problems.append(f"--mappings {path}: {problem}")
            continue
        if not rows:
            problems.append(
                f"--mappings {path}: no row names a property of this portal and a field of Lead or Contact. It must be HubSpot's export of the field "
                "mappings of contacts (Settings → Integrations → Salesforce → Field mappings → Export)"
            )
        for row in rows:
            before = found.get(row.hubspot)
            found[row.hubspot] = row if before is None else Exported(
                row.hubspot, before.lead or row.lead, before.contact or row.contact, row.rule or before.rule, before.may_mean | row.may_mean
            )  # fmt: skip
    if problems:
        raise ConfigurationProblem("\n".join(problems))
    return found


def _names(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Which internal names a text may mean: those of that name, else those of that label."""
    names: dict[str, list[str]] = {}
    for name, label in labels.items():
        names.setdefault(_plain(label), []).append(name)
    for name in labels:
        names[_plain(name)] = [name]
    return names


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _read(
    rows: list[list[str]], of_hubspot: Mapping[str, list[str]], of_salesforce: Mapping[str, Mapping[str, list[str]]], of_integration: Collection[str]
) -> list[Exported]:
    """Which column holds properties, which fields and which rules is what most of their cells are; where two fit, the header decides.

    of_integration: the properties that the integration made; of several with one label, one of them is meant, or the standard one.
    """
    width = max(map(len, rows), default=0)
    columns = [[row[place] if place < len(row) else "" for row in rows] for place in range(width)]
    fields = {name for names in of_salesforce.values() for name in names}

    def most(is_one: Callable[[str], object], word: str, without: Sequence[int] = ()) -> int | None:
        scores = [
            (sum(bool(is_one(cell)) for cell in column[1:]) + 0.5 * (word in _plain(column[0])) * len(column), -place) for place, column in enumerate(columns)
        ]
        best = max((score for score in scores if -score[1] not in without), default=(0.0, 0))
        return -best[1] if best[0] >= 1 else None

    rule_at = most(_rule_of, "rule")
    taken = [] if rule_at is None else [rule_at]
    hubspot_at = most(lambda cell: _plain(cell) in of_hubspot, "hubspot", taken)
    salesforce_at = most(lambda cell: _plain(cell) in fields, "salesforce", [*taken, *([] if hubspot_at is None else [hubspot_at])])
    if hubspot_at is None or salesforce_at is None:
        return []
    found = []
    standard = {one.hubspot: one for one in (*DEFAULT_MAPPING, *ALSO_STANDARD)}
    for row in rows:
        cells = [*row, *[""] * (width - len(row))]
        rule = _rule_of(cells[rule_at]) if rule_at is not None else None
        meant = {object_type: names.get(_plain(cells[salesforce_at]), []) for object_type, names in of_salesforce.items()}
        named = frozenset(one for names in meant.values() for one in names)

        def fits(name: str, fields: frozenset[str] = named) -> int:
            known = standard.get(name)
            if known and {known.field_of("Lead"), known.field_of("Contact")} & fields:
                return 3
            return 2 if name in {one.lower() for one in fields} else int(name in of_integration)

        if not named or not (names := of_hubspot.get(_plain(cells[hubspot_at]))):
            continue
        name = max(names, key=fits)
        known = standard.get(name)
        sides = {
            object_type: _one(choices, {known.field_of(object_type) if known else None, *(one for one in choices if one.lower() == name)})
            for object_type, choices in meant.items()
        }
        found.append(Exported(name, sides.get("Lead"), sides.get("Contact"), rule, named))
    return found


def _one(names: list[str], known: set[str | None]) -> str | None:
    """Of several fields with one label: the standard one or the one that is named like the property, else one of the record itself, else the first."""
    own = [name for name in names if "." not in name]
    return next(iter([*(name for name in names if name in known), *own, *names]), None)


def _rule_of(text: str) -> MappingRule | None:
    words = _plain(text)
    return next((rule for rule, choices in _RULES if any(all(part in words for part in parts) for parts in choices)), None)
