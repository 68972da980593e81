"""The whole way on real, pseudonymised people, where the lists lie beside the checkout."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from sandbox.people import read_people
from sandbox.story import Story
from sandbox.world import normalise
from tests.live import published, runner, served, some_days_ago

PEOPLE = Path(__file__).parent.parent.parent / "shared" / "data" / "people"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param("git_authors_sympy.csv", marks=pytest.mark.slow), "debian_maintainers_uploaders.csv"])
def test_real_people_go_all_the_way_and_none_is_lost(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PEOPLE / name
    if not path.exists():
        pytest.skip(f"the list of real people {name} is not beside this checkout")
    until = some_days_ago(5)
    story = Story(read_people(path, until), 1, until)
    run = runner(monkeypatch, tmp_path / "home")
    with served(story, tmp_path / "sandbox") as server:
        assert run(server).exit_code in (0, 1)
        story.advance(2)
        assert run(server).exit_code == 1
    people = published(tmp_path / "home", "salesforce_person")
    assert len(people) == len(story.world.records)
    with path.open(encoding="utf-8") as file:
        emails = {email for row in csv.DictReader(file) if (email := normalise(row["email"]))}
    assert emails - {row["email"] for row in people} - {row["email"] for row in published(tmp_path / "home", "hubspot_contact")} == set()
    # every cluster that the CRMs hold is found, and no other
    held = Counter(record.email for record in story.world.records.values() if record.is_live and record.email)
    found = {row["email"]: row["size"] for row in published(tmp_path / "home", "duplicate_cluster")}
    assert found == {email: count for email, count in held.items() if count > 1}
