"""How many fields a policy maps does not decide whether a pull works: URLs end somewhere, policies do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from assets.policy import Pull
from assets.pull import reading
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.landing import Page
from assets.warehouse.file import Warehouse
from sandbox.fields import SALESFORCE_TYPES as FIELDS
from sandbox.server import SandboxServer
from sandbox.story import Story
from tests.live import served, some_days_ago, story_of
from tests.pulls import pull_only

LIST, BATCH, JOB, REST = "/contacts?", "/batch/read", "/jobs/query", "/queryAll"


def property_name(number: int) -> str:
    return f"integration_custom_attribute_number_{number:03d}"


def field_name(number: int) -> str:
    return f"Custom_Attribute_Number_{number:03d}__c"


@contextmanager
def wide(monkeypatch: pytest.MonkeyPatch, folder: Path, story: Story, count: int) -> Iterator[tuple[SandboxServer, list[dict[str, str]]]]:
    """Both CRMs with that many custom fields, and a [[mapping]] of all of them."""
    for name in ("Lead", "Contact"):
        monkeypatch.setitem(FIELDS, name, {**FIELDS[name], **{field_name(number): "string" for number in range(count)}})
    with served(story, folder / "sandbox") as server:
        server.hubspot.properties += [property_name(number) for number in range(count)]
        yield server, [{"hubspot": property_name(number), "salesforce": field_name(number)} for number in range(count)]


def longest(server: SandboxServer) -> int:
    return max(len(line) for line in server.faults.requests)


def a_small_world() -> Story:
    """Three Leads and the contacts bound to them; one archived contact; one contact that is bound to a duplicate's rival."""
    story = Story([], 1, some_days_ago(3))
    for number in range(3):
        story.world.create_record("Lead", {"LastName": f"n{number}", "Email": f"p{number}@example.com", field_name(0): f"value {number}"})
    for number in range(4):
        story.world.create_contact({"email": f"p{number}@example.com", property_name(0): f"value {number}"}, "FORM")
    story.world.archive_contact(next(c for c in story.world.contacts.values() if c.email == "p3@example.com"))
    return story


def seen(home: Path) -> dict[str, object]:
    """What raw holds in the first of the mapped fields, by what it belongs to."""
    with Warehouse(home).connect() as connection:
        contacts = connection.execute("select properties['email'], properties[?], archived from raw.hubspot_contact", [property_name(0)]).fetchall()
        leads = connection.execute("select email, fields[?] from raw.salesforce_lead", [field_name(0)]).fetchall()
    return {**{f"{email} {'archived' if archived else ''}".strip(): value for email, value, archived in contacts}, **{f"lead {e}": v for e, v in leads}}


@pytest.mark.parametrize("count", [160, pytest.param(420, marks=pytest.mark.slow)])
def test_any_number_of_mapped_fields_is_pulled_first_later_and_in_the_nightly_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    with wide(monkeypatch, tmp_path, a_small_world(), count) as (server, mapping):
        world = server.story.world
        assert pull_only(tmp_path / "home", server, mapping=mapping) is None
        assert seen(tmp_path / "home")["p3@example.com archived"] == "value 3"
        world.now = world.now.replace(microsecond=0)
        lead = next(record for record in world.records.values() if record.fields["Email"] == "p1@example.com")
        world.edit_record(lead, {field_name(0): "edited"})
        lost = world.create_record("Lead", {"LastName": "Late", "Email": "late@example.com", field_name(0): "late"})
        lost.created_at = lost.modified_at = some_days_ago(900)  # became visible long after its stamp
        world.write(next(iter(world.contacts.values())), {property_name(0): "edited, too"}, "CRM_UI")
        assert pull_only(tmp_path / "home", server, mapping=mapping, full=True) is None
        assert longest(server) < 8_000
    found = seen(tmp_path / "home")
    assert (found["lead p1@example.com"], found["lead late@example.com"], found["p0@example.com"]) == ("edited", "late", "edited, too")


def test_where_all_properties_fit_a_url_the_list_brings_them(tmp_path: Path) -> None:
    with served(a_small_world(), tmp_path / "sandbox") as server:
        assert pull_only(tmp_path / "home", server) is None
        assert not any(BATCH in line for line in server.faults.requests)


def test_ids_that_a_url_cannot_hold_come_by_a_job_and_nobody_whom_nobody_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wide(monkeypatch, tmp_path, a_small_world(), 420) as (server, mapping):
        assert pull_only(tmp_path / "home", server, mapping=mapping) is None
        lead = next(iter(server.story.world.records.values()))
        lead.fields[field_name(0)] = "edited behind everybody's back"
        lead.modified_at = some_days_ago(700)
        server.faults.requests.clear()
        assert pull_only(tmp_path / "home", server, mapping=mapping, full=True) is None
        assert any("POST" in line and JOB in line for line in server.faults.requests)
        assert not any(REST in line and "Custom" in line for line in server.faults.requests)
    assert seen(tmp_path / "home")["lead p0@example.com"] == "edited behind everybody's back"


@pytest.mark.slow
def test_more_ids_than_one_job_can_be_asked_for_come_by_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.pull.salesforce._LONGEST_SOQL", 16_500)
    story = a_small_world()
    for number in range(150):
        story.world.create_record("Contact", {"LastName": f"c{number}", "Email": f"c{number}@example.com"})
    with wide(monkeypatch, tmp_path, story, 420) as (server, mapping):
        assert pull_only(tmp_path / "home", server, mapping=mapping) is None
        for record in story.world.records.values():
            record.fields[field_name(1)] = "edited"
            record.modified_at = some_days_ago(700)
        jobs = sum("POST" in line and JOB in line for line in server.faults.requests)
        assert pull_only(tmp_path / "home", server, mapping=mapping, full=True) is None
        assert sum("POST" in line and JOB in line for line in server.faults.requests) - jobs > 4
    with Warehouse(tmp_path / "home").connect() as connection:
        edited = "select count(*) from raw.salesforce_contact where fields[?] = 'edited'"
        assert connection.execute(edited, [field_name(1)]).fetchone() == (150,)


def test_histories_of_many_properties_are_asked_for_in_small_lots(tmp_path: Path) -> None:
    lots = []
    with served(story_of(5), tmp_path / "sandbox") as server:
        for number in range(120):
            server.story.world.create_contact({"email": f"p{number}@example.com"}, "IMPORT")
        portal = Portal(HubSpotAccess("pat-sandbox", server.environment["HUBSPOT_BASE_URL"]), Pull())
        ids = [contact.id for contact in server.story.world.contacts.values() if contact.archived_at is None]
        for names in (["email"], [property_name(number) for number in range(1_000)]):
            lots.append([len(chunk) for chunk, _ in portal.read_batches(ids, ["email"], names)])
    assert max(lots[0]) == 50
    assert max(lots[1]) <= 10
    assert sum(lots[0]) == sum(lots[1]) == len(ids)


def test_large_pages_are_read_a_few_at_a_time_and_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = []
    for number, size in enumerate([10, 30, 30, 100, 10]):
        (path := tmp_path / f"page-{number}.json").write_bytes(b" " * size)
        pages.append(Page(path, 1))
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 50)
    assert [[page.path.stat().st_size for page in lot] for lot in reading._in_lots(pages)] == [[10, 30], [30], [100], [10]]
    monkeypatch.setattr(reading, "PAGES_AT_ONCE", 1)
    assert [len(lot) for lot in reading._in_lots(pages)] == [1] * 5


# ── what real servers refuse, and the sandbox with them ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("characters", "status"), [(7_500, 200), (8_500, 414)])
def test_the_sandbox_refuses_a_hubspot_url_as_the_servers_in_front_of_hubspot_do(tmp_path: Path, characters: int, status: int) -> None:
    with served(story_of(5), tmp_path / "sandbox") as server:
        url = f"{server.environment['HUBSPOT_BASE_URL']}/crm/v3/objects/contacts?limit=1&properties={'x' * characters}"
        assert requests.get(url, headers={"Authorization": "Bearer pat-sandbox"}, timeout=10).status_code == status


@pytest.mark.parametrize(("url", "header", "status"), [(15_000, 10, 200), (16_500, 10, 414), (9_000, 9_000, 431)])
def test_the_sandbox_refuses_a_salesforce_url_and_headers_as_salesforce_does(tmp_path: Path, url: int, header: int, status: int) -> None:
    with served(story_of(5), tmp_path / "sandbox") as server:
        base = f"{server.environment['SALESFORCE_INSTANCE_URL']}/services/data?x={'x' * url}"
        headers = {"Authorization": f"Bearer {server.salesforce.issue_token()}", "X-Long": "x" * header}
        answer = requests.get(base, headers=headers, verify=server.environment["SSL_CERT_FILE"], timeout=10)
        assert answer.status_code == status
