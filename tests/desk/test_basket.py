"""The basket on the desk: deciding field by field, files for every tool, and what became of it."""

import csv
import io
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.problems import WarehouseProblem
from assets.published.decisions import DecisionStore
from assets.published.worklist import Filter, Worklist
from review.choosing import with_owner_ids
from review.desk_data import Desk
from tests.crm import BOUND, RIVAL, Crm, day, lead_id
from tests.desk.portal import Page, Visitor, Worlds, publish, served
from tests.test_causes import INTEGRATION, TOM


def jumped(*sources: str) -> Crm:
    """Each contact jumped from one Lead to another, and its title CEO became Buyer, which that Lead had held all the time. sources: who had written CEO."""
    crm = Crm(integration_user_id=INTEGRATION)
    crm.user(TOM, "Tom Roth")
    people = [(str(101 + number), f"p{number}@example.com", 2 * number + 1, source) for number, source in enumerate(sources)]
    for person, email, first, source in people:
        bound = crm.lead(first, fields={"Title": "CEO"}, email=email)
        crm.lead(first + 1, created=day(3), modified=day(3), fields={"Title": "Buyer"}, email=email)
        crm.contact(person, bound=bound, email=email, synced=day(29))
        crm.history(person, "salesforcelastsynctime", (day(29), "2026-03-29T00:00:00.000Z"))
        crm.history(person, "jobtitle", (day(2), "CEO", source))
    crm.end_run(day(30.1))
    crm.pull("salesforce", "Lead", at=day(30.5))
    for _, email, first, _ in people:
        crm.lead(first + 1, created=day(3), modified=day(30.1), by=TOM, fields={"Title": "Buyer", "Fax": "1"}, email=email)
    crm.pull("hubspot", "contact", at=day(30.5))
    for person, email, first, _ in people:
        crm.contact(person, bound=lead_id(first + 1), email=email, since=day(30.2), synced=day(30.2), properties={"jobtitle": "Buyer"})
        crm.history(person, "jobtitle", (day(30.2), "Buyer"))
    return crm


def three_jumped() -> Crm:
    return jumped("FORM", "CRM_UI", "SALESFORCE")


@pytest.fixture
def published(worlds: Worlds) -> Path:
    """Instead of the desk's usual portal."""
    return worlds.home(three_jumped)


def case_page(visitor: Visitor, contact_id: str = "101") -> Page:
    ids = [address.rsplit("/", 1)[1].partition("?")[0] for address in visitor.open("/cases").values("//td[@class='main-cell']/a/@href")]
    pages = (visitor.open(f"/cases/{one}") for one in ids)
    return next(page for page in pages if page.values(f"//input[starts-with(@name, 'pick:{contact_id}:')]"))


def fill_in(page: Page, **picked: str) -> dict[str, Any]:
    """The form of a case as a browser would send it: what is checked, and what somebody picks for a property."""
    form = page.document.xpath("//form[contains(@action, '/basket/put')]")[0]
    fields = {one.get("name"): one.get("value") for one in form.xpath(".//input[@type='hidden' or ((@type='radio' or @type='checkbox') and @checked)]")}
    for name, value in picked.items():
        (key,) = {one.get("name") for one in form.xpath(f".//input[@type='radio' and contains(@name, ':{name}')]")}
        fields[key] = value
    return {"user": "Ann", **fields}


def put(visitor: Visitor, page: Page, **picked: str) -> Page:
    return visitor.send("/basket/put", fill_in(page, **picked))


def take(visitor: Visitor, **fields: str) -> dict[str, list[dict[str, str]]]:
    """The files of the ZIP, as a program reads them."""
    answer = visitor.send("/basket/files", fields).answer
    assert answer.headers["Content-Type"] == "application/zip", answer.text[:300]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: list(csv.DictReader(io.StringIO(archive.read(name).decode()))) for name in archive.namelist()}


def test_the_proposal_is_what_a_person_wrote_before_the_jump_and_one_click_puts_it_and_the_steps_into_the_basket(ann: Visitor) -> None:
    page = case_page(ann)
    (row,) = [text for text in page.texts("//table[@class='choice']/tbody/tr") if "jobtitle" in text or "CEO" in text]
    assert "CEO a form" in row and "Buyer" in row and "proposed" in row
    said = put(ann, page)
    assert "1 value is in your basket." in said.text and "The steps of this case are in your basket." in said.text
    files = take(ann)
    assert files["1-salesforce-leads.csv"] == [{"Id": RIVAL, "Title": "CEO"}]
    assert files["3-hubspot-contacts.csv"] == [{"Record ID": "101", "jobtitle": "CEO"}]
    assert files["before/3-hubspot-contacts.csv"] == [{"Record ID": "101", "jobtitle": "Buyer"}]
    assert files["6-salesforce-merges.csv"][0]["master_id"] == RIVAL
    assert BOUND in files["6-salesforce-merges.csv"][0].values()


def test_what_is_right_as_it_is_is_accepted_and_in_no_file(home: Path, ann: Visitor) -> None:
    page = case_page(ann)
    said = ann.send("/basket/put", {**fill_in(page, jobtitle="now"), "steps": ""})
    assert "1 value is accepted as it is." in said.text
    (decision,) = DecisionStore(home).read()
    assert (decision["action"], decision["check_name"], decision["properties"], decision["decided_by"]) == ("accept", "switch_happened", "jobtitle", "Ann")
    assert DecisionStore(home).basket("Ann") == []


def test_what_is_accepted_and_what_is_put_in_come_together_or_not_at_all(home: Path, ann: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann, case_page(ann))
    before = DecisionStore(home).basket("Ann")

    def fail(*_: object) -> None:
        raise WarehouseProblem("away")

    with monkeypatch.context() as patched:
        patched.setattr(DecisionStore, "_add", fail)
        put(ann, case_page(ann), jobtitle="now")
    assert (DecisionStore(home).basket("Ann"), DecisionStore(home).read()) == (before, []), "still to be written, and nothing says that it is right"


def test_another_value_goes_into_both_files_and_takes_the_place_of_what_was_chosen_before(ann: Visitor) -> None:
    put(ann, case_page(ann))
    page = case_page(ann)
    ann.send("/basket/put", {**fill_in(page, jobtitle="other"), "other:101:jobtitle": " Founder "})
    files = take(ann)
    assert files["1-salesforce-leads.csv"] == [{"Id": RIVAL, "Title": "Founder"}]
    assert files["3-hubspot-contacts.csv"] == [{"Record ID": "101", "jobtitle": "Founder"}]
    again = case_page(ann)
    assert again.values("//td[@class='other']/input[@name='other:101:jobtitle']/@value") == ["Founder"]


def test_what_somebody_types_counts_although_they_did_not_tick_it(ann: Visitor) -> None:
    ann.send("/basket/put", {**fill_in(case_page(ann)), "other:101:jobtitle": "Foun\0der"})
    assert take(ann)["3-hubspot-contacts.csv"] == [{"Record ID": "101", "jobtitle": "Founder"}]
    put(ann, case_page(ann), jobtitle="before")
    assert take(ann)["3-hubspot-contacts.csv"] == [{"Record ID": "101", "jobtitle": "CEO"}], "what stands there still from the last time is not typed again"


def test_an_owner_may_be_typed_by_name_and_one_that_nobody_has_is_refused(home: Path, ann: Visitor) -> None:
    said = ann.send("/basket/put", {**fill_in(case_page(ann)), "other:101:salesforceownerid": "Nobody At All"})
    assert "the name of no active Salesforce user" in said.text
    assert DecisionStore(home).basket("Ann") == []
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()
    found = with_owner_ids(snapshot, {"101:salesforceownerid": " tom roth ", "101:jobtitle": "tom roth"})
    assert found["101:salesforceownerid"].startswith(TOM) and found["101:jobtitle"] == "tom roth"


def test_accepting_on_a_case_can_be_undone_where_it_is_named(home: Path, ann: Visitor) -> None:
    said = ann.send("/basket/put", {**fill_in(case_page(ann), jobtitle="now"), "steps": ""})
    (click,) = said.values("//form[@class='undo']//input[@name='click']/@value")
    ann.send("/decisions/undo", {"click": click, "next": "/cases"})
    assert [row["is_undone"] for row in DecisionStore(home).read() if row["action"] == "accept"] == [True]


def test_of_a_large_basket_the_page_shows_what_somebody_must_look_at(home: Path, ann: Visitor) -> None:
    put(ann, case_page(ann))
    gone = [{"case_id": f"{number:032}", "hubspot_contact_id": None, "property": None, "value": None, "seen": None} for number in range(150)]
    DecisionStore(home).put_into_basket("Ann", gone)
    page = ann.open("/basket")
    assert page.values("//@data-item")[:3] == ["open", "open", "done"]
    assert len(page.values("//@data-item")) == 100
    assert "The first 100 of 152" in page.text


def test_a_basket_outlives_the_session_and_others_see_only_in_whose_basket_a_case_is(home: Path, ann: Visitor) -> None:
    put(ann, case_page(ann))
    later, bob = Visitor(ann.address), Visitor(ann.address)
    for visitor, name in ((later, "Ann"), (bob, "Bob")):
        visitor.send("/name", {"user": name, "next": "/"})
    assert "jobtitle → CEO" in later.open("/basket").text
    assert "It is empty." in bob.open("/basket").text
    assert "in the basket of Ann" in case_page(bob).text
    assert "in a basket: Ann" in bob.open("/cases").text
    bob.send("/basket/remove", {"item": [str(item["item_no"]) for item in DecisionStore(home).basket("Ann")]})
    assert len(DecisionStore(home).basket("Ann")) == 2, "nobody takes anything out of another one's basket"
    later.send("/basket/remove", {"everything": "1"})
    assert DecisionStore(home).basket("Ann") == []


def test_values_that_changed_since_they_were_put_in_are_said_and_in_no_import_file(home: Path, ann: Visitor) -> None:
    put(ann, case_page(ann))
    store = DecisionStore(home)
    (item,) = [item for item in store.basket("Ann") if item["property"]]
    store.put_into_basket("Ann", [{**{name: item[name] for name in ("case_id", "hubspot_contact_id", "property", "value")}, "seen": "Clerk"}])
    assert "the value was changed since you chose" in ann.open("/basket").text
    assert "changed since you chose" in case_page(ann).text
    files = take(ann)
    assert "3-hubspot-contacts.csv" not in files
    assert ("jobtitle", "changed_since", "the value was changed since you chose: look at the case again") in {
        (row["name"], row["reason"], row["why"]) for row in files["left-out.csv"]
    }  # fmt: skip


def test_what_was_chosen_on_a_page_from_before_a_run_is_not_put_in(home: Path, ann: Visitor) -> None:
    said = ann.send("/basket/put", {**fill_in(case_page(ann)), "run": "another"})
    assert "A run came in between" in said.text
    assert DecisionStore(home).basket("Ann") == []


def test_safe_cases_are_taken_at_once_after_a_preview_and_its_figures_are_those_of_the_files(home: Path, ann: Visitor) -> None:
    """Of the third contact the integration had written the title: nobody says that it is safe."""
    assert "Take the proposal for 2 safe cases" in ann.open("/cases").text
    assert "Take the proposal for 2 safe cases" in ann.open("/").text
    preview = ann.open("/basket/safe")
    seen = figures(preview)
    assert (seen["cases"], seen["values"], seen["merges"]) == (2, 2, 2)
    fields = dict(zip(preview.values("//main//form[@class='card']//input/@name"), preview.values("//main//form[@class='card']//input/@value"), strict=False))
    assert "These are other cases by now" in ann.send("/basket/safe", {**fields, "seen": "as many others", "user": "Ann"}).text
    page = ann.send("/basket/safe", {**fields, "user": "Ann"})
    assert "The proposals for 2 cases are in your basket." in page.text
    seen, files = figures(page), take(ann)
    assert [row["Record ID"] for row in files["3-hubspot-contacts.csv"]] == ["101", "102"]
    assert seen["values"] == sum(len(row) - 1 for row in files["3-hubspot-contacts.csv"])
    assert seen["merges"] == len(files["6-salesforce-merges.csv"])
    assert seen["left_out"] + seen["remaining"] == len(files["left-out.csv"])
    records = {name: int(count) for name, count in zip(page.values("//@data-file"), page.values("//@data-records"), strict=True)}
    assert records == {name: len(rows) for name, rows in files.items() if name[0].isdigit()}
    assert "There is none that is in nobody's basket." in ann.open("/basket/safe").text


def test_two_people_who_look_alike_are_merged_by_no_proposal_as_long_as_that_is_waived(home: Path, ann: Visitor) -> None:
    page = case_page(ann)
    assert "name='steps'" in page.answer.text.replace('"', "'") and any(f"{BOUND} " in step for step in page.texts("//ol[@class='steps']/li"))
    duplicates = next(one for one in Worklist(home, DecisionStore(home)).find(Filter()) if one["hubspot_contact_id"] == "101" and one["suite"] == "duplicates")
    ann.decide(duplicates["fingerprint"], "waive", reason="twins", until=f"{datetime.now(UTC) + timedelta(days=40):%Y-%m-%d}")
    page = case_page(ann)
    steps = page.texts("//ol[@class='steps']/li")
    assert not page.values("//input[@name='steps']") and not any("erge" in step for step in steps) and any("Put back" in step for step in steps), steps
    preview = ann.open("/basket/safe")
    fields = {name: preview.values(f"//input[@name='{name}']/@value")[0] for name in ("run", "seen", "steps")}
    ann.send("/basket/safe", {**fields, "user": "Ann"})
    chosen = DecisionStore(home).basket("Ann")
    assert {item["hubspot_contact_id"] for item in chosen if item["property"] is None} == {"102"}
    assert {item["hubspot_contact_id"] for item in chosen if item["property"]} == {"101", "102"}, "what the jump took is put back all the same"


def test_a_value_that_a_person_had_typed_in_salesforce_is_as_safe_as_one_typed_in_hubspot(tmp_path: Path) -> None:
    crm = jumped("SALESFORCE", "SALESFORCE")
    crm.connection.execute(
        """insert into raw.salesforce_field_history by name select 'h1' as history_id, $id as record_id, 'Lead' as object_type, 'Title' as field,
           $at as changed_at, $by as changed_by_id, 'Boss' as old_value, 'CEO' as new_value, 'x' as pull""",
        {"id": lead_id(1), "at": day(1), "by": f"{TOM}AAC"},
    )
    publish(crm, tmp_path / "home")
    with served(tmp_path / "home") as address:
        visitor = Visitor(address)
        assert "Take the proposal for 1 safe case" in visitor.open("/cases").text
        (row,) = [text for text in case_page(visitor).texts("//table[@class='choice']/tbody/tr") if "jobtitle" in text]
        assert "CEO Tom Roth" in row and "Buyer the sync from Salesforce" in row


def test_no_step_that_enters_consent_is_taken_for_many_and_the_basket_says_whose_consent_its_files_change(tmp_path: Path) -> None:
    crm = jumped("FORM")
    crm.lead(2, created=day(3), modified=day(30.1), by=TOM, fields={"Title": "Buyer", "Fax": "1"}, email="p0@example.com")
    crm.salesforce_contact(9, created=day(4), modified=day(4), fields={"Title": "Buyer", "HasOptedOutOfEmail": "true"}, email="p0@example.com")
    publish(crm, tmp_path / "home")
    with served(tmp_path / "home") as address:
        visitor = Visitor(address)
        seen = figures(visitor.open("/basket/safe"))
        assert (seen["cases"], seen["values"], seen["conversions"]) == (1, 1, 0)
        put(visitor, case_page(visitor))
        page = visitor.open("/basket")
        assert figures(page)["conversions"] > 0
        (said,) = page.texts("//form[contains(@action, '/files')]//p[@class='notice unproven']")
        assert said.startswith("1 value is consent:") and "Ann Lee (hs_email_optout: true →" in said


def figures(page: Page) -> dict[str, int]:
    return {name: int(text) for name, text in zip(page.values("//main//@data-figure"), page.texts("//main//*[@data-figure]"), strict=True)}


def test_the_run_after_the_files_were_taken_ticks_off_what_was_done_and_says_what_was_not(home: Path, ann: Visitor) -> None:
    put(ann, case_page(ann))
    store = DecisionStore(home)
    store.put_into_basket("Ann", [{"case_id": "0" * 32, "hubspot_contact_id": None, "property": None, "value": None, "seen": None}])
    take(ann)
    assert "the next run looks" in ann.open("/basket").text
    store.note_taken("Ann", datetime(2026, 3, 29))  # the run began on the 30th
    page = ann.open("/basket")
    assert page.values("//@data-item") == ["late", "late", "done"]
    assert "not done" in page.text
    ann.send("/basket/remove", {"done": "1"})
    assert [item["case_id"] == "0" * 32 for item in store.basket("Ann")] == [False, False]


def test_the_next_case_opens_by_itself_and_the_decision_can_be_undone_where_it_is_named(home: Path, ann: Visitor) -> None:
    order = [address.rsplit("/", 1)[1] for address in ann.open("/cases").values("//td[@class='main-cell']/a/@href")]
    for number, case in enumerate(order, 1):
        page = ann.open(f"/cases/{case}")
        assert f"{number} of 3" in page.text
        form = page.document.xpath("//form[contains(@action, '/decisions') and .//input[@name='case']]")[0]
        fields = {one.get("name"): one.get("value") for one in form.xpath(".//input[@type='hidden']")}
        after = ann.send("/decisions", {**fields, "action": "acknowledge", "user": "Ann"})
        assert after.answer.url.removeprefix(ann.address) == (f"/cases/{order[number]}" if number < 3 else "/cases")
    click = after.values("//form[@class='undo']//input[@name='click']/@value")
    ann.send("/decisions/undo", {"click": click, "next": "/cases"})
    undone = {row["fingerprint"] for row in DecisionStore(home).read() if row["is_undone"]}
    assert order[2] in undone and order[1] not in undone


def test_acknowledging_ends_no_waiver_unless_somebody_says_so(home: Path, ann: Visitor) -> None:
    case = next(iter(ann.open("/cases").values("//input[@name='case']/@value")))
    until = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()
    ann.send("/decisions", {"case": case, "action": "waive", "reason": "later", "until": until, "user": "Ann", "next": "/cases"})
    said = ann.send("/decisions", {"case": case, "action": "acknowledge", "next": "/cases"})
    assert "acknowledging would end that" in said.text
    assert {row["action"] for row in DecisionStore(home).read()} == {"waive"}
    ann.send("/decisions", {"case": case, "action": "acknowledge", "waived_too": "1", "next": "/cases"})
    assert "acknowledge" in {row["action"] for row in DecisionStore(home).read()}


def test_everything_that_matches_is_decided_after_a_preview_with_counts(home: Path, ann: Visitor) -> None:
    fields = {"action": "acknowledge", "all": "1", "cases": "", "user": "Ann", "next": "/cases"}
    preview = ann.send("/decisions", fields)
    assert "Acknowledge all of them?" in preview.text and "3 cases" in preview.text
    assert DecisionStore(home).read() == []
    sure = preview.values("//input[@name='sure']/@value")[0]
    ann.send("/decisions", {**fields, "sure": sure})
    assert len([row for row in DecisionStore(home).read() if row["check_name"] != "person_case"]) == int(preview.texts("//@data-figure/..")[0].split()[0])


def test_the_basket_speaks_german(ann: Visitor) -> None:
    put(ann, case_page(ann))
    page = ann.open("/basket", **{"Accept-Language": "de"})
    assert "Der Korb von Ann" in page.text and "Dateien, in dieser Reihenfolge" in page.text
    ann.session.headers["Accept-Language"] = "de"
    with zipfile.ZipFile(io.BytesIO(ann.send("/basket/files", {}).answer.content)) as archive:
        left_out, for_hubspot = archive.read("left-out.csv"), archive.read("3-hubspot-contacts.csv").decode()
    assert left_out.startswith(b"\xef\xbb\xbfcase_id;"), "opens in German Excel"
    assert for_hubspot.startswith("Record ID,jobtitle"), "an import is the same everywhere"
