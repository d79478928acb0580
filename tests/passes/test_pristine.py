"""The memory that comes with a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import CONFIG, HIDDEN, LAYERS, holding, make_model, make_mplus, some_ids

from memplus import Memory, MPlus
from memplus.config import CounterEviction, MemoryConfig, SpanRetrieval
from memplus.errors import ConfigError
from memplus.passes.pristine import Pristine, fill_pristine
from memplus.passes.projection import project_rows

ROWS, STORED = 12, 7


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pristine(**changes: object) -> Pristine:
    made = Pristine(
        short_term=draw(LAYERS, ROWS, HIDDEN),
        ages=torch.arange(ROWS - 1, -1, -1).expand(LAYERS, ROWS).clone(),
        long_term=[draw(STORED, HIDDEN, seed=layer) for layer in range(LAYERS)],
        keys=[draw(STORED, CONFIG.retriever_dim, seed=9 + layer) for layer in range(LAYERS)],
        long_term_ages=[torch.arange(STORED) + 100 for _ in range(LAYERS)],
        counters=[draw(STORED, seed=20 + layer).abs() for layer in range(LAYERS)],
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def filled(rows: Pristine, config: MemoryConfig = CONFIG) -> tuple[MPlus, Memory]:
    model = make_mplus(config=config)
    model.pristine = rows
    memory = make_mplus(config=config).new_memory()
    assert memory.pool is None
    fill_pristine(memory, model.backbone, model.weights, rows)
    return model, memory


def test_short_term_rows_are_projected_and_the_newest_kept_as_vectors() -> None:
    model, memory = filled(pristine())
    assert memory.pool is not None
    expected = project_rows(model.backbone, model.weights, draw(LAYERS, ROWS, HIDDEN))
    assert memory.pool.count == ROWS
    for name in ("k", "v", "key"):
        assert torch.equal(memory.pool.columns[name][:, :ROWS], expected[name])
    newest = memory.recent(CONFIG.tokens_per_write)
    assert newest is not None
    assert torch.equal(newest, draw(LAYERS, ROWS, HIDDEN)[:, -CONFIG.tokens_per_write :])
    assert memory.clock - memory.pool.birth[0, :ROWS].max() == 0
    assert memory.clock - memory.pool.birth[0, :ROWS].min() == ROWS - 1


def test_rows_without_ages_are_all_new() -> None:
    _, memory = filled(pristine(ages=None))
    assert memory.pool is not None
    assert memory.pool.birth[:, :ROWS].tolist() == [[0] * ROWS] * LAYERS


def test_long_term_rows_keep_their_stored_keys() -> None:
    """Those of published checkpoints are not what a projection of their rows gives."""
    model, memory = filled(pristine())
    assert memory.long_term is not None
    for layer, table in enumerate(memory.long_term.tables):
        hidden = draw(STORED, HIDDEN, seed=layer)
        expected = project_rows(model.backbone, model.weights, hidden[None], layer=layer)
        assert torch.equal(table["k"], expected["k"][0])
        assert torch.equal(table["key"], draw(STORED, CONFIG.retriever_dim, seed=9 + layer))
        assert not torch.equal(table["key"], expected["key"][0])
        assert (memory.clock - table["birth"]).tolist() == list(range(100, 100 + STORED))
        assert table["write_id"].tolist() == [0] * STORED
        assert "counter" not in table.names


def test_counters_are_taken_over_where_the_rule_counts() -> None:
    sizes = {field: getattr(CONFIG, field) for field in CONFIG.__dataclass_fields__}
    config = MemoryConfig(**sizes | {"eviction": CounterEviction()})
    _, memory = filled(pristine(), config)
    assert memory.long_term is not None
    for layer, table in enumerate(memory.long_term.tables):
        assert torch.equal(table["counter"], draw(STORED, seed=20 + layer).abs())


def test_without_a_long_term_memory_its_rows_stay_out() -> None:
    sizes = {field: getattr(CONFIG, field) for field in CONFIG.__dataclass_fields__}
    _, memory = filled(pristine(), MemoryConfig(**sizes | {"retrieved_tokens": 0}))
    assert memory.long_term is None


@pytest.mark.parametrize("rows", [Pristine(), pristine(short_term=None, ages=None)])
def test_what_is_not_there_is_left_out(rows: Pristine) -> None:
    _, memory = filled(rows)
    assert memory.pool is None
    assert (memory.long_term is None) is (not rows.long_term)


def test_names_of_the_tensors_tell_part_and_layer() -> None:
    assert Pristine().tensors() == {}
    names = set(pristine().tensors())
    assert {"short_term", "ages", "long_term.0", "long_term_keys.3"} <= names
    assert {"long_term_ages.2", "long_term_counters.1"} <= names
    assert len(names) == 2 + 4 * LAYERS


def test_new_memories_share_the_rows_and_go_their_own_ways() -> None:
    stock = make_model()
    model = holding(stock, draw(LAYERS, ROWS, HIDDEN), stored=4)
    first, second = model.new_memory(), model.new_memory(seed=1)
    assert first.pool is not None
    kept = first.pool.columns["k"].clone()
    model.write(second, some_ids(20).tolist(), flush=True)
    assert torch.equal(first.pool.columns["k"], kept)
    with torch.no_grad():
        before = model(some_ids(4), memory=first).logits
        assert torch.equal(model(some_ids(4), memory=model.new_memory()).logits, before)
        assert not torch.equal(model(some_ids(4), memory=second).logits, before)


SPANS = replace(CONFIG, **{
    "tokens_per_write": 8, "drop": "shared", "retrieval": SpanRetrieval(span_rows=4, layer=2),
})  # fmt: skip


def spans(**changes: object) -> Pristine:
    stored = {
        "long_term": [draw(8, HIDDEN, seed=layer) for layer in range(LAYERS)],
        "keys": [draw(8, SPANS.retriever_dim, seed=9)],
        "long_term_ages": [torch.arange(8) + 100 for _ in range(LAYERS)],
        "counters": [],
    }
    return pristine(**stored | changes)


def test_spans_come_with_keys_of_one_layer(tmp_path: Path) -> None:
    model, memory = filled(spans(), SPANS)
    assert memory.long_term is not None
    keyed = ["key" in table.names for table in memory.long_term.tables]
    assert keyed == [False, False, True, False]
    assert torch.equal(memory.long_term.tables[2]["key"], spans().keys[0])
    model.pristine = spans(short_term=draw(LAYERS, 24, HIDDEN), ages=None)
    model.save_pretrained(tmp_path / "model")
    again = MPlus.from_pretrained(tmp_path / "model").new_memory()
    assert again.long_term is not None
    assert torch.equal(again.long_term.tables[2]["key"], spans().keys[0])
    assert again.short_term_rows == 24


@pytest.mark.parametrize(
    "changes",
    [
        {"short_term": draw(LAYERS, 11, HIDDEN), "ages": None},
        {"ages": torch.arange(LAYERS * ROWS).view(LAYERS, ROWS)},
        {"long_term_ages": [torch.arange(8) + layer for layer in range(LAYERS)]},
        {"long_term_ages": [torch.arange(7)] * LAYERS},
    ],
)
def test_rows_that_are_no_spans_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="not whole spans"):
        filled(spans(**changes), SPANS)
