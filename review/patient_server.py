"""How the desk is served: with an end to every wait for somebody who sends half a request, or reads half an answer.

Uvicorn closes connections that are quiet between two requests, and waits without end in the middle of one. Its protocol for HTTP is a class that may be
replaced; this one looks once a second at what its connection waits for.

What is waited for, and how long:
    a request, and its head     HEAD_SECONDS each, however often a byte of it comes
    its body                    BODY_SECONDS, and longer as long as it comes with SLOWEST bytes a second: the largest plan over a slow line takes an hour
    the rest of a body          REST_SECONDS after the answer: what comes then is read by nobody
    somebody who reads          READ_SECONDS without taking anything
At most MOST_CONNECTIONS are open. One more closes the one that has kept the desk waiting longest, so those who send nothing keep out nobody else.
"""

import asyncio
import logging
import socket
import struct
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10
BODY_SECONDS = 20
SLOWEST = 8 * 1024
REST_SECONDS = 5
READ_SECONDS = 60
MOST_CONNECTIONS = 200
MOST_BYTES_OF_A_HEAD = 32 * 1024
_LOOK_SECONDS = 1.0


class PatientProtocol(H11Protocol):
    """A connection, and what it waits for: the next request (idle), the rest of its head, its body, the desk, a body that nobody reads (rest), or somebody
    who reads the answer (reader).
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waits_for = "idle"
        self._since = self.loop.time()
        self._spent, self._received = 0.0, 0  # waiting for the body of this request, and bytes of it
        self._unsent = 0
        self._has_begun = False  # a request of which not the whole head is there
        self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_begun = True
        self._note()
        self._received += len(data)
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        self._has_begun = False
        super().on_response_complete()
        self._note()

    def seconds_waited(self) -> float:
        """For who sends a request. 0 while it is the turn of the desk, or of somebody who reads: nobody's answer is cut off to make room."""
        self._note()
        return self.loop.time() - self._since if self._waits_for in ("idle", "head", "body", "rest") else 0

    def _what(self) -> str:
        if self.transport.get_write_buffer_size() > 0:
            return "reader"
        if self.conn.their_state is h11.IDLE:
            return "head" if self._has_begun else "idle"
        if self.conn.their_state is h11.SEND_BODY:
            return "rest" if self.cycle.response_complete else "desk" if self.flow.read_paused else "body"
        return "desk"

    def _note(self) -> None:
        """Begins another wait when it waits for something else."""
        waits_for, now = self._what(), self.loop.time()
        if waits_for == self._waits_for:
            return
        if self._waits_for == "body":
            self._spent += now - self._since
        if waits_for in ("idle", "head"):
            self._spent, self._received = 0.0, 0
        self._waits_for, self._since, self._unsent = waits_for, now, self.transport.get_write_buffer_size()

    def _look(self) -> None:
        self._note()
        now = self.loop.time()
        if self._waits_for == "reader" and (unsent := self.transport.get_write_buffer_size()) < self._unsent:
            self._unsent, self._since = unsent, now  # something was taken
        limits = {
            "idle": HEAD_SECONDS, "head": HEAD_SECONDS, "body": BODY_SECONDS + self._received / SLOWEST - self._spent, "rest": REST_SECONDS,
            "reader": READ_SECONDS,
        }  # fmt: skip
        if now - self._since > limits.get(self._waits_for, float("inf")):
            self._let_go()
        else:
            self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)

    def _make_room(self) -> None:
        longest = max((one for one in self.connections if isinstance(one, PatientProtocol) and one is not self), key=PatientProtocol.seconds_waited)
        (longest if longest.seconds_waited() > 0 else self)._let_go()

    def _let_go(self) -> None:
        """Ends the connection at once: an orderly end would wait for the other side again, and keep what it does not take in memory."""
        if (connection := self.transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def make_server(app: ASGIApp, **options: Any) -> uvicorn.Server:
    """The server of the desk. options: of uvicorn, beyond those that it must have."""
    # its own log would hold queries; forwarded headers are judged by the desk, which knows the proxies
    settings: dict[str, Any] = {
        "access_log": False, "log_level": "warning", "proxy_headers": False, "server_header": False, "timeout_graceful_shutdown": 3, "lifespan": "off",
        "http": PatientProtocol, "ws": "none", "h11_max_incomplete_event_size": MOST_BYTES_OF_A_HEAD, **options,
    }  # fmt: skip
    server = uvicorn.Server(uvicorn.Config(app, **settings))
    logging.getLogger("uvicorn.error").addFilter(_without_those_cut_off)
    return server


def _without_those_cut_off(record: logging.LogRecord) -> bool:
    """Who is still being answered when the desk is told to end is cut off after some seconds. That is no error, and uvicorn logs a traceback of it."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
