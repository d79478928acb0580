"""One pass of a stock decoder over remembered positions and a segment together.

The decoder's own norms, projections and MLPs run on both, side by side; only what its layers do
inside their attention is LaMemo's (``layer_step``).

Shapes: B batch, T tokens, d hidden size, L layers, H heads, G key/value heads, D head width,
m remembered positions, K cached keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.backbone.attention import Attended, AttentionCall
from memplus.backbone.lora import Lora, under
from memplus.backbone.session import Session, running
from memplus.systems.lamemo.layer_step import (
    Blend,
    LayerStep,
    Projected,
    Scores,
    layer_step,
    log_dtype,
    mixed,
    weights_of,
)
from memplus.systems.lamemo.rotary import RotaryScoring
from memplus.systems.lamemo.window import Window

__all__ = ["Cached", "Passed", "Passes", "absent"]


@dataclass(frozen=True)
class Cached:
    """Keys and values of remembered positions and text, for the tokens that come behind it."""

    keys: list[Tensor]
    """By layer, [B, G, K, D], rotated."""
    values: list[Tensor]
    """By layer, [B, G, K, D]."""
    there: Tensor
    """[B, K] false at padding."""

    def of_rows(self, rows: Sequence[int]) -> Cached:
        """Those of some rows of the batch."""
        some = list(rows)
        keys, values = ([one[some] for one in part] for part in (self.keys, self.values))
        return Cached(keys, values, self.there[some])


@dataclass(frozen=True)
class Passed:
    """What a pass gives."""

    hidden: Tensor
    """[B, T, d] of the segment, after the final norm."""
    embeddings: Tensor
    """[B, m + T, d] what went in."""
    steps: list[LayerStep]
    """By layer."""
    projected: list[Projected]
    """By layer: rotated queries and keys, and values, of all positions."""


class Passes:
    """Passes of one decoder under one set of trained parts.

    Args:
        backbone: the decoder.
        lora: the update of its projections.
        direction: v' [L, H, D]; None: distances are not mirrored.
    """

    def __init__(self, backbone: Backbone, lora: Lora, direction: Tensor | None) -> None:
        self.backbone = backbone
        self.lora = lora
        self.direction = direction

    def read(self, window: Window, ids: Tensor, blend: Blend) -> Passed:
        """Run remembered positions and a segment through the decoder.

        Args:
            window: what is remembered.
            ids: [B, T]; padding stands at the right of a row, if anywhere.
            blend: how what is on the right is mixed in.
        """
        embeddings = torch.cat([window.embeddings, self.backbone.embedding(ids)], dim=1)
        session = _Reading(self, window, ids.shape[1], blend)
        hidden = self._run(session, embeddings, _places(embeddings))[:, window.count :]
        return Passed(hidden, embeddings, session.steps, session.projected)

    def take_in(self, window: Window, ids: Tensor, blend: Blend) -> tuple[Tensor, list[LayerStep]]:
        """As ``read``, but no further than the last layer's attention, which is all that a window
        keeps.

        Returns:
            [B, m + T, d] what went in, and what each layer made of it.
        """
        embeddings = torch.cat([window.embeddings, self.backbone.embedding(ids)], dim=1)
        session = _Reading(self, window, ids.shape[1], blend, stops=True)
        with contextlib.suppress(_AllKnown):
            self._run(session, embeddings, _places(embeddings))
        return embeddings, session.steps

    def step(self, cached: Cached, tokens: Tensor, places: Tensor) -> tuple[Tensor, Cached, Tensor]:
        """One more token of each row.

        Args:
            cached: of all before it.
            tokens: [B].
            places: [B] position of each in its window.

        Returns:
            Hidden [B, d], the cache with the new token, and how it looked at the cached keys:
            [B, K] mean attention over layers and heads.
        """
        session = _Stepping(cached)
        hidden = self._run(session, self.backbone.embedding(tokens[:, None]), places[:, None])
        weights = torch.stack(session.weights).mean(dim=0)
        return hidden[:, -1], Cached(session.keys, session.values, session.there), weights

    def _run(self, session: Session, embeddings: Tensor, places: Tensor) -> Tensor:
        with self._running(session):
            output = self.backbone.decoder(
                inputs_embeds=embeddings,
                position_ids=places.expand(len(embeddings), -1),
                use_cache=False,
            )
        hidden: Tensor = output.last_hidden_state
        return hidden

    @contextlib.contextmanager
    def _running(self, session: Session) -> Iterator[None]:
        with under(self.backbone, self.lora), running(self.backbone, session, None):
            yield

    def scoring(self, call: AttentionCall, count: int) -> RotaryScoring:
        """How a layer's queries and keys are scored.

        Args:
            call: the layer's.
            count: m.
        """
        if self.direction is None:
            return RotaryScoring(call.scale)
        layer = self.backbone.layers[call.layer]
        like = call.query.new_empty(0, dtype=log_dtype(call.query.dtype))
        angles = self.backbone.angles(layer, count + 1, like)
        return RotaryScoring(call.scale, angles, self.direction[call.layer])


def _places(embeddings: Tensor) -> Tensor:
    """[1, P] positions 0, 1, ... of [B, P, d]."""
    return torch.arange(embeddings.shape[1], device=embeddings.device)[None]


class _AllKnown(Exception):
    """Ends a pass behind the last attention."""


def absent(there: Tensor) -> Tensor:
    """[B, K] true where a key is there -> [B, 1, 1, K] to be added to scores."""
    mask = torch.zeros(there.shape, device=there.device).masked_fill_(~there, float("-inf"))
    return mask[:, None, None]


class _Reading(Session):
    """Attention of remembered positions and segment."""

    def __init__(
        self, passes: Passes, window: Window, tokens: int, blend: Blend, *, stops: bool = False
    ) -> None:
        self._last = len(passes.backbone.layers) - 1 if stops else None
        self.passes, self.window, self.blend = passes, window, blend
        self.sight = window.sight(tokens)
        self._steps: dict[int, LayerStep] = {}
        self._projected: dict[int, Projected] = {}

    @property
    def steps(self) -> list[LayerStep]:
        """By layer."""
        return [self._steps[layer] for layer in range(len(self._steps))]

    @property
    def projected(self) -> list[Projected]:
        """By layer."""
        return [self._projected[layer] for layer in range(len(self._projected))]

    def attend(self, call: AttentionCall) -> Attended:
        """See ``Session.attend``: [B, m + T, H, D]."""
        projected = Projected(call.query, call.key, call.value)
        scoring = self.passes.scoring(call, self.window.count)
        remembered = self.window.layer(call.layer)
        step = layer_step(remembered, projected, scoring, self.sight, self.blend)
        self._steps[call.layer], self._projected[call.layer] = step, projected
        if call.layer == self._last:
            raise _AllKnown
        return step.remembered.context, None

    def after_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """Memory that stays as it was is no way for gradients: Transformer-XL has none there."""
        if self.blend.lookahead or not self.window.count:
            return hidden
        count = self.window.count
        return torch.cat([hidden[:, :count].detach(), hidden[:, count:]], dim=1)


class _Stepping(Session):
    """Attention of one new token over what is cached."""

    def __init__(self, cached: Cached) -> None:
        self._cached = cached
        new = cached.there.new_ones(len(cached.there), 1)
        self.there = torch.cat([cached.there, new], dim=1)
        self._mask = absent(self.there)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.weights: list[Tensor] = []

    def attend(self, call: AttentionCall) -> Attended:
        """See ``Session.attend``: [B, 1, H, D]."""
        key = torch.cat([self._cached.keys[call.layer], call.key], dim=2)
        value = torch.cat([self._cached.values[call.layer], call.value], dim=2)
        self.keys.append(key)
        self.values.append(value)
        scores = Scores(call.query, key, call.scale)
        weights = weights_of(scores, self._mask)
        self.weights.append(weights.mean(dim=1)[:, 0, :-1])
        return mixed(weights, value).transpose(1, 2), None
