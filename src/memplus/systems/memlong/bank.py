"""What is kept of one text: keys and values of the memory layer by chunks, and how they are found.

A bank is a value: a write makes another one. Its tables are append-only and shared by all that
came of the same text (``memory.rows``); what leaves a full bank leaves in one copy of what stays.

Shapes: n rows (tokens kept), c chunks, k rows or chunks that come, G key/value heads, D head width,
E width of a chunk's vector.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import torch
from torch import Tensor

from memplus.memory.rows import RowTable
from memplus.systems.memlong.options import Eviction

__all__ = ["Bank", "Piece", "Room", "chunk_lengths", "staying"]

_TENTH = 10
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Room:
    """How much a bank holds, and what leaves it."""

    tokens: int
    """Rows at most."""
    eviction: Eviction


@dataclass(frozen=True)
class Piece:
    """A text that is taken in, without a graph."""

    keys: Tensor
    """[k, G, D] unrotated."""
    values: Tensor
    """[k, G, D]."""
    ids: Tensor
    """[k] int32 token ids; [0] where nobody looks for words."""
    embeddings: Tensor
    """[chunks of it, E] float32."""
    query: Tensor
    """What the text behind it is looked up by."""
    lengths: Sequence[int]
    """Tokens of its chunks."""


def chunk_lengths(tokens: int, chunk: int) -> list[int]:
    """Of a text cut into chunks; the last one may be short."""
    return [min(chunk, tokens - start) for start in range(0, tokens, chunk)]


def staying(lengths: Tensor, counters: Tensor, coming: int, room: Room) -> Tensor:
    """Which chunks stay as others come: all of them while there is room.

    By counters (2408.16967, section 3): the oldest tenth goes and the newest tenth stays; of those
    between the least retrieved go, the older first, until half of the bank is free. By ``fifo``
    the older half goes. If what comes does not fit even then, the oldest go on leaving.

    Args:
        lengths: [c] tokens of the chunks, the oldest first.
        counters: [c] how often each was retrieved.
        coming: tokens.
        room: of the bank.

    Returns:
        [c] true where a chunk stays.
    """
    count = len(lengths)
    stays = torch.ones(count, dtype=torch.bool)
    if not count or int(lengths.sum()) + coming <= room.tokens:
        return stays
    tokens, often = lengths.tolist(), counters.tolist()
    if room.eviction == "fifo":
        stays[: max(1, count // 2)] = False
    else:
        oldest, newest = count // _TENTH, ceil(count / _TENTH)
        stays[:oldest] = False
        between = sorted(range(oldest, count - newest), key=lambda one: often[one])
        _leave(stays, tokens, between, room.tokens // 2)
    _leave(stays, tokens, range(count), room.tokens - coming)
    return stays


def _leave(stays: Tensor, tokens: Sequence[int], order: Sequence[int], most: int) -> None:
    """Take chunks out in this order until at most so many tokens stay."""
    kept = sum(length for length, one in zip(tokens, stays.tolist(), strict=True) if one)
    for one in order:
        if kept <= most:
            return
        if stays[one]:
            stays[one] = False
            kept -= tokens[one]


@dataclass(frozen=True, eq=False)
class Bank:
    """The memory of one text."""

    rows: RowTable
    """``keys`` and ``values`` [n, G, D], ``ids`` [n] where words are looked for."""
    chunks: RowTable
    """``embeddings`` [c, E] float32; ``starts`` and ``lengths`` [c]: the first token, counted from
    the first one ever written, and how many."""
    counters: Tensor
    """[c] how often each chunk was retrieved."""
    before: Tensor
    """What the text behind the last piece is looked up by; [0] before the first one."""
    written: int = 0
    """Tokens taken in, those that have left included."""

    @classmethod
    def empty(cls, keys: Tensor, width: int, *, words: bool) -> Bank:
        """Of a text that has not begun.

        Args:
            keys: [0, G, D], which gives dtype and device.
            width: E.
            words: whether token ids are kept too.
        """
        device = keys.device
        rows = {"keys": keys, "values": keys.clone()}
        if words:
            rows["ids"] = torch.zeros(0, dtype=torch.int32, device=device)
        none = torch.zeros(0, dtype=torch.int64, device=device)
        chunks = {
            "embeddings": torch.zeros(0, width, device=device),
            "starts": none,
            "lengths": none.clone(),
        }
        return cls(RowTable(rows), RowTable(chunks), none.clone(), none.clone())

    def __len__(self) -> int:
        return len(self.chunks)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each chunk."""
        return [int(one) for one in self.chunks["lengths"]]

    @cached_property
    def places(self) -> list[int]:
        """The first row of each chunk."""
        ends = self.chunks["lengths"].cumsum(0)
        return [int(one) for one in ends - self.chunks["lengths"]]

    @cached_property
    def directions(self) -> Tensor:
        """[c, E] of unit length: see ``direction``."""
        return self.direction(self.chunks["embeddings"])

    def direction(self, vectors: Tensor) -> Tensor:
        """[..., E] of unit length: vectors less the chunks' mean, in units of the chunks' spread.

        Some numbers of a decoder's states are far larger than all others whatever the text says;
        so each number counts by how much it differs between the chunks that are there.
        """
        centre, spread = self._scale
        return torch.nn.functional.normalize((vectors - centre) / spread, dim=-1)

    @cached_property
    def _scale(self) -> tuple[Tensor, Tensor]:
        """[E] each: mean and standard deviation of the chunks' vectors."""
        vectors = self.chunks["embeddings"]
        return vectors.mean(dim=0), vectors.std(dim=0, correction=0).clamp(min=_LEAST_SPREAD)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        own = {"counters": self.counters, "before": self.before}
        written = torch.tensor([self.written])
        return {**self.rows.columns(), **self.chunks.columns(), **own, "written": written}

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(one.nbytes for one in self.tensors.values())

    def rows_of(self, chunks: Sequence[int]) -> Tensor:
        """Places of the rows of these chunks, one after another."""
        spans = ((self.places[one], self.lengths[one]) for one in chunks)
        found = [torch.arange(start, start + length) for start, length in spans]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)

    def texts(self) -> Iterator[list[int]]:
        """Token ids of each chunk, where they are kept."""
        for one in self.rows["ids"].split(self.lengths):
            yield [int(token) for token in one]

    def beginning_at(self, starts: Collection[int]) -> list[int]:
        """The chunks whose first tokens these are, counted from the first one ever written."""
        own = self.chunks["starts"].tolist()
        return [chunk for chunk, start in enumerate(own) if start in starts]

    def counted(self, chunks: Sequence[int]) -> Bank:
        """With these chunks counted as retrieved once more."""
        if not chunks:
            return self
        counters = self.counters.clone()
        counters[torch.tensor(chunks, device=counters.device)] += 1
        return replace(self, counters=counters)

    def put(self, piece: Piece, room: Room) -> Bank:
        """With a piece taken in, and what there is no room for any more taken out."""
        coming = piece.keys.shape[0]
        stays = staying(self.chunks["lengths"], self.counters, coming, room)
        rows, chunks, counters = self.rows.fork(), self.chunks.fork(), self.counters
        if not bool(stays.all()):
            rows.keep(stays.to(counters.device).repeat_interleave(self.chunks["lengths"]))
            counters = counters[stays.to(counters.device)]
            chunks.keep(stays.to(counters.device))
        lengths = torch.tensor(piece.lengths, device=counters.device)
        columns = {"keys": piece.keys, "values": piece.values, "ids": piece.ids}
        rows.append({name: columns[name] for name in rows.names})
        starts = self.written + lengths.cumsum(0) - lengths
        chunks.append({"embeddings": piece.embeddings, "starts": starts, "lengths": lengths})
        counters = torch.cat([counters, torch.zeros_like(lengths)])
        return Bank(rows, chunks, counters, piece.query, self.written + coming)

    @classmethod
    def restored(cls, like: Bank, tensors: Mapping[str, Tensor]) -> Bank:
        """The bank that has these tensors.

        Args:
            like: an empty one of the same mechanism.
            tensors: as the property gave them, on any device.

        Raises:
            ValueError: a name, a shape or a dtype is not what it should be; says which.
        """
        _check(like, tensors)
        at = like.counters.device
        own = {name: tensor.to(at).clone() for name, tensor in tensors.items()}
        rows = {name: own[name] for name in like.rows.names}
        chunks = {name: own[name] for name in like.chunks.names}
        written = int(own["written"])
        return cls(RowTable(rows), RowTable(chunks), own["counters"], own["before"], written)


def _check(like: Bank, tensors: Mapping[str, Tensor]) -> None:
    wanted = like.tensors
    if wanted.keys() != tensors.keys():
        raise ValueError(f"{min(wanted.keys() ^ tensors.keys())} is missing, or nothing of a bank")
    rows, chunks = len(tensors["keys"]), len(tensors["lengths"])
    of = dict.fromkeys(like.rows.names, rows) | dict.fromkeys(
        [*like.chunks.names, "counters"], chunks
    )
    for name, one in wanted.items():
        given = tensors[name]
        kinds = (one.dtype, torch.float32) if name == "before" else (one.dtype,)
        if given.dtype not in kinds:
            raise ValueError(f"{name} is {given.dtype}, not {one.dtype}")
        shape = (of[name], *one.shape[1:]) if name in of else tuple(one.shape)
        if name != "before" and tuple(given.shape) != shape:
            raise ValueError(f"{name} is {list(given.shape)} in size, not {list(shape)}")
    _check_numbers(tensors)
    _check_before(tensors["before"], like, int(tensors["written"]))


def _check_numbers(tensors: Mapping[str, Tensor]) -> None:
    lengths, starts = tensors["lengths"], tensors["starts"]
    if int(lengths.sum()) != len(tensors["keys"]) or bool((lengths < 1).any()):
        raise ValueError("lengths are not those of the rows")
    apart = bool((starts < 0).any()) or bool((starts.diff() < lengths[:-1]).any())
    end = int(starts[-1]) + int(lengths[-1]) if len(starts) else 0
    if apart or int(tensors["written"]) < end:
        raise ValueError("starts are not in order")
    if bool((tensors["counters"] < 0).any()):
        raise ValueError("counters are below zero")


def _check_before(before: Tensor, like: Bank, written: int) -> None:
    """What the next text is looked up by: a chunk's vector, or words; nothing at first."""
    if before.dim() != 1:
        raise ValueError("before is not one row")
    if "ids" in like.rows.names:
        fits = before.dtype == torch.int64 and (len(before) > 0) == (written > 0)
    else:
        width = like.chunks["embeddings"].shape[1]
        fits = len(before) == (width if written else 0)
        fits = fits and (before.dtype == torch.float32 or not written)
    if not fits:
        raise ValueError(f"before is {list(before.shape)} of {before.dtype}")
