"""Memories as the prefix of a read: lengths, order, what retrieves, what is kept for later."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import CONFIG, LAYERS, distance, make_mplus, several, some_ids
from torch import Tensor

from memplus import Memory, MPlus
from memplus.backbone.rope import rotate
from memplus.backbone.session import running
from memplus.passes.memory_prefix import MemoryPrefix, prefix_length
from memplus.passes.read import ReadSession

TOLERANCE = 2e-5
M, N, K = CONFIG.retrieved_tokens, CONFIG.short_term_tokens, CONFIG.tokens_per_write


def read(
    model: MPlus, memories: list[Memory], ids: Tensor, asked: Tensor | None = None
) -> MemoryPrefix:
    asked = torch.ones_like(ids, dtype=torch.bool) if asked is None else asked
    prefix = MemoryPrefix(model.backbone, model.weights, memories, asked)
    with running(model.backbone, ReadSession(model.backbone, prefix), None), torch.no_grad():
        model.model(ids, use_cache=False)
    return prefix


def test_lengths_are_bos_retrieved_and_short_term_rows() -> None:
    model = make_mplus()
    memories = several(model)
    found = [prefix_length(memory, bos=True) for memory in memories]
    kept = [min(N, K * (memory.tokens // CONFIG.chunk_tokens)) for memory in memories]
    assert [m.short_term_rows for m in memories] == kept
    assert found == [
        1 + min(M, memory.long_term_rows) + rows
        for memory, rows in zip(memories, kept, strict=True)
    ]
    assert [prefix_length(memory, bos=False) for memory in memories] == [n - 1 for n in found]
    prefix = MemoryPrefix(model.backbone, model.weights, memories, torch.ones(6, 1).bool())
    assert prefix.shift(torch.device("cpu")).tolist() == found


def test_a_pool_that_its_first_write_tiles_is_empty_before_it() -> None:
    model = make_mplus(config=replace(CONFIG, first_write="tile"))
    memory = model.new_memory()
    assert prefix_length(memory, bos=True) == 0
    model.write(memory, some_ids(10).tolist())
    assert prefix_length(memory, bos=True) == 1 + N


def test_rows_of_one_memory_share_a_group_and_its_short_term_rows() -> None:
    model = make_mplus()
    memories = several(model)
    batch = [memories[4], memories[4], memories[2], memories[4]]
    prefix = read(model, batch, some_ids(4, 5))
    assert [(s.start, s.stop) for s, _ in prefix.runs()] == [(0, 2), (2, 3), (3, 4)]
    for layer in range(LAYERS):
        groups = prefix.groups(layer)
        assert [rows for rows, _ in groups] == [slice(0, 2), slice(2, 3), slice(3, 4)]
        sizes = [[(s.key.shape[0], s.key.shape[2]) for s in segments] for _, segments in groups]
        assert sizes == [[(2, 1 + M), (1, N)], [(1, 1), (1, 2 * K)], [(1, 1 + M), (1, N)]]
    prefix.expand(2)
    assert [(s.start, s.stop) for s, _ in prefix.runs()] == [(0, 4), (4, 6), (6, 8)]
    assert prefix.prompt.shape == (8, 5)


def test_keys_stand_at_their_positions_the_oldest_first() -> None:
    model = make_mplus()
    memory = several(model)[4]
    prefix = read(model, [memory], some_ids(1, 5))
    assert memory.long_term is not None
    assert memory.pool is not None
    for access in model.backbone.layers:
        layer = access.index
        (_, segments), chosen = prefix.groups(layer)[0], prefix.retrieved[0, layer]
        table = memory.long_term.tables[layer]
        births = table.take("birth", chosen)
        assert births.tolist() == sorted(births.tolist())
        place = torch.arange(1, 1 + M)
        angles = model.backbone.angles(access, 1 + M + N, segments[0][0])
        turned = rotate(table.take("k", chosen), (angles[0][place], angles[1][place]))
        assert distance(segments[0][0][0, :, 1:], turned.transpose(0, 1)) <= TOLERANCE
        assert torch.equal(segments[0][1][0, :, 1:], table.take("v", chosen).transpose(0, 1))
        place = memory.pool.position[layer, :N] + 1 + M
        assert place.sort().values.tolist() == list(range(1 + M, 1 + M + N))
        keys = memory.pool.columns["k"][layer, :N]
        turned = rotate(keys, (angles[0][place], angles[1][place]))
        assert distance(segments[1][0][0], turned.transpose(0, 1)) <= TOLERANCE


def test_only_the_callers_tokens_retrieve() -> None:
    model = make_mplus()
    memory = several(model)[4]
    ids = some_ids(1, 9)
    alone = read(model, [memory], ids[:, :5])
    followed = read(model, [memory], ids, torch.ones(1, 5, dtype=torch.bool))
    asked = torch.tensor([[False, False, True, True, True]])
    some = read(model, [memory], ids[:, :5], asked)
    differing = 0
    for layer in range(LAYERS):
        assert torch.equal(alone.retrieved[0, layer], followed.retrieved[0, layer])
        assert distance(alone.scores[0, layer], followed.scores[0, layer]) <= TOLERANCE
        differing += not torch.equal(alone.scores[0, layer], some.scores[0, layer])
    assert differing == LAYERS


def test_a_layer_with_fewer_rows_leaves_the_positions_before_them_free() -> None:
    """Short-term rows and text stand at the same positions in every layer."""
    model = make_mplus()
    memory = several(model)[4].fork()
    assert memory.long_term is not None
    table = memory.long_term.tables[1]
    keep = torch.zeros(len(table), dtype=torch.bool)
    keep[:3] = True
    table.keep(keep)
    prefix = read(model, [memory], some_ids(1, 5))
    assert prefix.shift(torch.device("cpu")).tolist() == [1 + M + N]
    access = model.backbone.layers[1]
    keys = prefix.groups(1)[0][1][0][0]
    assert keys.shape[2] == 1 + 3
    place = torch.arange(1 + M - 3, 1 + M)
    angles = model.backbone.angles(access, 1 + M + N, keys)
    chosen = prefix.retrieved[0, 1]
    turned = rotate(table.take("k", chosen), (angles[0][place], angles[1][place]))
    assert distance(keys[0, :, 1:], turned.transpose(0, 1)) <= TOLERANCE


@pytest.mark.parametrize("which", [0, 2, 4], ids=["empty", "growing", "full"])
def test_rows_not_yet_written_are_read_as_if_they_were(which: int) -> None:
    """Of a growing pool; a full one first drops as many as come."""
    model = make_mplus()
    memory = several(model)[which].fork()
    memory.tail.clear()
    chunk, prompt = some_ids(10, seed=3), some_ids(4, seed=4)
    with torch.no_grad():
        new = model.compress(memory, chunk)
        found = model(prompt, memory=memory, new_rows=new).logits
        before = memory.short_term_rows
        prefix = MemoryPrefix(
            model.backbone, model.weights, [memory], torch.ones(1, 4).bool(), extra=new
        )
        assert int(prefix.shift(torch.device("cpu"))) == model.core.prefix_length(memory) + K
        model.write_chunk(memory, chunk)
        expected = model(prompt, memory=memory).logits
    if before + K <= N:
        assert distance(found, expected) <= TOLERANCE
    else:
        assert found.shape == expected.shape


def test_turned_keys_are_kept_until_the_next_write() -> None:
    model = make_mplus()
    memory = several(model)[4]

    def keys() -> Tensor:
        return read(model, [memory], some_ids(1, 5)).groups(0)[0][1][1][0]

    first, again = keys(), keys()
    assert first.data_ptr() == again.data_ptr()
    kept = first.clone()
    model.write(memory, some_ids(10, seed=8).tolist())
    after = keys()
    assert not torch.equal(after, kept)
    fresh = memory.fork()
    expected = read(model, [fresh], some_ids(1, 5)).groups(0)[0][1][1][0]
    assert distance(after, expected) <= TOLERANCE
