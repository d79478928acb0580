"""What of LaMemo can be chosen: sizes, and the ablations (2204.07341)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memplus.config import require
from memplus.fields import CheckedFields

__all__ = ["LaMemoOptions", "LookAhead"]

LookAhead = Literal["mirrored", "signed", "off"]
"""How remembered positions look at what came after them."""

_PUBLISHED_EPSILON = 1e-6


@dataclass(frozen=True)
class LaMemoOptions(CheckedFields):
    """Options of ``lamemo``; the defaults are for a model of 135M parameters."""

    segment: int = 256
    """N, tokens that are read at once."""
    memory: int = 256
    """M, positions that are remembered; N + M positions go through every layer."""
    lookahead: LookAhead = "mirrored"
    """mirrored: as if what is on the right stood on the left, with a learned vector that tells the
    sides apart; signed: by rotary distances below zero, the ablation without that vector; off:
    what is remembered stays as it was, which is Transformer-XL."""
    published: bool = False
    """Whether 1e-6 is added to the denominator of alpha, as the published code does; then it is no
    exact merge of two softmaxes."""
    offset: float = -20.0
    """Training begins with this number added to the scores of what is on the right, so that the
    first step is nearly the plain decoder's; the paper trains from nothing and has none. A text's
    first token saw itself alone, and many decoders rest on its state: -5 is too little for it."""
    offset_steps: int = 100
    """Steps over which the number rises to 0, where it stays; 0: it is 0 from the first step."""
    rank: int = 8
    """Rank of the update of the projections of queries, keys, values and output."""
    alpha: int = 16
    """The update is multiplied by alpha / rank."""
    weights: str = ""
    """Folder of trained weights instead of those that come with memplus; none: the mechanism as
    training begins with it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("segment", "memory", "rank", "alpha"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "it must be at least 1")
        require(self.offset_steps >= 0, "offset_steps", self.offset_steps, "it is below 0")
        require(-100 <= self.offset <= 0, "offset", self.offset, "it is not in -100 to 0")

    @property
    def epsilon(self) -> float:
        """Added to the denominator of alpha."""
        return _PUBLISHED_EPSILON if self.published else 0.0

    def offset_at(self, step: int) -> float:
        """What is added to the scores of what is on the right, at a step of training."""
        left = 1 - step / self.offset_steps if self.offset_steps else 0.0
        return self.offset * max(0.0, left)
