from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from tests.server.serving import Served
from tests.server.speaking import failure, write

from memplus.errors import BrokenTextError
from memplus.server.faults import RequestFault
from memplus.server.wire import sound
from memplus.server.wire.chat import ChatRequest
from memplus.server.wire.completions import CompletionRequest
from memplus.server.wire.memories import ForgetRequest
from memplus.server.wire.sound import require_sound
from memplus.server.wire.writes import WriteRequest

HALF, NUMBER = '"\\ud800x"', "NaN"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("\ud800", "The body"),
        ({"a": [1, {"b": "x\udfff"}]}, "a.1.b"),
        ({"a": {"\ud800": 1}}, "a"),
    ],
)
def test_half_a_character_is_named_wherever_it_stands(sent: Any, name: str) -> None:
    with pytest.raises(BrokenTextError, match=name):
        require_sound(sent)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_has_not_is_named(number: float) -> None:
    with pytest.raises(RequestFault) as refused:
        require_sound({"a": [0.5, {"b": number}]})
    assert refused.value.fault.param == "a.1.b"


def test_what_is_nested_deeply_is_looked_through() -> None:
    deep: Any = "\ud800"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BrokenTextError):
        require_sound(deep)


def test_a_body_is_looked_through_once_not_again_for_each_of_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(sound, "require_sound", looked.append)
    turns = [{"role": "user", "content": "Who?"}] * 3
    sent = {"model": "nano", "messages": turns, "memory": {"id": "a"}, "conversation": {"id": "b"}}
    ChatRequest.model_validate(sent)
    assert looked == [sent]
    WriteRequest.model_validate({"messages": turns})
    assert looked == [sent, {"messages": turns}]


def test_of_many_faults_only_the_first_is_described() -> None:
    many = range(100_000)
    for model, sent in (
        (ChatRequest, {"model": "nano", "messages": [1 for _ in many]}),
        (ChatRequest, {"model": "nano", "messages": [{"role": "user"}], "stop": [1 for _ in many]}),
        (WriteRequest, {"messages": [1 for _ in many]}),
        (WriteRequest, {"text": "a", "metadata": {f"n{one}": one for one in many}}),
        (CompletionRequest, {"model": "nano", "prompt": [None for _ in many]}),
        (ForgetRequest, {"write": ["a" for _ in many]}),
    ):
        with pytest.raises(ValidationError) as refused:
            model.model_validate(sent)
        assert refused.value.error_count() < 10


def test_on_every_route_such_a_body_is_refused_and_nothing_is_written(
    keyed: Served, client: httpx.Client
) -> None:
    state = write(client, "ann", text="The gate code is 77.")
    paths = client.get("/openapi.json").json()["paths"]
    with_json = [
        path
        for path, of in paths.items()
        if "application/json" in of.get("post", {}).get("requestBody", {}).get("content", {})
    ]
    assert len(with_json) >= 14
    for path in with_json:
        for value in (HALF, NUMBER):
            fields = '"model": "nano", "user": "ann", "input": "A turn.", "name": "new", '
            fields += '"messages": [{"role": "user", "content": "A turn."}], "question": "Who?", '
            body = f'{{{fields}"metadata": {{"deep": [{value}]}}, "unknown": {value}}}'
            answer = client.post(
                path.format(memory="ann", id="conv_1"),
                content=body,
                headers={"Content-Type": "application/json"},
            )
            code = failure(answer, 400)
            assert code == ("broken_text" if value == HALF else "invalid"), path
    page = client.get("/v1/memories/ann/writes").json()
    assert (page["tail"]["tokens"], page["data"]) == (state["waiting"], [])
    assert [one["id"] for one in client.get("/v1/memories").json()["data"]] == ["ann"]


def test_a_field_that_takes_anything_keeps_what_is_sound(client: httpx.Client) -> None:
    metadata = {"a": [1.5, None, {"b": "caf\u00e9 \U0001f600"}]}
    body = {"model": "nano", "input": "Who?", "user": "ann", "metadata": metadata}
    write(client, "ann")
    answer = client.post("/v1/responses", content=json.dumps(body).encode(),
                         headers={"Content-Type": "application/json"}).json()  # fmt: skip
    assert answer["metadata"] == metadata
