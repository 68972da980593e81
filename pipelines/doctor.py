"""`bindwatch doctor`: is the home whole, and would the next run find what it needs? Looks, and changes nothing.

What could not be checked counts as something to mend, with the reason: a tick stands only for what was really looked at.
"""

import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import file_digest
from pathlib import Path
from typing import Any, Literal

import duckdb

from assets.dagster.session import Connections
from assets.files import UNUSABLE, home_mode, is_sealed
from assets.policy import Policy, read_policy
from assets.problems import ConfigurationProblem, Problem, PullProblem
from assets.published.snapshot import current_folder
from assets.pull.retries import Again
from assets.pull.salesforce import describe_fields
from assets.warehouse.backup import DECISIONS, MANIFEST, describe, in_words
from assets.warehouse.damage import CHECKSUM, checksum_of, damage_of, log_of, missing, noted_checksum, read_last_backup, sign_of_runs, way_back
from assets.warehouse.file import SCHEMA_VERSION, Warehouse, limit_memory
from assets.warehouse.restore_home import REPLACED, RESTORING, STAGED, read_tables
from pipelines.dagster_home import check_postgres
from pipelines.reach import age_of_version, open_org, open_portal
from pipelines.settings import (
    dagster_home,
    home,
    is_own_dagster_home,
    missing_settings,
    open_decisions,
    read_connections,
    read_environment,
    wrong_checks,
    wrong_settings,
)
from pipelines.terminal import span

State = Literal["ok", "mend", "not_checked"]

OLDEST_BACKUP = timedelta(days=7)
MOST_CLOCK_DIFFERENCE = timedelta(minutes=5)
_PATIENCE = 5.0  # seconds for a CRM that does not answer: a run has more
_TIMEOUT = 15.0
_ROOM_TO_WORK = 100_000_000  # for spilling, logs and landing, besides what grows with the portal


@dataclass(frozen=True)
class Finding:
    """What a look at one thing gave. remedy: what to do about it; empty when all is well."""

    name: str
    state: State
    what: str
    remedy: str = ""


class _Mend(Exception):
    """Something is wrong. what, and how it is mended."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what)


class _NotChecked(_Mend):
    """Something could not be looked at. what: the reason."""


def examine() -> list[Finding]:
    """Looks at everything, whatever is missing. Raises ConfigurationProblem when the environment cannot be read."""
    place = home()
    looks: list[tuple[str, Callable[[], str]]] = [
        ("home", lambda: _look_at_home(place)),
        ("permissions", lambda: _look_at_permissions(place)),
        ("free space", lambda: _look_at_space(place)),
        ("warehouse", lambda: _look_at_warehouse(place)),
        ("published", lambda: _look_at_published(place)),
        ("certified", lambda: _look_at_certified(place)),
        ("decisions", lambda: _look_at_decisions(place)),
        ("set aside", lambda: _look_at_set_aside(place)),
        ("policy", _look_at_policy),
        ("dagster.yaml", _look_at_dagster),
        ("environment", _look_at_environment),
    ]
    found = [_look(name, look) for name, look in looks]
    found += _look_at_crms()
    return [*found, _look("backup", lambda: _look_at_backup(place))]


def print_findings(found: list[Finding], as_json: bool) -> int:
    """Returns the exit code: 0 when all is well, 1 when something is to be mended or could not be checked."""
    is_well = all(one.state == "ok" for one in found)
    if as_json:
        answer = {
            "checked_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "home": str(home()), "state": "ok" if is_well else "mend",
            "checks": [asdict(one) for one in found],
        }  # fmt: skip
        print(json.dumps(answer, indent=1, ensure_ascii=False))
    else:
        marks = {"ok": "✓", "mend": "✗", "not_checked": "?"}
        for one in found:
            what = one.what.replace("\n", f"\n{'':<15}")
            print(f"{marks[one.state]} {one.name:<12} {'not checked: ' if one.state == 'not_checked' else ''}{what}")
            if one.remedy:
                print(f"  {'':<12} → {one.remedy}")
        print("\nAll is well." if is_well else f"\n{sum(one.state != 'ok' for one in found)} to mend.")
    return 0 if is_well else 1


def _look(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", look())
    except _Mend as found:
        return Finding(name, "not_checked" if isinstance(found, _NotChecked) else "mend", found.what, found.remedy)
    except OSError as error:
        what = f"{error.filename or name}: {error.strerror or type(error).__name__} (this process is user {os.geteuid()})"
        return Finding(name, "not_checked", what, "Give this user access to it, or run as the user that owns the home.")
    except PullProblem as error:
        return Finding(name, "not_checked" if isinstance(error.__cause__, Again) else "mend", error.what, error.remedy)
    except Problem as error:
        return Finding(name, "not_checked", str(error), "Mend that, then look again.")
    except Exception as error:  # a look that fails is told, and keeps no other from being taken
        return Finding(name, "not_checked", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}", "Look at it by hand.")


# ── the home ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _look_at_home(place: Path) -> str:
    if not place.is_dir():
        raise _Mend(f"there is no folder {place}", "Set BINDWATCH_HOME to the folder that your runs write, or start with `bindwatch run`.")
    if (place / RESTORING).exists():
        raise _Mend("a restore was interrupted", "The next `bindwatch run` or `bindwatch restore-home` finishes it.")
    if left := [path.name for path in place.glob(f"{STAGED}*") if path.is_dir()]:
        raise _Mend(f"{', '.join(left)} was left by a restore that was killed before it changed anything", "Remove it, or let the next restore-home do it.")
    kept = sorted(path.name for path in place.glob(f"{REPLACED}*"))
    return f"{place}" + (f"; {', '.join(kept)} is kept from a restore" if kept else "")


def _look_at_permissions(place: Path) -> str:
    status = _existing(place).stat()
    if status.st_uid != os.geteuid():
        raise _Mend(f"it belongs to user {status.st_uid}, this process is user {os.geteuid()}", "Run Bindwatch as the user that owns the home.")
    readers = _any_policy().privacy.readers_group
    wanted = home_mode(readers)
    if status.st_mode & 0o777 & ~wanted:
        raise _Mend(f"others may look into it (mode {status.st_mode & 0o777:o}): it holds personal data of both CRMs", f"chmod {wanted:o} {place}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _Mend("this user may not write there", f"chmod 700 {place}, or mount its disk for writing.")
    foreign = [path.name for path in sorted(place.iterdir()) if path.lstat().st_uid != os.geteuid()]
    if foreign:
        raise _Mend(f"{', '.join(foreign)} belongs to another user", f"chown -R {os.geteuid()} {place}")
    who = f"user {os.geteuid()} alone may read and write"
    return f"{who}; the group {readers} may read what is published and certified" if readers else who


def _look_at_space(place: Path) -> str:
    _existing(place)
    published = current_folder(place)
    snapshot = sum(path.stat().st_size for path in published.iterdir()) if published else 0
    warehouse = place / "warehouse.duckdb"
    needed = (warehouse.stat().st_size if warehouse.exists() else 0) + 2 * snapshot + _ROOM_TO_WORK
    free = shutil.disk_usage(place).free
    if free < needed:
        raise _Mend(f"{in_words(free)} are free, a run may need {in_words(needed)}", "Make room on that disk, or move the home to a larger one.")
    return f"{in_words(free)} are free, a run may need {in_words(needed)}"


def _existing(place: Path) -> Path:
    if not place.is_dir():
        raise _NotChecked(f"there is no folder {place}", "See home.")
    return place


def _look_at_warehouse(place: Path) -> str:
    path = Warehouse(_existing(place)).path
    if (place / RESTORING).exists():
        raise _NotChecked("a restore was interrupted", "See home.")
    if not path.exists():
        sign = sign_of_runs(place)
        if sign is not None:
            raise _Mend(str(missing(path, sign)), "See there.")
        raise _Mend("no run has taken place in this home", "Start with `bindwatch run`.")
    with _lock(place):
        what = damage_of(path)
        if what is not None:
            raise _Mend(f"{path} is damaged: {what}", way_back(place))
        if noted_checksum(place) not in (None, checksum_of(path)):
            what = f"{path} is not what {CHECKSUM} beside it says: one of them was changed since the last run left it, by another program or by a failing disk"
            raise _Mend(what, way_back(place))
        try:
            with closing(duckdb.connect(str(path), read_only=True)) as connection:
                limit_memory(connection)
                (schema,) = connection.execute("select max(version) from main.schema_version").fetchone() or (None,)
                tables = read_tables(connection)
        except duckdb.Error as error:
            raise _of_warehouse(error, path, place) from error
        if schema is None or schema > SCHEMA_VERSION:
            raise _Mend(f"it is of schema {schema}, this Bindwatch knows {SCHEMA_VERSION}", "Update Bindwatch.")
        left = f"; {log_of(path).name} is left from a run that was interrupted, and can be replayed" if log_of(path).exists() else ""
        return f"every block and every value of its {tables} tables can be read ({in_words(path.stat().st_size)}, schema {schema}){left}"


def _of_warehouse(error: duckdb.Error, path: Path, place: Path) -> _Mend:
    text = str(error).splitlines()[0]
    if "lock on file" in text:
        return _NotChecked(f"another program has it open: {text}", "Close the DuckDB shell that has it open, then look again.")
    if "WAL" in text and log_of(path).exists():
        return _Mend(f"{log_of(path)} cannot be replayed: {text}", "The next run sets it aside, and pulls again what it held.")
    if isinstance(error, duckdb.OutOfMemoryException) or "Permission denied" in text:
        return _NotChecked(text, "Give this process more memory, or access to the file.")
    return _Mend(f"{path} cannot be read: {text}", way_back(place))


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """The lock of the home for as long as the warehouse is looked at: a run that starts meanwhile says so. Unlike a run's it writes nothing."""
    path = place / "run.lock"
    if not path.exists():
        yield
        return
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _NotChecked("a run is going on, and only one process may have it open", "Look again when the run has ended.") from error
        yield


def _look_at_published(place: Path) -> str:
    folder = current_folder(_existing(place))
    if folder is None:
        link = place / "published" / "current"
        if link.is_symlink() or (place / "published").is_dir():
            raise _Mend(f"{link} leads to no snapshot", "The next `bindwatch run` publishes one.")
        raise _Mend("nothing is published", "The next `bindwatch run` publishes a snapshot.")
    again = "The next `bindwatch run` publishes it anew; until then do not rely on it."
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except ValueError as error:
        raise _Mend(f"{folder / 'manifest.json'} cannot be read: {error}", again) from error
    if "checksum" not in manifest:
        raise _NotChecked(f"{folder / 'manifest.json'} has no checksum: an older Bindwatch published it, or it is damaged", again)
    if not is_sealed(manifest):
        raise _Mend(f"{folder / 'manifest.json'} was changed since it was published", again)
    found = {path.name for path in folder.iterdir()} - {"manifest.json"}
    for name, said in manifest["files"].items():
        if name not in found:
            raise _Mend(f"{folder / name} is missing", again)
        if describe(folder / name)["sha256"] != said["sha256"]:
            raise _Mend(f"{folder / name} is damaged: it has another checksum than its manifest says", again)
    if extra := sorted(found - manifest["files"].keys()):
        raise _Mend(f"{folder} holds {', '.join(extra)}, of which its manifest knows nothing", again)
    rebuilt = manifest.get("rebuilt_since")
    since = f"; its models were rebuilt since, {rebuilt['at']}, which only the next run publishes" if rebuilt else ""
    return f"{len(manifest['files'])} files as their manifest says; {manifest['verdict']}, run {manifest['run_id']}{since}"


def _look_at_certified(place: Path) -> str:
    folder = _existing(place) / "certified"
    if not folder.is_dir() or not any(folder.iterdir()):
        return "no run was green yet: nothing is certified"
    path, table = folder / "certificate.json", folder / "binding.parquet"
    again = "The next green run certifies anew; until then do not rely on it. Or take both files from a backup."
    for part in (path, table):
        if not part.is_file():
            raise _Mend(f"{part} is missing", again)
    try:
        certificate = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise _Mend(f"{path} cannot be read: {error}", again) from error
    with table.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if digest != certificate.get("sha256"):
        raise _Mend(f"{table} does not have the checksum that {path.name} certifies", again)
    if "checksum" not in certificate:
        raise _NotChecked(f"{path} has no checksum of its own: an older Bindwatch wrote it, or it is damaged", again)
    if not is_sealed(certificate):
        raise _Mend(f"{path} was changed since it was written", again)
    return f"{certificate['rows']:,} bindings, as certified {certificate['certified_at']}"


def _look_at_decisions(place: Path) -> str:
    store = open_decisions(create=False)
    path = place / DECISIONS
    if not store.is_elsewhere:
        _existing(place)
        if not path.exists():
            if sign_of_runs(place) is not None:
                raise _Mend(f"{path} is missing, although runs took place here", "Take it from a backup: waived findings turn the gate red without it.")
            return "nobody has decided anything yet"
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
                problems = [row[0] for row in connection.execute("pragma integrity_check(3)").fetchall()]
        except sqlite3.OperationalError as error:
            raise _NotChecked(f"{path}: {error}", "Give this user access to it; or stop what holds it, and look again.") from error
        except sqlite3.DatabaseError as error:
            problems = [str(error)]
        if problems != ["ok"]:
            raise _Mend(f"{path} is damaged: {'; '.join(problems)}", f"Put {DECISIONS} of the last backup in its place.")
    count = len(store.read())
    last = read_last_backup(place)
    saved = Path(last["folder"]) / DECISIONS if last else None
    if last and saved and saved.is_file() and (lost := store.missing_from(saved)):
        raise _Mend(
            f"{lost:,} decisions are not as they were in the backup of {last['made_at']}, although a decision is never changed or removed",
            f"Compare {store.where} with {saved}. After a restore of an older backup this is so; a new backup ends it.",
        )
    known = f", those of the backup of {last['made_at']} unchanged" if last and saved and saved.is_file() else ""
    return f"{count:,} decisions in {store.where} can be read{known}"


def _look_at_set_aside(place: Path) -> str:
    _existing(place)
    found = [str(path.relative_to(place)) for part in place.iterdir() if not part.name.startswith(REPLACED) for path in _unusable(part)]
    if found:
        raise _Mend(
            f"{len(found)} could not be used and were set aside: {', '.join(sorted(found)[:5])}",
            "Look whether a disk is failing. Then remove them: what they held was pulled again, or is in a backup.",
        )
    return "nothing was set aside"


def _unusable(part: Path) -> Iterator[Path]:
    if UNUSABLE in part.name:
        yield part
    elif part.is_dir() and not part.is_symlink():
        yield from (path for path in part.rglob(f"*{UNUSABLE}*"))


def _look_at_backup(place: Path) -> str:
    last = read_last_backup(_existing(place))
    if last is None:
        raise _Mend("no backup of this home is known", "Make one: `bindwatch backup FOLDER`.")
    age = datetime.now(UTC) - datetime.fromisoformat(last["made_at"])
    if age > OLDEST_BACKUP:
        raise _Mend(f"the last one is {age.days} days old ({last['folder']})", "Make one: `bindwatch backup FOLDER`, best every night.")
    here = "" if (Path(last["folder"]) / MANIFEST).is_file() else ", which cannot be seen from here now"
    return f"made {last['made_at']} in {last['folder']}{here}"


# ── settings and the world ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _look_at_policy() -> str:
    path = read_environment().bindwatch_config.absolute()
    if not path.is_file():
        raise _Mend(f"there is no file {path}: `bindwatch run` needs a policy", "Set BINDWATCH_CONFIG to your bindwatch.toml.")
    try:
        problems = wrong_checks(read_policy(path), path)
    except ConfigurationProblem as error:
        problems = str(error).splitlines()
    if problems:
        raise _Mend("; ".join(problems), f"Correct {path}.")
    return f"{path} is valid"


def _look_at_dagster() -> str:
    import yaml

    path = dagster_home() / "dagster.yaml"
    anew = (
        "Correct it, or move it away: the next run makes it anew." if is_own_dagster_home() else "Correct it: it belongs to a Dagster that serves others, too."
    )
    if not path.exists():
        return f"{path} is made by the next run" if is_own_dagster_home() else f"there is no {path}: Dagster's defaults hold there"
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _Mend(f"{path} is not readable YAML: {' '.join(str(error).split())}", anew) from error
    if not isinstance(content, dict):
        raise _Mend(f"{path} is empty or no mapping", anew)
    name = "BINDWATCH_DAGSTER_POSTGRES_URL"
    if name in path.read_text("utf-8") and not os.environ.get(name):
        raise _Mend(f"{path} refers to {name}, which is not set", f"Set {name}.")
    check_postgres(dagster_home())
    return f"{path} can be read"


def _look_at_environment() -> str:
    env = read_environment()
    problems = [*missing_settings(env), *wrong_settings(env)]
    if problems:
        raise _Mend("\n".join(line.strip() for text in problems for line in text.splitlines()), "Set them: README, Settings.")
    return "everything that a run needs is set"


def _look_at_crms() -> list[Finding]:
    """One real call to each, and whether their clocks agree with that of this machine."""
    try:
        connections = read_connections(_any_policy())
    except (ConfigurationProblem, OSError) as error:
        found = "the settings are not complete" if isinstance(error, ConfigurationProblem) else str(error)
        return [Finding(name, "not_checked", found, "See policy and environment.") for name in ("Salesforce", "HubSpot", "clock")]
    clocks: dict[str, timedelta] = {}
    return [
        _look("Salesforce", lambda: _ask_salesforce(connections, clocks)),
        _look("HubSpot", lambda: _ask_hubspot(connections, clocks)),
        _look("clock", lambda: _look_at_clocks(clocks)),
    ]


def _any_policy() -> Policy:
    """Whether the CRMs answer does not depend on the policy, so one that is not there or wrong keeps nobody from asking."""
    try:
        return read_policy(read_environment().bindwatch_config)
    except ConfigurationProblem:
        return Policy()


def _ask_salesforce(connections: Connections, clocks: dict[str, timedelta]) -> str:
    org = open_org(connections, _PATIENCE, _TIMEOUT)
    fields = org.describe("Contact")
    if org.clock:
        clocks["Salesforce"] = org.clock.ours - org.clock.theirs
    if fields is None:
        raise _Mend(f"{org.access.host} answers, but the integration user cannot see the object Contact", "Grant read access in its permission set.")
    try:
        describe_fields(org, connections.policy)
    except ConfigurationProblem as error:
        raise _Mend(f"{org.access.host} answers, and a run would end at once: {error}", "Change bindwatch.toml.") from error
    return f"{org.access.host} answers in {age_of_version(org.version)}, {len(fields)} fields of Contact can be seen"


def _ask_hubspot(connections: Connections, clocks: dict[str, timedelta]) -> str:
    portal = open_portal(connections, _PATIENCE, _TIMEOUT)
    portal.try_the_way_in(connections.policy.policy.inclusion_list_id)
    names = portal.properties()
    if portal.clock:
        clocks["HubSpot"] = portal.clock.ours - portal.clock.theirs
    if end := portal.end_of_version():
        raise _Mend(f"{portal.access.host} answers. {end}", "See docs/connecting.md, The version of HubSpot's API.")
    return f"{portal.access.host} answers in version {portal.version} of its API, {len(names)} properties of contacts can be seen"


def _look_at_clocks(clocks: dict[str, Any]) -> str:
    unknown = [name for name in ("Salesforce", "HubSpot") if name not in clocks]
    wrong = [
        f"{span(abs(away).total_seconds())} {'ahead of' if away > timedelta(0) else 'behind'} {name}"
        for name, away in clocks.items()
        if abs(away) > MOST_CLOCK_DIFFERENCE
    ]
    if wrong:
        raise _Mend(f"this machine is {', '.join(wrong)}", "Switch on time synchronisation (NTP): tokens and retention are reckoned by this clock.")
    if unknown:
        raise _NotChecked(f"{' and '.join(unknown)} did not tell the time", "See Salesforce and HubSpot.")
    return f"agrees with both CRMs to within {max(abs(away) for away in clocks.values()).total_seconds():.0f} s"
