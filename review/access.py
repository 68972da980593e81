"""Who may use the desk, under which name, and that a request is really theirs.

On its own machine the desk is open to whoever sits there. Anywhere else it wants a token, or a proxy that says who somebody is. Sessions are
signed cookies; the key lies in the home, so that nobody is asked for a name twice.
"""

import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assets.machine import check_home
from assets.problems import ConfigurationProblem
from assets.published import merge_plan
from review import words
from review.ended import EndedSessions
from review.guesses import Guesses

MOST_BYTES = 512 * 1024  # of a form; every finding of the largest page ticked takes 4 kB
MOST_BYTES_OF_A_PLAN = merge_plan.MOST_BYTES + 64 * 1024  # the form around it; a plan that is too large is told so
_OPEN_PATHS = ("/login", "/static/", "/health")

# Everything comes from the desk itself, nothing may frame it, forms go nowhere else. The browser tells other pages nothing about it.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TwoNames(Exception):
    """A request says more than once who sends it: what a browser sent came past the proxy."""


@dataclass(frozen=True)
class Entrance:
    """How people get in.

    host: the address it listens on; token: what they must know; user_header: what a proxy tells their name in; proxies: the addresses it may
    come from; user: the name of whoever works here, from the settings; desk_url: where people reach it; groups_header: what a proxy
    tells their groups in, with commas between them; deciders: whoever is in none of these groups may neither waive nor accept. Without any, all may;
    readers: the group that may have whole e-mail addresses where the policy masks them, or None.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    user_header: str | None = None
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    user: str | None = None
    desk_url: str | None = None
    groups_header: str | None = None
    deciders: tuple[str, ...] = ()
    readers: str | None = None
    _networks: list[Network] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ConfigurationProblem when the desk would be open to a network, or a proxy's address cannot be read."""
        if not self.is_local and self.token is None and self.user_header is None:
            raise ConfigurationProblem(
                f"On {self.host} others can reach the desk. Set BINDWATCH_DESK_TOKEN to a secret of 16 characters or more that they must know, or "
                "BINDWATCH_DESK_USER_HEADER to the header in which your proxy names who is logged in."
            )
        if self.token is not None and len(self.token) < 16:
            raise ConfigurationProblem("BINDWATCH_DESK_TOKEN is too short to be a secret: take 16 characters or more, as `openssl rand -hex 16` prints them.")
        if self.user_header is not None and not re.fullmatch(r"[A-Za-z0-9-]+", self.user_header):
            raise ConfigurationProblem(f"BINDWATCH_DESK_USER_HEADER is {self.user_header!r}: it must be the name of a header, such as X-Forwarded-User.")
        if self.groups_header is not None and not re.fullmatch(r"[A-Za-z0-9-]+", self.groups_header):
            raise ConfigurationProblem(f"BINDWATCH_DESK_GROUPS_HEADER is {self.groups_header!r}: it must be the name of a header, such as X-Forwarded-Groups.")
        if self.deciders and self.groups_header is None:
            raise ConfigurationProblem(
                "BINDWATCH_DESK_DECIDERS names groups, and nothing says who is in them: set BINDWATCH_DESK_GROUPS_HEADER to the header of your proxy that does."
            )
        for address in self.proxies:
            try:
                self._networks.append(_network(address))
            except ValueError as error:
                raise ConfigurationProblem(f"BINDWATCH_DESK_PROXIES names {address!r}, which is no IP address or network.") from error

    @property
    def is_local(self) -> bool:
        return self.host == "localhost" or _is_loopback(self.host)

    def knows_host(self, host: str | None) -> bool:
        """Is this how people reach the desk? A page elsewhere may have its name point here (DNS rebinding) where nothing else is asked for."""
        if self.token is not None or self.user_header is not None:
            return True
        name = urlsplit(f"//{host or ''}").hostname or ""
        own = urlsplit(self.desk_url).hostname if self.desk_url else None
        return name in ("localhost", own) or _is_loopback(name)

    def is_own_form(self, headers: Headers) -> bool:
        """Does a form come from a page of the desk? Browsers say so; a program that says nothing still needs the form token."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            return site in ("same-origin", "none")
        own = (headers.get("host", "").lower(), urlsplit(self.desk_url or "").netloc.lower())
        return origin is None or (urlsplit(origin).netloc.lower() or "nowhere") in own

    def name_from_proxy(self, client: str | None, headers: Headers) -> str | None:
        """Who the proxy says it is. None when it is not the proxy, or says nothing. Raises TwoNames when it does not say one name alone."""
        if self.user_header is None or not self.is_proxy(client):
            return None
        # An underscore is a hyphen to many programs behind a proxy, and a comma is how two headers become one: both are ways to slip a name past it.
        wanted = self.user_header.lower()
        given = [(name.lower(), value) for name, value in headers.items() if name.lower().replace("_", "-") == wanted.replace("_", "-")]
        if len(given) > 1 or any(name != wanted or "," in value for name, value in given):
            raise TwoNames
        return tidy_name(as_sent(given[0][1])) if given else None

    def may_waive(self, client: str | None, headers: Headers) -> bool:
        """May whoever sends this waive and accept?"""
        return not self.deciders or not self._groups(client, headers).isdisjoint(self.deciders)

    def is_reader(self, client: str | None, headers: Headers) -> bool:
        """Is whoever sends this in the group that may read what a run publishes, whole addresses included?"""
        return self.readers is not None and self.readers in self._groups(client, headers)

    def _groups(self, client: str | None, headers: Headers) -> set[str]:
        """What did not come from the proxy, or came twice, says nothing."""
        wanted = (self.groups_header or "").lower()
        given = [(name.lower(), value) for name, value in headers.items() if name.lower().replace("_", "-") == wanted.replace("_", "-")]
        if not wanted or not self.is_proxy(client) or len(given) != 1 or given[0][0] != wanted:
            return set()
        return {part.strip() for part in as_sent(given[0][1]).split(",")}

    def is_proxy(self, client: str | None) -> bool:
        """May this address say who somebody is?"""
        return any(address in network for address in _written(client or "") for network in self._networks)

    def client_of(self, request: Request) -> str:
        return self.client_behind(request.client.host if request.client else None, request.headers)

    def client_behind(self, client: str | None, headers: Headers) -> str:
        """Whom a request comes from: an address, or what somebody with IPv6 has of them (a network of 64 bits).

        What a proxy appended to X-Forwarded-For counts; what stands before that was sent by a browser, which may write anything.
        """
        told = [part.strip() for value in headers.getlist("x-forwarded-for") for part in value.split(",")]
        while told and self.is_proxy(client) and _written(told[-1]):
            client = told.pop()
        address = next(reversed(_written(client or "")), None)
        return str(ipaddress.ip_network((address, 64), strict=False) if isinstance(address, ipaddress.IPv6Address) else address)

    def fits(self, given: str) -> bool:
        """Is that the token?"""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    @property
    def _ticket(self) -> str:
        return sha256(f"bindwatch desk {self.token}".encode()).hexdigest()[:32]

    def admit(self, session: dict[str, Any]) -> None:
        """Gives a session what it carries once somebody knew the token, and an id to end it by. Another token ends all sessions."""
        session["ticket"], session["id"] = self._ticket, secrets.token_hex(16)

    def has_ticket(self, session: dict[str, Any]) -> bool:
        return self.token is not None and session.get("ticket") == self._ticket and isinstance(session.get("id"), str)


def read_session_key(home: Path) -> str:
    """The key that signs sessions, made once for a home. Raises MachineProblem when it cannot be made there."""
    path = home / "desk.key"
    if not path.exists():
        check_home(home, is_default=False)
        temporary = path.with_name(f".desk-{secrets.token_hex(6)}.key")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(temporary, path)  # of two that start at once, one key wins
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text("utf-8").strip()


def tidy_name(text: str) -> str | None:
    """A person's name as it is kept: one line, 80 characters at most. None when nothing is left."""
    return tidy_line(text)[:80].strip() or None


def as_sent(value: str) -> str:
    """The text of a header. Proxies send names in UTF-8; the server reads every header as Latin-1, which is what it is when it is no UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def tidy_line(text: str) -> str:
    """Text that somebody typed, as one line that every database takes: no control characters, no half characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8")).split())


class Refusal(NamedTuple):
    """Why a request is turned away. text: says more than the words for that status."""

    status: int
    text: str | None = None


class Gatekeeper:
    """ASGI middleware: headers on every answer, and nothing for whom the desk is not. Must be inside of the session middleware.

    Sets request.state.user to the name of who is here (None when nobody said), and request.state.named_by to settings, proxy, session or None;
    request.state.may_waive: whether they may waive and accept; is_reader: whether they may have whole e-mail addresses where the policy masks them.
    """

    def __init__(self, app: ASGIApp, entrance: Entrance, guesses: Guesses, ended: EndedSessions, refuse: Callable[[Request, Refusal], Response]) -> None:
        """refuse: makes the answer to a request that is turned away."""
        self.app = app
        self.entrance = entrance
        self.guesses = guesses
        self.ended = ended
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if not scope["path"].startswith("/static/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        received, most = 0, MOST_BYTES_OF_A_PLAN if scope["path"] in ("/plans", "/what-if") else MOST_BYTES

        async def receive_little() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413)
            return message

        request = Request(scope)
        announced = request.headers.get("content-length", "0")
        if len(announced) > 15 or (announced.isascii() and announced.isdigit() and int(announced) > most):
            await self.refuse(request, Refusal(413))(scope, receive, send_safely)
            return
        refusal = await self._judge(request)
        app = self.app if refusal is None else self.refuse(request, refusal)
        await app(scope, receive_little, send_safely)

    async def _judge(self, request: Request) -> Refusal | None:
        """None when the request may pass. 421: a strange host; 403: a form from elsewhere; 400: two names; 401: who is this? 429: too many guesses."""
        entrance, session = self.entrance, request.session
        if session.get("id") in self.ended:
            session.clear()
        request.state.user = None
        request.state.named_by = None
        client = request.client.host if request.client else None
        request.state.may_waive = entrance.may_waive(client, request.headers)
        request.state.is_reader = entrance.is_reader(client, request.headers)
        if not entrance.knows_host(request.headers.get("host")):
            return Refusal(421)
        if request.method not in ("GET", "HEAD") and not entrance.is_own_form(request.headers):
            return Refusal(403)
        try:
            from_proxy = entrance.name_from_proxy(request.client.host if request.client else None, request.headers)
        except TwoNames:
            return Refusal(400, words.TWO_NAMES)
        if from_proxy is not None:
            request.state.user, request.state.named_by = from_proxy, "proxy"
        elif entrance.user is not None:
            request.state.user, request.state.named_by = entrance.user, "settings"
        elif session.get("user"):
            request.state.user, request.state.named_by = session["user"], "session"
        if request.url.path.startswith(_OPEN_PATHS) or (entrance.token is None and entrance.user_header is None):
            return None
        if from_proxy is not None or entrance.has_ticket(session):
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if entrance.token is None or scheme.lower() != "bearer":
            return Refusal(401)
        fits = await self.guesses.judge(entrance.client_of(request), as_sent(given).strip())
        return None if fits else Refusal(401) if fits is False else Refusal(429)


def form_token(request: Request) -> str:
    """What a form of this session must carry."""
    token: str | None = request.session.get("form_token")
    if token is None:
        token = request.session["form_token"] = secrets.token_urlsafe(24)
    return token


def check_form_token(request: Request, given: object) -> None:
    """Raises HTTPException 403 when a form was not made for this session."""
    expected = request.session.get("form_token")
    if not isinstance(given, str) or not expected or not hmac.compare_digest(given.encode("utf-8", "replace"), str(expected).encode()):
        raise HTTPException(403)


def _is_loopback(name: str) -> bool:
    return any(address.is_loopback for address in _written(name))


def _written(text: str) -> list[Address]:
    """An address as it is written and, where that is an IPv4 address within IPv6 (as a socket for both kinds shows it), as IPv4. None of what is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return []
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return [address, mapped] if mapped else [address]


def _network(text: str) -> Network:
    """Raises ValueError when it is none."""
    network = ipaddress.ip_network(text, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96 else None
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96)) if mapped else network
