"""The path that people reach the desk under, where a proxy shows it as a part of a host: https://crm.example.org/bindwatch.

Inside, the desk is always at /. A proxy may pass the path on or take it off: both are understood. What leaves the desk carries it: links and forms
(`root` in the templates), where an answer leads to, and the path of the cookie.
"""

import re
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assets.problems import ConfigurationProblem
from review.access import Entrance

_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
_LONGEST = 200


def prefix_of(desk_url: str | None, taken: set[str]) -> str:
    """The path of links.desk_url without a slash at its end; "" for none. taken: the desk's own first parts of a path.

    Raises ConfigurationProblem when the desk cannot be reached there.
    """
    parts = urlsplit(desk_url or "")
    prefix = parts.path.rstrip("/")
    if parts.query or parts.fragment or (prefix and not _is_prefix(prefix)):
        raise ConfigurationProblem(
            f"links.desk_url is {desk_url!r}: the desk can be reached at a host, or at a path of letters, digits, '-', '_' and '.', "
            "such as https://crm.example.org/bindwatch, with nothing behind it."
        )
    if _first(prefix) in taken:
        raise ConfigurationProblem(f"links.desk_url leads to {prefix}, which is a page of the desk itself. Take another path, such as /bindwatch.")
    return prefix


class Prefix:
    """ASGI middleware, outside of all others. Sets request.state.root: "" or the path before every address of the desk.

    What a proxy says in X-Forwarded-Prefix comes before the setting, when it is a proxy that is believed.
    """

    def __init__(self, app: ASGIApp, entrance: Entrance, taken: set[str]) -> None:
        self.app = app
        self.entrance = entrance
        self.taken = taken
        self.configured = prefix_of(entrance.desk_url, taken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        root, path = self._root(Request(scope)), scope["path"]
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :] or "/"
        scope = {**scope, "path": path, "state": {**scope.get("state", {}), "root": root}}

        async def send_outside(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if (location := headers.get("location")) is not None:
                    headers["location"] = root + _local(location)
                if root and (cookie := headers.get("set-cookie")) is not None:
                    headers["set-cookie"] = cookie.replace("; path=/;", f"; path={root};", 1)
            await send(message)

        await self.app(scope, receive, send_outside)

    def _root(self, request: Request) -> str:
        told = request.headers.get("x-forwarded-prefix", "").rstrip("/")
        is_told = _is_prefix(told) and _first(told) not in self.taken and self.entrance.is_proxy(request.client.host if request.client else None)
        return told if is_told else self.configured


def _is_prefix(text: str) -> bool:
    return len(text) <= _LONGEST and _PREFIX.fullmatch(text) is not None


def _first(prefix: str) -> str | None:
    return prefix.split("/")[1] if prefix else None


def _local(location: str) -> str:
    """An address without its host. The desk leads nowhere else, and behind a proxy it does not know how it is called: neither host nor https."""
    parts = urlsplit(location)
    return urlunsplit(("", "", "/" + parts.path.lstrip("/"), parts.query, parts.fragment))
