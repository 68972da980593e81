"""What the desk says of itself to a program that watches it."""

import json
import shutil
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets import postgres
from assets.published import silence
from assets.published.decisions import DecisionStore
from review import health
from review.access import Entrance
from review.health import Health
from review.site import Settings, Site
from tests.desk.portal import Visitor, served


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_KEPT_SECONDS", 0.0)


def asked(address: str) -> tuple[int, dict[str, Any]]:
    answer = Visitor(address).open("/health")
    return answer.status, json.loads(answer.answer.text)


def test_a_desk_that_has_all_it_needs_says_so_without_a_log_in(home: Path) -> None:
    with served(home, token="s" * 20) as address:
        status, found = asked(address)
    assert (status, found["state"], found["snapshot"]["state"], found["decisions"]) == (200, "ok", "ok", {"state": "ok"})
    assert datetime.now(UTC) - datetime.fromisoformat(found["snapshot"]["last_proven_run_at"]) < timedelta(hours=1)


def test_a_home_without_a_snapshot_or_with_a_damaged_one_is_to_be_mended(home: Path, tmp_path: Path) -> None:
    with served(tmp_path / "empty") as address:
        assert asked(address) == (503, {"state": "mend", "snapshot": {"state": "missing", "last_proven_run_at": None}, "decisions": {"state": "ok"}})
    copy = tmp_path / "copy"
    shutil.copytree(home, copy, symlinks=True)
    with served(copy) as address:
        for path in (copy / "published").glob("*/run.parquet"):
            path.write_bytes(b"no parquet")
        assert asked(address)[1]["snapshot"]["state"] == "damaged"


def test_silence_is_told_here_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_UNKNOWN", timedelta(0))
    with served(home) as address:
        status, found = asked(address)
    assert (status, found["snapshot"]["state"]) == (503, "silent")


def test_a_frozen_decisions_store_holds_up_one_who_asks_and_nobody_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        url = f"postgresql://a:b@127.0.0.1:{frozen.getsockname()[1]}/x"
        looked = Health(Site(Settings(home, lambda: DecisionStore(home, url), Entrance("127.0.0.1"))))
        first = threading.Thread(target=looked.look)
        first.start()
        time.sleep(0.5)
        started = time.monotonic()
        assert looked.look()["state"] == "unknown"
        assert time.monotonic() - started < 1
        first.join(20)
        assert looked._found["decisions"] == {"state": "away"}
        assert looked._found["snapshot"]["state"] == "ok"
