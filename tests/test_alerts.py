"""Alerts: what is told, once each, over a real webhook and real mail; and what a message never holds."""

import json
import re
import shutil
import socket
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import lxml.html
import pytest
from aiosmtpd.controller import Controller
from starlette.datastructures import QueryParams

from assets.policy import Policy
from assets.problems import ConfigurationProblem, WarehouseProblem
from assets.published.decisions import DecisionStore
from assets.published.publish import publish_tables, publish_verdict
from assets.published.silence import silence_limit
from assets.published.worklist import Worklist
from assets.verdict import Verdict
from assets.warehouse.ledger import CheckRecord, close_run, memory_with, summarise_run
from pipelines.alerts import ATTEMPTS, DeadRun, send_test, tell
from review.filters import read_filter
from tests.crm import BOUND, Crm, day, duplicates, lead_id
from tests.hook import Hook
from tests.live import ROOT


def end_run(crm: Crm, home: Path, verdict: Verdict, next_run: datetime, problem: str | None = None, found_new: int = 1, is_anything_new: bool = True) -> None:
    """The run publishes its tables, gets its verdict, and ends, as the steps of a real one do. One to which nothing is new builds nothing: published is what
    was, with another verdict."""
    connection = crm.build().connection if is_anything_new else crm.connection
    record = summarise_run(connection, "unproven", [], [])
    if is_anything_new:
        publish_tables(connection, home, memory_with(record), {"run_id": record.run_id, "verdict": "unproven", "finished_at": None, "problem": None})
    checks = {row["check_name"]: row for row in crm.rows("from review.finding where status <> 'resolved'")}
    judged = [CheckRecord(row["suite"], name, "violated", row["severity"], 1, found_new) for name, row in checks.items()]
    record = summarise_run(connection, verdict, [], [])
    changes = {"run_id": record.run_id, "verdict": verdict, "finished_at": record.finished_at.isoformat(), "problem": problem}
    publish_verdict(connection, home, memory_with(record, judged), changes if is_anything_new else {**changes, "built": {"seen_until": f"{crm.run_at:%FT%TZ}"}})
    close_run(connection, record, judged)
    crm.run_no += 1
    crm._begin_run(next_run)


def end_runs(crm: Crm, home: Path, *ended: tuple[Verdict, datetime], after: Callable[[], object] = lambda: None) -> None:
    """The first one finds something, to the others nothing is new. after: what is done after each."""
    for number, (verdict, next_run) in enumerate(ended):
        end_run(crm, home, verdict, next_run, is_anything_new=number == 0)
        after()


def red() -> Crm:
    crm = duplicates(rival_fields={"Title": "Buyer"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"})
    return crm


Ended = Callable[[Callable[[], Crm], Verdict], None]


@pytest.fixture(scope="module")
def after_one_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], Crm], Verdict], Path]:
    """A home after one run on a world, made once."""

    @cache
    def made(world: Callable[[], Crm], verdict: Verdict) -> Path:
        home = tmp_path_factory.mktemp(world.__name__)
        end_run(world(), home, verdict, day(31))
        return home

    return made


@pytest.fixture
def ended(after_one_run: Callable[[Callable[[], Crm], Verdict], Path], tmp_path: Path) -> Ended:
    """Makes the home of a test one after a run, for who needs no other one."""

    def copy(world: Callable[[], Crm], verdict: Verdict) -> None:
        shutil.copytree(after_one_run(world, verdict), tmp_path, symlinks=True, dirs_exist_ok=True)

    return copy


def test_a_gate_that_turns_red_is_told_once_with_what_it_found(tmp_path: Path, hook: Hook) -> None:
    crm = red()
    end_run(crm, tmp_path, "fail", day(31))
    for _ in range(3):
        tell(tmp_path, Policy(), [hook.url])
    (message,) = hook.received
    assert message["title"] == "Bindwatch: the gate turned red"
    assert "unsafe_duplicate: 1 open" in message["message"] and "HubSpot contact 101" in message["message"]
    assert "@" not in json.dumps(message)
    # the next run finds the same: nobody is told again
    end_run(crm, tmp_path, "fail", day(32))
    assert tell(tmp_path, Policy(), [hook.url]) == []


def told(tmp_path: Path, ended: Ended, hook: Hook, language: str) -> dict[str, str]:
    ended(red, "fail")
    tell(tmp_path, Policy.model_validate({"alerts": {"language": language}}), [hook.url])
    return dict(hook.received[0])


def test_the_policy_says_in_which_language_people_are_told(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    message = told(tmp_path, ended, hook, "de")
    assert message["title"] == "Bindwatch: neuer Handlungsbedarf"
    assert message["message"].startswith("Lauf ") and "- unsafe_duplicate: 1 offen, davon 1 neu" in message["message"]
    assert "HubSpot-Kontakt 101" in message["message"] and "zusammenführen" in message["message"], "the finding speaks German, too"


def test_what_a_language_does_not_say_is_told_in_english(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    assert told(tmp_path, ended, hook, "fr")["title"] == "Bindwatch: the gate turned red"


def test_each_sentence_of_a_message_has_the_same_facts_in_german() -> None:
    sentences = tomllib.loads((ROOT / "pipelines" / "alerts.toml").read_text("utf-8"))
    facts = {language: {name: set(re.findall(r"{([a-z]+)}", text)) for name, text in said.items()} for language, said in sentences.items()}
    assert facts["en"] == facts["de"]


def test_new_blocking_findings_in_a_red_gate_are_told_without_the_old_ones(tmp_path: Path, hook: Hook) -> None:
    crm = red()
    end_run(crm, tmp_path, "fail", day(31))
    tell(tmp_path, Policy(), [hook.url])
    crm.contact("102", bound=lead_id(99), email="b@example.com")
    end_run(crm, tmp_path, "fail", day(32))
    tell(tmp_path, Policy(), [hook.url])
    assert hook.titles[1:] == ["Bindwatch: new blocking findings (1)"]
    assert "102" in hook.received[1]["message"] and "unsafe_duplicate" not in hook.received[1]["message"]


def shown_on_the_desk(home: Path, link: str) -> list[str]:
    """The findings behind a link in a message."""
    wanted = read_filter(QueryParams(urlsplit(link).query))
    return [row["fingerprint"] for row in Worklist(home, DecisionStore(home)).find(wanted)]


def links_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("https://")]


def test_who_switches_alerts_on_late_reads_what_is_open_and_where(tmp_path: Path, hook: Hook) -> None:
    crm = red()
    end_run(crm, tmp_path, "fail", day(31), found_new=0)
    end_run(crm, tmp_path, "fail", day(32), found_new=0, is_anything_new=False)
    policy = Policy.model_validate({"links": {"desk_url": "https://crm.example/bindwatch/"}})
    tell(tmp_path, policy, [hook.url])
    (message,) = hook.received
    assert message["title"] == "Bindwatch: the gate is red", "it turned red before anybody was told"
    assert "unsafe_duplicate: 1 open\n" in message["message"] and "0 new" not in message["message"]
    assert "HubSpot contact 101" in message["message"], "the worst of what is open is named"
    (link,) = links_in(message["message"])
    assert link == "https://crm.example/bindwatch/findings?severity=block"
    assert len(shown_on_the_desk(tmp_path, link)) == 1


def test_the_link_of_a_message_leads_to_what_it_tells_of(tmp_path: Path, hook: Hook) -> None:
    policy = Policy.model_validate({"links": {"desk_url": "https://desk.example"}})
    crm = red()
    end_run(crm, tmp_path, "fail", day(31))
    tell(tmp_path, policy, [hook.url])
    crm.contact("102", bound=lead_id(99), email="b@example.com")
    end_run(crm, tmp_path, "fail", day(32))
    tell(tmp_path, policy, [hook.url])
    first, second = (links_in(message["message"])[0] for message in hook.received)
    assert len(shown_on_the_desk(tmp_path, second)) == 1
    # two runs came before anybody was told: what the first of them found is no longer new on the desk
    crm.contact("103", bound=lead_id(98), email="c@example.com")
    end_run(crm, tmp_path, "fail", day(33))
    end_run(crm, tmp_path, "fail", day(34), found_new=0, is_anything_new=False)
    tell(tmp_path, policy, [hook.url])
    assert hook.titles[2:] == ["Bindwatch: new blocking findings (1)"]
    (third,) = links_in(hook.received[2]["message"])
    assert first == second == "https://desk.example/findings?severity=block&new=1"
    assert third == "https://desk.example/findings?severity=block" and len(shown_on_the_desk(tmp_path, third)) == 3


def test_recovery_is_told_once(tmp_path: Path, hook: Hook) -> None:
    end_runs(red(), tmp_path, ("fail", day(31)), ("pass", day(32)), ("pass", day(33)), after=lambda: tell(tmp_path, Policy(), [hook.url]))
    assert hook.titles == ["Bindwatch: the gate turned red", "Bindwatch: back to green"]


def test_a_run_that_proves_nothing_is_told_once_until_one_proves_something_again(tmp_path: Path, hook: Hook) -> None:
    crm = Crm()
    end_run(crm, tmp_path, "pass", day(31))
    tell(tmp_path, Policy(), [hook.url])
    for moment in (day(32), day(33)):
        end_run(crm, tmp_path, "unproven", moment, problem="HubSpot: cannot be reached.", is_anything_new=False)
        tell(tmp_path, Policy(), [hook.url])
    end_run(crm, tmp_path, "pass", day(34), is_anything_new=False)
    tell(tmp_path, Policy(), [hook.url])
    assert hook.titles == ["Bindwatch: a run could not be completed", "Bindwatch: back to green"]
    assert "HubSpot: cannot be reached." in hook.received[0]["message"]


def test_a_red_gate_that_could_not_be_proven_for_a_while_is_not_told_as_red_again(tmp_path: Path, hook: Hook) -> None:
    end_runs(red(), tmp_path, ("fail", day(31)), ("unproven", day(32)), ("fail", day(33)), after=lambda: tell(tmp_path, Policy(), [hook.url]))
    assert hook.titles == ["Bindwatch: the gate turned red", "Bindwatch: a run could not be completed"]


def test_a_run_whose_process_died_is_told_and_one_that_left_a_verdict_is_not(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    ended(red, "fail")
    judged, died = DeadRun("run 1", day(30.1)), DeadRun("run 2", day(31.1))
    tell(tmp_path, Policy(), [hook.url], [judged])
    tell(tmp_path, Policy(), [hook.url], [judged, died])
    tell(tmp_path, Policy(), [hook.url], [judged, died])
    assert hook.titles == ["Bindwatch: the gate turned red", "Bindwatch: a run could not be completed"]


def test_a_run_that_is_going_on_is_nobodys_business(tmp_path: Path, hook: Hook) -> None:
    crm = red()
    connection = crm.build().connection
    record = summarise_run(connection, "unproven", [], [])
    publish_tables(connection, tmp_path, memory_with(record), {"run_id": record.run_id, "verdict": "unproven", "finished_at": None, "problem": None})
    assert tell(tmp_path, Policy(), [hook.url]) == []
    assert tell(tmp_path / "nothing yet", Policy(), [hook.url]) == []


def test_who_switches_alerts_on_is_told_how_things_are_not_how_they_were(tmp_path: Path, hook: Hook) -> None:
    end_runs(red(), tmp_path, ("fail", day(31)), ("unproven", day(32)), ("pass", day(33)))
    assert tell(tmp_path, Policy(), [hook.url], [DeadRun("run 0", day(29), frozenset({"run 3"}))]) == []


def test_runs_that_came_while_nobody_looked_are_told_in_their_order(tmp_path: Path, hook: Hook) -> None:
    crm = red()
    end_run(crm, tmp_path, "pass", day(31))
    tell(tmp_path, Policy(), [hook.url])
    end_run(crm, tmp_path, "fail", day(32), is_anything_new=False)
    end_run(crm, tmp_path, "pass", day(33), is_anything_new=False)
    tell(tmp_path, Policy(), [hook.url])
    assert hook.titles == ["Bindwatch: the gate turned red", "Bindwatch: back to green"]


def test_the_policy_says_what_is_told(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    ended(red, "fail")
    policy = Policy.model_validate({"alerts": {"on": ["unproven"]}})
    assert tell(tmp_path, policy, [hook.url]) == []
    policy = Policy.model_validate({"alerts": {"findings_named": 0}, "links": {"desk_url": "https://desk.example/"}})
    (tmp_path / "alerts.json").unlink()
    tell(tmp_path, policy, [hook.url])
    assert "1 more" in hook.received[0]["message"] and "https://desk.example/findings" in hook.received[0]["message"]
    assert "HubSpot contact 101" not in hook.received[0]["message"]


def test_waived_findings_and_those_of_the_baseline_are_not_told(tmp_path: Path, hook: Hook) -> None:
    crm = red()
    crm.policy = crm.policy.model_validate({"gate": {"fail_on": "new"}})
    end_run(crm, tmp_path, "pass", day(31))
    crm.contact("102", bound=lead_id(99), email="b@example.com")
    end_run(crm, tmp_path, "fail", day(32))
    tell(tmp_path, crm.policy, [hook.url])
    assert "102" in hook.received[0]["message"] and "contact 101" not in hook.received[0]["message"]


# ── silence ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def later(hours: float) -> datetime:
    return datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=hours)


def test_that_no_run_proves_anything_for_long_is_told_once_and_so_is_its_end(tmp_path: Path, hook: Hook) -> None:
    crm = Crm()
    end_run(crm, tmp_path, "pass", day(31))
    for hours in (0, 25, 27, 28, 100):
        tell(tmp_path, Policy(), [hook.url], now=later(hours))
    assert [title[:31] for title in hook.titles] == ["Bindwatch: no proven run since "]
    assert "longer than 26 hours" in hook.received[0]["message"]
    end_run(crm, tmp_path, "unproven", day(32), problem="HubSpot: cannot be reached.", is_anything_new=False)
    tell(tmp_path, Policy(), [hook.url], now=later(101))
    end_run(crm, tmp_path, "pass", day(33), is_anything_new=False)
    tell(tmp_path, Policy(), [hook.url], now=later(0))
    assert hook.titles[1:] == ["Bindwatch: back to green"]
    tell(tmp_path, Policy(), [hook.url], now=later(200))
    assert len(hook.received) == 3  # and the next silence again


def test_a_home_in_which_no_run_ever_proved_anything_is_silent_from_the_first_look_on(tmp_path: Path, hook: Hook) -> None:
    for hours in (0, 25, 27, 28):
        tell(tmp_path, Policy(), [hook.url], now=later(hours))
    assert len(hook.received) == 1


@pytest.mark.parametrize("what", ["a table", "the manifest", "an older version", "gone"])
def test_silence_is_told_whatever_became_of_the_snapshot_and_since_when_is_not_forgotten(tmp_path: Path, ended: Ended, hook: Hook, what: str) -> None:
    ended(Crm, "pass")
    tell(tmp_path, Policy(), [hook.url], now=later(0))
    folder = tmp_path / "published" / "current"
    if what == "a table":
        (folder / "run.parquet").write_bytes(b"no table")
    elif what == "the manifest":
        (folder / "manifest.json").write_text("{")
    elif what == "an older version":
        (folder / "finding.parquet").unlink()
    else:
        folder.unlink()
    for hours in (1, 26.5, 28):
        with nullcontext() if what == "gone" else pytest.raises((WarehouseProblem, duckdb.Error)):
            tell(tmp_path, Policy(), [hook.url], now=later(hours))
        assert len(hook.received) == (hours > 26)
    assert hook.titles[0].startswith("Bindwatch: no proven run since ")


def test_the_policy_says_when_a_home_is_silent(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    ended(Crm, "pass")
    policy = Policy.model_validate({"alerts": {"silent_after_hours": 3}})
    assert tell(tmp_path, policy, [hook.url], now=later(2.9)) == []
    assert [message.kind for message in tell(tmp_path, policy, [hook.url], now=later(3.1))] == ["silent"]


def test_a_clock_that_was_wrong_once_silences_nothing(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    ended(Crm, "pass")
    tell(tmp_path, Policy(), [hook.url], now=later(-9_000))  # the run seems to have ended in a year
    assert [message.kind for message in tell(tmp_path, Policy(), [hook.url], now=later(-9_000 + 27))] == ["silent"]


@pytest.mark.parametrize(
    ("ended", "hours"),
    [
        ([], 26), ([0], 26), ([0, 24], 26),  # nothing is usual yet
        ([0, 24, 48], 48), ([0, 1, 2, 3, 50, 51], 2),  # a weekend changes nothing
        ([0, 0.01, 0.02, 0.03], 1),
        ([*range(0, 24 * 30, 24), *range(24 * 30, 24 * 30 + 25)], 2),  # what was usual a month ago is not any more
    ],
)  # fmt: skip
def test_the_usual_distance_between_runs_is_that_of_the_last_ones(ended: list[float], hours: float) -> None:
    with duckdb.connect() as connection:
        connection.execute("create schema published; create table published.run (run_no integer, run_id varchar, verdict varchar, finished_at timestamp)")
        for number, moment in enumerate(ended, 1):
            connection.execute("insert into published.run values (?, 'r', 'fail', ?)", [number, day(1) + timedelta(hours=moment)])
        connection.execute("insert into published.run values (99, 'r', 'unproven', ?)", [day(1)])
        assert silence_limit(connection, None) == timedelta(hours=hours)


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_address_that_does_not_answer_is_tried_again_and_the_others_are_not_told_twice(
    tmp_path: Path, ended: Ended, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    ended(red, "fail")
    other = Hook()  # nobody serves it: its connections are never answered
    other.server.server_close()
    tell(tmp_path, Policy(), [other.url, hook.url])
    assert len(hook.received) == 1
    assert "Alert address 1 (json) did not take the alert" in caplog.text
    assert "secret-path" not in caplog.text
    for _ in range(ATTEMPTS):
        tell(tmp_path, Policy(), [other.url, hook.url])
    assert len(hook.received) == 1
    assert json.loads((tmp_path / "alerts.json").read_text())["pending"] == []
    assert "secret-path" not in (tmp_path / "alerts.json").read_text()


def test_a_message_that_was_refused_arrives_when_the_address_works_again(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    ended(red, "fail")
    hook.status = 500
    tell(tmp_path, Policy(), [hook.url])
    hook.status = 200
    tell(tmp_path, Policy(), [hook.url])
    assert hook.titles == ["Bindwatch: the gate turned red"]


def test_an_address_that_is_not_understood_is_named_by_its_number_and_the_others_are_told(tmp_path: Path, ended: Ended, hook: Hook) -> None:
    ended(red, "fail")
    with pytest.raises(ConfigurationProblem, match="entry 2") as problem:
        tell(tmp_path, Policy(), [hook.url, "nonsense://s3cret@x"])
    assert "s3cret" not in str(problem.value)
    assert hook.titles == ["Bindwatch: the gate turned red"]


class Mailbox:
    def __init__(self) -> None:
        self.received: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.received.append(message_from_bytes(envelope.content))
        return "250 OK"


@contextmanager
def smtp_server() -> Iterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mailbox, port
    finally:
        controller.stop()


def red_twice() -> Crm:
    crm = red()
    crm.contact("102", bound=lead_id(99), email="b@example.com")
    return crm


@pytest.mark.parametrize("options", ["", "&format=text", "&format=html"])
def test_a_mail_arrives_and_its_lines_are_lines(tmp_path: Path, ended: Ended, options: str) -> None:
    ended(red_twice, "fail")
    with smtp_server() as (mailbox, port):
        url = f"mailto://127.0.0.1:{port}?mode=insecure&from=bindwatch@example.org&to=steward@example.org{options}"
        assert send_test([url]) == []
        (message,) = tell(tmp_path, Policy(), [url])
    assert [mail["Subject"] for mail in mailbox.received] == ["Bindwatch: a test", "Bindwatch: the gate turned red"]
    parts = [part for part in mailbox.received[1].walk() if not part.is_multipart()]
    assert parts
    for part in parts:
        text = as_read(part.get_payload(decode=True).decode(), part.get_content_type())
        assert text == [line.strip() for line in message.body.splitlines() if line.strip()], part.get_content_type()
        assert len(text) > 6 and not [line for line in text if "@" in line]


def as_read(text: str, kind: str) -> list[str]:
    """The lines that somebody sees; empty ones left out."""
    if kind == "text/html":
        document = lxml.html.fromstring(f"<div>{' '.join(text.split())}</div>")
        for line_break in document.iter("br", "p", "div"):
            line_break.tail = "\n" + (line_break.tail or "")
        text = document.text_content().replace("\xa0", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_a_test_message_names_the_address_that_did_not_take_it(hook: Hook) -> None:
    hook.status = 403
    assert send_test([hook.url]) == ["Alert address 1 (json) did not take it."]


# ── the sensor ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_sensor_tells_and_says_what(tmp_path: Path, ended: Ended, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    from pipelines.sensors import alerts

    ended(red, "fail")
    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    monkeypatch.setenv("BINDWATCH_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("BINDWATCH_ALERT_URLS", raising=False)
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        assert "is not set" in str(alerts(context))
        monkeypatch.setenv("BINDWATCH_ALERT_URLS", f"\n {hook.url}\n")
        assert "the gate turned red" in str(alerts(context))
        assert "Nothing new" in str(alerts(context))
        # an address without a secret may stand in the policy, too; it is told once even if it stands in both
        (tmp_path / "none.toml").write_text(f'[alerts]\nurls = ["{hook.url}"]\n')
        assert "Nothing new" in str(alerts(context))
        (tmp_path / "alerts.json").unlink()
        monkeypatch.delenv("BINDWATCH_ALERT_URLS")
        assert "the gate turned red" in str(alerts(context))
    assert len(hook.received) == 2


def test_a_policy_that_cannot_be_read_keeps_nobody_from_being_told(tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    from pipelines.sensors import alerts

    (tmp_path / "alerts.json").write_text('{"proven_at": "2026-01-01T00:00:00"}')
    (tmp_path / "wrong.toml").write_text("[gate]\nfail_on = 7\n")
    for name, value in {"HOME": tmp_path, "CONFIG": tmp_path / "wrong.toml", "ALERT_URLS": hook.url}.items():
        monkeypatch.setenv(f"BINDWATCH_{name}", str(value))
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        for _ in range(2):
            with pytest.raises(ConfigurationProblem, match="fail_on"):
                alerts(context)
    assert hook.titles == ["Bindwatch: no proven run since 2026-01-01 00:00 UTC"]


def test_the_sensor_sees_a_run_that_could_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dagster as dg

    from assets.dagster.keys import JOB
    from pipelines.dagster_runs import home_id, tags_of
    from pipelines.sensors import read_dead_runs

    monkeypatch.setenv("BINDWATCH_HOME", str(tmp_path))
    home_id(tmp_path, make=True)

    @dg.op
    def broken() -> None:
        raise RuntimeError

    @dg.job(name=JOB)
    def guarded_run() -> None:
        broken()

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        result = guarded_run.execute_in_process(instance=instance, raise_on_error=False, tags=tags_of(tmp_path))
        guarded_run.execute_in_process(instance=instance, raise_on_error=False)  # of a home that it does not name
        (dead,) = read_dead_runs(instance)
        assert dead.run_id == result.run_id
        assert abs(dead.ended_at - datetime.utcnow()) < timedelta(minutes=1)
