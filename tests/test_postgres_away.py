"""PostgreSQL away, refusing us, or frozen: one sentence in a bounded time, and never a password."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from assets import postgres as waiting
from assets.problems import WarehouseProblem
from assets.published.decisions import DecisionStore
from sandbox.faults import parse_fault
from tests.command import call, environment_of, start
from tests.hook import Hook
from tests.live import served, story_of
from tests.postgres import Server, running_postgres

SECRET = "wrong-9Zz"


@contextmanager
def frozen() -> Iterator[int]:
    """A server that takes connections and never says a word. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class Relay:
    """Stands between us and a real server, until it drops what both say."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = port
        self.drops = False
        self.open: list[socket.socket] = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self.open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while content := one.recv(65536):
                if not self.drops:
                    other.sendall(content)

    def close(self) -> None:
        for one in self.open:
            one.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants to wait in a test as long as a person may have to."""
    monkeypatch.setattr(waiting, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(waiting, "SILENT_SECONDS", 0.3)


@pytest.mark.usefixtures("quick")
def test_decisions_on_a_frozen_server_are_waited_for_a_while_and_no_longer(tmp_path: Path) -> None:
    started = time.monotonic()
    with frozen() as port, pytest.raises(WarehouseProblem, match=r"decisions store at .* cannot be used: it did not let us in within 0.3 seconds") as problem:
        DecisionStore(tmp_path, f"postgresql://steward:{SECRET}@127.0.0.1:{port}/x?sslpassword={SECRET}").read()
    assert time.monotonic() - started < 5
    assert SECRET not in str(problem.value)


@pytest.mark.usefixtures("quick")
def test_a_server_that_freezes_later_is_no_reason_to_wait_either_and_is_used_again_when_it_is_back(tmp_path: Path, postgres: Server) -> None:
    relay = Relay(postgres.port)
    store = DecisionStore(tmp_path, postgres.url().replace(str(postgres.port), str(relay.port)))
    store.read()  # and the connection stays open
    relay.drops = True
    started = time.monotonic()
    with pytest.raises(WarehouseProblem, match="it did not"):
        store.read()
    assert time.monotonic() - started < 5
    started = time.monotonic()
    with pytest.raises(WarehouseProblem, match="it did not"):  # a page that is asked for meanwhile does not wait again
        store.read()
    assert time.monotonic() - started < 0.2
    relay.drops = False
    time.sleep(0.7)
    store.read()
    relay.close()


@pytest.mark.usefixtures("quick")
def test_a_statement_that_waits_for_somebody_elses_lock_is_given_up(tmp_path: Path, postgres: Server) -> None:
    import psycopg2

    store = DecisionStore(tmp_path, postgres.url())
    store.read()
    with psycopg2.connect(postgres.url()) as other, other.cursor() as cursor:
        cursor.execute("lock table bindwatch_decision in access exclusive mode")
        with pytest.raises(WarehouseProblem, match=r"it did not answer within 0.3 seconds"):
            store.read()
    store.read()


NOBODY = socket.create_server(("127.0.0.1", 0))
CLOSED = NOBODY.getsockname()[1]
NOBODY.close()


@pytest.mark.parametrize(("state", "words"), [("away", "refused"), ("wrong password", "authentication failed"), ("frozen", "did not let us in")])
def test_dagsters_server_is_told_in_one_sentence_and_silence_nevertheless(tmp_path: Path, postgres: Server, hook: Hook, state: str, words: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "alerts.json").write_text('{"proven_at": "2026-01-01T00:00:00"}')
    with frozen() as silent:
        port = {"away": CLOSED, "wrong password": postgres.port, "frozen": silent}[state]
        environment = environment_of(tmp_path / "home", {
            "BINDWATCH_DAGSTER_POSTGRES_URL": f"postgresql://steward:{SECRET}@127.0.0.1:{port}/postgres", "BINDWATCH_ALERT_URLS": hook.url,
        })  # fmt: skip
        started = time.monotonic()
        ended = call(["alert"], environment)
    assert ended.code == 3
    (line,) = ended.err.splitlines()
    assert line.startswith(f"Dagster's storage at postgresql://steward:***@127.0.0.1:{port}/postgres cannot be used: ") and words in line
    assert SECRET not in ended.text
    assert hook.titles == ["Bindwatch: no proven run since 2026-01-01 00:00 UTC"]
    assert time.monotonic() - started < 60


def test_a_variable_of_dagster_yaml_that_is_not_set_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "dagster"
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text("storage: {postgres: {postgres_url: {env: BINDWATCH_DAGSTER_POSTGRES_URL}}}\n")
    ended = call(["alert"], environment_of(tmp_path / "home", {"BINDWATCH_ALERT_URLS": "json://127.0.0.1:9/x"}))
    assert ended.code == 2
    assert "refers to BINDWATCH_DAGSTER_POSTGRES_URL, which is not set" in ended.err


@pytest.mark.slow  # a run of its own, and a server of its own
@pytest.mark.parametrize("ends", ["away", "frozen"])
def test_dagsters_server_that_goes_away_in_the_middle_of_a_run_ends_it_in_one_sentence(tmp_path: Path, ends: str) -> None:
    with running_postgres() as server, served(story_of(60), tmp_path / "sandbox") as sandbox:
        relay = Relay(server.port)
        url = server.url().replace(str(server.port), str(relay.port))
        environment = environment_of(tmp_path / "home", sandbox.environment) | {"BINDWATCH_DAGSTER_POSTGRES_URL": url}
        sandbox.faults.ask([parse_fault("slow path=/crm times=3 seconds=2")])
        process = start(["run"], environment)
        while not (tmp_path / "home" / "landing").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.2)
        if ends == "away":
            relay.close()
        relay.drops = True
        out, err = process.communicate(timeout=300)
        assert process.returncode == 3, out + err
        assert "Dagster's storage at" in err and "cannot be used" in err
        assert "Traceback" not in err and "bug" not in err
        relay.close()
        again = call(["run"], environment | {"BINDWATCH_DAGSTER_POSTGRES_URL": server.url()})
        assert again.code in (0, 1), again.text
