"""LangChain's chat model, with its base URL and key changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.serving import Served, serving
from tests.server.talking import held

from memplus.mplus.model import MPlus

langchain = pytest.importorskip("langchain_openai")
messages = pytest.importorskip("langchain_core.messages")


def model(served: Served, name: str, **options: Any) -> Any:
    return langchain.ChatOpenAI(
        model="nano",
        base_url=f"{served.url}/v1",
        api_key="none",
        max_retries=0,
        extra_body={"memory": name},
        **options,
    )


@pytest.mark.parametrize("responses", [False, True])
def test_a_conversation_is_answered_and_written_once(served: Served, *, responses: bool) -> None:
    name = f"chain-{responses}"
    chat = model(served, name, use_responses_api=responses)
    said = [
        messages.SystemMessage("You help in a household."),
        messages.HumanMessage("The gate is red."),
    ]
    said += [chat.invoke(said), messages.HumanMessage("What colour is the gate?")]
    answer = chat.invoke(said)
    assert answer.text.strip() == "red"
    assert answer.usage_metadata["total_tokens"] > 0
    assert held(served, name) == " The gate is red. What colour is the gate?\n"


@pytest.mark.parametrize("responses", [False, True])
def test_a_stream_is_put_together_again(served: Served, *, responses: bool) -> None:
    name = f"stream-{responses}"
    chat = model(served, name, use_responses_api=responses, stream_usage=True)
    chat.invoke("The gate is red.")
    whole = None
    for chunk in chat.stream("What colour is the gate?"):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.text.strip() == "red"
    assert whole.usage_metadata["total_tokens"] > 0


@pytest.mark.parametrize("replies", [False, True])
def test_a_history_that_the_client_trims_is_written_once(
    tmp_path: Path, nano: MPlus, *, replies: bool
) -> None:
    with serving(tmp_path, nano, write_replies=replies) as served:
        chat = model(served, "trimmed")
        trim = messages.trim_messages(
            max_tokens=4, token_counter=len, strategy="last", include_system=True
        )
        said = [messages.SystemMessage("You help in a household.")]
        told = [f"Shelf {number} holds box {number * 13}." for number in range(6)]
        for text in told:
            said.append(messages.HumanMessage(text))
            sent = trim.invoke(said)
            assert len(sent) == min(len(said), 4)
            said.append(chat.invoke(sent))
        assert held(served, "trimmed") == "".join(f" {text}" for text in told)
