"""Decisions at the desk: each is in the store with who and when, and shows at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.published.decisions import DecisionStore
from assets.published.worklist import Filter, Worklist
from review.site import mark_of
from tests.crm import Crm
from tests.desk.portal import Visitor, Worlds, fingerprint, publish, publish_copy, served, sixty_unknown

TOMORROW = f"{datetime.now(UTC).date() + timedelta(days=2):%Y-%m-%d}"  # midnight may come while the tests run


def fingerprints(home: Path) -> list[str]:
    """In the order of the list."""
    return [fingerprint(home, check) for check in ("unsafe_duplicate", "bound_record_unknown")]


def decided(home: Path) -> list[dict[str, Any]]:
    return DecisionStore(home).read()


def said(ann: Visitor, page: Any) -> list[str]:
    return [text for text in page.texts("//*[@role='status']") if text]


def test_a_decision_is_kept_with_who_and_when_and_shows_at_once(home: Path, ann: Visitor) -> None:
    (first, _) = fingerprints(home)
    page = ann.decide(first, "acknowledge", user="  Ann\tLee ")
    assert said(ann, page) == ["1 finding acknowledged."]
    (row,) = decided(home)
    assert (row["action"], row["fingerprint"], row["decided_by"]) == ("acknowledge", first, "Ann Lee")
    assert abs((row["decided_at"] - datetime.now(UTC).replace(tzinfo=None)).total_seconds()) < 60
    assert "acknowledged" in ann.open("/findings").texts("//td[@data-label='status']")


def test_several_are_decided_at_once(home: Path, ann: Visitor) -> None:
    both = fingerprints(home)
    page = ann.decide(both, "waive", reason="twins", until=TOMORROW)
    assert said(ann, page)[0].startswith("2 findings waived until the end of")
    assert {(row["fingerprint"], row["action"], row["reason"]) for row in decided(home)} == {(each, "waive", "twins") for each in both}
    assert ann.open("/findings").texts("//tbody/tr") == []
    assert len(ann.open("/findings?status=waived").texts("//tbody/tr")) == 2


def test_all_that_match_a_filter_are_decided_at_once_not_only_the_page(home: Path, ann: Visitor, worlds: Worlds) -> None:
    publish_copy(worlds.home(sixty_unknown), home)
    preview = ann.decide([], "assign", owner="Bob", all="1", filter="?check=bound_record_unknown")
    assert "60 findings" in preview.text and decided(home) == [], "nothing is decided before it is confirmed"
    other = ann.decide([], "assign", owner="Bob", all="1", filter="?check=bound_record_unknown", sure=mark_of(str(number) for number in range(60)))
    assert "60 findings" in other.text and decided(home) == [], "as many, but not those that were seen"
    (sure,) = preview.values("//input[@name='sure']/@value")
    page = ann.decide([], "assign", owner="Bob", all="1", filter="?check=bound_record_unknown", sure=sure)
    assert said(ann, page) == ["60 findings assigned to Bob."]
    assert len(decided(home)) == 60
    assert ann.open("/findings?owner=Bob").text.count("Bob") > 50


def test_an_assignment_is_taken_from_everybody(home: Path, ann: Visitor) -> None:
    (first, _) = fingerprints(home)
    ann.decide(first, "assign", owner="Bob")
    assert said(ann, ann.decide(first, "assign", nobody="1")) == ["1 finding assigned to nobody."]
    assert "Bob" not in ann.open("/findings").texts("//td[@data-label='owner']")


def test_undo_takes_the_last_decision_back_and_says_where_there_was_none(home: Path, ann: Visitor) -> None:
    both = fingerprints(home)
    ann.decide(both[0], "waive", reason="twins", until=TOMORROW)
    page = ann.decide(both, "undo")
    assert said(ann, page) == [
        "The last decision about 1 finding was taken back.", "About 1 finding nothing was decided that could be taken back.",
    ]  # fmt: skip
    assert len(ann.open("/findings").texts("//tbody/tr")) == 2
    assert [row["action"] for row in decided(home)] == ["waive", "undo"], "nothing is removed"


@pytest.mark.parametrize(
    ("action", "fields", "problem"),
    [
        ("waive", {"until": TOMORROW}, "needs a reason"),
        ("waive", {"reason": " \u200b\n", "until": TOMORROW}, "needs a reason"),
        ("waive", {"reason": "twins"}, "needs its last day"),
        ("waive", {"reason": "twins", "until": "2020-01-01"}, "needs its last day"),
        ("waive", {"reason": "twins", "until": "tomorrow"}, "needs its last day"),
        ("assign", {}, "who takes care of it"),
        ("delete", {}, "named no action"),
        ("", {}, "named no action"),
        ("acknowledge", {"user": " "}, "say who you are"),
        ("acknowledge", {"finding": ""}, "no finding is ticked"),
        ("acknowledge", {"finding": "f" * 32}, "no finding is ticked"),
        ("acknowledge", {"finding": "' or 1=1 --"}, "no finding is ticked"),
    ],
)
def test_what_cannot_be_decided_is_said_and_nothing_is_kept(home: Path, ann: Visitor, action: str, fields: dict[str, Any], problem: str) -> None:
    page = ann.decide(fields.get("finding", fingerprints(home)[0]), action, **{name: value for name, value in fields.items() if name != "finding"})
    (sentence,) = said(ann, page)
    assert sentence.startswith("Nothing was decided") and problem in sentence
    assert decided(home) == []


def test_what_makes_a_run_unproven_cannot_be_waived(home: Path, ann: Visitor) -> None:
    crm = Crm()
    crm.pull("hubspot", "inclusion_list", complete=False, problem="rows are missing")
    publish(crm, home, "unproven")
    page = ann.decide(fingerprint(home, "pull_incomplete"), "waive", reason="x", until=TOMORROW)
    assert said(ann, page) == ["1 finding cannot be waived: with it the run proves nothing, and would look green."]


def test_the_desk_asks_once_who_somebody_is(home: Path, ann: Visitor) -> None:
    assert ann.open("/findings").document.xpath("//input[@name='user']")
    ann.decide(fingerprints(home)[0], "acknowledge", user="Ann")
    page = ann.open("/findings")
    assert not page.document.xpath("//input[@name='user']")
    assert "Ann" in page.texts("//div[@class='who']/a")
    ann.decide(fingerprints(home)[1], "acknowledge", user="")
    assert {row["decided_by"] for row in decided(home)} == {"Ann"}
    ann.send("/name", {"user": "Bea"})
    ann.decide(fingerprints(home)[1], "acknowledge", user="")
    assert decided(home)[-1]["decided_by"] == "Bea"


def test_a_name_from_the_settings_needs_no_question_and_cannot_be_changed(home: Path) -> None:
    with served(home, user="Ops") as address:
        visitor = Visitor(address)
        assert not visitor.open("/findings").document.xpath("//input[@name='user']")
        visitor.decide(fingerprints(home)[0], "acknowledge", user="Mallory")
    assert decided(home)[0]["decided_by"] == "Ops"


def test_a_session_outlives_a_restart_of_the_desk(home: Path) -> None:
    with served(home) as address:
        visitor = Visitor(address)
        visitor.send("/name", {"user": "Ann"})
    with served(home) as address:
        visitor.address = address
        assert "Ann" in visitor.open().texts("//div[@class='who']/a")
    assert (home / "desk.key").stat().st_mode & 0o077 == 0, "nobody else may read the key"


def test_after_a_decision_people_are_back_where_they_were_and_never_elsewhere(home: Path, ann: Visitor) -> None:
    (first, _) = fingerprints(home)
    assert ann.decide(first, "acknowledge", next="/findings?check=unsafe_duplicate").answer.url == f"{ann.address}/findings?check=unsafe_duplicate"
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/%0d%0aX: y"):
        page = ann.decide(first, "acknowledge", follow=False, next=elsewhere)
        assert page.answer.headers["Location"] in ("/", "/%0d%0aX: y".replace(" ", "%20")), elsewhere


def test_a_reason_is_kept_as_it_was_written_without_what_databases_refuse(home: Path, ann: Visitor) -> None:
    ann.decide(fingerprints(home)[0], "waive", reason="Zwillinge \x00 – „so“ <b>", until=TOMORROW)
    assert decided(home)[0]["reason"] == "Zwillinge – „so“ <b>"
    text = ann.open(f"/findings/{fingerprints(home)[0]}").text
    assert "waived · Ann: until" in text and "Zwillinge – „so“ <b>" in text


def test_the_run_that_follows_takes_the_decision_in(home: Path, ann: Visitor) -> None:
    ann.decide(fingerprints(home)[0], "waive", reason="twins", until=TOMORROW)
    row = Worklist(home, DecisionStore(home)).find(Filter(statuses=("waived",)))[0]
    assert (row["fingerprint"], f"{row['waived_until']:%Y-%m-%d}") == (fingerprints(home)[0], TOMORROW)
