"""The sandbox's HubSpot answers have the shapes of HubSpot's own client models, where their description lies beside the checkout."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sandbox.server import SandboxServer
from tests.live import served, story_of

CONTRACT = Path(__file__).parent.parent.parent / "shared" / "data" / "hubspot" / "hubspot_client_12.0.0_contract.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    story = story_of(600)
    story.advance(2)
    with served(story, tmp_path_factory.mktemp("sandbox")) as server:
        yield server


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    if not CONTRACT.exists():
        pytest.skip(f"{CONTRACT.name} is not beside this checkout")
    read: dict[str, Any] = json.loads(CONTRACT.read_text("utf-8"))
    return read


def ask(server: SandboxServer, method: str, path: str, body: Any = None, token: str = "pat-sandbox") -> tuple[int, Any]:
    request = Request(server.environment["HUBSPOT_BASE_URL"] + path, json.dumps(body).encode() if body is not None else None, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        return error.code, json.loads(error.read())


def violations(contract: dict[str, Any], kind: str, value: Any, api: str, place: str = "answer") -> Iterator[str]:
    """Where a value does not have the shape of a type of the client: str, int, list[…], dict[str, …], or a model."""
    plain: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
    if kind in plain:
        if not isinstance(value, plain[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{place} is {type(value).__name__}, not {kind}"
    elif kind == "datetime":
        if not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is None:
            yield f"{place} is no time with a zone"
    elif match := re.fullmatch(r"list\[(.+)\]", kind):
        for number, item in enumerate(value):
            yield from violations(contract, match[1], item, api, f"{place}[{number}]")
    elif match := re.fullmatch(r"dict\[str, (.+)\]", kind):
        for name, item in value.items():
            # HubSpot really sends null for a property without a value, although its description says text
            if not (item is None and place.endswith(".properties")):
                yield from violations(contract, match[1], item, api, f"{place}.{name}")
    elif kind != "object":
        model = contract["models"][f"{api}.{kind}"]
        yield from (f"{place} lacks {name}" for name in model["required"] if name not in value)
        for name, item in value.items():
            if name not in model["fields"]:
                yield f"{place}.{name} is unknown to {kind}"
            elif item is not None:
                yield from violations(contract, model["fields"][name], item, api, f"{place}.{name}")


def answers(server: SandboxServer) -> list[tuple[str, str, int, Any]]:
    """Every operation of the sandbox, as (name in the contract, api, status, answer). The one that changes something comes last."""
    world = server.story.world
    live = [contact.id for contact in world.contacts.values() if contact.archived_at is None]
    old = next(iter(world.merged_contacts))
    base = "/crm/v3/objects/contacts"
    read = {"inputs": [{"id": live[0]}, {"id": old}], "properties": ["email"], "propertiesWithHistory": ["email"]}
    calls: list[tuple[str, str, str, Any]] = [
        ("contacts.BasicApi.get_page", "GET", f"{base}?limit=50&properties=email&propertiesWithHistory=salesforceleadid&propertiesWithHistory=email", None),
        ("contacts.BasicApi.get_page", "GET", f"{base}?limit=100&archived=true", None),
        ("contacts.BasicApi.get_by_id", "GET", f"{base}/{live[0]}?properties=jobtitle", None),
        ("contacts.BatchApi.read", "POST", f"{base}/batch/read", read),
        ("contacts.BatchApi.read", "POST", f"{base}/batch/read", {**read, "inputs": [{"id": live[0]}, {"id": "1"}]}),
        ("contacts.SearchApi.do_search", "POST", f"{base}/search", {"filterGroups": [], "sorts": [], "properties": ["email"], "limit": 3}),
        ("properties.CoreApi.get_all", "GET", "/crm/v3/properties/contacts", None),
        ("owners.OwnersApi.get_page", "GET", "/crm/v3/owners/", None),
        ("contacts.BasicApi.merge", "POST", f"{base}/merge", {"primaryObjectId": live[0], "objectIdToMerge": live[1]}),
    ]
    return [(name, name.split(".")[0], *ask(server, method, path, body)) for name, method, path, body in calls]


def test_every_answer_has_the_shape_of_the_clients_model(server: SandboxServer, contract: dict[str, Any]) -> None:
    responses = {operation["api"]: dict(re.findall(r'(\d+): "(\w+)"', operation["responses"])) for operation in contract["operations"]}
    asked = answers(server)
    for name, api, status, answer in asked:
        model = responses[name][str(status)]
        assert list(violations(contract, model, answer, api)) == [], name
    assert 207 in {status for _, _, status, _ in asked}


def test_every_refusal_has_the_shape_of_the_clients_error(server: SandboxServer, contract: dict[str, Any]) -> None:
    base = "/crm/v3/objects/contacts"
    refusals = [
        ask(server, "GET", f"{base}/1"), ask(server, "GET", base, token="wrong"), ask(server, "GET", f"{base}?limit=100&propertiesWithHistory=email"),
        ask(server, "POST", f"{base}/search", {"filterGroups": [], "limit": 100, "after": "9950"}),
    ]  # fmt: skip
    assert [status for status, _ in refusals] == [404, 401, 400, 400]
    for _, answer in refusals:
        answer.pop("status", None)  # sent, though not described
        assert list(violations(contract, "Error", answer, "contacts")) == []


def test_the_date_versioned_paths_answer_as_v3_does(server: SandboxServer) -> None:
    page = "?limit=5&properties=email"
    assert ask(server, "GET", f"/crm/objects/2026-09/contacts{page}") == ask(server, "GET", f"/crm/v3/objects/contacts{page}")
