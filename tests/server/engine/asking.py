"""A small model with an engine, and ways to ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes import some_ids

from memplus import Memory, MPlus
from memplus.server.engine.engine import Engine
from memplus.server.engine.requests import EngineLimits, Finished, Piece, ReadRequest, Sampling


@dataclass
class Heard:
    """All that came for one request."""

    end: Finished
    pieces: list[Piece] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@asynccontextmanager
async def running(model: MPlus, limits: EngineLimits | None = None) -> AsyncIterator[Engine]:
    engine = Engine(model, limits)
    engine.start()
    try:
        yield engine
    finally:
        await engine.close(20)


async def hear(engine: Engine, request: ReadRequest) -> Heard:
    pieces: list[Piece] = []
    async for item in engine.read(request):
        if isinstance(item, Finished):
            return Heard(item, pieces)
        pieces.append(item)
    raise AssertionError("the answer had no end")


def question(memory: Memory | None, seed: int = 0, count: int = 12, tokens: int = 6) -> ReadRequest:
    """A greedy request of random tokens."""
    ids = tuple(some_ids(tokens, seed=seed).tolist())
    return ReadRequest(memory, ids, Sampling(count, strip=False))


async def until(condition: object, seconds: float = 20.0) -> None:
    """Wait until something holds.

    Args:
        condition: called again and again.
        seconds: after which it is an error.
    """
    assert callable(condition)
    for _ in range(int(seconds / 0.002)):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came to hold")
