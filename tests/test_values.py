"""When are two values of a mapped field the same? For each kind: the notations that both APIs use, from their documentation and recorded answers
(docs/prediction.md), written down here by hand; what is the same and what is not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import combinations
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.sql import SQL_FOLDER

LABELS = {"cust": "Customer", "part": "Partner", "": ""}  # HubSpot: value → label
OTHERS = {"Customer": "Kunde", "Partner": "Partnerin", "Reseller": "cust2"}  # Salesforce: value → label


@pytest.fixture(scope="module")
def macros() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'America/New_York'; set threads = 1; pragma disable_optimizer")
        connection.execute((SQL_FOLDER / "raw" / "macros.sql").read_text("utf-8"))
        connection.execute("create table given (kind varchar, a varchar, b varchar, labels map(varchar, varchar), other_labels map(varchar, varchar))")
        connection.execute("prepare compare as select list(distinct main.same_value(a, b, kind, labels, other_labels)) from given")
        yield connection


def compare(macros: duckdb.DuckDBPyConnection, kind: str, pairs: list[tuple[str, str]]) -> set[bool]:
    """What is said of the pairs, both ways round. HubSpot's value comes first."""
    macros.execute("delete from given")
    macros.execute(
        "insert into given select $kind, unnest($ones), unnest($others), unnest($labels), unnest($other_labels)",
        {
            "kind": kind, "ones": [a for a, _ in pairs] + [b for _, b in pairs], "others": [b for _, b in pairs] + [a for a, _ in pairs],
            "labels": [LABELS] * len(pairs) + [OTHERS] * len(pairs), "other_labels": [OTHERS] * len(pairs) + [LABELS] * len(pairs),
        },
    )  # fmt: skip
    row = macros.execute("execute compare").fetchone()
    assert row is not None
    return set(row[0])


def all_same(macros: duckdb.DuckDBPyConnection, kind: str, notations: list[str]) -> bool:
    return compare(macros, kind, list(combinations(notations, 2))) == {True}


def none_same(macros: duckdb.DuckDBPyConnection, kind: str, ones: list[str], others: list[str]) -> bool:
    return compare(macros, kind, [(one, other) for one in ones for other in others]) == {False}


# HubSpot sends a date-time without .000, one that a form set in milliseconds, and a check box as "true"; Salesforce's REST writes +0000, its jobs Z.
def of_moment(moment: datetime) -> list[str]:
    milliseconds = moment.microsecond // 1000
    fraction = [f".{milliseconds:03d}"] if milliseconds else [".000", ""]
    plain = [f"{moment:%Y-%m-%dT%H:%M:%S}{part}" for part in fraction]
    east = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    number = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return [*(f"{text}{zone}" for text in plain for zone in ("Z", "+0000", "+00:00")), f"{east:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}+0530", str(number)]


def of_day(moment: datetime) -> list[str]:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    number = (midnight - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return [f"{moment:%Y-%m-%d}", str(number), f"{moment:%Y-%m-%d}T00:00:00Z", f"{moment:%Y-%m-%d}T00:00:00.000Z", f"{moment:%Y-%m-%d}T00:00:00.000+0000"]


def of_number(number: Decimal) -> list[str]:
    mantissa = f"{number:E}"
    digits, _, exponent = mantissa.partition("E")
    return [format(number, "f"), f"{digits}E{int(exponent)}", mantissa.lower(), f"{format(number, 'f')}{'0' if '.' in format(number, 'f') else '.0'}"]


def of_phone(digits: str) -> list[str]:
    return [
        f"+{digits}",
        f"00{digits}",
        f"+{digits[:2]} ({digits[2:4]}) {digits[4:]}",
        f"+{digits[:2]}-{digits[2:5]}.{digits[5:]}",
        f"{digits[:3]} {digits[3:]}",
    ]


moments = st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=Decimal("-1e12"), max_value=Decimal("1e12")).map(
    lambda number: Decimal(0) if number == 0 else number
)
GENERATED: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "datetime": (moments, of_moment),
    "date": (moments, of_day),
    "number": (numbers, of_number),
    "phone": (st.integers(10**8, 10**12).map(str), of_phone),
}


@pytest.mark.parametrize("kind", GENERATED)
def test_all_notations_of_one_value_are_the_same_and_those_of_another_are_not(kind: str, macros: duckdb.DuckDBPyConnection) -> None:
    strategy, notations = GENERATED[kind]

    @settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @given(strategy, strategy)
    def check(one: Any, other: Any) -> None:
        assert all_same(macros, kind, notations(one)), notations(one)
        if notations(one)[0] != notations(other)[0]:
            assert none_same(macros, kind, notations(one), notations(other)), (notations(one), notations(other))

    check()


@pytest.mark.parametrize(
    ("kind", "notations"),
    [
        ("text", ["Main St 1\r\nFloor 2", "Main St 1\nFloor 2", "Main St 1\rFloor 2", " Main St 1\nFloor 2\u00a0", "\u200bMain\u00a0St 1\nFloor\u202f2"]),
        ("text", ["Zoë", "Zoe\u0308"]),
        ("boolean", ["true", "True", "1", "Yes", "YES", " yes "]),
        ("boolean", ["false", "False", "0", "No", "no"]),
        ("number", ["99213206", "9.9213206E7", "9.9213206e+7", "99213206.0", "+99213206", "099213206"]),
        ("number", ["-0.5", "-.5", "-5E-1", "-0.50"]),
        ("number", ["0", "0.0", "-0", "0E5", ".0"]),
        ("number", ["123456789012345678901234567890.12345678", "123456789012345678901234567890.1234567800"]),
        ("picklist", ["Customer", "Customer "]),
        ("multipicklist", ["a;b", "b;a", "a; b", ";a;;b;", "a;b;a"]),
        ("id", ["0055e000003AbCd", "0055e000003AbCdAAK"]),
        ("employees", ["30", "30.0", "3E1"]),
    ],
)
def test_notations_of_one_value(kind: str, notations: list[str], macros: duckdb.DuckDBPyConnection) -> None:
    assert all_same(macros, kind, notations)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("text", "Ann", "ann"), ("text", "5", "5.0"), ("text", "a b", "a  b"), ("text", "true", "1"),
        ("number", "123456789012345678", "123456789012345679"), ("number", "1,000", "1000"), ("number", "5", "5 EUR"), ("number", "5", "-5"),
        ("number", "1" * 39, "1" * 39 + ".0"), ("boolean", "yes", "no"), ("boolean", "maybe", "Maybe"), ("date", "2026-03-01", "2026-03-01T10:00:00Z"),
        ("date", "2026-03-01", "01.03.2026"), ("datetime", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00+0100"),
        ("datetime", "2026-03-01T10:00:00.001Z", "2026-03-01T10:00:00Z"), ("phone", "110", "1-1-0"), ("phone", "n/a", "N/A"),
        ("phone", "+49 30 1234", "030 1234"), ("picklist", "a;b", "b;a"), ("multipicklist", "a;b", "a"), ("id", "0055e000003AbCd", "0055e000003abcd"),
        ("employees", "25-50", "51"), ("employees", "1000+", "999"), ("employees", "25-50", "many"),
    ],
)  # fmt: skip
def test_other_values(kind: str, one: str, other: str, macros: duckdb.DuckDBPyConnection) -> None:
    assert compare(macros, kind, [(one, other)]) == {False}


@pytest.mark.parametrize(
    ("kind", "hubspot", "salesforce"),
    [
        ("picklist", "cust", "Customer"),  # HubSpot's label is Salesforce's value
        ("picklist", "Kunde", "Customer"),  # Salesforce's label is HubSpot's value
        ("multipicklist", "cust;part", "Partner;Customer"),
        ("employees", "25-50", "25"), ("employees", "25-50", "50.0"), ("employees", "1000+", "1000"), ("employees", "1-5", "3E0"),
    ],
)  # fmt: skip
def test_values_that_the_two_crms_write_differently(kind: str, hubspot: str, salesforce: str, macros: duckdb.DuckDBPyConnection) -> None:
    assert compare(macros, kind, [(hubspot, salesforce)]) == {True}


def test_the_label_of_one_is_not_held_against_the_label_of_the_other(macros: duckdb.DuckDBPyConnection) -> None:
    assert compare(macros, "picklist", [("cust", "Reseller"), ("part", "Customer")]) == {False}


@pytest.mark.parametrize("kind", ["text", "phone", "boolean", "number", "employees", "date", "datetime", "picklist", "multipicklist", "id"])
@given(text=st.text(max_size=20), other=st.text(max_size=20))
@settings(max_examples=25, deadline=None, database=None, derandomize=True)
def test_any_text_equals_itself_and_comparing_never_fails(kind: str, text: str, other: str, macros: duckdb.DuckDBPyConnection) -> None:
    text, other = text.replace("\x00", ""), other.replace("\x00", "")
    assert compare(macros, kind, [(text, text)]) == {True}
    said = compare(macros, kind, [(text, other)])
    assert len(said) == 1, "the same both ways round"
