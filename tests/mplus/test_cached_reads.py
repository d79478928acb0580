"""Caches of earlier turns: which of them fit, and what is said of those that do not."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest
import torch
from tests.fakes import PROMPTS, distance, make_model, make_mplus, padded, several, some_ids
from transformers import DynamicCache

from memplus import Memory, MPlus
from memplus.errors import StaleCacheError, UsageError

TOLERANCE = 2e-5


def read(model: MPlus, memory: Memory | None) -> Any:
    with torch.no_grad():
        return model(PROMPTS[0], memory=memory, use_cache=True).past_key_values


def refused(model: MPlus, memory: Any, cache: Any, ids: Any = None) -> str:
    with pytest.raises(StaleCacheError) as forward:
        model(some_ids(1) if ids is None else ids, memory=memory, past_key_values=cache)
    with pytest.raises(StaleCacheError) as generate:
        model.generate(
            some_ids(9) if ids is None else ids,
            memory=memory,
            past_key_values=cache,
            max_new_tokens=1,
        )
    assert str(forward.value) == str(generate.value)
    assert forward.value.exit_code == 2
    return str(forward.value)


@pytest.mark.parametrize("tokens", [10, 3], ids=["a chunk", "into the tail"])
def test_a_memory_that_has_changed_is_named_as_the_reason(tokens: int) -> None:
    model = make_mplus()
    memory = several(model)[4]
    cache = read(model, memory)
    model.write(memory, some_ids(tokens).tolist())
    assert "the memory has changed since" in refused(model, memory, cache)


def test_another_memory_is_named_as_the_reason() -> None:
    model = make_mplus()
    memory = several(model)[4]
    cache = read(model, memory)
    assert "another memory; a fork is another one" in refused(model, memory.fork(), cache)
    assert "with a memory, and none is given" in refused(model, None, cache)
    assert "without a memory" in refused(model, memory, read(model, None))
    two = torch.stack([some_ids(1), some_ids(1)])
    assert "holds 1 rows, and 2 are given" in refused(model, memory, cache, two)


def test_a_copy_and_a_stock_cache_are_named_as_the_reason() -> None:
    model = make_mplus()
    memory = several(model)[4]
    cache = copy.deepcopy(read(model, memory))
    assert "no read of this model made it, or it is a copy" in refused(model, memory, cache)
    stock: Any = make_model()(PROMPTS[0][None], use_cache=True).past_key_values
    assert "no read of this model made it" in refused(model, memory, stock)
    with torch.no_grad():
        found = model(some_ids(1), past_key_values=stock).logits  # the stock model's own
    assert found.shape == (1, 1, 260)


def test_the_cache_of_a_beam_search_is_named_as_the_reason() -> None:
    model = make_mplus()
    memory = several(model)[4]
    options: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 3, "return_dict_in_generate": True}
    cache = model.generate(PROMPTS[0], memory=memory, **options).past_key_values
    ids = some_ids(3, 9)
    assert "beams of a search" in refused(model, memory, cache, ids[:, :1])


def test_a_cache_cut_into_its_prompt_is_named_as_the_reason() -> None:
    model = make_mplus()
    memory = several(model)[5]
    cache = read(model, memory)
    cache.crop(-3)
    assert "cut to fewer tokens" in refused(model, memory, cache)


def test_samples_of_one_prompt_go_on_as_rows_of_their_own() -> None:
    model = make_mplus()
    for memory in several(model)[4:]:
        torch.manual_seed(0)
        first = model.generate(
            PROMPTS[0],
            memory=memory,
            do_sample=True,
            num_return_sequences=3,
            max_new_tokens=4,
            return_dict_in_generate=True,
        )
        ids = torch.cat([first.sequences, some_ids(3, 2)], dim=1)
        found = model.generate(
            ids, memory=memory, past_key_values=first.past_key_values, max_new_tokens=3
        )
        assert found.shape == (3, ids.shape[1] + 3)
        for row in range(3):
            cache = read(model, memory)
            alone = model.generate(ids[row], memory=memory, past_key_values=cache, max_new_tokens=3)
            assert found[row].tolist() == alone[0].tolist()


@pytest.mark.parametrize("which", [2, 4, 5], ids=["growing", "full", "tail"])
def test_many_turns_by_generate_and_by_hand_share_one_cache(which: int) -> None:
    """Three turns of a conversation, each way in each place, all from the first retrieval."""
    model = make_mplus()
    memory = several(model)[which]
    said = [some_ids(count, seed=count) for count in (6, 3, 1)]

    def converse(ways: str) -> list[int]:
        ids, cache = torch.zeros(1, 0, dtype=torch.long), DynamicCache()
        for way, text in zip(ways, said, strict=True):
            ids = torch.cat([ids, text[None]], dim=1)
            if way == "g":
                made = model.generate(
                    ids,
                    memory=memory,
                    past_key_values=cache,
                    max_new_tokens=3,
                    return_dict_in_generate=True,
                )
                ids, cache = made.sequences, made.past_key_values
                continue
            with torch.no_grad():
                held = max(0, cache.get_seq_length() - len(memory.tail))
                logits = model(ids[:, held:], memory=memory, past_key_values=cache).logits
                for step in range(3):
                    ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
                    if step < 2:
                        logits = model(ids[:, -1:], memory=memory, past_key_values=cache).logits
        return ids[0].tolist()

    expected = converse("hhh")
    assert len(expected) == 10 + 9
    for ways in ("ggg", "ghg", "hgh"):
        assert converse(ways) == expected


def test_padding_of_an_earlier_turn_stays_hidden_with_tails_too() -> None:
    model = make_mplus()
    memories = several(model)
    ids, mask = padded(PROMPTS)
    more = some_ids(6, 3, seed=5)
    short = torch.tensor([[1, 1, 1], [1, 1, 0]] * 3)
    with torch.no_grad():
        first = model(ids, memory=memories, attention_mask=mask, use_cache=True)
        cache = first.past_key_values
        found = model(more, memory=memories, past_key_values=cache, attention_mask=short)
        third = model(more[:, :1], memory=memories, past_key_values=found.past_key_values)
        for row, (memory, prompt) in enumerate(zip(memories, PROMPTS, strict=True)):
            there = int(short[row].sum())
            alone = model(prompt, memory=memory, use_cache=True).past_key_values
            second = model(more[row, :there], memory=memory, past_key_values=alone)
            assert distance(found.logits[row, :there], second.logits[0]) <= TOLERANCE
            last = model(more[row, :1], memory=memory, past_key_values=alone).logits
            assert distance(third.logits[row], last[0]) <= TOLERANCE


def test_a_mask_after_a_cache_covers_new_tokens_or_all_of_the_callers() -> None:
    model = make_mplus()
    memory = several(model)[5]
    with torch.no_grad():
        cache = read(model, memory)
        cut = len(memory.tail) + 5
        expected = model(some_ids(2), memory=memory, past_key_values=cache).logits
        for width in (2, 5 + 2, cut + 2):
            cache.crop(-2)
            mask = torch.ones(1, width, dtype=torch.long)
            found = model(
                some_ids(2), memory=memory, past_key_values=cache, attention_mask=mask
            ).logits
            assert distance(found, expected) <= TOLERANCE
        cache.crop(-2)
        with pytest.raises(UsageError, match="after a cache it covers the 2 new tokens"):
            model(
                some_ids(2),
                memory=memory,
                past_key_values=cache,
                attention_mask=torch.ones(1, 4, dtype=torch.long),
            )


def test_nothing_is_remembered_of_a_cache_that_is_dropped() -> None:
    model = make_mplus()
    memory = several(model)[4]
    cache = read(model, memory)
    known = model._reader._cached._known
    assert len(known) == 1
    del cache
    gc.collect()
    assert not len(known)
