"""The stock client, with nothing but its base URL and key changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from tests.server.clients.faulty import DROP, before
from tests.server.serving import Served
from tests.server.talking import client_of, held, told, user

GATE, ASKED = user("The gate is red."), user("What colour is the gate?")


def test_a_chat_whole_and_streamed(served: Served) -> None:
    client = client_of(served)
    messages = [GATE]
    first = client.chat.completions.create(model="nano", messages=messages, user="whole")  # type: ignore[call-overload]
    messages += [{"role": "assistant", "content": first.choices[0].message.content}, ASKED]
    stream = client.chat.completions.create(  # type: ignore[call-overload]
        model="nano",
        messages=messages,
        user="whole",
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == "red"
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert len(told(chunks[-2])["written"]) == 1
    assert held(served, "whole") == " The gate is red. What colour is the gate?\n"


def test_a_chat_from_an_event_loop(served: Served) -> None:
    async def work() -> None:
        async with openai.AsyncOpenAI(
            base_url=f"{served.url}/v1", api_key="none", max_retries=0
        ) as client:
            make = client.chat.completions.create
            whole: Any = await make(model="nano", messages=[GATE], user="loop")  # type: ignore[call-overload]
            assert whole.choices[0].message.content == "Noted."
            stream: Any = await make(model="nano", messages=[ASKED], user="loop", stream=True)  # type: ignore[call-overload]
            said = [c.choices[0].delta.content async for c in stream]
            assert "".join(one or "" for one in said) == "red"
            async with client.responses.stream(
                model="nano", input="Is it red?", user="loop"
            ) as events:
                kinds = [event.type async for event in events]
                assert kinds[0] == "response.created"
                assert kinds[-1] == "response.completed"

    asyncio.run(work())


def test_responses_and_conversations(served: Served) -> None:
    client = client_of(served)
    talk = client.conversations.create(metadata={"memory_id": "client"})
    first = client.responses.create(model="nano", input="The gate is red.", conversation=talk.id)
    second = client.responses.create(
        model="nano", input="What colour is the gate?", previous_response_id=first.id
    )
    assert second.output_text == "red"
    assert told(second)["id"] == "client"
    assert client.responses.retrieve(second.id).output_text == "red"
    items = client.responses.input_items.list(second.id).data
    assert len(items) == 1
    listed = list(client.conversations.items.list(talk.id, limit=1, order="asc"))
    assert [one.role for one in listed] == ["user", "assistant"]  # type: ignore[union-attr]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert client.conversations.update(talk.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert client.conversations.delete(talk.id).deleted
    with pytest.raises(openai.NotFoundError) as error:
        client.conversations.retrieve(talk.id)
    assert error.value.code == "conversation_not_found"


def test_completions_and_models(served: Served) -> None:
    client = client_of(served)
    assert [one.id for one in client.models.list()] == ["nano"]
    prompt = "\nQuestion: What colour is the gate?\nAnswer:"
    made = client.completions.create(model="nano", prompt=prompt, max_tokens=3, logprobs=1)
    assert made.choices[0].logprobs is not None
    assert len(made.choices[0].logprobs.tokens or []) == 3
    chunks = list(client.completions.create(model="nano", prompt=prompt, max_tokens=3, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == made.choices[0].text


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"model": "gpt-5"}, openai.NotFoundError, "model_not_found"),
        ({"user": "nobody", "store": False}, openai.NotFoundError, "memory_not_found"),
        ({"n": 2}, openai.BadRequestError, "unsupported"),
        ({"messages": []}, openai.BadRequestError, "invalid"),
    ],
)
def test_errors_are_the_clients_own(
    served: Served, fields: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as error:
        client_of(served).chat.completions.create(**{"model": "nano", "messages": [ASKED]} | fields)
    assert error.value.code == code
    assert error.value.request_id


def test_a_stream_that_is_not_read_to_its_end_writes_nothing(served: Served) -> None:
    client = client_of(served)
    client.chat.completions.create(model="nano", messages=[GATE], user="left")  # type: ignore[call-overload]
    stream = client.chat.completions.create(  # type: ignore[call-overload]
        model="nano",
        messages=[user("Who is there? " * 40 + "?")],
        user="left",
        stream=True,
        max_tokens=1500,
        temperature=2.0,
        seed=1,
    )
    next(iter(stream))
    stream.close()
    counts = served.services.engine.counts
    for _ in range(200):
        if not counts().running:
            break
        asyncio.run(asyncio.sleep(0.02))
    assert counts().running == 0
    assert held(served, "left") == " The gate is red."


def chat(client: openai.OpenAI, name: str) -> Any:
    return client.chat.completions.create(model="nano", messages=[GATE], user=name)  # type: ignore[call-overload]


def streamed(client: openai.OpenAI, name: str) -> Any:
    return list(
        client.chat.completions.create(model="nano", messages=[GATE], user=name, stream=True)  # type: ignore[call-overload]
    )


def responded(client: openai.OpenAI, name: str) -> Any:
    return client.responses.create(model="nano", input=GATE["content"], user=name)


@pytest.mark.long
@pytest.mark.parametrize("ask", [chat, streamed, responded])
@pytest.mark.parametrize("fault", [409, 429, 500, 503, DROP])
def test_what_the_client_sends_again_by_itself_is_written_once(
    served: Served, fault: int, ask: Callable[[openai.OpenAI, str], Any]
) -> None:
    name = f"again-{fault}-{ask.__name__}"
    with before(served.url) as (url, proxy):
        client = client_of(served, max_retries=3).copy(base_url=f"{url}/v1")
        proxy.plan = [fault, fault]
        if fault == DROP and ask is streamed:  # the client does not repeat a stream that has begun
            with pytest.raises(openai.APIConnectionError):
                ask(client, name)
            proxy.plan = []
        ask(client, name)
        repeats = [one.get("x-stainless-retry-count") for one in proxy.seen]
        assert "idempotency-key" not in {key for one in proxy.seen for key in one}
    assert len(repeats) >= 2
    assert held(served, name) == " The gate is red."


@pytest.mark.parametrize("headers", [{}, {"X-Conversation-Id": "c1"}])
def test_the_turns_of_a_history_without_its_beginning_are_written_once(
    served: Served, headers: dict[str, str]
) -> None:
    client, name = client_of(served, default_headers=headers), f"cut-{len(headers)}"
    turns: list[dict[str, Any]] = []
    for number in range(6):
        turns = [*turns, user(f"Shelf {number} holds box {number * 13}.")][-4:]
        sent = turns if number % 2 else turns[-3:]  # a beginning with a reply, and one without
        for _ in range(2):  # also where the client repeats itself
            answer = client.chat.completions.create(model="nano", messages=sent, user=name)  # type: ignore[call-overload]
        turns.append({"role": "assistant", "content": answer.choices[0].message.content})
    wanted = "".join(f" Shelf {number} holds box {number * 13}." for number in range(6))
    assert held(served, name) == wanted
    other = client_of(served, default_headers={"X-Conversation-Id": "c2"})
    other.chat.completions.create(model="nano", messages=turns[1:2], user=name)  # type: ignore[call-overload]
    assert held(served, name) == f"{wanted} {turns[1]['content']}"
