"""Bodies of writes and questions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from memplus.server.wire.memories import Body, Metadata, SourceName
from memplus.server.wire.sound import FIRST

__all__ = [
    "Answered",
    "AskRequest",
    "Drawn",
    "Found",
    "FoundText",
    "Message",
    "SearchRequest",
    "TextPart",
    "WriteRequest",
    "Written",
    "WrittenPage",
    "WrittenText",
]


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["text", "input_text", "output_text"]
    text: str


class Message(BaseModel):
    """A turn of a conversation."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[TextPart], FIRST]

    @property
    def text(self) -> str:
        """What was said."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class WriteRequest(Body):
    """A text, or turns of a conversation, to be written."""

    text: str | None = None
    messages: Annotated[list[Message], FIRST] | None = Field(default=None, max_length=10_000)
    source: SourceName = Field(
        default="", description="Where it is from, for evidence and forgetting."
    )
    metadata: Metadata = Field(default_factory=dict)
    flush: bool = Field(default=False, description="Compress also what fills no chunk.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either text or messages")
        return self


class Written(BaseModel):
    """What one call wrote."""

    id: str
    object: Literal["memory.write"] = "memory.write"
    memory: str
    source: str
    writes: list[int] = Field(description="Ids of the chunks that were compressed.")
    tokens: int = Field(description="Of the text.")
    waiting: int = Field(description="Tokens in the memory's tail now: read as text until then.")
    durable: bool = Field(description="Whether it outlasts a crash at any moment from now on.")
    repeated: bool = Field(default=False, description="Whether an earlier call had written it.")
    skipped: int = Field(
        default=0, description="Messages that are prompt, never memory: system ones."
    )
    created: bool = Field(default=False, description="Whether the memory was made for it.")
    seconds: float


class WrittenText(BaseModel):
    """One chunk that was written."""

    id: int
    object: Literal["memory.text"] = "memory.text"
    source: str
    start: int = Field(description="First token, counted from the beginning of the source.")
    tokens: int
    time: float = Field(description="Seconds since 1970.")
    text: str
    metadata: dict[str, str] = Field(default_factory=dict)


class Waiting(BaseModel):
    """The tail: text that fills no chunk yet."""

    source: str
    tokens: int
    text: str


class WrittenPage(BaseModel):
    """A part of what was written, and what waits."""

    object: Literal["list"] = "list"
    data: list[WrittenText]
    first_id: int | None = None
    last_id: int | None = None
    has_more: bool = False
    tail: Waiting | None = None


class AskRequest(Body):
    """A question to a memory; nothing is written."""

    question: Annotated[str, Field(min_length=1)]
    evidence: bool = Field(default=False, description="Also say on which writes the answer stands.")
    min_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Below it: no answer."
    )
    max_tokens: int | None = Field(default=None, ge=1, le=4096)


class Drawn(BaseModel):
    """A write, or a span of one, that an answer drew on; or the tail."""

    write: int | None = Field(description="null: the text that waits to be written.")
    source: str
    start: int
    tokens: int
    share: float = Field(description="Part of the attention counted, 0 to 1.")
    text: str
    score: float | None = None


class Answered(BaseModel):
    """An answer and what it stands on."""

    object: Literal["memory.answer"] = "memory.answer"
    memory: str
    answer: str
    declined: bool = Field(
        description="Whether the answer is the model's abstention: by itself, or for the withheld."
    )
    confidence: float
    withheld: str = Field(description="What was not confident enough to be the answer.")
    evidence: list[Drawn] | None = None
    usage: dict[str, int]
    seconds: float


class SearchRequest(Body):
    """Which writes does a question find?"""

    query: Annotated[str, Field(min_length=1)]
    limit: int = Field(default=10, ge=1, le=100)


class FoundText(BaseModel):
    """A write that was found."""

    write: int | None = Field(description="null: the text that waits to be written.")
    source: str
    start: int
    tokens: int
    text: str
    score: float | None = Field(description="The retriever's, 0 to 1; null where it was not asked.")
    share: float | None = Field(
        description="Part of the attention, of what is read whatever is asked; null of others."
    )


class Found(BaseModel):
    """What was found, best first."""

    object: Literal["list"] = "list"
    memory: str
    data: list[FoundText]
    usage: dict[str, Any] = Field(default_factory=dict)
    seconds: float
