"""What stands around Bindwatch in a company: proxies, files with passwords for other programs."""

import gc
import importlib
import json
import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from assets.policy import Pull
from assets.problems import PullProblem
from assets.process import imported_for_good, settle
from assets.pull.hubspot_portal import HubSpotAccess, Portal
from assets.pull.proxies import UNKNOWN_USER, proxy_for
from assets.pull.salesforce_org import Org
from pipelines.alerts import send_test
from sandbox.server import SandboxServer
from tests.live import served, story_of
from tests.proxy import Proxy, running_proxy
from tests.pulls import access_to, pull

PASSWORD = "p@ss/w:rd"
WRITTEN = "ann:p%40ss%2Fw%3Ard"  # as it stands in a URL


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with served(story_of(20), tmp_path_factory.mktemp("sandbox")) as server:
        yield server


def portal_of(server: SandboxServer, host: str = "127.0.0.1") -> Portal:
    address = server.environment["HUBSPOT_BASE_URL"].replace("127.0.0.1", host)
    return Portal(HubSpotAccess(server.environment["HUBSPOT_ACCESS_TOKEN"], address, patience_seconds=1), Pull())


def via(monkeypatch: pytest.MonkeyPatch, proxy: Proxy, user: str = "", names: tuple[str, ...] = ("HTTP_PROXY", "HTTPS_PROXY")) -> None:
    for name in names:
        monkeypatch.setenv(name, proxy.url(user))


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("names", [("HTTP_PROXY", "HTTPS_PROXY"), ("http_proxy", "https_proxy"), ("ALL_PROXY",)], ids=" ".join)
def test_both_crms_are_reached_through_the_proxy_with_its_password(server: SandboxServer, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    with running_proxy(f"ann:{PASSWORD}") as proxy:
        via(monkeypatch, proxy, WRITTEN, names)
        proxy.leads_to["crm.invalid"] = int(server.environment["HUBSPOT_BASE_URL"].rsplit(":", 1)[1])
        assert portal_of(server, "crm.invalid").count() > 0
        assert Org(access_to(server)).describe("Lead")
    assert any(line.startswith("GET http://crm.invalid") for line in proxy.asked)
    assert any(line.startswith("CONNECT 127.0.0.1") for line in proxy.asked)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("M%C3%BCller:gr%C3%BC%C3%9Fe%E2%82%AC", "Müller:grüße€".encode()),
        ("Müller:grüße€", "Müller:grüße€".encode()),
        ("M%FCller:gr%FC%DFe", b"M\xfcller:gr\xfc\xdfe"),
    ],
)
def test_the_proxy_gets_a_password_in_the_bytes_that_were_written(server: SandboxServer, monkeypatch: pytest.MonkeyPatch, written: str, sent: bytes) -> None:
    with running_proxy(sent) as proxy:
        via(monkeypatch, proxy, written)
        assert proxy_for(server.environment["HUBSPOT_BASE_URL"]).objection is None  # type: ignore[union-attr]
        assert portal_of(server).count() > 0
        assert Org(access_to(server)).describe("Lead")


def portal_over_tls(server: SandboxServer) -> Portal:
    """A portal at an encrypted address, as HubSpot's own is. Behind it is the Salesforce of the sandbox, which knows no HubSpot."""
    return Portal(HubSpotAccess("pat", server.environment["SALESFORCE_INSTANCE_URL"], server.environment["SSL_CERT_FILE"], patience_seconds=1), Pull())


def test_an_encrypted_connection_to_hubspot_is_made_through_the_proxy_with_its_password(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_proxy(f"ann:{PASSWORD}") as proxy:
        via(monkeypatch, proxy, WRITTEN)
        with pytest.raises(PullProblem, match="does not know the API"):
            portal_over_tls(server).count()
    assert [line.split(" ")[0] for line in proxy.asked] == ["CONNECT"]
    assert not any("pat" in line for line in proxy.headers)


def test_a_whole_pull_comes_through_the_proxy(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_proxy(f"ann:{PASSWORD}") as proxy:
        via(monkeypatch, proxy, WRITTEN)
        assert pull(tmp_path / "home", server) is None
    assert {line.split(" ")[0] for line in proxy.asked} == {"CONNECT", "GET", "POST"}


@pytest.mark.parametrize("exempt", ["127.0.0.1", "localhost,127.0.0.0/8", "*"])
def test_who_stands_in_no_proxy_is_reached_without_one(server: SandboxServer, monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    with running_proxy() as proxy:
        via(monkeypatch, proxy)
        monkeypatch.setenv("NO_PROXY", exempt)
        assert portal_of(server).count() > 0
        assert Org(access_to(server)).describe("Lead")
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("status", "words"), [(UNKNOWN_USER, ["answered 407", "user and password", "HTTP"]), (403, ["answered 403", "let this machine reach 127.0.0.1"])]
)
def test_a_proxy_that_refuses_is_named_at_once_and_its_password_is_not(
    server: SandboxServer, monkeypatch: pytest.MonkeyPatch, status: int, words: list[str]
) -> None:
    with running_proxy(refuses=status) as proxy:
        via(monkeypatch, proxy, WRITTEN)
        began = time.monotonic()
        refused = []
        for ask in (lambda: portal_over_tls(server).count(), lambda: Org(access_to(server))):
            with pytest.raises(PullProblem) as raised:
                ask()
            refused.append(str(raised.value))
        if status == UNKNOWN_USER:  # of an address without encryption, any other refusal may be the CRM's own
            with pytest.raises(PullProblem) as raised:
                portal_of(server).count()
            refused.append(str(raised.value))
    assert time.monotonic() - began < 10
    assert len(proxy.asked) == len(refused)
    for text in refused:
        assert all(word in text for word in [*words, f"the proxy 127.0.0.1:{proxy.port} (HTTP"])
        assert "p%40ss" not in text
        assert PASSWORD not in text


def test_a_proxy_that_does_not_answer_is_named(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1:9")
    for ask in (lambda: portal_of(server).count(), lambda: Org(access_to(server, patience_seconds=1))):
        with pytest.raises(PullProblem, match=r"the proxy 127\.0\.0\.1:9 \(HTTPS?_PROXY\) does not answer"):
            ask()


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({"HTTPS_PROXY": "http://a:1"}, "https://x.example", ("HTTPS_PROXY", "http://a:1")),
        ({"HTTPS_PROXY": "http://a:1"}, "http://x.example", None),
        ({"HTTPS_PROXY": "a:1"}, "https://x.example", ("HTTPS_PROXY", "http://a:1")),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, "https://x.example", ("https_proxy", "http://b:2")),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": ""}, "https://x.example", None),
        ({"ALL_PROXY": "http://a:1"}, "https://x.example", ("ALL_PROXY", "http://a:1")),
        ({"HTTPS_PROXY": "http://a:1", "ALL_PROXY": "socks5://b:2"}, "https://x.example", ("HTTPS_PROXY", "http://a:1")),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "other.example, .example"}, "https://x.example", None),
        ({"HTTPS_PROXY": "http://a:1", "no_proxy": "y.example"}, "https://x.example", ("HTTPS_PROXY", "http://a:1")),
    ],
)
def test_the_proxy_of_an_address_follows_the_rules_that_other_programs_follow(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: tuple[str, str] | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(url)
    assert (proxy and (proxy.variable, proxy.url)) == expected


@pytest.mark.parametrize("written", ["*.x.example", "y.example *.x.example", "y.example;api.x.example", "y.example, *", " .x.example\r\n", "*.X.example"])
def test_no_proxy_is_read_as_other_programs_write_it(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://a:1")
    monkeypatch.setenv("NO_PROXY", written)
    settle()
    assert proxy_for("https://api.x.example") is None
    assert written.endswith("*") or proxy_for("https://apix.example") is not None


# ── .netrc, and alerts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Webhook(BaseHTTPRequestHandler):
    headers_seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.headers_seen.append(dict(self.headers))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    seen: list[dict[str, str]] = []
    handler = type("Webhook", (_Webhook,), {"headers_seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/hook", seen
        server.shutdown()


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login git password another-secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))


@pytest.mark.usefixtures("netrc")
def test_a_netrc_replaces_no_token(server: SandboxServer) -> None:
    assert portal_of(server).count() > 0
    assert Org(access_to(server)).describe("Lead")  # asks for a token first


@pytest.mark.usefixtures("netrc")
def test_a_netrc_is_not_told_to_whom_an_alert_goes(webhook: tuple[str, list[dict[str, str]]]) -> None:
    url, seen = webhook
    settle()
    assert send_test([url]) == []
    assert "Authorization" not in seen[0]
    assert "another-secret" not in json.dumps(seen)


def test_an_alert_goes_through_the_proxy_and_not_where_no_proxy_says(webhook: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, seen = webhook
    with running_proxy(f"ann:{PASSWORD}") as proxy:
        via(monkeypatch, proxy, WRITTEN)
        assert send_test([url]) == []
        assert len(proxy.asked) == 1
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert send_test([url]) == []
        assert len(proxy.asked) == 1
    assert len(seen) == 2


# ── libraries ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_imported_for_good_is_set_aside_from_the_garbage_collector_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large_library.py").write_text("import gc\nwas_collecting, kept = gc.isenabled(), [[number] for number in range(1000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    gc.unfreeze()
    try:
        with imported_for_good():
            library = importlib.import_module("large_library")
        assert (library.was_collecting, gc.isenabled()) == (False, True)
        assert not any(one is library.kept for one in gc.get_objects())
        frozen = gc.get_freeze_count()
        later = [[]]  # type: ignore[var-annotated]
        with imported_for_good():
            importlib.import_module("large_library")
        assert gc.get_freeze_count() <= frozen
        assert any(one is later for one in gc.get_objects())
    finally:
        gc.unfreeze()
