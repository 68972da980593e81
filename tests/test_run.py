"""The main job over real HTTP: what is published, what the verdict says, and what happens when something is wrong."""

import hashlib
import json
import logging
import shutil
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Literal

import dagster as dg
import pytest
from dagster._core.storage.tags import WILL_RETRY_TAG
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from assets.dagster.keys import REFUSED_TAG, key
from assets.warehouse.file import Warehouse
from pipelines import guarded_run
from pipelines.dagster_runs import home_id, tags_of
from pipelines.terminal import print_verdict
from sandbox import salesforce_api
from sandbox.hubspot_api import HubSpotApi
from sandbox.integration import poll
from sandbox.people import NASTY
from sandbox.rules import InvalidState
from sandbox.story import Story
from sandbox.world import id18
from tests.live import check_manifest, published, runner, served, snapshot, some_days_ago, story_of
from tests.pulls import Outcome, access_to, pull, pull_and_build

pytestmark = pytest.mark.filterwarnings("ignore")


PEOPLE = ("salesforce_person", "hubspot_contact")


def empty_story() -> Story:
    return Story([], 1, some_days_ago(3))


def small_story() -> Story:
    """One person: a Contact in Salesforce, and the HubSpot contact bound to it."""
    story = empty_story()
    story.world.create_record("Contact", {"LastName": "Lee", "Email": "ann@example.com"})
    poll(story.world, story.settings)
    return story


def test_two_runs_publish_both_crms_and_find_what_happened_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = runner(monkeypatch, tmp_path / "home", optimized=True)
    story = story_of(600)
    with served(story, tmp_path / "sandbox") as server:
        first = run(server)
        assert first.verdict == "fail"
        assert {row["check_name"] for row in published(tmp_path / "home", "finding")}.isdisjoint({"switch_happened", "merged_into_unbound"})
        story.advance(4)
        second = run(server)
    home = tmp_path / "home"
    manifest = check_manifest(home)
    assert (second.verdict, second.exit_code, manifest["verdict"], manifest["run_id"]) == ("fail", 1, "fail", second.run_id)
    modes = {pull["object"]: pull["mode"] for pulls in manifest["coverage"].values() for pull in pulls}
    assert modes["Lead"] == modes["Contact"] == modes["contact"] == "incremental"
    # what the run knows, and what it does not, in the manifest and in Dagster
    lead = next(pull for pull in manifest["coverage"]["salesforce"] if pull["object"] == "Lead")
    assert lead["complete"]
    assert lead["from"] < lead["latest_stamp"] <= lead["to"]
    assert (lead["rows"] > 0, lead["new_versions"] > 0, 0 <= lead["lag_seconds"] < 60) == (True, True, True)
    assert any("only a full run compares all ids" in text for text in lead["not_seen"])
    with guarded_run.prepare_instance() as instance:
        event = instance.get_latest_materialization_event(key("raw.salesforce_lead"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["from"].value, metadata["to"].value, metadata["rows"].value) == (lead["from"], lead["to"], lead["rows"])
    assert "full run" in str(metadata["not seen"].value)
    # what was published is what is in the CRMs
    world = story.world
    people = {row["record_id"]: row for row in published(home, "salesforce_person")}
    assert people.keys() == {record.id for record in world.records.values()}
    for record in world.records.values():
        state = "merged" if record.master_id else "deleted" if record.is_deleted else "converted" if record.converted_contact_id else "live"
        assert people[record.id]["state"] == state
        assert people[record.id]["email"] == record.email
    contacts = {row["contact_id"]: row for row in published(home, "hubspot_contact")}
    for contact in world.contacts.values():
        assert contacts[contact.id]["state"] == ("archived" if contact.archived_at else "live")
        assert contacts[contact.id]["email"] == contact.email
    fired = Counter(row["check_name"] for row in published(home, "finding") if row["status"] == "open")
    for check in (
        "unsafe_duplicate", "switch_happened", "switch_imminent", "ambiguous_first_binding", "mislinked_email", "bound_record_unknown", "id_malformed",
        "both_ids_conflict", "same_record_bound_twice", "contact_deleted_by_sync", "latent_duplicate",
    ):  # fmt: skip
        assert fired[check] > 0, check
    assert [row["verdict"] for row in published(home, "run")] == ["fail", "fail"]
    assert not (home / "certified").exists()
    # the log tells of rows and tables, never of a person or a secret
    assert "Salesforce Lead" in caplog.text
    secrets = {server.environment["SALESFORCE_CLIENT_SECRET"], server.environment["HUBSPOT_ACCESS_TOKEN"], *server.salesforce.tokens}
    assert not [word for word in (".example", *secrets) if word in caplog.text]


def test_the_simulator_does_what_was_predicted(tmp_path: Path) -> None:
    story = story_of(400, seed=5)
    with served(story, tmp_path / "sandbox") as server:
        story.advance(2)
        predicted = pull_and_build(tmp_path / "home", server, only=("binding",)).rows("binding")
    for contact in story.world.contacts.values():
        story.world.touch_contact(contact)
    with suppress(InvalidState):
        poll(story.world, story.settings)
    kinds: Counter[str] = Counter()
    for row in predicted:
        contact = story.world.contacts[row["hubspot_contact_id"]]
        kinds[row["prediction"]] += 1
        if row["prediction"] in ("keep", "bind", "switch") and contact.archived_at is None:
            assert contact.bound_id is not None
            assert contact.bound_id[:15] == row["predicted_id"][:15], row
    assert kinds["keep"] > 300
    assert kinds["switch"] > 0
    assert kinds["bind"] > 0


def test_a_clean_pair_of_crms_passes_and_is_certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    story = empty_story()
    story.world.create_record("Contact", {"FirstName": "Ann", "LastName": "Lee", "Email": "ann@example.com"})
    poll(story.world, story.settings)
    with served(story, tmp_path / "sandbox") as server:
        result = run(server)
        assert (result.verdict, result.exit_code, result.problem) == ("pass", 0, None)
        assert (tmp_path / "home" / "certified" / "binding.parquet").exists()
        certified = (tmp_path / "home" / "certified" / "binding.parquet").read_bytes()
        first = check_manifest(tmp_path / "home")
        certificate = first["certified"]
        assert (certificate["run_id"], certificate["rows"], certificate["sha256"]) == (result.run_id, 1, hashlib.sha256(certified).hexdigest())
        # to the next one nothing is new: it judges without building, and certifies anew
        folder = (tmp_path / "home" / "published" / "current").resolve()
        again = run(server)
        assert (again.verdict, again.exit_code, again.problem) == ("pass", 0, None)
        manifest = check_manifest(tmp_path / "home")
        assert manifest["built"] == {**first["built"], "seen_until": manifest["as_of"]}
        assert (manifest["run_id"], manifest["built"]["run_id"]) == (again.run_id, result.run_id)
        assert [check["state"] for check in manifest["checks"]] == [check["state"] for check in (result.manifest or {})["checks"]]
        after = (tmp_path / "home" / "published" / "current").resolve()
        assert {path.name for path in after.iterdir() if not path.samefile(folder / path.name)} == {"run.parquet", "check_run.parquet", "manifest.json"}
        print_verdict(again)
        assert "nothing fell due: its tables and its verdict stand" in " ".join(capsys.readouterr().out.split())
        certificate = manifest["certified"]
        assert certificate["run_id"] == again.run_id
        certified = (tmp_path / "home" / "certified" / "binding.parquet").read_bytes()
        # a red run leaves the last certified table alone, and says how old it is
        story.world.delete_record(next(iter(story.world.records.values())))
        red = run(server)
        assert red.exit_code == 1
        assert check_manifest(tmp_path / "home")["certified"] == certificate
        print_verdict(red)
        assert "Certified bindings: 1, 0 minutes old; this run did not replace them." in capsys.readouterr().out
        assert (tmp_path / "home" / "certified" / "binding.parquet").read_bytes() == certified


def test_empty_crms_are_unproven_until_a_person_says_that_they_are_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(empty_story(), tmp_path / "sandbox") as server:
        first = run(server)
        assert first.exit_code == 3
        assert "no record in Salesforce" in (first.problem or "")
        assert guarded_run.execute(accepted_shrink=["salesforce.Contact", "hubspot.contact"]).exit_code == 0
        assert run(server).exit_code == 0
    assert published(tmp_path / "home", "salesforce_person") == []


def test_values_that_break_careless_software_arrive_unharmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    story = empty_story()
    world = story.world
    for first, last, email in NASTY:
        world.create_record("Lead", {"FirstName": first, "LastName": last, "Email": email, "Company": 'A, "B"\nC'})
        world.create_record("Contact", {"FirstName": first, "LastName": last, "Email": email, "MailingStreet": '1 "Main"\r\nSt, 2'})
    poll(world, story.settings)
    a = world.create_record("Lead", {"LastName": "Cycle", "Email": "cycle@example.com"})
    b = world.create_record("Lead", {"LastName": "Cycle", "Email": "cycle@example.com"})
    for record, master in ((a, b), (b, a)):
        record.is_deleted, record.master_id = True, master.id
    world.create_contact({"email": "x@example.com", "salesforceleadid": id18("00Q9z00000Gone1")}, "IMPORT")
    world.create_contact({"email": "y@example.com", "salesforceleadid": a.id[:16], "firstname": "broken \ud800 half", "lastname": "nul \x00 byte"}, "IMPORT")
    world.create_contact({"email": "z@example.com", "salesforcecontactid": a.id[:17]}, "IMPORT")
    with served(story, tmp_path / "sandbox") as server:
        assert run(server).exit_code == 1
    home = tmp_path / "home"
    people = {row["record_id"]: row for row in published(home, "salesforce_person")}
    assert len(people) == 2 * len(NASTY) + 2
    for record in world.records.values():
        name = " ".join(part for part in (record.fields.get("FirstName"), record.fields.get("LastName")) if part)
        assert people[record.id]["display_name"] == name
    assert people[a.id]["survivor_id"] is None
    assert len(published(home, "hubspot_contact")) == len(world.contacts)
    fired = {row["check_name"] for row in published(home, "finding")}
    assert {"bound_record_unknown", "id_malformed"} <= fired


def test_a_full_run_finds_what_vanished_and_an_incremental_one_does_not(tmp_path: Path) -> None:
    story = empty_story()
    for name in ("ann", "bob"):
        story.world.create_record("Lead", {"LastName": name, "Email": f"{name}@example.com"})
    poll(story.world, story.settings)
    gone = next(iter(story.world.records))
    lost_contact = max(story.world.contacts)
    home = tmp_path / "home"

    def states(outcome: Outcome) -> dict[str, str]:
        people, contacts = outcome.rows("salesforce_person"), outcome.rows("hubspot_contact")
        return {row["record_id"]: row["state"] for row in people} | {row["contact_id"]: row["state"] for row in contacts}

    with served(story, tmp_path / "sandbox") as server:
        pull(home, server)
        removed = story.world.records.pop(gone)
        story.world.contacts.pop(lost_contact)
        assert set(states(pull_and_build(home, server, only=PEOPLE)).values()) == {"live"}
        found = pull_and_build(home, server, full=True)
        assert (states(found)[gone], states(found)[lost_contact]) == ("vanished", "vanished")
        vanished = [row for row in found.rows("finding") if row["check_name"] == "record_vanished"]
        assert {row["salesforce_id"] or row["hubspot_contact_id"] for row in vanished} == {gone, lost_contact}
        story.world.records[gone] = removed
        assert states(pull_and_build(home, server, full=True, only=PEOPLE))[gone] == "live"


def test_a_restored_contact_is_live_again_although_no_stamp_moved(tmp_path: Path) -> None:
    story = empty_story()
    story.world.create_record("Lead", {"LastName": "Lee", "Email": "ann@example.com"})
    poll(story.world, story.settings)
    (contact,) = story.world.contacts.values()
    before = contact.modified_at
    story.world.archive_contact(contact)
    with served(story, tmp_path / "sandbox") as server:
        assert pull_and_build(tmp_path / "home", server, only=PEOPLE).rows("hubspot_contact")[0]["state"] == "archived"
        contact.archived_at, contact.modified_at = None, before.replace(year=2020)
        assert pull_and_build(tmp_path / "home", server, only=PEOPLE).rows("hubspot_contact")[0]["state"] == "live"


def test_the_snapshot_can_be_read_while_a_run_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    story = story_of(40)
    home = tmp_path / "home"
    seen: list[str] = []
    broken: list[BaseException] = []
    with served(story, tmp_path / "sandbox") as server:
        run(server)
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                try:
                    folder = (home / "published" / "current").resolve()
                    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
                    for name in manifest["files"]:
                        assert (folder / name).exists()
                    seen.append(manifest["run_id"])
                except BaseException as error:
                    broken.append(error)
                    return

        reader = threading.Thread(target=read)
        reader.start()
        try:
            second = run(server)
        finally:
            done.set()
            reader.join()
    assert not broken
    assert second.run_id in seen
    assert len(set(seen)) == 2


def test_an_inclusion_list_says_who_is_in_scope(tmp_path: Path) -> None:
    knobs = {"inclusion_list_id": "7"}
    story = empty_story()
    contacts = [story.world.create_contact({"email": f"p{number}@example.com"}, "FORM").id for number in range(250)]
    story.world.lists["7"] = contacts[:150]
    with served(story, tmp_path / "sandbox") as server:
        outcome = pull_and_build(tmp_path / "home", server, only=("binding",), knobs=knobs)
        assert Counter(row["prediction"] for row in outcome.rows("binding")) == {"create_lead": 150, "none": 100}
        del story.world.lists["7"]
        assert "inclusion_list_id" in (pull(tmp_path / "home", server, knobs=knobs) or "")


# ── what can be wrong ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_token_names_the_crm_and_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(empty_story(), tmp_path / "sandbox") as server:
        for environment, crm, remedy in (
            ({"SALESFORCE_CLIENT_SECRET": "wrong"}, "Salesforce", "SALESFORCE_CLIENT_ID"),
            ({"SALESFORCE_ACCESS_TOKEN": "wrong"}, "Salesforce", "SALESFORCE_ACCESS_TOKEN"),
            ({"HUBSPOT_ACCESS_TOKEN": "wrong"}, "HubSpot", "HUBSPOT_ACCESS_TOKEN"),
        ):
            result = run(server, **environment)
            assert (result.verdict, result.exit_code) == ("unproven", 3)
            assert result.problem is not None
            assert crm in result.problem
            assert remedy in result.problem
            monkeypatch.delenv("SALESFORCE_ACCESS_TOKEN", raising=False)


def test_after_a_run_that_could_not_be_completed_the_snapshot_says_unproven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    story = story_of(60)
    with served(story, tmp_path / "sandbox") as server:
        first = run(server)
        tables = snapshot(tmp_path / "home")
        result = run(server, HUBSPOT_ACCESS_TOKEN="wrong")
        manifest = check_manifest(tmp_path / "home")
    assert (manifest["verdict"], manifest["run_id"]) == ("unproven", result.run_id)
    assert "HubSpot" in manifest["problem"]
    assert (manifest["checks"], manifest["waivers_lapsed"], manifest["baseline"]) == ([], None, None)
    assert snapshot(tmp_path / "home") == tables
    assert [row["verdict"] for row in published(tmp_path / "home", "run")] == [first.verdict, "unproven"]


def test_an_unreachable_host_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(empty_story(), tmp_path / "sandbox") as server:
        result = run(server, SALESFORCE_INSTANCE_URL="https://127.0.0.1:9", HUBSPOT_BASE_URL="http://127.0.0.1:9")
    assert result.exit_code == 3
    assert result.problem is not None
    assert "Salesforce: 127.0.0.1:9 cannot be reached" in result.problem
    assert "HubSpot: 127.0.0.1:9 cannot be reached" in result.problem


def test_fields_without_which_nothing_can_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(empty_story(), tmp_path / "sandbox", frozenset({"Lead.OwnerId", "Contact.MasterRecordId", "salesforceleadid"})) as server:
        result = run(server)
    assert result.exit_code == 3
    assert result.problem is not None
    assert "Lead.OwnerId, Contact.MasterRecordId" in result.problem
    assert "salesforceleadid" in result.problem


def test_mapped_fields_that_the_integration_user_cannot_see_are_left_out_and_named_in_the_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(empty_story(), tmp_path / "sandbox", frozenset({"Lead.Fax", "Contact.Title", "jobtitle"})) as server:
        manifest = run(server).manifest
    assert manifest is not None
    said = " ".join(text for source in manifest["coverage"].values() for pull in source for text in pull["not_seen"])
    assert all(f"the {what}, which " in said for what in ("field Lead.Fax", "field Contact.Title", "property jobtitle")), said


def test_an_untrusted_certificate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(empty_story(), tmp_path / "sandbox") as server:
        result = run(server, SSL_CERT_FILE="")
    assert result.exit_code == 3
    assert "SSL_CERT_FILE" in (result.problem or "")


def test_the_ca_may_come_from_either_variable_or_beside_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    other = tmp_path / "other"
    with served(empty_story(), other):
        pass
    with served(small_story(), tmp_path / "sandbox") as server:
        ca = server.environment["SSL_CERT_FILE"]
        assert run(server, SSL_CERT_FILE="", REQUESTS_CA_BUNDLE=ca).exit_code == 0
        assert run(server, SSL_CERT_FILE=ca, REQUESTS_CA_BUNDLE=str(other / "ca.pem")).exit_code == 0


def test_the_jwt_bearer_flow_opens_the_org(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    with served(small_story(), tmp_path / "sandbox") as server:
        key = tmp_path / "sandbox" / "jwt.key"
        options = {"SALESFORCE_CLIENT_SECRET": "", "SALESFORCE_PRIVATE_KEY_FILE": str(key)}
        assert run(server, SALESFORCE_USERNAME="integration@sandbox.example", **options).exit_code == 0
        stranger = access_to(server, client_secret=None, username="somebody.else@sandbox.example", private_key=key.read_text())
        assert "refused" in (pull(tmp_path / "home", server, access=stranger) or "")


def test_paging_that_ends_early_leaves_the_run_unproven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runner(monkeypatch, tmp_path / "home")
    whole_list = HubSpotApi.list_contacts

    async def list_without_its_last_page(self: HubSpotApi, request: Request) -> Response:
        answer = json.loads(bytes((await whole_list(self, request)).body))
        answer.pop("paging", None)
        return JSONResponse(answer)

    monkeypatch.setattr(HubSpotApi, "list_contacts", list_without_its_last_page)
    monkeypatch.setattr("assets.pull.hubspot.time.sleep", lambda seconds: None)
    with served(story_of(150), tmp_path / "sandbox") as server:
        result = run(server)
    assert (result.verdict, result.exit_code) == ("unproven", 3)
    findings = published(tmp_path / "home", "finding")
    assert [row["severity"] for row in findings if row["check_name"] == "pull_incomplete"] == ["unproven"]


def test_contacts_created_while_the_list_is_walked_are_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story = story_of(60)
    story.world.now = some_days_ago(0)
    whole_list = HubSpotApi.list_contacts

    async def list_and_then_a_new_contact(self: HubSpotApi, request: Request) -> Response:
        answer = await whole_list(self, request)
        if b"paging" not in answer.body:
            self.world.create_contact({"email": f"new{len(self.world.contacts)}@example.com"}, "FORM")
        return answer

    monkeypatch.setattr(HubSpotApi, "list_contacts", list_and_then_a_new_contact)
    with served(story, tmp_path / "sandbox") as server:
        assert pull(tmp_path / "home", server) is None


def test_a_bulk_job_that_delivers_less_than_it_processed_leaves_the_run_unproven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = salesforce_api._job_info
    monkeypatch.setattr(salesforce_api, "_job_info", lambda job: {**honest(job), "numberRecordsProcessed": len(job.rows) + 1})
    with served(story_of(20), tmp_path / "sandbox") as server:
        assert "announced" in (pull(tmp_path / "home", server) or "")


def test_an_expectation_that_raises_is_neither_passed_nor_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import expectations.gate as gate

    run = runner(monkeypatch, tmp_path / "home")
    broken = json.loads((gate.TABLE_SUITES / "core.json").read_text("utf-8"))
    (chosen,) = (expectation for expectation in broken["expectations"] if expectation["meta"]["check"] == "finding_fingerprint_unique")
    chosen["kwargs"]["unexpected_rows_query"] = "select no_such_column from {batch}"
    suites = tmp_path / "suites"
    shutil.copytree(gate.TABLE_SUITES, suites)
    (suites / "core.json").write_text(json.dumps(broken), "utf-8")
    monkeypatch.setattr(gate, "TABLE_SUITES", suites)
    with served(empty_story(), tmp_path / "sandbox") as server:
        result = run(server)
    assert (result.verdict, result.exit_code) == ("unproven", 3)
    states = {check["check"]: check["state"] for check in check_manifest(tmp_path / "home")["checks"]}
    assert states["finding_fingerprint_unique"] == "not_evaluated"
    assert Counter(states.values())["not_evaluated"] == 1
    assert "no_such_column" in (result.problem or "")
    assert published(tmp_path / "home", "run")[0]["checks_not_evaluated"] == ["finding_fingerprint_unique"]
    assert not (tmp_path / "home" / "certified").exists()


@pytest.mark.parametrize(("why", "words"), [("run", "Another run is going on in"), ("backup", "A backup of"), ("restore", "A backup is being put back in")])
def test_a_run_that_finds_somebody_at_work_in_the_home_is_refused_which_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: Literal["run", "backup", "restore"], words: str
) -> None:
    from pipelines.sensors import read_dead_runs

    home = tmp_path / "home"
    run = runner(monkeypatch, home)
    with served(small_story(), tmp_path / "sandbox") as server:
        with Warehouse(home).guard(why):
            home_id(home, make=True)
            result = run(server)
        assert result.exit_code == 3
        assert words in (result.problem or "") and str(home) in (result.problem or "")
        with guarded_run.prepare_instance() as instance:
            refused = instance.get_run_by_id(result.run_id)
            assert refused is not None
            assert refused.status is dg.DagsterRunStatus.CANCELED
            assert words in refused.tags[REFUSED_TAG]
            told = [error for entry in instance.all_logs(result.run_id) if (error := getattr(entry.get_dagster_event().event_specific_data, "error", None))]
            assert {error.to_string().strip() for error in told} == {result.problem}, "one sentence, without a stack"
            assert refused.tags.get(WILL_RETRY_TAG, "false") == "false"
            instance.add_run_tags(result.run_id, tags_of(home))
            assert read_dead_runs(instance) == []
        assert not (home / "published").exists()
        assert run(server).verdict != "unproven"


def test_a_gate_that_fails_on_new_lets_the_baseline_pass_and_stays_red_for_what_came_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text('[gate]\nfail_on = "new"\n')
    run = runner(monkeypatch, tmp_path / "home", policy)
    story = small_story()
    story.world.create_contact({"email": "x@example.com", "salesforceleadid": id18("00Q9z00000Gone1")}, "IMPORT")
    with served(story, tmp_path / "sandbox") as server:
        first = run(server)
        assert first.exit_code == 0
        assert check_manifest(tmp_path / "home")["baseline"]["findings"] == 1
        print_verdict(first)
        told = capsys.readouterr().out
        assert "1 blocking findings are from before" in told
        assert "The worst finding" not in told
        story.world.create_contact({"email": "y@example.com", "salesforceleadid": id18("00Q9z00000Gone2")}, "IMPORT")
        assert run(server).exit_code == 1
        assert run(server).exit_code == 1
