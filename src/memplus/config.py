"""What a memory is made of, as frozen, checked values.

This room knows numbers and names only: no tensors, no files. Every field says what it does
(the command line shows the same words) and is checked when the value is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from memplus.bounded import flag, is_text, known_fields, number, require, whole, words

__all__ = [
    "ROWS",
    "ROWS_WANTED",
    "AdapterConfig",
    "CounterEviction",
    "Eviction",
    "MemoryConfig",
    "NoEviction",
    "OldestEviction",
    "PromptConfig",
    "Retrieval",
    "RowKind",
    "RowRetrieval",
    "SpanRetrieval",
    "require",
]

RowKind = Literal["exact", "int8", "int4", "int2"]
ROWS: tuple[RowKind, ...] = ("exact", "int8", "int4", "int2")
"""How long-term rows are kept, widest to narrowest: as computed, in 8, in 4 or in 2 bits."""
ROWS_WANTED = "it must be exact, int8, int4 or int2"

_WIDEST = 65_536
"""Most that a width of ours may be: far above what anybody uses, far below what fills a disk."""


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
        whole("eviction.max_rows", self.max_rows, 1)


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
        whole("eviction.every", self.every, 1)
        number("eviction.initial", self.initial, -math.inf)
        number("eviction.decay", self.decay, 0)


Eviction = NoEviction | OldestEviction | CounterEviction
_EVICTIONS: dict[str, type[NoEviction] | type[OldestEviction] | type[CounterEviction]] = {
    "none": NoEviction,
    "oldest": OldestEviction,
    "counter": CounterEviction,
}


@dataclass(frozen=True)
class RowRetrieval:
    """The paper's rule: every layer retrieves single rows by its own input (M+ section 3.3)."""

    kind: Literal["rows"] = "rows"


@dataclass(frozen=True)
class SpanRetrieval:
    """Whole spans of consecutive rows, chosen once per read at one layer and read in all layers.

    A departure from the paper, for pretrained decoders: copying needs a row's neighbours, in every
    layer. A write then leaves whole spans, and drops whole spans, the same in all layers.
    """

    span_rows: int = 64
    """Consecutive rows of one write that are dropped, retrieved and read together."""
    layer: int = 8
    """The layer whose input asks, and whose rows carry the retrieval keys."""
    weighs: bool = False
    """Whether rows of a span count for less in a read, the further its score is below the best."""
    supersedes: bool = field(default=False, compare=False)
    """Whether spans that a later one replaces are not read; no row depends on it."""
    neighbours: bool = field(default=False, compare=False)
    """Whether a retrieved span takes along the one told just before or after it, whichever suits
    the question better, in the place of spans that suit it less; no row depends on it."""
    sharpens: bool = field(default=False, compare=False)
    """Whether spans are chosen by what tokens match far more than others, rather than by the mean;
    no row depends on it."""
    kind: Literal["spans"] = "spans"

    def __post_init__(self) -> None:
        whole("retrieval.span_rows", self.span_rows, 1, _WIDEST)
        whole("retrieval.layer", self.layer, 0, _WIDEST)
        for name in ("weighs", "supersedes", "neighbours", "sharpens"):
            flag(f"retrieval.{name}", getattr(self, name))


Retrieval = RowRetrieval | SpanRetrieval
_RETRIEVALS: dict[str, type[RowRetrieval] | type[SpanRetrieval]] = {
    "rows": RowRetrieval,
    "spans": SpanRetrieval,
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
        whole("adapters.rank", self.rank, 1, _WIDEST)
        whole("adapters.alpha", self.alpha, 1)
        number("adapters.dropout", self.dropout, 0)
        require(self.dropout < 1, "adapters.dropout", self.dropout, "it must be in [0, 1)")
        words("adapters.targets", self.targets)
        require(len(self.targets) > 0, "adapters.targets", self.targets, "it names no layer")
        flag("adapters.reading", self.reading)

    @classmethod
    def from_dict(cls, values: object) -> AdapterConfig:
        """From plain JSON values.

        Raises:
            ConfigError: a field is unknown or holds a value it cannot.
        """
        given = known_fields(values, cls, "adapters.")
        if isinstance(given.get("targets"), list):
            given["targets"] = tuple(given["targets"])
        return cls(**given)


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
    min_confidence: float = 0.0
    """An answer of less confidence is withheld, unless the caller asks for another threshold."""

    def __post_init__(self) -> None:
        for name in ("template", "abstention"):
            value = getattr(self, name)
            require(is_text(value), f"prompt.{name}", value, "it must be text")
        ok = "{question}" in self.template
        require(ok, "prompt.template", self.template, "it has no {question}")
        words("prompt.stop", self.stop)
        whole("prompt.max_new_tokens", self.max_new_tokens, 1)
        number("prompt.min_confidence", self.min_confidence, 0, 1)

    def filled(self, question: str) -> str:
        """The prompt with a question in its place; braces in either stay as they are."""
        return self.template.replace("{question}", question)

    @classmethod
    def from_dict(cls, values: object) -> PromptConfig:
        """From plain JSON values.

        Raises:
            ConfigError: a field is unknown or holds a value it cannot.
        """
        given = known_fields(values, cls, "prompt.")
        if isinstance(given.get("stop"), list):
            given["stop"] = tuple(given["stop"])
        return cls(**given)


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
    retrieval: Retrieval = field(default_factory=RowRetrieval)
    """What a read retrieves: rows, layer by layer, or spans, once for all layers."""
    eviction: Eviction = field(default_factory=NoEviction)
    """What leaves the long-term memory, and when."""
    bos: bool = True
    """A learned vector per layer stands at position 0."""
    adapters: AdapterConfig | None = None
    """LoRA adapters for writing and reading; None where the weights themselves were trained."""
    drop: Literal["per_layer", "shared"] = "per_layer"
    """Whether each layer draws the rows that it drops, or one draw serves all."""
    long_term_layers: str | None = None
    """The layers whose dropped rows are kept, first and last, as ``10-19``; None: all of them."""
    first_write: Literal["grow", "tile"] = "grow"
    """An empty pool grows write by write, or is tiled full by the first (MemoryLLM)."""
    rows: RowKind = field(default="exact", compare=False)
    """How a new memory keeps its long-term rows: as computed, or in 8, 4 or 2 bits. A memory that
    is there keeps its own way, so this is no part of what memory and model must agree on."""

    def __post_init__(self) -> None:
        for name in ("short_term_tokens", "tokens_per_write", "chunk_tokens"):
            whole(name, getattr(self, name), 1)
        whole("retrieved_tokens", self.retrieved_tokens, 0)
        require(
            self.tokens_per_write <= self.short_term_tokens,
            "tokens_per_write",
            self.tokens_per_write,
            f"it exceeds short_term_tokens ({self.short_term_tokens})",
        )
        whole("retriever_dim", self.retriever_dim, 1, _WIDEST)
        whole("retriever_layers", self.retriever_layers, 1, 2)
        flag("bos", self.bos)
        require(self.drop in ("per_layer", "shared"), "drop", self.drop, "per_layer or shared")
        require(self.first_write in ("grow", "tile"), "first_write", self.first_write, "grow/tile")
        require(self.rows in ROWS, "rows", self.rows, ROWS_WANTED)
        rules = NoEviction | OldestEviction | CounterEviction
        names = "it must be NoEviction, OldestEviction or CounterEviction"
        require(isinstance(self.eviction, rules), "eviction", self.eviction, names)
        adapters = isinstance(self.adapters, AdapterConfig | None)
        require(adapters, "adapters", self.adapters, "it must be an AdapterConfig or None")
        ways = isinstance(self.retrieval, RowRetrieval | SpanRetrieval)
        require(ways, "retrieval", self.retrieval, "it must be RowRetrieval or SpanRetrieval")
        if isinstance(self.retrieval, SpanRetrieval):
            self._check_spans(self.retrieval)
        if self.long_term_layers is not None:
            self._check_layers(self.long_term_layers)

    def _check_layers(self, layers: object) -> None:
        found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", layers) if is_text(layers) else None  # type: ignore[call-overload]
        ok = found is not None and int(found[1]) <= int(found[2])
        reason = "it must name the first and the last layer, as 10-19"
        require(ok, "long_term_layers", layers, reason)
        reason = "layers that keep no dropped rows can only drop those of the others (drop: shared)"
        require(self.drop == "shared", "long_term_layers", layers, reason)

    def _check_spans(self, spans: SpanRetrieval) -> None:
        require(self.drop == "shared", "drop", self.drop, "spans are dropped in all layers at once")
        require(self.first_write == "grow", "first_write", self.first_write, "spans are not tiled")
        for name in ("short_term_tokens", "retrieved_tokens", "tokens_per_write"):
            value = getattr(self, name)
            whole = value % spans.span_rows == 0
            require(whole, name, value, f"it must be whole spans of {spans.span_rows} rows")
        if isinstance(self.eviction, OldestEviction):
            fits = self.eviction.max_rows >= spans.span_rows
            reason = f"it must hold a span of {spans.span_rows} rows"
            require(fits, "eviction.max_rows", self.eviction.max_rows, reason)

    @property
    def retrieves_spans(self) -> bool:
        """Whether spans are dropped and retrieved, rather than rows."""
        return isinstance(self.retrieval, SpanRetrieval)

    @property
    def span_rows(self) -> int:
        """Rows that are dropped and retrieved together: 1 where single rows are."""
        return self.retrieval.span_rows if isinstance(self.retrieval, SpanRetrieval) else 1

    @property
    def weighs_spans(self) -> bool:
        """Whether scores of spans weigh their rows while they are read."""
        return self._spans_do("weighs")

    @property
    def supersedes_spans(self) -> bool:
        """Whether spans that a later one replaces are not read."""
        return self._spans_do("supersedes")

    @property
    def retrieves_neighbours(self) -> bool:
        """Whether a retrieved span takes along the one told just before or after it."""
        return self._spans_do("neighbours")

    @property
    def sharpens_spans(self) -> bool:
        """Whether spans are chosen by what tokens match far more than others."""
        return self._spans_do("sharpens")

    def _spans_do(self, name: str) -> bool:
        """Whether spans are retrieved by a rule that is on."""
        return self.has_long_term and bool(getattr(self.retrieval, name, False))

    @property
    def has_long_term(self) -> bool:
        """Whether dropped rows go to a long-term memory."""
        return self.retrieved_tokens > 0

    def retrieving_layers(self, layers: int) -> range:
        """Which of a model's layers ask the long-term memory, and so keep retrieval keys.

        Raises:
            ConfigError: the model has no such layer.
        """
        if not isinstance(self.retrieval, SpanRetrieval):
            return self.stored_layers(layers)
        layer = self.retrieval.layer
        require(layer < layers, "retrieval.layer", layer, f"the model has {layers} layers")
        return range(layer, layer + 1)

    def stored_layers(self, layers: int) -> range:
        """Which of a model's layers keep dropped rows.

        Raises:
            ConfigError: the model has no such layer.
        """
        if self.long_term_layers is None:
            return range(layers)
        first, last = map(int, self.long_term_layers.split("-"))
        ok, reason = last < layers, f"the model has {layers} layers"
        require(ok, "long_term_layers", self.long_term_layers, reason)
        return range(first, last + 1)

    def rows_of_write(self, tokens: int) -> int:
        """Rows that a write of so many tokens leaves in each layer: K, or fewer whole spans.

        With spans a short chunk leaves only the spans that its share of K begins: the rest of K
        could only repeat them.
        """
        if not isinstance(self.retrieval, SpanRetrieval):
            return self.tokens_per_write
        span = self.retrieval.span_rows
        share = math.ceil(tokens * self.tokens_per_write / self.chunk_tokens)
        return min(self.tokens_per_write, math.ceil(share / span) * span)

    def differs(self, other: MemoryConfig) -> list[str]:
        """Names of the fields in which a memory of another config is not one of this.

        How it keeps its rows is its own matter, and how many are retrieved is that of who reads,
        unless the number also decides what is kept.
        """
        names = [one.name for one in fields(self) if one.compare]
        if self._retrieves_freely and other._retrieves_freely:
            names.remove("retrieved_tokens")
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    @property
    def _retrieves_freely(self) -> bool:
        """Whether a memory is the same however many rows are retrieved (but none at all)."""
        return self.has_long_term and not isinstance(self.eviction, CounterEviction)

    def retrieving_as(self, other: MemoryConfig) -> MemoryConfig:
        """The same with the M of another config."""
        return replace(self, retrieved_tokens=other.retrieved_tokens)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; without the retrieval where it is the paper's.

        What is saved and what digests are made of stay as they were before there was a choice.
        """
        values = self.identifying()
        for one in fields(self.retrieval):
            if not one.compare and getattr(self.retrieval, one.name):
                values["retrieval"][one.name] = True
        return values if self.rows == "exact" else values | {"rows": self.rows}

    def identifying(self) -> dict[str, Any]:
        """What digests of a model take in, as plain JSON values; see ``differs``."""
        values = asdict(self)
        del values["rows"]
        for one in fields(self.retrieval):
            if not one.compare:
                del values["retrieval"][one.name]
        if isinstance(self.retrieval, RowRetrieval):
            del values["retrieval"]
        if self.long_term_layers is None:
            del values["long_term_layers"]
        return values

    @classmethod
    def from_dict(cls, values: object) -> MemoryConfig:
        """From plain JSON values.

        Raises:
            ConfigError: a field is unknown or holds a value it cannot.
        """
        given = known_fields(values, cls)
        if isinstance(given.get("eviction"), Mapping):
            given["eviction"] = _chosen(given["eviction"], "eviction", _EVICTIONS, "none")
        if isinstance(given.get("retrieval"), Mapping):
            given["retrieval"] = _chosen(given["retrieval"], "retrieval", _RETRIEVALS, "rows")
        if isinstance(given.get("adapters"), Mapping):
            given["adapters"] = AdapterConfig.from_dict(given["adapters"])
        return cls(**given)


def _chosen(values: Mapping[str, Any], name: str, kinds: Mapping[str, Any], default: str) -> Any:
    """One of several kinds of value, named by its field ``kind``."""
    kind = values.get("kind", default)
    *most, last = kinds
    known = isinstance(kind, str) and kind in kinds
    require(known, f"{name}.kind", kind, f"{', '.join(most)} or {last}")
    return kinds[kind](**known_fields(values, kinds[kind], f"{name}."))
