"""What checks, merge verdicts and run-book steps say: their queries name a case and its facts, the sentences stand in the headers of their files.

    -- says deleted: It is bound to {record}[, a {object} of {days} {days|1: day|days}].
    -- says.de deleted: Er ist mit {record} verknüpft …
    -- do deleted: Undelete it until {until:day}. <resync>

`says` becomes the reason, `do` the action; English has no suffix. A line goes on in the next one, two blanks further in.

    {fact}                       the fact; {fact:number}, {fact:day}, {fact:moment} as the language writes them; {fact:words} with words of the language
                                 where the fact has ⟨blank⟩ and the like; {fact:code} what it stands for (assets/languages.toml)
    {fact|a: …|b: …|…}           what fits its value, else the last one: one and many, states, kinds
    […]  […|…]                   only where the first fact in it is known, else what stands behind the bar; [?fact …] asks for another one
    <other>                      another sentence of the same file, kind and language
    {quoted}                     what another table says of it in the same language: the first step of a run-book, a merge verdict

They are taken apart once, into `main.sentence`; `main.said` in raw/macros.sql puts facts and parts together, for all rows at once.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

from assets.sql import literal

Part = dict[str, Any]

_LINE = re.compile(r"^(says|do)(?:\.([a-z]{2}))? ([a-z_]+): +(.+)$")
_TOKEN = re.compile(r"\{([a-z_]+)(?::([a-z]+))?\}|\{([a-z_]+)\||<([a-z_]+)>|([\[\]}|])|([^\[\]{}|<]+|<)")
_OPTION = re.compile(r"([A-Za-z0-9_.]+): ")
_ASKED = re.compile(r"\?([a-z_]+) ")
_MARKS = ("blank", "or", "typed", "foreign", "unclear")  # words that may stand in ⟨ ⟩ in a fact
_FORMS = ("day", "moment", "number", "words", "code")


@lru_cache(maxsize=1)
def languages() -> dict[str, dict[str, Any]]:
    """Each language with how it writes days, numbers and the like; English first, German second. What a language does not say is said as in English."""
    told = tomllib.loads((Path(__file__).parent / "languages.toml").read_text("utf-8"))
    return {code: _completed(manner, told["en"] | {"name": code, "locale": code}) for code, manner in told.items()}


def _completed(manner: dict[str, Any], english: dict[str, Any]) -> dict[str, Any]:
    return {name: {**said, **manner.get(name, {})} if isinstance(said, dict) else manner.get(name, said) for name, said in english.items()}


def said_in(language: str, row: Mapping[str, Any], part: str) -> str:
    """What a published row says in a language, reason or action; in English where nobody wrote it."""
    further = next((one[part] for one in row.get("words") or () if one["language"] == language), None)
    return str(further or (language == "de" and row.get(f"{part}_de")) or row.get(part) or "")


def column_in(language: str, table: str, part: str) -> str:
    """The same as an expression of SQL, for a published table that has `words`."""
    if language == "en":
        return f"{table}.{part}"
    if language == "de":
        return f"coalesce({table}.{part}_de, {table}.{part})"
    return f"coalesce(list_filter({table}.words, lambda one: one.language = {literal(language)})[1].{part}, {table}.{part})"


@lru_cache(maxsize=256)
def read_sentences(text: str) -> dict[tuple[str, str, str], str]:
    """The sentences in the header of a SQL file, as they stand there, by (case, kind, language). Raises ValueError for one that stands there twice."""
    sentences: dict[tuple[str, str, str], str] = {}
    key = None
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        told = line[2:].removeprefix(" ")
        if match := _LINE.match(told):
            key = (match[3], match[1], match[2] or "en")
            if key in sentences:
                raise ValueError(f"{match[1]} {match[3]} stands there twice in one language")
            sentences[key] = match[4].strip()
        elif key is not None and told.startswith("  "):
            sentences[key] += " " + told.strip()
        else:
            key = None
    return sentences


def is_sentence(line: str) -> bool:
    """Is that a line of a header, without its dashes, with which a sentence begins?"""
    return _LINE.match(line) is not None


def take_apart(sentence: str, language: str, others: dict[str, str] | None = None) -> list[Part]:
    """A sentence as the parts that main.said puts together: a text (lead) and the fact behind it, both only where all tests hold.

    others: the sentences that it may name. Raises ValueError where it cannot be read.
    """
    parts, end = _read(_tokens(sentence), 0, [], language, others or {})
    if end != len(_tokens(sentence)):
        raise ValueError(f"a bracket too many in: {sentence}")
    return parts


def facts_of(parts: Iterable[Part]) -> set[str]:
    """The facts that a sentence is made of."""
    return {name for part in parts for name in (part["fact"], *(test["fact"] for test in part["tests"])) if name}


def _tokens(sentence: str) -> list[re.Match[str]]:
    found, place = [], 0
    while place < len(sentence):
        match = _TOKEN.match(sentence, place)
        if match is None:
            raise ValueError(f"cannot be read from here on: {sentence[place:]}")
        found.append(match)
        place = match.end()
    return found


def _read(tokens: list[re.Match[str]], place: int, tests: list[dict[str, Any]], language: str, others: dict[str, str]) -> tuple[list[Part], int]:
    """Reads until a bracket or bar that belongs to whoever called."""
    manner = languages()[language]
    parts: list[Part] = []
    while place < len(tokens):
        fact, form, chosen, other, sign, text = tokens[place].groups()
        if sign in ("]", "}", "|"):
            break
        place += 1
        if text is not None:
            parts.append(_part(text, None, None, tests, manner))
        elif fact is not None:
            if form is not None and form not in _FORMS:
                raise ValueError(f"{form} is no form of a fact; there are {', '.join(_FORMS)}")
            parts.append(_part("", fact, "quoted" if fact == "quoted" else form, tests, manner | {"quoted": language}))
        elif other is not None:
            if other not in others:
                raise ValueError(f"<{other}> is no sentence of this kind and language")
            rest = {name: sentence for name, sentence in others.items() if name != other}
            inner, _ = _read(_tokens(others[other]), 0, tests, language, rest)
            parts += inner
        elif chosen is not None:
            inner, place = _read_choice(tokens, place, chosen, tests, language, others)
            parts += inner
        else:
            inner, place = _read_bracket(tokens, place, tests, language, others)
            parts += inner
    return parts, place


def _read_choice(
    tokens: list[re.Match[str]], place: int, fact: str, tests: list[dict[str, Any]], language: str, others: dict[str, str]
) -> tuple[list[Part], int]:
    parts: list[Part] = []
    before: list[dict[str, Any]] = []
    while True:
        value = _OPTION.match(tokens[place][0])
        test = {"fact": fact, "value": value[1], "holds": True} if value else None
        inner, place = _read(tokens, place, [*tests, test] if test else [*tests, *before], language, others)
        if value and inner:
            inner[0] = {**inner[0], "lead": inner[0]["lead"][value.end() :]}
        parts += inner
        if test:
            before.append({**test, "holds": False})
        if place >= len(tokens) or tokens[place][0] not in "|}":
            raise ValueError(f"the choice by {fact} does not end")
        place += 1
        if tokens[place - 1][0] == "}":
            return parts, place


def _read_bracket(tokens: list[re.Match[str]], place: int, tests: list[dict[str, Any]], language: str, others: dict[str, str]) -> tuple[list[Part], int]:
    asked = _ASKED.match(tokens[place][0]) if place < len(tokens) else None
    named = next((match for match in tokens[place:] if match[1] or match[3] or match[5] == "]"), None)
    fact = asked[1] if asked else named and (named[1] or named[3])
    if not fact:
        raise ValueError("a bracket without a fact in it")
    test = {"fact": fact, "value": None, "holds": True}
    parts, place = _read(tokens, place, [*tests, test], language, others)
    if asked:
        parts[0] = {**parts[0], "lead": parts[0]["lead"][asked.end() :]}
    if place < len(tokens) and tokens[place][0] == "|":
        otherwise, place = _read(tokens, place + 1, [*tests, {**test, "holds": False}], language, others)
        parts += otherwise
    if place >= len(tokens) or tokens[place][0] != "]":
        raise ValueError("a bracket does not end")
    return parts, place + 1


def _part(lead: str, fact: str | None, form: str | None, tests: list[dict[str, Any]], manner: dict[str, Any]) -> Part:
    return {
        "lead": lead, "fact": fact, "form": {"day": "moment", "words": None}.get(form or "", form),
        "style": {"day": manner["day"], "moment": manner["moment"], "number": manner["thousands"], "quoted": manner.get("quoted")}.get(form or ""),
        "words": manner["words"] if form == "code" else None, "has_marks": form == "words", "unknown": manner["unknown"], "tests": tests,
    }  # fmt: skip


def _joined(parts: list[Part]) -> list[Part]:
    """Fewer parts: a text goes into the part with the fact behind it, where both stand under the same tests."""
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1]["fact"] is None and joined[-1]["tests"] == part["tests"]:
            joined[-1] = {**part, "lead": joined[-1]["lead"] + part["lead"]}
        else:
            joined.append(part)
    return joined


@lru_cache(maxsize=256)
def compile_sentences(owner: str, text: str) -> tuple[dict[str, Any], ...]:
    """The rows of main.sentence for a SQL file: one a case. A sentence that a language does not have is the English one. Raises ValueError, with what is
    wrong and where.

    What the texts have in common is listed once a case: forms, facts as a language writes them; tests of facts; gates, the places of tests that must all
    hold for a part to be said.
    """
    sentences = read_sentences(text)
    rows = []
    for case in dict.fromkeys(case for case, _, _ in sentences):
        forms: list[dict[str, Any]] = []
        tests: list[dict[str, Any]] = []
        gates: list[list[int]] = []
        worded = []
        for language, manner in languages().items():
            parts = {}
            for kind in ("says", "do"):
                spoken = language if (case, kind, language) in sentences else "en"
                others = {name: sentence for (name, of_kind, tongue), sentence in sentences.items() if (of_kind, tongue) == (kind, spoken)}
                try:
                    parts[kind] = _joined(take_apart(others.get(case, ""), spoken, others))
                except ValueError as error:
                    raise ValueError(f"{owner}, {kind} {case} in {spoken}: {error}") from error
            has_marks = any(part["has_marks"] for part in (*parts["says"], *parts["do"]))
            worded.append({
                "language": language, "marks": {name: manner["words"][name] for name in _MARKS} if has_marks else None,
                **{kind: [_listed(part, forms, tests, gates) for part in read] for kind, read in parts.items()},
            })  # fmt: skip
        english, german, *further = worded
        rows.append({
            "owner": owner, "name": case, "forms": forms, "tests": tests, "gates": gates, "further": further,
            **{f"{name}_{part}": told[part] for name, told in (("en", english), ("de", german)) for part in ("marks", "says", "do")},
        })  # fmt: skip
    return tuple(rows)


def _listed(part: Part, forms: list[dict[str, Any]], tests: list[dict[str, Any]], gates: list[list[int]]) -> dict[str, Any]:
    """A part that says by numbers which of the lists of its case it needs."""
    form = part["form"] and {"fact": part["fact"], **{name: part[name] for name in ("form", "style", "words")}}
    gate = [_number(test, tests) for test in part["tests"]]
    return {
        "lead": part["lead"], "fact": part["fact"], "unknown": part["unknown"] if part["fact"] else None,
        "form": _number(form, forms) if form else None, "gate": _number(gate, gates) if gate else None,
    }  # fmt: skip


def _number(one: Any, listed: list[Any]) -> int:
    """Its place in the list, from 1; it is put there when it is not there yet."""
    if one not in listed:
        listed.append(one)
    return listed.index(one) + 1


_SAID = [{"lead": "VARCHAR", "fact": "VARCHAR", "unknown": "VARCHAR", "form": "INTEGER", "gate": "INTEGER"}]
_WORDED = {"marks": dict.fromkeys(_MARKS, "VARCHAR"), "says": _SAID, "do": _SAID}
_SHAPE = json.dumps([{
    "owner": "VARCHAR", "name": "VARCHAR",
    "forms": [{"fact": "VARCHAR", "form": "VARCHAR", "style": "VARCHAR", "words": "MAP(VARCHAR, VARCHAR)"}],
    "tests": [{"fact": "VARCHAR", "value": "VARCHAR", "holds": "BOOLEAN"}], "gates": [["INTEGER"]],
    **{f"{name}_{part}": shape for name in ("en", "de") for part, shape in _WORDED.items()}, "further": [{"language": "VARCHAR", **_WORDED}],
}])  # fmt: skip


def write_sentences(connection: duckdb.DuckDBPyConnection, files: Iterable[tuple[str, str]]) -> None:
    """Writes main.sentence, what main.said looks up. files: who says it (the name of the check or table), and the text of its SQL file."""
    rows = [row for owner, text in files for row in compile_sentences(owner, text)]
    connection.execute(
        "create or replace table main.sentence as select unnest(from_json($rows, $shape), max_depth := 2)",
        {"rows": json.dumps(rows, ensure_ascii=False), "shape": _SHAPE},
    )
