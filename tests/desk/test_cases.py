"""People on the desk: the list in the order of the worklist, a case with everything about one, decisions about it, and finding somebody."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import lxml.html
import pytest
from markupsafe import escape

from assets.policy import Policy
from assets.published.decisions import Decision, DecisionStore, write_decisions
from assets.published.worklist import Filter
from review import near
from review.cases import CaseFilter
from review.desk_data import Desk
from review.finding import shown_as
from review.site import labelled, now
from review.words import VALUE_STATUS
from tests.crm import BOUND, RIVAL, Crm, day, jumped, lead_id
from tests.desk.portal import Visitor, Worlds, case_id, publish, publish_copy, served
from tests.test_findings_follow import pulled
from tests.test_sources import created, typed


def portal() -> Crm:
    """Ann is about to lose her title; Bob's record is unknown; two Leads share an address that no contact has; the setting lets contacts be deleted."""
    crm = Crm(on_contact_deleted="delete")
    crm.lead(1, fields={"Title": "CEO", "Company": "Acme, Inc.", "Phone": "+49 (89) 1234-567"}, modified=day(5))
    crm.lead(2, fields={"Title": "Buyer"}, modified=day(26))
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, synced=day(25))
    crm.contact("102", bound=lead_id(99), email="bob@example.com", properties={"firstname": "Bob", "lastname": "Krüger", "phone": "089 765 43 21"})
    crm.lead(3, name="Cy Doe", email="cy@example.com", owner="0055e000000Own1")
    crm.lead(4, name="Cy Doe", email="cy@example.com", owner="0055e000000Own1")
    return crm


@pytest.fixture
def published(worlds: Worlds) -> Path:
    """Instead of the desk's usual portal."""
    return worlds.home(portal)


def cases_of(home: Path, wanted: CaseFilter | None = None) -> list[dict[str, object]]:
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()  # its files go with it
    return snapshot.cases.find(wanted or CaseFilter())


def names(page: object) -> list[str]:
    return page.texts("//td[@class='main-cell']/a")  # type: ignore[attr-defined, no-any-return]


def test_the_list_is_of_people_in_the_order_that_was_published(shown: Path, reader: Visitor) -> None:
    desk = Desk(shown, lambda: DecisionStore(shown)).snapshot()
    order = [row["case_id"] for row in desk.query("select case_id from published.person_case order by rank")]
    assert [address.rsplit("/", 1)[1] for address in reader.open("/cases").values("//td[@class='main-cell']/a/@href")] == order
    assert len(order) == len(set(order)) > 3
    held = desk.query("select unnest(fingerprints) as fingerprint from main.open_case")
    findings = desk.query("select fingerprint from worklist where status <> 'resolved'")
    assert sorted(row["fingerprint"] for row in held) == sorted(row["fingerprint"] for row in findings), "each finding in exactly one case"


def test_today_begins_with_whom_comes_first_and_says_why(shown: Path, reader: Visitor) -> None:
    first = reader.open("/").texts("//ol[@class='today-list']/li")[0]
    assert first.startswith("Ann Lee") and "may jump at any moment; values are lost" in first
    german = reader.open("/", **{"Accept-Language": "de"}).texts("//ol[@class='today-list']/li")[0]
    assert "kann jederzeit springen; Werte gehen verloren" in german


@pytest.mark.parametrize(
    ("minutes", "check", "said"),
    [(10, "switch_imminent", "jumps in about 10 minutes"), (-1, "switch_imminent", "may jump at any moment"),
     (60 * 24 * 9, "contact_deleted_by_sync", "can be restored in HubSpot until 19 Mar 2026"),
     (60 * 24 * 9, "bound_record_deleted", "can be undeleted in Salesforce until 19 Mar 2026")],
)  # fmt: skip
def test_the_clock_of_a_case_ages_with_the_time(minutes: int, check: str, said: str) -> None:
    from review.casework import place_of
    from review.language import Language

    at = datetime(2026, 3, 10)
    case = {"at": at, "deadline_at": at + timedelta(minutes=minutes), "deadline_check": check, "status": "open", "severity": "block", "harm": "none",
            "urgency": "now"}  # fmt: skip
    assert place_of(case, Language("en")) == said


def test_a_case_shows_everything_open_about_somebody_with_one_list_of_steps(shown: Path, reader: Visitor) -> None:
    page = reader.open(f"/cases/{case_id(shown)}")
    assert page.texts("//h1") == ["Ann Lee"]
    checks = page.texts("//ul[contains(@class, 'open-findings')]/li/a[1]")
    assert "A contact is about to jump to another Salesforce record" in checks and len(checks) > 1
    assert len(page.document.xpath("//ol[@class='steps']")) == 1
    assert any(f"into {RIVAL}" in step or f"into {BOUND}" in step for step in page.texts("//ol[@class='steps']/li"))
    assert page.texts("//table[@class='compare']/thead//th")[0] == "field"
    assert page.document.xpath("//ol[@class='timeline']/li")


def test_a_finding_leads_to_its_case_and_keeps_its_address(shown: Path, reader: Visitor) -> None:
    found = next(case for case in cases_of(shown) if "101" in case["hubspot_contact_ids"])  # type: ignore[operator]
    for fingerprint in found["fingerprints"]:  # type: ignore[attr-defined]
        assert f"/cases/{found['case_id']}" in reader.open(f"/findings/{fingerprint}").values("//a/@href")


def test_a_matter_of_the_whole_portal_is_a_case_of_its_own(reader: Visitor) -> None:
    page = reader.open("/cases")
    assert "HubSpot deletes contacts together with their Salesforce records" in names(page)
    assert "1 matter of the whole portal" in page.text


def test_what_does_not_exist_is_no_empty_list(reader: Visitor) -> None:
    assert reader.open("/cases/nobody").status == 404
    for query in ("?urgency=never", "?status=gone", "?age=old", "?sort=colour"):
        assert reader.open(f"/cases{query}").status == 400


# ── decisions ──


def decide(ann: Visitor, case: str | list[str], action: str, **fields: object) -> object:
    return ann.send("/decisions", {"action": action, "case": case, "next": "/cases?status=all", "user": "Ann", **fields})


def test_a_waiver_of_a_case_is_written_for_each_finding_that_it_holds_and_ends_with_them(home: Path, ann: Visitor) -> None:
    held = next(case for case in cases_of(home) if "101" in case["hubspot_contact_ids"])["fingerprints"]  # type: ignore[operator]
    until = f"{datetime.now(UTC) + timedelta(days=40):%Y-%m-%d}"
    assert f"{len(held)} findings waived" in decide(ann, case_id(home), "waive", reason="twins", until=until).text  # type: ignore[arg-type, attr-defined]
    assert {row["fingerprint"] for row in DecisionStore(home).read()} == set(held)  # type: ignore[call-overload]
    assert "Ann Lee" not in names(ann.open("/cases"))
    assert names(ann.open("/cases?status=all"))[-1] == "Ann Lee", "at the end, but there"
    assert "Ann Lee" in names(ann.open("/cases?status=waived"))


def changed() -> Crm:
    """What was open about Ann is gone, something else has come."""
    crm = Crm(on_contact_deleted="delete")
    crm.lead(1)
    crm.contact(bound=BOUND, properties={"salesforcedeleted": "true"})
    return crm


def test_whoever_takes_care_of_somebody_takes_care_of_what_comes_later(home: Path, ann: Visitor, worlds: Worlds) -> None:
    decide(ann, case_id(home), "assign", owner="Bea")
    decide(ann, case_id(home), "acknowledge")
    publish_copy(worlds.home(changed), home)
    case = next(case for case in cases_of(home) if "101" in case["hubspot_contact_ids"])  # type: ignore[operator]
    assert case["check_names"] == ["salesforce_deleted_flag"], "what was decided about is gone, something else has come"
    assert (case["owner"], case["status"]) == ("Bea", "acknowledged")


def test_a_decision_that_becomes_visible_late_changes_the_list_all_the_same(home: Path) -> None:
    """Two people decide at once; the lower number is committed last."""
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()
    findings = {finding["fingerprint"]: finding for finding in snapshot.worklist.find(Filter())}
    first, second = (findings[case["fingerprints"][0]] for case in snapshot.cases.find(CaseFilter())[:2])
    store, read_after = snapshot.worklist.store, snapshot.worklist.store.read_after
    store.record([Decision("assign", "Ann", first, owner="Bea"), Decision("assign", "Bob", second, owner="Cy")])

    def owners() -> list[object]:
        snapshot.worklist.refresh()
        snapshot.cases.refresh()
        return [case["owner"] for case in snapshot.cases.find(CaseFilter(), 2)]

    store.read_after = lambda decision_no: [row for row in read_after(decision_no) if row["owner"] != "Bea"]  # type: ignore[method-assign]
    assert owners() == [None, "Cy"]
    store.read_after = read_after  # type: ignore[method-assign]
    assert owners() == ["Bea", "Cy"]


def test_undo_takes_back_the_last_click_about_somebody_and_no_earlier_one(home: Path, ann: Visitor) -> None:
    decide(ann, case_id(home), "assign", owner="Bea")
    decide(ann, case_id(home), "acknowledge")
    decide(ann, case_id(home), "undo")
    case = next(case for case in cases_of(home) if "101" in case["hubspot_contact_ids"])  # type: ignore[operator]
    assert (case["owner"], case["status"]) == ("Bea", "open")


def test_everything_with_an_owner_in_salesforce_goes_to_a_colleague_at_once(home: Path, ann: Visitor) -> None:
    query = "?salesforce_owner=0055e000000Own1AAC"
    assert names(ann.open(f"/cases{query}")) != names(ann.open("/cases"))
    matching = len(names(ann.open(f"/cases{query}")))
    fields = {"action": "assign", "all": "1", "cases": query, "owner": "Bea", "user": "Ann", "next": f"/cases{query}"}
    ann.send("/decisions", {**fields, "sure": ann.send("/decisions", fields).values("//input[@name='sure']/@value")[0]})
    assert len(names(ann.open("/cases?owner=Bea"))) == matching > 0
    assert len(names(ann.open("/cases?owner=-"))) == len(names(ann.open("/cases"))) - matching


def test_the_second_steward_sees_what_the_first_decided_before_it_is_overwritten(home: Path, ann: Visitor) -> None:
    page = ann.open(f"/cases/{case_id(home)}")
    (seen,) = page.values("//form[contains(@action, '/decisions')]//input[@name='seen']/@value")
    with served(home) as address:
        decide(Visitor(address), case_id(home), "assign", owner="Bea", user="Cleo")
    answer = decide(ann, case_id(home), "assign", owner="Dan", seen=seen)
    assert answer.status == 409 and "Cleo assigned it to Bea." in answer.text  # type: ignore[attr-defined]
    assert {case["owner"] for case in cases_of(home) if "101" in case["hubspot_contact_ids"]} == {"Bea"}  # type: ignore[operator]
    shown = answer
    fields = {name: shown.values(f"//input[@name='{name}']/@value") for name in ("case", "finding", "seen")}  # type: ignore[attr-defined]
    ann.send("/decisions", {"action": "assign", "owner": "Dan", "user": "Ann", "next": "/cases", **fields})
    last = {row["fingerprint"]: row["owner"] for row in DecisionStore(home).read()}
    assert set(last.values()) == {"Dan"} and case_id(home) in last, "pressed again, it is about the case as a whole, too"


# ── find and slice ──


@pytest.mark.parametrize("text", ["Ann Lee", "lee ann", "ACME, inc.", "101", BOUND, RIVAL, "+49 89 1234567", "089/1234567"])
def test_somebody_is_found_by_name_company_id_and_phone_number(reader: Visitor, text: str) -> None:
    page = reader.send("/cases", {"text": text})
    assert names(page) == ["Ann Lee"] and page.status == 200


@pytest.mark.parametrize("text", ["+49 89 7654321", "0049 (0)89/765-4321", "089 7654321"])
def test_a_number_is_found_that_was_stored_without_its_country(reader: Visitor, text: str) -> None:
    assert names(reader.send("/cases", {"text": text})) == ["Bob Krüger"]


def test_one_case_that_matches_is_one_case(reader: Visitor) -> None:
    assert "about the one that matches, whether it is ticked or not" in reader.open("/cases?text=Krüger").text


def test_somebody_is_found_by_e_mail_that_stands_in_no_address(reader: Visitor, shown: Path) -> None:
    page = reader.send("/cases", {"text": " ANN@example.com"})
    assert page.answer.url.endswith(f"/cases/{case_id(shown)}")
    assert "Nothing is open about anybody" in reader.send("/cases", {"text": "nobody@example.com"}).text
    assert reader.open("/cases?text=ann@example.com").answer.url == page.answer.url, "not even when somebody types it there"


def test_facets_count_what_they_would_show_and_take_several_values(reader: Visitor) -> None:
    page = reader.open("/cases?urgency=now")
    counts = page.texts("//summary[text()='Urgency']/following-sibling::fieldset/label")
    assert len(counts) >= 2, "the other values can be added"
    for text in counts:
        label, number = text.rsplit(" ", 1)
        assert len(names(reader.open(f"/cases?urgency={label}"))) == int(number)
    assert len(names(reader.open("/cases?urgency=now&urgency=soon,later"))) == len(names(reader.open("/cases")))


def test_a_facet_counts_people_also_where_two_findings_of_a_check_are_about_one(home: Path, ann: Visitor) -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1), additional="second@example.com;third@example.com")
    crm.lead(2, email="second@example.com")
    crm.lead(3, email="third@example.com")
    publish(crm, home)
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()
    (case,) = [case for case in snapshot.cases.find(CaseFilter()) if case["check_names"].count("hubspot_merge_orphan") == 2]
    counted = {row["value"]: row["cases"] for row in snapshot.cases.facets(CaseFilter())["check"]}
    assert counted == {name: snapshot.cases.count(CaseFilter({"check": (name,)})) for name in set(case["check_names"])}


def test_how_long_something_is_open_is_not_what_it_was_hours_ago(home: Path) -> None:
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()
    young = CaseFilter({"age": ("day",)})
    since = snapshot.query("select max(since) as since from main.open_case")[0]["since"].replace(hour=0, minute=30)
    found = []
    for hours in (20, 23, 24, 25):  # most of them on one day
        snapshot.worklist._now, snapshot.worklist._moment, snapshot.worklist._seen_at = since + timedelta(hours=hours), None, None
        snapshot.worklist.connection.execute("update main.latest_run set seen_at = null")
        snapshot.worklist.refresh()
        snapshot.cases.refresh()
        of_facet = sum(row["cases"] for row in snapshot.cases.facets(CaseFilter())["age"] if row["value"] == "day")
        assert snapshot.cases.count(young) == of_facet == len(snapshot.cases.find(young, 50)) == len(snapshot.cases.find(young))
        found.append(of_facet)
    assert found[0] > found[-1]


@pytest.mark.parametrize("column", ["name", "deadline", "account", "salesforce_owner", "status", "owner", "since", "findings", "radius", "rank"])
def test_the_list_is_sorted_by_every_column_both_ways(reader: Visitor, column: str) -> None:
    up, down = names(reader.open(f"/cases?sort={column}")), names(reader.open(f"/cases?sort=-{column}"))
    assert sorted(up) == sorted(down)
    if column in ("name", "rank"):
        assert [name for name in up if name != up[-1]] and up != down


# ── pages agree ──

FIGURES = ("people", "findings", "about_to_jump", "jumped")


def with_a_jump() -> Crm:
    crm = Crm(on_contact_deleted="delete")
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, fields={"Title": "Buyer"})
    jumped(crm)
    crm.contact("102", bound=lead_id(99), email="bob@example.com")
    return crm


def test_every_page_says_the_same_number_of_people_and_of_jumps(worlds: Worlds) -> None:
    ann = worlds.reader(worlds.home(with_a_jump))

    def said(path: str) -> dict[str, str]:
        page = ann.open(path)
        return {name: page.texts(f"//*[@data-figure='{name}']")[0] for name in FIGURES}

    figures = said("/")
    assert int(figures["people"]) > 1 and int(figures["jumped"]) >= 1
    for path in ("/cases", "/findings", "/damage", "/cases?urgency=later", "/findings?severity=warn"):
        assert said(path) == figures, path
    listed = ann.open("/cases")
    assert len(names(listed)) == int(figures["people"]) + int(re.search(r"(\d+) matter", listed.text)[1])  # type: ignore[index]
    assert ann.open("/findings").texts("//*[@class='count']")[0].startswith(f"{figures['findings']} finding")
    assert f"{figures['jumped']} contact" in ann.open("/damage").texts("//div[@class='figure']")[0]


def test_what_a_jump_took_is_said_once_and_value_by_value(worlds: Worlds) -> None:
    for world, said in ((typed, "jobtitle leave it: Buyer typed"), (created, "jobtitle Buyer → CEO nobody can say")):
        home = worlds.home(world)
        page = worlds.reader(home).open(f"/cases/{case_id(home)}")
        asked = page.values("//a[contains(@href, '/export/restore.zip')]/@href")
        assert [one.endswith("&with_unclear=1") for one in asked] == ([True] if "nobody" in said else []), "the plan holds what the step names"
        assert not any("(rule" in text for text in page.texts("//ol[@class='steps']/li")), "rules stand under Evidence"
        assert any(text.startswith(said) for text in page.texts("//ol[@class='steps']//ul[@class='values']/li"))
        steps = page.texts("//ol[@class='steps']/li")
        assert sum("ut back" in text for text in steps) == 1, steps
        assert len(steps) == len(set(steps))


def test_what_a_jump_brought_back_itself_is_not_to_be_put_back(home: Path, ann: Visitor) -> None:
    """The contact jumped away before the first run, and back after it: what the second jump replaced is the other record's."""
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, created=day(3), modified=day(19), fields={"Title": "Buyer"})
    crm.contact(bound=RIVAL, since=day(20), synced=day(20), properties={"jobtitle": "Buyer"})
    crm.history("101", "salesforceleadid", (day(2), BOUND))
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"), (day(20), "Buyer"))
    crm.end_run()
    crm.later()
    crm.lead(1, modified=day(30.1), fields={"Title": "CEO"})
    crm.connection.execute("delete from raw.hubspot_contact")
    crm.contact(bound=BOUND, since=day(30.2), synced=day(30.2), properties={"jobtitle": "CEO"})
    crm.history("101", "jobtitle", (day(30.2), "CEO"))
    publish(crm, home)
    steps = ann.open(f"/cases/{case_id(home)}").texts("//ol[@class='steps']/li")
    assert not [step for step in steps if "CEO" in step or "Buyer" in step], steps
    assert "What the jump took is there again, or was accepted: nothing has to be put back." in steps


def test_the_desk_has_words_for_whatever_becomes_of_a_value() -> None:
    (model,) = Path("assets/models/sql").rglob("restorable_value.sql")
    text = model.read_text("utf-8")
    named = set(re.findall(r"then '([a-z_]+)'", text[text.index("case\n        when state is distinct") :].partition("end as status")[0]))
    assert named - {"back", "accepted"} <= set(VALUE_STATUS), "a page without them would end as a bug"


# ── together ──


def test_a_search_that_finds_nobody_says_so(reader: Visitor) -> None:
    page = reader.send("/cases", {"text": "occurs nowhere"})
    assert page.status == 200 and "No case matches." in page.text
    assert names(reader.send("/cases", {"text": "(000) 00-0"})) == [], "zeros are no phone number that everybody has"


def test_a_list_with_a_name_is_there_for_everybody_until_it_is_removed(home: Path, ann: Visitor) -> None:
    ann.send("/views", {"cases": "?urgency=now", "name": " Morning  round ", "user": "Ann"})
    with served(home) as address:
        bob = Visitor(address)
        page = bob.open("/cases")
        assert page.texts("//nav[@aria-label='Saved views']/a") == ["Morning round"]
        (there,) = page.values("//nav[@aria-label='Saved views']/a/@href")
        assert names(bob.open(there)) == names(ann.open("/cases?urgency=now"))
        bob.send("/views", {"cases": "?urgency=now", "name": "Morning round", "remove": "1"})
    assert not ann.open("/cases").texts("//nav[@aria-label='Saved views']/a")


def test_a_person_who_takes_care_has_one_spelling(home: Path, ann: Visitor) -> None:
    decide(ann, case_id(home), "assign", owner="Bea Baker")
    decide(ann, case_id(home, "102"), "assign", owner="bea baker")
    assert {case["owner"] for case in cases_of(home)} == {"Bea Baker", None}


def test_who_comes_again_sees_what_others_did_meanwhile(home: Path, ann: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Since you were here last" not in ann.open("/").text
    moment = now()
    with served(home) as address:
        Visitor(address).send("/decisions", {"action": "assign", "case": case_id(home), "owner": "Bea", "user": "Cleo", "next": "/"})
    monkeypatch.setattr("review.visitors.now", lambda: moment + timedelta(hours=2))
    page = ann.open("/")
    assert "Since you were here last" in page.text and "Cleo assigned it to Bea. Ann Lee" in page.text


def test_who_may_waive_can_be_limited_to_a_group_of_the_proxy(home: Path) -> None:
    until = f"{datetime.now(UTC) + timedelta(days=40):%Y-%m-%d}"
    waiver = {"action": "waive", "case": case_id(home), "reason": "twins", "until": until, "next": "/cases"}
    with served(home, user_header="X-User", groups_header="X-Groups", deciders=("leads", "heads")) as address:
        for groups in ({}, {"X-Groups": "crm"}, {"X_Groups": "leads"}):
            ann = Visitor(address, **{"X-User": "Ann", **groups})
            assert not ann.open(f"/cases/{case_id(home)}").values("//button[@value='waive']")
            assert "limited to a group that you are not in" in ann.send("/decisions", waiver).text
        assert DecisionStore(home).read() == []
        head = Visitor(address, **{"X-User": "Hed", "X-Groups": "crm, heads"})
        assert head.open(f"/cases/{case_id(home)}").values("//button[@value='waive']")
        head.send("/decisions", waiver)
    assert {row["decided_by"] for row in DecisionStore(home).read()} == {"Hed"}


def test_cases_belong_to_the_records_owner_where_the_policy_says_so(home: Path, ann: Visitor) -> None:
    crm = portal()
    crm.policy = Policy.model_validate({"desk": {"assign_by_owner": True}, "policy": {"on_contact_deleted": "delete"}})
    crm.connection.execute(
        "insert into raw.salesforce_user (user_id, name, is_active, user_type, pull) "
        "values (main.salesforce_id18('0055e000000Own1'), 'Olga Own', true, 'Standard', 'x')"
    )
    publish(crm, home)
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()
    published = snapshot.query("select case_id, owner from published.person_case")
    assert {shown_as(snapshot, "salesforceownerid", id) for id in ("0055e000000Own1", "0055e000000Own1AAC")} == {"Olga Own"}, "HubSpot may hold either"
    assert {row["case_id"]: row["owner"] for row in published} == {case["case_id"]: case["owner"] for case in cases_of(home)}
    before = {str(case["case_id"]): case["owner"] for case in cases_of(home)}
    assert sorted(before.values(), key=str) == [None, None, "Olga Own", "Olga Own"], "hers are Ann and both Cy; Bob's record and the portal belong to nobody"
    decided = next(case for case, owner in before.items() if owner)
    decide(ann, decided, "assign", owner="Bea")
    after = {str(case["case_id"]): case["owner"] for case in cases_of(home)}
    assert after == before | {decided: "Bea"}, "what somebody decided comes first, and changes nobody else's"


def test_what_was_decided_about_a_case_stands_in_what_is_published(home: Path, ann: Visitor) -> None:
    decide(ann, case_id(home), "assign", owner="Bea")
    decide(ann, case_id(home), "acknowledge")
    crm = changed()
    write_decisions(crm.connection, DecisionStore(home).read())
    publish(crm, home)
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()
    (case,) = snapshot.query("select owner, status, fingerprints from published.person_case where list_contains(hubspot_contact_ids, '101')")
    assert (case["owner"], case["status"]) == ("Bea", "acknowledged")
    (finding,) = snapshot.worklist.find(Filter(fingerprints=tuple(case["fingerprints"])))
    assert (finding["owner"], finding["status"]) == ("Bea", "acknowledged"), "the list of findings and the terminal say the same"


def labelled_portal() -> Crm:
    """The title of one rival reads like a sentence that names a field."""
    crm = portal()
    crm.lead(5, email="di@example.com", fields={"Title": "CEO"}, modified=day(5))
    crm.lead(6, email="di@example.com", created=day(3), modified=day(4), fields={"Title": "jobtitle: none"})
    crm.contact("105", bound=lead_id(5), email="di@example.com", properties={"jobtitle": "CEO"}, synced=day(12))
    crm.connection.execute("insert into raw.field_label values ('contact', 'jobtitle', 'Stellung'), ('Lead', 'Title', 'Position')")
    return crm


def test_fields_have_the_portals_own_labels_and_their_names_behind_them(worlds: Worlds) -> None:
    home = worlds.home(labelled_portal)
    page = worlds.reader(home).open(f"/cases/{case_id(home)}")
    assert any(text.startswith("Stellung jobtitle") for text in page.texts("//table[@class='compare']//th[@scope='row']"))
    assert "Position (Title)" in page.values("//table[@class='compare']//td/@title")


def test_a_sentence_names_fields_as_people_see_them_and_leaves_values_alone(worlds: Worlds) -> None:
    home = worlds.home(labelled_portal)
    (said,) = worlds.reader(home).open(f"/cases/{case_id(home, '105')}").texts("//ul//span[@class='quiet'][contains(., 'CEO')]")
    assert 'Stellung: "CEO" → "jobtitle: none"' in said


def test_sentences_about_others_name_fields_as_people_see_them_too(worlds: Worlds) -> None:
    home = worlds.home(labelled_portal)
    found = next(case for case in cases_of(home) if "101" in case["hubspot_contact_ids"])  # type: ignore[operator]
    for fingerprint in found["fingerprints"]:  # type: ignore[attr-defined]
        text = worlds.reader(home).open(f"/findings/{fingerprint}").text
        assert 'Stellung: "CEO"' in text and "jobtitle: " not in text


LABELS = {"jobtitle": "Stellung", "city": "Ort", "company": "Firma & Co", "HasOptedOutOfEmail": "<b>Abgemeldet</b>", "contract_end__c": "Vertragsende"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('loses jobtitle: "CEO" → "jobtitle: none"; city: nothing', 'loses Stellung: "CEO" → "jobtitle: none"; Ort: nothing'),
        ("the blanks were filled: city, company.", "the blanks were filled: Ort, Firma & Co."),
        ("the blanks were filled: jobtitle", "the blanks were filled: Stellung"),
        ("If not, correct HasOptedOutOfEmail in Salesforce, and contract_end__c.", "If not, correct <b>Abgemeldet</b> in Salesforce, and Vertragsende."),
        ("the city of a company & its jobtitle", "the city of a company & its jobtitle"),
        ("found: city, and more; company, city", "found: city, and more; company, city"),
        ('"city" "company: 1, HasOptedOutOfEmail"', '"city" "company: 1, HasOptedOutOfEmail"'),
    ],
)
def test_a_field_is_known_by_how_a_sentence_names_it(text: str, said: str) -> None:
    shown = labelled(str(escape(text)), LABELS)
    assert lxml.html.fromstring(f"<p>{shown}</p>").text_content() == said
    assert "<b>" not in shown


# ── generated worlds ──


def test_the_desk_shows_generated_worlds_as_they_were_published(tmp_path: Path) -> None:
    worlds = pulled(5, 12)
    publish(SimpleNamespace(build=lambda: worlds), tmp_path)  # type: ignore[arg-type]
    snapshot = Desk(tmp_path, lambda: DecisionStore(tmp_path)).snapshot()
    cases = snapshot.cases.find(CaseFilter())
    published = snapshot.query("from published.person_case order by rank")
    same = ("case_id", "urgency", "harm", "severity", "deadline_at", "status", "owner", "fingerprints")
    assert len(cases) > 10 and [{name: case[name] for name in same} for case in cases] == [{name: case[name] for name in same} for case in published]
    held = [fingerprint for case in cases for fingerprint in case["fingerprints"]]
    assert sorted(held) == sorted(row["fingerprint"] for row in snapshot.worklist.find(Filter())), "each finding in exactly one case"
    with served(tmp_path) as address:
        ann = Visitor(address)
        said = {path: ann.open(path).texts("//*[@data-figure]") for path in ("/", "/cases", "/findings", "/damage")}
        assert len({tuple(figures) for figures in said.values()}) == 1, said
        some = [case["case_id"] for case in cases[::3]]
        decide(ann, some, "waive", reason="twins", until=f"{datetime.now(UTC) + timedelta(days=400):%Y-%m-%d}")
    decided = {row["fingerprint"] for row in DecisionStore(tmp_path).read()}
    may = {finding["fingerprint"] for finding in snapshot.worklist.find(Filter(statuses=())) if finding["severity"] != "unproven"}
    assert decided == {name for case in cases for name in case["fingerprints"] if case["case_id"] in some} & may
    snapshot.worklist.refresh()
    snapshot.cases.refresh()
    after = snapshot.cases.find(CaseFilter())
    assert {case["case_id"] for case in after} == {case["case_id"] for case in cases}
    waived = [case["status"] == "waived" for case in after]
    assert any(waived) and waived == sorted(waived), "they come last"
    others = [case["case_id"] for case in cases if case["case_id"] not in some]
    assert [case["case_id"] for case in after if case["case_id"] in others] == others, "a decision moves its own case alone"


@pytest.mark.usefixtures("own_near")
def test_a_snapshot_that_takes_more_memory_than_was_thought_is_opened_all_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [case["case_id"] for case in cases_of(home)]
    monkeypatch.setattr(near, "_MEMORY_TO_COPY", "1MB")
    monkeypatch.setattr(near, "_MEMORY", "1MB")
    assert [case["case_id"] for case in cases_of(home)] == expected


def test_a_page_says_of_a_jump_what_the_models_say_of_it(home: Path) -> None:
    snapshot = Desk(home, lambda: DecisionStore(home)).snapshot()
    texts = [None, "", "a", "A ", "true", "false", "0", "1", "1.0", "2026-03-01", "1772323200000"]
    told = snapshot.query(
        """select field.property, field.object_type, hubspot_value, salesforce_value,
                  main.switch_effect(hubspot_value, salesforce_value, field, policy) as effect
           from near.mapped_field as field cross join published.policy as policy
           cross join (select unnest($texts::varchar[]) as hubspot_value) cross join (select unnest($texts::varchar[]) as salesforce_value)""",
        {"texts": texts},
    )
    assert len({row["effect"] for row in told}) > 3
    assert snapshot.effects.of(told) == [row["effect"] for row in told]
