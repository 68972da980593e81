"""`bindwatch findings`: the worklist in a terminal, and its exports."""

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from assets.policy import masked_email
from assets.problems import ConfigurationProblem
from assets.published.worklist import FORMATS, Filter, Worklist, check_values
from assets.sentences import said_in
from expectations.gate import checks
from pipelines.out_file import write_answer
from pipelines.settings import home, open_decisions, policy_for_reading, reader_language
from pipelines.terminal import print_whole, stderr, stdout, width_of

_URGENT = {"now": "[bold]now[/]", "soon": "soon"}
# what a finding does to people, in the words of finding.harm
HARM = {
    "deleted": "a contact is deleted", "mixed_people": "two people become one", "cut_off": "a contact is cut off", "consent": "consent changes",
    "overwritten": "values are lost", "spread": "values spread to another record", "drift": "CRM and policy drift apart", "none": "nothing is lost",
}  # fmt: skip
_COLOURS = {"block": "red", "unproven": "yellow", "warn": "blue"}


def show_findings(wanted: Filter, limit: int, export: str | None, out: Path | None, show_emails: bool) -> None:
    """Prints the findings that match, or writes all of them to `out` or standard output.

    Raises ConfigurationProblem for a filter or a format that does not exist.
    """
    check_values(wanted, [check.name for check in checks()])
    if export is not None and export not in FORMATS:
        raise ConfigurationProblem(f"There is no format {export!r}: {', '.join(FORMATS)}.")
    if out is not None and export is None:
        raise ConfigurationProblem("--out needs --export: say in which format.")
    masked = policy_for_reading().privacy.mask_emails and not show_emails
    worklist = Worklist(home(), open_decisions(create=False))
    if export is not None:
        write_answer(out, lambda path: worklist.export(wanted, export, path, masked))
        if out is not None:
            stderr.print(f"{worklist.count(wanted):,} findings in {out}", markup=False)
        return
    if worklist.problem is not None:
        stderr.print(f"[yellow]{escape(worklist.problem)} Shown are the decisions that the last run knew.[/]", soft_wrap=True)
    total = worklist.count(wanted)
    if wanted.id is not None and total == 1:
        _print_one(worklist, worklist.find(wanted)[0], masked)
        return
    if wanted.id is not None and not total:
        stdout.print(f"No finding begins with {escape(wanted.id)} or is about it. [dim]`bindwatch findings` lists them.[/]", soft_wrap=True)
        return
    _print_table(worklist.find(wanted, limit))
    if total > limit:
        stdout.print(f"{limit:,} of {total:,} findings. [dim]--limit shows more, --export csv writes all.[/]")
    else:
        stdout.print(f"{total:,} finding{'' if total == 1 else 's'}.")


def _urgency(finding: dict[str, Any]) -> str:
    until = f", until {finding['deadline_at']:%Y-%m-%d %H:%M} UTC" if finding["deadline_at"] else ""
    return f"{finding['urgency']}{until}; {HARM[finding['harm']]}"


def _print_table(findings: list[dict[str, Any]]) -> None:
    if not findings:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "", "finding", "check", "", "HubSpot", "Salesforce", "status", "owner", "open since"):
        table.add_column(name)
    table.add_column("radius", justify="right")
    for finding in findings:
        colour = _COLOURS[finding["severity"]]
        table.add_row(
            _URGENT.get(finding["urgency"], ""),
            f"[{colour}]{finding['severity']}[/]",
            finding["fingerprint"][:8],
            finding["check_name"],
            finding["change"] if finding["change"] in ("new", "reopened", "worsened") else "",
            escape(finding["hubspot_contact_id"] or ""),
            escape(finding["salesforce_id"] or ""),
            finding["status"],
            escape(finding["owner"] or ""),
            f"{finding['open_since']:%Y-%m-%d}",
            f"{finding['blast_radius']:,}",
        )
    if not stdout.is_terminal or width_of(table) <= stdout.width:
        print_whole(table)
        return
    for finding in findings:
        _print_in_lines(finding)


def _print_in_lines(finding: dict[str, Any]) -> None:
    """A finding where the table is too wide: what people copy stays whole, in every width."""
    colour = _COLOURS[finding["severity"]]
    change = f"  {finding['change']}" if finding["change"] in ("new", "reopened", "worsened") else ""
    who = (("HubSpot", finding["hubspot_contact_id"]), ("Salesforce", finding["salesforce_id"]))
    facts = [f"[bold]{finding['urgency']}[/]"] if finding["urgency"] in _URGENT else []
    facts += [f"[dim]{name}[/] {escape(value)}" for name, value in who if value]
    facts.append(f"[dim]since[/] {finding['open_since']:%Y-%m-%d}  [dim]radius[/] {finding['blast_radius']:,}")
    facts += [f"[dim]owner[/] {escape(finding['owner'])}"] if finding["owner"] else []
    stdout.print(f"[{colour}]{finding['severity']:8}[/]  {finding['fingerprint'][:8]}  {finding['check_name']}  {finding['status']}{change}", soft_wrap=True)
    stdout.print(f"          {'  '.join(facts)}", soft_wrap=True)


def _print_one(worklist: Worklist, finding: dict[str, Any], masked: bool) -> None:
    """A finding in full: what it says, where to click, what happened to it so far."""
    colour, language = _COLOURS[finding["severity"]], reader_language()
    stdout.print(f"[bold {colour}]■ {finding['check_name']}[/]  {finding['severity']}, {finding['status']}, {finding['basis']}")
    email = finding["email"] and (masked_email(finding["email"]) if masked else finding["email"])
    for name, value in (
        ("urgency", _urgency(finding)), ("fingerprint", finding["fingerprint"]),
        ("HubSpot contact", finding["hubspot_contact_id"]), ("Salesforce record", finding["salesforce_id"]),
        ("others", ", ".join(finding["rival_ids"])), ("e-mail", email), ("fields at risk", ", ".join(finding["fields_at_risk"])),
        ("owner", finding["owner"]), ("waived until", finding["waived_until"]),
        ("open in HubSpot", finding["hubspot_url"]), ("open in Salesforce", finding["salesforce_url"]),
    ):  # fmt: skip
        if value:
            stdout.print(f"   [dim]{name:18}[/] {escape(str(value))}", soft_wrap=True)
    stdout.print(f"   {escape(said_in(language, finding, 'reason'))}", soft_wrap=True)
    stdout.print(f"   [bold]→[/] {escape(said_in(language, finding, 'action'))}", soft_wrap=True)
    for row in worklist.history(finding):
        detail = f": {row['detail']}" if row["detail"] else ""
        stdout.print(f"   [dim]{row['happened_at']:%Y-%m-%d %H:%M}[/]  {escape(row['who'])}  {escape(row['event'] + detail)}", soft_wrap=True)
