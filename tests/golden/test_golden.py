"""The library against the recorded numbers of the published code, through its public surface.

What the surface does not show (the logits of a write pass, what a read retrieved) is taken from
the passes that it calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from tests.golden.recorded import LOGITS, VECTORS, Golden, every_directory
from torch import Tensor

from memplus import Memory, MPlus
from memplus.backbone.session import running
from memplus.memory.long_term import LongTermPool
from memplus.memory.short_term import ShortTermPool
from memplus.passes.memory_prefix import MemoryPrefix
from memplus.passes.projection import project_rows
from memplus.passes.read import ReadSession
from memplus.passes.write import write_pass


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@cache
def model_of(path: Path) -> MPlus:
    return MPlus.from_pretrained(path)


@cache
def replay(golden: Golden) -> tuple[MPlus, list[Memory]]:
    """The model, and a memory before any write and after each, with the recorded drops."""
    model = model_of(golden.path)
    memories = [model.new_memory()]
    for write in range(1, golden.writes + 1):
        memory = memories[-1].fork()
        ids = golden.sequence[f"inject.{write}.input_ids"]
        model.write_chunk(memory, ids, drop=golden.drop(write))
        memories.append(memory)
    return model, memories


def pool_of(memory: Memory) -> ShortTermPool:
    assert memory.pool is not None
    return memory.pool


def store_of(memory: Memory) -> LongTermPool:
    assert memory.long_term is not None
    return memory.long_term


def in_order(pool: ShortTermPool) -> dict[str, Tensor]:
    """Every column of the pool, oldest row first."""
    positions = torch.arange(pool.count).expand(pool.layers, pool.count)
    return pool.rows_at(pool.slots_at(positions))


def close(found: Tensor, recorded: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, recorded, rtol=0, atol=tolerance)


def read(model: MPlus, memory: Memory, ids: Tensor) -> tuple[Tensor, MemoryPrefix]:
    """Logits [T, V] of a prompt, and the prefix that it saw."""
    asked = torch.ones(1, ids.shape[0], dtype=torch.bool)
    prefix = MemoryPrefix(model.backbone, model.weights, [memory], asked)
    session = ReadSession(model.backbone, prefix)
    with running(model.backbone, session, model.backbone.adapters.reading):
        logits: Tensor = model.model(input_ids=ids[None].long(), use_cache=False).logits
    return logits[0], prefix


@every_directory()
def test_every_chunk_length_compresses_to_the_recorded_rows(golden: Golden) -> None:
    model, memories = replay(golden)
    recorded = golden.single_writes()
    if not recorded:
        pytest.skip("no single writes were recorded here")
    for ids, delta in recorded.values():
        close(model.compress(memories[0], ids), delta, VECTORS)


@every_directory(mplus_only=True)
def test_a_write_on_given_rows_is_as_recorded(golden: Golden) -> None:
    model, _ = replay(golden)
    ids = golden.deltas["short.input_ids"].long()
    rows = model.core.write_rows(ids[None], golden.deltas["long.delta"][None])
    close(rows[0], golden.deltas["chain.delta"], VECTORS)


@every_directory(mplus_only=True)
def test_a_read_of_fresh_rows_alone_is_as_recorded(golden: Golden) -> None:
    model, _ = replay(golden)
    delta = golden.deltas["long.delta"]
    logits = model(golden.sequence["prompt_ids"], new_rows=delta).logits[0]
    close(logits, golden.deltas["read_on_delta.logits"], LOGITS)


@every_directory(mplus_only=True)
def test_logits_of_the_write_pass_are_as_recorded(golden: Golden) -> None:
    model, memories = replay(golden)
    ids = golden.deltas["long.input_ids"].long()[None]
    rows = model.memory_config.tokens_per_write
    written = write_pass(model.backbone, model.weights, ids, model.core.context(memories[:1]), rows)
    logits = model.model.get_output_embeddings()(written.last_hidden)
    close(logits[0], golden.deltas["inject_pass.logits"], LOGITS)


@every_directory()
def test_the_rows_of_every_write_are_as_recorded(golden: Golden) -> None:
    model, memories = replay(golden)
    for write in range(1, golden.writes + 1):
        delta = golden.sequence[f"inject.{write}.delta"]
        ids = golden.sequence[f"inject.{write}.input_ids"]
        close(model.compress(memories[write - 1], ids), delta, VECTORS)


@every_directory()
def test_keys_and_values_of_the_pool_are_those_of_the_recorded_vectors(golden: Golden) -> None:
    model, memories = replay(golden)
    recorded = golden.recorded("stm" if golden.is_mplus else "memory")
    assert recorded
    for write, name in recorded:
        hidden = golden.sequence[name]
        found = in_order(pool_of(memories[write]))
        for column, expected in project_rows(model.backbone, model.weights, hidden).items():
            close(found[column], expected, VECTORS)
        recent = memories[write].recent(model.memory_config.tokens_per_write)
        assert recent is not None
        close(recent, hidden[:, -recent.shape[1] :], VECTORS)


@every_directory(mplus_only=True)
def test_keys_and_values_of_the_store_are_those_of_the_recorded_vectors(golden: Golden) -> None:
    model, memories = replay(golden)
    compared = 0
    for layer in range(golden.layers):
        for write, name in golden.recorded(f"ltm.{layer}"):
            hidden = golden.sequence[name]
            waiting = golden.sequence.get(f"state_after_{write}.cached_dropped_memories")
            if waiting is not None:
                hidden = torch.cat([hidden, waiting[layer]])
            expected = project_rows(model.backbone, model.weights, hidden[None], layer=layer)
            table = store_of(memories[write]).tables[layer]
            for column in set(table.columns()) & set(expected) - {"key"}:
                close(table[column], expected[column][0], VECTORS)
                compared += 1
    assert compared


@every_directory(mplus_only=True)
def test_retrieval_keys_of_the_store_are_as_recorded(golden: Golden) -> None:
    _, memories = replay(golden)
    compared = 0
    for layer in range(golden.layers):
        for write, name in golden.recorded(f"ltm_keys.{layer}"):
            keys = golden.sequence[name]
            waiting = golden.sequence.get(f"state_after_{write}.cached_dropped_keys")
            if waiting is not None:
                keys = torch.cat([keys, waiting[layer]])
            close(store_of(memories[write]).tables[layer]["key"], keys, VECTORS)
            compared += 1
    assert compared


@every_directory(mplus_only=True)
def test_counters_and_waiting_rows_are_as_recorded(golden: Golden) -> None:
    _, memories = replay(golden)
    compared = 0
    for write in range(1, golden.writes + 1):
        store = store_of(memories[write])
        waiting = golden.sequence.get(f"state_after_{write}.cached_dropped_memory_ages")
        assert store.waiting == (0 if waiting is None else waiting.shape[1])
        for layer in range(golden.layers):
            name = f"state_after_{write}.ltm_recall_frequencies.{layer}"
            merged = len(store.tables[layer]) - store.waiting
            if name in golden.sequence:
                counters = store.tables[layer]["counter"][:merged]
                assert counters.tolist() == golden.sequence[name].tolist()
                compared += 1
    assert compared


@every_directory(mplus_only=True)
def test_ages_advance_as_recorded(golden: Golden) -> None:
    _, memories = replay(golden)
    for write in range(1, golden.writes + 1):
        memory = memories[write]
        ages = memory.clock - in_order(pool_of(memory))["birth"]
        recorded = golden.sequence[f"agefix.state_after_{write}.stm_ages"]
        assert ages.tolist() == recorded.tolist()
        waiting = golden.sequence.get(f"agefix.state_after_{write}.cached_dropped_memory_ages")
        for layer in range(golden.layers):
            expected = golden.sequence[f"agefix.state_after_{write}.ltm_ages.{layer}"].tolist()
            expected += [] if waiting is None else waiting[layer].tolist()
            births = store_of(memory).tables[layer]["birth"]
            assert (memory.clock - births).tolist() == expected


@every_directory()
def test_every_read_is_as_recorded(golden: Golden) -> None:
    model, memories = replay(golden)
    if not golden.reads_to_match():
        pytest.skip("every recorded read here met a store shorter than M")
    for after in golden.reads_to_match():
        output = model(golden.sequence["prompt_ids"], memory=memories[after])
        close(output.logits[0], golden.read("logits", after), LOGITS)


@every_directory(mplus_only=True)
def test_every_retrieval_is_as_recorded(golden: Golden) -> None:
    model, memories = replay(golden)
    for after in golden.reads_to_match():
        logits, prefix = read(model, memories[after], golden.sequence["prompt_ids"])
        close(logits, golden.read("logits", after), LOGITS)
        for layer in range(golden.layers):
            order = golden.read(f"ltm_order.{layer}", after).tolist()
            assert prefix.retrieved[0, layer].tolist() == order
            scores = golden.read(f"retriever_scores.{layer}", after)
            close(prefix.scores[0, layer], scores, VECTORS)


@every_directory()
def test_every_generated_sequence_is_as_recorded(golden: Golden) -> None:
    model, memories = replay(golden)
    prompt = golden.sequence["prompt_ids"]
    for after in golden.reads_to_match():
        recorded = golden.read("generate_sequence", after)
        new = recorded.shape[0] - prompt.shape[0]
        found = model.generate(
            prompt, memory=memories[after], max_new_tokens=new, eos_token_id=None
        )
        assert found[0].tolist() == recorded.tolist()


@every_directory()
def test_logits_of_every_generated_token_are_as_recorded(golden: Golden) -> None:
    model, memories = replay(golden)
    prompt = golden.sequence["prompt_ids"]
    for after in golden.reads_to_match():
        recorded = golden.read("generate_logits", after)
        output = model.generate(
            prompt,
            memory=memories[after],
            max_new_tokens=recorded.shape[0],
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
        close(torch.cat(output.logits), recorded, LOGITS)
