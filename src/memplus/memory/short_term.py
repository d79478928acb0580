"""The short-term pool: N rows per layer, of which every write drops K at random.

Nothing is ever compacted. Attention does not see storage order, so a new row goes into the slot
of a dropped one and every slot knows its position, the row's rank by age.

Shapes: L layers, N slots, n rows in use, K rows of a write, c rows dropped, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memplus.memory.computed_again import ComputedAgain

__all__ = [
    "OWN",
    "ShortTermPool",
    "draw_dropped",
    "draw_survivors",
    "stack_like",
    "whole_spans",
    "with_room",
]

OWN = ("recent", "position", "birth", "write_id")
"""The tensors of a pool that are not columns."""

_DRAWN: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
"""Of random numbers: a seed means the same whatever PyTorch's defaults are."""


def draw_dropped(
    rows: int,
    count: int,
    layers: int,
    generator: torch.Generator,
    *,
    shared: bool,
    span: int = 1,
) -> Tensor:
    """Choose at random which of a pool's rows one write drops (MemoryLLM section 3.1.2).

    Args:
        rows: n, in every layer.
        count: c, at most n.
        layers: L.
        generator: on the CPU whatever the device, so that a seed means the same everywhere.
        shared: one draw for all layers; otherwise every layer draws for itself.
        span: rows that are dropped together; ``rows`` and ``count`` are whole spans.

    Returns:
        [L, c] positions, spans in random order.
    """
    lots = torch.rand((1 if shared else layers, rows // span), generator=generator, **_DRAWN)
    drawn = lots.topk(count // span, dim=1).indices
    if span > 1:
        drawn = (drawn[:, :, None] * span + torch.arange(span, device="cpu")).flatten(1)
    return drawn.expand(layers, count)


def whole_spans(drop: Tensor, span: int) -> bool:
    """Whether positions [L, c] name whole spans, the same ones in every layer."""
    places = drop.sort(dim=1).values
    if places.shape[1] % span or not torch.equal(places, places[:1].expand_as(places)):
        return False
    spans = places[0].view(-1, span)
    first = spans[:, :1] // span * span
    return torch.equal(spans, first + torch.arange(span, device=first.device))


def draw_survivors(
    shape: tuple[int, int, int], new: int, slots: int, generator: torch.Generator, span: int = 1
) -> Tensor:
    """Choose at random which rows a pool holds after many writes (MemoryLLM section 3.1.3).

    One draw in the place of the many that ``draw_dropped`` would make, and close to them: every
    write of K rows drops each older row with chance K / N, so the weight of a row falls by
    1 - K / N with every later write, as if the pool had been full from the first one on, and
    exactly N rows are drawn by these weights. The newest K always stay.

    Args:
        shape: L layers, G pools and the n > N rows written to each, oldest first.
        new: K.
        slots: N.
        generator: on the CPU.
        span: rows that are dropped together, the same in all layers where it is above 1; K, N and
            n are whole spans.

    Returns:
        [L, G, N] positions of the rows that are left, rising.
    """
    if span > 1:
        layers, pools, rows = shape
        kept = draw_survivors((1, pools, rows // span), new // span, slots // span, generator)
        kept = (kept[..., None] * span + torch.arange(span, device="cpu")).flatten(2)
        return kept.expand(layers, -1, -1)
    age = (shape[2] - 1 - torch.arange(shape[2], device="cpu")) // new
    uniform = torch.rand(shape, generator=generator, **_DRAWN)
    # Gumbel's trick: the N largest of log odds plus noise are a draw without replacement.
    fading = torch.log(torch.tensor(1 - new / slots, **_DRAWN))
    chance = -torch.log(-torch.log(uniform)) + age * fading
    chance = chance.masked_fill(age == 0, torch.inf)
    return chance.topk(slots, dim=2).indices.sort(dim=2).values


def stack_like(rows: Mapping[str, Tensor], slots: int) -> dict[str, Tensor]:
    """Empty columns [L, slots, ...] of the dtypes and widths of ``rows`` [L, k, ...]."""
    return {
        name: column.new_zeros((column.shape[0], slots, *column.shape[2:]))
        for name, column in rows.items()
    }


def with_room(rows: dict[str, Tensor], slots: int) -> dict[str, Tensor]:
    """The same rows in columns [L, slots, ...], whose other slots are zeros."""
    held = next(iter(rows.values())).shape[1]
    if held == slots:
        return rows
    room = stack_like(rows, slots)
    for name, column in rows.items():
        room[name][:, :held] = column
    return room


def _by_head(column: Tensor) -> Tensor:
    """The same [L, N, H, D], the rows of a head side by side in memory."""
    return column.transpose(1, 2).contiguous().transpose(1, 2) if column.dim() == 4 else column


@dataclass
class Mark:
    """A pool before one write; see ``ShortTermPool.mark``."""

    count: int
    recent: Tensor
    position: Tensor
    birth: Tensor
    write_id: Tensor
    left: tuple[Tensor, dict[str, Tensor]] | None = None
    """Slots [L, c] whose rows the write dropped, and these rows."""


class ShortTermPool:
    """Rows by slot, with their positions, birth clocks and write ids.

    ``columns`` hold what a read needs of a row ([L, N, ...] each; see ``passes.rows``), those of
    heads ([L, N, H, D]) laid out head by head, as attention walks through them. A column of fewer
    layers than L is one of rows that lie in the same slots in every layer (shared drops).
    ``recent`` holds the hidden vectors of the newest rows, [L, <= K, d], for the next write.
    A fork shares every tensor until one of the two writes.
    """

    def __init__(self, columns: dict[str, Tensor], recent: Tensor, count: int) -> None:
        widest = max(columns.values(), key=lambda column: column.shape[0])
        layers, slots = widest.shape[:2]
        device = widest.device
        self.columns = {name: _by_head(column) for name, column in columns.items()}
        self.recent = recent
        self.count = count
        self.position = torch.arange(slots, device=device).expand(layers, slots).contiguous()
        self.birth = torch.zeros((layers, slots), dtype=torch.int64, device=device)
        self.write_id = torch.zeros((layers, slots), dtype=torch.int32, device=device)
        self._owned = True
        self._mark: Mark | None = None

    @property
    def slots(self) -> int:
        """N: rows per layer when full."""
        return int(self.position.shape[1])

    @property
    def layers(self) -> int:
        """L."""
        return int(self.position.shape[0])

    @property
    def held(self) -> dict[str, Tensor]:
        """Columns [L, n, ...] of the rows in use, in no order; not to be written to."""
        return {name: column[:, : self.count] for name, column in self.columns.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use and their bookkeeping, as they are saved; room that waits for
        more is not counted."""
        return sum(t.element_size() * t.numel() for t in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """What a pool is made of again, by name, for saving: all slots of a full one, else those in
        use, which come first as long as there are others (in a file that says otherwise all are
        kept)."""
        own = {"position": self.position, "birth": self.birth, "write_id": self.write_id}
        full = self.count == self.slots
        in_front = full or bool((self.position[:, : self.count] < self.count).all())
        slots = self.count if in_front else self.slots
        slotted = {name: column[:, :slots] for name, column in (self.columns | own).items()}
        return slotted | {"recent": self.recent}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], count: int, slots: int) -> ShortTermPool:
        """A pool again.

        Args:
            tensors: as ``tensors`` gave them, or with all slots of a pool that is not full.
            count: rows in use.
            slots: N.
        """
        columns = {name: tensor for name, tensor in tensors.items() if name not in OWN}
        held = tensors["position"].shape[1]
        pool = cls(with_room(columns, slots), tensors["recent"], count)
        pool.position[:, :held] = tensors["position"]
        pool.birth[:, :held] = tensors["birth"]
        pool.write_id[:, :held] = tensors["write_id"]
        return pool

    def fork(self) -> ShortTermPool:
        """A pool with the same rows that goes its own way at its first write."""
        twin = ShortTermPool.__new__(ShortTermPool)
        twin.__dict__.update(self.__dict__)
        twin.columns = dict(self.columns)
        self._owned = twin._owned = False
        twin._mark = None
        return twin

    def mark(self) -> Mark:
        """What ``back_to`` needs to undo the next ``replace``."""
        self._own()
        own = self.position.clone(), self.birth.clone(), self.write_id.clone()
        self._mark = Mark(self.count, self.recent, *own)
        return self._mark

    def back_to(self, mark: Mark) -> None:
        """Undo what was done since ``mark``, however far it came."""
        if mark.left is not None:
            slots, rows = mark.left
            layer = torch.arange(self.layers, device=slots.device)[:, None]
            for name, column in self.columns.items():
                own = slice(len(column))
                column[layer[own], slots[own]] = rows[name]
        self.count, self.recent = mark.count, mark.recent
        self.position, self.birth, self.write_id = mark.position, mark.birth, mark.write_id
        self._mark = None

    def dropped_by(self, new_rows: int) -> int:
        """How many rows must go before ``new_rows`` more fit."""
        return max(0, self.count + new_rows - self.slots)

    def slots_at(self, positions: Tensor) -> Tensor:
        """Slots [L, c] that hold the rows at ``positions`` [L, c]."""
        return self.slot_order().gather(1, positions)

    def slot_order(self) -> Tensor:
        """[L, N]: slot of each position, oldest row first (unused slots come last)."""
        order = torch.empty_like(self.position)
        return order.scatter_(
            1, self.position, torch.arange(self.slots, device=order.device).expand_as(order)
        )

    def rows_at(self, slots: Tensor) -> dict[str, Tensor]:
        """Copies of the rows in ``slots`` [L, c]: every column [L, c, ...], birth and write id."""
        layer = torch.arange(self.layers, device=slots.device)[:, None]
        taken = {
            name: column[layer[: len(column)], slots[: len(column)]]
            for name, column in self.columns.items()
        }
        taken["birth"] = self.birth[layer, slots]
        taken["write_id"] = self.write_id[layer, slots]
        return taken

    def replace(
        self,
        rows: Mapping[str, Tensor],
        recent: Tensor,
        birth: Tensor,
        write_id: int,
        drop: Tensor | None,
    ) -> dict[str, Tensor] | None:
        """Take in the rows of one write and give up the dropped ones.

        Args:
            rows: column name -> [L, k, ...], oldest first.
            recent: [L, <= K, d] hidden vectors of the newest rows after this write.
            birth: [k] clock at which each new row counts as made.
            write_id: id of the write.
            drop: [L, c] positions (0 is the oldest row) to drop, c = ``dropped_by(k)``; None while
                the pool grows.

        Returns:
            The dropped rows, as ``rows_at``, or None.
        """
        self._own()
        new = birth.shape[0]
        dropped = None
        if drop is None:
            slots = torch.arange(self.count, self.count + new, device=birth.device)
            slots = slots.expand(self.layers, new)
            self.count += new
        else:
            slots, dropped = self._drop(drop, new)
        layer = torch.arange(self.layers, device=birth.device)[:, None]
        for name, column in self.columns.items():
            own = slice(len(column))
            column[layer[own], slots[own]] = rows[name].to(column.dtype)
        self.birth[layer, slots] = birth.expand(self.layers, new)
        self.write_id[layer, slots] = write_id
        self.recent = recent
        self._mark = None
        return dropped

    def _drop(self, drop: Tensor, new: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Close the ranks over ``drop`` [L, c] and name the slots [L, new] of the new rows."""
        freed = self.slots_at(drop.sort(dim=1).values)
        dropped = self.rows_at(freed)
        if self._mark is not None:
            self._mark.left = freed, dropped
        gone = torch.zeros_like(self.position).scatter_(1, drop, 1)
        older_gone = gone.cumsum(1)
        self.position -= older_gone.gather(1, self.position)
        fresh = torch.arange(self.count, self.slots, device=drop.device)
        slots = torch.cat([freed, fresh.expand(self.layers, -1)], dim=1)
        self.count = self.slots
        layer = torch.arange(self.layers, device=drop.device)[:, None]
        ranks = torch.arange(self.slots - new, self.slots, device=drop.device)
        self.position[layer, slots] = ranks.expand(self.layers, new)
        return slots, dropped

    def forget(
        self, writes: Tensor, recent: Tensor, again: ComputedAgain | None = None
    ) -> list[dict[str, Tensor]]:
        """Give up every row of some writes, and close ranks; nothing of them stays in a slot.

        Args:
            writes: [w] int32 write ids.
            recent: [<= K] bool, which of the hidden vectors of the newest rows stay.
            again: what other writes computed again from their rows. Single rows go as well; in a
                span, which stays whole, rows of the same text take their place.

        Returns:
            Per layer, the oldest rows that go too, so that all layers keep equally many: name ->
            [c, ...] as ``rows_at``, oldest first.
        """
        slots = self.slot_order()[:, : self.count]
        write_id, birth = self.write_id.gather(1, slots), self.birth.gather(1, slots)
        gone = torch.isin(write_id, writes)
        if again is not None:
            gone |= again.taken_out(write_id, birth)
        if again is not None and again.span > 1:
            self._own()
            self._take_over(slots, slots.gather(1, again.sources(write_id, birth)))
        count = int((~gone).sum(dim=1).min()) if self.count else 0
        self.recent = self.recent[:, recent].clone()
        kept = [layer_slots[~g] for layer_slots, g in zip(slots, gone, strict=True)]
        surplus = [self._row_of(layer, own[: len(own) - count]) for layer, own in enumerate(kept)]
        left = torch.stack([own[len(own) - count :] for own in kept])
        rows = self.rows_at(left)
        self.columns = {
            name: _by_head(torch.zeros_like(column)) for name, column in self.columns.items()
        }
        for name, column in self.columns.items():
            column[:, :count] = rows[name]
        self.birth, self.write_id = torch.zeros_like(self.birth), torch.zeros_like(self.write_id)
        self.birth[:, :count], self.write_id[:, :count] = rows["birth"], rows["write_id"]
        ranks = torch.arange(self.slots, device=left.device)
        self.position = ranks.expand(self.layers, self.slots).contiguous()
        self.count = count
        self._owned = True
        return surplus

    def _take_over(self, slots: Tensor, sources: Tensor) -> None:
        """Let slots [L, n] hold what other slots [L, n] hold, births and write ids apart."""
        layer = torch.arange(self.layers, device=slots.device)[:, None]
        for column in self.columns.values():
            own = slice(len(column))
            column[layer[own], slots[own]] = column[layer[own], sources[own]]

    def _row_of(self, layer: int, slots: Tensor) -> dict[str, Tensor]:
        """Copies of rows of one layer, name -> [c, ...]."""
        taken = {name: column[layer % len(column), slots] for name, column in self.columns.items()}
        own = {"birth": self.birth[layer, slots], "write_id": self.write_id[layer, slots]}
        return taken | own

    def _own(self) -> None:
        if self._owned:
            return
        self.columns = {name: column.clone() for name, column in self.columns.items()}
        self.position = self.position.clone()
        self.birth = self.birth.clone()
        self.write_id = self.write_id.clone()
        self._owned = True
