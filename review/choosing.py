"""What can be chosen on the page of a case, field by field: which values there are, who wrote each and when, and which one is proposed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from assets.published.basket_files import Choice
from assets.sql import among
from review.desk_data import Snapshot
from review.finding import Comparison, label_of

MOST_FIELDS = 60  # of one case on one page
OWNER = "salesforceownerid"
LONGEST = 65_000  # characters of a value that somebody types
# In HubSpot's words: a person wrote it, in HubSpot or through a form.
BY_PERSON = (
    "CRM_UI", "CRM_UI_BULK_ACTION", "CONTACTS", "FORM", "CONVERSATIONS", "IMPORT", "MEETINGS", "MOBILE_ANDROID", "MOBILE_IOS", "SIDEKICK",
)  # fmt: skip
MISSING = ("restore", "unclear")  # restorable_value.status of what can be put back


@dataclass(frozen=True)
class Held:
    """A value, and who wrote it, as far as that is known. where: now, before, or the id of a record; by: a name, or HubSpot's word for it."""

    where: str
    value: str | None
    by: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Field:
    """name: a property of a contact; now: HubSpot's value; before: what a jump took, None where none did; records: by id; status: restorable_value.status, or
    None; source: where the value comes from that a jump brought; proposal: now, before, or None; chosen: what is in the basket.
    """

    contact_id: str
    name: str
    label: str
    consent: bool
    now: Held
    before: Held | None
    records: dict[str, Held] = field(default_factory=dict)
    status: str | None = None
    source: str | None = None
    proposal: str | None = None
    chosen: Choice | None = None

    @property
    def key(self) -> str:
        return f"{self.contact_id}:{self.name}"

    @property
    def is_missing(self) -> bool:
        return self.status in MISSING


def fields_of(snapshot: Snapshot, case: dict[str, Any], contact_id: str | None, comparison: Comparison, chosen: Sequence[Choice] = ()) -> list[Field]:
    """What a jump took first, then what differs between HubSpot and the records. contact_id: whom `comparison` is about."""
    contact_ids = list(dict.fromkeys([*([contact_id] if contact_id else []), *case["hubspot_contact_ids"]]))
    lost = {(row["hubspot_contact_id"], row["property"]): row for row in _lost(snapshot, contact_ids)}
    in_basket = {(one.hubspot_contact_id, one.property): one for one in chosen if one.property is not None}
    consent = {row.property: row.consent for row in comparison.rows}
    compared = {row.property: row for row in comparison.rows}
    keys = [*lost, *((contact_id, name) for name, row in compared.items() if contact_id and (contact_id, name) not in lost and _differs(row))]
    if not keys:
        return []
    typed = _typed(snapshot, [record["record_id"] for record in comparison.records])
    written = _written(snapshot, contact_ids)
    found = []
    for about, name in keys:
        if about is None:
            continue
        was, row = lost.get((about, name)), compared.get(name) if about == contact_id else None
        edit = written.get((about, name), {})
        now_value = was["value_now"] if was else row.hubspot_value if row else None
        if was and was["source"] == "typed":
            now = Held("now", now_value, was["by_user_name"], was["typed_at"])
        else:
            now = Held("now", now_value, edit.get("source"), edit.get("changed_at"))
        before = None
        if was:
            before = Held("before", was["value_before"], was["typed_by_before"] or was["source_before"], was["typed_at_before"] or was["before_at"])
        records = {}
        for record, cell in zip(comparison.records, row.cells if row else (), strict=False):
            by = typed.get((record["record_id"], name))
            is_his = by is not None and (by["value"] or "") == (cell.value or "")
            records[record["record_id"]] = Held(
                record["record_id"], cell.value, by["name"] if by and is_his else None, by["typed_at"] if by and is_his else None
            )
        found.append(Field(
            about, name, label_of(snapshot, name), consent.get(name, False), now, before, records, was["status"] if was else None,
            was["source"] if was else None, _proposal(was) if was else None, in_basket.get((about, name)),
        ))  # fmt: skip
    return sorted(found, key=lambda one: (not one.is_missing, one.before is None, one.contact_id != contact_id))[:MOST_FIELDS]


def with_owner_ids(snapshot: Snapshot, typed: Mapping[str, str]) -> dict[str, str]:
    """What was typed, by Field.key; an owner may be typed by name. Raises LookupError when nobody has it, or several people."""
    found = dict(typed)
    for key, value in typed.items():
        if key.endswith(f":{OWNER}") and value.strip() and not value.strip().startswith("005"):
            rows = snapshot.query("select user_id from near.salesforce_user where is_active and lower(name) = lower(trim(?))", [value])
            if len(rows) != 1:
                raise LookupError(value)
            found[key] = rows[0]["user_id"]
    return found


def _differs(row: Any) -> bool:
    return row.at_risk or any(cell.effect in ("overwrite", "clear") for cell in row.cells)


def _proposal(was: dict[str, Any]) -> str | None:
    """Typed last by a person, else HubSpot's. Where nobody can say whether what is there was typed, only what a person had written goes before it."""
    if was["status"] == "restore":
        return "before"
    if was["status"] == "unclear":
        return "before" if was["source_before"] in BY_PERSON or was["typed_at_before"] is not None else None
    return None


def choose(fields: Sequence[Field], picked: Mapping[str, str], typed: Mapping[str, str]) -> tuple[list[Choice], list[Field], list[Field]]:
    """What somebody picked, by Field.key: now, before, the id of a record, other (then `typed` has the value), or anything else for nothing. Returns the
    choices without their case, the fields whose value is right as it is (what a jump brought is accepted), and those of which nothing is chosen any more.
    """
    choices, kept, dropped = [], [], []
    for one in fields:
        # no control characters: no store and no import takes them
        pick, new = picked.get(one.key), re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", typed.get(one.key, "")).strip()
        if new and new != (one.chosen.value if one.chosen else None):
            pick = "other"  # what somebody types counts, whether they tick it or not
        value: str | None
        if pick == "now" and one.before is not None:
            kept.append(one)
            continue
        if pick == "now":
            value = one.now.value
        elif pick == "before" and one.before is not None:
            value = one.before.value
        elif pick == "other":
            value = new[:LONGEST] or None
        elif pick in one.records:
            value = one.records[pick].value
        else:
            if pick is not None and one.chosen is not None:
                dropped.append(one)
            continue
        if value:
            choices.append(Choice("", one.contact_id, one.name, value, one.now.value))
    return choices, kept, dropped


CONSENTS = "(select list_append(list(distinct property), 'hs_email_optout') from near.mapped_field where consent)"
# What a person typed into the record that the contact was bound to before, where Salesforce keeps the history of the field.
_TYPED_BEFORE = """
    left join published.typed_value as typed
        on typed.record_id = value.from_id and typed.property = value.property and value.source_before = 'SALESFORCE'
        and main.canonical_text(typed.value) = main.canonical_text(value.value_before)
"""
# Every missing value is another record's; what is put back was written by a person, in either CRM; no consent, no second contact, nothing that nobody can put
# back.
SAFE = f"""
select person.case_id, person.hubspot_contact_ids[1] as hubspot_contact_id
from main.open_case as person
inner join published.restorable_value as value on value.hubspot_contact_id = person.hubspot_contact_ids[1]
{_TYPED_BEFORE}
where len(person.hubspot_contact_ids) = 1 and person.status <> 'waived'
group by person.case_id, person.hubspot_contact_ids, person.place
having bool_or(value.status = 'restore')
   and bool_and(value.status in ('back', 'typed', 'edited_later', 'accepted')
        or (value.status = 'restore' and value.source = 'foreign' and (coalesce(value.source_before in {among(BY_PERSON)}, false) or typed.typed_at is not null)
            and value.property not in (select property from near.mapped_field where consent) and value.property <> 'hs_email_optout'))
order by person.place, person.case_id
"""


def safe_cases(snapshot: Snapshot) -> list[str]:
    """The cases whose proposal can be taken unseen, the most urgent first."""
    found: list[str] = snapshot.cases.remember("safe", lambda: [row["case_id"] for row in snapshot.query(SAFE)])
    return found


def proposals(snapshot: Snapshot, case_ids: Sequence[str], with_steps: bool) -> list[Choice]:
    """The values that are put back in these cases, and, where they are asked for, the steps of their run-books, unless consent is entered in one."""
    rows = snapshot.query(
        f"""select person.case_id, value.hubspot_contact_id, value.property, value.value_before, value.value_now
            from main.open_case as person
            inner join published.restorable_value as value on list_contains(person.hubspot_contact_ids, value.hubspot_contact_id)
            where value.status = 'restore' and person.case_id in {among(case_ids)}
            order by person.place, person.case_id, value.hubspot_contact_id, value.property"""
    )
    values = [Choice(row["case_id"], row["hubspot_contact_id"], row["property"], row["value_before"], row["value_now"]) for row in rows]
    booked = snapshot.query(
        f"""select case_id, hubspot_contact_ids[1] as contact_id from main.open_case
            where case_id in {among(case_ids)} and email in (select email from near.merge_advice)
              -- two people may look alike: whoever waived that had a reason not to merge
              and case_id not in (select case_id from worklist where status = 'waived' and suite = 'duplicates' and case_id is not null)
              -- what a person agreed to is settled by people, not with forty others
              and email not in (select email from near.merge_advice where list_has_any(enter_before, {CONSENTS}))"""
    ) if with_steps else []  # fmt: skip
    return values + [Choice(row["case_id"], row["contact_id"]) for row in booked]


def _lost(snapshot: Snapshot, contact_ids: Sequence[str]) -> list[dict[str, Any]]:
    """What jumps took from contacts; before_at: when what was there before was written, where HubSpot's history tells."""
    ids = among(contact_ids)
    condition = f"value.hubspot_contact_id in {ids} and value.status not in ('back', 'accepted')"
    if not snapshot.query(f"select 1 as one from near.restorable_value as value where {condition} limit 1"):
        return []  # most cases are no jump, and what follows joins five tables
    return snapshot.query(
        f"""select value.hubspot_contact_id, value.property, value.value_before, value.value_now, value.source_before, value.source, value.typed_at,
                   value.status, users.name as by_user_name, typed.typed_at as typed_at_before, coalesce(typer.name, typed.by_user_id) as typed_by_before,
                   max(edit.happened_at) as before_at
            from near.restorable_value as value
            {_TYPED_BEFORE}
            left join near.salesforce_user as typer on typer.user_id = typed.by_user_id
            left join near.salesforce_user as users on users.user_id = value.by_user_id
            left join (from near.happened where about in {ids} and event = 'edit') as edit
                on edit.about = value.hubspot_contact_id and edit.name = value.property and edit.value_after = value.value_before
                and edit.happened_at < value.switched_at
            where {condition}
            group by all order by value.property"""
    )


def _typed(snapshot: Snapshot, record_ids: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    rows = snapshot.query(
        f"""select typed.record_id, typed.property, typed.value, typed.typed_at, coalesce(users.name, typed.by_user_id) as name
            from near.typed_value as typed left join near.salesforce_user as users on users.user_id = typed.by_user_id
            where typed.record_id in {among(record_ids)}"""
    )
    return {(row["record_id"], row["property"]): row for row in rows}


def _written(snapshot: Snapshot, contact_ids: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """Who wrote HubSpot's values last, in HubSpot's words."""
    # the latest is picked here: for the few edits of a page, grouping them costs more than reading them
    rows = snapshot.query(
        f"select contact_id, name, happened_at as changed_at, who as source from near.happened where about in {among(contact_ids)} and event = 'edit'"
    )
    return {(row["contact_id"], row["name"]): row for row in sorted(rows, key=lambda row: row["changed_at"] or datetime.min)}
