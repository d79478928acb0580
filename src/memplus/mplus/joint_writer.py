"""Writes that go on together, chunk by chunk, each beginning and ending on its own.

Where ``Writer`` writes a batch of texts from beginning to end, here one chunk of each is written at
a time, and other things happen between two chunks. A write is all made or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from memplus.memory.guards import writing
from memplus.memory.state import Memory
from memplus.mplus.core import Core
from memplus.mplus.writer import Job, Receipt, Text, Writer

__all__ = ["JointWriter", "OpenWrite"]


class OpenWrite:
    """A write that goes on; its memory is nobody else's to write meanwhile.

    Args:
        job: what is to be written.
        held: the memory's lock, and the block that makes its writes one change.
    """

    def __init__(self, job: Job, held: ExitStack) -> None:
        self.job = job
        self._held = held

    @property
    def memory(self) -> Memory:
        """That is written."""
        return self.job.memory

    def commit(self) -> None:
        """Make it last, and let others write.

        Raises:
            StorageError: the disk refused; the memory is what it was before the write.
        """
        self._held.close()

    def abandon(self, error: BaseException) -> None:
        """Undo it, and let others write."""
        try:
            self._held.__exit__(type(error), error, error.__traceback__)
        except BaseException as raised:
            if raised is not error:
                raise


class JointWriter:
    """Writes into the memories of one model. All of a write is done in one thread."""

    def __init__(self, core: Core) -> None:
        self._writer = Writer(core)

    def begin(
        self,
        memory: Memory,
        text: Text,
        *,
        source: str = "",
        flush: bool = False,
        label: str | None = None,
    ) -> OpenWrite:
        """Begin to write a text; see ``MPlus.write``.

        Args:
            memory: is changed.
            text: text or token ids.
            source: name of the text.
            flush: write the tail too.
            label: of the change in the memory's history.

        Raises:
            EmptyTextError, UsageError, BudgetError, MemoryMismatchError: as ``MPlus.write``; and
                what the memory itself refuses.
        """
        with ExitStack() as stack:
            stack.enter_context(writing([memory]))
            job = self._writer.plan(memory, text, source, flush=flush)
            stack.enter_context(memory.undivided(label))
            self._writer.begin(job)
            return OpenWrite(job, stack.pop_all())

    def done(self, write: OpenWrite) -> bool:
        """Whether no chunk is left to be written."""
        return not self._writer.next(write.job)

    def together(self, writes: Sequence[OpenWrite], tokens: int) -> list[OpenWrite]:
        """Those whose next chunks share a pass with that of the first, of so many tokens at most.

        The first is among them however long its chunk is.
        """
        group = self._writer.alike([one.job for one in writes])
        most = max(1, tokens // self._writer.next(group[0]))
        return [one for one in writes if any(one.job is job for job in group)][:most]

    def step(self, writes: Sequence[OpenWrite]) -> None:
        """Write the next chunk of each, in one pass; they are alike, as ``together`` gives them."""
        self._writer.advance([one.job for one in writes])

    def finish(self, write: OpenWrite) -> Receipt:
        """End a write of which no chunk is left, and make it last.

        Raises:
            StorageError: the disk refused; the memory is what it was before the write.
        """
        self._writer.end(write.job)
        receipt = write.job.receipt
        write.commit()
        return receipt
