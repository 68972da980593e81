"""The fields of a portal that has grown over years: made from a seed, of every type that both CRMs know, with copies that only look mapped."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sandbox.fields import HUBSPOT_TYPES, MAPPING, PICKLISTS, SALESFORCE_TYPES, Fields
from sandbox.portal import OPT_OUT, OWNER, FieldRule

Consent = Literal["opted_out", "opted_in"] | dict[str, list[str]] | None
_ACCOUNT = "salesforceaccountid"


@dataclass(frozen=True)
class Mapped:
    """A mapping as it is set up. rule: None where nobody can set one (the e-mail, the account). pairs: bound pairs in which both sides are filled."""

    hubspot: str
    lead: str | None
    contact: str | None
    rule: FieldRule | None
    consent: Consent = None
    pairs: int = 0


@dataclass(frozen=True)
class Decoy:
    """What only looks mapped. kind: twin (a field of Salesforce that equals another in most rows), formula (always), import (a property that was filled once
    with the same values), calculated (a property that HubSpot computes), former (mapped until a year ago), system (written by the integration itself).
    of: the mapped property that it resembles."""

    name: str
    kind: Literal["twin", "formula", "import", "calculated", "former", "system"]
    of: str


@dataclass
class Catalogue:
    """Fields, what of them is mapped, and how values of each Salesforce field are made, by "Lead.Fax"."""

    fields: Fields
    mapped: list[Mapped]
    decoys: list[Decoy]
    values: dict[str, Callable[[random.Random], str]]
    unmapped: list[str]  # properties of HubSpot's own people


# Salesforce type → type and form of the property that HubSpot makes of it.
HUBSPOT_FORMS = {
    "string": ("string", "text"), "textarea": ("string", "textarea"), "phone": ("phone_number", "phonenumber"), "email": ("string", "text"),
    "url": ("string", "text"), "picklist": ("enumeration", "select"), "multipicklist": ("enumeration", "checkbox"), "boolean": ("bool", "booleancheckbox"),
    "date": ("date", "date"), "datetime": ("datetime", "date"), "int": ("number", "number"), "double": ("number", "number"), "currency": ("number", "number"),
    "percent": ("number", "number"), "reference": ("string", "text"),
}  # fmt: skip
_NOUNS = (
    "Region Segment Tier Budget Contract Renewal Priority Partner Product Plan Channel Language Campaign Event Training Support Billing Shipping Invoice "
    "Discount License Usage Churn Upsell Trial Demo Survey Persona Department Role Seniority Team Project Vertical Territory Onboarding Warranty Fleet Site "
    "Device Audit Loyalty Referral Webinar Newsletter Payment Credit Delivery Service Location"
).split()
_ASPECTS = {
    "string": ("Name", "Code"), "textarea": ("Remarks",), "phone": ("Hotline",), "email": ("Mailbox",), "url": ("Page",), "picklist": ("Level", "Kind"),
    "multipicklist": ("Topics",), "boolean": ("Active",), "date": ("Day",), "datetime": ("Last_Seen",), "int": ("Count",), "double": ("Index",),
    "currency": ("Amount",), "percent": ("Rate",), "reference": ("Manager",),
}  # fmt: skip
# How often a field of the portal's own has each type.
_WEIGHTS = {"string": 20, "textarea": 5, "phone": 5, "email": 4, "url": 4, "picklist": 20, "multipicklist": 6, "boolean": 9, "date": 9, "datetime": 5, "int": 6,
            "double": 5, "currency": 5, "percent": 3, "reference": 4}  # fmt: skip
_WORDS = "amber basalt cedar delta ember fjord garnet harbor indigo jasper kelp lagoon maple nickel ochre pebble quartz river slate tundra umber violet".split()
_LEVELS = ("Bronze", "Silver", "Gold", "Platinum", "North", "South", "East", "West", "Basic", "Plus", "Premium", "Ultimate")
_STANDARD_LABELS = {"jobtitle": "Job Title", "hs_email_optout": "Unsubscribed from all email", OWNER: "Salesforce Owner ID", _ACCOUNT: "Salesforce Account ID",
                    "numemployees": "Number of Employees", "leadsource": "Lead Source", "leadstatus": "Lead Status", "zip": "Postal Code"}  # fmt: skip
# HubSpot's own: group, type, form, and whether HubSpot computes it.
_OWN = {
    "hs_object_id": ("contactinformation", "number", "number", True), "createdate": ("contactinformation", "datetime", "date", True),
    "lastmodifieddate": ("contactinformation", "datetime", "date", True), "hs_lastmodifieddate": ("contactinformation", "datetime", "date", True),
    "hs_additional_emails": ("contactinformation", "enumeration", "checkbox", False),
    "hs_merged_object_ids": ("contactinformation", "enumeration", "checkbox", True),
    "hubspot_owner_id": ("contactinformation", "enumeration", "select", False), "lifecyclestage": ("contactinformation", "enumeration", "radio", False),
    "email": ("contactinformation", "string", "text", False), "salesforceleadid": ("salesforceinformation", "string", "text", False),
    "salesforcecontactid": ("salesforceinformation", "string", "text", False), "salesforcedeleted": ("salesforceinformation", "bool", "booleancheckbox", False),
    "salesforcelastsynctime": ("salesforceinformation", "datetime", "date", False), "salesforceownername": ("salesforceinformation", "string", "text", False),
    "hs_analytics_num_visits": ("analyticsinformation", "number", "number", True),
    "hs_analytics_num_page_views": ("analyticsinformation", "number", "number", True),
    "hs_analytics_source": ("analyticsinformation", "string", "text", True), "num_conversion_events": ("conversioninformation", "number", "number", True),
    "hs_email_open": ("emailinformation", "number", "number", True), "hs_email_click": ("emailinformation", "number", "number", True),
    "num_notes": ("sales_properties", "number", "number", True), "notes_last_updated": ("sales_properties", "datetime", "date", True),
    "hs_latest_source": ("analyticsinformation", "string", "text", True),
    "hs_calculated_phone_number": ("contactinformation", "phone_number", "phonenumber", True),
}  # fmt: skip
COMPUTED = ("hs_analytics_num_visits", "hs_analytics_num_page_views", "num_conversion_events", "hs_email_open", "num_notes")
SYSTEM = ("createdate", "salesforcedeleted", "salesforcelastsynctime", "salesforceownername")
GROUPS = {
    "contactinformation": "Contact information", "salesforceinformation": "Salesforce information", "analyticsinformation": "Web analytics history",
    "conversioninformation": "Conversion information", "emailinformation": "Email information", "sales_properties": "Sales properties",
    "marketing_own": "Marketing (own)", "imported": "Imported data",
}  # fmt: skip


def make_catalogue(
    seed: int, mappings: int, properties: int, decoys: int, rules: Mapping[str, int], written: Iterable[Mapping[str, Any]] = (), former: int = 0
) -> Catalogue:
    """mappings: how many, with the ones that every portal has; properties: how many in all. rules: how often each is met, of mapped fields of the portal's own.
    written: entries of [[mapping]], each with a type besides where the field is not a standard one. former: properties that were mapped until a year ago."""
    return _Maker(seed, dict(rules)).make(mappings, properties, decoys, list(written), former)


class _Maker:
    def __init__(self, seed: int, rules: dict[str, int]) -> None:
        self.dice = random.Random(f"{seed} catalogue")
        self.deck = [rule for rule, times in rules.items() for _ in range(times)]  # dealt out, so that each rule is met as often as it says
        self.dice.shuffle(self.deck)
        self.dealt = 0
        own = {"interests__c", "contract_end__c"}
        self.mapping = {name: names for name, names in MAPPING.items() if name not in own} | {_ACCOUNT: (None, "AccountId")}
        self.types = {name: {field: kind for field, kind in kinds.items() if not field.endswith("__c")} for name, kinds in SALESFORCE_TYPES.items()}
        self.described: dict[str, dict[str, object]] = {}
        self.copies: dict[str, str] = {}
        self.properties: dict[str, dict[str, object]] = {}
        self.translated: dict[str, dict[str, str]] = {}
        self.values: dict[str, Callable[[random.Random], str]] = {}
        self.mapped: list[Mapped] = []
        self.decoys: list[Decoy] = []
        self.names = [(noun, aspect, kind) for kind, aspects in _ASPECTS.items() for aspect in aspects for noun in _NOUNS]
        self.dice.shuffle(self.names)

    def make(self, mappings: int, properties: int, decoys: int, written: list[Mapping[str, Any]], former: int) -> Catalogue:
        self._own_properties()
        self._standard()
        for entry in written:
            self._as_written(entry)
        while len(self.mapped) < mappings:
            self._map_one_more()
        candidates = [entry for entry in self.mapped if entry.rule != "none" and "__c" in f"{entry.lead}{entry.contact}"]
        for number in range(min(decoys, len(candidates) * 4)):
            self._decoy(candidates[number % len(candidates)], ("twin", "import", "formula", "calculated")[(number + number // len(candidates)) % 4])
        for _ in range(former):
            noun, aspect, _ = self._free_name("string")
            name = f"{noun}_{aspect}__c"
            self._field("Lead", name, "string")
            self._field("Contact", name, "string")
            self._property(name.lower(), "string", name, "salesforceinformation")
            self.decoys.append(Decoy(name.lower(), "former", name))
        unmapped = []
        while len(self.properties) < properties:
            noun, aspect, kind = self._free_name()
            name = f"{noun}_{aspect}_own".lower()
            self._property(name, kind, f"{noun} {aspect} (own)", self.dice.choice(("marketing_own", "imported", "sales_properties")))
            unmapped.append(name)
        at_creation = {
            name: {field: "false" for field, kind in kinds.items() if kind == "boolean" and field not in ("IsDeleted", "IsConverted")}
            for name, kinds in self.types.items() if name in ("Lead", "Contact")
        }  # fmt: skip
        fields = Fields(self.mapping, self.types, self.described, self.copies, self.properties, GROUPS, self.translated, at_creation)
        return Catalogue(fields, self.mapped, self.decoys, self.values, unmapped)

    # ── what every portal has ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _own_properties(self) -> None:
        for name, (group, kind, form, is_computed) in _OWN.items():
            self.properties[name] = _described(name, name.replace("_", " ").title(), group, kind, form, is_computed=is_computed, is_own=True)
        self.decoys += [Decoy(name, "system", name) for name in SYSTEM]

    def _standard(self) -> None:
        for name, (lead, contact) in self.mapping.items():
            kind = next(self.types[at].get(field, "string") for at, field in (("Lead", lead), ("Contact", contact)) if field)
            known = dict(HUBSPOT_TYPES.get(name, {}))
            if name in ("salutation", "industry"):
                known = {"type": "enumeration", "fieldType": "select", "options": _options([(value, value) for value in PICKLISTS[lead or ""]])}
            group = "salesforceinformation" if name.startswith("salesforce") else "contactinformation"
            form = HUBSPOT_FORMS.get(kind, ("string", "text"))
            label = _STANDARD_LABELS.get(name, name.title())
            self.properties[name] = {**_described(name, label, group, *form, is_own=True), **known}
            if name == OPT_OUT:
                self.properties[name]["modificationMetadata"] = {"archivable": False, "readOnlyDefinition": True, "readOnlyValue": True}
            rule: FieldRule | None = "two_way" if name == OWNER else None if name == _ACCOUNT else "prefer_salesforce"
            self.mapped.append(Mapped(name, lead, contact, rule, "opted_out" if name == OPT_OUT else None))
        self.mapped.append(Mapped("email", "Email", "Email", None))
        for field, values in PICKLISTS.items():
            for object_type in ("Lead", "Contact"):
                if field in self.types[object_type]:
                    self.values[f"{object_type}.{field}"] = _choice(values)
        numbers: dict[str, Callable[[random.Random], str]] = {
            "Lead.AnnualRevenue": lambda dice: f"{dice.randrange(1, 90)}00000", "Lead.NumberOfEmployees": lambda dice: str(dice.randrange(1, 3000)),
        }  # fmt: skip
        texts = ("Street", "City", "State", "PostalCode", "Country", "Title", "Phone", "MobilePhone", "Fax", "Website", "Company")
        for object_type, prefix in (("Lead", ""), ("Contact", "Mailing")):
            for text in texts:
                field = f"{prefix}{text}" if f"{prefix}{text}" in self.types[object_type] else text
                if field in self.types[object_type]:
                    kind = self.types[object_type][field]
                    self.values[f"{object_type}.{field}"] = _maker(kind if kind in HUBSPOT_FORMS else "string", text)
        self.values |= numbers

    # ── the portal's own ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _free_name(self, kind: str | None = None) -> tuple[str, str, str]:
        wanted = kind or self.dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        place = next((place for place, (_, _, other) in enumerate(self.names) if other == wanted), 0)
        return self.names.pop(place)

    def _rule(self) -> FieldRule:
        self.dealt += 1
        return self.deck[(self.dealt - 1) % len(self.deck)]  # type: ignore[return-value]

    def _as_written(self, entry: Mapping[str, Any]) -> None:
        names = entry["salesforce"] if isinstance(entry["salesforce"], Mapping) else dict.fromkeys(("lead", "contact"), entry["salesforce"])
        lead, contact = names.get("lead"), names.get("contact")
        if self.mapping.get(entry["hubspot"]) == (lead, contact):
            changed = {name: entry[name] for name in ("rule", "consent") if name in entry}
            self.mapped = [replace(mapped, **changed) if mapped.hubspot == entry["hubspot"] else mapped for mapped in self.mapped]
            return
        self.mapped = [mapped for mapped in self.mapped if mapped.hubspot != entry["hubspot"]]
        self._map(entry["hubspot"], lead, contact, entry.get("type", "string"), entry.get("rule", "prefer_salesforce"), entry.get("consent"))

    def _map_one_more(self) -> None:
        number = len(self.mapped)
        consents: dict[int, tuple[str, str, Consent]] = {
            30: ("Newsletter_Permission__c", "boolean", "opted_in"), 31: ("No_Marketing__c", "boolean", "opted_out"),
            32: ("Marketing_Consent__c", "picklist", {"granted": ["Granted"], "denied": ["Denied"]}),
        }  # fmt: skip
        if number in consents:
            field, kind, consent = consents[number]
            self._map(field.lower(), field, field, kind, "prefer_salesforce", consent)
            return
        noun, aspect, kind = self._free_name()
        field = f"{noun}_{aspect}__c"
        name, shape = field.lower(), self.dice.random()
        lead: str | None = field
        contact: str | None = field
        rule = self._rule()
        if shape < 0.08:
            contact = None
        elif shape < 0.16:
            lead = None
        elif shape < 0.24:
            contact = f"Current_{field}"
        elif shape < 0.30 and kind not in ("boolean", "reference"):
            lead, contact = (field if shape < 0.27 else None), f"Account.{field}"
            rule = "always_salesforce" if lead is None else rule  # nothing can be written into a related record
        elif shape < 0.42:
            name = f"{_WORDS[number % len(_WORDS)]}_{noun}_{aspect}".lower()
        self._map(name, lead, contact, kind, rule, None)

    def _map(self, name: str, lead: str | None, contact: str | None, kind: str, rule: FieldRule, consent: Consent) -> None:
        values = None
        for object_type, field in (("Lead", lead), ("Contact", contact)):
            if field:
                values = self._field(object_type, field, kind, values, consent)
        self.mapping[name] = (lead, contact)
        source = next(field for field in (lead, contact) if field)
        self._property(name, kind, source.removesuffix("__c").split(".")[-1].replace("_", " "), "salesforceinformation", values)
        self.mapped.append(Mapped(name, lead, contact, rule, consent))
        if values and values[0][0] != values[0][1]:  # HubSpot's options are named as Salesforce labels its values
            self.translated[name] = dict(values)

    def _field(
        self, object_type: str, name: str, kind: str, values: list[tuple[str, str]] | None = None, consent: Consent = None
    ) -> list[tuple[str, str]] | None:
        """Adds a field to describe, and how its values are made; of a pick list, returns values and labels."""
        related = name.rpartition(".")
        at, field = ("Account", related[2]) if related[0] else (object_type, name)
        self.types[at] = {**self.types[at], field: kind}
        if kind in ("picklist", "multipicklist") and values is None:
            if isinstance(consent, dict):
                values = [(value, value) for value in (*consent["granted"], *consent["denied"], "Unknown")]
            else:
                some = self.dice.sample(_LEVELS, self.dice.randrange(4, 8))
                coded = kind == "picklist" and self.dice.random() < 0.2
                values = [(f"{field[:2].upper()}-{place:02}" if coded else value, value) for place, value in enumerate(some)]
        described: dict[str, object] = {"label": field.removesuffix("__c").replace("_", " ")}
        if values:
            described["picklistValues"] = [{"value": value, "label": label, "active": True, "defaultValue": False} for value, label in values]
        self.described[f"{at}.{field}"] = described
        codes = [value for value, _ in values or ()]
        self.values[f"{object_type}.{name}"] = _multiple(codes) if kind == "multipicklist" else _choice(codes) if codes else _maker(kind, field)
        return values

    def _property(self, name: str, kind: str, label: str, group: str, values: list[tuple[str, str]] | None = None) -> None:
        if kind in ("picklist", "multipicklist") and values is None:
            values = [(value, value) for value in self.dice.sample(_LEVELS, 5)]
        described = _described(name, label, group, *HUBSPOT_FORMS[kind])
        if values:
            described["options"] = _options([(label, label) for _, label in values])
        self.properties[name] = described

    # ── what only looks mapped ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _decoy(self, of: Mapped, kind: str) -> None:
        mapped_property = self.properties[of.hubspot]
        if kind in ("import", "calculated"):
            name = f"{of.hubspot.removesuffix('__c')}_{'imported' if kind == 'import' else 'summary'}"
            if name not in self.properties:
                group = "imported" if kind == "import" else "marketing_own"
                is_computed = kind == "calculated"
                self.properties[name] = {
                    **mapped_property, "name": name, "label": f"{mapped_property['label']} ({kind})", "groupName": group, "calculated": is_computed,
                    "modificationMetadata": {"archivable": True, "readOnlyDefinition": False, "readOnlyValue": is_computed},
                    **({"fieldType": "calculation_equation"} if is_computed and mapped_property["type"] != "enumeration" else {}),
                }  # fmt: skip
                self.decoys.append(Decoy(name, kind, of.hubspot))  # type: ignore[arg-type]
            return
        done = set()
        for object_type, field in (("Lead", of.lead), ("Contact", of.contact)):
            if field is None or "." in field or not field.endswith("__c"):
                continue
            copy = f"{field.removesuffix('__c')}_{'Legacy' if kind == 'twin' else 'Display'}__c"
            if copy in self.types[object_type]:
                continue
            self.types[object_type] = {**self.types[object_type], copy: self.types[object_type][field]}
            self.described[f"{object_type}.{copy}"] = {**self.described[f"{object_type}.{field}"], "label": copy.removesuffix("__c").replace("_", " ")}
            if kind == "formula":
                self.copies[f"{object_type}.{copy}"] = field
                self.described[f"{object_type}.{copy}"] |= {"calculated": True, "updateable": False, "calculatedFormula": field}
            if copy not in done:
                self.decoys.append(Decoy(copy, kind, of.hubspot))  # type: ignore[arg-type]
            done.add(copy)


def _described(name: str, label: str, group: str, kind: str, form: str, is_computed: bool = False, is_own: bool = False) -> dict[str, object]:
    """What HubSpot's property list says."""
    return {
        "name": name, "label": label, "groupName": group, "description": "", "type": kind, "fieldType": form, "options": [], "displayOrder": -1,
        "calculated": is_computed, "externalOptions": False, "hasUniqueValue": name == "email", "hidden": False, "hubspotDefined": is_own,
        "formField": not is_computed, "dataSensitivity": "non_sensitive",
        "modificationMetadata": {"archivable": not is_own, "readOnlyDefinition": is_own, "readOnlyValue": is_computed},
    }  # fmt: skip


def _options(values: Iterable[tuple[str, str]]) -> list[dict[str, object]]:
    return [{"label": label, "value": value, "displayOrder": place, "hidden": False} for place, (value, label) in enumerate(values)]


def _choice(values: Iterable[str]) -> Callable[[random.Random], str]:
    some = tuple(values)
    return lambda dice: dice.choice(some)


def _multiple(values: list[str]) -> Callable[[random.Random], str]:
    return lambda dice: ";".join(value for value in values if dice.random() < 0.4) or values[0]


def _maker(kind: str, name: str) -> Callable[[random.Random], str]:
    """How a value of a type is made."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    word = name.removesuffix("__c").split("_")[0]
    match kind:
        case "boolean":
            return lambda dice: "true" if dice.random() < 0.4 else "false"
        case "date":
            return lambda dice: f"{start + timedelta(days=dice.randrange(900)):%Y-%m-%d}"
        case "datetime":
            return lambda dice: f"{start + timedelta(minutes=dice.randrange(10**6)):%Y-%m-%dT%H:%M:00.000Z}"
        case "int":
            return lambda dice: str(dice.randrange(1, 500))
        case "double" | "currency" | "percent":
            return lambda dice: f"{dice.randrange(4, 40_000) / 4:g}" if kind != "percent" else str(dice.randrange(1, 100))
        case "phone":
            return lambda dice: f"+49 30 {dice.randrange(10**6, 10**7)}"
        case "email":
            return lambda dice: f"{dice.choice(_WORDS)}{dice.randrange(5000)}@{word.lower()}.example"
        case "url":
            return lambda dice: f"https://{dice.choice(_WORDS)}{dice.randrange(5000)}.example/{word.lower()}"
        case "reference":
            return lambda dice: f"0055e000000Mgr{dice.randrange(1, 10)}AAA"
        case "textarea":
            return lambda dice: f"{word}: {dice.choice(_WORDS)} {dice.choice(_WORDS)}\nnumber {dice.randrange(1000)}"
    return lambda dice: f"{dice.choice(_WORDS)} {word.lower()} {dice.randrange(150)}"
