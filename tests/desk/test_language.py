"""Everything the desk says is said in German, too, and nothing in the catalogue is left over."""

import re
import string
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from review.language import choose_language
from review.numbered_rules import named_rules, read_rules

REVIEW = Path(__file__).parent.parent.parent / "review"
KEYWORDS = {"N_": None, "P_": (1, 2), "_": None, "gettext": None, "ngettext": (1, 2)}


def fixed(message: str | list[str] | tuple[str, ...] | None) -> str | tuple[str, ...]:
    return tuple(message) if isinstance(message, (list, tuple)) else message or ""


def said() -> set[str | tuple[str, ...]]:
    methods = [("**.py", "python"), ("templates/**.html", "jinja2")]
    options = {"templates/**.html": {"newstyle_gettext": "true", "silent": "false"}}
    found = extract_from_dir(REVIEW, method_map=methods, options_map=options, keywords=KEYWORDS)
    return {fixed(message) for _, _, message, _, _ in found}


def translated() -> dict[str | tuple[str, ...], str | tuple[str, ...]]:
    with (REVIEW / "locale" / "de.po").open("rb") as file:
        return {fixed(message.id): fixed(message.string) for message in read_po(file, locale="de") if message.id}


def test_the_german_catalogue_says_exactly_what_the_pages_say() -> None:
    missing, left_over = said() - set(translated()), set(translated()) - said()
    assert not missing and not left_over


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(re.sub(r"%\((\w+)\)s", r"{\1}", text)) if name}


@pytest.mark.parametrize("message", sorted(translated(), key=str), ids=lambda message: str(message)[:30])
def test_a_translation_keeps_the_names_of_what_is_filled_in(message: str | tuple[str, ...]) -> None:
    sources = message if isinstance(message, tuple) else (message,)
    target = translated()[message]
    targets = target if isinstance(target, tuple) else (target,)
    assert len(sources) == len(targets)
    for source, translation in zip(sources, targets, strict=True):
        assert translation.strip()
        assert placeholders(source) == placeholders(translation)


@pytest.mark.parametrize(
    ("chosen", "accepted", "code"),
    [(None, None, "en"), (None, "de", "de"), (None, "de-CH, en;q=0.5", "de"), (None, "fr, de;q=0.5", "de"), (None, "fr", "en"), (None, ";;,q=", "en"),
     ("de", "en", "de"), ("en", "de", "en"), ("xx", "de", "de")],
)  # fmt: skip
def test_the_language_is_what_somebody_chose_else_what_the_browser_asks_for(chosen: str | None, accepted: str | None, code: str) -> None:
    assert choose_language(chosen, accepted).code == code


def test_both_languages_have_the_same_rules_with_the_same_sources() -> None:
    english, german = read_rules("en"), read_rules("de")
    assert english.keys() == german.keys()
    for name, rule in english.items():
        if name != "7":  # the English page refers to its section on where the sources disagree
            assert sources(rule.text) == sources(german[name].text), name


def sources(html: str) -> list[str]:
    return re.findall(r'href="([^"]+)"', html)


@pytest.mark.parametrize(
    ("text", "names"),
    [("rule 11; F3", ["11", "F3"]), ("Rules 11, 24 to 26; F3", ["11", "24", "25", "26", "F3"]), ("Rule 7: HubSpot makes 3 of them.", ["7"]),
     ("(Regeln 4, 20, 30)", ["4", "20", "30"]), ("the ids that both CRMs list", [])],
)  # fmt: skip
def test_the_rules_that_a_text_names_are_found(text: str, names: list[str]) -> None:
    assert named_rules(text) == names
