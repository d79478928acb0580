"""What tests of chats share: clients of a served nano, and a look into its memories."""

from __future__ import annotations

import time
from typing import Any

import openai
from tests.server.serving import Served

PATIENCE = 30.0

Said = list[dict[str, Any]]


def client_of(served: Served, key: str = "none", **options: Any) -> openai.OpenAI:
    """The stock client, which does not try again by itself unless asked to."""
    options = {"max_retries": 0} | options
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=key, **options)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def reply(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def held(served: Served, memory: str, tenant: str = "") -> str:
    """All that was written into a memory, once nothing waits; empty where there is no memory."""
    end = time.monotonic() + PATIENCE
    while served.services.intake.waiting(tenant, memory):
        if time.monotonic() > end:
            raise TimeoutError("texts still wait")
        time.sleep(0.01)
    store, stored = served.services.store, f"{tenant}/{memory}" if tenant else memory
    if stored not in store:
        return ""
    with store.open(stored, served.services.model) as opened:
        return "".join(one.text for one in opened.texts().values()) + opened.tail_text


def told(answer: Any) -> dict[str, Any]:
    """What an answer says of its memory."""
    found = answer.model_extra["memory"]
    assert isinstance(found, dict)
    return found
