"""Serves both CRMs on loopback: Salesforce over https with the sandbox's own CA, HubSpot over http. One event loop, one world."""

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.certificate import make_certificates
from sandbox.hubspot_api import TOKEN, HubSpotApi
from sandbox.salesforce_api import CLIENT_ID, CLIENT_SECRET, SalesforceApi
from sandbox.story import Story
from sandbox.world import _iso

log = logging.getLogger("bindwatch.sandbox")


def serve(story: Story, folder: Path, salesforce_port: int = 0, hubspot_port: int = 0, hidden: frozenset[str] = frozenset()) -> None:
    """Serves until the process ends. Port 0 takes a free one.

    Once both answer, the file `environment` in the folder holds the variables that point Bindwatch at them, one NAME=value a line. hidden: Salesforce fields
    ("Lead.Fax") and HubSpot properties ("fax") that the integration user cannot see.
    """
    make_certificates(folder)
    salesforce = SalesforceApi(story.world, (folder / "jwt.pub").read_text(), hidden)
    hubspot = HubSpotApi(story.world, hidden)
    asyncio.run(_serve(story, salesforce, hubspot, folder, salesforce_port, hubspot_port))


async def _serve(story: Story, salesforce: SalesforceApi, hubspot: HubSpotApi, folder: Path, salesforce_port: int, hubspot_port: int) -> None:
    async def advance(request: Request) -> Response:
        """The world's clock: POST {"days": 3} lets three days pass."""
        story.advance(float(json.loads(await request.body())["days"]))
        return JSONResponse({"now": _iso(story.world.now)})

    async def clock(request: Request) -> Response:
        return JSONResponse({"now": _iso(story.world.now)})

    control = [Route("/sandbox/advance", advance, methods=["POST"]), Route("/sandbox/clock", clock)]
    secure, plain = _listen(salesforce_port), _listen(hubspot_port)
    certificate: dict[str, Any] = {"ssl_certfile": folder / "server.pem", "ssl_keyfile": folder / "server.key"}
    servers = [
        uvicorn.Server(uvicorn.Config(Starlette(routes=salesforce.routes()), log_level="warning", lifespan="off", **certificate)),
        uvicorn.Server(uvicorn.Config(Starlette(routes=[*hubspot.routes(), *control]), log_level="warning", lifespan="off")),
    ]
    environment = {
        "SALESFORCE_INSTANCE_URL": f"https://127.0.0.1:{secure.getsockname()[1]}",
        "SALESFORCE_CLIENT_ID": CLIENT_ID,
        "SALESFORCE_CLIENT_SECRET": CLIENT_SECRET,
        "HUBSPOT_BASE_URL": f"http://127.0.0.1:{plain.getsockname()[1]}",
        "HUBSPOT_ACCESS_TOKEN": TOKEN,
        "SSL_CERT_FILE": str(folder / "ca.pem"),
    }
    # both sockets listen already: whoever reads this file can connect
    temporary = folder / "environment.tmp"
    temporary.write_text("".join(f"{name}={value}\n" for name, value in environment.items()), "utf-8")
    temporary.replace(folder / "environment")
    await asyncio.gather(servers[0].serve(sockets=[secure]), servers[1].serve(sockets=[plain]))


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener
