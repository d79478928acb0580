"""Writes that a memory has taken in and the disk does not have yet."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memplus.memory.records import Passage, WriteRecord
from memplus.memory.state import Memory
from memplus.store.blocks import Layout
from memplus.store.snapshot import Logged, log_record

__all__ = ["Pending", "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """What one commit holds, fixed: the memory may change meanwhile."""

    record: tuple[Layout, list[Tensor]]
    """For the log; lacks the writes where the log does not get them."""
    passages: list[tuple[WriteRecord, Passage]]
    """For the journal."""
    writes: int
    tokens: int
    waiting: int


class Pending:
    """What the next commit holds.

    Attributes:
        nbytes: of what the log would get.
        beyond_log: whether the log gets none of it: the next commit is a checkpoint.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nothing is pending any more."""
        self._passages: list[tuple[WriteRecord, Passage]] = []
        self._logged: list[Logged] = []
        self.nbytes = 0
        self.beyond_log = False

    def add(self, written: Logged) -> None:
        """A write has become rows."""
        self._passages.append((written.record, written.said))
        if not self.beyond_log:
            self._logged.append(written)
            self.nbytes += written.nbytes

    def leave_log(self) -> None:
        """The next commit is a checkpoint, so that nothing has to wait for the log."""
        self.beyond_log = True
        self._logged, self.nbytes = [], 0

    def prepared(self, memory: Memory) -> Prepared:
        """Everything that is pending, and the memory's state after it."""
        record = log_record(memory, self._logged)
        sizes = (len(memory.writes), memory.tokens, len(memory.tail))
        return Prepared(record, list(self._passages), *sizes)

    def committed(self, prepared: Prepared) -> None:
        """The log has what was prepared; later writes stay pending."""
        done = len(prepared.passages)
        del self._passages[:done]
        if not self.beyond_log:
            del self._logged[:done]
            self.nbytes = sum(written.nbytes for written in self._logged)
