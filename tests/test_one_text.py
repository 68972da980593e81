"""A value of Salesforce comes by REST or by a bulk job, as each writes it: that is no edit, and no new version."""

from pathlib import Path
from typing import Any

import pytest

from assets.warehouse.file import Warehouse
from sandbox.fields import SALESFORCE_TYPES as FIELDS
from sandbox.server import SandboxServer
from sandbox.story import Story
from sandbox.world import SalesforceRecord
from tests.crm import Crm
from tests.live import served, some_days_ago
from tests.pulls import pull_only

YEAR = 60 * 24 * 365
# field: type, what the org holds, what raw holds
VALUES = {
    "Revenue__c": ("currency", "99213206", "99213206"), "Small__c": ("double", "0.00042", "0.00042"), "Rate__c": ("percent", "12.50", "12.5"),
    "Count__c": ("int", "7", "7"), "Loss__c": ("currency", "-1234567890.25", "-1234567890.25"), "Zero__c": ("double", "0", "0"),
    "Long__c": ("double", "900719925474099311", "900719925474099311"), "Vip__c": ("boolean", "true", "true"), "Plain__c": ("boolean", "false", "false"),
    "Renewal__c": ("datetime", "2024-05-01T10:00:00+00:00", "2024-05-01T10:00:00.000Z"), "Day__c": ("date", "2024-05-01", "2024-05-01"),
    "Blank__c": ("currency", None, None), "Code__c": ("string", "1.50E3", "1.50E3"), "Zip__c": ("string", "01067", "01067"),
}  # fmt: skip


@pytest.fixture
def org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An org with one Lead and one Contact, with a value of each type, and their mapping."""
    for name in ("Lead", "Contact"):
        monkeypatch.setitem(FIELDS, name, {**FIELDS[name], **{field: kind for field, (kind, _, _) in VALUES.items()}})
    monkeypatch.setitem(FIELDS, "Account", {**FIELDS["Account"], "Worth__c": "currency"})
    story = Story([], 1, some_days_ago(3))
    values = {field: held for field, (_, held, _) in VALUES.items()}
    story.world.create_record("Lead", {"LastName": "Lee", "Email": "a@example.com", **values})
    account = story.world.create_account("Acme")
    story.world.create_record("Contact", {"LastName": "Lee", "Email": "b@example.com", "Account.Worth__c": "99213206", **values}, account_id=account)
    with served(story, tmp_path / "sandbox") as server:
        server.hubspot.properties += [field.lower() for field in (*VALUES, "worth")]
        # more digits than a float of Python holds
        server.faults.on_answer = lambda line, body: body.replace(b"9.007199254740993E17", b"900719925474099311").replace(
            b"9.007199254740993e+17", b"9.00719925474099311E17"
        )
        yield server


def mapping() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"hubspot": field.lower(), "salesforce": field} for field in VALUES]
    return [*entries, {"hubspot": "worth", "salesforce": {"contact": "Account.Worth__c"}}]


def pulled(home: Path, server: SandboxServer, **options: Any) -> list[tuple[Any, ...]]:
    """The versions in raw after a pull: the record, and its fields."""
    server.story.world.now = server.story.world.now.replace(microsecond=0)
    assert pull_only(home, server, mapping=mapping(), **options) is None
    with Warehouse(home).connect() as connection:
        return connection.execute(
            "select email, fields from (from raw.salesforce_lead union all from raw.salesforce_contact) order by email, pull_no"
        ).fetchall()


@pytest.mark.parametrize("first_by_rest", [False, True])
def test_a_value_of_any_type_is_one_text_by_rest_and_by_a_job(tmp_path: Path, org: SandboxServer, first_by_rest: bool) -> None:
    home = tmp_path / "home"
    ways = [{"rest_rows": 10_000}, {"rest_rows": 0}]
    if first_by_rest:  # a first pull is a job; what follows it comes by REST
        pulled(home, org)
        for record in org.story.world.records.values():
            org.story.world.edit_record(record, {"Phone": "1", "Revenue__c": "99213207"})
        for record in org.story.world.records.values():
            org.story.world.edit_record(record, {"Revenue__c": "99213206"})
        ways.reverse()
        before = pulled(home, org, salesforce_overlap_minutes=YEAR, rest_rows=10_000)
    else:
        before = pulled(home, org)
    for way in ways:
        org.faults.requests.clear()
        assert pulled(home, org, salesforce_overlap_minutes=YEAR, **way) == before
        assert any("/jobs" in line for line in org.faults.requests) is (way["rest_rows"] == 0)
    for _, fields in before:
        assert {field: fields[field] for field in VALUES} == {field: shown for field, (_, _, shown) in VALUES.items()}


def test_a_number_that_was_edited_is_a_new_version(tmp_path: Path, org: SandboxServer) -> None:
    home = tmp_path / "home"
    before = len(pulled(home, org))
    record: SalesforceRecord = next(iter(org.story.world.records.values()))
    org.story.world.edit_record(record, {"Revenue__c": "99213206.01"})
    versions = pulled(home, org)
    assert len(versions) == before + 1
    assert versions[1][1]["Revenue__c"] == "99213206.01"


def test_a_number_of_the_account_differs_from_nothing_in_the_nightly_comparison(tmp_path: Path, org: SandboxServer) -> None:
    home = tmp_path / "home"
    pulled(home, org)
    pulled(home, org, salesforce_overlap_minutes=YEAR)  # by REST
    org.faults.requests.clear()
    before = pulled(home, org, full=True)
    assert not any("Id+IN" in line for line in org.faults.requests), "nothing differs"
    next(record for record in org.story.world.records.values() if record.type == "Contact").fields["Account.Worth__c"] = "5"
    after = pulled(home, org, full=True)
    assert (len(after) - len(before), after[-1][1]["Account.Worth__c"]) == (1, "5")


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("9.9213206E7", "number", "99213206"), ("99213206.0", "number", "99213206"), ("9.9213206e+7", "number", "99213206"), ("-0.0", "number", "0"),
        ("1.0E-5", "number", "0.00001"), ("007", "number", "7"), ("1.0E30", "number", "1.0E30"), ("n/a", "number", "n/a"), ("", "number", ""),
        (None, "number", None),
        ("123456789012345678", "number", "123456789012345678"),
        ("2024-05-01T10:00:00.000+0000", "moment", "2024-05-01T10:00:00.000Z"), ("2024-05-01T12:00:00+02:00", "moment", "2024-05-01T10:00:00.000Z"),
        ("2024-05-01T10:00:00Z", "moment", "2024-05-01T10:00:00.000Z"), ("2024-05-01T10:00:00.123Z", "moment", "2024-05-01T10:00:00.123Z"),
        ("soon", "moment", "soon"), ("1714557600000", "moment", "1714557600000"), (None, "moment", None),
    ],
)  # fmt: skip
def test_a_text_of_raw_is_plain_and_what_is_none_stays(text: str | None, kind: str, shown: str | None) -> None:
    macro = {"number": "main.plain_number", "moment": "main.plain_moment"}[kind]
    assert Crm().connection.execute(f"select {macro}(cast(? as varchar))", [text]).fetchone() == (shown,)
