"""Cases: a person, or a matter of the whole portal, with everything about it that is not resolved, and with what was decided up to now.

Which findings belong together is published (`person_case`); what they add up to follows from the decisions since, so it is worked out here.
"""

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock, RLock
from typing import Any

from assets.problems import ConfigurationProblem
from assets.published.worklist import Worklist
from assets.sql import among, transaction, with_memory
from review.words import URGENCY

STATUSES = ("open", "acknowledged", "waived")
_MOST_REMEMBERED = 200
_MOST_KEPT = 50  # rows of a list that are remembered: a page
_FEW = 5000  # cases that a text is found in: 20 kB
_MOST_ORDERS = 30  # lists of the numbers of all their cases: 400 kB each on a large portal
MOST_VALUES = 12  # of a facet; whoever looks for another one searches
_NOTHING = object()  # was worked out
NOBODY = "-"  # the value of a facet that stands for none
AGES = {"day": 1, "week": 7, "month": 30}  # days; what is older is "older"

# What a case can be picked by, and the SQL of its value in a row of main.open_case.
FACETS = {
    "account": "coalesce(account_id, '-')",
    "salesforce_owner": "coalesce(salesforce_owner_id, '-')",
    "hubspot_owner": "coalesce(hubspot_owner_id, '-')",
    "urgency": "urgency",
    "harm": "harm",
    "check": "unnest(check_names)",
    "caused_by": "coalesce(caused_by_id, '-')",
    # by the hour: in between, what was worked out stays true
    "age": "case when since > date_trunc('hour', clock.at) - interval 1 day then 'day' when since > date_trunc('hour', clock.at) - interval 7 day then 'week' "
    "when since > date_trunc('hour', clock.at) - interval 30 day then 'month' else 'older' end",
    "new": "case when is_new then '1' else '-' end",
    "status": "status",
    "owner": "coalesce(owner, '-')",
}
# What the list can be sorted by. Each is a column of it; whatever is equal stays in the order of the worklist.
SORTS = {
    "rank": "(status = 'waived', place)", "name": "lower(coalesce(display_name, ''))", "account": "lower(account_name)",
    "salesforce_owner": "lower(salesforce_owner_name)", "deadline": "deadline_at", "findings": "len(fingerprints)", "status": "status",
    "owner": "lower(owner)", "since": "since", "radius": "blast_radius",
}  # fmt: skip


@dataclass(frozen=True)
class CaseFilter:
    """Which cases. picked: the values of each facet (several are alternatives; all facets must hold); text: what their people, companies, ids or phone
    numbers contain; ids: exactly these; sort: a key of SORTS, with a minus for the other way round.
    """

    picked: dict[str, tuple[str, ...]] = field(default_factory=dict)
    text: str | None = None
    ids: tuple[str, ...] = ()
    sort: str = "rank"


class Cases:
    """The cases of one snapshot. Several threads may use it at once."""

    def __init__(self, worklist: Worklist) -> None:
        """worklist: of a connection that knows near.<table> and main.case_base."""
        self.worklist = worklist
        self._lock = Lock()
        self._work = RLock()
        self._state: object = None
        self._remembered: dict[object, Any] = {}
        self._kept: dict[object, Any] = {}
        self._orders: dict[object, array[int]] = {}
        with_memory(worklist.connection, lambda: worklist.connection.execute(_OPEN_CASE))

    def refresh(self) -> None:
        """Takes in what was decided since, and which waivers ended. To be called after the worklist's own."""
        with self._lock:
            state = self.worklist.state
            if state != self._state:
                with_memory(self.worklist.connection, self._move)
                self._orders, self._remembered, self._state = {}, {}, state  # an order is never older than what is remembered of it

    def _move(self) -> None:
        connection = self.worklist.connection.cursor()
        with transaction(connection):
            connection.execute(_MOVE)

    def remember(self, key: object, work: Callable[[], Any], for_good: bool = False) -> Any:
        """What was worked out since the last decision, not again for everybody who looks. for_good: no decision changes it."""
        kept = self._remembered if not for_good else self._kept
        found = kept.get(key, _NOTHING)  # one look: between two of them somebody else may make room
        if found is _NOTHING:
            with self._work:  # what takes all cases takes memory: one does it, and the others wait for what comes of it
                found = kept.get(key, _NOTHING)
                if found is _NOTHING:
                    if len(kept) >= _MOST_REMEMBERED:
                        kept.clear()
                    found = kept[key] = work()
        return found

    def find(self, wanted: CaseFilter, limit: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """The cases that match, in the order that is asked for; with `at`, the moment that their clocks are read."""
        if limit is None or limit > _MOST_KEPT:
            return self._read(wanted, limit, offset)
        rows = self.remember(("rows", *self._order_of(wanted), limit, offset), lambda: self._read(wanted, limit, offset))
        return [{**row, "at": self.worklist.now} for row in rows]

    def _read(self, wanted: CaseFilter, limit: int | None, offset: int) -> list[dict[str, Any]]:
        # which ones is known from a few columns; the wide ones are read of these alone
        if (order := self._orders.get(self._order_of(wanted))) is not None:
            numbers: Sequence[int] = order[offset : offset + limit] if limit is not None else order
        else:
            numbers = self._numbers(wanted, f"limit {int(limit)} offset {int(offset)}" if limit is not None else "")
        rows = {row["case_no"]: row for row in self._these(f"case_no in ({', '.join(map(str, numbers)) or 'null'})")}
        return [rows[number] for number in numbers if number in rows]

    def _these(self, condition: str) -> list[dict[str, Any]]:
        return self.worklist.query(f"select * from main.open_case cross join main.clock as clock where {condition}")

    def _numbers(self, wanted: CaseFilter, bounded: str = "") -> "array[int]":
        where, values = self._where(wanted)
        query = f"select case_no from main.open_case cross join main.clock as clock {where} order by {self._in_order(wanted)} {bounded}"
        return array("I", self.worklist.column(query, values))

    def _key(self, wanted: CaseFilter) -> tuple[object, ...]:
        """What says which cases match: their age changes with the hour."""
        return tuple(sorted(wanted.picked.items())), wanted.text, wanted.ids, self.worklist.now.replace(minute=0, second=0, microsecond=0)

    def _order_of(self, wanted: CaseFilter) -> tuple[object, ...]:
        return *self._key(wanted), wanted.sort

    @staticmethod
    def _in_order(wanted: CaseFilter) -> str:
        name, direction = wanted.sort.removeprefix("-"), "desc" if wanted.sort.startswith("-") else ""
        return _IN_ORDER if wanted.sort == "rank" else f"{SORTS[name]} {direction} nulls last, {_IN_ORDER}"

    def listed(self, wanted: CaseFilter, mask_emails: bool) -> tuple[str, dict[str, Any]]:
        """A query for the cases that match, in the order that is asked for, with names beside the ids; and its values."""
        where, values = self._where(wanted)
        email = "main.masked_email(email)" if mask_emails else "email"
        query = f"""select case_id, hubspot_contact_ids, display_name, {email} as email, account_id, account_name, salesforce_owner_id, salesforce_owner_name,
                        hubspot_owner_name, urgency, severity, harm, deadline_at, status, waived_until, owner, since, caused_by_name,
                        len(fingerprints) as findings, check_names, blast_radius, is_new
                    from main.open_case cross join main.clock as clock {where} order by {self._in_order(wanted)}"""
        return query, values

    def contact_ids(self, wanted: CaseFilter) -> list[str]:
        """The contacts that the cases which match are about."""
        where, values = self._where(wanted)
        query = f"select distinct unnest(hubspot_contact_ids) as contact_id from main.open_case cross join main.clock as clock {where} order by contact_id"
        return [row["contact_id"] for row in self.worklist.query(query, values)]

    def count(self, wanted: CaseFilter) -> int:
        number: int = self.remember(("count", *self._key(wanted)), lambda: self._count(wanted))
        return number

    def _count(self, wanted: CaseFilter) -> int:
        where, values = self._where(wanted)
        return int(self.worklist.query(f"select count(*) as cases from main.open_case cross join main.clock as clock {where}", values)[0]["cases"])

    def one(self, case_id: str) -> dict[str, Any] | None:
        return next(iter(self._these(f"case_id in {among([case_id])}")), None)

    def place(self, wanted: CaseFilter, case_no: int) -> tuple[int, int, str | None, str | None]:
        """Where a case stands in a list (1, 2, 3 …; 0 where it is not in it), how many that has, and which come before and after it."""
        key, orders = self._order_of(wanted), self._orders
        with self._work:
            if (order := orders.get(key)) is None:
                if len(orders) >= _MOST_ORDERS:
                    orders.clear()
                order = orders[key] = self._numbers(wanted)
        try:
            at = order.index(case_no)
        except ValueError:
            at = -1
        beside = [order[place] if 0 <= place < len(order) else 0 for place in ((at - 1, at + 1) if at >= 0 else (-1, 0))]
        rows = self.worklist.query(f"select case_no, case_id from near.case_base where case_no in ({', '.join(map(str, beside))})")
        names = {row["case_no"]: row["case_id"] for row in rows}
        before, after = (names.get(number) for number in beside)
        return at + 1, len(order), before, after

    def of_findings(self, fingerprints: Sequence[str]) -> dict[str, str]:
        """The case that each of these findings belongs to."""
        rows = self.worklist.query(f"select fingerprint, case_id from main.found where fingerprint in {among(fingerprints)} and case_id is not null")
        return {row["fingerprint"]: row["case_id"] for row in rows}

    def of_contacts(self, contact_ids: Sequence[str]) -> dict[str, str]:
        """The case of each of these contacts, where it has one."""
        held = self.worklist.query(f"select contact_id, case_id from near.case_of_contact where contact_id in {among(contact_ids)}") if contact_ids else []
        if not held:
            return {}
        cases = among([row["case_id"] for row in held])
        last_first = self.worklist.query(f"select case_id from main.open_case where case_id in {cases} order by {_IN_ORDER}")[::-1]
        return {row["contact_id"]: case["case_id"] for case in last_first for row in held if row["case_id"] == case["case_id"]}

    def facets(self, wanted: CaseFilter) -> dict[str, list[dict[str, Any]]]:
        """By the name of a facet: the values that cases have which match in everything else, with how many: value, label, cases. The most frequent first;
        those that are picked are always there.
        """
        facets: dict[str, list[dict[str, Any]]] = self.remember(self._key(wanted), lambda: self._facets(wanted))
        return facets

    def _facets(self, wanted: CaseFilter) -> dict[str, list[dict[str, Any]]]:
        picked = {name: values for name, values in wanted.picked.items() if values}
        # those that nothing is picked of count the same cases; of each other one those that match in everything else
        found = self._counted(wanted, [name for name in FACETS if name not in picked])
        for name, its in picked.items():
            found |= self._counted(replace(wanted, picked={other: values for other, values in picked.items() if other != name}), [name], its)
            # what is picked stays picked, also where no case has it now
            found[name] += [{"value": value, "label": None, "cases": 0} for value in its if value not in {row["value"] for row in found[name]}]
        shown = {name: found[name] for name in FACETS}
        shown = {name: rows for name, rows in shown.items() if picked.get(name) or any(row["value"] != NOBODY for row in rows) or name == "owner"}
        for name, order in (("urgency", list(URGENCY)), ("age", [*AGES, "older"])):
            if name in shown:
                shown[name] = sorted(shown[name], key=lambda row, order=order: order.index(row["value"]))  # type: ignore[misc]
        return shown

    def _counted(self, wanted: CaseFilter, names: Sequence[str], picked: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
        where, values = self._where(wanted)
        columns = ", ".join(f"{FACETS[name].removeprefix('unnest(').removesuffix(')') if name == 'check' else FACETS[name]} as value_{name}, "
                            f"{LABELS.get(name, 'null')} as label_{name}" for name in names)  # fmt: skip
        counted = " union all ".join(
            f"""(select '{name}' as facet, value, any_value(label) as label, count(*) as cases
                 from (select {"unnest(list_distinct(value_check))" if name == "check" else f"value_{name}"} as value, label_{name} as label from matching)
                 group by value order by list_contains($picked_here, value) desc, cases desc, value limit {MOST_VALUES})"""
            for name in names
        )  # fmt: skip
        rows = self.worklist.query(
            f"with matching as materialized (select {columns} from main.open_case cross join main.clock as clock {where}) {counted}",
            {**values, "picked_here": list(picked)},
        )
        return {name: [row for row in rows if row["facet"] == name] for name in names}

    def with_email(self, email: str) -> list[str]:
        """The cases that somebody with this e-mail has to do with: as main, additional or record's address."""
        rows = self.worklist.query(
            f"""select case_id from main.open_case
                where case_id in (select case_id from near.case_email where email = coalesce(main.matching_email($email), lower(trim($email))))
                order by {_IN_ORDER} limit 50""",
            {"email": email},
        )
        return [row["case_id"] for row in rows]

    def _where(self, wanted: CaseFilter) -> tuple[str, dict[str, Any]]:
        conditions: list[str] = []
        values: dict[str, Any] = {}
        for name, picked in wanted.picked.items():
            if not picked:
                continue
            expression = FACETS[name]
            conditions.append(f"list_has_any(check_names, $p_{name})" if name == "check" else f"list_contains($p_{name}, {expression})")
            values[f"p_{name}"] = list(picked)
        if wanted.ids:
            conditions.append(f"case_id in {among(wanted.ids)}")
        if wanted.text:
            said, of_text = _said(wanted.text)
            numbers = self._with_text(wanted.text, said, of_text)
            conditions.append("case_no in (select unnest($numbers::bigint[]))" if numbers is not None else f"case_id in (select case_id {said})")
            values |= of_text if numbers is None else {"numbers": numbers}
        return f"where {' and '.join(conditions)}" if conditions else "", values

    def _with_text(self, text: str, said: str, values: dict[str, Any]) -> list[int] | None:
        """The numbers of the cases that a text is found in, which no decision changes; None where they are many: then reading the texts again costs less."""
        query = f"select case_no from near.case_base where case_id in (select case_id {said}) limit {_FEW + 1}"
        numbers: array[int] = self.remember(("text", text), lambda: array("I", self.worklist.column(query, values)), for_good=True)
        return numbers.tolist() if len(numbers) <= _FEW else None


# The code of a country at the start of a number: its first digits say how long it is (E.164).
_COUNTRY = re.compile(r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3}")


def _said(text: str) -> tuple[str, dict[str, Any]]:
    """SQL, from "from" on: the cases that a text is found in, and its values. Every word must occur; a phone number is compared by its digits."""
    digits = "".join(sign for sign in text if sign.isdigit()).lstrip("0")
    if text.startswith(("+", "00")) and len(national := _COUNTRY.sub("", digits, count=1).lstrip("0")) >= 5:
        digits = national  # somebody else wrote it without the country
    is_phone = len(digits) >= 5 and all(sign.isdigit() or sign in "+-/(). " for sign in text)
    condition = "list_bool_and([contains(said, word) for word in $words])" + (" or contains(digits, $digits)" if is_phone else "")
    return f"from near.case_text where {condition}", {"words": text.lower().split(), **({"digits": digits} if is_phone else {})}


def check_case_filter(wanted: CaseFilter) -> None:
    """Raises ConfigurationProblem for a value that does not exist: an empty list would look like good news."""
    possible = {"urgency": tuple(URGENCY), "status": STATUSES, "age": (*AGES, "older"), "new": ("1", NOBODY)}
    for name, values in possible.items():
        for value in wanted.picked.get(name, ()):
            if value not in values:
                raise ConfigurationProblem(f"There is no {name} {value!r}: {', '.join(values)}.")
    if wanted.sort.removeprefix("-") not in SORTS:
        raise ConfigurationProblem(f"The list cannot be sorted by {wanted.sort!r}: {', '.join(SORTS)}.")


LABELS = {
    "account": "account_name", "salesforce_owner": "salesforce_owner_name", "hubspot_owner": "hubspot_owner_name", "caused_by": "caused_by_name",
}  # fmt: skip

# What no decision changes. since: when the damage was done, where that is known, else when a run saw it first; caused_by_id: the Salesforce user who
# edited, deleted or merged, of the latest damage, else of the record that the contact is about to jump to.
ABOUT = """
create table near.case_about as
with damage as (
    select found.case_id, event.switched_at as happened_at, event.by_user_id
    from near.found as found
    inner join near.switch_event as event on event.hubspot_contact_id = found.hubspot_contact_id
        and found.fingerprint = main.event_fingerprint('switch_happened', event.hubspot_contact_id, main.event_of_jump(event.switched_at, event.to_id))
    where found.check_name = 'switch_happened'
    union all
    select found.case_id, departure.departed_at, person.last_modified_by_id
    from near.found as found
    inner join near.departure as departure on departure.record_id = found.salesforce_id
    left join near.salesforce_person as person on person.record_id = departure.record_id
    where found.check_name in ('bound_record_deleted', 'bound_record_merged_away')
    union all
    select found.case_id, restorable.archived_at, null
    from near.found as found inner join published.restorable_contact as restorable on restorable.hubspot_contact_id = found.hubspot_contact_id
    where found.check_name = 'contact_deleted_by_sync'
),
damaged as (
    select case_id, min(happened_at) as damaged_at, arg_max(by_user_id, happened_at) as by_user_id from damage group by case_id
),
about_to_jump as (
    select found.case_id, any_value(person.last_modified_by_id) as by_user_id
    from near.found as found
    inner join near.binding as binding on binding.hubspot_contact_id = found.hubspot_contact_id and binding.prediction = 'switch'
    inner join near.salesforce_person as person on person.record_id = binding.predicted_id
    where found.check_name = 'switch_imminent'
    group by found.case_id
)
select person_case.case_id, person_case.hubspot_contact_ids, person_case.email, person_case.display_name, person_case.account_id, person_case.account_name,
    person_case.salesforce_owner_id, person_case.salesforce_owner_name, contact.owner_id as hubspot_owner_id,
    owner.name as hubspot_owner_name,
    coalesce(damaged.by_user_id, about_to_jump.by_user_id) as caused_by_id, users.name as caused_by_name,
    person_case.email is not null or len(person_case.hubspot_contact_ids) > 0 or person_case.display_name is not null as is_person,
    coalesce(damaged.damaged_at, person_case.opened_at) as since, damaged.damaged_at is not null as is_damage_known, person_case.opened_at
from published.person_case as person_case
left join (select contact_id, properties['hubspot_owner_id'] as owner_id from near.contact_detail) as contact
    on contact.contact_id = person_case.hubspot_contact_ids[1]
left join published.hubspot_owner as owner on owner.owner_id = contact.owner_id
left join damaged on damaged.case_id = person_case.case_id
left join about_to_jump on about_to_jump.case_id = person_case.case_id
left join published.salesforce_user as users on users.user_id = coalesce(damaged.by_user_id, about_to_jump.by_user_id);
create table near.case_of_contact as select unnest(hubspot_contact_ids) as contact_id, case_id from near.case_about;
create index case_by_contact on near.case_of_contact (contact_id);
"""


def _summed(findings: str) -> str:
    """SQL: what cases add up to by their findings, with place, theirs in the order of the worklist. What is waived counts where everything is."""

    def worst(aggregate: str, of: str) -> str:
        return f"coalesce({aggregate} filter (where status <> 'waived'), {aggregate}) as {of}"

    return f"""
select summed.* exclude (first_check), case when summed.deadline_at is not null then summed.first_check end as deadline_check,
    main.worklist_place(summed.severity, summed.urgency, summed.harm, summed.deadline_at, summed.blast_radius) as place,
    about.* exclude (case_id)
from (
    select
        case_id,
        {worst("arg_min(urgency, main.urgency_rank(urgency))", "urgency")},
        {worst("arg_min(harm, main.harm_rank(harm))", "harm")},
        {worst("arg_max(severity, main.severity_rank(severity))", "severity")},
        case when bool_and(status = 'waived') then min(deadline_at) else min(deadline_at) filter (where status <> 'waived') end as deadline_at,
        {worst("arg_min(check_name, deadline_at)", "first_check")},
        case when bool_or(status = 'open') then 'open' when bool_or(status = 'acknowledged') then 'acknowledged' else 'waived' end as status,
        arg_min(owner, place) filter (where owner is not null) as owner,
        max(waived_until) filter (where status = 'waived') as waived_until,
        max(blast_radius) as blast_radius,
        coalesce(bool_or(change in ('new', 'reopened', 'worsened')), false) as is_new,
        list(fingerprint order by place) as fingerprints,
        list(check_name order by place) as check_names
    from ({findings})
    group by case_id
) as summed
inner join near.case_about as about on about.case_id = summed.case_id"""


_UNDECIDED = "from near.found where status <> 'resolved'"
# As if nothing had been decided: a decision changes its case alone.
BASE = f"""
create or replace temp table summed as {_summed(_UNDECIDED)};
create table near.case_base as
select numbered.case_no, summed.*
from summed inner join (select case_id, row_number() over (order by place, opened_at, case_id) as case_no from summed) as numbered using (case_id)
order by numbered.case_no;
drop table summed;
create index case_by_id on near.case_base (case_id);
create index case_by_no on near.case_base (case_no);
"""
_IN_ORDER = "status = 'waived', place, opened_at, case_id"

_OPEN_CASE = """
create table main.decided_case (case_id varchar);
create table main.moved_case as from near.case_base limit 0;
create view main.open_case as
from main.case_base as base where not exists (select 1 from main.decided_case as decided where decided.case_id = base.case_id)
union all
from main.moved_case;
"""
_MOVE = f"""
delete from main.decided_case;
insert into main.decided_case
select distinct case_id from main.found where status <> 'resolved' and place in (select place from main.decided);
delete from main.moved_case;
insert into main.moved_case
select base.case_no, summed.*
from ({_summed("from worklist where case_id in (select case_id from main.decided_case) and status <> 'resolved'")}) as summed
inner join near.case_base as base on base.case_id = summed.case_id;
"""

# What a case is found by: names, companies, ids, phone numbers; e-mails apart, because they are compared as a whole.
TEXTS = """
create or replace temp table contact_of as
select case_id, unnest(hubspot_contact_ids) as contact_id from near.case_about;
create or replace temp table record_of as
select case_id, salesforce_id as record_id from near.found where status <> 'resolved' and salesforce_id is not null
union
select case_id, unnest(rival_ids) from near.found where status <> 'resolved'
union
select contact_of.case_id, contact.bound_id
from contact_of inner join near.hubspot_contact as contact using (contact_id) where contact.bound_id is not null;
create table near.case_text as
with part as (
    select contact_of.case_id,
        concat_ws(' ', contact.contact_id, contact.display_name, detail.company) as said,
        concat_ws(' ', detail.phone, detail.mobile) as phones
    from contact_of
    inner join near.hubspot_contact as contact using (contact_id)
    left join (
        select contact_id, properties['company'] as company, properties['phone'] as phone, properties['mobilephone'] as mobile from near.contact_detail
    ) as detail using (contact_id)
    union all
    select record_of.case_id,
        concat_ws(' ', person.record_id, person.display_name, detail.company, detail.account),
        concat_ws(' ', detail.phone, detail.mobile)
    from record_of
    inner join near.salesforce_person as person using (record_id)
    left join (
        select record_id, fields['Company'] as company, fields['Account.Name'] as account, fields['Phone'] as phone, fields['MobilePhone'] as mobile
        from near.record_detail
    ) as detail using (record_id)
    union all
    select case_id, concat_ws(' ', display_name, account_name, case_id), null from near.case_about
)
select case_id, lower(string_agg(said, ' ')) as said, regexp_replace(string_agg(phones, ' '), '[^0-9]', '', 'g') as digits
from part group by case_id;
create table near.case_email as
select contact_of.case_id, contact.email from contact_of inner join near.hubspot_contact as contact using (contact_id)
union all
select contact_of.case_id, unnest(contact.additional_emails) from contact_of inner join near.hubspot_contact as contact using (contact_id)
union all
select record_of.case_id, person.email from record_of inner join near.salesforce_person as person using (record_id)
union all
select case_id, email from near.case_about;
drop table contact_of;
drop table record_of;
"""
