"""Nobody reaches what is another's: every route of the table, called by those who may not.

A route that is not listed here fails the first test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.server.serving import Served, serving
from tests.server.speaking import FACT, QUESTION, write

from memplus.mplus.model import MPlus
from memplus.server.app import create_app

SECRET = re.compile(r"tulip|locker code is|(?<![\w.])4821(?![\w.])")
"""Of the source, of the text, of the answer."""
OWN = "acme-corp"

OPEN = {("get", "/health"), ("get", "/ready"), ("get", "/version"), ("get", "/metrics")}
"""Answered to anybody."""

CHAT = {"model": "nano", "messages": [{"role": "user", "content": QUESTION}], "memory": "vault"}
ANSWER = {"model": "nano", "input": QUESTION, "memory": "vault"}
ITEM = {"type": "message", "role": "user", "content": "Hello."}
CALLS: dict[tuple[str, str], dict[str, Any]] = {
    ("get", "/v1/models"): {"params": {"memories": "true"}},
    ("get", "/v1/models/{name}"): {},
    ("get", "/v1/memories"): {},
    ("post", "/v1/memories"): {"json": {"name": "new"}},
    ("post", "/v1/memories:import"): {"params": {"id": "vault"}, "content": b"no export"},
    ("get", "/v1/memories/{memory}"): {},
    ("post", "/v1/memories/{memory}/fork"): {"json": {"name": "open-copy"}},
    ("get", "/v1/memories/{memory}/history"): {},
    ("post", "/v1/memories/{memory}/rollback"): {"json": {"write": 0}},
    ("get", "/v1/memories/{memory}/export"): {},
    ("get", "/v1/memories/{memory}/writes"): {},
    ("post", "/v1/memories/{memory}/ask"): {"json": {"question": QUESTION, "evidence": True}},
    ("post", "/v1/memories/{memory}/search"): {"json": {"query": QUESTION}},
    ("post", "/v1/memories/{memory}/forget"): {"json": {"match": "code"}},
    ("post", "/v1/memories/{memory}/writes"): {"json": {"text": "Overwritten."}},
    ("post", "/v1/memories/{memory}/files"): {"files": {"file": ("a.txt", b"Overwritten.")}},
    ("delete", "/v1/memories/{memory}"): {},
    ("get", "/v1/keys"): {},
    ("get", "/v1/keys/current"): {},
    ("post", "/v1/keys"): {"json": {"name": "wide"}},
    ("delete", "/v1/keys/{key}"): {},
    ("get", "/v1/requests"): {},
    ("post", "/v1/chat/completions"): {"json": CHAT},
    ("post", "/v1/completions"): {
        "json": {"model": "nano", "prompt": QUESTION, "memory": "vault", "max_tokens": 8},
    },
    ("post", "/v1/responses"): {"json": ANSWER},
    ("get", "/v1/responses/{id}"): {},
    ("get", "/v1/responses/{id}/input_items"): {},
    ("delete", "/v1/responses/{id}"): {},
    ("post", "/v1/conversations"): {"json": {"metadata": {"memory_id": "vault"}}},
    ("get", "/v1/conversations/{id}"): {},
    ("post", "/v1/conversations/{id}"): {"json": {"metadata": {"k": "v"}}},
    ("get", "/v1/conversations/{id}/items"): {},
    ("post", "/v1/conversations/{id}/items"): {"json": {"items": [ITEM]}},
    ("get", "/v1/conversations/{id}/items/{item}"): {},
    ("delete", "/v1/conversations/{id}/items/{item}"): {},
    ("delete", "/v1/conversations/{id}"): {},
    ("post", "/tokenize"): {"json": {"model": "nano", "prompt": "Hello."}},
}
"""What each route is sent."""


@dataclass(frozen=True)
class Guarded:
    """A server with something to protect, and what it is called."""

    served: Served
    ids: dict[str, dict[str, str]]
    """Beginning of a path -> its parameters."""

    def path(self, template: str) -> str:
        return template.format(**next(
            values for begin, values in self.ids.items() if template.startswith(begin)
        ))  # fmt: skip

    def state(self) -> tuple[Any, ...]:
        """What must not change."""
        manifest = self.served.services.store.manifest(f"{OWN}/vault")
        counted = [
            self.served.services.database.row(f"SELECT count(*) FROM {table}")[0]
            for table in ("keys", "calls")
        ]
        revoked = self.served.services.database.rows("SELECT id FROM keys WHERE revoked NOT NULL")
        return (manifest.commit, manifest.writes, manifest.waiting, counted, len(revoked))


def operations(app: FastAPI) -> set[tuple[str, str]]:
    return {(method, path) for path, of in app.openapi()["paths"].items() for method in of}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, nano: MPlus) -> Iterator[Guarded]:
    with serving(tmp_path_factory.mktemp("store"), nano, keys=True) as served:
        with served.client(served.key(OWN)) as client:
            write(client, "vault", source="tulip", flush=True)
            write(client, "open-1", text="Nothing of interest.")
            answer = client.post("/v1/responses", json=ANSWER).json()
            assert SECRET.search(str(answer["output"])), answer
            talk = client.post("/v1/conversations", json={"items": [ITEM | {"content": FACT}]})
            items = client.get(f"/v1/conversations/{talk.json()['id']}/items").json()
        key = served.services.keys.all(OWN)[0]
        conversation = {"id": talk.json()["id"], "item": items["data"][0]["id"]}
        yield Guarded(served, {
            "/v1/memories/": {"memory": "vault"},
            "/v1/models/": {"name": "nano@vault"},
            "/v1/keys/": {"key": key.id},
            "/v1/responses/": {"id": answer["id"]},
            "/v1/conversations/": conversation,
            "/": {},
        })  # fmt: skip


def test_every_route_is_tried_here(guarded: Guarded) -> None:
    assert operations(create_app(guarded.served.services)) == CALLS.keys() | OPEN


def sent(guarded: Guarded, client: httpx.Client, method: str, path: str) -> httpx.Response:
    headers = {"X-Memory-Id": "vault"}
    return client.request(
        method.upper(), guarded.path(path), headers=headers, **CALLS[method, path]
    )


@pytest.mark.parametrize("key", ["", "mp-" + "x" * 43])
def test_no_route_is_answered_without_a_key(guarded: Guarded, key: str) -> None:
    with guarded.served.client(key) as client:
        for method, path in CALLS:
            answer = sent(guarded, client, method, path)
            assert answer.status_code == 401, f"{method} {path}: {answer.text}"
            assert answer.json()["error"]["type"] == "authentication_error"


def test_another_tenant_finds_nothing_of_it_on_any_route(guarded: Guarded) -> None:
    stranger = guarded.served.key("stranger", scopes=("admin",))
    before = guarded.state()
    made = 0
    with guarded.served.client(stranger) as client:
        for method, path in CALLS:
            answer = sent(guarded, client, method, path)
            place = f"{method} {path}: {answer.text[:300]}"
            assert not SECRET.search(answer.text), place
            assert OWN not in answer.text, place
            assert answer.status_code < 500, place
            if any(part in path for part in ("{id}", "{key}")):
                assert answer.status_code == 404, place
            made += (method, path, answer.status_code) == ("post", "/v1/keys", 201)
    after = guarded.state()
    assert after[:3] == before[:3]
    assert guarded.served.services.keys.all(OWN) == [
        key for key in guarded.served.services.keys.all(OWN) if key.revoked is None
    ]
    assert made == 1


@pytest.mark.parametrize("bound", ["open-1", "open-*"])
def test_a_key_of_other_memories_finds_nothing_of_it_on_any_route(
    guarded: Guarded, bound: str
) -> None:
    key = guarded.served.key(OWN, memory=bound, scopes=("admin",))
    before = guarded.state()
    with guarded.served.client(key) as client:
        for method, path in CALLS:
            answer = sent(guarded, client, method, path)
            place = f"{method} {path}: {answer.text[:300]}"
            assert not SECRET.search(answer.text), place
            assert "vault" not in answer.text.replace("memory 'vault'", ""), place
            assert answer.status_code < 500, place
            if "{memory}" in path or "{id}" in path or "{key}" in path:
                assert answer.status_code == 404, place
            if "json" in CALLS[method, path] and CALLS[method, path]["json"].get("memory"):
                assert answer.status_code == 404, place
    assert guarded.state() == before


def test_a_key_that_may_only_read_changes_nothing_of_others_on_any_route(guarded: Guarded) -> None:
    key = guarded.served.key(OWN, scopes=("read",))
    kept = "SELECT id, body FROM {} WHERE tenant = ? ORDER BY number"

    def others() -> list[list[str]]:
        found = []
        for table in ("responses", "items"):
            rows = guarded.served.services.database.rows(kept.format(table), (OWN,))
            found.append([row["body"] for row in rows if row["id"] in ids])
        return found

    ids = {one for values in guarded.ids.values() for one in values.values()}
    before = guarded.state(), others()
    assert all(before[1])
    with guarded.served.client(key) as client:
        for method, path in CALLS:
            answer = sent(guarded, client, method, path)
            assert answer.status_code < 500, f"{method} {path}: {answer.text[:300]}"
        mine = client.post("/v1/responses", json=ANSWER).json()["id"]
        assert client.delete(f"/v1/responses/{mine}").is_success  # what it was answered itself
    assert (guarded.state(), others()) == before


@pytest.mark.parametrize(
    "name", [f"{OWN}%2Fvault", f"..%2F{OWN}%2Fvault", f"%2e%2e/{OWN}/vault", f"{OWN}/vault"]
)
def test_no_spelling_of_a_name_leaves_the_tenant(guarded: Guarded, name: str) -> None:
    with guarded.served.client(guarded.served.key("", scopes=("admin",))) as client:
        for path in ("", "/writes", "/export", "/history"):
            answer = client.get(f"/v1/memories/{name}{path}")
            assert answer.status_code == 404
            assert not SECRET.search(answer.text)
        for body in ({"memory": f"{OWN}/vault"}, {"metadata": {"memory_id": f"{OWN}/vault"}}):
            answer = client.post("/v1/chat/completions", json={**CHAT, "memory": None, **body})
            assert answer.status_code in (400, 404), answer.text


def test_errors_and_logs_name_no_path_and_no_text(
    guarded: Guarded, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    folder = str(guarded.served.services.store.path)
    key = guarded.served.key(OWN)
    with caplog.at_level("DEBUG", logger="memplus"), guarded.served.client(key) as client:
        for method, path in CALLS:
            if method == "delete":
                continue
            answer = sent(guarded, client, method, path)
            if answer.status_code >= 400:
                assert folder not in answer.text
    said = caplog.text
    assert said
    assert not SECRET.search(said)
    for secret in ("vault", QUESTION, key, key[:7]):
        assert secret not in said, secret
