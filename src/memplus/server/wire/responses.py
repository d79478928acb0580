"""Responses: what clients send, and what they read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from memplus.server.engine.requests import Finished
from memplus.server.faults import RequestFault
from memplus.server.wire.fields import Sampled, refuse, refuse_tools
from memplus.server.wire.sound import FIRST

__all__ = ["ResponseRequest", "response_body", "response_usage"]

_CHANCES = "message.output_text.logprobs"


class ResponseRequest(Sampled):
    """``POST /v1/responses``."""

    input: str | list[Any] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    include: Annotated[list[str], FIRST] | None = None
    text: dict[str, Any] | None = None
    tools: Any = None
    tool_choice: Any = None
    background: bool | None = None
    prompt: Any = None

    def check(self, *, ignores_tools: bool = False) -> None:
        """Refuse what is not served and would change the answer.

        Args:
            ignores_tools: tools that the model may leave are no reason to refuse.

        Raises:
            RequestFault: with the field's name.
        """
        refuse_tools(self.tools, self.tool_choice, ignored=ignores_tools)
        kind = (self.text or {}).get("format") or {"type": "text"}
        plain = isinstance(kind, dict) and kind.get("type") == "text"
        refuse("text.format", not plain, "answers are text")
        refuse("background", self.background, "wait for the answer, or stream it")
        refuse("prompt", self.prompt, "no prompts are stored here")
        if self.previous_response_id and self.conversation is not None:
            message = "Give previous_response_id or conversation, not both."
            raise RequestFault.invalid(message, "previous_response_id")

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens are told beside each; None: no chances."""
        if self.top_logprobs is None and _CHANCES not in (self.include or []):
            return None
        return self.top_logprobs or 0


def response_usage(finished: Finished) -> dict[str, Any]:
    """What an answer took."""
    return {
        "input_tokens": finished.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": finished.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
    }


def response_body(
    request: ResponseRequest, id: str, created: int, conversation: str
) -> dict[str, Any]:
    """A response that has just begun."""
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": request.previous_response_id,
        "conversation": {"id": conversation} if conversation else None,
        "reasoning": {"effort": None, "summary": None},
        "store": request.store is not False,
        "temperature": request.temperature or 0.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p or 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
    }
