"""A model small enough that every system answers in milliseconds."""

from tests.fakes import make_mplus

from memplus import MemoryConfig
from memplus.systems.shared import Shared

SMALL = MemoryConfig(
    short_term_tokens=24, retrieved_tokens=8, tokens_per_write=6, chunk_tokens=6, retriever_dim=8
)
"""One row per token, as in the bundled model."""

SHARED = Shared(lambda: make_mplus(config=SMALL))
