"""The tools that models have on memories: what each is called, takes, gives and may do.

Whose memories they reach follows from the key alone. Which memory is meant: the argument, the one
that the key is bound to, the one that the request's header names, the only one there is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from memplus.errors import UsageError
from memplus.server.actions import forgetting, memories, questions, writes
from memplus.server.faults import RequestFault
from memplus.server.principals import Principal
from memplus.server.services import Services
from memplus.server.wire.memories import Described, ForgetRequest, Forgotten, Page, Summary
from memplus.server.wire.tools import (
    AddMemory,
    AskMemory,
    Fetch,
    Fetched,
    ForgetIn,
    GetMemory,
    Hit,
    Hits,
    ListMemories,
    MemoryHistory,
    Search,
    SearchMemories,
    States,
    text_place,
)
from memplus.server.wire.writes import Answered, AskRequest, Found, SearchRequest, Written

__all__ = ["SEARCH_AND_FETCH", "TOOLS", "Caller", "Tool"]

_FIRST_MEMORY = "default"
_MOST_SOURCES = 50
_LONGEST_TEXT = 2_000
_FEW_NAMES = 10
_NUMBER = re.compile(r"[0-9]{1,18}")
"""Of a write; Python reads no number of thousands of digits."""


@dataclass(frozen=True)
class Caller:
    """Who calls a tool."""

    services: Services
    who: Principal
    memory: str = ""
    """The memory that is meant where no argument names one; empty: not said."""

    async def meant(self, given: str | None, *, to_write: bool = False) -> str:
        """The memory that is meant.

        Raises:
            RequestFault: nothing says which.
        """
        name = given or self.who.bound or self.memory
        if name:
            return name
        found = await self.services.vault.listed(self.who, limit=_FEW_NAMES + 1)
        if len(found) == 1:
            return found[0].name
        if not found and to_write:
            return _FIRST_MEMORY
        if not found:
            message = "There is no memory yet: call add_memory first."
            raise RequestFault.invalid(message, "memory", "memory_not_said")
        names = ", ".join(repr(one.name) for one in found[:_FEW_NAMES])
        more = " and others" if len(found) > _FEW_NAMES else ""
        message = f"Say which memory is meant; there are {names}{more}."
        raise RequestFault.invalid(message, "memory", "memory_not_said")


@dataclass(frozen=True)
class Tool:
    """One tool."""

    name: str
    title: str
    description: str
    """When to call it."""
    takes: type[BaseModel]
    gives: type[BaseModel]
    call: Callable[[Caller, Any], Awaitable[BaseModel]]
    reads: bool = True
    """Whether it changes nothing."""
    destroys: bool = False
    """Whether it takes something away for good."""
    repeatable: bool = True
    """Whether calling it twice does no more than calling it once."""


async def _add(caller: Caller, given: AddMemory) -> Written:
    name = await caller.meant(given.memory, to_write=True)
    said = writes.Said(given.text, given.source)
    return await writes.write(caller.services, caller.who, name, said)


async def _search(caller: Caller, given: SearchMemories) -> Found:
    name = await caller.meant(given.memory)
    asked = SearchRequest(query=given.query, limit=given.limit)
    found = await questions.search(caller.services, caller.who, name, asked)
    for one in found.data:
        one.text = one.text[:_LONGEST_TEXT]
    return found


async def _ask(caller: Caller, given: AskMemory) -> Answered:
    name = await caller.meant(given.memory)
    asked = AskRequest(question=given.question, evidence=True)
    answered = await questions.ask(caller.services, caller.who, name, asked)
    for one in answered.evidence or []:
        one.text = one.text[:_LONGEST_TEXT]
    return answered


async def _list(caller: Caller, given: ListMemories) -> Page[Summary]:
    return await memories.listing(caller.services, caller.who, after=given.after, limit=given.limit)


async def _get(caller: Caller, given: GetMemory) -> Described:
    found = await memories.describe(caller.services, caller.who, given.memory)
    found.more_sources += max(0, len(found.sources) - _MOST_SOURCES)
    found.sources = found.sources[:_MOST_SOURCES]
    return found


async def _forget(caller: Caller, given: ForgetIn) -> Forgotten:
    asked = ForgetRequest(source=given.source, write=given.write, match=given.match)
    return await forgetting.forget(caller.services, caller.who, given.memory, asked)


async def _history(caller: Caller, given: MemoryHistory) -> States:
    found = await memories.history(caller.services, caller.who, given.memory)
    return States(
        memory=given.memory, states=found[-given.limit :], has_more=len(found) > given.limit
    )


async def _search_any(caller: Caller, given: Search) -> Hits:
    name = await caller.meant(None)
    asked = SearchRequest(query=given.query, limit=10)
    found = await questions.search(caller.services, caller.who, name, asked)
    return Hits(
        results=[
            _hit(name, one.write, one.source, one.text)
            for one in found.data
            if one.write is not None
        ]
    )


async def _fetch(caller: Caller, given: Fetch) -> Fetched:
    name, number = text_place(given.id)
    if not name or not _NUMBER.fullmatch(number):
        raise UsageError("There is no text of that id; search gives ids.")
    write = int(number)
    page = await writes.written(caller.services, caller.who, name, after=max(0, write - 1), limit=1)
    found = [one for one in page.data if one.id == write]
    if not found:
        raise UsageError("There is no text of that id any more; search gives ids.")
    (one,) = found
    hit = _hit(name, one.id, one.source, one.text, most=None)
    return Fetched(**hit.model_dump(), metadata={"memory": name, **one.metadata})


def _hit(name: str, write: int, source: str, text: str, *, most: int | None = 200) -> Hit:
    id = f"{name}/{write}"
    return Hit(id=id, title=source or f"write {write}", text=text[:most], url=f"memplus:{id}")


TOOLS: tuple[Tool, ...] = (
    Tool(
        "add_memory",
        "Remember",
        "Call this when something should be remembered beyond this conversation: facts about "
        "people and projects, preferences, decisions. Writes a text into a memory; a memory is a "
        "whole container of texts, and is made if it is not there yet.",
        AddMemory,
        Written,
        _add,
        reads=False,
        repeatable=False,
    ),
    Tool(
        "search_memories",
        "Search memories",
        "Call this before answering what may have been said earlier, to read the original texts. "
        "Finds the texts of a memory that fit a question best.",
        SearchMemories,
        Found,
        _search,
    ),
    Tool(
        "ask_memory",
        "Ask a memory",
        "Call this for a short, direct answer from a memory, with its confidence and the texts "
        "that it stands on. Changes nothing.",
        AskMemory,
        Answered,
        _ask,
    ),
    Tool(
        "list_memories",
        "List memories",
        "Call this to learn which memories there are and what they are called.",
        ListMemories,
        Page[Summary],
        _list,
    ),
    Tool(
        "get_memory",
        "Describe a memory",
        "Call this to see what a memory holds: its sources, sizes, age and what still waits.",
        GetMemory,
        Described,
        _get,
    ),
    Tool(
        "forget",
        "Forget",
        "Call this only when the user wants something forgotten. Takes out, for good, everything "
        "of a source, one write, or every write whose text holds some words; give one of these.",
        ForgetIn,
        Forgotten,
        _forget,
        reads=False,
        destroys=True,
    ),
    Tool(
        "memory_history",
        "History of a memory",
        "Call this to see when a memory was changed and which states it could go back to.",
        MemoryHistory,
        States,
        _history,
    ),
)
SEARCH_AND_FETCH: tuple[Tool, ...] = (
    Tool(
        "search",
        "Search",
        "Finds texts in the memory. Call fetch with an id to read one of them whole.",
        Search,
        Hits,
        _search_any,
    ),
    Tool("fetch", "Fetch", "Reads one text that search found.", Fetch, Fetched, _fetch),
)
"""For clients that know only these two."""
