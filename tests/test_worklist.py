"""`bindwatch findings` and `bindwatch decide`: the worklist of the last snapshot with what was decided since."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published import worklist as reading
from assets.published.decisions import Decision, DecisionStore
from assets.published.publish import publish_tables
from assets.published.worklist import STATUSES, Filter, Worklist
from assets.warehouse.ledger import memory_with, summarise_run
from pipelines import terminal
from pipelines.decide import decide
from pipelines.findings import show_findings
from tests.crm import ANN, BOUND, RIVAL, Crm, day, duplicates, lead_id


def publish(crm: Crm, home: Path) -> None:
    """What a run publishes after the models."""
    connection = crm.build().connection
    publish_tables(connection, home, memory_with(summarise_run(connection, "fail", [], [])), {"run_id": "run", "verdict": "fail"})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unsafe duplicate known to a first run, and a contact bound to nothing known that a second run found."""
    home = tmp_path_factory.mktemp("home")
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    crm.end_run()
    crm.contact("102", bound=lead_id(99), email="=b@example.com")
    publish(crm, home)
    return home


@pytest.fixture
def home(published: Path, tmp_path: Path) -> Path:
    """The same, with decisions of the test's own."""
    shutil.copytree(published, tmp_path / "home", symlinks=True)
    return tmp_path / "home"


def worklist(home: Path) -> Worklist:
    return Worklist(home, DecisionStore(home))


def found(home: Path, **wanted: Any) -> list[str]:
    return [row["check_name"] for row in worklist(home).find(Filter(**wanted))]


def test_the_most_urgent_finding_comes_first(home: Path) -> None:
    assert found(home) == ["unsafe_duplicate", "bound_record_unknown"]


@pytest.mark.parametrize(
    ("wanted", "checks"),
    [
        ({"checks": ("bound_record_unknown",)}, ["bound_record_unknown"]),
        ({"suites": ("duplicates",)}, ["unsafe_duplicate"]),
        ({"severities": ("warn",)}, []),
        ({"statuses": ("resolved",)}, []),
        ({"owners": ("bob",)}, []),
        ({"new": True}, ["bound_record_unknown"]),
        ({"since": day(30.2)}, ["bound_record_unknown"]),
        ({"email": " ANN@Example.com "}, ["unsafe_duplicate"]),
        ({"email": "nobody"}, []),
        ({"id": "102"}, ["bound_record_unknown"]),
        ({"id": BOUND[:15]}, ["unsafe_duplicate"]),
        ({"id": RIVAL}, ["unsafe_duplicate"]),
        ({"id": "% or 1=1"}, []),
        ({"text": "COMPLETE PULL"}, ["bound_record_unknown"]),
        ({"suites": ("duplicates",), "new": True}, []),
    ],
)
def test_each_filter_narrows_the_list(home: Path, wanted: dict[str, Any], checks: list[str]) -> None:
    assert found(home, **wanted) == checks


def test_a_decision_shows_at_once_and_a_waiver_past_its_end_no_more(home: Path) -> None:
    store = DecisionStore(home)
    unsafe = worklist(home).find(Filter(checks=("unsafe_duplicate",)))[0]
    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
    store.record([Decision("waive", "Ann", unsafe, reason="x", waived_until=until), Decision("assign", "Ann", unsafe, owner="bob")])
    assert found(home) == ["bound_record_unknown"]
    assert found(home, statuses=("waived",), owners=("bob",)) == ["unsafe_duplicate"]
    assert [row["check_name"] for row in Worklist(home, store, now=until + timedelta(seconds=1)).find(Filter())] == ["unsafe_duplicate", "bound_record_unknown"]


def test_a_decision_counts_once_also_where_memory_ran_out_while_it_was_taken_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DecisionStore(home)
    listed = Worklist(home, store)
    first = listed.find(Filter())[0]
    store.record([Decision("acknowledge", "Ann", first)])
    ends = reading._ends
    short = iter([True])

    def run_out_once(connection: duckdb.DuckDBPyConnection) -> list[datetime]:
        if next(short, False):
            raise duckdb.OutOfMemoryException("once")
        return ends(connection)

    monkeypatch.setattr(reading, "_ends", run_out_once)
    listed.refresh()
    assert [row["decided_by"] for row in listed.decided_about(first["fingerprint"])] == ["Ann"]
    assert len(listed.decisions) == 1
    assert listed.find(Filter(fingerprints=(first["fingerprint"],)))[0]["status"] == "acknowledged"


def test_a_finding_is_named_by_the_first_characters_of_its_fingerprint(home: Path) -> None:
    listed = worklist(home)
    fingerprint = listed.find(Filter())[0]["fingerprint"]
    assert listed.find_one(fingerprint[:6].upper())["fingerprint"] == fingerprint
    for text in (fingerprint[:5], "ffffffff", "", "'; drop"):
        with pytest.raises(ConfigurationProblem, match="no finding"):
            listed.find_one(text)


def test_the_history_of_a_finding_is_runs_and_people_in_one(home: Path) -> None:
    listed = worklist(home)
    finding = listed.find(Filter())[0]
    listed.store.record([Decision("acknowledge", "Ann", finding, reason="seen")])
    listed.store.record([Decision("undo", "Ann", finding)])
    assert [(row["who"], row["event"], row["detail"]) for row in listed.history(finding)] == [
        ("run", "new", "block"), ("Ann", "acknowledge", "seen, (taken back)"), ("Ann", "undo", ""),
    ]  # fmt: skip


def test_exports_hold_every_match_in_three_formats_masked_and_safe_to_open(home: Path, tmp_path: Path) -> None:
    for kind in ("csv", "json", "parquet"):
        worklist(home).export(Filter(), kind, tmp_path / f"out.{kind}", mask_emails=True)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [row["email"] for row in rows] == ["a***@example.com", "'=***@example.com"]
    assert rows[0]["rival_ids"] == RIVAL
    assert [row["rival_ids"] for row in json.loads((tmp_path / "out.json").read_text())] == [[RIVAL], []]
    assert duckdb.execute("select count(*) from read_parquet(?)", [str(tmp_path / "out.parquet")]).fetchone() == (2,)
    worklist(home).export(Filter(), "csv", tmp_path / "out.csv", mask_emails=False)
    assert ANN in (tmp_path / "out.csv").read_text()


def test_without_the_decisions_store_the_list_warns_and_no_file_is_written(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (commands / "decisions.sqlite").write_text("this is no database, and it is long enough to be seen as one: " * 20)
    show_findings(Filter(), 30, None, None, False)
    shown = capsys.readouterr()
    assert "unsafe_duplicate" in shown.out and "decisions that the last run knew" in shown.err
    with pytest.raises(WarehouseProblem, match="decisions store"):
        show_findings(Filter(), 30, "csv", commands / "out.csv", False)
    assert not (commands / "out.csv").exists()


def test_without_a_snapshot_the_list_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WarehouseProblem, match="bindwatch run"):
        worklist(tmp_path)


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def commands(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BINDWATCH_HOME", str(home))
    monkeypatch.setenv("BINDWATCH_USER", "Ann")
    monkeypatch.delenv("BINDWATCH_DECISIONS_URL", raising=False)
    return home


def test_findings_shows_a_table_without_emails_and_one_match_in_full(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_findings(Filter(), 30, None, None, False)
    listed = capsys.readouterr().out
    assert "unsafe_duplicate" in listed and "2 findings." in listed and "@" not in listed
    show_findings(Filter(id="102", statuses=()), 30, None, None, False)
    shown = capsys.readouterr().out
    assert "=***@example.com" in shown and "which is in no complete pull" in shown
    assert "open in Salesforce https://" in shown, "an address can be copied"
    show_findings(Filter(id="3014f72f"), 30, None, None, False)
    assert capsys.readouterr().out.startswith("No finding begins with 3014f72f")


def test_in_a_terminal_a_finding_speaks_the_readers_language(commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (finding,) = worklist(commands).find(Filter(checks=("unsafe_duplicate",)))
    in_english, in_german = [f"   {finding['reason']}", f"   → {finding['action']}"], [f"   {finding['reason_de']}", f"   → {finding['action_de']}"]

    def shown(**environment: str) -> list[str]:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            show_findings(Filter(id=finding["fingerprint"]), 30, None, None, False)
        return capsys.readouterr().out.splitlines()

    nothing_set = shown()
    assert all(line in nothing_set for line in in_english)
    assert shown(LANG="C", LC_ALL="") == shown(LANG="de_DE.UTF-8", LC_ALL="C.UTF-8") == shown(LANG="en_GB.UTF-8") == shown(LANG="fr_FR") == nothing_set
    for environment in ({"LANG": "de_DE.UTF-8"}, {"LANG": "C", "LC_MESSAGES": "de"}, {"LANG": "C", "LC_ALL": "de_AT@euro"}, {"BINDWATCH_LANGUAGE": "de"}):
        assert shown(**environment) == [dict(zip(in_english, in_german, strict=True)).get(line, line) for line in nothing_set], environment
    assert shown(LANG="de_DE.UTF-8", BINDWATCH_LANGUAGE="en") == nothing_set, "the setting outweighs the terminal"
    with pytest.raises(ConfigurationProblem, match="BINDWATCH_LANGUAGE is klingon: there are en, de"):
        shown(BINDWATCH_LANGUAGE="klingon")


def shown_at(width: int, is_terminal: bool, show: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a command prints in a terminal of that width, line by line, without colours."""
    console = Console(width=width, force_terminal=is_terminal, highlight=False, color_system=None, file=io.StringIO())
    for module in ("terminal", "findings", "backtest"):
        monkeypatch.setattr(f"pipelines.{module}.stdout", console)
    show()
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).splitlines()


@pytest.mark.parametrize(("width", "is_terminal"), [(30, True), (80, True), (100, True), (200, True), (80, False), (120, False)])
def test_what_people_copy_is_never_cut_however_narrow_the_terminal(commands: Path, width: int, is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = worklist(commands).find(Filter())
    run("assign", findings[0]["fingerprint"], "--to", "Somebody with a name that goes on and on, in a department that has one, too")
    lines = shown_at(width, is_terminal, lambda: show_findings(Filter(), 30, None, None, False), monkeypatch)
    for finding in findings:
        for copied in (finding["fingerprint"][:8], finding["check_name"], finding["hubspot_contact_id"], finding["salesforce_id"]):
            assert any(copied in line.split() for line in lines if copied) or copied is None, (copied, lines)
    if not is_terminal:
        assert len(lines) == len(findings) + 2, "a line each, for grep and awk"
    if is_terminal and width == 80:
        assert max(len(line) for line in lines if "owner" not in line) <= 80


def test_names_of_checks_and_policies_are_never_broken_either(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [{"check": "stale_lead_after_conversion", "suite": "bindings", "severity": "block", "state": "violated", "findings": 12345, "findings_new": 1}]
    assert any("stale_lead_after_conversion" in line.split() for line in shown_at(30, True, lambda: terminal._print_checks(checks), monkeypatch))
    table = Table("first_sync", "follow_up", box=None)
    table.add_row("oldest_created", "most_recent")
    assert "oldest_created most_recent" in " ".join(shown_at(12, True, lambda: terminal.print_whole(table), monkeypatch)[1].split())


@pytest.mark.parametrize(
    ("wanted", "export", "problem"),
    [
        (Filter(checks=("unsafe",)), None, "no check 'unsafe'"),
        (Filter(statuses=("done",)), None, "no status 'done'"),
        (Filter(severities=("bad",)), None, "no severity 'bad'"),
        (Filter(), "xlsx", "no format 'xlsx'"),
    ],
)
def test_a_filter_that_makes_no_sense_is_no_empty_list(commands: Path, wanted: Filter, export: str | None, problem: str) -> None:
    with pytest.raises(ConfigurationProblem, match=problem):
        show_findings(wanted, 30, export, None, False)


def tomorrow() -> str:
    return f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"


def run(*arguments: str, text: str | None = None) -> str:
    answer = CliRunner().invoke(decide, list(arguments), input=text)
    if answer.exception is not None:
        raise answer.exception
    return answer.output


def test_several_findings_are_decided_at_once_also_from_standard_input(commands: Path) -> None:
    fingerprints = [row["fingerprint"] for row in worklist(commands).find(Filter())]
    run("waive", "-", "--reason", "known", "--until", tomorrow(), text="\n".join(fingerprints))
    assert found(commands) == []
    run("undo", *fingerprints)
    run("assign", fingerprints[0], "--to", "bob", "--by", "Eve")
    assert found(commands, owners=("bob",)) == ["unsafe_duplicate"]
    assert [row["decided_by"] for row in DecisionStore(commands).read()] == ["Ann", "Ann", "Ann", "Ann", "Eve"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["waive", "FOUND", "--reason", " ", "--until", "TOMORROW"], "needs a reason"),
        (["waive", "FOUND", "--reason", "x", "--until", "2020-01-01"], "is over"),
        (["waive", "FOUND", "--reason", "x", "--until", "soon"], "is no day"),
        (["undo", "FOUND"], "Nothing was decided"),
        (["acknowledge", "deadbeef"], "no finding deadbeef"),
        (["acknowledge", "-"], "No finding is named"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_and_nothing_is_recorded(commands: Path, arguments: list[str], problem: str) -> None:
    fingerprint = worklist(commands).find(Filter())[0]["fingerprint"]
    with pytest.raises(ConfigurationProblem, match=problem):
        run(*(argument.replace("FOUND", fingerprint).replace("TOMORROW", tomorrow()) for argument in arguments), text="")
    assert DecisionStore(commands).read() == []


def test_who_asks_in_a_folder_without_a_home_leaves_none_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path / "data"))
    for ask in (lambda: show_findings(Filter(), 30, None, None, False), lambda: run("acknowledge", "deadbeef")):
        with pytest.raises(WarehouseProblem, match="no published snapshot"):
            ask()
        assert not (tmp_path / "data").exists()


def test_what_is_resolved_or_makes_the_run_unproven_cannot_be_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crm = Crm()
    crm.contact(lead_id=lead_id(99))
    crm.end_run()
    crm.later()
    crm.contact(bound=crm.lead(99))
    crm.pull("hubspot", "contact_history", complete=False, problem="cut off")
    publish(crm, tmp_path)
    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    by_check = {row["check_name"]: row["fingerprint"] for row in worklist(tmp_path).find(Filter(statuses=STATUSES))}
    with pytest.raises(ConfigurationProblem, match="resolved already"):
        run("acknowledge", by_check["bound_record_unknown"])
    with pytest.raises(ConfigurationProblem, match="cannot be waived"):
        run("waive", by_check["pull_incomplete"], "--reason", "x", "--until", tomorrow())


def test_a_decision_that_becomes_visible_late_is_seen_all_the_same(home: Path) -> None:
    """Two people decide at once; the lower number is committed last."""
    listed = worklist(home)
    first, second = listed.find(Filter())
    listed.store.record([Decision("acknowledge", "Ann", first), Decision("acknowledge", "Bob", second)])
    late = listed.store.read()[0]
    hidden = [row for row in listed.store.read() if row is not late and row["decision_no"] != late["decision_no"]]
    original = listed.store.read_after
    listed.store.read_after = lambda decision_no: [row for row in hidden if row["decision_no"] > decision_no]  # type: ignore[method-assign]
    listed.refresh()
    assert [row["status"] for row in listed.find(Filter())] == ["open", "acknowledged"]
    listed.store.read_after = original  # type: ignore[method-assign]
    listed.refresh()
    assert [row["status"] for row in listed.find(Filter())] == ["acknowledged", "acknowledged"]
