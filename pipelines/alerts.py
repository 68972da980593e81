"""Alerts: a gate that turned red, new blocking findings, a run that could not be completed, no proven run for long, recovery. Each is told once, to
BINDWATCH_ALERT_URLS.

What was told is kept in alerts.json in the home, so it does not matter whether Dagster's sensor or `bindwatch alert` tells it. A message holds no
e-mail address and no name, only ids. What messages say stands in alerts.toml, once for each language.
"""

import fcntl
import json
import logging
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from assets.files import read_json, set_aside, write_whole
from assets.policy import Policy
from assets.problems import ConfigurationProblem
from assets.published.silence import last_proven, silence_limit
from assets.published.snapshot import current_folder, open_folder, read_manifest
from assets.published.worklist import order_of
from assets.sentences import column_in, languages

log = logging.getLogger("bindwatch.alerts")

_DEAD_KEPT = 500
ATTEMPTS = 10  # at a message that an address does not take; then it is given up, and the log says so


class Words:
    """What messages say in one language; what it does not say, in English."""

    def __init__(self, language: str) -> None:
        told = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
        self.language = language
        self._sentences = {**told["en"], **told.get(language, {})}
        self._manner = languages().get(language, languages()["en"])

    def say(self, sentence: str, **facts: object) -> str:
        """A sentence with its facts, as the language writes numbers and moments (UTC)."""
        return self._sentences[sentence].strip().format(**{name: self._written(fact) for name, fact in facts.items()})  # type: ignore[no-any-return]

    def _written(self, fact: object) -> str:
        if isinstance(fact, datetime):
            pattern = self._manner["moment"]
            for place, form in (("YYYY", "%Y"), ("MM", "%m"), ("DD", "%d"), ("hh", "%H"), ("mm", "%M")):
                pattern = pattern.replace(place, form)
            return fact.strftime(pattern)
        return f"{fact:,}".replace(",", self._manner["thousands"]) if isinstance(fact, int) else str(fact)

    def of_finding(self, part: str) -> str:
        """The expression for a part of a published finding, reason or action, in this language."""
        return column_in(self.language, "finding", part)


@dataclass(frozen=True)
class Message:
    kind: str  # red, new_blocking, unproven, silent, recovered
    title: str
    body: str


@dataclass(frozen=True)
class DeadRun:
    """A run that Dagster knows to have ended, and that left no verdict: its process died, or it could not start. later: the runs that began after it."""

    run_id: str
    ended_at: datetime  # UTC
    later: frozenset[str] = frozenset()


@dataclass
class Told:
    """What was told so far. run_no: of the last run that was looked at; proven: the verdict of the last run that proved something; is_broken: the last
    one did not; dead: the runs without a verdict that were told, the last ones.

    proven_run, proven_at: the last run that proved something, and when it ended, or since when it is known to be missing; is_silent: that was too long ago,
    and was told.
    pending: messages on their way, with the digests of the addresses that still wait for them.
    """

    run_no: int | None = None
    dead: list[str] = field(default_factory=list)
    proven: str | None = None
    is_broken: bool = False
    proven_run: str | None = None
    proven_at: str | None = None  # UTC, ISO 8601
    is_silent: bool = False
    pending: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def put_off(problems: list[Exception]) -> Iterator[None]:
    """What goes wrong inside is added to `problems`, for later: whatever it is, people are told what can be told without, and silence above all."""
    try:
        yield
    except Exception as error:
        problems.append(error)


def tell(home: Path, policy: Policy, urls: Sequence[str], dead_runs: Sequence[DeadRun] = (), now: datetime | None = None) -> list[Message]:
    """Sends what has happened since the last time. Returns the messages that were due.

    urls: as Apprise understands them; now: UTC. Raises ConfigurationProblem when one is not understood, and what kept the snapshot from being read, once
    those were told that can be what is known.
    """
    words = Words(policy.alerts.language)
    problems: list[Exception] = []
    addresses: dict[str, str] = {}
    for number, url in enumerate(urls, 1):
        with put_off(problems):
            addresses |= _address(number, url)
    with _locked(home / "alerts.lock"):
        path = home / "alerts.json"
        told = _read_told(path)
        now = now or datetime.now(UTC).replace(tzinfo=None)
        due: list[Message] = []
        known = len(problems)
        with put_off(problems):
            folder = current_folder(home)
            snapshot = open_folder(folder) if folder is not None else None
            due = [*_due(folder, snapshot, policy, told, dead_runs, words), *_silence(snapshot, policy, told, now, words)]
        if len(problems) > known:
            told = _read_told(path)  # half of it may have changed
            due = [*_silence(None, policy, told, now, words)]
        messages = [message for message in due if message.kind in policy.alerts.on]
        told.pending += [{"title": message.title, "body": message.body, "attempts": 0, "waiting": list(addresses)} for message in messages]
        _keep(path, told)  # before sending: rather a message that comes twice than one that never does
        told.pending = [message for message in told.pending if not _send(message, addresses)]
        _keep(path, told)
    if problems:
        raise problems[0]
    return messages


def send_test(urls: Sequence[str], language: str = "en") -> list[str]:
    """Sends a message to every address. Returns what went wrong, one sentence an address."""
    words = Words(language)
    message = {"title": words.say("test"), "body": words.say("will_arrive"), "attempts": 0, "waiting": []}
    addresses = {digest: url for number, given in enumerate(urls, 1) for digest, url in _address(number, given).items()}
    return [f"{_name(digest, addresses)} did not take it." for digest, url in addresses.items() if not _notify(url, message)]


def _due(
    folder: Path | None, connection: duckdb.DuckDBPyConnection | None, policy: Policy, told: Told, dead_runs: Sequence[DeadRun], words: Words
) -> Iterator[Message]:
    """Brings `told` up to date and yields what that means to people."""
    if folder is not None and connection is not None:
        connection.execute("set schema = 'published'")
        manifest = read_manifest(folder)
        going_on = manifest["run_id"] if manifest["finished_at"] is None else ""
        runs = connection.execute(
            "select run_id, run_no, started_at, verdict from run where run_no > ? and run_id <> ? order by run_no", [told.run_no or 0, going_on]
        ).fetchall()
        if told.run_no is None:
            runs = runs[-1:]  # whoever switches alerts on wants to know how things are, not how they were
        for run_id, run_no, started_at, verdict in runs:
            yield from _of_run(connection, policy, told, run_id, started_at, verdict, manifest, words)
            told.run_no = run_no
        judged = {row[0] for row in connection.execute("select run_id from run").fetchall()} - {going_on}
    else:
        judged = set()
    for dead in dead_runs:
        if dead.run_id not in told.dead:
            told.dead = [*told.dead, dead.run_id][-_DEAD_KEPT:]
            # one that a later run has made good is over
            if dead.run_id not in judged and not judged.intersection(dead.later) and not told.is_broken:
                told.is_broken = True
                yield Message("unproven", words.say("unproven"), words.say("run_died", run=dead.run_id[:8], ended=dead.ended_at))


def _silence(snapshot: duckdb.DuckDBPyConnection | None, policy: Policy, told: Told, now: datetime, words: Words) -> Iterator[Message]:
    """That no run proved anything for too long. A moment that lies ahead of the clock, which was wrong then or is now, counts as this one. Without a snapshot
    that can be read, what was known of the last run stands.
    """
    run_id, ended = (last_proven(snapshot) if snapshot else None) or (told.proven_run, now)
    if told.proven_at is None or told.proven_run != run_id:
        told.proven_run, told.is_silent = run_id, False
    else:
        ended = min(ended, datetime.fromisoformat(told.proven_at))
    told.proven_at = min(ended, now).isoformat()
    limit = silence_limit(snapshot, policy.alerts.silent_after_hours)
    since = datetime.fromisoformat(told.proven_at)
    if now - since <= limit or told.is_silent:
        return
    told.is_silent = told.is_broken = True
    reason = words.say("as_set" if policy.alerts.silent_after_hours else "as_usual")
    hours = f"{limit / timedelta(hours=1):.3g}"
    yield Message("silent", words.say("silent", since=since), words.say("silent_for", hours=hours, reason=reason))


def _of_run(
    connection: duckdb.DuckDBPyConnection, policy: Policy, told: Told, run_id: str, started_at: datetime, verdict: str, manifest: dict[str, Any], words: Words
) -> Iterator[Message]:  # fmt: skip
    head = words.say("run", run=run_id[:8], started=started_at)
    if verdict == "unproven":
        if not told.is_broken:
            reason = manifest.get("problem") if manifest["run_id"] == run_id else None
            yield Message("unproven", words.say("unproven"), words.say("run_proves_nothing", run=head, reason=reason or words.say("see_log")))
        told.is_broken = True
        return
    if verdict == "fail":
        is_shown = manifest["run_id"] == run_id  # on the desk; a run before it may have found what is no longer new there
        new = _blocking(connection, run_id, policy, words, new=True)
        if told.proven != "fail":
            was_red = told.proven is None and _verdict_before(connection, run_id) == "fail"  # alerts were switched on later
            found = new if new.total else _blocking(connection, run_id, policy, words, new=False)
            yield Message(
                "red", words.say("is_red" if was_red else "turned_red"),
                "\n".join([
                    words.say("run_is_red", run=head), *_checks(connection, run_id, words), *found.lines, *_link(policy, bool(new.total) and is_shown),
                ]),
            )  # fmt: skip
        elif new.total:
            lines = [words.say("run_is_red_again", run=head), *new.lines, *_link(policy, is_shown)]
            yield Message("new_blocking", words.say("new_blocking", number=new.total), "\n".join(lines))
    elif told.proven == "fail" or told.is_broken:
        yield Message("recovered", words.say("recovered"), words.say("run_is_green", run=head))
    told.proven, told.is_broken = verdict, False


def _verdict_before(connection: duckdb.DuckDBPyConnection, run_id: str) -> str | None:
    """Of the last run before that one that proved something."""
    row = connection.execute(
        "select verdict from run where verdict <> 'unproven' and run_no < (select run_no from run where run_id = ?) order by run_no desc limit 1", [run_id]
    ).fetchone()
    return row[0] if row else None


def _checks(connection: duckdb.DuckDBPyConnection, run_id: str, words: Words) -> list[str]:
    rows = connection.execute(
        """select check_name, findings, findings_new from check_run
           where run_id = ? and state = 'violated' and severity = 'block' order by findings desc, check_name""",
        [run_id],
    ).fetchall()
    return [words.say("check_with_new" if new else "check", check=name, number=findings, new=new) for name, findings, new in rows]


class _Found(NamedTuple):
    """How many findings, and lines about the worst of them."""

    total: int
    lines: list[str]


def _blocking(connection: duckdb.DuckDBPyConnection, run_id: str, policy: Policy, words: Words, new: bool) -> _Found:
    """The findings that make the gate red. new: those that came, came back or got worse in that run; else all that are open."""
    rows = connection.execute(
        f"""select finding.check_name, finding.hubspot_contact_id, finding.salesforce_id, {words.of_finding("reason")}, {words.of_finding("action")},
                  finding.fingerprint,
                  count(*) over () as total
           from finding
           inner join check_run on check_run.run_id = $run and check_run.check_name = finding.check_name
           left join finding_event as event
               on event.run_id = $run and event.fingerprint = finding.fingerprint and event.event in ('new', 'reopened', 'worsened') and event.detail = 'block'
           where case when $new then event.fingerprint is not null else finding.severity = 'block' end
             and check_run.state = 'violated' and check_run.severity = 'block'
             and finding.status in ('open', 'acknowledged') and not finding.in_baseline
           -- the worst of each check before the second worst of any
           order by row_number() over (partition by finding.check_name order by {order_of("finding")}), {order_of("finding")}
           limit greatest($most, 1)""",
        {"run": run_id, "most": policy.alerts.findings_named, "new": new},
    ).fetchall()
    total = int(rows[0][-1]) if rows else 0
    lines = []
    for check, contact, record, reason, action, fingerprint, _ in rows[: policy.alerts.findings_named]:
        who = words.say("contact", id=contact) if contact else words.say("record", id=record) if record else ""
        lines.append(f"\n■ {check} {who} ({fingerprint[:8]})\n  {reason}\n  → {action}")
    if total > len(lines):
        lines.append("\n" + words.say("more", number=total - len(lines)))
    return _Found(total, lines)


def _link(policy: Policy, new: bool) -> list[str]:
    """Where the desk shows what the message tells of."""
    return [f"\n{policy.links.desk_url.rstrip('/')}/findings?severity=block{'&new=1' if new else ''}"] if policy.links.desk_url else []


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _address(number: int, url: str) -> dict[str, str]:
    """An address by a digest that may be kept and logged: it holds a secret."""
    import apprise

    if apprise.Apprise.instantiate(url) is None:
        raise ConfigurationProblem(f"BINDWATCH_ALERT_URLS: entry {number} is no address that Apprise understands, such as mailto://… or slack://…")
    return {sha256(url.encode()).hexdigest()[:12]: url}


def _send(message: dict[str, Any], addresses: dict[str, str]) -> bool:
    """Sends to who still waits. True when nobody waits any more, or it was tried often enough."""
    message["waiting"] = [digest for digest in message["waiting"] if digest in addresses and not _notify(addresses[digest], message)]
    message["attempts"] += 1
    for digest in message["waiting"]:
        log.warning("%s did not take the alert %r (attempt %d of %d)", _name(digest, addresses), message["title"], message["attempts"], ATTEMPTS)
    return not message["waiting"] or message["attempts"] >= ATTEMPTS


def _notify(url: str, message: dict[str, Any]) -> bool:
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses
    sender = apprise.Apprise()
    sender.add(url)
    # without its format, the lines of a text become one paragraph in mail
    return bool(sender.notify(title=message["title"], body=message["body"], body_format=apprise.NotifyFormat.TEXT))


def _name(digest: str, addresses: dict[str, str]) -> str:
    """An address in a log: its number and kind."""
    return f"Alert address {list(addresses).index(digest) + 1} ({addresses[digest].partition('://')[0]})"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_told(path: Path) -> Told:
    """What was told. When that cannot be read the present state is told once more."""
    kept = read_json(path)
    if isinstance(kept, dict):
        kept = {name: value for name, value in kept.items() if name not in ("until", "dead_until")}  # times, until 0.1: a wrong clock silenced all alerts
    if kept is not None and not (isinstance(kept, dict) and kept.keys() <= {field.name for field in fields(Told)}):
        set_aside(path, "does not say what was told")
        kept = None
    return Told(**kept) if kept else Told()


def _keep(path: Path, told: Told) -> None:
    write_whole(path, json.dumps(asdict(told)))
