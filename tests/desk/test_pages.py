"""What the pages say: the overview, the worklist, a finding, the rules; in two languages."""

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.published.decisions import Decision, DecisionStore
from assets.published.worklist import Worklist
from tests.crm import BOUND, RIVAL, Crm, day, lead_id
from tests.desk.portal import (
    EVIL,
    Visitor,
    Worlds,
    calm,
    fingerprint,
    publish,
    publish_again,
    publish_copy,
    pull,
    served,
    sixty_unknown,
)
from tests.homes import copy_of
from tests.test_causes import EVA
from tests.test_sources import BEFORE_JUMP, typed


def people() -> Crm:
    """Each with a story of their own; Ro's is over when the second run comes."""
    crm = Crm(on_lead_deleted="delete")

    def bound(contact: str, record: int, email: str, rival: int | None = None, **changes: Any) -> None:
        crm.lead(record, email=email, modified=day(5))
        if rival is not None:
            crm.lead(rival, email=email, created=day(3), modified=day(4))
        crm.contact(contact, bound=lead_id(record), email=email, synced=day(12), **changes)

    # Tim's binding jumped, his title was overwritten, a record was merged into his
    bound("110", 11, "tim@example.com", 12)
    crm.history("110", "jobtitle", (day(2), "CEO", "FORM"), (day(3), "Buyer"))
    crm.lead(13, email="tim@example.com", merged_into=lead_id(11), modified=day(6), created=day(1.5))
    crm.history("110", "salesforceleadid", (day(1.5), lead_id(12)))

    # Ona was two contacts, and what was written to one stands in both histories; a record that two others were bound to was merged into hers
    bound("120", 21, "ona@example.com", 22, merged_ids="129")
    crm.lead(23, email="ona@example.com", merged_into=lead_id(21), modified=day(6), created=day(1.5))
    for contact in ("121", "122"):
        crm.contact(contact, email=f"{contact}@example.com", bound=lead_id(23))
    crm.history("120", "jobtitle", (day(2), "CEO", "FORM"), (day(3), "Buyer"))
    crm.history("129", "jobtitle", (day(3), "Buyer"))
    crm.contact("123", bound=lead_id(21), email="eve@example.com")

    # Lou has a long story
    bound("130", 31, "lou@example.com", 32)
    crm.history("130", "jobtitle", *((day(2 + number / 10), f"title {number}") for number in range(30)))

    # Gil has eleven records
    bound("140", 41, "gil@example.com")
    for number in range(42, 52):
        crm.lead(number, email="gil@example.com")

    # to Kim's rival somebody else is bound
    crm.lead(61, email="kim@example.com", modified=day(5))
    crm.lead(62, email="kim@example.com", created=day(3), modified=day(4), fields={"Title": "Buyer"})
    crm.contact("160", bound=lead_id(61), email="kim@example.com", properties={"jobtitle": "CEO"}, synced=day(12))
    crm.contact("161", bound=lead_id(62), email="someone@example.com")

    # Dot's rival was edited between two pulls
    bound("170", 71, "dot@example.com", 72)
    crm.pull("salesforce", "Lead")
    crm.lead(72, created=day(3), modified=day(12.5), fields={"Title": "Buyer"}, email="dot@example.com", by="0055e000000Usr9AAC")

    crm.contact("180", bound=lead_id(99), email="ro@example.com")
    crm.end_run(day(31))
    crm.connection.execute("delete from raw.hubspot_contact where id = '180'")
    return crm


def followed() -> Crm:
    """Of a jump, with Salesforce's field history."""
    crm = typed()
    crm.tracked(RIVAL, (BEFORE_JUMP, "Title", EVA, "Clerk", "Buyer"))
    return crm


# ── overview ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_overview_says_the_verdict_what_is_open_and_what_is_new(reader: Visitor) -> None:
    page = reader.open()
    assert page.texts("//h1") == ["Unsafe"]
    assert page.texts("//table[@class='counts']/tbody/tr") == [
        "blocks A contact is bound to a Salesforce record that nobody has ever seen bound_record_unknown 1 1 1",
        "blocks A duplicate could take over a contact's binding and change or spread its values unsafe_duplicate 1 1",
    ]
    assert page.texts("//*[@class='figure']") == ["1 new", "0 reopened or worse", "0 resolved", "0 waived"]
    assert "Oldest open finding blocks A duplicate could take over" in page.text
    assert len(page.document.xpath("//*[name()='rect']")) >= 2, "a bar for each run"


def test_the_overview_says_what_the_verdict_does_not_know(reader: Visitor) -> None:
    assert "HubSpot archived contacts 30 Mar 2026, 00:00 UTC 2 histories of 3 contacts" in reader.open().text


def test_the_overview_says_how_many_fields_are_compared_and_warns_where_none_is_consent(home: Path, ann: Visitor) -> None:
    publish_again(home, fields_compared=22, consent_fields=["hs_email_optout", "newsletter"])
    assert "22 fields are compared, hs_email_optout, newsletter as consent." in ann.open().text
    publish_again(home, fields_compared=21, consent_fields=[], never_compared=["email", "salesforceaccountid"])
    page = ann.open()
    (warning,) = [text for text in page.texts("//section[@class='verdict fail']//*[@class='stale']") if "consent" in text]
    assert "21 fields are compared, and none of them is consent" in warning
    assert "The policy names email; it is never compared, because it is the key." in page.text
    german = ann.open("/", **{"Accept-Language": "de"}).text
    assert "keines davon ist eine Einwilligung" in german and "denn es folgt dem Datensatz" in german


def test_a_run_that_could_not_be_completed_is_unmistakable_on_every_page(home: Path, ann: Visitor) -> None:
    coverage = {"salesforce": [pull("Lead", complete=False, problem="a bulk job brought 3 of 5 rows")], "hubspot": []}
    publish_again(home, verdict="unproven", coverage=coverage, problem="HubSpot refused the token")
    page = ann.open()
    assert page.texts("//h1") == ["Not proven"]
    assert page.document.xpath("//section[@class='verdict unproven']")
    assert "Salesforce Leads incomplete 30 Mar 2026, 00:00 UTC 2 a bulk job brought 3 of 5 rows" in page.text
    assert "HubSpot not pulled" in page.text
    for path in ("/", "/findings", f"/findings/{fingerprint(home, 'unsafe_duplicate')}"):
        (alert,) = ann.open(path).texts("//*[@role='alert']")
        assert "proves nothing" in alert and "HubSpot refused the token" in alert
    assert "Unsafe" not in page.texts("//h1")


def test_an_old_run_is_said_to_be_old(reader: Visitor) -> None:
    assert "No run for more than 26 hours" in reader.open().text


def test_tables_that_were_rebuilt_alone_are_said_to_be_newer_than_the_page(home: Path, ann: Visitor) -> None:
    assert "rebuilt in Dagster" not in ann.open().text
    publish_again(home, rebuilt_since={"at": "2026-03-30T11:22:00Z", "run_id": "alone"})
    assert "Tables were rebuilt in Dagster alone, 30 Mar 2026, 11:22" in ann.open().text
    assert "einzeln neu gebaut, 30" in ann.open(**{"Accept-Language": "de"}).text


def test_a_green_run_is_green(worlds: Worlds) -> None:
    reader = worlds.reader(worlds.home(calm, "pass"))
    page = reader.open()
    assert page.texts("//h1") == ["Safe"]
    assert "Nothing is open." in page.text
    assert "No finding matches" in reader.open("/findings").text


def test_the_next_run_shows_without_a_restart(home: Path, ann: Visitor, worlds: Worlds) -> None:
    assert ann.open().texts("//h1") == ["Unsafe"]
    publish_copy(worlds.home(calm, "pass"), home)
    assert ann.open().texts("//h1") == ["Safe"]


def test_without_a_snapshot_the_desk_says_what_is_missing(tmp_path: Path) -> None:
    with served(tmp_path / "empty") as address:
        page = Visitor(address).open()
        assert page.status == 503
        assert "has no published snapshot yet" in page.text
        assert Visitor(address).open("/rules").status == 200


# ── worklist ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def titles(ann: Visitor, query: str) -> list[str]:
    return ann.open(f"/findings{query}").texts("//td[@class='main-cell']/a")


UNSAFE = "A duplicate could take over a contact's binding and change or spread its values"
UNKNOWN = "A contact is bound to a Salesforce record that nobody has ever seen"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [UNSAFE, UNKNOWN]),
        ("?check=bound_record_unknown", [UNKNOWN]),
        ("?check=bound_record_unknown,unsafe_duplicate", [UNSAFE, UNKNOWN]),
        ("?suite=bindings", [UNKNOWN]),
        ("?severity=warn", []),
        ("?severity=warn&status=all", []),
        ("?status=resolved", []),
        ("?owner=bob", []),
        ("?owner=-", [UNSAFE, UNKNOWN]),
        ("?object=contact", [UNSAFE, UNKNOWN]),
        ("?object=Lead", []),
        ("?new=1", [UNKNOWN]),
        ("?text=HUBSPOT%20LOSES", [UNSAFE]),
        ("?text=102", [UNKNOWN]),
        (f"?text={RIVAL[:15]}", [UNSAFE]),
        ("?text=%ff%00", []),
        ("?since=2026-03-30T01:00", [UNKNOWN]),
        ("?page=99", [UNSAFE, UNKNOWN]),
        ("?page=-1", [UNSAFE, UNKNOWN]),
    ],
)
def test_every_filter_is_a_url(reader: Visitor, query: str, found: list[str]) -> None:
    assert titles(reader, query) == found


@pytest.mark.parametrize("query", ["?check=nonsense", "?status=gone", "?severity=high", "?object=Account"])
def test_a_filter_that_does_not_exist_is_no_empty_list(reader: Visitor, query: str) -> None:
    for path in ("/findings", "/export/worklist.csv"):
        page = reader.open(path + query)
        assert page.status == 400
        assert "does not exist" in page.text


def test_the_form_of_the_worklist_leads_to_the_url_that_says_the_same(reader: Visitor) -> None:
    page = reader.send("/findings", {"text": " hubspot loses ", "check": "unsafe_duplicate", "status": "", "owner": "-", "object": ""})
    assert page.answer.url.endswith("/findings?check=unsafe_duplicate&owner=-&text=hubspot+loses")
    assert page.texts("//td[@class='main-cell']/a") == [UNSAFE]
    assert page.values("//input[@name='text']/@value") == ["hubspot loses"]
    assert page.values("//select[@name='check']//option[@selected]/@value") == ["unsafe_duplicate"]


def test_an_e_mail_is_searched_for_and_never_stands_in_a_url(reader: Visitor, shown: Path) -> None:
    page = reader.send("/findings", {"text": " ANN@example.com"})
    assert page.answer.url.endswith(f"/findings?status=all&person={fingerprint(shown, 'unsafe_duplicate')}")
    assert page.texts("//td[@class='main-cell']/a") == [UNSAFE]
    assert reader.open("/findings?text=ann@example.com").answer.url == page.answer.url, "not even when somebody types it there"
    assert "No finding is about that e-mail" in reader.send("/findings", {"text": "nobody@example.com"}).text


def test_a_long_list_comes_in_pages(worlds: Worlds) -> None:
    reader = worlds.reader(worlds.home(sixty_unknown))
    first, second = reader.open("/findings?check=bound_record_unknown"), reader.open("/findings?check=bound_record_unknown&page=2")
    assert (len(first.texts("//tbody/tr")), len(second.texts("//tbody/tr"))) == (50, 10)
    assert not set(first.values("//input[@name='finding']/@value")) & set(second.values("//input[@name='finding']/@value"))
    assert first.values("//a[@rel='next']/@href") == ["/findings?check=bound_record_unknown&page=2"]
    assert second.values("//a[@rel='prev']/@href") == ["/findings?check=bound_record_unknown"]
    assert "60 findings" in first.text and "Page 1 of 2" in first.text


# ── a finding ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finding_says_what_is_wrong_why_what_to_do_and_what_happens_otherwise(reader: Visitor, shown: Path) -> None:
    page = reader.open(f"/findings/{fingerprint(shown, 'unsafe_duplicate')}")
    assert page.texts("//h1") == [UNSAFE]
    assert "An edit of 00Q5e0000000002EAA moves the binding there. HubSpot loses jobtitle:" in page.text
    assert "Any edit of a rival makes the binding jump to it." in page.text
    assert "Rule 11 The duplicate switch." in page.text, "the rule in words"
    assert page.values("//ul[@class='rules']//a[starts-with(@href, 'https')]/@href"), "and its source"
    assert page.texts("//ol[@class='steps']/li")[0] == f"Merge {RIVAL} into {BOUND}, the record that stays bound."
    assert "The first edit of a rival, by whomever, moves the binding" in page.text
    assert f"Predicted: The contact stays bound to {BOUND}." in page.text
    assert any("Rule 15, documented, confidence medium." in text for text in page.texts("//details")), "the rule stands under Evidence"


def test_contact_bound_record_and_rivals_stand_side_by_side_and_say_who_would_win(reader: Visitor, shown: Path) -> None:
    page = reader.open(f"/findings/{fingerprint(shown, 'unsafe_duplicate')}")
    assert page.texts("//table[@class='compare']/thead//th") == [
        "field", "HubSpot contact 101 live", f"Lead {BOUND} bound", f"Lead {RIVAL} rival"
    ]  # fmt: skip
    rows = {row[0]: row[1:] for row in ([*map(str.strip, cells)] for cells in _cells(page))}
    assert rows["jobtitle prefer Salesforce unless blank"] == ["CEO", "CEO", f"{EVIL} this value would win"]
    assert rows["phone prefer Salesforce unless blank"] == ["+49 2", "HubSpot's value would be written here", "+49 1 this value would win"]
    assert rows["firstname"] == ["Ann", "Ann", "Ann"]
    assert page.texts("//tr[@class='at-risk']/th") == ["phone prefer Salesforce unless blank", "jobtitle prefer Salesforce unless blank"]


def _cells(page: object) -> list[list[str]]:
    document = page.document  # type: ignore[attr-defined]
    return [[" ".join(cell.text_content().split()) for cell in row] for row in document.xpath("//table[@class='compare']/tbody/tr")]


def test_the_timeline_has_bindings_edits_merges_runs_and_decisions(worlds: Worlds, tmp_path: Path) -> None:
    home = copy_of(worlds.home(people), tmp_path / "home")
    found = fingerprint(home, "switchable_duplicate", "110")
    with served(home) as address:
        ann = Visitor(address)
        ann.decide(found, "acknowledge")
        said = [text.split(" UTC ", 1)[1] for text in ann.open(f"/findings/{found}").texts("//ol[@class='timeline']/li")]
    assert said[0] == "acknowledged · Ann"
    assert said[1] == "a run found this"
    assert f"{lead_id(13)} was merged into {lead_id(11)}" in said
    assert "jobtitle was changed in HubSpot, the sync from Salesforce CEO → Buyer" in said
    assert f"binding jumped from {lead_id(12)} to {lead_id(11)}" in said
    assert f"bound for the first time to {lead_id(12)}" in said
    assert "the HubSpot contact was created" in said


def test_what_happened_once_is_told_once(worlds: Worlds) -> None:
    """A record that two contacts were bound to was merged; a contact was merged in HubSpot, so what was written to one stands in both histories."""
    reader = worlds.reader(worlds.home(people))
    found = fingerprint(worlds.home(people), "switchable_duplicate", "120")
    case = reader.open(f"/findings/{found}").values("//main//a[contains(@href, '/cases/')]/@href")[0]
    told = reader.open(case).texts("//ol[@class='timeline']/li")
    assert sum(f"{lead_id(23)} was merged into {lead_id(21)}" in text for text in told) == 1
    assert [text.partition("Salesforce ")[2] for text in told if "jobtitle was changed" in text and "Buyer" in text] == ["CEO → Buyer"]
    assert sorted(set(told)) == sorted(told), "no line says what another one says"


def test_of_a_long_story_the_latest_is_in_sight_and_the_rest_behind_one_line(worlds: Worlds) -> None:
    page = worlds.reader(worlds.home(people)).open(f"/findings/{fingerprint(worlds.home(people), 'switchable_duplicate', '130')}")
    in_sight, older = (page.texts(f"//section/{where}ol[@class='timeline']/li") for where in ("", "details/"))
    assert len(in_sight) == 15 and f"{len(older)} more, before that" in page.text
    assert [f"title {number}" in " ".join(in_sight) for number in (29, 3)] == [True, False]
    assert all(any(f"→ title {number}" in text for text in [*in_sight, *older]) for number in range(30)), "nothing is left out"


def test_an_edit_in_salesforce_shows_as_the_difference_between_two_pulls(worlds: Worlds) -> None:
    page = worlds.reader(worlds.home(people)).open(f"/findings/{fingerprint(worlds.home(people), 'switch_imminent', '170')}")
    assert f"between 4 Mar 2026, 00:00 UTC and 12 Mar 2026, 12:00 UTC Title was changed {lead_id(72)} – → Buyer" in page.text, (
        "whoever came last need not have done it"
    )


def test_a_jump_says_what_stood_there_before_who_wrote_what_came_and_how_to_put_it_back(worlds: Worlds) -> None:
    page = worlds.reader(worlds.home(followed)).open(f"/findings/{fingerprint(worlds.home(followed), 'switch_happened')}")
    assert "before the jump" in page.texts("//table[@class='compare']//th")
    assert "Title was changed" in page.text
    assert "CEO the sync from Salesforce" in page.text
    assert "Buyer typed: it made the contact jump, Eva Lang, 30 Mar 2026" in page.text
    assert "bindwatch restore-plan --contact 101" in page.texts("//code")
    assert page.document.xpath("//input[@name='property']/@value") == ["jobtitle"]


def test_what_happened_is_accepted_on_the_desk_all_of_it_or_single_values(worlds: Worlds, tmp_path: Path) -> None:
    home = copy_of(worlds.home(followed), tmp_path / "home")
    found = fingerprint(home, "switch_happened")
    with served(home) as address:
        ann = Visitor(address)
        assert "needs a reason" in ann.decide(found, "accept").text
        ann.decide(found, "accept", accept_reason="promoted", property="jobtitle")
        assert DecisionStore(home).read()[-1]["properties"] == "jobtitle"
        ann.decide(found, "accept", accept_reason="promoted")
        assert "resolved: accepted" in ann.open(f"/findings/{found}").text


def test_all_findings_on_the_same_person_are_named(worlds: Worlds) -> None:
    page = worlds.reader(worlds.home(people)).open(f"/findings/{fingerprint(worlds.home(people), 'unsafe_duplicate', '160')}")
    others = page.texts("//ul[@class='others']/li/a")
    assert others == ["A contact is bound to a live record that has somebody else's e-mail"]
    assert "Other HubSpot contacts here: Ann Lee 161" in page.text


def test_a_finding_about_the_run_as_a_whole_has_a_page(worlds: Worlds) -> None:
    page = worlds.reader(worlds.home(people)).open(f"/findings/{fingerprint(worlds.home(people), 'deletion_setting_dangerous')}")
    assert page.status == 200
    assert "This finding is about no single person." in page.text


def test_a_resolved_finding_keeps_its_page(worlds: Worlds) -> None:
    page = worlds.reader(worlds.home(people)).open(f"/findings/{fingerprint(worlds.home(people), 'bound_record_unknown', '180')}")
    assert page.status == 200
    assert "It is resolved: there is nothing to decide." in page.text


def test_more_rivals_than_fit_are_counted(worlds: Worlds) -> None:
    page = worlds.reader(worlds.home(people)).open(f"/findings/{fingerprint(worlds.home(people), 'switchable_duplicate', '140')}")
    assert "5 more records are not shown." in page.text


def test_a_finding_leads_to_the_next_one_of_the_list_it_was_opened_from(shown: Path, reader: Visitor) -> None:
    unsafe, unknown = fingerprint(shown, "unsafe_duplicate"), fingerprint(shown, "bound_record_unknown")
    assert reader.open(f"/findings/{unsafe}").values("//nav[@class='walk']/a[@rel]/@href") == [f"/findings/{unknown}"]
    assert reader.open(f"/findings/{unknown}?severity=block").values("//nav[@class='walk']/a[@rel]/@href") == [f"/findings/{unsafe}?severity=block"]
    assert reader.open(f"/findings/{unsafe}?check=unsafe_duplicate").values("//nav[@class='walk']/a[@rel]/@href") == []


def test_the_first_characters_of_a_fingerprint_are_enough(shown: Path, reader: Visitor) -> None:
    assert reader.open(f"/findings/{fingerprint(shown, 'unsafe_duplicate')[:8]}").texts("//h1") == [UNSAFE]
    assert reader.open("/findings/zzzzzzzz").status == 404


# ── languages ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_browser_says_the_language_until_somebody_picks_one(reader: Visitor, shown: Path) -> None:
    german = reader.open("/", **{"Accept-Language": "de-AT,de;q=0.9,en;q=0.8"})
    assert german.texts("//h1") == ["Handlungsbedarf"]
    assert german.values("/html/@lang") == ["de"]
    page = reader.send("/language", {"language": "de", "next": f"/findings/{fingerprint(shown, 'unsafe_duplicate')}"})
    assert page.texts("//h1") == ["Ein Duplikat könnte die Verknüpfung eines Kontakts übernehmen und seine Werte ändern oder weitertragen"]
    assert "Wird 00Q5e0000000002EAA bearbeitet, springt die Verknüpfung dorthin. HubSpot verliert jobtitle:" in page.text
    assert page.texts("//ol[@class='steps']/li")[0].endswith("dem Masterdatensatz, der verknüpft bleibt.")
    assert "Regel 11 Der Duplikat-Wechsel." in page.text
    assert reader.open().texts("//h1") == ["Handlungsbedarf"], "and it stays"


def test_dates_and_numbers_are_written_as_the_language_does(home: Path, ann: Visitor) -> None:
    publish_again(home, coverage={"salesforce": [pull("Lead", rows=1234567)], "hubspot": []})
    assert "1,234,567" in ann.open().text and "30 Mar 2026, 00:00 UTC" in ann.open().text
    german = ann.open("/", **{"Accept-Language": "de"}).text
    assert "1.234.567" in german and "30.03.2026, 00:00 UTC" in german


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_rules_are_all_there_with_their_sources(reader: Visitor, language: str) -> None:
    page = reader.open("/rules", **{"Accept-Language": language})
    names = page.values("//dl/div/@id")
    assert [name for name in names if name.isdigit()] == [str(number) for number in range(1, 51)]
    assert len(page.values("//dd/a/@href")) >= 25


# ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows(ann: Visitor, path: str) -> list[dict[str, str]]:
    answer = ann.open(path).answer
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"))))


def test_the_list_as_it_is_filtered_is_exported_safe_for_a_spreadsheet(ann: Visitor, home: Path) -> None:
    assert [row["check_name"] for row in rows(ann, "/export/worklist.csv?check=bound_record_unknown")] == ["bound_record_unknown"]
    with served(home, mask_emails=False) as address:
        exported = rows(Visitor(address), "/export/worklist.csv")
    assert [row["email"] for row in exported] == ["ann@example.com", "'=bob@example.com"]
    assert [row["email"] for row in rows(ann, "/export/worklist.csv")] == ["a***@example.com", "'=***@example.com"]


def test_the_run_book_is_exported_step_by_step_in_the_readers_language(reader: Visitor) -> None:
    (step,) = rows(reader, "/export/run-book.csv")
    assert (step["step"], step["action"], step["master_id"], step["loser_id"]) == ("1", "merge", BOUND, RIVAL)
    assert step["reason"].startswith("Merge ")
    reader.send("/language", {"language": "de"})
    assert "zusammenführen" in rows(reader, "/export/run-book.csv?as=comma")[0]["reason"]
    assert rows(reader, "/export/run-book.csv?as=comma&check=bound_record_unknown") == []


def test_merges_are_exported_as_merge_tools_read_them(home: Path, ann: Visitor) -> None:
    crm = Crm()
    for number, modified in ((1, 1), (2, 4), (3, 2), (4, 3)):
        crm.lead(number, modified=day(modified))
    crm.contact(bound=BOUND, synced=day(12))
    # here a bound Lead must be converted first: nothing of it is for a merge tool yet
    for create in (crm.lead, crm.salesforce_contact):
        create(8, email="eve@example.com")
        create(9, email="eve@example.com")
    crm.contact("102", bound=lead_id(8), email="eve@example.com", synced=day(12))
    publish(crm, home)
    assert rows(ann, "/export/merges.csv") == [
        {"object_type": "Lead", "master_id": BOUND, "loser_id_1": lead_id(3), "loser_id_2": lead_id(4), "hubspot_contact_id": "101"},
        {"object_type": "Lead", "master_id": BOUND, "loser_id_1": lead_id(2), "loser_id_2": "", "hubspot_contact_id": "101"},
    ]


def test_a_home_that_is_copied_while_it_is_read_stays_readable(home: Path, ann: Visitor) -> None:
    """Runs publish and clean up while the desk has an older folder open."""
    assert ann.open().status == 200
    for _ in range(4):
        publish_again(home)
    assert ann.open("/findings").status == 200
    shutil.rmtree(home / "published")
    assert ann.open("/findings").status == 503


def test_a_decision_made_elsewhere_shows_at_once(home: Path, ann: Visitor) -> None:
    assert titles(ann, "") == [UNSAFE, UNKNOWN]
    store = DecisionStore(home)
    found = Worklist(home, store).find_one(fingerprint(home, "unsafe_duplicate"))
    store.record([Decision("assign", "Bob", found, owner="Carla")])
    assert "Carla" in ann.open("/findings").texts("//td[@data-label='owner']")


@pytest.mark.usefixtures("own_near")
def test_a_snapshot_of_an_older_version_is_no_bug_of_the_desk(home: Path) -> None:
    path = home / "published" / "current" / "hubspot_owner.parquet"
    duckdb.execute(f"copy (select * exclude (name) from read_parquet('{path}')) to '{path}.older' (format parquet)")
    Path(f"{path}.older").replace(path)
    with served(home) as address:
        page = Visitor(address).open("/cases")
        assert page.status == 503 and "published by an older version" in page.text
