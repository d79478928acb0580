from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import AliasChoices

from memplus.server.database import ServerDatabase
from memplus.server.keys import Keys
from memplus.server.principals import Principal
from memplus.server.ray.carried import CarriedRequest
from memplus.server.ray.destinations import Destinations
from memplus.server.settings import ServerSettings
from memplus.server.tools import SEARCH_AND_FETCH, TOOLS
from memplus.server.wire.tools import memory_of


def request(
    path: str, body: object = None, *, key: str = "", query: str = "", **headers: str
) -> CarriedRequest:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given |= {"authorization": f"Bearer {key}"} if key else {}
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CarriedRequest({"path": path, "query_string": query.encode(), "headers": pairs}, sent)


CHAT = "/v1/chat/completions"


def called(tool: str, **arguments: object) -> dict[str, Any]:
    return {"method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def test_a_tool_means_the_memory_to_which_its_call_is_brought() -> None:
    kinds = {tool.name: tool.takes for tool in (*TOOLS, *SEARCH_AND_FETCH)}
    whole = {"text": "t", "query": "q", "question": "q"}
    for name, kind in kinds.items():
        if "memory" not in kind.model_fields:
            continue
        choices = kind.model_fields["memory"].validation_alias
        assert isinstance(choices, AliasChoices)
        for alias in choices.choices:
            for others in ({}, {"name": "last"}):
                arguments = whole | others | {str(alias): "notes"}
                means = kind.model_validate(arguments).memory  # type: ignore[attr-defined]
                assert memory_of(name, arguments) == means == "notes"


def test_every_way_to_name_a_memory_leads_to_one_place(database: ServerDatabase) -> None:
    keys = Keys(database)
    key = keys.add("a", tenant="acme")[1]
    bound = keys.add("b", tenant="acme", memory="notes")[1]
    gateway = keys.add("g", tenant="acme", gateway=True)[1]
    find = Destinations(database, ServerSettings()).session
    ways: list[tuple[str, Any, dict[str, str]]] = [
        ("/v1/memories/notes", None, {}),
        ("/v1/memories/notes/ask", {"question": "?"}, {}),
        ("/v1/memories", {"id": "notes"}, {}),
        ("/v1/memories:import", b"\x00\xff", {"query": "id=notes"}),
        (CHAT, {"memory": "notes"}, {}),
        (CHAT, {"memory": {"id": "notes", "evidence": True}}, {}),
        (CHAT, {"metadata": {"memory_id": "notes"}}, {}),
        (CHAT, {"user": "notes"}, {}),
        (CHAT, {"model": "nano@notes"}, {}),
        ("/v1/responses", {"model": "nano"}, {"x_memory_id": "notes"}),
        ("/v1/completions", {"model": "nano"}, {"key": bound}),
        (CHAT, {}, {"key": gateway, "x_openwebui_user_id": "notes"}),
        ("/mcp", called("ask_memory", memory="notes"), {}),
        ("/mcp", called("add_memory", user_id="notes"), {}),
        ("/mcp", called("get_memory", name="notes", id="notes"), {}),
        ("/mcp", called("forget", source="s", namespace="notes", id="other"), {}),
        ("/mcp", called("fetch", id="notes/3"), {}),
        ("/mcp", called("search", query="?", id="other"), {"x_memory_id": "notes"}),
        ("/mcp", called("ask_memory", memory=None, id="other"), {"key": bound}),
        ("/mcp", called("ask_memory"), {"key": bound, "x_memory_id": "other"}),
        ("/mcp", {"params": {}}, {"x_memory_id": "notes"}),
        ("/mcp", {"method": "tools/call"}, {"key": bound}),
    ]
    for path, body, more in ways:
        assert find(request(path, body, **({"key": key} | more))) == "acme/notes", (path, body)
    assert find(request(CHAT, {"memory": "notes"})) == "notes"


def test_a_conversation_leads_to_the_memory_that_it_began_with(database: ServerDatabase) -> None:
    destinations = Destinations(database, ServerSettings())
    key = Keys(database).add("a", tenant="acme")
    who = replace(key[0].principal)
    destinations._ledger.begin_conversation(who, "talk", "notes", {}, [])
    for body in {"conversation": "talk"}, {"conversation": {"id": "talk"}, "user": "other"}:
        assert destinations.session(request(CHAT, body, key=key[1])) == "acme/notes"


@pytest.mark.parametrize(
    "sent",
    [
        request("/v1/models"),
        request(CHAT, {"model": "nano"}),
        request(CHAT, b"not JSON \xff"),
        request(CHAT, [1, 2]),
        request(CHAT, {"memory": 3, "metadata": 4}),
        request(CHAT, {"user": "x" * 5000}),
        request("/mcp", {"params": [1]}),
        request(CHAT, {"previous_response_id": "none"}),
        request(CHAT, {"conversation": "conv_none"}),
    ],
)
def test_what_means_no_memory_goes_anywhere_and_its_faults_are_left_to_the_replica(
    sent: CarriedRequest, database: ServerDatabase
) -> None:
    find = Destinations(database, ServerSettings()).session
    assert find(sent) != find(sent)


def test_nobody_reaches_the_place_of_another_tenant(database: ServerDatabase) -> None:
    keys = Keys(database)
    find = Destinations(database, ServerSettings()).session
    places = {
        find(request("/v1/memories/notes", key=keys.add(name, tenant=name)[1])) for name in "abc"
    }
    assert places == {"a/notes", "b/notes", "c/notes"}
    assert Principal().stored("notes") not in places


def test_a_request_is_somebodys_where_its_key_is_known_or_none_is_needed(
    database: ServerDatabase,
) -> None:
    places = Destinations(database, ServerSettings())
    assert places.holder(request("/v1/models")) == Principal()
    key, secret = Keys(database).add("first", tenant="acme")
    assert places.holder(request("/v1/models", key=secret)) == key.principal
    for wrong in ("", "mp-wrong"):
        assert places.holder(request("/v1/models", key=wrong)) is None
