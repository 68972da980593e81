"""Predictions are remembered and judged, and every policy is scored on what the integration really did."""

import os
import subprocess
import sys
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from assets.policy import KNOB_VALUES
from assets.published.policy_scores import chance_of_difference, read_scores
from assets.published.publish import publish_tables
from assets.published.snapshot import open_snapshot
from pipelines.backtest import conclusions
from sandbox.people import make_people
from sandbox.portal import PortalSettings, read_portal
from sandbox.story import Story
from sandbox.users import INTEGRATION_USER
from tests.agreement import START, Pulled
from tests.crm import Crm, contact_id, day, lead_id

ROOT = Path(__file__).parent.parent
OLD, NEW = lead_id(1), contact_id(2)
CONFIGURED = "oldest_created, most_recent, system_modstamp"


def publish(pulled: Pulled, home: Path) -> None:
    publish_tables(pulled.connection, home, {"run": "select 'run' as run_id, 1 as run_no"}, {"run_id": "run", "verdict": "fail"})


# ── a portal's own history says which policy it has ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("first_sync", "follow_up", "recency"), [
    pytest.param(*policy, marks=() if number in (0, 3, 5) else pytest.mark.slow)  # three that differ in every knob; all of them in the slow lane
    for number, policy in enumerate(product(*(KNOB_VALUES[knob] for knob in ("first_sync", "follow_up", "recency"))))
    if "unknown" not in policy
])  # fmt: skip
def test_under_each_policy_the_backtest_finds_that_policy(tmp_path: Path, first_sync: Any, follow_up: Any, recency: Any) -> None:
    settings = PortalSettings(first_sync=first_sync, follow_up=follow_up, recency=recency)
    story = Story(make_people(1000, 1, START), 1, START, settings)
    story.advance(3)
    pulled = Pulled({"integration_user_id": INTEGRATION_USER}, {}).pull([story.world], story.world.now)
    story.advance(3)
    pulled.pull([story.world], story.world.now)
    publish(pulled, tmp_path)
    snapshot = open_snapshot(tmp_path)
    scores = read_scores(snapshot)
    best = [score.policy for score in scores if score.hits == scores[0].hits]
    expected = [f"{first_sync}, {follow_up}, {recency}"]
    if follow_up == "sticky":  # then nothing depends on the stamp
        expected = [f"{first_sync}, sticky, {stamp}" for stamp in ("last_modified_date", "system_modstamp")]
    assert sorted(best) == sorted(expected)
    assert scores[0].hits == scores[0].judged > 40
    told = " ".join(conclusions(snapshot, scores))
    if CONFIGURED in best:
        assert "That is what bindwatch.toml says." in told
    elif first_sync != "oldest_created" or follow_up != "most_recent":
        assert "Change it there" in told


def test_what_runs_predicted_is_judged_by_the_next_one_and_tallied() -> None:
    crm = Crm()
    crm.lead(1, created=day(1))
    crm.salesforce_contact(2, created=day(2), modified=day(11))
    crm.contact(bound=OLD, synced=day(10))
    assert crm.binding()["prediction"] == "switch"
    crm.end_run()
    (row,) = crm.rows("select * from main.prediction")
    assert (row["prediction"], row["predicted_id"], row["bound_id"], row["newest_by"]["system_modstamp"]) == ("switch", NEW, OLD, [NEW])
    assert crm.rows("core.judged_prediction") == [row for row in crm.rows("core.judged_prediction") if row["source"] == "history"]
    crm.later()
    moved = day(11) + timedelta(minutes=10)
    crm.history("101", "salesforceleadid", (moved, ""))
    crm.contact(bound=NEW, synced=day(12), since=moved, modified=day(12))
    (judged,) = (row for row in crm.build().rows("core.judged_prediction") if row["source"] == "runs")
    assert (judged["occasion"], judged["actual_id"], judged["bound_id"]) == ("switch", NEW, OLD)
    crm.end_run()
    tally = {row["policy"]: (row["predictions"], row["hits"]) for row in crm.rows("main.prediction_tally")}
    assert (tally[CONFIGURED], tally["oldest_created, sticky, system_modstamp"]) == ((1, 1), (1, 0))
    crm.build()
    (score,) = (row for row in crm.rows("core.prediction_score") if row["source"] == "runs" and row["policy"] == CONFIGURED)
    assert (score["predictions"], score["hits"], score["hit_rate"]) == (1, 1, 1.0)


@pytest.mark.parametrize("change", ["edited since", "not synced since"])
def test_a_prediction_is_not_judged_where_nobody_could_know(change: str) -> None:
    crm = Crm()
    crm.lead(1, created=day(1))
    crm.salesforce_contact(2, created=day(2), modified=day(11))
    crm.contact(bound=OLD, synced=day(10))
    crm.end_run()
    crm.later()
    if change == "edited since":
        crm.salesforce_contact(2, created=day(2), modified=day(13))
        crm.contact(bound=OLD, synced=day(14), modified=day(14))
    assert not [row for row in crm.build().rows("core.judged_prediction") if row["source"] == "runs"]


def test_contacts_with_one_candidate_are_not_stored_because_all_policies_agree() -> None:
    crm = Crm()
    crm.lead(1)
    crm.contact(bound=OLD)
    crm.end_run()
    assert crm.rows("main.prediction") == []


# ── what counts in the history ───────────────────────────────────────────────────────────────────────────────────────────────────


def moments(crm: Crm) -> list[tuple[str, str]]:
    return [(row["occasion"], row["actual_id"]) for row in crm.build().rows("core.judged_prediction")]


def test_a_first_binding_with_a_choice_counts_and_one_without_does_not() -> None:
    crm = Crm()
    crm.lead(1, created=day(1))
    crm.salesforce_contact(2, created=day(1.5))
    crm.contact(bound=NEW, since=day(3), synced=None)
    assert moments(crm) == [("first_binding", NEW)]
    later = Crm()
    later.lead(1, created=day(1))
    later.salesforce_contact(2, created=day(5))
    later.contact(bound=OLD, since=day(3), synced=None)
    assert moments(later) == []


def test_a_switch_counts_only_while_the_stamps_are_still_those_of_the_switch() -> None:
    for edited_again, expected in ((None, ("switch", NEW)), (day(20), None)):
        crm = Crm()
        crm.lead(1, created=day(1), modified=day(1))
        crm.salesforce_contact(2, created=day(4), modified=edited_again or day(6))
        crm.history("101", "salesforceleadid", (day(3), OLD), (day(7), ""))
        crm.contact(bound=NEW, since=day(7), synced=None)
        assert [moment for moment in moments(crm) if moment[0] == "switch"] == ([expected] if expected else [])


def test_a_contact_that_stayed_although_a_duplicate_was_edited_speaks_against_jumping() -> None:
    crm = Crm()
    crm.lead(1, created=day(1))
    crm.salesforce_contact(2, created=day(4), modified=day(6))
    crm.contact(bound=OLD, since=day(3), synced=day(8))
    assert moments(crm) == [("stay", OLD)]
    hits = {row["policy"]: row["is_hit"] for row in crm.rows("core.policy_prediction")}
    assert (hits[CONFIGURED], hits["oldest_created, sticky, system_modstamp"]) == (False, True)


def test_a_policy_that_was_always_right_is_inside_its_own_interval() -> None:
    """92 of 92 was shown as 100.0 %, between 96.0 and 99.9."""
    crm = Crm()
    policies = [row["policy"] for row in crm.build().rows("core.policy_variant")]
    for number, policy in enumerate(policies, 88):
        crm.connection.execute("insert into main.prediction_tally values ('before', ?, ?, ?, 0)", [policy, number, number if number % 2 else 0])
    rows = [row for row in crm.build().rows("core.prediction_score") if row["source"] == "runs"]
    assert {(row["hit_rate"], row["high" if row["hits"] else "low"]) for row in rows} == {(1, 1), (0, 0)}


def test_the_interval_is_wilsons() -> None:
    crm = Crm()
    crm.build()
    crm.connection.execute("insert into main.prediction_tally values ('earlier', ?, 10, 8, 3)", [CONFIGURED])
    (row,) = (row for row in crm.build().rows("core.prediction_score") if row["source"] == "runs" and row["policy"] == CONFIGURED)
    # Wilson (1927) for 8 of 10 at 95 %: 0.490 to 0.943
    assert (round(row["low"], 3), round(row["high"], 3), row["ambiguous"]) == (0.490, 0.943, 3)
    (empty,) = (row for row in crm.rows("core.prediction_score") if row["source"] == "history" and row["policy"] == CONFIGURED)
    assert (empty["predictions"], empty["hit_rate"], empty["low"]) == (0, None, None)


@pytest.mark.parametrize(("only_first", "only_second", "expected"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (5, 5, 1.0), (10, 2, 0.0386)])
def test_the_difference_of_two_policies_is_judged_by_an_exact_paired_test(only_first: int, only_second: int, expected: float) -> None:
    assert chance_of_difference(only_first, only_second) == pytest.approx(expected, abs=1e-4)
    assert chance_of_difference(only_second, only_first) == chance_of_difference(only_first, only_second)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_command(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    code = "from pipelines.cli import main; main()"
    environment = {**os.environ, "BINDWATCH_HOME": str(home)}
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_command_prints_every_policy_and_says_3_without_a_snapshot(tmp_path: Path) -> None:
    missing = run_command(tmp_path / "nowhere", "backtest")
    assert missing.returncode == 3
    assert "no published snapshot" in missing.stderr
    story = Story(make_people(300, 1, START), 1, START)
    publish(Pulled({}, {}).pull([story.world], story.world.now), tmp_path)
    answer = run_command(tmp_path, "backtest")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("last_modified_date") >= len(KNOB_VALUES["first_sync"]) * len(KNOB_VALUES["follow_up"])
    assert "Best fit: oldest_created, most_recent" in answer.stdout
    publish(Pulled({}, {}).pull([], START), tmp_path)
    assert "Nothing could be judged yet" in run_command(tmp_path, "backtest").stdout


def test_a_sandbox_plays_the_policy_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bindwatch.toml"
    path.write_text('[policy]\nfollow_up = "sticky"\nsettle_minutes = 5\n\n[[mapping]]\nhubspot = "jobtitle"\nsalesforce = "Title"\nrule = "two_way"\n')
    portal = read_portal(path)
    assert (portal.follow_up, portal.integration_user_touch, portal.on_contact_deleted) == ("sticky", "count", "keep")
    assert portal.field_rule("jobtitle") == "two_way"
    own = read_portal(ROOT / "sandbox" / "bindwatch.toml")
    assert own == PortalSettings()
