"""Reads of different memories in one pass: their tokens laid end to end, no padding anywhere.

A read gives one token to a pass while it answers, and a piece of its prompt before that. The
linear layers see all tokens as one text; in attention every read keeps to its own prefix and its
own text, whose keys and values it holds itself.

Shapes: N tokens of a pass, t tokens of one read in it, S text tokens of a read so far, P prefix
rows, H heads, G key/value heads, D head width, d hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from memplus.backbone.session import Session
from memplus.passes.read import AttentionWatch, Prefix

__all__ = ["JointSession", "OpenRead", "ReadPiece"]

_ROOM = 64
"""Least text tokens for which room is made at a time."""


class OpenRead:
    """A read that goes on: its prefix, and the keys and values of its text so far.

    Args:
        prefix: of one batch row.
        tokens: the text that is read first, a memory's tail and the prompt.
        first: place in it of the first token that asks; only a watch needs it.
    """

    def __init__(self, prefix: Prefix, tokens: Sequence[int], first: int = 0) -> None:
        self.prefix = prefix
        self.prompt = tuple(tokens)
        self.first = first
        self.start = int(prefix.shift(torch.device("cpu"))[0])
        """Position of the first text token."""
        self.whole = False
        """Whether the first pass has to read all of the prompt: rows are retrieved by all of it."""
        self.read = 0
        """S."""
        self.watch: AttentionWatch | None = None
        """Called once per layer, as the end of the prompt is read (evidence)."""
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._asked: dict[int, Tensor] = {}
        self._masks: dict[tuple[int, int, int, torch.dtype], Tensor] = {}

    @property
    def unread(self) -> int:
        """Tokens of the prompt that no pass has read yet."""
        return max(0, len(self.prompt) - self.read)

    def piece(self, most: int) -> ReadPiece:
        """The next part of the prompt, of at most so many tokens where it may be cut."""
        count = len(self.prompt) if self.whole else most
        return ReadPiece(self, self.prompt[self.read : self.read + count])

    def segments(self, layer: int) -> list[Segment]:
        """The prefix in a layer."""
        groups = self.prefix.groups(layer)
        return groups[0][1] if groups else []

    def take_in(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep new keys and values [1, G, t, D]; all of them so far, [1, G, S + t, D] each.

        They count from the end of the pass on (``advance``): one that fails leaves no trace.
        """
        end = self.read + key.shape[2]
        while len(self._keys) <= layer:
            self._keys.append(key.new_empty((1, key.shape[1], 0, key.shape[3])))
            self._values.append(value.new_empty((1, value.shape[1], 0, value.shape[3])))
        if self._keys[layer].shape[2] < end:
            room = max(end + _ROOM, len(self.prompt) + _ROOM, self.read + self.read // 2)
            self._keys[layer] = self._widened(self._keys[layer], room)
            self._values[layer] = self._widened(self._values[layer], room)
        keys, values = self._keys[layer][:, :, :end], self._values[layer][:, :, :end]
        keys[:, :, self.read :] = key
        values[:, :, self.read :] = value
        return keys, values

    def _widened(self, held: Tensor, room: int) -> Tensor:
        wide = held.new_empty((*held.shape[:2], room, held.shape[3]))
        wide[:, :, : self.read] = held[:, :, : self.read]
        return wide

    def advance(self, count: int) -> None:
        """So many more tokens were read."""
        self.read += count
        self._masks.clear()
        if not self.unread:
            self._asked.clear()
            self.watch = None

    def mask(self, count: int, window: int | None, dtype: torch.dtype, like: Tensor) -> Tensor:
        """[1, 1, t, S + t] which text tokens the next ``count`` see: causal, in their window.

        Args:
            count: t.
            window: how many last tokens a token sees; None: all.
            dtype: ``torch.bool``, or the one in which it is added to scores.
            like: gives the device.
        """
        known = self._masks.get((count, self.read, window or 0, dtype))
        if known is None:
            places = torch.arange(self.read + count, device=like.device)
            back = places[self.read :, None] - places
            seen = back >= 0
            if window is not None:
                seen &= back < window
            known = seen[None, None]
            if dtype != torch.bool:
                hidden = torch.finfo(dtype).min
                known = torch.zeros_like(known, dtype=dtype).masked_fill_(~known, hidden)
            self._masks[count, self.read, window or 0, dtype] = known
        return known

    def look(self, call: AttentionCall, count: int) -> None:
        """Show the watch what the prompt's first asking token and its last one attend to.

        Args:
            call: of this read alone, with all keys of its text.
            count: t.
        """
        if self.watch is None:
            return
        if self.read <= self.first < self.read + count:
            self._asked[call.layer] = call.query[:, :, self.first - self.read].clone()
        if self.read + count < len(self.prompt):
            return
        # As if the prompt had been read in one pass: only two of its queries are looked at.
        shape = (*call.query.shape[:2], self.first + 1, call.query.shape[3])
        query = call.query.new_zeros(shape)
        query[:, :, self.first] = self._asked[call.layer]
        query = torch.cat([query, call.query[:, :, -1:]], dim=2)
        whole = AttentionCall(call.module, query, call.key, call.value, None, call.options)
        self.watch(whole, self.prefix.groups(call.layer))


@dataclass(frozen=True)
class ReadPiece:
    """What one read gives to a pass."""

    read: OpenRead
    ids: tuple[int, ...]
    """t token ids."""


class JointSession(Session):
    """One pass over pieces of several reads. The caller gives the positions.

    Args:
        backbone: the model.
        pieces: in the order in which their tokens are laid out.
    """

    def __init__(self, backbone: Backbone, pieces: Sequence[ReadPiece]) -> None:
        self.backbone = backbone
        self.pieces = pieces
        self.places: list[slice] = []
        start = 0
        for piece in pieces:
            self.places.append(slice(start, start + len(piece.ids)))
            start += len(piece.ids)

    def arguments(self) -> dict[str, Any]:
        """The decoder's: ids and positions [1, N]; the mask is not looked at."""
        device = self.backbone.device
        ids = [token for piece in self.pieces for token in piece.ids]
        positions = [
            piece.read.start + piece.read.read + place
            for piece in self.pieces
            for place in range(len(piece.ids))
        ]
        return {
            "input_ids": torch.tensor([ids], device=device),
            "position_ids": torch.tensor([positions], device=device),
            # One of four dimensions is taken as it is, so that none is made of N by N.
            "attention_mask": torch.zeros((1, 1, 1, 1), dtype=self.backbone.dtype, device=device),
            "use_cache": False,
        }

    def before_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Prepare the layer's prefix of reads that begin."""
        for piece, place in zip(self.pieces, self.places, strict=True):
            if not piece.read.read:
                used = piece.read.start + len(piece.ids) if self.backbone.rope.changing else 0
                piece.read.prefix.prepare(layer, hidden[:, place], used)
        return hidden

    def attend(self, call: AttentionCall) -> Attended:
        """Every read over its own prefix and text."""
        outputs = [
            self._attend(call, piece.read, place)
            for piece, place in zip(self.pieces, self.places, strict=True)
        ]
        return torch.cat(outputs, dim=1), None

    def _attend(self, call: AttentionCall, read: OpenRead, place: slice) -> Tensor:
        query, count = call.query[:, :, place], place.stop - place.start
        keys, values = read.take_in(call.layer, call.key[:, :, place], call.value[:, :, place])
        window = call.options.get("sliding_window")
        segments = read.segments(call.layer)
        if not call.mergeable:
            mask = read.mask(count, window, query.dtype, query)
            own = AttentionCall(call.module, query, keys, values, mask, call.options)
            read.look(own, count)
            return attend_concatenated(own, segments)[0]
        own = AttentionCall(call.module, query, keys, values, None, call.options)
        read.look(own, count)
        if count > 1:
            mask = read.mask(count, window, torch.bool, query)
            own = AttentionCall(call.module, query, keys, values, mask, call.options)
        elif window is not None and keys.shape[2] > window:
            near = slice(keys.shape[2] - window, None)
            own = AttentionCall(
                call.module, query, keys[:, :, near], values[:, :, near], None, call.options
            )
        return attend_merged(own, segments)
