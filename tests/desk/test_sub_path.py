"""The desk at a path of a host, https://crm.example.org/bindwatch: nothing on it leads past that path, whether the proxy passes the path on or takes it off."""

from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

import pytest
import requests

from assets.problems import ConfigurationProblem
from assets.published.decisions import DecisionStore
from review.access import Entrance
from review.app import create_app
from review.prefix import prefix_of
from review.site import Settings
from tests.desk.portal import Page, Visitor, planned, publish, served, troubled

ROOT = "/bindwatch"
TOKEN = "a-secret-of-some-length"


class Behind(Visitor):
    """A visitor of https://crm.example.org/bindwatch. How the proxy asks the desk: with the path, or without it; and with what headers."""

    def __init__(self, address: str, takes_off: bool, **headers: str) -> None:
        super().__init__(address, **headers)
        self.takes_off = takes_off

    def asked(self, path: str) -> str:
        assert path == ROOT or path.startswith(f"{ROOT}/"), f"{path} leads past the desk"
        return self.address + ((path.removeprefix(ROOT) or "/") if self.takes_off else path)

    def open(self, path: str = f"{ROOT}/", **headers: str) -> Page:
        return self._taken(requests.get(self.asked(path), headers=self._sent(headers), timeout=20, allow_redirects=False))

    def send(self, path: str, fields: dict[str, Any], token: str | None = None, follow: bool = True, **headers: str) -> Page:
        if token is None:
            token = self.open(f"{ROOT}/login" if path.endswith("/login") else f"{ROOT}/rules").values("//input[@name='form_token']/@value")[0]
        data = {"form_token": token, **fields}
        return self._taken(requests.post(self.asked(path), data, headers=self._sent(headers), timeout=20, allow_redirects=False))

    def _sent(self, headers: dict[str, str]) -> dict[str, str]:
        return {**{name: str(value) for name, value in self.session.headers.items()}, **headers}

    def _taken(self, answer: requests.Response) -> Page:
        """Keeps the cookie as a browser of that host would, which requests does not: it sees another host."""
        if (cookie := answer.headers.get("Set-Cookie")) is not None:
            assert f"path={ROOT};" in cookie, "another application on this host would get the session, too"
            self.session.headers["Cookie"] = cookie.partition(";")[0]
        return self.open(answer.headers["Location"]) if answer.is_redirect else Page(answer)

    def links(self, page: Page) -> list[str]:
        found = page.values("//*[not(self::form)]/@href | //@src | //form/@action")
        return [link for link in found if link.startswith("/")]


WAYS = [
    pytest.param({"desk_url": "https://crm.example.org/bindwatch/"}, False, {}, id="set, passed on"),
    pytest.param({"desk_url": "https://crm.example.org/bindwatch"}, True, {}, id="set, taken off"),
    pytest.param({}, True, {"X-Forwarded-Prefix": "/bindwatch/"}, id="told, taken off"),
    pytest.param({"desk_url": "https://crm.example.org/other"}, False, {"X-Forwarded-Prefix": "/bindwatch"}, id="told, passed on"),
]


def test_every_link_and_style_on_every_page_leads_to_the_desk(home: Path) -> None:
    publish(planned(troubled()), home)
    with served(home, user="Ann", desk_url="https://crm.example.org/bindwatch") as address:
        visitor = Behind(address, takes_off=False)
        waiting, seen, for_forms_alone = [ROOT, f"{ROOT}/nothing"], set(), {f"{ROOT}/login"}
        while waiting:
            seen.add(path := waiting.pop())
            page = visitor.open(path)
            assert page.status == (404 if path.endswith("/nothing") else 200) or (path in for_forms_alone and page.status in (404, 405)), path
            if page.answer.headers["Content-Type"].startswith("text/html") and "attachment" not in page.answer.headers.get("Content-Disposition", ""):
                found = {urldefrag(link)[0] for link in visitor.links(page)}
                for_forms_alone |= set(page.values("//form[@method='post']/@action"))
                waiting += sorted(found - seen - set(waiting))
        pages = {urlsplit(path).path.removeprefix(ROOT) for path in seen}
    assert pages >= {"/", "/findings", "/plans", "/damage", "/rules", "/static/desk.css", "/static/desk.js", "/export/worklist.csv", "/damage.html"}
    assert len([path for path in pages if path.startswith("/findings/")]) >= 2


@pytest.mark.parametrize(("entrance", "takes_off", "headers"), WAYS)
def test_forms_redirects_and_the_session_stay_under_the_path(home: Path, entrance: dict[str, Any], takes_off: bool, headers: dict[str, Any]) -> None:
    with served(home, token=TOKEN, **entrance) as address:
        visitor = Behind(address, takes_off, **headers)
        locked = visitor.open(f"{ROOT}/findings")
        assert locked.texts("//h1") == ["Log in"]
        fields = {"token": TOKEN, "next": locked.values("//main//input[@name='next']/@value")[0]}
        page = visitor.send(f"{ROOT}/login", fields)
        assert page.texts("//h1") == ["Findings"]
        fingerprint = page.values("//input[@name='finding']/@value")[0]
        here = page.values("//form[@data-list]//input[@name='next']/@value")[0]
        page = visitor.send(f"{ROOT}/decisions", {"action": "acknowledge", "finding": fingerprint, "user": "Ann", "next": here})
        assert page.texts("//h1") == ["Findings"] and "1 finding acknowledged." in page.text
        assert visitor.send(f"{ROOT}/findings", {"text": "share"}).texts("//h1") == ["Findings"]
        assert visitor.send(f"{ROOT}/language", {"language": "de", "next": "/rules"}).document.get("lang") == "de"
        assert visitor.send(f"{ROOT}/logout", {}).texts("//h1") == ["Log in"]
    assert [row["action"] for row in DecisionStore(home).read()] == ["acknowledge"]


def test_a_slash_too_many_is_put_right_without_leaving_https(reader: Visitor) -> None:
    answer = reader.session.get(f"{reader.address}/findings/", timeout=20, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (307, "/findings")


@pytest.mark.parametrize("told", ["//evil.example", "/a/../b", "/x y", "/<script>", "https://evil.example", "/findings", "/bindwatch, /x", "/" + "x" * 300])
def test_a_path_that_is_none_changes_nothing(reader: Visitor, told: str) -> None:
    page = reader.open("/findings", **{"X-Forwarded-Prefix": told})
    assert page.status == 200 and "/static/desk.css" in page.values("//link/@href")


def test_only_the_proxy_says_under_which_path_the_desk_is(home: Path) -> None:
    with served(home, proxies=("192.0.2.7",)) as address:
        assert "/static/desk.css" in Visitor(address).open("/findings", **{"X-Forwarded-Prefix": "/bindwatch"}).values("//link/@href")


@pytest.mark.parametrize(
    "wrong", ["https://h/bind watch", "https://h/a//b", "https://h/bindwatch?x=1", "https://h/bindwatch#top", "https://h/../x", "https://h/findings"]
)
def test_a_desk_url_that_cannot_be_served_is_refused_in_words(home: Path, wrong: str) -> None:
    with pytest.raises(ConfigurationProblem, match=r"links\.desk_url"):
        create_app(Settings(home, lambda: DecisionStore(home), Entrance(desk_url=wrong)))


def test_the_paths_that_a_desk_url_may_have() -> None:
    assert {url: prefix_of(url, {"findings"}) for url in (None, "https://h", "https://h/", "https://h:8443/a/b-c_1.2/", "http://h/findings2")} == {
        None: "", "https://h": "", "https://h/": "", "https://h:8443/a/b-c_1.2/": "/a/b-c_1.2", "http://h/findings2": "/findings2",
    }  # fmt: skip
