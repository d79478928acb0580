"""HMT on tiny random decoders, and the slow reference with the same weights."""

from __future__ import annotations

from typing import Any

import torch
from tests.fakes import make_model
from tests.systems.hmt.reference import Reference, Sizes, Weights
from torch import Tensor

from memplus.backbone.access import Backbone
from memplus.systems.hmt.mechanism import HMTMechanism
from memplus.systems.hmt.options import HMTOptions
from memplus.systems.hmt.state import HMTState

FAMILIES = ("llama", "qwen3", "gpt_neox")
SIZES: dict[str, Any] = {
    "segment_tokens": 6,
    "sensory_tokens": 2,
    "cache": 3,
    "retrieval_dim": 8,
    "rank": 0,
}

TINY = HMTOptions(
    segment_tokens=20, sensory_tokens=3, cache=3, retrieval_dim=8, summary_fraction=0.5, rank=2
)
"""As a system of the tiny model of ``tests.systems.conftest`` has them."""


def make_hmt(family: str = "llama", *, seed: int = 0, **options: Any) -> HMTMechanism:
    """A random decoder with random parts, all large enough to matter."""
    model = make_model(family, seed=seed)
    model.requires_grad_(False)
    made = HMTMechanism(Backbone(model), HMTOptions(**SIZES | options))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.7)
    return made


def reference_of(hmt: HMTMechanism) -> Reference:
    """The reference of one text, with the mechanism's decoder (no update) and weights."""
    own, options = hmt.segments, hmt.options
    weights = Weights(own.initial, own.summary_prompt, own.retrieval.query, own.retrieval.key)
    sizes = Sizes(
        options.segment_tokens,
        options.sensory_tokens,
        options.cache,
        options.summary_fraction,
        options.retrieval == "on",
    )
    return Reference(hmt.backbone.model, weights, sizes)


def pieces(hmt: HMTMechanism, ids: Tensor) -> list[Tensor]:
    """[B, T] tokens as segments."""
    return list(ids.split(hmt.segment_tokens, dim=1))


def written(hmt: HMTMechanism, ids: Tensor) -> HMTState:
    """The state behind [B, T] tokens."""
    state = hmt.empty(len(ids))
    for piece in pieces(hmt, ids):
        state = hmt.write(state, piece)
    return state
