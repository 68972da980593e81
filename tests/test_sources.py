"""Where a value comes from that a jump brought, what is put back for it, and how long it stays a finding."""

import csv
from pathlib import Path
from typing import Any

import pytest

from assets.published.decisions import Decision, DecisionStore, write_decisions
from assets.published.restore_plan import LEFT_ALONE, UNCLEAR, write_plan
from assets.published.snapshot import open_snapshot
from assets.warehouse.ledger import count_old_jumps
from pipelines import terminal
from tests.crm import BOUND, RIVAL, Crm, day, lead_id
from tests.desk.portal import publish
from tests.test_backtest import run_command
from tests.test_causes import EVA, INTEGRATION, MINUTE, TOM, watched

BEFORE_JUMP = day(30.2 - 10 * MINUTE)


def source(crm: Crm) -> tuple[str, str | None]:
    (row,) = crm.build().rows("core.value_source")
    return row["source"], row["by_user_name"]


def plan(crm: Crm) -> tuple[str, str]:
    (row,) = crm.build().rows("core.restorable_value")
    return row["status"], row["value_before"]


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_record_held_at_the_last_sync_is_foreign() -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA, "fields": {"Title": "Buyer", "Fax": "1"}})
    assert source(crm) == ("foreign", None)
    assert plan(crm) == ("restore", "CEO")


def typed(**changes: Any) -> Crm:
    """Somebody makes the rival's title Buyer, which was Clerk at the first run, and the contact jumps."""
    return watched({"modified": BEFORE_JUMP, "by": EVA, "fields": {"Title": "Buyer"}, **changes}, title="Clerk")


def test_the_edit_that_made_the_contact_jump_is_typed_and_left_alone() -> None:
    assert source(typed())[0] == "typed"
    assert plan(typed())[0] == "typed"


def test_who_typed_it_is_not_said_without_the_field_history() -> None:
    """Eva edited the record last. Automation that saves it, and changes nothing, would stand there, too."""
    assert source(typed()) == ("typed", None)


def test_what_the_integration_wrote_into_the_record_was_typed_by_nobody() -> None:
    assert source(typed(by=INTEGRATION)) == ("unclear", None)


def test_what_a_merge_may_have_brought_before_the_last_sync_is_unclear() -> None:
    """Nobody pulled the record between the merge and the edit that made the contact jump."""
    for survivor, expected in ((RIVAL, ("unclear", None)), (BOUND, ("typed", None))):
        crm = typed()
        crm.lead(9, merged_into=survivor, modified=day(30.1), fields={"Title": "Buyer"})
        crm.history("101", "salesforcelastsynctime", (day(30.15), f"{day(30.15):%Y-%m-%dT%H:%M:%SZ}"))
        assert source(crm) == expected


def test_the_field_history_says_when_it_was_typed_and_by_whom() -> None:
    crm = watched({"modified": day(30.2), "by": INTEGRATION, "fields": {"Title": "Buyer", "Phone": "1"}}, title="Clerk")
    crm.tracked(RIVAL, (BEFORE_JUMP, "Title", TOM, "Clerk", "Buyer"), (day(30.2), "Phone", INTEGRATION, None, "1"))
    (row,) = crm.build().rows("core.value_source")
    assert (row["source"], row["by_user_name"], row["typed_at"]) == ("typed", "Tom Roth", BEFORE_JUMP)


def test_a_tracked_field_that_nobody_changed_since_the_last_sync_is_foreign() -> None:
    """Although the version before it, which was pulled long ago, says otherwise."""
    crm = typed()
    crm.tracked(RIVAL, (day(20), "Title", TOM, "Clerk", "Buyer"), (BEFORE_JUMP, "Fax", EVA, None, "1"))
    assert source(crm) == ("foreign", None)


def test_without_an_earlier_sync_nothing_is_clear() -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.connection.execute("delete from raw.hubspot_property_version where property = 'salesforcelastsynctime'")
    crm.connection.execute("update raw.hubspot_property_version set changed_at = '2026-03-30T04:47:58Z' where value in ($1, 'CEO')", [BOUND])
    assert source(crm)[0] == "unclear"


def created(*others: int, by: str = EVA) -> Crm:
    crm = watched({"created": BEFORE_JUMP, "modified": BEFORE_JUMP, "by": by, "created_by": by}, created=30)
    for number in others:
        crm.lead(number, created=BEFORE_JUMP, modified=BEFORE_JUMP, created_by=by, email=f"p{number}@example.com")
    return crm


def test_of_a_record_that_a_person_created_alone_nothing_is_clear() -> None:
    assert source(created()) == ("unclear", None)
    assert plan(created()) == ("unclear", "CEO")
    (finding,) = created().findings("switch_happened")
    assert "`bindwatch restore-plan --contact 101 --with-unclear`" in finding["action"], "the command that it names has the value"


def test_a_record_of_an_import_or_of_the_integration_corrects_nobody() -> None:
    assert source(created(11, 12, 13)) == ("unclear", None), "four are no import"
    assert source(created(11, 12, 13, 14)) == ("foreign", None)
    assert source(created(by=INTEGRATION)) == ("foreign", None)


def created_and_edited(*versions: tuple[float, str, str], pulled: float | None = None) -> Crm:
    """The integration creates the rival (day 30.11) after the contact's last sync; the contact jumps to it on day 30.2. versions: when, by whom, the title;
    pulled: when a run saw the first of them alone."""
    crm = Crm(integration_user_id=INTEGRATION)
    crm.user(EVA, "Eva Lang")
    crm.lead(1, fields={"Title": "CEO"})
    crm.contact(bound=BOUND, synced=day(29))
    crm.history("101", "salesforcelastsynctime", (day(29), "2026-03-29T00:00:00.000Z"))
    crm.history("101", "jobtitle", (day(2), "CEO"))
    crm.end_run(day(30.15))
    for when, user, title in versions:
        crm.pull("salesforce", "Lead", at=day(pulled) if pulled and when == versions[0][0] else day(30.5))
        crm.lead(2, created=day(30.11), created_by=INTEGRATION, modified=day(when), by=user, fields={"Title": title})
    crm.pull("hubspot", "contact", at=day(30.5))
    crm.contact(bound=RIVAL, since=day(30.2), synced=day(30.2), properties={"jobtitle": "Buyer"})
    crm.history("101", "jobtitle", (day(30.2), "Buyer"))
    return crm


def test_what_a_person_typed_into_a_record_that_the_integration_had_created_is_put_over_by_nothing() -> None:
    """Hours after its creation, and before the contact synced again. Whether it was typed, a version alone does not tell: unclear."""
    assert source(created_and_edited((30.11, INTEGRATION, "Clerk"), (30.19, EVA, "Buyer"), pulled=30.15)) == ("unclear", None)
    assert source(created_and_edited((30.19, EVA, "Buyer"))) == ("unclear", None), "no run saw it as it was created"
    assert source(created_and_edited((30.2, INTEGRATION, "Buyer"))) == ("unclear", None), "the back-fill at the switch hides who was there"


def test_what_a_record_was_created_with_stays_foreign_when_a_person_edits_another_field() -> None:
    assert source(created_and_edited((30.11, INTEGRATION, "Buyer"), (30.19, EVA, "Buyer"), pulled=30.15)) == ("foreign", None)


# ── what is put back ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def jumps(*titles: str, now: str | None = None) -> Crm:
    """On days 20, 21, … the contact jumps to the Leads 2, 3, …, each of which has held its title since before; CEO was the contact's own."""
    crm = Crm()
    crm.lead(1, fields={"Title": "CEO"})
    for number, title in enumerate(titles, 2):
        crm.lead(number, fields={"Title": title}, created=day(1), modified=day(1))
    crm.contact(bound=lead_id(len(titles) + 1), since=None, properties={"jobtitle": now or titles[-1]})
    crm.history("101", "salesforceleadid", (day(2), BOUND), *((day(18 + number), lead_id(number)) for number in range(2, len(titles) + 2)))
    crm.history("101", "jobtitle", (day(2), "CEO", "FORM"), *((day(18 + number), title) for number, title in enumerate(titles, 2)))
    return crm


def test_nothing_that_a_switch_brought_is_put_back() -> None:
    assert plan(jumps("Buyer")) == ("restore", "CEO")
    assert plan(jumps("Buyer", "Clerk")) == ("restore", "CEO")


def test_a_value_that_filled_a_blank_with_a_switch_was_never_the_contacts_own() -> None:
    crm = jumps("Buyer", "Clerk")
    crm.connection.execute("delete from raw.hubspot_property_version where value = 'CEO'")
    assert plan(crm) == ("brought", "Buyer")


def test_what_somebody_typed_is_not_undone_by_a_later_jump() -> None:
    crm = jumps("Buyer", "Clerk")
    crm.connection.execute("update raw.salesforce_lead set fields = map(['Title'], ['Boss']) where record_id = $1", [RIVAL])
    crm.later()
    crm.lead(2, fields={"Title": "Buyer"}, created=day(1), modified=day(19.99), by=EVA)
    assert plan(crm)[0] == "typed_over", "the value before it came with a switch, and CEO was corrected"


def test_the_plan_is_the_same_from_whatever_day_on(tmp_path: Path) -> None:
    publish(jumps("Buyer", "Clerk"), tmp_path)
    for folder, options in (("all", ()), ("late", ("--since", "2026-03-21")), ("later", ("--since", "2026-03-25"))):
        answer = run_command(tmp_path, "restore-plan", "--out", str(tmp_path / folder), *options)
        assert answer.returncode == 0, answer.stderr
    assert _titles(tmp_path / "all") == _titles(tmp_path / "late") == ["CEO"]
    assert _titles(tmp_path / "later") == []


def test_the_plan_for_one_contact_and_for_one_that_does_not_exist(tmp_path: Path) -> None:
    publish(jumps("Buyer"), tmp_path)
    assert run_command(tmp_path, "restore-plan", "--contact", "101").stdout.count("CEO") == 1
    answer = run_command(tmp_path, "restore-plan", "--contact", "999")
    assert (answer.returncode, "no HubSpot contact 999" in answer.stderr) == (2, True), answer.stderr


def test_what_is_unclear_goes_to_a_file_of_its_own_and_only_when_asked_for(tmp_path: Path) -> None:
    publish(created(), tmp_path)
    snapshot = open_snapshot(tmp_path)
    assert write_plan(snapshot, tmp_path / "plan").unclear == 1
    assert not (tmp_path / "plan" / UNCLEAR).exists()
    assert [row["status"] for row in _read(tmp_path / "plan" / LEFT_ALONE)] == ["unclear"]
    write_plan(snapshot, tmp_path / "asked", with_unclear=True)
    answer = run_command(tmp_path, "restore-plan", "--contact", "101", "--with-unclear")
    assert "CEO" in answer.stdout and "They are among these" in answer.stderr, answer.stderr
    assert [row["value_before"] for row in _read(tmp_path / "asked" / UNCLEAR)] == ["CEO"]
    assert _titles(tmp_path / "asked") == []
    write_plan(snapshot, tmp_path / "asked")
    assert not (tmp_path / "asked" / UNCLEAR).exists(), "asked for once is not asked for every time"


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _titles(folder: Path) -> list[str]:
    return [row["jobtitle"] for row in _read(folder / "3-hubspot-contacts.csv")]


def written_in_hubspot_alone(value: str, source: str, then: str) -> Crm:
    """After the jump somebody writes the title in HubSpot; the next sync writes what the record holds."""
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.end_run(day(31))
    crm.later()
    crm.history("101", "jobtitle", (day(31.1), value, source), (day(31.2), then))
    crm.contact(bound=RIVAL, since=None, synced=day(31.2), properties={"jobtitle": then})
    return crm


@pytest.mark.parametrize("source", ["IMPORT", "CRM_UI"])
def test_what_was_put_back_in_hubspot_alone_and_the_next_sync_overwrote_again_is_still_missing(source: str) -> None:
    crm = written_in_hubspot_alone("CEO", source, "Buyer")
    assert status(crm) == ("open", None)
    (row,) = crm.rows("core.restorable_value")
    assert (row["status"], row["value_before"], row["must_be_in_salesforce"]) == ("restore", "CEO", True)


def test_a_sync_that_writes_the_same_value_once_more_repairs_nothing() -> None:
    crm = written_in_hubspot_alone("Buyer", "SALESFORCE", "Buyer")
    assert status(crm) == ("open", None)
    assert plan(crm) == ("restore", "CEO")


def test_a_merge_of_contacts_that_keeps_the_wrong_value_repairs_nothing() -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.end_run(day(31))
    crm.later()
    crm.history("101", "jobtitle", (day(31.2), "Buyer", "MERGE_CONTACTS"))
    assert plan(crm) == ("restore", "CEO")


def test_without_hubspots_history_a_jump_stays_open_as_long_as_what_was_pulled_before_is_missing() -> None:
    crm = Crm(integration_user_id=INTEGRATION)
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, created=day(3), modified=day(3), fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    crm.end_run(day(30.5))
    crm.later()
    crm.contact(bound=RIVAL, since=day(30.2), synced=day(30.2), modified=day(30.2), properties={"jobtitle": "Buyer"})
    assert crm.finding("switch_happened")["fields_at_risk"] == ["jobtitle"]
    crm.end_run(day(31))
    assert crm.finding("switch_happened")["fields_at_risk"] == ["jobtitle"]
    crm.later()
    crm.contact(bound=RIVAL, since=None, synced=day(30.2), modified=day(31.2), properties={"jobtitle": "CEO"})
    assert status(crm) == ("resolved", "repaired")


def test_what_somebody_wrote_after_a_jump_is_over() -> None:
    crm = written_in_hubspot_alone("CEO", "IMPORT", "Chair")
    assert status(crm) == ("resolved", "repaired")
    assert plan(crm)[0] == "edited_later", "Salesforce says Chair: somebody typed it there"
    crm = written_in_hubspot_alone("Chair", "FORM", "Buyer")
    assert (status(crm), plan(crm)[0]) == (("resolved", "repaired"), "edited_later"), "whoever wrote it has seen what stood there"


def test_what_was_typed_goes_on_being_typed_when_a_sync_sets_hubspot_back_to_it() -> None:
    crm = typed()
    crm.end_run(day(31))
    crm.later()
    crm.history("101", "jobtitle", (day(31.1), "CEO", "CRM_UI"), (day(31.2), "Buyer"))
    assert (status(crm)[0], plan(crm)[0]) == ("resolved", "typed")


def test_what_a_person_wrote_into_the_record_after_the_jump_is_in_no_import_file(tmp_path: Path) -> None:
    """HubSpot has not heard of it yet: the plan would write over it, in both CRMs."""
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.end_run(day(31))
    crm.later()
    crm.lead(2, created=day(3), modified=day(31.2), by=TOM, fields={"Title": "Chief"})
    assert plan(crm)[0] == "awaits_sync"
    assert status(crm) == ("open", None), "the contact still has the other record's value"
    crm.later()
    crm.lead(2, created=day(3), modified=day(31.3), by=TOM, fields={"Title": "CEO"})
    assert plan(crm) == ("restore", "CEO"), "half a repair"
    assert not crm.rows("core.restorable_value")[0]["must_be_in_salesforce"]


# ── how long a jump stays a finding ──────────────────────────────────────────────────────────────────────────────────────────────


def status(crm: Crm) -> tuple[str, str | None]:
    (row,) = crm.build("switch_happened").rows("select * from review.finding where check_name = 'switch_happened' order by fingerprint")
    return row["status"], row["resolved_by"]


def decide(crm: Crm, tmp_path: Path, action: Any, *properties: str) -> None:
    """Somebody decides about the only jump; the next build knows it."""
    (finding,) = crm.build("switch_happened").rows("select * from review.finding where check_name = 'switch_happened'")
    store = DecisionStore(tmp_path)
    store.record([Decision(action, "Ann", finding, reason="right", properties=properties)])
    write_decisions(crm._changing(), store.read())


def test_a_jump_whose_values_were_all_typed_is_over_after_one_run() -> None:
    crm = typed()
    assert status(crm) == ("open", None)
    crm.end_run(day(31))
    assert status(crm)[0] == "resolved"


def test_a_jump_stays_open_until_it_is_accepted_and_opens_again_when_that_is_taken_back(tmp_path: Path) -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.end_run(day(31))
    assert status(crm) == ("open", None)
    decide(crm, tmp_path, "accept")
    assert status(crm) == ("resolved", "accepted")
    assert plan(crm)[0] == "accepted", "it is not put back"
    crm.end_run(day(32))
    assert status(crm) == ("resolved", "accepted")
    decide(crm, tmp_path, "undo")
    assert status(crm) == ("open", None)


def test_an_acceptance_that_is_taken_back_leaves_a_jump_in_the_baseline(tmp_path: Path) -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.end_run(day(31))
    crm.policy = crm.policy.model_copy(update={"gate": crm.policy.gate.model_copy(update={"fail_on": "new"})})
    assert crm.finding("switch_happened")["in_baseline"]
    decide(crm, tmp_path, "accept")
    crm.end_run(day(32))
    decide(crm, tmp_path, "undo")
    finding = crm.finding("switch_happened")
    assert (finding["change"], finding["in_baseline"]) == ("reopened", True)


def two_values() -> Crm:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA, "fields": {"Title": "Buyer", "Phone": "2"}}, phone="2")
    crm.history("101", "phone", (day(2), "1"), (day(30.2), "2"))
    crm.connection.execute(
        "update raw.hubspot_contact set properties = map_concat(properties, map {'phone': '2'}) where pull_no = (select max(pull_no) from raw.hubspot_contact)"
    )
    return crm


def test_single_values_are_accepted_one_by_one(tmp_path: Path) -> None:
    crm = two_values()
    crm.end_run(day(31))
    decide(crm, tmp_path, "accept", "phone")
    finding = crm.finding("switch_happened")
    assert finding["fields_at_risk"] == ["jobtitle"]
    assert {row["property"]: row["status"] for row in crm.rows("core.restorable_value")} == {"phone": "accepted", "jobtitle": "restore"}
    decide(crm, tmp_path, "accept", "jobtitle")
    assert status(crm) == ("resolved", "accepted")


def test_half_a_repair_ends_no_decision(tmp_path: Path) -> None:
    crm = two_values()
    crm.end_run(day(31))
    decide(crm, tmp_path, "acknowledge")
    before = crm.finding("switch_happened")
    crm.later()
    crm.history("101", "phone", (day(30.9), "3", "CRM_UI"))
    crm.contact(bound=RIVAL, since=None, properties={"jobtitle": "Buyer", "phone": "3"})
    after = crm.finding("switch_happened")
    assert (after["fingerprint"], after["status"], after["change"]) == (before["fingerprint"], "acknowledged", None)
    assert (before["fields_at_risk"], after["fields_at_risk"]) == (["jobtitle", "phone"], ["jobtitle"])


def test_there_and_back_again_are_two_findings_and_what_the_second_brought_back_is_not_missing() -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.end_run(day(31))
    crm.later()
    crm.contact(bound=BOUND, since=day(30.6), synced=day(30.6), properties={"jobtitle": "CEO"})
    crm.history("101", "jobtitle", (day(30.6), "CEO"))
    found = crm.findings("switch_happened")
    assert [row["salesforce_id"] for row in found] == [BOUND], "the first one is repaired"
    crm.end_run(day(32))
    assert crm.findings("switch_happened") == []


def test_an_old_jump_that_counts_as_open_after_an_upgrade_is_not_new() -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    crm.end_run(day(31))
    crm.connection.execute("delete from main.ledger where check_name = 'switch_happened'")  # an older version had resolved it under another fingerprint
    crm.policy = crm.policy.model_copy(update={"gate": crm.policy.gate.model_copy(update={"fail_on": "new"})})
    finding = crm.finding("switch_happened")
    assert (finding["change"], finding["in_baseline"]) == (None, True)
    assert count_old_jumps(crm.build().connection) == 1
    crm.end_run(day(32))
    assert count_old_jumps(crm.build().connection) == 0, "it is said once"


def test_the_run_after_an_upgrade_says_once_how_many_old_jumps_are_open_again_and_how_to_accept_them(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"verdict": "pass", "as_of": "2026-03-30T12:00:00Z", "certified": {"rows": 1, "certified_at": "2026-03-30T12:00:00Z"}}
    terminal._print_standing({**manifest, "old_jumps": 16})
    said = capsys.readouterr().out
    assert "16 jumps from before this run count as open again" in said
    assert "bindwatch decide accept --check switch_happened --before 2026-03-30T12:00:00 --reason" in said
    terminal._print_standing({**manifest, "old_jumps": 0})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("check", ["unsafe_duplicate", "mislinked_email"])
def test_what_is_so_now_cannot_be_accepted(check: str) -> None:
    from assets.published.decisions import objection

    finding = {"check_name": check, "status": "open", "severity": "block", "fields_at_risk": []}
    assert objection("accept", finding, False) == "not_acceptable"
    assert objection("accept", finding | {"check_name": "switch_happened"}, False) is None
    assert objection("accept", finding | {"check_name": "switch_happened"}, False, ["fax"]) == "no_such_property"


def test_the_command_accepts_all_of_a_check_with_the_count_first(tmp_path: Path) -> None:
    crm = watched({"modified": BEFORE_JUMP, "by": EVA})
    publish(crm, tmp_path)
    asked = ("decide", "accept", "--check", "switch_happened", "--reason", "known")
    answer = run_command(tmp_path, *asked)
    assert (answer.returncode, answer.stdout.strip()) == (2, "1 finding of switch_happened, with 1 value."), answer.stderr
    answer = run_command(tmp_path, *asked, "--yes")
    assert answer.returncode == 0, answer.stderr
    assert DecisionStore(tmp_path).read()[0]["action"] == "accept"
    answer = run_command(tmp_path, *asked, "--property", "phone", "--yes")
    assert (answer.returncode, answer.stdout.strip()) == (0, "0 findings of switch_happened, with 0 values."), answer.stderr
    assert run_command(tmp_path, "decide", "accept", "--check", "unsafe_duplicate", "--reason", "x", "--yes").returncode == 2
    assert run_command(tmp_path, "decide", "accept", "abcdef12", "--reason", " ").returncode == 2
