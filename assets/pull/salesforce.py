"""Salesforce: Leads and Contacts, brought to landing as they come; deleted, merged and converted ones included.

Everything, or a large increment: a Bulk API 2.0 `queryAll` job whose result pages stream to landing. A small increment: REST `queryAll` with a
cursor of (SystemModstamp, Id). Both take changes from the watermark on, less an overlap, because equal stamps and late commits are normal.
"""

import csv
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

import duckdb

from assets.policy import OBJECTS, Mapping, Policy, Pull
from assets.problems import ConfigurationProblem, PullProblem
from assets.pull import patience
from assets.pull.described import Described, of_salesforce
from assets.pull.landing import Aside, LandedPull, aside_of, digest
from assets.pull.pace import say_if_short
from assets.pull.reading import csv_source
from assets.pull.refusals import Refusal, without_quotes
from assets.pull.retries import Again, with_patience
from assets.pull.salesforce_org import Org, problems_in_words
from assets.pull.salvage import csv_rows, id_in, sort_out
from assets.pull.urls import fits_a_url
from assets.record_ids import object_type_of

log = logging.getLogger("bindwatch.pull")

# Without these a record cannot be placed.
_REQUIRED = {
    "Lead": ["Id", "Email", "CreatedDate", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "OwnerId", "IsDeleted", "MasterRecordId",
             "IsConverted", "ConvertedContactId"],
    "Contact": ["Id", "Email", "CreatedDate", "SystemModstamp", "LastModifiedDate", "LastModifiedById", "OwnerId", "IsDeleted",
                "MasterRecordId", "AccountId"],
}  # fmt: skip
IDS_OF_A_QUERY = 200  # by REST, as long as the URL holds them
_LONGEST_SOQL = 100_000  # characters of a query, whatever way it goes
_TOO_MUCH_FOR_REST = {400, 404, 414, 431}  # too complicated, or too long for a URL; a job says what is wrong if something is
_JOB_ATTEMPTS = 2
_SAME_PAGE = 3  # times that a result page comes which cannot be read as a whole, before its rows are looked at one by one
_EMPTY_PAGES = 5  # one after the other, of an answer that says it is not over
# What only makes a record readable, or says who wrote it: a field of its own, or of a related record.
_WELCOME = {"Lead": ["Name", "CreatedById"], "Contact": ["Name", "CreatedById", "Account.Name"]}
_FORGOTTEN = 2  # times that a walk in no order starts over; one in order loses nothing, and goes on each time


@dataclass(frozen=True)
class FieldList:
    """What to ask for of one object: all fields, what describe says of the mapped ones among them, and what the user cannot see.

    lacking: what somebody wrote into the policy and is not there, in words.
    """

    fields: list[str]
    mapped: dict[str, Described]
    not_seen: list[str]
    lacking: list[str] = field(default_factory=list)

    @property
    def asked(self) -> str:
        return digest(sorted(self.fields))

    @property
    def stampless(self) -> list[str]:
        """Fields of related records (Account.Name): they change without moving the record's own stamp."""
        return [field for field in self.mapped if "." in field]


def required_fields(object_type: str) -> list[str]:
    """Fields of Lead or Contact without which a record cannot be placed."""
    return _REQUIRED[object_type]


def describe_fields(org: Org, policy: Policy) -> dict[str, FieldList]:
    """Reads describe of the objects that the policy names, and holds its fields against it.

    Raises PullProblem that names every object and field without which nothing can be read; ConfigurationProblem when the org has no Lead and the policy
    does not say so.
    """
    result: dict[str, FieldList] = {}
    unseen: list[str] = []
    seen = {name: org.describe(name) for name in OBJECTS}
    if seen["Lead"] is None and seen["Contact"] is not None and "Lead" in policy.policy.objects:
        raise ConfigurationProblem(
            'The org has no Leads, or the integration user may not see them. If it has none, write objects = ["Contact"] under [policy] in bindwatch.toml; '
            "else give the integration user read access to Lead in its permission set."
        )
    for name in policy.policy.objects:
        described = seen[name]
        if described is None:
            unseen.append(f"the object {name}")
            continue
        unseen += [f"{name}.{field}" for field in _REQUIRED[name] if field not in described]
        result[name] = _field_list(org, policy, name, described)
        if "Lead" not in policy.policy.objects and seen["Lead"] is not None:
            log.warning("Salesforce: the org has Leads, and policy.objects leaves them out: what happens to them is not seen")
            result[name].not_seen.append("Leads, which the org has and policy.objects leaves out")
    if unseen:
        raise PullProblem(
            "Salesforce", f"The integration user cannot see {', '.join(dict.fromkeys(unseen))}.",
            "Grant read access to these objects and fields in its permission set.",
        )  # fmt: skip
    return result


def _field_list(org: Org, policy: Policy, name: str, described: dict[str, dict[str, Any]]) -> FieldList:
    mapped: dict[str, Described] = {}
    not_seen: list[str] = []
    lacking: list[str] = []
    for welcome in _WELCOME[name]:
        *relations, last = welcome.split(".")
        there = _related(org, described, relations)
        if not there or last not in there:
            not_seen.append(f"the field {name}.{welcome}")
        elif relations:
            mapped[welcome] = of_salesforce(there[last], is_related=True)  # as a mapped one: it may be shown
    for mapping in policy.compared:
        field = mapping.field_of(name)
        if field is None or field in mapped:
            continue
        *relations, last = field.split(".")
        there = _related(org, described, relations)
        entry = policy.written(mapping)
        if there is not None and (last in there or not there):  # of a relation that may lead to several objects nobody says what is there
            mapped[field] = of_salesforce(there.get(last, {}), is_related=bool(relations))
            if why := _why_unusable(there, last, "".join(f"{relation}." for relation in relations)):
                lacking.append(f"{entry or mapping.hubspot}: {name}.{field} is {why}")
        elif entry is None:
            not_seen.append(f"the field {name}.{field}, which {mapping.hubspot} is mapped to by default")
        else:
            lacking.append(f"{entry}: Salesforce's {name} has no field {field} that the integration user can see{_hint(mapping, name, field, described)}")
    fields = [*_REQUIRED[name], *(welcome for welcome in _WELCOME[name] if welcome in described)]
    return FieldList(list(dict.fromkeys([*fields, *mapped])), mapped, not_seen, lacking)


def _hint(mapping: Mapping, name: str, field: str, described: dict[str, dict[str, Any]]) -> str:
    """What may have been meant by a field that is not there."""
    if spelled := next((known for known in described if known.lower() == field.lower()), None):
        return f"; it is spelled {spelled}"
    if (parts := field.partition("."))[0] in OBJECTS:
        return f"; write {parts[2]} alone, without the object"
    other = "contact" if name == "Lead" else "lead"
    return f'; where only the other object has it, write salesforce = {{ {other} = "{field}" }}' if isinstance(mapping.salesforce, str) else ""


_FILE = "base64"
_PARTED = {"address", "location"}
_OF_AN_ADDRESS = ("Street", "City", "State", "PostalCode", "Country")


def _why_unusable(described: dict[str, dict[str, Any]], field: str, prefix: str) -> str | None:
    """What keeps a field from being pulled, and what to map instead, in words; None when nothing does. prefix: of a related object's fields (Account.)."""
    kind = str(described.get(field, {}).get("type", ""))
    if kind == _FILE:
        return f"a file ({kind}), which no run reads; take it out"
    parts = [name for name, entry in described.items() if entry.get("compoundFieldName") == field and name != field]
    # of a related object the name is one field, whatever a person's account makes of it
    if kind not in _PARTED and (not parts or prefix):
        return None
    if kind == "address":
        own = field.removesuffix("Address")
        parts = [f"{own}{part}" for part in _OF_AN_ADDRESS if f"{own}{part}" in described] or parts
    instead = f"; map one of its parts instead: {', '.join(f'{prefix}{part}' for part in parts)}" if parts else "; map one of its parts instead"
    return f"several fields in one ({kind}){instead}"


def _related(org: Org, described: dict[str, dict[str, Any]], relations: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """Fields of the object that relations lead to, as Account or Account, Owner. None where it cannot be seen; empty where it may be of several."""
    fields = described
    for relation in relations:
        found = [
            entry.get("referenceTo") or []
            for key, entry in fields.items()
            if (entry.get("relationshipName") or (key.endswith("Id") and key.removesuffix("Id"))) == relation
        ]
        if not found:
            return None
        if len(found[0]) != 1:
            return {}
        there = org.describe(found[0][0])
        if there is None:
            return None
        fields = there
    return fields


def land_values(org: Org, pull: LandedPull, name: str, wanted: FieldList, since: datetime | None, settings: Pull) -> None:
    """Lands all records of "Lead" or "Contact", or those changed since a moment."""
    soql = query_for(name, wanted.fields)
    with problems_in_words(org.access, f"the pull of {name}"):
        if since is None:
            _land_bulk_jobs(org, pull, [soql], wanted.fields, settings)
        elif "job" in pull.cursor or not _land_by_rest(org, pull, soql, since, settings.rest_rows):
            _land_bulk_jobs(org, pull, [f"{soql} WHERE SystemModstamp >= {moment_literal(since)}"], wanted.fields, settings)


def land_ids(org: Org, pull: LandedPull, name: str, fields: Sequence[str], settings: Pull) -> None:
    """Lands every id with its stamp, and what changes without one."""
    with problems_in_words(org.access, f"the comparison of the ids of {name}"):
        _land_bulk_jobs(org, pull, [query_for(name, fields)], fields, settings)


def land_by_id(org: Org, pull: LandedPull, name: str, wanted: FieldList, ids: Sequence[str], may_be_gone: bool, settings: Pull) -> None:
    """Lands these records, and nobody whom nobody asked for. may_be_gone: the org has not listed them a moment ago."""

    def query(start: int, count: int) -> str:
        listed = ", ".join(f"'{record_id}'" for record_id in ids[start : start + count])
        return f"{query_for(name, wanted.fields)} WHERE Id IN ({listed})"

    with problems_in_words(org.access, f"records of {name} by their ids"):
        lot = next((count for count in (IDS_OF_A_QUERY, 100, 50, 20) if fits_a_url([("q", query(0, count))])), None)
        if lot is None:
            of_a_job = max(1, (_LONGEST_SOQL - len(query(0, 0))) // len(", '003000000000000AAA'"))
            queries = [query(start, of_a_job) for start in range(0, len(ids), of_a_job)]
            _land_bulk_jobs(org, pull, queries, wanted.fields, settings, lambda: _not_as_asked(pull, ids, may_be_gone))
            return
        for start in range(int(pull.cursor.get("done", 0)), len(ids), lot):
            some = ids[start : start + lot]
            body, page = org.query_all(query(start, lot))
            if not page["done"]:
                raise PullProblem("Salesforce", f"A query for {len(some)} ids did not come in one page.", "Run again; if it stays so, report it.")
            asked = {_short_id(record_id) for record_id in some}
            found = sort_out(body, page, "records", _objection)
            known = [record for record in found.records if _short_id(record["Id"]) in asked]
            if len(known) < len(found.records):
                found = found.with_records(known, found.asides)
            spoken_of = {*(_short_id(record["Id"]) for record in found.records), *(_short_id(aside.id) for aside in found.asides)}
            missing = [record_id for record_id in some if _short_id(record_id) not in spoken_of]
            if missing and not may_be_gone and not any(aside.is_unnamed for aside in found.asides):
                pull.finish(None, f"{len(missing):,} records that it had listed were asked for and not answered, {missing[0]} first")
                return
            pull.write_page(found.body, ".json", len(found.records), {"done": start + len(some)}, found.asides)
        pull.finish(None)


def _not_as_asked(pull: LandedPull, ids: Sequence[str], may_be_gone: bool) -> str | None:
    """What is wrong, in words, with the pages of jobs that were asked for these records; None when nothing is."""
    asked, came = {_short_id(record_id): record_id for record_id in ids}, _landed_ids(pull)
    if strangers := sorted(came - asked.keys()):
        return f"it was asked for certain records and answered with {strangers[0]}, which is none of them"
    missing = [record_id for short_id, record_id in asked.items() if short_id not in came]
    return f"{len(missing):,} records that it had listed were asked for and not answered, {missing[0]} first" if missing and not may_be_gone else None


def _landed_ids(pull: LandedPull) -> set[str]:
    """The ids of a pull's bulk pages, as far as they say which record it is."""
    came: set[str] = set()
    for page in pull.pages_with_rows():
        header = _page_header(page.path)
        place = [name.lower() for name in header].index("id")
        came.update(_short_id(row[place]) for row in csv_rows(page.path, len(header), page.rows) if place < len(row) and row[place])
    return came


def _short_id(record_id: str) -> str:
    """The part of an id that says which record it is."""
    return record_id[:15]


def query_for(name: str, fields: Sequence[str]) -> str:
    return f"SELECT {', '.join(fields)} FROM {name}"


def columns_of(pull: LandedPull, wanted: FieldList) -> list[str]:
    """The columns of a pull's bulk pages, or the fields that were asked for by REST."""
    return _header(pull) or wanted.fields


def _objection(record: Any) -> Aside | None:
    """What keeps a record from being placed: it is none, has no id, or its stamp cannot be read."""
    record_id = record.get("Id") if isinstance(record, dict) else None
    if isinstance(record, str):
        return aside_of(id_in(record, "Id"), record, "no_json")
    if not isinstance(record_id, str) or not record_id.strip():
        return aside_of(None, record, "without_id")
    if _moment(record.get("SystemModstamp")) is None:
        return aside_of(record_id if record_id.isalnum() else None, record, "modified_stamp")  # it becomes part of a query
    return None


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None


# ── REST ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _land_by_rest(org: Org, pull: LandedPull, soql: str, since: datetime, most: int) -> bool:
    """Walks the changes in the order of (SystemModstamp, Id). Returns False, with nothing landed, when they are more than `most`."""
    forgotten, rows_then = 0, -1
    while True:
        if pull.cursor.get("is_ordered") is False:
            pull.start_over()  # a place to go on from exists in an order only
        place = pull.cursor
        where = f"SystemModstamp >= {moment_literal(since)}"
        if place:
            where = f"SystemModstamp > {place['stamp']} OR (SystemModstamp = {place['stamp']} AND Id > '{place['id']}')"
        query = f"{soql} WHERE {where} ORDER BY SystemModstamp, Id"
        if not fits_a_url([("q", query)]):
            return False
        try:
            body, page = org.query_all(query)
        except (Refusal, Again) as refusal:
            is_too_much = refusal.status in _TOO_MUCH_FOR_REST if isinstance(refusal, Refusal) else refusal.code == "QUERY_TIMEOUT"
            if pull.pages or not is_too_much:
                raise
            log.warning("%s: the org does not answer this query by REST (%s); asking for it as a job", pull.label, refusal.code or refusal)
            return False
        if not pull.pages and int(page["totalSize"]) > most:
            return False
        expected = pull.rows + int(page["totalSize"])
        if not page["done"]:
            say_if_short("Salesforce", pull.label, int(page["totalSize"]) - len(page["records"]), len(page["records"]) or 1, org.calls_left)
        try:
            urls: set[str] = set()
            empty = 0
            while True:
                found = sort_out(body, page, "records", _objection)
                if other := next((record["Id"] for record in found.records if object_type_of(record["Id"]) != pull.manifest.object), None):
                    pull.finish(expected, f"it answered with {other}, which is none")
                    return True
                empty = 0 if found.records else empty + 1
                pull.write_page(found.body, ".json", len(found.records), _place_behind(found.records, pull.cursor), found.asides)
                if page["done"]:
                    pull.finish(expected)
                    return True
                if page["nextRecordsUrl"] in urls or pull.rows > expected or empty >= _EMPTY_PAGES:
                    pull.finish(expected, "its paging does not end where it was announced to end")
                    return True
                urls.add(page["nextRecordsUrl"])
                body, page = org.next_page(page["nextRecordsUrl"])
        except Refusal as refusal:
            forgotten += 1
            is_stuck = pull.rows == rows_then  # nothing new has come since it was forgotten last
            if refusal.status not in (400, 404) or is_stuck or (forgotten > _FORGOTTEN and not pull.cursor.get("is_ordered")):
                raise
            rows_then = pull.rows
            log.warning("%s: the org has forgotten the query (%s); going on from the last record", pull.label, refusal.code or refusal.status)


def _place_behind(records: list[dict[str, Any]], before: dict[str, object]) -> dict[str, object]:
    """The cursor behind a page: (stamp, id) of its last record, as SOQL literals; and whether all pages so far came in that order."""
    places = [(moment_literal(datetime.fromisoformat(record["SystemModstamp"])), record["Id"]) for record in records]
    if before:
        places.insert(0, (str(before["stamp"]), str(before["id"])))
    if not places:
        return {}
    is_ordered = before.get("is_ordered", True) is True and places == sorted(places)
    return {"stamp": places[-1][0], "id": places[-1][1], "is_ordered": is_ordered}


def moment_literal(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


# ── Bulk API 2.0 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _JobIsLost(Exception):
    """The job failed, was aborted, or is no longer there; reason in words."""


def _land_bulk_jobs(
    org: Org, pull: LandedPull, queries: Sequence[str], fields: Sequence[str], settings: Pull, objection: Callable[[], str | None] = lambda: None
) -> None:
    """Runs each query as a job, one after the other, and streams its result pages to landing. When one is lost, all begin anew, once.

    objection: to what came, when all of it is here.
    """
    for attempt in range(1, _JOB_ATTEMPTS + 1):
        if "job" not in pull.cursor:
            pull.start_over()
            pull.move({"job": "", "locator": "", "done": 0, "announced": 0})
        jobs = []
        try:
            problem, announced = None, pull.cursor["announced"]
            while problem is None and (done := pull.cursor["done"]) < len(queries):
                if not pull.cursor["job"]:
                    pull.move({**pull.cursor, "job": org.start_job(queries[done]), "locator": "", "at_end": False})
                jobs.append(pull.cursor["job"])
                problem, announced = _land_job(org, pull, fields, settings)
                if problem is None:
                    pull.move({"job": "", "locator": "", "done": done + 1, "announced": announced})
            pull.finish(announced, problem or objection())
            for job_id in jobs:
                _tidy_up(org, job_id)
            return
        except _JobIsLost as error:
            pull.start_over()
            if attempt == _JOB_ATTEMPTS:
                raise PullProblem(
                    "Salesforce", f"The bulk job of {pull.manifest.object} {error}, {attempt} times.", "Look at Setup → Bulk Data Load Jobs, then run again."
                ) from error
            log.warning("%s: the bulk job %s; starting another one", pull.label, error)


def _land_job(org: Org, pull: LandedPull, fields: Sequence[str], settings: Pull) -> tuple[str | None, int | None]:
    """Lands the results of the job that the cursor names. Returns what is wrong, or None, and how many rows the jobs so far announced, where they do."""
    before, processed = pull.cursor["announced"], _wait_for_job(org, pull.cursor["job"], settings.bulk_job_minutes)
    expected = None if processed is None or before is None else before + processed
    say_if_short("Salesforce", pull.label, (expected or 0) - pull.rows, settings.bulk_page_rows, org.calls_left)
    return _land_result_pages(org, pull, fields, settings.bulk_page_rows, expected), expected


def _wait_for_job(org: Org, job_id: str, minutes: float) -> int | None:
    """Waits until the job is complete. Returns how many records it processed, where the org says so."""
    deadline = time.monotonic() + minutes * 60
    pause, seen = 0.1, None
    while True:
        try:
            info = org.job(job_id)
        except Refusal as refusal:
            if refusal.status == 404:
                raise _JobIsLost("is no longer there") from refusal
            if refusal.status == 409:
                raise _JobIsLost("was started in another version of the API") from refusal
            raise
        state = info["state"]
        if seen != (seen := (state, info.get("numberRecordsProcessed"))):
            patience.arrived()  # the job is further on
        if state == "JobComplete":
            return info.get("numberRecordsProcessed")
        if state == "Aborted":
            raise _JobIsLost("was aborted")
        if state == "Failed":
            raise _why_failed(str(info.get("errorMessage") or "no reason given"))
        if time.monotonic() > deadline:
            raise PullProblem(
                "Salesforce", f"Bulk job {job_id} has been {state} for {minutes:g} minutes.",
                "Look at Setup → Bulk Data Load Jobs. The next run goes on waiting for it; pull.bulk_job_minutes says how long a run waits.",
            )  # fmt: skip
        time.sleep(pause)
        pause = min(pause * 1.5, 5)


def _why_failed(message: str) -> Exception:
    """What became of a job that failed: another one may bring it, or the same would be said again. message: in which the org names a code of its own."""
    codes = re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bExceededQuota\b", message)
    refusals = [Refusal("Salesforce", None, code, message) for code in codes]
    told = next((refusal for refusal in refusals if refusal.known), None)
    if told is None or told.is_passing:
        return _JobIsLost(f"failed ({told.code if told else without_quotes(message)})")
    return told


def _land_result_pages(org: Org, pull: LandedPull, fields: Sequence[str], page_rows: int, expected: int | None) -> str | None:
    """Returns what is wrong with the pages, in words; None when nothing is. expected: rows that the job has processed."""
    locators = {pull.cursor["locator"]}
    page = pull.folder / "tmp.csv"
    came: Counter[str] = Counter()
    empty = 0

    def download() -> tuple[int, str]:
        announced, following = org.download(pull.cursor["job"], pull.cursor["locator"], page_rows, page)
        _make_valid_utf8(page)
        rows = _count_rows(page)
        if rows != announced:
            with page.open("rb") as file:
                digest = file_digest(file, "sha256").hexdigest()
            came[digest] += 1
            # the load sets aside the rows of such a page that cannot be read
            if came[digest] < _SAME_PAGE or len(csv_rows(page, len(fields), announced)) != announced:
                raise Again(f"a result page announced {announced} rows, {'as many as can be read' if rows is None else rows} arrived")
        return announced, following

    while not pull.cursor.get("at_end"):
        try:
            rows, following = with_patience(download, org.access.patience_seconds, "Salesforce")
        except Again as error:
            return error.reason
        except Refusal as refusal:
            if refusal.status in (400, 404):
                raise _JobIsLost(f"does not give its results any more ({refusal.code or refusal.status})") from refusal
            raise
        header = _page_header(page)
        if header and (sorted(map(str.lower, header)) != sorted(map(str.lower, fields)) or header != (_header(pull) or header)):
            return f"result page {pull.pages + 1} has other columns than were asked for, or than the pages before"
        empty = 0 if rows else empty + 1
        if following and (following in locators or empty >= _EMPTY_PAGES or (expected is not None and pull.rows + rows > expected)):
            why = "a page came twice" if following in locators else f"{empty} empty pages" if empty >= _EMPTY_PAGES else expected
            return f"its result pages do not end where the job said: {pull.rows + rows} rows, {why}"
        locators.add(following)
        pull.keep(page, rows, {**pull.cursor, "locator": following, "at_end": not following})
    return None


def _tidy_up(org: Org, job_id: str) -> None:
    """Jobs count against the org's storage for results until they are deleted. Not every user may delete them; they go after seven days."""
    try:
        org.delete_job(job_id)
    except (Refusal, Again) as error:
        log.debug("bulk job %s was left to expire: %s", job_id, error)


def _make_valid_utf8(path: Path) -> None:
    """Replaces bytes that are no UTF-8, so that one broken value does not cost the page. Rewrites the file only if there are any."""
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        mended = path.with_suffix(".mended")
        with path.open(encoding="utf-8", errors="replace", newline="") as source, mended.open("w", encoding="utf-8", newline="") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        mended.replace(path)


def _count_rows(path: Path) -> int | None:
    """None when the page cannot be read as a whole."""
    columns = _page_header(path)
    if not columns:
        return 0
    with duckdb.connect() as connection:
        try:
            row = connection.execute(f"select count(*) from {csv_source([path], columns)}").fetchone()
        except duckdb.InvalidInputException:
            return None
    return int(row[0]) if row else 0


def _page_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _header(pull: LandedPull) -> list[str]:
    """Columns of a pull's bulk pages; empty when it has none, or came by REST."""
    paths = [page.path for page in pull.pages_with_rows() if page.path.suffix == ".csv"]
    return _page_header(paths[0]) if paths else []
