"""The public surface: errors, other weights, defaults, what stays the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.fakes import (
    CONFIG,
    PROMPTS,
    distance,
    make_model,
    make_mplus,
    some_ids,
)

from memplus import MPlus
from memplus.errors import (
    EmptyTextError,
    MemoryMismatchError,
    MemorySizeError,
    PositionsError,
    TailError,
    TokenizerMissingError,
    UsageError,
)

TOLERANCE = 2e-5


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
    left = model.positions - model.core.prefix_length(memory)
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
    with pytest.raises(MemorySizeError, match=r"MemoryConfig needs 310 positions.*has 256"):
        make_mplus(config=replace(CONFIG, short_term_tokens=300))
    with pytest.raises(MemorySizeError, match="MemoryConfig needs 307 positions"):
        make_mplus(config=replace(CONFIG, chunk_tokens=300))


def test_requests_that_make_no_sense_are_usage_errors() -> None:
    model = make_mplus()
    memory = model.new_memory()
    with pytest.raises(UsageError, match="2 memories were given for 3 prompts"):
        model(some_ids(3, 4), memory=[memory, memory.fork()])
    with pytest.raises(UsageError, match="1 memory was given for 2 prompts"):
        model(some_ids(2, 4), memory=[memory])
    with pytest.raises(UsageError, match="T >= 1"):
        model(torch.empty(1, 0, dtype=torch.long), memory=memory)
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


def test_a_property_that_fails_says_what_it_lacked() -> None:
    class Broken(MPlus):
        @property
        def kind(self) -> str:
            return self.model.no_such_thing  # type: ignore[return-value]

    model = make_mplus()
    model.__class__ = Broken
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = model.kind  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = model.no_such_name
