"""E-mails, ids and times: the SQL macros against independent implementations."""

import json
import string
import xml.etree.ElementTree as ElementTree
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.world import id18, normalise
from tests.crm import Crm

CONNECTION = Crm().connection
EMAIL_DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "email"


def sql(expression: str, value: str | None) -> object:
    row = CONNECTION.execute(f"select {expression}", {"value": value}).fetchone()
    return row[0] if row else None


@pytest.mark.parametrize(
    ("raw", "compared"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        (" \u00a0\tann@example.com\u200b\ufeff\r\n", "ann@example.com"),
        ("cafe\u0301@example.com", "caf\u00e9@example.com"),
        ("a.n.n+tag@gmail.com", "a.n.n+tag@gmail.com"),
        ("test@test.com", "test@test.com"),
        ("m\u00fcller@example.com", "m\u00fcller@example.com"),
        ("stra\u00dfe@example.com", "stra\u00dfe@example.com"),
        ("I@example.com", "i@example.com"),
        ("a\u200bb@example.com", "a\u200bb@example.com"),
        *((bad, None) for bad in (None, "", " ", "ann", "@example.com", "ann@", "a@b@c", "a b@c.de", "a\u00a0b@c.de", "a\n@b.de")),
        *((bad, None) for bad in ("a@c.de, b@c.de", "a@c.de;", "<a@c.de>", "MAILTO:a@c.de")),
    ],
)  # fmt: skip
def test_an_email_compares_trimmed_composed_and_lower_case_or_not_at_all(raw: str | None, compared: str | None) -> None:
    assert sql("main.matching_email($value)", raw) == compared


_TRICKY = st.sampled_from("aB.@ \u00a0\u200b\ufeff\t\u3000\u0130\u0301,;<")
_ANY = st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs", "Lt"])


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet=st.one_of(_TRICKY, _ANY), max_size=12))
def test_the_comparison_of_emails_agrees_with_the_sandboxs(text: str) -> None:
    # Python lowers a Greek sigma at the end of a word to another letter than DuckDB does
    if "Σ" not in text and "\u0345" not in text:
        assert sql("main.matching_email($value)", text) == normalise(text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.ascii_letters + string.digits, min_size=15, max_size=15))
def test_15_characters_become_18_and_18_stay(text: str) -> None:
    full = id18(text)
    assert sql("main.salesforce_id18($value)", text) == full
    assert sql("main.salesforce_id18($value)", f" {full} ") == full


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=string.ascii_letters + string.digits, min_size=15, max_size=15), st.integers(0, 2), st.sampled_from(string.ascii_uppercase + "012345abc-")
)
def test_a_wrong_check_character_makes_an_id_malformed(text: str, place: int, character: str) -> None:
    full = id18(text)
    wrong = full[: 15 + place] + character + full[16 + place :]
    assert sql("main.salesforce_id18($value)", wrong) == (full if wrong == full else None)


@pytest.mark.parametrize("text", ["", "00Q", "00Q5e00000000016", "00Q5e000000000 1", "00Q5e0000000é01", "x" * 19])
def test_other_lengths_and_characters_are_no_id(text: str) -> None:
    assert sql("main.salesforce_id18($value)", text) is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-10-22T21:03:23.000+0000", datetime(2020, 10, 22, 21, 3, 23)),
        ("2020-10-22T21:03:23.456Z", datetime(2020, 10, 22, 21, 3, 23, 456000)),
        ("2020-10-22T23:03:23+02:00", datetime(2020, 10, 22, 21, 3, 23)),
        ("1603400603000", datetime(2020, 10, 22, 21, 3, 23)),
        ("", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_the_times_of_both_apis_become_utc(text: str | None, moment: datetime | None) -> None:
    assert sql("main.utc($value)", text) == moment


@pytest.mark.skipif(not EMAIL_DATA.exists(), reason="the collected e-mail cases are not beside this checkout")
def test_the_collected_email_cases_never_crash_and_agree_with_the_sandboxs() -> None:
    cases = [element.text or "" for element in ElementTree.parse(EMAIL_DATA / "isemail_tests.xml").iter("address")]
    assert len(cases) > 100
    django = json.loads((EMAIL_DATA / "django_5.2_validate_email_cases.json").read_text("utf-8"))
    cases += [text for text in _strings(django) if "@" in text]
    for case in cases:
        text = case.replace("\x00", "")
        assert sql("main.matching_email($value)", text) == normalise(text), case


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in items for text in _strings(item)]
