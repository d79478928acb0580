"""Which texts are written together, chunk by chunk between the tokens of answers.

Everything here runs in the engine's thread but ``add`` and the counts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from memplus.errors import MemplusError, OverloadedError
from memplus.memory.state import Memory
from memplus.mplus.joint_reader import JointReader
from memplus.mplus.joint_writer import JointWriter, OpenWrite
from memplus.mplus.writer import Receipt, Text
from memplus.server.engine.failures import told
from memplus.server.engine.handing import Promise
from memplus.server.engine.requests import EngineLimits

__all__ = ["WriteRequest", "Writes"]

_RETRY = 5
"""Seconds after which to try again where too many wait."""


@dataclass(frozen=True, eq=False)
class WriteRequest:
    """A text to be written."""

    memory: Memory
    text: Text
    source: str
    flush: bool
    label: str | None
    promise: Promise[Receipt]


class Writes:
    """The writes of an engine: one at a time in each memory, and among memories chunk by chunk.

    A pass is for those that have waited longest for one, so no text waits for the whole of a long
    one in another memory, however many of these there are. Reads that begin while a memory is
    written see it as it was before.

    Args:
        writer: writes with the model.
        reader: reads with it.
        limits: how many at a time.
    """

    def __init__(self, writer: JointWriter, reader: JointReader, limits: EngineLimits) -> None:
        self.writer = writer
        self.reader = reader
        self.limits = limits
        self._waiting: deque[WriteRequest] = deque()
        self._open: list[tuple[OpenWrite, WriteRequest]] = []
        self.committed: Callable[[float], object] = float
        """Told how many seconds each commit took."""
        self.tokens = 0
        """Written since the beginning."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._open)

    def add(self, request: WriteRequest) -> None:
        """Take one in; from any thread.

        Raises:
            OverloadedError: too many wait already.
        """
        if len(self) >= self.limits.writes_waiting:
            raise OverloadedError(reason=f"{len(self)} writes wait already", retry_after=_RETRY)
        self._waiting.append(request)

    def step(self, *, hurried: bool) -> None:
        """Begin what can begin, write a chunk, and end what is done.

        Args:
            hurried: whether answers wait for the pass.
        """
        self._admit()
        self._finish()
        writes = [write for write, _ in self._open]
        if not writes:
            return
        most = self.limits.write_tokens if hurried else 1 << 30
        group = self.writer.together(writes, most)[: self.limits.writes_together]
        chosen = [one for one in self._open if one[0] in group]
        self._open = [*(one for one in self._open if one[0] not in group), *chosen]
        self._pass(chosen)
        self._finish()

    def fail_all(self, error: Exception) -> None:
        """End every write with an error; nothing of it stays."""
        for one in list(self._open):
            self._abandon(one, error)
        while self._waiting:
            self._waiting.popleft().promise.fail(error)

    def _admit(self) -> None:
        """Begin those whose memory is free. All may be open, as passes alone need a bound; but few
        begin at a time, since a text is read by the tokenizer then, and answers wait."""
        later: list[WriteRequest] = []
        busy = {id(one.memory) for _, one in self._open}
        begun = 0
        while self._waiting and begun < self.limits.writes_together:
            request = self._waiting.popleft()
            if id(request.memory) in busy:
                later.append(request)
            elif request.promise.claim():
                self._begin(request)
                begun += 1
                busy.add(id(request.memory))
        self._waiting.extendleft(reversed(later))

    def _begin(self, request: WriteRequest) -> None:
        memory = request.memory
        try:
            self.reader.keep(memory)
            write = self.writer.begin(
                memory,
                request.text,
                source=request.source,
                flush=request.flush,
                label=request.label,
            )
        except Exception as error:
            self.reader.let_go(memory)
            request.promise.fail(told(error))
            return
        self._open.append((write, request))

    def _pass(self, chosen: list[tuple[OpenWrite, WriteRequest]]) -> None:
        """One pass; where it fails, one for each, so that only those fail that cause it."""
        chunks = [write.job.chunks for write, _ in chosen]
        try:
            self.writer.step([write for write, _ in chosen])
        except Exception as error:
            untouched = chunks == [write.job.chunks for write, _ in chosen]
            for one in chosen:
                if untouched and len(chosen) > 1:
                    self._pass([one])
                else:
                    self._abandon(one, error)

    def _finish(self) -> None:
        for one in [one for one in self._open if self.writer.done(one[0])]:
            write, request = one
            self._open.remove(one)
            begun = time.perf_counter()
            try:
                receipt = self.writer.finish(write)
            except Exception as error:
                request.promise.fail(told(error))
            else:
                self.committed(time.perf_counter() - begun)
                self.tokens += receipt.tokens
                request.promise.keep(receipt)
            finally:
                self.reader.let_go(request.memory)

    def _abandon(self, one: tuple[OpenWrite, WriteRequest], error: Exception) -> None:
        self._open.remove(one)
        with suppress(MemplusError):  # it is closed, where the disk cannot be read either
            one[0].abandon(error)
        self.reader.let_go(one[1].memory)
        one[1].promise.fail(told(error))
