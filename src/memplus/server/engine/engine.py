"""The engine: one thread that owns the model, and many who ask it from their event loops."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from memplus.errors import MemplusError, ShuttingDownError
from memplus.memory.state import Memory
from memplus.mplus.dividing import threads_for
from memplus.mplus.evidence import Retrieved
from memplus.mplus.joint_reader import JointReader
from memplus.mplus.joint_writer import JointWriter
from memplus.mplus.model import MPlus
from memplus.mplus.writer import Receipt, Text
from memplus.server.engine.calls import Calls
from memplus.server.engine.failures import told
from memplus.server.engine.handing import AnswerStream, Outlet, Promise
from memplus.server.engine.reads import Reads
from memplus.server.engine.requests import EngineCounts, EngineLimits, ReadRequest
from memplus.server.engine.writes import WriteRequest, Writes
from memplus.server.threads import divide

__all__ = ["Engine"]

T = TypeVar("T")


class Engine:
    """Answers many requests of different memories together, and writes between their tokens.

    Its methods are called from event loops, any number of them; the model is used by its thread
    alone. An error of one request is that request's.

    Args:
        model: that reads and writes.
        limits: bounds of what it does at a time.
    """

    def __init__(self, model: MPlus, limits: EngineLimits | None = None) -> None:
        self.model = model
        self.limits = limits or EngineLimits()
        reader = JointReader(model.core)
        self._reads = Reads(reader, self.limits, self._text)
        self._writes = Writes(JointWriter(model.core), reader, self.limits)
        self._calls = Calls(self.limits)
        self._wake = threading.Condition()
        self._owed = 0.0
        """Seconds of writing that answers have made room for; below 0: writes are ahead."""
        self._closing = False
        self._ending = threading.Event()
        """Set where the thread is to end as soon as it can."""
        self._threads = threads_for(model)
        self._thread = threading.Thread(target=self._work, name="memplus-engine", daemon=True)

    def start(self) -> None:
        """Start its thread, which ends with the process at the latest."""
        self._thread.start()
        # A thread that is in a pass as the interpreter goes would take the process down with it.
        weakref.finalize(self, _end, self._wake, self._ending, self._thread)

    def read(self, request: ReadRequest) -> AnswerStream:
        """Answer a request: pieces as they come, and ``Finished`` at the end.

        To be called in an event loop. The iterator raises what is wrong with the request.

        Raises:
            OverloadedError: too many wait already.
            ShuttingDownError: the engine is being closed.
        """
        outlet = Outlet()
        with self._wake:
            self._require_open()
            self._reads.submit(request, outlet)
            self._wake.notify()
        return AnswerStream(outlet)

    async def write(
        self,
        memory: Memory,
        text: Text,
        *,
        source: str = "",
        flush: bool = False,
        label: str | None = None,
    ) -> Receipt:
        """Write a text into a memory, all of it or nothing; it lasts when this returns.

        Where who waits for it is cancelled before the write has begun, nothing is written; once it
        has begun, it is written to its end, and only then is who waited free: the memory is in use.

        Args:
            memory: is changed. Writes of one memory follow each other, and reads that begin
                meanwhile see it as it was.
            text: text or token ids.
            source: name of the text.
            flush: write the tail too.
            label: of the commit, for a memory in a store; see ``StoredMemory.labelled``.

        Raises:
            OverloadedError, ShuttingDownError: as ``read``.
            MemplusError: as ``MPlus.write``; nothing was written.
        """
        promise: Promise[Receipt] = Promise()
        request = WriteRequest(memory, text, source, flush, label, promise)
        with self._wake:
            self._require_open()
            self._writes.add(request)
            self._wake.notify()
        return await promise.kept()

    async def retrieve(self, memory: Memory, question: str) -> list[Retrieved]:
        """What a question retrieves from a memory; see ``MPlus.retrieve``.

        Raises:
            OverloadedError, ShuttingDownError: as ``read``.
            MemplusError: as ``MPlus.retrieve``.
        """
        return await self.run(lambda: self.model.retrieve(memory, question))

    async def run(self, function: Callable[[], T]) -> T:
        """Call a short function in the thread of the model, between two tokens.

        Raises:
            OverloadedError, ShuttingDownError: as ``read``; and whatever the function raises.
        """
        promise: Promise[T] = Promise()
        with self._wake:
            self._require_open()
            self._calls.add(function, promise)
            self._wake.notify()
        return await promise.kept()

    async def close(self, timeout: float) -> None:
        """Take no new work, do what was begun or waits, and end the thread.

        Args:
            timeout: seconds after which what is left ends with ``ShuttingDownError``.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is None:
            return
        await asyncio.to_thread(self._thread.join, timeout)
        if self._thread.is_alive():
            self._ending.set()
            await asyncio.to_thread(self._thread.join)

    def on_commit(self, tell: Callable[[float], object]) -> None:
        """Call this, in the engine's thread, with the seconds that each commit of a write took."""
        self._writes.committed = tell

    def counts(self) -> EngineCounts:
        """What it does now, and has done since it was started."""
        reads = self._reads
        return EngineCounts(
            running=reads.running,
            waiting=reads.waiting,
            writes=len(self._writes),
            calls=len(self._calls),
            finished=reads.finished,
            cancelled=reads.cancelled,
            refused=reads.refused,
            failed=reads.failed,
            prompt_tokens=reads.prompt_tokens,
            completion_tokens=reads.completion_tokens,
            written_tokens=self._writes.tokens,
        )

    def _text(self, ids: list[int]) -> str:
        return str(self.model.tokenizer.decode(ids, skip_special_tokens=True))

    def _require_open(self) -> None:
        if self._closing:
            raise ShuttingDownError()

    # In its thread ------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return bool(self._reads.busy or len(self._writes) or len(self._calls))

    def _work(self) -> None:
        divide(self._threads)
        while True:
            with self._wake:
                while not (self._busy or self._closing or self._ending.is_set()):
                    self._wake.wait()
            if self._ending.is_set() or not self._busy:
                break
            try:
                self._turn()
            except Exception as error:  # of the engine itself: those that it serves must hear of it
                self._fail_all(told(error))
        self._fail_all(ShuttingDownError())

    def _turn(self) -> None:
        """A call, a token of every answer, and a chunk of those texts whose turn it is."""
        if len(self._calls):
            self._calls.step()
        if self._reads.busy:
            self._read()
        if len(self._writes) and (self._owed >= 0 or not self._reads.busy):
            self._write()

    def _fail_all(self, error: MemplusError) -> None:
        self._reads.fail_all(error)
        self._writes.fail_all(error)
        self._calls.fail_all(error)

    def _read(self) -> None:
        """A pass of the answers, which earns time for writes where these are ahead."""
        started = time.perf_counter()
        self._reads.step()
        share = self.limits.write_share
        earned = (time.perf_counter() - started) * share / (1 - share)
        self._owed = min(self._owed + earned, 0.0)

    def _write(self) -> None:
        """A pass of the writes; while answers wait, its time is earned afterwards."""
        hurried, started = self._reads.busy, time.perf_counter()
        self._writes.step(hurried=hurried)
        self._owed -= (time.perf_counter() - started) if hurried else 0.0


def _end(wake: threading.Condition, ending: threading.Event, thread: threading.Thread) -> None:
    with wake:
        ending.set()
        wake.notify()
    thread.join()
