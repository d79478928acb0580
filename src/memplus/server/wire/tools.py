"""Arguments of the tools that models call. Names that models guess instead are taken as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel, Field, StrictInt

from memplus.server.wire.memories import Body, State

__all__ = [
    "AddMemory",
    "AskMemory",
    "Fetch",
    "Fetched",
    "ForgetIn",
    "GetMemory",
    "Hit",
    "Hits",
    "ListMemories",
    "MemoryHistory",
    "Search",
    "SearchMemories",
    "States",
    "memory_of",
    "text_place",
]


_MEMORY = ("memory", "memory_id", "user_id", "container", "namespace", "id", "name")
"""Arguments that name the memory, of which the first that is there counts."""


def memory_of(tool: str, arguments: Mapping[str, object]) -> str:
    """The memory that the arguments of a call name; empty where they name none."""
    if tool == "search":
        return ""
    names = ("id",) if tool == "fetch" else _MEMORY
    first = next((arguments[name] for name in names if name in arguments), None)
    if not isinstance(first, str):
        return ""
    return text_place(first)[0] if tool == "fetch" else first


def text_place(id: str) -> tuple[str, str]:
    """The memory and the number of the write that an id of ``search`` holds."""
    name, _, number = id.rpartition("/")
    return name, number


def _memory(**how: Any) -> Any:
    """The memory that is meant."""
    names = AliasChoices(*_MEMORY)
    what = "Name of the memory, a whole container of texts; list_memories tells the names."
    return Field(validation_alias=names, description=what, **how)


def _query(*names: str, what: str) -> Any:
    choices = AliasChoices(*dict.fromkeys((*names, "query", "q", "question", "text")))
    return Field(validation_alias=choices, min_length=1, description=what)


class AddMemory(Body):
    """Remember a text."""

    text: str = Field(
        validation_alias=AliasChoices("text", "content", "data", "memory_text", "fact", "q"),
        min_length=1,
        description="What to remember, in whole sentences with names instead of pronouns.",
    )
    memory: str | None = _memory(default=None)
    source: str = Field(
        default="",
        validation_alias=AliasChoices("source", "title", "origin", "url"),
        max_length=500,
        description="Where it is from; forget can take out everything of a source.",
    )


class SearchMemories(Body):
    """Find texts."""

    query: str = _query("query", what="What to look for, as a question or in words.")
    memory: str | None = _memory(default=None)
    limit: int = Field(
        default=5, ge=1, le=20, validation_alias=AliasChoices("limit", "top_k", "k", "n")
    )


class AskMemory(Body):
    """Ask a question."""

    question: str = _query("question", what="A whole question.")
    memory: str | None = _memory(default=None)


class ListMemories(Body):
    """Which memories are there?"""

    limit: int = Field(
        default=20, ge=1, le=100, validation_alias=AliasChoices("limit", "n", "page_size")
    )
    after: str = Field(
        default="",
        validation_alias=AliasChoices("after", "cursor"),
        description="The last_id of the page before.",
    )


class GetMemory(Body):
    """Look at one memory."""

    memory: str = _memory(min_length=1)


class ForgetIn(Body):
    """Forget what one of source, write and match names."""

    memory: str = _memory(min_length=1)
    source: str | None = Field(default=None, description="Everything written under this name.")
    write: StrictInt | None = Field(
        default=None,
        validation_alias=AliasChoices("write", "write_id", "fact_id"),
        description="Number of a write, as search_memories gives it.",
    )
    match: str | None = Field(
        default=None,
        validation_alias=AliasChoices("match", "text", "query", "q"),
        min_length=1,
        max_length=1000,
        description="Every write whose text holds these words.",
    )


class MemoryHistory(Body):
    """The states of a memory."""

    memory: str = _memory(min_length=1)
    limit: int = Field(default=20, ge=1, le=100)


class States(BaseModel):
    """The newest states of a memory, the oldest of them first."""

    memory: str
    states: list[State]
    has_more: bool = Field(description="Whether there are older ones.")


class Search(Body):
    """Find texts, for clients that know only this."""

    query: str = _query("query", what="What to look for.")


class Fetch(Body):
    """One text that was found."""

    id: str = Field(description="An id that search gave.")


class Hit(BaseModel):
    """A text that was found."""

    id: str
    title: str
    text: str
    url: str


class Hits(BaseModel):
    """Texts that were found, best first."""

    results: list[Hit]


class Fetched(Hit):
    """One text."""

    metadata: dict[str, str]
