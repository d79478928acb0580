"""One pass of a stock decoder over remembered positions and a segment together.

The decoder's own norms, projections and MLPs run on both, side by side; only what its layers do
inside their attention is LaMemo's (``layer_step``).

A remembered position looks no further right than the segment's first token. So what becomes of the
remembered positions is the same for all questions about a text that begin with the same token, as
a template's do, and is computed once for those that are read together.

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
    attend,
    layer_step,
    log_dtype,
    mixed,
    sight_of,
    weights_of,
)
from memplus.systems.lamemo.rotary import RotaryScoring
from memplus.systems.lamemo.window import Window

__all__ = ["Cached", "Looked", "Passed", "Passes", "absent"]


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


@dataclass(frozen=True)
class Looked:
    """What a pass gives that is not followed by another segment."""

    hidden: Tensor
    """[B, T, d] of the segment, after the final norm."""
    keys: list[Tensor]
    """By layer, [B, G, m + T, D], rotated."""
    values: list[Tensor]
    """By layer, [B, G, m + T, D]."""
    queries: list[Tensor]
    """By layer, [B, H, T, D] of the segment, rotated."""
    scales: list[float]
    """By layer, by which a query's product with a key is multiplied."""

    def of_rows(self, rows: Tensor) -> Looked:
        """Those of some rows [n] of the batch, any of them more than once."""
        parts = (self.keys, self.values, self.queries)
        keys, values, queries = ([one[rows] for one in part] for part in parts)
        return Looked(self.hidden[rows], keys, values, queries, self.scales)


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
        window = window.spread()
        embeddings = torch.cat([window.embeddings, self.backbone.embedding(ids)], dim=1)
        session = _Reading(self, window, ids.shape[1], blend)
        hidden = self._run(session, embeddings, _places(embeddings))[:, window.count :]
        return Passed(hidden, embeddings, session.steps, session.projected)

    def look(self, window: Window, ids: Tensor, blend: Blend) -> Looked:
        """As ``read``, for a segment that no other follows.

        Rows that have been told the same text and begin with the same token share the pass over
        what is remembered.

        Args:
            window: what is remembered.
            ids: [B, T], as for ``read``.
            blend: as for ``read``.
        """
        begun = list(zip(window.told, ids[:, 0].tolist(), strict=True))
        kinds = list(dict.fromkeys(begun))
        if len(kinds) == len(begun):
            return _looked(self.read(window, ids, blend), window.count)
        firsts = [begun.index(kind) for kind in kinds]
        before = self.read(window.of_rows(firsts), ids[firsts, :1], blend)
        which = torch.tensor([kinds.index(kind) for kind in begun], device=ids.device)
        if ids.shape[1] == 1:
            return _looked(before, window.count).of_rows(which)
        return self._behind(before, which, ids[:, 1:])

    def _behind(self, before: Passed, which: Tensor, ids: Tensor) -> Looked:
        """Tokens behind the first one.

        Args:
            before: the pass over b windows and first tokens.
            which: [B] of the b.
            ids: [B, T - 1].
        """
        count = before.embeddings.shape[1]
        session = _Behind(before, which, ids)
        places = torch.arange(count, count + ids.shape[1], device=ids.device)[None]
        rest = self._run(session, self.backbone.embedding(ids), places)
        hidden = torch.cat([before.hidden[which], rest], dim=1)
        scales = [step.left.scale for step in before.steps]
        return Looked(hidden, session.keys, session.values, session.queries, scales)

    def take_in(self, window: Window, ids: Tensor, blend: Blend) -> tuple[Tensor, list[LayerStep]]:
        """As ``read``, but no further than the last layer's attention, which is all that a window
        keeps.

        Returns:
            [B, m + T, d] what went in, and what each layer made of it.
        """
        window = window.spread()
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


def _looked(passed: Passed, count: int) -> Looked:
    """What is needed of a whole pass with so many remembered positions."""
    return Looked(
        passed.hidden,
        [one.key for one in passed.projected],
        [one.value for one in passed.projected],
        [one.query[:, :, count:] for one in passed.projected],
        [step.left.scale for step in passed.steps],
    )


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


class _Behind(Session):
    """Attention of a segment's tokens behind its first one, which is read already."""

    def __init__(self, before: Passed, which: Tensor, ids: Tensor) -> None:
        self._before, self._which = before, which
        count, tokens = before.embeddings.shape[1], ids.shape[1]
        self._mask = sight_of(count, tokens, 0, before.embeddings).left
        self.queries: list[Tensor] = []
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(self, call: AttentionCall) -> Attended:
        """See ``Session.attend``: [B, T - 1, H, D]."""
        first = self._before.projected[call.layer]
        key = torch.cat([first.key[self._which], call.key], dim=2)
        value = torch.cat([first.value[self._which], call.value], dim=2)
        query = torch.cat([first.query[self._which, :, -1:], call.query], dim=2)
        self.queries.append(query)
        self.keys.append(key)
        self.values.append(value)
        scores = Scores(call.query, key, call.scale)
        context, _ = attend(scores, value, self._mask, exact=False)
        return context.transpose(1, 2), None


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
