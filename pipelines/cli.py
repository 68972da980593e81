"""The command line. `bindwatch --help` lists what it can do.

Each command returns its exit code or raises a Problem; pipelines/ending.py makes an ending of it.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from assets import progress
from assets.problems import ConfigurationProblem
from assets.process import imported_for_good
from pipelines.decide import decide
from pipelines.main import main

__all__ = ["app", "main"]  # whoever starts `pipelines.cli:main` gets the same

# Every command with an example, in the order of use: how `--help` shows them.
COMMANDS = {
    "Try it, without an account": {
        "demo": "bindwatch demo --people 1000",
        "sandbox": "bindwatch sandbox --salesforce-port 0 --hubspot-port 0",
    },
    "Run it": {
        "connect": "bindwatch connect --mappings mappings.csv --write",
        "run": "bindwatch run --full",
        "alert": "bindwatch alert --test",
        "dev": "bindwatch dev --port 3001",
    },
    "See what is wrong, and decide": {
        "review": "bindwatch review --port 8001",
        "findings": "bindwatch findings --severity block --export csv --out findings.csv",
        "decide": 'bindwatch decide assign 3014f72f --to bob --reason "knows them"',
        "decide acknowledge": "bindwatch decide acknowledge 3014f72f",
        "decide assign": "bindwatch decide assign 3014f72f --to bob",
        "decide waive": 'bindwatch decide waive 3014f72f --reason "twins" --until 2099-01-31',
        "decide accept": 'bindwatch decide accept 3014f72f --property jobtitle --reason "promoted"',
        "decide undo": "bindwatch decide undo 3014f72f",
    },
    "Before a merge or an import": {
        "merge-check": "bindwatch merge-check plan.csv --out judged.csv --fix safe-plan.csv",
        "what-if": "bindwatch what-if touched.csv --out forecast.csv",
    },
    "After the damage": {
        "restore-plan": "bindwatch restore-plan --out restore",
    },
    "Keep it": {
        "doctor": "bindwatch doctor --json",
        "backup": "bindwatch backup backup/monday",
        "restore-home": "bindwatch restore-home backup/monday --yes",
    },
    "How good are the predictions?": {
        "backtest": "bindwatch backtest",
    },
}


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        order = [name for commands in COMMANDS.values() for name in commands]
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name) if name in order else len(order))


app = typer.Typer(
    cls=_InOrder, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Guards the native HubSpot–Salesforce integration."
)


app.add_typer(decide, name="decide")


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"bindwatch {version('bindwatch')}")
        raise typer.Exit


@app.callback()
def begin(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")] = False
) -> None:
    progress.doing(f"`bindwatch {context.invoked_subcommand}` was at work", "It did not end its work: call it again.")


@app.command()
def connect(
    mappings: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.csv", help="HubSpot's export of the field mappings: it counts more than what the data say. May be given several times."),
    ] = None,
    contacts: Annotated[int, typer.Option(metavar="N", help="How many bound contacts are looked at.", min=1, max=10_000)] = 1_000,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all answers there as JSON.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Change bindwatch.toml so that it says what is certain; what it was stays beside it.")] = False,
) -> int:
    """Say how this portal is set up, from its own data: what can be reached, what is mapped, and how the integration behaves. Changes nothing in a CRM.

    Exit code 0: the policy agrees with all that is certain. 1: it does not, or a middleware keeps the portal. 2: wrong settings. 3: a CRM cannot be read.
    """
    progress.doing("both CRMs were being asked", "Nothing was changed: run it again.")
    from pipelines.connect import connect as connect_both
    from pipelines.terminal import moving_line

    with moving_line("Connect"):
        return connect_both(mappings or [], contacts, json, write)


@app.command()
def run(
    full: Annotated[bool, typer.Option("--full", help="Compare all ids and stamps, too: only that finds what vanished.")] = False,
    accept_record: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A record that cannot be read (the finding pull_incomplete names it): go on without it until it changes."),
    ] = None,
    accept_shrink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What is rightly smaller than it was (the finding pull_incomplete names it): salesforce.Lead, salesforce.Contact, hubspot.contact or "
            "hubspot.inclusion_list.",
        ),
    ] = None,
    accept_clock: Annotated[
        bool,
        typer.Option(
            "--accept-clock", help="What the CRMs' clocks say now is right, and was wrong in the last proven run (the finding pull_incomplete names it)."
        ),
    ] = False,
) -> int:
    """Pull both CRMs, build what reads what changed, publish, and let the gate judge.

    Exit code 0: all blocking checks hold. 1: blocking findings. 2: wrong settings. 3: could not be completed or proven.
    """
    progress.doing("the run was being prepared", "Nothing had begun: run it again.")
    with imported_for_good():
        from pipelines import ending
        from pipelines.guarded_run import execute
        from pipelines.settings import reader_language
        from pipelines.terminal import moving_line, print_verdict, show_progress

    language = reader_language()  # a setting that is wrong is told before the run
    show_progress()
    with moving_line("Run"):
        result = execute(full, accept_record or (), accept_shrink or (), accept_clock)
    ending.decide(result.exit_code)
    print_verdict(result, language)
    return result.exit_code


@app.command()
def demo(
    people: Annotated[int, typer.Option(help="How many people the two CRMs know.", min=50)] = 4000,
    seed: Annotated[int, typer.Option(help="The same seed tells the same story.")] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="What each run pulls, and its whole verdict, as `run` prints them.")] = False,
) -> int:
    """Start the sandbox, run twice with some days of events in between, and show what came out. Needs no account.

    Exit code 0: it worked, and the gate in it is red, as it should be. 2: the home holds other data. 3: it could not be completed.
    """
    progress.doing("the demo was being prepared", "Nothing of the demo is needed: start it again.")
    from pipelines.demo import run_demo

    return run_demo(people, seed, verbose)


@app.command()
def findings(
    check: Annotated[list[str] | None, typer.Option(help="Only this check. May be given several times, like most options.")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Only the checks of this suite.")] = None,
    severity: Annotated[list[str] | None, typer.Option(help="block, warn or unproven.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="open, acknowledged, waived, resolved, or all. The first two without it, all with --id.")] = None,
    owner: Annotated[list[str] | None, typer.Option(help="Only what is assigned to this person.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Only what the last run found new, reopened or worse.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Only what is open since that day or time (UTC), or later.")] = None,
    email: Annotated[str | None, typer.Option(help="Only what is about this e-mail.")] = None,
    id: Annotated[str | None, typer.Option(help="A fingerprint or its beginning, or the id of a contact or record. One match is shown in full.")] = None,
    text: Annotated[str | None, typer.Option(help="Only where these words occur.")] = None,
    limit: Annotated[int, typer.Option(help="How many lines of the table are shown.", min=1)] = 30,
    export: Annotated[str | None, typer.Option(metavar="csv|json|parquet", help="Write all matches in this format instead of the table.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the export goes; standard output without it.")] = None,
    show_emails: Annotated[bool, typer.Option("--show-emails", help="Full e-mails in the export, although the policy masks them.")] = False,
) -> int:
    """List the findings of the last run, with what was decided since: the most urgent first.

    Exit code 0, or 2 for a filter that makes no sense, 3 without a published snapshot.
    """
    from assets.published.worklist import Filter
    from pipelines.findings import show_findings

    chosen = tuple(status or (("all",) if id else ("open", "acknowledged")))
    wanted = Filter(
        tuple(check or ()), tuple(suite or ()), tuple(severity or ()), () if "all" in chosen else chosen, tuple(owner or ()), new, since, email, id, text
    )
    show_findings(wanted, limit, export, out, show_emails)
    return 0


@app.command()
def alert(test: Annotated[bool, typer.Option("--test", help="Send a test message to every address instead.")] = False) -> int:
    """Tell the addresses in BINDWATCH_ALERT_URLS what happened since the last time. Dagster's sensor does the same by itself.

    Exit code 0, or 2 when an address is missing or not understood, 3 when one does not take the test message.
    """
    from assets.policy import Policy
    from pipelines.alerts import DeadRun, put_off, send_test, tell
    from pipelines.dagster_runs import end_dead_runs_now
    from pipelines.guarded_run import prepare_instance
    from pipelines.sensors import read_dead_runs
    from pipelines.settings import alert_urls, home, is_demo_home, policy_for_reading

    problems: list[Exception] = []
    policy = Policy()
    with put_off(problems):
        policy = policy_for_reading()
    urls = alert_urls(policy)
    if problems and (test or not urls):
        raise problems[0]
    if not urls:
        raise ConfigurationProblem("BINDWATCH_ALERT_URLS is not set: it holds the addresses of alerts, such as mailto://… or slack://…")
    if test:
        refused = send_test(urls, policy.alerts.language)
        print("\n".join(refused) or f"{len(urls)} told.")
        return 3 if refused else 0
    if is_demo_home():
        print(f"The data of {home()} are made up: nobody is told.")
        return 0
    dead_runs: list[DeadRun] = []
    with put_off(problems), prepare_instance() as instance:
        end_dead_runs_now(instance, home())
        dead_runs = read_dead_runs(instance)
    with put_off(problems):
        messages = tell(home(), policy, urls, dead_runs)
        print("\n".join(message.title for message in messages) or "Nothing new.")
    if problems:
        raise problems[0]
    return 0


@app.command()
def backtest() -> int:
    """Score every policy on the portal's own history: which one says best what the integration did?

    Exit code 0, or 3 without a published snapshot.
    """
    from assets.published.snapshot import open_snapshot
    from pipelines.backtest import compare_policies
    from pipelines.settings import home

    compare_policies(open_snapshot(home()))
    return 0


@app.command(name="merge-check")
def merge_check(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.csv", help="What is to be merged: master_id, loser_id, or as merge tools write it.")],
    out: Annotated[Path | None, typer.Option(help="Where the answer goes; standard output without it.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the same merges with safe masters there.")] = None,
) -> int:
    """Judge a merge plan before it is carried out: which rows would break a contact, and which master would be safe.

    Exit code 0: every row is safe. 1: at least one is not. 2: the plan cannot be read. 3: no usable snapshot.
    """
    from assets.published.merge_check import Judgement, judge
    from pipelines.out_file import write_answer
    from pipelines.settings import home, policy_for_reading, reader_language
    from pipelines.terminal import print_judgement

    oldest, language = policy_for_reading().merges.oldest_snapshot_hours, reader_language()
    found: list[Judgement] = []
    write_answer(out, lambda path: found.append(judge(home(), plan, path, oldest, fix, language=language)))
    print_judgement(found[0], plan, fix, language)
    return 0 if found[0].is_safe else 1


@app.command(name="restore-plan")
def restore_plan(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="One file an action goes there. A name that ends in .csv, and standard output without it, hold the values to put back."
        ),
    ] = None,
    contact: Annotated[str | None, typer.Option(metavar="ID", help="Only this HubSpot contact.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only what was replaced or deleted on that day or time (UTC), or later.")] = None,
    with_unclear: Annotated[
        bool, typer.Option("--with-unclear", help="Also the values of which nobody can say whether they were typed, in the file 5-unclear.csv.")
    ] = False,
) -> int:
    """What switches and wrong merges took from contacts, as files that put it back. Nothing is written to a CRM.

    Exit code 0. 2: there is no such contact. 3: there is no published snapshot.
    """
    from assets.published.restore_plan import RestorePlan, find_contact, write_plan, write_values
    from assets.published.snapshot import open_snapshot
    from pipelines.out_file import write_answer
    from pipelines.settings import home
    from pipelines.terminal import print_restore_plan

    snapshot = open_snapshot(home())
    of_contact = find_contact(snapshot, contact) if contact is not None else None
    if out is not None and out.suffix.lower() != ".csv":
        print_restore_plan(write_plan(snapshot, out, since, of_contact, with_unclear), out, with_unclear)
        return 0
    found: list[RestorePlan] = []
    write_answer(out, lambda path: found.append(write_values(snapshot, path, since, of_contact, with_unclear)))
    print_restore_plan(found[0], None, with_unclear)
    return 0


@app.command()
def backup(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder outside the home.")]) -> int:
    """Save the home: warehouse, decisions, certified bindings, merge plans and policy, with checksums.

    While a run goes on, that run makes it at its next commit.

    Exit code 0. 2: the folder is not empty or not writable, or there is nothing to save. 3: it could not be completed.
    """
    from pipelines.home import save_home

    save_home(folder.absolute())
    return 0


@app.command(name="restore-home")
def restore_home(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `bindwatch backup` made.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Put a backup in the place of the home. It is verified before anything is changed, and what it replaces is kept.

    Exit code 0. 2: not a backup, or a damaged one. 3: it could not be completed. The home is as it was then, unless the message says what finishes it.
    """
    from pipelines.home import restore

    restore(folder.absolute(), yes)
    return 0


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False) -> int:
    """Look over the home: every block and file of it, the machine, the settings, both CRMs, the last backup.

    Exit code 0: all is well. 1: something is to be mended, or could not be checked.
    """
    from pipelines.doctor import examine, print_findings

    return print_findings(examine(), json)


@app.command(name="what-if")
def what_if(
    touched: Annotated[Path, typer.Argument(metavar="TOUCHED.csv", help="Salesforce ids (15 or 18 characters) that an import or a flow is about to edit.")],
    out: Annotated[Path | None, typer.Option(help="Where the answer goes; standard output without it.")] = None,
) -> int:
    """Before an import or a mass update: which contacts would jump to another record, and which values would change?

    Exit code 0: no contact would jump. 1: at least one would, or might, or a line cannot be judged. 2: the list cannot be read. 3: no usable snapshot.
    """
    from assets.published.forecast import Forecast, forecast
    from assets.published.snapshot import open_snapshot
    from pipelines.out_file import write_answer
    from pipelines.settings import home, reader_language
    from pipelines.terminal import print_forecast

    snapshot, language = open_snapshot(home()), reader_language()
    found: list[Forecast] = []
    write_answer(out, lambda path: found.append(forecast(snapshot, touched, path, language)))
    print_forecast(found[0])
    return 0 if found[0].is_safe else 1


@app.command()
def review(
    host: Annotated[str, typer.Option(help="Address to listen on. Others than this machine's own need a token or a proxy.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the desk.", min=0, max=65535)] = 8000,
) -> int:
    """Open the steward's desk: what is wrong, why, what to do, and who does it. Reads the last published snapshot, also while a run writes.

    Exit code 0, or 2 when it would be open to others, or the address is taken.
    """
    from pipelines.review import serve_desk

    serve_desk(host, port)
    return 0


@app.command()
def sandbox(
    people: Annotated[int, typer.Option(help="How many made-up people.", min=0)] = 4000,
    seed: Annotated[int, typer.Option(help="The same seed tells the same story.")] = 1,
    people_csv: Annotated[
        Path | None, typer.Option(help="Real people instead: a CSV with name, email, and first_seen, last_seen where known.", exists=True, dir_okay=False)
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="A bindwatch.toml: the sandbox's integration behaves as this policy says.", exists=True, dir_okay=False)
    ] = None,
    portal: Annotated[
        str | None,
        typer.Option(help="A portal with hidden settings: large, sparse, lying, middleware, unbound, or a file like sandbox/portals/large.toml."),
    ] = None,
    days_ago: Annotated[float, typer.Option(help="How far behind today the world's clock starts.")] = 10,
    folder: Annotated[Path, typer.Option(help="Where its certificates and the file `environment` go.")] = Path("data/sandbox"),
    salesforce_port: Annotated[int, typer.Option(help="0: any free port.")] = 8443,
    hubspot_port: Annotated[int, typer.Option(help="0: any free port.")] = 8080,
    hubspot_limit: Annotated[int, typer.Option(help="Calls that HubSpot answers in ten seconds; 0: any number.", min=0)] = 190,
    fault: Annotated[
        list[str] | None, typer.Option(help='What goes wrong, as "429 path=search after=1 times=3 seconds=2". "list" says what there is, and ends.')
    ] = None,
    hide: Annotated[
        list[str] | None,
        typer.Option(help="A Salesforce object (User), field (Lead.Fax) or HubSpot property that cannot be seen, or a scope (crm.lists.read) that is missing."),
    ] = None,
    field_history: Annotated[Literal["none", "some", "all"], typer.Option(help="Of which mapped fields Salesforce keeps a history.")] = "none",
    refuse: Annotated[list[str] | None, typer.Option(help="A version of HubSpot's API that the portal does not know: v3, 2026-03, 2026-09.")] = None,
    while_stdin_is_open: Annotated[bool, typer.Option("--while-stdin-is-open", hidden=True)] = False,  # the demo's: it ends with whoever started it
) -> int:
    """Serve both CRMs on this machine, for trying things out. Ctrl-C ends it.

    Exit code 0, or 2 when an option is wrong or a port is in use.
    """
    import shlex
    import threading
    from datetime import UTC, datetime, timedelta
    from urllib.request import getproxies_environment

    from pipelines import ending
    from sandbox.faults import KINDS, parse_fault
    from sandbox.grown import open_portal
    from sandbox.hubspot_api import VERSIONS
    from sandbox.people import make_people, read_people
    from sandbox.portal import read_portal
    from sandbox.server import PortTaken, SandboxServer
    from sandbox.story import Story

    if "list" in (fault or ()):
        print("\n".join(f"{kind:<20}  {what}" for kind, what in KINDS.items()))
        return 0
    try:
        faults = [parse_fault(text) for text in fault or ()]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from error
    if unknown := sorted({*(refuse or ())} - {*VERSIONS}):
        raise typer.BadParameter(f"there is no version {unknown[0]}; there are {', '.join(VERSIONS)}", param_hint="--refuse")
    until = (datetime.now(UTC) - timedelta(days=days_ago)).replace(microsecond=0)
    folder = folder.absolute()
    if portal is not None:
        if people_csv or policy:
            raise typer.BadParameter("it makes its own people and policy: leave out --people-csv and --policy", param_hint="--portal")
        try:
            grown = open_portal(portal, seed, until, field_history)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--portal") from error
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "truth.toml").write_text(grown.truth().as_policy(), "utf-8")
        print(f"How the portal is set up stands in {folder}/truth.toml; nothing tells it over HTTP.")
        story: Story = grown
        policy = folder / "bindwatch.toml"  # for `bindwatch connect --write`
    else:
        policy = (policy or Path(__file__).parent.parent / "sandbox" / "bindwatch.toml").absolute()
        story = Story(read_people(people_csv, until) if people_csv else make_people(people, seed, until), seed, until, read_portal(policy), field_history)
    print(f"{len(story.world.records):,} Salesforce records and {len(story.world.contacts):,} HubSpot contacts, clock at {until:%Y-%m-%d %H:%M} UTC.")
    direct = " NO_PROXY=127.0.0.1" if getproxies_environment() else ""  # a company's proxy does not lead back to this machine
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = SandboxServer(story, folder, salesforce_port, hubspot_port, frozenset(hide or ()), hubspot_limit or None, frozenset(refuse or ()))
    except PortTaken as error:
        raise ConfigurationProblem(f"{error} Is one open already? --salesforce-port 0 --hubspot-port 0 takes free ones.") from error
    sourced, config = shlex.quote(f"{folder}/environment"), shlex.quote(str(policy))
    print(f"Point Bindwatch at them:  set -a; . {sourced}; set +a; export BINDWATCH_CONFIG={config}{direct}", flush=True)
    server.faults.ask(faults)
    ending.serve()
    if while_stdin_is_open:
        threading.Thread(target=_stop_without_stdin, args=[server.stop], daemon=True).start()
    server.serve()
    return 0


def _stop_without_stdin(stop: Callable[[], None]) -> None:
    sys.stdin.buffer.read()
    stop()


@app.command()
def dev(port: Annotated[int, typer.Option(help="Port of the Dagster UI.", min=1, max=65535)] = 3000) -> int:
    """Open the Dagster UI on the instance that `run` and `demo` use.

    Exit code 0, or 2 when the port is in use.
    """
    from pipelines.dev import serve_dagster

    return serve_dagster(port)


def _describe_commands() -> None:
    """Gives each command its place in `--help`, and its example in its own."""
    for panel, commands in COMMANDS.items():
        for path, example in commands.items():
            *group, name = path.split()
            known: list[Any] = [*decide.registered_commands] if group else [*app.registered_commands, *app.registered_groups]
            for info in known:
                if (info.name or getattr(info.callback, "__name__", "").replace("_", "-")) == name:
                    info.rich_help_panel = None if group else panel
                    info.epilog = f"Example: {example}"


_describe_commands()
