"""The numbered rules of the integration and the statements of the founding source, as docs/integration.md has them, for people who read a finding."""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

DOCS = Path(__file__).parent.parent / "docs"
_RULE = re.compile(r"^(?:(\d+)\.|- \*\*(F\d)\*\*) (.*)$")
_HEADING = re.compile(r"^### (.*)$")
_LINK = re.compile(r"^\[[\w-]+\]: .*$", re.M)
_NAMED = re.compile(r"\b(?:[Rr]ules?|Regeln?) ((?:\d+)(?:(?:, | to | bis | and | und )\d+)*)|\b(F\d)\b")


@dataclass(frozen=True)
class Rule:
    """A rule or statement. name: "11" or "F3"; text: HTML with links to its sources; group: the heading it stands under, None for statements."""

    name: str
    text: Markup
    group: str | None


@lru_cache
def read_rules(language: str) -> dict[str, Rule]:
    """All rules by name, in the order of the page; in English where there is none in that language."""
    path = DOCS / f"integration.{language}.md"
    page = (path if path.exists() else DOCS / "integration.md").read_text("utf-8")
    sources = "\n".join(_LINK.findall(page))
    markdown = MarkdownIt("commonmark", {"html": False})
    rules: dict[str, Rule] = {}
    group = None
    name = None
    texts: dict[str, tuple[list[str], str | None]] = {}
    for line in page.splitlines():
        if heading := _HEADING.match(line):
            group, name = heading[1], None
        elif match := _RULE.match(line):
            name = match[1] or match[2]
            texts[name] = ([match[3]], group)
        elif name is not None and line.startswith("  "):
            texts[name][0].append(line.strip())
        else:
            name = None
    for name, (lines, group) in texts.items():
        html = markdown.render(f"{' '.join(lines)}\n\n{sources}")
        rules[name] = Rule(name, Markup(html.strip().removeprefix("<p>").removesuffix("</p>").replace("<a href=", '<a rel="noreferrer" href=')), group)
    return rules


def group_rules(language: str) -> list[tuple[str | None, list[Rule]]]:
    """The rules under their headings, in the order of the page."""
    return [(group, list(members)) for group, members in groupby(read_rules(language).values(), key=lambda rule: rule.group)]


def named_rules(text: str) -> list[str]:
    """The names of the rules that a text speaks of, each once: "rules 24 to 26; F3" gives 24, 25, 26, F3."""
    names: list[str] = []
    for numbers, statement in _NAMED.findall(text):
        if statement:
            names.append(statement)
        last = None
        for separator, number in re.findall(r"(to |bis )?(\d+)", numbers):
            names += map(str, range(last + 1 if separator and last else int(number), int(number) + 1))
            last = int(number)
    return list(dict.fromkeys(names))
