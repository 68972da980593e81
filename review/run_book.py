"""The merge run-book: the steps for a cluster, and its exports."""

from pathlib import Path
from typing import Any

from assets.published.cells import safe_cells
from assets.published.worklist import Filter, Worklist


def read_steps(worklist: Worklist, email: str | None) -> list[dict[str, Any]]:
    """The steps for the cluster of an e-mail, in their order: rows of `merge_advice`."""
    return worklist.query("from near.merge_advice where email = ? order by step", [email]) if email else []


def write_run_book(worklist: Worklist, wanted: Filter, path: Path, language: str, mask_emails: bool) -> None:
    """Every step for the clusters that matching findings are about, as CSV: one row a step. Safe to open in a spreadsheet."""
    reason = "coalesce(advice.reason_de, advice.reason)" if language == "de" else "advice.reason"
    email = "main.masked_email(advice.email)" if mask_emails else "advice.email"
    _write(
        worklist, wanted, path,
        f"""select {email} as email, advice.hubspot_contact_id, advice.step, advice.action, advice.master_id, advice.loser_id,
                   advice.merge_no, {reason} as reason
            from published.merge_advice as advice
            semi join chosen on chosen.email = advice.email
            order by advice.email, advice.step""",
        for_people=True,
    )  # fmt: skip


def write_merges(worklist: Worklist, wanted: Filter, path: Path) -> None:
    """The merges alone, as merge tools read them: one row a merge, its master and one or two losers.

    Not among them: conversions, and merges that are only safe after a decision of people or after the bound Lead was converted.
    """
    _write(
        worklist, wanted, path,
        """with of_cluster as (
               select advice.* from published.merge_advice as advice semi join chosen on chosen.email = advice.email
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
           group by email, merge_no, master_id
           order by email, merge_no""",
    )  # fmt: skip


def _write(worklist: Worklist, wanted: Filter, path: Path, query: str, for_people: bool = False) -> None:
    worklist.insist()
    where, values = worklist.where(wanted)
    rows = f"with chosen as (select distinct email from worklist {where}) from ({query})"
    if for_people:
        rows = safe_cells(worklist.connection.cursor(), rows, values)
    worklist.query(f"copy ({rows}) to $path (format csv, header)", {**values, "path": str(path)})
