"""Makes the pictures in docs/images anew. Needs Chromium, a demo (`make demo`), and one of its servers in another terminal:

`make dev`, then `.venv/bin/python -m tests.pictures lineage` and `… check`; `make review`, then `.venv/bin/python -m tests.pictures desk`.
"""

import sys

from playwright.sync_api import Page, sync_playwright

from assets.published.snapshot import open_snapshot
from pipelines.settings import home
from tests.desk.test_browser import CHROMIUM, OPTIONS
from tests.live import ROOT

IMAGES = ROOT / "docs" / "images"


def take_lineage(page: Page, address: str = "http://127.0.0.1:3000") -> None:
    """The groups of all assets, closed, as Dagster lays them out. address: of its UI."""
    page.set_viewport_size({"width": 1500, "height": 800})
    page.goto(f"{address}/asset-groups", wait_until="domcontentloaded", timeout=120_000)
    page.get_by_text("bindwatch_6_published").first.wait_for(timeout=120_000)
    page.wait_for_timeout(5_000)  # the layout is worked out in a thread of the browser's
    page.screenshot(path=IMAGES / "dagster-lineage.png")


def take_check(page: Page, address: str = "http://127.0.0.1:3000") -> None:
    """A violated check: what it finds, why that is unsafe, what to do, the worst examples. address: of Dagster's UI."""
    page.set_viewport_size({"width": 1700, "height": 925})
    page.goto(f"{address}/assets/bindwatch/core/binding?view=checks&checkDetail=switch_imminent", wait_until="domcontentloaded", timeout=120_000)
    page.get_by_text("Latest execution").first.wait_for(timeout=120_000)
    page.wait_for_timeout(5_000)  # the tables under it come later
    page.screenshot(path=IMAGES / "dagster-check.png")


def bad_plan() -> bytes:
    """A merge plan out of the demo: four merges the wrong way round, and one as it should be."""
    pairs = (
        open_snapshot(home())
        .execute(
            """select salesforce_id, rival_ids[1] from published.finding
           where check_name = 'unsafe_duplicate' and status = 'open' and len(rival_ids) = 1 and salesforce_id[:3] = rival_ids[1][:3]
           order by fingerprint limit 5"""
        )
        .fetchall()
    )
    rows = [f"{rival},{bound}" for bound, rival in pairs[:4]] + [f"{bound},{rival}" for bound, rival in pairs[4:]]
    return "\n".join(["master_id,loser_id", *rows, ""]).encode()


def take_desk(page: Page, address: str = "http://127.0.0.1:8000") -> None:
    """The overview, the damage report, a plan that was judged, a jump as a case and as a finding. address: of the desk."""

    def take(name: str, path: str, height: int) -> None:
        page.set_viewport_size({"width": 1280, "height": height})
        page.goto(f"{address}{path}", timeout=120_000)
        page.screenshot(path=IMAGES / f"{name}.png")

    take("desk-overview", "/", 980)
    take("desk-damage", "/damage", 1240)
    page.set_viewport_size({"width": 1280, "height": 655})
    page.goto(f"{address}/plans", timeout=120_000)
    page.set_input_files("input[name=plan]", {"name": "plan.csv", "mimeType": "text/csv", "buffer": bad_plan()})
    page.get_by_role("button", name="Judge it", exact=True).click(timeout=120_000)
    page.locator("main table").first.wait_for(timeout=120_000)
    page.screenshot(path=IMAGES / "desk-plan.png")
    page.goto(f"{address}/findings?check=switch_happened", timeout=120_000)
    finding = page.locator("a[href*='/findings/']").first.get_attribute("href")
    take("desk-finding", str(finding), 1290)
    case = page.locator("a[href*='/cases/']").first.get_attribute("href")
    take("desk-case", str(case), 1640)


if __name__ == "__main__":
    what, *address = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        {"lineage": take_lineage, "check": take_check, "desk": take_desk}[what](browser.new_page(locale="en"), *address)
        browser.close()
