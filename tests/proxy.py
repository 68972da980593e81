"""A proxy on this machine, as companies have one: it connects, forwards, wants a password, refuses, and notes what it was asked."""

import base64
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """credentials: "user:password" that it wants, as text or in bytes; refuses: the status by which it refuses everything.

    leads_to: ports by host name, beside real ones.
    """

    port: int = 0
    credentials: str | bytes | None = None
    refuses: int | None = None
    leads_to: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # the first line of each request
    headers: list[str] = field(default_factory=list)  # of what it could read

    def url(self, user: str = "") -> str:
        return f"http://{f'{user}@' if user else ''}127.0.0.1:{self.port}"

    @property
    def _wanted(self) -> bytes:
        return self.credentials.encode() if isinstance(self.credentials, str) else self.credentials or b""

    def _target(self, address: str) -> tuple[str, int]:
        host, _, port = address.partition(":")
        return ("127.0.0.1", self.leads_to[host]) if host in self.leads_to else (host, int(port or 80))

    def _answer(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return
            head += data
        lines = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        self.asked.append(lines[0].split("?")[0])
        self.headers += lines[1:]
        method, url, _ = lines[0].split(" ")
        given = next((line.split(" ")[-1] for line in lines if line.lower().startswith("proxy-authorization: basic ")), "")
        status = self.refuses or (407 if self.credentials and base64.b64decode(given) != self._wanted else None)
        if status is not None:
            page = "Zugriff verweigert für diesen Benutzer".encode("latin-1")  # a page as proxies write it
            client.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: {len(page)}\r\nConnection: close\r\n\r\n".encode() + page)
            return
        if method == "CONNECT":
            server = socket.create_connection(self._target(url))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            server = socket.create_connection(self._target(url.split("/")[2]))
            path = "/" + url.split("/", 3)[3]
            head = head.replace(url.encode(), path.encode(), 1).replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nConnection: close\r\n", 1)
            server.sendall(head)
        with server:
            while True:
                ready, _, _ = select.select([client, server], [], [], 20)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    (server if one is client else client).sendall(data)
                if not ready:
                    return


@contextmanager
def running_proxy(credentials: str | bytes | None = None, refuses: int | None = None) -> Iterator[Proxy]:
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(listener.getsockname()[1], credentials, refuses)

    def answer(client: socket.socket) -> None:
        with client, suppress(OSError):
            proxy._answer(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
