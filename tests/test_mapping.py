"""Which fields are compared: the default list, what somebody adds to it or writes in its place, what the CRMs have of it, and which of it is consent."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assets.dagster.session import Crms, Session
from assets.policy import DEFAULT_MAPPING, Policy, read_policy
from assets.problems import ConfigurationProblem
from assets.warehouse.file import Warehouse
from assets.warehouse.ledger import describe_comparison
from expectations.gate import checks
from pipelines.settings import open_decisions, read_connections
from pipelines.terminal import print_verdict
from sandbox.integration import poll
from sandbox.portal import read_portal
from sandbox.server import SandboxServer
from sandbox.story import Story
from sandbox.users import INTEGRATION_USER
from sandbox.world import id18
from tests.agreement import Pulled
from tests.crm import BOUND, RIVAL, Crm, day, duplicates
from tests.live import check_manifest, runner, served, some_days_ago, story_of

OWNER_A, OWNER_B = "0055e000000Own1", "0055e000000Own2"


def policy_of(text: str, folder: Path) -> Policy:
    path = folder / "policy.toml"
    path.write_text(text)
    return read_policy(path)


def entry(hubspot: str, salesforce: str, rest: str = "") -> str:
    return f'[[mapping]]\nhubspot = "{hubspot}"\nsalesforce = {salesforce}\n{rest}\n'


# ── entries and the default list ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_default_list_is_that_of_the_contract() -> None:
    fields = {mapping.hubspot: (mapping.field_of("Lead"), mapping.field_of("Contact")) for mapping in DEFAULT_MAPPING}
    assert list(fields.items()) == [
        ("firstname", ("FirstName", "FirstName")), ("lastname", ("LastName", "LastName")), ("salutation", ("Salutation", "Salutation")),
        ("phone", ("Phone", "Phone")), ("mobilephone", ("MobilePhone", "MobilePhone")), ("fax", ("Fax", "Fax")), ("jobtitle", ("Title", "Title")),
        ("company", ("Company", "Account.Name")), ("address", ("Street", "MailingStreet")), ("city", ("City", "MailingCity")),
        ("state", ("State", "MailingState")), ("zip", ("PostalCode", "MailingPostalCode")), ("country", ("Country", "MailingCountry")),
        ("website", ("Website", None)), ("industry", ("Industry", None)), ("annualrevenue", ("AnnualRevenue", None)),
        ("numemployees", ("NumberOfEmployees", None)), ("leadsource", ("LeadSource", "LeadSource")), ("rating", ("Rating", None)),
        ("leadstatus", ("Status", None)), ("salesforceownerid", ("OwnerId", "OwnerId")), ("hs_email_optout", ("HasOptedOutOfEmail", "HasOptedOutOfEmail")),
    ]  # fmt: skip
    assert {mapping.hubspot: mapping.rule for mapping in DEFAULT_MAPPING if mapping.rule != "prefer_salesforce"} == {"salesforceownerid": "two_way"}
    assert {mapping.hubspot: mapping.consent_kind for mapping in DEFAULT_MAPPING if mapping.consent_kind} == {"hs_email_optout": "opted_out"}


def test_an_entry_adds_to_the_default_list(tmp_path: Path) -> None:
    policy = policy_of(entry("contact_status__c", '"Status__c"'), tmp_path)
    assert policy.mapped[:-1] == DEFAULT_MAPPING
    assert policy.mapped[-1].hubspot == "contact_status__c"


def test_an_entry_replaces_the_default_one_of_its_property_and_keeps_its_place(tmp_path: Path) -> None:
    policy = policy_of(entry("jobtitle", '"Job__c"', 'rule = "two_way"') + entry("nickname", '"Nick__c"'), tmp_path)
    assert [mapping.hubspot for mapping in policy.mapped] == [*(mapping.hubspot for mapping in DEFAULT_MAPPING), "nickname"]
    assert [(m.field_of("Lead"), m.rule) for m in policy.mapped if m.hubspot == "jobtitle"] == [("Job__c", "two_way")]


def test_an_entry_that_never_syncs_takes_a_default_field_out_of_the_comparison(tmp_path: Path) -> None:
    assert "fax" not in {mapping.hubspot for mapping in policy_of(entry("fax", '"Fax"', 'rule = "none"'), tmp_path).compared}


def test_without_the_defaults_the_list_starts_empty(tmp_path: Path) -> None:
    assert policy_of("[policy]\nmapping_defaults = false\n", tmp_path).mapped == ()
    policy = policy_of("[policy]\nmapping_defaults = false\n" + entry("jobtitle", '"Title"'), tmp_path)
    assert [mapping.hubspot for mapping in policy.mapped] == ["jobtitle"]


def test_an_entry_may_leave_one_of_the_two_objects_out(tmp_path: Path) -> None:
    policy = policy_of(entry("score", '{ lead = "Score__c" }') + entry("birthday", '{ contact = "Birthdate" }'), tmp_path)
    score, birthday = policy.mapped[-2:]
    assert (score.field_of("Contact"), birthday.field_of("Lead")) == (None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (entry("fax", '"Fax"') * 2, "mapped more than once: fax"),
        (entry("hubspot_owner_id", '"OwnerId"') + entry("salesforceownerid", '"OwnerId"'), "hubspot_owner_id is another name of salesforceownerid"),
        (entry("hubspot_owner_id", '"Owner.Name"'), 'compared by Salesforce user: salesforce = "OwnerId"'),
    ],
)
def test_a_property_is_named_once(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationProblem, match=words):
        policy_of(text, tmp_path)


def test_the_owner_in_hubspot_is_the_owner_by_salesforce_user(tmp_path: Path) -> None:
    policy = policy_of(entry("hubspot_owner_id", '"OwnerId"', 'rule = "always_salesforce"'), tmp_path)
    assert len(policy.mapped) == len(DEFAULT_MAPPING)
    assert [mapping.rule for mapping in policy.mapped if mapping.hubspot == "salesforceownerid"] == ["always_salesforce"]
    assert policy.written(policy.mapped[-2])


# ── what both CRMs have of it ────────────────────────────────────────────────────────────────────────────────────────────────────

HIDDEN = frozenset({"Lead.Fax", "Contact.Fax", "Contact.Salutation", "rating", "jobtitle"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """An org without Fax and, on Contacts, Salutation; a portal without rating and jobtitle."""
    story = Story([], 1, some_days_ago(1))
    story.world.create_record("Contact", {"LastName": "Lee", "Email": "ann@example.com"})
    poll(story.world, story.settings)
    with served(story, tmp_path_factory.mktemp("sandbox"), HIDDEN) as server:
        yield server


def look(server: SandboxServer, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Crms:
    """What a run learns from both CRMs before it pulls anything."""
    policy = folder / "bindwatch.toml"
    policy.write_text(text)
    for name, value in {**server.environment, "BINDWATCH_HOME": str(folder / "home"), "BINDWATCH_CONFIG": str(policy)}.items():
        monkeypatch.setenv(name, value)
    warehouse = Warehouse(folder / "home")
    session = Session(warehouse, open_decisions(), read_connections)
    with warehouse.connect() as connection:
        return session.crms(connection, "run")


def test_what_the_crms_lack_of_the_defaults_is_left_out_and_named(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crms = look(server, "", tmp_path, monkeypatch)
    assert "the field Lead.Fax, which fax is mapped to by default" in crms.fields["Lead"].not_seen
    assert "the field Contact.Salutation, which salutation is mapped to by default" in crms.fields["Contact"].not_seen
    assert "the property jobtitle, which is mapped by default" in crms.properties.not_seen
    assert not {"Fax", "Salutation"} & crms.fields["Contact"].mapped.keys()
    assert not {"rating", "jobtitle"} & set(crms.properties.properties)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (entry("fax", '"Fax"'), ['hubspot = "fax"', "Salesforce's Lead has no field Fax", "Salesforce's Contact has no field Fax"]),
        (entry("salutation", '"Salutation"'), ["Salesforce's Contact has no field Salutation", 'salesforce = { lead = "Salutation" }']),
        (entry("fax", '{ lead = "Website", contact = "Fax" }'), ["Salesforce's Contact has no field Fax"]),
        (entry("fax", '{ lead = "Fax" }'), ["Salesforce's Lead has no field Fax"]),
        (entry("company", '{ contact = "Account.Nickname" }'), ["Salesforce's Contact has no field Account.Nickname"]),
        (entry("company", '{ contact = "Household.Name" }'), ["Salesforce's Contact has no field Household.Name"]),
        (entry("phone", '"phone"'), ["Salesforce's Lead has no field phone", "it is spelled Phone"]),
        (entry("phone", '"Contact.Phone"'), ["Salesforce's Lead has no field Contact.Phone", "write Phone alone, without the object"]),
        (entry(" Phone ", '"Phone"'), ["no contact property  Phone ", "its name is phone"]),
        (entry("jobtitle", '"Title"'), ["the HubSpot portal has no contact property jobtitle"]),
        (entry("nickname", '"Nick__c"'), ["no contact property nickname", "Lead has no field Nick__c", "Contact has no field Nick__c"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_somebody_wrote_must_be_there_and_is_named_with_its_side(
    server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    with pytest.raises(ConfigurationProblem) as raised:
        look(server, text, tmp_path, monkeypatch)
    assert [word for word in words if word not in str(raised.value)] == []


@pytest.mark.parametrize(
    "text",
    [
        entry("fax", '"Fax"', 'rule = "none"'), entry("email", '"Email"'), entry("salesforceaccountid", '"AccountId"'),
        entry("company", '{ lead = "Company", contact = "Account.Name" }'), entry("state", '"Owner.Name"'),
        "[policy]\nmapping_defaults = false\n",
    ],
)  # fmt: skip
def test_what_is_there_or_never_compared_is_taken_as_it_is(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    look(server, text, tmp_path, monkeypatch)


def test_a_wrong_entry_ends_a_run_with_2_before_anything_is_pulled(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text(entry("fax", '"Fax"'))
    server.faults.requests.clear()
    result = runner(monkeypatch, tmp_path / "home", policy)(server)
    assert (result.exit_code, 'hubspot = "fax"' in (result.problem or "")) == (2, True)
    assert not any("/jobs/query" in line for line in server.faults.requests)


def test_a_run_without_consent_is_loud_and_as_green_as_it_was(
    server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text(entry("hs_email_optout", '"HasOptedOutOfEmail"') + entry("email", '"Email"'))
    result = runner(monkeypatch, tmp_path / "home", policy)(server)
    assert result.exit_code == 0
    manifest = check_manifest(tmp_path / "home")
    assert manifest["fields_compared"] == len(DEFAULT_MAPPING) - len({"fax", "rating", "jobtitle"})
    assert (manifest["consent_fields"], manifest["never_compared"]) == ([], ["email"])
    named = json.dumps(manifest["coverage"])
    assert [name for name in ("Lead.Fax", "Contact.Fax", "property jobtitle") if name not in named] == []

    print_verdict(result)
    told = capsys.readouterr().out
    for words in (
        f"Compared: {manifest['fields_compared']} fields, none as consent.", "No consent field is compared",
        "email is named in [[mapping]] and is not compared",
        "Not seen: the field Lead.Fax, which fax is mapped to by default (salesforce Lead)",
    ):  # fmt: skip
        assert words in told
    print_verdict(replace(result, manifest=manifest | {"consent_fields": ["hs_email_optout"], "notes": []}))
    told = capsys.readouterr().out
    assert f"Compared: {manifest['fields_compared']} fields, hs_email_optout as consent." in told
    assert "No consent" not in told


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def described(crm: Crm, lead: dict[str, str], contact: dict[str, str], properties: dict[str, str]) -> Crm:
    """What describe and HubSpot's property list said, by name and type."""
    connection = crm._changing()
    for object_type, fields in (("Lead", lead), ("Contact", contact)):
        for name, kind in fields.items():
            connection.execute("insert into raw.salesforce_field values (?, ?, ?, true, null)", [object_type, name, kind])
    for name, kind in properties.items():
        connection.execute("insert into raw.hubspot_property values (?, ?, null, null)", [name, kind])
    return crm


def with_mapping(crm: Crm, *mapping: dict[str, Any], mapping_defaults: bool = True) -> Crm:
    crm.policy = Policy.model_validate({"policy": {"mapping_defaults": mapping_defaults}, "mapping": mapping})
    return crm


def comparison(crm: Crm) -> dict[str, Any]:
    return describe_comparison(crm.build().connection)


def test_what_one_side_alone_has_is_not_compared_and_not_counted() -> None:
    crm = described(
        Crm(), {"Title": "string", "Rating": "picklist", "Fax": "phone"}, {"Title": "string"}, {"jobtitle": "string", "rating": "string", "city": "string"}
    )
    assert {(row["property"], row["object_type"]) for row in crm.build().rows("core.mapped_field")} == {
        ("jobtitle", "Lead"), ("jobtitle", "Contact"), ("rating", "Lead"),
    }  # fmt: skip
    assert comparison(crm) == {
        "fields_compared": 2, "consent_fields": [], "never_compared": [],
        "notes": ["No consent field is compared: nobody is warned before a person who opted out is written to. Map one with consent in bindwatch.toml."],
    }  # fmt: skip


def test_the_e_mail_and_the_account_are_never_compared_and_a_run_says_so() -> None:
    crm = with_mapping(Crm(), {"hubspot": "email", "salesforce": "Email"}, {"hubspot": "salesforceaccountid", "salesforce": {"contact": "AccountId"}})
    assert {"email", "salesforceaccountid"}.isdisjoint(row["property"] for row in crm.build().rows("core.mapped_field"))
    found = comparison(crm)
    assert (found["fields_compared"], found["never_compared"]) == (len(DEFAULT_MAPPING), ["email", "salesforceaccountid"])
    assert [note.split(" is named")[0] for note in found["notes"]] == ["email", "salesforceaccountid"]


@pytest.mark.parametrize(
    ("entries", "defaults", "consent"),
    [
        ([], True, ["hs_email_optout"]),
        ([{"hubspot": "newsletter", "salesforce": "Newsletter__c", "consent": "opted_in"}], True, ["hs_email_optout", "newsletter"]),
        ([{"hubspot": "hs_email_optout", "salesforce": "HasOptedOutOfEmail"}], True, []),
        ([{"hubspot": "hs_email_optout", "salesforce": "HasOptedOutOfEmail", "rule": "none", "consent": True}], True, []),
        ([{"hubspot": "jobtitle", "salesforce": "Title"}], True, ["hs_email_optout"]),
        ([{"hubspot": "jobtitle", "salesforce": "Title"}], False, []),
    ],
)
def test_consent_fields_are_those_that_are_compared_as_consent(entries: list[dict[str, Any]], defaults: bool, consent: list[str]) -> None:
    found = comparison(with_mapping(Crm(), *entries, mapping_defaults=defaults))
    assert found["consent_fields"] == consent
    assert (found["notes"] != []) == (consent == [])


# ── the owner ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

REFERENCE = {"OwnerId": "reference"}


def owned(rival_owner: str, hubspot_owner: str = id18(OWNER_A), **contact: str) -> Crm:
    """A contact of one owner, bound to a record of the same, and a rival of some owner."""
    crm = described(duplicates({"OwnerId": OWNER_A}, {"OwnerId": rival_owner}), REFERENCE, REFERENCE, {"salesforceownerid": "string"})
    crm.contact(bound=BOUND, properties={"salesforceownerid": hubspot_owner, **contact})
    return crm


def test_a_switch_moves_the_owner_to_the_salesforce_user_of_the_rival() -> None:
    crm = owned(id18(OWNER_B))
    (row,) = crm.build().rows("core.overwrite")
    assert (row["rival_id"], row["property"], row["effect"], row["rule"]) == (RIVAL, "salesforceownerid", "overwrite", "two_way")
    assert (row["hubspot_value"], row["salesforce_value"]) == (id18(OWNER_A), id18(OWNER_B))
    finding = crm.finding("unsafe_duplicate")
    assert (finding["severity"], finding["fields_at_risk"], finding["blast_radius"]) == ("block", ["salesforceownerid"], 6)


@pytest.mark.parametrize(("rival", "hubspot"), [(OWNER_A, id18(OWNER_A)), (id18(OWNER_A), OWNER_A), (id18(OWNER_A), id18(OWNER_A))])
def test_one_owner_is_one_whether_by_15_or_by_18_characters(rival: str, hubspot: str) -> None:
    assert owned(rival, hubspot).build().rows("core.overwrite") == []


def test_an_owner_that_differs_in_case_alone_is_another_user() -> None:
    assert [row["effect"] for row in owned(OWNER_A.replace("Own", "oWN")).build().rows("core.overwrite")] == ["overwrite"]


def test_an_owner_that_hubspot_does_not_know_is_filled_in_and_nothing_is_lost() -> None:
    assert [row["effect"] for row in owned(OWNER_B, "").build().rows("core.overwrite")] == ["fill"]


def test_hubspots_own_number_of_the_owner_is_not_compared() -> None:
    crm = with_mapping(owned(id18(OWNER_B), hubspot_owner_id="4711"), {"hubspot": "hubspot_owner_id", "salesforce": "OwnerId", "rule": "two_way"})
    assert [(row["property"], row["hubspot_value"]) for row in crm.build().rows("core.overwrite")] == [("salesforceownerid", id18(OWNER_A))]


def test_a_fill_by_a_merge_is_no_riddle_because_the_owner_goes_both_ways() -> None:
    """A merge never fills an owner: no record is without one."""
    crm = Crm()
    crm.lead(1, email="other@example.com", modified=day(5))
    crm.lead(2, modified=day(4))
    crm.contact(bound=BOUND)
    crm.plan((BOUND, RIVAL))
    (row,) = crm.build().rows("core.planned_merge")
    assert "was not compared" not in row["reason"]


# ── the CRMs in miniature ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_demo_has_opt_outs_of_both_kinds() -> None:
    """A jump that would opt somebody out for good, and an address that is opted out in Salesforce alone."""
    story = story_of(400)
    story.advance(4)
    files = [file for file in checks() if file.name in ("opt_out_imminent", "consent_conflict")]
    found = Pulled({"integration_user_id": INTEGRATION_USER}, {}, files).pull([story.world], story.world.now).rows("review.finding")
    assert {row["check_name"] for row in found} == {"opt_out_imminent", "consent_conflict"}


def test_a_portal_that_maps_only_what_is_written_carries_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "bindwatch.toml"
    path.write_text("[policy]\nmapping_defaults = false\n" + entry("jobtitle", '"Title"'))
    portal = read_portal(path)
    assert (portal.field_rule("jobtitle"), portal.field_rule("phone"), portal.field_rule("hs_email_optout")) == ("prefer_salesforce", "none", "none")
    path.write_text(entry("jobtitle", '"Title"', 'rule = "two_way"'))
    assert (read_portal(path).field_rule("jobtitle"), read_portal(path).field_rule("phone")) == ("two_way", "prefer_salesforce")
