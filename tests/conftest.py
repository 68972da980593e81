"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest

from tests.postgres import Server, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process."""
    with running_postgres() as server:
        yield server
