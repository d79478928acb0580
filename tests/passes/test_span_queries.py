"""Reads that retrieve spans, against a slow reference; and what a prompt asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.fakes import (
    ADAPTERS,
    LAYERS,
    distance,
    layer_inputs,
    make_model,
    make_mplus,
    padded,
    slow_pass,
    some_ids,
)
from tests.reference.spans import SpanMemory

from memplus import Memory, MPlus
from memplus.config import MemoryConfig, SpanRetrieval
from memplus.passes.span_queries import layer_input, span_queries

TOLERANCE = 1e-4
SPANS = MemoryConfig(
    short_term_tokens=24,
    retrieved_tokens=8,
    tokens_per_write=8,
    chunk_tokens=8,
    retriever_dim=8,
    drop="shared",
    retrieval=SpanRetrieval(span_rows=4, layer=2),
)


def written(name: str, config: MemoryConfig) -> tuple[MPlus, Memory, SpanMemory]:
    """A memory with spans in its store, short writes among them, and the same as lists."""
    model = make_mplus(name, config)
    eager = make_model(name, attention="eager")
    memory, slow = model.new_memory(), SpanMemory(model, eager)
    generator = torch.Generator().manual_seed(4)
    size = config.span_rows
    for number, tokens in enumerate((8, 8, 3, 8, 8, 8, 6, 8, 8, 8, 1, 8)):
        chunk = some_ids(tokens, seed=number)
        with torch.no_grad():
            hidden = model.compress(memory, chunk)
        new = hidden.shape[1]
        full = memory.short_term_rows
        spans = max(0, full + new - config.short_term_tokens) // size
        places = torch.randperm(full // size, generator=generator)[:spans].sort().values
        drop = (places[:, None] * size + torch.arange(size)).flatten()[None]
        model.write_chunk(memory, chunk, drop if spans else None)
        slow.write(hidden, places.tolist())
    return model, memory, slow


FAMILIES = ["llama", "qwen2", "gpt_neox", "llama-dynamic", "smollm3", "gemma3"]


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_read_is_that_of_a_slow_reference(name: str, layer: int) -> None:
    config = replace(SPANS, retrieval=SpanRetrieval(span_rows=4, layer=layer))
    model, memory, slow = written(name, config)
    assert len(slow.long) * 4 == memory.long_term_rows > config.retrieved_tokens
    for prompt in (some_ids(5, seed=30), some_ids(1, seed=31), some_ids(9, seed=32)):
        slow.eager = make_model(name, attention="eager")  # a stock model remembers long texts
        found = model(prompt, memory=memory).logits[0]
        assert distance(found, slow.logits(prompt)) <= TOLERANCE


WEIGHED = replace(SPANS, retrieval=SpanRetrieval(span_rows=4, layer=2, weighs=True))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_scores_weigh_the_rows_of_a_read_as_those_of_a_slow_reference(name: str) -> None:
    model, memory, slow = written(name, WEIGHED)
    prompt = some_ids(7, seed=33)
    slow.eager = make_model(name, attention="eager")
    found = model(prompt, memory=memory).logits[0]
    assert distance(found, slow.logits(prompt)) <= TOLERANCE
    spans = [*slow.chosen(prompt), *slow.short]
    rows = torch.cat([slow.bos(), *(span.hidden for span in spans)], dim=1)
    slow.eager = make_model(name, attention="eager")
    unweighed = slow_pass(slow.eager, rows, prompt)[0]
    assert distance(found, unweighed) > 10 * TOLERANCE


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_weighed_reads_of_a_batch_are_those_of_single_prompts(name: str) -> None:
    model, memory, _ = written(name, WEIGHED)
    prompts = [some_ids(length, seed=length) for length in (3, 8, 5)]
    ids, mask = padded(prompts)
    together = model(ids, attention_mask=mask, memory=memory).logits
    for row, prompt in enumerate(prompts):
        alone = model(prompt, memory=memory).logits[0]
        assert distance(together[row, -len(prompt) :], alone) <= TOLERANCE


@torch.no_grad()
def test_what_a_prompt_weighs_holds_for_all_that_follows_it() -> None:
    model, memory, slow = written("llama", WEIGHED)
    prompt = some_ids(6, seed=40)
    made = model.generate(prompt[None], memory=memory, max_new_tokens=5, eos_token_id=None)[0]
    spans = [*slow.chosen(prompt), *slow.short]
    rows = torch.cat([slow.bos(), *(span.hidden for span in spans)], dim=1)
    logits = slow_pass(slow.eager, rows, made[:-1], bias=slow.bias(prompt, spans))[0]
    assert made[6:].tolist() == logits[5:].argmax(dim=-1).tolist()


def test_without_bos_a_prompt_asks_from_position_0_on() -> None:
    model, memory, slow = written("llama", replace(SPANS, bos=False))
    prompt = some_ids(6, seed=30)
    assert distance(model(prompt, memory=memory).logits[0], slow.logits(prompt)) <= TOLERANCE


def test_the_input_of_a_layer_is_that_of_the_stock_model_after_bos() -> None:
    model = make_mplus("llama", replace(SPANS, bos=False))
    stock, ids = make_model("llama"), some_ids(1, 7)
    for layer in range(LAYERS):
        found = layer_input(model.backbone, model.weights, ids, layer)
        assert distance(found[0], layer_inputs(stock, ids, 7)[layer]) <= TOLERANCE
        embeds = model.backbone.embedding(ids)
        given = layer_input(model.backbone, model.weights, embeds, layer)
        assert torch.equal(given, found)
    with pytest.raises(AssertionError):
        layer_input(model.backbone, model.weights, ids, LAYERS)


def test_the_input_of_a_layer_keeps_its_graph() -> None:
    model = make_mplus("llama", replace(SPANS, adapters=ADAPTERS))
    hidden = layer_input(model.backbone, model.weights, some_ids(2, 5), 2)
    hidden.square().sum().backward()
    reading = [w for n, w in model.model.named_parameters() if "decoder_adapter" in n]
    writing = [w for n, w in model.model.named_parameters() if "lora_A.default" in n]
    assert any(w.grad is not None and bool(w.grad.any()) for w in reading)
    assert all(w.grad is None for w in writing)
    assert model.weights.bos_embedding is not None
    assert model.weights.bos_embedding.grad is not None


def test_queries_of_a_batch_are_those_of_each_prompt_alone() -> None:
    """Whatever stands before, between or behind a prompt's own tokens."""
    model = make_mplus("llama", SPANS)
    prompts = [some_ids(n, seed=n) for n in (5, 1, 9)]
    ids, mask = padded(prompts)
    found = span_queries(model.backbone, model.weights, ids, mask.bool())
    right = ids.flip(1), mask.flip(1)  # padding behind the prompt, which is turned round
    turned = span_queries(model.backbone, model.weights, right[0], right[1].bool())
    for prompt, left, behind in zip(prompts, found, turned, strict=True):
        whole = torch.ones(1, len(prompt), dtype=torch.bool)
        (alone,) = span_queries(model.backbone, model.weights, prompt[None], whole)
        assert left.shape == (len(prompt), SPANS.retriever_dim)
        assert distance(left, alone) <= TOLERANCE
        (back,) = span_queries(model.backbone, model.weights, prompt.flip(0)[None], whole)
        assert distance(behind, back) <= TOLERANCE


def test_the_stock_model_is_as_it_was_after_a_pass_that_ended_early() -> None:
    model = make_mplus("llama", replace(SPANS, adapters=ADAPTERS))
    ids = some_ids(1, 6)
    hooks = [len(layer.module._forward_pre_hooks) for layer in model.backbone.layers]
    before = model.model(ids).logits
    layer_input(model.backbone, model.weights, ids, 1)
    assert torch.equal(model.model(ids).logits, before)
    assert [len(layer.module._forward_pre_hooks) for layer in model.backbone.layers] == hooks
