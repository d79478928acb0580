"""An account, kept while a memory is written, of whose text every one of its rows holds.

Rows are told by their bits: a row that is computed again copies the text of the newest row whose
vector stood in its place. Short writes of spans computed older rows again once, and memories of
those days are still read and forgotten from: ``filled_up`` writes as they did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests.fakes import some_ids
from torch import Tensor

from memplus import Memory, MPlus
from memplus.mplus import core
from memplus.passes.write import WritePass, write_pass

Row = tuple[int, int, int]
"""Layer, id of the write and birth of a row."""


def bits(row: Tensor) -> bytes:
    """What tells a vector from others."""
    return row.contiguous().view(torch.uint8).numpy().tobytes()


def filled_up(
    backbone: Any, weights: Any, ids: Tensor, context: Tensor, rows: int, *, span: int
) -> WritePass:
    """A write of spans as it was once: older rows, or a padding token, fill its first ones."""
    short = max(0, rows - ids.shape[1] - context.shape[2])
    padded = torch.nn.functional.pad(ids, (short, 0), value=1)
    return write_pass(backbone, weights, padded, context, rows)


class Account:
    """Writes short chunks into a memory, exact rows or packed ones, and forgets them.

    Args:
        model: whose memory it is.
        memory: empty.
        older: whether writes of spans fill up with older rows, as they did once.
    """

    def __init__(self, model: MPlus, memory: Memory, *, older: bool = False) -> None:
        self.model = model
        self.memory = memory
        self._older = older
        self._copies = older or not memory.config.retrieves_spans
        self.text: dict[Row, int] = {}
        """The id of the write whose text it holds; 0: padding."""
        self.gone: set[int] = set()
        self._vectors: dict[bytes, int] = {}

    def write(self, tokens: int, source: str = "") -> None:
        """One chunk of so many tokens."""
        memory, at = self.memory, len(self.memory.writes) + 1
        before = None if memory.pool is None else memory.pool.recent.clone()
        clock = memory.clock
        ids = some_ids(tokens, seed=at).tolist()
        with pytest.MonkeyPatch.context() as patch:
            if self._older:
                patch.setattr(core, "whole_write_pass", filled_up)
            self.model.write(memory, ids, source=source or f"s{at}", flush=True)
        pool = memory.pool
        assert pool is not None
        made = memory.clock - clock
        again = made - min(tokens, made) if self._copies else 0
        for layer in range(pool.layers):
            held = [] if before is None else [self._vectors[bits(one)] for one in before[layer]]
            held = held[max(0, len(held) - again) :]
            held += [0] * (again - len(held)) + [at] * (made - again)
            for birth, text in enumerate(held, start=clock + 1):
                self.text[layer, at, birth] = text
                for slot in torch.nonzero(pool.birth[layer] == birth).flatten():
                    for column in pool.columns.values():
                        if layer < len(column):
                            self._vectors[bits(column[layer, slot])] = text
                if (back := memory.clock - birth) < pool.recent.shape[1]:
                    self._vectors[bits(pool.recent[layer, -1 - back])] = text

    def rows(self) -> set[Row]:
        """All rows that the memory holds."""
        memory, found = self.memory, set()
        assert memory.pool is not None
        slots = memory.pool.slot_order()[:, : memory.pool.count]
        rows = memory.pool.rows_at(slots)
        for layer, own in enumerate(zip(rows["write_id"], rows["birth"], strict=True)):
            found |= {(layer, *one) for one in zip(*map(Tensor.tolist, own), strict=True)}
        if memory.long_term is not None:
            for layer in memory.long_term.layout.stored:
                books = memory.long_term.books(layer)
                own = books["write_id"], books["birth"]
                found |= {(layer, *one) for one in zip(*map(Tensor.tolist, own), strict=True)}
        return found

    def texts(self) -> set[int]:
        """Whose text the vectors hold that the memory keeps as they were computed."""
        memory = self.memory
        assert memory.pool is not None
        slots = memory.pool.slot_order()[:, : memory.pool.count]
        rows = memory.pool.rows_at(slots)
        columns = [memory.pool.recent, *(rows[name] for name in memory.pool.columns)]
        if memory.long_term is not None and memory.rows == "exact":
            for table in memory.long_term.tables:
                names = set(table.names) - {"birth", "write_id", "counter"}
                columns += [table[name][None] for name in names if len(table)]
        vectors = {bits(row) for column in columns for layer in column for row in layer}
        return {self._vectors[one] for one in vectors if one in self._vectors}

    def forget(self, writes: Sequence[int]) -> set[Row]:
        """Forget some writes.

        Returns:
            Rows that went, although they hold no text of these writes and none of them made them.
        """
        before = self.rows()
        self.memory.forget(write=writes)
        self.gone |= set(writes)
        lost = before - self.rows()
        return {one for one in lost if one[1] not in self.gone and self.text[one] not in self.gone}

    def overlooked(self) -> set[int]:
        """Forgotten writes of which a row is left, or a vector that holds their text."""
        rows = {self.text[one] for one in self.rows()} | {one[1] for one in self.rows()}
        single = not self.memory.config.retrieves_spans  # a span's rows are replaced, not taken out
        return self.gone & (self.texts() | (rows if single else {one[1] for one in self.rows()}))
