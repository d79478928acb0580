"""What of HMT can be chosen: its sizes, its ablations, and what its published code does wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memplus.config import require
from memplus.fields import CheckedFields

__all__ = ["HMTOptions"]


@dataclass(frozen=True)
class HMTOptions(CheckedFields):
    """Options of ``hmt``; the defaults are those of the paper for a decoder of 135M parameters."""

    segment_tokens: int = 222
    """Tokens of text in a segment; with the sensory ones and two memory slots 256."""
    sensory_tokens: int = 32
    """Last tokens of the segment before that are read again before a segment; 0: none."""
    cache: int = 300
    """Vectors kept, one for each segment; the oldest goes first (300 in the paper, 100 in the
    published code)."""
    retrieval_dim: int = 1536
    """Width of the queries and keys of retrieval."""
    summary_fraction: float = 0.5
    """Part of a segment, from its beginning, whose summary retrieves."""
    summary_of: Literal["beginning", "question"] = "beginning"
    """What is summed up before a question is answered: the beginning of the segment that it stands
    in, which may be all text that was told before it, or (ours) the question alone."""
    retrieval: Literal["on", "off"] = "on"
    """Whether a summary retrieves from the cache; off: the newest vector alone is read, as in a
    recurrent memory transformer with one vector (stage 1 of the paper's training)."""
    published: Literal["none", "bfloat16", "padding"] = "none"
    """A fault of the published code: retrieval in bfloat16 whatever the model's dtype, or padding
    that counts as text wherever tokens are counted."""
    rank: int = 6
    """Rank of the update of all linear layers of the decoder (8 in the published code, for 7B);
    0: the decoder stays as it is."""
    alpha: int = 24
    """The update is multiplied by alpha / rank."""
    weights: str = ""
    """Folder of the trained weights; empty: those that come with memplus."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            ("segment_tokens", 1), ("sensory_tokens", 0), ("cache", 1), ("retrieval_dim", 1),
            ("rank", 0), ("alpha", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= least, name, value, f"it must be at least {least}")
        inside = 0 < self.summary_fraction <= 1
        require(inside, "summary_fraction", self.summary_fraction, "it is not above 0, up to 1")

    @property
    def summary_tokens(self) -> int:
        """Tokens from a segment's beginning that its summary is made of."""
        return max(1, round(self.summary_fraction * self.segment_tokens))

    @property
    def kept(self) -> int:
        """Vectors that the cache holds at most: without retrieval only the newest is ever read."""
        return self.cache if self.retrieval == "on" else 1
