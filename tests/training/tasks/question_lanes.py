"""Memories of two documents and questions about them, for tests of the questions task."""

from __future__ import annotations

from random import Random

import torch
from tests.fakes import make_mplus, some_ids

from memplus.config import MemoryConfig, SpanRetrieval
from memplus.mplus.model import MPlus
from memplus.training.tasks.asked import Asked, AskedRow, Kind, asked_of
from memplus.training.tasks.lanes import DroppedRows, LaneMemory, no_keys
from memplus.training.tasks.retriever_config import RetrieverConfig

FAMILIES = ["llama", "qwen3", "gpt_neox"]
SPAN, NEW, LIMIT, DOCUMENTS, EACH = 4, 8, 16, 2, 3
CONFIG = MemoryConfig(
    short_term_tokens=LIMIT,
    retrieved_tokens=8,
    tokens_per_write=NEW,
    chunk_tokens=NEW,
    retriever_dim=8,
    drop="shared",
    retrieval=SpanRetrieval(SPAN, 1),
)
NEVER = torch.zeros(DOCUMENTS * EACH, dtype=torch.bool)
QUIET = RetrieverConfig(forced=0.0, temperature=0.1)


def model_of(family: str, *, layers: str | None = None, **way: bool) -> MPlus:
    """A tiny random model of a family, with adapters that do something.

    Args:
        family: of decoders.
        layers: that keep dropped rows; None: all.
        way: of its retrieval of spans, by field.
    """
    targets = ["query_key_value"] if family == "gpt_neox" else ["q_proj", "v_proj"]
    adapters = {"rank": 2, "alpha": 4, "targets": targets}
    spans = {"kind": "spans", "span_rows": SPAN, "layer": 1} | way
    changed = {"adapters": adapters, "retrieval": spans, "long_term_layers": layers}
    return make_mplus(family, MemoryConfig.from_dict(CONFIG.to_dict() | changed))


@torch.no_grad()
def written(model: MPlus, chunks: int) -> LaneMemory:
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    like = torch.empty(0)
    dropped = DroppedRows(40, (DOCUMENTS, layers, width, 0), like, no_keys, on_cpu=True)
    memory = LaneMemory(model.memory_config, (DOCUMENTS, layers, width), like, dropped)
    generators = [torch.Generator().manual_seed(seed) for seed in range(DOCUMENTS)]
    for index in range(chunks):
        ids = some_ids(DOCUMENTS, NEW, seed=index)
        memory.write(model.core.write_rows(ids, memory.context()), generators)
        memory.detach_new_rows()
    return memory


def asked(rows: tuple[int, int] | None = (0, 3)) -> Asked:
    random = Random(5)

    def some(count: int) -> list[int]:
        return [random.randrange(5, 90) for _ in range(count)]

    lengths = [(0, 5, 3), (2, 4, 2), (0, 6, 1)] * DOCUMENTS
    return asked_of(
        [AskedRow(Kind.TOLD, some(a), some(b), some(c), rows) for a, b, c in lengths],
        torch.device("cpu"),
    )
