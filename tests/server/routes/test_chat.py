from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.server.serving import Served, serving
from tests.server.talking import held, reply, user

from memplus.mplus.model import MPlus

GATE, ASKED = user("The gate is red."), user("What colour is the gate?")


def post(served: Served, *messages: dict[str, Any], key: str = "", **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", {})
    body = {"model": "nano", "messages": list(messages)} | fields
    with served.client(key) as client:
        return client.post("/v1/chat/completions", json=body, headers=headers)


def answer(served: Served, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = post(served, *messages, **fields)
    assert response.is_success, response.text
    found: dict[str, Any] = response.json()
    return found


def events(served: Served, *messages: dict[str, Any], **fields: Any) -> list[str]:
    """The lines of a stream, blank ones and comments left out."""
    response = post(served, *messages, stream=True, **fields)
    assert response.is_success, response.text
    lines = [line for line in response.text.split("\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    told = response.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    return response.status_code, told["code"], told["param"]


def test_an_answer_has_the_fields_that_clients_know(served: Served) -> None:
    answer(served, GATE, user="fields")
    found = answer(served, ASKED, user="fields")
    assert found["object"] == "chat.completion"
    assert found["model"] == "nano"
    assert found["id"].startswith("chatcmpl-")
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": "red", "refusal": None}
    assert choice["finish_reason"] == "stop"
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    memory = found["memory"]
    assert memory["id"] == "fields"
    assert memory["durable"]
    assert memory["state"] > 0
    assert len(memory["written"]) == 1
    assert memory["confidence"] > 0
    assert memory["evidence"] is None


def test_a_conversation_that_is_sent_again_is_written_once(served: Served) -> None:
    said = [GATE]
    for text in ("The car is blue.", "What colour is the car?"):
        found = answer(served, *said, user="again")
        said += [reply(found["choices"][0]["message"]["content"]), user(text)]
    answer(served, *said, user="again")
    answer(served, *said, user="again")
    assert held(served, "again") == " The gate is red. The car is blue. What colour is the car?\n"


def test_an_edited_turn_is_written_and_a_regenerated_answer_writes_nothing(served: Served) -> None:
    answer(served, GATE, user="edits")
    assert answer(served, GATE, user="edits")["memory"]["written"] == []
    edited = answer(served, user("The gate is green."), user="edits")
    assert len(edited["memory"]["written"]) == 1
    answer(served, user("The gate is green."), reply("Noted."), user("It rains."), user="edits")
    assert held(served, "edits") == " The gate is red. The gate is green. It rains."


def test_each_conversation_has_its_chain(served: Served) -> None:
    for name in ("one", "two"):
        answer(served, GATE, user="chains", headers={"X-Conversation-Id": name})
        answer(served, GATE, user="chains", headers={"X-OpenWebUI-Chat-Id": name})
    assert held(served, "chains") == GATE["content"].join([" ", " ", ""])


@pytest.mark.parametrize(
    "fields",
    [
        {"store": False},
        {"headers": {"X-Memory-Task": "title_generation"}},
        {"headers": {"X-Memory-Task": "{{TASK}}"}},
    ],
)
def test_nothing_is_written_where_nothing_is_to_be_stored(
    served: Served, fields: dict[str, Any]
) -> None:
    name = f"nothing {fields}"
    assert error(post(served, GATE, user=name, **fields))[:2] == (404, "memory_not_found")
    answer(served, GATE, user=name)
    found = answer(served, user("The car is blue."), user=name, **fields)
    assert found["memory"]["written"] == []
    assert not found["memory"]["durable"]
    assert held(served, name) == " The gate is red."


def test_system_text_is_never_written(served: Served) -> None:
    system = {"role": "system", "content": "You are a gate."}
    developer = {"role": "developer", "content": "Be brief."}
    answer(served, system, GATE, user="system")
    answer(served, developer, GATE, user="system")
    assert held(served, "system") == " The gate is red."


def test_blank_turns_are_no_turns(served: Served) -> None:
    blank = user(" \n")
    answer(served, blank, reply(""), GATE, user="blank")
    assert held(served, "blank") == " The gate is red."
    assert error(post(served, blank, user="nobody"))[0] == 400
    assert held(served, "nobody") == ""


def test_replies_are_written_where_the_server_is_set_so(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, write_replies=True) as served:
        answer(served, GATE, user="ann")
        found = answer(served, GATE, reply("Noted."), ASKED, user="ann")
        said = found["choices"][0]["message"]["content"]
        expected = f" The gate is red.\nQuestion: What colour is the gate?\nAnswer: {said}\n"
        assert held(served, "ann") == expected
        answer(served, GATE, reply("Noted."), ASKED, reply(said), user("It rains."), user="ann")
        expected += " It rains."
        assert held(served, "ann") == expected
        # Another answer to a question that is written comes with the question.
        other = (GATE, reply("Noted."), ASKED, reply("Blue."))
        answer(served, *other, user("It snows."), user="ann")
        expected += "\nQuestion: What colour is the gate?\nAnswer: Blue.\n It snows."
        assert held(served, "ann") == expected


def test_a_key_that_may_only_read_asks_and_writes_nothing(tmp_path: Path, nano: MPlus) -> None:
    with serving(tmp_path, nano, keys=True) as served:
        writer = served.key("acme", scopes=("write",))
        reader = served.key("acme", scopes=("read",))
        assert error(post(served, GATE, user="ann", key=reader))[0] == 404
        answer(served, GATE, user="ann", key=writer)
        found = answer(served, ASKED, user="ann", key=reader)
        assert found["choices"][0]["message"]["content"] == "red"
        assert found["memory"]["written"] == []
        assert held(served, "ann", "acme") == " The gate is red."


def test_without_a_memory_the_plain_model_answers(served: Served) -> None:
    found = answer(served, ASKED)
    assert found["memory"]["id"] is None
    assert found["memory"]["written"] == []


def test_a_model_name_may_choose_a_memory(served: Served) -> None:
    answer(served, GATE, model="nano@by-model")
    assert held(served, "by-model") == " The gate is red."
    assert error(post(served, GATE, model="gpt-5"))[:2] == (404, "model_not_found")


def test_a_conversation_in_the_body_keeps_the_memory_that_it_began_with(served: Served) -> None:
    answer(served, GATE, user="pinned", conversation="my talk")
    found = answer(served, GATE, reply("Noted."), ASKED, conversation={"id": "my talk"})
    assert found["memory"]["id"] == "pinned"
    refused = post(served, GATE, conversation="my talk", memory="else")
    assert error(refused) == (400, "conversation_memory", "conversation")
    unknown = post(served, GATE, conversation="conv_unknown", user="pinned")
    assert error(unknown)[:2] == (404, "conversation_not_found")


def test_evidence_and_a_threshold_are_given_when_asked_for(served: Served) -> None:
    answer(served, GATE, user="proof")
    found = answer(served, ASKED, memory={"id": "proof", "evidence": True})["memory"]
    assert found["confidence"] > 0
    assert "The gate is red." in found["evidence"][0]["text"]
    with served.client() as client:
        asked = {"question": ASKED["content"], "evidence": True}
        other = client.post("/v1/memories/proof/ask", json=asked).json()
    assert found["evidence"][0].keys() == other["evidence"][0].keys()
    with served.client() as client:
        assert client.post("/v1/memories", json={"id": "doubt"}).is_success  # holds nothing
    said = answer(served, ASKED, user="doubt", store=False)["choices"][0]["message"]["content"]
    found = answer(served, ASKED, memory={"id": "doubt", "min_confidence": 0.5}, store=False)
    assert found["choices"][0]["message"]["content"] == "I have no note of that."
    assert found["memory"]["withheld"] == said
    assert found["memory"]["confidence"] == 0


def test_a_stream_has_the_form_that_clients_expect(served: Served) -> None:
    answer(served, GATE, user="stream")
    *chunks, done = events(
        served, ASKED, user="stream", stream_options={"include_usage": True}, logprobs=True
    )
    assert done == "[DONE]"
    found = [json.loads(one) for one in chunks]
    heads = {(one["id"], one["object"], one["created"], one["model"]) for one in found}
    assert len(heads) == 1
    assert found[0]["object"] == "chat.completion.chunk"
    first, *pieces, end, usage = found
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["choices"][0]["delta"]["content"] for one in pieces) == "red"
    assert [t["token"] for one in pieces for t in one["choices"][0]["logprobs"]["content"]]
    assert end["choices"][0]["delta"] == {}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert len(end["memory"]["written"]) == 1
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] > 0
    assert all(one["choices"][0]["finish_reason"] is None for one in (first, *pieces))


def test_a_stream_is_what_the_whole_answer_is(served: Served) -> None:
    answer(served, GATE, user="same")
    chunks = [json.loads(one) for one in events(served, ASKED, user="same", store=False)[:-1]]
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)
    whole = answer(served, ASKED, user="same", store=False)
    assert text == whole["choices"][0]["message"]["content"]
    assert "usage" not in chunks[-1]


def test_a_stream_is_sent_so_that_nothing_on_the_way_holds_it_back(served: Served) -> None:
    response = post(served, ASKED, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"


def test_what_fails_before_the_first_token_fails_before_the_stream(served: Served) -> None:
    long = user("word " * 5000)
    assert error(post(served, long, stream=True))[:2] == (400, "context_length_exceeded")
    assert error(post(served, ASKED, stream=True, memory="nobody", store=False))[0] == 404


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": "json"}, "response_format"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "x"}}, "audio"),
    ({"frequency_penalty": 0.5}, "frequency_penalty"),
    ({"presence_penalty": -1}, "presence_penalty"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": "many"}, "max_completion_tokens"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 99}, "top_logprobs"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "x"}}])]},
        "messages.0.content",
    ),  # type: ignore[arg-type]
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"content": "x"}]}, "messages.0.role"),
    ({"memory": {"min_confidence": 2}}, "memory.min_confidence"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=[p for _, p in REFUSED])
def test_what_would_change_the_answer_and_is_not_served_is_refused_by_name(
    served: Served, fields: dict[str, Any], param: str
) -> None:
    body = {"messages": [ASKED]} | fields
    status, code, named = error(post(served, *body.pop("messages"), **body))
    assert status == 400
    assert named == param
    assert code in ("invalid", "unsupported", "unsupported_content")


def test_fields_that_change_nothing_are_let_pass(served: Served) -> None:
    fields: dict[str, Any] = {
        "service_tier": "auto",
        "prompt_cache_key": "k",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "verbosity": "low",
        "a_field_of_next_year": {"x": 1},
        "n": 1,
        "tools": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "frequency_penalty": 0,
        "logit_bias": None,
        "stream": None,
    }
    parts = [{"type": "text", "text": "What colour"}, {"type": "text", "text": "is the gate?"}]
    assert answer(served, {"role": "user", "content": parts}, **fields)["object"]


def test_sampling_is_the_clients_and_greedy_without_a_word(served: Served) -> None:
    def said(**fields: Any) -> str:
        found = answer(served, ASKED, max_tokens=12, store=False, **fields)
        return str(found["choices"][0]["message"]["content"])

    assert said() == said()
    hot = {"temperature": 2.0, "top_p": 1.0}
    assert said(seed=1, **hot) == said(seed=1, **hot)
    assert len({said(seed=seed, **hot) for seed in range(4)}) > 1
    assert said(stop="note") == "I have no"
    found = answer(served, ASKED, max_tokens=2)
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 2


def test_chances_of_tokens_are_told_when_asked_for(served: Served) -> None:
    found = answer(served, ASKED, logprobs=True, top_logprobs=3, max_tokens=4)
    tokens = found["choices"][0]["logprobs"]["content"]
    assert len(tokens) == 4
    for one in tokens:
        assert len(one["top_logprobs"]) == 3
        assert bytes(one["bytes"]).decode() == one["token"]
        assert one["logprob"] <= 0
    assert answer(served, ASKED, max_tokens=1)["choices"][0]["logprobs"] is None


def test_a_request_under_an_idempotency_key_is_answered_once(served: Served) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = answer(served, GATE, user="once", headers=headers)
    assert answer(served, GATE, user="once", headers=headers) == first
    reused = post(served, ASKED, user="once", headers=headers)
    assert error(reused)[:2] == (409, "idempotency_key_reused")
    assert reused.json()["error"]["type"] == "conflict_error"
    assert reused.headers["x-should-retry"] == "false"
    hot = {"temperature": 2.0, "headers": {"Idempotency-Key": "k2"}}
    one, two = (events(served, ASKED, user="once", **hot) for _ in range(2))
    texts = [
        "".join(json.loads(c)["choices"][0]["delta"].get("content", "") for c in got[:-1])
        for got in (one, two)
    ]
    assert texts[0] == texts[1]
    assert {json.loads(c)["id"] for c in [*one[:-1], *two[:-1]]} == {json.loads(one[0])["id"]}
    assert held(served, "once") == " The gate is red. What colour is the gate?\n"
