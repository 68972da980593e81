"""`bindwatch connect`: what a portal's own data tell of how it is set up, over real HTTP against the sandbox."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from assets.connect.compare import tell
from assets.connect.discover import Discovery, discover, sampled
from assets.connect.exported import Exported, read_exports
from assets.connect.policy_file import rewritten
from assets.connect.sample import describe_all
from assets.policy import Policy, read_policy
from assets.problems import ConfigurationProblem
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.salesforce_org import Org
from pipelines.connect import connect
from sandbox.fields import MAPPING, SALESFORCE_TYPES
from sandbox.integration import catch_up
from sandbox.people import make_people
from sandbox.portal import FieldRule, PortalSettings
from sandbox.server import SandboxServer
from sandbox.story import Story
from sandbox.world import id18
from tests.live import served, some_days_ago
from tests.pulls import access_to

pytestmark = pytest.mark.filterwarnings("ignore")

RULES: dict[str, FieldRule] = {
    "jobtitle": "prefer_salesforce",
    "phone": "two_way",
    "mobilephone": "always_salesforce",
    "fax": "prefer_salesforce",
    "salutation": "two_way",
}
FIELDS = {"jobtitle": "Title", "phone": "Phone", "mobilephone": "MobilePhone", "fax": "Fax"}


def worked_in(settings: PortalSettings, people: int = 120, seed: int = 3) -> Story:
    """A portal in which people edited HubSpot, on filled Salesforce fields and on blank ones; records carry a copy of the title that nobody maps."""
    until = some_days_ago(3)
    story = Story(make_people(people, seed, until - timedelta(days=2)), seed, until - timedelta(days=2), settings)
    world, dice = story.world, random.Random(seed)
    for record in world.records.values():
        record.fields["Title_Old__c"] = record.fields.get("Title") if dice.random() < 0.9 else "Clerk"
    pairs = [
        (contact, bound)
        for contact in world.contacts.values()
        if contact.archived_at is None
        and (bound := world.records.get(contact.bound_id or ""))
        and bound.is_live
        and len(world.live_records(contact.email)) == 1
    ]
    # each pair is edited once: its record tells then who wrote it last
    cases = [(name, is_blank) for name in FIELDS for is_blank in (False, True) for _ in range(8)]
    for name, is_blank in cases:
        field = FIELDS[name]
        found = next((pair for pair in pairs if bool(pair[1].fields.get(field)) is not is_blank and bool(pair[0].value(name)) is not is_blank), None)
        if found is None:
            continue
        pairs.remove(found)
        world.write(found[0], {name: f"+49 30 {dice.randrange(10**6, 10**7)}"}, "CRM_UI")
        catch_up(world, settings, world.now + timedelta(minutes=20))
    return story


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    patch = pytest.MonkeyPatch()
    for name in ("Lead", "Contact"):
        patch.setitem(SALESFORCE_TYPES[name], "Title_Old__c", "string")
    story = worked_in(PortalSettings(field_rules=RULES, create_object="contact"))
    with served(story, tmp_path_factory.mktemp("portal")) as server:
        yield server
    patch.undo()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "bindwatch.toml"


def environment(patch: pytest.MonkeyPatch, server: SandboxServer, policy: Path) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        patch.delenv(name, raising=False)
    for name, value in {**server.environment, "BINDWATCH_HOME": str(policy.parent), "BINDWATCH_CONFIG": str(policy)}.items():
        patch.setenv(name, value)


def asked(policy: Path, code: int, write: bool = False, mappings: list[Path] | None = None, contacts: int = 1000) -> dict[str, Any]:
    path = policy.parent / "answer.json"
    assert connect(mappings or [], contacts, path, write) == code
    answer: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return answer


def test_a_portal_tells_what_is_mapped_and_nothing_certain_is_wrong(portal: SandboxServer, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, portal, policy)
    lines: list[str] = []
    monkeypatch.setattr(portal.faults, "on_request", lines.append)
    answer = asked(policy, 0)
    mapping = {entry["hubspot"]: entry for entry in answer["mapping"]}
    for name, entry in mapping.items():
        expected = ("Email", "Email") if name == "email" else MAPPING[name]
        assert (entry["lead"], entry["contact"]) in {expected, (expected[0], None), (None, expected[1])}, name
        if entry["rule"] is not None and name != "salesforceownerid":
            assert entry["rule"] == RULES.get(name, "prefer_salesforce"), name
    assert mapping["jobtitle"]["certain"] and (mapping["jobtitle"]["lead"], mapping["jobtitle"]["contact"]) == ("Title", "Title")
    assert mapping["phone"]["rule"] == "two_way"
    assert answer["integration"]["kind"] == "native"
    assert answer["knobs"]["integration_user_id"] == {**answer["knobs"]["integration_user_id"], "value": id18("0055e000000Int1"), "certain": True}
    assert set(answer["unknown"]) >= {name for name, knob in answer["knobs"].items() if not knob["certain"]}
    # reads alone, and few of them
    salesforce = [line for line in lines if line.startswith("GET /services/data")]
    hubspot = [line for line in lines if "/crm/" in line or "/account-info/" in line]
    assert len(salesforce) <= 150 and len(hubspot) <= 150
    wrote = [
        line for line in lines
        if not line.startswith("GET ") and not any(part in line for part in ("/search", "/batch/read", "/oauth2/token", "/lists/search"))
    ]  # fmt: skip
    assert wrote == []


def test_what_is_written_is_agreed_with_and_all_else_stays(portal: SandboxServer, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, portal, policy)
    before = (
        '# ours\n[policy]\nsettle_minutes = 25 # slow\ncreate_object = "lead"\n\n# the boss wants this\n[[mapping]]\nhubspot = "fax"\nsalesforce = "Fax"\n'
        'rule = "two_way"\n\n[[mapping]]\nhubspot = "nickname__c"\nsalesforce = "Nickname__c"\n\n[gate]\nfail_on = "new"\n'
    )
    policy.write_text(before, "utf-8")
    answer = asked(policy, 1)
    assert {"setting": "integration_user_id", "file": None, "found": id18("0055e000000Int1")} in answer["contradictions"]
    assert {"setting": "mapping.phone.rule", "file": "prefer_salesforce", "found": "two_way"} in answer["contradictions"]
    assert policy.read_text("utf-8") == before
    asked(policy, 0, write=True)
    assert policy.with_name("bindwatch.toml.before").read_text("utf-8") == before
    after = policy.read_text("utf-8")
    for kept in ("# ours", "settle_minutes = 25 # slow", "# the boss wants this", 'fail_on = "new"'):
        assert kept in after, after
    written = {mapping.hubspot: mapping for mapping in read_policy(policy).mapped}
    assert written["phone"].rule == "two_way"
    assert written["nickname__c"].field_of("Lead") == "Nickname__c"  # nothing was found for or against it
    assert len([line for line in after.splitlines() if line.startswith("  { hubspot")]) == len(written)
    assert asked(policy, 0)["contradictions"] == []
    asked(policy, 0, write=True)
    assert policy.read_text("utf-8") == after


def test_hubspots_export_outweighs_what_was_inferred_and_disagreements_are_named(
    portal: SandboxServer, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, portal, policy)
    export = tmp_path / "mappings.csv"
    export.write_text(
        "HubSpot-Feldname;Salesforce-Feldname;Synchronisierungsregel\njobtitle;Title;Immer Salesforce verwenden\nphone;Phone;Zwei-Wege\n"
        "mobilephone;Fax;Salesforce bevorzugen, wenn nicht leer\n", "utf-8",
    )  # fmt: skip
    answer = asked(policy, 0, mappings=[export], contacts=100)
    mapping = {entry["hubspot"]: entry for entry in answer["mapping"]}
    assert set(mapping) == {"jobtitle", "phone", "mobilephone"}
    assert (mapping["jobtitle"]["rule"], mapping["phone"]["rule"], mapping["mobilephone"]["rule"]) == ("always_salesforce", "two_way", "prefer_salesforce")
    assert all(entry["from"] == "file" and entry["certain"] for entry in mapping.values())
    assert {"hubspot": "mobilephone", "file": "Fax", "found": "MobilePhone"} in answer["disagreements"]
    export.write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(ConfigurationProblem, match="no row names a property"):
        connect([export], 50, None, False)


def test_of_several_with_the_label_that_an_export_names_the_data_say_which_is_meant() -> None:
    """A custom field with the label of another one, and a property of a form with that of the mapped one."""
    properties = {"plan_form": {"label": "Plan"}, "plan__c": {"label": "Plan", "groupName": "salesforceinformation"}}
    described = {"Lead": {"Plan_Old__c": {"label": "Plan"}, "Plan_Now__c": {"label": "Plan"}}, "Contact": {}}
    (row,) = _rows_of([["HubSpot Field Name", "Salesforce Field Name", "Sync Rule"], ["Plan", "Plan", "Two way"]], properties, described)
    assert (row.hubspot, row.contact, row.rule) == ("plan__c", None, "two_way")
    found = Discovery("native", 40, mapping=[{
        "property": "plan__c", "lead": "Plan_Now__c", "contact": None, "rule": None, "consent": None, "certain": True, "lead_certain": True,
        "contact_certain": False, "from": "history", "pairs": 40, "equal": 40, "cases_for": 0, "cases_against": 0,
    }])  # fmt: skip
    (entry,) = tell(found, {"plan__c": row}).mapping
    assert (entry["lead"], entry["contact"], entry["from"]) == ("Plan_Now__c", None, "file")


def _rows_of(rows: list[list[str]], properties: dict[str, Any], described: dict[str, Any]) -> list[Exported]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mappings.csv"
        path.write_text("".join(",".join(row) + "\n" for row in rows), "utf-8")
        return list(read_exports([path], properties, described).values())


def test_a_portal_that_a_middleware_keeps_is_said_first_and_nothing_is_written(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    story = worked_in(PortalSettings(), people=60)
    for contact in story.world.contacts.values():
        for versions in contact.history.values():
            for version in versions:
                version.source = "INTEGRATION" if version.source == "SALESFORCE" else version.source
    with served(story, tmp_path / "crm") as server:
        environment(monkeypatch, server, policy)
        answer = asked(policy, 1, write=True)
    assert (answer["integration"]["kind"], answer["mapping"]) == ("middleware", [])
    assert all(knob["value"] is None for knob in answer["knobs"].values())
    assert not policy.exists()
    assert capsys.readouterr().out.startswith("A middleware keeps this portal")


def test_a_portal_in_which_nothing_is_bound_says_so(tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = worked_in(PortalSettings(), people=50)
    for contact in story.world.contacts.values():
        contact.history.pop("salesforceleadid", None)
        contact.history.pop("salesforcecontactid", None)
    with served(story, tmp_path / "crm") as server:
        environment(monkeypatch, server, policy)
        assert asked(policy, 0)["integration"]["kind"] == "none"


@pytest.mark.parametrize(("mark", "line_end"), [(b"\xef\xbb\xbf", "\r\n"), (b"\xef\xbb\xbf", "\n"), (b"", "\r\n")])
def test_a_file_of_a_windows_editor_is_changed_and_stays_one(
    portal: SandboxServer, policy: Path, monkeypatch: pytest.MonkeyPatch, mark: bytes, line_end: str
) -> None:
    environment(monkeypatch, portal, policy)
    before = mark + "[policy]\nsettle_minutes = 25 # für Ann\n".replace("\n", line_end).encode()
    policy.write_bytes(before)
    asked(policy, 0, write=True)
    assert policy.with_name("bindwatch.toml.before").read_bytes() == before
    after = policy.read_bytes()
    assert after.startswith(mark) and "# für Ann".encode() in after and b"integration_user_id" in after
    assert after.count(b"\r\n") == (after.count(b"\n") if line_end == "\r\n" else 0)
    asked(policy, 0, write=True)
    assert policy.read_bytes() == after


def test_a_policy_without_leads_learns_of_the_leads_that_the_integration_makes(tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy.write_text('[policy]\nobjects = ["Contact"]\n')
    with served(worked_in(PortalSettings(create_object="lead")), tmp_path / "crm") as server:
        environment(monkeypatch, server, policy)
        assert {"setting": "create_object", "file": "contact", "found": "lead"} in asked(policy, 0, write=True)["contradictions"]
        after = policy.read_text("utf-8")
        assert read_policy(policy).policy.objects == ("Lead", "Contact")
        asked(policy, 0, write=True)
        assert policy.read_text("utf-8") == after


def test_a_link_to_the_policy_stays_one_and_what_looks_like_markup_is_text(
    portal: SandboxServer, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = tmp_path / "kept-in-git.toml"
    real.write_text('[policy]\ninclusion_list_id = "[/red]"\n\n[[mapping]]\nhubspot = "[/x]"\nsalesforce = "Fax"\n', "utf-8")
    real.chmod(0o600)
    policy.symlink_to(real)
    environment(monkeypatch, portal, policy)
    asked(policy, 0, write=True)
    assert policy.is_symlink() and "integration_user_id" in real.read_text("utf-8") and real.stat().st_mode & 0o777 == 0o600
    told = capsys.readouterr().out
    assert "[/red]" in told
    rows = [line.split() for line in told.splitlines()]
    assert [row[-1] for row in rows if row and row[0] in ("integration_user_id", "secondary_email_matches")] == ["–", "false"]


def test_what_cannot_be_read_or_written_is_said_before_any_crm_is_asked(
    portal: SandboxServer, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, portal, policy)
    lines: list[str] = []
    monkeypatch.setattr(portal.faults, "on_request", lines.append)
    with pytest.raises(ConfigurationProblem, match="no such file"):
        connect([tmp_path / "gone.csv"], 50, None, False)
    monkeypatch.setenv("BINDWATCH_CONFIG", str(tmp_path / "nowhere" / "bindwatch.toml"))
    with pytest.raises(ConfigurationProblem, match="there is no folder"):
        connect([], 50, None, True)
    assert lines == []


def test_a_file_that_cannot_be_changed_without_changing_more_is_left_alone() -> None:
    written = '[links]\ndesk_url = """https://desk\\\n[policy]"""\n\n[policy]\nsettle_minutes = 3\n'
    with pytest.raises(ConfigurationProblem, match="cannot be changed here"):
        rewritten(written, {"create_object": ("contact", "7 cases")}, [], None)


def test_where_the_policy_says_that_there_are_no_leads_none_is_missed(tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contacts may hold the ids of Leads that were there once."""
    policy.write_text('[policy]\nobjects = ["Contact"]\n')
    with served(Story(make_people(50, 1, some_days_ago(3)), 1, some_days_ago(3)), tmp_path / "crm", hidden=frozenset({"Lead"})) as server:
        environment(monkeypatch, server, policy)
        assert asked(policy, 0)["salesforce"]["missing"] == []
        policy.unlink()
        assert "Lead" in asked(policy, 3)["salesforce"]["missing"]


@pytest.mark.parametrize(("hidden", "missing"), [("crm.objects.contacts.read", "crm.objects.contacts.read"), ("Contact", "Contact")])
def test_what_is_missing_is_named_with_a_text_for_the_administrator(
    hidden: str, missing: str, tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(Story(make_people(50, 1, some_days_ago(3)), 1, some_days_ago(3)), tmp_path / "crm", hidden=frozenset({hidden})) as server:
        environment(monkeypatch, server, policy)
        answer = asked(policy, 3)
    assert missing in answer["salesforce"]["missing"] + answer["hubspot"]["missing"]
    told = capsys.readouterr().out
    assert f"Missing: {missing} (needed)" in told and "Please" in told


def test_what_is_no_contact_or_no_history_is_passed_over(portal: SandboxServer) -> None:
    org = Org(access_to(portal))
    client = Portal(HubSpotAccess(portal.environment["HUBSPOT_ACCESS_TOKEN"], portal.environment["HUBSPOT_BASE_URL"]), Policy().pull)
    with sampled(org, client, describe_all(org), contacts=80) as sample:
        known = discover(sample)
        for kind, part in (("contact", "results"), ("record", "records")):
            path = next(path for path in sorted(sample.folder.glob(f"{kind}-*.json")) if len(json.loads(path.read_text())[part]) > 6)
            page = json.loads(path.read_text())
            page[part][:5] = [
                "no object",
                None,
                [1],
                {},
                {**page[part][4], "properties": "x", "propertiesWithHistory": [1], "Account": "x", "CreatedDate": "99"},
            ]
            if kind == "contact":
                page[part][5]["propertiesWithHistory"] |= {"jobtitle": "x", "fax": [{}, 1], "phone": None}
            path.write_text(json.dumps(page))
        found = discover(sample)
    assert found.kind == known.kind and {row["property"] for row in found.mapping} >= {row["property"] for row in known.mapping} - {"fax"}


def test_a_run_can_look_at_a_hundred_contacts_with_twenty_calls_to_each_crm(portal: SandboxServer) -> None:
    org = Org(access_to(portal))
    client = Portal(HubSpotAccess(portal.environment["HUBSPOT_ACCESS_TOKEN"], portal.environment["HUBSPOT_BASE_URL"]), Policy().pull)
    described, _ = describe_all(org), client.properties()
    before = (org.calls, client.calls)
    with sampled(org, client, described, contacts=100, calls=20, before=before) as sample:
        assert org.calls - before[0] <= 20 and client.calls - before[1] <= 20
        assert sample.contacts == 100
