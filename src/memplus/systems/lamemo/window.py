"""What LaMemo keeps between segments: a window of the newest positions, layer by layer.

Keys, values and hidden states are not kept: they follow from what is (section 3.1).

Shapes: B rows, b texts that they have been told, L layers, H heads, D head width, d hidden size, m
remembered positions, T tokens of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from memplus.systems.lamemo.layer_step import LayerStep, Remembered, Sight, log_dtype, sight_of

__all__ = ["Sizes", "Window", "empty_window", "moved", "restored_window"]


@dataclass(frozen=True)
class Sizes:
    """Of a decoder and its window."""

    memory: int
    """M, most positions that are remembered."""
    layers: int
    heads: int
    """H, query heads."""
    head_dim: int
    hidden: int


@dataclass(frozen=True, eq=False)
class Window:
    """The newest positions. Never changes; all of it is without a graph.

    Rows that ``repeated`` or ``of_rows`` made of one text have one window: many questions about it
    read what it remembers once (``Passes.look``).
    """

    embeddings: Tensor
    """[b, m, d] input embeddings (E)."""
    context: Tensor
    """[L, b, m, H, D] attention outputs so far (C)."""
    logs: Tensor
    """[L, b, m, H] float32, logarithms of their denominators so far (Z)."""
    last: int = 0
    """Tokens of the newest segment: how far back positions looked to the right already."""
    tokens: int = 0
    """See ``MechanismState.tokens``."""
    texts: tuple[int, ...] | None = None
    """``told``; None: each row its own, B = b."""

    @property
    def count(self) -> int:
        """m."""
        return self.embeddings.shape[1]

    @property
    def rows(self) -> int:
        """B, see ``MechanismState.rows``."""
        return len(self.told)

    @property
    def told(self) -> Sequence[int]:
        """By row, which of the b texts it has been told."""
        return range(self.embeddings.shape[0]) if self.texts is None else self.texts

    def sight(self, tokens: int) -> Sight:
        """Who sees whom as so many tokens are read."""
        return sight_of(self.count, tokens, self.last, self.embeddings)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """See ``MechanismState.tensors``."""
        own, counts = self.spread(), torch.tensor([self.last, self.tokens])
        return {
            "embeddings": own.embeddings,
            "context": own.context,
            "logs": own.logs,
            "counts": counts,
        }

    @property
    def nbytes(self) -> int:
        """See ``MechanismState.nbytes``."""
        return sum(one.nbytes for one in self.tensors.values())

    def detached(self) -> Self:
        """See ``MechanismState.detached``."""
        return replace(
            self,
            embeddings=self.embeddings.detach(),
            context=self.context.detach(),
            logs=self.logs.detach(),
        )

    def repeated(self, times: int) -> Self:
        """See ``MechanismState.repeated``."""
        return self.of_rows([row for row in range(self.rows) for _ in range(times)])

    def of_rows(self, rows: Sequence[int]) -> Self:
        """The window of some rows of the batch, in this order; a row may come more than once."""
        texts = [self.told[row] for row in rows]
        kept = sorted(set(texts))
        own = self if len(kept) == len(self.embeddings) else self._taken(kept)
        places = tuple(kept.index(text) for text in texts)
        each = places == tuple(range(len(kept)))
        return replace(own, texts=None if each else places)

    def spread(self) -> Self:
        """The same with tensors of all rows, B = b: what the rows read next is not the same."""
        return self if self.texts is None else self._taken(self.texts)

    def _taken(self, texts: Sequence[int]) -> Self:
        """Each text as often as it is named, as a row of its own."""
        there = list(texts)
        return replace(
            self,
            embeddings=self.embeddings[there],
            context=self.context[:, there],
            logs=self.logs[:, there],
            texts=None,
        )

    def layer(self, index: int) -> Remembered:
        """What one layer keeps."""
        return Remembered(self.context[index], self.logs[index])


def empty_window(sizes: Sizes, rows: int, like: Tensor) -> Window:
    """The window before anything was read.

    Args:
        sizes: of it.
        rows: B.
        like: gives the dtype of embeddings and contexts, and the device.
    """
    return Window(
        like.new_zeros(rows, 0, sizes.hidden),
        like.new_zeros(sizes.layers, rows, 0, sizes.heads, sizes.head_dim),
        like.new_zeros(sizes.layers, rows, 0, sizes.heads, dtype=log_dtype(like.dtype)),
    )


def moved(window: Window, embeddings: Tensor, steps: Sequence[LayerStep], memory: int) -> Window:
    """The window behind a segment, cut from the graph.

    Args:
        window: before it; whether rows share a text does not matter, they have read their own now.
        embeddings: [B, m + T, d] of what was remembered and of the segment.
        steps: what each layer made of them.
        memory: M.
    """
    tokens = embeddings.shape[1] - window.count
    return Window(
        _newest(embeddings, memory),
        torch.stack([_newest(step.remembered.context, memory) for step in steps]),
        torch.stack([_newest(step.remembered.logs, memory) for step in steps]),
        last=tokens,
        tokens=window.tokens + tokens,
    )


def _newest(states: Tensor, memory: int) -> Tensor:
    """[B, m + T, ...] -> the last M positions, as a tensor of their own."""
    return states.detach()[:, max(0, states.shape[1] - memory) :]


def restored_window(tensors: Mapping[str, Tensor], sizes: Sizes, like: Tensor) -> Window:
    """The window that has these tensors.

    Args:
        tensors: as ``Window.tensors`` gave them.
        sizes: that it must have.
        like: gives the dtype that it must have, and the device that it comes to.

    Raises:
        ValueError: a name, a shape or a dtype is not what it should be; says which.
    """
    if tensors.keys() != {"embeddings", "context", "logs", "counts"}:
        raise ValueError(f"a window has other tensors than {', '.join(sorted(tensors))}")
    rows, count = _rows_and_count(tensors["embeddings"])
    wanted = {
        "embeddings": ((rows, count, sizes.hidden), like.dtype),
        "context": ((sizes.layers, rows, count, sizes.heads, sizes.head_dim), like.dtype),
        "logs": ((sizes.layers, rows, count, sizes.heads), log_dtype(like.dtype)),
        "counts": ((2,), torch.int64),
    }
    for name, (shape, dtype) in wanted.items():
        found = tensors[name]
        if tuple(found.shape) != shape or found.dtype != dtype:
            has = f"{list(found.shape)} of {found.dtype}"
            raise ValueError(f"{name} is {has}, not {list(shape)} of {dtype}")
    last, written = (int(one) for one in tensors["counts"].tolist())
    newest = 0 <= last <= written and (last > 0) == (written > 0)
    if not newest or count != min(written, sizes.memory):
        raise ValueError(f"counts are {[last, written]}, which does not go with {count} positions")
    return Window(
        tensors["embeddings"].to(like.device),
        tensors["context"].to(like.device),
        tensors["logs"].to(like.device),
        last=last,
        tokens=written,
    )


def _rows_and_count(embeddings: Tensor) -> tuple[int, int]:
    if embeddings.dim() != 3:
        raise ValueError(f"embeddings are {list(embeddings.shape)}, not [rows, positions, width]")
    return embeddings.shape[0], embeddings.shape[1]
