"""A pass of the decoder that reads the memory in its retrieval layers.

The memory layer's input says which chunks are read, in the same pass; their keys and values then
stand before the text in every retrieval layer, under one softmax with it. Text positions are not
shifted by the number of rows, as they are in M+: all rows stand together at position 0.

Shapes: B batch, T tokens, S text keys, P retrieved rows, H heads, G key/value heads, D head width,
R rotated width, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from memplus.backbone.access import Backbone, Layer
from memplus.backbone.attention import (
    Attended,
    AttentionCall,
    Segment,
    attend_concatenated,
    attend_merged,
)
from memplus.backbone.rope import rotate
from memplus.backbone.session import Session
from memplus.systems.memlong.gates import Gating
from memplus.systems.memlong.lookup import Found
from memplus.systems.memlong.masses import Masses
from memplus.systems.memlong.options import Places, Positions

__all__ = ["Find", "Reading"]

Find = Callable[[Tensor], Found | None]
"""The memory layer's input [B, T, d] -> what the text is read with."""

_HIDDEN = -1e30
"""Added to the scores of rows that are not there."""


class Reading(Session):
    """One read, and all that follows it on the same text cache.

    Args:
        backbone: the decoder.
        places: which layers take part.
        find: looks the memory through; called once.
        positions: where the rows stand.
        gates: by retrieval layer; empty: none.
    """

    def __init__(
        self,
        backbone: Backbone,
        places: Places,
        find: Find,
        positions: Positions = "zero",
        gates: Mapping[int, Gating] | None = None,
    ) -> None:
        self.backbone = backbone
        self.places = places
        self.positions = positions
        self.gates = gates or {}
        self._find = find
        self.hidden: Tensor | None = None
        """[B, T, d] what the memory layer got, without a graph; None before it ran."""
        self.found: Found | None = None
        self.masses: Masses | None = None
        """Where attention is measured, by whoever asks for it."""
        self._segments: dict[tuple[str | None, bool], Segment] = {}

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Look the memory through as the memory layer begins; below it nothing is trained."""
        if layer != self.places.memory or self.hidden is not None:
            return hidden
        self.hidden = hidden.detach()
        with torch.no_grad():
            self.found = self._find(self.hidden)
        return self.hidden

    def attend(self, call: AttentionCall) -> Attended:
        """Attend over the rows and the text."""
        found = self.found
        if found is None or call.layer not in self.places.retrieval:
            return attend_concatenated(call, [])
        segment = self._segment(self.backbone.layers[call.layer], found)
        gating = self.gates.get(call.layer)
        if self.masses is not None:
            self.masses.take_in(call, segment, found, gating)
        if gating is not None:
            return gating.attend(call, segment), None
        if call.mergeable:
            return attend_merged(call, [segment]), None
        return attend_concatenated(call, [segment._replace(bias=None)], found.there)

    def _segment(self, layer: Layer, found: Found) -> Segment:
        """The rows as a layer meets them; layers of the same frequencies meet the same ones."""
        kind = (layer.kind, layer.rotated)
        known = self._segments.get(kind)
        if known is None:
            place = self._together if self.positions == "zero" else self._in_order
            bias = None
            if found.there is not None:
                bias = torch.zeros(found.there.shape, device=found.there.device)
                bias.masked_fill_(~found.there, _HIDDEN)
            known = self._segments[kind] = Segment(place(layer, found), found.values, bias)
        return known

    def _together(self, layer: Layer, found: Found) -> Tensor:
        """All at position 0, where nothing is turned; scaled where the model scales positions."""
        angles = self.backbone.angles(layer, 1, found.keys)
        if bool((angles[0] == 1).all()):
            return found.keys
        return rotate(found.keys.transpose(1, 2), angles).transpose(1, 2)

    def _in_order(self, layer: Layer, found: Found) -> Tensor:
        """One behind another, the last one just before the text's first token.

        Angles are those of -P to -1, so that the text's own positions need not be shifted; a copy
        is turned, while the published code turns the rows themselves anew in every layer.
        """
        batch, heads, rows, width = found.keys.shape
        cos, sin = self.backbone.angles(layer, rows + 1, found.keys)
        counts = found.keys.new_full((batch,), rows, dtype=torch.int64)
        if found.there is not None:
            counts = found.there.sum(dim=1)
        place = torch.arange(rows, device=counts.device)
        before = (counts[:, None] - place[None]).clamp(min=0).flatten()
        flat = found.keys.transpose(1, 2).reshape(batch * rows, heads, width)
        turned = rotate(flat, (cos[before], -sin[before]))
        return turned.reshape(batch, rows, heads, width).transpose(1, 2).contiguous()
