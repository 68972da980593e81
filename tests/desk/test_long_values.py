"""A value that is very long costs nobody else a second, and is cut where somebody reads it."""

import csv
import threading
import time
from pathlib import Path

import pytest

from assets.problems import said, without_emails
from assets.published.decisions import DecisionStore
from assets.published.worklist import STATUSES, Filter, Worklist
from review.site import EMAIL, MOST_SHOWN, shown_part
from tests.crm import BOUND, day, duplicates
from tests.desk.portal import Visitor, publish, served

LENGTH = 131_072  # as much as a field of Salesforce holds
HOSTILE = {
    "one word": "a" * LENGTH,
    "at the end": "a" * (LENGTH - 1) + "@",
    "ats": "@" * LENGTH,
    "ats between": "a@" * (LENGTH // 2),
    "blanks": " " * LENGTH + "x",
    "ids": "00Q" * (LENGTH // 3),
    "sentences": "a. " * (LENGTH // 3),
    "dots": ". " * (LENGTH // 2),
    "quotes": "\"'" * (LENGTH // 2),
    "angles": "<" * LENGTH,
    "wide": "\U0001f600" * (LENGTH // 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_with_long_values_takes_no_time(home: Path, name: str) -> None:
    value = HOSTILE[name]
    crm = duplicates(bound_fields={"Title": "CEO"}, rival_fields={"Title": value, "Phone": value[::-1]})
    crm.contact(bound=BOUND, properties={"jobtitle": value + "!", "phone": value, "firstname": value, "lastname": value}, synced=day(12))
    crm.history("101", "jobtitle", (day(2), value, "FORM"), (day(3), value[1:], value[:2000]))
    publish(crm, home)
    with served(home) as address:
        ann = Visitor(address)
        ann.open("/rules")
        fingerprints = [row["fingerprint"] for row in Worklist(home, DecisionStore(home)).find(Filter(statuses=STATUSES))]
        assert fingerprints
        for path in ("/", "/findings", "/damage", "/damage.html", *(f"/findings/{fingerprint}" for fingerprint in fingerprints)):
            started = time.perf_counter()
            page = ann.open(path)
            assert page.status == 200
            assert time.perf_counter() - started < 3, path
            assert len(page.answer.content) < 200_000, path
        assert "more characters" in page.text or name == "blanks"


def test_what_is_cut_says_how_much_there_is_more_and_the_export_has_it(home: Path) -> None:
    crm = duplicates(bound_fields={"Title": "CEO"}, rival_fields={"Title": "x" * 60_000})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, synced=day(12))
    publish(crm, home)
    (row,) = Worklist(home, DecisionStore(home)).find(Filter(checks=("unsafe_duplicate",)))
    with served(home) as address:
        path = f"/findings/{row['fingerprint']}"
        assert "x" * MOST_SHOWN + "… 59,700 more characters" in Visitor(address).open(path).text
        assert "… noch 59.700 Zeichen" in Visitor(address, **{"Accept-Language": "de"}).open(path).text


def test_an_e_mail_at_the_cut_is_not_shown_in_part() -> None:
    for before in range(MOST_SHOWN - 40, MOST_SHOWN + 5):
        text = "x" * (before - 1) + " ann.private@example.com " + "y" * 5000
        part, more = shown_part(text, len(text))
        assert len(part) + more == len(text)
        assert "ann.private" not in EMAIL.sub("…", part), before
        assert len(part) <= MOST_SHOWN
    assert shown_part("short", 5) == ("short", 0)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_pattern_for_e_mails_is_quadratic(name: str) -> None:
    started = time.perf_counter()
    EMAIL.sub("…", HOSTILE[name])
    without_emails(HOSTILE[name])
    said(HOSTILE[name])
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("text", "found"),
    [("a@b", ["a@b"]), ("to a.b@example.com, c@d.", ["a.b@example.com", "c@d."]), ("a@b@c", ["a@b"]), ("@b", []), ("a@", []), ("<a@b>", ["a@b"]), ("a@@b", [])],
)
def test_e_mails_are_found_as_before(text: str, found: list[str]) -> None:
    assert EMAIL.findall(text) == found


def test_somebody_who_searches_with_a_long_text_delays_nobody(home: Path) -> None:
    with served(home) as address:
        ann, bob = Visitor(address), Visitor(address)
        ann.open("/rules")
        bob.open("/rules")
        slow = threading.Thread(target=lambda: [ann.send("/findings", {"text": "a" * 100_000 + suffix}) for suffix in ("", "@", "@b")])
        slow.start()
        worst = 0.0
        while slow.is_alive():
            started = time.perf_counter()
            assert bob.open("/health").status == 200
            worst = max(worst, time.perf_counter() - started)
        assert worst < 1


def test_the_export_has_a_long_reason_whole(home: Path, ann: Visitor) -> None:
    exported = list(csv.DictReader(ann.open("/export/worklist.csv").answer.text.splitlines()))
    assert all(row["reason"] for row in exported)
