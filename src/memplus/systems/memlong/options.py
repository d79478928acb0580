"""What of MemLong can be chosen: its sizes and its ablations (2408.16967)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memplus.config import require
from memplus.fields import CheckedFields

__all__ = ["EmbedderName", "Eviction", "Gate", "MemLongOptions", "Places", "Positions", "Query"]

EmbedderName = Literal["hidden", "static", "bm25"]
Eviction = Literal["counters", "fifo"]
Gate = Literal["none", "scores", "outputs"]
Positions = Literal["zero", "continual"]
Query = Literal["before", "own"]

_MEMORY = 3 / 5
"""How far up the memory layer stands. The paper's is in the middle of 26 layers; in a decoder of
135M parameters what is banked there was not learned to be read."""
_READ = 4
"""Retrieval layers, every other one from the memory layer up. The paper's four are spread up to
the last layer, which can do little more with what it reads."""


@dataclass(frozen=True)
class Places:
    """Layers of a decoder that take part, counted from 0."""

    memory: int
    """The one whose keys and values are kept; it and those below are frozen."""
    retrieval: tuple[int, ...]
    """Those that read the memory, upwards."""


@dataclass(frozen=True)
class MemLongOptions(CheckedFields):
    """Options of ``memlong``; layers and numbers are for decoders of any depth."""

    memory_layer: int = -1
    """Layer whose keys and values are kept, from 0; -1: the one three fifths of the way up."""
    retrieval_layers: tuple[int, ...] = ()
    """Layers that read the memory, none below the memory layer; empty: four, every other one from
    the memory layer up."""
    chunk: int = 128
    """Tokens of a chunk, which is found as a whole."""
    top_k: int = 8
    """Chunks that a text is read with, at most; 0: none, the decoder alone."""
    segment: int = 512
    """Tokens taken in by one pass, and so what their keys and values have seen."""
    local: int = 1024
    """Most tokens read at once, the answer included."""
    bank: int = 32768
    """Tokens that are kept at most."""
    embedder: EmbedderName = "static"
    """How chunks are found: by a static embedder of texts, by means of the frozen layers' states,
    or by words (BM25)."""
    query: Query = "before"
    """What running text is looked up by: the segment before it, or (``own``, as published) the
    very text that is to be predicted."""
    eviction: Eviction = "counters"
    """What leaves a full bank: the oldest tenth and what was retrieved least often, or (``fifo``,
    as in the published code) the older half."""
    count: bool = True
    """Whether segments that are taken in count what they would retrieve."""
    gate: Gate = "outputs"
    """A trained number of each head: none, as in the paper's second stage; on scores, as in the
    published code; or on outputs, as in LongMem."""
    positions: Positions = "zero"
    """Where retrieved rows stand: all together before the text, or one behind another."""
    rank: int = 64
    """Rank of the update of the attention's projections above the memory layer."""
    alpha: int = 64
    """The update is multiplied by alpha / rank."""
    weights: str = ""
    """Folder of the trained weights; empty: those that come with memplus."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            ("memory_layer", -1), ("chunk", 1), ("top_k", 0), ("segment", 1), ("local", 1),
            ("rank", 1), ("alpha", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= least, name, value, f"it must be at least {least}")
        require(self.bank >= self.segment, "bank", self.bank, "it must hold a whole segment")
        whole = self.chunk <= self.segment
        require(whole, "chunk", self.chunk, "it must not be more than a segment")
        fits = self.segment <= self.local
        require(fits, "local", self.local, "it must not be less than a segment")
        upwards = sorted(set(self.retrieval_layers)) == list(self.retrieval_layers)
        reason = "they must be named upwards, each once"
        require(upwards, "retrieval_layers", self.retrieval_layers, reason)

    def places(self, layers: int) -> Places:
        """The layers that take part in a decoder.

        Args:
            layers: that it has.

        Raises:
            ConfigError: it has no such layer, or one that reads stands below the one that is kept.
        """
        memory = int(layers * _MEMORY) if self.memory_layer < 0 else self.memory_layer
        fits = memory < layers
        require(fits, "memory_layer", self.memory_layer, f"the model has {layers} layers")
        usual = range(memory, min(layers, memory + 2 * _READ), 2)
        retrieval = self.retrieval_layers or tuple(usual)
        fits = all(memory <= one < layers for one in retrieval)
        reason = f"they must lie between the memory layer, {memory}, and the last one, {layers - 1}"
        require(fits, "retrieval_layers", self.retrieval_layers, reason)
        return Places(memory, retrieval)
