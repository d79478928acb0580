"""A tiny model that retrieves spans, large enough to be told something."""

from __future__ import annotations

from typing import Any

from tests.fakes import ADAPTERS, make_mplus

from memplus import MemoryConfig, MPlus
from memplus.config import SpanRetrieval

SPANS = MemoryConfig(
    short_term_tokens=512,
    retrieved_tokens=256,
    tokens_per_write=256,
    chunk_tokens=256,
    retriever_dim=8,
    retriever_layers=1,
    drop="shared",
    retrieval=SpanRetrieval(span_rows=128, layer=1),
    adapters=ADAPTERS,
)
TEXT = "The road went down to the sea. Nobody had walked there since the spring! " * 40


def spans_model(**changes: Any) -> MPlus:
    return make_mplus(config=SPANS, changes={"max_position_embeddings": 2048} | changes)
