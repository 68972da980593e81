"""What people see in a terminal: progress while a run works, and its verdict."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from assets import progress
from assets.published.forecast import Forecast
from assets.published.merge_check import Judgement
from assets.published.restore_plan import UNCLEAR, RestorePlan
from assets.published.snapshot import current_folder
from assets.sentences import languages, said_in
from pipelines.guarded_run import RunResult, read_worst_findings
from pipelines.settings import home

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False, width=None if sys.stdout.isatty() else 120)  # redirected: wide enough for every table

_ROOT = Path(__file__).parent.parent
_CLOCK_SECONDS = 300  # this machine may be so far from the CRMs before it is said
_COLOURS = {"pass": "green", "fail": "red", "unproven": "yellow"}
_WORDS = {
    "pass": "All blocking checks hold.",
    "fail": "Blocking checks are violated.",
    "unproven": "The run could not be completed or proven. It is neither green nor red.",
}


class _Progress(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _moves() and hasattr(record, "is_passing"):
            return
        colour = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "dim")
        stderr.print(f"[{colour}]  {escape(record.getMessage())}[/]", soft_wrap=not stderr.is_terminal)  # a log has a line for each


def show_progress(level: int = logging.INFO) -> None:
    """Prints what the pull, the models and the gate report, from this level on."""
    logger = logging.getLogger("bindwatch")
    if not any(isinstance(handler, _Progress) for handler in logger.handlers):
        logger.addHandler(_Progress(level))
    logger.setLevel(logging.INFO)
    logger.propagate = False


def width_of(table: Table) -> int:
    """In which nothing of a table is cut or broken."""
    return stdout.measure(table, options=stdout.options.update(max_width=10_000)).maximum


def print_whole(table: Table) -> None:
    """A table that people copy from: no cell is cut or broken. Where it is wider than the terminal, that one wraps its lines."""
    table.width = width_of(table)
    stdout.print(table, crop=False)


def _moves() -> bool:
    """Can a line be written over? In a file, and on terminals that only print, it cannot."""
    return stderr.is_terminal and not stderr.is_dumb_terminal


@contextmanager
def moving_line(step: str) -> Iterator[None]:
    """While something goes on: what, and how far it is, in one line of the terminal that is gone afterwards. Nothing where no line can move.

    It is on standard error, as all that is told on the way: standard output holds the answer.
    """
    if not _moves():
        yield
        return
    started, spinner = time.monotonic(), Spinner("dots")

    def line() -> Table:
        row = Table.grid(padding=(0, 1))
        row.add_column()
        row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        row.add_column(justify="right")
        bar = ProgressBar(1, progress.now.share, width=16) if progress.now.share is not None else Text()
        row.expand = True
        row.add_column(justify="right")
        row.add_row(spinner, Text(f"{step}: {progress.now.told}"), bar, f"{time.monotonic() - started:.0f} s")
        return row

    with Live(get_renderable=line, console=stderr, transient=True, refresh_per_second=8, redirect_stdout=False):
        stderr.show_cursor()  # it stays: whoever ends this the hard way has it back
        yield


def called(command: str) -> str:
    """How to call a command from the folder that somebody is in: the checkout, or any other where `bindwatch` is installed."""
    if Path.cwd() != _ROOT:
        return f"bindwatch {command}"
    return f"make {command}" if command in ("review", "dev") else f".venv/bin/bindwatch {command}"


def print_verdict(result: RunResult, language: str = "en") -> None:
    """The verdict, the checks behind it, the worst findings, and where to look further. language: of what findings say."""
    colour = _COLOURS[result.verdict]
    words = "A setting has to be corrected first." if result.is_misconfigured else _WORDS[result.verdict]
    lines = [f"[bold {colour}]{result.verdict.upper()}[/]  {words}"]
    if result.problem:
        lines.append(escape(result.problem))
    stdout.print(Panel("\n".join(lines), border_style=colour, expand=False))
    if result.manifest is None:
        return
    _print_coverage(result.manifest)
    built = result.manifest.get("built")
    if built and built["seen_until"] and result.verdict != "unproven":
        stdout.print(f"[dim]Nothing changed since the run of {_minute(built['as_of'])} UTC, and nothing fell due: its tables and its verdict stand.[/]")
    if result.manifest.get("checks"):
        _print_checks(result.manifest["checks"])
        _print_worst(language)
    else:
        stdout.print("\n[yellow]No check was judged.[/] The tables published before, if any, stay as they were.\n")
    _print_standing(result.manifest)
    published = home() / "published" / "current"
    desk, listed, dagster = (called(command) for command in ("review", "findings", "dev"))
    stdout.print(
        f"What to do about them: [bold]{desk}[/], or [bold]{listed}[/]   Dagster UI: [bold]{dagster}[/]\n[dim]All tables: {published}[/]",
        soft_wrap=True,
    )


def print_forecast(found: Forecast) -> None:
    """What a list of edits would set off, on standard error: standard output holds the answer itself."""
    colour = "red" if found.jumps else "green" if found.is_safe else "yellow"
    lines = [f"[bold {colour}]{amount(found.contacts_that_switch, 'contact')} would jump to another record[/], {found.contacts_that_may_switch:,} more may."]
    if found.jumps:
        lines.append(
            f"{amount(found.values_lost, 'value')} would be overwritten in HubSpot ({found.consents:,} of consent), "
            f"{found.values_spread:,} written into other records."
        )
        lines.append("That is by the values in the last snapshot; what the edit itself writes comes on top.")
    lines.append(f"{amount(found.listed, 'line')} read" + (f", {found.unusable:,} that nobody can judge: see the column outcome." if found.unusable else "."))
    stderr.print(Panel("\n".join(lines), border_style=colour, expand=False))


def print_judgement(found: Judgement, plan: Path, fix: Path | None, language: str = "en") -> None:
    """What was said of a merge plan, on standard error: standard output holds the answer itself. language: of the reasons."""
    counts = found.counts
    if not sum(counts.values()):
        lines = [f"[bold yellow]{escape(plan.name)} has no row[/]: nothing was judged."]
    elif found.is_safe:
        lines = [f"[bold green]Every row of {escape(plan.name)} is safe[/]: {amount(counts['safe'], 'row')}."]
    else:
        lines = [f"[bold red]Do not carry {escape(plan.name)} out as it is.[/]"]
        lines.append(", ".join(f"{amount(rows, 'row')} {verdict}" for verdict, rows in counts.items() if rows) + ". The column reason says why.")
    if fix is not None:
        lines.append(f"Merges with safe masters in {escape(str(fix))}: {found.fixed:,}. Records of the plan that are in none of them: {found.left_out:,}.")
        if found.conversions:
            lines.append(f"{amount(found.conversions, 'Lead')} can be converted into a Contact instead: the desk's Merge plans has the files.")
        if found.reasons:
            lines.append(f"In neither: {amount(sum(found.reasons.values()), 'pair')}.")
            lines += [f"  {pairs:,}  {languages()[language]['left_out'][reason]}" for reason, pairs in found.reasons.items()]
    elif counts["unsafe"]:
        lines.append("[dim]--fix FILE writes the same merges with safe masters.[/]")
    if found.warning:
        lines.append(f"[yellow]{escape(found.warning)}[/]")
    stderr.print(Panel("\n".join(lines), border_style="green" if found.is_safe else "red", expand=False))


def print_restore_plan(found: RestorePlan, folder: Path | None, with_unclear: bool) -> None:
    """What can be put back, on standard error: standard output holds the values themselves."""
    corrected = f"; {found.corrections:,} must be corrected in Salesforce first" if found.corrections else ""
    put_back = f"[bold]{amount(found.values, 'value')} of {amount(found.contacts, 'contact')} can be put back[/]{corrected}."
    lines = [put_back if found.values else "[bold]There is no value to put back.[/]"]
    if found.deleted:
        lines.append(f"Deleted contacts that can be restored: {found.deleted:,}.")
    if found.backfilled:
        lines.append(f"Salesforce fields that hold a value of another record: {found.backfilled:,}.")
    left_alone = (
        (found.edited, "that somebody wrote later"),
        (found.typed, "that somebody typed or accepted"),
        (found.back, "back already"),
        (found.impossible, "that cannot be put back now"),
    )
    if any(count for count, _ in left_alone):
        lines.append(f"Values left alone: {', '.join(f'{count:,} {why}' for count, why in left_alone if count)}.")
    if found.unclear:
        where = "--with-unclear has them." if not with_unclear else f"They are in {UNCLEAR}." if folder else "They are among these, as unclear."
        lines.append(f"{amount(found.unclear, 'value')} may have been typed or not: nobody can say. [dim]{where}[/]")
    lines.append(
        f"One file an action is in {escape(str(folder))}, in the order of their numbers." if folder else "[dim]--out FOLDER writes one file an action.[/]"
    )
    stderr.print(Panel("\n".join(lines), border_style="blue", expand=False))


def _print_coverage(manifest: dict[str, Any]) -> None:
    """What the run knows: one line a pull; and what it does not know."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, side in (
        ("pulled", "left"),
        ("changed since", "left"),
        ("as of (UTC)", "left"),
        ("rows", "right"),
        ("new or changed", "right"),
        ("lag", "right"),
    ):
        table.add_column(name, justify="right" if side == "right" else "left")
    not_seen: dict[str, list[str]] = {}
    for source, pulls in manifest["coverage"].items():
        if not pulls:
            table.add_row(f"[yellow]{source}: not pulled[/]")
        for pull in pulls:
            name = f"{source} {pull['object'].replace('_', ' ')}"
            since = "all ids" if pull["mode"] == "ids" else _minute(pull["from"]) if pull["from"] else "everything" if pull["mode"] == "full" else "by id"
            changed = "" if pull["mode"] == "ids" else f"{pull['new_versions']:,}"
            row = (escape(name), since, _minute(pull["to"]), f"{pull['rows']:,}", changed, f"{pull['lag_seconds']:,} s")
            table.add_row(*row) if pull["complete"] else table.add_row(f"[yellow]{escape(name)} INCOMPLETE[/]", *row[1:])
            for text in pull["not_seen"]:
                not_seen.setdefault(text, []).append(name)
    stdout.print(table)
    _print_comparison(manifest)
    ahead = manifest.get("machine_ahead_seconds") or 0
    if abs(ahead) > _CLOCK_SECONDS:
        standing = "ahead of" if ahead > 0 else "behind"
        stdout.print(f"[yellow]This machine's clock is {span(abs(ahead))} {standing} the CRMs'. The run went by theirs.[/]", soft_wrap=True)
    for text, names in not_seen.items():
        stdout.print(f"[dim]Not seen: {escape(text)} ({escape(', '.join(names))})[/]", soft_wrap=True)


def told_of_comparison(manifest: dict[str, Any]) -> str:
    """How much is compared, and which of it is consent: loud where none is. With markup."""
    consent = escape(", ".join(manifest["consent_fields"]))
    return f"Compared: {amount(manifest['fields_compared'], 'field')}, {consent or '[bold yellow]none[/]'} as consent."


def _print_comparison(manifest: dict[str, Any]) -> None:
    if "fields_compared" in manifest:
        stdout.print(told_of_comparison(manifest), soft_wrap=True)
    for text in manifest.get("notes") or []:
        stdout.print(f"[bold yellow]{escape(text)}[/]", soft_wrap=True)


def _print_standing(manifest: dict[str, Any]) -> None:
    """What only warns because it is in the baseline, which waivers no longer hold, how old the bindings are that other systems may trust."""
    if baseline := manifest.get("baseline"):
        stdout.print(f'[dim]{baseline["findings"]:,} blocking findings are from before {_minute(baseline["set_at"])} UTC and only warn (fail_on = "new").[/]')
    lapsed = manifest.get("waivers_lapsed") or {}
    for reason, words in (("date", "past their date"), ("facts", "because the facts changed")):
        if lapsed.get(reason):
            stdout.print(f"[yellow]{lapsed[reason]:,} waivers lapsed {words}.[/]")
    if old := manifest.get("old_jumps"):
        stdout.print(
            f"[yellow]{amount(old, 'jump')} from before this run count as open again: their values were never made good.[/] `bindwatch restore-plan` puts them "
            f"back; `bindwatch decide accept --check switch_happened --before {manifest['as_of'][:19]} --reason …` accepts all of them.",
            soft_wrap=True,
        )
    certificate = manifest.get("certified")
    if certificate is None:
        stdout.print("[dim]Certified bindings: none yet. They are written when every blocking check holds.[/]")
    elif manifest["verdict"] != "pass":
        stdout.print(f"[dim]Certified bindings: {certificate['rows']:,}, {_age_of(certificate['certified_at'])} old; this run did not replace them.[/]")


def _age_of(moment: str) -> str:
    """How long ago, in words: 3 days, 5 hours, 12 minutes."""
    minutes = int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds() // 60)
    count, unit = (minutes // 1440, "day") if minutes >= 1440 else (minutes // 60, "hour") if minutes >= 60 else (minutes, "minute")
    return amount(count, unit)


def amount(count: int, unit: str) -> str:
    """A number with its unit: 1 row, 1,200 rows."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """How long, as people say it: 7 days, 2 hours, 12 minutes, 30 seconds."""
    unit, length = next((unit for unit in (("day", 86_400), ("hour", 3600), ("minute", 60)) if seconds >= 2 * unit[1]), ("second", 1))
    return amount(round(seconds / length), unit)


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _print_checks(checks: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "check", "suite"):
        table.add_column(name)
    table.add_column("findings", justify="right")
    table.add_column("new", justify="right")
    holding = 0
    order = {"not_evaluated": 0, "violated": 1}
    for check in sorted(checks, key=lambda check: (order.get(check["state"], 2), check["severity"] == "warn", -check["findings"])):
        if check["state"] == "holds":
            holding += 1
        elif check["state"] == "not_evaluated":
            table.add_row("[yellow]NOT EVALUATED[/]", check["check"], check["suite"], "?", "?")
        else:
            word = {"block": "[red]BLOCKS[/]", "unproven": "[yellow]UNPROVEN[/]"}.get(check["severity"], "[blue]warns[/]")
            table.add_row(word, check["check"], check["suite"], f"{check['findings']:,}", f"{check['findings_new']:,}" if check["findings_new"] else "")
    stdout.print()
    if table.row_count:
        print_whole(table)
    stdout.print(f"[green]{holding} checks hold.[/]\n")


def _print_worst(language: str) -> None:
    folder = current_folder(home())
    findings = read_worst_findings(folder) if folder else []
    if not any(finding["severity"] != "warn" for finding in findings):
        return
    blocking = [finding for finding in findings if finding["severity"] != "warn"]
    stdout.print("[bold]The worst finding of each blocking check[/]")
    for finding in blocking:
        colour = "red" if finding["severity"] == "block" else "yellow"
        name = escape(" ".join((finding["display_name"] or "").split())[:40])
        who = f"HubSpot contact {finding['hubspot_contact_id']}{f' ({name})' if name else ''}" if finding["hubspot_contact_id"] else ""
        record = f"Salesforce {finding['salesforce_id']}" if finding["salesforce_id"] else ""
        stdout.print(f"[{colour}]■ {finding['check_name']}[/]  {'  '.join(part for part in (who, record) if part)}", soft_wrap=True)
        details = []
        if finding["rival_ids"]:
            details.append(f"rivals {', '.join(finding['rival_ids'][:4])}{' …' if len(finding['rival_ids']) > 4 else ''}")
        if finding["fields_at_risk"]:
            details.append(f"fields at risk {', '.join(finding['fields_at_risk'])}")
        if details:
            stdout.print(f"   [dim]{escape('; '.join(details))}[/]", soft_wrap=True)
        stdout.print(f"   {escape(said_in(language, finding, 'reason'))}", soft_wrap=True)
        stdout.print(f"   [bold]→[/] {escape(said_in(language, finding, 'action'))}", soft_wrap=True)
    stdout.print()
