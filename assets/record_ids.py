"""Ids of Salesforce records as people hand them in: in links, between invisible characters, several in a cell, in lower case.

What is no id comes back as it stands there; main.id_fault (assets/models/sql/raw/macros.sql) says what is wrong with it.
"""

import re
import unicodedata

from assets.policy import ObjectType

# How the ids of an object begin, and the property of a HubSpot contact that holds them. main.salesforce_objects() says the same where SQL asks.
PREFIXES: dict[ObjectType, str] = {"Lead": "00Q", "Contact": "003"}
ID_PROPERTIES: dict[ObjectType, str] = {"Lead": "salesforceleadid", "Contact": "salesforcecontactid"}
RECORD_ID = rf"(?:{'|'.join(PREFIXES.values())})[A-Za-z0-9]{{12}}(?:[A-Za-z0-9]{{3}})?"  # as a pattern, in either length

_CHECKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_CLEAN = re.compile(r"[A-Za-z0-9]{15}(?:(?=[0-5]*[A-Z])[A-Z0-5]{3})?")
_ALL_CLEAN = re.compile(rf"(?:{_CLEAN.pattern}\n)*+(?:{_CLEAN.pattern})?")
_LOWER = re.compile(r"[a-z0-9]{15}[a-z0-5]{3}")
_LOOKS_LIKE_ONE = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?(?![A-Za-z0-9])")
_IN_LINK = re.compile(rf"(?<![A-Za-z0-9])({RECORD_ID})(?![A-Za-z0-9])", re.IGNORECASE)
# A cell may have 131,072 characters: nothing here looks at the rest of it anew from each place.
_LINK = re.compile(r"=\s*+HYPERLINK\([^)]{0,2000}+\)|(?:https?://|(?<![\w.-])\.*+[\w-]++(?:\.[\w-]++)++/)[^\s\"'<>;|,]++", re.IGNORECASE)
_BETWEEN = re.compile(r"[;,|/&+=?\s]+")
_BETWEEN_IDS = re.compile(r"[\W_]+")  # whatever is no letter and no digit
_BETWEEN_WORDS = re.compile(r"[\s<>]+")
_DIGIT = re.compile("[0-9]")
_SPOILT = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{10,40}(?![A-Za-z0-9])")
_AROUND = "'\"`´‘’“”„«»()[]{}<>."
# What no eye sees is dropped, and every kind of blank is one: no-break, thin and wide ones, marks of order and direction, soft hyphens.
_UNSEEN = {
    code: None if unicodedata.category(chr(code)) == "Cf" else " " for code in range(0x80, 0xFFFF) if unicodedata.category(chr(code)) in ("Cf", "Zs", "Cc")
} | {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # letters and digits as wide as those of Asia
_TOGETHER = re.compile(r"(?<![A-Za-z0-9])(?:[A-Za-z0-9]{18}){2,}(?![A-Za-z0-9])")


def object_type_of(record_id: str) -> ObjectType | None:
    """Which object a record is of, by how its id begins; None for any other."""
    return next((name for name, prefix in PREFIXES.items() if record_id.startswith(prefix)), None)


def has_id(text: str) -> bool:
    """Is there something in it that is written like an id: 15 or 18 letters and digits, not letters alone?"""
    return _LOOKS_LIKE_ONE.search(text) is not None


def may_hold_id(text: str) -> bool:
    """Is there something in it that is written like an id, or like one that lost or won some characters?"""
    return "@" not in text and _SPOILT.search(text) is not None


def tidy_ids(cells: list[str]) -> list[str]:
    """tidy_id of each; nearly always they are clean, which is seen at once."""
    if _ALL_CLEAN.fullmatch("\n".join(cells)):
        return cells
    return [tidy_id(cell) for cell in cells]


def tidy_id(cell: str) -> str:
    """The one id in a cell: without what surrounds it, with the capitals that its check characters prove."""
    if _CLEAN.fullmatch(cell):  # nearly all are
        return cell
    found = ids_in(cell)
    return found[0] if len(found) == 1 else " ".join(cell.translate(_UNSEEN).split())


def ids_in(cell: str) -> list[str]:
    """The ids in a cell, each once, whatever separates them; words beside them are left out, what may be a spoilt id is not.

    A cell without any is its own text, and one without text is the empty list.
    """
    if _CLEAN.fullmatch(cell):
        return [cell]
    text = _TOGETHER.sub(_taken_apart, cell.translate(_UNSEEN).strip())
    if not text:
        return []
    plain, linked = text, []
    if "/" in text or "=" in text:
        linked = [found[-1] for link in _LINK.findall(text) if (found := _IN_LINK.findall(link))]
        if linked:
            plain = _LINK.sub(" ", text)
    parts = linked
    if _SPOILT.search(plain):
        words = (_BETWEEN_IDS.split(word) for word in _BETWEEN_WORDS.split(plain) if not _is_email(word))
        parts += [part for word in words for part in word if may_hold_id(part)]
    if not any(has_id(part) for part in parts):
        pieces = _BETWEEN.split(plain)
        if any(part.strip(_AROUND) and not _DIGIT.search(part) for part in pieces):
            return [" ".join(text.split())]
        parts = [part for part in (part.strip(_AROUND) for part in pieces) if part]
    return list({part[:15]: _with_capitals(part) for part in reversed(parts)}.values())[::-1]


def _taken_apart(found: re.Match[str]) -> str:
    """Ids between which somebody took out the line ends, where the check characters of each prove it."""
    pieces = [found[0][begin : begin + 18] for begin in range(0, len(found[0]), 18)]
    return " ".join(pieces) if all(piece[15:] == checksum(piece[:15]) for piece in pieces) else found[0]


def _is_email(word: str) -> bool:
    """An e-mail holds no id, whatever its letters look like."""
    before, at, _ = word.lstrip("@").partition("@")
    return bool(at) and any(character.isalnum() for character in before)


def _with_capitals(text: str) -> str:
    """An 18-character id in lower case as it was: its last three characters say of the others which are capitals.

    Only an id that is in lower case altogether proves that it lost them. Where the check characters are capitals and do not fit, either may be wrong.
    """
    if not _LOWER.fullmatch(text):
        if len(text) == 18 and text[15:].upper() == checksum(text[:15]):
            return text[:15] + text[15:].upper()
        return text
    bits = [_CHECKS.index(check) >> place & 1 for check in text[15:].upper() for place in range(5)]
    if any(bit and not character.isalpha() for bit, character in zip(bits, text, strict=False)):
        return text
    return "".join(character.upper() if bit else character for bit, character in zip(bits, text, strict=False)) + text[15:].upper()


def checksum(id15: str) -> str:
    """As main.checksum: for each five characters which of them are capitals, the first the lowest bit."""
    return "".join(_CHECKS[sum(1 << place for place, character in enumerate(id15[begin : begin + 5]) if "A" <= character <= "Z")] for begin in (0, 5, 10))


def long_id(record_id: str) -> str:
    """An id of 15 characters as 18; any other text as it is."""
    return record_id + checksum(record_id) if re.fullmatch(r"[A-Za-z0-9]{15}", record_id) else record_id
