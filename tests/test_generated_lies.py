"""Generated CRMs that hide, lie and are emptied: three rules that hold whatever they do.

What shrank beyond the floor without an explanation is never proven. A run that was not believed changes nothing of the next proven one. And what a CRM
explains, however much, is believed.
"""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tenacity.wait import wait_fixed

from assets.pull import retries
from sandbox.integration import poll
from sandbox.server import SandboxServer
from sandbox.story import Story
from sandbox.world import World
from tests.live import served, some_days_ago
from tests.pulls import pull, pull_and_build

PLAUSIBLE, SHARE = 3, 0.2  # records that may be missing: the larger of the two
FLOOR: dict[str, Any] = {"shrink_records": PLAUSIBLE, "shrink_percent": 100 * SHARE}
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 60))]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_backoff", wait_fixed(0.01))
    monkeypatch.setattr("assets.pull.hubspot.time.sleep", lambda seconds: None)


def generated(chance: random.Random) -> Story:
    """People of whom some have two records and some contacts are archived."""
    story = Story([], 1, some_days_ago(3))
    for number in range(chance.randint(6, 24)):
        for _ in range(chance.choice([1, 1, 1, 2])):
            values: dict[str, str | None] = {
                "LastName": f"Lee{number}",
                "Email": f"p{number}@example.com",
                "Company": "Example",
                "Title": chance.choice(["", "CEO"]),
            }
            story.world.create_record(chance.choice(["Lead", "Contact"]), values)
    poll(story.world, story.settings)
    for contact in chance.sample(list(story.world.contacts.values()), chance.randint(0, 3)):
        story.world.archive_contact(contact)
    return story


def edit(world: World, chance: random.Random) -> None:
    """What happens on an ordinary day: edits, and a few who are new."""
    for contact in chance.sample(list(world.contacts.values()), 3):
        if contact.archived_at is None:
            world.write(contact, {"jobtitle": f"Title {chance.random()}"}, "CRM_UI")
    for record in chance.sample(list(world.records.values()), 3):
        world.edit_record(record, {"Title": f"Title {chance.random()}"})
    for number in range(chance.randint(0, 4)):
        world.create_record(chance.choice(["Lead", "Contact"]), {"LastName": "New", "Email": f"n{number}@example.com", "Company": "Example"})


def empty_on_purpose(world: World, chance: random.Random) -> None:
    """More than half is archived, deleted or merged, and the CRMs tell of it."""
    for contact in list(world.contacts.values()):
        if contact.archived_at is None and chance.random() < 0.7:
            world.archive_contact(contact)
    for record in list(world.records.values()):
        if record.is_live and chance.random() < 0.7:
            twins = [other for other in world.records.values() if other.is_live and other.type == record.type and other is not record]
            if twins and chance.random() < 0.3:
                world.merge_records(chance.choice(twins), [record])
            else:
                world.delete_record(record)


def known(world: World, kind: str) -> list[str]:
    """The ids of what a home knows after a run."""
    if kind == "archive":
        return [contact.id for contact in world.contacts.values() if contact.archived_at is not None]
    if kind == "contact":
        return [contact.id for contact in world.contacts.values() if contact.archived_at is None]
    return [record.id for record in world.records.values() if record.type == kind and record.is_live]


@contextmanager
def hidden(world: World, ids: set[str]) -> Iterator[None]:
    """As if they were not there, and nobody says why."""
    held: list[tuple[Any, Any]] = [(world.records, dict(world.records)), (world.contacts, dict(world.contacts))]
    for living, _ in held:
        for name in ids & living.keys():
            del living[name]
    try:
        yield
    finally:
        for living, before in held:
            living.clear()
            living.update(before)


def copy(home: Path, name: str) -> Path:
    return Path(shutil.copytree(home, home.with_name(name), symlinks=True))


@contextmanager
def known_home(chance: random.Random, folder: Path) -> Iterator[tuple[World, SandboxServer, Path]]:
    story = generated(chance)
    with served(story, folder / "sandbox") as server:
        story.world.now = some_days_ago(2)
        assert pull_and_build(folder / "home", server, publishes=True, **FLOOR).problem is None
        story.world.now = some_days_ago(1)
        yield story.world, server, folder / "home"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_hidden_beyond_the_floor_is_never_proven_and_costs_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with known_home(chance, tmp_path) as (world, server, home):
        kind = chance.choice(["Lead", "Contact", "contact", "archive"])
        there = known(world, kind)
        least = len(there) if kind == "archive" or len(there) <= PLAUSIBLE else int(max(PLAUSIBLE, len(there) * SHARE)) + 1
        gone = set(chance.sample(there, chance.randint(least, len(there))))
        edit(world, chance)
        disturbed, undisturbed = copy(home, "disturbed"), copy(home, "undisturbed")
        with hidden(world, gone):
            problem = pull(disturbed, server, full=chance.random() < 0.5, **FLOOR)
        assert (problem is not None) == bool(gone), f"{len(gone)} of {len(there)} {kind} were hidden"
        found, expected = (pull_and_build(one, server, full=True, **FLOOR) for one in (disturbed, undisturbed))
        assert found.problem is expected.problem is None
        assert found.differences(expected) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_emptied_on_purpose_is_believed(seed: int, tmp_path: Path) -> None:
    chance = random.Random(1000 + seed)
    with known_home(chance, tmp_path) as (world, server, home):
        edit(world, chance)
        empty_on_purpose(world, chance)
        assert pull(home, server, full=chance.random() < 0.5, **FLOOR) is None
        assert pull(home, server, full=chance.random() < 0.5, **FLOOR) is None
