"""A desk on a troubled portal."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.published.decisions import DecisionStore
from review.near import Near
from tests.desk.portal import SharedNear, Visitor, publish, served, troubled


@pytest.fixture(scope="session", autouse=True)
def near_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("review.desk.Near", SharedNear.of)
        yield


@pytest.fixture
def own_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of how it is made, or of files that are not what their manifest says."""
    monkeypatch.setattr("review.desk.Near", Near)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("desk") / "home"
    publish(troubled(), home)
    return home


@pytest.fixture(scope="session")
def shown(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the desk that is shared."""
    home = tmp_path_factory.mktemp("shown") / "home"
    shutil.copytree(published, home, symlinks=True)
    return home


@pytest.fixture(scope="session")
def shared_desk(shown: Path) -> Iterator[str]:
    with served(shown) as address:
        yield address
    assert DecisionStore(shown).read() == []


@pytest.fixture
def reader(shared_desk: str) -> Visitor:
    """Somebody who decides nothing and publishes nothing, at a desk that is there for all of them: to open one takes as long as twenty pages."""
    return Visitor(shared_desk)


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
