"""A small mechanism on which the frame and the training are tried: a mean as a soft token.

What was read is one vector, the exponential mean of the segments' mean hidden vectors; mapped by a
trained matrix it stands before the text. Segments weigh less the older they are, which is its
account of what answers stand on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tests.systems.latent.tiny_weights import tiny_weights
from torch import Tensor, nn
from transformers import DynamicCache

from memplus.backbone.access import Backbone
from memplus.backbone.lora import under
from memplus.systems.latent.mechanism import Mechanism, Share
from memplus.systems.latent.system import Decode, LatentSystem

__all__ = ["ToyDecoding", "ToyMechanism", "ToyOptions", "ToyState", "ToySystem", "tiny_weights"]


@dataclass(frozen=True)
class ToyState:
    """A mean and where the segments that went into it end."""

    mean: Tensor
    """[B, d]."""
    ends: Tensor
    """[B, segments] int64."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        return {"mean": self.mean, "ends": self.ends}

    @property
    def nbytes(self) -> int:
        return self.mean.nbytes + self.ends.nbytes

    @property
    def rows(self) -> int:
        return len(self.mean)

    @property
    def tokens(self) -> int:
        return int(self.ends[0, -1]) if self.ends.shape[1] else 0

    def detached(self) -> ToyState:
        return ToyState(self.mean.detach(), self.ends)

    def repeated(self, times: int) -> ToyState:
        return ToyState(*(one.repeat_interleave(times, 0) for one in (self.mean, self.ends)))


class ToyDecoding:
    """A text behind the soft token, with the decoder's own cache."""

    def __init__(self, mechanism: ToyMechanism, state: ToyState, ids: Tensor, pad: Tensor) -> None:
        self._mechanism = mechanism
        self._state = state
        self._mask = mechanism.seen(ids, pad)
        self._cache = DynamicCache()
        self._hidden = mechanism.passed(state, ids, self._mask, self._cache)[:, -1]

    @property
    def hidden(self) -> Tensor:
        return self._hidden

    def step(self, tokens: Tensor) -> None:
        more = self._mask.new_ones(len(tokens), 1)
        self._mask = torch.cat([self._mask, more], dim=1)
        embeds = self._mechanism.backbone.embedding(tokens[:, None])
        self._hidden = self._mechanism.decoded(embeds, self._mask, self._cache)[:, -1]

    @property
    def shares(self) -> Sequence[Sequence[Share]]:
        return [self._of(ends) for ends in self._state.ends.tolist()]

    def _of(self, ends: list[int]) -> list[Share]:
        decay, left, found = self._mechanism.decay, 1.0, []
        for start, end in reversed(list(zip([0, *ends], ends, strict=False))):
            part = left if start == 0 else left * (1 - decay)
            found.append(Share(start, end, part))
            left -= part
        return sorted(found, key=lambda one: -one.share)


class ToyMechanism(Mechanism[ToyState]):
    """The decoder behind one soft token.

    Args:
        backbone: the decoder.
        segment_tokens: T of a segment.
        longest: see ``Mechanism.longest``.
        decay: weight of the mean before, against the segment's.
        unit: see ``Mechanism.unit``.
    """

    through_time = True

    def __init__(
        self, backbone: Backbone, segment_tokens: int, longest: int, decay: float, unit: int = 1
    ) -> None:
        super().__init__(backbone)
        self.segment_tokens, self.longest, self.unit = segment_tokens, longest, unit
        self.decay = decay
        width = backbone.hidden_size
        like: Any = {"device": backbone.device, "dtype": backbone.dtype}
        self.first = nn.Parameter(torch.zeros(width, **like))
        self.into = nn.Parameter(torch.eye(width, **like))

    def empty(self, rows: int) -> ToyState:
        mean = self.first.new_zeros(rows, len(self.first))
        return ToyState(mean, torch.zeros(rows, 0, dtype=torch.int64))

    def write(self, state: ToyState, ids: Tensor) -> ToyState:
        return self.read_and_write(state, ids)[1]

    def read(self, state: ToyState, ids: Tensor, pad: Tensor | None = None) -> Tensor:
        mask = self.seen(ids, self._none(ids) if pad is None else pad)
        return self.passed(state, ids, mask)[:, 1:]

    def read_and_write(self, state: ToyState, ids: Tensor) -> tuple[Tensor, ToyState]:
        hidden = self.read(state, ids)
        mean = hidden.mean(dim=1)
        if state.ends.shape[1]:
            mean = self.decay * state.mean + (1 - self.decay) * mean
            last = state.ends[:, -1:]
        else:
            last = state.ends.new_zeros(len(ids), 1)
        return hidden, ToyState(mean, torch.cat([state.ends, last + ids.shape[1]], dim=1))

    def begin(self, state: ToyState, ids: Tensor, pad: Tensor | None = None) -> ToyDecoding:
        return ToyDecoding(self, state, ids, self._none(ids) if pad is None else pad)

    def restored(self, tensors: Mapping[str, Tensor]) -> ToyState:
        if tensors.keys() != {"mean", "ends"}:
            raise ValueError("a toy has a mean and ends")
        mean, ends = tensors["mean"], tensors["ends"]
        if mean.shape != (len(mean), len(self.first)) or mean.dtype != self.first.dtype:
            raise ValueError(f"mean is {list(mean.shape)} in size")
        if ends.dtype != torch.int64 or ends.dim() != 2 or len(ends) != len(mean):
            raise ValueError(f"ends is {list(ends.shape)} in size")
        return ToyState(mean.to(self.first.device), ends.to(self.first.device))

    # Passes -------------------------------------------------------------------------------------

    @staticmethod
    def _none(ids: Tensor) -> Tensor:
        return ids.new_zeros(len(ids))

    def seen(self, ids: Tensor, pad: Tensor) -> Tensor:
        """[B, 1 + T] 1 where the soft token or a token is."""
        there = torch.arange(ids.shape[1], device=ids.device) >= pad[:, None]
        return torch.cat([torch.ones_like(there[:, :1]), there], dim=1).long()

    def passed(
        self, state: ToyState, ids: Tensor, mask: Tensor, cache: DynamicCache | None = None
    ) -> Tensor:
        """[B, 1 + T, d] of the soft token and the text."""
        soft = (self.first + state.mean @ self.into)[:, None]
        embeds = torch.cat([soft, self.backbone.embedding(ids)], dim=1)
        return self.decoded(embeds, mask, cache)

    def decoded(self, embeds: Tensor, mask: Tensor, cache: DynamicCache | None) -> Tensor:
        """[B, T, d] of the last T columns of the mask."""
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        with under(self.backbone, None):
            output = self.backbone.decoder(
                inputs_embeds=embeds,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        hidden: Tensor = output.last_hidden_state
        return hidden


@dataclass(frozen=True)
class ToyOptions:
    """Of the toy."""

    weights: str = ""
    segment: int = 16
    longest: int = 96
    decay: float = 0.5
    unit: int = 1


class ToySystem(LatentSystem[ToyOptions]):
    """The toy behind the door."""

    registered = "toy"
    called = "Toy"
    options_type = ToyOptions
    makes = ("memplus train --config configs/toy/stage1.yaml",)
    trained_for = ("segment", "decay")

    @classmethod
    def build(cls, backbone: Backbone, options: ToyOptions, decode: Decode) -> ToyMechanism:
        given = options.segment, options.longest, options.decay, options.unit
        return ToyMechanism(backbone, *given)
