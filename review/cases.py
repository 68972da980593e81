"""Cases: a person, or a matter of the whole portal, with everything about it that is not resolved, and with what was decided up to now.

Which findings belong together is published (`person_case`); what they add up to follows from the decisions since, so it is worked out here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from assets.problems import ConfigurationProblem
from assets.published.worklist import Worklist
from review.words import URGENCY

STATUSES = ("open", "acknowledged", "waived")
_MOST_REMEMBERED = 200
MOST_VALUES = 12  # of a facet; whoever looks for another one searches
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
    "age": "case when since > clock.at - interval 1 day then 'day' when since > clock.at - interval 7 day then 'week' "
    "when since > clock.at - interval 30 day then 'month' else 'older' end",
    "new": "case when is_new then '1' else '-' end",
    "status": "status",
    "owner": "coalesce(owner, '-')",
}
# What the list can be sorted by. Each is a column of it; whatever is equal stays in the order of the worklist.
SORTS = {
    "rank": "rank", "name": "lower(coalesce(display_name, ''))", "account": "lower(account_name)", "salesforce_owner": "lower(salesforce_owner_name)",
    "deadline": "deadline_at", "findings": "len(fingerprints)", "status": "status", "owner": "lower(owner)", "since": "since", "radius": "blast_radius",
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
        self.worklist = worklist
        self._lock = Lock()
        self._built: tuple[int, datetime | None] | None = None
        self._has_texts = False
        self._remembered: dict[object, Any] = {}
        worklist.connection.execute(_ABOUT)

    def refresh(self) -> None:
        """Takes in what was decided since, and which waivers ended. To be called after the worklist's own."""
        with self._lock:
            (ends,) = self.worklist.query(
                "select max(waived_until) filter (where waived_until <= moment.now) as at from main.decision cross join main.moment as moment"
            )
            state = (self.worklist.latest_no, ends["at"])
            if state != self._built:
                self.worklist.connection.cursor().execute(_OPEN_CASE)
                self._built, self._remembered = state, {}

    def remember(self, key: object, work: Callable[[], Any]) -> Any:
        """What was worked out since the last decision, not again for everybody who looks."""
        kept = self._remembered
        if key not in kept:
            if len(kept) >= _MOST_REMEMBERED:
                kept.clear()
            kept[key] = work()
        return kept[key]

    def find(self, wanted: CaseFilter, limit: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
        """The cases that match, in the order that is asked for; with `at`, the moment that their clocks are read."""
        where, values = self._where(wanted)
        name, is_backwards = wanted.sort.removeprefix("-"), wanted.sort.startswith("-")
        bounded = f" limit {int(limit)} offset {int(offset)}" if limit is not None else ""
        return self.worklist.query(
            f"select * from main.open_case cross join main.clock as clock {where} "
            f"order by {SORTS[name]} {'desc' if is_backwards else ''} nulls last, rank {bounded}",
            values,
        )

    def count(self, wanted: CaseFilter) -> int:
        where, values = self._where(wanted)
        return int(self.worklist.query(f"select count(*) as cases from main.open_case cross join main.clock as clock {where}", values)[0]["cases"])

    def one(self, case_id: str) -> dict[str, Any] | None:
        found = self.find(CaseFilter(ids=(case_id,)))
        return found[0] if found else None

    def of_findings(self, fingerprints: Sequence[str]) -> dict[str, str]:
        """The case that each of these findings belongs to."""
        rows = self.worklist.query("select fingerprint, case_id from main.held where list_contains(?, fingerprint)", [list(fingerprints)])
        return {row["fingerprint"]: row["case_id"] for row in rows}

    def of_contacts(self, contact_ids: Sequence[str]) -> dict[str, str]:
        """The case of each of these contacts, where it has one."""
        rows = self.worklist.query(
            """select contact_id, any_value(case_id order by rank) as case_id
               from (select case_id, rank, unnest(hubspot_contact_ids) as contact_id from main.open_case)
               where list_contains(?, contact_id) group by contact_id""",
            [list(contact_ids)],
        )
        return {row["contact_id"]: row["case_id"] for row in rows}

    def facets(self, wanted: CaseFilter) -> dict[str, list[dict[str, Any]]]:
        """By the name of a facet: the values that cases have which match in everything else, with how many: value, label, cases. The most frequent first;
        those that are picked are always there.
        """
        key = tuple(sorted(wanted.picked.items())), wanted.text, wanted.ids, datetime.now(UTC).date()
        facets: dict[str, list[dict[str, Any]]] = self.remember(key, lambda: self._facets(wanted))
        return facets

    def _facets(self, wanted: CaseFilter) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for name, expression in FACETS.items():
            picked = wanted.picked.get(name, ())
            others = {other: chosen for other, chosen in wanted.picked.items() if other != name}
            where, values = self._where(replace(wanted, picked=others))
            label = _LABELS.get(name, "null")
            found[name] = self.worklist.query(
                f"""select value, any_value(label) as label, count(*) as cases
                    from (select {expression} as value, {label} as label from main.open_case cross join main.clock as clock {where})
                    group by value order by list_contains($picked_here, value) desc, cases desc, value limit {MOST_VALUES}""",
                {**values, "picked_here": list(picked)},
            )
        found = {name: rows for name, rows in found.items() if wanted.picked.get(name) or any(row["value"] != NOBODY for row in rows) or name == "owner"}
        found["urgency"].sort(key=lambda row: list(URGENCY).index(row["value"]))
        found["age"].sort(key=lambda row: [*AGES, "older"].index(row["value"]))
        return found

    def with_email(self, email: str) -> list[str]:
        """The cases that somebody with this e-mail has to do with: as main, additional or record's address."""
        self._read_texts()
        rows = self.worklist.query(
            """select open_case.case_id from main.open_case inner join main.case_text as said using (case_id)
               where list_contains(said.emails, coalesce(main.matching_email($email), lower(trim($email)))) order by rank limit 50""",
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
            conditions.append("list_contains($ids, case_id)")
            values["ids"] = list(wanted.ids)
        if wanted.text:
            self._read_texts()
            # every word must occur; a phone number is compared by its digits
            digits = "".join(sign for sign in wanted.text if sign.isdigit())
            is_phone = len(digits) >= 5 and all(sign.isdigit() or sign in "+-/(). " for sign in wanted.text)
            conditions.append(
                "case_id in (select case_id from main.case_text where list_bool_and([contains(said, word) for word in $words])"
                + (" or contains(digits, $digits)" if is_phone else "")
                + ")"
            )
            values["words"] = wanted.text.lower().split()
            if is_phone:
                values["digits"] = digits.lstrip("0")
        return f"where {' and '.join(conditions)}" if conditions else "", values

    def _read_texts(self) -> None:
        """What is searched in: read at the first search, because most of who look at a snapshot do not search."""
        with self._lock:
            if not self._has_texts:
                self.worklist.connection.cursor().execute(_TEXTS)
                self._has_texts = True


def check_case_filter(wanted: CaseFilter) -> None:
    """Raises ConfigurationProblem for a value that does not exist: an empty list would look like good news."""
    possible = {"urgency": tuple(URGENCY), "status": STATUSES, "age": (*AGES, "older"), "new": ("1", NOBODY)}
    for name, values in possible.items():
        for value in wanted.picked.get(name, ()):
            if value not in values:
                raise ConfigurationProblem(f"There is no {name} {value!r}: {', '.join(values)}.")
    if wanted.sort.removeprefix("-") not in SORTS:
        raise ConfigurationProblem(f"The list cannot be sorted by {wanted.sort!r}: {', '.join(SORTS)}.")


_LABELS = {
    "account": "account_name",
    "salesforce_owner": "salesforce_owner_name",
}

# What does not change while the snapshot is looked at. since: when the damage was done, where that is known, else when a run saw it first.
_ABOUT = """
-- place: in the order of the worklist, which no decision changes
create table main.held as
select named.case_id, named.fingerprint, named.place, main.urgency_rank(found.urgency) as urgency_no, main.harm_rank(found.harm) as harm_no,
    main.severity_rank(found.severity) as severity_no, found.deadline_at, found.check_name, found.blast_radius,
    coalesce(found.change in ('new', 'reopened', 'worsened'), false) as is_new
from (
    select case_id, unnest(fingerprints) as fingerprint, generate_subscripts(fingerprints, 1) as place from published.person_case
) as named
inner join main.found as found using (fingerprint);
create table main.case_about as
with damage as (
    select found.fingerprint, event.switched_at as at
    from main.found as found
    inner join published.switch_event as event on event.hubspot_contact_id = found.hubspot_contact_id
        and found.fingerprint = main.event_fingerprint('switch_happened', event.hubspot_contact_id, main.event_of_jump(event.switched_at, event.to_id))
    where found.check_name = 'switch_happened'
    union all
    select found.fingerprint, departure.departed_at
    from main.found as found inner join published.departure as departure on departure.record_id = found.salesforce_id
    where found.check_name in ('bound_record_deleted', 'bound_record_merged_away')
    union all
    select found.fingerprint, restorable.archived_at
    from main.found as found inner join published.restorable_contact as restorable on restorable.hubspot_contact_id = found.hubspot_contact_id
    where found.check_name = 'contact_deleted_by_sync'
),
damaged as (
    select held.case_id, min(damage.at) as damaged_at from damage inner join main.held as held using (fingerprint) group by held.case_id
)
select person_case.case_id, person_case.hubspot_contact_ids, person_case.email, person_case.display_name, person_case.account_id, person_case.account_name,
    person_case.salesforce_owner_id, person_case.salesforce_owner_name, detail.properties['hubspot_owner_id'] as hubspot_owner_id,
    person_case.email is not null or len(person_case.hubspot_contact_ids) > 0 or person_case.display_name is not null as is_person,
    listed.all_fingerprints, listed.all_check_names,
    coalesce(damaged.damaged_at, person_case.opened_at) as since, damaged.damaged_at is not null as is_damage_known, person_case.opened_at
from published.person_case as person_case
left join published.contact_detail as detail on detail.contact_id = person_case.hubspot_contact_ids[1]
inner join (
    select case_id, list(fingerprint order by place) as all_fingerprints, list(check_name order by place) as all_check_names from main.held group by case_id
) as listed using (case_id)
left join damaged using (case_id);
-- A sandbox's clock may be ahead of ours.
create view main.clock as
select greatest(moment.now, latest_run.seen_at) as at from main.moment as moment cross join main.latest_run as latest_run;
"""

# What a case is found by: names, companies, ids, phone numbers; e-mails apart, because they are compared as a whole.
_TEXTS = """
create table main.case_text as
with contact_of as (
    select case_id, unnest(hubspot_contact_ids) as contact_id from main.case_about
),
record_of as (
    select held.case_id, found.salesforce_id as record_id
    from main.held as held inner join main.found as found using (fingerprint) where found.salesforce_id is not null
    union
    select held.case_id, unnest(found.rival_ids) from main.held as held inner join main.found as found using (fingerprint)
    union
    select contact_of.case_id, contact.bound_id
    from contact_of inner join published.hubspot_contact as contact using (contact_id) where contact.bound_id is not null
),
part as (
    select contact_of.case_id,
        concat_ws(' ', contact.contact_id, contact.display_name, detail.properties['company']) as said,
        list_append(contact.additional_emails, contact.email) as emails,
        concat_ws(' ', detail.properties['phone'], detail.properties['mobilephone']) as phones
    from contact_of
    inner join published.hubspot_contact as contact using (contact_id)
    left join published.contact_detail as detail using (contact_id)
    union all
    select record_of.case_id,
        concat_ws(' ', person.record_id, person.display_name, detail.fields['Company'], detail.fields['Account.Name']),
        [person.email],
        concat_ws(' ', detail.fields['Phone'], detail.fields['MobilePhone'])
    from record_of
    inner join published.salesforce_person as person using (record_id)
    left join published.record_detail as detail using (record_id)
    union all
    select case_id, concat_ws(' ', display_name, account_name, case_id), [email], null from main.case_about
)
select case_id, lower(string_agg(said, ' ')) as said, list_distinct(flatten(list(emails))) as emails,
    regexp_replace(string_agg(phones, ' '), '[^0-9]', '', 'g') as digits
from part group by case_id
"""

# The order is that of the worklist by the case's own columns (published as person_case.rank); what was decided since counts.
_OPEN_CASE = """
create or replace table main.open_case as
with open as (
    -- numbers are compared, not texts: a hundred thousand findings are summed up after each decision
    select held.*, finding.status, finding.owner, finding.waived_until
    from main.held as held
    inner join (select fingerprint, status, owner, waived_until from worklist where status <> 'resolved') as finding using (fingerprint)
),
owned as (
    select case_id, arg_min(owner, place) as owner from open where owner is not null group by case_id
),
due as (
    select case_id, arg_min(check_name, (status = 'waived', deadline_at)) as deadline_check from open where deadline_at is not null group by case_id
),
summed as (
    select
        case_id,
        -- what is waived counts where everything is
        bool_and(status = 'waived') as is_waived,
        coalesce(min(urgency_no) filter (where status <> 'waived'), min(urgency_no)) as urgency_no,
        coalesce(min(harm_no) filter (where status <> 'waived'), min(harm_no)) as harm_no,
        coalesce(max(severity_no) filter (where status <> 'waived'), max(severity_no)) as severity_no,
        case when is_waived then min(deadline_at) else min(deadline_at) filter (where status <> 'waived') end as deadline_at,
        ['open', 'acknowledged', 'waived'][min(case status when 'open' then 1 when 'acknowledged' then 2 else 3 end)] as status,
        max(waived_until) filter (where status = 'waived') as waived_until,
        max(blast_radius) as blast_radius,
        bool_or(is_new) as is_new
    from open
    group by case_id
),
remaining as (
    -- of the few cases of which something was accepted since the run
    select case_id, list(fingerprint order by place) as fingerprints, list(check_name order by place) as check_names
    from open
    where case_id in (select case_id from main.held inner join main.decision as decision using (fingerprint) where decision.status = 'accepted')
    group by case_id
)
select
    summed.case_id, ['now', 'soon', 'later'][summed.urgency_no] as urgency,
    ['deleted', 'mixed_people', 'cut_off', 'consent', 'overwritten', 'spread', 'drift', 'none'][summed.harm_no] as harm,
    ['warn', 'block', 'unproven'][summed.severity_no] as severity,
    summed.deadline_at, case when summed.deadline_at is not null then due.deadline_check end as deadline_check,
    coalesce(remaining.fingerprints, about.all_fingerprints) as fingerprints, coalesce(remaining.check_names, about.all_check_names) as check_names,
    summed.waived_until, summed.blast_radius, summed.is_new, about.* exclude (case_id, all_fingerprints, all_check_names),
    -- owner and acknowledgement of a case hold for what comes later, too; a waiver never does
    coalesce(owned.owner, assignment.owner) as owner,
    case when summed.status = 'open' and decision.status = 'acknowledged' and summed.severity_no < 3 then 'acknowledged' else summed.status end as status,
    row_number() over (
        order by summed.status = 'waived', summed.severity_no = 3 desc, summed.urgency_no, summed.severity_no desc, summed.harm_no,
            summed.deadline_at nulls last, summed.blast_radius desc, about.opened_at, summed.case_id) as rank
from summed
inner join main.case_about as about on about.case_id = summed.case_id
left join owned on owned.case_id = summed.case_id
left join remaining on remaining.case_id = summed.case_id
left join due on due.case_id = summed.case_id
left join main.assignment as assignment on assignment.subject = summed.case_id
left join main.decision as decision on decision.fingerprint = summed.case_id
"""
