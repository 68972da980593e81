"""`bindwatch merge-check`: a plan is judged on the last snapshot before anybody carries it out."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.policy import Policy
from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.merge_check import Judgement, judge, judge_dropped_plans
from assets.published.merge_plan import load_merge_plans
from pipelines.terminal import print_judgement
from tests.crm import BOUND, RIVAL, Crm, contact_id, lead_id
from tests.desk.portal import publish
from tests.test_backtest import run_command

NOW = datetime(2026, 3, 30, 1, tzinfo=UTC)


def portal(**knobs: Any) -> Crm:
    """Leads 1 to 5 and Contact 1; one HubSpot contact is bound to Lead 1."""
    crm = Crm(**knobs)
    for number in range(1, 6):
        crm.lead(number)
    crm.salesforce_contact(1)
    crm.contact(bound=BOUND)
    return crm


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    publish(portal(), folder)
    return folder


def ask(home: Path, folder: Path, text: str, **options: Any) -> tuple[Judgement, list[dict[str, str]]]:
    plan, out = folder / "plan.csv", folder / "answer.csv"
    plan.write_text(text, "utf-8")
    found = judge(home, plan, out, **{"oldest_hours": 24, "now": NOW, **options})
    with out.open(encoding="utf-8", newline="") as file:
        return found, list(csv.DictReader(file))


def test_the_answer_keeps_every_row_and_says_what_of_it(home: Path, tmp_path: Path) -> None:
    text = f"Note,Master_ID,loser_id\nright,{BOUND[:15]},{RIVAL}\nwrong,{RIVAL},{BOUND}\n,{contact_id(1)},{lead_id(3)}\nnobody,{lead_id(99)},{RIVAL}\n"
    found, rows = ask(home, tmp_path, text)
    assert [row["Note"] for row in rows] == ["right", "wrong", "", "nobody"]
    assert [row["Master_ID"] for row in rows] == [BOUND[:15], RIVAL, contact_id(1), lead_id(99)]
    assert [row["verdict"] for row in rows] == ["invalid", "invalid", "invalid", "unknown"], "the first two contradict each other"
    assert not found.is_safe


def test_a_reader_of_german_is_answered_in_german_under_the_same_columns(home: Path, tmp_path: Path) -> None:
    _, (row,) = ask(home, tmp_path, f"master_id,loser_id\n{RIVAL},{BOUND}\n", language="de", oldest_hours=0.01)
    assert list(row) == ["master_id", "loser_id", "verdict", "reason", "hubspot_contact_id", "bound_id", "recommended_master_id"]
    assert (row["verdict"], row["bound_id"]) == ("unsafe", BOUND)
    assert row["reason"].startswith(f"HubSpot-Kontakt 101 ist mit {BOUND} verknüpft") and "Der letzte Lauf ist" in row["reason"]
    with pytest.raises(ConfigurationProblem, match=r"plan\.csv lässt sich nicht als Plan zum Zusammenführen lesen: Zeile 1: die Datei ist leer\."):
        ask(home, tmp_path, "", language="de")


def test_the_right_way_round_is_safe(home: Path, tmp_path: Path) -> None:
    found, (row,) = ask(home, tmp_path, f"master_id,loser_id\n{BOUND},{RIVAL}\n")
    assert found == Judgement({"unsafe": 0, "invalid": 0, "unknown": 0, "safe": 1}, None, 0, 0)
    assert [row[name] for name in ("verdict", "hubspot_contact_id", "bound_id", "recommended_master_id")] == ["safe", "101", BOUND, BOUND]


def test_the_wrong_way_round_is_unsafe_and_names_contact_and_safe_master(home: Path, tmp_path: Path) -> None:
    _, (row,) = ask(home, tmp_path, f"master_id,loser_id\n{RIVAL},{BOUND}\n")
    assert [row[name] for name in ("verdict", "hubspot_contact_id", "bound_id", "recommended_master_id")] == ["unsafe", "101", BOUND, BOUND]
    assert row["reason"] == f"HubSpot contact 101 is bound to {BOUND}, which would go: its sync breaks (rules 33, 36). " + (
        "The next sync may match it with the master by e-mail, and bring the master's values."
    )


def test_the_setting_that_deletes_contacts_is_taken_from_the_run(tmp_path: Path) -> None:
    publish(portal(on_lead_deleted="delete"), tmp_path / "home")
    _, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{RIVAL},{BOUND}\n")
    assert "the contact is deleted with it" in row["reason"]


def beside(home: Path, rival: str = "Lead", **lead: Any) -> None:
    """Contact 101 is bound to Lead 1 and called CEO there; Lead 2 says Buyer, Lead 3 nothing. All have the same e-mail."""
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    if rival == "Lead":
        crm.lead(2, **{"fields": {"Title": "Buyer"}, **lead})
        crm.lead(3)
    else:
        crm.salesforce_contact(2, fields={"Title": "Buyer"})
        crm.salesforce_contact(3)
    publish(crm, home)


def test_a_merge_beside_the_bound_record_is_unsafe_when_the_binding_would_jump_to_other_values(tmp_path: Path) -> None:
    beside(tmp_path / "home")
    fixed = tmp_path / "fixed.csv"
    found, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{RIVAL},{lead_id(3)}\n", fix=fixed)
    assert [row[name] for name in ("verdict", "hubspot_contact_id", "bound_id", "recommended_master_id")] == ["unsafe", "101", BOUND, BOUND]
    assert row["reason"].endswith(f"The merge makes {RIVAL} the record updated last: the binding jumps to it (rule 11); at risk: jobtitle.")
    assert (found.fixed, found.left_out, fixed.read_text("utf-8")) == (0, 1, "master_id,loser_id\n"), "a merge into Lead 1 is one that nobody asked for"


def test_a_master_takes_values_from_its_loser_and_the_contact_with_them(tmp_path: Path) -> None:
    beside(tmp_path / "home")
    _, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{lead_id(3)},{RIVAL}\n")
    assert (row["verdict"], "at risk: jobtitle" in row["reason"]) == ("unsafe", True)


@pytest.mark.parametrize(("master", "loser"), [(RIVAL, lead_id(3)), (lead_id(3), RIVAL)])
def test_where_the_master_will_have_the_same_values_a_jump_is_said_and_safe(master: str, loser: str, tmp_path: Path) -> None:
    beside(tmp_path / "home", fields={"Title": "CEO"})
    _, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{master},{loser}\n")
    assert row["recommended_master_id"] == master and row["verdict"] == "safe" and "no mapped value differs" in row["reason"]


def test_a_merge_of_contacts_beside_a_bound_lead_waits_for_its_conversion(tmp_path: Path) -> None:
    beside(tmp_path / "home", rival="Contact")
    _, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{contact_id(2)},{contact_id(3)}\n")
    assert (row["verdict"], row["recommended_master_id"]) == ("unsafe", "")
    assert row["reason"].endswith("First convert the Lead into the Contact.")


def test_nothing_jumps_where_bindings_are_sticky(tmp_path: Path) -> None:
    crm = portal(follow_up="sticky")
    crm.connection.execute("update raw.salesforce_lead set fields = map {'Title': 'Buyer'} where record_id = ?", [RIVAL])
    crm.contact("101", bound=BOUND, properties={"jobtitle": "CEO"})
    publish(crm, tmp_path / "home")
    _, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{RIVAL},{lead_id(3)}\n")
    assert (row["verdict"], row["reason"]) == ("safe", "No HubSpot contact is bound to either.")


def test_a_contact_outside_the_inclusion_list_is_not_deleted_but_cut_off(tmp_path: Path) -> None:
    publish(portal(on_lead_deleted="delete", inclusion_list_id="7"), tmp_path / "home")
    _, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{RIVAL},{BOUND}\n")
    assert row["reason"].endswith("its sync breaks (rules 33, 36). It is outside the inclusion list: nothing matches it again (rule 21).")


def test_values_that_must_be_entered_first_are_named(tmp_path: Path) -> None:
    """Under "always use Salesforce" the master may be blank where HubSpot is not; the merge fills it from the loser, and the contact takes that."""
    crm = Crm()
    crm.policy = Policy.model_validate({"mapping": [{"hubspot": "jobtitle", "salesforce": "Title", "rule": "always_salesforce"}]})
    crm.lead(1)
    crm.lead(2, fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    publish(crm, tmp_path / "home")
    _, (row,) = ask(tmp_path / "home", tmp_path, f"master_id,loser_id\n{BOUND},{RIVAL}\n")
    assert row["verdict"] == "safe" and f"First enter HubSpot's jobtitle in {BOUND}: it is blank there, and {RIVAL} would fill it." in row["reason"]


def test_a_merge_in_one_row_has_the_worst_verdict_of_its_losers(home: Path, tmp_path: Path) -> None:
    _, rows = ask(home, tmp_path, f"master_id,loser_id_1,loser_id_2\n{RIVAL},{lead_id(3)},{BOUND}\n")
    assert [row["verdict"] for row in rows] == ["unsafe"]
    assert rows[0]["bound_id"] == BOUND


def test_a_row_a_record_is_answered_row_by_row(home: Path, tmp_path: Path) -> None:
    _, rows = ask(home, tmp_path, f"group,record id,master\n1,{RIVAL},x\n1,{BOUND},\n2,{lead_id(3)},x\n2,{lead_id(4)},\n3,{lead_id(5)},x\n")
    assert [row["verdict"] for row in rows] == ["unsafe", "unsafe", "safe", "safe", "invalid"]
    assert rows[0]["reason"].startswith("The master of its group. HubSpot contact 101")


def test_an_answer_can_be_judged_again(home: Path, tmp_path: Path) -> None:
    ask(home, tmp_path, f"master_id,loser_id\n{RIVAL},{BOUND}\n")
    _, (row,) = ask(home, tmp_path, (tmp_path / "answer.csv").read_text("utf-8"))
    assert list(row) == ["master_id", "loser_id", "verdict", "reason", "hubspot_contact_id", "bound_id", "recommended_master_id"]


def test_an_old_or_unproven_snapshot_is_said_in_every_verdict(home: Path, tmp_path: Path) -> None:
    text = f"master_id,loser_id\n{BOUND},{RIVAL}\n{RIVAL},{lead_id(3)}\n"
    old = datetime(2026, 4, 2, tzinfo=UTC)
    found, rows = ask(home, tmp_path, text, now=old)
    assert all("The snapshot is 72 hours old: run again before you merge." in row["reason"] for row in rows)
    assert found.warning
    assert ask(home, tmp_path, text, now=old, oldest_hours=100)[0].warning is None
    publish(portal(), tmp_path / "unproven", "unproven")
    _, rows = ask(tmp_path / "unproven", tmp_path, text)
    assert all("The last run proves nothing: this may be wrong." in row["reason"] for row in rows)


def test_fix_writes_the_same_merges_with_safe_masters_and_counts_what_it_leaves_out(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixed = tmp_path / "fixed.csv"
    text = f"master_id,loser_id\n{RIVAL},{BOUND}\n{RIVAL},{lead_id(3)}\n{lead_id(4)},{lead_id(5)}\n{contact_id(1)},{lead_id(9)}\n"
    found, _ = ask(home, tmp_path, text, fix=fixed)
    assert fixed.read_text("utf-8").splitlines() == [
        "master_id,loser_id", f"{BOUND},{RIVAL}", f"{BOUND},{lead_id(3)}", f"{lead_id(4)},{lead_id(5)}",
    ]  # fmt: skip
    assert (found.fixed, found.left_out) == (3, 1)
    print_judgement(found, tmp_path / "plan.csv", fixed)
    said = " ".join(capsys.readouterr().err.replace("│", "").split())
    assert "In neither: 1 pair. 1 with a record that no pull has seen" in said, said
    again, _ = ask(home, tmp_path, fixed.read_text("utf-8"))
    assert again.is_safe


def test_a_plan_that_cannot_be_read_is_refused_with_its_line(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationProblem, match=r"plan\.csv cannot be read as a merge plan: line 1: it has no column loser_id"):
        ask(home, tmp_path, "master_id\nx\n")
    with pytest.raises(ConfigurationProblem, match="cannot be opened"):
        judge(home, tmp_path / "nothing.csv", tmp_path / "out.csv", 24)


def test_without_a_snapshot_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(WarehouseProblem, match="no published snapshot"):
        ask(tmp_path / "empty", tmp_path, f"master_id,loser_id\n{BOUND},{RIVAL}\n")


def test_a_plan_of_a_hundred_thousand_rows_is_judged(home: Path, tmp_path: Path) -> None:
    """And one long chain in it: it must not cost the square of its length."""
    rows = [f"{lead_id(number + 1)},{lead_id(number)}" for number in range(100, 30_000)]
    rows += [f"{lead_id(number)},{lead_id(number + 1)}" for number in range(40_000, 180_000, 2)]
    found, answers = ask(home, tmp_path, "master_id,loser_id\n" + "\n".join(rows) + "\n")
    assert len(answers) == len(rows) and found.counts["unknown"] == len(rows)


@pytest.mark.parametrize(
    ("plan", "code"),
    [(f"master_id,loser_id\n{BOUND},{RIVAL}\n", 0), (f"master_id,loser_id\n{RIVAL},{BOUND}\n", 1), ("nonsense\n", 2), (None, 2)],
)
def test_the_command_ends_with_the_code_of_the_contract(home: Path, tmp_path: Path, plan: str | None, code: int) -> None:
    if plan is not None:
        (tmp_path / "plan.csv").write_text(plan)
    answer = run_command(home, "merge-check", str(tmp_path / "plan.csv"))
    assert answer.returncode == code, answer.stderr
    if code < 2:
        (row,) = csv.DictReader(answer.stdout.splitlines())
        assert row["verdict"] == ("safe", "unsafe")[code]
    else:
        assert answer.stdout == ""


def test_what_is_full_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text(f"master_id,loser_id\n{BOUND},{RIVAL}\n")
    for option in ("--fix", "--out"):
        answer = run_command(home, "merge-check", str(tmp_path / "plan.csv"), option, "/dev/full")
        assert answer.returncode == 2
        assert "/dev/full cannot be written: No space left on device" in answer.stderr
        assert "disk of /dev" not in answer.stderr


def test_the_command_without_a_snapshot_ends_with_three(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text(f"master_id,loser_id\n{BOUND},{RIVAL}\n")
    assert run_command(tmp_path / "empty", "merge-check", str(tmp_path / "plan.csv")).returncode == 3


def test_the_manifest_says_when_the_snapshot_was_taken(home: Path) -> None:
    assert json.loads((home / "published" / "current" / "manifest.json").read_text("utf-8"))["started_at"]


# ── plans that somebody drops into the home ──────────────────────────────────────────────────────────────────────────────────────


def answers(home: Path) -> dict[str, list[str]]:
    found = {}
    for path in sorted((home / "merge-plans" / "answers").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found[path.name] = [row["verdict"] for row in csv.DictReader(file)]
    return found


def test_a_dropped_plan_is_judged_once_and_again_when_it_or_the_snapshot_changes(tmp_path: Path) -> None:
    publish(portal(), tmp_path)
    plans = tmp_path / "merge-plans"
    plans.mkdir()
    (plans / "a.csv").write_text(f"master_id,loser_id\n{BOUND},{RIVAL}\n")
    (plans / "b.csv").write_text("nonsense\n")
    judged, seen = judge_dropped_plans(tmp_path, 24, None)
    assert [(plan.name, plan.judgement and plan.judgement.is_safe) for plan in judged] == [("a.csv", True), ("b.csv", None)]
    assert answers(tmp_path) == {"a.csv": ["safe"], "b.csv": ["invalid"]}
    assert judge_dropped_plans(tmp_path, 24, seen)[0] == []
    (plans / "a.csv").write_text(f"master_id,loser_id\n{RIVAL},{BOUND}\n")
    judged, seen = judge_dropped_plans(tmp_path, 24, seen)
    assert [plan.name for plan in judged] == ["a.csv"]
    assert answers(tmp_path)["a.csv"] == ["unsafe"]
    publish(portal(), tmp_path)
    assert len(judge_dropped_plans(tmp_path, 24, seen)[0]) == 2


def test_dagsters_sensor_makes_a_check_of_a_dropped_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.sensors import merge_plans

    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    monkeypatch.setenv("BINDWATCH_CONFIG", str(tmp_path / "none.toml"))
    instance = dg.DagsterInstance.ephemeral()
    assert not merge_plans.evaluate_tick(dg.build_sensor_context(instance=instance)).asset_events, "neither a plan nor a snapshot"
    publish(portal(), tmp_path)
    (tmp_path / "merge-plans").mkdir()
    (tmp_path / "merge-plans" / "june.csv").write_text(f"master_id,loser_id\n{RIVAL},{BOUND}\n")
    data = merge_plans.evaluate_tick(dg.build_sensor_context(instance=instance))
    (evaluation,) = data.asset_events
    assert isinstance(evaluation, dg.AssetCheckEvaluation)
    assert (evaluation.asset_check_key.name, evaluation.passed) == ("planned_merge_unsafe", False)
    assert evaluation.metadata["june.csv"].value == "1 unsafe"
    again = dg.build_sensor_context(instance=instance, cursor=data.cursor)
    assert not merge_plans.evaluate_tick(again).asset_events


def test_a_plan_is_kept_in_sight_until_it_was_carried_out(tmp_path: Path) -> None:
    """What the next run makes of it."""
    publish(portal(), tmp_path)
    (tmp_path / "merge-plans").mkdir()
    (tmp_path / "merge-plans" / "june.csv").write_text(f"master_id,loser_id\n{RIVAL},{BOUND}\n")
    crm = portal()
    load_merge_plans(crm.connection, tmp_path)
    assert [finding["status"] for finding in crm.findings("planned_merge_unsafe")] == ["open"]
