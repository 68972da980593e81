"""The damage report: after a mass update or a mass merge, what happened, when, by whom, to whom, and what can be put back until when."""

from datetime import datetime, timedelta
from typing import Any

from assets.published.restore_plan import RESTORABLE
from review.desk_data import Snapshot

DEFAULT_DAYS = 7
CONTACTS_AT_ONCE = 200
_BEGINNING = 1000  # characters of a value that are read; less of it is shown


def report(snapshot: Snapshot, since: datetime | None) -> dict[str, Any]:
    """The figures of the report. since: from when on (UTC); the last DEFAULT_DAYS before the latest damage, when not given."""
    asked = since
    since = since or first_day(snapshot)
    moment = {"since": since}
    (totals,) = snapshot.query(
        f"""select count(*) filter (where what = 'switch') as switches, count(distinct contact_id) filter (where what = 'switch') as contacts,
                   coalesce(sum(overwritten), 0) as overwritten, count(*) filter (where what = 'gone') as gone,
                   count(*) filter (where what = 'deleted') as deleted, min(happened_at) as first_at, max(happened_at) as last_at
            from ({_HAPPENED})""",
        moment,
    )
    return {
        "since": since,
        "asked": asked,
        "totals": totals,
        "hours": snapshot.query(
            f"""from (select date_trunc('hour', happened_at) as hour, count(*) filter (where what = 'switch') as switches,
                       coalesce(sum(overwritten), 0) as overwritten,
                       count(*) filter (where what = 'gone') as gone, count(*) filter (where what = 'deleted') as deleted
                from ({_HAPPENED}) group by hour order by switches + gone + deleted desc, hour limit 12) order by hour""",
            moment,
        ),
        "users": snapshot.query(
            f"""select user_id, count(*) filter (where what = 'gone') as gone, count(*) filter (where what = 'switch') as switches,
                       min(happened_at) as first_at, max(happened_at) as last_at,
                       (select any_value(name) from published.salesforce_user as users where users.user_id = happened.user_id) as user_name
                from ({_HAPPENED}) as happened where user_id is not null group by user_id order by gone + switches desc, user_id limit 12""",
            moment,
        ),
        "fields": snapshot.query(
            f"""select property, count(*) as replaced, count(*) filter (where status = 'restore') as restorable,
                       count(*) filter (where status = 'unclear') as unclear,
                       count(*) filter (where status = 'back') as back,
                       count(*) filter (where status in ('edited_later', 'awaits_sync', 'typed', 'accepted')) as edited,
                       count(*) filter (where status in ('typed_over', 'brought', 'of_account', 'read_only', 'contact_gone')) as impossible
                from ({RESTORABLE}) group by property order by restorable desc, property""",
            {"since": asked or datetime(1970, 1, 1)},  # the figures of the plan that the page offers
        ),
        "people": snapshot.query(
            f"""with worst as (
                    select event.*, contact.display_name
                    from ({_HAPPENED}) as event inner join published.hubspot_contact as contact on contact.contact_id = event.contact_id
                    order by event.overwritten desc nulls last, event.happened_at desc limit {CONTACTS_AT_ONCE}
                )
                select worst.*, restorable.restorable_until,
                       (select list({{'property': property, 'before': left(value_before, {_BEGINNING}), 'after': left(value_after, {_BEGINNING}),
                                     'before_length': length(value_before), 'after_length': length(value_after)}} order by property)
                        from published.overwritten_value as value
                        where value.hubspot_contact_id = worst.contact_id and value.switched_at = worst.happened_at
                            and worst.what in ('switch', 'merge')) as values
                from worst
                left join published.restorable_contact as restorable on restorable.hubspot_contact_id = worst.contact_id and worst.what = 'deleted'
                order by worst.overwritten desc nulls last, worst.happened_at desc""",
            moment,
        ),
        "until": snapshot.query(
            """select (select min(departed_at) + main.salesforce_keeps() from published.departure where departed_at >= $since) as records,
                      (select min(restorable_until) from published.restorable_contact where archived_at >= $since) as contacts""",
            moment,
        )[0],
    }


def first_day(snapshot: Snapshot) -> datetime:
    """From when on damage is told of, where nobody says it."""
    (last,) = snapshot.query(f"select max(happened_at) as happened_at from ({_HAPPENED})", {"since": datetime(1970, 1, 1)})
    return datetime(1970, 1, 1) if last["happened_at"] is None else last["happened_at"] - timedelta(days=DEFAULT_DAYS)


def figures(snapshot: Snapshot) -> dict[str, Any]:
    """Worked out once after each decision."""
    found: dict[str, Any] = snapshot.cases.remember("figures", lambda: _figures(snapshot))
    return found


def _figures(snapshot: Snapshot) -> dict[str, Any]:
    """The same few numbers on every page: people and matters of the whole portal about whom something is open and not waived (people, matters), how many
    findings that is (findings), the contacts that the next sync takes elsewhere (about_to_jump), and those that jumped (jumped) since a moment (since).
    """
    since, jumped, about_to_jump = snapshot.cases.remember("jumps", lambda: _jumps(snapshot), for_good=True)
    (found,) = snapshot.query(
        """select count(*) filter (where is_person) as people, count(*) filter (where not is_person) as matters,
                  (select count(*) from worklist where status in ('open', 'acknowledged')) as findings
           from main.open_case where status <> 'waived'"""
    )
    return {**found, "jumped": jumped, "about_to_jump": about_to_jump, "since": since}


def _jumps(snapshot: Snapshot) -> tuple[datetime, int, int]:
    """Since when, how many jumped since, and how many are about to."""
    since = first_day(snapshot)
    (jumped,) = snapshot.query(f"select count(distinct contact_id) as number from ({_HAPPENED}) where what = 'switch'", {"since": since})
    (about_to_jump,) = snapshot.query("select count(*) as number from published.binding where prediction = 'switch' and rule = 11")
    return since, jumped["number"], about_to_jump["number"]


# Everything that counts as damage: bindings that jumped (switch) or followed a merge, records that went, contacts that went with them. Who: the user who
# deleted or merged the record, and for a switch the one whose edit made the record the newest.
_HAPPENED = """
select case event.cause when 'salesforce_merge' then 'merge' else 'switch' end as what, event.switched_at as happened_at,
       event.hubspot_contact_id as contact_id, event.from_id, event.to_id, event.overwritten_count as overwritten,
       event.by_user_id as user_id
from published.switch_event as event
where event.cause in ('duplicate_switch', 'unexplained', 'salesforce_merge') and event.from_id is not null and event.switched_at >= $since
union all
select 'gone', departure.departed_at, null, departure.record_id, person.merged_into_id, null, person.last_modified_by_id
from published.departure as departure
inner join published.salesforce_person as person on person.record_id = departure.record_id
where departure.departed_at >= $since
union all
select 'deleted', archived_at, hubspot_contact_id, bound_id, survivor_id, null, null
from published.restorable_contact where archived_at >= $since
"""
