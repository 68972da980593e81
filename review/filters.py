"""The worklist's filters as they stand in a URL. An e-mail address never does: who searches for one is sent to the person's findings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from urllib.parse import urlencode

from assets.published.worklist import STATUSES, Filter
from assets.record_ids import RECORD_ID
from review.cases import FACETS, CaseFilter
from review.cases import STATUSES as CASE_STATUSES

_LISTS = {"check": "checks", "suite": "suites", "severity": "severities", "status": "statuses", "owner": "owners", "object": "objects"}
_ID = re.compile(rf"[0-9]{{1,19}}|{RECORD_ID}")
MOST_TEXT = 300  # characters that are searched for; the form takes 200
NOBODY = "-"  # in a URL: findings that nobody takes care of
_OPEN = ("open", "acknowledged")


class Parameters(Protocol):
    """The parameters of a URL or the fields of a form."""

    def getlist(self, key: str) -> Sequence[object]: ...


def _values(parameters: Parameters, name: str) -> tuple[str, ...]:
    """Several values of one parameter are alternatives, as are values with a comma between them."""
    given = [part.strip() for value in parameters.getlist(name) if isinstance(value, str) for part in value.split(",")]
    return tuple(dict.fromkeys(part for part in given if part))


def _one(parameters: Parameters, name: str) -> str | None:
    given = [value.strip() for value in parameters.getlist(name) if isinstance(value, str)]
    return next((value for value in given if value), None)


def read_case_filter(parameters: Parameters) -> CaseFilter:
    """The cases that a URL or form asks for; without a status those that are not waived."""
    picked = {name: values for name in FACETS if (values := _values(parameters, name))}
    picked["status"] = () if "all" in picked.get("status", ()) else picked.get("status", _OPEN)
    text = _one(parameters, "text")
    return CaseFilter(picked, text[:MOST_TEXT] if text else None, _values(parameters, "case"), _one(parameters, "sort") or "rank")


def write_case_filter(wanted: CaseFilter, **changes: str | int | None) -> str:
    """The query of a URL that says this filter, or "" for the default one. changes: other parameters, such as page or sort."""
    pairs: list[tuple[str, str]] = []
    for name in FACETS:
        values = wanted.picked.get(name, ())
        if name == "status":
            values = ("all",) if not values or set(values) == set(CASE_STATUSES) else () if values == _OPEN else values
        pairs += [(name, value) for value in values]
    pairs += [("case", value) for value in wanted.ids]
    pairs += [("text", wanted.text)] if wanted.text else []
    changes = {"sort": wanted.sort, **changes}
    pairs += [(name, str(value)) for name, value in changes.items() if value is not None and (name, value) != ("sort", "rank")]
    return f"?{urlencode(pairs)}" if pairs else ""


def read_filter(parameters: Parameters) -> Filter:
    """The filter that a URL or form says."""

    def one(name: str) -> str | None:
        return _one(parameters, name)

    lists = {field: _values(parameters, name) for name, field in _LISTS.items()}
    lists["owners"] = tuple("" if owner == NOBODY else owner for owner in lists["owners"])
    lists["statuses"] = () if "all" in lists["statuses"] else lists["statuses"] or _OPEN
    text, id = (value and value[:MOST_TEXT] for value in (one("text"), one("id")))
    if text is not None and id is None and _ID.fullmatch(text):
        text, id = None, text
    return Filter(**lists, new=one("new") is not None, since=_moment(one("since")), id=id, text=text, person=one("person"))  # type: ignore[arg-type]


def write_filter(wanted: Filter, **changes: str | int | None) -> str:
    """The query of a URL that says this filter: "?check=…", or "" for the default one. changes: other parameters, such as page."""
    pairs: list[tuple[str, str]] = []
    for name, field in _LISTS.items():
        values: Iterable[str] = getattr(wanted, field)
        if field == "statuses":
            values = ("all",) if not wanted.statuses or set(wanted.statuses) == set(STATUSES) else () if wanted.statuses == _OPEN else values
        pairs += [(name, value or NOBODY) for value in values]
    pairs += [("new", "1")] if wanted.new else []
    pairs += [("since", wanted.since.isoformat())] if wanted.since else []
    pairs += [(name, value) for name in ("id", "text", "person") if (value := getattr(wanted, name)) is not None]
    pairs += [(name, str(value)) for name, value in changes.items() if value is not None]
    return f"?{urlencode(pairs)}" if pairs else ""


def chosen(wanted: Filter) -> Mapping[str, tuple[str, ...]]:
    """What is filtered by, for the form: the values of each list as they stand in a URL, the default left out."""
    found = {name: tuple(value or NOBODY for value in getattr(wanted, field)) for name, field in _LISTS.items()}
    found["status"] = ("all",) if not wanted.statuses else () if wanted.statuses == _OPEN else wanted.statuses
    return found


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment.replace(tzinfo=None) if moment else None
