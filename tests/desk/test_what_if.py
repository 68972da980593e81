"""What if, at the desk: a list that somebody hands in, or the records of people in a list of cases."""

import csv
from pathlib import Path

from sandbox.world import id18
from tests.crm import BOUND, RIVAL, Crm, lead_id
from tests.desk.portal import Page, Visitor, publish


def duplicates() -> Crm:
    """A contact bound to one of two Leads with other titles; nothing about it is open."""
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, fields={"Title": "Buyer"}, name="Anna Lee")
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    return crm


def ask(ann: Visitor, content: str) -> Page:
    token = ann.open("/rules").values("//input[@name='form_token']/@value")[0]
    files = {"list": ("touched.csv", content, "text/csv")}
    return Page(ann.session.post(f"{ann.address}/what-if", data={"form_token": token}, files=files, timeout=20))


def figures(page: Page) -> dict[str, str]:
    return {one.get("data-figure"): one.text for one in page.document.xpath("//b[@data-figure]")}


def test_a_list_is_answered_with_names_values_and_the_same_figures_as_in_the_terminal(home: Path, ann: Visitor, tmp_path: Path) -> None:
    publish(duplicates(), home)
    page = ask(ann, f"Id\n{RIVAL}\n{BOUND}x\n")
    assert "Contacts would jump to other records." in page.text
    assert figures(page) == {"switch": "1", "may_switch": "0", "lost": "1", "consents": "0", "spread": "0"}
    first, second = page.texts("//table[contains(@class, 'judged')]/tbody/tr")
    assert "jumps Anna Lee" in first and "Ann Lee" in first and "CEO → Buyer" in first
    assert "invalid" in second and f"The id {BOUND}x is no Salesforce id: it has 19 characters" in second
    (link,) = page.values("//a[contains(@href, '/lines.csv')]/@href")
    (row, _) = list(csv.DictReader(ann.open(link).answer.text.splitlines()))
    assert (row["outcome"], row["contact_name"], row["record_name"], row["hubspot_value"]) == ("switch", "Ann Lee", "Anna Lee", "CEO")
    address = page.answer.url.removeprefix(ann.address)
    assert len(ann.open(f"{address}?outcome=invalid").texts("//table[contains(@class, 'judged')]/tbody/tr")) == 1
    ann.session.headers["Accept-Language"] = "de"
    assert "Die Verknüpfung springt zu ihm." in ann.open(address).text
    reasons = [row["reason"] for row in csv.DictReader(ann.open(f"{link}?as=comma").answer.text.splitlines())]
    assert reasons[1].startswith(f"Die ID {BOUND}x ist keine Salesforce-ID: 19 Zeichen"), "a file says it in the same language as the page"


def test_owners_are_people_and_a_line_that_nobody_can_judge_is_no_promise(home: Path, ann: Visitor) -> None:
    crm = duplicates()
    crm.user("0055e000000Own1", "Olga Own")
    crm.user("0055e000000Own2", "Otto Own")
    crm.lead(3, fields={"OwnerId": id18("0055e000000Own2")}, email="bo@example.com")
    crm.lead(4, email="bo@example.com")
    crm.contact("102", bound=lead_id(4), email="bo@example.com", properties={"salesforceownerid": "0055e000000Own1"})
    publish(crm, home)
    assert "Olga Own → Otto Own" in ask(ann, f"Id\n{lead_id(3)}\n").text
    page = ask(ann, f"Id\n{BOUND}\n{lead_id(99)}\n")
    assert "1 line cannot be judged" in page.text and page.values("//div[contains(@class, 'notice problem')]/@role")


def test_the_people_of_a_list_of_cases_are_asked_about(ann: Visitor) -> None:
    def of(which: str) -> dict[str, str]:
        return figures(ann.send("/what-if", {"cases": "", "of": which}))

    assert "Say what would happen" in ann.open("/cases").text
    assert of("unbound")["switch"] == "1"
    assert of("all")["may_switch"] == "1", "of the bound record and its duplicate the one written last wins"
    assert of("Contact")["switch"] == "0"
    assert ann.send("/what-if", {"cases": "?status=nonsense", "of": "all"}).status == 400


def test_what_is_no_list_is_refused_in_the_readers_language(ann: Visitor) -> None:
    assert "The list holds no Salesforce id. It needs one id a line, with 15 or 18 characters. 30935 is a record id" in ask(ann, "Record ID\n30935\n").text
    ann.session.headers["Accept-Language"] = "de"
    assert "Diese Liste ist nicht lesbar: die Datei ist leer" in ask(ann, "").text or "enthält keine Salesforce-ID" in ask(ann, "").text
    assert "Es wurde keine Datei gewählt" in ann.send("/what-if", {}).text
