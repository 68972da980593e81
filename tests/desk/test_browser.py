"""The desk in a real browser: a steward's hour, the keyboard alone, German, a phone's width, and what makes pages hard to use for some people.

Needs Chromium (Debian: `chromium`); without it these tests are skipped, and say so.
"""

import csv
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from assets.published.decisions import DecisionStore
from assets.published.worklist import STATUSES, Filter, Worklist
from pipelines.guarded_run import RunResult
from sandbox.story import Story
from tests import live
from tests.desk.portal import planned, publish, pull, served, troubled
from tests.desk.test_basket import jumped
from tests.desk.test_together import Away

pytestmark = pytest.mark.filterwarnings("ignore")

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATHS = (
    "/",
    "/cases",
    "/cases?urgency=later&sort=-name",
    "/findings",
    "/findings?status=all&text=share",
    "/plans",
    "/what-if",
    "/damage",
    "/settings",
    "/rules",
    "/name",
    "/nothing",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: the desk is not tried in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def browse(chromium: Browser) -> Iterator[Callable[[str], Open]]:
    """browse(address)(path, width=…, **context) opens a page in a browser of its own; at the end, nothing may have gone wrong in it."""
    contexts, troubles, hosts = [], [], set()

    def at(address: str) -> Open:
        def visit(path: str = "/", width: int = 1280, **context: Any) -> Page:
            contexts.append(opened := chromium.new_context(viewport={"width": width, "height": 900}, **context))
            page = opened.new_page()
            page.set_default_timeout(10_000)
            page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") and "404" not in message.text else None)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
            page.goto(address + path)
            return page

        return visit

    yield at
    for context in contexts:
        context.close()
    assert not troubles, "an error on a page, such as a style that the content policy forbids"
    assert all(host.startswith("127.0.0.1:") for host in hosts), "a request to another host"


@contextmanager
def real_portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Callable[[], RunResult], Story]]:
    """Two CRMs in miniature, a run that was red, and a function for the next one."""
    story = live.story_of(250)
    story.edit_duplicate()  # values would be lost, and soon
    home = tmp_path / "home"
    run = live.runner(monkeypatch, home)
    with live.served(story, tmp_path / "sandbox") as server:
        assert run(server).exit_code == 1
        yield home, lambda: run(server), story


def test_the_hour_of_a_steward(browse: Callable[[str], Open], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with real_portal(tmp_path, monkeypatch) as (home, run_again, _), served(home) as address:
        page = browse(address)("/")
        # a red run
        expect(page.get_by_role("heading", level=1)).to_have_text("Unsafe")
        blocking = page.locator("table.counts tr", has_text="blocks")
        assert blocking.count() > 0
        # the worst finding
        page.get_by_role("link", name="Findings").first.click()
        worst = page.locator(".main-cell a").first
        title = worst.inner_text()
        worst.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        # understand
        for heading in ("Why this is unsafe", "What to do", "If nothing is done", "Side by side", "What happened"):
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
        expect(page.locator(".compare .differs").first).to_be_visible()
        waived = page.url.rsplit("/", 1)[1].split("?")[0]
        # waive it
        page.get_by_label("Your name").fill("Ann")
        page.get_by_label("because").fill("twins, both are right")
        page.locator("input[type=date]").fill(f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}")
        page.get_by_role("button", name="Waive").click()
        expect(page.get_by_role("status")).to_contain_text("1 finding waived")
        expect(page.locator(".timeline li").first).to_contain_text("waived · Ann: until")
        # the next one is somebody else's
        page.get_by_role("link", name="Findings").first.click()
        assert page.locator(f"input[value='{waived}']").count() == 0
        assigned = page.locator("td.tick input").first.get_attribute("value")
        page.locator("td.tick input").first.check()
        expect(page.get_by_role("heading", name="Decide about ticked findings (1)")).to_be_visible()
        page.get_by_label("to", exact=True).fill("Bob")
        page.get_by_role("button", name="Assign").click()
        expect(page.get_by_role("status")).to_contain_text("1 finding assigned to Bob")
        # the run-book of what is left
        with page.expect_download() as download:
            page.locator(".files a[href*='/export/run-book.csv']").click()
        steps = list(csv.DictReader(Path(download.value.path()).read_text("utf-8").splitlines()))
        assert {step["action"] for step in steps} <= {"merge", "convert", "change_email", "manual"} and len(steps) > 3
        # the next run knows of both
        before = page.locator("footer").inner_text()
        run_again()
        page.goto(f"{address}/findings?status=waived")
        assert page.locator("footer").inner_text() != before
        assert page.locator("td.tick input").first.get_attribute("value") == waived
        page.goto(f"{address}/findings?owner=Bob")
        assert page.locator("td.tick input").first.get_attribute("value") == assigned
        page.goto(address)
        expect(page.locator(".figure", has_text="waived")).to_have_text("1 waived")


def test_the_desk_works_while_a_run_writes(browse: Callable[[str], Open], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assets.warehouse.file import Warehouse

    with real_portal(tmp_path, monkeypatch) as (home, _, _), served(home) as address, Warehouse(home).guard(), Warehouse(home).connect():
        page = browse(address)("/findings")
        page.locator("td.tick input").first.check()
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.get_by_role("status")).to_contain_text("1 finding acknowledged")


def press(page: Page, key: str, until: Callable[[], bool], most: int = 150) -> None:
    """Presses a key until something holds."""
    for _ in range(most):
        if until():
            return
        page.keyboard.press(key)
    raise AssertionError("the keyboard does not reach it")


def has_focus(page: Page, selector: str) -> bool:
    return bool(page.evaluate("selector => document.activeElement.matches(selector)", selector))


def test_everything_can_be_done_with_the_keyboard_alone(home: Path, browse: Callable[[str], Open]) -> None:
    with served(home) as address:
        page = browse(address)("/")
        page.keyboard.press("Tab")
        assert has_focus(page, ".skip"), "the first stop leads past the navigation"
        press(page, "Tab", lambda: has_focus(page, "nav a[href='/findings']"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/findings")
        press(page, "Tab", lambda: has_focus(page, "input[name=text]"))
        page.keyboard.type("hubspot loses")
        page.keyboard.press("Enter")
        page.wait_for_url("**/findings?text=hubspot+loses")
        press(page, "Tab", lambda: has_focus(page, ".main-cell a"))
        outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", "one sees where one is"
        page.keyboard.press("Enter")
        page.wait_for_url("**/findings/*")
        press(page, "Tab", lambda: has_focus(page, "input[name=user]"))
        page.keyboard.type("Ann")
        press(page, "Tab", lambda: has_focus(page, "button[value=acknowledge]"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("1 finding acknowledged")
    assert [(row["action"], row["decided_by"]) for row in DecisionStore(home).read()] == [("acknowledge", "Ann")]


def test_a_row_of_a_list_is_a_line_and_deciding_stays_in_view_without_taking_half_of_it(home: Path, browse: Callable[[str], Open]) -> None:
    with served(home) as address:
        open_page = browse(address)
        case = open_page("/cases").locator("td.main-cell a").first.get_attribute("href")
        for language, path in product(("en", "de"), ("/cases", "/findings", case)):
            page = open_page(path, locale=language)
            bar = page.locator(".decide").bounding_box()
            assert bar is not None and bar["y"] + bar["height"] <= 900 and bar["height"] < 180
            rows = [box["height"] for row in page.locator(".lines tbody tr").all() if (box := row.bounding_box())]
            assert all(height < 31 for height in rows), "twenty of them and more fit on a screen"
        phone = open_page(case, width=390)
        cells = [box["width"] for cell in phone.locator(".choice td").all() if cell.is_visible() and (box := cell.bounding_box())]
        assert all(width > 100 for width in cells), "no word of a value stands letter below letter"


def test_safe_cases_are_taken_with_three_keys(tmp_path: Path, browse: Callable[[str], Open]) -> None:
    publish(jumped("FORM", "CRM_UI"), tmp_path / "home")
    with served(tmp_path / "home") as address:
        page = browse(address)("/findings", accept_downloads=True)
        page.keyboard.press("t")
        page.wait_for_url("**/basket/safe")
        page.keyboard.press("t")
        assert has_focus(page, "input[name=user]"), "whoever has no name yet is asked"
        page.keyboard.type("Ann")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("The proposals for 2 cases are in your basket.")
        with page.expect_download() as download:
            page.keyboard.press("z")
        with zipfile.ZipFile(download.value.path()) as archive:
            assert "3-hubspot-contacts.csv" in archive.namelist()


def test_a_page_of_the_list_is_ticked_with_one_key(home: Path, browse: Callable[[str], Open]) -> None:
    with served(home) as address:
        page = browse(address)("/findings")
        press(page, "Tab", lambda: has_focus(page, "th.tick input"))
        page.keyboard.press("Space")
        assert page.locator("td.tick input:checked").count() == 2
        expect(page.get_by_role("heading", name="Decide about ticked findings (2)")).to_be_visible()


def test_without_javascript_nothing_is_lost(home: Path, browse: Callable[[str], Open]) -> None:
    with served(home) as address:
        page = browse(address)("/findings", java_script_enabled=False)
        for box in page.locator("td.tick input").all():
            box.check()
        page.get_by_label("Your name").fill("Ann")
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.get_by_role("status")).to_contain_text("2 findings acknowledged")


def test_a_german_browser_reads_german_and_can_change_its_mind(home: Path, browse: Callable[[str], Open]) -> None:
    with served(home) as address:
        page = browse(address)("/findings", locale="de-DE")
        expect(page.get_by_role("heading", level=1)).to_have_text("Befunde")
        page.locator(".main-cell a").first.click()
        expect(page.get_by_role("heading", name="Warum das unsicher ist")).to_be_visible()
        expect(page.locator(".compare")).to_contain_text("dieser Wert würde gewinnen")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading", name="Why this is unsafe")).to_be_visible()


def pages_of(home: Path) -> list[str]:
    worklist = Worklist(home, DecisionStore(home))
    found, cases = worklist.find(Filter(statuses=STATUSES)), worklist.query("select case_id from published.person_case")
    return [*PATHS, *(f"/findings/{row['fingerprint']}" for row in found), *(f"/cases/{row['case_id']}" for row in cases)]


def test_nothing_is_wider_than_a_phone(home: Path, browse: Callable[[str], Open]) -> None:
    publish(planned(troubled()), home)
    with served(home) as address:
        visit = browse(address)
        for locale in ("en", "de"):
            page = visit("/", width=390, locale=locale)
            for path in pages_of(home):
                page.goto(address + path)
                assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 390, (path, locale)


def test_two_people_and_an_outage_under_a_path_fit_a_phone_and_have_no_serious_fault(home: Path, chromium: Browser) -> None:
    with served(home, desk_url="http://127.0.0.1/bindwatch") as address:
        bob, ann = (chromium.new_context(viewport={"width": 390, "height": 900}, locale=locale).new_page() for locale in ("en", "de"))
        for page in (bob, ann):
            page.goto(f"{address}/bindwatch/findings")
            page.locator(".main-cell a").first.click()
        bob.get_by_label("Your name").fill("Bob")
        bob.get_by_role("button", name="Acknowledge").click()
        ann.get_by_label("Ihr Name").fill("Ann")
        ann.get_by_label("an", exact=True).fill("Cy")
        ann.get_by_role("button", name="Zuweisen").click()
        expect(ann.get_by_role("heading", level=1)).to_have_text("Noch nicht entschieden")
        expect(ann.locator(".meanwhile")).to_contain_text("Bob hat ihn zur Kenntnis genommen.")
        assert faults(ann) == [] and ann.evaluate("() => document.scrollingElement.scrollWidth") <= 390
        with Away(home):
            ann.get_by_role("button", name="Zuweisen").click()
            expect(ann.get_by_role("alert")).to_contain_text("Was entschieden wurde, ist im Augenblick nicht lesbar.")
            assert faults(ann) == [] and ann.evaluate("() => document.scrollingElement.scrollWidth") <= 390
            assert ann.get_by_label("an", exact=True).input_value() == "Cy"
        ann.get_by_role("button", name="Zuweisen").click()
        expect(ann.get_by_role("status")).to_contain_text("1 Befund Cy zugewiesen.")
        for page in (bob, ann):
            page.context.close()
    assert [row["decided_by"] for row in DecisionStore(home).read()] == ["Bob", "Ann"]


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 390), *(pytest.param(*each, marks=pytest.mark.slow) for each in (("light", 390), ("dark", 1280)))]
)
def test_axe_finds_no_serious_fault(home: Path, browse: Callable[[str], Open], scheme: str, width: int) -> None:
    publish(planned(troubled()), home)
    with served(home, token="a-secret-of-some-length") as locked, served(home) as address:
        visit = browse(address)
        page = visit("/", width=width, color_scheme=scheme)
        for path in pages_of(home):
            page.goto(address + path)
            assert faults(page) == [], path
        page.goto(f"{locked}/login")
        assert faults(page) == []


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_axe_finds_no_serious_fault_on_a_run_that_proves_nothing(home: Path, browse: Callable[[str], Open], scheme: str) -> None:
    coverage = {"salesforce": [pull("Lead", complete=False, problem="rows are missing")], "hubspot": []}
    publish(troubled(), home, "unproven", coverage=coverage, problem="HubSpot refused the token")
    with served(home) as address:
        assert faults(browse(address)("/", color_scheme=scheme)) == []


def test_axe_would_see_a_fault(home: Path, browse: Callable[[str], Open]) -> None:
    with served(home) as address:
        page = browse(address)("/findings")
        page.evaluate("() => { document.documentElement.removeAttribute('lang'); document.querySelector('td.tick input').removeAttribute('aria-label'); }")
        assert {fault.split(":")[0] for fault in faults(page)} == {"html-has-lang", "label"}


def faults(page: Page) -> list[str]:
    """What axe calls serious or critical on the page, with where."""
    found = Axe().run(page).response["violations"]
    return [f"{fault['id']}: {fault['nodes'][0]['html'][:120]}" for fault in found if fault["impact"] in ("serious", "critical")]
