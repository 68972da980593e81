"""Merge plans as people and merge tools write them."""

from pathlib import Path

import pytest

from assets.published.merge_plan import PlanProblem, load_merge_plans, read_merge_plan
from tests.crm import BOUND, RIVAL, Crm, contact_id, day, duplicates, lead_id, one

THIRD = lead_id(3)
LINK = "https://org.lightning.force.com/lightning/r/Lead/{}/view"


def read(folder: Path, content: str | bytes) -> list[tuple[int, str, str]]:
    (folder / "plan.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_merge_plan(folder / "plan.csv").pairs


@pytest.mark.parametrize(
    "text",
    [
        f"master_id,loser_id\n{BOUND},{RIVAL}\n",
        f"\ufeffNote;LOSER_ID ;Master_Id\r\nwhy;{RIVAL}; {BOUND}\r\n;;\r\n",
        f'loser_id,comment,master_id\n{RIVAL},"a, b",{BOUND}',
        f"Master ID\tDuplicate ID\n{BOUND}\t{RIVAL}\n",
        f"Master Record ID,Merged Record ID\n{BOUND},{RIVAL}\n",
        f"MasterRecordId,Id,Name\n{BOUND},{RIVAL},Ann\n",
        f"Winner,Loser\n{BOUND},{RIVAL}\n",
        f"Surviving Lead ID,Losing Lead ID\n{BOUND},{RIVAL}\n",
        f"Primary ID;Non-Master ID\n{BOUND};{RIVAL}\n",
        f"Group ID,Record ID,Master\n7,{BOUND},TRUE\n7,{RIVAL},FALSE\n",
        f"Lead ID;Match Group;Is Master?\n{RIVAL};a;nein\n{BOUND};a;ja\n",
        f"MASTERRECORDID,ID\n{BOUND},{RIVAL}\n",
        f"sep=;\r\nmaster_id;loser_id\r\n{BOUND};{RIVAL}\r\n",
        f"Master,Master ID,Loser,Loser ID\nAnn,{BOUND},Anne,{RIVAL}\n",
        f"MasterId,DuplicateId\n{BOUND},{RIVAL}\n",
        f"Gewinner-ID;Verlierer-ID\n{BOUND};{RIVAL}\n",
        f"Insycle Group ID,Record ID,Insycle Master\n7,{BOUND},Yes\n7,{RIVAL},\n",
        f"DemandTools Group #,Duplicate Record ID,Master\n7,{BOUND},Y\n7,{RIVAL},N\n",
        f"Duplicate Record Set: Duplicate Record Set Name,Lead: Case Safe ID,Master?\nD-1,{BOUND},1\nD-1,{RIVAL},0\n",
        f"Group,18 Digit ID,Role\n1,{BOUND},Master\n1,{RIVAL},Duplicate\n",
        f'"Master ID","Loser ID"\n"{BOUND}","{RIVAL}"\n\n"My Report"\n"Copyright (c) 2000-2026 salesforce.com"\n"Confidential - Do Not Distribute"\n',
        f"master_id,loser_id\n{LINK.format(BOUND)},{LINK.format(RIVAL)}\n",
        f'master_id,loser_id\n"=HYPERLINK(""https://org.my.salesforce.com/{BOUND}"")",\'{RIVAL}\n',
        f'master_id,loser_id,note\n{BOUND},{RIVAL},"two\nlines"\n',
    ],
)
def test_a_plan_is_read_whatever_it_is_written_with(tmp_path: Path, text: str) -> None:
    assert [(master, loser) for _, master, loser in read(tmp_path, text)] == [(BOUND, RIVAL)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_plan_is_read_in_the_encodings_that_spreadsheets_write(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, f"master_id,loser_id,note\n{BOUND},{RIVAL},Müller\n".encode(encoding)) == [(1, BOUND, RIVAL)]


def test_a_row_may_hold_a_merge_of_several_losers(tmp_path: Path) -> None:
    assert read(tmp_path, f"master_id,loser_id_1,loser_id_2\n{BOUND},{RIVAL},{THIRD}\n{BOUND},{lead_id(4)},\n") == [
        (1, BOUND, RIVAL), (1, BOUND, THIRD), (2, BOUND, lead_id(4)),
    ]  # fmt: skip
    assert read(tmp_path, f"master_id,loser_ids\n{BOUND},{RIVAL};{THIRD}\n") == [(1, BOUND, RIVAL), (1, BOUND, THIRD)]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "line 1: the file is empty"),
        ("\n\n", "line 1: the file is empty"),
        ("master_id\n", "line 1: it has no column loser_id"),
        ("id,loser\n1,2\n", "line 1: it has no column master_id"),
        (f"master_id,winner_id,loser_id\n{BOUND},{THIRD},{RIVAL}\n", "line 1, column 2: it has a second column for the master"),
        (f"{BOUND}\n{RIVAL}\n", "line 1: it has no header"),
        (f"master_id,loser_id\n{BOUND},{RIVAL},Ann\n", "line 2, column 3: the row has 3 cells, the header 2"),
        (f"loser_id,master_id\n{BOUND},{RIVAL},{THIRD}\n", "line 2, column 3: the row has 3 cells, the header 2"),
        (f'master_id,loser_id\n{BOUND},{RIVAL}\n{BOUND},"{THIRD}\n', "line 3, column 20: a quotation mark is opened and not closed"),
        (f'master_id,loser_id\n{BOUND},"{RIVAL}"x\n', "line 2, column 20: a quotation mark"),
        (f"master_id,loser_id\n{BOUND},{RIVAL}\x00\n", "line 2, column 38: it is no text"),
        (b"\xff\xfem\x00\x00\xd8,\x00", "line 1, column 1: it is no text"),
        (f"group,record id,master\n1,{BOUND},yes\n1,{RIVAL},yes\n", "line 2, column 3: group '1' has 2 masters"),
        (f"group,record id,master\n1,{BOUND},\n1,{RIVAL},\n", "line 2, column 3: group '1' has 0 masters"),
    ],
)
def test_a_broken_plan_is_refused_with_line_and_column(tmp_path: Path, content: str | bytes, where: str) -> None:
    with pytest.raises(PlanProblem) as refusal:
        read(tmp_path, content)
    assert where in str(refusal.value)


def test_a_refusal_repeats_no_e_mail_although_tools_name_groups_by_it(tmp_path: Path) -> None:
    with pytest.raises(PlanProblem) as refusal:
        read(tmp_path, f"group,record id,master\nann@example.com,{BOUND},\nann@example.com,{RIVAL},\n")
    assert "ann@example.com" not in str(refusal.value) and "line 2, column 3" in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"master_id\n", b"id,loser\n1,2\n", b"master_id,loser_id\n\x00,b"])
def test_a_plan_that_cannot_be_read_is_a_finding_and_does_not_stop_the_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "merge-plans").mkdir()
    (tmp_path / "merge-plans" / "plan.csv").write_bytes(content)
    crm = duplicates()
    load_merge_plans(crm.connection, tmp_path)
    finding = one(crm, "planned_merge_unsafe")
    assert finding["reason"].startswith("plan.csv: The file cannot be read: line ")


def test_a_plan_is_judged_while_it_lies_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "merge-plans").mkdir()
    plan = tmp_path / "merge-plans" / "plan.csv"
    plan.write_text(f"master_id,loser_id\n{RIVAL},{BOUND}\n,{BOUND}\n")
    crm = duplicates()
    crm.contact(bound=BOUND)
    load_merge_plans(crm.connection, tmp_path)
    assert sorted(finding["reason"][:17] for finding in crm.findings("planned_merge_unsafe")) == ["Row 1 of plan.csv", "Row 2 of plan.csv"]
    plan.unlink()
    load_merge_plans(crm.connection, tmp_path)
    assert crm.findings("planned_merge_unsafe") == []


@pytest.mark.parametrize("row", [(RIVAL, RIVAL), (lead_id(900), RIVAL), ("x", "y")], ids=["one record", "unknown", "no id"])
def test_a_wrong_row_that_a_plan_lists_twice_is_one_finding(row: tuple[str, str]) -> None:
    """Two with one fingerprint would be a fault of Bindwatch, and the gate says so."""
    crm = duplicates()
    crm.plan(row, row)
    assert one(crm, "planned_merge_unsafe")["reason"].startswith("Row 1 of plan.csv")


def judged(*rows: tuple[str, str], **knobs: str) -> list[dict[str, object]]:
    """Leads 1 to 9 are there, and Contact 1; a HubSpot contact is bound to Lead 1."""
    crm = Crm(**knobs)
    for number in range(1, 10):
        crm.lead(number)
    crm.salesforce_contact(1)
    crm.contact(bound=BOUND)
    crm.plan(*rows)
    crm.build()
    return crm.rows("select * from core.planned_merge order by row_no, loser_id")


def test_what_the_merge_would_do_to_the_contact_follows_the_setting_of_the_portal() -> None:
    (kept,) = judged((RIVAL, BOUND))
    assert (kept["consequence"], "its sync breaks" in str(kept["reason"])) == ("sync_broken", True)
    (deleted,) = judged((RIVAL, BOUND), on_lead_deleted="delete")
    assert (deleted["consequence"], "restorable for 90 days (rules 34, 36)" in str(deleted["reason"])) == ("contact_deleted", True)
    (other,) = judged((RIVAL, BOUND), on_contact_deleted="delete")
    assert other["consequence"] == "sync_broken", "the setting of the other object does not matter"


def test_a_loser_into_which_somebody_typed_last_is_named_before_the_masters_value_wins() -> None:
    def reason(typed_into_the_loser: float) -> str:
        crm = duplicates({"Title": "CEO"}, {"Title": "Founder"})
        crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
        crm.history("101", "jobtitle", (day(5), "CEO", "CRM_UI"))
        crm.connection.execute(
            """insert into raw.salesforce_field_history by name select 'h1' as history_id, $id as record_id, 'Lead' as object_type, 'Title' as field,
               $at as changed_at, '0055e000000Usr1AAA' as changed_by_id, 'CEO' as old_value, 'Founder' as new_value, 'x' as pull""",
            {"id": RIVAL, "at": day(typed_into_the_loser)},
        )
        crm.plan((BOUND, RIVAL))
        (row,) = crm.build().rows("core.planned_merge")
        assert row["verdict"] == "safe"
        return str(row["reason"])

    assert "Somebody typed jobtitle into " + RIVAL in reason(6)
    assert "Somebody typed" not in reason(4)


def test_the_whole_group_gets_the_bound_record_as_its_master() -> None:
    rows = judged((RIVAL, BOUND), (RIVAL, THIRD))
    assert [(row["verdict"], row["recommended_master_id"]) for row in rows] == [("unsafe", BOUND), ("unsafe", BOUND)]
    assert rows[1]["consequence"] == "switch", "the merge makes the master the record updated last"
    chain = judged((RIVAL, THIRD), (BOUND, RIVAL))
    assert [(row["verdict"], row["recommended_master_id"]) for row in chain] == [("safe", BOUND), ("safe", BOUND)]


def test_a_record_that_is_gone_by_then_is_no_master_and_no_loser() -> None:
    rows = judged((RIVAL, THIRD), (lead_id(4), RIVAL), (RIVAL, lead_id(5)))
    assert [row["verdict"] for row in rows] == ["safe", "safe", "invalid"]
    assert rows[2]["reason"] == "Row 2 merges one of the two away before."
    twice = judged((RIVAL, THIRD), (RIVAL, THIRD))
    assert [row["verdict"] for row in twice] == ["safe", "invalid"]


def test_circles_of_any_length_are_found_and_a_tail_is_none() -> None:
    rows = judged((lead_id(3), RIVAL), (lead_id(4), lead_id(3)), (RIVAL, lead_id(4)), (RIVAL, lead_id(5)))
    assert ["circle" in str(row["reason"]) for row in rows] == [True, True, True, False]


def test_more_than_two_losers_are_said_to_be_several_merges() -> None:
    rows = judged(*((BOUND, lead_id(number)) for number in (2, 3, 4)))
    assert all(row["verdict"] == "safe" and "3 losers are several merges" in str(row["reason"]) for row in rows)


def test_a_lead_and_a_contact_are_converted_not_merged() -> None:
    (row,) = judged((contact_id(1), RIVAL))
    assert (row["verdict"], row["recommended_master_id"]) == ("invalid", None)
    assert "Convert the Lead" in str(row["reason"])


@pytest.mark.parametrize(
    ("bound_to", "archived", "result"),
    [(None, None, "as_planned"), (RIVAL, None, "as_planned"), (BOUND, None, "sync_broken"), (THIRD, None, "moved"), (BOUND, 29.0, "contact_deleted")],
)
def test_after_the_merge_each_row_says_what_became_of_the_contact(bound_to: str | None, archived: float | None, result: str) -> None:
    crm = Crm()
    crm.lead(2)
    crm.lead(3)
    crm.lead(1, merged_into=RIVAL, modified=day(28))
    if bound_to:
        crm.contact(bound=bound_to, since=day(28.5) if bound_to != BOUND else day(2), archived_at=day(archived) if archived else None)
        if bound_to != BOUND:
            crm.history("101", "salesforceleadid", (day(2), BOUND))
    crm.plan((RIVAL, BOUND))
    findings = crm.findings("planned_merge_unsafe")
    (row,) = crm.rows("core.planned_merge")
    assert (row["verdict"], row["result"]) == ("done", result)
    assert bool(findings) == (result in ("sync_broken", "contact_deleted"))


def test_after_the_merge_values_that_it_replaced_in_hubspot_are_named() -> None:
    """The master was blank, the merge filled it from the loser, and the next sync carried that into HubSpot."""
    crm = Crm()
    crm.lead(1, modified=day(28), fields={"Fax": "2"})
    crm.lead(2, merged_into=BOUND, modified=day(28))
    crm.contact(bound=BOUND, properties={"fax": "2"}, synced=day(28.01))
    crm.history("101", "fax", (day(2), "1", "FORM"), (day(28.01), "2"))
    crm.history("101", "phone", (day(2), "5", "FORM"), (day(29), "6"))
    crm.plan((BOUND, RIVAL))
    finding = one(crm, "planned_merge_unsafe")
    assert (finding["fields_at_risk"], finding["hubspot_contact_id"]) == (["fax"], "101")
    assert crm.rows("core.planned_merge")[0]["result"] == "values_lost"
    crm.connection.execute("delete from raw.hubspot_property_version where property = 'fax'")
    assert crm.findings("planned_merge_unsafe") == []


def test_a_value_that_somebody_wrote_after_the_merge_is_lost_no_more() -> None:
    crm = Crm()
    crm.lead(1, modified=day(28), fields={"Fax": "2"})
    crm.lead(2, merged_into=BOUND, modified=day(28))
    crm.contact(bound=BOUND, properties={"fax": "1"}, synced=day(28.01))
    crm.history("101", "fax", (day(2), "1", "FORM"), (day(28.01), "2"), (day(29), "1", "CRM_UI"))
    crm.plan((BOUND, RIVAL))
    assert crm.findings("planned_merge_unsafe") == []
    assert crm.rows("core.planned_merge")[0]["result"] == "as_planned"


def test_a_value_that_was_there_again_before_anybody_looked_was_not_lost() -> None:
    crm = Crm()
    crm.lead(1, modified=day(28), fields={"Fax": "1"})
    crm.lead(2, merged_into=BOUND, modified=day(28))
    crm.contact(bound=BOUND, properties={"fax": "1"}, synced=day(28.02))
    crm.history("101", "fax", (day(2), "1", "FORM"), (day(28.01), "2"), (day(28.02), "1"))
    crm.plan((BOUND, RIVAL))
    assert crm.findings("planned_merge_unsafe") == []


# ── what is remembered of them ───────────────────────────────────────────────────────────────────────────────────────────────────


def planned_for_later(master: str = BOUND, loser: str = RIVAL) -> Crm:
    """Leads 1 to 3, a contact bound to Lead 1, and a plan for two of them that one run has judged."""
    crm = duplicates()
    crm.lead(3)
    crm.contact(bound=BOUND)
    crm.plan((master, loser))
    crm.end_run()
    crm.later()
    return crm


def take_away(crm: Crm) -> None:
    crm.connection.execute("delete from main.merge_plan")


def said(crm: Crm) -> list[tuple[str, str, str | None]]:
    crm.build()
    return [(row["run_id"], row["verdict"], row["result"]) for row in crm.rows("from review.planned_merge_event order by happened_at")]


def test_what_was_said_of_a_plan_is_remembered_once_and_what_changes_beside_it() -> None:
    crm = planned_for_later(RIVAL, BOUND)
    assert said(crm) == [("run 1", "unsafe", None)]
    crm.end_run(day(31))
    crm.lead(1, merged_into=RIVAL, modified=day(31 - 10 / 1440))
    assert said(crm) == [("run 1", "unsafe", None), ("run 3", "done", "pending")]
    crm.end_run(day(33))
    assert said(crm)[2:] == [("run 4", "done", "sync_broken")], "carried out against the advice, and what it cost"


def test_a_merge_is_looked_at_after_its_plan_was_taken_away() -> None:
    crm = planned_for_later()
    take_away(crm)
    crm.lead(2, merged_into=BOUND, modified=day(30.2))
    assert said(crm)[1:] == [("run 2", "done", "as_planned")]
    (row,) = crm.rows("core.planned_merge")
    assert (row["plan"], row["row_no"], row["is_taken_away"]) == ("plan.csv", 1, True)
    crm.end_run(day(32))
    assert said(crm)[2:] == [], "nothing more is to be said"
    assert crm.rows("core.planned_merge") == []


def test_a_broken_contact_stays_a_finding_although_the_plan_was_taken_away() -> None:
    crm = planned_for_later(RIVAL, BOUND)
    take_away(crm)
    crm.lead(1, merged_into=RIVAL, modified=day(28))
    assert crm.finding("planned_merge_unsafe")["reason"].startswith("Row 1 of plan.csv: The merge was carried out.")
    crm.end_run(day(32))
    assert crm.finding("planned_merge_unsafe")["change"] is None


def test_what_nobody_mended_in_90_days_is_no_longer_said_of_a_plan_that_was_taken_away() -> None:
    crm = planned_for_later(RIVAL, BOUND)
    take_away(crm)
    crm.lead(1, merged_into=RIVAL, modified=day(28))
    crm.end_run(day(30 + 91))
    assert crm.findings("planned_merge_unsafe") == []
    assert "merged_into_unbound" in crm.checks_that_fire(), "the contact is a finding as before"


def test_a_plan_that_was_taken_away_before_anything_was_merged_is_no_longer_planned() -> None:
    crm = planned_for_later(RIVAL, BOUND)
    take_away(crm)
    assert crm.findings("planned_merge_unsafe") == []
    assert crm.rows("core.planned_merge") == []


def test_a_corrected_plan_is_not_judged_by_what_it_was_before() -> None:
    """The same file now keeps the bound record; the row that it had yesterday would make its loser one of two masters."""
    crm = planned_for_later(RIVAL, lead_id(3))
    take_away(crm)
    crm.plan((BOUND, lead_id(3)), (BOUND, RIVAL))
    assert crm.findings("planned_merge_unsafe") == []
    assert [(row["verdict"], row["is_taken_away"]) for row in crm.rows("core.planned_merge")] == [("safe", False)] * 2


def test_nothing_is_remembered_of_a_run_that_proves_nothing() -> None:
    crm = duplicates()
    crm.contact(bound=BOUND)
    crm.plan((RIVAL, BOUND))
    crm.end_run(verdict="unproven")
    assert crm.rows("main.planned_merge_event") == []


def test_a_merge_that_a_plan_lists_twice_is_remembered_once_and_a_file_that_cannot_be_read_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "merge-plans").mkdir()
    (tmp_path / "merge-plans" / "broken.csv").write_text("nonsense")
    (tmp_path / "merge-plans" / "plan.csv").write_text(f"master_id,loser_id\n{BOUND},{RIVAL}\n{BOUND},{RIVAL}\n")
    crm = duplicates()
    load_merge_plans(crm.connection, tmp_path)
    assert [row["row_no"] for row in crm.build().rows("review.planned_merge_event")] == [1]
