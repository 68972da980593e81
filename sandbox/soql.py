"""The part of SOQL that the sandbox answers: SELECT … FROM … [WHERE …] [ORDER BY …] [LIMIT n].

Conditions: = != < <= > >= IN, NOT IN, AND, OR, parentheses. Text compares without case, ids with it, as in Salesforce.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Value = str | bool | datetime | int | float | None
Row = Callable[[str], Value]  # a record: field name to value

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<moment>\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d))|(?P<number>-?\d+)|(?P<op><=|>=|!=|=|<|>|\(|\)|,)|(?P<word>[A-Za-z_][\w.]*))"
)


class SoqlError(ValueError):
    """The query cannot be read; the message says where."""


@dataclass(frozen=True)
class Query:
    """fields: none of them for SELECT COUNT(), which is answered with a number; filtered: those that conditions name."""

    fields: list[str]
    object_type: str
    matches: Callable[[Row], bool]
    order_by: list[tuple[str, bool]]  # field, descending
    limit: int | None
    filtered: list[str]


def parse(soql: str) -> Query:
    return _Parser(soql).query()


class _Parser:
    def __init__(self, soql: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        soql = soql.rstrip()
        while place < len(soql):
            match = _TOKEN.match(soql, place)
            if match is None:
                raise SoqlError(f"unexpected token: '{soql[place : place + 20]}'")
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            place = match.end()
        self.place = 0
        self.filtered: list[str] = []

    def query(self) -> Query:
        self.word("SELECT")
        fields = [self.take("word")]
        if fields == ["COUNT"] and self.at("("):
            self.expect(")")
            fields = []
        while self.at(","):
            fields.append(self.take("word"))
        self.word("FROM")
        object_type = self.take("word")
        matches = self.disjunction() if self.at_word("WHERE") else (lambda _row: True)
        order_by = []
        if self.at_word("ORDER"):
            self.word("BY")
            while True:
                field = self.take("word")
                descending = self.at_word("DESC")
                _ = descending or self.at_word("ASC")
                order_by.append((field, descending))
                if not self.at(","):
                    break
        limit = int(self.take("number")) if self.at_word("LIMIT") else None
        if self.place < len(self.tokens):
            raise SoqlError(f"unexpected token: '{self.tokens[self.place][1]}'")
        return Query(fields, object_type, matches, order_by, limit, self.filtered)

    def disjunction(self) -> Callable[[Row], bool]:
        parts = [self.conjunction()]
        while self.at_word("OR"):
            parts.append(self.conjunction())
        return lambda row: any(part(row) for part in parts)

    def conjunction(self) -> Callable[[Row], bool]:
        parts = [self.condition()]
        while self.at_word("AND"):
            parts.append(self.condition())
        return lambda row: all(part(row) for part in parts)

    def condition(self) -> Callable[[Row], bool]:
        if self.at("("):
            inner = self.disjunction()
            self.expect(")")
            return inner
        field = self.take("word")
        self.filtered.append(field)
        negated = self.at_word("NOT")
        if negated or self.at_word("IN"):
            if negated:
                self.word("IN")
            self.expect("(")
            values = [self.value()]
            while self.at(","):
                values.append(self.value())
            self.expect(")")
            keys = {_comparable(value, field) for value in values}
            return lambda row: (_comparable(row(field), field) in keys) != negated
        operator = self.take("op")
        value = self.value()
        return lambda row: _compare(_comparable(row(field), field), operator, _comparable(value, field))

    def value(self) -> Value:
        kind, text = self.next()
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind == "moment":
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        if kind == "number":
            return int(text)
        known: dict[str, Value] = {"TRUE": True, "FALSE": False, "NULL": None}
        if text.upper() in known:
            return known[text.upper()]
        raise SoqlError(f"unexpected token: '{text}'")

    def next(self) -> tuple[str, str]:
        if self.place >= len(self.tokens):
            raise SoqlError("unexpected end of query")
        self.place += 1
        return self.tokens[self.place - 1]

    def take(self, kind: str) -> str:
        found, text = self.next()
        if found != kind:
            raise SoqlError(f"unexpected token: '{text}'")
        return text

    def expect(self, text: str) -> None:
        if self.next()[1] != text:
            raise SoqlError(f"expecting '{text}'")

    def word(self, text: str) -> None:
        if self.next()[1].upper() != text:
            raise SoqlError(f"expecting '{text}'")

    def at(self, text: str) -> bool:
        found = self.place < len(self.tokens) and self.tokens[self.place][1] == text
        self.place += found
        return found

    def at_word(self, text: str) -> bool:
        found = self.place < len(self.tokens) and self.tokens[self.place] == ("word", self.tokens[self.place][1]) and self.tokens[self.place][1].upper() == text
        self.place += found
        return found


def _comparable(value: Value, field: str) -> Any:
    """Text compares without case; an id compares as its 15 characters, with case, in the order in which ORDER BY puts it."""
    if not isinstance(value, str):
        return value
    return value[:15] if field.endswith("Id") else value.lower()


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator == "=":
        return bool(left == right)
    if operator == "!=":
        return bool(left != right)
    if left is None or right is None or type(left) is not type(right):
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
