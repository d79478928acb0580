"""Fields that several requests have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from memplus.server.faults import RequestFault
from memplus.server.naming import Names
from memplus.server.wire.sound import FIRST, Sound

__all__ = [
    "Conversation",
    "MemoryOptions",
    "Named",
    "Part",
    "Sampled",
    "Wire",
    "plain_text",
    "refuse",
    "refuse_tools",
    "served_model",
    "stops",
]

_TEXTS = {"text", "input_text", "output_text"}
_MOST_STOPS = 16
_LONGEST_ID = 512
"""Of a conversation; the server keeps it."""


class Wire(Sound):
    """A request's body. Unknown fields are let pass, as clients add some every year."""

    model_config = ConfigDict(extra="ignore")


class Part(BaseModel):
    """What stands inside a body, and was found sound with it."""

    model_config = ConfigDict(extra="ignore")


def _by_id(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class _MemoryOptions(Part):
    """Which memory, and what is asked of it."""

    id: str = ""
    evidence: bool = False
    min_confidence: float = Field(default=0.0, ge=0, le=1)


class _Conversation(Part):
    id: str = Field(default="", max_length=_LONGEST_ID)


MemoryOptions = Annotated[_MemoryOptions, BeforeValidator(_by_id)]
"""A memory's name, or an object with it and with what is asked of it."""
Conversation = Annotated[_Conversation, BeforeValidator(_by_id)]
"""A conversation's id, or an object with it."""


class Named(Wire):
    """What may say which memory is meant."""

    model: str
    memory: MemoryOptions | None = None
    conversation: Conversation | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    store: bool | None = None

    @property
    def asked(self) -> _MemoryOptions:
        """What is asked of the memory."""
        return self.memory or _MemoryOptions()

    @property
    def conversation_id(self) -> str:
        """The conversation's id; empty where none is named."""
        return "" if self.conversation is None else self.conversation.id.strip()

    def names(self, model_memory: str, pinned: str | None) -> Names:
        """What the body says of names.

        Raises:
            RequestFault: the metadata's name is no text. Passed over, it would have what is said
                remembered nowhere, or elsewhere, without a word.
        """
        metadata = (self.metadata or {}).get("memory_id")
        if not isinstance(metadata, str | None):
            name = "metadata.memory_id"
            raise RequestFault.invalid(f"{name}: a memory's name is a text.", name)
        return Names(
            memory=self.asked.id.strip(),
            metadata=(metadata or "").strip(),
            model=model_memory,
            conversation=self.conversation_id,
            pinned=pinned,
            user=(self.user or "").strip(),
            safety_identifier=(self.safety_identifier or "").strip(),
        )


class Sampled(Named):
    """How tokens are chosen; a server of small models takes the likeliest where nothing is said."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: str | Annotated[list[str], FIRST] | None = None
    stream: bool | None = None


def plain_text(content: Any, param: str) -> str:
    """The text of a message: a string, or a list of parts that are text.

    Raises:
        RequestFault: it holds something else, as images and audio.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise RequestFault.invalid("The content is text, or a list of parts.", param)
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "refusal":
            continue
        if not isinstance(kind, str) or kind not in _TEXTS:
            message = "The model reads text only: no images, audio or files."
            raise RequestFault.invalid(message, param, "unsupported_content")
        if not isinstance(part.get("text"), str):
            raise RequestFault.invalid("A part of the content has no text.", param)
        texts.append(part["text"])
    return "\n".join(texts)


_NO_TOOLS = (
    "the model calls none. Leave them out, or send the header X-Memory-Tools: ignore to be "
    "answered without them"
)


def refuse(param: str, given: object, reason: str) -> None:
    """Refuse a field that would change the answer, where it is given.

    Raises:
        RequestFault: it is.
    """
    if given:
        raise RequestFault.invalid(f"{param} is not served: {reason}.", param, "unsupported")


def refuse_tools(given: object, choice: object, *, ignored: bool) -> None:
    """Refuse tools, unless the model may leave them and the client knows that it will.

    Args:
        given: the tools.
        choice: field ``tool_choice``.
        ignored: what ``naming.ignores_tools`` says.

    Raises:
        RequestFault: with ``tools``, or with ``tool_choice`` where that asks for a call.
    """
    left = choice in (None, "auto", "none")
    if choice != "none" and not (ignored and left):
        refuse("tools", given, _NO_TOOLS)
    refuse("tool_choice", not left, "the model calls no tools")


def stops(given: str | list[str] | None) -> tuple[str, ...]:
    """Texts before which the answer ends.

    Raises:
        RequestFault: one is empty, or there are too many.
    """
    found = [given] if isinstance(given, str) else given or []
    if len(found) > _MOST_STOPS or not all(found):
        raise RequestFault.invalid(f"stop: at most {_MOST_STOPS} texts, none empty.", "stop")
    return tuple(found)


def served_model(given: str, served: str) -> str:
    """The memory in a model's name, ``MODEL@MEMORY``; empty where it names none.

    Raises:
        RequestFault: another model is served.
    """
    name, _, memory = given.partition("@")
    if name != served:
        fault = RequestFault.unknown(f"model {name!r}; GET /v1/models", "model_not_found")
        raise fault
    return memory
