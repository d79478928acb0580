"""The oracle of every family: memory made of a model's own layer inputs changes nothing.

Tolerance: 2e-5 in float32, 0.1 in bfloat16 and 0.015 in float16, where logits are around 1.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.fakes import (
    CONFIG,
    CONFIGS,
    EOS,
    LAYERS,
    VOCABULARY,
    WINDOWED,
    holding,
    layer_inputs,
    make_model,
    make_mplus,
    slow_pass,
    some_ids,
)
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from memplus import MPlus
from memplus.errors import NotADecoderError, UnsupportedModelError
from memplus.passes.read import HiddenPrefix

TOLERANCE = 2e-5
PREFIX = 20

# The library itself refuses to load Gemma2 with sdpa: only eager applies its cap.
CASES = [
    (name, attention)
    for name in CONFIGS
    for attention in ("sdpa", "eager")
    if not (name.startswith("gemma2") and attention == "sdpa")
]


def distance(left: Tensor, right: Tensor) -> float:
    return (left - right).abs().max().item()


def plain_logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(ids, use_cache=False).logits[:, PREFIX:]
    return logits


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_memory_of_own_layer_inputs_equals_a_plain_forward(name: str, attention: str) -> None:
    model = make_model(name, attention=attention)
    ids = some_ids(1, 33)
    rows = layer_inputs(model, ids, PREFIX)
    expected = plain_logits(model, ids)
    text = ids[:, PREFIX:]

    held = holding(model, rows)
    with torch.no_grad():
        inference = held(text, memory=held.new_memory()).logits
    with_graph = held(text, memory=held.new_memory()).logits
    prefix = HiddenPrefix(held.backbone, held.weights, rows[None], bos=False)
    training = held.core.logits(held.core.read_rows(text, prefix))
    split = holding(model, rows, stored=8)
    with torch.no_grad():
        memory = split.new_memory()
        retrieved = split(text, memory=memory).logits

    assert memory.long_term_rows == 8
    for found in (inference, with_graph, training, retrieved):
        assert distance(found, expected) <= TOLERANCE
    # The oracle can fail: rows at each other's positions are far from equal.
    turned = holding(model, rows.flip(1))
    with torch.no_grad():
        wrong = turned(text, memory=turned.new_memory()).logits
    assert distance(wrong, expected) > 100 * TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
def test_generated_tokens_are_those_of_the_whole_text(name: str) -> None:
    attention = "eager" if name.startswith("gemma2") else "sdpa"
    model = make_model(name, attention=attention)
    ids = some_ids(1, 30, seed=3)
    held = holding(model, layer_inputs(model, ids, PREFIX), stored=8)
    # Frequencies that change with the length would be those of different lengths here.
    steps = 1 if name in ("llama-dynamic",) else 6

    found = held.generate(ids[:, PREFIX:], memory=held.new_memory(), max_new_tokens=steps)

    whole = ids
    for _ in range(steps):
        with torch.no_grad():
            best = model(whole, use_cache=False).logits[:, -1:].argmax(-1)
        whole = torch.cat([whole, best], dim=1)
        if int(best) == EOS:
            break
    assert found.tolist() == whole[:, PREFIX:].tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_read_of_arbitrary_rows_equals_a_slow_read(name: str) -> None:
    """Rows that no text could have produced, bos first, read by inference and training code."""
    rows = torch.randn(LAYERS, 13, 32, generator=torch.Generator().manual_seed(2))
    ids = some_ids(12, seed=4)
    changes = WINDOWED.get(name)
    expected, _ = slow_pass(make_model(name, attention="eager", changes=changes), rows, ids)
    attention = "eager" if name.startswith("gemma2") else "sdpa"
    held = holding(make_model(name, attention=attention, changes=changes), rows)

    with torch.no_grad():
        inference = held(ids, memory=held.new_memory()).logits[0]
    prefix = HiddenPrefix(held.backbone, held.weights, rows[None], bos=False)
    training = held.core.logits(held.core.read_rows(ids[None], prefix))[0]

    assert distance(inference, expected) <= TOLERANCE
    assert distance(training, expected) <= TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [3, 10])
def test_a_write_equals_a_slow_write(name: str, length: int) -> None:
    """Two writes, so that the second one has context; 3 tokens are fewer than K = 6."""
    changes = WINDOWED.get(name)
    attention = "eager" if name.startswith("gemma2") else "sdpa"
    model = make_mplus(name, attention=attention, changes=changes)
    stock = make_model(name, attention="eager", changes=changes)
    memory = model.new_memory()
    model.write_chunk(memory, some_ids(9, seed=1))
    context, ids = memory.recent(6), some_ids(length, seed=2)
    assert context is not None
    bos = model.weights.bos_embedding
    assert bos is not None
    embedding = model.weights.memory_embedding[0].expand(6, -1)

    rows = torch.cat([bos, context], dim=1).detach()
    _, outputs = slow_pass(stock, rows, ids, embedding.detach())

    with torch.no_grad():
        merged = model.compress(memory, ids)
    concatenated = model.compress(memory, ids)
    assert distance(merged, outputs[:, -6:]) <= TOLERANCE
    assert distance(concatenated, outputs[:, -6:]) <= TOLERANCE
    model.write_chunk(memory, ids)
    kept = memory.recent(6)
    assert kept is not None
    assert distance(kept, outputs[:, -6:]) <= TOLERANCE


@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_a_short_window_hides_text_but_not_memory(name: str) -> None:
    """Generation goes on behind the window; every step equals a slow read of the whole text."""
    attention = "eager" if name.startswith("gemma2") else "sdpa"
    rows = torch.randn(LAYERS, 9, 32, generator=torch.Generator().manual_seed(6))
    stock = make_model(name, attention="eager", changes=WINDOWED[name])
    held = holding(make_model(name, attention=attention, changes=WINDOWED[name]), rows)
    ids = some_ids(11, seed=8)

    found = held.generate(ids, memory=held.new_memory(), max_new_tokens=7)[0]

    whole = ids
    for _ in range(7):
        logits, _ = slow_pass(stock, rows, whole)
        whole = torch.cat([whole, logits[-1:].argmax(-1)])
        if int(whole[-1]) == EOS:
            break
    assert found.tolist() == whole.tolist()
    # The window is really there: without it the logits are others.
    wide, _ = slow_pass(make_model(name, attention="eager"), rows, whole)
    narrow, _ = slow_pass(stock, rows, whole)
    assert distance(wide, narrow) > 1e-3


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.015)], ids=["bf16", "fp16"]
)
@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3", "olmo2", "phi3", "gpt_neox"])
def test_half_precision_is_near_float32(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """Writes and reads in 16 bits, from weights that are representable in 16 bits."""
    attention = "eager" if name.startswith("gemma2") else "sdpa"
    half = make_mplus(name, attention=attention, dtype=dtype)
    full = make_mplus(name, attention=attention)
    full.load_state_dict({n: t.float() for n, t in half.state_dict().items()})
    found = []
    for model in (half, full):
        memory = model.new_memory(seed=1)
        for part in some_ids(2, 10):
            model.write_chunk(memory, part)
        with torch.no_grad():
            logits = model(some_ids(2, 7, seed=9), memory=memory).logits
        found.append(logits)
        assert logits.dtype == model.backbone.dtype
    assert bool(found[0].isfinite().all())
    assert distance(found[0].float(), found[1]) <= tolerance


ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
LLAMA = LlamaConfig(**ENCODER)
REFUSED: dict[str, tuple[Callable[[], PreTrainedModel], type[Exception], str]] = {
    "other decoder": (
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2)),
        UnsupportedModelError,
        "gpt2 is not supported",
    ),
    "encoder": (
        lambda: BertForMaskedLM(BertConfig(**ENCODER)),
        NotADecoderError,
        "bert is not a decoder-only",
    ),
    "encoder as decoder": (
        lambda: BertLMHeadModel(BertConfig(**ENCODER, is_decoder=True)),
        UnsupportedModelError,
        "bert is not supported",
    ),
    "encoder-decoder": (
        lambda: T5ForConditionalGeneration(
            T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        ),
        NotADecoderError,
        "it is an encoder-decoder",
    ),
    "headless": (lambda: LlamaModel(LLAMA), NotADecoderError, "no language-modelling head"),
    "classifier": (
        lambda: LlamaForSequenceClassification(LLAMA),
        NotADecoderError,
        "no language-modelling head",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_carry_a_memory_is_refused_before_anything_runs(case: str) -> None:
    make, error, words = REFUSED[case]
    model = make()
    ran: list[int] = []
    model.register_forward_pre_hook(lambda module, args: ran.append(1))
    names = set(dict(model.named_parameters()))

    with pytest.raises(error, match=words) as caught:
        MPlus.from_backbone(model, CONFIG)

    assert caught.value.exit_code == 2  # type: ignore[attr-defined]
    assert not ran
    assert set(dict(model.named_parameters())) == names


def test_an_attention_that_cannot_take_a_memory_is_refused() -> None:
    config = CONFIGS["llama"]()
    model = AutoModelForCausalLM.from_config(config)
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(UnsupportedModelError, match="flex_attention"):
        MPlus.from_backbone(model, CONFIG)
