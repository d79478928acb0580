"""The slow reference against the recorded numbers of the published code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from tests.golden.recorded import LOGITS, VECTORS, Golden, every_directory
from tests.reference import Reference, Row, State
from torch import Tensor


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@cache
def replay(golden: Golden) -> tuple[Reference, list[State]]:
    """The reference, and its state before any write and after each, with the recorded drops."""
    reference = Reference(golden.config, golden.weights)
    states = [reference.initial_state()]
    for write in range(1, golden.writes + 1):
        ids = golden.sequence[f"inject.{write}.input_ids"]
        states.append(reference.inject(states[-1], ids, golden.drop(write)))
    return reference, states


def close(found: Tensor, recorded: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, recorded, rtol=0, atol=tolerance)


def hidden(rows: list[Row]) -> Tensor:
    return torch.stack([row.hidden for row in rows])


@every_directory()
def test_every_chunk_length_compresses_to_the_recorded_rows(golden: Golden) -> None:
    reference, states = replay(golden)
    recorded = golden.single_writes()
    if not recorded:
        pytest.skip("no single writes were recorded here")
    for ids, delta in recorded.values():
        close(reference.write_delta(states[0], ids), delta, VECTORS)


@every_directory(mplus_only=True)
def test_a_write_on_given_rows_is_as_recorded(golden: Golden) -> None:
    reference, _ = replay(golden)
    written = reference.write_pass(golden.deltas["long.delta"], golden.deltas["short.input_ids"])
    close(written.delta, golden.deltas["chain.delta"], VECTORS)


@every_directory(mplus_only=True)
def test_logits_of_the_write_pass_are_as_recorded(golden: Golden) -> None:
    reference, states = replay(golden)
    context = reference.context(states[0])
    written = reference.write_pass(context, golden.deltas["long.input_ids"])
    close(written.logits, golden.deltas["inject_pass.logits"], LOGITS)


@every_directory(mplus_only=True)
def test_a_read_of_fresh_rows_alone_is_as_recorded(golden: Golden) -> None:
    reference, _ = replay(golden)
    logits = reference.read_on_delta(golden.deltas["long.delta"], golden.sequence["prompt_ids"])
    close(logits, golden.deltas["read_on_delta.logits"], LOGITS)


@every_directory()
def test_the_rows_of_every_write_are_as_recorded(golden: Golden) -> None:
    reference, states = replay(golden)
    for write in range(1, golden.writes + 1):
        delta = reference.write_delta(
            states[write - 1], golden.sequence[f"inject.{write}.input_ids"]
        )
        close(delta, golden.sequence[f"inject.{write}.delta"], VECTORS)


@every_directory()
def test_the_pool_after_every_write_is_as_recorded(golden: Golden) -> None:
    _, states = replay(golden)
    compared = 0
    for write, name in golden.recorded("stm" if golden.is_mplus else "memory"):
        for layer in range(golden.layers):
            close(states[write].short_hidden(layer), golden.sequence[name][layer], VECTORS)
            compared += 1
    assert compared


@every_directory(mplus_only=True)
def test_the_store_after_every_write_is_as_recorded(golden: Golden) -> None:
    _, states = replay(golden)
    compared = 0
    for layer in range(golden.layers):
        for write, name in golden.recorded(f"ltm.{layer}"):
            close(hidden(states[write].long[layer]), golden.sequence[name], VECTORS)
        for write, name in golden.recorded(f"ltm_keys.{layer}"):
            keys = [row.stored_key for row in states[write].long[layer]]
            close(torch.stack(keys), golden.sequence[name], VECTORS)
        for write, name in golden.recorded(f"ltm_recall_frequencies.{layer}"):
            counters = [row.counter for row in states[write].long[layer]]
            assert counters == golden.sequence[name].tolist()
            compared += 1
    assert compared


@every_directory(mplus_only=True)
def test_rows_that_wait_after_every_write_are_as_recorded(golden: Golden) -> None:
    _, states = replay(golden)
    for write, name in golden.recorded("cached_dropped_memories"):
        for layer in range(golden.layers):
            close(hidden(states[write].waiting[layer]), golden.sequence[name][layer], VECTORS)
    for write, name in golden.recorded("cached_dropped_keys"):
        for layer in range(golden.layers):
            keys = [row.stored_key for row in states[write].waiting[layer]]
            close(torch.stack(keys), golden.sequence[name][layer], VECTORS)
    waiting = {write for write, _ in golden.recorded("cached_dropped_memory_ages")}
    for write in range(1, golden.writes + 1):
        assert bool(states[write].waiting[0]) == (write in waiting)


@every_directory(mplus_only=True)
def test_ages_advance_as_recorded(golden: Golden) -> None:
    _, states = replay(golden)
    for layer in range(golden.layers):
        for write, name in golden.recorded("stm_ages", "agefix."):
            ages = [row.age for row in states[write].short[layer]]
            assert ages == golden.sequence[name][layer].tolist()
        for write, name in golden.recorded(f"ltm_ages.{layer}", "agefix."):
            assert [row.age for row in states[write].long[layer]] == golden.sequence[name].tolist()
        for write, name in golden.recorded("cached_dropped_memory_ages", "agefix."):
            ages = [row.age for row in states[write].waiting[layer]]
            assert ages == golden.sequence[name][layer].tolist()
    assert len(list(golden.recorded("stm_ages", "agefix."))) == golden.writes


@every_directory()
def test_every_read_is_as_recorded(golden: Golden) -> None:
    reference, states = replay(golden)
    if not golden.reads_to_match():
        pytest.skip("every recorded read here met a store shorter than M")
    for after in golden.reads_to_match():
        read = reference.read(states[after], golden.sequence["prompt_ids"])
        close(read.logits, golden.read("logits", after), LOGITS)


@every_directory(mplus_only=True)
def test_every_retrieval_is_as_recorded(golden: Golden) -> None:
    reference, states = replay(golden)
    for after in golden.reads_to_match():
        read = reference.read(states[after], golden.sequence["prompt_ids"])
        for layer in range(golden.layers):
            close(read.scores[layer], golden.read(f"retriever_scores.{layer}", after), VECTORS)
            assert read.order[layer] == golden.read(f"ltm_order.{layer}", after).tolist()
            stored = states[after].stored(layer)
            ages = [stored[i].age for i in read.order[layer]]
            assert ages == golden.read(f"ltm_order_ages.{layer}", after).tolist()


@every_directory()
def test_every_generated_sequence_is_as_recorded(golden: Golden) -> None:
    reference, states = replay(golden)
    prompt = golden.sequence["prompt_ids"]
    for after in golden.reads_to_match():
        recorded = golden.read("generate_logits", after)
        ids, logits = reference.generate(states[after], prompt, recorded.shape[0])
        assert prompt.tolist() + ids == golden.read("generate_sequence", after).tolist()
        close(logits, recorded, LOGITS)
