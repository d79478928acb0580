"""Which rows a write made: births are counted, and kept nowhere but at the rows themselves.

A write's rows are born one after the other, the newest at the clock after it, and how many there
are follows from its tokens (``MemoryConfig.rows_of_write``) and from the rows that were there to
fill up with. Of a write that takes in fewer tokens than it makes rows the last rows are the text's
own, one for each token; those before them are older rows, computed again, or in spans repeat these.

Shapes: n rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from memplus.config import NoEviction
from memplus.memory.computed_again import ComputedAgain, Copies
from memplus.memory.contents import MemoryContents
from memplus.memory.text_rows import TextRows

__all__ = ["WriteBirths", "computed_again"]


class WriteBirths:
    """Births of the rows of each write of one memory, as it is now.

    Args:
        memory: its records, rows and clock.
    """

    def __init__(self, memory: MemoryContents) -> None:
        self._memory = memory
        self.text = TextRows(memory)
        self.begun: int | None = 0
        """How many rows that came with the model were there to fill up the first writes, K at
        most; None where nothing tells it."""
        self.fewest, self.most = self._counted()
        """Rows of each write: forgetting hides how many it had, and how many some later ones had,
        which found fewer to fill up with."""
        self._first, self._last = [0] * len(self.most), [memory.clock] * len(self.most)
        self._looked_up = False
        self._narrow()

    def newest(self, write_id: int) -> int | None:
        """Birth of the newest row of a write; None where nothing tells it.

        Args:
            write_id: from 1 on, of a write that was not forgotten.
        """
        first, last = self.newest_within(write_id)
        return first if first == last else None

    def newest_within(self, write_id: int) -> tuple[int, int]:
        """The earliest and the latest that it can be."""
        if self._first[write_id - 1] != self._last[write_id - 1] and not self._looked_up:
            self._look_up()
        first, last = self._first[write_id - 1], self._last[write_id - 1]
        return min(first, last), max(first, last)

    def _counted(self) -> tuple[list[int], list[int]]:
        config, writes = self._memory.config, self._memory.writes
        rows = [config.rows_of_write(one.tokens) if one.tokens else 0 for one in writes]
        most = [one or config.tokens_per_write for one in rows]
        if config.retrieves_spans:
            return [one or config.span_rows for one in rows], most
        fitting = self._beginnings()
        self.begun = fitting[0] if len(fitting) == 1 else None
        return self._single_rows(fitting[0])[0], self._single_rows(fitting[-1])[1]

    def _beginnings(self) -> list[int]:
        """How many rows a memory of single rows can have begun with, the fewest first."""
        full = self._memory.config.tokens_per_write
        if all(one.tokens for one in self._memory.writes):  # the clock tells it
            return [bisect_left(range(full), self._memory.clock, key=self._clock_from)]
        seen = self._seen[2][0]
        if self._keeps_all or seen >= full:
            return [min(full, seen)]
        # As a rule a model comes with no rows or with many; if these are gone few are as well.
        usual, others = [0, full] if not seen else [], range(max(1, seen), full + 1)
        for ways in (usual, others):
            if fitting := [one for one in ways if self._fits(*self._single_rows(one))]:
                return fitting
        return [seen, full]

    def _clock_from(self, begun: int) -> int:
        return sum(self._single_rows(begun)[0])

    def _single_rows(self, there: int) -> tuple[list[int], list[int]]:
        """Fewest and most rows of each write where so many were there before the first."""
        config = self._memory.config
        fewest, most = [], []
        known = True
        for one in self._memory.writes:
            full = config.tokens_per_write
            known = known and one.tokens > 0
            found = there if known else self.text.unbroken[one.id - 1]
            fewest.append(min(full, found + one.tokens) if one.tokens else 1)
            most.append(fewest[-1] if known else full)
            there += fewest[-1]
            if config.first_write == "tile":
                there = full  # the first write fills the pool
        return fewest, most

    @property
    def _keeps_all(self) -> bool:
        """Whether rows leave the memory by forgetting alone."""
        config = self._memory.config
        return config.has_long_term and isinstance(config.eviction, NoEviction)

    def _fits(self, fewest: list[int], most: list[int]) -> bool:
        """Whether the rows that are there can be of writes of so many."""
        low, high, _ = self._seen
        newest = 0
        for at, (rows, known) in enumerate(zip(most, fewest, strict=True), start=1):
            newest += rows
            if rows != known:
                break  # behind one that was forgotten
            if low[at] <= newest - rows or high[at] > newest:
                return False
        return True

    @cached_property
    def _seen(self) -> tuple[list[int], list[int], list[int]]:
        """Of the rows that are there, by write id: the oldest birth, the newest, and how many."""
        count = len(self._memory.writes) + 1
        low = torch.full((count,), self._memory.clock + 1)
        high, rows = torch.zeros((2, count), dtype=torch.int64)
        for ids, births in self._there():
            ids, births = ids.long().cpu(), births.cpu()
            low.scatter_reduce_(0, ids, births, "amin")
            high.scatter_reduce_(0, ids, births, "amax")
            rows += ids.bincount(minlength=count)
        return low.tolist(), high.tolist(), rows.tolist()

    def _there(self) -> list[tuple[Tensor, Tensor]]:
        """[n] write ids and births of the rows of the first layer, the pool's and the others."""
        pool, long_term = self._memory.pool, self._memory.long_term
        found = []
        if pool is not None:
            slots = pool.slot_order()[0, : pool.count]
            found.append((pool.write_id[0, slots], pool.birth[0, slots]))
        if long_term is not None:
            table = long_term.books(0)
            found.append((table["write_id"], table["birth"]))
        return found

    def _narrow(self) -> None:
        """Counted on from the first write, and back from the last."""
        first = last = 0
        for at, (fewest, most) in enumerate(zip(self.fewest, self.most, strict=True)):
            first = self._first[at] = max(self._first[at], first + fewest)
            last = self._last[at] = min(self._last[at], last + most)
        first = last = self._memory.clock
        for at in reversed(range(len(self.most))):
            first = self._first[at] = max(self._first[at], first)
            last = self._last[at] = min(self._last[at], last)
            first, last = first - self.most[at], last - self.fewest[at]

    def _look_up(self) -> None:
        """The rows that are there tell more."""
        self._looked_up = True
        earlier, tiled = 0, self._memory.config.first_write == "tile"
        seen = [one[1:] for one in self._seen]
        for at, (oldest, newest, there) in enumerate(zip(*seen, strict=True)):
            self._first[at] = max(self._first[at], newest, earlier + self.fewest[at])
            earlier = max(earlier, newest)
            if not there or not self.text.own[at]:
                continue
            whole = there == self.fewest[at] == self.most[at] and not tiled
            if self._keeps_all or whole:
                self._first[at] = self._last[at] = newest
            self._last[at] = min(self._last[at], max(oldest, 1) + self.most[at] - 1)
        later = self._memory.clock + 1
        for at in reversed(range(len(seen[0]))):
            self._last[at] = min(self._last[at], later - 1)
            later = min(later, seen[0][at])
        self._narrow()


def computed_again(
    memory: MemoryContents, gone: Sequence[int], births: WriteBirths
) -> tuple[ComputedAgain | None, list[bool]]:
    """The rows that short writes computed again from rows of some other writes.

    Whoever forgets those has to take these away too: they hold the same text.

    Args:
        memory: before anything is forgotten.
        gone: ids of the writes, ascending, of which none was forgotten before.
        births: of its rows.

    Returns:
        These rows, if there are any; and which of the K newest rows hold that text or are of those
        writes, the newest first.
    """
    config, copies = memory.config, {}
    found, newest = births.text.holding(gone, births.fewest, births.most, begun=births.begun)
    for at, held in found.items():
        own, most = births.text.own[at - 1], births.most[at - 1]
        first, last = births.newest_within(at)
        first = max(first, last - most)  # its rows are no farther apart; without any none is sought
        lost = _anywhere(torch.tensor([False] * own + held), last - first, config.span_rows)
        copies[at] = Copies(last, own, lost)
    again = ComputedAgain(copies, len(memory.writes), config.span_rows) if copies else None
    return again, newest


def _anywhere(lost: Tensor, within: int, step: int) -> Tensor:
    """[n + within] Which rows may be such ones if all lie up to so many, by steps, farther back."""
    if not within:
        return lost
    padded = torch.nn.functional.pad(lost.float(), (within, within))
    found = torch.nn.functional.max_pool1d(padded[None], within // step + 1, 1, dilation=step)
    return found[0] > 0
