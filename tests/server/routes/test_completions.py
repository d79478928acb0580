from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.server.serving import Served
from tests.server.talking import held

PROMPT = "\nQuestion: What colour is the gate?\nAnswer:"


def post(served: Served, prompt: Any, **fields: Any) -> httpx.Response:
    with served.client() as client:
        return client.post("/v1/completions", json={"model": "nano", "prompt": prompt} | fields)


def answer(served: Served, prompt: Any, **fields: Any) -> dict[str, Any]:
    response = post(served, prompt, **fields)
    assert response.is_success, response.text
    found: dict[str, Any] = response.json()
    return found


def chat(served: Served, text: str, memory: str) -> None:
    with served.client() as client:
        body = {"model": "nano", "user": memory, "messages": [{"role": "user", "content": text}]}
        assert client.post("/v1/chat/completions", json=body).is_success


def test_a_prompt_is_read_after_a_memory_and_nothing_is_written(served: Served) -> None:
    chat(served, "The gate is red.", "read")
    found = answer(served, PROMPT, user="read", stop="\n")
    assert found["object"] == "text_completion"
    (choice,) = found["choices"]
    assert choice["text"] == " red"
    assert choice["finish_reason"] == "stop"
    assert found["memory"]["id"] == "read"
    assert held(served, "read") == " The gate is red."
    unknown = post(served, PROMPT, user="nobody")
    assert unknown.json()["error"]["code"] == "memory_not_found"


def test_several_prompts_get_their_answers_in_order(served: Served) -> None:
    prompts = [PROMPT, "\nQuestion: Who is Bob?\nAnswer:"]
    found = answer(served, prompts, max_tokens=6)
    alone = [answer(served, one, max_tokens=6)["choices"][0]["text"] for one in prompts]
    assert [one["index"] for one in found["choices"]] == [0, 1]
    assert [one["text"] for one in found["choices"]] == alone
    assert found["usage"]["completion_tokens"] == 12


def test_ids_are_a_prompt_as_the_text_is(served: Served) -> None:
    with served.client() as client:
        ids = client.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    texts = [answer(served, one)["choices"][0]["text"] for one in (PROMPT, ids, [ids])]
    assert len(set(texts)) == 1
    assert post(served, [10**9]).status_code == 400


def test_the_prompts_own_chances_are_told_as_harnesses_ask_for_them(served: Served) -> None:
    found = answer(served, PROMPT, echo=True, logprobs=1, max_tokens=1)
    (choice,) = found["choices"]
    columns = choice["logprobs"]
    assert "".join(columns["tokens"]) == choice["text"]
    assert choice["text"].startswith(PROMPT)
    assert columns["token_logprobs"][0] is None
    assert all(chance <= 0 for chance in columns["token_logprobs"][1:])
    assert [len(one or {}) for one in columns["top_logprobs"]][1:] == [1] * (
        len(columns["tokens"]) - 1
    )
    starts = [
        choice["text"][at:].startswith(t)
        for at, t in zip(columns["text_offset"], columns["tokens"], strict=True)
    ]
    assert all(starts)
    scored = answer(served, PROMPT, echo=True, logprobs=1, max_tokens=0)["choices"][0]
    assert scored["text"] == PROMPT
    expected = columns["token_logprobs"][1:-1]
    assert scored["logprobs"]["token_logprobs"][1:] == pytest.approx(expected, abs=1e-4)


def test_a_stream_gives_the_same_text(served: Served) -> None:
    fields = {"max_tokens": 6, "echo": True}
    response = post(served, PROMPT, stream=True, stream_options={"include_usage": True}, **fields)
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    *chunks, usage = [json.loads(line) for line in lines[:-1]]
    text = "".join(one["choices"][0]["text"] for one in chunks)
    assert text == answer(served, PROMPT, **fields)["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert usage["usage"]["completion_tokens"] == 6


def test_what_nobody_could_answer_is_refused(served: Served) -> None:
    wrong: list[dict[str, Any]] = [{"prompt": [one]} for one in (-1, 1 << 20, 10**40, -(10**40))]
    for fields in ({"max_tokens": 0}, {"n": 2}, {"suffix": "x"}, {"prompt": []}, *wrong):
        assert post(served, fields.pop("prompt", PROMPT), **fields).status_code == 400


@pytest.mark.parametrize("prompt", ["Hello there", "é日本 naïve 🙂 ok"])
def test_a_streams_tokens_have_the_places_of_the_whole_answer(served: Served, prompt: str) -> None:
    asked = {"echo": True, "logprobs": 1, "max_tokens": 5, "temperature": 1, "seed": 4}
    whole = answer(served, prompt, **asked)["choices"][0]
    lines = post(served, prompt, stream=True, **asked).text.split("\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    streamed = [one["choices"][0] for one in events if one["choices"]]
    assert "".join(one["text"] for one in streamed) == whole["text"]
    for column in ("tokens", "text_offset"):
        joined = [value for one in streamed for value in one["logprobs"][column]]
        assert joined == whole["logprobs"][column], column
    places = list(zip(whole["logprobs"]["tokens"], whole["logprobs"]["text_offset"], strict=True))
    assert all(0 <= place < len(whole["text"]) for _, place in places)
    for token, place in places:
        assert token.startswith("bytes:") or whole["text"][place:].startswith(token)
