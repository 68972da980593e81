"""The page Settings: what is configured, what the data say, how many cases, what to do."""

from dataclasses import asdict
from pathlib import Path

from assets.connect.compare import Setting
from assets.published.policy_scores import read_scores
from assets.published.snapshot import open_snapshot
from assets.warehouse.portal_look import note_look
from pipelines.backtest import conclusions
from tests.crm import Crm, day, lead_id
from tests.desk.portal import Page, Visitor, publish, troubled

SETTINGS = (
    Setting("integration_user_id", None, "0055e000000Int1AAC", True, 1433, 2, is_contradiction=True),
    Setting("create_object", "lead", "lead", True, 31, 0, is_contradiction=False),
    Setting("inclusion_list_id", None, None, False, 0, 0, is_contradiction=False),
    Setting("mapping.jobtitle.rule", "two_way", "prefer_salesforce", True, 17, 1, is_contradiction=True),
    Setting("mapping.shoe_size__c", None, "Shoe_Size__c", True, 60, 0, is_contradiction=True),
    Setting("mapping.fax", "Fax", None, True, 0, 31, is_contradiction=True),
)


def looked(crm: Crm, at: float, *settings: Setting) -> None:
    note_look(crm.connection, day(at), "native", 100, [asdict(one) for one in settings])


def test_what_is_configured_stands_beside_what_the_data_say_with_cases_and_what_to_do(home: Path, ann: Visitor) -> None:
    crm = troubled()
    looked(crm, 30, *SETTINGS)
    publish(crm, home)
    page = ann.open("/settings")
    otherwise, agrees, untold = ([" | ".join(cells) for cells in _rows(page, place)] for place in (1, 2, 3))
    assert otherwise[0].startswith("Salesforce user that the integration writes as integration_user_id | not set | 0055e000000Int1AAC | 1,433 for, 2 against")
    assert "jobtitle rule | two-way | prefer Salesforce unless blank | 17 for, 1 against | wait: one full run alone saw it" in otherwise[1]
    assert "shoe_size__c mapped to | not listed | Shoe_Size__c" in otherwise[2]
    assert "fax mapped to | Fax | not mapped | 0 for, 31 against" in otherwise[3]
    assert "lead | lead | 31 for, 0 against" in agrees[0]
    assert "cannot be told" in untold[0] and "look it up in HubSpot" in untold[0]
    assert "100 contacts" in page.text


def _rows(page: Page, place: int) -> list[list[str]]:
    rows = page.document.xpath(f"(//main//section)[{place}]//tbody/tr")
    return [[" ".join(cell.text_content().split()) for cell in row.xpath("th|td")] for row in rows]


def test_what_two_full_runs_saw_is_to_be_mended_now(home: Path, ann: Visitor) -> None:
    crm = troubled()
    looked(crm, 30, SETTINGS[3])
    crm.end_run(day(31))
    looked(crm, 31, SETTINGS[3])
    publish(crm, home)
    assert "mend it" in ann.open("/settings").text
    assert "Regel" in ann.open("/settings", **{"Accept-Language": "de"}).text


def test_the_overview_says_when_the_settings_were_last_confirmed(home: Path, ann: Visitor) -> None:
    assert "not compared with the data yet" in ann.open("/").text
    assert "No full run has compared them" in ann.open("/settings").text
    crm = troubled()
    looked(crm, 30, SETTINGS[1])
    publish(crm, home)
    assert "1 setting was confirmed by the data, 30 Mar 2026" in ann.open("/").text
    crm.end_run(day(31))
    looked(crm, 31, *SETTINGS)
    publish(crm, home)
    assert "4 settings were otherwise than bindwatch.toml says, 31 Mar 2026" in ann.open("/").text
    assert "4 Einstellungen waren anders" in ann.open("/", **{"Accept-Language": "de"}).text


def test_the_back_test_says_which_settings_fit_as_it_does_in_the_terminal(home: Path, ann: Visitor) -> None:
    """The contact stayed bound to the older Lead while the newer one was edited: whoever says that bindings follow is wrong."""
    empty = Crm()
    empty.contact(bound=empty.lead(1))
    publish(empty, home)
    assert "Nothing could be judged yet" in ann.open("/settings").text
    crm = Crm()
    for number in range(1, 21, 2):
        email = f"p{number}@example.com"
        crm.lead(number, created=day(1), email=email)
        crm.lead(number + 1, created=day(2), modified=day(12), email=email)
        crm.contact(str(100 + number), bound=lead_id(number), email=email, synced=day(10))
    crm.end_run()
    crm.later()
    for number in range(1, 21, 2):
        crm.contact(str(100 + number), bound=lead_id(number), email=f"p{number}@example.com", synced=day(20))
    publish(crm, home)
    page = ann.open("/settings")
    rows = page.texts("//section[@id='backtest']//tbody/tr")
    assert len(rows) == 12 and all("sticky" in row for row in rows[:6])
    told = " ".join(conclusions(open_snapshot(home), read_scores(open_snapshot(home))))
    assert "Change it there" in told and "Change it there." in page.text
