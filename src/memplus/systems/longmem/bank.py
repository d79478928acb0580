"""Keys and values of one layer, by chunks: a table that only grows and that forks share.

A row of the table is a chunk: its keys and values, and the mean of its keys. The oldest chunks
leave a full bank one by one, by beginning later in the table.

Shapes: R banks side by side, a chunks, c tokens of one, T tokens, G key/value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from memplus.memory.rows import RowTable

__all__ = ["Bank", "BankShape"]

_COLUMNS = ("keys", "values", "means", "starts")
_COUNT = "tokens"


@dataclass(frozen=True)
class BankShape:
    """What chunks are made of."""

    chunk_tokens: int
    """c."""
    heads: int
    """G."""
    width: int
    """D."""
    capacity: int
    """Most chunks that a bank keeps."""
    leaving: int = 1
    """1: a full bank loses what it has no room for. More: so many times the chunks that come."""


@dataclass(frozen=True)
class Bank:
    """What was kept of a text, for R texts of equal length: a value that never changes."""

    shape: BankShape
    table: RowTable
    """keys and values [a, R, G, c, D], means [a, R, G, D], starts [a]; also those that left."""
    first: int
    """How many chunks at the beginning of the table have left."""
    tokens: int
    """How many were taken in, those that no chunk holds included."""

    @classmethod
    def empty(cls, shape: BankShape, rows: int, like: Tensor) -> Bank:
        """A bank of nothing, with the dtype and the device of a tensor."""
        per_chunk = (rows, shape.heads, shape.chunk_tokens, shape.width)
        keys = like.new_empty((0, *per_chunk))
        columns = {
            "keys": keys,
            "values": keys.clone(),
            "means": like.new_empty((0, rows, shape.heads, shape.width)),
            "starts": torch.empty(0, dtype=torch.long, device=like.device),
        }
        return cls(shape, RowTable(columns), 0, 0)

    def __len__(self) -> int:
        """a: how many chunks it holds."""
        return len(self.table) - self.first

    @property
    def rows(self) -> int:
        """R, see ``MechanismState.rows``."""
        return self.table["keys"].shape[1]

    @property
    def keys(self) -> Tensor:
        """[a, R, G, c, D], without positions, the oldest first."""
        return self.table["keys"][self.first :]

    @property
    def values(self) -> Tensor:
        """[a, R, G, c, D]."""
        return self.table["values"][self.first :]

    @property
    def means(self) -> Tensor:
        """[a, R, G, D]: of the keys of each chunk."""
        return self.table["means"][self.first :]

    @property
    def starts(self) -> Tensor:
        """[a] the first token of each chunk, counted from the first one taken in."""
        return self.table["starts"][self.first :]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """See ``MechanismState.tensors``."""
        count = torch.tensor([self.tokens], dtype=torch.long)
        return {**{name: self.table[name][self.first :] for name in _COLUMNS}, _COUNT: count}

    @property
    def nbytes(self) -> int:
        """Bytes of what it holds."""
        return sum(one.nbytes for one in self.tensors.values())

    def detached(self) -> Self:
        """Itself: no graph ever reaches it."""
        return self

    def repeated(self, times: int) -> Self:
        """Itself: each of its texts serves as many rows of a batch as there are for it."""
        return self

    @torch.no_grad()
    def append(self, keys: Tensor, values: Tensor) -> Bank:
        """With the keys and values of what follows; what makes up no whole chunk is dropped.

        Args:
            keys: [B, T, G, D] without positions; B is R, or any number where R is 1: then these
                texts all have the same past.
            values: as keys.
        """
        with torch.inference_mode(mode=False):
            held = self if keys.shape[0] == self.rows else self._spread(keys.shape[0])
            return held._with(keys.detach(), values.detach())

    def _with(self, keys: Tensor, values: Tensor) -> Bank:
        size = self.shape.chunk_tokens
        count = keys.shape[1] // size
        own = _by_chunk(keys, count, size)
        starts = self.tokens + size * torch.arange(count, device=keys.device)
        rows = {
            "keys": own,
            "values": _by_chunk(values, count, size),
            "means": own.float().mean(dim=3).to(own.dtype),
            "starts": starts,
        }
        first = self._first_behind(count)
        table, first = self._room(first)
        table.append(rows)
        last = max(first, len(table) - self.shape.capacity)
        return replace(self, table=table, first=last, tokens=self.tokens + keys.shape[1])

    def _first_behind(self, count: int) -> int:
        """Where the bank begins once so many chunks are to come."""
        over = len(self) + count - self.shape.capacity
        if over <= 0:
            return self.first
        leaving = over if self.shape.leaving == 1 else self.shape.leaving * count
        return self.first + min(leaving, len(self))

    def _room(self, first: int) -> tuple[RowTable, int]:
        """A table to append to; one that has lost more than it holds begins anew."""
        if first <= len(self.table) - first:
            return self.table.fork(), first
        kept = {name: self.table[name][first:].clone() for name in _COLUMNS}
        return RowTable(kept), 0

    def _spread(self, rows: int) -> Bank:
        """The same past for so many texts that go on differently.

        Raises:
            ValueError: it is of several texts already.
        """
        if self.rows != 1:
            raise ValueError(f"a bank of {self.rows} texts cannot go on as {rows} others")
        wide = {
            name: getattr(self, name).expand(-1, rows, *[-1] * (getattr(self, name).dim() - 2))
            for name in ("keys", "values", "means")
        }
        columns = {name: column.contiguous() for name, column in wide.items()}
        columns["starts"] = self.starts.clone()
        return replace(self, table=RowTable(columns), first=0)

    @classmethod
    def restored(cls, shape: BankShape, tensors: Mapping[str, Tensor], like: Tensor) -> Bank:
        """The bank that gave these tensors.

        Args:
            shape: of its chunks.
            tensors: as ``tensors`` gave them, on any device.
            like: of the dtype and on the device that its keys must have.

        Raises:
            ValueError: a name, a shape or a dtype is not what it should be; says which.
        """
        known = {*_COLUMNS, _COUNT}
        if tensors.keys() != known:
            odd = sorted(tensors.keys() ^ known)[0]
            raise ValueError(f"{odd} is missing, or belongs to something else")
        chunks, rows = tensors["starts"].numel(), tensors["keys"].shape[1:2].numel()
        wide = (chunks, rows, shape.heads, shape.chunk_tokens, shape.width)
        wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "keys": (wide, like.dtype),
            "values": (wide, like.dtype),
            "means": ((*wide[:3], shape.width), like.dtype),
            "starts": ((chunks,), torch.long),
            _COUNT: ((1,), torch.long),
        }
        for name, (size, dtype) in wanted.items():
            found = tensors[name]
            if tuple(found.shape) != size or found.dtype != dtype:
                is_, was = (tuple(found.shape), found.dtype), (size, dtype)
                raise ValueError(f"{name} is {is_}, not {was}")
        if chunks > shape.capacity:
            raise ValueError(f"keys hold {chunks} chunks, more than {shape.capacity}")
        _check_numbers(tensors, shape.chunk_tokens)
        columns = {name: tensors[name].to(like.device, copy=True) for name in _COLUMNS}
        return cls(shape, RowTable(columns), 0, int(tensors[_COUNT].item()))


def _check_numbers(tensors: Mapping[str, Tensor], size: int) -> None:
    """Refuse chunks that overlap or that nobody has taken in, and means of other keys."""
    starts, tokens = tensors["starts"], int(tensors[_COUNT].item())
    if bool((starts < 0).any()) or bool((starts.diff() < size).any()):
        raise ValueError("starts are not in order")
    end = int(starts[-1]) + size if len(starts) else 0
    if tokens < end:
        raise ValueError(f"tokens is {tokens}, though chunks end at {end}")
    means, keys = tensors["means"], tensors["keys"].float()
    # Devices sum in another order, so the last bits may differ.
    near = 4 * torch.finfo(means.dtype).eps * keys.abs().amax(dim=3)
    if not bool(((means.float() - keys.mean(dim=3)).abs() <= near).all()):
        raise ValueError("means are not those of the keys")


def _by_chunk(states: Tensor, count: int, size: int) -> Tensor:
    """[R, T, G, D] -> [count, R, G, size, D]."""
    chunks: Tensor = states[:, : count * size].unflatten(1, (count, size))
    return chunks.permute(1, 0, 3, 2, 4).contiguous()
