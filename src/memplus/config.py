"""What a memory is made of, as frozen, checked values.

This room knows numbers and names only: no tensors, no files. Every field says what it does
(the command line shows the same words) and is checked when the value is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from memplus.errors import ConfigError

__all__ = [
    "AdapterConfig",
    "CounterEviction",
    "Eviction",
    "MemoryConfig",
    "NoEviction",
    "OldestEviction",
    "PromptConfig",
]


def _require(ok: bool, name: str, value: object, reason: str) -> None:
    if not ok:
        raise ConfigError(name, value=value, reason=reason)


@dataclass(frozen=True)
class NoEviction:
    """Long-term rows are kept for ever."""

    kind: Literal["none"] = "none"


@dataclass(frozen=True)
class OldestEviction:
    """The oldest long-term rows go first (M+ section 3.2: at most 150k rows)."""

    max_rows: int = 150_000
    """Most rows kept per layer."""
    kind: Literal["oldest"] = "oldest"

    def __post_init__(self) -> None:
        _require(self.max_rows >= 1, "eviction.max_rows", self.max_rows, "it must be at least 1")


@dataclass(frozen=True)
class CounterEviction:
    """The published code's rule: a counter per row that only ever falls."""

    every: int = 10
    """Writes between two merges of the rows that wait (``update_ltm_frequency``)."""
    initial: float = 60.0
    """Counter of a row when it is merged (``initial_rf_when_moving_stm_to_ltm``)."""
    decay: float = 1.0
    """What every counter loses at a merge (``decay_frequency``)."""
    kind: Literal["counter"] = "counter"

    def __post_init__(self) -> None:
        _require(self.every >= 1, "eviction.every", self.every, "it must be at least 1")
        _require(self.decay >= 0, "eviction.decay", self.decay, "it cannot be negative")


Eviction = NoEviction | OldestEviction | CounterEviction
_EVICTIONS: dict[str, type[NoEviction] | type[OldestEviction] | type[CounterEviction]] = {
    "none": NoEviction,
    "oldest": OldestEviction,
    "counter": CounterEviction,
}


@dataclass(frozen=True)
class AdapterConfig:
    """Two LoRA adapters: ``default`` while writing, ``decoder_adapter`` while reading."""

    rank: int = 8
    """Rank r of both adapters."""
    alpha: int = 16
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Dropout before the adapter, in training only."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj", "gate_proj")
    """Names of the linear layers that carry an adapter."""
    reading: bool = True
    """A second adapter for reading; without it ``default`` serves both passes."""

    def __post_init__(self) -> None:
        _require(self.rank >= 1, "adapters.rank", self.rank, "it must be at least 1")
        _require(0 <= self.dropout < 1, "adapters.dropout", self.dropout, "it must be in [0, 1)")
        _require(len(self.targets) > 0, "adapters.targets", self.targets, "it names no layer")


@dataclass(frozen=True)
class PromptConfig:
    """How a question is put to the model, and where its answer ends."""

    template: str = "Question: {question}\nAnswer:"
    """The prompt; ``{question}`` stands for the question."""
    stop: tuple[str, ...] = ("\n",)
    """The answer is cut before the first of these."""
    max_new_tokens: int = 32
    """Most tokens an answer may take."""
    abstention: str = "I have no note of that."
    """What stands in the place of an answer that is withheld."""

    def __post_init__(self) -> None:
        ok = "{question}" in self.template
        _require(ok, "prompt.template", self.template, "it has no {question}")
        _require(
            self.max_new_tokens >= 1, "prompt.max_new_tokens", self.max_new_tokens, "at least 1"
        )


@dataclass(frozen=True)
class MemoryConfig:
    """Sizes and rules of a memory. ``retrieved_tokens=0`` is MemoryLLM: no long-term memory."""

    short_term_tokens: int = 10240
    """Rows of the short-term pool per layer, N."""
    retrieved_tokens: int = 2560
    """Long-term rows that a read retrieves per layer, M; 0 means no long-term memory."""
    tokens_per_write: int = 256
    """New rows that a write leaves per layer, K; as many old ones are dropped."""
    chunk_tokens: int = 512
    """Text tokens that one write takes in."""
    retriever_dim: int = 64
    """Width of the retriever's queries and keys."""
    retriever_layers: int = 2
    """Linear layers of each retriever projection: 1, or 2 with SiLU between them."""
    eviction: Eviction = field(default_factory=NoEviction)
    """What leaves the long-term memory, and when."""
    bos: bool = True
    """A learned vector per layer stands at position 0."""
    adapters: AdapterConfig | None = None
    """LoRA adapters for writing and reading; None where the weights themselves were trained."""
    drop: Literal["per_layer", "shared"] = "per_layer"
    """Whether each layer draws the rows that it drops, or one draw serves all."""
    first_write: Literal["grow", "tile"] = "grow"
    """An empty pool grows write by write, or is tiled full by the first (MemoryLLM)."""

    def __post_init__(self) -> None:
        for name in ("short_term_tokens", "tokens_per_write", "chunk_tokens", "retriever_dim"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "it must be at least 1")
        _require(self.retrieved_tokens >= 0, "retrieved_tokens", self.retrieved_tokens, "negative")
        _require(
            self.tokens_per_write <= self.short_term_tokens,
            "tokens_per_write",
            self.tokens_per_write,
            f"it exceeds short_term_tokens ({self.short_term_tokens})",
        )
        layers = self.retriever_layers
        _require(layers in (1, 2), "retriever_layers", layers, "it must be 1 or 2")
        _require(self.drop in ("per_layer", "shared"), "drop", self.drop, "per_layer or shared")
        _require(self.first_write in ("grow", "tile"), "first_write", self.first_write, "grow/tile")
        _require(
            isinstance(self.eviction, NoEviction | OldestEviction | CounterEviction),
            "eviction",
            self.eviction,
            "it must be NoEviction, OldestEviction or CounterEviction",
        )

    @property
    def has_long_term(self) -> bool:
        """Whether dropped rows go to a long-term memory."""
        return self.retrieved_tokens > 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MemoryConfig:
        """From plain JSON values.

        Raises:
            ConfigError: a field is unknown or holds a value it cannot.
        """
        known = {f.name for f in fields(cls)}
        for name in values:
            _require(name in known, name, values[name], "there is no such field")
        given = dict(values)
        if isinstance(given.get("eviction"), Mapping):
            rule = dict(given["eviction"])
            kind = rule.pop("kind", "none")
            _require(kind in _EVICTIONS, "eviction.kind", kind, "none, oldest or counter")
            given["eviction"] = _EVICTIONS[kind](**rule)
        if isinstance(given.get("adapters"), Mapping):
            adapters = dict(given["adapters"])
            parts = {f.name for f in fields(AdapterConfig)}
            for name in adapters:
                reason = "there is no such field"
                _require(name in parts, f"adapters.{name}", adapters[name], reason)
            if "targets" in adapters:
                adapters["targets"] = tuple(adapters["targets"])
            given["adapters"] = AdapterConfig(**adapters)
        return cls(**given)
