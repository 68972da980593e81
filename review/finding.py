"""What the page of one finding shows beside the finding itself: whom it is about, field by field, what happened, what comes next, what to do."""

import builtins
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from assets.published.worklist import Filter
from assets.record_ids import object_type_of
from assets.sql import among
from review.desk_data import Snapshot

RECORDS_AT_ONCE = 6  # side by side; a page with more is no comparison
CHANGES_AT_ONCE = 100
STEPS_AT_ONCE = 30


@dataclass(frozen=True)
class Cell:
    """A record's value of a mapped field. effect: what becomes of HubSpot's value when this record decides (see main.switch_effect), or None; label: what
    people see for the field.
    """

    value: str | None
    field: str | None
    effect: str | None
    label: str | None = None


@dataclass(frozen=True)
class Row:
    """A mapped property: HubSpot's value, and the cell of each record that is shown, in their order. rule: the mapping rule; label: what people see
    for the property."""

    property: str
    hubspot_value: str | None
    rule: str
    consent: bool
    at_risk: bool
    cells: list[Cell]
    label: str | None = None

    @builtins.property  # the name alone is a field here
    def is_blank(self) -> bool:
        """Nobody has a value."""
        return not self.hubspot_value and not any(cell.value for cell in self.cells)

    @builtins.property
    def would_change(self) -> bool:
        return any(cell.effect for cell in self.cells)


@dataclass(frozen=True)
class Comparison:
    """contact: a row of hubspot_contact, or None; records: rows of salesforce_person, the bound one first; role: bound, rival or other, by id;
    hidden: how many more records there are; rows: the mapped fields, those that would change first; has_values: False when no values were published (a
    resolved finding).
    """

    contact: dict[str, Any] | None
    records: list[dict[str, Any]]
    role: dict[str, str]
    hidden: int
    rows: list[Row]
    has_values: bool


def compare(snapshot: Snapshot, finding: dict[str, Any], contact: dict[str, Any] | None, binding: dict[str, Any] | None) -> Comparison:
    """HubSpot's contact, the record it is bound to, and the others, field by field.

    contact, binding: of the finding's contact, where it has one.
    """
    bound_id = contact["bound_id"] if contact else None
    ids = _unique([bound_id, finding["salesforce_id"], *finding["rival_ids"], *(binding["candidate_ids"] if binding else [])])
    people = {row["record_id"]: row for row in snapshot.query(f"from near.salesforce_person where record_id in {among(ids)}")}
    known = [people[record_id] for record_id in ids if record_id in people]
    records = known[:RECORDS_AT_ONCE]
    shown = [record["record_id"] for record in records]
    values = _values(snapshot, contact["contact_id"] if contact else None, shown) if shown else []
    by_property: dict[str, dict[str, dict[str, Any]]] = {}
    for value in values:
        by_property.setdefault(value["property"], {})[value["record_id"]] = value
    rows = []
    for name, of_record in by_property.items():
        any_value = next(iter(of_record.values()))
        found = [of_record.get(record_id) for record_id in shown]
        cells = [
            Cell(value["salesforce_value"], value["salesforce_field"], value["effect"], value["salesforce_label"]) if value else Cell(None, None, None)
            for value in found
        ]
        rows.append(
            Row(name, any_value["hubspot_value"], any_value["rule"], any_value["consent"], name in finding["fields_at_risk"], cells, any_value["hubspot_label"])
        )
    rows.sort(key=lambda row: (not row.at_risk, not row.would_change))
    others = set(finding["rival_ids"]) | {finding["salesforce_id"]}
    role = {record_id: "bound" if record_id == bound_id else "rival" if record_id in others else "other" for record_id in shown}
    return Comparison(contact, records, role, len(known) - len(records), rows, bool(values))


def mapped_fields(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Rows of `mapped_field` in their order."""
    found: list[dict[str, Any]] = snapshot.cases.remember("mapped", lambda: snapshot.query("from near.mapped_field order by place"), for_good=True)
    return found


def labels_of(snapshot: Snapshot) -> dict[str, str]:
    """What people see for a property or a Salesforce field, in the portal's own words, where that is known."""

    def told() -> dict[str, str]:
        labels = {field["salesforce_field"]: field.get("salesforce_label") for field in mapped_fields(snapshot)}
        labels |= {field["property"]: field.get("hubspot_label") for field in mapped_fields(snapshot)}
        return {name: label for name, label in labels.items() if label}

    found: dict[str, str] = snapshot.cases.remember("labels", told, for_good=True)
    return found


def label_of(snapshot: Snapshot, name: str) -> str:
    """The same of one; its name, where nobody told it."""
    return labels_of(snapshot).get(name, name)


OWNER = ("salesforceownerid", "OwnerId")


def users_of(snapshot: Snapshot) -> dict[str, str]:
    """The names of the Salesforce users that were pulled, by id, of 18 characters and of 15: either may stand in HubSpot."""

    def told() -> dict[str, str]:
        rows = snapshot.query("select user_id, name from near.salesforce_user where name is not null")
        return {id: row["name"] for row in rows for id in (row["user_id"], row["user_id"][:15])}

    found: dict[str, str] = snapshot.cases.remember("users", told, for_good=True)
    return found


def shown_as(snapshot: Snapshot, name: str | None, value: str | None) -> str:
    """What people see for the value of a property or a Salesforce field: an owner is a person, not an id."""
    return users_of(snapshot).get(value, value) if name in OWNER and value else value or ""


def _values(snapshot: Snapshot, contact_id: str | None, shown: list[str]) -> list[dict[str, Any]]:
    """The mapped values of records, each with what becomes of the contact's."""
    mapped = mapped_fields(snapshot)
    details = snapshot.query(f"from near.record_detail where record_id in {among(shown)}")
    of_contact = snapshot.query("select properties from near.contact_detail where contact_id = ?", [contact_id]) if contact_id else []
    properties = of_contact[0]["properties"] if of_contact else {}
    values = [
        {"property": field["property"], "rule": field["rule"], "consent": field["consent"], "salesforce_field": field["salesforce_field"],
         "hubspot_label": field.get("hubspot_label"), "salesforce_label": field.get("salesforce_label"),
         "object_type": field["object_type"], "record_id": detail["record_id"], "hubspot_value": properties.get(field["property"]),
         "salesforce_value": detail["fields"].get(field["salesforce_field"]), "effect": None}
        for field in mapped for detail in details if field["object_type"] == object_type_of(detail["record_id"])
    ]  # fmt: skip
    # of a rival it is published; of others equal texts change nothing
    rivals = _effects(snapshot, contact_id) if of_contact else {}
    for value in values:
        value["effect"] = rivals.get(value["record_id"], {}).get(value["property"])
    asked = [value for value in values if of_contact and value["record_id"] not in rivals]
    differ = [value for value in asked if (value["hubspot_value"] or "") != (value["salesforce_value"] or "")]
    for value, effect in zip(differ, snapshot.effects.of(differ), strict=True):
        value["effect"] = effect
    return values


def _effects(snapshot: Snapshot, contact_id: str | None) -> dict[str, dict[str, str]]:
    """By rival of a contact: what a switch to it does, by property; of a rival that would change nothing, nothing."""
    rows = snapshot.query(
        """select rival.rival_id, overwrite.property, overwrite.effect
           from near.rival as rival
           left join near.overwrite as overwrite on overwrite.hubspot_contact_id = rival.hubspot_contact_id and overwrite.rival_id = rival.rival_id
           where rival.hubspot_contact_id = ?""",
        [contact_id],
    )
    found: dict[str, dict[str, str]] = {row["rival_id"]: {} for row in rows}
    for row in rows:
        if row["property"] is not None:
            found[row["rival_id"]][row["property"]] = row["effect"]
    return found


def read_contact(snapshot: Snapshot, finding: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The HubSpot contact of a finding and its row of `binding`; of a finding about a record alone, the contact that is bound to it."""
    contact_id, record_id = finding["hubspot_contact_id"], finding["salesforce_id"]
    if contact_id is not None:
        contacts = snapshot.query("from near.hubspot_contact where contact_id = ?", [contact_id])
    else:
        contacts = snapshot.query("from near.hubspot_contact where bound_id = ? and state = 'live' order by length(contact_id), contact_id", [record_id])
    if not contacts:
        return None, None
    bindings = snapshot.query("from near.binding where hubspot_contact_id = ?", [contacts[0]["contact_id"]])
    return contacts[0], bindings[0] if bindings else None


def read_jump(snapshot: Snapshot, finding: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of a finding about a jump, by property: what stood there before (value_before, and source_before, who had written it, in HubSpot's words), and where
    the value comes from that the jump brought (source, by_user_name, typed_at).
    """
    if finding["check_name"] != "switch_happened":
        return {}
    rows = snapshot.query(
        """select source.property, source.value_before, overwritten.source_before, source.source, source.by_user_name, source.typed_at
           from near.switch_event as event
           inner join published.value_source as source
               on source.hubspot_contact_id = event.hubspot_contact_id and source.switched_at = event.switched_at
           inner join published.overwritten_value as overwritten
               on overwritten.hubspot_contact_id = event.hubspot_contact_id and overwritten.switched_at = event.switched_at
               and overwritten.property = source.property
           where event.hubspot_contact_id = $contact_id
             and main.event_fingerprint('switch_happened', event.hubspot_contact_id, main.event_of_jump(event.switched_at, event.to_id)) = $fingerprint""",
        {"contact_id": finding["hubspot_contact_id"], "fingerprint": finding["fingerprint"]},
    )
    return {row["property"]: row for row in rows}


def contacts_beside(snapshot: Snapshot, finding: dict[str, Any], contact: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Other HubSpot contacts that the finding names, or that are bound to a record that it names."""
    ids = among([finding["salesforce_id"], *finding["rival_ids"]])
    # two looks, each by an index: one with "or" reads every row
    columns = "select contact_id, display_name, bound_id from near.hubspot_contact"
    named = snapshot.query(f"{columns} where contact_id in {ids}")
    bound = snapshot.query(f"{columns} where bound_id in {ids} and state = 'live'")
    others = {row["contact_id"]: row for row in [*named, *bound] if contact is None or row["contact_id"] != contact["contact_id"]}
    return sorted(others.values(), key=lambda row: (len(row["contact_id"]), row["contact_id"]))[:20]


def timeline(snapshot: Snapshot, findings: list[dict[str, Any]], comparison: Comparison) -> tuple[list[dict[str, Any]], int]:
    """What happened to the contact and the records, to the findings in runs, and what people decided: the latest first, at most CHANGES_AT_ONCE.

    Rows: happened_at (of a difference between two pulls the latest moment, and after the earliest), event, who (in HubSpot's words, a Salesforce user,
    a person, or None), and what the event needs: contact_id, record_id,
    other_id, name, value_before, value_after, detail. Returns also how many there are.
    """
    contact_ids = _unique([*(finding["hubspot_contact_id"] for finding in findings), comparison.contact["contact_id"] if comparison.contact else None])
    about = among([*contact_ids, *(record["record_id"] for record in comparison.records)])
    # A merge is about three, or more where several contacts were bound; and what was merged in HubSpot tells its history twice: each event is told once.
    # Sorting with a limit in the same step would look at every row instead of the index.
    rows = snapshot.query(
        f"""with of_them as materialized (select * exclude (about) from near.happened where about in {about}),
            happened as materialized (
                select distinct on (happened_at, event, case when event <> 'salesforce_merge' then contact_id end, record_id, other_id, name, value_after) *
                from of_them order by value_before nulls last
            )
            select happened.*, (select count(*) from happened) as events from happened order by happened_at desc, event desc limit {CHANGES_AT_ONCE}"""
    )
    of_crms = rows[0]["events"] if rows else 0
    users = users_of(snapshot)
    rows = [{**row, "who": users.get(row["who"], row["who"])} for row in rows]
    history = snapshot.worklist.history(*findings)
    # one click about a person is one line, and so is a run, of which no more is said than what it did
    told = {(row["happened_at"], row["who"], row["event"], row["detail"] if row["who"] != "run" else None): row for row in history}
    history = list(told.values())
    rows += [{**row, "event": f"finding_{row['event']}", "after": None} for row in history]
    rows.sort(key=lambda row: (row["happened_at"], row["event"]), reverse=True)
    return rows[:CHANGES_AT_ONCE], of_crms + len(history)


def same_person(snapshot: Snapshot, finding: dict[str, Any]) -> list[dict[str, Any]]:
    """The other findings with the same e-mail, contact or record that are not resolved; the most urgent first."""
    found = snapshot.worklist.find(Filter(statuses=("open", "acknowledged", "waived"), person=finding["fingerprint"]), limit=51)
    return [row for row in found if row["fingerprint"] != finding["fingerprint"]][:50]


def sentences(text: str) -> list[str]:
    """What to do, one step a sentence."""
    return [part.strip().rstrip(".") + "." for part in text.split(". ", STEPS_AT_ONCE) if part.strip()]


def _unique(ids: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(id for id in ids if id is not None))
