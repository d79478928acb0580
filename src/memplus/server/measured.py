"""The engine, with its work counted: for the metrics, and for whom it was done."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memplus.server.engine.engine import Engine
from memplus.server.engine.handing import AnswerStream
from memplus.server.engine.requests import Finished, Piece, ReadRequest
from memplus.server.metrics import Metrics

if TYPE_CHECKING:
    from memplus.memory.state import Memory
    from memplus.mplus.model import MPlus
    from memplus.mplus.writer import Receipt, Text

__all__ = ["METER", "MeasuredEngine", "MeasuredStream", "Meter", "charge"]


@dataclass
class Meter:
    """Tokens read, generated and written for one request."""

    tokens: int = 0
    answers: set[MeasuredStream] = field(default_factory=set)
    """Those that have not ended."""

    def end(self) -> None:
        """Give up what has not ended, and count what it took.

        Where a client goes away while a piece is sent to it, nothing else closes it so soon.
        """
        for answer in list(self.answers):
            answer.give_up()


METER: ContextVar[Meter | None] = ContextVar("METER", default=None)
"""Of the request that is served; None outside of any."""


def charge(tokens: int) -> None:
    """Count tokens for the request that is served, if there is one."""
    meter = METER.get()
    if meter is not None:
        meter.tokens += tokens


class MeasuredStream(AnswerStream):
    """An answer of which is counted how long its pieces take, and which tokens it took.

    These are counted as they come, so that an answer that is given up early costs what it took.

    Args:
        answer: hands on the pieces.
        metrics: take the counts.
    """

    def __init__(self, answer: AnswerStream, metrics: Metrics) -> None:
        self._answer = answer
        self._metrics = metrics
        self._since = time.perf_counter()
        self._begun = False
        self._counted = (0, 0)
        self._meter = METER.get()
        if self._meter is not None:
            self._meter.answers.add(self)

    @property
    def waited(self) -> float:
        """As of the answer."""
        return self._answer.waited

    @property
    def spent(self) -> tuple[int, int]:
        """As of the answer."""
        return self._answer.spent

    async def __anext__(self) -> Piece | Finished:
        try:
            one = await self._answer.__anext__()
        except BaseException:
            self._end()
            raise
        now = time.perf_counter()
        if isinstance(one, Finished):
            self._metrics.queue_seconds.observe(self.waited)
            self._end()
            return one
        self._count()
        kind = (
            self._metrics.inter_token_seconds if self._begun else self._metrics.first_token_seconds
        )
        kind.observe(now - self._since)
        self._begun, self._since = True, now
        return one

    def give_up(self) -> None:
        """Want no more."""
        self._answer.give_up()
        self._end()

    def _end(self) -> None:
        self._count()
        if self._meter is not None:
            self._meter.answers.discard(self)

    def _count(self) -> None:
        """Count what it took since the last time."""
        (read, generated), (before, made) = self.spent, self._counted
        self._counted = (read, generated)
        self._metrics.prompt_tokens.inc(read - before)
        self._metrics.generation_tokens.inc(generated - made)
        if self._meter is not None:
            self._meter.tokens += read - before + generated - made

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
        charge(receipt.tokens)
        return receipt
