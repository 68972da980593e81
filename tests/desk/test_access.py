"""Who may use the desk, and that nothing from the CRMs, from other pages or from odd requests does harm."""

import logging
import os
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from assets.problems import ConfigurationProblem
from assets.published.decisions import DecisionStore
from assets.published.worklist import STATUSES, Filter, Worklist
from review.access import SECURITY_HEADERS, Entrance
from tests.crm import BOUND, Crm, day, duplicates, lead_id
from tests.desk.portal import EVIL, Visitor, Worlds, fingerprint, publish, served, troubled
from tests.homes import copy_of

ROOT = Path(__file__).parent.parent.parent
TOKEN = "a-secret-of-some-length"
GET_PATHS = (
    "/", "/findings", "/rules", "/name", "/plans", "/damage", "/damage.html",
    "/export/worklist.csv", "/export/cases.xlsx", "/export/run-book.csv", "/export/merges.csv", "/export/restore.zip", "/what-if", "/plans/x", "/what-if/x",
)  # fmt: skip
POST_PATHS = ("/findings", "/decisions", "/plans", "/plans/x/keep", "/plans/x/again", "/what-if", "/name", "/language", "/login", "/logout")


def first_fingerprint(home: Path) -> str:
    return fingerprint(home, "unsafe_duplicate")


# ── who may come in ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "desk.example"])
def test_the_desk_is_not_opened_to_a_network_without_a_token_or_a_proxy(host: str) -> None:
    with pytest.raises(ConfigurationProblem, match="BINDWATCH_DESK_TOKEN"):
        Entrance(host=host)
    Entrance(host=host, token=TOKEN)
    Entrance(host=host, user_header="X-Forwarded-User")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"token": "short"}, "DESK_TOKEN is too short"),
        ({"user_header": "X User:"}, "DESK_USER_HEADER"),
        ({"user_header": "X", "proxies": ("me",)}, "DESK_PROXIES"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationProblem, match=named):
        Entrance(**wrong)


@pytest.fixture(scope="module")
def guarded(worlds: Worlds) -> Iterator[str]:
    with served(worlds.shown(worlds.home(troubled)), token=TOKEN) as address:
        yield address


@pytest.mark.parametrize("path", GET_PATHS)
def test_with_a_token_nothing_is_shown_to_who_does_not_know_it(guarded: str, path: str) -> None:
    visitor = Visitor(guarded)
    page = visitor.open(path)
    assert page.texts("//h1") == ["Log in"]
    assert "unsafe_duplicate" not in page.answer.text
    assert visitor.open(path, Authorization="Bearer wrong").texts("//h1") == ["Log in"]
    assert requests.get(guarded + path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20).status_code == 200


def test_a_token_is_given_once_and_a_new_one_ends_all_sessions(home: Path) -> None:
    def log_in(visitor: Visitor, token: str) -> list[str]:
        form = visitor.open("/login").values("//input[@name='form_token']/@value")[0]
        return visitor.send("/login", {"token": token, "next": "/findings"}, token=form).texts("//h1")

    with served(home, token=TOKEN) as address:
        visitor = Visitor(address)
        assert log_in(visitor, "wrong") == ["Log in"]
        assert (
            "That is not the token."
            in visitor.send("/login", {"token": "x"}, token=visitor.open("/login").values("//input[@name='form_token']/@value")[0]).text
        )
        assert log_in(visitor, TOKEN) == ["Findings"]
        assert visitor.open("/").texts("//h1") == ["Unsafe"]
    with served(home, token=TOKEN[::-1]) as address:
        visitor.address = address
        assert visitor.open("/").texts("//h1") == ["Log in"]
    with served(home, token=TOKEN) as address:
        visitor.address = address
        visitor.send("/logout", {})
        assert visitor.open("/").texts("//h1") == ["Log in"]


def test_a_decision_is_refused_without_the_token(home: Path) -> None:
    with served(home, token=TOKEN) as address:
        visitor = Visitor(address)
        form = visitor.open("/login").values("//input[@name='form_token']/@value")[0]
        assert visitor.send("/decisions", {"action": "acknowledge", "finding": first_fingerprint(home), "user": "X"}, token=form).status == 401
    assert DecisionStore(home).read() == []


def test_a_trusted_proxy_says_who_somebody_is(home: Path) -> None:
    with served(home, user_header="X-Forwarded-User") as address:
        assert Visitor(address).open("/findings").status == 401
        ann = Visitor(address, **{"X-Forwarded-User": "ann"})
        assert "ann" in ann.open("/findings").texts("//div[@class='who']/span")
        ann.decide(first_fingerprint(home), "acknowledge", user="mallory")
    assert [row["decided_by"] for row in DecisionStore(home).read()] == ["ann"]


@pytest.mark.parametrize(
    ("sent", "name"),
    [("jürgen".encode(), "jürgen"), ("Łukasz Żółw".encode(), "Łukasz Żółw"), ("山田 太郎".encode(), "山田 太郎"), ("jürgen".encode("latin-1"), "jürgen")],
)
def test_the_proxy_may_name_people_as_they_are_called(home: Path, sent: bytes, name: str) -> None:
    with served(home, user_header="X-Forwarded-User") as address:
        visitor = Visitor(address)
        visitor.session.headers["X-Forwarded-User"] = sent
        assert name in visitor.open("/findings").texts("//div[@class='who']/span")
        visitor.decide(first_fingerprint(home), "acknowledge")
    assert [row["decided_by"] for row in DecisionStore(home).read()] == [name]


def test_a_token_with_an_umlaut_is_the_same_in_a_header_as_in_a_form(home: Path) -> None:
    token = "ein-Schlüssel-für-alle"
    with served(home, token=token) as address:
        assert requests.get(address, headers={"Authorization": f"Bearer {token}".encode()}, timeout=20).text.count("unsafe_duplicate")


def test_anybody_else_says_it_in_vain(home: Path) -> None:
    with served(home, user_header="X-Forwarded-User", proxies=("192.0.2.0/24",)) as address:
        assert Visitor(address, **{"X-Forwarded-User": "ann"}).open("/findings").status == 401
    with served(home) as address:
        assert Visitor(address, **{"X-Forwarded-User": "ann"}).open("/findings").document.xpath("//input[@name='user']"), "no header is configured"


def test_a_page_elsewhere_cannot_read_the_desk_through_a_name_of_its_own(home: Path) -> None:
    with served(home, desk_url="https://desk.example:8443/") as address:
        for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil", "desk.example.evil"):
            assert Visitor(address).open("/findings", Host=host).status in (400, 421), host
        for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "desk.example"):
            assert Visitor(address).open("/findings", Host=host).status == 200, host


# ── forms ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", POST_PATHS)
@pytest.mark.parametrize("token", ["", "forged", "ünïcode"])
def test_a_form_without_the_token_of_the_session_is_refused(shown: Path, reader: Visitor, path: str, token: str) -> None:
    reader.open("/findings")
    fields = {"action": "acknowledge", "finding": first_fingerprint(shown), "user": "X", "language": "de"}
    assert reader.send(path, fields, token=token).status == 403
    assert DecisionStore(shown).read() == []


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
def test_a_form_from_another_page_is_refused_even_with_a_token(shown: Path, reader: Visitor, headers: dict[str, Any]) -> None:
    page = reader.send("/decisions", {"action": "acknowledge", "finding": first_fingerprint(shown), "user": "X"}, **headers)
    assert page.status == 403
    assert DecisionStore(shown).read() == []


def test_a_form_through_a_proxy_under_the_public_name_is_taken() -> None:
    entrance = Entrance(desk_url="https://desk.example")
    for origin, is_own in (("https://desk.example", True), ("http://127.0.0.1:8000", True), ("https://evil.example", False), ("null", False)):
        assert entrance.is_own_form(Headers({"Host": "127.0.0.1:8000", "Origin": origin})) == is_own, origin


def test_a_form_that_is_too_large_is_refused(reader: Visitor) -> None:
    assert reader.send("/decisions", {"reason": "x" * 600_000}).status in (400, 413)
    assert reader.send("/decisions", {"finding": [str(number) for number in range(5000)]}).status == 400


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [*GET_PATHS, "/nothing", "/static/desk.css", "/findings?check=nonsense", "/health"])
def test_every_answer_carries_the_security_headers(reader: Visitor, path: str) -> None:
    headers = reader.open(path).answer.headers
    for name, value in SECURITY_HEADERS.items():
        assert headers[name] == value, name
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert path.startswith("/static/") or headers["Cache-Control"] == "no-store"


def test_the_cookie_is_for_this_desk_alone(reader: Visitor) -> None:
    cookie = reader.open().answer.headers["Set-Cookie"]
    assert "httponly" in cookie.lower() and "samesite=lax" in cookie.lower()


def test_pages_load_nothing_from_elsewhere_and_hold_no_script_or_style_of_their_own(shown: Path, reader: Visitor) -> None:
    for path in ("/", "/findings", f"/findings/{first_fingerprint(shown)}", "/rules"):
        page = reader.open(path)
        for address in page.values("//script/@src | //link/@href | //img/@src | //form/@action"):
            assert address.startswith("/") and not address.startswith("//"), address
        assert not page.document.xpath("//script[not(@src)] | //style | //*[@style] | //*[@onclick] | //iframe")


def test_what_comes_from_the_crms_is_shown_as_text(home: Path, ann: Visitor) -> None:
    crm = duplicates(rival_fields={"Title": f'"><img src=x onerror=alert(1)>{EVIL}', "Phone": "{{ 7 * 7 }}"})
    crm.lead(3, name=EVIL, email="x@example.com")
    crm.lead(4, name=f"{EVIL} \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), email="x@example.com")
    crm.contact(
        bound=BOUND, properties={"jobtitle": "javascript:alert(1)", "firstname": EVIL, "lastname": "\u202eevil\u0000".replace("\u0000", "")}, synced=day(12)
    )
    publish(crm, home)
    for row in Worklist(home, DecisionStore(home)).find(Filter(statuses=STATUSES)):
        page = ann.open(f"/findings/{row['fingerprint']}")
        assert page.status == 200
        assert not page.document.xpath("//script[not(@src)] | //img[@onerror]")
        assert "{{ 7 * 7 }}" in page.text or row["check_name"] != "unsafe_duplicate"
    page = ann.open("/findings")
    assert EVIL in page.text
    assert not page.document.xpath("//script[not(@src)]")


def test_no_link_of_the_desk_is_a_script(home: Path, ann: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.crm.INSTANCE", "javascript:alert(1)//")
    crm = duplicates(rival_fields={"Title": "x"})
    crm.contact(bound=BOUND, properties={"jobtitle": "y"}, synced=day(12))
    publish(crm, home)
    page = ann.open(f"/findings/{first_fingerprint(home)}")
    assert page.status == 200
    assert not [link for link in page.values("//a/@href") if not link.startswith(("/", "#", "https://"))]


def test_e_mails_are_masked_as_the_policy_says(home: Path) -> None:
    crm = duplicates(rival_fields={"Title": "write to ann.private@example.com"})
    crm.contact(bound=BOUND, properties={"jobtitle": "CEO"}, additional="second@example.com", synced=day(12))
    crm.history("101", "email", (day(12), "ann@example.com", "FORM"))
    publish(crm, home)
    path = f"/findings/{first_fingerprint(home)}"
    with served(home) as address:
        for page in (Visitor(address).open(path), Visitor(address).open("/findings"), Visitor(address).open("/")):
            for email in ("ann@example.com", "ann.private@example.com", "second@example.com"):
                assert email not in page.answer.text
        assert "a***@example.com" in Visitor(address).open(path).text
    with served(home, mask_emails=False) as address:
        assert "ann.private@example.com" in Visitor(address).open(path).text


def test_the_log_has_neither_e_mails_nor_queries_nor_names(home: Path, ann: Visitor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ann.send("/findings", {"text": "ann@example.com"})
        ann.open("/findings?text=ann@example.com&owner=Secret")
        ann.open("/findings/ann@example.com")
        ann.decide(first_fingerprint(home), "waive", reason="because ann@example.com", until="2099-01-01", user="Ann Secret")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("bindwatch")]
    assert any("POST '/decisions' 303" in line for line in lines)
    for word in ("example.com", "Secret", "text="):
        assert not [line for line in lines if word in line], word


def test_a_bug_is_said_without_its_details(home: Path, ann: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is tulip")

    monkeypatch.setattr("review.pages.overview", fail)
    page = ann.open("/")
    assert page.status == 500
    assert "This is a bug in Bindwatch." in page.text and "tulip" not in page.answer.text
    assert page.answer.headers["Content-Security-Policy"] == SECURITY_HEADERS["Content-Security-Policy"]


def test_a_bug_reaches_no_log_in_the_words_of_a_library(home: Path, ann: Visitor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
                                                         caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    def fail(*_: object) -> None:
        raise ValueError("could not convert 'ann.private@example.com' of Ann Private: value: tulip")

    for place, path in (("review.pages.overview", "/"), ("review.access.Gatekeeper._judge", "/rules"), ("review.site.form_token", "/name")):
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            assert ann.session.get(ann.address + path, timeout=20).status_code == 500
    spoken = caplog.text + "".join(capfd.readouterr())
    assert "review/pages.py" in spoken and "ValueError" in spoken, "where it was is said"
    for word in ("ann.private", "Ann Private", "tulip", "Traceback", "in ASGI application"):
        assert word not in spoken, word


# ── odd requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def fuzzed(worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(copy_of(worlds.home(troubled), tmp_path_factory.mktemp("fuzzed") / "home")) as address:
        yield address


odd_text = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["'", '"', "\x00", "%", "../", "${7*7}", "{{7*7}}", "a@b.c", "9" * 30, "-1", "1e9", "\ud800", "2026-13-45", "all", "-", ","]),
)
names = st.sampled_from(["check", "suite", "severity", "status", "owner", "object", "new", "since", "id", "text", "person", "page", "next", "action", "finding",
                         "all", "filter", "user", "reason", "until", "nobody", "token", "language", "form_token", "x"])  # fmt: skip
fields = st.lists(st.tuples(names, odd_text), max_size=6)
paths = st.one_of(
    st.sampled_from([*GET_PATHS, *POST_PATHS, "/health", "/static/desk.css"]),
    odd_text.map(lambda text: "/findings/" + urllib.parse.quote(text, errors="surrogatepass")),
    odd_text.map(lambda text: "/static/" + urllib.parse.quote(text, errors="surrogatepass")),
    odd_text.map(lambda text: "/" + urllib.parse.quote(text, errors="surrogatepass")),
)


def encoded(pairs: list[tuple[str, str]]) -> bytes:
    return "&".join(f"{name}={urllib.parse.quote_from_bytes(value.encode('utf-8', 'surrogatepass'))}" for name, value in pairs).encode()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths, pairs=fields, method=st.sampled_from(["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]))
def test_no_address_makes_the_desk_stumble(fuzzed: str, path: str, pairs: list[tuple[str, str]], method: str) -> None:
    answer = requests.request(method, f"{fuzzed}{path}?{encoded(pairs).decode()}", timeout=20, allow_redirects=False)
    assert answer.status_code < 500, answer.text


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(POST_PATHS), pairs=fields)
def test_no_form_makes_the_desk_stumble(fuzzed: str, path: str, pairs: list[tuple[str, str]]) -> None:
    session = requests.Session()
    token = Visitor(fuzzed).open("/rules")
    form = token.values("//input[@name='form_token']/@value")[0]
    session.cookies.update(token.answer.cookies)
    body = b"form_token=" + form.encode() + b"&" + encoded([(name, value) for name, value in pairs if name != "form_token"])
    answer = session.post(fuzzed + path, body, headers={"Content-Type": "application/x-www-form-urlencoded"}, timeout=20, allow_redirects=False)
    assert answer.status_code < 500, answer.text


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from([*GET_PATHS, *POST_PATHS]), body=st.binary(max_size=300),
       kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "multipart/form-data", "", "application/x-www-form-urlencoded"]),
       cookie=st.sampled_from(["", "bindwatch_desk=rubbish", "bindwatch_desk=eyJ1c2VyIjogMX0=.x.y", 'bindwatch_desk="']))  # fmt: skip
def test_no_body_and_no_cookie_makes_the_desk_stumble(fuzzed: str, path: str, body: bytes, kind: str, cookie: str) -> None:
    answer = requests.post(
        fuzzed + path, body, headers={"Content-Type": kind, "Cookie": cookie, "Accept-Language": "\xff;q=x"}, timeout=20, allow_redirects=False
    )
    assert answer.status_code < 500, answer.text


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_review(home: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", "review", *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "BINDWATCH_HOME": str(home), **environment},
    )  # fmt: skip


def test_the_command_refuses_an_open_door(home: Path) -> None:
    answer = run_review(home, "--host", "0.0.0.0", "--port", "0")
    assert answer.returncode == 2
    assert "BINDWATCH_DESK_TOKEN" in answer.stderr


def test_the_command_says_that_the_address_is_taken(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = run_review(home, "--port", str(taken.getsockname()[1]))
    assert answer.returncode == 2
    assert "--port takes another one" in answer.stderr


def test_the_command_serves_the_desk_and_ends_when_it_is_told(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipelines.cli import main; main()", "review", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "BINDWATCH_HOME": str(home), "BINDWATCH_USER": "Ops"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[3]
        visitor = Visitor(address)
        assert visitor.open("/").texts("//h1") == ["Unsafe"]
        visitor.decide(first_fingerprint(home), "acknowledge")
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert [row["decided_by"] for row in DecisionStore(home).read()] == ["Ops"]


def test_a_lost_decisions_store_is_said_and_not_a_bug(home: Path) -> None:
    (home / "decisions.sqlite").write_text("this is no database, and it is long enough to be seen as one: " * 20)
    with served(home) as address:
        page = Visitor(address).open("/findings")
        assert page.status == 200 and "Nothing can be decided" in page.text
        assert "decisions store" in page.text


def test_two_bound_contacts_of_one_record_are_both_shown(home: Path, ann: Visitor) -> None:
    crm = Crm()
    crm.contact(bound=crm.lead(1))
    crm.contact("102", bound=lead_id(1), email="bea@example.com")
    publish(crm, home)
    (row,) = Worklist(home, DecisionStore(home)).find(Filter(checks=("same_record_bound_twice",)))
    assert "Other HubSpot contacts here" in ann.open(f"/findings/{row['fingerprint']}").text
