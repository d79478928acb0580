"""The read pass: a prompt attends over its memory (M+ section 3.3).

Layer l attends over [bos_l | retrieved rows, oldest first | short-term rows | text]. Retrieval
happens once, in the prefill; every later token reuses what it found, as it reuses the text cache.

Shapes: B batch, L layers, T tokens, P prefix rows, m retrieved rows, n short-term rows,
d hidden size, H key/value heads, D head width, R retriever width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.backbone.attention import (
    Attended,
    AttentionCall,
    Segment,
    attend_concatenated,
    attend_merged,
)
from memplus.backbone.rope import rotate
from memplus.backbone.session import Session
from memplus.memory.retriever import MemoryWeights
from memplus.passes.tails import Tails

__all__ = ["AttentionWatch", "HiddenPrefix", "Prefix", "ReadSession", "RowSource"]

RowSource = Callable[[int, Tensor], Tensor]
"""(layer, its input [B, T, d]) -> rows [B, P, d] to stand before the text in that layer."""


AttentionWatch = Callable[[AttentionCall, list[tuple[slice, list[Segment]]]], None]
"""Called with an attention call and the prefix that it sees."""


class Prefix:
    """What stands before the text in every layer. The base class: nothing."""

    rows: int = 0
    """How many batch rows it was made for (0: any)."""
    mask: Tensor | None = None
    """[B, P] true where a prefix row is there; None means all are."""

    def shift(self, device: torch.device) -> Tensor:
        """[B] or [1]: position of each row's first text token."""
        return torch.zeros(1, dtype=torch.int64, device=device)

    def expand(self, times: int) -> None:
        """Serve every batch row ``times`` times in a row (beams)."""

    def prepare(self, layer: int, hidden: Tensor, length: int) -> None:
        """Called in the prefill with the layer's input [B, T, d]; ``length``: positions in use."""

    def groups(self, layer: int) -> list[tuple[slice, list[Segment]]]:
        """Batch rows and the segments that they share or hold side by side."""
        return []


class ReadSession(Session):
    """A read of one prefix: the prefill and all that follows it on the same text cache.

    Args:
        backbone: the model.
        prefix: what stands before the text.
        tails: of the memories; None where there are none.
    """

    def __init__(self, backbone: Backbone, prefix: Prefix, tails: Tails | None = None) -> None:
        self.backbone = backbone
        self.prefix = prefix
        self.tails = tails
        self.prefilled = False
        self._prefilling = False
        self._length = 0
        self.watch: AttentionWatch | None = None
        """Called with every attention call and the prefix it saw (evidence)."""

    def before_decoder(self, arguments: dict[str, Any]) -> None:
        """Tails before the prompt, and positions after the prefix."""
        cache = arguments.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        if self.tails is not None:
            self.tails.put_in(arguments, past)
        given = arguments.get("inputs_embeds")
        given = arguments["input_ids"] if given is None else given
        batch, length = given.shape[:2]
        self._prefilling = not self.prefilled
        if self._prefilling and self.prefix.rows and batch != self.prefix.rows:
            self.prefix.expand(batch // self.prefix.rows)
        positions = arguments.get("position_ids")
        if positions is None:
            positions = _plain_positions(arguments.get("attention_mask"), past, length, given)
        positions = positions + self.prefix.shift(given.device)[:, None]
        arguments["position_ids"] = positions
        if self._prefilling:
            self._length = int(positions.max()) + 1 if self.backbone.rope.changing else 0
        self.prefilled = True

    def after_decoder(self, output: Any) -> Any:
        """The caller's tokens alone."""
        return output if self.tails is None else self.tails.cut_out(output)

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Prepare the layer's prefix."""
        if self._prefilling:
            self.prefix.prepare(layer, hidden, self._length)
        return hidden

    def attend(self, call: AttentionCall) -> Attended:
        """Attend over prefix and text."""
        groups = self.prefix.groups(call.layer)
        if self.watch is not None:
            self.watch(call, groups)
        if not groups:
            return attend_concatenated(call, [])
        mergeable = call.mergeable and self.prefix.mask is None
        if len(groups) == 1:
            segments = groups[0][1]
            if mergeable and segments:
                return attend_merged(call, segments), None
            return attend_concatenated(call, segments, self.prefix.mask)
        parts: list[Attended] = []
        for rows, segments in groups:
            part = _rows_of(call, rows)
            if mergeable and segments:
                parts.append((attend_merged(part, segments), None))
            else:
                parts.append(attend_concatenated(part, segments))
        return torch.cat([output for output, _ in parts]), _together([w for _, w in parts])


def _together(weights: list[Tensor | None]) -> Tensor | None:
    """Weights [b, H, T, P + S] of groups as those of the batch: shorter prefixes begin later."""
    known = [one for one in weights if one is not None]
    if len(known) < len(weights):
        return None
    width = max(one.shape[3] for one in known)
    return torch.cat([nn.functional.pad(one, (width - one.shape[3], 0)) for one in known])


def _rows_of(call: AttentionCall, rows: slice) -> AttentionCall:
    mask = call.mask
    if mask is not None and mask.shape[0] > 1:
        mask = mask[rows]
    return AttentionCall(
        call.module, call.query[rows], call.key[rows], call.value[rows], mask, call.options
    )


def _plain_positions(mask: Any, past: int, length: int, given: Tensor) -> Tensor:
    """Positions of the text alone: after the cache, and not counting padding."""
    if isinstance(mask, Tensor) and mask.dim() == 2 and not bool(mask.all()):
        counted = mask.long().cumsum(-1)[:, -length:] - 1
        return counted.clamp(min=0)
    return torch.arange(past, past + length, device=given.device)[None]


class HiddenPrefix(Prefix):
    """Rows given as hidden vectors, projected on the way with the graph kept: for training.

    Args:
        backbone: the model.
        weights: bos.
        source: rows by layer, a tensor [B, L, P, d] or a function that may retrieve them.
        mask: [B, P] true where a row is there; masked rows still take their positions.
        count: P, where ``source`` is a function.
        bos: whether the bos row stands first.
    """

    def __init__(
        self,
        backbone: Backbone,
        weights: MemoryWeights,
        source: Tensor | RowSource,
        *,
        mask: Tensor | None = None,
        count: int = 0,
        bos: bool = True,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.source = source
        self.count = int(source.shape[2]) if isinstance(source, Tensor) else count
        self.bos = weights.bos_embedding if bos else None
        self.segments: dict[int, list[Segment]] = {}
        if mask is not None and self.bos is not None:
            mask = torch.cat([mask.new_ones((mask.shape[0], 1)), mask], dim=1)
        self.mask = mask

    def shift(self, device: torch.device) -> Tensor:
        """[1]: all rows of a batch have prefixes of one length."""
        return torch.tensor([self.count + int(self.bos is not None)], device=device)

    def prepare(self, layer: int, hidden: Tensor, length: int) -> None:
        """Fetch and project this layer's rows."""
        source = self.source
        rows = source[:, layer] if isinstance(source, Tensor) else source(layer, hidden)
        if self.bos is not None:
            rows = torch.cat([self.bos[layer].expand(rows.shape[0], 1, -1), rows], dim=1)
        access = self.backbone.layers[layer]
        keys, values = access.project(rows)
        count = rows.shape[1]
        angles = self.backbone.angles(access, max(count, length), rows)
        turned = rotate(keys, (angles[0][:count], angles[1][:count]))
        self.segments[layer] = [Segment(turned.transpose(1, 2), values.transpose(1, 2))]

    def groups(self, layer: int) -> list[tuple[slice, list[Segment]]]:
        """One group: the batch."""
        return [(slice(None), self.segments[layer])]
