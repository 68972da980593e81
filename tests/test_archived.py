"""Archived contacts: every run lists all of them, and reads those of whom it does not know what the list says."""

from pathlib import Path

import pytest

from assets.pull.hubspot import land_archived_by_id
from assets.warehouse.file import Warehouse
from sandbox.server import SandboxServer
from sandbox.story import Story
from tests.live import served, some_days_ago
from tests.pulls import pull_only

WITH_VALUES, READ = "propertiesWithHistory", "/batch/read"


def five_of_whom_two_are_archived() -> Story:
    story = Story([], 1, some_days_ago(3))
    for number in range(5):
        story.world.create_contact({"email": f"p{number}@example.com"}, "FORM")
    for contact in list(story.world.contacts.values())[:2]:
        story.world.archive_contact(contact)
    return story


def archived(home: Path) -> set[str]:
    """The e-mails of those who are archived by the last version of them."""
    query = "select max_by(properties['email'], pull_no) from raw.hubspot_contact group by id having max_by(archived, pull_no)"
    with Warehouse(home).connect() as connection:
        return {row[0] for row in connection.execute(query).fetchall()}


def asked_for_archived(server: SandboxServer) -> list[str]:
    lines = [line for line in server.faults.requests if "archived=True" in line and "/contacts" in line]
    server.faults.requests.clear()
    return lines


def test_a_later_run_reads_who_was_archived_since_and_the_nightly_one_reads_them_all(tmp_path: Path) -> None:
    story, home = five_of_whom_two_are_archived(), tmp_path / "home"
    first, second, third, *_ = story.world.contacts.values()
    with served(story, tmp_path / "sandbox") as server:
        assert pull_only(home, server) is None
        assert archived(home) == {"p0@example.com", "p1@example.com"}
        asked_for_archived(server)

        assert pull_only(home, server) is None
        (quiet,) = asked_for_archived(server)
        assert WITH_VALUES not in quiet

        story.world.archive_contact(third)
        first.archived_at, first.modified_at = None, first.modified_at.replace(year=2020)  # restored, and no stamp says so
        assert pull_only(home, server) is None
        assert archived(home) == {"p1@example.com", "p2@example.com"}
        listed, read = asked_for_archived(server)
        assert WITH_VALUES not in listed and READ in read

        second.archived_at = some_days_ago(1)  # restored and archived again between two runs
        assert pull_only(home, server) is None
        assert [READ in line for line in asked_for_archived(server)] == [False, True]
        assert pull_only(home, server, full=True) is None
        assert WITH_VALUES in asked_for_archived(server)[0]
    assert archived(home) == {"p1@example.com", "p2@example.com"}


def test_who_is_restored_between_the_list_and_the_reading_is_read_as_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story, home = five_of_whom_two_are_archived(), tmp_path / "home"
    with served(story, tmp_path / "sandbox") as server:
        assert pull_only(home, server) is None
        new = story.world.create_contact({"email": "new@example.com"}, "FORM")
        story.world.archive_contact(new)

        def restored_meanwhile(*arguments: object) -> None:
            new.archived_at = None
            new.modified_at = some_days_ago(900)
            land_archived_by_id(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr("assets.ingest.hubspot_pulls.land_archived_by_id", restored_meanwhile)
        assert pull_only(home, server) is None
    with Warehouse(home).connect() as connection:
        assert connection.execute("select archived from raw.hubspot_contact where properties['email'] = 'new@example.com'").fetchall() == [(False,)]
