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
from tests.crm import Crm, day, lead_id
from tests.desk.portal import Page, Visitor, Worlds, fingerprint, troubled

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


CUT = str(100 + len(HOSTILE))  # whose value is long and harmless


def hostile() -> Crm:
    """A person for each of these values, with a rival that has it, too."""
    crm = Crm()
    for number, value in enumerate(HOSTILE.values()):
        person, email, bound, rival = str(100 + number), f"p{number}@example.com", 2 * number + 1, 2 * number + 2
        crm.lead(bound, email=email, modified=day(5), fields={"Title": "CEO"})
        crm.lead(rival, email=email, created=day(3), modified=day(4), fields={"Title": value, "Phone": value[::-1]})
        values = {"jobtitle": value + "!", "phone": value, "firstname": value, "lastname": value}
        crm.contact(person, bound=lead_id(bound), email=email, properties=values, synced=day(12))
        crm.history(person, "jobtitle", (day(2), value, "FORM"), (day(3), value[1:], value[:2000]))
    crm.lead(91, email="cut@example.com", modified=day(5), fields={"Title": "CEO"})
    crm.lead(92, email="cut@example.com", created=day(3), modified=day(4), fields={"Title": "x" * 60_000})
    crm.contact(CUT, bound=lead_id(91), email="cut@example.com", properties={"jobtitle": "CEO"}, synced=day(12))
    return crm


@pytest.fixture
def published(worlds: Worlds) -> Path:
    """Instead of the desk's usual portal."""
    return worlds.home(hostile)


OPENING = 6  # seconds, for the desk to open with all of them at once


@pytest.fixture(scope="module")
def found(worlds: Worlds) -> dict[str, list[str]]:
    """The fingerprints of all findings, by contact, when the desk has been opened."""
    reader = worlds.reader(worlds.home(hostile))
    started = time.perf_counter()
    assert reader.open("/").status == 200
    assert time.perf_counter() - started < OPENING
    home = worlds.shown(worlds.home(hostile))
    by_contact: dict[str, list[str]] = {}
    for row in Worklist(home, DecisionStore(home)).find(Filter(statuses=STATUSES)):
        by_contact.setdefault(str(row["hubspot_contact_id"]), []).append(str(row["fingerprint"]))
    return by_contact


def quickly(reader: Visitor, path: str) -> Page:
    started = time.perf_counter()
    page = reader.open(path)
    assert page.status == 200
    assert time.perf_counter() - started < 3, path
    assert len(page.answer.content) < 200_000, path
    return page


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_with_long_values_takes_no_time(reader: Visitor, found: dict[str, list[str]], name: str) -> None:
    reader.open("/rules")
    fingerprints = found[str(100 + list(HOSTILE).index(name))]
    assert fingerprints
    for one in fingerprints:
        page = quickly(reader, f"/findings/{one}")
    assert "more characters" in page.text or name == "blanks"


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("path", ["/", "/findings", "/damage", "/damage.html"])
def test_a_page_of_all_of_them_takes_no_time(reader: Visitor, path: str) -> None:
    reader.open("/rules")
    quickly(reader, path)


def test_what_is_cut_says_how_much_there_is_more_and_the_export_has_it(reader: Visitor, shown: Path) -> None:
    path = f"/findings/{fingerprint(shown, 'unsafe_duplicate', CUT)}"
    assert "x" * MOST_SHOWN + "… 59,700 more characters" in reader.open(path).text
    assert "… noch 59.700 Zeichen" in reader.open(path, **{"Accept-Language": "de"}).text


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


def test_somebody_who_searches_with_a_long_text_delays_nobody(reader: Visitor) -> None:
    ann, bob = reader, Visitor(reader.address)
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


def test_the_export_has_a_long_reason_whole(worlds: Worlds) -> None:
    reader = worlds.reader(worlds.home(troubled))
    exported = list(csv.DictReader(reader.open("/export/worklist.csv").answer.text.splitlines()))
    assert all(row["reason"] for row in exported)
