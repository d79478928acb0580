"""What there is to choose about LongMem: its sizes, its start, and what can be left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memplus.config import require
from memplus.fields import CheckedFields

__all__ = ["LongMemOptions"]


@dataclass(frozen=True)
class LongMemOptions(CheckedFields):
    """Sizes and ablations of LongMem."""

    weights: str = ""
    """Folder of the trained weights; empty: those that come with memplus; ``none``: LongMem as
    training begins with it."""
    reduction: int = 0
    """r: the side network has a layer for r layers of the decoder, whose number it divides. The
    paper's is 2. 0: 3 where that divides it, else 2, else the smallest number that does."""
    memory_layer: int = 0
    """m, counted from 0: the decoder's layer whose keys and values are kept. 0: two thirds of the
    way up."""
    chunk_tokens: int = 4
    """c: tokens that are found together."""
    retrieved_tokens: int = 64
    """K: tokens that a head finds for each token, in whole chunks."""
    bank_tokens: int = 65_536
    """Most tokens that are kept; the oldest chunks leave first."""
    segment_tokens: int = 512
    """Tokens that are taken in by one pass."""
    init: Literal["published", "plain", "memory"] = "memory"
    """How the side network starts. ``published``: as copies of the decoder's layers. ``plain``:
    the same, but what its layers end with is zero, so that it is the plain decoder at first.
    ``memory``: the same, but for the layer that reads the memory, which is a copy and learns to
    read soonest."""
    gate_rate: float = 50.0
    """How many times faster than other weights the gate moves while it is learned: the paper's
    100 000 steps move it far at 1, a few hundred steps do not."""
    gate: Literal["learned", "closed"] = "learned"
    """``closed``: nothing of the memory is read (ablation)."""
    published: bool = False
    """Repeat what the published code gets wrong and its numbers contain: one bank for all rows of
    a batch, the last step taken after the decoder's final norm, 1e-5 in the side network's norms,
    empty chunks where there are too few, and twice what comes leaving a full bank."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.reduction >= 0, "reduction", self.reduction, "at least 0")
        require(self.memory_layer >= 0, "memory_layer", self.memory_layer, "at least 0")
        require(self.chunk_tokens >= 1, "chunk_tokens", self.chunk_tokens, "at least 1")
        require(self.gate_rate > 0, "gate_rate", self.gate_rate, "above 0")
        for name in ("retrieved_tokens", "bank_tokens", "segment_tokens"):
            value = getattr(self, name)
            whole = value >= 1 and value % self.chunk_tokens == 0
            require(whole, name, value, f"whole chunks of {self.chunk_tokens} tokens, at least one")

    @property
    def chunks(self) -> int:
        """K / c: chunks that a head finds for each token."""
        return self.retrieved_tokens // self.chunk_tokens

    @property
    def capacity(self) -> int:
        """Most chunks that are kept."""
        return self.bank_tokens // self.chunk_tokens

    def layer_of(self, layers: int) -> int:
        """m, for a decoder of so many layers.

        Raises:
            ConfigError: it has too few layers, or a number that r does not divide.
        """
        layer = self.memory_layer or max(1, layers * 2 // 3)
        require(layer < layers, "memory_layer", layer, f"the decoder has {layers} layers")
        self.reduction_of(layers)
        return layer

    def reduction_of(self, layers: int) -> int:
        """r, for a decoder of so many layers; 1 where nothing else divides them.

        Raises:
            ConfigError: a number was chosen that does not divide them.
        """
        if not self.reduction:
            return next((one for one in (3, 2, *range(4, layers)) if layers % one == 0), 1)
        divides = [one for one in range(1, layers + 1) if layers % one == 0]
        reason = f"it must divide the decoder's {layers} layers: {', '.join(map(str, divides))}"
        require(self.reduction in divides, "reduction", self.reduction, reason)
        return self.reduction
