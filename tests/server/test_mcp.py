from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError
from tests.server.calling import call, over_http, over_stdio, refusal
from tests.server.serving import Served, serving
from tests.server.speaking import ANSWER, FACT, QUESTION, failure, write

from memplus.mplus.model import MPlus
from memplus.store import MemoryStore

NAMES = [
    "add_memory",
    "search_memories",
    "ask_memory",
    "list_memories",
    "get_memory",
    "forget",
    "memory_history",
]
MODES = ["2026-07-28", "legacy"]
ACCEPT = {"Accept": "application/json, text/event-stream"}


def tenant(served: Served) -> str:
    return f"mcp{len(served.services.keys.all())}"


@pytest.mark.parametrize("mode", MODES)
def test_every_tool_declares_what_it_takes_gives_and_does(keyed: Served, mode: str) -> None:
    async def run() -> list[Any]:
        async with over_http(keyed.url, keyed.key(tenant(keyed)), mode=mode) as client:
            return list((await client.list_tools()).tools)

    tools = asyncio.run(run())
    assert [one.name for one in tools] == NAMES
    for one in tools:
        assert one.input_schema["type"] == one.output_schema["type"] == "object"
        assert len(one.description) < 300
        hints = one.annotations
        assert hints.open_world_hint is False
        assert hints.destructive_hint is (one.name == "forget")
        assert hints.read_only_hint is (one.name not in ("add_memory", "forget"))
        assert hints.idempotent_hint is (one.name != "add_memory")
    required = {one.name: one.input_schema.get("required", []) for one in tools}
    assert required == {
        "add_memory": ["text"],
        "search_memories": ["query"],
        "ask_memory": ["question"],
        "list_memories": [],
        "get_memory": ["memory"],
        "forget": ["memory"],
        "memory_history": ["memory"],
    }


@pytest.mark.parametrize("mode", MODES)
def test_what_is_added_is_found_answered_and_forgotten(keyed: Served, mode: str) -> None:
    async def run() -> None:
        async with over_http(keyed.url, keyed.key(tenant(keyed)), mode=mode) as client:
            added = await call(client, "add_memory", text=FACT, memory="ann", source="notes")
            assert (added["durable"], added["created"]) == (True, True)
            answer = await call(client, "ask_memory", question=QUESTION)
            assert answer["answer"] == ANSWER
            assert answer["evidence"][0]["text"] == FACT
            found = await call(client, "search_memories", query=QUESTION, memory="ann")
            assert found["data"][0]["text"] == FACT
            listed = await call(client, "list_memories")
            assert [one["id"] for one in listed["data"]] == ["ann"]
            about = await call(client, "get_memory", memory="ann")
            assert [one["source"] for one in about["sources"]] == ["notes"]
            history = await call(client, "memory_history", memory="ann")
            assert len(history["states"]) == 2
            gone = await call(client, "forget", memory="ann", source="notes")
            assert gone["tail_tokens"] == added["tokens"]
            assert (await call(client, "ask_memory", question=QUESTION))["answer"] != ANSWER

    asyncio.run(run())


def test_the_text_beside_is_the_same_as_json(keyed: Served) -> None:
    async def run() -> None:
        async with over_http(keyed.url, keyed.key(tenant(keyed))) as client:
            result = await client.call_tool("add_memory", {"text": FACT})
            said = json.loads(result.content[0].text)
            assert said == result.structured_content

    asyncio.run(run())


def test_which_memory_is_meant(keyed: Served) -> None:
    async def run() -> None:
        own, one = tenant(keyed), keyed.key(tenant(keyed))
        async with over_http(keyed.url, one) as client:
            assert "add_memory" in await refusal(client, "ask_memory", question=QUESTION)
            assert (await call(client, "add_memory", text=FACT))["memory"] == "default"
            assert (await call(client, "add_memory", text=FACT))["memory"] == "default"
            await call(client, "add_memory", text=FACT, memory="other")
            said = await refusal(client, "add_memory", text=FACT)
            assert "'default'" in said
            assert "'other'" in said
        async with over_http(keyed.url, one, memory="other") as client:
            assert (await call(client, "ask_memory", question=QUESTION))["memory"] == "other"
            asked = await call(client, "ask_memory", question=QUESTION, memory="default")
            assert asked["memory"] == "default"
        async with over_http(keyed.url, keyed.key(own, memory="other")) as client:
            assert (await call(client, "ask_memory", question=QUESTION))["memory"] == "other"

    asyncio.run(run())


def test_a_failure_says_what_to_do_next(keyed: Served) -> None:
    async def run() -> None:
        async with over_http(keyed.url, keyed.key(tenant(keyed))) as client:
            missing = await refusal(client, "search_memories", query="a", memory="none")
            assert missing == (
                "There is no memory 'none'. Call list_memories to see which there are, "
                "or add_memory to make one."
            )
            said = await refusal(client, "search_memories")
            assert "query" in said
            assert "memory, limit" in said
            await call(client, "add_memory", text=FACT, memory="ann", source="notes")
            for tool, given in (
                ("forget", {"memory": "ann"}),
                ("forget", {"memory": "ann", "source": "nothing"}),
                ("forget", {"memory": "ann", "match": "never said"}),
                ("add_memory", {"text": "  ", "memory": "new"}),
                ("add_memory", {"text": "a", "memory": "a/b"}),
                ("ask_memory", {"question": "why " * 5000, "memory": "ann"}),
                ("search_memories", {"query": "a", "limit": 1000}),
            ):
                said = await refusal(client, tool, **given)
                assert said.endswith("."), said
                assert not said.startswith("Error")
            listed = await call(client, "list_memories")
            assert [one["id"] for one in listed["data"]] == ["ann"]
            with pytest.raises(MCPError):
                await client.call_tool("delete_everything", {})

    asyncio.run(run())


def test_what_was_sent_is_not_said_again(keyed: Served) -> None:
    async def run() -> str:
        async with over_http(keyed.url, keyed.key(tenant(keyed))) as client:
            return await refusal(client, "add_memory", text={"secret": "tulip"})

    assert "tulip" not in asyncio.run(run())


def test_lists_come_in_pages_and_texts_are_cut(keyed: Served) -> None:
    own = tenant(keyed)
    with keyed.client(keyed.key(own)) as http:
        for number in range(3):
            http.post("/v1/memories", json={"id": f"m{number}"})
        write(http, "m0", text="word " * 3_000, flush=False)

    async def run() -> None:
        async with over_http(keyed.url, keyed.key(own)) as client:
            page = await call(client, "list_memories", limit=2)
            assert ([one["id"] for one in page["data"]], page["has_more"]) == (["m0", "m1"], True)
            rest = await call(client, "list_memories", limit=2, after=page["last_id"])
            assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (["m2"], False)
            found = await call(client, "search_memories", query="word", memory="m0", limit=3)
            assert 0 < len(found["data"]) <= 3
            assert all(len(one["text"]) <= 2000 for one in found["data"])
            history = await call(client, "memory_history", memory="m0", limit=1)
            assert (len(history["states"]), history["has_more"]) == (1, True)

    asyncio.run(run())


def test_no_tool_reaches_a_memory_of_another_tenant_or_outside_of_the_key(keyed: Served) -> None:
    own = tenant(keyed)
    with keyed.client(keyed.key(own)) as http:
        write(http, "secret", text="The canary is called Tulip.", source="canary", flush=True)
        write(http, "open-1")
    strangers = [keyed.key("stranger"), keyed.key(own, memory="open-*")]

    async def run(key: str) -> None:
        async with over_http(keyed.url, key, memory="secret") as client:
            for name in ("secret", f"{own}/secret", f"../{own}/secret"):
                for tool, given in (
                    ("search_memories", {"query": "canary"}),
                    ("ask_memory", {"question": "What is the canary called?"}),
                    ("get_memory", {}),
                    ("memory_history", {}),
                    ("forget", {"source": "canary"}),
                    ("forget", {"match": "canary"}),
                ):
                    said = await refusal(client, tool, memory=name, **given)
                    assert "Tulip" not in said
            said = await refusal(client, "ask_memory", question="What is the canary called?")
            assert "Tulip" not in said
            listed = json.dumps(await call(client, "list_memories"))
            assert "secret" not in listed

    for key in strangers:
        asyncio.run(run(key))
    with keyed.client(keyed.key(own)) as http:
        (text,) = http.get("/v1/memories/secret/writes").json()["data"]
        assert "Tulip" in text["text"]


def test_a_key_for_reading_adds_and_forgets_nothing(keyed: Served) -> None:
    own = tenant(keyed)
    with keyed.client(keyed.key(own)) as http:
        write(http, source="notes")

    async def run() -> None:
        async with over_http(keyed.url, keyed.key(own, scopes=("read",))) as client:
            assert (await call(client, "ask_memory", question=QUESTION))["answer"] == ANSWER
            for tool, given in (
                ("add_memory", {"text": "a"}),
                ("add_memory", {"text": "a", "memory": "new"}),
                ("forget", {"memory": "ann", "source": "notes"}),
            ):
                assert "key" in await refusal(client, tool, **given)

    asyncio.run(run())


def test_search_and_fetch_are_there_for_who_wants_them(tmp_path: Path, nano: MPlus) -> None:
    async def run(url: str) -> None:
        async with over_http(url) as client:
            tools = (await client.list_tools()).tools
            assert [one.name for one in tools] == [*NAMES, "search", "fetch"]
            (first, *_) = (await call(client, "search", query=QUESTION))["results"]
            assert (first["id"], first["title"], first["text"]) == ("ann/1", "notes", FACT)
            one = await call(client, "fetch", id=first["id"])
            assert (one["text"], one["metadata"]["memory"]) == (FACT, "ann")
            for id in ("ann/2", "ann/x", "ann", "none/1", "/1", f"ann/{'9' * 5000}"):
                await refusal(client, "fetch", id=id)

    with serving(tmp_path, nano, search_and_fetch=True) as served, served.client() as http:
        write(http, source="notes", flush=True)
        asyncio.run(run(served.url))


# The transport ------------------------------------------------------------------------------------


def test_every_message_needs_a_key(keyed: Served) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for key in ("", "wrong"):
        with keyed.client(key) as http:
            answer = http.post("/mcp", json=message, headers=ACCEPT)
            assert failure(answer, 401) == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_only_post_is_answered(keyed: Served) -> None:
    with keyed.client(keyed.key("post")) as http:
        for method in ("GET", "DELETE", "PUT"):
            answer = http.request(method, "/mcp", headers=ACCEPT)
            assert failure(answer, 405) == "method"
            assert answer.headers["allow"] == "POST"


def test_it_is_called_by_its_own_names_and_from_its_own_pages_only(
    tmp_path: Path, nano: MPlus
) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}

    def status(client: httpx.Client, **headers: str) -> int:
        answer = client.post("/mcp", json=message, headers=ACCEPT | headers)
        return answer.status_code

    origins, names = ("https://app.example",), ("localhost", "127.0.0.1", "*.memory.example")
    settings = {"allowed_origins": origins, "allowed_hosts": names}
    with serving(tmp_path, nano, **settings) as served, served.client() as client:
        assert status(client) == 200
        assert status(client, Host="evil.example") in (400, 421)
        assert status(client, Origin="https://evil.example") == 403
        assert status(client, Origin="https://app.example") == 200
        assert status(client, Origin=served.url) == 200
        # The same names as on all other routes: in capitals, and any that fits a pattern.
        assert status(client, Host="LOCALHOST:8000") == 200
        called = {"Host": "ann.memory.example"}
        assert status(client, **called) == 200
        assert status(client, **called, Origin="https://ann.memory.example") == 200
        assert status(client, **called, Origin="https://bob.memory.example") == 403
        assert status(client, Host="memory.example") == 400


@pytest.mark.parametrize(
    ("headers", "status", "code", "param"),
    [
        ({"Origin": "https://evil.example"}, 403, "origin_not_allowed", "Origin"),
        ({"Content-Type": "text/plain"}, 400, "content_type", "Content-Type"),
        ({"Host": "evil.example"}, 400, "host_not_allowed", "Host"),
    ],
)
def test_a_refusal_before_the_protocol_has_the_shape_of_all_others(
    keyed: Served, headers: dict[str, str], status: int, code: str, param: str
) -> None:
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    sent = {**ACCEPT, "Content-Type": "application/json"} | headers
    with keyed.client(keyed.key(tenant(keyed))) as client:
        answer = client.post("/mcp", content=message, headers=sent)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)


def test_the_stateless_revision_needs_no_handshake(keyed: Served) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "server/discover",
        "params": {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        },
    }
    headers = {
        **ACCEPT,
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "server/discover",
    }
    with keyed.client(keyed.key("stateless")) as http:
        answer = http.post("/mcp", json=message, headers=headers)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert "2026-07-28" in result["supportedVersions"]
    assert "mcp-session-id" not in answer.headers


def test_calls_are_among_the_recent_requests_and_the_figures(keyed: Served) -> None:
    key = keyed.key(tenant(keyed))

    async def run() -> None:
        async with over_http(keyed.url, key) as client:
            await refusal(client, "ask_memory", question="a", memory="none")

    asyncio.run(run())
    with keyed.client(key) as http:
        found = http.get("/v1/requests").json()["data"]
        assert {one["route"] for one in found} == {"/mcp"}
        figures = http.get("/metrics").text
    assert 'memplus_requests_total{route="/mcp",status="200"}' in figures
    assert 'memplus_errors_total{code="memory_not_found"}' in figures


# Over standard input and output -------------------------------------------------------------------


def test_a_program_that_is_started_serves_the_tools_until_its_input_ends(tmp_path: Path) -> None:
    async def run() -> None:
        async with over_stdio(tmp_path / "store", "--memory-name", "ann") as client:
            assert (await call(client, "add_memory", text=FACT))["memory"] == "ann"
            assert (await call(client, "ask_memory", question=QUESTION))["answer"] == ANSWER

    asyncio.run(run())
    assert list(MemoryStore(tmp_path / "store")) == ["ann"]


@pytest.mark.long
def test_a_program_may_be_held_to_one_memory_and_to_reading(tmp_path: Path, nano: MPlus) -> None:
    store = MemoryStore(tmp_path / "store")
    for name in ("ann", "bob"):
        with store.create(name, nano) as memory:
            nano.write(memory, FACT)

    async def run() -> None:
        flags = ("--read-only", "--memory-name", "ann", "--only")
        async with over_stdio(tmp_path / "store", *flags, mode="legacy") as client:
            assert (await call(client, "ask_memory", question=QUESTION))["answer"] == ANSWER
            assert "key" in await refusal(client, "add_memory", text=FACT)
            assert "no memory" in await refusal(client, "get_memory", memory="bob")

    asyncio.run(run())
