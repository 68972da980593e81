"""Requests that are sent in part, or not at all: they end, and keep out nobody."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from review import patient_server
from tests.crm import BOUND, RIVAL
from tests.desk.portal import Page, Visitor, served

HEAD = b"POST /plans HTTP/1.1\r\nHost: localhost\r\n"
HALF_SENT = {
    "nothing": (b"", b""),
    "a head in single bytes": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a"),
    "a head in lines": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n"),
    "empty lines": (b"\r\n", b"\r\n"),
    "a body that never comes": (HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100\r\n\r\n", b""),
    "a body in single bytes": (HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n", b"a"),
    "a form that never comes": (HEAD + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\n", b"a=b&"),
    "a body of a page": (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b"a"),
    "chunks without end": (HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "a chunk that never ends": (HEAD + b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n", b"a"),
    "chunks after the answer": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"ffff\r\n" + b"a" * 65535 + b"\r\n"),
    "an expected go-ahead": (HEAD + b"Content-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", b""),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("HEAD_SECONDS", 1.0), ("BODY_SECONDS", 1.0), ("REST_SECONDS", 0.5), ("READ_SECONDS", 1.0), ("_LOOK_SECONDS", 0.1)):
        monkeypatch.setattr(patient_server, name, seconds)


def connect(address: str) -> socket.socket:
    connection = socket.create_connection((urlsplit(address).hostname, urlsplit(address).port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def seconds_open(connection: socket.socket, more: bytes, most: float = 8) -> float:
    """How long the desk kept it, while more of it came every now and then."""
    started = time.monotonic()
    connection.settimeout(0.05)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - started < most:
            with contextlib.suppress(TimeoutError):
                if more:
                    connection.sendall(more)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    break
    return time.monotonic() - started


@pytest.mark.parametrize("name", HALF_SENT)
def test_half_a_request_is_closed(home: Path, name: str) -> None:
    begin, more = HALF_SENT[name]
    with served(home) as address, connect(address) as connection:
        connection.sendall(begin)
        assert seconds_open(connection, more) < 5
        assert Visitor(address).open("/health").status == 200


@pytest.mark.parametrize("length", [str(10**9), str(10**15)])
def test_a_body_that_announces_too_much_is_refused_before_it_comes(home: Path, length: str) -> None:
    with served(home) as address, connect(address) as connection:
        connection.sendall(HEAD + f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_who_does_not_read_the_answer_is_let_go(home: Path) -> None:
    with served(home) as address, connect(address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /static/desk.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.settimeout(0.2)
        started = time.monotonic()
        closed = False
        while time.monotonic() - started < 15 and not closed:
            try:
                connection.sendall(request * 20)
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True
        assert closed


@contextlib.contextmanager
def crowd(address: str, begin: bytes, number: int) -> Iterator[list[socket.socket]]:
    connections = []
    for _ in range(number):
        connection = connect(address)
        with contextlib.suppress(ConnectionError):
            connection.sendall(begin)
        connections.append(connection)
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("name", ["nothing", "a head in lines", "a body that never comes", "a form that never comes"])
def test_however_many_send_half_a_request_others_are_served(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_server, "MOST_CONNECTIONS", 20)
    monkeypatch.setattr(patient_server, "HEAD_SECONDS", 60.0)
    monkeypatch.setattr(patient_server, "BODY_SECONDS", 60.0)
    with served(home) as address:
        ann = Visitor(address)
        ann.open("/rules")
        with crowd(address, HALF_SENT[name][0], 60) as connections:
            for _ in range(3):
                started = time.monotonic()
                assert Visitor(address).open("/findings").status == 200
                assert ann.open("/findings").status == 200
                assert time.monotonic() - started < 5
            still_open = 0
            for connection in connections:
                connection.settimeout(0.02)
                try:
                    still_open += connection.recv(1) != b""
                except TimeoutError:
                    still_open += 1
                except ConnectionError:
                    pass
            assert still_open <= 20


def test_an_honest_upload_over_a_slow_line_arrives(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any of the limits, but steadily."""
    monkeypatch.setattr(patient_server, "SLOWEST", 8 * 1024)
    plan = b"master_id,loser_id,note\n" + f"{BOUND},{RIVAL},{'x' * 80}\n".encode() * 600
    with served(home) as address:
        ann = Visitor(address)
        token = ann.open("/rules").values("//input[@name='form_token']/@value")[0]

        def body() -> Iterator[bytes]:
            yield f'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n{token}\r\n'.encode()
            yield b'--b\r\nContent-Disposition: form-data; name="plan"; filename="plan.csv"\r\nContent-Type: text/csv\r\n\r\n'
            for place in range(0, len(plan), 3000):
                time.sleep(0.15)  # 20 kB a second
                yield plan[place : place + 3000]
            yield b"\r\n--b--\r\n"

        started = time.monotonic()
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        page = Page(ann.session.post(f"{address}/plans", data=body(), headers=headers, timeout=60))
        assert page.status == 200 and "599 invalid, 1 safe" in page.text
        assert time.monotonic() - started > 3


def test_a_page_that_takes_long_is_not_cut_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from review.desk_data import overview

    def slow(*arguments: object) -> object:
        time.sleep(3)
        return overview(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("review.pages.overview", slow)
    with served(home) as address:
        others = [threading.Thread(target=Visitor(address).open) for _ in range(2)]
        for other in others:
            other.start()
        started = time.monotonic()
        assert Visitor(address).open("/health").status == 200
        assert time.monotonic() - started < 1.5, "others are served meanwhile"
        assert Visitor(address).open("/").texts("//h1") == ["Unsafe"]


def test_who_is_cut_off_when_the_desk_ends_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    asked = threading.Event()

    async def never_answers(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await asyncio.sleep(60)

    desk = patient_server.make_server(never_answers, timeout_graceful_shutdown=1)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=desk.run, args=([listener],), daemon=True)
    thread.start()
    with socket.create_connection(listener.getsockname()) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asked.wait(10)
        desk.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
    assert not [record for record in caplog.records if record.exc_info]
