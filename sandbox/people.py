"""People for the sandbox: made up from a seed, or read from a CSV."""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox.fields import INDUSTRIES, LEAD_SOURCES, RATINGS, SALUTATIONS, STATUSES

_FIRST = (
    "Ada Amir Anna Aylin Ben Carla Chidi Dana Elif Emil Eva Farid Femi Greta Hana Ida Ivan Jana Jonas Juan Kai Lara Lea Leon Lin Lucia Luis Maja Marta Mei "
    "Milo Nadia Nils Nora Olga Omar Pia Priya Raj Rosa Sami Sara Sofia Tariq Tom Uma Vera Wim Yara Yusuf Zoë Åsa Łukasz Émile Ömer"
).split()
_LAST = (
    "Acker Adeyemi Bauer Becker Brandt Castro Chen Costa Demir Diaz Eriksen Fischer Fuchs Garcia Gupta Haas Hansen Huber Ito Jansen Kaya Keller Khan Klein "
    "Kowalski Krüger Lang Lehmann Lopez Mäkinen Mendes Meyer Moreau Novak Okafor Olsen Park Patel Peters Richter Rossi Sato Schmidt Schulz Silva Singh "
    "Sørensen Tanaka Torres Vogel Wagner Weber Wolf Yilmaz Zhang Zimmermann O'Brien d'Angelo"
).split()
_COMPANY = "Northwind Acme Globex Initech Umbrella Hooli Stark Wayne Wonka Tyrell Cyberdyne Soylent Aperture Vandelay Dunder Oscorp Monarch Zenith".split()
_KIND = "GmbH AG Ltd Inc SA BV AB SpA Oy & Co. KG".split(" ")
_TITLES = ["Head of Marketing", "CEO", "CTO", "Sales Manager", "Buyer", "Engineer", "HR Manager", "Analyst", "Office Manager", "", "", ""]
_CITIES = [
    ("Berlin", "10115", "Germany"),
    ("Wien", "1010", "Austria"),
    ("Zürich", "8001", "Switzerland"),
    ("Lyon", "69001", "France"),
    ("Leeds", "LS1 1UR", "UK"),
]


@dataclass(frozen=True)
class Person:
    """Somebody as a CRM would know them; '' where nothing is known. first_seen and last_seen in UTC."""

    first_name: str
    last_name: str
    email: str
    first_seen: datetime
    last_seen: datetime
    company: str = "Unknown"
    title: str = ""
    phone: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = ""
    salutation: str = ""
    mobile: str = ""
    industry: str = ""
    revenue: str = ""
    employees: str = ""
    lead_source: str = ""
    rating: str = ""
    status: str = ""
    has_opted_out: bool = False


def make_people(count: int, seed: int, until: datetime) -> Iterator[Person]:
    """The same seed makes the same people. They were first seen within the two years before `until`."""
    dice, more = random.Random(seed), random.Random(f"{seed} more")
    for number in range(count):
        first, last, company = dice.choice(_FIRST), dice.choice(_LAST), dice.choice(_COMPANY)
        seen = until - timedelta(days=dice.uniform(20, 700), seconds=number % 60)
        city, postal_code, country = dice.choice(_CITIES)
        ascii_name = f"{first}.{last}".lower().replace("'", "").replace("ø", "o").encode("ascii", "ignore").decode()
        yield Person(
            first, last, f"{ascii_name}{number}@{company.lower()}.example", seen.replace(microsecond=0), (seen + timedelta(days=1)).replace(microsecond=0),
            f"{company} {dice.choice(_KIND)}", dice.choice(_TITLES), f"+49 30 {dice.randrange(10**6, 10**7)}" if dice.random() < 0.7 else "",
            city if dice.random() < 0.6 else "", postal_code, country,
            more.choice(("", "", *SALUTATIONS)), f"+49 170 {more.randrange(10**6, 10**7)}" if more.random() < 0.3 else "", more.choice(("", *INDUSTRIES)),
            more.choice(("", f"{more.randrange(1, 90)}00000")), more.choice(("", str(more.randrange(1, 3000)))), more.choice(("", *LEAD_SOURCES)),
            more.choice(("", *RATINGS)), more.choice(STATUSES), more.random() < 0.04,
        )  # fmt: skip


def read_people(path: Path, until: datetime) -> Iterator[Person]:
    """A CSV with the columns name and email, and first_seen and last_seen where known; other columns do not matter."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"name", "email"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} has no column {' and '.join(sorted(missing))}")
        for number, row in enumerate(reader):
            first, _, last = (row["name"] or "").strip().rpartition(" ")
            start = _moment(row.get("first_seen")) or until - timedelta(days=400, seconds=-number)
            end = _moment(row.get("last_seen")) or start
            yield Person(first, last or "Unknown", row["email"] or "", min(start, until), min(max(start, end), until))


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Values that break careless software. Each is a person of every generated world.
NASTY = [
    ('Anna "the Boss"', "O'Connor, Jr.", "nasty.quotes@acme.example"),
    ("Line\nBreak", "Carriage\r\nReturn", "nasty.newline@acme.example"),
    ("😀 Emoji 👩‍👩‍👧", "Zero\u200bWidth", "nasty.emoji@acme.example"),
    ("مرحبا", "שלום", "nasty.rtl@acme.example"),
    ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "nasty.script@acme.example"),
    ('=HYPERLINK("http://evil.example","x")', "+1+1", "nasty.formula@acme.example"),
    ("Long", "x" * 32_768, "nasty.long@acme.example"),
    ("Back\\slash", "Tab\there", "nasty.backslash@acme.example"),
    ("No", "Mail", "not an e-mail"),
    ("Two", "Mails", "a@acme.example; b@acme.example"),
    ("Angle", "Brackets", "Angle <angle@acme.example>"),
    ("Space", "Around", " \u00a0Space.Around@Acme.example\u200b "),
]
