"""The memories of training against ``Memory`` itself, and what happens to rows on the way."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.fakes import CONFIG, make_mplus, some_ids
from torch import Tensor

from memplus.config import MemoryConfig
from memplus.memory.state import Memory
from memplus.mplus.model import MPlus
from memplus.passes.read import HiddenPrefix
from memplus.training.tasks.lanes import DroppedRows, LaneMemory, Rows
from memplus.training.tasks.protocol import Target
from memplus.training.tasks.retrieval import LaneReading, retrieval_key
from memplus.training.tasks.retriever_config import RetrieverConfig

NEW, LIMIT = CONFIG.tokens_per_write, CONFIG.short_term_tokens
WHOLE = RetrieverConfig(random_query=False)


def lanes_of(
    model: MPlus, documents: int, slots: int = 60, config: MemoryConfig = CONFIG
) -> LaneMemory:
    layers, width = len(model.backbone.layers), model.backbone.hidden_size
    like = torch.empty(0)
    shape = (documents, layers, width, config.retriever_dim)
    return LaneMemory(
        config,
        shape[:3],
        like,
        DroppedRows(slots, shape, like, partial(retrieval_key, model), on_cpu=True),
    )


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@torch.no_grad()
def write_both(
    model: MPlus, lanes: LaneMemory, memories: list[Memory], chunks: int, detach_every: int = 1
) -> None:
    """The same chunks and the same draws into both."""
    for index in range(chunks):
        ids = some_ids(len(memories), 10, seed=index)
        seeds = [100 * index + lane for lane in range(len(memories))]
        for memory, row, seed in zip(memories, ids, seeds, strict=True):
            memory.generator.manual_seed(seed)
            model.write_chunk(memory, row)
        lanes.write(model.core.write_rows(ids, lanes.context()), generators(*seeds))
        if (index + 1) % detach_every == 0:
            lanes.detach_new_rows()
    lanes.detach_new_rows()


@torch.no_grad()
def read(model: MPlus, lanes: LaneMemory, ids: Tensor) -> Tensor:
    reading = LaneReading(model, lanes, Target(1, 0), ids.shape[1], WHOLE)
    prefix = HiddenPrefix(model.backbone, model.weights, reading.source, count=reading.count)
    return model.core.logits(model.core.read_rows(ids, prefix))


@pytest.mark.parametrize("drop", ["per_layer", "shared"])
@pytest.mark.parametrize("chunks", [1, 3, 6, 11])
@pytest.mark.parametrize("detach_every", [1, 3], ids=["detached", "fresh"])
def test_reads_equal_those_of_memories(drop: str, chunks: int, detach_every: int) -> None:
    config = replace(CONFIG, drop=drop)
    model = make_mplus(config=config)
    memories = [model.new_memory(), model.new_memory()]
    lanes = lanes_of(model, 2, config=config)
    write_both(model, lanes, memories, chunks, detach_every)
    ids = some_ids(2, 7, seed=99)
    expected = model(ids, memory=memories).logits
    torch.testing.assert_close(read(model, lanes, ids), expected, atol=5e-5, rtol=0)
    assert lanes.count == memories[0].short_term_rows
    assert lanes.long_term is not None
    assert lanes.long_term.filled == memories[0].long_term_rows


def test_write_ids_and_ages_go_with_their_rows_into_the_long_term_memory() -> None:
    model = make_mplus()
    memory, lanes = model.new_memory(), lanes_of(model, 1)
    write_both(model, lanes, [memory], 9)
    assert lanes.long_term is not None
    assert memory.long_term is not None
    assert memory.pool is not None
    held = lanes.long_term.held
    for layer, table in enumerate(memory.long_term.tables):
        assert held.write_id[0, layer].tolist() == table["write_id"].tolist()
        assert held.birth[0, layer].tolist() == table["birth"].tolist()
        torch.testing.assert_close(lanes.long_term.keys[0, layer, : len(table)], table["key"])
        order = memory.pool.slot_order()[layer]
        assert lanes.write_ids()[0, layer].tolist() == memory.pool.write_id[layer, order].tolist()
        assert lanes.detached.birth[0, layer].tolist() == memory.pool.birth[layer, order].tolist()


def numbered(count: int, first: int) -> Rows:
    """Rows [1, 1, count, 1] whose vector, birth and write id are their number."""
    numbers = torch.arange(first, first + count)[None, None]
    return Rows(numbers[..., None].float(), numbers, numbers)


def test_a_full_long_term_memory_gives_up_its_oldest_rows() -> None:
    store = DroppedRows(5, (1, 1, 1, 1), torch.empty(0), lambda layer, rows: 10 * rows, on_cpu=True)
    for first, count in ((10, 3), (2, 1), (30, 4)):
        store.append(numbered(count, first))
    births = store.held.birth[0, 0]
    assert sorted(births.tolist()) == [12, 30, 31, 32, 33]
    assert store.held.vectors[0, 0, :, 0].tolist() == births.tolist()
    assert store.keys[0, 0, :, 0].tolist() == (10 * births).tolist()
    store.append(numbered(7, 40))
    assert sorted(store.held.birth[0, 0].tolist()) == [42, 43, 44, 45, 46]


def test_a_document_drops_by_its_own_generator() -> None:
    """Whoever stands beside it, as in another process."""
    model = make_mplus()
    together, alone = lanes_of(model, 2), lanes_of(model, 1)
    rows = torch.randn(7, 2, 4, NEW, 32, generator=torch.Generator().manual_seed(0))
    for index, both in enumerate(rows):
        together.write(both, generators(index, 50 + index))
        alone.write(both[1:], generators(50 + index))
        together.detach_new_rows()
        alone.detach_new_rows()
    assert together.detached.vectors[1].equal(alone.detached.vectors[0])
    assert not together.detached.write_id[0].equal(together.detached.write_id[1])


def test_gradients_reach_fresh_rows_alone_and_end_when_detached() -> None:
    model = make_mplus()
    lanes = lanes_of(model, 1)
    rows = torch.randn(5, 1, 4, NEW, 32, generator=torch.Generator().manual_seed(0))
    rows.requires_grad_()
    for index in range(4):
        lanes.write(rows[index].detach(), generators(index))
    lanes.detach_new_rows()
    lanes.write(rows[4], generators(4))
    sum(lanes.rows(layer).sum() for layer in range(4)).backward()  # type: ignore[union-attr]
    assert rows.grad is not None
    assert rows.grad[:4].abs().sum() == 0
    assert (rows.grad[4] == 1).all()
    lanes.detach_new_rows()
    assert not lanes.rows(0).requires_grad


def test_state_is_restored_whole() -> None:
    model = make_mplus()
    lanes, twin = lanes_of(model, 2), lanes_of(model, 2)
    write_both(model, lanes, [model.new_memory(), model.new_memory()], 7)
    twin.restore({name: tensor.clone() for name, tensor in lanes.tensors().items()})
    ids = some_ids(2, 5, seed=3)
    assert read(model, twin, ids).equal(read(model, lanes, ids))
    assert (twin.clock, twin.writes) == (lanes.clock, lanes.writes)
    for one in (lanes, twin):
        write_both(model, one, [model.new_memory(), model.new_memory()], 2)
    assert read(model, twin, ids).equal(read(model, lanes, ids))


def test_rows_can_be_there_from_the_beginning() -> None:
    model = make_mplus()
    lanes = lanes_of(model, 1)
    vectors = torch.randn(1, 4, LIMIT, 32, generator=torch.Generator().manual_seed(0))
    marks = torch.arange(LIMIT).expand(1, 4, -1)
    lanes.start_from(Rows(vectors, marks, 0 * marks))
    assert lanes.rows(2).equal(vectors[:, 2])
    assert lanes.context().equal(vectors[:, :, -NEW:])
