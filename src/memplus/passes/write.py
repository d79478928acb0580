"""The write pass: a chunk of text becomes K new rows per layer (M+ section 3.1).

Layer l attends over [bos_l | newest rows of the pool | chunk]. The memory embedding is added to
the last K rows of the sequence in every layer; their outputs are the new memory. A chunk shorter
than K is completed by the newest rows, which are then computed again as queries. Where spans are
retrieved a short chunk leaves fewer than K rows (``MemoryConfig.rows_of_write``), all of its own.

Shapes: B batch, L layers, T chunk tokens, c context rows, e context rows computed again,
r new rows, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.attention import (
    Attended,
    AttentionCall,
    Segment,
    attend_concatenated,
    attend_merged,
)
from memplus.backbone.rope import rotate
from memplus.backbone.session import Session, running
from memplus.memory.retriever import MemoryWeights

__all__ = ["WritePass", "whole_write_pass", "write_pass"]


@dataclass(frozen=True)
class WritePass:
    """What a write pass computed; it keeps the graph where gradients are on."""

    rows: Tensor
    """[B, L, r, d]: the new memory, layer by layer."""
    last_hidden: Tensor
    """[B, T, d]: the decoder's output for the chunk, after its final norm."""
    probe: Tensor
    """[2L] sums of every layer's last queries and keys; empty while gradients are on. Fused
    attention answers queries and keys that are no numbers with zeros, so they show here alone."""


def write_pass(
    backbone: Backbone,
    weights: MemoryWeights,
    input_ids: Tensor,
    context: Tensor,
    new_rows: int,
    *,
    first_of_tiled: bool = False,
) -> WritePass:
    """Run one chunk of every row of a batch through the model.

    Args:
        backbone: the model.
        weights: bos and memory embedding.
        input_ids: [B, T], no padding.
        context: [B, L, c, d] hidden vectors of the newest rows, c <= K.
        new_rows: K, or fewer for a short chunk.
        first_of_tiled: the first write into a pool that it fills by tiling: no prefix, and the
            published code's second embedding on every layer's result but the last.

    Returns:
        The new rows, r = min(K, c + T) of them.
    """
    session = _WriteSession(backbone, weights, context, input_ids.shape[1], new_rows)
    session.first_of_tiled = first_of_tiled
    padded = torch.nn.functional.pad(input_ids, (session.again, 0))
    with running(backbone, session, backbone.adapters.writing):
        output = backbone.decoder(input_ids=padded, use_cache=False)
    rows = torch.stack(session.rows, dim=1)
    probe = torch.stack(session.probes) if session.probes else rows.new_zeros(0)
    return WritePass(rows, output.last_hidden_state[:, session.again :], probe)


def whole_write_pass(
    backbone: Backbone,
    weights: MemoryWeights,
    input_ids: Tensor,
    context: Tensor,
    new_rows: int,
    *,
    span: int,
) -> WritePass:
    """A write pass that leaves whole spans, all of the chunk's own rows.

    Where the chunk has fewer tokens than it leaves rows, those of the first span's tokens are
    repeated until it is full. In the papers older rows, computed again, stand there: where many
    short texts are written, most of the memory would soon be copies of copies.

    Args:
        backbone: the model.
        weights: bos and memory embedding.
        input_ids: [B, T], no padding.
        context: [B, L, c, d] hidden vectors of the newest rows, c <= K.
        new_rows: r, whole spans.
        span: rows of a span.

    Returns:
        r new rows.
    """
    own = min(new_rows, input_ids.shape[1])
    made = write_pass(backbone, weights, input_ids, context, own)
    if own == new_rows:
        return made
    places = torch.tensor(_repeated(own, new_rows, span), device=made.rows.device)
    return replace(made, rows=made.rows[:, :, places])


def _repeated(own: int, rows: int, span: int) -> list[int]:
    """[rows] Which of a chunk's own rows stands in each place of its spans."""
    missing = rows - own
    without = missing // span * span  # spans that no token falls into, where K exceeds the chunk
    first = min(own, without + span - missing)
    filled = [place % own for place in range(without)]
    filled += [place % first for place in range(missing - without)]
    return [*filled, *range(own)]


class _WriteSession(Session):
    def __init__(
        self, backbone: Backbone, weights: MemoryWeights, context: Tensor, length: int, rows: int
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.context = context
        kept = context.shape[2]
        self.new = min(rows, kept + length)
        self.again = max(0, self.new - length)
        self.before = kept - self.again
        self.queries = self.again + length
        self.first_of_tiled = False
        self.rows: list[Tensor] = []
        self.probes: list[Tensor] = []
        self.segments: dict[int, list[Segment]] = {}

    @property
    def _prefix_rows(self) -> int:
        has_bos = self.weights.bos_embedding is not None and not self.first_of_tiled
        return self.before + int(has_bos)

    def before_decoder(self, arguments: dict[str, Any]) -> None:
        """Positions after the prefix."""
        start = self._prefix_rows
        device = arguments["input_ids"].device
        arguments["position_ids"] = torch.arange(start, start + self.queries, device=device)[None]

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Prepare the layer's prefix."""
        rows = self.context[:, layer]
        prefix = rows[:, : self.before]
        bos = self.weights.bos_embedding
        if bos is not None and not self.first_of_tiled:
            prefix = torch.cat([bos[layer].expand(hidden.shape[0], 1, -1), prefix], dim=1)
        if prefix.shape[1]:
            self.segments[layer] = [self._project(layer, prefix)]
        if self.again:
            hidden = torch.cat([rows[:, self.before :], hidden[:, self.again :]], dim=1)
        mark = self.weights.memory_embedding.to(hidden.dtype)
        if torch.is_grad_enabled():
            old, new = hidden.split([hidden.shape[1] - self.new, self.new], dim=1)
            return torch.cat([old, new + mark], dim=1)
        hidden[:, -self.new :] += mark  # the layer's input is nobody else's
        return hidden

    def _project(self, layer: int, prefix: Tensor) -> Segment:
        access = self.backbone.layers[layer]
        keys, values = access.project(prefix)
        angles = self.backbone.angles(access, self._prefix_rows + self.queries, prefix)
        count = prefix.shape[1]
        turned = rotate(keys, (angles[0][:count], angles[1][:count]))
        return Segment(turned.transpose(1, 2), values.transpose(1, 2))

    def after_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Keep the layer's new rows."""
        rows = hidden[:, -self.new :]
        if self.first_of_tiled and layer < len(self.backbone.layers) - 1:
            rows = rows + self.weights.memory_embedding.to(rows.dtype)
        # Without a graph the next layer marks its input in place, and a view would keep all of it.
        rows = rows if torch.is_grad_enabled() else rows.clone()
        self.rows.append(rows)
        return hidden

    def attend(self, call: AttentionCall) -> Attended:
        """Attend over prefix and text."""
        if not torch.is_grad_enabled():
            for states in (call.query, call.key):
                self.probes.append(states[:, :, -1].sum(dtype=torch.float32))
        segments = self.segments.get(call.layer, [])
        window = call.options.get("sliding_window")
        if call.mergeable and segments and (window is None or window >= self.queries):
            return attend_merged(call, segments, causal=True), None
        return attend_concatenated(call, segments)
