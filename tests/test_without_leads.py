"""An org without Leads (contacts only, person accounts, non-profits): it is guarded like any other, once the policy says so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assets.policy import Policy, read_policy
from assets.problems import ConfigurationProblem
from assets.pull.salesforce import describe_fields
from assets.pull.salesforce_org import Org
from sandbox.integration import poll
from sandbox.portal import PortalSettings, read_portal
from sandbox.server import SandboxServer
from sandbox.story import Story
from tests.crm import Crm, day, lead_id
from tests.live import ROOT, check_manifest, published, runner, served, some_days_ago, story_of
from tests.pulls import access_to, pull_and_build, pull_only

CONTACTS_ONLY = '[policy]\nobjects = ["Contact"]\n'


@contextmanager
def contacts_only(folder: Path) -> Iterator[SandboxServer]:
    """Three Salesforce Contacts with the HubSpot contacts that sync with them, in an org that has no Leads, and a portal that has no property for them."""
    story = Story([], 1, some_days_ago(3), PortalSettings(create_object="contact"))
    for number in range(3):
        story.world.create_record("Contact", {"LastName": "Lee", "Title": "CEO", "Email": f"p{number}@example.com"})
    poll(story.world, story.settings)
    with served(story, folder / "sandbox", hidden=frozenset({"Lead", "salesforceleadid"})) as server:
        yield server


def policy_with(text: str, folder: Path) -> Path:
    (folder / "bindwatch.toml").write_text(text)
    return folder / "bindwatch.toml"


@pytest.mark.slow
def test_an_org_without_leads_ends_green_and_red_as_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home", policy_with(CONTACTS_ONLY, tmp_path))
    with contacts_only(tmp_path) as server:
        green = run(server)
        assert (green.exit_code, green.problem) == (0, None)
        assert [pull["object"] for pull in check_manifest(tmp_path / "home")["coverage"]["salesforce"]] == ["Contact"]
        world = server.story.world
        world.create_record("Contact", {"LastName": "Lee", "Title": "Buyer", "Email": "p1@example.com"})
        world.create_contact({"email": "new@example.com", "lastname": "New"}, "FORM")
        red = run(server, full=True)
        assert (red.exit_code, red.verdict) == (1, "fail")
    assert {row["object_type"] for row in published(tmp_path / "home", "salesforce_person")} == {"Contact"}
    assert "unsafe_duplicate" in {row["check_name"] for row in published(tmp_path / "home", "finding")}
    assert {row["email"]: row["prediction"] for row in published(tmp_path / "home", "binding")}["new@example.com"] == "create_contact"


def test_a_policy_that_does_not_say_so_ends_with_2_and_the_line_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home", policy_with("", tmp_path))
    with contacts_only(tmp_path) as server:
        server.hubspot.properties.append("salesforceleadid")
        result = run(server)
        assert result.exit_code == 2
        assert 'objects = ["Contact"] under [policy]' in (result.problem or "")
        assert not any("/jobs" in line for line in server.faults.requests)


def test_an_org_in_which_neither_is_seen_lacks_a_permission_not_a_line(tmp_path: Path) -> None:
    story = Story([], 1, some_days_ago(3))
    with served(story, tmp_path / "sandbox", hidden=frozenset({"Lead", "Contact"})) as server:
        assert "cannot see the object Lead, the object Contact" in (pull_only(tmp_path / "home", server) or "")


def test_leads_that_the_org_has_and_the_policy_leaves_out_are_named_in_the_coverage(tmp_path: Path) -> None:
    story = Story([], 1, some_days_ago(3))
    with served(story, tmp_path / "sandbox") as server:
        found = describe_fields(Org(access_to(server)), Policy.model_validate({"policy": {"objects": ["Contact"]}}))
    assert list(found) == ["Contact"]
    assert found["Contact"].not_seen == ["Leads, which the org has and policy.objects leaves out"]


def test_without_leads_every_table_is_built_and_nothing_of_them_is_asked_for(tmp_path: Path) -> None:
    with contacts_only(tmp_path) as server:
        outcome = pull_and_build(tmp_path / "home", server, knobs={"objects": ["Contact"]})
        assert outcome.problem is None
        assert not any("Lead" in line for line in server.faults.requests if "describe" not in line)
        assert (len(outcome.tables["salesforce_person"]), outcome.tables["finding"]) == (3, [])
        server.story.world.create_record("Contact", {"LastName": "Lee", "Title": "Buyer", "Email": "p1@example.com"})
        outcome = pull_and_build(tmp_path / "home", server, knobs={"objects": ["Contact"]})
    assert [row["check_name"] for row in outcome.rows("finding")] == ["unsafe_duplicate"]


def test_leads_that_were_pulled_before_the_policy_left_them_out_are_not_guarded_any_more() -> None:
    crm = Crm(objects=["Contact"])
    crm.lead(1)
    crm.salesforce_contact(2)
    assert [row["object_type"] for row in crm.build().rows("core.salesforce_person")] == ["Contact"]


def test_nothing_of_leads_that_were_pulled_before_keeps_a_run_from_proving_something() -> None:
    crm = Crm(objects=["Contact"])
    crm.connection.execute("delete from raw.pull where object = 'Lead'")
    crm.lead(1)
    crm.salesforce_contact(2)
    crm.set_aside(lead_id(3))
    assert crm.findings("pull_incomplete") == []
    suite = json.loads((ROOT / "expectations" / "tables" / "staging.json").read_text("utf-8"))
    queries = [
        one["kwargs"]["unexpected_rows_query"] for one in suite["expectations"] if one["meta"]["table"] == "staging.salesforce_record" and "_query" in str(one)
    ]
    assert queries
    assert [crm.rows(query.replace("{batch}", "staging.salesforce_record")) for query in queries] == [[]] * len(queries)


@pytest.mark.slow
def test_a_home_goes_on_when_its_policy_leaves_leads_out_from_now_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = story_of(20)
    with served(story, tmp_path / "sandbox") as server:
        run = runner(monkeypatch, tmp_path / "home", policy_with("", tmp_path))
        assert run(server).exit_code in (0, 1)
        policy_with(CONTACTS_ONLY, tmp_path)
        server.salesforce.hidden = frozenset({"Lead"})
        after = run(server)
        assert (after.exit_code in (0, 1), after.problem) == (True, None)
        assert {row["object_type"] for row in published(tmp_path / "home", "salesforce_person")} == {"Contact"}


def test_a_run_in_which_contacts_were_not_pulled_is_incomplete_and_one_without_leads_is_not() -> None:
    crm = Crm(objects=["Contact"])
    crm.connection.execute("delete from raw.pull where object = 'Lead'")
    crm.salesforce_contact(2)
    assert crm.findings("pull_incomplete") == []
    crm.connection.execute("delete from raw.pull where object = 'Contact'")
    assert "Contact is incomplete" in crm.finding("pull_incomplete")["reason"]


def test_what_a_run_saw_counts_for_the_score_of_predictions_without_leads_too() -> None:
    scored = []
    for objects in (["Lead", "Contact"], ["Contact"]):
        crm = Crm(objects=objects)
        if objects == ["Contact"]:
            crm.connection.execute("delete from raw.pull where object = 'Lead'")
        first, second = crm.salesforce_contact(1, modified=day(3)), crm.salesforce_contact(2, modified=day(5))
        crm.contact(bound=second, since=day(6), synced=day(6))
        crm.history("101", "salesforcecontactid", (day(4), first))
        scored.append(crm.build().rows("select policy, predictions, hits from core.prediction_score order by all"))
    assert scored[0] == scored[1]


# ── the setting ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "objects", "creates"),
    [
        ("", ("Lead", "Contact"), "lead"), (CONTACTS_ONLY, ("Contact",), "contact"), (f'{CONTACTS_ONLY}create_object = "none"\n', ("Contact",), "none"),
        (f'{CONTACTS_ONLY}create_object = "contact"\n', ("Contact",), "contact"), ('[policy]\nobjects = ["Contact", "Lead"]\n', ("Lead", "Contact"), "lead"),
    ],
)  # fmt: skip
def test_without_leads_contacts_are_created_unless_none_is_written(tmp_path: Path, text: str, objects: tuple[str, ...], creates: str) -> None:
    path = policy_with(text, tmp_path)
    knobs = read_policy(path).policy
    assert (knobs.objects, knobs.create_object) == (objects, creates)
    assert read_portal(path).create_object == creates


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{CONTACTS_ONLY}create_object = "lead"\n', ["line 3: policy.create_object", '"none"']),
        ('[policy]\ncreate_object = "lead"\nobjects = ["Contact"]\n', ["line 2: policy.create_object"]),
        ('[policy]\nobjects = ["Lead"]\n', ["line 2: policy.objects", "every org has Contacts"]),
        ("[policy]\nobjects = []\n", ["line 2: policy.objects"]),
        ('[policy]\nobjects = ["Contact", "Contact"]\n', ["line 2: policy.objects"]),
        ('[policy]\nobjects = ["contact"]\n', ["line 2: policy.objects"]),
        ('[policy]\nobjects = "Contact"\n', ["line 2: policy.objects"]),
    ],
)
def test_what_cannot_be_is_named_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationProblem) as raised:
        read_policy(policy_with(text, tmp_path))
    assert all(word in str(raised.value) for word in words), raised.value
