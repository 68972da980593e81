"""Whose word counts for a name: the proxy's header, said once, by the proxy."""

import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.datastructures import Headers

from review.access import Entrance, TwoNames
from tests.desk.portal import Visitor, served

HEADER = "X-Forwarded-User"


def ask(address: str, headers: list[tuple[str, str]], path: str = "/findings") -> tuple[int, str]:
    """A request with exactly these headers, also twice the same."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.putrequest("GET", path)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    "headers",
    [
        [(HEADER, "mallory"), (HEADER, "ann")],
        [(HEADER, "ann"), (HEADER, "ann")],
        [("x-forwarded-user", "mallory"), ("X-FORWARDED-USER", "ann")],
        [(HEADER, "mallory, ann")],
        [(HEADER, ""), (HEADER, "ann")],
        [(HEADER, "ann"), (HEADER, "")],
        [("X_Forwarded_User", "mallory"), (HEADER, "ann")],
        [("X-Forwarded_User", "mallory")],
    ],
)
@pytest.mark.parametrize("path", ["/findings", "/health"])
def test_two_names_are_refused_and_none_of_them_is_taken(home: Path, headers: list[tuple[str, str]], path: str) -> None:
    with served(home, user_header=HEADER) as address:
        status, page = ask(address, headers, path)
        assert status == 400
        assert "mallory" not in page and "ann" not in page.lower().replace("cannot", "")
        if path == "/findings":
            assert "The proxy names more than one person" in page


def test_an_empty_header_is_nobody(home: Path) -> None:
    with served(home, user_header=HEADER) as address:
        assert ask(address, [(HEADER, "")])[0] == 401
        assert ask(address, [(HEADER, " \t ")])[0] == 401
        assert ask(address, [(HEADER, "ann")])[0] == 200


def test_from_somebody_who_is_not_the_proxy_the_header_means_nothing_however_often(home: Path) -> None:
    with served(home, user_header=HEADER, proxies=("192.0.2.1",)) as address:
        assert ask(address, [(HEADER, "mallory"), (HEADER, "ann")])[0] == 401
        assert ask(address, [(HEADER, "ann")])[0] == 401


@pytest.mark.parametrize(
    ("proxies", "client", "is_believed"),
    [
        (("10.0.0.1",), "::ffff:10.0.0.1", True),
        (("10.0.0.0/8",), "::ffff:10.9.9.9", True),
        (("10.0.0.0/8",), "::ffff:11.0.0.1", False),
        (("::ffff:10.0.0.1",), "10.0.0.1", True),
        (("::ffff:10.0.0.0/104",), "10.1.2.3", True),
        (("::ffff:10.0.0.0/104",), "::ffff:10.1.2.3", True),
        (("2001:db8::/32",), "2001:db8::1%eth0", True),
        (("10.0.0.1",), "::10.0.0.1", False),
        (("10.0.0.1",), "64:ff9b::10.0.0.1", False),
        (("10.0.0.1",), "rubbish", False),
        (("10.0.0.1",), None, False),
    ],
)
def test_a_proxy_is_known_in_every_way_its_address_is_written(proxies: tuple[str, ...], client: str | None, is_believed: bool) -> None:
    entrance = Entrance(user_header=HEADER, proxies=proxies)
    assert entrance.name_from_proxy(client, Headers({HEADER: "ann"})) == ("ann" if is_believed else None)


def test_on_a_socket_for_both_kinds_of_addresses_the_proxy_is_known(home: Path) -> None:
    with served(home, listen="::", host="::", user_header=HEADER) as address:
        assert Visitor(address, **{HEADER: "ann"}).open("/findings").status == 200


def test_two_names_are_an_error_of_the_proxy() -> None:
    entrance = Entrance(user_header=HEADER)
    with pytest.raises(TwoNames):
        entrance.name_from_proxy("127.0.0.1", Headers(raw=[(b"x-forwarded-user", b"mallory"), (b"x-forwarded-user", b"ann")]))


@pytest.mark.parametrize(
    ("told", "client"),
    [("", "127.0.0.1"), ("198.51.100.7", "198.51.100.7"), ("1.2.3.4, 198.51.100.7", "198.51.100.7"), ("198.51.100.7, 127.0.0.1", "198.51.100.7"),
     ("rubbish", "127.0.0.1"), ("::ffff:198.51.100.7", "198.51.100.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")],
)  # fmt: skip
def test_of_the_addresses_that_are_told_only_what_the_proxy_appended_counts(told: str, client: str) -> None:
    assert Entrance().client_behind("127.0.0.1", Headers({"X-Forwarded-For": told})) == client
    assert Entrance().client_behind("203.0.113.9", Headers({"X-Forwarded-For": told})) == "203.0.113.9"
