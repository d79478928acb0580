"""Chat completions: what clients send, and what they read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from memplus.server.engine.requests import Finished, TokenScore
from memplus.server.faults import RequestFault
from memplus.server.prompts import ROLES, Message
from memplus.server.wire.fields import Part, Sampled, plain_text, refuse, refuse_tools
from memplus.server.wire.sound import FIRST

__all__ = [
    "ChatMessage",
    "ChatRequest",
    "StreamOptions",
    "chances",
    "chat_body",
    "chunk",
    "read_messages",
    "usage",
]


class ChatMessage(Part):
    """One message."""

    role: str
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None


class StreamOptions(Part):
    """What else a stream tells."""

    include_usage: bool | None = None


class ChatRequest(Sampled):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], FIRST] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    n: int | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: Any = None
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    modalities: Annotated[list[str], FIRST] | None = None
    audio: Any = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None
    web_search_options: Any = None

    def check(self, *, ignores_tools: bool = False) -> None:
        """Refuse what is not served and would change the answer.

        Args:
            ignores_tools: tools that the model may leave are no reason to refuse.

        Raises:
            RequestFault: with the field's name.
        """
        if self.n not in (None, 1):
            raise RequestFault.invalid("n is 1: one answer at a time.", "n", "unsupported")
        refuse_tools(self.tools, self.tool_choice, ignored=ignores_tools)
        refuse("functions", self.functions, "the model calls none")
        kind = (self.response_format or {"type": "text"}) if self.response_format else None
        if kind is not None and not (isinstance(kind, dict) and kind.get("type") == "text"):
            refuse("response_format", kind, "answers are text")
        refuse("modalities", [m for m in self.modalities or [] if m != "text"], "answers are text")
        refuse("audio", self.audio, "answers are text")
        reason = "tokens are chosen by temperature and top_p alone"
        refuse("frequency_penalty", self.frequency_penalty, reason)
        refuse("presence_penalty", self.presence_penalty, reason)
        refuse("logit_bias", self.logit_bias, reason)
        searching = self.web_search_options is not None  # clients mean it where it is empty, too
        refuse("web_search_options", searching, "the model searches nothing")
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestFault.invalid("top_logprobs needs logprobs: true.", "top_logprobs")

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens are told beside each; None: no chances."""
        return (self.top_logprobs or 0) if self.logprobs else None


def read_messages(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """Messages as they count.

    Raises:
        RequestFault: a role or a content that is not served.
    """
    found: list[Message] = []
    for index, one in enumerate(messages):
        role = ROLES.get(one.role)
        if role is None:
            message = f"The model takes no messages of the role {one.role!r}."
            raise RequestFault.invalid(message, f"messages.{index}.role", "unsupported")
        where = f"messages.{index}"
        refuse(f"{where}.tool_calls", one.tool_calls, "the model calls no tools")
        refuse(f"{where}.function_call", one.function_call, "the model calls no tools")
        text = plain_text(one.content, f"{where}.content")
        found.append(Message(role, text))
    return tuple(found)


def usage(finished: Finished) -> dict[str, Any]:
    """What an answer took."""
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _chance(spelt: bytes, logprob: float) -> dict[str, Any]:
    text = spelt.decode("utf-8", "replace")
    return {"token": text, "logprob": logprob, "bytes": list(spelt)}


def chances(tokens: list[TokenScore]) -> list[dict[str, Any]]:
    """Tokens with what else was likely."""
    return [
        _chance(one.spelt, one.logprob)
        | {"top_logprobs": [_chance(spelt, logprob) for _, spelt, logprob in one.top]}
        for one in tokens
    ]


def chat_body(
    head: dict[str, Any], text: str, finished: Finished, tokens: list[TokenScore] | None
) -> dict[str, Any]:
    """A whole answer.

    Args:
        head: id, time and model.
        text: what was said.
        finished: how it ended.
        tokens: with their chances; None: not asked for.
    """
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None if tokens is None else {"content": chances(tokens), "refusal": None},
        "finish_reason": finished.reason,
    }
    return head | {"object": "chat.completion", "choices": [choice], "usage": usage(finished)}


def chunk(
    head: dict[str, Any],
    delta: dict[str, Any],
    tokens: list[TokenScore] | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """A piece of a streamed answer."""
    logprobs = None if tokens is None else {"content": chances(tokens), "refusal": None}
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
    return head | {"object": "chat.completion.chunk", "choices": [choice]}
