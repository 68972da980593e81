"""Merge plans at the desk: those that lie in the home's folder, and what became of the ones before."""

from typing import Any

from review.desk_data import Snapshot

SHOWN = 100


def read_plans(snapshot: Snapshot) -> dict[str, Any]:
    """The plans in the folder (plans), their rows that need somebody (troubles), and merges that were carried out: their number by what became of
    them (totals), the worst and latest of them (carried_out, rows as in the export).
    """
    return {
        "plans": snapshot.query(
            """select plan, count(*) filter (where verdict = 'safe') as safe, count(*) filter (where verdict = 'unsafe') as unsafe,
                      count(*) filter (where verdict in ('invalid', 'unknown')) as unusable, count(*) filter (where verdict = 'done') as done
               from published.planned_merge where not is_taken_away group by plan order by plan"""
        ),
        "troubles": snapshot.query(
            "from published.planned_merge where verdict in ('unsafe', 'invalid', 'unknown') order by plan, row_no limit ?", [SHOWN]
        ),
        "totals": snapshot.query(
            f"""select count(*) as merges, count(*) filter (where result = 'as_planned') as as_planned, count(*) filter (where result = 'pending') as pending,
                       count(*) filter (where result not in ('as_planned', 'pending')) as went_wrong,
                       count(*) filter (where said_before in ('unsafe', 'invalid', 'unknown')) as against_advice
                from ({_CARRIED_OUT})"""
        )[0],
        "carried_out": snapshot.query(f"{_WORST_FIRST} limit ?", [SHOWN]),
    }  # fmt: skip


# One row: a merge of a plan that was carried out. said_before: the last verdict before that, null when no run saw the plan before; seen_at: when the run
# was that saw it done first; result, lost_fields: as the last run has them. Clocks may go back: which run came first, its number says.
_CARRIED_OUT = """
select
    plan, arg_max(row_no, run_no) as row_no, master_id, loser_id,
    arg_max(verdict, run_no) filter (where verdict <> 'done') as said_before,
    arg_min(happened_at, run_no) filter (where verdict = 'done') as seen_at,
    arg_max(result, run_no) as result,
    arg_max(hubspot_contact_id, run_no) as hubspot_contact_id,
    arg_max(lost_fields, run_no) as lost_fields,
    min(run_no) filter (where verdict = 'done') as seen_no
from published.planned_merge_event
inner join (select run_id, run_no from published.run) using (run_id)
group by plan, master_id, loser_id
having bool_or(verdict = 'done')
"""
_WORST_FIRST = f"""
select * exclude (seen_no) from ({_CARRIED_OUT}) order by result = 'as_planned', result = 'pending', seen_no desc, plan, row_no"""

# Every merge of a plan that was carried out, with whom it is about.
CARRIED_OUT = f"""
select carried_out.* exclude (place, hubspot_contact_id, lost_fields), master.display_name as master_name, loser.display_name as loser_name,
    carried_out.hubspot_contact_id, contact.display_name, carried_out.lost_fields
from (select *, row_number() over () as place from ({_WORST_FIRST})) as carried_out
left join published.hubspot_contact as contact on contact.contact_id = carried_out.hubspot_contact_id
left join published.salesforce_person as master on master.record_id = carried_out.master_id
left join published.salesforce_person as loser on loser.record_id = carried_out.loser_id
order by carried_out.place"""
