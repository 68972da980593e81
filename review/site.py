"""What all handlers of the desk share: the snapshot, the templates, and how a page is answered."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.datastructures import FormData, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from assets.policy import masked_email
from assets.problems import ConfigurationProblem
from assets.published.decisions import DecisionStore
from assets.published.worklist import Filter, check_values
from assets.record_ids import RECORD_ID
from review import words
from review.access import Entrance, check_form_token, form_token
from review.cases import CaseFilter, check_case_filter
from review.desk_data import Desk, Snapshot
from review.ended import EndedSessions
from review.filters import write_case_filter, write_filter
from review.finding import label_of, labels_of, shown_as, users_of
from review.guesses import Guesses
from review.language import LANGUAGES, Language, choose_language

FOLDER = Path(__file__).parent
PAGE_SIZE = 50
STALE_AFTER_HOURS = 26  # a nightly run that did not come
MOST_SHOWN = 300  # characters of a value from the CRMs; exports have all of it
MOST_IN_A_SENTENCE = 2000  # of a text that Bindwatch wrote: it may name what somebody else named
_LONGEST_EMAIL = 320
# It begins where a word begins and gives nothing back, so that a long text is read once. Elsewhere it would be tried at every character.
EMAIL = re.compile(r"(?<![^\s@<>,;:\"'()])[^\s@<>,;:\"'()]++@[^\s@<>,;:\"'()]+")
_COMMAND = re.compile(r"`(bindwatch [^`]{1,200})`")
_RULES_NAMED = re.compile(r" \((?:rules?|Regeln?) \d[^()]*\)| \(F\d(?:[,;] F\d)*\)")
_RECORD_ID = re.compile(rf"\b(?:{RECORD_ID}|005[A-Za-z0-9]{{12}}(?:[A-Za-z0-9]{{3}})?)\b")  # users, too
# Where a sentence names fields: before a value, as all that stands behind a colon, or by a name that no language has for a word. What stands in quotes is a
# value, whatever it says.
_FIELDS = re.compile(
    r"""&\#34;.*?&\#34;
    | (?<=:[ ])(?P<listed>[A-Za-z_]\w*(?:,[ ][A-Za-z_]\w*)*)(?=[.;]|$)
    | \b(?P<one>[A-Za-z_]\w*)(?P<has_value>(?=:[ ]|[ ]&\#34;))?""",
    re.VERBOSE,
)
_NO_WORD = re.compile(r"_|[a-z][A-Z]")


@dataclass(frozen=True)
class Settings:
    """What the desk is told when it starts. mask_emails: as the policy says; pages show a***@example.com then. oldest_snapshot_hours: from which
    age on a judged plan says that the snapshot is old. silent_after_hours: as the policy says.
    """

    home: Path
    open_store: Callable[[], DecisionStore]
    entrance: Entrance
    mask_emails: bool = True
    oldest_snapshot_hours: float = 24
    silent_after_hours: float | None = None


class Site:
    """The desk, the templates, and what is the same on every page."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.desk = Desk(settings.home, settings.open_store)
        self.guesses = Guesses(settings.entrance.fits)
        self.ended = EndedSessions(settings.home)
        self.templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
        )
        self.templates.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
        self.templates.filters |= {"linked": self._linked, "value": self._shown_value, "without_rules": without_rules}
        self.templates.globals |= {
            "words": words, "write_filter": write_filter, "write_case_filter": write_case_filter, "languages": LANGUAGES, "safe_url": safe_url,
            "as_moment": as_moment,
        }  # fmt: skip

    def page(self, request: Request, template: str, **values: Any) -> Response:
        language = language_of(request)
        session = request.scope.get("session", {})
        context = {
            "language": language,
            "snapshot": None,
            "is_behind": self.desk.is_behind,
            "user": getattr(request.state, "user", None),
            "named_by": getattr(request.state, "named_by", None),
            "form_token": form_token(request),
            "flashes": session.pop("flashes", []),
            "here": local_path(request.url.path + (f"?{request.url.query}" if request.url.query and request.method == "GET" else "")),
            "path": request.url.path,
            "may_waive": getattr(request.state, "may_waive", False),
            "is_reader": getattr(request.state, "is_reader", False),
            "root": request.state.root,
            "now": now(),
            "stale_after_hours": STALE_AFTER_HOURS,
            "mask_emails": self.settings.mask_emails,
            "can_log_out": session.get("ticket") is not None,
        }
        if context_snapshot := values.get("snapshot"):
            context["label_of"] = partial(label_of, context_snapshot)
            context["shown_as"] = partial(shown_as, context_snapshot)
            context["is_made_up"] = is_loopback(context_snapshot.policy["salesforce_record_url"])
        html = self.templates.get_template(template).render({**context, **values})
        return HTMLResponse(html.encode("utf-8", "replace"), headers={"Content-Language": language.code})

    def error_page(
        self, request: Request, status: int, headers: Mapping[str, str] | None = None, detail: str | None = None, text: str | None = None
    ) -> Response:
        """text: of `words`, instead of the one for that status; detail: what stands below it, in English."""
        title, usual = words.ERRORS.get(status, words.ERRORS[400] if status < 500 else words.ERRORS[500])
        answer = self.page(request, "error.html", title=title, text=text or usual, detail=detail, error_status=status)
        answer.status_code = status
        answer.headers.update(headers or {})
        return answer

    async def read_form(self, request: Request, max_files: int = 0) -> FormData:
        form = await request.form(max_files=max_files, max_fields=PAGE_SIZE + 150)
        check_form_token(request, form.get("form_token"))
        return form

    def check(self, wanted: Filter, snapshot: Snapshot) -> None:
        try:
            check_values(wanted, list(snapshot.checks))
        except ConfigurationProblem as problem:
            raise HTTPException(400) from problem

    def check_cases(self, wanted: CaseFilter) -> None:
        try:
            check_case_filter(wanted)
        except ConfigurationProblem as problem:
            raise HTTPException(400) from problem

    @pass_context
    def _linked(self, context: Context, text: object) -> Markup:
        """A text with the Salesforce ids in it as links to the records and users, fields by what people see for them, commands set as such, and e-mails
        masked where the policy says so.
        """
        plain = _COMMAND.sub(r"<code>\1</code>", str(escape(self._cut(context, without_rules(str(text)), None, MOST_IN_A_SENTENCE))))
        snapshot: Snapshot | None = context.get("snapshot")
        if snapshot is None:
            return Markup(plain)
        base, users = safe_url(snapshot.policy["salesforce_record_url"]), users_of(snapshot)

        def as_link(found: re.Match[str]) -> str:
            shown = str(escape(users[found[0]])) if found[0] in users else found[0]
            look = "" if found[0] in users else ' class="id"'
            if base is None or is_loopback(base):
                return f"<span{look}>{shown}</span>"
            return f'<a{look} rel="noreferrer" target="_blank" href="{escape(base)}{found[0]}">{shown}</a>'

        return Markup(_RECORD_ID.sub(as_link, labelled(plain, labels_of(snapshot))))

    @pass_context
    def _shown_value(self, context: Context, text: object, length: int | None = None) -> str:
        """A value from the CRMs for a person to read: not endless, and masked where the policy says so. length: of the whole, where this is its beginning."""
        return self._cut(context, str(text), length, MOST_SHOWN)

    def _cut(self, context: Context, text: str, length: int | None, most: int) -> str:
        """Cuts before any pattern is tried, so that no value costs more than what is shown of it."""
        part, more = shown_part(text, max(length or 0, len(text)), most)
        if self.settings.mask_emails:
            part = EMAIL.sub(lambda found: masked_email(found[0]), part)
        language: Language = context["language"]
        return part + language.plural(*words.MORE_CHARACTERS, more) if more else part


def shown_part(text: str, length: int, most: int = MOST_SHOWN) -> tuple[str, int]:
    """As much of a text as a page shows, and how many characters that leaves out. An e-mail that stands across the cut is left out whole: a part of it
    would not be known as one, and not be masked. length: of the whole text, whose beginning this may be.
    """
    if length <= most:
        return text, 0
    across = next((found for found in EMAIL.finditer(text[: most + _LONGEST_EMAIL]) if found.start() < most < found.end()), None)
    part = text[: across.start() if across else most]
    return part, length - len(part)


@pass_context
def _gettext(context: Context, message: str) -> str:
    language: Language = context["language"]
    return language.translations.gettext(message)


@pass_context
def _ngettext(context: Context, singular: str, plural: str, number: int) -> str:
    language: Language = context["language"]
    return language.translations.ngettext(singular, plural, number)


def language_of(request: Request) -> Language:
    return choose_language(request.scope.get("session", {}).get("language"), request.headers.get("accept-language"))


def flash(request: Request, text: str, is_problem: bool = False, link: str | None = None, undo: str | None = None) -> None:
    """A sentence for the next page. link: where it leads; undo: the moment of the click that can be taken back with it."""
    said = {"text": text[:500], "is_problem": is_problem, "link": link, "undo": undo}
    request.session["flashes"] = [*request.session.get("flashes", []), said][-3:]


def local_path(text: object) -> str:
    """Where a form leads back to: a path of the desk, never another host."""
    if isinstance(text, str) and len(text) < 4000 and re.fullmatch(r"/(?![/\\])[!-~]*", text) and "\\" not in text and not text.startswith("/login"):
        return text
    return "/"


def labelled(html: str, labels: Mapping[str, str]) -> str:
    """A sentence, escaped, with what people see for the fields that it names, and their names behind that."""

    def as_label(found: re.Match[str]) -> str:
        names = (found["listed"] or found["one"] or "").split(", ")
        is_field = found["one"] is None or found["has_value"] is not None or _NO_WORD.search(found["one"])
        if not is_field or any(name not in labels for name in names):
            return found[0]
        return ", ".join(f'<span title="{name}">{escape(labels[name])}</span>' for name in names)

    return _FIELDS.sub(as_label, html)


def without_rules(text: str) -> str:
    """A sentence for people: the rules that it rests on stand under Evidence."""
    return _RULES_NAMED.sub("", text)


def mark_of(names: Iterable[str]) -> str:
    """What stands in a form for a set of findings or cases that somebody has seen: another set has another one, also one of the same size."""
    return sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def safe_url(url: str | None) -> str | None:
    """A link out of the CRMs or the settings that is one: http or https. Anything else, javascript: above all, is no link."""
    return url if url and re.match(r"https?://[^\s\"'<>\\]+\Z", url) else None


def is_loopback(url: str | None) -> bool:
    """Does a link lead to this machine? Then the CRMs are the sandbox, which has no pages."""
    return url is not None and urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def parameters(query: str) -> QueryParams:
    """The parameters of a query as the worklist's form carries it."""
    return QueryParams(query.removeprefix("?")[:4000])


def text_of(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


def number_of(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and int(text[:9]) > 0 else default


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def as_moment(text: str) -> datetime:
    """A moment of the manifest."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
