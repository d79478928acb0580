"""The library against the slow reference, on tiny random models in the published layouts.

What is dropped is drawn by the library and told to the reference; everything else each computes
for itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.reference import Reference, Shape, State, empty_state, random_checkpoint
from tests.reference.shapes import LINEAR, MEMORYLLM, MPLUS, random_shape
from torch import Tensor

from memplus import Memory, MPlus
from memplus.backbone.session import running
from memplus.config import NoEviction, OldestEviction
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.read import ReadSession

NAMED = MPLUS | MEMORYLLM
# Rounding of chained writes, in numbers of size 1 to 10.
TOLERANCE = 1e-4
SEEDS = range(12)

Pair = tuple[MPlus, Reference]


def pair(folder: Path, shape: Shape, seed: int = 0) -> Pair:
    """The same random checkpoint in the library and in the reference."""
    raw, tensors = random_checkpoint(folder, shape, seed)
    return MPlus.from_pretrained(folder), Reference(raw, tensors)


def every(shapes: dict[str, Shape]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shape", shapes.values(), ids=shapes.keys())


def tokens(model: MPlus, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = model.model.config.vocab_size
    return torch.randint(0, vocabulary, (count,), generator=generator)


def write(both: Pair, memory: Memory, state: State, ids: Tensor) -> State:
    """Write one chunk into a memory and into the reference's state, dropping the same rows."""
    model, reference = both
    rows = reference.config.K
    drop = None if model.core.tiles(memory) else memory.fork().draw_drop(rows)
    model.write_chunk(memory, ids)
    return reference.inject(state, ids, None if drop is None else drop.tolist())


def history(both: Pair, lengths: list[int], seed: int = 0) -> tuple[Memory, State]:
    """A memory and a state after the same chunks."""
    model, reference = both
    memory, state = model.new_memory(seed), reference.initial_state()
    for i, length in enumerate(lengths):
        state = write(both, memory, state, tokens(model, length, seed + i))
    return memory, state


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def same_rows(both: Pair, memory: Memory, state: State) -> None:
    """Keys, values, retrieval keys, ages and counters of every row, in order."""
    _, reference = both
    pool = memory.pool
    assert pool is not None
    positions = torch.arange(pool.count).expand(pool.layers, pool.count)
    found = pool.rows_at(pool.slots_at(positions))
    for layer, rows in enumerate(state.short):
        adapter = reference.config.read_adapter
        hidden = state.short_hidden(layer)
        keys, values = reference.decoder.unrotated(layer, hidden, adapter)
        close(found["k"][layer], keys)
        close(found["v"][layer], values)
        assert (memory.clock - found["birth"][layer]).tolist() == [row.age for row in rows]
        same_stored(both, memory, state, layer)


def same_stored(both: Pair, memory: Memory, state: State, layer: int) -> None:
    _, reference = both
    rows = state.stored(layer)
    if not rows:
        assert memory.long_term_rows == 0
        return
    assert memory.long_term is not None
    table = memory.long_term.tables[layer]
    hidden = torch.stack([row.hidden for row in rows])
    if "hidden" in table.columns():
        close(table["hidden"], hidden)
    else:
        keys, values = reference.decoder.unrotated(layer, hidden, reference.config.read_adapter)
        close(table["k"], keys)
        close(table["v"], values)
    close(table["key"], torch.stack([row.stored_key for row in rows]))
    assert (memory.clock - table["birth"]).tolist() == [row.age for row in rows]
    if reference.config.eviction == "counter":
        assert memory.long_term.waiting == len(state.waiting[layer])
        merged = len(rows) - memory.long_term.waiting
        expected = [row.counter for row in state.long[layer]]
        assert table["counter"][:merged].tolist() == expected


def same_read(both: Pair, memory: Memory, state: State, ids: Tensor) -> None:
    """Logits, scores, retrieved rows and their order."""
    model, reference = both
    expected = reference.read(state, ids)
    close(model(ids, memory=memory).logits[0], expected.logits)
    asked = torch.ones(1, ids.shape[0], dtype=torch.bool)
    prefix = MemoryPrefix(model.backbone, model.weights, [memory], asked)
    session = ReadSession(model.backbone, prefix)
    with running(model.backbone, session, model.backbone.adapters.reading):
        model.model(input_ids=ids[None])
    for layer, order in enumerate(expected.order):
        found = prefix.retrieved.get((0, layer), torch.empty(0))
        assert found.tolist() == order
        if order:
            close(prefix.scores[0, layer], expected.scores[layer])


@every(NAMED)
@torch.no_grad()
def test_chunks_of_every_length_compress_alike(tmp_path: Path, shape: Shape) -> None:
    model, reference = pair(tmp_path, shape)
    memory, state = model.new_memory(), reference.initial_state()
    for length in sorted({1, 2, max(1, shape.rows - 1), shape.rows, shape.rows + 1, 25}):
        ids = tokens(model, length, length)
        close(model.compress(memory, ids), reference.write_delta(state, ids))


@every(NAMED)
@torch.no_grad()
def test_memories_and_reads_stay_alike_over_many_writes(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    memory, state = model.new_memory(seed=3), reference.initial_state()
    prompt = tokens(model, 7, 99)
    same_read(both, memory, state, prompt)
    for i, length in enumerate([9, 6, 4, 1, 17, 6, 2, 12, 5]):
        state = write(both, memory, state, tokens(model, length, i))
        same_rows(both, memory, state)
        same_read(both, memory, state, prompt[: 1 + i % 7])


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_models_of_random_shape_stay_alike(tmp_path: Path, seed: int) -> None:
    both = pair(tmp_path, random_shape(seed), seed)
    model, reference = both
    memory, state = model.new_memory(seed), reference.initial_state()
    for i in range(9):
        length = 1 + (5 * i + seed) % 13
        state = write(both, memory, state, tokens(model, length, 100 * seed + i))
        same_rows(both, memory, state)
        same_read(both, memory, state, tokens(model, 1 + (i + seed) % 6, i))


@pytest.mark.parametrize("length", [1, 4, 5, 6, 7, 40])
@torch.no_grad()
def test_first_write_of_an_uninitialised_pool(tmp_path: Path, length: int) -> None:
    both = pair(tmp_path, MEMORYLLM["memoryllm, uninitialised"])
    memory, state = history(both, [length])
    same_rows(both, memory, state)
    state = write(both, memory, state, tokens(both[0], 3, 5))
    same_rows(both, memory, state)
    same_read(both, memory, state, tokens(both[0], 4, 6))


@every(NAMED)
@torch.no_grad()
def test_greedy_generation_is_alike(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    memory, state = history(both, [8, 3, 15])
    prompt = tokens(model, 5, 7)
    model.model.generation_config.eos_token_id = None
    ids, _ = reference.generate(state, prompt, 10)
    found = model.generate(prompt, memory=memory, max_new_tokens=10)
    assert found[0].tolist() == prompt.tolist() + ids


@every(MPLUS)
@torch.no_grad()
def test_several_tokens_on_a_cache_are_alike(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    memory, state = history(both, [8, 15])
    first, second = tokens(model, 4, 1), tokens(model, 5, 2)
    read = reference.read(state, first)
    expected, _ = reference.proceed(read.cache, second)
    cache = model(first, memory=memory, use_cache=True).past_key_values
    output = model(second, memory=memory, past_key_values=cache, use_cache=True)
    close(output.logits[0], expected)


@every(MPLUS)
@torch.no_grad()
def test_a_tail_is_read_as_text_and_asks_nothing(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    memory, state = history(both, [8, 15])
    tail, prompt = tokens(model, 5, 1), tokens(model, 4, 2)
    model.write(memory, tail.tolist())
    expected = reference.read(state, torch.cat([tail, prompt]), asked_from=5)
    close(model(prompt, memory=memory).logits[0], expected.logits[5:])


@every(NAMED)
@torch.no_grad()
def test_rows_not_yet_written_are_read_after_the_pool(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    memory, state = history(both, [8, 15])
    chunk, prompt = tokens(model, 9, 1), tokens(model, 4, 2)
    rows = model.compress(memory, chunk)
    expected = reference.read(state, prompt, extra=reference.write_delta(state, chunk))
    close(model(prompt, memory=memory, new_rows=rows).logits[0], expected.logits)


@every(NAMED)
@torch.no_grad()
def test_a_batch_of_memories_with_padding_equals_single_reads(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    pairs = [history(both, lengths, seed) for seed, lengths in enumerate([[3], [9, 4, 7], [20, 6]])]
    prompts = [tokens(model, count, count) for count in (2, 6, 5)]
    ids = torch.stack([torch.nn.functional.pad(p, (6 - p.shape[0], 0)) for p in prompts])
    mask = torch.stack([torch.arange(6) >= 6 - p.shape[0] for p in prompts]).long()
    memories = [memory for memory, _ in pairs]
    logits = model(ids, memory=memories, attention_mask=mask).logits
    for row, (_, state) in enumerate(pairs):
        expected = reference.read(state, prompts[row]).logits
        close(logits[row, 6 - prompts[row].shape[0] :], expected)


@pytest.mark.parametrize("max_rows", [None, 1, 15, 30])
@torch.no_grad()
def test_other_eviction_rules(tmp_path: Path, max_rows: int | None) -> None:
    both = pair(tmp_path, MPLUS["equal ages"])
    model, reference = both
    rule = NoEviction() if max_rows is None else OldestEviction(max_rows)
    model.core.memory_config = replace(model.memory_config, eviction=rule)
    reference.config = replace(reference.config, eviction=rule.kind, max_rows=max_rows or 0)
    memory, state = model.new_memory(), reference.initial_state()
    for i, length in enumerate([9, 6, 4, 1, 17, 6]):
        state = write(both, memory, state, tokens(model, length, i))
        same_rows(both, memory, state)
        same_read(both, memory, state, tokens(model, 5, i))


@every({"with bos": Shape(), "without bos": Shape(bos=False), "multi-head": Shape(kv_heads=4)})
@torch.no_grad()
def test_a_pool_that_grows_from_nothing(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    model.core.memory_config = replace(model.memory_config, eviction=NoEviction())
    reference.config = replace(reference.config, eviction="none")
    memory, state = Memory(model, seed=0), empty_state(reference.config)
    prompt = tokens(model, 5, 9)
    same_read(both, memory, state, prompt)
    for i, length in enumerate([2, 3, 9, 1, 17, 6, 4, 5, 8]):
        ids = tokens(model, length, i)
        count = reference.write_delta(state, ids).shape[1]
        drop = memory.fork().draw_drop(count)
        model.write_chunk(memory, ids)
        lists = [[]] * shape.layers if drop is None else drop.tolist()
        state = reference.inject(state, ids, lists)
        same_rows(both, memory, state)
        same_read(both, memory, state, prompt)


@torch.no_grad()
def test_the_same_weights_without_a_long_term_store(tmp_path: Path) -> None:
    _, reference = pair(tmp_path, Shape())
    model = MPlus.from_pretrained(tmp_path, retrieved_tokens=0)
    reference.config = replace(reference.config, M=0, eviction="none")
    both = (model, reference)
    memory, state = history(both, [9, 4, 13])
    same_rows(both, memory, state)
    same_read(both, memory, state, tokens(model, 6, 1))


@torch.no_grad()
def test_a_batch_of_writes_in_chunks(tmp_path: Path) -> None:
    both = pair(tmp_path, Shape())
    model, _ = both
    model.core.memory_config = replace(model.memory_config, chunk_tokens=8)
    lengths = [[8, 8, 5], [8, 2], [8, 8, 8]]
    pairs = [history(both, chunks, seed) for seed, chunks in enumerate(lengths)]
    texts = [
        torch.cat([tokens(model, length, seed + i) for i, length in enumerate(chunks)]).tolist()
        for seed, chunks in enumerate(lengths)
    ]
    memories = [model.new_memory(seed) for seed in range(len(lengths))]
    model.write(memories, texts, flush=True)
    for memory, (_, state) in zip(memories, pairs, strict=True):
        same_rows(both, memory, state)


@torch.no_grad()
def test_linear_scaling_gives_positions_beyond_the_trained_ones(tmp_path: Path) -> None:
    shape = Shape(layers=2, ltm_blocks=0, blocks=200, rope_scaling=LINEAR)
    both = pair(tmp_path, shape)
    memory, state = history(both, [9])
    same_read(both, memory, state, tokens(both[0], 5, 1))


@every({"everything": Shape(), "memoryllm": Shape(ltm_blocks=0)})
@torch.no_grad()
def test_generation_with_a_static_cache_is_alike(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    memory, state = history(both, [8, 15])
    prompt = tokens(model, 5, 7)
    model.model.generation_config.eos_token_id = None
    ids, _ = reference.generate(state, prompt, 8)
    found = model.generate(prompt, memory=memory, max_new_tokens=8, cache_implementation="static")
    assert found[0].tolist() == prompt.tolist() + ids


@every(
    {
        "everything": Shape(merge_every=3),
        "memoryllm": Shape(ltm_blocks=0),
        "multi": Shape(kv_heads=4),
    }
)
@torch.no_grad()
def test_a_saved_memory_goes_on_as_if_it_had_never_been_closed(
    tmp_path: Path, shape: Shape
) -> None:
    both = pair(tmp_path, shape)
    model, _ = both
    memory, state = history(both, [8, 15, 3, 9])
    for i in range(3):
        memory.save(tmp_path / "memory")
        memory = Memory.load(tmp_path / "memory", model)
        same_rows(both, memory, state)
        state = write(both, memory, state, tokens(model, 5 + i, i))
        same_rows(both, memory, state)
        same_read(both, memory, state, tokens(model, 5, i))


@every({"everything": Shape(), "memoryllm": Shape(ltm_blocks=0), "no bos": Shape(bos=False)})
@torch.no_grad()
def test_a_batch_generates_what_each_row_would_alone(tmp_path: Path, shape: Shape) -> None:
    both = pair(tmp_path, shape)
    model, reference = both
    model.model.generation_config.eos_token_id = None
    pairs = [history(both, lengths, seed) for seed, lengths in enumerate([[3], [9, 4, 7], [20]])]
    prompts = [tokens(model, count, count) for count in (2, 6, 5)]
    ids = torch.stack([torch.nn.functional.pad(p, (6 - p.shape[0], 0)) for p in prompts])
    mask = torch.stack([torch.arange(6) >= 6 - p.shape[0] for p in prompts]).long()
    memories = [memory for memory, _ in pairs]
    found = model.generate(ids, memory=memories, attention_mask=mask, max_new_tokens=6)
    for row, (_, state) in enumerate(pairs):
        expected, _ = reference.generate(state, prompts[row], 6)
        assert found[row, 6:].tolist() == expected


@torch.no_grad()
def test_beams_carry_the_probabilities_of_what_they_say(tmp_path: Path) -> None:
    both = pair(tmp_path, Shape())
    model, reference = both
    model.model.generation_config.eos_token_id = None
    pairs = [history(both, lengths, seed) for seed, lengths in enumerate([[3], [9, 4, 7]])]
    prompts = torch.stack([tokens(model, 5, 1), tokens(model, 5, 2)])
    output = model.generate(
        prompts,
        memory=[memory for memory, _ in pairs],
        max_new_tokens=4,
        num_beams=3,
        num_return_sequences=2,
        return_dict_in_generate=True,
        output_scores=True,
    )
    for i, sequence in enumerate(output.sequences):
        read = reference.read(pairs[i // 2][1], sequence[:5])
        following, _ = reference.proceed(read.cache, sequence[5:-1])
        logits = torch.cat([read.logits[-1:], following]).log_softmax(dim=-1)
        expected = logits.gather(1, sequence[5:, None]).sum() / 4
        close(output.sequences_scores[i], expected)
