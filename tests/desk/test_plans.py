"""Merge plans at the desk: judged before the merge, looked at again afterwards."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from assets.published.merge_plan import load_merge_plans
from sandbox.world import id18
from tests.crm import BOUND, RIVAL, Crm, contact_id, day, lead_id
from tests.desk.portal import Page, Visitor, publish, served
from tests.shapes import write_workbook

SAFE, UNSAFE = f"master_id,loser_id\n{BOUND},{RIVAL}\n", f"master_id,loser_id\n{RIVAL},{BOUND}\n"


def send(ann: Visitor, content: str | bytes, name: str = "plan.csv") -> Page:
    """The page with all that is said of a plan, after one upload."""
    token = ann.open("/rules").values("//input[@name='form_token']/@value")[0]
    files = {"plan": (name, content, "text/csv")}
    return Page(ann.session.post(f"{ann.address}/plans", data={"form_token": token}, files=files, timeout=20))


def download(ann: Visitor, page: Page, name: str) -> list[dict[str, Any]]:
    (link,) = page.values(f"//a[contains(@href, '/{name}')]/@href")
    return rows(ann.open(link))


def rows(page: Page, separator: str = ",") -> list[dict[str, Any]]:
    assert page.answer.headers["Content-Disposition"].startswith("attachment"), page.text
    return list(csv.DictReader(page.answer.content.decode("utf-8-sig").splitlines(), delimiter=separator))


def test_a_plan_is_judged_and_what_is_not_safe_is_said(ann: Visitor) -> None:
    page = send(ann, UNSAFE)
    assert "Do not carry this plan out as it is. 1 unsafe" in page.text
    assert "HubSpot contact 101 is bound to" in page.text
    assert send(ann, f"{SAFE}{RIVAL},\n").texts("//tr[td]/td[1]")[0] == "2", "the row that somebody looks up in the file"
    assert "Every row is safe. 1 safe" in send(ann, SAFE).text
    assert "It has no row: nothing was judged." in send(ann, "master_id,loser_id\n").text


def test_a_workbook_is_judged_and_a_plan_of_hubspots_is_named_as_one(ann: Visitor, tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "plan.xlsx", Plan=[line.split(",") for line in UNSAFE.split()])
    assert "Do not carry this plan out as it is. 1 unsafe" in send(ann, path.read_bytes(), name="plan.xlsx").text
    ids = "Primary Record ID,Merged Record ID\n30935,41351\n"
    assert "30935 is a record id of HubSpot's; a merge plan for Salesforce is needed" in send(ann, ids).text
    ann.session.headers["Accept-Language"] = "de"
    assert "Zeile 2: 30935 ist eine Datensatz-ID von HubSpot" in send(ann, ids).text


def test_whoever_reads_german_is_answered_in_german(ann: Visitor) -> None:
    ann.session.headers["Accept-Language"] = "de"
    page = send(ann, UNSAFE)
    assert f"HubSpot-Kontakt 101 ist mit {BOUND} verknüpft, einem Datensatz, der verschwinden würde" in page.text
    assert "Stunden her: Vor dem Zusammenführen neu abrufen" in page.text
    (link,) = page.values("//a[contains(@href, '/judged.csv')]/@href")
    assert "verknüpft" in rows(ann.open(link), ";")[0]["reason"]


def test_one_upload_gives_the_verdicts_the_safe_plan_and_the_conversions_and_counts_what_is_in_neither(home: Path, ann: Visitor) -> None:
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, fields={"Title": "Buyer", "FirstName": "Anna", "OwnerId": id18("0055e000000Own2")}, name="Anna Lee")
    crm.user("0055e000000Own1", "Olga Own")
    crm.user("0055e000000Own2", "Otto Own")
    for number in (3, 4):
        crm.lead(number, email="bo@example.com")
    crm.salesforce_contact(5, email="bo@example.com", account="0015e00000Acc01")
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO", "salesforceownerid": "0055e000000Own1"})
    publish(crm, home)
    page = send(
        ann, f"Note,master_id,loser_id\nx,{RIVAL},{BOUND}\n,{contact_id(5)},{lead_id(3)}\n,{contact_id(5)},{lead_id(4)}\n,{lead_id(99)},{lead_id(98)}\n"
    )
    figures = {name: page.texts(f"//b[@data-figure='{name}']") for name in ("conversions", "fixed", "left_out")}
    assert figures == {"conversions": ["2"], "fixed": ["1"], "left_out": ["1"]}
    assert page.texts("//li[@data-reason='unknown']") == ["1 with a record that no pull has seen row 4"]
    first = page.texts("//table[contains(@class, 'judged')]/tbody/tr[1]")[0]
    assert "Ann Lee" in first and "Anna Lee" in first and "CEO → Buyer" in first, "people by name, and the value that would be lost"
    assert "Olga Own → Otto Own" in first, "an owner is a person, not an id"
    assert download(ann, page, "safe.csv") == [{"master_id": BOUND, "loser_id": RIVAL}]
    assert [(row["Lead Id"], row["Contact Id"], row["Do Not Create Opportunity"]) for row in download(ann, page, "conversions.csv")] == [
        (lead_id(3), contact_id(5), "true"), (lead_id(4), contact_id(5), "true"),
    ]  # fmt: skip
    judged = download(ann, page, "judged.csv")
    assert [(row["Note"], row["verdict"]) for row in judged] == [("x", "unsafe"), ("", "invalid"), ("", "invalid"), ("", "unknown")]
    assert judged[0]["loser_name"] == "Ann Lee" and "CEO → Buyer" in judged[0]["values_lost"]
    assert [row["reason"] for row in download(ann, page, "left-out.csv")] == ["unknown"]
    address = page.answer.url.removeprefix(ann.address)
    assert ann.open(f"{address}?verdict=unknown").texts("//table[contains(@class, 'judged')]/tbody/tr/td[1]") == ["4"]
    assert "no longer here" in ann.open("/plans/none").text


def test_a_plan_is_kept_from_the_desk_where_every_run_looks_for_plans(home: Path, ann: Visitor) -> None:
    page = send(ann, UNSAFE, name="../../answers")
    address = page.answer.url.removeprefix(ann.address)
    assert "Kept as answers-plan: every run judges it now." in ann.send(f"{address}/keep", {"name": ""}).text
    for _ in range(2):
        assert "Kept as June-.csv: every run judges it now." in ann.send(f"{address}/keep", {"name": "June/.csv"}).text, "the same plan is there once"
    other = send(ann, SAFE).answer.url.removeprefix(ann.address)
    assert "Kept as June- (2).csv" in ann.send(f"{other}/keep", {"name": "June/.csv"}).text, "no plan takes the place of another"
    assert {path.name: path.read_text() for path in (home / "merge-plans").iterdir()} == {
        "answers-plan": UNSAFE, "June-.csv": UNSAFE, "June- (2).csv": SAFE,
    }  # fmt: skip
    crm = Crm()
    load_merge_plans(crm.connection, home)
    assert crm.connection.execute("select count(*) from main.merge_plan where problem is null").fetchall() == [(3,)]


@pytest.mark.parametrize(("content", "said"), [("nonsense", "line 1: it has no column master_id"), (b"\x81\x00", "line 1, column 2: it is no text"), ("", "")])
def test_what_is_no_plan_is_refused_with_its_line(ann: Visitor, content: str | bytes, said: str) -> None:
    page = send(ann, content)
    assert page.status == 200
    assert "This is no merge plan:" in page.text and said in page.text
    assert "No file was chosen." in send(ann, SAFE, name="").text or send(ann, SAFE, name="").status == 200


def test_a_plan_without_the_token_of_the_session_is_refused(ann: Visitor) -> None:
    files = {"plan": ("plan.csv", SAFE, "text/csv")}
    assert ann.session.post(f"{ann.address}/plans", data={"form_token": "x"}, files=files, timeout=20).status_code == 403


def test_plans_in_the_folder_are_listed_before_and_after_the_merge(home: Path, ann: Visitor) -> None:
    assert "There is none." in ann.open("/plans").text
    (home / "merge-plans").mkdir()
    (home / "merge-plans" / "june.csv").write_text(f"master_id,loser_id\n{RIVAL},{BOUND}\n{lead_id(4)},{lead_id(3)}\n{lead_id(3)},{lead_id(5)}\n")
    crm = Crm()
    for number in (1, 2, 3, 4):
        crm.lead(number)
    crm.lead(5, merged_into=lead_id(3))
    crm.contact(bound=BOUND)
    load_merge_plans(crm.connection, home)
    publish(crm, home)
    page = ann.open("/plans")
    assert page.texts("//table/tbody/tr[td='june.csv']/td")[:5] == ["june.csv", "1", "1", "", "1"]
    german = ann.open("/plans", **{"Accept-Language": "de"}).text
    assert "würde verschwinden" in german or "der verschwinden würde" in german


def test_what_became_of_planned_merges_is_known_after_the_plan_was_taken_away(home: Path, ann: Visitor) -> None:
    """Of two merges one was carried out as planned, and one against the advice; the file is gone since the day after."""
    crm = Crm()
    for number in (1, 2, 3, 4):
        crm.lead(number)
    crm.contact(bound=BOUND)
    crm.plan((RIVAL, BOUND), (lead_id(4), lead_id(3)), name="=june.csv")
    crm.end_run()
    crm.later()
    crm.lead(1, merged_into=RIVAL, modified=day(29))
    crm.lead(3, merged_into=lead_id(4), modified=day(29))
    crm.end_run(day(31))
    crm.connection.execute("delete from main.merge_plan")
    publish(crm, home)
    page = ann.open("/plans")
    assert page.texts("//div[@class='figure']") == ["2 carried out", "1 as planned", "0 not settled yet", "1 went wrong", "1 against the advice"]
    assert page.texts("//section[h2='What became of planned merges']//tbody/tr/td[1]") == ["sync broken", "as planned"], "the worst first"
    exported = rows(Page(ann.session.get(f"{ann.address}/export/planned-merges.csv", timeout=20)))
    assert [(row["plan"], row["said_before"], row["result"], row["hubspot_contact_id"]) for row in exported] == [
        ("'=june.csv", "unsafe", "sync_broken", "101"), ("'=june.csv", "safe", "as_planned", "101"),
    ]  # fmt: skip


def test_a_clock_that_goes_back_does_not_turn_round_what_was_said_of_a_plan(home: Path, ann: Visitor) -> None:
    crm = Crm()
    for number in (1, 2):
        crm.lead(number)
    crm.contact(bound=BOUND)
    crm.plan((RIVAL, BOUND))
    crm.end_run(day(20))
    crm.later()
    crm.lead(1, merged_into=RIVAL, modified=day(19))
    crm.end_run(day(21))
    crm.connection.execute("delete from main.merge_plan")
    publish(crm, home)
    page = ann.open("/plans")
    assert page.texts("//section[h2='What became of planned merges']//tbody/tr/td[1]") == ["sync broken"]
    (row,) = rows(Page(ann.session.get(f"{ann.address}/export/planned-merges.csv", timeout=20)))
    assert (row["said_before"], row["result"]) == ("unsafe", "sync_broken")


def test_what_is_called_like_a_plan_and_is_none_holds_no_run_up(tmp_path: Path) -> None:
    folder = tmp_path / "merge-plans"
    folder.mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "folder.csv").mkdir()
    (folder / "gone.csv").symlink_to("nowhere")
    (folder / "june.csv").write_text(SAFE)
    crm = Crm()
    load_merge_plans(crm.connection, tmp_path)
    judged = "select plan, bool_and(problem is null) from main.merge_plan group by plan order by plan"
    assert crm.connection.execute(judged).fetchall() == [("folder.csv", False), ("gone.csv", False), ("june.csv", True), ("pipe.csv", False)]


def test_the_page_can_be_read_without_a_plan_in_any_language(home: Path) -> None:
    with served(home) as address:
        assert Visitor(address).open("/plans", **{"Accept-Language": "de"}).texts("//h1") == ["Pläne"]
