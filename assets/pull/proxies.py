"""The proxy that stands between this machine and a CRM, where a company has one, and what it says in its own name.

Which one that is stands in the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY), read by the rules of `requests`: for both CRMs alike, because
HubSpot's client reads none of it. Alerts go through `requests` anyway.
"""

import os
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies_environment

from requests.utils import should_bypass_proxies
from urllib3.exceptions import ProxyError
from urllib3.util import make_headers

from assets.pull.retries import Again

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
UNKNOWN_USER = 407  # the status by which a proxy, and nobody else, asks for a password


@dataclass(frozen=True)
class Proxy:
    """variable: the environment variable that names it; url: with user and password, where it has them."""

    variable: str
    url: str

    @property
    def objection(self) -> str | None:
        """Why this can be no proxy for us, in words; None when it can. The words hold no password."""
        no_address = "it is no address of a proxy; write http://proxy.example.com:3128"
        if re.match("(?:http://)?[\"'‘’“”]", self.url):
            return "it is in quotation marks: take them off. A shell does so by itself, other programs that read a file of settings do not"
        if "@" in re.sub(r"^[^/?#]*//[^/?#]*", "", self.url):  # what looks like its end stands in the password
            return f"{no_address}, with %2F for /, %3F for ? and %23 for # in a user name or password"
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
            self.headers()
        except ValueError:
            return no_address
        if parts.scheme not in ("http", "https"):
            return f"it names a proxy of the kind {parts.scheme}; Bindwatch can use http:// and https:// ones"
        if not host or re.search(r"\s", self.url):
            return f"{no_address}, with %20 for a space in a user name or password"
        return None

    @property
    def name(self) -> str:
        """For a message: its host and the variable, without the password."""
        return f"the proxy {urlsplit(self.url).netloc.rpartition('@')[2]} ({self.variable})"

    def headers(self) -> dict[str, str]:
        """What it is to be told with each connection: user and password, when they are named."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return {}
        return dict(make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}"))

    def remedy(self, host: str, status: int) -> str:
        if status == UNKNOWN_USER:
            return (
                f"It wants another user and password: {self.variable}=http://user:password@{urlsplit(self.url).netloc.rpartition('@')[2]}, "
                "where @ is written %40, : %3A, / %2F and % %25."
            )
        return f"Ask those who run it to let this machine reach {host}; or name {host} in NO_PROXY, if it is reached without a proxy."


class ProxyRefusal(Exception):
    """The proxy said no, and would say so again. remedy: what to do about it."""

    def __init__(self, proxy: Proxy, host: str, status: int) -> None:
        self.remedy = proxy.remedy(host, status)
        super().__init__(f"{proxy.name} answered {status}")


def proxy_for(url: str) -> Proxy | None:
    """The proxy by which an address is reached; None when it is reached without one."""
    named = getproxies_environment()
    for kind in (urlsplit(url).scheme, "all"):
        if (value := named.get(kind, "").strip()) and not should_bypass_proxies(url, no_proxy=None):
            variable = f"{kind}_proxy" if os.environ.get(f"{kind}_proxy") else f"{kind.upper()}_PROXY"
            return Proxy(variable, _in_bytes(value if "://" in value else f"http://{value}"))
    return None


def _in_bytes(url: str) -> str:
    """The address, so that user and password are sent in the bytes that were written, as other programs do; `requests` and urllib3 would make Latin-1 of
    them, which some passwords cannot be.
    """
    user, at, host = url.rpartition("@")
    written = quote(user, safe=string.printable)
    return re.sub("%[89A-Fa-f][0-9A-Fa-f]", lambda byte: quote(unquote(byte[0], "latin-1")), written) + at + host


def fault_of_proxy(error: BaseException, url: str) -> Exception | None:
    """What it means that a connection failed, when it failed at the proxy: a ProxyRefusal, or Again. None when the proxy is not to blame."""
    proxy = proxy_for(url)
    told = list(_wrapped(error))
    if proxy is None or not any(isinstance(one, ProxyError) for one in told):
        return None
    said = next((match for one in told if (match := _TUNNEL.search(str(one)))), None)
    if said is None:
        return Again(f"{proxy.name} does not answer", no_connection=True)
    return refusal_of_proxy(int(said[1]), url) or Again(f"{proxy.name} answered {said[1]}")


def refusal_of_proxy(status: int, url: str) -> ProxyRefusal | None:
    """A status by which the proxy refuses to reach an address, as a problem; None when waiting may help, or there is no proxy."""
    proxy = proxy_for(url)
    is_lasting = 400 <= status < 500 and status not in (408, 429)
    return ProxyRefusal(proxy, urlsplit(url).hostname or "", status) if proxy and is_lasting else None


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it holds: both clients put the first one into several others."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            inner = [getattr(one, "reason", None), getattr(one, "original_error", None), *one.args]
            waiting += [each for each in inner if isinstance(each, BaseException)]
