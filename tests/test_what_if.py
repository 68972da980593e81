"""Before an import: which contacts would jump, and what would change?"""

import csv
from pathlib import Path
from typing import Any

import pytest

from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.forecast import Forecast, forecast
from assets.published.publish import publish_tables
from assets.published.snapshot import open_snapshot
from pipelines.terminal import print_forecast
from tests.crm import ANN, Crm, contact_id, lead_id
from tests.test_backtest import run_command

BOUND, RIVAL, THIRD = lead_id(1), lead_id(2), contact_id(3)


def publish(crm: Crm, home: Path) -> Path:
    publish_tables(crm.build().connection, home, {"run": "select 'run' as run_id, 1 as run_no"}, {"run_id": "run", "verdict": "fail"})
    return home


def ask(home: Path, text: str, language: str = "en") -> tuple[Forecast, list[dict[str, str]]]:
    path, answer = home / "touched.csv", home / "answer.csv"
    path.write_text(text, "utf-8")
    found = forecast(open_snapshot(home), path, answer, language)
    with answer.open(encoding="utf-8") as file:
        return found, list(csv.DictReader(file))


def duplicates(**knobs: Any) -> Crm:
    """A contact bound to the first of three records, which differ in their title."""
    crm = Crm(**knobs)
    crm.lead(1, fields={"Title": "CEO"})
    crm.lead(2, fields={"Title": "Buyer"})
    crm.salesforce_contact(3, fields={"Title": None})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    return crm


def test_a_rival_in_the_list_takes_the_binding_over_and_its_fields_are_named(tmp_path: Path) -> None:
    found, rows = ask(publish(duplicates(), tmp_path), f"Id\n{RIVAL}\n")
    assert [(row["outcome"], row["hubspot_contact_id"], row["bound_id"], row["property"], row["effect"]) for row in rows] == [
        ("switch", "101", BOUND, "jobtitle", "overwrite")
    ]
    assert (rows[0]["hubspot_value"], rows[0]["salesforce_value"]) == ("CEO", "Buyer")
    assert found == Forecast(1, 0, 1, 0, 1, 0, 0)


def test_a_back_fill_counts_as_a_value_that_spreads(tmp_path: Path) -> None:
    found, rows = ask(publish(duplicates(), tmp_path), f"{THIRD}\n")
    assert [(row["property"], row["effect"]) for row in rows] == [("jobtitle", "backfill")]
    assert (found.contacts_that_switch, found.values_lost, found.values_spread) == (1, 0, 1)


def test_the_bound_record_alone_stays(tmp_path: Path) -> None:
    found, rows = ask(publish(duplicates(), tmp_path), f"{BOUND}\n")
    assert [row["outcome"] for row in rows] == ["stays"]
    assert found.is_safe


@pytest.mark.parametrize("listed", [[BOUND, RIVAL], [RIVAL, THIRD], [BOUND, RIVAL, THIRD]])
def test_several_records_of_one_contact_leave_it_open_which_wins(tmp_path: Path, listed: list[str]) -> None:
    found, rows = ask(publish(duplicates(), tmp_path), "\n".join(["record_id", *listed]))
    assert {row["outcome"] for row in rows if row["record_id"] != BOUND} == {"may_switch"}
    assert (found.contacts_that_switch, found.contacts_that_may_switch, found.is_safe) == (0, 1, False)


@pytest.mark.parametrize("knobs", [{"follow_up": "sticky"}, {"inclusion_list_id": "7"}])
def test_where_no_switch_is_possible_nothing_happens(tmp_path: Path, knobs: dict[str, str]) -> None:
    found, rows = ask(publish(duplicates(**knobs), tmp_path), f"{RIVAL}\n")
    assert ([row["outcome"] for row in rows], found.is_safe) == (["stays"], True)


def test_every_line_gets_an_answer(tmp_path: Path) -> None:
    crm = duplicates()
    crm.lead(4, email="gone@example.com", deleted=True)
    crm.lead(5, email="nobody@example.com")
    crm.lead(6, email="lost@example.com")
    crm.contact("102", email="lost@example.com", bound=lead_id(4))
    lines = [RIVAL[:15], lead_id(4), lead_id(5), lead_id(6), lead_id(99), RIVAL[:17], ""]
    found, rows = ask(publish(crm, tmp_path), "\n".join(["Name;Lead ID", *(f"x;{line}" for line in lines)]))
    assert [(int(row["line"]), row["outcome"]) for row in rows] == [
        (1, "switch"), (2, "gone"), (3, "nobody"), (4, "binds"), (5, "unknown"), (6, "invalid"), (7, "invalid"),
    ]  # fmt: skip
    assert (found.listed, found.unusable) == (7, 3)
    told = {row["reason"] for row in rows}
    assert {"The record is deleted.", "The id is missing."} < told
    in_german = {row["reason"] for row in ask(tmp_path, (tmp_path / "touched.csv").read_text("utf-8"), "de")[1]}
    assert {"Der Datensatz ist gelöscht.", "Die ID fehlt."} < in_german and len(in_german) == len(told) and not in_german & told


@pytest.mark.parametrize("line", [lead_id(99), RIVAL[:17]])
def test_a_line_that_nobody_can_judge_is_no_promise(tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str) -> None:
    found, _ = ask(publish(duplicates(), tmp_path), f"{BOUND}\n{line}\n")
    assert not found.is_safe
    print_forecast(found)
    assert "2 lines read, 1 that nobody can judge" in capfd.readouterr().err


def test_a_value_that_a_spreadsheet_would_run_is_made_harmless_and_a_phone_number_is_not_touched(tmp_path: Path) -> None:
    crm = Crm()
    crm.lead(1)
    crm.lead(2, fields={"Title": "=HYPERLINK(1)", "Phone": "+49 30 1", "Fax": "-1+cmd|x"})
    crm.contact(bound=BOUND, properties={"jobtitle": "@x", "phone": "1", "fax": "2"})
    _, rows = ask(publish(crm, tmp_path), f"{RIVAL}\n")
    values = {row["property"]: (row["hubspot_value"], row["salesforce_value"]) for row in rows}
    assert values == {"jobtitle": ("'@x", "'=HYPERLINK(1)"), "phone": ("1", "+49 30 1"), "fax": ("2", "'-1+cmd|x")}


def test_a_hundred_thousand_lines_take_seconds_and_keep_their_order(tmp_path: Path) -> None:
    found, rows = ask(publish(duplicates(), tmp_path), "\n".join(["id", *(lead_id(number) for number in range(100_000, 0, -1))]))
    assert found.listed == 100_000
    assert [int(row["line"]) for row in rows] == sorted(int(row["line"]) for row in rows)
    assert [row["outcome"] for row in rows[-2:]] == ["may_switch", "stays"]


@pytest.mark.parametrize("text", ["", "Id\n", "hello\nworld\n", "\x00\x01\x02", f"{RIVAL[:17]}\n"])
def test_a_list_without_a_single_id_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationProblem, match="touched"):
        ask(publish(duplicates(), tmp_path), text)


def test_a_missing_list_a_missing_snapshot_and_an_answer_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(WarehouseProblem, match="no published snapshot"):
        open_snapshot(tmp_path)
    home = publish(duplicates(), tmp_path)
    with pytest.raises(ConfigurationProblem, match="none"):
        forecast(open_snapshot(home), tmp_path / "none.csv", None)
    (tmp_path / "list.csv").write_text(RIVAL)
    with pytest.raises(ConfigurationProblem, match="cannot be written"):
        forecast(open_snapshot(home), tmp_path / "list.csv", tmp_path / "no" / "folder.csv")


def test_the_command_answers_on_standard_output_and_sums_up_on_standard_error(tmp_path: Path) -> None:
    home = publish(duplicates(), tmp_path)
    (tmp_path / "list.csv").write_text(RIVAL)
    answer = run_command(home, "what-if", str(tmp_path / "list.csv"))
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[0].startswith("line,salesforce_id,record_id")
    assert "1 contact would jump to another record, 0 more may." in answer.stderr
    assert ANN not in answer.stdout + answer.stderr
    (tmp_path / "list.csv").write_text(BOUND)
    assert run_command(home, "what-if", str(tmp_path / "list.csv")).returncode == 0
    assert run_command(home, "what-if", str(tmp_path / "none.csv")).returncode == 2
    assert run_command(tmp_path / "nowhere", "what-if", str(tmp_path / "list.csv")).returncode == 3
