"""`bindwatch doctor`: a tick for what was looked at and is well, and for nothing else."""

import fcntl
import grp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.dagster.session import Connections
from assets.policy import Policy
from assets.published.decisions import DecisionStore
from assets.pull.hubspot_portal import HubSpotAccess
from assets.warehouse.backup import back_up, note_backup
from assets.warehouse.damage import CHECKSUM, FORMER_CHECKSUM, checksum_line
from assets.warehouse.file import Warehouse
from pipelines import doctor
from pipelines.doctor import Finding, examine, print_findings
from pipelines.terminal import span
from tests.homes import Portal, contents, copy_of, damage, in_child, interrupted_run, small_disk
from tests.live import ROOT, served, story_of
from tests.postgres import Server
from tests.pulls import access_to

pytestmark = pytest.mark.filterwarnings("ignore")

CRMS = {"Salesforce", "HubSpot", "clock"}


@pytest.fixture
def home(portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing is to be mended, and the environment of its runs."""
    home = copy_of(portal.home, tmp_path / "home")
    for name, value in {**portal.environment, "BINDWATCH_HOME": str(home), "BINDWATCH_CONFIG": str(portal.policy)}.items():
        monkeypatch.setenv(name, value)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "DAGSTER_HOME", "BINDWATCH_DECISIONS_URL"):
        monkeypatch.delenv(name, raising=False)
    # the CRMs in miniature tell the time at which they were made
    monkeypatch.setattr(doctor, "MOST_CLOCK_DIFFERENCE", timedelta(hours=1))
    back_up(Warehouse(home), tmp_path / "backup", portal.policy, DecisionStore(home, create=False), lambda _: None)
    return home


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are not about the CRMs."""
    monkeypatch.setattr(doctor, "_look_at_crms", list)


def not_well() -> dict[str, Finding]:
    return {one.name: one for one in examine() if one.state != "ok"}


def test_of_a_home_that_is_well_everything_is_ticked_and_nothing_is_changed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(home)
    found = examine()
    assert {one.name: one.what for one in found if one.state != "ok"} == {}
    assert {one.name for one in found} == {
        "home", "permissions", "free space", "warehouse", "published", "certified", "decisions", "set aside", "policy", "dagster.yaml", "environment",
        "backup", *CRMS,
    }  # fmt: skip
    assert contents(home) == before
    assert print_findings(found, as_json=True) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["home"]) == ("ok", str(home))
    assert all(check.keys() == {"name", "state", "what", "remedy"} for check in answer["checks"])
    assert print_findings(found, as_json=False) == 0
    assert "All is well." in capsys.readouterr().out


def covered(home: Path) -> dict[str, list[Path]]:
    """The files that a look covers in full, under its name."""
    current = home / "published" / "current"
    return {
        "warehouse": [home / "warehouse.duckdb", home / "warehouse.xxh128"], "published": sorted(current.resolve().iterdir()),
        "certified": sorted((home / "certified").iterdir()),
    }  # fmt: skip


def check_damage(home: Path, change: Callable[[Path], Any], every: int = 1) -> None:
    for name, paths in covered(home).items():
        look = getattr(doctor, f"_look_at_{name}")
        for path in paths[::every]:
            kept = path.read_bytes()
            change(path)
            found = doctor._look(name, lambda look=look: look(home))  # type: ignore[misc]
            assert found.state != "ok", f"{path} {change}"
            assert found.remedy, path
            path.unlink(missing_ok=True)
            path.write_bytes(kept)
            assert doctor._look(name, lambda look=look: look(home)).state == "ok", path  # type: ignore[misc]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("at", [0.0, 0.31, 0.77, 1.0])
def test_no_damaged_byte_range_is_ticked(home: Path, at: float) -> None:
    check_damage(home, lambda path: damage(path, at, 1), every=3)
    check_damage(home, lambda path: damage(path, at, 4096), every=4)


@pytest.mark.slow
def test_no_damaged_byte_is_ticked(home: Path) -> None:
    for step in range(25):
        check_damage(home, lambda path, at=step / 24: damage(path, at, 1))  # type: ignore[misc]


def test_no_torn_emptied_or_zeroed_file_is_ticked(home: Path) -> None:
    check_damage(home, lambda path: os.truncate(path, path.stat().st_size // 2), every=3)
    check_damage(home, lambda path: os.truncate(path, 0), every=5)
    check_damage(home, lambda path: path.write_bytes(bytes(path.stat().st_size)), every=7)


def test_what_a_former_version_left_is_not_held_against_an_older_checksum(home: Path) -> None:
    (home / CHECKSUM).write_text(checksum_line("0" * 32), "utf-8")
    assert f"is not what {CHECKSUM} beside it says" in not_well()["warehouse"].what
    (home / FORMER_CHECKSUM).touch()  # back at a former version for a while, which knows nothing of the other note
    assert not_well() == {}
    with Warehouse(home).guard(), Warehouse(home).connect():
        pass
    assert not (home / FORMER_CHECKSUM).exists()


def test_a_missing_or_foreign_file_of_the_snapshot_is_named(home: Path) -> None:
    folder = (home / "published" / "current").resolve()
    (folder / "binding.parquet").rename(folder / "other.parquet")
    assert "binding.parquet is missing" in not_well()["published"].what
    shutil.copy(folder / "other.parquet", folder / "binding.parquet")
    assert "other.parquet" in not_well()["published"].what
    shutil.rmtree(home / "published")
    assert not_well()["published"].what == "nothing is published"
    (home / "certified" / "certificate.json").unlink()
    assert "certificate.json is missing" in not_well()["certified"].what


@pytest.mark.usefixtures("offline")
def test_damaged_decisions_are_seen_by_sqlite_or_by_the_last_backup(home: Path) -> None:
    path = home / "decisions.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"a former org", b"a farmer org"))  # SQLite keeps no checksums
    assert "1 decisions are not as they were in the backup" in not_well()["decisions"].what
    path.write_bytes(whole)
    damage(path, 0, 4096)
    assert "is damaged" in not_well()["decisions"].what
    path.write_bytes(b"")
    assert not_well()["decisions"].state == "mend"
    path.unlink()
    assert "is missing, although runs took place here" in not_well()["decisions"].what


def test_decisions_on_a_server_that_does_not_answer_are_not_ticked(home: Path, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> None:
    monkeypatch.setenv("BINDWATCH_DECISIONS_URL", "postgresql://u:s3cret@127.0.0.1:9/x")
    found = not_well()["decisions"]
    assert found.state == "not_checked"
    assert "s3cret" not in found.what
    monkeypatch.setenv("BINDWATCH_DECISIONS_URL", postgres.url())
    found = not_well()["decisions"]  # it answers; what the backup had stands in the home
    assert "1 decisions are not as they were" in found.what


def test_without_a_home_a_policy_or_a_network_everything_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin", "BINDWATCH_HOME": str(tmp_path / "nowhere"), "BINDWATCH_CONFIG": str(tmp_path / "absent.toml"),
        "SALESFORCE_INSTANCE_URL": "https://127.0.0.1:9", "SALESFORCE_ACCESS_TOKEN": "s3cret", "HUBSPOT_ACCESS_TOKEN": "pat-t0ken",
        "HUBSPOT_BASE_URL": "http://127.0.0.1:9",
    }  # fmt: skip
    code = "from pipelines.cli import main; main()"
    answer = subprocess.run([sys.executable, "-c", code, "doctor", "--json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 1, answer.stderr
    assert "Traceback" not in answer.stderr
    assert not {"s3cret", "pat-t0ken"} & set((answer.stdout + answer.stderr).split('"'))
    states = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert states["home"]["state"] == "mend" and str(tmp_path / "nowhere") in states["home"]["what"]
    assert states["policy"]["state"] == "mend" and "absent.toml" in states["policy"]["what"]
    assert {name for name, check in states.items() if check["state"] == "not_checked"} == {
        "permissions", "free space", "warehouse", "published", "certified", "decisions", "set aside", "backup", *CRMS,
    }  # fmt: skip
    assert "does not answer" in states["Salesforce"]["what"] and "does not answer" in states["HubSpot"]["what"]
    assert all(check["remedy"] for check in states.values() if check["state"] != "ok")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_while_a_run_goes_on_the_warehouse_is_not_ticked(home: Path) -> None:
    with (home / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = not_well()["warehouse"]
    assert (found.state, "a run is going on" in found.what) == ("not_checked", True)


@pytest.mark.usefixtures("offline")
def test_a_log_left_by_a_killed_run_is_read_with_the_warehouse_and_a_damaged_one_is_named(home: Path) -> None:
    log = interrupted_run(home)
    (one,) = (one for one in examine() if one.name == "warehouse")
    assert (one.state, "is left from a run that was interrupted" in one.what) == ("ok", True)
    damage(log, 0.5, 4096)
    content = bytearray(log.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    log.write_bytes(content)
    assert "cannot be replayed" in not_well()["warehouse"].what


@pytest.mark.usefixtures("offline")
def test_what_another_user_may_read_or_owns_is_named(home: Path) -> None:
    home.chmod(0o750)
    assert "mode 750" in not_well()["permissions"].what
    home.chmod(0o700)
    if os.geteuid() != 0:
        pytest.skip("only root can give files to another user")
    os.chown(home / "decisions.sqlite", 65534, 65534)
    assert "decisions.sqlite belongs to another user" in not_well()["permissions"].what
    os.chown(home, 65534, 65534)
    assert "it belongs to user 65534" in not_well()["permissions"].what


@pytest.mark.usefixtures("offline")
def test_a_group_of_readers_is_named_with_what_it_may_read(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "readers.toml"
    policy.write_text(f'[privacy]\nreaders_group = "{grp.getgrgid(os.getegid()).gr_name}"\n')
    monkeypatch.setenv("BINDWATCH_CONFIG", str(policy))
    (said,) = [one.what for one in examine() if one.name == "permissions"]
    assert said.endswith(f"the group {grp.getgrgid(os.getegid()).gr_name} may read what is published and certified")


@pytest.mark.usefixtures("offline")
def test_as_a_user_who_may_not_look_in_nothing_of_the_home_is_ticked(home: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    told = tmp_path / "told"
    told.touch()
    told.chmod(0o666)
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(0o755)

    def work() -> int:
        os.setuid(65534)
        told.write_text(json.dumps({one.name: [one.state, one.what] for one in examine()}))
        return 0

    assert in_child(work) == 0
    states = json.loads(told.read_text())
    for name in ("permissions", "warehouse", "published", "certified", "decisions", "set aside", "backup"):
        assert states[name][0] != "ok", states[name]


@pytest.mark.usefixtures("offline")
def test_a_disk_without_room_for_a_run_is_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", 60_000_000) as disk:
        shutil.copytree(home, disk / "home", symlinks=True)
        monkeypatch.setenv("BINDWATCH_HOME", str(disk / "home"))
        found = not_well()["free space"]
    assert found.state == "mend"
    assert "MB are free, a run may need 1" in found.what


@pytest.mark.usefixtures("offline")
def test_a_backup_that_is_old_or_was_never_made_is_to_be_mended(home: Path) -> None:
    note_backup(home, f"{datetime.now(UTC) - timedelta(days=8):%Y-%m-%dT%H:%M:%SZ}", Path("/backup/old"))
    assert "8 days old (/backup/old)" in not_well()["backup"].what
    (home / "last-backup.json").write_text("{")
    assert not_well()["backup"].what == "no backup of this home is known"


@pytest.mark.usefixtures("offline")
def test_what_was_set_aside_and_what_a_killed_restore_left_is_named(home: Path) -> None:
    (home / "landing" / "x.unusable-1").mkdir(parents=True)
    assert "landing/x.unusable-1" in not_well()["set aside"].what
    (home / "restoring-1").mkdir()
    assert "restoring-1 was left" in not_well()["home"].what
    (home / "restoring.json").write_text("{}")
    found = not_well()
    assert "a restore was interrupted" in found["home"].what
    assert found["warehouse"].state == "not_checked"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("policy", "words"),
    [("[gate", "not a readable TOML"), ("[checks.no_such]\nmax_findings = 1\n", "no such check"), ("[gate]\nfail_on = 1\n", "gate.fail_on")],
)
def test_a_policy_that_a_run_would_refuse_is_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, words: str) -> None:
    (tmp_path / "policy.toml").write_text(policy)
    monkeypatch.setenv("BINDWATCH_CONFIG", str(tmp_path / "policy.toml"))
    assert words in not_well()["policy"].what


@pytest.mark.usefixtures("offline")
def test_the_settings_of_dagster_are_read(home: Path) -> None:
    (home / "dagster").mkdir(exist_ok=True)
    path = home / "dagster" / "dagster.yaml"
    for text, words in (("a: [", "not readable YAML"), ("", "is empty"), ("storage: {url: {env: BINDWATCH_DAGSTER_POSTGRES_URL}}", "is not set")):
        path.write_text(text)
        assert words in not_well()["dagster.yaml"].what


def test_a_crm_that_refuses_and_a_clock_that_is_wrong_are_named(
    home: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", "wrong")
    found = not_well()
    assert found["HubSpot"].state == "mend" and "HUBSPOT_ACCESS_TOKEN is wrong" in found["HubSpot"].remedy
    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", portal.environment["HUBSPOT_ACCESS_TOKEN"])
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "wrong")
    assert "The token was refused" in not_well()["Salesforce"].what
    monkeypatch.delenv("SALESFORCE_CLIENT_SECRET")
    found = not_well()
    assert "No way into Salesforce is set" in found["environment"].what
    print_findings([found["environment"]], as_json=False)
    assert all(line.startswith(" " * 15) for line in capsys.readouterr().out.splitlines()[1:6]), "below one another"
    assert {name: found[name].state for name in CRMS} == dict.fromkeys(CRMS, "not_checked")
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", portal.environment["SALESFORCE_CLIENT_SECRET"])
    with monkeypatch.context() as patch:
        assert (span(604_868), span(90), span(7_300)) == ("7 days", "90 seconds", "2 hours")
        patch.setattr(doctor, "MOST_CLOCK_DIFFERENCE", timedelta(seconds=-1))
        assert "ahead of" in not_well()["clock"].what or "behind" in not_well()["clock"].what


def test_what_would_end_a_run_at_once_is_told_by_the_doctor_too(tmp_path: Path) -> None:
    with served(story_of(5), tmp_path / "sandbox", hidden=frozenset({"Lead"})) as server:
        connections = Connections(access_to(server), HubSpotAccess("pat-sandbox"), Policy())
        with pytest.raises(doctor._Mend) as raised:
            doctor._ask_salesforce(connections, {})
        assert 'objects = ["Contact"]' in str(raised.value.what)
        without = Policy.model_validate({"policy": {"objects": ["Contact"]}})
        assert "answers in version" in doctor._ask_salesforce(replace(connections, policy=without), {})


def test_a_look_that_fails_is_told_and_keeps_no_other_from_being_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> str:
        raise RuntimeError("unheard of")

    monkeypatch.setattr(doctor, "_look_at_warehouse", broken)
    assert {name: (one.state, one.what) for name, one in not_well().items()} == {"warehouse": ("not_checked", "RuntimeError: unheard of")}
