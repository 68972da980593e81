"""What `bindwatch demo` says at its end: what became of the contacts, three of them in full, how many more there are. Read from what its runs published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from assets.published.snapshot import current_folder, read_manifest
from assets.published.worklist import Worklist
from expectations.gate import checks
from pipelines.guarded_run import RunResult
from pipelines.settings import open_decisions
from pipelines.terminal import amount, called, stdout, told_of_comparison

# What each story is about, and the checks that tell of it, the best one first.
_STORIES = (
    ("Jumped", ("switch_happened", "switch_imminent")),
    ("About to be lost", ("contact_deleted_by_sync", "bound_record_deleted")),
    ("Merged the wrong way", ("merged_into_unbound",)),
)
# Forty lines stay, on a terminal of 80 columns. Steps, damage, verdict and commands take 19 of them.
_ROOM = 21  # for the stories, and the checks that are counted one by one
_CHECKS = 3  # at most
_ROWS = 3  # of a reason, and of an action

# Of several findings the one that shows most: a value that was taken, a contact that no other story told of, all of it in a few rows.
_BEST = """
    select worklist.*, contact.display_name
    from worklist
    left join published.hubspot_contact as contact on contact.contact_id = worklist.hubspot_contact_id
    where check_name = $check and status in ('open', 'acknowledged')
    order by list_contains($told, hubspot_contact_id), change is distinct from 'new', len(fields_at_risk) = 0, len(rival_ids) > 0 and $alone,
        greatest(length(reason), length(action)) > $fits, len(fields_at_risk) = 1,
        blast_radius desc, open_since, fingerprint
    limit 1"""

_DAMAGE = """
    select
        (select count(*) from published.binding where bound_id is not null) as bound,
        (select count(*) from published.duplicate_cluster where size > 1 and hubspot_contact_id is not null) as clusters,
        count(*) filter (where check_name = 'switch_happened') as jumped,
        coalesce(sum(len(fields_at_risk)) filter (where check_name = 'switch_happened'), 0) as overwritten,
        count(*) filter (where check_name = 'merged_into_unbound') as wrong_merges,
        (select count(*) from published.merge_event where is_new) as merges,
        count(*) filter (where check_name = 'contact_deleted_by_sync') as deleted
    from worklist where change = 'new'"""

# Per check of the last run: findings now, and in the run before it.
_COUNTS = """
    with latest as (select run_id, run_no, max(run_no) over () - run_no as runs_ago from published.run qualify runs_ago <= 1)
    select
        check_run.check_name,
        max(check_run.severity) filter (where runs_ago = 0) as severity,
        bool_or(check_run.state = 'holds') filter (where runs_ago = 0) as holds,
        coalesce(sum(check_run.findings) filter (where runs_ago = 1), 0)::bigint as before,
        coalesce(sum(check_run.findings) filter (where runs_ago = 0), 0)::bigint as now
    from published.check_run inner join latest using (run_id)
    group by check_run.suite, check_run.check_name
    having bool_or(runs_ago = 0)
    order by now - before desc, now desc, check_name"""


def told_of_crms(first: RunResult) -> str:
    """What the two CRMs hold, after the first run has pulled everything."""
    if first.manifest is None:
        return "it could not be completed."
    rows = _rows(first)
    return f"{amount(rows['Lead'], 'Lead')}, {amount(rows['Contact'], 'Contact')}, {amount(rows['contact'], 'HubSpot contact')}."


def told_of_changes(second: RunResult) -> str:
    """What the second run pulled: only what had changed."""
    if second.manifest is None:
        return "it could not be completed."
    rows = _rows(second, "new_versions")
    return f"{amount(rows['Lead'], 'Lead')}, {amount(rows['Contact'], 'Contact')} and {amount(rows['contact'], 'HubSpot contact')} had changed."


def _rows(run: RunResult, column: str = "rows") -> dict[str, int]:
    pulls = [pull for source in (run.manifest or {"coverage": {}})["coverage"].values() for pull in source]
    return {name: sum(pull[column] for pull in pulls if pull["object"] == name) for name in ("Lead", "Contact", "contact")}


def print_summary(home: Path, days: int) -> None:
    """What the days did, the verdict, three stories, the rest in numbers, and where to go from here."""
    worklist = Worklist(home, open_decisions())
    counts = worklist.query(_COUNTS)
    _print_damage(worklist, days)
    folder = current_folder(home)
    _print_verdict(counts, read_manifest(folder) if folder else {}, _told_of_settings(worklist))
    stories = _stories(worklist)
    rows = [row for number, (about, finding) in enumerate(stories, 1) for row in _story(number, about, finding)]
    for row in rows:
        stdout.print(row)
    _print_counts(counts, min(_ROOM - len(rows), _CHECKS))
    _print_next(stories[0][1] if stories else None)


def _print_damage(worklist: Worklist, days: int) -> None:
    (found,) = worklist.query(_DAMAGE)
    have, were = ("has" if found["clusters"] == 1 else "have", "was" if found["deleted"] == 1 else "were")
    stdout.print(
        f"\n{found['clusters']:,} of {found['bound']:,} bound contacts {have} several records. In {days} days {found['jumped']:,} jumped, which "
        f"took {amount(found['overwritten'], 'value')}; {found['wrong_merges']:,} of {amount(found['merges'], 'merge')} went the wrong way; "
        f"{amount(found['deleted'], 'contact')} {were} deleted."
    )


def _told_of_settings(worklist: Worklist) -> str:
    """What the first run's look at the settings says: `bindwatch connect` asks more contacts the same."""
    (found,) = worklist.query(
        "select count(*) filter (where certain) as told, count(*) filter (where is_contradiction) as otherwise from published.portal_setting"
    )
    return f"Settings: {found['otherwise']:,} of {found['told']:,} differ." if found["otherwise"] else f"Settings: {found['told']:,} confirmed."


def _print_verdict(counts: Sequence[dict[str, Any]], manifest: dict[str, Any], settings: str) -> None:
    blocking = sum(count["now"] for count in counts if count["severity"] == "block" and not count["holds"])
    warning = sum(count["now"] for count in counts if count["severity"] == "warn" and not count["holds"])
    holding = sum(count["holds"] for count in counts)
    standing = f"{amount(blocking, 'finding')} block{'s' if blocking == 1 else ''}, {warning:,} warn; {holding:,} of {len(counts):,} checks hold."
    if blocking:
        stdout.print(f"[bold red]FAIL[/]  {standing} Red is right here.")
    else:
        stdout.print(f"[bold green]PASS[/]  {standing} No accident: more --people have some.")
    if "fields_compared" in manifest:
        stdout.print(f"      {told_of_comparison(manifest)} {settings}")
    stdout.print()


def _stories(worklist: Worklist) -> list[tuple[str, dict[str, Any]]]:
    """A finding for each story, as far as there is one; a contact has one story."""
    stories: list[tuple[str, dict[str, Any]]] = []
    for about, names in reversed(_STORIES):  # what a merge took is told as a merge
        told = [finding["hubspot_contact_id"] for _, finding in stories]
        for name in names:
            found = worklist.query(_BEST, {"check": name, "told": told, "alone": name == "contact_deleted_by_sync", "fits": _ROWS * 70})
            if found and found[0]["hubspot_contact_id"] not in told:
                stories.append((about, found[0]))
                break
    return stories[::-1]


def _story(number: int, about: str, finding: dict[str, Any]) -> list[Text]:
    """What is wrong and what to do, in full where it fits: `bindwatch findings --id` shows the rest."""
    name = escape(" ".join((finding["display_name"] or "").split())[:40])
    head = f"[bold]{number}  {about}[/]: {name or 'a contact'}, HubSpot {finding['hubspot_contact_id']} [dim]({finding['check_name']})[/]"
    rows = [Text.from_markup(head)]
    for text in (escape(finding["reason"]), f"[bold]→[/] {escape(finding['action'])}"):
        wrapped = Text.from_markup(text).wrap(stdout, stdout.width - 3)
        if len(wrapped) > _ROWS:
            wrapped[_ROWS - 1].truncate(stdout.width - 5)
            wrapped[_ROWS - 1].append(" …")
        rows += [Text("   ") + row for row in wrapped[:_ROWS]]
    return rows


def _print_counts(counts: Sequence[dict[str, Any]], most: int) -> None:
    """Of the worst checks each, at most so many; and of all others together."""
    titles = {check.name: check.title for check in checks()}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("before", "now"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("findings of which kind")  # a long title gives way, not a number
    violated = [count for count in counts if not count["holds"]]
    shown = [count for count in violated if count["severity"] == "block"][:most]
    for count in shown:
        table.add_row(f"{count['before']:,}", f"{count['now']:,}", _in_one_line(titles.get(count["check_name"], count["check_name"]).removesuffix(".")))
    if rest := [count for count in violated if count not in shown]:
        total = (sum(count[when] for count in rest) for when in ("before", "now"))
        table.add_row(*(f"{number:,}" for number in total), f"[dim]of {amount(len(rest), 'other kind')}[/]")
    stdout.print()
    stdout.print(table)


def _in_one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _print_next(finding: dict[str, Any] | None) -> None:
    """Commands to copy, so none is wrapped."""
    one = [(called(f"findings --id {finding['fingerprint'][:8]}"), "the first of these")] if finding else []
    own = "README.md" if Path("README.md").exists() else called("connect")
    steps = [(called("review"), "all of them, in a browser"), *one, (called("dev"), "the runs in Dagster"), (own, "your own CRMs")]
    width = max(len(command) for command, _ in steps) + 2
    stdout.print()
    for command, what in steps:
        stdout.print(f"[bold]{command}[/]{' ' * (width - len(command))}{what}", soft_wrap=True)
