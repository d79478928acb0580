from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes import ADAPTERS, CONFIG, make_mplus, make_tokenizer, some_ids
from tests.training.settings import MEMORY, make_config, stored, write_texts

from memplus.config import SpanRetrieval
from memplus.errors import ConfigError
from memplus.training.text.runs import TextRun
from memplus.training.text.starting import (
    begin_retriever,
    starting_model,
    with_memory,
)
from memplus.training.text.text_cache import load_documents


def test_another_memory_keeps_the_weights_that_fit() -> None:
    model = make_mplus(config=replace(CONFIG, retrieved_tokens=0))
    wider = with_memory(model, CONFIG)
    assert wider.weights.memory_embedding.equal(model.weights.memory_embedding)
    assert wider.weights.retriever is not None
    ids = some_ids(1, 6)
    assert wider(ids).logits.equal(model(ids).logits)
    again = with_memory(wider, replace(CONFIG, short_term_tokens=12))
    for one, two in zip(again.weights.parameters(), wider.weights.parameters(), strict=True):
        assert one.equal(two)


def test_rows_are_kept_as_far_as_they_fit() -> None:
    model = make_mplus()
    rows = torch.randn(4, 24, 32, generator=torch.Generator().manual_seed(0))
    model.pristine.short_term = rows
    smaller = with_memory(model, replace(CONFIG, short_term_tokens=12))
    assert smaller.pristine.short_term is not None
    assert smaller.pristine.short_term.equal(rows[:, -12:])
    assert smaller.new_memory().short_term_rows == 12


def test_other_adapters_and_another_bos_are_refused() -> None:
    model = make_mplus()
    with pytest.raises(ConfigError, match=r"memory\.adapters"):
        with_memory(model, replace(CONFIG, adapters=ADAPTERS))
    with pytest.raises(ConfigError, match=r"memory\.bos"):
        with_memory(model, replace(CONFIG, bos=False))


def test_a_decoder_gets_a_memory_and_the_seed_decides_its_weights(tmp_path: Path) -> None:
    write_texts(tmp_path)

    def key_weights(seed: int) -> torch.Tensor:
        model = starting_model(stored(tmp_path, run={"seed": seed}))
        assert model.memory_config.short_term_tokens == MEMORY["short_term_tokens"]
        return next(model.weights.layer_retriever(0).key_proj.parameters())

    assert key_weights(0).equal(key_weights(0))
    assert not key_weights(0).equal(key_weights(1))


@pytest.mark.long
def test_a_model_made_from_nothing_keeps_its_tokenizer_in_the_run(tmp_path: Path) -> None:
    write_texts(tmp_path)
    fresh = {"layers": 2, "hidden": 32, "heads": 2, "feed_forward": 48, "vocabulary": 1000}
    config = make_config(tmp_path, model={"fresh": fresh, "trainable": "all"})
    with pytest.raises(ConfigError, match="no model"):
        starting_model(config)
    one = starting_model(config, ["the road went down to the sea. " * 50])
    written = (tmp_path / "run" / "fresh" / "model.safetensors").stat().st_mtime_ns
    again = starting_model(config)
    # Other processes read what the first one wrote, side by side.
    assert (tmp_path / "run" / "fresh" / "model.safetensors").stat().st_mtime_ns == written
    text = "the road went down"
    assert one.encode(text) == again.encode(text)
    assert len(one.encode(text)) < len(make_tokenizer()(text)["input_ids"])
    for first, second in zip(one.parameters(), again.parameters(), strict=True):
        assert first.equal(second)


def test_a_target_without_positions_is_refused(tmp_path: Path) -> None:
    write_texts(tmp_path)
    tasks = [{"task": "language", "target_tokens": 250}]
    with pytest.raises(ConfigError, match="positions for 231"):
        TextRun(make_config(tmp_path, tasks=tasks, data={"min_tokens": 2}))


def test_another_rule_of_retrieval_gets_a_retriever_of_its_own() -> None:
    model = make_mplus()
    layer = SpanRetrieval(span_rows=2, layer=2)
    config = replace(CONFIG, drop="shared", retrieval=layer)
    spans = with_memory(model, config)
    assert spans.weights.retriever is not None
    assert model.weights.retriever is not None
    assert len(spans.weights.retriever) == 1
    mine = next(spans.weights.retriever.parameters())
    assert not any(torch.equal(mine, one) for one in model.weights.retriever.parameters())
    again = with_memory(spans, replace(config, short_term_tokens=12))
    assert again.weights.retriever is not None
    assert torch.equal(next(again.weights.retriever.parameters()), mine)


def test_how_spans_are_read_may_change_and_the_retriever_stays() -> None:
    way = SpanRetrieval(span_rows=2, layer=2)
    model = make_mplus(config=replace(CONFIG, drop="shared", retrieval=way))
    mine = next(model.weights.layer_retriever(2).parameters())
    mine.data += 1
    for changes in ({"weighs": True}, {"sharpens": True}, {"span_rows": 1}, {"layer": 1}):
        other = replace(way, **changes)
        later = with_memory(model, replace(model.memory_config, retrieval=other))
        its = next(later.weights.layer_retriever(other.layer).parameters())
        assert torch.equal(its, mine) == changes.keys().isdisjoint({"span_rows", "layer"})


def test_a_rule_for_spans_goes_with_the_retriever_that_it_was_fitted_to() -> None:
    way = SpanRetrieval(span_rows=2, layer=2, supersedes=True)
    model = make_mplus(config=replace(CONFIG, drop="shared", retrieval=way))
    later = with_memory(model, replace(model.memory_config, short_term_tokens=12))
    assert model.weights.superseding is not None
    assert later.weights.superseding is not None
    assert torch.equal(later.weights.superseding, model.weights.superseding)
    other = replace(model.memory_config, retrieval=replace(way, layer=1))
    fresh = with_memory(model, other).weights.superseding
    assert fresh is not None
    assert not fresh.any()
    without = replace(model.memory_config, retrieval=replace(way, supersedes=False))
    assert with_memory(model, without).weights.superseding is None


def test_a_pretrained_decoder_is_disturbed_little_by_its_fresh_memory(tmp_path: Path) -> None:
    write_texts(tmp_path)
    model = starting_model(make_config(tmp_path))
    assert not model.weights.memory_embedding.any()
    bos = model.weights.bos_embedding
    assert bos is not None
    first = torch.tensor([[model.tokenizer.bos_token_id]])
    with torch.no_grad():
        states = model.model.model(first, output_hidden_states=True).hidden_states
    for layer, row in enumerate(bos):
        assert row.equal(states[layer][0])


def test_a_fresh_retriever_of_spans_begins_with_what_rows_are_like(tmp_path: Path) -> None:
    write_texts(tmp_path, words=60)
    memory = {"retrieved_tokens": 8, "tokens_per_write": 8, "chunk_tokens": 8, "drop": "shared"}
    spans = memory | {"retrieval": {"kind": "spans", "span_rows": 4, "layer": 2}}
    tasks = [{"task": "questions", "sources": [{"kind": "statements"}]}]
    config = make_config(tmp_path, memory=spans, tasks=tasks, run={"stored_rows": 40})
    model = starting_model(config)
    documents = load_documents(config.data, model.tokenizer)
    begin_retriever(model, documents)
    retriever = model.weights.layer_retriever(2)
    assert retriever.center is not None
    ids = torch.stack([documents.read(index, 0, 8) for index in range(16)])
    rows = model.core.write_rows(ids, model.core.context([None] * 16))[:, 2].flatten(0, 1)
    normed = model.backbone.layers[2].norm(rows)
    assert torch.allclose(retriever.center, normed.mean(dim=0), atol=1e-6)
    with torch.no_grad():
        retriever.center += 1
    before = retriever.center.detach().clone()
    begin_retriever(model, documents)
    assert retriever.center.equal(before)
