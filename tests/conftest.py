"""Fixtures that several test files share."""

import gc
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from assets.process import settle
from assets.warehouse import file
from tests import lengths
from tests.homes import Portal, lived_in
from tests.hook import Hook
from tests.plain import copy_empty
from tests.postgres import Server, running_postgres

for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]  # the servers of the tests are on this machine
for name in ("LC_ALL", "LC_MESSAGES", "LANG", "BINDWATCH_LANGUAGE"):
    os.environ.pop(name, None)  # a terminal speaks English here, whoever runs the tests
# Dagster takes SIGINT's handler for SIGTERM, too: where SIGINT is ignored (a job in the background), the processes that tests start would hear neither.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
settle()  # as the command does, so that what a test makes does not depend on which of them imported the code location before

LONG = pytest.StashKey[set[str]]()  # the names of the tests that take long


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--note-long", action="store_true", help="write down which of the tests that run take more than a second (tests/long.json)")


def pytest_configure(config: pytest.Config) -> None:
    is_noting = config.getoption("--note-long")  # then nothing is left out, and a file that cannot be read is written anew
    config.stash[LONG] = set() if is_noting else lengths.known_long()
    if is_noting and not hasattr(config, "workerinput"):
        config.pluginmanager.register(lengths.Lengths())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lengths.mark_long(items, config.stash[LONG])


def pytest_collection_finish() -> None:
    gc.freeze()  # all tests and what they import stay: going through them again and again is no work for the garbage collector


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or DuckDB's binding lists at the end what is left


@pytest.fixture(scope="session", autouse=True)
def _new_warehouses_are_copies() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "make_empty", copy_empty)
        yield


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A home that a run has written, and the CRMs behind it. A test works on a copy."""
    with lived_in(tmp_path_factory.mktemp("portal")) as portal:
        yield portal


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hook
    hook.server.shutdown()
    thread.join()
    hook.server.server_close()
