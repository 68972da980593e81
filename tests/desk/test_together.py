"""Several people at one desk: who comes second is told, and while the decisions store does not answer everything can still be read."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.published.decisions import Decision, DecisionStore
from assets.published.worklist import STATUSES, Filter, Worklist
from tests.crm import Crm, lead_id
from tests.desk.portal import Page, Visitor, fingerprint, publish, served
from tests.postgres import Server

TOMORROW = f"{datetime.now(UTC).date() + timedelta(days=2):%Y-%m-%d}"  # midnight may come while the tests run


def fingerprints(home: Path) -> list[str]:
    """In the order of the list."""
    return [fingerprint(home, check) for check in ("unsafe_duplicate", "bound_record_unknown")]


def decided(home: Path) -> list[tuple[str, str]]:
    return [(row["decided_by"], row["action"]) for row in DecisionStore(home).read()]


def fields_of(page: Page) -> dict[str, Any]:
    """The form for decisions as it stands on a page, ticks included."""
    (form,) = page.document.xpath("//form[substring(@action, string-length(@action) - 9) = '/decisions']")
    return dict(form.form_values()) | {"finding": [value for name, value in form.form_values() if name == "finding"]}


def press(visitor: Visitor, page: Page, action: str, **changes: Any) -> Page:
    """Fills in the form of a page that was opened before, and presses a button."""
    fields = fields_of(page) | changes
    return visitor.send("/decisions", {**fields, "action": action}, token=fields["form_token"])


# ── two at once ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_decides_second_is_told_reads_what_the_first_decided_and_may_decide_all_the_same(home: Path, ann: Visitor) -> None:
    first = fingerprints(home)[0]
    bob = Visitor(ann.address)
    of_ann, of_bob = ann.open(f"/findings/{first}"), bob.open(f"/findings/{first}")
    assert press(bob, of_bob, "assign", user="Bob", owner="Cy").status == 200
    told = press(ann, of_ann, "waive", user="Ann", reason="twins, says Bea", until=TOMORROW)
    assert told.status == 409 and told.texts("//h1") == ["Not decided yet"]
    assert "somebody else decided while you looked" in told.text and "Bob assigned it to Cy." in told.text
    assert decided(home) == [("Bob", "assign")], "nothing is overwritten unseen"
    kept = fields_of(told)
    assert (kept["reason"], kept["until"], kept["finding"]) == ("twins, says Bea", TOMORROW, [first])
    page = press(ann, told, "waive")
    assert page.answer.url == f"{ann.address}/findings/{first}" and "1 finding waived" in page.text
    assert decided(home) == [("Bob", "assign"), ("Ann", "waive")]


def test_an_undo_takes_back_no_decision_that_was_not_seen(home: Path, ann: Visitor) -> None:
    first = fingerprints(home)[0]
    bob = Visitor(ann.address)
    ann.decide(first, "acknowledge", user="Ann")
    of_ann = ann.open(f"/findings/{first}")
    press(bob, bob.open(f"/findings/{first}"), "waive", user="Bob", reason="twins", until=TOMORROW)
    told = press(ann, of_ann, "undo")
    assert told.status == 409 and "Bob waived it until the end of" in told.text and "twins" in told.text
    assert decided(home) == [("Ann", "acknowledge"), ("Bob", "waive")]


def test_of_several_only_those_that_somebody_else_decided_about_wait(home: Path, ann: Visitor) -> None:
    both = fingerprints(home)
    bob = Visitor(ann.address)
    of_ann = ann.open("/findings")
    press(bob, bob.open("/findings"), "acknowledge", user="Bob", finding=[both[0]])
    told = press(ann, of_ann, "acknowledge", user="Ann", finding=both)
    assert "1 finding acknowledged." in told.text and fields_of(told)["finding"] == [both[0]]
    assert sorted(decided(home)) == [("Ann", "acknowledge"), ("Bob", "acknowledge")]


def test_an_assignment_of_the_same_person_is_told_although_another_finding_was_decided_about(home: Path, ann: Visitor) -> None:
    store = DecisionStore(home)
    finding = Worklist(home, store).find(Filter(statuses=STATUSES))[0]
    assert store.record([Decision("assign", "Bob", {**finding, "fingerprint": "0" * 32}, "Cy")], seen=0) == {}
    others = store.record([Decision("assign", "Ann", finding, "Di")], seen=0)
    assert [row["owner"] for row in others[finding["fingerprint"]]] == ["Cy"]
    assert store.record([Decision("acknowledge", "Ann", finding)], seen=0) == {}


def test_nobody_is_told_of_what_they_decided_themselves_or_had_seen(home: Path, ann: Visitor) -> None:
    first = fingerprints(home)[0]
    page = ann.open(f"/findings/{first}")
    press(ann, page, "acknowledge", user="Ann")
    assert press(ann, page, "assign", user="Ann", owner="Ann").status == 200
    bob = Visitor(ann.address)
    assert press(bob, bob.open(f"/findings/{first}"), "assign", user="Bob", owner="Bob").status == 200
    assert decided(home) == [("Ann", "acknowledge"), ("Ann", "assign"), ("Bob", "assign")]


def race(url: str | None, home: Path) -> list[dict[str, Any]]:
    """Eight people, each with a connection of their own, decide about one finding at the same moment. Returns what each was told."""
    finding = Worklist(home, DecisionStore(home)).find(Filter(statuses=STATUSES))[0]
    DecisionStore(home, url).read()
    start = threading.Barrier(8)

    def decide(number: int) -> dict[str, Any]:
        store = DecisionStore(home, url)
        store.read()
        start.wait()
        return store.record([Decision("acknowledge", f"person {number}", finding)], seen=0)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(decide, range(8)))


def test_of_eight_at_the_same_moment_one_is_first_and_seven_are_told(home: Path) -> None:
    assert sorted(len(told) for told in race(None, home)) == [0, *[1] * 7]
    assert len(decided(home)) == 1


def test_of_eight_at_the_same_moment_one_is_first_in_postgresql_too(home: Path, postgres: Server) -> None:
    assert sorted(len(told) for told in race(postgres.url(), home)) == [0, *[1] * 7]


# ── a decisions store that does not answer ───────────────────────────────────────────────────────────────────────────────────────


class Away:
    """The decisions store of a home is unreadable, also for who has it open, and then as it was."""

    def __init__(self, home: Path) -> None:
        self.path = home / "decisions.sqlite"

    def __enter__(self) -> None:
        self.kept = self.path.read_bytes() if self.path.exists() else None
        self.path.write_text("this is no database, and it is long enough to be seen as one: " * 20)

    def __exit__(self, *_: object) -> None:
        if self.kept is None:
            self.path.unlink()
        else:
            self.path.write_bytes(self.kept)


@pytest.mark.parametrize("path", ["/", "/findings", "/plans", "/damage"])
def test_without_the_decisions_store_everything_can_be_read_with_a_warning(home: Path, path: str) -> None:
    with Away(home), served(home) as address:
        page = Visitor(address).open(path)
    assert page.status == 200
    (warning,) = page.texts("//*[@role='alert']")
    assert warning.startswith("What people decided cannot be read at the moment. You see it as the last run knew it.")


def test_what_was_decided_before_the_store_went_away_still_stands(home: Path, ann: Visitor) -> None:
    first, second = fingerprints(home)
    ann.decide(first, "waive", reason="twins", until=TOMORROW)
    with Away(home):
        page = ann.open("/findings")
        assert page.values("//input[@name='finding']/@value") == [second], "it is waived, as far as anybody knows"
        assert "You see it as it was known" in page.text
        assert "waived · Ann" in ann.open(f"/findings/{first}").text


def test_after_a_restart_what_the_last_run_knew_still_stands(home: Path) -> None:
    crm = Crm()
    for number in (1, 2):
        crm.contact(str(100 + number), bound=lead_id(50 + number), email=f"p{number}@example.com")
    crm.build()
    waived, owned = crm.rows("from review.finding where check_name = 'bound_record_unknown' order by hubspot_contact_id")
    until = datetime.fromisoformat(TOMORROW)
    crm.connection.execute("insert into main.decision values (?, 'waived', ?, null)", [waived["fingerprint"], until])
    crm.connection.execute("insert into main.assignment values (?, 'Bob')", [owned["subject"]])
    publish(crm, home)
    with Away(home), served(home) as address:
        page = Visitor(address).open("/findings?check=bound_record_unknown")
        assert page.values("//input[@name='finding']/@value") == [owned["fingerprint"]]
        assert page.texts("//td[@data-label='owner']") == ["Bob"]


def test_what_was_typed_is_not_lost_when_the_store_is_away_and_counts_when_it_is_back(home: Path, ann: Visitor) -> None:
    first = fingerprints(home)[0]
    page = ann.open(f"/findings/{first}")
    with Away(home):
        told = press(ann, page, "waive", user="Ann", reason="a long story about twins", until=TOMORROW)
        assert told.status == 503 and "What you typed still stands here" in told.text
        assert press(ann, told, "waive").status == 503, "again and again"
    page = press(ann, told, "waive")
    assert page.status == 200 and "1 finding waived" in page.text
    assert not page.texts("//*[@role='alert']"), "the warning is gone"
    assert DecisionStore(home).read()[0]["reason"] == "a long story about twins"


def test_a_decision_about_all_that_match_is_kept_through_an_outage(home: Path, ann: Visitor) -> None:
    page = press(ann, ann.open("/findings"), "assign", user="Ann", owner="Bob", all="1")
    assert "2 findings" in page.text
    with Away(home):
        told = press(ann, page, "assign")
        assert "about all 2 that match" in told.text
    assert "2 findings assigned to Bob." in press(ann, press(ann, told, "assign"), "assign").text


def test_a_file_without_the_decisions_is_not_given_out(home: Path) -> None:
    with Away(home), served(home) as address:
        visitor = Visitor(address)
        for name in ("worklist", "run-book", "merges"):
            page = visitor.open(f"/export/{name}.csv")
            assert page.status == 503 and "decisions store" in page.text
        assert visitor.open("/export/planned-merges.csv").status == 200, "nobody decides about these"


def test_what_was_typed_is_not_lost_when_something_is_missing(home: Path, ann: Visitor) -> None:
    first = fingerprints(home)[0]
    told = press(ann, ann.open(f"/findings/{first}"), "waive", user="Ann", reason="twins")
    assert told.status == 422 and fields_of(told)["reason"] == "twins"
    assert "1 finding waived" in press(ann, told, "waive", until=TOMORROW).text


def test_who_ticked_nothing_may_tick_now_and_keeps_what_was_typed(home: Path, ann: Visitor) -> None:
    told = press(ann, ann.open("/findings"), "waive", user="Ann", reason="twins", until=TOMORROW)
    assert told.values("//input[@name='finding']/@value") == fingerprints(home)
    assert fields_of(told)["finding"] == [] and fields_of(told)["reason"] == "twins"
    assert "1 finding waived" in press(ann, told, "waive", finding=[fingerprints(home)[0]]).text
