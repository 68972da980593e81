"""The merge run-book: the steps for a cluster, and its exports."""

from pathlib import Path
from typing import Any

from assets.published.worklist import Filter, Worklist
from assets.sentences import column_in


def read_steps(worklist: Worklist, email: str | None) -> list[dict[str, Any]]:
    """The steps for the cluster of an e-mail, in their order: rows of `merge_advice`."""
    return worklist.query("from near.merge_advice where email = ? order by step", [email]) if email else []


def run_book_rows(worklist: Worklist, wanted: Filter, language: str, mask_emails: bool, at_once: int) -> tuple[str, list[dict[str, Any]]]:
    """A query for every step for the clusters that matching findings are about, one row a step, clusters in the order of the list; and its values, for each
    part of it in turn. at_once: how many places of the list.
    """
    where, values = worklist.where(wanted)
    reason = column_in(language, "advice", "reason")
    email = "main.masked_email(advice.email)" if mask_emails else "advice.email"
    return (
        f"""
        select {email} as email, advice.hubspot_contact_id, contact.display_name, chosen.account_name, advice.step, advice.action,
               advice.master_id, master.display_name as master_name, advice.loser_id, loser.display_name as loser_name, advice.merge_no, {reason} as reason
        from near.merge_advice as advice
        inner join ({_chosen(where)}) as chosen on chosen.email = advice.email
        left join near.hubspot_contact as contact on contact.contact_id = advice.hubspot_contact_id
        left join near.salesforce_person as master on master.record_id = advice.master_id
        left join near.salesforce_person as loser on loser.record_id = advice.loser_id
        where chosen.place between $first and $last
        order by chosen.place, advice.email, advice.step""",
        worklist.parts(values, at_once),
    )


def _chosen(where: str) -> str:
    """The e-mails that the findings of a list are about, each with its first place in it."""
    return f"""select found.email, min(found.place) as place, arg_min(person.account_name, found.place) as account_name
               from (from worklist {where}) as found left join near.person_case as person on person.case_id = found.case_id
               where found.email is not null group by found.email"""


def write_merges(worklist: Worklist, wanted: Filter, path: Path) -> None:
    """The merges alone, as merge tools read them: one row a merge, its master and one or two losers.

    Not among them: conversions, and merges that are only safe after a decision of people or after the bound Lead was converted.
    """
    worklist.insist()
    where, values = worklist.where(wanted)
    worklist.query(
        f"""copy (
           with of_cluster as (
               select advice.*, chosen.place from published.merge_advice as advice inner join ({_chosen(where)}) as chosen on chosen.email = advice.email
           ),
           ready as (
               select of_cluster.*
               from of_cluster
               anti join (
                   select advice.email, advice.step
                   from of_cluster as advice
                   inner join published.duplicate_cluster as cluster on cluster.email = advice.email
                   where advice.action in ('manual', 'change_email') or (advice.action = 'convert' and advice.loser_id = cluster.bound_id)
               ) as other on other.email = of_cluster.email and other.step < of_cluster.step
               where of_cluster.action = 'merge'
           )
           select any_value(main.type_of_record(master_id)) as object_type, master_id,
                  list(loser_id order by step)[1] as loser_id_1, list(loser_id order by step)[2] as loser_id_2,
                  any_value(hubspot_contact_id) as hubspot_contact_id
           from ready
           group by email, place, merge_no, master_id
           order by place, email, merge_no) to $path (format csv, header)""",
        {**values, "path": str(path)},
    )
