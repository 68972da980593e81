"""A desk on a troubled portal."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk.portal import Visitor, publish, served, troubled


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("desk") / "home"
    publish(troubled(), home)
    return home


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
