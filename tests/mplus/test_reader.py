"""Reading through the facade: batches of memories, generation in all its forms, several turns.

Rows of a batch equal single runs to 2e-5.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fakes import (
    CONFIG,
    EOS,
    PROMPTS,
    distance,
    family,
    holding,
    layer_inputs,
    make_model,
    make_mplus,
    padded,
    several,
    some_ids,
)
from torch import Tensor
from transformers import TextStreamer

from memplus import Memory, MPlus
from memplus.errors import (
    StaleCacheError,
    UsageError,
)

TOLERANCE = 2e-5
FAMILIES = ["llama", "mistral-window", "gemma2", "gemma3", "gpt_neox"]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_of_a_batch_equal_single_reads(name: str, grad: bool) -> None:
    model = family(name)
    memories = several(model)
    assert [len(m.tail) for m in memories] == [0, 7, 0, 3, 0, 7]
    assert len({model.core.prefix_length(m) for m in memories}) >= 4
    ids, mask = padded(PROMPTS)
    with torch.set_grad_enabled(grad):
        together = model(ids, memory=memories, attention_mask=mask).logits
        assert together.shape[:2] == ids.shape
        for row, (memory, prompt) in enumerate(zip(memories, PROMPTS, strict=True)):
            alone = model(prompt, memory=memory).logits[0]
            assert distance(together[row, -len(prompt) :], alone) <= TOLERANCE


@pytest.mark.parametrize("name", FAMILIES)
def test_one_memory_may_serve_several_rows(name: str) -> None:
    model = family(name)
    memories = several(model)
    order = [memories[4], memories[4], memories[2], memories[4], memories[4], memories[2]]
    ids, mask = padded(PROMPTS)
    with torch.no_grad():
        together = model(ids, memory=order, attention_mask=mask).logits
        for row, (memory, prompt) in enumerate(zip(order, PROMPTS, strict=True)):
            alone = model(prompt, memory=memory).logits[0]
            assert distance(together[row, -len(prompt) :], alone) <= TOLERANCE


def test_padding_on_the_right_is_fine_without_a_tail() -> None:
    model = make_mplus()
    memories = several(model)
    chosen = [memories[2], memories[4]]
    ids, mask = some_ids(2, 8), torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    with torch.no_grad():
        together = model(ids, memory=chosen, attention_mask=mask).logits
        alone = model(ids[1, :5], memory=chosen[1]).logits[0]
    assert distance(together[1, :5], alone) <= TOLERANCE
    with pytest.raises(UsageError, match="padded on the left"):
        model(ids, memory=[memories[1], memories[4]], attention_mask=mask)


def test_labels_and_kept_logits_cover_the_callers_tokens() -> None:
    model = make_mplus()
    memory = several(model)[3]
    ids = some_ids(6)
    plain = model(ids, memory=memory)
    logits = plain.logits[0]
    loss = model(ids, memory=memory, labels=ids).loss
    expected = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])
    assert distance(loss, expected) <= TOLERANCE
    kept = model(ids, memory=memory, logits_to_keep=1).logits
    assert distance(kept[0], logits[-1:]) <= TOLERANCE


def manual_greedy(model: MPlus, memory: Memory | None, prompt: Tensor, steps: int) -> list[int]:
    """Greedy decoding by repeated plain calls on one cache."""
    with torch.no_grad():
        output = model(prompt, memory=memory, use_cache=True)
        tokens = prompt.tolist()
        for _ in range(steps):
            best = output.logits[0, -1:].argmax(-1)
            tokens.append(int(best))
            if int(best) == EOS:
                break
            output = model(best, memory=memory, past_key_values=output.past_key_values)
    return tokens


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_generation_equals_a_manual_loop(name: str) -> None:
    model = family(name)
    for memory, prompt in zip(several(model), PROMPTS, strict=True):
        found = model.generate(prompt, memory=memory, max_new_tokens=6)
        assert found[0].tolist() == manual_greedy(model, memory, prompt, 6)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("cache", [None, "static"])
def test_a_batch_generates_what_its_rows_would_alone(name: str, cache: str | None) -> None:
    model = family(name)
    memories = several(model)
    ids, mask = padded(PROMPTS)
    options: dict[str, Any] = {"max_new_tokens": 5, "cache_implementation": cache}
    together = model.generate(ids, memory=memories, attention_mask=mask, **options)
    for row, (memory, prompt) in enumerate(zip(memories, PROMPTS, strict=True)):
        alone = manual_greedy(model, memory, prompt, 5)[len(prompt) :]
        found = together[row, ids.shape[1] :].tolist()
        assert found[: len(alone)] == alone
        assert together[row, : ids.shape[1]].tolist() == ids[row].tolist()


@pytest.mark.parametrize("name", FAMILIES)
def test_beams_of_a_batch_equal_beams_of_one_row(name: str) -> None:
    model = family(name)
    memories = several(model)
    ids, mask = padded(PROMPTS)
    options: dict[str, Any] = {
        "max_new_tokens": 5, "num_beams": 3, "num_return_sequences": 2,
        "return_dict_in_generate": True, "output_scores": True,
    }  # fmt: skip
    together = model.generate(ids, memory=memories, attention_mask=mask, **options)
    assert together.sequences.shape[0] == 12
    for row, (memory, prompt) in enumerate(zip(memories, PROMPTS, strict=True)):
        alone = model.generate(prompt, memory=memory, **options)
        new = alone.sequences[:, len(prompt) :]
        rows = slice(2 * row, 2 * row + 2)
        found = together.sequences[rows, ids.shape[1] : ids.shape[1] + new.shape[1]]
        assert found.tolist() == new.tolist()
        assert distance(together.sequences_scores[rows], alone.sequences_scores) <= TOLERANCE
    greedy = model.generate(ids, memory=memories, attention_mask=mask, max_new_tokens=5)
    assert together.sequences[::2].tolist() != greedy.tolist()  # beams do find other texts


def test_sampling_is_the_callers_seed_and_return_sequences_differ() -> None:
    model = make_mplus()
    memory, prompt = several(model)[5], PROMPTS[0]

    def sample(seed: int, **options: Any) -> list[list[int]]:
        torch.manual_seed(seed)
        found: Tensor = model.generate(
            prompt, memory=memory, do_sample=True, max_new_tokens=6, **options
        )
        return found.tolist()

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    five = sample(3, num_return_sequences=5)
    assert len(five) == 5
    assert len({tuple(row) for row in five}) > 1
    assert all(row[: len(prompt)] == prompt.tolist() for row in five)
    # One sample drawn by hand from the logits of the read.
    with torch.no_grad():
        chances = model(prompt, memory=memory).logits[0, -1].softmax(-1)
    torch.manual_seed(4)
    by_hand = int(torch.multinomial(chances[None], 1))
    assert sample(4, top_k=0, top_p=1.0)[0][len(prompt)] == by_hand


class Heard(TextStreamer):
    """Keeps what was streamed."""

    def __init__(self, model: MPlus, **options: Any) -> None:
        super().__init__(model.tokenizer, **options)
        self.ids: list[int] = []
        self.ended = False

    def put(self, value: Tensor) -> None:
        self.ids += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("which", [4, 5], ids=["no tail", "tail"])
def test_a_streamer_hears_the_callers_input_and_the_answer(which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    heard = Heard(model)
    found = model.generate(PROMPTS[0], memory=memory, max_new_tokens=5, streamer=heard)
    assert heard.ids == found[0].tolist()
    assert heard.ended


@pytest.mark.parametrize("which", [4, 5], ids=["no tail", "tail"])
def test_lengths_count_the_callers_input_not_the_tail(which: int) -> None:
    model = make_mplus()
    memory = several(model)[which]
    found = model.generate(PROMPTS[0], memory=memory, max_length=9, min_length=9)
    assert found.shape == (1, 9)


@pytest.mark.parametrize("name", FAMILIES)
def test_several_turns_on_one_cache_equal_one_read(name: str) -> None:
    model = family(name)
    for memory in several(model):
        ids = some_ids(12, seed=3)
        with torch.no_grad():
            first = model(ids[:6], memory=memory, use_cache=True)
            second = model(ids[6:7], memory=memory, past_key_values=first.past_key_values)
            third = model(ids[7:], memory=memory, past_key_values=second.past_key_values)
            found = torch.cat([first.logits, second.logits, third.logits], dim=1)
            # The same rows, retrieved by the first turn's tokens alone.
            whole = model(ids, memory=memory).logits
        if memory.long_term_rows <= CONFIG.retrieved_tokens:
            assert distance(found, whole) <= TOLERANCE


def test_turns_keep_the_rows_that_the_first_one_retrieved() -> None:
    """A long-term memory of exactly M rows is retrieved whole: then the equality is exact."""
    model = make_model()
    ids = some_ids(1, 34)
    held = holding(model, layer_inputs(model, ids, 20), stored=8)
    memory = held.new_memory()
    with torch.no_grad():
        expected = model(ids, use_cache=False).logits[:, 20:]
        first = held(ids[:, 20:25], memory=memory, use_cache=True)
        second = held(ids[:, 25:], memory=memory, past_key_values=first.past_key_values)
    assert distance(torch.cat([first.logits, second.logits], dim=1), expected) <= TOLERANCE


@pytest.mark.parametrize("which", [2, 4, 5], ids=["growing", "full", "tail"])
def test_generation_goes_on_with_the_cache_of_an_earlier_turn(which: int) -> None:
    model = make_mplus()
    memory, prompt = several(model)[which], PROMPTS[2]
    options: dict[str, Any] = {"max_new_tokens": 3, "return_dict_in_generate": True}
    first = model.generate(prompt, memory=memory, **options)
    talk = torch.cat([first.sequences[0], some_ids(4, seed=9)])
    second = model.generate(talk, memory=memory, past_key_values=first.past_key_values, **options)

    with torch.no_grad():
        output = model(prompt, memory=memory, use_cache=True)
        rest = talk[len(prompt) :]
        output = model(rest, memory=memory, past_key_values=output.past_key_values)
        expected = talk.tolist()
        for _ in range(3):
            best = output.logits[0, -1:].argmax(-1)
            expected.append(int(best))
            output = model(best, memory=memory, past_key_values=output.past_key_values)
    assert second.sequences[0].tolist() == expected


def test_turns_of_a_padded_batch_equal_turns_of_its_rows() -> None:
    model = make_mplus()
    memories = several(model)
    ids, mask = padded(PROMPTS)
    more = some_ids(6, 3, seed=7)
    with torch.no_grad():
        first = model(ids, memory=memories, attention_mask=mask, use_cache=True)
        second = model(more, memory=memories, past_key_values=first.past_key_values).logits
        for row, (memory, prompt) in enumerate(zip(memories, PROMPTS, strict=True)):
            alone = model(prompt, memory=memory, use_cache=True)
            going_on = model(more[row], memory=memory, past_key_values=alone.past_key_values)
            assert distance(second[row], going_on.logits[0]) <= TOLERANCE


@pytest.mark.parametrize("tokens", [10, 3], ids=["a chunk", "into the tail"])
def test_a_cache_from_before_a_write_is_refused(tokens: int) -> None:
    model = make_mplus()
    memory = several(model)[4]
    with torch.no_grad():
        cache = model(PROMPTS[0], memory=memory, use_cache=True).past_key_values
    other = memory.fork()
    model.write(memory, some_ids(tokens).tolist())
    for stale in (memory, other):
        with pytest.raises(StaleCacheError) as caught:
            model(some_ids(1), memory=stale, past_key_values=cache)
        assert caught.value.exit_code == 2
        with pytest.raises(StaleCacheError):
            model.generate(some_ids(9), memory=stale, past_key_values=cache, max_new_tokens=1)
