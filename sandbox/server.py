"""Serves both CRMs on loopback: Salesforce over https with the sandbox's own CA, HubSpot over http. One event loop, one world."""

import asyncio
import json
import logging
import shlex
import socket
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.certificate import make_certificates
from sandbox.faults import KINDS, Crm, Fault, Faults, FaultyApp
from sandbox.hubspot_api import TOKEN, HubSpotApi
from sandbox.salesforce_api import CLIENT_ID, CLIENT_SECRET, SalesforceApi
from sandbox.story import Story
from sandbox.world import iso_text

TEAM_SETTINGS = ("BINDWATCH_DECISIONS_URL", "BINDWATCH_DAGSTER_POSTGRES_URL", "BINDWATCH_ALERT_URLS", "DAGSTER_HOME")  # empty counts as not set


class PortTaken(Exception):
    """A port that cannot be listened on, and why."""


class SandboxServer:
    """Both CRMs over one story. Port 0 takes a free one.

    `environment` points Bindwatch at them; it is also written to the file `environment` in the folder, one NAME=value a line as a
    shell reads it, once both sockets listen; raises PortTaken where one cannot.
    hidden: Salesforce fields ("Lead.Fax") and HubSpot properties ("fax") that the integration user cannot see, and scopes
    ("crm.lists.read") that the key lacks. hubspot_limit: calls in ten seconds, None for any number. refused_versions: of HubSpot's API. faults: what goes
    wrong, from the start and as asked for later.
    """

    def __init__(
        self, story: Story, folder: Path, salesforce_port: int = 0, hubspot_port: int = 0, hidden: frozenset[str] = frozenset(),
        hubspot_limit: int | None = None, refused_versions: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        make_certificates(folder)
        self.story = story
        self.salesforce = SalesforceApi(story.world, (folder / "jwt.pub").read_text(), hidden)
        self.hubspot = HubSpotApi(story.world, hidden, hubspot_limit, refused_versions)
        self.faults = Faults()
        self._sockets = [_listen(salesforce_port), _listen(hubspot_port)]
        # a client that keeps a TLS connection open would hold the end up for half a minute
        common: dict[str, Any] = {"log_level": "warning", "lifespan": "off", "timeout_graceful_shutdown": 1, "date_header": False, "timeout_keep_alive": 60}
        logging.getLogger("uvicorn.error").addFilter(lambda record: "timeout graceful shutdown" not in record.getMessage())  # that is how it is meant to end
        certificate: dict[str, Any] = {"ssl_certfile": folder / "server.pem", "ssl_keyfile": folder / "server.key"}
        control = [
            Route("/sandbox/advance", self._advance, methods=["POST"]),
            Route("/sandbox/clock", self._clock),
            Route("/sandbox/faults", self._faults, methods=["GET", "POST", "DELETE"]),
        ]
        self._servers = [
            uvicorn.Server(uvicorn.Config(self._faulty(Starlette(routes=self.salesforce.routes()), "salesforce"), **common, **certificate)),
            uvicorn.Server(uvicorn.Config(self._faulty(Starlette(routes=[*self.hubspot.routes(), *control]), "hubspot"), **common)),
        ]
        secure, plain = (listener.getsockname()[1] for listener in self._sockets)
        self.environment = {
            "SALESFORCE_INSTANCE_URL": f"https://127.0.0.1:{secure}",
            "SALESFORCE_CLIENT_ID": CLIENT_ID,
            "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
            "HUBSPOT_BASE_URL": f"http://127.0.0.1:{plain}",
            "HUBSPOT_ACCESS_TOKEN": TOKEN,
            "SSL_CERT_FILE": str(folder / "ca.pem"),
        }
        # whoever tries things out in a shell that has a team's settings must not reach the team's stores, or alarm it
        settings = {**self.environment, **dict.fromkeys(TEAM_SETTINGS, "")}
        temporary = folder / "environment.tmp"
        temporary.write_text("".join(f"{name}={shlex.quote(value) if value else value}\n" for name, value in settings.items()), "utf-8")
        temporary.replace(folder / "environment")

    def serve(self) -> None:
        """Serves until `stop` is called, or the process is asked to end."""

        async def both() -> None:
            await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in zip(self._servers, self._sockets, strict=True)))

        asyncio.run(both())

    def stop(self) -> None:
        for server in self._servers:
            server.should_exit = True

    def _faulty(self, app: Starlette, crm: Crm) -> FaultyApp:
        return FaultyApp(app, self.faults, crm, lambda: self.story.world.now, self.salesforce.tokens.clear)

    async def _faults(self, request: Request) -> Response:
        """What goes wrong: POST [{"kind": "429", "path": "search", "times": 3}] adds to it, GET lists it with its hits, DELETE ends it."""
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                asked = json.loads(await request.body())
                self.faults.ask([Fault(**fault) for fault in (asked if isinstance(asked, list) else [asked])])
            except (ValueError, TypeError) as error:
                return JSONResponse({"error": str(error), "kinds": KINDS}, 400)
        return JSONResponse(self.faults.described())

    async def _advance(self, request: Request) -> Response:
        """The world's clock: POST {"days": 3} lets three days pass."""
        self.story.advance(float(json.loads(await request.body())["days"]))
        return await self._clock(request)

    async def _clock(self, _request: Request) -> Response:
        return JSONResponse({"now": iso_text(self.story.world.now)})


def _listen(port: int) -> socket.socket:
    # without a protocol, asyncio does not turn Nagle's algorithm off, and each answer waits 40 ms for the client's acknowledgement
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortTaken(f"The sandbox cannot listen on 127.0.0.1, port {port}: {error.strerror}.") from error
    return listener
