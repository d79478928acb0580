"""LaMemo on a stock decoder: what is remembered is refreshed by what comes after it.

Each segment goes through all layers together with the M positions before it. Nothing is retrieved:
what left the window is gone, but for what the positions in it took over.

Shapes: B rows, T tokens, d hidden size, L layers, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from memplus.backbone.access import Backbone
from memplus.backbone.lora import Lora, LoraSizes
from memplus.config import require
from memplus.errors import UnsupportedModelError
from memplus.systems.lamemo.decoding import LaMemoDecoding
from memplus.systems.lamemo.layer_step import Blend
from memplus.systems.lamemo.options import LaMemoOptions
from memplus.systems.lamemo.passing import Passes
from memplus.systems.lamemo.segments import in_segments
from memplus.systems.lamemo.window import Sizes, Window, empty_window, moved, restored_window
from memplus.systems.latent.mechanism import Mechanism

__all__ = ["LaMemo"]


class LaMemo(Mechanism[Window]):
    """A decoder with a window that looks ahead.

    The trained parts are an update of the projections around attention and, where distances are
    mirrored, v' of every layer, which begins at 0.

    Args:
        backbone: the decoder.
        options: sizes and ablations.

    Raises:
        ConfigError: the decoder has fewer positions than segment and memory together.
        UnsupportedModelError: its attention cannot be split in two, or changes with the length.
    """

    def __init__(self, backbone: Backbone, options: LaMemoOptions | None = None) -> None:
        super().__init__(backbone)
        self.options = options or LaMemoOptions()
        _check(backbone, self.options)
        self.segment_tokens = self.options.segment
        self.longest = max(_LONGEST, self.segment_tokens)
        self.lora = Lora(backbone, _lora_sizes(backbone, self.options))
        self.direction: nn.Parameter | None = None
        if self.options.lookahead == "mirrored":
            heads = (self._sizes.layers, self._sizes.heads, self._sizes.head_dim)
            like: Any = {"device": backbone.device, "dtype": backbone.dtype}
            self.direction = nn.Parameter(torch.zeros(heads, **like))
        self._offset = 0.0

    @cached_property
    def _sizes(self) -> Sizes:
        backbone = self.backbone
        return Sizes(
            self.options.memory,
            len(backbone.layers),
            int(backbone.config.num_attention_heads),
            backbone.head_dim,
            backbone.hidden_size,
        )

    @property
    def _blend(self) -> Blend:
        options = self.options
        return Blend(options.lookahead != "off", options.epsilon, self._offset)

    @property
    def _passes(self) -> Passes:
        return Passes(self.backbone, self.lora, self.direction)

    def at_step(self, step: int) -> None:
        """See ``Mechanism.at_step``: what is on the right counts for little at first."""
        self._offset = self.options.offset_at(step)

    def empty(self, rows: int) -> Window:
        """See ``Mechanism.empty``."""
        return empty_window(self._sizes, rows, self.backbone.embedding.weight.detach())

    @torch.no_grad()
    def write(self, state: Window, ids: Tensor) -> Window:
        """See ``Mechanism.write``."""
        for piece in ids.split(self.segment_tokens, dim=1):
            embeddings, steps = self._passes.take_in(state, piece, self._blend)
            state = moved(state, embeddings, steps, self.options.memory)
        return state

    def read_and_write(self, state: Window, ids: Tensor) -> tuple[Tensor, Window]:
        """See ``Mechanism.read_and_write``; the state behind it is cut from the graph."""
        parts = []
        for piece in ids.split(self.segment_tokens, dim=1):
            passed = self._passes.read(state, piece, self._blend)
            state = moved(state, passed.embeddings, passed.steps, self.options.memory)
            parts.append(passed.hidden)
        return torch.cat(parts, dim=1), state

    def read(self, state: Window, ids: Tensor, pad: Tensor | None = None) -> Tensor:
        """See ``Mechanism.read``; longer texts than a segment move a copy of the window on."""
        found: dict[int, Tensor] = {}
        texts = in_segments(ids, pad, self.segment_tokens)
        for given in [part for one in texts for part in one.of_like_length()]:
            window, parts = state.of_rows(given.rows), []
            for piece in given.whole:
                hidden, window = self.read_and_write(window, piece)
                parts.append(hidden)
            parts.append(self._passes.look(window, given.rest, self._blend).hidden)
            joined = torch.cat(parts, dim=1)
            before = joined.shape[1] - given.rest.shape[1]
            for place, row in enumerate(given.rows):
                own = joined[place, : before + given.counts[place]]
                found[row] = functional.pad(own, (0, 0, ids.shape[1] - len(own), 0))
        return torch.stack([found[row] for row in range(len(ids))])

    @torch.no_grad()
    def begin(self, state: Window, ids: Tensor, pad: Tensor | None = None) -> LaMemoDecoding:
        """See ``Mechanism.begin``."""
        texts = in_segments(ids, pad, self.segment_tokens)
        return LaMemoDecoding(
            self._passes, self.write, self._blend, state, texts, self.segment_tokens
        )

    def restored(self, tensors: Mapping[str, Tensor]) -> Window:
        """See ``Mechanism.restored``."""
        return restored_window(tensors, self._sizes, self.backbone.embedding.weight)


_LONGEST = 1 << 20
"""Texts are read in segments, so that nothing but patience ends them."""


def _check(backbone: Backbone, options: LaMemoOptions) -> None:
    """Refuse decoders whose attention is not one softmax over all positions of the window."""
    name, together = type(backbone.model).__name__, options.segment + options.memory
    enough = together <= backbone.rope.positions
    reason = (
        f"with a segment of {options.segment}, the model has {backbone.rope.positions} positions"
    )
    require(enough, "memory", options.memory, reason)
    if backbone.rope.changing:
        raise UnsupportedModelError(name, reason="its rotary frequencies change with the length")
    if getattr(backbone.config, "attn_logit_softcapping", None) is not None:
        raise UnsupportedModelError(name, reason="it caps scores, which cannot be merged by parts")
    everywhere = getattr(backbone.config, "sliding_window", None)
    windows = [getattr(one.attention, "sliding_window", everywhere) for one in backbone.layers]
    shortest = min((int(one) for one in windows if one), default=together)
    if shortest < together:
        reason = f"its layers look back {shortest} positions, fewer than segment and memory have"
        raise UnsupportedModelError(name, reason=reason)


def _lora_sizes(backbone: Backbone, options: LaMemoOptions) -> LoraSizes:
    """All linear layers of the attention, whatever the family calls them."""
    found = {
        name.removesuffix(".base_layer")
        for name, module in backbone.layers[0].attention.named_modules()
        if isinstance(module, nn.Linear) and "lora_" not in name
    }
    return LoraSizes(options.rank, options.alpha, tuple(sorted(found)))
