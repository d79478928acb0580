"""The engine, with its work counted: for the metrics, and for whom it was done."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memplus.server.engine.engine import Engine
from memplus.server.engine.handing import AnswerStream
from memplus.server.engine.requests import Finished, Piece, ReadRequest
from memplus.server.metrics import Metrics

if TYPE_CHECKING:
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus
    from memplus.mplus.writer import Receipt, Text

__all__ = ["METER", "MeasuredEngine", "MeasuredStream", "Meter"]


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


class MeasuredStream(AnswerStream):
    """An answer of which is counted how long its pieces take.

    Args:
        answer: hands on the pieces.
        metrics: take the counts.
    """

    def __init__(self, answer: AnswerStream, metrics: Metrics) -> None:
        self._answer = answer
        self._metrics = metrics
        self._since = time.perf_counter()
        self._begun = False

    @property
    def waited(self) -> float:
        """As of the answer."""
        return self._answer.waited

    async def __anext__(self) -> Piece | Finished:
        one = await self._answer.__anext__()
        now = time.perf_counter()
        if isinstance(one, Finished):
            self._metrics.queue_seconds.observe(self.waited)
            self._metrics.prompt_tokens.inc(one.prompt_tokens)
            self._metrics.generation_tokens.inc(one.completion_tokens)
            _charge(one.prompt_tokens + one.completion_tokens)
            return one
        kind = (
            self._metrics.inter_token_seconds if self._begun else self._metrics.first_token_seconds
        )
        kind.observe(now - self._since)
        self._begun, self._since = True, now
        return one

    async def aclose(self) -> None:
        """Want no more."""
        await self._answer.aclose()

    def __del__(self) -> None:
        """The answer that goes with it gives up its place."""


class MeasuredEngine(Engine):
    """An engine that counts.

    Args:
        model: see ``Engine``.
        metrics: take the counts.
    """

    def __init__(self, model: MPlus, metrics: Metrics) -> None:
        super().__init__(model)
        self._metrics = metrics
        self.on_commit(metrics.commit_seconds.observe)

    def read(self, request: ReadRequest) -> AnswerStream:
        """See ``Engine.read``."""
        return MeasuredStream(super().read(request), self._metrics)

    async def write(
        self,
        memory: Memory,
        text: Text,
        *,
        source: str = "",
        flush: bool = False,
        label: str | None = None,
    ) -> Receipt:
        """See ``Engine.write``."""
        begun = time.perf_counter()
        receipt = await super().write(memory, text, source=source, flush=flush, label=label)
        self._metrics.write_seconds.observe(time.perf_counter() - begun)
        self._metrics.written_tokens.inc(receipt.tokens)
        _charge(receipt.tokens)
        return receipt
