"""The damage report: what happened, when, by whom, to whom, what can be put back until when."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from assets.published.restore_plan import write_plan
from assets.published.snapshot import open_snapshot
from tests.crm import BOUND, RIVAL, Crm, contact_id, day, lead_id
from tests.desk.portal import Visitor, Worlds, calm, publish
from tests.test_backtest import run_command


def damaged(**knobs: Any) -> Crm:
    """On day 28 user Usr9 edits a duplicate, a contact jumps to it, and its title is overwritten; on day 29 a deletion takes a contact along."""
    crm = Crm(**knobs)
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, fields={"Title": "Buyer"})
    crm.later()
    crm.lead(2, modified=day(27.9), fields={"Title": "Buyer"}, by="0055e000000Usr9AAC")
    crm.contact(bound=RIVAL, since=day(28), synced=day(28), properties={"jobtitle": "Buyer"})
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"), (day(28), "Buyer"))
    crm.salesforce_contact(8, deleted=True, modified=day(29), by="0055e000000Usr8AAC")
    crm.contact("102", bound=contact_id(8), email="bea@example.com", archived_at=day(29.1))
    # what happened long before is not part of it
    crm.lead(5, deleted=True, modified=day(3))
    return crm


@pytest.fixture
def published(worlds: Worlds) -> Path:
    """Instead of the desk's usual portal."""
    return worlds.home(damaged)


def test_the_report_says_what_happened_when_by_whom_and_until_when(reader: Visitor) -> None:
    page = reader.open("/damage")
    assert page.texts("//*[@class='figure']") == [
        "1 contact jumped", "1 value overwritten", "1 Salesforce record deleted or merged", "1 contact deleted with them", "1 value can be put back",
    ]  # fmt: skip
    assert "the first record leaves its recycle bin on 13 Apr 2026" in page.text
    assert "the first one is gone for good on 27 Jun 2026" in page.text
    rows = [[cell.text_content().strip() for cell in row.xpath("td")] for row in page.document.xpath("//tbody/tr")]
    assert ["28 Mar 2026, 00:00 UTC", "1", "1", "", ""] in rows
    assert [row[:3] for row in rows if row[0].startswith("005")] == [["0055e000000Usr8AAC", "1", ""], ["0055e000000Usr9AAC", "", "1"]]
    assert ["jobtitle", "1", "1", "", "", "", ""] in rows
    assert any("Ann Lee" in row[0] and row[2:4] == [BOUND, RIVAL] and row[4].split() == ["jobtitle", "CEO", "→", "Buyer"] for row in rows)
    assert any("102" in row[0] and row[3:] == ["contact deleted", "restorable until 27 Jun 2026"] for row in rows)


def test_who_caused_a_jump_is_told_although_somebody_else_edited_the_record_since(home: Path, ann: Visitor) -> None:
    crm = damaged()
    crm.later()
    crm.lead(2, modified=day(28.5), fields={"Title": "Clerk"}, by="0055e000000Usr7AAC")
    publish(crm, home)
    page = ann.open("/damage")
    assert page.document.xpath("//td/a[starts-with(text(), '005')]/text()") == ["0055e000000Usr8AAC", "0055e000000Usr9AAC"]


def test_the_integration_is_never_said_to_have_caused_a_jump(home: Path, ann: Visitor) -> None:
    publish(damaged(integration_user_id="0055e000000Usr9AAC"), home)
    assert ann.open("/damage").document.xpath("//td/a[starts-with(text(), '005')]/text()") == ["0055e000000Usr8AAC"]


def test_the_plan_is_that_of_the_terminal_byte_by_byte_and_since_narrows_it_only_when_asked(shown: Path, reader: Visitor, tmp_path: Path) -> None:
    page = reader.open("/damage")
    (address,) = (link for link in page.document.xpath("//a/@href") if link.endswith("/export/restore.zip"))
    for query, options in (
        ("", ()),
        ("?contact=101", ("--contact", "101")),
        ("?with_unclear=1", ("--with-unclear",)),
        ("?since=2026-03-29", ("--since", "2026-03-29")),
    ):
        folder = tmp_path / f"plan{len(query)}"
        assert run_command(shown, "restore-plan", "--out", str(folder), *options).returncode == 0
        with zipfile.ZipFile(io.BytesIO(reader.open(address + query).answer.content)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_report_begins_where_one_says(reader: Visitor) -> None:
    assert reader.open("/damage?since=2026-03-29").texts("//*[@class='figure']")[0] == "0 contacts jumped"
    assert reader.open("/damage?since=2026-03-01").texts("//*[@class='figure']")[2] == "2 Salesforce records deleted or merged"


def test_the_report_is_a_file_that_needs_nothing_else(reader: Visitor) -> None:
    page = reader.open("/damage.html", **{"Accept-Language": "de"})
    assert page.answer.headers["Content-Disposition"] == 'attachment; filename="bindwatch-damage-report.html"'
    assert page.texts("//h1") == ["Schadensbericht"]
    assert not page.document.xpath("//link | //script | //img | //form")


def test_the_restore_plan_comes_as_one_file(reader: Visitor) -> None:
    answer = reader.open("/export/restore.zip").answer
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.namelist()) == 7
        assert archive.read("3-hubspot-contacts.csv").decode() == "Record ID,jobtitle\n101,CEO\n"


@pytest.mark.parametrize(("query", "options"), [("", {}), ("?with_unclear=1", {"with_unclear": True}), ("?contact=101", {"contact": "101"})])
def test_the_restore_plan_is_the_same_as_in_the_terminal(shown: Path, reader: Visitor, tmp_path: Path, query: str, options: dict[str, Any]) -> None:
    write_plan(open_snapshot(shown), tmp_path / "plan", **options)
    content = reader.open(f"/export/restore.zip{query}", **{"Accept-Language": "de"}).answer.content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {path.name: path.read_bytes() for path in (tmp_path / "plan").iterdir()}


def test_a_portal_without_damage_says_so(worlds: Worlds) -> None:
    reader = worlds.reader(worlds.home(calm, "pass"))
    assert reader.open("/damage").texts("//*[@class='figure']")[0] == "0 contacts jumped"
    assert lead_id(1) not in reader.open("/damage").text
