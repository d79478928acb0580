"""What Open WebUI sends: the whole history with each turn, and its own requests between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from tests.server.serving import Served, serving
from tests.server.talking import held, reply, user

from memplus.mplus.model import MPlus

SECRET = "a secret of more than thirty-two bytes"
TASKS = ("title_generation", "tags_generation", "follow_up_generation", "query_generation")


@dataclass
class Chat:
    """One chat of one user, as the interface keeps it."""

    client: httpx.Client
    person: str
    id: str
    signed: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def _headers(self) -> dict[str, str]:
        found = {"X-OpenWebUI-Chat-Id": self.id, "X-OpenWebUI-Message-Id": str(time.time())}
        if not self.signed:
            name = {"X-OpenWebUI-User-Name": "Ann", "X-OpenWebUI-User-Role": "user"}
            return found | name | {"X-OpenWebUI-User-Id": self.person}
        claims = {"sub": self.person, "iss": "open-webui", "exp": time.time() + 300}
        return found | {"X-OpenWebUI-User-Jwt": jwt.encode(claims, SECRET, "HS256")}

    def post(self, messages: list[dict[str, Any]], **fields: Any) -> httpx.Response:
        headers = self._headers | fields.pop("headers", {"X-Memory-Task": ""})
        body = {"model": "nano", "messages": messages, "stream": True} | fields
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    def say(self, text: str) -> None:
        """A turn, its answer, and what the interface asks for afterwards."""
        self.messages.append(user(text))
        self.answer()
        history = "\n".join(one["content"] for one in self.messages)
        for task in TASKS:
            asked = [user(f"### Task: write a title, tags or a query for:\n{history}")]
            headers = {"X-Memory-Task": task}
            assert self.post(asked, stream=False, max_tokens=5, headers=headers).is_success

    def answer(self) -> None:
        """Have the last turn answered, for the first time or again."""
        response = self.post(self.messages)
        assert response.is_success, response.text
        assert response.text.rstrip().endswith("data: [DONE]")
        self.messages.append(reply("Noted."))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, nano: MPlus) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("gateway"), nano, keys=True) as made:
        yield made


@pytest.fixture
def client(gateway: Served) -> Iterator[httpx.Client]:
    key = gateway.key("house", gateway=True)
    with gateway.client(key) as made:
        yield made


def test_a_chat_is_written_once_and_without_the_interfaces_own_requests(
    gateway: Served, client: httpx.Client
) -> None:
    chat = Chat(client, "u1", "c1")
    for text in ("The gate is red.", "The car is blue.", "The boat is white."):
        chat.say(text)
    assert held(gateway, "u1", "house") == " The gate is red. The car is blue. The boat is white."


def test_an_answer_that_is_made_again_writes_nothing_and_an_edit_its_own_branch(
    gateway: Served, client: httpx.Client
) -> None:
    chat = Chat(client, "u2", "c1")
    chat.say("The gate is red.")
    chat.say("The car is blue.")
    chat.messages.pop()
    chat.answer()
    expected = " The gate is red. The car is blue."
    assert held(gateway, "u2", "house") == expected
    chat.messages[2:] = []
    chat.say("The car is green.")
    chat.say("It rains.")
    assert held(gateway, "u2", "house") == f"{expected} The car is green. It rains."


def test_each_user_has_a_memory_and_each_chat_its_chain(
    gateway: Served, client: httpx.Client
) -> None:
    for person in ("u3", "u4"):
        for id in ("c1", "c2"):
            Chat(client, person, f"{person}-{id}").say("The gate is red.")
    for person in ("u3", "u4"):
        assert held(gateway, person, "house") == " The gate is red. The gate is red."


def test_a_key_that_is_no_gateway_speaks_for_nobody(gateway: Served) -> None:
    with gateway.client(gateway.key("house")) as client:
        response = Chat(client, "u5", "c1").post([user("The gate is red.")], stream=False)
    assert response.json()["memory"]["id"] is None
    assert held(gateway, "u5", "house") == ""


def test_where_users_are_signed_plain_headers_count_for_nothing(
    tmp_path: Path, nano: MPlus
) -> None:
    with serving(tmp_path, nano, keys=True, gateway_secret=SECRET) as served:
        key = served.key("house", gateway=True)
        with served.client(key) as client:
            Chat(client, "u1", "c1", signed=True).say("The gate is red.")
            plain = Chat(client, "u2", "c1").post([user("It rains.")], stream=False)
            assert plain.json()["memory"]["id"] is None
            forged = {"X-OpenWebUI-User-Jwt": jwt.encode({"sub": "u1"}, SECRET[::-1], "HS256")}
            refused = Chat(client, "u1", "c1").post([user("It rains.")], headers=forged)
            assert refused.status_code == 401
        assert held(served, "u1", "house") == " The gate is red."
