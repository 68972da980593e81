"""What a library says may quote a record: no name and no e-mail reaches a terminal, Dagster's storage, a manifest or an alert. And who may read a home."""

import grp
import os
import pickle
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from assets.files import prepare_home, replaced
from assets.policy import Policy
from assets.problems import ConfigurationProblem, UnexpectedProblem, presentable, said
from assets.pull.refusals import without_quotes
from pipelines.alerts import tell
from pipelines.settings import read_connections
from sandbox.server import SandboxServer
from tests.command import call, environment_of, everything_kept, fork, manifest, personal, start
from tests.live import ROOT, served, story_of

NAME, EMAIL = "Annabel O'Brien Lee", "annabel.lee@secret.example"


@pytest.mark.parametrize(
    "text",
    [
        f"Conversion Error: Could not convert string '{NAME}' to INT32",
        f'Constraint Error: Duplicate key "email: {EMAIL}" violates primary key constraint.',
        f"Invalid Input Error: CSV Error on Line: 2\nOriginal Line: 1,{NAME},{EMAIL}",
        f"Invalid Input Error: Malformed JSON at byte 3. Input: {NAME} {EMAIL}",
        f"Invalid Input Error: value: {NAME}",
        f"something about {EMAIL} went wrong",
        f"(duckdb.duckdb.ConversionException) Conversion Error: Could not convert string '{NAME}' to INT32\n[SQL: select '{NAME}']",
        f'Could not convert string "{NAME}" to \'INT',
    ],
)
def test_what_a_library_says_is_cut_before_it_quotes_a_record(text: str) -> None:
    shown = said(text)
    assert shown
    assert not personal(shown, [NAME, "Brien", "Annabel", "Lee"], [EMAIL, "annabel.lee"]), shown


def test_what_duckdb_says_about_a_statement_stays() -> None:
    with pytest.raises(duckdb.Error) as raised:
        duckdb.execute("select no_such_column from (select 1 as one)")
    assert 'Referenced column "no_such_column" not found' in presentable(raised.value)
    assert "tests/test_privacy.py:" in presentable(raised.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No such column 'Foo__c' on entity 'Lead'", "No such column …"),
        ("user jane.doe@corp.example is inactive", "user … is inactive"),
        ("user <jane.doe＠corp.example>, is inactive", "user … is inactive"),
        (f"'{NAME}' is not a valid value for 'Account.Name'", "…"),
        ('duplicate value "4711 / A-9" found', "duplicate value … found"),
        ("the value “Ann said 'no'” is there", "the value … is there"),
        ("half a quote 'Ann O'Brien", "half a quote …"),
        ("user hasn't approved this consumer", "user hasn't approved this consumer"),
    ],
)
def test_a_message_of_an_api_loses_all_that_is_quoted_and_all_with_an_at(text: str, shown: str) -> None:
    assert without_quotes(text) == shown


# ── the whole way ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Broken:
    """At a place in the code, an error of DuckDB's that quotes a whole record. at: module:name."""

    at: str

    def __call__(self) -> None:
        module_name, _, name = self.at.partition(":")
        module = __import__(module_name, fromlist=[name])

        def quote(*_arguments: object, **_options: object) -> None:
            try:
                duckdb.execute(f"select cast('{NAME.replace(chr(39), chr(39) * 2)}, {EMAIL}' as integer)")
            except duckdb.Error as error:
                raise ValueError(f"row: 17, {NAME}, {EMAIL}") from error

        setattr(module, name, quote)


@dataclass(frozen=True)
class Home:
    server: SandboxServer
    before: Path


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("privacy")
    with served(story_of(60), folder / "sandbox") as server:
        before = folder / "before"
        assert fork(["run"], environment_of(before, server.environment), folder / "first", dagster_on_disk=True).code in (0, 1)
        yield Home(server, before)


@pytest.mark.parametrize(
    "at",
    [
        "assets.dagster.pulled:ingest_object",
        "assets.dagster.modelled:publish_tables",
        "expectations.asset_checks:evaluate",
        "pipelines.guarded_run:read_connections",
    ],
)
def test_an_error_that_quotes_a_record_is_told_without_it(live: Home, tmp_path: Path, at: str) -> None:
    home = tmp_path / "home"
    shutil.copytree(live.before, home, symlinks=True)
    ended = fork(["run", "--full"], environment_of(home, live.server.environment), tmp_path / "ended", Broken(at), dagster_on_disk=True)
    assert ended.code == 3, ended.text
    assert "Unexpected ValueError at tests/test_privacy.py:" in " ".join(ended.text.split())
    now = manifest(home)
    assert now is not None
    everything = "\n".join([ended.text, str(now), everything_kept(home), *(message.body for message in tell(home, Policy(), []))])
    assert not personal(everything, [NAME, "annabel"], [EMAIL, "annabel.lee"])
    if at != "pipelines.guarded_run:read_connections":
        assert (now["verdict"], "Unexpected ValueError" in now["problem"]) == ("unproven", True)


def test_a_check_that_fails_on_a_value_is_told_without_the_value(live: Home, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(live.before, home, symlinks=True)
    ended = fork(["run", "--full"], environment_of(home, live.server.environment), tmp_path / "ended", FailingCheck(tmp_path / "suites"), dagster_on_disk=True)
    assert ended.code == 3, ended.text
    assert "could not be evaluated (" in " ".join(ended.text.split())
    assert not personal("\n".join([ended.text, str(manifest(home)), everything_kept(home)]), [NAME, "annabel"], [EMAIL])


@dataclass(frozen=True)
class FailingCheck:
    """An expectation whose query stumbles over a value."""

    folder: Path

    def __call__(self) -> None:
        import json

        import expectations.gate as gate

        shutil.copytree(gate.TABLE_SUITES, self.folder)
        suite = json.loads((self.folder / "core.json").read_text("utf-8"))
        value = f"{NAME}, {EMAIL}".replace("'", "''")
        suite["expectations"][-1]["kwargs"]["unexpected_rows_query"] = f"select cast('{value[:9]}' || '{value[9:]}' as integer) as number from {{batch}}"
        (self.folder / "core.json").write_text(json.dumps(suite), "utf-8")
        gate.TABLE_SUITES = self.folder


def test_what_a_sensor_stumbles_over_is_kept_without_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import sensors

    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))

    def quote(*_arguments: object) -> None:
        raise ValueError(f"row: 17, {NAME}, {EMAIL}")

    monkeypatch.setattr(sensors, "judge_dropped_plans", quote)
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(UnexpectedProblem) as raised:
        sensors.merge_plans.evaluate_tick(dg.build_sensor_context(instance=instance))
    kept = str(serializable_error_info_from_exc_info((type(raised.value), raised.value, raised.tb)))
    assert "Unexpected ValueError at tests/test_privacy.py" in kept
    assert not personal(kept, [NAME, "annabel"], [EMAIL])


def test_the_hooks_of_these_tests_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(Broken("a:b"))) == Broken("a:b")


# ── who may read ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def readable_by_others(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder, *folder.rglob("*")) if not path.is_symlink() and path.stat().st_mode & 0o077}


def test_all_that_a_run_makes_is_its_users_alone_whatever_the_umask(live: Home) -> None:
    assert readable_by_others(live.before) == set()


@pytest.mark.parametrize("arguments", [["findings", "--export", "csv"], ["restore-plan"]])
def test_an_answer_in_a_file_is_its_users_alone_and_replaces_what_was_there(live: Home, tmp_path: Path, arguments: list[str]) -> None:
    out = tmp_path / "answer.csv"
    out.write_text("what was there")
    out.chmod(0o644)
    assert call([*arguments, "--out", str(out)], environment_of(live.before, {})).code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "what was there" not in out.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["answer.csv"]
    assert call(["restore-plan", "--out", str(tmp_path / "plan")], environment_of(live.before, {})).code == 0
    assert readable_by_others(tmp_path / "plan") == set()


def test_an_answer_goes_into_a_pipe_that_waits_for_it(live: Home, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start(["findings", "--status", "all", "--export", "csv", "--out", str(pipe)], environment_of(live.before, {}))
    assert pipe.read_text().startswith("fingerprint")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_that_was_not_finished_leaves_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("before")
    with pytest.raises(KeyError), replaced(out) as path:
        path.write_text("half")
        raise KeyError
    assert (out.read_text(), len(list(tmp_path.iterdir()))) == ("before", 1)
    with pytest.raises(ConfigurationProblem, match="cannot be written"), replaced(tmp_path / "no" / "folder"):
        pass


def test_a_group_of_readers_reads_what_is_published_and_nothing_else(live: Home, tmp_path: Path) -> None:
    group = next(one for one in grp.getgrall() if one.gr_gid not in (os.getgid(), 0) and (os.geteuid() == 0 or one.gr_gid in os.getgroups()))
    policy = tmp_path / "bindwatch.toml"
    policy.write_text((ROOT / "sandbox" / "bindwatch.toml").read_text() + f'\n[privacy]\nreaders_group = "{group.gr_name}"\n')
    home = tmp_path / "home"
    shutil.copytree(live.before, home, symlinks=True)
    (home / "warehouse.duckdb").chmod(0o644)  # as an earlier version left it
    ended = fork(["run"], environment_of(home, live.server.environment, policy), tmp_path / "ended")
    assert ended.code in (0, 1), ended.text
    assert (stat.S_IMODE(home.stat().st_mode), home.stat().st_gid) == (0o710, group.gr_gid)
    for path in (home / "published", *(home / "published").rglob("*"), home / "certified", *(home / "certified").rglob("*")):
        if not path.is_symlink():
            assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o750 if path.is_dir() else 0o640, group.gr_gid), path
    assert {name.split("/")[0] for name in readable_by_others(home)} == {".", "published", "certified"}
    assert "can be read by other users" not in ended.err
    # taken back
    assert fork(["run"], environment_of(home, live.server.environment), tmp_path / "again").code in (0, 1)
    assert stat.S_IMODE((home / "published").stat().st_mode) == 0o700


def test_a_home_that_others_can_read_is_named_with_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for mode, is_named in ((0o700, False), (0o750, True), (0o705, True)):
        caplog.clear()
        tmp_path.chmod(mode)
        prepare_home(tmp_path, None)
        assert (f"chmod 700 {tmp_path}" in caplog.text) == is_named


@pytest.mark.parametrize("name", ["no-such-group-here", "someone-elses"])
def test_a_group_that_cannot_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    policy = tmp_path / "bindwatch.toml"
    policy.write_text(f'[privacy]\nreaders_group = "{name}"\n')
    monkeypatch.setenv("BINDWATCH_CONFIG", str(policy))
    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    real: Callable[[str], object] = grp.getgrnam
    monkeypatch.setattr(grp, "getgrnam", lambda asked: grp.struct_group(("someone-elses", "x", 987654, [])) if asked == "someone-elses" else real(asked))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigurationProblem) as raised:
        read_connections()
    assert "line 2: privacy.readers_group" in str(raised.value)
    assert name in str(raised.value)
