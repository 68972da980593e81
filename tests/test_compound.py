"""Fields that Salesforce shows as one and gives to nobody as one: named before the pull, with the fields to map instead."""

from pathlib import Path

import pytest

from assets.policy import Policy
from assets.pull.salesforce import describe_fields
from assets.pull.salesforce_org import Org
from pipelines.terminal import print_verdict
from sandbox.fields import SALESFORCE_TYPES as FIELDS
from tests.live import runner, served, story_of
from tests.pulls import access_to

PARTS = {"Home__c": "location", "Home__Latitude__s": "double", "Home__Longitude__s": "double", "Photo__c": "base64"}
ENTRY = '[[mapping]] hubspot = "address"'
ADDRESS = '[[mapping]]\nhubspot = "address"\nsalesforce = { lead = "Address", contact = "MailingAddress" }\n'


def test_an_address_as_one_field_ends_with_2_and_names_its_parts_before_anything_is_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text(ADDRESS)
    run = runner(monkeypatch, tmp_path / "home", policy)
    with served(story_of(5), tmp_path / "sandbox") as server:
        result = run(server)
        assert not any("/jobs" in line or "/queryAll" in line for line in server.faults.requests)
    assert result.exit_code == 2
    for words in (
        f"{ENTRY}: Lead.Address is several fields in one (address)", "map one of its parts instead: Street, City, State, PostalCode, Country",
        f"{ENTRY}: Contact.MailingAddress", "MailingStreet, MailingCity, MailingState, MailingPostalCode, MailingCountry",
    ):  # fmt: skip
        assert words in (result.problem or "")
    assert len((result.problem or "").splitlines()) == 3, "each of them, and what to do, stands in a line of its own"
    print_verdict(result)
    said = capsys.readouterr().out
    assert "A setting has to be corrected first." in said and "could not be completed" not in said


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"contact": "Home__c"}, "Contact.Home__c is several fields in one (location); map one of its parts instead: Home__Latitude__s, Home__Longitude__s"),
        ({"contact": "Photo__c"}, "Contact.Photo__c is a file (base64), which no run reads; take it out"),
        ({"lead": "Name"}, "Lead.Name is several fields in one (string); map one of its parts instead: FirstName, LastName"),
        ({"contact": "Account.BillingAddress"}, "Contact.Account.BillingAddress is several fields in one (address); map one of its parts instead: "
         "Account.BillingStreet, Account.BillingCity"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_pulled_as_one_is_named_with_what_to_map_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: dict[str, str], words: str
) -> None:
    monkeypatch.setitem(FIELDS, "Contact", {**FIELDS["Contact"], **PARTS})
    policy = Policy.model_validate({"mapping": [{"hubspot": "address", "salesforce": field}]})
    with served(story_of(5), tmp_path / "sandbox") as server:
        (lacking,) = describe_fields(Org(access_to(server)), policy)["Contact" if "contact" in field else "Lead"].lacking
    assert lacking == f"{ENTRY}: {words}"


def test_the_name_of_an_account_is_one_field(tmp_path: Path) -> None:
    policy = Policy.model_validate({"mapping": [{"hubspot": "company", "salesforce": {"lead": "Company", "contact": "Account.Name"}}]})
    with served(story_of(5), tmp_path / "sandbox") as server:
        assert "Account.Name" in describe_fields(Org(access_to(server)), policy)["Contact"].fields


def test_a_mapping_that_is_switched_off_may_name_anything(tmp_path: Path) -> None:
    policy = Policy.model_validate({"mapping": [{"hubspot": "address", "salesforce": {"contact": "MailingAddress"}, "rule": "none"}]})
    with served(story_of(5), tmp_path / "sandbox") as server:
        assert not any(fields.lacking for fields in describe_fields(Org(access_to(server)), policy).values())


def test_the_sandbox_refuses_an_address_in_a_bulk_query_as_salesforce_does(tmp_path: Path) -> None:
    with served(story_of(5), tmp_path / "sandbox") as server:
        org = Org(access_to(server))
        job = org.start_job("SELECT Id, MailingAddress FROM Contact")
        states = [org.job(job) for _ in range(3)]
    assert states[-1]["state"] == "Failed"
    assert "Selecting compound data not supported in Bulk Query" in states[-1]["errorMessage"]
