"""A desk on a troubled portal."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from review.near import Near
from tests.desk.portal import SharedNear, Visitor, Worlds, served, troubled


@pytest.fixture(scope="session", autouse=True)
def near_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("review.desk_data.Near", SharedNear.of)
        yield


@pytest.fixture
def own_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of how it is made, or of files that are not what their manifest says."""
    monkeypatch.setattr("review.desk_data.Near", Near)


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with Worlds(tmp_path_factory.mktemp("worlds")).kept() as worlds:
        yield worlds


@pytest.fixture
def published(worlds: Worlds) -> Path:
    """What nobody changes. A file of tests may have another portal in its place."""
    return worlds.home(troubled)


@pytest.fixture
def shown(worlds: Worlds, published: Path) -> Path:
    """The home of the desk that is shared."""
    return worlds.shown(published)


@pytest.fixture
def reader(worlds: Worlds, published: Path) -> Visitor:
    """Somebody who decides nothing and publishes nothing, at a desk that is there for all of them."""
    return worlds.reader(published)


@pytest.fixture
def home(published: Path, tmp_path: Path) -> Path:
    """A home of the test's own."""
    shutil.copytree(published, tmp_path / "home", symlinks=True)
    return tmp_path / "home"


@pytest.fixture
def ann(home: Path) -> Iterator[Visitor]:
    """Somebody at a desk on her own machine."""
    with served(home) as address:
        yield Visitor(address)
