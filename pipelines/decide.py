"""`bindwatch decide …`: what people decide about findings. Each decision is kept with who and when; the next run takes it into account."""

import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from assets.problems import ConfigurationProblem

if TYPE_CHECKING:
    from assets.published.decisions import Action

decide = typer.Typer(no_args_is_help=True, help="Acknowledge, assign, waive or accept findings, or take that back.")

Fingerprints = Annotated[list[str], typer.Argument(metavar="FINGERPRINT...", help="Their fingerprints, or how they begin. - reads them from standard input.")]
By = Annotated[str | None, typer.Option(help="Who decides. BINDWATCH_USER or the name you are logged in with, when not given.")]
Reason = Annotated[str | None, typer.Option(help="Why.")]


@decide.command()
def acknowledge(findings: Fingerprints, reason: Reason = None, by: By = None) -> int:
    """Somebody has seen it. It still counts for the gate."""
    return _record("acknowledge", findings, by, reason=reason)


@decide.command()
def assign(findings: Fingerprints, to: Annotated[str, typer.Option(help='Who takes care of it; "" for nobody.')], reason: Reason = None, by: By = None) -> int:
    """Somebody takes care of it. It stays theirs when the facts change."""
    return _record("assign", findings, by, reason=reason, owner=to.strip() or None)


@decide.command()
def waive(
    findings: Fingerprints,
    reason: Annotated[str, typer.Option(help="Why it may stay.")],
    until: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Until the end of that day (UTC).")],
    by: By = None,
) -> int:
    """It may stay for a while: the gate does not count it until that day, or until its facts change."""
    if not reason.strip():
        raise ConfigurationProblem("A waiver needs a reason: who reads it in a year must understand it.")
    return _record("waive", findings, by, reason=reason.strip(), until=_end_of(until))


@decide.command()
def accept(
    reason: Annotated[str, typer.Option(help="Why what is there now is right.")],
    findings: Annotated[
        list[str] | None, typer.Argument(metavar="FINGERPRINT...", help="Their fingerprints, or how they begin. - reads them from standard input.")
    ] = None,
    property: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only the value of this property. May be given several times.")] = None,
    check: Annotated[str | None, typer.Option(help="Instead of fingerprints: all open findings of this check. They are counted first.")] = None,
    before: Annotated[datetime | None, typer.Option(help="With --check: only those open since before that day or time (UTC).")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --check: do not ask.")] = False,
    by: By = None,
) -> int:
    """What happened may stay as it is: what is there now is right. The next run shows it as resolved, accepted.

    For what happened once: a jump, a back-fill, a merge or deletion, a mass change, an id that somebody wrote.
    """
    if not reason.strip():
        raise ConfigurationProblem("To accept something needs a reason: who reads it in a year must understand it.")
    if bool(findings) == (check is not None):
        raise ConfigurationProblem("Name the findings, or with --check all of a check.")
    chosen = findings or _all_of(str(check), before, property or [], yes)
    return _record("accept", chosen, by, reason=reason.strip(), properties=tuple(dict.fromkeys(property or ()))) if chosen else 0


def _all_of(check: str, before: datetime | None, properties: list[str], yes: bool) -> list[str]:
    """The fingerprints of all open findings of a check, once somebody has agreed to so many; none, when nobody did.

    properties: only those that have a value of each; without any, all.
    """
    from assets.published.decisions import ACCEPTABLE
    from assets.published.worklist import Filter, Worklist
    from pipelines.settings import home, open_decisions
    from pipelines.terminal import amount, stdout

    if check not in ACCEPTABLE:
        raise ConfigurationProblem(f"Findings of {check!r} cannot be accepted. Those of {', '.join(ACCEPTABLE)} can.")
    worklist = Worklist(home(), open_decisions(create=False))
    worklist.insist()
    found = worklist.find(Filter(checks=(check,), statuses=("open", "acknowledged", "waived")))
    found = [finding for finding in found if before is None or finding["open_since"] < before.replace(tzinfo=None)]
    found = [finding for finding in found if set(properties) <= set(finding["fields_at_risk"])]
    values = sum(len(set(properties) or finding["fields_at_risk"]) for finding in found)
    stdout.print(f"{amount(len(found), 'finding')} of {check}, with {amount(values, 'value')}.", markup=False)
    if found and not yes:
        if not sys.stdin.isatty():
            raise ConfigurationProblem("Nothing is accepted: nobody can be asked here. Say --yes.")
        if not typer.confirm("Accept all of them?", default=False):
            return []
    return [finding["fingerprint"] for finding in found]


@decide.command()
def undo(findings: Fingerprints, reason: Reason = None, by: By = None) -> int:
    """Take the last decision about it back."""
    return _record("undo", findings, by, reason=reason)


def _record(
    action: "Action", given: list[str], by: str | None, reason: str | None = None, owner: str | None = None, until: datetime | None = None,
    properties: tuple[str, ...] = (),
) -> int:  # fmt: skip
    from assets.published.decisions import Decision, has_decision, objection
    from assets.published.worklist import Worklist
    from pipelines.settings import home, open_decisions, who_acts
    from pipelines.terminal import stdout

    who = (by or who_acts()).strip()
    worklist = Worklist(home(), open_decisions(create=False))
    worklist.insist()
    texts = [line.split()[0] for line in sys.stdin if line.strip()] if given == ["-"] else given
    if not texts:
        raise ConfigurationProblem("No finding is named.")
    findings = list({finding["fingerprint"]: finding for finding in map(worklist.find_one, texts)}.values())
    for finding in findings:
        if problem := objection(action, finding, action == "undo" and has_decision(worklist.decided_about(finding["fingerprint"])), properties):
            raise ConfigurationProblem(_OBJECTIONS[problem].format(f"{finding['fingerprint'][:8]} ({finding['check_name']})"))
    worklist.store.record([Decision(action, who, finding, owner, reason, until, properties) for finding in findings])
    for finding in findings:
        about = f"HubSpot contact {finding['hubspot_contact_id']}" if finding["hubspot_contact_id"] else finding["salesforce_id"] or "the run"
        stdout.print(
            f"{finding['fingerprint'][:8]}  {finding['check_name']}  {about}: {_PAST[action]}{_what(owner, until, action, properties)} by {who}", markup=False
        )
    return 0


_OBJECTIONS = {
    "nothing_decided": "Nothing was decided about {} that could be taken back.",
    "resolved": "{} is resolved already: there is nothing to decide.",
    "unproven": "{} cannot be waived: with it the run proves nothing, and would look green.",
    "not_acceptable": "{} cannot be accepted: it is about what is so now. Mend it, or waive it for a while.",
    "no_such_property": "{} has no open value of that property: `bindwatch findings --id` names those it has.",
}
_PAST = {"acknowledge": "acknowledged", "assign": "assigned", "waive": "waived", "accept": "accepted", "undo": "last decision taken back"}


def _what(owner: str | None, until: datetime | None, action: "Action", properties: tuple[str, ...]) -> str:
    if properties:
        return f" ({', '.join(properties)})"
    if action == "assign":
        return f" to {owner}" if owner else " to nobody"
    return f" until the end of {until:%Y-%m-%d}" if until else ""


def _end_of(text: str) -> datetime:
    """The last second of that day. Raises ConfigurationProblem when it is no day, or over."""
    from assets.published.decisions import end_of

    try:
        end = end_of(date.fromisoformat(text))
    except ValueError as error:
        raise ConfigurationProblem(f"--until {text!r} is no day: write it as 2027-01-31.") from error
    if end <= datetime.now(UTC).replace(tzinfo=None):
        raise ConfigurationProblem(f"--until {text} is over. Name the last day on which the waiver is to hold.")
    return end
