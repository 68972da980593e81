"""Makes docs/images/dagster-lineage.png anew: `make dev` in one terminal, `.venv/bin/python -m tests.pictures` in another one. Needs Chromium."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.desk.test_browser import CHROMIUM, OPTIONS
from tests.live import ROOT

LINEAGE = ROOT / "docs" / "images" / "dagster-lineage.png"


def take_lineage(address: str, path: Path = LINEAGE) -> None:
    """The groups of all assets, closed, as Dagster lays them out. address: of its UI."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_context(viewport={"width": 1500, "height": 800}).new_page()
        page.goto(f"{address}/asset-groups", wait_until="domcontentloaded", timeout=120_000)
        page.get_by_text("bindwatch_6_published").first.wait_for(timeout=120_000)
        page.wait_for_timeout(5_000)  # the layout is worked out in a thread of the browser's
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    take_lineage(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
