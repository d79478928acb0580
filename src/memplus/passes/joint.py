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
from memplus.backbone.products import attend_token, token_served
from memplus.backbone.session import Session
from memplus.passes.read import AttentionWatch, Prefix

__all__ = ["JointSession", "OpenRead", "ReadPiece"]

_ROOM = 64
"""Least text tokens for which room is made at a time."""


class _LayerRows:
    """What a read attends to in one layer.

    The prefix rows that are the read's own (bos and what it retrieved) stand before its text in one
    place, so that a token goes through both at once. Those that it shares with other reads of the
    memory, the short-term ones, stay where they lie.

    Args:
        segments: the prefix, the shared rows last.
        room: for how many text tokens.
        key: [1, G, t, D] gives widths, dtype and device.
        value: [1, G, t, D].
    """

    def __init__(self, segments: Sequence[Segment], room: int, key: Tensor, value: Tensor) -> None:
        own = segments[:-1]
        self.shared = segments[-1] if segments else None
        self.lead = sum(one.key.shape[2] for one in own)
        size = self.lead + room
        self.keys = key.new_empty((1, key.shape[1], size, key.shape[3]))
        self.values = value.new_empty((1, value.shape[1], size, value.shape[3]))
        self.bias: Tensor | None = None
        """[lead + room] added to scores; None adds nothing."""
        if any(one.bias is not None for one in own):
            self.bias = key.new_zeros(size)
        self.shared_bias: Tensor | None = None
        """[P] the same for the shared rows, in the dtype of the keys."""
        if self.shared is not None and self.shared.bias is not None:
            self.shared_bias = self.shared.bias[0].to(key.dtype)
        self._shared: list[tuple[Tensor, Tensor, Tensor | None]] = []
        if self.shared is not None:
            key, value = self.shared.key[0], self.shared.value[0]
            self._shared.append((key.transpose(1, 2), value, self.shared_bias))
        self._look()
        start = 0
        for one in own:
            place = slice(start, start + one.key.shape[2])
            self.keys[:, :, place], self.values[:, :, place] = one.key, one.value
            if self.bias is not None and one.bias is not None:
                self.bias[place] = one.bias[0]
            start = place.stop

    def take_in(self, key: Tensor, value: Tensor, read: int, room: int) -> None:
        """Put new keys and values [1, G, t, D] behind the ``read`` ones of the text."""
        start, end = self.lead + read, self.lead + read + key.shape[2]
        if self.keys.shape[2] < end:
            self._widen(start, end + room)
        self.keys.narrow(2, start, end - start).copy_(key)
        self.values.narrow(2, start, end - start).copy_(value)

    def _widen(self, used: int, size: int) -> None:
        keys, values, bias = self.keys, self.values, self.bias
        self.keys = keys.new_empty((*keys.shape[:2], size, keys.shape[3]))
        self.values = values.new_empty((*values.shape[:2], size, values.shape[3]))
        self.keys[:, :, :used], self.values[:, :, :used] = keys[:, :, :used], values[:, :, :used]
        if bias is not None:
            self.bias = bias.new_zeros(size)
            self.bias[:used] = bias[:used]
        self._look()

    def segments(self) -> list[Segment]:
        """The prefix."""
        found = [] if self.shared is None else [self.shared]
        if not self.lead:
            return found
        bias = None if self.bias is None else self.bias[None, : self.lead].float()
        own = Segment(self.keys[:, :, : self.lead], self.values[:, :, : self.lead], bias)
        return [own, *found]

    def text(self, count: int) -> tuple[Tensor, Tensor]:
        """Keys and values [1, G, count, D] of the text."""
        place = slice(self.lead, self.lead + count)
        return self.keys[:, :, place], self.values[:, :, place]

    def parts(self, count: int, window: int | None) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """All that the last of ``count`` text tokens attends to, as ``attend_token`` takes it."""
        keys, values, bias, end = self._turned, self._own, self.bias, self.lead + count
        found = list(self._shared)
        if window is not None and count > window:
            near = end - window
            found.append((keys.narrow(2, near, window), values.narrow(1, near, window), None))
            end = self.lead
        if end:
            own = None if bias is None else bias[:end]
            found.append((keys.narrow(2, 0, end), values.narrow(1, 0, end), own))
        return found

    def _look(self) -> None:
        """Views that every token needs, made once."""
        self._turned, self._own = self.keys[0].transpose(1, 2), self.values[0]


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
        self._layers: dict[int, _LayerRows] = {}
        self._asked: dict[int, Tensor] = {}
        self._masks: dict[tuple[int, int, torch.dtype], Tensor] = {}

    @property
    def unread(self) -> int:
        """Tokens of the prompt that no pass has read yet."""
        return max(0, len(self.prompt) - self.read)

    def piece(self, most: int) -> ReadPiece:
        """The next part of the prompt, of at most so many tokens where it may be cut."""
        count = len(self.prompt) if self.whole else most
        return ReadPiece(self, self.prompt[self.read : self.read + count])

    def take_in(self, layer: int, key: Tensor, value: Tensor) -> _LayerRows:
        """Keep new keys and values [1, G, t, D]; all that there is to attend to now.

        They count from the end of the pass on (``advance``): one that fails leaves no trace.
        """
        room = max(_ROOM, self.read // 2)
        if not self.read:
            groups = self.prefix.groups(layer)
            segments = groups[0][1] if groups else []
            room += len(self.prompt)
            self._layers[layer] = _LayerRows(segments, room, key, value)
        rows = self._layers[layer]
        rows.take_in(key, value, self.read, room)
        return rows

    def advance(self, count: int) -> None:
        """So many more tokens were read."""
        self.read += count
        self._masks.clear()
        if not self.unread:
            self._asked.clear()
            self.watch = None
            self.prefix = Prefix()  # its rows are among those of the layers

    def mask(self, count: int, window: int | None, dtype: torch.dtype, like: Tensor) -> Tensor:
        """[1, 1, t, S + t] which text tokens the next ``count`` see: causal, in their window.

        Args:
            count: t.
            window: how many last tokens a token sees; None: all.
            dtype: ``torch.bool``, or the one in which it is added to scores.
            like: gives the device.
        """
        known = self._masks.get((count, window or 0, dtype))
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
            self._masks[count, window or 0, dtype] = known
        return known

    def look(self, call: AttentionCall, segments: list[Segment], count: int) -> None:
        """Show the watch what the prompt's first asking token and its last one attend to.

        Args:
            call: of this read alone, with all keys of its text.
            segments: its prefix.
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
        self.watch(whole, [(slice(0, 1), segments)])


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
        mergeable = call.mergeable
        quick = mergeable and token_served(call.query)
        layer, window = call.layer, call.options.get("sliding_window")
        batch, heads, tokens, width = call.query.shape
        output = call.query.new_empty((batch, tokens, heads, width))
        singles = call.query
        if quick:
            singles = (call.query[0] * call.scale).transpose(0, 1)
            singles = singles.reshape(tokens, call.key.shape[1], -1, width)
        for piece, place in zip(self.pieces, self.places, strict=True):
            read, count = piece.read, len(piece.ids)
            key = call.key.narrow(2, place.start, count)
            rows = read.take_in(layer, key, call.value.narrow(2, place.start, count))
            if quick and count == 1 and read.watch is None:
                parts = rows.parts(read.read + 1, window)
                found = attend_token(singles[place.start], parts)
                output[0, place.start] = found.view(heads, width)
            else:
                output[:, place] = _attend_piece(call, read, rows, place, mergeable=mergeable)
        return output, None


def _attend_piece(
    call: AttentionCall, read: OpenRead, rows: _LayerRows, place: slice, *, mergeable: bool
) -> Tensor:
    """Attention [1, t, H, D] of the tokens of one read."""
    query, count = call.query[:, :, place], place.stop - place.start
    keys, values = rows.text(read.read + count)
    segments = rows.segments()
    window = call.options.get("sliding_window")
    mask = read.mask(count, window, torch.bool if mergeable else query.dtype, query)
    own = AttentionCall(call.module, query, keys, values, mask, call.options)
    read.look(own, segments, count)
    if mergeable:
        return attend_merged(own, segments)
    return attend_concatenated(own, segments)[0]
