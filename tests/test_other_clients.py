"""Clients that others wrote read the sandbox and find the same records: what ours reads there is not our own invention."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosalesforce import ClientCredentialsFlow, Salesforce

from sandbox.salesforce_api import CLIENT_ID, CLIENT_SECRET
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.live import served, story_of

CLIENTS = Path(__file__).parent / "clients"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    story = story_of(3200, days_ago=3)
    story.advance(1)
    with served(story, tmp_path_factory.mktemp("sandbox")) as server:
        yield server


def read_with_node(server: SandboxServer, script: str, *arguments: str) -> dict[str, Any]:
    if shutil.which("node") is None or not (CLIENTS / "node_modules").exists():
        pytest.skip("the JavaScript clients are not installed: make clients")
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": server.environment["SSL_CERT_FILE"], "NO_PROXY": "*"}
    node = shutil.which("node") or "node"
    answer = subprocess.run([node, script, *arguments], cwd=CLIENTS, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def ids(world: World, kind: str, live_only: bool = False) -> set[str]:
    return {record.id for record in world.records.values() if record.type == kind and not (live_only and record.is_deleted)}


def test_jsforce_reads_the_same_records(server: SandboxServer) -> None:
    world = server.story.world
    start, end = world.now - timedelta(days=14), world.now + timedelta(seconds=1)
    url = server.environment["SALESFORCE_INSTANCE_URL"]
    found = read_with_node(server, "read_salesforce.mjs", url, server.salesforce.issue_token(), start.isoformat(), end.isoformat())
    assert found["live"] == {id_: (world.records[id_].fields.get("Email") or "").lower() or None for id_ in ids(world, "Lead", live_only=True)}
    assert len(found["live"]) > 2000  # more than one page
    assert set(found["all"]) == ids(world, "Lead")
    assert len(found["all"]) == len(set(found["all"]))
    assert found["bulk"] == {id_: str(world.records[id_].is_deleted).lower() for id_ in ids(world, "Contact")}
    assert {"Id", "Email", "SystemModstamp", "MasterRecordId"} <= set(found["fields"])
    assert set(found["deleted"]) == {r.id for r in world.records.values() if r.type == "Lead" and r.is_deleted and start <= r.modified_at}
    assert found["refusal"] == "INVALID_FIELD"


def test_the_hubspot_client_for_javascript_reads_the_same_contacts(server: SandboxServer) -> None:
    world = server.story.world
    old, new = next(iter(world.merged_contacts.items()))
    live = {contact.id: contact for contact in world.contacts.values() if contact.archived_at is None}
    some = next(id_ for id_ in live if id_ != new)
    found = read_with_node(server, "read_hubspot.mjs", server.environment["HUBSPOT_BASE_URL"], "pat-sandbox", some, old)
    assert {id_: email or None for id_, email in found["live"].items()} == {id_: contact.value("email") or None for id_, contact in live.items()}
    assert set(found["archived"]) == world.contacts.keys() - live.keys()
    assert len(found["history"]) == 50
    for id_, values in found["history"].items():
        assert values == [entry.value for entry in reversed(world.contacts[id_].history.get("salesforceleadid", []))]
    assert found["found"] == sorted(live, key=int)[:200]
    assert found["total"] == len(live)
    assert (sorted(found["batch"]), found["missingInBatch"]) == (sorted([some, new]), 1)
    assert (found["merged"], found["missing"]) == (new, 404)
    assert "salesforceleadid" in found["properties"]
    assert found["owners"] > 0


class ToTheSandbox(httpx.AsyncHTTPTransport):
    """aiosalesforce accepts My Domain addresses only; this leads them to the sandbox."""

    def __init__(self, server: SandboxServer) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=server.environment["SSL_CERT_FILE"]))
        self.address = httpx.URL(server.environment["SALESFORCE_INSTANCE_URL"])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host=self.address.host, port=self.address.port)
        return await super().handle_async_request(request)


def test_aiosalesforce_reads_the_same_records(server: SandboxServer) -> None:
    world = server.story.world

    async def read() -> tuple[set[str], set[str]]:
        async with httpx.AsyncClient(transport=ToTheSandbox(server), trust_env=False) as client:
            access = ClientCredentialsFlow(CLIENT_ID, CLIENT_SECRET)
            org = Salesforce(client, base_url="https://sandbox.my.salesforce.com", auth=access, version="64.0")
            live = {record["Id"] async for record in org.query("SELECT Id FROM Lead")}
            everything = {record["Id"] async for record in org.query("SELECT Id FROM Contact", include_all_records=True)}
            return live, everything

    live, everything = asyncio.run(read())
    assert live == ids(world, "Lead", live_only=True)
    assert everything == ids(world, "Contact")
