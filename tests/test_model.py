"""The public surface: batches of memories, generation in all its forms, several turns, errors.

Rows of a batch equal single runs to 2e-5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import CONFIG, EOS, holding, layer_inputs, make_model, make_mplus, some_ids
from torch import Tensor
from transformers import TextStreamer

from memplus import Memory, MPlus
from memplus.errors import (
    EmptyTextError,
    MemoryMismatchError,
    PositionsError,
    StaleCacheError,
    TailError,
    TokenizerMissingError,
    UsageError,
)

TOLERANCE = 2e-5
FAMILIES = ["llama", "mistral-window", "gemma2", "gemma3", "gpt_neox"]


def eager_for(name: str) -> str:
    return "eager" if name.startswith("gemma2") else "sdpa"


def family(name: str, seed: int = 0) -> MPlus:
    return make_mplus(name, attention=eager_for(name), seed=seed)


def distance(left: Tensor, right: Tensor) -> float:
    return (left - right).abs().max().item()


def several(model: MPlus) -> list[Memory]:
    """An empty memory, growing ones, full ones; with and without store and tail."""
    made = []
    for index, tokens in enumerate((0, 7, 20, 33, 80, 117)):
        memory = model.new_memory(seed=index)
        if tokens:
            model.write(memory, some_ids(tokens, seed=index).tolist(), source=f"text {index}")
        made.append(memory)
    return made


def padded(prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), 256)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return ids, mask


PROMPTS = [some_ids(length, seed=20 + length) for length in (5, 1, 9, 4, 9, 2)]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_rows_of_a_batch_equal_single_reads(name: str, grad: bool) -> None:
    model = family(name)
    memories = several(model)
    assert [len(m.tail) for m in memories] == [0, 7, 0, 3, 0, 7]
    assert len({model.prefix_length(m) for m in memories}) >= 4
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
            # The same rows, called up by the first turn's tokens alone.
            whole = model(ids, memory=memory).logits
        if memory.long_term_rows <= CONFIG.retrieved_tokens:
            assert distance(found, whole) <= TOLERANCE


def test_turns_keep_the_rows_that_the_first_one_called_up() -> None:
    """A long-term store of exactly M rows is retrieved whole: then the equality is exact."""
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


def test_without_a_memory_the_stock_model_answers() -> None:
    model = make_mplus()
    ids = some_ids(2, 7)
    with torch.no_grad():
        assert distance(model(ids).logits, model.model(ids).logits) <= TOLERANCE
    expected = model.model.generate(  # type: ignore[operator]
        ids, max_new_tokens=4, do_sample=False, attention_mask=torch.ones_like(ids)
    )
    assert model.generate(ids, max_new_tokens=4).tolist() == expected.tolist()


def test_greedy_is_the_default_whatever_the_checkpoint_says() -> None:
    model = make_mplus()
    rules: Any = model.model.generation_config
    expected = model.generate(PROMPTS[0], max_new_tokens=6)
    rules.do_sample, rules.temperature, rules.top_p = True, 0.6, 0.9
    torch.manual_seed(0)
    assert torch.equal(model.generate(PROMPTS[0], max_new_tokens=6), expected)
    assert (rules.do_sample, rules.temperature) == (True, 0.6)


def test_generation_within_and_without_inference_mode_agrees() -> None:
    """Tensors made in inference mode must not poison later writes and gradients."""
    model, plain = make_mplus(), make_mplus()
    memory, expected = model.new_memory(), plain.new_memory()
    text = some_ids(50).tolist()
    with torch.inference_mode():
        model.write(memory, text[:30])
        model(PROMPTS[0], memory=memory)
    model.write(memory, text[30:])
    plain.write(expected, text)
    rows = model.compress(memory, some_ids(10))
    loss = model(PROMPTS[0], memory=memory, new_rows=rows, labels=PROMPTS[0][None]).loss
    loss.backward()
    other = plain.compress(expected, some_ids(10))
    reference = plain(PROMPTS[0], memory=expected, new_rows=other, labels=PROMPTS[0][None]).loss
    assert torch.equal(loss, reference)


def test_more_positions_than_there_are_is_an_error_before_anything_runs() -> None:
    changes = {"max_position_embeddings": 60}
    model = make_mplus(changes=changes)
    memory = model.new_memory()
    model.write(memory, some_ids(60).tolist())
    left = model.positions - model.prefix_length(memory)
    assert left == 60 - (1 + 8 + 24)
    ran: list[int] = []
    model.model.register_forward_pre_hook(lambda module, args: ran.append(1))
    with pytest.raises(PositionsError) as caught:
        model(some_ids(left + 1), memory=memory)
    assert caught.value.exit_code == 2
    assert (caught.value.fields["needed"], caught.value.fields["available"]) == (left + 1, left)
    for options in ({"max_new_tokens": 4}, {"max_length": left + 1}):
        with pytest.raises(PositionsError):
            model.generate(some_ids(left - 3), memory=memory, **options)
    with pytest.raises(PositionsError):
        model.write_chunk(memory, some_ids(60))
    assert not ran
    model(some_ids(left), memory=memory)
    model.generate(some_ids(left - 4), memory=memory, max_new_tokens=4)


@pytest.mark.parametrize(
    ("rope", "available"),
    [
        ({"rope_type": "default", "rope_theta": 1e4}, 64),
        ({"rope_type": "linear", "rope_theta": 1e4, "factor": 2.5}, 160),
        ({"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, 128),
        (
            {
                "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            256,
        ),
    ],
    ids=["default", "linear", "dynamic", "yarn"],
)  # fmt: skip
def test_rope_scaling_counts_in_the_positions(rope: dict[str, Any], available: int) -> None:
    from tests.fakes import CONFIGS
    from transformers import AutoModelForCausalLM

    config = CONFIGS["llama"]().to_dict() | {"max_position_embeddings": 64}
    made = type(CONFIGS["llama"]())(**config | {"rope_parameters": rope})
    model = MPlus.from_backbone(AutoModelForCausalLM.from_config(made), CONFIG)
    assert model.positions == available


def test_a_memory_too_long_for_the_model_is_refused_at_once() -> None:
    with pytest.raises(PositionsError):
        make_mplus(config=replace(CONFIG, short_term_tokens=300))


def test_requests_that_make_no_sense_are_usage_errors() -> None:
    model = make_mplus()
    memory = model.new_memory()
    with pytest.raises(UsageError, match="2 memories were given for 3 prompts"):
        model(some_ids(3, 4), memory=[memory, memory.fork()])
    with pytest.raises(UsageError, match="T >= 1"):
        model(torch.empty(1, 0), memory=memory)
    with pytest.raises(UsageError, match="attention_mask has shape"):
        model(some_ids(2, 4), memory=memory, attention_mask=torch.ones(2, 5))
    with pytest.raises(EmptyTextError):
        model.ask(memory, "  \n")
    model.write(memory, some_ids(4).tolist())
    with pytest.raises(TailError) as caught:
        model.write_chunk(memory, some_ids(5))
    assert caught.value.exit_code == 2


def test_text_needs_a_tokenizer() -> None:
    model = MPlus.from_backbone(make_model(), CONFIG)
    memory = model.new_memory()
    with pytest.raises(TokenizerMissingError):
        model.write(memory, "text")
    with pytest.raises(TokenizerMissingError):
        model.ask(memory, "what?")
    model.write(memory, some_ids(12).tolist())


def test_a_memory_of_another_model_is_refused() -> None:
    model, twin, other = make_mplus(seed=1), make_mplus(seed=1), make_mplus(seed=2)
    smaller = make_mplus(config=replace(CONFIG, short_term_tokens=18), seed=1)
    memory = model.new_memory()
    model.write(memory, some_ids(30).tolist())
    for stranger in (other, smaller):
        for action in (
            lambda m=stranger: m(some_ids(3), memory=memory),
            lambda m=stranger: m.write(memory, some_ids(30).tolist()),
            lambda m=stranger: m.generate(some_ids(3), memory=memory, max_new_tokens=1),
        ):
            with pytest.raises(MemoryMismatchError) as caught:
                action()
            assert caught.value.exit_code == 3
    assert memory.tokens == 30
    with torch.no_grad():
        left = model(some_ids(3), memory=memory).logits
        assert torch.equal(twin(some_ids(3), memory=memory).logits, left)


def test_a_memory_is_stale_once_the_weights_have_changed() -> None:
    model = make_mplus()
    memory = model.new_memory()
    model.write(memory, some_ids(30).tolist())
    with torch.no_grad():
        model.model.lm_head.weight.mul_(1.5)  # type: ignore[union-attr,operator]
    with pytest.raises(MemoryMismatchError, match="weights"):
        model(some_ids(3), memory=memory)
    with pytest.raises(MemoryMismatchError, match="weights"):
        model.write(memory, some_ids(30).tolist())
    fresh = model.new_memory()
    model.write(fresh, some_ids(30).tolist())
