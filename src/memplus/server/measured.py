"""The engine, with its work counted: for the metrics, and for whom it was done."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memplus.server.engine import Engine, Finished, Piece, ReadRequest
from memplus.server.metrics import Metrics

if TYPE_CHECKING:
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus
    from memplus.mplus.writer import Receipt

__all__ = ["METER", "MeasuredEngine", "Meter"]


@dataclass
class Meter:
    """Tokens read, generated and written for one request."""

    tokens: int = 0


METER: ContextVar[Meter | None] = ContextVar("METER", default=None)
"""Of the request that is served; None outside of any."""


def _charge(tokens: int) -> None:
    meter = METER.get()
    if meter is not None:
        meter.tokens += tokens


class MeasuredEngine(Engine):
    """An engine that counts.

    Args:
        model: see ``Engine``.
        metrics: take the counts.
    """

    def __init__(self, model: MPlus, metrics: Metrics) -> None:
        super().__init__(model)
        self._metrics = metrics

    async def read(self, request: ReadRequest) -> AsyncIterator[Piece | Finished]:
        """See ``Engine.read``."""
        begun, first = time.perf_counter(), True
        pieces = super().read(request)
        try:
            async for one in pieces:
                now = time.perf_counter()
                if isinstance(one, Finished):
                    self._metrics.prompt_tokens.inc(one.prompt_tokens)
                    self._metrics.generation_tokens.inc(one.completion_tokens)
                    _charge(one.prompt_tokens + one.completion_tokens)
                elif first:
                    self._metrics.first_token_seconds.observe(now - begun)
                    first = False
                else:
                    self._metrics.inter_token_seconds.observe(now - begun)
                begun = now
                yield one
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:  # frees the place of an answer that nobody waits for
                await close()

    async def write(
        self, memory: Memory, text: str, *, source: str = "", flush: bool = False
    ) -> Receipt:
        """See ``Engine.write``."""
        begun = time.perf_counter()
        receipt = await super().write(memory, text, source=source, flush=flush)
        self._metrics.write_seconds.observe(time.perf_counter() - begun)
        self._metrics.written_tokens.inc(receipt.tokens)
        _charge(receipt.tokens)
        return receipt
