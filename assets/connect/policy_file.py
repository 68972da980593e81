"""bindwatch.toml changed so that it says what was found: comments, order and all else stay, each line that is written says on what it rests."""

import codecs
import difflib
import logging
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Item, Table

from assets.policy import MappingRule, Policy
from assets.problems import ConfigurationProblem

log = logging.getLogger("bindwatch")
_HEADER = re.compile(r"^\s*\[")
_ENTRY = re.compile(r"^\s*\[\[\s*(?:mapping|\"mapping\"|'mapping')\s*\]\]\s*(#.*)?$")
_MARK = "# What this portal maps, one line each: `bindwatch connect --write` keeps it. Behind each line that it wrote stands on what it rests."


@dataclass(frozen=True)
class Entry:
    """A mapped field as it is to stand in the file. group: under which it stands; why: on what it rests, empty for one that was kept."""

    hubspot: str
    lead: str | None
    contact: str | None
    rule: MappingRule
    consent: Any = False
    why: str = ""
    group: str = ""

    @property
    def values(self) -> dict[str, Any]:
        salesforce: Any = self.lead if self.lead == self.contact else {
            name: field for name, field in (("lead", self.lead), ("contact", self.contact)) if field is not None
        }  # fmt: skip
        return {"hubspot": self.hubspot, "salesforce": salesforce, "rule": self.rule, **({"consent": self.consent} if self.consent else {})}

    @property
    def line(self) -> str:
        return f"  {_inline(self.values)}," + (f"  # {self.why}" if self.why else "")


def rewritten(text: str, knobs: Mapping[str, tuple[Any, str]], removed: Sequence[str], entries: Sequence[Entry] | None) -> str:
    """The file with these knobs (each with on what it rests), without those that are removed, and with these mapped fields; None: they stay as they are.

    Raises ConfigurationProblem where the file is written in a way that would make it say anything else than that, or nothing that can be read.
    """
    wanted = tomllib.loads(text)
    if section := {**wanted.get("policy", {}), **{name: value for name, (value, _) in knobs.items()}}:
        wanted["policy"] = {name: value for name, value in section.items() if name not in removed}
    if entries is not None:
        wanted["mapping"] = [one.values for one in entries]
    try:
        after = _changed(text, knobs, removed, entries)
        if tomllib.loads(after) == wanted:
            Policy.model_validate(wanted)
            return after
    except (ValueError, TOMLKitError) as error:
        log.debug("the policy cannot be changed: %s", error)
    raise ConfigurationProblem(
        "bindwatch.toml is written in a way that cannot be changed here without changing more. Move it aside, let `bindwatch connect --write` make a new one, "
        "and copy over what you had besides."
    )


def _changed(text: str, knobs: Mapping[str, tuple[Any, str]], removed: Sequence[str], entries: Sequence[Entry] | None) -> str:
    if entries is not None:
        text = _with_entries(text, entries)
    for name, (value, why) in knobs.items():
        text = _with_knob(text, name, value, why)
    document = tomlkit.parse(text)
    section = document.get("policy")
    for name in removed:
        if isinstance(section, dict) and name in section:
            del section[name]
    return tomlkit.dumps(document)


def as_in(original: bytes, text: str) -> bytes:
    """The text as the file had its own: with the mark and the line ends of a Windows editor, where they were there."""
    text = text.replace("\n", "\r\n") if b"\r\n" in original else text
    return (codecs.BOM_UTF8 if original.startswith(codecs.BOM_UTF8) else b"") + text.encode("utf-8")


def difference(before: str, after: str, name: str) -> str:
    """What is changed, as a diff; empty when nothing is."""
    return "".join(difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name}, as the data say", n=1))


# ── [policy] ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _with_knob(text: str, name: str, value: Any, why: str) -> str:
    document = tomlkit.parse(text)
    section = document.get("policy")
    if not isinstance(section, dict):
        return f"{text.rstrip()}\n\n[policy]\n{name} = {_literal(value)}  # {why}\n".lstrip("\n")
    if name not in section:
        return _inserted(text, name, f"{name} = {_literal(value)}  # {why}")
    if section[name] == value:
        return text
    old = section.value.item(name) if isinstance(section, Table) else None
    told = old.trivia.comment.lstrip("# ").strip() if isinstance(old, Item) else ""
    new: Item = tomlkit.item(value)
    new.comment("; ".join(part for part in (why, told) if part))
    new.trivia.comment_ws = "  "
    section[name] = new
    return tomlkit.dumps(document)


def _inserted(text: str, name: str, line: str) -> str:
    """The line in the place of the example that stands there as a comment, else behind the last setting of [policy]."""
    lines = text.split("\n")
    start = next((place for place, one in enumerate(lines) if re.match(r"^\s*\[\s*policy\s*\]", one)), None)
    if start is None:  # written as policy.name = …, or as an inline table
        document = tomlkit.parse(text)
        document["policy"].update(tomllib.loads(line))
        return tomlkit.dumps(document)
    end = next((place for place in range(start + 1, len(lines)) if _HEADER.match(lines[place])), len(lines))
    for place in range(start + 1, end):
        if re.match(rf"^\s*#\s*{re.escape(name)}\s*=", lines[place]):
            return "\n".join([*lines[: place + 1], line, *lines[place + 1 :]])
    last = max((place for place in range(start, end) if place == start or _ends_setting(lines, start, place)), default=start)
    return "\n".join([*lines[: last + 1], line, *lines[last + 1 :]])


def _ends_setting(lines: list[str], start: int, place: int) -> bool:
    """Does a setting end in this line? What comes up to it can be read then, and it is neither blank nor a comment."""
    if not lines[place].strip() or lines[place].lstrip().startswith("#"):
        return False
    try:
        tomllib.loads("\n".join(lines[start : place + 1]))
    except tomllib.TOMLDecodeError:
        return False
    return True


# ── mapped fields ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _with_entries(text: str, entries: Sequence[Entry]) -> str:
    """One line each, in groups, before all sections. A line that says the same stays as it is, with its comment; comments of entries go with them."""
    rest, comments = _without_entries(text)
    kept = _kept_lines(text)
    lines: list[str] = []
    group = None
    for entry in entries:
        if entry.group != group:
            lines += [f"  # {entry.group}"]
            group = entry.group
        lines += [f"  {comment}" for comment in comments.get(entry.hubspot, [])]
        known = kept.get(entry.hubspot)
        lines.append(known[1] if known is not None and known[0] == entry.values else entry.line)
    block = "\n".join([_MARK, "mapping = [", *lines, "]"])
    body = rest.split("\n")
    first = next((place for place, one in enumerate(body) if _HEADER.match(one)), len(body))
    while first > 0 and body[first - 1].lstrip().startswith("#"):  # comments right above a section belong to it
        first -= 1
    head, tail = "\n".join(body[:first]).rstrip("\n"), "\n".join(body[first:]).lstrip("\n")
    return "\n\n".join(part for part in (head, block, tail) if part.strip())


def _kept_lines(text: str) -> dict[str, tuple[dict[str, Any], str]]:
    """The lines of an array of mapped fields, by property: what each says, and how it stands there."""
    found = {}
    for line in text.split("\n"):
        if re.match(r"^\s*\{.*\}\s*,?\s*(#.*)?$", line):
            try:
                said = tomllib.loads(f"x = [\n{line}\n]")["x"][0]
            except (tomllib.TOMLDecodeError, IndexError):
                continue
            if isinstance(said, dict) and "hubspot" in said:
                found[str(said["hubspot"])] = (said, line if re.search(r"\}\s*,", line) else re.sub(r"\}(\s*(#.*)?)$", r"},\1", line))
    return found


def _without_entries(text: str) -> tuple[str, dict[str, list[str]]]:
    """The text without its mapped fields, however they are written, and the comments that belong to each of them."""
    lines = text.split("\n")
    comments: dict[str, list[str]] = {}
    place = 0
    kept: list[str] = []
    while place < len(lines):
        if re.match(r"^\s*mapping\s*=\s*\[", lines[place]) and not any(re.match(r"^\s*\[", one) for one in lines[:place]):
            end = next(stop for stop in range(place, len(lines)) if _is_toml("\n".join(lines[place : stop + 1])))
            waiting: list[str] = []
            for line in lines[place + 1 : end]:
                if line.strip().startswith("#"):
                    waiting.append(line.strip())
                elif said := _kept_lines(line):
                    comments[next(iter(said))] = [one for one in waiting if not _is_group(one)]
                    waiting = []
            if kept and kept[-1] == _MARK:
                kept.pop()
            place = end + 1
        elif _ENTRY.match(lines[place]):
            end = _end_of_table(lines, place)
            block = lines[place:end]
            name = str(next(iter(tomllib.loads("\n".join(block)).get("mapping", [{}]))).get("hubspot", ""))
            above: list[str] = []
            while kept and kept[-1].lstrip().startswith("#"):
                above.insert(0, kept.pop().strip())
            own = [match[0].strip() for line in block if (match := re.search(r"(?:^|\s)#[^\"']*$", line))]
            comments[name] = [*above, *own]
            place = end
            while kept and not kept[-1].strip() and place < len(lines) and not lines[place].strip():
                place += 1
        else:
            kept.append(lines[place])
            place += 1
    return "\n".join(kept), comments


def _is_group(comment: str) -> bool:
    return comment.lstrip("# ").startswith(GROUPS)


GROUPS = ("Standard", "Custom", "Consent")


def _end_of_table(lines: list[str], start: int) -> int:
    """Behind the last setting of the table that begins here; sub-tables of it go along."""
    end = start + 1
    for place in range(start + 1, len(lines)):
        if _HEADER.match(lines[place]) and not re.match(r"^\s*\[\s*mapping\.", lines[place]) and _is_toml("\n".join(lines[start:place])):
            break
        if lines[place].strip() and not lines[place].lstrip().startswith("#"):
            end = place + 1
    return end


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _inline(values: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{name} = {_literal(value)}" for name, value in values.items()) + " }"


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return _inline(value)
    return str(tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string())
