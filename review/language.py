"""The languages of the desk: texts, dates and numbers. English stands in the templates, German in locale/de.po; which there are: assets/languages.toml.

The catalogue is read as it is when the desk starts; nothing is compiled. A test holds it against what the templates say.
"""

import gettext
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from babel.core import Locale, negotiate_locale
from babel.dates import format_date, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import Translations

from assets.sentences import languages, said_in
from assets.shares import not_whole

LANGUAGES = {code: str(manner["name"]) for code, manner in languages().items()}
_LOCALES = {code: Locale.parse(manner["locale"]) for code, manner in languages().items()}
_LOCALE_FOLDER = Path(__file__).parent / "locale"


@lru_cache
def _translations(language: str) -> gettext.NullTranslations:
    path = _LOCALE_FOLDER / f"{language}.po"
    if not path.exists():
        return gettext.NullTranslations()
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language)
    binary = io.BytesIO()
    write_mo(binary, catalogue)
    binary.seek(0)
    return Translations(fp=binary)


@dataclass(frozen=True)
class Language:
    """How one reader is spoken to. code: a key of LANGUAGES."""

    code: str

    @property
    def locale(self) -> Locale:
        return _LOCALES[self.code]

    @property
    def left_out(self) -> dict[str, str]:
        """Why what a plan asks for is in no file, by the name of the reason. The terminal says the same."""
        return dict(languages()[self.code]["left_out"])

    @property
    def translations(self) -> gettext.NullTranslations:
        return _translations(self.code)

    def text(self, message: str, **values: object) -> str:
        """The message in this language, {names} replaced."""
        return self.translations.gettext(message).format(**values)

    def plural(self, singular: str, plural: str, number: int, **values: object) -> str:
        """The form for that number; {number} is written with separators."""
        return self.translations.ngettext(singular, plural, number).format(number=self.number(number), **values)

    def number(self, value: float) -> str:
        return _number(value, self.locale)

    def percent(self, share: float) -> str:
        return str(format_percent(round(not_whole(share), 3), locale=self.locale, decimal_quantization=False))

    def day(self, moment: datetime) -> str:
        return _day(moment.date(), self.locale)

    def moment(self, moment: datetime) -> str:
        """Day and minute, UTC: the desk may be looked at from several places."""
        return f"{self.day(moment)}, {moment:%H:%M} UTC"

    def age(self, moment: datetime, now: datetime) -> str:
        """How long ago: 3 days ago."""
        return str(format_timedelta(moment - now, add_direction=True, locale=self.locale, threshold=1.5))

    def span(self, time: timedelta) -> str:
        """How long: 10 minutes. Less than a minute counts as one."""
        return str(format_timedelta(max(time, timedelta(minutes=1)), granularity="minute", locale=self.locale, threshold=1.5))

    def of_finding(self, row: dict[str, object], name: str) -> str:
        """What a row of a published table says."""
        return said_in(self.code, row, name)


@lru_cache(5000)  # a page has a hundred numbers, and most are small
def _number(value: float, locale: Locale) -> str:
    return str(format_decimal(value, locale=locale))


@lru_cache(5000)
def _day(day: date, locale: Locale) -> str:
    return str(format_date(day, "medium", locale=locale))


def choose_language(chosen: str | None, accepted: str | None) -> Language:
    """chosen: what somebody picked; accepted: the header Accept-Language."""
    if chosen in LANGUAGES:
        return Language(str(chosen))
    wanted = [part.split(";")[0].strip().replace("-", "_") for part in (accepted or "").split(",")]
    return Language(negotiate_locale([name for name in wanted if name], _available()) or "en")


@lru_cache
def _available() -> Sequence[str]:
    return list(LANGUAGES)
