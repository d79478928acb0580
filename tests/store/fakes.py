"""A host of memories without any model: rows follow from tokens by arithmetic.

What a write makes depends, as in a real model, on the tokens and on the newest rows before them;
so a row of another memory, a write too many or too few, or another order would all show.

Shapes: L layers, k new rows, d hidden size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memplus.config import MemoryConfig, SpanRetrieval
from memplus.memory.packing import RowKind
from memplus.memory.records import NewRows, Passage, WriteRecord
from memplus.memory.state import Memory
from memplus.store import MemoryStore
from memplus.store.disk import Disk
from memplus.store.limits import Limits

LAYERS, WIDTH, HEADS, RETRIEVER = 2, 8, 2, 4
CONFIG = MemoryConfig(
    short_term_tokens=12,
    retrieved_tokens=5,
    tokens_per_write=4,
    chunk_tokens=4,
    retriever_dim=RETRIEVER,
)
SPANS = replace(
    CONFIG, retrieved_tokens=4, drop="shared", retrieval=SpanRetrieval(span_rows=2, layer=1)
)
"""The same in spans of two rows."""
SMALL = Limits(log=20_000, segment=8_000, history=400_000, snapshots=0)
"""Limits that a few writes reach, so that checkpoints and joined segments are ordinary."""


class FakeHost:
    """What a memory must know of its model."""

    def __init__(
        self, config: MemoryConfig = CONFIG, *, weights: int = 1, words: str = "a"
    ) -> None:
        self.memory_config = config
        self.device = torch.device("cpu")
        self.weights_version = 0
        self.name = "fake"
        self.weights = weights
        self.words = words

    @property
    def owner(self) -> FakeHost:
        return self

    @property
    def identity(self) -> Mapping[str, str]:
        return self.identity_of(self.memory_config)

    def identity_of(self, config: MemoryConfig) -> Mapping[str, str]:
        weights = self._weights_as(config)
        return {"weights": weights, "adapters": "none", "tokenizer": self.words}

    def _weights_as(self, config: MemoryConfig) -> str:
        """As real digests do, it takes in M, but not that of the fixtures on the disk."""
        retrieved = self.memory_config.retrieving_as(config).retrieved_tokens
        known = retrieved == CONFIG.retrieved_tokens
        return f"{self.weights}" if known else f"{self.weights} of {retrieved}"

    @property
    def row_shape(self) -> tuple[int, int, torch.dtype]:
        return LAYERS, WIDTH, torch.float32

    @property
    def vocabulary(self) -> int:
        return 1_000_000

    @property
    def fingerprint(self) -> str:
        return self.fingerprint_of(self.memory_config)

    def fingerprint_of(self, config: MemoryConfig) -> str:
        return f"fake {self._weights_as(config)}"

    def check_weights(self) -> None:
        """Its weights are a number."""

    def changed_since(self, version: int) -> str:
        return "weights"

    def new_memory(
        self, seed: int = 0, *, max_bytes: int | None = None, rows: RowKind | None = None
    ) -> Memory:
        made = Memory(self, seed, max_bytes)
        kept = rows or self.memory_config.rows
        if kept != "exact":
            made.pack(kept)
        return made

    def new_rows(self, hidden: Tensor) -> NewRows:
        layers, count, _ = hidden.shape
        k = (hidden * 3 + self.weights).reshape(layers, count, HEADS, WIDTH // HEADS)
        keys = hidden[list(self.memory_config.retrieving_layers(layers)), :, :RETRIEVER] / 7
        columns = {"k": k, "v": k - 1, "key": keys, "hidden": hidden.clone()}
        return NewRows(hidden, columns, ("hidden", "key"))

    def hidden(self, memory: Memory, tokens: Sequence[int]) -> Tensor:
        """[L, k, d]: whole numbers, so that all arithmetic is exact."""
        recent = memory.recent(CONFIG.tokens_per_write)
        before = 0.0 if recent is None else float(recent.sum()) % 1009
        seed = int.from_bytes(hashlib.sha256(repr((tuple(tokens), before)).encode()).digest()[:6])
        generator = torch.Generator().manual_seed(seed)
        shape = (LAYERS, CONFIG.tokens_per_write, WIDTH)
        return torch.randint(-99, 99, shape, generator=generator).float()

    def write(
        self, memory: Memory, chunks: Sequence[Sequence[int]], source: str = "", tail: Any = ()
    ) -> None:
        """One call of a write: chunks, then a tail; as ``MPlus.write`` does it."""
        memory.before_write()
        try:
            for tokens in chunks:
                self._chunk(memory, tokens, source, said_by(tokens))
            memory.tail, memory.tail_source = list(tail), source
            memory.tail_text = said_by(memory.tail)
            memory.version += 1
        finally:
            memory.commit()

    def _chunk(self, memory: Memory, tokens: Sequence[int], source: str, text: str) -> None:
        rows = self.new_rows(self.hidden(memory, tokens))
        start = memory.source_tokens.get(source, 0)
        record = WriteRecord(len(memory.writes) + 1, source, start, len(tokens))
        memory.take_in(rows, record, None, Passage(tuple(tokens), text))
        memory.source_tokens[source] = start + len(tokens)
        memory.tail, memory.tail_text = [], ""

    def replay(self, memory: Memory, passages: Sequence[tuple[str, Passage]]) -> None:
        memory.before_write()
        for source, said in passages:
            self._chunk(memory, said.tokens, source, said.text)
        memory.commit()


def store_on(disk: Disk, path: str | Path, **options: Any) -> MemoryStore:
    """A store whose changes are all made by one disk."""
    kind = type("StoreOnADisk", (MemoryStore,), {"_new_disk": staticmethod(lambda: disk)})
    made: MemoryStore = kind(path, **options)
    return made


def said_by(tokens: Sequence[int]) -> str:
    """The text of tokens."""
    return "".join(f"word{token} " for token in tokens)


def contents(memory: Memory) -> dict[str, Any]:
    """Everything a memory is, apart from its model and its place."""
    seen: dict[str, Any] = {
        "tail": (list(memory.tail), memory.tail_source if memory.tail else "", memory.tail_text),
        "writes": list(memory.writes),
        "sources": dict(memory.source_tokens),
        "clock": memory.clock,
        "generator": memory.generator.get_state().tolist(),
    }
    if memory.pool is not None:
        seen["count"] = memory.pool.count
        seen |= {f"pool {name}": t.tolist() for name, t in memory.pool.tensors().items()}
    if memory.long_term is not None:
        seen["merge"] = (memory.long_term.waiting, memory.long_term.writes_since_merge)
        for layer, table in enumerate(memory.long_term.tables):
            seen |= {f"store {layer} {n}": c.tolist() for n, c in table.columns().items()}
    return seen
